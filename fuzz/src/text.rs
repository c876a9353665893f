//! Lines of text: read in each dialect, written again, and converted from any release to any other.

use super::stage;
use mbxtools::list::detect::{beginning, detect, stranger};
use mbxtools::list::text;
use mbxtools::mailbox::entry::Entry;
use mbxtools::mailbox::mbtype::Mbtype;
use mbxtools::release::Dialect;

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [choice, to, line @ ..] = data else { return };
    let (from, to) = (stage::release(*choice), stage::release(*to));
    beginning(line);
    detect(line);
    // As it comes out of the stream.
    let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
    if text::bytes_refused(line).is_some() {
        return;
    }
    for dialect in Dialect::TEXT {
        stranger(line, dialect);
        let Ok(fields) = text::parse(line, dialect) else { continue };
        let entry = Entry::of_line(line, stage::AT, dialect, fields);
        write(&entry);
        stage::look(&entry, *choice);
        if from.is_some_and(|from| from.dialect() != dialect) {
            continue;
        }
        if let Some(to) = to {
            stage::convert(&entry, from, to);
        }
    }
}

/// What is written of an entry is that entry.
fn write(entry: &Entry<'_>) {
    let mut line = [entry.mailbox(), b"\t"].concat();
    text::write_place(entry, entry.mbtype().unwrap_or(Mbtype::EMAIL), entry.dialect, &mut line);
    line.extend_from_slice(entry.acl());
    stage::reread(&line, entry.dialect, |again| {
        assert_eq!(again.mailbox(), entry.mailbox());
        assert_eq!(again.mbtype(), entry.mbtype());
        assert_eq!(again.server(), entry.server());
        assert_eq!(again.partition(), entry.partition());
        assert_eq!(again.acl(), entry.acl());
    });
}
