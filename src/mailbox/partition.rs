//! Partition names that imapd.conf can declare.

/// The longest partition name in bytes that a loader accepts (`MAX_PARTITION_LEN` is 64; undump refuses 64 and more).
pub const MAX_LEN: usize = 63;

/// The text that dumps of 2.5 to 3.5 print for a tombstone or an intermediate without a partition: C's `%s` of a NULL.
pub const NULL: &[u8] = b"(null)";

/// Returns true if imapd.conf can declare a partition of this name: `[a-z0-9_-]`, 1 to 63 bytes. The server folds
/// option names to lower case, but not the name that it looks up, so it never finds a partition with an upper-case
/// letter (`facts/layout.md` 3).
pub fn can_be_declared(name: &[u8]) -> bool {
    (1..=MAX_LEN).contains(&name.len()) && name.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Returns true if a place without `!` can only be a server: host names may have dots, partitions may not.
pub fn must_be_server(place: &[u8]) -> bool {
    // Places are short: for them a plain loop is faster than memchr.
    place.iter().any(|b| matches!(b, b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [&b"default"[..], b"0", b"part-3", b"2nd", b"_"] {
            assert!(can_be_declared(good));
        }
        for bad in [&b""[..], b"Default", b"a b", b"a.b", b"p\xe9", b"a!b", b"(null)", &[b'p'; 64]] {
            assert!(!can_be_declared(bad));
        }
    }
}
