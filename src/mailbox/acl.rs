//! Rights and identifiers, read exactly as servers read them.
//!
//! An ACL is `identifier TAB rights TAB` for each pair. RFC 2086 had the rights `c` (create) and `d` (delete); RFC 4314
//! split them into k, x, t and e. Every release since 2.3.1 still reads `c` and `d`, as macros. Their members depend on
//! the release and on `deleteright` of imapd.conf (`lib/acl.c`, `lib/acl_afs.c`; `facts/acl.md` 0 to 3).

use crate::release::Era;

/// Every right, in the order in which every release since 2.5 prints them, without the macros `c` and `d`.
pub const CANONICAL: &[u8; 22] = b"lrswipkxtean0123456789";

/// A set of rights, macros resolved: one bit for each letter of the canonical order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u32);

const fn bit(letter: u8) -> u32 {
    let mut i = 0;
    while i < CANONICAL.len() {
        if CANONICAL[i] == letter {
            return 1 << i;
        }
        i += 1;
    }
    0
}

const fn letter_bits() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = bit(i as u8);
        i += 1;
    }
    table[b'c' as usize] = C;
    table[b'd' as usize] = D;
    table
}

/// Bits of the macros. They never leave this module.
const C: u32 = 1 << 30;
const D: u32 = 1 << 31;
const K: u32 = bit(b'k');
const X: u32 = bit(b'x');
const T: u32 = bit(b't');
const E: u32 = bit(b'e');
const N: u32 = bit(b'n');

/// Rights for actions that earlier releases do not have: no user loses anything where they are ignored. `n` is the
/// right to annotate messages. No right of RFC 4314 is one of them.
const NOVEL: u32 = N;

/// Returns the letters that servers of this era ignore.
const fn inert(era: Era) -> u32 {
    match era {
        Era::Rfc2086 => K | X | T | E | N,
        Era::Additive | Era::Macro => N,
        Era::Annotate => 0,
    }
}

static LETTERS: [u32; 256] = letter_bits();

/// The settings of one server that decide how it reads rights: its era and its `deleteright`.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    era: Era,
    deleteright: u8,
}

/// The meaning of a rights string on one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The rights that the string grants, without macros.
    pub rights: Rights,
    /// True if the meaning depends on the server: the string has a macro (`c`, `d`), or the letter of `deleteright`
    /// adds the right `x`.
    pub has_macro: bool,
    /// The letters in it that this server ignores and a later one reads.
    pub inert: Rights,
    /// True if it has a letter that no release knows.
    pub has_unknown: bool,
}

impl Reader {
    /// Returns a reader that knows every letter, for strings without macros.
    pub fn of_explicit() -> Reader {
        Reader::new(Era::LATEST, b'c')
    }

    /// Returns a reader for servers of `era` with this `deleteright` (a letter; the default of every release is `c`).
    pub fn new(era: Era, deleteright: u8) -> Reader {
        Reader { era, deleteright }
    }

    /// Reads one rights string. Order and repetition do not matter. Unknown letters grant nothing.
    pub fn read(&self, rights: &[u8]) -> Reading {
        let mut found = 0;
        let mut has_unknown = false;
        for &letter in rights {
            let bits = LETTERS[usize::from(letter)];
            has_unknown |= bits == 0;
            found |= bits;
        }
        let inert = inert(self.era);
        let effective = found & !inert;
        let deleteright = LETTERS[usize::from(self.deleteright)] & !inert;
        let mut granted = effective & !(C | D);
        let (mut create, mut delete) = (K, T | E);
        let mut implied = false;
        match deleteright {
            C => create |= X,
            D => delete |= X,
            // "x outright for any other letter": lib/acl.c of 2.3.19, lines 93 to 99.
            other if effective & other != 0 => {
                implied = effective & X == 0;
                granted |= X;
            }
            _ => {}
        }
        let always = self.era.macros_always_add();
        let before = granted;
        if effective & C != 0 && (always || before & create == 0) {
            granted |= create;
        }
        if effective & D != 0 && (always || before & delete == 0) {
            granted |= delete;
        }
        Reading {
            rights: Rights(granted),
            has_macro: found & (C | D) != 0 || implied,
            inert: Rights(found & inert),
            has_unknown,
        }
    }
}

impl Rights {
    /// No rights.
    pub const NONE: Rights = Rights(0);

    /// Appends the letters in canonical order, without macros.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut rest = self.0;
        while rest != 0 {
            // The macros are resolved, so every bit has a letter.
            out.extend(CANONICAL.get(rest.trailing_zeros() as usize));
            rest &= rest - 1;
        }
    }

    /// Returns the rights that are in either set.
    pub fn union(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// Returns the rights that `other` lacks.
    pub fn without(self, other: Rights) -> Rights {
        Rights(self.0 & !other.0)
    }

    /// Returns true if this set has every right of `other`.
    pub fn includes(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the rights for actions that earlier releases do not have.
    pub fn novel(self) -> Rights {
        Rights(self.0 & NOVEL)
    }
}

/// Parses rights from the command line. Accepts only letters that some release knows, and no macro, whose meaning would
/// depend on the server.
pub fn typed_rights(text: &[u8]) -> Option<Rights> {
    let mut found = 0;
    for &letter in text {
        match LETTERS[usize::from(letter)] {
            0 | C | D => return None,
            bits => found |= bits,
        }
    }
    (found != 0).then_some(Rights(found))
}

/// Returns true if some server could have written this rights string.
pub fn are_letters(rights: &[u8]) -> bool {
    !rights.is_empty() && rights.iter().all(|letter| LETTERS[usize::from(*letter)] != 0)
}

/// Returns true if an ACL consists of pairs, and a TAB ends each identifier and each rights string. A last part without
/// its TAB is completed by 2.5 and later when they load it, and ignored by 2.2 to 2.4 (`facts/acl.md` 4, "Trailing
/// tab").
pub fn is_closed(acl: &[u8]) -> bool {
    match acl.last() {
        None => true,
        Some(b'\t') => !acl.iter().fold(false, |odd, b| odd ^ (*b == b'\t')),
        Some(_) => false,
    }
}

/// One identifier with its rights, and their offset in the ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The identifier; a negative one begins with `-`.
    pub identifier: &'a [u8],
    /// The rights string as the ACL has it.
    pub rights: &'a [u8],
    /// The offset of the identifier in the ACL.
    pub start: usize,
}

impl Pair<'_> {
    /// Returns the offset of the rights in the ACL.
    pub fn rights_start(&self) -> usize {
        self.start + self.identifier.len() + 1
    }

    /// Returns the offset of the next pair.
    pub fn end(&self) -> usize {
        self.rights_start() + self.rights.len() + 1
    }
}

/// Returns the closed pairs of an ACL, as servers read it: a pair without both TABs ends it.
pub fn pairs(acl: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut start = 0;
    // Identifiers and rights are short: for them a plain loop is faster than memchr.
    let part = |rest: &[u8]| rest.iter().position(|b| *b == b'\t');
    std::iter::from_fn(move || {
        let rest = &acl[start..];
        let (identifier, rest) = rest.split_at(part(rest)?);
        let rights = &rest[1..];
        let rights = &rights[..part(rights)?];
        let pair = Pair { identifier, rights, start };
        start = pair.end();
        Some(pair)
    })
}

/// Returns an identifier that occurs twice in an ACL.
pub fn twice(acl: &[u8]) -> Option<&[u8]> {
    let identifiers = || pairs(acl).map(|pair| pair.identifier);
    // Most ACLs have one to three identifiers.
    let mut few: [&[u8]; 16] = [b""; 16];
    let mut count = 0;
    for identifier in identifiers() {
        if few[..count].contains(&identifier) {
            return Some(identifier);
        }
        let Some(place) = few.get_mut(count) else { break };
        *place = identifier;
        count += 1;
    }
    if count < few.len() {
        return None;
    }
    let mut sorted: Vec<_> = identifiers().collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|two| two[0] == two[1]).map(|two| two[0])
}

/// A cache of the last rights strings that need no message, each with its new string, which is empty if the old one
/// stays.
#[derive(Debug, Default)]
pub struct Known {
    strings: [(Vec<u8>, Vec<u8>); 8],
    /// The index of the pair that is replaced next.
    oldest: usize,
}

impl Known {
    /// Returns the new string for `rights`, if the cache has them.
    pub fn get(&self, rights: &[u8]) -> Option<&[u8]> {
        // An empty string marks an unused pair.
        let known = self.strings.iter().find(|(old, _)| old == rights && !rights.is_empty());
        known.map(|(_, new)| new.as_slice())
    }

    /// Stores that `rights` become `new`.
    pub fn put(&mut self, rights: &[u8], new: &[u8]) {
        // No server writes strings of more than 32 letters. The limit keeps memory constant for any list.
        let Some((old, becomes)) = self.strings.get_mut(self.oldest).filter(|_| rights.len() <= 32) else { return };
        old.clear();
        old.extend_from_slice(rights);
        becomes.clear();
        becomes.extend_from_slice(new);
        self.oldest = (self.oldest + 1) % self.strings.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(era: Era, deleteright: u8, rights: &str) -> String {
        let mut out = Vec::new();
        Reader::new(era, deleteright).read(rights.as_bytes()).rights.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn rfc2086_servers_know_no_letters_of_rfc4314() {
        assert_eq!(explicit(Era::Rfc2086, b'c', "lrswipcda"), "lrswipkxtea");
        assert_eq!(explicit(Era::Rfc2086, b'c', "lrskxten"), "lrs");
        // Measured on 2.2.13 (`facts/migration.md` a): the old server's deleteright decides who may delete.
        assert_eq!(explicit(Era::Rfc2086, b'd', "c"), "k");
        assert_eq!(explicit(Era::Rfc2086, b'd', "d"), "xte");
        assert_eq!(explicit(Era::Rfc2086, b'a', "a"), "xa");
        assert_eq!(explicit(Era::Rfc2086, b'x', "cda"), "ktea");
    }

    #[test]
    fn releases_2_3_1_to_2_3_7_always_add_the_members() {
        assert_eq!(explicit(Era::Additive, b'c', "lkc"), "lkx");
        assert_eq!(explicit(Era::Additive, b'c', "lxd"), "lxte");
        assert_eq!(explicit(Era::Additive, b'd', "lxd"), "lxte");
        assert_eq!(explicit(Era::Additive, b'd', "led"), "lxte");
        assert_eq!(explicit(Era::Macro, b'd', "led"), "le");
    }

    #[test]
    fn n_is_inert_before_2_5() {
        assert_eq!(explicit(Era::Macro, b'c', "lrsn"), "lrs");
        assert_eq!(explicit(Era::Annotate, b'c', "lrsn"), "lrsn");
        assert!(Reader::new(Era::Macro, b'c').read(b"n").inert != Rights::NONE);
    }

    #[test]
    fn pairs_end_where_the_servers_stop() {
        let acl = b"alice\tlrs\t\tp\tbob\tlr";
        let found: Vec<_> = pairs(acl).map(|p| (p.identifier, p.rights, p.start)).collect();
        assert_eq!(found, [(&b"alice"[..], &b"lrs"[..], 0), (b"", b"p", 10)]);
        assert!(!is_closed(acl));
        assert!(is_closed(b""));
        assert!(is_closed(b"a\tlrs\t"));
        assert!(!is_closed(b"a\tlrs\tb\t"));
        assert!(!is_closed(b"\t"));
    }
}
