//! JSON lists: what is not changed leaves as it came, whatever the shape of the list, and what is changed is that value
//! alone.

use crate::harness;
use crate::harness::{Sandbox, account, json_dumps, lines, read, run};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn parsed(list: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(list).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(list)))
}

#[test]
fn with_nothing_to_do_the_bytes_are_the_same() {
    let mut checked = 0;
    for (release, variant, dump) in json_dumps() {
        let entries = parsed(&dump).len() as u64;
        for (filter, options) in [
            ("parse", &[][..]),
            ("parse", &["--from", release]),
            ("remap-part", &["no-such=x"]),
            ("acl-rewrite", &["--id", "nosuch=x"]),
            ("acl-rewrite", &["--drop-id", "nosuch"]),
            ("count-guard", &["--min", "1"]),
            ("count-guard", &["--unique"]),
        ] {
            let ran = run(filter, options, &dump).expect(0);
            assert!(ran.out == dump, "{release} {variant}: mbx-{filter} {options:?}");
            assert_eq!(account(&ran.err), (entries, entries, 0));
            checked += 1;
        }
        let sealed = run("parse", &["--seal", "--from", release], &dump).expect(0).out;
        assert!(sealed == harness::sealed(&format!(" from {release}"), &dump, entries), "{release} {variant}");
        run("remap-part", &[], &sealed).expect(0).writes(&sealed);
        run("count-guard", &["--sealed"], &sealed).expect(0).writes(&dump);
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn every_mailbox_is_found_by_name_or_by_uniqueid() {
    for (release, variant, dump) in json_dumps() {
        if variant == "inject" {
            continue;
        }
        let sandbox = Sandbox::of(release, &variant);
        let conf = sandbox.file("old.conf");
        let options = ["-C", &conf, "--from", release];
        // Nothing is missing, and nothing is to be filled in: what is there agrees with the files.
        let ran = run("check-paths", &options, &dump).expect(0);
        assert!(ran.out == dump && !ran.err.contains("missing"), "{release} {variant}: {}", ran.tell());
        let filled = run("check-paths", &[&options[..], &["--fill", "--to", release]].concat(), &dump).expect(0);
        // A mailbox that relocate_by_id promoted from an intermediate has no jmapId in the dump of 3.13.7.
        let promoted = usize::from(release == "3.13.7" && variant == "mixed");
        assert_eq!(filled.err.matches("1 filled").count(), promoted, "{release} {variant}: {}", filled.tell());
        assert!(!filled.err.contains("disagree"), "{release} {variant}: {}", filled.tell());
        assert_eq!(filled.out == dump, promoted == 0);
        let meta = run("mkmeta", &[&options[..], &["-n"]].concat(), &dump).expect(0);
        assert!(meta.out == dump && !meta.err.contains("would make"), "{release} {variant}: {}", meta.tell());
    }
}

/// What a mailbox is without what its own files tell is put back from them.
#[test]
fn what_is_taken_out_is_filled_in_again() {
    let mut filled = 0;
    for (release, variant, dump) in json_dumps() {
        // Without an l, the uniqueid is the mailbox's place: nobody can find it again.
        if !variant.starts_with("legacy") {
            continue;
        }
        let sandbox = Sandbox::of(release, &variant);
        let whole = parsed(&dump);
        for pretty in [false, true] {
            let mut bare = whole.clone();
            for entry in bare.values_mut() {
                for member in ["uniqueid", "uidvalidity", "createdmodseq", "foldermodseq", "jmapId"] {
                    entry.as_object_mut().unwrap().remove(member);
                }
            }
            let bare = if pretty { serde_json::to_vec_pretty(&bare) } else { serde_json::to_vec(&bare) }.unwrap();
            let conf = sandbox.file("old.conf");
            let ran = run("check-paths", &["-C", &conf, "--from", release, "--to", release, "--fill"], &bare).expect(0);
            for (name, entry) in parsed(&ran.out) {
                let mut meant = whole[&name].clone();
                let mbtype = meant["mbtype"].as_str().unwrap().to_string();
                if mbtype.contains(['d', 'r']) {
                    continue;
                }
                // What it was renamed from is in no file.
                assert_eq!(entry["uniqueid"], meant["uniqueid"], "{release} {variant}: {name}");
                if meant["jmapId"] != entry["jmapId"] {
                    panic!("{release} {variant}: {name}: {} {}", meant["jmapId"], entry["jmapId"]);
                }
                for member in ["uidvalidity", "createdmodseq", "foldermodseq"] {
                    assert_eq!(entry[member], meant[member].take(), "{release} {variant}: {name}: {member}");
                }
                filled += 1;
            }
        }
    }
    assert!(filled > 2000, "{filled}");
}

#[test]
fn only_the_value_in_question_is_changed() {
    let list = b"{ \"user.a\\u002eb\" :{\"x\":[1,2.50,{}],\"acl\" : {\"\\u0061nyone\":\"lrs\" , \"bob\":\"lrswipcda\",\"-bob\":\"d\"},\
        \"partition\":\"\\u0064efault\", \"mbtype\":\"el\",\r\n\"name_history\":[{\"partition\":\"0\",\"name\":\"n\"},{\"partition\" : \"1\"}]}\n\n}\n";
    let change = |filter, options: &[&str], changes: &[(&str, &str)]| {
        let mut meant = String::from_utf8(list.to_vec()).unwrap();
        for (old, new) in changes {
            assert!(meant.contains(old), "{old}");
            meant = meant.replacen(old, new, 1);
        }
        run(filter, options, list).expect(0).writes(meant.as_bytes());
    };
    change("remap-part", &["default=3", "1=7"], &[("\"\\u0064efault\"", "\"3\""), ("\"1\"", "\"7\"")]);
    change("acl-rewrite", &[], &[("lrswipcda", "lrswipkxtea"), (":\"d\"", ":\"te\"")]);
    change(
        "acl-rewrite",
        &["--id", "bob=\"r\\o\u{e9}/b"],
        &[("\"bob\"", "\"\\\"r\\\\o\u{e9}/b\""), ("-bob", "-\\\"r\\\\o\u{e9}/b")],
    );
    change("acl-rewrite", &["--drop-id", "anyone"], &[("\"\\u0061nyone\":\"lrs\" , ", "")]);
    change("acl-rewrite", &["--drop-id", "-bob"], &[(",\"-bob\":\"d\"", "")]);
    change(
        "acl-rewrite",
        &["--drop-id", "bob", "--drop-id", "-bob"],
        &[(" , \"bob\":\"lrswipcda\",\"-bob\":\"d\"", "")],
    );
    let all = "\"\\u0061nyone\":\"lrs\" , \"bob\":\"lrswipcda\",\"-bob\":\"d\"";
    let gone = ["--drop-id", "bob", "--drop-id", "-bob", "--drop-id", "anyone"];
    change("acl-rewrite", &gone, &[(all, "")]);
    let grants = [&gone[..], &["--grant", "zoe=lr", "--grant", "yan=p"]].concat();
    change("acl-rewrite", &grants, &[(all, "\"zoe\":\"lr\" , \"yan\":\"p\"")]);
    change("acl-rewrite", &["--grant", "zoe=lr"], &[("\"d\"}", "\"d\" , \"zoe\":\"lr\"}")]);
    change("acl-rewrite", &["--grant", "zoe=lr", "--drop-id", "-bob"], &[(",\"-bob\":\"d\"", " , \"zoe\":\"lr\"")]);
}

#[test]
fn a_list_of_any_shape_is_read() {
    let dump = read("3.6.1/legacy/dump.txt");
    let whole = parsed(&dump);
    let compact = serde_json::to_vec(&whole).unwrap();
    let pretty = serde_json::to_vec_pretty(&whole).unwrap();
    let crlf = String::from_utf8(dump.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let blank = String::from_utf8(dump.clone()).unwrap().replace('\n', "\n\n \t").into_bytes();
    for list in [&dump, &compact, &pretty, &crlf, &blank] {
        run("parse", &[], list).expect(0).writes(list);
        let renamed = run("remap-part", &["default=3"], list).expect(0).out;
        for (name, entry) in parsed(&renamed) {
            let meant =
                if whole[&name]["partition"] == "default" { "3".into() } else { whole[&name]["partition"].clone() };
            // Another server's partition is not ours to rename.
            let remote = whole[&name]["mbtype"].as_str().unwrap().contains('r');
            assert_eq!(entry["partition"], if remote { whole[&name]["partition"].clone() } else { meant }, "{name}");
        }
        // A list taken apart: what is dropped and what stays are each a list, and together all of it.
        let remote = run("parse", &["--drop", "tombstone,remote"], list).expect(0);
        let (read, written, dropped) = account(&remote.err);
        assert_eq!((read, written + dropped), (whole.len() as u64, whole.len() as u64));
        assert_eq!(parsed(&remote.out).len() as u64, written);
    }
}

#[test]
fn whatever_is_dropped_a_list_remains() {
    let entry =
        |name: &str| format!(r#""{name}": {{"mbtype": "el", "partition": "p", "acl": {{}}, "name_history": []}}"#);
    let sandbox = Sandbox::empty();
    for kept in 0..16_u32 {
        let names = ["a", "b", "c", "d"];
        let (mut list, mut stays, mut goes, mut only) = (Vec::new(), Vec::new(), Vec::new(), String::new());
        for (i, name) in names.iter().enumerate() {
            list.push(entry(name));
            if kept >> i & 1 == 1 {
                stays.push(entry(name));
                only.push_str(&format!("{name}\n"));
            } else {
                goes.push(name);
            }
        }
        let object = |entries: &[String]| format!("{{\n{}\n}}\n", entries.join(",\n"));
        let only = sandbox.write("only", format!("zzz\n{only}"));
        // --only refuses a list of which nothing is named.
        let ran = run("parse", &["--only", &only, "--allow-empty", "--seal"], object(&list).as_bytes());
        if stays.is_empty() {
            assert_eq!(ran.status, 1);
            continue;
        }
        ran.expect(0).writes(&harness::sealed("", object(&stays).as_bytes(), stays.len()));
    }
    // All of it: what a server prints of an empty list.
    let list = format!("{{\n{},\n{}\n}}\n", entry("DELETED.user.a.5F"), entry("DELETED.user.b.5F"));
    run("parse", &["--drop", "deletedprefix"], list.as_bytes()).expect(0).writes(b"{\n\n}\n");
    run("parse", &["--allow-empty"], b"{\n\n}\n").expect(0).writes(b"{\n\n}\n");
    run("parse", &[], b"{\n\n}\n").expect(1).says("the list is empty");
    run("parse", &["--allow-empty", "--to", "3.6.1"], b"").expect(0).writes(b"{\n\n}\n");
    run("parse", &["--allow-empty", "--to", "2.4.22"], b"{}").expect(0).writes(b"");
}

#[test]
fn refused_entries_can_be_mended_and_fed_again() {
    let good = r#""mbtype": "el", "partition": "p", "acl": {}"#;
    let list = format!(
        "{{\"a\": {{{good}}},\n\"b\": {{\"acl\": {{}}}}, \"c\":\n{{{good}, \"uniqueid\": 1}}, \"d\": {{{good}}}\n}}\n"
    );
    let sandbox = Sandbox::empty();
    let rejects = sandbox.file("rejects");
    let ran = run("parse", &["--reject", &rejects, "--seal"], list.as_bytes()).expect(1);
    let ran = ran
        .says("stdin:2: no mbtype")
        .says("stdin:2: member of the wrong type (uniqueid")
        .says("4 in, 2 out, 2 refused");
    ran.writes(&harness::sealed("", format!("{{\"a\": {{{good}}}, \"d\": {{{good}}}\n}}\n").as_bytes(), 2));
    let rejected = String::from_utf8(sandbox.read("rejects")).unwrap();
    assert_eq!(rejected, format!("{{\n\"b\": {{\"acl\": {{}}}},\n\"c\":\n{{{good}, \"uniqueid\": 1}}\n}}\n"));
    let mended = rejected.replace("{\"acl\": {}}", &format!("{{{good}}}")).replace(": 1}", ": \"1\"}");
    run("parse", &["--reject", &rejects], mended.as_bytes()).expect(0).writes(mended.as_bytes());
    assert_eq!(sandbox.read("rejects"), b"", "a list without entries is an empty file, for test -s");
}

#[test]
fn broken_lists_name_the_line_and_the_neighbours() {
    let good = r#"{"mbtype": "el", "partition": "p", "acl": {}}"#;
    for (list, what) in [
        (read("3.6.1/broken-utf8/dump.txt"), "stdin:3: no entry between user.a and user.c"),
        (read("3.13.7/broken-utf8/dump.txt"), "stdin:3: no entry between user.a and user.c"),
        (format!("{{\n,\n\"b\": {good}\n}}\n").into(), "stdin:2: no entry between the beginning and b"),
        (format!("{{\n\"a\": {good},\n\n}}\n").into(), "stdin:4: no entry between a and the end"),
        (
            format!("{{\n\"a\": {good}\n\"b\": {good}\n}}\n").into(),
            "stdin:3: neither a comma nor the list's last brace behind the entry of a",
        ),
        (format!("{{\n\"a\": {good}\n").into(), "stdin:2: the list ends in the middle behind the entry of a"),
        (format!("{{\n\"a\": {good},\n\"b\": {{\"x\"").into(), "the list ends in the middle behind the entry of a"),
        (format!("{{\n\"a\": {good}\n}}\n{{}}\n").into(), "stdin:4: something stands behind the list's last brace"),
        (format!("{{\n\"a\": {good}\n}}\nx").into(), "stdin:4: something stands behind the list's last brace"),
        (
            format!("{{\n\"a\": {good},\n\"b\\ud800\": {good}\n}}\n").into(),
            "stdin:3: half of a surrogate pair, or a bad \\u escape, in the entry behind a",
        ),
        (format!("{{\n\"a\": {good},\n\"b\\u0000\": {good}\n}}\n").into(), "stdin:3: \\u0000, which no name can have"),
        (format!("{{\n\"a\": {good},\n\"b\t\": {good}\n}}\n").into(), "stdin:3: a control character inside a string"),
        (
            [b"{\n\"a\xe9\": ", good.as_bytes(), b"\n}\n"].concat(),
            "stdin:2: a byte that is not UTF-8, in the first entry",
        ),
        (format!("{{\n# hi\n\"a\": {good}\n}}\n").into(), "stdin:2: no entry begins here"),
        (format!("{{\"a\": {good},\n# hi\n\"b\": {good}\n}}\n").into(), "stdin:2: no entry begins here"),
    ] {
        for filter in ["parse", "remap-part", "acl-rewrite", "count-guard"] {
            let rejects = Sandbox::empty();
            let rejects = rejects.file("rejects");
            let options = if filter == "parse" { vec!["--reject", &rejects] } else { vec![] };
            let ran = run(filter, &options, &list);
            assert_eq!(ran.status, 1, "{}", ran.tell());
            let last = lines(&ran.out).pop().unwrap();
            assert!(last.starts_with(format!("!mbx-abort mbx-{filter}: ").as_bytes()), "{}", ran.tell());
            ran.says(what);
        }
    }
}

/// What a filter that gives up in a JSON list writes is read by the next, wherever the mark stands.
#[test]
fn an_abort_goes_all_the_way_down() {
    let good = r#"{"mbtype": "el", "partition": "p", "acl": {}}"#;
    let bad = good.replace("el", "x");
    for list in [format!("{{\n\"a\": {bad}\n}}\n"), format!("{{\n\"a\": {good},\n\"b\": {bad},\n\"c\": {good}\n}}\n")] {
        let first = run("parse", &[], list.as_bytes()).expect(1).says("unknown mbtype").out;
        let second = run("remap-part", &["zz=y"], &first).expect(1);
        assert_eq!(String::from_utf8_lossy(&second.out), String::from_utf8_lossy(&first));
        let third = run("acl-rewrite", &[], &second.out).expect(1);
        assert_eq!(third.out, first);
        run("count-guard", &["--unique"], &third.out)
            .expect(1)
            .says("aborted upstream: mbx-parse: stdin:")
            .says("unknown mbtype");
    }
    for list in [format!("{{\n\"a\": {good},\n!mbx-abort x: y\n"), "{!mbx-abort x: y\n".to_string()] {
        run("count-guard", &[], list.as_bytes()).expect(1).says("aborted upstream: x: y");
    }
    // An end mark inside the object, or with a wrong count, ends nothing.
    let sealed = |list: &str, entries: u64| crate::harness::sealed("", list.as_bytes(), entries);
    let whole = format!("{{\n\"a\": {good}\n}}\n");
    for list in [
        sealed(whole.strip_suffix("}\n").unwrap(), 1),
        [&sealed(&format!("{{\n\"a\": {good},\n"), 1)[..], b"}\n"].concat(),
        sealed(&whole, 2),
        ["!mbx-list\n", &whole].concat().into_bytes(),
    ] {
        run("count-guard", &["--sealed"], &list).expect(1);
        let ran = run("remap-part", &[], &list).expect(1);
        assert_eq!(ran.out.windows(3).filter(|w| w == b"\"a\"").count(), 1, "{}", ran.tell());
    }
}

/// What a second reader found, each as it was shown.
#[test]
fn what_the_loader_would_have_died_of_or_stored_as_something_else() {
    let entry = |name: &str, more: &str| {
        format!(
            "\"{name}\": {{\"uidvalidity\": \"5\", \"createdmodseq\": \"1\", \"foldermodseq\": \"1\", \"mbtype\": \"el\", \
             \"partition\": \"default\", \"acl\": {{\"bob\": \"lrs\"}}, \"uniqueid\": \"id-{name}\"{more}}}"
        )
    };
    let list = |one: String| format!("{{\n{},\n{one}\n}}\n", entry("user.a", ""));
    let guard = |list: &str, to: &str| run("count-guard", &["--unique", "--to", to], list.as_bytes());
    // Letters in a name history.
    let history =
        |letters: &str| list(entry("user.b", &format!(", \"name_history\": [{{\"mbtype\": \"{letters}\"}}]")));
    guard(&history("el"), "3.6.1").expect(0);
    guard(&history("x"), "3.6.1").expect(1).says("unknown mbtype");
    guard(&history("j"), "3.6.1").expect(1).says("type that the target does not have");
    guard(&history("j"), "3.8.7").expect(0);
    // The letters of an entry that is skipped for want of a partition.
    let tombstone = list("\"user.b\": {\"mbtype\": \"jd\", \"acl\": {}, \"uniqueid\": \"x1\"}".to_string());
    guard(&tombstone, "3.6.1").expect(1);
    guard(&tombstone, "3.8.7").expect(0);
    // A tombstone with a partition takes the place of the mailbox that has its uniqueid.
    let tombstone = list(entry("DELETED.user.b.5F000000", "").replace("el", "edl"));
    guard(&tombstone, "3.6.1").expect(1);
    run("parse", &["--to", "3.6.1"], tombstone.as_bytes()).expect(0).says("1 tombstones dropped");
    // Numbers that jansson does not hold, and nesting that it does.
    for (value, status) in [("99999999999999999999", 1), ("1e999", 1), ("-1.5e3", 0), (&*"[".repeat(300), 2)] {
        let close = "]".repeat(if status == 2 { 300 } else { 0 });
        let ran = guard(&list(entry("user.b", &format!(", \"foo\": {value}{close}"))), "3.6.1");
        assert_eq!(ran.status, status % 2, "{}", ran.tell());
    }
    for name in ["../../etc!user.x", "..!user.x"] {
        guard(&list(entry(name, "")), "3.6.1").expect(1).says("domain that is no directory");
    }
    // Names that no server makes, of which `mbx-check-paths` alone knew.
    for (name, why) in [
        ("user.a/b", "name with a slash"),
        ("user.a\\/b", "name with a slash"),
        ("!user.x", "domain that is no directory"),
        ("x!", "name with an empty component"),
    ] {
        guard(&list(entry(name, "")), "3.6.1").expect(1).says(why);
    }
    // A denial that was renamed, and granted.
    let denial = list(entry("user.b", "").replace("bob", "-alice"));
    let ran = run("acl-rewrite", &["--id", "alice=bob", "--grant=-bob=w"], denial.as_bytes()).expect(0);
    assert_eq!(parsed(&ran.out)["user.b"]["acl"], serde_json::json!({"-bob": "lrsw"}));
    // No type letter is the letter e.
    let sandbox = Sandbox::empty();
    let (none, email) =
        (list(entry("user.b", "")).replace("\"el\"", "\"\""), list(entry("user.b", "")).replace("el", "e"));
    let other = sandbox.write("other", email);
    run("count-guard", &["--compare-with", &other], none.as_bytes()).expect(0);
    let other = sandbox.write("other", "user.a\t16 (null) \n");
    run("count-guard", &["--compare-with", &other], b"{\"user.a\": {\"mbtype\":\"ed\",\"acl\":{}}}").expect(0);
}

#[test]
fn an_identifier_twice_gets_what_both_gave() {
    let unite = |from: &str, one: &str, other: &str| {
        let place = if from < "2.3.4" { "default\t" } else { "0 default " };
        let line = format!("user.b\t{place}joe\t{one}\tann\tp\tjoe\t{other}\t\n");
        let ran = run("parse", &["--from", from, "--to", "3.6.1"], line.as_bytes());
        if ran.status == 0 { parsed(&ran.out)["user.b"]["acl"]["joe"].as_str().unwrap().to_string() } else { ran.err }
    };
    assert_eq!(unite("2.2.13", "lrc", "lsd"), "lrcsd");
    assert_eq!(unite("2.4.22", "lr", "ls"), "lrs");
    assert_eq!(unite("2.4.22", "lrkxc", "lsted"), "lrskxte");
    // Letters that 2.4 ignored are mbx-acl-rewrite's to ask about, there as in a string that stands alone.
    assert_eq!(unite("2.4.22", "lrn", "ls"), "lrsn");
    assert_eq!(unite("2.4.22", "lrkxcn", "lsted"), "lrskxten");
    // What c alone gives hangs on deleteright, which no list tells.
    assert!(unite("2.4.22", "lrc", "ls").contains("mbx-acl-rewrite --deleteright comes before"));
    let explicit = run(
        "parse",
        &["--from", "2.4.22", "--seal", "--rights-rewritten", "--to", "3.6.1"],
        b"user.b\t0 default a\tlrn\ta\tlr\t\n",
    );
    assert!(String::from_utf8_lossy(&explicit.expect(0).out).contains("\"a\": \"lrn\""));
    let many: String = (0..100_000).map(|n| format!("u{n}\tlrs\t")).collect();
    let line = format!("user.b\t0 default {many}u5\tlrs\t\n");
    assert_eq!(
        parsed(&run("parse", &["--to", "3.6.1"], line.as_bytes()).expect(0).out)["user.b"]["acl"]
            .as_object()
            .unwrap()
            .len(),
        100_000
    );
}

/// However few bytes a read gives.
#[test]
fn reads_of_any_size_say_the_same() {
    let good = r#"{"mbtype": "el", "partition": "p", "acl": {}}"#;
    for list in [
        String::from_utf8(harness::sealed("", format!("{{\n\"a\": {good}\n}}\n").as_bytes(), 1)).unwrap(),
        format!("\n{{\n\"a\": {good}}}\t"),
        format!("{{\"a\":\t{good}}}"),
        "\n{\n\n }\t".to_string(),
        "{}".to_string(),
        "{ }\t\n".to_string(),
        "{}x\tdefault\ta\tlrs\t\n".to_string(),
        "{\"x\tdefault\ta\tlrs\t\n".to_string(),
        "[\"x\"]".to_string(),
        "\u{feff}{}".to_string(),
        "!mbx-abort x: y\n".to_string(),
        "!mbx".to_string(),
        String::new(),
    ] {
        by_reads_of_any_size(&list);
    }
}

/// The neighbour behind a hole was "the end" where the reader had no more of it yet.
#[test]
fn a_hole_has_the_same_neighbours_by_reads_of_any_size() {
    let good = r#"{"mbtype": "el", "partition": "p", "acl": {}}"#;
    by_reads_of_any_size(&format!("{{\n,\n\"user.b\": {good}\n}}\n")).says("between the beginning and user.b");
    by_reads_of_any_size(&format!("{{\n\"a\": {good},, \"user.b\": {good}}}\n")).says("between a and user.b");
    by_reads_of_any_size(&format!("{{\n\"a\": {good},\n\n}}\n")).says("between a and the end");
    by_reads_of_any_size(&format!("{{\n\"a\": {good},,\"b")).says("between a and the end");
}

/// Without the empty line that the server leaves, an entry was taken out by hand: mbx-parse makes a list of it again, and
/// the others say who does.
#[test]
fn a_last_entry_that_was_taken_out_leaves_its_comma() {
    let good = r#"{"mbtype": "el", "partition": "p", "acl": {}}"#;
    let whole = format!("{{\n\"a\": {good}\n}}\n");
    for space in ["\n", "", " ", "\r\n"] {
        let left = format!("{{\n\"a\": {good},{space}}}\n");
        let ran = by_reads_of_any_size(&left).expect(0).says("a comma and no entry before the last brace is left out");
        assert_eq!(String::from_utf8_lossy(&ran.out), whole.replace("\n}\n", &format!("{space}}}\n")));
        for filter in ["remap-part", "acl-rewrite", "count-guard"] {
            let ran = run(filter, &[], left.as_bytes()).expect(1);
            ran.says("taken out by hand behind that of a").says("mbx-parse reads the list").says("is not UTF-8");
        }
    }
    let ran =
        run("parse", &["--to", "2.4.22", "--from", "3.6.1"], format!("{{\n\"a\": {good},\n}}\n").as_bytes()).expect(0);
    assert_eq!(ran.out, b"a\t0 p \n");
    // The first of two was taken out, or both.
    by_reads_of_any_size(&format!("{{\n,\n\"a\": {good}\n}}\n")).expect(1);
    by_reads_of_any_size("{\n,\n}\n").expect(1);
}

/// White space behind the last brace went out or not, as it happened to be read, before a list was given up.
#[test]
fn white_space_behind_a_list_goes_out_by_reads_of_any_size() {
    by_reads_of_any_size("{\n}\t \tx\n").writes(
        b"{\n}\t \t\n!mbx-abort mbx-parse: stdin:2: something stands behind the list's last brace: two lists are not one, \
          and the loader refuses all of it\n",
    );
    by_reads_of_any_size("{\n}\n!mbx-end\n \tx\n");
}

/// What is said of a list that comes at once, if the same is said of one that comes piece by piece.
fn by_reads_of_any_size(list: &str) -> harness::Ran {
    use std::io::Write;
    let whole = run("parse", &["--allow-empty"], list.as_bytes());
    for step in [1, 2, 3, 7] {
        let mut child = harness::command("parse", &["--allow-empty"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for bytes in list.as_bytes().chunks(step) {
            let _ = stdin.write_all(bytes);
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        drop(stdin);
        let ran = child.wait_with_output().unwrap();
        assert_eq!(ran.status.code(), Some(whole.status), "{list:?} by {step}");
        assert!(ran.stdout == whole.out, "{list:?} by {step}: {}", String::from_utf8_lossy(&ran.stdout));
    }
    whole
}

#[test]
fn two_identifiers_do_not_become_one() {
    let list = br#"{"user.a":{"mbtype":"el","partition":"p","acl":{"a":"lrs","b":"l"}}}"#;
    run("acl-rewrite", &["--id", "a=b"], list).expect(1).says("two identifiers that become one (b: JSON holds one");
    run("acl-rewrite", &["--id", "a=b", "--id", "b=a"], list).expect(0);
    run("acl-rewrite", &["--id", "a=b", "--drop-id", "b"], list).expect(0);
}

#[test]
fn what_has_no_place_has_none_in_text_either() {
    let list = br#"{"user.t": {"mbtype":"ed","acl":{}},"user.u": {"mbtype":"el","partition":"p","acl":{}}}"#;
    run("parse", &["--to", "3.0.18"], list).expect(0).writes(b"user.t\t16 (null) \nuser.u\t0 p \n");
}

#[test]
fn a_wrong_map_over_directories_by_uniqueid_is_seen() {
    let sandbox = Sandbox::of("3.6.1", "flat");
    let list = String::from_utf8(read("3.6.1/flat/dump.txt")).unwrap();
    let list = list.replace("\"partition\": \"default\"", "\"partition\": \"2\"");
    let conf = sandbox.file("old.conf");
    run("check-paths", &["-C", &conf, "--from", "3.6.1"], list.as_bytes()).expect(1).says("stand in partition default");
}

#[test]
fn an_entry_of_any_size_is_read_or_refused() {
    let acl: Vec<String> = (0..100_000).map(|n| format!("\"user{n}@example.org\": \"lrswipkxtecdan\"")).collect();
    let big =
        format!("{{\n\"a\": {{\"mbtype\": \"el\", \"partition\": \"default\", \"acl\": {{{}}}}}\n}}\n", acl.join(", "));
    assert!(big.len() > 3_500_000);
    run("parse", &[], big.as_bytes()).expect(0).writes(big.as_bytes());
    let renamed = run("remap-part", &["default=3"], big.as_bytes()).expect(0).out;
    assert_eq!(renamed.len(), big.len() - 6);
    let huge = format!("{{\n\"a\": {{\"mbtype\": \"el\", \"x\": \"{}\"", "x".repeat(17_000_000));
    run("parse", &[], huge.as_bytes()).expect(1).says("stdin:2: an entry of over 8388608 bytes: a");
}

#[test]
fn there_and_back_from_text_to_json() {
    for (release, variant, dump) in harness::dumps() {
        let sandbox = Sandbox::empty();
        let options = ["--from", release, "--drop", "remote,tombstone", "--reject"];
        let list = run("parse", &[&options[..], &[&sandbox.file("r1"), "--to", release]].concat(), &dump).out;
        for to in ["3.6.1", "3.13.7"] {
            let there = run("parse", &[&options[..], &[&sandbox.file("r2"), "--to", to]].concat(), &list);
            let (read, written, rest) = account(&there.err);
            assert_eq!(
                (read, written + rest),
                (lines(&list).len() as u64, read),
                "{release} {variant}: {}",
                there.tell()
            );
            assert_eq!(parsed(&there.out).len() as u64, written);
            // Two identifiers of one name are one now, and rights are read as they were.
            let back = run("parse", &["--from", to, "--to", release], &there.out);
            if back.status != 0 {
                assert!(release < "2.5" && back.err.contains("rights that the target reads"), "{}", back.tell());
                continue;
            }
            let refused = lines(&sandbox.read("r2"));
            let mut kept = lines(&list);
            kept.retain(|line| !refused.contains(line));
            assert_eq!(kept.len(), back.lines().len(), "{release} {variant}");
            for (line, other) in kept.iter().zip(back.lines()) {
                let twice = there.err.contains("identifier twice in one ACL");
                assert!(
                    *line == other || twice,
                    "{}\n{}",
                    String::from_utf8_lossy(line),
                    String::from_utf8_lossy(&other)
                );
            }
        }
    }
}

#[test]
fn from_3_6_to_3_13_and_back() {
    for (release, variant, dump) in json_dumps() {
        if variant == "inject" {
            continue;
        }
        let parsed_dump = parsed(&dump);
        for to in ["3.6.1", "3.13.7"] {
            let sandbox = Sandbox::empty();
            let ran = run("parse", &["--from", release, "--to", to, "--reject", &sandbox.file("rejects")], &dump);
            let (read, written, rest) = account(&ran.err);
            assert_eq!(
                (read, written + rest),
                (parsed(&dump).len() as u64, read),
                "{release} {variant}: {}",
                ran.tell()
            );
            // Nothing but the tombstones, and names that 3.6 cannot load again.
            let rejected =
                if sandbox.read("rejects").is_empty() { Map::new() } else { parsed(&sandbox.read("rejects")) };
            assert!(rejected.keys().all(|name| name.len() >= 490), "{variant}: {:?}", rejected.keys());
            for (name, entry) in parsed(&ran.out) {
                let had = parsed_dump[&name].get("jmapId").is_some();
                assert_eq!(entry.get("jmapId").is_some(), had || to == "3.13.7", "{name}");
            }
            let guarded = run("count-guard", &["--to", to, "--unique"], &ran.out).expect(0);
            assert!(guarded.out == ran.out);
        }
        // Without a jmapId 3.13 loads nothing at all, and exits 0.
        if release == "3.6.1" {
            run("count-guard", &["--to", "3.13.7"], &dump).expect(1).says("no jmapId");
        }
    }
}

#[test]
fn the_guard_knows_what_the_loader_would_skip() {
    let whole = r#""uidvalidity": "1", "createdmodseq": "1", "foldermodseq": "1", "mbtype": "el", "partition": "p", "acl": {}, "uniqueid": "ID", "jmapId": "P-F""#;
    let list = |text: &str| format!("{{\n\"user.b\": {{{whole}}},\n\"user.a\": {{{text}}}\n}}\n");
    let with = |old: &str, new: &str| list(&whole.replace("\"ID\"", "\"other\"").replace(old, new));
    let guard = |to: &str, list: &str| run("count-guard", &["--to", to, "--unique"], list.as_bytes());
    guard("3.13.7", &with("", "")).expect(0);
    for (old, new, kind) in [
        (", \"uniqueid\": \"other\"", "", "no uniqueid"),
        ("\"other\"", "\"\"", "no uniqueid"),
        ("\"other\"", "\"../../../etc\"", "uniqueid that can be none"),
        (", \"jmapId\": \"P-F\"", "", "no jmapId"),
        ("\"p\"", "\"\"", "no partition"),
        ("\"p\"", "\"a!b\"", "server!partition in one"),
        ("\"uidvalidity\": \"1\", ", "", "no uidvalidity, or no modseqs"),
        ("\"uidvalidity\": \"1\"", "\"uidvalidity\": \"-1\"", "number that is none"),
        ("\"uidvalidity\": \"1\"", "\"uidvalidity\": \"4294967296\"", "number that is none"),
        ("\"el\"", "\"elz\"", "reserved mailbox"),
    ] {
        guard("3.13.7", &with(old, new)).expect(1).says(kind);
    }
    guard("3.6.1", &with(", \"jmapId\": \"P-F\"", "")).expect(0);
    guard("3.6.1", &with("\"el\"", "\"j\"")).expect(1).says("type that the target does not have");
    guard("3.6.1", &list(whole)).expect(1).says("two mailboxes, one uniqueid: user.a and user.b both have ID");
    // The tombstone of a mailbox that a delayed DELETE renamed has its uniqueid, and trips nothing.
    let tombstone = list(&whole.replace("\"partition\": \"p\", ", "").replace("el", "edl"));
    guard("3.6.1", &tombstone).expect(0).says("2 in, 2 out (1 tombstones)");
    for name in ["user..a", "user.b.", "internal!user.c", "DELETED.user.x.zz", "DELETED.foo"] {
        guard("3.6.1", &with("", "").replace("user.a", name)).expect(1);
    }
    // The loader dies of a userid of 248 bytes, its domain counted, and cannot open a component of 251 by name.
    let long = |name: &str, n: usize| with("", "").replace("user.a", &name.replace('N', &"y".repeat(n)));
    for (name, n, what) in [
        ("user.N", 247, ""),
        ("user.N", 248, "userid too long"),
        ("ex.com!user.N.sub", 240, ""),
        ("ex.com!user.N.sub", 241, "userid too long"),
        ("DELETED.user.N.5F0A1B2C", 248, "userid too long"),
        ("user.x.N", 250, ""),
        ("user.x.N", 251, "component of the name too long"),
    ] {
        let ran = guard("3.6.1", &long(name, n));
        assert_eq!(ran.status, i32::from(!what.is_empty()), "{}", ran.tell());
        ran.says(what);
    }
    guard("3.6.1", &long("user.x.N", 255).replace("\"el\"", "\"e\"")).expect(0);
    for (len, to, status) in [(489, "3.6.1", 0), (490, "3.6.1", 1), (509, "3.8.7", 0), (510, "3.8.7", 1)] {
        let name = format!("shared.{}", ["x".repeat(99), "y".repeat(99), "z".repeat(99)].join("."));
        let name = format!("{name}.{}.w", "v".repeat(len - name.len() - 3));
        assert_eq!(name.len(), len);
        guard(to, &with("", "").replace("user.a", &name)).expect(status);
    }
}

#[test]
fn two_lists_entry_by_entry() {
    let sandbox = Sandbox::empty();
    let dump = read("3.6.1/legacy/dump.txt");
    let text = String::from_utf8(dump.clone()).unwrap();
    let against = |other: String, what: Option<&str>| {
        let other = sandbox.write("other", other);
        let ran = run("count-guard", &["--compare-with", &other], &dump);
        match what {
            None => drop(ran.expect(0)),
            Some(what) => drop(ran.expect(1).says(what)),
        }
    };
    against(text.clone(), None);
    let pretty = serde_json::to_string_pretty(&parsed(&dump)).unwrap();
    against(pretty, None);
    let line = text.lines().find(|line| line.starts_with("\"user.alice\"")).unwrap();
    let with = |old: &str, new: &str| {
        assert!(line.contains(old), "{line}");
        text.replace(line, &line.replacen(old, new, 1))
    };
    against(with("lrswipkxtecdan", "lrswipkxtecda"), Some("user.alice: ACL"));
    against(with("\"partition\": \"", "\"partition\": \"x"), Some("user.alice: partition"));
    against(with("\"el\"", "\"e\""), Some("user.alice: mbtype: here el, "));
    against(with("\"uniqueid\": \"", "\"uniqueid\": \"x"), Some("user.alice: uniqueid"));
    against(text.replace(&format!("{line}\n"), ""), Some("not in "));
    // With the old server's text: what that holds.
    let old = run("parse", &["--to", "3.4.9", "--drop", "tombstone", "--reject", &sandbox.file("r")], &dump);
    let old = sandbox.write("old", &old.out);
    let ran = run("count-guard", &["--compare-with", &old, "--compare", "partition,acl,mbtype"], &dump);
    assert!(!ran.err.contains("differs") && !ran.err.contains(": here "), "{}", ran.tell());
    run("count-guard", &["--compare-with", &old, "--compare", "uniqueid"], &dump)
        .expect(2)
        .says("both lists must be JSON lists");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Names of any characters and white space of any kind, in any order, with any of them renamed or dropped.
    #[test]
    fn any_list_goes_through(
        names in proptest::collection::btree_map("[^\\x00]{1,12}", (any::<bool>(), "[a-z]{1,5}", "[^\\x00\t]{0,6}"), 1..12),
        blanks in proptest::collection::vec("[ \n\r\t]{0,3}", 8),
        seed in any::<u64>(),
    ) {
        let blank = |n: usize| blanks[(seed as usize).wrapping_add(n) % blanks.len()].as_str();
        let text = |s: &str| Value::from(s).to_string();
        let list = |only: &dyn Fn(bool) -> bool, partition: &dyn Fn(&str) -> String| {
            let mut entries = Vec::new();
            for (name, (tombstone, at, identifier)) in &names {
                if only(*tombstone) {
                    let mbtype = if *tombstone { "ed" } else { "el" };
                    entries.push(format!(
                        "{}{}:{}{{\"mbtype\":\"{mbtype}\"{},{}\"partition\"{}: {},\"acl\":{{{}:\"lrs\"}}}}{}",
                        blank(1), text(name), blank(2), blank(3), blank(4), blank(5), text(&partition(at)), text(identifier), ""
                    ));
                }
            }
            entries
        };
        let join = |entries: Vec<String>| format!("{{{}{}}}{}", entries.join(","), blank(6), blank(7));
        let all = join(list(&|_| true, &str::to_string));
        let ran = run("parse", &[], all.as_bytes());
        prop_assert_eq!(ran.status, 0, "{}", ran.tell());
        prop_assert_eq!(&ran.out, all.as_bytes());
        let renamed = run("remap-part", &["a=0"], all.as_bytes());
        prop_assert_eq!(renamed.status, 0);
        let (was, is) = (parsed(all.as_bytes()), parsed(&renamed.out));
        for (name, entry) in &is {
            let tombstone = was[name]["mbtype"] == "ed";
            let meant = if was[name]["partition"] == "a" && !tombstone { Value::from("0") } else { was[name]["partition"].clone() };
            prop_assert_eq!(&entry["partition"], &meant);
        }
        let dropped = run("parse", &["--drop", "tombstone"], all.as_bytes());
        prop_assert_eq!(dropped.status, 0);
        let kept = parsed(&dropped.out);
        prop_assert_eq!(kept.len(), names.values().filter(|(tombstone, ..)| !tombstone).count());
        prop_assert!(kept.iter().all(|(name, entry)| *entry == was[name]));
    }
}
