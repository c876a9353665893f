//! Every example of the README and of the manual pages, run as it stands.
//!
//! In the README the fences marked `sh`, in the pages the literal displays under EXAMPLES. All of one page run in
//! order, in one directory that looks like the night of the migration: the old list, the new host's spool and
//! imapd.conf, and stand-ins for `ssh` and `ctl_mboxlist`. What a page says that a block prints, an unfilled display
//! behind it, is printed.

use crate::harness;
use crate::harness::{Sandbox, bin};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn script(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.write(name, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn night() -> Sandbox {
    let sandbox = Sandbox::migrated();
    std::fs::rename(sandbox.path().join("new.conf"), sandbox.path().join("imapd.conf")).unwrap();
    // The old host, with its own copy of the spool.
    let old = Sandbox::of("2.2.13", "flat");
    std::fs::create_dir(sandbox.path().join("old")).unwrap();
    std::fs::rename(old.path().join("spool"), sandbox.path().join("old/spool")).unwrap();
    let conf = String::from_utf8(sandbox.read("old.conf")).unwrap();
    let here = sandbox.path().to_str().unwrap();
    sandbox.write("old.conf", conf.replace(here, &format!("{here}/old")));
    let mut meta = String::from_utf8(sandbox.read("imapd.conf")).unwrap();
    for name in ["1", "2", "3", "4", "part-3"] {
        std::fs::create_dir_all(sandbox.path().join("meta").join(name)).unwrap();
        meta.push_str(&format!("metapartition-{name}: {here}/meta/{name}\n"));
    }
    sandbox.write("meta.conf", meta + "metapartition_files: header index\n");
    std::fs::create_dir(sandbox.path().join("lib")).unwrap();
    std::fs::create_dir(sandbox.path().join("bin")).unwrap();
    for dir in [
        "lib/user",
        "lib/quota",
        "lib/domain",
        "lib/sieve",
        "old/lib/user/a",
        "old/lib/quota",
        "old/lib/domain",
        "old/lib/sieve",
    ] {
        std::fs::create_dir_all(sandbox.path().join(dir)).unwrap();
    }
    sandbox.write("old/lib/user/a/alice.sub", "user.alice.Sent\t\n");
    // Three back ends, each with a part of the list.
    std::fs::copy(sandbox.path().join("old.dump"), sandbox.path().join("list-of-old")).unwrap();
    let list = harness::lines(&sandbox.read("old.dump"));
    for (host, part) in ["be1", "be2", "be3"].iter().zip(list.chunks(list.len() / 3 + 1)) {
        sandbox.write(&format!("list-of-{host}"), part.concat());
    }
    // As rsync calls it: ssh -l USER HOST COMMAND.
    script(
        &sandbox,
        "bin/ssh",
        "#!/bin/sh\ntest \"$1\" != -l || shift 2\nOLD_HOST=${1#*@}\nexport OLD_HOST\nshift\nexec sh -c \"$*\"\n",
    );
    script(
        &sandbox,
        "bin/ctl_mboxlist",
        "#!/bin/sh\nwhile getopts C:duf: option; do case $option in f) db=$OPTARG;; d) do=d;; u) do=u;; esac; done\n\
         list=list-of-$OLD_HOST; test -e \"$list\" || list=list-of-old\n\
         case $do in u) cat >\"$db\";; d) cat \"${db-$list}\";; esac\n",
    );
    sandbox
}

/// An example, and lines that it prints.
struct Block {
    script: String,
    prints: Vec<String>,
}

/// Runs the blocks of one page in a shell that ends at the first failure.
fn run_all(page: &str, blocks: &[Block]) {
    assert!(!blocks.is_empty(), "{page} has no example");
    let sandbox = night();
    let here = sandbox.path().to_str().unwrap();
    for Block { script: block, prints } in blocks {
        if block.contains("rsync ") && !Path::new("/usr/bin/rsync").exists() {
            harness::skip(&format!("an example of {page}: rsync is not installed"), "MBX_REQUIRE_TOOLS");
            continue;
        }
        let mut text = block
            .replace("@old:/var/spool/imap", &format!("@old:{here}/old/spool"))
            .replace("@old:/var/lib/imap", &format!("@old:{here}/old/lib"))
            .replace("/srv/imap", &format!("{here}/spool"))
            .replace("/etc/imapd.conf", &format!("{here}/imapd.conf"))
            .replace("/var/lib/cyrus", &format!("{here}/lib"));
        for place in ["/usr/cyrus/bin/ctl_mboxlist", "/usr/lib/cyrus/bin/ctl_mboxlist"] {
            text = text.replace(place, "ctl_mboxlist");
        }
        let path = format!("{here}/bin:{}:{}", bin().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-ec", &text])
            .current_dir(sandbox.path())
            .env("PATH", path)
            .env("CYRUS_USER", "root")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{page}: {}\n{block}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).replace(here, "");
        for line in prints {
            assert!(
                said.lines().any(|said| said.trim_end() == line),
                "{page}: {block}\ndoes not print {line:?}, but\n{said}"
            );
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_readme() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_string());
    let blocks: Vec<Block> = blocks.map(|script| Block { script, prints: Vec::new() }).collect();
    run_all("README.md", &blocks);
}

/// The literal displays under EXAMPLES of an mdoc page, as a reader sees them, and what the unfilled ones behind them say
/// that they print.
fn examples(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join("man").join(page)).unwrap();
    let Some((_, section)) = text.split_once("\n.Sh EXAMPLES\n") else { return Vec::new() };
    let section = section.split("\n.Sh ").next().unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    for rest in section.split("\n.Bd ").skip(1) {
        let (kind, rest) = rest.split_once(" -offset indent\n").unwrap();
        let shown = rest.split("\n.Ed").next().unwrap();
        let shown = shown.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-").replace("\\(aq", "'");
        match kind {
            "-literal" => blocks.push(Block { script: shown, prints: Vec::new() }),
            "-unfilled" => blocks.last_mut().unwrap().prints.extend(shown.lines().map(str::to_string)),
            _ => panic!("{page}: {kind}"),
        }
    }
    blocks
}

#[test]
fn the_manual_pages() {
    let mut pages: Vec<_> = std::fs::read_dir(root().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert_eq!(pages.len(), 9);
    for page in &pages {
        run_all(page, &examples(page));
    }
}

const FILTERS: [&str; 6] = ["parse", "remap-part", "acl-rewrite", "check-paths", "mkmeta", "count-guard"];

fn page_of(filter: &str) -> String {
    std::fs::read_to_string(root().join(format!("man/mbx-{filter}.1"))).unwrap().replace("\\-", "-")
}

/// What stands under a heading of a page.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n.Sh {name}\n")).unwrap_or_else(|| panic!("no {name}"));
    rest.split("\n.Sh ").next().unwrap()
}

/// The options that a line of mdoc names, `.It Fl n , Fl Fl dry-run`, as they are given: `-n`, `--dry-run`.
fn flags(line: &str) -> BTreeSet<String> {
    let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_start_matches(['.', '\\', '&'])).collect();
    let mut found = BTreeSet::new();
    for at in (0..words.len()).filter(|at| words[*at] == "Fl") {
        match (at > 0 && words[at - 1] == "Fl", words.get(at + 1)) {
            (_, Some(&"Fl") | None) => {}
            (true, Some(long)) => {
                found.insert(format!("--{long}"));
            }
            // One or more letters, `.Op Fl nq`.
            (false, Some(letters)) => found.extend(letters.chars().map(|letter| format!("-{letter}"))),
        }
    }
    found
}

/// What a page must have, and each option of the six: those of `--help` are those of OPTIONS, and of SYNOPSIS.
#[test]
fn the_options_of_the_code_are_those_of_its_page() {
    for filter in FILTERS {
        let page = page_of(filter);
        for name in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "CAVEATS", "SEE ALSO"] {
            section(&page, name);
        }
        let help = String::from_utf8(harness::run(filter, &["--help"], b"").out).unwrap();
        // `  -j, --jobs <N>`, `      --no-drop`; what an option says stands further to the right.
        let told = help.lines().filter(|line| line.trim_start().starts_with('-'));
        let told = told.filter(|line| line.len() - line.trim_start().len() <= 6);
        let code: BTreeSet<String> = told
            .flat_map(|line| line.split_whitespace().map(|word| word.trim_end_matches([',', '.'])))
            .filter(|word| word.len() > 1 && word.starts_with('-') && *word != "--")
            .map(|word| word.split_once('=').map_or(word, |(option, _)| option).to_string())
            .collect();
        assert!(code.len() > 8 && code.contains("--allow-empty") && code.contains("-q"), "{code:?}");
        let items = section(&page, "OPTIONS").lines().filter(|line| line.starts_with(".It Fl "));
        let told: BTreeSet<String> = items.flat_map(flags).collect();
        assert_eq!(told, code, "mbx-{filter}.1: OPTIONS, and --help");
        let synopsis: BTreeSet<String> = section(&page, "SYNOPSIS").lines().flat_map(flags).collect();
        // Long forms of what is there as a letter, and what is the same everywhere, need no place there.
        let implied = [
            "--quiet",
            "--verbose",
            "--conf",
            "--dry-run",
            "--jobs",
            "--null",
            "-j",
            "-h",
            "--help",
            "-V",
            "--version",
        ];
        let missing: Vec<_> = code.difference(&synopsis).filter(|option| !implied.contains(&option.as_str())).collect();
        assert!(missing.is_empty(), "mbx-{filter}.1: SYNOPSIS lacks {missing:?}");
        let strange: Vec<_> = synopsis.difference(&code).filter(|option| *option != "--").collect();
        assert!(strange.is_empty(), "mbx-{filter}.1: SYNOPSIS has {strange:?}");
    }
}

/// An option that a page tells of, its own or another filter's, is there.
#[test]
fn no_page_names_an_option_that_is_not_there() {
    let mut options = BTreeSet::new();
    for filter in FILTERS {
        options.extend(
            section(&page_of(filter), "OPTIONS").lines().filter(|line| line.starts_with(".It")).flat_map(flags),
        );
    }
    for page in std::fs::read_dir(root().join("man")).unwrap() {
        let path = page.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("\\-", "-");
        let told = text.lines().filter(|line| line.contains("Fl Fl ")).flat_map(flags);
        for option in told.filter(|option| option.starts_with("--") && *option != "--") {
            let option = option.trim_end_matches([',', '.', ')']);
            assert!(options.contains(option), "{}: {option}", path.display());
        }
    }
}

#[test]
fn the_demonstration() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.sh(&format!("sh {}/examples/demo.sh", root().display())).expect(0);
    let text = String::from_utf8(ran.out).unwrap();
    for part in [
        "103  entries",
        "mbx-count-guard: 102 in, 102 out",
        "user.frank",
        "new.list: identical, 102 entries",
        "ctl_mboxlist was not started",
        "stand in partition 4",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

/// The line by which the far side says that its list is whole is typed into whatever shell the administrator has, and
/// read by the login shell of the far side. An interactive shell takes `!` in double quotes for its history.
#[test]
fn the_far_sides_end_mark_passes_every_shell() {
    let shown = |text: String| {
        let text = text.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-").replace("\\(aq", "'");
        text.lines().filter(|line| line.starts_with("ssh ") && line.contains("mbx-end")).map(str::to_string).collect()
    };
    let lines: Vec<Vec<String>> = ["README.md", "man/mbx-parse.1"]
        .iter()
        .map(|page| shown(std::fs::read_to_string(root().join(page)).unwrap()))
        .collect();
    assert!(lines.iter().all(|lines| lines.len() == 1), "{lines:?}");
    let sandbox = night();
    script(&sandbox, "bin/ssh", "#!/bin/sh\nshift\nexec $FAR_SHELL -c \"$*\"\n");
    let wanted = [&sandbox.read("list-of-old")[..], b"!mbx-end\n"].concat();
    let path = format!("{}/bin:{}", sandbox.path().display(), std::env::var("PATH").unwrap());
    let is_there = |shell: &&str| {
        let there = std::env::split_paths(&path).any(|dir| dir.join(shell).exists());
        // Its history is another's, and no package of ours wants it.
        if !there && *shell != "tcsh" {
            harness::skip(&format!("the end mark in {shell}: it is not installed"), "MBX_REQUIRE_TOOLS");
        }
        there
    };
    let installed: Vec<&str> = ["sh", "bash", "dash", "zsh", "fish", "tcsh"].into_iter().filter(is_there).collect();
    let mut passed = 0;
    for line in lines.concat() {
        // Up to the pipe behind the far side's command.
        let command = line.replace("/usr/cyrus/bin/", "").split(" |").next().unwrap().to_string();
        for far in &installed {
            for here in ["sh", "bash", "bash --norc -i", "dash", "dash -i", "zsh -f", "zsh -f -i", "fish", "tcsh -f"] {
                let mut words = here.split(' ');
                let shell = words.next().unwrap();
                if !installed.contains(&shell) {
                    continue;
                }
                let _ = std::fs::remove_file(sandbox.path().join("typed"));
                sandbox.write("keys", format!("{command} >typed\nexit\n"));
                let keys = std::fs::File::open(sandbox.path().join("keys")).unwrap();
                let output = Command::new(shell)
                    .args(words)
                    .current_dir(sandbox.path())
                    .env("PATH", &path)
                    .env("FAR_SHELL", far)
                    .env("HOME", sandbox.path())
                    .env("HISTFILE", "/dev/null")
                    .stdin(keys)
                    .output()
                    .unwrap();
                let told = String::from_utf8_lossy(&output.stderr);
                let typed = std::fs::read(sandbox.path().join("typed")).unwrap_or_default();
                assert!(typed == wanted, "{here} to {far}: {command}\n{told}{}", String::from_utf8_lossy(&typed));
                passed += 1;
            }
        }
    }
    assert!(passed > 8);
}

/// A second night must not make the state of the first the only one that is kept, nor lose the one between.
#[test]
fn the_way_back_is_never_written_over() {
    let mut found = 0;
    for page in ["README.md", "man/mbx-migrate.7"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let blocks = text.split("mailboxes.db.before").count();
        assert!(blocks > 1, "{page}");
        // Each run of lines that ends in the switch.
        let lines: Vec<&str> = text.lines().collect();
        for end in (0..lines.len()).filter(|end| lines[*end].contains("mv /var/lib/cyrus/new.db ")) {
            let begin = (0..end).rev().find(|at| !lines[*at].contains("mailboxes.db")).unwrap() + 1;
            let switch = lines[begin..=end].join("\n");
            let sandbox = Sandbox::empty();
            let here = sandbox.path().to_str().unwrap().to_string();
            let night = |options: &str| {
                sandbox.write("new.db", format!("what {options} brought"));
                // Without -e, as somebody types it.
                sandbox.sh(&format!(
                    "{options}{}\nstatus=$?; touch after; exit $status",
                    switch.replace("/var/lib/cyrus", &here)
                ))
            };
            sandbox.write("mailboxes.db", "the old state");
            night("set -e\n").expect(0);
            assert_eq!(sandbox.read("mailboxes.db.before"), b"the old state", "{page}: {switch}");
            assert_eq!(sandbox.read("mailboxes.db"), b"what set -e\n brought");
            std::fs::remove_file(sandbox.path().join("after")).unwrap();
            for again in ["set -e\n", ""] {
                let ran = night(again);
                assert_eq!(sandbox.path().join("after").exists(), again.is_empty(), "{page}: {switch}");
                assert_ne!(ran.status, 0, "{page}: {switch}\n{}", ran.tell());
                assert!(ran.err.contains("mailboxes.db.before"), "{page}: {switch}\n{}", ran.tell());
                assert_eq!(sandbox.read("mailboxes.db.before"), b"the old state", "{page}: {switch}");
                assert_eq!(sandbox.read("mailboxes.db"), b"what set -e\n brought", "{page}: {switch}");
            }
            // On a host that had no list before there is none to keep.
            for file in ["mailboxes.db", "mailboxes.db.before"] {
                std::fs::remove_file(sandbox.path().join(file)).unwrap();
            }
            night("").expect(0);
            assert!(!sandbox.path().join("mailboxes.db.before").exists());
            found += 1;
        }
    }
    assert_eq!(found, 3);
}
