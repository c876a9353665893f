//! The text of the database itself on its way through a filter that reads it.

use super::{Filter, Running, cut_off};
use crate::list::error::Stop;
use crate::list::hold::Held;
use crate::list::json::{self, Taken};
use crate::list::record::{Form, Kind, Reader, end};
use crate::list::seal;
use crate::list::stream::Input;
use crate::list::text;
use crate::mailbox::entry::{Entry, MAX_LINE, Members};
use crate::mailbox::rejection::{At, Refusal};
use crate::mailbox::text::{Count, Name};
use crate::release::Dialect;
use memchr::{memchr, memchr_iter};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// What stands beside the records by name in the text of a database.
#[derive(Default)]
pub(super) struct Apart {
    /// How many records are there by name, and by uniqueid. Of a mailbox both are kept, and both say the same.
    by_name: u64,
    by_id: u64,
    /// Those by uniqueid, for the case that there is none by name: line, lengths of file and record, file and record.
    held: Option<BufWriter<File>>,
    room: Option<Held>,
    /// What is no mailbox: the word for it, and how many.
    others: Vec<(&'static str, u64)>,
}

impl Apart {
    fn hold(&mut self, record: &[u8], at: At<'_>) -> Result<(), Stop> {
        self.by_id += 1;
        let held = match &mut self.held {
            Some(held) => held,
            None => {
                let room = self.room.insert(Held::new()?);
                self.held.insert(BufWriter::new(room.writer()?))
            }
        };
        // Neither is longer than a line may be.
        let sizes = [at.file.len() as u32, record.len() as u32];
        let parts =
            [&at.line.to_le_bytes()[..], &sizes[0].to_le_bytes(), &sizes[1].to_le_bytes(), at.file.as_bytes(), record];
        parts.iter().try_for_each(|part| held.write_all(part)).map_err(|e| Stop::io("the temporary file", &e))
    }

    fn count(&mut self, what: &'static str) {
        match self.others.iter_mut().find(|(known, _)| *known == what) {
            Some((_, n)) => *n += 1,
            None => self.others.push((what, 1)),
        }
    }
}

/// What records are read with.
struct Hands {
    reader: Reader,
    members: Members,
    values: Vec<u8>,
}

impl<F: Filter> Running<'_, F> {
    fn hands(&self) -> Hands {
        let reader = Reader::new(self.heading.releases.from.as_ref());
        Hands { reader, members: Members::default(), values: Vec::new() }
    }

    /// The records of one source, from the physical line `line` on.
    pub(super) fn records(&mut self, input: &mut Input, mut line: u64) -> Result<(), Stop> {
        /// From this length on, a record that is not whole is looked at again only when twice as much of it is there.
        const LONG: usize = 4 * 1024;
        let file = input.file();
        let mut hands = self.hands();
        let mut more = true;
        loop {
            let bytes = input.pending();
            let mut taken = 0;
            let mut read = Ok(());
            while let (Some(len), Ok(())) = (end(&bytes[taken..]), &read) {
                let record = &bytes[taken..taken + len - 1];
                read = self.record(record, At { file: &file, line }, &mut hands);
                self.sum_up(&bytes[taken..taken + len]);
                taken += len;
                line += memchr_iter(b'\n', &bytes[taken - len..taken]).count() as u64;
                if self.aborted && !F::LOOKS_ON {
                    break;
                }
            }
            // What was let through before something went wrong goes out before the abort.
            self.write_stretch(b"", 0)?;
            read?;
            input.take(taken);
            if self.aborted && !F::LOOKS_ON {
                return Ok(());
            }
            let rest = input.pending();
            let at = At { file: &file, line };
            if !more {
                return match rest.is_empty() {
                    true => input.close(),
                    false => Err(Stop::Refused(format!("{at}: {}: {}", cut_off(), Name(key(rest))))),
                };
            }
            if rest.len() >= MAX_LINE {
                return Err(Stop::Refused(format!("{at}: a record of over {MAX_LINE} bytes: {}", Name(key(rest)))));
            }
            let wanted = if rest.len() < LONG { rest.len() + 1 } else { (rest.len() * 2).min(MAX_LINE) };
            while more && input.pending().len() < wanted {
                more = input.more()?;
            }
        }
    }

    /// One record without its LF.
    fn record(&mut self, record: &[u8], at: At<'_>, hands: &mut Hands) -> Result<(), Stop> {
        if record.first() == Some(&b'!') && seal::is_mark(record) {
            return self.mark(record, at);
        }
        self.nothing_behind_the_end(at)?;
        match hands.reader.read(record) {
            Ok(Kind::Mailbox(form)) => {
                self.apart.by_name += u64::from(form == Form::Keyed);
                self.mailbox(record, form, at, hands)
            }
            Ok(Kind::ById) => {
                // Whoever does not read such a text is to know at once.
                self.is_database(Form::Keyed, at)?;
                self.apart.hold(record, at)
            }
            Ok(Kind::Other(what)) => {
                self.apart.count(what);
                Ok(())
            }
            Err(refusal) => self.refuse_record(record, at, &refusal, &hands.reader.mailbox),
        }
    }

    /// The mailbox that was read of `record`.
    fn mailbox(&mut self, record: &[u8], form: Form, at: At<'_>, hands: &mut Hands) -> Result<(), Stop> {
        self.is_database(form, at)?;
        let Hands { reader, members, values } = hands;
        let dialect = *self.heading.dialect.get_or_insert(form.dialect());
        let bytes = &reader.values[..reader.len];
        let parsed = match (form.dialect(), dialect) {
            (Dialect::Json, Dialect::Json) => match json::parse(bytes, members, values) {
                Ok(Taken { fields, .. }) => fields,
                // A NUL in a name; of all else the member was made to be one.
                Err(_) => Err(Refusal::new("record that JSON cannot hold")),
            },
            (Dialect::Blank, Dialect::Blank) => match text::bytes_refused(bytes) {
                Some(refusal) => Err(refusal),
                None => text::parse(bytes, dialect),
            },
            _ => Err(Refusal::with(
                "line of another dialect",
                format_args!(
                    "the list is in {dialect}, this is a record of the database of {form}: were two lists joined?"
                ),
            )),
        };
        let fields = match parsed {
            Ok(fields) => fields,
            Err(refusal) => return self.refuse_record(record, at, &refusal, &reader.mailbox),
        };
        self.begin()?;
        let entry = match dialect {
            Dialect::Json => Entry { bytes, values, members: Some(members), record: None, at, dialect, fields },
            _ => {
                let (values, record) = (reader.values.as_slice(), Some(&reader.record));
                Entry { bytes, values, members: None, record, at, dialect, fields }
            }
        };
        self.changes.clear();
        if self.judge_raw(&entry, record)? || !self.changes.is_empty() {
            self.write_record(bytes);
        }
        self.write_abort()
    }

    /// Tells the filter, once for each form of records, that this is no dump.
    fn is_database(&mut self, form: Form, at: At<'_>) -> Result<(), Stop> {
        // A list of 2.5 to 3.5 may have records of 2.4 still.
        if self.heading.database.is_none() || (form != Form::Plain && self.heading.database != Some(form)) {
            self.heading.database = Some(form);
            self.filter.database(&self.heading, at, self.report)?;
        }
        Ok(())
    }

    fn refuse_record(&mut self, record: &[u8], at: At<'_>, refusal: &Refusal, mailbox: &[u8]) -> Result<(), Stop> {
        let mailbox = if mailbox.is_empty() { key(record) } else { mailbox };
        self.refuse(record, at, refusal, mailbox)?;
        self.write_abort()
    }

    /// Writes the entry that was made of a record, with its changes.
    fn write_record(&mut self, entry: &[u8]) {
        let joins = std::mem::replace(&mut self.wrote, true);
        if let Some(output) = self.output.as_mut().filter(|_| !self.aborted) {
            let object = self.writes == Some(Dialect::Json);
            if object && joins {
                output.buffer.extend_from_slice(b",\n");
            }
            self.changes.apply(entry, &mut output.buffer);
            if !object {
                output.buffer.push(b'\n');
            }
        }
        self.changes.clear();
    }

    /// The end of all sources: what stood beside the mailboxes is told, and records by uniqueid are read after all where
    /// there was none by name.
    pub(super) fn read_apart(&mut self) -> Result<(), Stop> {
        let Apart { by_name, by_id, held, room, others } = std::mem::take(&mut self.apart);
        for (what, n) in others {
            let n = Count(n);
            self.report
                .remark(format_args!("{n} records of the database that are no mailboxes ({what}) are passed over"));
        }
        let (Some(mut held), Some(mut room)) = (held, room) else { return Ok(()) };
        if by_name > 0 {
            self.report.remark(format_args!(
                "{} records by uniqueid (I) are passed over: those by name (N), {}, say the same",
                Count(by_id),
                Count(by_name)
            ));
            return Ok(());
        }
        let failed = |e: io::Error| Stop::io("the temporary file", &e);
        held.flush().map_err(failed)?;
        let mut held = BufReader::new(room.reader()?);
        let (mut hands, mut file, mut record) = (self.hands(), Vec::new(), Vec::new());
        for n in 0..by_id {
            let (mut line, mut sizes) = ([0; 8], [[0; 4]; 2]);
            held.read_exact(&mut line).map_err(failed)?;
            for (size, to) in sizes.iter_mut().zip([&mut file, &mut record]) {
                held.read_exact(size).map_err(failed)?;
                to.resize(u32::from_le_bytes(*size) as usize, 0);
            }
            held.read_exact(&mut file).and_then(|()| held.read_exact(&mut record)).map_err(failed)?;
            // As it came from a name in UTF-8.
            let file = String::from_utf8_lossy(&file);
            let at = At { file: &file, line: u64::from_le_bytes(line) };
            // Read once already.
            hands.reader.read(&record).map_or(Ok(()), |_| self.mailbox(&record, Form::Keyed, at, &mut hands))?;
            if n % 1024 == 0 {
                self.write_stretch(b"", 0)?;
            }
        }
        self.write_stretch(b"", 0)
    }
}

/// What stands before the first TAB.
fn key(record: &[u8]) -> &[u8] {
    &record[..memchr(b'\t', record).unwrap_or(record.len())]
}
