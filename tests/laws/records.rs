//! The text of the database says what the dump of that database says.
//!
//! The records are made here of the dumps of real servers, by the rules of the releases' sources: `mboxlist_entry_cstring`,
//! `mboxlist_entry_dlist`, `prot_printastring`, and `encode` of `cyrusdb_flat.c`. What the real 3.6.1 keeps and prints is
//! in `tests/cyrus/load.rs`.

use crate::harness::{Sandbox, dumps, json_dumps, lines, read, run};
use mbxtools::list::json;
use mbxtools::mailbox::entry::{Member, Members};

/// `prot_printastring` of 2.5.12 and later.
fn astring(text: &[u8]) -> Vec<u8> {
    let odd = |b: &u8| *b < 0x1f || *b >= 0x7f || b" {()\"%*\\".contains(b);
    let no_quotes = |b: &u8| *b >= 0x80 || b"\r\n\"%\\".contains(b);
    if !text.is_empty() && text != b"NIL" && text.len() < 1024 && !text.iter().any(odd) {
        return text.to_vec();
    }
    match text.len() < 1024 && !text.iter().any(no_quotes) {
        true => [b"\"", text, b"\""].concat(),
        false => [format!("{{{}+}}\r\n", text.len()).as_bytes(), text].concat(),
    }
}

/// A list of keys and values.
fn kvlist<'a>(pairs: impl IntoIterator<Item = (&'a [u8], Vec<u8>)>) -> Vec<u8> {
    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| [&astring(key), &b" "[..], &value].concat()).collect();
    [b"%(", &pairs.join(&b' ')[..], b")"].concat()
}

fn acl(acl: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = acl.split(|b| *b == b'\t').collect();
    kvlist(parts.chunks_exact(2).map(|pair| (pair[0], astring(pair[1]))))
}

/// A record as the flat type of 2.5 and later writes it.
fn escaped((key, value): &(Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let encode = |text: &[u8]| {
        text.iter()
            .flat_map(|&b| match b {
                0 | b'\t' | b'\r' | b'\n' => vec![0xff, 0x80 | b],
                0xff => vec![0xff, 0xff],
                b => vec![b],
            })
            .collect::<Vec<_>>()
    };
    [&encode(key), &b"\t"[..], &encode(value)].concat()
}

/// What is printed of records, and what the flat type keeps.
fn texts(records: &[(Vec<u8>, Vec<u8>)]) -> [Vec<u8>; 2] {
    let printed = records.iter().flat_map(|(key, value)| [key, &b"\t"[..], value, b"\n"].concat());
    [printed.collect(), records.iter().flat_map(|record| [&escaped(record)[..], b"\n"].concat()).collect()]
}

/// A line as a record of 2.0 to 2.4: the bytes that 2.3.10 and later print (`mboxlist_makeentry`).
fn plain(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let line = line.strip_suffix(b"\n").unwrap();
    let (key, value) = line.split_at(line.iter().position(|b| *b == b'\t').unwrap());
    (key.to_vec(), value[1..].to_vec())
}

/// The fields of a line of 2.3.10 to 3.5: mailbox, mbtype, place, ACL.
fn fields(line: &[u8]) -> [&[u8]; 4] {
    let line = line.strip_suffix(b"\n").unwrap();
    let (mailbox, rest) = line.split_at(line.iter().position(|b| *b == b'\t').unwrap());
    let mut rest = rest[1..].splitn(3, |b| *b == b' ');
    [mailbox, rest.next().unwrap(), rest.next().unwrap(), rest.next().unwrap()]
}

/// A record of 2.5 to 3.5, with a uniqueid of its own.
fn dlist(line: &[u8], n: usize) -> (Vec<u8>, Vec<u8>) {
    let [mailbox, mbtype, place, rights] = fields(line);
    let mbtype: u32 = std::str::from_utf8(mbtype).unwrap().parse().unwrap();
    let letters: Vec<u8> =
        [(16, b'd'), (8, b'm'), (4, b'n'), (1, b'r'), (2, b'z'), (32, b'c'), (128, b'b'), (64, b'a')]
            .iter()
            .chain(&[(256, b'i'), (512, b's'), (1024, b'p')])
            .filter(|(bit, _)| mbtype & bit != 0)
            .map(|(_, letter)| *letter)
            .collect();
    let (server, partition) = match place.iter().position(|b| *b == b'!') {
        Some(at) => (&place[..at], &place[at + 1..]),
        None => (&b""[..], place),
    };
    let mut pairs: Vec<(&[u8], Vec<u8>)> = vec![(b"A", acl(rights)), (b"I", uniqueid(n).into_bytes())];
    if partition != b"(null)" {
        pairs.push((b"P", astring(partition)));
    }
    if !server.is_empty() {
        pairs.push((b"S", astring(server)));
    }
    if !letters.is_empty() {
        pairs.push((b"T", letters));
    }
    pairs.extend([
        (&b"V"[..], b"7".to_vec()),
        (b"C", b"8".to_vec()),
        (b"F", b"9".to_vec()),
        (b"M", b"1533736213".to_vec()),
    ]);
    (mailbox.to_vec(), kvlist(pairs))
}

fn uniqueid(n: usize) -> String {
    format!("5d0161495b{n:06x}")
}

/// The lists whose records hold all that the dump does.
fn whole() -> Vec<(&'static str, String, Vec<u8>)> {
    dumps().into_iter().filter(|(_, variant, _)| variant != "inject" && variant != "murder").collect()
}

#[test]
fn records_of_2_0_to_2_4() {
    for (release, variant, dump) in whole().into_iter().filter(|(release, ..)| *release != "3.0.18") {
        let records = run("parse", &["-q", "--from", release, "--to", "2.4.22"], &dump).expect(0).lines();
        let records: Vec<_> = records.iter().map(|line| plain(line)).collect();
        for text in texts(&records) {
            let own = run("parse", &["--from", release], &text).expect(0);
            assert!(own.out == dump, "{release} {variant}");
            assert!(
                release == "2.4.22" && text == dump || own.err.contains("not a dump of ctl_mboxlist -d"),
                "{}",
                own.err
            );
            for to in ["2.3.7", "2.4.22", "3.4.9", "3.6.1"] {
                let options = ["-q", "--from", release, "--to", to, "--reject", "/dev/null"];
                let [meant, made] = [&dump, &text].map(|list| run("parse", &options, list));
                assert_eq!(made.status, meant.status, "{}", made.tell());
                assert!(made.out == meant.out, "{release} {variant} {to}");
            }
        }
    }
}

#[test]
fn records_of_2_5_to_3_5_keep_their_uniqueids() {
    let mut kept = 0;
    for (release, variant, dump) in dumps().into_iter().filter(|(release, ..)| *release == "3.0.18") {
        let all = lines(&dump);
        let records: Vec<_> = all.iter().enumerate().map(|(n, line)| dlist(line, n)).collect();
        // As they are after an upgrade from 2.4: some are written anew.
        let mixed: Vec<_> = all
            .iter()
            .zip(&records)
            .enumerate()
            .map(|(n, (line, record))| if n % 3 == 2 { record.clone() } else { plain(line) })
            .collect();
        let beside = [(b"$RACL".to_vec(), b"3".to_vec()), (b"$RACL$U$bob$user.ann".to_vec(), Vec::new())];
        let beside = [&beside[..], &records].concat();
        for text in [texts(&records), texts(&mixed), texts(&beside)].concat() {
            let own = run("parse", &["--from", release], &text).expect(0);
            assert!(own.out == dump, "{release} {variant}\n{}", own.err);
            let to = |to| run("parse", &["-q", "--from", release, "--to", to, "--reject", "/dev/null"], &text);
            let other = run("parse", &["-q", "--from", release, "--to", "2.4.22", "--reject", "/dev/null"], &dump);
            assert!(to("2.4.22").out == other.out, "{release} {variant}");
            for line in lines(&to("3.6.1").out).iter().filter(|line| line.starts_with(b"\"")) {
                let (mut members, mut values) = (Members::default(), Vec::new());
                let taken = json::parse(line, &mut members, &mut values).ok().unwrap();
                let told = |member| members.place(member).map(|place| place.text.of(&values));
                let n = all.iter().position(|line| fields(line)[0] == taken.mailbox.of(&values)).unwrap();
                if let Some(id) = told(Member::Uniqueid) {
                    assert_eq!(id, uniqueid(n).as_bytes());
                    assert_eq!(told(Member::Uidvalidity), Some(&b"7"[..]));
                    assert_eq!(
                        (told(Member::Createdmodseq), told(Member::Foldermodseq)),
                        (Some(&b"8"[..]), Some(&b"9"[..]))
                    );
                    kept += 1;
                }
            }
        }
    }
    assert!(kept > 2_000, "{kept}");
}

/// The name that 3.6 and later keep.
fn dbname(mailbox: &[u8]) -> Vec<u8> {
    let at = mailbox.iter().position(|b| *b == b'!');
    let (domain, local) = mailbox.split_at(at.map_or(0, |at| at + 1));
    let local = local.iter().map(|b| match b {
        b'.' => 0x1f,
        b'^' => b'.',
        b => *b,
    });
    let domain = domain.strip_suffix(b"!").map(|domain| [domain, b"\x1d"].concat()).unwrap_or_default();
    domain.into_iter().chain(local).collect()
}

/// The records of an entry that 3.6 and later print: by name, by uniqueid, and from 3.13 on by jmapId.
fn keyed(line: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut members, mut values) = (Members::default(), Vec::new());
    let taken = json::parse(line, &mut members, &mut values).ok().unwrap();
    let told = |member| members.place(member).map(|place| place.text.of(&values));
    let name = dbname(taken.mailbox.of(&values));
    let uniqueid = told(Member::Uniqueid);
    let record = |own: Option<(&'static [u8], &[u8])>| {
        let mut pairs: Vec<(&[u8], Vec<u8>)> = vec![(b"T", astring(told(Member::Mbtype).unwrap()))];
        pairs.extend(own.map(|(key, value)| (key, astring(value))));
        for (key, member) in [(&b"J"[..], Member::JmapId), (b"P", Member::Partition), (b"S", Member::Server)] {
            pairs.extend(told(member).map(|text| (key, astring(text))));
        }
        for (key, member) in
            [(&b"V"[..], Member::Uidvalidity), (b"C", Member::Createdmodseq), (b"F", Member::Foldermodseq)]
        {
            pairs.extend(told(member).filter(|text| *text != b"0").map(|text| (key, text.to_vec())));
        }
        pairs.push((b"M", told(Member::Mtime).unwrap().to_vec()));
        pairs.push((b"A", acl(told(Member::Acl).unwrap())));
        pairs
    };
    let mut all = vec![([b"N", &name[..]].concat(), kvlist(record(uniqueid.map(|id| (&b"I"[..], id)))))];
    if let Some(id) = uniqueid {
        let mut by_id = record(Some((b"N", &name)));
        by_id.push((b"H", b"(%(N old M 1 T el P default))".to_vec()));
        all.push(([b"I", id].concat(), kvlist(by_id)));
        all.extend(told(Member::JmapId).map(|jmap_id| ([b"J", jmap_id].concat(), kvlist(record(Some((b"N", &name)))))));
    }
    all
}

#[test]
fn records_of_3_6_and_later() {
    let mut whole = 0;
    for (release, variant, dump) in json_dumps() {
        let entries: Vec<_> = lines(&dump).into_iter().filter(|line| line.starts_with(b"\"")).collect();
        let mut records: Vec<_> = entries.iter().flat_map(|line| keyed(line)).collect();
        // In the order of the database.
        records.sort();
        records.insert(0, (b"AU\x1ebob\x1euser\x1fann".to_vec(), Vec::new()));
        let [printed, flat] = texts(&records);
        // A name with a line end is two lines where it is printed.
        for text in [Some(printed).filter(|_| variant != "inject"), Some(flat)].into_iter().flatten() {
            let own = run("parse", &["--from", release, "--reject", "/dev/null"], &text);
            let meant = run("parse", &["-q", "--from", release, "--reject", "/dev/null"], &dump);
            assert_eq!(own.status, meant.status, "{release} {variant}: {}", own.err);
            let [mut made, mut meant] = [own.lines(), meant.lines()].map(|lines| {
                lines
                    .into_iter()
                    .map(|line| line.strip_suffix(b",\n").map_or(line.clone(), |l| [l, b"\n"].concat()))
                    .collect::<Vec<_>>()
            });
            made.sort();
            meant.sort();
            assert!(made == meant, "{release} {variant}: {}", own.err);
            assert!(
                own.err.contains("no mailboxes (A)") && own.err.contains("by uniqueid (I) are passed over"),
                "{}",
                own.err
            );
            whole += 1;
        }
        // One of the kinds alone: of live mailboxes both say the same.
        let live = |line: &&Vec<u8>| !line.windows(13).any(|word| word == b"\"mbtype\": \"ed");
        let [by_name, by_id] = [b'N', b'I'].map(|kind| {
            let some = entries.iter().filter(live).flat_map(|line| keyed(line)).filter(|(key, _)| key[0] == kind);
            let text = texts(&some.collect::<Vec<_>>())[1].clone();
            run("parse", &["-q", "--from", release, "--reject", "/dev/null"], &text).out
        });
        if variant != "inject" {
            assert!(by_name == by_id, "{release} {variant}");
        }
    }
    assert!(whole > 40, "{whole}");
}

#[test]
fn pieces_of_any_size_are_the_same_records() {
    let entries = lines(&read("3.6.1/inject/dump.txt"));
    let records: Vec<_> = entries.iter().filter(|line| line.starts_with(b"\"")).flat_map(|line| keyed(line)).collect();
    let sandbox = Sandbox::empty();
    sandbox.write("records", &texts(&records)[0]);
    let whole = sandbox.sh("mbx-parse --to 3.6.1 --reject left records >whole");
    assert_eq!(whole.status, 1, "{}", whole.tell());
    for bytes in [1, 7, 100] {
        let script = format!("dd if=records bs={bytes} status=none | mbx-parse --to 3.6.1 --reject again >parts");
        assert_eq!(sandbox.sh(&script).status, 1);
        assert!(sandbox.read("parts") == sandbox.read("whole") && sandbox.read("again") == sandbox.read("left"));
    }
}

#[test]
fn what_is_rejected_of_records_is_fed_again() {
    let text = read("reports/dbtool-2.2.txt");
    let sandbox = Sandbox::empty();
    let left = sandbox.file("left");
    let ran = run("parse", &["--from", "2.2.13", "--to", "3.6.1", "--reject", &left], &text).expect(1);
    assert_eq!(ran.lines().len(), 4);
    assert!(sandbox.read("left") == lines(&text)[2]);
    let text = read("reports/dbtool-3.6.txt");
    run("parse", &["-q", "--to", "2.4.22", "--reject", &left], &text.replace_first(b"(T el I", b"(T e I")).expect(1);
    let again = run("parse", &["-q", "--to", "3.6.1"], &sandbox.read("left")).expect(0);
    assert_eq!(again.lines().len(), 3);
}

trait Replace {
    fn replace_first(&self, old: &[u8], new: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace_first(&self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = self.windows(old.len()).position(|word| word == old).unwrap();
        [&self[..at], new, &self[at + old.len()..]].concat()
    }
}

/// ACLs that no TAB closes: whatever took the TABs, nobody would have a right any more.
#[test]
fn a_list_whose_acls_are_not_closed_is_no_list() {
    let line =
        |n: usize, closed: bool| format!("user.u{n}\t0 default u{n}{0}lrs{0}\n", if closed { "\t" } else { "\\t" });
    for (open, closed, status) in [(5, 0, 1), (2, 0, 1), (1, 0, 0), (9, 1, 0), (10, 1, 1), (95, 9, 1), (90, 10, 0)] {
        let list: String = (0..open + closed).map(|n| line(n, n >= open)).collect();
        let mut said = Vec::new();
        for (filter, options) in [
            ("parse", &["--from", "2.3.19", "--to", "2.4.22"][..]),
            ("remap-part", &["default=3"]),
            ("acl-rewrite", &["--from", "2.4.22"]),
            ("count-guard", &["--to", "2.4.22"]),
        ] {
            let ran = run(filter, options, list.as_bytes()).expect(status);
            assert_eq!(ran.err.contains("ACLs are closed by a TAB"), status == 1, "{}", ran.tell());
            said.push(ran);
        }
        assert!(said.iter().all(|ran| ran.out.windows(11).any(|word| word == b"!mbx-abort ") == (status == 1)));
    }
    // Nobody's rights are in an empty ACL.
    let empty: String = (0..20).map(|n| format!("user.u{n}\t0 default \n")).collect();
    run("parse", &["--to", "2.4.22"], empty.as_bytes()).expect(0);
}
