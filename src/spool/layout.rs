//! Mailbox to directory: where each release keeps a mailbox below the root of its partition.
//!
//! The rules are those of `imap/mailbox.c` and `imap/mboxname.c` at every release tag, checked against every path that
//! the servers' own `mbpath` printed (`facts/layout.md` 0). Spools come over as they were, so the release is the one
//! that wrote the spool.

use crate::list::error::Stop;
use crate::mailbox::entry::is_by_name;
use crate::mailbox::entry::{Entry, Member};
use crate::mailbox::name::{INTERNAL, can_be_uniqueid, folded, local_part, stays_inside};
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::{Release, v};
use crate::run::report::Report;
use crate::spool::conf::Conf;
use std::io::Write;

/// How directories are spread over one-letter directories (`hashimapspool`, `fulldirhash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Not at all.
    None,
    /// By the first letter of the second component.
    Basic,
    /// By a sum over it, `A` to `W`.
    Full,
}

/// How a release makes a path of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// 2.0 to 2.5: every dot of the string becomes a slash.
    Strings { sum: Sum, domains: bool },
    /// 3.0 and later: the name is taken apart, and its parts are put together again.
    Names,
}

/// How the full hash is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    /// 32 bits, up to the first dot.
    Usual,
    /// 2.0.17: over dots, too (`lib/util.c:238`), so folders of one user scatter.
    OverDots,
    /// 2.4.14: 64 bits (upstream issue 1523), which differs for names of more than ten letters or so.
    Wide,
}

/// Where a spool of one release and configuration keeps its mailboxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// How it is hashed.
    pub hash: Hash,
    /// Whether names may have domains (`virtdomains`); 3.0 and later split them off in any case.
    pub virtdomains: bool,
    /// `defaultdomain`, whose mailboxes have no domain directory from 3.0 on.
    pub defaultdomain: Option<Vec<u8>>,
    /// The hierarchy of deleted mailboxes (`deletedprefix`).
    pub deletedprefix: Vec<u8>,
    rule: Option<Rule>,
}

impl Layout {
    /// The layout that `conf` describes, of the spool of `release` if that is known.
    pub fn new(conf: &Conf, release: Option<&Release>) -> Result<Layout, Stop> {
        // An enumeration, with the words of a switch for its ends; userid and on have one layout.
        let virtdomains = conf.get("virtdomains") == Some(b"userid") || conf.switch("virtdomains")?;
        let hash = match (conf.switch("hashimapspool")?, conf.switch("fulldirhash")?) {
            (false, _) => Hash::None,
            (true, false) => Hash::Basic,
            (true, true) => Hash::Full,
        };
        let rule = match release {
            None => None,
            Some(release) => {
                if hash == Hash::Full {
                    release.one_layout().map_err(Stop::Trouble)?;
                }
                Some(rule_of(release))
            }
        };
        Ok(Layout {
            hash,
            virtdomains,
            defaultdomain: conf.get("defaultdomain").map(<[u8]>::to_vec),
            deletedprefix: conf.get("deletedprefix").unwrap_or(b"DELETED").to_vec(),
            rule,
        })
    }

    /// The same layout with another hash: for the question whether that one fits better.
    pub fn with_hash(&self, hash: Hash) -> Layout {
        Layout { hash, ..self.clone() }
    }

    /// Writes the path of a mailbox below its partition's root into `out`, without a slash before it.
    ///
    /// Refused is a name whose directory would be outside the root or another mailbox's; trouble is a name whose
    /// directory hangs on a release that nobody told.
    pub fn path(&self, mailbox: &[u8], out: &mut Vec<u8>) -> Result<Result<(), Refusal>, Stop> {
        if let Err(refusal) = stays_inside(mailbox) {
            return Ok(Err(refusal));
        }
        out.clear();
        match self.rule {
            Some(rule) => self.write(rule, mailbox, out),
            None => {
                let mut other = Vec::new();
                self.write(Rule::Strings { sum: Sum::Usual, domains: true }, mailbox, out);
                self.write(Rule::Names, mailbox, &mut other);
                if *out != other {
                    return Err(Stop::Trouble(format!(
                        "the directory of {} hangs on the release of the spool ({} up to 2.5, {} from 3.0 on): \
                         --from RELEASE, or --spool-release RELEASE",
                        Name(mailbox),
                        Name(out),
                        Name(&other)
                    )));
                }
            }
        }
        // Where a domain is none, with virtdomains off, its dots are those of components.
        if out.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
            return Ok(Err(Refusal::with("name with an empty component", "its directory is another mailbox's")));
        }
        Ok(Ok(()))
    }

    /// Writes the path of an entry's directory below its partition's root: by name, or from 3.6 on by uniqueid, unless
    /// its mbtype has an `l` (`facts/layout.md` 2).
    pub fn place(&self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<Result<(), Refusal>, Stop> {
        if is_by_name(entry) {
            return self.path(entry.mailbox(), out);
        }
        match entry.member(Member::Uniqueid) {
            None | Some(b"") => Ok(Err(Refusal::with(
                "no uniqueid",
                "without an l in its mbtype it tells the directory; what ctl_mboxlist -d printed has one",
            ))),
            Some(id) if !can_be_uniqueid(id) => {
                Ok(Err(Refusal::with("uniqueid that can be none", format_args!("{}: it names a directory", Name(id)))))
            }
            Some(id) => {
                out.clear();
                // As it stands, whatever the options that hash names say.
                out.extend_from_slice(&[b"uuid/", &id[..1], b"/", &id[1..2], b"/", id].concat());
                Ok(Ok(()))
            }
        }
    }

    fn write(&self, rule: Rule, mailbox: &[u8], out: &mut Vec<u8>) {
        match rule {
            Rule::Strings { sum, domains } => self.write_string(mailbox, sum, domains && self.virtdomains, out),
            Rule::Names => self.write_name(mailbox, out),
        }
    }

    /// `mailbox_hash_mbox` of 2.0 to 2.3, `mboxname_hash` of 2.4 and 2.5.
    fn write_string(&self, mailbox: &[u8], sum: Sum, domains: bool, out: &mut Vec<u8>) {
        let mut name = mailbox;
        if domains && let Some(bang) = memchr::memchr(b'!', mailbox) {
            self.write_domain(&mailbox[..bang], sum, out);
            name = &mailbox[bang + 1..];
        }
        if self.hash != Hash::None {
            let hashed = match memchr::memchr(b'.', name) {
                Some(dot) => &name[dot + 1..],
                None => name,
            };
            out.extend_from_slice(&[self.letter(hashed, sum), b'/']);
        }
        out.extend(name.iter().map(|b| if *b == b'.' { b'/' } else { *b }));
    }

    fn write_domain(&self, domain: &[u8], sum: Sum, out: &mut Vec<u8>) {
        out.extend_from_slice(b"domain/");
        if self.hash != Hash::None {
            out.extend_from_slice(&[self.letter(domain, sum), b'/']);
        }
        out.extend_from_slice(domain);
        out.push(b'/');
    }

    /// `mboxname_hash` of 3.0 and later, on what `mbname_from_intname` makes of the name.
    fn write_name(&self, mailbox: &[u8], out: &mut Vec<u8>) {
        let local = local_part(mailbox);
        if local.len() < mailbox.len() {
            let domain = &mailbox[..mailbox.len() - local.len() - 1];
            if domain != self.defaultdomain.as_deref().unwrap_or(INTERNAL) {
                self.write_domain(domain, Sum::Usual, out);
            }
        }
        let boxes = || local.split(|b| *b == b'.').filter(|part| !part.is_empty());
        let stamped = boxes().count() > 2 && boxes().next() == Some(&self.deletedprefix);
        let deleted = if stamped { boxes().next_back().map_or(0, hexadecimal) } else { 0 };
        // The prefix and the stamp are taken off; a stamp of nothing is not put back, nor is its prefix.
        let kept = boxes().count() - if stamped { 2 } else { 0 };
        let own = || boxes().skip(usize::from(stamped)).take(kept);
        let parts = || (deleted != 0).then_some(self.deletedprefix.as_slice()).into_iter().chain(own());
        if self.hash != Hash::None
            && let Some(hashed) = parts().nth(1).or(parts().next())
        {
            out.extend_from_slice(&[self.letter_of_decoded(hashed), b'/']);
        }
        for (i, part) in parts().enumerate() {
            if i > 0 {
                out.push(b'/');
            }
            out.extend_from_slice(part);
        }
        if deleted != 0 {
            // Writing to memory does not fail.
            let _ = write!(out, "/{deleted:X}");
        }
    }

    /// 3.0 and later decode a name before they hash it: `carol^smith` is `carol.smith`, and the sum stops at the dot.
    fn letter_of_decoded(&self, name: &[u8]) -> u8 {
        match memchr::memchr(b'^', name) {
            // A leading dot and a leading `^` are both no letter.
            Some(caret) if self.hash == Hash::Full => self.letter(&name[..caret], Sum::Usual),
            _ => self.letter(name, Sum::Usual),
        }
    }

    /// `dir_hash_c` of `lib/util.c`.
    fn letter(&self, name: &[u8], sum: Sum) -> u8 {
        if self.hash == Hash::Basic {
            let first = name.first().map_or(b'q', u8::to_ascii_lowercase);
            return if first.is_ascii_lowercase() { first } else { b'q' };
        }
        let end = match sum {
            Sum::OverDots => name.len(),
            _ => memchr::memchr(b'.', name).unwrap_or(name.len()),
        };
        let n = name[..end].iter().fold(0_u64, |n, byte| {
            let n = ((n << 3) ^ (n >> 5)) ^ u64::from(*byte);
            if sum == Sum::Wide { n } else { n & 0xffff_ffff }
        });
        // n % 23 is below 23.
        b'A' + (n % 23) as u8
    }
}

fn rule_of(release: &Release) -> Rule {
    if release.since(v(3, 0, 0)) {
        return Rule::Names;
    }
    let sum = match () {
        () if !release.since(v(2, 1, 0)) => Sum::OverDots,
        () if release.since(v(2, 4, 14)) && !release.since(v(2, 4, 15)) => Sum::Wide,
        () => Sum::Usual,
    };
    Rule::Strings { sum, domains: release.since(v(2, 2, 0)) }
}

/// C's `strtoul(text, 16)` as far as a stamp goes.
fn hexadecimal(text: &[u8]) -> u32 {
    let digits = text.strip_prefix(b"0x").or(text.strip_prefix(b"0X")).unwrap_or(text);
    digits
        .iter()
        .map_while(|b| char::from(*b).to_digit(16))
        .fold(0_u32, |n, digit| n.wrapping_mul(16).wrapping_add(digit))
}

/// Where the release that will load a list looks for mailboxes, if that is not where they are.
pub struct Ahead {
    release: Release,
    layout: Layout,
    path: Vec<u8>,
}

impl Ahead {
    /// What `to` makes of a spool that is laid out as `now`; none if it makes the same.
    pub fn new(now: &Layout, conf: &Conf, to: Option<&Release>) -> Result<Option<Ahead>, Stop> {
        let (Some(release), Some(_)) = (to, now.rule) else { return Ok(None) };
        let layout = Layout::new(conf, Some(release))?;
        let same = layout == *now && !release.since(v(3, 6, 0));
        Ok((!same).then(|| Ahead { release: release.clone(), layout, path: Vec::new() }))
    }

    /// Tells of a mailbox whose directory is `here` where the release will look instead, if it will.
    pub fn tell(&mut self, entry: &Entry<'_>, here: &[u8], report: &mut Report) -> Result<Option<&[u8]>, Stop> {
        if !is_by_name(entry) || self.layout.path(entry.mailbox(), &mut self.path)?.is_err() || self.path == here {
            return Ok(None);
        }
        let (release, there, partition) = (&self.release, Name(&self.path), Name(entry.partition()));
        let detail =
            format_args!(" (in partition {partition}, {} is where it was; {release} looks for {there})", Name(here));
        report.loss(entry.at, "the directory must move", detail, entry.mailbox());
        Ok(Some(&self.path))
    }

    /// Why the release cannot have this mailbox at all: from 3.6 on the list itself knows it by the name that the default
    /// domain of this configuration makes of it, which may be another mailbox's.
    pub fn takes(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let domain = self.layout.defaultdomain.as_deref().unwrap_or(INTERNAL);
        match folded(entry.mailbox(), domain).filter(|_| self.release.since(v(3, 6, 0))) {
            None => Ok(()),
            Some(name) => {
                let (release, domain) = (&self.release, Name(domain));
                let detail = format!("{release} makes {} of it: its defaultdomain is {domain}", Name(&name));
                Err(Refusal::with("name that the target takes for another", detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(hash: Hash, rule: Option<Rule>) -> Layout {
        Layout { hash, virtdomains: true, defaultdomain: None, deletedprefix: b"DELETED".to_vec(), rule }
    }

    const OLD: Option<Rule> = Some(Rule::Strings { sum: Sum::Usual, domains: true });
    const NEW: Option<Rule> = Some(Rule::Names);

    fn path(layout: &Layout, mailbox: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        match layout.path(mailbox.as_bytes(), &mut out) {
            Ok(Ok(())) => Ok(String::from_utf8_lossy(&out).into_owned()),
            Ok(Err(refusal)) => Err(refusal.kind),
            Err(_) => Err("ask"),
        }
    }

    #[test]
    fn the_rules_that_changed_at_3_0() {
        for (mailbox, hash, old, new) in [
            ("user.carol^smith", Hash::Full, "E/user/carol^smith", "B/user/carol^smith"),
            ("user.carol^smith", Hash::Basic, "c/user/carol^smith", "c/user/carol^smith"),
            ("internal!user.ivy", Hash::None, "domain/internal/user/ivy", "user/ivy"),
            ("example.com!user.x", Hash::Full, "domain/O/example.com/F/user/x", "domain/O/example.com/F/user/x"),
            ("DELETED.user.zoe.Sent", Hash::None, "DELETED/user/zoe/Sent", "user/zoe"),
            ("DELETED.user.alice.0b04466a", Hash::None, "DELETED/user/alice/0b04466a", "DELETED/user/alice/B04466A"),
            ("user", Hash::Basic, "u/user", "u/user"),
        ] {
            assert_eq!(path(&layout(hash, OLD), mailbox).as_deref(), Ok(old));
            assert_eq!(path(&layout(hash, NEW), mailbox).as_deref(), Ok(new));
            let asked = path(&layout(hash, None), mailbox);
            assert_eq!(asked.is_ok(), old == new, "{mailbox}");
        }
    }

    #[test]
    fn nothing_leaves_its_root() {
        for mailbox in ["../../etc!user.x", "..!user.x", "!user.x", "user..x", "user.x.", ".x", "user.a/b", "a/../../b"]
        {
            for rule in [OLD, NEW, None] {
                assert!(path(&layout(Hash::None, rule), mailbox).is_err_and(|kind| kind != "ask"), "{mailbox}");
            }
        }
    }
}
