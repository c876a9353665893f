//! The closing line of a filter.

use crate::mailbox::text::Count;
use std::fmt;

/// The closing line of every filter: the entries read, and their outcomes. The numbers add up: in = out + dropped +
/// refused + held back. Dropped entries are counted by reason.
#[derive(Default, Debug)]
pub struct Account {
    /// Entries read, and lines that are not entries.
    pub read: u64,
    /// Entries written, or accepted by a filter without an output.
    pub written: u64,
    /// True if the filter has no output.
    pub looks: bool,
    /// The reason for a bad end.
    pub ending: Option<&'static str>,
    /// Entries and lines refused.
    pub refused: u64,
    /// Entries accepted after the output had ended in an abort mark.
    pub unwritten: u64,
    /// Entries dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Changes of the entries written, by kind.
    pub notes: Vec<(&'static str, u64)>,
}

impl Account {
    /// Counts one entry as dropped for `why`.
    pub fn drop_one(&mut self, why: &'static str) {
        count(&mut self.dropped, why);
    }

    /// Returns true if an entry was read and not written.
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
