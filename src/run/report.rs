//! How a filter ends, and what it says on the way.
//!
//! Saying something and spoiling the status are one call, so the messages and the exit status
//! cannot drift apart. The table of outcomes is EXIT STATUS of every
//! manual page.

use crate::list::error::Stop;
use crate::mailbox::rejection::{At, Refusal};
use crate::mailbox::text::{Brief, Count, Groups, Name};
use std::fmt;
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

    /// A remark of which there may be many alike.
    pub fn remark_alike(&mut self, kind: &'static str, text: impl fmt::Display) {
        if !self.quiet() {
            self.told(kind, text);
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
