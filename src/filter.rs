//! The loop that all six share: stream, entry, what this filter does to it, stream.
//!
//! Marks, counts, rejects, the abort that travels down the pipe and the exit status are here and nowhere else. A filter
//! is a [`Filter`]: it judges one entry at a time.

use crate::dialect::{Detected, detect, text};
use crate::entry::{Changes, Entry, Fields};
use crate::options::{Common, Rejects, SideFiles};
use crate::outcome::{Account, At, Name, Refusal, Report, Status, Stop};
use crate::seal::{self, Mark, Releases};
use crate::stream::{Block, Input, Output, Shape};
use crate::version::Dialect;
use memchr::{memchr, memchr2};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;

/// What becomes of an entry.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on as it came.
    Pass,
    /// It goes on with the changes made.
    Change,
    /// It ends here, as the user asked, and is counted under this name.
    Drop(&'static str),
    /// It cannot go on: to the rejects, or else the list is aborted.
    Refuse(Refusal),
}

/// What is known of the stream before its first entry.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The releases told, on the command line or in the list mark.
    pub releases: Releases,
    /// The dialect, told by the first entry; none if there is no entry.
    pub dialect: Option<Dialect>,
    /// Whether the stream began with a list mark.
    pub sealed: bool,
}

/// One of the six.
pub trait Filter {
    /// Whether the filter goes on looking at entries after one was refused and the stream has ended in an abort mark,
    /// so that the administrator sees all that is wrong at once. Not for filters that change the disk.
    const LOOKS_ON: bool = true;

    /// Whether the filter ends the pipe, so that it must say what went wrong further up.
    const ENDS_PIPE: bool = false;

    /// Whether the rights of what this filter writes are explicit, if those of what it reads were or not.
    fn leaves_rights_explicit(&self, before: bool) -> bool {
        before
    }

    /// Before the first entry, or at the end of a list without one.
    fn begin(&mut self, _heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        Ok(())
    }

    /// Judges one entry.
    fn entry(&mut self, entry: &Entry<'_>, changes: &mut Changes, report: &mut Report) -> Result<Verdict, Stop>;

    /// After the last entry of a whole list: limits that only the end can tell. Not called if an entry was refused
    /// without a place for rejects.
    fn end(&mut self, _heading: &Heading, _account: &mut Account, _report: &mut Report) -> Result<(), Stop> {
        Ok(())
    }

    /// What the closing line says besides the counts.
    fn notes(&self, _account: &mut Account) {}
}

/// What is done about marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// They go on, rewritten with our own count: every filter but the ends of the pipe.
    Keep,
    /// They are made if they are not there: `mbx-parse --seal`.
    Make,
    /// They are taken off: the guard.
    TakeOff,
    /// They must be there, and are taken off: `mbx-count-guard --sealed`.
    Demand,
}

/// How a list is run through a filter.
pub struct Run {
    /// Where it comes from.
    pub input: Input,
    /// Where it goes; nowhere for a filter that only looks.
    pub output: Option<Output>,
    /// Where refused entries go.
    pub rejects: Option<File>,
    /// What is done about marks.
    pub seal: Seal,
    /// What the command line told.
    pub releases: Releases,
    /// Whether a list without entries is one.
    pub allow_empty: bool,
    /// Whether the input must end with an end mark.
    pub ended: bool,
}

impl Run {
    /// From the files of the command line, or stdin, to stdout: a filter in the middle of a pipe.
    pub fn between(common: &Common, rejects: &Rejects, files: &[OsString], side: &mut SideFiles) -> Result<Run, Stop> {
        Ok(Run {
            input: Input::new(Input::sources_of(files)),
            rejects: rejects.reject.as_deref().map(|path| side.make(path)).transpose()?,
            output: Some(Output::stdout()?),
            seal: Seal::Keep,
            releases: common.releases(),
            allow_empty: common.allow_empty,
            ended: false,
        })
    }
}

/// Runs a list through `filter` and reports what became of it. The closing line is the caller's to write.
pub fn run<F: Filter>(run: Run, filter: &mut F, report: &mut Report) -> Account {
    let mut stream = Running {
        output: run.output,
        rejects: run.rejects,
        seal: run.seal,
        allow_empty: run.allow_empty,
        ended: run.ended,
        heading: Heading { releases: run.releases, dialect: None, sealed: false },
        begun: false,
        aborted: false,
        refused: None,
        end: None,
        account: Account::default(),
        changes: Changes::default(),
        filter,
        report,
    };
    let done = stream.list(run.input);
    if let Err(stop) = done {
        stream.give_up(&stop);
    }
    stream.report.flush_alike();
    stream.account.looks = stream.output.is_none();
    stream.account.ending = (stream.aborted && stream.output.is_some()).then_some("aborted");
    stream.filter.notes(&mut stream.account);
    stream.account
}

struct Running<'f, F> {
    output: Option<Output>,
    rejects: Option<File>,
    seal: Seal,
    allow_empty: bool,
    ended: bool,
    heading: Heading,
    begun: bool,
    /// An abort mark is out: nothing is written any more.
    aborted: bool,
    /// The abort mark of an entry that was refused just now.
    refused: Option<Vec<u8>>,
    /// The end mark that was read.
    end: Option<Mark>,
    account: Account,
    changes: Changes,
    filter: &'f mut F,
    report: &'f mut Report,
}

impl<F: Filter> Running<'_, F> {
    fn list(&mut self, mut input: Input) -> Result<(), Stop> {
        let joined = input.is_joined();
        while let Some(block) = input.block()? {
            if block.first {
                self.refuse_what_is_no_text(block.bytes, &block.file)?;
                if joined && self.heading.sealed && self.end.is_none() {
                    return Err(Stop::Refused(format!(
                        "{}: a sealed list is not whole where this file begins",
                        block.file
                    )));
                }
            }
            let lines = match block.shape {
                Shape::Lines => self.lines(&block)?,
                Shape::Unended => self.unended(&block)?,
                Shape::Piece { begins, ends } => self.piece(&block, begins, ends)?,
            };
            input.counted(lines);
            if self.aborted && !F::LOOKS_ON {
                return Ok(());
            }
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<(), Stop> {
        if self.aborted {
            return Ok(());
        }
        let demanded = self.seal == Seal::Demand && !self.heading.sealed;
        if demanded {
            return Err(Stop::Refused("the list is not sealed: begin the pipe with mbx-parse --seal".to_string()));
        }
        if self.end.is_none() && (self.heading.sealed || self.ended) {
            return Err(Stop::Refused("the list has no end mark: it was cut off, or what wrote it died".to_string()));
        }
        self.begin()?;
        if self.account.read == 0 && !self.allow_empty {
            return Err(Stop::Refused("the list is empty (--allow-empty if it is meant to be)".to_string()));
        }
        self.filter.end(&self.heading, &mut self.account, self.report)?;
        let entries = self.account.written;
        if let Some(output) = &mut self.output {
            match (self.seal, &self.end) {
                (Seal::TakeOff | Seal::Demand, _) => {}
                (Seal::Make, _) | (_, Some(Mark::End(Some(_)))) => seal::write_end(Some(entries), &mut output.buffer),
                (_, Some(_)) => seal::write_end(None, &mut output.buffer),
                (Seal::Keep, None) => {}
            }
            output.flush()?;
        }
        Ok(())
    }

    /// A failure goes down the pipe, because a shell sees the status of the last command only.
    fn give_up(&mut self, stop: &Stop) {
        let reason = self.report.stop(stop);
        if let (true, Some(who)) = (F::ENDS_PIPE || self.output.is_none(), seal::abort_reason(stop)) {
            self.report.answer(format_args!("aborted upstream: {who}"));
        }
        let mut last = Vec::new();
        match (stop, reason) {
            (Stop::Upstream(mark), _) => last.extend_from_slice(mark),
            (_, Some(reason)) => seal::write_abort(self.report.tool(), &reason, &mut last),
            _ => {}
        }
        if let Err(Stop::Closed) = self.abort_with(&last) {
            self.report.spoil(Status::Closed);
        }
    }

    fn abort_with(&mut self, mark: &[u8]) -> Result<(), Stop> {
        if !self.aborted && !mark.is_empty() {
            self.aborted = true;
            if let Some(output) = &mut self.output {
                output.buffer.extend_from_slice(mark);
                return output.flush();
            }
        }
        Ok(())
    }

    /// Lists that no line of text can be told from: JSON, and a byte order mark that would become part of a name.
    fn refuse_what_is_no_text(&self, bytes: &[u8], file: &str) -> Result<(), Stop> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Stop::Refused(format!(
                "{file}:1: begins with a byte order mark, which would become part of a mailbox name: was it edited? \
                 `tail -c +4` takes it off"
            )));
        }
        // An object goes on with a member or its end; a mailbox `{x` of a text list does not.
        let object = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        let array = bytes.trim_ascii_start().strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
        if array.is_some_and(|rest| matches!(rest.first(), None | Some(b'"' | b'{' | b']'))) {
            return Err(Stop::Trouble(format!(
                "{file}:1: this is a JSON array, which no ctl_mboxlist writes or reads"
            )));
        }
        if object.is_some_and(|rest| matches!(rest.first(), None | Some(b'"' | b'}'))) {
            return Err(Stop::Trouble(format!(
                "{file}:1: this is a JSON list (Cyrus 3.6.0-beta3 and later), which this release of mbxtools does not \
                 read yet: text lists of 1.6 to 3.5 only"
            )));
        }
        Ok(())
    }

    /// The hot loop. What passes is not copied: `pending` grows over the block and is written when something else is
    /// to be, or all at once if nothing is.
    fn lines(&mut self, block: &Block<'_>) -> Result<u64, Stop> {
        let bytes = block.bytes;
        // One look over the whole block saves two at every line.
        let clean = memchr2(0, b'\r', bytes).is_none();
        let (mut start, mut line, mut pending) = (0, block.line, 0);
        while let Some(length) = memchr(b'\n', &bytes[start..]) {
            let end = start + length + 1;
            let at = At { file: &block.file, line };
            let pass = self.line(&bytes[start..end - 1], at, clean);
            if !matches!(pass, Ok(true)) {
                // What was let through before a change, or before an abort, goes out before it.
                self.write_pending(&bytes[pending..start]);
                pending = end;
                pass?;
                self.write_change(&bytes[start..end]);
                self.write_abort()?;
            }
            start = end;
            line += 1;
            if self.aborted && !F::LOOKS_ON {
                break;
            }
        }
        match &mut self.output {
            Some(output) if self.aborted => output.buffer.clear(),
            Some(output) if pending == 0 && output.buffer.is_empty() => output.write_through(bytes)?,
            Some(output) => {
                output.buffer.extend_from_slice(&bytes[pending..]);
                output.flush()?;
            }
            None => {}
        }
        Ok(line - block.line)
    }

    /// Writes the abort mark of an entry that was just refused, and with it the last of the stream.
    fn write_abort(&mut self) -> Result<(), Stop> {
        match self.refused.take() {
            Some(mark) => self.abort_with(&mark),
            None => Ok(()),
        }
    }

    fn write_pending(&mut self, bytes: &[u8]) {
        if let Some(output) = &mut self.output
            && !self.aborted
        {
            output.buffer.extend_from_slice(bytes);
        }
    }

    /// Writes the line of an entry that was changed; a dropped one has no changes, and nothing is written.
    fn write_change(&mut self, line: &[u8]) {
        if !self.changes.is_empty() {
            if let Some(output) = &mut self.output
                && !self.aborted
            {
                self.changes.apply(line, &mut output.buffer);
            }
            self.changes.clear();
        }
    }

    /// One line without its newline. True if it goes out as it stands.
    fn line(&mut self, line: &[u8], at: At<'_>, clean: bool) -> Result<bool, Stop> {
        if line.first() == Some(&b'!') && seal::is_mark(line) {
            return self.mark(line, at).map(|()| false);
        }
        self.nothing_behind_the_end(at)?;
        self.changes.clear();
        let fields = match self.heading.dialect {
            Some(dialect) if clean => text::parse(line, dialect),
            _ => self.take_apart(line, at)?,
        };
        let (Some(dialect), Ok(fields)) = (self.heading.dialect, &fields) else {
            let refusal = fields.err().unwrap_or_else(|| Refusal::new("no entry"));
            return self.refuse(line, at, &refusal, first_field(line));
        };
        let entry = Entry { bytes: line, at, dialect, fields: *fields };
        match self.filter.entry(&entry, &mut self.changes, self.report)? {
            Verdict::Pass => self.count_out(),
            Verdict::Change => self.count_out().map(|_| self.changes.is_empty()),
            Verdict::Drop(why) => {
                self.changes.clear();
                self.account.read += 1;
                self.account.drop_one(why);
                Ok(false)
            }
            Verdict::Refuse(refusal) => self.refuse(line, at, &refusal, entry.mailbox()),
        }
    }

    fn nothing_behind_the_end(&self, at: At<'_>) -> Result<(), Stop> {
        match self.end {
            None => Ok(()),
            Some(_) => Err(Stop::Refused(format!("{at}: something stands behind the end mark: not one whole list"))),
        }
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

    fn count_out(&mut self) -> Result<bool, Stop> {
        self.account.read += 1;
        match self.aborted {
            true => self.account.unwritten += 1,
            false => self.account.written += 1,
        }
        Ok(true)
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

    fn begin(&mut self) -> Result<(), Stop> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.filter.begin(&self.heading, self.report)?;
        let marked = self.seal == Seal::Make || (self.seal == Seal::Keep && self.heading.sealed);
        if let Some(output) = &mut self.output
            && marked
            && !self.aborted
        {
            let mut releases = self.heading.releases.clone();
            releases.rights_explicit = self.filter.leaves_rights_explicit(releases.rights_explicit);
            seal::write_list(&releases, &mut output.buffer);
        }
        Ok(())
    }

    fn mark(&mut self, line: &[u8], at: At<'_>) -> Result<(), Stop> {
        let mark = seal::read(line).map_err(|e| Stop::Refused(format!("{at}: {e}: not a whole list")))?;
        match mark {
            Mark::Abort => Err(Stop::Upstream([line, b"\n"].concat())),
            _ if self.end.is_some() => self.nothing_behind_the_end(at),
            Mark::List(releases) => {
                if self.begun || self.heading.sealed || self.account.read > 0 {
                    return Err(Stop::Refused(format!("{at}: a list mark in the middle: not one whole list")));
                }
                self.heading.releases.merge(releases).map_err(|e| Stop::Trouble(format!("{at}: {e}")))?;
                self.heading.sealed = true;
                Ok(())
            }
            Mark::End(count) => match count {
                Some(count) if count != self.account.read => Err(Stop::Refused(format!(
                    "{at}: the end mark says {count} entries, {} came: not a whole list",
                    self.account.read
                ))),
                None if self.heading.sealed => {
                    Err(Stop::Refused(format!("{at}: the end mark of a sealed list must have its count")))
                }
                _ => {
                    self.end = Some(Mark::End(count));
                    Ok(())
                }
            },
        }
    }

    /// A line or entry that goes no further. Without a place for rejects the list is aborted here and now, so that
    /// nothing behind us takes what came before for a list.
    fn refuse(&mut self, line: &[u8], at: At<'_>, refusal: &Refusal, mailbox: &[u8]) -> Result<bool, Stop> {
        self.changes.clear();
        self.count_refused(at, refusal, mailbox);
        self.reject(&[line, b"\n"].concat())?;
        Ok(false)
    }

    fn count_refused(&mut self, at: At<'_>, refusal: &Refusal, mailbox: &[u8]) {
        self.account.read += 1;
        self.account.refused += 1;
        self.report.refuse(at, refusal, mailbox);
        // A filter that only looks has no stream to end.
        if self.rejects.is_none() && !self.aborted && self.output.is_some() {
            let mut mark = Vec::new();
            seal::write_abort(self.report.tool(), &format!("{at}: {refusal}"), &mut mark);
            self.refused = Some(mark);
        }
    }

    fn reject(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match &mut self.rejects {
            Some(file) => file.write_all(bytes).map_err(|e| Stop::io("cannot write the rejects", &e)),
            None => Ok(()),
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
            let long = Refusal::with("line too long", format_args!("over {} bytes", crate::stream::MAX_LINE));
            self.count_refused(at, &long, first_field(block.bytes));
            self.write_abort()?;
        }
        self.reject(block.bytes)?;
        match ends && !block.bytes.ends_with(b"\n") {
            true => Err(Stop::Refused(format!("{}:{}: {}", block.file, block.line, cut_off()))),
            false => Ok(u64::from(ends)),
        }
    }
}

fn cut_off() -> Refusal {
    Refusal::with("no newline at the end", "no server leaves it out: the list was cut off here")
}

/// What stands before the first TAB: the mailbox, if the line is an entry at all.
fn first_field(line: &[u8]) -> &[u8] {
    &line[..memchr(b'\t', line).unwrap_or(line.len())]
}
