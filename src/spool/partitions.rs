//! Partition to roots: which directories a host has for the messages of a partition's mailboxes and for their metadata
//! (`facts/layout.md` 3 and 4).

use crate::list::error::Stop;
use crate::mailbox::entry::Entry;
use crate::mailbox::text::Name;
use crate::release::{Version, v};
use crate::spool::conf::Conf;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file of a mailbox that imapd.conf can keep apart from its messages. (`archivecache` is the cyrus.cache of the
/// archive partition, and of no mailbox here; `lock` is a word without a file.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaFile {
    /// cyrus.header: what the mailbox is.
    Header,
    /// cyrus.index: its messages and their flags.
    Index,
    /// cyrus.cache: what clients ask of its messages.
    Cache,
    /// cyrus.expunge of 2.3: messages that can be brought back.
    Expunge,
    /// cyrus.squat: for searches.
    Squat,
    /// cyrus.annotations, from 2.5 on.
    Annotations,
    /// cyrus.dav, from 2.5 on.
    Dav,
}

impl MetaFile {
    /// All of them, those first that no server can do without.
    pub const ALL: [MetaFile; 7] = [
        MetaFile::Header,
        MetaFile::Index,
        MetaFile::Cache,
        MetaFile::Expunge,
        MetaFile::Squat,
        MetaFile::Annotations,
        MetaFile::Dav,
    ];

    /// Its name in the mailbox's directory.
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

    /// Its word in `metapartition_files`.
    pub fn word(self) -> &'static str {
        self.name().trim_start_matches("cyrus.")
    }

    /// The release that brought its word.
    fn since(self) -> Version {
        match self {
            MetaFile::Annotations | MetaFile::Dav => v(2, 5, 0),
            _ => v(2, 3, 0),
        }
    }

    /// Whether every mailbox has it, and without it none can be opened as it was.
    pub fn is_needed(self) -> bool {
        matches!(self, MetaFile::Header | MetaFile::Index)
    }

    /// Whether the server makes it anew of the others, or does without it: not what users have written.
    pub fn can_be_made_anew(self) -> bool {
        matches!(self, MetaFile::Cache | MetaFile::Squat | MetaFile::Expunge)
    }

    /// The word of the `metadir-` option that tells its root whatever `metapartition_files` says.
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
    /// Where archived messages are (`archivepartition-NAME`, 3.0 and later); `data` if not apart.
    pub archive: PathBuf,
    /// The files that are not kept under `data`, and where they are; in the order of [`MetaFile::ALL`].
    apart: Vec<(MetaFile, PathBuf)>,
}

impl Roots {
    /// Everything under one root.
    pub fn of_data(data: PathBuf) -> Roots {
        Roots { archive: data.clone(), data, ..Roots::default() }
    }

    /// A root for metadata, whatever of it is kept there.
    pub fn of_meta(meta: PathBuf) -> Roots {
        Roots { meta: vec![meta], ..Roots::default() }
    }

    /// The root where a file belongs.
    pub fn of(&self, file: MetaFile) -> &Path {
        self.apart.iter().find(|(apart, _)| *apart == file).map_or(&self.data, |(_, root)| root)
    }

    /// The files that belong elsewhere than the messages, with their roots, which are all in `meta`.
    pub fn apart(&self) -> &[(MetaFile, PathBuf)] {
        &self.apart
    }

    /// What `conf` says of the partition `name`, if `words` are those of its `metapartition_files`.
    fn declared(conf: &Conf, name: &[u8], words: &[&[u8]], archives: bool) -> Roots {
        let metapartition = conf.metapartition(name).filter(|_| !words.is_empty()).map(path_of);
        // Undocumented, from 2.4 on, and stronger than metapartition_files.
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

/// The words of `metapartition_files` that name no [`MetaFile`], and the release that brought them.
const OTHER_WORDS: [(&[u8], Version); 2] = [(b"lock", v(2, 5, 0)), (b"archivecache", v(3, 0, 0))];

/// What the roots of a host are, by partition.
#[derive(Debug, Default)]
pub struct Roster {
    roots: HashMap<Vec<u8>, Roots>,
    /// Where the partitions were declared, for messages: `in FILE`.
    pub declared: String,
}

impl Roster {
    /// The partitions that `conf` declares.
    pub fn new(conf: &Conf) -> Result<Roster, Stop> {
        let words: Vec<&[u8]> = conf
            .get("metapartition_files")
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            // Before, it was no option.
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

    /// Declares one partition from the command line, `NAME=DIR`.
    pub fn declare(&mut self, name: Vec<u8>, roots: Roots) {
        self.roots.insert(name, roots);
    }

    /// The roots of an entry's partition; undeclared is trouble.
    pub fn of(&self, entry: &Entry<'_>) -> Result<&Roots, Stop> {
        self.get(entry.partition()).ok_or_else(|| {
            let (mailbox, partition) = (Name(entry.mailbox()), Name(entry.partition()));
            Stop::Trouble(format!(
                "{}: {mailbox}: partition {partition} is not declared {}: declare it, or mbx-remap-part {partition}=NEW renames it",
                entry.at, self.declared
            ))
        })
    }

    /// The roots of a partition.
    pub fn get(&self, partition: &[u8]) -> Option<&Roots> {
        self.roots.get(partition)
    }

    /// All partitions with their roots, sorted by name.
    pub fn all(&self) -> Vec<(&[u8], &Roots)> {
        let mut all: Vec<_> = self.roots.iter().map(|(name, roots)| (name.as_slice(), roots)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    as_path(bytes).to_path_buf()
}

/// Bytes as a path.
pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
