//! The options that the six filters share, so that they mean the same in each.

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

/// What `--version` adds to the name and number.
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

    /// Take a list without a single entry for a list
    #[arg(long)]
    pub allow_empty: bool,

    /// No notices; errors and losses are still told
    #[arg(short, long)]
    pub quiet: bool,

    /// All messages, also those alike, and every entry that is left out by its name
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}

impl Common {
    /// How much is to be said.
    pub fn volume(&self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (_, true) => Volume::Verbose,
            _ => Volume::Normal,
        }
    }

    /// The releases that the command line tells.
    pub fn releases(&self) -> Releases {
        Releases { from: self.from.clone(), to: self.to.clone(), rights_rewritten: false }
    }

    /// The release whose imapd.conf `-C` is, if it was told. That of --from need not be it: spools come over as they
    /// were, and the configuration is that of the host at hand.
    pub fn host(&self) -> Option<&Release> {
        self.to.as_ref()
    }
}

/// Where refused entries go.
#[derive(Args, Debug, Default)]
pub struct Rejects {
    /// Write refused entries to FILE as they came, and go on (the status is 1)
    #[arg(long, value_name = "FILE")]
    pub reject: Option<PathBuf>,
}

/// The files that a filter writes beside the list. None of them is made over what the command line reads, over the
/// output, or over another: making it would empty them.
pub struct SideFiles {
    taken: Vec<(u64, u64)>,
}

impl SideFiles {
    /// Beside the list's files and what else the command line reads.
    pub fn beside<'a>(operands: &[OsString], others: impl IntoIterator<Item = &'a PathBuf>) -> SideFiles {
        let streams = [std::io::stdin().as_fd().try_clone_to_owned(), std::io::stdout().as_fd().try_clone_to_owned()];
        let opened = streams.into_iter().flatten().map(|fd| File::from(fd).metadata());
        let others = others.into_iter().map(|path| path.as_os_str());
        let named = operands.iter().map(OsString::as_os_str).chain(others).map(std::fs::metadata);
        // What is no file, /dev/null for one, can be written by many.
        let files = named.chain(opened).flatten().filter(std::fs::Metadata::is_file);
        SideFiles { taken: files.map(|meta| (meta.dev(), meta.ino())).collect() }
    }

    /// Makes the one that `option` asks for, empty at first, so that a script can test it with `-s`.
    pub fn make(&mut self, path: &std::path::Path, option: &str) -> Result<SideFile, Stop> {
        let name = Name(path.as_os_str().as_bytes());
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        if std::fs::metadata(path).is_ok_and(|meta| self.taken.contains(&id(meta))) {
            return Err(Stop::Trouble(format!(
                "{name}: is read or written here already, and must not be written over: take another name"
            )));
        }
        let file = File::create(path).map_err(|e| Stop::io(&name, &e))?;
        let made = file.metadata().map_err(|e| Stop::io(&name, &e))?;
        if made.is_file() {
            self.taken.push(id(made));
        }
        Ok(SideFile::new(file, format!("{option} {name}")))
    }

    /// Makes one for entries, if `option` asks for it.
    pub fn list(&mut self, path: Option<&std::path::Path>, option: &str) -> Result<Option<SideList>, Stop> {
        path.map(|path| Ok(SideList::new(self.make(path, option)?))).transpose()
    }
}

/// Old names with their new ones, as they were told.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Splits operands into renames, `OLD=NEW`, and files. A file of such a name is given with its directory, `./a=b`: no
/// partition has a slash.
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

/// Whether operands that look like something else than a file are one.
pub fn are_files(operands: &[OsString], hint: &str, looks: fn(&[u8]) -> bool) -> Result<(), Stop> {
    let other = |word: &&OsString| looks(word.as_bytes()) && *word != "-" && !std::path::Path::new(word).exists();
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

/// Reads a csv file of two columns, old and new; a first line `old,new` is a heading.
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

/// A number of entries, or a share of them: `40` or `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many.
    Number(u64),
    /// So many in a hundred.
    Percent(f64),
}

impl Limit {
    /// Whether `n` of `all` is more than the limit.
    pub fn exceeded(self, n: u64, all: u64) -> bool {
        match self {
            Limit::Number(limit) => n > limit,
            // Counts stay far below 2^53, where an f64 is exact.
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
