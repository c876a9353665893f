//! The filters and the real loader of Debian's Cyrus 3.6.1 agree about entries that look random: what the filters let
//! through is stored as it said, and what they refuse is not.
//!
//! `MBX_DIFFERENTIAL_ENTRIES=100000` runs longer, `MBX_SEED=7` elsewhere. Skipped, loudly, where Cyrus is not
//! installed; a failure under MBX_REQUIRE_CYRUS=1.

mod entries;
mod oracle;
use crate::harness;
use crate::harness::cyrus::{self, CTL_MBOXLIST};
use crate::harness::{Said, Sandbox, lines, run, said};
use entries::{Odd, Source, TEXTS, Text};
use mbxtools::mailbox::text::Name;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const TO: &str = "3.6.1";

/// As many entries go through the filters and into the loader at a time.
const BATCH: usize = 2_000;

/// If nobody tells how many.
const ENTRIES: u64 = 4_000;

fn told(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// The real loader. It syncs every entry, so its databases stand in memory.
struct Loader {
    sandbox: Sandbox,
}

struct Loaded {
    complaint: String,
    stored: Said,
}

impl Loader {
    fn new() -> Option<Loader> {
        if !cyrus::is_here(&[CTL_MBOXLIST]) {
            return None;
        }
        let sandbox = Sandbox::in_memory();
        std::fs::create_dir_all(sandbox.path().join("conf/db")).unwrap();
        sandbox
            .conf("imapd.conf", "configdirectory: /cyrus/conf\npartition-default: /cyrus/spool\nvirtdomains: userid\n");
        cyrus::hand_over(sandbox.path());
        Some(Loader { sandbox })
    }

    /// What is in a fresh database after a load; an error if the loader died or refused the whole list.
    fn load(&self, list: &[u8]) -> Result<Loaded, String> {
        let (conf, db) = (self.sandbox.file("imapd.conf"), self.sandbox.file("new.db"));
        let _ = std::fs::remove_file(&db);
        let list = File::open(self.sandbox.write("list", list)).unwrap();
        let run = |options: &[&str], stdin: Stdio| {
            let mut command = Command::new(CTL_MBOXLIST);
            command.args(["-C", &conf]).args(options).args(["-f", &db]).stdin(stdin).output().unwrap()
        };
        let loads = run(&["-u"], list.into());
        let complaint = String::from_utf8_lossy(&[loads.stdout, loads.stderr].concat()).into_owned();
        if !loads.status.success() || complaint.contains("parse error") {
            return Err(format!("{}: {complaint}", loads.status));
        }
        // With intermediates.
        let printed = run(&["-d", "-y"], Stdio::null()).stdout;
        let stored = said(&printed).unwrap_or_else(|| panic!("{}", printed.escape_ascii()));
        Ok(Loaded { complaint, stored })
    }
}

/// Those of which the law holds and those of which it does not, by halves.
fn sift<'o>(entries: &[&'o Odd], holds: &mut dyn FnMut(&[&'o Odd]) -> bool) -> (Vec<&'o Odd>, Vec<&'o Odd>) {
    if entries.is_empty() || holds(entries) {
        return (entries.to_vec(), Vec::new());
    }
    if entries.len() == 1 {
        return (Vec::new(), entries.to_vec());
    }
    let (one, other) = entries.split_at(entries.len() / 2);
    let (mut good, mut bad) = sift(one, holds);
    let (more_good, more_bad) = sift(other, holds);
    good.extend(more_good);
    bad.extend(more_bad);
    (good, bad)
}

fn json_list<'o>(entries: &[&'o Odd], member: impl Fn(&'o Odd) -> &'o [u8]) -> Vec<u8> {
    let members: Vec<&[u8]> = entries.iter().map(|entry| member(entry)).collect();
    [&b"{\n"[..], &members.join(&b",\n"[..]), b"\n}\n"].concat()
}

/// What an entry says, if it can be said in JSON.
fn says(entry: &Odd) -> Option<harness::Entry> {
    said(&json_list(&[entry], |odd| &odd.plain))?.into_values().next()
}

/// The filters that stand before the loader.
trait Filters {
    /// Whether two entries mean the same.
    fn same(&self, said: &harness::Entry, stored: &harness::Entry) -> bool;

    /// What is let out, or why nothing is: all that was said.
    fn run(&self, entries: &[&Odd]) -> Result<Filtered, String>;
}

struct Filtered {
    list: Vec<u8>,
    /// The names of what was set apart.
    refused: HashSet<Vec<u8>>,
    /// What was said of them.
    why: String,
}

struct OfJson<'s>(&'s Sandbox);

/// The names in a JSON list of rejects, which is empty if there are none.
fn names(list: &[u8]) -> HashSet<Vec<u8>> {
    if list.is_empty() {
        return HashSet::new();
    }
    said(list).unwrap().into_keys().map(String::into_bytes).collect()
}

/// The end of the pipe: the guard.
fn guarded(list: &[u8], refused: HashSet<Vec<u8>>, said: String) -> Result<Filtered, String> {
    let guarded = run("count-guard", &["--to", TO, "--unique", "--allow-empty"], list);
    match guarded.status {
        0 => Ok(Filtered { list: guarded.out, refused, why: said }),
        _ => Err(said + &guarded.err),
    }
}

impl Filters for OfJson<'_> {
    fn same(&self, said: &harness::Entry, stored: &harness::Entry) -> bool {
        said == stored
    }

    fn run(&self, entries: &[&Odd]) -> Result<Filtered, String> {
        let rejects = self.0.file("rejects");
        let parsed = run("parse", &["-q", "--to", TO, "--reject", &rejects], &json_list(entries, |odd| &odd.bytes));
        match parsed.status {
            0 | 1 => guarded(&parsed.out, names(&self.0.read("rejects")), parsed.err),
            _ => Err(parsed.err),
        }
    }
}

/// The rights that 2.3.8 and later give for these letters, with the usual deleteright.
fn granted(letters: &str) -> Vec<u8> {
    let mut granted: Vec<u8> = letters.bytes().filter(|b| b"lrswipkxtean0123456789".contains(b)).collect();
    for (letter, stands_for) in [('c', b"kx"), ('d', b"te")] {
        if letters.contains(letter) && !letters.bytes().any(|b| stands_for.contains(&b)) {
            granted.extend(stands_for);
        }
    }
    granted
}

/// Lists of text, of a release and with a spool that is as they say.
struct OfText<'s>(&'s Sandbox, &'static Text);

impl OfText<'_> {
    /// Makes the mailboxes that the entries name, as far as there can be such directories.
    fn furnish(&self, entries: &[Odd]) {
        const MAGIC: &[u8] = b"\xa1\x02\x8b\x0dCyrus mailbox header\n\
            \"The best thing about this system was that it had lots of goals.\"\n\t--Jim Morris on Andrew\n";
        let spool = self.0.path().join("spool");
        let _ = std::fs::remove_dir_all(&spool);
        for (dir, uniqueid) in entries.iter().filter_map(|entry| entry.spool.as_ref()) {
            // Names are hostile: none may lead out of here, upwards or from the root of the disk.
            let inside =
                dir.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"." | b"..")).map(OsStr::from_bytes);
            let dir: PathBuf = std::iter::once(spool.as_os_str()).chain(inside).collect();
            assert!(dir.starts_with(&spool));
            if dir == spool || std::fs::create_dir_all(&dir).is_err() {
                continue;
            }
            std::fs::write(dir.join("cyrus.header"), [MAGIC, format!("\t{uniqueid}\n\n\n").as_bytes()].concat())
                .unwrap();
            // Minor version 6, its header's length, and the UIDVALIDITY (facts/headers.md 2).
            let validity = u32::from_str_radix(uniqueid, 16).unwrap() + 1_000_000_000;
            let mut index = vec![0; 76];
            for (at, word) in [(8, 6), (12, 76), (16, 60), (44, validity)] {
                index[at..at + 4].copy_from_slice(&u32::to_be_bytes(word));
            }
            std::fs::write(dir.join("cyrus.index"), index).unwrap();
        }
    }
}

impl Filters for OfText<'_> {
    fn same(&self, said: &harness::Entry, stored: &harness::Entry) -> bool {
        let mean = |rights: &str| match self.1.release {
            "2.2.13" | "2.3.7" => rights.bytes().filter(|b| *b != b' ').collect(),
            _ => rights.split(' ').flat_map(granted).collect::<HashSet<_>>(),
        };
        said.fields == stored.fields
            && said.acl.iter().flatten().count() == stored.acl.iter().flatten().count()
            && said.acl.iter().flatten().zip(stored.acl.iter().flatten()).all(
                |((identifier, said), (other, stored))| {
                    identifier == other && (said == stored || mean(said) == mean(stored))
                },
            )
    }

    fn run(&self, entries: &[&Odd]) -> Result<Filtered, String> {
        let file = |name: &str| self.0.file(name);
        let list: Vec<u8> = entries.iter().flat_map(|entry| [&entry.bytes[..], b"\n"]).flatten().copied().collect();
        let parse = ["-q", "--from", self.1.release, "--to", TO, "--reject", &file("rejects"), "--allow-empty"];
        let parsed = run("parse", &parse, &list);
        if !matches!(parsed.status, 0 | 1) {
            return Err(parsed.err);
        }
        let fill = ["-q", "--fill", "--missing", &file("missing"), "--reject", &file("rejects.json"), "--allow-empty"];
        let place = ["-C", &file("imapd.conf"), "--from", self.1.release, "--to", TO];
        let filled = run("check-paths", &[&place[..], &fill].concat(), &parsed.out);
        let said = parsed.err + &filled.err;
        if !matches!(filled.status, 0 | 1) {
            return Err(said);
        }
        let lines: HashSet<Vec<u8>> = lines(&self.0.read("rejects")).into_iter().collect();
        let line = |entry: &&&Odd| lines.contains(&[&entry.bytes[..], b"\n"].concat());
        let mut refused: HashSet<Vec<u8>> = entries.iter().filter(line).map(|entry| entry.name.clone()).collect();
        refused.extend(names(&self.0.read("rejects.json")));
        refused.extend(names(&self.0.read("missing")));
        guarded(&filled.out, refused, said)
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    refused: usize,
    dropped: usize,
    refused_all_the_same: usize,
    used: HashSet<&'static str>,
    wrong: Vec<String>,
}

fn show(entry: &Odd) -> String {
    let text = entry.bytes.escape_ascii().to_string();
    match text.len() > 1500 {
        true => format!("{}... ({} bytes)", &text[..1500], entry.bytes.len()),
        false => text,
    }
}

/// What the loader stores as it came and we refuse all the same.
///
/// Of many kinds json_loader.rs has probes and says more.
const REFUSED_ALL_THE_SAME: &[(&str, &str)] = &[
    // What the server then makes of the mailbox.
    ("reserved mailbox", "ctl_cyrusdb -r deletes it with its mail (facts/migration.md b)"),
    ("name begins with $", "its record is taken for the server's own"),
    ("deleted name without a stamp", "its directory is another mailbox's (facts/layout.md 1b)"),
    ("name that the target cannot open", "no client can say it"),
    ("domain with an @", "SELECT looks for another"),
    ("domain that is no directory", "its directory is outside the partition"),
    ("name with a slash", "its directory is another mailbox's"),
    ("name with an empty component", "its directory is another mailbox's"),
    ("keeps \\x1", "0x1d in a local part and 0x1f in a domain come back; elsewhere the name is another"),
    ("component of the name too long", "no SELECT can lock it (facts/layout.md 6)"),
    ("uniqueid that can be none", "it names a directory"),
    ("no uniqueid", "an empty one is stored, and names no directory"),
    ("intermediate without uniqueid", "an empty one is stored, and is nobody's"),
    ("no partition", "an empty one is stored"),
    ("server!partition in one", "the server looks for a partition of that name"),
    ("remote mailbox without server!partition", "the server would ask another, and none is told"),
    ("server!partition of a local mailbox", "type and place say different things"),
    ("the list is in the dialect of", "a partition with a blank, which no imapd.conf can declare"),
    ("is not declared in", "check-paths looks for mailboxes of partitions that this host has"),
    // What an old list does not tell.
    ("remote mailbox without uniqueid", "the plain entry has one; no text list does"),
    ("ACL not closed by a TAB", "2.2 to 2.4 ignore its last identifier, later ones do not"),
    (
        "type that the old server did not have",
        "another release printed the list, and all that hangs on --from is wrong",
    ),
    ("carriage return in the line", "the loaders of text end the line there"),
    // What no server writes: what else is wrong with such a list?
    ("member of the wrong type", "of those that the loader does not look at"),
    ("member twice", "the loader takes the last"),
    ("identifier twice in one ACL", "the loader takes the last"),
    ("in the name history: the loader dies of it", "unless another name history behind it takes its place"),
];

/// Those of the entries that messages name. The twenty first of a kind are named.
fn named<'o>(err: &str, entries: &[&'o Odd]) -> Vec<(&'o Odd, String)> {
    let mut told: HashMap<&str, &str> = HashMap::new();
    for line in err.lines() {
        for (at, colon) in line.match_indices(": ") {
            let name = &line[at + colon.len()..];
            told.insert(name.find(": partition ").map_or(name, |end| &name[..end]), line);
        }
    }
    let of = |entry: &&'o Odd| Some((*entry, told.get(Name(&entry.name).to_string().as_str())?.to_string()));
    entries.iter().filter_map(of).collect()
}

impl Tally {
    fn judge(&mut self, loader: &Loader, filters: &dyn Filters, entries: &[Odd]) {
        let mut refused: HashSet<&[u8]> = HashSet::new();
        let mut rest: Vec<&Odd> = entries.iter().collect();
        // The guard, and check-paths in trouble, let nothing out, and name whom they mean.
        let filtered = loop {
            match filters.run(&rest) {
                Ok(filtered) => break filtered,
                Err(said) => {
                    let named = named(&said, &rest);
                    assert!(!named.is_empty(), "{said}");
                    refused.extend(named.iter().map(|(entry, _)| entry.name.as_slice()));
                    rest.retain(|entry| !refused.contains(entry.name.as_slice()));
                }
            }
        };
        refused.extend(filtered.refused.iter().map(Vec::as_slice));
        let let_through = said(&filtered.list).unwrap();
        let (mut passed, mut bypass) = (Vec::new(), Vec::new());
        for entry in entries {
            if refused.contains(entry.name.as_slice()) {
                bypass.push(entry);
            } else if std::str::from_utf8(&entry.name).is_ok_and(|name| let_through.contains_key(name)) {
                passed.push(entry);
            } else {
                self.dropped += 1;
                let plain = String::from_utf8_lossy(&entry.plain).into_owned().into_bytes();
                let kind = says(&Odd { plain, ..entry.clone() }).map(|said| said.fields[0].clone());
                if !kind.is_some_and(|letters| letters.contains(['d', 'i'])) {
                    self.wrong.push(format!("neither let through nor refused: {}", show(entry)));
                }
            }
        }
        self.passed += passed.len();
        self.refused += bypass.len();
        assert_eq!(let_through.len(), passed.len(), "what nobody fed is let through");
        self.judge_passed(loader, filters, &passed, &filtered.list);
        self.judge_refused(loader, filters, &bypass);
    }

    /// What was let through is stored as it said, and the loader is silent.
    fn judge_passed(&mut self, loader: &Loader, filters: &dyn Filters, passed: &[&Odd], list: &[u8]) {
        let holds = |part: &[&Odd], list: &[u8]| {
            loader.load(list).is_ok_and(|Loaded { complaint, stored }| {
                let as_said = |entry: &&Odd| says(entry).is_some_and(|said| as_it_came(filters, entry, &said, &stored));
                complaint.is_empty() && stored.len() == part.len() && part.iter().all(as_said)
            })
        };
        if holds(passed, list) {
            return;
        }
        let list = |part: &[&Odd]| filters.run(part).map(|filtered| filtered.list).unwrap_or_default();
        let (_, bad) = sift(passed, &mut |part| holds(part, &list(part)));
        for entry in &bad {
            let stored = match loader.load(&list(&[*entry])) {
                Ok(loaded) => format!("{:?} {}", loaded.stored, loaded.complaint),
                Err(death) => death,
            };
            let said = says(entry);
            self.wrong.push(format!("let through: {}\n  said {said:?}\n  stored {stored}", show(entry)));
        }
        if bad.is_empty() {
            self.wrong.push("a list is not stored as it said, but its parts are".to_string());
        }
    }

    /// What was refused would have been dropped, changed or died of, or it is in the table.
    fn judge_refused(&mut self, loader: &Loader, filters: &dyn Filters, refused: &[&Odd]) {
        let sayable: Vec<(&Odd, harness::Entry)> =
            refused.iter().filter_map(|entry| Some((*entry, says(entry)?))).collect();
        let entries: Vec<&Odd> = sayable.iter().map(|(entry, _)| *entry).collect();
        let said: HashMap<&[u8], &harness::Entry> =
            sayable.iter().map(|(entry, said)| (entry.name.as_slice(), said)).collect();
        let mut all_the_same = Vec::new();
        sift(&entries, &mut |part| match loader.load(&json_list(part, |odd| &odd.plain)) {
            Err(_) => false,
            Ok(loaded) => {
                let came = |entry: &&Odd| as_it_came(filters, entry, said[entry.name.as_slice()], &loaded.stored);
                all_the_same.extend(part.iter().copied().filter(came));
                true
            }
        });
        self.refused_all_the_same += all_the_same.len();
        for some in all_the_same.chunks(20) {
            let tell = |entries: &[&Odd]| filters.run(entries).map_or_else(|said| said, |filtered| filtered.why);
            let why: HashMap<&[u8], String> =
                named(&tell(some), some).into_iter().map(|(entry, why)| (entry.name.as_slice(), why)).collect();
            for entry in some {
                // Trouble with one hides what is wrong with the others.
                let why = why.get(entry.name.as_slice()).cloned().unwrap_or_else(|| tell(&[*entry]));
                match REFUSED_ALL_THE_SAME.iter().find(|(kind, _)| why.contains(kind)) {
                    Some((kind, _)) => drop(self.used.insert(kind)),
                    None => self.wrong.push(format!("refused, but stored as it said: {}\n  {why}", show(entry))),
                }
            }
        }
    }
}

fn as_it_came(filters: &dyn Filters, entry: &Odd, said: &harness::Entry, stored: &Said) -> bool {
    let stored = std::str::from_utf8(&entry.name).ok().and_then(|name| stored.get(name));
    stored.is_some_and(|stored| filters.same(said, stored))
}

#[test]
fn what_is_let_through_is_stored_and_what_is_refused_is_not() {
    let Some(loader) = Loader::new() else { return };
    let entries = usize::try_from(told("MBX_DIFFERENTIAL_ENTRIES", ENTRIES)).unwrap();
    let mut source = Source::new(told("MBX_SEED", 1));
    let mut tally = Tally::default();
    let mut done = 0;
    while done < entries {
        let batch: Vec<Odd> = (0..BATCH.min(entries)).map(|_| source.object()).collect();
        tally.judge(&loader, &OfJson(&loader.sandbox), &unlike(batch));
        for text in &TEXTS {
            let batch: Vec<Odd> = (0..BATCH.min(entries) / 4).map(|_| source.line(text)).collect();
            let batch = unlike(batch);
            let filters = OfText(&loader.sandbox, text);
            filters.furnish(&batch);
            tally.judge(&loader, &filters, &batch);
        }
        done += 2 * BATCH;
    }
    let Tally { passed, refused, dropped, refused_all_the_same, .. } = tally;
    println!("{passed} let through, {refused} refused ({refused_all_the_same} all the same), {dropped} dropped");
    let wrong = &tally.wrong;
    assert!(wrong.is_empty(), "{} are wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed > entries / 2 && refused > entries / 5, "{passed} {refused}");
    if done >= 20_000 {
        let unused = REFUSED_ALL_THE_SAME.iter().filter(|(kind, _)| !tally.used.contains(kind));
        assert_eq!(unused.count(), 0, "exceptions that nothing needs, of {:?}", tally.used);
    }
}

/// A whole list that is damaged here and there: jansson refuses a file for one byte, and so must we, of all bytes the
/// same.
#[test]
fn a_damaged_list_is_read_by_both_or_by_neither() {
    let Some(loader) = Loader::new() else { return };
    let mut source = Source::new(told("MBX_SEED", 1));
    let (mut read, mut refused, mut wrong) = (0, 0, Vec::new());
    for _ in 0..told("MBX_DIFFERENTIAL_ENTRIES", ENTRIES) / 20 {
        let list = source.damaged();
        let parsed = run("parse", &["-q", "--to", TO, "--allow-empty"], &list);
        let filtered = match parsed.status {
            0 => guarded(&parsed.out, HashSet::new(), parsed.err),
            _ => Err(parsed.err),
        };
        let (wanted, loaded) = (said(&list), loader.load(filtered.as_ref().map_or(&list, |filtered| &filtered.list)));
        let as_it_came = loaded.is_ok_and(|loaded| loaded.complaint.is_empty() && Some(loaded.stored) == wanted);
        match filtered {
            Ok(_) if as_it_came => read += 1,
            Ok(_) => wrong.push(format!("let through: {}", list.escape_ascii())),
            Err(why) if as_it_came && !REFUSED_ALL_THE_SAME.iter().any(|(kind, _)| why.contains(kind)) => {
                wrong.push(format!("refused, but stored as it said: {}\n  {why}", list.escape_ascii()));
            }
            Err(_) => refused += 1,
        }
    }
    println!("{read} read, {refused} refused");
    assert!(wrong.is_empty(), "{} are wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(read > 5 && refused > 50, "{read} {refused}");
}

/// Without those whose name another has.
fn unlike(mut entries: Vec<Odd>) -> Vec<Odd> {
    let mut known = HashSet::new();
    entries.retain(|entry| known.insert(entry.name.clone()));
    entries
}
