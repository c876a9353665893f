//! Mailbox to directory and back: no path leaves its root, and the name that a directory tells has that directory.

use super::stage;
use mbxtools::list::jansson::encode;
use mbxtools::mailbox::name::{MailboxName, can_be_uniqueid};
use mbxtools::release::{Dialect, Release, v};
use mbxtools::spool::conf::Conf;
use mbxtools::spool::layout::Layout;
use mbxtools::verbs::orphans::name::{name_of, uniqueid_of};
use std::sync::LazyLock;

const DOMAIN: &str = "d.e";

/// Every layout, with the release that has it.
static LAYOUTS: LazyLock<Vec<(Layout, Option<Release>)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let told = ["2.0.17", "2.1.15", "2.2.13", "2.4.14", "2.4.22", "3.0.18", "3.6.1"];
    for release in told.map(|told| told.parse::<Release>().ok()).into_iter().chain([None]) {
        for hash in [&[][..], &["hashimapspool"], &["hashimapspool", "fulldirhash"]] {
            for domains in [&[][..], &["virtdomains"]] {
                let switches = hash.iter().chain(domains).map(|option| (*option, "yes"));
                for conf in [Conf::of(switches.clone()), Conf::of(switches.chain([("defaultdomain", DOMAIN)]))] {
                    all.push((Layout::new(&conf, release.as_ref()).expect("a layout"), release.clone()));
                }
            }
        }
    }
    all
});

/// What holds of these bytes.
pub fn hold(data: &[u8]) {
    let [choice, name @ ..] = data else { return };
    let (layout, release) = &LAYOUTS[usize::from(*choice) % LAYOUTS.len()];
    let mut dir = Vec::new();
    if let Ok(Ok(())) = layout.path(name, &mut dir) {
        stays_inside(&dir);
        // Without a release only what all agree on has a path.
        for (other, _) in LAYOUTS.iter().filter(|_| release.is_none()).filter(|(other, told)| {
            told.as_ref().is_some_and(|told| told.since(v(2, 2, 0)) && told.told() != "2.4.14")
                && (other.hash, other.names.virtdomains(), other.names.defaultdomain())
                    == (layout.hash, layout.names.virtdomains(), layout.names.defaultdomain())
        }) {
            let mut there = Vec::new();
            assert!(matches!(other.path(name, &mut there), Ok(Ok(()))));
            assert_eq!(there, dir);
        }
        // 3.0 and later take `DELETED.` and what is no stamp off a name. The directory of what begins so even then is no
        // other name's, and no server makes such a name: the loader refuses it.
        let nobodys = MailboxName::new(name).local().starts_with(b"DELETED.DELETED.");
        match name_of(layout, &dir) {
            Ok(None) if nobodys => {}
            Ok(found) => has_directory(layout, &found.expect("a directory tells a name"), &dir),
            Err(_) => {}
        }
        // What is left of a name with two marks has another domain: the loader refuses it.
        if name.iter().filter(|b| **b == b'!').count() < 2
            && release.as_ref().is_some_and(|release| release.since(v(3, 0, 0)))
            && !nobodys
        {
            let mut read = Vec::new();
            layout.names.read(MailboxName::new(name)).write_name(&mut read);
            has_directory(layout, &read, &dir);
        }
    }
    if let Ok(Some(found)) = name_of(layout, name) {
        has_directory(layout, &found, name);
        stays_inside(name);
    }
    by_uniqueid(layout, name);
    if let Some(id) = uniqueid_of(name) {
        assert!(can_be_uniqueid(id));
        stays_inside(name);
    }
}

fn stays_inside(dir: &[u8]) {
    assert!(!dir.contains(&0));
    assert!(!dir.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")));
}

fn has_directory(layout: &Layout, name: &[u8], dir: &[u8]) {
    let mut own = Vec::new();
    assert!(matches!(layout.path(name, &mut own), Ok(Ok(()))));
    assert_eq!(own, dir);
}

/// The same of a directory that the uniqueid tells.
fn by_uniqueid(layout: &Layout, id: &[u8]) {
    if std::str::from_utf8(id).is_err() || id.contains(&0) {
        return;
    }
    let mut text = br#""user.x": {"mbtype": "e", "partition": "p", "acl": {}, "uniqueid": "#.to_vec();
    encode(id, &mut text);
    text.push(b'}');
    stage::reread(&text, Dialect::Json, |entry| {
        let mut dir = Vec::new();
        let placed = layout.place(entry, &mut dir).expect("no release is asked").is_ok();
        assert_eq!(placed, can_be_uniqueid(id));
        if placed {
            stays_inside(&dir);
            assert_eq!(uniqueid_of(&dir), Some(id));
        }
    });
}
