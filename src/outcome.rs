//! How a filter ends, and what it says on the way.
//!
//! Saying something and spoiling the status are one call, so the messages and the exit status
//! cannot drift apart. The table of outcomes is EXIT STATUS of every
//! manual page.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The four ends of a filter. The worst one seen is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Everything was done, entries dropped on request included: 0.
    Done,
    /// An entry was refused, a limit was exceeded, or the list was aborted upstream: 1.
    Refused,
    /// Usage, configuration, input or output, or a release that nobody told: 2.
    Trouble,
    /// The reader of the standard output went away: 141, as a shell shows death by SIGPIPE.
    Closed,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Done => 0,
            Status::Refused => 1,
            Status::Trouble => 2,
            Status::Closed => 141,
        })
    }
}

/// Why a filter cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// The list is not to be loaded: status 1, and the reason goes downstream in the abort mark.
    Refused(String),
    /// Something other than the list is wrong: status 2, and the reason goes downstream.
    Trouble(String),
    /// Trouble that goes nowhere: the standard output is a file that is none of ours to write to.
    Muted(String),
    /// An abort mark came from upstream; it goes on as it came, without a message of ours.
    Upstream(Vec<u8>),
    /// Nobody reads our standard output any more: silence.
    Closed,
}

impl Stop {
    /// Trouble with a file: `PATH: what the system said`.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Stop {
        Stop::Trouble(format!("{what}: {}", reason(error)))
    }
}

/// What the system said, without Rust's `(os error 2)`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// A name as messages show it: bare if nothing in it could mislead, else in single quotes with
/// everything that is not printable ASCII as `\xNN`. Mailbox names, identifiers and paths are bytes
/// that anybody could choose, and stderr ends in terminals and logs.
pub struct Name<'a>(pub &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        write_name(self.0, SHOWN, f)?;
        match self.0.len() > SHOWN {
            true => write!(f, "... ({} bytes)", self.0.len()),
            false => Ok(()),
        }
    }
}

/// A name where several stand in one line: as [`Name`], of long ones the beginning.
pub struct Brief<'a>(pub &'a [u8]);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 50;
        write_name(self.0, SHOWN, f)?;
        f.write_str(if self.0.len() > SHOWN { "..." } else { "" })
    }
}

/// The name, or its first `shown` bytes.
fn write_name(name: &[u8], shown: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"'\"\\`".contains(b);
    if !name.is_empty() && name.len() <= shown && name.iter().all(plain) {
        return name.iter().try_for_each(|&b| f.write_char(char::from(b)));
    }
    f.write_char('\'')?;
    for &b in &name[..name.len().min(shown)] {
        match b {
            b'\\' | b'\'' => write!(f, "\\{}", char::from(b))?,
            b'\t' => f.write_str("\\t")?,
            b' '..=b'~' => f.write_char(char::from(b))?,
            _ => write!(f, "\\x{b:02x}")?,
        }
    }
    f.write_char('\'')
}

/// What was found of several kinds, with the first few of each.
#[derive(Default, Debug)]
pub struct Groups(Vec<(&'static str, u64, Vec<String>)>);

impl Groups {
    /// Counts one more of a kind; of the first few it is asked what they are, and of the very first at length.
    pub fn add(&mut self, kind: &'static str, which: impl FnOnce(bool) -> String) {
        const FIRST: usize = 3;
        let i = self.0.iter().position(|(known, ..)| *known == kind).unwrap_or_else(|| {
            self.0.push((kind, 0, Vec::new()));
            self.0.len() - 1
        });
        let (_, count, first) = &mut self.0[i];
        *count += 1;
        if first.len() < FIRST {
            first.push(which(*count == 1));
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count, first) in &self.0 {
            let more = if *count > first.len() as u64 { ", ..." } else { "" };
            writeln!(f, "{:>12}  {kind}: {}{more}", Count(*count).to_string(), first.join(", "))?;
        }
        Ok(())
    }
}

/// A count as people read it: `32,118`.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// Why one entry is not let through. Those of one `kind` are alike: after twenty the rest are
/// counted, whatever their `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, the same words for all that are alike.
    pub kind: &'static str,
    /// What in this entry, and what to do about it; empty or beginning with a blank.
    pub detail: String,
}

impl Refusal {
    /// A refusal that needs no more words than its kind.
    pub fn new(kind: &'static str) -> Refusal {
        Refusal { kind, detail: String::new() }
    }

    /// A refusal with what it found, in brackets behind its kind.
    pub fn with(kind: &'static str, detail: impl fmt::Display) -> Refusal {
        Refusal { kind, detail: format!(" ({detail})") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.detail)
    }
}

/// Where something was found: a file (`stdin` for the standard input) and its physical line.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The file's name as the user gave it.
    pub file: &'a str,
    /// The physical line, counted from 1.
    pub line: u64,
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volume {
    /// No notices.
    Quiet,
    /// Of messages that are alike the first twenty, and the number of the rest.
    #[default]
    Normal,
    /// All of them, and each entry that is left out on request, so that what is kept of stderr names every mailbox that
    /// did not come along.
    Verbose,
}

/// The messages of one run, on stderr, and the status they add up to.
pub struct Report {
    tool: &'static str,
    volume: Volume,
    status: Status,
    alike: Vec<(&'static str, u64)>,
    /// What was refused, and what is to be known, where it is told at the end instead.
    gathered: Option<(Groups, Groups)>,
    /// Of a filter that waits for the disk, on a terminal.
    progress: Option<Progress>,
}

/// How far a filter is.
struct Progress {
    begun: Instant,
    shown: Instant,
}

/// What a line of progress can tell.
pub struct Told {
    /// How many are done.
    pub count: u64,
    /// How many in a second.
    pub rate: u64,
}

/// How many messages of one kind are shown before the rest are only counted.
pub const ALIKE: u64 = 20;

impl Report {
    /// Messages of `tool` go to stderr, so many of them.
    pub fn new(tool: &'static str, volume: Volume) -> Report {
        Report { tool, volume, status: Status::Done, alike: Vec::new(), gathered: None, progress: None }
    }

    /// The name of the filter that speaks.
    pub fn tool(&self) -> &'static str {
        self.tool
    }

    /// The worst that was said so far.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the user wants no notices.
    pub fn quiet(&self) -> bool {
        self.volume == Volume::Quiet
    }

    /// How much is said.
    pub fn volume(&self) -> Volume {
        self.volume
    }

    /// Raises the status to `status` if it was better.
    pub fn spoil(&mut self, status: Status) {
        self.status = self.status.max(status);
    }

    /// From here on, what is said of entries is gathered by kinds.
    pub fn gather(&mut self) {
        self.gathered = Some(Default::default());
    }

    /// Whether what is said of entries is gathered.
    pub fn gathers(&self) -> bool {
        self.gathered.is_some()
    }

    /// What was gathered: what was refused, and what is to be known.
    pub fn gathered(&mut self) -> (Groups, Groups) {
        self.gathered.take().unwrap_or_default()
    }

    /// An entry that is not let through: status 1.
    pub fn refuse(&mut self, at: At<'_>, refusal: &Refusal, mailbox: &[u8]) {
        self.spoil(Status::Refused);
        if let Some((refused, _)) = &mut self.gathered {
            refused.add(refusal.kind, |first| match first {
                true => format!("{}{}", Brief(mailbox), refusal.detail),
                false => Brief(mailbox).to_string(),
            });
        } else if self.first_of(refusal.kind) {
            self.line(format_args!("{at}: {refusal}: {}", Name(mailbox)));
        }
    }

    /// Something about an entry that the administrator should know and that changes no status.
    pub fn notice(&mut self, at: At<'_>, kind: &'static str, detail: impl fmt::Display, mailbox: &[u8]) {
        if !self.quiet() {
            self.loss(at, kind, detail, mailbox);
        }
    }

    /// An entry that goes no further, as the user asked: no change of status, but told also with `-q`.
    pub fn loss(&mut self, at: At<'_>, kind: &'static str, detail: impl fmt::Display, mailbox: &[u8]) {
        if let Some((_, noticed)) = &mut self.gathered {
            noticed.add(kind, |first| match first {
                true => format!("{}{detail}", Brief(mailbox)),
                false => Brief(mailbox).to_string(),
            });
        } else if self.first_of(kind) {
            self.line(format_args!("{at}: {kind}{detail}: {}", Name(mailbox)));
        }
    }

    /// An entry that is left out on request and counted under `why`.
    pub fn left_out(&self, at: At<'_>, why: &'static str, mailbox: &[u8]) {
        if self.volume == Volume::Verbose && self.gathered.is_none() {
            self.line(format_args!("{at}: {why}: {}", Name(mailbox)));
        }
    }

    /// Something about the whole list that changes no status.
    pub fn remark(&mut self, text: impl fmt::Display) {
        if !self.quiet() {
            self.line(format_args!("{text}"));
        }
    }

    /// A finding about the whole list, for which the status is 1.
    pub fn finding(&mut self, kind: &'static str, text: impl fmt::Display) {
        self.spoil(Status::Refused);
        self.told(kind, text);
    }

    /// Something found about the whole list that is judged elsewhere.
    pub fn told(&mut self, kind: &'static str, text: impl fmt::Display) {
        if self.first_of(kind) {
            self.line(format_args!("{text}"));
        }
    }

    /// A line that is shown also with `-q`, because it is the answer.
    pub fn answer(&self, text: impl fmt::Display) {
        self.line(format_args!("{text}"));
    }

    /// Shows how far a filter is that waits for the disk, twice a second and only on a terminal.
    pub fn progress(&mut self, count: u64, text: impl FnOnce(&Told) -> String) {
        // The clock is asked now and then only.
        if !count.is_multiple_of(16) || self.quiet() {
            return;
        }
        let now = Instant::now();
        if count == 16 && io::stderr().is_terminal() {
            self.progress = Some(Progress { begun: now, shown: now });
        }
        if let Some(progress) = &mut self.progress
            && now.duration_since(progress.shown) > Duration::from_millis(500)
        {
            progress.shown = now;
            let rate = count as f64 / now.duration_since(progress.begun).as_secs_f64();
            let _ = io::stderr()
                .lock()
                .write_all(format!("\r\x1b[K{}", text(&Told { count, rate: rate as u64 })).as_bytes());
        }
    }

    /// The end of the run for a reason of its own; returns what the abort mark says.
    pub fn stop(&mut self, stop: &Stop) -> Option<String> {
        match stop {
            Stop::Refused(text) => {
                self.spoil(Status::Refused);
                self.line(format_args!("{text}"));
                Some(text.clone())
            }
            Stop::Trouble(text) => {
                self.spoil(Status::Trouble);
                self.line(format_args!("{text}"));
                Some(text.clone())
            }
            Stop::Muted(text) => {
                self.spoil(Status::Trouble);
                self.line(format_args!("{text}"));
                None
            }
            Stop::Upstream(_) => {
                self.spoil(Status::Refused);
                None
            }
            Stop::Closed => {
                self.spoil(Status::Closed);
                None
            }
        }
    }

    /// Tells how many more there were of each kind that was cut off at twenty.
    pub fn flush_alike(&mut self) {
        for (kind, count) in std::mem::take(&mut self.alike) {
            if count > ALIKE {
                self.line(format_args!("{} more: {kind}", Count(count - ALIKE)));
            }
        }
    }

    fn first_of(&mut self, kind: &'static str) -> bool {
        if self.volume == Volume::Verbose {
            return true;
        }
        match self.alike.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => {
                *count += 1;
                *count <= ALIKE
            }
            None => {
                self.alike.push((kind, 1));
                true
            }
        }
    }

    fn line(&self, text: fmt::Arguments<'_>) {
        // A closed or full stderr must not stop a migration: the status still tells.
        let over = if self.progress.is_some() { "\r\x1b[K" } else { "" };
        let _ = io::stderr().lock().write_all(format!("{over}{}: {text}\n", self.tool).as_bytes());
    }
}

/// The closing line of every filter: what came in, and what became of it. It always adds up:
/// in = out + dropped + refused, whatever the names under which entries were dropped.
#[derive(Default, Debug)]
pub struct Account {
    /// Entries (and lines that are no entries) read.
    pub read: u64,
    /// Entries written, or found good by a filter that only looks.
    pub written: u64,
    /// Whether the filter only looks.
    pub looks: bool,
    /// How it ended, if not well.
    pub ending: Option<&'static str>,
    /// Entries and lines refused.
    pub refused: u64,
    /// Entries judged after the output had ended in an abort mark.
    pub unwritten: u64,
    /// Entries dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// What was done to entries that were written, by kind.
    pub notes: Vec<(&'static str, u64)>,
}

impl Account {
    /// Counts one entry as dropped for `why`.
    pub fn drop_one(&mut self, why: &'static str) {
        count(&mut self.dropped, why);
    }

    /// Whether anything that came in did not go out.
    pub fn lost_any(&self) -> bool {
        self.read != self.written
    }
}

/// Adds one to the count of `label`.
pub fn count(counts: &mut Vec<(&'static str, u64)>, label: &'static str) {
    match counts.iter_mut().find(|(known, _)| *known == label) {
        Some((_, n)) => *n += 1,
        None => counts.push((label, 1)),
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = if self.looks { "good" } else { "out" };
        write!(f, "{} in, {} {out}", Count(self.read), Count(self.written))?;
        let notes: Vec<String> =
            self.notes.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{} {what}", Count(*n))).collect();
        if !notes.is_empty() {
            write!(f, " ({})", notes.join(", "))?;
        }
        for (what, n) in &self.dropped {
            write!(f, ", {} {what}", Count(*n))?;
        }
        if self.refused > 0 {
            write!(f, ", {} refused", Count(self.refused))?;
        }
        if self.unwritten > 0 {
            write!(f, ", {} held back", Count(self.unwritten))?;
        }
        if let Some(ending) = self.ending {
            write!(f, ": {ending}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_mislead_a_terminal() {
        assert_eq!(Name(b"user.bob").to_string(), "user.bob");
        assert_eq!(Name(b"user.My Mail").to_string(), "'user.My Mail'");
        assert_eq!(Name(b"a\x1b[2J\xe9\t'").to_string(), r"'a\x1b[2J\xe9\t\''");
        assert_eq!(Name(b"").to_string(), "''");
    }

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (32118, "32,118"), (1234567, "1,234,567")] {
            assert_eq!(Count(n).to_string(), text);
        }
    }
}
