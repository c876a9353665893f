//! Can the release that will load the list open a mailbox, as its files are? (`facts/downgrade.md`)
//!
//! cyrus.index decides, by the minor version that stands in it, and cyrus.header by its form. A server answers "Mailbox has an
//! invalid format" to what it cannot read, and its loader says nothing of it.

use crate::list::error::Stop;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::{Count, Name};
use crate::release::Release;
use crate::release::downgrade::Downgrade;
use crate::release::files::HeaderForm;
use crate::run::report::Report;
use crate::spool::heads::{self, Heads, IndexSeen, Root};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

const NO_INDEX: &str = "no cyrus.index";
const DAMAGED_INDEX: &str = "cyrus.index that is damaged";
const NEW_INDEX: &str = "cyrus.index newer than the target reads";
const OLD_INDEX: &str = "cyrus.index older than the target opens";
const NO_HEADER: &str = "no cyrus.header in its place";
const NEW_HEADER: &str = "cyrus.header newer than the target reads";

/// What the target reads, and what was found that it does not.
#[derive(Debug)]
pub struct Readable {
    downgrade: Downgrade,
    newer: BTreeMap<u32, u64>,
    older: BTreeMap<u32, u64>,
    /// Those whose cyrus.index is none, or damaged; likewise of cyrus.header.
    no_index: u64,
    no_header: u64,
    new_header: u64,
    by_uniqueid: u64,
}

/// Why the target cannot open a mailbox: at least one of these.
#[derive(Debug, Default)]
struct Obstacles {
    no_index: bool,
    newer: Option<u32>,
    older: Option<u32>,
    no_header: bool,
    new_header: bool,
}

impl Readable {
    /// For `to`, and a spool of the release `spool` if that is known. A series whose releases read different files is
    /// trouble.
    pub fn new(spool: Option<&Release>, to: &Release) -> Result<Readable, Stop> {
        Ok(Readable {
            downgrade: Downgrade::new(spool, to).map_err(Stop::Trouble)?,
            newer: BTreeMap::new(),
            older: BTreeMap::new(),
            no_index: 0,
            no_header: 0,
            new_header: 0,
            by_uniqueid: 0,
        })
    }

    /// The release that will open the mailboxes.
    pub fn to(&self) -> &Release {
        self.downgrade.to()
    }

    fn obstacles(&self, heads: &Heads) -> Obstacles {
        let files = self.downgrade.files();
        let mut found = Obstacles::default();
        match heads.header {
            Err(_) => found.no_header = true,
            Ok(form) => found.new_header = !files.reads_header(form),
        }
        match heads.index {
            IndexSeen::Missing | IndexSeen::Damaged(_) => found.no_index = true,
            IndexSeen::Minor(minor) if files.reads_index(minor) => {}
            IndexSeen::Minor(minor) if minor > files.index => found.newer = Some(minor),
            IndexSeen::Minor(minor) => found.older = Some(minor),
        }
        found
    }

    /// Why the target cannot open the mailbox whose directory is `dir` below the roots; nothing if it can.
    pub fn refuses(&self, heads: &Heads, dir: &[u8], headers: &[Root<'_>], indexes: &[Root<'_>]) -> Option<Refusal> {
        let found = self.obstacles(heads);
        let (to, files) = (self.downgrade.to(), self.downgrade.files());
        let header_at = heads.header_at.and_then(|met| headers.get(met.root)).or(headers.first());
        let index_at = heads.index_at.and_then(|met| indexes.get(met.root)).or(indexes.first());
        let header = || Shown(header_at, dir, b"/cyrus.header").to_string();
        let index = || Shown(index_at, dir, b"/cyrus.index").to_string();
        let newer = |minor| format!("{} has minor {minor}, and {to} reads up to {}", index(), files.index);
        Some(match (&found, &heads.header, &heads.index) {
            (Obstacles { no_header: true, .. }, Err(why), _) => {
                Refusal::with(NO_HEADER, format_args!("{} {why}: the server could not open the mailbox", header()))
            }
            (Obstacles { new_header: true, newer: also, .. }, ..) => {
                let also = also.map_or(String::new(), |minor| format!("; {}", newer(minor)));
                Refusal::with(NEW_HEADER, format_args!("{} is a dlist, and {to} reads lines only{also}", header()))
            }
            (_, _, IndexSeen::Missing) => Refusal::with(NO_INDEX, format_args!("{}: {}", index(), heads::NO_INDEX)),
            (_, _, IndexSeen::Damaged(why)) => {
                Refusal::with(DAMAGED_INDEX, format_args!("{} {why}: the server could not open the mailbox", index()))
            }
            (Obstacles { newer: Some(minor), .. }, ..) => Refusal::with(NEW_INDEX, newer(*minor)),
            (Obstacles { older: Some(minor), .. }, ..) => Refusal::with(
                OLD_INDEX,
                format_args!("{} has minor {minor}, and {to} opens from {} on", index(), files.oldest_index),
            ),
            _ => return None,
        })
    }

    /// Counts a mailbox that was refused for its files.
    pub fn add(&mut self, heads: &Heads) {
        let found = self.obstacles(heads);
        self.no_index += u64::from(found.no_index);
        self.no_header += u64::from(found.no_header);
        self.new_header += u64::from(found.new_header);
        for (minor, counts) in [(found.newer, &mut self.newer), (found.older, &mut self.older)] {
            if let Some(minor) = minor {
                *counts.entry(minor).or_default() += 1;
            }
        }
    }

    /// Whether the target looks for directories by name only.
    pub fn looks_by_name_only(&self) -> bool {
        self.downgrade.files().header == HeaderForm::Lines
    }

    /// Refuses, and counts, a mailbox whose directory is by uniqueid.
    pub fn refuse_uniqueid(&mut self) -> Refusal {
        self.by_uniqueid += 1;
        let to = self.downgrade.to();
        Refusal::with("directory by uniqueid", format_args!("no l in its mbtype; {to} looks for it by name"))
    }

    /// Says how many of each kind there were, and what makes them readable.
    pub fn tell(&self, report: &mut Report) {
        let to = self.downgrade.to();
        let minors = |counts: &BTreeMap<u32, u64>| {
            let counts = counts.iter().rev().map(|(minor, count)| format!("{} of minor {minor}", Count(*count)));
            counts.collect::<Vec<_>>().join(", ")
        };
        let sum = |counts: &BTreeMap<u32, u64>| counts.values().sum::<u64>();
        if let Some((newest, _)) = self.newer.last_key_value() {
            report.answer(format_args!(
                "{} cyrus.index newer than {to} reads: {}. {}",
                Count(sum(&self.newer)),
                minors(&self.newer),
                self.downgrade.index_remedy(*newest)
            ));
        }
        if !self.older.is_empty() {
            report.answer(format_args!(
                "{} cyrus.index older than {to} opens: {}. Open each mailbox once with a server of 2.2.2 to 2.4 (SELECT): \
                 it writes cyrus.index anew",
                Count(sum(&self.older)),
                minors(&self.older)
            ));
        }
        if self.new_header > 0 {
            report.answer(format_args!(
                "{} cyrus.header newer than {to} reads. {}",
                Count(self.new_header),
                self.downgrade.header_remedy()
            ));
        }
        if self.no_index > 0 {
            report.answer(format_args!(
                "{} mailboxes without a whole cyrus.index. Copy it again from the old server; if it is damaged there, run \
                 `reconstruct MAILBOX` there: it makes a new one from the messages, whose flags are lost",
                Count(self.no_index)
            ));
        }
        if self.no_header > 0 {
            report.answer(format_args!(
                "{} mailboxes without a whole cyrus.header. Copy it again from the old server; if it is damaged there, run \
                 `reconstruct MAILBOX` there",
                Count(self.no_header)
            ));
        }
        if self.by_uniqueid > 0 {
            report.answer(format_args!(
                "{} mailboxes in directories by uniqueid. No tool of Cyrus moves them to names again, and these filters do \
                 not yet",
                Count(self.by_uniqueid)
            ));
        }
    }
}

/// The path of a file of a mailbox.
struct Shown<'a>(Option<&'a Root<'a>>, &'a [u8], &'a [u8]);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tail = [self.1, self.2].concat();
        match self.0 {
            Some(root) => Name(root.join(&tail).as_os_str().as_bytes()).fmt(f),
            None => Name(&tail).fmt(f),
        }
    }
}
