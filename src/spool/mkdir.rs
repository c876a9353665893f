//! The directories of metapartitions: found, and made, and nothing else on the way.
//!
//! Every step is one component below a directory that is already open, without following links: a list can name
//! anything, and nothing of it may lead out of a root.

use crate::list::error::Stop;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::run::report::Report;
use crate::spool::aliases::{Aliases, Shared, inode_of};
use crate::spool::partitions::as_path;
use crate::spool::user::{Owner, denied};
use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes directories below one root.
pub struct DirMaker {
    path: PathBuf,
    root: OwnedFd,
    /// The components of the last directory, and what stands there.
    levels: Vec<(Vec<u8>, Level)>,
    /// The length of the part that exists of the directory that was looked for last, with the slash after it.
    reached: usize,
    rules: Rules,
    /// What a dry run told last, by hash: it must not tell the same again when a list comes back to a directory, and
    /// must not remember a list of any size.
    told: Vec<u64>,
}

/// What stands at a component.
enum Level {
    /// Nothing: a dry run would have made it.
    Missing,
    /// A directory. Most have no others below them, so that it is opened when that is asked for.
    There,
    Open(OwnedFd),
}

impl Level {
    fn open(&self) -> Option<&OwnedFd> {
        match self {
            Level::Open(fd) => Some(fd),
            Level::Missing | Level::There => None,
        }
    }
}

/// How directories are made.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Only tell what would be made.
    pub dry_run: bool,
    /// Who is to own them, if not who runs.
    pub owner: Option<Owner>,
    /// Their mode: the servers' 0755 less the `umask` of imapd.conf.
    pub mode: Mode,
}

/// The mode that the servers give directories: 0755 less imapd.conf's `umask` (default 077), read as they read it:
/// octal digits, anything else skipped (`global.c:cyrus_init`).
pub fn mode_under(umask: Option<&[u8]>) -> Mode {
    let digits = umask.unwrap_or(b"077").iter().filter(|b| (b'0'..=b'7').contains(b));
    let umask = digits.fold(0_u32, |n, b| (n << 3 | u32::from(b - b'0')) & 0o777);
    Mode::from_raw_mode(0o755 & !umask)
}

/// So many levels of the last directory stay open.
const KEPT_OPEN: usize = 16;

/// What a directory is called until it has its owner; no component of a mailbox begins with a dot.
const UNOWNED: &str = ".mbx-new";

/// So many directories a dry run remembers.
const TOLD: usize = 1 << 16;

const OPEN: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

impl DirMaker {
    /// Begins below `root`, which must be there: a missing one is an unmounted disk, not something to make.
    pub fn new(root: &Path, rules: Rules) -> Result<DirMaker, Stop> {
        // The root itself may be a link: it is the administrator's own word.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| {
            let hint = if e == Errno::ACCESS { "" } else { ": is the disk mounted?" };
            Stop::Trouble(format!("{}: {}{hint}", Name(root.as_os_str().as_bytes()), denied(e, root)))
        })?;
        let (path, levels, told) = (root.to_path_buf(), Vec::new(), Vec::new());
        Ok(DirMaker { path, root: fd, levels, reached: 0, rules, told })
    }

    /// Makes what is missing of `tail`, components between slashes. Calls `made` with the path of each new directory,
    /// below the root.
    pub fn make(&mut self, tail: &[u8], made: &mut dyn FnMut(&Path, &[u8])) -> Result<u64, Stop> {
        let mut count = 0;
        self.walk(tail, |maker, part, upto| {
            let (level, new) = maker.step(part, upto)?;
            if new {
                count += 1;
                made(&maker.path, upto);
            }
            Ok(Some(level))
        })?;
        Ok(count)
    }

    /// Opens `tail`, if it is there; nothing is made.
    pub fn find(&mut self, tail: &[u8]) -> Result<Option<&OwnedFd>, Stop> {
        match self.stat(tail)? {
            Some(_) => self.dir(tail),
            None => Ok(None),
        }
    }

    /// Returns the stat of `tail`, if it exists. Makes nothing.
    pub fn stat(&mut self, tail: &[u8]) -> Result<Option<Stat>, Stop> {
        // A dry run has made nothing.
        let there = self.levels.iter().position(|(_, level)| matches!(level, Level::Missing));
        self.levels.truncate(there.unwrap_or(self.levels.len()));
        self.reached = tail.len();
        let mut stat = None;
        let found = self.walk(tail, |maker, part, upto| {
            stat = maker.look(part, upto)?;
            if stat.is_none() {
                maker.reached = upto.len() - part.len();
            }
            Ok(stat.map(|_| Level::There))
        })?;
        match (found, stat, self.path.join(as_path(tail))) {
            (false, ..) => Ok(None),
            (true, Some(stat), _) => Ok(Some(stat)),
            // The same as the last time, or above it.
            (true, None, path) => match self.dir(tail)? {
                Some(dir) => rustix::fs::fstat(dir).map(Some).map_err(|e| failed(&path, b"", e)),
                None => Ok(None),
            },
        }
    }

    /// The last directory on the way to the one that was looked for last, and how much of its path that is.
    pub fn nearest(&self) -> Option<(&OwnedFd, usize)> {
        Some((self.above()?, self.reached))
    }

    /// Checks that the server can use the directory `tail` that was found last: enter it, and write its files there.
    pub fn is_usable(&mut self, tail: &[u8], stat: &Stat) -> Result<(), Stop> {
        let me = rustix::process::geteuid();
        if me.is_root() || (stat.st_uid == me.as_raw() && stat.st_mode & 0o300 == 0o300) {
            return Ok(());
        }
        let access = Access::EXEC_OK | Access::WRITE_OK;
        let asked = self.dir(tail)?.map(|dir| rustix::fs::accessat(dir, ".", access, AtFlags::EACCESS));
        match asked {
            Some(Err(Errno::ACCESS)) => Err(failed(&self.path, tail, Errno::ACCESS)),
            _ => Ok(()),
        }
    }

    /// The directory `tail` that was made or found last; none if a dry run would have made it.
    pub fn dir(&mut self, tail: &[u8]) -> Result<Option<&OwnedFd>, Stop> {
        if let Some(((part, level @ Level::There), above)) = self.levels.split_last_mut()
            && let Some(parent) = above.last().map_or(Some(&self.root), |(_, level)| level.open())
        {
            let opened = rustix::fs::openat(parent, part.as_slice(), OPEN, Mode::empty());
            *level = Level::Open(opened.map_err(|e| failed(&self.path, tail, e))?);
        }
        Ok(self.above())
    }

    /// What is open at the last component, or at the root above the first.
    fn above(&self) -> Option<&OwnedFd> {
        self.levels.last().map_or(Some(&self.root), |(_, level)| level.open())
    }

    /// Has the disk write down the names in the directory that was asked for last; with `above`, those of the
    /// directories above it, too.
    pub fn sync(&self, above: bool) -> Result<(), Stop> {
        let skipped = if above { 0 } else { self.levels.len().saturating_sub(1) };
        let dirs = self.levels.iter().skip(skipped).filter_map(|(_, level)| level.open());
        for fd in dirs.chain(above.then_some(&self.root)) {
            match rustix::fs::fsync(fd) {
                // A file system that cannot do it for directories.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(e) => return Err(failed(&self.path, b"", e)),
            }
        }
        Ok(())
    }

    /// Goes down `tail` from the last directory that is known, by `step`s, until one finds nothing. True if none does.
    fn walk(
        &mut self,
        tail: &[u8],
        mut step: impl FnMut(&mut DirMaker, &[u8], &[u8]) -> Result<Option<Level>, Stop>,
    ) -> Result<bool, Stop> {
        // Deep names on many partitions must not use up what a process may have open.
        self.levels.truncate(KEPT_OPEN);
        for (depth, part) in tail.split(|b| *b == b'/').enumerate() {
            if self.levels.get(depth).is_some_and(|(name, _)| depth < KEPT_OPEN && name == part) {
                continue;
            }
            self.levels.truncate(depth);
            let at = part.as_ptr().addr() - tail.as_ptr().addr();
            self.dir(&tail[..at.saturating_sub(1)])?;
            let Some(level) = step(self, part, &tail[..at + part.len()])? else { return Ok(false) };
            self.levels.push((part.to_vec(), level));
            if self.levels.len() > KEPT_OPEN + 1 {
                // Below those that stay open one takes the place of the one above it, which it needs to be opened.
                self.dir(&tail[..at + part.len()])?;
                self.levels.remove(KEPT_OPEN);
            }
        }
        self.levels.truncate(tail.split(|b| *b == b'/').count());
        Ok(true)
    }

    /// Whether a dry run has not told of this directory just before.
    fn tells(&mut self, upto: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(upto);
        let hash = hasher.finish();
        self.told.resize(TOLD, 0);
        // The remainder is below the length.
        let slot = &mut self.told[(hash % TOLD as u64) as usize];
        std::mem::replace(slot, hash) != hash
    }

    /// Returns the stat of one component below the last directory, if it exists. A link or a file there is trouble.
    fn look(&self, part: &[u8], upto: &[u8]) -> Result<Option<Stat>, Stop> {
        let Some(parent) = self.above() else { return Ok(None) };
        match rustix::fs::statat(parent, part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(Some(stat)),
            Ok(_) => {
                Err(trouble(&self.path, upto, "is a link or a file, not a directory, and nothing is made behind it"))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed(&self.path, upto, e)),
        }
    }

    /// Makes one component below the last directory if it is not there. True if it was not.
    fn step(&mut self, part: &[u8], upto: &[u8]) -> Result<(Level, bool), Stop> {
        if self.look(part, upto)?.is_some() {
            return Ok((Level::There, false));
        }
        let parent = match self.above() {
            Some(parent) if !self.rules.dry_run => parent,
            // Only a dry run has nothing above.
            _ => return Ok((Level::Missing, self.tells(upto))),
        };
        let runs_as = (rustix::process::geteuid(), rustix::process::getegid());
        if self.rules.owner.is_none() && runs_as.0.is_root() {
            return Err(trouble(
                &self.path,
                upto,
                "is to be made, but by root it would be root's, and the server could not use it: run as the Cyrus user, \
                 or tell --owner cyrus:mail",
            ));
        }
        match self.rules.owner {
            Some(Owner { uid, gid }) if (uid, gid) != runs_as => {
                // Many may be at work in this directory, and UNOWNED is one name for all. On a file system without
                // locks they must come one behind the other.
                let locked = rustix::fs::flock(parent, FlockOperation::LockExclusive).is_ok();
                let made = self.make_owned(parent, part, upto);
                if locked {
                    rustix::fs::flock(parent, FlockOperation::Unlock).map_err(|e| failed(&self.path, upto, e))?;
                }
                made.map(|new| (Level::There, new))
            }
            _ => self
                .make_one(parent, part, part)
                .map(|()| (Level::There, true))
                .map_err(|e| failed(&self.path, upto, e)),
        }
    }

    /// Makes a directory that is under its name with its owner or not at all, wherever we are killed. False if somebody
    /// else has made it while we waited.
    fn make_owned(&self, parent: &OwnedFd, part: &[u8], upto: &[u8]) -> Result<bool, Stop> {
        if self.look(part, upto)?.is_some() {
            return Ok(false);
        }
        let made = self.make_one(parent, UNOWNED.as_bytes(), part);
        if made.is_err() {
            // What is left under the other name is in nobody's way, but no mailbox's either.
            let _ = rustix::fs::unlinkat(parent, UNOWNED.as_bytes(), AtFlags::REMOVEDIR);
        }
        made.map(|()| true).map_err(|e| failed(&self.path, upto, e))
    }

    /// Makes a directory as `first`, gives it its owner, and then its own name.
    fn make_one(&self, parent: &OwnedFd, first: &[u8], part: &[u8]) -> Result<(), Errno> {
        match rustix::fs::mkdirat(parent, first, self.rules.mode) {
            // Of a run that was killed, or somebody was quicker; what counts is that it is a directory.
            Err(Errno::EXIST) => {
                rustix::fs::openat(parent, first, OPEN, Mode::empty())?;
            }
            made => made?,
        }
        if let Some(Owner { uid, gid }) = self.rules.owner {
            rustix::fs::chownat(parent, first, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if first != part {
            rustix::fs::renameat(parent, first, parent, part)?;
        }
        Ok(())
    }
}

fn failed(root: &Path, upto: &[u8], error: Errno) -> Stop {
    let path = root.join(as_path(upto));
    Stop::Trouble(format!("{}: {}", Name(path.as_os_str().as_bytes()), denied(error, &path)))
}

fn trouble(root: &Path, upto: &[u8], what: &str) -> Stop {
    let path = [root.as_os_str().as_bytes(), b"/", upto].concat();
    Stop::Trouble(format!("{} {what}", Name(&path)))
}

/// The makers of all roots that a list needs, each begun when it is first asked for.
pub struct Makers {
    rules: Rules,
    makers: Vec<DirMaker>,
}

impl Makers {
    /// None yet.
    pub fn new(rules: Rules) -> Makers {
        Makers { rules, makers: Vec::new() }
    }

    /// How they make directories.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Makes what is missing of `tail` below each of `roots`, and tells of it if nothing is to be made.
    pub fn make(&mut self, roots: &[PathBuf], tail: &[u8], report: &Report) -> Result<u64, Stop> {
        let dry_run = self.rules.dry_run;
        let mut told = |root: &Path, tail: &[u8]| {
            if dry_run {
                let path = [root.as_os_str().as_bytes(), b"/", tail].concat();
                report.answer(format_args!("would make {}", Name(&path)));
            }
        };
        roots.iter().try_fold(0, |made, root| Ok(made + self.below(root)?.make(tail, &mut told)?))
    }

    /// Looks for `tail` below each of `roots`: the server must be able to use it, and it must be this mailbox's own. Makes
    /// nothing. `shared` records directories that may be another mailbox's, too.
    pub fn look(
        &mut self,
        roots: &[PathBuf],
        tail: &[u8],
        mailbox: &[u8],
        aliases: &Aliases,
        shared: &mut Shared,
    ) -> Result<Result<(), Refusal>, Stop> {
        for path in roots {
            let maker = self.below(path)?;
            let found = maker.stat(tail)?;
            if let Some(stat) = &found {
                maker.is_usable(tail, stat)?;
                shared.directory(inode_of(stat), mailbox)?;
            }
            let straight = aliases.straight(path, tail);
            let mounted = straight.is_none();
            let location = match (straight, &found) {
                (Some(location), _) => location,
                (None, Some(_)) => match maker.dir(tail)? {
                    Some(dir) => aliases.location(dir, b"")?,
                    None => continue,
                },
                (None, None) => match maker.nearest() {
                    Some((nearest, reached)) => aliases.location(nearest, &tail[reached..])?,
                    None => continue,
                },
            };
            if let Err(refusal) = aliases.is_own(&location, tail, &path.join(as_path(tail))) {
                return Ok(Err(refusal));
            }
            // The first of two missing ones may exist when the second is looked for.
            if mounted {
                shared.place(&location, mailbox)?;
            }
        }
        Ok(Ok(()))
    }

    /// The maker below `root`.
    pub fn below(&mut self, root: &Path) -> Result<&mut DirMaker, Stop> {
        let at = match self.makers.iter().position(|maker| maker.path == root) {
            Some(at) => at,
            None => {
                self.makers.push(DirMaker::new(root, self.rules)?);
                self.makers.len() - 1
            }
        };
        Ok(&mut self.makers[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_the_servers() {
        assert_eq!(mode_under(None).as_raw_mode(), 0o700);
        assert_eq!(mode_under(Some(b"022")).as_raw_mode(), 0o755);
        assert_eq!(mode_under(Some(b"0o27")).as_raw_mode(), 0o750);
    }

    #[test]
    fn directories_are_made_once_and_never_behind_a_link() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let outside = tempfile::tempdir()?;
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link"))?;
        std::fs::write(dir.path().join("file"), "")?;
        let id = (rustix::process::geteuid(), rustix::process::getegid());
        let owner = Some(Owner { uid: id.0, gid: id.1 });
        let rules = Rules { dry_run: false, owner, mode: mode_under(None) };
        let mut maker = DirMaker::new(dir.path(), rules).map_err(|e| format!("{e:?}"))?;
        let mut made = Vec::new();
        let mut note = |_: &Path, tail: &[u8]| made.push(String::from_utf8_lossy(tail).into_owned());
        for tail in ["user/bob", "user/bob/Sent", "user/bob-2", "user/bob/Sent", "user"] {
            assert!(maker.make(tail.as_bytes(), &mut note).is_ok(), "{tail}");
        }
        assert_eq!(made, ["user", "user/bob", "user/bob/Sent", "user/bob-2"]);
        for tail in ["link/x", "file/x"] {
            assert!(maker.make(tail.as_bytes(), &mut |_, _| ()).is_err(), "{tail}");
        }
        assert_eq!(std::fs::read_dir(outside.path())?.count(), 0);
        let mut dry = DirMaker::new(dir.path(), Rules { dry_run: true, ..rules }).map_err(|e| format!("{e:?}"))?;
        let mut would = 0;
        for tail in ["user/zoe/Sent", "user/bob", "user/zoe"] {
            would += dry.make(tail.as_bytes(), &mut |_, _| ()).map_err(|e| format!("{e:?}"))?;
        }
        assert_eq!(would, 2);
        assert!(!dir.path().join("user/zoe").exists());
        Ok(())
    }
}
