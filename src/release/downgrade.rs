//! A spool of a newer release on an older one: which of its files cannot be read there, and what makes them readable
//! (`facts/downgrade.md`).

use crate::release::files::{Files, HeaderForm, first_to_write_older};
use crate::release::{Release, v};
use std::fmt;

/// The lowest minor version of cyrus.index that `reconstruct -V` writes.
const LOWEST_WRITTEN: u32 = 6;

/// From the release that a spool comes from, if that is known, to the release that will open it.
#[derive(Clone, Debug)]
pub struct Downgrade {
    spool: Option<Release>,
    to: Release,
    files: &'static Files,
}

impl Downgrade {
    /// To `to`. A series whose releases read different files is refused with its ranges.
    pub fn new(spool: Option<&Release>, to: &Release) -> Result<Downgrade, String> {
        Ok(Downgrade { spool: spool.cloned(), to: to.clone(), files: to.files()? })
    }

    /// To `to`, or the last release of that series: for what is said before any disk was looked at.
    pub fn of_latest(spool: Option<&Release>, to: &Release) -> Downgrade {
        Downgrade { spool: spool.cloned(), to: to.clone(), files: to.latest_files() }
    }

    /// What the target reads.
    pub fn files(&self) -> &'static Files {
        self.files
    }

    /// The release that will open the spool.
    pub fn to(&self) -> &Release {
        &self.to
    }

    /// What makes a cyrus.index of a minor version that is too new one that the target reads.
    pub fn index_remedy(&self, minor: u32) -> IndexRemedy<'_> {
        IndexRemedy { of: self, minor }
    }

    /// What makes headers in the form of 3.6 readable for releases that read lines.
    pub fn header_remedy(&self) -> impl fmt::Display + '_ {
        HeaderRemedy(&self.to)
    }

    /// What a spool of the release that wrote the list would have that the target cannot read: a sentence each, before any
    /// disk was looked at. A spool that an older server made in part can open all the same. `json` tells that the list is
    /// one of 3.6 or later.
    pub fn foretold(&self, json: bool) -> Vec<String> {
        let to = &self.to;
        let mut told = Vec::new();
        let written = self.spool.as_ref().map(Release::latest_files);
        let newer = written.map(|written| written.index).filter(|index| *index > self.files.index);
        if let (Some(spool), Some(index)) = (&self.spool, newer) {
            told.push(format!(
                "a spool of {spool} has indexes of minor {index} that {to} cannot read (it reads up to {}): \
                 mbx-check-paths looks at each. {}",
                self.files.index,
                self.index_remedy(index)
            ));
        }
        let newer = written.map_or(json, |written| written.header == HeaderForm::Dlist);
        if newer && !self.files.reads_header(HeaderForm::Dlist) {
            let spool = self.spool.as_ref().map_or("3.6 or later".to_string(), Release::to_string);
            told.push(format!(
                "a spool of {spool} has headers that {to} cannot read (it reads lines only): mbx-check-paths looks at \
                 each. {}",
                self.header_remedy()
            ));
        }
        told
    }
}

/// The command for a cyrus.index that is too new, and where it is to be run.
pub struct IndexRemedy<'a> {
    of: &'a Downgrade,
    minor: u32,
}

impl fmt::Display for IndexRemedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Downgrade { spool, to, files } = self.of;
        let Some(first) = first_to_write_older(self.minor) else {
            return write!(f, "No release that is known here reads minor {}", self.minor);
        };
        if files.index < LOWEST_WRITTEN {
            return write!(f, "No reconstruct writes minor {}", files.index);
        }
        write!(f, "Run `reconstruct -V {}` ", files.index)?;
        let able = |spool: &&Release| spool.since(v(2, 5, 0)) && spool.latest_files().reads_index(self.minor);
        match spool.as_ref().filter(able) {
            Some(spool) => write!(f, "on the {spool} server")?,
            None => {
                let first = first.to_string();
                write!(f, "on a server of {} or later", first.strip_suffix(".0").unwrap_or(&first))?;
            }
        }
        write!(
            f,
            ", stopped, before the last copy: it makes them readable (without names all mailboxes). Never run \
             reconstruct on {to}: it loses flags and \\Seen, and ends with 0"
        )
    }
}

struct HeaderRemedy<'a>(&'a Release);

impl fmt::Display for HeaderRemedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "No tool of Cyrus writes headers as lines again, and these filters do not yet. Never run reconstruct on {}: \
             it loses flags and \\Seen, and ends with 0",
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    fn downgrade(from: &str, to: &str) -> Downgrade {
        Downgrade::new(Some(&release(from)), &release(to)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The pairs of `facts/downgrade.md`, with the N of `reconstruct -V N` (0 for none) and whether headers must be written
    /// as lines.
    #[test]
    fn pairs_that_were_carried_over() {
        for (from, to, n, headers) in [
            ("3.12.3", "3.10.2", 0, false),
            ("3.12.3", "3.6.1", 17, false),
            ("3.10.2", "3.6.1", 17, false),
            ("3.4.9", "3.2.6", 16, false),
            ("3.12.3", "3.2.6", 16, true),
            ("3.8.7", "3.2.6", 16, true),
            ("3.8.7", "3.4.9", 0, true),
            ("3.13.7", "3.12.4", 19, false),
            ("3.13.7", "3.10.2", 19, false),
            ("3.13.7", "3.6.1", 17, false),
            ("3.13.7", "3.2.6", 16, true),
            ("3.8.7", "3.6.1", 0, false),
            ("2.2.13", "3.6.1", 0, false),
            ("3.6.1", "3.13.7", 0, false),
        ] {
            let told = downgrade(from, to).foretold(false).join("\n");
            assert_eq!(told.contains("indexes of minor"), n > 0, "{from} {to}: {told}");
            assert_eq!(told.contains(&format!("Run `reconstruct -V {n}` on the {from} server, ")), n > 0, "{told}");
            assert_eq!(told.contains("No tool of Cyrus writes headers"), headers, "{from} {to}: {told}");
        }
    }

    #[test]
    fn servers_that_can_do_it() {
        let told = |from, to, minor| downgrade(from, to).index_remedy(minor).to_string();
        assert!(told("2.3.7", "2.2.13", 9).starts_with("Run `reconstruct -V 6` on a server of 2.5 or later, "));
        assert!(told("2.4.22", "2.3.19", 12).starts_with("Run `reconstruct -V 10` on a server of 2.5 or later, "));
        assert!(told("3.6.1", "3.6.1", 20).starts_with("Run `reconstruct -V 17` on a server of 3.13 or later, "));
        assert_eq!(told("3.13.7", "3.6.1", 21), "No release that is known here reads minor 21");
        assert_eq!(told("2.2.13", "2.0.17", 6), "No reconstruct writes minor 3");
    }
}
