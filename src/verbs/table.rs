//! Entries as rows of a table, for spreadsheets and other tools.

use crate::list::error::Stop;
use crate::list::jansson as json;
use crate::list::stream::cannot_write;
use crate::mailbox::acl;
use crate::mailbox::entry::{Entry, Kind, Member};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::partition;
use crate::mailbox::text::Count;
use crate::run::report::Report;
use clap::ValueEnum;
use memchr::memchr3;
use std::io::{self, BufWriter, Write};

/// The formats of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For spreadsheets: separated by commas, quoted as in RFC 4180, and no cell is a formula
    Csv,
    /// For other tools: separated by TABs, not quoted; TAB, newline, CR and backslash are escaped as in C
    Tsv,
    /// One JSON object a line, with the ACL as an array of pairs
    Jsonl,
}

const COLUMNS: [&str; 6] = ["mailbox", "mbtype", "server", "partition", "acl", "uniqueid"];

/// Writes entries as rows of a table.
pub struct Rows {
    format: Format,
    out: BufWriter<Box<dyn Write>>,
    row: Vec<u8>,
    acl: Vec<u8>,
    last_type: Option<(Mbtype, String)>,
    /// The number of rows with bytes that are not UTF-8.
    not_utf8: u64,
    /// The number of rows with a cell that a spreadsheet would read as a formula.
    formulas: u64,
}

impl Rows {
    /// Begins a table on `out`.
    pub fn new(format: Format, out: Box<dyn Write>) -> Result<Rows, Stop> {
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        let heading = match format {
            Format::Csv => COLUMNS.join(",") + "\n",
            Format::Tsv => COLUMNS.join("\t") + "\n",
            Format::Jsonl => String::new(),
        };
        out.write_all(heading.as_bytes()).map_err(|e| failed(&e))?;
        let (row, acl) = (Vec::new(), Vec::new());
        Ok(Rows { format, out, row, acl, last_type: None, not_utf8: 0, formulas: 0 })
    }

    /// Writes one entry. In csv and tsv the ACL is `identifier rights; identifier rights`: the last word of each pair
    /// is the rights. In JSON it is an array of pairs, because an identifier may occur twice.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        if let Some(mbtype) =
            entry.mbtype().filter(|mbtype| self.last_type.as_ref().is_none_or(|(last, _)| last != mbtype))
        {
            self.last_type = Some((mbtype, mbtype.names()));
        }
        let mbtype = self.last_type.as_ref().filter(|_| entry.mbtype().is_some()).map_or("", |(_, names)| names);
        let (server, partition) = match (entry.kind(), entry.server()) {
            (Kind::Remote, None) => (entry.partition(), &b""[..]),
            (Kind::Tombstone | Kind::Intermediate, None) if entry.partition() == partition::NULL => {
                (&b""[..], &b""[..])
            }
            (_, server) => (server.unwrap_or_default(), entry.partition()),
        };
        let uniqueid = entry.member(Member::Uniqueid).unwrap_or_default();
        self.not_utf8 += u64::from(std::str::from_utf8(entry.bytes).is_err());
        self.row.clear();
        match self.format {
            Format::Jsonl => {
                let row = &mut self.row;
                let mut text = |before: &str, bytes: &[u8]| {
                    row.extend_from_slice(before.as_bytes());
                    json::encode(String::from_utf8_lossy(bytes).as_bytes(), row);
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
                self.row.push(b'}');
            }
            Format::Csv | Format::Tsv => {
                self.acl.clear();
                for pair in acl::pairs(entry.acl()) {
                    if !self.acl.is_empty() {
                        self.acl.extend_from_slice(b"; ");
                    }
                    self.acl.extend_from_slice(pair.identifier);
                    self.acl.push(b' ');
                    self.acl.extend_from_slice(pair.rights);
                }
                let mut formula = false;
                for cell in [entry.mailbox(), mbtype.as_bytes(), server, partition, &self.acl, uniqueid] {
                    match self.format {
                        Format::Tsv => write_plain(cell, &mut self.row),
                        _ => formula |= write_quoted(cell, &mut self.row),
                    }
                    self.row.push(if self.format == Format::Tsv { b'\t' } else { b',' });
                }
                self.row.pop();
                self.formulas += u64::from(formula);
            }
        }
        self.row.push(b'\n');
        self.out.write_all(&self.row).map_err(|e| failed(&e))
    }

    /// Ends the table.
    pub fn finish(mut self, report: &mut Report) -> Result<(), Stop> {
        self.out.flush().map_err(|e| failed(&e))?;
        if self.not_utf8 > 0 {
            let what = match self.format {
                Format::Jsonl => "which JSON cannot hold; they are shown as U+FFFD (csv and tsv keep them)",
                _ => "which are written unchanged; many tools need iconv before them",
            };
            report.remark(format_args!("{} entries have bytes that are not UTF-8, {what}", Count(self.not_utf8)));
        }
        if self.formulas > 0 {
            report.remark(format_args!(
                "{} entries have a cell that begins with = + - or @, which spreadsheets read as a formula; a ' is written \
                 before it (not in tsv and jsonl)",
                Count(self.formulas)
            ));
        }
        Ok(())
    }
}

/// Writes a cell of csv. Returns true if it would be a formula: any user can give rights to `=HYPERLINK(...)`, and the
/// administrator opens the table.
fn write_quoted(cell: &[u8], out: &mut Vec<u8>) -> bool {
    let formula = matches!(cell.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'));
    let quoted = memchr3(b',', b'"', b'\n', cell).is_some() || cell.contains(&b'\r');
    if !quoted {
        out.extend_from_slice(if formula { b"'" } else { b"" });
        out.extend_from_slice(cell);
        return formula;
    }
    out.extend_from_slice(if formula { b"\"'" } else { b"\"" });
    for part in cell.split_inclusive(|b| *b == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
    formula
}

/// Writes a cell of tsv, as miller and the COPY of PostgreSQL read it.
fn write_plain(cell: &[u8], out: &mut Vec<u8>) {
    for &b in cell {
        match b {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b => out.push(b),
        }
    }
}

fn failed(error: &io::Error) -> Stop {
    cannot_write("stdout", error)
}
