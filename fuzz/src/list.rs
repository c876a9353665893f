//! Whole lists, of text and of JSON, on their way through a filter: however they come in, the same goes out; what is
//! not touched stays as it was; nothing is lost; what gave up never looks whole.

use super::stage;
use super::stage::{Sink, read_object};
use mbxtools::list::detect::{Beginning, Detected, beginning, detect};
use mbxtools::list::edits::Changes;
use mbxtools::list::error::Stop;
use mbxtools::list::list_file::SideList;
use mbxtools::list::magic::foreign;
use mbxtools::list::seal::Releases;
use mbxtools::list::stream::{Input, Output, SideFile, Source};
use mbxtools::mailbox::entry::Entry;
use mbxtools::mailbox::name::Namespaces;
use mbxtools::mailbox::rejection::{At, Refusal};
use mbxtools::release::{Dialect, Release};
use mbxtools::run::engine::{Filter, Heading, Run, Seal, Verdict, run};
use mbxtools::run::report::{Report, Status};
use mbxtools::run::totals::Account;
use mbxtools::verbs::convert::{Converted, Converter};
use std::io::{self, Read, Seek};

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [from, to, flags, step, list @ ..] = data else { return };
    let flag = |n: u8| flags >> n & 1 == 1;
    let told =
        Releases { from: stage::release(*from).cloned(), to: stage::release(*to).cloned(), rights_rewritten: false };
    let how = How {
        does: [Does::Pass, Does::Choose, Does::Choose, Does::Convert][usize::from(flags & 3)],
        seal: if flag(2) { Seal::Make } else { Seal::Keep },
        told,
        allow_empty: flag(3),
        rejects: flag(4),
        ahead: flag(5),
    };
    let ran = how.run(list, usize::MAX);
    // A byte at a time costs the square of the length, so most inputs come in larger pieces.
    let step = usize::from(*step);
    how.run(list, if step < 32 { step + 1 } else { step * 4 }).is_like(&ran);
    adds_up(&ran);
    let whole = ran.account.ending.is_none() && ran.status < Status::Trouble;
    if !whole {
        assert!(ran.status > Status::Done);
        // Whoever is behind knows.
        assert!(behind(&how, &ran, Seal::Keep).run(&ran.out, usize::MAX).status > Status::Done);
        return;
    }
    // What comes first now may not tell its dialect, or look like JSON or UTF-16: that is told, as it should be.
    let misleads = |entry: &Vec<u8>| {
        detect(entry) == Some(Detected::Unsure)
            || beginning(&[entry, &b"\n"[..]].concat()) != Some(Beginning::Text)
            || foreign(&[entry, &b"\n"[..]].concat()).is_some()
    };
    if ran.writes != Some(Dialect::Json) && ran.entries.first().is_some_and(misleads) {
        return;
    }
    let again = behind(&how, &ran, Seal::Keep).run(&ran.out, usize::MAX);
    assert_eq!(again.status, Status::Done);
    assert_eq!((again.account.read, again.account.written), (ran.account.written, ran.account.written));
    assert!(again.entries == ran.entries, "entries are not what was written");
    assert!(again.out == ran.out);
    let marked = has_mark(list);
    // Of the text of a database a list is made, and a comma before the last brace of an object goes.
    let heading = ran.heading.as_ref();
    let made = heading.is_some_and(|heading| heading.database.is_some());
    let object = heading.is_some_and(|heading| heading.dialect == Some(Dialect::Json));
    if how.does == Does::Pass && how.seal == Seal::Keep && !marked && !made && ran.status == Status::Done {
        assert!(ran.out == list || object && ran.out.len() + 1 == list.len());
    }
    if how.seal == Seal::Make {
        // A sealed list without its end is none.
        let guard = behind(&how, &ran, Seal::Demand);
        assert_eq!(guard.run(&ran.out, usize::MAX).status, Status::Done);
        let cut = ran.out.len().saturating_sub(step + 1);
        assert!(guard.run(&ran.out[..cut], usize::MAX).status > Status::Done);
    } else if !marked && ran.writes == Some(Dialect::Json) {
        assert!(read_object(&ran.out).is_ok());
    }
    rejected(list, &how, &ran, marked);
}

/// Whether a mark may stand somewhere.
fn has_mark(list: &[u8]) -> bool {
    list.windows(5).any(|word| word == b"!mbx-")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Nothing.
    Pass,
    /// What the mailbox's name says.
    Choose,
    /// What `mbx-parse --to` does.
    Convert,
}

struct How {
    does: Does,
    seal: Seal,
    told: Releases,
    allow_empty: bool,
    rejects: bool,
    ahead: bool,
}

impl How {
    fn run(&self, list: &[u8], step: usize) -> Ran {
        let reader = Steps { bytes: list.to_vec(), at: 0, step };
        let (sink, rejects) = (Sink::default(), self.rejects.then(|| stage::file(b"")));
        let mut judge = Judge { how: self, converter: None, heading: None, entries: Vec::new() };
        let mut report = stage::report();
        let whole = Run {
            input: Input::new([Source::Reader("fuzz", Box::new(reader))]),
            output: Some(Output::new(Box::new(sink.clone()), "sink")),
            rejects: rejects
                .as_ref()
                .map(|file| SideList::new(SideFile::new(file.try_clone().expect("memfd"), "rejects".to_string()))),
            seal: self.seal,
            releases: self.told.clone(),
            allow_empty: self.allow_empty,
            require_end: false,
        };
        let account = run(whole, &mut judge, &mut report);
        let mut refused = Vec::new();
        if let Some(mut file) = rejects {
            file.rewind().and_then(|()| file.read_to_end(&mut refused)).expect("memfd");
        }
        let heading = judge.heading;
        let writes = heading.as_ref().and_then(|heading| self.writes(heading.dialect));
        Ran {
            out: sink.bytes(),
            rejects: refused,
            account,
            status: report.status(),
            entries: judge.entries,
            heading,
            writes,
        }
    }

    fn to(&self) -> Option<&Release> {
        self.told.to.as_ref().filter(|_| self.does == Does::Convert)
    }

    fn writes(&self, read: Option<Dialect>) -> Option<Dialect> {
        self.to().map(Release::dialect).or(read)
    }
}

struct Ran {
    out: Vec<u8>,
    rejects: Vec<u8>,
    account: Account,
    status: Status,
    /// The entries that went on, as they were to be written.
    entries: Vec<Vec<u8>>,
    heading: Option<Heading>,
    writes: Option<Dialect>,
}

impl Ran {
    fn is_like(&self, other: &Ran) {
        assert_eq!(self.status, other.status);
        assert_eq!(format!("{:?}", self.account), format!("{:?}", other.account));
        assert!(self.out == other.out, "other bytes go out");
        assert!(self.rejects == other.rejects, "other bytes are rejected");
    }
}

/// A reader that gives so many bytes at a time.
struct Steps {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl Read for Steps {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let n = rest.len().min(to.len()).min(self.step);
        to[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

struct Judge<'h> {
    how: &'h How,
    converter: Option<Converter>,
    heading: Option<Heading>,
    entries: Vec<Vec<u8>>,
}

impl Filter for Judge<'_> {
    const MENDS: bool = true;

    fn database(&mut self, heading: &Heading, _: At<'_>, _: &mut Report) -> Result<(), Stop> {
        self.heading = Some(heading.clone());
        Ok(())
    }

    fn writes(&self, read: Option<Dialect>) -> Option<Dialect> {
        self.how.writes(read)
    }

    fn looks_ahead(&self) -> bool {
        self.how.ahead
    }

    fn begin(&mut self, heading: &Heading, _: &mut Report) -> Result<(), Stop> {
        self.heading = Some(heading.clone());
        let (Some(to), Some(dialect)) = (self.how.to(), heading.dialect) else { return Ok(()) };
        let other = heading.releases.from.as_ref().is_some_and(|from| from.dialect() != dialect);
        if other && !(heading.sealed && to.dialect() == dialect) {
            return Err(Stop::Trouble("the wrong list".to_string()));
        }
        let names = Namespaces::by_default(heading.releases.from.as_ref(), Some(to));
        self.converter = Some(Converter::new(&heading.releases, &names, dialect, to));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        let sum = entry.mailbox().iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let verdict = match (&mut self.converter, self.how.does) {
            (Some(converter), _) => match converter.convert(entry, changes, report) {
                Ok(Converted::AsItIs) => Verdict::Pass,
                Ok(Converted::Changed) => Verdict::Change,
                Ok(Converted::Dropped(why)) => Verdict::Drop(why),
                Err(refusal) => Verdict::Refuse(refusal),
            },
            (None, Does::Choose) => match sum % 5 {
                0 => {
                    changes.put_partition(entry, b"new");
                    Verdict::Change
                }
                1 => Verdict::Change,
                2 => Verdict::Drop("chosen"),
                3 => {
                    changes.put_partition(entry, b"refused all the same");
                    Verdict::Refuse(Refusal::new("chosen"))
                }
                _ => Verdict::Pass,
            },
            (None, _) => Verdict::Pass,
        };
        if matches!(verdict, Verdict::Pass | Verdict::Change) {
            let mut written = Vec::new();
            changes.apply(entry.bytes, &mut written);
            self.entries.push(written);
        }
        Ok(verdict)
    }
}

/// A filter that does nothing, behind one that did what it did.
fn behind(how: &How, ran: &Ran, seal: Seal) -> How {
    let heading = ran.heading.as_ref();
    let releases = heading.map_or(&how.told, |heading| &heading.releases);
    let sealed = how.seal == Seal::Make || heading.is_some_and(|heading| heading.sealed);
    let from = if sealed { None } else { how.to().or(releases.from.as_ref()).cloned() };
    let told = Releases { from, ..Releases::default() };
    How { does: Does::Pass, seal, told, allow_empty: true, rejects: false, ahead: false }
}

fn adds_up(ran: &Ran) {
    let Account { read, written, refused, unwritten, dropped, .. } = &ran.account;
    assert_eq!(*read, written + refused + unwritten + dropped.iter().map(|(_, n)| n).sum::<u64>());
}

/// What was refused is there, and what was passed is the rest.
fn rejected(list: &[u8], how: &How, ran: &Ran, marked: bool) {
    if !how.rejects || ran.account.refused == 0 {
        return assert!(ran.rejects.is_empty());
    }
    // Records may have several lines.
    if ran.heading.as_ref().is_some_and(|heading| heading.database.is_some()) {
        return;
    }
    if ran.heading.as_ref().and_then(|heading| heading.dialect) == Some(Dialect::Json) {
        let again = How { rejects: true, ..behind(how, ran, Seal::Keep) }.run(&ran.rejects, usize::MAX);
        return assert_eq!(again.account.read, ran.account.refused);
    }
    let lines = |bytes: &[u8]| bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(lines(&ran.rejects).len() as u64, ran.account.refused);
    if how.does == Does::Pass && how.seal == Seal::Keep && !marked {
        let mut all = [lines(&ran.out), lines(&ran.rejects)].concat();
        let mut came = lines(list);
        all.sort();
        came.sort();
        assert!(all == came);
    }
}
