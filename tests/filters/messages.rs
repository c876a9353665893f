//! What a beginner does wrong, and what is said then: what happened, to which, and what to do.
//!
//! A message may be worded anew, but not lose the words that stand here. It is one line, begins with its tool, and shows
//! nothing of how the tools are made.

use crate::harness::{Sandbox, read};

const CONF: &str = "configdirectory: conf\npartition-default: SPOOL\n";

fn desk() -> Sandbox {
    let desk = Sandbox::empty();
    let list = b"user.bob\tdefault\tbob\tlrswipcda\t\nuser.bob.Sent\t1\tbob\tlrswipcda\t\n".to_vec();
    desk.write("list", &list);
    desk.write("blank", b"user.bob\t0 default bob\tlrs\t\n");
    let json = br#"{
"user.bob": {"name": "user.bob", "mbtype": "e", "partition": "default", "acl": {"bob": "lrs"}}
}
"#;
    desk.write("json", json);
    desk.write("empty", b"");
    desk.write("mbox", b"From bob@example.com Mon Jan  1 00:00:00 2024\nSubject: hi\n\n");
    desk.write("mailboxes.db", b"\xa1\x02\x8b\x0dskiplist file\0\0\0\0\0\0\x01\0\0\0\x02");
    desk.write("utf16", b"\xff\xfeu\0s\0e\0r\0\n\0");
    desk.write("packed", b"\x1f\x8b\x08\x00\x01\n\r\x02\t\n");
    desk.write("crlf", b"user.bob\tdefault\tbob\tlrs\t\r\n");
    desk.write("cut", b"user.bob\tdefault\tbob\tlr");
    desk.write("old.dump", read("migration/in.dump"));
    std::fs::create_dir_all(desk.path().join("spool")).unwrap();
    std::fs::create_dir_all(desk.path().join("meta")).unwrap();
    let spool = desk.file("spool");
    desk.write("imapd.conf", CONF.replace("SPOOL", &spool));
    let meta = format!("metapartition-default: {}\nmetapartition_files: header\n", desk.file("meta"));
    desk.write("meta.conf", CONF.replace("SPOOL", &spool) + &meta);
    desk.write("unmounted.conf", CONF.replace("SPOOL", "/no/such/spool"));
    desk
}

/// What is done, its status, and words that one line of what is said must have.
const TABLE: &[(&str, i32, &[&str])] = &[
    // No list at all.
    ("mbx-parse packed", 2, &["packed", "gzip", "unpack", "gzip -dc"]),
    ("mbx-count-guard packed", 2, &["packed", "gzip", "unpack"]),
    ("mbx-parse mbox", 2, &["mbox", "mail in mbox format", "ctl_mboxlist -d"]),
    ("mbx-parse mailboxes.db", 2, &["mailboxes.db", "Cyrus database", "ctl_mboxlist -d -f"]),
    ("mbx-parse utf16", 2, &["utf16", "UTF-16", "iconv"]),
    (r"(printf '\377'; sleep 0.2; printf '\376u\0s\0\n\0') | mbx-parse", 2, &["stdin", "UTF-16", "iconv"]),
    ("mbx-parse empty", 1, &["list is empty", "wrong file", "--allow-empty"]),
    ("mbx-parse <empty", 1, &["list is empty", "--allow-empty"]),
    ("mbx-parse .", 2, &[".: ", "is a directory"]),
    ("mbx-parse nosuch", 2, &["nosuch", "No such file"]),
    ("(echo Welcome; cat list) | mbx-parse", 1, &["stdin:1", "no partition", "no TAB", "login banner", "Welcome"]),
    ("mbx-parse crlf", 1, &["crlf:1", "CR LF", "ssh -t", "tr -d '\\r'", "user.bob"]),
    ("mbx-parse cut", 1, &["cut:1", "no newline", "cut off", "user.bob"]),
    ("cat list blank | mbx-parse", 1, &["stdin:3", "another dialect", "2.3.3", "2.3.10", "joined", "user.bob"]),
    ("cat json json | mbx-parse", 1, &["stdin:4", "two lists are not one"]),
    ("mbx-parse json list", 2, &["json", "JSON list", "one by one"]),
    ("sed 's/^{/[/; s/^}/]/' json | mbx-parse", 2, &["stdin:1", "JSON array", "ctl_mboxlist -d"]),
    // Releases.
    ("mbx-parse --from 2.3 list", 2, &["--from", "2.3 spans", "2.3.4 to 2.3.7", "Name the release", "greeting"]),
    ("mbx-parse --from 2.9 list", 2, &["--from", "no such Cyrus", "2.0 to 2.5"]),
    ("mbx-parse --from Etch list", 2, &["--from", "Etch", "not a Cyrus release", "written 2.2.13"]),
    ("mbx-parse --to 3.14 list", 2, &["--to", "1.6 to 3.13"]),
    ("mbx-parse --from 3.6.1 list", 2, &["--from 3.6.1", "JSON", "2.3.3", "the release that printed it"]),
    ("mbx-parse --to '' list", 2, &["--to", "is not a Cyrus release", "written 2.2.13"]),
    ("mbx-check-paths -C imapd.conf --from 2.2 --fill json", 2, &["--fill", "--to RELEASE"]),
    ("mbx-count-guard list -- cat", 2, &["--to RELEASE is wanted"]),
    // Options of other days and other tools.
    ("mbx-parse -d list", 2, &["'-d'", "ctl_mboxlist -d", "--help"]),
    ("mbx-count-guard -u list", 2, &["'-u'", "-- ctl_mboxlist -u", "--help"]),
    ("mbx-remap-part -f list", 2, &["'-f'", "names a database", "operand"]),
    ("mbx-remap-part --partition 0=4 list", 2, &["'--partition'", "mbx-remap-part OLD=NEW"]),
    ("mbx-parse -o new list", 2, &["'-o'", ">FILE"]),
    ("mbx-check-paths --min 32000 list", 2, &["'--min'", "mbx-count-guard --min N"]),
    ("mbx-parse --sumary list", 2, &["'--sumary'", "'--summary'"]),
    ("mbx-count-guard 32000 list", 2, &["32000", "No such file", "--min"]),
    ("mbx-count-guard --min 32,000 list", 2, &["32,000", "--min", "digits only"]),
    ("mbx-acl-rewrite --deleteright z list", 2, &["--deleteright", "'z'", "one letter of lrswip"]),
    ("mbx-remap-part 0:4 list", 2, &["0:4", "No such file", "OLD=NEW"]),
    ("mbx-remap-part 0= list", 2, &["0=", "cannot be a partition", "a to z"]),
    ("mbx-remap-part =3 list", 2, &["=3", "OLD=NEW"]),
    ("cp list z; mbx-parse z >>z; s=$?; cmp list z && exit $s", 2, &["z: is written to here as well", "another file"]),
    ("cp list z; mbx-acl-rewrite <z 1<>z; s=$?; cmp list z && exit $s", 2, &["stdin: is written to here as well"]),
    ("cp list z; mbx-count-guard list z >>z; s=$?; cmp list z && exit $s", 2, &["z: is written to here as well"]),
    ("mbx-acl-rewrite --id alice=-alice list", 2, &["alice is to become -alice", "a grant of what is denied"]),
    ("mbx-acl-rewrite --id -bob=rob list", 2, &["-bob is to become rob", "takes its negative entries along"]),
    ("mbx-acl-rewrite --id x=y=z list", 2, &["--id x=y=z", "--id-map FILE"]),
    (
        "printf 'user.m\\t8 be m\\tlrs\\t\\nuser.n\\t8 be.example n\\tlrs\\t\\n' | mbx-parse --from 2.4.22 --to 3.0.18",
        1,
        &["stdin:2", "moving mailbox without server!partition", "end its XFER", "user.n"],
    ),
    (
        "printf 'user.m\\t8 be!p m\\tlrs\\t\\n' | mbx-parse --from 2.4.22 --to 2.5.17",
        1,
        &["stdin:1", "moving mailbox", "does not split server!partition", "user.m"],
    ),
    ("mbx-remap-part 0=4 0=5 list", 2, &["0", "both 4 and 5", "leave one out"]),
    ("mbx-acl-rewrite lrswipcda=lrswipkxtea list", 2, &["lrswipcda=lrswipkxtea", "--rights OLD=NEW"]),
    ("mbx-acl-rewrite --rights lrs list", 2, &["--rights lrs", "OLD=NEW"]),
    ("mbx-acl-rewrite --rights lrswipcda=all list", 2, &["--rights lrswipcda=all", "letters lrswipkxtean0123456789cd"]),
    ("mbx-acl-rewrite --grant cyrus list", 2, &["--grant cyrus", "ID=RIGHTS"]),
    ("mbx-acl-rewrite --grant cyrus=lrswipcda list", 2, &["--grant cyrus=lrswipcda", "kx for c, te for d"]),
    ("mbx-remap-part defualt=3 list", 0, &["no entry has partition defualt", "--summary"]),
    ("echo 'default;3' >map; mbx-remap-part --map map list", 2, &["map:1", "1 columns", "old,new"]),
    ("mbx-acl-rewrite --id bob list", 2, &["--id bob", "OLD=NEW"]),
    ("mbx-parse --only empty list", 2, &["empty", "names no mailbox", "user.bob", "a line"]),
    ("mbx-parse --reject list list", 2, &["list", "already reads or writes that file", "another name"]),
    ("mbx-parse --rights-rewritten list", 2, &["--seal"]),
    ("mbx-count-guard --max-lost 3 list", 2, &["an option of this command line requires", "--baseline"]),
    ("mbx-count-guard --verify 'cat db' list", 2, &["an option of this command line requires", "-- COMMAND"]),
    // Commands.
    ("PATH=${PATH%%:*} mbx-parse -- ctl_mboxlist -d", 2, &["ctl_mboxlist", "not in PATH", "/usr/lib/cyrus/bin"]),
    ("PATH=${PATH%%:*} mbx-count-guard --to 2.2.13 list -- ctl_mboxlist -u", 2, &["ctl_mboxlist", "not in PATH"]),
    ("mbx-parse -- 'cat list'", 2, &["cannot run 'cat list'", "one by one", "not quoted together"]),
    ("mbx-parse --seal ctl_mboxlist -d", 2, &["'-d'", "after a separate --", "mbx-parse --seal -- ctl_mboxlist -d"]),
    ("mbx-count-guard --to 2.2.13 list -- true", 1, &["true", "read nothing", "is it what loads the list?"]),
    ("mbx-parse --seal list | mbx-count-guard --sealed", 0, &["nobody told --to", "was not asked"]),
    (
        "sed 's/\"lrs\"/&,\"ann\":\"l\"/' json | mbx-acl-rewrite --id bob=ann",
        1,
        &["stdin:2", "two identifiers that become one", "ann", "--drop-id"],
    ),
    ("mbx-parse -- sh -c 'cat list; exit 3'", 1, &["exit status: 3", "cannot be trusted", "what it said"]),
    ("mbx-count-guard --to 2.2.13 list -- sh -c 'cat >/dev/null; echo no >&2'", 1, &["complained", "lines: 1"]),
    ("LOADER=; mbx-count-guard --to 2.2.13 list -- $LOADER", 2, &["no command after --", "variable empty"]),
    ("mbx-parse --seal -- <list", 2, &["no command after --"]),
    ("mbx-count-guard --to 2.2.13 --verify false list -- sh -c 'cat >loaded'", 1, &["false", "exit status: 1"]),
    (
        "mbx-count-guard --to 2.2.13 --verify false list -- sh -c 'cat >loaded'",
        1,
        &["not known", "--verify printed no list"],
    ),
    ("mbx-count-guard --to 2.2.13 --verify false list -- sh -c 'cat >loaded'", 1, &["2 in, 2 out", "do not switch"]),
    // The order of things.
    ("mbx-count-guard --sealed list", 1, &["not sealed", "mbx-parse --seal"]),
    ("mbx-parse --seal list | grep bob.Sent | mbx-count-guard --sealed", 1, &["not sealed", "no grep"]),
    (
        "mbx-parse --seal list | sed 2d | mbx-count-guard --sealed",
        1,
        &["says 2 entries, 1 came", "before mbx-parse --seal"],
    ),
    (
        "mbx-parse --seal list | sed s/lrs/l/ | mbx-count-guard --sealed",
        1,
        &["stdin:4", "changed", "before mbx-parse --seal"],
    ),
    ("mbx-parse --seal list | head -n 2 | mbx-parse", 1, &["no end mark", "cut off"]),
    ("mbx-parse --require-end list", 1, &["no end mark", "cut off", "ssh old 'ctl_mboxlist -d && echo \\!mbx-end'"]),
    ("mbx-parse --from 2.2.13 --to 3.6.1 old.dump >new", 1, &["mend", "--reject FILE"]),
    (
        "mbx-parse --seal list >s; cat s s | mbx-parse",
        1,
        &["behind the end mark", "join lists before mbx-parse --seal"],
    ),
    ("mbx-parse --seal list >s; mbx-parse s s", 1, &["behind the end mark", "join lists before"]),
    ("mbx-parse --to 2.3.7 --seal list | mbx-parse --to 3.6.1", 2, &["--to 3.6.1", "2.3.7", "tell it once"]),
    ("mbx-count-guard --to 2.3.7 list -- cat", 1, &["2.3.4 to 2.3.9", "mbx-parse --to 2.3.7 is missing"]),
    (
        "mbx-parse --to 3.6.1 list | mbx-count-guard --to 3.6.1 -- cat",
        1,
        &["stdin:2", "no uniqueid", "mbx-check-paths --fill", "user.bob"],
    ),
    ("mbx-count-guard --to 3.6.1 json -- cat", 1, &["json:2", "no uniqueid", "mbx-check-paths --fill", "user.bob"]),
    ("mbx-check-paths -C imapd.conf json", 1, &["json:2", "no uniqueid", "ctl_mboxlist -d", "user.bob"]),
    (
        "mbx-check-paths -C imapd.conf --from 2.2.13 --to 3.6.1 --fill list",
        2,
        &["--fill", "mbx-parse --to RELEASE", "before"],
    ),
    (
        "mbx-acl-rewrite list | mbx-parse --from 2.2.13 --to 2.3.7",
        0,
        &["stdin:1", "mbx-acl-rewrite behind mbx-parse", "user.bob"],
    ),
    // The host.
    ("mbx-check-paths list", 2, &["-C FILE is wanted", "imapd.conf"]),
    ("mbx-mkmeta list", 2, &["-C FILE is wanted", "imapd.conf"]),
    ("mbx-check-paths -C nosuch.conf list", 2, &["nosuch.conf", "No such file"]),
    ("mbx-check-paths -C list list", 2, &["list:1", "is it an imapd.conf?"]),
    ("mbx-remap-part -C imapd.conf list", 1, &["list:2", "not declared", "imapd.conf", "1=NEW", "user.bob.Sent"]),
    ("mbx-remap-part --strict 1=default list", 1, &["list:1", "without a rename", "default=default", "user.bob"]),
    (
        "sed 1d list | mbx-check-paths -C imapd.conf --from 2.2.13",
        2,
        &["stdin:1", "partition 1", "not declared", "imapd.conf", "declare it", "mbx-remap-part 1=NEW"],
    ),
    ("mbx-check-paths -C unmounted.conf --from 2.2.13 list", 2, &["partition default", "/no/such/spool", "mounted"]),
    (
        "head -n 1 list | mbx-check-paths -C imapd.conf --from 2.2.13",
        2,
        &["partition default", "spool", "no mailbox", "mounted"],
    ),
    (
        "head -n 1 list | mbx-mkmeta -C meta.conf --from 2.2.13 --move",
        1,
        &["stdin:1", "no file in the spool or on the metapartition", "cyrus.header", "mbx-check-paths", "user.bob"],
    ),
    ("mbx-mkmeta -C meta.conf --owner nobodyatall list", 2, &["--owner nobodyatall", "no such user"]),
    (
        "mbx-parse --seal list | mbx-mkmeta -C meta.conf --from 2.2.13 --move",
        2,
        &["--move", "sealed", "mbx-count-guard"],
    ),
    // What the target refuses.
    (
        "mbx-parse -n --from 2.2.13 --to 3.6.1 old.dump",
        1,
        &["old.dump:36", "mailbox name too long", "490", "489", "shared.long490"],
    ),
    ("mbx-parse -n --to 3.6.1 old.dump", 1, &["no uniqueid", "mbx-check-paths --fill"]),
    (
        "printf 'user.x\\t2 default x\\tlrs\\t\\n' | mbx-parse --to 3.0.18",
        1,
        &["stdin:1", "reserved mailbox", "deletes", "--drop reserve", "user.x"],
    ),
    (
        "printf 'user.x\\t1 be!p x\\tlrs\\t\\n' | mbx-parse --to 3.6.1",
        1,
        &["stdin:1", "remote mailbox", "--drop remote", "user.x"],
    ),
    (
        "printf 'user.x\\t0 default x\\tlrs' | tr '\\n' x | sed 's/$/\\n/' | mbx-parse",
        1,
        &["stdin:1", "ACL not closed", "mend the line", "user.x"],
    ),
    ("printf 'user.x\\t\\tx\\tlrs\\t\\n' | mbx-parse", 1, &["stdin:1", "no partition", "mend the line", "user.x"]),
    ("mbx-count-guard --min 32000 list", 1, &["2 mailboxes", "fewer than --min 32,000"]),
    ("cat list list | mbx-count-guard --unique", 1, &["stdin:3", "mailbox twice", "stdin:1", "user.bob"]),
    ("mbx-count-guard --baseline old.dump list", 1, &["old.dump", "lost", "--max-lost"]),
];

/// The same with a real list and its spool.
const WITH_SPOOL: &[(&str, i32, &[&str])] = &[
    (
        "sed 's/hashimapspool: no/hashimapspool: yes/' old.conf >hashed.conf
        mbx-check-paths -C hashed.conf --from 3.0.18 old.dump",
        1,
        &["more than half of a partition", "wrong map", "not mounted", "hashing", "--max-missing"],
    ),
    (
        "mbx-check-paths -C hashed.conf --from 3.0.18 old.dump",
        1,
        &["17 of 17", "partition 0", "spool/0", "hashed otherwise (flat)"],
    ),
    ("mbx-check-paths -C old.conf --no-drop list", 2, &["list", "No such file"]),
    (
        "rm spool/*/user/bob/cyrus.header; mbx-check-paths -C old.conf --from 3.0.18 old.dump",
        0,
        &["old.dump:", "no cyrus.header", "/user/bob/cyrus.header", ": user.bob"],
    ),
    (
        "mbx-check-paths -C old.conf --from 3.0.18 --max-missing 0 old.dump",
        1,
        &["1 of ", "missing", "--max-missing allows 0"],
    ),
];

#[test]
fn what_is_said_suffices() {
    judge(&desk(), TABLE);
}

#[test]
fn what_is_said_of_a_spool_suffices() {
    judge(&Sandbox::of("3.0.18", "flat"), WITH_SPOOL);
}

#[track_caller]
fn judge(desk: &Sandbox, table: &[(&str, i32, &[&str])]) {
    let mut failed = Vec::new();
    for (script, status, words) in table {
        // The last tool that the script names is the one that says it.
        let tool = script.split_whitespace().rfind(|word| word.starts_with("mbx-")).unwrap();
        let ran = desk.sh(script);
        let good = |line: &&str| line.starts_with(&format!("{tool}: ")) && words.iter().all(|word| line.contains(word));
        let said = ran.err.lines().any(|line| good(&line));
        let inside = ["os error", "Some(", "Err(", "panicked", "RUST_"].iter().any(|word| ran.err.contains(word));
        // One line on a wide screen, but for names and lists of what there is to choose from.
        let long = ran.err.lines().find(|line| line.len() > 420);
        if ran.status != *status || !said || inside || long.is_some() {
            failed.push(format!("{script}\nwanted {status} and {words:?}; {}", ran.tell()));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), table.len(), failed.join("\n"));
}
