//! What is to be changed in one entry: stretches of its bytes, each with what stands there instead.
//!
//! Filters say what they mean (another partition, other rights), and here it becomes bytes of the entry's dialect.
//! Everything else of the entry stays as it came.

use crate::list::jansson as json;
use crate::mailbox::acl::Pair;
use crate::mailbox::entry::{Entry, Member, Span};

/// The changes of one entry. Used again for every entry, so that nothing is allocated.
#[derive(Default, Debug)]
pub struct Changes {
    /// In the order of the entry's bytes.
    list: Vec<(Span, Span)>,
    text: Vec<u8>,
}

impl Changes {
    /// Forgets the last entry's changes.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts `with` where `span` stands. Changes do not overlap.
    pub fn replace(&mut self, span: Span, with: &[u8]) {
        self.replace_with(span, |text| text.extend_from_slice(with));
    }

    /// The same with what `write` appends to the buffer that it is given.
    pub fn replace_with(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.text.len();
        write(&mut self.text);
        let change = (span, Span::new(from, self.text.len()));
        if self.list.last().is_none_or(|(before, _)| before.end() <= span.start()) {
            return self.list.push(change);
        }
        // Members of JSON come in any order. What is put in before a stretch comes before what stands there instead.
        let place = |(before, _): &(Span, Span)| (before.start(), before.end()) > (span.start(), span.end());
        let after = self.list.iter().rev().take_while(|known| place(known)).count();
        self.list.insert(self.list.len() - after, change);
    }

    /// Another text for a value of the entry: `value` is the field in its values, `member` its name in JSON.
    fn put(&mut self, entry: &Entry<'_>, value: Span, member: Member, new: &[u8]) {
        match entry.members {
            None => self.replace(value, new),
            Some(members) => match members.place(member) {
                Some(place) => self.replace_with(place.value, |text| json::encode(new, text)),
                None => self.add(entry, member, new),
            },
        }
    }

    /// Another partition.
    pub fn put_partition(&mut self, entry: &Entry<'_>, new: &[u8]) {
        self.put(entry, entry.fields.partition, Member::Partition, new);
    }

    /// Another server, of an entry that has one.
    pub fn put_server(&mut self, entry: &Entry<'_>, new: &[u8]) {
        if let Some(server) = entry.fields.server {
            self.put(entry, server, Member::Server, new);
        }
    }

    /// Another value of a JSON member; one that is not there is added where `ctl_mboxlist -d` would print it, with the
    /// white space that the entry's other members have.
    pub fn put_member(&mut self, entry: &Entry<'_>, member: Member, new: &[u8]) {
        // Of text nothing is a member.
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
        let behind = members.known[member as usize..].iter().flatten().next();
        if let Some(before) = before {
            self.replace_with(Span::new(before.value.end(), before.value.end()), |text| {
                text.extend_from_slice(between);
                write(text);
            });
        } else if let Some(behind) = behind {
            let at = behind.start as usize;
            self.replace_with(Span::new(at, at), |text| {
                write(text);
                text.extend_from_slice(between);
            });
        }
    }

    /// How long an entry of `len` bytes becomes.
    pub fn length_of(&self, len: usize) -> usize {
        let delta = |span: &Span| span.end() - span.start();
        self.list.iter().fold(len, |len, (gone, new)| len - delta(gone) + delta(new))
    }

    /// Appends `bytes` with the changes made.
    pub fn apply(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let rest = self.apply_in(bytes, 0, 0, out);
        out.extend_from_slice(&bytes[rest..]);
    }

    /// Appends what stands in `bytes` behind `from`, with the changes made to the entry that begins at `start`, up to the
    /// last of them, and tells where that ends.
    pub fn apply_in(&self, bytes: &[u8], mut from: usize, start: usize, out: &mut Vec<u8>) -> usize {
        for (gone, new) in &self.list {
            out.extend_from_slice(&bytes[from..start + gone.start()]);
            out.extend_from_slice(new.of(&self.text));
            from = start + gone.end();
        }
        from
    }
}

/// The changes of one ACL, pair by pair in order.
pub struct AclChanges<'c, 'e> {
    changes: &'c mut Changes,
    entry: &'e Entry<'e>,
    /// The number of the pair that is looked at.
    index: usize,
    /// Where the last pair that stays ends, in the bytes of a JSON entry.
    kept: Option<usize>,
    /// Where pairs that go begin, behind the last that stays.
    gone: Option<usize>,
}

impl<'c, 'e> AclChanges<'c, 'e> {
    /// Of `entry`, before its first pair.
    pub fn new(entry: &'e Entry<'e>, changes: &'c mut Changes) -> AclChanges<'c, 'e> {
        AclChanges { changes, entry, index: 0, kept: None, gone: None }
    }

    /// Goes on to the next pair; each stays unless it is dropped.
    pub fn next(&mut self) {
        if let Some((_, rights)) = self.place(self.index) {
            self.kept = Some(rights.end());
            self.gone = None;
        }
        self.index += 1;
    }

    /// Where pair `index` of a JSON entry stands.
    fn place(&self, index: usize) -> Option<(Span, Span)> {
        self.entry.members.and_then(|members| members.pairs.get(index).copied())
    }

    /// Other rights for this pair.
    pub fn put_rights(&mut self, pair: &Pair<'_>, new: &[u8]) {
        match self.place(self.index) {
            Some((_, rights)) => self.changes.replace_with(rights, |text| json::encode(new, text)),
            None => {
                let start = self.entry.fields.acl.start() + pair.rights_start();
                self.changes.replace(Span::new(start, start + pair.rights.len()), new);
            }
        }
    }

    /// Another identifier for this pair.
    pub fn put_identifier(&mut self, pair: &Pair<'_>, new: &[u8]) {
        match self.place(self.index) {
            Some((identifier, _)) => self.changes.replace_with(identifier, |text| json::encode(new, text)),
            None => {
                let start = self.entry.fields.acl.start() + pair.start;
                self.changes.replace(Span::new(start, start + pair.identifier.len()), new);
            }
        }
    }

    /// Takes this pair out and goes on to the next.
    pub fn drop_pair(&mut self, pair: &Pair<'_>) {
        let base = self.entry.fields.acl.start();
        match (self.place(self.index), self.place(self.index + 1)) {
            (None, _) => self.changes.replace(Span::new(base + pair.start, base + pair.end()), b""),
            // With the comma behind it, if another follows ...
            (Some((own, _)), Some((next, _))) => {
                self.gone.get_or_insert(own.start());
                self.changes.replace(Span::new(own.start(), next.start()), b"");
            }
            // ... or else with that behind the last that stays.
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

    /// Adds a pair behind all others; to be called after the last of them.
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
        // Written like the pairs that are there, or else like the members.
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
        // Behind the opening brace, or behind the last pair.
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
        // What comes next stands behind this one.
        self.kept = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_touch_only_their_stretch() {
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
