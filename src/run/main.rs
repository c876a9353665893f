//! The `main` that all six share: options, work, closing line, exit status.

use crate::list::error::Stop;
use crate::list::seal;
use crate::list::stream::Output;
use crate::run::options::Common;
use crate::run::report::{Report, Status, Volume};
use crate::run::totals::Account;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, Parser};
use clap_complete::Shell;
use rustix::process::{Resource, Rlimit};
use std::io::{self, IsTerminal};
use std::process::ExitCode;

/// The whole of a filter's `main`: its options, its work, its closing line and its exit status.
///
/// What goes wrong before the first entry (a wrong option, a missing file) goes down the pipe as an abort mark too, but
/// not to a terminal, where the message is enough.
pub fn main_of<O: Parser>(
    tool: &'static str,
    common: fn(&O) -> &Common,
    work: fn(O, &mut Report) -> Result<Account, Stop>,
) -> ExitCode {
    if let Some(completions) = completions::<O>(tool) {
        return match answer(&completions) {
            Ok(()) => Status::Done.into(),
            Err(stop) => {
                let mut report = Report::new(tool, Volume::Normal);
                report.stop(&stop);
                report.status().into()
            }
        };
    }
    let options = match O::try_parse().and_then(with_command::<O>) {
        Ok(options) => options,
        Err(error) => {
            let mut report = Report::new(tool, Volume::Normal);
            // Help and version are an answer, on stdout; anything else is trouble.
            if !error.use_stderr() {
                if let Err(stop) = answer(error.to_string().as_bytes()) {
                    report.stop(&stop);
                }
                return report.status().into();
            }
            let what = usage_error(&error);
            report.answer(format_args!("{what} ({tool} --help tells more)"));
            send_abort(tool, &what);
            return Status::Trouble.into();
        }
    };
    // A descriptor or two a partition: the usual limit is far below what the system allows.
    let files = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let mut report = Report::new(tool, common(&options).volume());
    let account = match work(options, &mut report) {
        Ok(account) => account,
        Err(stop) => {
            if let Some(reason) = report.stop(&stop) {
                send_abort(tool, &reason);
            }
            return report.status().into();
        }
    };
    let status = report.status();
    if status != Status::Closed && (!report.quiet() || account.lost_any() || status != Status::Done) {
        report.answer(&account);
    }
    status.into()
}

/// A `--` with nothing behind it, where a command stands behind: a variable of a script that is empty. Without the command
/// it would be another run.
fn with_command<O: CommandFactory>(options: O) -> Result<O, clap::Error> {
    let mut command = O::command();
    let dashes = std::env::args_os().skip_while(|word| word != "--").collect::<Vec<_>>();
    match command.get_arguments().any(Arg::is_last_set) && dashes.len() == 1 {
        true => Err(command.error(ErrorKind::TooFewValues, "no command behind --: is a variable empty?")),
        false => Ok(options),
    }
}

/// Options that people know from elsewhere, and what they are here.
const FOREIGN: [(&str, &[&str]); 5] = [
    (
        "an option of ctl_mboxlist? What is to be run stands behind a -- of its own: mbx-parse --seal -- ctl_mboxlist -d, \
         mbx-count-guard --sealed -- ctl_mboxlist -u",
        &["-d", "-u"],
    ),
    ("in Cyrus it names a database; the list is an operand, or stdin", &["-f", "-i", "--file", "--input"]),
    ("the list goes to stdout: >FILE", &["-o", "--output"]),
    (
        "partitions are renamed by mbx-remap-part OLD=NEW, and declared by -C imapd.conf",
        &["-p", "--partition", "--map"],
    ),
    ("the least number of mailboxes is told by mbx-count-guard --min N", &["-m", "--min", "--count"]),
];

/// What `--completions bash`, `zsh` or `fish` prints: made of the options themselves, so that no shell knows others. For
/// `make install`, and in no page: it is no option of a filter, and must be the first word and its shell the last.
fn completions<O: CommandFactory>(tool: &str) -> Option<Vec<u8>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [option, shell] = words.as_slice() else { return None };
    let shell: Shell = (option == "--completions").then(|| shell.to_str()?.parse().ok())??;
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut O::command(), tool, &mut text);
    Some(text)
}

/// What is wrong with a command line, in one line. clap's tip to put `--` before an unknown option would run a command
/// here, so it is left out.
fn usage_error(error: &clap::Error) -> String {
    let what = told(error);
    let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => option,
        _ => return what,
    };
    match FOREIGN.iter().find(|(_, options)| options.contains(&unknown.as_str())) {
        Some((hint, _)) => format!("{what}: {hint}"),
        None => what,
    }
}

fn told(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let told: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty() && !line.contains("use '-- ")).collect();
    let told = told.join(" ").replace(" tip:", ":").replace("<COMMAND>...", "-- COMMAND");
    told.trim_start_matches("error: ")
        .replace("the following required arguments were not provided:", "an option given here goes only with")
}

fn send_abort(tool: &str, reason: &str) {
    if io::stdout().is_terminal() {
        return;
    }
    let mut mark = Vec::new();
    seal::write_abort(tool, reason, &mut mark);
    // Nobody may be reading: the status says the same.
    let _ = answer(&mark);
}

fn answer(text: &[u8]) -> Result<(), Stop> {
    let mut output = Output::stdout()?;
    output.write_through(text)
}
