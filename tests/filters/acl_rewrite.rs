//! mbx-acl-rewrite: exactly the servers' own reading of rights.

use crate::harness::{read, run};
use mbxtools::mailbox::acl::Reader;
use mbxtools::release::Era;

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
    let ran = run("acl-rewrite", &["--from", "2.2.13", "--drop-inert"], line);
    let ran = ran.expect(0).says("letters that the old server ignored");
    ran.writes(b"user.a\t0 default bob\tlrs\tal\tlrs\tcyrus\tlrswipkxtea\t\n");
    // n is known from 2.5 on, k and x from 2.3.1 on.
    run("acl-rewrite", &["--from", "2.4.22", "--drop-inert"], line)
        .expect(0)
        .writes(b"user.a\t0 default bob\tlrskx\tal\tlrs\tcyrus\tlrswipkxtea\t\n");
    run("acl-rewrite", &["--from", "2.5.17"], line)
        .expect(0)
        .writes(b"user.a\t0 default bob\tlrskx\tal\tlrsn\tcyrus\tlrswipkxtean\t\n");
}

/// Inert, or written by a rewrite before this one? A list without a seal does not say, whatever its length.
#[test]
fn inert_letters_of_a_list_without_a_seal_are_the_users_to_decide() {
    let from = ["--from", "2.2.13"];
    let old = b"user.a\tdefault\tbob\tlrswipcda\t\nuser.b\tdefault\tbob\tlrs\tal\tlrsc\t\n";
    let rewritten = b"user.a\tdefault\tbob\tlrswipkxtea\t\nuser.b\tdefault\tbob\tlrs\tal\tlrskx\t\n";
    run("acl-rewrite", &from, old).expect(0).writes(rewritten);
    // Done twice, without and with what it was done to.
    for options in [&[][..], &["--reject", "/dev/null"], &["--rfc4314", "--grant", "bob=a"], &["-q"]] {
        let ran = run("acl-rewrite", &[&from[..], options].concat(), rewritten).expect(1);
        let ran = ran
            .says("stdin:1: ")
            .says("lrswipkxtea of bob has kxte, which 2.2.13 ignored")
            .says("user.a")
            .says("--drop-inert")
            .says("--rights-rewritten");
        assert!(ran.out.starts_with(b"!mbx-abort mbx-acl-rewrite: stdin:1: "), "{}", ran.tell());
    }
    run("acl-rewrite", &[&from[..], &["--rights-rewritten"]].concat(), rewritten).expect(0).writes(rewritten);
    run("acl-rewrite", &[&from[..], &["--drop-inert"]].concat(), rewritten)
        .expect(0)
        .says("letters that the old server ignored are left out (lrskx of al becomes lrs): user.b")
        .writes(b"user.a\tdefault\tbob\tlrswipa\t\nuser.b\tdefault\tbob\tlrs\tal\tlrs\t\n");
    run("acl-rewrite", &[&from[..], &["--rights-rewritten", "--drop-inert"]].concat(), rewritten)
        .expect(2)
        .says("--drop-inert");
    // One string is enough, also beside c and d, and at the end of a long list.
    let long: String = (0..500).map(|n| format!("user.u{n:03}\tdefault\tbob\tlrswipcda\t\n")).collect();
    let long = long + "user.z\tdefault\tbob\tlrswipcdax\t\n";
    run("acl-rewrite", &from, long.as_bytes()).expect(1).says("stdin:501: ").says("user.z");
    // n on what came before 2.5, of a remote mailbox, too: what its server gave nobody here knows.
    for (release, mbtype) in [("2.3.7", 0), ("2.4.22", 0), ("2.4.22", 1)] {
        let line = format!("user.a\t{mbtype} be1!default a\tlrsn\t\n");
        let ran = run("acl-rewrite", &["--from", release], line.as_bytes()).expect(1);
        ran.says(&format!("lrsn of a has n, which {release} ignored"));
        run("acl-rewrite", &["--from", release, "--rights-rewritten"], line.as_bytes())
            .expect(0)
            .writes(line.as_bytes());
    }
    // In a JSON list it is the same question, of the release that it was a text of.
    let json = b"{\n\"user.a\": {\"mbtype\": \"el\", \"partition\": \"1\", \"acl\": {\"bob\": \"lrskx\"}}\n}\n";
    run("acl-rewrite", &from, json).expect(1).says("--drop-inert");
    // Without a release nothing is inert, and with a seal it is known.
    run("acl-rewrite", &[], rewritten).expect(0).writes(rewritten);
    let sealed = run("parse", &["-q", "--seal", "--from", "2.2.13", "--to", "2.3.7"], rewritten).expect(0).out;
    run("acl-rewrite", &[], &sealed).expect(0).says("letters that the old server ignored are left out");
    let told = ["-q", "--seal", "--from", "2.2.13", "--to", "2.3.7", "--rights-rewritten"];
    let sealed = run("parse", &told, rewritten).expect(0).out;
    run("acl-rewrite", &[], &sealed).expect(0).writes(&sealed);
    // A grant leaves letters out that slept in the string, or it asks.
    run("acl-rewrite", &[&from[..], &["--grant", "al=a"]].concat(), rewritten).expect(1).says("lrskx of al has kx");
    run("acl-rewrite", &[&from[..], &["--grant", "eve=a"]].concat(), rewritten).expect(0);
    // What touches no rights asks nothing about them.
    run("acl-rewrite", &[&from[..], &["--id", "bob=rob", "--drop-id", "al"]].concat(), rewritten).expect(0);
    // What --drop-inert is about must be known, and be asked for.
    run("acl-rewrite", &["--drop-inert"], rewritten).expect(2).says("--from");
    let nothing = ["--from", "2.2.13", "--drop-inert", "--id", "bob=rob"];
    run("acl-rewrite", &nothing, rewritten).expect(2).says("--rfc4314");
}

/// A string that gets a grant is written anew if a letter slept in it.
#[test]
fn a_grant_that_leaves_letters_out_says_so() {
    let line = b"user.a\tdefault\tbob\tlrskxZ\t\n";
    run("acl-rewrite", &["--from", "2.2.13", "--grant", "bob=a", "--drop-inert"], line)
        .expect(0)
        .says("letters that the old server ignored are left out (lrskxZ of bob becomes lrsa): user.a")
        .writes(b"user.a\tdefault\tbob\tlrsa\t\n");
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
    // A string that needs no other reading keeps its bytes.
    assert_eq!(rewrite(&["--grant", "bob=k"], "bob\tsrlq\t"), "bob\tsrlqk\t");
    assert_eq!(rewrite(&["--grant", "bob=k"], "bob\tlrsd\t"), "bob\tlrskte\t");
    assert_eq!(rewrite(&["--grant", "bob=k", "--grant", "bob=x"], "al\tl\t"), "al\tl\tbob\tkx\t");
    assert_eq!(rewrite(&["--from", "2.3.7", "--grant", "bob=w"], "bob\tlrskc\t"), "bob\tlrswkx\t");
    assert_eq!(rewrite(&["--grant", "bob=w"], "bob\tlrskc\t"), "bob\tlrswk\t");
    assert_eq!(rewrite(&["--rfc4314", "--id", "bob=rob"], "bob\tcd\t"), "rob\tkxte\t");
    // A negative entry alone, and all renames at once.
    assert_eq!(rewrite(&["--id", "-bob=-x"], "bob\tl\t-bob\tl\t"), "bob\tl\t-x\tl\t");
    assert_eq!(rewrite(&["--id", "a=b", "--id", "b=a"], "a\tl\tb\tr\t"), "b\tl\ta\tr\t");
}

#[test]
fn what_cannot_be_is_refused() {
    let line = b"user.a\t0 default bob\tlrs\t\n";
    for options in [
        &["--grant", "bob=lrsq"][..],
        &["--grant", "bob=c"],
        &["--grant", "bob=all"],
        &["--grant", "bob=write"],
        &["--rights", "lrs=all"],
        &["--rights", "lrs=LRS"],
        &["--rights", "lrs=l", "--rights", "lrs=r"],
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

/// Any other letter that deleteright names brings x with it (lib/acl.c of 2.3.19, lines 93 to 99).
#[test]
fn a_deleteright_of_another_letter_is_made_explicit() {
    let old = ["--from", "2.4.22", "--deleteright", "a"];
    assert_eq!(rewrite(&old, "b\tlrsa\tc\tlrw\td\tlrsxa\t"), "b\tlrsxa\tc\tlrw\td\tlrsxa\t");
    assert_eq!(rewrite(&["--from", "2.4.22", "--deleteright", "w"], "b\tlrw\t"), "b\tlrwx\t");
    assert_eq!(rewrite(&[&old[..], &["--rfc4314", "--grant", "b=lrx"]].concat(), "b\tlra\t"), "b\tlrxa\t");
    assert_eq!(rewrite(&["--deleteright", "a", "--rights", "lkca=lka", "--grant", "b=x"], "b\tlkca\t"), "b\tlkax\t");
}

/// What `rights rewritten` of the seal says must be so.
#[test]
fn the_seal_tells_what_the_rights_are() {
    let seal = |list: &[u8], from: &str, to: &str, more: &[&str]| {
        run("parse", &[&["-q", "--from", from, "--to", to, "--seal"][..], more].concat(), list).expect(0).out
    };
    let explicit = |list: &[u8]| list.split(|b| *b == b'\n').next().unwrap().ends_with(b" rights rewritten");
    let sealed = seal(b"user.b\t0 default\tb\tlrs\t\n", "2.3.7", "2.4.22", &[]);
    let rewritten = run("acl-rewrite", &[], &sealed).expect(0).out;
    assert!(!explicit(&sealed) && explicit(&rewritten));
    // A macro that comes back takes it away, and the guard asks again.
    let back = run("acl-rewrite", &["--rights", "lrs=lkc"], &rewritten).expect(0).out;
    assert!(!explicit(&back));
    run("count-guard", &["--sealed"], &back).expect(1).says("rights that the target reads differently (lkc of b");
    // Letters that the old server did not know need the rest to be explicit, too.
    let old = read("migration/in.dump");
    let sealed = seal(&old, "2.2.13", "2.3.7", &[]);
    let granted = run("acl-rewrite", &["--grant", "cyrus=lrswipkxtea"], &sealed).expect(0).out;
    assert!(explicit(&granted));
    run("count-guard", &["--sealed", "--min", "103"], &granted).expect(0);
    let slept = seal(b"user.a\tdefault\tbob\tlrskx\t\n", "2.2.13", "2.3.7", &[]);
    run("acl-rewrite", &["--grant", "cyrus=lrswipkxtea"], &slept).expect(1).says("add --rfc4314): user.a");
    let n = seal(b"user.a\t0 default a\tlrswipkxtecda\t\n", "2.4.22", "3.0.18", &[]);
    for options in [["--grant", "a=n"], ["--rights", "lrswipkxtecda=lrswipkxtean"]] {
        let with_n = run("acl-rewrite", &options, &n).expect(0).out;
        run("count-guard", &["--sealed"], &with_n).expect(0).writes(b"user.a\t0 default a\tlrswipkxtean\t\n");
    }
    let granted = run("acl-rewrite", &["--rfc4314", "--grant", "cyrus=lrswipkxtea"], &sealed).expect(0).out;
    run("count-guard", &["--sealed", "--min", "103"], &granted).expect(0);
    // And a list that was rewritten before it is sealed is told to be so.
    let granted =
        run("acl-rewrite", &["--from", "2.2.13", "--rfc4314", "--grant", "cyrus=lrswipkxtea"], &old).expect(0).out;
    run("count-guard", &["--sealed"], &seal(&granted, "2.2.13", "2.3.7", &[])).expect(1).says("--rights-rewritten");
    let sealed = seal(&granted, "2.2.13", "2.3.7", &["--rights-rewritten"]);
    let again = run("acl-rewrite", &[], &sealed).expect(0).writes(&sealed);
    run("count-guard", &["--sealed"], &again.out).expect(0);
}

/// Whole lists that were rewritten before, or are of a later release than was told.
#[test]
fn a_list_that_was_rewritten_before_is_not_rewritten_again() {
    let old = read("migration/in.dump");
    let once = run("acl-rewrite", &["--from", "2.2.13"], &old).expect(0).out;
    run("acl-rewrite", &["-q", "--from", "2.2.13"], &once).expect(1).says("rewritten before");
    run("acl-rewrite", &["-q", "--from", "2.2.13", "--rights-rewritten"], &once).expect(0).writes(&once);
    run("acl-rewrite", &["--from", "2.2.13", "--drop-inert"], &once).expect(0);
    run("acl-rewrite", &["--from", "2.2.13"], &read("2.3.7/flat/dump.txt")).expect(1).says("of a later release");
    let later = read("3.0.18/virt/dump.txt");
    run("acl-rewrite", &["--from", "2.4.22"], &later).expect(1).says("of a later release");
    run("acl-rewrite", &["--from", "2.4.22", "--drop-inert"], &later).expect(0);
    run("acl-rewrite", &["--from", "2.5.17"], &later).expect(0);
}

/// The guard of a sealed list knows whether the rights were made explicit, and refuses those that the new server would
/// read otherwise.
#[test]
fn rights_that_would_come_alive_do_not_pass_the_guard() {
    let parse = ["-q", "--from", "2.2.13", "--to", "2.3.7", "--seal"];
    let sealed = run("parse", &parse, b"user.a\tdefault\tbob\tlrskx\t\n").expect(0);
    run("count-guard", &["--sealed"], &sealed.out)
        .expect(1)
        .says("rights that the target reads differently (lrskx of bob: mbx-acl-rewrite is missing in the pipe, or");
    let rewritten = run("acl-rewrite", &[], &sealed.out).expect(0);
    run("count-guard", &["--sealed"], &rewritten.out).expect(0).writes(b"user.a\t0 default\tbob\tlrs\t\n");
    // `lkc` is k on 2.4, k and x on 2.3.7.
    let parse = ["-q", "--from", "2.4.22", "--to", "2.3.7", "--seal"];
    let sealed = run("parse", &parse, b"user.a\t0 default bob\tlkc\t\n").expect(0);
    run("count-guard", &["--sealed"], &sealed.out).expect(1);
    let rewritten = run("acl-rewrite", &[], &sealed.out).expect(0);
    run("count-guard", &["--sealed"], &rewritten.out).expect(0).writes(b"user.a\t0 default\tbob\tlk\t\n");
    // Old rights that both read alike need no rewrite.
    let sealed = run("parse", &["--from", "2.2.13", "--to", "2.3.7", "--seal"], &read("migration/in.dump")).expect(0);
    run("count-guard", &["--sealed"], &sealed.out).expect(0);
}

#[test]
fn what_an_option_names_and_nobody_has_is_told() {
    let line = b"user.a\t0 default bob\tlrs\t\n";
    let options = ["--id", "bbo=x", "--id", "bob=y", "--drop-id", "nobody", "--rights", "lr=l"];
    let ran = run("acl-rewrite", &options, line)
        .expect(0)
        .says("no entry has the identifier bbo")
        .says("no entry has the identifier nobody")
        .says("no entry has the rights lr\n");
    assert!(!ran.err.contains("identifier bob"));
    // `-bob` is an identifier of its own for --drop-id, and rights are no identifier.
    run("acl-rewrite", &["--drop-id", "bob", "--id", "d=dave"], b"user.a\t0 default -bob\tlrs\ta\td\t\n")
        .expect(0)
        .says("no entry has the identifier bob")
        .says("no entry has the identifier d\n");
    run("remap-part", &["zzz=p7", "--server", "be9=be1"], line)
        .expect(0)
        .says("no entry has partition zzz")
        .says("no entry has server be9");
}

/// What is negative counts last, on every release: the grant is made, and the administrator told that it is in vain.
#[test]
fn a_grant_that_a_negative_entry_takes_away_is_told() {
    let told = |options: &[&str], acl: &str| {
        let line = format!("user.a\t0 default {acl}\n");
        run("acl-rewrite", &[&["-q", "--grant", "cyrus=lrs"], options].concat(), line.as_bytes()).expect(0).err
    };
    let in_vain = "mbx-acl-rewrite: stdin:1: rights granted in vain";
    let of = |letters: &str, whom: &str| {
        format!(
            "{in_vain} ({letters} of cyrus: {whom} takes them away; --drop-id {whom} if that is not meant): user.a\n"
        )
    };
    assert_eq!(told(&[], "-anyone\trsk\t"), of("rs", "-anyone"));
    assert_eq!(told(&[], "cyrus\tlrs\t-cyrus\tl\t"), of("l", "-cyrus"));
    assert_eq!(told(&["--drop-id", "-anyone"], "-anyone\trs\t"), "");
    assert_eq!(told(&[], "-anyone\tk\t-bob\tlrs\tanyone\tl\t"), "");
    assert!(told(&["--id", "boss=cyrus"], "-boss\tl\t").starts_with(in_vain));
    assert_eq!(told(&["--rights", "lrs=k"], "-anyone\tlrs\t"), "");
    // A denial is not denied by another.
    assert_eq!(told(&["--grant", "-bob=lrs"], "-anyone\tk\t-bob\tl\t"), "");
}

#[test]
fn tombstones_get_no_rights() {
    let line = b"user.a\t16 (null) \nuser.b\t0 default \n";
    let ran = run("acl-rewrite", &["--grant", "cyrus=a"], line).expect(0);
    ran.writes(b"user.a\t16 (null) \nuser.b\t0 default cyrus\ta\t\n");
}
