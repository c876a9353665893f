//! Functions that the benches share.

use std::time::Duration;
use tempfile::TempDir;

/// Returns a number from the environment, or `default`.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns the median.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Returns a temporary directory in memory, or else on disk.
pub fn in_memory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("mbx-bench").tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.expect("a temporary directory")
}
