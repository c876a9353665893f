//! mbx-check-paths: is every mailbox of the list where the server would look for it?

use clap::Parser;
use mbxtools::list::edits::Changes;
use mbxtools::list::error::Stop;
use mbxtools::list::list_file::SideList;
use mbxtools::mailbox::entry::{Entry, Kind, is_by_name};
use mbxtools::mailbox::name::{Doubts, Namespaces};
use mbxtools::mailbox::rejection::Refusal;
use mbxtools::mailbox::text::Count;
use mbxtools::release::{Dialect, Release};
use mbxtools::run::engine::{Filter, Heading, Run, Verdict, run};
use mbxtools::run::main::main_of;
use mbxtools::run::options::{Common, Limit, Rejects, SideFiles};
use mbxtools::run::report::{ALIKE, Report};
use mbxtools::run::totals::Account;
use mbxtools::spool::aliases::{ONE_ON_DISK, Shared, one_on_disk};
use mbxtools::spool::conf::Conf;
use mbxtools::spool::fill::{Facts, Fill};
use mbxtools::spool::layout::{Ahead, Layout};
use mbxtools::spool::missing::Missing;
use mbxtools::spool::options::{KNOWN, SpoolOptions};
use mbxtools::spool::partitions::{MetaFile, Roots, Roster};
use mbxtools::spool::probe::{Ask, Asker, Found, Place, Table};
use mbxtools::spool::readable::Readable;
use mbxtools::spool::user::Viewer;
use mbxtools::verbs::orphans::Orphans;
use mbxtools::verbs::uniqueids::Uniqueids;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Drop the mailboxes of a list that have no cyrus.header where the server would look
///
/// Stands behind mbx-remap-part on the new host, or before it on the old one. More than half of a partition missing
/// (ten and more) aborts the list: that is a wrong map or an unmounted disk.
#[derive(Parser)]
#[command(name = "mbx-check-paths", version = KNOWN)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rejects: Rejects,
    #[command(flatten)]
    spool: SpoolOptions,

    /// The directory of a partition, instead of -C
    #[arg(long, value_name = "NAME=DIR", conflicts_with = "config")]
    partition: Vec<OsString>,

    /// Write the entries that are missing to FILE, as they came
    #[arg(long, value_name = "FILE")]
    missing: Option<PathBuf>,

    /// Put uniqueid, uidvalidity and what else the new server needs into JSON entries that lack it
    ///
    /// They stand in the cyrus.header and cyrus.index of each mailbox. Lists from before 3.6 have none of them.
    #[arg(long)]
    fill: bool,

    /// So many mailboxes at a time: many on a slow disk, 1 on a fast one
    #[arg(long, short, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,

    /// Write a table of what was found of each mailbox to FILE, csv, or tsv if it is called so
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// With --report: the directories that are there instead, each with a NUL behind it
    #[arg(short = '0', long, requires = "report")]
    null: bool,

    /// Write what is on disk and not in the list to FILE, as entries of a list
    ///
    /// Of an empty list, with --allow-empty, that is all there is.
    #[arg(long, value_name = "FILE")]
    orphans: Option<PathBuf>,

    /// Only report what is missing; every entry goes on
    #[arg(long)]
    no_drop: bool,

    /// Look for nothing; with --report: where each mailbox would be looked for
    #[arg(short = 'n', long, conflicts_with_all = ["missing", "fill", "orphans", "no_drop", "max_missing", "null"])]
    dry_run: bool,

    /// Abort the list if more than N entries, or P% of them, are missing
    #[arg(long, value_name = "N|P%")]
    max_missing: Option<Limit>,

    /// The list's files; - or none for stdin
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,
}

struct Check {
    viewer: Viewer,
    conf: Conf,
    options: SpoolOptions,
    roster: Roster,
    layout: Option<Layout>,
    /// What the two servers read in names.
    names: Namespaces,
    doubts: Doubts,
    /// The uniqueids of a list for 3.6 or later, with those that --fill adds.
    uniqueids: Option<Uniqueids>,
    /// Where the release that loads the list will look, if that is not the same.
    ahead: Option<Ahead>,
    to_move: u64,
    missing: Missing,
    /// Finds mailboxes that are one on disk.
    shared: Shared,
    missing_file: Option<SideList>,
    orphans_file: Option<SideList>,
    orphans: Option<Orphans>,
    no_drop: bool,
    dry_run: bool,
    wants_fill: bool,
    fill: Option<Fill>,
    filled: u64,
    asker: Asker,
    /// What the release that will load the list can open, if it was told.
    readable: Option<Readable>,
    table: Option<Table>,
    /// The directory of the mailbox that is looked at, below its root.
    dir: Vec<u8>,
    kept: u64,
    broken: u64,
    unreadable: u64,
    not_moved: u64,
    without: [(&'static str, u64); 3],
}

impl Check {
    fn add_uniqueid(&mut self, entry: &Entry<'_>, filled: Option<&[u8]>) -> Result<(), Stop> {
        self.uniqueids.as_mut().map_or(Ok(()), |uniqueids| uniqueids.add(entry, filled))
    }

    /// A mailbox that is not looked for: where would it be, and where will it have to be?
    fn foretell(&mut self, entry: &Entry<'_>, report: &mut Report) -> Result<Verdict, Stop> {
        let there = match &mut self.ahead {
            Some(ahead) => ahead.tell(entry, &self.dir, report)?,
            None => None,
        };
        self.to_move += u64::from(there.is_some());
        if let Some(table) = &mut self.table {
            table.row(entry, self.roster.of(entry)?, &self.dir, None, there)?;
        }
        Ok(Verdict::Pass)
    }

    /// Why the release that will load the list cannot open a mailbox, if it was told and cannot.
    fn obstacle(&mut self, entry: &Entry<'_>, found: &Found, place: &Place) -> Result<Option<Refusal>, Stop> {
        let Some(readable) = &mut self.readable else { return Ok(None) };
        Ok(match found {
            Found::Header { .. } if readable.looks_by_name_only() && !is_by_name(entry) => {
                Some(readable.refuse_uniqueid())
            }
            Found::Header { heads: Some(heads), .. } => {
                let refusal = readable.refuses(heads, &self.dir, &place.headers(), &place.indexes());
                if refusal.is_some() {
                    readable.add(heads);
                }
                refusal
            }
            _ => None,
        })
    }

    /// A mailbox that the release that will load the list cannot open.
    fn refuse(&mut self, entry: &Entry<'_>, refusal: Refusal, report: &mut Report) -> Result<Verdict, Stop> {
        self.missing.add_unreadable(entry, &self.roster)?;
        if self.no_drop {
            report.refuse(entry.at, &refusal, entry.mailbox());
            self.unreadable += 1;
            return Ok(Verdict::Pass);
        }
        Ok(Verdict::Refuse(refusal))
    }

    /// Says what makes readable what the release that will load the list cannot open.
    fn tell_unreadable(&mut self, report: &mut Report) {
        if let Some(readable) = self.readable.take() {
            report.flush_alike();
            readable.tell(report);
        }
    }

    /// Ends the files beside the list.
    fn finish(&mut self) -> [Result<(), Stop>; 2] {
        [
            self.missing_file.take().map_or(Ok(()), |mut list| list.finish()),
            self.table.take().map_or(Ok(()), |mut table| table.finish()),
        ]
    }

    /// A mailbox that is there: what does its entry lack?
    fn found(
        &mut self,
        entry: &Entry<'_>,
        facts: Option<Box<Result<Facts, Refusal>>>,
        changes: &mut Changes,
        report: &mut Report,
    ) -> Result<Verdict, Stop> {
        let (Some(fill), Some(facts)) = (&self.fill, facts) else {
            self.add_uniqueid(entry, None)?;
            return Ok(Verdict::Pass);
        };
        let filled = facts.and_then(|facts| fill.entry(entry, &facts, changes, report).map(|()| facts));
        Ok(match filled {
            Ok(facts) => {
                self.add_uniqueid(entry, facts.header.uniqueid.as_deref())?;
                self.filled += u64::from(!changes.is_empty());
                Verdict::Change
            }
            Err(refusal) => Verdict::Refuse(refusal),
        })
    }
}

impl Filter for Check {
    fn looks_ahead(&self) -> bool {
        !self.dry_run && self.asker.wants_ahead()
    }

    fn ahead(&mut self, entry: &Entry<'_>) {
        let Some(layout) = self.layout.as_ref().filter(|_| entry.kind() == Kind::Mailbox) else { return };
        // Whatever is wrong is told when it is the entry's turn.
        let mut dir = std::mem::take(&mut self.dir);
        if let Ok(Ok(())) = layout.place(entry, &mut dir)
            && let Ok(place) = self.missing.place(entry, &self.roster)
        {
            self.asker.ahead(&place, &dir);
        }
        self.dir = dir;
    }

    fn fetch(&mut self) -> Result<(), Stop> {
        self.asker.fetch()
    }

    fn begin(&mut self, heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        let layout = self.options.layout(&self.conf, heading.releases.from.as_ref())?;
        self.names = self.options.names(&self.conf, &heading.releases)?;
        let has_uniqueids = |dialect: Dialect| dialect.has_uniqueids();
        let both = [heading.dialect, heading.releases.to.as_ref().map(Release::dialect)];
        if !self.dry_run && both.iter().all(|dialect| dialect.is_some_and(has_uniqueids)) {
            self.uniqueids = Some(Uniqueids::default());
        }
        self.ahead = Ahead::new(&layout, &self.conf, heading.releases.to.as_ref())?;
        if let Some(list) = self.orphans_file.take() {
            let (spool, told) = (self.options.spool_release.as_ref(), &heading.releases);
            let viewer = self.viewer.clone();
            let mut orphans = Orphans::new(list, viewer, &self.conf, &layout, spool, heading.dialect, told)?;
            orphans.open(&self.roster)?;
            self.orphans = Some(orphans);
        }
        self.layout = Some(layout);
        let spool = self.options.spool_release.as_ref().or(heading.releases.from.as_ref());
        self.readable = heading.releases.to.as_ref().map(|to| Readable::new(spool, to)).transpose()?;
        self.asker.ask_for(match (&self.readable, self.wants_fill) {
            (_, true) => Ask::Facts,
            (Some(_), false) => Ask::Heads,
            (None, false) => Ask::Presence,
        });
        if self.wants_fill {
            let to = heading.releases.to.as_ref();
            match heading.dialect {
                Some(Dialect::Json) => self.fill = to.map(Fill::new),
                Some(_) => {
                    return Err(Stop::Trouble(
                        "--fill: a text list holds none of it: mbx-parse --to RELEASE, of 3.6 or later, comes before"
                            .into(),
                    ));
                }
                None => {}
            }
            if self.fill.is_none() && heading.dialect.is_some() {
                return Err(Stop::Trouble("--fill: what is needed hangs on the release to come: --to RELEASE".into()));
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        if let Some(orphans) = &mut self.orphans {
            orphans.entry(entry)?;
        }
        let kind = entry.kind();
        match kind {
            Kind::Mailbox => {}
            Kind::Remote => self.without[0].1 += 1,
            Kind::Tombstone => self.without[1].1 += 1,
            Kind::Intermediate => self.without[2].1 += 1,
        }
        if let Kind::Mailbox | Kind::Remote = kind {
            self.doubts.ask(entry.mailbox(), &self.names, false);
        }
        let (Some(layout), Kind::Mailbox) = (&self.layout, kind) else { return Ok(Verdict::Pass) };
        if let Err(refusal) = layout.place(entry, &mut self.dir)? {
            return Ok(Verdict::Refuse(refusal));
        }
        if let Err(refusal) = self.names.keeps(entry.mailbox()) {
            return Ok(Verdict::Refuse(refusal));
        }
        if self.dry_run {
            return self.foretell(entry, report);
        }
        let place = self.missing.look_for(entry, &self.roster)?;
        let found = self.asker.ask(&place, &self.dir)?;
        report.progress(self.missing.looked_for(), |told| {
            format!("{} looked up, {}/s, {} missing", Count(told.count), Count(told.rate), Count(self.missing.count()))
        });
        let obstacle = self.obstacle(entry, &found, &place)?;
        let mut there = None;
        if let (Some(ahead), Found::Header { .. }) = (&mut self.ahead, &found) {
            there = ahead.tell(entry, &self.dir, report)?;
            self.to_move += u64::from(there.is_some());
        }
        if let Some(table) = &mut self.table {
            let opens = self.readable.as_ref().map(|_| obstacle.as_ref());
            table.row(entry, &place.roots, &self.dir, Some((&found, opens)), there)?;
        }
        if let Some(refusal) = obstacle {
            return self.refuse(entry, refusal, report);
        }
        match found {
            Found::Header { moved, facts, file, messages, .. } => {
                self.not_moved += u64::from(!moved);
                self.shared.file(MetaFile::Header, file, entry.mailbox())?;
                if let Some(messages) = messages {
                    self.shared.directory(messages, entry.mailbox())?;
                }
                return self.found(entry, facts, changes, report);
            }
            Found::Broken(refusal) if self.no_drop => {
                self.broken += 1;
                // The release that was told could not open it.
                match self.readable {
                    Some(_) => report.refuse(entry.at, &refusal, entry.mailbox()),
                    None => report.loss(entry.at, refusal.kind, refusal.detail, entry.mailbox()),
                }
                return Ok(Verdict::Pass);
            }
            Found::Broken(refusal) => return Ok(Verdict::Refuse(refusal)),
            Found::Nothing => {}
        }
        let header = [&self.dir[..], b"/cyrus.header"].concat();
        self.missing.add(entry, &self.roster, header, report)?;
        if let Some(file) = &mut self.missing_file {
            file.write(entry.bytes, Some(entry.dialect))?;
        }
        match self.no_drop {
            true => {
                self.kept += 1;
                Ok(Verdict::Pass)
            }
            false => Ok(Verdict::Drop("missing")),
        }
    }

    fn end(&mut self, _heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        let keeps = self.missing_file.is_some();
        self.finish().into_iter().collect::<Result<(), Stop>>()?;
        // The reason is to stand last.
        report.flush_alike();
        let one_id = match self.uniqueids.take() {
            Some(uniqueids) => uniqueids.report(&self.names, report)?,
            None => 0,
        };
        let pairs = std::mem::take(&mut self.shared).judge(report)?;
        let to = self.readable.as_ref().map(|readable| readable.to().clone());
        self.tell_unreadable(report);
        self.missing.judge(&self.roster, self.layout.as_ref(), to.as_ref(), report)?;
        if one_id > 0 && !self.no_drop {
            return Err(Stop::Refused(format!("{} mailboxes have the uniqueid of another", Count(one_id))));
        }
        match (pairs, self.no_drop) {
            (0, _) => {}
            (_, true) => {
                report.finding("one on disk: what to do", format_args!("{}: {ONE_ON_DISK}", one_on_disk(pairs)))
            }
            (_, false) => return Err(Stop::Refused(format!("{}: {ONE_ON_DISK}", one_on_disk(pairs)))),
        }
        if let Some(orphans) = &mut self.orphans {
            orphans.end(report)?;
        }
        if self.missing.count() > ALIKE && !keeps {
            report.remark("--missing FILE keeps the entries of all that are missing");
        }
        Ok(())
    }

    fn notes(&self, account: &mut Account) {
        account.notes.extend(self.without);
        account.notes.extend([
            ("filled", self.filled),
            ("not moved yet", self.not_moved),
            ("not where the new server will look", self.to_move),
            ("missing, kept", self.kept),
            ("broken, kept", self.broken),
            ("that the target cannot open, kept", self.unreadable),
        ]);
        if let Some(orphans) = &self.orphans {
            orphans.notes(account);
        }
    }
}

fn main() -> ExitCode {
    main_of("mbx-check-paths", |options: &Options| &options.common, check)
}

fn check(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let mut side = SideFiles::beside(&options.files, options.spool.files());
    let (conf, roster) =
        options.spool.partitions(&options.common, "--partition", &options.partition, Roots::of_data)?;
    side.keep(&options.spool.included(&conf));
    let viewer = Viewer::of_server(&conf, report)?;
    let mut filter = Check {
        viewer: viewer.clone(),
        conf,
        roster,
        layout: None,
        names: Namespaces::default(),
        doubts: Doubts::default(),
        uniqueids: None,
        ahead: None,
        to_move: 0,
        missing: Missing::new(viewer.clone(), options.max_missing, options.no_drop, options.spool.spool_conf.is_some()),
        shared: Shared::default(),
        missing_file: side.list(options.missing.as_deref(), "--missing")?,
        orphans_file: side.list(options.orphans.as_deref(), "--orphans")?,
        orphans: None,
        no_drop: options.no_drop,
        dry_run: options.dry_run,
        options: options.spool,
        wants_fill: options.fill,
        fill: None,
        filled: 0,
        asker: Asker::new(usize::from(options.jobs), viewer.clone()),
        readable: None,
        table: match options.report.as_deref() {
            Some(path) => Some(Table::new(side.make(path, "--report")?, path, options.null)?),
            None => None,
        },
        dir: Vec::new(),
        kept: 0,
        broken: 0,
        unreadable: 0,
        not_moved: 0,
        without: [("remote", 0), ("tombstones", 0), ("intermediates", 0)],
    };
    let account = run(Run::between(&options.common, &options.rejects, &options.files, &mut side)?, &mut filter, report);
    // Of a list that was aborted, too.
    filter.tell_unreadable(report);
    for remark in filter.doubts.remarks(&filter.names) {
        report.remark(remark);
    }
    for stop in filter.finish().into_iter().filter_map(Result::err) {
        report.stop(&stop);
    }
    Ok(account)
}
