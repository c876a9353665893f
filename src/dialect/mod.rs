//! Telling dialects apart, and taking entries apart in each.
//!
//! A dialect turns bytes into an [`Entry`](crate::entry::Entry); the filters see entries only.

pub mod json;
pub mod text;

use crate::outcome::{Refusal, Stop};
use crate::seal;
use crate::stream::SideFile;
use crate::version::Dialect;
use memchr::{memchr, memchr_iter, memchr2};
use std::io::Write;

/// What the beginning of a file says about the list in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Lines of text, or nothing at all.
    Text,
    /// A JSON object.
    Object,
    /// A JSON array, which no `ctl_mboxlist` writes, and reads as an empty list.
    Array,
    /// A byte order mark.
    ByteOrderMark,
}

/// Tells what a file holds whose first bytes are `start`; none if more of it must be seen.
pub fn beginning(start: &[u8]) -> Option<Beginning> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if start.len() < MARK.len() && MARK.starts_with(start) {
        return None;
    }
    if start.starts_with(MARK) {
        return Some(Beginning::ByteOrderMark);
    }
    let mut rest = start.trim_ascii_start();
    while rest.starts_with(seal::PREFIX) {
        rest = rest[memchr(b'\n', rest)?..].trim_ascii_start();
    }
    if seal::PREFIX.starts_with(rest) {
        return None;
    }
    let (open, inside) = rest.split_first()?;
    if !matches!(open, b'{' | b'[') {
        return Some(Beginning::Text);
    }
    // An object goes on with a member or its end; a mailbox `{x` of a text list does not. A comma in its place is what
    // 3.6 prints for an entry that is no UTF-8, a `!` the mark of a filter that gave up. Of a line with a TAB only a
    // quotation that is closed before it makes an object: no string of JSON has a TAB.
    let newline = inside.iter().position(|b| !b.is_ascii_whitespace() || *b == b'\n');
    if *open == b'{' && newline.is_some_and(|at| inside[at] == b'\n') {
        return Some(Beginning::Object);
    }
    let first = inside.trim_ascii_start();
    let quotes = |upto: usize| memchr_iter(b'"', &first[..upto]).count();
    let closed = match (memchr2(b'\t', b'\n', first).map(|at| (at, first[at])), first.first()?) {
        (_, b'"') if quotes(first.len().min(memchr(b'\t', first).unwrap_or(first.len()))) >= 2 => true,
        (Some((_, b'\n')), _) => true,
        (Some(_), _) => false,
        (None, _) => return None,
    };
    Some(match (open, first.first()) {
        (b'{', Some(b'"' | b'}' | b',' | b'!')) if closed => Beginning::Object,
        (b'[', Some(b'"' | b'{' | b']')) if closed => Beginning::Array,
        _ => Beginning::Text,
    })
}

/// Whether the first bytes of a file are enough for [`foreign`], so that its answer does not hang on how many of them came
/// at a time.
pub fn are_enough(start: &[u8]) -> bool {
    start.len() >= 16 && memchr2(b'\t', b'\n', start).is_some()
}

/// What a file is that is no list at all, and what to do with it.
pub fn foreign(start: &[u8]) -> Option<&'static str> {
    let database = "a Cyrus database: `ctl_mboxlist -d -f FILE` of the server that wrote it prints the list";
    let berkeley =
        |magic: &[u8]| matches!(magic, b"\x62\x31\x05\0" | b"\x61\x15\x06\0" | b"\0\x05\x31\x62" | b"\0\x06\x15\x61");
    Some(match start {
        [0x1f, 0x8b, ..] => "gzip data: unpack it with `gzip -dc`",
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] => "bzip2 data: unpack it with `bzip2 -dc`",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz data: unpack it with `xz -dc`",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd data: unpack it with `zstd -dc`",
        [b'P', b'K', 3, 4, ..] => "a zip archive: unpack it with `unzip -p`",
        // The magic of skiplist and twoskip.
        [0xa1, 0x02, 0x8b, 0x0d, ..] => database,
        _ if start.get(12..16).is_some_and(berkeley) => database,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "UTF-16, as an editor writes it: `iconv -f UTF-16 -t UTF-8` turns it back"
        }
        // No mailbox has such a name and no TAB.
        _ if start.starts_with(b"From ")
            && memchr(b'\t', start).is_none_or(|tab| memchr(b'\n', &start[..tab]).is_some()) =>
        {
            "mail in mbox format: what `ctl_mboxlist -d` prints is wanted"
        }
        _ => return None,
    })
}

/// A list that is written beside the stream, entry by entry as they came, to be mended and fed again.
pub struct SideList {
    file: SideFile,
    /// Whether an entry of JSON was written.
    object: bool,
}

impl SideList {
    /// Into `file`.
    pub fn new(file: SideFile) -> SideList {
        SideList { file, object: false }
    }

    /// Adds an entry, or a part of a line without its newline.
    pub fn write(&mut self, entry: &[u8], dialect: Option<Dialect>) -> Result<(), Stop> {
        let (before, behind) = match (dialect, self.object) {
            (Some(Dialect::Json), false) => ("{\n", ""),
            (Some(Dialect::Json), true) => (",\n", ""),
            _ => ("", "\n"),
        };
        self.object |= dialect == Some(Dialect::Json);
        self.raw(&[before.as_bytes(), entry, behind.as_bytes()].concat())
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.file.write_all(bytes).map_err(SideFile::failed)
    }

    /// Ends the list. One without entries stays an empty file, so that a script can ask with `-s`.
    pub fn finish(&mut self) -> Result<(), Stop> {
        match std::mem::take(&mut self.object) {
            true => self.raw(b"\n}\n"),
            false => Ok(()),
        }
    }
}

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
            Refusal::with(kind, format_args!("the list is in {dialect}, this line in {other}: were two lists joined?"))
        }
        _ => Refusal::with(kind, format_args!("the list is in {dialect}: was it edited or joined?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list() {
        for (start, what) in [
            (&b"\x1f\x8b\x08"[..], "gzip"),
            (b"\xa1\x02\x8b\x0dskiplist file\0", "ctl_mboxlist -d"),
            (b"\0\0\0\0\x01\0\0\0\0\0\0\0\x62\x31\x05\0", "ctl_mboxlist -d"),
            (b"\xff\xfeu\0", "UTF-16"),
            (b"From bob Mon Jan 1\nA:\tb", "mbox"),
        ] {
            assert!(foreign(start).is_some_and(|found| found.contains(what)), "{what}");
        }
        for start in [&b"BZh\tdefault\t"[..], b"From bob\tdefault\tx", b"PK\t1\t", b"{\n", b"", b"user.b\t1\t"] {
            assert_eq!(foreign(start), None);
        }
    }

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
