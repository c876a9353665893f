//! The stage on which the tests play: the six filters as processes, real lists, and spools unpacked for one test.

pub mod cyrus;
pub mod hosts;
pub mod old;
pub mod servers;

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// What a process did.
pub struct Ran {
    pub status: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            status: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The whole of it, for a failing test.
    pub fn tell(&self) -> String {
        format!("status {}\nstdout: {}\nstderr: {}", self.status, String::from_utf8_lossy(&self.out), self.err)
    }

    pub fn lines(&self) -> Vec<Vec<u8>> {
        lines(&self.out)
    }

    #[track_caller]
    pub fn expect(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{}", self.tell());
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.err.contains(text), "{text:?} is not said\n{}", self.tell());
        self
    }

    #[track_caller]
    pub fn writes(self, bytes: &[u8]) -> Ran {
        assert!(self.out == bytes, "wanted: {}\n{}", String::from_utf8_lossy(bytes), self.tell());
        self
    }
}

pub fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

/// A list of so many entries with its seal, as the first filter writes it.
pub fn sealed(releases: &str, list: &[u8], entries: impl std::fmt::Display) -> Vec<u8> {
    let begun = [b"!mbx-list", releases.as_bytes(), b"\n", list].concat();
    let end = format!("!mbx-end {entries} {:08x}\n", crc32fast::hash(&begun));
    [&begun, end.as_bytes()].concat()
}

/// A walk that looks random, and is the same in every run.
pub struct Walk(pub u64);

impl Walk {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Random moments within what something takes. Other work on the machine changes how long that is between the measuring
/// and the trials, so each moment that came too late or too early is learnt from.
pub struct Moments {
    takes: Duration,
    walk: Walk,
}

impl Moments {
    pub fn within(takes: Duration) -> Moments {
        Moments { takes, walk: Walk(0x9e37_79b9_7f4a_7c15) }
    }

    pub fn next(&mut self) -> Duration {
        self.takes.mul_f64(self.walk.below(1_000) as f64 / 1_000.0)
    }

    /// At this moment it had ended.
    pub fn too_late(&mut self, moment: Duration) {
        self.takes = self.takes.min(moment.max(Duration::from_millis(1)));
    }

    /// At this moment it had not yet begun.
    pub fn too_early(&mut self) {
        self.takes = self.takes.mul_f64(1.25);
    }
}

/// Says that `what` is skipped, past the test harness, which would swallow it. `make check` says it again at its end:
/// MBX_SKIPPED names the file that collects it. A failure where the variable `required` is 1.
pub fn skip(what: &str, required: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what} ***");
    if let Some(path) = std::env::var_os("MBX_SKIPPED") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
    }
    assert!(std::env::var_os(required).is_none_or(|value| value != "1"), "{required}=1: {what}");
}

/// Who is to own what is made: for root somebody else, as it is on a server.
pub fn owner() -> String {
    let meta = std::fs::metadata("/proc/self").unwrap();
    let [uid, gid] = if meta.uid() == 0 { [1, 1] } else { [meta.uid(), meta.gid()] };
    format!("{uid}:{gid}")
}

/// The directory of the filters.
pub fn bin() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_mbx-parse")).parent().unwrap().to_path_buf()
}

/// A filter of the six with its options, `mbx-` left out, ready to be changed.
pub fn command(filter: &str, args: &[&str]) -> Command {
    let mut command = Command::new(bin().join(format!("mbx-{filter}")));
    command.args(args);
    if matches!(filter, "check-paths" | "mkmeta") {
        // The spools of these tests belong to whoever runs them, which may be root.
        command.env("CYRUS_USER", "root");
    }
    command
}

/// Runs a filter on bytes.
pub fn run(filter: &str, args: &[&str], input: &[u8]) -> Ran {
    feed(command(filter, args), input)
}

/// The same with a command that is ready to be started.
pub fn feed(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the filters are built");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // A filter may stop early; what it says of that is the test's to judge.
        let _ = stdin.write_all(&input);
    });
    let ran = Ran::of(child.wait_with_output().unwrap());
    feeder.join().unwrap();
    ran
}

/// Whether this test has what it needs: root and, with `mounts`, mounts of its own. Says so if it is skipped.
pub fn has_root(mounts: bool) -> bool {
    let may_mount = || Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    let skipped = match std::fs::metadata("/proc/self").unwrap().uid() {
        0 if !mounts || may_mount() => return true,
        0 => "there are no mounts of one's own here (unshare -m)",
        _ => "it needs root",
    };
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    skip(&format!("{name}: {skipped}"), "MBX_REQUIRE_TOOLS");
    false
}

/// The command in a mount namespace of its own, in which `script` was run before.
pub fn in_mounts(script: &str, command: &Command) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["-m", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// Runs a shell script in `dir` with the filters in PATH.
pub fn sh(dir: &Path, script: &str) -> Ran {
    let path = format!("{}:{}", bin().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(dir).env("PATH", path);
    // As above, unless the spool was handed over to the Cyrus user, whose programs obey this, too.
    if std::fs::metadata(dir).unwrap().uid() == 0 {
        shell.env("CYRUS_USER", "root");
    }
    Ran::of(shell.output().unwrap())
}

/// The corpus.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(corpus().join(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// The releases whose JSON lists are in the corpus.
pub const JSON_RELEASES: [&str; 2] = ["3.6.1", "3.13.7"];

/// The releases whose text lists are in the corpus.
pub const RELEASES: [&str; 4] = ["2.2.13", "2.3.7", "2.4.22", "3.0.18"];

/// Every text list of the corpus: release, variant, bytes.
pub fn dumps() -> Vec<(&'static str, String, Vec<u8>)> {
    let all = dumps_of(&RELEASES);
    assert!(all.len() >= 28);
    all
}

/// Every JSON list of the corpus but those that are no JSON.
pub fn json_dumps() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut all = dumps_of(&JSON_RELEASES);
    all.retain(|(_, variant, _)| variant != "broken-utf8");
    assert!(all.len() >= 24);
    all
}

fn dumps_of(releases: &[&'static str]) -> Vec<(&'static str, String, Vec<u8>)> {
    let mut all = Vec::new();
    for &release in releases {
        let mut variants: Vec<_> = std::fs::read_dir(corpus().join(release))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        variants.sort();
        for variant in variants {
            let name = variant.file_name().unwrap().to_str().unwrap().to_string();
            all.push((release, name, std::fs::read(variant.join("dump.txt")).unwrap()));
        }
    }
    all
}

/// One entry of a JSON list, as far as a loader keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Letters of the type, each once, numbers without zeros before them, partition, uniqueid and server.
    pub fields: Vec<String>,
    /// None if it is no object.
    pub acl: Option<BTreeMap<String, String>>,
}

/// What a list says: mailbox, and the rest.
pub type Said = BTreeMap<String, Entry>;

/// Reads a JSON list; none if it is no JSON.
pub fn said(list: &[u8]) -> Option<Said> {
    let list: Map<String, Value> = serde_json::from_slice(list).ok()?;
    let entry = |entry: &Value| {
        let text = |member: &str| entry[member].as_str().map_or_else(|| format!("no {member}"), str::to_string);
        let number = |member: &str| match text(member) {
            digits if digits.len() > 1 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.trim_start_matches('0').to_string()
            }
            text => text,
        };
        let mut letters: Vec<char> = text("mbtype").chars().collect();
        // Flags are read in any order, and no type is the type of mail.
        if letters.first().is_none_or(|first| !"ensfpjbca".contains(*first)) {
            letters.insert(0, 'e');
        }
        letters[1..].sort_unstable();
        letters.dedup();
        // f is read among the flags, too.
        if letters.starts_with(&['e', 'f']) {
            letters.remove(0);
        }
        let numbers = ["uidvalidity", "createdmodseq", "foldermodseq"].map(number);
        let others = ["partition", "uniqueid", "server"].map(text);
        let rights = |rights: &Value| rights.as_str().map_or_else(|| rights.to_string(), str::to_string);
        let pairs = entry["acl"].as_object().map(|acl| acl.iter());
        Entry {
            fields: [&[letters.into_iter().collect()][..], &numbers, &others].concat(),
            acl: pairs.map(|pairs| pairs.map(|(identifier, given)| (identifier.clone(), rights(given))).collect()),
        }
    };
    Some(list.iter().map(|(name, value)| (name.clone(), entry(value))).collect())
}

/// A directory of one test, with a spool of the corpus unpacked and its imapd.conf pointing there.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub fn empty() -> Sandbox {
        Sandbox { dir: tempfile::tempdir().unwrap() }
    }

    /// Where a sync costs nothing.
    pub fn in_memory() -> Sandbox {
        Sandbox { dir: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    pub fn of(release: &str, variant: &str) -> Sandbox {
        Sandbox::empty().with(release, variant)
    }

    /// Unpacks a spool of the corpus.
    pub fn with(self, release: &str, variant: &str) -> Sandbox {
        let sandbox = self;
        let from = corpus().join(release).join(variant);
        let tar = Command::new("tar")
            .args(["--no-same-owner", "-xzf"])
            .arg(from.join("spool.tar.gz"))
            .arg("-C")
            .arg(sandbox.path())
            .status()
            .unwrap();
        assert!(tar.success());
        std::fs::copy(from.join("dump.txt"), sandbox.path().join("old.dump")).unwrap();
        sandbox.conf("old.conf", &std::fs::read_to_string(from.join("imapd.conf")).unwrap());
        sandbox
    }

    /// The spool of the 2006 migration: the 2.2.13 one, its partitions renamed, and the new server's imapd.conf.
    pub fn migrated() -> Sandbox {
        let sandbox = Sandbox::of("2.2.13", "flat");
        for (old, new) in [("default", "3"), ("0", "4")] {
            std::fs::rename(sandbox.path().join("spool").join(old), sandbox.path().join("spool").join(new)).unwrap();
        }
        sandbox.conf("new.conf", &String::from_utf8(read("migration/imapd.conf")).unwrap());
        sandbox
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_string()
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path().join(name), bytes).unwrap();
        self.file(name)
    }

    /// Writes an imapd.conf with `/cyrus` made this sandbox.
    pub fn conf(&self, name: &str, text: &str) -> String {
        self.write(name, text.replace("/cyrus", self.path().to_str().unwrap()))
    }

    pub fn sh(&self, script: &str) -> Ran {
        sh(self.path(), script)
    }
}

/// The first three lines of every cyrus.header.
pub const MAGIC: &[u8] = b"\xa1\x02\x8b\x0dCyrus mailbox header\n\
    \"The best thing about this system was that it had lots of goals.\"\n\t--Jim Morris on Andrew\n";

/// A cyrus.header of the user's INBOX in the form of a release: `lines`, `dlist`, or `dlist with J` of 3.13.
pub fn header_of(form: &str, mailbox: &str, uniqueid: &str, owner: &str) -> Vec<u8> {
    let jmap_id = if form == "dlist with J" { " J P-F" } else { "" };
    let text = match form {
        "lines" => format!("\t{uniqueid}\n\n{owner}\tlrswipkxtecdan\t\n"),
        _ => format!("%(T el N {mailbox} I {uniqueid}{jmap_id} A %({owner} lrswipkxtecdan))\n"),
    };
    [MAGIC, text.as_bytes()].concat()
}

/// The length of the header and of a record of a cyrus.index, by minor version (facts/headers.md 2).
pub fn index_sizes(minor: u32) -> (usize, u32) {
    match minor {
        0..=6 => (76, 60),
        7 => (76, 72),
        8 => (92, 80),
        9 => (96, 80),
        10 | 11 => (96, 88),
        12 => (128, 96),
        13 => (128, 104),
        14 | 15 => (160, 104),
        16..=19 => (160, 112),
        _ => (192, 144),
    }
}

/// A cyrus.index of a mailbox without messages.
pub fn index_of(minor: u32, uidvalidity: u32) -> Vec<u8> {
    let (length, record) = index_sizes(minor);
    let mut index = vec![0; length];
    let validity_at = if minor >= 20 { 92 } else { 44 };
    for (at, word) in [(8, minor), (12, u32::try_from(length).unwrap()), (16, record), (validity_at, uidvalidity)] {
        index[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    if minor >= 12 {
        let sum = crc32fast::hash(&index[..length - 4]);
        index[length - 4..].copy_from_slice(&sum.to_be_bytes());
    }
    index
}

/// The counts of a closing line: in, out, and the sum of everything else that is not in brackets.
pub fn account(err: &str) -> (u64, u64, u64) {
    let line = err.lines().last().expect("a closing line");
    let mut text = line.split_once(": ").expect("tool: account").1.to_string();
    while let (Some(open), Some(close)) = (text.find('('), text.find(')')) {
        text.replace_range(open..=close, "");
    }
    let (mut read, mut written, mut rest) = (0, 0, 0);
    for part in text.split(", ") {
        let (number, what) = part.trim().split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let number: u64 = number.replace(',', "").parse().unwrap_or_else(|_| panic!("{line}"));
        match what.trim() {
            "in" => read = number,
            "out" => written = number,
            _ => rest += number,
        }
    }
    (read, written, rest)
}

/// What `mbx-check-paths` says of directories that the new server will look for elsewhere: mailbox, partition, here, there.
pub fn told_to_move<'a>(err: &'a str, release: &str) -> Vec<[&'a str; 4]> {
    let looks = format!(" is where it was; {release} looks for ");
    let told = err.lines().filter(|line| line.starts_with("mbx-check-paths: "));
    let told = told.filter_map(|line| {
        let (partition, rest) = line.split_once(": the directory must move (in partition ")?.1.split_once(", ")?;
        let (here, rest) = rest.split_once(looks.as_str())?;
        let (there, mailbox) = rest.split_once("): ")?;
        Some([mailbox, partition, here, there])
    });
    let told: Vec<_> = told.collect();
    // None has gone by in silence, for being one of too many alike.
    let counted = format!("{} not where the new server will look", told.len());
    assert_eq!(err.contains("not where"), !told.is_empty(), "{err}");
    assert!(told.is_empty() || err.contains(&counted), "{err}");
    told
}
