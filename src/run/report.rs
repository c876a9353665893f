//! The messages of a filter and its exit status.
//!
//! One call prints a message and changes the status, so that the two cannot drift apart. The table of statuses is
//! EXIT STATUS of every manual page.

use crate::list::error::Stop;
use crate::mailbox::rejection::{At, Refusal};
use crate::mailbox::text::{Brief, Count, Groups, Name};
use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The outcomes of a filter. The worst one is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Everything was done, entries dropped on request included: 0.
    Done,
    /// An entry was refused, a limit was exceeded, or the list was aborted upstream: 1.
    Refused,
    /// The usage, the configuration, input or output is wrong, or a release is needed and was not given: 2.
    Trouble,
    /// The reader of standard output has closed it: 141, as a shell shows an end by SIGPIPE.
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

/// The amount of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volume {
    /// No notices.
    Quiet,
    /// The first twenty messages of each kind, and the number of the rest.
    #[default]
    Normal,
    /// All messages, and each entry that is left out on request. Standard error then names every mailbox that is
    /// missing from the output.
    Verbose,
}

/// The messages of one run, on stderr, and its status.
pub struct Report {
    tool: &'static str,
    volume: Volume,
    status: Status,
    /// The number of messages of each kind.
    kinds: Vec<(&'static str, u64)>,
    /// The refusals and the notices, if they are collected and not printed.
    gathered: Option<(Groups, Groups)>,
    /// The times of the progress line of a filter that waits for the disk, on a terminal.
    progress: Option<Clock>,
}

/// The times of the progress line.
struct Clock {
    begun: Instant,
    shown: Instant,
}

/// The numbers for the progress line.
pub struct Progress {
    /// The number of mailboxes that are done.
    pub count: u64,
    /// The number of mailboxes per second.
    pub rate: u64,
}

/// The number of messages of one kind that are printed. The rest are only counted.
pub const ALIKE: u64 = 20;

impl Report {
    /// Returns the report of `tool`.
    pub fn new(tool: &'static str, volume: Volume) -> Report {
        Report { tool, volume, status: Status::Done, kinds: Vec::new(), gathered: None, progress: None }
    }

    /// Returns the name of the filter.
    pub fn tool(&self) -> &'static str {
        self.tool
    }

    /// Returns the worst status so far.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Returns true if the user wants no notices.
    pub fn quiet(&self) -> bool {
        self.volume == Volume::Quiet
    }

    /// Returns the amount of messages.
    pub fn volume(&self) -> Volume {
        self.volume
    }

    /// Changes the status to `status` if that is worse.
    pub fn spoil(&mut self, status: Status) {
        self.status = self.status.max(status);
    }

    /// Collects further refusals and notices by kind, instead of printing them.
    pub fn gather(&mut self) {
        self.gathered = Some(Default::default());
    }

    /// Returns true if refusals and notices are collected.
    pub fn gathers(&self) -> bool {
        self.gathered.is_some()
    }

    /// Returns the collected refusals and notices.
    pub fn gathered(&mut self) -> (Groups, Groups) {
        self.gathered.take().unwrap_or_default()
    }

    /// Reports an entry that is refused: status 1.
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

    /// Reports something about an entry that the administrator should know. The status does not change.
    pub fn notice(&mut self, at: At<'_>, kind: &'static str, detail: impl fmt::Display, mailbox: &[u8]) {
        if !self.quiet() {
            self.loss(at, kind, detail, mailbox);
        }
    }

    /// Reports a loss, such as an entry that is left out on request. It is printed also with `-q`. The status does not
    /// change.
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

    /// Reports an entry that is left out on request and counted under `why`. It is printed only with `-v`.
    pub fn left_out(&self, at: At<'_>, why: &'static str, mailbox: &[u8]) {
        if self.volume == Volume::Verbose && self.gathered.is_none() {
            self.line(format_args!("{at}: {why}: {}", Name(mailbox)));
        }
    }

    /// Reports something about the whole list. The status does not change.
    pub fn remark(&mut self, text: impl fmt::Display) {
        if !self.quiet() {
            self.line(format_args!("{text}"));
        }
    }

    /// Reports a notice about the whole list that can occur many times.
    pub fn remark_alike(&mut self, kind: &'static str, text: impl fmt::Display) {
        if !self.quiet() {
            self.told(kind, text);
        }
    }

    /// Reports an error in the whole list: status 1.
    pub fn finding(&mut self, kind: &'static str, text: impl fmt::Display) {
        self.spoil(Status::Refused);
        self.told(kind, text);
    }

    /// Reports something about the whole list, also with `-q`. The caller decides about the status.
    pub fn told(&mut self, kind: &'static str, text: impl fmt::Display) {
        if self.first_of(kind) {
            self.line(format_args!("{text}"));
        }
    }

    /// Prints a line that is the result of the run, also with `-q`.
    pub fn answer(&self, text: impl fmt::Display) {
        self.line(format_args!("{text}"));
    }

    /// Prints the progress of a filter that waits for the disk, twice a second and only on a terminal.
    pub fn progress(&mut self, count: u64, text: impl FnOnce(&Progress) -> String) {
        // Reads the clock only once in 16 calls.
        if !count.is_multiple_of(16) || self.quiet() {
            return;
        }
        let now = Instant::now();
        if count == 16 && io::stderr().is_terminal() {
            self.progress = Some(Clock { begun: now, shown: now });
        }
        let due = |clock: &&mut Clock| now.duration_since(clock.shown) > Duration::from_millis(500);
        if let Some(clock) = self.progress.as_mut().filter(due) {
            clock.shown = now;
            let rate = count as f64 / now.duration_since(clock.begun).as_secs_f64();
            let _ = io::stderr()
                .lock()
                .write_all(format!("\r\x1b[K{}", text(&Progress { count, rate: rate as u64 })).as_bytes());
        }
    }

    /// Reports the reason that ends the run. Returns the text of the abort mark, if one is to be written.
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

    /// Prints, for each kind, the number of messages that were not printed.
    pub fn flush_alike(&mut self) {
        for (kind, count) in std::mem::take(&mut self.kinds) {
            if count > ALIKE {
                self.line(format_args!("{} more: {kind}", Count(count - ALIKE)));
            }
        }
    }

    /// Counts a message of a kind. Returns true if it is to be printed.
    fn first_of(&mut self, kind: &'static str) -> bool {
        if self.volume == Volume::Verbose {
            return true;
        }
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => {
                *count += 1;
                *count <= ALIKE
            }
            None => {
                self.kinds.push((kind, 1));
                true
            }
        }
    }

    fn line(&self, text: fmt::Arguments<'_>) {
        // A closed or full stderr must not stop a migration. The exit status still reports the result.
        let over = if self.progress.is_some() { "\r\x1b[K" } else { "" };
        let _ = io::stderr().lock().write_all(format!("{over}{}: {text}\n", self.tool).as_bytes());
    }
}
