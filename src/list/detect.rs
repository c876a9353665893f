//! Detects the dialect of a list by its first bytes and its first entry.

use crate::list::seal;
use crate::mailbox::rejection::Refusal;
use crate::release::Dialect;
use memchr::{memchr, memchr_iter, memchr2, memmem};

/// The syntax of a list, as the beginning of its file shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Lines of text.
    Text,
    /// A JSON object.
    Object,
    /// A JSON array. No `ctl_mboxlist` writes one, and the loader reads it as an empty list.
    Array,
    /// Entries of a JSON object without its braces, as `grep` prints them.
    Members,
    /// A byte order mark.
    ByteOrderMark,
}

/// Detects the syntax of a list by its first bytes. Returns nothing if more bytes are needed.
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
    if *open == b'"' {
        // A mailbox of a text list may begin so, and has a TAB behind it.
        let end = memchr2(b'\t', b'\n', inside)?;
        let found = inside[end] == b'\n'
            && [&b"\": {"[..], b"\":{"].iter().any(|mark| memmem::find(&inside[..end], mark).is_some());
        return Some(if found { Beginning::Members } else { Beginning::Text });
    }
    if !matches!(open, b'{' | b'[') {
        return Some(Beginning::Text);
    }
    // The brace of an object precedes a member or the end; that of a mailbox `{x` of a text list does not. 3.6 prints a
    // comma there for an entry that is not UTF-8, and a filter that aborts writes a mark that begins with `!`. A line
    // with a TAB is an object only if a string ends before the TAB: no JSON string has a TAB.
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

/// The dialect of a list, as its first entry shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// No other dialect is possible.
    Sure(Dialect),
    /// The entry has digits, a blank and no partition. Either it is of 2.3.4 or later and lacks its partition, or it is
    /// older and has a stray blank after a partition called `1`. The release must decide.
    Unsure,
}

/// Detects the dialect of a line that has a TAB (`facts/dialects.md`, "Telling them apart").
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

/// Refuses a line that is not an entry of the list's dialect, and names the dialect that it has.
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
    fn the_first_entry_decides() {
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
        for (start, found) in [
            (&b"\"a\": {\"name\": \"a\"},\n"[..], Some(Beginning::Members)),
            (b"\"a\":{\"name\":\"a\"}\n", Some(Beginning::Members)),
            (b"\"a\": {", None),
            (b"\"a\": {\tdefault\ta\tlrs\t\n", Some(Beginning::Text)),
            (b"\"quoted\"\n", Some(Beginning::Text)),
        ] {
            assert_eq!(beginning(start), found, "{}", start.escape_ascii());
        }
    }
}
