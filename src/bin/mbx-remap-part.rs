//! mbx-remap-part: renames partitions, and the servers of a murder.

use clap::Parser;
use mbxtools::list::edits::Changes;
use mbxtools::list::error::Stop;
use mbxtools::list::jansson as json;
use mbxtools::list::stream::SideFile;
use mbxtools::mailbox::entry::{Entry, Kind};
use mbxtools::mailbox::partition;
use mbxtools::mailbox::rejection::Refusal;
use mbxtools::mailbox::text::Name;
use mbxtools::run::engine::{Filter, Heading, Run, Verdict, run};
use mbxtools::run::main::main_of;
use mbxtools::run::options::{Common, KNOWN, Rejects, SideFiles, are_files, read_pairs, split_pair, split_renames};
use mbxtools::run::report::Report;
use mbxtools::run::totals::Account;
use mbxtools::spool::conf::Conf;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Rename the partitions of a Cyrus mailbox list
///
/// All renames are made at once: 0=1 1=0 swaps. Other partitions keep their names. Those of remote mailboxes belong to
/// another server and keep theirs too.
#[derive(Parser)]
#[command(name = "mbx-remap-part", version = KNOWN)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rejects: Rejects,

    /// Read renames from a csv file of two columns, old and new
    #[arg(long, value_name = "FILE")]
    map: Vec<PathBuf>,

    /// Rename the server of remote mailboxes
    #[arg(long, value_name = "OLD=NEW")]
    server: Vec<OsString>,

    /// Refuse a partition without a rename
    #[arg(long)]
    strict: bool,

    /// Refuse a new partition that this host's imapd.conf does not declare
    #[arg(short = 'C', long = "conf", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write every mailbox whose partition changes, as csv: mailbox,old,new
    #[arg(long, value_name = "FILE")]
    moves: Option<PathBuf>,

    /// Renames, and the files of the list; - or no file for stdin
    #[arg(value_name = "OLD=NEW|FILE")]
    operands: Vec<OsString>,
}

/// One rename; `used` is true after an entry had the old name.
struct Rename {
    old: Vec<u8>,
    new: Vec<u8>,
    used: bool,
}

/// The renames of the command line and of --map.
#[derive(Default)]
struct Renames {
    list: Vec<Rename>,
    /// The index of the rename of each old name.
    indexes: HashMap<Vec<u8>, usize>,
    /// The last name and the index of its rename: neighbours in a list often share a partition.
    last: (Vec<u8>, Option<usize>),
}

impl Renames {
    fn add(&mut self, old: Vec<u8>, new: Vec<u8>) -> Result<(), Stop> {
        match self.indexes.get(&old).and_then(|at| self.list.get(*at)) {
            None => {
                self.indexes.insert(old.clone(), self.list.len());
                self.list.push(Rename { old, new, used: false });
            }
            Some(known) if known.new != new => {
                let names = (Name(&known.old), Name(&known.new), Name(&new));
                return Err(Stop::Trouble(format!(
                    "{}: two renames, to both {} and {}: leave one out",
                    names.0, names.1, names.2
                )));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Returns the new name of `old`, if it has one.
    fn of(&mut self, old: &[u8]) -> Option<&[u8]> {
        if self.last.0 != old {
            self.last.0.clear();
            self.last.0.extend_from_slice(old);
            self.last.1 = self.indexes.get(old).copied();
        }
        let rename = self.list.get_mut(self.last.1?)?;
        rename.used = true;
        Some(&rename.new)
    }

    /// Reports the renames that no entry needed: most are typing errors.
    fn report_unused(&self, what: &str, kind: &'static str, report: &mut Report) {
        for rename in self.list.iter().filter(|rename| !rename.used) {
            let old = Name(&rename.old);
            let text = format_args!("no entry has {what} {old}; mbx-parse --summary shows the ones in the list");
            report.remark_alike(kind, text);
        }
    }
}

struct Remap {
    partitions: Renames,
    servers: Renames,
    strict: bool,
    declared: Option<Conf>,
    moves: Option<csv::Writer<SideFile>>,
    renamed: u64,
    moved_servers: u64,
    histories: u64,
    remote: u64,
}

impl Remap {
    /// Ends the table of moves.
    fn finish(&mut self) -> Result<(), Stop> {
        self.moves.take().map_or(Ok(()), |mut moves| moves.flush().map_err(SideFile::failed))
    }

    fn server(&mut self, entry: &Entry<'_>, changes: &mut Changes) {
        // Up to 2.4 a remote entry may be the server alone.
        let alone = entry.members.is_none() && entry.server().is_none() && entry.kind() == Kind::Remote;
        let Some(server) = entry.server().or(alone.then_some(entry.partition())) else { return };
        if let Some(new) = self.servers.of(server)
            && new != server
        {
            match alone {
                true => changes.put_partition(entry, new),
                false => changes.put_server(entry, new),
            }
            self.moved_servers += 1;
        }
    }

    fn partition(&mut self, entry: &Entry<'_>, changes: &mut Changes) -> Result<Verdict, Stop> {
        let old = entry.partition();
        let renamed = self.partitions.of(old);
        if renamed.is_none() && self.strict {
            return Ok(Verdict::Refuse(Refusal::with(
                "partition without a rename",
                format_args!("{0}; add {0}={0} to keep it", Name(old)),
            )));
        }
        let new = renamed.unwrap_or(old);
        if let Some(conf) = &self.declared
            && conf.partition(new).is_none()
        {
            let detail = format!("{}, in {}; {}=NEW renames it", Name(new), conf.path(), Name(old));
            return Ok(Verdict::Refuse(Refusal::with("partition that is not declared", detail)));
        }
        if new != old {
            changes.put_partition(entry, new);
            self.renamed += 1;
            if let Some(moves) = &mut self.moves {
                moves.write_record([entry.mailbox(), old, new]).map_err(SideFile::failed)?;
            }
        }
        // A name history has former partitions of the mailbox. This host's disks have new names for them too.
        for place in entry.members.iter().flat_map(|members| &members.history) {
            let old = place.text.of(entry.values);
            if let Some(new) = self.partitions.of(old).filter(|new| *new != old) {
                changes.replace_with(place.value, |text| json::encode(new, text));
                self.histories += 1;
            }
        }
        Ok(Verdict::Change)
    }
}

impl Filter for Remap {
    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, _report: &mut Report) -> Result<Verdict, Stop> {
        let kind = entry.kind();
        // Tombstones and intermediates have no server that matters.
        let placed = kind == Kind::Remote || (kind == Kind::Mailbox && entry.server().is_some());
        if placed && !self.servers.list.is_empty() {
            self.server(entry, changes);
        }
        match kind {
            Kind::Mailbox => self.partition(entry, changes),
            Kind::Remote => {
                self.remote += 1;
                Ok(Verdict::Change)
            }
            // They have no partition.
            Kind::Tombstone | Kind::Intermediate => Ok(Verdict::Pass),
        }
    }

    fn end(&mut self, _heading: &Heading, _account: &mut Account, report: &mut Report) -> Result<(), Stop> {
        self.partitions.report_unused("partition", "partition that no entry has", report);
        self.servers.report_unused("server", "server that no entry has", report);
        self.finish()
    }

    fn notes(&self, account: &mut Account) {
        account.notes.extend([
            ("renamed", self.renamed),
            ("renamed in name histories", self.histories),
            ("with another server", self.moved_servers),
            ("remote, partition left alone", self.remote),
        ]);
    }
}

fn main() -> ExitCode {
    main_of("mbx-remap-part", |options: &Options| &options.common, remap)
}

fn remap(options: Options, report: &mut Report) -> Result<Account, Stop> {
    let (pairs, files) = split_renames(options.operands);
    are_files(&files, "a rename is written OLD=NEW", |word| !word.contains(&b'/'))?;
    let mut side = SideFiles::beside(&files, options.map.iter().chain(&options.config));
    let mut partitions = Renames::default();
    let mut servers = Renames::default();
    let mapped = options.map.iter().map(|path| read_pairs(path)).collect::<Result<Vec<_>, _>>()?;
    for (old, new) in mapped.into_iter().flatten().chain(pairs) {
        if old.is_empty() {
            return Err(Stop::Trouble(format!("={}: the old name is missing: write OLD=NEW", Name(&new))));
        }
        if !partition::can_be_declared(&new) {
            return Err(Stop::Trouble(format!(
                "{}={}: the new name cannot be a partition: use a to z, 0 to 9, _ and -, at most {} bytes",
                Name(&old),
                Name(&new),
                partition::MAX_LEN
            )));
        }
        partitions.add(old, new)?;
    }
    for word in &options.server {
        match split_pair(word) {
            Some((old, new)) if !old.is_empty() && !new.is_empty() && !new.iter().any(|b| b" \t!\r\n".contains(b)) => {
                servers.add(old, new)?;
            }
            _ => return Err(Stop::Trouble(format!("--server {}: write OLD=NEW", word.display()))),
        }
    }
    let moves = match &options.moves {
        Some(path) => {
            let mut writer = csv::Writer::from_writer(side.make(path, "--moves")?);
            writer.write_record(["mailbox", "old", "new"]).map_err(SideFile::failed)?;
            Some(writer)
        }
        None => None,
    };
    let mut filter = Remap {
        partitions,
        servers,
        strict: options.strict,
        declared: options.config.as_deref().map(|path| Conf::read(path, options.common.host())).transpose()?,
        moves,
        renamed: 0,
        moved_servers: 0,
        histories: 0,
        remote: 0,
    };
    let account = run(Run::between(&options.common, &options.rejects, &files, &mut side)?, &mut filter, report);
    // Of an aborted list, too.
    if let Err(stop) = filter.finish() {
        report.stop(&stop);
    }
    Ok(account)
}
