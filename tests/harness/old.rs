//! What an old server had, read from its list and its spool by these few lines, not by the code under test.

use super::Sandbox;
use super::cyrus::{Content, Reply, Session};
use super::read;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The bits of the old mbtypes (facts/json.md): up to 3.5 these, with other meanings from 3.6 on.
pub const REMOTE: u32 = 1;
pub const TOMBSTONE: u32 = 16;
pub const INTERMEDIATE: u32 = 256;

pub type Acl = BTreeMap<String, BTreeSet<char>>;

/// An entry of the old list.
#[derive(Debug)]
pub struct Mailbox {
    pub mbtype: u32,
    /// Its directory is that of its name, not of its uniqueid.
    pub by_name: bool,
    pub acl: Acl,
}

/// The entries of a list, by mailbox.
pub fn old_list(dump: &[u8], release: &str) -> BTreeMap<String, Mailbox> {
    let dump = std::str::from_utf8(dump).unwrap();
    if dump.starts_with('{') {
        let list: serde_json::Map<String, Value> = serde_json::from_str(dump).unwrap();
        return list.iter().map(|(name, entry)| (name.clone(), of_json(entry, release))).collect();
    }
    let entry = |line: &str| {
        let (name, rest) = line.split_once('\t').unwrap();
        let (mbtype, rest) = if release == "2.2.13" { ("0", rest) } else { rest.split_once(' ').unwrap() };
        let behind_partition = if ["2.2.13", "2.3.7"].contains(&release) { '\t' } else { ' ' };
        let (_, acl) = rest.split_once(behind_partition).unwrap();
        let fields: Vec<_> = acl.split('\t').collect();
        let acl = fields.chunks_exact(2).map(|pair| (pair[0].to_string(), meant(release, pair[1]))).collect();
        (name.to_string(), Mailbox { mbtype: mbtype.parse().unwrap(), by_name: true, acl })
    };
    let list: BTreeMap<_, _> = dump.lines().map(entry).collect();
    assert_eq!(list.len(), dump.lines().count(), "a mailbox twice");
    list
}

/// The letters of the mbtype say what the numbers of before 3.6 do (facts/json.md).
fn of_json(entry: &Value, release: &str) -> Mailbox {
    let bit = |letter: char| match letter {
        'e' | 'l' => 0,
        'r' => REMOTE,
        'd' => TOMBSTONE,
        'c' => 32,
        'a' => 64,
        'b' => 128,
        'i' => INTERMEDIATE,
        _ => panic!("{letter} in {entry}"),
    };
    let acl = entry["acl"].as_object().unwrap().iter();
    Mailbox {
        mbtype: entry["mbtype"].as_str().unwrap().chars().map(bit).sum(),
        by_name: entry["mbtype"].as_str().unwrap().contains('l'),
        acl: acl.map(|(id, rights)| (id.clone(), meant(release, rights.as_str().unwrap()))).collect(),
    }
}

/// The rights that a server of a release gives for the letters it stores, without the macros `c` and `d`
/// (facts/acl.md; its deleteright is `c`).
pub fn meant(release: &str, letters: &str) -> BTreeSet<char> {
    let known = match release {
        "2.2.13" => "lrswipcda",
        "2.3.7" | "2.4.22" => "lrswipkxtecda",
        _ => "lrswipkxtecdan",
    };
    let mut rights: BTreeSet<char> = letters.chars().filter(|l| known.contains(*l) || l.is_ascii_digit()).collect();
    for (r#macro, members) in [('c', ['k', 'x']), ('d', ['t', 'e'])] {
        // From 2.3.8 on a macro says nothing beside one of its members.
        let counts = release == "2.3.7" || !members.iter().any(|member| rights.contains(member));
        if rights.remove(&r#macro) && counts {
            rights.extend(members);
        }
    }
    rights
}

/// The rights that the new server gives.
pub fn rights(session: &mut Session, mailbox: &str) -> Result<Acl, Reply> {
    let reply = session.ask(&format!("GETACL {mailbox}"));
    if !reply.is_ok() {
        return Err(reply);
    }
    let acl = reply.after("ACL").next().unwrap();
    Ok(acl[1..].chunks(2).map(|pair| (pair[0].text().to_string(), meant("3.6.1", pair[1].text()))).collect())
}

/// Whether 3.2 and later can hold a mailbox of that name, as the same name (facts/layout.md, 1b and 6). Names of `limit`
/// bytes are too long, and so are components of 251 where directories are by name.
pub fn is_held(name: &str, limit: usize, by_name: bool) -> bool {
    let longest = if by_name { 250 } else { limit };
    let (domain, local) = name.split_once('!').unwrap_or(("", name));
    let components: Vec<_> = local.split('.').collect();
    // The last component of these is the time of deletion in hex: asked for `DELETED.foo`, it looks for `DELETED.F`.
    let stamp = components.last().map_or("", |last| last);
    let stamped = u32::from_str_radix(stamp, 16).is_ok_and(|time| time > 0 && format!("{time:X}") == stamp);
    name.len() < limit
        && components.iter().all(|component| (1..=longest).contains(&component.len()))
        && domain != "internal"
        && !domain.contains('@')
        && (components[0] != "DELETED" || (components.len() > 1 && stamped))
}

/// A mailbox as IMAP names it, with the separator of `unixhierarchysep`.
pub fn external(name: &str, slashes: bool) -> String {
    if let Some((domain, name)) = name.split_once('!') {
        return format!("{}@{domain}", external(name, slashes));
    }
    if slashes { name.replace('.', "/").replace('^', ".") } else { name.to_string() }
}

/// What a mailbox held on the old server.
pub struct Held {
    pub content: Content,
    pub last_uid: u32,
    /// None in the formats that have none.
    pub highestmodseq: Option<u64>,
    /// The version of its cyrus.index.
    pub minor: u32,
    /// Its cyrus.header is of the form of 3.6 and later.
    pub is_dlist: bool,
    /// The files of messages that are not expunged, by UID.
    pub messages: BTreeMap<u32, Vec<u8>>,
}

/// The contents of all mailboxes that have a directory, which is where the old server's own `mbpath` says.
pub fn old_contents(sandbox: &Sandbox, release: &str, variant: &str) -> BTreeMap<String, Held> {
    let paths = String::from_utf8(read(format!("{release}/{variant}/paths.tsv"))).unwrap();
    let conf = String::from_utf8(sandbox.read("old.conf")).unwrap();
    let apart = conf.lines().find_map(|line| line.strip_prefix("metapartition_files: ")).unwrap_or_default();
    let held = |row: &str| {
        let columns: Vec<_> = row.split('\t').collect();
        let here = |dir: &str| sandbox.path().join(dir.strip_prefix("/cyrus/").unwrap());
        // That of the metadata is the same where the partition has no metapartition.
        let dir = |word| columns[if apart.split(' ').any(|of| of == word) { 2 } else { 1 }];
        let path = |word| here(dir(word)).join(format!("cyrus.{word}"));
        let held = old_content(&path("header"), &path("index"), &here(columns[1]))?;
        Some((columns[0].to_string(), held))
    };
    paths.lines().skip(1).filter_map(held).collect()
}

/// `cyrus.index` of the minor versions 6 to 20 (facts/headers.md); line 5 of `cyrus.header` has the users' flags. None
/// if there is no header, as for entries that were loaded by hand.
fn old_content(header: &Path, index: &Path, dir: &Path) -> Option<Held> {
    let (header, path) = (std::fs::read(header).ok()?, index.display());
    let header = String::from_utf8_lossy(&header);
    let line = |n: usize| header.lines().nth(n).unwrap();
    let is_dlist = line(3).starts_with('%');
    let names: Vec<_> = if is_dlist { Vec::new() } else { line(4).split_whitespace().collect() };
    let index = std::fs::read(index).unwrap();
    let number = |at: usize| u32::from_be_bytes(index[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from(number(at)) << 32 | u64::from(number(at + 4));
    let (minor, start, size, records) = (number(8), number(12) as usize, number(16) as usize, number(20) as usize);
    let (uidvalidity, last_uid, highestmodseq) = match minor {
        6 => (44, 28, None),
        9..=18 => (44, 28, Some(68)),
        19 => (44, 28, Some(72)),
        20 => (92, 88, Some(72)),
        _ => panic!("{path}: {minor}"),
    };
    assert!(records == 0 || minor <= 13 && !is_dlist, "{path}: the records of {minor} are not read here");
    let (mut flags, mut messages) = (BTreeMap::new(), BTreeMap::new());
    for at in (0..records).map(|record| start + record * size) {
        let (uid, system) = (number(at), number(at + 32));
        // From 2.4 on, expunged messages stay for a while.
        if minor >= 12 && system >> 31 == 1 {
            continue;
        }
        let standard = ["\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];
        let standard = (0..).zip(standard).filter(|(bit, _)| system >> bit & 1 == 1).map(|(_, flag)| flag);
        let users = names.iter().enumerate().filter(|(n, _)| number(at + 36 + n / 32 * 4) >> (n % 32) & 1 == 1);
        flags.insert(uid, standard.chain(users.map(|(_, flag)| *flag)).map(str::to_string).collect());
        messages.insert(uid, std::fs::read(dir.join(format!("{uid}."))).unwrap());
    }
    Some(Held {
        content: Content { uidvalidity: number(uidvalidity), flags },
        last_uid: number(last_uid),
        highestmodseq: highestmodseq.map(long),
        minor,
        is_dlist,
        messages,
    })
}
