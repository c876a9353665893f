//! `examples/migrate` as an administrator runs it: two hosts side by side, `make plan`, `make rehearse`, `make load`,
//! a real Cyrus 3.6.1 that starts on what was loaded, and whatever can go wrong in between.
//!
//! Skipped, loudly, where Cyrus is not installed; a failure under MBX_REQUIRE_CYRUS=1.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use stage::cyrus::{self, Server, Session, open, quote};
use stage::{Ran, Sandbox};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The old host, the new one, and the kit in a directory of that.
struct Hosts {
    old: Sandbox,
    new: Sandbox,
}

/// The partitions of old are renamed as in 2006.
const MAP: &str = "default=3 0=4";

impl Hosts {
    /// With the list and spool of a real server, and what `conf` replaces in the new host's imapd.conf.
    fn of(release: &str, variant: &str, conf: &[(&str, &str)]) -> Option<Hosts> {
        let programs = [cyrus::CTL_MBOXLIST, cyrus::MASTER, cyrus::IMAPD, cyrus::SASLPASSWD];
        let here = cyrus::is_here(&programs) && cyrus::is_here(&["/usr/bin/rsync", "/usr/bin/make"]);
        here.then(|| Hosts::furnished(Sandbox::of(release, variant), release, conf))
    }

    fn furnished(old: Sandbox, release: &str, conf: &[(&str, &str)]) -> Hosts {
        let new = Sandbox::empty();
        let path = |of: &Sandbox| of.path().to_str().unwrap().to_string();
        let (here, there) = (path(&old), path(&new));
        let mut old_conf = String::from_utf8(old.read("old.conf")).unwrap();
        writeln!(old_conf, "sievedir: {here}/sieve").unwrap();
        for dir in ["sieve", "conf", "conf/user", "conf/user/a"] {
            std::fs::create_dir(old.path().join(dir)).unwrap();
        }
        old.write("conf/user/a/alice.seen", "of alice");
        let mut new_conf = old_conf.replace(&here, &there).replace("defaultpartition: default", "defaultpartition: 3");
        for (from, to) in [("default", "3"), ("0", "4")] {
            new_conf = new_conf.replace(&format!("partition-{from}: "), &format!("partition-{to}: "));
            new_conf = new_conf.replace(&format!("/{from}\n"), &format!("/{to}\n"));
        }
        for (from, to) in conf {
            assert!(new_conf.contains(from), "{from}");
            new_conf = new_conf.replace(from, &to.replace("/new", &there));
        }
        for root in new_conf.lines().filter(|line| line.contains("partition-")) {
            std::fs::create_dir_all(root.split_once(": ").unwrap().1).unwrap();
        }
        std::fs::create_dir(new.path().join("sieve")).unwrap();
        new.write("old.conf", &new_conf);
        std::fs::create_dir(new.path().join("kit")).unwrap();
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/migrate")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), new.path().join("kit").join(file.file_name())).unwrap();
        }
        new.write("kit/old.conf", &old_conf);
        new.write("cyrus.conf", "START {\n  # push cmd=\"ctl_mboxlist -m\"\n}\nSERVICES {\n}\n");
        cyrus::hand_over(old.path());
        cyrus::move_in(&new);
        let hosts = Hosts { old, new };
        hosts.set(&format!(
            "FROM = {release}\nOLD =\nDUMP = cat {here}/old.dump\nNEW_CONF = {there}/new.conf\n\
             CYRUS_CONF = {there}/cyrus.conf\nMASTER_PID = {there}/master.pid\nMAP = {MAP}\nMIN = 90\n\
             DROP = deletedprefix\nMAX_REFUSED = 3\n"
        ));
        hosts
    }

    /// Changes config.mk, where the last word counts.
    fn set(&self, settings: &str) {
        let config = String::from_utf8(self.new.read("kit/config.mk")).unwrap();
        self.new.write("kit/config.mk", config + settings);
    }

    /// The new host's imapd.conf with the old host's spool for its own.
    fn in_place(&self) -> String {
        let (old, new) = (self.old.path().display(), self.new.path().display());
        let conf = String::from_utf8(self.new.read("new.conf")).unwrap();
        let conf = conf.replace(&format!("{new}/spool/3"), &format!("{old}/spool/default"));
        let conf = conf.replace(&format!("{new}/spool/4"), &format!("{old}/spool/0"));
        conf.replace(&format!("{new}/spool"), &format!("{old}/spool"))
    }

    fn make(&self, goals: &str) -> Ran {
        self.new.sh(&format!("cd kit && make {goals}"))
    }

    /// It ends with a failure that says what to do, and the server's own list is the one that it was.
    #[track_caller]
    fn fails(&self, goals: &str, says: &[&str]) {
        let before = std::fs::read(self.new.path().join("conf/mailboxes.db")).ok();
        let ran = self.make(goals);
        assert_ne!(ran.status, 0, "{}", ran.tell());
        for text in says {
            assert!(ran.err.contains(text), "{text:?} is not said\n{}", ran.tell());
        }
        assert!(std::fs::read(self.new.path().join("conf/mailboxes.db")).ok() == before, "{goals}");
    }

    /// The list that was loaded.
    fn list(&self) -> BTreeMap<String, serde_json::Value> {
        serde_json::from_slice(&self.new.read("kit/work/final.list")).unwrap()
    }

    /// Starts the new server; every mailbox of the list opens as what it was, with as many messages as its directory on
    /// the old host has.
    #[track_caller]
    fn every_mailbox_opens(&self) -> usize {
        let conf = String::from_utf8(self.new.read("new.conf")).unwrap();
        let slashes = conf.contains("unixhierarchysep: yes");
        let dirs = String::from_utf8(self.new.read("kit/work/places.tsv")).unwrap();
        let dirs = dirs.lines().skip(1).map(|row| row.split('\t').next().unwrap().replace("\"\"", "\""));
        let night = String::from_utf8(self.new.read("kit/work/night.tsv")).unwrap();
        let olds = night.lines().filter(|line| line.starts_with("whole\t") || line.starts_with("alone\t"));
        let olds = olds.filter(|line| line.contains("/spool/")).map(|line| line.split('\t').nth(1).unwrap());
        let olds: BTreeMap<_, _> = dirs.zip(olds).collect();
        let mut server = Server::start(&self.new);
        let mut session = server.log_in();
        let list = self.list();
        let mut messages = 0;
        for (name, entry) in &list {
            let outside = |local: &str| match slashes {
                true => local.replace('.', "/").replace('^', "."),
                false => local.to_string(),
            };
            let shown = match name.split_once('!') {
                Some((domain, local)) => format!("{}@{domain}", outside(local)),
                None => outside(name),
            };
            let content = open(&mut session, &quote(&shown)).unwrap_or_else(|answer| panic!("{name}: {answer:?}"));
            assert_eq!(content.uidvalidity.to_string(), entry["uidvalidity"], "{name}");
            let dir = Path::new(olds[name]);
            let is_message = |file: &str| file.strip_suffix('.').is_some_and(|uid| uid.parse::<u32>().is_ok());
            let files = std::fs::read_dir(dir).map(|files| {
                files.filter(|file| is_message(file.as_ref().unwrap().file_name().to_str().unwrap())).count()
            });
            assert_eq!(content.flags.len(), files.unwrap_or(0), "{name}: {}", dir.display());
            messages += content.flags.len();
        }
        println!("{} mailboxes opened, with {messages} messages", list.len());
        list.len()
    }
}

#[test]
fn a_whole_migration_from_2_2_13() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let plan = String::from_utf8(hosts.make("-j4 plan").expect(0).out).unwrap();
    let (old, new) = (hosts.old.path().display(), hosts.new.path().display());
    for line in [
        "         102  entries\n".to_string(),
        "          61  default\n".to_string(),
        "shared.acl.a10\n".to_string(),
        format!("rsync -aH --delete --exclude=/lost+found '{old}/spool/default/' '{new}/spool/3/'\n"),
        format!("{old}/spool/0/Public -> {new}/spool/4/Public\n"),
        "100 directories and files, if they are there; 100 of them only by the copies above, 0 are moved by make load\n".to_string(),
        "delete_mode: immediate -> delayed".to_string(),
    ] {
        assert!(plan.contains(&line), "{line}\n{plan}");
    }
    assert!(!plan.contains("altnamespace"), "{plan}");
    hosts.fails("load", &["nothing was rehearsed: make rehearse"]);
    hosts.make("-j4 rehearse").expect(0).says("rehearsed: work/rehearsed.list");
    hosts.make("rehearse").expect(0);
    hosts
        .make("-j4 load")
        .expect(0)
        .says("100 mailboxes come along; refused: 2 (work/refused), without cyrus.header: 0")
        .says("Start the server");
    hosts.make("verify").expect(0).says("verified: the server's list is what was meant");
    hosts.make("load").expect(0).says("was loaded before").says("is not loaded again");
    let index = hosts.new.path().join("spool/1/user/bob/cyrus.index");
    std::fs::rename(&index, hosts.new.path().join("kept")).unwrap();
    hosts.fails("verify", &["no cyrus.index to fill from", "user.bob", "not what was meant"]);
    std::fs::rename(hosts.new.path().join("kept"), &index).unwrap();
    hosts.fails("rehearse", &["make load ends it, make rollback undoes it"]);
    assert_eq!(hosts.every_mailbox_opens(), 100);
}

#[test]
fn a_whole_migration_from_3_0_18() {
    let Some(hosts) = Hosts::of("3.0.18", "flat", &[]) else { return };
    hosts.set("DROP = deletedprefix,remote\n");
    hosts.make("rehearse load").expect(0);
    // By their number of old, 3.6 would take calendars for reserved names, and delete them in its recovery at start.
    Server::start(&hosts.new).log_in().ask("NOOP").ok();
    hosts.make("verify").expect(0);
    let count = hosts.every_mailbox_opens();
    assert!(count > 120, "{count}");
}

/// From one host with 3.6 to another: a JSON list, and a spool by uniqueid.
#[test]
fn a_whole_migration_from_3_6_1() {
    from_3_6_1("flat", &[], 188, 0);
}

/// Its directories by name move, those by uniqueid do not.
#[test]
fn a_whole_migration_from_3_6_1_of_both_layouts() {
    from_3_6_1("mixed", &[("fulldirhash: no\n", "fulldirhash: yes\n")], 127, 107);
}

fn from_3_6_1(variant: &str, conf: &[(&str, &str)], mailboxes: usize, moved: usize) {
    let Some(hosts) = Hosts::of("3.6.1", variant, conf) else { return };
    // Twenty of `mixed` were left on the disk of no mailbox by relocate_by_id.
    hosts.set("DROP = deletedprefix,remote\nMAX_REFUSED = 1\nMAX_MISSING = 20\n");
    hosts.make("plan rehearse load").expect(0);
    assert_eq!(hosts.every_mailbox_opens(), mailboxes);
    let night = String::from_utf8(hosts.new.read("kit/work/night.tsv")).unwrap();
    let moves = night.lines().map(|row| row.split('\t').collect::<Vec<_>>());
    assert_eq!(moves.filter(|row| row[2].contains("/spool/") && row[2] != row[3]).count(), moved);
}

/// The night of 2006 by make. No 2.3.7 is here to load it; what the real one printed of the list is.
#[test]
fn a_whole_migration_to_2_3_7() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    std::fs::create_dir(hosts.new.path().join("bin")).unwrap();
    let stored = hosts.new.write(
        "bin/ctl_mboxlist",
        "#!/bin/sh\nwhile getopts C:duf: option; do case $option in f) db=$OPTARG;; d) do=d;; u) do=u;; esac; done\n\
         db=${db:-${0%/bin/*}/conf/mailboxes.db}\n\
         case $do in u) LC_ALL=C sort >\"$db\";; d) cat \"$db\";; esac\n",
    );
    std::fs::set_permissions(stored, std::fs::Permissions::from_mode(0o755)).unwrap();
    hosts.set(&format!("TO = 2.3.7\nDROP =\nMAX_REFUSED = 0\nCYRUS_BIN = {}\n", hosts.new.file("bin")));
    let plan = String::from_utf8(hosts.make("plan").expect(0).out).unwrap();
    for changed in ["altnamespace", "unixhierarchysep", "delete_mode"] {
        assert!(!plan.contains(changed), "at 3.0 only: {plan}");
    }
    hosts.make("rehearse load verify").expect(0);
    let mut expected = stage::lines(&stage::read("migration/expected.dump"));
    expected.sort();
    assert_eq!(stage::lines(&hosts.new.read("conf/mailboxes.db")), expected);
    hosts.make("rollback").expect(0);
    assert!(!hosts.new.path().join("conf/mailboxes.db").exists());
}

/// `carol^smith` is in another directory by 3.x's sum, and so are her files.
#[test]
fn what_3_0_hashes_otherwise_is_moved() {
    moved_by_hash("2.4.22", "fullhash", &[]);
}

#[test]
fn what_is_hashed_now_and_was_not_is_moved() {
    // A slash behind a partition's directory is none of its name, and backslashes are of it.
    let odd = [("/spool/1\n", "/spool/1//\n"), ("/spool/2\n", "/spool/\\new it's\\c\n")];
    moved_by_hash("2.2.13", "unixsep", &[&[("hashimapspool: no\n", "hashimapspool: yes\n")], &odd[..]].concat());
}

#[test]
fn what_is_hashed_by_the_whole_name_now_is_moved() {
    moved_by_hash("2.2.13", "hash", &[("fulldirhash: no\n", "fulldirhash: yes\n")]);
}

#[test]
fn domains_that_are_hashed_otherwise_are_moved() {
    moved_by_hash("3.0.18", "virt", &[("fulldirhash: no\n", "fulldirhash: yes\n")]);
}

fn moved_by_hash(release: &str, variant: &str, conf: &[(&str, &str)]) {
    let Some(hosts) = Hosts::of(release, variant, conf) else { return };
    hosts.set("DROP = deletedprefix,remote\nMAX_REFUSED = 8\n");
    // Where root has put the kit the Cyrus user need not be able to go.
    hosts.new.sh("chown -R root kit && chmod 700 kit").expect(0);
    hosts.make("plan").expect(0);
    // What the users of the old host have, in the letters that it has for them.
    let night = String::from_utf8(hosts.new.read("kit/work/plan.tsv")).unwrap();
    let mut given = Vec::new();
    for row in night.lines().map(|row| row.split('\t').collect::<Vec<_>>()) {
        let [how, from, _, to] = row[..] else { panic!("{row:?}") };
        let (from, to) = match how {
            "files" => (format!("{from}.sub"), format!("{to}.sub")),
            "file" => (from.to_string(), to.to_string()),
            "whole" if from.contains("/sieve/") => (format!("{from}/a.script"), format!("{to}/a.script")),
            _ => continue,
        };
        // A sieve directory has one of two names; and a name may be too long for a file.
        if to.len() > 250 || given.iter().any(|(_, given)| *given == to) {
            continue;
        }
        std::fs::create_dir_all(Path::new(&from).parent().unwrap()).unwrap();
        std::fs::write(&from, &from).unwrap();
        given.push((from, to));
    }
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse load").expect(0);
    for (from, to) in &given {
        assert_eq!(std::fs::read_to_string(to).unwrap(), *from, "{release} {variant}");
    }
    users_files_are_where_the_server_looks(&hosts, &given);
    // Quota files of one line are none, and subscriptions of such names none either: they were for the way.
    for (_, to) in &given {
        std::fs::remove_file(to).unwrap();
    }
    let count = hosts.every_mailbox_opens();
    println!("{release} {variant}: {count} opened, {} files of users moved", given.len());
    assert!(!given.is_empty(), "{release} {variant}");
}

/// Not only her directory: the file in it has the name that the server asks for.
#[test]
fn subscriptions_and_quotas_come_along_where_the_hash_is_another() {
    let Some(hosts) = Hosts::of("2.4.22", "fullhash", &[]) else { return };
    hosts.set("DROP = deletedprefix,remote\n");
    std::fs::create_dir_all(hosts.old.path().join("conf/user/E")).unwrap();
    hosts.old.write("conf/user/E/carol^smith.sub", "user.carol^smith.Sent\t\n");
    std::fs::create_dir_all(hosts.old.path().join("conf/quota/E")).unwrap();
    hosts.old.write("conf/quota/E/user.carol^smith", "0\n1000\n");
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse load").expect(0);
    cyrus::give_password(&hosts.new, "carol.smith");
    cyrus::hand_over(hosts.new.path());
    let mut server = Server::start(&hosts.new);
    let mut session = server.log_in_as("carol.smith");
    let subscribed = session.ask("LSUB \"\" \"*\"").ok();
    let subscribed: Vec<_> = subscribed.after("LSUB").map(|of| of[2].text().to_string()).collect();
    assert_eq!(subscribed, ["INBOX/Sent"]);
    let quota = server.log_in().ask("GETQUOTA user/carol.smith").ok();
    let quota: Vec<_> = quota.after("QUOTA").map(|of| of[1].list()[2].text().to_string()).collect();
    assert_eq!(quota, ["1000"]);
}

/// A domain's users have theirs below it, in letters of their own.
#[test]
fn subscriptions_and_quotas_of_domains_come_along_where_the_hash_is_another() {
    let Some(hosts) = Hosts::of("3.0.18", "virt", &[("fulldirhash: no\n", "fulldirhash: yes\n")]) else { return };
    hosts.set("DROP = deletedprefix,remote\nMAX_REFUSED = 8\n");
    let user = "alice@example.com";
    for (file, text) in [
        ("domain/e/example.com/user/a/alice.sub", "example.com!user.alice.Sent\t\n"),
        ("domain/e/example.com/quota/a/user.alice", "0\n1000\n"),
        ("quota/a/user.alice", "0\n2000\n"),
    ] {
        let file = hosts.old.path().join("conf").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse load").expect(0);
    cyrus::give_password_of(&hosts.new, "example.com", "alice");
    cyrus::hand_over(hosts.new.path());
    let mut server = Server::start(&hosts.new);
    let subscribed = server.log_in_as(user).ask("LSUB \"\" \"*\"").ok();
    let subscribed: Vec<_> = subscribed.after("LSUB").map(|of| of[2].text().to_string()).collect();
    assert_eq!(subscribed, ["INBOX/Sent"]);
    for (root, limit) in [("user/alice@example.com", "1000"), ("user/alice", "2000")] {
        let quota = server.log_in().ask(&format!("GETQUOTA {root}")).ok();
        let quota: Vec<_> = quota.after("QUOTA").map(|of| of[1].list()[2].text().to_string()).collect();
        assert_eq!(quota, [limit], "{root}");
    }
}

/// By the word of 3.6.1's own mbpath.
fn users_files_are_where_the_server_looks(hosts: &Hosts, given: &[(String, String)]) {
    let conf = String::from_utf8(hosts.new.read("new.conf")).unwrap();
    let slashes = conf.contains("unixhierarchysep: yes");
    let mut asked = 0;
    for name in hosts.list().keys() {
        let (domain, local) = name.split_once('!').unwrap_or(("", name));
        let Some(user) = local.strip_prefix("user.").filter(|user| !user.contains('.')) else { continue };
        let user = if slashes { user.replace('^', ".") } else { user.to_string() };
        let at = if domain.is_empty() { String::new() } else { format!("@{domain}") };
        let mbpath = format!("runuser -u cyrus -- /usr/lib/cyrus/bin/mbpath -C new.conf -u -a -- '{user}{at}'");
        let told = String::from_utf8(hosts.new.sh(&mbpath).expect(0).out).unwrap();
        let told = |what: &str| PathBuf::from(told.lines().find_map(|line| line.strip_prefix(what)).unwrap());
        for (_, to) in given {
            let to = Path::new(to);
            let is = |dir: &Path| to.parent().unwrap().to_path_buf() == *dir;
            let file = local.strip_prefix("user.").unwrap();
            let in_domain = to.to_str().unwrap().contains(&format!("/{domain}/")) || domain.is_empty();
            if to.file_name().unwrap().to_str() == Some(&format!("{file}.sub")) && in_domain {
                if domain.is_empty() && to.to_str().unwrap().contains("/domain/") {
                    continue;
                }
                assert!(is(&told("User: ")), "{name}: {} {:?}", to.display(), told("User: "));
                asked += 1;
            }
            if to.ends_with(format!("{user}/a.script")) && in_domain {
                if domain.is_empty() && to.to_str().unwrap().contains("/domain/") {
                    continue;
                }
                assert!(is(&told("Sieve: ")), "{name}: {} {:?}", to.display(), told("Sieve: "));
                asked += 1;
            }
        }
    }
    assert!(asked > 0);
}

#[test]
fn metadata_is_moved_to_metapartitions() {
    let meta = "metapartition_files: header index cache\nmetapartition-3: /new/meta/3\nmetapartition-4: /new/meta/4\n\
                metapartition-1: /new/meta/1\nservername: ";
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[("servername: ", meta)]) else { return };
    hosts.make("rehearse").expect(0);
    assert!(std::fs::read_dir(hosts.new.path().join("meta/3")).unwrap().next().is_none());
    hosts.make("load").expect(0).says(" files moved");
    assert_eq!(hosts.every_mailbox_opens(), 100);
}

/// The rehearsal looks where the copy is, hashed as on the old host; and the second night finds nothing of the first on
/// the metapartitions, whatever the server made of it in between.
#[test]
fn metadata_is_moved_where_the_hash_is_another_and_in_a_second_night() {
    let meta = "metapartition_files: header index cache\nmetapartition-3: /new/meta/3\nmetapartition-4: /new/meta/4\n\
                metapartition-1: /new/meta/1\nservername: ";
    let conf = [("servername: ", meta), ("fulldirhash: no\n", "fulldirhash: yes\n")];
    let Some(hosts) = Hosts::of("2.2.13", "hash", &conf) else { return };
    let plan = String::from_utf8(hosts.make("plan").expect(0).out).unwrap();
    assert!(
        plan.contains(&format!("partition 3: {}/meta/3, moved there by make load", hosts.new.path().display())),
        "{plan}"
    );
    hosts.make("rehearse").expect(0);
    hosts.make("load").expect(0).says(" files moved");
    {
        let mut server = Server::start(&hosts.new);
        let mut session = server.log_in();
        for command in ["CREATE user/bob/new", "SETACL user/alice zoe lrs"] {
            session.ask(command).ok();
        }
    }
    hosts.make("rollback").expect(0).says("what was undone is in ");
    hosts.make("rehearse").expect(0);
    hosts.make("load").expect(0).says(" files moved");
    assert_eq!(hosts.every_mailbox_opens(), 104);
    // What is there already, and the old host keeps nothing apart of it, is for a person to judge.
    hosts.make("rollback").expect(0);
    let theirs = hosts.new.path().join("meta/1/k/keep");
    std::fs::create_dir_all(&theirs).unwrap();
    std::fs::write(theirs.join("notes"), "of somebody").unwrap();
    hosts.make("rehearse").expect(0);
    std::fs::write(theirs.join("cyrus.header"), "of somebody").unwrap();
    hosts.fails(
        "rehearse",
        &["meta/1/k/keep/cyrus.header: the old host keeps nothing apart of partition 1", "Move it away"],
    );
    assert!(theirs.join("notes").exists() && theirs.join("cyrus.header").exists());
}

/// In place the spool is the only one: no make may empty or remove any of it.
#[test]
fn an_upgrade_in_place_keeps_its_only_copy() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    let (old, new) = (hosts.old.path().display().to_string(), hosts.new.path().display().to_string());
    // The old spool by another way, and with a slash behind it.
    std::os::unix::fs::symlink(hosts.old.path().join("spool"), hosts.new.path().join("way")).unwrap();
    let conf = String::from_utf8(hosts.old.read("old.conf")).unwrap();
    let mut in_place = conf.replace(&format!("{old}/spool"), &format!("{new}/way")).replace("/0\n", "/0/\n");
    in_place = in_place.replace(&format!("{old}/conf"), &format!("{new}/conf"));
    in_place = in_place.replace("partition-0: ", "partition-4: ").replace("partition-default: ", "partition-3: ");
    for part in ["3", "4", "1"] {
        std::fs::create_dir_all(hosts.new.path().join("meta").join(part)).unwrap();
        writeln!(in_place, "metapartition-{part}: {new}/meta/{part}").unwrap();
    }
    hosts.new.write(
        "new.conf",
        in_place.replace("defaultpartition: default", "defaultpartition: 3")
            + "metapartition_files: header index cache\n",
    );
    cyrus::hand_over(hosts.new.path());
    let headers = || {
        let found = hosts.new.sh("find -L way meta -name cyrus.header -type f | wc -l").expect(0).out;
        String::from_utf8(found).unwrap().trim().to_string()
    };
    let before = headers();
    hosts.make("rehearse").expect(0);
    assert_eq!(headers(), before);
    hosts.make("load").expect(0);
    hosts.fails("rollback rehearse", &["make rollback goes alone"]);
    hosts.make("rollback").expect(0).says("stays there: ").says("/meta/3 ");
    hosts.make("rehearse").expect(0);
    assert_eq!(headers(), before);
    hosts.make("load verify").expect(0);
    assert_eq!(headers(), before);
}

/// In place the old server must find its directories where they were.
#[test]
fn a_rollback_in_place_moves_back() {
    let Some(hosts) = Hosts::of("2.2.13", "flat", &[]) else { return };
    hosts.new.write("new.conf", hosts.in_place().replace("hashimapspool: no", "hashimapspool: yes"));
    let spool = || {
        let found = hosts.old.sh("find spool -type f | sort | xargs -d '\\n' md5sum").expect(0).out;
        String::from_utf8(found).unwrap()
    };
    let before = spool();
    // Users' files are copied, the spool is not.
    hosts.make("rehearse load").expect(0);
    assert_ne!(spool(), before);
    hosts.make("rollback").expect(0);
    assert_eq!(spool(), before);
    hosts.make("rehearse").expect(0);
    hosts.make("load").expect(0);
    hosts.make("verify").expect(0);
}

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
    hosts.fails("rehearse", &["without -aHq"]);
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
    hosts.fails("rehearse", &["/spool/1/", "no rehearsal of this kit has copied them", "cat work/claims >>work/copied"]);
    assert!(delivered.exists());
    hosts.new.sh("cd kit && cat work/claims >>work/copied").expect(0);
    hosts.make("rehearse").expect(0);
    assert!(!delivered.exists());
}

#[test]
fn what_users_will_see_is_told() {
    let upper = "username_tolower: no\nunixhierarchysep: ";
    let Some(hosts) = Hosts::of("2.4.22", "flatu", &[("unixhierarchysep: yes", "unixhierarchysep: no")]) else {
        return;
    };
    let old = String::from_utf8(hosts.new.read("kit/old.conf")).unwrap();
    assert!(!old.contains("username_tolower"));
    hosts.new.write("kit/old.conf", old.replace("unixhierarchysep: ", upper));
    let plan = String::from_utf8(hosts.make("plan").expect(0).out).unwrap();
    for told in [
        "username_tolower: no -> yes (yes: userids become lower case",
        "unixhierarchysep: yes -> no",
        "mailboxes have a dot in",
    ] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    hosts.set("COPY = y\n");
    hosts.fails("plan", &["COPY is yes or no, not y"]);
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
    let path = format!("{}:{}", stage::bin().display(), std::env::var("PATH").unwrap());
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
        let path = format!("{}:{}", stage::bin().display(), std::env::var("PATH").unwrap());
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
    hosts.fails("rehearse", &["component of the name too long", "mailbox name too long", "201 DELETED dropped"]);
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
    hosts.old.write("old.dump", stage::lines(&dump).into_iter().map(cut).collect::<Vec<_>>().concat());
    hosts.fails(
        "rehearse",
        &["no partition", "user.frank", "these 3 (all in work/refused)", "or allow MAX_REFUSED = 3"],
    );
    hosts.old.write("old.dump", dump);
    hosts.set("MAX_REFUSED = 1\n");
    hosts.fails("rehearse", &["shared.acl.a10\n", "on the old server, or allow MAX_REFUSED = 2"]);
}

/// The kit reads imapd.conf for what no filter prints, such as where quotas are; it reads what the filters read.
#[test]
fn an_imapd_conf_is_read_as_the_filters_read_it() {
    let sandbox = Sandbox::empty();
    let steps = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/migrate/steps.sh");
    let more = sandbox
        .write("more.conf", "quota_db:flat\nimap_virtdomains: userid\r\n\tMETAPARTITION_FILES: header\\\n  index\n");
    let odd = format!(
        "# partition-x: /no \\\npartition-y: /no, either\n  ConfigDirectory:/a b/c  \n\npartition-part-3: /d\t/e:f\n@include: {more}\n\
         virtdomains: off\nsievedir: /x'y\\z\nservername: last"
    );
    let mut files = vec![sandbox.write("odd.conf", odd)];
    for variant in ["2.2.13/flat", "2.3.7/meta", "3.0.18/virt", "3.6.1/mixed"] {
        files.push(stage::corpus().join(variant).join("imapd.conf").to_str().unwrap().to_string());
    }
    let mut said = 0;
    for file in files {
        let conf = mbxtools::imapd_conf::Conf::read(Path::new(&file), None).unwrap();
        for option in [
            "configdirectory",
            "partition-x",
            "partition-y",
            "partition-default",
            "partition-part-3",
            "metapartition-default",
            "metapartition_files",
            "quota_db",
            "virtdomains",
            "sievedir",
            "servername",
            "fulldirhash",
            "nothing",
        ] {
            let ran = sandbox.sh(&format!("sh {} conf {option} {file}", steps.display())).expect(0);
            let mut wanted = conf.get(option).unwrap_or_default().to_vec();
            said += usize::from(!wanted.is_empty());
            wanted.push(b'\n');
            assert_eq!(String::from_utf8_lossy(&ran.out), String::from_utf8_lossy(&wanted), "{option} of {file}");
        }
    }
    assert!(said > 25, "{said}");
    sandbox.sh(&format!("sh {} conf sievedir nosuch", steps.display())).expect(1).says("nosuch: cannot be read");
    sandbox.write("lost.conf", "@include: nosuch\nsievedir: /x\n");
    sandbox.sh(&format!("sh {} conf sievedir lost.conf", steps.display())).expect(1).says("cannot be read");
}

/// `backup.sh`, which needs no Cyrus: where the distribution's own cron job writes a broken list over a good one.
#[test]
fn a_backup_that_shrank_is_refused_and_yesterdays_is_kept() {
    let sandbox = Sandbox::empty();
    let dump = String::from_utf8(stage::read("2.2.13/flat/dump.txt")).unwrap();
    sandbox.write("now", &dump);
    let print = sandbox.write("ctl_mboxlist", format!("#!/bin/sh\ncat {}\nexit $STATUS\n", sandbox.file("now")));
    std::fs::set_permissions(&print, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/migrate/backup.sh");
    let backup = |settings: &str| sandbox.sh(&format!("{settings} CTL_MBOXLIST={print} sh {} kept", script.display()));
    backup("STATUS=0").expect(2).says("kept: make it");
    sandbox.sh(&format!("sh {}", script.display())).expect(2).says("usage: backup.sh DIRECTORY [LOST]");
    std::fs::create_dir(sandbox.path().join("kept")).unwrap();
    backup("STATUS=0").expect(0);
    let yesterday = sandbox.file("kept/mailboxes.2006-11-19");
    let kept = || {
        let mut names: Vec<_> =
            std::fs::read_dir(sandbox.path().join("kept")).unwrap().map(|f| f.unwrap().path()).collect();
        names.sort();
        names
    };
    // Names and rights are nobody else's to read.
    assert_eq!(std::fs::metadata(&kept()[0]).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::rename(&kept()[0], &yesterday).unwrap();
    // A tenth is gone; the end is gone; all is gone; it failed.
    let tenth: String = dump.lines().skip(10).flat_map(|line| [line, "\n"]).collect();
    for (list, status, says) in [
        (&tenth[..], 0, "--max-lost allows 1%"),
        (&dump[..4000], 0, "the list was cut off here"),
        ("", 0, "the list is empty"),
        (&dump[..], 75, "75"),
    ] {
        sandbox.write("now", list);
        let ran = backup(&format!("STATUS={status}")).expect(1).says("no backup was made today").says("2006-11-19");
        assert!(ran.err.contains(says), "{says}: {}", ran.err);
        assert_eq!(kept(), [Path::new(&yesterday)]);
        assert_eq!(std::fs::read_to_string(&yesterday).unwrap(), dump);
    }
    // The real server's, by its own imapd.conf.
    let print =
        sandbox.write("by_conf", format!("#!/bin/sh\ntest \"$*\" = '-C my.conf -d' && cat {}\n", sandbox.file("now")));
    std::fs::set_permissions(&print, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("now", &dump);
    let by_conf = format!("IMAPD_CONF=my.conf CTL_MBOXLIST={print} sh {} kept", script.display());
    sandbox.sh(&by_conf).expect(0);
    std::fs::remove_file(kept().last().unwrap()).unwrap();
    // One more and one less is a day like any other, and what is old goes when a good one has come.
    let today = format!("{}user.new\tdefault\tnew\tlrswipcda\t\n", dump.split_once('\n').unwrap().1);
    sandbox.write("now", &today);
    sandbox.sh(&format!("touch -d '40 days ago' {yesterday}")).expect(0);
    backup("STATUS=0").expect(0);
    assert_eq!(kept().len(), 1);
    assert_eq!(std::fs::read_to_string(&kept()[0]).unwrap(), today);
}
