//! An entry of one release as an entry of another, or why not.
//!
//! `mbx-parse --to` and the guard ask the same [`Converter`]: what must be written so that a release's
//! `ctl_mboxlist -u` stores what is meant.

use crate::list::edits::Changes;
use crate::list::seal::Releases;
use crate::list::target::{END_XFER, Loader, NUMBERS};
use crate::list::{json, text};
use crate::mailbox::acl;
use crate::mailbox::acl::{Known, Reader, Rights};
use crate::mailbox::entry::{Entry, Kind, Member, Span, is_by_name};
use crate::mailbox::jmap_id;
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::name::Namespaces;
use crate::mailbox::partition;
use crate::mailbox::rejection::Refusal;
use crate::mailbox::text::Name;
use crate::release::{Dialect, Era, Release, v};
use crate::run::report::Report;
use memchr::memchr3;
use std::collections::HashMap;

/// An entry that is not to be converted: only what its readers disagree about is asked. `latest` is the release that
/// the list is for, if anybody told.
pub fn takes_as_it_is(entry: &Entry<'_>, latest: Option<&Release>, report: &mut Report) -> Result<(), Refusal> {
    if acl::is_closed(entry.acl()) {
        return Ok(());
    }
    match latest {
        None => Err(unclosed(
            entry,
            "2.2 to 2.4 ignore its last identifier, 2.5 and later give it its rights: give --from or --to of the release that \
             reads it, or mend the line",
        )),
        Some(release) if release.since(v(2, 5, 0)) => Err(unclosed(
            entry,
            "2.2 to 2.4 ignore its last identifier, 2.5 and later give it its rights: mend the line",
        )),
        Some(_) => {
            report.loss(
                entry.at,
                "ACL not closed by a TAB",
                ": 2.2 to 2.4 ignore its last identifier",
                entry.mailbox(),
            );
            Ok(())
        }
    }
}

/// Asks it of an entry that becomes one of another dialect.
fn must_be_closed(entry: &Entry<'_>) -> Result<(), Refusal> {
    match acl::is_closed(entry.acl()) {
        true => Ok(()),
        false => Err(unclosed(entry, "what its last identifier may do hangs on the release: mend the line")),
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
    /// The one that it reads.
    dialect: Dialect,
    loader: Loader,
    readers: Option<(Reader, Reader)>,
    /// The last rights that both read alike.
    alike: Known,
    /// An ACL whose identifiers were united.
    united: Vec<u8>,
    /// How the rights of the list are to be read.
    era: Era,
    /// Whether rights that the two releases read differently are refused: behind mbx-parse, nothing mends them any
    /// more.
    strict: bool,
}

impl Converter {
    /// From the list of `told.from`, if that is known, in `dialect`, to `to`, which reads names as the target of `names`.
    pub fn new(told: &Releases, names: &Namespaces, dialect: Dialect, to: &Release) -> Converter {
        let from = told.from.as_ref();
        // deleteright is not in the dump; its default is c everywhere.
        let reader = |era| Reader::new(era, b'c');
        let from_era = match from {
            // Explicit rights mean the same to every release that knows the letters.
            _ if told.rights_rewritten => Some(Era::LATEST).filter(|_| to.era() == Era::Rfc2086),
            Some(from) => Some(from.era()),
            None if dialect != Dialect::Bare && to.era() == Era::Rfc2086 => Some(Era::Macro),
            None => None,
        };
        Converter {
            from: from.cloned(),
            to: to.clone(),
            dialect: to.dialect(),
            loader: Loader::new(to, names),
            readers: from_era.filter(|era| *era != to.era()).map(|era| (reader(era), reader(to.era()))),
            alike: Known::default(),
            united: Vec::new(),
            era: from.filter(|_| !told.rights_rewritten).map_or(Era::LATEST, Release::era),
            strict: to.era() == Era::Rfc2086,
        }
    }

    /// For a list that was converted before and is to be loaded as it is. What rights meant is asked again only if the
    /// list is sealed: then it is known whether they were made explicit on the way.
    pub fn for_loading(told: &Releases, names: &Namespaces, sealed: bool, to: &Release) -> Converter {
        let converter = Converter::new(told, names, to.dialect(), to);
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
        let dialect = self.dialect;
        if let Some(why) = self.drops(entry, kind) {
            // The loader reads the letters before it skips an entry.
            if self.strict && entry.dialect == Dialect::Json && dialect == Dialect::Json {
                self.loader.takes_type(entry, entry.mbtype().unwrap_or_default())?;
            }
            return Ok(Converted::Dropped(why));
        }
        let mbtype = self.mbtype_of(entry, kind, report)?;
        self.keeps_rights(entry, report)?;
        match (entry.dialect, dialect) {
            (from, Dialect::Json) => {
                // Before what JSON cannot hold is written. Lines may have any length there.
                self.loader.takes(entry, mbtype, 0)?;
                match from {
                    Dialect::Json => self.complete(entry, changes, report)?,
                    Dialect::Bare | Dialect::Tab | Dialect::Blank => {
                        self.write_object(entry, mbtype, changes, report)?
                    }
                }
            }
            (Dialect::Json, Dialect::Bare | Dialect::Tab | Dialect::Blank) => {
                changes.replace_with(Span::new(0, entry.bytes.len()), |line| {
                    line.extend_from_slice(entry.mailbox());
                    line.push(b'\t');
                    text::write_place(entry, mbtype, dialect, line);
                    line.extend_from_slice(entry.acl());
                });
            }
            (Dialect::Bare | Dialect::Tab | Dialect::Blank, Dialect::Bare | Dialect::Tab | Dialect::Blank) => {
                self.write_place(entry, mbtype, changes)?;
            }
        }
        if dialect != Dialect::Json {
            self.loader.takes(entry, mbtype, changes.length_of(entry.bytes.len()))?;
        }
        if !changes.is_empty() {
            return Ok(Converted::Changed);
        }
        takes_as_it_is(entry, Some(&self.to), report)?;
        Ok(Converted::AsItIs)
    }

    /// What the target's loader would make something else of, or nothing at all.
    fn drops(&self, entry: &Entry<'_>, kind: Kind) -> Option<&'static str> {
        let placeless = entry.partition().is_empty() || entry.partition() == partition::NULL;
        let json = self.dialect == Dialect::Json;
        match kind {
            // 2.4 knows the bit, but prints no tombstones, and its mbpath dies of one that was loaded; 3.6 and later
            // skip what has no partition, and complain of it, and with one it takes the place of the mailbox that has
            // its uniqueid now.
            Kind::Tombstone if !self.to.since(v(2, 5, 0)) || json => Some("tombstones dropped"),
            Kind::Intermediate if placeless && (json || !self.to.since(v(3, 1, 9))) => Some("intermediates dropped"),
            _ => None,
        }
    }

    /// A line as a line of another text dialect.
    fn write_place(&self, entry: &Entry<'_>, mbtype: Mbtype, changes: &mut Changes) -> Result<(), Refusal> {
        let dialect = self.dialect;
        let fields = &entry.fields;
        // Loaders read `00` and `0` alike, and write the latter.
        let padded =
            fields.mbtype.is_some_and(|(span, _)| span.end() - span.start() > 1 && entry.values[span.start()] == b'0');
        if dialect == entry.dialect && !padded && fields.place == trimmed(entry) {
            return Ok(());
        }
        must_be_closed(entry)?;
        changes.replace_with(Span::new(fields.mailbox.end() + 1, fields.acl.start()), |line| {
            text::write_place(entry, mbtype, dialect, line);
        });
        Ok(())
    }

    /// A line as a member of a JSON list.
    fn write_object(
        &mut self,
        entry: &Entry<'_>,
        mbtype: Mbtype,
        changes: &mut Changes,
        report: &mut Report,
    ) -> Result<(), Refusal> {
        must_be_closed(entry)?;
        let mut acl = entry.acl();
        let breaks = |text: &[u8]| !text.is_ascii() || memchr3(b'"', b'%', b'\\', text).is_some();
        if breaks(acl) {
            // SETACL and new flags write the ACL into cyrus.header as a literal, which 3.6.1 does not read back:
            // "Invalid identifier" from then on (seen; 3.8 and later were not tried).
            let which = acl::pairs(acl).map(|pair| pair.identifier).find(|id| breaks(id)).unwrap_or_default();
            let what = format!(
                " ({} has one of \" % \\, or 8 bits. It comes along; but {} may not open the mailbox any more once it has \
                 written its cyrus.header; mbx-acl-rewrite --id or --drop-id mends it)",
                Name(which),
                self.to
            );
            report.notice(entry.at, "identifier that breaks a cyrus.header", what, entry.mailbox());
        }
        if let Some(twice) = acl::twice(acl) {
            let what = format!(" ({}: JSON holds one, which gets the rights of both)", Name(twice));
            report.notice(entry.at, "identifier twice in one ACL", what, entry.mailbox());
            self.unite(acl)?;
            acl = &self.united;
        }
        // Of records of the database the uniqueid is known already.
        let uniqueid = entry.member(Member::Uniqueid).filter(|_| self.to.wants_jmap_id());
        let jmap_id = uniqueid.map(jmap_id::of);
        let mut written = Some(());
        changes.replace_with(Span::new(0, entry.bytes.len()), |text| {
            written = json::write(entry, mbtype, acl, jmap_id.as_deref(), text);
        });
        written.ok_or_else(|| {
            let detail = format!("{}; JSON has a letter for one", mbtype.names());
            Refusal::with("type that the target does not have", detail)
        })
    }

    /// Puts an ACL with each identifier once, at its first place with the rights of all, into `united`.
    fn unite(&mut self, acl: &[u8]) -> Result<(), Refusal> {
        let mut order = Vec::new();
        let mut all: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
        for pair in acl::pairs(acl) {
            let rights = all.entry(pair.identifier).or_default();
            if rights.is_empty() {
                order.push(pair.identifier);
            }
            rights.push(pair.rights);
        }
        self.united.clear();
        for identifier in order {
            self.united.extend_from_slice(identifier);
            self.united.push(b'\t');
            let rights = &all[identifier];
            if let [one] = rights[..] {
                self.united.extend_from_slice(one);
            } else if self.era.macros_always_add() {
                // c and d mean what they mean, whatever stands beside them.
                let mut written = [false; 256];
                let letters = rights.iter().copied().flatten().copied();
                self.united
                    .extend(letters.filter(|letter| !std::mem::replace(&mut written[usize::from(*letter)], true)));
            } else {
                // What the old server ignored stays: to keep or drop it is not asked here.
                let read = |deleteright: &u8| {
                    let reader = Reader::new(self.era, *deleteright);
                    rights
                        .iter()
                        .map(|rights| reader.read(rights))
                        .fold(Rights::NONE, |sum, reading| sum.union(reading.rights).union(reading.inert))
                };
                let [as_c, as_d, as_x] = [b'c', b'd', b'x'].map(|letter| read(&letter));
                if as_c != as_d || as_c != as_x {
                    return Err(Refusal::with(
                        "identifier twice in one ACL",
                        format_args!(
                            "{}: what its c and d are together hangs on deleteright of the old server: mbx-acl-rewrite \
                             --deleteright comes before mbx-parse --to here",
                            Name(identifier)
                        ),
                    ));
                }
                as_c.write(&mut self.united);
            }
            self.united.push(b'\t');
        }
        Ok(())
    }

    /// A JSON entry for another release of JSON.
    fn complete(&self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<(), Refusal> {
        if self.strict {
            return self.loader.has_all(entry);
        }
        // What has no files here, or none that could be found, can be filled in here or never.
        if entry.kind() != Kind::Mailbox || !is_by_name(entry) {
            self.loader.has_uniqueid(entry)?;
        }
        if entry.kind() != Kind::Mailbox {
            for member in NUMBERS {
                if entry.member(member).is_none_or(<[u8]>::is_empty) {
                    changes.put_member(entry, member, b"0");
                }
            }
        }
        if let Some(name) = entry.member(Member::Name).filter(|name| *name != entry.mailbox()) {
            let what = format!(" ({}; the loader takes the key)", Name(name));
            report.notice(entry.at, "name that is not the entry's key", what, entry.mailbox());
        }
        let lacks_jmap_id = self.to.wants_jmap_id() && entry.member(Member::JmapId).is_none_or(<[u8]>::is_empty);
        if let Some(uniqueid) = entry.member(Member::Uniqueid).filter(|id| lacks_jmap_id && !id.is_empty()) {
            changes.put_member(entry, Member::JmapId, &jmap_id::of(uniqueid));
        }
        Ok(())
    }

    /// The type for the target: kept, or told by the place where the oldest dialect has none.
    fn mbtype_of(&self, entry: &Entry<'_>, kind: Kind, report: &mut Report) -> Result<Mbtype, Refusal> {
        let to = self.dialect;
        // Directories are by name up to 3.5, and 3.6 must be told so.
        let by_name = match !entry.dialect.tells_directory() && to.tells_directory() && kind == Kind::Mailbox {
            true => Mbtype::LEGACY,
            false => Mbtype::EMAIL,
        };
        let Some(mbtype) = entry.mbtype() else {
            if kind != Kind::Remote {
                return Ok(by_name);
            }
            if !to.has_types() {
                let what = ": the loader takes remote mailboxes for local ones up to 2.3.3 (--drop remote)";
                report.notice(entry.at, "remote mailbox", what, entry.mailbox());
                return Ok(Mbtype::EMAIL);
            }
            self.refuse_bare_server(entry)?;
            let what = ": the old list does not tell remote (1) from moving (8); written as remote";
            report.notice(entry.at, "server!partition without a type", what, entry.mailbox());
            return Ok(Mbtype::REMOTE);
        };
        // The numbers of text mean the same in all of its dialects.
        let numbers = |from: &&Release| from.dialect().tells_directory() == entry.dialect.tells_directory();
        if let Some(unknown) = self.from.as_ref().filter(numbers).and_then(|from| mbtype.unknown_to(from)) {
            let detail = format!("{} came later: --from tells the release that printed the list", unknown.names());
            return Err(Refusal::with("type that the old server did not have", detail));
        }
        let mbtype = match (entry.dialect, to) {
            (Dialect::Json, Dialect::Json) => mbtype,
            (Dialect::Json, _) if kind == Kind::Mailbox && !mbtype.has(Mbtype::LEGACY) => {
                let detail = format!("no l in its mbtype; {} looks for it by name", self.to);
                return Err(Refusal::with("directory by uniqueid", detail));
            }
            (Dialect::Json, _) => mbtype.without(Mbtype::LEGACY),
            _ => mbtype,
        };
        if !to.has_types() && mbtype != Mbtype::EMAIL {
            let mend = match kind {
                Kind::Remote => "--drop remote leaves it out",
                _ if mbtype.has(Mbtype::MOVING) => END_XFER,
                _ => "set it apart with --reject",
            };
            let detail = format!("{}; lists up to 2.3.3 have no types: {mend}", mbtype.names());
            return Err(Refusal::with("type that the target does not have", detail));
        }
        self.loader.takes_type(entry, mbtype)?;
        // One that was moving when the server stopped: up to 2.4 its place was the other server's, too.
        let bare = mbtype.has(Mbtype::MOVING) && partition::must_be_server(entry.partition());
        if (kind == Kind::Remote || bare) && entry.server().is_none() {
            self.refuse_bare_server(entry)?;
        }
        let converts = to != entry.dialect || to == Dialect::Json;
        if entry.server().is_some() && converts && !mbtype.has(Mbtype::REMOTE) && !mbtype.has(Mbtype::MOVING) {
            let detail = format!("its mbtype, {}, says that it is local", mbtype.names());
            return Err(Refusal::with("server!partition of a local mailbox", detail));
        }
        Ok(mbtype.with(by_name))
    }

    /// A remote entry without `!`: up to 2.4 the place is the server, from 2.5 on the partition, the server left out.
    fn refuse_bare_server(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let to_split = self.to.since(v(2, 5, 0));
        let (kind, way_out) = match entry.kind() {
            Kind::Remote => ("remote mailbox without server!partition", "--drop remote"),
            _ => ("moving mailbox without server!partition", END_XFER),
        };
        match &self.from {
            _ if entry.server().is_some() => Ok(()),
            _ if self.dialect == Dialect::Json => {
                Err(Refusal::with(kind, format!("{} would look for it here; {way_out}", self.to)))
            }
            Some(from) if from.since(v(2, 5, 0)) && !to_split => {
                Err(Refusal::with(kind, format!("{from} left the server out; {way_out}")))
            }
            Some(from) if !from.since(v(2, 5, 0)) && to_split => Err(Refusal::with(
                kind,
                format!("{} would take the server for a partition: write server!partition, or {way_out}", self.to),
            )),
            Some(_) => Ok(()),
            None if partition::must_be_server(entry.partition()) && !to_split => Ok(()),
            None => Err(Refusal::with(kind, "server up to 2.4, partition from 2.5 on: give --from, or --drop remote")),
        }
    }

    /// Rights that the two releases read differently: lost on a target that knows RFC 2086 only, and otherwise
    /// `mbx-acl-rewrite`'s to keep.
    fn keeps_rights(&mut self, entry: &Entry<'_>, report: &mut Report) -> Result<(), Refusal> {
        let Some((old, new)) = &self.readers else { return Ok(()) };
        for pair in acl::pairs(entry.acl()) {
            if self.alike.get(pair.rights).is_some() {
                continue;
            }
            let (was, becomes) = (old.read(pair.rights), new.read(pair.rights));
            let lost = !becomes.rights.includes(was.rights.without(was.rights.novel()));
            let gained = !was.rights.includes(becomes.rights);
            if !lost && !gained {
                self.alike.put(pair.rights, b"");
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
                         mbx-parse --seal, tell that --rights-rewritten"
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
