//! What the loader and the server of one release take.
//!
//! The loaders themselves say nothing and exit 0 (`facts/migration.md`, "The loaders", and `facts/json.md`; every probe
//! of `-u` in `loader.jsonl.gz` is a test of this file).

use crate::list::jansson::why_not_utf8;
use crate::mailbox::entry::is_by_name;
use crate::mailbox::entry::{Entry, Kind, Member};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::name::{Namespaces, Owner, can_be_uniqueid};
use crate::mailbox::partition;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::{Dialect, Release, v};
use memchr::{memchr, memchr2};

/// The longest line, with its newline, that the loaders' `char buf[16384]` holds; the rest becomes a mailbox of its
/// own (every text loader, 1.6 to 3.13).
pub const MAX_LINE: usize = 16_383;

/// The longest component: it is a directory's name.
const MAX_COMPONENT: usize = 255;

/// The longest component of a mailbox whose directory is by name on 3.6 and later: it is part of a lock file's name,
/// and with a longer one every SELECT fails (`facts/layout.md` 6). By uniqueid those of 255 and 256 bytes open (seen on
/// 3.6.1).
const MAX_LOCKED: usize = 250;

/// The longest userid of 3.6 and later, with its domain: the loader dies of longer ones, whose lock file has no name
/// that fits, in the middle of the list (seen on 3.6.1: 247 bytes are loaded, 248 are not).
const MAX_USERID: usize = 247;

/// What stands in the database of 3.6 and later behind a domain and for each dot: `user.bob` and `user\x1fbob` are one
/// mailbox there, and the last of the two is kept (seen on 3.6.1).
const MARKS: [u8; 2] = [0x1d, 0x1f];

/// What the loader and the server of one release take.
#[derive(Debug, Clone)]
pub struct Loader {
    release: Release,
    names: Namespaces,
    max_name: usize,
    dlist: Option<Dlist>,
}

/// How 2.5 to 3.3 store ACLs: as a dlist that they cannot always read back, and then the *whole* list is unreadable
/// (`facts/acl.md` 7: measured on 2.5.17 and 3.0.18; 3.4.9 is fine, what lies between was not run).
#[derive(Debug, Clone, Copy)]
struct Dlist {
    /// 2.5.0 to 2.5.11 die of a blank in an identifier, too (upstream issues 1851 and 2378).
    no_blanks: bool,
}

/// What the loader makes 0 of where it is missing.
pub const NUMBERS: [Member; 3] = [Member::Uidvalidity, Member::Createdmodseq, Member::Foldermodseq];

/// What is to be done about a mailbox that stands between two back ends.
pub const END_XFER: &str = "end its XFER on the old server, or set it apart with --reject";

impl Loader {
    /// The loader of `release`, whose server reads names as the target of `names`.
    pub fn new(release: &Release, names: &Namespaces) -> Loader {
        let dlist = release.since(v(2, 5, 0)) && !release.since(v(3, 4, 0));
        Loader {
            max_name: match () {
                () if release.since(v(3, 8, 0)) => 509,
                () if release.since(v(3, 6, 0)) => 489,
                () if release.since(v(2, 3, 14)) => 1023,
                () if release.since(v(2, 1, 0)) => 490,
                () => 489,
            },
            dlist: dlist.then(|| Dlist { no_blanks: !release.since(v(2, 5, 12)) }),
            release: release.clone(),
            names: names.clone(),
        }
    }

    /// Whether this loader stores the entry, written in `length` bytes without its newline, as what it says.
    pub fn takes(&self, entry: &Entry<'_>, mbtype: Mbtype, length: usize) -> Result<(), Refusal> {
        self.takes_name(entry)?;
        if mbtype.has(Mbtype::REMOTE) {
            self.takes_remote(entry)?;
        } else if mbtype.has(Mbtype::MOVING) && entry.server().is_some() {
            self.splits("moving mailbox", END_XFER)?;
        }
        if entry.partition().len() > partition::MAX_LEN {
            let detail =
                format!("{} bytes; every loader takes at most {}", entry.partition().len(), partition::MAX_LEN);
            return Err(Refusal::with("partition name too long", detail));
        }
        match self.release.dialect() {
            Dialect::Json => return self.takes_strings(entry),
            Dialect::Bare | Dialect::Tab | Dialect::Blank => {}
        }
        if entry.dialect == Dialect::Json {
            holds_in_a_line(entry)?;
        }
        if length >= MAX_LINE {
            let detail = format!(
                "{} bytes with its newline; the loader reads {MAX_LINE} and takes the rest for a mailbox",
                length + 1
            );
            return Err(Refusal::with("line too long for the loader", detail));
        }
        match self.dlist {
            Some(dlist) => self.takes_dlist(entry, dlist),
            None => Ok(()),
        }
    }

    /// What JSON can hold, and the loader of 3.6 and later stores as it is told.
    fn takes_strings(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let parts = [entry.mailbox(), entry.server().unwrap_or_default(), entry.partition()];
        if std::str::from_utf8(entry.bytes).is_err()
            && let Some(why) = parts.into_iter().chain(entry.acl().split(|b| *b == b'\t')).find_map(why_not_utf8)
        {
            return Err(Refusal::with("entry that JSON cannot hold", why));
        }
        if entry.partition().contains(&b'!') {
            let what = format!("{} would look for a partition of that name", self.release);
            return Err(Refusal::with("server!partition in one", format_args!("{}: {what}", Name(entry.partition()))));
        }
        for (member, bits) in [(Member::Uidvalidity, 32), (Member::Createdmodseq, 64), (Member::Foldermodseq, 64)] {
            if let Some(text) = entry.member(member) {
                let number = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
                let fits = match bits {
                    32 => number.is_some_and(|text| text.parse::<u32>().is_ok()),
                    _ => number.is_some_and(|text| text.parse::<u64>().is_ok()),
                };
                if !fits {
                    let detail = format!("{} {}: the loader would store another", member.name(), Name(text));
                    return Err(Refusal::with("number that is none", detail));
                }
            }
        }
        match entry.member(Member::Uniqueid) {
            Some(id) if !id.is_empty() && !can_be_uniqueid(id) => {
                Err(Refusal::with("uniqueid that can be none", format_args!("{}: it names a directory", Name(id))))
            }
            _ => Ok(()),
        }
    }

    /// Whether an entry has a uniqueid; if not, what is to be done about it. The files of a mailbox have one; what is on
    /// another server, or nowhere, has no files here.
    pub fn has_uniqueid(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        if entry.member(Member::Uniqueid).is_some_and(|id| !id.is_empty()) {
            return Ok(());
        }
        let release = &self.release;
        Err(match entry.kind() {
            Kind::Remote => Refusal::with(
                "remote mailbox without uniqueid",
                format_args!(
                    "on {}: {release} skips it, and no file here has the uniqueid; mbx-parse --drop remote leaves it out",
                    Name(entry.server().unwrap_or(entry.partition()))
                ),
            ),
            Kind::Intermediate => Refusal::with(
                "intermediate without uniqueid",
                format_args!("{release} skips it; mbx-parse --drop intermediate leaves it out"),
            ),
            // Tombstones are left out before.
            Kind::Mailbox | Kind::Tombstone => {
                Refusal::with("no uniqueid", format_args!("{release} skips the entry; mbx-check-paths --fill adds it"))
            }
        })
    }

    /// Whether the entry has everything that this loader wants of it; what is missing it skips, or makes 0 of it.
    pub fn has_all(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        if self.release.dialect() != Dialect::Json {
            return Ok(());
        }
        self.has_uniqueid(entry)?;
        let has = |member| entry.member(member).is_some_and(|text: &[u8]| !text.is_empty());
        if self.release.wants_jmap_id() && !has(Member::JmapId) {
            let what = format_args!("{} skips the entry; mbx-parse --to adds it", self.release);
            return Err(Refusal::with("no jmapId", what));
        }
        // Only a mailbox has files that could say it.
        let adds = if entry.kind() == Kind::Mailbox { "mbx-check-paths --fill" } else { "mbx-parse --to" };
        match NUMBERS.into_iter().find(|member| !has(*member)) {
            None => Ok(()),
            Some(member) => {
                let what = format_args!("{}: {} takes it for 0; {adds} adds it", member.name(), self.release);
                Err(Refusal::with("no uidvalidity, or no modseqs", what))
            }
        }
    }

    fn takes_name(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let mailbox = entry.mailbox();
        // Nothing in Cyrus stops a domain that climbs, and it is copied into the path as it is.
        let climbs = |domain: &[u8]| domain.contains(&b'/') || matches!(domain, b".." | b".");
        if entry.name().domain().is_some_and(climbs) {
            return Err(Refusal::with("domain that is no directory", "its directory would be outside the partition"));
        }
        if mailbox.len() > self.max_name {
            let detail = format!("{} bytes; {} takes at most {}", mailbox.len(), self.release, self.max_name);
            return Err(Refusal::with("mailbox name too long", detail));
        }
        // 3.0 makes such a domain of `CREATE user/bob@x@example.com`, and opens it; 3.2 and later list the mailbox, and
        // asked for it look for `user.bob@x` of example.com (`mbname_from_extname`; seen on 3.2.6 and 3.6.1).
        if self.release.since(v(3, 2, 0)) && entry.name().domain().is_some_and(|domain| domain.contains(&b'@')) {
            let detail = format!("{} could not open it", self.release);
            return Err(Refusal::with("domain with an @", detail));
        }
        if self.release.since(v(3, 6, 0)) {
            self.keeps_name(entry)?;
        }
        self.takes_components(entry)?;
        if self.release.since(v(3, 0, 0)) && mailbox.first() == Some(&b'$') {
            return Err(Refusal::with(
                "name begins with $",
                format!("{} keeps such records for itself and never shows the mailbox", self.release),
            ));
        }
        if let Kind::Mailbox | Kind::Remote = entry.kind() {
            self.names.keeps(mailbox)?;
        }
        // Before, `mbx-check-paths` asks it, which every list for 3.6 passes that is not of 3.6 itself. Where directories
        // are by uniqueid, those of users are by name all the same.
        match self.release.since(v(3, 6, 0)) {
            true => entry.name().stays_inside(),
            false => Ok(()),
        }
    }

    /// What 3.6 and later, which keep a name in a form of their own, would take for another mailbox or none.
    fn keeps_name(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let mailbox = entry.mailbox();
        if let Some(mark) = memchr2(MARKS[0], MARKS[1], mailbox).map(|at| &mailbox[at]) {
            let detail = format!("{} keeps {} for the dots or the domain of a name", self.release, show(*mark));
            return Err(Refusal::with("name that the target takes for another", detail));
        }
        // It is no longer than the name that it stands in.
        let owner = || self.names.target.as_ref().and_then(|target| target.owner(entry.name()));
        let userid = if mailbox.len() > MAX_USERID { owner().map_or(0, Owner::userid_len) } else { 0 };
        if userid > MAX_USERID {
            let detail = format!("{userid} bytes; the loader of {} dies of more than {MAX_USERID}", self.release);
            return Err(Refusal::with("userid too long", detail));
        }
        Ok(())
    }

    /// Whether a directory can be called as each component is.
    fn takes_components(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let mailbox = entry.mailbox();
        let max_component = match self.release.since(v(3, 6, 0)) {
            true if !is_by_name(entry) => usize::MAX,
            true => MAX_LOCKED,
            false => MAX_COMPONENT,
        };
        if mailbox.len() > max_component {
            let domain = entry.name().domain().map_or(0, <[u8]>::len);
            let longest = entry.name().components().map(<[u8]>::len).max().unwrap_or(0).max(domain);
            if longest > max_component {
                let detail = match max_component {
                    MAX_LOCKED => format!("{longest} bytes; {} cannot open those of more than 250", self.release),
                    _ => format!("{longest} bytes; no directory can have a name of more than {MAX_COMPONENT}"),
                };
                return Err(Refusal::with("component of the name too long", detail));
            }
        }
        Ok(())
    }

    /// Whether the target has this type, and does no harm to its mailboxes.
    pub fn takes_type(&self, entry: &Entry<'_>, mbtype: Mbtype) -> Result<(), Refusal> {
        if mbtype == Mbtype::EMAIL && entry.members.is_none() {
            return Ok(());
        }
        let told = entry.fields.mbtype.map_or(&b""[..], |(span, _)| span.of(entry.values));
        if mbtype.has(Mbtype::RESERVE) {
            // Measured on 2.3.7 and 2.3.19 with mbtype 2 and 6: messages and cyrus.* files are gone after a start.
            let detail = format!(
                "mbtype {}: at its next start the server deletes the mailbox with its mail; a CREATE was never finished: \
                 {}, or --drop reserve",
                Name(told),
                match entry.dialect {
                    Dialect::Json => "take the z out of it",
                    _ => "make it 0 (and local, without server!)",
                }
            );
            return Err(Refusal::with("reserved mailbox", detail));
        }
        if let Some(unknown) = entry.members.and_then(|members| members.history_mbtype.unknown_to(&self.release)) {
            let what = format!("{} in its name history; {} does not know that", unknown.names(), self.release);
            return Err(Refusal::with("type that the target does not have", what));
        }
        if let Some(unknown) = mbtype.unknown_to(&self.release) {
            let detail = format!(
                "mbtype {}, {}; {} does not know {}",
                Name(told),
                mbtype.names(),
                self.release,
                unknown.names()
            );
            return Err(Refusal::with("type that the target does not have", detail));
        }
        Ok(())
    }

    /// Up to 2.4 the place is kept in one piece, and 3.0 and later split it.
    fn splits(&self, kind: &'static str, way_out: &str) -> Result<(), Refusal> {
        match self.release.since(v(2, 5, 0)) && !self.release.since(v(3, 0, 0)) {
            true => Err(Refusal::with(
                kind,
                format!("{} does not split server!partition when it loads; {way_out}", self.release),
            )),
            false => Ok(()),
        }
    }

    fn takes_remote(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let kind = "remote mailbox";
        if !self.release.since(v(2, 5, 0)) {
            return Ok(());
        }
        self.splits(kind, "--drop remote")?;
        if self.release.dialect().has_uniqueids() {
            self.has_uniqueid(entry)?;
        }
        match entry.server() {
            // 3.0 splits at the last `!`: `a!b!c` was stored as `b!c` (3.0.18).
            Some(_) if entry.dialect != Dialect::Json && memchr(b'!', entry.partition()).is_some() => {
                Err(Refusal::with(kind, format!("{} keeps only one of two servers", self.release)))
            }
            _ => Ok(()),
        }
    }

    fn takes_dlist(&self, entry: &Entry<'_>, dlist: Dlist) -> Result<(), Refusal> {
        let bad = |b: &u8| matches!(b, b'"' | b'%' | b'\\' | 0x80..);
        let mend = "mbx-acl-rewrite --id or --drop-id mends it";
        let whole = |what, found: String| {
            let detail = format!("{found}: {} could not read its whole list back", self.release);
            Err(Refusal::with(what, detail))
        };
        if let Some(b) = entry.server().unwrap_or_default().iter().chain(entry.partition()).find(|b| bad(b)) {
            return whole("partition or server name with a byte that breaks the list", format!("byte {}", show(*b)));
        }
        let acl = entry.acl();
        let longest_part = || acl.split(|b| *b == b'\t').map(<[u8]>::len).max().unwrap_or(0);
        if acl.iter().any(bad) {
            let parts = acl.split(|b| *b == b'\t').filter(|part| part.iter().any(bad));
            let parts: Vec<String> = parts.take(5).map(|part| Name(part).to_string()).collect();
            return whole("ACL with a byte that breaks the list", format!("in {}; {mend}", parts.join(" and in ")));
        }
        if acl.len() >= 1024 && longest_part() >= 1024 {
            return whole("ACL with a part that breaks the list", format!("{} bytes; {mend}", longest_part()));
        }
        if dlist.no_blanks && acl.contains(&b' ') {
            return whole("identifier with a blank", mend.to_string());
        }
        Ok(())
    }
}

fn show(byte: u8) -> String {
    match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

/// What of a JSON entry no line of text can hold.
fn holds_in_a_line(entry: &Entry<'_>) -> Result<(), Refusal> {
    let breaks = |bytes: &[u8], also: &[u8]| bytes.iter().any(|b| matches!(b, 0 | b'\n' | b'\r') || also.contains(b));
    let place = [(entry.partition(), &b" \t!"[..]), (entry.server().unwrap_or_default(), b" \t!")];
    let parts = [(entry.mailbox(), &b"\t"[..]), (entry.acl(), b"")].into_iter().chain(place);
    match parts.into_iter().find(|(part, also)| breaks(part, also)) {
        Some((part, _)) => Err(Refusal::with("entry that no line of text can hold", Name(part))),
        None => Ok(()),
    }
}
