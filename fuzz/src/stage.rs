//! The stage on which the targets play: releases, layouts and lists in memory.

use mbxtools::list::detect::{Detected, detect};
use mbxtools::list::edits::Changes;
use mbxtools::list::hold::{Kept, kept, record_of, same_mbtype};
use mbxtools::list::seal::Releases;
use mbxtools::list::target::NUMBERS;
use mbxtools::list::{json, text};
use mbxtools::mailbox::entry::{Entry, Kind, Member, Members};
use mbxtools::mailbox::name::Namespaces;
use mbxtools::mailbox::rejection::At;
use mbxtools::mailbox::text::Groups;
use mbxtools::mailbox::{acl, jmap_id};
use mbxtools::release::{Dialect, Release};
use mbxtools::run::report::{Report, Volume};
use mbxtools::run::totals::Account;
use mbxtools::verbs::convert::{Converted, Converter};
use mbxtools::verbs::summary::Summary;
use mbxtools::verbs::table::{Format, Rows};
use rustix::fs::{MemfdFlags, memfd_create};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::LazyLock;

/// One release of every set of rules.
pub static RELEASES: LazyLock<Vec<Release>> = LazyLock::new(|| {
    let told = [
        "1.6", "2.0.17", "2.1.15", "2.2.0", "2.2.13", "2.3.0", "2.3.3", "2.3.7", "2.3.9", "2.3.11", "2.3.19", "2.4.14",
        "2.4.22", "2.5.11", "2.5.17", "3.0.18", "3.2.12", "3.4.9", "3.6.1", "3.8.6", "3.13.7",
    ];
    told.map(|told| told.parse().expect(told)).into()
});

/// A release, or that nobody told one.
pub fn release(choice: u8) -> Option<&'static Release> {
    RELEASES.get(usize::from(choice) % (RELEASES.len() + 1))
}

/// Where entries come from.
pub const AT: At<'_> = At { file: "fuzz", line: 1 };

/// Messages go to stderr, which `make fuzz` closes.
pub fn report() -> Report {
    Report::new("fuzz", Volume::Normal)
}

/// A file that is nowhere, with these bytes.
pub fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memfd"));
    file.write_all(bytes).expect("memfd");
    file
}

/// A sink whose bytes can be looked at.
#[derive(Clone, Default)]
pub struct Sink(Rc<RefCell<Vec<u8>>>);

impl Sink {
    /// What was written.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.borrow().clone()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what was written as an entry of `dialect` and hands it on: it must be one.
pub fn reread<T>(bytes: &[u8], dialect: Dialect, then: impl FnOnce(&Entry<'_>) -> T) -> T {
    if dialect != Dialect::Json {
        assert_eq!(text::bytes_refused(bytes), None);
        assert!(!bytes.contains(&b'\n'));
        let fields = text::parse(bytes, dialect).expect("what was written is an entry");
        return then(&Entry::of_line(bytes, AT, dialect, fields));
    }
    let (mut members, mut values) = (Members::default(), Vec::new());
    let taken = json::parse(bytes, &mut members, &mut values).expect("what was written is JSON");
    assert_eq!(taken.len, bytes.len());
    let fields = taken.fields.expect("what was written is an entry");
    then(&Entry { bytes, values: &values, members: Some(&members), record: None, at: AT, dialect, fields })
}

/// Looks at an entry in one of the ways that there are, or in none: making tables takes its time.
pub fn look(entry: &Entry<'_>, choice: u8) {
    let mut record = Vec::new();
    record_of(entry, &mut record);
    let Kept { mailbox, acl, .. } = kept(&record);
    assert_eq!((mailbox, acl), (entry.mailbox(), entry.acl()));
    match usize::from(choice) / (RELEASES.len() + 1) {
        0 => {
            let mut summary = Summary::default();
            summary.add(entry, true).expect("no I/O here");
            let (refused, noticed) = (Groups::default(), Groups::default());
            summary.show(&refused, &noticed, &Account::default(), &mut io::sink()).expect("no I/O here");
        }
        1 => {
            let row: serde_json::Value = serde_json::from_slice(&row(entry, Format::Jsonl)).expect("a row is JSON");
            assert_eq!(row["mailbox"], String::from_utf8_lossy(mailbox).into_owned());
            assert_eq!(row["acl"].as_array().map(Vec::len), Some(acl::pairs(acl).count()));
        }
        2 => {
            let table = row(entry, Format::Csv);
            let rows: Vec<_> = csv::Reader::from_reader(&table[..]).into_byte_records().collect();
            let [Ok(row)] = &rows[..] else { panic!("one row of csv") };
            let formula = mailbox.first().is_some_and(|b| b"=+-@\t\r".contains(b));
            assert_eq!(&row[0], [if formula { &b"'"[..] } else { b"" }, mailbox].concat());
        }
        3 => {
            let table = row(entry, Format::Tsv);
            let lines: Vec<_> = table.split(|b| *b == b'\n').collect();
            let [heading, row, b""] = &lines[..] else { panic!("one row of tsv") };
            let cells = |line: &[u8]| line.split(|b| *b == b'\t').map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(cells(heading).len(), cells(row).len());
            assert_eq!(unescaped(&cells(row)[0]), mailbox);
        }
        _ => {}
    }
}

fn row(entry: &Entry<'_>, format: Format) -> Vec<u8> {
    let sink = Sink::default();
    let mut rows = Rows::new(format, Box::new(sink.clone())).expect("no I/O here");
    rows.write(entry).expect("no I/O here");
    rows.finish(&mut report()).expect("no I/O here");
    sink.bytes()
}

/// What a cell of tsv says.
fn unescaped(cell: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = cell.iter();
    while let Some(&b) = bytes.next() {
        out.push(match b {
            b'\\' => match bytes.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'\\') => b'\\',
                other => panic!("{other:?} behind a backslash"),
            },
            b => b,
        });
    }
    out
}

/// What is converted says what it said, is an entry of the target's dialect, and nothing is left to convert.
pub fn convert(entry: &Entry<'_>, from: Option<&Release>, to: &Release) {
    let told = Releases { from: from.cloned(), to: Some(to.clone()), rights_rewritten: false };
    let names = Namespaces::by_default(from, Some(to));
    converted(entry, from, to, |again| {
        say_the_same(entry, again);
        let mut changes = Changes::default();
        let twice = Converter::new(&told, &names, to.dialect(), to).convert(again, &mut changes, &mut report());
        assert_eq!(twice, Ok(Converted::AsItIs));
        // The guard has an answer, too.
        for sealed in [false, true] {
            let mut changes = Changes::default();
            let _ = Converter::for_loading(&told, &names, sealed, to).convert(again, &mut changes, &mut report());
        }
    });
}

/// Hands on what an entry becomes for `to`, unless it is refused or left out.
pub fn converted(entry: &Entry<'_>, from: Option<&Release>, to: &Release, then: impl FnOnce(&Entry<'_>)) {
    let told = Releases { from: from.cloned(), to: Some(to.clone()), rights_rewritten: false };
    let names = Namespaces::by_default(from, Some(to));
    let mut changes = Changes::default();
    let converted = Converter::new(&told, &names, entry.dialect, to).convert(entry, &mut changes, &mut report());
    let mut written = Vec::new();
    match converted {
        Ok(Converted::Dropped(_)) | Err(_) => return,
        Ok(Converted::AsItIs) => assert!(changes.is_empty()),
        Ok(Converted::Changed) => assert!(!changes.is_empty()),
    }
    changes.apply(entry.bytes, &mut written);
    assert_eq!(written.len(), changes.length_of(entry.bytes.len()));
    if to.dialect() != Dialect::Json {
        assert_eq!(detect(&written), Some(Detected::Sure(to.dialect())));
    }
    reread(&written, to.dialect(), then);
}

fn say_the_same(entry: &Entry<'_>, again: &Entry<'_>) {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    record_of(entry, &mut one);
    record_of(again, &mut other);
    let (one, other) = (kept(&one), kept(&other));
    assert_eq!(one.mailbox, other.mailbox);
    assert_eq!(one.place, other.place);
    if again.dialect != Dialect::Bare {
        assert_eq!(entry.kind(), again.kind());
    }
    match (entry.dialect, again.dialect) {
        (Dialect::Bare, _) | (_, Dialect::Bare) => {}
        // That a directory is by name goes without saying up to 3.5.
        (from, Dialect::Json) if from != Dialect::Json && entry.kind() == Kind::Mailbox => {
            assert!(other.mbtype.contains(&b'l'));
            assert!(same_mbtype(one.mbtype, other.mbtype));
        }
        _ => assert!(same_mbtype(one.mbtype, other.mbtype)),
    }
    match again.dialect == Dialect::Json && acl::twice(one.acl).is_some() {
        false => assert_eq!(one.acl, other.acl),
        true => {
            let identifiers = |acl| {
                let mut all: Vec<_> = acl::pairs(acl).map(|pair| pair.identifier).collect();
                all.sort();
                all.dedup();
                all
            };
            assert_eq!(identifiers(one.acl), identifiers(other.acl));
        }
    }
    if entry.dialect == Dialect::Json && again.dialect == Dialect::Json {
        //
        // The jmapId, and the numbers of what has no files, are all that is added.
        let (mut was, mut is) = (value_of(entry.bytes), value_of(again.bytes));
        let lacks = |entry: &Entry<'_>, member| entry.member(member).is_none_or(<[u8]>::is_empty);
        let mut added = Vec::new();
        if lacks(entry, Member::JmapId) && !lacks(again, Member::JmapId) {
            added.push((Member::JmapId, jmap_id::of(entry.member(Member::Uniqueid).unwrap_or_default())));
        }
        let numbers = NUMBERS.into_iter().filter(|member| entry.kind() != Kind::Mailbox && lacks(entry, *member));
        added.extend(numbers.map(|member| (member, b"0".to_vec())));
        for (member, made) in added {
            assert_eq!(again.member(member), Some(made.as_slice()));
            for value in [&mut was, &mut is] {
                value.as_object_mut().and_then(|all| all.values_mut().next()?.as_object_mut()?.remove(member.name()));
            }
        }
        assert_eq!(was, is);
    }
}

/// What another reader of JSON makes of a member of a list.
pub fn value_of(member: &[u8]) -> serde_json::Value {
    read_object(&[b"{", member, b"}"].concat()).expect("this is JSON")
}

/// Reads a whole JSON text, nested as deep as it may be.
pub fn read_object(text: &[u8]) -> Result<serde_json::Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    reader.disable_recursion_limit();
    let mut values = reader.into_iter();
    let value = values.next().unwrap_or_else(|| serde_json::from_slice(b""));
    match values.next() {
        None => value,
        // A second value, or what is none: an error of the reader's own.
        Some(_) => value.and_then(|_| serde_json::from_slice(b"1 1")),
    }
}
