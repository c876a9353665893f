//! Rights and identifiers: read alike however often, and rewritten in an entry so that what was closed stays closed,
//! what was asked for is there, and nothing else is.

use super::stage;
use mbxtools::list::edits::{AclChanges, Changes};
use mbxtools::list::{json, text};
use mbxtools::mailbox::acl;
use mbxtools::mailbox::acl::{Pair, Reader, Rights};
use mbxtools::mailbox::entry::Entry;
use mbxtools::mailbox::mbtype::Mbtype;
use mbxtools::release::{Dialect, Era};

/// What becomes of a pair.
#[derive(Clone, Copy)]
enum Does {
    Keeps,
    Goes,
    Renames,
    Rewrites,
    Both,
}

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [era, deleteright, first, second, added, acl @ ..] = data else { return };
    let letters = [acl::CANONICAL.as_slice(), b"cd"].concat();
    let reader =
        Reader::new(Era::ALL[usize::from(*era) % Era::ALL.len()], letters[usize::from(*deleteright) % letters.len()]);
    // As it comes out of the stream.
    let acl: Vec<u8> = acl.iter().copied().filter(|b| !matches!(b, 0 | b'\n' | b'\r')).collect();
    for part in acl.split(|b| *b == b'\t') {
        rights(reader, part);
    }
    let pairs: Vec<_> = acl::pairs(&acl).collect();
    let end = pairs.last().map_or(0, |pair| pair.end());
    assert_eq!(acl::is_closed(&acl), end == acl.len());
    let twice = pairs.iter().enumerate().any(|(i, pair)| pairs[..i].iter().any(|p| p.identifier == pair.identifier));
    assert_eq!(acl::twice(&acl).is_some(), twice);

    let does = |i: usize| {
        let seed = usize::from(if i % 2 == 1 { *second } else { *first });
        [Does::Keeps, Does::Goes, Does::Renames, Does::Rewrites, Does::Both][(seed >> (i / 2 % 5)) % 5]
    };
    let grants = usize::from(*added) % 3;
    let line = [b"user.x\tp\t", &acl[..]].concat();
    let fields = text::parse(&line, Dialect::Bare).expect("an entry");
    let entry = Entry::of_line(&line, stage::AT, Dialect::Bare, fields);
    // The rest behind the pairs would come to life.
    let grants = if acl::is_closed(&acl) { grants } else { 0 };
    let expected = expected(&acl, reader, does, grants);
    rewritten(&entry, reader, does, grants, |again| assert_eq!(again.acl(), expected));
    if !acl::is_closed(&acl) || twice || std::str::from_utf8(&acl).is_err() {
        return;
    }
    // The same in JSON, written in two ways.
    let mut object = Vec::new();
    json::write(&entry, Mbtype::LEGACY, &acl, None, &mut object).expect("a type of its own");
    let dense = object.iter().filter(|b| **b != b' ').copied().collect::<Vec<_>>();
    for object in [&object, &dense].into_iter().take(if acl.contains(&b' ') { 1 } else { 2 }) {
        if acl::twice(&expected).is_some() {
            break;
        }
        stage::reread(object, Dialect::Json, |entry| {
            assert_eq!(entry.acl(), acl);
            rewritten(entry, reader, does, grants, |again| assert_eq!(again.acl(), expected));
        });
    }
}

/// What is explicit means the same to every reader that knows the letters, and stays as it is.
fn rights(reader: Reader, rights: &[u8]) {
    let reading = reader.read(rights);
    let mut explicit = Vec::new();
    reading.rights.write(&mut explicit);
    assert!(explicit.is_empty() || acl::are_letters(&explicit));
    assert!(!explicit.iter().any(|letter| b"cd".contains(letter)));
    for deleteright in *b"cdx" {
        for era in Era::ALL {
            let again = Reader::new(era, deleteright).read(&explicit);
            assert!(!again.has_unknown && !again.has_macro);
            assert!(again.inert != Rights::NONE || again.rights == reading.rights);
        }
    }
    if !reading.has_macro && reading.inert == Rights::NONE {
        assert!(reading.rights.includes(reading.rights.without(reading.rights.novel())));
        let known: Vec<u8> = rights.iter().copied().filter(|letter| acl::are_letters(&[*letter])).collect();
        assert!(explicit.iter().all(|letter| known.contains(letter)) && known.iter().all(|l| explicit.contains(l)));
    }
    if let Some(typed) = acl::typed_rights(rights) {
        assert_eq!(typed, Reader::new(Era::LATEST, b'x').read(rights).rights);
        assert!(
            typed.union(reading.rights).without(reading.rights).union(Rights::NONE) == typed.without(reading.rights)
        );
    }
}

fn explicit(reader: Reader, rights: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    reader.read(rights).rights.write(&mut out);
    out
}

fn renamed(pair: &Pair<'_>) -> Vec<u8> {
    [pair.identifier, b"\"2"].concat()
}

fn granted(n: usize) -> (Vec<u8>, &'static [u8]) {
    (format!("granted \\{n}").into_bytes(), b"lrs")
}

/// What an ACL is to become.
fn expected(acl: &[u8], reader: Reader, does: impl Fn(usize) -> Does, grants: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |identifier: &[u8], rights: &[u8]| out.extend([identifier, b"\t", rights, b"\t"].concat());
    let mut end = 0;
    for (i, pair) in acl::pairs(acl).enumerate() {
        end = pair.end();
        match does(i) {
            Does::Keeps => add(pair.identifier, pair.rights),
            Does::Goes => {}
            Does::Renames => add(&renamed(&pair), pair.rights),
            Does::Rewrites => add(pair.identifier, &explicit(reader, pair.rights)),
            Does::Both => add(&renamed(&pair), &explicit(reader, pair.rights)),
        }
    }
    for (identifier, rights) in (0..grants).map(granted) {
        add(&identifier, rights);
    }
    out.extend_from_slice(&acl[end..]);
    out
}

fn rewritten(
    entry: &Entry<'_>,
    reader: Reader,
    does: impl Fn(usize) -> Does,
    grants: usize,
    then: impl FnOnce(&Entry<'_>),
) {
    let (mut changes, mut written) = (Changes::default(), Vec::new());
    let mut list = AclChanges::new(entry, &mut changes);
    for (i, pair) in acl::pairs(entry.acl()).enumerate() {
        match does(i) {
            Does::Keeps => {}
            Does::Goes => {
                list.drop_pair(&pair);
                continue;
            }
            Does::Renames => list.put_identifier(&pair, &renamed(&pair)),
            Does::Rewrites => list.put_rights(&pair, &explicit(reader, pair.rights)),
            Does::Both => {
                list.put_identifier(&pair, &renamed(&pair));
                list.put_rights(&pair, &explicit(reader, pair.rights));
            }
        }
        list.next();
    }
    for (identifier, rights) in (0..grants).map(granted) {
        list.add(&identifier, rights);
    }
    changes.apply(entry.bytes, &mut written);
    assert_eq!(written.len(), changes.length_of(entry.bytes.len()));
    stage::reread(&written, entry.dialect, then);
}
