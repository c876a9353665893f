//! Rights and identifiers, read exactly as the servers themselves read them.
//!
//! An ACL is `identifier TAB rights TAB` for each pair. RFC 2086 had the rights `c` (create) and `d` (delete); RFC 4314
//! split them into k, x, t and e. Every release since 2.3.1 still reads `c` and `d`, as macros, and what they stand for
//! depends on the release and on `deleteright` of imapd.conf (`lib/acl.c`, `lib/acl_afs.c`; `facts/acl.md` 0 to 3).

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

/// Bits for the macros, which never leave this module.
const C: u32 = 1 << 30;
const D: u32 = 1 << 31;
const K: u32 = bit(b'k');
const X: u32 = bit(b'x');
const T: u32 = bit(b't');
const E: u32 = bit(b'e');
const N: u32 = bit(b'n');

/// Rights to do what earlier releases cannot do at all, so that nobody loses anything where they are ignored: `n`
/// annotates messages. RFC 4314 has none of them.
const NOVEL: u32 = N;

/// The letters that servers of this era ignore.
const fn inert(era: Era) -> u32 {
    match era {
        Era::Rfc2086 => K | X | T | E | N,
        Era::Additive | Era::Macro => N,
        Era::Annotate => 0,
    }
}

static LETTERS: [u32; 256] = letter_bits();

/// How one server reads rights: its era and its `deleteright`.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    era: Era,
    deleteright: u8,
}

/// A rights string as a server reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the string grants, as explicit rights.
    pub rights: Rights,
    /// Whether something in it stands for more than itself, so that its meaning hangs on the reader: a macro, or the
    /// letter of `deleteright`.
    pub has_macro: bool,
    /// The letters in it that this server ignores and a later one does not.
    pub inert: Rights,
    /// Whether a letter stands in it that no release knows.
    pub has_unknown: bool,
}

impl Reader {
    /// A server that knows every letter, to read what has no macros in it.
    pub fn of_explicit() -> Reader {
        Reader::new(Era::LATEST, b'c')
    }

    /// A server of `era` with this `deleteright` (a letter; every release's default is `c`).
    pub fn new(era: Era, deleteright: u8) -> Reader {
        Reader { era, deleteright }
    }

    /// Reads one rights string. Order and repetition do not matter, unknown letters grant nothing.
    pub fn read(&self, rights: &[u8]) -> Reading {
        let mut found = 0;
        let mut has_unknown = false;
        for &letter in rights {
            let bits = LETTERS[usize::from(letter)];
            has_unknown |= bits == 0;
            found |= bits;
        }
        let inert = inert(self.era);
        let alive = found & !inert;
        let deleteright = LETTERS[usize::from(self.deleteright)] & !inert;
        let mut granted = alive & !(C | D);
        let (mut create, mut delete) = (K, T | E);
        let mut implied = false;
        match deleteright {
            C => create |= X,
            D => delete |= X,
            // "x outright for any other letter": lib/acl.c of 2.3.19, lines 93 to 99.
            other if alive & other != 0 => {
                implied = alive & X == 0;
                granted |= X;
            }
            _ => {}
        }
        let always = self.era.macros_always_add();
        let before = granted;
        if alive & C != 0 && (always || before & create == 0) {
            granted |= create;
        }
        if alive & D != 0 && (always || before & delete == 0) {
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
    /// None at all.
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

    /// The rights of either.
    pub fn union(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// The rights of this that `other` lacks.
    pub fn without(self, other: Rights) -> Rights {
        Rights(self.0 & !other.0)
    }

    /// Whether every right of `other` is here.
    pub fn includes(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of them to do what earlier releases cannot do at all.
    pub fn novel(self) -> Rights {
        Rights(self.0 & NOVEL)
    }
}

/// Rights that a user typed: only letters that some release knows, and no macro, whose meaning would hang on the
/// server.
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

/// Whether this is a rights string that some server could have written.
pub fn are_letters(rights: &[u8]) -> bool {
    !rights.is_empty() && rights.iter().all(|letter| LETTERS[usize::from(*letter)] != 0)
}

/// Whether an ACL consists of pairs, each part closed by a TAB. What is not closed counts on 2.5 and later, which mend
/// it when they load it, and is ignored by 2.2 to 2.4 (`facts/acl.md` 4, "Trailing tab").
pub fn is_closed(acl: &[u8]) -> bool {
    match acl.last() {
        None => true,
        Some(b'\t') => !acl.iter().fold(false, |odd, b| odd ^ (*b == b'\t')),
        Some(_) => false,
    }
}

/// One identifier with its rights, and where in the ACL they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The identifier; a negative one begins with `-`.
    pub identifier: &'a [u8],
    /// The rights string as it stands.
    pub rights: &'a [u8],
    /// Where the identifier begins in the ACL.
    pub start: usize,
}

impl Pair<'_> {
    /// Where the rights begin in the ACL.
    pub fn rights_start(&self) -> usize {
        self.start + self.identifier.len() + 1
    }

    /// Where the next pair begins.
    pub fn end(&self) -> usize {
        self.rights_start() + self.rights.len() + 1
    }
}

/// The closed pairs of an ACL, as the servers walk it: a part without both TABs ends the walk.
pub fn pairs(acl: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut start = 0;
    // Both are a few bytes: a search that sets itself up costs more than the look.
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

/// An identifier that stands twice in an ACL.
pub fn twice(acl: &[u8]) -> Option<&[u8]> {
    let identifiers = || pairs(acl).map(|pair| pair.identifier);
    // Most ACLs have one to three.
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

/// The last few rights strings that nothing is to be said of, and what becomes of each: nothing, if it stays.
#[derive(Debug, Default)]
pub struct Known {
    strings: [(Vec<u8>, Vec<u8>); 8],
    /// The one that is forgotten next.
    oldest: usize,
}

impl Known {
    /// What becomes of `rights`, if they are among the last that were put.
    pub fn get(&self, rights: &[u8]) -> Option<&[u8]> {
        // No string at all is not remembered, and stands where none was put yet.
        let known = self.strings.iter().find(|(old, _)| old == rights && !rights.is_empty());
        known.map(|(_, new)| new.as_slice())
    }

    /// Remembers that `rights` become `new`.
    pub fn put(&mut self, rights: &[u8], new: &[u8]) {
        // No server writes longer ones, and memory is not to hang on what is in the list. The place is always there.
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
        // Measured on 2.2.13 (`facts/migration.md` a): the old server's deleteright says who may delete.
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
