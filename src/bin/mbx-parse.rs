//! mbx-parse: read, check, convert, look.

use clap::{Parser, ValueEnum};
use mbxtools::list::edits::Changes;
use mbxtools::list::error::Stop;
use mbxtools::list::record::Form;
use mbxtools::list::seal::Releases;
use mbxtools::list::stream::{Input, Source, stdout};
use mbxtools::mailbox::acl::{self, Reader, Rights};
use mbxtools::mailbox::entry::{Entry, Kind};
use mbxtools::mailbox::mbtype::Mbtype;
use mbxtools::mailbox::name::{Doubts, MailboxName, Namespace, Namespaces};
use mbxtools::mailbox::rejection::At;
use mbxtools::mailbox::text::Name;
use mbxtools::release::downgrade::Downgrade;
use mbxtools::release::{Dialect, Era, Release};
use mbxtools::run::engine::{Filter, Heading, Run, Seal, Verdict, run};
use mbxtools::run::main::main_of;
use mbxtools::run::options::{Common, KNOWN, Rejects, SideFiles};
use mbxtools::run::report::Report;
use mbxtools::run::totals::Account;
use mbxtools::spool::options::ConfOptions;
use mbxtools::verbs::convert::{Converted, Converter, takes_as_it_is};
use mbxtools::verbs::summary::Summary;
use mbxtools::verbs::table::{Format, Rows};
use mbxtools::verbs::uniqueids::Uniqueids;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Read, check and convert a Cyrus mailbox list
///
/// Without --to the list goes through unchanged, if every line of it is an entry. With --to it becomes what that
/// release's `ctl_mboxlist -u` reads, and what that release cannot hold is refused by name.
#[derive(Parser)]
#[command(name = "mbx-parse", version = KNOWN)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rejects: Rejects,
    #[command(flatten)]
    conf: ConfOptions,

    /// Write a sealed list: it begins and ends with marks that the other filters check
    #[arg(long)]
    seal: bool,

    /// Tell in the seal that mbx-acl-rewrite has been over the list already
    #[arg(long, requires = "seal")]
    rights_rewritten: bool,

    /// Take the input for whole only if it ends with the line !mbx-end
    #[arg(long)]
    require_end: bool,

    /// Keep only the mailboxes named in FILE, one a line, and what is below them
    #[arg(long, value_name = "FILE")]
    only: Option<PathBuf>,

    /// Leave entries of these kinds out
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    drop: Vec<Droppable>,

    /// Check only: nothing is written to stdout
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Instead of the list, say on stdout what it holds
    #[arg(long, conflicts_with_all = ["format", "seal"])]
    summary: bool,

    /// Instead of the list, write a table of its entries
    #[arg(long, value_name = "FORMAT", conflicts_with = "seal")]
    format: Option<Format>,

    /// The list's files; - or none for stdin
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,

    /// A command that writes the list, behind --: its failure aborts the list
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "files")]
    command: Vec<OsString>,
}

/// What --drop leaves out.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Droppable {
    Tombstone,
    Intermediate,
    Remote,
    Deletedprefix,
    Reserve,
}

impl Droppable {
    fn holds(self, entry: &Entry<'_>, source: &Namespace) -> bool {
        match self {
            Droppable::Tombstone => entry.kind() == Kind::Tombstone,
            Droppable::Intermediate => entry.kind() == Kind::Intermediate,
            Droppable::Remote => entry.kind() == Kind::Remote,
            Droppable::Deletedprefix => source.is_deleted(entry.name()),
            Droppable::Reserve => entry.mbtype().is_some_and(|mbtype| mbtype.has(Mbtype::RESERVE)),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Droppable::Tombstone => "tombstones dropped",
            Droppable::Intermediate => "intermediates dropped",
            Droppable::Remote => "remote dropped",
            Droppable::Deletedprefix => "deletedprefix dropped",
            Droppable::Reserve => "reserved dropped",
        }
    }
}

/// The mailboxes of --only, and which of them were met.
struct Only(HashMap<Vec<u8>, bool>);

impl Only {
    fn read(path: &Path) -> Result<Only, Stop> {
        let name = Name(path.as_os_str().as_bytes());
        let text = std::fs::read(path).map_err(|e| Stop::io(&name, &e))?;
        // An editor of another system may have put a byte order mark before the first.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let lines = text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let names: HashMap<_, _> = lines.filter(|line| !line.is_empty()).map(|line| (line.to_vec(), false)).collect();
        match names.is_empty() {
            true => {
                Err(Stop::Trouble(format!("{name}: names no mailbox; one internal name (user.bob) a line is wanted")))
            }
            false => Ok(Only(names)),
        }
    }

    /// Whether the mailbox or one that it lies below is named.
    fn holds(&mut self, mailbox: MailboxName<'_>) -> bool {
        let mut found = false;
        for name in mailbox.ancestors() {
            if let Some(met) = self.0.get_mut(name) {
                *met = true;
                found = true;
            }
        }
        found
    }

    fn tell_unmet(&self, report: &mut Report) {
        let mut unmet: Vec<_> = self.0.iter().filter(|(_, met)| !**met).map(|(name, _)| name).collect();
        unmet.sort();
        for name in unmet {
            report.told("--only", format_args!("--only: the list has no such mailbox: {}", Name(name)));
        }
    }
}

/// What stdout shows instead of the list.
enum View {
    Nothing,
    Summary(Box<Summary>),
    Rows(Rows),
}

struct Parse {
    conf: ConfOptions,
    /// What the two servers read in names.
    names: Namespaces,
    doubts: Doubts,
    /// Of a list that is only looked at: its uniqueids, which nobody else asks.
    uniqueids: Option<Uniqueids>,
    drop: Vec<Droppable>,
    only: Option<Only>,
    /// The release that will load the list.
    to: Option<Release>,
    converter: Option<Converter>,
    /// The release that the list is for, as far as anybody told.
    latest: Option<Release>,
    view: View,
    /// Whether nothing is written.
    dry_run: bool,
    /// Whether it was told that the list is the text of the database.
    database_told: bool,
    /// The release whose database has the form of the list, though its dump has another: the list may be another
    /// release's dump.
    doubted: Option<Release>,
}

impl Parse {
    /// Says, once, that the list is no dump.
    fn tell_database(&mut self, form: Form, report: &mut Report) {
        if !std::mem::replace(&mut self.database_told, true) {
            report.remark(format_args!(
                "this is the text of the database itself, not a dump of ctl_mboxlist -d: read as records of {form}"
            ));
        }
    }

    /// Whether the list ends here.
    fn looks(&self) -> bool {
        self.dry_run || matches!(self.view, View::Summary(_))
    }

    /// Whether deleted mailboxes are counted or left out.
    fn sorts_out(&self) -> bool {
        self.drop.contains(&Droppable::Deletedprefix) || matches!(self.view, View::Summary(_))
    }

    fn judge(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Verdict {
        if let Some(only) = &mut self.only
            && !only.holds(entry.name())
        {
            return Verdict::Drop("not in --only");
        }
        if let Some(kind) = self.drop.iter().find(|kind| kind.holds(entry, &self.names.source)) {
            return Verdict::Drop(kind.label());
        }
        match &mut self.converter {
            Some(converter) => match converter.convert(entry, changes, report) {
                Ok(Converted::AsItIs) => Verdict::Pass,
                Ok(Converted::Changed) => Verdict::Change,
                Ok(Converted::Dropped(why)) => Verdict::Drop(why),
                Err(refusal) => Verdict::Refuse(refusal),
            },
            None => match takes_as_it_is(entry, self.latest.as_ref(), report) {
                Ok(()) => Verdict::Pass,
                Err(refusal) => Verdict::Refuse(refusal),
            },
        }
    }
}

/// A release up to 2.3.9 keeps in its database what later ones print: rights that it never wrote show that the list is the
/// dump of a later one (`facts/acl.md` 0). Up to 2.3.7 servers keep no macro beside its members.
fn can_be_of(entry: &Entry<'_>, from: &Release) -> Result<(), Stop> {
    let reader = Reader::new(from.era(), b'c');
    let has = |rights: &[u8], letters: &[u8]| rights.iter().any(|letter| letters.contains(letter));
    let later = |rights: &[u8]| {
        reader.read(rights).inert != Rights::NONE
            || (from.era() == Era::Additive && has(rights, b"cd") && has(rights, b"kxte"))
    };
    match acl::pairs(entry.acl()).find(|pair| later(pair.rights)) {
        None => Ok(()),
        Some(pair) => Err(Stop::Trouble(format!(
            "{}: {} of {} are rights that {from} never wrote: is it the right list? If it is, give --from the release that              printed it, one of 2.3.10 to 3.5: {}",
            entry.at,
            Name(pair.rights),
            Name(pair.identifier),
            Name(entry.mailbox())
        ))),
    }
}

impl Filter for Parse {
    const MENDS: bool = true;

    fn writes(&self, read: Option<Dialect>) -> Option<Dialect> {
        self.to.as_ref().map(Release::dialect).or(read)
    }

    fn database(&mut self, heading: &Heading, at: At<'_>, report: &mut Report) -> Result<(), Stop> {
        let Some(form) = heading.database else { return Ok(()) };
        let Releases { from, to, .. } = &heading.releases;
        if let Some(from) = from.as_ref().filter(|from| !form.is_of(from)) {
            return Err(Stop::Trouble(format!(
                "{at}: {from} does not keep such records in its database, {form} do: --from is the release that wrote it"
            )));
        }
        let writes = matches!(self.view, View::Nothing) && !self.dry_run;
        if writes && from.is_none() && to.is_none() {
            return Err(Stop::Trouble(format!(
                "{at}: this is the text of the database itself, not a dump of ctl_mboxlist -d: --to RELEASE makes a list of \
                 it that RELEASE loads, or --from RELEASE one as that release prints it"
            )));
        }
        self.tell_database(form, report);
        Ok(())
    }

    fn begin(&mut self, heading: &Heading, report: &mut Report) -> Result<(), Stop> {
        let (from, to) = (&heading.releases.from, &heading.releases.to);
        self.to.clone_from(to);
        let Some(dialect) = heading.dialect else { return Ok(()) };
        let converted = heading.sealed && to.as_ref().is_some_and(|to| to.dialect() == dialect);
        if let Some(from) = from.as_ref().filter(|from| from.dialect() != dialect && !converted) {
            // Up to 2.3.9 the database has an mbtype and a blank where the dump has none, or a TAB.
            if dialect != Form::Plain.dialect() || !Form::Plain.is_of(from) {
                return Err(Stop::Trouble(format!(
                    "--from {from} prints {}, but the list is in {dialect}: is it the right list? If it is, give --from one of \
                     those releases, the release that printed it",
                    from.dialect()
                )));
            }
            self.tell_database(Form::Plain, report);
            self.doubted = Some(from.clone());
            self.to = self.to.take().or_else(|| Some(from.clone()));
        }
        let to = &self.to;
        let ids = |to: &&Release| to.dialect().has_uniqueids();
        if let Some(to) = to.as_ref().filter(|to| dialect.has_uniqueids() && !ids(to)) {
            report.remark(format_args!(
                "lists for {to} hold no uniqueid, uidvalidity, modseq or history: it takes them from cyrus.header and \
                 cyrus.index"
            ));
        }
        let downgrade = to.as_ref().map(|to| Downgrade::of_latest(from.as_ref(), to));
        let foretold = downgrade.map_or_else(Vec::new, |downgrade| downgrade.foretold(dialect == Dialect::Json));
        if !matches!(self.view, View::Summary(_)) {
            for text in &foretold {
                report.remark(text);
            }
        }
        match (&mut self.view, to) {
            (View::Summary(summary), Some(to)) => {
                summary.to = Some(to.clone());
                summary.of_the_spool = foretold;
            }
            // Records of the database may have them.
            (_, Some(to)) if self.dry_run && heading.database.is_none() && !dialect.has_uniqueids() && ids(&to) => {
                report.remark(format_args!(
                    "a list of text has no uniqueid, which {to} wants of every mailbox: mbx-check-paths --fill adds it on \
                     the new host, before the load"
                ));
            }
            _ => {}
        }
        self.names = self.conf.names(&heading.releases)?;
        if let View::Summary(summary) = &mut self.view {
            summary.names = self.names.clone();
        }
        if self.looks() && dialect.has_uniqueids() && to.as_ref().is_some_and(|to| ids(&to)) {
            self.uniqueids = Some(Uniqueids::default());
        }
        self.converter = to.as_ref().map(|to| Converter::new(&heading.releases, &self.names, dialect, to));
        self.latest = heading.releases.latest().cloned();
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        self.doubts.ask(entry.mailbox(), &self.names, self.sorts_out());
        if let Some(from) = &self.doubted {
            can_be_of(entry, from)?;
        }
        let verdict = self.judge(entry, changes, report);
        if let (Some(uniqueids), Verdict::Pass | Verdict::Change) = (&mut self.uniqueids, &verdict) {
            uniqueids.add(entry, None)?;
        }
        if let Verdict::Drop(why) = &verdict {
            report.left_out(entry.at, why, entry.mailbox());
        } else {
            match &mut self.view {
                View::Nothing => {}
                View::Summary(summary) => summary.add(entry, !matches!(verdict, Verdict::Refuse(_)))?,
                View::Rows(rows) => rows.write(entry)?,
            }
        }
        Ok(verdict)
    }

    fn end(&mut self, _heading: &Heading, account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        let Some(only) = &self.only else { return Ok(()) };
        only.tell_unmet(report);
        match account.read > 0 && only.0.values().all(|met| !met) {
            true => {
                Err(Stop::Refused("--only: the list has none of these mailboxes (names are internal: user.bob)".into()))
            }
            false => Ok(()),
        }
    }
}

fn main() -> ExitCode {
    main_of("mbx-parse", |options: &Options| &options.common, parse)
}

fn parse(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let mut side = SideFiles::beside(&options.files, options.only.iter().chain(options.conf.files()));
    let looks = options.summary || options.format.is_some();
    let mut filter = Parse {
        conf: options.conf,
        names: Namespaces::default(),
        doubts: Doubts::default(),
        uniqueids: None,
        drop: options.drop,
        only: options.only.as_deref().map(Only::read).transpose()?,
        to: None,
        converter: None,
        latest: None,
        view: match options.format {
            _ if options.summary => View::Summary(Box::default()),
            Some(format) => View::Rows(Rows::new(format, Box::new(stdout()?))?),
            None => View::Nothing,
        },
        dry_run: options.dry_run,
        database_told: false,
        doubted: None,
    };
    if options.summary {
        report.gather();
    }
    let mut whole = Run::between(&options.common, &options.rejects, &options.files, &mut side)?;
    whole.require_end = options.require_end;
    whole.releases.rights_rewritten = options.rights_rewritten;
    if options.seal {
        whole.seal = Seal::Make;
    }
    if looks || options.dry_run {
        whole.output = None;
    }
    if !options.command.is_empty() {
        whole.input = Input::new([Source::Command(options.command)]);
    }
    let account = run(whole, &mut filter, report);
    let remarks = filter.doubts.remarks(&filter.names);
    if !options.summary {
        remarks.iter().for_each(|remark| report.remark(remark));
    }
    let shared = match filter.uniqueids {
        Some(uniqueids) if account.ending.is_none() => uniqueids.report(&filter.names, report)?,
        _ => 0,
    };
    report.flush_alike();
    let shown = match filter.view {
        View::Nothing => Ok(()),
        View::Summary(mut summary) => {
            summary.shared = shared;
            summary.remarks = remarks;
            let (refused, noticed) = report.gathered();
            summary.show(&refused, &noticed, &account, &mut stdout()?)
        }
        View::Rows(rows) => rows.finish(report),
    };
    if let Err(stop) = shown {
        report.stop(&stop);
    }
    Ok(account)
}
