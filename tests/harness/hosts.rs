//! The old host and the new one, side by side, with a copy of `examples/migrate`.

use super::cyrus::{self, Server, open, quote};
use super::{Ran, Sandbox};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The old host, the new one, and the kit in a directory of that.
pub struct Hosts {
    pub old: Sandbox,
    pub new: Sandbox,
}

/// The partitions of old are renamed as in 2006.
pub const MAP: &str = "default=3 0=4";

impl Hosts {
    /// With the list and spool of a real server, and what `conf` replaces in the new host's imapd.conf.
    pub fn of(release: &str, variant: &str, conf: &[(&str, &str)]) -> Option<Hosts> {
        let programs = [cyrus::CTL_MBOXLIST, cyrus::MASTER, cyrus::IMAPD, cyrus::SASLPASSWD];
        let here = cyrus::is_here(&programs) && cyrus::is_here(&["/usr/bin/rsync", "/usr/bin/make"]);
        here.then(|| Hosts::furnished(Sandbox::of(release, variant), release, conf))
    }

    pub fn furnished(old: Sandbox, release: &str, conf: &[(&str, &str)]) -> Hosts {
        let new = Sandbox::empty();
        let path = |of: &Sandbox| of.path().to_str().unwrap().to_string();
        let (here, there) = (path(&old), path(&new));
        let mut spool_conf = String::from_utf8(old.read("old.conf")).unwrap();
        writeln!(spool_conf, "sievedir: {here}/sieve").unwrap();
        for dir in ["sieve", "conf", "conf/user", "conf/user/a"] {
            std::fs::create_dir(old.path().join(dir)).unwrap();
        }
        old.write("conf/user/a/alice.seen", "of alice");
        let mut new_conf =
            spool_conf.replace(&here, &there).replace("defaultpartition: default", "defaultpartition: 3");
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
        new.write("kit/old.conf", &spool_conf);
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
    pub fn set(&self, settings: &str) {
        let config = String::from_utf8(self.new.read("kit/config.mk")).unwrap();
        self.new.write("kit/config.mk", config + settings);
    }

    /// The new host's imapd.conf with the old host's spool for its own.
    pub fn in_place(&self) -> String {
        let (old, new) = (self.old.path().display(), self.new.path().display());
        let conf = String::from_utf8(self.new.read("new.conf")).unwrap();
        let conf = conf.replace(&format!("{new}/spool/3"), &format!("{old}/spool/default"));
        let conf = conf.replace(&format!("{new}/spool/4"), &format!("{old}/spool/0"));
        conf.replace(&format!("{new}/spool"), &format!("{old}/spool"))
    }

    pub fn make(&self, goals: &str) -> Ran {
        self.new.sh(&format!("cd kit && make {goals}"))
    }

    /// It ends with a failure that says what to do, and the server's own list is the one that it was.
    #[track_caller]
    pub fn fails(&self, goals: &str, says: &[&str]) {
        let before = std::fs::read(self.new.path().join("conf/mailboxes.db")).ok();
        let ran = self.make(goals);
        assert_ne!(ran.status, 0, "{}", ran.tell());
        for text in says {
            assert!(ran.err.contains(text), "{text:?} is not said\n{}", ran.tell());
        }
        assert!(std::fs::read(self.new.path().join("conf/mailboxes.db")).ok() == before, "{goals}");
    }

    /// The list that was loaded.
    pub fn list(&self) -> BTreeMap<String, serde_json::Value> {
        serde_json::from_slice(&self.new.read("kit/work/final.list")).unwrap()
    }

    /// Starts the new server; every mailbox of the list opens as what it was, with as many messages as its directory on
    /// the old host has.
    #[track_caller]
    pub fn every_mailbox_opens(&self) -> usize {
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
