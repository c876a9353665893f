//! An entry of one release as an entry of another, or why not.
//!
//! `mbx-parse --to` and the guard ask the same [`Converter`]: what must be written so that a release's
//! `ctl_mboxlist -u` stores what is meant. The loaders themselves say nothing and exit 0 (`facts/migration.md`, "The loaders"; every probe of `loader.jsonl.gz` is a test of this file).

use crate::acl::{self, Reader};
use crate::entry::{Changes, Entry, Kind, Span, local_part};
use crate::mbtype::Mbtype;
use crate::outcome::{Name, Refusal, Report};
use crate::partition;
use crate::seal::Releases;
use crate::version::{Dialect, Era, Release, v};
use memchr::memchr;

/// The longest line, with its newline, that the loaders' `char buf[16384]` holds; the rest becomes a mailbox of its
/// own (every text loader, 1.6 to 3.13).
pub const MAX_LINE: usize = 16_383;

/// The longest component: it is a directory's name.
const MAX_COMPONENT: usize = 255;

/// What the loader and the server of one release take.
#[derive(Debug, Clone)]
struct Loader {
    release: Release,
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

impl Loader {
    /// The loader of `release`.
    fn new(release: &Release) -> Loader {
        let dlist = release.since(v(2, 5, 0)) && !release.since(v(3, 4, 0));
        Loader {
            max_name: match () {
                () if release.since(v(2, 3, 14)) => 1023,
                () if release.since(v(2, 1, 0)) => 490,
                () => 489,
            },
            dlist: dlist.then(|| Dlist { no_blanks: !release.since(v(2, 5, 12)) }),
            release: release.clone(),
        }
    }

    /// Whether this loader stores the entry, written in `length` bytes without its newline, as what it says.
    fn takes(&self, entry: &Entry<'_>, mbtype: Mbtype, length: usize) -> Result<(), Refusal> {
        self.takes_name(entry.mailbox())?;
        if mbtype.has(Mbtype::REMOTE) {
            self.takes_remote(entry)?;
        }
        if entry.partition().len() > partition::MAX_LEN {
            let detail =
                format!("{} bytes; every loader takes at most {}", entry.partition().len(), partition::MAX_LEN);
            return Err(Refusal::with("partition name too long", detail));
        }
        if length >= MAX_LINE {
            let detail = format!(
                "{} bytes with its newline; the loader reads {MAX_LINE} and takes the rest for a mailbox",
                length + 1
            );
            return Err(Refusal::with("line too long for the loader", detail));
        }
        if let Some(dlist) = self.dlist {
            self.takes_dlist(entry, dlist)?;
        }
        Ok(())
    }

    fn takes_name(&self, mailbox: &[u8]) -> Result<(), Refusal> {
        if mailbox.len() > self.max_name {
            let detail = format!("{} bytes; {} takes at most {}", mailbox.len(), self.release, self.max_name);
            return Err(Refusal::with("mailbox name too long", detail));
        }
        if mailbox.len() > MAX_COMPONENT {
            let local = local_part(mailbox);
            let domain = mailbox.len().saturating_sub(local.len() + 1);
            let longest = local.split(|b| *b == b'.').map(<[u8]>::len).max().unwrap_or(0).max(domain);
            if longest > MAX_COMPONENT {
                let detail = format!("{longest} bytes; no directory can have a name of more than {MAX_COMPONENT}");
                return Err(Refusal::with("component of the name too long", detail));
            }
        }
        if self.release.since(v(3, 0, 0)) {
            if mailbox.first() == Some(&b'$') {
                return Err(Refusal::with(
                    "name begins with $",
                    format!("{} keeps such records for itself and never shows the mailbox", self.release),
                ));
            }
            if loses_its_stamp(mailbox) {
                let detail = format!(
                    "{} takes the last part for a time of deletion, and so another mailbox's directory for this one's",
                    self.release
                );
                return Err(Refusal::with("DELETED name without a stamp", detail));
            }
        }
        Ok(())
    }

    fn takes_type(&self, mbtype: Mbtype) -> Result<(), Refusal> {
        if mbtype == Mbtype::EMAIL {
            return Ok(());
        }
        if mbtype.has(Mbtype::RESERVE) {
            // Measured on 2.3.7 and 2.3.19 with mbtype 2 and 6: messages and cyrus.* files are gone after a start.
            let detail = format!(
                "mbtype {mbtype}: at its next start the server deletes the mailbox with its mail; a CREATE was never finished: make it 0 (and local, without server!), or --drop reserve"
            );
            return Err(Refusal::with("reserved mailbox", detail));
        }
        if let Some(unknown) = mbtype.unknown_to(&self.release) {
            let detail = format!("mbtype {mbtype}, {}; {} does not know {}", mbtype.names(), self.release, unknown);
            return Err(Refusal::with("type that the target does not have", detail));
        }
        Ok(())
    }

    fn takes_remote(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let kind = "remote mailbox";
        if !self.release.since(v(2, 5, 0)) {
            return Ok(());
        }
        if !self.release.since(v(3, 0, 0)) {
            return Err(Refusal::with(
                kind,
                format!("{} does not split server!partition when it loads; --drop remote", self.release),
            ));
        }
        match entry.server() {
            // 3.0 splits at the last `!`: `a!b!c` was stored as `b!c` (3.0.18).
            Some(_) if memchr(b'!', entry.partition()).is_some() => {
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

/// An entry that is not to be converted: only what its readers disagree about is asked. `latest` is the release that
/// the list is for, if anybody told.
pub fn takes_as_it_is(entry: &Entry<'_>, latest: Option<&Release>, report: &mut Report) -> Result<(), Refusal> {
    if acl::is_closed(entry.acl()) {
        return Ok(());
    }
    match latest {
        None => Err(unclosed(
            entry,
            "2.2 to 2.4 ignore its last identifier, 2.5 and later give it its rights: tell --from or --to, or mend the line",
        )),
        Some(release) if release.since(v(2, 5, 0)) => Err(unclosed(
            entry,
            "2.2 to 2.4 ignore its last identifier, 2.5 and later give it its rights: mend the line",
        )),
        Some(_) => {
            report.notice(
                entry.at,
                "ACL not closed by a TAB",
                ": 2.2 to 2.4 ignore its last identifier",
                entry.mailbox(),
            );
            Ok(())
        }
    }
}

/// An ACL whose last identifier or rights no TAB closes.
fn unclosed(entry: &Entry<'_>, what: &str) -> Refusal {
    let last = entry.acl().split(|b| *b == b'\t').next_back().unwrap_or_default();
    let at = match last.is_empty() {
        true => "an identifier without rights".to_string(),
        false => format!("ends in {}", Name(last)),
    };
    Refusal::with("ACL not closed by a TAB", format_args!("{at}: {what}"))
}

fn show(byte: u8) -> String {
    match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

/// Whether 3.0 and later would take a `DELETED` name's directory for another mailbox's: they read the last of three
/// and more components as a hexadecimal stamp, and write it back as they read it (`facts/layout.md` 1b).
fn loses_its_stamp(mailbox: &[u8]) -> bool {
    let local = local_part(mailbox);
    if !local.starts_with(b"DELETED.") || local.iter().filter(|b| **b == b'.').count() < 2 {
        return false;
    }
    let stamp = local.rsplit(|b| *b == b'.').next().unwrap_or_default();
    let canonical = (1..=8).contains(&stamp.len())
        && stamp[0] != b'0'
        && stamp.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    !canonical
}

/// What was found about an entry that can be loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum Converted {
    /// Its bytes are right as they stand.
    AsItIs,
    /// The changes make them right.
    Changed,
    /// The target's loader would make something else of it, and nothing is lost without it.
    Dropped(&'static str),
}

/// Turns entries of one list into entries for one release.
#[derive(Debug)]
pub struct Converter {
    from: Option<Release>,
    to: Release,
    loader: Loader,
    readers: Option<(Reader, Reader)>,
    /// The last rights that both read alike: most strings of a list are the same few.
    alike: Vec<u8>,
    /// Whether rights that the two releases read differently are refused: behind mbx-parse, nothing mends them any more.
    strict: bool,
}

impl Converter {
    /// From the list of `told.from`, if that is known, in `dialect`, to `to`.
    pub fn new(told: &Releases, dialect: Dialect, to: &Release) -> Converter {
        let from = told.from.as_ref();
        // deleteright is not in the dump; its default is c everywhere.
        let reader = |era| Reader::new(era, b'c');
        let from_era = match from {
            // Explicit rights mean the same to every release that knows the letters.
            _ if told.rights_explicit => Some(Era::Annotate).filter(|_| to.era() == Era::Rfc2086),
            Some(from) => Some(from.era()),
            None if dialect != Dialect::Bare && to.era() == Era::Rfc2086 => Some(Era::Macro),
            None => None,
        };
        Converter {
            from: from.cloned(),
            to: to.clone(),
            loader: Loader::new(to),
            readers: from_era.filter(|era| *era != to.era()).map(|era| (reader(era), reader(to.era()))),
            alike: Vec::new(),
            strict: to.era() == Era::Rfc2086,
        }
    }

    /// For a list that was converted before and is to be loaded as it is. What rights meant is asked again only if the
    /// list is sealed: then it is known whether they were made explicit on the way.
    pub fn for_loading(told: &Releases, sealed: bool, to: &Release) -> Converter {
        let converter = Converter::new(told, to.dialect(), to);
        let readers = converter.readers.filter(|_| sealed || to.era() == Era::Rfc2086);
        Converter { readers, strict: true, ..converter }
    }

    /// Converts one entry.
    pub fn convert(
        &mut self,
        entry: &Entry<'_>,
        changes: &mut Changes,
        report: &mut Report,
    ) -> Result<Converted, Refusal> {
        let kind = entry.kind();
        // 2.4 knows the bit, but prints no tombstones, and its mbpath dies of one that was loaded.
        if kind == Kind::Tombstone && !self.to.since(v(2, 5, 0)) {
            return Ok(Converted::Dropped("tombstones dropped"));
        }
        if kind == Kind::Intermediate && entry.partition() == partition::NULL && !self.to.since(v(3, 1, 9)) {
            return Ok(Converted::Dropped("intermediates dropped"));
        }
        let mbtype = self.mbtype_of(entry, kind, report)?;
        self.keeps_rights(entry, report)?;
        let dialect = self.to.dialect();
        // Loaders read `00` and `0` alike, and write the latter.
        let padded = entry
            .fields
            .mbtype
            .is_some_and(|(span, _)| span.end() - span.start() > 1 && entry.bytes[span.start()] == b'0');
        let convert = dialect != entry.dialect || padded || entry.fields.place != trimmed(entry);
        if convert {
            if !acl::is_closed(entry.acl()) {
                return Err(unclosed(entry, "what its last identifier may do hangs on the release: mend the line"));
            }
            let fields = &entry.fields;
            let separator = if dialect == Dialect::Blank { b' ' } else { b'\t' };
            changes.replace_with(Span::new(fields.mailbox.end() + 1, fields.acl.start()), |text| {
                if dialect != Dialect::Bare {
                    match mbtype {
                        Mbtype::EMAIL => text.extend_from_slice(b"0 "),
                        mbtype => text.extend_from_slice(format!("{mbtype} ").as_bytes()),
                    }
                }
                if let Some(server) = entry.server() {
                    text.extend_from_slice(server);
                    text.push(b'!');
                }
                text.extend_from_slice(entry.partition());
                text.push(separator);
            });
        }
        self.loader.takes(entry, mbtype, changes.length_of(entry.bytes.len()))?;
        if convert {
            return Ok(Converted::Changed);
        }
        takes_as_it_is(entry, Some(&self.to), report)?;
        Ok(Converted::AsItIs)
    }

    /// The type for the target: kept, or told by the place where the oldest dialect has none.
    fn mbtype_of(&self, entry: &Entry<'_>, kind: Kind, report: &mut Report) -> Result<Mbtype, Refusal> {
        let to = self.to.dialect();
        let Some(mbtype) = entry.mbtype() else {
            if kind != Kind::Remote {
                return Ok(Mbtype::EMAIL);
            }
            if to == Dialect::Bare {
                let what = ": the loader takes remote mailboxes for local ones up to 2.3.3 (--drop remote)";
                report.notice(entry.at, "remote mailbox", what, entry.mailbox());
                return Ok(Mbtype::EMAIL);
            }
            self.refuse_bare_server(entry)?;
            let what = ": the old list does not tell remote (1) from moving (8); written as remote";
            report.notice(entry.at, "server!partition without a type", what, entry.mailbox());
            return Ok(Mbtype::REMOTE);
        };
        if to == Dialect::Bare && mbtype != Mbtype::EMAIL {
            let detail = format!("mbtype {mbtype}, {}; lists up to 2.3.3 have no types", mbtype.names());
            return Err(Refusal::with("type that the target does not have", detail));
        }
        self.loader.takes_type(mbtype)?;
        if kind == Kind::Remote && entry.server().is_none() {
            self.refuse_bare_server(entry)?;
        }
        if entry.server().is_some() && to != entry.dialect && !mbtype.has(Mbtype::REMOTE) && !mbtype.has(Mbtype::MOVING)
        {
            let detail = format!("mbtype {mbtype} says that it is local");
            return Err(Refusal::with("server!partition of a local mailbox", detail));
        }
        Ok(mbtype)
    }

    /// A remote entry without `!`: up to 2.4 the place is the server, from 2.5 on the partition, the server left out.
    fn refuse_bare_server(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let to_split = self.to.since(v(2, 5, 0));
        let kind = "remote mailbox without server!partition";
        match &self.from {
            _ if entry.server().is_some() => Ok(()),
            Some(from) if from.since(v(2, 5, 0)) && !to_split => {
                Err(Refusal::with(kind, format!("{from} left the server out; --drop remote")))
            }
            Some(from) if !from.since(v(2, 5, 0)) && to_split => Err(Refusal::with(
                kind,
                format!("{} would take the server for a partition: write server!partition, or --drop remote", self.to),
            )),
            Some(_) => Ok(()),
            None if partition::must_be_server(entry.partition()) && !to_split => Ok(()),
            None => Err(Refusal::with(kind, "server up to 2.4, partition from 2.5 on: tell --from")),
        }
    }

    /// Rights that the two releases read differently: lost on a target that knows RFC 2086 only, and otherwise
    /// `mbx-acl-rewrite`'s to keep.
    fn keeps_rights(&mut self, entry: &Entry<'_>, report: &mut Report) -> Result<(), Refusal> {
        let Some((old, new)) = &self.readers else { return Ok(()) };
        for pair in acl::pairs(entry.acl()) {
            if pair.rights == self.alike || acl::mean_the_same_everywhere(pair.rights) {
                continue;
            }
            let (was, becomes) = (old.read(pair.rights), new.read(pair.rights));
            let lost = !becomes.rights.includes(was.rights.without_n());
            let gained = !was.rights.includes(becomes.rights);
            if !lost && !gained {
                self.alike.clear();
                self.alike.extend_from_slice(pair.rights);
                continue;
            }
            let detail = format!("{} of {}", Name(pair.rights), Name(pair.identifier));
            if self.to.era() == Era::Rfc2086 {
                return Err(Refusal::with(
                    "rights that the target reads differently",
                    format!("{detail}: {} knows RFC 2086 only", self.to),
                ));
            }
            if self.strict {
                return Err(Refusal::with(
                    "rights that the target reads differently",
                    format!(
                        "{detail}: mbx-acl-rewrite is missing in the pipe, or lacks --rfc4314; if it came before \
                         mbx-parse --seal, tell that --rights-explicit"
                    ),
                ));
            }
            let detail = format!(" ({detail}; mbx-acl-rewrite behind mbx-parse keeps their meaning)");
            report.notice(entry.at, "rights that the two releases read differently", detail, entry.mailbox());
            break;
        }
        Ok(())
    }
}

/// The place as it is written: without stray blanks.
fn trimmed(entry: &Entry<'_>) -> Span {
    let start = entry.fields.server.map_or(entry.fields.partition.start(), |server| server.start());
    Span::new(start, entry.fields.partition.end())
}
