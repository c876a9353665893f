//! mbx-check-paths: is every mailbox of the list where the server would look for it?

use clap::Parser;
use mbxtools::changes::Changes;
use mbxtools::command::main_of;
use mbxtools::dialect::SideList;
use mbxtools::entry::{Entry, Kind, local_part};
use mbxtools::fill::{Fill, Root};
use mbxtools::filter::{Filter, Heading, Run, Verdict, run};
use mbxtools::imapd_conf::Conf;
use mbxtools::options::{Common, KNOWN, Limit, Rejects, SideFiles, SpoolOptions};
use mbxtools::orphans::Orphans;
use mbxtools::outcome::{ALIKE, Account, Count, Name, Report, Stop, reason};
use mbxtools::spool::{Ahead, Hash, Layout, Roots, Roster, as_path, is_by_name};
use mbxtools::version::Dialect;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
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

    /// Write what is on disk and not in the list to FILE, as entries of a list
    ///
    /// Of an empty list, with --allow-empty, that is all there is.
    #[arg(long, value_name = "FILE")]
    orphans: Option<PathBuf>,

    /// Only report what is missing; every entry goes on
    #[arg(long)]
    keep: bool,

    /// Abort the list if more than N entries, or P% of them, are missing
    #[arg(long, value_name = "N|P%")]
    max_missing: Option<Limit>,

    /// The list's files; - or none for stdin
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,
}

/// What was found of one partition.
struct Partition {
    roots: Roots,
    header: OwnedFd,
    /// The data root, where it is not the header's.
    data: Option<OwnedFd>,
    /// The root of cyrus.index, where it is neither, and something is to be filled in.
    index: Option<OwnedFd>,
    entries: u64,
    missing: u64,
    /// The first mailboxes that are missing, to be looked for elsewhere: by name, or where their uniqueid says.
    samples: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// So many missing mailboxes are looked for elsewhere before a list is given up.
const SAMPLES: usize = 20;

/// From so many on, mailboxes that are missing all together are taken for the same.
const ALL_OF: u64 = 3;

/// From so many missing on, more than half of a partition is taken for a wrong map or an unmounted disk.
const SUSPICIOUS: u64 = 10;

/// What stands where a header should be.
enum Found {
    Header,
    Nothing,
}

struct Check {
    conf: Conf,
    options: SpoolOptions,
    roster: Roster,
    layout: Option<Layout>,
    /// Where the release that loads the list will look, if that is not the same.
    ahead: Option<Ahead>,
    /// Mailboxes with a domain, and how many of them are missing.
    with_domain: (u64, u64),
    to_move: u64,
    partitions: HashMap<Vec<u8>, Partition>,
    missing_file: Option<SideList>,
    orphans_file: Option<SideList>,
    orphans: Option<Orphans>,
    keep: bool,
    max_missing: Option<Limit>,
    wants_fill: bool,
    fill: Option<Fill>,
    filled: u64,
    path: Vec<u8>,
    /// Whether we are root, whom no mode keeps out.
    reads_all: bool,
    kept: u64,
    looked_up: u64,
    missing: u64,
    not_moved: u64,
    without: [(&'static str, u64); 3],
}

impl Check {
    fn open(roster: &Roster, entry: &Entry<'_>, fills: bool) -> Result<Partition, Stop> {
        let roots = roster.of(entry)?;
        let header = open_root(&roots.header, entry.partition())?;
        let data = match roots.data == roots.header {
            true => None,
            false => Some(open_root(&roots.data, entry.partition())?),
        };
        let index = match fills && ![&roots.data, &roots.header].contains(&&roots.index) {
            true => Some(open_root(&roots.index, entry.partition())?),
            false => None,
        };
        if !holds_a_directory(&roots.header)? && !holds_a_directory(&roots.data)? {
            return Err(Stop::Trouble(format!(
                "{}: {}: {} holds no mailbox though the list has some in partition {}: is the disk mounted?",
                entry.at,
                Name(entry.mailbox()),
                show(&roots.header),
                Name(entry.partition())
            )));
        }
        Ok(Partition { roots: roots.clone(), header, data, index, entries: 0, missing: 0, samples: Vec::new() })
    }

    /// A mailbox that is there: is it where the release to come looks, and what does its entry lack?
    fn found(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop> {
        let here = self.path.strip_suffix(b"/cyrus.header").unwrap_or(&self.path);
        if let Some(ahead) = &mut self.ahead {
            self.to_move += u64::from(ahead.tell(entry, here, report)?);
        }
        let (Some(fill), Some(partition)) = (&mut self.fill, self.partitions.get(entry.partition())) else {
            return Ok(Verdict::Pass);
        };
        let Partition { roots, header, data, index, .. } = partition;
        let header = Root { fd: header, path: &roots.header };
        let data = data.as_ref().map_or(header, |fd| Root { fd, path: &roots.data });
        let index = match index {
            Some(fd) => Root { fd, path: &roots.index },
            None if roots.index == roots.header => header,
            None => data,
        };
        Ok(match fill.entry(entry, here, &[header, data], &[index, data], changes, report)? {
            Ok(()) => {
                self.filled += u64::from(!changes.is_empty());
                Verdict::Change
            }
            Err(refusal) => Verdict::Refuse(refusal),
        })
    }

    /// What to say about a partition of which more than half is missing: where its mailboxes are instead.
    fn elsewhere(&self, name: &[u8], partition: &Partition) -> String {
        let Some(layout) = &self.layout else { return String::new() };
        let mut best: (usize, String) = (0, String::new());
        for (other, roots) in self.roster.all() {
            for (hash, what) in [(Hash::None, "flat"), (Hash::Basic, "hashimapspool"), (Hash::Full, "fulldirhash")] {
                if other == name && hash == layout.hash {
                    continue;
                }
                let place = match (other == name, hash == layout.hash) {
                    (true, _) => format!("in the same partition, hashed otherwise ({what})"),
                    (false, true) => format!("in partition {}", Name(other)),
                    (false, false) => format!("in partition {}, hashed otherwise ({what})", Name(other)),
                };
                let layout = layout.with_hash(hash);
                let found = partition
                    .samples
                    .iter()
                    .filter(|(mailbox, by_id)| stands_in(&layout, roots, mailbox, by_id.as_deref()))
                    .count();
                if found > best.0 {
                    best = (found, place);
                }
            }
        }
        match best {
            (0, _) => "; the first of them stand in no other declared partition either".to_string(),
            (found, place) => format!("; {found} of the first {} stand {place}", partition.samples.len()),
        }
    }
}

fn stands_in(layout: &Layout, roots: &Roots, mailbox: &[u8], by_id: Option<&[u8]>) -> bool {
    let mut tail = Vec::new();
    let header = match by_id {
        Some(header) => header,
        None if matches!(layout.path(mailbox, &mut tail), Ok(Ok(()))) => {
            tail.extend_from_slice(b"/cyrus.header");
            &tail
        }
        None => return false,
    };
    [&roots.header, &roots.data].iter().any(|root| root.join(as_path(header)).is_file())
}

fn show(path: &Path) -> String {
    Name(path.as_os_str().as_bytes()).to_string()
}

fn open_root(path: &Path, partition: &[u8]) -> Result<OwnedFd, Stop> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
        let why = reason(&io::Error::from(e));
        Stop::Trouble(format!("partition {}: {}: {why}: is the disk mounted?", Name(partition), show(path)))
    })
}

/// Whether a root has a directory that could hold mailboxes: `stage.`, `sync.` and `lost+found` cannot.
fn holds_a_directory(root: &Path) -> Result<bool, Stop> {
    let entries = std::fs::read_dir(root).map_err(|e| Stop::io(show(root), &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Stop::io(show(root), &e))?;
        let name = entry.file_name();
        if name != "lost+found" && !name.as_bytes().contains(&b'.') && entry.path().is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks for `path` below `root`. Only "there is none" is nothing; whatever else the system says is trouble.
fn look(root: &OwnedFd, path: &[u8], shown: &Path, reads_all: bool) -> Result<Found, Stop> {
    let trouble = |why: &str| {
        let whole = shown.join(as_path(path));
        Err(Stop::Trouble(format!("{}: {why}", show(&whole))))
    };
    match rustix::fs::statat(root, path, AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => trouble("is not a file"),
        Ok(stat) if stat.st_size == 0 => trouble("is empty: the mailbox cannot be opened"),
        Ok(_) if reads_all => Ok(Found::Header),
        Ok(_) => match rustix::fs::accessat(root, path, Access::READ_OK, AtFlags::EACCESS) {
            Ok(()) => Ok(Found::Header),
            Err(e) => trouble(&reason(&io::Error::from(e))),
        },
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Nothing),
        Err(e) => trouble(&reason(&io::Error::from(e))),
    }
}

impl Filter for Check {
    fn begin(&mut self, heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        let layout = self.options.layout(&self.conf, heading.releases.from.as_ref())?;
        self.ahead = Ahead::new(&layout, &self.conf, heading.releases.to.as_ref())?;
        if let Some(list) = self.orphans_file.take() {
            let (spool, told) = (self.options.layout.as_ref(), &heading.releases);
            let orphans = Orphans::new(list, &self.conf, &self.roster, &layout, spool, heading.dialect, told)?;
            self.orphans = Some(orphans);
        }
        self.layout = Some(layout);
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
        let (Some(layout), Kind::Mailbox) = (&self.layout, kind) else { return Ok(Verdict::Pass) };
        match layout.place(entry, &mut self.path)? {
            Ok(()) => self.path.extend_from_slice(b"/cyrus.header"),
            Err(refusal) => return Ok(Verdict::Refuse(refusal)),
        }
        let partition = match self.partitions.get_mut(entry.partition()) {
            Some(partition) => partition,
            None => {
                let opened = Check::open(&self.roster, entry, self.wants_fill)?;
                self.partitions.entry(entry.partition().to_vec()).or_insert(opened)
            }
        };
        partition.entries += 1;
        self.looked_up += 1;
        let domain = u64::from(local_part(entry.mailbox()).len() < entry.mailbox().len());
        self.with_domain.0 += domain;
        if let Found::Header = look(&partition.header, &self.path, &partition.roots.header, self.reads_all)? {
            return self.found(entry, changes, report);
        }
        if let Some(data) = &partition.data
            && let Found::Header = look(data, &self.path, &partition.roots.data, self.reads_all)?
        {
            self.not_moved += 1;
            return self.found(entry, changes, report);
        }
        partition.missing += 1;
        self.missing += 1;
        self.with_domain.1 += domain;
        if partition.samples.len() < SAMPLES {
            let by_id = (!is_by_name(entry)).then(|| self.path.clone());
            partition.samples.push((entry.mailbox().to_vec(), by_id));
        }
        let path = partition.roots.header.join(as_path(&self.path));
        report.loss(entry.at, "no cyrus.header", format_args!(" ({})", show(&path)), entry.mailbox());
        if let Some(file) = &mut self.missing_file {
            file.write(entry.bytes, Some(entry.dialect))?;
        }
        match self.keep {
            true => {
                self.kept += 1;
                Ok(Verdict::Pass)
            }
            false => Ok(Verdict::Drop("missing")),
        }
    }

    fn end(&mut self, _heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        if let Some(list) = &mut self.missing_file {
            list.finish()?;
        }
        // The reason is to stand last.
        report.flush_alike();
        match self.max_missing {
            Some(limit) if limit.exceeded(self.missing, self.looked_up) => {
                return Err(Stop::Refused(format!(
                    "{} of {} mailboxes are missing; --max-missing allows {limit}",
                    Count(self.missing),
                    Count(self.looked_up)
                )));
            }
            Some(_) => {}
            None => {
                let mut suspicious: Vec<_> = self
                    .partitions
                    .iter()
                    .filter(|(_, part)| {
                        (part.missing >= SUSPICIOUS && part.missing * 2 > part.entries)
                            || (part.missing >= ALL_OF && part.missing == part.entries)
                    })
                    .collect();
                suspicious.sort_by_key(|(name, _)| *name);
                for (name, part) in &suspicious {
                    report.told(
                        "partition missing",
                        format_args!(
                            "{} of {} mailboxes of partition {} are missing at {}{}",
                            Count(part.missing),
                            Count(part.entries),
                            Name(name),
                            show(&part.roots.header),
                            self.elsewhere(name, part)
                        ),
                    );
                }
                let (all, missing) = self.with_domain;
                if self.keep {
                    // It only reports.
                } else if missing >= ALL_OF && missing == all && suspicious.is_empty() {
                    return Err(Stop::Refused(format!(
                        "all {} mailboxes with a domain are missing: does virtdomains of the configuration fit the \
                         spool? (--max-missing if it is right)",
                        Count(all)
                    )));
                } else if !suspicious.is_empty() {
                    return Err(Stop::Refused(
                        "more than half of a partition is missing: a wrong map, or a disk that is not mounted? \
                         (--max-missing if it is right)"
                            .to_string(),
                    ));
                }
            }
        }
        if let Some(orphans) = &mut self.orphans {
            orphans.end(report)?;
        }
        if self.missing > ALIKE && self.missing_file.is_none() {
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
        ]);
        if let Some(orphans) = &self.orphans {
            orphans.notes(account);
        }
    }
}

fn main() -> ExitCode {
    main_of("mbx-check-paths", |options: &Options| options.common.quiet, check)
}

fn check(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let mut side = SideFiles::beside(&options.files, &options.spool.config);
    let roots = |dir: PathBuf| Roots { data: dir.clone(), index: dir.clone(), header: dir, meta: Vec::new() };
    let (conf, roster) = options.spool.partitions("--partition", &options.partition, roots)?;
    let mut filter = Check {
        conf,
        options: options.spool,
        roster,
        layout: None,
        ahead: None,
        with_domain: (0, 0),
        to_move: 0,
        partitions: HashMap::new(),
        missing_file: side.list(options.missing.as_deref(), "--missing")?,
        orphans_file: side.list(options.orphans.as_deref(), "--orphans")?,
        orphans: None,
        keep: options.keep,
        max_missing: options.max_missing,
        wants_fill: options.fill,
        fill: None,
        filled: 0,
        path: Vec::new(),
        reads_all: rustix::process::geteuid().is_root(),
        kept: 0,
        looked_up: 0,
        missing: 0,
        not_moved: 0,
        without: [("remote", 0), ("tombstones", 0), ("intermediates", 0)],
    };
    let account = run(Run::between(&options.common, &options.rejects, &options.files, &mut side)?, &mut filter, report);
    if let Some(Err(stop)) = filter.missing_file.as_mut().map(SideList::finish) {
        report.stop(&stop);
    }
    Ok(account)
}
