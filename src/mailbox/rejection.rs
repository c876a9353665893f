//! Why one entry does not go on, and where it was read.

use std::fmt;

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
