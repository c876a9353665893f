//! Partition names, as imapd.conf can declare them.

/// The longest partition name that any loader takes (`MAX_PARTITION_LEN` 64; undump refuses 64 and more).
pub const MAX_LEN: usize = 63;

/// What text dumps of 2.5 to 3.5 print where a tombstone or an intermediate has no partition: C's `%s` of a NULL.
pub const NULL: &[u8] = b"(null)";

/// Whether imapd.conf can declare a partition of this name: `[a-z0-9_-]`, 1 to 63 bytes. Option names are folded to
/// lower case and looked up as they stand, so a partition with an upper-case letter is never found
/// (`facts/layout.md` 3).
pub fn can_be_declared(name: &[u8]) -> bool {
    (1..=MAX_LEN).contains(&name.len()) && name.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Whether the place of an entry that has no `!` can only be a server: host names may have dots, partitions may not.
pub fn must_be_server(place: &[u8]) -> bool {
    // Places are a few bytes: a search that sets itself up costs more than the look.
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
