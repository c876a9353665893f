//! The Cyrus servers that lists are carried to: this host's own, and those that `make servers` made.

use super::cyrus::MASTER;
use super::{Sandbox, run};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

/// A Cyrus that is installed, in a chroot or not.
pub struct Cyrus {
    root: PathBuf,
    /// Its release, as its master prints it: `3.10.2`.
    pub release: String,
    /// The Cyrus user there, as numbers, `UID:GID`. Debian gives it another number in each suite.
    pub owner: String,
}

/// The Debian suites that have a Cyrus, oldest first, and the release where that is settled. The tests of those
/// required fail under MBX_REQUIRE_CYRUS=1 if they are not there.
const SUITES: [(&str, &str, bool); 4] =
    [("bullseye", "3.2.6", false), ("bookworm", "3.6.1", true), ("trixie", "3.10.2", true), ("sid", "of sid", false)];

impl Cyrus {
    /// That of this host.
    pub fn host() -> Cyrus {
        Cyrus::at(PathBuf::from("/")).unwrap()
    }

    /// Each that is there. Those that are not are named, loudly.
    pub fn all() -> Vec<Cyrus> {
        let mut all = Vec::new();
        for (suite, release, required) in SUITES {
            let why = match Cyrus::of(suite) {
                Ok(cyrus) => {
                    all.push(cyrus);
                    continue;
                }
                Err(why) => why,
            };
            let variable = if required { "MBX_REQUIRE_CYRUS" } else { "MBX_REQUIRE_ALL_CYRUS" };
            super::skip(&format!("tests with the real Cyrus {release}: {why}"), variable);
        }
        all
    }

    fn of(suite: &str) -> Result<Cyrus, String> {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            return Err("only root can become the Cyrus user".to_string());
        }
        let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        if os.lines().any(|line| line.strip_prefix("VERSION_CODENAME=").is_some_and(|name| name == suite)) {
            return Cyrus::at(PathBuf::from("/"));
        }
        let servers =
            std::env::var_os("MBX_SERVERS").map_or_else(|| "/var/cache/mbxtools/servers".into(), PathBuf::from);
        // The stamp says that the chroot is complete.
        match servers.join(format!("{suite}.stamp")).exists() {
            true => Cyrus::at(servers.join(suite)),
            false => Err(format!("{} is not there (make servers)", servers.join(suite).display())),
        }
    }

    fn at(root: PathBuf) -> Result<Cyrus, String> {
        let asked = Command::new("chroot").arg(&root).args([MASTER, "-V"]).output().map_err(|e| e.to_string())?;
        let version = String::from_utf8_lossy(&asked.stdout).into_owned();
        let release = version.strip_prefix("cyrus-imapd ").and_then(|version| version.trim().split('-').next());
        let release = release.ok_or_else(|| format!("no {MASTER} is in {}", root.display()))?;
        let users = std::fs::read_to_string(root.join("etc/passwd")).map_err(|e| e.to_string())?;
        let user = users.lines().find_map(|line| line.strip_prefix("cyrus:x:"));
        let numbers: Vec<_> = user.ok_or("there is no user cyrus")?.split(':').take(2).collect();
        let known = run("parse", &["--to", release, "--allow-empty", "-n"], b"");
        match known.status {
            0 => Ok(Cyrus { release: release.to_string(), owner: numbers.join(":"), root }),
            _ => Err(format!("mbx-parse does not know {release}: {}", known.err)),
        }
    }

    /// Whether programs of another root may be given this one's devices and a directory to work in.
    pub fn may_mount() -> bool {
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success())
    }

    /// Writes the script that runs a program of this Cyrus as its user: `inside PROGRAM ARGS`. The sandbox has the same
    /// path there. It lives in mounts of its own, which are gone when it ends; syslog goes to `log` in the sandbox.
    pub fn furnish(&self, sandbox: &Sandbox) -> String {
        let (root, here) = (self.root.display(), sandbox.path().display());
        let (parent, owner) = (sandbox.path().parent().unwrap().display(), &self.owner);
        let group = owner.split_once(':').unwrap().1;
        // The sandbox may be in /dev/shm.
        let (dev, bring) = match self.root == Path::new("/") {
            true => (
                format!("{here}/dev"),
                format!(
                    "mkdir {here}/dev/shm\nmount --rbind /dev/shm {here}/dev/shm\n\
                     mount --rbind {here}/dev /dev\n"
                ),
            ),
            false => (
                format!("{root}/dev"),
                format!(
                    "mkdir -p {root}{parent}\nmount -t tmpfs -o mode=0755 tmp {root}{parent}\nmkdir {root}{here}\n\
                 mount --bind {here} {root}{here}\nmount -t proc proc {root}/proc\n"
                ),
            ),
        };
        std::fs::create_dir_all(sandbox.path().join("dev")).unwrap();
        let script = format!(
            "#!/bin/sh -e\nif [ \"$1\" != --mounted ]; then exec unshare --mount \"$0\" --mounted \"$@\"; fi\nshift\n\
             mount -t tmpfs -o mode=0755 dev {dev}\n\
             mknod -m 0666 {dev}/null c 1 3\nmknod -m 0666 {dev}/zero c 1 5\n\
             mknod -m 0666 {dev}/random c 1 8\nmknod -m 0666 {dev}/urandom c 1 9\n\
             ln -s {here}/log {dev}/log\n{bring}\
             unset CYRUS_USER\nexec chroot --userspec={owner} --groups={group} {root} \"$@\"\n"
        );
        let path = sandbox.write("inside", script);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Makes a directory, with all in it, one that this Cyrus may work in.
    pub fn hand_over(&self, dir: &Path) {
        std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("chown").args(["-R", &self.owner]).arg(dir).status().unwrap().success());
    }
}

/// What the programs of a sandbox say to syslog.
pub struct Syslog {
    path: PathBuf,
    listener: Option<JoinHandle<Vec<String>>>,
}

impl Syslog {
    pub fn listen(sandbox: &Sandbox) -> Syslog {
        let path = sandbox.path().join("log");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let listener = std::thread::spawn(move || {
            let (mut lines, mut datagram) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                match socket.recv(&mut datagram) {
                    // The empty one is ours.
                    Ok(0) | Err(_) => return lines,
                    Ok(n) => lines.push(String::from_utf8_lossy(&datagram[..n]).into_owned()),
                }
            }
        });
        Syslog { path, listener: Some(listener) }
    }

    /// Ends it.
    pub fn lines(&mut self) -> Vec<String> {
        let Some(listener) = self.listener.take() else { return Vec::new() };
        UnixDatagram::unbound().unwrap().send_to(b"", &self.path).unwrap();
        listener.join().unwrap()
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.lines();
    }
}
