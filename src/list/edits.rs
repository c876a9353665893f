//! The changes of one entry: spans of its bytes, each with the bytes that replace it.
//!
//! Filters name the field that changes (the partition, the rights). This module writes the new bytes in the entry's
//! dialect. All other bytes of the entry stay as they were read.

use crate::list::jansson as json;
use crate::mailbox::acl::Pair;
use crate::mailbox::entry::{Entry, Member, Span};

/// The changes of one entry. The same buffers serve every entry, so no entry allocates.
#[derive(Default, Debug)]
pub struct Changes {
    /// Each span with its replacement in `text`, in the order of the entry's bytes.
    list: Vec<(Span, Span)>,
    text: Vec<u8>,
}

impl Changes {
    /// Removes the changes of the last entry.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
    }

    /// Returns true if the entry has no changes.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Replaces `span` by `with`. Changes must not overlap.
    pub fn replace(&mut self, span: Span, with: &[u8]) {
        self.replace_with(span, |text| text.extend_from_slice(with));
    }

    /// Replaces `span` by the bytes that `write` appends to its buffer.
    pub fn replace_with(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.text.len();
        write(&mut self.text);
        let change = (span, Span::new(from, self.text.len()));
        if self.list.last().is_none_or(|(before, _)| before.end() <= span.start()) {
            return self.list.push(change);
        }
        // JSON members come in any order. An insertion before a span sorts before the replacement of that span.
        let sorts_after = |(before, _): &(Span, Span)| (before.start(), before.end()) > (span.start(), span.end());
        let after = self.list.iter().rev().take_while(|known| sorts_after(known)).count();
        self.list.insert(self.list.len() - after, change);
    }

    /// Sets a field: `value` is its span in the entry's values, `member` its member in JSON.
    fn put(&mut self, entry: &Entry<'_>, value: Span, member: Member, new: &[u8]) {
        match entry.members {
            None => self.replace(value, new),
            Some(members) => match members.place(member) {
                Some(place) => self.replace_with(place.value, |text| json::encode(new, text)),
                None => self.add(entry, member, new),
            },
        }
    }

    /// Sets the partition.
    pub fn put_partition(&mut self, entry: &Entry<'_>, new: &[u8]) {
        self.put(entry, entry.fields.partition, Member::Partition, new);
    }

    /// Sets the server, if the entry has one.
    pub fn put_server(&mut self, entry: &Entry<'_>, new: &[u8]) {
        if let Some(server) = entry.fields.server {
            self.put(entry, server, Member::Server, new);
        }
    }

    /// Sets a JSON member. A missing member is added where `ctl_mboxlist -d` prints it, with the white space of the
    /// entry's other members.
    pub fn put_member(&mut self, entry: &Entry<'_>, member: Member, new: &[u8]) {
        // Entries of a text list have no members.
        if entry.members.is_some() {
            self.put(entry, Span::default(), member, new);
        }
    }

    /// Adds a member to a JSON entry.
    fn add(&mut self, entry: &Entry<'_>, member: Member, value: &[u8]) {
        let Some(members) = entry.members else { return };
        let between = members.between.map_or(&b", "[..], |between| between.of(entry.bytes));
        let colon = members.colon.of(entry.bytes);
        let write = |text: &mut Vec<u8>| {
            json::encode(member.name().as_bytes(), text);
            text.extend_from_slice(colon);
            json::encode(value, text);
        };
        let before = members.known[..member as usize].iter().rev().flatten().next();
        let after = members.known[member as usize..].iter().flatten().next();
        if let Some(before) = before {
            self.replace_with(Span::new(before.value.end(), before.value.end()), |text| {
                text.extend_from_slice(between);
                write(text);
            });
        } else if let Some(after) = after {
            let at = after.start as usize;
            self.replace_with(Span::new(at, at), |text| {
                write(text);
                text.extend_from_slice(between);
            });
        }
    }

    /// Returns the length of an entry of `len` bytes after the changes.
    pub fn length_of(&self, len: usize) -> usize {
        let delta = |span: &Span| span.end() - span.start();
        self.list.iter().fold(len, |len, (gone, new)| len - delta(gone) + delta(new))
    }

    /// Appends `bytes` with the changes applied.
    pub fn apply(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let rest = self.apply_in(bytes, 0, 0, out);
        out.extend_from_slice(&bytes[rest..]);
    }

    /// Appends `bytes` from the offset `from` to the end of the last change; `start` is the offset of the changed
    /// entry. Returns the end of the last change, or `from` if there is none.
    pub fn apply_in(&self, bytes: &[u8], mut from: usize, start: usize, out: &mut Vec<u8>) -> usize {
        for (gone, new) in &self.list {
            out.extend_from_slice(&bytes[from..start + gone.start()]);
            out.extend_from_slice(new.of(&self.text));
            from = start + gone.end();
        }
        from
    }
}

/// The changes of one ACL, made pair by pair in order.
pub struct AclChanges<'c, 'e> {
    changes: &'c mut Changes,
    entry: &'e Entry<'e>,
    /// The index of the current pair.
    index: usize,
    /// The end of the last pair that stays, in the bytes of a JSON entry.
    kept: Option<usize>,
    /// The start of the first dropped pair after `kept`.
    gone: Option<usize>,
}

impl<'c, 'e> AclChanges<'c, 'e> {
    /// Starts before the first pair of `entry`.
    pub fn new(entry: &'e Entry<'e>, changes: &'c mut Changes) -> AclChanges<'c, 'e> {
        AclChanges { changes, entry, index: 0, kept: None, gone: None }
    }

    /// Keeps the current pair and moves to the next one.
    pub fn next(&mut self) {
        if let Some((_, rights)) = self.spans(self.index) {
            self.kept = Some(rights.end());
            self.gone = None;
        }
        self.index += 1;
    }

    /// Returns the spans of identifier and rights of pair `index`; none in a text entry.
    fn spans(&self, index: usize) -> Option<(Span, Span)> {
        self.entry.members.and_then(|members| members.pairs.get(index).copied())
    }

    /// Sets the rights of the current pair.
    pub fn put_rights(&mut self, pair: &Pair<'_>, new: &[u8]) {
        match self.spans(self.index) {
            Some((_, rights)) => self.changes.replace_with(rights, |text| json::encode(new, text)),
            None => {
                let start = self.entry.fields.acl.start() + pair.rights_start();
                self.changes.replace(Span::new(start, start + pair.rights.len()), new);
            }
        }
    }

    /// Sets the identifier of the current pair.
    pub fn put_identifier(&mut self, pair: &Pair<'_>, new: &[u8]) {
        match self.spans(self.index) {
            Some((identifier, _)) => self.changes.replace_with(identifier, |text| json::encode(new, text)),
            None => {
                let start = self.entry.fields.acl.start() + pair.start;
                self.changes.replace(Span::new(start, start + pair.identifier.len()), new);
            }
        }
    }

    /// Drops the current pair and moves to the next one.
    pub fn drop_pair(&mut self, pair: &Pair<'_>) {
        let base = self.entry.fields.acl.start();
        match (self.spans(self.index), self.spans(self.index + 1)) {
            (None, _) => self.changes.replace(Span::new(base + pair.start, base + pair.end()), b""),
            // Drops the comma after the pair too, if another pair follows ...
            (Some((own, _)), Some((next, _))) => {
                self.gone.get_or_insert(own.start());
                self.changes.replace(Span::new(own.start(), next.start()), b"");
            }
            // ... else the comma after the last pair that stays.
            (Some((own, rights)), None) => {
                let first = *self.gone.get_or_insert(own.start());
                if let Some(kept) = self.kept {
                    self.changes.replace(Span::new(kept, first), b"");
                }
                self.changes.replace(Span::new(own.start(), rights.end()), b"");
            }
        }
        self.index += 1;
    }

    /// Adds a pair after all others. Call it after the last pair.
    pub fn add(&mut self, identifier: &[u8], rights: &[u8]) {
        let Some(members) = self.entry.members else {
            let end = self.entry.fields.acl.end();
            self.changes.replace_with(Span::new(end, end), |text| {
                for part in [identifier, rights] {
                    text.extend_from_slice(part);
                    text.push(b'\t');
                }
            });
            return;
        };
        let Some(acl) = members.place(Member::Acl) else { return };
        // Uses the white space of the existing pairs, else that of the members.
        let bytes = self.entry.bytes;
        let between = match members.pairs.as_slice() {
            [one, other, ..] => &bytes[one.1.end()..other.0.start()],
            _ if members.between.is_some_and(|between| between.of(bytes) == b",") => b",",
            _ => b", ",
        };
        let colon = match members.pairs.first() {
            Some((identifier, rights)) => &bytes[identifier.end()..rights.start()],
            None => members.colon.of(bytes),
        };
        // The place is after the last pair that stays, else after the opening brace.
        let (at, comma) = match self.kept {
            Some(kept) => (kept, true),
            None => (acl.value.start() + 1, false),
        };
        self.changes.replace_with(Span::new(at, at), |text| {
            if comma {
                text.extend_from_slice(between);
            }
            json::encode(identifier, text);
            text.extend_from_slice(colon);
            json::encode(rights, text);
        });
        // The next added pair comes after this one.
        self.kept = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_touch_only_their_spans() {
        let mut changes = Changes::default();
        changes.replace(Span::new(6, 7), b"");
        changes.replace(Span::new(0, 3), b"1");
        changes.replace(Span::new(4, 5), b"T");
        changes.replace(Span::new(4, 4), b"+");
        changes.replace(Span::new(4, 4), b"-");
        let mut out = Vec::new();
        changes.apply(b"one two", &mut out);
        assert_eq!(out, b"1 +-Tw");
        assert_eq!(changes.length_of(7), out.len());
    }
}
