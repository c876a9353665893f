//! mbx-mkmeta: make the directories under the metapartitions.

use clap::Parser;
use mbxtools::changes::Changes;
use mbxtools::command::main_of;
use mbxtools::entry::{Entry, Kind};
use mbxtools::filter::{Filter, Heading, Run, Verdict, run};
use mbxtools::imapd_conf::Conf;
use mbxtools::metadata::{DirMaker, Owner, Rules, mode_under};
use mbxtools::options::{Common, KNOWN, Rejects, SideFiles, SpoolOptions};
use mbxtools::outcome::{Account, Name, Report, Stop};
use mbxtools::spool::{Ahead, Layout, Roots, Roster, as_path};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make the directories that the mailboxes of a list need under their metapartitions
///
/// Every entry goes through. Directories are harmless before the guard has spoken; running it again changes nothing.
#[derive(Parser)]
#[command(name = "mbx-mkmeta", version = KNOWN)]
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

    /// Make nothing; tell on stderr what would be made
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
    ahead: Option<Ahead>,
    rules: Rules,
    makers: HashMap<PathBuf, DirMaker>,
    tail: Vec<u8>,
    made: u64,
    present: u64,
    without: u64,
}

impl Filter for MkMeta {
    /// An aborted list is none to make directories for.
    const LOOKS_ON: bool = false;

    fn begin(&mut self, heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        let layout = self.options.layout(&self.conf, heading.releases.from.as_ref())?;
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
        if let Some(ahead) = &mut self.ahead {
            ahead.tell(entry, &self.tail, report)?;
        }
        let dry_run = self.rules.dry_run;
        let mut note = |root: &std::path::Path, tail: &[u8]| {
            if dry_run {
                report.answer(format_args!(
                    "would make {}",
                    Name(root.join(as_path(tail)).as_os_str().as_encoded_bytes())
                ));
            }
        };
        let mut made = 0;
        for root in &roots.meta {
            if !self.makers.contains_key(root) {
                self.makers.insert(root.clone(), DirMaker::new(root, self.rules)?);
            }
            if let Some(maker) = self.makers.get_mut(root) {
                made += maker.make(&self.tail, &mut note)?;
            }
        }
        self.made += made;
        self.present += u64::from(made == 0);
        Ok(Verdict::Pass)
    }

    fn end(&mut self, _heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        let words = self.conf.get("metapartition_files").unwrap_or_default();
        // Squat and cache can be rebuilt by the server; without the others it cannot open the mailbox as it was.
        let needed: Vec<_> = words
            .split(u8::is_ascii_whitespace)
            .filter(|word| [&b"header"[..], b"index", b"expunge", b"annotations"].contains(word))
            .map(|word| format!("cyrus.{}", String::from_utf8_lossy(word)))
            .collect();
        if !needed.is_empty() && self.made + self.present > 0 {
            report.told(
                "metadata",
                format_args!(
                    "directories only: {} of each mailbox must be moved there before the server starts, or it cannot \
                     open them",
                    needed.join(", ")
                ),
            );
        }
        Ok(())
    }

    fn notes(&self, account: &mut Account) {
        let made = if self.rules.dry_run { "directories to make" } else { "directories made" };
        account.notes.extend([(made, self.made), ("already there", self.present), ("need none", self.without)]);
    }
}

fn main() -> ExitCode {
    main_of("mbx-mkmeta", |options: &Options| options.common.quiet, mkmeta)
}

fn mkmeta(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let mut side = SideFiles::beside(&options.files, &options.spool.config);
    let roots = |dir: PathBuf| Roots { header: dir.clone(), index: dir.clone(), meta: vec![dir], ..Roots::default() };
    let (conf, roster) = options.spool.partitions(&options.common, "--meta", &options.meta, roots)?;
    let between = Run::between(&options.common, &options.rejects, &options.files, &mut side)?;
    let rules = Rules {
        dry_run: options.dry_run,
        owner: options.owner.as_deref().map(Owner::parse).transpose()?,
        mode: mode_under(conf.get("umask")),
    };
    // The mode is the servers' to the bit, whatever umask we were started under.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut filter = MkMeta {
        conf,
        options: options.spool,
        roster,
        layout: None,
        ahead: None,
        rules,
        makers: HashMap::new(),
        tail: Vec::new(),
        made: 0,
        present: 0,
        without: 0,
    };
    Ok(run(between, &mut filter, report))
}
