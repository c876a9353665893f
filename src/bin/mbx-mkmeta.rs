//! mbx-mkmeta: make the directories under the metapartitions, and bring the files there.

use clap::{ArgGroup, Parser};
use mbxtools::list::edits::Changes;
use mbxtools::list::error::Stop;
use mbxtools::mailbox::entry::{Entry, Kind};
use mbxtools::mailbox::name::Namespaces;
use mbxtools::mailbox::text::Name;
use mbxtools::run::engine::{Filter, Heading, Run, Verdict, run};
use mbxtools::run::main::main_of;
use mbxtools::run::options::{Common, Rejects, SideFiles};
use mbxtools::run::report::Report;
use mbxtools::run::totals::Account;
use mbxtools::spool::aliases::{Aliases, ONE_ON_DISK, Shared, one_on_disk};
use mbxtools::spool::conf::Conf;
use mbxtools::spool::layout::{Ahead, Layout};
use mbxtools::spool::mkdir::{Makers, Rules, mode_under};
use mbxtools::spool::options::{KNOWN, SpoolOptions};
use mbxtools::spool::partitions::{Roots, Roster};
use mbxtools::spool::transfer::{Mover, Prefer, Waiting, Way};
use mbxtools::spool::user::{Owner, Viewer};
use std::ffi::OsString;
use std::process::ExitCode;

/// Make the directories that the mailboxes of a list need under their metapartitions
///
/// Every entry goes through. Directories are harmless before the guard has spoken; running it again changes nothing.
/// The files of the mailboxes, with --copy or --move, come later: when the guard has let the list out, and the server
/// is stopped.
#[derive(Parser)]
#[command(name = "mbx-mkmeta", version = KNOWN, group = ArgGroup::new("way").args(["copy", "move"]))]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rejects: Rejects,
    #[command(flatten)]
    spool: SpoolOptions,

    /// The metapartition of a partition, instead of -C
    #[arg(long, value_name = "PARTITION=DIR", conflicts_with = "config")]
    meta: Vec<OsString>,

    /// Copy the files that metapartition_files names from the spool; the server must be stopped
    #[arg(long, conflicts_with = "meta")]
    copy: bool,

    /// Move them: each is unlinked in the spool when it is in its place
    #[arg(long, conflicts_with = "meta")]
    r#move: bool,

    /// Where both places hold a file and they differ, take this one; else the mailbox is refused
    #[arg(long, requires = "way")]
    prefer: Option<Prefer>,

    /// Make, copy and move nothing; tell on stderr what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Who is to own the directories; root must tell it
    #[arg(long, value_name = "USER[:GROUP]")]
    owner: Option<String>,

    /// The list's files; - or none for stdin
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,
}

struct MkMeta {
    conf: Conf,
    options: SpoolOptions,
    roster: Roster,
    layout: Option<Layout>,
    /// What the two servers read in names.
    names: Namespaces,
    ahead: Option<Ahead>,
    makers: Makers,
    viewer: Viewer,
    aliases: Aliases,
    shared: Shared,
    mover: Option<Mover>,
    waiting: Waiting,
    way: Option<Way>,
    tail: Vec<u8>,
    made: u64,
    present: u64,
    without: u64,
}

impl MkMeta {
    /// Makes what is missing of the directories of the mailbox whose directory is `tail`.
    fn make(&mut self, partition: &[u8], report: &mut Report) -> Result<bool, Stop> {
        let Some(roots) = self.roster.get(partition) else { return Ok(false) };
        let made = self.makers.make(&roots.meta, &self.tail, report)?;
        self.made += made;
        self.present += u64::from(made == 0);
        Ok(made > 0)
    }

    /// Brings its files, too. What is to be done is asked again: much may have happened since the list was looked at.
    fn bring(&mut self, partition: &[u8], mailbox: &[u8], report: &mut Report) -> Result<(), Stop> {
        let (Some(mover), Some(roots)) = (&mut self.mover, self.roster.get(partition)) else { return Ok(()) };
        let (makers, aliases) = (&mut self.makers, &self.aliases);
        let looked = self.viewer.look(|| mover.look(mailbox, roots, &self.tail, makers, aliases, None));
        if let Err(refusal) = looked? {
            return Err(Stop::Trouble(format!(
                "{}: {refusal}: it was changed while the list was read: is the server running?",
                Name(mailbox)
            )));
        }
        let made = self.make(partition, report)?;
        let (Some(mover), Some(roots)) = (&mut self.mover, self.roster.get(partition)) else { return Ok(()) };
        mover.bring(roots, &self.tail, made, &mut self.makers, report)
    }
}

impl Filter for MkMeta {
    /// An aborted list is none to make directories for.
    const LOOKS_ON: bool = false;

    fn begin(&mut self, heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        if let (Some(way), true, false) = (self.way, heading.sealed, self.makers.rules().dry_run) {
            let option = if way == Way::Copy { "--copy" } else { "--move" };
            return Err(Stop::Trouble(format!(
                "{option}: the list is sealed: the guard has not seen it yet, and files are not touched before. Let \
                 mbx-count-guard write it to a file, stop the server, and give {option} that file"
            )));
        }
        let layout = self.options.layout(&self.conf, heading.releases.from.as_ref())?;
        self.names = self.options.names(&self.conf, &heading.releases)?;
        self.ahead = Ahead::new(&layout, &self.conf, heading.releases.to.as_ref())?;
        self.layout = Some(layout);
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, _changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        let (Some(layout), Kind::Mailbox) = (&self.layout, entry.kind()) else {
            self.without += 1;
            return Ok(Verdict::Pass);
        };
        let roots = self.roster.of(entry)?;
        if roots.meta.is_empty() {
            self.without += 1;
            return Ok(Verdict::Pass);
        }
        match layout.place(entry, &mut self.tail)? {
            Ok(()) => {}
            Err(refusal) => return Ok(Verdict::Refuse(refusal)),
        }
        if let Err(refusal) = self.names.keeps(entry.mailbox()) {
            return Ok(Verdict::Refuse(refusal));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.tell(entry, &self.tail, report)?;
        }
        let (makers, aliases, shared) = (&mut self.makers, &self.aliases, &mut self.shared);
        let (mailbox, tail, mover) = (entry.mailbox(), &self.tail, &mut self.mover);
        let looked = self.viewer.look(|| {
            if let Err(refusal) = makers.look(&roots.meta, tail, mailbox, aliases, shared)? {
                return Ok(Err(refusal));
            }
            match mover {
                Some(mover) => mover.look(mailbox, roots, tail, makers, aliases, Some(shared)),
                None => Ok(Ok(())),
            }
        });
        if let Err(refusal) = looked? {
            return Ok(Verdict::Refuse(refusal));
        }
        match &self.mover {
            // Directories are harmless. Files are not: they wait until the whole list was looked at.
            None => {
                self.make(entry.partition(), report)?;
            }
            Some(mover) => {
                mover.report_older(entry.at, mailbox, report);
                self.waiting.push(entry.partition(), tail, mailbox)?;
            }
        }
        Ok(Verdict::Pass)
    }

    fn end(&mut self, _heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        let pairs = std::mem::take(&mut self.shared).judge(report)?;
        if pairs > 0 {
            return Err(Stop::Refused(format!("{}: {ONE_ON_DISK}", one_on_disk(pairs))));
        }
        std::mem::take(&mut self.waiting).each(|partition, tail, mailbox| {
            self.tail.clear();
            self.tail.extend_from_slice(tail);
            self.bring(partition, mailbox, report)
        })?;
        let words = self.conf.get("metapartition_files").unwrap_or_default();
        // Squat and cache can be rebuilt by the server; without the others it cannot open the mailbox as it was.
        let needed: Vec<_> = words
            .split(u8::is_ascii_whitespace)
            .filter(|word| [&b"header"[..], b"index", b"expunge", b"annotations"].contains(word))
            .map(|word| format!("cyrus.{}", String::from_utf8_lossy(word)))
            .collect();
        if self.mover.is_none() && !needed.is_empty() && self.made > 0 {
            report.told(
                "metadata",
                format_args!(
                    "directories only: {} of each mailbox must be moved there before the server starts, or it cannot \
                     open them; with the server stopped, mbx-mkmeta --move moves them",
                    needed.join(", ")
                ),
            );
        }
        Ok(())
    }

    fn notes(&self, account: &mut Account) {
        let dry_run = self.makers.rules().dry_run;
        let made = if dry_run { "directories to make" } else { "directories made" };
        account.notes.push((made, self.made));
        match (&self.mover, self.way) {
            (Some(mover), Some(way)) => {
                let brought = match (way, dry_run) {
                    (Way::Copy, true) => "files to copy",
                    (Way::Copy, false) => "files copied",
                    (Way::Move, true) => "files to move",
                    (Way::Move, false) => "files moved",
                };
                account.notes.extend([
                    (brought, mover.done.brought),
                    ("files already there", mover.done.there),
                    ("files of the spool not taken", mover.done.outdone),
                    ("mailboxes with nothing to do", mover.done.idle),
                ]);
            }
            _ => account.notes.push(("already there", self.present)),
        }
        account.notes.push(("need none", self.without));
    }
}

fn main() -> ExitCode {
    main_of("mbx-mkmeta", |options: &Options| &options.common, mkmeta)
}

fn mkmeta(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let mut side = SideFiles::beside(&options.files, options.spool.files());
    let (conf, roster) = options.spool.partitions(&options.common, "--meta", &options.meta, Roots::of_meta)?;
    side.keep(&options.spool.included(&conf));
    let between = Run::between(&options.common, &options.rejects, &options.files, &mut side)?;
    let viewer = Viewer::of_server(&conf, report)?;
    let owner = options.owner.as_deref().map(Owner::parse).transpose()?;
    match (owner.zip(options.owner), viewer.user()) {
        (Some((owner, text)), Some(user)) if owner.uid != user.uid => {
            let (user, mode) = (&user.name, mode_under(conf.get("umask")).as_raw_mode());
            return Err(Stop::Trouble(format!(
                "--owner {text}: the server runs as {user}, who could not write to such directories (mode {mode:04o}): \
                 --owner {user}, or CYRUS_USER, or cyrus_user in imapd.conf, if it runs as another"
            )));
        }
        _ => {}
    }
    let rules = Rules { dry_run: options.dry_run, owner, mode: mode_under(conf.get("umask")) };
    // The mode is the servers' to the bit, whatever umask we were started under.
    rustix::process::umask(rustix::fs::Mode::empty());
    let way = match (options.copy, options.r#move) {
        (true, _) => Some(Way::Copy),
        (_, true) => Some(Way::Move),
        (false, false) => None,
    };
    let mut filter = MkMeta {
        viewer,
        aliases: Aliases::of(&conf, &roster)?,
        shared: Shared::default(),
        waiting: Waiting::default(),
        conf,
        options: options.spool,
        roster,
        layout: None,
        names: Namespaces::default(),
        ahead: None,
        makers: Makers::new(rules),
        mover: way.map(|way| Mover::new(way, options.prefer)),
        way,
        tail: Vec::new(),
        made: 0,
        present: 0,
        without: 0,
    };
    Ok(run(between, &mut filter, report))
}
