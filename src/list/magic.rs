//! Recognises input that is not a mailbox list: gzip, a database, UTF-16, mbox.

use memchr::{memchr, memchr2};

/// Returns true if the first bytes of a file are enough for [`foreign`]. With fewer bytes its answer could depend on
/// the size of the first read.
pub fn are_enough(start: &[u8]) -> bool {
    start.len() >= 16 && memchr2(b'\t', b'\n', start).is_some()
}

/// Returns the kind of a file that is not a list, and what to do with it. `start` is the beginning of the file.
pub fn foreign(start: &[u8]) -> Option<&'static str> {
    let database = "a Cyrus database: `ctl_mboxlist -d -f FILE` of the server that wrote it prints the list";
    let berkeley =
        |magic: &[u8]| matches!(magic, b"\x62\x31\x05\0" | b"\x61\x15\x06\0" | b"\0\x05\x31\x62" | b"\0\x06\x15\x61");
    Some(match start {
        [0x1f, 0x8b, ..] => "gzip data: unpack it with `gzip -dc`",
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] => "bzip2 data: unpack it with `bzip2 -dc`",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz data: unpack it with `xz -dc`",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd data: unpack it with `zstd -dc`",
        [b'P', b'K', 3, 4, ..] => "a zip archive: unpack it with `unzip -p`",
        // The magic of skiplist and twoskip.
        [0xa1, 0x02, 0x8b, 0x0d, ..] => database,
        _ if start.get(12..16).is_some_and(berkeley) => database,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "UTF-16, maybe saved by an editor: `iconv -f UTF-16 -t UTF-8` converts it back"
        }
        // Every line of a list has a TAB, so a first line `From ...` without one is mail.
        _ if start.starts_with(b"From ")
            && memchr(b'\t', start).is_none_or(|tab| memchr(b'\n', &start[..tab]).is_some()) =>
        {
            "mail in mbox format, not a mailbox list: `ctl_mboxlist -d` prints the list"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_that_is_not_a_list() {
        for (start, what) in [
            (&b"\x1f\x8b\x08"[..], "gzip"),
            (b"\xa1\x02\x8b\x0dskiplist file\0", "ctl_mboxlist -d"),
            (b"\0\0\0\0\x01\0\0\0\0\0\0\0\x62\x31\x05\0", "ctl_mboxlist -d"),
            (b"\xff\xfeu\0", "UTF-16"),
            (b"From bob Mon Jan 1\nA:\tb", "mbox"),
        ] {
            assert!(foreign(start).is_some_and(|found| found.contains(what)), "{what}");
        }
        for start in [&b"BZh\tdefault\t"[..], b"From bob\tdefault\tx", b"PK\t1\t", b"{\n", b"", b"user.b\t1\t"] {
            assert_eq!(foreign(start), None);
        }
    }
}
