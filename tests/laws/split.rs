//! A list of text is a stream of entries that know nothing of each other: however it is split, its pieces go through the
//! filters to the same list, and one guard over the pieces finds what became of each. What is not so is shown, too:
//! seals, limits, and mailboxes that stand in two pieces.
//!
//! `MBX_SEED=7` splits elsewhere; a failure prints the seed.

use crate::harness;
use crate::harness::{Ran, Sandbox, Walk, lines};

/// The night of 2006 but for the guard, of the list in `$1`, to `$1.sealed`. What it sets apart stands beside it.
const PIPE: &str = "#!/bin/sh
mbx-parse -q --from 2.2.13 --to 2.3.7 --seal --drop deletedprefix --reject \"$1.bad\" \"$1\" |
    mbx-remap-part -q default=3 0=4 -C new.conf --moves \"$1.moves\" |
    mbx-acl-rewrite -q |
    mbx-check-paths -q -C new.conf --max-missing 100% --missing \"$1.missing\" |
    mbx-mkmeta -n -C meta.conf 2>\"$1.made\" >\"$1.sealed\"
";

/// Takes the seals of the pieces named off, and makes one list of them.
fn join(pieces: &str, guard: &str) -> String {
    format!(
        "mbx-parse --to 2.3.7 --seal -- sh -ec 'for piece in {pieces}; do mbx-count-guard -q --sealed $piece.sealed; done' |
            mbx-count-guard --sealed {guard}"
    )
}

/// The new host, with metapartitions, an entry that 2.3.7 cannot hold and a mailbox that is not on the disk.
fn host() -> (Sandbox, Vec<Vec<u8>>) {
    let sandbox = Sandbox::migrated();
    let mut conf = String::from_utf8(sandbox.read("new.conf")).unwrap();
    for partition in ["1", "2", "3", "4", "part-3"] {
        std::fs::create_dir_all(sandbox.path().join("meta").join(partition)).unwrap();
        conf += &format!("metapartition-{partition}: {}/meta/{partition}\n", sandbox.path().display());
    }
    sandbox.write("meta.conf", conf + "metapartition_files: header index\n");
    std::fs::remove_dir_all(sandbox.path().join("spool/1/user/frank")).unwrap();
    sandbox.write("pipe", PIPE);
    let mut list = lines(&sandbox.read("old.dump"));
    list.insert(50, format!("user.{}\tdefault\tcyrus\tlrs\t\n", "x".repeat(486)).into_bytes());
    list.insert(60, b"DELETED.user.gone.4F0A1B2C\tdefault\tcyrus\tlrs\t\n".to_vec());
    sandbox.write("whole", list.concat());
    assert_eq!(sandbox.sh("sh ./pipe whole").status, 0);
    (sandbox, list)
}

/// What mbx-mkmeta would make: its messages without the file and the line, each directory once.
fn made(sandbox: &Sandbox, names: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        let text = String::from_utf8(sandbox.read(&format!("{name}.made"))).unwrap();
        all.extend(text.lines().filter(|line| line.contains("/meta/")).map(str::to_string));
    }
    all.sort();
    all.dedup();
    all
}

/// Csv with one heading.
fn moves(sandbox: &Sandbox, names: &[String]) -> Vec<Vec<u8>> {
    names.iter().flat_map(|name| lines(&sandbox.read(&format!("{name}.moves"))).split_off(1)).collect()
}

#[test]
fn any_split_gives_the_same_list() {
    let (sandbox, list) = host();
    let whole = sandbox.sh(&join("whole", "--min 100")).expect(0).out;
    let apart = |what: &str| sandbox.read(&format!("whole.{what}"));
    assert_eq!(lines(&whole).len(), list.len() - 4);
    assert_eq!((lines(&apart("bad")).len(), lines(&apart("missing")).len()), (1, 1));
    let of_whole = ["whole".to_string()];
    assert!(made(&sandbox, &of_whole).len() > 100);
    assert_eq!(moves(&sandbox, &of_whole).len(), 71);

    let seed = std::env::var("MBX_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("MBX_SEED={seed}");
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15 ^ seed);
    let counts = [2, 3, 4, 8].into_iter().chain((0..4).map(|_| 2 + walk.below(30))).collect::<Vec<_>>();
    for pieces in counts.into_iter().chain([list.len() as u64]) {
        let mut cuts = vec![0, list.len()];
        while cuts.len() <= pieces as usize {
            let cut = walk.below(list.len() as u64) as usize;
            if !cuts.contains(&cut) {
                cuts.push(cut);
            }
        }
        cuts.sort_unstable();
        let names: Vec<String> = (1..cuts.len()).map(|n| format!("piece.{n:03}")).collect();
        for (name, cut) in names.iter().zip(cuts.windows(2)) {
            sandbox.write(name, list[cut[0]..cut[1]].concat());
        }
        // A piece of dropped entries alone would be no list.
        let empty = "s/mbx-\\([a-z-]*\\) /mbx-\\1 --allow-empty /";
        sandbox
            .sh(&format!("sed '{empty}' pipe >each; printf '%s\\n' {} | xargs -n 1 -P 4 sh ./each", names.join(" ")))
            .expect(0);
        let joined = join(&names.join(" "), "--min 100").replace("guard -q", "guard --allow-empty -q");
        sandbox.sh(&joined).expect(0).writes(&whole);
        for what in ["bad", "missing"] {
            let all: Vec<u8> = names.iter().flat_map(|name| sandbox.read(&format!("{name}.{what}"))).collect();
            assert!(all == apart(what), "{what}: {cuts:?}");
        }
        assert_eq!(made(&sandbox, &names), made(&sandbox, &of_whole), "{cuts:?}");
        assert!(moves(&sandbox, &names) == moves(&sandbox, &of_whole), "{cuts:?}");
    }
}

/// Three pieces through the filters, side by side.
fn three() -> (Sandbox, Vec<u8>) {
    let (sandbox, _) = host();
    let whole = sandbox.sh(&join("whole", "--expect 101")).expect(0).out;
    sandbox.sh("split -n l/3 whole a. && ls a.a? | xargs -n 1 -P 3 sh ./pipe").expect(0);
    sandbox.sh(&join("a.aa a.ab a.ac", "--expect 101")).expect(0).writes(&whole);
    (sandbox, whole)
}

#[test]
fn directories_are_made_side_by_side() {
    let (sandbox, _) = three();
    let made = |sandbox: &Sandbox| {
        String::from_utf8(sandbox.sh("find meta -mindepth 2 -type d -printf '%U:%G %p\\n' | sort").expect(0).out)
            .unwrap()
    };
    let mkmeta = format!("mbx-mkmeta -q -C meta.conf --owner {}", harness::owner());
    sandbox.sh(&format!("{mkmeta} whole.sealed >/dev/null")).expect(0);
    let whole = made(&sandbox);
    assert!(whole.lines().count() > 100);
    for _ in 0..10 {
        sandbox.sh("rm -r meta/*/*").expect(0);
        sandbox.sh(&format!("ls a.a?.sealed | xargs -n 1 -P 3 {mkmeta} >/dev/null")).expect(0);
        assert_eq!(made(&sandbox), whole);
    }
}

/// Nothing of the list goes out.
#[track_caller]
fn refused(ran: Ran, says: &str) {
    ran.expect(1).says(says).writes(b"!mbx-abort mbx-count-guard: the list was not let out\n");
}

#[test]
fn the_failure_of_a_piece_is_the_failure_of_the_list() {
    let (sandbox, whole) = three();
    let all = join("a.aa a.ab a.ac", "");
    let good = sandbox.read("a.ab.sealed");
    // A filter of one piece gave up, in a pipe whose last filter ended well.
    sandbox.sh("sed -i 's/default=3/default=nosuch/' pipe && ! sh ./pipe a.ab").expect(0);
    assert!(sandbox.read("a.ab.sealed").windows(10).any(|bytes| bytes == b"!mbx-abort"));
    refused(sandbox.sh(&all), "aborted upstream: mbx-remap-part: ");
    // The disk was full, the job was killed, the copy was cut off: at any line end, and in the middle of a line.
    let ends: Vec<usize> = (0..good.len()).filter(|at| good[*at] == b'\n').map(|at| at + 1).collect();
    for cut in ends[..ends.len() - 1].iter().step_by(5).flat_map(|end| [*end, end - 1]).chain([0]) {
        sandbox.write("a.ab.sealed", &good[..cut]);
        refused(sandbox.sh(&all), "aborted upstream: ");
    }
    std::fs::remove_file(sandbox.path().join("a.ab.sealed")).unwrap();
    refused(sandbox.sh(&all), "a.ab.sealed: No such file or directory");
    // A piece that nobody named is for --expect to find, and one that was named twice for --unique, which --sealed is.
    sandbox.write("a.ab.sealed", &good);
    refused(sandbox.sh(&join("a.aa a.ac", "--expect 101")), "not --expect 101");
    refused(sandbox.sh(&join("a.aa a.ab a.ac a.ab", "")), "mailbox twice");
    sandbox.sh(&join("a.ac a.aa a.ab", "--expect 101 --compare-with old.list --compare name >/dev/null")).expect(2);
    sandbox.write("old.list", &whole);
    sandbox.sh(&join("a.ac a.aa a.ab", "--expect 101 --compare-with old.list >/dev/null")).expect(0);
}

/// Seals are of one list, and limits are of what one filter sees.
#[test]
fn what_is_of_the_whole_list() {
    let (sandbox, whole) = three();
    for glued in ["cat a.a?.sealed | mbx-count-guard --sealed", "mbx-count-guard --sealed a.a?.sealed"] {
        refused(sandbox.sh(glued), "behind the end mark: not one whole list");
    }
    sandbox.sh("split -n l/3 whole.sealed b. && mbx-parse b.aa").expect(1).says("no end mark");
    // Each piece has its own numbers.
    sandbox.write("list", &whole);
    sandbox.sh("split -n l/3 list c. && mbx-count-guard --min 100 c.aa").expect(1).says("fewer than --min 100");
    // Ten mailboxes of partition 3 that are missing are few of all that it has, and too many of a piece.
    let entries = lines(&whole);
    let of_3: Vec<_> = entries.iter().filter(|entry| entry.windows(5).any(|bytes| bytes == b"\t0 3\t")).collect();
    let mut lost = Vec::new();
    for entry in &of_3 {
        let name = String::from_utf8_lossy(entry.split(|b| *b == b'\t').next().unwrap()).replace('.', "/");
        let header = sandbox.path().join("spool/3").join(name).join("cyrus.header");
        if lost.len() < 10 && std::fs::remove_file(header).is_ok() {
            lost.extend_from_slice(std::slice::from_ref(*entry));
        }
    }
    assert!(lost.len() == 10 && of_3.len() > 20);
    sandbox.write("piece", lost.concat());
    let check = "mbx-check-paths -C new.conf --from 2.2.13";
    sandbox.sh(&format!("{check} list")).expect(0);
    sandbox.sh(&format!("{check} piece")).expect(1).says("more than half of a partition is missing");
    sandbox.sh(&format!("{check} --max-missing 10 piece")).expect(0);
}
