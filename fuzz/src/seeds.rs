//! What fuzzing begins with: what real servers wrote and were fed (`tests/corpus`), cut into the inputs of each target: a
//! few bytes that choose releases and flags, and then the thing itself.

use super::stage::RELEASES;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mbxtools::release::{Dialect, Release};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An input of one target.
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// What it is called among the target's.
    pub name: String,
    /// What the target gets.
    pub input: Vec<u8>,
}

/// The seeds of all targets, made of this corpus.
pub fn seeds(corpus: &Path) -> Vec<Seed> {
    let found = |pattern: &str| found(corpus, pattern);
    let mut seeds = Seeds(Vec::new());
    for (n, path) in found("*/*/dump.txt").iter().enumerate() {
        seeds.dump(n, &read(path));
    }
    for (n, path) in found("*/loader.jsonl.gz").iter().enumerate() {
        seeds.probes(n, path);
    }
    for (n, path) in found("*/*/imapd.conf").iter().enumerate() {
        seeds.add("conf", n, &[choice(n, RELEASES.len() + 1)], &read(path));
    }
    let including =
        b"a: b\n@include: /a\n\x01partition-default: /x\\\n/y\n@include: /b\n\x01metapartition_files: header\n";
    seeds.add("conf", "include", &[nobody()], including);
    for (n, path) in found("reports/*").iter().enumerate() {
        seeds.report(n, &read(path));
    }
    for (n, path) in found("*/*/spool.tar.gz").iter().enumerate() {
        seeds.spool(n, path);
    }
    seeds.add("told", "pairs", &[0], b"old,new\n0,1\n\"a \"\"b\"\"\",c\n");
    seeds.add(
        "told",
        "words",
        &[1],
        b"2.2.13\n3.0.0-beta2\ncyrus-imapd_3.6.1-4+deb12u5\nv2.4.22\n3.6.1~rc1\n0=1\n./a=b\n0.5%\n40\n2.3",
    );
    seeds.add("told", "list", &[2], b"list from 2.2.13 to 3.6.1 rights rewritten");
    seeds.add("told", "end", &[2], b"end 103");
    seeds.0
}

struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: impl ToString, choices: &[u8], thing: &[u8]) {
        self.0.push(Seed { target, name: name.to_string(), input: [choices, thing].concat() });
    }

    fn dump(&mut self, n: usize, list: &[u8]) {
        // Neighbours are much alike.
        self.entries(&n.to_string(), list.split_inclusive(|b| *b == b'\n').step_by(7));
        let begun = &list[..list.len().min(3000)];
        let begun = &begun[..begun.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)];
        let few: Vec<&[u8]> = list.split_inclusive(|b| *b == b'\n').take(5).collect();
        let mut few = few.concat();
        if list.starts_with(b"{") {
            few.truncate(few.trim_ascii_end().strip_suffix(b",").unwrap_or(few.trim_ascii_end()).len());
            few.extend_from_slice(b"\n}\n");
        }
        for flags in [0, 0o24, 0o31, 0o33, 0o37, 0o63] {
            let to = choice(n, RELEASES.len() + 1);
            self.add("list", format!("{n}-{flags:o}"), &[nobody(), to, flags, 15], begun);
            self.add("list", format!("{n}-{flags:o}-whole"), &[nobody(), to, flags, 5], &few);
        }
    }

    /// Entry by entry: every release takes its turn as the target.
    fn entries<'l>(&mut self, list: &str, lines: impl Iterator<Item = &'l [u8]>) {
        for (i, line) in lines.enumerate() {
            let entry = line.strip_suffix(b"\n").unwrap_or(line);
            let name = format!("{list}-{i}");
            let mut fields = entry.splitn(3, |b| *b == b'\t');
            let (mailbox, acl) = (fields.next().unwrap_or_default(), fields.nth(1));
            match entry.first() {
                Some(b'"') => {
                    let to = RELEASES.iter().rposition(|release| release.told() == "3.6.1").unwrap_or(0);
                    let to = to + i % (RELEASES.len() - to);
                    let entry = entry.strip_suffix(b",").unwrap_or(entry);
                    self.add("json", &name, &[nobody(), to as u8, 0], entry);
                }
                Some(b'{' | b'}') => {}
                _ => self.add("text", &name, &[nobody(), choice(i, RELEASES.len() + 1)], entry),
            }
            if let Some(acl) = acl {
                self.add("acl", &name, &[0, 0, 1, 2, 0], acl);
            }
            self.add("path", &name, &[choice(i, 96)], mailbox);
        }
    }

    /// What is nearly a dump, and the text of databases.
    fn report(&mut self, n: usize, list: &[u8]) {
        for flags in [0, 0o23, 0o24] {
            for (i, step) in [0, 5, 40].into_iter().enumerate() {
                let to = choice(n * 7 + i, RELEASES.len());
                self.add("list", format!("report-{n}-{flags:o}-{i}"), &[nobody(), to, flags, step], list);
            }
        }
        for (i, line) in list.split_inclusive(|b| *b == b'\n').enumerate() {
            for to in 0..RELEASES.len() {
                self.add("record", format!("report-{n}-{i}-{to}"), &[nobody(), to as u8], line);
            }
        }
        for (i, record) in [
            &b"user.b\t%(A %(\"j d\" lrs {3+}\r\na\"b l) I 5d01 P p S be T rc V 1 C 2 F 3 M 4)\n"[..],
            b"user.b\t%(A %() I 5d01 T d M 4)\n",
            b"Ne.com\x1duser\x1fj.d\x1fa\t%(T el I id J P-F P p V 1 C 2 F 3 M 4 A %(\"x y\" l))\n",
            b"Iid\t%(T e N {9+}\r\nuser\x1fa\nb P p M 4 A %(b l) H (%(N old M 1 T e P p)))\n",
            b"user.b\t1 be!p b\xff\x89lrs\xff\x89\xff\xff\xff\x89l\xff\x89\n",
            b"AU\x1eb\x1euser\x1fa\t\n",
            b"$RACL\t3\n",
        ]
        .into_iter()
        .enumerate()
        {
            self.add(
                "record",
                format!("made-{n}-{i}"),
                &[choice(n + i, RELEASES.len() + 1), choice(n, RELEASES.len())],
                record,
            );
        }
    }

    /// What loaders were fed with.
    fn probes(&mut self, n: usize, path: &Path) {
        let release = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("a release");
        let dialect = release.parse::<Release>().expect(release).dialect();
        let probes = output("gzip", &["-dc", &path.display().to_string()]);
        for (i, probe) in String::from_utf8_lossy(&probes).lines().enumerate() {
            let probe: serde_json::Value = serde_json::from_str(probe).expect("a line of JSON");
            let input = probe["input"].as_str().expect("an input");
            let mut input = BASE64_STANDARD.decode(input).expect("the input in base64");
            if dialect == Dialect::Json {
                // Each byte was taken for a character when these were written down.
                let text = String::from_utf8(input).expect("characters");
                input = text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect();
            }
            if input.len() > 2250 {
                continue;
            }
            let to = choice(i + RELEASES.len() - 4, RELEASES.len());
            self.add("list", format!("probe-{n}-{i}"), &[nobody(), to, 0o23, 7], &input);
            let members = input.strip_prefix(b"{").filter(|rest| rest.starts_with(b"\"")).unwrap_or(&input);
            let members = members.strip_suffix(b"}\n").filter(|rest| rest.ends_with(b"}")).unwrap_or(members);
            self.entries(&format!("probe-{n}-{i}"), members.split_inclusive(|b| *b == b'\n'));
        }
    }

    /// Headers without their magic, which the target puts before them, and indexes.
    fn spool(&mut self, n: usize, path: &Path) {
        let path = path.display().to_string();
        let listed = output("tar", &["-tzf", &path]);
        let mut names: Vec<&str> = std::str::from_utf8(&listed).expect("names of ours").lines().collect();
        names.sort_unstable();
        let headers = names.iter().filter(|name| name.ends_with("/cyrus.header")).take(5);
        for (i, header) in headers.enumerate() {
            let text = output("tar", &["-xzOf", &path, header]);
            let behind = text.splitn(4, |b| *b == b'\n').nth(3).unwrap_or_default();
            self.add("header", format!("{n}-{i}"), &[1], behind);
            let index = header.replace("cyrus.header", "cyrus.index");
            if names.contains(&index.as_str()) {
                let bytes = output("tar", &["-xzOf", &path, &index]);
                self.add("header", format!("{n}-{i}-index"), &[2], &bytes[..bytes.len().min(192)]);
            }
        }
    }
}

/// The choice of no release.
fn nobody() -> u8 {
    RELEASES.len() as u8
}

/// Every choice takes its turn.
fn choice(n: usize, of: usize) -> u8 {
    (n % of) as u8
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file of the corpus")
}

/// The files of the corpus that a pattern of the shell finds.
fn found(corpus: &Path, pattern: &str) -> Vec<PathBuf> {
    let paths = output("sh", &["-c", &format!("ls -1 \"$0\"/{pattern}"), &corpus.display().to_string()]);
    let paths: Vec<PathBuf> = String::from_utf8_lossy(&paths).lines().map(PathBuf::from).collect();
    assert!(!paths.is_empty(), "{pattern}");
    paths
}

fn output(program: &str, words: &[&str]) -> Vec<u8> {
    let ran = Command::new(program).args(words).output().expect(program);
    assert!(ran.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}
