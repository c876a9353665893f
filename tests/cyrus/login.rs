//! The night as the users see it in the morning: real spools of old servers, the list through the six filters, loaded
//! into a real Cyrus 3.6.1, and a login over IMAP that looks at every mailbox.
//!
//! What must be there is read from the old dump and the old spool by the few lines below, not by the code under test.
//! Skipped, loudly, where Cyrus is not installed; a failure under MBX_REQUIRE_CYRUS=1.

use crate::harness;
use crate::harness::cyrus::{self, Server, Value, open, quote};
use crate::harness::old::{REMOTE, TOMBSTONE, external, is_held, old_contents, old_list, rights};
use crate::harness::{Sandbox, lines, told_to_move};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

#[test]
fn every_mailbox_of_2_2_13_opens() {
    morning("2.2.13", &["flat", "hash"]);
}

#[test]
fn every_mailbox_of_2_3_7_opens() {
    morning("2.3.7", &["flat", "hash"]);
}

#[test]
fn every_mailbox_of_2_4_22_opens() {
    morning("2.4.22", &["flat", "hash"]);
}

#[test]
fn every_mailbox_of_3_0_18_opens() {
    morning("3.0.18", &["flat", "hash"]);
}

#[test]
fn every_mailbox_of_virtual_domains_opens() {
    for release in harness::RELEASES {
        morning(release, &["virt"]);
    }
}

#[test]
fn every_mailbox_hashed_by_its_full_name_opens() {
    for release in harness::RELEASES {
        morning(release, &["fullhash"]);
    }
}

#[test]
fn every_mailbox_with_dots_in_its_name_opens() {
    morning("2.2.13", &["unixsep"]);
    morning("2.3.7", &["unixsep"]);
    morning("2.4.22", &["flatu"]);
    morning("3.0.18", &["flatu"]);
}

#[test]
fn every_mailbox_opens_whose_metadata_was_apart_all_along() {
    morning("2.3.7", &["meta", "meta2"]);
    morning("2.4.22", &["meta"]);
    morning("3.0.18", &["meta"]);
}

/// The list of the new server: made by the six filters, loaded and verified in a database of its own, and switched to.
/// What was refused is in `rejects`. Returns the directories that the administrator has moved, because he was told to.
fn night(sandbox: &Sandbox, release: &str, metadata: Metadata) -> Vec<(PathBuf, PathBuf)> {
    let make = format!(
        "mbx-parse --from {release} --to 3.6.1 --drop remote --seal --reject rejects old.dump \
         | mbx-remap-part nothing=nowhere | mbx-acl-rewrite \
         | mbx-check-paths -C new.conf --fill --missing missing.dump | mbx-mkmeta -C new.conf --owner cyrus:mail \
         | mbx-count-guard --sealed >new.list"
    );
    let ran = sandbox.sh(&make).expect(0);
    if metadata != Metadata::Apart {
        assert_eq!(ran.err.contains("directories only"), metadata != Metadata::Together, "{}", ran.err);
    }
    let list: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&sandbox.read("new.list")).unwrap();
    let mkmeta = format!("mbx-mkmeta -C new.conf --from {release} --owner cyrus:mail --move <new.list >/dev/null");
    let entries = list.len();
    if metadata == Metadata::Moved {
        sandbox.sh(&mkmeta).expect(0).says(&format!("{entries} in, {entries} out (")).says(" files moved");
    }
    if [Metadata::Moved, Metadata::Apart].contains(&metadata) {
        // Some partitions of old have no metapartition.
        let conf = String::from_utf8(sandbox.read("new.conf")).unwrap();
        let together = |entry: &&serde_json::Value| {
            !conf.contains(&format!("metapartition-{}: ", entry["partition"].as_str().unwrap()))
        };
        let without = list.values().filter(together).count();
        let ran = sandbox.sh(&mkmeta).expect(0).says(&format!("{} mailboxes with nothing to do", entries - without));
        assert_eq!(ran.err.contains(&format!(", {without} need none)")), without > 0, "{}", ran.tell());
    }
    let mut moved = Vec::new();
    for [mailbox, _, here, there] in told_to_move(&ran.err, "3.6.1") {
        let partition = sandbox.path().join("spool").join(list[mailbox]["partition"].as_str().unwrap());
        let (here, there) = (partition.join(here), partition.join(there));
        // Those below another that was told have gone with it.
        if here.exists() {
            std::fs::create_dir_all(there.parent().unwrap()).unwrap();
            std::fs::rename(&here, &there).unwrap();
        }
        assert!(there.join("cyrus.header").exists(), "{mailbox}");
        moved.push((here, there));
    }
    assert_eq!(sandbox.read("missing.dump"), b"");
    let ctl_mboxlist = format!("{} -C {}", cyrus::CTL_MBOXLIST, sandbox.file("new.conf"));
    let db = sandbox.file("new.db");
    let load = format!(
        "mbx-count-guard --to 3.6.1 --verify '{ctl_mboxlist} -d -f {db}' <new.list -- {ctl_mboxlist} -u -f {db} \
         && mv {db} conf/mailboxes.db"
    );
    sandbox.sh(&load).expect(0);
    // What the server prints is the list that was meant, and what is not is found.
    let print = format!("{ctl_mboxlist} -d");
    let compare = "mbx-count-guard --compare-with new.list --compare name,partition,acl,mbtype,uniqueid";
    sandbox.sh(&format!("{print} | {compare}")).expect(0);
    for (change, found) in [
        ("s/lrswipkxtea/lrswipkxte/", ": ACL: "),
        ("s/\"partition\": \"0\"/\"partition\": \"1\"/", ": partition: here 1, "),
        ("/^\"user.bob\":/d", "not in the other list"),
        ("s/\"el\"/\"e\"/", ": mbtype: here e, "),
        ("s/\"uniqueid\": \"/&0/", ": uniqueid: "),
    ] {
        let ran = sandbox.sh(&format!("{print} | sed '{change}' | {compare}")).expect(1);
        assert!(
            ran.err.contains(found) || change.contains("user.bob") && ran.err.contains("only in "),
            "{}",
            ran.tell()
        );
    }
    moved
}

/// Where the new server keeps the cyrus.* files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metadata {
    /// With the messages, where they were.
    Together,
    /// On metapartitions, where they were.
    Apart,
    /// On metapartitions, to which `mbx-mkmeta --move` brought them.
    Moved,
    /// On metapartitions, to which nobody brought them.
    Forgotten,
}

/// Gives the new server metapartitions, empty ones.
fn keep_metadata_apart(sandbox: &Sandbox) {
    let mut conf = String::from_utf8(sandbox.read("new.conf")).unwrap();
    for partition in ["default", "0", "1", "2", "part-3"] {
        let dir = sandbox.path().join("meta").join(partition);
        std::fs::create_dir_all(&dir).unwrap();
        conf += &format!("metapartition-{partition}: {}\n", dir.display());
    }
    sandbox.write("new.conf", conf + "metapartition_files: header index cache expunge squat\n");
    cyrus::hand_over(sandbox.path());
}

fn is_here() -> bool {
    cyrus::is_here(&[cyrus::CTL_MBOXLIST, cyrus::MASTER, cyrus::IMAPD, cyrus::SASLPASSWD])
}

fn morning(release: &str, variants: &[&str]) {
    if is_here() {
        for variant in variants {
            let metadata = if variant.starts_with("meta") { Metadata::Apart } else { Metadata::Together };
            every_mailbox_opens(release, variant, metadata);
        }
    }
}

#[test]
fn every_mailbox_opens_whose_metadata_was_moved() {
    if is_here() {
        for release in ["2.2.13", "2.4.22"] {
            every_mailbox_opens(release, "flat", Metadata::Moved);
        }
    }
}

/// What the page of mbx-mkmeta warns of.
#[test]
fn no_mailbox_opens_whose_metadata_was_left_behind() {
    if is_here() {
        let sandbox = Sandbox::of("2.2.13", "flat");
        cyrus::move_in(&sandbox);
        keep_metadata_apart(&sandbox);
        night(&sandbox, "2.2.13", Metadata::Forgotten);
        let mut server = Server::start(&sandbox);
        let mut session = server.log_in();
        assert_eq!(open(&mut session, "user.bob").unwrap_err().status, "NO System I/O error");
    }
}

/// What somebody has seen is kept by the uniqueid that cyrus.header tells, so with the header it would be lost.
#[test]
fn what_was_seen_stays_seen_when_the_metadata_was_moved() {
    if !is_here() {
        return;
    }
    let sandbox = Sandbox::of("2.2.13", "flat");
    let contents = old_contents(&sandbox, "2.2.13", "flat");
    let (mailbox, content) = contents.iter().find(|(_, held)| held.content.flags.len() > 1).unwrap();
    let content = &content.content;
    let uids: Vec<_> = content.flags.keys().copied().collect();
    cyrus::move_in(&sandbox);
    keep_metadata_apart(&sandbox);
    night(&sandbox, "2.2.13", Metadata::Moved);
    let list: serde_json::Value = serde_json::from_slice(&sandbox.read("new.list")).unwrap();
    let dir = sandbox.path().join("conf/user/o");
    std::fs::create_dir_all(&dir).unwrap();
    cyrus::hand_over(&sandbox.path().join("conf"));
    let seen = dir.join(format!("{}.seen", cyrus::ADMIN));
    // Version, last read, last UID, last change, and the UIDs that were seen.
    let state = format!("1 1164000000 {} 1164000000 {}", uids[uids.len() - 1], uids[0]);
    let id = list[mailbox]["uniqueid"].as_str().unwrap();
    let set = format!("cyr_dbtool -C new.conf -n \"{}\" twoskip set {id} '{state}'", seen.display());
    sandbox.sh(&format!("/usr/lib/cyrus/bin/{set}")).expect(0);
    cyrus::hand_over(sandbox.path());
    let mut server = Server::start(&sandbox);
    let mut session = server.log_in();
    assert_eq!(&open(&mut session, &quote(mailbox)).unwrap(), content);
    let fetched = session.ask("FETCH 1:* (UID FLAGS)").ok();
    let seen = |item: &Value| matches!(item, Value::List(flags) if flags.iter().any(|flag| flag.is("\\Seen")));
    let has_seen: Vec<_> = fetched.numbered("FETCH").map(|(_, of)| of[0].list().iter().any(seen)).collect();
    let expected: Vec<_> = uids.iter().map(|uid| *uid == uids[0]).collect();
    assert_eq!(has_seen, expected, "{mailbox}: {fetched:?}");
}

fn every_mailbox_opens(release: &str, variant: &str, metadata: Metadata) {
    let sandbox = Sandbox::of(release, variant);
    let slashes = sandbox.read("old.conf").windows(21).any(|option| option == b"unixhierarchysep: yes");
    let old = old_list(&sandbox.read("old.dump"), release);
    let contents = old_contents(&sandbox, release, variant);
    let spool = spool(&sandbox);
    cyrus::move_in(&sandbox);
    if metadata == Metadata::Moved {
        keep_metadata_apart(&sandbox);
    }
    let moved = night(&sandbox, release, metadata);
    // By 2.x's sum `carol^smith` is E, by that of 3.x `carol.smith` is B, as `carol`. Nothing else moves.
    let carols = if (release, variant) == ("2.4.22", "fullhash") { CAROLS } else { &[] };
    let place = |letter: &str, carol: &str| sandbox.path().join("spool/2").join(letter).join("user").join(carol);
    let expected: Vec<_> = carols.iter().map(|carol| (place("E", carol), place("B", carol))).collect();
    assert_eq!(moved, expected, "{release} {variant}");
    let spool: BTreeMap<_, _> = spool.into_iter().map(|(path, bytes)| (now(&moved, path), bytes)).collect();

    let name = |line: &Vec<u8>| String::from_utf8(line.split(|b| *b == b'\t').next().unwrap().to_vec()).unwrap();
    let refused: BTreeSet<String> = lines(&sandbox.read("rejects")).iter().map(name).collect();
    for name in &refused {
        assert!(!is_held(name, 490, true), "{release} {variant}: refused, though 3.6 can hold it: {name}");
    }
    let left_behind = |bit: u32| old.values().filter(|mailbox| mailbox.mbtype & bit != 0).count();
    let arrived: BTreeMap<_, _> = old
        .iter()
        .filter(|(name, mailbox)| !refused.contains(*name) && mailbox.mbtype & (TOMBSTONE | REMOTE) == 0)
        .collect();

    let mut server = Server::start(&sandbox);
    let mut session = server.log_in();
    let listed = session.ask("LIST \"\" \"*\"").ok();
    let listed: BTreeSet<_> = listed.after("LIST").map(|of| of[2].text().to_string()).collect();
    let expected: BTreeSet<_> = arrived.keys().map(|name| external(name, slashes)).collect();

    let (mut opened, mut messages) = (0, 0);
    let mut wrong: Vec<_> = listed.difference(&expected).map(|name| format!("{name}: listed, from nowhere")).collect();
    wrong.extend(expected.difference(&listed).map(|name| format!("{name}: not listed")));
    for (name, mailbox) in &arrived {
        let shown = quote(&external(name, slashes));
        match rights(&mut session, &shown) {
            Ok(acl) if acl == mailbox.acl => {}
            Ok(acl) => wrong.push(format!("{name}: rights\n  were {:?}\n  are  {acl:?}", mailbox.acl)),
            Err(answer) => wrong.push(format!("{name}: {answer:?}")),
        }
        match open(&mut session, &shown) {
            Ok(content) if content == contents[*name].content => {
                opened += 1;
                messages += content.flags.len();
            }
            Ok(content) => {
                wrong.push(format!("{name}: it\n  held  {:?}\n  holds {content:?}", contents[*name].content))
            }
            Err(answer) => wrong.push(format!("{name}: {answer:?}")),
        }
    }
    let (tombstones, remote) = (left_behind(TOMBSTONE), left_behind(REMOTE));
    println!(
        "{release} {variant}: {} in, {opened} opened with {messages} messages, {} refused, {tombstones} tombstones, \
         {remote} remote, {} directories moved",
        old.len(),
        refused.len(),
        moved.len()
    );
    assert!(wrong.is_empty(), "{release} {variant}: {} are wrong\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(opened + refused.len() + tombstones + remote, old.len(), "{release} {variant}");
    drop(session);
    drop(server);

    // Its recovery takes the number of a calendar of old for that of a reserved name, and deletes it with all it holds.
    let kept = types(&sandbox);
    assert_eq!(kept.values().any(|mbtype| mbtype == "cl"), release == "3.0.18", "{release} {variant}");
    for (name, mailbox) in &arrived {
        assert_eq!(kept[*name], letters(mailbox.mbtype), "{release} {variant}: {name}");
    }
    assert_eq!(self::spool(&sandbox), spool, "{release} {variant}");
}

/// The mailboxes of 2.4.22 that 3.x hashes to another letter.
const CAROLS: &[&str] = &["carol^smith", "carol^smith/Sent", "carol^smith/a^b"];

/// Where a path of the old spool is after some directories have been moved.
fn now(moved: &[(PathBuf, PathBuf)], path: PathBuf) -> PathBuf {
    let found = moved.iter().find_map(|(here, there)| Some(there.join(path.strip_prefix(here).ok()?)));
    found.unwrap_or(path)
}

/// What 3.6 calls a type of old, in directories by name.
fn letters(mbtype: u32) -> &'static str {
    match mbtype {
        0 => "el",
        32 => "cl",
        64 => "al",
        128 => "bl",
        _ => panic!("mbtype {mbtype}"),
    }
}

/// The mbtypes that the new server holds.
fn types(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let dump = sandbox.sh(&format!("{} -C new.conf -d", cyrus::CTL_MBOXLIST)).expect(0).out;
    let dump: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&dump).unwrap();
    dump.into_iter().map(|(name, entry)| (name, entry["mbtype"].as_str().unwrap().to_string())).collect()
}

/// Every directory of the spool, and every message with its bytes.
fn spool(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![sandbox.path().join("spool")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if entry.file_name().to_str().unwrap().ends_with('.') {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
        found.insert(dir, Vec::new());
    }
    found
}

/// What a server of 3.6.1 answers to a mailbox whose files it cannot read.
const INVALID: &str = "NO Mailbox has an invalid format";

/// The mailboxes that the filters let through to 3.6.1, and those that the real loader stored of the same list past them.
fn passed_and_loaded(sandbox: &Sandbox, list: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let check = format!(
        "mbx-check-paths -C new.conf --to 3.6.1 --reject rejects --max-missing 100% <{list} >passed; test $? -le 1"
    );
    sandbox.sh(&check).expect(0);
    let ctl_mboxlist = format!("{} -C {}", cyrus::CTL_MBOXLIST, sandbox.file("new.conf"));
    sandbox.sh(&format!("{ctl_mboxlist} -u <{list} && {ctl_mboxlist} -d >loaded")).expect(0);
    cyrus::hand_over(&sandbox.path().join("conf"));
    let names = |file: &str| {
        let list: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&sandbox.read(file)).unwrap();
        let here = list.into_iter().filter(|(_, entry)| !entry["mbtype"].as_str().unwrap().contains(['d', 'i', 'r']));
        here.map(|(name, _)| name).collect::<BTreeSet<_>>()
    };
    (names("passed"), names("loaded"))
}

/// One law: what the filters let through opens, and what they refuse does not.
#[test]
fn an_index_of_every_minor_version_opens_as_foretold() {
    if !is_here() {
        return;
    }
    let sandbox = Sandbox::of("3.6.1", "legacy");
    let mut entries = Vec::new();
    let mut add = |name: String, header: Vec<u8>, index: Option<Vec<u8>>| {
        let dir = sandbox.path().join("spool/default/user").join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cyrus.header"), header).unwrap();
        if let Some(index) = index {
            std::fs::write(dir.join("cyrus.index"), index).unwrap();
        }
        std::fs::write(dir.join("cyrus.cache"), [0; 4]).unwrap();
        entries.push(format!(
            "\"user.{name}\": {{\"uniqueid\": \"id{name}\", \"uidvalidity\": \"7\", \"createdmodseq\": \"0\", \
             \"foldermodseq\": \"1\", \"mbtype\": \"el\", \"partition\": \"default\", \"acl\": {{\"anyone\": \"lrs\"}}}}"
        ));
    };
    let header =
        |form: &str, name: &str| harness::header_of(form, &format!("user.{name}"), &format!("id{name}"), "anyone");
    for minor in 3..=21 {
        for form in ["lines", "dlist", "dlist with J"] {
            let name = format!("m{minor}{}", form.replace(' ', ""));
            add(name.clone(), header(form, &name), Some(harness::index_of(minor, 7)));
        }
    }
    let index = |minor| harness::index_of(minor, 7);
    let changed = |at: usize, byte: u8| {
        let mut index = index(17);
        index[at] = byte;
        index
    };
    for (name, bytes) in [
        ("none", None),
        ("empty", Some(vec![])),
        ("short", Some(index(17)[..90].to_vec())),
        ("zeros", Some(vec![0; 160])),
        ("sum", Some(changed(31, 9))),
        ("text", Some(b"From bob@example.com Mon Jan  1 00:00:00 2007\n".repeat(5))),
    ] {
        add(name.to_string(), header("lines", name), bytes);
    }
    // Five records that are not there, with a checksum that is right.
    let mut cut = changed(23, 5);
    let sum = crc32fast::hash(&cut[..156]);
    cut[156..].copy_from_slice(&sum.to_be_bytes());
    add("cut".to_string(), header("lines", "cut"), Some(cut));
    add("nomagic".to_string(), b"something else\n".repeat(10), Some(index(17)));
    add("magic".to_string(), harness::MAGIC.to_vec(), Some(index(17)));
    sandbox.write("list", format!("{{\n{}\n}}\n", entries.join(",\n")));
    cyrus::move_in(&sandbox);
    let (passed, loaded) = passed_and_loaded(&sandbox, "list");
    assert_eq!(loaded.len(), entries.len());
    assert_eq!(passed.len(), 3 * 11, "{passed:?}");
    let mut server = Server::start(&sandbox);
    let mut session = server.log_in();
    for name in &loaded {
        let answer = session.ask(&format!("EXAMINE {}", quote(name)));
        assert_eq!(answer.is_ok(), passed.contains(name), "{name}: {answer:?}");
        if name.starts_with("user.m2") || name.starts_with("user.m18") || name.starts_with("user.m19") {
            assert_eq!(answer.status, INVALID, "{name}");
        }
    }
    // The remedy for what is damaged, on the server that it comes from, which here is the same.
    let damaged = "user.none user.empty user.short user.zeros user.sum user.text user.cut user.nomagic user.magic";
    sandbox.sh(&format!("/usr/lib/cyrus/bin/reconstruct -C {} {damaged}", sandbox.file("new.conf"))).expect(0);
    for name in damaged.split(' ') {
        let answer = session.ask(&format!("EXAMINE {name}"));
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
}

/// The spools of newer servers, as the filters let them through and as 3.6.1 opens them.
fn older_server_opens_what_passes(release: &str, variant: &str, minor: Option<u32>) -> (usize, usize) {
    let sandbox = Sandbox::of(if release == "3.13.7" { release } else { "3.6.1" }, variant);
    if let Some(minor) = minor {
        // 3.12.3 writes what 3.6.1 does, with another minor version.
        let find = sandbox.sh("find spool -name cyrus.index").expect(0);
        for path in String::from_utf8(find.out).unwrap().lines() {
            let mut index = sandbox.read(path);
            index[11] = u8::try_from(minor).unwrap();
            let sum = crc32fast::hash(&index[..156]);
            index[156..160].copy_from_slice(&sum.to_be_bytes());
            sandbox.write(path, index);
        }
    }
    let parse = format!("mbx-parse --from {release} --to 3.6.1 --reject r --drop remote old.dump >list; test $? -le 1");
    let ran = sandbox.sh(&parse).expect(0);
    assert_eq!(ran.err.contains("that 3.6.1 cannot read"), release != "3.8.7", "{}", ran.tell());
    cyrus::move_in(&sandbox);
    let (passed, loaded) = passed_and_loaded(&sandbox, "list");
    let slashes = sandbox.read("old.conf").windows(21).any(|option| option == b"unixhierarchysep: yes");
    let mut server = Server::start(&sandbox);
    let mut session = server.log_in();
    let (mut opened, mut refused) = (0, 0);
    for name in &loaded {
        let answer = open(&mut session, &quote(&external(name, slashes))).map_err(|answer| answer.status);
        match (&answer, passed.contains(name)) {
            (Ok(_), true) => opened += 1,
            (Err(status), false) if status == INVALID => refused += 1,
            _ => panic!("{release} {variant}: {name}: {answer:?}"),
        }
    }
    (opened, refused)
}

#[test]
fn no_mailbox_of_a_newer_spool_passes_that_3_6_1_cannot_open() {
    if !is_here() {
        return;
    }
    for (release, variant, minor, all_open) in [
        ("3.13.7", "legacy", None, false),
        ("3.13.7", "flat", None, false),
        ("3.13.7", "legacyvirt", None, false),
        ("3.13.7", "mixed", None, true),
        ("3.12.3", "legacy", Some(19), false),
        ("3.8.7", "legacy", None, true),
        ("3.8.7", "flat", None, true),
    ] {
        let (opened, refused) = older_server_opens_what_passes(release, variant, minor);
        println!("{release} {variant} to 3.6.1: {opened} opened, {refused} refused");
        assert!(opened + refused > 100, "{release} {variant}: {opened} {refused}");
        assert_eq!((opened == 0, refused == 0), (!all_open, all_open), "{release} {variant}: {opened} {refused}");
    }
}
