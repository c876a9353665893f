//! mbx-acl-rewrite: exactly the servers' own reading of rights.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use mbxtools::acl::Reader;
use mbxtools::version::Era;
use stage::{read, run};

/// What MYRIGHTS answered on 2.4.22, 2.5.17, 3.0.18 and 3.4.9, for deleteright c, d and x: every row. The answers show
/// the macros c and d again, beside the rights themselves.
#[test]
fn the_myrights_table() {
    let table = String::from_utf8(read("myrights.tsv")).unwrap();
    let mut rows = 0;
    for row in table.lines() {
        let columns: Vec<_> = row.split('\t').collect();
        for (answer, deleteright) in columns[1..].iter().zip([b'c', b'd', b'x']) {
            let effective: String = answer.chars().filter(|c| !"cd".contains(*c)).collect();
            for (era, effective) in [
                (Era::Annotate, effective.clone()),
                // "n is ignored by 2.4.22".
                (Era::Macro, effective.replace('n', "")),
            ] {
                let mut found = Vec::new();
                Reader::new(era, deleteright).read(columns[0].as_bytes()).rights.write(&mut found);
                assert_eq!(
                    String::from_utf8(found).unwrap(),
                    effective,
                    "{} {era:?} {}",
                    columns[0],
                    char::from(deleteright)
                );
            }
            // And the filter writes just that, so that a later change of deleteright changes nothing.
            let line = format!("user.a\t0 default bob\t{}\t\n", columns[0]);
            let deleteright = char::from(deleteright).to_string();
            let ran = run("acl-rewrite", &["--deleteright", &deleteright], line.as_bytes()).expect(0);
            let changed = columns[0].contains(['c', 'd']);
            let expected = if changed { &effective } else { columns[0] };
            ran.writes(format!("user.a\t0 default bob\t{expected}\t\n").as_bytes());
        }
        rows += 1;
    }
    assert_eq!(rows, 36);
}

fn rewrite(options: &[&str], acl: &str) -> String {
    let prefix = "user.a\t0 default ";
    let ran = run("acl-rewrite", options, format!("{prefix}{acl}\n").as_bytes()).expect(0);
    String::from_utf8(ran.out).unwrap().strip_prefix(prefix).unwrap().trim_end_matches('\n').to_string()
}

#[test]
fn rights_that_need_no_change_keep_their_bytes() {
    for acl in ["bob\tsrl\t", "bob\tlrslrs\t", "bob\tlrsXYZ\t", "bob\t\t", "bob\tlrswipkxtean9\t", ""] {
        assert_eq!(rewrite(&[], acl), acl);
    }
}

#[test]
fn negative_entries_alike() {
    assert_eq!(rewrite(&["--from", "2.2.13"], "-bob\tcd\t-anyone\td\t"), "-bob\tkxte\t-anyone\tte\t");
    assert_eq!(rewrite(&["--from", "2.2.13", "--deleteright", "d"], "-bob\tcd\t"), "-bob\tkxte\t");
    assert_eq!(rewrite(&["--from", "2.2.13", "--deleteright", "d"], "bob\tc\tal\td\t"), "bob\tk\tal\txte\t");
}

#[test]
fn letters_that_were_inert_do_not_come_alive() {
    let line = b"user.a\t0 default bob\tlrskx\tal\tlrsn\tcyrus\tlrswipcdan\t\n";
    let ran = run("acl-rewrite", &["--from", "2.2.13"], line).expect(0).says("letters that the old server ignored");
    ran.writes(b"user.a\t0 default bob\tlrs\tal\tlrs\tcyrus\tlrswipkxtea\t\n");
    // n is known from 2.5 on, k and x from 2.3.1 on.
    run("acl-rewrite", &["--from", "2.4.22"], line)
        .expect(0)
        .writes(b"user.a\t0 default bob\tlrskx\tal\tlrs\tcyrus\tlrswipkxtea\t\n");
    run("acl-rewrite", &["--from", "2.5.17"], line)
        .expect(0)
        .writes(b"user.a\t0 default bob\tlrskx\tal\tlrsn\tcyrus\tlrswipkxtean\t\n");
}

#[test]
fn the_era_of_2_3_1_to_2_3_7_always_adds_the_members() {
    assert_eq!(rewrite(&["--from", "2.3.7"], "bob\tlkc\t"), "bob\tlkx\t");
    assert_eq!(rewrite(&["--from", "2.3.8"], "bob\tlkc\t"), "bob\tlk\t");
    assert_eq!(rewrite(&[], "bob\tlkc\t"), "bob\tlk\t");
}

#[test]
fn each_option_does_just_what_it_says() {
    let acl = "bob\tlrswipcda\t-bob\tp\tbobby\tlrs\tbob\tlrs\t";
    assert_eq!(rewrite(&["--id", "bob=rob"], acl), "rob\tlrswipcda\t-rob\tp\tbobby\tlrs\trob\tlrs\t");
    assert_eq!(rewrite(&["--drop-id", "bob"], acl), "-bob\tp\tbobby\tlrs\t");
    assert_eq!(rewrite(&["--drop-id", "-bob"], acl), "bob\tlrswipcda\tbobby\tlrs\tbob\tlrs\t");
    assert_eq!(rewrite(&["--rights", "lrs=lr"], acl), "bob\tlrswipcda\t-bob\tp\tbobby\tlr\tbob\tlr\t");
    assert_eq!(rewrite(&["--grant", "cyrus=lrxa"], "bob\tlrs\t"), "bob\tlrs\tcyrus\tlrxa\t");
    assert_eq!(rewrite(&["--grant", "bob=a"], "bob\tlrs\t"), "bob\tlrsa\t");
    assert_eq!(rewrite(&["--grant", "bob=te"], "bob\tlrswipcda\t"), "bob\tlrswipcda\t");
    assert_eq!(rewrite(&["--grant", "bob=lrs"], ""), "bob\tlrs\t");
    // What the old server grants stays granted: `kc` is k and x up to 2.3.7, and k alone from 2.3.8 on.
    assert_eq!(rewrite(&["--from", "2.3.7", "--grant", "bob=w"], "bob\tlrskc\t"), "bob\tlrswkx\t");
    assert_eq!(rewrite(&["--grant", "bob=w"], "bob\tlrskc\t"), "bob\tlrswk\t");
    assert_eq!(rewrite(&["--rfc4314", "--id", "bob=rob"], "bob\tcd\t"), "rob\tkxte\t");
    // An identifier of its own that only looks negative, and all renames at once.
    assert_eq!(rewrite(&["--id", "-bob=x"], "bob\tl\t-bob\tl\t"), "bob\tl\tx\tl\t");
    assert_eq!(rewrite(&["--id", "a=b", "--id", "b=a"], "a\tl\tb\tr\t"), "b\tl\ta\tr\t");
}

#[test]
fn what_cannot_be_is_refused() {
    let line = b"user.a\t0 default bob\tlrs\t\n";
    for options in [
        &["--grant", "bob=lrsq"][..],
        &["--grant", "bob=c"],
        &["--grant", "bob"],
        &["--grant", "=lrs"],
        &["--id", "bob"],
        &["--id", "bob="],
        &["--id", "bob=a\tb"],
        &["--id", "bob=x", "--id", "bob=y"],
        &["--rights", "lrs="],
        &["--deleteright", "cd"],
        &["--id-map", "/no/such/file"],
        &["--to", "2.2.13"],
    ] {
        let ran = run("acl-rewrite", options, line).expect(2);
        assert!(ran.out.starts_with(b"!mbx-abort mbx-acl-rewrite: "), "{options:?}: {}", ran.tell());
    }
    // A grant behind a part that no TAB closes would bring that part to life.
    run("acl-rewrite", &["--grant", "cyrus=a"], b"user.a\t0 default bob\tlrs\tzoe\tlrs\n")
        .expect(1)
        .says("ACL not closed by a TAB");
    // The part itself is left as it is.
    run("acl-rewrite", &["--from", "2.4.22"], b"user.a\t0 default bob\tlrsd\tzoe\tlrsd\n")
        .expect(0)
        .writes(b"user.a\t0 default bob\tlrste\tzoe\tlrsd\n");
}

#[test]
fn tombstones_get_no_rights() {
    let line = b"user.a\t16 (null) \nuser.b\t0 default \n";
    let ran = run("acl-rewrite", &["--grant", "cyrus=a"], line).expect(0);
    ran.writes(b"user.a\t16 (null) \nuser.b\t0 default cyrus\ta\t\n");
}
