//! Any stage, any moment, any fault: the command behind the guard sees the whole right list or nothing at all.
//!
//! `MBX_KILL_TRIALS` says how often; by default each fault has its turn seven times. `make torture` is the long run.

use crate::harness;
use crate::harness::{Sandbox, Walk, command};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A build for debugging takes ten times as long.
const ENTRIES: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

/// How long all stages together may take to end; they take less than a second. What hangs is a fault, too.
const PATIENCE: Duration = Duration::from_secs(120);

/// The six, the guard last.
const STAGES: [&str; 6] = ["parse", "remap-part", "acl-rewrite", "check-paths", "mkmeta", "count-guard"];
const GUARD: usize = STAGES.len() - 1;

/// What goes wrong in one trial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    /// A stage is killed, by SIGKILL or SIGTERM.
    Killed,
    /// A stage gets a SIGPIPE from somewhere. Once it is up it does not care.
    Sigpipe,
    /// A stage is stopped for a while.
    Stopped,
    /// What writes the list fails, by a status or a signal, when it has written some of it, or all.
    Source,
    /// What loads the list fails.
    Loader,
    /// The disk of the guard's temporary files is too small for the list, or nearly so.
    DiskFull,
    /// So may no file of the guard's grow.
    FileSize,
    /// A stage gets little memory.
    Memory,
    /// The sealed stream between two stages ends somewhere.
    Cut,
    /// A byte of it becomes another.
    Flipped,
    /// A stretch of it comes twice.
    Twice,
    /// A stretch of it is lost.
    Lost,
    /// It comes in small pieces, with pauses.
    Pieces,
    /// System calls of a stage are interrupted, again and again.
    Interrupted,
    /// Nobody can be told: stderr is full, or closed.
    Mute,
}

const FAULTS: [Fault; 15] = [
    Fault::Killed,
    Fault::Sigpipe,
    Fault::Stopped,
    Fault::Source,
    Fault::Loader,
    Fault::DiskFull,
    Fault::FileSize,
    Fault::Memory,
    Fault::Cut,
    Fault::Flipped,
    Fault::Twice,
    Fault::Lost,
    Fault::Pieces,
    Fault::Interrupted,
    Fault::Mute,
];

/// What may come of a fault.
#[derive(PartialEq, Eq)]
enum Law {
    Nothing,
    WholeOrNothing,
    Whole,
    /// The loader saw it all and may have stored a part, and the guard says so.
    NoSuccess,
}

impl Fault {
    fn law(self) -> Law {
        match self {
            Fault::Source | Fault::Cut => Law::Nothing,
            Fault::Stopped | Fault::Pieces | Fault::Interrupted | Fault::Mute => Law::Whole,
            Fault::Loader => Law::NoSuccess,
            _ => Law::WholeOrNothing,
        }
    }

    /// Whether it can be brought about here: some take a program, and the right to use it.
    fn is_possible(self, sandbox: &Sandbox) -> bool {
        let script = match self {
            Fault::DiskFull => "unshare -m mount -t tmpfs none tmp",
            Fault::Interrupted => "strace -D -o /dev/null true",
            _ => return true,
        };
        let possible = sandbox.sh(script).status == 0;
        if !possible {
            harness::skip(&format!("{self:?}: `{script}` cannot be run here"), "MBX_REQUIRE_TOOLS");
        }
        possible
    }
}

/// Carries the stream from one stage to the next, and tells whether it did so in its own way.
type Carry = Box<dyn FnOnce(ChildStdout, File) -> io::Result<bool> + Send>;

/// How the pipeline is run.
struct Plan {
    source: String,
    loader: String,
    /// What a stage is started by.
    wrap: Option<(usize, Vec<String>)>,
    /// What stands in the place of the pipe behind a stage.
    links: [Option<Carry>; GUARD],
    /// Which stage gets which signals, and when.
    signals: Option<(usize, Duration, Vec<Signal>)>,
}

/// How it went.
struct Ended {
    /// What the loader saw and wrote.
    out: Vec<u8>,
    err: String,
    statuses: Vec<ExitStatus>,
    /// Whether a stage was there to get a signal, or a link was carried in its own way.
    touched: bool,
}

impl Ended {
    fn tell(&self) -> String {
        format!("{:?}\n{} bytes loaded\n{}", self.statuses, self.out.len(), self.err)
    }
}

/// The night, with one target.
struct Night<'a> {
    sandbox: &'a Sandbox,
    to: &'static str,
    takes: Duration,
    /// What the loader sees if nothing goes wrong.
    whole: Vec<u8>,
    /// How many bytes go through each link.
    lengths: Vec<u64>,
}

/// A spool of 2.2.13 whose partitions have their new names already, its list, and the new server's imapd.conf.
fn spool() -> Sandbox {
    let sandbox = Sandbox::empty();
    let old = Sandbox::of("2.2.13", "flat");
    let header = String::from_utf8_lossy(&old.read("spool/default/user/alice/cyrus.header")).into_owned();
    let magic = &std::fs::read(old.path().join("spool/default/user/alice/cyrus.header")).unwrap()[..4];
    let motto: String = header.split_inclusive('\n').take(3).skip(1).collect();
    let index = old.read("spool/default/user/alice/cyrus.index");
    let mut list = String::new();
    for i in 0..ENTRIES {
        let (before, now) = [("default", "3"), ("0", "4"), ("1", "5")][i % 3];
        list += &format!("user.u{i:05}\t{before}\tu{i:05}\tlrswipcda\tanyone\tp\t\n");
        let dir = sandbox.path().join(format!("spool/{now}/user/u{i:05}"));
        std::fs::create_dir_all(&dir).unwrap();
        let rest = format!("Cyrus mailbox header\n{motto}\t{i:016x}\n\nanyone\tlrs\t\n");
        std::fs::write(dir.join("cyrus.header"), [magic, rest.as_bytes()].concat()).unwrap();
        std::fs::write(dir.join("cyrus.index"), &index).unwrap();
    }
    sandbox.write("list", list);
    std::fs::create_dir(sandbox.path().join("tmp")).unwrap();
    let mut conf = "configdirectory: /cyrus/conf\nmetapartition_files: cache\n".to_string();
    for partition in ["3", "4", "5"] {
        conf += &format!("partition-{partition}: /cyrus/spool/{partition}\n");
        conf += &format!("metapartition-{partition}: /cyrus/meta/{partition}\n");
        std::fs::create_dir_all(sandbox.path().join("meta").join(partition)).unwrap();
    }
    sandbox.conf("new.conf", &conf);
    sandbox
}

/// Ends a pipeline that hangs.
struct Watched(Vec<Child>);

impl Drop for Watched {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Night<'_> {
    fn new<'a>(sandbox: &'a Sandbox, to: &'static str) -> Night<'a> {
        let mut night = Night { sandbox, to, takes: Duration::ZERO, whole: Vec::new(), lengths: Vec::new() };
        let (tell, told) = mpsc::channel();
        let mut plan = night.plan();
        plan.links = std::array::from_fn(|link| {
            let tell = tell.clone();
            let carry: Carry = Box::new(move |mut from, mut to| {
                tell.send((link, io::copy(&mut from, &mut to)?)).unwrap();
                Ok(true)
            });
            Some(carry)
        });
        drop(tell);
        night.whole = night.run(plan).out;
        night.lengths = told.into_iter().collect::<BTreeMap<_, _>>().into_values().collect();
        assert_eq!(night.lengths.len(), GUARD);
        assert!(night.whole.len() > 40 * ENTRIES && night.whole.starts_with(b"BEGUN\n"));
        let undisturbed = || {
            let begun = Instant::now();
            let again = night.run(night.plan());
            let takes = begun.elapsed();
            assert!(again.statuses.iter().all(ExitStatus::success) && again.out == night.whole, "{}", again.tell());
            takes
        };
        // Other work on the machine makes it longer than it is.
        let takes = [(); 5].map(|()| undisturbed()).into_iter().min();
        Night { takes: takes.unwrap(), ..night }
    }

    /// The pipeline with nothing wrong.
    fn plan(&self) -> Plan {
        Plan {
            source: "exec cat list".to_string(),
            loader: "echo BEGUN; exec cat".to_string(),
            wrap: None,
            links: Default::default(),
            signals: None,
        }
    }

    fn options(&self, stage: usize, plan: &Plan) -> Vec<String> {
        let owner = harness::owner();
        let options = match STAGES[stage] {
            "parse" => vec!["--from", "2.2.13", "--to", self.to, "--seal", "--", "sh", "-c", &plan.source],
            "remap-part" => vec!["default=3", "0=4", "1=5"],
            "check-paths" if self.to == "3.6.1" => vec!["-C", "new.conf", "--fill"],
            "check-paths" => vec!["-C", "new.conf"],
            "mkmeta" => vec!["-C", "new.conf", "--owner", &owner],
            "count-guard" => vec!["--sealed", "--", "sh", "-c", &plan.loader],
            _ => vec![],
        };
        options.into_iter().map(str::to_string).collect()
    }

    fn stage(&self, stage: usize, plan: &Plan) -> Command {
        let options = self.options(stage, plan);
        let plain = command(STAGES[stage], &options.iter().map(String::as_str).collect::<Vec<_>>());
        let mut command = match &plan.wrap {
            Some((wrapped, words)) if *wrapped == stage => {
                let mut outer = Command::new(&words[0]);
                outer.args(&words[1..]).arg(plain.get_program()).args(plain.get_args());
                outer
            }
            _ => plain,
        };
        let log = File::options().append(true).open(self.sandbox.file("log")).unwrap();
        command.current_dir(self.sandbox.path()).env("CYRUS_USER", "root").stdout(Stdio::piped()).stderr(log);
        // Room for temporary files of its own: what becomes of it is nobody else's.
        command.env("TMPDIR", self.sandbox.file("tmp"));
        command
    }

    fn run(&self, mut plan: Plan) -> Ended {
        self.sandbox.write("log", "");
        let mut children = Watched(Vec::new());
        let mut carriers = Vec::new();
        for stage in 0..STAGES.len() {
            let input = match (children.0.last_mut().map(|before| before.stdout.take().unwrap()), stage) {
                (None, _) => Stdio::null(),
                (Some(from), _) => match plan.links[stage - 1].take() {
                    None => Stdio::from(from),
                    Some(carry) => {
                        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                        let (reader, writer) = (File::from(reader), File::from(writer));
                        carriers.push(std::thread::spawn(move || carry(from, writer)));
                        Stdio::from(reader)
                    }
                },
            };
            children.0.push(self.stage(stage, &plan).stdin(input).spawn().unwrap());
        }
        // The loader has it from the guard: when it ends both are gone.
        let mut loaded = children.0[GUARD].stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut out = Vec::new();
            let read = loaded.read_to_end(&mut out);
            let _ = tell.send(read.map(|_| out));
        });
        let mut touched = false;
        if let Some((victim, wait, signals)) = plan.signals {
            let victim = &mut children.0[victim];
            for signal in signals {
                std::thread::sleep(wait);
                touched |=
                    victim.try_wait().unwrap().is_none() && kill_process(Pid::from_child(victim), signal).is_ok();
            }
        }
        let log = || String::from_utf8_lossy(&self.sandbox.read("log")).into_owned();
        let out = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it hangs\n{}", log())).unwrap();
        let statuses = children.0.iter_mut().map(|child| child.wait().unwrap()).collect();
        for carrier in carriers {
            // A link that breaks is the reader's end.
            touched |= carrier.join().unwrap().unwrap_or(true);
        }
        Ended { out, err: log(), statuses, touched }
    }

    fn plan_of(&self, fault: Fault, walk: &mut Walk) -> Plan {
        let mut plan = self.plan();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect::<Vec<_>>();
        let stage = walk.below(STAGES.len() as u64) as usize;
        let moment = self.takes.mul_f64(walk.below(1_200) as f64 / 1_000.0);
        let some = walk.below(self.whole.len() as u64);
        match fault {
            Fault::Killed => {
                let signal = [Signal::KILL, Signal::TERM][walk.below(2) as usize];
                plan.signals = Some((stage, moment, vec![signal]));
            }
            Fault::Sigpipe => plan.signals = Some((stage, moment, vec![Signal::PIPE])),
            Fault::Stopped => {
                // The stop and the end of it each have this wait before them.
                plan.signals = Some((stage, moment / 4, vec![Signal::STOP, Signal::CONT]));
            }
            Fault::Source => {
                let end = ["exit 1", "exit 75", "kill -9 $$", "kill $$", "kill -PIPE $$"][walk.below(5) as usize];
                let some = walk.below(self.sandbox.read("list").len() as u64 * 6 / 5);
                plan.source = format!("head -c {some} list; {end}");
            }
            Fault::Loader => {
                let end = ["", "exit 1", "kill -9 $$", "cat; exit 3", "cat; kill $$", "cat; echo user.a: no >&2"];
                let end = end[walk.below(6) as usize];
                plan.loader = format!("echo BEGUN; head -c {some}; {end}");
            }
            Fault::DiskFull => {
                let script = "mount -t tmpfs -o size=$0 none tmp && exec \"$@\"";
                let size = 4_096 + some * 6 / 5;
                plan.wrap = Some((GUARD, words(&["unshare", "-m", "sh", "-c", script, &size.to_string()])));
            }
            Fault::FileSize => {
                let ignore = ["", "trap '' XFSZ; "][walk.below(2) as usize];
                let script = format!("{ignore}ulimit -S -f $0; exec \"$@\"");
                let blocks = some * 6 / 5 / 512;
                plan.wrap = Some((GUARD, words(&["sh", "-c", &script, &blocks.to_string()])));
            }
            Fault::Memory => {
                let kilobytes = 3_000 + walk.below(9_000);
                plan.wrap = Some((stage, words(&["sh", "-c", "ulimit -S -v $0; exec \"$@\"", &kilobytes.to_string()])));
                // The loader gets back what was taken from the guard.
                plan.loader = format!("ulimit -S -v unlimited; {}", plan.loader);
            }
            Fault::Cut | Fault::Flipped | Fault::Twice | Fault::Lost => {
                let link = walk.below(GUARD as u64) as usize;
                let at = walk.below(self.lengths[link]);
                let len = if fault == Fault::Flipped { 1 } else { 1 + walk.below(65_536) };
                let bits = 1 + walk.below(255) as u8;
                plan.links[link] = Some(Box::new(move |from, to| damage(fault, at, len, bits, from, to)));
            }
            Fault::Pieces => {
                let link = walk.below(GUARD as u64) as usize;
                let walk = Walk(walk.below(u64::MAX) | 1);
                plan.links[link] = Some(Box::new(move |from, to| in_pieces(walk, from, to)));
            }
            Fault::Interrupted => {
                // Not the first two reads, which are the C library's loader's.
                // Every third, as a look-up in /etc/group is two reads, and is made again from its first.
                let reads = format!("inject=read:error=EINTR:when={}+3", 3 + walk.below(3));
                let others = "inject=write,wait4,poll:error=EINTR:when=1+2";
                let log = self.sandbox.write("strace", "");
                let strace =
                    ["strace", "-D", "-o", &log, "-e", "trace=read,write,wait4,poll", "-e", &reads, "-e", others];
                plan.wrap = Some((stage, words(&strace)));
            }
            Fault::Mute => {
                let script = ["exec \"$@\" 2>&-", "exec \"$@\" 2>/dev/full"][walk.below(2) as usize];
                plan.wrap = Some((stage, words(&["sh", "-c", script, "sh"])));
            }
        }
        plan
    }

    /// One trial. Whether the fault had an effect, and what was loaded.
    fn trial(&self, fault: Fault, walk: &mut Walk) -> (bool, bool) {
        let ended = self.run(self.plan_of(fault, walk));
        let whole = ended.out == self.whole;
        let nothing = ended.out.is_empty() || ended.out.starts_with(b"!mbx-abort ");
        let success = ended.statuses[GUARD].success();
        let tell = || format!("{fault:?}, to {}: {}", self.to, ended.tell());
        assert!(!success || whole, "a success, and not loaded: {}", tell());
        // Where the memory ends before `main` begins, it is Rust's runtime that panics.
        let said = |words: &str| ended.err.matches(words).count();
        assert!(said("panicked") <= said("failed to allocate an alternative stack"), "{}", tell());
        match fault.law() {
            Law::Nothing => assert!(nothing, "{}", tell()),
            Law::WholeOrNothing => assert!(whole || nothing, "{}", tell()),
            Law::Whole => assert!(whole && ended.statuses.iter().all(ExitStatus::success), "{}", tell()),
            Law::NoSuccess => assert!(!success && self.whole.starts_with(&ended.out), "{}", tell()),
        }
        let effect = match fault {
            Fault::Interrupted => self.sandbox.read("strace").windows(8).any(|word| word == b"INJECTED"),
            Fault::Mute => STAGES.iter().any(|stage| !ended.err.contains(&format!("mbx-{stage}: "))),
            Fault::Stopped | Fault::Sigpipe | Fault::Pieces => ended.touched,
            _ => !success,
        };
        (effect, whole)
    }
}

/// What a bad link does to the `len` bytes from `at` on.
fn damage(fault: Fault, at: u64, len: u64, bits: u8, mut from: ChildStdout, mut to: File) -> io::Result<bool> {
    io::copy(&mut from.by_ref().take(at), &mut to)?;
    if fault == Fault::Cut {
        return Ok(true);
    }
    let mut stretch = Vec::new();
    from.by_ref().take(len).read_to_end(&mut stretch)?;
    match fault {
        Fault::Flipped => stretch.iter_mut().for_each(|byte| *byte ^= bits),
        Fault::Twice => stretch.extend_from_within(..),
        _ => stretch.clear(),
    }
    to.write_all(&stretch)?;
    io::copy(&mut from, &mut to).map(|_| true)
}

/// A link that lets a little through at a time.
fn in_pieces(mut walk: Walk, mut from: ChildStdout, mut to: File) -> io::Result<bool> {
    let mut room = [0; 8_192];
    let mut pieces = 0;
    loop {
        let most = 1 + walk.below(room.len() as u64) as usize;
        let got = from.read(&mut room[..most])?;
        if got == 0 {
            return Ok(pieces > 10);
        }
        to.write_all(&room[..got])?;
        pieces += 1;
        if walk.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(walk.below(500)));
        }
    }
}

#[test]
fn the_whole_list_or_nothing() {
    let seven_of_each = 7 * FAULTS.len();
    let trials = std::env::var("MBX_KILL_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(seven_of_each);
    let sandbox = spool();
    let nights = [Night::new(&sandbox, "2.3.7"), Night::new(&sandbox, "3.6.1")];
    let faults: Vec<Fault> = FAULTS.into_iter().filter(|fault| fault.is_possible(&sandbox)).collect();
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    let mut outcomes: BTreeMap<Fault, [usize; 3]> = BTreeMap::new();
    // On a busy machine a kind can come too late each time: it is tried on.
    let more = if trials >= seven_of_each { 40 * faults.len() } else { 0 };
    for trial in 0..trials + more {
        let fault = faults[trial % faults.len()];
        if trial >= trials && outcomes[&fault][1] > 0 {
            continue;
        }
        let (effect, whole) = nights[trial / faults.len() % nights.len()].trial(fault, &mut walk);
        let counts = outcomes.entry(fault).or_default();
        counts[0] += 1;
        counts[1] += usize::from(effect);
        counts[2] += usize::from(whole);
    }
    println!("{:<12} {:>6} {:>10} {:>6}", "fault", "trials", "had effect", "whole");
    for (fault, [trials, effect, whole]) in &outcomes {
        println!("{:<12} {trials:>6} {effect:>10} {whole:>6}", format!("{fault:?}"));
    }
    // A fault that never had an effect was none.
    if trials >= seven_of_each {
        assert!(outcomes.values().all(|[_, effect, _]| *effect > 0), "{outcomes:?}");
    }
}
