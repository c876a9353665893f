//! The roots of each partition: the directories that a host has for the messages and the metadata of its mailboxes
//! (`facts/layout.md` 3 and 4).

use crate::list::error::Stop;
use crate::mailbox::entry::Entry;
use crate::mailbox::text::Name;
use crate::release::{Version, v};
use crate::spool::conf::Conf;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file of a mailbox that imapd.conf can move away from the messages. (The word `archivecache` means the cyrus.cache
/// of the archive partition, which no mailbox here has. The word `lock` has no file.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaFile {
    /// cyrus.header: the quota root, the uniqueid, the user flags and the ACL.
    Header,
    /// cyrus.index: the messages and their flags.
    Index,
    /// cyrus.cache: the parts of the messages that clients ask for.
    Cache,
    /// cyrus.expunge of 2.3: deleted messages that can be restored.
    Expunge,
    /// cyrus.squat: the search index.
    Squat,
    /// cyrus.annotations, from 2.5 on.
    Annotations,
    /// cyrus.dav, from 2.5 on.
    Dav,
}

impl MetaFile {
    /// All files; those come first that every mailbox needs.
    pub const ALL: [MetaFile; 7] = [
        MetaFile::Header,
        MetaFile::Index,
        MetaFile::Cache,
        MetaFile::Expunge,
        MetaFile::Squat,
        MetaFile::Annotations,
        MetaFile::Dav,
    ];

    /// Returns its name in the mailbox's directory.
    pub fn name(self) -> &'static str {
        match self {
            MetaFile::Header => "cyrus.header",
            MetaFile::Index => "cyrus.index",
            MetaFile::Cache => "cyrus.cache",
            MetaFile::Expunge => "cyrus.expunge",
            MetaFile::Squat => "cyrus.squat",
            MetaFile::Annotations => "cyrus.annotations",
            MetaFile::Dav => "cyrus.dav",
        }
    }

    /// Returns its word in `metapartition_files`.
    pub fn word(self) -> &'static str {
        self.name().trim_start_matches("cyrus.")
    }

    /// Returns the first release that has its word.
    fn since(self) -> Version {
        match self {
            MetaFile::Annotations | MetaFile::Dav => v(2, 5, 0),
            _ => v(2, 3, 0),
        }
    }

    /// Returns true if every mailbox has the file, and cannot be opened without it.
    pub fn is_needed(self) -> bool {
        matches!(self, MetaFile::Header | MetaFile::Index)
    }

    /// Returns true if the server makes the file again from the others, or works without it. It has no data of users.
    pub fn can_be_made_anew(self) -> bool {
        matches!(self, MetaFile::Cache | MetaFile::Squat | MetaFile::Expunge)
    }

    /// Returns the word of the `metadir-` option for its root. That option is stronger than `metapartition_files`.
    fn metadir(self) -> Option<&'static str> {
        match self {
            MetaFile::Expunge => None,
            MetaFile::Annotations => Some("index"),
            file => Some(file.word()),
        }
    }
}

/// The roots of one partition.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// `partition-NAME`.
    pub data: PathBuf,
    /// Every other root under which its mailboxes have directories.
    pub meta: Vec<PathBuf>,
    /// The root of archived messages (`archivepartition-NAME`, 3.0 and later), or else `data`.
    pub archive: PathBuf,
    /// The files that are not under `data`, with their roots, in the order of [`MetaFile::ALL`].
    apart: Vec<(MetaFile, PathBuf)>,
}

impl Roots {
    /// Returns the roots of a partition that has everything under `data`.
    pub fn of_data(data: PathBuf) -> Roots {
        Roots { archive: data.clone(), data, ..Roots::default() }
    }

    /// Returns the roots of a partition of which only a root for metadata is known.
    pub fn of_meta(meta: PathBuf) -> Roots {
        Roots { meta: vec![meta], ..Roots::default() }
    }

    /// Returns the root of a file.
    pub fn of(&self, file: MetaFile) -> &Path {
        self.apart.iter().find(|(apart, _)| *apart == file).map_or(&self.data, |(_, root)| root)
    }

    /// Returns the files that are not under the root of the messages, with their roots, which are all in `meta`.
    pub fn apart(&self) -> &[(MetaFile, PathBuf)] {
        &self.apart
    }

    /// Returns the roots of the partition `name` in `conf`; `words` are those of its `metapartition_files`.
    fn declared(conf: &Conf, name: &[u8], words: &[&[u8]], archives: bool) -> Roots {
        let metapartition = conf.metapartition(name).filter(|_| !words.is_empty()).map(path_of);
        // The option is undocumented, exists from 2.4 on, and is stronger than metapartition_files.
        let metadir = |word: &str| {
            let key = [format!("metadir-{word}-").as_bytes(), name].concat();
            conf.get(&String::from_utf8_lossy(&key)).filter(|_| conf.is_since(v(2, 4, 0))).map(path_of)
        };
        let mut roots = Roots::of_data(path_of(conf.partition(name).unwrap_or_default()));
        let archive = conf.get(&format!("archivepartition-{}", String::from_utf8_lossy(name)));
        if let Some(archive) = archive.filter(|_| conf.is_since(v(3, 0, 0)) && (archives || !conf.is_since(v(3, 1, 7))))
        {
            roots.archive = path_of(archive);
        }
        for file in MetaFile::ALL {
            let by_word = || metapartition.clone().filter(|_| words.contains(&file.word().as_bytes()));
            if let Some(root) = file.metadir().and_then(metadir).or_else(by_word).filter(|root| *root != roots.data) {
                roots.apart.push((file, root));
            }
        }
        roots.meta.extend(roots.apart.iter().map(|(_, root)| root.clone()));
        roots.meta.extend(metapartition.into_iter().chain(metadir("archivecache")));
        roots.meta.sort();
        roots.meta.dedup();
        roots.meta.retain(|meta| *meta != roots.data);
        roots
    }
}

/// The words of `metapartition_files` that name no [`MetaFile`], with the first release that has them.
const OTHER_WORDS: [(&[u8], Version); 2] = [(b"lock", v(2, 5, 0)), (b"archivecache", v(3, 0, 0))];

/// The roots of every partition of a host.
#[derive(Debug, Default)]
pub struct Roster {
    roots: HashMap<Vec<u8>, Roots>,
    /// The source of the declarations, for messages: `in FILE`.
    pub declared: String,
}

impl Roster {
    /// Returns the partitions that `conf` declares.
    pub fn new(conf: &Conf) -> Result<Roster, Stop> {
        let words: Vec<&[u8]> = conf
            .get("metapartition_files")
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            // Releases before 2.3 do not have the option.
            .filter(|word| !word.is_empty() && conf.is_since(v(2, 3, 0)))
            .collect();
        let files = MetaFile::ALL.iter().map(|file| (file.word().as_bytes(), file.since()));
        let all: Vec<_> = files.chain(OTHER_WORDS).collect();
        let known = |word: &[u8]| all.iter().any(|(known, since)| *known == word && conf.is_since(*since));
        if let Some(word) = words.iter().find(|word| !known(word)) {
            return Err(Stop::Trouble(format!(
                "{}: metapartition_files: unknown word {}: the server would not start",
                conf.path(),
                Name(word)
            )));
        }
        let mut roster = Roster { roots: HashMap::new(), declared: format!("in {}", conf.path()) };
        let archives = conf.switch("archive_enabled")?;
        for name in conf.partitions() {
            roster.roots.insert(name.to_vec(), Roots::declared(conf, name, &words, archives));
        }
        if let Some(default) = conf.get("defaultpartition")
            && roster.get(&default.to_ascii_lowercase()).is_none()
        {
            return Err(Stop::Trouble(format!(
                "{}: defaultpartition: there is no partition-{}: the server would not start",
                conf.path(),
                Name(default)
            )));
        }
        Ok(roster)
    }

    /// Adds one partition from the command line, `NAME=DIR`.
    pub fn declare(&mut self, name: Vec<u8>, roots: Roots) {
        self.roots.insert(name, roots);
    }

    /// Returns the roots of an entry's partition. An undeclared partition is an error.
    pub fn of(&self, entry: &Entry<'_>) -> Result<&Roots, Stop> {
        self.get(entry.partition()).ok_or_else(|| {
            let (mailbox, partition) = (Name(entry.mailbox()), Name(entry.partition()));
            Stop::Trouble(format!(
                "{}: {mailbox}: partition {partition} is not declared {}: declare it, or rename it with mbx-remap-part {partition}=NEW",
                entry.at, self.declared
            ))
        })
    }

    /// Returns the roots of a partition.
    pub fn get(&self, partition: &[u8]) -> Option<&Roots> {
        self.roots.get(partition)
    }

    /// Returns all partitions with their roots, sorted by name.
    pub fn all(&self) -> Vec<(&[u8], &Roots)> {
        let mut all: Vec<_> = self.roots.iter().map(|(name, roots)| (name.as_slice(), roots)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    as_path(bytes).to_path_buf()
}

/// Returns the path of these bytes.
pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
