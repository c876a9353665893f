//! One entry of a mailbox list: slices of the bytes it came from, and what is to be changed in them.

use crate::mbtype::Mbtype;
use crate::outcome::At;
use crate::partition;
use crate::version::Dialect;

/// A stretch of an entry's bytes. No entry is longer than [`stream::MAX_LINE`](crate::stream::MAX_LINE), so 32 bits do,
/// and the fields of an entry stay small enough to be handed around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The stretch from `start` to before `end`.
    pub fn new(start: usize, end: usize) -> Span {
        // Below 2^32, as said above; what is no entry's is cut off and never read.
        Span { start: start as u32, end: end as u32 }
    }

    /// Where it begins.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends.
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// What stands there.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start()..self.end()]
    }
}

/// Where the fields of an entry stand in its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The mailbox's internal name.
    pub mailbox: Span,
    /// The mbtype field with its value; the oldest dialect has none.
    pub mbtype: Option<(Span, Mbtype)>,
    /// What stands before the `!` of `server!partition`.
    pub server: Option<Span>,
    /// The partition without stray blanks; for some remote entries the server.
    pub partition: Span,
    /// Everything between the mailbox (or its mbtype) and the ACL, stray blanks included.
    pub place: Span,
    /// The ACL, to the end of the entry.
    pub acl: Span,
}

/// What an entry stands for, as far as its own server is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mailbox of this server, with a directory.
    Mailbox,
    /// A mailbox of another server of a murder.
    Remote,
    /// The trace of a deleted mailbox (2.4 to 3.5 in text).
    Tombstone,
    /// A name that exists only because something is below it.
    Intermediate,
}

/// One entry as it was read. The bytes are the input buffer's own.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The entry as it came, without its newline.
    pub bytes: &'a [u8],
    /// Where it came from.
    pub at: At<'a>,
    /// The dialect it is written in.
    pub dialect: Dialect,
    /// Where its fields stand.
    pub fields: Fields,
}

impl<'a> Entry<'a> {
    /// The mailbox's internal name.
    pub fn mailbox(&self) -> &'a [u8] {
        self.fields.mailbox.of(self.bytes)
    }

    /// The mbtype, if the dialect has one.
    pub fn mbtype(&self) -> Option<Mbtype> {
        self.fields.mbtype.map(|(_, mbtype)| mbtype)
    }

    /// The server of `server!partition`.
    pub fn server(&self) -> Option<&'a [u8]> {
        self.fields.server.map(|span| span.of(self.bytes))
    }

    /// The partition, without a server and without stray blanks.
    pub fn partition(&self) -> &'a [u8] {
        self.fields.partition.of(self.bytes)
    }

    /// The ACL.
    pub fn acl(&self) -> &'a [u8] {
        self.fields.acl.of(self.bytes)
    }

    /// What the entry stands for. The oldest dialect has no types: there `server!partition` and what can only be a host
    /// name are taken for remote.
    pub fn kind(&self) -> Kind {
        match self.mbtype() {
            Some(Mbtype::EMAIL) => Kind::Mailbox,
            Some(mbtype) if mbtype.has(Mbtype::DELETED) => Kind::Tombstone,
            Some(mbtype) if mbtype.has(Mbtype::INTERMEDIATE) => Kind::Intermediate,
            Some(mbtype) if mbtype.has(Mbtype::REMOTE) => Kind::Remote,
            Some(_) => Kind::Mailbox,
            None if self.server().is_some() || partition::must_be_server(self.partition()) => Kind::Remote,
            None => Kind::Mailbox,
        }
    }

    /// Whether the name lies in the namespace of deleted mailboxes: `DELETED.` first, behind the domain if there is one.
    pub fn is_deleted_name(&self) -> bool {
        local_part(self.mailbox()).starts_with(b"DELETED.")
    }
}

/// An internal name without its domain: what stands behind the first `!`.
pub fn local_part(mailbox: &[u8]) -> &[u8] {
    match memchr::memchr(b'!', mailbox) {
        Some(at) => &mailbox[at + 1..],
        None => mailbox,
    }
}

/// What is to be changed in one entry: stretches of it, each with what stands there instead. Used again for every
/// entry, so that nothing is allocated.
#[derive(Default, Debug)]
pub struct Changes {
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

    /// Puts `with` where `span` stands. Changes come in the order of the entry's bytes and do not overlap.
    pub fn replace(&mut self, span: Span, with: &[u8]) {
        self.replace_with(span, |text| text.extend_from_slice(with));
    }

    /// The same with what `write` appends to the buffer that it is given.
    pub fn replace_with(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.list.last().is_none_or(|(last, _)| last.end() <= span.start()));
        let from = self.text.len();
        write(&mut self.text);
        self.list.push((span, Span::new(from, self.text.len())));
    }

    /// How long an entry of `len` bytes becomes.
    pub fn length_of(&self, len: usize) -> usize {
        let delta = |span: &Span| span.end() - span.start();
        self.list.iter().fold(len, |len, (gone, new)| len - delta(gone) + delta(new))
    }

    /// Appends `bytes` with the changes made.
    pub fn apply(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for (gone, new) in &self.list {
            out.extend_from_slice(&bytes[from..gone.start()]);
            out.extend_from_slice(new.of(&self.text));
            from = gone.end();
        }
        out.extend_from_slice(&bytes[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_touch_only_their_stretch() {
        let mut changes = Changes::default();
        changes.replace(Span::new(0, 3), b"1");
        changes.replace(Span::new(4, 4), b"++");
        changes.replace(Span::new(6, 7), b"");
        let mut out = Vec::new();
        changes.apply(b"one two", &mut out);
        assert_eq!(out, b"1 ++tw");
        assert_eq!(changes.length_of(7), out.len());
    }
}
