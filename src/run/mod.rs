//! The life of a filter: options, the loop over the list, messages, totals, status.

pub mod engine;
pub mod main;
pub mod options;
pub mod report;
pub mod totals;
