//! The three text dialects: one entry a line.

use crate::list::detect::stranger;
use crate::mailbox::entry::{Entry, Fields, Span};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::partition;
use crate::mailbox::rejection::Refusal;
use crate::release::Dialect;
use memchr::{memchr, memchr2, memrchr};

/// Takes one line without its newline apart. A refusal says why no server could have meant it so.
///
/// The caller has made sure that the line has no NUL and no CR; [`bytes_refused`] says why they are not let through.
pub fn parse(line: &[u8], dialect: Dialect) -> Result<Fields, Refusal> {
    let Some(name_end) = memchr(b'\t', line) else {
        return Err(no_tab(line));
    };
    if name_end == 0 {
        return Err(Refusal::with("no mailbox name", "the line begins with a TAB: every loader dies of it"));
    }
    let after_name = name_end + 1;
    let (mbtype, place, separator) = match dialect {
        Dialect::Bare => {
            // Places are a few bytes, and mostly a partition and nothing else.
            let found = line[after_name..].iter().position(|b| matches!(b, b'\t' | b' ' | b'!'));
            match found.map(|at| after_name + at) {
                Some(at) if line[at] == b'\t' && at > after_name => {
                    let (mailbox, place) = (Span::new(0, name_end), Span::new(after_name, at));
                    let acl = Span::new(at + 1, line.len());
                    return Ok(Fields { mailbox, mbtype: None, server: None, partition: place, place, acl });
                }
                Some(at) if line[at] == b'\t' => (None, after_name, Some(at)),
                Some(at) => (None, after_name, memchr(b'\t', &line[at..]).map(|tab| at + tab)),
                None => (None, after_name, None),
            }
        }
        Dialect::Tab | Dialect::Blank | Dialect::Json => {
            let digits = line[after_name..].iter().take_while(|b| b.is_ascii_digit()).count();
            let digits_end = after_name + digits;
            if digits == 0 || line.get(digits_end) != Some(&b' ') {
                return Err(stranger(line, dialect));
            }
            let Some(mbtype) = Mbtype::parse(&line[after_name..digits_end]) else {
                return Err(Refusal::with("mbtype out of range", "no server has such a number: was the line edited?"));
            };
            let place = digits_end + 1;
            let separator = memchr2(b' ', b'\t', &line[place..]).map(|at| place + at);
            let own = if dialect == Dialect::Tab { b'\t' } else { b' ' };
            if separator.is_some_and(|at| line[at] != own) {
                return Err(stranger(line, dialect));
            }
            (Some((Span::new(after_name, digits_end), mbtype)), place, separator)
        }
    };
    let Some(separator) = separator else {
        return Err(Refusal::with("no ACL", "nothing closes the partition: was the line cut off or edited?"));
    };
    let place = Span::new(place, separator);
    let (server, partition) = split_place(line, place, dialect)?;
    let acl = Span::new(separator + 1, line.len());
    // `>uniqueid mtime uidvalidity ...` behind the ACL: the format that 3.6's `-u -L` reads and no release prints.
    if dialect == Dialect::Blank && line.last() != Some(&b'\t') {
        refuse_extended(acl.of(line))?;
    }
    Ok(Fields { mailbox: Span::new(0, name_end), mbtype, server, partition, place, acl })
}

/// Appends what stands between a mailbox with its TAB and the ACL.
pub fn write_place(entry: &Entry<'_>, mbtype: Mbtype, dialect: Dialect, out: &mut Vec<u8>) {
    match (dialect, mbtype) {
        (Dialect::Bare, _) => {}
        (_, Mbtype::EMAIL) => out.extend_from_slice(b"0 "),
        (_, mbtype) => out.extend_from_slice(format!("{mbtype} ").as_bytes()),
    }
    if let Some(server) = entry.server() {
        out.extend_from_slice(server);
        out.push(b'!');
    }
    // Of tombstones and intermediates, which have none, servers print C's NULL.
    out.extend_from_slice(if entry.partition().is_empty() { partition::NULL } else { entry.partition() });
    out.push(match dialect {
        Dialect::Bare | Dialect::Tab => b'\t',
        Dialect::Blank | Dialect::Json => b' ',
    });
}

/// Sets the server apart, and takes off the stray blanks that the oldest dialect may have around a partition.
fn split_place(line: &[u8], place: Span, dialect: Dialect) -> Result<(Option<Span>, Span), Refusal> {
    let (mut start, mut end) = (place.start(), place.end());
    let text = place.of(line);
    if !text.is_empty() && !text.iter().any(|b| matches!(b, b' ' | b'!')) {
        return Ok((None, place));
    }
    if dialect == Dialect::Bare && text.contains(&b' ') {
        start += text.len() - text.trim_ascii_start().len();
        end -= text.len() - text.trim_ascii_end().len();
        if start < end && memchr(b' ', &line[start..end]).is_some() {
            return Err(stranger(line, dialect));
        }
        end = end.max(start);
    }
    let server = memchr(b'!', &line[start..end]).map(|bang| Span::new(start, start + bang));
    if let Some(server) = server {
        start = server.end() + 1;
    }
    match start == end {
        true => Err(Refusal::with("no partition", "nothing stands between the mailbox and its ACL: mend the line")),
        false => Ok((server, Span::new(start, end))),
    }
}

fn refuse_extended(acl: &[u8]) -> Result<(), Refusal> {
    let tail = match memrchr(b'\t', acl) {
        Some(tab) => &acl[tab + 1..],
        None => acl,
    };
    let is_number = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    if tail.first() == Some(&b'>') {
        let words = tail.split(|b| *b == b' ').skip(1).filter(|word| is_number(word)).count();
        if words >= 4 {
            return Err(Refusal::with(
                "extended text of 3.6 pre-releases",
                "no release prints it; take the list with the `ctl_mboxlist -d` of the release that runs",
            ));
        }
    }
    Ok(())
}

/// Why a line without a TAB is no entry.
pub fn no_tab(line: &[u8]) -> Refusal {
    if line.is_empty() {
        return Refusal::with("blank line", "no server prints one: was the list edited or joined?");
    }
    if line.trim_ascii() == b"{" {
        return Refusal::with("no partition", "a JSON list begins here: what stands before it must go");
    }
    Refusal::with("no partition", "the line has no TAB, so it is no entry: a login banner, or a message in the list?")
}

/// Why a line with this byte is not let through: loaders cut the line there, or drop it.
pub fn bytes_refused(line: &[u8]) -> Option<Refusal> {
    match memchr2(0, b'\r', line).map(|at| line[at]) {
        None => None,
        Some(0) => Some(Refusal::with("NUL byte", "loaders cut the line there; is this a text list at all?")),
        Some(_) if line.ends_with(b"\r") => Some(Refusal::with(
            "line ends in CR LF",
            "`ssh -t` adds the CRs, or an editor did: take the list without -t, or through `tr -d '\\r'`",
        )),
        Some(_) => Some(Refusal::with("carriage return in the line", "loaders end the line there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str, dialect: Dialect) -> Result<(String, String, String, String), &'static str> {
        let fields = parse(line.as_bytes(), dialect).map_err(|r| r.kind)?;
        let text = |s: Span| line[s.start()..s.end()].to_string();
        Ok((
            text(fields.mailbox),
            fields.server.map(text).unwrap_or_default(),
            text(fields.partition),
            text(fields.acl),
        ))
    }

    fn all(a: &str, b: &str, c: &str, d: &str) -> Result<(String, String, String, String), &'static str> {
        Ok((a.into(), b.into(), c.into(), d.into()))
    }

    #[test]
    fn entries() {
        let (bare, tab, blank) = (Dialect::Bare, Dialect::Tab, Dialect::Blank);
        assert_eq!(parts("u\t1\ta b\tlrs\t", bare), all("u", "", "1", "a b\tlrs\t"));
        assert_eq!(parts("u\t 1 \ta\tlrs\t", bare), all("u", "", "1", "a\tlrs\t"));
        assert_eq!(parts("u\tbe!1\t", bare), all("u", "be", "1", ""));
        assert_eq!(parts("u\t0 1\ta\tlrs\t", tab), all("u", "", "1", "a\tlrs\t"));
        assert_eq!(parts("u\t0 1 ", blank), all("u", "", "1", ""));
        assert_eq!(parts("u x\t1 a!b!c john doe\tlrs\t", blank), all("u x", "a", "b!c", "john doe\tlrs\t"));
        assert_eq!(parts("u\t256 (null) ", blank), all("u", "", "(null)", ""));
    }

    #[test]
    fn no_entries() {
        for (line, dialect, kind) in [
            ("", Dialect::Bare, "blank line"),
            ("Welcome", Dialect::Bare, "no partition"),
            ("\tdefault\t", Dialect::Bare, "no mailbox name"),
            ("u\tdefault", Dialect::Bare, "no ACL"),
            ("u\t", Dialect::Bare, "no ACL"),
            ("u\t\tanyone\tlrs\t", Dialect::Bare, "no partition"),
            ("u\t0 default\ta\tlrs\t", Dialect::Bare, "line of another dialect"),
            ("u\tdefault\ta\tlrs\t", Dialect::Tab, "line of another dialect"),
            ("u\t0 default a\tlrs\t", Dialect::Tab, "line of another dialect"),
            ("u\t0 default\ta\tlrs\t", Dialect::Blank, "line of another dialect"),
            ("u\t-1 default a\tlrs\t", Dialect::Blank, "line of another dialect"),
            ("u\t99999999999 default a\tlrs\t", Dialect::Blank, "mbtype out of range"),
            ("u\t0 \ta\tlrs\t", Dialect::Tab, "no partition"),
            ("u\t1 srv! a\tlrs\t", Dialect::Blank, "no partition"),
            (
                "u\t0 default a\tlrs\t>6ff0c5a1-1 1700000000 1700000000 2 1 ",
                Dialect::Blank,
                "extended text of 3.6 pre-releases",
            ),
        ] {
            assert_eq!(parts(line, dialect), Err(kind), "{line:?}");
        }
    }
}
