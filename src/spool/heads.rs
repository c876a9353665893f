//! The first bytes of a mailbox's cyrus.header and cyrus.index: they tell which releases can open it.

use crate::list::error::Stop;
use crate::mailbox::text::Name;
use crate::release::files::HeaderForm;
use crate::spool::header::{Header, Index};
use crate::spool::partitions::as_path;
use crate::spool::user::denied;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A root of a partition, open, and its path for messages.
#[derive(Clone, Copy)]
pub struct Root<'a> {
    /// The directory, or one below it.
    pub fd: &'a OwnedFd,
    /// How many bytes of a mailbox's directory `fd` lies below the root, with the slash; 0 for the root itself.
    pub below: usize,
    /// Where the root is.
    pub path: &'a Path,
}

impl<'a> Root<'a> {
    /// A root itself.
    pub fn new(fd: &'a OwnedFd, path: &'a Path) -> Root<'a> {
        Root { fd, below: 0, path }
    }

    /// Where a file below the root is.
    pub fn join(&self, tail: &[u8]) -> PathBuf {
        self.path.join(as_path(tail))
    }
}

/// The roots that may hold a file, the right one first; three at most.
pub struct Candidates<'a> {
    roots: [Root<'a>; 3],
    count: usize,
}

impl<'a> Candidates<'a> {
    /// The first of them, and the others as far as there are any.
    pub fn new(first: Root<'a>, others: [Option<Root<'a>>; 2]) -> Candidates<'a> {
        let mut all = Candidates { roots: [first; 3], count: 1 };
        for root in others.into_iter().flatten() {
            all.roots[all.count] = root;
            all.count += 1;
        }
        all
    }

    /// The root at `path` is asked from a directory on that lies below it, open as `fd`; a mailbox's directory has `below`
    /// bytes before that.
    pub fn start_at(&mut self, path: &Path, fd: &'a OwnedFd, below: usize) {
        for root in self.roots.iter_mut().filter(|root| root.path == path) {
            (root.fd, root.below) = (fd, below);
        }
    }
}

impl<'a> Deref for Candidates<'a> {
    type Target = [Root<'a>];

    fn deref(&self) -> &[Root<'a>] {
        &self.roots[..self.count]
    }
}

/// A file that was found below one of the roots.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// Which of the roots.
    pub root: usize,
    /// How long it is.
    pub length: u64,
    /// Whether it is a file, and no directory or device.
    pub is_file: bool,
}

/// Reads at most `limit` bytes of the file `tail` below the first of the roots that has it; none if none has.
pub fn read(roots: &[Root<'_>], tail: &[u8], limit: u64, to: &mut Vec<u8>) -> Result<Option<Met>, Stop> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    for (i, root) in roots.iter().enumerate() {
        let failed = |e| Stop::Trouble(format!("{}: {}", show(root, tail), denied(e, &root.join(tail))));
        let fd = match rustix::fs::openat(root.fd, &tail[root.below..], flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(e) => return Err(failed(e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        to.clear();
        if is_file {
            let wanted = usize::try_from(limit.min(length)).unwrap_or(usize::MAX);
            to.resize(wanted, 0);
            let got = fill_up(&mut File::from(fd), to).map_err(|e| Stop::io(show(root, tail), &e))?;
            to.truncate(got);
        }
        return Ok(Some(Met { root: i, length, is_file }));
    }
    Ok(None)
}

/// Reads until `to` is full or the file ends.
fn fill_up(file: &mut File, to: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < to.len() {
        match file.read(&mut to[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

fn show(root: &Root<'_>, tail: &[u8]) -> String {
    Name(root.join(tail).as_os_str().as_bytes()).to_string()
}

/// Why a cyrus.index may not be there.
pub const NO_INDEX: &str =
    "the server could not open the mailbox; is it kept apart, and metapartition_files of -C has no word index?";

/// What stands where a cyrus.index belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexSeen {
    /// Nothing.
    Missing,
    /// Something that no release opens, and why: it completes "this file ...".
    Damaged(String),
    /// An index of this minor version.
    Minor(u32),
}

/// What the first bytes of a mailbox's files say.
#[derive(Clone, Debug)]
pub struct Heads {
    /// The form of its cyrus.header, or why no release opens it.
    pub header: Result<HeaderForm, &'static str>,
    /// Which of the roots that were asked holds cyrus.header, if it is still there.
    pub header_at: Option<Met>,
    /// Its cyrus.index.
    pub index: IndexSeen,
    /// Which of the roots that were asked holds cyrus.index.
    pub index_at: Option<Met>,
}

impl Heads {
    /// Whether cyrus.index is in the first of the roots where it was looked for, its own, if it is there.
    pub fn index_in_place(&self) -> bool {
        self.index_at.is_none_or(|met| met.root == 0)
    }
}

/// One who reads: his buffers are kept from mailbox to mailbox.
#[derive(Default)]
pub struct HeadReader {
    tail: Vec<u8>,
    /// What was read of cyrus.header.
    pub header: Vec<u8>,
    /// What was read of cyrus.index.
    pub index: Vec<u8>,
}

impl HeadReader {
    /// Reads the heads of the files of the mailbox whose directory is `dir` below one of the roots, the first that has the
    /// file; of cyrus.header `limit` bytes at most.
    pub fn read(&mut self, dir: &[u8], headers: &[Root<'_>], indexes: &[Root<'_>], limit: u64) -> Result<Heads, Stop> {
        self.point_to(dir, b"/cyrus.header");
        let header_at = read(headers, &self.tail, limit.max(Header::HEAD as u64), &mut self.header)?;
        let header = match header_at {
            None => Err("is not there any more"),
            Some(met) if !met.is_file => Err("is not a file"),
            Some(_) => Header::form(&self.header),
        };
        self.point_to(dir, b"/cyrus.index");
        let index_at = read(indexes, &self.tail, Index::HEAD as u64, &mut self.index)?;
        let index = match index_at {
            None => IndexSeen::Missing,
            Some(met) if !met.is_file => IndexSeen::Damaged("is not a file".to_string()),
            Some(met) => Index::minor(&self.index, met.length).map_or_else(IndexSeen::Damaged, IndexSeen::Minor),
        };
        Ok(Heads { header, header_at, index, index_at })
    }

    fn point_to(&mut self, dir: &[u8], name: &[u8]) {
        self.tail.clear();
        self.tail.extend_from_slice(dir);
        self.tail.extend_from_slice(name);
    }
}
