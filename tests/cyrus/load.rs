//! The guard and the real `ctl_mboxlist` of Debian's Cyrus 3.6.1, whose `-u -L` reads the text of 2.3.10 to 3.5.
//!
//! It is not the loader of the releases that these lists are for (it takes mbtypes for those of 3.6), but it is the
//! real program: it reads its standard input as they do, and is silent as they are. Skipped, loudly, where it is not
//! installed; a failure under MBX_REQUIRE_CYRUS=1. Everything is below a temporary directory; no server is started.

use crate::harness::cyrus::{self, CTL_MBOXLIST};
use crate::harness::{Moments, Sandbox, Walk, command, dumps, json_dumps, lines, run};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// Whoever is killed while the side database is loaded, and whenever: the server's own list stays what it was.
#[test]
fn a_load_that_is_killed_leaves_the_servers_list_alone() {
    let Some(sandbox) = cyrus() else { return };
    let (conf, db, pid) = (sandbox.file("imapd.conf"), sandbox.file("new.db"), sandbox.file("pid"));
    let list = |what: &str, entries: usize| {
        let entry = |i| {
            format!(
                r#""user.{what}{i}": {{"name": "user.{what}{i}", "mbtype": "e", "partition": "default", "acl": {{"{what}{i}": "lrs"}}, "uniqueid": "{what}{i}", "uidvalidity": "1", "foldermodseq": "1", "createdmodseq": "1"}}"#
            )
        };
        format!("{{\n{}\n}}\n", (0..entries).map(entry).collect::<Vec<_>>().join(",\n"))
    };
    let (own, new) = (sandbox.write("own.list", list("own", 50)), sandbox.write("new.list", list("new", 300)));
    sandbox.sh(&format!("{CTL_MBOXLIST} -C {conf} -u <{own}")).expect(0);
    let servers = || (sandbox.sh(&format!("{CTL_MBOXLIST} -C {conf} -d")).out, sandbox.read("conf/mailboxes.db"));
    let before = servers();
    assert!(lines(&before.0).len() > 50);
    // `$$` is the loader's own, which is what the shell becomes.
    let loader = format!("echo $$ >{pid}; exec {CTL_MBOXLIST} -C {conf} -u -f {db}");
    let begin = || {
        for file in [&db, &pid] {
            let _ = std::fs::remove_file(file);
        }
        let mut guard = command("count-guard", &["--to", "3.6.1", &new, "--", "sh", "-c", &loader]);
        guard.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let undisturbed = Instant::now();
    assert!(begin().wait().unwrap().success());
    let mut moments = Moments::within(undisturbed.elapsed());
    // Byte by byte it is never the same: the loader adds the time.
    let compare = format!("{CTL_MBOXLIST} -C {conf} -d -f {db} | mbx-count-guard --compare-with {new}");
    let is_whole = || Path::new(&db).exists() && sandbox.sh(&compare).status == 0;
    assert!(is_whole());
    let trials = std::env::var("MBX_KILL_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_u64) / 20;
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    let patient_until = Instant::now() + Duration::from_secs(40);
    let (mut done, mut in_part) = (0, 0);
    // A kill that always came too late has shown nothing.
    while done < trials || in_part == 0 && Instant::now() < patient_until {
        let mut guard = begin();
        let moment = moments.next();
        let both = walk.below(3);
        let signal = [Signal::KILL, Signal::TERM][walk.below(2) as usize];
        std::thread::sleep(moment);
        let loader = std::fs::read_to_string(&pid).ok().and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw);
        // As long as the guard was not waited for its own number is its own; the loader's is as long as it lives.
        if both != 0 && guard.try_wait().unwrap().is_none() {
            let _ = loader.map(|loader| kill_process(loader, signal));
        }
        if both != 1 {
            let _ = kill_process(Pid::from_child(&guard), signal);
        }
        // The loader has it from the guard: when it ends both are gone.
        guard.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        let success = guard.wait().unwrap().success();
        assert!(servers() == before, "the server's own list is another");
        let whole = is_whole();
        assert!(whole || !success, "a success, and not loaded");
        in_part += u64::from(!whole);
        done += 1;
        if whole {
            moments.too_late(moment);
        } else if !Path::new(&db).exists() {
            moments.too_early();
        }
    }
    println!("{done} loads: {in_part} were not whole");
    assert!(in_part > 0);
    // And again, from the beginning.
    let mut again = begin();
    assert!(again.wait().unwrap().success() && is_whole());
}

/// What the real tools print of a database, as text: `cyr_dbtool show`, and `cvt_cyrusdb` to flat, is the list that its
/// `ctl_mboxlist -d` prints, byte for byte.
#[test]
fn the_text_of_the_real_database_is_its_dump() {
    const CYR_DBTOOL: &str = "/usr/lib/cyrus/bin/cyr_dbtool";
    const CVT_CYRUSDB: &str = "/usr/lib/cyrus/bin/cvt_cyrusdb";
    let mut compared = 0;
    for (release, variant, dump) in json_dumps().into_iter().filter(|(release, ..)| *release == "3.6.1") {
        if !cyrus::is_here(&[CYR_DBTOOL, CVT_CYRUSDB]) {
            return;
        }
        let Some(sandbox) = cyrus() else { return };
        sandbox.write("dump", &dump);
        let [conf, db, flat] = ["imapd.conf", "new.db", "new.flat"].map(|name| sandbox.file(name));
        let ran = sandbox.sh(&format!(
            "{CTL_MBOXLIST} -C {conf} -u -f {db} <dump 2>loader.err && {CTL_MBOXLIST} -C {conf} -d -f {db} >meant && \
             {CYR_DBTOOL} -C {conf} {db} twoskip show >show && {CVT_CYRUSDB} -C {conf} {db} twoskip {flat} flat"
        ));
        assert_eq!(ran.status, 0, "{variant}: {}", ran.tell());
        let meant = sandbox.read("meant");
        // A name with a line end is two lines where it is printed.
        for text in if variant == "inject" { &["new.flat"][..] } else { &["show", "new.flat"] } {
            for options in [&["--from", release][..], &["--from", release, "--to", "3.8.7"]] {
                let ran = run("parse", &[options, &["--reject", "/dev/null"]].concat(), &sandbox.read(text));
                let [made, meant] = match options.len() {
                    2 => [ran.out, run("parse", &["-q", "--reject", "/dev/null"], &meant).out],
                    _ => [ran.out, run("parse", &[options, &["-q", "--reject", "/dev/null"]].concat(), &meant).out],
                };
                // A database of type flat has an order of its own.
                let entries = |list: &[u8]| {
                    let mut entries = lines(&[list.strip_suffix(b"\n}\n").unwrap(), b",\n"].concat());
                    entries.sort();
                    entries
                };
                let same = if *text == "show" { made == meant } else { entries(&made) == entries(&meant) };
                assert!(same, "{variant} {text} {options:?}: {}", ran.err);
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "{compared}");
}
