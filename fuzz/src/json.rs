//! Members of a JSON list: read as another reader of JSON reads them, changed, and converted.

use super::stage;
use mbxtools::list::edits::Changes;
use mbxtools::list::jansson::{Scan, Snag, Value, decode, encode};
use mbxtools::list::json;
use mbxtools::list::json::Taken;
use mbxtools::mailbox::acl;
use mbxtools::mailbox::entry::{Entry, Member, Members};
use mbxtools::release::Dialect;

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [choice, to, cut, bytes @ ..] = data else { return };
    let (mut members, mut values) = (Members::default(), Vec::new());
    let (len, mailbox, fields) = match json::parse(bytes, &mut members, &mut values) {
        Ok(Taken { len, mailbox, fields }) => (len, mailbox, fields),
        // A word may go on behind what was read.
        Err(Snag::Incomplete) => {
            let ended = [bytes, b"}"].concat();
            let Err(snag) = json::parse(&ended, &mut members, &mut values) else { return };
            return refused(bytes, snag);
        }
        Err(snag) => return refused(bytes, snag),
    };
    let bytes = &bytes[..len];
    let object = stage::value_of(bytes);
    let (key, value) = object.as_object().and_then(|all| all.iter().next()).expect("one member");
    assert_eq!(mailbox.of(&values), key.as_bytes());
    texts_come_back(mailbox.of(&values));
    // What is cut off is never taken for wrong, or for whole.
    let short = bytes.get(..len.saturating_sub(1 + usize::from(*cut))).unwrap_or_default();
    let taken = json::parse(short, &mut Members::default(), &mut Vec::new());
    assert!(matches!(taken, Err(Snag::Incomplete)), "cut off at {}", short.len());

    let Ok(fields) = fields else { return };
    let members = Some(&members);
    let entry = Entry { bytes, values: &values, members, record: None, at: stage::AT, dialect: Dialect::Json, fields };
    for (member, name) in Member::ALL.iter().filter(|(_, name)| !matches!(*name, "acl" | "name_history")) {
        let text = value[*name].as_str().map(str::as_bytes);
        assert_eq!(entry.member(*member), text.or(value.get(*name).map(|_| &b""[..])), "{name}");
    }
    let pairs: Vec<_> = acl::pairs(entry.acl()).collect();
    let acl = value["acl"].as_object().expect("an ACL");
    assert_eq!(pairs.len(), acl.len());
    for pair in pairs {
        let identifier = std::str::from_utf8(pair.identifier).expect("JSON is UTF-8");
        assert_eq!(acl[identifier].as_str().map(str::as_bytes), Some(pair.rights));
    }
    change(&entry, &object);
    stage::look(&entry, *choice);
    let from = stage::release(*choice).filter(|from| from.dialect() == Dialect::Json);
    if let Some(to) = stage::release(*to) {
        stage::convert(&entry, from, to);
    }
}

/// What is refused is no JSON, or one of what jansson takes exception to.
fn refused(bytes: &[u8], snag: Snag) {
    let text = [b"{", bytes, b"}"].concat();
    if bytes.trim_ascii().is_empty() {
        return;
    }
    match snag {
        Snag::Incomplete => assert!(stage::read_object(&text).is_err()),
        Snag::Wrong(at, what) => {
            assert!(at <= bytes.len());
            let ours = ["\\u0000, which no name can have", "not a JSON value", "values nested too deep"];
            assert!(ours.contains(&what) || stage::read_object(&text).is_err(), "{what} at {at}");
        }
    }
}

fn texts_come_back(text: &[u8]) {
    let (mut quoted, mut back) = (Vec::new(), Vec::new());
    encode(text, &mut quoted);
    let mut scan = Scan::new(&quoted, 0);
    assert!(matches!(scan.value(), Ok(Value::String(_))));
    assert_eq!(scan.at, quoted.len());
    decode(&quoted[1..quoted.len() - 1], &mut back);
    assert_eq!(back, text);
}

/// Other values of members change those, and nothing else.
fn change(entry: &Entry<'_>, object: &serde_json::Value) {
    let (mut changes, mut written) = (Changes::default(), Vec::new());
    changes.put_partition(entry, b"new \"partition\"");
    for member in [Member::Uniqueid, Member::Uidvalidity, Member::JmapId] {
        changes.put_member(entry, member, b"17\\");
    }
    changes.apply(entry.bytes, &mut written);
    assert_eq!(written.len(), changes.length_of(entry.bytes.len()));
    let mut expected = object.clone();
    let members = expected.as_object_mut().and_then(|all| all.values_mut().next()?.as_object_mut()).expect("an entry");
    members.insert("partition".into(), "new \"partition\"".into());
    for member in [Member::Uniqueid, Member::Uidvalidity, Member::JmapId] {
        members.insert(member.name().into(), "17\\".into());
    }
    assert_eq!(stage::value_of(&written), expected);
}
