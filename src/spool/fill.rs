//! What a JSON entry lacks, filled in from the mailbox's own files.
//!
//! A list from before 3.6 has no uniqueid, no uidvalidity and no modseqs, and without them the loader of 3.6 and later
//! skips the entry or makes 0 of them (`facts/json.md`); they stand in cyrus.header and cyrus.index (`facts/headers.md`
//! 3).

use crate::list::edits::Changes;
use crate::list::error::Stop;
use crate::mailbox::entry::{Entry, Member};
use crate::mailbox::jmap_id;
use crate::mailbox::name::can_be_uniqueid;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::Release;
use crate::run::report::Report;
use crate::spool::header::{Header, Index};
use crate::spool::partitions::as_path;
use crate::spool::user::denied;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// No cyrus.header is longer: an ACL of 100,000 identifiers is 2 MB.
const HEADER: u64 = 8 * 1024 * 1024;

/// The oldest cyrus.index that 3.6 and later open (3.13.7 `imap/mailbox.c` 1787).
const MINOR: u32 = 6;

/// A root of a partition, open, and its path for messages.
#[derive(Clone, Copy)]
pub struct Root<'a> {
    /// The directory.
    pub fd: &'a OwnedFd,
    /// Where it is.
    pub path: &'a Path,
}

/// What a mailbox's own files say.
#[derive(Debug)]
pub struct Facts {
    /// Its cyrus.header.
    pub header: Header,
    /// The header of its cyrus.index.
    pub index: Index,
    /// Whether that is in the first place where it was looked for, its own.
    pub index_in_place: bool,
}

impl Facts {
    /// Reads the files of the mailbox whose directory is `dir` below one of the roots: the first that has one counts. A
    /// refusal tells why they cannot be believed.
    pub fn read(dir: &[u8], headers: &[Root<'_>], indexes: &[Root<'_>]) -> Result<Result<Facts, Refusal>, Stop> {
        let mut buffer = Vec::new();
        let header = match header_of(headers, dir, &mut buffer)? {
            Ok(header) => header,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(index_of(indexes, dir, &mut buffer)?.map(|(index, index_in_place)| Facts { header, index, index_in_place }))
    }
}

/// Fills entries for one release.
pub struct Fill {
    to: Release,
}

impl Fill {
    /// For lists that `to` will load.
    pub fn new(to: &Release) -> Fill {
        Fill { to: to.clone() }
    }

    /// Adds what `entry` lacks. What it has stays; where a file says something else, that is told. A mailbox that
    /// cannot be filled is refused: the loader would skip it and exit 0.
    pub fn entry(
        &self,
        entry: &Entry<'_>,
        facts: &Facts,
        changes: &mut Changes,
        report: &mut Report,
    ) -> Result<(), Refusal> {
        let Facts { header, index, .. } = facts;
        let told = |member| entry.member(member).filter(|text| !text.is_empty());
        let uniqueid = match (told(Member::Uniqueid), header.uniqueid.as_deref().filter(|id| !id.is_empty())) {
            (None, None) => {
                let what = "cyrus.header has none: reconstruct it with the old server";
                return Err(Refusal::with("no uniqueid to fill in", what));
            }
            (None, Some(id)) if !can_be_uniqueid(id) => {
                let what = format!("cyrus.header has {}, which can name no directory", Name(id));
                return Err(Refusal::with("no uniqueid to fill in", what));
            }
            (None, Some(id)) => {
                changes.put_member(entry, Member::Uniqueid, id);
                id
            }
            (Some(id), Some(other)) if id != other => {
                tell(entry, Member::Uniqueid, id, other, "cyrus.header", report);
                id
            }
            (Some(id), _) => id,
        };
        // 0 is what the loader made of one that was missing.
        match told(Member::Uidvalidity).filter(|text| number(text) != Some(0)) {
            None => changes.put_member(entry, Member::Uidvalidity, index.uidvalidity.to_string().as_bytes()),
            Some(text) if number(text) != Some(u64::from(index.uidvalidity)) => {
                let other = index.uidvalidity.to_string();
                tell(entry, Member::Uidvalidity, text, other.as_bytes(), "cyrus.index", report);
            }
            Some(_) => {}
        }
        // What older servers did not count begins where the new one does: creation at 0, the messages at 1.
        for (member, known, otherwise) in
            [(Member::Createdmodseq, index.createdmodseq, 0), (Member::Foldermodseq, index.highestmodseq, 1)]
        {
            if told(member).is_none() {
                changes.put_member(entry, member, known.unwrap_or(otherwise).to_string().as_bytes());
            }
        }
        if self.to.wants_jmap_id() {
            match (told(Member::JmapId), header.jmap_id.as_deref().filter(|id| !id.is_empty())) {
                (None, Some(id)) => changes.put_member(entry, Member::JmapId, id),
                (None, None) => changes.put_member(entry, Member::JmapId, &jmap_id::of(uniqueid)),
                // What mbx-parse made of the uniqueid was never the server's.
                (Some(id), Some(other)) if id != other && id == jmap_id::of(uniqueid) => {
                    changes.put_member(entry, Member::JmapId, other);
                }
                (Some(id), Some(other)) if id != other => {
                    tell(entry, Member::JmapId, id, other, "cyrus.header", report);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the cyrus.header of the directory `dir` says, in the first of the roots that has one; why not, if it cannot be
/// believed. `buffer` holds what was read.
pub fn header_of(headers: &[Root<'_>], dir: &[u8], buffer: &mut Vec<u8>) -> Result<Result<Header, Refusal>, Stop> {
    let Some((path, rest)) = read(headers, dir, "cyrus.header", HEADER, buffer)? else {
        return Ok(Err(Refusal::new("no cyrus.header to fill from")));
    };
    let header = match Header::read(buffer) {
        Ok(header) => header,
        Err(why) => return Ok(Err(unfilled(&path, why))),
    };
    // Left by a rehearsal, and the mailbox was made anew since?
    if let Some((other, _)) = read(rest, dir, "cyrus.header", HEADER, buffer)?
        && Header::read(buffer).is_ok_and(|there| there.uniqueid != header.uniqueid)
    {
        return Ok(Err(unfilled(&path, &two("uniqueid", &other))));
    }
    Ok(Ok(header))
}

const NO_INDEX: &str =
    "the server could not open the mailbox; is it kept apart, and metapartition_files of -C has no word index?";

/// The same of cyrus.index, and whether it is in the first of the roots.
pub fn index_of(
    indexes: &[Root<'_>],
    dir: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<Result<(Index, bool), Refusal>, Stop> {
    let Some((path, rest)) = read(indexes, dir, "cyrus.index", Index::HEAD as u64, buffer)? else {
        return Ok(Err(Refusal::with("no cyrus.index to fill from", NO_INDEX)));
    };
    let index = match Index::read(buffer) {
        Ok(index) if index.minor < MINOR => {
            let what = "is of 2.0 or older, which 3.6 and later do not open: reconstruct it with the old server";
            return Ok(Err(unfilled(&path, what)));
        }
        Ok(index) => index,
        Err(why) => return Ok(Err(unfilled(&path, &why))),
    };
    if let Some((other, _)) = read(rest, dir, "cyrus.index", Index::HEAD as u64, buffer)?
        && Index::read(buffer).is_ok_and(|there| there.uidvalidity != index.uidvalidity)
    {
        return Ok(Err(unfilled(&path, &two("uidvalidity", &other))));
    }
    Ok(Ok((index, rest.len() + 1 == indexes.len())))
}

fn two(what: &str, other: &Path) -> String {
    let other = Name(other.as_os_str().as_bytes());
    format!("and {other} have two {what}s: one of them is not this mailbox's any more, and must go")
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A value that stays, though a file says another.
fn tell(entry: &Entry<'_>, member: Member, here: &[u8], there: &[u8], file: &str, report: &mut Report) {
    let detail = format!(": {} {}, and {} in {file}; it stays", member.name(), Name(here), Name(there));
    report.loss(entry.at, "the list and the mailbox disagree", detail, entry.mailbox());
}

fn unfilled(path: &Path, why: &str) -> Refusal {
    Refusal::with("mailbox that cannot be filled", format_args!("{} {why}", Name(path.as_os_str().as_bytes())))
}

/// Reads at most `limit` bytes of a file in `dir` below the first of the roots that has it; none if none has. Tells where
/// it is, and which roots were not asked.
fn read<'r, 'a>(
    roots: &'r [Root<'a>],
    dir: &[u8],
    name: &str,
    limit: u64,
    to: &mut Vec<u8>,
) -> Result<Option<(std::path::PathBuf, &'r [Root<'a>])>, Stop> {
    let tail = [dir, b"/", name.as_bytes()].concat();
    for (i, root) in roots.iter().enumerate() {
        let path = root.path.join(as_path(&tail));
        let failed = |e| Stop::Trouble(format!("{}: {}", Name(path.as_os_str().as_bytes()), denied(e, &path)));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        match rustix::fs::openat(root.fd, tail.as_slice(), flags, Mode::empty()) {
            Ok(fd) => {
                to.clear();
                let bytes = File::from(fd).take(limit).read_to_end(to);
                bytes.map_err(|e| Stop::io(Name(path.as_os_str().as_bytes()), &e))?;
                return Ok(Some((path, &roots[i + 1..])));
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(None)
}
