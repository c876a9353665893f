//! imapd.conf of the host at hand, as `lib/libconfig.c` of 2.3.12 and later reads it (`facts/layout.md` 7).
//!
//! What the server would die of is an error with file and line.

use crate::outcome::{Name, Stop};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The options of one configuration.
#[derive(Debug, Default)]
pub struct Conf {
    path: String,
    options: HashMap<Vec<u8>, Vec<u8>>,
    /// The values of `partition-NAME` and `metapartition-NAME`, by name.
    partitions: HashMap<Vec<u8>, Vec<u8>>,
    metapartitions: HashMap<Vec<u8>, Vec<u8>>,
    read: Vec<PathBuf>,
}

impl Conf {
    /// Reads `path` and what it includes.
    pub fn read(path: &Path) -> Result<Conf, Stop> {
        let mut conf = Conf { path: Name(path.as_os_str().as_bytes()).to_string(), ..Conf::default() };
        conf.file(path)?;
        Ok(conf)
    }

    /// A configuration of these options, without a file.
    pub fn of<'a>(options: impl Iterator<Item = (&'a str, &'a str)>) -> Conf {
        let options = options.map(|(option, value)| (option.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        Conf { path: "the command line".to_string(), options, ..Conf::default() }
    }

    /// The file's name, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of an option, named in lower case.
    pub fn get(&self, option: &str) -> Option<&[u8]> {
        self.options.get(option.as_bytes()).map(Vec::as_slice)
    }

    /// A switch; the servers die of any word but these.
    pub fn switch(&self, option: &str) -> Result<bool, Stop> {
        match self.get(option) {
            None => Ok(false),
            Some(b"1" | b"yes" | b"true" | b"t" | b"on" | b"y") => Ok(true),
            Some(b"0" | b"no" | b"false" | b"f" | b"off" | b"n") => Ok(false),
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
        self.partitions.get(name).map(Vec::as_slice)
    }

    /// The directory of a metapartition: the value of `metapartition-NAME`.
    pub fn metapartition(&self, name: &[u8]) -> Option<&[u8]> {
        self.metapartitions.get(name).map(Vec::as_slice)
    }

    /// The names of all partitions, sorted.
    pub fn partitions(&self) -> Vec<&[u8]> {
        let mut names: Vec<_> = self.partitions.keys().map(Vec::as_slice).collect();
        names.sort_unstable();
        names
    }

    fn file(&mut self, path: &Path) -> Result<(), Stop> {
        let name = Name(path.as_os_str().as_bytes()).to_string();
        if self.read.iter().any(|known| known == path) {
            return Err(Stop::Trouble(format!("{name}: included twice: the server would not start")));
        }
        self.read.push(path.to_path_buf());
        let text = std::fs::read(path).map_err(|e| Stop::io(&name, &e))?;
        let mut lines = text.split(|b| *b == b'\n').zip(1_u64..);
        while let Some((line, number)) = lines.next() {
            let mut logical = line.to_vec();
            // A backslash at the end takes the next line, in comments too; its leading blanks are kept.
            while logical.last() == Some(&b'\\') {
                logical.pop();
                match lines.next() {
                    Some((next, _)) => logical.extend_from_slice(next),
                    None => break,
                }
            }
            self.line(&logical, &name, number)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], file: &str, number: u64) -> Result<(), Stop> {
        let line = line.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            return Ok(());
        }
        let trouble = |what: String| Err(Stop::Trouble(format!("{file}:{number}: {what}: the server would not start")));
        let key_len = line.iter().take_while(|b| b.is_ascii_alphanumeric() || b"-_@".contains(b)).count();
        if line.get(key_len) != Some(&b':') || key_len == 0 {
            return trouble(format!("no option name with a colon right behind it: {}", Name(line)));
        }
        let (key, value) = (line[..key_len].to_ascii_lowercase(), line[key_len + 1..].trim_ascii_start());
        if value.is_empty() {
            return trouble(format!("empty value of {}", Name(&key)));
        }
        if key[0] == b'@' {
            if key != b"@include" {
                return trouble(format!("unknown directive {}", Name(&key)));
            }
            return self.file(Path::new(std::ffi::OsStr::from_bytes(value))).map_err(|stop| match stop {
                Stop::Trouble(text) => Stop::Trouble(format!("{file}:{number}: @include: {text}")),
                other => other,
            });
        }
        match self.options.get(&key) {
            Some(_) => trouble(format!("{} is given twice", Name(&key))),
            None => {
                for (prefix, map) in
                    [(&b"partition-"[..], &mut self.partitions), (b"metapartition-", &mut self.metapartitions)]
                {
                    if let Some(name) = key.strip_prefix(prefix) {
                        map.insert(name.to_vec(), value.to_vec());
                    }
                }
                self.options.insert(key, value.to_vec());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Result<Conf, Stop> {
        let mut conf = Conf::default();
        let mut lines = Vec::new();
        lines.extend_from_slice(text.as_bytes());
        let dir = tempfile::tempdir().map_err(|e| Stop::io("t", &e))?;
        let path = dir.path().join("imapd.conf");
        std::fs::write(&path, lines).map_err(|e| Stop::io("t", &e))?;
        conf.file(&path)?;
        Ok(conf)
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
}
