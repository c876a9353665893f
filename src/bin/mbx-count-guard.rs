//! mbx-count-guard: the whole list, or nothing.

use clap::{Parser, ValueEnum};
use mbxtools::convert::{Converted, Converter};
use mbxtools::entry::{Changes, Entry, Kind};
use mbxtools::filter::{Filter, Heading, Run, Seal, Verdict, main_of, run};
use mbxtools::hold::{Held, Kept, Sorted, Sorter, kept, record_of, same_acl};
use mbxtools::options::{Common, KNOWN, Limit};
use mbxtools::outcome::{Account, Count, Name, Refusal, Report, Status, Stop, reason};
use mbxtools::seal::{Releases, write_abort};
use mbxtools::spool::folded;
use mbxtools::stream::{Input, Output, Source, stdout};
use mbxtools::version::{Dialect, v};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitCode, Stdio};

/// Hold a Cyrus mailbox list back until all of it is there and right
///
/// Only when every condition holds, nothing was aborted upstream and every entry is one that the loader of --to takes
/// is the list let out, to stdout or to COMMAND. Only the form with COMMAND is all or nothing even if the guard itself
/// is killed.
#[derive(Parser)]
#[command(name = "mbx-count-guard", version = KNOWN)]
struct Options {
    #[command(flatten)]
    common: Common,

    /// At least N mailboxes
    #[arg(long, value_name = "N")]
    min: Option<u64>,

    /// Exactly N mailboxes
    #[arg(long, value_name = "N")]
    expect: Option<u64>,

    /// Compare the names with those of an older list
    #[arg(long, value_name = "LIST")]
    baseline: Option<OsString>,

    /// So many names of the older list may be missing, or P% of them (default 0)
    #[arg(long, value_name = "N|P%", requires = "baseline")]
    max_lost: Option<Limit>,

    /// No mailbox twice (always so with --sealed, and with a command)
    #[arg(long)]
    unique: bool,

    /// Demand the marks of a sealed list, and take them off
    #[arg(long)]
    sealed: bool,

    /// Compare entry by entry with another list, in any dialect and order
    #[arg(long, value_name = "LIST")]
    against: Option<OsString>,

    /// What is compared with --against: everything that both lists hold, if not told
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',', requires = "against")]
    compare: Vec<Field>,

    /// Afterwards, compare the list with what this shell command prints
    #[arg(long, value_name = "COMMAND", requires = "command")]
    verify: Option<OsString>,

    /// The list's files; - or none for stdin
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,

    /// Behind --: what is started with the list as its standard input
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What of two entries is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Field {
    Name,
    Partition,
    Acl,
    Mbtype,
    Uniqueid,
}

/// The conditions under which a list is let out.
struct Guard {
    min: Option<u64>,
    expect: Option<u64>,
    unique: bool,
    baseline: Option<OsString>,
    max_lost: Limit,
    against: Option<OsString>,
    compare: Vec<Field>,
    starts: bool,
    verifies: bool,
    converter: Option<Converter>,
    /// Every entry, if a question needs the whole list.
    sorter: Option<Sorter>,
    /// The names that the target folds into others, with what it makes of them.
    folded: Option<Sorter>,
    sorted: Option<Sorted>,
    heading: Option<Heading>,
    record: Vec<u8>,
    mailboxes: u64,
    apart: [(&'static str, u64); 2],
}

impl Filter for Guard {
    const ENDS_PIPE: bool = true;

    fn begin(&mut self, heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        self.heading = Some(heading.clone());
        let (Some(to), Some(dialect)) = (&heading.releases.to, heading.dialect) else {
            return match (self.starts, &heading.releases.to) {
                (true, None) => Err(Stop::Trouble(
                    "--to RELEASE is wanted: whether every entry can be loaded hangs on what loads them".to_string(),
                )),
                _ => Ok(()),
            };
        };
        if to.dialect() != dialect {
            return Err(Stop::Refused(format!(
                "the list is in {dialect}, but {to} reads {}: mbx-parse --to {to} is missing in the pipe",
                to.dialect()
            )));
        }
        self.folded = (self.unique && to.since(v(3, 0, 0))).then(Sorter::default);
        self.converter = Some(Converter::for_loading(&heading.releases, heading.sealed, to));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        match entry.kind() {
            Kind::Mailbox | Kind::Remote => self.mailboxes += 1,
            Kind::Tombstone => self.apart[0].1 += 1,
            Kind::Intermediate => self.apart[1].1 += 1,
        }
        if let Some(sorter) = &mut self.sorter {
            record_of(entry, &mut self.record);
            sorter.push(&self.record)?;
        }
        if let Some(sorter) = &mut self.folded
            && let Some(name) = folded(entry.mailbox())
        {
            sorter.push(&[&name, &b"\0"[..], entry.mailbox()].concat())?;
        }
        let Some(converter) = &self.converter else { return Ok(Verdict::Pass) };
        match converter.convert(entry, changes, report) {
            Ok(Converted::AsItIs) => Ok(Verdict::Pass),
            Ok(Converted::Changed | Converted::Dropped(_)) => Ok(Verdict::Refuse(Refusal::with(
                "entry that the loader would not store as it is",
                "mbx-parse --to mends it",
            ))),
            Err(refusal) => Ok(Verdict::Refuse(refusal)),
        }
    }

    fn end(&mut self, heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        let apart: u64 = self.apart.iter().map(|(_, n)| n).sum();
        let not_counted = match apart {
            0 => String::new(),
            n => format!(" ({} tombstones and intermediates not counted)", Count(n)),
        };
        let mailboxes = Count(self.mailboxes);
        if let Some(min) = self.min
            && self.mailboxes < min
        {
            report
                .finding("--min", format_args!("{mailboxes} mailboxes{not_counted}, fewer than --min {}", Count(min)));
        }
        if let Some(expect) = self.expect
            && self.mailboxes != expect
        {
            report.finding(
                "--expect",
                format_args!("{mailboxes} mailboxes{not_counted}, not --expect {}", Count(expect)),
            );
        }
        let Some(sorter) = self.sorter.take() else { return Ok(()) };
        let sorted = sorter.sorted()?;
        if self.unique {
            tell_duplicates(&sorted, report)?;
        }
        if let Some(folded) = self.folded.take() {
            tell_folded(&sorted, &folded.sorted()?, report)?;
        }
        if let Some(baseline) = &self.baseline {
            let (old, _) = collect(
                Input::sources_of(std::slice::from_ref(baseline)),
                Releases::default(),
                Purpose::Baseline,
                report,
            )?;
            let name = Name(baseline.as_bytes()).to_string();
            let found = compare(&old, &sorted, &[Field::Name], &Words::lost(&name), report)?;
            if self.max_lost.exceeded(found.missing, found.left) {
                report.finding(
                    "--max-lost",
                    format_args!(
                        "{} of the {} mailboxes of {name} are lost; --max-lost allows {}",
                        Count(found.missing),
                        Count(found.left),
                        self.max_lost
                    ),
                );
            }
        }
        if let Some(against) = &self.against {
            let (other, dialect) = collect(
                Input::sources_of(std::slice::from_ref(against)),
                Releases::default(),
                Purpose::Against,
                report,
            )?;
            let fields = fields(&self.compare, [heading.dialect, dialect])?;
            let name = Name(against.as_bytes()).to_string();
            compare(&sorted, &other, &fields, &Words::differs(&name), report)?;
        }
        self.sorted = self.verifies.then_some(sorted);
        Ok(())
    }

    fn notes(&self, account: &mut Account) {
        account.notes.extend(self.apart);
    }
}

/// The fields to compare: those asked for, or all that both lists hold.
fn fields(asked: &[Field], dialects: [Option<Dialect>; 2]) -> Result<Vec<Field>, Stop> {
    let typeless = dialects.contains(&Some(Dialect::Bare));
    if asked.is_empty() {
        let mut all = vec![Field::Name, Field::Partition, Field::Acl];
        if !typeless {
            all.push(Field::Mbtype);
        }
        return Ok(all);
    }
    if asked.contains(&Field::Uniqueid) {
        return Err(Stop::Trouble("--compare uniqueid: text lists hold none".to_string()));
    }
    if typeless && asked.contains(&Field::Mbtype) {
        return Err(Stop::Trouble("--compare mbtype: lists of releases up to 2.3.3 hold none".to_string()));
    }
    Ok(asked.to_vec())
}

fn tell_duplicates(sorted: &Sorted, report: &mut Report) -> Result<(), Stop> {
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

/// Two names of which the target makes one would share one directory.
fn tell_folded(sorted: &Sorted, folded: &Sorted, report: &mut Report) -> Result<(), Stop> {
    let (mut names, mut folds) = (sorted.read()?, folded.read()?);
    let mut name = names.advance()?;
    let mut last: Vec<u8> = Vec::new();
    while let Some(fold) = folds.advance()? {
        let (target, own) = fold.split_at(memchr::memchr(0, fold).unwrap_or(fold.len()));
        while name.is_some_and(|record| kept(record).mailbox < target) {
            name = names.advance()?;
        }
        let taken = name.is_some_and(|record| kept(record).mailbox == target);
        if taken || last == target {
            report.finding(
                "two names, one directory",
                format_args!(
                    "two names, one directory: the target takes {} for {}, which is in the list as well",
                    Name(&own[1.min(own.len())..]),
                    Name(target)
                ),
            );
        }
        last = target.to_vec();
    }
    Ok(())
}

/// What another list is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Its mailboxes; tombstones and intermediates are none.
    Baseline,
    /// All of it.
    Against,
    /// What was loaded, which may be nothing at all.
    Verify,
}

/// Reads another list for its entries. An empty one would be nothing to compare with, unless it is what was loaded.
fn collect(
    sources: Vec<Source>,
    releases: Releases,
    purpose: Purpose,
    report: &Report,
) -> Result<(Sorted, Option<Dialect>), Stop> {
    struct Collect(Sorter, Option<Dialect>, Vec<u8>, bool);
    impl Filter for Collect {
        const ENDS_PIPE: bool = true;

        fn entry(&mut self, entry: &Entry<'_>, _: &mut Changes, _: &mut Report) -> Result<Verdict, Stop> {
            self.1 = Some(entry.dialect);
            if self.3 && matches!(entry.kind(), Kind::Tombstone | Kind::Intermediate) {
                return Ok(Verdict::Pass);
            }
            record_of(entry, &mut self.2);
            self.0.push(&self.2)?;
            Ok(Verdict::Pass)
        }
    }
    let mut collect = Collect(Sorter::default(), None, Vec::new(), purpose == Purpose::Baseline);
    let mut of_its_own = Report::new(report.tool(), report.quiet());
    let whole = Run {
        input: Input::new(sources),
        output: None,
        rejects: None,
        seal: Seal::TakeOff,
        releases,
        allow_empty: purpose == Purpose::Verify,
        ended: false,
    };
    run(whole, &mut collect, &mut of_its_own);
    match of_its_own.status() {
        Status::Done => Ok((collect.0.sorted()?, collect.1)),
        Status::Trouble => Err(Stop::Trouble("the other list is not one to compare with, see above".to_string())),
        _ => Err(Stop::Refused("the other list is not one to compare with, see above".to_string())),
    }
}

/// How a comparison speaks of its two sides.
struct Words<'a> {
    /// Of an entry that the second list lacks; none if that is only counted.
    missing: (&'static str, String),
    /// Of an entry that only the second list has; none if that does not matter.
    surplus: Option<(&'static str, String)>,
    differs: &'static str,
    /// What the first and the second list are called where they differ.
    sides: [&'a str; 2],
    /// Whether a missing entry spoils the status by itself.
    strict: bool,
}

impl Words<'_> {
    fn lost(name: &str) -> Words<'_> {
        Words {
            missing: ("lost", format!("in {name}, but lost")),
            surplus: None,
            differs: "",
            sides: [name, "here"],
            strict: false,
        }
    }

    fn differs(name: &str) -> Words<'_> {
        Words {
            missing: ("not in the other list", format!("not in {name}")),
            surplus: Some(("only in the other list", format!("only in {name}"))),
            differs: "differs from the other list",
            sides: ["here", name],
            strict: true,
        }
    }

    fn verified() -> Words<'static> {
        Words {
            missing: ("not loaded", "not in the server's list".to_string()),
            surplus: Some(("not meant", "in the server's list, but not meant to be".to_string())),
            differs: "loaded as something else",
            sides: ["meant", "the server has"],
            strict: true,
        }
    }
}

struct Comparison {
    /// How many entries the first list has.
    left: u64,
    /// How many of them the second lacks.
    missing: u64,
}

/// Walks two sorted lists side by side.
fn compare(
    left: &Sorted,
    right: &Sorted,
    fields: &[Field],
    words: &Words<'_>,
    report: &mut Report,
) -> Result<Comparison, Stop> {
    let mut found = Comparison { left: 0, missing: 0 };
    let (mut lefts, mut rights) = (left.read()?, right.read()?);
    let mut a = lefts.advance()?;
    let mut b = rights.advance()?;
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
                tell_difference(a, b, fields, words, report);
            }
            _ => {}
        }
        if order.is_le() {
            a = lefts.advance()?;
        }
        if order.is_ge() {
            b = rights.advance()?;
        }
    }
}

fn tell_difference(a: &[u8], b: &[u8], fields: &[Field], words: &Words<'_>, report: &mut Report) {
    let (a, b) = (kept(a), kept(b));
    for (field, what, here, there) in [
        (Field::Partition, "partition", a.place, b.place),
        (Field::Mbtype, "mbtype", a.mbtype, b.mbtype),
        (Field::Acl, "ACL", a.acl, b.acl),
    ] {
        let same = if field == Field::Acl { same_acl(here, there) } else { here == there };
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

fn main() -> ExitCode {
    main_of("mbx-count-guard", |options: &Options| options.common.quiet, guard)
}

fn guard(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let starts = !options.command.is_empty();
    // What is loaded has no mailbox twice: the loader would keep the last and say nothing.
    let unique = options.unique || options.sealed || starts;
    let whole = unique || options.baseline.is_some() || options.against.is_some() || options.verify.is_some();
    let mut held = Held::new()?;
    let mut filter = Guard {
        min: options.min,
        expect: options.expect,
        unique,
        baseline: options.baseline,
        max_lost: options.max_lost.unwrap_or(Limit::Number(0)),
        against: options.against,
        compare: options.compare,
        starts,
        verifies: options.verify.is_some(),
        converter: None,
        sorter: whole.then(Sorter::default),
        folded: None,
        sorted: None,
        heading: None,
        record: Vec::new(),
        mailboxes: 0,
        apart: [("tombstones", 0), ("intermediates", 0)],
    };
    let mut account = run(
        Run {
            input: Input::new(Input::sources_of(&options.files)),
            output: Some(Output::new(Box::new(held.writer()?), "the temporary file")),
            rejects: None,
            seal: match (options.sealed, starts) {
                (true, _) => Seal::Demand,
                (false, true) => Seal::TakeOff,
                (false, false) => Seal::Keep,
            },
            releases: options.common.releases(),
            allow_empty: options.common.allow_empty,
            ended: false,
        },
        &mut filter,
        report,
    );
    report.flush_alike();
    if report.status() != Status::Done {
        account.ending = None;
        account.unwritten += std::mem::take(&mut account.written);
        if !starts {
            let mut output = Output::stdout()?;
            write_abort(report.tool(), "the list was not let out", &mut output.buffer);
            output.flush()?;
        }
        return Ok(account);
    }
    match options.command.split_first() {
        None => let_out(held.reader()?)?,
        Some((program, args)) => {
            let mut list = held.reader()?;
            start(program, args, &mut list, report)?;
            if let (Some(verify), Some(meant), Some(heading)) = (options.verify, filter.sorted, filter.heading)
                && report.status() == Status::Done
            {
                let words = vec!["sh".into(), "-c".into(), verify];
                let (holds, dialect) =
                    collect(vec![Source::Command(words)], heading.releases, Purpose::Verify, report)?;
                let fields = fields(&[], [heading.dialect, dialect])?;
                compare(&meant, &holds, &fields, &Words::verified(), report)?;
                report.flush_alike();
            }
        }
    }
    if starts && report.status() != Status::Done {
        account.ending = Some("started, but not loaded as it was meant: do not switch");
    }
    Ok(account)
}

fn let_out(mut list: File) -> Result<(), Stop> {
    let mut out = stdout()?;
    io::copy(&mut list, &mut out).map(drop).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Stop::Closed,
        _ => Stop::io("stdout: cannot write", &e),
    })
}

/// Starts the command with the list as its standard input, shows what it says, and waits. The loaders exit 0 whatever
/// they drop; only a line on their stderr tells.
fn start(program: &OsString, args: &[OsString], list: &mut File, report: &mut Report) -> Result<(), Stop> {
    let name = Name(program.as_bytes()).to_string();
    let mut child = Command::new(program)
        .args(args)
        .stdin(list.try_clone().map_err(|e| Stop::io("the temporary file", &e))?)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Stop::io(format_args!("cannot run {name}"), &e))?;
    let mut said = 0_u64;
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).map_err(|e| Stop::io(&name, &e))? > 0 {
            said += 1;
            // Shown as it is; a stderr of ours that is closed changes nothing about what was loaded.
            let _ = io::stderr().write_all(&line);
            line.clear();
        }
    }
    let status = child.wait().map_err(|e| Stop::Trouble(format!("{name}: cannot wait for it: {}", reason(&e))))?;
    if !status.success() {
        report.finding("command failed", format_args!("{name} ended with {status}: the list may be loaded in part"));
    }
    tell_what_was_read(&name, list, report)?;
    if said > 0 {
        report.finding(
            "command complained",
            format_args!("{name} complained on stderr, lines: {}. It may not have stored every entry", Count(said)),
        );
    }
    Ok(())
}

/// The command and we share one place in the list: it is at the end if all of it was read. A command that opened it anew
/// (`/dev/stdin`) has a place of its own, so nothing at all is only a remark.
fn tell_what_was_read(name: &str, list: &mut File, report: &mut Report) -> Result<(), Stop> {
    let failed = |e: &io::Error| Stop::io("the temporary file", e);
    let read = list.stream_position().map_err(|e| failed(&e))?;
    let all = list.metadata().map_err(|e| failed(&e))?.len();
    match read {
        0 if all > 0 => {
            report.remark(format_args!("{name} read nothing from its standard input: was it to load the list?"))
        }
        read if read < all => report.finding(
            "command stopped reading",
            format_args!("{name} read {} of the {} bytes of the list, and no more", Count(read), Count(all)),
        ),
        _ => {}
    }
    Ok(())
}
