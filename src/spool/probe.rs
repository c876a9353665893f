//! Is each mailbox's cyrus.header where it should be? Many questions in flight, answers in the order of the questions.
//!
//! What an administrator waits for is the disk, and a disk answers many questions at a time in hardly more time than
//! one.

use crate::list::error::Stop;
use crate::list::stream::SideFile;
use crate::mailbox::entry::Entry;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::spool::aliases::{Inode, inode_of};
use crate::spool::fill;
use crate::spool::fill::Facts;
use crate::spool::heads::{Candidates, HeadReader, Heads, IndexSeen, Root};
use crate::spool::partitions::{MetaFile, Roots, as_path};
use crate::spool::user::{Viewer, denied};
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The name of what is looked for.
const HEADER: &[u8] = b"/cyrus.header";

/// So many questions in a row go to one thread: neighbours share directories.
const RUN: usize = 16;

/// The roots of a partition, open.
pub struct Place {
    /// Where they are.
    pub roots: Roots,
    /// The root of `cyrus.header`.
    header: OwnedFd,
    /// The data root, where it is another.
    data: Option<OwnedFd>,
    /// The root of `cyrus.index`, where it is neither.
    index: Option<OwnedFd>,
}

impl Place {
    /// Opens the roots of `partition`, as the user of the calling thread. One that is not there is an unmounted disk.
    pub fn open(roots: &Roots, partition: &[u8]) -> Result<Place, Stop> {
        let other = |path: &Path| match path == roots.of(MetaFile::Header) {
            true => Ok(None),
            false => open_root(path, partition).map(Some),
        };
        Ok(Place {
            header: open_root(roots.of(MetaFile::Header), partition)?,
            data: other(&roots.data)?,
            index: match roots.of(MetaFile::Index) {
                index if *index == roots.data => None,
                index => other(index)?,
            },
            roots: roots.clone(),
        })
    }

    /// The roots that may hold `cyrus.header`, the right one first.
    pub fn headers(&self) -> Candidates<'_> {
        Candidates::new(self.header_root(), [self.data_root(), None])
    }

    /// Likewise of `cyrus.index`.
    pub fn indexes(&self) -> Candidates<'_> {
        let own = self.index.as_ref().map(|fd| Root::new(fd, self.roots.of(MetaFile::Index)));
        let (header, data) = (self.header_root(), self.data_root());
        match (own, data) {
            (Some(own), data) => Candidates::new(own, [Some(header), data]),
            (None, Some(data)) if self.roots.of(MetaFile::Index) != self.roots.of(MetaFile::Header) => {
                Candidates::new(data, [Some(header), None])
            }
            (None, data) => Candidates::new(header, [data, None]),
        }
    }

    fn header_root(&self) -> Root<'_> {
        Root::new(&self.header, self.roots.of(MetaFile::Header))
    }

    fn data_root(&self) -> Option<Root<'_>> {
        self.data.as_ref().map(|fd| Root::new(fd, &self.roots.data))
    }
}

/// Opens a root of `partition`.
pub fn open_root(path: &Path, partition: &[u8]) -> Result<OwnedFd, Stop> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
        let hint = if e == Errno::ACCESS { "" } else { ": is the disk mounted?" };
        let (why, path) = (denied(e, path), Name(path.as_os_str().as_bytes()));
        Stop::Trouble(format!("partition {}: {path}: {why}{hint}", Name(partition)))
    })
}

/// What was found of one mailbox.
#[derive(Debug)]
pub enum Found {
    /// Its header, where it belongs or still on the data partition (`moved` is false), and what its files say if that
    /// was asked.
    Header {
        /// Whether it is where it belongs, with the index if that was looked at.
        moved: bool,
        /// What the first bytes of its files say, if that was asked.
        heads: Option<Heads>,
        /// What its files say, or why they cannot be believed, if that was asked.
        facts: Option<Box<Result<Facts, Refusal>>>,
        /// The header as the system knows it.
        file: Inode,
        /// The directory of its messages likewise, where headers are kept apart and there is one.
        messages: Option<Inode>,
    },
    /// Something in the header's place that no server opens as one.
    Broken(Refusal),
    /// Nothing.
    Nothing,
}

/// A question: the directory of a mailbox below the roots of its partition.
struct Question {
    place: Arc<Place>,
    dir: Vec<u8>,
}

/// What is asked of each mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether it is there.
    Presence,
    /// And what the first bytes of its files say.
    Heads,
    /// And all that an entry may lack.
    Facts,
}

/// How questions are asked.
pub struct Asker {
    /// How many at a time.
    jobs: usize,
    /// As whom.
    viewer: Viewer,
    /// What is asked.
    what: Ask,
    asked: Vec<Question>,
    answers: VecDeque<(Question, Result<Found, Stop>)>,
    looker: Looker,
}

impl Asker {
    /// Asks `jobs` questions at a time, as `viewer` does: whether mailboxes are there.
    pub fn new(jobs: usize, viewer: Viewer) -> Asker {
        let (what, looker) = (Ask::Presence, Looker::default());
        Asker { jobs: jobs.max(1), viewer, what, asked: Vec::new(), answers: VecDeque::new(), looker }
    }

    /// Asks `what` from here on.
    pub fn ask_for(&mut self, what: Ask) {
        self.what = what;
    }

    /// Whether it helps to be told of questions ahead.
    pub fn wants_ahead(&self) -> bool {
        self.jobs > 1 || self.viewer.user().is_some()
    }

    /// A question that will be asked.
    pub fn ahead(&mut self, place: &Arc<Place>, dir: &[u8]) {
        self.asked.push(Question { place: Arc::clone(place), dir: dir.to_vec() });
    }

    /// Finds the answers to all that was told ahead.
    pub fn fetch(&mut self) -> Result<(), Stop> {
        let asked = std::mem::take(&mut self.asked);
        let next = AtomicUsize::new(0);
        let (viewer, what) = (&self.viewer, self.what);
        let work = || {
            let mut answers = Vec::new();
            viewer.look_for_good()?;
            let mut looker = Looker::default();
            loop {
                let from = next.fetch_add(RUN, Ordering::Relaxed);
                let Some(run) = asked.get(from..).filter(|run| !run.is_empty()) else { return Ok(answers) };
                for (i, question) in run.iter().take(RUN).enumerate() {
                    answers.push((from + i, looker.look(&question.place, &question.dir, what)));
                }
            }
        };
        let jobs = self.jobs.min(asked.len().div_ceil(RUN)).max(1);
        let mut found = std::thread::scope(|scope| {
            let mut workers = Vec::with_capacity(jobs);
            for _ in 0..jobs {
                // Where memory or processes are short, fewer do as well.
                match std::thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(worker) => workers.push(worker),
                    Err(e) if workers.is_empty() => return Err(Stop::io("cannot start a thread", &e)),
                    Err(_) => break,
                }
            }
            let mut all = Vec::with_capacity(asked.len());
            for worker in workers {
                // A worker that panicked would be a mistake of ours, and no answer.
                let answers = worker.join().map_err(|_| Stop::Trouble("a look-up died".to_string()))?;
                all.extend(answers?);
            }
            Ok::<_, Stop>(all)
        })?;
        found.sort_unstable_by_key(|(at, _)| *at);
        self.answers.clear();
        self.answers.extend(asked.into_iter().zip(found.into_iter().map(|(_, found)| found)));
        Ok(())
    }

    /// The answer to a question, that told ahead first if it is the same.
    pub fn ask(&mut self, place: &Arc<Place>, dir: &[u8]) -> Result<Found, Stop> {
        if !self.wants_ahead() {
            return self.looker.look(place, dir, self.what);
        }
        let same = |question: &Question| Arc::ptr_eq(&question.place, place) && question.dir == dir;
        // Answers come in the order of the questions; of an entry that was refused meanwhile nobody asks any more.
        match self.answers.iter().position(|(question, _)| same(question)) {
            Some(at) => drop(self.answers.drain(..at)),
            None => {
                self.asked.clear();
                self.ahead(place, dir);
                self.fetch()?;
            }
        }
        match self.answers.pop_front() {
            Some((_, found)) => found,
            None => Err(Stop::Trouble("a look-up without an answer".to_string())),
        }
    }
}

/// One who looks: what he knows of the last directory saves him the next way there.
struct Looker {
    /// Who looks.
    me: Uid,
    last: Vec<u8>,
    /// A directory that neighbours share, open, and the roots that it lies below.
    base: Option<(Vec<u8>, OwnedFd, Arc<Place>)>,
    path: Vec<u8>,
    files: HeadReader,
}

impl Default for Looker {
    fn default() -> Looker {
        Looker {
            me: rustix::process::geteuid(),
            last: Vec::new(),
            base: None,
            path: Vec::new(),
            files: HeadReader::default(),
        }
    }
}

impl Looker {
    fn look(&mut self, place: &Arc<Place>, dir: &[u8], what: Ask) -> Result<Found, Stop> {
        self.path.clear();
        self.path.extend_from_slice(dir);
        self.path.extend_from_slice(HEADER);
        self.choose_base(place, dir);
        self.last.clear();
        self.last.extend_from_slice(dir);
        let (first, root) = (&place.header, place.roots.of(MetaFile::Header));
        let seen = match &self.base {
            Some((base, fd, of)) if Arc::ptr_eq(of, place) && is_below(dir, base) => {
                header(fd, &self.path[base.len() + 1..], &self.path, first, root, self.me)?
            }
            _ => header(first, &self.path, &self.path, first, root, self.me)?,
        };
        let moved = matches!(seen, Seen::Header(_));
        let seen = match (seen, &place.data) {
            (Seen::Nothing, Some(data)) => header(data, &self.path, &self.path, data, &place.roots.data, self.me)?,
            (seen, _) => seen,
        };
        let file = match seen {
            Seen::Header(file) => file,
            Seen::Broken(refusal) => return Ok(Found::Broken(refusal)),
            Seen::Nothing => return Ok(Found::Nothing),
        };
        // With headers apart, the messages may still be another mailbox's.
        let messages = match place.data.as_ref().filter(|_| moved) {
            Some(data) => directory(data, dir, &place.roots.data)?,
            None => None,
        };
        let limit = match what {
            Ask::Presence => return Ok(Found::Header { moved, heads: None, facts: None, file, messages }),
            Ask::Heads => 0,
            Ask::Facts => fill::HEADER,
        };
        let (mut headers, mut indexes) = (place.headers(), place.indexes());
        let base = self.base.as_ref().filter(|(base, _, of)| Arc::ptr_eq(of, place) && is_below(dir, base));
        if let Some((base, fd, _)) = base {
            headers.start_at(root, fd, base.len() + 1);
            indexes.start_at(root, fd, base.len() + 1);
        }
        let heads = self.files.read(dir, &headers, &indexes, limit)?;
        let facts = match what {
            Ask::Facts => Some(Box::new(Facts::of(&mut self.files, &heads, dir, &headers, &indexes)?)),
            _ => None,
        };
        Ok(Found::Header { moved: moved && heads.index_in_place(), heads: Some(heads), facts, file, messages })
    }

    /// Opens the directory that this one and the last lie in, or is the last, once a second one lies there.
    fn choose_base(&mut self, place: &Arc<Place>, dir: &[u8]) {
        if self.base.as_ref().is_some_and(|(base, _, of)| Arc::ptr_eq(of, place) && is_below(dir, base)) {
            return;
        }
        self.base = None;
        let parent = match is_below(dir, &self.last) {
            true => self.last.as_slice(),
            false => &dir[..memchr::memrchr(b'/', dir).unwrap_or(0)],
        };
        // Of `user` alone all mailboxes are children, and the kernel knows the way there.
        if memchr::memchr(b'/', parent).is_none() || !is_below(&self.last, parent) && self.last != parent {
            return;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::openat(&place.header, parent, flags, Mode::empty()) {
            self.base = Some((parent.to_vec(), fd, Arc::clone(place)));
        }
    }
}

/// Whether `dir` lies below `base`.
fn is_below(dir: &[u8], base: &[u8]) -> bool {
    dir.strip_prefix(base).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// What stands where a header should.
enum Seen {
    Header(Inode),
    Broken(Refusal),
    Nothing,
}

/// Looks for a header at `tail` below `from`. Only "there is none" is nothing. What is there and no header is the
/// matter of that mailbox; whatever else the system says is trouble.
fn header(from: &OwnedFd, tail: &[u8], path: &[u8], root: &OwnedFd, shown: &Path, me: Uid) -> Result<Seen, Stop> {
    let name = |path: &[u8]| Name(shown.join(as_path(path)).as_os_str().as_bytes()).to_string();
    let trouble = |why: &str| Err(Stop::Trouble(format!("{}: {why}", name(path))));
    let broken = |why| {
        let what = format_args!("{} {why}: the server could not open the mailbox", name(path));
        Ok(Seen::Broken(Refusal::with("no cyrus.header in its place", what)))
    };
    match rustix::fs::statat(from, tail, AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            broken("is a directory, not a file")
        }
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => broken("is not a file"),
        Ok(stat) if stat.st_size == 0 => broken("is empty"),
        Ok(stat) => match is_readable(from, tail, &stat, me) {
            Ok(()) => Ok(Seen::Header(inode_of(&stat))),
            Err(e) => trouble(&denied(e, &shown.join(as_path(path)))),
        },
        Err(Errno::NOENT | Errno::NOTDIR) => match dangling(root, path) {
            None => Ok(Seen::Nothing),
            Some(link) => trouble(&format!("{} {DANGLING}", name(link))),
        },
        Err(e) => trouble(&denied(e, &shown.join(as_path(path)))),
    }
}

/// The directory of a mailbox's messages. 3.0 and later make none before the first message.
fn directory(root: &OwnedFd, dir: &[u8], shown: &Path) -> Result<Option<Inode>, Stop> {
    let trouble = |path: &[u8], why: &str| {
        Stop::Trouble(format!("{}{why}", Name(shown.join(as_path(path)).as_os_str().as_bytes())))
    };
    match rustix::fs::statat(root, dir, AtFlags::empty()) {
        Ok(stat) => Ok(Some(inode_of(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => match dangling(root, dir) {
            None => Ok(None),
            Some(link) => Err(trouble(link, &format!(" {DANGLING}"))),
        },
        Err(e) => Err(trouble(dir, &format!(": {}", denied(e, &shown.join(as_path(dir)))))),
    }
}

/// The message about a link without a target.
const DANGLING: &str = "is a link that leads nowhere: is what it leads to mounted?";

/// Whether who asks may read a file. The owner's own bits say it; of others the system is asked, which knows ACLs.
fn is_readable(from: &OwnedFd, tail: &[u8], stat: &Stat, me: Uid) -> Result<(), Errno> {
    if me.is_root() || (stat.st_uid == me.as_raw() && stat.st_mode & 0o400 != 0) {
        return Ok(());
    }
    rustix::fs::accessat(from, tail, Access::READ_OK, AtFlags::EACCESS)
}

/// The first component of a path that is a link to nothing, if one is: a user's directory on a disk that is not mounted
/// is not a mailbox that was lost.
fn dangling<'p>(root: &OwnedFd, path: &'p [u8]) -> Option<&'p [u8]> {
    let ends = memchr::memchr_iter(b'/', path).chain([path.len()]);
    for end in ends {
        let upto = &path[..end];
        match rustix::fs::statat(root, upto, AtFlags::empty()) {
            Ok(_) => {}
            Err(_) => {
                let link = rustix::fs::statat(root, upto, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                return (FileType::from_raw_mode(link.st_mode) == FileType::Symlink).then_some(upto);
            }
        }
    }
    None
}

/// What was found of each mailbox, for people, or its directory for other tools.
pub enum Table {
    /// A table.
    Rows(Box<csv::Writer<SideFile>>),
    /// Paths, each with a NUL behind it.
    Paths(BufWriter<SideFile>),
}

impl Table {
    /// A table in `file`, tsv if `path` says so; or the paths.
    pub fn new(file: SideFile, path: &Path, null: bool) -> Result<Table, Stop> {
        if null {
            return Ok(Table::Paths(BufWriter::new(file)));
        }
        let tsv = path.extension().is_some_and(|extension| extension == "tsv");
        let mut rows = csv::WriterBuilder::new().delimiter(if tsv { b'\t' } else { b',' }).from_writer(file);
        rows.write_record([
            "mailbox",
            "partition",
            "directory",
            "found",
            "new directory",
            "index minor",
            "header form",
            "opens",
        ])
        .map_err(SideFile::failed)?;
        Ok(Table::Rows(Box::new(rows)))
    }

    /// What was found of one mailbox, if it was looked for, and why the release to come cannot open it, if that is known;
    /// `there` is where that will look instead.
    pub fn row(
        &mut self,
        entry: &Entry<'_>,
        roots: &Roots,
        dir: &[u8],
        found: Option<(&Found, Option<Option<&Refusal>>)>,
        there: Option<&[u8]>,
    ) -> Result<(), Stop> {
        let (found, opens) = found.map_or((None, None), |(found, opens)| (Some(found), opens));
        let (root, what) = match found {
            Some(Found::Header { moved: true, .. }) => (roots.of(MetaFile::Header), "present"),
            Some(Found::Header { moved: false, .. }) => (roots.data.as_path(), "not moved yet"),
            Some(Found::Broken(_)) => (roots.of(MetaFile::Header), "broken"),
            Some(Found::Nothing) => (roots.of(MetaFile::Header), "missing"),
            None => (roots.of(MetaFile::Header), "not looked for"),
        };
        let path = root.join(as_path(dir));
        let path = path.as_os_str().as_bytes();
        let there =
            there.map(|there| root.join(as_path(there)).into_os_string().into_encoded_bytes()).unwrap_or_default();
        match self {
            Table::Rows(rows) => {
                let (minor, form, opens) = files(found, opens);
                rows.write_record([
                    entry.mailbox(),
                    entry.partition(),
                    path,
                    what.as_bytes(),
                    &there,
                    minor.as_bytes(),
                    form.as_bytes(),
                    opens.as_bytes(),
                ])
                .map_err(SideFile::failed)
            }
            Table::Paths(_) if !matches!(found, Some(Found::Header { .. })) => Ok(()),
            Table::Paths(paths) => {
                paths.write_all(path).and_then(|()| paths.write_all(b"\0")).map_err(SideFile::failed)
            }
        }
    }

    /// Ends it.
    pub fn finish(&mut self) -> Result<(), Stop> {
        match self {
            Table::Rows(rows) => rows.flush(),
            Table::Paths(paths) => paths.flush(),
        }
        .map_err(SideFile::failed)
    }
}

/// The columns of a mailbox's files: the minor version of its cyrus.index, the form of its cyrus.header, and whether the
/// release to come opens it. Empty is what is not known.
fn files(found: Option<&Found>, opens: Option<Option<&Refusal>>) -> (String, String, String) {
    let (mut minor, mut form) = (String::new(), String::new());
    if let Some(Found::Header { heads: Some(heads), .. }) = found {
        if let IndexSeen::Minor(seen) = heads.index {
            minor = seen.to_string();
        }
        if let Ok(seen) = heads.header {
            form = seen.to_string();
        }
    }
    let opens = match (found, opens) {
        (_, Some(Some(refusal))) => refusal.to_string(),
        (Some(Found::Broken(refusal)), Some(None)) => refusal.to_string(),
        (Some(Found::Header { heads: Some(_), .. }), Some(None)) => "yes".to_string(),
        _ => String::new(),
    };
    (minor, form, opens)
}
