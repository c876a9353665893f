//! Laws: nothing to do, nothing changed; there and back is where it began; done twice is done once; nothing is lost.

use crate::harness;
use crate::harness::{Sandbox, account, dumps, lines, read, run};
use proptest::prelude::*;
use std::os::unix::fs::MetadataExt;

/// The lists that have no entry which is refused for what it is.
fn whole_lists() -> Vec<(&'static str, String, Vec<u8>)> {
    dumps().into_iter().filter(|(_, variant, _)| variant != "inject").collect()
}

#[test]
fn with_nothing_to_do_the_bytes_are_the_same() {
    let mut checked = 0;
    for (release, variant, dump) in whole_lists() {
        for (filter, options) in [
            ("parse", &[][..]),
            ("parse", &["--from", release]),
            ("remap-part", &["nosuch=x"]),
            ("remap-part", &[]),
            ("acl-rewrite", &["--id", "nosuch=x"]),
            ("acl-rewrite", &["--drop-id", "nosuch"]),
            ("acl-rewrite", &["--rights", "zz=lrs"]),
            ("count-guard", &["--min", "1"]),
            ("count-guard", &["--unique"]),
        ] {
            let ran = run(filter, options, &dump).expect(0);
            assert!(ran.out == dump, "{release} {variant}: mbx-{filter} {options:?}");
            let (read, written, rest) = account(&ran.err);
            assert_eq!((read, written, rest), (lines(&dump).len() as u64, read, 0));
            checked += 1;
        }
    }
    assert!(checked > 200);
}

#[test]
fn a_sealed_list_comes_back_from_its_seal() {
    for (release, variant, dump) in whole_lists() {
        let sealed = run("parse", &["--seal", "--from", release], &dump).expect(0);
        let meant = harness::sealed(&format!(" from {release}"), &dump, lines(&dump).len());
        assert!(sealed.out == meant, "{release} {variant}");
        for filter in ["remap-part", "acl-rewrite"] {
            let options = if filter == "acl-rewrite" { vec!["--id", "nosuch=x"] } else { vec![] };
            run(filter, &options, &sealed.out).expect(0).writes(&sealed.out);
        }
        run("parse", &[], &sealed.out).expect(0).writes(&sealed.out);
        run("parse", &["--seal"], &sealed.out).expect(0).writes(&sealed.out);
        run("count-guard", &["--sealed"], &sealed.out).expect(0).writes(&dump);
    }
}

#[test]
fn hand_loaded_entries_that_are_malformed_are_refused_by_name() {
    for release in ["2.2.13", "2.3.7"] {
        let dump = read(format!("{release}/inject/dump.txt"));
        let sandbox = Sandbox::empty();
        let rejects = sandbox.file("rejects");
        let ran = run("parse", &["--reject", &rejects], &dump).expect(1);
        for name in ["shared.injemptypart", "user.inj.notrail", "user.inj.odd", "user.inj.odd1"] {
            assert!(ran.err.contains(&format!(": {name}\n")), "{}", ran.tell());
        }
        // What was rejected and what went on is what came in.
        let mut all = [ran.lines(), lines(&sandbox.read("rejects"))].concat();
        let mut came = lines(&dump);
        all.sort();
        came.sort();
        assert!(all == came);
        // With its own release told, what its server ignores is let through as it came: only the missing partition is
        // not.
        let told = run("parse", &["--from", release, "--reject", &rejects], &dump).expect(1);
        assert_eq!(lines(&sandbox.read("rejects")).len(), 1);
        told.says("shared.injemptypart").says("1 refused");
    }
}

#[test]
fn there_and_back_is_where_it_began() {
    let mut checked = 0;
    for (release, variant, dump) in whole_lists() {
        for to in ["2.3.3", "2.3.7", "2.4.22", "3.0.18", "3.4.9"] {
            let there = run("parse", &["--from", release, "--to", to], &dump);
            if there.status != 0 || !there.err.contains(&format!("{0} in, {0} out", lines(&dump).len())) {
                // Something in it the other release cannot hold.
                continue;
            }
            let back = run("parse", &["--from", to, "--to", release], &there.out);
            if back.status != 0 && variant == "murder" {
                // Lists up to 2.3.3 have no types: supplied on the way there, they cannot be held on the way back.
                continue;
            }
            let back = back.expect(0);
            assert!(back.out == dump, "{release} {variant} -> {to} -> {release}");
            // Converted once, there is nothing more to convert.
            run("parse", &["--to", to], &there.out).expect(0).writes(&there.out);
            checked += 1;
        }
    }
    assert!(checked >= 60, "{checked}");
}

#[test]
fn done_twice_is_done_once() {
    for (release, variant, dump) in whole_lists() {
        let options = ["--from", release];
        let once = run("acl-rewrite", &[], &dump).expect(0);
        run("acl-rewrite", &[], &once.out).expect(0).writes(&once.out);
        let as_it_was = run("acl-rewrite", &options, &dump).expect(0);
        run("acl-rewrite", &[], &as_it_was.out).expect(0).writes(&as_it_was.out);
        let once = run("remap-part", &["default=a", "0=b"], &dump).expect(0);
        run("remap-part", &["default=a", "0=b"], &once.out).expect(0).writes(&once.out);
        // In a sealed list the mark tells that it was done: what is explicit now would have been ignored on 2.2.
        let sealed = run("parse", &["--seal", "--from", release], &dump).expect(0);
        let once = run("acl-rewrite", &[], &sealed.out).expect(0);
        assert!(once.out.starts_with(format!("!mbx-list from {release} rights rewritten\n").as_bytes()));
        run("acl-rewrite", &[], &once.out).expect(0).writes(&once.out);
        let swapped = run("remap-part", &["0=1", "1=0"], &dump).expect(0);
        run("remap-part", &["0=1", "1=0"], &swapped.out).expect(0).writes(&dump);
        let granted = run("acl-rewrite", &["--grant", "cyrus=lrswikxtea"], &dump).expect(0);
        let again = run("acl-rewrite", &["--grant", "cyrus=lrswikxtea"], &granted.out).expect(0);
        assert!(again.out == granted.out, "{release} {variant}");
    }
}

#[test]
fn a_list_in_several_files_is_one_list() {
    let dump = read("2.4.22/flat/dump.txt");
    let all = lines(&dump);
    let sandbox = Sandbox::empty();
    for cut in [1, 50, all.len() - 1] {
        sandbox.write("a", all[..cut].concat());
        sandbox.write("b", all[cut..].concat());
        sandbox.sh("mbx-parse a b >out && mbx-parse --seal a - <b | mbx-count-guard --sealed >out2").expect(0);
        assert!(sandbox.read("out") == dump);
        assert!(sandbox.read("out2") == dump);
    }
}

/// Bytes that an entry of a text list can have, with those that matter to somebody more often.
fn field(odd: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 33_u8..127, 2 => proptest::sample::select(odd), 1 => 128_u8..=255];
    proptest::collection::vec(byte, 1..20)
}

fn entry() -> impl Strategy<Value = Vec<u8>> {
    let pairs = proptest::collection::vec((field(b" -.@"), field(b"lrswipcdakxten09")), 0..5);
    let partition = proptest::sample::select(vec!["default", "0", "1", "part-3", "2nd", "be.example.com!0"]);
    // What begins as a JSON object does is taken for one.
    let mailbox = field(b" .!^{").prop_filter("JSON", |name| !name.starts_with(b"{\"") && !name.starts_with(b"{}"));
    (mailbox, partition, pairs).prop_map(|(mailbox, partition, pairs)| {
        let mut line = [&mailbox[..], b"\t", partition.as_bytes(), b"\t"].concat();
        for (identifier, rights) in pairs {
            line.extend([&identifier[..], b"\t", &rights, b"\t"].concat());
        }
        line.push(b'\n');
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random lists, good and odd: nothing is lost, nothing is made up, and what is written is read again.
    #[test]
    fn random_lists_keep_the_laws(entries in proptest::collection::vec(entry(), 1..40)) {
        let list = entries.concat();
        let sandbox = Sandbox::empty();
        let rejects = sandbox.file("rejects");
        run("parse", &["--from", "2.2.13"], &list).expect(0).writes(&list);
        for to in ["2.3.7", "2.4.22", "3.0.18", "3.4.9"] {
            let ran = run("parse", &["-q", "--from", "2.2.13", "--to", to, "--reject", &rejects], &list);
            prop_assert!(ran.status <= 1, "{}", ran.tell());
            let rejected = lines(&sandbox.read("rejects"));
            prop_assert_eq!(rejected.len() + ran.lines().len(), entries.len());
            prop_assert!(rejected.iter().all(|line| entries.contains(line)));
            if !ran.out.is_empty() {
                run("parse", &["-q", "--to", to], &ran.out).expect(0).writes(&ran.out);
                run("acl-rewrite", &["-q", "--from", "2.2.13", "--drop-inert"], &ran.out).expect(0);
                run("remap-part", &["-q", "default=1", "1=default"], &ran.out).expect(0);
            }
        }
    }

    /// Rights and identifiers: what was closed stays closed, an identifier is one that was there or was asked for, what
    /// is not asked about keeps its bytes, and done twice is done once.
    #[test]
    fn random_acls_are_rewritten_and_nothing_else_is(entries in proptest::collection::vec(entry(), 1..20)) {
        let list = entries.concat();
        // Mailbox, place, and the parts of the ACL.
        let parts = |list: &[u8]| -> Vec<Vec<Vec<u8>>> {
            let parts = |line: &Vec<u8>| line.split(|b| *b == b'\t').map(<[u8]>::to_vec).collect();
            lines(list).iter().map(parts).collect()
        };
        let identifiers = |line: &[Vec<u8>]| line[2..].iter().step_by(2).cloned().collect::<Vec<_>>();
        for from in ["2.2.13", "2.3.1"] {
            let once = run("acl-rewrite", &["-q", "--from", from, "--drop-inert"], &list).expect(0);
            for (was, is) in parts(&list).iter().zip(parts(&once.out)) {
                // The same number of TABs, the last of them at the end.
                prop_assert_eq!(was.len(), is.len());
                prop_assert_eq!(&was[..2], &is[..2]);
                prop_assert_eq!(identifiers(was), identifiers(&is));
                prop_assert!(is[2..].iter().skip(1).step_by(2).all(|rights| !rights.iter().any(|b| b"cd".contains(b))));
            }
            run("acl-rewrite", &["-q"], &once.out).expect(0).writes(&once.out);
        }
        let asked = ["-q", "--id", "a=granted", "--drop-id", "b", "--grant", "granted=lrs"];
        let once = run("acl-rewrite", &asked, &list).expect(0);
        for (was, is) in parts(&list).iter().zip(parts(&once.out)) {
            prop_assert_eq!(&was[..2], &is[..2]);
            prop_assert!(is.len() % 2 == was.len() % 2 && is.last() == Some(&vec![b'\n']));
            let known = identifiers(was);
            for id in identifiers(&is) {
                prop_assert!(known.contains(&id) || id == b"granted" || id == b"-granted");
            }
        }
        run("acl-rewrite", &asked, &once.out).expect(0).writes(&once.out);
    }

    /// in = out + dropped + refused, in each of the six, whatever becomes of the entries.
    #[test]
    fn random_lists_add_up(entries in proptest::collection::vec(entry(), 1..30), chosen in any::<u64>()) {
        let sandbox = Sandbox::empty();
        let roots = ["default", "0", "1", "part-3", "2nd"];
        let (conf, rejects, only) = (sandbox.file("imapd.conf"), sandbox.file("rejects"), sandbox.file("only"));
        let partitions = roots.map(|root| format!("partition-{root}: {}\nmetapartition-{root}: {}\n",
            sandbox.file(root), sandbox.file(&format!("meta-{root}"))));
        sandbox.write("imapd.conf", format!("defaultpartition: default\nmetapartition_files: header\n{}", partitions.concat()));
        for root in roots {
            // So that no root is empty, which is trouble.
            std::fs::create_dir_all(sandbox.path().join(format!("meta-{root}/user/there"))).unwrap();
            std::fs::create_dir_all(sandbox.path().join(format!("{root}/user/there"))).unwrap();
            sandbox.write(&format!("meta-{root}/user/there/cyrus.header"), "x");
        }
        let own = std::fs::metadata(sandbox.path()).unwrap();
        let owner = format!("{}:{}", own.uid(), own.gid());
        let name = |line: &Vec<u8>| line.split(|b| *b == b'\t').next().unwrap().to_vec();
        let chosen: Vec<_> = entries.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, e)| name(e)).collect();
        sandbox.write("only", [&chosen.join(&b'\n')[..], b"\nuser.there\n"].concat());
        let there = b"user.there\tdefault\ta\tlrs\t\n".to_vec();
        let list = [entries.concat(), there].concat();
        for (filter, options) in [
            ("parse", &["--to", "3.4.9", "--only", &only, "--drop", "remote", "--reject", &rejects][..]),
            ("remap-part", &["--strict", "0=1", "default=2nd", "--reject", &rejects]),
            ("acl-rewrite", &["--drop-inert", "--reject", &rejects]),
            ("check-paths", &["-C", &conf, "--max-missing", "100%", "--reject", &rejects]),
            ("mkmeta", &["-C", &conf, "--owner", &owner, "--reject", &rejects]),
            ("count-guard", &["--min", "1"]),
        ] {
            sandbox.write("rejects", "");
            let ran = run(filter, &[&["--from", "2.2.13"], options].concat(), &list);
            prop_assert!(ran.status <= 1, "mbx-{filter}: {}", ran.tell());
            prop_assert!(!ran.out.split(|b| *b == b'\n').any(|line| line.starts_with(b"!mbx-abort")), "{}", ran.tell());
            let (read, written, rest) = account(&ran.err);
            prop_assert_eq!((read, written + rest), (entries.len() as u64 + 1, read), "mbx-{}: {}", filter, ran.tell());
            prop_assert_eq!(lines(&ran.out).len() as u64, written, "mbx-{}: {}", filter, ran.tell());
            prop_assert!(lines(&sandbox.read("rejects")).len() as u64 <= rest);
        }
    }

    /// Random bytes are no list: whatever they are, an answer, and no crash.
    #[test]
    fn random_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for filter in ["parse", "remap-part", "acl-rewrite", "count-guard"] {
            let ran = run(filter, &[], &bytes);
            prop_assert!((0..=2).contains(&ran.status), "mbx-{filter}: {}", ran.tell());
        }
    }
}
