//! Mailbox to directory: where each release keeps a mailbox below the root of its partition.
//!
//! The rules are those of `imap/mailbox.c` and `imap/mboxname.c` at every release tag, checked against every path that
//! the servers' own `mbpath` printed (`facts/layout.md` 0). Spools come over as they were, so the release is the one
//! that wrote the spool.

use crate::list::error::Stop;
use crate::mailbox::entry::is_by_name;
use crate::mailbox::entry::{Entry, Member};
use crate::mailbox::name::{MailboxName, Namespace, can_be_uniqueid};
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::{Release, v};
use crate::run::report::Report;
use crate::spool::conf::Conf;

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
    /// What the server reads in names.
    pub names: Namespace,
    rule: Option<Rule>,
}

impl Layout {
    /// The layout that `conf` describes, of the spool of `release` if that is known.
    pub fn new(conf: &Conf, release: Option<&Release>) -> Result<Layout, Stop> {
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
        Ok(Layout { hash, names: conf.namespace(release)?, rule })
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
        if let Err(refusal) = MailboxName::new(mailbox).stays_inside() {
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
            Rule::Strings { sum, domains } => self.write_string(mailbox, sum, domains && self.names.virtdomains(), out),
            Rule::Names => self.write_name(mailbox, out),
        }
    }

    /// `mailbox_hash_mbox` of 2.0 to 2.3, `mboxname_hash` of 2.4 and 2.5.
    fn write_string(&self, mailbox: &[u8], sum: Sum, domains: bool, out: &mut Vec<u8>) {
        let mut name = mailbox;
        if domains {
            let parts = MailboxName::new(mailbox);
            if let Some(domain) = parts.domain() {
                self.write_domain(domain, sum, out);
                name = parts.local();
            }
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
        let parts = self.names.read(MailboxName::new(mailbox));
        if let Some(domain) = parts.domain {
            self.write_domain(domain, Sum::Usual, out);
        }
        if self.hash != Hash::None {
            let mut components = parts.components();
            let first = components.next();
            if let Some(hashed) = components.next().or(first) {
                out.extend_from_slice(&[self.letter_of_decoded(hashed), b'/']);
            }
        }
        for (i, part) in parts.components().enumerate() {
            if i > 0 {
                out.push(b'/');
            }
            // Only deletedprefix can have a dot of its own.
            out.extend(part.iter().map(|b| if *b == b'.' { b'^' } else { *b }));
        }
        parts.write_stamp(b'/', out);
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
        let same = layout.hash == now.hash && layout.rule == now.rule && layout.names.reads_as(&now.names);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::name::NameOptions;

    fn layout(hash: Hash, rule: Option<Rule>) -> Layout {
        let options = NameOptions { virtdomains: true, ..NameOptions::default() };
        Layout { hash, names: Namespace::new(None, Some(options)), rule }
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
