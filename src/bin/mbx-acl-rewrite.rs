//! mbx-acl-rewrite: rights and identifiers, and nothing else.

use clap::Parser;
use mbxtools::list::edits::{AclChanges, Changes};
use mbxtools::list::error::Stop;
use mbxtools::list::jansson::why_not_utf8;
use mbxtools::mailbox::acl;
use mbxtools::mailbox::acl::{Known, Pair, Reader, Reading, Rights, typed_rights};
use mbxtools::mailbox::entry::{Entry, Kind};
use mbxtools::mailbox::rejection::Refusal;
use mbxtools::mailbox::text::Name;
use mbxtools::release::{Dialect, Era, Release};
use mbxtools::run::engine::{Filter, Heading, Run, Verdict, run};
use mbxtools::run::main::main_of;
use mbxtools::run::options::{Common, KNOWN, Rejects, SideFiles, are_files, read_pairs, split_pair};
use mbxtools::run::report::Report;
use mbxtools::run::totals::Account;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Rewrite the rights and identifiers of a Cyrus mailbox list
///
/// By default the rights of RFC 2086, c and d, become those of RFC 4314, k, x, t and e, as the old server itself reads
/// them. The other options each do just what they say, and the default rewrite only with --rfc4314.
#[derive(Parser)]
#[command(name = "mbx-acl-rewrite", version = KNOWN)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rejects: Rejects,

    /// The deleteright of the old server's imapd.conf
    #[arg(long, value_name = "LETTER", default_value = "c", value_parser = letter)]
    deleteright: u8,

    /// Make the rights those of RFC 4314, also when another option is given
    #[arg(long)]
    rfc4314: bool,

    /// Replace one whole rights string by another
    #[arg(long, value_name = "OLD=NEW")]
    rights: Vec<OsString>,

    /// Rename an identifier, in its negative entries too
    #[arg(long, value_name = "OLD=NEW", allow_hyphen_values = true)]
    id: Vec<OsString>,

    /// Rename identifiers as a csv file of two columns says, old and new
    #[arg(long, value_name = "FILE")]
    id_map: Vec<PathBuf>,

    /// Take an identifier out of every ACL
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    drop_id: Vec<OsString>,

    /// Drop letters that the old server ignored
    ///
    /// A sealed list says whether they were ignored. Without a seal the list is aborted unless this or
    /// --rights-rewritten says it.
    #[arg(long)]
    drop_inert: bool,

    /// Keep letters that the old server did not know: mbx-acl-rewrite has been over the list already
    #[arg(long, conflicts_with = "drop_inert")]
    rights_rewritten: bool,

    /// Give an identifier at least these rights in every ACL
    #[arg(long, value_name = "ID=RIGHTS", allow_hyphen_values = true)]
    grant: Vec<OsString>,

    /// The list's files; - or none for stdin
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,
}

fn letter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [letter] if acl::are_letters(&[*letter]) => Ok(*letter),
        _ => Err(format!("one letter of {}cd is wanted, as in imapd.conf", Name(acl::CANONICAL))),
    }
}

/// What cyradm takes for rights. Read letter by letter, `all` would be a and l.
const CYRADM_WORDS: [&[u8]; 7] = [b"none", b"read", b"post", b"append", b"write", b"delete", b"all"];

/// What no entry had so far of what --id, --drop-id and --rights name.
#[derive(Default)]
struct Unmet {
    renamed: HashSet<Vec<u8>>,
    gone: HashSet<Vec<u8>>,
    rights: HashSet<Vec<u8>>,
}

impl Unmet {
    fn is_empty(&self) -> bool {
        self.renamed.is_empty() && self.gone.is_empty() && self.rights.is_empty()
    }
}

#[derive(Default)]
struct Counts {
    entries: u64,
    rights: u64,
    identifiers: u64,
    dropped: u64,
    granted: u64,
}

struct Rewrite {
    deleteright: u8,
    /// How the old server reads rights.
    reader: Reader,
    /// Whether what it reads is written out.
    rfc4314: bool,
    whole: HashMap<Vec<u8>, Vec<u8>>,
    identifiers: HashMap<Vec<u8>, Vec<u8>>,
    gone: HashSet<Vec<u8>>,
    grants: Vec<(Vec<u8>, Rights)>,
    /// Which grants an entry has met already.
    met: Vec<bool>,
    drop_inert: bool,
    /// The release that ignored letters, of a list that does not say whether it was rewritten since.
    asks: Option<Release>,
    /// Whether a sealed list gets rights from the options and keeps the others as they are. What is written may have
    /// letters that the old server did not know, so from here on the list is read by the rule of 2.3.8 and later, and
    /// what stays must mean the same by it.
    settles: bool,
    /// Whether something in an entry does not.
    unsettled: bool,
    /// What the options name and no entry had so far.
    unmet: Unmet,
    scratch: Vec<u8>,
    /// The last plain strings and what they become: most of a list are the same few.
    known: Known,
    counts: Counts,
}

impl Rewrite {
    /// One identifier's rights. True if anything was changed.
    fn pair(
        &mut self,
        pair: &Pair<'_>,
        entry: &Entry<'_>,
        acl: &mut AclChanges<'_, '_>,
        report: &mut Report,
    ) -> Result<bool, Stop> {
        if !self.unmet.is_empty() {
            self.meet(pair);
        }
        if self.gone.contains(pair.identifier) {
            acl.drop_pair(pair);
            self.counts.dropped += 1;
            return Ok(true);
        }
        let mut changed = false;
        if !self.identifiers.is_empty() {
            changed |= self.rename(pair, acl);
        }
        self.scratch.clear();
        let rights = match self.whole.get(pair.rights) {
            Some(new) => {
                self.scratch.extend_from_slice(new);
                true
            }
            None => self.explicit(pair, entry, report)?,
        };
        let rights = self.grant(pair, rights, entry, report)? || rights;
        if rights && self.scratch != pair.rights {
            acl.put_rights(pair, &self.scratch);
            self.counts.rights += 1;
            changed = true;
        } else if self.settles && !rights {
            let later = Reader::of_explicit().read(pair.rights);
            self.unsettled |= self.reader.read(pair.rights).rights != later.rights;
        }
        acl.next();
        Ok(changed)
    }

    /// Takes note of what the options name. Once each was met, this is not called any more.
    fn meet(&mut self, pair: &Pair<'_>) {
        self.unmet.renamed.remove(pair.identifier);
        if let Some(name) = pair.identifier.strip_prefix(b"-") {
            self.unmet.renamed.remove(name);
        }
        self.unmet.gone.remove(pair.identifier);
        self.unmet.rights.remove(pair.rights);
    }

    /// Another name for this pair's identifier, if the options have one.
    fn rename(&mut self, pair: &Pair<'_>, acl: &mut AclChanges<'_, '_>) -> bool {
        let new = self.renamed(pair.identifier);
        if new == pair.identifier {
            return false;
        }
        acl.put_identifier(pair, &new);
        self.counts.identifiers += 1;
        true
    }

    /// An identifier that stands twice in an ACL once it was renamed.
    fn becomes_twice(&self, entry: &Entry<'_>) -> Option<Vec<u8>> {
        let mut seen = HashSet::new();
        let stays = acl::pairs(entry.acl()).map(|pair| pair.identifier).filter(|id| !self.gone.contains(*id));
        stays.map(|id| self.renamed(id)).find(|id| !seen.insert(id.clone()))
    }

    /// What becomes of an identifier. A name that is mapped takes its negative entries along: left behind, they would
    /// deny nothing to anybody.
    fn renamed(&self, old: &[u8]) -> Vec<u8> {
        match (self.identifiers.get(old), old.strip_prefix(b"-").and_then(|name| self.identifiers.get(name))) {
            (Some(new), _) => new.clone(),
            (None, Some(new)) => [b"-", new.as_slice()].concat(),
            (None, None) => old.to_vec(),
        }
    }

    /// Puts explicit rights in canonical order into the scratch buffer if the string needs it.
    fn explicit(&mut self, pair: &Pair<'_>, entry: &Entry<'_>, report: &mut Report) -> Result<bool, Stop> {
        if !self.rfc4314 {
            return Ok(false);
        }
        if let Some(new) = self.known.get(pair.rights) {
            self.scratch.extend_from_slice(new);
            // Without a macro it stays as it is.
            return Ok(!new.is_empty());
        }
        let reading = self.reader.read(pair.rights);
        let has_inert = reading.inert != Rights::NONE;
        if !(reading.has_macro || has_inert) {
            self.known.put(pair.rights, b"");
            return Ok(false);
        }
        self.ask_about(&reading, pair, entry)?;
        reading.rights.write(&mut self.scratch);
        if !has_inert && !reading.has_unknown {
            self.known.put(pair.rights, &self.scratch);
        }
        self.tell_left_out(&reading, pair, entry, report);
        Ok(true)
    }

    /// Letters that the old server ignored, in a list that does not say whether they were written since: dropped, they
    /// may be rights that everybody has by now; kept, they may come alive. The user must say which.
    fn ask_about(&self, reading: &Reading, pair: &Pair<'_>, entry: &Entry<'_>) -> Result<(), Stop> {
        let Some(from) = self.asks.as_ref().filter(|_| reading.inert != Rights::NONE) else { return Ok(()) };
        let mut letters = Vec::new();
        reading.inert.write(&mut letters);
        Err(Stop::Refused(format!(
            "{}: {} of {} has {}, which {from} ignored (the list is of a later release: correct --from; or it was \
             rewritten before: --rights-rewritten keeps such letters; or they never counted: --drop-inert drops them): {}",
            entry.at,
            Name(pair.rights),
            Name(pair.identifier),
            Name(&letters),
            Name(entry.mailbox())
        )))
    }

    /// Tells which letters of a string are not in the one that was written into the scratch buffer.
    fn tell_left_out(&self, reading: &Reading, pair: &Pair<'_>, entry: &Entry<'_>, report: &mut Report) {
        let detail =
            format_args!(" ({} of {} becomes {})", Name(pair.rights), Name(pair.identifier), Name(&self.scratch));
        if reading.inert != Rights::NONE {
            report.loss(entry.at, "letters that the old server ignored are left out", detail, entry.mailbox());
        } else if reading.has_unknown {
            report.notice(entry.at, "letters that no server knows are left out", detail, entry.mailbox());
        }
    }

    /// Adds what is granted to this identifier; `in_scratch` tells where its rights are by now.
    fn grant(
        &mut self,
        pair: &Pair<'_>,
        in_scratch: bool,
        entry: &Entry<'_>,
        report: &mut Report,
    ) -> Result<bool, Stop> {
        if self.grants.is_empty() {
            return Ok(false);
        }
        let renamed = self.renamed(pair.identifier);
        let Some(index) = self.grants.iter().position(|(id, _)| *id == renamed) else { return Ok(false) };
        if std::mem::replace(&mut self.met[index], true) {
            return Ok(false);
        }
        // What was rewritten before is explicit, and means the same to every reader that knows the letters.
        let (reader, text) = match in_scratch {
            true => (Reader::of_explicit(), self.scratch.as_slice()),
            false => (self.reader, pair.rights),
        };
        let reading = reader.read(text);
        let granted = self.grants[index].1;
        if reading.rights.includes(granted) {
            return Ok(false);
        }
        self.ask_about(&reading, pair, entry)?;
        // A letter more behind the others, unless it would put a macro or a letter that slept to work otherwise.
        if reading.has_macro || reading.inert != Rights::NONE {
            self.scratch.clear();
            reading.rights.union(granted).write(&mut self.scratch);
            if !in_scratch {
                self.tell_left_out(&reading, pair, entry, report);
            }
        } else {
            if !in_scratch {
                self.scratch.extend_from_slice(pair.rights);
            }
            granted.without(reading.rights).write(&mut self.scratch);
        }
        self.counts.granted += 1;
        Ok(true)
    }

    /// Grants that a negative entry of the same ACL takes away again, that identifier's or everybody's: a server grants
    /// what is positive without what is negative (`lib/acl_afs.c:101` of 2.2.13). Who is in a group nobody knows here.
    fn tell_denied(&self, entry: &Entry<'_>, report: &mut Report) {
        for pair in acl::pairs(entry.acl()).filter(|pair| !self.gone.contains(pair.identifier)) {
            let renamed = self.renamed(pair.identifier);
            let Some(whom) = renamed.strip_prefix(b"-") else { continue };
            let rights = self.whole.get(pair.rights).map_or(pair.rights, Vec::as_slice);
            let denied = self.reader.read(rights).rights;
            let of_whom = |id: &[u8]| id == whom || (whom == b"anyone" && id.first() != Some(&b'-'));
            for (identifier, granted) in self.grants.iter().filter(|(id, _)| of_whom(id)) {
                let vain = granted.without(granted.without(denied));
                if vain != Rights::NONE {
                    let mut letters = Vec::new();
                    vain.write(&mut letters);
                    let detail = format_args!(
                        " ({} of {}: {} takes them away; --drop-id {} if that is not meant)",
                        Name(&letters),
                        Name(identifier),
                        Name(&renamed),
                        Name(pair.identifier)
                    );
                    report.loss(entry.at, "rights granted in vain", detail, entry.mailbox());
                }
            }
        }
    }
}

impl Filter for Rewrite {
    fn leaves_rights_explicit(&self, before: bool) -> bool {
        let brings_macros = self.whole.values().any(|new| new.contains(&b'c') || new.contains(&b'd'));
        (before || self.rfc4314 || self.settles) && !brings_macros
    }

    fn begin(&mut self, heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        // Without a release: the rule of 2.3.8 and later, right for every string that a server wrote itself.
        // And once they were made explicit, nothing in them is inert any more.
        let releases = &heading.releases;
        let era = match &releases.from {
            Some(from) if !releases.rights_rewritten => from.era(),
            _ => Era::LATEST,
        };
        self.reader = Reader::new(era, self.deleteright);
        if self.drop_inert && releases.from.is_none() {
            return Err(Stop::Trouble(
                "--drop-inert needs the release that printed the list, which ignored the letters: add --from RELEASE"
                    .to_string(),
            ));
        }
        self.asks = releases.from.clone().filter(|_| !(heading.sealed || self.drop_inert));
        if heading.dialect == Some(Dialect::Json)
            && let Some(why) =
                self.identifiers.values().chain(self.grants.iter().map(|(id, _)| id)).find_map(|id| why_not_utf8(id))
        {
            return Err(Stop::Trouble(format!("an identifier of the options: {why}")));
        }
        let writes = !self.whole.is_empty() || !self.grants.is_empty();
        self.settles =
            writes && !self.rfc4314 && heading.sealed && !releases.rights_rewritten && releases.from.is_some();
        if let Some(to) = &heading.releases.to
            && to.era() == Era::Rfc2086
            && (self.rfc4314 || !self.grants.is_empty())
        {
            return Err(Stop::Trouble(format!(
                "--to {to} knows RFC 2086 only: k, x, t and e would grant nothing there; leave mbx-acl-rewrite out"
            )));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        let mut changed = false;
        self.met.fill(false);
        self.unsettled = false;
        let mut acl = AclChanges::new(entry, changes);
        for pair in acl::pairs(entry.acl()) {
            changed |= self.pair(&pair, entry, &mut acl, report)?;
        }
        if changed
            && entry.dialect == Dialect::Json
            && !self.identifiers.is_empty()
            && let Some(twice) = self.becomes_twice(entry)
        {
            return Ok(Verdict::Refuse(Refusal::with(
                "two identifiers that become one",
                format_args!(
                    "{}: JSON holds one, and the loader takes the last; --drop-id one of the old ones, and --grant what \
                     it had",
                    Name(&twice)
                ),
            )));
        }
        if self.unsettled {
            return Ok(Verdict::Refuse(Refusal::with(
                "rights that the old server read differently",
                "among what is written here nobody could tell them apart: add --rfc4314",
            )));
        }
        if !self.grants.is_empty() && matches!(entry.kind(), Kind::Mailbox | Kind::Remote) {
            self.tell_denied(entry, report);
            if !acl::is_closed(entry.acl()) {
                return Ok(Verdict::Refuse(Refusal::with(
                    "ACL not closed by a TAB",
                    "a grant behind it would bring its last identifier to life",
                )));
            }
            for (i, (identifier, rights)) in self.grants.iter().enumerate() {
                if self.met[i] {
                    continue;
                }
                self.scratch.clear();
                rights.write(&mut self.scratch);
                acl.add(identifier, &self.scratch);
                self.counts.granted += 1;
                changed = true;
            }
        }
        self.counts.entries += u64::from(changed);
        Ok(if changed { Verdict::Change } else { Verdict::Pass })
    }

    fn end(&mut self, _heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        let identifier = ("identifier", "identifier that no entry has");
        for ((what, kind), names) in [
            (identifier, &self.unmet.renamed),
            (identifier, &self.unmet.gone),
            (("rights", "rights that no entry has"), &self.unmet.rights),
        ] {
            let mut names: Vec<_> = names.iter().collect();
            names.sort();
            for name in names {
                report.remark_alike(kind, format_args!("no entry has the {what} {}", Name(name)));
            }
        }
        Ok(())
    }

    fn notes(&self, account: &mut Account) {
        let Counts { entries, rights, identifiers, dropped, granted, .. } = self.counts;
        account.notes.extend([
            ("changed", entries),
            ("rights rewritten", rights),
            ("identifiers renamed", identifiers),
            ("identifiers taken out", dropped),
            ("grants", granted),
        ]);
    }
}

fn main() -> ExitCode {
    main_of("mbx-acl-rewrite", |options: &Options| &options.common, rewrite)
}

fn rewrite(options: Options, report: &mut Report) -> Result<Account, Stop> {
    are_files(&options.files, "--rights OLD=NEW or --id OLD=NEW is meant?", |word| word.contains(&b'='))?;
    let mut side = SideFiles::beside(&options.files, &options.id_map);
    let (whole, identifiers, grants) = (whole(&options)?, identifiers(&options)?, grants(&options)?);
    let others = !(whole.is_empty() && identifiers.is_empty() && options.drop_id.is_empty() && grants.is_empty());
    let gone: HashSet<Vec<u8>> = options.drop_id.into_iter().map(OsString::into_vec).collect();
    if options.drop_inert && others && !options.rfc4314 && grants.is_empty() {
        return Err(Stop::Trouble(
            "--drop-inert is about the default rewrite, which the other options leave out: add --rfc4314".to_string(),
        ));
    }
    let unmet = Unmet {
        renamed: identifiers.keys().cloned().collect(),
        gone: gone.clone(),
        rights: whole.keys().cloned().collect(),
    };
    let mut filter = Rewrite {
        deleteright: options.deleteright,
        reader: Reader::new(Era::LATEST, options.deleteright),
        rfc4314: options.rfc4314 || !others,
        whole,
        identifiers,
        gone,
        met: vec![false; grants.len()],
        drop_inert: options.drop_inert,
        asks: None,
        settles: false,
        unsettled: false,
        unmet,
        grants,
        scratch: Vec::new(),
        known: Known::default(),
        counts: Counts::default(),
    };
    let mut whole = Run::between(&options.common, &options.rejects, &options.files, &mut side)?;
    whole.releases.rights_rewritten = options.rights_rewritten;
    Ok(run(whole, &mut filter, report))
}

/// What becomes of whole rights strings, by --rights.
fn whole(options: &Options) -> Result<HashMap<Vec<u8>, Vec<u8>>, Stop> {
    let mut whole = HashMap::new();
    for word in &options.rights {
        match split_pair(word) {
            Some((old, new)) if whole.get(&old).is_some_and(|known| *known != new) => {
                return Err(Stop::Trouble(format!("--rights: {} is to become two things", Name(&old))));
            }
            Some((old, new)) if acl::are_letters(&new) && !CYRADM_WORDS.contains(&new.as_slice()) => {
                whole.insert(old, new);
            }
            _ => {
                return Err(Stop::Trouble(format!(
                    "--rights {}: OLD=NEW is wanted, two whole rights strings, the new one of the letters {}cd",
                    word.display(),
                    Name(acl::CANONICAL)
                )));
            }
        }
    }
    Ok(whole)
}

/// What becomes of identifiers, by --id-map and --id.
fn identifiers(options: &Options) -> Result<HashMap<Vec<u8>, Vec<u8>>, Stop> {
    let mut identifiers = HashMap::new();
    let mapped = options.id_map.iter().map(|path| read_pairs(path)).collect::<Result<Vec<_>, _>>()?;
    let typed = options.id.iter().map(|word| match split_pair(word) {
        Some((_, new)) if new.contains(&b'=') => {
            let what = "has more than one =: --id-map FILE takes old,new with a comma";
            Err(Stop::Trouble(format!("--id {}: {what}", word.display())))
        }
        pair => pair.ok_or_else(|| Stop::Trouble(format!("--id {}: OLD=NEW is wanted", word.display()))),
    });
    for pair in mapped.into_iter().flatten().map(Ok).chain(typed) {
        let (old, new) = pair?;
        identifier_or_stop(&new)?;
        if old.starts_with(b"-") != new.starts_with(b"-") {
            return Err(Stop::Trouble(format!(
                "{} is to become {}: that makes a grant of what is denied, or the other way round; an identifier without the \
                 - takes its negative entries along",
                Name(&old),
                Name(&new)
            )));
        }
        if let Some(other) = identifiers.insert(old.clone(), new.clone())
            && other != new
        {
            return Err(Stop::Trouble(format!("{} is to become both {} and {}", Name(&old), Name(&other), Name(&new))));
        }
    }
    Ok(identifiers)
}

/// Who gets which rights, by --grant; the rights of one who stands there twice are added up.
fn grants(options: &Options) -> Result<Vec<(Vec<u8>, Rights)>, Stop> {
    let mut grants: Vec<(Vec<u8>, Rights)> = Vec::new();
    for word in &options.grant {
        // The rights are behind the last =: identifiers may have one.
        let bytes = word.as_encoded_bytes();
        let at = memchr::memrchr(b'=', bytes).unwrap_or(0);
        let granted = bytes.get(at + 1..).and_then(typed_rights);
        let granted = granted.filter(|_| !CYRADM_WORDS.contains(&&bytes[at + 1..]));
        let (Some(rights), Some(identifier)) = (granted, bytes.get(..at).filter(|id| !id.is_empty())) else {
            return Err(Stop::Trouble(format!(
                "--grant {}: ID=RIGHTS is wanted, the rights of the letters {}; what c and d grant hangs on the server, so it \
                 is kx for c, te for d",
                word.display(),
                Name(acl::CANONICAL)
            )));
        };
        identifier_or_stop(identifier)?;
        match grants.iter_mut().find(|(known, _)| known == identifier) {
            Some((_, known)) => *known = known.union(rights),
            None => grants.push((identifier.to_vec(), rights)),
        }
    }
    Ok(grants)
}

/// An identifier that a list can hold.
fn identifier_or_stop(identifier: &[u8]) -> Result<(), Stop> {
    match identifier.is_empty() || identifier.iter().any(u8::is_ascii_control) {
        true => Err(Stop::Trouble(format!("{} cannot be an identifier", Name(identifier)))),
        false => Ok(()),
    }
}
