//! The guard and the real `ctl_mboxlist` of Debian's Cyrus 3.6.1, whose `-u -L` reads the text of 2.3.10 to 3.5.
//!
//! It is not the loader of the releases that these lists are for (it takes mbtypes for those of 3.6), but it is the
//! real program: it reads its standard input as they do, and is silent as they are. Skipped, loudly, where it is not
//! installed; a failure under MBX_REQUIRE_CYRUS=1. Everything is below a temporary directory; no server is started.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use stage::cyrus::{self, CTL_MBOXLIST};
use stage::{Sandbox, dumps, lines, run};
use std::path::Path;
use std::process::Command;

/// A sandbox that Debian's Cyrus user may work in; none where there is no Cyrus.
fn cyrus() -> Option<Sandbox> {
    if !cyrus::is_here(&[CTL_MBOXLIST]) {
        return None;
    }
    let sandbox = Sandbox::empty();
    for dir in ["conf", "conf/db", "spool"] {
        std::fs::create_dir(sandbox.path().join(dir)).unwrap();
    }
    sandbox.conf("imapd.conf", "configdirectory: /cyrus/conf\npartition-default: /cyrus/spool\nmboxlist_db: twoskip\n");
    cyrus::hand_over(sandbox.path());
    Some(sandbox)
}

#[test]
fn the_real_loader_stores_what_the_guard_lets_out() {
    let mut loaded = 0;
    for (release, variant, dump) in dumps() {
        // Its odd names are two for one directory on 3.0 and later, which the guard does not let out.
        if variant == "inject" {
            continue;
        }
        let Some(sandbox) = cyrus() else { return };
        let rejects = sandbox.file("rejects");
        let options =
            ["-q", "--from", release, "--to", "3.4.9", "--drop", "deletedprefix,reserve", "--reject", &rejects];
        let list = run("parse", &options, &dump).out;
        let list = run("acl-rewrite", &["--from", release, "--drop-inert"], &list).expect(0).out;
        // `-L` reads the numbers of 3.6, and dies of some that were types before.
        let list: Vec<u8> =
            lines(&list).into_iter().filter(|line| line.windows(3).any(|w| w == b"\t0 ")).flatten().collect();
        let (conf, db) = (sandbox.file("imapd.conf"), sandbox.file("new.db"));
        let load = ["--to", "3.4.9", "--min", "90", "--", CTL_MBOXLIST, "-C", &conf, "-u", "-L", "-f", &db];
        run("count-guard", &load, &list).expect(0).says(&format!("{0} in, {0} out", lines(&list).len()));
        let printed = Command::new(CTL_MBOXLIST).args(["-C", &conf, "-d", "-f", &db]).output().unwrap().stdout;
        let stored: serde_json::Value =
            serde_json::from_slice(&printed).unwrap_or_else(|e| panic!("{release} {variant}: {e}"));
        for line in lines(&list) {
            let text = std::str::from_utf8(&line).unwrap().trim_end_matches('\n');
            let (mailbox, rest) = text.split_once('\t').unwrap();
            let (mbtype, rest) = rest.split_once(' ').unwrap();
            let (place, acl) = rest.split_once(' ').unwrap();
            // It takes a `>` for the end of the ACL (facts/json.md).
            if mbtype != "0" || acl.contains('>') {
                continue;
            }
            let entry = &stored[mailbox];
            assert_eq!(entry["partition"], place, "{release} {variant}: {mailbox}: {entry}");
            let parts: Vec<_> = acl.split('\t').collect();
            let pairs = parts.chunks_exact(2);
            assert_eq!(entry["acl"].as_object().unwrap().len(), pairs.len(), "{release} {variant}: {mailbox}");
            for pair in pairs {
                assert_eq!(entry["acl"][pair[0]], pair[1], "{release} {variant}: {mailbox}");
            }
            loaded += 1;
        }
    }
    assert!(loaded > 2_500, "{loaded}");
}

#[test]
fn the_real_loader_says_what_it_drops_and_exits_0() {
    let Some(sandbox) = cyrus() else { return };
    let (conf, db) = (sandbox.file("imapd.conf"), sandbox.file("new.db"));
    let list = b"user.a\t0 default a\tlrs\t\nuser.b\t0 default b\tlrs\t\n";
    let drops = format!("{{ echo 'no tab here'; cat; }} | {CTL_MBOXLIST} -C {conf} -u -L -f {db}");
    run("count-guard", &["--to", "3.4.9", "--", "sh", "-c", &drops], list)
        .expect(1)
        .says("line 1: no partition found\n")
        .says("complained on stderr, lines: 1.")
        .says("do not switch");
    // Nothing of a list that is not whole comes as far as that.
    let sealed = run("parse", &["--seal", "--from", "3.4.9", "--to", "3.4.9"], list).expect(0).out;
    let other = sandbox.file("other.db");
    let load = ["--sealed", "--", CTL_MBOXLIST, "-C", &conf, "-u", "-L", "-f", &other];
    run("count-guard", &load, &sealed[..sealed.len() - 15]).expect(1);
    assert!(!Path::new(&other).exists());
    run("count-guard", &load, &sealed).expect(0);
    assert!(Path::new(&other).exists());
}
