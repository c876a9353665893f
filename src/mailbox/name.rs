//! Mailbox names: their parts, and what a server with its imapd.conf makes of them.
//!
//! A name is taken apart here and nowhere else. [`MailboxName`] is what the bytes say; [`Namespace`] is what one server
//! reads in them, by its release and the options `virtdomains`, `defaultdomain` and `deletedprefix`.

use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::{Release, v};

/// Whether a uniqueid can name a directory and nothing else: Cyrus copies it into paths as it stands.
pub fn can_be_uniqueid(id: &[u8]) -> bool {
    id.len() >= 2 && id.iter().all(|b| b.is_ascii_graphic() && *b != b'/') && id[0] != b'.' && id[1] != b'.'
}

/// An internal mailbox name, `user.bob.Sent` or `example.com!user.bob`: components with dots between them, after a domain
/// and its `!` if there is one. A dot in a component is written `^`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxName<'a> {
    bytes: &'a [u8],
    /// Where its first component begins.
    local: usize,
}

impl<'a> MailboxName<'a> {
    /// Takes a name apart at its first `!`.
    pub fn new(bytes: &'a [u8]) -> MailboxName<'a> {
        MailboxName { bytes, local: memchr::memchr(b'!', bytes).map_or(0, |at| at + 1) }
    }

    /// The whole name.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The domain, without its `!`.
    pub fn domain(self) -> Option<&'a [u8]> {
        self.domain_prefix().split_last().map(|(_, domain)| domain)
    }

    /// The domain with its `!`; empty if there is none.
    pub fn domain_prefix(self) -> &'a [u8] {
        &self.bytes[..self.local]
    }

    /// The name without its domain.
    pub fn local(self) -> &'a [u8] {
        &self.bytes[self.local..]
    }

    /// The components.
    pub fn components(self) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone {
        self.local().split(|b| *b == b'.')
    }

    /// The names of the mailboxes that it is below, the topmost first, and its own name last.
    pub fn ancestors(self) -> impl Iterator<Item = &'a [u8]> {
        let dots = memchr::memchr_iter(b'.', self.local()).map(move |at| self.local + at);
        dots.chain([self.bytes.len()]).map(move |end| &self.bytes[..end])
    }

    /// The user to whom the mailbox belongs.
    pub fn owner(self) -> Option<Owner<'a>> {
        let mut components = self.components();
        match (components.next(), components.next()) {
            (Some(USER), Some(user)) => Some(Owner { user, domain: self.domain() }),
            _ => None,
        }
    }

    /// The INBOX of the user to whom the mailbox belongs.
    pub fn inbox(self) -> Option<&'a [u8]> {
        self.owner().map(|owner| &self.bytes[..self.local + USER.len() + 1 + owner.user.len()])
    }

    /// Whether a component is empty: two dots together, or one at an end.
    pub fn has_empty_component(self) -> bool {
        let local = self.local();
        // To the end, whatever is found: so it is many bytes at a time.
        let between = local.windows(2).fold(false, |found, two| found | ((two[0] == b'.') & (two[1] == b'.')));
        between || matches!((local.first(), local.last()), (None | Some(b'.'), _) | (_, Some(b'.')))
    }

    /// Whether the path of the name is below its root, and its own as far as the name alone shows. Dots become slashes in
    /// every release, so a name cannot climb; its domain is copied as it is (`..!user.x`, `../../etc!user.x`), and
    /// nothing in Cyrus stops it.
    pub fn stays_inside(self) -> Result<(), Refusal> {
        if self.bytes.iter().fold(false, |found, b| found | matches!(b, b'/' | 0)) {
            let what = "no server makes one: its directory is another mailbox's, or outside the partition";
            return Err(Refusal::with("name with a slash", what));
        }
        if matches!(self.domain(), Some(b"" | b"." | b"..")) {
            return Err(Refusal::with("domain that is no directory", "it would lead out of the partition"));
        }
        if self.has_empty_component() {
            return Err(Refusal::with("name with an empty component", "its directory is another mailbox's"));
        }
        Ok(())
    }
}

/// The first component of every user's mailbox.
const USER: &[u8] = b"user";

/// The user to whom a mailbox belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The userid as the name has it, without its domain and with `^` for each dot.
    pub user: &'a [u8],
    /// The domain of the name.
    pub domain: Option<&'a [u8]>,
}

impl Owner<'_> {
    /// Whether this is the owner's identifier in an ACL. Users of the default domain are written without one.
    pub fn is(self, identifier: &[u8]) -> bool {
        let same = |one: &[u8], other: &[u8]| {
            let plain = |b: u8| if b == b'^' { b'.' } else { b };
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| plain(*a) == plain(*b))
        };
        same(identifier, self.user)
            || match memchr::memchr(b'@', identifier) {
                Some(at) => {
                    same(&identifier[..at], self.user)
                        && self.domain.is_none_or(|domain| identifier[at + 1..] == *domain)
                }
                None => false,
            }
    }

    /// The length of the userid with its domain, in bytes.
    pub fn userid_len(self) -> usize {
        self.user.len() + self.domain.map_or(0, |domain| "@".len() + domain.len())
    }
}

/// The options of an imapd.conf that decide what a name means, as they are set there.
#[derive(Clone, Debug, Default)]
pub struct NameOptions {
    /// `virtdomains`: `userid` and `on` are one here.
    pub virtdomains: bool,
    /// `defaultdomain`.
    pub defaultdomain: Option<Vec<u8>>,
    /// `deletedprefix`, from 2.3.10 on.
    pub deletedprefix: Option<Vec<u8>>,
    /// Whether `username_tolower` is off, so that userids keep their case.
    pub keeps_case: bool,
}

/// What one server reads in the names of its mailboxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    release: Option<Release>,
    /// Whether an imapd.conf was given. Without one these are the defaults of the release.
    given: bool,
    virtdomains: bool,
    defaultdomain: Option<Vec<u8>>,
    deletedprefix: Vec<u8>,
    keeps_case: bool,
}

impl Namespace {
    /// The namespace of a server of `release` with these options, or with the defaults if no imapd.conf was given
    /// (`lib/imapoptions`).
    pub fn new(release: Option<&Release>, options: Option<NameOptions>) -> Namespace {
        let given = options.is_some();
        let options = options.unwrap_or_default();
        Namespace {
            release: release.cloned(),
            given,
            virtdomains: options.virtdomains,
            defaultdomain: options.defaultdomain,
            deletedprefix: options.deletedprefix.unwrap_or_else(|| b"DELETED".to_vec()),
            keeps_case: options.keeps_case,
        }
    }

    /// Whether an imapd.conf was given.
    pub fn is_given(&self) -> bool {
        self.given
    }

    /// The release of the server, if it is known.
    pub fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// Whether both read the same in the names of one list.
    pub fn reads_as(&self, other: &Namespace) -> bool {
        let options = |names: &Namespace| (names.virtdomains, names.defaultdomain.clone(), names.deletedprefix.clone());
        self.takes_apart() == other.takes_apart() && options(self) == options(other)
    }

    /// Whether deleted mailboxes are below one prefix for both.
    fn shares_prefix(&self, other: &Namespace) -> bool {
        self.deletedprefix == other.deletedprefix
    }

    /// Whether names may have domains (`virtdomains`), as far as 2.2 to 2.5 ask it: 3.0 and later split them off in any
    /// case, and up to 2.1 there were none.
    pub fn virtdomains(&self) -> bool {
        self.virtdomains
    }

    /// `deletedprefix`: the first component of deleted mailboxes.
    pub fn deletedprefix(&self) -> &[u8] {
        &self.deletedprefix
    }

    /// Whether a userid of upper-case letters can log in (`username_tolower`).
    pub fn keeps_case(&self) -> bool {
        self.keeps_case
    }

    /// The domain that 3.0 and later take off a name.
    pub fn defaultdomain(&self) -> &[u8] {
        self.defaultdomain.as_deref().unwrap_or(b"internal")
    }

    /// Whether 3.0 and later are the ones who read: they take a name apart and put it together again.
    fn takes_apart(&self) -> bool {
        self.release.as_ref().is_some_and(|release| release.since(v(3, 0, 0)))
    }

    /// The name without its domain and `deletedprefix`, if it is below that.
    pub fn undeleted<'a>(&self, name: MailboxName<'a>) -> Option<MailboxName<'a>> {
        let bytes = name.local().strip_prefix(self.deletedprefix.as_slice())?.strip_prefix(b".")?;
        Some(MailboxName { bytes, local: 0 })
    }

    /// Whether the name is below `deletedprefix`.
    pub fn is_deleted(&self, name: MailboxName<'_>) -> bool {
        self.undeleted(name).is_some()
    }

    /// The user to whom the mailbox belongs, or belonged before it was deleted.
    pub fn owner<'a>(&self, name: MailboxName<'a>) -> Option<Owner<'a>> {
        match self.undeleted(name) {
            Some(rest) => rest.owner().map(|owner| Owner { domain: name.domain(), ..owner }),
            None => name.owner(),
        }
    }

    /// What 3.0 and later read in a name (`mbname_from_intname` of `imap/mboxname.c`, the same from 3.0.0-beta2 to
    /// 3.13.7; `facts/layout.md` 1b): the default domain and empty components vanish, and of three and more components
    /// below `deletedprefix` the last is a time of deletion, whatever it is.
    pub fn read<'a>(&'a self, name: MailboxName<'a>) -> Parts<'a> {
        let components = || name.components().filter(|part| !part.is_empty());
        let number = components().count();
        let stamped = number > 2 && components().next().is_some_and(|first| self.is_prefix(first));
        let stamp = if stamped { components().next_back().map_or(0, stamp) } else { 0 };
        Parts {
            domain: name.domain().filter(|domain| *domain != self.defaultdomain()),
            // One of nothing is not put back, nor is the prefix.
            deleted: (stamp != 0).then_some((&self.deletedprefix, stamp as u32)),
            name,
            skipped: usize::from(stamped),
            kept: number - if stamped { 2 } else { 0 },
        }
    }

    /// Whether 3.0 and later take a first component for `deletedprefix`: they compare it with `^` as a dot, and the option
    /// as it is.
    fn is_prefix(&self, first: &[u8]) -> bool {
        let plain = |b: &u8| if *b == b'^' { b'.' } else { *b };
        first.len() == self.deletedprefix.len() && first.iter().map(plain).eq(self.deletedprefix.iter().copied())
    }

    /// Whether the server has a mailbox of this very name, which clients can open.
    pub fn keeps(&self, mailbox: &[u8]) -> Result<(), Refusal> {
        let name = MailboxName::new(mailbox);
        match self.reading(name) {
            Reading::Same => Ok(()),
            Reading::Another { name: other, why } => {
                let kind = match why {
                    Why::Stamp => "deleted name without a stamp",
                    Why::Domain | Why::Empty => "name that the target takes for another",
                };
                Err(Refusal::with(
                    kind,
                    format_args!("{} makes {} of it{}", self.who(), Name(&other), self.because(why)),
                ))
            }
            Reading::None(why) => {
                Err(Refusal::with("name that the target cannot open", format_args!("{} {why}", self.who())))
            }
        }
    }

    fn who(&self) -> String {
        self.release.as_ref().map_or_else(|| "the server".to_string(), Release::to_string)
    }

    fn because(&self, why: Why) -> String {
        let option = match why {
            Why::Domain => format!("its defaultdomain is {}", Name(self.defaultdomain())),
            Why::Stamp => format!("its deletedprefix is {}", Name(&self.deletedprefix)),
            Why::Empty => return String::new(),
        };
        match self.given {
            true => format!(": {option}"),
            false => format!(": {option} by default; -C FILE if its imapd.conf says otherwise"),
        }
    }

    fn reading(&self, name: MailboxName<'_>) -> Reading {
        if !self.takes_apart() {
            return self.reading_of_strings(name);
        }
        let of_default = name.domain().is_some_and(|domain| domain == self.defaultdomain());
        let empty = name.has_empty_component();
        let mut components = name.components();
        let first = components.next().unwrap_or_default();
        let is_prefix = self.is_prefix(first);
        if of_default || empty || is_prefix {
            let mut other = Vec::new();
            self.read(name).write_name(&mut other);
            if other != name.bytes() {
                let why = match () {
                    () if of_default => Why::Domain,
                    () if empty => Why::Empty,
                    () => Why::Stamp,
                };
                return match MailboxName::new(&other).local() {
                    b"" => Reading::None("takes it for no mailbox"),
                    _ => Reading::Another { name: other, why },
                };
            }
        }
        // Clients say it in words of their own (`mbname_from_extname`), where a prefix or `user` alone is none, and a
        // stamp is one after a single component, too.
        if first.eq_ignore_ascii_case(INBOX) {
            return Reading::None("takes it for the INBOX of the user who asks");
        }
        let second = components.next();
        match (second, components.next(), components.next()) {
            (None, ..) if first == USER => Reading::None("has no mailbox of that name alone"),
            _ if !is_prefix => Reading::Same,
            (None, ..) => Reading::None("has no mailbox of that name alone, which is its deletedprefix"),
            (Some(last), None, _) if !is_stamp(last) => {
                let mut other = [name.domain_prefix(), &self.deletedprefix].concat();
                if stamp(last) == 0 {
                    return Reading::None("takes the last part for a time of deletion, and it is none");
                }
                write_stamp(b'.', stamp(last) as u32, &mut other);
                Reading::Another { name: other, why: Why::Stamp }
            }
            (Some(USER), Some(_), None) => Reading::None("takes it for a deleted user without a name"),
            _ => Reading::Same,
        }
    }

    /// 2.2 to 2.5 keep names as they are. Clients say a domain in another way, and the default domain not at all
    /// (`mboxname_tointernal`, case does not matter there).
    fn reading_of_strings(&self, name: MailboxName<'_>) -> Reading {
        let has_domains = self.release.as_ref().is_some_and(|release| release.since(v(2, 2, 0)));
        match (name.domain(), &self.defaultdomain) {
            (Some(_), _) if !has_domains || !self.given => Reading::Same,
            (Some(_), _) if !self.virtdomains => {
                Reading::None("takes the ! of a domain for a letter, and so it is no user's: its virtdomains is off")
            }
            (Some(domain), Some(default)) if domain.eq_ignore_ascii_case(default) => {
                Reading::Another { name: name.local().to_vec(), why: Why::Domain }
            }
            _ => Reading::Same,
        }
    }
}

/// The name that stands for the user's own mailbox.
const INBOX: &[u8] = b"INBOX";

/// What a server makes of a name.
enum Reading {
    /// A mailbox of this name.
    Same,
    /// Another mailbox.
    Another { name: Vec<u8>, why: Why },
    /// No mailbox that anybody can open.
    None(&'static str),
}

/// Why a name is taken for another.
#[derive(Clone, Copy)]
enum Why {
    Domain,
    Stamp,
    Empty,
}

/// A name as 3.0 and later take it apart.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The domain, unless it is the default one.
    pub domain: Option<&'a [u8]>,
    /// `deletedprefix` and the time of deletion, in seconds since 1970.
    deleted: Option<(&'a Vec<u8>, u32)>,
    name: MailboxName<'a>,
    skipped: usize,
    kept: usize,
}

impl<'a> Parts<'a> {
    /// Whether the mailbox is a deleted one.
    pub fn is_deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// The components that are put together again, with `deletedprefix` before those of a deleted mailbox.
    pub fn components(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        let own = self.name.components().filter(|part| !part.is_empty()).skip(self.skipped).take(self.kept);
        self.deleted.map(|(prefix, _)| prefix.as_slice()).into_iter().chain(own)
    }

    /// Writes the last component of a deleted mailbox, with `separator` before it.
    pub fn write_stamp(&self, separator: u8, out: &mut Vec<u8>) {
        if let Some((_, stamp)) = self.deleted {
            write_stamp(separator, stamp, out);
        }
    }

    /// Writes the name that they are (`mbname_intname`).
    pub fn write_name(&self, out: &mut Vec<u8>) {
        if let Some(domain) = self.domain {
            out.extend_from_slice(domain);
            out.push(b'!');
        }
        for (i, part) in self.components().enumerate() {
            if i > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(part);
        }
        self.write_stamp(b'.', out);
    }
}

fn write_stamp(separator: u8, stamp: u32, out: &mut Vec<u8>) {
    out.push(separator);
    out.extend_from_slice(format!("{stamp:X}").as_bytes());
}

/// Whether a component is a time of deletion as servers write it (`%X`): 1 to 8 upper-case digits without zeros before
/// them.
fn is_stamp(component: &[u8]) -> bool {
    (1..=8).contains(&component.len())
        && component[0] != b'0'
        && component.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}

/// C's `strtoul(text, NULL, 16)` of 64 bits.
fn stamp(text: &[u8]) -> u64 {
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | 9..=13)).count();
    let text = &text[blanks..];
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let digits = text.strip_prefix(b"0x").or(text.strip_prefix(b"0X")).unwrap_or(text);
    let mut digits = digits.iter().map_while(|b| char::from(*b).to_digit(16));
    let number = digits.try_fold(0_u64, |n, digit| n.checked_mul(16).map(|n| n + u64::from(digit)));
    match number {
        Some(number) if negative => number.wrapping_neg(),
        Some(number) => number,
        None => u64::MAX,
    }
}

/// The namespaces of the two servers of a migration.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// That of the server that the list comes from.
    pub source: Namespace,
    /// That of the server that will load it, if its release is known.
    pub target: Option<Namespace>,
}

impl Default for Namespaces {
    fn default() -> Namespaces {
        Namespaces::by_default(None, None)
    }
}

impl Namespaces {
    /// The defaults of the two releases, where no imapd.conf was given.
    pub fn by_default(from: Option<&Release>, to: Option<&Release>) -> Namespaces {
        Namespaces { source: Namespace::new(from, None), target: to.map(|to| Namespace::new(Some(to), None)) }
    }

    /// Whether the target keeps the mailbox under this name as what it is.
    pub fn keeps(&self, mailbox: &[u8]) -> Result<(), Refusal> {
        let Some(target) = &self.target else { return Ok(()) };
        target.keeps(mailbox)?;
        if !target.given || !self.source.given || target.shares_prefix(&self.source) {
            return Ok(());
        }
        let name = MailboxName::new(mailbox);
        let deletes = match target.takes_apart() {
            true => target.read(name).is_deleted(),
            false => target.is_deleted(name),
        };
        match deletes && !self.source.is_deleted(name) {
            true => Err(Refusal::with(
                "mailbox that the target takes for a deleted one",
                format_args!(
                    "cyr_expire of {} removes what is below {}, its deletedprefix: rename it on the old server",
                    target.who(),
                    Name(&target.deletedprefix)
                ),
            )),
            false => Ok(()),
        }
    }
}

/// Names of a list for which an imapd.conf matters that was not given: the first of each kind.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    domain: Option<Vec<u8>>,
    hierarchy: Option<Vec<u8>>,
    deleted: Option<Vec<u8>>,
    revived: Option<Vec<u8>>,
}

impl Doubts {
    /// Asks it of one name. `sorts_out` says whether deleted mailboxes are counted or left out.
    pub fn ask(&mut self, mailbox: &[u8], names: &Namespaces, sorts_out: bool) {
        let asks_target = names.target.as_ref().filter(|target| !target.given);
        let asks_source = sorts_out && !names.source.given;
        let compares = names.target.as_ref().filter(|target| target.given && !target.shares_prefix(&names.source));
        if asks_target.is_none() && !asks_source && compares.is_none() {
            return;
        }
        let name = MailboxName::new(mailbox);
        let keep = |first: &mut Option<Vec<u8>>, it_is: bool| {
            if it_is && first.is_none() {
                *first = Some(mailbox.to_vec());
            }
        };
        let has_domains = |target: &Namespace| target.release.as_ref().is_some_and(|to| to.since(v(2, 2, 0)));
        keep(&mut self.domain, asks_target.is_some_and(has_domains) && name.domain().is_some());
        let deleted = names.source.is_deleted(name);
        keep(&mut self.deleted, asks_source && deleted);
        if asks_source || asks_target.is_some_and(Namespace::takes_apart) {
            let mut components = name.components();
            let like =
                components.next() != Some(USER) && components.next() == Some(USER) && components.next().is_some();
            keep(&mut self.hierarchy, like && !deleted);
        }
        if let Some(target) = compares.filter(|_| names.source.given) {
            keep(&mut self.revived, deleted && !target.is_deleted(name));
        }
    }

    /// What is to be said of the list, a sentence each.
    pub fn remarks(&self, names: &Namespaces) -> Vec<String> {
        let to = names.target.as_ref().map(Namespace::who).unwrap_or_default();
        let mut remarks = Vec::new();
        if let Some(name) = &self.domain {
            remarks.push(format!(
                "names with a domain, such as {}: defaultdomain and virtdomains of the imapd.conf of {to} decide which \
                 mailboxes they are: -C FILE",
                Name(name)
            ));
        }
        if let Some(name) = &self.hierarchy {
            let option = if names.source.given {
                "-C FILE"
            } else {
                "--spool-conf FILE for the old server, -C FILE for the new"
            };
            remarks.push(format!(
                "a hierarchy that looks like one of deleted mailboxes, {}: deletedprefix of imapd.conf decides; by default \
                 it is {}: {option}",
                Name(name),
                Name(&names.source.deletedprefix)
            ));
        }
        if let Some(name) = &self.deleted {
            remarks.push(format!(
                "names below {}, such as {}, count as deleted mailboxes, because deletedprefix is that by default: \
                 --spool-conf FILE if the imapd.conf of the old server says otherwise",
                Name(&names.source.deletedprefix),
                Name(name)
            ));
        }
        if let Some(name) = &self.revived {
            remarks.push(format!(
                "mailboxes that the old server had deleted, such as {}, are ordinary ones for {to}, whose deletedprefix is \
                 another: --drop deletedprefix leaves them out",
                Name(name)
            ));
        }
        remarks
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        for (mailbox, identifier, is) in [
            ("user.bob", "bob", true),
            ("user.bob.Sent", "bob", true),
            ("user.bob", "bobb", false),
            ("user.j^d", "j.d", true),
            ("x!user.bob", "bob@x", true),
            ("x!user.bob", "bob@y", false),
            ("user.bob", "bob@x", true),
        ] {
            let owner = MailboxName::new(mailbox.as_bytes()).owner().unwrap();
            assert_eq!(owner.is(identifier.as_bytes()), is, "{mailbox} {identifier}");
        }
        assert!(MailboxName::new(b"shared.bob").owner().is_none());
    }

    #[test]
    fn parts_of_a_name() {
        let name = MailboxName::new(b"a.b!user.bob.Sent");
        assert_eq!(
            (name.domain(), name.domain_prefix(), name.local()),
            (Some(&b"a.b"[..]), &b"a.b!"[..], &b"user.bob.Sent"[..])
        );
        let above: Vec<_> = name.ancestors().collect();
        assert_eq!(above, [&b"a.b!user"[..], b"a.b!user.bob", b"a.b!user.bob.Sent"]);
        assert_eq!(name.inbox(), Some(&b"a.b!user.bob"[..]));
        let empty = MailboxName::new(b"");
        assert_eq!((empty.domain(), empty.has_empty_component(), empty.owner()), (None, true, None));
        assert_eq!(MailboxName::new(b"!x").domain(), Some(&b""[..]));
    }

    /// As the C library of the servers reads them.
    #[test]
    fn times_of_deletion() {
        for (text, number) in [
            ("5ABCDEF0", 0x5ABC_DEF0),
            ("0x12", 0x12),
            ("0xg", 0),
            ("Sent", 0),
            ("foo", 0xf),
            (" \x0b+5", 5),
            ("-1", u64::MAX),
            ("123456789", 0x1_2345_6789),
            ("12345678901234567", u64::MAX),
            ("5^5", 5),
            ("", 0),
        ] {
            assert_eq!(stamp(text.as_bytes()), number, "{text}");
        }
    }

    fn namespace(release: &str, options: Option<(bool, &str, &str)>) -> Namespace {
        let set = |text: &str| Some(text.as_bytes().to_vec()).filter(|text| !text.is_empty());
        let options = options.map(|(virtdomains, domain, prefix)| NameOptions {
            virtdomains,
            defaultdomain: set(domain),
            deletedprefix: set(prefix),
            keeps_case: false,
        });
        Namespace::new(Some(&release.parse().unwrap()), options)
    }

    #[test]
    fn what_a_server_keeps() {
        let trash = Some((true, "example.com", "TRASH"));
        let defaults = Some((false, "", ""));
        for (release, options, mailbox, kind) in [
            ("3.6.1", trash, "TRASH.user.zoe.Sent", "deleted name without a stamp"),
            ("3.6.1", trash, "TRASH.user.zoe.Sent.5ABCDEF0", ""),
            ("3.6.1", trash, "TRASH.user.zoe.05ABCDEF", "deleted name without a stamp"),
            ("3.6.1", trash, "TRASH.user.zoe.5abcdef0", "deleted name without a stamp"),
            ("3.6.1", trash, "TRASH", "name that the target cannot open"),
            ("3.6.1", trash, "TRASH.foo", "deleted name without a stamp"),
            ("3.6.1", trash, "TRASH.zoo", "name that the target cannot open"),
            ("3.6.1", trash, "TRASHY.foo", ""),
            ("3.6.1", trash, "trash.user.zoe.Sent", ""),
            ("3.6.1", trash, "DELETED.user.zoe.Sent", ""),
            ("3.6.1", None, "TRASH.user.zoe.Sent", ""),
            ("3.6.1", None, "DELETED.user.zoe.Sent", "deleted name without a stamp"),
            ("3.0.18", trash, "example.com!user.x", "name that the target takes for another"),
            ("3.0.18", trash, "Example.com!user.x", ""),
            ("3.0.18", defaults, "internal!user.x", "name that the target takes for another"),
            ("3.0.18", defaults, "example.com!user.x", ""),
            ("3.0.18", defaults, "shared..x", "name that the target takes for another"),
            ("3.0.18", defaults, "user", "name that the target cannot open"),
            ("3.0.18", defaults, "INBOX.x", "name that the target cannot open"),
            ("2.4.22", trash, "Example.com!user.x", "name that the target takes for another"),
            ("2.4.22", trash, "a.b!user.x", ""),
            ("2.4.22", defaults, "a.b!user.x", "name that the target cannot open"),
            ("2.4.22", None, "a.b!user.x", ""),
            ("2.4.22", trash, "TRASH.user.zoe.Sent", ""),
            ("2.4.22", defaults, "shared..x", ""),
        ] {
            let found = namespace(release, options).keeps(mailbox.as_bytes()).err().map_or("", |refusal| refusal.kind);
            assert_eq!(found, kind, "{release} {options:?} {mailbox}");
        }
    }

    /// A live mailbox never becomes one that the target removes in time.
    #[test]
    fn what_would_be_removed() {
        let mut names = Namespaces {
            source: namespace("2.4.22", Some((false, "", "GONE"))),
            target: Some(namespace("3.6.1", Some((false, "", "TRASH")))),
        };
        let live = b"TRASH.user.zoe.5ABCDEF0";
        assert!(names.keeps(live).is_err_and(|refusal| refusal.kind.contains("takes for a deleted one")));
        assert!(names.keeps(b"GONE.user.zoe.5ABCDEF0").is_ok());
        let mut doubts = Doubts::default();
        doubts.ask(b"GONE.user.zoe.5ABCDEF0", &names, false);
        assert_eq!(doubts.remarks(&names).len(), 1);
        names.source = namespace("2.4.22", Some((false, "", "TRASH")));
        assert!(names.keeps(live).is_ok());
    }
}
