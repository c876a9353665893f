//! imapd.conf with what it includes, as any release reads it. The files are in memory: an `@include` reaches nothing.

use super::stage;
use mbxtools::list::error::Stop;
use mbxtools::release::{Release, v};
use mbxtools::spool::conf::Conf;
use mbxtools::spool::layout::Layout;
use mbxtools::spool::partitions::{MetaFile, Roster};
use std::io::{Error, ErrorKind};
use std::path::Path;

/// What the parts of the input are called.
const FILES: [&str; 4] = ["/imapd.conf", "/a", "/b", "/c"];

const OPTIONS: [&str; 5] = ["defaultdomain", "deletedprefix", "metapartition_files", "virtdomains", "defaultpartition"];

const SWITCHES: [&str; 3] = ["hashimapspool", "fulldirhash", "archive_enabled"];

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [choice, text @ ..] = data else { return };
    let release = stage::release(*choice);
    let Ok(conf) = read(text, release) else { return };
    for name in conf.partitions() {
        let dir = conf.partition(name);
        // Of a service's own there may be none for all, but we are that service.
        assert!(dir.is_some_and(|dir| !dir.is_empty() && !dir.contains(&0)));
        assert!(!name.iter().any(u8::is_ascii_uppercase));
    }
    if let Ok(roster) = Roster::new(&conf) {
        assert_eq!(roster.all().len(), conf.partitions().len());
        for (_, roots) in roster.all() {
            for file in MetaFile::ALL {
                assert!(roots.of(file) == roots.data || roots.meta.iter().any(|meta| meta == roots.of(file)));
            }
        }
    }
    for layout in [release, None] {
        let _ = Layout::new(&conf, layout);
    }
    // A comment says nothing, and where nobody told a release it is a late one.
    same(&conf, &read(&[b"# comment\n\n", text].concat(), release).expect("a comment is no option"));
    if release.is_none() {
        let late: Release = "3.12.0".parse().expect("a release");
        same(&conf, &read(text, Some(&late)).expect("read as a late release reads it"));
    }
    // Lines that end as those of DOS do, from the release on that takes blanks off.
    if release.is_none_or(|release| release.since(v(2, 1, 0))) && !text.contains(&b'\\') {
        let dos: Vec<u8> = text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
        same(&conf, &read(&dos, release).expect("a CR is a blank"));
    }
}

fn read(text: &[u8], release: Option<&Release>) -> Result<Conf, Stop> {
    let parts: Vec<_> = text.splitn(FILES.len(), |b| *b == 1).collect();
    Conf::read_from(Path::new(FILES[0]), release, &|path: &Path| {
        let known = FILES.iter().zip(&parts).find(|(name, _)| Path::new(name) == path);
        known.map(|(_, part)| part.to_vec()).ok_or(Error::from(ErrorKind::NotFound))
    })
}

fn same(one: &Conf, other: &Conf) {
    assert_eq!(one.partitions(), other.partitions());
    for name in one.partitions() {
        assert_eq!(one.partition(name), other.partition(name));
        assert_eq!(one.metapartition(name), other.metapartition(name));
    }
    for option in OPTIONS {
        assert_eq!(one.get(option), other.get(option));
    }
    for switch in SWITCHES {
        assert_eq!(one.switch(switch).ok(), other.switch(switch).ok());
    }
}
