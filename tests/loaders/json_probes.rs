//! Every JSON probe of the real loaders of 3.6.1 and 3.13.7: what they drop, mis-store, refuse as a whole or die of is
//! refused or written otherwise by `mbx-parse --to` and the guard behind it, and what they store as it came is let
//! through.
//!
//! The same probes go through the filters into Debian's own loader, which must store what they let through as it says.

use crate::harness;
use crate::harness::cyrus::{self, CTL_MBOXLIST};
use crate::harness::{JSON_RELEASES, Ran, Said, Sandbox, lines, run, said};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::process::Command;

struct Probe {
    label: String,
    input: Vec<u8>,
    stored: Vec<u8>,
    silent: bool,
}

fn probes(release: &str) -> Vec<Probe> {
    let packed = harness::corpus().join(release).join("loader.jsonl.gz");
    let text = Command::new("gzip").arg("-dc").arg(packed).output().unwrap().stdout;
    let rows = lines(&text).into_iter().map(|line| serde_json::from_slice::<Value>(&line).unwrap());
    let probes: Vec<Probe> = rows
        .filter(|row| row["args"] == "-u")
        .map(|row| {
            // Each byte was taken for a character when these were written down.
            let text =
                |key: &str| String::from_utf8(BASE64_STANDARD.decode(row[key].as_str().unwrap()).unwrap()).unwrap();
            let bytes = |key: &str| text(key).chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            Probe {
                label: row["label"].as_str().unwrap().to_string(),
                input: bytes("input"),
                stored: bytes("dump"),
                silent: row["rc"] == 0 && row["stderr"] == "",
            }
        })
        .collect();
    assert!(probes.len() >= 216, "{release}: {}", probes.len());
    probes
}

/// What a list says, as far as `-d` prints it: intermediates with -y only.
fn printed(list: &[u8]) -> Option<Said> {
    let mut printed = said(list)?;
    printed.retain(|_, entry| !entry.fields[0].contains('i'));
    Some(printed)
}

/// A probe through the filters that stand before the loader.
fn filtered(input: &[u8], release: &str) -> Result<Vec<u8>, Ran> {
    let parsed = run("parse", &["--to", release, "--allow-empty"], input);
    if parsed.status != 0 {
        return Err(parsed);
    }
    let guarded = run("count-guard", &["--to", release, "--unique", "--allow-empty"], &parsed.out);
    if guarded.status == 0 { Ok(guarded.out) } else { Err(guarded) }
}

/// What the loader stores as it came and we refuse all the same, each for what the server then makes of it.
const REFUSED_ALL_THE_SAME: &[(&str, &str)] = &[
    // A directory called so is nobody's, or everybody's.
    ("partition = \"\"", "no partition"),
    ("uniqueid = \"\"", "no uniqueid"),
    // No server makes such a name, and the directories of its user are another's.
    ("user.a/b", "name with a slash"),
    ("slash escaped", "name with a slash"),
    // No client can open it (`mbname_from_extname` of `imap/mboxname.c`).
    ("name 'user'", "cannot open"),
    ("name 'INBOX'", "cannot open"),
    // Two of a kind, of which the loader takes the last.
    ("same mailbox twice", "mailbox twice"),
    ("duplicate key inside the entry", "member twice"),
    ("two mailboxes with one uniqueid", "two mailboxes, one uniqueid"),
    // ctl_cyrusdb -r deletes a reserved mailbox with its mail (facts/migration.md b).
    ("mbtype 'ez'", "reserved mailbox"),
    ("mbtype 'z'", "reserved mailbox"),
    // It would ask another server, and none is told.
    ("mbtype 'er'", "remote mailbox without"),
    ("mbtype 'r'", "remote mailbox without"),
    ("mbtype 'mr'", "remote mailbox without"),
    ("mbtype 'erl'", "remote mailbox without"),
    ("server without r", "of a local mailbox"),
    ("back1!default", "remote mailbox without"),
    // The loader does not look at these, but no server writes them: what else is wrong with such a list?
    ("= null", "member of the wrong type"),
    ("= a JSON number 12", "member of the wrong type"),
    ("name_history an object", "member of the wrong type"),
    ("acl duplicate identifier", "identifier twice in one ACL"),
    // An array holds no mailbox, so nothing of it is lost, and nothing loaded.
    ("top level is an array", "JSON array"),
];

#[test]
fn every_json_probe() {
    let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
    let mut used = [false; REFUSED_ALL_THE_SAME.len()];
    for release in JSON_RELEASES {
        for probe in probes(release) {
            let tell = |text: &str| format!("{release}: {}: {text}", probe.label);
            let stored = printed(&probe.stored).unwrap();
            let as_it_came = probe.silent && printed(&probe.input).is_some_and(|input| input == stored);
            match filtered(&probe.input, release) {
                Ok(list) => {
                    passed += 1;
                    // What was changed on the way is asked of the real loader below.
                    if list == probe.input && !as_it_came {
                        let said = printed(&probe.input);
                        wrong.push(tell(&format!("let through, but stored as something else:\n{said:?}\n{stored:?}")));
                    }
                    // A tombstone would take the place of the mailbox that has its uniqueid now; it is dropped, and
                    // counted.
                    let dropped =
                        ["tombstone", "mbtype 'ed'", "mbtype 'd'"].iter().any(|label| probe.label.contains(label));
                    // An empty jmapId gets filled.
                    if list != probe.input && as_it_came && !probe.label.contains("jmapId = \"\"") && !dropped {
                        wrong.push(tell("changed though it was stored as it came"));
                    }
                }
                Err(ran) => {
                    refused += 1;
                    assert!(matches!(ran.status, 1 | 2), "{}", tell(&ran.tell()));
                    let known = |(label, why): &(&str, &str)| probe.label.contains(label) && ran.err.contains(why);
                    match REFUSED_ALL_THE_SAME.iter().position(known) {
                        Some(at) => used[at] = true,
                        None if as_it_came => wrong.push(tell(&ran.err)),
                        None => {}
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong\n{}", wrong.len(), wrong.join("\n"));
    let unused: Vec<_> = REFUSED_ALL_THE_SAME.iter().zip(used).filter(|(_, used)| !used).collect();
    assert!(unused.is_empty(), "exceptions that no probe needs: {unused:?}");
    println!("{passed} passed, {refused} refused");
    assert!(passed > 150 && refused > 100, "{passed} {refused}");
}

#[test]
fn debians_loader_stores_what_is_let_through() {
    if !cyrus::is_here(&[CTL_MBOXLIST]) {
        return;
    }
    let sandbox = Sandbox::empty();
    std::fs::create_dir_all(sandbox.path().join("conf/db")).unwrap();
    sandbox.conf("imapd.conf", "configdirectory: /cyrus/conf\npartition-default: /cyrus/spool\n");
    cyrus::hand_over(sandbox.path());
    let conf = sandbox.file("imapd.conf");
    let mut loaded = 0;
    for (n, probe) in probes("3.6.1").iter().enumerate() {
        let Ok(list) = filtered(&probe.input, "3.6.1") else { continue };
        let db = sandbox.file(&format!("{n}.db"));
        sandbox.write("list", &list);
        let load = format!(
            "{CTL_MBOXLIST} -C {conf} -u -f {db} <list >said 2>&1 && ! test -s said && {CTL_MBOXLIST} -C {conf} -d -f {db}"
        );
        let stored = sandbox.sh(&load);
        assert_eq!(
            stored.status,
            0,
            "{}: {} {}",
            probe.label,
            stored.tell(),
            String::from_utf8_lossy(&sandbox.read("said"))
        );
        assert_eq!(printed(&stored.out), printed(&list), "{}", probe.label);
        loaded += 1;
    }
    assert!(loaded > 75, "{loaded}");
}

/// 3.6 keeps 0x1f for the dots of a name in its database, and 0x1d behind a domain (seen on 3.6.1).
#[test]
fn a_name_with_a_mark_of_the_database_is_not_another_mailbox() {
    let entry = |name: &str, uniqueid: &str| {
        let rest = r#""mbtype": "el", "partition": "default", "acl": {}, "uidvalidity": "7", "createdmodseq": "1", "foldermodseq": "2""#;
        format!("\"{name}\": {{{rest}, \"uniqueid\": \"{uniqueid}\"}}")
    };
    for name in ["user.bob\\u001fwork", "user.bob\\u001d", "user\\u001f\\u001fbob", "bob\\u001duser.bob"] {
        let list = format!("{{{}, {}}}", entry("user.bob.work", "aa"), entry(name, "bb"));
        for release in JSON_RELEASES {
            let ran = run("parse", &["--to", release, "--reject", "/dev/null"], list.as_bytes()).expect(1);
            ran.says("name that the target takes for another").says("2 in, 1 out, 1 refused");
            run("count-guard", &["--to", release, "--unique"], list.as_bytes()).expect(1);
        }
    }
}

/// 3.0 splits `a!b!c`; the loaders of JSON keep server and partition apart, and then look for a partition `b!c`.
#[test]
fn a_partition_with_a_server_in_it_is_refused_for_that_and_not_for_two_servers() {
    let entry = r#"{"user.bob": {"mbtype": "erl", "server": "be1", "partition": "a!b", "acl": {}, "uniqueid": "aa"}}"#;
    let ran = run("parse", &["--to", "3.6.1"], entry.as_bytes()).expect(1);
    ran.says("server!partition in one (a!b: 3.6.1 would look for a partition of that name): user.bob");
}
