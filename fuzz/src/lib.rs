//! What holds of any bytes, a file for each reader. `fuzz_targets/` hands it to libFuzzer, and `tests/laws/seeds.rs` runs it on
//! the seeds and what is near them, so that neither nightly nor libFuzzer is needed to see that it still holds.

pub mod acl;
pub mod conf;
pub mod header;
pub mod json;
pub mod list;
pub mod path;
pub mod record;
pub mod seeds;
pub mod stage;
pub mod text;
pub mod told;

/// What must hold of these bytes.
pub type Hold = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Hold); 9] = [
    ("acl", acl::hold),
    ("conf", conf::hold),
    ("header", header::hold),
    ("json", json::hold),
    ("list", list::hold),
    ("path", path::hold),
    ("record", record::hold),
    ("text", text::hold),
    ("told", told::hold),
];
