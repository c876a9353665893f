//! What each Cyrus release writes, reads and allows.
//!
//! Users name a dialect, a layout or a limit by the release that has it, never by a code of ours.
//! Every boundary between dialects, readings of rights and layouts is here, with the release that begins it; the limits of
//! a release's loader are in `list/target`. The facts behind them are `ctl_mboxlist.c` and `lib/acl.c` at every release tag and what the
//! servers did when they were run.

pub mod downgrade;
pub mod files;

use std::fmt;
use std::str::FromStr;

/// One release, ordered as they came out: `3.0.0-beta2` lies before `3.0.0`.
///
/// One number, 16 bits each for major, minor, patch and stage: the rules of releases are asked several times an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    const fn new(major: u16, minor: u16, patch: u16, stage: u16) -> Version {
        Version((major as u64) << 48 | (minor as u64) << 32 | (patch as u64) << 16 | stage as u64)
    }

    /// Major, minor, patch and stage.
    const fn parts(self) -> [u16; 4] {
        [(self.0 >> 48) as u16, (self.0 >> 32) as u16, (self.0 >> 16) as u16, self.0 as u16]
    }
}

/// The stages of a version, with the number that a pre-release has, which is of four digits at most.
const ALPHA: u16 = 0;
const BETA: u16 = 1 << 14;
const CANDIDATE: u16 = 2 << 14;
const FINAL: u16 = u16::MAX;

/// A final release, `v(2, 3, 7)`.
pub const fn v(major: u16, minor: u16, patch: u16) -> Version {
    Version::new(major, minor, patch, FINAL)
}

const fn beta(major: u16, minor: u16, patch: u16, n: u16) -> Version {
    Version::new(major, minor, patch, BETA + n)
}

const fn alpha(major: u16, minor: u16, patch: u16, n: u16) -> Version {
    Version::new(major, minor, patch, ALPHA + n)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, stage] = self.parts();
        write!(f, "{major}.{minor}")?;
        if patch != u16::MAX {
            write!(f, ".{patch}")?;
        }
        match stage {
            FINAL => Ok(()),
            CANDIDATE.. => write!(f, "-rc{}", stage - CANDIDATE),
            BETA.. => write!(f, "-beta{}", stage - BETA),
            ALPHA.. => write!(f, "-alpha{}", stage - ALPHA),
        }
    }
}

/// The bytes of one entry, as a release's own `ctl_mboxlist -d` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Up to 2.3.3: `mailbox TAB partition TAB acl`.
    Bare,
    /// 2.3.4 to 2.3.9: `mailbox TAB mbtype SP partition TAB acl`.
    Tab,
    /// 2.3.10 to 3.5: `mailbox TAB mbtype SP partition SP acl`; 3.0 and later with `server!`.
    Blank,
    /// 3.6 to 3.13: one JSON object.
    Json,
}

impl Dialect {
    /// Those of a line an entry.
    pub const TEXT: [Dialect; 3] = [Dialect::Bare, Dialect::Tab, Dialect::Blank];

    /// Whether its entries have an mbtype.
    pub fn has_types(self) -> bool {
        match self {
            Dialect::Bare => false,
            Dialect::Tab | Dialect::Blank | Dialect::Json => true,
        }
    }

    /// Whether its entries have the mailbox's uniqueid.
    pub fn has_uniqueids(self) -> bool {
        match self {
            Dialect::Bare | Dialect::Tab | Dialect::Blank => false,
            Dialect::Json => true,
        }
    }

    /// Whether its mbtypes tell a directory by name from one by uniqueid. Where they do not, it is by name.
    pub fn tells_directory(self) -> bool {
        match self {
            Dialect::Bare | Dialect::Tab | Dialect::Blank => false,
            Dialect::Json => true,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Bare => "the dialect of releases up to 2.3.3",
            Dialect::Tab => "the dialect of 2.3.4 to 2.3.9",
            Dialect::Blank => "the dialect of 2.3.10 to 3.5",
            Dialect::Json => "the JSON of 3.6 and later",
        })
    }
}

/// How the letters of a rights string are read (`facts/acl.md` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 2.3.0 (RFC 2086): `c` and `d` are rights of their own; k, x, t, e and n are unknown.
    Rfc2086,
    /// 2.3.1 to 2.3.7: `c` and `d` always add their members.
    Additive,
    /// 2.3.8 to 2.4: `c` and `d` count only where none of their members is present.
    Macro,
    /// 2.5 and later: the same, and `n` is known.
    Annotate,
}

impl Era {
    /// From the oldest to the newest.
    pub const ALL: [Era; 4] = [Era::Rfc2086, Era::Additive, Era::Macro, Era::Annotate];

    /// That of the newest releases, which know every letter.
    pub const LATEST: Era = Era::Annotate;

    /// Whether a macro adds its members whatever stands beside it.
    pub fn macros_always_add(self) -> bool {
        matches!(self, Era::Rfc2086 | Era::Additive)
    }
}

/// A release as the user told it: one release, or several (`2.2`) that have the same rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    told: String,
    low: Version,
    high: Version,
}

/// Releases at which something about a mailbox list changes.
const LIST_RULES: &[(Version, &str)] = &[
    (v(2, 1, 0), "names of 490 bytes"),
    (v(2, 3, 1), "rights k x t e"),
    (v(2, 3, 4), "an mbtype before the partition"),
    (v(2, 3, 8), "c and d as macros"),
    (v(2, 3, 10), "a blank before the ACL"),
    (v(2, 3, 14), "names of 1,023 bytes"),
    (v(2, 5, 0), "the right n"),
    (v(2, 5, 12), "identifiers with blanks"),
    (v(3, 0, 0), "server!partition"),
    (v(3, 1, 9), "intermediates and JMAP types"),
    (v(3, 4, 0), "identifiers with quotes"),
    (v(3, 6, 0), "JSON"),
    (v(3, 8, 0), "names of 509 bytes"),
    (v(3, 13, 0), "jmapId"),
];

/// Releases at which a mailbox's directory changes, beyond the list's rules (`facts/layout.md` 1).
const LAYOUT_RULES: &[(Version, &str)] = &[
    (v(2, 0, 17), "a full directory hash"),
    (v(2, 1, 0), "a full hash that stops at a dot"),
    (v(2, 2, 0), "virtual domains"),
    (v(2, 4, 14), "a full hash of 64 bits"),
    (v(2, 4, 15), "a full hash of 32 bits"),
    (v(3, 0, 0), "names taken apart"),
];

impl Release {
    /// What the user told.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// The dialect that this release's `ctl_mboxlist -d` writes and its `-u` reads.
    pub fn dialect(&self) -> Dialect {
        match self.low {
            low if low >= v(3, 6, 0) => Dialect::Json,
            low if low >= v(2, 3, 10) => Dialect::Blank,
            low if low >= v(2, 3, 4) => Dialect::Tab,
            _ => Dialect::Bare,
        }
    }

    /// How this release reads rights.
    pub fn era(&self) -> Era {
        match self.low {
            low if low >= v(2, 5, 0) => Era::Annotate,
            low if low >= v(2, 3, 8) => Era::Macro,
            low if low >= v(2, 3, 1) => Era::Additive,
            _ => Era::Rfc2086,
        }
    }

    /// Whether this release is `version` or later.
    pub fn since(&self, version: Version) -> bool {
        self.low >= version
    }

    /// Whether the loader wants a jmapId of every mailbox: 3.13.1 and later (a 3.13.0 was never released).
    pub fn wants_jmap_id(&self) -> bool {
        self.since(v(3, 13, 0))
    }

    /// Whether a spool of this release has one layout: an error names the releases to choose from.
    pub fn one_layout(&self) -> Result<(), String> {
        self.one_rule(LAYOUT_RULES)
    }

    fn one_rule(&self, rules: &[(Version, &str)]) -> Result<(), String> {
        let inside: Vec<_> = rules.iter().filter(|(at, _)| *at > self.low && *at <= self.high).collect();
        if inside.is_empty() {
            return Ok(());
        }
        let mut ranges = format!("up to {}", before(inside[0].0));
        for (i, (at, what)) in inside.iter().enumerate() {
            match inside.get(i + 1) {
                Some((next, _)) if before(*next) == *at => ranges.push_str(&format!("; {at} ({what})")),
                Some((next, _)) => ranges.push_str(&format!("; {at} to {} ({what})", before(*next))),
                None => ranges.push_str(&format!("; {at} and later ({what})")),
            }
        }
        Err(format!(
            "{} spans releases with different rules: {ranges}. Name the release itself: the greeting of its imapd tells it",
            self.told
        ))
    }
}

/// The pre-releases that wrote text, as 3.0 to 3.5 did, but with the mbtype numbers of 3.6.
fn renumbered_text(version: Version) -> bool {
    (alpha(3, 6, 0, 0)..beta(3, 6, 0, 3)).contains(&version) || version == alpha(3, 7, 0, 0)
}

/// The last release of the same series before a boundary.
fn before(at: Version) -> Version {
    let [major, minor, patch, _] = at.parts();
    v(major, minor, patch.saturating_sub(1))
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl FromStr for Release {
    type Err = String;

    /// Reads `2.2.13`, `3.0.0-beta2` or a series such as `2.2`, and the same as banners and packages print it. Messages
    /// and marks then have the plain release.
    fn from_str(text: &str) -> Result<Release, String> {
        let release = parse(text).ok_or_else(|| {
            format!("{text:?} is not a Cyrus release; they are written 2.2.13, 3.0.0-beta2 or, for a whole series, 2.2")
        })?;
        if release.low < v(1, 6, 0) || release.low >= v(3, 14, 0) {
            return Err(format!("{text}: only Cyrus 1.6 to 3.13 is known here"));
        }
        // After 1.6 came 2.0, and after 2.5 came 3.0.
        if (v(1, 7, 0)..v(2, 0, 0)).contains(&release.low) || (v(2, 6, 0)..alpha(3, 0, 0, 0)).contains(&release.low) {
            return Err(format!("{text}: there was no such Cyrus: 1.6, 2.0 to 2.5, and 3.0 to 3.13"));
        }
        if renumbered_text(release.low) {
            return Err(format!(
                "{text}: this pre-release wrote text with the renumbered mbtypes of 3.6, which nothing else does; \
                 bring that server to 3.6.1 or later first"
            ));
        }
        release.one_rule(LIST_RULES)?;
        Ok(release)
    }
}

/// Finds the release in what banners and packages print: `v2.3.7`, `3.6.1-4+deb12u5`, `cyrus-imapd-3.4.9`,
/// `2.3.16-Fedora-RPM-2.3.16-15.el6`. The name that it gets is that of the release alone.
fn parse(text: &str) -> Option<Release> {
    let word = "cyrus";
    let behind = text.get(text.to_ascii_lowercase().find(word).map_or(0, |at| at + word.len())..)?;
    let text = match behind.len() == text.len() {
        true => text.strip_prefix(['v', 'V']).unwrap_or(text),
        // `-imapd-`, ` IMAP `, ` IMAP4 v`, `-imapd_`.
        false => {
            let begins = |at: usize| {
                behind.as_bytes()[at].is_ascii_digit()
                    && (at == 0 || matches!(behind.as_bytes()[at - 1], b'v' | b'V' | b'-' | b'_' | b' '))
            };
            &behind[(0..behind.len()).find(|at| begins(*at))?..]
        }
    };
    let digits = |from: usize| text.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let (mut end, mut parts) = (0, Vec::with_capacity(3));
    loop {
        let len = digits(end);
        parts.push(number(text.get(end..end + len)?)?);
        end += len;
        match text.as_bytes().get(end) {
            Some(b'.') if parts.len() < 3 => end += 1,
            // A fourth number, or a series written 2.3.x.
            Some(b'.') => return None,
            _ => break,
        }
    }
    let (numbers, rest) = text.split_at(end);
    let (stage, name) = stage_of(rest)?;
    let told = format!("{numbers}{name}");
    Some(match parts[..] {
        [major, minor, patch] => {
            let version = Version::new(major, minor, patch, stage);
            // Pre-releases have the rules of the release that they led to, but 3.0.0-beta1, which still writes what 2.5
            // wrote, and those that were a dialect of their own (`facts/dialects.md`).
            let still_2_5 = (alpha(3, 0, 0, 0)..=beta(3, 0, 0, 1)).contains(&version);
            let own = still_2_5 || renumbered_text(version);
            let version = if own { version } else { v(major, minor, patch) };
            Release { told, low: version, high: version }
        }
        [major, minor] if stage == FINAL => Release { told, low: v(major, minor, 0), high: v(major, minor, u16::MAX) },
        _ => return None,
    })
}

/// The stage behind the numbers of a release, and how it is written: `-beta2`, `~rc1`, `beta1`. What packagers add is no
/// stage.
fn stage_of(rest: &str) -> Option<(u16, String)> {
    let bare = rest.trim_start_matches(['-', '~']);
    for (name, first) in [("alpha", ALPHA), ("beta", BETA), ("rc", CANDIDATE)] {
        if let Some(behind) = bare.strip_prefix(name) {
            let len = behind.bytes().take_while(u8::is_ascii_digit).count();
            let n = number(&behind[..len])?;
            return ends(&behind[len..]).then(|| (first + n, format!("-{name}{n}")));
        }
    }
    ends(rest).then(|| (FINAL, String::new()))
}

/// Whether a number ends before this.
fn ends(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '.')
}

fn number(text: &str) -> Option<u16> {
    (!text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn dialects_by_release() {
        for (text, dialect) in [
            ("1.6", Dialect::Bare),
            ("2.2.13", Dialect::Bare),
            ("2.2", Dialect::Bare),
            ("2.3.3", Dialect::Bare),
            ("2.3.4", Dialect::Tab),
            ("2.3.9", Dialect::Tab),
            ("2.3.10", Dialect::Blank),
            ("2.4", Dialect::Blank),
            ("3.0.0-beta1", Dialect::Blank),
            ("3.0.0-beta2", Dialect::Blank),
            ("3.5.0-alpha0", Dialect::Blank),
            ("3.6.0-beta3", Dialect::Json),
            ("3.6", Dialect::Json),
            ("3.13.7", Dialect::Json),
            ("3.13", Dialect::Json),
        ] {
            let found = text.parse::<Release>().map(|r| r.dialect());
            match found {
                Ok(found) => assert_eq!(found, dialect, "{text}"),
                Err(e) => panic!("{text}: {e}"),
            }
        }
    }

    #[test]
    fn a_series_with_different_rules_is_refused_with_its_ranges() {
        let refused = "2.3".parse::<Release>().err().unwrap_or_default();
        for part in ["up to 2.3.0", "2.3.1 to 2.3.3", "2.3.4 to 2.3.7", "2.3.8 to 2.3.9", "2.3.14 and later"] {
            assert!(refused.contains(part), "{refused}");
        }
        for text in [
            "3",
            "2.3.x",
            "",
            "2.3.4.5",
            "v2.3",
            "99999.1",
            "2..1",
            "3.14.0",
            "1.5",
            "3.6.0-beta2",
            "3.6.0~beta2-1",
            "3.6.0-beta",
            "2.2.13x",
            "2.3-rc1",
            "vv2.2.13",
            "my 2.2.13",
            "cyrus",
            "2.3.16.el6",
        ] {
            assert!(text.parse::<Release>().is_err(), "{text}");
        }
    }

    #[test]
    fn releases_as_banners_and_packages_print_them() {
        for (text, told) in [
            ("v2.3.7", "2.3.7"),
            ("2.3.16-Fedora-RPM-2.3.16-15.el6", "2.3.16"),
            ("v2.3.7-Invoca-RPM-2.3.7-12.el5_7.2", "2.3.7"),
            ("3.6.1-4+deb12u5", "3.6.1"),
            ("3.2.6-2+deb11u2", "3.2.6"),
            ("cyrus-imapd-3.4.9", "3.4.9"),
            ("cyrus-imapd-2.3.16-15.el6.x86_64", "2.3.16"),
            ("cyrus-imapd_3.6.1-4+deb12u5_amd64.deb", "3.6.1"),
            ("v2.4.22-Debian-2.4.22-4", "2.4.22"),
            ("3.12.2-g1a2b3c4d", "3.12.2"),
            ("3.12.2-41-g1a2b3c4d", "3.12.2"),
            ("3.6.1~rc1", "3.6.1-rc1"),
            ("3.6.0~beta3-1", "3.6.0-beta3"),
            ("2.4.13beta1", "2.4.13-beta1"),
            ("2.2.13-p1", "2.2.13"),
            ("2.4.17+caldav~beta10-18", "2.4.17"),
            ("Cyrus IMAP 3.6.1-4+deb12u5", "3.6.1"),
            ("Cyrus IMAP4 v2.2.13", "2.2.13"),
            ("* OK mx1.example.com Cyrus IMAP v2.4.22 server ready", "2.4.22"),
            ("3.4-2", "3.4"),
            ("2.2", "2.2"),
            ("3.0.0-beta2", "3.0.0-beta2"),
        ] {
            assert_eq!(release(text).told(), told, "{text}");
            assert_eq!(release(text), release(told), "{text}");
        }
    }

    #[test]
    fn a_series_that_spans_a_boundary_is_known_to() {
        let mut before: Option<Release> = None;
        let minors = |major: u16| if major == 1 { 6..=6 } else { 0..=if major == 2 { 5 } else { 13 } };
        for major in 1..=3 {
            for minor in minors(major) {
                for patch in 0..=30 {
                    let told = release(&format!("{major}.{minor}.{patch}"));
                    if let Some(before) = &before
                        && (told.dialect() != before.dialect() || told.era() != before.era())
                    {
                        assert!(LIST_RULES.iter().any(|(at, _)| *at == told.low), "{told}");
                    }
                    before = Some(told);
                }
            }
        }
    }

    #[test]
    fn eras_by_release() {
        for (text, era) in [
            ("2.3.0", Era::Rfc2086),
            ("2.3.1", Era::Additive),
            ("2.3.7", Era::Additive),
            ("2.3.8", Era::Macro),
            ("2.4", Era::Macro),
            ("2.5.0", Era::Annotate),
            ("3.13.7", Era::Annotate),
        ] {
            assert_eq!(release(text).era(), era, "{text}");
        }
        assert!(release("2.4").one_layout().is_err());
        assert!(release("2.4.22").one_layout().is_ok());
    }
}
