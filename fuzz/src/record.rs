//! Records of the database: read in each form, escaped and not, and converted from any release to any other.

use super::stage;
use mbxtools::list::record::{Form, Kind, Reader, end, is_record};
use mbxtools::list::{json, text};
use mbxtools::mailbox::entry::{Entry, Member, Members};
use mbxtools::release::Dialect;

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [choice, to, bytes @ ..] = data else { return };
    let (from, to) = (stage::release(*choice), stage::release(*to));
    is_record(bytes);
    let Some(len) = end(bytes) else { return };
    // More behind it changes nothing, and less of it is none.
    assert_eq!(end(&[bytes, b"more\n"].concat()), Some(len));
    assert_eq!(end(&bytes[..len]), Some(len));
    assert!(
        (0..len).all(|cut| end(&bytes[..cut]).is_none_or(|shorter| shorter == len))
            || bytes[..len - 1].contains(&b'\n')
    );
    let record = &bytes[..len - 1];
    let mut reader = Reader::new(from);
    let kind = reader.read(record);
    // The flat type's own bytes say the same.
    if let Some(escaped) = escaped(record) {
        let mut again = Reader::new(from);
        assert_eq!(again.read(&escaped), kind);
        assert_eq!((&again.values, again.len, again.record), (&reader.values, reader.len, reader.record));
    }
    let Ok(Kind::Mailbox(form)) = kind else { return };
    let dialect = form.dialect();
    let entry = &reader.values[..reader.len];
    let (mut members, mut values) = (Members::default(), Vec::new());
    let entry = match dialect {
        Dialect::Json => {
            let Ok(taken) = json::parse(entry, &mut members, &mut values) else { return };
            assert_eq!(taken.len, entry.len());
            let Ok(fields) = taken.fields else { return };
            let members = Some(&members);
            Entry { bytes: entry, values: &values, members, record: None, at: stage::AT, dialect, fields }
        }
        _ => {
            if text::bytes_refused(entry).is_some() {
                return;
            }
            let Ok(fields) = text::parse(entry, dialect) else { return };
            let (values, record) = (reader.values.as_slice(), Some(&reader.record));
            Entry { bytes: entry, values, members: None, record, at: stage::AT, dialect, fields }
        }
    };
    assert_eq!(entry.mailbox(), reader.mailbox);
    stage::look(&entry, *choice);
    if let Some(to) = to.filter(|_| from.is_none_or(|from| form.is_of(from))) {
        stage::convert(&entry, from, to);
        if form == Form::Dlist && to.dialect() == Dialect::Json {
            kept(&entry, from, to);
        }
    }
}

/// What a record of 2.5 to 3.5 says beside its line is in the JSON that is made of it.
fn kept(entry: &Entry<'_>, from: Option<&mbxtools::release::Release>, to: &mbxtools::release::Release) {
    stage::converted(entry, from, to, |again| {
        for member in [Member::Uniqueid, Member::Uidvalidity, Member::Createdmodseq, Member::Foldermodseq] {
            if let Some(text) = entry.member(member) {
                assert_eq!(again.member(member), Some(text));
            }
        }
    });
}

/// A record with the escapes of `cyrusdb_flat.c`, if it has none yet and has something to escape.
fn escaped(record: &[u8]) -> Option<Vec<u8>> {
    let tab = record.iter().position(|b| *b == b'\t')?;
    if record.contains(&0xff) {
        return None;
    }
    let encode = |text: &[u8]| {
        let encode = |b: &u8| match b {
            0 | b'\t' | b'\r' | b'\n' => vec![0xff, 0x80 | b],
            b => vec![*b],
        };
        text.iter().flat_map(encode).collect::<Vec<_>>()
    };
    Some([&encode(&record[..tab]), &b"\t"[..], &encode(&record[tab + 1..])].concat())
}
