//! Looking at a list: `--summary` with and without a target, and tables for other tools.

use crate::harness;
use crate::harness::{Sandbox, dumps, json_dumps, lines, read, run};

/// What a summary shows, its lines without the blanks before the numbers.
fn summary(args: &[&str], list: &[u8], status: i32) -> Vec<String> {
    let ran = run("parse", &[&["--summary"], args].concat(), list).expect(status);
    String::from_utf8(ran.out).unwrap().lines().map(|line| line.trim_start().to_string()).collect()
}

#[track_caller]
fn shows(shown: &[String], line: &str) {
    assert!(shown.iter().any(|one| one.starts_with(line)), "{line:?} is not among {shown:#?}");
}

#[test]
fn what_is_worth_a_look() {
    let list = b"shared\tdefault\tanyone\tlrs\tgroup:staff\tlrs\tcyrus\tlrswipcda\t\n\
        shared.a.b\tdefault\tanyone\tlrs\t-gone\tlrs\t\n\
        user.ann\tdefault\tann\tlrswipcda\t\n\
        user.ann\tDefault\tann\tlrswipcda\tANN\tl\t\n\
        user.ann.Sent\t default\tbob\tlrs\tbob\tlrsw\t\n\
        user.bob.x\tdefault\t\n\
        user.bob.y\tdefault\tbob\tlrs\t\n";
    let shown = summary(&[], list, 0);
    for line in [
        "1  mailbox that stands in the list again: user.ann",
        "1  mailbox below one that is not there: shared.a.b",
        "1  user with mailboxes and no INBOX: user.bob",
        "1  mailbox of a user whose ACL gives that user no right: user.ann.Sent",
        "1  empty ACL: user.bob.x",
        "1  identifier twice in one ACL: user.ann.Sent",
        "1  identifier with upper-case letters, which matches nobody under username_tolower: user.ann",
        "1  blanks around a partition: mbx-parse --to takes them off: user.ann.Sent",
        "1  partition that differs from another in case only: Default",
        "3  user.ann",
        "3  bob",
        "1  cyrus",
        "1  gone",
        "Identifiers in the most ACLs",
        "2  ann",
    ] {
        shows(&shown, line);
    }
    // Those that are somebody, and everybody, are not among the identifiers of nobody.
    let at = shown.iter().position(|line| line.starts_with("Identifiers without")).unwrap();
    let nobody: Vec<_> = shown[at + 1..].iter().take_while(|line| !line.is_empty()).map(String::as_str).collect();
    assert_eq!(nobody, ["3  bob", "1  ANN", "1  cyrus", "1  gone"]);
}

/// Who keeps the summary in a file must see there that it is of no whole list.
#[test]
fn a_summary_of_a_list_that_breaks_off_says_so() {
    let json = read("3.6.1/flat/dump.txt");
    let text = read("2.2.13/flat/dump.txt");
    for cut in [&json[..30_000], &text[..3_000]] {
        for args in [&[][..], &["--from", "2.2.13", "--to", "2.4.22"], &["--from", "3.6.1", "--to", "3.13.7"]] {
            let ran = run("parse", &[&["--summary"], args].concat(), cut);
            let shown = String::from_utf8(ran.out.clone()).unwrap();
            match ran.status {
                1 => assert!(shown.starts_with("NOT THE WHOLE LIST"), "{}", ran.tell()),
                // --from of another dialect.
                _ => assert_eq!((ran.status, &shown[..]), (2, ""), "{}", ran.tell()),
            }
            assert!(!shown.contains("Nothing would be refused"), "{}", ran.tell());
            ran.says("aborted\n");
        }
    }
    run("parse", &["--summary", "nosuch"], b"").expect(2).writes(b"");
    run("parse", &["--summary"], b"").expect(1).writes(b"");
    shows(&summary(&["--allow-empty"], b"", 0), "0  entries");
}

#[test]
fn one_partition_of_few_stands_out() {
    let mut list: Vec<u8> = (0..3000).flat_map(|i| format!("user.u{i}\t0 main u{i}\tlrs\t\n").into_bytes()).collect();
    list.extend_from_slice(b"user.x\t0 mian x\tlrs\t\n");
    shows(&summary(&[], &list, 0), "1  partition of very few mailboxes: mian");
}

#[test]
fn what_would_go_wrong() {
    let old = read("migration/in.dump");
    for args in [&["--to", "3.6"][..], &["--to", "3.6.1", "-n"], &["--from", "2.2.13", "--to", "3.6.1"]] {
        let to = args[args.iter().position(|arg| *arg == "--to").unwrap() + 1];
        let shown = summary(args, &old, 1);
        for line in [
            format!("Refused for {to}"),
            "1  mailbox name too long: 'shared.long490.".to_string(),
            format!(
                "1  deleted name without a stamp: DELETED.foo ({to} makes DELETED.F of it: its deletedprefix is DELETED by"
            ),
            "1  identifier that breaks a cyrus.header: shared.acl.a10 ('\"q\"' has one of \" % \\, or 8 bits. It comes"
                .to_string(),
            format!("3 of 103 entries would be refused for {to}: "),
            format!("100 mailboxes have no uniqueid yet, which {to} wants: mbx-check-paths --fill adds it"),
        ] {
            shows(&shown, &line);
        }
    }
    // Told once, by kinds, and not entry by entry.
    let ran = run("parse", &["--to", "3.6", "--summary"], &old).expect(1);
    assert_eq!(ran.err, "mbx-parse: 103 in, 100 good, 3 refused\n");
    // A kind is one line, however many there are of it; the first three are named.
    let remote: Vec<u8> = (0..500).flat_map(|i| format!("user.u{i}\t1 be!p u{i}\tlrs\t\n").into_bytes()).collect();
    let shown = summary(&["--to", "3.6"], &remote, 1);
    shows(&shown, "500  remote mailbox without uniqueid: user.u0 (on be: 3.6 skips it");
    assert!(shown.iter().any(|line| line.ends_with("user.u1, user.u2, ...")), "{shown:#?}");
    assert!(!shown.iter().any(|line| line.contains("--fill")), "no mailbox of this host: {shown:#?}");
    let shown = summary(&["--to", "3.6", "--drop", "remote"], &[&remote[..], b"user.x\t0 p x\tlrs\t\n"].concat(), 0);
    shows(&shown, "500  remote dropped");
    shows(&shown, "Nothing would be refused for 3.6.");
    // What is no entry is told with or without a target.
    shows(&summary(&[], b"user.a\tp\ta\tl\t\nhello\n", 1), "1  no partition: hello (the line has no TAB");
    // Without the summary they are named one by one, and the uniqueids are one line.
    let ran = run("parse", &["-n", "--to", "3.6.1"], &old)
        .expect(1)
        .says("mbx-check-paths --fill adds it")
        .says("--reject FILE");
    assert_eq!(ran.err.lines().count(), 7, "{}", ran.err);
    run("parse", &["-n", "--to", "2.3.7"], &old).expect(0).writes(b"");
}

#[test]
fn a_list_of_any_size_is_counted_exactly() {
    // More names, users and identifiers than the memory for them holds, in no order.
    const USERS: u64 = 60_000;
    let list: Vec<u8> = (0..2 * USERS)
        .flat_map(|i| {
            let (user, below) = (i * 7919 % USERS, if i < USERS { "" } else { ".Sent" });
            format!("user.u{user:05}{below}\t0 p u{user:05}\tlrs\tgone{user:05}\tl\tcyrus\tlrs\t\n").into_bytes()
        })
        .collect();
    let shown = summary(&[], &list, 0);
    for line in
        ["60,000  users with an INBOX", "2  user.u00000", "119,980  in 59,990 others", "120,000  cyrus", "2  gone00000"]
    {
        shows(&shown, line);
    }
    assert!(!shown.iter().any(|line| line.starts_with("Worth a look")), "{shown:#?}");
}

#[test]
fn a_cell_is_no_formula() {
    let list = b"=1+1\t0 1 =HYPERLINK(\"x\",\"y\")\tlrs\t\nshared\t0 p a\\b\tl\t-anyone\tp\t\n+x\t0 @p -anyone\tp\t\n";
    let ran = run("parse", &["--format", "csv"], list).expect(0).says("2 entries have a cell that begins with =");
    ran.writes(
        b"mailbox,mbtype,server,partition,acl,uniqueid\n'=1+1,email,,1,\"'=HYPERLINK(\"\"x\"\",\"\"y\"\") lrs\",\n\
        shared,email,,p,a\\b l; -anyone p,\n'+x,email,,'@p,'-anyone p,\n",
    );
    run("parse", &["--format", "tsv"], list).expect(0).writes(
        b"mailbox\tmbtype\tserver\tpartition\tacl\tuniqueid\n=1+1\temail\t\t1\t=HYPERLINK(\"x\",\"y\") lrs\t\n\
        shared\temail\t\tp\ta\\\\b l; -anyone p\t\n+x\temail\t\t@p\t-anyone p\t\n",
    );
}

#[test]
fn a_name_with_anything_in_it_is_one_cell() {
    let list =
        br#"{"user.\u00e9\tb\nx\r": {"mbtype":"el","partition":"p","acl":{"a;b":"lrs","\"q":"l"},"uniqueid":"1e5"}}"#;
    run("parse", &["--format", "tsv"], list).expect(0).writes(
        "mailbox\tmbtype\tserver\tpartition\tacl\tuniqueid\nuser.\u{e9}\\tb\\nx\\r\temail\t\tp\ta;b lrs; \"q l\t1e5\n"
            .as_bytes(),
    );
    let ran = run("parse", &["--format", "csv"], list).expect(0);
    let mut reader = csv::Reader::from_reader(&ran.out[..]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows, [vec!["user.\u{e9}\tb\nx\r", "email", "", "p", "a;b lrs; \"q l", "1e5"]]);
}

#[test]
fn tables_hold_every_entry_of_every_server() {
    for (_, name, dump) in dumps().into_iter().chain(json_dumps()) {
        let dir = Sandbox::empty();
        let list = dir.write("list", &dump);
        let said = |args: &[&str]| run("parse", &[args, &[&list]].concat(), b"");
        let plain = said(&[]);
        let entries = harness::account(&plain.err).0;
        let jsonl = said(&["--format", "jsonl"]).expect(plain.status);
        let rows: Vec<serde_json::Value> =
            lines(&jsonl.out).iter().map(|l| serde_json::from_slice(l).unwrap()).collect();
        let refused = entries - harness::account(&plain.err).1;
        if refused > 0 {
            continue;
        }
        assert_eq!(rows.len() as u64, entries, "{name}");
        let csv = said(&["--format", "csv"]).expect(0);
        let table: Vec<csv::ByteRecord> =
            csv::Reader::from_reader(&csv.out[..]).byte_records().map(Result::unwrap).collect();
        let tsv = said(&["--format", "tsv"]).expect(0);
        for ((row, cells), line) in rows.iter().zip(&table).zip(&lines(&tsv.out)[1..]) {
            let plain: Vec<&[u8]> = line.strip_suffix(b"\n").unwrap().split(|b| *b == b'\t').collect();
            assert_eq!(plain.len(), 6, "{name}: {row}");
            for (i, key) in ["mailbox", "mbtype", "server", "partition"].iter().enumerate() {
                let cell = cells[i].strip_prefix(b"'").unwrap_or(&cells[i]);
                let text = String::from_utf8_lossy(cell);
                assert_eq!(row[key], *text, "{name}");
                assert_eq!(unescaped(plain[i]), cell, "{name}");
            }
        }
        assert_eq!((table.len() as u64, lines(&tsv.out).len() as u64), (entries, entries + 1), "{name}");
    }
}

/// A cell of tsv as miller reads it.
fn unescaped(cell: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = cell.iter();
    while let Some(b) = bytes.next() {
        out.push(match (b, if *b == b'\\' { bytes.next() } else { None }) {
            (_, Some(b't')) => b'\t',
            (_, Some(b'n')) => b'\n',
            (_, Some(b'r')) => b'\r',
            (_, Some(other)) => *other,
            (b, None) => *b,
        });
    }
    out
}
