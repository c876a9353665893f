//! What kind of thing an entry is: the mbtype field, a number in text and letters in JSON.
//!
//! A wrong mbtype is the most dangerous thing that can be fed to a loader: with the reserve bit and a
//! valid partition the server deletes the mailbox's messages at its next start (measured on 2.3.7,
//! 2.3.19 and 3.6.1; `facts/migration.md` b). 3.6 renumbered the types, so a number means nothing
//! without its release: the calendars of 2.5 to 3.5 have the number of 3.6's reserved mailboxes.

use crate::release::{Release, v};
use std::fmt;

/// A set of type bits, as releases up to 3.5 number them (`imap/mboxlist.h` of 3.4.9), with those that came later
/// above all numbers that a text list can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mbtype(u64);

const fn later(n: u32) -> u64 {
    1 << (32 + n)
}

/// Every bit with the release that brought it, its letter in JSON and its name. Of the types in the order in which 3.6
/// looks for them, and then of the flags in the order in which it prints them (`imap/mboxlist.c:205` of 3.6.1).
const BITS: &[(u64, crate::release::Version, u8, &str)] = &[
    (4, v(1, 6, 0), b'n', "netnews"),
    (512, v(3, 1, 9), b's', "jmap submission"),
    (1024, v(3, 1, 9), b'p', "jmap push subscription"),
    (later(0), v(3, 8, 0), b'j', "jmap notification"),
    (later(1), v(3, 6, 0), b'f', "sieve"),
    (128, v(3, 0, 0), b'b', "collection"),
    (32, v(2, 5, 0), b'c', "calendar"),
    (64, v(2, 5, 0), b'a', "addressbook"),
    (16, v(2, 4, 0), b'd', "deleted"),
    (8, v(2, 1, 0), b'm', "moving"),
    (1, v(1, 6, 0), b'r', "remote"),
    (2, v(1, 6, 0), b'z', "reserve"),
    (256, v(3, 1, 9), b'i', "intermediate"),
    (later(2), v(3, 6, 0), b'l', "legacy"),
];

/// How many of the bits are types; an entry has at most one of them.
const TYPES: usize = 8;

impl Mbtype {
    /// An ordinary mailbox.
    pub const EMAIL: Mbtype = Mbtype(0);
    /// A mailbox on another server of a murder.
    pub const REMOTE: Mbtype = Mbtype(1);
    /// A mailbox that a CREATE had begun when the server died; deleted with its mail at the next start.
    pub const RESERVE: Mbtype = Mbtype(2);
    /// A mailbox on its way to another server.
    pub const MOVING: Mbtype = Mbtype(8);
    /// A calendar (2.5 and later).
    pub const CALENDAR: Mbtype = Mbtype(32);
    /// An addressbook (2.5 and later).
    pub const ADDRESSBOOK: Mbtype = Mbtype(64);
    /// A collection of files (3.0 and later).
    pub const COLLECTION: Mbtype = Mbtype(128);
    /// The tombstone of a deleted mailbox (2.4 and later).
    pub const DELETED: Mbtype = Mbtype(16);
    /// A name that exists only because something is below it (3.1.9 and later).
    pub const INTERMEDIATE: Mbtype = Mbtype(256);
    /// A mailbox whose directory is by name in 3.6 and later, as all are in lists of text: letter `l`.
    pub const LEGACY: Mbtype = Mbtype(later(2));

    /// Reads the decimal field of text lists up to 3.5. None if it is no number, or larger than any server ever wrote.
    pub fn parse(digits: &[u8]) -> Option<Mbtype> {
        if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(Mbtype(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0'))))
    }

    /// Reads the letters of JSON lists as 3.6 and later do: a type first, if any, then flags in any order. None if the
    /// loader would die of them.
    pub fn of_letters(letters: &[u8]) -> Option<Mbtype> {
        let bit = |letter: u8| BITS.iter().position(|(_, _, known, _)| *known == letter);
        let mut mbtype = 0;
        for (i, letter) in letters.iter().enumerate() {
            match bit(*letter) {
                // `f` is read among the flags, too, and then takes the place of `e`.
                Some(at) if at >= TYPES || i == 0 || (*letter == b'f' && letters[0] == b'e') => mbtype |= BITS[at].0,
                None if *letter == b'e' && i == 0 => {}
                _ => return None,
            }
        }
        Some(Mbtype(mbtype))
    }

    /// Reads the letters of the records that 2.5 to 3.5 keep in their database, in any order (`mboxlist_string_to_mbtype`
    /// of 3.4.9). None if no text list has a number for one of them.
    pub fn of_record(letters: &[u8]) -> Option<Mbtype> {
        letters.iter().try_fold(Mbtype::EMAIL, |mbtype, letter| {
            let (bit, ..) = BITS.iter().find(|(bit, _, known, _)| known == letter && *bit < later(0))?;
            Some(mbtype.with(Mbtype(*bit)))
        })
    }

    /// Appends the letters of JSON lists, as 3.6 and later print them. None if it has two types, or a bit without a
    /// letter.
    pub fn write_letters(self, out: &mut Vec<u8>) -> Option<()> {
        let known: u64 = BITS.iter().map(|(bit, ..)| bit).sum();
        let mut types = BITS[..TYPES].iter().filter(|(bit, ..)| self.0 & bit != 0);
        let letter = types.next().map_or(b'e', |(_, _, letter, _)| *letter);
        if self.0 & !known != 0 || types.next().is_some() {
            return None;
        }
        out.push(letter);
        out.extend(BITS[TYPES..].iter().filter(|(bit, ..)| self.0 & bit != 0).map(|(_, _, letter, _)| letter));
        Some(())
    }

    /// Its type alone, without what else is said of the mailbox.
    pub fn alone(self) -> Mbtype {
        BITS[TYPES..].iter().fold(self, |mbtype, (flag, ..)| mbtype.without(Mbtype(*flag)))
    }

    /// Whether any bit of `other` is set.
    pub fn has(self, other: Mbtype) -> bool {
        self.0 & other.0 != 0
    }

    /// The same with the bits of `other`.
    pub fn with(self, other: Mbtype) -> Mbtype {
        Mbtype(self.0 | other.0)
    }

    /// The same without the bits of `other`.
    pub fn without(self, other: Mbtype) -> Mbtype {
        Mbtype(self.0 & !other.0)
    }

    /// The bits that `release` does not know, if there are any.
    pub fn unknown_to(self, release: &Release) -> Option<Mbtype> {
        let known: u64 = BITS.iter().filter(|(_, since, ..)| release.since(*since)).map(|(bit, ..)| bit).sum();
        let unknown = self.0 & !known;
        (unknown != 0).then_some(Mbtype(unknown))
    }

    /// The letters that JSON has, in words.
    pub fn letters() -> String {
        let told = |bits: &[(u64, crate::release::Version, u8, &str)]| {
            bits.iter().map(|(_, _, letter, _)| char::from(*letter).to_string()).collect::<Vec<_>>().join(" ")
        };
        format!("one of e {}, then some of {}", told(&BITS[..TYPES]), told(&BITS[TYPES..]))
    }

    /// What the type is called: `email`, `calendar`, `moving+remote`. Where its directory is, is no matter of type.
    pub fn names(self) -> String {
        let own = self.without(Mbtype::LEGACY).0;
        let mut names: Vec<String> =
            BITS.iter().filter(|(bit, ..)| own & bit != 0).map(|(.., name)| (*name).to_string()).collect();
        let rest = own & !BITS.iter().map(|(bit, ..)| bit).sum::<u64>();
        if rest != 0 {
            names.push(format!("unknown {rest}"));
        }
        if names.is_empty() { "email".to_string() } else { names.join("+") }
    }
}

impl fmt::Display for Mbtype {
    /// The decimal field of a text list; letters where that has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = Vec::new();
        match self.0 < 1 << 32 {
            true => write!(f, "{}", self.0),
            false if self.write_letters(&mut letters).is_some() => f.write_str(&String::from_utf8_lossy(&letters)),
            false => f.write_str(&self.names()),
        }
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
        assert_eq!(Mbtype::parse(b"33").map(Mbtype::names).as_deref(), Some("calendar+remote"));
    }

    #[test]
    fn letters_as_3_6_reads_and_prints_them() {
        // Probes of corpus/3.6.1/loader.md, and what the server printed afterwards.
        for (read, printed) in [
            ("e", "e"),
            ("el", "el"),
            ("l", "el"),
            ("", "e"),
            ("cl", "cl"),
            ("d", "ed"),
            ("mr", "emr"),
            ("erl", "erl"),
            ("ef", "f"),
            ("j", "j"),
        ] {
            let mut out = Vec::new();
            assert!(Mbtype::of_letters(read.as_bytes()).is_some_and(|t| t.write_letters(&mut out).is_some()), "{read}");
            assert_eq!(out, printed.as_bytes(), "{read}");
        }
        for dies in ["fe", "le", "x", "ex", "E", "0", "512", "e l", "ec"] {
            assert_eq!(Mbtype::of_letters(dies.as_bytes()), None, "{dies}");
        }
        let mut out = Vec::new();
        assert_eq!(Mbtype::parse(b"96").and_then(|t| t.write_letters(&mut out)), None, "two types");
        assert_eq!(Mbtype::parse(b"2048").and_then(|t| t.write_letters(&mut out)), None, "no letter");
    }
}
