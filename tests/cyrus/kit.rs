//! `examples/migrate` as an administrator runs it: two hosts side by side, `make plan`, `make rehearse`, `make load`,
//! a real Cyrus 3.6.1 that starts on what was loaded, and whatever can go wrong in between.
//!
//! Skipped, loudly, where Cyrus is not installed; a failure under MBX_REQUIRE_CYRUS=1.

use crate::harness;
use crate::harness::Sandbox;
use crate::harness::cyrus::{self, Server};
use crate::harness::hosts::Hosts;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    hosts.fails("verify", &["no cyrus.index (", "user.bob", "not what was meant"]);
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
    let mut expected = harness::lines(&harness::read("migration/expected.dump"));
    expected.sort();
    assert_eq!(harness::lines(&hosts.new.read("conf/mailboxes.db")), expected);
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
    assert_eq!(limits(&mut server, "user/carol.smith"), ["1000"]);
}

/// What the server says of a quota root.
fn limits(server: &mut Server, root: &str) -> Vec<String> {
    let quota = server.log_in().ask(&format!("GETQUOTA {root}")).ok();
    quota.after("QUOTA").map(|of| of[1].list()[2].text().to_string()).collect()
}

/// A quota's place is by the name, where the mailbox's is by its uniqueid.
#[test]
fn quotas_of_mailboxes_by_uniqueid_come_along_where_the_hash_is_another() {
    let Some(hosts) = Hosts::of("3.6.1", "mixed", &[("fulldirhash: no\n", "fulldirhash: yes\n")]) else { return };
    hosts.set("DROP = deletedprefix,remote\nMAX_REFUSED = 1\nMAX_MISSING = 20\n");
    std::fs::create_dir_all(hosts.old.path().join("conf/quota/a")).unwrap();
    hosts.old.write("conf/quota/a/user.alice", "0\n1000\n");
    // By uniqueid, they are nobody's whom the list does not have.
    std::fs::create_dir_all(hosts.old.path().join("conf/user/uuid/5/f/5f1")).unwrap();
    hosts.old.write("conf/user/uuid/5/f/5f1/5f1.sub", "");
    cyrus::hand_over(hosts.old.path());
    hosts.make("rehearse load").expect(0);
    assert!(!String::from_utf8(hosts.new.read("kit/work/strangers")).unwrap().contains("uuid"));
    let mut server = Server::start(&hosts.new);
    assert_eq!(limits(&mut server, "user/alice"), ["1000"]);
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
        assert_eq!(limits(&mut server, root), [limit], "{root}");
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
        &["meta/1/k/keep/cyrus.header, and the old host keeps nothing apart of partition 1", "Move them all away"],
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
        files.push(harness::corpus().join(variant).join("imapd.conf").to_str().unwrap().to_string());
    }
    let mut said = 0;
    for file in files {
        let conf = mbxtools::spool::conf::Conf::read(Path::new(&file), None).unwrap();
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
    let dump = String::from_utf8(harness::read("2.2.13/flat/dump.txt")).unwrap();
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
