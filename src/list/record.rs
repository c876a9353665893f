//! The text of the database itself: what `cyr_dbtool FILE TYPE show` prints, `cvt_cyrusdb` writes as type flat, and a
//! mailboxes.db of type flat is.
//!
//! It is read as input only. A record is `KEY TAB VALUE LF`:
//!
//! | releases | key | value |
//! |---|---|---|
//! | 2.0 to 2.4 | mailbox | `mbtype SP partition SP acl` (`mboxlist_makeentry`) |
//! | 2.5 to 3.5 | mailbox | `%(A %(identifier rights ...) I uniqueid P partition S server T letters V n C n F n M time)` (`mboxlist_entry_cstring`); those of 2.4 stay until they are written anew |
//! | 3.6 and later | `N` and the mailbox; `I` and the uniqueid; from 3.13 on `J` | `%(T letters I uniqueid ... A %(...))`, of `I` with `N mailbox` and `H (...)` (`mboxlist_entry_dlist`) |
//!
//! Strings are atoms, `"quoted"`, or literals, `{n+} CR LF` and n bytes, so that a record may have several lines. From
//! 2.5 on the flat type writes NUL, TAB, LF and CR as 0xff and the byte with its highest bit, and 0xff twice
//! (`lib/cyrusdb_flat.c`, `encode`).

use crate::list::dlist::{DAMAGED, Dlist, literal_of};
use crate::list::jansson::why_not_utf8;
use crate::list::json;
use crate::list::text;
use crate::mailbox::acl;
use crate::mailbox::entry::{Member, Record, Span};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::partition;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::{Dialect, Release, v};
use memchr::{memchr, memchr_iter, memmem};
use std::fmt;

/// The forms that records have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 2.0 to 2.4: the bytes of the dialect of 2.3.10.
    Plain,
    /// 2.5 to 3.5: a list of keys and values behind the mailbox.
    Dlist,
    /// 3.6 and later: one by the name and one by the uniqueid.
    Keyed,
}

impl Form {
    /// The dialect of the entries that are made of such records: what these releases print themselves.
    pub fn dialect(self) -> Dialect {
        match self {
            Form::Plain | Form::Dlist => Dialect::Blank,
            Form::Keyed => Dialect::Json,
        }
    }

    /// Whether `release` keeps such records.
    pub fn is_of(self, release: &Release) -> bool {
        match self {
            // Up to 3.5 they stay as they are until they are written anew.
            Form::Plain => release.since(v(2, 0, 0)) && !release.since(v(3, 6, 0)),
            Form::Dlist => release.since(v(2, 5, 0)) && !release.since(v(3, 6, 0)),
            Form::Keyed => release.since(v(3, 6, 0)),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Plain => "2.0 to 2.4",
            Form::Dlist => "2.5 to 3.5",
            Form::Keyed => "3.6 and later",
        })
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mailbox.
    Mailbox(Form),
    /// The same mailbox once more, by its uniqueid.
    ById,
    /// No mailbox: what the server keeps beside them, and the word for it.
    Other(&'static str),
}

/// What 0xff is followed by where it begins an escape.
const ESCAPED: &[u8] = b"\x80\x89\x8a\x8d\xff";

/// Whether a line, or the first line of a record, is of the database and of no dump. Records of 2.0 to 2.4 that have no
/// escape are the bytes of a dump of 2.3.10 and later, and are not told apart.
pub fn is_record(line: &[u8]) -> bool {
    let Some(tab) = memchr(b'\t', line) else { return false };
    let (key, value) = (&line[..tab], &line[tab + 1..]);
    !key.is_empty() && (value.starts_with(b"%(") || aside(key, value).is_some() || is_escaped_acl(line))
}

/// Whether a line is a record of 2.0 to 2.4 with an ACL whose TABs are escaped.
pub fn is_escaped_acl(line: &[u8]) -> bool {
    let Some(tab) = memchr(b'\t', line) else { return false };
    let value = &line[tab + 1..];
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && value.get(digits) == Some(&b' ') && memmem::find(value, b"\xff\x89").is_some() && is_escaped(line)
}

/// Whether a record was written by the flat type of 2.5 and later, and needs it to be read: it has one TAB, and no 0xff
/// that begins no escape.
fn is_escaped(record: &[u8]) -> bool {
    let mut rest = record;
    let mut found = false;
    while let Some(at) = memchr(0xff, rest) {
        if !rest.get(at + 1).is_some_and(|b| ESCAPED.contains(b)) {
            return false;
        }
        found = true;
        rest = &rest[at + 2..];
    }
    found && memchr_iter(b'\t', record).count() == 1 && !record.iter().any(|b| matches!(b, b'\r' | b'\n'))
}

/// What the server keeps beside its mailboxes: rights by user (3.0 to 3.5 `$RACL`, from 3.6 on `A`), what the indexer has
/// to do (3.3 to 3.5 `$RUNQ`), mailboxes by jmapId (from 3.13 on `J`).
fn aside(key: &[u8], value: &[u8]) -> Option<&'static str> {
    let version = value.iter().all(u8::is_ascii_digit);
    match key {
        [b'$', b'R', b'A', b'C', b'L', ..] if version => Some("$RACL"),
        [b'$', b'R', b'U', b'N', b'Q', ..] if version => Some("$RUNQ"),
        [b'A', b'U' | b'S', 0x1e, ..] if value.is_empty() => Some("A"),
        [b'J', ..] if is_keyed(value) => Some("J"),
        _ => None,
    }
}

/// Whether a value is of 3.6 or later: its type comes first, and with a letter of its own.
fn is_keyed(value: &[u8]) -> bool {
    matches!(value.strip_prefix(b"%(T "), Some([b'e' | b'n' | b's' | b'p' | b'j' | b'f' | b'b' | b'c' | b'a', ..]))
}

/// Where the record that `bytes` begin with ends, its LF included; none if more of it must be seen. Literals may have LFs.
pub fn end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    let mut list = None;
    loop {
        let at = from + memchr(b'\n', bytes.get(from..)?)?;
        let line = &bytes[from..at];
        let list =
            *list.get_or_insert_with(|| memchr(b'\t', line).is_some_and(|tab| line[tab + 1..].starts_with(b"%(")));
        match literal_of(line).filter(|_| list && line.ends_with(b"\r")) {
            Some((_, len)) => from = at.checked_add(1)?.checked_add(len)?,
            None => return Some(at + 1),
        }
    }
}

/// Reads records, one after the other, into the same buffers.
#[derive(Debug)]
pub struct Reader {
    /// Whether the database may be of 2.5.0 to 2.5.11, which wrote identifiers without quotes.
    unquoted: bool,
    /// The record without its escapes.
    raw: Vec<u8>,
    /// The strings of its list.
    texts: Vec<u8>,
    /// The entry that was made of the last record, and behind it the texts of `record`.
    pub values: Vec<u8>,
    /// How long the entry is: a line of text, or a member of a JSON list.
    pub len: usize,
    /// What no line of text holds.
    pub record: Record,
    /// The mailbox of the last record, as far as it is known.
    pub mailbox: Vec<u8>,
}

/// The values of a list by their keys.
#[derive(Default)]
struct List {
    known: [Option<Span>; KEYS.len()],
    acl: Span,
}

/// The keys of a record and the members of JSON that have their values. The name is a key of its own, and the ACL is taken
/// apart.
const KEYS: [(u8, Member); 10] = [
    (b'N', Member::Name),
    (b'T', Member::Mbtype),
    (b'P', Member::Partition),
    (b'S', Member::Server),
    (b'I', Member::Uniqueid),
    (b'J', Member::JmapId),
    (b'V', Member::Uidvalidity),
    (b'C', Member::Createdmodseq),
    (b'F', Member::Foldermodseq),
    (b'M', Member::Mtime),
];

impl List {
    fn get(&self, member: Member) -> Option<Span> {
        let at = KEYS.iter().position(|(_, known)| *known == member)?;
        self.known[at]
    }
}

impl Reader {
    /// Of a database of `from`, if that is known.
    pub fn new(from: Option<&Release>) -> Reader {
        Reader {
            unquoted: from.is_none_or(|from| from.since(v(2, 5, 0)) && !from.since(v(2, 5, 12))),
            raw: Vec::new(),
            texts: Vec::new(),
            values: Vec::new(),
            len: 0,
            record: Record::default(),
            mailbox: Vec::new(),
        }
    }

    /// Reads a record without its LF. A mailbox is in `values` then: as a line of the dialect of 2.3.10, with `record`, or
    /// as the member of a JSON list that `ctl_mboxlist -d` would print.
    pub fn read(&mut self, record: &[u8]) -> Result<Kind, Refusal> {
        self.values.clear();
        self.texts.clear();
        self.mailbox.clear();
        self.record = Record::default();
        self.len = 0;
        let tab = memchr(b'\t', record).ok_or_else(|| text::no_tab(record))?;
        self.raw.clear();
        match is_escaped(record) {
            true => unescape(&record[..tab], &mut self.raw),
            false => self.raw.extend_from_slice(&record[..tab]),
        }
        let key = self.raw.len();
        match is_escaped(record) {
            true => unescape(&record[tab + 1..], &mut self.raw),
            false => self.raw.extend_from_slice(&record[tab + 1..]),
        }
        let raw = std::mem::take(&mut self.raw);
        let (key, value) = raw.split_at(key);
        let kind = self.take(key, value);
        self.raw = raw;
        kind
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<Kind, Refusal> {
        if let Some(what) = aside(key, value) {
            return Ok(Kind::Other(what));
        }
        self.mailbox.extend_from_slice(key);
        if key.is_empty() {
            return Err(Refusal::new("no mailbox name"));
        }
        if !value.starts_with(b"%(") {
            one_line(key)?;
            self.values.extend_from_slice(key);
            self.values.push(b'\t');
            self.values.extend_from_slice(value);
            self.len = self.values.len();
            return one_line(value).map(|()| Kind::Mailbox(Form::Plain));
        }
        let keyed = is_keyed(value);
        if keyed {
            self.mailbox.clear();
            if let [b'N', name @ ..] = key {
                internal(name, &mut self.mailbox);
            }
        }
        let list = self.list(value)?;
        match (keyed, key) {
            (false, key) => self.line(key, &list).map(|()| Kind::Mailbox(Form::Dlist)),
            (true, [b'N', ..]) => self.member(&list, None).map(|()| Kind::Mailbox(Form::Keyed)),
            (true, [b'I', uniqueid @ ..]) => {
                if let Some(name) = list.get(Member::Name) {
                    internal(name.of(&self.texts), &mut self.mailbox);
                }
                self.member(&list, Some(uniqueid)).map(|()| Kind::ById)
            }
            (true, _) => Err(Refusal::with(
                "record that cannot be read",
                format_args!(
                    "{} is a key of no release: was the text edited, or has a name a line end in it?",
                    Name(key)
                ),
            )),
        }
    }

    /// Takes the list of a record apart.
    fn list(&mut self, value: &[u8]) -> Result<List, Refusal> {
        let mut list = List::default();
        let mut dlist = Dlist::new(value);
        let unread = |why: &str| Refusal::with("record that cannot be read", format_args!("it {why}"));
        let (mut seen_acl, mut broken_acl) = (false, false);
        let mut take = || -> Result<(), &'static str> {
            dlist.open()?;
            while !dlist.closes()? {
                let from = self.texts.len();
                dlist.put_string(&mut self.texts)?;
                let key = match self.texts[from..] {
                    [key] => key,
                    _ => 0,
                };
                let known = KEYS.iter().position(|(known, _)| *known == key);
                let twice = match (known, key) {
                    (Some(at), _) => {
                        let value = dlist.put_value(&mut self.texts)?;
                        std::mem::replace(&mut list.known[at], value).is_some()
                    }
                    (None, b'A') => {
                        let from = self.texts.len();
                        dlist.put_acl(&mut self.texts).inspect_err(|why| broken_acl = *why == DAMAGED)?;
                        list.acl = Span::new(from, self.texts.len());
                        std::mem::replace(&mut seen_acl, true)
                    }
                    (None, _) => {
                        dlist.skip()?;
                        false
                    }
                };
                if twice {
                    return Err("has one key twice in its list");
                }
            }
            match dlist.is_at_end() {
                true => Ok(()),
                false => Err("has something behind its list"),
            }
        };
        match take() {
            Ok(()) => Ok(list),
            Err(_) if broken_acl && self.unquoted && !is_keyed(value) => Err(unquoted()),
            Err(why) => Err(unread(why)),
        }
    }

    /// A record of 2.5 to 3.5 as a line.
    fn line(&mut self, key: &[u8], list: &List) -> Result<(), Refusal> {
        let text = |member| list.get(member).map(|span| span.of(&self.texts));
        let acl = list.acl.of(&self.texts);
        if self.unquoted && acl::pairs(acl).any(|pair| !pair.rights.is_empty() && !acl::are_letters(pair.rights)) {
            return Err(unquoted());
        }
        let letters = text(Member::Mbtype).unwrap_or_default();
        let mbtype = Mbtype::of_record(letters).ok_or_else(|| {
            Refusal::with("unknown mbtype", format_args!("{}: no release up to 3.5 has it", Name(letters)))
        })?;
        let (server, partition) = (text(Member::Server), text(Member::Partition).unwrap_or(partition::NULL));
        if [server.unwrap_or_default(), partition].iter().any(|part| part.iter().any(|b| b" !\t".contains(b))) {
            let what = Name(partition);
            return Err(Refusal::with("partition or server that no line of text can hold", what));
        }
        one_line(key).and_then(|()| one_line(acl))?;
        self.values.extend_from_slice(key);
        self.values.push(b'\t');
        self.values.extend_from_slice(format!("{mbtype} ").as_bytes());
        if let Some(server) = server {
            self.values.extend_from_slice(server);
            self.values.push(b'!');
        }
        self.values.extend_from_slice(partition);
        self.values.push(b' ');
        self.values.extend_from_slice(acl);
        self.len = self.values.len();
        for ((_, member), span) in KEYS.iter().zip(list.known) {
            let Some(text) = span.map(|span| span.of(&self.texts)).filter(|text| !text.is_empty()) else { continue };
            self.record.known[*member as usize] = Some(Span::new(self.values.len(), self.values.len() + text.len()));
            self.values.extend_from_slice(text);
        }
        Ok(())
    }

    /// A record of 3.6 or later as a member of a JSON list; its key has the uniqueid, if its list has not.
    fn member(&mut self, list: &List, uniqueid: Option<&[u8]>) -> Result<(), Refusal> {
        if self.mailbox.is_empty() {
            return Err(Refusal::new("no mailbox name"));
        }
        let acl = list.acl.of(&self.texts);
        if let Some(why) =
            [&self.mailbox[..], &self.texts, uniqueid.unwrap_or_default()].into_iter().find_map(why_not_utf8)
        {
            return Err(Refusal::with("record that JSON cannot hold", why));
        }
        let told = |member| {
            let text = list.get(member).map(|span| span.of(&self.texts));
            match member {
                Member::Mtime | Member::Uidvalidity | Member::Createdmodseq | Member::Foldermodseq => {
                    text.or(Some(b"0"))
                }
                Member::Uniqueid => text.or(uniqueid),
                _ => text,
            }
        };
        let letters = told(Member::Mbtype).unwrap_or_default();
        // Those that no release knows are refused where the member is read.
        let plain = letters.iter().all(u8::is_ascii_alphanumeric);
        let mbtype = |out: &mut Vec<u8>| {
            out.extend_from_slice(letters);
            plain.then_some(())
        };
        json::print(&self.mailbox, false, told, mbtype, acl, &mut self.values)
            .ok_or_else(|| Refusal::with("unknown mbtype", Name(letters)))?;
        self.len = self.values.len();
        Ok(())
    }
}

/// Identifiers with a blank, as 2.5.0 to 2.5.11 wrote them: nothing tells where they end, and these servers themselves
/// read something else.
fn unquoted() -> Refusal {
    Refusal::with(
        "ACL that cannot be read",
        "2.5.0 to 2.5.11 wrote identifiers with blanks without quotes; line 6 of its cyrus.header has the ACL. If it is of \
         another release: tell --from",
    )
}

/// What stands in a line and does not end it.
fn one_line(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.iter().find(|b| matches!(b, 0 | b'\n' | b'\r')) {
        None => Ok(()),
        Some(_) => Err(Refusal::with("record that no line of text can hold", "a NUL, CR or LF in it")),
    }
}

/// Appends what was escaped. A lone 0xff at the end is left out, as the servers do.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr(0xff, rest) {
        out.extend_from_slice(&rest[..at]);
        match rest.get(at + 1) {
            Some(0xff) => out.push(0xff),
            Some(byte) => out.push(byte & 0x7f),
            None => {}
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Appends the internal name of a mailbox whose name in the database of 3.6 and later this is: 0x1d behind the domain, 0x1f
/// between the components, and dots inside them, which internal names write `^` (`mboxname_from_dbname`).
fn internal(name: &[u8], out: &mut Vec<u8>) {
    let local = match memchr(0x1d, name) {
        Some(at) => {
            out.extend_from_slice(&name[..at]);
            out.push(b'!');
            &name[at + 1..]
        }
        None => name,
    };
    out.extend(local.iter().map(|b| match b {
        0x1f => b'.',
        b'.' => b'^',
        b => *b,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of a record, what is made of it, and its uniqueid where that is not in there.
    fn read(from: Option<&str>, record: &[u8]) -> (Result<Kind, &'static str>, String, String) {
        let from = from.map(|from| from.parse::<Release>().unwrap());
        let mut reader = Reader::new(from.as_ref());
        let kind = reader.read(record).map_err(|refusal| refusal.kind);
        let id = reader.record.known[Member::Uniqueid as usize].map(|span| span.of(&reader.values).to_vec());
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        (kind, text(&reader.values[..reader.len]), text(&id.unwrap_or_default()))
    }

    #[test]
    fn records_of_every_release() {
        let (plain, dlist, keyed) = (Form::Plain, Form::Dlist, Form::Keyed);
        for (record, kind, entry, id) in [
            (&b"user.b\t0 default b\tlrs\t"[..], plain, r"user.b\t0 default b\tlrs\t", ""),
            (b"user.b\t0 default b\xff\x89lrs\xff\x89", plain, r"user.b\t0 default b\tlrs\t", ""),
            (b"user.b\t0 default b\xff\xff\xff\x89lrs\xff\x89", plain, r"user.b\t0 default b\xff\tlrs\t", ""),
            (b"user.b\t0 default ", plain, r"user.b\t0 default ", ""),
            (b"user.b\t1 be!p b\xff\x89lrs\xff\x89", plain, r"user.b\t1 be!p b\tlrs\t", ""),
            (b"user.b\t%(A %(b lrs) I 5d01 P default M 1)", dlist, r"user.b\t0 default b\tlrs\t", "5d01"),
            (b"user.b\t%(I 5d01 P p S be T rc M 1)", dlist, r"user.b\t33 be!p ", "5d01"),
            (b"user.b\t%(T d M 1)", dlist, r"user.b\t16 (null) ", ""),
            (
                b"user.b\t%(A %(\"j d\" lrs {3+}\r\na\"b l) P p V 7 F 9)",
                dlist,
                r#"user.b\t0 p j d\tlrs\ta\"b\tl\t"#,
                "",
            ),
            (b"Nuser\t%(A %(b lrs) P default M 1)", dlist, r"Nuser\t0 default b\tlrs\t", ""),
            (
                b"Ne.com\x1duser\x1fj.d\x1fa.b\t%(T el I id P p S be V 1 C 2 F 3 M 4 A %(\"x y\" l))",
                keyed,
                "\\\"e.com!user.j^d.a^b\\\": {\\\"name\\\": \\\"e.com!user.j^d.a^b\\\", \\\"mtime\\\": \\\"4\\\", \
                 \\\"uidvalidity\\\": \\\"1\\\", \\\"createdmodseq\\\": \\\"2\\\", \\\"foldermodseq\\\": \\\"3\\\", \
                 \\\"mbtype\\\": \\\"el\\\", \\\"partition\\\": \\\"p\\\", \\\"server\\\": \\\"be\\\", \\\"acl\\\": {\\\"x y\\\": \
                 \\\"l\\\"}, \\\"uniqueid\\\": \\\"id\\\", \\\"name_history\\\": []}",
                "",
            ),
            (
                b"Nuser\x1fb\t%(T ed I id M 4 A %())",
                keyed,
                "\\\"user.b\\\": {\\\"name\\\": \\\"user.b\\\", \\\"mtime\\\": \\\"4\\\", \\\"uidvalidity\\\": \\\"0\\\", \
                 \\\"createdmodseq\\\": \\\"0\\\", \\\"foldermodseq\\\": \\\"0\\\", \\\"mbtype\\\": \\\"ed\\\", \\\"acl\\\": {}, \
                 \\\"uniqueid\\\": \\\"id\\\", \\\"name_history\\\": []}",
                "",
            ),
        ] {
            let found = read(None, record);
            assert_eq!(found, (Ok(Kind::Mailbox(kind)), entry.to_string(), id.to_string()));
        }
    }

    #[test]
    fn what_is_no_mailbox() {
        for (record, kind) in [
            (&b"$RACL\t3"[..], Kind::Other("$RACL")),
            (b"$RACL$U$bob$user.b\t", Kind::Other("$RACL")),
            (b"$RUNQ$x\t", Kind::Other("$RUNQ")),
            (b"AU\x1ebob\x1euser\x1fb\t", Kind::Other("A")),
            (b"Jx\t%(T e N user\x1fb I id P p M 1)", Kind::Other("J")),
            (b"Iid\t%(T e N user\x1fb P p M 1 A %() H (%(N user\x1fold M 1)))", Kind::ById),
        ] {
            assert_eq!(read(None, record).0, Ok(kind), "{}", record.escape_ascii());
            assert!(is_record(record));
        }
        for line in
            [&b"user.b\t0 default b\tlrs\t"[..], b"user.b\tdefault\tb\tlrs\t", b"Welcome", b"$x\tp\ta\tl\t", b"\t%("]
        {
            assert!(!is_record(line), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_no_server_can_have_meant() {
        for (from, record, kind) in [
            (None, &b"user.b\t%(A %(john doe lrs) P p M 1)"[..], "ACL that cannot be read"),
            (None, b"user.b\t%(A %(john doe lrs jane doe lrs) P p M 1)", "ACL that cannot be read"),
            (Some("2.5.11"), b"user.b\t%(A %(john doe lrs) P p M 1)", "ACL that cannot be read"),
            (Some("3.0.18"), b"user.b\t%(A %(john doe lrs) P p M 1)", "record that cannot be read"),
            (None, b"user.b\t%(A %(b lrs) P p M 1", "record that cannot be read"),
            (None, b"user.b\t%(P p P q)", "record that cannot be read"),
            (None, b"user.b\t%(P p) x", "record that cannot be read"),
            (None, b"user.b\t%(P p T q)", "unknown mbtype"),
            (None, b"user.b\t%(P \"a b\")", "partition or server that no line of text can hold"),
            (None, b"user.b\xff\x8ac\t0 p ", "record that no line of text can hold"),
            (None, b"\t%(P p)", "no mailbox name"),
            (None, b"Iid\t%(T e P p A %())", "no mailbox name"),
            (None, b"Xid\t%(T e P p A %())", "record that cannot be read"),
            (None, b"Nuser\x1fb\xe9\t%(T e P p I id A %())", "record that JSON cannot hold"),
            (None, b"Nuser\x1fb\t%(T \"e\\\" P p I id A %())", "record that cannot be read"),
            (None, b"user.b", "no partition"),
        ] {
            assert_eq!(read(from, record).0, Err(kind), "{}", record.escape_ascii());
        }
        // The rights of a later release are nobody's blank.
        assert!(read(Some("3.0.18"), b"user.b\t%(A %(b xyz) P p M 1)").0.is_ok());
    }

    #[test]
    fn records_end_behind_their_literals() {
        let two = b"u\t%(A %({6+}\r\na\n{2+}\r l) P p)\nv\t%(P p)\n";
        let first = two.len() - b"v\t%(P p)\n".len();
        assert_eq!(end(two), Some(first));
        for cut in 0..first {
            assert_eq!(end(&two[..cut]), None, "{cut}");
        }
        assert_eq!(end(&two[first..]), Some(two.len() - first));
        // What looks like a literal and is in no list.
        assert_eq!(end(b"u\t0 p a {3+}\r\nx\n"), Some(14));
        assert_eq!(end(b"u\t%(A %({99999999999999999999+}\r\n"), Some(33));
    }
}
