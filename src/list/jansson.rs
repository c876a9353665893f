//! JSON as jansson reads and writes it: the JSON of `ctl_mboxlist` of 3.6 and later (`facts/json.md`).
//!
//! The scanner finds spans. It builds no tree, and copies only the text of single strings. It refuses all that jansson
//! refuses, because the loader then refuses the whole file, and exits 0.

use crate::mailbox::text::Name;

/// The reasons that end the reading of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snag {
    /// The text has no error, but ends in the middle of a value.
    Incomplete,
    /// The byte at this offset is wrong; the words say why.
    Wrong(usize, &'static str),
}

/// The types of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string; true if it has escapes.
    String(bool),
    /// An object.
    Object,
    /// An array.
    Array,
    /// A number, `true`, `false` or `null`.
    Other,
}

/// The levels of nested values that an entry may have. jansson accepts 2,048; the list and the entry are two of them.
const DEPTH: usize = 2046;

/// A position in a JSON text, and the functions that read on from it.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    /// The offset of the next byte to read.
    pub at: usize,
}

/// The meaning of a byte inside a string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Quote,
    Backslash,
    Control,
}

const fn classes() -> [Class; 256] {
    let mut table = [Class::Plain; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = Class::Control;
        i += 1;
    }
    table[b'"' as usize] = Class::Quote;
    table[b'\\' as usize] = Class::Backslash;
    table
}

static CLASSES: [Class; 256] = classes();

impl<'a> Scan<'a> {
    /// Starts at the offset `at`.
    pub fn new(bytes: &'a [u8], at: usize) -> Scan<'a> {
        Scan { bytes, at }
    }

    /// Skips white space and returns the next byte, without reading it.
    pub fn peek(&mut self) -> Result<u8, Snag> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Snag::Incomplete),
            }
        }
    }

    /// Skips white space and reads `byte`. If another byte is there, `what` is the error.
    pub fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Snag> {
        match self.peek()? == byte {
            true => {
                self.at += 1;
                Ok(())
            }
            false => Err(Snag::Wrong(self.at, what)),
        }
    }

    /// Skips a string. Returns true if it has escapes.
    pub fn string(&mut self) -> Result<bool, Snag> {
        if self.peek()? != b'"' {
            return Err(Snag::Wrong(self.at, "a string was expected"));
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().take_while(|byte| CLASSES[usize::from(**byte)] == Class::Plain).count();
            self.at += plain;
            match rest.get(plain).map(|byte| CLASSES[usize::from(*byte)]) {
                None => return Err(Snag::Incomplete),
                Some(Class::Quote) => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(Class::Backslash) => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(Snag::Wrong(self.at, "a control character inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Snag> {
        match self.bytes.get(self.at + 1) {
            None => Err(Snag::Incomplete),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let first = self.unit(self.at)?;
                match first {
                    0 => return Err(Snag::Wrong(self.at, "\\u0000, which no name can have")),
                    0xdc00..=0xdfff => return Err(Snag::Wrong(self.at, "half of a surrogate pair")),
                    0xd800..=0xdbff => {
                        let second = self.unit(self.at + 6)?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err(Snag::Wrong(self.at, "half of a surrogate pair"));
                        }
                        self.at += 12;
                    }
                    _ => self.at += 6,
                }
                Ok(())
            }
            Some(_) => Err(Snag::Wrong(self.at, "an unknown escape inside a string")),
        }
    }

    /// Returns the number of the escape `\uXXXX` at the offset `at`.
    fn unit(&self, at: usize) -> Result<u32, Snag> {
        let text = self.bytes.get(at..).unwrap_or_default();
        let text = &text[..text.len().min(6)];
        let wrong = Err(Snag::Wrong(at, "half of a surrogate pair, or a bad \\u escape"));
        if !b"\\u".starts_with(&text[..text.len().min(2)]) {
            return wrong;
        }
        match text.get(2..) {
            Some(digits) if !digits.iter().all(u8::is_ascii_hexdigit) => wrong,
            Some(digits) if digits.len() == 4 => Ok(hexadecimal(digits)),
            _ => Err(Snag::Incomplete),
        }
    }

    /// Skips a value of any type.
    pub fn value(&mut self) -> Result<Value, Snag> {
        match self.peek()? {
            b'"' => self.string().map(Value::String),
            b'{' => self.nested().map(|()| Value::Object),
            b'[' => self.nested().map(|()| Value::Array),
            _ => self.word().map(|()| Value::Other),
        }
    }

    /// Skips an object or array. Keeps the open brackets in an array of its own, so that no text can overflow the
    /// stack.
    fn nested(&mut self) -> Result<(), Snag> {
        let mut open = [0_u8; DEPTH];
        let mut depth = 0;
        loop {
            // A value must begin here.
            let byte = self.peek()?;
            let mut ends = false;
            match byte {
                b'{' | b'[' => {
                    let Some(place) = open.get_mut(depth) else {
                        return Err(Snag::Wrong(self.at, "values nested too deep"));
                    };
                    *place = byte;
                    depth += 1;
                    self.at += 1;
                    let close = if byte == b'{' { b'}' } else { b']' };
                    match self.peek()? == close {
                        true => ends = true,
                        false if byte == b'{' => {
                            self.member_name()?;
                            continue;
                        }
                        false => continue,
                    }
                }
                b'"' => drop(self.string()?),
                _ => self.word()?,
            }
            // A value has ended. The object or array around it may end here too.
            loop {
                if ends {
                    self.at += 1;
                    depth -= 1;
                }
                let Some(inside) = depth.checked_sub(1).and_then(|last| open.get(last)) else { return Ok(()) };
                let close = if *inside == b'{' { b'}' } else { b']' };
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if *inside == b'{' {
                            self.member_name()?;
                        }
                        break;
                    }
                    byte if byte == close => ends = true,
                    _ => return Err(Snag::Wrong(self.at, "neither a comma nor an end after a value")),
                }
            }
        }
    }

    /// Skips `"name":`.
    fn member_name(&mut self) -> Result<(), Snag> {
        self.string()?;
        self.expect(b':', "no colon after a member's name")
    }

    /// Skips a number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<(), Snag> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
        // The text may end in the middle of the word.
        let Some(len) = rest.iter().position(ends) else { return Err(Snag::Incomplete) };
        let word = &rest[..len];
        match matches!(word, b"true" | b"false" | b"null") || is_number(word) {
            true => {
                self.at += len;
                Ok(())
            }
            false => Err(Snag::Wrong(self.at, "not a JSON value")),
        }
    }
}

fn is_number(word: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut text = &text[whole..];
    if let Some(rest) = text.strip_prefix(b".") {
        let n = digits(rest);
        if n == 0 {
            return false;
        }
        text = &rest[n..];
    }
    if let Some(rest) = text.strip_prefix(b"e").or(text.strip_prefix(b"E")) {
        let rest = rest.strip_prefix(b"+").or(rest.strip_prefix(b"-")).unwrap_or(rest);
        text = &rest[digits(rest)..];
        if rest.is_empty() || !text.is_empty() {
            return false;
        }
    } else if text.is_empty() && word.len() == word.iter().filter(|b| b.is_ascii_digit() || **b == b'-').count() {
        // jansson stores integers in 64 bits and refuses larger ones ...
        return std::str::from_utf8(word).is_ok_and(|word| word.parse::<i64>().is_ok());
    }
    // ... and stores other numbers in doubles.
    text.is_empty() && std::str::from_utf8(word).is_ok_and(|word| word.parse::<f64>().is_ok_and(f64::is_finite))
}

fn hexadecimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, digit| n << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}

/// Appends the decoded text of a string. `raw` is a string that [`Scan::string`] has read, without its quotes.
pub fn decode(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied().unwrap_or_default();
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let unit = |text: &[u8]| text.get(..4).map(hexadecimal);
                let mut code = unit(rest).unwrap_or_default();
                rest = rest.get(4..).unwrap_or_default();
                if (0xd800..0xdc00).contains(&code) {
                    let low = rest.get(2..).and_then(unit).unwrap_or_default();
                    rest = rest.get(6..).unwrap_or_default();
                    code = 0x10000 + ((code - 0xd800) << 10) + (low & 0x3ff);
                }
                let mut utf8 = [0; 4];
                // The scanner has refused half surrogate pairs, so the code is a whole code point.
                let text = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(text.encode_utf8(&mut utf8).as_bytes());
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

/// Returns true if no field of a text line needs an escape in JSON: printable ASCII and TABs, no `"` and no `\`.
pub fn is_plain(line: &[u8]) -> bool {
    // Has no early exit, so that the compiler can test 16 bytes at a time.
    line.iter()
        .fold(true, |plain, byte| plain & (matches!(byte, b' '..=b'~' | b'\t') & (*byte != b'"') & (*byte != b'\\')))
}

/// Appends a string in quotes, without escapes. It must need none ([`is_plain`]).
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends a string in quotes, escaped as jansson does: `"`, `\` and control characters, but not `/` and DEL
/// (`facts/json.md`). The text must be UTF-8 ([`why_not_utf8`]).
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    // Most strings need only their quotes.
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| CLASSES[usize::from(*byte)] != Class::Plain) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Returns the reason why JSON cannot hold this text, if there is one. jansson writes nothing for such a text, and
/// Cyrus does not notice.
pub fn why_not_utf8(text: &[u8]) -> Option<String> {
    match std::str::from_utf8(text) {
        Ok(_) => None,
        Err(e) => {
            let byte = text.get(e.valid_up_to()).copied().unwrap_or_default();
            Some(format!("byte \\x{byte:02x} in {} is not UTF-8, but JSON must be", Name(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<(Value, usize), Snag> {
        let mut scan = Scan::new(text.as_bytes(), 0);
        scan.value().map(|value| (value, scan.at))
    }

    #[test]
    fn values_end_where_they_end() {
        for text in [
            r#""a""#,
            r#""""#,
            r#""a\"b\\""#,
            "-9223372036854775808",
            "1e99",
            r#"{}"#,
            r#"[]"#,
            r#"{"a": [1, -2.5e+3, {"b": null}], "c": {"d": [[], {}]}}"#,
            r#" [true , false]"#,
        ] {
            let whole = format!("{text},");
            assert_eq!(value(&whole).map(|(_, end)| end), Ok(text.len()), "{text}");
            for cut in 0..text.len() {
                assert_eq!(value(&text[..cut]), Err(Snag::Incomplete), "{text} cut at {cut}");
            }
        }
        for text in [
            "nul ",
            "99999999999999999999",
            "-9223372036854775809",
            "1e999",
            "01 ",
            "1. ",
            "-",
            "[1 2]",
            "{1:2}",
            "{\"a\" 1}",
            "[,]",
            "[1,]",
            "{,}",
            "\"\t\"",
            "'a'",
            "]",
            "\"\\x\"",
        ] {
            assert!(matches!(value(&format!("{text},")), Err(Snag::Wrong(..))), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(value(&deep), Err(Snag::Wrong(DEPTH, "values nested too deep")));
    }

    #[test]
    fn plain_text_is_quoted_as_it_is_encoded() {
        for byte in 0..=255 {
            let line = [b"a\tb".as_slice(), &[byte], b"c"].concat();
            let (mut quoted, mut encoded) = (Vec::new(), Vec::new());
            quote(&line[3..], &mut quoted);
            encode(&line[3..], &mut encoded);
            // A TAB ends a field and is never inside one. DEL and bytes above it are not plain, and are not escaped.
            assert_eq!(is_plain(&line), (b' '..=b'~').contains(&byte) && quoted == encoded || byte == b'\t', "{byte}");
        }
    }

    #[test]
    fn strings_there_and_back() {
        for (raw, text) in [
            (r"plain", "plain"),
            (r#"\" \\ \/ \b\f\n\r\t"#, "\" \\ / \u{8}\u{c}\n\r\t"),
            (r"\u00e9 \u001E \ud83d\ude00 \u2028", "\u{e9} \u{1e} \u{1f600} \u{2028}"),
        ] {
            let quoted = format!("\"{raw}\"");
            assert_eq!(value(&quoted).map(|(_, end)| end), Ok(quoted.len()));
            let mut out = Vec::new();
            decode(raw.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        encode("a\"\\/\u{8}\u{c}\n\r\t\u{1e}\u{7f}\u{e9}".as_bytes(), &mut out);
        assert_eq!(out, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u001E\u{7f}\u{e9}\"".as_bytes());
        for half in [r"\ud800x", r"\udc00", r"\ud800A", r"\u0000", r"\u12g4", r"\ud800\n"] {
            assert!(matches!(value(&format!("\"{half}\"")), Err(Snag::Wrong(..))), "{half}");
        }
        assert!(why_not_utf8(b"zo\xe9").is_some_and(|why| why.contains("\\xe9")));
    }
}
