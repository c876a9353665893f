//! Each option of each filter, alone and with each other, under what can befall a run.
//!
//! The options are those of `--help`, so that a new one is here as soon as it is there; only a value that fits must be
//! added to [`World::words`]. A case is a set of options, a list, a user and an event. A seed draws some of the cases
//! (`MBX_SEED=7` others); `make matrix` runs all of them and prints how many were tried and what became of them.

use crate::harness::{Sandbox, Walk, account, bin, has_root};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// An option, as `--help` has it: `--from`, `RELEASE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flag {
    name: String,
    value: Option<String>,
}

/// All options of a filter but those that print an answer and end.
fn flags_of(filter: &str) -> Vec<Flag> {
    let help = Command::new(bin().join(filter)).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let told = help.lines().filter(|line| line.len() - line.trim_start().len() <= 6);
    let flags: Vec<Flag> = told
        .filter(|line| line.trim_start().starts_with('-') && line.contains("--"))
        .map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| !word.starts_with("--"));
            let name = words.next().unwrap().to_string();
            let value = words.next().map(|value| value.trim_matches(['<', '>']).to_string());
            Flag { name, value }
        })
        .filter(|flag| !["--help", "--version"].contains(&flag.name.as_str()))
        .collect();
    assert!(flags.len() > 8, "{filter}: {help}");
    flags
}

/// Files that a run writes beside the list.
const SIDE: [&str; 5] = ["--reject", "--moves", "--missing", "--report", "--orphans"];

/// The list of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    /// As the server printed it.
    Clean,
    /// With one entry each that some option is about, and at its end one that is refused.
    Odd,
    /// As `mbx-parse --seal` wrote it.
    Sealed,
    Empty,
    /// Bytes that look random.
    Garbage,
}

const LISTS: [List; 5] = [List::Clean, List::Odd, List::Sealed, List::Empty, List::Garbage];

/// A real list with its spool, and what the options name.
struct World {
    sandbox: Sandbox,
    json: bool,
    from: &'static str,
    to: &'static str,
    lists: BTreeMap<List, Vec<u8>>,
    /// Who runs the filters: root, or somebody else to whom all of it belongs.
    uid: Option<u32>,
    mailboxes: u64,
    /// Whether the conditions of the guard are such that the list does not hold.
    strict: bool,
    /// Whether files may have left the spool.
    moved: std::cell::Cell<bool>,
}

/// Everything that can be seen of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    status: i32,
    out: Vec<u8>,
    err: String,
    /// What was written beside the list, and what stands below the metapartitions.
    files: BTreeMap<String, Vec<u8>>,
    /// The command line.
    words: Vec<String>,
}

const PARTITIONS: [&str; 5] = ["default", "0", "1", "2", "part-3"];
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

impl World {
    fn new(json: bool, uid: Option<u32>) -> World {
        let (release, variant, from, to) = match json {
            false => ("2.4.22", "flat", "2.4.22", "3.0.18"),
            true => ("3.6.1", "legacy", "3.6.1", "3.13.7"),
        };
        let sandbox = Sandbox::of(release, variant);
        let conf = String::from_utf8(sandbox.read("old.conf")).unwrap();
        let mut meta = conf.clone();
        for partition in PARTITIONS {
            meta.push_str(&format!("metapartition-{partition}: {}\n", sandbox.file(&format!("meta/{partition}"))));
        }
        sandbox.write("imapd.conf", &conf);
        sandbox.write("meta.conf", meta + "metapartition_files: header index\n");
        // A part of the list is enough: some of each kind.
        let dump = String::from_utf8(sandbox.read("old.dump")).unwrap();
        let entries: Vec<&str> = dump.lines().filter(|line| !["{", "}"].contains(line)).collect();
        let wanted = |at: usize, entry: &str| at % 7 == 0 || entry.contains("backend1") || entry.contains("user.alice");
        // What later releases cannot hold would be refused wherever --to is told.
        let stampless = |entry: &str| ["DELETED\t", "DELETED.user.alice\t"].iter().any(|name| entry.starts_with(name));
        let mut entries: Vec<String> = entries
            .iter()
            .enumerate()
            .filter(|(at, entry)| wanted(*at, entry) && !stampless(entry))
            .map(|(_, entry)| entry.trim_end_matches(',').to_string())
            .collect();
        let written = |entries: &[String]| match json {
            false => entries.iter().map(|entry| format!("{entry}\n")).collect::<String>().into_bytes(),
            true => format!("{{\n{}\n}}\n", entries.join(",\n")).into_bytes(),
        };
        let mut lists = BTreeMap::from([(List::Clean, written(&entries)), (List::Empty, Vec::new())]);
        let mailboxes = entries.len() as u64;
        let odd: &[&str] = match json {
            false => &[
                "user.nobody\t0 default bob\tlrswipcda\t-anyone\tl\tbob\tlrn\t",
                "user.far\t1 backend1.example.com!default anyone\tlrs\t",
                "user.gone\t16 (null) ",
                "user.kept\t2 default a\tlrs\t",
                "user.bad",
            ],
            true => &[
                r#""user.nobody": {"mbtype": "el", "partition": "default", "acl": {"bob": "lrswipcda", "-anyone": "l"}, "uniqueid": "xa"}"#,
                r#""user.far": {"mbtype": "er", "partition": "default", "server": "backend1.example.com", "acl": {"anyone": "lrs"}, "uniqueid": "xb"}"#,
                r#""user.gone": {"mbtype": "d", "partition": "", "acl": {}, "uniqueid": "xc"}"#,
                r#""user.kept": {"mbtype": "ez", "partition": "default", "acl": {"anyone": "lrs"}, "uniqueid": "xd"}"#,
                r#""user.bad": {"mbtype": "?", "partition": "default", "acl": {}}"#,
            ],
        };
        entries.extend(odd.iter().map(|entry| entry.to_string()));
        lists.insert(List::Odd, written(&entries));
        let mut walk = Walk(0x2545_f491_4f6c_dd1d);
        lists.insert(List::Garbage, (0..3_000).map(|_| walk.below(256) as u8).collect());
        let world = World { sandbox, json, from, to, lists, uid, mailboxes, strict: false, moved: Default::default() };
        for (name, text) in [
            ("only", "user.alice\n"),
            ("map.csv", "old,new\ndefault,3\n"),
            ("ids.csv", "old,new\nalice,al\n"),
            ("hashed.conf", &(conf + "hashimapspool: yes\n")),
        ] {
            world.sandbox.write(name, text);
        }
        world.sandbox.write("list", &world.lists[&List::Clean]);
        world.sandbox.write("same", &world.lists[&List::Clean]);
        let sealed = world.sandbox.sh(&format!("mbx-parse --from {from} --seal list")).expect(0).out;
        let mut world = world;
        world.lists.insert(List::Sealed, sealed);
        // An older list, with a name that is lost now and another place.
        let older = String::from_utf8(world.lists[&List::Clean].clone()).unwrap();
        let older = match json {
            false => older.replacen("0 default ", "0 1 ", 1) + "user.lost\t0 default a\tlrs\t\n",
            true => older.replacen("\"partition\": \"default\"", "\"partition\": \"1\"", 1),
        };
        world.sandbox.write("older", older);
        world.sandbox.sh("cp -a spool kept").expect(0);
        world.give_away();
        world
    }

    fn give_away(&self) {
        if let (Some(uid), true) = (self.uid, is_root()) {
            self.sandbox.sh(&format!("chown -R {uid}:{uid} .")).expect(0);
        }
    }

    /// The option with a value that fits.
    fn words(&self, filter: &str, flag: &Flag) -> Vec<String> {
        let name = flag.name.as_str();
        let Some(kind) = flag.value.as_deref() else { return vec![name.to_string()] };
        let dirs = |below: &str| PARTITIONS.iter().map(|part| format!("{part}={below}/{part}")).collect::<Vec<_>>();
        let values = match name {
            "--from" | "--spool-release" => vec![self.from.to_string()],
            // The guard converts nothing: what it loads is of the target already.
            "--to" if filter == "mbx-count-guard" => vec![self.from.to_string()],
            "--to" => vec![self.to.to_string()],
            "--only" => vec!["only".to_string()],
            "--map" => vec!["map.csv".to_string()],
            "--id-map" => vec!["ids.csv".to_string()],
            "--conf" if filter == "mbx-mkmeta" => vec!["meta.conf".to_string()],
            "--conf" => vec!["imapd.conf".to_string()],
            "--spool-conf" => vec!["hashed.conf".to_string()],
            "--baseline" | "--compare-with" => vec![if self.strict { "older" } else { "same" }.to_string()],
            "--compare" => vec!["name".to_string()],
            "--drop" => vec!["deletedprefix,remote".to_string()],
            "--format" => vec!["jsonl".to_string()],
            "--server" => vec!["backend1.example.com=be2".to_string()],
            "--deleteright" => vec!["d".to_string()],
            "--rights" => vec!["lrs=lr".to_string()],
            "--id" => vec!["anyone=all".to_string()],
            "--drop-id" => vec!["bob".to_string()],
            "--grant" => vec!["cyrus=lrswipkxtea".to_string()],
            "--partition" => dirs("spool"),
            "--meta" => dirs("meta"),
            "--jobs" => vec!["2".to_string()],
            "--max-missing" => vec!["0".to_string()],
            "--min" => vec![if self.strict { self.mailboxes + 100 } else { 1 }.to_string()],
            "--expect" => vec![if self.strict { 1 } else { self.mailboxes }.to_string()],
            "--max-lost" => vec!["50%".to_string()],
            "--verify" => vec!["tail -n +2 loaded".to_string()],
            "--prefer" => vec!["spool".to_string()],
            "--owner" => vec![format!("{0}:{0}", self.uid.unwrap_or(1))],
            side if SIDE.contains(&side) => vec![format!("out.{}", &side[2..])],
            _ => panic!("{filter} {name} <{kind}>: a value that fits is wanted in tests/faults/matrix.rs"),
        };
        values.iter().flat_map(|value| [name.to_string(), value.clone()]).collect()
    }

    /// What the filter cannot do without, unless one of `flags` says it otherwise.
    fn base(&self, filter: &str, flags: &[&Flag], with_conf: bool) -> Vec<String> {
        let given = |name: &str| flags.iter().any(|flag| flag.name == name);
        let flag = |name: &str| self.words(filter, &Flag { name: name.to_string(), value: Some(String::new()) });
        let mut words = Vec::new();
        if filter == "mbx-remap-part" {
            words.push("0=4".to_string());
        }
        if ["mbx-check-paths", "mbx-mkmeta"].contains(&filter) {
            let place = match (with_conf, filter) {
                (true, _) => "--conf",
                (false, "mbx-mkmeta") => "--meta",
                (false, _) => "--partition",
            };
            for name in [place, "--from"] {
                if !given(name) {
                    words.extend(flag(name));
                }
            }
        }
        if filter == "mbx-mkmeta" && is_root() && !given("--owner") {
            words.extend(flag("--owner"));
        }
        words
    }

    /// Puts everything in its place again.
    fn reset(&self, filter: &str) {
        for entry in std::fs::read_dir(self.sandbox.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("out.") || name == "loaded" {
                std::fs::remove_file(self.sandbox.path().join(name)).unwrap();
            }
        }
        if filter != "mbx-mkmeta" {
            return;
        }
        if self.moved.take() {
            self.sandbox.sh("rm -rf spool && cp -a kept spool").expect(0);
        }
        let meta = self.sandbox.path().join("meta");
        let _ = std::fs::remove_dir_all(&meta);
        std::fs::create_dir(&meta).unwrap();
        for part in PARTITIONS {
            let dir = meta.join(part);
            std::fs::create_dir(&dir).unwrap();
            if let (Some(uid), true) = (self.uid, is_root()) {
                std::os::unix::fs::chown(&dir, Some(uid), Some(uid)).unwrap();
            }
        }
    }

    /// A run without an event. What an option needs beside it, or cannot be beside, is added or taken out.
    fn plain(&self, filter: &str, flags: &[&Flag], list: List) -> (Case, Seen) {
        let mut case = Case { flags: flags.iter().map(|flag| (*flag).clone()).collect(), with_conf: true };
        loop {
            let seen = self.run(filter, &case, list, Event::None);
            let clash = |name: &str| seen.err.contains("cannot be used with") && seen.err.contains(name);
            if seen.status != 2 {
                return (case, seen);
            } else if let Some((_, needed)) = seen.err.split_once("goes only with") {
                let needed = needed.split(['<', ' ', '|', '>', '(', '\n', '\'']).find(|word| word.starts_with("--"));
                let needed = needed.unwrap_or_else(|| panic!("{filter} {case:?}: {}", seen.err));
                let flag = flags_and_command(filter).into_iter().find(|flag| flag.name == needed).unwrap();
                assert!(!case.flags.contains(&flag), "{filter} {case:?}: {}", seen.err);
                case.flags.push(flag);
            } else if case.with_conf && clash("--conf") && flags.iter().all(|flag| flag.name != "--conf") {
                case.with_conf = false;
            } else {
                return (case, seen);
            }
        }
    }

    fn run(&self, filter: &str, case: &Case, list: List, event: Event) -> Seen {
        self.reset(filter);
        self.sandbox.write("list", &self.lists[&list]);
        let chosen: Vec<&Flag> = case.flags.iter().collect();
        let mut words = self.base(filter, &chosen, case.with_conf);
        let mut command: &[&str] = &[];
        for flag in chosen {
            match (flag.name.as_str(), filter) {
                ("--", "mbx-parse") => command = &["--", "cat", "list"],
                ("--", _) => command = &["--", "sh", "-c", "cat >loaded"],
                _ => words.extend(self.words(filter, flag)),
            }
        }
        let side: Vec<usize> = (1..words.len()).filter(|at| SIDE.contains(&words[at - 1].as_str())).collect();
        match event {
            Event::SideIsInput => words[side[0]] = "list".to_string(),
            Event::SideIsOutput => words[side[0]] = "out.list".to_string(),
            Event::SideIsSide => words[side[1]] = words[side[0]].clone(),
            Event::SideIsFull => side.iter().for_each(|at| words[*at] = "/dev/full".to_string()),
            _ => {}
        }
        let takes_stdin = matches!(event, Event::Stdin | Event::InputIsOutput | Event::PipeIsOutput);
        if !takes_stdin && command.len() != 3 {
            words.push("list".to_string());
        }
        words.extend(command.iter().map(|word| word.to_string()));
        self.moved.set(self.moved.get() || words.iter().any(|word| word == "--move"));
        let (stdin, stdout) = self.streams(list, event);
        let mut run = Command::new("timeout");
        run.args(["-k", "1", "60"]).arg(bin().join(filter)).args(&words).current_dir(self.sandbox.path());
        if is_root() {
            run.env("CYRUS_USER", "root");
        }
        if let (Some(uid), true) = (self.uid, is_root()) {
            run.uid(uid).gid(uid);
        }
        let child = run.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        // With it go our ends of the pipes.
        drop(run);
        let output = child.wait_with_output().unwrap();
        let mut files = BTreeMap::new();
        self.files(Path::new(""), &mut files);
        Seen {
            status: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            files,
            words,
        }
    }

    fn streams(&self, list: List, event: Event) -> (Stdio, Stdio) {
        let open = |name: &str| {
            let path = self.sandbox.path().join(name);
            Stdio::from(File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap())
        };
        let pipe = || -> (OwnedFd, OwnedFd) { rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap() };
        match event {
            Event::Stdin => (open("list"), Stdio::piped()),
            Event::InputIsOutput => (open("list"), open("list")),
            Event::PipeIsOutput => {
                let (reads, writes) = pipe();
                let mut file = File::from(writes);
                let bytes = &self.lists[&list];
                file.write_all(&bytes[..bytes.len().min(60_000)]).unwrap();
                (reads.into(), file.into())
            }
            Event::ReaderGone => (Stdio::null(), pipe().1.into()),
            Event::Full => (Stdio::null(), File::options().write(true).open("/dev/full").unwrap().into()),
            Event::SideIsOutput => (Stdio::null(), open("out.list")),
            _ => (Stdio::null(), Stdio::piped()),
        }
    }

    /// What a run wrote, and what is below the metapartitions.
    fn files(&self, below: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(self.sandbox.path().join(below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            let name = path.to_str().unwrap().to_string();
            let here = self.sandbox.path().join(&path);
            let meta = std::fs::symlink_metadata(&here).unwrap();
            if path.starts_with("meta") {
                let told = format!("{:o} {} {}", meta.mode(), meta.uid(), if meta.is_dir() { 0 } else { meta.len() });
                found.insert(name, told.into_bytes());
                if meta.is_dir() {
                    self.files(&path, found);
                }
            } else if name.starts_with("out.") || name == "loaded" || name == "list" {
                found.insert(name, std::fs::read(&here).unwrap());
            }
        }
    }

    fn entries(&self, list: &[u8]) -> u64 {
        let lines = list.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"!mbx-"));
        match self.json && list.contains(&b'{') {
            true => lines.filter(|line| line.starts_with(b"\"")).count() as u64,
            false => lines.filter(|line| **line != *b"\n").count() as u64,
        }
    }

    /// What holds of a run without an event.
    fn plain_laws(&self, filter: &str, case: &Case, list: List, seen: &Seen) -> Result<(), String> {
        let has = |name: &str| case.flags.iter().any(|flag| flag.name == name);
        if seen.err.contains("cannot be used with") {
            let named = case.flags.iter().any(|flag| seen.err.contains(&flag.name));
            return law(seen.status == 2 && named, "a clash of options is status 2 and names one");
        }
        law(list != List::Garbage || seen.status != 0, "garbage is no list")?;
        law(list != List::Empty || seen.status != 0 || has("--allow-empty"), "an empty list is none")?;
        let closing = seen.err.lines().last().unwrap_or_default();
        let counted = closing.starts_with(&format!("{filter}: ")) && closing.contains(" in, ");
        let kept = |name: &str| seen.files.get(&format!("out.{name}")).map(|list| self.entries(list));
        let aborted = seen.out.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"!mbx-abort"));
        if seen.status == 1 && has("--reject") && counted && !aborted && list != List::Garbage {
            law(kept("reject") == Some(count_of(closing, "refused")), "what is refused is in --reject")?;
        }
        if seen.status != 0 {
            let says = seen.out.is_empty() || aborted || seen.status == 1;
            return law(says, "trouble goes down the pipe as an abort mark");
        }
        law(!aborted, "an abort is not status 0")?;
        let came = self.entries(&self.lists[&list]);
        let no_list = match filter {
            "mbx-parse" => ["--format", "--summary", "--dry-run"].iter().any(|name| has(name)),
            _ => has("--") && filter == "mbx-count-guard",
        };
        let is_list = !no_list;
        let written = match counted {
            true => {
                let (read, written, rest) = account(&seen.err);
                law(read == came && read == written + rest, "in = out + what became of the rest")?;
                written
            }
            false => {
                law(has("--quiet"), "there is a closing line")?;
                came
            }
        };
        law(!is_list || self.entries(&seen.out) == written, "the closing line counts what went out")?;
        law(kept("reject").unwrap_or(0) == 0, "nothing is refused with status 0")?;
        if let Some(missing) = kept("missing") {
            let told = count_of(closing, "missing") + count_of(closing, "missing, kept");
            law(missing == told, "what is missing is in --missing, and counted")?;
        }
        if let Some(loaded) = seen.files.get("loaded") {
            law(self.entries(loaded) == came, "the command gets the whole list")?;
        }
        let converts = ["--to", "--seal", "--sealed", "--fill", "--rights-rewritten"].iter().any(|name| has(name));
        if is_list && !converts && closing == format!("{filter}: {came} in, {came} out") {
            law(seen.out == self.lists[&list], "without a change the bytes are the same")?;
        }
        Ok(())
    }

    /// What holds of a run with an event, of which `plain` was without.
    fn event_laws(&self, list: List, event: Event, plain: &Seen, seen: &Seen) -> Result<(), String> {
        let same_list = seen.files.get("list") == Some(&self.lists[&list]);
        law(same_list, "the list is as it was")?;
        let writes = !plain.out.is_empty();
        match event {
            Event::None => Ok(()),
            Event::Stdin => {
                // But for the name of the file in an abort mark.
                let same = |seen: &Seen| {
                    let lines = seen.out.split_inclusive(|byte| *byte == b'\n');
                    lines.filter(|line| !line.starts_with(b"!mbx-abort")).collect::<Vec<_>>().concat()
                };
                law(seen.status == plain.status && same(seen) == same(plain), "stdin is as good as a file")
            }
            Event::InputIsOutput
            | Event::PipeIsOutput
            | Event::SideIsInput
            | Event::SideIsOutput
            | Event::SideIsSide => {
                law(seen.status == 2 && seen.err.contains("writ"), "what is read or written is not written to")
            }
            Event::ReaderGone => match (writes, plain.status) {
                (false, status) => law(seen.status == status, "without output no reader is missed"),
                (true, 0) => law(seen.status == 141, "a reader that went away is 141"),
                (true, status) => law([141, status].contains(&seen.status), "a reader that went away is no success"),
            },
            Event::Full => match writes {
                false => law(seen.status == plain.status, "without output nothing is full"),
                true => law(seen.status == 2 || (seen.status == plain.status && seen.status != 0), "full is trouble"),
            },
            Event::SideIsFull => {
                let wrote = |(name, bytes): (&String, &Vec<u8>)| name.starts_with("out.") && !bytes.is_empty();
                match plain.files.iter().any(wrote) {
                    true => law(seen.status == 2, "a full side file is trouble"),
                    false => law(seen.status == plain.status, "a side file with nothing in it is never full"),
                }
            }
        }
    }
}

fn law(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

/// The number before `what` in a closing line.
fn count_of(closing: &str, what: &str) -> u64 {
    let parts = closing.split([':', '(', ')']).flat_map(|part| {
        // A label may have a comma in it.
        let words: Vec<&str> = part.split(", ").collect();
        let pairs: Vec<String> = words.windows(2).map(|pair| pair.join(", ")).collect();
        words.into_iter().map(str::to_string).chain(pairs).collect::<Vec<_>>()
    });
    let number = |part: String| part.trim().strip_suffix(what)?.trim_end().parse::<u64>().ok();
    parts.filter_map(number).next().unwrap_or(0)
}

/// What was chosen, with what that needs.
#[derive(Clone, Debug)]
struct Case {
    flags: Vec<Flag>,
    /// Whether the spool is told by `--conf`.
    with_conf: bool,
}

/// What befalls a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    None,
    /// The list comes as stdin.
    Stdin,
    ReaderGone,
    Full,
    InputIsOutput,
    PipeIsOutput,
    SideIsInput,
    SideIsOutput,
    SideIsSide,
    SideIsFull,
}

const EVENTS: [Event; 9] = [
    Event::Stdin,
    Event::ReaderGone,
    Event::Full,
    Event::InputIsOutput,
    Event::PipeIsOutput,
    Event::SideIsInput,
    Event::SideIsOutput,
    Event::SideIsSide,
    Event::SideIsFull,
];

/// Whether an event can befall a run.
fn befalls(event: Event, filter: &str, case: &Case) -> bool {
    let sides = case.flags.iter().filter(|flag| SIDE.contains(&flag.name.as_str())).count();
    let command = case.flags.iter().any(|flag| flag.name == "--");
    match event {
        Event::SideIsSide => sides > 1,
        Event::SideIsInput => sides > 0 && !(command && filter == "mbx-parse"),
        Event::SideIsOutput | Event::SideIsFull => sides > 0,
        Event::Stdin | Event::InputIsOutput | Event::PipeIsOutput => !(command && filter == "mbx-parse"),
        Event::None | Event::ReaderGone | Event::Full => true,
    }
}

/// Every option, and every two.
fn sets(flags: &[Flag]) -> Vec<Vec<&Flag>> {
    let singles = flags.iter().map(|flag| vec![flag]);
    let pairs =
        flags.iter().enumerate().flat_map(|(at, one)| flags[at + 1..].iter().map(move |other| vec![one, other]));
    std::iter::once(Vec::new()).chain(singles).chain(pairs).collect()
}

fn flags_and_command(filter: &str) -> Vec<Flag> {
    let mut flags = flags_of(filter);
    if ["mbx-parse", "mbx-count-guard"].contains(&filter) {
        flags.push(Flag { name: "--".to_string(), value: None });
    }
    flags
}

/// Draws `cases` of the cases of a filter, or takes all.
fn try_all(filter: &str, cases: usize) {
    let all = std::env::var("MBX_MATRIX").is_ok_and(|value| value == "all");
    let seed = std::env::var("MBX_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let flags = flags_and_command(filter);
    // Without root there is no other user to be.
    let users: &[Option<u32>] = if has_root(false) { &[None, Some(NOBODY)] } else { &[None] };
    let worlds: Vec<World> =
        [false, true].iter().flat_map(|json| users.iter().map(|uid| World::new(*json, *uid))).collect();
    let sets = sets(&flags);
    let mut plains: Vec<(usize, usize, List)> = (0..sets.len())
        .flat_map(|set| (0..worlds.len()).flat_map(move |world| LISTS.map(|list| (set, world, list))))
        .collect();
    let possible = plains.len();
    if !all {
        let mut walk = Walk(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        for at in 0..cases.min(possible) {
            plains.swap(at, at + walk.below((possible - at) as u64) as usize);
        }
        plains.truncate(cases);
    }
    let (mut tried, mut opened, mut refused, mut different) = (0, 0, 0, Vec::new());
    let mut walk = Walk(seed.wrapping_mul(2) + 1);
    let skipped = possible - plains.len();
    for (set, world, list) in plains {
        let world = &worlds[world];
        let (case, plain) = world.plain(filter, &sets[set], list);
        let events: Vec<Event> = EVENTS.into_iter().filter(|event| befalls(*event, filter, &case)).collect();
        // What is wrong with the options is so whatever befalls the run.
        let events: Vec<Event> = match (plain.status, all) {
            (2, _) => Vec::new(),
            (_, true) => events,
            (_, false) => vec![events[walk.below(events.len() as u64) as usize]],
        };
        let told = world.plain_laws(filter, &case, list, &plain);
        let mut judge = |event: Event, seen: &Seen, told: Result<(), String>| {
            tried += 1;
            match seen.status {
                0 => opened += 1,
                _ => refused += 1,
            }
            let alive = law([0, 1, 2, 141].contains(&seen.status) && !seen.err.contains("panicked at"), "it ends well");
            if let Err(broken) = alive.and(told) {
                let (json, uid) = (world.json, world.uid);
                let last: Vec<&str> = seen.err.lines().rev().take(3).collect();
                different.push(format!(
                    "{filter} {}: {list:?}, json {json}, uid {uid:?}, {event:?}: {broken}\n  status {}: {}",
                    seen.words.join(" "),
                    seen.status,
                    last.into_iter().rev().map(|line| &line[..line.len().min(300)]).collect::<Vec<_>>().join("\n  ")
                ));
            }
        };
        judge(Event::None, &plain, told);
        for event in events {
            let seen = world.run(filter, &case, list, event);
            let told = world.event_laws(list, event, &plain, &seen);
            judge(event, &seen, told);
        }
    }
    println!(
        "{filter}: {tried} tried, {opened} opened, {refused} refused, {} different, {skipped} cases skipped",
        different.len()
    );
    assert!(different.is_empty(), "{}", different[..different.len().min(30)].join("\n"));
    assert!(opened > tried / 20 && refused > tried / 20, "{tried} tried, {opened} opened, {refused} refused");
}

/// What options do beside others: runs with and without them, each made once.
struct Effects<'w> {
    filter: &'w str,
    world: &'w World,
    list: List,
    seen: BTreeMap<(Vec<Flag>, bool), Seen>,
}

impl Effects<'_> {
    fn seen(&mut self, case: &Case) -> Seen {
        let mut key = case.flags.clone();
        key.sort();
        let (world, filter, list) = (self.world, self.filter, self.list);
        let run = || Seen { words: Vec::new(), ..world.run(filter, case, list, Event::None) };
        self.seen.entry((key, case.with_conf)).or_insert_with(run).clone()
    }

    /// Whether `one` does anything beside `others`; nothing if they cannot be together, or `one` cannot be left out.
    fn of(&mut self, one: &Flag, others: &[&Flag]) -> Option<bool> {
        let (case, _) = self.world.plain(self.filter, &[&[one], others].concat(), self.list);
        let with = self.seen(&case);
        let flags = case.flags.iter().filter(|flag| *flag != one).cloned().collect();
        let without = self.seen(&Case { flags, ..case });
        (with.status != 2 && without.status != 2).then(|| with != without)
    }
}

/// An option that does nothing beside another is not silently accepted, or is here: the first does nothing beside the
/// second, and why that is right.
const SILENT: [(&str, &[&str], &[&str], &str); 8] = [
    ("mbx-count-guard", &["--allow-empty"], &["--sealed"], "no list here is empty and sealed"),
    ("mbx-parse", &["--allow-empty"], &["--require-end"], "no list here is empty and has its end mark"),
    ("mbx-parse", &["--seal"], &["--dry-run"], "-n writes nothing, so that a check takes the options of the night"),
    ("mbx-parse", &["--"], &["--summary"], "the same list, from a command"),
    ("mbx-parse", &["--dry-run"], &["--summary", "--format"], "neither writes the list"),
    ("mbx-remap-part", &["--server"], &["--strict", "--conf"], "the list is refused before its remote mailbox"),
    (
        "mbx-acl-rewrite",
        &["--from"],
        &["--rights", "--id", "--id-map", "--drop-id", "--rights-rewritten", "--grant"],
        "a fact of the list, that only the default rewrite asks for",
    ),
    ("mbx-check-paths", &["--hashimapspool"], &["--dry-run"], "where it would look is in --report only"),
];

/// Asks it of so many pairs, or of all; tells which are silent.
fn silent_pairs(filter: &str, wanted: usize) -> Vec<(String, String)> {
    let all = std::env::var("MBX_MATRIX").is_ok_and(|value| value == "all");
    let seed = std::env::var("MBX_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let flags = flags_and_command(filter);
    let worlds = [false, true].map(|json| World { strict: true, ..World::new(json, None) });
    let lists = [List::Clean, List::Odd, List::Sealed, List::Empty];
    let mut effects: Vec<Effects<'_>> = worlds
        .iter()
        .flat_map(|world| lists.map(|list| Effects { filter, world, list, seen: BTreeMap::new() }))
        .collect();
    let mut pairs: Vec<(usize, usize)> =
        (0..flags.len()).flat_map(|one| (0..flags.len()).map(move |other| (one, other))).collect();
    pairs.retain(|(one, other)| one != other);
    if !all {
        let mut walk = Walk(seed.wrapping_mul(2) + 1);
        for at in 0..wanted.min(pairs.len()) {
            let other = at + walk.below((pairs.len() - at) as u64) as usize;
            pairs.swap(at, other);
        }
        pairs.truncate(wanted);
    }
    let mut silent = Vec::new();
    for (one, other) in &pairs {
        let (one, other) = (&flags[*one], &flags[*other]);
        let mut told: Vec<bool> = Vec::new();
        for effects in &mut effects {
            if effects.of(one, &[]) == Some(true) {
                told.extend(effects.of(one, &[other]));
            }
        }
        if !told.is_empty() && !told.contains(&true) {
            silent.push((one.name.clone(), other.name.clone()));
        }
    }
    let known = |(one, other): &(String, String)| {
        let row = |(of, ones, others, _): &(&str, &[&str], &[&str], &str)| {
            *of == filter && ones.contains(&one.as_str()) && others.contains(&other.as_str())
        };
        SILENT.iter().any(row)
    };
    silent.retain(|pair| !known(pair));
    println!("{filter}: {} pairs asked, {} silent: {silent:?}", pairs.len(), silent.len());
    silent
}

#[test]
fn no_option_is_silent_beside_another() {
    let filters =
        ["mbx-parse", "mbx-remap-part", "mbx-acl-rewrite", "mbx-check-paths", "mbx-mkmeta", "mbx-count-guard"];
    let found: Vec<_> = filters.iter().map(|filter| (filter, silent_pairs(filter, 20))).collect();
    let none = found.iter().all(|(_, pairs)| pairs.is_empty());
    assert!(none, "the first does nothing beside the second: {found:?}");
}

/// Each file beside the list on a disk that is full, and on one that is read-only.
#[test]
fn no_room_for_a_file_beside_the_list_is_trouble() {
    let world = World::new(false, None);
    if !has_root(true) {
        return;
    }
    std::fs::create_dir(world.sandbox.path().join("disk")).unwrap();
    let mut asked = 0;
    for filter in ["mbx-parse", "mbx-remap-part", "mbx-acl-rewrite", "mbx-check-paths", "mbx-mkmeta"] {
        for flag in flags_of(filter).iter().filter(|flag| SIDE.contains(&flag.name.as_str())) {
            let (_, plain) = world.plain(filter, &[flag], List::Odd);
            let wrote = plain.files.get(&format!("out.{}", &flag.name[2..])).is_some_and(|bytes| !bytes.is_empty());
            let words = plain.words.join(" ").replace("out.", "disk/out.");
            for (prepare, says, fails) in [
                ("head -c 100000 /dev/zero >disk/zeros 2>/dev/null", "No space left on device", wrote),
                ("mount -o remount,ro disk", "Read-only file system", true),
            ] {
                let script = format!("mount -t tmpfs -o size=64k none disk; {prepare}; {filter} {words}");
                let ran = world.sandbox.sh(&format!("unshare -m sh -c '{script}'"));
                assert_eq!(ran.status == 2, fails, "{script}: {}", ran.tell());
                assert!(!fails || ran.err.contains(says), "{script}: {}", ran.tell());
                let aborted =
                    String::from_utf8_lossy(&ran.out).lines().last().is_some_and(|line| line.starts_with("!mbx-abort"));
                assert!(!fails || aborted, "{script}: {}", ran.tell());
                asked += 1;
            }
        }
    }
    assert!(asked > 14, "{asked}");
}

#[test]
fn parse() {
    try_all("mbx-parse", 250);
}

#[test]
fn remap_part() {
    try_all("mbx-remap-part", 200);
}

#[test]
fn acl_rewrite() {
    try_all("mbx-acl-rewrite", 200);
}

#[test]
fn check_paths() {
    try_all("mbx-check-paths", 250);
}

#[test]
fn mkmeta() {
    try_all("mbx-mkmeta", 150);
}

#[test]
fn count_guard() {
    try_all("mbx-count-guard", 250);
}
