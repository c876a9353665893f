//! What can go wrong in a night with `examples/migrate`: each is noticed, or ends as if it had not been.
//!
//! Skipped, loudly, where Cyrus is not installed; a failure under MBX_REQUIRE_CYRUS=1.

use crate::harness;
use crate::harness::cyrus::{self, Server, Session};
use crate::harness::hosts::Hosts;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Nothing is written over, and what no load has moved no rollback moves back.
#[test]
fn what_is_in_the_way_stays_and_what_was_not_moved_too() {
    let Some(hosts) = Hosts::of("2.4.22", "hash", &[("fulldirhash: no\n", "fulldirhash: yes\n")]) else { return };
    hosts.new.write("new.conf", hosts.in_place());
    hosts.set("DROP = deletedprefix,remote\nMAX_REFUSED = 8\nCOPY = no\n");
    let dir = hosts.new.path().join("conf/user/c");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("carol.smith.sub"), "hers").unwrap();
    cyrus::hand_over(&hosts.new.path().join("conf"));
    hosts.make("rehearse").expect(0);
    // Somebody's mail where bob's is to go.
    let night = String::from_utf8(hosts.new.read("kit/work/night.tsv")).unwrap();
    let bob = night.lines().find(|row| row.starts_with("whole\t") && row.ends_with("/user/bob")).unwrap();
    let bob: Vec<&Path> = bob.split('\t').skip(2).map(Path::new).collect();
    std::fs::create_dir_all(bob[1]).unwrap();
    std::fs::write(bob[1].join("cyrus.header"), "of another").unwrap();
    cyrus::hand_over(hosts.old.path());
    let before = std::fs::read(bob[0].join("cyrus.header")).unwrap();
    hosts.fails("load", &["cyrus.header is to become ", "that is there already and another", "make load again"]);
    assert_eq!(std::fs::read(bob[1].join("cyrus.header")).unwrap(), b"of another");
    assert_eq!(std::fs::read(bob[0].join("cyrus.header")).unwrap(), before);
    std::fs::remove_file(bob[1].join("cyrus.header")).unwrap();
    hosts.make("load").expect(0);
    assert_eq!(std::fs::read(bob[1].join("cyrus.header")).unwrap(), before);
    hosts.make("rollback").expect(0);
    assert_eq!(std::fs::read(bob[0].join("cyrus.header")).unwrap(), before);
    assert_eq!(hosts.new.read("conf/user/c/carol.smith.sub"), b"hers");
}

/// Whatever was written into the configuration since, the load that is undone is the one that was made.
#[test]
fn a_rollback_undoes_what_was_loaded_and_no_load_comes_between() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse load").expect(0);
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    let other = hosts.new.write("other.db", "another server's");
    hosts.new.write("new.conf", format!("{conf}mboxlist_db_path: {other}\n"));
    // Killed before it did anything.
    hosts.new.write("kit/work/undoing", "");
    std::fs::remove_file(hosts.new.path().join("kit/work/switched")).unwrap();
    hosts.fails("load", &["a rollback is half way: make rollback ends it"]);
    hosts.make("rollback").expect(0);
    assert_eq!(hosts.new.read("other.db"), b"another server's");
    assert!(!hosts.new.path().join("conf/mailboxes.db").exists());
    assert!(hosts.new.path().join("conf/mailboxes.db.undone").exists());
}

/// Killed between any two of its steps, it ends where it would have ended.
#[test]
fn a_rollback_that_was_stopped_goes_on() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let file = |name: &str| hosts.new.path().join(name);
    hosts.make("rehearse load").expect(0);
    let loaded = hosts.new.read("conf/mailboxes.db");
    let own = |of: &[u8]| std::fs::read(file("conf/mailboxes.db")).is_ok_and(|now| now == of);
    // As if this host had had a list before.
    std::fs::write(file("conf/mailboxes.db.before"), "the one before").unwrap();
    // Behind the first move.
    std::fs::rename(file("conf/mailboxes.db"), file("conf/mailboxes.db.undone")).unwrap();
    hosts.make("rollback").expect(0);
    assert!(own(b"the one before") && hosts.new.read("conf/mailboxes.db.undone") == loaded);
    // Given up before the switch: the server's own list is not taken for the one that was loaded.
    std::fs::remove_file(file("conf/mailboxes.db")).unwrap();
    hosts.make("rehearse").expect(0);
    std::fs::write(file("conf/mailboxes.db"), "the server's own").unwrap();
    hosts.make("work/arranged").expect(0);
    hosts.make("rollback").expect(0).says("given up").says("was not touched");
    assert!(own(b"the server's own") && !file("conf/mailboxes.db.new").exists());
}

#[test]
fn a_list_that_was_cut_off_is_not_taken() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    let dump = hosts.old.file("old.dump");
    hosts.set(&format!("DUMP = head -c 5000 {dump}\n"));
    for goal in ["plan", "rehearse", "load"] {
        hosts.fails(goal, &["is not whole"]);
    }
    // At the end of a line it looks whole; --min knows, and if that is told too low, the rehearsal does.
    hosts.set(&format!("DUMP = head -n 80 {dump}\n"));
    hosts.fails("rehearse", &["--min", "Nothing was loaded"]);
    hosts.set("MIN = 10\n");
    hosts.fails("rehearse", &["--max-lost allows 1%", "rm work/rehearsed.list"]);
    hosts.fails("load", &["--max-lost allows 1%"]);
    // The command failed, whatever it printed.
    hosts.set(&format!("DUMP = cat {dump} && exit 75\n"));
    hosts.fails("load", &["was not printed: status 75"]);
}

#[test]
fn a_map_that_was_swapped_is_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    hosts.set("MAP = default=4 0=3\n");
    hosts.fails("load", &["MAP is another than it was"]);
    hosts.set("COPY = no\n");
    hosts.fails("load", &["stand in partition 4", "stand in partition 3", "--max-missing allows 0"]);
    hosts.set("MAP = default=3\n");
    hosts.fails("load", &["no partition-0, which partition 0 is to become: see MAP"]);
    hosts.set("MAP = default=3 0=3\n");
    hosts.fails("load", &["MAP makes 3 of more than one partition"]);
}

/// 300 users are gone and 300 new ones there since the rehearsal: as many as before.
#[test]
fn three_hundred_lost_and_three_hundred_new_are_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let dump = String::from_utf8(hosts.old.read("old.dump")).unwrap();
    let bob = hosts.old.path().join("spool/1/user/bob");
    let header = std::fs::read(bob.join("cyrus.header")).unwrap();
    let line = header.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(2).unwrap().0 + 1;
    let id = line + header[line..].iter().position(|b| *b == b'\t').unwrap() + 1;
    let users = |from: u32, to: u32| {
        let mut lines = dump.clone();
        for n in from..to {
            let dir = hosts.old.path().join(format!("spool/1/user/n{n}"));
            if std::fs::create_dir(&dir).is_ok() {
                let mut header = header.clone();
                header[id..id + 8].copy_from_slice(format!("{:08x}", n + 0x10000).as_bytes());
                std::fs::write(dir.join("cyrus.header"), header).unwrap();
                for file in ["cyrus.index", "1.", "2."] {
                    std::fs::copy(bob.join(file), dir.join(file)).unwrap();
                }
            }
            writeln!(lines, "user.n{n}\t1\tn{n}\tlrswipcda\t").unwrap();
        }
        hosts.old.write("old.dump", lines);
        cyrus::hand_over(hosts.old.path());
    };
    users(0, 340);
    hosts.make("rehearse").expect(0).says("440 in, 440 out");
    users(300, 640);
    hosts.fails("load", &["differ in", "stop the old server, make rehearse"]);
    hosts.fails("rehearse", &["300", "--max-lost allows 1%", "rm work/rehearsed.list"]);
    // Now the spool has come over, and the list is still another.
    hosts.fails("load", &["300", "--max-lost allows 1%"]);
    hosts.set("MAX_LOST = 70%\n");
    hosts.make("load").expect(0).says("440 in, 440 out").says("Start the server");
}

/// A stand-in for the real ctl_mboxlist that stops half way through a load, until it is killed.
fn halting(hosts: &Hosts) -> String {
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\ncase $last in -u) ;; *) exec {real} \"$@\";; esac\n\
         head -n 40 | sed '40s/,$/}}/' | {real} \"$@\"\n: >{halted}\nsleep 60\n",
        real = cyrus::CTL_MBOXLIST,
        halted = hosts.new.file("bin/halted")
    );
    std::fs::create_dir(hosts.new.path().join("bin")).unwrap();
    let path = hosts.new.write("bin/ctl_mboxlist", script);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("chown").args(["cyrus", &hosts.new.file("bin")]).status().unwrap().success());
    hosts.new.file("bin")
}

#[test]
fn a_load_that_was_killed_midway_leaves_the_servers_list_alone() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse load").expect(0);
    hosts.make("rollback").expect(0);
    // The new server had a list before, which is not ours.
    std::fs::rename(hosts.new.path().join("conf/mailboxes.db.undone"), hosts.new.path().join("conf/mailboxes.db"))
        .unwrap();
    let before = hosts.new.read("conf/mailboxes.db");
    hosts.set(&format!("CYRUS_BIN = {}\n", halting(&hosts)));
    let path = format!("{}:{}", harness::bin().display(), std::env::var("PATH").unwrap());
    let mut make = Command::new("make");
    make.args(["-C", &hosts.new.file("kit"), "load"]).env("PATH", path).process_group(0);
    let mut child = make.spawn().unwrap();
    let patient_until = Instant::now() + Duration::from_secs(30);
    while !hosts.new.path().join("bin/halted").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(Instant::now() < patient_until);
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(hosts.new.read("conf/mailboxes.db"), before);
    assert!(hosts.new.path().join("conf/mailboxes.db.new").exists());
    hosts.set(&format!("CYRUS_BIN = {}\n", Path::new(cyrus::CTL_MBOXLIST).parent().unwrap().display()));
    hosts.make("load").expect(0);
    assert_eq!(hosts.new.read("conf/mailboxes.db.before"), before);
    assert_eq!(hosts.every_mailbox_opens(), 100);
    hosts.make("rollback").expect(0).says("mail that was delivered");
    assert_eq!(hosts.new.read("conf/mailboxes.db"), before);
    hosts.fails("rollback", &["nothing was loaded"]);
}

/// Killed between two moves, it goes on with the others.
#[test]
fn moves_that_were_stopped_go_on() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[("hashimapspool: no\n", "hashimapspool: yes\n")]) else { return };
    hosts.make("rehearse").expect(0);
    // A disk that is full would do the same.
    let spool = hosts.new.path().join("spool/1");
    std::fs::write(spool.join("b"), "in the way of b/user/bob").unwrap();
    std::fs::write(hosts.old.path().join("spool/1/b"), "in the way of b/user/bob").unwrap();
    hosts.make("rehearse").expect(0);
    hosts.fails("load", &["a directory could not be moved", "make load again"]);
    assert!(hosts.new.path().join("kit/work/arranging").exists() && spool.join("user/bob").exists());
    hosts.fails("rehearse", &["a load is half way"]);
    std::fs::remove_file(spool.join("b")).unwrap();
    hosts.make("load").expect(0);
    assert_eq!(hosts.every_mailbox_opens(), 100);
}

#[test]
fn nothing_is_done_beside_a_running_server() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse load").expect(0);
    let cyrus_conf = hosts.new.read("cyrus.conf");
    {
        let mut server = Server::start(&hosts.new);
        let mut session: Session = server.log_in();
        session.ask("LIST \"\" INBOX").ok();
        hosts.fails("rollback", &["a master runs here", "stop it"]);
        drop(session);
        // Blanks behind the value are none of it.
        hosts.set(&format!("MASTER_PID = {}  \n", hosts.new.file("master.pid")));
        hosts.fails("rollback", &["a master runs here", "stop it"]);
        // Where the pid file is not, there is the process.
        hosts.set("MASTER_PID = /nonexistent\n");
        hosts.fails("rollback", &["a master runs here with", "process", "stop it"]);
        // Seen by the Cyrus user, too, whom /proc tells less.
        cyrus::hand_over(hosts.new.path());
        let path = format!("{}:{}", harness::bin().display(), std::env::var("PATH").unwrap());
        let make = format!("cd kit && runuser -u cyrus -- env PATH='{path}' make rollback");
        let ran = hosts.new.sh(&make);
        assert!(ran.status != 0 && ran.err.contains("a master runs here with"), "{}", ran.tell());
    }
    hosts.new.write("cyrus.conf", cyrus_conf);
    hosts.make("rollback").expect(0);
    let socket = std::os::unix::net::UnixListener::bind(hosts.new.path().join("conf/socket/lmtp")).unwrap();
    for goal in ["rehearse", "load"] {
        hosts.fails(goal, &["a server listens at", "socket/lmtp: stop it"]);
    }
    drop(socket);
    // The number of a master that is gone, and another's by now; and a root that is another than at the last copy.
    let stale = hosts.new.write("stale.pid", std::process::id().to_string());
    hosts.set(&format!("MASTER_PID = {stale}\n"));
    let (conf, new) = (String::from_utf8(hosts.new.read("new.conf")).unwrap(), hosts.new.path().display().to_string());
    hosts.new.write("new.conf", conf.replace(&format!("{new}/spool/3"), &format!("{new}/spool/other")));
    std::fs::create_dir(hosts.new.path().join("spool/other")).unwrap();
    cyrus::hand_over(hosts.new.path());
    hosts.make("rehearse").expect(0);
}

#[test]
fn two_makes_do_not_work_side_by_side() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("plan").expect(0);
    // A make of somebody else, that waits for the end of its input.
    hosts.new.write("idle.mk", "all: ; @cat\n");
    let mut idle = Command::new("make")
        .args(["-f", "idle.mk"])
        .current_dir(hosts.new.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let number = idle.id().to_string();
    hosts.new.write("kit/work/make.pid", &number);
    hosts.fails("rehearse", &["another make", &number]);
    hosts.fails("rollback", &["another make", &number]);
    drop(idle.stdin.take());
    idle.wait().unwrap();
    hosts.make("rehearse").expect(0);
}

/// What rsync began goes on when make is gone.
#[test]
fn what_a_killed_make_has_begun_is_waited_for() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    let lock = hosts.new.file("kit/work/lock");
    let mut holds = Command::new("flock").args([&lock, "cat"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let taken = || !Command::new("flock").args(["-n", &lock, "true"]).status().unwrap().success();
    let patient_until = Instant::now() + Duration::from_secs(20);
    while !taken() {
        assert!(Instant::now() < patient_until);
        std::thread::sleep(Duration::from_millis(20));
    }
    for goal in ["rehearse", "load", "rollback"] {
        hosts.fails(goal, &["something that an earlier make began is still at work"]);
    }
    drop(holds.stdin.take());
    holds.wait().unwrap();
    hosts.make("rehearse").expect(0);
}

/// Each load has a list before it, and none of them is lost.
#[test]
fn the_list_before_an_earlier_load_is_kept_beside_the_last_one() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    hosts.set("COPY = no\n");
    let has = |list: &str| {
        hosts.new.write("conf/mailboxes.db", list);
        cyrus::hand_over(&hosts.new.path().join("conf"));
    };
    has("the first");
    hosts.make("rehearse load").expect(0);
    std::fs::remove_dir_all(hosts.new.path().join("kit/work")).unwrap();
    has("the second");
    hosts.make("rehearse").expect(0);
    hosts.make("load").expect(0);
    assert_eq!(hosts.new.read("conf/mailboxes.db.before"), b"the second");
    let found = hosts.new.sh("cat conf/mailboxes.db.before.2*").expect(0).out;
    assert_eq!(found, b"the first");
}

/// A user has files by one name. Of 3.6 and later it is known which, of others an administrator must tell.
#[test]
fn files_of_a_user_by_two_names_do_not_take_each_others_place() {
    let full = &[("fulldirhash: no\n", "fulldirhash: yes\n")];
    for (release, variant, letter) in [("3.6.1", "legacyhash", "c"), ("2.4.22", "hash", "c")] {
        let Some(hosts) = Hosts::of(release, variant, full) else { return };
        hosts.set("DROP = deletedprefix,remote\nMAX_REFUSED = 8\n");
        let dir = hosts.old.path().join("conf/user").join(letter);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("carol.smith.sub"), "user.carol^smith.Sent\t\n").unwrap();
        std::fs::write(dir.join("carol^smith.sub"), "left from before\n").unwrap();
        std::fs::write(dir.join("carol.sub"), "user.carol\t\n").unwrap();
        cyrus::hand_over(hosts.old.path());
        if release == "2.4.22" {
            hosts.fails("rehearse", &["carol^smith.sub and ", "one user has both", "remove the other on the old host"]);
            std::fs::remove_file(dir.join("carol^smith.sub")).unwrap();
        }
        hosts.make("rehearse load").expect(0);
        let found = hosts.new.sh("cat conf/user/*/carol.smith.sub").expect(0).out;
        assert_eq!(String::from_utf8_lossy(&found), "user.carol^smith.Sent\t\n", "{release}");
        // Nor does one user's name that begins as another's.
        for user in ["carol", "carol.smith"] {
            let mbpath = format!("runuser -u cyrus -- /usr/lib/cyrus/bin/mbpath -C new.conf -u -a -- {user}");
            let told = String::from_utf8(hosts.new.sh(&mbpath).expect(0).out).unwrap();
            let dir = told.lines().find_map(|line| line.strip_prefix("User: ")).unwrap();
            assert!(Path::new(dir).join(format!("{user}.sub")).exists(), "{release}: {user}: {dir}");
        }
    }
}

/// On a renamed back end of a murder it would delete every local mailbox.
#[test]
fn a_start_that_pushes_a_renamed_back_end_is_refused() {
    let renamed = &[("servername: mail.test", "servername: new.test")];
    let Some(hosts) = Hosts::of("2.2.13", "flat", renamed) else { return };
    hosts.make("rehearse").expect(0);
    let push = "START {\n  # all\n  mupdatepush cmd=\"/usr/sbin/cyrus ctl_mboxlist -m\"\n}\nSERVICES {\n}\n";
    hosts.new.write("cyrus.conf", push);
    hosts.fails("load", &["cyrus.conf:3: START runs ctl_mboxlist -m", "'new.test' here, 'mail.test' on the old host"]);
    // In no other section, and not where the name is the same.
    hosts.new.write("cyrus.conf", push.replace("START", "EVENTS"));
    hosts.make("load").expect(0);
    // And the line that is back does not keep anybody from going back.
    hosts.new.write("cyrus.conf", push);
    hosts.make("rollback").expect(0);
}

/// However much was left out on request.
#[test]
fn what_matters_is_not_hidden_behind_what_was_dropped() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let dump = String::from_utf8(hosts.old.read("old.dump")).unwrap();
    let dropped: String = (0..200).map(|n| format!("DELETED.user.x{n}.5F0A1B2C\tdefault\tx\tlrs\t\n")).collect();
    hosts.old.write("old.dump", format!("{dropped}{dump}"));
    hosts.set("MAX_REFUSED = 1\n");
    let plan = String::from_utf8(hosts.make("plan").expect(0).out).unwrap();
    for told in [
        "component of the name too long (255 bytes",
        "mailbox name too long (490 bytes",
        " lines are in work/take.log)",
    ] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    hosts.fails("rehearse", &["component of the name too long", "mailbox name too long", "201 deletedprefix dropped"]);
    hosts.set(&format!(
        "DUMP = cat {} && echo '!mbx-abort ctl_mboxlist: the disk is gone'\n",
        hosts.old.file("old.dump")
    ));
    hosts.fails("plan", &["the disk is gone", "is not whole"]);
}

#[test]
fn what_the_new_server_cannot_hold_is_named() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    // A line that is no entry was a mailbox, too.
    hosts.set("MAX_REFUSED = 2\n");
    let dump = hosts.old.read("old.dump");
    let cut = |line: Vec<u8>| if line.starts_with(b"user.frank\t") { b"user.frank\n".to_vec() } else { line };
    hosts.old.write("old.dump", harness::lines(&dump).into_iter().map(cut).collect::<Vec<_>>().concat());
    hosts.fails(
        "rehearse",
        &["no partition", "user.frank", "these 3 (all in work/refused)", "or allow MAX_REFUSED = 3"],
    );
    hosts.old.write("old.dump", dump);
    hosts.set("MAX_REFUSED = 1\n");
    hosts.fails("rehearse", &["shared.acl.a10\n", "on the old server, or allow MAX_REFUSED = 2"]);
}

/// The old server is one of this host, too, if its disks are.
#[test]
fn nothing_is_moved_beside_the_old_server() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    let list = hosts.old.write("conf/mailboxes.db", "the old one");
    let held = std::fs::File::open(&list).unwrap();
    hosts.make("rehearse").expect(0);
    hosts.fails("load", &["has ", "conf/mailboxes.db open: stop the server"]);
    drop(held);
    let socket = hosts.old.path().join("conf/socket");
    std::fs::create_dir(&socket).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(socket.join("lmtp")).unwrap();
    hosts.fails("load", &["a server listens at ", "socket/lmtp: stop it"]);
    drop(socket);
    // A name that is a pattern elsewhere, and one that a blank ends.
    let odd = hosts.new.path().join("conf/a [1] \\ list.db");
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    hosts.new.write("new.conf", format!("{conf}mboxlist_db_path: {}\n", odd.display()));
    std::fs::write(&odd, "").unwrap();
    let held = std::fs::File::open(&odd).unwrap();
    hosts.fails("load", &["list.db open: stop the server"]);
    drop(held);
    std::fs::remove_file(&odd).unwrap();
    hosts.new.write("new.conf", conf);
    hosts.make("load").expect(0);
    // What is undone is what was loaded, wherever the list is by now.
    let held = std::fs::File::open(hosts.new.path().join("conf/mailboxes.db")).unwrap();
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    hosts.new.write("new.conf", format!("{conf}mboxlist_db_path: {}\n", odd.display()));
    hosts.fails("rollback", &["conf/mailboxes.db open: stop the server"]);
    drop(held);
    hosts.make("rollback").expect(0);
}

/// By whatever name a master was started, and with whatever copy of the imapd.conf.
#[test]
fn a_master_of_the_same_configdirectory_is_seen() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse load").expect(0);
    let copy = hosts.new.write("copy.conf", hosts.new.read("new.conf"));
    // What is read there are the arguments.
    let called = |name: &str, conf: &str| {
        let mut shell = Command::new("sh");
        shell.arg0(name).args(["-c", "read line", "-C", conf]).stdin(std::process::Stdio::piped());
        shell.spawn().unwrap()
    };
    for name in ["/opt/libexec/master", "/usr/sbin/cyrmaster.distrib", "/usr/lib/cyrus/bin/master-3.6"] {
        let mut master = called(name, &copy);
        hosts.fails("rollback", &["a master runs here with", "stop it"]);
        drop(master.stdin.take());
        master.wait().unwrap();
    }
    // postfix has a master, too, and tells no configuration; nor is a connection of ssh one.
    let ssh = called("ssh: /home/cyrus/.ssh/master-cyrus@old:22 [mux]", &copy);
    let postfix = called("/usr/lib/postfix/sbin/master", &copy);
    hosts.make("rollback").expect(0);
    for mut other in [postfix, ssh] {
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}

/// What would go wrong at night goes wrong in the rehearsal.
#[test]
fn the_loader_is_rehearsed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    for (settings, says) in [
        ("CYRUS_BIN = /nonexistent\n", "/nonexistent/ctl_mboxlist"),
        ("CYRUS_CONF = /nonexistent\n", "CYRUS_CONF in config.mk tells where it is"),
        ("MASTER_PID =\n", "MASTER_PID is a file"),
    ] {
        let config = hosts.new.read("kit/config.mk");
        hosts.set(settings);
        hosts.fails("rehearse", &[says]);
        hosts.new.write("kit/config.mk", config);
    }
    hosts.make("rehearse").expect(0);
    assert!(!hosts.new.path().join("conf/mailboxes.db.rehearsed").exists());
    assert!(!hosts.new.path().join("conf/mailboxes.db").exists());
    // To look makes no list either.
    for goal in ["verify", "rollback"] {
        hosts.fails(goal, &["nothing was loaded"]);
    }
    assert!(!hosts.new.path().join("conf/mailboxes.db").exists());
    let flags = hosts.make("-i load");
    assert!(flags.status != 0 && flags.err.contains("without -i, -t and -B"), "{}", flags.tell());
    let flags = hosts.make("-B load");
    assert!(flags.status != 0 && flags.err.contains("without -i, -t and -B"), "{}", flags.tell());
    let flags = hosts.make("--touch load");
    assert!(flags.status != 0 && flags.err.contains("without -i, -t and -B"), "{}", flags.tell());
    hosts.make("--no-print-directory load").expect(0);
}

/// A load that was stopped takes the list of when it began, so nobody may have used the old server since.
#[test]
fn a_load_that_goes_on_asks_whether_the_old_server_was_started() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[("hashimapspool: no\n", "hashimapspool: yes\n")]) else { return };
    for spool in [&hosts.new, &hosts.old] {
        std::fs::create_dir_all(spool.path().join("spool/1")).unwrap();
        std::fs::write(spool.path().join("spool/1/b"), "in the way of b/user/bob").unwrap();
    }
    hosts.new.sh("echo \"$PWD/spool/1\tno\" >>kit/copied; mkdir -p kit/work; mv kit/copied kit/work/copied").expect(0);
    hosts.make("rehearse").expect(0);
    hosts.fails("load", &["a directory could not be moved"]);
    let list = hosts.old.read("old.dump");
    hosts.old.write("old.dump", [&list[..], b"user.later\t1\tlater\tlrswipcda\t\n"].concat());
    std::fs::remove_file(hosts.new.path().join("spool/1/b")).unwrap();
    hosts.fails("load", &["goes on with the list and the copy of ", "the old server has another list by now"]);
    hosts.old.write("old.dump", list);
    hosts.make("load").expect(0).says("what the old server got since is not in them");
    assert_eq!(hosts.every_mailbox_opens(), 100);
}

/// A mailbox like user.bob, of another uniqueid.
fn another_bob(hosts: &Hosts, dir: &str, uniqueid: &str) {
    let made = format!(
        "mkdir -p '{dir}' && find spool/1/user/bob -maxdepth 1 -type f -exec cp -p -t '{dir}' {{}} + && \
         sed -i 's/74b516a56b04488f/{uniqueid}/' '{dir}/cyrus.header'"
    );
    hosts.old.sh(&made).expect(0);
    cyrus::hand_over(hosts.old.path());
}

/// A clock that was ahead makes no list of an earlier night the newest.
#[test]
fn a_list_of_an_earlier_night_is_not_loaded() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    let config = hosts.new.read("kit/config.mk");
    hosts.set("CYRUS_BIN = /nonexistent\n");
    hosts.fails("load", &["/nonexistent/ctl_mboxlist"]);
    hosts.new.sh("cd kit/work && touch -d '+1 hour' final.list && cp -p final.list verified").expect(0);
    hosts.new.write("kit/config.mk", config);
    let list = hosts.old.read("old.dump");
    hosts.old.write("old.dump", [&list[..], b"user.bob.new\t1\tbob\tlrswipcda\t\n"].concat());
    another_bob(&hosts, "spool/1/user/bob/new", "74b516a56b044890");
    hosts.make("rehearse").expect(0);
    hosts.make("load").expect(0);
    assert!(hosts.list().contains_key("user.bob.new"));
}

/// What fails in the middle of a step fails the step.
#[test]
fn a_tool_that_fails_is_not_taken_for_nothing_to_do() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[("fulldirhash: no\n", "fulldirhash: yes\n")]) else { return };
    hosts.make("rehearse").expect(0);
    hosts
        .new
        .sh("mkdir bin && printf '#!/bin/sh\\ncase $* in *-k*) exit 2 ;; esac; exec /usr/bin/sort \"$@\"\\n' >bin/sort")
        .expect(0);
    hosts.new.sh("chmod 755 bin/sort && chmod 755 bin").expect(0);
    let ran = hosts.new.sh("cd kit && PATH=$PWD/../bin:$PATH make load");
    assert!(ran.status != 0 && ran.err.contains("a directory could not be moved"), "{}", ran.tell());
    hosts.make("load").expect(0);
    assert_eq!(hosts.new.read("conf/user/L/alice.seen"), b"of alice");
    // The scripts can be asked from where they are.
    let said = hosts.new.sh("cd kit && W=work sh steps.sh conf partition-1 old.conf").expect(0).out;
    assert_eq!(String::from_utf8(said).unwrap().trim(), hosts.old.file("spool/1"));
}

#[test]
fn what_stays_behind_is_named() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[("fulldirhash: no\n", "fulldirhash: yes\n")]) else { return };
    hosts.old.sh("mkdir -p conf/user/b && touch conf/user/b/boss.sub conf/user/b/bob.sub").expect(0);
    // Cut off at the end of a line, two that are no entry, and a name in MAP that nothing has.
    let list = String::from_utf8(hosts.old.read("old.dump")).unwrap();
    let cut: String =
        list.lines().filter(|line| !line.starts_with("user.bob.")).map(|line| format!("{line}\n")).collect();
    let lost = list.lines().count() - cut.lines().count();
    assert!(lost > 0);
    hosts.old.write("old.dump", cut.replacen("shared\t", "{\n{oops\nshared\t", 1));
    cyrus::hand_over(hosts.old.path());
    hosts.set("MAP = default=3 0=4 nosuch=1\nMAX_REFUSED = 10\nMIN = 50\n");
    let plan = hosts.make("plan").expect(0);
    assert!(String::from_utf8_lossy(&plan.out).contains("no entry has partition nosuch"), "{}", plan.tell());
    hosts
        .make("rehearse")
        .expect(0)
        .says("1 files of users without an INBOX")
        .says("mailboxes are on the copy and in no entry");
    let strangers = hosts.new.read("kit/work/strangers");
    assert!(strangers.ends_with(b"conf/user/b/boss.sub\n"));
    let refused = String::from_utf8(hosts.new.read("kit/work/refused")).unwrap();
    assert!(refused.lines().any(|line| line == "{") && refused.lines().any(|line| line == "{oops"), "{refused}");
    let orphans = hosts.new.read("kit/work/orphans");
    let orphans = String::from_utf8_lossy(&orphans).matches("\"name\": \"user.bob.").count();
    assert_eq!(orphans, lost);
    // An INBOX with a quote has users' files as others do, and a mailbox cannot be moved into itself.
    hosts.old.write("old.dump", list.clone() + "user.q\"u\t1\tbob\tlrswipcda\t\n");
    hosts.old.sh("mkdir conf/user/q; echo his >'conf/user/q/q\"u.sub'").expect(0);
    another_bob(&hosts, "spool/1/user/q\"u", "74b516a56b044890");
    hosts.make("rehearse load").expect(0);
    let moved = hosts.new.sh("find conf/user -name 'q\"u.sub'").expect(0).out;
    assert!(!moved.is_empty() && !moved.starts_with(b"conf/user/q/"), "{}", String::from_utf8_lossy(&moved));
    hosts.make("rollback").expect(0);
    hosts.old.write("old.dump", list + "z.z\t1\tbob\tlrswipcda\t\n");
    another_bob(&hosts, "spool/1/z/z", "74b516a56b044891");
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    hosts
        .new
        .write("new.conf", conf.replace("hashimapspool: no", "hashimapspool: yes").replace("fulldirhash: yes\n", ""));
    hosts.fails("rehearse", &["that cannot be moved into itself"]);
}

/// The new server would not look for them there.
#[test]
fn what_is_kept_apart_no_more_is_refused() {
    let Some(hosts) = Hosts::of("2.3.7", "meta2", &[]) else { return };
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    let words = conf.lines().find(|line| line.starts_with("metapartition_files:")).unwrap();
    assert!(words.contains("index"));
    hosts.new.write("new.conf", conf.replace(words, "metapartition_files: cache"));
    hosts.fails("plan", &["metapartition_files has no word index", "Add it"]);
}
