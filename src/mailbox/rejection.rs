//! The reason why one entry is refused, and the line where it was read.

use std::fmt;

/// The reason why one entry is refused. Messages are counted by `kind`: after twenty of one kind, only the number of
/// the rest is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error, in the same words for all entries that have it.
    pub kind: &'static str,
    /// The part of this entry that is wrong, and what to do; empty, or beginning with a blank.
    pub detail: String,
}

impl Refusal {
    /// Returns a refusal without a detail.
    pub fn new(kind: &'static str) -> Refusal {
        Refusal { kind, detail: String::new() }
    }

    /// Returns a refusal with a detail, which is shown in brackets after its kind.
    pub fn with(kind: &'static str, detail: impl fmt::Display) -> Refusal {
        Refusal { kind, detail: format!(" ({detail})") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.detail)
    }
}

/// The place of an entry or a finding: a file (`stdin` for standard input) and its physical line.
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
