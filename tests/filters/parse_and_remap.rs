//! The options of mbx-parse and mbx-remap-part that other tests do not need.

use crate::harness::{Sandbox, lines, read, run};

#[test]
fn renames_are_made_at_once() {
    let list = b"a\t0\tx\tl\t\nb\t1\tx\tl\t\nc\tdefault\tx\tl\t\nd\t2\t0\tl\t1\tr\t\n";
    let swapped = b"a\t1\tx\tl\t\nb\t0\tx\tl\t\nc\tmain\tx\tl\t\nd\t2\t0\tl\t1\tr\t\n";
    run("remap-part", &["0=1", "1=0", "default=main"], list).expect(0).says("(3 renamed)").writes(swapped);
    let sandbox = Sandbox::empty();
    let map = sandbox.write("map.csv", "old,new\n0,1\n1,0\ndefault,main\n");
    run("remap-part", &["--map", &map], list).expect(0).writes(swapped);
    let map = sandbox.write("map.csv", "0,1\n1,0\n");
    run("remap-part", &["--map", &map, "default=main"], list).expect(0).writes(swapped);
    run("remap-part", &["--strict", "--map", &map, "default=main"], list)
        .expect(1)
        .says("stdin:4: partition without a rename (2; add 2=2 to keep it): d");
    run("remap-part", &["--strict", "--map", &map, "default=main", "2=2"], list).expect(0).writes(swapped);
}

#[test]
fn what_cannot_be_a_partition_is_refused() {
    let list = b"a\t0\tx\tl\t\n";
    let sandbox = Sandbox::empty();
    let map = sandbox.write("map.csv", "0,1,2\n");
    for options in [
        &["0=Main"][..],
        &["0="],
        &["0=a b"],
        &["0=a.b"],
        &["0=1", "0=2"],
        &["--map", &map],
        &["--map", "/no/such/map"],
        &["--server", "x"],
        &["--server", "be1=be 2"],
    ] {
        let ran = run("remap-part", options, list).expect(2);
        assert!(ran.out.starts_with(b"!mbx-abort mbx-remap-part: "), "{options:?}: {}", ran.tell());
    }
    let long = format!("0={}", "p".repeat(64));
    run("remap-part", &[&long], list).expect(2).says("at most 63 bytes");
}

#[test]
fn partitions_of_this_host() {
    let sandbox = Sandbox::empty();
    let conf = sandbox.conf("imapd.conf", &String::from_utf8(read("migration/imapd.conf")).unwrap());
    let list = read("migration/in.dump");
    run("remap-part", &["-C", &conf, "default=3", "0=4"], &list).expect(0);
    run("remap-part", &["-C", &conf, "default=3"], &list)
        .expect(1)
        .says("partition that is not declared (0, in")
        .says(": user.1\n");
    // Case matters: option names are folded, partitions are not.
    run("remap-part", &["-C", &conf], b"a\tPart-3\tx\tl\t\n").expect(1).says("partition that is not declared (Part-3");
}

#[test]
fn moves_are_written_for_rsync() {
    let sandbox = Sandbox::empty();
    let moves = sandbox.file("moves.csv");
    let list = b"user.a\t0 0 x\tl\t\nuser.b, c\t0 1 x\tl\t\nuser.d\t0 default x\tl\t\n";
    run("remap-part", &["--moves", &moves, "0=4", "1=5"], list).expect(0);
    assert_eq!(sandbox.read("moves.csv"), b"mailbox,old,new\nuser.a,0,4\n\"user.b, c\",1,5\n");
}

#[test]
fn other_servers_are_renamed_and_their_partitions_left_alone() {
    let list = b"a\t1 be1.example.com!0\tx\tl\t\nb\t0 0\tx\tl\t\nc\t8 be1.example.com!0\tx\tl\t\nd\t1 be1.example.com\tx\tl\t\ne\t16 (null)\t\n";
    let ran = run("remap-part", &["0=4", "--server", "be1.example.com=be2"], list).expect(0);
    let ran = ran.says("(2 renamed, 3 with another server, 2 remote, partition left alone)");
    run("remap-part", &["--server", "be=fe"], b"user.x\t16 be!default \nuser.y\t0 default a\tlrs\t\n")
        .expect(0)
        .says("no entry has server be");
    ran.writes(b"a\t1 be2!0\tx\tl\t\nb\t0 4\tx\tl\t\nc\t8 be2!4\tx\tl\t\nd\t1 be2\tx\tl\t\ne\t16 (null)\t\n");
}

#[test]
fn only_what_is_named_and_what_is_below_it() {
    let sandbox = Sandbox::empty();
    let list = b"user.bob\t1\tx\tl\t\nuser.bob.Sent\t1\tx\tl\t\nuser.bobby\t1\tx\tl\t\nshared.team.x\t1\tx\tl\t\nd.org!user.bob\t1\tx\tl\t\n";
    let only = sandbox.write("only", "\u{feff}user.bob\r\nshared.team\nuser.nobody\n");
    let ran = run("parse", &["--only", &only], list).expect(0).says("5 in, 3 out, 2 not in --only");
    let ran = ran.says("--only: the list has no such mailbox: user.nobody");
    // A whole component: user.bobby is not below user.bob.
    assert_eq!(ran.lines(), [&lines(list)[..2], &lines(list)[3..4]].concat());
    // What is named and then dropped was in the list.
    let only = sandbox.write("only", "user.r\n");
    let two = b"user.r\t1 be!default r\tlrs\t\nuser.b\t0 default b\tlrs\t\n";
    run("parse", &["--drop", "remote", "--only", &only], two)
        .expect(0)
        .says("1 remote dropped, 1 not in --only")
        .writes(b"");
    let only = sandbox.write("only", "user/bob\n");
    run("parse", &["--only", &only], list).expect(1).says("the list has none of these mailboxes");
    let only = sandbox.write("only", "\n");
    run("parse", &["--only", &only], list).expect(2).says("names no mailbox");
    run("parse", &["--only", "/no/such/file"], list).expect(2);
}

#[test]
fn kinds_are_dropped_and_counted() {
    let list =
        b"DELETED.user.a.5F0A1B2C\t0 1 x\tl\t\nd!DELETED.user.a.5F0A1B2C\t0 1 x\tl\t\nuser.DELETED\t0 1 x\tl\t\n\
        user.b\t16 (null) \nuser.c\t256 (null) \nuser.d\t1 be!0 x\tl\t\nuser.e\t2 1 x\tl\t\n";
    let ran = run("parse", &["--drop", "tombstone,intermediate,remote,deletedprefix,reserve"], list).expect(0);
    ran.says("7 in, 1 out, 2 deletedprefix dropped, 1 tombstones dropped, 1 intermediates dropped, 1 remote dropped, 1 reserved dropped")
        .writes(b"user.DELETED\t0 1 x\tl\t\n");
    run("parse", &["--drop", "email"], list).expect(2);
}

#[test]
fn a_summary_tells_what_one_needs() {
    let ran = run("parse", &["--summary"], &read("2.2.13/flat/dump.txt")).expect(0);
    let text = String::from_utf8(ran.out).unwrap();
    for line in
        ["103  entries", "16  users with an INBOX", "62  default", "94  lrswipcda", "6  of them negative", "52  user"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let ran = run("parse", &["--summary"], &read("3.0.18/virt/dump.txt")).expect(0);
    let text = String::from_utf8(ran.out).unwrap();
    for line in ["Domains", "calendar", "deleted", "example.org"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // The linter: what would go wrong, and nothing written.
    let list = read("3.0.18/flat/dump.txt");
    run("parse", &["-n", "--from", "3.0.18", "--to", "2.4.22"], &list)
        .expect(1)
        .says("type that the target does not have")
        .writes(b"");
    run("parse", &["-n", "--to", "3.4.9"], &list).expect(0).writes(b"");
}

#[test]
fn tables_for_other_tools() {
    let list =
        b"user.a, b\t0 1 john doe\tlrs\tanyone\tp\t\nuser.\xe9\t1 be.org!0 \nuser.c\t16 (null) \nuser.d\t32 x d\tl\t\n";
    let ran = run("parse", &["--format", "csv"], list).expect(0);
    ran.writes(
        b"mailbox,mbtype,server,partition,acl,uniqueid\n\"user.a, b\",email,,1,john doe lrs; anyone p,\n\
        user.\xe9,remote,be.org,0,,\nuser.c,deleted,,,,\nuser.d,calendar,,x,d l,\n",
    );
    let ran = run("parse", &["--format", "tsv"], list).expect(0);
    assert_eq!(ran.lines()[1], b"user.a, b\temail\t\t1\tjohn doe lrs; anyone p\t\n");
    let ran = run("parse", &["--format", "jsonl"], list).expect(0).says("1 entries have bytes that are not UTF-8");
    let rows: Vec<serde_json::Value> = ran.lines().iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["mailbox"], "user.a, b");
    assert_eq!(rows[0]["acl"][0]["identifier"], "john doe");
    assert_eq!(rows[0]["acl"][1]["rights"], "p");
    assert_eq!(rows[1]["mailbox"], "user.\u{fffd}");
    assert_eq!(rows[1]["server"], "be.org");
    let all = run("parse", &["--format", "csv"], &read("2.4.22/flat/dump.txt")).expect(0);
    assert_eq!(all.lines().len(), lines(&read("2.4.22/flat/dump.txt")).len() + 1);
}

#[test]
fn stray_blanks_are_taken_off_as_the_2006_script_did() {
    let list = b"user.a\t default \tx\tl\t\nuser.b\t1 \tx\tl\t\n";
    let ran = run("parse", &["--from", "2.2.13", "--to", "2.3.7"], list).expect(0);
    ran.writes(b"user.a\t0 default\tx\tl\t\nuser.b\t0 1\tx\tl\t\n");
    run("parse", &["--from", "2.2.13", "--to", "2.2.13"], list)
        .expect(0)
        .writes(b"user.a\tdefault\tx\tl\t\nuser.b\t1\tx\tl\t\n");
    run("parse", &[], list).expect(0).writes(list);
    run("remap-part", &["default=3", "1=4"], list).expect(0).writes(b"user.a\t 3 \tx\tl\t\nuser.b\t4 \tx\tl\t\n");
}

/// Told another release than printed the list, all that hangs on it would be wrong: rights, directories, types.
#[test]
fn a_type_that_the_old_server_did_not_have_is_refused() {
    let line = b"user.a.#calendars\t32 default a\tlrs\t\n";
    let to = |from: &str, to: &str| run("parse", &["--from", from, "--to", to], line);
    to("2.4.22", "3.0.18").expect(1).says("type that the old server did not have (calendar came later: --from tells");
    to("2.5.17", "3.0.18").expect(0).writes(line);
    let sealed = run("parse", &["--from", "2.5.17", "--to", "3.6.1", "--seal"], line).expect(0).out;
    assert!(run("count-guard", &["--sealed"], &sealed).expect(1).says("no uniqueid").err.contains("1 refused"));
    let json = br#"{"user.a.x":{"mbtype":"j","partition":"p","acl":{},"uniqueid":"0123456789abcdef","uidvalidity":"1","createdmodseq":"1","foldermodseq":"1"}}"#;
    run("parse", &["--from", "3.6.1", "--to", "3.8.7"], json).expect(1).says("(jmap notification came later");
    run("parse", &["--from", "3.8.7", "--to", "3.8.7"], json).expect(0);
}

#[test]
fn rights_that_mean_something_else_are_told() {
    let list = b"user.a\tdefault\tbob\tlrskx\tal\tlrswipcda\t\n";
    run("parse", &["--from", "2.2.13", "--to", "2.3.7"], list).expect(0).says(
        "rights that the two releases read differently (lrskx of bob; mbx-acl-rewrite behind mbx-parse keeps their meaning): user.a",
    );
    assert!(!run("parse", &["--to", "2.3.7"], &read("migration/in.dump")).expect(0).err.contains("differently"));
    // A server of RFC 2086 would ignore k, x, t and e.
    run("parse", &["--from", "2.4.22", "--to", "2.2.13"], b"user.a\t0 default bob\tlrswipkxtea\t\n")
        .expect(1)
        .says("rights that the target reads differently (lrswipkxtea of bob: 2.2.13 knows RFC 2086 only): user.a");
    run("parse", &["--from", "2.4.22", "--to", "2.2.13"], b"user.a\t0 default bob\tlrswipkxtecda\t\n").expect(0);
}

/// Ten times as many renames, identifiers or names take about ten times as long. A table in order, which each line had
/// its place in by moving half of the others, took a hundred and eighty times.
#[test]
fn maps_of_any_length_are_read_in_their_length() {
    let sandbox = Sandbox::empty();
    let list = sandbox.write("list", "user.a\tdefault\ta\tl\t\n");
    // Neither in order nor in its reverse.
    let names = |n: u64| (0..n).map(move |at| at * 7_919 % n);
    let took = |filter: &str, option: &str, n: u64| {
        let lines: String = match option {
            "--only" => names(n).map(|at| format!("user.p{at}\n")).collect::<String>() + "user.a\n",
            _ => names(n).map(|at| format!("p{at},q{at}\n")).collect(),
        };
        let file = sandbox.write("map", lines);
        let once = |_| {
            let begun = std::time::Instant::now();
            let ran = run(filter, &["--from", "2.2.13", option, &file, &list], b"").expect(0);
            let took = begun.elapsed();
            // That so many were read is told in two lines, not in as many.
            assert!(ran.err.lines().count() < 30, "{}", ran.err.lines().count());
            ran.says(&format!("{},980 more: ", n / 1_000 - 1));
            took
        };
        (0..3).map(once).min().unwrap()
    };
    for (filter, option) in [("remap-part", "--map"), ("acl-rewrite", "--id-map"), ("parse", "--only")] {
        let (few, many) = (took(filter, option, 30_000), took(filter, option, 300_000));
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        assert!(ratio < 60.0, "mbx-{filter} {option}: {ratio}");
    }
}

/// A downgrade is remarked before any disk is at hand, and refuses nothing: spools of mixed releases do open.
#[test]
fn a_spool_that_the_target_may_not_read_is_remarked() {
    let dump = read("3.13.7/legacy/dump.txt");
    for (to, indexes, headers) in [
        ("3.12.3", "minor 20 that 3.12.3 cannot read (it reads up to 19)", false),
        ("3.10.2", "Run `reconstruct -V 19` on the 3.13.7 server", false),
        ("3.6.1", "Run `reconstruct -V 17` on the 3.13.7 server", false),
        ("3.2.6", "Run `reconstruct -V 16` on the 3.13.7 server", true),
        ("3.13.7", "", false),
    ] {
        let reject = ["--from", "3.13.7", "--to", to, "--reject", "/dev/null"];
        let plain = run("parse", &reject, &dump);
        let (status, out) = (plain.status, plain.out.clone());
        for more in [&[][..], &["-n"]] {
            let ran = run("parse", &[&reject[..], more].concat(), &dump).expect(status);
            assert_eq!(ran.err.contains("a spool of 3.13.7 has indexes of minor 20"), !indexes.is_empty(), "{to}");
            assert_eq!(ran.err.contains("a spool of 3.13.7 has headers that"), headers, "{}", ran.tell());
            let ran = ran.says(indexes);
            if !indexes.is_empty() {
                ran.says("mbx-check-paths looks at each")
                    .says(&format!("Never run reconstruct on {to}: it loses flags and \\Seen, and ends with 0"));
            }
        }
        // It is a remark: the list and the status are those of `-q`, which says nothing of it.
        let quiet = run("parse", &[&reject[..], &["-q"]].concat(), &dump).expect(status).writes(&out);
        assert!(!quiet.err.contains("a spool of"), "{}", quiet.tell());
        let summary = run("parse", &["--from", "3.13.7", "--to", to, "--summary"], &dump);
        let shown = String::from_utf8(summary.out.clone()).unwrap();
        let line = "Not in the list, but on the disk: a spool of 3.13.7 has indexes of minor 20";
        assert_eq!(shown.contains(line), !indexes.is_empty(), "{shown}");
        assert!(shown.contains(indexes), "{shown}");
        assert_eq!(shown.contains("a spool of 3.13.7 has headers that"), headers, "{shown}");
        assert!(!summary.err.contains("a spool of"), "{}", summary.tell());
    }
    // With status 0 where nothing else is wrong.
    let list = b"{\n\"user.a\": {\"mbtype\": \"el\", \"partition\": \"p\", \"acl\": {}}\n}\n";
    run("parse", &["--from", "3.12.3", "--to", "3.6.1"], list)
        .expect(0)
        .says("a spool of 3.12.3 has indexes of minor 19 that 3.6.1 cannot read")
        .says("Run `reconstruct -V 17` on the 3.12.3 server, stopped, before the last copy");
    // JSON tells of its headers, whoever printed it.
    run("parse", &["--to", "2.4.22"], list)
        .expect(0)
        .says("a spool of 3.6 or later has headers that 2.4.22 cannot read");
    // The downgrade of 2006, and an upgrade, of which nothing is to be said.
    run("parse", &["--from", "2.3.7", "--to", "2.2.13"], b"user.a\t0 p\ta\tlrs\t\n")
        .expect(0)
        .says("a spool of 2.3.7 has indexes of minor 9 that 2.2.13 cannot read (it reads up to 6)")
        .says("Run `reconstruct -V 6` on a server of 2.5 or later");
    let ran = run("parse", &["--from", "2.2.13", "--to", "3.6.1"], b"user.a\tp\ta\tlrs\t\n").expect(0);
    assert!(!ran.err.contains("a spool of"), "{}", ran.tell());
}

/// 3.6.1 keeps `TRASH.user.zoe.Sent` as `user.zoe` if its deletedprefix is TRASH: zoe's INBOX is gone.
#[test]
fn deletedprefix_of_the_targets_imapd_conf_decides() {
    let sandbox = Sandbox::empty();
    let trash = sandbox.write("new.conf", "deletedprefix: TRASH\n");
    let list = |top: &str| format!("user.zoe\t0 default zoe\tlrs\t\n{top}.user.zoe.Sent\t0 default zoe\tlrs\t\n");
    let to = |options: &[&str], list: &str| {
        run("parse", &[&["--from", "2.4.22", "--to", "3.6.1"], options].concat(), list.as_bytes())
    };
    to(&["-C", &trash], &list("TRASH")).expect(1).says(
        "deleted name without a stamp (3.6.1 makes user.zoe of it: its deletedprefix is TRASH): TRASH.user.zoe.Sent",
    );
    // Also where the mailbox that it would be is not in the list.
    to(&["-C", &trash], "TRASH.user.zoe.Sent\t0 default zoe\tlrs\t\n").expect(1).says("3.6.1 makes user.zoe of it");
    to(&["-C", &trash], "TRASH.user.zoe.Sent.5ABCDEF0\t0 default zoe\tlrs\t\n").expect(0);
    // An ordinary mailbox there, and not by default.
    to(&["-C", &trash], &list("DELETED")).expect(0);
    to(&[], &list("DELETED")).expect(1).says("its deletedprefix is DELETED by default; -C FILE if its imapd.conf says");
    to(&[], &list("TRASH")).expect(0).says(
        "a hierarchy that looks like one of deleted mailboxes, TRASH.user.zoe.Sent: deletedprefix of imapd.conf decides",
    );
    let said = to(&["-C", &trash], "user.zoe\t0 default zoe\tlrs\t\n").expect(0).err;
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// What is left out and counted as deleted is so on the old server.
#[test]
fn deletedprefix_of_the_old_imapd_conf_decides_what_is_dropped() {
    let sandbox = Sandbox::empty();
    let (trash, plain) =
        (sandbox.write("old.conf", "deletedprefix: TRASH\n"), sandbox.write("new.conf", "altnamespace: no\n"));
    let list = b"DELETED.a.5ABCDEF0\t0 p \nTRASH.user.a.5ABCDEF0\t0 p \nuser.a\t0 p a\tlrs\t\n";
    let drop = |options: &[&str]| run("parse", &[&["--drop", "deletedprefix", "-v"], options].concat(), list).expect(0);
    let by_default =
        "DELETED.a.5ABCDEF0, count as deleted mailboxes, because deletedprefix is that by default: --spool-conf";
    drop(&[]).says("1 deletedprefix dropped").says("deletedprefix dropped: DELETED.a.5ABCDEF0").says(by_default);
    drop(&["--spool-conf", &trash])
        .says("1 deletedprefix dropped")
        .says("deletedprefix dropped: TRASH.user.a.5ABCDEF0");
    // Without --spool-conf -C is that of both.
    drop(&["-C", &trash]).says("deletedprefix dropped: TRASH.user.a.5ABCDEF0");
    drop(&["-C", &trash, "--spool-conf", &plain]).says("deletedprefix dropped: DELETED.a.5ABCDEF0");
    let both = ["--from", "2.4.22", "--to", "3.6.1", "-C", &plain, "--spool-conf", &trash];
    // Live on the old server, and below deletedprefix of the new one: cyr_expire would remove it.
    run("parse", &both, list).expect(1).says("mailbox that the target takes for a deleted one (cyr_expire of 3.6.1");
    run("parse", &both, &list[b"DELETED.a.5ABCDEF0\t0 p \n".len()..])
        .expect(0)
        .says("TRASH.user.a.5ABCDEF0, are ordinary ones for 3.6.1")
        .says("--drop deletedprefix leaves them out");
    let shown = run("parse", &["--summary", "--spool-conf", &trash], list).expect(0);
    assert!(String::from_utf8(shown.out).unwrap().contains("1  below TRASH (deletedprefix)\n"));
    for bad in ["-C", "--spool-conf"] {
        run("parse", &[bad, "/no/such/imapd.conf"], list).expect(2).says("/no/such/imapd.conf: No such file");
    }
}

/// 3.0 to 3.5 keep both names, of one directory and one mailbox.
#[test]
fn the_default_domain_of_the_target_is_no_domain() {
    let sandbox = Sandbox::empty();
    let conf = sandbox.write("new.conf", "virtdomains: userid\ndefaultdomain: example.com\n");
    let list = b"user.x\t0 default x\tlrs\t\nexample.com!user.x\t0 default x\tlrs\t\n";
    for to in ["3.0.18", "3.2.6", "3.4.9", "3.6.1"] {
        let refused = format!("({to} makes user.x of it: its defaultdomain is example.com): example.com!user.x");
        run("parse", &["--from", "2.4.22", "--to", to, "-C", &conf], list).expect(1).says(&refused);
        // Its twin need not be there.
        let alone = &list[b"user.x\t0 default x\tlrs\t\n".len()..];
        run("parse", &["--from", "2.4.22", "--to", to, "-C", &conf], alone).expect(1).says(&refused);
        run("parse", &["--from", "2.4.22", "--to", to], list).expect(0).says(
            "names with a domain, such as example.com!user.x: defaultdomain and virtdomains of the imapd.conf of",
        );
    }
    // 2.2 to 2.5 have it apart, and no client can say it; without virtdomains ! is a letter.
    run("parse", &["--to", "2.4.22", "-C", &conf], list).expect(1).says("2.4.22 makes user.x of it");
    let off = sandbox.write("off.conf", "virtdomains: off\n");
    run("parse", &["--to", "2.4.22", "-C", &off], list).expect(1).says("its virtdomains is off): example.com!user.x");
    run("parse", &["--to", "2.4.22"], list).expect(0);
}

/// A dot of a domain is no component.
#[test]
fn only_takes_the_domain_for_one_thing() {
    let sandbox = Sandbox::empty();
    let only = sandbox.write("only", "example\nb!user\n");
    let list = b"b!user.x\t0 p x\tlrs\t\nexample.com!user.x\t0 p x\tlrs\t\nexample.y\t0 p x\tlrs\t\n";
    run("parse", &["--only", &only], list).expect(0).writes(b"b!user.x\t0 p x\tlrs\t\nexample.y\t0 p x\tlrs\t\n");
}
