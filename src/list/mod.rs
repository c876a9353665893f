//! A list as bytes: read, taken apart, changed, written, sealed, sorted.

pub mod command;
pub mod counter;
pub mod detect;
pub mod dlist;
pub mod edits;
pub mod error;
pub mod hold;
pub mod jansson;
pub mod json;
pub mod list_file;
pub mod magic;
pub mod record;
pub mod seal;
pub mod stream;
pub mod target;
pub mod text;
