//! The cyrus.* files of a mailbox, brought from the spool to the roots where the server will look for them.
//!
//! All files of a mailbox are looked at before the first is touched. No name goes away before another one, on the disk,
//! holds the same bytes; so whoever kills us at any moment, the next run finds what it needs to end where this one
//! would have ended.

use crate::list::error::{Stop, reason};
use crate::list::hold::Sorter;
use crate::mailbox::rejection::{At, Refusal};
use crate::mailbox::text::Name;
use crate::run::report::Report;
use crate::spool::aliases::{Aliases, Shared, inode_of};
use crate::spool::mkdir::Makers;
use crate::spool::partitions::{MetaFile, Roots, as_path};
use crate::spool::user::denied;
use rustix::fs::{Advice, AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What becomes of the files in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They stay.
    Copy,
    /// They go, when they are in the other place.
    Move,
}

/// Which of two files counts that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Prefer {
    /// The one in the spool.
    Spool,
    /// The one on the metapartition.
    Meta,
}

/// What was done, or what a dry run would do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Files copied or moved.
    pub brought: u64,
    /// Files that were in their place already.
    pub there: u64,
    /// Files of the spool that gave way to different ones (`--prefer meta`).
    pub outdone: u64,
    /// Mailboxes of which nothing was left to do.
    pub idle: u64,
}

/// What is to be done about one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is none, or none in the spool and one in its place.
    None { there: bool },
    /// It is only in the spool.
    Transfer,
    /// It is in both, they differ, and the spool's counts.
    Replace,
    /// It is in both, alike.
    Equal,
    /// It is in both, they differ, and the metapartition's counts.
    Superseded,
}

impl Step {
    fn brings(self) -> bool {
        matches!(self, Step::Transfer | Step::Replace)
    }
}

/// How much of the mailboxes that wait is in memory.
const MEMORY: usize = 4 * 1024 * 1024;

/// The mailboxes of a list in its order, until all of it was looked at.
pub struct Waiting {
    /// Number, partition, NUL, directory, NUL, mailbox.
    sorter: Sorter,
    count: u64,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { sorter: Sorter::with_memory(MEMORY), count: 0 }
    }
}

impl Waiting {
    /// One more.
    pub fn push(&mut self, partition: &[u8], tail: &[u8], mailbox: &[u8]) -> Result<(), Stop> {
        self.count += 1;
        self.sorter.push(&[&self.count.to_be_bytes(), partition, b"\0", tail, b"\0", mailbox].concat())
    }

    /// Does with each, its partition, directory and name, what was waited for.
    pub fn each(self, mut work: impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        let sorted = self.sorter.sorted()?;
        let mut records = sorted.read()?;
        while let Some(record) = records.advance()? {
            let mut fields = record.get(size_of::<u64>()..).unwrap_or_default().splitn(3, |b| *b == 0);
            if let (Some(partition), Some(tail), Some(mailbox)) = (fields.next(), fields.next(), fields.next()) {
                work(partition, tail, mailbox)?;
            }
        }
        Ok(())
    }
}

/// Brings the files of one mailbox after another.
pub struct Mover {
    way: Way,
    prefer: Option<Prefer>,
    /// The data roots that were opened.
    spools: Vec<(PathBuf, OwnedFd)>,
    /// The directory in the spool of the mailbox that was looked at, if it has one.
    from: Option<OwnedFd>,
    /// What is to be done about each of its files that are kept apart.
    steps: Vec<Step>,
    /// What each of them was in the spool when it was looked at.
    seen: Vec<Option<Stat>>,
    /// Those that only the metapartition has.
    left: Vec<&'static str>,
    buffers: [Vec<u8>; 2],
    /// What was done up to now.
    pub done: Done,
}

impl Mover {
    /// Goes `way`; without `prefer` files that differ are refused.
    pub fn new(way: Way, prefer: Option<Prefer>) -> Mover {
        let buffers = [Vec::new(), Vec::new()];
        Mover {
            way,
            prefer,
            spools: Vec::new(),
            from: None,
            steps: Vec::new(),
            seen: Vec::new(),
            left: Vec::new(),
            buffers,
            done: Done::default(),
        }
    }

    /// A file that no server makes anew and that was kept apart before, where this configuration looks for it
    /// in the spool. It is not brought back.
    fn no_longer_apart(&self, roots: &Roots, tail: &[u8], makers: &mut Makers) -> Result<Option<Refusal>, Stop> {
        for file in MetaFile::ALL.into_iter().filter(|file| !file.can_be_made_anew() && roots.of(*file) == roots.data) {
            let at = |meta| Place { file, tail, spool: &roots.data, meta };
            // Mostly there is a header and an index, and nothing more is to be asked of the disk.
            if at(&roots.data).stat(self.from.as_ref(), &roots.data)?.is_some() {
                continue;
            }
            for root in &roots.meta {
                let place = at(root);
                if place.stat(makers.below(root)?.find(tail)?, root)?.is_some() {
                    let detail = format_args!(
                        "the server will look for {1}, not {0}: metapartition_files has no word {2}; add it, or move these \
                         files yourself",
                        place.show(root),
                        place.show(place.spool),
                        file.word()
                    );
                    return Ok(Some(Refusal::with("file that is no longer kept apart", detail)));
                }
            }
        }
        Ok(None)
    }

    /// Looks at all files of the mailbox whose directory is `tail`, and says what [`Mover::bring`] is to do about each.
    /// Nothing is touched. `shared` takes note of its directory and files.
    pub fn look(
        &mut self,
        mailbox: &[u8],
        roots: &Roots,
        tail: &[u8],
        makers: &mut Makers,
        aliases: &Aliases,
        mut shared: Option<&mut Shared>,
    ) -> Result<Result<(), Refusal>, Stop> {
        self.steps.clear();
        self.seen.clear();
        self.left.clear();
        self.from = match aliases.open(self.spool(&roots.data)?, &roots.data, tail)? {
            None => None,
            Some((dir, location)) => {
                if let Err(refusal) = aliases.is_own(&location, tail, &roots.data.join(as_path(tail))) {
                    return Ok(Err(refusal));
                }
                if let Some(shared) = &mut shared {
                    let stat = rustix::fs::fstat(&dir);
                    let stat = stat.map_err(|e| Stop::io(show(&roots.data, tail), &io::Error::from(e)))?;
                    shared.directory(inode_of(&stat), mailbox)?;
                }
                Some(dir)
            }
        };
        let (mut differ, mut missing) = (Vec::new(), Vec::new());
        for (file, root) in roots.apart() {
            let (from, to) = (self.from.as_ref(), makers.below(root)?.find(tail)?);
            let place = Place { file: *file, tail, spool: &roots.data, meta: root };
            let found = place.stat(from, place.spool)?;
            self.seen.push(found);
            let there = place.stat(to, place.meta)?;
            for stat in found.iter().chain(&there).filter(|stat| stat.st_nlink > 1) {
                if let Some(shared) = &mut shared {
                    shared.file(*file, inode_of(stat), mailbox)?;
                }
            }
            let step = match (from.zip(found), to.zip(there)) {
                (None, None) => {
                    if file.is_needed() {
                        missing.push(format!(
                            "neither {} nor {} exists",
                            place.show(place.spool),
                            place.show(place.meta)
                        ));
                    }
                    Step::None { there: false }
                }
                (None, Some(_)) => {
                    if !file.is_needed() {
                        self.left.push(file.name());
                    }
                    Step::None { there: true }
                }
                (Some(_), None) => Step::Transfer,
                (Some(old), Some(new)) => match place.step_of_two(old, new, self.prefer, &mut self.buffers)? {
                    Some(step) => step,
                    None => {
                        differ.push(file.name());
                        Step::None { there: true }
                    }
                },
            };
            self.steps.push(step);
        }
        if let Some(refusal) = self.no_longer_apart(roots, tail, makers)? {
            return Ok(Err(refusal));
        }
        if !missing.is_empty() {
            return Ok(Err(Refusal::with(
                "no file in the spool or on the metapartition",
                format_args!(
                    "{}; mbx-check-paths drops such mailboxes, and finds those that the old host hashed otherwise \
                     (--spool-conf)",
                    missing.join(", ")
                ),
            )));
        }
        if !differ.is_empty() {
            let detail = format_args!("{}: choose with --prefer spool or --prefer meta", differ.join(", "));
            return Ok(Err(Refusal::with("files that differ in spool and metapartition", detail)));
        }
        Ok(Ok(()))
    }

    /// Reports the files of the mailbox that was looked at that may be older than the rest.
    pub fn report_older(&self, at: At<'_>, mailbox: &[u8], report: &mut Report) {
        if self.steps.contains(&Step::Replace) && !self.left.is_empty() {
            let detail = format_args!(" ({}): is it older than the other files?", self.left.join(", "));
            report.loss(at, "file that is no longer in the spool stays on the metapartition", detail, mailbox);
        }
    }

    /// Brings the files of the mailbox that was looked at to where they belong. Their directories are there; whether
    /// they are new, `made` tells.
    pub fn bring(
        &mut self,
        roots: &Roots,
        tail: &[u8],
        made: bool,
        makers: &mut Makers,
        report: &Report,
    ) -> Result<(), Stop> {
        let moves = self.way == Way::Move;
        let places = || roots.apart().iter().map(|(file, meta)| Place { file: *file, tail, spool: &roots.data, meta });
        // With --copy all that is left of files that are alike, or outdone, is to say so.
        let idle = |step: &Step| matches!(step, Step::None { .. }) || !(moves || step.brings());
        let steps = self.steps.iter().copied();
        self.done.idle += u64::from(self.steps.iter().all(idle));
        if makers.rules().dry_run {
            steps.zip(places()).for_each(|(step, place)| {
                self.done.count(step);
                place.tell(step, self.way, report);
            });
            return Ok(());
        }
        let Some(from) = self.from.as_ref().filter(|_| !self.steps.iter().all(idle)) else {
            steps.for_each(|step| self.done.count(step));
            return Ok(());
        };
        // Which files are now in their place and still in the spool; what was renamed is not.
        let mut twice = [false; MetaFile::ALL.len()];
        for ((step, place), twice) in steps.zip(places()).zip(&mut twice) {
            let Some(to) = makers.below(place.meta)?.dir(tail)? else { continue };
            *twice = match step {
                Step::None { .. } => false,
                Step::Transfer | Step::Replace => {
                    let renamed = moves && place.rename(from, place.file.name(), to, step == Step::Replace)?;
                    if !renamed {
                        place.copy(from, to, step == Step::Replace, &mut self.buffers)?;
                    }
                    !renamed
                }
                Step::Equal | Step::Superseded if moves => {
                    // Whoever put it there may not have waited for the disk.
                    let file = place.open(to, place.meta)?;
                    rustix::fs::fsync(&file).map_err(|e| place.failed(place.meta, e))?;
                    true
                }
                Step::Equal | Step::Superseded => false,
            };
            self.done.count(step);
        }
        for root in &roots.meta {
            if places().zip(twice).any(|(place, twice)| twice && place.meta == root) {
                makers.below(root)?.sync(made)?;
            }
        }
        for ((place, _), seen) in places().zip(twice).zip(&self.seen).filter(|((_, twice), _)| *twice) {
            // What was written to it since it was looked at is in no other place.
            let now = place.stat(Some(from), place.spool)?;
            if !now.zip(*seen).is_some_and(|(now, seen)| is_one(&now, &seen) && state(&now) == state(&seen)) {
                return Err(Stop::Trouble(format!(
                    "{} changed while it was {}, and is kept: is the server running? {} is the older copy",
                    place.show(place.spool),
                    if moves { "moved" } else { "copied" },
                    place.show(place.meta)
                )));
            }
            if !moves {
                continue;
            }
            rustix::fs::unlinkat(from, place.file.name(), AtFlags::empty())
                .map_err(|e| place.failed(place.spool, e))?;
        }
        Ok(())
    }

    /// The root of a data partition, open.
    fn spool(&mut self, root: &Path) -> Result<&OwnedFd, Stop> {
        let at = match self.spools.iter().position(|(path, _)| path == root) {
            Some(at) => at,
            None => {
                let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
                let opened = rustix::fs::open(root, flags, Mode::empty());
                let fd = opened.map_err(|e| {
                    let hint = if e == Errno::ACCESS { "" } else { ": is the disk mounted?" };
                    Stop::Trouble(format!("{}: {}{hint}", Name(root.as_os_str().as_bytes()), denied(e, root)))
                })?;
                self.spools.push((root.to_path_buf(), fd));
                self.spools.len() - 1
            }
        };
        Ok(&self.spools[at].1)
    }
}

impl Done {
    fn count(&mut self, step: Step) {
        match step {
            Step::None { there: false } => {}
            Step::None { there: true } | Step::Equal => self.there += 1,
            Step::Transfer | Step::Replace => self.brought += 1,
            Step::Superseded => self.outdone += 1,
        }
    }
}

/// Whether two are one and the same.
fn is_one(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// Whether two of different devices may be one all the same.
fn may_be_one(a: &Stat, b: &Stat) -> bool {
    a.st_ino == b.st_ino && state(a) == state(b)
}

/// What changes of a file with whatever is done to it.
fn state(stat: &Stat) -> impl PartialEq + use<> {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

fn show(root: &Path, tail: &[u8]) -> String {
    Name(root.join(as_path(tail)).as_os_str().as_bytes()).to_string()
}

/// Two files are compared in pieces of so many bytes.
const PIECE: usize = 256 * 1024;

/// One file of a mailbox, and its two places.
struct Place<'a> {
    file: MetaFile,
    tail: &'a [u8],
    spool: &'a Path,
    meta: &'a Path,
}

impl Place<'_> {
    fn path(&self, root: &Path) -> PathBuf {
        root.join(as_path(self.tail)).join(self.file.name())
    }

    fn show(&self, root: &Path) -> String {
        Name(self.path(root).as_os_str().as_bytes()).to_string()
    }

    fn failed(&self, root: &Path, e: impl Into<io::Error>) -> Stop {
        Stop::Trouble(format!("{}: {}", self.show(root), reason(&e.into())))
    }

    /// What is to be done about a file that is in both places, each with its directory; none if nobody said which
    /// counts.
    fn step_of_two(
        &self,
        (from, old): (&OwnedFd, Stat),
        (to, new): (&OwnedFd, Stat),
        prefer: Option<Prefer>,
        buffers: &mut [Vec<u8>; 2],
    ) -> Result<Option<Step>, Stop> {
        if is_one(&old, &new) {
            return Ok(Some(match is_one(&self.stat_dir(from)?, &self.stat_dir(to)?) {
                // The metapartition leads into the spool; what is there is in its place.
                true => Step::None { there: true },
                // Two names of one file.
                false => Step::Equal,
            }));
        }
        let alike = old.st_size == new.st_size && {
            let (mut from, mut to) = (self.open(from, self.spool)?, self.open(to, self.meta)?);
            self.are_alike(&mut from, &mut to, buffers)?
        };
        Ok(match prefer {
            // One disk behind two mounts that call it by two numbers, it may be: what would go away could be all there is.
            _ if alike && may_be_one(&old, &new) => Some(Step::None { there: true }),
            _ if alike => Some(Step::Equal),
            Some(Prefer::Spool) => Some(Step::Replace),
            Some(Prefer::Meta) => Some(Step::Superseded),
            None => None,
        })
    }

    /// What a dry run says.
    fn tell(&self, step: Step, way: Way, report: &Report) {
        let (old, new) = (self.show(self.spool), self.show(self.meta));
        match (step, way) {
            (Step::Transfer, Way::Copy) => report.answer(format_args!("would copy {old} to {new}")),
            (Step::Transfer, Way::Move) => report.answer(format_args!("would move {old} to {new}")),
            (Step::Replace, Way::Copy) => report.answer(format_args!("would copy {old} over {new}, which differs")),
            (Step::Replace, Way::Move) => report.answer(format_args!("would move {old} over {new}, which differs")),
            (Step::Equal, Way::Move) => report.answer(format_args!("would remove {old}: {new} is the same")),
            (Step::Superseded, Way::Move) => {
                report.answer(format_args!("would remove {old}: {new} differs and is preferred"))
            }
            _ => {}
        }
    }

    /// What is there; only a file is taken for one.
    fn stat(&self, dir: Option<&OwnedFd>, root: &Path) -> Result<Option<Stat>, Stop> {
        let Some(dir) = dir else { return Ok(None) };
        match rustix::fs::statat(dir, self.file.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Ok(Some(stat)),
                FileType::Symlink => Err(Stop::Trouble(format!("{} is a link, not a file", self.show(root)))),
                _ => Err(Stop::Trouble(format!("{} is not a file", self.show(root)))),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.failed(root, e)),
        }
    }

    fn stat_dir(&self, dir: &OwnedFd) -> Result<Stat, Stop> {
        rustix::fs::fstat(dir).map_err(|e| self.failed(self.spool, e))
    }

    fn open(&self, dir: &OwnedFd, root: &Path) -> Result<File, Stop> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::openat(dir, self.file.name(), flags, Mode::empty())
            .map(File::from)
            .map_err(|e| self.failed(root, e))
    }

    /// Compares what is left to read of two files.
    fn are_alike(&self, old: &mut File, new: &mut File, buffers: &mut [Vec<u8>; 2]) -> Result<bool, Stop> {
        loop {
            for ((file, root), buffer) in
                [(&mut *old, self.spool), (&mut *new, self.meta)].into_iter().zip(&mut *buffers)
            {
                buffer.clear();
                file.take(PIECE as u64).read_to_end(buffer).map_err(|e| self.failed(root, e))?;
            }
            if buffers[0] != buffers[1] {
                return Ok(false);
            }
            if buffers[0].is_empty() {
                return Ok(true);
            }
        }
    }

    /// Gives the file `name` of `from` its place. False if that is another file system, or cannot rename so.
    fn rename(&self, from: &OwnedFd, name: &str, to: &OwnedFd, replace: bool) -> Result<bool, Stop> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let file = self.file.name();
        let renamed = match rustix::fs::renameat_with(from, name, to, file, flags) {
            // Not every file system knows how not to replace; it was looked at, nothing was there.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(from, name, to, file),
            renamed => renamed,
        };
        match renamed {
            Ok(()) => Ok(true),
            Err(Errno::XDEV) => Ok(false),
            Err(Errno::EXIST) => Err(Stop::Trouble(format!(
                "{} was created just now by another process: is the server running?",
                self.show(self.meta)
            ))),
            Err(e) => Err(self.failed(self.meta, e)),
        }
    }

    /// Copies the file into its place, where all of it appears at once, when it is on the disk and reads as the old
    /// one.
    fn copy(&self, from: &OwnedFd, to: &OwnedFd, replace: bool, buffers: &mut [Vec<u8>; 2]) -> Result<(), Stop> {
        let name = format!(".{}.mbx-new", self.file.name());
        match rustix::fs::unlinkat(to, &name, AtFlags::empty()) {
            // One who was killed left it.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(self.failed(self.meta, e)),
        }
        let copied =
            self.copy_as(&name, from, to, buffers).and_then(|()| match self.rename(to, &name, to, replace)? {
                true => Ok(()),
                false => Err(self.failed(self.meta, Errno::XDEV)),
            });
        if copied.is_err() {
            // What stays behind is overwritten by the next run.
            let _ = rustix::fs::unlinkat(to, &name, AtFlags::empty());
        }
        copied
    }

    fn copy_as(&self, name: &str, from: &OwnedFd, to: &OwnedFd, buffers: &mut [Vec<u8>; 2]) -> Result<(), Stop> {
        let failed = |e: Errno| self.failed(self.meta, e);
        let mut old = self.open(from, self.spool)?;
        let stat = rustix::fs::fstat(&old).map_err(|e| self.failed(self.spool, e))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut new = File::from(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?);
        io::copy(&mut old, &mut new).map_err(|e| self.failed(self.meta, e))?;
        if rustix::process::geteuid().is_root() {
            let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            rustix::fs::fchown(&new, Some(owner), Some(group)).map_err(failed)?;
        }
        rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed)?;
        let time = |tv_sec, nanoseconds| Timespec { tv_sec, tv_nsec: nanoseconds as _ };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        rustix::fs::futimens(&new, &times).map_err(failed)?;
        rustix::fs::fsync(&new).map_err(failed)?;
        // What is compared is to come from the disk, as far as it can be asked for.
        let _ = rustix::fs::fadvise(&new, 0, None, Advice::DontNeed);
        old.rewind().map_err(|e| self.failed(self.spool, e))?;
        new.rewind().map_err(|e| self.failed(self.meta, e))?;
        match self.are_alike(&mut old, &mut new, buffers)? {
            true => Ok(()),
            false => Err(Stop::Trouble(format!(
                "{}: the copy differs from {}, which is kept: is the server running, or the disk broken?",
                self.show(self.meta),
                self.show(self.spool)
            ))),
        }
    }
}
