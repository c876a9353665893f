//! The marks of a sealed stream: where a list begins, where it ends, and why it did not.
//!
//! Marks begin with `!mbx-` and have no TAB: every text loader drops such a line (measured on nine releases), and a
//! JSON loader refuses the whole file, so a mark can never be stored as a mailbox.

use crate::list::error::Stop;
use crate::mailbox::text::Name;
use crate::release::Release;
use memchr::memchr;

/// One mark.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark {
    /// `!mbx-list [from RELEASE] [to RELEASE] [rights rewritten]`: a sealed stream begins.
    List(Releases),
    /// `!mbx-end [N [SUM]]`: it was whole.
    End(End),
    /// `!mbx-abort tool: reason`: it is not to be loaded.
    Abort,
}

/// What an end mark tells. `&& echo '!mbx-end'` on the far side tells nothing more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// How many entries stand before it.
    pub entries: Option<u64>,
    /// The CRC-32 of every byte before it. mbxtools 0.1 wrote none.
    pub sum: Option<u32>,
}

/// The releases that were told for a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Releases {
    /// The release that the list and its spool come from.
    pub from: Option<Release>,
    /// The release that will load it.
    pub to: Option<Release>,
    /// Whether mbx-acl-rewrite has been over it: its rights are to be read by the rule of 2.3.8 and later, whatever
    /// letters `from` knew.
    pub rights_rewritten: bool,
}

impl Releases {
    /// What is told here and in `other`; telling two different things is an error.
    pub fn merge(&mut self, other: Releases) -> Result<(), String> {
        self.rights_rewritten |= other.rights_rewritten;
        for (which, mine, theirs) in [("--from", &mut self.from, other.from), ("--to", &mut self.to, other.to)] {
            match (&mine, theirs) {
                (Some(a), Some(b)) if *a != b => {
                    return Err(format!(
                        "{which} {a} was told, but the sealed list says {b}: tell it once, to the mbx-parse that seals"
                    ));
                }
                (None, theirs) => *mine = theirs,
                _ => {}
            }
        }
        Ok(())
    }

    /// The release that the list is for: the one that will load it, else the one that it comes from.
    pub fn latest(&self) -> Option<&Release> {
        self.to.as_ref().or(self.from.as_ref())
    }
}

/// What every mark begins with.
pub const PREFIX: &[u8] = b"!mbx-";

/// Whether a line is a mark. (A mailbox of such a name has a TAB behind it.)
pub fn is_mark(line: &[u8]) -> bool {
    line.starts_with(PREFIX) && memchr(b'\t', line).is_none()
}

/// Reads a mark without its newline.
pub fn read(line: &[u8]) -> Result<Mark, String> {
    let text = std::str::from_utf8(line).map_err(|_| "a mark with bytes that are no text".to_string())?;
    let mut words = text.split(' ');
    match words.next() {
        Some("!mbx-abort") => Ok(Mark::Abort),
        Some("!mbx-end") => {
            let entries = words.next().map(|word| number(word, 10)).transpose()?;
            let sum = words.next().map(|word| number(word, 16)).transpose()?;
            let sum = sum.map(u32::try_from).transpose().map_err(|_| "end mark with a sum that is none")?;
            match words.next() {
                None => Ok(Mark::End(End { entries, sum })),
                Some(more) => Err(format!("end mark with {}", Name(more.as_bytes()))),
            }
        }
        Some("!mbx-list") => {
            let mut releases = Releases::default();
            while let Some(which) = words.next() {
                let value = words.next().ok_or("list mark that ends too early")?;
                match which {
                    "from" if releases.from.is_none() => releases.from = Some(value.parse()?),
                    "to" if releases.to.is_none() => releases.to = Some(value.parse()?),
                    "rights" if value == "rewritten" => releases.rights_rewritten = true,
                    _ => return Err(format!("list mark with {}", Name(which.as_bytes()))),
                }
            }
            Ok(Mark::List(releases))
        }
        _ => Err("unknown mark".to_string()),
    }
}

fn number(word: &str, radix: u32) -> Result<u64, String> {
    match u64::from_str_radix(word, radix) {
        Ok(number) if !word.starts_with('+') => Ok(number),
        _ => Err(format!("end mark with a bad number: {}", Name(word.as_bytes()))),
    }
}

/// Appends `!mbx-list ...` and its newline.
pub fn write_list(releases: &Releases, out: &mut Vec<u8>) {
    out.extend_from_slice(b"!mbx-list");
    for (which, release) in [(" from ", &releases.from), (" to ", &releases.to)] {
        if let Some(release) = release {
            out.extend_from_slice(which.as_bytes());
            out.extend_from_slice(release.told().as_bytes());
        }
    }
    if releases.rights_rewritten {
        out.extend_from_slice(b" rights rewritten");
    }
    out.push(b'\n');
}

/// Appends `!mbx-end ...` and its newline.
pub fn write_end(end: End, out: &mut Vec<u8>) {
    let entries = end.entries.map(|entries| format!(" {entries}")).unwrap_or_default();
    let sum = end.sum.map(|sum| format!(" {sum:08x}")).unwrap_or_default();
    out.extend_from_slice(format!("!mbx-end{entries}{sum}\n").as_bytes());
}

/// Appends `!mbx-abort tool: reason` and its newline. A TAB or a newline in the reason would make more of it than a
/// mark, so they become blanks.
pub fn write_abort(tool: &str, reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("!mbx-abort {tool}: {}\n", printable(reason)).as_bytes());
}

/// A reason without what could end a line or move a cursor.
fn printable(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The reason of an abort mark for a message: who gave up, and why.
pub fn abort_reason(stop: &Stop) -> Option<String> {
    match stop {
        Stop::Upstream(line) => {
            let text = line.strip_prefix(b"!mbx-abort ").unwrap_or(line);
            Some(printable(String::from_utf8_lossy(text).trim_end()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_as_they_were_written() {
        let told = |text: &str| text.parse::<Release>().ok();
        let releases = Releases { from: told("2.2.13"), to: told("2.3.7"), rights_rewritten: false };
        let mut out = Vec::new();
        write_list(&releases, &mut out);
        assert_eq!(out, b"!mbx-list from 2.2.13 to 2.3.7\n");
        assert_eq!(read(&out[..out.len() - 1]), Ok(Mark::List(releases)));
        assert!(
            matches!(read(b"!mbx-list from 2.2.13 rights rewritten"), Ok(Mark::List(told)) if told.rights_rewritten)
        );
        assert_eq!(read(b"!mbx-list"), Ok(Mark::List(Releases::default())));
        for (entries, sum, text) in [
            (None, None, &b"!mbx-end\n"[..]),
            (Some(103), None, b"!mbx-end 103\n"),
            (Some(103), Some(0xbad), b"!mbx-end 103 00000bad\n"),
        ] {
            let end = End { entries, sum };
            out.clear();
            write_end(end, &mut out);
            assert_eq!(out, text);
            assert_eq!(read(&out[..out.len() - 1]), Ok(Mark::End(end)));
        }
        assert_eq!(read(b"!mbx-abort mbx-parse: no"), Ok(Mark::Abort));
        for bad in [
            "!mbx-end x",
            "!mbx-end -1",
            "!mbx-end +1",
            "!mbx-end 1 x",
            "!mbx-end 1 +2",
            "!mbx-end 1 123456789",
            "!mbx-end 1 2 3",
            "!mbx-list from",
            "!mbx-list from 9",
            "!mbx-list to 2.3.7 to 2.3.7",
            "!mbx-",
            "!mbx-endless",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        out.clear();
        write_abort("t", "a\tb\nc", &mut out);
        assert_eq!(out, b"!mbx-abort t: a b c\n");
        assert!(!is_mark(b"!mbx-end\tdefault\t"));
    }
}
