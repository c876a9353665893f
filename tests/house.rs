//! The map at the top of `src/lib.rs` is true: a file uses only files on lower floors, or further left on its own.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
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

/// The names behind each `mark` of a text, up to the first character that no name has.
fn names<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let name = |rest: &'t str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    text.split(mark).skip(1).map(name).collect()
}

#[test]
fn arrows_point_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let floors = map.lines().filter_map(|line| line.strip_prefix("//! | "));
    let floors = floors.filter_map(|row| Some((row.split(' ').next()?.parse::<u32>().ok()?, row)));
    let mut place = HashMap::new();
    for (floor, row) in floors {
        place.extend(names(row, "[`").into_iter().zip(0..).map(|(name, at)| (name, (floor, at))));
    }
    let modules = names(&map, "pub mod ");
    for name in &modules {
        assert!(place.contains_key(name), "{name} is not in the map of src/lib.rs");
    }
    assert!(modules.len() > 25 && place.len() == modules.len(), "{place:?}");
    let mut sources = Vec::new();
    files(&src, &mut sources);
    let mut arrows = 0;
    for path in sources {
        let inside = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let Some(here) = place.get(inside.split('/').next().unwrap().trim_end_matches(".rs")) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        for name in names(text.split("#[cfg(test)]").next().unwrap(), "crate::") {
            let Some(there) = place.get(name).filter(|there| *there != here) else { continue };
            let below = there.0 < here.0 || (there.0 == here.0 && there.1 < here.1);
            assert!(below, "src/{inside} uses {name}, which is not below it in the map of src/lib.rs");
            arrows += 1;
        }
    }
    assert!(arrows > 100, "{arrows}");
}

/// CONTRIBUTING shows the same map.
#[test]
fn contributing_has_the_same_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let told = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    for floor in 1..=4 {
        let row = |text: &str, mark: &str| {
            let mark = format!("{mark}{floor} | ");
            text.lines().find_map(|line| line.strip_prefix(&mark)).unwrap().to_string()
        };
        let row_of_map = row(&map, "//! | ");
        let (wanted, shown) = (names(&row_of_map, "[`"), row(&told, "| "));
        let mut rest = &shown[..];
        for name in wanted {
            let at = rest.find(&format!("`{name}`"));
            rest = &rest[at.unwrap_or_else(|| panic!("floor {floor} of CONTRIBUTING.md: {name}, in its order"))..];
        }
    }
}
