//! One directory by several names: links, mounts, and roots inside roots.
//!
//! A directory is known by its file system and the path inside that, which is one and the same through whatever link or
//! mount it was reached. So it is known of which root it is a part, and whose it is there, though no list names the
//! mailbox.

use crate::list::error::Stop;
use crate::list::hold::Sorter;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::{Count, Name};
use crate::run::report::Report;
use crate::spool::conf::Conf;
use crate::spool::partitions::{MetaFile, Roster, as_path};
use crate::spool::user::denied;
use rustix::fs::{Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The device of a file system, as mountinfo has it, and a path inside that; no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(Vec<u8>);

impl Location {
    /// The path of `self` below `root`, without a slash before it.
    fn below<'l>(&'l self, root: &Location) -> Option<&'l [u8]> {
        match self.0.strip_prefix(root.0.as_slice())? {
            b"" => Some(b""),
            [b'/', tail @ ..] => Some(tail),
            _ => None,
        }
    }

    /// The place of `tail` below.
    fn join(&self, tail: &[u8]) -> Location {
        let slash: &[u8] = if tail.is_empty() { b"" } else { b"/" };
        Location([&self.0, slash, tail].concat())
    }
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount {
    id: Vec<u8>,
    device: Vec<u8>,
    /// The directory of the file system that is mounted.
    root: Vec<u8>,
    /// The directory on which it is mounted.
    point: Vec<u8>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut fields = line.split(|b| *b == b' ');
        let (id, device) = (fields.next()?, fields.nth(1)?);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        Some(Mount { id: id.to_vec(), device: device.to_vec(), root, point })
    }
}

/// A path of mountinfo: `\040` is a blank. Of `/` nothing is left.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        match more.split_at_checked(3) {
            Some((digits, after)) if byte == b'\\' && digits.iter().all(|b| (b'0'..=b'7').contains(b)) => {
                path.push(digits.iter().fold(0_u8, |n, b| n << 3 | (b - b'0')));
                rest = after;
            }
            _ => path.push(byte),
        }
    }
    if path == b"/" {
        path.clear();
    }
    path
}

/// Every mount that this process sees.
struct Mounts(Vec<Mount>);

const MOUNTS: &str = "/proc/self/mountinfo";

impl Mounts {
    fn read() -> Result<Mounts, Stop> {
        let text = std::fs::read(MOUNTS).map_err(|e| Stop::io(MOUNTS, &e))?;
        Ok(Mounts(text.split(|b| *b == b'\n').filter_map(Mount::parse).collect()))
    }

    /// The path of an open directory.
    fn path(fd: &OwnedFd) -> Result<Vec<u8>, Stop> {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let path = std::fs::read_link(&link).map_err(|e| Stop::io(link, &e))?.into_os_string().into_encoded_bytes();
        Ok(if path == b"/" { Vec::new() } else { path })
    }

    /// The place of an open directory.
    fn location(&self, fd: &OwnedFd) -> Result<Location, Stop> {
        let file = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let info = std::fs::read(&file).map_err(|e| Stop::io(&file, &e))?;
        let id = info.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:")).map(<[u8]>::trim_ascii);
        let path = Mounts::path(fd)?;
        let mount = self.0.iter().find(|mount| Some(mount.id.as_slice()) == id);
        match mount.and_then(|mount| Some((mount, path.strip_prefix(mount.point.as_slice())?))) {
            Some((mount, rest)) => Ok(Location([&mount.device[..], b" ", &mount.root, rest].concat())),
            None => {
                Err(Stop::Trouble(format!("{}: {MOUNTS} has no mount for it: was it mounted just now?", Name(&path))))
            }
        }
    }
}

/// A directory that the configuration names.
struct Root {
    /// The option.
    option: Vec<u8>,
    path: PathBuf,
    location: Location,
    /// Set if mailboxes have directories below it. Below a search partition users have.
    has_mailboxes: bool,
    /// Set if something is mounted below it.
    has_mounts: bool,
}

/// All directories of a configuration that hold mailboxes, or what belongs to them.
pub struct Aliases {
    mounts: Mounts,
    roots: Vec<Root>,
}

impl Aliases {
    /// Looks at every root that `conf` and `roster` name: also at those of which no list has a mailbox. One that is not
    /// there holds nothing.
    pub fn of(conf: &Conf, roster: &Roster) -> Result<Aliases, Stop> {
        let mut aliases = Aliases { mounts: Mounts::read()?, roots: Vec::new() };
        for (option, path) in conf.roots() {
            aliases.add(option, as_path(path))?;
        }
        // Those of the command line.
        for (name, roots) in roster.all() {
            for path in std::iter::once(&roots.data).chain(&roots.meta) {
                if !path.as_os_str().is_empty() && aliases.root(path).is_none() {
                    aliases.add(&[b"partition ", name].concat(), path)?;
                }
            }
        }
        Ok(aliases)
    }

    fn add(&mut self, option: &[u8], path: &Path) -> Result<(), Stop> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            // Nothing can lead there, and a mailbox that needs it meets it again.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
            Err(e) => return Err(Stop::Trouble(format!("{}: {}", Name(path.as_os_str().as_bytes()), denied(e, path)))),
        };
        let real = [&Mounts::path(&fd)?[..], b"/"].concat();
        self.roots.push(Root {
            option: option.to_vec(),
            path: path.to_path_buf(),
            location: self.mounts.location(&fd)?,
            has_mailboxes: memchr::memmem::find(option, b"searchpartition-").is_none(),
            has_mounts: self.mounts.0.iter().any(|mount| mount.point.starts_with(&real)),
        });
        Ok(())
    }

    fn root(&self, path: &Path) -> Option<&Root> {
        self.roots.iter().find(|root| root.path == path)
    }

    /// Opens the directory `tail` below the root `fd`, if it is there, and finds where it is. Links are followed: users
    /// live on other disks.
    pub fn open(&self, fd: &OwnedFd, path: &Path, tail: &[u8]) -> Result<Option<(OwnedFd, Location)>, Stop> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let failed = |e: Errno| {
            let path = path.join(as_path(tail));
            Stop::Trouble(format!("{}: {}", Name(path.as_os_str().as_bytes()), denied(e, &path)))
        };
        let straight = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = rustix::fs::openat2(fd, tail, flags, Mode::empty(), straight);
        match (opened, self.root(path)) {
            (Ok(dir), Some(root)) => return Ok(Some((dir, root.location.join(tail)))),
            (Err(Errno::NOENT), _) => return Ok(None),
            // A link or a mount; or a system that does not know (before Linux 5.6), or does not allow, this call.
            (Ok(_) | Err(Errno::LOOP | Errno::XDEV | Errno::NOSYS | Errno::PERM | Errno::AGAIN), _) => {}
            (Err(e), _) => return Err(failed(e)),
        }
        match rustix::fs::openat(fd, tail, flags, Mode::empty()) {
            Ok(dir) => {
                let location = self.mounts.location(&dir)?;
                Ok(Some((dir, location)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// The place of `tail` below the root `path` on a way without links; none if a mount may lead elsewhere.
    pub fn straight(&self, path: &Path, tail: &[u8]) -> Option<Location> {
        self.root(path).filter(|root| !root.has_mounts).map(|root| root.location.join(tail))
    }

    /// The place of what is not there yet below an open directory.
    pub fn location(&self, dir: &OwnedFd, tail: &[u8]) -> Result<Location, Stop> {
        Ok(self.mounts.location(dir)?.join(tail))
    }

    /// Refuses a directory that is another mailbox's: one that lies below a root, and is not `tail` there. `shown` is
    /// how the mailbox came there.
    pub fn is_own(&self, location: &Location, tail: &[u8], shown: &Path) -> Result<(), Refusal> {
        let below = self.roots.iter().filter_map(|root| Some((root, location.below(&root.location)?)));
        // The innermost is the one with the shortest way from it.
        let innermost = below.min_by_key(|(root, below)| (below.len(), !root.has_mailboxes));
        match innermost {
            Some((root, below)) if below != tail || !root.has_mailboxes => {
                let real = root.path.join(as_path(below));
                let detail = format_args!(
                    "{} is {}, which belongs to {below} of {}: a link, a mount, or a root inside another leads there; give the \
                     mailbox a directory of its own, or take it out of the list",
                    Name(shown.as_os_str().as_bytes()),
                    Name(real.as_os_str().as_bytes()),
                    Name(&root.option),
                    below = Name(below),
                );
                Err(Refusal::with("directory of another mailbox", detail))
            }
            // Outside of all roots: users' own disks.
            _ => Ok(()),
        }
    }
}

/// Finds the mailboxes of one list that are one on disk, by sorting.
#[derive(Default)]
pub struct Shared {
    /// Records: the length of the key, the key of a directory or file, its kind, and the mailbox.
    sorter: Sorter,
    /// One record, reused.
    record: Vec<u8>,
}

/// The kind of a directory in a record. Files have their number in [`MetaFile::ALL`].
const DIRECTORY: u8 = u8::MAX;

impl Shared {
    /// Records a directory of the mailbox.
    pub fn directory(&mut self, inode: Inode, mailbox: &[u8]) -> Result<(), Stop> {
        self.push(&of_inode(inode), DIRECTORY, mailbox)
    }

    /// Records the place of a directory of the mailbox, which may not exist yet.
    pub fn place(&mut self, location: &Location, mailbox: &[u8]) -> Result<(), Stop> {
        self.push(&location.0, DIRECTORY, mailbox)
    }

    /// Records a file of the mailbox.
    pub fn file(&mut self, file: MetaFile, inode: Inode, mailbox: &[u8]) -> Result<(), Stop> {
        let what = MetaFile::ALL.iter().position(|known| *known == file).unwrap_or_default();
        self.push(&of_inode(inode), what as u8, mailbox)
    }

    fn push(&mut self, key: &[u8], what: u8, mailbox: &[u8]) -> Result<(), Stop> {
        // No path is longer than PATH_MAX.
        let length = (key.len() as u16).to_be_bytes();
        self.record.clear();
        for part in [&length, key, &[what], mailbox] {
            self.record.extend_from_slice(part);
        }
        self.sorter.push(&self.record)
    }

    /// Reports all mailboxes that have a directory or file in common, and returns the number of such pairs.
    pub fn judge(self, report: &mut Report) -> Result<u64, Stop> {
        let sorted = self.sorter.sorted()?;
        let mut records = sorted.read()?;
        let (mut pairs, mut last) = (0, Vec::new());
        while let Some(record) = records.advance()? {
            let (Some((key, what, mailbox)), before) = (taken_apart(record), taken_apart(&last)) else { continue };
            if let Some((.., other)) = before.filter(|(known, _, other)| *known == key && *other != mailbox) {
                pairs += 1;
                let what = MetaFile::ALL.get(usize::from(what)).map_or("directory", |file| file.name());
                let (one, two) = (Name(other), Name(mailbox));
                report.told("one on disk", format_args!("{one} and {two} have one {what}"));
            }
            last.clear();
            last.extend_from_slice(record);
        }
        Ok(pairs)
    }
}

fn of_inode((device, inode): Inode) -> [u8; 16] {
    (u128::from(device) << 64 | u128::from(inode)).to_be_bytes()
}

fn taken_apart(record: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (length, rest) = record.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (what, mailbox) = rest.split_first()?;
    Some((key, *what, mailbox))
}

/// A directory or file as the system knows it: device and inode.
pub type Inode = (u64, u64);

/// The device and inode of a file or directory.
pub fn inode_of(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

/// How many pairs of mailboxes are one on disk.
pub fn one_on_disk(pairs: u64) -> String {
    match pairs {
        1 => "two mailboxes are one on disk".to_string(),
        _ => format!("{} times two mailboxes are one on disk", Count(pairs)),
    }
}

/// The remedy for mailboxes that are one on disk.
pub const ONE_ON_DISK: &str = "a link or a mount leads from one to the other, or the file is a hard link: give each its own, or \
                               take one out of the list; mbx-check-paths --report names the directories";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_the_kernel_writes_them() {
        let line = b"36 35 98:0 /mnt\\0401 /mnt2\\134x rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).map(|mount| (mount.id, mount.device, mount.root, mount.point));
        assert_eq!(mount, Some((b"36".to_vec(), b"98:0".to_vec(), b"/mnt 1".to_vec(), b"/mnt2\\x".to_vec())));
        assert!(Mount::parse(b"").is_none());
        let root = Location(b"98:0 ".to_vec());
        let at = root.join(b"spool").join(b"user/bob");
        assert_eq!(at.below(&root), Some(&b"spool/user/bob"[..]));
        assert_eq!(at.below(&root.join(b"spool")), Some(&b"user/bob"[..]));
        assert_eq!(at.below(&root.join(b"spo")), None);
        assert_eq!(at.below(&Location(b"98:1 ".to_vec())), None);
        assert_eq!(at.below(&at), Some(&b""[..]));
    }

    #[test]
    fn a_directory_is_one_by_whatever_name() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("spool/user/bob"))?;
        std::os::unix::fs::symlink("spool", dir.path().join("link"))?;
        let open =
            |name: &str| rustix::fs::open(dir.path().join(name), OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let mounts = Mounts::read().map_err(|e| format!("{e:?}"))?;
        let location = |name: &str| mounts.location(&open(name)?).map_err(|e| format!("{e:?}").into());
        let found: [Result<Location, Box<dyn std::error::Error>>; 3] =
            [location("spool/user/bob"), location("link/user/bob"), location("spool/user")];
        let [Ok(one), Ok(two), Ok(above)] = found else { panic!("no location") };
        assert_eq!(one, two);
        assert_eq!(one.below(&above), Some(&b"bob"[..]));
        Ok(())
    }
}
