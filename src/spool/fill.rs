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
use crate::spool::heads::{HeadReader, Heads, NO_INDEX, Root, read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// No cyrus.header is longer: an ACL of 100,000 identifiers is 2 MB.
pub const HEADER: u64 = 8 * 1024 * 1024;

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
    /// What `files` has read of the mailbox whose directory is `dir`, with its whole cyrus.header, below the roots. A refusal
    /// tells why the files cannot be believed.
    pub fn of(
        files: &mut HeadReader,
        heads: &Heads,
        dir: &[u8],
        headers: &[Root<'_>],
        indexes: &[Root<'_>],
    ) -> Result<Result<Facts, Refusal>, Stop> {
        let header = match heads.header_at {
            None => return Ok(Err(Refusal::new("no cyrus.header to fill from"))),
            Some(met) => header_in(&mut files.header, met.root, headers, dir)?,
        };
        let header = match header {
            Ok(header) => header,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(match heads.index_at {
            None => Err(Refusal::with("no cyrus.index to fill from", NO_INDEX)),
            Some(met) => index_in(&mut files.index, met.root, indexes, dir)?.map(|index| Facts {
                header,
                index,
                index_in_place: heads.index_in_place(),
            }),
        })
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
    match read(headers, &[dir, b"/cyrus.header"].concat(), HEADER, buffer)? {
        Some(met) => header_in(buffer, met.root, headers, dir),
        None => Ok(Err(Refusal::new("no cyrus.header to fill from"))),
    }
}

/// The same of what was read in the root `at`.
fn header_in(
    buffer: &mut Vec<u8>,
    at: usize,
    headers: &[Root<'_>],
    dir: &[u8],
) -> Result<Result<Header, Refusal>, Stop> {
    let tail = [dir, b"/cyrus.header"].concat();
    let path = headers[at].join(&tail);
    let header = match Header::read(buffer) {
        Ok(header) => header,
        Err(why) => return Ok(Err(unfilled(&path, why))),
    };
    // Left by a rehearsal, and the mailbox was made anew since?
    let rest = &headers[at + 1..];
    let other = read(rest, &tail, HEADER, buffer)?;
    let differs = || Header::read(buffer).is_ok_and(|there| there.uniqueid != header.uniqueid);
    Ok(match other.filter(|_| differs()) {
        Some(met) => Err(unfilled(&path, &two("uniqueid", &rest[met.root].join(&tail)))),
        None => Ok(header),
    })
}

/// What the header of a cyrus.index says that was read in the root `at`.
fn index_in(buffer: &mut Vec<u8>, at: usize, indexes: &[Root<'_>], dir: &[u8]) -> Result<Result<Index, Refusal>, Stop> {
    let tail = [dir, b"/cyrus.index"].concat();
    let path = indexes[at].join(&tail);
    let index = match Index::read(buffer) {
        Ok(index) => index,
        Err(why) => return Ok(Err(unfilled(&path, &why))),
    };
    let rest = &indexes[at + 1..];
    let other = read(rest, &tail, Index::HEAD as u64, buffer)?;
    let differs = || Index::read(buffer).is_ok_and(|there| there.uidvalidity != index.uidvalidity);
    Ok(match other.filter(|_| differs()) {
        Some(met) => Err(unfilled(&path, &two("uidvalidity", &rest[met.root].join(&tail)))),
        None => Ok(index),
    })
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
