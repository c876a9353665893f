//! What fuzzing holds of any bytes, of its seeds and of what is near them.
//!
//! `MBX_SEED=7` changes them otherwise.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use targets::TARGETS;
use targets::seeds::{Seed, seeds};

/// A walk that looks random and is the same for one seed.
struct Walk(u64);

impl Walk {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    /// A few bytes otherwise: cut off, put in, left out, twice.
    fn change(&mut self, input: &mut Vec<u8>) {
        const ODD: &[u8] = b"\t\n\r\0 !{}\",:\\./^@-0e\xff";
        for _ in 0..=self.below(3) {
            let at = self.below(input.len() + 1);
            let end = at + self.below((input.len() - at).min(16) + 1);
            match self.below(5) {
                0 => input.truncate(at),
                1 => input.insert(at, ODD[self.below(ODD.len())]),
                2 => drop(input.drain(at..end)),
                3 => input.extend_from_within(at..end),
                _ => input.iter_mut().skip(at).take(1).for_each(|b| *b = ODD[self.below(ODD.len())]),
            }
        }
    }
}

/// Run by the test below, which sends the messages of the filters nowhere.
#[test]
#[ignore = "tells what the filters say of thousands of odd lists"]
fn every_seed_holds_itself() {
    let seed = std::env::var("MBX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
    let mut walk = Walk(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let seeds = seeds(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus").as_ref());
    assert!(seeds.len() > 5_000, "{}", seeds.len());
    let mut wrong = Vec::new();
    for Seed { target, name, mut input } in seeds {
        let (_, hold) = TARGETS.iter().find(|(known, _)| *known == target).expect(target);
        for step in ["as it is", "changed", "changed again"] {
            if catch_unwind(|| hold(&input)).is_err() {
                wrong.push(format!("{target} {name} {step}: {}", input.escape_ascii()));
            }
            walk.change(&mut input);
        }
    }
    assert!(wrong.is_empty(), "{} do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_seed_holds() {
    let itself = std::env::current_exe().unwrap();
    let ran = Command::new(itself)
        .args(["--exact", "laws::seeds::every_seed_holds_itself", "--ignored"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}
