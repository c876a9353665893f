//! What the benches share.

use std::time::Duration;
use tempfile::TempDir;

/// A number that the environment may set.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The one in the middle.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A directory of files in memory, where there is one.
pub fn in_memory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("mbx-bench").tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.expect("a temporary directory")
}
