//! Where mailboxes are: every path that the servers' own mbpath printed, every worked example, and the two filters that
//! look at the disk.

use crate::harness;
use crate::harness::{RELEASES, Sandbox, command, corpus, lines, read, run};
use mbxtools::list::json;
use mbxtools::mailbox::entry::{Entry, Members};
use mbxtools::mailbox::rejection::At;
use mbxtools::release::Dialect;
use mbxtools::spool::conf::Conf;
use mbxtools::spool::layout::Layout;
use mbxtools::spool::partitions::{MetaFile, Roster};
use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Unescapes `\xNN`, as the tables write bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&b, behind)) = rest.split_first() {
        let hex =
            (b == b'\\' && behind.len() >= 3 && behind[0] == b'x').then(|| std::str::from_utf8(&behind[1..3]).unwrap());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &behind[3..];
            }
            None => {
                out.push(b);
                rest = behind;
            }
        }
    }
    out
}

/// The configuration, as a server of a release reads it, or what that would die of.
fn conf_of(text: &str, release: &str) -> Result<Conf, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imapd.conf");
    std::fs::write(&path, text).unwrap();
    Conf::read(&path, Some(&release.parse().unwrap())).map_err(|e| format!("{e:?}"))
}

/// The directory below its root of a mailbox with a type and a uniqueid; none if it is refused.
fn place(layout: &Layout, mailbox: &[u8], mbtype: &str, uniqueid: &str) -> Option<Vec<u8>> {
    let name = serde_json::Value::from(String::from_utf8(mailbox.to_vec()).unwrap());
    let text = format!(r#"{name}: {{"mbtype": "{mbtype}", "partition": "p", "acl": {{}}, "uniqueid": "{uniqueid}"}}"#);
    let (mut members, mut values, mut tail) = (Members::default(), Vec::new(), Vec::new());
    let taken = json::parse(text.as_bytes(), &mut members, &mut values).ok().unwrap();
    let at = At { file: "t", line: 1 };
    let (bytes, fields) = (text.as_bytes(), taken.fields.unwrap());
    let entry =
        Entry { bytes, values: &values, members: Some(&members), record: None, at, dialect: Dialect::Json, fields };
    layout.place(&entry, &mut tail).unwrap().ok()?;
    Some(tail)
}

/// The root of one kind of a partition's files.
fn root(conf: &Conf, roster: &Roster, partition: &str, kind: &str) -> String {
    let roots = roster.get(partition.as_bytes()).unwrap_or_else(|| panic!("{partition} {kind}"));
    let root = match kind {
        "data" => &roots.data,
        "header" => roots.of(MetaFile::Header),
        "index" => roots.of(MetaFile::Index),
        "squat" => roots.of(MetaFile::Squat),
        "annotations" => roots.of(MetaFile::Annotations),
        // Archived messages have their cache beside them, unless it is apart.
        "archive" | "archivecache" => &roots.archive,
        // What mbpath -m prints, whatever is kept there.
        "meta" => Path::new(std::str::from_utf8(conf.metapartition(partition.as_bytes()).unwrap()).unwrap()),
        _ => panic!("{kind}"),
    };
    root.to_str().unwrap().to_string()
}

/// The data directory of a mailbox; none if it is refused.
fn directory(conf: &Conf, release: &str, mailbox: &[u8], partition: &[u8]) -> Option<Vec<u8>> {
    let release = release.parse().unwrap();
    let layout = Layout::new(conf, Some(&release)).unwrap();
    let roster = Roster::new(conf).unwrap();
    let mut tail = Vec::new();
    layout.path(mailbox, &mut tail).unwrap().ok()?;
    let root = roster.get(partition)?.data.to_str().unwrap().as_bytes().to_vec();
    Some([&root[..], b"/", &tail].concat())
}

#[test]
fn every_path_that_mbpath_printed() {
    let (mut checked, mut refused) = (0, 0);
    for (release, variant, dump) in harness::dumps() {
        let dir = corpus().join(release).join(&variant);
        let conf = Conf::read(&dir.join("imapd.conf"), None).unwrap_or_else(|e| panic!("{e:?}"));
        let roster = Roster::new(&conf).unwrap();
        let layout = Layout::new(&conf, Some(&release.parse().unwrap())).unwrap();
        let mut partitions = HashMap::new();
        for line in lines(&dump) {
            let mut fields = line.split(|b| *b == b'\t');
            let mailbox = fields.next().unwrap().to_vec();
            let place = fields.next().unwrap();
            let place = if release == "2.2.13" { place } else { place.split(|b| *b == b' ').nth(1).unwrap() };
            partitions.insert(mailbox, place.trim_ascii().to_vec());
        }
        let table = std::fs::read(dir.join("paths.tsv")).unwrap();
        for row in lines(&table).iter().skip(1) {
            let row = row.strip_suffix(b"\n").unwrap_or(row);
            let mut columns = row.split(|b| *b == b'\t');
            let (mailbox, data, meta) =
                (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap_or(b""));
            let partition = &partitions[mailbox];
            // Entries loaded by hand: on another server, or on no partition of this one.
            let Some(roots) = roster.get(partition) else { continue };
            let mut tail = Vec::new();
            let Ok(()) = layout.path(mailbox, &mut tail).unwrap() else {
                // Names whose directory is another mailbox's, loaded by hand into `inject`.
                assert_eq!(variant, "inject", "{}", String::from_utf8_lossy(mailbox));
                refused += 1;
                continue;
            };
            let at = |root: &Path| [root.to_str().unwrap().as_bytes(), b"/", &tail].concat();
            assert_eq!(String::from_utf8_lossy(&at(&roots.data)), String::from_utf8_lossy(data), "{release} {variant}");
            if !meta.is_empty() && variant == "meta" {
                assert_eq!(
                    String::from_utf8_lossy(&at(roots.of(MetaFile::Header))),
                    String::from_utf8_lossy(meta),
                    "{release} {variant}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 3_500, "{checked}");
    assert!((4..20).contains(&refused), "{refused}");
}

/// The same of 3.6 and later: by name with an `l` in the type, and by uniqueid without.
#[test]
fn every_path_that_mbpath_printed_of_json_lists() {
    let mut checked = 0;
    for (release, variant, dump) in harness::json_dumps() {
        let dir = corpus().join(release).join(&variant);
        let Ok(table) = std::fs::read_to_string(dir.join("paths.tsv")) else { continue };
        let told = Some(release.parse().unwrap());
        let conf = Conf::read(&dir.join("imapd.conf"), told.as_ref()).unwrap_or_else(|e| panic!("{e:?}"));
        let (roster, layout) = (Roster::new(&conf).unwrap(), Layout::new(&conf, told.as_ref()).unwrap());
        let list: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&dump).unwrap();
        for row in table.lines().skip(1) {
            let [mailbox, data, meta] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let entry = &list[mailbox];
            let text = |member: &str| entry[member].as_str().unwrap();
            let tail = place(&layout, mailbox.as_bytes(), text("mbtype"), text("uniqueid")).unwrap();
            let tail = String::from_utf8(tail).unwrap();
            assert_eq!(
                format!("{}/{tail}", root(&conf, &roster, text("partition"), "data")),
                data,
                "{release} {variant}"
            );
            let of_header = root(&conf, &roster, text("partition"), "header");
            assert_eq!(format!("{of_header}/{tail}"), meta, "{release} {variant}");
            checked += 1;
        }
    }
    assert!(checked > 3_900, "{checked}");
}

#[test]
fn every_worked_example_of_a_path() {
    let table = String::from_utf8(read("layout-examples.tsv")).unwrap();
    let (mut checked, mut refused, mut undeclared, mut errors, mut others) = (0, 0, 0, 0, 0);
    for row in table.lines().skip(1) {
        let columns: Vec<_> = row.split('\t').collect();
        let [_, versions, _, mailbox, partition, mbtype, uniqueid, config, kind, path, ..] = columns[..] else {
            panic!("{row}")
        };
        let mut text = String::new();
        for name in ["default", "0", "1", "2", "part-3"] {
            if !format!("; {config}").contains(&format!("; partition-{name}:")) {
                text.push_str(&format!("partition-{name}: /s/{name}\n"));
            }
        }
        // Up to 2.2.0 the full hash was a matter of how the server was built.
        // The new host's file tells it.
        let built = config.contains("(built");
        let config = config.replace("(built --enable-fulldirhash)", "fulldirhash: yes");
        for line in config.split("; ").filter(|line| !line.starts_with('(')) {
            text.push_str(&format!("{}\n", line.replace("\\\\", "\\")));
        }
        let (low, high) = versions.split_once("..").unwrap_or((versions, versions));
        let known = [
            "2.0.17", "2.1.18", "2.2.13", "2.3.7", "2.3.19", "2.4.14", "2.4.22", "2.5.17", "3.0.18", "3.4.9", "3.6.1",
            "3.8.7", "3.13.7",
        ];
        let (from, to) = (known.iter().position(|v| *v == low), known.iter().position(|v| *v == high));
        let (Some(from), Some(to)) = (from, to) else { panic!("release of {row}") };
        for release in &known[from..=to] {
            // 2.4.14 has a sum of its own, and rows of its own.
            if *release == "2.4.14" && low != high {
                continue;
            }
            let conf = match conf_of(&text, if built { "2.3.7" } else { release }) {
                Ok(conf) => conf,
                Err(why) => {
                    assert!(path.starts_with("(config error"), "{release}: {row}: {why}");
                    errors += 1;
                    continue;
                }
            };
            if path.starts_with("(config error") {
                // A switch that is none is found where it is used.
                assert!(Layout::new(&conf, Some(&release.parse().unwrap())).is_err(), "{release}: {row}");
                errors += 1;
                continue;
            }
            if kind != "data" || uniqueid != "-" {
                let roster = Roster::new(&conf).unwrap();
                let layout = Layout::new(&conf, Some(&release.parse().unwrap())).unwrap();
                let (mbtype, uniqueid) = if uniqueid == "-" { ("el", "none") } else { (mbtype, uniqueid) };
                let tail = String::from_utf8(place(&layout, &bytes(mailbox), mbtype, uniqueid).unwrap()).unwrap();
                assert_eq!(format!("{}/{tail}", root(&conf, &roster, partition, kind)), path, "{release}: {row}");
                others += 1;
                continue;
            }
            match directory(&conf, release, &bytes(mailbox), partition.as_bytes()) {
                Some(found) => {
                    assert_eq!(
                        String::from_utf8_lossy(&found),
                        String::from_utf8_lossy(&bytes(path)),
                        "{release}: {row}"
                    );
                    checked += 1;
                }
                None if Roster::new(&conf).unwrap().get(partition.as_bytes()).is_none() => undeclared += 1,
                None => {
                    // Out of its root, or another mailbox's directory: never looked at.
                    assert!(mailbox.contains('/') || mailbox.contains("..") || mailbox.ends_with('.'), "{row}");
                    refused += 1;
                }
            }
        }
    }
    assert!(checked > 500, "{checked}");
    assert!(refused > 20 && undeclared > 0 && errors > 20 && others > 60, "{refused} {undeclared} {errors} {others}");
}

#[test]
fn every_mailbox_of_every_spool_is_found() {
    let mut found = 0;
    for release in RELEASES {
        for (of, variant, dump) in harness::dumps() {
            if of != release || variant == "inject" {
                continue;
            }
            let sandbox = Sandbox::of(release, &variant);
            let options = ["-C", &sandbox.file("old.conf"), "--from", release];
            let ran = run("check-paths", &options, &dump);
            // `murder` has mailboxes on this server that were loaded by hand and never made.
            if variant == "murder" {
                ran.expect(0).says("no cyrus.header").says("user.net");
                continue;
            }
            let ran = ran.expect(0);
            assert!(ran.out == dump, "{release} {variant}: {}", ran.err);
            found += lines(&dump).len();
        }
    }
    assert!(found > 3_000, "{found}");
}

/// A sandbox with the 2.2.13 list and spool, and the options that name its imapd.conf.
fn old() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::of("2.2.13", "flat");
    let dump = sandbox.read("old.dump");
    (sandbox, dump)
}

#[test]
fn missing_entries_are_dropped_kept_or_too_many() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    for name in ["spool/default/user/alice", "spool/1/user/bob/Sent/cyrus.header"] {
        let path = sandbox.path().join(name);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let missing = sandbox.file("missing");
    let ran = run("check-paths", &["-C", &conf, "--missing", &missing], &dump).expect(0);
    let gone = lines(&sandbox.read("missing"));
    assert!(gone.len() > 2);
    let mut all = [ran.lines(), gone.clone()].concat();
    let mut came = lines(&dump);
    all.sort();
    came.sort();
    assert!(all == came);
    let ran = ran.says(&format!("103 in, {} out, {} missing", 103 - gone.len(), gone.len()));
    ran.says("/spool/1/user/bob/Sent/cyrus.header): user.bob.Sent");
    run("check-paths", &["-q", "-C", &conf], &dump).expect(0).says("user.bob.Sent");
    run("check-paths", &["-C", &conf, "--no-drop"], &dump).expect(0).writes(&dump);
    let n = gone.len().to_string();
    run("check-paths", &["-C", &conf, "--max-missing", &n], &dump).expect(0);
    let ran = run("check-paths", &["-C", &conf, "--max-missing", "1"], &dump).expect(1).says("--max-missing allows 1");
    assert!(ran.out.ends_with(b"--max-missing allows 1\n"));
    run("check-paths", &["-C", &conf, "--max-missing", "1%"], &dump).expect(1);
    run("check-paths", &["-C", &conf, "--max-missing", "50%"], &dump).expect(0);
}

#[test]
fn a_wrong_map_is_told_and_aborts() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    let swapped = run("remap-part", &["default=1", "1=default"], &dump).expect(0);
    let ran = run("check-paths", &["-C", &conf], &swapped.out).expect(1);
    assert!(ran.out.split(|b| *b == b'\n').rev().nth(1).unwrap().starts_with(b"!mbx-abort mbx-check-paths: "));
    let ran = ran.says("mailboxes of partition 1 are missing").says("stand in partition default");
    ran.says("62 of 62 mailboxes of partition 1").says("a wrong map, a disk that is not mounted, or other hashing");
    // The spool is flat, the configuration says that it is hashed.
    let hashed =
        String::from_utf8(sandbox.read("old.conf")).unwrap().replace("hashimapspool: no", "hashimapspool: yes");
    let conf = sandbox.write("hashed.conf", hashed);
    run("check-paths", &["-C", &conf], &dump).expect(1).says("in the same partition, hashed otherwise (flat)");
    run("check-paths", &["-C", &conf, "--max-missing", "100%"], &dump).expect(0).says("103 missing");
}

#[test]
fn a_spool_that_is_hashed_as_on_the_old_host_is_found_and_its_moves_are_told() {
    let (sandbox, dump) = old();
    let old = sandbox.file("old.conf");
    let hashed =
        String::from_utf8(sandbox.read("old.conf")).unwrap().replace("hashimapspool: no", "hashimapspool: yes");
    let conf = sandbox.write("hashed.conf", hashed);
    let options = ["-C", &conf, "--spool-conf", &old, "--from", "2.2.13"];
    run("check-paths", &options, &dump).expect(0).writes(&dump);
    let report = sandbox.file("report.tsv");
    let with = |more: &[&str], status| {
        let options = [&options[..], &["--to", "2.3.7", "--report", &report], more].concat();
        let ran = run("check-paths", &options, &dump).expect(status);
        (ran, String::from_utf8(sandbox.read("report.tsv")).unwrap())
    };
    let (ran, found) = with(&[], 0);
    ran.says("103 in, 103 out (103 not where the new server will look)").writes(&dump);
    let root = sandbox.path().join("spool/1").display().to_string();
    let row = |what, files| format!("user.bob\t1\t{root}/user/bob\t{what}\t{root}/b/user/bob\t{files}\n");
    assert!(found.contains(&row("present", "6\tlines\tyes")), "{found}");
    // The same without looking, where there is nothing yet.
    std::fs::remove_dir_all(sandbox.path().join("spool")).unwrap();
    let (ran, foretold) = with(&["-n"], 0);
    ran.says("103 in, 103 out (103 not where the new server will look)").writes(&dump);
    let files = |rows: String| rows.replace("\t6\tlines\tyes\n", "\t\t\t\n");
    assert_eq!(foretold, files(found.replace("\tpresent\t", "\tnot looked for\t")));
    with(&[], 2).0.says("spool");
}

#[test]
fn a_limit_of_ones_own_still_tells_where_the_missing_stand() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    let swapped = run("remap-part", &["default=1", "1=default"], &dump).expect(0).out;
    let ran = run("check-paths", &["-C", &conf, "--max-missing", "0"], &swapped).expect(1);
    ran.says("stand in partition default").says("--max-missing allows 0");
    let ran = run("check-paths", &["-C", &conf, "--max-missing", "100%"], &swapped).expect(0);
    assert!(!ran.err.contains("stand in partition"), "{}", ran.err);
}

#[test]
fn one_or_two_that_are_missing_are_named_with_their_place() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    sandbox.sh("mkdir -p spool/2/user/bob spool/1/c/user && mv spool/1/user/bob/Sent spool/2/user/bob/Sent").expect(0);
    let only: Vec<u8> = lines(&dump).into_iter().filter(|line| line.starts_with(b"user.bob")).flatten().collect();
    for list in [&dump, &only] {
        let ran = run("check-paths", &["-C", &conf], list).expect(0).says("1 missing");
        let ran = ran.says("user.bob.Sent is not in partition 1, but in partition 2 (");
        assert!(ran.err.contains("/spool/2/user/bob/Sent/cyrus.header)\n"), "{}", ran.err);
        // The one that is nowhere is not said to be anywhere.
        sandbox.sh("rm spool/2/user/bob/Sent/cyrus.header").expect(0);
        let ran = run("check-paths", &["-C", &conf], list).expect(0).says("1 missing");
        assert!(!ran.err.contains("is not in partition"), "{}", ran.err);
        sandbox.sh("cp spool/1/user/bob/cyrus.header spool/2/user/bob/Sent/cyrus.header").expect(0);
    }
    // Under another hash, and by uniqueid.
    sandbox.sh("mkdir -p spool/1/b/user/bob && mv spool/2/user/bob/Sent spool/1/b/user/bob/Sent").expect(0);
    let ran = run("check-paths", &["-C", &conf], &dump).expect(0);
    ran.says("user.bob.Sent is not in partition 1, but in the same partition, hashed otherwise (hashimapspool): --spool-conf");
    let sandbox = Sandbox::of("3.6.1", "flat");
    let dump = sandbox.read("old.dump");
    let line = lines(&dump).into_iter().find(|line| line.starts_with(b"\"user.bob\"")).unwrap();
    let text = String::from_utf8(line).unwrap();
    let id = text.split("\"uniqueid\": \"").nth(1).unwrap().split('"').next().unwrap();
    let (x, y) = (&id[..1], &id[1..2]);
    let script = format!(
        "from=$(echo spool/*/uuid/{x}/{y}/{id}); mkdir -p spool/2/uuid/{x}/{y}; mv $from spool/2/uuid/{x}/{y}/"
    );
    sandbox.sh(&script).expect(0);
    let ran = run("check-paths", &["-C", &sandbox.file("old.conf")], &dump).expect(0);
    ran.says("user.bob is not in partition").says("but in partition 2 (").says("1 missing");
}

#[test]
fn what_is_missing_all_together_is_suspicious_at_any_size() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    // Four mailboxes of five partitions' hundred.
    let mistaken = run("remap-part", &["part-3=2"], &dump).expect(0);
    let only: Vec<u8> =
        lines(&mistaken.out).into_iter().zip(lines(&dump)).filter(|(a, b)| a != b).flat_map(|(a, _)| a).collect();
    assert_eq!(lines(&only).len(), 4);
    run("check-paths", &["-C", &conf, "--no-drop"], &only)
        .expect(0)
        .says("4 of 4 mailboxes of partition 2")
        .writes(&only);
    run("check-paths", &["-C", &conf], &only)
        .expect(1)
        .says("4 of 4 mailboxes of partition 2")
        .says("stand in partition part-3");
    // Domains, in a configuration that does not know of them.
    let sandbox = Sandbox::of("2.2.13", "virt");
    let text = String::from_utf8(sandbox.read("old.conf")).unwrap();
    let conf = sandbox.write("novirt.conf", text.replace("virtdomains: userid", "virtdomains: off"));
    let options = ["-C", &conf, "--from", "2.2.13"];
    run("check-paths", &options, &sandbox.read("old.dump")).expect(1).says("does virtdomains of the configuration fit");
}

#[test]
fn a_directory_that_the_new_server_will_look_for_elsewhere_is_told() {
    let sandbox = Sandbox::of("2.4.22", "fullhash");
    let list: Vec<u8> = lines(&sandbox.read("old.dump"))
        .into_iter()
        .filter(|line| line.starts_with(b"user.carol^smith"))
        .flatten()
        .collect();
    assert!(!list.is_empty());
    let conf = sandbox.file("old.conf");
    let ran = run("check-paths", &["-q", "-C", &conf, "--from", "2.4.22", "--to", "3.0.18"], &list).expect(0);
    ran.says(", E/user/carol^smith is where it was; 3.0.18 looks for B/user/carol^smith)").writes(&list);
    // Also where the header is still on the data partition, and by the filter that makes the directories.
    let meta = sandbox.path().join("meta");
    std::fs::create_dir(&meta).unwrap();
    let mut text = String::from_utf8(sandbox.read("old.conf")).unwrap();
    for name in ["default", "0", "1", "2", "part-3"] {
        text.push_str(&format!("metapartition-{name}: {}\n", meta.display()));
    }
    let with_meta = sandbox.write("meta.conf", text + "metapartition_files: header\n");
    let options = ["-C", &with_meta, "--from", "2.4.22", "--to", "3.0.18"];
    run("check-paths", &options, &list).expect(0).says("not moved yet").says("the directory must move");
    run("mkmeta", &[&options[..], &["-n"]].concat(), &list).expect(0).says("the directory must move");
    // A series in which the sum changed is asked for.
    run("check-paths", &["-C", &conf, "--from", "2.4.14", "--to", "2.4"], &list).expect(2).says("2.4 spans releases");
    let ran = run("check-paths", &["-C", &conf, "--from", "2.4.22", "--to", "2.5.17"], &list).expect(0);
    assert!(!ran.err.contains("must move"), "{}", ran.err);
}

#[test]
fn configurations_that_no_server_would_start_with_are_trouble() {
    let (sandbox, dump) = old();
    let text = String::from_utf8(sandbox.read("old.conf")).unwrap();
    for (from, to, what) in [
        ("defaultpartition: default", "defaultpartition: nosuch", "there is no partition-nosuch"),
        ("hashimapspool: no", "hashimapspool: No", "hashimapspool: non-switch value No"),
        ("altnamespace: no", "virtdomains: maybe", "virtdomains: non-switch value maybe"),
        ("altnamespace: no", "@include: /no/such/file", "@include: /no/such/file: No such file"),
        ("altnamespace: no", "metapartition_files: header,index", "metapartition_files: unknown word"),
        ("altnamespace: no", "altnamespace : no", "no option name with a colon right behind it"),
    ] {
        let conf = sandbox.write("bad.conf", text.replace(from, to));
        run("check-paths", &["-C", &conf], &dump).expect(2).says("bad.conf").says(what);
    }
}

/// What the configuration includes is read, too.
#[test]
fn an_included_configuration_is_not_written_over() {
    let (sandbox, dump) = old();
    let kept = sandbox.read("old.conf");
    let conf = sandbox.write("outer.conf", format!("@include: {}\n", sandbox.file("old.conf")));
    let plain = sandbox.write("plain.conf", "hashimapspool: no\n");
    for option in ["--missing", "--report", "--orphans", "--reject"] {
        let over = sandbox.file("old.conf");
        let spool_conf = ["-C", &plain, "--spool-conf", &conf];
        for options in [&["-C", &conf][..], &spool_conf] {
            let options = [options, &["--from", "2.2.13", option, &over]].concat();
            run("check-paths", &options, &dump)
                .expect(2)
                .says("old.conf: this command already reads or writes that file");
            assert!(sandbox.read("old.conf") == kept, "{option}");
        }
    }
    let options = ["-C", &conf, "--from", "2.2.13", "--reject", &sandbox.file("old.conf")];
    run("mkmeta", &options, &dump).expect(2).says("old.conf: this command already reads or writes that file");
    assert!(sandbox.read("old.conf") == kept);
}

#[test]
fn roots_that_cannot_be_right_are_trouble() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    let strange = run("remap-part", &["2=nosuch"], &dump).expect(0);
    run("check-paths", &["-C", &conf], &strange.out).expect(2).says("partition nosuch is not declared in");
    let root = sandbox.path().join("spool/2");
    std::fs::rename(&root, sandbox.path().join("away")).unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(2).says("partition 2: ").says("is the disk mounted?");
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(root.join("lost+found")).unwrap();
    std::fs::create_dir(root.join("stage.")).unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(2).says("holds no mailbox").says("is the disk mounted?");
    run("check-paths", &["-C", "/no/such/imapd.conf"], &dump).expect(2).says("/no/such/imapd.conf: No such file");
    run("check-paths", &[], &dump).expect(2).says("-C FILE is wanted");
    let options: Vec<String> = ["default", "0", "1", "part-3"]
        .iter()
        .map(|name| format!("--partition={name}={}", sandbox.path().join("spool").join(name).display()))
        .chain([format!("--partition=2={}", sandbox.path().join("away").display())])
        .collect();
    run("check-paths", &options.iter().map(String::as_str).collect::<Vec<_>>(), &dump).expect(0).writes(&dump);
}

#[test]
fn what_is_there_but_no_header_is_refused_or_trouble() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    let header = sandbox.path().join("spool/1/user/frank/cyrus.header");
    let kept = std::fs::read(&header).unwrap();
    std::fs::write(&header, "").unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(1).says("frank/cyrus.header is empty");
    // It is one mailbox's matter: set apart, it does not stop the night.
    let bad = sandbox.file("bad");
    let frank = harness::lines(&dump).into_iter().find(|line| line.starts_with(b"user.frank\t")).unwrap();
    let others: Vec<u8> = harness::lines(&dump).into_iter().filter(|line| *line != frank).flatten().collect();
    let report = ["--report", &sandbox.file("report.csv")];
    let ran = run("check-paths", &[&["-C", &conf, "--reject", &bad], &report[..]].concat(), &dump).expect(1);
    ran.says("the server could not open the mailbox): user.frank").writes(&others);
    assert_eq!(sandbox.read("bad"), frank);
    assert!(String::from_utf8(sandbox.read("report.csv")).unwrap().contains("user/frank,broken,"));
    run("check-paths", &["-C", &conf, "--no-drop"], &dump).expect(0).says("1 broken, kept").writes(&dump);
    std::fs::remove_file(&header).unwrap();
    std::fs::create_dir(&header).unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(1).says("frank/cyrus.header is a directory, not a file");
    std::fs::remove_dir(&header).unwrap();
    std::os::unix::fs::symlink("cyrus.header", &header).unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(2).says("frank/cyrus.header: ");
    std::fs::remove_file(&header).unwrap();
    std::os::unix::fs::symlink("elsewhere", &header).unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(2).says("frank/cyrus.header is a link that leads nowhere");
    std::fs::remove_file(&header).unwrap();
    std::fs::write(&header, kept).unwrap();
    // A user on another disk: followed.
    let frank = sandbox.path().join("spool/1/user/frank");
    std::fs::rename(&frank, sandbox.path().join("frank")).unwrap();
    std::os::unix::fs::symlink(sandbox.path().join("frank"), &frank).unwrap();
    run("check-paths", &["-C", &conf], &dump).expect(0).writes(&dump);
    // Of a disk that is not mounted the user is not lost.
    std::fs::rename(sandbox.path().join("frank"), sandbox.path().join("unmounted")).unwrap();
    for jobs in ["1", "8"] {
        run("check-paths", &["-C", &conf, "--jobs", jobs], &dump)
            .expect(2)
            .says("user/frank is a link that leads nowhere");
    }
}

/// Headers that are kept apart no more are not lost, and where they are is told.
#[test]
fn headers_under_a_metapartition_that_does_not_hold_them_are_told() {
    let sandbox = Sandbox::of("2.4.22", "meta");
    let dump = read("2.4.22/meta/dump.txt");
    let conf = String::from_utf8(sandbox.read("old.conf")).unwrap();
    let conf = sandbox.write("new.conf", conf.replace("metapartition_files: header", "metapartition_files:"));
    run("check-paths", &["-C", &conf, "--from", "2.4.22"], &dump)
        .expect(1)
        .says("of the first 20 stand under ")
        .says("spool/meta-default: metapartition_files of -C has no word header");
}

/// The same answers in the same order, however many are asked at a time.
#[test]
fn many_jobs_say_what_one_says() {
    for (release, variant) in [("2.2.13", "flat"), ("2.4.22", "meta"), ("3.0.18", "virt"), ("3.6.1", "mixed")] {
        let sandbox = Sandbox::of(release, variant);
        let dump = read(format!("{release}/{variant}/dump.txt"));
        let conf = sandbox.file("old.conf");
        // Some that are missing.
        sandbox.sh("find spool meta -name cyrus.header 2>/dev/null | sort | awk 'NR % 9 == 4' | tr '\\n' '\\0' | xargs -0 rm").expect(0);
        let said = |jobs: &str, report: &str| {
            let options = ["-C", &conf, "--from", release, "--max-missing", "50%", "--jobs", jobs];
            let files = ["--missing", &sandbox.file("missing"), "--report", &sandbox.file(report)];
            let ran = command("check-paths", &[&options[..], &files[..]].concat());
            let ran = harness::feed(ran, &dump).expect(0);
            (ran.out, ran.err, sandbox.read("missing"), sandbox.read(report))
        };
        let one = said("1", "report.csv");
        assert!(one.1.contains("missing"), "{}", one.1);
        for jobs in ["2", "7", "64"] {
            assert!(said(jobs, "report.csv") == one, "{release} {variant}: {jobs} jobs");
        }
        let rows = String::from_utf8(one.3).unwrap();
        let missing = rows.lines().filter(|row| row.ends_with(",missing,,,,")).count();
        assert!(one.1.contains(&format!("{missing} missing")), "{rows}\n{}", one.1);
        let present = rows.lines().filter(|row| row.ends_with(",present,,,,")).count();
        let options = ["-q", "-C", &conf, "--from", release, "--no-drop", "--report", &sandbox.file("paths"), "-0"];
        run("check-paths", &options, &dump).expect(0);
        assert_eq!(sandbox.read("paths").iter().filter(|b| **b == 0).count(), present);
    }
}

/// Root reads what the server cannot: that is not there.
#[test]
fn root_looks_as_the_server() {
    if !harness::has_root(false) {
        return;
    }
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    sandbox.sh("chmod 755 . && chown -R 1 spool && chmod -R u+rwX spool").expect(0);
    let ask = |jobs: &str| {
        let mut asked = command("check-paths", &["-C", &conf, "--jobs", jobs]);
        asked.env("CYRUS_USER", "daemon");
        harness::feed(asked, &dump)
    };
    ask("1").expect(0).writes(&dump);
    ask("8").expect(0).writes(&dump);
    sandbox.sh("chown 0 spool/1/user/frank/cyrus.header && chmod 600 spool/1/user/frank/cyrus.header").expect(0);
    for jobs in ["1", "8"] {
        ask(jobs).expect(2).says("frank/cyrus.header: Permission denied for uid 1: the server could not open");
    }
    sandbox.sh("chown 1 spool/1/user/frank/cyrus.header; chown 0 spool/1/user/frank/cyrus.index && chmod 600 spool/1/user/frank/cyrus.index").expect(0);
    let json = run("parse", &["--from", "2.2.13", "--to", "3.6.1", "--reject", "/dev/null"], &dump).expect(1).out;
    for more in [&[][..], &["--fill"]] {
        let options = ["-C", &conf, "--from", "2.2.13", "--to", "3.6.1"];
        let mut asked = command("check-paths", &[&options[..], more].concat());
        asked.env("CYRUS_USER", "daemon");
        harness::feed(asked, &json)
            .expect(2)
            .says("frank/cyrus.index: Permission denied for uid 1: the server could not open");
    }
    sandbox.sh("chown 1 spool/1/user/frank/cyrus.index; chown 0 spool/1/user/frank/cyrus.header").expect(0);
    // What the configuration says comes first.
    let mut text = std::fs::read_to_string(&conf).unwrap();
    text.push_str("cyrus_user: nosuchuser\n");
    std::fs::write(&conf, text).unwrap();
    ask("1").expect(2).says("cyrus_user: no such user: nosuchuser");
}

/// Two mailboxes of the list that are one on disk.
#[test]
fn two_mailboxes_with_one_directory_are_told() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    let list = [&dump[..], b"user.zzz\t1\tzzz\tlrs\t\n"].concat();
    let zzz = sandbox.path().join("spool/1/user/zzz");
    let ask = |conf: &str, options: &[&str], status, what: &str| {
        for jobs in ["1", "8"] {
            let options = [&["-C", conf, "--from", "2.2.13", "--jobs", jobs], options].concat();
            let ran = run("check-paths", &options, &list).expect(status).says(what);
            let ends = ran.out.split(|b| *b == b'\n').any(|line| line.starts_with(b"!mbx-abort "));
            assert_eq!(ends, !options.contains(&"--no-drop"), "{}", ran.tell());
        }
    };
    let alice = "user.alice and user.zzz have one cyrus.header";
    std::os::unix::fs::symlink("../../default/user/alice", &zzz).unwrap();
    ask(&conf, &[], 1, alice);
    ask(&conf, &["--no-drop"], 1, alice);
    ask(&conf, &["--max-missing", "50%", "--reject", &sandbox.file("rejects")], 1, alice);
    std::fs::remove_file(&zzz).unwrap();
    std::fs::create_dir(&zzz).unwrap();
    std::fs::hard_link(sandbox.path().join("spool/default/user/alice/cyrus.header"), zzz.join("cyrus.header")).unwrap();
    ask(&conf, &[], 1, alice);
    // Headers apart, and the messages in one directory.
    let (sandbox, _, conf) = with_meta();
    sandbox.sh("cp -a spool/default/user/alice spool/1/user/zzz").expect(0);
    let owner = format!("{}:{}", rustix_ids().0, rustix_ids().1);
    run("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", &owner, "--move"], &list).expect(0);
    sandbox.sh("rm -r spool/1/user/zzz && ln -s ../../default/user/alice spool/1/user/zzz").expect(0);
    ask(&conf, &[], 1, "user.alice and user.zzz have one directory");
    // A disk of messages that is not mounted, though the headers are there.
    let only = b"user.zzz\t1\tzzz\tlrs\t\n";
    sandbox.sh("rm spool/1/user/zzz && ln -s /no/such/disk spool/1/user/zzz").expect(0);
    run("check-paths", &["-C", &conf, "--from", "2.2.13"], only)
        .expect(2)
        .says("spool/1/user/zzz is a link that leads nowhere");
    sandbox.sh("rm spool/1/user/zzz").expect(0);
    run("check-paths", &["-C", &conf, "--from", "2.2.13"], only).expect(0).writes(only);
    // One entry twice is another matter: the guard's.
    let twice = [&dump[..], &dump[..]].concat();
    run("check-paths", &["-C", &conf, "--from", "2.2.13"], &twice).expect(0).writes(&twice);
}

/// A spool of uid 1 whose `dirs` lie below `private`, a directory of root's with mode 0700; the rest is open to all.
fn private(dirs: &[&str]) -> (Sandbox, Vec<u8>, String) {
    let (sandbox, dump, conf) = with_meta();
    if dirs.contains(&"meta") {
        run("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", "1:1", "--move"], &dump).expect(0);
    }
    sandbox.sh("chown -R 1:1 spool meta && chmod 755 . && mkdir -m 700 private").expect(0);
    let mut text =
        String::from_utf8(sandbox.read(if dirs.contains(&"meta") { "meta.conf" } else { "old.conf" })).unwrap();
    for dir in dirs {
        std::fs::rename(sandbox.path().join(dir), sandbox.path().join("private").join(dir)).unwrap();
        text = text.replace(&sandbox.file(dir), &sandbox.file(&format!("private/{dir}")));
    }
    let conf = sandbox.write("private.conf", text);
    (sandbox, dump, conf)
}

/// mbx-check-paths by root, for a server that runs as `user`.
fn as_user(user: &str, options: &[&str]) -> std::process::Command {
    let mut asked = command("check-paths", options);
    asked.env("CYRUS_USER", user);
    asked
}

/// A directory above the partitions that keeps the Cyrus user out keeps the server from every mailbox.
#[test]
fn root_looks_as_the_server_from_the_first_directory_on() {
    if !harness::has_root(false) {
        return;
    }
    for dirs in [&["spool"][..], &["meta"]] {
        let (sandbox, dump, conf) = private(dirs);
        let kept_out = format!("it cannot enter {} (mode 0700, owner 0, group 0)", sandbox.file("private"));
        let lists: [(&[&str], &[u8]); 3] = [
            (&["--jobs", "1"], &dump),
            (&["--jobs", "8"], &dump),
            (&["--allow-empty", "--orphans", &sandbox.file("orphans")], b""),
        ];
        let ask = |status, options: &[&str], list: &[u8]| {
            let asked = as_user("daemon", &[&["-C", &conf, "--from", "2.2.13"], options].concat());
            harness::feed(asked, list).expect(status)
        };
        for (options, list) in lists {
            let ran =
                ask(2, options, list).says(&kept_out).says("Permission denied for uid 1").says("setfacl -m u:1:x ");
            assert!(ran.out.starts_with(b"!mbx-abort "), "{}", ran.tell());
        }
        // What the message says to do is enough.
        let remedy = format!("setfacl -m u:1:x {}", sandbox.file("private"));
        sandbox.sh(&remedy).expect(0);
        for (options, list) in lists {
            ask(0, options, list).writes(list);
        }
        // A link leads there, too.
        sandbox.sh("setfacl -b private && chmod 700 private && mv private real && ln -s real private").expect(0);
        let kept_out = format!("it cannot enter {} (mode 0700", sandbox.file("real"));
        for (options, list) in lists {
            ask(2, options, list).says(&kept_out);
        }
    }
}

#[test]
fn root_looks_as_the_server_at_a_partition_of_roots_own() {
    if !harness::has_root(false) {
        return;
    }
    let (sandbox, dump, conf) = private(&["spool"]);
    sandbox.sh("chmod 755 private && chown 0:0 private/spool/1 && chmod 700 private/spool/1").expect(0);
    for jobs in ["1", "8"] {
        harness::feed(as_user("daemon", &["-C", &conf, "--jobs", jobs]), &dump)
            .expect(2)
            .says(&format!("it cannot enter {} (mode 0700, owner 0, group 0)", sandbox.file("private/spool/1")));
    }
    // Who may enter and not list can open every mailbox.
    sandbox.sh("chmod 711 private/spool/1").expect(0);
    harness::feed(as_user("daemon", &["-C", &conf]), &dump).expect(0).writes(&dump);
    // Where the missing ones are said to lie, the server could not look either.
    sandbox.sh("chmod 700 private/spool/1 && rm -r private/spool/2/* && mkdir private/spool/2/user").expect(0);
    let mistaken: Vec<u8> = lines(&run("remap-part", &["1=2"], &dump).expect(0).out)
        .into_iter()
        .filter(|line| line.windows(3).any(|part| part == b"\t2\t"))
        .flatten()
        .collect();
    harness::feed(as_user("daemon", &["-C", &conf]), &mistaken)
        .expect(1)
        .says("the first of them stand in no other declared partition");
}

/// The groups of a user are those of the whole group file, and the group that the configuration says.
#[test]
fn root_looks_with_the_groups_of_the_server() {
    if !harness::has_root(true) {
        return;
    }
    let (sandbox, dump, conf) = private(&["spool"]);
    let etc = |name: &str, more: &str| {
        let text = std::fs::read_to_string(format!("/etc/{name}")).unwrap();
        sandbox.write(name, text + more);
    };
    etc("passwd", "mbxcyrus:x:64001:64001::/:/bin/sh\n");
    etc("group", "mbxcyrus:x:64001:\nmbxspool:x:64002:daemon,mbxcyrus\nmbxother:x:64003:daemon\n");
    let users = format!(
        "mount --bind {} /etc/passwd; mount --bind {} /etc/group",
        sandbox.file("passwd"),
        sandbox.file("group")
    );
    let ask = |conf: &str, status| {
        for jobs in ["1", "8"] {
            let asked = as_user("mbxcyrus", &["-C", conf, "--from", "2.2.13", "--jobs", jobs]);
            let ran = harness::feed(harness::in_mounts(&users, &asked), &dump).expect(status);
            if status == 2 {
                ran.says("Permission denied for uid 64001")
                    .says(&format!("it cannot enter {} ", sandbox.file("private")));
            }
        }
    };
    sandbox.sh("chown -R 64001:64001 private/spool").expect(0);
    for (group, status) in [("64002", 0), ("64003", 2), ("64001", 0)] {
        sandbox.sh(&format!("chgrp {group} private && chmod 710 private")).expect(0);
        ask(&conf, status);
    }
    // The group of another, by an ACL.
    sandbox.sh("chmod 700 private; chgrp 0 private; setfacl -m g:64003:x private").expect(0);
    ask(&conf, 2);
    sandbox.sh("setfacl -m g:64002:x private").expect(0);
    ask(&conf, 0);
    // From 3.0 on the configuration may name another group than the user's own, which then counts no more.
    sandbox.sh("setfacl -b private; chgrp 64001 private; chmod 710 private").expect(0);
    let text = String::from_utf8(sandbox.read("private.conf")).unwrap();
    let other = sandbox.write("group.conf", text.clone() + "cyrus_group: mbxother\n");
    ask(&other, 2);
    sandbox.sh("chgrp 64003 private").expect(0);
    ask(&other, 0);
    ask(&conf, 2);
    // Numbers, of a user whom this host has no name for.
    let mut asked = as_user("64005", &["-C", &conf, "--from", "2.2.13"]);
    asked.env("CYRUS_GROUP", "64003");
    harness::feed(asked, &dump)
        .expect(2)
        .says("Permission denied for uid 64005")
        .says("spool/default/-dash (mode 0700");
    let unknown = sandbox.write("unknown.conf", text + "cyrus_group: mbxnosuch\n");
    let asked = as_user("mbxcyrus", &["-C", &unknown, "--from", "2.2.13"]);
    harness::feed(harness::in_mounts(&users, &asked), &dump).expect(2).says("cyrus_group: no such group: mbxnosuch");
}

/// Users that no file of this host has: systemd's, as those of LDAP or sssd would be.
#[test]
fn users_of_the_name_service_are_known() {
    if !harness::has_root(true) {
        return;
    }
    let (sandbox, dump, conf) = private(&["spool"]);
    sandbox.write("mbxldap.user", r#"{"userName":"mbxldap","uid":64010,"gid":64011,"homeDirectory":"/"}"#);
    sandbox.write("mbxldap.group", r#"{"groupName":"mbxldap","gid":64011}"#);
    let users = format!(
        "mount -t tmpfs tmpfs /run; mkdir /run/userdb; cd {}; cp mbxldap.user mbxldap.group /run/userdb; \
         cp mbxldap.user /run/userdb/64010.user; cp mbxldap.group /run/userdb/64011.group",
        sandbox.path().display()
    );
    let mut getent = std::process::Command::new("getent");
    getent.args(["passwd", "mbxldap"]);
    if harness::feed(harness::in_mounts(&users, &getent), b"").status != 0 {
        eprintln!("\n*** SKIPPED: there is no libnss_systemd here ***");
        return;
    }
    let asked = as_user("mbxldap", &["-C", &conf, "--from", "2.2.13"]);
    sandbox.sh("chown -R 64010:64011 private/spool").expect(0);
    harness::feed(harness::in_mounts(&users, &asked), &dump).expect(2).says("Permission denied for uid 64010");
    sandbox.sh("chgrp 64011 private; chmod 710 private").expect(0);
    harness::feed(harness::in_mounts(&users, &asked), &dump).expect(0).writes(&dump);
    // And they may own directories.
    let (sandbox, dump, conf) = with_meta();
    sandbox.sh("chmod 755 .").expect(0);
    for owner in ["mbxldap", "64010", "mbxldap:", "mbxldap:mbxldap"] {
        sandbox.sh("rm -rf meta/*/*").expect(0);
        let made = command("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", owner]);
        harness::feed(harness::in_mounts(&users, &made), &dump).expect(0).writes(&dump);
        let meta = std::fs::metadata(sandbox.path().join("meta/1/user/bob")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (64010, 64011), "{owner}");
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    let (sandbox, _) = old();
    let conf = sandbox.file("old.conf");
    for name in ["../../etc!user.x", "..!user.x", "user..x", "user.a/b", ".tmp.foo!x", "user..a!x"] {
        let line = format!("{name}\tdefault\tanyone\tlrs\t\n");
        run("check-paths", &["-C", &conf, "--from", "2.2.13"], line.as_bytes()).expect(1).says(name);
        let owner = format!("{}:{}", rustix_ids().0, rustix_ids().1);
        let meta = format!("--meta=default={}", sandbox.path().display());
        run("mkmeta", &[&meta, "--owner", &owner, "--from", "2.2.13"], line.as_bytes()).expect(1).says(name);
    }
    // Where it stands hangs on the release: asked for, never guessed.
    let line = b"DELETED.user.alice.0B04466A\tdefault\tanyone\tlrs\t\n";
    run("check-paths", &["-C", &conf], line).expect(2).says("--from RELEASE");
    run("check-paths", &["-C", &conf, "--spool-release", "3.0.18"], line).expect(0).says("DELETED/user/alice/B04466A");
    run("check-paths", &["-C", &conf, "--from", "2.2.13"], line).expect(0).says("DELETED/user/alice/0B04466A");
}

fn rustix_ids() -> (u32, u32) {
    let meta = std::fs::metadata("/proc/self").unwrap();
    (meta.uid(), meta.gid())
}

/// A sandbox with metapartitions that are there and empty.
fn with_meta() -> (Sandbox, Vec<u8>, String) {
    let (sandbox, dump) = old();
    let mut conf = String::from_utf8(sandbox.read("old.conf")).unwrap();
    for name in ["default", "0", "1", "2", "part-3"] {
        let dir = sandbox.path().join("meta").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        conf.push_str(&format!("metapartition-{name}: {}\n", dir.display()));
    }
    conf.push_str("metapartition_files: header index\n");
    let conf = sandbox.write("meta.conf", conf);
    (sandbox, dump, conf)
}

fn tree(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        all.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            all.extend(tree(&path));
        }
    }
    all.sort();
    all
}

#[test]
fn directories_are_made_once() {
    let (sandbox, dump, conf) = with_meta();
    let owner = format!("{}:{}", rustix_ids().0, rustix_ids().1);
    let before = tree(&sandbox.path().join("meta"));
    let dry = run("mkmeta", &["-C", &conf, "-n"], &dump).expect(0);
    assert_eq!(tree(&sandbox.path().join("meta")), before);
    let would = dry.err.lines().filter(|line| line.contains("would make ")).count();
    dry.writes(&dump);
    let made = run("mkmeta", &["-C", &conf, "--owner", &owner], &dump).expect(0);
    assert!(made.err.contains(&format!("{would} directories made")), "{would}: {}", made.err);
    assert!(made.out == dump);
    let after = tree(&sandbox.path().join("meta"));
    assert_eq!(after.len(), before.len() + would);
    // Beside each data directory of the list there is one for its metadata, with the server's mode.
    for row in lines(&read("2.2.13/flat/paths.tsv")).iter().skip(1) {
        let data = String::from_utf8_lossy(row.split(|b| *b == b'\t').nth(1).unwrap()).into_owned();
        let meta =
            sandbox.file(data.strip_prefix("/cyrus/spool/").map(|tail| format!("meta/{tail}")).unwrap().as_str());
        assert_eq!(
            std::fs::metadata(&meta).unwrap_or_else(|e| panic!("{meta}: {e}")).permissions().mode() & 0o7777,
            0o700
        );
    }
    run("mkmeta", &["-C", &conf, "--owner", &owner], &dump).expect(0).says("(103 already there)");
    assert_eq!(tree(&sandbox.path().join("meta")), after);
    // Only metadata that is there already moves the header: the data partition's passes as not moved yet.
    run("check-paths", &["-C", &conf], &dump).expect(0).says("103 not moved yet");
}

/// Numbers are those of users, and without a group it is the user's own.
#[test]
fn owners_are_names_or_numbers() {
    if !harness::has_root(false) {
        return;
    }
    let (sandbox, dump, conf) = with_meta();
    let user = |name: &str| {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let fields: Vec<_> =
            passwd.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap().split(':').collect();
        (fields[2].parse::<u32>().unwrap(), fields[3].parse::<u32>().unwrap())
    };
    // One whose group has another number than he.
    let (uid, gid) = user("man");
    assert_ne!(uid, gid);
    for (owner, wanted) in [
        ("man".to_string(), (uid, gid)),
        (uid.to_string(), (uid, gid)),
        ("man:".to_string(), (uid, gid)),
        (format!("{uid}:daemon"), (uid, user("daemon").1)),
        ("0".to_string(), (0, 0)),
        ("man:7".to_string(), (uid, 7)),
        ("64099:64098".to_string(), (64099, 64098)),
    ] {
        sandbox.sh("rm -rf meta/*/*").expect(0);
        run("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", &owner], &dump).expect(0).writes(&dump);
        let meta = std::fs::metadata(sandbox.path().join("meta/1/user/bob")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), wanted, "{owner}");
    }
    sandbox.sh("rm -rf meta/*/*").expect(0);
    for (owner, what) in [
        ("64099", "no user has the number 64099, so it has no group of its own: --owner 64099:GROUP"),
        // What chown(2) takes for "leave it".
        ("4294967295:0", "no such user"),
        ("0:4294967295", "no such group"),
        ("4294967296:0", "no such user"),
        ("man:nosuchgroup", "no such group"),
        (":mail", "no such user"),
        ("", "no such user"),
    ] {
        run("mkmeta", &["-C", &conf, "--from", "2.2.13", "--owner", owner], &dump).expect(2).says(what);
    }
    assert_eq!(tree(&sandbox.path().join("meta")).len(), 5);
}

/// What is there for root and not for the server is not there.
#[test]
fn directories_that_the_server_cannot_use_are_trouble() {
    if !harness::has_root(false) {
        return;
    }
    let (sandbox, dump, conf) = private(&["meta"]);
    let mkmeta = |user: &str, options: &[&str]| {
        let mut made = command("mkmeta", &[&["-C", &conf, "--from", "2.2.13"], options].concat());
        made.env("CYRUS_USER", user);
        harness::feed(made, &dump)
    };
    let ways = [&[][..], &["-n"], &["--copy"], &["--move", "-n"]];
    for way in ways {
        let ran = mkmeta("daemon", &[way, &["--owner", "daemon"]].concat()).expect(2);
        ran.says(&format!("it cannot enter {} (mode 0700, owner 0, group 0)", sandbox.file("private")));
    }
    sandbox.sh("chmod 711 private").expect(0);
    for way in ways {
        mkmeta("daemon", &[way, &["--owner", "daemon"]].concat()).expect(0).writes(&dump);
    }
    // Directories that another run made as root's own.
    sandbox.sh("chown 0:0 private/meta/1/user/bob && chmod 755 private/meta/1/user/bob").expect(0);
    for way in ways {
        let ran = mkmeta("daemon", &[way, &["--owner", "daemon"]].concat()).expect(2);
        ran.says(&format!(
            "it cannot write to {} (mode 0755, owner 0, group 0)",
            sandbox.file("private/meta/1/user/bob")
        ));
    }
    sandbox.sh("chown 1:1 private/meta/1/user/bob").expect(0);
    // An owner who is not the server.
    mkmeta("daemon", &["--owner", "man"])
        .expect(2)
        .says("--owner man: the server runs as daemon")
        .says("--owner daemon");
    mkmeta("man", &["--owner", "daemon"]).expect(2).says("the server runs as man");
}

#[test]
fn directories_that_cannot_be_made_are_trouble() {
    let (sandbox, dump, conf) = with_meta();
    let owner = format!("{}:{}", rustix_ids().0, rustix_ids().1);
    if rustix_ids().0 == 0 {
        let ran = run("mkmeta", &["-C", &conf], &dump).expect(2).says("--owner");
        assert!(ran.out.ends_with(b"\n") && ran.out.starts_with(b"!mbx-abort "));
    }
    run("mkmeta", &["-C", &conf, "--owner", "no-such-user"], &dump).expect(2).says("no such user");
    run("mkmeta", &[], &dump).expect(2).says("-C FILE is wanted");
    // A link below a metapartition is never followed: it could lead anywhere.
    let outside = sandbox.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, sandbox.path().join("meta/default/user")).unwrap();
    run("mkmeta", &["-C", &conf, "--owner", &owner], &dump).expect(2).says("is a link or a file");
    assert_eq!(tree(&outside).len(), 0);
    std::fs::remove_dir_all(sandbox.path().join("meta/1")).unwrap();
    run("mkmeta", &["-C", &conf, "--owner", &owner], &dump).expect(2).says("is the disk mounted?");
    // Metapartitions without a word of what belongs there, or none at all: nothing to make.
    let (sandbox, dump) = old();
    run("mkmeta", &["-C", &sandbox.file("old.conf")], &dump).expect(0).says("103 need none");
}

/// From 3.6 on a mailbox of the default domain has no other name than the one without it.
#[test]
fn a_name_that_the_default_domain_makes_another_is_refused() {
    let sandbox = Sandbox::of("2.4.22", "virt");
    let conf = String::from_utf8(sandbox.read("old.conf")).unwrap() + "defaultdomain: example.com\n";
    let conf = sandbox.write("new.conf", conf);
    let dump = read("2.4.22/virt/dump.txt");
    let list = run("parse", &["--from", "2.4.22", "--to", "3.6.1", "--reject", &sandbox.file("r")], &dump).out;
    let options = ["-C", &conf, "--from", "2.4.22", "--to", "3.6.1", "--max-missing", "100%", "--reject"];
    let ran = run("check-paths", &[&options[..], &[&sandbox.file("rejects")]].concat(), &list).expect(1);
    let ran = ran.says(
        "name that the target takes for another (3.6.1 makes user.alice of it: its defaultdomain is example.com)",
    );
    assert!(!ran.err.contains("must move"), "{}", ran.tell());
}

/// The highest minor version of cyrus.index that each release reads, and whether it reads a cyrus.header that is a dlist
/// (facts/downgrade.md).
const TARGETS: [(&str, u32, bool); 13] = [
    ("2.2.13", 6, false),
    ("2.3.7", 9, false),
    ("2.3.19", 10, false),
    ("2.4.22", 12, false),
    ("2.5.17", 13, false),
    ("3.0.18", 13, false),
    ("3.2.6", 16, false),
    ("3.4.9", 17, false),
    ("3.6.1", 17, true),
    ("3.8.7", 17, true),
    ("3.10.2", 19, true),
    ("3.12.3", 19, true),
    ("3.13.7", 20, true),
];

const FORMS: [&str; 3] = ["lines", "dlist", "dlist with J"];

/// Whether a target opens a cyrus.index of this minor version; up to 2.4 they write old ones anew.
fn reads(target: &str, highest: u32, minor: u32) -> bool {
    let old = target.starts_with("2.2") || target.starts_with("2.3") || target.starts_with("2.4");
    (if old { 3 } else { 6 }..=highest).contains(&minor) && minor != 11
}

/// An entry as the list of a release has it.
fn entry(release: &str, mailbox: &str) -> String {
    match release {
        "2.2.13" => format!("{mailbox}\tdefault\tanyone\tlrs\t\n"),
        "2.3.7" => format!("{mailbox}\t0 default\tanyone\tlrs\t\n"),
        text if !TARGETS[8..].iter().any(|(json, ..)| *json == text) => {
            format!("{mailbox}\t0 default anyone\tlrs\t\n")
        }
        _ => format!(
            "\"{mailbox}\": {{\"mbtype\": \"el\", \"partition\": \"default\", \"acl\": {{\"anyone\": \"lrs\"}}}}"
        ),
    }
}

/// A list of these entries.
fn list_of(entries: &[String]) -> Vec<u8> {
    match entries[0].starts_with('"') {
        true => format!("{{\n{}\n}}\n", entries.join(",\n")).into_bytes(),
        false => entries.concat().into_bytes(),
    }
}

/// A spool of one partition with these mailboxes of users, each with its two files.
fn spool_of(mailboxes: &[(String, Vec<u8>, Vec<u8>)]) -> Sandbox {
    let sandbox = Sandbox::empty();
    for (user, header, index) in mailboxes {
        let dir = sandbox.path().join("spool/user").join(user);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cyrus.header"), header).unwrap();
        std::fs::write(dir.join("cyrus.index"), index).unwrap();
    }
    sandbox
}

#[test]
fn no_mailbox_passes_that_the_target_cannot_open() {
    let all: Vec<(u32, &str)> = (3..=20).flat_map(|minor| FORMS.map(|form| (minor, form))).collect();
    let user = |(minor, form): &(u32, &str)| format!("m{minor}{}", form.replace(' ', ""));
    let files = |of: &(u32, &str)| {
        let name = user(of);
        (
            name.clone(),
            harness::header_of(of.1, &format!("user.{name}"), &format!("id{name}"), &name),
            harness::index_of(of.0, 7),
        )
    };
    let sandbox = spool_of(&all.iter().map(files).collect::<Vec<_>>());
    let (partition, rejects) = (format!("default={}", sandbox.file("spool")), sandbox.file("rejects"));
    let report = sandbox.file("report.tsv");
    for (target, highest, dlist) in TARGETS {
        let entries: Vec<_> = all.iter().map(|of| entry(target, &format!("user.{}", user(of)))).collect();
        let opens = |of: &(u32, &str)| reads(target, highest, of.0) && (dlist || of.1 == "lines");
        let meant: Vec<_> =
            all.iter().zip(&entries).filter(|(of, _)| opens(of)).map(|(_, entry)| entry.clone()).collect();
        let list = list_of(&entries);
        let options = ["--partition", &partition, "--to", target];
        let more = ["--reject", &rejects, "--max-missing", "100%", "--report", &report];
        let ran = run("check-paths", &[&options[..], &more].concat(), &list).expect(1);
        ran.says(&format!("{} in, {} out, {} refused", all.len(), meant.len(), all.len() - meant.len()))
            .writes(&list_of(&meant));
        // What is refused is named, and each in one of the two lists.
        let refused = lines(&sandbox.read("rejects")).iter().filter(|line| line.len() > 4).count();
        assert_eq!(refused + meant.len(), all.len(), "{target}");
        let rows = String::from_utf8(sandbox.read("report.tsv")).unwrap();
        for of in &all {
            let row = rows.lines().find(|row| row.starts_with(&format!("user.{}\t", user(of)))).unwrap();
            let columns: Vec<_> = row.split('\t').collect();
            let minor = if of.0 == 11 { String::new() } else { of.0.to_string() };
            assert_eq!((columns[5], columns[6]), (&*minor, of.1.split(' ').next().unwrap()), "{target}: {row}");
            assert_eq!(columns[7] == "yes", opens(of), "{target}: {row}");
        }
        // More than half, and no limit of one's own; a rehearsal sees them all, and every entry goes on.
        let half = ["--reject", &rejects];
        let ran = run("check-paths", &[&options[..], &half].concat(), &list);
        if meant.len() * 2 < all.len() {
            let ran = ran.expect(1).says(&format!("mailboxes of partition default cannot be opened by {target}"));
            assert!(lines(&ran.out).pop().unwrap().starts_with(b"!mbx-abort "), "{target}");
        }
        let ran = run("check-paths", &[&options[..], &["--no-drop", "-v"]].concat(), &list).expect(1).writes(&list);
        let told = ran.err.matches(": user.m").count();
        assert_eq!(told, all.len() - meant.len(), "{target}: {}", ran.tell());
        // Without a target nothing is asked.
        run("check-paths", &["--partition", &partition], &list).expect(0).writes(&list);
    }
}

/// What makes the spool readable is said once, with the command that does it, and never one for the older server.
#[test]
fn the_command_that_makes_a_spool_readable_is_named() {
    for (minors, from, target, said) in [
        (
            vec![20, 20, 19],
            "3.13.7",
            "3.6.1",
            "3 cyrus.index newer than 3.6.1 reads: 2 of minor 20, 1 of minor 19. Run `reconstruct -V 17` on the 3.13.7 server, stopped, before the last copy",
        ),
        (vec![19], "3.12.3", "3.6.1", "Run `reconstruct -V 17` on the 3.12.3 server"),
        (vec![20], "3.13.7", "3.10.2", "Run `reconstruct -V 19` on the 3.13.7 server"),
        (vec![17], "3.4.9", "3.2.6", "Run `reconstruct -V 16` on the 3.4.9 server"),
        // A file is newer than the release that is told.
        (vec![20], "3.6.1", "3.6.1", "Run `reconstruct -V 17` on a server of 3.13 or later"),
        // Before 2.5 no reconstruct has -V.
        (vec![9], "2.3.7", "2.2.13", "Run `reconstruct -V 6` on a server of 2.5 or later"),
        (
            vec![3, 4],
            "2.2.13",
            "3.6.1",
            "2 cyrus.index older than 3.6.1 opens: 1 of minor 4, 1 of minor 3. Open each mailbox once with a server of 2.2.2 to 2.4",
        ),
    ] {
        let files = |(i, minor): (usize, &u32)| {
            let name = format!("m{i}");
            (
                name.clone(),
                harness::header_of("lines", &format!("user.{name}"), &name, &name),
                harness::index_of(*minor, 7),
            )
        };
        let sandbox = spool_of(&minors.iter().enumerate().map(files).collect::<Vec<_>>());
        let list = list_of(&(0..minors.len()).map(|i| entry(target, &format!("user.m{i}"))).collect::<Vec<_>>());
        let partition = format!("default={}", sandbox.file("spool"));
        for more in [&[][..], &["--no-drop"], &["-q", "--reject", &sandbox.file("r"), "--max-missing", "100%"]] {
            let options = [&["--partition", &partition, "--from", from, "--to", target], more].concat();
            let ran = run("check-paths", &options, &list).expect(1).says(said);
            assert_eq!(ran.err.matches(said).count(), 1, "{}", ran.tell());
            if said.contains("reconstruct") {
                let never = format!("Never run reconstruct on {target}: it loses flags and \\Seen, and ends with 0");
                assert_eq!(ran.err.matches(&never).count(), 1, "{}", ran.tell());
            }
        }
    }
}

/// What a mailbox has instead of an index, and where.
#[test]
fn a_mailbox_without_a_whole_index_never_passes() {
    let (sandbox, dump) = old();
    let conf = sandbox.file("old.conf");
    let options = ["-C", &conf, "--from", "2.2.13", "--to", "2.3.7"];
    let list = run("parse", &["--from", "2.2.13", "--to", "2.3.7"], &dump).expect(0).out;
    run("check-paths", &options, &list).expect(0).writes(&list);
    let index = sandbox.path().join("spool/1/user/frank/cyrus.index");
    let kept = std::fs::read(&index).unwrap();
    let rejects = sandbox.file("rejects");
    let (frank, others): (Vec<_>, Vec<_>) =
        lines(&list).into_iter().partition(|line| line.starts_with(b"user.frank\t"));
    let (one, many) = (["--reject", &rejects, "--jobs", "1"], ["--reject", &rejects, "--jobs", "8"]);
    let with = |jobs: &str| [&options[..], if jobs == "1" { &one } else { &many }].concat();
    for (bytes, why) in [
        (None, "no cyrus.index ("),
        (Some(vec![]), "frank/cyrus.index is empty: the server could not open the mailbox"),
        (Some(kept[..11].to_vec()), "frank/cyrus.index is cut off in its header"),
        (Some(kept[..75].to_vec()), "frank/cyrus.index is cut off in its header"),
        (Some(b"not an index, but a text of some length\n".repeat(4)), "frank/cyrus.index is not a cyrus.index"),
        (Some(vec![0; 500]), "frank/cyrus.index is not a cyrus.index"),
        (Some([&kept[..20], &[0, 0, 1, 0], &kept[24..]].concat()), "too few for 256 records"),
        (Some(harness::index_of(9, 7)), ""),
        (Some(harness::index_of(10, 7)), "frank/cyrus.index has minor 10, and 2.3.7 reads up to 9"),
        (Some(harness::index_of(40, 7)), "frank/cyrus.index has minor 40, and 2.3.7 reads up to 9"),
    ] {
        match &bytes {
            None => std::fs::remove_file(&index).unwrap(),
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
        }
        for jobs in ["1", "8"] {
            if why.is_empty() {
                run("check-paths", &with(jobs), &list).expect(0).writes(&list);
                continue;
            }
            run("check-paths", &with(jobs), &list).expect(1).says(why).writes(&others.concat());
            assert_eq!(sandbox.read("rejects"), frank.concat());
            // Without a place for it, the list ends there.
            run("check-paths", &options, &list).expect(1).says(why).says("aborted");
            run("check-paths", &[&options[..], &["--no-drop"]].concat(), &list).expect(1).says(why).writes(&list);
        }
        // What was asked before is asked as before.
        run("check-paths", &["-C", &conf, "--from", "2.2.13"], &dump).expect(0).writes(&dump);
    }
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir(&index).unwrap();
    run("check-paths", &with("8"), &list).expect(1).says("frank/cyrus.index is not a file");
    // The remedy for what is damaged is that of the old server.
    let ran = run("check-paths", &with("8"), &list).says("1 mailboxes without a whole cyrus.index. Copy it again");
    assert!(!ran.err.contains("reconstruct -V"), "{}", ran.tell());
    // A header that is none is no better, and its first bytes tell it.
    std::fs::remove_dir(&index).unwrap();
    std::fs::write(&index, &kept).unwrap();
    let header = sandbox.path().join("spool/1/user/frank/cyrus.header");
    let kept = std::fs::read(&header).unwrap();
    for (bytes, why) in [
        (&kept[..40], "frank/cyrus.header is cut off in its magic"),
        (&kept[..115], "frank/cyrus.header is cut off in its line 4"),
        (b"something else that is long enough for one".as_slice(), "frank/cyrus.header is not a cyrus.header"),
    ] {
        std::fs::write(&header, bytes).unwrap();
        run("check-paths", &with("8"), &list).expect(1).says(why).writes(&others.concat());
    }
    // All of them, which passed before.
    let sandbox = Sandbox::of("2.2.13", "flat");
    sandbox.sh("find spool -name cyrus.index -delete").expect(0);
    let conf = sandbox.file("old.conf");
    let options = ["-C", &conf, "--from", "2.2.13", "--to", "2.3.7"];
    run("check-paths", &options, &list).expect(1).says("no cyrus.index").says("aborted");
    run("check-paths", &[&options[..], &["--reject", &rejects]].concat(), &list)
        .expect(1)
        .says("62 of 62 mailboxes of partition default cannot be opened by 2.3.7")
        .says("more than half of a partition cannot be opened by 2.3.7 or is missing");
    run("check-paths", &[&options[..], &["--reject", &rejects, "--max-missing", "102"]].concat(), &list)
        .expect(1)
        .says("0 of 103 mailboxes are missing, and 103 cannot be opened by 2.3.7; --max-missing allows 102");
}

/// An index on the metapartition, or not there yet, is as good as a header.
#[test]
fn an_index_that_is_kept_apart_is_found() {
    for release in ["2.3.7", "2.4.22", "3.0.18", "3.6.1", "3.13.7"] {
        let variant = if release.starts_with("3.6") || release.starts_with("3.13") { "legacymeta" } else { "meta" };
        let sandbox = Sandbox::of(release, variant);
        let dump = read(format!("{release}/{variant}/dump.txt"));
        let conf = sandbox.file("old.conf");
        let options = ["-C", &conf, "--from", release, "--to", release, "--report", &sandbox.file("report.csv")];
        let ran = run("check-paths", &options, &dump).expect(0).writes(&dump);
        assert!(!ran.err.contains("not moved yet"), "{}", ran.tell());
        let rows = String::from_utf8(sandbox.read("report.csv")).unwrap();
        assert!(rows.lines().skip(1).all(|row| row.ends_with(",yes")), "{rows}");
    }
    let (sandbox, dump, conf) = with_meta();
    let list = run("parse", &["--from", "2.2.13", "--to", "2.3.7"], &dump).expect(0).out;
    let options = ["-C", &conf, "--from", "2.2.13", "--to", "2.3.7"];
    run("check-paths", &options, &list).expect(0).says("103 not moved yet").writes(&list);
    // The header has moved, the index has not.
    let tail = "1/user/bob";
    std::fs::create_dir_all(sandbox.path().join("meta").join(tail)).unwrap();
    let [data, meta] = ["spool", "meta"].map(|root| sandbox.path().join(root).join(tail));
    std::fs::rename(data.join("cyrus.header"), meta.join("cyrus.header")).unwrap();
    run("check-paths", &options, &list).expect(0).says("103 not moved yet").writes(&list);
    std::fs::rename(data.join("cyrus.index"), meta.join("cyrus.index")).unwrap();
    run("check-paths", &options, &list).expect(0).says("102 not moved yet").writes(&list);
    // It is where the configuration does not look.
    let text = String::from_utf8(sandbox.read("meta.conf")).unwrap();
    let conf = sandbox.write("header.conf", text.replace("files: header index", "files: header cache"));
    run("check-paths", &["-C", &conf, "--from", "2.2.13", "--to", "2.3.7"], &list).expect(0).says("103 not moved yet");
}

/// The spools that real servers made, to every release of the corpora.
#[test]
fn real_spools_by_every_target() {
    let highest =
        |release: &str| TARGETS.iter().find(|(target, ..)| *target == release).map(|row| (row.1, row.2)).unwrap();
    let (mut passed, mut refused) = (0, 0);
    for (release, variant) in [
        ("2.2.13", "flat"),
        ("2.2.13", "virt"),
        ("2.3.7", "flat"),
        ("2.3.7", "meta2"),
        ("2.4.22", "hash"),
        ("2.4.22", "meta"),
        ("3.0.18", "flat"),
        ("3.6.1", "legacy"),
        ("3.6.1", "flat"),
        ("3.6.1", "mixed"),
        ("3.13.7", "legacymeta"),
        ("3.13.7", "flat"),
        ("3.13.7", "mixed"),
    ] {
        let sandbox = Sandbox::of(release, variant);
        let dump = read(format!("{release}/{variant}/dump.txt"));
        let conf = sandbox.file("old.conf");
        for (target, _, _) in TARGETS {
            // 2.2 knows no metapartitions.
            if (variant, target) == ("meta2", "2.2.13") || (variant, target) == ("meta", "2.2.13") {
                continue;
            }
            let (minor, dlist) = highest(target);
            let options = ["-C", &conf, "--from", release, "--to", target, "--report", &sandbox.file("report.tsv")];
            let more = ["--reject", &sandbox.file("rejects"), "--max-missing", "100%", "-q"];
            let ran = run("check-paths", &[&options[..], &more].concat(), &dump);
            let rows = String::from_utf8(sandbox.read("report.tsv")).unwrap();
            let (mut opens, mut closed) = (0, 0);
            for row in rows.lines().skip(1).map(|row| row.split('\t').collect::<Vec<_>>()) {
                let [_, _, directory, found, _, index, form, said] = row[..] else { panic!("{row:?}") };
                if found == "missing" {
                    continue;
                }
                // What is on the disk, by the bytes.
                let mine = std::fs::read(Path::new(directory).join("cyrus.header")).unwrap();
                assert_eq!(form, if mine[115] == b'%' { "dlist" } else { "lines" }, "{row:?}");
                let by_name = dlist || !directory.contains("/uuid/");
                let good =
                    index.parse::<u32>().unwrap_or_else(|e| panic!("{release} {variant} to {target}: {e}: {row:?}"))
                        <= minor
                        && (dlist || form == "lines")
                        && by_name;
                assert_eq!(said == "yes", good, "{release} {variant} to {target}: {row:?}");
                if good { opens += 1 } else { closed += 1 }
            }
            // `DELETED.foo` of 2.2.13 is a name that 3.0 and later cannot open, whatever is on the disk.
            let named = ran.err.contains("deleted name without a stamp");
            assert_eq!(ran.status == 0, closed == 0 && !named, "{release} {variant} to {target}: {}", ran.tell());
            passed += opens;
            refused += closed;
            // As it was measured.
            let all = match (release, variant, target) {
                ("3.13.7", "mixed", "3.12.3" | "3.10.2" | "3.6.1") | ("3.6.1", "flat", "3.8.7") => Some(true),
                ("3.13.7", "flat" | "legacymeta", "3.12.3" | "3.10.2" | "3.6.1" | "3.2.6") => Some(false),
                ("3.6.1", "flat" | "legacy", "3.2.6" | "3.4.9") => Some(false),
                ("3.6.1", "legacy", "3.6.1") | ("2.2.13", "flat", _) => Some(true),
                _ => None,
            };
            if let Some(all) = all {
                assert_eq!((opens > 0, closed > 0), (all, !all), "{release} {variant} to {target}");
            }
        }
    }
    assert!(passed > 9_000 && refused > 4_000, "{passed} {refused}");
}

/// Directories by uniqueid, and a release that looks by name.
#[test]
fn directories_by_uniqueid_never_pass_to_a_release_that_looks_by_name() {
    let sandbox = Sandbox::of("3.6.1", "mixed");
    let dump = read("3.6.1/mixed/dump.txt");
    let (conf, rejects) = (sandbox.file("old.conf"), sandbox.file("rejects"));
    let options = ["-C", &conf, "--from", "3.6.1", "--to", "3.4.9", "--reject", &rejects];
    let ran = run("check-paths", &options, &dump).expect(1);
    let ran = ran.says("directory by uniqueid (no l in its mbtype; 3.4.9 looks for it by name): user.bob\n");
    ran.says("21 mailboxes in directories by uniqueid. No tool of Cyrus moves them to names again")
        .says("134 in, 113 out (3 tombstones), 21 refused");
    let report = ["--no-drop", "--report", &sandbox.file("report.csv")];
    run("check-paths", &[&options[..6], &report].concat(), &dump).expect(1).writes(&dump);
    let rows = String::from_utf8(sandbox.read("report.csv")).unwrap();
    let by_id = rows.lines().filter(|row| row.contains("/uuid/")).collect::<Vec<_>>();
    assert_eq!(by_id.len(), 21);
    assert!(by_id.iter().all(|row| row.contains(",17,dlist,directory by uniqueid")), "{by_id:?}");
}

#[test]
fn a_series_of_releases_that_read_different_indexes_is_asked_for() {
    let (sandbox, dump) = old();
    let options = ["-C", &sandbox.file("old.conf"), "--from", "2.2.13", "--to", "2.2"];
    run("check-paths", &options, &dump).expect(2).says("2.2 spans releases with different rules");
}

/// A sandbox with a spool of 2.4.22, its options, and what is in its configuration and one of its own.
fn with_conf(add: &str) -> (Sandbox, String, Vec<u8>) {
    let sandbox = Sandbox::of("2.4.22", "flat");
    let conf = String::from_utf8(sandbox.read("old.conf")).unwrap() + add;
    let conf = sandbox.write("new.conf", conf);
    let dump = sandbox.read("old.dump");
    (sandbox, conf, dump)
}

/// `user.zoe` and `TRASH.user.zoe.Sent`, both on disk: 3.6.1 would make one of them.
#[test]
fn a_deleted_name_without_a_stamp_is_refused_by_what_minus_c_says() {
    let (sandbox, conf, _) = with_conf("deletedprefix: TRASH\n");
    sandbox
        .sh("cd spool/default && mkdir -p TRASH/user/zoe && cp -r user/alice user/zoe && cp -r user/alice TRASH/user/zoe/Sent")
        .expect(0);
    let line = |name: &str| format!("{name}\t0 default zoe\tlrs\t\n");
    let text = line("user.zoe") + &line("TRASH.user.zoe.Sent");
    let list = run("parse", &["--from", "2.4.22", "--to", "3.6.1"], text.as_bytes()).expect(0).out;
    let options = ["--from", "2.4.22", "--to", "3.6.1", "-C", &conf];
    let refused = "3.6.1 makes user.zoe of it: its deletedprefix is TRASH): TRASH.user.zoe.Sent";
    run("check-paths", &[&options[..], &["--fill"]].concat(), &list).expect(1).says(refused);
    run("check-paths", &[&options[..], &["-n"]].concat(), &list).expect(1).says(refused);
    let report = sandbox.file("report.csv");
    let ran =
        run("check-paths", &[&options[..], &["-n", "--report", &report, "--reject", "/dev/null"]].concat(), &list);
    ran.expect(1);
    let report = String::from_utf8(sandbox.read("report.csv")).unwrap();
    assert!(report.contains("/user/zoe,") && !report.contains("TRASH"), "{report}");
    // With the default it is a mailbox of its own.
    run("check-paths", &["--from", "2.4.22", "--to", "3.6.1", "-C", &sandbox.file("old.conf")], &list).expect(0);
}

/// A folder that was restored beside its original has its uniqueid: said by each who knows it, of the same list alike.
#[test]
fn a_restored_folder_with_the_uniqueid_of_the_original() {
    let (sandbox, conf, dump) = with_conf("");
    sandbox.sh("cp -r spool/default/user/alice/Sent spool/default/user/alice/Restored").expect(0);
    let text = [&dump[..], b"user.alice.Restored\t0 default alice\tlrswipkxtecda\t\n"].concat();
    let rejects = sandbox.file("rejects");
    let parsed = run("parse", &["--from", "2.4.22", "--to", "3.6.1", "--reject", &rejects], &text).out;
    let options = ["--from", "2.4.22", "--to", "3.6.1", "-C", &conf, "--fill"];
    let pair = "two mailboxes, one uniqueid: user.alice.Restored and user.alice.Sent both have ";
    let remedy = "take the line of user.alice.Restored, which is the copy, out of the dump before mbx-parse";
    for jobs in ["1", "8"] {
        let ran =
            run("check-paths", &[&options[..], &["-j", jobs]].concat(), &parsed).expect(1).says(pair).says(remedy);
        assert!(ran.out.ends_with(b"!mbx-abort mbx-check-paths: 1 mailboxes have the uniqueid of another\n"));
    }
    let filled = run("check-paths", &[&options[..], &["--no-drop"]].concat(), &parsed).expect(1).says(pair).out;
    for (filter, options) in [
        ("count-guard", &["--unique", "--to", "3.6.1"][..]),
        ("parse", &["--summary", "--to", "3.6.1"]),
        ("parse", &["-n", "--to", "3.6.1"]),
        ("check-paths", &["-C", &conf, "--to", "3.6.1", "--from", "2.4.22"]),
    ] {
        let ran = run(filter, options, &filled).expect(1).says(pair).says(remedy);
        let shown = String::from_utf8_lossy(&ran.out);
        assert!(!shown.contains("Nothing would be refused"), "{shown}");
        assert!(options[0] != "--summary" || shown.contains("1 mailboxes have the uniqueid of another"), "{shown}");
    }
    // Without the copy nothing is said.
    let without = sandbox.sh("grep -v '^user.alice.Restored' old.dump").expect(0).out;
    let parsed = run("parse", &["--from", "2.4.22", "--to", "3.6.1", "--reject", &rejects], &without).out;
    let list = run("check-paths", &options, &parsed).expect(0).out;
    run("count-guard", &["--unique", "--to", "3.6.1"], &list).expect(0);
    // Of a deleted one and a live one the deleted one can go.
    let entry = |name: &str| {
        format!(
            r#""{name}": {{"mbtype": "el", "partition": "default", "acl": {{}}, "uniqueid": "0123456789abcdef", "uidvalidity": "1", "createdmodseq": "1", "foldermodseq": "1"}}"#
        )
    };
    let both = format!("{{\n{},\n{}\n}}\n", entry("user.a"), entry("DELETED.user.a.5ABCDEF0"));
    let ran = run("count-guard", &["--unique", "--to", "3.6.1"], both.as_bytes()).expect(1);
    ran.says("mbx-parse --drop deletedprefix leaves the deleted one out");
    let one = run("parse", &["--drop", "deletedprefix"], both.as_bytes()).expect(0).out;
    run("count-guard", &["--unique", "--to", "3.6.1"], &one).expect(0);
}
