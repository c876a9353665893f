//! Mailboxes on disk that no entry of the list names, as entries of a list.
//!
//! What the list names is sorted, the partitions are walked, what is found is sorted, and the two are compared: memory
//! grows with neither. A directory tells the name of its mailbox, and one by uniqueid has it in its cyrus.header; ACL,
//! uniqueid and type come from there, too.

pub mod name;
mod walk;

use crate::list::edits::Changes;
use crate::list::error::Stop;
use crate::list::hold::{Records, Sorter};
use crate::list::jansson::why_not_utf8;
use crate::list::list_file::SideList;
use crate::list::seal::Releases;
use crate::list::{json, text};
use crate::mailbox::acl;
use crate::mailbox::entry::{Entry, Fields, Kind, Members, Span};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::name::MailboxName;
use crate::mailbox::rejection::At;
use crate::mailbox::text::Name;
use crate::release::{Dialect, Release, v};
use crate::run::report::Report;
use crate::run::totals::Account;
use crate::spool::aliases::Inode;
use crate::spool::conf::Conf;
use crate::spool::fill::{self, Facts, Fill, header_of};
use crate::spool::header::Header;
use crate::spool::heads::HeadReader;
use crate::spool::layout::Layout;
use crate::spool::partitions::{MetaFile, Roster, as_path};
use crate::spool::probe::{Place, open_root};
use crate::spool::readable::Readable;
use crate::spool::user::Viewer;
use name::{name_of, uniqueid_of};
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use walk::{BEHIND_PLACE, DATA_ROOT, HEADER_ROOT, NO_FILE, Walk, inode};

/// How much of each sorted list is in memory.
const MEMORY: usize = 4 * 1024 * 1024;

/// One partition.
struct Partition {
    name: Vec<u8>,
    place: Place,
}

/// The search for what a list does not name.
pub struct Orphans {
    list: SideList,
    /// Who looks.
    viewer: Viewer,
    layout: Layout,
    /// The release that the spool comes from.
    release: Release,
    writes: Dialect,
    fill: Option<Fill>,
    /// The first component of a user's mailboxes of a type.
    prefixes: [(Vec<u8>, Mbtype); 3],
    partitions: Vec<Partition>,
    /// Where each partition stands among them; two names of one root stand for the first.
    numbers: HashMap<Vec<u8>, u16>,
    /// Every root: where one lies inside another, it is not part of that.
    walls: HashSet<Inode>,
    /// `D`, the partition's number and the directory of each entry; `N` and the name of each.
    named: Sorter,
    path: Vec<u8>,
    buffer: Vec<u8>,
    /// What the release that will load them can open, if it was told.
    readable: Option<Readable>,
    written: u64,
    unwritten: u64,
    elsewhere: u64,
}

impl Orphans {
    /// For a list in `dialect`, if it has an entry, and the spool of the release that is told: `layout` is `spool`'s,
    /// or that of the release that the list comes from. The `viewer` looks.
    pub fn new(
        list: SideList,
        viewer: Viewer,
        conf: &Conf,
        layout: &Layout,
        spool: Option<&Release>,
        dialect: Option<Dialect>,
        told: &Releases,
    ) -> Result<Orphans, Stop> {
        let trouble = |text: &str| Stop::Trouble(format!("--orphans: {text}"));
        let release = spool.or(told.from.as_ref()).ok_or_else(|| {
            trouble(
                "the name of a directory hangs on the release of the spool: --from RELEASE, or --spool-release RELEASE",
            )
        })?;
        let writes = match (&told.to, dialect, &told.from) {
            (Some(to), ..) => to.dialect(),
            (None, Some(dialect), _) => dialect,
            (None, None, Some(from)) => from.dialect(),
            (None, None, None) => return Err(trouble("an empty list has no dialect: --to RELEASE, or --from RELEASE")),
        };
        let json = [&told.to, &told.from].into_iter().flatten().find(|release| release.dialect() == Dialect::Json);
        if writes == Dialect::Json && json.is_none() {
            return Err(trouble("what an entry of JSON needs hangs on the release to come: --to RELEASE"));
        }
        let prefix = |option, default: &str| conf.get(option).unwrap_or(default.as_bytes()).to_vec();
        Ok(Orphans {
            list,
            viewer,
            layout: layout.clone(),
            release: release.clone(),
            writes,
            fill: json.filter(|_| writes == Dialect::Json).map(Fill::new),
            prefixes: [
                (prefix("calendarprefix", "#calendars"), Mbtype::CALENDAR),
                (prefix("addressbookprefix", "#addressbooks"), Mbtype::ADDRESSBOOK),
                (prefix("davdriveprefix", "#drive"), Mbtype::COLLECTION),
            ],
            partitions: Vec::new(),
            numbers: HashMap::new(),
            walls: HashSet::new(),
            named: Sorter::with_memory(MEMORY),
            path: Vec::new(),
            buffer: Vec::new(),
            readable: told.to.as_ref().map(|to| Readable::new(Some(release), to)).transpose()?,
            written: 0,
            unwritten: 0,
            elsewhere: 0,
        })
    }

    /// Opens every partition.
    pub fn open(&mut self, roster: &Roster) -> Result<(), Stop> {
        let viewer = self.viewer.clone();
        viewer.look(|| self.open_all(roster))
    }

    fn open_all(&mut self, roster: &Roster) -> Result<(), Stop> {
        let mut known = HashMap::new();
        for (name, roots) in roster.all() {
            let place = Place::open(roots, name)?;
            let at = |fd: &OwnedFd, path: &Path| {
                inode(fd).map_err(|e| Stop::io(format_args!("partition {}: {}", Name(name), show(path)), &e.into()))
            };
            let mut inodes = Vec::new();
            for root in place.headers().iter() {
                inodes.push(at(root.fd, root.path)?);
            }
            self.walls.extend(&inodes);
            for path in &roots.meta {
                self.walls.extend(open_root(path, name).and_then(|fd| at(&fd, path)));
            }
            // The server takes no more than 64 bytes of a name, but any number of them.
            let next = u16::try_from(self.partitions.len()).map_err(|_| Stop::Trouble("too many partitions".into()))?;
            let number = *known.entry(inodes).or_insert(next);
            self.numbers.insert(name.to_vec(), number);
            if number == next {
                self.partitions.push(Partition { name: name.to_vec(), place });
            }
        }
        Ok(())
    }

    /// Takes note of an entry of the list: its directory is no orphan, and its name is taken.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        match entry.kind() {
            // There may well be a mailbox of that name.
            Kind::Tombstone | Kind::Intermediate => return Ok(()),
            Kind::Mailbox => {
                if let Some(number) = self.numbers.get(entry.partition())
                    && self.layout.place(entry, &mut self.path)?.is_ok()
                {
                    let record = [&b"D"[..], &number.to_be_bytes(), &self.path].concat();
                    self.named.push(&record)?;
                }
            }
            Kind::Remote => {}
        }
        self.named.push(&[b"N", entry.mailbox()].concat())
    }

    /// After the last entry: walks the partitions and writes what the list does not name, sorted by name.
    pub fn end(&mut self, report: &mut Report) -> Result<(), Stop> {
        let found = self.walk(report)?;
        let named = std::mem::take(&mut self.named).sorted()?;
        let mut named = named.read()?;
        let dirs = directories(found, &mut named)?;
        let orphans = self.unnamed(dirs, report)?;
        self.write_all(orphans, &mut named, report)?;
        if let Some(readable) = &self.readable {
            readable.tell(report);
        }
        self.list.finish()
    }

    /// Every directory with a header, as [`Walk::found`] has it.
    fn walk(&mut self, report: &mut Report) -> Result<Sorter, Stop> {
        let mut found = Sorter::with_memory(MEMORY);
        for (number, partition) in (0_u16..).zip(&self.partitions) {
            let roots = partition.place.headers();
            let (Some(header), Some(data)) = (roots.first(), roots.last()) else { continue };
            let mut walk = Walk {
                viewer: &self.viewer,
                report: &mut *report,
                root: *header,
                walls: &self.walls,
                by_id: self.release.since(v(3, 6, 0)),
                number,
                place: HEADER_ROOT,
                found: &mut found,
                headers: 0,
                too_far: 0,
            };
            walk.all()?;
            // Where headers belong on the metapartition, one on the data partition is not moved yet.
            if inode(header.fd).ok() != inode(data.fd).ok() {
                (walk.root, walk.place) = (*data, DATA_ROOT);
                walk.all()?;
            }
            let (headers, too_far) = (walk.headers, walk.too_far);
            self.unwritten += too_far;
            if headers == 0 {
                let (name, path) = (Name(&partition.name), show(&partition.place.roots.data));
                report.told(
                    "empty partition",
                    format_args!("partition {name}: {path} holds no mailbox: is the disk mounted?"),
                );
            }
        }
        Ok(found)
    }

    /// The directories that no entry names, by the names of their mailboxes.
    fn unnamed(&mut self, dirs: Sorter, report: &mut Report) -> Result<Sorter, Stop> {
        let mut orphans = Sorter::with_memory(MEMORY);
        let dirs = dirs.sorted()?;
        let mut dirs = dirs.read()?;
        let mut last = Vec::new();
        while let Some(record) = dirs.advance()? {
            let (Some((dir, listed, kind, place)), before) = (of_directory(record), of_directory(&last)) else {
                continue;
            };
            let twin = before.filter(|(other, ..)| *other == dir);
            let named = twin.filter(|(_, listed, ..)| *listed);
            match named {
                _ if listed => {}
                Some((.., known)) => {
                    self.elsewhere += 1;
                    let (shown, known) = (self.shown(place), self.shown(known));
                    report.told("listed", format_args!("{shown}: the list has it as {known}: not written"));
                    continue;
                }
                None => {
                    if let Some((.., other)) = twin {
                        let (shown, other) = (self.shown(place), self.shown(other));
                        report.finding(
                            "one directory",
                            format_args!("{shown}: one directory with {other}, two names: choose one"),
                        );
                    }
                    let place = place.to_vec();
                    self.orphan(&place, kind & NO_FILE != 0, &mut orphans, report)?;
                }
            }
            last.clear();
            last.extend_from_slice(record);
        }
        Ok(orphans)
    }

    /// Writes them, but for those whose names the list has.
    fn write_all(&mut self, orphans: Sorter, named: &mut Records<'_>, report: &mut Report) -> Result<(), Stop> {
        let orphans = orphans.sorted()?;
        let mut orphans = orphans.read()?;
        let mut last = Vec::new();
        while let Some(record) = orphans.advance()? {
            let end = memchr::memchr(0, record).unwrap_or(record.len());
            let (name, rest) = record.split_at(end);
            let Some((by_name, place)) = rest.get(1..).and_then(<[u8]>::split_first) else { continue };
            while named.peek().is_some_and(|known| known.get(1..) < Some(name)) {
                named.advance()?;
            }
            let shown = self.shown(place);
            if named.peek().is_some_and(|known| known.get(1..) == Some(name)) {
                self.elsewhere += 1;
                let name = Name(name);
                report
                    .told("listed elsewhere", format_args!("{shown}: the list has {name}, but not here: not written"));
                continue;
            }
            if last == name {
                let name = Name(name);
                report.finding("one of two", format_args!("{shown}: {name} is on disk more than once: choose one"));
            }
            last.clear();
            last.extend_from_slice(name);
            let (name, place, by_name) = (name.to_vec(), place.to_vec(), *by_name == 1);
            self.write(&name, &place, by_name, report)?;
        }
        Ok(())
    }

    /// What the closing line says of it.
    pub fn notes(&self, account: &mut Account) {
        account.notes.extend([
            ("orphans", self.written),
            ("on disk but not written", self.unwritten),
            ("on disk but listed elsewhere", self.elsewhere),
        ]);
    }

    /// The partition and the directory of a record.
    fn place<'p>(&self, place: &'p [u8]) -> Option<(&Partition, &'p [u8])> {
        let (number, dir) = place.split_first_chunk()?;
        Some((self.partitions.get(usize::from(u16::from_be_bytes(*number)))?, dir))
    }

    /// Where its header belongs.
    fn shown(&self, place: &[u8]) -> String {
        let path = |(partition, dir): (&Partition, _)| partition.place.roots.of(MetaFile::Header).join(as_path(dir));
        self.place(place).map(|place| show(&path(place))).unwrap_or_default()
    }

    /// A directory that no entry names: whose is it?
    fn orphan(&mut self, place: &[u8], no_file: bool, to: &mut Sorter, report: &mut Report) -> Result<(), Stop> {
        let named = match no_file {
            true => Err("cyrus.header is no file".to_string()),
            false => self.name_of(place)?,
        };
        match named {
            Ok((name, by_name)) => to.push(&[&name, &[0, u8::from(by_name)][..], place].concat())?,
            Err(why) => self.unwritten(place, &why, report),
        }
        Ok(())
    }

    fn unwritten(&mut self, place: &[u8], why: &str, report: &mut Report) {
        self.unwritten += 1;
        let shown = self.shown(place);
        report.finding("on disk but not written", format_args!("{shown}: on disk, but not written: {why}"));
    }

    /// The name of the mailbox in a directory, and whether that is by name.
    fn name_of(&mut self, place: &[u8]) -> Result<Result<(Vec<u8>, bool), String>, Stop> {
        let dir = self.place(place).map_or(&b""[..], |(_, dir)| dir).to_vec();
        let Some(id) = uniqueid_of(&dir).filter(|_| self.release.since(v(3, 6, 0))) else {
            return Ok(match name_of(&self.layout, &dir)? {
                Some(name) if name.iter().any(|b| b"\t\r\n\0".contains(b)) => {
                    Err("no list can hold its name".to_string())
                }
                Some(name) => Ok((name, true)),
                None => Err("no mailbox name has this directory: other hashing, domains or release?".to_string()),
            });
        };
        let header = match self.header(place) {
            Ok(header) => header,
            Err(why) => return Ok(Err(why)),
        };
        if header.uniqueid.as_deref() != Some(id) {
            return Ok(Err("the uniqueid in its cyrus.header is another".to_string()));
        }
        let Some(name) = header.name else {
            return Ok(Err("its cyrus.header has no name, and its directory is by uniqueid".to_string()));
        };
        let good = !name.iter().any(|b| b"\t\r\n".contains(b)) && self.layout.path(&name, &mut self.path)?.is_ok();
        Ok(if good { Ok((name, false)) } else { Err("no list can hold the name in its cyrus.header".to_string()) })
    }

    fn header(&mut self, place: &[u8]) -> Result<Header, String> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match self.place(place) {
            Some((partition, dir)) => self.viewer.look(|| header_of(&partition.place.headers(), dir, &mut buffer)),
            None => Err(Stop::Closed),
        };
        self.buffer = buffer;
        read.map_err(one_file)?.map_err(|refusal| refusal.to_string())
    }

    /// Why the release that will load the list cannot open the mailbox, if it was told and cannot.
    fn opens(&mut self, place: &[u8]) -> Result<(), String> {
        let (Some((partition, dir)), Some(readable)) = (self.place(place), &self.readable) else { return Ok(()) };
        let (headers, indexes) = (partition.place.headers(), partition.place.indexes());
        let mut files = HeadReader::default();
        let heads = files.read(dir, &headers, &indexes, 0).map_err(one_file)?;
        match readable.refuses(&heads, dir, &headers, &indexes) {
            None => Ok(()),
            Some(refusal) => {
                if let Some(readable) = &mut self.readable {
                    readable.add(&heads);
                }
                Err(refusal.to_string())
            }
        }
    }

    /// What kind of mailbox a name stands for, on the releases that have the kind.
    fn type_of(&self, name: &[u8]) -> Mbtype {
        let name = MailboxName::new(name);
        let name = self.layout.names.undeleted(name).unwrap_or(name);
        let own = name.owner().map_or(0, |_| 2);
        let first = name.components().nth(own).unwrap_or_default();
        let found = self.prefixes.iter().find(|(prefix, _)| prefix == first).map(|(_, mbtype)| *mbtype);
        found.filter(|mbtype| mbtype.unknown_to(&self.release).is_none()).unwrap_or(Mbtype::EMAIL)
    }

    /// Writes the entry of one orphan.
    fn write(&mut self, name: &[u8], place: &[u8], by_name: bool, report: &mut Report) -> Result<(), Stop> {
        let opens = self.opens(place);
        let written = match opens.and_then(|()| self.header(place)) {
            Ok(header) => self.entry_of(name, place, &header, by_name, report),
            Err(why) => Err(why),
        };
        match written {
            Ok(entry) => {
                self.written += 1;
                self.list.write(&entry, Some(self.writes))?;
            }
            Err(why) => self.unwritten(place, &format!("{}: {why}", Name(name)), report),
        }
        Ok(())
    }

    fn entry_of(
        &mut self,
        name: &[u8],
        place: &[u8],
        header: &Header,
        by_name: bool,
        report: &mut Report,
    ) -> Result<Vec<u8>, String> {
        let told = header.mbtype.as_deref().and_then(Mbtype::of_letters).map(Mbtype::alone);
        let mbtype = told.unwrap_or_else(|| self.type_of(name));
        let acl = header.acl.as_slice();
        if !acl::is_closed(acl) || acl.iter().any(|b| b"\r\n".contains(b)) {
            return Err("the ACL in its cyrus.header is damaged".to_string());
        }
        let Some((partition, dir)) = self.place(place) else { return Err(String::new()) };
        // What the list's dialects write is asked of an entry.
        let values = [name, &partition.name, acl].concat();
        let ends = [name.len(), name.len() + partition.name.len()];
        let [mailbox, partition_at] = [Span::new(0, ends[0]), Span::new(ends[0], ends[1])];
        let acl_at = Span::new(ends[1], values.len());
        let fields = Fields { mailbox, partition: partition_at, place: partition_at, acl: acl_at, ..Fields::default() };
        let shown = self.shown(place);
        let at = At { file: &shown, line: 1 };
        let entry = Entry::of_line(&values, at, Dialect::Blank, fields);
        let mut out = Vec::new();
        let Some(fill) = &self.fill else {
            if !by_name {
                return Err("its directory is by uniqueid, which no list of text can say".to_string());
            }
            let number = mbtype == Mbtype::EMAIL || Mbtype::parse(mbtype.to_string().as_bytes()).is_some();
            if !number || (!self.writes.has_types() && mbtype != Mbtype::EMAIL) {
                return Err(format!("{}: a list of this dialect has no such type", mbtype.names()));
            }
            out.extend_from_slice(name);
            out.push(b'\t');
            text::write_place(&entry, mbtype, self.writes, &mut out);
            out.extend_from_slice(acl);
            return Ok(out);
        };
        if let Some(why) = [name, acl].into_iter().find_map(why_not_utf8) {
            return Err(format!("what is no UTF-8 cannot be in JSON: {why}"));
        }
        if let Some(twice) = acl::twice(acl) {
            return Err(format!("{} stands twice in its ACL, which JSON cannot hold", Name(twice)));
        }
        let mbtype = if by_name { mbtype.with(Mbtype::LEGACY) } else { mbtype };
        json::write(&entry, mbtype, acl, None, &mut out).ok_or("a type without a letter")?;
        let (headers, indexes) = (partition.place.headers(), partition.place.indexes());
        let mut files = HeadReader::default();
        let facts = self.viewer.look(|| {
            let heads = files.read(dir, &headers, &indexes, fill::HEADER)?;
            Facts::of(&mut files, &heads, dir, &headers, &indexes)
        });
        let facts = facts.map_err(one_file)?.map_err(|refusal| refusal.to_string())?;
        let (mut members, mut values, mut changes) = (Members::default(), Vec::new(), Changes::default());
        let bare = json::parse(&out, &mut members, &mut values).map_err(|_| "cannot be in JSON")?;
        let fields = bare.fields.map_err(|refusal| refusal.to_string())?;
        let dialect = Dialect::Json;
        let entry = Entry { bytes: &out, values: &values, members: Some(&members), record: None, at, dialect, fields };
        fill.entry(&entry, &facts, &mut changes, report).map_err(|refusal| refusal.to_string())?;
        let mut filled = Vec::new();
        changes.apply(&out, &mut filled);
        Ok(filled)
    }
}

/// One file that cannot be read is told, and the search goes on.
fn one_file(stop: Stop) -> String {
    match stop {
        Stop::Trouble(text) => text,
        _ => "cannot be read".to_string(),
    }
}

/// Of what is found and what the list names, sorted by directory: the directory as the system knows it, a byte that is 0
/// if an entry names it, what was found, and its place. A link may lead where an entry is, by another name.
fn directories(found: Sorter, named: &mut Records<'_>) -> Result<Sorter, Stop> {
    let found = found.sorted()?;
    let mut found = found.read()?;
    let mut dirs = Sorter::with_memory(MEMORY);
    let mut last = Vec::new();
    while let Some(record) = found.advance()? {
        let (place, behind) = record.split_at(record.len() - BEHIND_PLACE);
        // A mailbox of which both roots have a header is one.
        if place == last {
            continue;
        }
        last.clear();
        last.extend_from_slice(place);
        while named.peek().and_then(|known| known.strip_prefix(b"D")).is_some_and(|known| known < place) {
            named.advance()?;
        }
        let listed = named.peek().and_then(|known| known.strip_prefix(b"D")) == Some(place);
        dirs.push(&[&behind[2..], &[u8::from(!listed), behind[1]], place].concat())?;
    }
    while named.peek().is_some_and(|known| known.starts_with(b"D")) {
        named.advance()?;
    }
    Ok(dirs)
}

/// A record of [`directories`]: the directory, whether an entry names it, what was found, its place.
fn of_directory(record: &[u8]) -> Option<(&[u8], bool, u8, &[u8])> {
    let (dir, rest) = record.split_at_checked(size_of::<Inode>())?;
    let [unlisted, kind, place @ ..] = rest else { return None };
    Some((dir, *unlisted == 0, *kind, place))
}

fn show(path: &Path) -> String {
    Name(path.as_os_str().as_bytes()).to_string()
}
