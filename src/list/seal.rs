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
    /// `!mbx-end` or `!mbx-end N SUM`: it was whole.
    End(End),
    /// `!mbx-abort tool: reason`: it is not to be loaded.
    Abort,
}

/// What an end mark tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `!mbx-end`: what wrote the list ended well. The far side says it, with nothing installed there.
    Bare,
    /// `!mbx-end N SUM`: the end of a sealed list.
    Sealed {
        /// How many entries stand before it.
        entries: u64,
        /// The CRC-32 of every byte before it.
        sum: u32,
    },
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

/// Whether a line was a mark before its blanks or its letters were changed. Such a line is no entry, and not to be set
/// apart as one that was refused: the list is not whole.
pub fn was_mark(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    text.get(..PREFIX.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(PREFIX)) && memchr(b'\t', text).is_none()
}

/// Reads a mark without its newline.
pub fn read(line: &[u8]) -> Result<Mark, String> {
    if line.strip_prefix(b"!mbx-abort").is_some_and(|rest| matches!(rest.first(), None | Some(b' '))) {
        return Ok(Mark::Abort);
    }
    if line.ends_with(b"\r") {
        return Err("mark that ends in CR (`ssh -t` adds the CRs: take the list without -t)".to_string());
    }
    let text = std::str::from_utf8(line).map_err(|_| "a mark with bytes that are no text".to_string())?;
    let mut words = text.split(' ');
    match words.next() {
        Some("!mbx-end") => {
            let end = match (words.next(), words.next()) {
                (None, _) => End::Bare,
                (Some(_), None) => {
                    return Err(
                        "end mark with a count and no sum (cut off, or of mbxtools 0.1: make the list again with \
                                mbx-parse --seal)"
                            .to_string(),
                    );
                }
                (Some(entries), Some(sum)) => End::Sealed {
                    entries: entries
                        .parse()
                        .map_err(|_| format!("end mark with a bad count: {}", Name(entries.as_bytes())))?,
                    sum: u32::from_str_radix(sum, 16)
                        .map_err(|_| format!("end mark with a bad sum: {}", Name(sum.as_bytes())))?,
                },
            };
            // A sign, a zero before the number, a blank or a word behind it: none is written, so it was changed.
            let mut written = Vec::new();
            write_end(end, &mut written);
            match written.strip_suffix(b"\n") == Some(line) {
                true => Ok(Mark::End(end)),
                false => Err(format!("end mark that was changed: {}", Name(line))),
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

/// Appends `!mbx-end` or `!mbx-end N SUM`, and its newline.
pub fn write_end(end: End, out: &mut Vec<u8>) {
    match end {
        End::Bare => out.extend_from_slice(b"!mbx-end\n"),
        End::Sealed { entries, sum } => out.extend_from_slice(format!("!mbx-end {entries} {sum:08x}\n").as_bytes()),
    }
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
        for (end, text) in
            [(End::Bare, &b"!mbx-end\n"[..]), (End::Sealed { entries: 103, sum: 0xbad }, b"!mbx-end 103 00000bad\n")]
        {
            out.clear();
            write_end(end, &mut out);
            assert_eq!(out, text);
            assert_eq!(read(&out[..out.len() - 1]), Ok(Mark::End(end)));
        }
        assert_eq!(read(b"!mbx-abort mbx-parse: no"), Ok(Mark::Abort));
        for bad in [
            "!mbx-end x",
            "!mbx-end ",
            "!mbx-end\r",
            "!mbx-end 1",
            "!mbx-end -1 00000bad",
            "!mbx-end +1 00000bad",
            "!mbx-end 01 00000bad",
            "!mbx-end 1 x",
            "!mbx-end 1 bad",
            "!mbx-end 1 00000BAD",
            "!mbx-end 1 +0000bad",
            "!mbx-end 1 123456789",
            "!mbx-end 1 00000bad ",
            "!mbx-end 1 00000bad 3",
            "!mbx-abortion",
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
        assert!(was_mark(b" !mbx-end") && was_mark(b"!MBX-END 3") && was_mark(b"\t!Mbx-abort x"));
        assert!(!was_mark(b"mbx-end") && !was_mark(b" !MBX-x\tdefault\t") && !was_mark(b"!mbx"));
    }
}
