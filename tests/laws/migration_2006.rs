//! The migration of 2006, repeated with real servers: what comes out is what a real 2.3.7 printed.

use crate::harness::{RELEASES, Sandbox, account, corpus, dumps, lines, read, run};

const NIGHT: &str = "mbx-parse --from 2.2.13 --to 2.3.7 --seal -- cat old.dump \
    | mbx-remap-part default=3 0=4 | mbx-acl-rewrite \
    | mbx-check-paths -C new.conf --missing missing.dump | mbx-mkmeta -C new.conf \
    | mbx-count-guard --sealed --min 100 >new.list";

#[test]
fn the_night_gives_what_the_real_server_printed() {
    let sandbox = Sandbox::migrated();
    let ran = sandbox.sh(NIGHT).expect(0);
    assert!(sandbox.read("new.list") == read("migration/expected.dump"), "{}", ran.tell());
    assert_eq!(sandbox.read("missing.dump"), b"");
    // And the load, into a database of its own, verified there.
    let load = "mbx-count-guard --to 2.3.7 --min 100 --verify 'cat new.db' <new.list -- sh -c 'cat >new.db'";
    sandbox.sh(load).expect(0).says("103 in, 103 out");
    assert!(sandbox.read("new.db") == read("migration/expected.dump"));
}

#[test]
fn mailboxes_without_a_header_are_dropped_by_name() {
    let sandbox = Sandbox::migrated();
    std::fs::remove_file(sandbox.path().join("spool/1/user/frank/cyrus.header")).unwrap();
    std::fs::remove_dir_all(sandbox.path().join("spool/3/user/alice/Archive/2006")).unwrap();
    let ran = sandbox.sh(NIGHT).expect(0).says("user/frank/cyrus.header): user.frank");
    let missing = sandbox.read("missing.dump");
    let gone = lines(&missing).len();
    assert_eq!(gone, 3, "{}", ran.tell());
    assert_eq!(lines(&sandbox.read("new.list")).len() + gone, 103);
    assert!(
        missing.starts_with(b"user.alice.Archive.2006\t0 3\talice\tlrswipkxtea\t"),
        "{}",
        String::from_utf8_lossy(&missing)
    );
}

#[test]
fn every_entry_of_every_old_list_is_accounted_for() {
    for (release, variant, dump) in dumps() {
        let from = release;
        let sandbox = Sandbox::empty();
        let rejects = sandbox.file("rejects");
        let options = ["--from", from, "--to", "3.0.18", "--reject", &rejects];
        let parsed = run("parse", &options, &dump);
        let (read, written, rest) = account(&parsed.err);
        assert_eq!(read, lines(&dump).len() as u64, "{release} {variant}");
        assert_eq!(read, written + rest, "{release} {variant}: {}", parsed.err);
        assert_eq!(parsed.status, i32::from(!sandbox.read("rejects").is_empty()));
        // Whatever was refused is named, and stands in the rejects as it came.
        for line in lines(&sandbox.read("rejects")) {
            assert!(lines(&dump).contains(&line));
            let mailbox = String::from_utf8_lossy(line.split(|b| *b == b'\t').next().unwrap()).into_owned();
            let shown = mailbox.trim_end_matches(|c: char| !c.is_ascii());
            assert!(
                parsed.err.contains(shown.split(|c: char| !c.is_ascii()).next().unwrap()),
                "{mailbox}: {}",
                parsed.err
            );
        }
        let rewritten = run("acl-rewrite", &["--from", from, "--drop-inert"], &parsed.out).expect(0);
        let remapped = run("remap-part", &["default=3", "0=4", "3=0"], &rewritten.out).expect(0);
        assert_eq!(lines(&remapped.out).len() as u64, written);
    }
}

/// The textual mistakes of `s/lrswipcda/lrswipkxtea/g` (facts/migration.md c): 86 of 181 rights strings missed, three
/// mailbox names and nine identifiers rewritten.
#[test]
fn rights_are_rewritten_and_names_are_not() {
    let old = read("migration/in.dump");
    let rewritten = run("acl-rewrite", &["--from", "2.2.13"], &old).expect(0).says("181 rights rewritten");
    let (mut rights, mut kept, mut mailboxes, mut identifiers) = (0, 0, 0, 0);
    for (before, after) in lines(&old).iter().zip(rewritten.lines()) {
        let fields = |line: &[u8]| line.split(|b| *b == b'\t').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (before, after) = (fields(before), fields(&after));
        assert_eq!(before.len(), after.len());
        assert_eq!(before[..2], after[..2]);
        mailboxes += usize::from(before[0].windows(9).any(|w| w == b"lrswipcda"));
        for (i, (was, is)) in before.iter().zip(&after).enumerate().skip(2) {
            if i % 2 == 0 {
                assert_eq!(was, is, "an identifier was touched");
                identifiers += usize::from(was.windows(9).any(|w| w == b"lrswipcda"));
            } else if was.iter().any(|b| b"cd".contains(b)) {
                rights += 1;
                let expected: Vec<u8> = b"lrswipkxtea0123456789"
                    .iter()
                    .filter(|letter| {
                        was.contains(letter)
                            || (b"kx".contains(letter) && was.contains(&b'c'))
                            || (b"te".contains(letter) && was.contains(&b'd'))
                    })
                    .copied()
                    .collect();
                assert_eq!(String::from_utf8_lossy(is), String::from_utf8_lossy(&expected));
            } else {
                kept += 1;
                assert_eq!(was, is);
            }
        }
    }
    assert_eq!((rights, mailboxes, identifiers), (181, 3, 9));
    assert!(kept >= 360 - 181);
}

#[test]
fn nothing_of_another_server_is_lost_without_a_line() {
    let murder = read("2.2.13/murder/dump.txt");
    let ran = run("parse", &["--from", "2.2.13", "--to", "2.3.7"], &murder).expect(0);
    for name in ["user.remote1.Sent", "user.remote2", "user.remote3", "shared.moving"] {
        assert!(ran.err.contains(name), "{}", ran.err);
    }
    let out = String::from_utf8(ran.out).unwrap();
    assert!(out.contains("user.remote2\t1 backend2.example.com!0\tremote2\tlrswipcda\t"));
    assert!(out.contains("user.remote3\t1 backend1.example.com\tremote3\tlrswipcda\t"));
    // 3.0 would take the server alone for a partition.
    run("parse", &["--from", "2.2.13", "--to", "3.0.18"], &murder)
        .expect(1)
        .says("remote mailbox without server!partition")
        .says("user.remote3");
    // DELETED.foo cannot be opened by 3.0 and later.
    let drop = ["--from", "2.2.13", "--to", "3.4.9", "--drop", "remote,deletedprefix"];
    run("parse", &drop, &murder).expect(0).says("110 in, 104 out, 1 deletedprefix dropped, 5 remote");
}

#[test]
fn reserved_mailboxes_never_reach_a_server() {
    let murder = read("2.3.7/murder/dump.txt");
    for to in ["2.3.7", "2.4.22", "3.0.18"] {
        run("parse", &["--from", "2.3.7", "--to", to], &murder)
            .expect(1)
            .says("reserved mailbox")
            .says("shared.moving");
    }
    let options = ["--from", "2.3.7", "--to", "2.3.7", "--drop", "reserve"];
    run("parse", &options, &murder).expect(0).says("110 in, 109 out, 1 reserved");
}

#[test]
fn tombstones_are_dropped_where_the_loader_would_make_mailboxes_of_them() {
    let list = read("3.0.18/flat/dump.txt");
    let tombs = list.split(|b| *b == b'\n').filter(|line| line.ends_with(b"\t16 (null) ")).count();
    assert!(tombs >= 3);
    let kept = run("parse", &["--from", "3.0.18", "--to", "3.4.9"], &list).expect(0);
    kept.writes(&list);
    let sandbox = Sandbox::empty();
    let options = ["--from", "3.0.18", "--to", "2.3.7", "--reject", &sandbox.file("rejects")];
    let ran = run("parse", &options, &list).expect(1).says(&format!(", {tombs} tombstones dropped, "));
    assert!(!ran.out.windows(6).any(|w| w == b"(null)"));
    // Calendars are no mailboxes for 2.3.
    assert!(String::from_utf8(sandbox.read("rejects")).unwrap().contains("#calendars"));
    let dropped = run("parse", &["--drop", "tombstone"], &list).expect(0);
    assert_eq!(dropped.lines().len() + tombs, lines(&list).len());
}

#[test]
fn the_corpus_is_all_there() {
    for release in RELEASES {
        assert!(corpus().join(release).join("loader.jsonl.gz").is_file());
    }
}
