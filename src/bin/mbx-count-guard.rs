//! mbx-count-guard: the whole list, or nothing.

use clap::Parser;
use mbxtools::list::command::{Attended, Got, PATIENCE, holders, named};
use mbxtools::list::edits::Changes;
use mbxtools::list::error::{Stop, reason};
use mbxtools::list::hold::{Held, Sorted, Sorter, record_of};
use mbxtools::list::seal::{Releases, write_abort};
use mbxtools::list::stream::{Input, Output, Source, cannot_run, cannot_write, stdout};
use mbxtools::mailbox::entry::{Entry, Kind};
use mbxtools::mailbox::name::{Doubts, Namespaces};
use mbxtools::mailbox::rejection::Refusal;
use mbxtools::mailbox::text::{Count, Name};
use mbxtools::release::Dialect;
use mbxtools::run::engine::{Filter, Heading, Run, Seal, Verdict, run};
use mbxtools::run::main::main_of;
use mbxtools::run::options::{Common, KNOWN, Limit, are_files};
use mbxtools::run::report::{Report, Status};
use mbxtools::run::totals::Account;
use mbxtools::spool::options::ConfOptions;
use mbxtools::verbs::compare::{Field, Purpose, Words, collect, compare, fields, tell_duplicates};
use mbxtools::verbs::convert::{Converted, Converter};
use mbxtools::verbs::uniqueids::Uniqueids;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

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
    #[command(flatten)]
    conf: ConfOptions,

    /// At least N mailboxes
    #[arg(long, value_name = "N", value_parser = number)]
    min: Option<u64>,

    /// Exactly N mailboxes
    #[arg(long, value_name = "N", value_parser = number)]
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
    compare_with: Option<OsString>,

    /// What is compared with --compare-with: everything that both lists hold, if not told
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',', requires = "compare_with")]
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

/// A number of mailboxes.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a number is wanted, of digits only".to_string())
}

/// The conditions under which a list is let out.
struct Guard {
    options: Options,
    starts: bool,
    /// What is loaded has no mailbox twice: the loader would keep the last and say nothing.
    unique: bool,
    converter: Option<Converter>,
    /// Every entry, if a question needs the whole list.
    sorter: Option<Sorter>,
    /// What the two servers read in names.
    names: Namespaces,
    doubts: Doubts,
    /// The uniqueids of a JSON list's mailboxes.
    uniqueids: Option<Uniqueids>,
    sorted: Option<Sorted>,
    heading: Option<Heading>,
    record: Vec<u8>,
    mailboxes: u64,
    apart: [(&'static str, u64); 2],
}

impl Guard {
    fn new(options: Options) -> Guard {
        let starts = !options.command.is_empty();
        let unique = options.unique || options.sealed || starts;
        let whole =
            unique || [&options.baseline, &options.compare_with, &options.verify].iter().any(|list| list.is_some());
        Guard {
            options,
            starts,
            unique,
            converter: None,
            sorter: whole.then(Sorter::default),
            names: Namespaces::default(),
            doubts: Doubts::default(),
            uniqueids: None,
            sorted: None,
            heading: None,
            record: Vec::new(),
            mailboxes: 0,
            apart: [("tombstones", 0), ("intermediates", 0)],
        }
    }

    /// Loads the list, and tells whether that is what was meant.
    fn load(&mut self, name: &str, child: Child, mut list: File, report: &mut Report) -> Result<(), Stop> {
        attend(child, name, &mut list, self.options.verify.is_some(), report)?;
        if let (Some(verify), Some(meant), Some(heading)) =
            (self.options.verify.take(), self.sorted.take(), &self.heading)
            && report.status() == Status::Done
        {
            let words = vec!["sh".into(), "-c".into(), verify];
            let (holds, dialect) =
                collect(vec![Source::Command(words)], heading.releases.clone(), Purpose::Verify, report)?;
            let fields = fields(&[], [heading.dialect, dialect])?;
            compare(&meant, &holds, &fields, &Words::verified(heading.dialect), report)?;
            report.flush_alike();
        }
        Ok(())
    }
}

impl Filter for Guard {
    const ENDS_PIPE: bool = true;

    fn begin(&mut self, heading: &Heading, report: &mut Report) -> Result<(), Stop> {
        self.heading = Some(heading.clone());
        self.uniqueids = (self.unique && heading.dialect.is_some_and(Dialect::has_uniqueids)).then(Uniqueids::default);
        self.names = self.options.conf.names(&heading.releases)?;
        if let (Some(_), None) = (&self.options.conf.config, &self.names.target) {
            return Err(Stop::Trouble(
                "-C: --to RELEASE is wanted, that of the server whose imapd.conf it is".to_string(),
            ));
        }
        let (Some(to), Some(dialect)) = (&heading.releases.to, heading.dialect) else {
            return match (self.starts, &heading.releases.to) {
                (true, None) => Err(Stop::Trouble(
                    "--to RELEASE is wanted, that of the server that loads the list: it tells whether every entry can be loaded".to_string(),
                )),
                (false, None) if heading.sealed && heading.dialect.is_some() => {
                    report.remark("nobody told --to: whether a loader takes these entries was not asked");
                    Ok(())
                }
                _ => Ok(()),
            };
        };
        if to.dialect() != dialect {
            return Err(Stop::Refused(format!(
                "the list is in {dialect}, but {to} reads {}: mbx-parse --to {to} is missing in the pipe",
                to.dialect()
            )));
        }
        self.converter = Some(Converter::for_loading(&heading.releases, &self.names, heading.sealed, to));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        let kind = entry.kind();
        match kind {
            Kind::Mailbox | Kind::Remote => self.mailboxes += 1,
            Kind::Tombstone => self.apart[0].1 += 1,
            Kind::Intermediate => self.apart[1].1 += 1,
        }
        if let Some(sorter) = &mut self.sorter {
            record_of(entry, &mut self.record);
            sorter.push(&self.record)?;
        }
        if let Some(uniqueids) = &mut self.uniqueids {
            uniqueids.add(entry, None)?;
        }
        self.doubts.ask(entry.mailbox(), &self.names, false);
        let Some(converter) = &mut self.converter else { return Ok(Verdict::Pass) };
        match converter.convert(entry, changes, report) {
            Ok(Converted::AsItIs) => Ok(Verdict::Pass),
            // 3.6 and later skip them, and nothing is lost.
            Ok(Converted::Dropped(_)) if entry.dialect == Dialect::Json && entry.partition().is_empty() => {
                Ok(Verdict::Pass)
            }
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
        if self.starts && heading.dialect == Some(Dialect::Json) && apart > 0 {
            report.remark(format_args!(
                "{} tombstones and intermediates: the loader skips them, and says so on stderr, which is taken for a \
                 complaint; mbx-parse --to leaves them out",
                Count(apart)
            ));
        }
        let mailboxes = Count(self.mailboxes);
        if let Some(min) = self.options.min
            && self.mailboxes < min
        {
            report
                .finding("--min", format_args!("{mailboxes} mailboxes{not_counted}, fewer than --min {}", Count(min)));
        }
        if let Some(expect) = self.options.expect
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
        if let Some(uniqueids) = self.uniqueids.take() {
            uniqueids.report(&self.names, report)?;
        }
        if let Some(baseline) = &self.options.baseline {
            let (old, _) = collect(
                Input::sources_of(std::slice::from_ref(baseline)),
                Releases::default(),
                Purpose::Other,
                report,
            )?;
            let name = Name(baseline.as_bytes()).to_string();
            let found = compare(&old, &sorted, &[Field::Name], &Words::lost(&name), report)?;
            let max_lost = self.options.max_lost.unwrap_or(Limit::Number(0));
            if max_lost.exceeded(found.missing, found.left) {
                report.finding(
                    "--max-lost",
                    format_args!(
                        "{} of the {} mailboxes of {name} are lost; --max-lost allows {max_lost}",
                        Count(found.missing),
                        Count(found.left),
                    ),
                );
            }
        }
        if let Some(list) = &self.options.compare_with {
            let (other, dialect) =
                collect(Input::sources_of(std::slice::from_ref(list)), Releases::default(), Purpose::Other, report)?;
            let fields = fields(&self.options.compare, [heading.dialect, dialect])?;
            let name = Name(list.as_bytes()).to_string();
            compare(&sorted, &other, &fields, &Words::differs(&name), report)?;
        }
        self.sorted = self.options.verify.is_some().then_some(sorted);
        Ok(())
    }

    fn notes(&self, account: &mut Account) {
        account.notes.extend(self.apart);
    }
}

fn main() -> ExitCode {
    main_of("mbx-count-guard", |options: &Options| &options.common, guard)
}

fn guard(options: Options, report: &mut Report) -> Result<Account, Stop> {
    are_files(&options.files, "a number of mailboxes is told by --min", |word| word.iter().all(u8::is_ascii_digit))?;
    let mut held = Held::new()?;
    let mut filter = Guard::new(options);
    let options = &filter.options;
    let list = Run {
        input: Input::of(&options.files)?,
        output: Some(Output::new(Box::new(held.writer()?), "the temporary file")),
        rejects: None,
        seal: match (options.sealed, filter.starts) {
            (true, _) => Seal::Demand,
            (false, true) => Seal::TakeOff,
            (false, false) => Seal::Keep,
        },
        releases: options.common.releases(),
        allow_empty: options.common.allow_empty,
        require_end: false,
    };
    let mut account = run(list, &mut filter, report);
    for remark in filter.doubts.remarks(&filter.names) {
        report.remark(remark);
    }
    report.flush_alike();
    if report.status() != Status::Done {
        account.ending = None;
        account.unwritten += std::mem::take(&mut account.written);
        if !filter.starts {
            let mut output = Output::stdout()?;
            write_abort(report.tool(), "the list was not let out", &mut output.buffer);
            output.flush()?;
        }
        return Ok(account);
    }
    let list = held.reader()?;
    let Some((program, args)) = filter.options.command.split_first() else {
        return let_out(list).map(|()| account);
    };
    let name = Name(program.as_bytes()).to_string();
    let child = start(program, args, &name, &list)?;
    if let Err(stop) = filter.load(&name, child, list, report) {
        report.stop(&stop);
    }
    if report.status() != Status::Done {
        account.ending = Some("started, but not loaded as it was meant: do not switch");
    }
    Ok(account)
}

fn let_out(mut list: File) -> Result<(), Stop> {
    let mut out = stdout()?;
    io::copy(&mut list, &mut out).map(drop).map_err(|e| cannot_write("stdout", &e))
}

/// Starts the command with the list as its standard input.
fn start(program: &OsString, args: &[OsString], name: &str, list: &File) -> Result<Child, Stop> {
    Command::new(program)
        .args(args)
        .stdin(list.try_clone().map_err(|e| Stop::io("the temporary file", &e))?)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| cannot_run(program, name, &e))
}

/// Shows what the command says, and waits. The loaders exit 0 whatever they drop; only a line on their stderr tells.
fn attend(mut child: Child, name: &str, list: &mut File, verified: bool, report: &mut Report) -> Result<(), Stop> {
    /// How long what the command left behind is listened to.
    const LISTENS: Duration = Duration::from_secs(10);
    let Some(stderr) = child.stderr.take() else { return Err(Stop::Trouble(format!("{name}: has no stderr"))) };
    let mut command = Attended::new(child, stderr.into()).map_err(|e| Stop::io(name, &e))?;
    let mut said = 0_u64;
    let mut ended_line = true;
    let mut text = [0; 8 * 1024];
    let held = loop {
        match command.read(&mut text).map_err(|e| Stop::io(name, &e))? {
            Got::Bytes(got) => {
                said += memchr::memchr_iter(b'\n', &text[..got]).count() as u64;
                ended_line = text[..got].ends_with(b"\n");
                // Shown as it is; a stderr of ours that is closed changes nothing about what was loaded.
                let _ = io::stderr().write_all(&text[..got]);
            }
            Got::End => break None,
            Got::Held => break Some(command.holders()),
        }
        if command.ended().is_some_and(|ended| ended.elapsed() > LISTENS) {
            break Some(command.holders());
        }
    };
    if !ended_line {
        said += 1;
        let _ = io::stderr().write_all(b"\n");
    }
    let status = command.wait().map_err(|e| Stop::Trouble(format!("{name}: cannot wait for it: {}", reason(&e))))?;
    if !status.success() {
        report.finding("command failed", format_args!("{name} ended with {status}: the list may be loaded in part"));
    }
    if let Some(holders) = held {
        report.remark(format_args!(
            "{name} has ended, but its stderr is still open in {holders}: what that says from now on is not heard here"
        ));
    }
    tell_what_was_read(name, list, verified, report)?;
    tell_who_has_it(name, list, verified, report);
    if said > 0 {
        report.finding(
            "command complained",
            format_args!("{name} complained on stderr, lines: {}. It may not have stored every entry", Count(said)),
        );
    }
    Ok(())
}

/// A process that the command left behind with the list as its standard input may not have stored all of it yet. Of the
/// last one that was needed the end is waited for.
fn tell_who_has_it(name: &str, list: &File, verified: bool, report: &mut Report) {
    let until = Instant::now() + PATIENCE;
    let mut having = holders(list.as_fd());
    while !having.is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        having = holders(list.as_fd());
    }
    if having.is_empty() {
        return;
    }
    let what = format!("{name} has ended, but {} still has the list: it may not be loaded yet", named(&having));
    match verified {
        true => report.remark(what),
        false => report.finding("list still held", what + ". Let the command wait for it, or add --verify"),
    }
}

/// The command and we share one place in the list: it is at the end if all of it was read. A command that opened it
/// anew (`/dev/stdin`) has a place of its own, so where --verify tells what it did nothing at all is only a remark.
fn tell_what_was_read(name: &str, list: &mut File, verified: bool, report: &mut Report) -> Result<(), Stop> {
    let failed = |e: &io::Error| Stop::io("the temporary file", e);
    let read = list.stream_position().map_err(|e| failed(&e))?;
    let all = list.metadata().map_err(|e| failed(&e))?.len();
    match read {
        0 if all > 0 => {
            let what = format!("{name} read nothing from its standard input: is it what loads the list?");
            match verified {
                true => report.remark(what),
                false => report.finding("command read nothing", what + " If it opened /dev/stdin anew, add --verify"),
            }
        }
        read if read < all => report.finding(
            "command stopped reading",
            format_args!("{name} read {} of the {} bytes of the list, and no more", Count(read), Count(all)),
        ),
        _ => {}
    }
    Ok(())
}
