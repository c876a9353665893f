//! The files of metapartitions, copied and moved: what is where afterwards, whoever was killed, and whatever was full.
//!
//! `MBX_KILL_TRIALS` (default 10) says how often somebody is killed.

use crate::harness;
use crate::harness::{Moments, Ran, Sandbox, Walk, command, lines, owner, read, run};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const PARTITIONS: [&str; 5] = ["default", "0", "1", "2", "part-3"];
const WORDS: &str = "header index cache expunge squat";

/// A 2.2.13 spool whose new server keeps metadata apart, below `meta`; its imapd.conf is `meta.conf`.
struct Night {
    sandbox: Sandbox,
    meta: PathBuf,
    /// If `meta` is on another file system, what takes it away in the end.
    _other: Option<tempfile::TempDir>,
}

impl Night {
    fn new() -> Night {
        let sandbox = Sandbox::of("2.2.13", "flat");
        let meta = sandbox.path().join("meta");
        Night::with(sandbox, meta, None)
    }

    /// Across two file systems, where there are two.
    fn across() -> Option<Night> {
        let sandbox = Sandbox::of("2.2.13", "flat");
        let other = other_file_system(&sandbox)?;
        let meta = other.path().join("meta");
        Some(Night::with(sandbox, meta, Some(other)))
    }

    fn with(sandbox: Sandbox, meta: PathBuf, other: Option<tempfile::TempDir>) -> Night {
        let night = Night { sandbox, meta, _other: other };
        night.conf("meta.conf", WORDS);
        night
    }

    fn conf(&self, name: &str, words: &str) -> String {
        let mut conf = String::from_utf8(self.sandbox.read("old.conf")).unwrap();
        for partition in PARTITIONS {
            let dir = self.meta.join(partition);
            std::fs::create_dir_all(&dir).unwrap();
            conf.push_str(&format!("metapartition-{partition}: {}\n", dir.display()));
        }
        self.sandbox.write(name, conf + &format!("metapartition_files: {words}\n"))
    }

    fn spool(&self) -> PathBuf {
        self.sandbox.path().join("spool")
    }

    fn list(&self) -> Vec<u8> {
        self.sandbox.read("old.dump")
    }

    fn mkmeta(&self, options: &[&str]) -> Ran {
        self.mkmeta_of(options, &self.list())
    }

    fn mkmeta_of(&self, options: &[&str], list: &[u8]) -> Ran {
        let (conf, owner) = (self.sandbox.file("meta.conf"), owner());
        run("mkmeta", &[&["-C", &conf, "--from", "2.2.13", "--owner", &owner], options].concat(), list)
    }

    /// Gives bob an expunge and a squat, as 2.3 would.
    fn furnish(&self) {
        for name in ["cyrus.expunge", "cyrus.squat"] {
            std::fs::write(self.spool().join("1/user/bob").join(name), name).unwrap();
        }
    }

    /// What ought to be where when all is moved.
    fn moved(&self) -> [BTreeMap<PathBuf, Vec<u8>>; 2] {
        let (mut spool, mut meta) = (files(&self.spool()), files(&self.meta));
        let names = WORDS.split(' ').map(|word| format!("cyrus.{word}")).collect::<Vec<_>>();
        for (path, bytes) in std::mem::take(&mut spool) {
            let is_meta = names.iter().any(|name| path.file_name().unwrap() == name.as_str());
            if is_meta { &mut meta } else { &mut spool }.insert(path, bytes);
        }
        [spool, meta]
    }

    fn now(&self) -> [BTreeMap<PathBuf, Vec<u8>>; 2] {
        [files(&self.spool()), files(&self.meta)]
    }
}

fn other_file_system(sandbox: &Sandbox) -> Option<tempfile::TempDir> {
    let dev = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    for place in ["/dev/shm", "/var/tmp", env!("CARGO_TARGET_TMPDIR")] {
        let is_other = dev(Path::new(place)).is_some_and(|other| Some(other) != dev(sandbox.path()));
        if let (true, Ok(dir)) = (is_other, tempfile::tempdir_in(place)) {
            return Some(dir);
        }
    }
    crate::harness::skip("across two file systems: there is only one here", "MBX_REQUIRE_TOOLS");
    None
}

/// Every file below `dir` with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false => {
                    let path = entry.path().strip_prefix(dir).unwrap().to_path_buf();
                    let bytes = if entry.path().is_file() { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

fn nights() -> impl Iterator<Item = Night> {
    [Some(Night::new()), Night::across()].into_iter().flatten()
}

#[test]
fn every_file_is_where_the_server_would_look() {
    for night in nights() {
        night.furnish();
        let expected = night.moved();
        let list = night.list();
        let ran = night.mkmeta(&["--move"]).expect(0).writes(&list);
        assert!(ran.err.contains(", 311 files moved)") && !ran.err.contains("directories only"), "{}", ran.err);
        assert!(night.now() == expected);
        // mbpath's own words: the metapartition of such a server, and below it what is below the partition.
        for row in String::from_utf8(read("2.2.13/flat/paths.tsv")).unwrap().lines().skip(1) {
            let data = row.split('\t').nth(1).unwrap().strip_prefix("/cyrus/spool/").unwrap();
            for name in ["cyrus.header", "cyrus.index", "cyrus.cache"] {
                assert!(night.meta.join(data).join(name).is_file(), "{row}");
                assert!(!night.spool().join(data).join(name).exists(), "{row}");
            }
        }
        let conf = night.sandbox.file("meta.conf");
        let ran = run("check-paths", &["-C", &conf, "--from", "2.2.13"], &list).expect(0).writes(&list);
        assert!(!ran.err.contains("not moved yet"), "{}", ran.err);
        // Again, which changes nothing.
        let ran = night.mkmeta(&["--move"]).expect(0).writes(&list);
        ran.says("103 out (311 files already there, 103 mailboxes with nothing to do)");
        night.mkmeta(&["--copy"]).expect(0).says("103 mailboxes with nothing to do");
        assert!(night.now() == expected);
    }
}

#[test]
fn every_layout_keeps_its_directories() {
    for (release, variant) in
        [("2.2.13", "hash"), ("2.3.7", "virt"), ("2.4.22", "fullhash"), ("3.0.18", "virt"), ("3.6.1", "flat")]
    {
        let sandbox = Sandbox::of(release, variant);
        let meta = sandbox.path().join("meta");
        let night = Night::with(sandbox, meta, None);
        let (conf, owner, list) = (night.sandbox.file("meta.conf"), owner(), night.list());
        let options = ["-C", &conf, "--from", release, "--owner", &owner, "--move"];
        let ran = run("mkmeta", &options, &list).expect(0).writes(&list);
        let idle = run("mkmeta", &options, &list).expect(0).err;
        let count = |err: &str, what: &str| {
            let before = err.split(what).next().unwrap().trim_end().rsplit([' ', '(']).next().unwrap().to_string();
            before.replace(',', "").parse::<usize>().unwrap_or_else(|_| panic!("{what}: {err}"))
        };
        assert_eq!(count(&ran.err, "files moved"), count(&idle, "files already there"), "{release} {variant}");
        assert!(count(&idle, "mailboxes with nothing") > 90, "{release} {variant}: {idle}");
        let ran = run("check-paths", &["-C", &conf, "--from", release], &list).expect(0).writes(&list);
        assert!(!ran.err.contains("not moved yet"), "{release} {variant}: {}", ran.err);
    }
}

#[test]
fn a_copy_is_like_its_original() {
    for night in nights() {
        let [spool, _] = night.now();
        let [rest, meta] = night.moved();
        let bob = night.spool().join("1/user/bob/cyrus.index");
        std::fs::set_permissions(&bob, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&bob, None, Some(rustix::process::getegid().as_raw())).unwrap();
        std::fs::hard_link(&bob, night.sandbox.path().join("backup")).unwrap();
        File::options().write(true).open(&bob).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        night.mkmeta(&["--copy"]).expect(0).says("309 files copied");
        assert!(night.now() == [spool.clone(), meta.clone()]);
        let kept = |path: &Path| {
            let meta = std::fs::metadata(path).unwrap();
            (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
        };
        assert_eq!(kept(&night.meta.join("1/user/bob/cyrus.index")), kept(&bob));
        let ran = night.mkmeta(&["--copy"]).expect(0);
        ran.says("(309 files already there, 103 mailboxes with nothing to do)");
        assert!(night.now() == [spool, meta.clone()]);
        // Then the night: what is there and the same only goes from the spool.
        night.mkmeta(&["--move"]).expect(0).says("103 out (309 files already there)");
        assert!(night.now() == [rest, meta]);
    }
}

#[test]
fn a_rehearsal_then_new_mail_then_the_night() {
    for (night, wins) in nights().flat_map(|night| [(night, "spool")]).chain([(Night::new(), "meta")]) {
        night.mkmeta(&["--copy"]).expect(0);
        let mut changed = night.list();
        for (mailbox, dir) in [("user.bob", "1/user/bob"), ("user.alice", "default/user/alice")] {
            assert!(lines(&changed).iter().any(|line| line.starts_with(format!("{mailbox}\t").as_bytes())));
            let mut index = File::options().append(true).open(night.spool().join(dir).join("cyrus.index")).unwrap();
            index.write_all(b"a record more").unwrap();
        }
        // Same length, other bytes.
        let cache = night.spool().join("1/user/frank/cyrus.cache");
        let mut bytes = std::fs::read(&cache).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&cache, bytes).unwrap();
        changed = lines(&changed)
            .into_iter()
            .filter(|line| {
                ["user.bob\t", "user.alice\t", "user.frank\t"].iter().any(|n| line.starts_with(n.as_bytes()))
            })
            .flatten()
            .collect();
        let before = night.now();
        let [rest, newest] = {
            let [spool, _] = night.now();
            let split = |is_meta: bool| {
                let of = |path: &Path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"cyrus.");
                spool.clone().into_iter().filter(|(path, _)| of(path) == is_meta).collect::<BTreeMap<_, _>>()
            };
            [split(false), split(true)]
        };
        // The first of them ends the list; with --reject exactly those are left, and nothing of them is touched.
        let reject = night.sandbox.file("reject");
        let dry =
            night.mkmeta(&["--move", "-n", "--reject", &reject]).expect(1).says("differ in spool and metapartition");
        assert_eq!(dry.err.lines().filter(|line| line.contains(": would remove ")).count(), 300);
        assert!(night.sandbox.read("reject") == changed && night.now() == before);
        let ran = night.mkmeta(&["--move", "--reject", &reject]).expect(1).says("3 refused");
        ran.says("(cyrus.cache: choose with --prefer spool or --prefer meta): user.frank")
            .says("(cyrus.index: choose with --prefer");
        assert!(night.sandbox.read("reject") == changed);
        let [spool, meta] = night.now();
        assert!(meta == before[1]);
        assert_eq!(spool.len(), rest.len() + 9);
        let ran = night.mkmeta_of(&["--move"], &changed).expect(1);
        assert!(ran.out.starts_with(b"!mbx-abort mbx-mkmeta: ") && night.now() == [spool, meta.clone()]);
        // --copy leaves the spool as it is.
        let ran = night.mkmeta_of(&["--copy", "--prefer", "meta"], &changed).expect(0).writes(&changed);
        ran.says("6 files already there, 3 files of the spool not taken, 3 mailboxes with nothing to do");
        assert!(night.now()[1] == meta);
        let ran = night.mkmeta_of(&["--move", "--prefer", wins], &changed).expect(0).writes(&changed);
        match wins {
            "spool" => {
                ran.says("3 files moved, 6 files already there");
                assert!(night.now() == [rest, newest]);
            }
            _ => {
                ran.says("6 files already there, 3 files of the spool not taken");
                assert!(night.now() == [rest, meta]);
            }
        }
    }
}

#[test]
fn what_only_the_metapartition_has_is_told_when_the_spool_wins() {
    let night = Night::new();
    night.furnish();
    night.mkmeta(&["--copy"]).expect(0);
    let bob = night.spool().join("1/user/bob");
    std::fs::remove_file(bob.join("cyrus.expunge")).unwrap();
    std::fs::write(bob.join("cyrus.index"), "another").unwrap();
    let ran = night.mkmeta(&["--move", "--prefer", "spool"]).expect(0);
    ran.says("file that is no longer in the spool stays on the metapartition (cyrus.expunge)").says(": user.bob\n");
    assert!(night.meta.join("1/user/bob/cyrus.expunge").is_file());
}

#[test]
fn a_dry_run_touches_nothing() {
    let night = Night::new();
    night.furnish();
    let before = night.now();
    let ran = night.mkmeta(&["-n", "--move"]).expect(0).says("311 files to move");
    let would = |what: &str| ran.err.lines().filter(|line| line.contains(what)).count();
    assert_eq!((would(": would move "), would("/cyrus.squat to ")), (311, 1));
    assert!(would(": would make ") > 50);
    let dirs = std::fs::read_dir(night.meta.join("1")).unwrap().count();
    assert!(night.now() == before && dirs == 0);
    night.mkmeta(&["-n", "--copy"]).expect(0).says("would copy ").says("311 files to copy");
    // Also on a sealed list, which is otherwise refused: the guard has not spoken.
    let sealed = run("parse", &["--from", "2.2.13", "--to", "2.3.7", "--seal"], &night.list()).expect(0).out;
    night.mkmeta_of(&["-n", "--move"], &sealed).expect(0);
    for option in ["--copy", "--move"] {
        let ran = night.mkmeta_of(&[option], &sealed).expect(2).says("the list is sealed").says("mbx-count-guard");
        assert!(ran.out.starts_with(b"!mbx-abort mbx-mkmeta: "));
    }
    assert!(night.now() == before);
}

#[test]
fn options_that_do_not_go_together() {
    let night = Night::new();
    let before = night.now();
    night.mkmeta(&["--copy", "--move"]).expect(2).says("cannot be used with");
    night.mkmeta(&["--prefer", "spool"]).expect(2).says("--copy|--move");
    night.mkmeta(&["--move", "--prefer", "newest"]).expect(2).says("spool, meta");
    let meta = format!("--meta=default={}", night.meta.display());
    run("mkmeta", &[&meta, "--move"], &night.list())
        .expect(2)
        .says("'--meta <PARTITION=DIR>' cannot be used with '--move'");
    assert!(night.now() == before);
}

/// Each word's file goes where that word's files belong.
#[test]
fn every_word_has_its_root() {
    let night = Night::new();
    let bob = night.spool().join("1/user/bob");
    for name in ["expunge", "squat", "annotations", "dav", "other", "index.NEW"] {
        std::fs::write(bob.join(format!("cyrus.{name}")), name).unwrap();
    }
    let names = |dir: &Path| {
        let names = std::fs::read_dir(dir).map(|dir| dir.map(|e| e.unwrap().file_name().into_string().unwrap()));
        let mut names: Vec<_> = names.map(Iterator::collect).unwrap_or_default();
        names.retain(|name| name.starts_with("cyrus.") || name.starts_with('.'));
        names.sort();
        names
    };
    let list: Vec<u8> =
        lines(&night.list()).into_iter().filter(|line| line.starts_with(b"user.bob\t")).flatten().collect();
    let mut conf = String::from_utf8(night.sandbox.read("old.conf")).unwrap();
    for (key, dir) in [("metapartition-1", "m"), ("metadir-index-1", "i"), ("metadir-squat-1", "s")] {
        let dir = night.sandbox.path().join(dir);
        std::fs::create_dir(&dir).unwrap();
        conf.push_str(&format!("{key}: {}\n", dir.display()));
    }
    let conf = night.sandbox.write("meta.conf", conf + "metapartition_files: header lock archivecache expunge dav\n");
    night.mkmeta_of(&["--move"], &list).expect(0).says("6 files moved");
    let at = |root: &str| names(&night.sandbox.path().join(root).join("user/bob"));
    assert_eq!(at("m"), ["cyrus.dav", "cyrus.expunge", "cyrus.header"]);
    assert_eq!(at("i"), ["cyrus.annotations", "cyrus.index"]);
    assert_eq!(at("s"), ["cyrus.squat"]);
    assert_eq!(names(&bob), ["cyrus.cache", "cyrus.index.NEW", "cyrus.other"]);
    // Only who is in the list.
    assert!(night.spool().join("1/user/bob/Sent/cyrus.header").is_file());
    run("check-paths", &["-C", &conf, "--from", "2.2.13"], &list).expect(0).writes(&list);
}

#[test]
fn what_is_in_neither_place_is_refused_by_name() {
    let night = Night::new();
    night.mkmeta(&[]).expect(0).says("directories only").says("mbx-mkmeta --move");
    for name in ["1/user/bob/Sent/cyrus.index", "1/user/frank/cyrus.cache"] {
        std::fs::remove_file(night.spool().join(name)).unwrap();
    }
    std::fs::remove_dir_all(night.spool().join("default/user/alice/Sent")).unwrap();
    let list = night.list();
    let reject = night.sandbox.file("reject");
    let ran = night.mkmeta(&["--move", "--reject", &reject]).expect(1).says("2 refused");
    ran.says("no file in the spool or on the metapartition (neither ")
        .says("user/bob/Sent/cyrus.index nor ")
        .says(": user.bob.Sent\n")
        .says(": user.alice.Sent\n");
    assert!(night.spool().join("1/user/bob/Sent/cyrus.header").is_file());
    assert!(!night.spool().join("1/user/frank/cyrus.header").exists());
    assert_eq!(lines(&night.sandbox.read("reject")).len(), 2);
    // When all is on the metapartition, no directory in the spool is wanted: 3.0 and later make none.
    std::fs::remove_dir_all(night.spool().join("1/user/frank")).unwrap();
    let frank: Vec<u8> = lines(&list).into_iter().filter(|line| line.starts_with(b"user.frank\t")).flatten().collect();
    night.mkmeta_of(&["--move"], &frank).expect(0).says("1 mailboxes with nothing to do");
    std::fs::rename(night.spool().join("1"), night.spool().join("away")).unwrap();
    night.mkmeta_of(&["--move"], &frank).expect(2).says("is the disk mounted?");
}

#[test]
fn links_and_directories_in_the_place_of_a_file_are_trouble() {
    for place in ["spool", "meta"] {
        let night = Night::new();
        night.mkmeta(&[]).expect(0);
        let bob: Vec<u8> =
            lines(&night.list()).into_iter().filter(|line| line.starts_with(b"user.bob\t")).flatten().collect();
        let header = night.sandbox.path().join(place).join("1/user/bob/cyrus.index");
        let _ = std::fs::rename(&header, night.sandbox.path().join("real"));
        symlink(night.sandbox.path().join("real"), &header).unwrap();
        let before = night.now();
        night.mkmeta_of(&["--move"], &bob).expect(2).says("/1/user/bob/cyrus.index is a link, not a file");
        std::fs::remove_file(&header).unwrap();
        std::fs::create_dir(&header).unwrap();
        night.mkmeta_of(&["--move"], &bob).expect(2).says("/1/user/bob/cyrus.index is not a file");
        std::fs::remove_dir(&header).unwrap();
        symlink(night.sandbox.path().join("real"), &header).unwrap();
        assert!(night.now() == before);
    }
}

#[test]
fn users_on_other_disks_are_followed_but_only_in_the_spool() {
    let night = Night::new();
    let expected = night.moved();
    let frank = night.spool().join("1/user/frank");
    std::fs::rename(&frank, night.sandbox.path().join("frank")).unwrap();
    symlink(night.sandbox.path().join("frank"), &frank).unwrap();
    night.mkmeta(&["--move"]).expect(0);
    assert!(night.now()[1] == expected[1]);
    assert!(!frank.join("cyrus.header").exists());
    let night = Night::new();
    std::fs::create_dir_all(night.sandbox.path().join("outside/frank")).unwrap();
    symlink(night.sandbox.path().join("outside"), night.meta.join("1/user")).unwrap();
    let before = night.now();
    let bob: Vec<u8> =
        lines(&night.list()).into_iter().filter(|line| line.starts_with(b"user.bob\t")).flatten().collect();
    night.mkmeta_of(&["--move"], &bob).expect(2).says("is a link or a file, not a directory");
    assert!(night.now() == before);
}

/// Whatever names lead to one directory or one file, the last copy stays.
#[test]
fn a_metapartition_that_is_the_spool_loses_nothing() {
    let night = Night::new();
    let before = files(&night.spool());
    let mut conf = String::from_utf8(night.sandbox.read("old.conf")).unwrap();
    for partition in PARTITIONS {
        std::fs::remove_dir(night.meta.join(partition)).unwrap();
        symlink(night.spool().join(partition), night.meta.join(partition)).unwrap();
        conf.push_str(&format!("metapartition-{partition}: {}\n", night.meta.join(partition).display()));
    }
    night.sandbox.write("meta.conf", conf + "metapartition_files: header index cache\n");
    for options in [&["--move"][..], &["--copy"], &["--move", "--prefer", "spool"], &["--move", "--prefer", "meta"]] {
        night.mkmeta(options).expect(0).says("103 mailboxes with nothing to do");
        assert!(files(&night.spool()) == before, "{options:?}");
    }
    // Two names of one file: one of them goes.
    let night = Night::new();
    night.mkmeta(&[]).expect(0);
    let expected = night.moved();
    for (path, _) in files(&night.spool()).iter().filter(|(path, _)| path.ends_with("cyrus.header")) {
        std::fs::hard_link(night.spool().join(path), night.meta.join(path)).unwrap();
    }
    night.mkmeta(&["--move"]).expect(0).says("206 files moved, 103 files already there");
    assert!(night.now() == expected);
}

#[test]
fn a_full_disk_leaves_the_source_whole() {
    let Some(night) = Night::across() else { return };
    let expected = night.moved();
    let big = night.spool().join("1/user/bob/cyrus.cache");
    std::fs::write(&big, vec![b'x'; 1 << 20]).unwrap();
    let before = night.now();
    let conf = night.sandbox.file("meta.conf");
    // SIGXFSZ ignored, a write beyond the limit fails as on a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 512; mbx-mkmeta -C {conf} --from 2.2.13 --owner {} --move old.dump | cat",
        owner()
    );
    let ran = night.sandbox.sh(&script).says("/1/user/bob/cyrus.cache: File too large");
    assert!(ran.out.windows(22).any(|mark| mark == b"!mbx-abort mbx-mkmeta:"));
    // Whatever was done before: each file is whole, in one place or in both, and nothing else is anywhere.
    whole(&night, &before[0]);
    assert!(std::fs::read(&big).unwrap() == vec![b'x'; 1 << 20]);
    assert!(files(&night.meta).keys().all(|path| !path.to_str().unwrap().contains("mbx-new")));
    night.mkmeta(&["--move"]).expect(0);
    let [rest, mut meta] = night.now();
    assert!(
        meta.insert("1/user/bob/cyrus.cache".into(), expected[1][Path::new("1/user/bob/cyrus.cache")].clone())
            .is_some()
    );
    assert!([rest, meta] == expected);
}

/// What a run that was killed leaves under its names for the time being, and what else may stand there.
#[test]
fn what_was_left_behind_is_put_right() {
    let night = Night::new();
    let [spool, meta] = [night.now()[0].clone(), night.moved()[1].clone()];
    // Made and given its owner at once where it is ours.
    if !owner().starts_with(&std::fs::metadata("/proc/self").unwrap().uid().to_string()) {
        std::fs::create_dir(night.meta.join("1/.mbx-new")).unwrap();
    }
    let dir = night.meta.join("default/user/alice");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(".cyrus.header.mbx-new"), "half").unwrap();
    let precious = night.sandbox.write("precious", "not to be written to");
    std::fs::hard_link(&precious, dir.join(".cyrus.index.mbx-new")).unwrap();
    symlink(&precious, dir.join(".cyrus.cache.mbx-new")).unwrap();
    night.mkmeta(&["--copy"]).expect(0);
    assert!(night.now() == [spool, meta] && night.sandbox.read("precious") == b"not to be written to");
    night.sandbox.sh(&format!("find {} -name '*mbx-new*'", night.meta.display())).expect(0).writes(b"");
}

/// Every file of before is there, whole, in the spool or on the metapartition.
fn whole(night: &Night, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let [spool, meta] = night.now();
    for (path, bytes) in before {
        let found = [spool.get(path), meta.get(path)];
        assert!(found.iter().flatten().next().is_some(), "{} is lost", path.display());
        assert!(found.iter().flatten().all(|copy| *copy == bytes), "{} is half", path.display());
    }
}

/// Kills `--copy` or `--move`, now and then several times in a row, and then runs it to the end.
fn kill(night: &Night, options: &[&str]) {
    let trials: u64 = std::env::var("MBX_KILL_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let backup = night.sandbox.path().join("backup");
    let copy = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        for (path, bytes) in files(from) {
            std::fs::create_dir_all(to.join(&path).parent().unwrap()).unwrap();
            std::fs::write(to.join(path), bytes).unwrap();
        }
    };
    copy(&night.spool(), &backup);
    let before = files(&night.spool());
    let reset = || {
        copy(&backup, &night.spool());
        for partition in PARTITIONS {
            let _ = std::fs::remove_dir_all(night.meta.join(partition));
            std::fs::create_dir_all(night.meta.join(partition)).unwrap();
        }
    };
    reset();
    let begun = Instant::now();
    night.mkmeta(options).expect(0);
    let mut moments = Moments::within(begun.elapsed());
    let expected = night.now();
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    let patient_until = Instant::now() + Duration::from_secs(40);
    let (mut done, mut kills, mut halfway) = (0, 0, 0);
    // A kill that never came between two files has shown nothing: it is tried until some have.
    while done < trials || halfway <= trials / 50 && Instant::now() < patient_until {
        reset();
        for again in 0..=walk.below(3) {
            let mut child = command("mkmeta", &["-C", &night.sandbox.file("meta.conf"), "--from", "2.2.13"])
                .args(["--owner", &owner()])
                .args(options)
                .arg(night.sandbox.file("old.dump"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let moment = moments.next();
            std::thread::sleep(moment);
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(&child), Signal::KILL);
            let killed = child.wait().unwrap().code().is_none();
            kills += u64::from(killed);
            // What goes on has less to do, and tells nothing of how long it takes.
            if again == 0 && !killed {
                moments.too_late(moment);
            } else if again == 0 && files(&night.meta).is_empty() {
                moments.too_early();
            }
            whole(night, &before);
        }
        let now = files(&night.meta);
        halfway += u64::from(!now.is_empty() && night.now() != expected);
        night.mkmeta(options).expect(0);
        assert!(night.now() == expected, "trial {done}");
        night.sandbox.sh(&format!("find {} -name '*mbx-new*'", night.meta.display())).expect(0).writes(b"");
        done += 1;
    }
    println!("{options:?}: {done} trials, {kills} killed, {halfway} found half done and ended");
    assert!(halfway > trials / 50);
}

#[test]
fn killed_on_one_file_system() {
    let night = Night::new();
    night.furnish();
    kill(&night, &["--move"]);
}

#[test]
fn killed_across_two_file_systems() {
    let Some(night) = Night::across() else { return };
    night.furnish();
    kill(&night, &["--move"]);
}

#[test]
fn killed_while_it_copies() {
    let night = Night::new();
    kill(&night, &["--copy"]);
}

/// The words were more once: what no mailbox opens without is not left where nobody looks.
#[test]
fn what_is_kept_apart_no_more_is_refused() {
    let night = Night::new();
    night.mkmeta(&["--move"]).expect(0);
    night.conf("meta.conf", "header");
    let before = night.now();
    for options in [&["--move", "-n"][..], &["--move"], &["--copy"]] {
        let ran = night.mkmeta(options).expect(1);
        ran.says("file that is no longer kept apart").says("metapartition_files has no word index; add it");
        assert!(night.now() == before, "{options:?}");
    }
    // What users have written is kept for them, too.
    night.conf("meta.conf", WORDS);
    std::fs::write(night.meta.join("1/user/bob/cyrus.annotations"), "of bob").unwrap();
    let bob = night.list().split_inclusive(|b| *b == b'\n').find(|l| l.starts_with(b"user.bob\t")).unwrap().to_vec();
    night.mkmeta_of(&["--move"], &bob).expect(1).says("metapartition_files has no word annotations");
    std::fs::remove_file(night.meta.join("1/user/bob/cyrus.annotations")).unwrap();
    night.conf("meta.conf", "header");
    // Where 3.6 and later fill their lists, the index is not where it belongs either.
    let conf = night.sandbox.file("meta.conf");
    let to = ["--from", "2.2.13", "--to", "3.6.1"];
    let list = run("parse", &[&to[..], &["-q", "--reject", "/dev/null"]].concat(), &night.list()).expect(1).out;
    run("check-paths", &[&to[..], &["-C", &conf, "--fill"]].concat(), &list).expect(0).says("100 not moved yet");
}

/// A link to the directory of a mailbox that the list does not name: that one's files are not ours to take.
#[test]
fn a_link_to_another_mailbox_is_refused() {
    let sandbox = Sandbox::of("2.2.13", "flat");
    let conf = String::from_utf8(sandbox.read("old.conf")).unwrap();
    let meta = sandbox.path().join("meta");
    std::fs::create_dir(&meta).unwrap();
    let conf = format!("{conf}metapartition-default: {}\nmetapartition_files: header index\n", meta.display());
    let conf = sandbox.write("meta.conf", conf);
    std::os::unix::fs::symlink("alice", sandbox.path().join("spool/default/user/zzz")).unwrap();
    let owner = format!("{0}:{0}", std::fs::metadata(sandbox.path()).unwrap().uid());
    let options = ["-C", &conf, "--from", "2.2.13", "--owner", &owner, "--move"];
    run("mkmeta", &options, b"user.zzz\tdefault\tzzz\tlrs\t\n").expect(1).says("directory of another mailbox");
    assert!(sandbox.path().join("spool/default/user/alice/cyrus.header").exists());
}

/// One partition more, in a list of `user.zzz` on it, and everything that is moved of the others' mailboxes is wrong.
fn zzz(partition: &str) -> Vec<u8> {
    format!("user.zzz\t{partition}\tzzz\tlrs\t\n").into_bytes()
}

/// Each way of moving and copying ends with `status`, says `what`, and touches nothing.
#[track_caller]
fn touches_nothing(night: &Night, list: &[u8], script: Option<&str>, status: i32, what: &[&str]) {
    let before = night.now();
    for way in [&["--move", "-n"][..], &["--copy", "-n"], &["--move"], &["--copy"], &["--move", "--prefer", "spool"]] {
        let (conf, owner) = (night.sandbox.file("meta.conf"), owner());
        let asked = command("mkmeta", &[&["-C", &conf, "--from", "2.2.13", "--owner", &owner], way].concat());
        let asked = if let Some(script) = script { harness::in_mounts(script, &asked) } else { asked };
        let mut ran = harness::feed(asked, list).expect(status);
        for what in what {
            ran = ran.says(what);
        }
        assert!(
            ran.out.split(|b| *b == b'\n').any(|line| line.starts_with(b"!mbx-abort mbx-mkmeta: ")),
            "{}",
            ran.tell()
        );
        assert!(night.now() == before, "{way:?}: {}", ran.tell());
    }
}

/// Partitions that the list does not name have mailboxes, too.
#[test]
fn a_link_into_another_partition_is_refused() {
    let night = Night::new();
    symlink("../../default/user/alice", night.spool().join("1/user/zzz")).unwrap();
    let there = format!("{}/default/user/alice", night.spool().display());
    touches_nothing(
        &night,
        &zzz("1"),
        None,
        1,
        &["directory of another mailbox", &there, "partition-default", ": user.zzz\n"],
    );
    // One directory above, and absolute.
    std::fs::remove_file(night.spool().join("1/user/zzz")).unwrap();
    symlink(night.spool().join("default/user"), night.spool().join("1/user/other")).unwrap();
    let list = b"user.other.alice\t1\tzzz\tlrs\t\n";
    touches_nothing(&night, list, None, 1, &["directory of another mailbox", &there, ": user.other.alice\n"]);
    // A link of the same name is the mailbox's own: its partition's directory was moved to another disk.
    let night = Night::new();
    std::fs::rename(night.spool().join("1/user/frank"), night.spool().join("default/user/frank")).unwrap();
    symlink("../../default/user/frank", night.spool().join("1/user/frank")).unwrap();
    night.mkmeta(&["--move"]).expect(0);
    assert!(night.meta.join("1/user/frank/cyrus.header").is_file());
}

/// All roots of the configuration: also those that hold no mailbox of the list.
#[test]
fn a_link_into_any_root_of_the_configuration_is_refused() {
    for root in ["archivepartition-1", "t1searchpartition-default", "metadir-index-part-3", "metapartition-part-3"] {
        let night = Night::new();
        let other = night.sandbox.path().join("other");
        std::fs::create_dir_all(&other).unwrap();
        let conf = String::from_utf8(night.sandbox.read("meta.conf")).unwrap();
        let conf: String =
            conf.lines().filter(|line| !line.starts_with(root)).map(|line| format!("{line}\n")).collect();
        night.sandbox.write("meta.conf", format!("{conf}{root}: {}\n", other.display()));
        std::fs::rename(night.spool().join("default/user/alice"), other.join("alice")).unwrap();
        symlink(other.join("alice"), night.spool().join("1/user/zzz")).unwrap();
        let before = files(&other);
        touches_nothing(&night, &zzz("1"), None, 1, &["directory of another mailbox", root, ": user.zzz\n"]);
        assert!(files(&other) == before);
    }
}

#[test]
fn a_mount_of_another_mailbox_is_refused() {
    if !harness::has_root(true) {
        return;
    }
    for target in ["user/zzz", "user/bob/below"] {
        let night = Night::new();
        let at = night.spool().join("1").join(target);
        std::fs::create_dir(&at).unwrap();
        let there = night.spool().join("default/user/alice");
        let script = format!("mount --bind {} {}", there.display(), at.display());
        let list = format!("{}\t1\tzzz\tlrs\t\n", target.replace('/', "."));
        touches_nothing(
            &night,
            list.as_bytes(),
            Some(&script),
            1,
            &["directory of another mailbox", "partition-default"],
        );
    }
    // Another file system, of which two mailboxes have one directory.
    let night = Night::new();
    let disk = night.sandbox.path().join("disk");
    for dir in [&disk, &night.spool().join("1/user/yyy"), &night.spool().join("1/user/zzz")] {
        std::fs::create_dir(dir).unwrap();
    }
    let script = format!(
        "cd {0}; mount -t tmpfs tmpfs disk; mkdir disk/x; cp -a spool/default/user/alice/. disk/x; \
         mount --bind disk/x spool/1/user/yyy; mount --bind disk/x spool/1/user/zzz",
        night.sandbox.path().display()
    );
    let list = [b"user.yyy\t1\tzzz\tlrs\t\n".to_vec(), zzz("1")].concat();
    touches_nothing(&night, &list, Some(&script), 1, &["user.yyy and user.zzz have one directory"]);
    // The one alone is on a disk of its own.
    let (conf, owner) = (night.sandbox.file("meta.conf"), owner());
    let asked = command("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", &owner, "--copy"]);
    harness::feed(harness::in_mounts(&script, &asked), &zzz("1")).expect(0).says("3 files copied");
    assert!(night.meta.join("1/user/zzz/cyrus.index").is_file());
}

/// What is mounted below a metapartition, too.
#[test]
fn two_mailboxes_have_no_metadata_directory_in_common() {
    if !harness::has_root(true) {
        return;
    }
    let night = Night::new();
    let bob = |name: &str| night.meta.join("1/user").join(name);
    for dir in [bob("bob"), bob("frank")] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let (conf, owner) = (night.sandbox.file("meta.conf"), owner());
    let plain = |script: &str, list: &[u8]| {
        let asked = command("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", &owner]);
        harness::feed(harness::in_mounts(script, &asked), list)
    };
    // Of a mailbox that the list does not name; the directory itself, and one that is to be made below it.
    let script = format!("mount --bind {} {}", bob("frank").display(), bob("bob").display());
    let line = |name: &str| format!("{name}\t1\tbob\tlrs\t\n").into_bytes();
    for name in ["user.bob", "user.bob.Sent"] {
        let what = ["directory of another mailbox", "user/frank", "metapartition-1", name];
        touches_nothing(&night, &line(name), Some(&script), 1, &what);
        plain(&script, &line(name)).expect(1).says("directory of another mailbox").says("user/frank");
    }
    // Of one disk that is mounted twice.
    let script = format!(
        "cd {}; mkdir disk; mount -t tmpfs tmpfs disk; chmod 777 disk; mount --bind disk {}; mount --bind disk {}",
        night.sandbox.path().display(),
        bob("bob").display(),
        bob("frank").display()
    );
    for (one, two) in [("user.bob", "user.frank"), ("user.bob.Sent", "user.frank.Sent")] {
        std::fs::create_dir_all(night.spool().join("1/user/frank/Sent")).unwrap();
        for name in ["cyrus.header", "cyrus.index"] {
            std::fs::copy(
                night.spool().join("1/user/bob/Sent").join(name),
                night.spool().join("1/user/frank/Sent").join(name),
            )
            .unwrap();
        }
        let list = [line(one), line(two)].concat();
        touches_nothing(
            &night,
            &list,
            Some(&script.replace("mkdir ", "mkdir -p ")),
            1,
            &[&format!("{one} and {two} have one directory")],
        );
        plain(&script.replace("mkdir ", "mkdir -p "), &list)
            .expect(1)
            .says(&format!("{one} and {two} have one directory"));
    }
}

/// Roots inside roots, and roots that are the same.
#[test]
fn roots_inside_roots_keep_their_mailboxes_apart() {
    // A partition inside another: user.bob.Sent of the one is the mailbox Sent of the other.
    let night = Night::new();
    let conf = String::from_utf8(night.sandbox.read("meta.conf")).unwrap();
    let inner = night.spool().join("1/user/bob");
    night.sandbox.write("meta.conf", format!("{conf}partition-x: {}\n", inner.display()));
    let list: Vec<u8> =
        lines(&night.list()).into_iter().filter(|line| line.starts_with(b"user.bob.Sent\t")).flatten().collect();
    touches_nothing(&night, &list, None, 1, &["directory of another mailbox", "partition-x", ": user.bob.Sent\n"]);
    // The metapartition inside its partition, as many have it up to 3.12.
    let night = Night::new();
    let conf = String::from_utf8(night.sandbox.read("old.conf")).unwrap();
    let inside = night.spool().join("1/meta");
    std::fs::create_dir_all(&inside).unwrap();
    let conf = format!("{conf}metapartition-1: {}\nmetapartition_files: {WORDS}\n", inside.display());
    night.sandbox.write("meta.conf", &conf);
    for file in ["cyrus.header", "cyrus.index"] {
        std::fs::create_dir_all(inside.join("user/bob")).unwrap();
        std::fs::copy(night.spool().join("1/user/bob").join(file), inside.join("user/bob").join(file)).unwrap();
    }
    let list = b"meta.user.bob\t1\tzzz\tlrs\t\n";
    touches_nothing(&night, list, None, 1, &["directory of another mailbox", "metapartition-1", ": meta.user.bob\n"]);
    night.mkmeta(&["--move"]).expect(0).says(" files moved");
    assert!(inside.join("user/bob/Sent/cyrus.header").is_file());
    // The metapartition of one partition is another partition: no name is in both.
    let night = Night::new();
    let conf = String::from_utf8(night.sandbox.read("old.conf")).unwrap();
    let other = night.spool().join("2");
    let conf = format!("{conf}metapartition-1: {}\nmetapartition_files: {WORDS}\n", other.display());
    night.sandbox.write("meta.conf", conf);
    night.mkmeta(&["--move"]).expect(0);
    assert!(night.spool().join("2/user/bob/cyrus.header").is_file());
    assert!(night.spool().join("2/user/carol/cyrus.header").is_file());
    // Two partitions with one directory, and with two metapartitions or with one: no name is in both.
    for meta in ["1", "0"] {
        let night = Night::new();
        let expected = night.moved();
        let conf = String::from_utf8(night.sandbox.read("meta.conf")).unwrap();
        let (one, of_x) = (night.spool().join("1"), night.meta.join(meta));
        let conf = format!("{conf}partition-x: {}\nmetapartition-x: {}\n", one.display(), of_x.display());
        night.sandbox.write("meta.conf", conf);
        let list = String::from_utf8_lossy(&night.list()).replace("user.bob\t1\t", "user.bob\tx\t").into_bytes();
        night.mkmeta_of(&["--move"], &list).expect(0).says("309 files moved");
        assert!(
            of_x.join("user/bob/cyrus.header").is_file() && night.meta.join("1/user/bob/Sent/cyrus.header").is_file()
        );
        assert!(meta != "1" || night.now() == expected);
    }
}

/// Directories on other disks are followed; but which of two mailboxes would it be whose files they are?
#[test]
fn one_directory_of_two_mailboxes_is_refused_whoever_comes_first() {
    let night = Night::new();
    let outside = night.sandbox.path().join("outside");
    std::fs::rename(night.spool().join("1/user/frank"), &outside).unwrap();
    for name in ["frank", "zzz"] {
        symlink(&outside, night.spool().join("1/user").join(name)).unwrap();
    }
    let list = [night.list(), zzz("1")].concat();
    touches_nothing(&night, &list, None, 1, &["user.frank and user.zzz have one directory"]);
    std::fs::remove_file(night.spool().join("1/user/zzz")).unwrap();
    night.mkmeta(&["--move"]).expect(0);
    assert!(night.meta.join("1/user/frank/cyrus.header").is_file());
    // A file of two names.
    let night = Night::new();
    let (bob, frank) = (night.spool().join("1/user/bob"), night.spool().join("1/user/frank"));
    std::fs::remove_file(frank.join("cyrus.index")).unwrap();
    std::fs::hard_link(bob.join("cyrus.index"), frank.join("cyrus.index")).unwrap();
    touches_nothing(&night, &night.list(), None, 1, &["user.bob and user.frank have one cyrus.index"]);
    let only: Vec<u8> =
        lines(&night.list()).into_iter().filter(|line| !line.starts_with(b"user.frank\t")).flatten().collect();
    night.mkmeta_of(&["--move"], &only).expect(0);
    assert!(frank.join("cyrus.index").is_file());
}

/// A whole partition behind a link, users behind links, and their mailboxes below them.
#[test]
fn links_that_lead_out_of_all_roots_are_followed() {
    let night = Night::new();
    let expected = night.moved();
    for (name, to) in [("1", "big"), ("default/user/alice", "alice"), ("2/user", "users-of-2")] {
        let (from, to) = (night.spool().join(name), night.sandbox.path().join(to));
        std::fs::rename(&from, &to).unwrap();
        symlink(&to, &from).unwrap();
    }
    for partition in ["0", "1"] {
        let to = night.sandbox.path().join(format!("meta-of-{partition}"));
        std::fs::rename(night.meta.join(partition), &to).unwrap();
        symlink(&to, night.meta.join(partition)).unwrap();
    }
    let dry = night.mkmeta(&["--move", "-n"]).expect(0).says("309 files to move");
    assert_eq!(dry.err.lines().filter(|line| line.contains(": would move ")).count(), 309);
    night.mkmeta(&["--move"]).expect(0).says("309 files moved");
    for (path, bytes) in &expected[1] {
        assert!(std::fs::read(night.meta.join(path)).unwrap() == *bytes, "{}", path.display());
    }
}

/// The last entry decides whether the first is touched.
#[test]
fn a_list_that_breaks_off_moves_nothing() {
    let night = Night::new();
    let before = night.now();
    let more: [(&[u8], i32, &str); 3] = [
        (b"!mbx-abort mbx-check-paths: no\n", 1, ""),
        (b"user.nosuch\t1\tzzz\tlrs\t\n", 1, "no file in the spool or on the metapartition"),
        (b"user.nosuch\tnosuch\tzzz\tlrs\t\n", 2, "partition nosuch is not declared"),
    ];
    for (last, status, what) in more {
        let list = [&night.list()[..], last].concat();
        let ran = night.mkmeta_of(&["--move"], &list).expect(status).says(what);
        assert!(night.now() == before, "{}", ran.tell());
    }
}

/// A disk that is full, or mounted read-only: nothing is lost, and when it is mended the next run ends the work.
#[test]
fn a_disk_that_takes_nothing_loses_nothing() {
    if !harness::has_root(true) {
        return;
    }
    let night = Night::new();
    let expected = night.moved();
    let before = night.now();
    let (spool, meta) = (night.spool().join("1"), night.meta.join("1"));
    let read_only = |dir: &Path| format!("mount --bind {0} {0}; mount -o remount,ro,bind {0}", dir.display());
    let conf = night.sandbox.file("meta.conf");
    let list: Vec<u8> = lines(&night.list())
        .into_iter()
        .filter(|line| line.windows(3).any(|part| part == b"\t1\t"))
        .flatten()
        .collect();
    let ask = |script: &str, way: &[&str]| {
        let asked = command("mkmeta", &[&["-C", &conf, "--from", "2.2.13", "--owner", &owner()], way].concat());
        harness::feed(harness::in_mounts(script, &asked), &list)
    };
    for (script, way, what) in [
        (read_only(&meta), &[][..], "Read-only file system"),
        (read_only(&meta), &["--move"], "Read-only file system"),
        (read_only(&spool), &["--move"], "Read-only file system"),
        (format!("mount -t tmpfs -o nr_inodes=3 tmpfs {}", meta.display()), &[], "No space left on device"),
        (format!("mount -t tmpfs -o size=64k tmpfs {}", meta.display()), &["--copy"], "No space left on device"),
    ] {
        let ran = ask(&script, way).expect(2).says(what);
        assert!(
            ran.out.split(|b| *b == b'\n').any(|line| line.starts_with(b"!mbx-abort mbx-mkmeta: ")),
            "{}",
            ran.tell()
        );
        whole(&night, &before[0]);
    }
    // A disk that cannot be written to can be copied from.
    ask(&read_only(&spool), &["--copy"]).expect(0).says(" files copied");
    assert!(night.now()[0] == before[0]);
    night.mkmeta(&["--move"]).expect(0);
    assert!(night.now() == expected);
}

/// A file that another takes the place of, while it is copied: the copy is not what lies there now.
#[test]
fn a_file_that_is_replaced_while_it_is_copied_is_trouble() {
    let Some(night) = Night::across() else { return };
    for way in ["--copy", "--move"] {
        let dir = night.spool().join("1/user/bob");
        let cache = dir.join("cyrus.cache");
        std::fs::write(&cache, vec![b'x'; 96 << 20]).unwrap();
        let newer = dir.join("newer");
        std::fs::write(&newer, "newer").unwrap();
        let list: Vec<u8> =
            lines(&night.list()).into_iter().filter(|line| line.starts_with(b"user.bob\t")).flatten().collect();
        let (conf, owner) = (night.sandbox.file("meta.conf"), owner());
        let options = ["-C", &conf, "--from", "2.2.13", "--owner", &owner, "--prefer", "spool", way];
        let asked = command("mkmeta", &options);
        let half = night.meta.join("1/user/bob/.cyrus.cache.mbx-new");
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_secs(20);
                while !half.exists() && Instant::now() < until {
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::fs::rename(&newer, &cache).unwrap();
            });
            harness::feed(asked, &list)
        });
        ran.expect(2).says("user/bob/cyrus.cache changed while it was ").says("is the server running?");
        assert_eq!(std::fs::read(&cache).unwrap(), b"newer");
        let _ = std::fs::remove_file(night.meta.join("1/user/bob/cyrus.cache"));
    }
}

/// Clocks that were wrong when files were written, or that jump in the night: times are copied, never compared.
#[test]
fn times_of_any_clock_are_copied() {
    for night in nights() {
        let bob = night.spool().join("1/user/bob");
        let times = [
            ("cyrus.header", "1969-12-31 23:59:58.5 UTC"),
            ("cyrus.index", "2106-03-01 00:00:00.25 UTC"),
            ("cyrus.cache", "1901-12-14 UTC"),
        ];
        for (name, time) in times {
            night.sandbox.sh(&format!("touch -d '{time}' {}", bob.join(name).display())).expect(0);
        }
        let time = |root: &Path, name: &str| {
            let meta = std::fs::metadata(root.join("1/user/bob").join(name)).unwrap();
            (meta.mtime(), meta.mtime_nsec())
        };
        let wanted = times.map(|(name, _)| time(&night.spool(), name));
        night.mkmeta(&["--copy"]).expect(0);
        assert_eq!(times.map(|(name, _)| time(&night.meta, name)), wanted);
        night.mkmeta(&["--move"]).expect(0).says("309 files already there");
        assert_eq!(times.map(|(name, _)| time(&night.meta, name)), wanted);
    }
}
