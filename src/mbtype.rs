//! What kind of thing an entry is: the mbtype field, in the numbers of releases up to 3.5.
//!
//! A wrong mbtype is the most dangerous thing that can be fed to a loader: with the reserve bit and a
//! valid partition the server deletes the mailbox's messages at its next start (measured on 2.3.7,
//! 2.3.19 and 3.6.1; `facts/migration.md` b). 3.6 renumbered the types, so a number means nothing
//! without its release.

use crate::version::{Release, v};
use std::fmt;

/// A set of type bits, as releases up to 3.5 number them (`imap/mboxlist.h` of 3.4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mbtype(u32);

/// Every bit with the release that brought it and its name.
const BITS: &[(u32, crate::version::Version, &str)] = &[
    (1, v(1, 6, 0), "remote"),
    (2, v(1, 6, 0), "reserve"),
    (4, v(1, 6, 0), "netnews"),
    (8, v(2, 1, 0), "moving"),
    (16, v(2, 4, 0), "deleted"),
    (32, v(2, 5, 0), "calendar"),
    (64, v(2, 5, 0), "addressbook"),
    (128, v(3, 0, 0), "collection"),
    (256, v(3, 1, 9), "intermediate"),
    (512, v(3, 1, 9), "jmap submission"),
    (1024, v(3, 1, 9), "jmap push subscription"),
];

impl Mbtype {
    /// An ordinary mailbox.
    pub const EMAIL: Mbtype = Mbtype(0);
    /// A mailbox on another server of a murder.
    pub const REMOTE: Mbtype = Mbtype(1);
    /// A mailbox that a CREATE had begun when the server died; deleted with its mail at the next start.
    pub const RESERVE: Mbtype = Mbtype(2);
    /// A mailbox on its way to another server.
    pub const MOVING: Mbtype = Mbtype(8);
    /// The tombstone of a deleted mailbox (2.4 and later).
    pub const DELETED: Mbtype = Mbtype(16);
    /// A name that exists only because something is below it (3.1.9 and later).
    pub const INTERMEDIATE: Mbtype = Mbtype(256);

    /// Reads the decimal field. None if it is no number, or larger than any server ever wrote.
    pub fn parse(digits: &[u8]) -> Option<Mbtype> {
        if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(Mbtype(digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'))))
    }

    /// Whether any bit of `other` is set.
    pub fn has(self, other: Mbtype) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits that `release` does not know, if there are any.
    pub fn unknown_to(self, release: &Release) -> Option<Mbtype> {
        let known: u32 = BITS.iter().filter(|(_, since, _)| release.since(*since)).map(|(bit, _, _)| bit).sum();
        let unknown = self.0 & !known;
        (unknown != 0).then_some(Mbtype(unknown))
    }

    /// What the type is called: `email`, `calendar`, `remote+moving`.
    pub fn names(self) -> String {
        let mut names: Vec<String> =
            BITS.iter().filter(|(bit, _, _)| self.0 & bit != 0).map(|(_, _, name)| (*name).to_string()).collect();
        let rest = self.0 & !BITS.iter().map(|(bit, _, _)| bit).sum::<u32>();
        if rest != 0 {
            names.push(format!("unknown {rest}"));
        }
        if names.is_empty() { "email".to_string() } else { names.join("+") }
    }
}

impl fmt::Display for Mbtype {
    /// The decimal field of a text dump.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_releases() {
        let calendar = Mbtype::parse(b"32");
        let of = |text: &str| text.parse::<Release>().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(calendar.map(|c| c.unknown_to(&of("2.4.22")).is_some()), Some(true));
        assert_eq!(calendar.map(|c| c.unknown_to(&of("3.0.18")).is_some()), Some(false));
        assert_eq!(Mbtype::parse(b"1215752191"), None);
        assert_eq!(Mbtype::parse(b"-1"), None);
        assert_eq!(Mbtype::parse(b""), None);
        assert_eq!(Mbtype::parse(b"007").map(|t| t.to_string()).as_deref(), Some("7"));
        assert_eq!(Mbtype::parse(b"0").map(Mbtype::names).as_deref(), Some("email"));
        assert_eq!(Mbtype::parse(b"33").map(Mbtype::names).as_deref(), Some("remote+calendar"));
    }
}
