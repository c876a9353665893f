//! The `main` of all six filters: options, work, closing line, exit status.

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

/// Runs a filter: reads its options, does its work, prints its closing line and returns its exit status.
///
/// An error before the first entry (a wrong option, a missing file) also writes an abort mark to a pipe or file. A
/// terminal gets only the message.
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
            // Help and version go to stdout. Anything else is an error.
            if !error.use_stderr() {
                if let Err(stop) = answer(error.to_string().as_bytes()) {
                    report.stop(&stop);
                }
                return report.status().into();
            }
            let what = usage_error(&error);
            report.answer(format_args!("{what} (see {tool} --help)"));
            send_abort(tool, &what);
            return Status::Trouble.into();
        }
    };
    // Raises the limit of open files, because each partition needs one or two. The usual limit is far below the
    // maximum.
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

/// Refuses a `--` without a command after it, if the filter takes a command. A variable of a script is empty then, and
/// without the command the filter would do something else.
fn with_command<O: CommandFactory>(options: O) -> Result<O, clap::Error> {
    let mut command = O::command();
    let dashes = std::env::args_os().skip_while(|word| word != "--").collect::<Vec<_>>();
    match command.get_arguments().any(Arg::is_last_set) && dashes.len() == 1 {
        true => Err(command.error(ErrorKind::TooFewValues, "no command after --: is a variable empty?")),
        false => Ok(options),
    }
}

/// Options of other programs, each with its equivalent in the filters.
const HINTS: [(&str, &[&str]); 5] = [
    (
        "an option of ctl_mboxlist? Put the command after a separate --: mbx-parse --seal -- ctl_mboxlist -d, \
         mbx-count-guard --sealed -- ctl_mboxlist -u",
        &["-d", "-u"],
    ),
    ("in Cyrus it names a database; the list is an operand or comes from stdin", &["-f", "-i", "--file", "--input"]),
    ("the list is written to stdout: use >FILE", &["-o", "--output"]),
    ("mbx-remap-part OLD=NEW renames partitions, and -C imapd.conf declares them", &["-p", "--partition", "--map"]),
    ("mbx-count-guard --min N sets the least number of mailboxes", &["-m", "--min", "--count"]),
];

/// Returns the output of `--completions bash`, `zsh` or `fish`. It is made from the options, so that it agrees with
/// them. Only `make install` uses it, and no page has it. It must be the first word, and its shell the last.
fn completions<O: CommandFactory>(tool: &str) -> Option<Vec<u8>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [option, shell] = words.as_slice() else { return None };
    let shell: Shell = (option == "--completions").then(|| shell.to_str()?.parse().ok())??;
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut O::command(), tool, &mut text);
    Some(text)
}

/// Returns the error of a command line in one line, with a hint for an option of another program.
fn usage_error(error: &clap::Error) -> String {
    let what = message_of(error);
    let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => option,
        _ => return what,
    };
    match HINTS.iter().find(|(_, options)| options.contains(&unknown.as_str())) {
        Some((hint, _)) => format!("{what}: {hint}"),
        None => what,
    }
}

/// Returns clap's message in one line. Omits its tip to put `--` before an unknown option: here it would run a command.
fn message_of(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let kept: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty() && !line.contains("use '-- ")).collect();
    let text = kept.join(" ").replace(" tip:", ":").replace("<COMMAND>...", "-- COMMAND");
    text.trim_start_matches("error: ")
        .replace("the following required arguments were not provided:", "an option of this command line requires")
}

fn send_abort(tool: &str, reason: &str) {
    if io::stdout().is_terminal() {
        return;
    }
    let mut mark = Vec::new();
    seal::write_abort(tool, reason, &mut mark);
    // The pipe may have no reader. The exit status reports the error too.
    let _ = answer(&mark);
}

fn answer(text: &[u8]) -> Result<(), Stop> {
    let mut output = Output::stdout()?;
    output.write_through(text)
}
