//! What a refusal names as the remedy is the remedy: done, the entry that was refused goes through.

use crate::harness::{Sandbox, read};

struct Case {
    /// What is refused, with a status that is not 0.
    refused: &'static str,
    /// What is said then.
    says: &'static [&'static str],
    /// The remedy, with status 0.
    remedy: &'static str,
}

const fn case(refused: &'static str, says: &'static [&'static str], remedy: &'static str) -> Case {
    Case { refused, says, remedy }
}

const CASES: &[Case] = &[
    // Remote mailboxes: on another server, so that no file here can fill anything in.
    case(
        "mbx-parse --to 3.6.1 mupdate-master.json",
        &["remote mailbox without uniqueid", "backend1", "--drop remote"],
        "mbx-parse --to 3.6.1 --drop remote mupdate-master.json",
    ),
    case(
        "mbx-count-guard --to 3.6.1 mupdate-master.json -- cat",
        &["remote mailbox without uniqueid", "backend1", "mbx-parse --drop remote"],
        "mbx-parse --to 3.6.1 --drop remote mupdate-master.json | mbx-count-guard --to 3.6.1 --allow-empty -- cat",
    ),
    case(
        "mbx-parse --from 2.4.22 --to 3.6.1 dbtool-2.2.txt",
        &["remote mailbox without uniqueid", "backend7", "--drop remote"],
        "mbx-parse --from 2.4.22 --to 3.6.1 --drop remote dbtool-2.2.txt",
    ),
    case(
        "mbx-parse --from 2.2.13 dbtool-2.2.txt",
        &["type that the target does not have", "--drop remote"],
        "mbx-parse --from 2.2.13 --drop remote dbtool-2.2.txt",
    ),
    case(
        "mbx-parse --to 3.0.18 server",
        &["remote mailbox without server!partition", "give --from", "--drop remote"],
        "mbx-parse --to 3.0.18 --from 2.5.17 server && mbx-parse --to 3.0.18 --drop remote server",
    ),
    case(
        "mbx-parse --from 2.4.22 --to 3.0.18 server",
        &["would take the server for a partition", "write server!partition", "--drop remote"],
        "sed 's/be.example.com/&!default/' server | mbx-parse --from 2.4.22 --to 3.0.18 && \
         mbx-parse --from 2.4.22 --to 3.0.18 --drop remote server",
    ),
    case(
        "mbx-parse --from 3.0.18 --to 2.5.17 split",
        &["does not split server!partition", "--drop remote"],
        "mbx-parse --from 3.0.18 --to 2.5.17 --drop remote split",
    ),
    // Other kinds.
    case(
        "mbx-parse --to 3.6.1 intermediate.json",
        &["intermediate without uniqueid", "--drop intermediate"],
        "mbx-parse --to 3.6.1 --drop intermediate intermediate.json",
    ),
    case(
        "mbx-parse --to 2.4.22 reserved",
        &["reserved mailbox", "make it 0", "--drop reserve"],
        "mbx-parse --to 2.4.22 --drop reserve reserved && sed 's/\\t2 /\\t0 /' reserved | mbx-parse --to 2.4.22",
    ),
    case(
        "mbx-parse --to 3.6.1 reserved.json",
        &["reserved mailbox", "take the z out", "--drop reserve"],
        "mbx-parse --to 3.6.1 --drop reserve reserved.json && sed 's/elz/el/' reserved.json | mbx-parse --to 3.6.1",
    ),
    case(
        "mbx-parse --from 2.4.22 --to 3.0.18 calendar",
        &["type that the old server did not have", "--from"],
        "mbx-parse --from 2.5.17 --to 3.0.18 calendar",
    ),
    case(
        "mbx-parse --from 2.4.22 --to 2.5.17 moving",
        &["moving mailbox", "--reject"],
        "mbx-parse --from 2.4.22 --to 2.5.17 --reject left moving || test -s left",
    ),
    // Mailboxes that lack what 3.6 wants.
    case(
        "mbx-parse --to 3.6.1 list | mbx-count-guard --to 3.6.1 -- cat",
        &["no uniqueid", "mbx-check-paths --fill"],
        "mbx-parse --from 3.0.18 --to 3.6.1 list | mbx-check-paths -C imapd.conf --from 3.0.18 --to 3.6.1 --fill | \
         mbx-count-guard --to 3.6.1 -- cat",
    ),
    case(
        "mbx-count-guard --to 3.6.1 unnumbered.json -- cat",
        &["no uidvalidity, or no modseqs", "mbx-check-paths --fill"],
        "mbx-check-paths -C imapd.conf --from 3.0.18 --to 3.6.1 --fill unnumbered.json | mbx-count-guard --to 3.6.1 -- cat",
    ),
    case(
        "mbx-count-guard --to 3.6.1 remote.json -- cat",
        &["no uidvalidity, or no modseqs", "mbx-parse --to"],
        "mbx-parse --to 3.6.1 remote.json | mbx-count-guard --to 3.6.1 -- cat",
    ),
    case(
        "mbx-count-guard --to 3.13.7 whole.json -- cat",
        &["no jmapId", "mbx-parse --to"],
        "mbx-parse --to 3.13.7 whole.json | mbx-count-guard --to 3.13.7 -- cat",
    ),
    case(
        "mbx-count-guard --to 3.0.18 padded -- cat",
        &["would not store as it is", "mbx-parse --to"],
        "mbx-parse --to 3.0.18 padded | mbx-count-guard --to 3.0.18 -- cat",
    ),
    case(
        "mbx-count-guard --to 2.3.7 list -- cat",
        &["mbx-parse --to 2.3.7 is missing"],
        "mbx-parse --to 2.3.7 list | mbx-count-guard --to 2.3.7 -- cat",
    ),
    // Rights and identifiers.
    case(
        "mbx-parse --seal --from 2.2.13 --to 2.3.19 letters | mbx-count-guard --sealed -- cat",
        &["rights that the target reads differently", "mbx-acl-rewrite"],
        "mbx-parse --seal --from 2.2.13 --to 2.3.19 letters | mbx-acl-rewrite | mbx-count-guard --sealed -- cat && \
         mbx-acl-rewrite letters | mbx-parse --seal --rights-rewritten --from 2.2.13 --to 2.3.19 | mbx-count-guard --sealed \
         -- cat",
    ),
    case(
        "mbx-parse --to 2.5.17 quoted",
        &["ACL with a byte that breaks the list", "q\"t", "mbx-acl-rewrite --id or --drop-id"],
        "mbx-acl-rewrite --id 'q\"t=qt' quoted | mbx-parse --to 2.5.17 && \
         mbx-acl-rewrite --drop-id 'q\"t' quoted | mbx-parse --to 2.5.17",
    ),
    case(
        "mbx-parse --to 2.5.11 blank",
        &["identifier with a blank", "mbx-acl-rewrite --id or --drop-id"],
        "mbx-acl-rewrite --drop-id 'j d' blank | mbx-parse --to 2.5.11",
    ),
    case(
        "mbx-parse --from 2.4.22 --to 3.6.1 twice",
        &["identifier twice in one ACL", "mbx-acl-rewrite", "--deleteright", "before mbx-parse --to"],
        "mbx-acl-rewrite --deleteright d --from 2.4.22 twice | mbx-parse --from 2.4.22 --to 3.6.1",
    ),
    case(
        "mbx-parse open",
        &["ACL not closed by a TAB", "give --from or --to of the release", "mend the line"],
        "mbx-parse --from 2.2.13 open && sed 's/$/\\t/' open | mbx-parse",
    ),
    // What the list is.
    case("mbx-parse unsure", &["--from RELEASE"], "mbx-parse --from 2.2.13 unsure"),
    case("mbx-parse --from 2.3 list", &["Name the release"], "mbx-parse --from 2.3.16 blank"),
    case(
        "mbx-parse --from 2.3.16 --to 3.6.1 flat-2.2-raw.txt",
        &["2.3.10 to 3.5", "up to 2.3.3", "give --from one of those releases"],
        "mbx-parse --from 2.2.13 --to 3.6.1 flat-2.2-raw.txt",
    ),
    case(
        "mbx-parse flat-escaped.txt",
        &["text of the database itself", "--to RELEASE", "--from RELEASE"],
        "mbx-parse --to 3.6.1 flat-escaped.txt && mbx-parse --from 2.4.22 flat-escaped.txt",
    ),
    case(
        "mbx-remap-part default=3 flat-escaped.txt",
        &["text of the database itself", "mbx-parse --to RELEASE reads it"],
        "mbx-parse --to 2.4.22 flat-escaped.txt | mbx-remap-part default=3",
    ),
    case(
        "mbx-parse --from 2.4.22 dbtool-2.5.txt",
        &["2.4.22 does not keep such records", "2.5 to 3.5"],
        "mbx-parse --from 3.4.9 dbtool-2.5.txt",
    ),
    case(
        "mbx-parse --to 3.6.1 letters-of-later",
        &["ACL that cannot be read", "2.5.0 to 2.5.11", "--from"],
        "mbx-parse --from 3.0.18 --to 3.6.1 letters-of-later",
    ),
    case(
        "mbx-parse lone-entries.json",
        &["lone-entries.json:1", "without the braces", "{ before the first", "} behind the last"],
        "(echo '{'; cat lone-entries.json; echo '}') | mbx-parse",
    ),
    case(
        "mbx-count-guard last-entry-cut-out.json",
        &["last-entry-cut-out.json:3", "by hand behind that of user.erin", "mbx-parse reads", "not UTF-8"],
        "mbx-parse last-entry-cut-out.json | mbx-count-guard",
    ),
    case("mbx-parse empty", &["--allow-empty"], "mbx-parse --allow-empty empty"),
];

#[test]
fn the_remedy_that_a_refusal_names_works() {
    let desk = Sandbox::of("3.0.18", "flat");
    desk.write("imapd.conf", desk.read("old.conf"));
    for entry in std::fs::read_dir(crate::harness::corpus().join("reports")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        desk.write(&name, read(format!("reports/{name}")));
    }
    let first = desk
        .read("old.dump")
        .split_inclusive(|b| *b == b'\n')
        .find(|line| line.starts_with(b"user.bob\t"))
        .unwrap()
        .to_vec();
    let place = String::from_utf8(first.clone()).unwrap();
    let partition = place.split(['\t', ' ']).nth(2).unwrap();
    desk.write("list", &first);
    desk.write("empty", b"");
    for (name, line) in [
        ("server", "user.x\t1 be.example.com x\tlrs\t"),
        ("split", "user.x\t1 be!default x\tlrs\t"),
        ("reserved", "user.x\t2 default x\tlrs\t"),
        ("calendar", "user.x.#cal\t32 default x\tlrs\t"),
        ("moving", "user.x\t8 be!default x\tlrs\t"),
        ("padded", "user.x\t00 default x\tlrs\t"),
        ("letters", "user.x\tdefault\tx\tlrsk\t"),
        ("quoted", "user.x\t0 default x\tlrs\tq\"t\tlrs\t"),
        ("blank", "user.x\t0 default x\tlrs\tj d\tlrs\t"),
        ("twice", "user.x\t0 default x\tlrsc\tx\tlrsd\t"),
        ("open", "user.x\tdefault\tx\tlrs"),
        ("unsure", "user.x\t1 \tx\tlrs\t"),
        ("letters-of-later", "user.x\t%(A %(x lrsyz) I 1234 P default V 1 C 1 F 1 M 1)"),
    ] {
        desk.write(name, format!("{line}\n"));
    }
    let numbers = r#""uidvalidity": "1", "createdmodseq": "1", "foldermodseq": "1", "#;
    for (name, mailbox, members) in [
        ("intermediate.json", "user.x", format!(r#"{numbers}"mbtype": "ei", "partition": "default", "acl": {{}}"#)),
        (
            "reserved.json",
            "user.x",
            format!(r#"{numbers}"mbtype": "elz", "partition": "default", "acl": {{}}, "uniqueid": "1234""#),
        ),
        (
            "unnumbered.json",
            "user.bob",
            format!(r#""mbtype": "el", "partition": "{partition}", "acl": {{}}, "uniqueid": "1234""#),
        ),
        (
            "remote.json",
            "user.x",
            r#""mbtype": "er", "partition": "default", "server": "be", "acl": {}, "uniqueid": "1234""#.to_string(),
        ),
        (
            "whole.json",
            "user.x",
            format!(r#"{numbers}"mbtype": "el", "partition": "default", "acl": {{}}, "uniqueid": "1234""#),
        ),
    ] {
        desk.write(name, format!("{{\n\"{mailbox}\": {{{members}}}\n}}\n"));
    }
    let mut failed = Vec::new();
    for Case { refused, says, remedy } in CASES {
        let ran = desk.sh(refused);
        let said = ran.err.lines().any(|line| says.iter().all(|word| line.contains(word)));
        if ran.status == 0 || !said {
            failed.push(format!("{refused}\nis not refused, or does not say {says:?}: {}", ran.tell()));
        }
        let ran = desk.sh(remedy);
        if ran.status != 0 || ran.out.split(|b| *b == b'\n').any(|line| line.starts_with(b"!mbx-abort")) {
            failed.push(format!("{refused}\nis not remedied by {remedy}: {}", ran.tell()));
        }
    }
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
}
