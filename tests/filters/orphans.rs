//! Mailboxes on disk that no entry names: a lost list comes back from every spool of the corpus, a whole list has no
//! orphans, and of one that lacks entries exactly those are found.

use crate::harness;
use crate::harness::{JSON_RELEASES, Ran, Sandbox, dumps, json_dumps, lines, run, sh};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// A variant that has a spool.
struct Spool {
    release: &'static str,
    variant: String,
    dump: Vec<u8>,
    /// The entries of the list, as `--orphans` would write them.
    entries: Vec<Vec<u8>>,
}

fn spools() -> impl Iterator<Item = Spool> {
    let json = json_dumps().into_iter().filter(|(_, variant, _)| variant != "inject");
    dumps().into_iter().chain(json).map(|(release, variant, dump)| {
        let mut entries = match JSON_RELEASES.contains(&release) {
            false => lines(&dump),
            true => members(&dump).iter().map(|entry| without_mtime(entry)).collect(),
        };
        if (release, variant.as_str()) == ("3.13.7", "mixed") {
            // The dump lacks the jmapId, without which the loader would skip the entry; cyrus.header has it.
            let entry = entries.iter_mut().find(|entry| mailbox(entry) == "user.alice.#addressbooks").unwrap();
            let text = String::from_utf8(entry.clone()).unwrap();
            *entry = text.replace("\"name_history\"", "\"jmapId\": \"P-F\", \"name_history\"").into_bytes();
        }
        Spool { release, variant, dump, entries }
    })
}

/// The entries of a JSON list that has one a line.
fn members(list: &[u8]) -> Vec<Vec<u8>> {
    let lines = lines(list);
    let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
    inner
        .iter()
        .map(|line| line.strip_suffix(b"\n").unwrap())
        .map(|line| line.strip_suffix(b",").unwrap_or(line).to_vec())
        .collect()
}

/// When the list was written is in no file, and no loader reads it.
fn without_mtime(entry: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(entry.to_vec()).unwrap();
    let from = text.find("\"mtime\": ").unwrap();
    let to = from + text[from..].find(", ").unwrap() + 2;
    [&text[..from], &text[to..]].concat().into_bytes()
}

/// A list of JSON of these entries.
fn object(entries: &[Vec<u8>]) -> Vec<u8> {
    [b"{\n", entries.join(&b",\n"[..]).as_slice(), b"\n}\n"].concat()
}

/// The entries that `--orphans` wrote.
fn written(sandbox: &Sandbox, release: &str) -> Vec<Vec<u8>> {
    let list = sandbox.read("orphans");
    if JSON_RELEASES.contains(&release) { members(&list) } else { lines(&list) }
}

/// The mailbox of an entry of either kind.
fn mailbox(entry: &[u8]) -> String {
    let text = String::from_utf8_lossy(entry);
    match text.strip_prefix('"') {
        Some(text) => text.split_once("\": ").unwrap().0.to_string(),
        None => text.split_once('\t').unwrap().0.to_string(),
    }
}

/// Why no file holds an entry, if none does.
fn in_no_file(release: &str, variant: &str, entry: &[u8]) -> Option<&'static str> {
    let (name, text) = (mailbox(entry), String::from_utf8_lossy(entry).into_owned());
    let place = text.split('\t').nth(1).unwrap_or_default();
    let letters = text.split("\"mbtype\": \"").nth(1).and_then(|rest| rest.split('"').next());
    match letters {
        Some(letters) if letters.contains('d') => return Some("tombstone"),
        Some(letters) if letters.contains('r') => return Some("remote"),
        // relocate_by_id of 3.6.1 and 3.13.7 put NIL where cyrus.header has the name, but of a former intermediate.
        Some(letters) if variant == "mixed" && !letters.contains('l') && name != "user.alice.#addressbooks" => {
            return Some("no name");
        }
        Some(_) => return None,
        None => {}
    }
    match () {
        () if place.starts_with("16 (null)") => Some("tombstone"),
        () if place.contains("backend") => Some("remote"),
        () if variant == "murder" && ["shared.moving", "user.net", "user.reserve"].contains(&name.as_str()) => {
            Some("by hand")
        }
        () if variant == "inject" && name.contains("inj") => Some("by hand"),
        () if release == "3.0.18" && name == "user.alice.#coll" => Some("type"),
        () => None,
    }
}

fn check(sandbox: &Sandbox, release: &str, options: &[&str], list: &[u8]) -> Ran {
    let (conf, orphans) = (sandbox.file("old.conf"), sandbox.file("orphans"));
    run("check-paths", &[&["-C", &conf, "--from", release, "--orphans", &orphans][..], options].concat(), list)
}

#[test]
fn a_lost_list_comes_back_but_for_what_no_file_holds() {
    let mut table: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut rebuilt = 0;
    for Spool { release, variant, entries, .. } in spools() {
        let sandbox = Sandbox::of(release, &variant);
        let unnamed = variant == "mixed";
        let ran = check(&sandbox, release, &["--allow-empty"], b"").expect(i32::from(unnamed)).writes(b"");
        let found = written(&sandbox, release);
        let mut meant = Vec::new();
        for entry in entries {
            match in_no_file(release, &variant, &entry) {
                None => meant.push(entry),
                Some(why) => *table.entry(why).or_default() += 1,
            }
        }
        // A name tells calendars and addressbooks, but no collection of the user's own choice.
        let coll = |entry: &Vec<u8>| release == "3.0.18" && mailbox(entry) == "user.alice.#coll";
        assert_eq!(found.iter().filter(|entry| coll(entry)).count(), usize::from(release == "3.0.18"));
        assert!(
            found.iter().filter(|entry| coll(entry)).all(|entry| entry.starts_with(b"user.alice.#coll\t0 default "))
        );
        let found: Vec<_> = found.into_iter().filter(|entry| !coll(entry)).collect();
        // Sorted by name, whatever the order of the server's database.
        meant.sort_by_key(|entry| mailbox(entry));
        for (one, other) in found.iter().zip(&meant) {
            assert_eq!(String::from_utf8_lossy(one), String::from_utf8_lossy(other), "{release} {variant}");
        }
        let text = |list: &[Vec<u8>]| String::from_utf8_lossy(&list.join(&b"\n"[..])).into_owned();
        assert_eq!(text(&found), text(&meant), "{release} {variant}");
        assert_eq!(ran.err.contains("20 on disk but not written"), unnamed, "{}", ran.tell());
        assert_eq!(ran.err.matches("has no name, and its directory is by uniqueid").count(), 20 * usize::from(unnamed));
        rebuilt += found.len();
    }
    let table: Vec<_> = table.into_iter().collect();
    assert_eq!(table, [("by hand", 70), ("no name", 40), ("remote", 14), ("tombstone", 95), ("type", 6)], "{rebuilt}");
    assert!(rebuilt > 7_000, "{rebuilt}");
}

#[test]
fn a_whole_list_has_no_orphans_and_of_one_that_lacks_entries_exactly_those_are_found() {
    for Spool { release, variant, dump, entries } in spools() {
        // An entry of it has a partition that is not declared.
        if variant == "inject" {
            continue;
        }
        let sandbox = Sandbox::of(release, &variant);
        let ran = check(&sandbox, release, &["--no-drop"], &dump).expect(0).writes(&dump);
        let none = sandbox.read("orphans").is_empty() && !ran.err.contains("orphan") && !ran.err.contains("on disk");
        assert!(none, "{release} {variant}: {}", ran.tell());
        let json = JSON_RELEASES.contains(&release);
        for (step, first) in [(2, 1), (50, 3)] {
            let raw = if json { members(&dump) } else { lines(&dump) };
            let goes = |i: usize| i % step == first && in_no_file(release, &variant, &entries[i]).is_none();
            let left: Vec<_> = (0..raw.len()).filter(|i| !goes(*i)).map(|i| raw[i].clone()).collect();
            let left = if json { object(&left) } else { left.concat() };
            let mut meant: Vec<_> = (0..raw.len()).filter(|i| goes(*i)).map(|i| entries[i].clone()).collect();
            meant.sort_by_key(|entry| mailbox(entry));
            assert!(!meant.is_empty());
            let ran = check(&sandbox, release, &["--no-drop"], &left).expect(0).writes(&left);
            assert_eq!(written(&sandbox, release), meant, "{release} {variant}: {}", ran.tell());
            assert!(ran.err.contains(&format!("{} orphans", meant.len())), "{}", ran.tell());
        }
    }
}

/// With `--to 3.6.1` the orphans of an old spool are what its list becomes on the way through the other filters.
#[test]
fn what_is_written_for_another_release_is_what_the_list_becomes() {
    for (release, variant) in [("2.2.13", "flat"), ("2.3.7", "meta"), ("2.4.22", "virt"), ("3.0.18", "fullhash")] {
        for to in ["3.6.1", "3.13.7"] {
            let sandbox = Sandbox::of(release, variant);
            check(&sandbox, release, &["--to", to, "--allow-empty"], b"").expect(0);
            let found = members(&sandbox.read("orphans"));
            let dump = sandbox.read("old.dump");
            let (conf, rejects) = (sandbox.file("old.conf"), sandbox.file("rejects"));
            let list =
                run("parse", &["--from", release, "--to", to, "--drop", "remote", "--reject", &rejects], &dump).out;
            let list = run("check-paths", &["-C", &conf, "--from", release, "--to", to, "--fill"], &list).expect(0).out;
            let mut meant = members(&list);
            meant.sort_by_key(|entry| mailbox(entry));
            let refused = lines(&sandbox.read("rejects")).len();
            assert_eq!(found.len(), meant.len() + refused, "{release} {to}");
            let same = meant.iter().filter(|entry| found.contains(entry)).count();
            let typed = usize::from(release == "3.0.18");
            assert_eq!(same + typed, meant.len(), "{release} {variant} {to}");
            // It is a list that can be loaded as any other, but for names that the target cannot hold.
            let conf = sandbox.file("old.conf");
            let options = ["--from", to, "--to", to, "--reject", &rejects];
            let list = run("parse", &options, &sandbox.read("orphans")).out;
            assert_eq!(members(&list).len(), meant.len(), "{release} {to}");
            run("check-paths", &["-C", &conf, "--from", release, "--to", to, "--fill"], &list).expect(0).writes(&list);
        }
    }
}

/// A cyrus.header of 2.2 to 3.5.
fn header(uniqueid: &str, acl: &str) -> Vec<u8> {
    let magic = b"\xa1\x02\x8b\x0dCyrus mailbox header\n\"The best thing about this system was that it had lots of goals.\"\n\t--Jim Morris on Andrew\n";
    [&magic[..], format!("\t{uniqueid}\n\n{acl}\n").as_bytes()].concat()
}

fn mailbox_at(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("cyrus.header"), header("19efe4006b045029", "a\tlrs\t")).unwrap();
}

/// A spool of these directories on one partition, and how it is told.
fn small(dirs: &[&str]) -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::empty();
    std::fs::create_dir(sandbox.path().join("spool")).unwrap();
    dirs.iter().for_each(|dir| mailbox_at(&sandbox.path().join("spool").join(dir)));
    let options =
        ["--partition".to_string(), format!("default={}", sandbox.file("spool")), "--from".into(), "2.2.13".into()];
    let options =
        options.into_iter().chain(["--orphans".into(), sandbox.file("orphans"), "--allow-empty".into()]).collect();
    (sandbox, options)
}

fn look(options: &[String], more: &[&str], list: &[u8]) -> Ran {
    let options: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
    run("check-paths", &options, list)
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    lines(&sandbox.read("orphans")).iter().map(|entry| mailbox(entry)).collect()
}

#[test]
fn links_are_followed_and_loops_of_them_end() {
    let (sandbox, options) = small(&["user/a", "user/b/Sent"]);
    let at = |path: &str| sandbox.path().join(path);
    mailbox_at(&at("disk2/c"));
    mailbox_at(&at("disk2/c/Sent"));
    for (target, link) in [
        (at("disk2/c"), "spool/user/c"),
        (at("spool"), "spool/user/a/up"),
        (at("spool/user/b"), "spool/user/b/self"),
        ("nowhere".into(), "spool/user/dangling"),
        ("itself".into(), "spool/user/itself"),
        (at("disk2/c/Sent"), "disk2/c/Sent/again"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    look(&options, &[], b"").expect(0).says("4 orphans");
    assert_eq!(names(&sandbox), ["user.a", "user.b.Sent", "user.c", "user.c.Sent"]);
    // Two users that lead to each other, many times over: every way is walked, but no way for ever.
    for i in 0..4 {
        symlink(at("spool/user/b"), at(&format!("spool/user/a/b{i}"))).unwrap();
        symlink(at("spool/user/a"), at(&format!("spool/user/b/Sent/a{i}"))).unwrap();
    }
    look(&options, &[], b"").expect(1).says("12 orphans").says("/user/b/Sent/a0: one directory with ");
    // But where the list names a directory, it is no orphan by another name, whichever of the two is the link.
    let list = b"user.a\tdefault\ta\tlrs\t\nuser.b.Sent\tdefault\ta\tlrs\t\nuser.c\tdefault\ta\tlrs\t\n";
    let list = [&list[..], b"user.c.Sent\tdefault\ta\tlrs\t\n"].concat();
    look(&options, &[], &list)
        .expect(0)
        .says("(8 on disk but listed elsewhere")
        .says("/spool/user/b/Sent/a0: the list has it as ");
    // A chain of links is followed some way, and then told.
    let (sandbox, options) = small(&[]);
    for i in 0..12 {
        let dir = sandbox.path().join(format!("d{i}"));
        mailbox_at(&dir);
        symlink(dir, sandbox.path().join(if i == 0 { "spool/l".into() } else { format!("d{}/l", i - 1) })).unwrap();
    }
    look(&options, &[], b"").expect(1).says("/l/l/l/l/l/l/l/l/l: not looked into").says("8 orphans, 1 on disk");
}

#[test]
fn what_can_be_no_mailbox_is_passed_over() {
    let (sandbox, options) = small(&["user/a", "stage.", "sync.", "lost+found", "user/a/lost+found", "user/b.c"]);
    look(&options, &[], b"").expect(0);
    assert_eq!(names(&sandbox), ["user.a", "user.a.lost+found"]);
    // A root inside another is not part of it, and no mailbox comes twice.
    let (sandbox, mut options) = small(&["user/a", "inside/user/b"]);
    options.extend(["--partition".to_string(), format!("p2={}", sandbox.file("spool/inside"))]);
    look(&options, &[], b"").expect(0);
    assert_eq!(
        String::from_utf8(sandbox.read("orphans")).unwrap(),
        "user.a\tdefault\ta\tlrs\t\nuser.b\tp2\ta\tlrs\t\n"
    );
    // Two partitions of one root are one.
    let (sandbox, mut options) = small(&["user/a", "user/b"]);
    options.extend(["--partition".to_string(), format!("p2={}", sandbox.file("spool"))]);
    let list = b"user.a\tp2\ta\tlrs\t\n";
    look(&options, &[], list).expect(0).writes(list);
    assert_eq!(names(&sandbox), ["user.b"]);
    // An empty root may be a disk that is not there.
    let (_sandbox, options) = small(&[]);
    look(&options, &["-q"], b"").expect(0).says("holds no mailbox: is the disk mounted?");
}

#[test]
fn headers_on_both_sides_of_a_metapartition_are_one_mailbox() {
    let (sandbox, _) = small(&["user/a", "user/b"]);
    mailbox_at(&sandbox.path().join("meta/user/b"));
    mailbox_at(&sandbox.path().join("meta/user/c"));
    let conf = "partition-default: /cyrus/spool\nmetapartition-default: /cyrus/meta\nmetapartition_files: header\n";
    let conf = sandbox.conf("imapd.conf", conf);
    let orphans = sandbox.file("orphans");
    run("check-paths", &["-C", &conf, "--from", "2.3.7", "--orphans", &orphans, "--allow-empty"], b"").expect(0);
    assert_eq!(names(&sandbox), ["user.a", "user.b", "user.c"]);
}

#[test]
fn what_cannot_be_written_is_told_and_counted() {
    let (sandbox, options) = small(&["user/a", "user/empty", "user/cut", "user/none", "user/dir", "user/tab\tbed"]);
    let at = |path: &str| sandbox.path().join("spool").join(path);
    std::fs::write(at("user/empty/cyrus.header"), b"").unwrap();
    std::fs::write(at("user/cut/cyrus.header"), &header("1", "")[..60]).unwrap();
    std::fs::write(at("user/none/cyrus.header"), b"From the postmaster").unwrap();
    std::fs::remove_file(at("user/dir/cyrus.header")).unwrap();
    std::fs::create_dir(at("user/dir/cyrus.header")).unwrap();
    let list = b"user.x\tback.example.com!default\t\n";
    let ran = look(&options, &[], list).expect(1).writes(list).says("1 orphans, 5 on disk but not written");
    for part in [
        "/user/empty/cyrus.header is empty",
        "/user/cut/cyrus.header is cut off",
        "/user/none/cyrus.header is not a cyrus.header",
        "/user/dir: on disk, but not written: cyrus.header is no file",
        "bed': on disk, but not written: no list can hold its name",
    ] {
        assert!(ran.err.contains(part), "{part}\n{}", ran.tell());
    }
    assert_eq!(names(&sandbox), ["user.a"]);
    // Hashed otherwise: nobody's directory.
    look(&options, &["--hashimapspool"], b"").expect(1).says("no mailbox name has this directory").says("6 on disk");
    // What JSON needs is in cyrus.index.
    look(&options, &["--to", "3.6.1"], b"").expect(1).says("user.a: no cyrus.index");
    // By uniqueid, and not the uniqueid of its header.
    let (_sandbox, options) = small(&["uuid/a/b/abcdef"]);
    let options: Vec<String> = options.iter().map(|o| if o == "2.2.13" { "3.6.1".into() } else { o.clone() }).collect();
    look(&options, &[], b"").expect(1).says("the uniqueid in its cyrus.header is another");
}

#[test]
fn a_directory_that_cannot_be_read_is_trouble() {
    let (sandbox, options) = small(&["user/a", "user/b"]);
    let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(sandbox.path(), 0o755);
    open(&sandbox.path().join("spool/user/b"), 0);
    let check = sandbox.path().join("check");
    // By another process: what this one has open for writing, the child of another test may have, too: "text busy".
    sandbox.sh(&format!("cp {}/mbx-check-paths check", harness::bin().display())).expect(0);
    sandbox.write("orphans", b"");
    open(&sandbox.path().join("orphans"), 0o666);
    let mut command = std::process::Command::new(check);
    // Root may read everything.
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.args(&options).stdin(std::process::Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && err.contains("/user/b: Permission denied"), "{err}");
    // A header that cannot be read is one mailbox, and the others are found.
    open(&sandbox.path().join("spool/user/b"), 0o755);
    open(&sandbox.path().join("spool/user/b/cyrus.header"), 0);
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("/user/b/cyrus.header: Permission denied"), "{err}");
    assert_eq!(names(&sandbox), ["user.a"]);
}

#[test]
fn a_mailbox_that_is_listed_elsewhere_is_not_written_again() {
    let (sandbox, mut options) = small(&["user/a", "user/b", "user/c"]);
    mailbox_at(&sandbox.path().join("p2/user/a"));
    mailbox_at(&sandbox.path().join("p2/user/d"));
    mailbox_at(&sandbox.path().join("spool/user/d"));
    options.extend(["--partition".to_string(), format!("p2={}", sandbox.file("p2"))]);
    let list = b"user.a\tp2\t\nuser.b\tback.example.com!default\t\n";
    let ran = look(&options, &[], list).expect(1).writes(list);
    let ran = ran.says("/spool/user/a: the list has user.a, but not here").says("user.d is on disk more than once");
    assert!(ran.err.contains("3 orphans, 2 on disk but listed elsewhere"), "{}", ran.tell());
    assert_eq!(names(&sandbox), ["user.c", "user.d", "user.d"]);
}

#[test]
fn it_asks_for_what_nobody_told() {
    let (sandbox, _) = small(&["user/a"]);
    let (partition, orphans) = (format!("default={}", sandbox.file("spool")), sandbox.file("orphans"));
    let options = ["--partition", &partition, "--orphans", &orphans, "--allow-empty"];
    let ask = |more: &[&str], list: &[u8]| run("check-paths", &[&options[..], more].concat(), list);
    ask(&[], b"").expect(2).says("--from RELEASE, or --spool-release RELEASE");
    ask(&["--spool-release", "2.2.13"], b"").expect(2).says("an empty list has no dialect");
    ask(&["--spool-release", "2.2.13"], b"{\n\n}\n").expect(2).says("--to RELEASE");
    // Of a mailbox that the release to come cannot open no entry is written.
    ask(&["--spool-release", "2.2.13", "--to", "2.4.22"], b"").expect(1).says("user.a: no cyrus.index (");
    assert_eq!(sandbox.read("orphans"), b"");
    sandbox.write("spool/user/a/cyrus.index", harness::index_of(13, 7));
    ask(&["--spool-release", "3.0.18", "--to", "2.4.22"], b"")
        .expect(1)
        .says("has minor 13, and 2.4.22 reads up to 12)")
        .says("Run `reconstruct -V 12` on the 3.0.18 server");
    sandbox.write("spool/user/a/cyrus.index", harness::index_of(6, 7));
    ask(&["--spool-release", "2.2.13", "--to", "2.4.22"], b"").expect(0);
    assert_eq!(sandbox.read("orphans"), b"user.a\t0 default a\tlrs\t\n");
    ask(&["--from", "2.3.7"], b"").expect(0);
    assert_eq!(sandbox.read("orphans"), b"user.a\t0 default\ta\tlrs\t\n");
    // A list that is aborted leaves the file empty.
    ask(&["--from", "2.2.13"], b"user.a\n").expect(1);
    assert!(sandbox.read("orphans").is_empty());
}

#[test]
fn twenty_thousand_directories_in_bounded_memory() {
    let (sandbox, options) = small(&[]);
    let name = |i: usize| format!("u{i:05}{}", "x".repeat(200));
    for i in 0..20_000 {
        mailbox_at(&sandbox.path().join("spool/user").join(name(i)));
    }
    // Names of four megabytes, sorted on disk; the list is every third of them.
    let list: String = (0..20_000).step_by(3).map(|i| format!("user.{}\tdefault\ta\tlrs\t\n", name(i))).collect();
    sandbox.write("list", &list);
    let words = options.iter().map(|option| format!("'{option}'")).collect::<Vec<_>>().join(" ");
    sh(sandbox.path(), &format!("ulimit -v 61440 && mbx-check-paths {words} list >out"))
        .expect(0)
        .says("13,333 orphans");
    assert_eq!(sandbox.read("out"), list.as_bytes());
    let meant: String =
        (0..20_000).filter(|i| i % 3 > 0).map(|i| format!("user.{}\tdefault\ta\tlrs\t\n", name(i))).collect();
    assert!(sandbox.read("orphans") == meant.as_bytes());
}
