//! All tests, as one program. `cargo test --test main laws::` runs one folder.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cyrus;
mod docs;
mod faults;
mod filters;
mod harness;
mod laws;
mod loaders;
