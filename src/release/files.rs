//! The files of a mailbox: in which form each release writes cyrus.index, cyrus.cache and cyrus.header, and which forms it
//! reads.
//!
//! The minor version that stands in the file decides, not the release of the server that had it last: a file keeps its
//! minor version until `reconstruct -V` (`facts/downgrade.md`, measured from 3.2.6 on; `MAILBOX_MINOR_VERSION` and
//! `mailbox_read_index_header` of every release tag).

use crate::release::{Release, Version, v};
use std::fmt;

/// How cyrus.header goes on behind its three lines of magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderForm {
    /// Lines: the quota root and the uniqueid, the keywords, the ACL. Every release reads them.
    Lines,
    /// A dlist, `%(...)`: from 3.6 on. The key `J` that 3.13.1 brought is read over by 3.6 and later.
    Dlist,
}

impl fmt::Display for HeaderForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderForm::Lines => "lines",
            HeaderForm::Dlist => "dlist",
        })
    }
}

/// What one release, and all later ones up to the next boundary, write and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// The first release.
    pub since: Version,
    /// The minor version of cyrus.index that it writes, and the highest that it reads.
    pub index: u32,
    /// The lowest minor version of cyrus.index that it opens. Releases up to 2.4 write older ones anew when they open them.
    pub oldest_index: u32,
    /// The minor version of cyrus.cache that it writes, from 2.1.16 on. No release fails to open a mailbox because of it.
    pub cache: Option<u32>,
    /// The form of cyrus.header that it writes, and the newest that it reads.
    pub header: HeaderForm,
}

const fn files(since: Version, index: u32, oldest_index: u32, cache: u32, header: HeaderForm) -> Files {
    Files { since, index, oldest_index, cache: if cache == 0 { None } else { Some(cache) }, header }
}

/// A row a boundary, from the oldest release to the newest.
pub const FILES: &[Files] = &[
    files(v(1, 6, 0), 2, 2, 0, HeaderForm::Lines),
    files(v(1, 6, 23), 3, 3, 0, HeaderForm::Lines),
    files(v(2, 1, 4), 4, 3, 0, HeaderForm::Lines),
    // By its source it makes 3 anew, and does not open 4 and 5.
    files(v(2, 1, 16), 6, 6, 1, HeaderForm::Lines),
    files(v(2, 2, 0), 4, 3, 0, HeaderForm::Lines),
    files(v(2, 2, 1), 5, 3, 0, HeaderForm::Lines),
    files(v(2, 2, 2), 6, 3, 2, HeaderForm::Lines),
    files(v(2, 3, 0), 7, 3, 2, HeaderForm::Lines),
    files(v(2, 3, 4), 8, 3, 2, HeaderForm::Lines),
    files(v(2, 3, 7), 9, 3, 2, HeaderForm::Lines),
    files(v(2, 3, 10), 10, 3, 2, HeaderForm::Lines),
    files(v(2, 4, 0), 12, 3, 3, HeaderForm::Lines),
    files(v(2, 5, 0), 13, 6, 3, HeaderForm::Lines),
    files(v(3, 0, 0), 13, 6, 6, HeaderForm::Lines),
    files(v(3, 1, 4), 14, 6, 6, HeaderForm::Lines),
    files(v(3, 1, 5), 16, 6, 9, HeaderForm::Lines),
    files(v(3, 2, 0), 16, 6, 10, HeaderForm::Lines),
    files(v(3, 3, 0), 17, 6, 10, HeaderForm::Lines),
    files(v(3, 6, 0), 17, 6, 11, HeaderForm::Dlist),
    files(v(3, 10, 0), 19, 6, 11, HeaderForm::Dlist),
    files(v(3, 12, 0), 19, 6, 13, HeaderForm::Dlist),
    // A 3.13.0 was never released.
    files(v(3, 13, 0), 20, 6, 14, HeaderForm::Dlist),
];

/// The minor version of cyrus.index that only Fastmail had.
const NEVER_RELEASED: u32 = 11;

impl Files {
    /// Whether it opens a cyrus.index of this minor version.
    pub fn reads_index(&self, minor: u32) -> bool {
        (self.oldest_index..=self.index).contains(&minor) && minor != NEVER_RELEASED
    }

    /// Whether it reads a cyrus.header of this form.
    pub fn reads_header(&self, form: HeaderForm) -> bool {
        form <= self.header
    }

    /// Whether it reads all that `other` writes.
    pub fn reads_all_of(&self, other: &Files) -> bool {
        other.index <= self.index && self.reads_header(other.header)
    }
}

impl Release {
    /// What this release writes and reads. A series that spans releases with different files is refused with its ranges.
    pub fn files(&self) -> Result<&'static Files, String> {
        let first = row(self.low);
        let mut rules = Vec::new();
        let mut last = first;
        for files in FILES.iter().filter(|files| files.since > self.low && files.since <= self.high) {
            if (files.index, files.oldest_index, files.header) != (last.index, last.oldest_index, last.header) {
                rules.push((files.since, format!("cyrus.index of minor version {}", files.index)));
            }
            last = files;
        }
        let rules: Vec<_> = rules.iter().map(|(at, what)| (*at, what.as_str())).collect();
        self.one_rule(&rules)?;
        Ok(first)
    }

    /// What the last release of a series writes, or this release itself.
    pub fn latest_files(&self) -> &'static Files {
        row(self.high)
    }
}

fn row(version: Version) -> &'static Files {
    FILES.iter().rev().find(|files| files.since <= version).unwrap_or(&FILES[0])
}

/// The first release that reads a cyrus.index of this minor version and can write an older one: `reconstruct -V` came with
/// 2.5. None if no release that is known here reads it.
pub fn first_to_write_older(minor: u32) -> Option<Version> {
    let mut able = FILES.iter().filter(|files| files.since >= v(2, 5, 0));
    able.find(|files| files.reads_index(minor)).map(|files| files.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn of(text: &str) -> &'static Files {
        let release: Release = text.parse().unwrap_or_else(|e| panic!("{e}"));
        release.files().unwrap_or_else(|e| panic!("{e}"))
    }

    /// The rows of a table of markdown below a heading, each its cells.
    fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
        let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap_or_default();
        let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
        rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect()).collect()
    }

    #[test]
    fn every_row_of_the_facts() {
        let page = page("doc/facts/downgrade.md");
        let mut checked = 0;
        for row in rows(&page, "Versions in cyrus.index and cyrus.cache") {
            let releases: Vec<String> = match &*row[0] {
                "2.3.10 (file of 2.3.19) to 2.3.20" => ["2.3.10", "2.3.19", "2.3.20"].map(str::to_string).to_vec(),
                "3.13.1 and later" => ["3.13.1", "3.13.7", "3.13"].map(str::to_string).to_vec(),
                // A series from its first release to its last.
                list => list
                    .split(", ")
                    .flat_map(|text| match text.matches('.').count() {
                        1 => vec![format!("{text}.0"), format!("{text}.30")],
                        _ => vec![text.to_string()],
                    })
                    .collect(),
            };
            for text in &releases {
                let files = of(text);
                assert_eq!(files.index.to_string(), row[1].trim_end_matches(" (file)"), "{text}: cyrus.index");
                if !row[2].is_empty() {
                    assert_eq!(files.cache.map(|minor| minor.to_string()).as_deref(), Some(&*row[2]), "{text}: cache");
                }
                checked += 1;
            }
        }
        assert!(checked > 25, "{checked}");
        let mut measured = 0;
        for row in rows(&page, "Which reads which") {
            for text in row[0].split(", ") {
                let files = of(text);
                let (low, high) =
                    row[1].split(';').next().and_then(|range| range.split_once(" to ")).unwrap_or_default();
                for minor in 0..40 {
                    let reads = low.parse().is_ok_and(|low| minor >= low)
                        && high.trim().parse().is_ok_and(|high| minor <= high)
                        && minor != 11;
                    assert_eq!(files.reads_index(minor), reads, "{text}: {minor}");
                    measured += 1;
                }
                assert!(files.reads_header(HeaderForm::Lines), "{text}");
                assert_eq!(files.reads_header(HeaderForm::Dlist), !row[2].starts_with("lines only"), "{text}");
            }
        }
        assert_eq!(measured, 4 * 40);
    }

    /// The table of mbx-dump(5): each row is true of its first and its last release, and every boundary has a row.
    #[test]
    fn the_table_of_the_page() {
        let page = page("man/mbx-dump.5");
        let section = page.split("\n.Sh FILES OF A MAILBOX").nth(1).and_then(|rest| rest.split("\n.El").next());
        let mut begins = Vec::new();
        for row in section.unwrap_or_default().lines().filter_map(|line| line.strip_prefix(".It ")).skip(1) {
            let cells: Vec<&str> = row.split(" Ta ").collect();
            let [releases, index, cache, header] = cells[..] else { panic!("{row}") };
            let whole = |text: &str, patch: u16| match text.matches('.').count() {
                1 => format!("{text}.{patch}"),
                _ => text.to_string(),
            };
            let (first, last) =
                releases.split_once(" to ").or(releases.split_once(" and ")).unwrap_or((releases, releases));
            for text in [whole(first, 0), whole(last, 30)] {
                let files = of(&text);
                assert_eq!(files.index.to_string(), index, "{text}: {row}");
                assert_eq!(files.cache.map_or("-".to_string(), |minor| minor.to_string()), cache, "{text}: {row}");
                assert_eq!(files.header.to_string(), header, "{text}: {row}");
            }
            begins.push(of(&whole(first, 0)).since);
        }
        assert_eq!(begins, FILES.iter().map(|files| files.since).collect::<Vec<_>>());
    }

    /// What was read in every release tag, also where the facts have no row.
    #[test]
    fn boundaries() {
        for (text, index, header) in [
            ("2.0.17", 3, HeaderForm::Lines),
            ("2.1.15", 4, HeaderForm::Lines),
            ("2.1.18", 6, HeaderForm::Lines),
            ("2.2.1", 5, HeaderForm::Lines),
            ("2.2.2", 6, HeaderForm::Lines),
            ("2.3.3", 7, HeaderForm::Lines),
            ("2.3.4", 8, HeaderForm::Lines),
            ("2.3.6", 8, HeaderForm::Lines),
            ("2.3.9", 9, HeaderForm::Lines),
            ("2.4.22", 12, HeaderForm::Lines),
            ("3.5.0-alpha0", 17, HeaderForm::Lines),
            ("3.6.0-beta3", 17, HeaderForm::Dlist),
            ("3.9.0-alpha0", 17, HeaderForm::Dlist),
            ("3.10.0-beta1", 19, HeaderForm::Dlist),
        ] {
            assert_eq!((of(text).index, of(text).header), (index, header), "{text}");
        }
        assert!(FILES.windows(2).all(|two| two[0].since < two[1].since && two[0].header <= two[1].header));
        assert!(of("2.4.22").reads_index(3) && !of("2.5.17").reads_index(5) && !of("2.4.22").reads_index(13));
        assert!(of("3.10.2").reads_all_of(of("3.12.3")) && !of("3.2.6").reads_all_of(of("3.4.9")));
        assert!(!of("3.4.9").reads_all_of(of("3.8.7")) && of("3.6.1").reads_all_of(of("3.8.7")));
    }

    #[test]
    fn a_series_of_several_minor_versions_is_refused_with_its_ranges() {
        for (text, what) in [
            ("2.2", "2.2.1 (cyrus.index of minor version 5); 2.2.2 and later (cyrus.index of minor version 6)"),
            ("2.1", "2.1.16 and later (cyrus.index of minor version 6)"),
        ] {
            let release: Release = text.parse().unwrap_or_else(|e| panic!("{e}"));
            let refused = release.files().err().unwrap_or_default();
            assert!(refused.contains(what), "{refused}");
            assert_eq!(release.latest_files().index, 6);
        }
        for text in ["2.4", "3.0", "3.2", "3.4", "3.6", "3.8", "3.10", "3.12", "3.13"] {
            assert_eq!(of(text).index, of(&format!("{text}.0")).index, "{text}");
        }
    }

    #[test]
    fn who_can_write_an_older_index() {
        for (minor, first) in
            [(9, Some(v(2, 5, 0))), (14, Some(v(3, 1, 4))), (17, Some(v(3, 3, 0))), (20, Some(v(3, 13, 0))), (21, None)]
        {
            assert_eq!(first_to_write_older(minor), first, "{minor}");
        }
    }
}
