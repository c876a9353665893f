//! The closing line of a filter.

use crate::mailbox::text::Count;
use std::fmt;

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
