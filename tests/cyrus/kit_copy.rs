//! What `examples/migrate` copies, and what it must leave alone: disks that are not there, links, directories of others.
//!
//! Skipped, loudly, where Cyrus is not installed; a failure under MBX_REQUIRE_CYRUS=1.

use crate::harness::cyrus;
use crate::harness::hosts::Hosts;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// An empty mountpoint would empty its copy.
#[test]
fn a_directory_that_is_empty_now_does_not_empty_its_copy() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.old.write("sieve/a.script", "keep;");
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse").expect(0);
    std::fs::remove_file(hosts.old.path().join("sieve/a.script")).unwrap();
    for goal in ["rehearse", "load"] {
        hosts.fails(goal, &["/sieve/ is empty, and ", "is not: is the old host's disk mounted?"]);
    }
    assert_eq!(hosts.new.read("sieve/a.script"), b"keep;");
    hosts.set("RSYNC = rsync -aHq --delete\n");
    hosts.fails("rehearse", &["does not tell that it would copy a file named b/1.: without -q"]);
}

/// rsync --delete into the directory that another one lies in would remove that.
#[test]
fn directories_that_lie_in_one_another_are_refused() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let (old, new) = (hosts.old.path().display().to_string(), hosts.new.path().display().to_string());
    let count = |dir: &Path| dir.join("default/shared/cyrus.header").exists();
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    for (root, says) in [
        (format!("{old}/spool"), format!(" lies in {old}/spool:")),
        (format!("{old}/spool/default/x"), format!("{old}/spool/default/x lies in {old}/spool/default")),
        (format!("{new}/spool"), format!(" lies in {new}/spool:")),
    ] {
        hosts.new.write("new.conf", conf.replace(&format!("{new}/spool/3"), &root));
        for goal in ["plan", "rehearse"] {
            hosts.fails(goal, &[&says, "Give each a directory of its own"]);
        }
        assert!(count(&hosts.old.path().join("spool")), "{root}");
    }
}

/// A copy into the partitions of a server that is in use would remove its mail.
#[test]
fn nobody_copies_over_a_server_that_is_in_use() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse load").expect(0);
    std::fs::remove_dir_all(hosts.new.path().join("kit/work")).unwrap();
    let delivered = hosts.new.path().join("spool/1/user/bob/99.");
    std::fs::write(&delivered, "Subject: new\r\n\r\n").unwrap();
    hosts.fails(
        "rehearse",
        &["has a list of its own", "would remove the mail of every mailbox in it", "move that file away"],
    );
    assert!(delivered.exists());
    std::fs::rename(hosts.new.path().join("conf/mailboxes.db"), hosts.new.path().join("conf/mailboxes.old")).unwrap();
    hosts
        .fails("rehearse", &["/spool/1/", "no rehearsal of this kit has copied them", "cat work/claims >>work/copied"]);
    assert!(delivered.exists());
    hosts.new.sh("cd kit && cat work/claims >>work/copied").expect(0);
    hosts.make("rehearse").expect(0);
    assert!(!delivered.exists());
}

#[test]
fn a_disk_that_is_not_mounted_is_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let (there, away) = (hosts.new.path().join("spool/3"), hosts.new.path().join("away"));
    // Before the first copy.
    std::fs::rename(&there, &away).unwrap();
    hosts.fails("rehearse", &["spool/3: is not there. Mount it"]);
    std::fs::rename(&away, &there).unwrap();
    hosts.make("rehearse").expect(0);
    let kept = std::fs::read(there.join("shared/cyrus.header")).unwrap();
    // The new host's, after it.
    std::fs::rename(&there, &away).unwrap();
    std::fs::create_dir(&there).unwrap();
    hosts.fails("rehearse", &["held mailboxes at the last rehearsal and is empty now: is the disk mounted?"]);
    hosts.fails("load", &["held mailboxes at the last rehearsal and is empty now: is the disk mounted?"]);
    std::fs::remove_dir(&there).unwrap();
    std::fs::rename(&away, &there).unwrap();
    // The old host's: an empty source would empty the copy.
    let (here, gone) = (hosts.old.path().join("spool/default"), hosts.old.path().join("gone"));
    std::fs::rename(&here, &gone).unwrap();
    hosts.fails("load", &["cannot be listed"]);
    std::fs::create_dir(&here).unwrap();
    for goal in ["rehearse", "load"] {
        hosts.fails(goal, &["is empty, and ", "spool/3, its copy, is not: is the old host's disk mounted?"]);
    }
    assert_eq!(std::fs::read(there.join("shared/cyrus.header")).unwrap(), kept);
    // A spool that came by other means, and is not there.
    hosts.set("COPY = no\n");
    std::fs::rename(&there, &away).unwrap();
    hosts.fails("load", &["spool/3", "Nothing was loaded"]);
    std::fs::create_dir(&there).unwrap();
    hosts.fails("load", &["holds no mailbox though the list has some in partition 3: is the disk mounted?"]);
}

#[test]
fn what_changed_on_the_old_host_since_the_last_copy_is_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    hosts.old.write("spool/1/user/bob/99.", "Subject: new\r\n\r\n");
    // What -v says besides is no difference.
    hosts.set("RSYNC = rsync -aHv --delete\n");
    hosts.fails("load", &["user/bob/99.", "stop the old server, make rehearse, and make load again"]);
    hosts.make("rehearse load").expect(0).says("quota/ is not there: no quota files are copied");
}

/// A configdirectory that is none of the old server's would leave every subscription behind.
#[test]
fn a_configdirectory_that_is_none_is_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let conf = String::from_utf8(hosts.new.read("kit/old.conf")).unwrap();
    let old = hosts.old.path().display();
    hosts.new.write(
        "kit/old.conf",
        conf.replace(&format!("configdirectory: {old}/conf"), &format!("configdirectory: {old}/cnf")),
    );
    hosts.fails("rehearse", &["cnf on the old host has neither user/ nor quota/ nor domain/"]);
}

/// The copy of such a link is a link to the old host's own disk, and what is moved on the way would be moved there.
#[test]
fn a_link_to_a_directory_is_not_copied_as_one() {
    let hashed = [("hashimapspool: no\n", "hashimapspool: yes\n"), ("fulldirhash: no\n", "fulldirhash: yes\n")];
    let Some(hosts) = Hosts::of("2.2.13", "flat", &hashed) else { return };
    let old = hosts.old.path();
    std::fs::create_dir(old.join("disk2")).unwrap();
    for (dir, there) in [("spool/1/user", "disk2/user"), ("conf/user/a", "disk2/a")] {
        std::fs::rename(old.join(dir), old.join(there)).unwrap();
        symlink(old.join(there), old.join(dir)).unwrap();
    }
    cyrus::hand_over(old);
    let disk = || hosts.old.sh("cd disk2 && find . -type f -exec sha256sum {} + | sort").expect(0).out;
    let before = disk();
    hosts.fails("rehearse", &["spool/1/./user is a link to ", "Add --copy-unsafe-links to RSYNC"]);
    hosts.set("RSYNC = rsync -aH --delete --copy-unsafe-links\n");
    hosts.make("rehearse load").expect(0);
    assert_eq!(hosts.new.read("conf/user/L/alice.seen"), b"of alice");
    assert_eq!(hosts.every_mailbox_opens(), 100);
    hosts.make("rollback").expect(0);
    hosts.make("rehearse").expect(0);
    assert!(disk() == before);
}

/// One that is made on the new host leads to the old one as well.
#[test]
fn a_link_that_came_later_is_noticed_too() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    symlink(hosts.old.path().join("conf/user/a"), hosts.old.path().join("conf/user/z")).unwrap();
    hosts.fails("rehearse", &["conf/user/./z is a link to "]);
    hosts.fails("load", &["conf/user/./z is a link to "]);
    // A message that is elsewhere stays the old host's, and one that is nowhere nobody's.
    let link = hosts.old.path().join("conf/user/z");
    for to in [hosts.old.path().join("conf/user/a/alice.seen"), "nowhere".into()] {
        std::fs::remove_file(&link).unwrap();
        symlink(to, &link).unwrap();
        hosts.fails("rehearse", &["conf/user/./z is a link to "]);
    }
    hosts.set("RSYNC = rsync -aH --delete --copy-unsafe-links\n");
    std::fs::remove_file(&link).unwrap();
    symlink(hosts.old.path().join("conf/user/a/alice.seen"), &link).unwrap();
    hosts.make("rehearse load").expect(0);
    assert_eq!(hosts.new.read("conf/user/z"), b"of alice");
}

/// Adds lines to the imapd.confs of both.
fn both(hosts: &Hosts, lines: &str) {
    for (sandbox, conf) in [(&hosts.old, "kit/old.conf"), (&hosts.new, "new.conf")] {
        let dir = sandbox.path().display().to_string();
        let old = String::from_utf8(hosts.new.read(conf)).unwrap();
        let mut lines = lines.replace("DIR", &dir);
        if conf == "new.conf" {
            lines = lines.replace("partition-default", "partition-3").replace("partition-0", "partition-4");
        }
        for line in lines.lines().filter(|line| line.contains("partition-")) {
            std::fs::create_dir_all(line.split_once(": ").unwrap().1).unwrap();
        }
        hosts.new.write(conf, old + &lines);
    }
    cyrus::hand_over(hosts.old.path());
    cyrus::hand_over(hosts.new.path());
}

#[test]
fn an_archive_that_is_not_mounted_is_noticed() {
    let Some(hosts) = Hosts::of("3.0.18", "flat", &[]) else { return };
    hosts.set("DROP = deletedprefix,remote\n");
    both(&hosts, "archive_enabled: yes\narchivepartition-1: DIR/archive/1\n");
    hosts.fails("rehearse", &["/archive/1/ holds no mail: is the old host's disk mounted?", ">>work/empty"]);
    let archive = hosts.old.file("archive/1");
    hosts.new.sh(&format!("echo '{archive}' >>kit/work/empty")).expect(0);
    hosts.make("rehearse").expect(0).says("nothing is archived there");
    // What came there since is copied.
    hosts.old.sh("mkdir -p archive/1/user/bob && echo mail >archive/1/user/bob/1.").expect(0);
    cyrus::hand_over(hosts.old.path());
    hosts.fails("load", &["user/bob/1.", "differ"]);
    hosts.make("rehearse load verify").expect(0);
    assert_eq!(hosts.new.read("archive/1/user/bob/1."), b"mail\n");
}

/// Without metapartition_files nothing is kept apart.
#[test]
fn a_metapartition_of_nothing_can_be_copied_twice() {
    let Some(hosts) = Hosts::of("2.3.7", "flat", &[]) else { return };
    both(&hosts, "metapartition-default: DIR/meta/d\n");
    hosts.make("rehearse").expect(0);
    hosts.make("rehearse load").expect(0);
}

/// What is in place is the only copy of what a load moves there, and `rsync --delete` of the other half would end it.
#[test]
fn what_is_in_place_is_not_half_a_copy() {
    let Some(hosts) = Hosts::of("3.0.18", "flat", &[]) else { return };
    hosts.set("DROP = deletedprefix,remote\n");
    both(&hosts, "archivepartition-1: DIR/archive/1\n");
    std::fs::create_dir_all(hosts.old.path().join("archive/1/user/bob")).unwrap();
    let copied = hosts.new.read("new.conf");
    let archive = format!("archivepartition-1: {}", hosts.new.file("archive/1"));
    hosts.new.write("new.conf", hosts.in_place());
    hosts.fails("plan", &["partition-1 and archivepartition-1: one is the old server's own and the other a copy"]);
    // One directory for both kinds, on this host only.
    let conf = String::from_utf8(copied).unwrap().replace(&archive, "");
    let in_place = conf.replace(&hosts.new.file("spool/1"), &hosts.old.file("spool/1"));
    let meta = hosts.new.file("meta");
    std::fs::create_dir(&meta).unwrap();
    hosts.new.write("new.conf", in_place + &format!("metapartition-1: {meta}\nmetapartition-2: {meta}\n"));
    let old = String::from_utf8(hosts.new.read("kit/old.conf")).unwrap();
    hosts.new.write("kit/old.conf", old.replace("archivepartition-1", "#"));
    hosts.fails("plan", &["/meta is to hold what is in place and what is copied"]);
    hosts.new.write("new.conf", conf.clone() + &format!("metapartition-1: {}/\n", hosts.new.file("spool/../spool/1")));
    hosts.fails("plan", &["metapartition-1 is the directory of partition-1 by another name"]);
    hosts.new.write("new.conf", conf);
    hosts.make("plan").expect(0);
    // Nor is the kit to lie in what rsync --delete is to work on.
    std::fs::rename(hosts.new.path().join("kit"), hosts.new.path().join("spool/1/kit")).unwrap();
    let ran = hosts.new.sh("cd spool/1/kit && make rehearse");
    assert!(ran.status != 0 && ran.err.contains("/spool/1/kit lies in "), "{}", ran.tell());
}

/// A directory by another name, as `mount --bind` gives it.
#[test]
fn a_directory_that_is_the_old_hosts_by_another_name_is_refused() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let before = hosts.old.sh("find spool -type f | sort").expect(0).out;
    let bound = format!("unshare -m sh -c 'mount --bind {} spool && cd kit && make rehearse'", hosts.old.file("spool"));
    std::fs::create_dir_all(hosts.old.path().join("spool/3")).unwrap();
    std::fs::create_dir_all(hosts.old.path().join("spool/4")).unwrap();
    hosts.set("MAP = default=1 1=default 0=2 2=0\n");
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    let conf = conf.replace("partition-3", "partition-default").replace("partition-4", "partition-0");
    let conf = conf.replace("defaultpartition: 3", "defaultpartition: default");
    hosts.new.write("new.conf", conf.replace("/spool/3", "/spool/default").replace("/spool/4", "/spool/0"));
    let ran = hosts.new.sh(&bound);
    if ran.err.contains("unshare failed") || ran.err.contains("must be superuser") {
        return eprintln!("no mounts of one's own here: NOTHING IS BOUND");
    }
    assert!(ran.status != 0 && ran.err.contains("rsync --delete would remove the one"), "{}", ran.tell());
    assert!(hosts.old.sh("find spool -type f | sort").expect(0).out == before);
    hosts.set("OLD = cyrus@localhost\n");
    hosts.fails("plan", &["OLD = cyrus@localhost is this host: leave it empty"]);
}

/// The words of RSYNC are a shell's, and what ssh says of itself is not said of a directory.
#[test]
fn a_host_that_is_reached_by_ssh_with_options() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let ssh = hosts.new.write(
        "fake ssh",
        "#!/bin/sh\ntest \"$1 $2\" = '-p 2222' || exit 9\n\
         echo \"Could not create directory '/x/.ssh' (No such file or directory).\" >&2\n\
         while test \"$1\" != rsync; do shift; done\n\
         case \"$*\" in *conf/user*) test ! -e \"${0%/*}/down\" || exit 255 ;; esac\nexec \"$@\"\n",
    );
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    hosts.set(&format!("OLD = cyrus@old\nRSYNC = rsync -aH --delete -e \"'{ssh}' -p 2222\"\n"));
    hosts.new.write("down", "");
    hosts.fails("rehearse", &["conf/user/ cannot be listed"]);
    std::fs::remove_file(hosts.new.path().join("down")).unwrap();
    hosts.make("rehearse load").expect(0).says("/conf/quota/ is not there: no quota files are copied");
    assert_eq!(hosts.new.read("conf/user/a/alice.seen"), b"of alice");
    // RSYNC is asked what it does, whatever its words.
    for (words, says) in [
        ("rsync -naH --delete", "does not copy a file named b/1.: without -n"),
        ("rsync -aH --delete --dry-run", "does not copy a file named b/1.: without -n"),
        ("rsync -qaH --delete", "does not tell that it would copy a file named b/1.: without -q"),
        ("rsync -aH --delete --exclude='*.'", "a file named b/1.: without -q, and without a filter"),
        ("rsync -aH --delete --exclude='*.seen'", "a file named bob.seen: without -q, and without a filter"),
        ("rsync -aH --nosuch", "fails, see above"),
    ] {
        hosts.set(&format!("OLD =\nRSYNC = {words}\n"));
        hosts.make("rollback");
        hosts.new.sh("rm -f conf/mailboxes.db*").expect(0);
        hosts.fails("rehearse", &[says]);
    }
    for words in [
        "nice -n 19 rsync -aH --delete",
        "rsync -aH --delete -e 'ssh -q' --rsync-path='sudo -n rsync'",
        "runuser -u cyrus -- rsync -aH --delete",
    ] {
        hosts.set(&format!("RSYNC = {words}\n"));
        hosts.make("rehearse").expect(0);
    }
}

#[test]
fn what_was_copied_and_is_gone_on_the_old_host_is_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.old.sh("mkdir -p conf/quota/b && echo 5 >conf/quota/b/user.bob").expect(0);
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse").expect(0);
    std::fs::remove_dir_all(hosts.old.path().join("conf/quota")).unwrap();
    for goal in ["rehearse", "load"] {
        hosts.fails(goal, &["/conf/quota/ is not there, and ", "its copy, has files"]);
    }
    // What was removed there is a difference, whatever the words of RSYNC.
    hosts.old.sh("mkdir -p conf/quota/b && echo 5 >conf/quota/b/user.bob && touch conf/user/a/extra.sub").expect(0);
    hosts.set("RSYNC = rsync -aH\n");
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse").expect(0);
    std::fs::remove_file(hosts.old.path().join("conf/user/a/extra.sub")).unwrap();
    hosts.fails("load", &["deleting", "extra.sub", "the old host's disks and the copy differ"]);
}

/// A server that cannot write there makes no mailbox, and has no subscriptions.
#[test]
fn what_the_cyrus_user_cannot_write_to_is_noticed() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let new = |dir: &str, user: &str| {
        hosts.new.sh(&format!("mkdir -p {dir} && chown {user} {dir}")).expect(0);
    };
    hosts.old.sh("chown root conf/user/a/alice.seen && chmod 600 conf/user/a/alice.seen").expect(0);
    hosts.fails(
        "rehearse",
        &["conf/user/a/alice.seen: is not cyrus's to read and write: chown it", "add --chown=cyrus:mail to RSYNC"],
    );
    hosts.old.sh("chown root conf/user/a && chmod 700 conf/user/a").expect(0);
    hosts.fails("rehearse", &["conf/user/a: is not cyrus's to read and write"]);
    // Who gives it to him with each copy has no more to do; scripts need only be read.
    hosts.set("RSYNC = rsync -aH --delete --chown=cyrus:mail\n");
    hosts.make("rehearse").expect(0);
    hosts.set("RSYNC = rsync -aH --delete\n");
    cyrus::hand_over(hosts.old.path());
    hosts.old.sh("mkdir sieve/global && echo keep >sieve/global/a && mkdir -m 700 sieve/lost+found").expect(0);
    hosts.make("rehearse").expect(0);
    new("conf", "root");
    hosts.fails("rehearse", &["/conf: cyrus cannot write there"]);
    new("conf", "cyrus");
    new("meta", "root");
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    hosts.new.write("new.conf", conf + &format!("metapartition-1: {}\n", hosts.new.file("meta")));
    hosts.fails("rehearse", &["/meta: cyrus cannot write there: is the disk mounted? If it is: chown it"]);
    new("meta", "cyrus");
    hosts.make("rehearse load").expect(0);
}

/// A new disk in the place of one that held mailboxes.
#[test]
fn what_is_meant_to_be_empty_can_be_told() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.make("rehearse").expect(0);
    hosts.new.sh("mv spool/3 away && mkdir spool/3").expect(0);
    hosts.fails("rehearse", &["spool/3 held mailboxes at the last rehearsal", "take its line out of work/copied"]);
    hosts.new.sh("sed -i '\\|/spool/3\t|d' kit/work/copied").expect(0);
    hosts.make("rehearse load").expect(0);
}
