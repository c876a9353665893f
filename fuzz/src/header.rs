//! cyrus.header and cyrus.index: what is believed of them can stand in a path, a line and JSON.

use mbxtools::spool::header::{Header, Index};

/// No fuzzer guesses this.
const MAGIC: &[u8] = b"\xa1\x02\x8b\x0dCyrus mailbox header\n\
    \"The best thing about this system was that it had lots of goals.\"\n\t--Jim Morris on Andrew\n";

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => drop(Header::read(data)),
        1 => header(data),
        _ => index(data),
    }
}

fn header(content: &[u8]) {
    let Ok(header) = Header::read(&[MAGIC, content].concat()) else { return };
    for id in [&header.uniqueid, &header.jmap_id].into_iter().flatten() {
        assert!(id.iter().all(|b| b.is_ascii_graphic() && *b != b'/'));
    }
    assert!(!header.acl.iter().any(|b| matches!(b, 0 | b'\n')));
    // Written in the way of 3.6 it says the same.
    let mut list = MAGIC.to_vec();
    list.extend_from_slice(b"%(");
    let fields = [
        ("T", &header.mbtype),
        ("N", &header.name),
        ("I", &header.uniqueid),
        ("J", &header.jmap_id),
        ("Q", &header.quota_root),
    ];
    for (key, value) in fields {
        if let Some(value) = value {
            list.extend_from_slice(format!("{key} {{{}+}}\r\n", value.len()).as_bytes());
            list.extend_from_slice(value);
            list.push(b' ');
        }
    }
    list.extend_from_slice(b")\n");
    let again = Header::read(&list).expect("a list was written");
    assert_eq!(again, Header { acl: Vec::new(), ..header });
}

fn index(data: &[u8]) {
    let Ok(index) = Index::read(data) else { return };
    assert_ne!(index.uidvalidity, 0);
    assert_eq!(Index::read(&data[..data.len().min(Index::HEAD)]), Ok(index));
    assert_eq!(Index::read(&[data, b"records"].concat()), Ok(index));
}
