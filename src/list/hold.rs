//! Holds a list back in a temporary file, and sorts its records to compare whole lists.
//!
//! The temporary file has no name, so it ends with the process. The sorter writes sorted runs to such a file and merges
//! them, in bounded memory. (The maintained crates for external sorting limit the number of records in memory, not
//! their bytes, and allocate each record. An entry may have eight megabytes.)

use crate::list::error::Stop;
use crate::mailbox::acl;
use crate::mailbox::entry::{Entry, Kind, Member};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::partition;
use crate::mailbox::text::Name;
use crate::release::Dialect;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// A list that is held back.
pub struct Held {
    file: File,
}

impl Held {
    /// Creates the temporary file, in `$TMPDIR`.
    pub fn new() -> Result<Held, Stop> {
        Ok(Held { file: temporary()? })
    }

    /// Returns a handle to write the list to.
    pub fn writer(&self) -> Result<File, Stop> {
        self.file.try_clone().map_err(|e| temporary_failed(&e))
    }

    /// Returns a handle to read the list from its beginning.
    pub fn reader(&mut self) -> Result<File, Stop> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| temporary_failed(&e))?;
        self.writer()
    }
}

fn temporary() -> Result<File, Stop> {
    tempfile::tempfile().map_err(|e| temporary_failed(&e))
}

fn temporary_failed(error: &io::Error) -> Stop {
    let dir = std::env::temp_dir();
    Stop::io(format_args!("temporary file in {} (TMPDIR)", Name(dir.as_os_str().as_encoded_bytes())), error)
}

/// The bytes of records that are sorted in memory.
const ARENA: usize = 12 * 1024 * 1024;

/// The memory in bytes that all runs share while they are merged.
const MERGE: usize = 8 * 1024 * 1024;

/// The smallest read buffer of a run in bytes.
const ROOM: usize = 16 * 1024;

/// Collects records in any order and sorts them by their bytes.
pub struct Sorter {
    arena: Vec<u8>,
    /// The start and length of each record in the arena.
    index: Vec<(u32, u32)>,
    spill: Option<BufWriter<File>>,
    spilled: u64,
    runs: Vec<(u64, u64)>,
    limit: usize,
    longest: usize,
}

impl Default for Sorter {
    fn default() -> Sorter {
        Sorter::with_memory(ARENA)
    }
}

impl Sorter {
    /// Returns a sorter that keeps at most `limit` bytes of records in memory, and at least one record.
    pub fn with_memory(limit: usize) -> Sorter {
        Sorter { arena: Vec::new(), index: Vec::new(), spill: None, spilled: 0, runs: Vec::new(), limit, longest: 0 }
    }

    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Stop> {
        let used = self.arena.len() + self.index.len() * size_of::<(u32, u32)>();
        if !self.index.is_empty() && used + record.len() > self.limit {
            self.spill()?;
        }
        self.longest = self.longest.max(record.len());
        // The arena is at most the limit plus one record, far below 4 GiB.
        self.index.push((self.arena.len() as u32, record.len() as u32));
        self.arena.extend_from_slice(record);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), Stop> {
        sort_index(&mut self.index, &self.arena);
        let out = match &mut self.spill {
            Some(out) => out,
            None => self.spill.insert(BufWriter::with_capacity(256 * 1024, temporary()?)),
        };
        let start = self.spilled;
        for &(at, len) in &self.index {
            let record = &self.arena[at as usize..(at + len) as usize];
            out.write_all(&len.to_le_bytes()).and_then(|()| out.write_all(record)).map_err(|e| temporary_failed(&e))?;
            self.spilled += u64::from(len) + 4;
        }
        self.runs.push((start, self.spilled));
        self.index.clear();
        self.arena.clear();
        Ok(())
    }

    /// Merges runs until the rest fit in `MERGE` bytes. The last merge holds one record and one buffer of each run.
    fn merge_until_few(&mut self) -> Result<(), Stop> {
        let at_once = (MERGE / (self.longest + ROOM)).max(2);
        while self.runs.len() > at_once {
            let Some(mut out) = self.spill.take() else { return Ok(()) };
            out.flush().map_err(|e| temporary_failed(&e))?;
            let some: Vec<_> = self.runs.drain(..at_once).collect();
            let reader = out.get_ref().try_clone().map_err(|e| temporary_failed(&e))?;
            let part = Sorted { arena: Vec::new(), index: Vec::new(), file: Some(reader), runs: some };
            let start = self.spilled;
            let mut records = part.read()?;
            while let Some(record) = records.advance()? {
                // A record is made of one entry, so its length fits in 32 bits.
                let len = (record.len() as u32).to_le_bytes();
                out.write_all(&len).and_then(|()| out.write_all(record)).map_err(|e| temporary_failed(&e))?;
                self.spilled += record.len() as u64 + 4;
            }
            self.runs.push((start, self.spilled));
            self.spill = Some(out);
        }
        Ok(())
    }

    /// Sorts the records. The result can be read several times.
    pub fn sorted(mut self) -> Result<Sorted, Stop> {
        if self.spill.is_some() {
            self.spill()?;
            self.arena = Vec::new();
            self.index = Vec::new();
            self.merge_until_few()?;
        }
        sort_index(&mut self.index, &self.arena);
        let file = match self.spill {
            Some(out) => Some(out.into_inner().map_err(|e| temporary_failed(e.error()))?),
            None => None,
        };
        Ok(Sorted { arena: self.arena, index: self.index, file, runs: self.runs })
    }
}

fn sort_index(index: &mut [(u32, u32)], arena: &[u8]) {
    index.sort_unstable_by_key(|&(at, len)| &arena[at as usize..(at + len) as usize]);
}

/// Records that are sorted by their bytes.
pub struct Sorted {
    arena: Vec<u8>,
    index: Vec<(u32, u32)>,
    file: Option<File>,
    runs: Vec<(u64, u64)>,
}

impl Sorted {
    /// Starts a pass at the first record.
    pub fn read(&self) -> Result<Records<'_>, Stop> {
        let mut merge = BinaryHeap::new();
        let mut runs = Vec::new();
        if let Some(file) = &self.file {
            let room = (MERGE / self.runs.len().max(1)).clamp(ROOM, 256 * 1024);
            for (i, &(start, end)) in self.runs.iter().enumerate() {
                let mut run = Run { file, next: start, end, buffer: Vec::with_capacity(room), at: 0, room };
                let mut record = Vec::new();
                if run.read(&mut record)? {
                    merge.push(Reverse((record, i)));
                }
                runs.push(run);
            }
        }
        Ok(Records { sorted: self, at: 0, runs, merge, current: Vec::new() })
    }
}

/// A pass over sorted records.
pub struct Records<'a> {
    sorted: &'a Sorted,
    at: usize,
    runs: Vec<Run<'a>>,
    merge: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    current: Vec<u8>,
}

impl Records<'_> {
    /// Returns the record that the next [`Records::advance`] returns.
    pub fn peek(&self) -> Option<&[u8]> {
        match self.sorted.file {
            Some(_) => self.merge.peek().map(|Reverse((record, _))| record.as_slice()),
            None => {
                self.sorted.index.get(self.at).map(|&(at, len)| &self.sorted.arena[at as usize..(at + len) as usize])
            }
        }
    }

    /// Returns the next record and moves past it.
    pub fn advance(&mut self) -> Result<Option<&[u8]>, Stop> {
        if self.sorted.file.is_none() {
            let Some(&(at, len)) = self.sorted.index.get(self.at) else { return Ok(None) };
            self.at += 1;
            return Ok(Some(&self.sorted.arena[at as usize..(at + len) as usize]));
        }
        let Some(Reverse((record, run))) = self.merge.pop() else { return Ok(None) };
        let mut spare = std::mem::replace(&mut self.current, record);
        if self.runs[run].read(&mut spare)? {
            self.merge.push(Reverse((spare, run)));
        }
        Ok(Some(&self.current))
    }
}

/// One sorted run in the temporary file.
struct Run<'a> {
    file: &'a File,
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
    room: usize,
}

impl Run<'_> {
    fn read(&mut self, record: &mut Vec<u8>) -> Result<bool, Stop> {
        record.clear();
        if self.at == self.buffer.len() && self.next == self.end {
            return Ok(false);
        }
        let mut len = Vec::with_capacity(4);
        self.take(4, &mut len)?;
        let len = len.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
        self.take(len, record)?;
        Ok(true)
    }

    fn take(&mut self, mut len: usize, to: &mut Vec<u8>) -> Result<(), Stop> {
        while len > 0 {
            if self.at == self.buffer.len() {
                let room = (self.end - self.next).min(self.room as u64);
                self.buffer.resize(room as usize, 0);
                self.at = 0;
                self.file.read_exact_at(&mut self.buffer, self.next).map_err(|e| temporary_failed(&e))?;
                self.next += room;
            }
            let some = len.min(self.buffer.len() - self.at);
            to.extend_from_slice(&self.buffer[self.at..self.at + some]);
            self.at += some;
            len -= some;
        }
        Ok(())
    }
}

/// Writes the record of an entry: the fields that are compared with another list, as one byte string that sorts by
/// mailbox and then by line.
///
/// The format is mailbox, NUL, line (64 bits, big-endian), file, NUL, place, NUL, type, NUL, uniqueid, NUL, ACL. No
/// field of an entry has a NUL.
pub fn record_of(entry: &Entry<'_>, record: &mut Vec<u8>) {
    record.clear();
    record.extend_from_slice(entry.mailbox());
    record.push(0);
    record.extend_from_slice(&entry.at.line.to_be_bytes());
    record.extend_from_slice(entry.at.file.as_bytes());
    record.push(0);
    if let Some(server) = entry.server() {
        record.extend_from_slice(server);
        record.push(b'!');
    }
    // A partition that text prints as NULL has no member in JSON.
    if matches!(entry.kind(), Kind::Mailbox | Kind::Remote) || entry.partition() != partition::NULL {
        record.extend_from_slice(entry.partition());
    }
    record.push(0);
    if let Some((field, mbtype)) = entry.fields.mbtype {
        // Writes JSON letters in the server's order, so that equal types have equal bytes.
        let written = entry.dialect == Dialect::Json && mbtype.write_letters(record).is_some();
        if !written {
            record.extend_from_slice(field.of(entry.values));
        }
    }
    record.push(0);
    record.extend_from_slice(entry.member(Member::Uniqueid).unwrap_or_default());
    record.push(0);
    record.extend_from_slice(entry.acl());
}

/// Parses an mbtype field: digits in text, letters in JSON.
fn mbtype_of(field: &[u8]) -> Option<Mbtype> {
    Mbtype::parse(field).or_else(|| Mbtype::of_letters(field).filter(|_| !field.is_empty()))
}

/// Returns true if two mbtype fields mean the same type. Between text and JSON the letter `l` is ignored, because text
/// has nothing for it.
pub fn same_mbtype(one: &[u8], other: &[u8]) -> bool {
    let text = |field: &[u8]| field.first().is_some_and(u8::is_ascii_digit);
    let gone = if text(one) == text(other) { Mbtype::EMAIL } else { Mbtype::LEGACY };
    one == other || mbtype_of(one).map(|t| t.without(gone)) == mbtype_of(other).map(|t| t.without(gone))
}

/// Returns true if two ACLs have the same pairs. Their order does not matter: a server may store them in another one.
pub fn same_acl(one: &[u8], other: &[u8]) -> bool {
    let in_order = |acl: &[u8]| {
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> =
            acl::pairs(acl).map(|pair| (pair.identifier.to_vec(), pair.rights.to_vec())).collect();
        let rest = acl::pairs(acl).last().map_or(0, |pair| pair.end());
        // Sorts by the rights too: an identifier that occurs twice has the rights of both pairs, in any order.
        pairs.sort();
        (pairs, acl[rest..].to_vec())
    };
    one == other || in_order(one) == in_order(other)
}

/// A parsed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    /// The mailbox.
    pub mailbox: &'a [u8],
    /// The physical line of the entry.
    pub line: u64,
    /// The file of the entry.
    pub file: &'a [u8],
    /// `partition` or `server!partition`.
    pub place: &'a [u8],
    /// The mbtype as the list has it (JSON letters in the server's order); empty in lists without types.
    pub mbtype: &'a [u8],
    /// The uniqueid; empty if the entry has none.
    pub uniqueid: &'a [u8],
    /// The ACL as the list has it.
    pub acl: &'a [u8],
}

impl Kept<'_> {
    /// Returns true for a mailbox on this or another server, false for a tombstone or an intermediate.
    pub fn is_mailbox(&self) -> bool {
        mbtype_of(self.mbtype).is_none_or(|mbtype| !mbtype.has(Mbtype::DELETED) && !mbtype.has(Mbtype::INTERMEDIATE))
    }
}

/// Parses a record of [`record_of`].
pub fn kept(record: &[u8]) -> Kept<'_> {
    let cut = |bytes: &[u8]| memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let (mailbox, rest) = record.split_at(cut(record));
    let (line, rest) = rest.get(1..).unwrap_or_default().split_at_checked(8).unwrap_or_default();
    let (file, rest) = rest.split_at(cut(rest));
    let rest = rest.get(1..).unwrap_or_default();
    let (place, rest) = rest.split_at(cut(rest));
    let rest = rest.get(1..).unwrap_or_default();
    let (mbtype, rest) = rest.split_at(cut(rest));
    let rest = rest.get(1..).unwrap_or_default();
    let (uniqueid, acl) = rest.split_at(cut(rest));
    let line = line.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    Kept { mailbox, line, file, place, mbtype, uniqueid, acl: acl.get(1..).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_in_memory_or_not_is_the_same() -> Result<(), Stop> {
        // The numbers below 10,007 in a fixed order, each once, with records of very different lengths.
        let records: Vec<Vec<u8>> = (0..10_007_u64)
            .map(|i| {
                let n = i * 4_321 % 10_007;
                let mut record = format!("user.{n:06}").into_bytes();
                record.extend(std::iter::repeat_n(b'x', (n % 97) as usize * if n % 1000 == 0 { 300 } else { 1 }));
                record
            })
            .collect();
        let mut expected = records.clone();
        expected.sort();
        for memory in [1, 5_000, 100_000, ARENA] {
            let mut sorter = Sorter::with_memory(memory);
            for record in &records {
                sorter.push(record)?;
            }
            let sorted = sorter.sorted()?;
            for _ in 0..2 {
                let mut pass = sorted.read()?;
                for record in &expected {
                    assert_eq!(pass.advance()?, Some(record.as_slice()), "memory {memory}");
                }
                assert_eq!(pass.advance()?, None);
            }
        }
        Ok(())
    }
}
