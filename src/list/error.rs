//! Why a filter cannot go on.

use std::fmt;
use std::io;

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
