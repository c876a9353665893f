//! mbx-count-guard: the whole list, or nothing.

use crate::harness;
use crate::harness::{Sandbox, lines, read, run};

const TO: [&str; 2] = ["--to", "2.3.7"];

fn list() -> Vec<u8> {
    read("migration/expected.dump")
}

fn guard(options: &[&str], list: &[u8]) -> harness::Ran {
    run("count-guard", options, list)
}

#[test]
fn numbers() {
    guard(&["--min", "103"], &list()).expect(0).writes(&list());
    guard(&["--expect", "103"], &list()).expect(0).writes(&list());
    let ran = guard(&["--min", "104"], &list()).expect(1).says("103 mailboxes, fewer than --min 104");
    ran.says("103 in, 0 out, 103 held back").writes(b"!mbx-abort mbx-count-guard: the list was not let out\n");
    guard(&["--expect", "102"], &list()).expect(1).says("103 mailboxes, not --expect 102");
    // Both are told.
    guard(&["--min", "104", "--expect", "102"], &list()).expect(1).says("--min 104").says("--expect 102");
    // Tombstones are no mailboxes.
    let list = b"user.a\t0 default a\tlrs\t\nuser.b\t16 (null) \n";
    guard(&["--min", "2"], list).expect(1).says("1 mailboxes (1 tombstones and intermediates not counted)");
    guard(&["--expect", "1"], list).expect(0).writes(list);
}

#[test]
fn names_that_were_lost() {
    let sandbox = Sandbox::empty();
    let old = sandbox.write("old", read("migration/in.dump"));
    // Another dialect, other partitions, another order: the names count.
    let mut reversed = lines(&list());
    reversed.reverse();
    guard(&["--baseline", &old], &reversed.concat()).expect(0).writes(&reversed.concat());
    // Two lost and two new are two lost, whatever the number.
    let changed = [&lines(&list())[2..].concat()[..], b"user.new1\t0 3\tx\tlrs\t\nuser.new2\t0 3\tx\tlrs\t\n"].concat();
    let ran = guard(&["--baseline", &old], &changed).expect(1);
    ran.says("but lost: -dash\n").says("2 of the 103 mailboxes of").says("--max-lost allows 0");
    guard(&["--baseline", &old, "--max-lost", "2"], &changed).expect(0);
    guard(&["--baseline", &old, "--max-lost", "1%"], &changed).expect(1);
    guard(&["--baseline", &old, "--max-lost", "2%"], &changed).expect(0);
    guard(&["--baseline", "/no/such/list"], &list()).expect(2).says("/no/such/list");
    guard(&["--max-lost", "2"], &list()).expect(2);
}

#[test]
fn a_baseline_must_be_one() {
    let sandbox = Sandbox::empty();
    let empty = sandbox.write("empty", "");
    guard(&["--baseline", &empty, "--max-lost", "1%"], &list()).expect(1).says("the list is empty");
    guard(&["--compare-with", &empty], &list()).expect(1).says("the list is empty");
    // What is left of a mailbox that was deleted is no mailbox.
    let base = sandbox.write("base", "user.a\t0 default a\tlrs\t\nuser.b\t0 default b\tlrs\t\n");
    let now = b"user.a\t16 (null) \nuser.b\t0 default b\tlrs\t\n";
    guard(&["--baseline", &base], now).expect(1).says("but lost: user.a").says("1 of the 2 mailboxes");
    // Nor was a tombstone.
    let base = sandbox.write("base", "user.a\t0 default a\tlrs\t\nuser.b\t16 (null) \n");
    guard(&["--baseline", &base], b"user.a\t0 default\ta\tlrs\t\n").expect(0);
}

/// 3.0 and later take these names for user.ivy (facts/layout.md 1b): two mailboxes would share one directory.
#[test]
fn two_names_that_the_target_folds_into_one() {
    let entry = |name: &str| format!("{name}\t0 default a\tlrs\t\n");
    let list = |names: &[&str]| names.iter().map(|name| entry(name)).collect::<String>();
    let seal = |names: &[&str], to: &str| {
        run("parse", &["--seal", "--from", "2.4.22", "--to", to], list(names).as_bytes()).expect(0).out
    };
    for names in [
        &["user.ivy", "internal!user.ivy"][..],
        &["user..ivy", "user.ivy"],
        &["user..ivy", "user.ivy."],
        &["internal!user.ivy", ".user.ivy"],
    ] {
        for filter in ["parse", "count-guard"] {
            run(filter, &["--to", "3.0.18"], list(names).as_bytes())
                .expect(1)
                .says("name that the target takes for another (3.0.18 makes user.ivy of it");
        }
        guard(&["--sealed"], &seal(names, "2.4.22")).expect(0);
    }
    let tombstone = b"internal!user.x\t16 (null) \nuser.x\t0 default x\tlrs\t\n";
    guard(&["--unique", "--to", "3.0.18"], tombstone).expect(0);
    guard(&["--sealed"], &seal(&["user.ivy", "user.zoe", "a.b!user.ivy"], "3.0.18")).expect(0);
}

#[test]
fn a_mailbox_twice() {
    let twice = [&list()[..], b"user.frank\t0 3\tfrank\tlrs\t\n"].concat();
    guard(&["--unique"], &twice).expect(1).says("stdin:104: mailbox twice, also at stdin:100: user.frank");
    guard(&[], &twice).expect(0);
    let sealed = run("parse", &["--seal"], &twice).expect(0).out;
    guard(&["--sealed"], &sealed).expect(1).says("mailbox twice");
    // One name that begins with another is another name.
    guard(&["--unique"], b"user.a\t0 3\tx\tl\t\nuser.a!\t0 3\tx\tl\t\nuser.a.b\t0 3\tx\tl\t\nuser.ab\t0 3\tx\tl\t\n")
        .expect(0);
}

#[test]
fn another_list_entry_by_entry() {
    let sandbox = Sandbox::empty();
    let with = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&list()).replacen(from, to, 1);
        sandbox.write("other", text)
    };
    let other = sandbox.write("other", list());
    guard(&["--compare-with", &other], &list()).expect(0).writes(&list());
    let other = with("user.frank\t0 1\t", "user.frank\t0 2\t");
    guard(&["--compare-with", &other], &list()).expect(1).says("user.frank: partition: here 1, ").says("other 2\n");
    guard(&["--compare-with", &other, "--compare", "name,acl,mbtype"], &list()).expect(0);
    let other = with("user.frank\t0 1\tfrank\tlrswipkxtea", "user.frank\t0 1\tfrank\tlrswipkxte");
    guard(&["--compare-with", &other, "--compare", "acl"], &list())
        .expect(1)
        .says("user.frank: ACL: here 'frank\\tlrswipkxtea\\t'");
    let other = with("user.frank\t0 1\t", "user.frank\t4 1\t");
    guard(&["--compare-with", &other], &list()).expect(1).says("user.frank: mbtype: here 0");
    let other = with("user.frank\t", "user.frank2\t");
    guard(&["--compare-with", &other], &list()).expect(1).says("not in ").says("only in ").says(": user.frank2");
    // Another order of lines, another dialect, another order of identifiers: the same.
    let blank = run("parse", &["--from", "2.3.7", "--to", "2.4.22"], &list()).expect(0).out;
    let mut shuffled = lines(&blank);
    shuffled.reverse();
    let other = sandbox.write("other", shuffled.concat());
    guard(&["--compare-with", &other], &list()).expect(0);
    let (a, b) = (b"user.a\t0 3\tx\tlrs\ty\tp\t\n", b"user.a\t0 3\ty\tp\tx\tlrs\t\n");
    let other = sandbox.write("other", b);
    guard(&["--compare-with", &other], a).expect(0);
    // What one of them does not hold is not compared, and cannot be asked for.
    let old = sandbox.write("old", read("migration/in.dump"));
    guard(&["--compare-with", &old, "--compare", "name"], &list()).expect(0);
    guard(&["--compare-with", &old, "--compare", "mbtype"], &list()).expect(2).says("have no mbtype");
    guard(&["--compare-with", &old, "--compare", "uniqueid"], &list()).expect(2).says("both lists must be JSON lists");
}

#[test]
fn the_targets_limits_are_asked_again() {
    // A rights rewrite can make a line too long for the loader.
    let mut acl = String::new();
    while acl.len() < 16_200 {
        acl.push_str("somebody\tc\t");
    }
    let line = format!("user.long\t0 default {acl}\n");
    let parsed = run("parse", &["--from", "2.4.22", "--to", "3.0.18", "--seal"], line.as_bytes()).expect(0);
    let rewritten = run("acl-rewrite", &[], &parsed.out).expect(0);
    guard(&["--sealed"], &rewritten.out).expect(1).says("line too long for the loader").says("user.long");
    // And so can an identifier map make a list unreadable.
    let parsed = run("parse", &["--to", "3.0.18", "--seal"], b"user.a\t0 default bob\tlrs\t\n").expect(0);
    let renamed = run("acl-rewrite", &["--id", "bob=a\"b"], &parsed.out).expect(0);
    guard(&["--sealed"], &renamed.out).expect(1).says("ACL with a byte that breaks the list");
    guard(&["--to", "2.4.22"], b"user.a\t2 default a\tlrs\t\n").expect(1).says("reserved mailbox");
    guard(&["--to", "2.4.22"], b"user.a\t00 default a\tlrs\t\n").expect(1).says("mbx-parse --to mends it");
    // What starts something must know what it starts.
    guard(&["--", "cat"], &list()).expect(2).says("--to RELEASE is wanted");
}

#[test]
fn a_command_gets_the_list_as_a_file_and_is_listened_to() {
    let sandbox = Sandbox::empty();
    let with = |script: &str| {
        let options = [&TO[..], &["--min", "100", "--", "sh", "-c", script]].concat();
        guard(&options, &list())
    };
    with("cat").expect(0).writes(&list());
    // A file, not a pipe: nothing that the guard does later can cut it off.
    with("cat >/dev/null; test -f /proc/self/fd/0 || stat -L -c %F /dev/stdin").expect(0).writes(b"");
    with("head -c 10 >/dev/null; true").expect(1).says("bytes of the list, and no more");
    // `ctl_mboxlist -d` in the place of -u, or the loader of another file.
    with("true").expect(1).says("read nothing from its standard input").says("do not switch");
    with("cat </dev/stdin >/dev/null").expect(1).says("add --verify");
    with("cat >/dev/null; exit 75").expect(1).says("sh ended with exit status: 75: the list may be loaded in part");
    with("cat >/dev/null; kill -9 $$").expect(1).says("signal: 9");
    let said = "echo 'line 7: no partition found' >&2; cat >/dev/null";
    with(said).expect(1).says("line 7: no partition found\n").says("sh complained on stderr, lines: 1.");
    let options = [&TO[..], &["--", "/no/such/command"]].concat();
    guard(&options, &list()).expect(2).says("cannot run /no/such/command");
    // Not started at all if a condition does not hold.
    let file = sandbox.file("started");
    let options = [&TO[..], &["--min", "104", "--", "touch", &file]].concat();
    guard(&options, &list()).expect(1).writes(b"");
    assert!(!std::path::Path::new(&file).exists());
}

/// What the command leaves behind in the background may hold its stderr for ever.
#[test]
fn the_guard_ends_when_its_command_has_ended() {
    let sandbox = Sandbox::empty();
    sandbox.write("list", list());
    let with = |options: &str, script: &str| {
        let ran = sandbox.sh(&format!(
            "timeout 60 mbx-count-guard --to 2.3.7 {options} list -- sh -c '{script}'; status=$?; kill $(cat pid); exit $status"
        ));
        assert_ne!(ran.status, 124, "it waits: {script}: {}", ran.tell());
        ran
    };
    let pid = || String::from_utf8(sandbox.read("pid")).unwrap().trim().to_string();
    let leave = "sleep 1000 >/dev/null & echo $! >pid; ";
    let ran = with("", &format!("{leave} cat >/dev/null")).expect(0).says("103 in, 103 out\n");
    ran.says(&format!("sh has ended, but its stderr is still open in process {} (sleep)", pid()));
    // Its status, and what it said itself, count as ever.
    let ran = with("", &format!("{leave} cat >/dev/null; exit 75")).expect(1).says("exit status: 75");
    ran.says(&format!("process {} (sleep)", pid()));
    let ran = with("", &format!("{leave} cat >/dev/null; echo line 7: no partition found >&2")).expect(1);
    ran.says("line 7: no partition found\n").says("complained on stderr, lines: 1.").says("(sleep)");
    with("", &format!("{leave} printf half >&2; cat >/dev/null")).expect(1).says("half\n").says("lines: 1.");
    // So does what is said just behind the end, by what reads its stderr.
    let late = "cat >/dev/null; (sleep 0.3; echo late >&2) >/dev/null & echo $! >pid";
    with("", late).expect(1).says("late\n").says("complained on stderr, lines: 1.");
    // One that never stops saying something is not listened to for ever.
    let ran = with("2>said", "cat >/dev/null; (while echo x >&2; do sleep 0.1; done) >/dev/null & echo $! >pid");
    ran.expect(1);
    let said = String::from_utf8(sandbox.read("said")).unwrap();
    assert!(said.starts_with("x\n") && said.contains("complained on stderr") && said.contains("(sh"), "{said}");
    // What still has the list has not stored it yet, as far as anybody knows.
    let having = "exec 3<&0; sleep 1000 >/dev/null 2>&1 & exec 3<&-; echo $! >pid; cat >/dev/null";
    let ran = with("", having).expect(1).says("do not switch");
    ran.says(&format!("sh has ended, but process {} (sleep) still has the list", pid()));
    let ran = with("--verify \"cat list\"", having).expect(0);
    ran.says(&format!("process {} (sleep) still has the list", pid()));
    // The same of what --verify runs: what it prints may not be all.
    let ran = sandbox.sh(
        "timeout 60 mbx-count-guard --to 2.3.7 --verify 'sleep 1000 & echo $! >pid; cat list' list -- sh -c 'cat >/dev/null'
        status=$?; kill $(cat pid); exit $status",
    );
    let ran = ran.expect(1).says("--verify printed no list to compare with").says("do not switch");
    ran.says(&format!("its stdout is still open in process {} (sleep)", pid()));
}

#[test]
fn what_was_loaded_is_compared_with_what_was_meant() {
    let sandbox = Sandbox::empty();
    let db = sandbox.file("db");
    let load = format!("cat >{db}");
    let with = |verify: &str| {
        let verify = verify.replace("DB", &db);
        guard(&[&TO[..], &["--verify", &verify, "--", "sh", "-c", &load]].concat(), &list())
    };
    with("cat DB").expect(0).says("103 in, 103 out");
    // Opened anew it is not seen to be read; that it was loaded is.
    let anew = format!("cat </dev/stdin >{db}");
    let verify = format!("cat {db}");
    let ran = guard(&[&TO[..], &["--verify", &verify, "--", "sh", "-c", &anew]].concat(), &list());
    ran.expect(0).says("read nothing from its standard input");
    with("sort -r DB").expect(0);
    with("tac DB").expect(0);
    with("grep -v '^user.frank' DB").expect(1).says("not in the server's list: user.frank\n");
    with("cat DB; printf 'user.x\\t0 3\\tx\\tlrs\\t\\n'").expect(1).says("only in the server's list: user.x");
    let other = with("sed 's/^\\(user.frank\\t\\)0 1/\\13 1/' DB").expect(1);
    other.says("user.frank: mbtype: the list has 0, the server has 3");
    let other = with("sed 's/^\\(user.frank\\t.*\\)lrswipkxtea/\\1lrs/' DB").expect(1);
    other.says("user.frank: ACL: the list has 'frank\\tlrswipkxtea\\t', the server has 'frank\\tlrs\\t'");
    with("true").expect(1).says("not in the server's list");
    let failed = with("cat DB; exit 1")
        .expect(1)
        .says("ended with exit status: 1")
        .says("--verify printed no list to compare with");
    assert!(!failed.err.contains("server's list"), "{}", failed.err);
    with("head -c 3000 DB").expect(1);
    guard(&["--verify", "true"], &list()).expect(2);
    // An old list in another dialect is not what was loaded.
    let old = harness::corpus().join("migration/in.dump");
    with(&format!("cat {}", old.display())).expect(1);
}

#[test]
fn a_guard_that_is_content_changes_nothing() {
    let sealed = run("parse", &["--seal", "--from", "2.3.7"], &list()).expect(0).out;
    guard(&["--min", "1"], &sealed).expect(0).writes(&sealed);
    guard(&["--sealed", "--min", "1"], &sealed).expect(0).writes(&list());
    guard(&["--to", "2.3.7", "--", "cat"], &sealed).expect(0).writes(&list());
}

/// The guard asks again, with the configuration of the server that loads.
#[test]
fn names_under_the_targets_imapd_conf() {
    let sandbox = Sandbox::empty();
    let trash = sandbox.write("trash.conf", "deletedprefix: TRASH\n");
    let text = b"user.zoe\t0 default zoe\tlrs\t\nTRASH.user.zoe.Sent\t0 default zoe\tlrs\t\n";
    let entry = |name: &str, id: &str| {
        format!(
            r#""{name}": {{"mbtype": "el", "partition": "default", "acl": {{}}, "uniqueid": "{id}", "uidvalidity": "1", "createdmodseq": "1", "foldermodseq": "1"}}"#
        )
    };
    let json = format!("{{\n{},\n{}\n}}\n", entry("user.zoe", "id1"), entry("TRASH.user.zoe.Sent", "id2"));
    let refused = "makes user.zoe of it: its deletedprefix is TRASH): TRASH.user.zoe.Sent";
    guard(&["--to", "3.6.1", "-C", &trash], json.as_bytes()).expect(1).says(refused);
    guard(&["--to", "3.6.1"], json.as_bytes()).expect(0).says("looks like one of deleted mailboxes");
    guard(&["--to", "3.4.9", "-C", &trash], text).expect(1).says(refused);
    let domain = sandbox.write("domain.conf", "virtdomains: userid\ndefaultdomain: example.com\n");
    let list = b"user.x\t0 default x\tlrs\t\nexample.com!user.x\t0 default x\tlrs\t\n";
    for to in ["3.0.18", "3.2.6", "3.4.9"] {
        let told = format!("({to} makes user.x of it: its defaultdomain is example.com): example.com!user.x");
        guard(&["--to", to, "--unique", "-C", &domain], list).expect(1).says(&told);
    }
    guard(&["-C", &domain], list).expect(2).says("-C: --to RELEASE is wanted");
}
