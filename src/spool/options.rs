//! The options of the filters that look at the disk: which spool, and how it is laid out.

use crate::list::error::Stop;
use crate::list::seal::Releases;
use crate::mailbox::name::{Namespace, Namespaces};
use crate::release::Release;
use crate::run::options::{Common, split_pair};
use crate::spool::conf::Conf;
use crate::spool::layout::Layout;
use crate::spool::partitions::{Roots, Roster};
use crate::spool::user::FILES_ONLY;
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The text of `--version` after the name: the number, the lists, and in a static binary the users that it knows.
pub const KNOWN: &str = match FILES_ONLY {
    true => concat!(env!("CARGO_PKG_VERSION"), " (lists of Cyrus 1.6 to 3.13; static: users of /etc/passwd only)"),
    false => crate::run::options::KNOWN,
};

/// The imapd.conf of the two servers, for the filters that do not look at the disk.
#[derive(Args, Debug, Default)]
pub struct ConfOptions {
    /// The imapd.conf of the server that will load the list
    #[arg(short = 'C', long = "conf", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The imapd.conf of the server that the list comes from, if it is another
    #[arg(long, value_name = "FILE")]
    pub spool_conf: Option<PathBuf>,
}

impl ConfOptions {
    /// The files that it reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.config.iter().chain(&self.spool_conf)
    }

    /// What the two servers read in names.
    pub fn names(&self, releases: &Releases) -> Result<Namespaces, Stop> {
        let read = |path: &Option<PathBuf>, release: &Option<Release>| {
            path.as_deref().map(|path| Conf::read(path, release.as_ref())).transpose()
        };
        let spool = read(&self.spool_conf, &releases.from)?;
        namespaces(read(&self.config, &releases.to)?.as_ref(), spool.as_ref(), releases)
    }
}

/// What the two servers read in names: the target as `conf` says, the source as `spool` says, else `conf`.
fn namespaces(conf: Option<&Conf>, spool: Option<&Conf>, releases: &Releases) -> Result<Namespaces, Stop> {
    let of = |conf: Option<&Conf>, release: Option<&Release>| match conf {
        Some(conf) => conf.namespace(release),
        None => Ok(Namespace::new(release, None)),
    };
    Ok(Namespaces {
        source: of(spool.or(conf), releases.from.as_ref())?,
        target: releases.to.as_ref().map(|to| of(conf, Some(to))).transpose()?,
    })
}

/// How the spool at hand is laid out.
#[derive(Args, Debug, Default)]
pub struct SpoolOptions {
    /// The imapd.conf of the host at hand
    #[arg(short = 'C', long = "conf", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The release whose rules the spool follows, if not that of --from
    #[arg(long, value_name = "RELEASE")]
    pub spool_release: Option<Release>,

    /// The imapd.conf of the old host, as whose spool this one is still hashed
    #[arg(long, value_name = "FILE", requires = "config")]
    pub spool_conf: Option<PathBuf>,

    /// Without -C: the spool has hashed directories
    #[arg(long, conflicts_with = "config")]
    pub hashimapspool: bool,

    /// Without -C: they are hashed over the whole name
    #[arg(long, conflicts_with = "config", requires = "hashimapspool")]
    pub fulldirhash: bool,

    /// Without -C: mailboxes may have domains
    #[arg(long, conflicts_with = "config")]
    pub virtdomains: bool,
}

impl SpoolOptions {
    /// The configuration: that of -C, or what the options tell if partitions are `declared` otherwise.
    fn conf(&self, declared: bool, host: Option<&Release>) -> Result<Conf, Stop> {
        match &self.config {
            Some(path) => Conf::read(path, host),
            None if declared => {
                let switches = [
                    ("hashimapspool", self.hashimapspool),
                    ("fulldirhash", self.fulldirhash),
                    ("virtdomains", self.virtdomains),
                ];
                Ok(Conf::of(switches.iter().filter(|(_, on)| *on).map(|(option, _)| (*option, "yes"))))
            }
            None => Err(Stop::Trouble(
                "-C FILE is wanted, mostly -C /etc/imapd.conf: that of this host tells where mailboxes are".to_string(),
            )),
        }
    }

    /// The configuration, and the partitions that it declares or `words` of an option `NAME=DIR` do instead.
    pub fn partitions(
        &self,
        common: &Common,
        option: &str,
        words: &[OsString],
        roots: fn(PathBuf) -> Roots,
    ) -> Result<(Conf, Roster), Stop> {
        let conf = self.conf(!words.is_empty(), common.host())?;
        let mut roster = Roster::new(&conf)?;
        for word in words {
            match split_pair(word) {
                Some((name, dir)) if !name.is_empty() && !dir.is_empty() => {
                    roster.declare(name, roots(PathBuf::from(OsStr::from_bytes(&dir))));
                }
                _ => return Err(Stop::Trouble(format!("{option} {}: NAME=DIR is wanted", word.display()))),
            }
        }
        Ok((conf, roster))
    }

    /// The files that it reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.config.iter().chain(&self.spool_conf)
    }

    /// The files that a configuration includes: `conf`, that of -C, and that of --spool-conf, as far as it can be read
    /// before its release is known.
    pub fn included(&self, conf: &Conf) -> Vec<PathBuf> {
        let spool = self.spool_conf.as_ref().and_then(|path| Conf::read(path, self.spool_release.as_ref()).ok());
        conf.files().iter().chain(spool.iter().flat_map(Conf::files)).cloned().collect()
    }

    /// What the two servers read in names; `conf` is that of -C. The defaults of the releases where no file was given.
    pub fn names(&self, conf: &Conf, releases: &Releases) -> Result<Namespaces, Stop> {
        let from = self.spool_release.as_ref().or(releases.from.as_ref());
        let spool = self.spool_conf.as_deref().map(|path| Conf::read(path, from)).transpose()?;
        namespaces(self.config.as_ref().map(|_| conf), spool.as_ref(), releases)
    }

    /// The layout, by the rules of --spool-release, else of the release that the list comes from; hashed as --spool-conf says,
    /// else `conf`.
    pub fn layout(&self, conf: &Conf, from: Option<&Release>) -> Result<Layout, Stop> {
        let release = self.spool_release.as_ref().or(from);
        match &self.spool_conf {
            Some(path) => Layout::new(&Conf::read(path, release)?, release),
            None => Layout::new(conf, release),
        }
    }
}
