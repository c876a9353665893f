//! Names and counts in the form that messages show.

use std::fmt::{self, Write as _};

/// A name in a message. It is bare if it has only harmless characters. Else it is in single quotes, and bytes that are
/// not printable ASCII are shown as `\xNN`. Mailbox names, identifiers and paths are bytes that users choose, and
/// stderr goes to terminals and logs.
pub struct Name<'a>(pub &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        write_name(self.0, SHOWN, f)?;
        match self.0.len() > SHOWN {
            true => write!(f, "... ({} bytes)", self.0.len()),
            false => Ok(()),
        }
    }
}

/// A name in a line with several names: as [`Name`], but cut after 50 bytes.
pub struct Brief<'a>(pub &'a [u8]);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 50;
        write_name(self.0, SHOWN, f)?;
        f.write_str(if self.0.len() > SHOWN { "..." } else { "" })
    }
}

/// Writes the name, or its first `shown` bytes.
fn write_name(name: &[u8], shown: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"'\"\\`".contains(b);
    if !name.is_empty() && name.len() <= shown && name.iter().all(plain) {
        return name.iter().try_for_each(|&b| f.write_char(char::from(b)));
    }
    f.write_char('\'')?;
    for &b in &name[..name.len().min(shown)] {
        match b {
            b'\\' | b'\'' => write!(f, "\\{}", char::from(b))?,
            b'\t' => f.write_str("\\t")?,
            b' '..=b'~' => f.write_char(char::from(b))?,
            _ => write!(f, "\\x{b:02x}")?,
        }
    }
    f.write_char('\'')
}

/// Findings, counted by kind, with the first few of each kind.
#[derive(Default, Debug)]
pub struct Groups(Vec<(&'static str, u64, Vec<String>)>);

impl Groups {
    /// Counts a finding. Calls `which` for the text of the first few of a kind; its argument is true for the first one,
    /// whose text may be longer.
    pub fn add(&mut self, kind: &'static str, which: impl FnOnce(bool) -> String) {
        const FIRST: usize = 3;
        let i = self.0.iter().position(|(known, ..)| *known == kind).unwrap_or_else(|| {
            self.0.push((kind, 0, Vec::new()));
            self.0.len() - 1
        });
        let (_, count, first) = &mut self.0[i];
        *count += 1;
        if first.len() < FIRST {
            first.push(which(*count == 1));
        }
    }

    /// Returns true if there are no findings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count, first) in &self.0 {
            let more = if *count > first.len() as u64 { ", ..." } else { "" };
            writeln!(f, "{:>12}  {kind}: {}{more}", Count(*count), first.join(", "))?;
        }
        Ok(())
    }
}

/// A count with commas between thousands: `32,118`. Width and alignment apply: `{:>12}`.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        for at in (1..text.len()).rev().skip(2).step_by(3) {
            text.insert(at, ',');
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_mislead_a_terminal() {
        assert_eq!(Name(b"user.bob").to_string(), "user.bob");
        assert_eq!(Name(b"user.My Mail").to_string(), "'user.My Mail'");
        assert_eq!(Name(b"a\x1b[2J\xe9\t'").to_string(), r"'a\x1b[2J\xe9\t\''");
        assert_eq!(Name(b"").to_string(), "''");
    }

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (32118, "32,118"), (1234567, "1,234,567")] {
            assert_eq!(Count(n).to_string(), text);
        }
    }

    #[test]
    fn counts_have_the_width_that_is_asked_for() {
        assert_eq!(format!("{:>12}|{:<8}|", Count(32118), Count(0)), "      32,118|0       |");
    }
}
