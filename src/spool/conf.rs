//! imapd.conf of the host at hand, as `lib/libconfig.c` of its release reads it (`facts/layout.md` 7).
//!
//! What the server would die of is an error with file and line.

use crate::list::error::Stop;
use crate::mailbox::name::{NameOptions, Namespace};
use crate::mailbox::text::Name;
use crate::release::{Release, Version, v};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a release reads the file. Where no release is told: as 2.3.12 and later.
#[derive(Clone, Copy, Debug)]
struct Grammar {
    /// 2.1 and later take blanks and CRs off the end of a value, and die of an option that is there twice; before, the
    /// first counts.
    strict: bool,
    /// 2.2 and later know `@include` and options of one service, and die of a switch that is none; before, its first
    /// letter counts.
    services: bool,
    /// 2.2.1 and later have the option `fulldirhash`; before, it was a matter of how the server was built.
    fulldirhash: bool,
    /// 2.3.12 and later join lines at a backslash.
    continues: bool,
}

impl Grammar {
    fn of(release: Option<&Release>) -> Grammar {
        let since = |version| release.is_none_or(|release| release.since(version));
        Grammar {
            strict: since(v(2, 1, 0)),
            services: since(v(2, 2, 0)),
            fulldirhash: since(v(2, 2, 1)),
            continues: since(v(2, 3, 12)),
        }
    }
}

/// The service that opens mailboxes: what is set for it alone, `imap_OPTION`, comes before what is set for all.
const SERVICE: &str = "imap_";

/// The whole of a file, by its path.
pub type Files<'f> = &'f dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// The options of one configuration.
#[derive(Debug)]
pub struct Conf {
    path: String,
    release: Option<Release>,
    grammar: Grammar,
    options: HashMap<Vec<u8>, Vec<u8>>,
    /// The names of the partitions.
    partitions: HashSet<Vec<u8>>,
    read: Vec<PathBuf>,
}

impl Conf {
    /// Reads `path` and what it includes, as a server of `release` does.
    pub fn read(path: &Path, release: Option<&Release>) -> Result<Conf, Stop> {
        Conf::read_from(path, release, &|path| std::fs::read(path))
    }

    /// The same of the files that `files` gives out: for fuzzers, whose `@include` must reach no file of this host.
    pub fn read_from(path: &Path, release: Option<&Release>, files: Files<'_>) -> Result<Conf, Stop> {
        let mut conf = Conf::empty(Name(path.as_os_str().as_bytes()).to_string(), release);
        conf.file(path, files)?;
        if release.is_some_and(|release| release.since(v(3, 13, 0))) {
            conf.refuse_nested()?;
        }
        Ok(conf)
    }

    /// 3.13.1 and later die of two partitions in one directory, or of one inside another's
    /// (`config_check_partitions`, `lib/libconfig.c:1474` of 3.13.7).
    fn refuse_nested(&self) -> Result<(), Stop> {
        let of_partitions = |key: &&Vec<u8>| memchr::memmem::find(key, b"partition-").is_some();
        let mut roots: Vec<_> = self.options.iter().filter(|(key, _)| of_partitions(key)).collect();
        roots.sort_unstable();
        for (i, (key, dir)) in roots.iter().enumerate() {
            let is_inside = |other: &Vec<u8>| {
                other.strip_prefix(dir.as_slice()).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            };
            if let Some((other, _)) =
                roots.iter().enumerate().find(|(n, (_, other))| *n != i && is_inside(other)).map(|(_, found)| found)
            {
                return Err(Stop::Trouble(format!(
                    "{}: {} is, or lies in, the directory of {}: 3.13.1 and later would not start",
                    self.path,
                    Name(other),
                    Name(key)
                )));
            }
        }
        Ok(())
    }

    fn empty(path: String, release: Option<&Release>) -> Conf {
        let (grammar, release) = (Grammar::of(release), release.cloned());
        Conf { path, release, grammar, options: HashMap::new(), partitions: HashSet::new(), read: Vec::new() }
    }

    /// A configuration of these options, without a file.
    pub fn of<'a>(options: impl Iterator<Item = (&'a str, &'a str)>) -> Conf {
        let mut conf = Conf::empty("the command line".to_string(), None);
        conf.options = options.map(|(option, value)| (option.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        conf
    }

    /// The file's name, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The files that were read: the one that was named, and those that it includes.
    pub fn files(&self) -> &[PathBuf] {
        &self.read
    }

    /// Whether the host's release is this or a later one, or was not told.
    pub fn is_since(&self, version: Version) -> bool {
        self.release.as_ref().is_none_or(|release| release.since(version))
    }

    /// The value of an option, named in lower case, for the service that opens mailboxes.
    pub fn get(&self, option: &str) -> Option<&[u8]> {
        self.option(option.as_bytes())
    }

    fn option(&self, option: &[u8]) -> Option<&[u8]> {
        if option == b"fulldirhash" && !self.grammar.fulldirhash {
            return None;
        }
        let own = [SERVICE.as_bytes(), option].concat();
        let own = self.options.get(&own).filter(|_| self.grammar.services);
        own.or_else(|| self.options.get(option)).map(Vec::as_slice)
    }

    /// What a server of `release` with this configuration reads in names.
    pub fn namespace(&self, release: Option<&Release>) -> Result<Namespace, Stop> {
        // An enumeration, with the words of a switch for its ends; userid and on mean the same here.
        let virtdomains = self.get("virtdomains") == Some(b"userid") || self.switch("virtdomains")?;
        let options = NameOptions {
            virtdomains,
            defaultdomain: self.get("defaultdomain").map(<[u8]>::to_vec),
            deletedprefix: self.get("deletedprefix").map(<[u8]>::to_vec),
            keeps_case: self.get("username_tolower").is_some() && !self.switch("username_tolower")?,
        };
        Ok(Namespace::new(release, Some(options)))
    }

    /// A switch; servers from 2.2 on die of any word but these.
    pub fn switch(&self, option: &str) -> Result<bool, Stop> {
        match self.get(option) {
            None => Ok(false),
            Some(b"1" | b"yes" | b"true" | b"t" | b"on" | b"y") => Ok(true),
            Some(b"0" | b"no" | b"false" | b"f" | b"off" | b"n") => Ok(false),
            Some(value) if !self.grammar.services => {
                Ok(matches!(value.first(), Some(b'1' | b'y' | b't')) || value.starts_with(b"on"))
            }
            Some(value) => Err(Stop::Trouble(format!(
                "{}: {option}: non-switch value {}: the server would not start",
                self.path,
                Name(value)
            ))),
        }
    }

    /// The directory of a partition: the value of `partition-NAME`. The name is looked up as it stands, against option
    /// names that were folded to lower case, so `DEFAULT` is never found.
    pub fn partition(&self, name: &[u8]) -> Option<&[u8]> {
        self.option(&[b"partition-", name].concat())
    }

    /// The directory of a metapartition: the value of `metapartition-NAME`.
    pub fn metapartition(&self, name: &[u8]) -> Option<&[u8]> {
        self.option(&[b"metapartition-", name].concat())
    }

    /// The names of all partitions, sorted.
    pub fn partitions(&self) -> Vec<&[u8]> {
        let mut names: Vec<_> = self.partitions.iter().map(Vec::as_slice).collect();
        names.sort_unstable();
        names
    }

    /// Every option that names a directory with mailboxes or what belongs to them, with its value: `partition-NAME`, and
    /// `metapartition-`, `archivepartition-`, `TIERsearchpartition-`, `metadir-WORD-`, for whatever service. Sorted.
    pub fn roots(&self) -> Vec<(&[u8], &[u8])> {
        let names_root = |key: &[u8]| {
            memchr::memmem::find(key, b"partition-").is_some() || memchr::memmem::find(key, b"metadir-").is_some()
        };
        let mut roots: Vec<_> = self.options.iter().map(|(key, dir)| (key.as_slice(), dir.as_slice())).collect();
        roots.retain(|(key, _)| names_root(key));
        roots.sort_unstable();
        roots
    }

    fn file(&mut self, path: &Path, files: Files<'_>) -> Result<(), Stop> {
        let name = Name(path.as_os_str().as_bytes()).to_string();
        if self.read.iter().any(|known| known == path) {
            return Err(Stop::Trouble(format!("{name}: included twice: the server would not start")));
        }
        self.read.push(path.to_path_buf());
        let text = files(path).map_err(|e| Stop::io(&name, &e))?;
        let mut lines = text.split(|b| *b == b'\n').zip(1_u64..);
        while let Some((line, number)) = lines.next() {
            let mut logical = line.to_vec();
            // A backslash at the end takes the next line, in comments too; its leading blanks are kept.
            while self.grammar.continues && logical.last() == Some(&b'\\') {
                logical.pop();
                match lines.next() {
                    Some((next, _)) => logical.extend_from_slice(next),
                    None => break,
                }
            }
            self.line(&logical, &name, number, files)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], file: &str, number: u64, files: Files<'_>) -> Result<(), Stop> {
        let line = line.split(|b| *b == 0).next().unwrap_or_default().trim_ascii_start();
        let line = if self.grammar.strict { line.trim_ascii_end() } else { line };
        if line.is_empty() || line[0] == b'#' {
            return Ok(());
        }
        let trouble = |what: String| Err(Stop::Trouble(format!("{file}:{number}: {what}: the server would not start")));
        let key = line
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b"-_".contains(b) || (self.grammar.services && **b == b'@'));
        let key_len = key.count();
        if line.get(key_len) != Some(&b':') || key_len == 0 {
            return trouble(format!(
                "no option name with a colon right behind it: {}: is it an imapd.conf?",
                Name(line)
            ));
        }
        let (key, value) = (line[..key_len].to_ascii_lowercase(), line[key_len + 1..].trim_ascii_start());
        if value.is_empty() {
            return trouble(format!("empty value of {}", Name(&key)));
        }
        if key[0] == b'@' {
            if key != b"@include" {
                return trouble(format!("unknown directive {}", Name(&key)));
            }
            return self.file(Path::new(std::ffi::OsStr::from_bytes(value)), files).map_err(|stop| match stop {
                Stop::Trouble(text) => Stop::Trouble(format!("{file}:{number}: @include: {text}")),
                other => other,
            });
        }
        if self.options.contains_key(&key) {
            return match self.grammar.strict {
                true => trouble(format!("{} is given twice", Name(&key))),
                false => Ok(()),
            };
        }
        let shared = key.strip_prefix(SERVICE.as_bytes()).filter(|_| self.grammar.services).unwrap_or(&key);
        if let Some(name) = shared.strip_prefix(b"partition-") {
            self.partitions.insert(name.to_vec());
        }
        self.options.insert(key, value.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Result<Conf, Stop> {
        read_by(text, None)
    }

    fn read_by(text: &str, release: Option<&str>) -> Result<Conf, Stop> {
        let dir = tempfile::tempdir().map_err(|e| Stop::io("t", &e))?;
        let path = dir.path().join("imapd.conf");
        std::fs::write(&path, text).map_err(|e| Stop::io("t", &e))?;
        let release = release.map(str::parse).transpose().map_err(Stop::Trouble)?;
        Conf::read(&path, release.as_ref())
    }

    #[test]
    fn as_the_server_reads_it() {
        let Ok(read) = conf(
            "# c \\\nswallowed: yes\nPartition-Default: /srv/a:b \t\r\n\npartition-0:/x\nlong: a\\\n  b\nhashimapspool: t\n",
        ) else {
            panic!("good configuration refused")
        };
        assert_eq!(read.partition(b"default"), Some(&b"/srv/a:b"[..]));
        assert_eq!(read.partition(b"Default"), None);
        assert_eq!(read.partitions(), [&b"0"[..], b"default"]);
        assert_eq!(read.get("long"), Some(&b"a  b"[..]));
        assert_eq!(read.get("swallowed"), None);
        assert!(matches!(read.switch("hashimapspool"), Ok(true)));
        assert!(matches!(read.switch("fulldirhash"), Ok(false)));
    }

    #[test]
    fn what_the_server_would_die_of() {
        for text in [
            "a : b\n",
            "a:\n",
            "a: 1\nA: 2\n",
            "\u{feff}a: 1\n",
            "@other: x\n",
            "no colon\n",
            "@include: /no/such/file\n",
        ] {
            assert!(conf(text).is_err(), "{text:?}");
        }
        assert!(conf("fulldirhash: True\n").is_ok_and(|c| c.switch("fulldirhash").is_err()));
    }

    #[test]
    fn what_is_set_for_imap_alone_comes_first() {
        let text = "partition-default: /a\nimap_partition-default: /b\nimap_partition-x: /x\nimap_hashimapspool: 1\n\
                    lmtp_partition-default: /c\n";
        assert!(conf(text).is_ok_and(|c| {
            c.partition(b"default") == Some(b"/b")
                && c.partitions() == [&b"default"[..], b"x"]
                && matches!(c.switch("hashimapspool"), Ok(true))
        }));
        assert!(read_by(text, Some("2.1.15")).is_ok_and(|c| c.partition(b"default") == Some(b"/a")));
    }

    #[test]
    fn older_releases_read_otherwise() {
        let twice = "partition-default: /a\t \npartition-default: /b\n";
        assert!(read_by(twice, Some("2.0.17")).is_ok_and(|c| c.partition(b"default") == Some(b"/a\t ")));
        assert!(read_by(twice, Some("2.1.15")).is_err());
        assert!(
            read_by("hashimapspool: True\n", Some("2.1.15"))
                .is_ok_and(|c| matches!(c.switch("hashimapspool"), Ok(false)))
        );
        assert!(
            read_by("hashimapspool: yeah\n", Some("2.1.15"))
                .is_ok_and(|c| matches!(c.switch("hashimapspool"), Ok(true)))
        );
        assert!(read_by("fulldirhash: 1\n", Some("2.2.0")).is_ok_and(|c| matches!(c.switch("fulldirhash"), Ok(false))));
        assert!(read_by("a: b\\\n/c\n", Some("2.3.11")).is_err());
        assert!(read_by("a: b\\\n/c\n", Some("2.3.12")).is_ok_and(|c| c.get("a") == Some(b"b/c")));
        assert!(read_by("@include: /dev/null\n", Some("2.1.15")).is_err());
        let nested = "partition-default: /a\nmetapartition-default: /a/m\npartition-b: /ab\n";
        assert!(read_by(nested, Some("3.12.3")).is_ok());
        assert!(read_by(nested, Some("3.13.7")).is_err());
        assert!(read_by("partition-default: /a\npartition-b: /ab\n", Some("3.13.7")).is_ok());
    }
}
