//! What users tell: files of renames, operands, releases, limits, and the marks that carry releases down a pipe.

use super::stage;
use mbxtools::list::seal;
use mbxtools::list::seal::Mark;
use mbxtools::mailbox::partition;
use mbxtools::release::Release;
use mbxtools::run::options::{Limit, Pairs, read_pairs, split_pair, split_renames};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => pairs(data),
        1 => words(data),
        _ => mark(data),
    }
}

/// What is read of a file of renames, and written as another, is read alike.
fn pairs(data: &[u8]) {
    let Ok(pairs) = read(data) else { return };
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(["old", "new"]).expect("no I/O here");
    for (old, new) in &pairs {
        writer.write_record([old, new]).expect("no I/O here");
        if partition::can_be_declared(new) {
            assert!(!partition::must_be_server(new));
        }
    }
    assert_eq!(read(&writer.into_inner().expect("no I/O here")).ok(), Some(pairs));
}

fn read(data: &[u8]) -> Result<Pairs, String> {
    let file = stage::file(data);
    read_pairs(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))).map_err(|stop| format!("{stop:?}"))
}

fn words(data: &[u8]) {
    let words: Vec<OsString> = data.split(|b| *b == b'\n').map(|word| OsStr::from_bytes(word).to_owned()).collect();
    for word in &words {
        if let Some((old, new)) = split_pair(word) {
            assert_eq!([&old[..], b"=", &new].concat(), word.as_bytes());
        }
        let Some(text) = word.to_str() else { continue };
        if let Ok(limit) = text.parse::<Limit>() {
            assert_eq!(limit.to_string().parse(), Ok(limit));
            assert!(!limit.exceeded(0, 0));
        }
        if let Ok(release) = text.parse::<Release>() {
            // The plain release, which is itself again.
            assert_eq!(release.to_string().parse().as_ref(), Ok(&release));
            assert!(release.since("1.6".parse::<Release>().map(|_| mbxtools::release::v(1, 6, 0)).expect("a release")));
            let _ = (release.dialect(), release.era(), release.one_layout());
        }
    }
    let all = words.len();
    let (renames, files) = split_renames(words);
    assert_eq!(renames.len() + files.len(), all);
}

/// A mark that is read, and written again, is the same mark.
fn mark(data: &[u8]) {
    let line = data.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = [seal::PREFIX, line].concat();
    let Ok(mark) = seal::read(&line) else { return };
    let mut written = Vec::new();
    match &mark {
        Mark::List(releases) => seal::write_list(releases, &mut written),
        Mark::End(entries) => seal::write_end(*entries, &mut written),
        Mark::Abort => seal::write_abort("fuzz", &String::from_utf8_lossy(&line), &mut written),
    }
    let (newline, line) = written.split_last().expect("a line");
    assert_eq!(*newline, b'\n');
    assert!(seal::is_mark(line) && !line.contains(&b'\n'));
    assert_eq!(seal::read(line), Ok(mark));
}
