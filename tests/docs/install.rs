//! What `make install` puts where, what `make uninstall` leaves, and what the shells make of the completions.
//!
//! A shell that is not installed is skipped, loudly; a failure under MBX_REQUIRE_TOOLS=1.

use crate::harness::bin;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

const BINS: [&str; 6] =
    ["mbx-parse", "mbx-remap-part", "mbx-acl-rewrite", "mbx-check-paths", "mbx-mkmeta", "mbx-count-guard"];

/// Runs it, and answers what it printed.
#[track_caller]
fn ok(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// A make goal, staged below `to`, of the binaries that are under test.
fn make(goal: &str, to: &Path) {
    let to = format!("DESTDIR={}", to.display());
    let from = format!("TARGET={}", bin().display());
    let root = env!("CARGO_MANIFEST_DIR");
    ok(Command::new("make").args(["-s", "-C", root, goal, "CARGO=true", "PREFIX=/usr", &to, &from]));
}

fn files(below: &Path) -> BTreeSet<String> {
    let found = ok(Command::new("find").arg(below).args(["!", "-type", "d", "-printf", "%m %P\n"]));
    found.lines().map(str::to_string).collect()
}

#[test]
fn what_is_installed_is_all_and_goes_again() {
    let stage = tempfile::tempdir().unwrap();
    make("install", stage.path());
    let mut wanted = BTreeSet::new();
    for name in BINS {
        wanted.insert(format!("755 usr/bin/{name}"));
        wanted.insert(format!("644 usr/share/bash-completion/completions/{name}"));
        wanted.insert(format!("644 usr/share/zsh/site-functions/_{name}"));
        wanted.insert(format!("644 usr/share/fish/vendor_completions.d/{name}.fish"));
    }
    for (from, to) in [("man", "usr/share/man"), ("examples/migrate", "usr/share/doc/mbxtools/examples/migrate")] {
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(from)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let (_, suffix) = name.rsplit_once('.').unwrap_or_default();
            wanted.insert(match suffix {
                "1" | "5" | "7" => format!("644 {to}/man{suffix}/{name}"),
                "sh" => format!("755 {to}/{name}"),
                _ if name == "compare" => format!("755 {to}/{name}"),
                _ => format!("644 {to}/{name}"),
            });
        }
    }
    for name in ["README.md", "NEWS.md"] {
        wanted.insert(format!("644 usr/share/doc/mbxtools/{name}"));
    }
    assert_eq!(files(stage.path()), wanted);
    // Over what is there already, too.
    make("install", stage.path());
    std::fs::write(stage.path().join("usr/bin/mbx-of-somebody-else"), "").unwrap();
    make("uninstall", stage.path());
    let left = files(stage.path());
    assert!(left.len() == 1 && left.iter().all(|file| file.ends_with("mbx-of-somebody-else")), "{left:?}");
}

/// After `make` of a user, `make install` of root, who has no cargo or another one.
#[test]
fn what_was_built_is_installed_without_cargo() {
    let [built, stage] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let target = built.path().join("release");
    std::fs::create_dir(&target).unwrap();
    let make = |cargo: &str| {
        let mut make = Command::new("make");
        make.args(["-s", "-C", env!("CARGO_MANIFEST_DIR"), "install", "PREFIX=/usr", &format!("CARGO={cargo}")]);
        make.arg(format!("DESTDIR={}", stage.path().display())).env("CARGO_TARGET_DIR", built.path());
        make.stdin(Stdio::null()).output().unwrap()
    };
    // What is not built yet is.
    assert!(!make("false").status.success());
    for name in BINS {
        std::fs::copy(bin().join(name), target.join(name)).unwrap();
    }
    let ran = make("false");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let read = |path: &Path| std::fs::read(path.join("mbx-mkmeta")).unwrap();
    assert!(read(&stage.path().join("usr/bin")) == read(&target));
    // What is older than its source is built again.
    let old = std::time::SystemTime::UNIX_EPOCH;
    std::fs::File::open(target.join("mbx-mkmeta")).unwrap().set_modified(old).unwrap();
    assert!(!make("false").status.success());
}

/// The long options of a filter, as its help tells them.
fn options(name: &str) -> BTreeSet<String> {
    let help = ok(Command::new(bin().join(name)).arg("--help"));
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_string).collect()
}

#[test]
fn shells_complete_every_option() {
    let dir = tempfile::tempdir().unwrap();
    for name in BINS {
        let options = options(name);
        assert!(options.contains("--reject") || name == "mbx-count-guard", "{options:?}");
        for shell in ["bash", "zsh", "fish"] {
            let completions = ok(Command::new(bin().join(name)).args(["--completions", shell]));
            for option in &options {
                // fish has them without the dashes.
                let told = if shell == "fish" { format!("-l {}", &option[2..]) } else { option.clone() };
                assert!(completions.contains(&told), "{name} {option} {shell}");
            }
            let file = dir.path().join(format!("{name}.{shell}"));
            std::fs::write(&file, completions).unwrap();
            match Command::new(shell).arg("-n").arg(&file).output() {
                Ok(ran) => assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr)),
                Err(_) => {
                    crate::harness::skip(&format!("completions: {shell} is not installed"), "MBX_REQUIRE_TOOLS");
                }
            }
        }
    }
    // And bash really does it.
    let script = format!(
        ". {}/mbx-parse.bash; COMP_WORDS=(mbx-parse --su); COMP_CWORD=1; _mbx__parse mbx-parse --su mbx-parse; \
         echo \"${{COMPREPLY[@]}}\"; complete -p mbx-parse",
        dir.path().display()
    );
    let said = ok(Command::new("bash").args(["-c", &script]));
    assert!(said.starts_with("--summary\ncomplete ") && said.contains("-F _mbx__parse"), "{said}");
}

#[test]
fn only_the_whole_word_asks_for_completions() {
    for words in [&["--completions"][..], &["--completions", "csh"], &["--completions", "bash", "x"]] {
        let ran = Command::new(bin().join("mbx-parse")).args(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{words:?}");
    }
}
