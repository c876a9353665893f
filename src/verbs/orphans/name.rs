//! Whose directory is it?

use crate::list::error::Stop;
use crate::mailbox::name::can_be_uniqueid;
use crate::spool::layout::{Hash, Layout};

/// The uniqueid of a directory `uuid/x/y/xy...`.
pub fn uniqueid_of(dir: &[u8]) -> Option<&[u8]> {
    let [x, b'/', y, b'/', id @ ..] = dir.strip_prefix(b"uuid/")? else { return None };
    (can_be_uniqueid(id) && id.starts_with(&[*x, *y])).then_some(id)
}

/// The mailbox whose directory by name this is. Several names may have one directory: then it is the one that the
/// server itself would write. What a name's directory is only [`Layout::path`] knows, so every guess is held against
/// it.
pub fn name_of(layout: &Layout, dir: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
    let unhashed = |rest: &'_ [u8]| match (layout.hash, rest) {
        (Hash::None, rest) => Some(rest.to_vec()),
        (_, [_, b'/', rest @ ..]) => Some(rest.to_vec()),
        _ => None,
    };
    let dotted = |mut rest: Vec<u8>| {
        rest.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'.');
        rest
    };
    let domain = dir.strip_prefix(b"domain/").and_then(unhashed).and_then(|rest| {
        let (domain, name) = rest.split_at_checked(memchr::memchr(b'/', &rest)?)?;
        Some([domain, b"!", &dotted(unhashed(name.get(1..)?)?)].concat())
    });
    let plain = unhashed(dir).map(dotted);
    // What has a `!` of its own and no domain's directory is in the default domain.
    let default = layout.names.defaultdomain();
    let default = plain.as_ref().map(|name| [default, b"!", name].concat());
    let guesses = if layout.names.virtdomains() { [domain, plain] } else { [plain, domain] };
    let mut path = Vec::new();
    for guess in guesses.into_iter().chain([default]).flatten() {
        if layout.path(&guess, &mut path)?.is_ok() && path == dir {
            return Ok(Some(guess));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::text::Name;
    use crate::release::Release;
    use crate::spool::conf::Conf;
    use proptest::prelude::*;

    fn layouts() -> Vec<Layout> {
        let mut all = Vec::new();
        for release in ["2.0.17", "2.1.15", "2.2.13", "2.4.14", "2.4.22", "3.0.18", "3.6.1"] {
            let release: Release = release.parse().unwrap_or_else(|e| panic!("{e}"));
            for options in [&[][..], &["hashimapspool"], &["hashimapspool", "fulldirhash"]] {
                for virtdomains in [None, Some("virtdomains")] {
                    let options = options.iter().chain(&virtdomains).map(|option| (*option, "yes"));
                    let conf = Conf::of(options.chain([("defaultdomain", "d.e")]));
                    all.push(Layout::new(&conf, Some(&release)).unwrap_or_else(|e| panic!("{e:?}")));
                }
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Every mailbox with a directory is found in it, under its own name or another that has the same directory.
        #[test]
        fn there_and_back(name in "((a|b\\.c|d\\.e|internal|[a-zA-Z]{1,3}(\\.[a-z]{2})?)!)?(user|DELETED\\.user|domain|uuid|[a-zA-Z0-9_#^ -]{1,3})(\\.[a-zA-Z0-9_#^ -]{1,3}|\\.(domain|user|a|0?6B04466A)){0,4}") {
            for layout in layouts() {
                let (mut dir, mut again) = (Vec::new(), Vec::new());
                prop_assume!(matches!(layout.path(name.as_bytes(), &mut dir), Ok(Ok(()))));
                match name_of(&layout, &dir) {
                    Ok(Some(found)) => {
                        prop_assert!(matches!(layout.path(&found, &mut again), Ok(Ok(()))));
                        prop_assert_eq!(&again, &dir);
                    }
                    found => prop_assert!(false, "{:?}: {} {:?}", layout, Name(&dir), found.is_ok()),
                }
            }
        }
    }

    #[test]
    fn a_name_of_the_default_domain_with_a_mark_of_its_own_is_found() {
        let release: Release = "3.0.18".parse().unwrap_or_else(|e| panic!("{e}"));
        for (options, name) in [(&[("defaultdomain", "d.e")][..], "d.e!user.a!b"), (&[], "internal!user.a!b")] {
            let conf = Conf::of(options.iter().copied());
            let layout = Layout::new(&conf, Some(&release)).unwrap_or_else(|e| panic!("{e:?}"));
            assert_eq!(name_of(&layout, b"user/a!b").ok().flatten().as_deref(), Some(name.as_bytes()));
        }
    }

    #[test]
    fn of_several_names_the_one_that_a_server_writes() {
        let name = |virtdomains: &str, release: &str, dir: &str| {
            let conf = Conf::of([("virtdomains", virtdomains)].into_iter());
            let release: Release = release.parse().unwrap_or_else(|e| panic!("{e}"));
            let layout = Layout::new(&conf, Some(&release)).unwrap_or_else(|e| panic!("{e:?}"));
            let name = name_of(&layout, dir.as_bytes()).unwrap_or_else(|e| panic!("{e:?}"));
            name.map(|name| String::from_utf8_lossy(&name).into_owned())
        };
        assert_eq!(name("yes", "2.2.13", "domain/example/user/x").as_deref(), Some("example!user.x"));
        assert_eq!(name("no", "2.2.13", "domain/example/user/x").as_deref(), Some("domain.example.user.x"));
        assert_eq!(name("no", "3.0.18", "domain/example/user/x").as_deref(), Some("domain.example.user.x"));
        assert_eq!(name("no", "3.0.18", "domain/example.com/user/x").as_deref(), Some("example.com!user.x"));
        assert_eq!(name("no", "2.2.13", "domain/example.com/user/x"), None);
        assert_eq!(name("yes", "3.0.18", "user/zoe").as_deref(), Some("user.zoe"));
        assert_eq!(name("yes", "3.0.18", "DELETED/user/zoe/B04466A").as_deref(), Some("DELETED.user.zoe.B04466A"));
        assert_eq!(name("yes", "3.0.18", "DELETED/user/zoe/0B04466A"), None);
    }
}
