//! What a list holds, for people and for other tools.

use crate::acl;
use crate::entry::{Entry, Kind, Member, local_part};
use crate::json;
use crate::mbtype::Mbtype;
use crate::outcome::{Count, Name, Report, Stop};
use crate::spool::is_by_name;
use crate::stream::cannot_write;
use crate::version::Dialect;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// A table of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated, quoted as RFC 4180 has it
    Csv,
    /// The same with TABs between the columns
    Tsv,
    /// One JSON object a line
    Jsonl,
}

/// The most different values of one kind that are counted apart: a hostile list must not fill the memory.
const DISTINCT: usize = 10_000;

/// The most that are shown of one kind.
const SHOWN: usize = 25;

/// Counts of values, the most frequent shown first.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<Vec<u8>, u64>,
    others: u64,
}

impl Tally {
    fn add(&mut self, value: &[u8]) {
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
        } else if self.counts.len() < DISTINCT {
            self.counts.insert(value.to_vec(), 1);
        } else {
            self.others += 1;
        }
    }

    /// Shows values that are words of ours as they are, all others as [`Name`]s.
    fn show(&self, title: &str, ours: bool, out: &mut dyn Write) -> io::Result<()> {
        if self.counts.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{title}")?;
        let mut sorted: Vec<_> = self.counts.iter().collect();
        sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (value, count) in sorted.iter().take(SHOWN) {
            let value = if ours { String::from_utf8_lossy(value).into_owned() } else { Name(value).to_string() };
            writeln!(out, "{:>12}  {value}", Count(**count).to_string())?;
        }
        let rest: u64 = sorted.iter().skip(SHOWN).map(|(_, count)| **count).sum();
        if rest > 0 {
            let more = sorted.len() - SHOWN;
            writeln!(out, "{:>12}  in {} others", Count(rest).to_string(), Count(more as u64))?;
        }
        if self.others > 0 {
            writeln!(out, "{:>12}  not counted apart", Count(self.others).to_string())?;
        }
        Ok(())
    }
}

/// What one needs to choose maps and thresholds.
#[derive(Default)]
pub struct Summary {
    entries: u64,
    dialect: String,
    bytes: u64,
    users: u64,
    deleted: u64,
    pairs: u64,
    negative: u64,
    longest_name: (usize, Vec<u8>),
    longest_line: (usize, Vec<u8>),
    types: Tally,
    directories: Tally,
    partitions: Tally,
    servers: Tally,
    domains: Tally,
    tops: Tally,
    rights: Tally,
    oddities: Tally,
}

impl Summary {
    /// Counts one entry.
    pub fn add(&mut self, entry: &Entry<'_>) {
        if self.entries == 0 {
            self.dialect = entry.dialect.to_string();
        }
        self.entries += 1;
        self.bytes += entry.bytes.len() as u64 + 1;
        let (mailbox, local) = (entry.mailbox(), local_part(entry.mailbox()));
        let mut parts = local.split(|b| *b == b'.');
        let top = parts.next().unwrap_or_default();
        self.users += u64::from(top == b"user" && parts.next().is_some() && parts.next().is_none());
        self.deleted += u64::from(entry.is_deleted_name());
        self.tops.add(top);
        if local.len() < mailbox.len() {
            self.domains.add(&mailbox[..mailbox.len() - local.len() - 1]);
        }
        for (len, longest) in [(mailbox.len(), &mut self.longest_name), (entry.bytes.len() + 1, &mut self.longest_line)]
        {
            if len > longest.0 {
                *longest = (len, mailbox.to_vec());
            }
        }
        match (entry.mbtype(), entry.kind()) {
            (Some(mbtype), _) => self.types.add(mbtype.names().as_bytes()),
            (None, Kind::Remote) => self.types.add(b"remote or moving (the list has no types)"),
            (None, _) => self.types.add(b"not told (the list has no types)"),
        }
        match (entry.kind(), entry.server()) {
            (Kind::Remote, server) => self.servers.add(server.unwrap_or(entry.partition())),
            (Kind::Mailbox, _) => self.partitions.add(entry.partition()),
            _ => {}
        }
        self.add_acl(entry);
        if let Some(mbtype) = entry.mbtype() {
            if mbtype.has(Mbtype::RESERVE) {
                self.oddities.add(b"reserved mailbox: a server deletes it with its mail at its next start");
            }
            if mbtype.has(Mbtype::MOVING) {
                self.oddities.add(b"mailbox on its way to another server");
            }
        }
        if entry.dialect == Dialect::Json && entry.kind() == Kind::Mailbox {
            if entry.member(Member::Uniqueid).is_none_or(<[u8]>::is_empty) {
                self.oddities.add(b"mailbox without a uniqueid: the loader skips it");
            }
            let by_name = is_by_name(entry);
            self.directories.add(if by_name { b"by name (l in the mbtype)" } else { b"by uniqueid" });
        }
        if entry.kind() == Kind::Remote && entry.server().is_none() {
            self.oddities.add(b"remote mailbox without server!partition");
        }
        if local.split(|b| *b == b'.').any(<[u8]>::is_empty) {
            self.oddities.add(b"name with an empty component");
        }
        if mailbox.iter().any(|b| !(b' '..=b'~').contains(b)) {
            self.oddities.add(b"name with bytes that are not ASCII");
        }
    }

    fn add_acl(&mut self, entry: &Entry<'_>) {
        let acl = entry.acl();
        let mut before: Vec<&[u8]> = Vec::new();
        for pair in acl::pairs(acl) {
            self.pairs += 1;
            self.negative += u64::from(pair.identifier.first() == Some(&b'-'));
            self.rights.add(pair.rights);
            if pair.identifier.iter().any(u8::is_ascii_uppercase) {
                self.oddities.add(b"identifier with upper-case letters, which matches nobody under username_tolower");
            }
            if pair.identifier.iter().any(|b| matches!(b, b'"' | b'%' | b'\\' | 0x80..)) {
                self.oddities.add(b"identifier that makes a list of 2.5 to 3.3 unreadable");
            }
            // A list this long is judged by its shape; comparing all with all would take for ever.
            if before.len() < 100 {
                if before.contains(&pair.identifier) {
                    self.oddities.add(b"identifier twice in one ACL");
                }
                before.push(pair.identifier);
            }
        }
        if !acl::is_closed(acl) {
            self.oddities.add(b"ACL not closed by a TAB");
        } else if acl.is_empty() && matches!(entry.kind(), Kind::Mailbox) {
            self.oddities.add(b"empty ACL");
        }
    }

    /// Writes it for a person to read at a glance.
    pub fn show(&self, out: &mut dyn Write) -> Result<(), Stop> {
        let mut text = Vec::new();
        self.write(&mut text).and_then(|()| out.write_all(&text)).map_err(|e| failed(&e))
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |out: &mut dyn Write, n: u64, what: &str| writeln!(out, "{:>12}  {what}", Count(n).to_string());
        if self.entries > 0 {
            writeln!(out, "A list in {}.\n", self.dialect)?;
        }
        row(out, self.entries, "entries")?;
        row(out, self.users, "users with an INBOX")?;
        row(out, self.deleted, "in the DELETED namespace")?;
        row(out, self.pairs, "identifiers in ACLs")?;
        row(out, self.negative, "of them negative")?;
        row(out, self.bytes, "bytes")?;
        for (what, (len, mailbox)) in [("name", &self.longest_name), ("line", &self.longest_line)] {
            if *len > 0 {
                row(out, *len as u64, &format!("bytes in the longest {what}, of {}", Name(mailbox)))?;
            }
        }
        self.partitions.show("Partitions", false, out)?;
        self.types.show("Types", true, out)?;
        self.directories.show("Directories", true, out)?;
        self.servers.show("Other servers", false, out)?;
        self.domains.show("Domains", false, out)?;
        self.tops.show("Hierarchies", false, out)?;
        self.rights.show("Rights", false, out)?;
        self.oddities.show("Worth a look", true, out)
    }
}

/// Entries as rows of a table: mailbox, mbtype, server, partition, acl, uniqueid.
pub struct Rows {
    to: RowWriter,
    lossy: u64,
}

enum RowWriter {
    Table(Box<csv::Writer<Box<dyn Write>>>, Vec<u8>),
    Lines(io::BufWriter<Box<dyn Write>>),
}

const COLUMNS: [&str; 6] = ["mailbox", "mbtype", "server", "partition", "acl", "uniqueid"];

impl Rows {
    /// Begins a table on `out`.
    pub fn new(format: Format, out: Box<dyn Write>) -> Result<Rows, Stop> {
        let to = match format {
            Format::Jsonl => RowWriter::Lines(io::BufWriter::new(out)),
            Format::Csv | Format::Tsv => {
                let delimiter = if format == Format::Csv { b',' } else { b'\t' };
                let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
                writer.write_record(COLUMNS).map_err(csv_failed)?;
                RowWriter::Table(Box::new(writer), Vec::new())
            }
        };
        Ok(Rows { to, lossy: 0 })
    }

    /// Writes one entry. In csv and tsv the ACL is `identifier rights; identifier rights`: the last word of each is the
    /// rights. In JSON it is an array of pairs, because one identifier may stand in it twice.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        let mbtype = entry.mbtype().map(|mbtype| mbtype.names()).unwrap_or_default();
        let (server, partition) = match (entry.kind(), entry.server()) {
            (Kind::Remote, None) => (entry.partition(), &b""[..]),
            (Kind::Tombstone | Kind::Intermediate, None) if entry.partition() == crate::partition::NULL => {
                (&b""[..], &b""[..])
            }
            (_, server) => (server.unwrap_or_default(), entry.partition()),
        };
        let uniqueid = entry.member(Member::Uniqueid).unwrap_or_default();
        match &mut self.to {
            RowWriter::Table(writer, acl) => {
                acl.clear();
                for pair in acl::pairs(entry.acl()) {
                    if !acl.is_empty() {
                        acl.extend_from_slice(b"; ");
                    }
                    acl.extend_from_slice(pair.identifier);
                    acl.push(b' ');
                    acl.extend_from_slice(pair.rights);
                }
                let row = [entry.mailbox(), mbtype.as_bytes(), server, partition, acl, uniqueid];
                writer.write_record(row).map_err(csv_failed)
            }
            RowWriter::Lines(out) => {
                let mut row = Vec::new();
                let mut lossy = false;
                let mut text = |before: &str, bytes: &[u8]| {
                    let text = String::from_utf8_lossy(bytes);
                    lossy |= matches!(text, std::borrow::Cow::Owned(_));
                    row.extend_from_slice(before.as_bytes());
                    json::encode(text.as_bytes(), &mut row);
                };
                text("{\"mailbox\":", entry.mailbox());
                text(",\"mbtype\":", mbtype.as_bytes());
                text(",\"server\":", server);
                text(",\"partition\":", partition);
                let mut before = ",\"acl\":[{\"identifier\":";
                for pair in acl::pairs(entry.acl()) {
                    text(before, pair.identifier);
                    text(",\"rights\":", pair.rights);
                    before = "},{\"identifier\":";
                }
                let none = acl::pairs(entry.acl()).next().is_none();
                text(if none { ",\"acl\":[],\"uniqueid\":" } else { "}],\"uniqueid\":" }, uniqueid);
                row.extend_from_slice(b"}\n");
                self.lossy += u64::from(lossy);
                out.write_all(&row).map_err(|e| failed(&e))
            }
        }
    }

    /// Ends the table.
    pub fn finish(mut self, report: &mut Report) -> Result<(), Stop> {
        match &mut self.to {
            RowWriter::Table(writer, _) => writer.flush(),
            RowWriter::Lines(out) => out.flush(),
        }
        .map_err(|e| failed(&e))?;
        if self.lossy > 0 {
            report.remark(format_args!(
                "{} entries have bytes that are not UTF-8, which JSON cannot hold; they show as U+FFFD (csv and tsv keep them)",
                Count(self.lossy)
            ));
        }
        Ok(())
    }
}

fn csv_failed(error: csv::Error) -> Stop {
    match error.into_kind() {
        csv::ErrorKind::Io(e) => failed(&e),
        other => Stop::Trouble(format!("stdout: {other:?}")),
    }
}

fn failed(error: &io::Error) -> Stop {
    cannot_write("stdout", error)
}
