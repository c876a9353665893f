//! Compares two lists, of any size, order and dialect, and finds mailboxes that are in one list twice.

use crate::list::edits::Changes;
use crate::list::error::Stop;
use crate::list::hold::{Kept, Records, Sorted, Sorter, kept, record_of, same_acl, same_mbtype};
use crate::list::seal::Releases;
use crate::list::stream::{Input, Source};
use crate::mailbox::entry::Entry;
use crate::mailbox::text::Name;
use crate::release::Dialect;
use crate::run::engine::{Filter, Run, Seal, Verdict, run};
use crate::run::report::{Report, Status};
use clap::ValueEnum;

/// The fields of an entry that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Field {
    /// The mailbox name: both lists have the entry.
    Name,
    /// The partition and the server.
    Partition,
    /// The identifiers with their rights, in any order.
    Acl,
    /// The mbtype.
    Mbtype,
    /// The uniqueid, which only JSON lists have.
    Uniqueid,
}

/// Returns the fields to compare: those of `--compare`, or all that both lists have.
pub fn fields(asked: &[Field], dialects: [Option<Dialect>; 2]) -> Result<Vec<Field>, Stop> {
    let with_ids = dialects.iter().all(|dialect| dialect.is_some_and(Dialect::has_uniqueids));
    let typeless = dialects.into_iter().flatten().any(|dialect| !dialect.has_types());
    if asked.is_empty() {
        let mut all = vec![Field::Name, Field::Partition, Field::Acl];
        if !typeless {
            all.push(Field::Mbtype);
        }
        if with_ids {
            all.push(Field::Uniqueid);
        }
        return Ok(all);
    }
    if asked.contains(&Field::Uniqueid) && !with_ids {
        return Err(Stop::Trouble("--compare uniqueid: both lists must be JSON lists".to_string()));
    }
    if typeless && asked.contains(&Field::Mbtype) {
        return Err(Stop::Trouble("--compare mbtype: lists of releases up to 2.3.3 have no mbtype".to_string()));
    }
    Ok(asked.to_vec())
}

/// Reports every mailbox that is in the list more than once.
pub fn tell_duplicates(sorted: &Sorted, report: &mut Report) -> Result<(), Stop> {
    let mut records = sorted.read()?;
    let mut last = Vec::new();
    while let Some(record) = records.advance()? {
        let (one, other) = (kept(&last), kept(record));
        if one.mailbox == other.mailbox && !last.is_empty() {
            let at = |entry: &Kept<'_>| format!("{}:{}", String::from_utf8_lossy(entry.file), entry.line);
            report.finding(
                "mailbox twice",
                format_args!(
                    "{}: mailbox twice, also at {}: {} (the loader would keep the last)",
                    at(&other),
                    at(&one),
                    Name(other.mailbox)
                ),
            );
        }
        last.clear();
        last.extend_from_slice(record);
    }
    Ok(())
}

/// The reason for reading another list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A comparison.
    Other,
    /// The verification of a load; the server's list may be empty.
    Verify,
}

/// Reads the entries of another list. An empty list is an error, except for a verification.
pub fn collect(
    sources: Vec<Source>,
    releases: Releases,
    purpose: Purpose,
    report: &Report,
) -> Result<(Sorted, Option<Dialect>), Stop> {
    struct Collect(Sorter, Option<Dialect>, Vec<u8>);
    impl Filter for Collect {
        const ENDS_PIPE: bool = true;

        fn entry(&mut self, entry: &Entry<'_>, _: &mut Changes, _: &mut Report) -> Result<Verdict, Stop> {
            self.1 = Some(entry.dialect);
            record_of(entry, &mut self.2);
            self.0.push(&self.2)?;
            Ok(Verdict::Pass)
        }
    }
    let mut collect = Collect(Sorter::default(), None, Vec::new());
    let mut other_report = Report::new(report.tool(), report.volume());
    let whole = Run {
        input: Input::new(sources),
        output: None,
        rejects: None,
        seal: Seal::TakeOff,
        releases,
        allow_empty: purpose == Purpose::Verify,
        require_end: false,
    };
    run(whole, &mut collect, &mut other_report);
    let unfit = match purpose {
        Purpose::Other => "the other list cannot be compared with: see the message above",
        Purpose::Verify => {
            "it is not known if the list was loaded: --verify printed no list to compare with, see above"
        }
    };
    match other_report.status() {
        Status::Done => Ok((collect.0.sorted()?, collect.1)),
        Status::Trouble => Err(Stop::Trouble(unfit.to_string())),
        _ => Err(Stop::Refused(unfit.to_string())),
    }
}

/// The texts of a comparison, and its rules.
pub struct Words<'a> {
    /// The kind and the text of an entry that the second list lacks.
    missing: (&'static str, String),
    /// The kind and the text of an entry that only the second list has, if that is reported.
    surplus: Option<(&'static str, String)>,
    /// The kind of a difference.
    differs: &'static str,
    /// The names of the first and the second list in the text of a difference.
    sides: [&'a str; 2],
    /// True if a missing entry is an error by itself.
    strict: bool,
    /// True if only mailboxes count: a tombstone is the rest of a mailbox that was lost.
    mailboxes_only: bool,
}

impl Words<'_> {
    /// Returns the next record that counts.
    fn next<'r>(&self, records: &'r mut Records<'_>) -> Result<Option<&'r [u8]>, Stop> {
        if self.mailboxes_only {
            while records.peek().is_some_and(|record| !kept(record).is_mailbox()) {
                records.advance()?;
            }
        }
        records.advance()
    }

    /// Returns the texts for an older list and this one. Lost entries are counted, new ones do not matter.
    pub fn lost(name: &str) -> Words<'_> {
        Words {
            missing: ("lost", format!("in {name}, but lost")),
            surplus: None,
            differs: "",
            sides: [name, "here"],
            strict: false,
            mailboxes_only: true,
        }
    }

    /// Returns the texts for this list and another.
    pub fn differs(name: &str) -> Words<'_> {
        Words {
            missing: ("not in the other list", format!("not in {name}")),
            surplus: Some(("only in the other list", format!("only in {name}"))),
            differs: "differs from the other list",
            sides: ["here", name],
            strict: true,
            mailboxes_only: false,
        }
    }

    /// Returns the texts for this list and the server's list after a load. The JSON loader skips tombstones.
    pub fn verified(dialect: Option<Dialect>) -> Words<'static> {
        Words {
            missing: ("not loaded", "not in the server's list".to_string()),
            surplus: Some(("only on the server", "only in the server's list".to_string())),
            differs: "loaded with another value",
            sides: ["the list has", "the server has"],
            strict: true,
            mailboxes_only: dialect == Some(Dialect::Json),
        }
    }
}

/// The result of a comparison.
pub struct Comparison {
    /// The number of entries in the first list.
    pub left: u64,
    /// The number of them that the second list lacks.
    pub missing: u64,
}

/// Compares two sorted lists entry by entry.
pub fn compare(
    left: &Sorted,
    right: &Sorted,
    fields: &[Field],
    words: &Words<'_>,
    report: &mut Report,
) -> Result<Comparison, Stop> {
    let mut found = Comparison { left: 0, missing: 0 };
    let (mut lefts, mut rights) = (left.read()?, right.read()?);
    let mut a = words.next(&mut lefts)?;
    let mut b = words.next(&mut rights)?;
    loop {
        let order = match (a, b) {
            (None, None) => return Ok(found),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => kept(a).mailbox.cmp(kept(b).mailbox),
        };
        match (order, a, b) {
            (std::cmp::Ordering::Less, Some(record), _) => {
                found.left += 1;
                found.missing += 1;
                let (kind, text) = &words.missing;
                let text = format!("{text}: {}", Name(kept(record).mailbox));
                match words.strict {
                    true => report.finding(kind, text),
                    false => report.told(kind, text),
                }
            }
            (std::cmp::Ordering::Greater, _, Some(record)) => {
                if let Some((kind, text)) = &words.surplus {
                    report.finding(kind, format_args!("{text}: {}", Name(kept(record).mailbox)));
                }
            }
            (_, Some(a), Some(b)) => {
                found.left += 1;
                report_difference(a, b, fields, words, report);
            }
            _ => {}
        }
        if order.is_le() {
            a = words.next(&mut lefts)?;
        }
        if order.is_ge() {
            b = words.next(&mut rights)?;
        }
    }
}

/// Reports the fields in which two entries of one mailbox differ.
fn report_difference(a: &[u8], b: &[u8], fields: &[Field], words: &Words<'_>, report: &mut Report) {
    let (a, b) = (kept(a), kept(b));
    for (field, what, here, there) in [
        (Field::Partition, "partition", a.place, b.place),
        (Field::Mbtype, "mbtype", a.mbtype, b.mbtype),
        (Field::Uniqueid, "uniqueid", a.uniqueid, b.uniqueid),
        (Field::Acl, "ACL", a.acl, b.acl),
    ] {
        let same = match field {
            Field::Acl => same_acl(here, there),
            Field::Mbtype => same_mbtype(here, there),
            _ => here == there,
        };
        if fields.contains(&field) && !same {
            report.finding(
                words.differs,
                format_args!(
                    "{}: {what}: {} {}, {} {}",
                    Name(a.mailbox),
                    words.sides[0],
                    Name(here),
                    words.sides[1],
                    Name(there)
                ),
            );
        }
    }
}
