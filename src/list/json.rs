//! The dialect of 3.6 and later: a JSON object with a member for each mailbox (`facts/json.md`).
//!
//! The list is read member by member, whatever its white space. What jansson would refuse the whole file for is a
//! [`Snag`]; what the loader would skip or store as something else, saying nothing, is a refusal of that entry.

use crate::list::jansson as json;
use crate::list::jansson::{Scan, Snag, Value, decode, is_plain};
use crate::mailbox::acl;
use crate::mailbox::entry::{Entry, Fields, Kind, Member, Members, Place, Span};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;

/// One entry that was read.
pub struct Taken {
    /// Where it ends.
    pub len: usize,
    /// Its mailbox, in the values.
    pub mailbox: Span,
    /// Where its fields stand in the values, or why no server could have meant it so.
    pub fields: Result<Fields, Refusal>,
}

/// Takes the member of the list that `bytes` begin with apart: `"mailbox": {...}`. The texts of its strings go to
/// `values`.
pub fn parse(bytes: &[u8], members: &mut Members, values: &mut Vec<u8>) -> Result<Taken, Snag> {
    members.clear();
    values.clear();
    let mut reader = Reader { bytes, scan: Scan::new(bytes, 0), members, values, refusal: None, next: 0 };
    let (_, mailbox) = reader.text()?;
    reader.members.colon = reader.colon()?;
    let mut fields = Fields { mailbox, ..Fields::default() };
    match reader.scan.peek()? {
        b'{' => reader.object(&mut fields)?,
        _ => {
            reader.scan.value()?;
            reader.refuse(|| Refusal::with("entry that is no object", "the loader skips it"));
        }
    }
    let (len, refusal) = (reader.scan.at, reader.refusal);
    if let Err(e) = std::str::from_utf8(&bytes[..len]) {
        return Err(Snag::Wrong(e.valid_up_to(), "a byte that is not UTF-8"));
    }
    Ok(Taken { len, mailbox, fields: refusal.map_or(Ok(fields), Err) })
}

/// Appends an entry as `ctl_mboxlist -d` prints it, but for what only the mailbox's own files can tell: with `mbtype`,
/// `acl` for its ACL, which has no identifier twice, and `jmap_id` if it has none. None if the type cannot be written.
pub fn write(entry: &Entry<'_>, mbtype: Mbtype, acl: &[u8], jmap_id: Option<&[u8]>, out: &mut Vec<u8>) -> Option<()> {
    out.reserve(3 * entry.bytes.len() + 128);
    // A record of the database has more to say, and what has no files of its own has nothing to fill in later.
    let fileless = entry.record.is_some() && entry.kind() != Kind::Mailbox;
    let told = |member| match member {
        Member::Partition => Some(entry.partition()),
        Member::Server => entry.server(),
        Member::Uidvalidity | Member::Createdmodseq | Member::Foldermodseq if fileless => {
            entry.member(member).or(Some(b"0"))
        }
        Member::JmapId => entry.member(member).or(jmap_id),
        _ => entry.member(member),
    };
    print(entry.mailbox(), is_plain(entry.bytes), told, |out| mbtype.write_letters(out), acl, out)
}

/// Appends a member of the list as `ctl_mboxlist -d` prints it: the members that are `told`, in its order. `plain` tells
/// that nothing in the mailbox, its place and its ACL needs an escape.
pub fn print<'t>(
    mailbox: &[u8],
    plain: bool,
    told: impl Fn(Member) -> Option<&'t [u8]>,
    mbtype: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    acl: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let encode = if plain { json::quote } else { json::encode };
    let begun = out.len();
    encode(mailbox, out);
    let mailbox = begun..out.len();
    out.extend_from_slice(b": {\"name\": ");
    out.extend_from_within(mailbox);
    let put = |member, name: &[u8], encode: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>| {
        if let Some(text) = told(member) {
            out.extend_from_slice(name);
            encode(text, out);
        }
    };
    put(Member::Mtime, b", \"mtime\": ", json::encode, out);
    put(Member::Uidvalidity, b", \"uidvalidity\": ", json::encode, out);
    put(Member::Createdmodseq, b", \"createdmodseq\": ", json::encode, out);
    put(Member::Foldermodseq, b", \"foldermodseq\": ", json::encode, out);
    out.extend_from_slice(b", \"mbtype\": \"");
    mbtype(out)?;
    out.push(b'"');
    put(Member::Partition, b", \"partition\": ", encode, out);
    put(Member::Server, b", \"server\": ", encode, out);
    out.extend_from_slice(b", \"acl\": {");
    for (i, pair) in acl::pairs(acl).enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        encode(pair.identifier, out);
        out.extend_from_slice(b": ");
        encode(pair.rights, out);
    }
    out.push(b'}');
    put(Member::Uniqueid, b", \"uniqueid\": ", json::encode, out);
    put(Member::JmapId, b", \"jmapId\": ", json::encode, out);
    out.extend_from_slice(b", \"name_history\": []}");
    Some(())
}

struct Reader<'a, 'm> {
    bytes: &'a [u8],
    scan: Scan<'a>,
    members: &'m mut Members,
    values: &'m mut Vec<u8>,
    /// The first reason to refuse the entry.
    refusal: Option<Refusal>,
    /// The number of the member that comes next, if they come in order.
    next: usize,
}

impl Reader<'_, '_> {
    fn refuse(&mut self, why: impl FnOnce() -> Refusal) {
        self.refusal.get_or_insert_with(why);
    }

    /// Reads a string: where it stands with its quotes, and where its text stands in the values.
    fn text(&mut self) -> Result<(Span, Span), Snag> {
        self.scan.peek()?;
        let start = self.scan.at;
        let escaped = self.scan.string()?;
        let raw = Span::new(start, self.scan.at);
        Ok((raw, self.keep(raw, escaped)))
    }

    /// Puts the text of a string that was read into the values.
    fn keep(&mut self, raw: Span, escaped: bool) -> Span {
        let from = self.values.len();
        let inner = &self.bytes[raw.start() + 1..raw.end() - 1];
        match escaped {
            true => decode(inner, self.values),
            false => self.values.extend_from_slice(inner),
        }
        Span::new(from, self.values.len())
    }

    /// Reads the colon behind a name, with the white space around it.
    fn colon(&mut self) -> Result<Span, Snag> {
        let start = self.scan.at;
        self.scan.expect(b':', "no colon behind a member's name")?;
        self.scan.peek()?;
        Ok(Span::new(start, self.scan.at))
    }

    /// Reads the comma behind a member; false if the object ends instead.
    fn comma(&mut self) -> Result<bool, Snag> {
        match self.scan.peek()? {
            b',' => {
                self.scan.at += 1;
                match self.scan.peek()? {
                    b'"' => Ok(true),
                    _ => Err(Snag::Wrong(self.scan.at, "no member behind a comma")),
                }
            }
            b'}' => {
                self.scan.at += 1;
                Ok(false)
            }
            _ => Err(Snag::Wrong(self.scan.at, "neither a comma nor an end behind a member")),
        }
    }

    /// Reads an object's opening brace; false if it has no members.
    fn opens(&mut self) -> Result<bool, Snag> {
        self.scan.expect(b'{', "no object where one must be")?;
        match self.scan.peek()? {
            b'"' => Ok(true),
            b'}' => {
                self.scan.at += 1;
                Ok(false)
            }
            _ => Err(Snag::Wrong(self.scan.at, "neither a member nor an end behind {")),
        }
    }

    fn object(&mut self, fields: &mut Fields) -> Result<(), Snag> {
        let mut more = self.opens()?;
        while more {
            let start = self.scan.at;
            let escaped = self.scan.string()?;
            let name = Span::new(start, self.scan.at);
            let member = self.known(name, escaped);
            self.colon()?;
            match member {
                Some(member) => {
                    self.known_member(member, start, fields)?;
                    self.next = member as usize + 1;
                }
                None => drop(self.scan.value()?),
            }
            let end = self.scan.at;
            more = self.comma()?;
            if more && self.members.between.is_none() {
                self.members.between = Some(Span::new(end, self.scan.at));
            }
        }
        self.complete(fields);
        Ok(())
    }

    /// The member of this name, if Cyrus knows it.
    fn known(&mut self, name: Span, escaped: bool) -> Option<Member> {
        if !escaped {
            return self.named(&self.bytes[name.start() + 1..name.end() - 1]);
        }
        let from = self.values.len();
        let text = self.keep(name, escaped);
        let found = self.named(text.of(self.values));
        self.values.truncate(from);
        found
    }

    /// The same of a text. Members mostly come in the order in which `ctl_mboxlist -d` prints them.
    fn named(&self, text: &[u8]) -> Option<Member> {
        let (before, behind) = Member::ALL.split_at(self.next);
        let found = behind.iter().chain(before).find(|(_, known)| known.as_bytes() == text);
        found.map(|(member, _)| *member)
    }

    fn known_member(&mut self, member: Member, start: usize, fields: &mut Fields) -> Result<(), Snag> {
        let from = self.scan.at;
        let mut text = Span::default();
        match member {
            Member::Acl if self.scan.peek()? == b'{' => {
                // An ACL that is there twice is refused below, and must not be half of one and half of the other.
                self.members.pairs.clear();
                text = self.acl()?;
                fields.acl = text;
            }
            Member::NameHistory if self.scan.peek()? == b'[' => self.history()?,
            _ => match self.scan.value()? {
                Value::String(escaped) if !matches!(member, Member::Acl | Member::NameHistory) => {
                    text = self.keep(Span::new(from, self.scan.at), escaped);
                }
                _ => {
                    let what = match member {
                        Member::Acl => "acl is no object: the loader takes it for an empty one",
                        Member::NameHistory => "name_history is no array",
                        Member::Partition | Member::Uniqueid => "not a string: the loader skips the entry",
                        _ => "not a string: the loader takes it for missing",
                    };
                    self.refuse(|| {
                        Refusal::with("member of the wrong type", format_args!("{}: {what}", member.name()))
                    });
                }
            },
        }
        // What is no entry's is cut off, as in Span.
        let place = Place { start: start as u32, value: Span::new(from, self.scan.at), text };
        if self.members.known[member as usize].replace(place).is_some() {
            let detail = format_args!("{}: the loader takes the last", member.name());
            self.refuse(|| Refusal::with("member twice", detail));
        }
        Ok(())
    }

    /// Reads the ACL into the values as text lists have it.
    fn acl(&mut self) -> Result<Span, Snag> {
        let from = self.values.len();
        let mut more = self.opens()?;
        while more {
            let (identifier, name) = self.text()?;
            self.values.push(b'\t');
            self.colon()?;
            let start = self.scan.at;
            let value = self.scan.value()?;
            let raw = Span::new(start, self.scan.at);
            let rights = match value {
                Value::String(escaped) => self.keep(raw, escaped),
                _ => {
                    let name = Name(name.of(self.values)).to_string();
                    self.refuse(|| Refusal::with("rights that are no string", name));
                    Span::default()
                }
            };
            if [name, rights].iter().any(|part| memchr::memchr(b'\t', part.of(self.values)).is_some()) {
                let name = Name(name.of(self.values)).to_string();
                self.refuse(|| {
                    Refusal::with("TAB in an ACL", format_args!("{name}: the server takes it for two identifiers"))
                });
            }
            self.values.push(b'\t');
            self.members.pairs.push((identifier, raw));
            more = self.comma()?;
        }
        let acl = Span::new(from, self.values.len());
        if let Some(twice) = acl::twice(acl.of(self.values)) {
            let twice = Name(twice).to_string();
            self.refuse(|| {
                Refusal::with("identifier twice in one ACL", format_args!("{twice}: the loader takes the last"))
            });
        }
        Ok(acl)
    }

    /// Reads the name history for its partitions and mbtypes.
    fn history(&mut self) -> Result<(), Snag> {
        self.scan.at += 1;
        if self.scan.peek()? == b']' {
            self.scan.at += 1;
            return Ok(());
        }
        loop {
            if self.scan.peek()? == b'{' {
                let mut more = self.opens()?;
                while more {
                    let start = self.scan.at;
                    let escaped = self.scan.string()?;
                    let member = self.known(Span::new(start, self.scan.at), escaped);
                    self.colon()?;
                    let from = self.scan.at;
                    if let Value::String(escaped) = self.scan.value()? {
                        let value = Span::new(from, self.scan.at);
                        self.of_history(member, start, value, escaped);
                    }
                    more = self.comma()?;
                }
            } else {
                self.scan.value()?;
            }
            match self.scan.peek()? {
                b',' => self.scan.at += 1,
                b']' => {
                    self.scan.at += 1;
                    return Ok(());
                }
                _ => return Err(Snag::Wrong(self.scan.at, "neither a comma nor an end behind a value")),
            }
        }
    }

    /// A string of the name history.
    fn of_history(&mut self, member: Option<Member>, start: usize, value: Span, escaped: bool) {
        match member {
            Some(Member::Partition) => {
                let text = self.keep(value, escaped);
                self.members.history.push(Place { start: start as u32, value, text });
            }
            Some(Member::Mbtype) => {
                let letters = self.keep(value, escaped);
                match Mbtype::of_letters(letters.of(self.values)) {
                    Some(mbtype) => self.members.history_mbtype = self.members.history_mbtype.with(mbtype),
                    None => {
                        let letters = Name(letters.of(self.values)).to_string();
                        let what = "in the name history: the loader dies of it, in the middle of the list";
                        self.refuse(|| Refusal::with("unknown mbtype", format_args!("{letters}, {what}")));
                    }
                }
            }
            _ => {}
        }
    }

    /// What every entry must have, once all of it was read.
    fn complete(&mut self, fields: &mut Fields) {
        let text = |members: &Members, member| members.place(member).map(|place: &Place| place.text);
        if fields.mailbox.start() == fields.mailbox.end() {
            self.refuse(|| Refusal::new("no mailbox name"));
        }
        let mbtype = text(self.members, Member::Mbtype);
        match mbtype.map(|span| (span, Mbtype::of_letters(span.of(self.values)))) {
            None => self.refuse(|| {
                Refusal::with("no mbtype", "the loader would take it for e, and look for its directory by uniqueid")
            }),
            Some((span, Some(mbtype))) => fields.mbtype = Some((span, mbtype)),
            Some((span, None)) => {
                let letters = Name(span.of(self.values)).to_string();
                self.refuse(|| {
                    let known = Mbtype::letters();
                    let what = "the loader dies of it, in the middle of the list; they are";
                    Refusal::with("unknown mbtype", format_args!("{letters}: {what} {known}"))
                });
            }
        }
        let placeless = fields.mbtype.is_some_and(|(_, t)| t.has(Mbtype::DELETED) || t.has(Mbtype::INTERMEDIATE));
        fields.server = text(self.members, Member::Server);
        fields.partition = text(self.members, Member::Partition).unwrap_or_default();
        if fields.partition.start() == fields.partition.end() && !placeless {
            self.refuse(|| Refusal::with("no partition", "the loader skips the entry, or stores it without one"));
        }
        if self.members.place(Member::Acl).is_none() {
            self.refuse(|| Refusal::with("no acl", "the loader would give nobody any right"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#""user.b\u00e9\tb": { "acl":{"a b":"lrs" , "-c":"x"},"mbtype":"el", "x": [1, {}],
        "partition":"p\/q","uniqueid":"id","name_history":[{"partition":"old"},7]}"#;

    #[test]
    fn an_entry_of_any_shape() {
        let (mut members, mut values) = (Members::default(), Vec::new());
        let text = format!("{WHOLE},");
        let Ok(Taken { len, fields: Ok(fields), .. }) = parse(text.as_bytes(), &mut members, &mut values) else {
            panic!("not read")
        };
        let of = |span: Span| String::from_utf8_lossy(span.of(&values)).into_owned();
        assert_eq!(len, WHOLE.len());
        assert_eq!(of(fields.mailbox), "user.b\u{e9}\tb");
        assert_eq!(of(fields.partition), "p/q");
        assert_eq!(of(fields.acl), "a b\tlrs\t-c\tx\t");
        assert_eq!(members.place(Member::Uniqueid).map(|p| of(p.text)).as_deref(), Some("id"));
        assert_eq!(members.history.len(), 1);
        assert_eq!(members.pairs.len(), 2);
        for cut in 0..WHOLE.len() {
            assert!(
                matches!(parse(&text.as_bytes()[..cut], &mut members, &mut values), Err(Snag::Incomplete)),
                "{cut}"
            );
        }
    }

    #[test]
    fn what_no_server_means() {
        let (mut members, mut values) = (Members::default(), Vec::new());
        let good = r#""mbtype":"el","partition":"p","acl":{}"#;
        for (entry, kind) in [
            (format!(r#""a":{{{good}}}"#), ""),
            (r#""a":null"#.into(), "entry that is no object"),
            (format!(r#""":{{{good}}}"#), "no mailbox name"),
            (format!(r#""a":{{{good},"partition":"q"}}"#), "member twice"),
            (format!(r#""a":{{{good},"uniqueid":7}}"#), "member of the wrong type"),
            (format!(r#""a":{{{good},"name_history":{{}}}}"#), "member of the wrong type"),
            (r#""a":{"mbtype":"el","partition":"p","acl":"a\tlrs\t"}"#.into(), "member of the wrong type"),
            (r#""a":{"mbtype":"el","partition":"p"}"#.into(), "no acl"),
            (r#""a":{"mbtype":"el","acl":{}}"#.into(), "no partition"),
            (r#""a":{"mbtype":"ed","acl":{}}"#.into(), ""),
            (r#""a":{"mbtype":"le","partition":"p","acl":{}}"#.into(), "unknown mbtype"),
            (r#""a":{"partition":"p","acl":{}}"#.into(), "no mbtype"),
            (r#""a":{"mbtype":"el","partition":"p","acl":{"a":null}}"#.into(), "rights that are no string"),
            (r#""a":{"mbtype":"el","partition":"p","acl":{"a\tb":"l"}}"#.into(), "TAB in an ACL"),
            (
                r#""a":{"mbtype":"el","partition":"p","acl":{"a":"l","b":"","a":"l"}}"#.into(),
                "identifier twice in one ACL",
            ),
        ] {
            match parse(format!("{entry},").as_bytes(), &mut members, &mut values) {
                Ok(taken) => assert_eq!(taken.fields.err().map_or("", |r| r.kind), kind, "{entry}"),
                Err(snag) => panic!("{entry}: {snag:?}"),
            }
        }
        for entry in [r#""a" {}"#, r#""a":{,}"#, r#""a":{"x":1,}"#, r#""a":{"acl":{1:2}}"#] {
            assert!(parse(entry.as_bytes(), &mut members, &mut values).is_err(), "{entry}");
        }
        assert!(matches!(parse(b"\"z\xe9\":{}", &mut members, &mut values), Err(Snag::Wrong(2, _))));
    }
}
