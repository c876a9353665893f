//! Bytes or blocks of whole physical lines in, checked writes out.
//!
//! One buffer is read into and parsed from; nothing is copied or allocated per line, and nothing is swallowed: a line
//! without its newline, and one that no buffer holds, are blocks of their own for the filter to decide on.

use crate::list::command::{Attended, Got};
use crate::list::error::{Stop, reason};
use crate::mailbox::entry::MAX_LINE;
use crate::mailbox::text::Name;
use memchr::memrchr;
use rustix::pipe::fcntl_setpipe_size;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// How much is read at a time: `cat` reads half of it, and a 1 MiB pipe holds four.
const BLOCK: usize = 256 * 1024;

/// The pipe size asked for on both sides; refused for users above their pipe quota, which does no harm.
const PIPE: usize = 1024 * 1024;

/// Where a list comes from.
pub enum Source {
    /// The standard input, called `stdin` in messages.
    Stdin,
    /// A file; `-` is [`Source::Stdin`].
    File(OsString),
    /// A command that writes the list; its exit status is part of the list's wholeness.
    Command(Vec<OsString>),
    /// Bytes that are there already: for tests and fuzzers.
    Reader(&'static str, Box<dyn Read + Send>),
}

enum Open {
    /// A file or pipe, and what tells whether a file changes while it is read.
    File(File, Option<Stamp>),
    Command(Attended),
    Reader(Box<dyn Read + Send>),
}

/// How long a file is, and when it was written to.
type Stamp = (u64, i64, i64);

/// That of a regular file.
fn stamp(file: &File) -> Option<Stamp> {
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// A stretch of input.
pub struct Block<'a> {
    /// What was read: whole lines with their newlines, unless `shape` says otherwise.
    pub bytes: &'a [u8],
    /// What kind of stretch it is.
    pub shape: Shape,
    /// The file it stands in.
    pub file: Arc<str>,
    /// The physical line on which it begins.
    pub line: u64,
}

/// The kinds of [`Block`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Whole lines.
    Lines,
    /// The end of a file whose last line has no newline.
    Unended,
    /// A piece of a line longer than [`MAX_LINE`]: the first piece, and whether the line ends here.
    Piece {
        /// Whether the line begins here.
        begins: bool,
        /// Whether the line ends here.
        ends: bool,
    },
}

/// The sources of one list, read one after the other.
pub struct Input {
    sources: VecDeque<Source>,
    current: Option<(Open, Arc<str>)>,
    buffer: Vec<u8>,
    /// The bytes read and not yet handed out.
    start: usize,
    end: usize,
    line: u64,
    lines_out: u64,
    in_piece: bool,
    /// Whether whole lines may be pending: behind a piece that was handed out, or because somebody looked ahead.
    after_piece: bool,
}

impl Input {
    /// The list that stands in `sources`, one behind the other.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Input {
        Input {
            sources: sources.into_iter().collect(),
            current: None,
            buffer: vec![0; BLOCK],
            start: 0,
            end: 0,
            line: 1,
            lines_out: 0,
            in_piece: false,
            after_piece: false,
        }
    }

    /// The list of a command line, which is not its standard output.
    pub fn of(operands: &[OsString]) -> Result<Input, Stop> {
        let sources = Input::sources_of(operands);
        sources.iter().try_for_each(is_not_stdout)?;
        Ok(Input::new(sources))
    }

    /// The operands of a command line: files, `-` for the standard input, and that alone if there are none.
    pub fn sources_of(operands: &[OsString]) -> Vec<Source> {
        if operands.is_empty() {
            return vec![Source::Stdin];
        }
        operands.iter().map(|name| if name == "-" { Source::Stdin } else { Source::File(name.clone()) }).collect()
    }

    /// Whether more than one source makes up the list.
    pub fn is_joined(&self) -> bool {
        self.sources.len() + usize::from(self.current.is_some()) > 1
    }

    /// Goes on to the next source; false after the last.
    pub fn open(&mut self) -> Result<bool, Stop> {
        let Some(source) = self.sources.pop_front() else { return Ok(false) };
        self.current = Some(open(source)?);
        (self.start, self.end, self.line, self.lines_out) = (0, 0, 1, 0);
        (self.in_piece, self.after_piece) = (false, true);
        Ok(true)
    }

    /// What the source is called in messages.
    pub fn file(&self) -> Arc<str> {
        self.current.as_ref().map_or_else(|| Arc::from(""), |(_, name)| Arc::clone(name))
    }

    /// What was read of the source and not taken yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more behind what is pending. False at the end of the source.
    pub fn more(&mut self) -> Result<bool, Stop> {
        let pending = self.end - self.start;
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, pending);
        if pending == self.buffer.len() {
            self.buffer.resize(pending * 2, 0);
        }
        let got = self.read()?;
        self.end += got;
        Ok(got > 0)
    }

    /// Takes so many of the pending bytes.
    pub fn take(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Takes back the last so many of the bytes that were handed out with the last block of [`Shape::Lines`].
    pub fn give_back(&mut self, bytes: usize) {
        self.start -= bytes;
    }

    /// The next stretch, or none at the end of the source.
    pub fn block(&mut self) -> Result<Option<Block<'_>>, Stop> {
        self.line += self.lines_out;
        self.lines_out = 0;
        loop {
            // What was pending before a block was asked for may hold lines, and so may what follows a long one.
            if std::mem::replace(&mut self.after_piece, false)
                && let Some(at) = memrchr(b'\n', self.pending())
            {
                return Ok(Some(self.hand_out(at + 1, Shape::Lines)));
            }
            let pending = self.end - self.start;
            if pending >= MAX_LINE {
                return Ok(Some(self.hand_out(pending, Shape::Piece { begins: !self.in_piece, ends: false })));
            }
            if !self.more()? {
                if pending == 0 {
                    return self.close().map(|()| None);
                }
                let shape = match self.in_piece {
                    true => Shape::Piece { begins: false, ends: true },
                    false => Shape::Unended,
                };
                return Ok(Some(self.hand_out(pending, shape)));
            }
            if self.in_piece {
                if let Some(at) = memchr::memchr(b'\n', self.pending()) {
                    return Ok(Some(self.hand_out(at + 1, Shape::Piece { begins: false, ends: true })));
                }
            } else if let Some(at) = memrchr(b'\n', &self.pending()[pending..]) {
                return Ok(Some(self.hand_out(pending + at + 1, Shape::Lines)));
            }
        }
    }

    /// Tells how many lines the filter counted in the last block of [`Shape::Lines`].
    pub fn counted(&mut self, lines: u64) {
        self.lines_out = lines;
    }

    /// Hands out so many of the pending bytes.
    fn hand_out(&mut self, bytes: usize, shape: Shape) -> Block<'_> {
        let from = self.start;
        self.start += bytes;
        if let Shape::Piece { ends, .. } = shape {
            self.in_piece = !ends;
            self.after_piece = ends;
            self.lines_out = u64::from(ends);
        }
        Block { bytes: &self.buffer[from..self.start], shape, file: self.file(), line: self.line }
    }

    fn read(&mut self) -> Result<usize, Stop> {
        let Some((open, name)) = &mut self.current else { return Ok(0) };
        let room = &mut self.buffer[self.end..];
        loop {
            let got = match open {
                Open::File(file, _) => file.read(room),
                Open::Reader(reader) => reader.read(room),
                Open::Command(command) => match command.read(room) {
                    Ok(Got::Bytes(got)) => Ok(got),
                    Ok(Got::End) => Ok(0),
                    Ok(Got::Held) => {
                        let (holders, name) = (command.holders(), Arc::clone(name));
                        return Err(self.held(&name, &holders));
                    }
                    Err(e) => Err(e),
                },
            };
            match got {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Stop::Trouble(format!("{name}: cannot read: {}", reason(&e)))),
                Ok(got) => return Ok(got),
            }
        }
    }

    /// Ends a source. A file must be what it was at its beginning. A command must also have ended well: what a dying
    /// `ctl_mboxlist -d` printed may be cut off at the end of a line, and nothing else shows that.
    pub fn close(&mut self) -> Result<(), Stop> {
        let Some((open, name)) = self.current.take() else { return Ok(()) };
        let command = match open {
            Open::Command(command) => command,
            Open::File(file, before) if stamp(&file) != before => {
                return Err(Stop::Refused(format!(
                    "{name}: changed while it was read: it may not be one whole list; read it when nothing writes to it any more"
                )));
            }
            Open::File(..) | Open::Reader(_) => return Ok(()),
        };
        match command.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Stop::Refused(format!(
                "{name}: ended with {status}: its list cannot be trusted to be whole; see what it said"
            ))),
            Err(e) => Err(Stop::Trouble(format!("{name}: cannot wait for it: {}", reason(&e)))),
        }
    }

    /// The command has ended, and something that it left behind may still write the rest of the list.
    fn held(&mut self, name: &str, holders: &str) -> Stop {
        match self.close() {
            Ok(()) => Stop::Refused(format!(
                "{name}: has ended, but its stdout is still open in {holders}: the list may not be whole (what the command \
                 leaves behind needs a stdout of its own: >/dev/null)"
            )),
            Err(stop) => stop,
        }
    }
}

/// What is written to would be read again without end: `mbx-parse list >>list`, or one pipe as both.
fn is_not_stdout(source: &Source) -> Result<(), Stop> {
    let of = |fd: std::os::fd::BorrowedFd<'_>| File::from(fd.try_clone_to_owned()?).metadata();
    let (name, input) = match source {
        Source::Stdin => ("stdin".to_string(), of(io::stdin().as_fd())),
        Source::File(path) => (Name(path.as_bytes()).to_string(), std::fs::metadata(path)),
        Source::Command(_) | Source::Reader(..) => return Ok(()),
    };
    match (input, of(io::stdout().as_fd())) {
        (Ok(input), Ok(out))
            if (input.is_file() || input.file_type().is_fifo())
                && (input.dev(), input.ino()) == (out.dev(), out.ino()) =>
        {
            Err(Stop::Muted(format!("{name}: is written to here as well: let stdout be another file")))
        }
        // What cannot be opened is told when it is.
        _ => Ok(()),
    }
}

fn open(source: Source) -> Result<(Open, Arc<str>), Stop> {
    match source {
        Source::Stdin => {
            let file = File::from(owned(io::stdin().as_fd(), "stdin")?);
            widen(&file);
            let stamp = stamp(&file);
            Ok((Open::File(file, stamp), Arc::from("stdin")))
        }
        Source::File(path) => {
            let name = Name(path.as_bytes()).to_string();
            let file = File::open(&path).map_err(|e| Stop::io(&name, &e))?;
            if file.metadata().is_ok_and(|m| m.is_dir()) {
                return Err(Stop::Trouble(format!("{name}: is a directory, not a mailbox list")));
            }
            widen(&file);
            let stamp = stamp(&file);
            Ok((Open::File(file, stamp), Arc::from(name)))
        }
        Source::Command(words) => {
            let Some((program, args)) = words.split_first() else {
                return Err(Stop::Trouble("no command behind --".to_string()));
            };
            // `sh -c COMMAND` is called by its command.
            let shown = if args.len() == 2 && args[0] == "-c" { &args[1] } else { program };
            let name = Name(shown.as_bytes()).to_string();
            // Not our standard input: an ssh would eat the script that the pipeline stands in.
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|e| cannot_run(program, &name, &e))?;
            let Some(pipe) = child.stdout.take() else {
                return Err(Stop::Trouble(format!("{name}: has no stdout")));
            };
            widen(&pipe);
            let command = Attended::new(child, pipe.into()).map_err(|e| Stop::io(&name, &e))?;
            Ok((Open::Command(command), Arc::from(name)))
        }
        Source::Reader(name, reader) => Ok((Open::Reader(reader), Arc::from(name))),
    }
}

/// Trouble with starting a command. Cyrus keeps its own programs out of PATH.
pub fn cannot_run(program: &OsStr, name: &str, error: &io::Error) -> Stop {
    let bare = error.kind() == ErrorKind::NotFound && !program.as_bytes().contains(&b'/');
    let hint = match program.as_bytes() {
        words if words.contains(&b' ') => ": the command and its words stand behind -- one by one, not quoted together",
        _ if !bare => "",
        b"ctl_mboxlist" => ": not in PATH; Debian has it in /usr/lib/cyrus/bin, others in /usr/cyrus/bin",
        _ => ": not in PATH",
    };
    Stop::Trouble(format!("cannot run {name}: {}{hint}", reason(error)))
}

/// A copy of a standard descriptor that is ours to read or write without a lock and a second buffer.
fn owned(fd: std::os::fd::BorrowedFd<'_>, name: &str) -> Result<std::os::fd::OwnedFd, Stop> {
    fd.try_clone_to_owned().map_err(|e| Stop::io(name, &e))
}

fn widen(fd: &impl AsFd) {
    // Not a pipe, or not allowed: the default size works as well, only slower.
    let _ = fcntl_setpipe_size(fd, PIPE);
}

/// The standard output, unbuffered: the filter writes whole blocks.
pub fn stdout() -> Result<File, Stop> {
    let file = File::from(owned(io::stdout().as_fd(), "stdout")?);
    widen(&file);
    Ok(file)
}

/// Where the stream goes: every write is checked, and a reader that went away is [`Stop::Closed`].
pub struct Output {
    sink: Box<dyn Write>,
    name: &'static str,
    /// What is to be written with the next block.
    pub buffer: Vec<u8>,
    /// The last byte that was written.
    last: u8,
    /// The CRC-32 of what was written, if the stream is to end with it.
    sum: Option<crc32fast::Hasher>,
}

impl Output {
    /// Writes to `sink`, called `name` in messages.
    pub fn new(sink: Box<dyn Write>, name: &'static str) -> Output {
        Output { sink, name, buffer: Vec::with_capacity(BLOCK + BLOCK / 4), last: b'\n', sum: None }
    }

    /// The standard output.
    pub fn stdout() -> Result<Output, Stop> {
        Ok(Output::new(Box::new(stdout()?), "stdout"))
    }

    /// Whether the next byte begins a line.
    pub fn is_at_line_start(&self) -> bool {
        *self.buffer.last().unwrap_or(&self.last) == b'\n'
    }

    /// From here on, what is written is summed up.
    pub fn sum_up(&mut self) {
        self.sum = Some(crc32fast::Hasher::new());
    }

    /// The sum so far, with what is in the buffer.
    pub fn sum(&self) -> Option<u32> {
        let mut sum = self.sum.clone()?;
        sum.update(&self.buffer);
        Some(sum.finalize())
    }

    /// Writes what is in the buffer, in one write.
    pub fn flush(&mut self) -> Result<(), Stop> {
        self.last = *self.buffer.last().unwrap_or(&self.last);
        if let Some(sum) = &mut self.sum {
            sum.update(&self.buffer);
        }
        let written = self.sink.write_all(&self.buffer).and_then(|()| self.sink.flush());
        self.buffer.clear();
        written.map_err(|e| cannot_write(self.name, &e))
    }

    /// Writes `bytes` past the buffer, which must be empty: a block that goes out as it came in.
    pub fn write_through(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.flush()?;
        self.last = *bytes.last().unwrap_or(&self.last);
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
        self.sink.write_all(bytes).map_err(|e| cannot_write(self.name, &e))
    }
}

/// What became of writing the stream, or what stands in its place, to `name`.
pub fn cannot_write(name: &str, error: &io::Error) -> Stop {
    match error.kind() {
        ErrorKind::BrokenPipe => Stop::Closed,
        _ => Stop::io(format_args!("{name}: cannot write"), error),
    }
}

/// A file that is written beside the stream. What goes wrong in it is told by its name, through whatever it is written.
pub struct SideFile {
    file: File,
    name: String,
}

impl SideFile {
    /// `file`, called `name` in messages.
    pub fn new(file: File, name: String) -> SideFile {
        SideFile { file, name }
    }

    /// What became of writing to one.
    pub fn failed(error: impl Into<io::Error>) -> Stop {
        Stop::Trouble(error.into().to_string())
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: cannot write: {}", self.name, reason(error)))
    }
}

impl Write for SideFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|e| self.named(&e))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|e| self.named(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives a few bytes at a time, and is interrupted in between.
    struct Short(Vec<u8>, usize, bool);

    impl Read for Short {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(ErrorKind::Interrupted.into());
            }
            let n = self.1.min(to.len()).min(self.0.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn blocks(bytes: &[u8], step: usize) -> Vec<(Vec<u8>, Shape, u64)> {
        let mut input = Input::new([Source::Reader("t", Box::new(Short(bytes.to_vec(), step, false)))]);
        assert!(matches!(input.open(), Ok(true)));
        let mut all = Vec::new();
        loop {
            let lines = match input.block() {
                Ok(Some(block)) => {
                    all.push((block.bytes.to_vec(), block.shape, block.line));
                    block.bytes.iter().filter(|b| **b == b'\n').count() as u64
                }
                Ok(None) => return all,
                Err(stop) => panic!("{stop:?}"),
            };
            if matches!(all.last(), Some((_, Shape::Lines, _))) {
                input.counted(lines);
            }
        }
    }

    #[test]
    fn short_reads_lose_nothing() {
        let text = b"one\ntwo\n\nthree\r\nunended";
        for step in 1..30 {
            let all = blocks(text, step);
            assert_eq!(all.iter().flat_map(|(b, _, _)| b.clone()).collect::<Vec<_>>(), text);
            for (bytes, shape, line) in &all {
                match shape {
                    Shape::Lines => assert!(bytes.ends_with(b"\n")),
                    Shape::Unended => assert_eq!((&bytes[..], *line), (&b"unended"[..], 5)),
                    Shape::Piece { .. } => panic!("no piece here"),
                }
            }
        }
    }

    #[test]
    fn a_line_that_no_buffer_holds_comes_in_pieces() {
        let mut text = vec![b'x'; MAX_LINE + 3 * BLOCK];
        text.extend_from_slice(b"\nshort\n");
        let all = blocks(&text, usize::MAX);
        assert_eq!(all.iter().map(|(b, _, _)| b.len()).sum::<usize>(), text.len());
        assert!(matches!(all[0].1, Shape::Piece { begins: true, ends: false }));
        assert_eq!(all.last().map(|(b, s, l)| (b.clone(), *s, *l)), Some((b"short\n".to_vec(), Shape::Lines, 2)));
    }
}
