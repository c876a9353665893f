//! Measures each filter in a pipe, against `cat` in its place and against the same job in `mawk`, `perl`, `sed` and
//! `jq`.
//!
//! The pipe is `cat LIST | FILTER | cat >/dev/null`, on a generated list of realistic shape in memory. Every round runs
//! each program once, so that other load on the machine affects all of them equally. The output has the medians of the
//! rounds as ratios. The absolute times are valid for one machine and one run only.
//!
//! The first table has the start-up time of each of the six.
//!
//! `MBX_BENCH_ENTRIES` is the number of entries (default 5,000,000 of text, a fifth of that of JSON).
//! `MBX_BENCH_ROUNDS` is the number of rounds (default 5). `jq` runs once: it is slow, and needs eleven times the size
//! of the list in memory.

#![allow(clippy::expect_used)]

mod measure;

use measure::{in_memory, median, number};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The dialects that are measured.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Text,
    Json,
}

/// Writes a list like those of 2.2 or 3.6: users with a few folders, five partitions, ACLs of one to three identifiers.
fn generate(path: &str, entries: u64, list: List) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("a list in memory"));
    let folders = ["", ".Sent", ".Drafts", ".Trash", ".Junk", ".Archive.2005", ".Archive.2006.q4", ".My Mail"];
    let partitions = ["default", "0", "1", "2", "part-3"];
    let others: [&[(&str, &str)]; 7] = [
        &[],
        &[],
        &[],
        &[("anyone", "p")],
        &[("anyone", "lrs")],
        &[("group:staff", "lrswip"), ("cyrus", "lrswipcda")],
        &[("boss", "lrswipcd")],
    ];
    // A pseudo-random sequence that is the same in every run.
    let mut state = 88_172_645_463_325_252_u64;
    for i in 0..entries {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let user = i / 8;
        let mailbox = format!("user.u{user:07}{}", folders[(i % 8) as usize]);
        let partition = partitions[(user % 5) as usize];
        let (owner, others) = (format!("u{user:07}"), others[(state % 7) as usize]);
        let acl = std::iter::once((owner.as_str(), "lrswipcda")).chain(others.iter().copied());
        let written = match list {
            List::Text => {
                let acl: String = acl.map(|(identifier, rights)| format!("{identifier}\t{rights}\t")).collect();
                writeln!(out, "{mailbox}\t{partition}\t{acl}")
            }
            List::Json => {
                let acl: Vec<_> = acl.map(|(identifier, rights)| format!("\"{identifier}\": \"{rights}\"")).collect();
                write!(
                    out,
                    "{}\"{mailbox}\": {{\"name\": \"{mailbox}\", \"mtime\": \"1795442868\", \"uidvalidity\": \"17954{:05}\", \
                     \"createdmodseq\": \"1\", \"foldermodseq\": \"{}\", \"mbtype\": \"e\", \"partition\": \"{partition}\", \
                     \"acl\": {{{}}}, \"uniqueid\": \"{state:024}\", \"name_history\": []}}",
                    if i == 0 { "{\n" } else { ",\n" },
                    i % 100_000,
                    state % 1000,
                    acl.join(", ")
                )
            }
        };
        written.expect("room for the list");
    }
    if list == List::Json {
        out.write_all(b"\n}\n").expect("room for the list");
    }
    out.flush().expect("room for the list");
}

fn time(list: &str, filter: &str) -> Duration {
    let begun = Instant::now();
    let status = Command::new("sh")
        .args(["-c", &format!("cat {list} | {filter} | cat >/dev/null")])
        .stderr(Stdio::null())
        .status()
        .expect("sh");
    assert!(status.success());
    begun.elapsed()
}

/// Runs all jobs on a list and prints their times against the first, which is `cat`, and against `ours`.
fn table(title: &str, list: &str, rounds: u64, ours: &str, jobs: &[(&str, String)]) {
    let size = std::fs::metadata(list).expect("the list").len();
    println!("{title}, {} MB, {rounds} rounds; wall time against `cat` in the same place\n", size / 1_000_000);
    let has =
        |tool: &str| Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let others = ["mawk", "perl", "sed", "jq"];
    let jobs: Vec<_> =
        jobs.iter().filter(|(name, _)| !others.iter().any(|tool| name.starts_with(tool) && !has(tool))).collect();
    let mut times = vec![Vec::new(); jobs.len()];
    for round in 0..rounds {
        for (i, (name, filter)) in jobs.iter().enumerate() {
            if round == 0 || !name.starts_with("jq") {
                times[i].push(time(list, filter));
            }
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    let base = jobs.iter().position(|(name, _)| name.starts_with(ours)).map_or(medians[0], |i| medians[i]);
    println!("{:<32} {:>8} {:>12} {:>22}", "", "seconds", "times cat", format!("times {ours}"));
    for ((name, _), median) in jobs.iter().zip(&medians) {
        let of = |base: Duration| median.as_secs_f64() / base.as_secs_f64();
        println!("{name:<32} {:>8.2} {:>12.2} {:>22.2}", median.as_secs_f64(), of(medians[0]), of(base));
    }
    println!();
}

/// Prints the start-up time of each filter: the time for a list of one entry, against `cat`. Compares the medians of
/// hundreds of alternating runs.
fn start_up(dir: &std::path::Path, bin: impl Fn(&str) -> &'static str) {
    let (list, spool) = (dir.join("one"), dir.join("spool"));
    std::fs::create_dir_all(spool.join("user/bob")).expect("room for a mailbox");
    std::fs::write(spool.join("user/bob/cyrus.header"), "x").expect("room for a mailbox");
    std::fs::write(&list, "user.bob\tdefault\tbob\tlrswipcda\t\n").expect("room for a list");
    let conf = dir.join("imapd.conf");
    let text = format!("configdirectory: {0}\npartition-default: {0}\nmetapartition-default: {0}\n", spool.display());
    std::fs::write(&conf, text).expect("room for a configuration");
    let conf = conf.display().to_string();
    let jobs: [(&str, &str, &[&str]); 7] = [
        ("cat", "cat", &[]),
        ("mbx-parse", bin("parse"), &["--from", "2.2.13", "--to", "2.3.7"]),
        ("mbx-remap-part", bin("remap"), &["default=3"]),
        ("mbx-acl-rewrite", bin("acl"), &["--from", "2.2.13"]),
        ("mbx-check-paths", bin("check-paths"), &["-C", &conf, "--from", "2.2.13"]),
        ("mbx-mkmeta", bin("mkmeta"), &["-n", "-C", &conf, "--from", "2.2.13"]),
        ("mbx-count-guard", bin("guard"), &["--unique", "--min", "1"]),
    ];
    let rounds = 300;
    let mut times = vec![Vec::new(); jobs.len()];
    for _ in 0..rounds {
        for ((name, program, options), times) in jobs.iter().zip(&mut times) {
            let list = File::open(&list).expect("the list");
            let mut command = Command::new(program);
            command.args(*options).env("CYRUS_USER", "root").stdin(list).stdout(Stdio::null()).stderr(Stdio::null());
            let begun = Instant::now();
            assert!(command.status().expect(name).success(), "{name}");
            times.push(begun.elapsed());
        }
    }
    println!("Start-up, a list of one entry, {rounds} rounds\n");
    println!("{:<32} {:>8} {:>20}", "", "ms", "ms more than cat");
    let medians: Vec<f64> = times.into_iter().map(|times| median(times).as_secs_f64() * 1e3).collect();
    for ((name, ..), median) in jobs.iter().zip(&medians) {
        println!("{name:<32} {median:>8.2} {:>20.2}", median - medians[0]);
    }
    println!();
}

fn main() {
    let (entries, rounds) = (number("MBX_BENCH_ENTRIES", 5_000_000), number("MBX_BENCH_ROUNDS", 5));
    let dir = in_memory();
    let list = dir.path().join("list").display().to_string();
    let bin = |name: &str| match name {
        "parse" => env!("CARGO_BIN_EXE_mbx-parse"),
        "remap" => env!("CARGO_BIN_EXE_mbx-remap-part"),
        "acl" => env!("CARGO_BIN_EXE_mbx-acl-rewrite"),
        "check-paths" => env!("CARGO_BIN_EXE_mbx-check-paths"),
        "mkmeta" => env!("CARGO_BIN_EXE_mbx-mkmeta"),
        _ => env!("CARGO_BIN_EXE_mbx-count-guard"),
    };
    start_up(dir.path(), bin);
    generate(&list, entries, List::Text);
    let jobs = [
        ("cat", "cat".into()),
        ("mbx-parse, check only", bin("parse").into()),
        ("mbx-parse --to 2.3.7", format!("{} --from 2.2.13 --to 2.3.7", bin("parse"))),
        ("mbx-remap-part, two renames", format!("{} default=3 0=4", bin("remap"))),
        ("mbx-remap-part, none matches", format!("{} nosuch=x", bin("remap"))),
        ("mbx-acl-rewrite, every entry", format!("{} --from 2.2.13", bin("acl"))),
        ("mbx-count-guard --min", format!("{} --min 1", bin("guard"))),
        ("mbx-count-guard --unique", format!("{} --unique", bin("guard"))),
        ("mbx-parse --to 3.6.1", format!("{} --from 2.2.13 --to 3.6.1", bin("parse"))),
        ("mawk, two renames", r#"mawk -F'\t' -v OFS='\t' '$2=="default"{$2="3"} $2=="0"{$2="4"} 1'"#.into()),
        ("perl -pe, two renames", r#"perl -pe 's/^([^\t]*\t)default\t/${1}3\t/ || s/^([^\t]*\t)0\t/${1}4\t/'"#.into()),
        ("sed, two renames", r#"sed -e 's/^\([^\t]*\t\)default\t/\13\t/;t' -e 's/^\([^\t]*\t\)0\t/\14\t/'"#.into()),
    ];
    table(&format!("Text, {entries} entries"), &list, rounds, "mbx-remap-part", &jobs);
    let entries = entries / 5;
    generate(&list, entries, List::Json);
    let renames = r#"if .value.partition=="default" then .value.partition="3" elif .value.partition=="0" then .value.partition="4" else . end"#;
    let jobs = [
        ("cat", "cat".into()),
        ("mbx-parse, check only", bin("parse").into()),
        ("mbx-remap-part, two renames", format!("{} default=3 0=4", bin("remap"))),
        ("mbx-acl-rewrite, every entry", bin("acl").into()),
        ("mbx-count-guard --unique", format!("{} --unique --to 3.6.1", bin("guard"))),
        ("mbx-parse --to 3.13.7", format!("{} --to 3.13.7", bin("parse"))),
        ("jq, two renames", format!("jq -c 'with_entries({renames})'")),
    ];
    table(&format!("JSON, {entries} entries"), &list, rounds, "mbx-remap-part", &jobs);
}
