//! What goes wrong: nothing half-loaded, and a status that says so.

use crate::harness;
use crate::harness::{Sandbox, account, lines, read, run};

/// Each filter with options under which it lets the migrated list through.
fn filters(sandbox: &Sandbox) -> Vec<(&'static str, Vec<String>)> {
    let conf = sandbox.file("new.conf");
    vec![
        ("parse", vec![]),
        ("remap-part", vec!["nosuch=x".into()]),
        ("acl-rewrite", vec!["--id".into(), "nosuch=x".into()]),
        ("check-paths", vec!["-C".into(), conf.clone()]),
        ("mkmeta", vec!["-C".into(), conf]),
        ("count-guard", vec!["--min".into(), "1".into()]),
    ]
}

fn sealed() -> Vec<u8> {
    run("parse", &["--from", "2.2.13", "--to", "2.3.7", "--seal"], &migrated()).expect(0).out
}

/// The old list with the new partitions.
fn migrated() -> Vec<u8> {
    run("remap-part", &["default=3", "0=4"], &read("migration/in.dump")).expect(0).out
}

fn last_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(lines(bytes).last().map_or(&b""[..], Vec::as_slice)).into_owned()
}

#[test]
fn a_sealed_list_that_stops_in_the_middle_goes_nowhere() {
    let sandbox = Sandbox::migrated();
    let whole = sealed();
    let all = lines(&whole);
    let cuts = [
        ("no end mark", all[..all.len() - 1].concat()),
        ("half", all[..all.len() / 2].concat()),
        ("only its head", all[..1].concat()),
        ("in the middle of a line", whole[..whole.len() / 2].to_vec()),
        ("in the middle of the end mark", whole[..whole.len() - 2].to_vec()),
        ("an entry less", [&all[..10], &all[11..]].concat().concat()),
        ("an entry more", [&all[..10], &all[9..]].concat().concat()),
        ("something behind", [&whole[..], &all[5]].concat()),
        ("twice", [&whole[..], &whole[..]].concat()),
        ("a mark in the middle", [&all[..10].concat()[..], b"!mbx-list\n", &all[10..].concat()].concat()),
        ("another end", [&all[..10].concat()[..], b"!mbx-end 9\n", &all[10..].concat()].concat()),
        ("an end without a count", [&all[..all.len() - 1].concat()[..], b"!mbx-end\n"].concat()),
        ("a letter less", String::from_utf8_lossy(&whole).replacen("lrswipcda", "lrswipcd", 1).into_bytes()),
        ("another release", String::from_utf8_lossy(&whole).replacen("2.2.13", "2.2.12", 1).into_bytes()),
        ("another sum", [&whole[..whole.len() - 9], b"00000bad\n"].concat()),
        ("a sum without a count", [&all[..all.len() - 1].concat()[..], &whole[whole.len() - 9..]].concat()),
        ("an unknown mark", [&all[..10].concat()[..], b"!mbx-what\n", &all[10..].concat()].concat()),
    ];
    for (filter, options) in filters(&sandbox) {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        for (what, list) in &cuts {
            let ran = run(filter, &options, list);
            assert_eq!(ran.status, 1, "mbx-{filter}: {what}: {}", ran.tell());
            let last = last_line(&ran.out);
            assert!(last.starts_with(&format!("!mbx-abort mbx-{filter}: ")), "mbx-{filter}: {what}: {}", ran.tell());
            // And whatever stands behind it, up to the command, sees nothing.
            let guard = ["--sealed", "--", "sh", "-c", "echo STARTED"];
            let behind = run("count-guard", &guard, &ran.out);
            assert_eq!((behind.status, behind.out.len()), (1, 0), "mbx-{filter}: {what}: {}", behind.tell());
        }
    }
}

#[test]
fn a_source_that_fails_lets_nothing_through() {
    let sandbox = Sandbox::migrated();
    sandbox.write("list", migrated());
    for (source, what) in [
        ("sh -c 'cat list; exit 3'", "exit status: 3"),
        ("sh -c 'cat list; kill -9 $$'", "signal: 9"),
        ("sh -c 'head -c 3000 list; exit 1'", "no newline at the end"),
        ("sh -c 'exit 75'", "exit status: 75"),
        ("/no/such/command", "cannot run /no/such/command"),
        ("true", "the list is empty"),
    ] {
        for options in ["--seal", ""] {
            let script = format!(
                "mbx-parse {options} --from 2.2.13 --to 2.3.7 -- {source} | mbx-acl-rewrite \
                 | mbx-count-guard --to 2.3.7 -- sh -c 'echo STARTED'"
            );
            let ran = sandbox.sh(&script);
            assert!(matches!(ran.status, 1 | 2), "{source}: {}", ran.tell());
            assert!(ran.out.is_empty(), "{source}: {}", ran.tell());
            ran.says(what);
        }
    }
    // The same list from a source that ends well.
    let script = "mbx-parse --seal --from 2.2.13 --to 2.3.7 -- cat list | mbx-count-guard --sealed -- wc -l";
    assert_eq!(String::from_utf8(sandbox.sh(script).expect(0).out).unwrap().trim(), "103");
}

/// A list that something left behind by its command may still go on with is not known to be whole.
#[test]
fn a_source_that_leaves_its_stdout_open_is_not_whole() {
    let sandbox = Sandbox::migrated();
    sandbox.write("list", migrated());
    sandbox.write("json", read("3.6.1/flat/dump.txt"));
    for (list, options) in [("list", "--seal"), ("list", ""), ("json", "--seal"), ("list", "--summary")] {
        let script = |script: &str| {
            let ran = sandbox.sh(&format!(
                "timeout 60 mbx-parse {options} -- sh -c '{script}'; status=$?; kill $(cat pid) 2>/dev/null; exit $status"
            ));
            assert_ne!(ran.status, 124, "it waits: {script}: {}", ran.tell());
            ran
        };
        let ran = script(&format!("sleep 1000 & echo $! >pid; cat {list}")).expect(1);
        let pid = String::from_utf8(sandbox.read("pid")).unwrap();
        let ran = ran.says(&format!("its stdout is still open in process {} (sleep)", pid.trim()));
        assert!(options == "--summary" || last_line(&ran.out).starts_with("!mbx-abort mbx-parse: "), "{}", ran.tell());
        script(&format!("sleep 1000 & echo $! >pid; cat {list}; exit 3")).expect(1).says("exit status: 3");
        // What comes to its end soon after is waited for.
        let late = format!("(sleep 0.3; cat {list}) & true");
        let whole = script(&late).expect(0);
        assert!(whole.out == script(&format!("cat {list}")).expect(0).out, "{}", whole.tell());
    }
}

#[test]
fn a_filter_that_is_killed_is_noticed() {
    let sandbox = Sandbox::migrated();
    let sealed = sandbox.write("sealed", sealed());
    for filter in ["mbx-remap-part", "mbx-acl-rewrite", "mbx-check-paths -C new.conf", "mbx-mkmeta -C new.conf"] {
        // The filter has read and written half of the list when it dies.
        let script = format!(
            "mkfifo fifo; sh -c '{{ head -c 4000 {sealed}; sleep 1; }} >fifo' & \
             {{ {filter} <fifo & pid=$!; sleep 0.3; kill -9 $pid; wait $pid; }} 2>/dev/null \
             | mbx-count-guard --sealed -- sh -c 'echo STARTED'; status=$?; rm fifo; exit $status"
        );
        let ran = sandbox.sh(&script).expect(1);
        assert!(ran.out.is_empty(), "{filter}: {}", ran.tell());
    }
}

#[test]
fn an_abort_goes_all_the_way_down() {
    let sandbox = Sandbox::migrated();
    let mark = b"!mbx-abort mbx-parse: dump.txt:17: no partition: user.bob\n";
    let all = lines(&sealed());
    let list = [&all[..20].concat()[..], mark, &all[20..].concat()].concat();
    for (filter, options) in filters(&sandbox) {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let ran = run(filter, &options, &list).expect(1);
        if filter == "count-guard" {
            assert_eq!(ran.out, b"!mbx-abort mbx-count-guard: the list was not let out\n");
            ran.says("aborted upstream: mbx-parse: dump.txt:17: no partition: user.bob");
        } else {
            assert_eq!(ran.out, [&all[..20].concat()[..], mark].concat(), "mbx-{filter}: {}", ran.tell());
        }
    }
    // Through all six, without a seal as well.
    sandbox.write("list", "user.bob\n");
    let script = "mbx-parse --from 2.2.13 --to 2.3.7 list | mbx-remap-part a=b | mbx-acl-rewrite \
        | mbx-check-paths -C new.conf | mbx-mkmeta -C new.conf | mbx-count-guard -- sh -c 'echo STARTED'";
    let ran = sandbox.sh(script).expect(1);
    assert!(ran.out.is_empty());
    ran.says("mbx-parse: list:1: no partition")
        .says("mbx-count-guard: aborted upstream: mbx-parse: list:1: no partition");
}

/// Each filter with options that let the migrated list through, as a shell has them.
const QUIET: [&str; 6] = [
    "mbx-parse",
    "mbx-remap-part nosuch=x",
    "mbx-acl-rewrite --id nosuch=x",
    "mbx-check-paths -C new.conf --from 2.2.13",
    "mbx-mkmeta -C new.conf --from 2.2.13",
    "mbx-count-guard",
];

/// A sandbox with the migrated list, sound, with a line that is no entry, with a mailbox that is not on disk, and
/// without one that is.
fn lists() -> Sandbox {
    let sandbox = Sandbox::migrated();
    let list = migrated();
    let bob = list.windows(9).position(|name| name == b"\nuser.bob").unwrap() + 1;
    let line = list[bob..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    sandbox.write("list", &list);
    sandbox.write("bad", [&list[..], b"user.zz\n"].concat());
    sandbox.write("gone", [&list[..], b"user.zz\t3\tzz\tlrs\t\n"].concat());
    sandbox.write("less", [&list[..bob], &list[bob + line..]].concat());
    sandbox
}

/// Whatever is broken, the message names the filter and the file, and nothing is let through behind it.
#[track_caller]
fn trouble(sandbox: &Sandbox, script: &str, status: i32, says: &str) {
    let tool = script.split_whitespace().find(|word| word.starts_with("mbx-")).unwrap();
    let ran = sandbox.sh(script);
    assert_eq!(ran.status, status, "{script}: {}", ran.tell());
    assert!(ran.err.contains(&format!("{tool}: {says}")), "{script}: {says}: {}", ran.tell());
    assert!(!ran.err.contains("os error"), "{script}: {}", ran.tell());
    assert!(ran.err.lines().all(|line| line.starts_with(tool)), "{script}: {}", ran.tell());
    let behind = sandbox.sh(&format!("{{ {script}; }} 2>/dev/null | mbx-count-guard --from 2.2.13 --to 2.2.13 -- cat"));
    assert!(behind.status != 0 && behind.out.is_empty(), "{script}: {}", behind.tell());
}

#[test]
fn nowhere_to_write_is_trouble() {
    const FULL: &str = "No space left on device";
    let sandbox = lists();
    for filter in QUIET {
        trouble(&sandbox, &format!("{filter} list >/dev/full"), 2, &format!("stdout: cannot write: {FULL}"));
        trouble(&sandbox, &format!("{filter} --help >/dev/full"), 2, &format!("stdout: cannot write: {FULL}"));
    }
    for view in ["--summary", "--format csv", "--format jsonl"] {
        trouble(&sandbox, &format!("mbx-parse {view} list >/dev/full"), 2, &format!("stdout: cannot write: {FULL}"));
    }
    for (filter, option, list) in [
        ("mbx-parse", "--reject", "bad"),
        ("mbx-remap-part 3=x", "--moves", "list"),
        ("mbx-remap-part 3=x", "--reject", "bad"),
        ("mbx-acl-rewrite", "--reject", "bad"),
        ("mbx-check-paths -C new.conf --from 2.2.13", "--reject", "bad"),
        ("mbx-check-paths -C new.conf --from 2.2.13", "--missing", "gone"),
        ("mbx-check-paths -C new.conf --from 2.2.13", "--report", "list"),
        ("mbx-check-paths -C new.conf --from 2.2.13", "--report", "gone"),
        ("mbx-check-paths -C new.conf --from 2.2.13", "--orphans", "less"),
        ("mbx-mkmeta -C new.conf --from 2.2.13", "--reject", "bad"),
    ] {
        let script = |file: &str| format!("{filter} {option} {file} {list}");
        trouble(&sandbox, &script("/dev/full"), 2, &format!("{option} /dev/full: cannot write: {FULL}"));
        trouble(&sandbox, &script("/no/such/dir/file"), 2, "/no/such/dir/file: No such file or directory");
        trouble(&sandbox, &script("spool"), 2, "spool: Is a directory");
    }
}

#[test]
fn nothing_to_read_is_trouble() {
    let sandbox = lists();
    for filter in QUIET {
        trouble(&sandbox, &format!("{filter} nosuch"), 2, "nosuch: No such file or directory");
        trouble(&sandbox, &format!("{filter} list nosuch"), 2, "nosuch: No such file or directory");
        trouble(&sandbox, &format!("{filter} spool"), 2, "spool: is a directory, not a mailbox list");
        trouble(&sandbox, &format!("{filter} <spool"), 2, "stdin: cannot read: Is a directory");
        trouble(&sandbox, &format!("{filter} /proc/self/mem"), 2, "/proc/self/mem: cannot read: Input/output error");
        trouble(&sandbox, &format!("{filter} <&-"), 1, "the list is empty");
    }
    for filter in [
        "mbx-parse --only",
        "mbx-remap-part --map",
        "mbx-remap-part 3=x -C",
        "mbx-acl-rewrite --id-map",
        "mbx-check-paths --from 2.2.13 -C",
        "mbx-mkmeta --from 2.2.13 -C",
        "mbx-count-guard --baseline",
        "mbx-count-guard --compare-with",
    ] {
        trouble(&sandbox, &format!("{filter} nosuch list"), 2, "nosuch: No such file or directory");
        let is_a_list = filter.starts_with("mbx-count-guard");
        let what = if is_a_list { "is a directory, not a mailbox list" } else { "Is a directory" };
        trouble(&sandbox, &format!("{filter} spool list"), 2, &format!("spool: {what}"));
    }
    // What a configuration goes on with.
    sandbox.write("half.conf", [&sandbox.read("new.conf")[..], b"@include: nosuch.conf\n"].concat());
    for filter in ["mbx-remap-part 3=x", "mbx-check-paths --from 2.2.13", "mbx-mkmeta --from 2.2.13"] {
        trouble(
            &sandbox,
            &format!("{filter} -C half.conf list"),
            2,
            "half.conf:26: @include: nosuch.conf: No such file",
        );
    }
    // What was there when it began.
    for filter in QUIET {
        let script = format!(
            "cp list second; mkfifo first; {{ cat list; rm second; }} >first & {filter} first second; status=$?; rm first; (exit $status)"
        );
        trouble(&sandbox, &script, 2, "second: No such file or directory");
    }
}

/// The temporary files of the guard: the list, and what it sorts it by.
#[test]
fn no_room_for_the_guard_is_trouble() {
    let sandbox = lists();
    let rights = "lrs".repeat(700);
    let list: String = (0..8_000).map(|i| format!("user.u{i:05}\t0 3\tu{i}\t{rights}\t\n")).collect();
    sandbox.write("big", &list);
    let guard = "mbx-count-guard --unique --to 2.3.7 big -- cat";
    trouble(
        &sandbox,
        &format!("TMPDIR=/no/such/dir {guard}"),
        2,
        "temporary file in /no/such/dir (TMPDIR): No such file",
    );
    // SIGXFSZ ignored, a write beyond the limit fails as on a full disk. Of blocks of 512 bytes the list has 33,000.
    let limited = |blocks: u32| format!("trap '' XFSZ; ulimit -f {blocks}; {guard}");
    trouble(&sandbox, &limited(20_000), 2, "the temporary file: cannot write: File too large");
    // A disk on which there is room for the list, and not for its sorting.
    for (megabytes, says) in [(8, "the temporary file: cannot write"), (20, "temporary file in /")] {
        let script =
            format!("unshare -m sh -c 'mount -t tmpfs -o size={megabytes}m none full && TMPDIR=$PWD/full {guard}'");
        if sandbox.sh("mkdir full && unshare -m mount -t tmpfs none full").status == 0 {
            let ran = sandbox.sh(&script).expect(2).writes(b"");
            ran.says(&format!("mbx-count-guard: {says}")).says("No space left on device");
        }
        sandbox.sh("rmdir full").expect(0);
    }
    // There is enough.
    assert!(sandbox.sh(guard).expect(0).out == list.as_bytes());
}

#[test]
fn a_reader_that_goes_away_is_141_and_silence() {
    let sandbox = lists();
    let gone = |script: &str| {
        let ran = sandbox.sh(script);
        assert_eq!(ran.out, b"141\n", "{script}: {}", ran.tell());
        assert_eq!(ran.err, "", "{script}");
    };
    // Before anything was written. What waits for the end of the reader is its other pipe.
    for filter in QUIET {
        gone(
            &format!("{{ {{ cat end; {filter} list; echo $? >status; }} 3>&- | :; }} ; cat status")
                .replace("cat end", "sleep 0.2"),
        );
    }
    // In the middle: more than the pipe holds, which is a MiB.
    let big: Vec<u8> = (0..200_000).flat_map(|i| format!("user.u{i}\t0 3\tu{i}\tlrs\t\n").into_bytes()).collect();
    sandbox.write("big", big);
    for filter in ["mbx-parse", "mbx-remap-part 3=4", "mbx-acl-rewrite", "mbx-count-guard", "mbx-mkmeta -C new.conf"] {
        gone(&format!("{{ {filter} big; echo $? >status; }} | head -c 10 >/dev/null; cat status"));
    }
}

#[test]
fn what_is_no_list_gets_a_true_answer() {
    let sandbox = Sandbox::empty();
    let elf = std::fs::read(harness::bin().join("mbx-parse")).unwrap()[..60_000].to_vec();
    let crlf = b"user.a\tdefault\ta\tlrs\t\r\nuser.b\tdefault\tb\tlrs\t\r\n".to_vec();
    let json = read("3.6.1/flat/dump.txt");
    for (list, status, what) in [
        (b"".to_vec(), 1, "the list is empty"),
        (elf, 1, "NUL byte"),
        (b"hello\n".to_vec(), 1, "stdin:1: no partition (the line has no TAB, so it is no entry: a login banner"),
        (crlf, 1, "stdin:1: line ends in CR LF (`ssh -t` adds the CRs"),
        (b"\xef\xbb\xbfuser.a\tdefault\ta\tlrs\t\n".to_vec(), 1, "begins with a byte order mark"),
        (json[..json.len() / 2].to_vec(), 1, ": it was cut off, or what wrote it died"),
        (json[..json.len() - 2].to_vec(), 1, ": it was cut off, or what wrote it died"),
        ([&json[..], &json[..]].concat(), 1, "two lists are not one"),
        ([b"\xef\xbb\xbf", &json[..]].concat(), 1, "begins with a byte order mark"),
        (b"{".to_vec(), 1, "stdin:1: the list ends in the middle"),
        (b"[{}]".to_vec(), 2, "JSON array"),
        (
            b"user.a\tdefault\ta\tlrs\t".to_vec(),
            1,
            "stdin:1: no newline at the end (no server leaves it out: the list was cut off here): user.a",
        ),
        (b"user.a\tdefault\ta\tlrs\t\n\n".to_vec(), 1, "stdin:2: blank line"),
        (b"user.a\tdefault\ta\tlrs\t\nuser.b\t0 default b\tlrs\t\n".to_vec(), 1, "stdin:2: line of another dialect"),
        (b"user.a\tdefault\ta\tl\0rs\t\n".to_vec(), 1, "NUL byte"),
        (b"user.a\t0 \ta\tlrs\t\n".to_vec(), 2, "--from RELEASE"),
    ] {
        for filter in ["parse", "remap-part", "acl-rewrite", "count-guard"] {
            let ran = run(filter, &[], &list).expect(status);
            assert!(last_line(&ran.out).starts_with(&format!("!mbx-abort mbx-{filter}: ")), "{}", ran.tell());
            ran.says(what);
        }
    }
    run("parse", &["--allow-empty"], b"").expect(0).writes(b"");
    run("parse", &["--allow-empty", "--seal"], b"").expect(0).writes(b"!mbx-list\n!mbx-end 0 ff9fe829\n");
    for filter in ["parse", "remap-part", "acl-rewrite", "count-guard"] {
        run(filter, &["/no/such/file"], b"").expect(2).says("/no/such/file: No such file or directory");
        run(filter, &[sandbox.path().to_str().unwrap()], b"").expect(2).says("is a directory");
        let ran = run(filter, &["--no-such-option"], b"").expect(2);
        let mark = format!("!mbx-abort mbx-{filter}: unexpected argument '--no-such-option' found\n");
        assert_eq!(String::from_utf8_lossy(&ran.out), mark);
        assert!(
            ran.err.starts_with(&format!("mbx-{filter}: unexpected argument '--no-such-option' found (")),
            "{}",
            ran.err
        );
        run(filter, &["--from", "2.3"], b"").expect(2).says("2.3.4 to 2.3.7");
        assert!(!run(filter, &["--help"], b"").expect(0).out.is_empty());
        assert!(run(filter, &["--version"], b"").expect(0).out.starts_with(format!("mbx-{filter} 0.").as_bytes()));
    }
}

#[test]
fn a_list_of_the_wrong_release_is_told() {
    let list = read("2.4.22/flat/dump.txt");
    run("parse", &["--from", "2.2.13", "--to", "2.3.7"], &list).expect(2).says("is it the right list?");
    // The database of 2.2 to 2.3.9 has the form of later dumps; the rights show which it is.
    for (from, rights) in [("2.2.13", "lk"), ("2.3.3", "lrswipkxtecda"), ("2.3.7", "lkc"), ("2.3.7", "lrsn")] {
        let line = format!("user.a\t0 default a\t{rights}\t\n");
        run("parse", &["--from", from, "--to", "2.3.19"], line.as_bytes()).expect(2).says("rights that");
    }
    for (from, rights) in [("2.2.13", "lrswipcda"), ("2.3.7", "lrswipkxtea"), ("2.3.9", "lrswipkxtecda")] {
        let line = format!("user.a\t0 default a\t{rights}\t\n");
        run("parse", &["--from", from, "--to", "2.3.19"], line.as_bytes())
            .expect(0)
            .says("the text of the database itself");
    }
    run("parse", &["--from", "3.6.1"], &list).expect(2).says("--from 3.6.1 prints the JSON of 3.6 and later, but");
    run("count-guard", &["--to", "3.6.1"], &list).expect(1).says("mbx-parse --to 3.6.1 is missing in the pipe");
    run("count-guard", &["--to", "2.3.7"], &list).expect(1).says("mbx-parse --to 2.3.7 is missing in the pipe");
    let sealed = run("parse", &["--from", "2.4.22", "--seal"], &list).expect(0).out;
    run("acl-rewrite", &["--from", "2.2.13"], &sealed)
        .expect(2)
        .says("--from 2.2.13 was told, but the sealed list says 2.4.22");
    run("count-guard", &["--sealed"], &list).expect(1).says("begin the pipe with mbx-parse --seal");
}

#[test]
fn the_far_side_can_tell_that_it_was_whole() {
    let list = read("2.4.22/flat/dump.txt");
    let ended = [&list[..], b"!mbx-end\n"].concat();
    let sealed = run("parse", &["--seal", "--require-end"], &ended).expect(0).out;
    assert_eq!(sealed, harness::sealed("", &list, lines(&list).len()));
    run("parse", &["--seal", "--require-end"], &list).expect(1).says("no end mark");
    // Without --seal the mark goes on as it came, and a loader never sees it behind the guard.
    run("remap-part", &[], &ended).expect(0).writes(&ended);
    run("count-guard", &["--to", "2.4.22", "--", "cat"], &ended).expect(0).writes(&list);
    run("parse", &[], &[&ended[..], &list].concat()).expect(1).says("behind the end mark");
}

/// A list has one of two end marks: `!mbx-end` alone, of the far side, or `!mbx-end N SUM`, of a seal. What looks like one
/// and is not was cut, changed or typed, and the list is not whole, also where rejects have a place to go.
#[test]
fn an_end_mark_that_is_nearly_one_is_none() {
    let sandbox = Sandbox::empty();
    let rejects = sandbox.file("rejects");
    let text = read("2.4.22/flat/dump.txt");
    let json = read("3.6.1/flat/dump.txt");
    for list in [&text, &json] {
        let sealed = run("parse", &["--seal"], list).expect(0).out;
        let end = last_line(&sealed);
        let end = end.trim_end();
        let (count, sum) = end.strip_prefix("!mbx-end ").unwrap().split_once(' ').unwrap();
        let nearly = [
            format!("!mbx-end {count}"),
            format!("!mbx-end {sum}"),
            format!("!mbx-end 0{count} {sum}"),
            format!("!mbx-end {count} {}", sum.to_uppercase() + "0"),
            format!("!mbx-end {count} 0{sum}"),
            format!("!mbx-end {count}  {sum}"),
            "!mbx-end\r".to_string(),
            "!mbx-end ".to_string(),
            "!mbx-end.".to_string(),
            "!mbx-END".to_string(),
            "!MBX-END".to_string(),
            " !mbx-end".to_string(),
            format!("{end}\r"),
            format!("{end} "),
            format!(" {end}"),
            end.to_uppercase(),
            "!MBX-ABORT mbx-parse: died".to_string(),
            " !mbx-abort mbx-parse: died".to_string(),
            "!mbx-abort\r".to_string(),
        ];
        for mark in &nearly {
            let ended = [&list[..], mark.as_bytes(), b"\n"].concat();
            for options in
                [&["--require-end"][..], &["--require-end", "--seal"], &["--require-end", "--reject", &rejects]]
            {
                let ran = run("parse", options, &ended);
                assert_eq!(ran.status, 1, "{mark:?} {options:?}: {}", ran.tell());
                assert!(
                    last_line(&ran.out).starts_with("!mbx-abort mbx-parse: "),
                    "{mark:?} {options:?}: {}",
                    ran.tell()
                );
            }
            let body = &sealed[..sealed.len() - end.len() - 1];
            let resealed = [body, mark.as_bytes(), b"\n"].concat();
            for options in [&[][..], &["--reject", &rejects]] {
                let ran = run("remap-part", options, &resealed);
                assert_eq!(ran.status, 1, "{mark:?} {options:?}: {}", ran.tell());
                assert!(last_line(&ran.out).starts_with("!mbx-abort "), "{mark:?} {options:?}: {}", ran.tell());
            }
            let guarded = run("count-guard", &["--sealed"], &resealed).expect(1);
            guarded.writes(b"!mbx-abort mbx-count-guard: the list was not let out\n");
        }
        // The end of a seal whose beginning is lost, and the far side's end on a seal.
        let headless = &sealed[sealed.iter().position(|byte| *byte == b'\n').unwrap() + 1..];
        for options in [&[][..], &["--require-end"], &["--seal"]] {
            run("parse", options, headless).expect(1).says("the list mark is missing");
        }
        let bare = [&sealed[..sealed.len() - end.len() - 1], b"!mbx-end\n"].concat();
        run("parse", &[], &bare).expect(1).says("must have its count and its sum");
    }
    let told = |mark: &str| run("parse", &["--require-end"], &[&text[..], mark.as_bytes(), b"\n"].concat()).expect(1);
    told("!mbx-end\r").says("ends in CR").says("ssh -t");
    told("!mbx-end 103").says("mbxtools 0.1");
}

#[test]
fn refused_entries_can_be_mended_and_fed_again() {
    let sandbox = Sandbox::empty();
    let good = b"user.a\tdefault\ta\tlrs\t\n";
    let bad = b"user.b\tdefault\tb\tlrs\n";
    let other = b"user.c\tdefault\tc\tlrs\t\n";
    let list = [&good[..], bad, other].concat();
    let rejects = sandbox.file("rejects");
    let ran = run("parse", &["--reject", &rejects], &list).expect(1).says("3 in, 2 out, 1 refused");
    ran.writes(&[&good[..], other].concat());
    assert_eq!(sandbox.read("rejects"), bad);
    // Empty, but there, if nothing was refused.
    run("parse", &["--reject", &rejects], good).expect(0);
    assert_eq!(sandbox.read("rejects"), b"");
    // Without a place for them the list ends at the first, and the rest is still looked at.
    let ran = run("parse", &[], &[&list[..], bad].concat()).expect(1);
    assert!(ran.err.contains("stdin:2: ") && ran.err.contains("stdin:4: "), "{}", ran.tell());
    assert_eq!(lines(&ran.out).len(), 2);
    let (read, written, rest) = account(&ran.err);
    assert_eq!((read, written, rest), (4, 1, 3));
    // A sealed list stays one, with the count of what went on.
    let sealed = run("parse", &["--seal", "--reject", &rejects], &list).expect(1).out;
    run("count-guard", &["--sealed"], &sealed).expect(0).writes(&[&good[..], other].concat());
}

/// A list that was cut off is no list, whatever becomes of its last entry: it must not come out sealed and whole.
#[test]
fn a_cut_list_is_not_mended_by_rejects() {
    let whole = read("2.2.13/flat/dump.txt");
    let sandbox = Sandbox::empty();
    let rejects = sandbox.file("rejects");
    let options = ["--from", "2.2.13", "--to", "2.3.7", "--seal", "--reject", &rejects];
    let cut = run("parse", &options, &whole[..400]).expect(1).says("no newline at the end");
    assert!(last_line(&cut.out).starts_with("!mbx-abort mbx-parse: stdin:16: no newline at the end"), "{}", cut.tell());
    run("count-guard", &["--sealed", "--", "cat"], &cut.out).expect(1).writes(b"");
    // A line of any length.
    let mut long = b"user.a\tdefault\ta\tlrs\t\n".to_vec();
    long.resize(5_000_000, b'x');
    let cut = run("parse", &options, &long).expect(1).says("no newline at the end");
    assert!(last_line(&cut.out).starts_with("!mbx-abort "));
    // Nor is anything taken from behind the end.
    let behind = b"!mbx-list from 2.2.13\nuser.a\t0\ta\tl\t\n!mbx-end 1\nuser.more\t0 de";
    run("remap-part", &["--reject", &rejects, "0=4"], behind).expect(1);
}

#[test]
fn a_list_is_never_written_over() {
    let sandbox = Sandbox::migrated();
    let list = migrated();
    let file = sandbox.write("list", &list);
    for (filter, option) in [
        ("parse", "--reject"),
        ("remap-part", "--moves"),
        ("acl-rewrite", "--reject"),
        ("check-paths", "--missing"),
        ("mkmeta", "--reject"),
    ] {
        let conf = sandbox.file("new.conf");
        let config = ["-C", &conf];
        let config = if ["check-paths", "mkmeta"].contains(&filter) { &config[..] } else { &[] };
        let ran = run(filter, &[&[option, &file, &file][..], config].concat(), b"").expect(2);
        ran.says("already reads or writes that file");
        assert!(sandbox.read("list") == list, "mbx-{filter}");
        let ran = sandbox.sh(&format!("mbx-{filter} {} {option} list <list; echo $?", config.join(" ")));
        assert!(ran.out.ends_with(b"2\n") && sandbox.read("list") == list, "mbx-{filter}: {}", ran.tell());
    }
}

#[test]
fn side_files_are_kept_apart() {
    let sandbox = Sandbox::migrated();
    let list = migrated();
    for (script, kept) in [
        ("mbx-remap-part --moves x --reject x 3=4", None),
        ("mbx-check-paths -C new.conf --missing x --reject x", None),
        ("mbx-check-paths -C new.conf --missing new.conf", Some("new.conf")),
        ("mbx-acl-rewrite --id-map map --reject map", Some("map")),
        ("mbx-remap-part --map map --reject map", Some("map")),
        ("mbx-parse --only map --reject map", Some("map")),
    ] {
        sandbox.write("map", "3,4\n");
        sandbox.write("list", &list);
        let before = kept.map(|file| sandbox.read(file));
        let ran = sandbox.sh(&format!("{script} list")).expect(2).says("already reads or writes that file");
        assert!(kept.map(|file| sandbox.read(file)) == before, "{script}: {}", ran.tell());
    }
    // What is no file may be written by many.
    sandbox.sh("mbx-remap-part --moves /dev/null --reject /dev/null 3=4 list >/dev/null").expect(0);
}

#[test]
fn after_twenty_alike_the_rest_are_counted() {
    let list = b"user.b\n".repeat(1_234);
    let ran = run("parse", &[], &list).expect(1);
    assert_eq!(ran.err.lines().filter(|line| line.contains("stdin:")).count(), 20);
    ran.says("1,214 more: no partition").says("1,234 in, 0 out, 1,234 refused");
}

/// A mailbox that does not come along has a line that says so, however many they are.
#[test]
fn verbose_names_each_that_does_not_come_along() {
    let dropped = |n| format!("user.b{n}\tdefault\tb\tlrs\t\nDELETED.user.b{n}.5F0A1B2C\tdefault\tb\tlrs\t\n");
    let refused = |n| format!("user.c{n}\n");
    let all: String = (0..30).map(dropped).chain((0..30).map(refused)).collect();
    let options = ["-v", "--drop", "deletedprefix", "--reject", "/dev/null"];
    let ran = run("parse", &options, all.as_bytes()).expect(1);
    assert!(!ran.err.contains(" more: "), "{}", ran.err);
    for n in 0..30 {
        let (line, behind): (u32, u32) = (2 * n + 2, n + 61);
        assert!(
            ran.err.contains(&format!("stdin:{line}: deletedprefix dropped: DELETED.user.b{n}.5F0A1B2C\n")),
            "{}",
            ran.err
        );
        let refused = |line: &str| {
            line.contains(&format!("stdin:{behind}: no partition")) && line.ends_with(&format!(": user.c{n}"))
        };
        assert!(ran.err.lines().any(refused), "{}", ran.err);
    }
    let (read, written, _) = harness::account(&ran.err);
    let named = ran.err.lines().filter(|line| line.contains("stdin:")).count() as u64;
    assert_eq!(read - written, named, "{}", ran.err);
    run("parse", &["-q", "-v"], b"").expect(2);
}

#[test]
fn quiet_keeps_losses() {
    let list = b"user.a\tdefault\ta\tlrs\t\nDELETED.user.b.5F0A1B2C\tdefault\tb\tlrs\t\n";
    let ran = run("parse", &["-q", "--drop", "deletedprefix"], list).expect(0);
    assert_eq!(ran.err, "mbx-parse: 2 in, 1 out, 1 deletedprefix dropped\n");
    assert_eq!(run("parse", &["-q"], list).expect(0).err, "");
}

#[test]
fn a_line_that_no_buffer_holds_is_refused_and_the_rest_read() {
    let good = b"user.a\tdefault\ta\tlrs\t\n";
    let mut long = b"user.long\tdefault\t".to_vec();
    long.extend(b"somebody\tlrs\t".repeat(1_200_000));
    long.push(b'\n');
    let list = [&good[..], &long, good].concat();
    let sandbox = Sandbox::empty();
    let rejects = sandbox.file("rejects");
    let ran = run("parse", &["--reject", &rejects], &list).expect(1);
    assert!(ran.err.contains("stdin:2: line too long (over 8388608 bytes): user.long"), "{}", &ran.err[..300]);
    assert!(ran.out == [&good[..], good].concat());
    assert!(sandbox.read("rejects") == long);
    // One of 100,000 identifiers is held, but no text loader takes it.
    let mut long = b"user.long\tdefault\t".to_vec();
    long.extend((0..100_000).flat_map(|i| format!("somebody{i}\tlrs\t").into_bytes()));
    long.push(b'\n');
    run("parse", &[], &long).expect(0).writes(&long);
    run("acl-rewrite", &[], &long).expect(0).writes(&long);
    run("parse", &["--to", "2.3.7"], &long).expect(1).says("line too long for the loader");
}

/// A file that something shortens, writes over or goes on writing while it is read is not the list that it was.
#[test]
fn a_file_that_changes_while_it_is_read_is_no_list() {
    let sandbox = Sandbox::empty();
    // Longer than what is on its way, and cut at the end of a line: nothing in the bytes shows it.
    let line = |n: u64| format!("user.u{n:05}\t0 default a\tlrs\t\n");
    let text: String = (0..100_000).map(line).collect();
    let object = |n: u64| format!("\"user.u{n:05}\": {{\"mbtype\": \"el\", \"partition\": \"1\", \"acl\": {{}}}}");
    let json = format!("{{\n{}\n}}\n", (0..100_000).map(object).collect::<Vec<_>>().join(",\n"));
    let sealed = run("parse", &["--seal"], text.as_bytes()).expect(0).out;
    type Change = fn(&std::path::Path, &[u8]);
    let changes: [(&str, Change); 3] = [
        ("cut at the end of a line", |path, bytes| {
            let far = bytes.len() / 4 * 3;
            let cut = far + bytes[far..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(cut as u64).unwrap();
        }),
        ("written over", |path, bytes| {
            let mut other = bytes.to_vec();
            let last = other.len() - 15;
            other[last] ^= 1;
            std::fs::write(path, other).unwrap();
        }),
        ("gone on with", |path, _| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(b"user.late\t0 default a\tlrs\t\n").unwrap();
        }),
    ];
    for (what, change) in changes {
        for (kind, list) in [("text", text.as_bytes()), ("json", json.as_bytes()), ("sealed", &sealed)] {
            let path = std::path::PathBuf::from(sandbox.write("list", list));
            let (operand, stdin) = match kind {
                "text" => ("-", std::process::Stdio::from(std::fs::File::open(&path).unwrap())),
                _ => (path.to_str().unwrap(), std::process::Stdio::null()),
            };
            // What does not read its pipe holds the filter up behind its first block.
            let mut child = harness::command("remap-part", &["default=x", "1=y", operand])
                .stdin(stdin)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = child.stdout.take().unwrap();
            let mut first = [0];
            std::io::Read::read_exact(&mut out, &mut first).unwrap();
            change(&path, list);
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut out, &mut rest).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{what}, {kind}: {said}");
            assert!(
                last_line(&rest).starts_with("!mbx-abort mbx-remap-part: "),
                "{what}, {kind}: {}",
                last_line(&rest)
            );
        }
    }
    // A list that another takes the name of is read to its own end.
    let path = sandbox.write("list", &text);
    let script = format!("{{ sleep 0.2; mv list was; : >list; }} & mbx-remap-part {path}; wait");
    sandbox.sh(&script).expect(0).writes(text.as_bytes());
}

/// What is written to is read again, without end.
#[test]
fn a_pipe_that_is_read_and_written_is_trouble() {
    let sandbox = lists();
    for filter in QUIET {
        let ran = sandbox.sh(&format!("mkfifo loop; timeout 20 {filter} <>loop >&0; status=$?; rm loop; exit $status"));
        ran.expect(2).says("stdin: is written to here as well");
        let ran =
            sandbox.sh(&format!("mkfifo loop; timeout 20 {filter} loop 1<>loop; status=$?; rm loop; exit $status"));
        ran.expect(2).says("loop: is written to here as well");
    }
}
