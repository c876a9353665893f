//! The filters and the real `mbpath` of 3.6.1 agree about names under configurations that look random: what the filters
//! let through is a mailbox of that name in the directory that they say, and what they refuse for its name is not.

use super::told;
use crate::harness::cyrus::{self, CTL_MBOXLIST, MBPATH};
use crate::harness::{Sandbox, Walk, run, said};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// As many names are given to one mbpath.
const AT_ONCE: usize = 1_000;

/// What mbpath does not show: the refusal is about something else than what the server reads in the name.
const OF_THE_DISK: [&str; 6] = [
    // Its record is taken for the server's own.
    "name begins with $",
    "component of the name too long",
    "name with a slash",
    "domain that is no directory",
    // Of a domain alone: its directory is that of all its mailboxes.
    "name with an empty component",
    // The loader dies of it.
    "userid too long",
];

/// One imapd.conf.
struct Config {
    virtdomains: &'static str,
    defaultdomain: Option<&'static str>,
    deletedprefix: Option<&'static str>,
    hash: [bool; 2],
    unixhierarchysep: bool,
    altnamespace: bool,
}

impl Config {
    fn draw(walk: &mut Walk) -> Config {
        let mut of = |n: u64| walk.below(n) as usize;
        Config {
            virtdomains: ["off", "userid", "on", "no", "yes"][of(5)],
            defaultdomain: [None, None, Some("example.com"), Some("internal"), Some("Example.ORG"), Some("x")][of(6)],
            deletedprefix: [
                None,
                None,
                Some("TRASH"),
                Some("x"),
                Some("GONE.BY"),
                Some("a^b"),
                Some("00"),
                Some("uuid"),
            ][of(8)],
            hash: [of(2) == 0, of(2) == 0],
            unixhierarchysep: of(2) == 0,
            altnamespace: of(2) == 0,
        }
    }

    fn has_domains(&self) -> bool {
        !matches!(self.virtdomains, "off" | "no")
    }

    fn text(&self) -> String {
        let switch = |on: bool| if on { "yes" } else { "no" };
        let mut text = format!(
            "configdirectory: /cyrus/conf\npartition-default: /cyrus/spool\nmboxlist_db: twoskip\nvirtdomains: {}\n\
             hashimapspool: {}\nfulldirhash: {}\nunixhierarchysep: {}\naltnamespace: {}\n",
            self.virtdomains,
            switch(self.hash[0]),
            switch(self.hash[1]),
            switch(self.unixhierarchysep),
            switch(self.altnamespace)
        );
        for (option, value) in [("defaultdomain", self.defaultdomain), ("deletedprefix", self.deletedprefix)] {
            text.extend(value.map(|value| format!("{option}: {value}\n")));
        }
        text
    }

    /// How the administrator of mbpath calls a mailbox, and whether as a user; none if there is no way.
    fn external(&self, name: &str) -> Option<(bool, String)> {
        let (domain, local) = name.split_once('!').map_or((None, name), |(domain, local)| (Some(domain), local));
        let separator = if self.unixhierarchysep { "/" } else { "." };
        let dots = |part: &str| if self.unixhierarchysep { part.replace('^', ".") } else { part.to_string() };
        let outside = local.split('.').map(dots).collect::<Vec<_>>().join(separator);
        // What is a special use is another thing.
        if outside.starts_with('\\') || outside.is_empty() {
            return None;
        }
        match (domain, self.has_domains()) {
            (_, true) => {
                let domain = domain.or(self.defaultdomain).unwrap_or("internal");
                Some((false, format!("{outside}@{domain}")))
            }
            (None, false) => Some((false, outside)),
            // Without domains only the users of the domain can say it, and of theirs mbpath takes the INBOX.
            (Some(domain), false) => {
                let user = local.strip_prefix("user.").filter(|user| !user.contains('.') && !user.is_empty())?;
                Some((true, format!("{}@{domain}", user.replace('^', "."))))
            }
        }
    }
}

/// A name that is odd in one or more ways, of this configuration or of none.
fn draw_name(walk: &mut Walk, config: &Config) -> String {
    let prefix = config.deletedprefix.unwrap_or("DELETED");
    let part = |walk: &mut Walk| -> String {
        let odd = [
            "0",
            "00000000",
            "5ABCDEF0",
            "5abcdef0",
            "0x12",
            "05ABCDEF",
            "FFFFFFFF",
            "1FFFFFFFF",
            "100000000",
            "-1",
            "+5",
            " 5",
            "5 ",
            "5Z",
            "G",
            "Sent",
            "foo",
            "user",
            "User",
            "INBOX",
            "inbox",
            "Inbox2",
            "uuid",
            "domain",
            "DELETED",
            "TRASH",
            "x",
            "a",
            "b.c",
            "a^b",
            "^",
            "^^",
            "a^",
            "~a",
            "#calendars",
            "$x",
            "%",
            "*",
            "&AOQ-",
            "\u{e4}\u{20ac}",
            "A B",
            "a'b",
            "a\"b",
            "a\\b",
            "a@b",
            "a+b",
            "-",
            "_",
            "9lives",
            "Zoe",
            "carol^smith",
            "internal",
            "example",
        ];
        match walk.below(10) {
            0..=5 => odd[walk.below(odd.len() as u64) as usize].to_string(),
            6 => String::new(),
            7 => "n".repeat(1 + walk.below(252) as usize),
            8 => prefix.to_string(),
            _ => format!("{:X}", walk.below(1 << 33)),
        }
    };
    let mut name = String::new();
    if walk.below(3) == 0 {
        let domains = [
            "example.com",
            "internal",
            "Example.ORG",
            "example.org",
            "EXAMPLE.com",
            "x",
            "a@b",
            "a.b",
            "DELETED",
            "\u{e4}.de",
        ];
        let domain = match walk.below(4) {
            0 => config.defaultdomain.unwrap_or("internal"),
            _ => domains[walk.below(domains.len() as u64) as usize],
        };
        name.push_str(domain);
        name.push('!');
    }
    if walk.below(3) == 0 {
        name.push_str(if walk.below(4) == 0 { "DELETED" } else { prefix });
        name.push('.');
    }
    if walk.below(2) == 0 {
        name.push_str("user.");
    }
    for i in 0..1 + walk.below(4) {
        if i > 0 {
            name.push('.');
        }
        // Most components are plain, or no name would be.
        let part = match walk.below(3) {
            0 => part(walk),
            _ => ["bob", "zoe", "alice", "Sent", "Archive", "q4"][walk.below(6) as usize].to_string(),
        };
        name.push_str(&part);
    }
    name
}

fn list(names: &[&String]) -> Vec<u8> {
    let entry = |(i, name): (usize, &&String)| {
        let key = serde_json::Value::from(name.as_str());
        format!(
            r#"{key}: {{"name": {key}, "mtime": "1", "uidvalidity": "1", "createdmodseq": "1", "foldermodseq": "1", "mbtype": "el", "partition": "default", "acl": {{}}, "uniqueid": "id{i}", "name_history": []}}"#
        )
    };
    let entries: Vec<String> = names.iter().enumerate().map(entry).collect();
    format!("{{\n{}\n}}\n", entries.join(",\n")).into_bytes()
}

/// One configuration, and the real programs under it.
struct Oracle {
    sandbox: Sandbox,
    config: Config,
    conf: String,
}

impl Oracle {
    fn new(config: Config) -> Oracle {
        let sandbox = Sandbox::in_memory();
        for dir in ["conf", "conf/db", "spool"] {
            std::fs::create_dir(sandbox.path().join(dir)).unwrap();
        }
        let conf = sandbox.conf("imapd.conf", &config.text());
        cyrus::hand_over(sandbox.path());
        Oracle { sandbox, config, conf }
    }

    fn program(&self, program: &str) -> Command {
        let cyrus = std::fs::metadata(self.sandbox.path()).unwrap();
        let mut command = Command::new(program);
        command.uid(cyrus.uid()).gid(cyrus.gid()).args(["-C", &self.conf]);
        command
    }

    /// Loads names into a list of its own; an error if the loader died.
    fn load(&self, names: &[&String]) -> Result<(), String> {
        let db = self.sandbox.path().join("conf/mailboxes.db");
        let _ = std::fs::remove_file(&db);
        let loads = self
            .program(CTL_MBOXLIST)
            .arg("-u")
            .stdin(File::open(self.sandbox.write("list", list(names))).unwrap())
            .output()
            .unwrap();
        if !loads.status.success() {
            return Err(loads.stderr.escape_ascii().to_string());
        }
        Ok(())
    }

    /// The names that were stored.
    fn stored(&self) -> HashSet<String> {
        let printed = self.program(CTL_MBOXLIST).arg("-d").output().unwrap().stdout;
        said(&printed).unwrap_or_else(|| panic!("{}", printed.escape_ascii())).into_keys().collect()
    }

    /// The names of which the loader dies, by halves.
    fn deadly<'n>(&self, names: &[&'n String]) -> Vec<&'n String> {
        match (names.len(), self.load(names)) {
            (0, _) | (_, Ok(())) => Vec::new(),
            (1, Err(_)) => names.to_vec(),
            (n, Err(_)) => [self.deadly(&names[..n / 2]), self.deadly(&names[n / 2..])].concat(),
        }
    }

    /// The directories that mbpath prints, by the names of their mailboxes.
    fn ask(&self, names: &[&String]) -> HashMap<String, String> {
        let mut found = HashMap::new();
        let (users, others): (Vec<_>, Vec<_>) =
            names.iter().filter_map(|name| self.config.external(name)).partition(|(user, _)| *user);
        for (options, words) in [(&["-j", "-7", "-q"][..], others), (&["-j", "-q", "-u"], users)] {
            for some in words.chunks(AT_ONCE) {
                let words = some.iter().map(|(_, word)| OsStr::new(word));
                let said = self.program(MBPATH).args(options).arg("--").args(words).output().unwrap();
                for object in serde_json::Deserializer::from_slice(&said.stdout).into_iter::<serde_json::Value>() {
                    let object = object.unwrap_or_else(|e| panic!("{e}: {}", said.stdout.escape_ascii()));
                    let text = |value: &serde_json::Value| value.as_str().map(str::to_string);
                    if let (Some(name), Some(data)) = (text(&object["mbname"]["intname"]), text(&object["data"])) {
                        found.insert(name, data);
                    }
                }
            }
        }
        found
    }
}

/// What became of names.
#[derive(Debug, Default)]
struct Count {
    tried: u64,
    equal: u64,
    refused: u64,
    skipped: u64,
    different: Vec<String>,
}

impl Count {
    fn judge(&mut self, oracle: &Oracle, names: &[String]) {
        let sandbox = &oracle.sandbox;
        let all: Vec<&String> = names.iter().collect();
        self.tried += all.len() as u64;
        let rejects = [sandbox.file("rejects"), sandbox.file("rejects2")];
        let (report, to) = (sandbox.file("report.csv"), ["--to", "3.6.1", "--from", "3.6.1", "-C", &oracle.conf]);
        let parsed = run("parse", &[&to[..], &["-v", "--reject", &rejects[0]]].concat(), &list(&all));
        assert!(matches!(parsed.status, 0 | 1), "{}", parsed.tell());
        let options = ["-v", "-n", "--report", &report, "--reject", &rejects[1], "--allow-empty"];
        let checked = run("check-paths", &[&to[..], &options].concat(), &parsed.out);
        assert!(matches!(checked.status, 0 | 1), "{}", checked.tell());
        let mut rows = csv::Reader::from_path(&report).unwrap();
        let told: HashMap<String, String> =
            rows.records().map(|row| row.unwrap()).map(|row| (row[0].to_string(), row[2].to_string())).collect();
        let (passed, refused): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| told.contains_key(*name));
        let config = || oracle.config.text().replace('\n', "; ");
        if let Err(why) = oracle.load(&passed) {
            panic!("the loader dies of {:?} ({}): {why}", oracle.deadly(&passed), config());
        }
        let stored = oracle.stored();
        let found = oracle.ask(&passed);
        let mut dirs: HashMap<&str, &str> = HashMap::new();
        for name in passed {
            if let Some(other) = dirs.insert(&told[name], name) {
                // Without hashing `x!user.bob` and `domain.x.user.bob` share one, which the filters see on disk.
                if told[name].contains("/spool/domain/") {
                    self.skipped += 1;
                    continue;
                }
                self.different.push(format!("one directory for {name:?} and {other:?}: {} ({})", told[name], config()));
            }
            match (found.get(name), oracle.config.external(name)) {
                _ if !stored.contains(name) => self.different.push(format!("not stored: {name:?} ({})", config())),
                (Some(data), _) if *data == told[name] => self.equal += 1,
                (None, None) => self.skipped += 1,
                (data, _) => self.different.push(format!("{name:?}: {}, mbpath {data:?} ({})", told[name], config())),
            }
        }
        self.refused += refused.len() as u64;
        // Of the refused those that the loader survives.
        let said = parsed.err + &checked.err;
        let why: HashMap<&str, &str> = said
            .lines()
            .filter_map(|line| Some((line.rsplit_once("): ").or(line.rsplit_once(": "))?.1, line)))
            .collect();
        let of_name = |name: &&&String| {
            let shown = mbxtools::mailbox::text::Name(name.as_bytes()).to_string();
            why.get(shown.as_str()).is_some_and(|why| !OF_THE_DISK.iter().any(|kind| why.contains(kind)))
        };
        let mut refused: Vec<&String> = refused.iter().filter(of_name).copied().collect();
        if oracle.load(&refused).is_err() {
            let deadly: HashSet<&String> = oracle.deadly(&refused).into_iter().collect();
            refused.retain(|name| !deadly.contains(name));
            oracle.load(&refused).unwrap_or_else(|why| panic!("{why}"));
        }
        let found = oracle.ask(&refused);
        for name in refused.into_iter().filter(|name| found.contains_key(*name)) {
            // The words of another may lead there: those of `TRASH.TRASH.x` to `TRASH`.
            if !oracle.ask(&[name]).contains_key(name) {
                continue;
            }
            self.different.push(format!("refused, but mbpath has it at {}: {name:?} ({})", found[name], config()));
        }
    }
}

/// `MBX_ORACLE_NAMES` of each of `MBX_ORACLE_CONFIGS` configurations; `MBX_SEED` draws others.
#[test]
fn the_real_mbpath_finds_each_mailbox_where_the_filters_say() {
    if !cyrus::is_here(&[CTL_MBOXLIST, MBPATH]) {
        return;
    }
    let (names, configs) = (told("MBX_ORACLE_NAMES", 300), told("MBX_ORACLE_CONFIGS", 6));
    let mut walk = Walk(told("MBX_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut count = Count::default();
    for _ in 0..configs {
        let oracle = Oracle::new(Config::draw(&mut walk));
        let mut known = HashSet::new();
        let mut drawn = Vec::new();
        while (drawn.len() as u64) < names {
            let name = draw_name(&mut walk, &oracle.config);
            if !name.is_empty() && known.insert(name.clone()) {
                drawn.push(name);
            }
        }
        count.judge(&oracle, &drawn);
    }
    let Count { tried, equal, refused, skipped, different } = count;
    println!("{tried} tried, {equal} equal, {refused} refused, {} different, {skipped} skipped", different.len());
    let first: Vec<_> = different.iter().take(40).map(String::as_str).collect();
    assert!(different.is_empty(), "{} are different\n{}", different.len(), first.join("\n"));
    assert_eq!(tried, names * configs);
    assert_eq!(tried, equal + refused + skipped);
    assert!(equal > tried / 4 && refused > tried / 20, "{equal} {refused}");
}

/// The server's INBOX of zoe is gone: what mbx-parse -C refuses.
#[test]
fn a_deleted_name_without_a_stamp_takes_the_inbox() {
    if !cyrus::is_here(&[CTL_MBOXLIST, MBPATH]) {
        return;
    }
    let config = Config {
        virtdomains: "off",
        defaultdomain: None,
        deletedprefix: Some("TRASH"),
        hash: [false; 2],
        unixhierarchysep: true,
        altnamespace: false,
    };
    let oracle = Oracle::new(config);
    let names =
        ["user.zoe", "TRASH.user.zoe.Sent", "DELETED.user.zoe.Sent", "TRASH.user.zoe.5ABCDEF0"].map(String::from);
    oracle.load(&names.iter().collect::<Vec<_>>()).unwrap();
    let stored = oracle.stored();
    assert!(stored.len() == 3 && !stored.contains(&names[1]), "{stored:?}");
    let found = oracle.ask(&names.iter().collect::<Vec<_>>());
    for (name, dir) in [(0, "user/zoe"), (2, "DELETED/user/zoe/Sent"), (3, "TRASH/user/zoe/5ABCDEF0")] {
        assert_eq!(found[&names[name]], oracle.sandbox.file(&format!("spool/{dir}")));
    }
    let ran = run("parse", &["--to", "3.6.1", "-C", &oracle.conf], &list(&names.iter().collect::<Vec<_>>()));
    ran.expect(1).says("3.6.1 makes user.zoe of it").says("1 refused");
}
