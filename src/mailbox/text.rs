//! Names and counts as messages show them.

use std::fmt::{self, Write as _};

/// A name as messages show it: bare if nothing in it could mislead, else in single quotes with
/// everything that is not printable ASCII as `\xNN`. Mailbox names, identifiers and paths are bytes
/// that anybody could choose, and stderr ends in terminals and logs.
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

/// A name where several stand in one line: as [`Name`], of long ones the beginning.
pub struct Brief<'a>(pub &'a [u8]);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 50;
        write_name(self.0, SHOWN, f)?;
        f.write_str(if self.0.len() > SHOWN { "..." } else { "" })
    }
}

/// The name, or its first `shown` bytes.
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

/// What was found of several kinds, with the first few of each.
#[derive(Default, Debug)]
pub struct Groups(Vec<(&'static str, u64, Vec<String>)>);

impl Groups {
    /// Counts one more of a kind; of the first few it is asked what they are, and of the very first at length.
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

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count, first) in &self.0 {
            let more = if *count > first.len() as u64 { ", ..." } else { "" };
            writeln!(f, "{:>12}  {kind}: {}{more}", Count(*count).to_string(), first.join(", "))?;
        }
        Ok(())
    }
}

/// A count as people read it: `32,118`.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
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
}
