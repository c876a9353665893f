//! A list of text lines on its way through a filter.

use super::{Filter, Running, changed_mark, cut_off};
use crate::list::detect::{Detected, detect};
use crate::list::error::Stop;
use crate::list::record::{is_escaped_acl, is_record};
use crate::list::seal;
use crate::list::seal::Releases;
use crate::list::stream::{Block, Input, Shape};
use crate::list::text;
use crate::mailbox::entry::{Entry, Fields};
use crate::mailbox::rejection::{At, Refusal};
use crate::mailbox::text::Name;
use crate::release::Dialect;
use memchr::{memchr, memchr2};

impl<F: Filter> Running<'_, F> {
    /// The lines of one source.
    pub(super) fn lines(&mut self, input: &mut Input) -> Result<(), Stop> {
        while let Some(block) = input.block()? {
            let first = block.line;
            let mut rest = 0;
            let lines = match block.shape {
                Shape::Lines => {
                    let (lines, behind) = self.block(&block)?;
                    rest = behind;
                    lines
                }
                Shape::Unended => self.unended(&block)?,
                Shape::Piece { begins, ends } => {
                    self.sum_up(block.bytes);
                    self.piece(&block, begins, ends)?
                }
            };
            input.counted(lines);
            if std::mem::take(&mut self.turns) {
                input.give_back(rest);
                return self.records(input, first + lines);
            }
            if self.aborted && !F::LOOKS_ON {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The hot loop. What passes is not copied: `pending` grows over the block and is written when something else is
    /// to be, or all at once if nothing is. Tells how many lines were read, and how many bytes are left where a record of a
    /// database was met.
    fn block(&mut self, block: &Block<'_>) -> Result<(u64, usize), Stop> {
        let bytes = block.bytes;
        // One look over the whole block saves two at every line.
        let clean = memchr2(0, b'\r', bytes).is_none();
        let (mut start, mut line, mut pending, mut summed) = (0, block.line, 0, 0);
        let mut looks_ahead = self.filter.looks_ahead();
        while let Some(length) = memchr(b'\n', &bytes[start..]) {
            if looks_ahead && self.begun && !self.aborted {
                looks_ahead = false;
                self.look_ahead(&bytes[start..], &block.file, line)?;
            }
            let end = start + length + 1;
            let at = At { file: &block.file, line };
            // Of what an end mark ends, all must be in its sum.
            if bytes[start] == b'!' {
                self.sum_up(&bytes[summed..start]);
                summed = start;
            }
            let pass = self.line(&bytes[start..end - 1], at, clean);
            if self.turns {
                self.sum_up(&bytes[summed..start]);
                self.write_stretch(&bytes[..start], pending)?;
                return Ok((line - block.line, bytes.len() - start));
            }
            if !matches!(pass, Ok(true)) {
                if pass.is_err() {
                    self.changes.clear();
                }
                // What was let through before a change, or before an abort, goes out before it.
                pending = self.write_change(bytes, pending, start, end);
                pass?;
                if self.refused.is_some() {
                    self.write_abort()?;
                }
            }
            start = end;
            line += 1;
            if self.aborted && !F::LOOKS_ON {
                break;
            }
        }
        self.sum_up(&bytes[summed..]);
        self.write_stretch(bytes, pending)?;
        Ok((line - block.line, 0))
    }

    /// Tells the filter of the entries in these lines.
    fn look_ahead(&mut self, bytes: &[u8], file: &str, first: u64) -> Result<(), Stop> {
        let Some(dialect) = self.heading.dialect else { return Ok(()) };
        for (text, line) in bytes.split_inclusive(|b| *b == b'\n').zip(first..) {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            if let Ok(fields) = text::parse(text, dialect) {
                self.filter.ahead(&Entry::of_line(text, At { file, line }, dialect, fields));
            }
        }
        self.filter.fetch()
    }

    /// Writes what is pending before the line from `start` to `end`, and the line with its changes; one that is dropped or
    /// refused has none, and nothing of it is written. Tells from where on the rest is pending: what stands behind the
    /// last change goes out with the lines that follow, in one copy.
    fn write_change(&mut self, bytes: &[u8], pending: usize, start: usize, end: usize) -> usize {
        if self.changes.is_empty() {
            self.write_pending(&bytes[pending..start]);
            return end;
        }
        let object = self.makes_object();
        let mut written = end;
        if let Some(output) = &mut self.output
            && !self.aborted
        {
            if object {
                if std::mem::replace(&mut self.wrote, true) {
                    output.buffer.extend_from_slice(b",\n");
                }
                self.changes.apply(&bytes[start..end - 1], &mut output.buffer);
            } else {
                written = self.changes.apply_in(bytes, pending, start, &mut output.buffer);
            }
        }
        self.changes.clear();
        written
    }

    /// One line without its newline. True if it goes out as it stands.
    fn line(&mut self, line: &[u8], at: At<'_>, clean: bool) -> Result<bool, Stop> {
        if line.first() == Some(&b'!') && seal::is_mark(line) {
            return self.mark(line, at).map(|()| false);
        }
        self.nothing_behind_the_end(at)?;
        self.changes.clear();
        if self.heading.dialect.is_none() && is_record(line) {
            self.turns = true;
            return Ok(false);
        }
        let fields = match self.heading.dialect {
            Some(dialect) if clean => text::parse(line, dialect),
            _ => self.take_apart(line, at)?,
        };
        // Records of 2.0 to 2.4 without an escape look like the dialect of 2.3.10, and others may follow.
        let turns = self.heading.dialect == Some(Dialect::Blank)
            && match &fields {
                Ok(_) => line.last() != Some(&b'\t') && is_escaped_acl(line),
                Err(_) => is_record(line),
            };
        if turns {
            self.turns = true;
            return Ok(false);
        }
        let (Some(dialect), Ok(fields)) = (self.heading.dialect, &fields) else {
            if seal::was_mark(line) {
                return Err(changed_mark(at, line));
            }
            let refusal = fields.err().unwrap_or_else(|| Refusal::new("no entry"));
            return self.refuse(line, at, &refusal, first_field(line));
        };
        self.judge(&Entry::of_line(line, at, dialect, *fields))
    }

    /// Takes apart a line of the list's beginning, where the first that is an entry tells the dialect, or of a block
    /// that has bytes in it that no line may have.
    #[cold]
    fn take_apart(&mut self, line: &[u8], at: At<'_>) -> Result<Result<Fields, Refusal>, Stop> {
        if let Some(refusal) = text::bytes_refused(line) {
            return Ok(Err(refusal));
        }
        if let Some(dialect) = self.heading.dialect {
            return Ok(text::parse(line, dialect));
        }
        let dialect = self.tell_dialect(line, at)?.unwrap_or(Dialect::Bare);
        let fields = text::parse(line, dialect);
        if fields.is_ok() {
            self.heading.dialect = Some(dialect);
            self.begin()?;
        }
        Ok(fields)
    }

    fn tell_dialect(&self, line: &[u8], at: At<'_>) -> Result<Option<Dialect>, Stop> {
        match detect(line) {
            None => Ok(None),
            Some(Detected::Sure(dialect)) => Ok(Some(dialect)),
            Some(Detected::Unsure) => {
                let Releases { from, to, .. } = &self.heading.releases;
                // A sealed stream that has a target was converted to it by mbx-parse, which alone begins one.
                let told = if self.heading.sealed { to.as_ref().or(from.as_ref()) } else { from.as_ref() };
                told.map(|release| Some(release.dialect())).ok_or_else(|| {
                    Stop::Trouble(format!(
                        "{at}: an entry without a partition, or a blank behind a partition of digits? The release \
                         that wrote the list tells: --from RELEASE"
                    ))
                })
            }
        }
    }

    /// No server leaves the last newline out: without it the list was cut off, whatever becomes of the last entry.
    fn unended(&mut self, block: &Block<'_>) -> Result<u64, Stop> {
        let at = At { file: &block.file, line: block.line };
        let refusal = text::bytes_refused(block.bytes).unwrap_or_else(cut_off);
        Err(Stop::Refused(format!("{at}: {refusal}: {}", Name(first_field(block.bytes)))))
    }

    fn piece(&mut self, block: &Block<'_>, begins: bool, ends: bool) -> Result<u64, Stop> {
        if begins {
            let at = At { file: &block.file, line: block.line };
            self.nothing_behind_the_end(at)?;
            let long = Refusal::with("line too long", format_args!("over {} bytes", crate::mailbox::entry::MAX_LINE));
            self.count_refused(at, &long, first_field(block.bytes));
            self.write_abort()?;
        }
        self.rejects.as_mut().map_or(Ok(()), |rejects| rejects.raw(block.bytes))?;
        match ends && !block.bytes.ends_with(b"\n") {
            true => Err(Stop::Refused(format!("{}:{}: {}", block.file, block.line, cut_off()))),
            false => Ok(u64::from(ends)),
        }
    }
}

/// What stands before the first TAB: the mailbox, if the line is an entry at all.
fn first_field(line: &[u8]) -> &[u8] {
    &line[..memchr(b'\t', line).unwrap_or(line.len())]
}
