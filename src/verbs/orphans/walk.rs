//! The walk over one root of a partition: every directory that has a cyrus.header.
//!
//! One directory is open at a time, and its names and those of the directories above it are all that is kept.

use super::show;
use crate::list::error::Stop;
use crate::list::hold::Sorter;
use crate::run::report::Report;
use crate::spool::aliases::{Inode, inode_of};
use crate::spool::heads::Root;
use crate::spool::partitions::as_path;
use crate::spool::user::{Viewer, denied};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// No mailbox's directory is deeper: its name has 1,023 bytes at most, and a domain does not make it longer.
const DEEPEST: usize = 2048;

/// So many symbolic links are followed one below the other: where links lead to each other, more would lead to every
/// order of them.
const LINKS: usize = 8;

/// What a descriptor stands for.
pub fn inode(fd: &OwnedFd) -> Result<Inode, Errno> {
    rustix::fs::fstat(fd).map(|stat| inode_of(&stat))
}

/// Where a header was found, and that it is none.
pub const HEADER_ROOT: u8 = 0;
pub const DATA_ROOT: u8 = 2;
pub const NO_FILE: u8 = 1;

/// How many bytes of a record stand behind its place: a NUL, what was found, and the directory as [`of_inode`] has it.
pub const BEHIND_PLACE: usize = 2 + 16;

fn of_inode((dev, ino): Inode) -> [u8; 16] {
    (u128::from(dev) << 64 | u128::from(ino)).to_be_bytes()
}

/// The walk over one root.
pub struct Walk<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    pub root: Root<'a>,
    /// What is not part of it though it is below it.
    pub walls: &'a HashSet<Inode>,
    /// Whether there may be directories by uniqueid.
    pub by_id: bool,
    /// The partition's number.
    pub number: u16,
    /// Which of its roots this is.
    pub place: u8,
    /// What is found: number and directory, which are its place, and what [`BEHIND_PLACE`] says.
    pub found: &'a mut Sorter,
    pub report: &'a mut Report,
    /// How many headers were found.
    pub headers: u64,
    /// How many directories were not looked into.
    pub too_far: u64,
}

/// A directory on the way to the one that is looked at. It is not kept open.
struct Level {
    inode: Inode,
    /// How long its path is.
    len: usize,
    /// How many symbolic links lead to it.
    links: usize,
    /// The directories in it that are still to be seen, the next one last, and whether it is a link.
    names: Vec<(Box<[u8]>, bool)>,
}

impl Walk<'_> {
    fn trouble(&self, path: &[u8], e: Errno) -> Stop {
        let path = self.root.path.join(as_path(path));
        Stop::Trouble(format!("{}: {}", show(&path), denied(e, &path)))
    }

    /// Every directory below the root, in sorted order, one directory open at a time.
    pub fn all(&mut self) -> Result<(), Stop> {
        let mut path = Vec::new();
        let mut levels: Vec<Level> = self.enter(&path, 0, &[])?.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            path.truncate(level.len);
            let Some((name, link)) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let links = level.links + usize::from(link);
            if links > LINKS || path.len() > DEEPEST {
                self.too_far += 1;
                let shown = show(&self.root.path.join(as_path(&path)));
                self.report
                    .finding("too far", format_args!("{shown}: not looked into: too deep, or behind too many links"));
                continue;
            }
            if let Some(level) = self.enter(&path, links, &levels)? {
                levels.push(level);
            }
        }
        Ok(())
    }

    /// Reads a directory; none if it is none, or is looked at elsewhere.
    fn enter(&mut self, path: &[u8], links: usize, above: &[Level]) -> Result<Option<Level>, Stop> {
        let read = self.viewer.look(|| self.read(path, links, above))?;
        let Some((level, header)) = read else { return Ok(None) };
        if let Some(kind) = header {
            self.headers += 1;
            let behind = [&[0, kind][..], &of_inode(level.inode)].concat();
            self.found.push(&[&self.number.to_be_bytes()[..], path, &behind].concat())?;
        }
        Ok(Some(level))
    }

    /// The same, and what its header is.
    fn read(&self, path: &[u8], links: usize, above: &[Level]) -> Result<Option<(Level, Option<u8>)>, Stop> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = if path.is_empty() { &b"."[..] } else { path };
        let fd = match rustix::fs::openat(self.root.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(self.trouble(path, e)),
        };
        let inode = inode(&fd).map_err(|e| self.trouble(path, e))?;
        // A link that leads back, or another root.
        if above.iter().any(|level| level.inode == inode) || (!path.is_empty() && self.walls.contains(&inode)) {
            return Ok(None);
        }
        let (mut names, mut header) = (Vec::new(), None);
        for entry in Dir::new(fd).map_err(|e| self.trouble(path, e))? {
            let entry = entry.map_err(|e| self.trouble(path, e))?;
            let name = entry.file_name().to_bytes();
            if name == b"cyrus.header" {
                let file = self.kind_of(path, name, entry.file_type())? == FileType::RegularFile;
                header = Some(self.place + if file { 0 } else { NO_FILE });
            } else if self.may_lead_to_mailboxes(path, name) {
                let listed = match entry.file_type() {
                    // Not every file system says it here.
                    FileType::Unknown => self.stat(path, name, AtFlags::SYMLINK_NOFOLLOW)?,
                    listed => listed,
                };
                if listed == FileType::Directory || self.kind_of(path, name, listed)? == FileType::Directory {
                    names.push((name.into(), listed == FileType::Symlink));
                }
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Some((Level { inode, len: path.len(), links, names }, header)))
    }

    /// What a name stands for, links followed.
    fn kind_of(&self, path: &[u8], name: &[u8], listed: FileType) -> Result<FileType, Stop> {
        match listed {
            FileType::Symlink | FileType::Unknown => self.stat(path, name, AtFlags::empty()),
            listed => Ok(listed),
        }
    }

    fn stat(&self, path: &[u8], name: &[u8], flags: AtFlags) -> Result<FileType, Stop> {
        let whole = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        match rustix::fs::statat(self.root.fd, &whole, flags) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(FileType::Unknown),
            Err(e) => Err(self.trouble(&whole, e)),
        }
    }

    /// Only domains and uniqueids have dots in their directories.
    fn may_lead_to_mailboxes(&self, path: &[u8], name: &[u8]) -> bool {
        match memchr::memchr(b'.', name) {
            None => !(path.is_empty() && name == b"lost+found"),
            Some(_) if name == b"." || name == b".." => false,
            Some(_) => {
                path == b"domain"
                    || matches!(path.strip_prefix(b"domain/"), Some([_]))
                    || (self.by_id && matches!(path.strip_prefix(b"uuid/"), Some([_, b'/', _])))
            }
        }
    }
}
