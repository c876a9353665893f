//! Mailboxes that are not where the server would look: how many of each partition, whether that can be right, and where
//! they are instead.

use crate::list::error::Stop;
use crate::mailbox::entry::Entry;
use crate::mailbox::entry::is_by_name;
use crate::mailbox::text::{Count, Name};
use crate::release::Release;
use crate::run::options::Limit;
use crate::run::report::Report;
use crate::spool::layout::{Hash, Layout};
use crate::spool::partitions::{MetaFile, Roster, as_path};
use crate::spool::probe::Place;
use crate::spool::user::{Viewer, denied};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many missing mailboxes are looked for elsewhere before a list is given up.
const SAMPLES: usize = 20;

/// From so many on, mailboxes that are missing all together are taken for the same.
const ALL_OF: u64 = 3;

/// From so many missing on, more than half of a partition is taken for a wrong map or an unmounted disk.
const SUSPICIOUS: u64 = 10;

/// One partition, open, and what is missing of it.
struct Partition {
    place: Arc<Place>,
    entries: u64,
    missing: u64,
    /// Those that the release that will load the list cannot open.
    unreadable: u64,
    /// The first mailboxes that are missing, to be looked for elsewhere: by name, or where their uniqueid says.
    samples: Vec<Sample>,
}

/// A mailbox that is missing, and where its header should be if its uniqueid says that.
type Sample = (Vec<u8>, Option<Vec<u8>>);

/// What was looked for and not found.
pub struct Missing {
    viewer: Viewer,
    limit: Option<Limit>,
    no_drop: bool,
    hash_told: bool,
    partitions: HashMap<Vec<u8>, Partition>,
    /// Mailboxes that were looked for, and how many of them are missing.
    all: (u64, u64),
    /// How many of them the release that will load the list cannot open.
    unreadable: u64,
    /// Mailboxes with a domain that were looked for, and how many of them are missing.
    with_domain: (u64, u64),
}

impl Missing {
    /// Looked for by `viewer`, with the `limit` of --max-missing; whether what is missing is only told, and whether the
    /// old host's hashing was.
    pub fn new(viewer: Viewer, limit: Option<Limit>, no_drop: bool, hash_told: bool) -> Missing {
        let partitions = HashMap::new();
        Missing { viewer, limit, no_drop, hash_told, partitions, all: (0, 0), unreadable: 0, with_domain: (0, 0) }
    }

    /// How many mailboxes were looked for.
    pub fn looked_for(&self) -> u64 {
        self.all.0
    }

    /// How many of them are missing.
    pub fn count(&self) -> u64 {
        self.all.1
    }

    /// Where the mailboxes of an entry's partition are. It is opened when it is met first; that no mailbox at all is there
    /// is trouble.
    pub fn place(&mut self, entry: &Entry<'_>, roster: &Roster) -> Result<Arc<Place>, Stop> {
        self.partition(entry, roster).map(|partition| Arc::clone(&partition.place))
    }

    fn partition(&mut self, entry: &Entry<'_>, roster: &Roster) -> Result<&mut Partition, Stop> {
        if !self.partitions.contains_key(entry.partition()) {
            let roots = roster.of(entry)?;
            let (place, holds_any) = self.viewer.look(|| {
                let place = Place::open(roots, entry.partition())?;
                Ok((place, holds_a_directory(roots.of(MetaFile::Header))? || holds_a_directory(&roots.data)?))
            })?;
            if !holds_any {
                return Err(Stop::Trouble(format!(
                    "{}: {}: {} holds no mailbox though the list has some in partition {}: is the disk mounted?",
                    entry.at,
                    Name(entry.mailbox()),
                    show(roots.of(MetaFile::Header)),
                    Name(entry.partition())
                )));
            }
            let place = Arc::new(place);
            let opened = Partition { place, entries: 0, missing: 0, unreadable: 0, samples: Vec::new() };
            self.partitions.insert(entry.partition().to_vec(), opened);
        }
        self.partitions.get_mut(entry.partition()).ok_or_else(|| Stop::Trouble("a partition that was lost".to_string()))
    }

    /// Counts a mailbox that is looked for.
    pub fn look_for(&mut self, entry: &Entry<'_>, roster: &Roster) -> Result<Arc<Place>, Stop> {
        self.all.0 += 1;
        self.with_domain.0 += u64::from(has_domain(entry));
        let partition = self.partition(entry, roster)?;
        partition.entries += 1;
        Ok(Arc::clone(&partition.place))
    }

    /// Counts one that is missing, and tells it; `header` is where it should be below its root.
    pub fn add(
        &mut self,
        entry: &Entry<'_>,
        roster: &Roster,
        header: Vec<u8>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        self.all.1 += 1;
        self.with_domain.1 += u64::from(has_domain(entry));
        let partition = self.partition(entry, roster)?;
        let path = partition.place.roots.of(MetaFile::Header).join(as_path(&header));
        report.loss(entry.at, "no cyrus.header", format_args!(" ({})", show(&path)), entry.mailbox());
        partition.missing += 1;
        if partition.samples.len() < SAMPLES {
            let by_id = (!is_by_name(entry)).then_some(header);
            partition.samples.push((entry.mailbox().to_vec(), by_id));
        }
        Ok(())
    }

    /// Counts a mailbox that is there, and that the release that will load the list cannot open.
    pub fn add_unreadable(&mut self, entry: &Entry<'_>, roster: &Roster) -> Result<(), Stop> {
        self.unreadable += 1;
        self.partition(entry, roster)?.unreadable += 1;
        Ok(())
    }

    /// Whether so many can be missing, or closed to the release `to`; if not, where those that are missing are is told.
    pub fn judge(
        &self,
        roster: &Roster,
        layout: Option<&Layout>,
        to: Option<&Release>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let exceeded = self.limit.map(|limit| (limit, limit.exceeded(self.all.1 + self.unreadable, self.all.0)));
        let closed = to.map_or(String::new(), |to| format!("cannot be opened by {to}"));
        let mut suspicious: Vec<_> = self
            .partitions
            .iter()
            .filter(|(_, part)| {
                let gone = part.missing + part.unreadable;
                (gone >= SUSPICIOUS && gone * 2 > part.entries) || (gone >= ALL_OF && gone == part.entries)
            })
            .filter(|_| exceeded.is_none_or(|(_, exceeded)| exceeded))
            .collect();
        suspicious.sort_by_key(|(name, _)| *name);
        for (name, part) in suspicious.iter().filter(|(_, part)| part.unreadable > 0) {
            let (some, all) = (Count(part.unreadable), Count(part.entries));
            report.told(
                "partition that cannot be opened",
                format_args!("{some} of {all} mailboxes of partition {} {closed}", Name(name)),
            );
        }
        for (name, part) in suspicious.iter().filter(|(_, part)| part.missing > 0) {
            let elsewhere = match layout {
                Some(layout) => self.elsewhere(name, part, roster, layout)?,
                None => String::new(),
            };
            report.told(
                "partition missing",
                format_args!(
                    "{} of {} mailboxes of partition {} are missing at {}{elsewhere}",
                    Count(part.missing),
                    Count(part.entries),
                    Name(name),
                    show(part.place.roots.of(MetaFile::Header))
                ),
            );
        }
        if let Some(layout) = layout {
            let mut others: Vec<_> = self.partitions.iter().filter(|(_, part)| part.missing > 0).collect();
            others.retain(|(name, _)| !suspicious.iter().any(|(other, _)| other == name));
            others.sort_by_key(|(name, _)| *name);
            for (name, part) in others {
                self.tell_each(name, part, roster, layout, report)?;
            }
        }
        let (all, missing) = self.with_domain;
        match exceeded {
            Some((limit, true)) => Err(Stop::Refused(format!(
                "{} of {} mailboxes are missing{}; --max-missing allows {limit}",
                Count(self.all.1),
                Count(self.all.0),
                match self.unreadable {
                    0 => String::new(),
                    some => format!(", and {} {closed}", Count(some)),
                }
            ))),
            // A limit of one's own replaces the rules below.
            Some(_) => Ok(()),
            None if self.no_drop => Ok(()),
            None if suspicious.iter().any(|(_, part)| part.unreadable > 0) => Err(Stop::Refused(format!(
                "more than half of a partition {closed} or is missing (--max-missing if it is right)"
            ))),
            None if !suspicious.is_empty() => Err(Stop::Refused(
                "more than half of a partition is missing: a wrong map, a disk that is not mounted, or other hashing than -C says? \
                 (--max-missing if it is right)"
                    .to_string(),
            )),
            None if missing >= ALL_OF && missing == all => Err(Stop::Refused(format!(
                "all {} mailboxes with a domain are missing: does virtdomains of the configuration fit the spool? \
                 (--max-missing if it is right)",
                Count(all)
            ))),
            None => Ok(()),
        }
    }

    /// Where the first of the mailboxes that are missing of a partition are instead.
    /// A place that cannot be looked at has none of them.
    fn elsewhere(&self, name: &[u8], partition: &Partition, roster: &Roster, layout: &Layout) -> Result<String, Stop> {
        let places = self.places(name, roster, layout);
        let count =
            |place: &Elsewhere<'_>| partition.samples.iter().filter(|sample| place.has(sample).is_some()).count();
        let mut best = (0, None);
        for place in &places {
            let found = self.viewer.look(|| Ok(count(place)))?;
            if found > best.0 {
                best = (found, Some(place));
            }
        }
        Ok(match best {
            (found, Some(Elsewhere { place, hint, .. })) => {
                format!("; {found} of the first {} stand {place}{hint}", partition.samples.len())
            }
            (_, None) => "; the first of them stand in no other declared partition either".to_string(),
        })
    }

    /// Says of each of the first mailboxes that are missing of a partition where it is instead, if it is anywhere.
    fn tell_each(
        &self,
        name: &[u8],
        partition: &Partition,
        roster: &Roster,
        layout: &Layout,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let places = self.places(name, roster, layout);
        for sample in &partition.samples {
            let here = || Ok(places.iter().find_map(|place| place.has(sample).map(|path| (place, path))));
            let found = self.viewer.look(here)?;
            if let Some((Elsewhere { place, hint, .. }, path)) = found {
                let mailbox = Name(&sample.0);
                report.told(
                    "missing, and elsewhere",
                    format_args!("{mailbox} is not in partition {}, but {place}{hint} ({})", Name(name), show(&path)),
                );
            }
        }
        Ok(())
    }

    /// Where else mailboxes of partition `name` may be, the likelier places first.
    fn places<'r>(&self, name: &[u8], roster: &'r Roster, layout: &Layout) -> Vec<Elsewhere<'r>> {
        let mut hashes = [(Hash::None, "flat"), (Hash::Basic, "hashimapspool"), (Hash::Full, "fulldirhash")];
        hashes.sort_by_key(|(hash, _)| *hash != layout.hash);
        let mut places = Vec::new();
        for (hash, what) in hashes {
            let hashed = hash != layout.hash;
            let hint = match hashed && !self.hash_told {
                true => ": --spool-conf tells how the old host hashed",
                false => "",
            };
            for (other, roots) in roster.all() {
                let place = match (other == name, hashed) {
                    (true, false) => continue,
                    (true, true) => format!("in the same partition, hashed otherwise ({what})"),
                    (false, false) => format!("in partition {}", Name(other)),
                    (false, true) => format!("in partition {}, hashed otherwise ({what})", Name(other)),
                };
                let roots: Vec<&Path> = vec![roots.of(MetaFile::Header), &roots.data];
                places.push(Elsewhere { layout: layout.with_hash(hash), hashed, roots, place, hint });
            }
        }
        // Where headers were kept apart before, or are on the old host.
        for (_, roots) in roster.all().into_iter().filter(|(other, _)| *other == name) {
            for root in roots.meta.iter().filter(|root| *root != roots.of(MetaFile::Header)) {
                places.push(Elsewhere {
                    layout: layout.with_hash(layout.hash),
                    hashed: false,
                    roots: vec![root],
                    place: format!("under {}", show(root)),
                    hint: ": metapartition_files of -C has no word header",
                });
            }
        }
        places
    }
}

fn has_domain(entry: &Entry<'_>) -> bool {
    entry.name().domain().is_some()
}

/// A place where a mailbox may be that is not where the server would look.
struct Elsewhere<'r> {
    layout: Layout,
    /// Whether the layout differs from the server's.
    hashed: bool,
    roots: Vec<&'r Path>,
    /// In words, and what to do.
    place: String,
    hint: &'static str,
}

impl Elsewhere<'_> {
    /// The header of a mailbox that is missing, if it is here.
    fn has(&self, (mailbox, by_id): &Sample) -> Option<PathBuf> {
        let mut tail = Vec::new();
        let header = match by_id {
            // No hash decides where a uniqueid is.
            Some(_) if self.hashed => return None,
            Some(header) => header,
            None if matches!(self.layout.path(mailbox, &mut tail), Ok(Ok(()))) => {
                tail.extend_from_slice(b"/cyrus.header");
                &tail
            }
            None => return None,
        };
        self.roots.iter().map(|root| root.join(as_path(header))).find(|path| path.is_file())
    }
}

/// Whether a root has a directory that could hold mailboxes: `stage.`, `sync.` and `lost+found` cannot.
fn holds_a_directory(root: &Path) -> Result<bool, Stop> {
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => match rustix::fs::stat(root.join(".")) {
            Ok(_) => return Ok(true),
            Err(e) => return Err(Stop::Trouble(format!("{}: {}", show(root), denied(e, root)))),
        },
        entries => entries.map_err(|e| Stop::io(show(root), &e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Stop::io(show(root), &e))?;
        let name = entry.file_name();
        if name != "lost+found" && !name.as_bytes().contains(&b'.') && entry.path().is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn show(path: &Path) -> String {
    Name(path.as_os_str().as_bytes()).to_string()
}
