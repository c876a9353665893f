//! Any stage, any moment: whoever dies, the command behind the guard sees the whole right list or nothing at all.
//!
//! `MBX_KILL_TRIALS` (default 60) says how often.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use rustix::process::{Pid, Signal, kill_process};
use stage::{Sandbox, Walk, command};
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn entries() -> String {
    (0..10_000)
        .map(|i| format!("user.u{i:05}.Sent\t{}\tu{i:05}\tlrswipcda\tanyone\tp\t\n", ["default", "0", "1"][i % 3]))
        .collect()
}

/// The pipeline of a text target, each stage a process of ours; the loader behind the guard writes `loaded`.
fn pipeline(sandbox: &Sandbox) -> Vec<Child> {
    let list = sandbox.file("list");
    let load = format!("cat >{}", sandbox.file("loaded"));
    let stages: [(&str, Vec<&str>); 5] = [
        ("parse", vec!["--from", "2.2.13", "--to", "2.3.7", "--seal", "--", "cat", &list]),
        ("remap-part", vec!["default=3", "0=4"]),
        ("acl-rewrite", vec![]),
        ("remap-part", vec!["1=5"]),
        ("count-guard", vec!["--sealed", "--min", "10000", "--", "sh", "-c", &load]),
    ];
    let mut children: Vec<Child> = Vec::new();
    for (filter, options) in stages {
        let input = match children.last_mut().and_then(|before| before.stdout.take()) {
            Some(pipe) => Stdio::from(pipe),
            None => Stdio::null(),
        };
        let log = File::options().append(true).create(true).open(sandbox.file("log")).unwrap();
        children.push(command(filter, &options).stdin(input).stdout(Stdio::piped()).stderr(log).spawn().unwrap());
    }
    children
}

/// What the loader got, once nobody writes to it any more: it may outlive a guard that was killed.
fn loaded(sandbox: &Sandbox, whole: usize) -> Option<Vec<u8>> {
    let begun = Instant::now();
    let mut last = None;
    loop {
        let now = std::fs::read(sandbox.path().join("loaded")).ok();
        let done = now.is_none() || now.as_ref().is_some_and(|bytes| bytes.len() == whole);
        if (done && now == last) || begun.elapsed() > Duration::from_secs(5) {
            return now;
        }
        last = now;
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn the_whole_list_or_nothing() {
    let trials: u64 = std::env::var("MBX_KILL_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let sandbox = Sandbox::empty();
    sandbox.write("list", entries());
    let undisturbed = Instant::now();
    for mut child in pipeline(&sandbox) {
        assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&sandbox.read("log")));
    }
    let takes = undisturbed.elapsed();
    let expected = sandbox.read("loaded");
    assert_eq!(stage::lines(&expected).len(), 10_000);
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    let (mut nothing, mut all) = (0, 0);
    for trial in 0..trials {
        let _ = std::fs::remove_file(sandbox.path().join("loaded"));
        let mut children = pipeline(&sandbox);
        let victim = walk.below(children.len() as u64) as usize;
        let signal = [Signal::KILL, Signal::TERM, Signal::PIPE][walk.below(3) as usize];
        std::thread::sleep(takes.mul_f64(walk.below(1_200) as f64 / 1_000.0));
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&children[victim]), signal);
        let last = children.len() - 1;
        let mut status = None;
        for (i, child) in children.iter_mut().enumerate() {
            drop(child.stdout.take());
            let ended = child.wait().unwrap();
            if i == last {
                status = ended.code();
            }
        }
        match loaded(&sandbox, expected.len()) {
            None => {
                nothing += 1;
                assert_ne!(status, Some(0), "trial {trial}: a success, and nothing loaded");
            }
            // The loader's file is there, and the guard was killed before the loader could read.
            Some(bytes) if bytes.is_empty() && victim == last => nothing += 1,
            Some(bytes) => {
                all += 1;
                assert!(
                    bytes == expected,
                    "trial {trial}: stage {victim} killed: {} of {} bytes",
                    bytes.len(),
                    expected.len()
                );
            }
        }
    }
    println!("{trials} trials: {nothing} with nothing loaded, {all} with the whole list");
    assert!(nothing > trials / 10 && nothing + all == trials);
}
