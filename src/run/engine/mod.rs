//! The loop that all six share: stream, entry, what this filter does to it, stream.
//!
//! Marks, counts, rejects, the abort that travels down the pipe and the exit status are here and nowhere else. A filter
//! is a [`Filter`]: it judges one entry at a time. Entries come as `lines` of text, as members of an `object`,
//! or as `records` of the database.

mod lines;
mod object;
mod records;

use crate::list::detect::{Beginning, beginning};
use crate::list::edits::Changes;
use crate::list::error::Stop;
use crate::list::list_file::SideList;
use crate::list::magic::{are_enough, foreign};
use crate::list::record::Form;
use crate::list::seal;
use crate::list::seal::{End, Mark, Releases};
use crate::list::stream::{Input, Output};
use crate::mailbox::acl;
use crate::mailbox::entry::Entry;
use crate::mailbox::rejection::{At, Refusal};
use crate::mailbox::text::{Count, Name};
use crate::release::Dialect;
use crate::run::options::{Common, Rejects, SideFiles};
use crate::run::report::{Report, Status};
use crate::run::totals::Account;
use records::Apart;
use std::ffi::OsString;

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
    /// The form of the records, if the stream is the text of a database and no dump. Its entries are as the releases that
    /// keep such records would print them.
    pub database: Option<Form>,
}

/// One of the six.
pub trait Filter {
    /// Whether the filter goes on looking at entries after one was refused and the stream has ended in an abort mark,
    /// so that the administrator sees all that is wrong at once. Not for filters that change the disk.
    const LOOKS_ON: bool = true;

    /// Whether the filter ends the pipe, so that it must say what went wrong further up.
    const ENDS_PIPE: bool = false;

    /// Whether the filter reads a JSON list whose last entry was taken out by hand, so that its comma is left.
    const MENDS: bool = false;

    /// Whether the rights of what this filter writes are explicit, if those of what it reads were or not.
    fn leaves_rights_explicit(&self, before: bool) -> bool {
        before
    }

    /// The dialect of what this filter writes, if that of what it reads is `read`.
    fn writes(&self, read: Option<Dialect>) -> Option<Dialect> {
        read
    }

    /// The list is the text of the database itself: told before the first entry, and where its records take another form.
    fn database(&mut self, _heading: &Heading, at: At<'_>, _report: &mut Report) -> Result<(), Stop> {
        Err(Stop::Trouble(format!(
            "{at}: this is the text of the database itself (db: flat, cyr_dbtool, cvt_cyrusdb), not a dump of ctl_mboxlist -d: \
             mbx-parse --to RELEASE reads it, and comes before"
        )))
    }

    /// Before the first entry, or at the end of a list without one.
    fn begin(&mut self, _heading: &Heading, _report: &mut Report) -> Result<(), Stop> {
        Ok(())
    }

    /// Whether the filter is told of entries ahead, as far as they are in memory already.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// An entry that will be judged.
    fn ahead(&mut self, _entry: &Entry<'_>) {}

    /// All that can be told ahead was told; it is going to be judged now.
    fn fetch(&mut self) -> Result<(), Stop> {
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
    pub rejects: Option<SideList>,
    /// What is done about marks.
    pub seal: Seal,
    /// What the command line told.
    pub releases: Releases,
    /// Whether a list without entries is one.
    pub allow_empty: bool,
    /// Whether the input must end with an end mark.
    pub require_end: bool,
}

impl Run {
    /// From the files of the command line, or stdin, to stdout: a filter in the middle of a pipe.
    pub fn between(common: &Common, rejects: &Rejects, files: &[OsString], side: &mut SideFiles) -> Result<Run, Stop> {
        Ok(Run {
            input: Input::of(files)?,
            rejects: side.list(rejects.reject.as_deref(), "--reject")?,
            output: Some(Output::stdout()?),
            seal: Seal::Keep,
            releases: common.releases(),
            allow_empty: common.allow_empty,
            require_end: false,
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
        require_end: run.require_end,
        heading: Heading { releases: run.releases, dialect: None, sealed: false, database: None },
        turns: false,
        apart: Apart::default(),
        closing: Closing::default(),
        begun: false,
        writes: None,
        wrote: false,
        aborted: false,
        refused: None,
        end: None,
        sum: crc32fast::Hasher::new(),
        account: Account::default(),
        changes: Changes::default(),
        filter,
        report,
    };
    let listed = stream.list(run.input);
    // Of an aborted list, too, what was refused is a list.
    let set_apart = stream.rejects.as_mut().map_or(Ok(()), SideList::finish);
    let broken_off = listed.is_err() || set_apart.is_err();
    for stop in [listed, set_apart].into_iter().filter_map(Result::err) {
        stream.give_up(&stop);
    }
    stream.report.flush_alike();
    if stream.account.refused > 0 && !(F::ENDS_PIPE || stream.rejects.is_some() || stream.report.gathers()) {
        stream.report.remark(
            "mend what is refused where the list comes from, or set it apart with --reject FILE and go on without it",
        );
    }
    stream.account.looks = stream.output.is_none();
    // What a filter that only looks refuses ends nothing.
    let aborted = broken_off || (stream.aborted && stream.output.is_some());
    stream.account.ending = aborted.then_some("aborted");
    // What was done to entries that were held back is no matter any more, and is not told apart.
    if stream.account.unwritten == 0 {
        stream.filter.notes(&mut stream.account);
    }
    stream.account
}

struct Running<'f, F> {
    output: Option<Output>,
    rejects: Option<SideList>,
    seal: Seal,
    allow_empty: bool,
    require_end: bool,
    heading: Heading,
    /// The line that was met is a record of a database.
    turns: bool,
    /// What stands beside the mailboxes of a database.
    apart: Apart,
    /// How many ACLs are closed.
    closing: Closing,
    begun: bool,
    /// The dialect of the output.
    writes: Option<Dialect>,
    /// Whether an entry was written.
    wrote: bool,
    /// An abort mark is out: nothing is written any more.
    aborted: bool,
    /// The abort mark of an entry that was refused just now.
    refused: Option<Vec<u8>>,
    /// The end mark that was read.
    end: Option<End>,
    /// The CRC-32 of what was read of a sealed list.
    sum: crc32fast::Hasher,
    account: Account,
    changes: Changes,
    filter: &'f mut F,
    report: &'f mut Report,
}

impl<F: Filter> Running<'_, F> {
    fn list(&mut self, mut input: Input) -> Result<(), Stop> {
        let joined = input.is_joined();
        while input.open()? {
            let file = input.file();
            if joined && self.heading.sealed && self.end.is_none() {
                return Err(Stop::Refused(format!("{file}: a sealed list is not whole where this file begins")));
            }
            let beginning = look(&mut input)?;
            if let Some(what) = foreign(input.pending()) {
                return Err(Stop::Trouble(format!("{file}: no mailbox list, but {what}")));
            }
            match beginning {
                Beginning::Object if joined => {
                    return Err(Stop::Trouble(format!(
                        "{file}: a JSON list cannot be one of several files: two objects are no list; give them one by one"
                    )));
                }
                Beginning::Object => self.object(&mut input)?,
                Beginning::Text if self.heading.database == Some(Form::Keyed) => self.records(&mut input, 1)?,
                Beginning::Text => self.lines(&mut input)?,
                Beginning::Array => {
                    return Err(Stop::Trouble(format!(
                        "{file}:1: this is a JSON array, which no ctl_mboxlist writes, and its -u takes for an empty list: take \
                         what ctl_mboxlist -d printed"
                    )));
                }
                Beginning::Members => {
                    return Err(Stop::Refused(format!(
                        "{file}:1: entries of a JSON list without the braces around them, as grep prints them: with {{ before the \
                         first and }} behind the last mbx-parse reads them: (echo '{{'; cat FILE; echo '}}') | mbx-parse"
                    )));
                }
                Beginning::ByteOrderMark => {
                    return Err(Stop::Refused(format!(
                        "{file}:1: begins with a byte order mark, which would become part of a mailbox name, or make the \
                         loader refuse all of it: was it edited? `tail -c +4` takes it off"
                    )));
                }
            }
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
            return Err(Stop::Refused(
                "the list is not sealed: begin the pipe with mbx-parse --seal, and let no grep or sort stand behind it"
                    .to_string(),
            ));
        }
        if self.end.is_none() && (self.heading.sealed || self.require_end) {
            let hint =
                if self.heading.sealed { "" } else { ". Over ssh: ssh old 'ctl_mboxlist -d && echo \\!mbx-end'" };
            return Err(Stop::Refused(format!(
                "the list has no end mark: it was cut off, or what wrote it died{hint}"
            )));
        }
        self.read_apart()?;
        if self.aborted {
            return Ok(());
        }
        self.begin()?;
        if let Some(why) = self.closing.lost() {
            return Err(Stop::Refused(why));
        }
        if self.account.read == 0 && !self.allow_empty {
            return Err(Stop::Refused(
                "the list is empty: did what writes it fail, or is it the wrong file? (--allow-empty if it is meant to be)".to_string(),
            ));
        }
        self.filter.end(&self.heading, &mut self.account, self.report)?;
        if let Some(rejects) = &mut self.rejects {
            rejects.finish()?;
        }
        let entries = self.account.written;
        let closes = self.makes_object();
        if let Some(output) = &mut self.output {
            if closes {
                output.buffer.extend_from_slice(b"\n}\n");
            }
            match (self.seal, &self.end) {
                (Seal::TakeOff | Seal::Demand, _) => {}
                (Seal::Keep, None) => {}
                (Seal::Keep, Some(End::Bare)) => seal::write_end(End::Bare, &mut output.buffer),
                (Seal::Keep | Seal::Make, _) => {
                    if let Some(sum) = output.sum() {
                        seal::write_end(End::Sealed { entries, sum }, &mut output.buffer);
                    }
                }
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
                // The entries of an object end without a newline.
                if !output.is_at_line_start() {
                    output.buffer.push(b'\n');
                }
                output.buffer.extend_from_slice(mark);
                return output.flush();
            }
        }
        Ok(())
    }

    /// Whether the output is an object that we make ourselves, of lines of text.
    fn makes_object(&self) -> bool {
        self.writes == Some(Dialect::Json)
            && (self.heading.dialect != Some(Dialect::Json) || self.heading.database.is_some())
    }

    /// Whether what goes out as it came goes out as a stretch of the input: not where lines become an object or an object
    /// lines.
    fn copies(&self) -> bool {
        (self.writes == Some(Dialect::Json)) == (self.heading.dialect == Some(Dialect::Json))
    }

    /// Writes the abort mark of an entry that was just refused, and with it the last of the stream.
    fn write_abort(&mut self) -> Result<(), Stop> {
        match self.refused.take() {
            Some(mark) => self.abort_with(&mark),
            None => Ok(()),
        }
    }

    /// Writes a stretch of the input that goes out as it came, into the buffer.
    fn write_pending(&mut self, bytes: &[u8]) {
        let copies = self.copies();
        if let Some(output) = &mut self.output
            && !self.aborted
            && copies
        {
            output.buffer.extend_from_slice(bytes);
        }
    }

    /// The end of a stretch of input: what of it was not written yet, from `pending` on, and what is in the buffer.
    fn write_stretch(&mut self, bytes: &[u8], pending: usize) -> Result<(), Stop> {
        let copies = self.copies();
        match &mut self.output {
            Some(output) if self.aborted => output.buffer.clear(),
            Some(output) if pending == 0 && output.buffer.is_empty() && copies => output.write_through(bytes)?,
            Some(output) => {
                if copies {
                    output.buffer.extend_from_slice(&bytes[pending..]);
                }
                output.flush()?;
            }
            None => {}
        }
        Ok(())
    }

    /// Judges one entry. True if it goes out as it stands.
    fn judge(&mut self, entry: &Entry<'_>) -> Result<bool, Stop> {
        self.judge_raw(entry, entry.bytes)
    }

    /// The same of one that came as `raw`, which is what is rejected.
    fn judge_raw(&mut self, entry: &Entry<'_>, raw: &[u8]) -> Result<bool, Stop> {
        self.closing.count(entry);
        match self.filter.entry(entry, &mut self.changes, self.report)? {
            Verdict::Pass => self.count_out(),
            Verdict::Change => self.count_out().map(|_| self.changes.is_empty()),
            Verdict::Drop(why) => {
                self.changes.clear();
                self.account.read += 1;
                self.account.drop_one(why);
                Ok(false)
            }
            Verdict::Refuse(refusal) => self.refuse(raw, entry.at, &refusal, entry.mailbox()),
        }
    }

    fn nothing_behind_the_end(&self, at: At<'_>) -> Result<(), Stop> {
        match self.end {
            None => Ok(()),
            Some(_) => Err(Stop::Refused(format!(
                "{at}: something stands behind the end mark: not one whole list; join lists before mbx-parse --seal"
            ))),
        }
    }

    fn count_out(&mut self) -> Result<bool, Stop> {
        self.account.read += 1;
        match self.aborted {
            true => self.account.unwritten += 1,
            false => self.account.written += 1,
        }
        Ok(true)
    }

    fn begin(&mut self) -> Result<(), Stop> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.filter.begin(&self.heading, self.report)?;
        self.writes = self.filter.writes(self.heading.dialect);
        let opens = self.makes_object();
        let marked = self.seal == Seal::Make || (self.seal == Seal::Keep && self.heading.sealed);
        let Some(output) = self.output.as_mut().filter(|_| !self.aborted) else { return Ok(()) };
        if marked {
            output.sum_up();
            let mut releases = self.heading.releases.clone();
            releases.rights_rewritten = self.filter.leaves_rights_explicit(releases.rights_rewritten);
            seal::write_list(&releases, &mut output.buffer);
        }
        if opens {
            output.buffer.extend_from_slice(b"{\n");
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
                    return Err(Stop::Refused(format!(
                        "{at}: a list mark in the middle: not one whole list; join lists before mbx-parse --seal"
                    )));
                }
                self.heading.releases.merge(releases).map_err(|e| Stop::Trouble(format!("{at}: {e}")))?;
                self.heading.sealed = true;
                Ok(())
            }
            Mark::End(end) => {
                match end {
                    End::Bare if self.heading.sealed => Err(format!(
                        "{at}: the end mark of a sealed list must have its count and its sum: not a whole list"
                    )),
                    End::Sealed { .. } if !self.heading.sealed => Err(format!(
                        "{at}: the end mark is a seal's, and the list mark is missing: not a whole list"
                    )),
                    End::Sealed { entries, .. } if entries != self.account.read => Err(format!(
                        "{at}: the end mark says {entries} entries, {} came: not a whole list; what changes it stands before \
                         mbx-parse --seal",
                        self.account.read
                    )),
                    End::Sealed { sum, .. } if sum != self.sum.clone().finalize() => Err(format!(
                        "{at}: the list is not the one that was sealed: bytes of it were changed. What else changes a \
                         list stands before mbx-parse --seal"
                    )),
                    _ => Ok(()),
                }
                .map_err(Stop::Refused)?;
                self.end = Some(end);
                Ok(())
            }
        }
    }

    /// What was read of a sealed list, its list mark the first and its end mark no more.
    fn sum_up(&mut self, bytes: &[u8]) {
        if self.heading.sealed && self.end.is_none() {
            self.sum.update(bytes);
        }
    }

    /// A line or entry that goes no further. Without a place for rejects the list is aborted here and now, so that
    /// nothing behind us takes what came before for a list.
    fn refuse(&mut self, entry: &[u8], at: At<'_>, refusal: &Refusal, mailbox: &[u8]) -> Result<bool, Stop> {
        self.changes.clear();
        self.count_refused(at, refusal, mailbox);
        // Records are rejected as they came.
        let dialect = self.heading.dialect.filter(|_| self.heading.database.is_none());
        self.rejects.as_mut().map_or(Ok(()), |rejects| rejects.write(entry, dialect))?;
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
}

/// How many of the ACLs of a list of text are closed as servers close them, each part by a TAB.
#[derive(Default)]
struct Closing {
    /// Those that are not empty.
    all: u64,
    closed: u64,
}

impl Closing {
    fn count(&mut self, entry: &Entry<'_>) {
        if entry.members.is_none() && !entry.acl().is_empty() {
            self.all += 1;
            self.closed += u64::from(acl::is_closed(entry.acl()));
        }
    }

    /// Why nobody would have any right any more, if that is so: now and then an ACL is not closed, but not all of them.
    fn lost(&self) -> Option<String> {
        let Closing { all, closed } = *self;
        let lost = if all >= 10 { closed * 10 < all } else { all >= 2 && closed == 0 };
        lost.then(|| {
            format!(
                "{} of {} ACLs are closed by a TAB behind each identifier and its rights, as servers close them: the TABs were \
                 escaped, or an editor took them; take the list anew with ctl_mboxlist -d",
                Count(closed),
                Count(all)
            )
        })
    }
}

/// Tells what a source holds by as few bytes as do.
fn look(input: &mut Input) -> Result<Beginning, Stop> {
    /// So much of white space and marks is nothing that anybody meant.
    const ENOUGH: usize = 64 * 1024;
    loop {
        let found = beginning(input.pending());
        if let Some(found) = found.filter(|_| are_enough(input.pending())) {
            return Ok(found);
        }
        if input.pending().len() > ENOUGH || !input.more()? {
            // At its end a lone brace is an object that was cut off.
            let rest = || beginning(&[input.pending(), b"}\n"].concat());
            return Ok(found.or_else(rest).unwrap_or(Beginning::Text));
        }
    }
}

/// A line that was a mark before something changed it.
fn changed_mark(at: At<'_>, line: &[u8]) -> Stop {
    Stop::Refused(format!("{at}: a mark that was changed ({}): not a whole list", Name(line)))
}

fn cut_off() -> Refusal {
    Refusal::with("no newline at the end", "no server leaves it out: the list was cut off here")
}
