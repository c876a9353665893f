//! Telling dialects apart, and taking entries apart in each.
//!
//! A dialect turns bytes into an [`Entry`](crate::entry::Entry); the filters see entries only. JSON is to join
//! `text` here as one more reader of the same stream.

pub mod text;

use crate::outcome::Refusal;
use crate::version::Dialect;
use memchr::{memchr, memchr2};

/// What the first entry of a list says about its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// It can only be this one.
    Sure(Dialect),
    /// Digits, a blank, and no partition: an entry without a partition of 2.3.4 and later, or a stray blank behind a
    /// partition called `1` before. The releases must decide.
    Unsure,
}

/// Tells the dialect of a line that has a TAB (`facts/dialects.md`, "Telling them apart").
pub fn detect(line: &[u8]) -> Option<Detected> {
    let rest = &line[memchr(b'\t', line)? + 1..];
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || rest.get(digits) != Some(&b' ') {
        return Some(Detected::Sure(Dialect::Bare));
    }
    let place = &rest[digits + 1..];
    Some(match memchr2(b' ', b'\t', place).map(|at| (at, place[at])) {
        Some((0, _)) => Detected::Unsure,
        Some((_, b'\t')) => Detected::Sure(Dialect::Tab),
        _ => Detected::Sure(Dialect::Blank),
    })
}

/// A line that is no entry of the list's dialect, with what it looks like.
pub fn stranger(line: &[u8], dialect: Dialect) -> Refusal {
    let kind = "line of another dialect";
    match detect(line) {
        Some(Detected::Sure(other)) if other != dialect => {
            Refusal::with(kind, format_args!("the list is in {dialect}, this line in {other}"))
        }
        _ => Refusal::with(kind, format_args!("the list is in {dialect}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_tells() {
        for (line, found) in [
            ("user.eve\t1\teve\tlrs\t", Detected::Sure(Dialect::Bare)),
            ("user.eve\tdefault\teve\tlrs\t", Detected::Sure(Dialect::Bare)),
            ("user.eve\t2nd\teve\tlrs\t", Detected::Sure(Dialect::Bare)),
            ("user.eve\t0 1\teve\tlrs\t", Detected::Sure(Dialect::Tab)),
            ("user.eve\t0 1\t", Detected::Sure(Dialect::Tab)),
            ("user.eve\t0 1 eve\tlrs\t", Detected::Sure(Dialect::Blank)),
            ("user.eve\t0 1 ", Detected::Sure(Dialect::Blank)),
            ("user.eve\t16 (null) ", Detected::Sure(Dialect::Blank)),
            ("user.eve\t1 be.example.com!1 ", Detected::Sure(Dialect::Blank)),
            ("user.eve\t0 \teve\tlrs\t", Detected::Unsure),
            ("user.eve\t0  eve\tlrs\t", Detected::Unsure),
        ] {
            assert_eq!(detect(line.as_bytes()), Some(found), "{line:?}");
        }
        assert_eq!(detect(b"Welcome to old.example.com"), None);
    }
}
