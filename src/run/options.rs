//! The options that the six filters share, so that one name has one meaning.

use crate::list::error::Stop;
use crate::list::list_file::SideList;
use crate::list::seal::Releases;
use crate::list::stream::SideFile;
use crate::mailbox::text::Name;
use crate::release::Release;
use crate::run::report::Volume;
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The text of `--version` after the name.
pub const KNOWN: &str = concat!(env!("CARGO_PKG_VERSION"), " (lists of Cyrus 1.6 to 3.13)");

/// Options that every filter takes.
#[derive(Args, Debug, Default)]
pub struct Common {
    /// The Cyrus release that the list and its spool come from, such as 2.2.13
    #[arg(long, value_name = "RELEASE")]
    pub from: Option<Release>,

    /// The Cyrus release that will load the list, such as 2.3.7
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<Release>,

    /// Accept an empty list
    #[arg(long)]
    pub allow_empty: bool,

    /// Print no notices; errors and losses are still printed
    #[arg(short, long)]
    pub quiet: bool,

    /// Print all messages, also many of one kind, and name every entry that is left out
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}

impl Common {
    /// Returns the amount of messages that the options ask for.
    pub fn volume(&self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (_, true) => Volume::Verbose,
            _ => Volume::Normal,
        }
    }

    /// Returns the releases that the command line names.
    pub fn releases(&self) -> Releases {
        Releases { from: self.from.clone(), to: self.to.clone(), rights_rewritten: false }
    }

    /// Returns the release whose imapd.conf `-C` names, if it was given. It can differ from --from: a spool keeps its
    /// old layout, but the configuration is that of this host.
    pub fn host(&self) -> Option<&Release> {
        self.to.as_ref()
    }
}

/// The option for refused entries.
#[derive(Args, Debug, Default)]
pub struct Rejects {
    /// Write refused entries to FILE unchanged, and continue (the exit status is 1)
    #[arg(long, value_name = "FILE")]
    pub reject: Option<PathBuf>,
}

/// The files that a filter writes beside the list. Refuses a file that is also an input, the output or another of these
/// files: creating it would empty that file.
pub struct SideFiles {
    taken: Vec<(u64, u64)>,
}

impl SideFiles {
    /// Collects the input files of the list, the `others` that the command line reads, and the output.
    pub fn beside<'a>(operands: &[OsString], others: impl IntoIterator<Item = &'a PathBuf>) -> SideFiles {
        let streams = [std::io::stdin().as_fd().try_clone_to_owned(), std::io::stdout().as_fd().try_clone_to_owned()];
        let opened = streams.into_iter().flatten().map(|fd| File::from(fd).metadata());
        let others = others.into_iter().map(|path| path.as_os_str());
        let named = operands.iter().map(OsString::as_os_str).chain(others).map(std::fs::metadata);
        // Only regular files count. Several options may name /dev/null.
        let files = named.chain(opened).flatten().filter(std::fs::Metadata::is_file);
        SideFiles { taken: files.map(|meta| (meta.dev(), meta.ino())).collect() }
    }

    /// Protects more files from being overwritten: those that a configuration includes.
    pub fn keep(&mut self, files: &[PathBuf]) {
        let found = files.iter().flat_map(std::fs::metadata).filter(std::fs::Metadata::is_file);
        self.taken.extend(found.map(|meta| (meta.dev(), meta.ino())));
    }

    /// Creates the file that `option` names, empty at first, so that a script can test it with `-s`.
    pub fn make(&mut self, path: &std::path::Path, option: &str) -> Result<SideFile, Stop> {
        let name = Name(path.as_os_str().as_bytes());
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        if std::fs::metadata(path).is_ok_and(|meta| self.taken.contains(&id(meta))) {
            return Err(Stop::Trouble(format!(
                "{name}: this command already reads or writes that file: use another name"
            )));
        }
        let file = File::create(path).map_err(|e| Stop::io(&name, &e))?;
        let made = file.metadata().map_err(|e| Stop::io(&name, &e))?;
        if made.is_file() {
            self.taken.push(id(made));
        }
        Ok(SideFile::new(file, format!("{option} {name}")))
    }

    /// Creates a list for entries, if `option` was given.
    pub fn list(&mut self, path: Option<&std::path::Path>, option: &str) -> Result<Option<SideList>, Stop> {
        path.map(|path| Ok(SideList::new(self.make(path, option)?))).transpose()
    }
}

/// Old names with their new names, from the command line or a file.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Splits operands into renames, `OLD=NEW`, and files. A file with a `=` in its name is given with its directory,
/// `./a=b`: no partition has a slash.
pub fn split_renames(operands: Vec<OsString>) -> (Pairs, Vec<OsString>) {
    let mut renames = Vec::new();
    let mut files = Vec::new();
    for operand in operands {
        match split_pair(&operand) {
            Some((old, new)) if !old.contains(&b'/') => renames.push((old, new)),
            _ => files.push(operand),
        }
    }
    (renames, files)
}

/// Refuses an operand that is not a file if `mistaken` says that it looks like an argument of an option.
pub fn are_files(operands: &[OsString], hint: &str, mistaken: fn(&[u8]) -> bool) -> Result<(), Stop> {
    let other = |word: &&OsString| mistaken(word.as_bytes()) && *word != "-" && !std::path::Path::new(word).exists();
    match operands.iter().find(other) {
        Some(word) => Err(Stop::Trouble(format!("{}: No such file or directory ({hint})", Name(word.as_bytes())))),
        None => Ok(()),
    }
}

/// Splits `OLD=NEW` at its first `=`.
pub fn split_pair(word: &OsStr) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = word.as_bytes();
    let at = memchr::memchr(b'=', bytes)?;
    Some((bytes[..at].to_vec(), bytes[at + 1..].to_vec()))
}

/// Reads a csv file of two columns, old and new. A first line `old,new` is the header.
pub fn read_pairs(path: &std::path::Path) -> Result<Pairs, Stop> {
    let name = Name(path.as_os_str().as_bytes()).to_string();
    let file = File::open(path).map_err(|e| Stop::io(&name, &e))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut pairs = Vec::new();
    for record in reader.byte_records() {
        let record = record.map_err(|e| Stop::io(&name, &e.into()))?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != 2 {
            return Err(Stop::Trouble(format!(
                "{name}:{line}: {} columns instead of two: old,new with a comma",
                record.len()
            )));
        }
        let (old, new) = (record[0].to_vec(), record[1].to_vec());
        if pairs.is_empty() && old == b"old" && new == b"new" {
            continue;
        }
        pairs.push((old, new));
    }
    Ok(pairs)
}

/// A number of entries, or a percentage of them: `40` or `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// A number of entries.
    Number(u64),
    /// A percentage of all entries.
    Percent(f64),
}

impl Limit {
    /// Returns true if `n` of `all` entries are more than the limit.
    pub fn exceeded(self, n: u64, all: u64) -> bool {
        match self {
            Limit::Number(limit) => n > limit,
            // Counts are far below 2^53, up to which an f64 is exact.
            Limit::Percent(limit) => n as f64 * 100.0 > limit * all as f64,
        }
    }
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let bad = || format!("{text:?} is neither a number nor a percentage");
        match text.strip_suffix('%') {
            None => text.parse().map(Limit::Number).map_err(|_| bad()),
            Some(percent) => match percent.parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Limit::Percent(percent)),
                _ => Err(bad()),
            },
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Number(n) => write!(f, "{n}"),
            Limit::Percent(p) => write!(f, "{p}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!("40".parse(), Ok(Limit::Number(40)));
        assert_eq!("0.5%".parse(), Ok(Limit::Percent(0.5)));
        assert!("x".parse::<Limit>().is_err());
        assert!("101%".parse::<Limit>().is_err());
        assert!("-1".parse::<Limit>().is_err());
        assert!(Limit::Percent(1.0).exceeded(2, 199));
        assert!(!Limit::Percent(1.0).exceeded(2, 200));
        assert!(!Limit::Number(0).exceeded(0, 5));
    }

    #[test]
    fn operands() {
        let (renames, files) = split_renames(vec!["0=4".into(), "./a=b".into(), "list".into(), "-".into()]);
        assert_eq!(renames, [(b"0".to_vec(), b"4".to_vec())]);
        assert_eq!(files, ["./a=b", "list", "-"]);
    }
}
