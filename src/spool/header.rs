//! What cyrus.header and cyrus.index of one mailbox say (`facts/headers.md`).
//!
//! A reason completes the sentence "this file ...", so that it can stand behind the file's name.

use crate::list::dlist::{Dlist, SPLIT};
use crate::release::files::HeaderForm;
use memchr::memchr;

/// The first three lines of every cyrus.header from 1.x to 3.13 (`MAILBOX_HEADER_MAGIC`).
const MAGIC: &[u8] = b"\xa1\x02\x8b\x0dCyrus mailbox header\n\
    \"The best thing about this system was that it had lots of goals.\"\n\t--Jim Morris on Andrew\n";

/// What one cyrus.header says. All but the ids are bytes as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The mailbox's id, of any length, printable ASCII without `/`. Releases older than 2.0 wrote none.
    pub uniqueid: Option<Vec<u8>>,
    /// The JMAP id, with the same promise; written since 3.13.1.
    pub jmap_id: Option<Vec<u8>>,
    /// The internal name of the quota root, if the mailbox has one.
    pub quota_root: Option<Vec<u8>>,
    /// The internal name of the mailbox; written since 3.6. A delayed DELETE leaves the old name of a mailbox with a
    /// directory by name, and `ctl_cyrusdb -r` of 3.13 puts NIL into the headers that it rewrites.
    pub name: Option<Vec<u8>>,
    /// The letters of the mailbox type; written since 3.6. What `ctl_cyrusdb -r` of 3.13 rewrites has no `l` here,
    /// though the list has one: only the list tells the layout.
    pub mbtype: Option<Vec<u8>>,
    /// The ACL as in the lists of all releases up to 3.4: `identifier TAB rights TAB` for each pair, perhaps none.
    /// It is not judged: in lines, anything up to the LF is taken ([`crate::mailbox::acl::is_closed`]).
    pub acl: Vec<u8>,
}

impl Header {
    /// How many bytes of a cyrus.header tell its form.
    pub const HEAD: usize = MAGIC.len() + 1;

    /// The form of a cyrus.header, by its first [`Header::HEAD`] bytes. The error is the reason why no release opens it.
    pub fn form(head: &[u8]) -> Result<HeaderForm, &'static str> {
        match head.strip_prefix(MAGIC) {
            Some(content) if content.starts_with(b"%") => Ok(HeaderForm::Dlist),
            Some([]) => Err("is cut off in its line 4"),
            Some(_) => Ok(HeaderForm::Lines),
            None if head.is_empty() => Err("is empty"),
            None if MAGIC.starts_with(head) => Err("is cut off in its magic (lines 1 to 3)"),
            None => Err("is not a cyrus.header (no magic)"),
        }
    }

    /// Reads a whole cyrus.header: three lines up to 3.5, a dlist since 3.6. Keys of a dlist that are not asked for
    /// are passed over, whatever their value. The error is the reason why the file cannot be believed.
    pub fn read(bytes: &[u8]) -> Result<Header, &'static str> {
        let form = Header::form(bytes)?;
        let content = bytes.get(MAGIC.len()..).unwrap_or_default();
        let header = match form {
            HeaderForm::Dlist => Header::of_dlist(content)?,
            HeaderForm::Lines => Header::of_lines(content)?,
        };
        if !is_id(&header.uniqueid) {
            return Err("has a uniqueid with blanks, slashes or bytes that are not printable ASCII");
        }
        if !is_id(&header.jmap_id) {
            return Err("has a jmapId with blanks, slashes or bytes that are not printable ASCII");
        }
        if memchr(0, &header.acl).is_some() {
            return Err("has an ACL with NUL bytes");
        }
        Ok(header)
    }

    /// `QUOTAROOT TAB UNIQUEID`, the user flags, the ACL (2.2.13 `imap/mailbox.c` 594, 3.4.9 1286).
    fn of_lines(content: &[u8]) -> Result<Header, &'static str> {
        let (first, rest) = line(content).ok_or("is cut off in its line 4")?;
        let (_flags, rest) = line(rest).ok_or("is cut off in its line 5")?;
        let (acl, _) = line(rest).ok_or("is cut off in its line 6")?;
        let mut parts = first.split(|b| *b == b'\t').map(|part| Some(part.to_vec()).filter(|part| !part.is_empty()));
        Ok(Header {
            quota_root: parts.next().flatten(),
            uniqueid: parts.next().flatten(),
            acl: acl.to_vec(),
            ..Header::default()
        })
    }

    /// `%(KEY VALUE KEY VALUE ...)` (3.6.1 `imap/mailbox.c` 2701, 3.13.7 2552).
    fn of_dlist(content: &[u8]) -> Result<Header, &'static str> {
        let mut dlist = Dlist::new(content);
        let mut header = Header::default();
        let mut acl = None;
        dlist.open()?;
        while !dlist.closes()? {
            let key = dlist.string()?;
            let (field, value) = match &key[..] {
                b"A" => (&mut acl, Some(dlist.acl()?)),
                b"I" => (&mut header.uniqueid, dlist.value()?),
                b"J" => (&mut header.jmap_id, dlist.value()?),
                b"N" => (&mut header.name, dlist.value()?),
                b"Q" => (&mut header.quota_root, dlist.value()?),
                b"T" => (&mut header.mbtype, dlist.value()?),
                _ => {
                    dlist.skip()?;
                    continue;
                }
            };
            if std::mem::replace(field, value).is_some() {
                return Err("has one key twice in its list");
            }
        }
        if !dlist.is_at_end() {
            return Err("has something behind its list");
        }
        header.acl = acl.unwrap_or_default();
        if memchr(b'\n', &header.acl).is_some() {
            return Err(SPLIT);
        }
        Ok(header)
    }
}

/// A line and what is behind its LF.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = bytes.split_at_checked(memchr(b'\n', bytes)?)?;
    Some((line, rest.get(1..)?))
}

/// Whether this may become part of a path, a line and a JSON string as it stands.
fn is_id(id: &Option<Vec<u8>>) -> bool {
    id.iter().flatten().all(|b| b.is_ascii_graphic() && *b != b'/')
}

/// What the header of one cyrus.index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The minor version of the format: 6 is 2.2, 10 is 2.3.16, 12 is 2.4, 13 is 2.5 and 3.0, 17 is 3.4 to 3.8, 20 is
    /// 3.13. A file keeps the one that it was made with until `reconstruct -V`.
    pub minor: u32,
    /// The UIDVALIDITY, never 0.
    pub uidvalidity: u32,
    /// The highest modseq of a message, kept since minor 8 (2.3.4).
    pub highestmodseq: Option<u64>,
    /// The modseq at which the mailbox was made, kept since minor 16 (3.2).
    pub createdmodseq: Option<u64>,
}

impl Index {
    /// How many bytes of a cyrus.index to read: no header is longer.
    pub const HEAD: usize = 192;

    /// The minor version of a cyrus.index of `length` bytes, by its first [`Index::HEAD`] bytes. The error is the reason why
    /// no release opens it: it is no index, it is cut off, or the checksum of its header is wrong
    /// (3.6.1 `imap/mailbox.c` 1827 `mailbox_buf_to_index_header`, 1949 `mailbox_refresh_index_map`).
    pub fn minor(head: &[u8], length: u64) -> Result<u32, String> {
        if head.is_empty() {
            return Err("is empty".to_string());
        }
        let prefix = |at| word(head, at).ok_or("is cut off in its header");
        let (format, minor, start, record, records) = (prefix(4)?, prefix(8)?, prefix(12)?, prefix(16)?, prefix(20)?);
        if format > 1 || minor > PLAUSIBLE {
            return Err("is not a cyrus.index".to_string());
        }
        let known = HEADERS.iter().find(|(minors, _)| minors.contains(&minor));
        let Some((_, header)) = known else {
            return match minor > NEWEST {
                true => Ok(minor),
                false => Err(format!("is not a cyrus.index (no release wrote minor version {minor})")),
            };
        };
        if usize::try_from(start).is_ok_and(|start| start < *header) || record == 0 {
            let odd = "which no cyrus.index of minor version";
            return Err(format!("has a header of {start} bytes and records of {record}, {odd} {minor} has"));
        }
        let read = head.get(..*header).ok_or("is cut off in its header")?;
        if minor >= CHECKED {
            let (fields, sum) = read.split_at(header - 4);
            if word(sum, 0) != Some(crc32fast::hash(fields)) {
                return Err("is damaged in its header (its checksum is another)".to_string());
            }
        }
        match u64::from(start) + u64::from(records) * u64::from(record) > length {
            true => Err(format!("is cut off: it has {length} bytes, too few for {records} records")),
            false => Ok(minor),
        }
    }

    /// Reads the header in the first [`Index::HEAD`] bytes of a cyrus.index, or in all of a shorter file: 2.0 (minor 3,
    /// by its source only) and 2.1 to 3.13 (minor 6 to 20). The error is the reason why it cannot be believed.
    pub fn read(head: &[u8]) -> Result<Index, String> {
        if head.is_empty() {
            return Err("is empty".to_string());
        }
        let prefix = |at| word(head, at).ok_or("is cut off in its header");
        let (format, minor, length) = (prefix(4)?, prefix(8)?, prefix(12)?);
        if format > 1 {
            return Err("is not a cyrus.index (its format is neither 0 nor 1)".to_string());
        }
        let uidvalidity = match minor {
            3 => 40,
            6..=19 => 44,
            20 => 92,
            _ => return Err(format!("is not a cyrus.index of 2.0 to 3.13 (its minor version is {minor})")),
        };
        let highestmodseq = match minor {
            8..=18 => Some(68),
            19.. => Some(72),
            _ => None,
        };
        let createdmodseq = (minor >= 16).then_some(128);
        let odd = || format!("has a header of {length} bytes, which no cyrus.index of minor version {minor} has");
        let length = usize::try_from(length).ok().filter(|length| *length <= Index::HEAD).ok_or_else(odd)?;
        let head = head.get(..length).ok_or("is cut off in its header")?;
        let index = Index {
            minor,
            uidvalidity: word(head, uidvalidity).ok_or_else(odd)?,
            highestmodseq: highestmodseq.map(|at| modseq(head, at).ok_or_else(odd)).transpose()?,
            createdmodseq: createdmodseq.map(|at| modseq(head, at).ok_or_else(odd)).transpose()?,
        };
        match index.uidvalidity {
            0 => Err("has no UIDVALIDITY (it is 0)".to_string()),
            _ => Ok(index),
        }
    }
}

/// How long the header of a cyrus.index is, by minor version (3.13.7 `imap/index_file.c` 362; up to 5 the fields that
/// every release of that time has).
const HEADERS: [(std::ops::RangeInclusive<u32>, usize); 7] =
    [(2..=5, 40), (6..=7, 76), (8..=8, 92), (9..=10, 96), (12..=13, 128), (14..=19, 160), (20..=20, 192)];

/// The newest minor version that is known here. A later one begins with the same fields.
const NEWEST: u32 = 20;

/// From this minor version on the last four bytes of the header are the CRC-32 of the others.
const CHECKED: u32 = 12;

/// No release comes near to this minor version.
const PLAUSIBLE: u32 = 99;

/// The big-endian number at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// The same of 64 bits.
fn modseq(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|modseq| u64::from_be_bytes(*modseq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::dlist::{CUT_OFF, DAMAGED};

    fn file(content: &str) -> Vec<u8> {
        [MAGIC, content.as_bytes()].concat()
    }

    fn text(field: Option<Vec<u8>>) -> Option<String> {
        field.map(|field| String::from_utf8(field).unwrap())
    }

    const LINES: &str = "user.alice\t221cc15c6b045029\nMyFlag Other $Label1 \n\
        alice\tlrswipkxtecda\tcyrus\tlrswipkxtecda\tjohn doe\tlrs\t\n";
    const DLIST: &str = "%(T el N user.alice I k4qds7gmo5s1t689rf2w74nl J P-F Q user.alice \
        A %(alice lrswipkxtecdan \"john doe\" lrs {4+}\r\n\"q\\\" lrs) U (MyFlag Other $Label1))\n";

    #[test]
    fn lines() {
        let header = Header::read(&file(LINES)).unwrap();
        assert_eq!(text(header.quota_root).as_deref(), Some("user.alice"));
        assert_eq!(text(header.uniqueid).as_deref(), Some("221cc15c6b045029"));
        assert_eq!(header.acl, b"alice\tlrswipkxtecda\tcyrus\tlrswipkxtecda\tjohn doe\tlrs\t");
        assert_eq!((header.name, header.mbtype, header.jmap_id), (None, None, None));

        let header = Header::read(&file("\t19efe4006b045029\n\n\n")).unwrap();
        assert_eq!((header.quota_root, header.acl), (None, Vec::new()));
        assert_eq!(text(header.uniqueid).as_deref(), Some("19efe4006b045029"));

        let ancient = Header::read(&file("user.bob\n\nbob\tlrs\t\n")).unwrap();
        assert_eq!((text(ancient.quota_root).as_deref(), ancient.uniqueid), (Some("user.bob"), None));
    }

    #[test]
    fn dlist() {
        let header = Header::read(&file(DLIST)).unwrap();
        assert_eq!(text(header.uniqueid).as_deref(), Some("k4qds7gmo5s1t689rf2w74nl"));
        assert_eq!(text(header.jmap_id).as_deref(), Some("P-F"));
        assert_eq!(text(header.quota_root).as_deref(), Some("user.alice"));
        assert_eq!(text(header.name).as_deref(), Some("user.alice"));
        assert_eq!(text(header.mbtype).as_deref(), Some("el"));
        assert_eq!(header.acl, b"alice\tlrswipkxtecdan\tjohn doe\tlrs\t\"q\\\"\tlrs\t");

        // What `ctl_cyrusdb -r` of 3.13.7 makes of a header in lines.
        let rewritten = "%(T e N NIL I cb1cd8d0-f2d7-4e08-9d56-7503324b97fb J PGk A %(anyone lrs))\n";
        let header = Header::read(&file(rewritten)).unwrap();
        assert_eq!((header.name, text(header.jmap_id).as_deref()), (None, Some("PGk")));
        assert_eq!(header.acl, b"anyone\tlrs\t");

        let odd = "%(X %(a (b %() {3}\r\n)()) c d) N \"a \\\"b\\\\\" Q NIL Y NIL T \"NIL\" I id A %())\n";
        let header = Header::read(&file(odd)).unwrap();
        assert_eq!(text(header.name).as_deref(), Some("a \"b\\"));
        assert_eq!((text(header.mbtype).as_deref(), header.quota_root), (Some("NIL"), None));
        assert_eq!(header.acl, b"");
    }

    #[test]
    fn reasons() {
        for (content, reason) in [
            ("", "is cut off in its line 4"),
            ("\tid\n", "is cut off in its line 5"),
            ("\tid\n\nbob\tlrs", "is cut off in its line 6"),
            ("\ta b\n\n\n", "has a uniqueid with blanks, slashes or bytes that are not printable ASCII"),
            ("%(I \"../x\")", "has a uniqueid with blanks, slashes or bytes that are not printable ASCII"),
            ("%(I id J \"\")x", "has something behind its list"),
            ("%(I id J {3}\n\u{e9}x)", "has a jmapId with blanks, slashes or bytes that are not printable ASCII"),
            ("\tid\n\na\0\tlrs\t\n", "has an ACL with NUL bytes"),
            ("%(A %({3+}\r\na\tb lrs))", "has an ACL with a TAB or LF inside an identifier"),
            ("%(I id I id)", "has one key twice in its list"),
            ("%(I id A %(a))", DAMAGED),
            ("%(I (id))", DAMAGED),
            ("%(X )", DAMAGED),
            ("%(X {-1}\n)", DAMAGED),
            ("%(X {99999999999999999999}\n)", DAMAGED),
            ("%(X {9999}\n)", CUT_OFF),
            ("%", CUT_OFF),
        ] {
            assert_eq!(Header::read(&file(content)), Err(reason), "{content:?}");
        }
        assert_eq!(Header::read(b""), Err("is empty"));
        assert_eq!(Header::read(&MAGIC[..50]), Err("is cut off in its magic (lines 1 to 3)"));
        assert_eq!(Header::read(&[0; 4096]), Err("is not a cyrus.header (no magic)"));
    }

    #[test]
    fn a_header_that_is_cut_off_is_an_error() {
        for content in [LINES, DLIST] {
            let bytes = file(content);
            // Without the LF behind it the list is still whole.
            let whole = bytes.len() - usize::from(content == DLIST);
            assert!((0..whole).all(|len| Header::read(&bytes[..len]).is_err()));
        }
    }

    #[test]
    fn any_byte_may_be_wrong() {
        for content in [LINES, DLIST] {
            let mut bytes = file(content);
            for at in 0..bytes.len() {
                let good = bytes[at];
                for bad in 0..=255 {
                    bytes[at] = bad;
                    if let Ok(header) = Header::read(&bytes) {
                        assert!(is_id(&header.uniqueid) && is_id(&header.jmap_id));
                    }
                }
                bytes[at] = good;
            }
        }
    }

    #[test]
    fn deep_lists_need_no_stack() {
        let deep = |depth| file(&format!("%(X {}{} I id)", "(".repeat(depth), ")".repeat(depth)));
        assert_eq!(text(Header::read(&deep(1_000_000)).unwrap().uniqueid).as_deref(), Some("id"));
        assert_eq!(Header::read(&file(&format!("%(X {}", "%(".repeat(10_000)))), Err(CUT_OFF));
        assert_eq!(Header::read(&file(&format!("%(A {}", "(".repeat(10_000)))), Err(DAMAGED));
    }

    /// A header of `length` bytes with these big-endian words.
    fn index(length: u32, words: &[(usize, u32)]) -> Vec<u8> {
        let mut head = vec![0; usize::try_from(length).unwrap()];
        for (at, word) in [(12, length)].iter().chain(words) {
            head[*at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        head
    }

    #[test]
    fn minor_versions() {
        let validity = 1_795_442_869;
        for (minor, length, at, uid, highest, created) in [
            (3, 76, 40, 28, None, None),
            (6, 76, 44, 28, None, None),
            (10, 96, 44, 28, Some(68), None),
            (12, 128, 44, 28, Some(68), None),
            (13, 128, 44, 28, Some(68), None),
            (17, 160, 44, 28, Some(68), Some(128)),
            (19, 160, 44, 28, Some(72), Some(128)),
            (20, 192, 92, 88, Some(72), Some(128)),
        ] {
            let mut words = vec![(8, minor), (20, 2), (at, validity), (uid, 7)];
            words.extend(highest.iter().flat_map(|at| [(*at, 1), (at + 4, 5)]));
            words.extend(created.map(|at| (at + 4, 3)));
            let head = index(length, &words);
            let read = Index {
                minor,
                uidvalidity: validity,
                highestmodseq: highest.map(|_| (1 << 32) + 5),
                createdmodseq: created.map(|_| 3),
            };
            assert_eq!(Index::read(&head), Ok(read));
            assert_eq!(Index::read(&[&head[..], b"records"].concat()), Ok(read));
            assert!((0..head.len()).all(|len| Index::read(&head[..len]).is_err()));
        }
    }

    /// A cyrus.index of a minor version with `records` records of 100 bytes each.
    fn whole(minor: u32, length: usize, records: u32) -> Vec<u8> {
        let mut file = index(u32::try_from(length).unwrap(), &[(8, minor), (16, 100), (20, records), (44, 7)]);
        if minor >= 12 {
            let sum = crc32fast::hash(&file[..length - 4]);
            file[length - 4..].copy_from_slice(&sum.to_be_bytes());
        }
        file.resize(length + 100 * usize::try_from(records).unwrap(), 0);
        file
    }

    #[test]
    fn minor_versions_by_the_first_bytes() {
        let sizes = [(3, 76), (5, 76), (6, 76), (7, 76), (8, 92), (9, 96), (10, 96), (12, 128), (13, 128), (14, 160)];
        for (minor, length) in sizes.into_iter().chain([(16, 160), (17, 160), (18, 160), (19, 160), (20, 192)]) {
            let file = whole(minor, length, 3);
            let ask = |file: &[u8]| Index::minor(&file[..file.len().min(Index::HEAD)], file.len() as u64);
            assert_eq!(ask(&file), Ok(minor));
            // However short it is, it is never taken for a whole one.
            assert!((0..file.len()).all(|len| ask(&file[..len]).is_err()), "{minor}");
            // Any bit of a header that has a checksum.
            for bit in 0..8 * length {
                let mut file = file.clone();
                file[bit / 8] ^= 1 << (bit % 8);
                assert!(minor < 12 || ask(&file) != Ok(minor), "{minor}: bit {bit}");
            }
        }
        let newer = index(224, &[(8, 21), (16, 100)]);
        assert_eq!(Index::minor(&newer, 224), Ok(21));
        for (file, why) in [
            (vec![], "is empty"),
            (b"From bob@example.com Mon Jan  1 00:00:00 2007\n".repeat(5), "is not a cyrus.index"),
            (index(96, &[(4, 2), (8, 10)]), "is not a cyrus.index"),
            (vec![0; 20], "is cut off in its header"),
            (vec![0; 192], "is not a cyrus.index (no release wrote minor version 0)"),
            (index(128, &[(8, 11)]), "is not a cyrus.index (no release wrote minor version 11)"),
        ] {
            assert_eq!(Index::minor(&file, file.len() as u64), Err(why.to_string()));
        }
    }

    #[test]
    fn no_index() {
        let reason = |length, words: &[_]| Index::read(&index(length, words)).unwrap_err();
        for minor in [0, 1, 4, 5, 21, u32::MAX] {
            let text = format!("is not a cyrus.index of 2.0 to 3.13 (its minor version is {minor})");
            assert_eq!(reason(192, &[(8, minor)]), text);
        }
        assert_eq!(reason(76, &[(8, 6)]), "has no UIDVALIDITY (it is 0)");
        assert_eq!(reason(96, &[(4, 2)]), "is not a cyrus.index (its format is neither 0 nor 1)");
        let odd = "bytes, which no cyrus.index of minor version 17 has";
        assert_eq!(reason(76, &[(8, 17)]), format!("has a header of 76 {odd}"));
        assert_eq!(reason(76, &[(8, 17), (12, u32::MAX)]), format!("has a header of {} {odd}", u32::MAX));
        assert_eq!(reason(76, &[(8, 17), (12, 160)]), "is cut off in its header");
        assert_eq!(Index::read(b""), Err("is empty".to_string()));
    }
}
