//! Cyrus's own lists of keys and values, `%(KEY VALUE KEY VALUE ...)`: cyrus.header since 3.6, the records of mailboxes.db
//! since 2.5.
//!
//! Read as `imap/dlist.c` and `getxstring` of 3.6 read them, and without recursion. A reason completes the sentence "this
//! file ...", so that it can stand behind a name.

use crate::mailbox::entry::Span;
use memchr::memchr;

/// A list that has something in it that no server writes.
pub const DAMAGED: &str = "is damaged in its list";

/// A list that ends before it is closed.
pub const CUT_OFF: &str = "is cut off in its list";

/// An ACL that would be another one in lines.
pub const SPLIT: &str = "has an ACL with a TAB or LF inside an identifier";

/// The rest of a list.
pub struct Dlist<'a>(&'a [u8]);

impl<'a> Dlist<'a> {
    /// A list from its beginning.
    pub fn new(bytes: &'a [u8]) -> Dlist<'a> {
        Dlist(bytes)
    }

    /// Whether nothing but white space is left.
    pub fn is_at_end(&self) -> bool {
        self.0.trim_ascii().is_empty()
    }

    /// The next byte that is no blank. A list always goes on until it is closed.
    fn peek(&mut self) -> Result<u8, &'static str> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied().ok_or(CUT_OFF)
    }

    /// Takes `%(` or `(`.
    pub fn open(&mut self) -> Result<(), &'static str> {
        let rest = self.0.strip_prefix(b"%").unwrap_or(self.0);
        match rest.split_first() {
            Some((b'(', rest)) => self.0 = rest,
            Some(_) => return Err(DAMAGED),
            None => return Err(CUT_OFF),
        }
        Ok(())
    }

    /// Takes `)` if it is next.
    pub fn closes(&mut self) -> Result<bool, &'static str> {
        let closes = self.peek()? == b')';
        if closes {
            self.take(1)?;
        }
        Ok(closes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Appends an atom, a quoted string or a literal.
    pub fn put_string(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.peek()? {
            b'"' => self.quoted(out),
            b'{' => self.literal(out),
            _ => {
                let ends = |b: &u8| b.is_ascii_whitespace() || b"()\"".contains(b);
                match self.0.iter().position(ends).ok_or(CUT_OFF)? {
                    0 => Err(DAMAGED),
                    len => {
                        out.extend_from_slice(self.take(len)?);
                        Ok(())
                    }
                }
            }
        }
    }

    /// A string of its own.
    pub fn string(&mut self) -> Result<Vec<u8>, &'static str> {
        let mut text = Vec::new();
        self.put_string(&mut text).map(|()| text)
    }

    /// `"..."` on one line, where a backslash makes any byte stand for itself.
    fn quoted(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut bytes = self.0.get(1..).unwrap_or_default().iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'"' => {
                    self.0 = bytes.as_slice();
                    return Ok(());
                }
                b'\\' => out.extend(bytes.next()),
                b'\r' | b'\n' | 0 => return Err(DAMAGED),
                _ => out.push(byte),
            }
        }
        Err(CUT_OFF)
    }

    /// `{n+}` or `{n}`, the end of the line, n bytes.
    fn literal(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let end = memchr(b'\n', self.0).ok_or(CUT_OFF)?;
        let head = self.take(end)?;
        self.take(1)?;
        let len = literal_of(head).filter(|(start, _)| *start == 0).ok_or(DAMAGED)?.1;
        out.extend_from_slice(self.take(len)?);
        Ok(())
    }

    /// Appends a string, and tells where it stands; nothing for a bare NIL.
    pub fn put_value(&mut self, out: &mut Vec<u8>) -> Result<Option<Span>, &'static str> {
        let bare = !b"\"{".contains(&self.peek()?);
        let from = out.len();
        self.put_string(out)?;
        if bare && out[from..].eq_ignore_ascii_case(b"NIL") {
            out.truncate(from);
            return Ok(None);
        }
        Ok(Some(Span::new(from, out.len())))
    }

    /// A string of its own, or nothing for a bare NIL.
    pub fn value(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        let mut text = Vec::new();
        let found = self.put_value(&mut text)?;
        Ok(found.map(|_| text))
    }

    /// Appends `%(IDENTIFIER RIGHTS ...)` as `IDENTIFIER TAB RIGHTS TAB ...`.
    pub fn put_acl(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.peek()?;
        self.open()?;
        while !self.closes()? {
            for _ in 0..2 {
                let from = out.len();
                self.put_string(out)?;
                if memchr(b'\t', &out[from..]).is_some() {
                    return Err(SPLIT);
                }
                out.push(b'\t');
            }
        }
        Ok(())
    }

    /// The same as an ACL of its own.
    pub fn acl(&mut self) -> Result<Vec<u8>, &'static str> {
        let mut acl = Vec::new();
        self.put_acl(&mut acl).map(|()| acl)
    }

    /// Takes a value of any shape.
    pub fn skip(&mut self) -> Result<(), &'static str> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'(' | b'%' => {
                    self.open()?;
                    depth = depth.saturating_add(1);
                }
                b')' => {
                    self.take(1)?;
                    depth = depth.checked_sub(1).ok_or(DAMAGED)?;
                }
                _ => drop(self.string()?),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Where the head of a literal begins in a line without its LF that ends in one, and how many bytes follow the LF.
pub fn literal_of(line: &[u8]) -> Option<(usize, usize)> {
    let head = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let head = head.strip_suffix(b"+").unwrap_or(head);
    let digits = head.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, digits) = head.split_at(head.len() - digits);
    let start = before.strip_suffix(b"{")?.len();
    let len = digits.iter().try_fold(0_usize, |n, digit| n.checked_mul(10)?.checked_add(usize::from(digit - b'0')))?;
    Some((start, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_literals() {
        for (line, found) in [
            (&b"{3+}\r"[..], Some((0, 3))),
            (b"%(A %({12}", Some((6, 12))),
            (b"{}\r", Some((0, 0))),
            (b"{3+}x", None),
            (b"3+}\r", None),
            (b"{99999999999999999999+}\r", None),
            (b"", None),
        ] {
            assert_eq!(literal_of(line), found);
        }
    }
}
