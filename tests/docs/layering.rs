//! The map at the top of `src/lib.rs` is true: a folder uses only folders above it, and inside a folder no files use
//! each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files of a directory and of those below it.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The names behind each `mark` of a text, up to the first character that no path has.
fn names<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let name = |rest: &'t str| rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().unwrap();
    text.split(mark).skip(1).map(name).collect()
}

/// The folders in the order of the table of `src/lib.rs`.
fn floors(map: &str) -> Vec<&str> {
    map.lines().filter_map(|line| line.strip_prefix("//! | [`")).map(|row| row.split('`').next().unwrap()).collect()
}

/// `folder::module` of each file, with the modules that it uses.
fn arrows(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut sources = Vec::new();
    files(src, &mut sources);
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources {
        let inside = path.strip_prefix(src).unwrap().to_str().unwrap().trim_end_matches(".rs");
        let mut parts = inside.split('/');
        let (Some(folder), Some(module)) = (parts.next(), parts.next()) else { continue };
        if folder == "bin" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let used = names(code, "crate::").into_iter().map(|path| {
            let mut parts = path.trim_end_matches(':').split("::");
            let (folder, module) = (parts.next().unwrap(), parts.next().unwrap_or("mod"));
            format!("{folder}::{module}")
        });
        arrows.entry(format!("{folder}::{module}")).or_default().extend(used);
    }
    arrows
}

#[test]
fn a_folder_uses_only_folders_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let floors = floors(&map);
    let mut modules = names(&map, "pub mod ");
    let mut sorted = floors.clone();
    modules.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(modules, sorted, "the folders of src/lib.rs, and its table");
    let floor = |module: &str| floors.iter().position(|name| *name == module.split("::").next().unwrap());
    let mut count = 0;
    for (module, used) in arrows(&src) {
        for other in used {
            let (here, there) = (floor(&module).unwrap(), floor(&other));
            let there = there.unwrap_or_else(|| panic!("src/{module} uses {other}, which is no folder"));
            assert!(there <= here, "src/{module} uses {other}, which is below it in the table of src/lib.rs");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn inside_a_folder_no_files_use_each_other_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows = arrows(&src);
    let folder = |module: &str| module.split("::").next().unwrap().to_string();
    for (module, used) in &mut arrows {
        used.retain(|other| other != module && folder(other) == folder(module));
    }
    // Takes away the modules that use none of those that are left, until nothing is left, or a circle.
    while !arrows.is_empty() {
        let known: BTreeSet<String> = arrows.keys().cloned().collect();
        let before = arrows.len();
        arrows.retain(|_, used| used.iter().any(|other| known.contains(other)));
        assert!(arrows.len() < before, "a circle: {arrows:?}");
    }
}

/// The text files of the project that cite facts.
fn citing() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests", "man", "benches", "fuzz/src", "fuzz/fuzz_targets", "examples"] {
        files(&root.join(folder), &mut found);
    }
    found.retain(|path| !path.starts_with(root.join("tests/corpus")));
    found.extend(["README.md", "CONTRIBUTING.md", "NEWS.md"].map(|file| root.join(file)));
    found
}

/// `facts/PAGE.md 1b` is a page of doc/facts, and a section of it where a number follows.
#[test]
fn every_fact_that_is_cited_is_there() {
    let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/facts");
    let mut count = 0;
    for path in citing() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for cited in text.split("facts/").skip(1) {
            let Some((page, rest)) = cited.split_once(".md") else { continue };
            if !page.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
                continue;
            }
            let body = std::fs::read_to_string(facts.join(format!("{page}.md")));
            let body = body.unwrap_or_else(|e| panic!("{}: facts/{page}.md: {e}", path.display()));
            count += 1;
            let section: String =
                rest.trim_start_matches('`').chars().skip(1).take_while(char::is_ascii_alphanumeric).collect();
            if section.starts_with(|c: char| c.is_ascii_digit()) {
                let headed = |line: &str| {
                    let title = line.strip_prefix('#').map_or("", |title| title.trim_start_matches('#').trim_start());
                    let number = title.split(['.', ' ']).next().unwrap();
                    number == section
                };
                assert!(body.lines().any(headed), "{}: facts/{page}.md has no section {section}", path.display());
            }
        }
    }
    assert!(count > 20, "{count}");
}

/// A clock that jumps changes nothing: no time of day is asked for, only the clock that goes on evenly.
#[test]
fn no_time_of_day_decides() {
    let mut sources = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    assert!(sources.len() > 40);
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        for clock in ["SystemTime", "UNIX_EPOCH", "ClockId::Realtime"] {
            assert!(!text.contains(clock), "{}: {clock}", path.display());
        }
    }
}
