//! Entries that look random and are the same for one seed: valid, odd and hostile.
//!
//! Each comes with what it says as plain JSON, written here without asking the filters.

use crate::harness::Walk;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;

/// An entry as the filters get it, and what it says.
#[derive(Clone)]
pub struct Odd {
    /// A line without its newline, or a member of the list's JSON object.
    pub bytes: Vec<u8>,
    /// The mailbox. No two entries of one seed have the same.
    pub name: Vec<u8>,
    /// The same as a member of a JSON object. What is not UTF-8 makes it no JSON, as for the real loader.
    pub plain: Vec<u8>,
    /// The directory of a mailbox of a text list below its partition, and what stands in its `cyrus.header`.
    pub spool: Option<(Vec<u8>, String)>,
}

/// A text dialect by a release that prints it.
pub struct Text {
    pub release: &'static str,
    rights: &'static [&'static str],
    types: &'static [&'static str],
    /// What closes the partition.
    closes: u8,
}

pub const TEXTS: [Text; 4] = [
    Text {
        release: "2.2.13",
        rights: &["lrswipcda", "lrs", "lrswipcd", "p", "c", "d", "cda", "a", "lrs0"],
        types: &[],
        closes: b'\t',
    },
    Text {
        release: "2.3.7",
        rights: &["lrswipkxtea", "lrswipcda", "lrs", "kx", "te", "lrswipkxte", "cd"],
        types: &["1", "2", "4", "8", "3", "16", "00", "32", "99999999999"],
        closes: b'\t',
    },
    Text {
        release: "2.4.22",
        rights: &["lrswipkxtecda", "lrs", "kxc", "ted", "lrsq", "LRS", "lkc"],
        types: &["1", "2", "4", "8", "16", "9", "007", "32"],
        closes: b' ',
    },
    Text {
        release: "3.0.18",
        rights: &["lrswipkxtecdan", "lrswipkxtecda", "lrs", "n", "lrn9876543210"],
        types: &["1", "2", "4", "8", "9", "16", "32", "64", "128", "96", "33", "256", "512"],
        closes: b' ',
    },
];

/// What names, identifiers and rights are made of.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "a", "Z", "0", "-", "_", " ", "  ", "\"", "\\", "%", "*", "^", "~", "#", "$", "&", "&AOk-", "'", "(", ")", "{5}",
    "{5+}", "<", ">", "@", "!", "/", ".", "..", ",", ";", ":", "|", "`", "?", "=", "+", "[", "]", "é", "ß", "İ", "中文",
    "\u{2028}", "\u{feff}", "\u{1F4E7}", "e\u{301}", "\u{ffff}", "\u{10ffff}", "\u{80}", "\u{a0}", "\u{7f}", "\u{1}",
    "\u{8}", "\u{c}", "\u{1b}", "\u{1f}", "\r", "INBOX", "inbox", "DELETED", "user", "NIL", "internal", "null",
    "\u{1d}", "%(", "%s", "%n", "\\u0041",
];

/// Names; `{}` is the entry's number, `?` something odd.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "user.?.{}", "user.{}.?", "user.{}?", "user.?{}", "?{}", "?.{}", "{}", "{}.?", "{}?", ".{}", "{}.", "..{}",
    "user..{}", "user..?{}", "user.{}..x", "user.{}.", "user.{}..", "INBOX.{}", "INBOX{}", "user.INBOX.{}",
    "inbox.{}", "user.{}.INBOX", "user.{}.inbox.x", "{}INBOX", "InBoX.{}", "DELETED.user.{}.?",
    "DELETED.user.{}.5F3A2B1C", "DELETED.user.{}.0F3A2B1C", "DELETED.user.{}.5f3a2b1c", "DELETED.user.{}.xyz",
    "DELETED.user.{}.Sent.5F3A2B1C", "DELETED.user.{}.123456789", "DELETED.user.{}", "DELETED.{}",
    "DELETED.{}.5F3A2B1C", "DELETED.shared.{}.1", "deleted.user.{}.1", "DELETED..{}.1", "DELETED.user..{}.5F3A2B1C",
    "DELETED{}.user.x.y", "DELETED.user.{}.0", "DELETED.user.{}.FFFFFFFF", "example.org!user.{}",
    "example.org!user.{}.?", "example.org!shared.{}", "?!user.{}", "internal!user.{}", "INTERNAL!user.{}",
    "a@b!user.{}", "!user.{}", "..!user.{}", ".!user.{}", "a/b!user.{}", "example.org!{}!x", "!{}", "{}!", "{}!user",
    "example.org!DELETED.user.{}.5F3A2B1C", "example.org!DELETED.{}", "user!{}", "example.org!user..{}",
    "example.org!.{}", "EXAMPLE.org!user.{}", "example.org!user.a@b{}", "$RACL{}", "$user.{}", "{}$", "user.$.{}",
    "user.{}/x", "user./{}", "user.{}.a/b", "/{}", "user.cyr^us{}", "^{}", "user.^{}", "~{}", "user.{}.&AOk-",
    "#news.{}", "user.{}.#calendars.Default", "user.{}.#addressbooks", "user.{}.#jmap", "user.{}.#sieve",
    "user.a@b{}", "user.{}@b", " {}", "{} ", "user. {}", "user.{} ", "user.{}. ", "Nuser.{}", "Iuser{}", "R{}", "N{}",
    "USER.{}", "User.{}", "user.{}.user.x", "user.user.{}", "user.-{}", "-{}", "user.{}.cyrus.header", "user.{}.1.",
    "user.{}.1",
];

/// Identifiers; `?` is something odd.
#[rustfmt::skip]
const IDENTIFIERS: &[&str] = &[
    "anyone", "anonymous", "alice", "bob", "carol.smith", "group:staff", "group:?", "Bob", "-bob", "-anyone", "--x",
    "-", "", " ", "john doe", "?", "?", "?x", "-?", "alice@example.org", "0", "12", "NIL", "(null)", "{5}", "a\"b",
    "a\\b", "50%", "owner", "administrators", "a>b", "a!b", "a/b",
];

const ODD_RIGHTS: &[&str] =
    &["", " ", "l r s", "LRS", "xyz", "lrsq", "?", "llrrss", "0123456789", "adcepiwsrl", "\"", "%", "+lrs"];

/// Partitions; `?` is something odd.
#[rustfmt::skip]
const PARTITIONS: &[&str] = &[
    "", "p1", "1", "0", "Default", "a.b", "(null)", "x y", "a!b", "!b", "é", "default?", "..", "a/b", "default,p1",
    "\"", "%", "\\", "(", "NIL", "null",
];

/// Mbtypes of JSON.
#[rustfmt::skip]
const LETTERS: &[&str] = &[
    "e", "l", "", "cl", "c", "a", "al", "b", "bl", "n", "nl", "s", "sl", "p", "pl", "f", "fl", "ef", "efl", "erl",
    "er", "mrl", "emrl", "eml", "el", "ell", "elm", "d", "ed", "edl", "z", "ezl", "ei", "eil", "i", "ri", "j", "jl",
    "x", "E", "le", "e l", "0", "512", "ee", "ec", "fe", "elrm", "cml", "crl", "edr", "?",
];

#[rustfmt::skip]
const NUMBERS: &[&str] = &[
    "0", "1", "007", "-1", "-0", "+5", " 5", "5 ", "", "abc", "1e3", "1.5", "0x10", "4294967295", "4294967296",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "٣",
];

#[rustfmt::skip]
const IDS: &[&str] = &[
    "{}", "6b045029{}", "u{}", "-{}", ".{}", "a.{}", "..{}", "a/{}", "/{}", "{} x", "{}\t", "é{}", "{}\"", "{}\\",
    "{}%", "%{}", "({}", "NIL{}", "{}?", "", "a", "{5}{}", "*{}", "{}.", "{}\u{7f}", "{}\n",
];

/// Values that are no strings.
#[rustfmt::skip]
const NO_STRINGS: &[&str] = &[
    "null", "true", "7", "-1.5e3", "[]", "[\"x\"]", "{}", "{\"a\": {\"b\": [1, null]}}",
];

/// Members that no loader knows, or takes from elsewhere.
#[rustfmt::skip]
const MORE: &[&str] = &[
    "\"mtime\": \"1700000000\"", "\"mtime\": \"x\"", "\"name_history\": []",
    "\"x\": {\"y\": [1, {\"partition\": 2}]}", "\"\": \"\"", "\"Partition\": \"p\"", "\"jmapId\": \"P-F\"",
    "\"legacy_specialuse\": \"\\\\Sent\"", "\"name\": \"user.other\"",
    "\"name_history\": [{\"name\": \"user.old\", \"mtime\": \"1\", \"uidvalidity\": \"2\", \"createdmodseq\": \"3\", \"foldermodseq\": \"4\", \"mbtype\": \"el\", \"partition\": \"default\"}]",
    "\"name_history\": [{\"name\": \"user.old\", \"mbtype\": \"x\", \"partition\": \"default\"}]",
    "\"name_history\": [7]", "\"name_history\": [{}]", "\"name_history\": {}", "\"name_history\": \"x\"",
    "\"acl \": 1", "\"x\": \"\\ud83d\\udce7\\/\"",
    "\"name_history\": [{\"name\": \"user.old\", \"mbtype\": 7, \"partition\": null, \"mtime\": 1}]",
];

/// A list that has all of JSON in it.
const WHOLE: &str = r#"{
"user.a\u00e9\ud83d\udce7": {"name": "x", "uidvalidity": "7", "createdmodseq": "1", "foldermodseq": "2", "mbtype": "el",
 "partition": "default", "acl": {"a\"b\\": "lrs", "-c\/": ""}, "uniqueid": "aa", "y": [1, -2.5e+3, true, null, {}, []]},
"user.b": {"uidvalidity":"8","createdmodseq":"0","foldermodseq":"0","mbtype":"e","partition":"p","acl":{},"uniqueid":"bb"}
}
"#;

/// What is put into it.
#[rustfmt::skip]
const DAMAGES: &[&str] = &[
    " ", "\n", "\t", "\r", "\0", "\u{1}", "\u{7f}", "\u{2028}", "\u{feff}", "\"", "\\", "\\u0000", "\\u0001",
    "\\ud800", "\\udc00", "\\ud83d\\udce7", "\\x", "\\/", "/", "/* */", "//", "#", ",", ",,", ":", "{", "}", "[", "]",
    "{}", "[]", "null", "nul", "True", "0", "-", "1e999", "1e-999", "01", "1.", ".5", "99999999999999999999", "NaN",
    "é", "'", "\"x\": 1, ", "\"x\": 99999999999999999999, ", "\"x\": 1e999, ", "\"x\": -0, ", "\"x\": \"\\u0000\", ",
    "{\"", "}\n{",
];

/// Where entries come from.
pub struct Source {
    walk: Walk,
    serial: u64,
}

impl Source {
    pub fn new(seed: u64) -> Source {
        // A walk that begins at 0 stays there.
        Source { walk: Walk(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), serial: 0 }
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.walk.below(n as u64)).unwrap()
    }

    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Something odd, and in text lists of any byte but those that end a field or a line.
    fn odd(&mut self, bytes: bool) -> Vec<u8> {
        let mut odd = Vec::new();
        for _ in 0..=self.below(4) {
            match bytes && self.once_in(4) {
                true => odd.push(u8::try_from(self.below(256)).unwrap()),
                false => odd.extend_from_slice(self.one(PIECES).as_bytes()),
            }
        }
        odd.retain(|b| !bytes || !matches!(b, b'\t' | b'\n'));
        odd
    }

    /// A template with its `{}` and `?` replaced.
    fn filled(&mut self, template: &str, bytes: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for part in template.replace("{}", &format!("n{}", self.serial)).split_inclusive('?') {
            out.extend_from_slice(part.trim_end_matches('?').as_bytes());
            if part.ends_with('?') {
                let odd = self.odd(bytes);
                out.extend_from_slice(&odd);
            }
        }
        out
    }

    fn name(&mut self, bytes: bool) -> Vec<u8> {
        self.serial += 1;
        match self.below(20) {
            0..8 => {
                let template =
                    self.one(&["user.{}", "user.{}.Sent", "user.{}.Sent.2006", "shared.{}", "user.bob.{}", "{}.x"]);
                self.filled(template, bytes)
            }
            8 => {
                let long = self.one(&[240, 250, 480, 490, 505, 510, 1020, 2000]) + self.below(16);
                let begin = self.one(&["user.{}", "shared.{}", "user.bob.{}"]);
                let mut name = self.filled(begin, bytes);
                let joint = self.one(&[&b".x"[..], b"x", b"xxxxxxxxxxxxxxxxxxxxxxxxxxx.", b"\xc3\xa9"]);
                if self.once_in(3) {
                    name.splice(..0, *b"example.org!");
                }
                while name.len() < long {
                    let room = long - name.len();
                    name.extend_from_slice(if joint.len() > room {
                        &b"yyyyyyyyyyyyyyyyyyyyyyyyyyy"[..room]
                    } else {
                        joint
                    });
                }
                name
            }
            _ => {
                let template = self.one(NAMES);
                self.filled(template, bytes)
            }
        }
    }

    fn acl(&mut self, rights: &[&str], bytes: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs = match self.below(200) {
            0 => 1 + self.below(5000),
            1..=20 => 0,
            _ => 1 + self.below(4),
        };
        let odd = self.once_in(3);
        let mut acl: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for n in 0..pairs {
            let identifier = match n {
                0..8 => {
                    let identifiers = if odd { IDENTIFIERS } else { &IDENTIFIERS[..11] };
                    let template = self.one(identifiers);
                    self.filled(template, bytes)
                }
                n => format!("user{n}").into_bytes(),
            };
            let odd_rights = odd && self.once_in(6);
            let template = self.one(if odd_rights { ODD_RIGHTS } else { rights });
            let rights = self.filled(template, bytes);
            // Twice in one ACL now and then.
            if !acl.iter().take(8).any(|(other, _)| *other == identifier) || self.once_in(20) {
                acl.push((identifier, rights));
            }
        }
        if odd && self.once_in(20) {
            let long = self.one(&[79, 80, 81, 1023, 1024, 5000, 20_000]);
            acl.push((vec![b'i'; long], b"lrs".to_vec()));
        }
        acl
    }

    /// A line of a text dialect.
    pub fn line(&mut self, text: &Text) -> Odd {
        let name = self.name(true);
        let acl = self.acl(text.rights, true);
        let mbtype = match text.types {
            [] => "",
            types if self.once_in(8) => self.one(types),
            _ => "0",
        };
        let mut partition = match self.below(100) {
            0..2 => {
                let template = self.one(PARTITIONS);
                self.filled(template, true)
            }
            2 => vec![b'p'; 60 + self.below(8)],
            _ => b"default".to_vec(),
        };
        // A blank ends it in these dialects, and the rest would be an identifier's.
        partition.retain(|b| text.closes != b' ' || *b != b' ');
        let server = self.once_in(if mbtype == "1" { 2 } else { 100 });
        let place = [if server { &b"be1.example.org!"[..] } else { b"" }, &partition].concat();
        let mut line = [&name[..], b"\t"].concat();
        if !mbtype.is_empty() {
            line.extend_from_slice(&[mbtype.as_bytes(), b" "].concat());
        }
        line.extend_from_slice(&[&place[..], &[text.closes]].concat());
        acl.iter()
            .for_each(|(identifier, rights)| line.extend_from_slice(&[identifier, &b"\t"[..], rights, b"\t"].concat()));
        if !acl.is_empty() && self.once_in(40) {
            line.pop();
        }
        // The oldest dialect may have blanks around a partition, which do not count.
        let trimmed = if mbtype.is_empty() { place.trim_ascii() } else { &place[..] };
        let (server, partition) = match trimmed.iter().position(|b| *b == b'!') {
            Some(at) => (Some(&trimmed[..at]), &trimmed[at + 1..]),
            None => (None, trimmed),
        };
        let uniqueid = format!("{:016x}", self.serial);
        let number = mbtype.parse::<u64>().unwrap_or(0);
        let types = [(4, 'n'), (512, 's'), (32, 'c'), (64, 'a'), (128, 'b')];
        let flags = [(16, 'd'), (8, 'm'), (1, 'r'), (2, 'z'), (256, 'i')];
        let letters =
            |of: &[(u64, char)]| of.iter().filter(|(bit, _)| number & bit != 0).map(|(_, c)| *c).collect::<String>();
        let mut mbtype = letters(&types);
        if mbtype.is_empty() {
            mbtype.push('e');
        }
        mbtype += &letters(&flags);
        if number & (16 + 256 + 1) == 0 {
            mbtype.push('l');
        }
        let mut united: Vec<(&[u8], Vec<u8>)> = Vec::new();
        let mut first: HashMap<&[u8], usize> = HashMap::new();
        for (identifier, rights) in &acl {
            match first.entry(identifier) {
                // Each is read by itself.
                Entry::Occupied(at) => united[*at.get()].1.extend_from_slice(&[b" ", &rights[..]].concat()),
                Entry::Vacant(at) => {
                    at.insert(united.len());
                    united.push((identifier, rights.clone()));
                }
            }
        }
        let pairs: Vec<Vec<u8>> = united
            .iter()
            .map(|(identifier, rights)| [&quoted(identifier)[..], b": ", &quoted(rights)].concat())
            .collect();
        let server = server.map(|server| [&b"\"server\": "[..], &quoted(server), b", "].concat()).unwrap_or_default();
        let validity = self.serial + 1_000_000_000;
        let plain = [
            &quoted(&name)[..],
            format!(": {{\"uidvalidity\": \"{validity}\", \"createdmodseq\": \"0\", \"foldermodseq\": \"1\", ")
                .as_bytes(),
            format!("\"mbtype\": \"{mbtype}\", \"uniqueid\": \"{uniqueid}\", \"partition\": ").as_bytes(),
            &quoted(partition),
            b", ",
            &server,
            b"\"acl\": {",
            &pairs.join(&b", "[..]),
            b"}}",
        ]
        .concat();
        let spool = (partition == b"default").then(|| (directory(&name, text.release), uniqueid));
        Odd { bytes: line, name, plain, spool }
    }

    /// A member of a JSON list. It is always JSON.
    pub fn object(&mut self) -> Odd {
        let name = String::from_utf8(self.name(false)).unwrap();
        let mut members = Vec::new();
        let acl = self.acl(&["lrswipkxtecdan", "lrs", "lrswipkxtea", "lrswipcda", "p"], false);
        let mut pairs = Vec::new();
        for (identifier, rights) in acl {
            let rights = match self.once_in(200) {
                true => self.one(NO_STRINGS).to_string(),
                false => self.string(&String::from_utf8(rights).unwrap()),
            };
            pairs.push(format!("{}: {rights}", self.string(&String::from_utf8(identifier).unwrap())));
        }
        members.push(format!("\"acl\": {{{}}}", pairs.join(", ")));
        for (member, often, odd) in [
            ("mbtype", "el", LETTERS),
            ("partition", "default", PARTITIONS),
            ("uniqueid", "{}", IDS),
            ("uidvalidity", "1700000000", NUMBERS),
            ("createdmodseq", "7", NUMBERS),
            ("foldermodseq", "9", NUMBERS),
        ] {
            let template = if self.once_in(if member == "mbtype" { 8 } else { 30 }) { self.one(odd) } else { often };
            let mut text = String::from_utf8(self.filled(template, false)).unwrap();
            if matches!(member, "uniqueid" | "partition") && self.once_in(100) {
                let long = self.one(&[36, 62, 63, 64, 65, 80, 250, 255, 256, 300, 1000]);
                text = format!("{text}{}", "p".repeat(long - text.len().min(long)));
            }
            let value = match self.once_in(150) {
                true => self.one(NO_STRINGS).to_string(),
                false => self.string(&text),
            };
            members.push(format!(
                "{}: {value}",
                if self.once_in(50) { self.string(member) } else { format!("\"{member}\"") }
            ));
        }
        if self.once_in(if members[1].contains('r') { 2 } else { 100 }) {
            members
                .push(format!("\"server\": {}", self.one(&["\"be1.example.org\"", "\"\"", "7", "\"a!b\"", "\"é\""])));
        }
        while self.once_in(3) {
            members.push(self.one(MORE).to_string());
        }
        if self.once_in(50) {
            members.remove(self.below(members.len()));
        }
        if self.once_in(50) {
            members.push(members[self.below(members.len())].clone());
        }
        let (mut space, mut object) = ("", String::new());
        if self.once_in(10) {
            space = self.one(&[" ", "\n", "\t", "\r\n  "]);
            let at = self.below(members.len());
            members.rotate_left(at);
        }
        let key = self.string(&name);
        let _ = write!(object, "{key}{space}: {space}{{{}{space}}}", members.join(&format!(",{space} ")));
        if self.once_in(300) {
            object = format!("{key}: {}", self.one(NO_STRINGS));
        }
        Odd { bytes: object.clone().into_bytes(), name: name.into_bytes(), plain: object.into_bytes(), spool: None }
    }

    /// A list of two mailboxes, damaged.
    pub fn damaged(&mut self) -> Vec<u8> {
        let mut list = WHOLE.as_bytes().to_vec();
        for _ in 0..=usize::from(self.once_in(4)) {
            let at = self.below(list.len());
            let end = (at + 1 + self.below(4)).min(list.len());
            match self.below(6) {
                0 => drop(list.drain(at..end)),
                1 => list.truncate(at + 1),
                2 => list.extend_from_within(at..end),
                3 => list[at] = u8::try_from(self.below(256)).unwrap(),
                _ => drop(list.splice(at..at, self.one(DAMAGES).bytes())),
            }
        }
        list
    }

    /// A JSON string in one of its spellings.
    fn string(&mut self, text: &str) -> String {
        let escaped = self.once_in(20);
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\0'..' ' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                '/' if escaped => out += "\\/",
                _ if escaped && self.once_in(2) => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    let _ = write!(out, "\\u{unit:04X}");
                }),
                _ => out.push(c),
            }
        }
        out + "\""
    }
}

/// Bytes as a JSON string, as far as they can be one.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for b in bytes {
        match b {
            b'"' | b'\\' => out.extend([b'\\', *b]),
            ..b' ' => out.extend(format!("\\u{b:04x}").bytes()),
            _ => out.push(*b),
        }
    }
    out.push(b'"');
    out
}

/// Where servers of this release have the mailbox, below its partition and without hashing.
fn directory(name: &[u8], release: &str) -> Vec<u8> {
    let (domain, local) = match name.iter().position(|b| *b == b'!') {
        Some(at) => ([b"domain/", &name[..at], b"/"].concat(), &name[at + 1..]),
        None => (Vec::new(), name),
    };
    let mut parts: Vec<&[u8]> = local.split(|b| *b == b'.').filter(|part| !part.is_empty()).collect();
    // facts/layout.md 1b: 3.0 takes a stamp of nothing off, with the prefix.
    if release == "3.0.18" && parts.len() > 2 && parts[0] == b"DELETED" {
        let stamp = parts[parts.len() - 1];
        if !stamp[0].is_ascii_hexdigit() || stamp == b"0" {
            parts.remove(0);
            parts.pop();
        }
    }
    [domain, parts.join(&b'/')].concat()
}
