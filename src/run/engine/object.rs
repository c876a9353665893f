//! A list that is a JSON object on its way through a filter.

use super::{Filter, Mark, Running, changed_mark, seal};
use crate::list::error::Stop;
use crate::list::jansson::{Scan, Snag, decode};
use crate::list::json;
use crate::list::json::Taken;
use crate::list::stream::Input;
use crate::mailbox::entry::MAX_LINE;
use crate::mailbox::entry::{Entry, Members};
use crate::mailbox::rejection::At;
use crate::mailbox::text::Name;
use crate::release::Dialect;
use memchr::{memchr, memchr_iter};

/// How far the object was read.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before its brace.
    #[default]
    Before,
    /// Before its first entry.
    First,
    /// Behind an entry.
    Next,
    /// Behind its end.
    After,
}

#[derive(Default)]
struct Object {
    place: Place,
    /// The physical line that is read.
    line: u64,
    /// Whether what was read last ends in the middle of a line.
    mid_line: bool,
    /// How far the pending bytes were read, and from where on they were not written.
    at: usize,
    unwritten: usize,
    /// From where on they were not summed up.
    unsummed: usize,
    /// Whether the filter was told of what is pending.
    told_ahead: bool,
    /// What stood before the first entry, if that was not written as it came.
    lead: Vec<u8>,
    /// The last mailbox, for messages.
    last: Vec<u8>,
    members: Members,
    values: Vec<u8>,
}

impl Object {
    /// Reads up to `to`.
    fn advance(&mut self, bytes: &[u8], to: usize) {
        self.line += newlines(&bytes[self.at..to]);
        self.mid_line = self.is_mid_line(bytes, to);
        self.at = to;
    }

    /// Whether `to` is in the middle of a line, where no mark begins.
    fn is_mid_line(&self, bytes: &[u8], to: usize) -> bool {
        bytes[self.at..to].last().map_or(self.mid_line, |before| *before != b'\n')
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

impl<F: Filter> Running<'_, F> {
    /// The members of the object that is one source.
    pub(super) fn object(&mut self, input: &mut Input) -> Result<(), Stop> {
        /// From this length on, an entry that is not whole is looked at again only when twice as much of it is there.
        const LONG: usize = 4 * 1024;
        let file = input.file();
        let mut object = Object { line: 1, ..Object::default() };
        let mut more = true;
        loop {
            let bytes = input.pending();
            (object.at, object.unwritten, object.unsummed) = (0, 0, 0);
            object.told_ahead = !self.filter.looks_ahead();
            let read = self.members(bytes, &mut object, &file, more);
            // What was let through before something went wrong goes out before the abort.
            self.write_stretch(&bytes[..object.at], object.unwritten)?;
            read?;
            self.sum_up(&bytes[object.unsummed..object.at]);
            input.take(object.at);
            if !more || (self.aborted && !F::LOOKS_ON) {
                return input.close();
            }
            let rest = input.pending().len();
            if rest >= MAX_LINE {
                let (lead, name) = next_name(input.pending(), 0);
                let at = At { file: &file, line: object.line + newlines(&input.pending()[..lead]) };
                let name = name.unwrap_or_else(|_| "no name".to_string());
                return Err(Stop::Refused(format!("{at}: an entry of over {MAX_LINE} bytes: {name}")));
            }
            let wanted = if rest < LONG { rest + 1 } else { (rest * 2).min(MAX_LINE) };
            while more && input.pending().len() < wanted {
                more = input.more()?;
            }
        }
    }

    /// Whatever is whole of what stands in `bytes`.
    fn members(&mut self, bytes: &[u8], object: &mut Object, file: &str, more: bool) -> Result<(), Stop> {
        loop {
            let mut scan = Scan::new(bytes, object.at);
            let Ok(byte) = scan.peek() else {
                if !more && object.place != Place::After {
                    return Err(cut_off(object, file));
                }
                // White space between two entries goes out with the second, if that does.
                if object.place == Place::After {
                    object.advance(bytes, bytes.len());
                }
                return Ok(());
            };
            let start = scan.at;
            let at = At { file, line: object.line + newlines(&bytes[object.at..start]) };
            let mid_line = object.is_mid_line(bytes, start);
            if object.place == Place::After {
                object.advance(bytes, start);
            }
            if byte == b'!' {
                let Some(len) = memchr(b'\n', &bytes[start..]) else {
                    return if more { Ok(()) } else { Err(cut_off(object, file)) };
                };
                // An abort counts wherever the writer gave up.
                if mid_line && !matches!(seal::read(&bytes[start..start + len]), Ok(Mark::Abort)) {
                    return Err(changed_mark(at, &bytes[start..start + len]));
                }
                self.write_pending(&bytes[object.unwritten..start]);
                self.sum_up(&bytes[object.unsummed..start]);
                object.advance(bytes, start);
                (object.unwritten, object.unsummed) = (start, start);
                self.mark(&bytes[start..start + len], at)?;
                object.advance(bytes, start + len + 1);
                object.unwritten = object.at;
                continue;
            }
            self.nothing_behind_the_end(at)?;
            match (object.place, byte) {
                (Place::Before, b'{') => {
                    self.heading.dialect = Some(Dialect::Json);
                    self.begin()?;
                    object.place = Place::First;
                    object.advance(bytes, start + 1);
                }
                (Place::First | Place::Next, b'}') => {
                    if !self.wrote && !object.lead.is_empty() {
                        self.write_pending(&bytes[object.unwritten..object.at]);
                        self.write_pending(&object.lead);
                        object.unwritten = object.at;
                    }
                    object.place = Place::After;
                    object.advance(bytes, start + 1);
                }
                (Place::First, _) | (Place::Next, b',') => {
                    let from = start + usize::from(object.place == Place::Next);
                    if !self.next_member(bytes, from, object, file, more)? {
                        return if more { Ok(()) } else { Err(cut_off(object, file)) };
                    }
                }
                (Place::After, _) => {
                    return Err(Stop::Refused(format!(
                        "{at}: something stands behind the list's last brace: two lists are not one, and the loader \
                         refuses all of it"
                    )));
                }
                (Place::Before, _) => return Err(Stop::Refused(format!("{at}: no list begins here"))),
                (Place::Next, _) => {
                    let last = Name(&object.last);
                    return Err(Stop::Refused(format!(
                        "{at}: neither a comma nor the list's last brace behind the entry of {last}: the loader refuses \
                         all of it"
                    )));
                }
            }
        }
    }

    /// The entry that must begin behind the white space at `from`. False if it is not whole.
    fn next_member(
        &mut self,
        bytes: &[u8],
        from: usize,
        object: &mut Object,
        file: &str,
        more: bool,
    ) -> Result<bool, Stop> {
        let mut scan = Scan::new(bytes, from);
        let Ok(byte) = scan.peek() else { return Ok(false) };
        let start = scan.at;
        if byte == b'"' {
            return self.member(bytes, start, object, file);
        }
        let at = At { file, line: object.line + newlines(&bytes[object.at..start]) };
        match byte {
            // Whoever wrote the comma gave up before the entry.
            b'!' => match memchr(b'\n', &bytes[start..]) {
                Some(len) => {
                    self.mark(&bytes[start..start + len], at)?;
                    Err(cut_off(object, file))
                }
                None => Ok(false),
            },
            b'}' if object.place == Place::Next && newlines(&bytes[from..start]) < 2 => {
                if !F::MENDS {
                    return Err(Stop::Refused(format!(
                        "{at}: a comma and no entry before the last brace: {LEFT_OVER} {}; mbx-parse reads the list without the \
                         comma. Or {LEFT_OUT}",
                        Name(&object.last)
                    )));
                }
                let left = format_args!(
                    "{at}: a comma and no entry before the last brace is left out: {LEFT_OVER} {}",
                    Name(&object.last)
                );
                self.report.told("comma before the last brace", left);
                self.write_pending(&bytes[object.unwritten..from - 1]);
                object.advance(bytes, from);
                object.unwritten = from;
                Ok(true)
            }
            // The message names both neighbours.
            b',' | b'}' => match next_name(bytes, start).1 {
                Err(Snag::Incomplete) if more => Ok(false),
                after => Err(no_entry(at, after.ok(), object)),
            },
            _ => Err(Stop::Refused(format!(
                "{at}: no entry begins here, which is a mailbox in double quotes: the loader refuses all of such a list"
            ))),
        }
    }

    /// The entry that begins at `key`. False if it is not whole.
    fn member(&mut self, bytes: &[u8], key: usize, object: &mut Object, file: &str) -> Result<bool, Stop> {
        if !std::mem::replace(&mut object.told_ahead, true) && !self.aborted {
            self.members_ahead(bytes, key, object, file)?;
        }
        let lead = object.at;
        let at = At { file, line: object.line + newlines(&bytes[lead..key]) };
        let (len, mailbox, fields) = match json::parse(&bytes[key..], &mut object.members, &mut object.values) {
            Ok(Taken { len, mailbox, fields }) => (len, mailbox, fields),
            Err(Snag::Incomplete) => return Ok(false),
            Err(Snag::Wrong(wrong, what)) => {
                let at = At { file, line: at.line + newlines(&bytes[key..key + wrong]) };
                let behind = match object.last.is_empty() {
                    true => "the first entry".to_string(),
                    false => format!("the entry behind {}", Name(&object.last)),
                };
                return Err(Stop::Refused(format!("{at}: {what}, in {behind}: the loader refuses all of such a list")));
            }
        };
        let end = key + len;
        let raw = &bytes[key..end];
        self.changes.clear();
        object.last.clear();
        object.last.extend_from_slice(mailbox.of(&object.values));
        let pass = match &fields {
            Ok(fields) => {
                let entry = Entry {
                    bytes: raw,
                    values: &object.values,
                    members: Some(&object.members),
                    record: None,
                    at,
                    dialect: Dialect::Json,
                    fields: *fields,
                };
                self.judge(&entry)?
            }
            Err(refusal) => self.refuse(raw, at, refusal, &object.last)?,
        };
        let first = object.place == Place::First;
        // As a rule the first that is written is the first of all, and stands where it stood.
        if !(pass && self.wrote != first) {
            self.write_pending(&bytes[object.unwritten..lead]);
            if first {
                object.lead.clear();
                object.lead.extend_from_slice(&bytes[lead..key]);
            }
            if pass || !self.changes.is_empty() {
                self.write_elsewhere(raw, if self.wrote { &bytes[lead..key] } else { &object.lead });
            }
            self.write_abort()?;
            object.unwritten = end;
        }
        self.wrote |= pass;
        object.place = Place::Next;
        object.advance(bytes, end);
        Ok(true)
    }

    /// Tells the filter of the entries that are whole from `key` on.
    fn members_ahead(&mut self, bytes: &[u8], mut key: usize, object: &mut Object, file: &str) -> Result<(), Stop> {
        let at = At { file, line: object.line };
        while let Ok(Taken { len, fields, .. }) = json::parse(&bytes[key..], &mut object.members, &mut object.values) {
            if let Ok(fields) = fields {
                let (values, members) = (object.values.as_slice(), Some(&object.members));
                let raw = &bytes[key..key + len];
                self.filter.ahead(&Entry {
                    bytes: raw,
                    values,
                    members,
                    record: None,
                    at,
                    dialect: Dialect::Json,
                    fields,
                });
            }
            let mut scan = Scan::new(bytes, key + len);
            if scan.expect(b',', "").is_err() || scan.peek() != Ok(b'"') {
                break;
            }
            key = scan.at;
        }
        self.filter.fetch()
    }

    /// Writes an entry that was changed, or has another before it now; `lead` stands between them.
    fn write_elsewhere(&mut self, raw: &[u8], lead: &[u8]) {
        self.wrote = true;
        if let Some(output) = &mut self.output
            && !self.aborted
        {
            match self.writes {
                Some(Dialect::Json) => {
                    output.buffer.extend_from_slice(lead);
                    self.changes.apply(raw, &mut output.buffer);
                }
                _ => {
                    self.changes.apply(raw, &mut output.buffer);
                    output.buffer.push(b'\n');
                }
            }
        }
        self.changes.clear();
    }
}

fn cut_off(object: &Object, file: &str) -> Stop {
    let at = At { file, line: object.line };
    let behind = match object.last.is_empty() {
        true => String::new(),
        false => format!(" behind the entry of {}", Name(&object.last)),
    };
    Stop::Refused(format!("{at}: the list ends in the middle{behind}: it was cut off, or what wrote it died"))
}

/// What a comma before the last brace comes from. Of an entry that is left out by the server an empty line is left, too.
const LEFT_OVER: &str = "an entry was taken out by hand behind that of";

/// What a comma without an entry comes from otherwise.
const LEFT_OUT: &str =
    "ctl_mboxlist -d leaves an entry out whose name is not UTF-8: rename that mailbox on the old server";

/// A comma without an entry: of one whose name is no UTF-8, `ctl_mboxlist -d` prints nothing but that.
fn no_entry(at: At<'_>, after: Option<String>, object: &Object) -> Stop {
    let after = after.unwrap_or_else(|| "the end".to_string());
    let before = match object.last.is_empty() {
        true => "the beginning".to_string(),
        false => Name(&object.last).to_string(),
    };
    Stop::Refused(format!(
        "{at}: no entry between {before} and {after}, and no loader takes such a list: {LEFT_OUT}. Or an entry was taken out \
         by hand: its comma must go too"
    ))
}

/// Where the next member begins behind white space and commas, and what it is called, if one begins there.
fn next_name(bytes: &[u8], from: usize) -> (usize, Result<String, Snag>) {
    let mut scan = Scan::new(bytes, from);
    while let Ok(b',') = scan.peek() {
        scan.at += 1;
    }
    let start = scan.at;
    let mut name = Vec::new();
    let found = scan.string().map(|_| {
        decode(&bytes[start + 1..scan.at - 1], &mut name);
        Name(&name).to_string()
    });
    (start, found)
}
