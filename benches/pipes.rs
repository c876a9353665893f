//! What a filter costs in a pipe, beside `cat` in its place and beside the same job in `mawk`, `perl` and `sed`.
//!
//! `cat LIST | FILTER | cat >/dev/null` on a generated list of realistic shape in memory. Every round runs all of them
//! once, so that what else the machine does falls on all alike; shown are the medians of the rounds, as ratios. The
//! absolute times are of this machine and this hour and mean nothing elsewhere.
//!
//! `MBX_BENCH_ENTRIES` (default 5,000,000), `MBX_BENCH_ROUNDS` (default 5).

#![allow(clippy::expect_used)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A list as 2.2 writes it: users with a few folders, five partitions, ACLs mostly of one to three identifiers.
fn generate(path: &str, entries: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("a list in memory"));
    let folders = ["", ".Sent", ".Drafts", ".Trash", ".Junk", ".Archive.2005", ".Archive.2006.q4", ".My Mail"];
    let partitions = ["default", "0", "1", "2", "part-3"];
    let others =
        ["", "", "", "anyone\tp\t", "anyone\tlrs\t", "group:staff\tlrswip\tcyrus\tlrswipcda\t", "boss\tlrswipcd\t"];
    // A walk that looks random and is the same every time.
    let mut state = 88_172_645_463_325_252_u64;
    for i in 0..entries {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let user = i / 8;
        let folder = folders[(i % 8) as usize];
        let partition = partitions[(user % 5) as usize];
        let other = others[(state % 7) as usize];
        writeln!(out, "user.u{user:07}{folder}\t{partition}\tu{user:07}\tlrswipcda\t{other}")
            .expect("room for the list");
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let (entries, rounds) = (number("MBX_BENCH_ENTRIES", 5_000_000), number("MBX_BENCH_ROUNDS", 5));
    let dir = tempfile::Builder::new().prefix("mbx-bench").tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.expect("a temporary directory");
    let list = dir.path().join("list").display().to_string();
    generate(&list, entries);
    let size = std::fs::metadata(&list).expect("the list").len();
    println!(
        "{entries} entries, {} MB, {rounds} rounds; wall time against `cat` in the same place\n",
        size / 1_000_000
    );

    let bin = |name: &str| match name {
        "parse" => env!("CARGO_BIN_EXE_mbx-parse"),
        "remap" => env!("CARGO_BIN_EXE_mbx-remap-part"),
        "acl" => env!("CARGO_BIN_EXE_mbx-acl-rewrite"),
        _ => env!("CARGO_BIN_EXE_mbx-count-guard"),
    };
    let jobs: Vec<(&str, String)> = vec![
        ("cat", "cat".into()),
        ("mbx-parse, check only", bin("parse").into()),
        ("mbx-parse --to 2.3.7", format!("{} --from 2.2.13 --to 2.3.7", bin("parse"))),
        ("mbx-remap-part, two renames", format!("{} default=3 0=4", bin("remap"))),
        ("mbx-remap-part, none matches", format!("{} nosuch=x", bin("remap"))),
        ("mbx-acl-rewrite, every entry", format!("{} --from 2.2.13", bin("acl"))),
        ("mbx-count-guard --min", format!("{} --min 1", bin("guard"))),
        ("mbx-count-guard --unique", format!("{} --unique", bin("guard"))),
        ("mawk, two renames", r#"mawk -F'\t' -v OFS='\t' '$2=="default"{$2="3"} $2=="0"{$2="4"} 1'"#.into()),
        ("perl -pe, two renames", r#"perl -pe 's/^([^\t]*\t)default\t/${1}3\t/ || s/^([^\t]*\t)0\t/${1}4\t/'"#.into()),
        ("sed, two renames", r#"sed -e 's/^\([^\t]*\t\)default\t/\13\t/;t' -e 's/^\([^\t]*\t\)0\t/\14\t/'"#.into()),
    ];
    let has =
        |tool: &str| Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let jobs: Vec<_> = jobs
        .into_iter()
        .filter(|(name, _)| !["mawk", "perl", "sed"].iter().any(|tool| name.starts_with(tool) && !has(tool)))
        .collect();
    let mut times = vec![Vec::new(); jobs.len()];
    for _ in 0..rounds {
        for (i, (_, filter)) in jobs.iter().enumerate() {
            times[i].push(time(&list, filter));
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    let remap =
        jobs.iter().position(|(name, _)| name.starts_with("mbx-remap-part, two")).map_or(medians[0], |i| medians[i]);
    println!("{:<32} {:>8} {:>12} {:>22}", "", "seconds", "times cat", "times mbx-remap-part");
    for ((name, _), median) in jobs.iter().zip(&medians) {
        let of = |base: Duration| median.as_secs_f64() / base.as_secs_f64();
        println!("{name:<32} {:>8.2} {:>12.2} {:>22.2}", median.as_secs_f64(), of(medians[0]), of(remap));
    }
}
