//! One entry of a mailbox list: slices of the bytes it came from.

use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::name::MailboxName;
use crate::mailbox::partition;
use crate::mailbox::rejection::At;
use crate::release::Dialect;

/// The longest line or JSON entry that is taken apart. A server's own lines are far shorter; an ACL of 100,000
/// identifiers is 2 to 5 MB.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// A stretch of an entry's bytes. No entry is longer than [`MAX_LINE`], so 32 bits do,
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

/// Where the fields of an entry stand in its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The mailbox's internal name.
    pub mailbox: Span,
    /// The mbtype field with what it says; the oldest dialect has none.
    pub mbtype: Option<(Span, Mbtype)>,
    /// What stands before the `!` of `server!partition`.
    pub server: Option<Span>,
    /// The partition without stray blanks; for some remote entries the server.
    pub partition: Span,
    /// In text, everything between the mailbox (or its mbtype) and the ACL, stray blanks included.
    pub place: Span,
    /// The ACL: `identifier TAB rights TAB` for each pair.
    pub acl: Span,
}

/// The members of a JSON entry that Cyrus knows, in the order in which `ctl_mboxlist -d` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// Ignored by the loader, which takes the entry's key.
    Name,
    /// Ignored by the loader, which takes the time of day.
    Mtime,
    /// 32 bits, in decimal.
    Uidvalidity,
    /// 64 bits, in decimal.
    Createdmodseq,
    /// 64 bits, in decimal.
    Foldermodseq,
    /// Letters.
    Mbtype,
    /// Of tombstones there is none.
    Partition,
    /// Of remote mailboxes.
    Server,
    /// An object of rights by identifier.
    Acl,
    /// Without it the loader skips the entry.
    Uniqueid,
    /// Without it the loader of 3.13.1 and later skips the entry.
    JmapId,
    /// Never seen in a dump, but read by the loader.
    LegacySpecialuse,
    /// An array of objects, in dumps always empty.
    NameHistory,
}

impl Member {
    /// All of them, and what they are called.
    pub const ALL: [(Member, &'static str); 13] = [
        (Member::Name, "name"),
        (Member::Mtime, "mtime"),
        (Member::Uidvalidity, "uidvalidity"),
        (Member::Createdmodseq, "createdmodseq"),
        (Member::Foldermodseq, "foldermodseq"),
        (Member::Mbtype, "mbtype"),
        (Member::Partition, "partition"),
        (Member::Server, "server"),
        (Member::Acl, "acl"),
        (Member::Uniqueid, "uniqueid"),
        (Member::JmapId, "jmapId"),
        (Member::LegacySpecialuse, "legacy_specialuse"),
        (Member::NameHistory, "name_history"),
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        Member::ALL[self as usize].1
    }
}

/// Where a member of a JSON entry stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where its name begins in the entry's bytes.
    pub start: u32,
    /// Its value in the entry's bytes, a string's quotes included.
    pub value: Span,
    /// A string's text in the entry's values.
    pub text: Span,
}

/// Where the members of a JSON entry stand. Used again for every entry, so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Those that Cyrus knows, as far as they are there.
    pub known: [Option<Place>; Member::ALL.len()],
    /// Identifier and rights of each pair of the ACL, in the entry's bytes.
    pub pairs: Vec<(Span, Span)>,
    /// The partitions in the name history.
    pub history: Vec<Place>,
    /// All bits of the mbtypes in the name history: the loader reads these letters, too.
    pub history_mbtype: Mbtype,
    /// What stands between two members, and between a name and its value: what is added is written alike.
    pub between: Option<Span>,
    /// See `between`.
    pub colon: Span,
}

impl Members {
    /// Forgets the last entry.
    pub fn clear(&mut self) {
        self.known = Default::default();
        self.pairs.clear();
        self.history.clear();
        self.history_mbtype = Mbtype::EMAIL;
        self.between = None;
    }

    /// Where a member stands.
    pub fn place(&self, member: Member) -> Option<&Place> {
        self.known[member as usize].as_ref()
    }
}

/// Where a record of mailboxes.db says what no line of text holds: in the values of the entry that was made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// By member of a JSON entry.
    pub known: [Option<Span>; Member::ALL.len()],
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
    /// The entry as it came: a line without its newline, or a member of the list's JSON object.
    pub bytes: &'a [u8],
    /// What its fields are slices of: its bytes in text, the texts of its strings in JSON.
    pub values: &'a [u8],
    /// Where its members stand in JSON.
    pub members: Option<&'a Members>,
    /// What else is known of a line of text that was made of a record of the database.
    pub record: Option<&'a Record>,
    /// Where it came from.
    pub at: At<'a>,
    /// The dialect it is written in.
    pub dialect: Dialect,
    /// Where its fields stand in its values.
    pub fields: Fields,
}

impl<'a> Entry<'a> {
    /// An entry that is a line of text.
    pub fn of_line(line: &'a [u8], at: At<'a>, dialect: Dialect, fields: Fields) -> Entry<'a> {
        Entry { bytes: line, values: line, members: None, record: None, at, dialect, fields }
    }

    /// The mailbox's internal name.
    pub fn mailbox(&self) -> &'a [u8] {
        self.fields.mailbox.of(self.values)
    }

    /// The mbtype, if the dialect has one.
    pub fn mbtype(&self) -> Option<Mbtype> {
        self.fields.mbtype.map(|(_, mbtype)| mbtype)
    }

    /// The server of `server!partition`.
    pub fn server(&self) -> Option<&'a [u8]> {
        self.fields.server.map(|span| span.of(self.values))
    }

    /// The partition, without a server and without stray blanks; empty where JSON has none.
    pub fn partition(&self) -> &'a [u8] {
        self.fields.partition.of(self.values)
    }

    /// The ACL.
    pub fn acl(&self) -> &'a [u8] {
        self.fields.acl.of(self.values)
    }

    /// The text of a JSON member that is a string. Text has none of those that are no fields, but where it was made of a
    /// record of the database.
    pub fn member(&self, member: Member) -> Option<&'a [u8]> {
        let text = match (self.members, self.record) {
            (Some(members), _) => members.place(member)?.text,
            (None, record) => record?.known[member as usize]?,
        };
        Some(text.of(self.values))
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

    /// The mailbox's internal name, to be taken apart.
    pub fn name(&self) -> MailboxName<'a> {
        MailboxName::new(self.mailbox())
    }
}

/// Whether an entry's directory is by name, as all are up to 3.5.
pub fn is_by_name(entry: &Entry<'_>) -> bool {
    !entry.dialect.tells_directory() || entry.mbtype().is_some_and(|mbtype| mbtype.has(Mbtype::LEGACY))
}
