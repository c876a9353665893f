//! Measures `mbx-check-paths` against the bare system calls, and the whole migration against the script of 2006.
//!
//! 1. On a file system in memory: `mbx-check-paths` with one job and with its default, against a loop that only stats
//!    the same paths.
//! 2. With 2 ms added to every look-up, by the file system of `slow.c`: one job and 32, against bare stats by one
//!    thread and by 32, the best that this measurement allows. Needs root, a C compiler and Debian's `libfuse3-dev`,
//!    `fuse3`.
//! 3. The six filters against `2006.pl`, which does their steps in one process.
//!
//! The output has the medians of the rounds, and ratios within one run. `MBX_BENCH_MAILBOXES` is the number of
//! mailboxes (default 200,000; a fiftieth of it on the slow file system). `MBX_BENCH_ROUNDS` is the number of rounds
//! (default 5; one on the slow file system).

#![allow(clippy::expect_used)]

mod measure;

use measure::{in_memory, median, number};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CHECK_PATHS: &str = env!("CARGO_BIN_EXE_mbx-check-paths");

/// A list and its spool: four mailboxes a user, on the partitions `default` and `0`. The spool has them as `3` and `4`.
struct Spool {
    list: PathBuf,
    root: PathBuf,
    headers: Vec<PathBuf>,
}

impl Spool {
    fn make(below: &Path, mailboxes: u64) -> Spool {
        let (list, root) = (below.join("list"), below.join("spool"));
        let mut out = BufWriter::new(File::create(&list).expect("a list"));
        let mut headers = Vec::new();
        for i in 0..mailboxes {
            let (user, folder) = (i / 4, ["", "Sent", "Drafts", "Trash"][(i % 4) as usize]);
            let (old, new) = [("default", "3"), ("0", "4")][(user % 2) as usize];
            let dot = if folder.is_empty() { "" } else { "." };
            writeln!(out, "user.u{user:07}{dot}{folder}\t{old}\tu{user:07}\tlrswipcda\tanyone\tp\t").expect("room");
            let header = root.join(format!("{new}/user/u{user:07}/{folder}/cyrus.header"));
            std::fs::create_dir_all(header.parent().expect("a directory")).expect("room");
            std::fs::write(&header, b"x").expect("room");
            headers.push(header);
        }
        out.flush().expect("room");
        Spool { list, root, headers }
    }

    /// Stats the first `headers` headers below `root`, by `threads` threads.
    fn stats(&self, root: &Path, headers: usize, threads: usize) -> Duration {
        let paths: Vec<PathBuf> = self.headers[..headers]
            .iter()
            .map(|path| root.join(path.strip_prefix(&self.root).expect("it is below the root")))
            .collect();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for share in paths.chunks(paths.len().div_ceil(threads)) {
                scope.spawn(move || {
                    for path in share {
                        assert!(std::fs::metadata(path).is_ok_and(|header| header.is_file()));
                    }
                });
            }
        });
        begun.elapsed()
    }

    fn check(&self, root: &Path, jobs: Option<&str>) -> Duration {
        let mut command = Command::new(CHECK_PATHS);
        for (old, new) in [("default", "3"), ("0", "4")] {
            command.arg("--partition").arg(format!("{old}={}", root.join(new).display()));
        }
        command.args(["--from", "2.2.13"]).args(jobs.iter().flat_map(|jobs| ["--jobs", jobs]));
        // The spool belongs to root, so the check is for root.
        command.env("CYRUS_USER", "root").arg(&self.list).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        assert!(command.status().expect("mbx-check-paths").success());
        begun.elapsed()
    }
}

/// Runs the jobs in turns, and prints the medians against the first.
fn table(title: &str, rounds: u64, jobs: &mut [(&str, &mut dyn FnMut() -> Duration)]) {
    let mut times = vec![Vec::new(); jobs.len()];
    for _ in 0..rounds {
        for ((_, job), times) in jobs.iter_mut().zip(&mut times) {
            times.push(job());
        }
    }
    let medians: Vec<f64> = times.into_iter().map(|times| median(times).as_secs_f64()).collect();
    println!("{title}, {rounds} rounds\n\n{:<40} {:>8} {:>16} {:>14}", "", "seconds", "times the first", "first / it");
    for ((name, _), median) in jobs.iter().zip(&medians) {
        println!("{name:<40} {median:>8.2} {:>16.2} {:>14.2}", median / medians[0], medians[0] / median);
    }
    println!();
}

/// The file system of `slow.c`. It is unmounted when this is dropped.
struct Slow(Child);

impl Slow {
    fn mount(below: &Path, root: &Path, at: &Path) -> Option<Slow> {
        let program = below.join("slow");
        let compile = "cc -O2 benches/slow.c -o \"$0\" $(pkg-config --cflags --libs fuse3)";
        let compiled = Command::new("sh").args(["-c", compile]).arg(&program).stderr(Stdio::null()).status();
        if !compiled.is_ok_and(|status| status.success()) {
            return None;
        }
        std::fs::create_dir(at).ok()?;
        let child = Command::new(program).arg(root).arg("2000").arg(at).stderr(Stdio::null()).spawn().ok()?;
        let slow = Slow(child);
        for _ in 0..100 {
            if at.join("3").is_dir() {
                return Some(slow);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // The file system unmounts itself when it gets SIGTERM.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Removes all directories of the metapartitions and makes their roots.
fn empty(meta: &Path) {
    let _ = std::fs::remove_dir_all(meta);
    for partition in ["3", "4"] {
        std::fs::create_dir_all(meta.join(partition)).expect("room");
    }
}

fn sh(command: &str) -> Duration {
    let begun = Instant::now();
    let status = Command::new("sh").args(["-c", command]).env("CYRUS_USER", "root").stderr(Stdio::null()).status();
    assert!(status.expect("sh").success(), "{command}");
    begun.elapsed()
}

fn main() {
    let (mailboxes, rounds) = (number("MBX_BENCH_MAILBOXES", 200_000), number("MBX_BENCH_ROUNDS", 5));
    let dir = in_memory();
    let spool = Spool::make(dir.path(), mailboxes);
    let root = &spool.root;
    table(
        &format!("{mailboxes} mailboxes, their spool in memory"),
        rounds,
        &mut [
            ("bare stats, one thread", &mut || spool.stats(root, spool.headers.len(), 1)),
            ("mbx-check-paths --jobs 1", &mut || spool.check(root, Some("1"))),
            ("mbx-check-paths", &mut || spool.check(root, None)),
        ],
    );

    let meta = dir.path().join("meta");
    let conf = dir.path().join("imapd.conf");
    let text: String = ["3", "4"]
        .iter()
        .map(|name| {
            format!("partition-{name}: {0}/spool/{name}\nmetapartition-{name}: {0}/meta/{name}\n", dir.path().display())
        })
        .chain(["metapartition_files: squat\n".to_string()])
        .collect();
    std::fs::write(&conf, text).expect("room");
    let (list, conf) = (spool.list.display(), conf.display());
    let [parse, remap, acl, mkmeta, guard] = [
        env!("CARGO_BIN_EXE_mbx-parse"),
        env!("CARGO_BIN_EXE_mbx-remap-part"),
        env!("CARGO_BIN_EXE_mbx-acl-rewrite"),
        env!("CARGO_BIN_EXE_mbx-mkmeta"),
        env!("CARGO_BIN_EXE_mbx-count-guard"),
    ];
    let six = format!(
        "{parse} --from 2.2.13 --to 2.3.7 --seal {list} | {remap} default=3 0=4 | {acl} | {CHECK_PATHS} -C {conf} | \
         {mkmeta} -C {conf} --owner root | {guard} --sealed --min {mailboxes} >/dev/null"
    );
    let script = format!("perl benches/2006.pl {} {} {mailboxes} <{list} >/dev/null", root.display(), meta.display());
    let fresh = |command: &str| {
        empty(&meta);
        sh(command)
    };
    table(
        &format!("The whole migration, {mailboxes} mailboxes, their spool in memory, every directory made"),
        rounds,
        &mut [("the script of 2006", &mut || fresh(&script)), ("the six filters", &mut || fresh(&six))],
    );
    table(
        "The same, every directory exists",
        rounds,
        &mut [("the script of 2006", &mut || sh(&script)), ("the six filters", &mut || sh(&six))],
    );
    drop(spool);

    let dir = in_memory();
    let mailboxes = mailboxes / 50;
    let spool = Spool::make(dir.path(), mailboxes);
    let slow = dir.path().join("slow-spool");
    let Some(_mounted) = Slow::mount(dir.path(), &spool.root, &slow) else {
        println!("2 ms on every look-up: SKIPPED, needs root, cc, pkg-config, libfuse3-dev and fuse3");
        return;
    };
    let all = spool.headers.len();
    table(
        &format!("{mailboxes} mailboxes, 2 ms added to every look-up"),
        1,
        &mut [
            ("bare stats, one thread", &mut || spool.stats(&slow, all, 1)),
            ("bare stats, 32 threads", &mut || spool.stats(&slow, all, 32)),
            ("mbx-check-paths --jobs 1", &mut || spool.check(&slow, Some("1"))),
            ("mbx-check-paths --jobs 32", &mut || spool.check(&slow, Some("32"))),
            ("mbx-check-paths", &mut || spool.check(&slow, None)),
        ],
    );
}
