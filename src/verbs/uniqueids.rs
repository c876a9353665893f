//! Two mailboxes with one uniqueid.
//!
//! A directory that was copied or restored beside its original has the uniqueid of the original in its cyrus.header
//! (`facts/headers.md` 1). 3.6 and later keep what belongs to a mailbox under its uniqueid, and the second of two takes it
//! all (`facts/json.md`). Tombstones and intermediates are no mailboxes: a tombstone has the uniqueid of the mailbox
//! below `deletedprefix` that it left.

use crate::list::error::Stop;
use crate::list::hold::Sorter;
use crate::mailbox::entry::{Entry, Kind, Member};
use crate::mailbox::name::{MailboxName, Namespaces};
use crate::mailbox::text::Name;
use crate::run::report::Report;

/// The uniqueids of a list's mailboxes, in bounded memory.
#[derive(Default)]
pub struct Uniqueids {
    sorter: Sorter,
}

impl Uniqueids {
    /// Adds an entry that goes on. Where the entry has no uniqueid, `filled` is the one that it gets.
    pub fn add(&mut self, entry: &Entry<'_>, filled: Option<&[u8]>) -> Result<(), Stop> {
        let own = entry.member(Member::Uniqueid).filter(|id| !id.is_empty());
        match own.or(filled).filter(|_| entry.kind() == Kind::Mailbox) {
            Some(id) => self.sorter.push(&[id, b"\0", entry.mailbox()].concat()),
            None => Ok(()),
        }
    }

    /// Reports every mailbox that has the uniqueid of the one before it, with what to do, and returns how many there are.
    /// One mailbox twice is found elsewhere.
    pub fn report(self, names: &Namespaces, report: &mut Report) -> Result<u64, Stop> {
        let sorted = self.sorter.sorted()?;
        let mut records = sorted.read()?;
        let mut last: Vec<u8> = Vec::new();
        let mut shared = 0;
        while let Some(record) = records.advance()? {
            let ((before, other), (id, own)) = (split(&last), split(record));
            if before == id && other != own {
                shared += 1;
                let kind = "two mailboxes, one uniqueid";
                let (both, what) = ((Name(other), Name(own)), remedy(id, other, own, names));
                report.finding(kind, format_args!("{kind}: {} and {} both have {} ({what})", both.0, both.1, Name(id)));
            }
            last.clear();
            last.extend_from_slice(record);
        }
        Ok(shared)
    }
}

/// A uniqueid and its mailbox.
fn split(record: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(0, record).unwrap_or(record.len());
    (&record[..at], record.get(at + 1..).unwrap_or_default())
}

/// Which of two to leave out, and how.
fn remedy(id: &[u8], one: &[u8], other: &[u8], names: &Namespaces) -> String {
    let is_deleted = |mailbox| names.source.is_deleted(MailboxName::new(mailbox));
    if is_deleted(one) != is_deleted(other) {
        return "the server keeps one of them: mbx-parse --drop deletedprefix leaves the deleted one out".to_string();
    }
    let copy = match (made_for(id, one), made_for(id, other)) {
        (true, false) => format!("{}, which is the copy", Name(other)),
        (false, true) => format!("{}, which is the copy", Name(one)),
        _ => "the copy".to_string(),
    };
    format!(
        "the server keeps one of them: take the line of {copy}, out of the dump before mbx-parse; or first, on the old \
         server, copy its messages into a new mailbox and delete it"
    )
}

/// Whether a uniqueid was made for a mailbox of this name: up to 2.4 its first half is a sum over the name
/// (`mailbox_make_uniqueid` of `imap/mailbox.c`).
fn made_for(id: &[u8], mailbox: &[u8]) -> bool {
    const PRIME: u64 = 2_147_484_043;
    let sum = mailbox.iter().fold(0_u64, |sum, byte| {
        // A char is signed there, and the sum has 32 bits.
        let char = i64::from(*byte as i8) as u64;
        ((sum * 251).wrapping_add(char) & 0xffff_ffff) % PRIME
    });
    id.len() == 16 && id[..8].eq_ignore_ascii_case(format!("{sum:08x}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From cyrus.header files of 2.4.22 (`facts/headers.md` 1).
    #[test]
    fn sums_of_names() {
        assert!(made_for(b"221cc15c6b045029", b"user.alice"));
        assert!(!made_for(b"221cc15c6b045029", b"user.alice2"));
        assert!(!made_for(b"221cc15c", b"user.alice"));
    }
}
