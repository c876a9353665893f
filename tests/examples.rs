//! Every example of the README and of the manual pages, run as it stands.
//!
//! In the README the fences marked `sh`, in the pages the literal displays under EXAMPLES. All of one page run in
//! order, in one directory that looks like the night of the migration: the old list, the new host's spool and
//! imapd.conf, and stand-ins for `ssh` and `ctl_mboxlist`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use stage::{Sandbox, bin};
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
    script(&sandbox, "bin/ssh", "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
    script(
        &sandbox,
        "bin/ctl_mboxlist",
        "#!/bin/sh\nwhile getopts C:duf: option; do case $option in f) db=$OPTARG;; d) do=d;; u) do=u;; esac; done\n\
         case $do in u) cat >\"$db\";; d) cat \"${db-old.dump}\";; esac\n",
    );
    sandbox
}

/// Runs the blocks of one page in a shell that ends at the first failure.
fn run_all(page: &str, blocks: &[String]) {
    assert!(!blocks.is_empty(), "{page} has no example");
    let sandbox = night();
    let here = sandbox.path().to_str().unwrap();
    for block in blocks {
        let mut text = block
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
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_readme() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<String> =
        text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_string()).collect();
    run_all("README.md", &blocks);
}

/// The literal displays under EXAMPLES of an mdoc page, as a reader sees them.
fn examples(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("man").join(page)).unwrap();
    let Some((_, section)) = text.split_once("\n.Sh EXAMPLES\n") else { return Vec::new() };
    let section = section.split("\n.Sh ").next().unwrap();
    section
        .split("\n.Bd -literal -offset indent\n")
        .skip(1)
        .map(|rest| {
            let block = rest.split("\n.Ed").next().unwrap();
            block.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-").replace("\\(aq", "'")
        })
        .collect()
}

#[test]
fn the_manual_pages() {
    let mut pages: Vec<_> = std::fs::read_dir(root().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert_eq!(pages.len(), 8);
    for page in &pages {
        run_all(page, &examples(page));
    }
}

/// What a page must have, and each option of the six in its page.
#[test]
fn every_option_is_in_its_page() {
    for filter in ["parse", "remap-part", "acl-rewrite", "check-paths", "mkmeta", "count-guard"] {
        let page = std::fs::read_to_string(root().join(format!("man/mbx-{filter}.1"))).unwrap().replace("\\-", "-");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "CAVEATS", "SEE ALSO"] {
            assert!(page.contains(&format!(".Sh {section}\n")), "mbx-{filter}.1: {section}");
        }
        let help = String::from_utf8(stage::run(filter, &["--help"], b"").out).unwrap();
        let options: Vec<&str> = help
            .split_whitespace()
            .map(|word| word.trim_matches([',', '[', ']', '(', ')', '.', ':', '`']))
            .filter(|word| word.starts_with("--") && word.len() > 2)
            .collect();
        assert!(options.len() > 5);
        for option in options {
            // mdoc: `.Fl -from`.
            let name = option.trim_start_matches("--");
            assert!(
                [" ", "\n", ","]
                    .iter()
                    .any(|end| page.contains(&format!("Fl Fl {name}{end}"))
                        || page.contains(&format!("Fl -{name}{end}"))),
                "mbx-{filter}.1 does not tell of {option}"
            );
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
