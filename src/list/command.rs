//! A command that was started, and the one pipe that it writes to us.
//!
//! The end of a command and the end of its pipe are two things: a process that it left in the background holds the pipe
//! open, for ever if need be (the master of an ssh with ControlPersist, a `sleep &` of a script).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a pipe may be silent once its command has ended. What the command wrote is in the pipe by then; what filters
/// it (`2> >(sed ...)`) ends a little later.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A command with one pipe from it.
pub struct Attended {
    pipe: File,
    /// Ends when the command has ended.
    end: OwnedFd,
    waits: JoinHandle<io::Result<ExitStatus>>,
    /// When the command was seen to have ended.
    ended: Option<Instant>,
}

/// What was read of the pipe.
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// The pipe is at its end.
    End,
    /// The command has ended, and something else keeps the pipe open and has been silent for [`PATIENCE`].
    Held,
}

impl Attended {
    /// Attends to `child`, which writes to `pipe`.
    pub fn new(mut child: Child, pipe: OwnedFd) -> io::Result<Attended> {
        let (end, ends) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let waits = std::thread::Builder::new().spawn(move || {
            let status = child.wait();
            drop(ends);
            status
        })?;
        Ok(Attended { pipe: File::from(pipe), end, waits, ended: None })
    }

    /// Reads what there is, or waits for it.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<Got> {
        loop {
            let patience = self.ended.map(|_| Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 });
            let mut awaited = vec![PollFd::new(&self.pipe, PollFlags::IN)];
            if self.ended.is_none() {
                awaited.push(PollFd::new(&self.end, PollFlags::IN));
            }
            match poll(&mut awaited, patience.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(0) => return Ok(Got::Held),
                Ok(_) => {}
            }
            if !awaited[0].revents().is_empty() {
                return match self.pipe.read(room) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Ok(0) => Ok(Got::End),
                    read => read.map(Got::Bytes),
                };
            }
            self.ended = Some(Instant::now());
        }
    }

    /// When the command was seen to have ended, if it was.
    pub fn ended(&self) -> Option<Instant> {
        self.ended
    }

    /// The processes that keep the pipe open, for a message.
    pub fn holders(&self) -> String {
        named(&holders(self.pipe.as_fd()))
    }

    /// Closes the pipe and waits for the end of the command.
    pub fn wait(self) -> io::Result<ExitStatus> {
        drop(self.pipe);
        self.waits.join().unwrap_or_else(|_| Err(io::Error::other("the thread that waited for it is gone")))
    }
}

impl AsFd for Attended {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// The other processes that have this pipe or file open, as far as /proc lets us see them: number and command name. Only
/// the links are read: asked for itself, a file of theirs on a dead file server would not answer.
pub fn holders(fd: BorrowedFd<'_>) -> Vec<(u32, String)> {
    let link = |process: &Path, number: &Path| std::fs::read_link(process.join("fd").join(number));
    let own = std::process::id();
    let Ok(wanted) = link(Path::new("/proc/self"), Path::new(&fd.as_raw_fd().to_string())) else { return Vec::new() };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<(u32, String)> = numbered
        .filter(|number| *number != own)
        .filter(|number| {
            let open = std::fs::read_dir(format!("/proc/{number}/fd")).into_iter().flatten().flatten();
            open.into_iter().any(|file| std::fs::read_link(file.path()).is_ok_and(|open| open == wanted))
        })
        .map(|number| {
            let name = std::fs::read(format!("/proc/{number}/comm")).unwrap_or_default();
            (number, String::from_utf8_lossy(&name).trim_end().to_string())
        })
        .collect();
    found.sort();
    found
}

/// Such processes for a message: `process 4711 (sleep)`.
pub fn named(holders: &[(u32, String)]) -> String {
    const SHOWN: usize = 5;
    let name = |(number, name): &(u32, String)| format!("{number} ({})", name.escape_debug());
    match holders {
        [] => "a process that cannot be seen from here".to_string(),
        [one] => format!("process {}", name(one)),
        more => {
            let shown: Vec<String> = more.iter().take(SHOWN).map(name).collect();
            let rest = if more.len() > SHOWN { ", ..." } else { "" };
            format!("processes {}{rest}", shown.join(", "))
        }
    }
}
