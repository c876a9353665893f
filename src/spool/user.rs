//! Users and groups of this host, and the disk as one of them sees it.
//!
//! Root may read everything, and the server does not run as root. So the disk is looked at with the uid, the gid and the
//! groups of the user as whom the server runs, from `/` on.

use crate::list::error::{Stop, reason};
use crate::mailbox::text::Name;
use crate::release::v;
use crate::run::report::Report;
use crate::spool::conf::Conf;
use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Set if only `/etc/passwd` and `/etc/group` are known: a static binary cannot load the modules of the name service
/// (nsswitch.conf(5)) that know the users of LDAP or sssd.
pub const FILES_ONLY: bool = cfg!(target_feature = "crt-static");

/// The place where a user or group was looked for, and the remedy in a static binary.
fn known_here() -> &'static str {
    match FILES_ONLY {
        true => " in /etc/passwd and /etc/group: this static binary knows no users of LDAP or sssd, give the number",
        false => " on this host",
    }
}

/// One user of this host.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The user with this name, or else with this number.
    fn find(user: &str) -> Result<Option<Account>, Stop> {
        match (Account::named(user)?, number(user)) {
            (None, Some(uid)) => Account::numbered(uid),
            (account, _) => Ok(account),
        }
    }

    fn named(name: &str) -> Result<Option<Account>, Stop> {
        if FILES_ONLY {
            return Ok(field_of(&etc("/etc/passwd")?, 0, name).and_then(Account::of_line));
        }
        asked("user", name, || nix::unistd::User::from_name(name)).map(|user| user.map(Account::of))
    }

    fn numbered(uid: u32) -> Result<Option<Account>, Stop> {
        let number = uid.to_string();
        if FILES_ONLY {
            return Ok(field_of(&etc("/etc/passwd")?, 2, &number).and_then(Account::of_line));
        }
        let user = || nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        asked("user", &number, user).map(|user| user.map(Account::of))
    }

    fn of(user: nix::unistd::User) -> Account {
        Account { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }

    /// A line of passwd(5).
    fn of_line(line: &str) -> Option<Account> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_string();
        let mut numbers = fields.skip(1).map(|field| field.parse().ok());
        Some(Account { name, uid: numbers.next()??, gid: numbers.next()?? })
    }

    /// Every group that has this user as a member, and `own`, as initgroups(3) sets them.
    fn groups(&self, own: u32) -> Result<Vec<Gid>, Stop> {
        if FILES_ONLY {
            return Ok(groups_of(&etc("/etc/group")?, &self.name, own));
        }
        let name = CString::new(self.name.as_str()).map_err(|e| Stop::io(&self.name, &e.into()))?;
        let groups = nix::unistd::getgrouplist(&name, nix::unistd::Gid::from_raw(own));
        let groups = groups.map_err(|e| Stop::io(format_args!("groups of user {}", self.name), &e.into()))?;
        Ok(groups.into_iter().map(|gid| Gid::from_raw(gid.as_raw())).collect())
    }
}

/// The number of a group with this name, or else with this number.
fn find_group(group: &str) -> Result<Option<u32>, Stop> {
    let named = match FILES_ONLY {
        true => field_of(&etc("/etc/group")?, 0, group).and_then(|line| line.split(':').nth(2)?.parse().ok()),
        false => asked("group", group, || nix::unistd::Group::from_name(group))?.map(|group| group.gid.as_raw()),
    };
    Ok(named.or_else(|| number(group)))
}

/// The answer of the name service, asked again after a signal. An error does not mean that there is no such name.
fn asked<T>(what: &str, name: &str, ask: impl Fn() -> nix::Result<Option<T>>) -> Result<Option<T>, Stop> {
    let answer = loop {
        match ask() {
            Err(nix::errno::Errno::EINTR) => {}
            answer => break answer,
        }
    };
    answer.map_err(|e| Stop::io(format_args!("{what} {}", Name(name.as_bytes())), &e.into()))
}

fn etc(file: &str) -> Result<String, Stop> {
    let text = std::fs::read(file).map_err(|e| Stop::io(file, &e))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first line of passwd(5) or group(5) whose field `at` is `value`.
fn field_of<'t>(text: &'t str, at: usize, value: &str) -> Option<&'t str> {
    text.lines().find(|line| line.split(':').nth(at) == Some(value))
}

/// The groups of a user by the lines of group(5), `own` first.
fn groups_of(text: &str, user: &str, own: u32) -> Vec<Gid> {
    let others = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let gid: u32 = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == user).then_some(gid)
    });
    std::iter::once(own).chain(others).map(Gid::from_raw).collect()
}

/// A uid or gid in digits. The highest number is none: chown(2) takes it for "leave it as it is".
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// The owner of new directories.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
}

impl Owner {
    /// Reads `USER[:GROUP]` of `--owner` as chown(1) does: each a name, or else a number. Without a group, or with an
    /// empty one, it is the user's own.
    pub fn parse(text: &str) -> Result<Owner, Stop> {
        let trouble = |what: String| Stop::Trouble(format!("--owner {text}: {what}"));
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let account = Account::find(user)?;
        let uid = account.as_ref().map(|account| account.uid).or_else(|| number(user));
        let uid = uid.ok_or_else(|| trouble(format!("no such user{}", known_here())))?;
        let gid = match group {
            Some(group) => find_group(group)?.ok_or_else(|| trouble(format!("no such group{}", known_here())))?,
            None => account.map(|account| account.gid).ok_or_else(|| {
                trouble(format!("no user has the number {uid}, so it has no group of its own: --owner {uid}:GROUP"))
            })?,
        };
        Ok(Owner { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
    }
}

/// A user with the groups that a process of that user has.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: Uid,
    /// The group of the process.
    pub gid: Gid,
    /// All groups, that of the process among them.
    pub groups: Vec<Gid>,
}

/// Looks at the disk as the user as whom the server runs.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The user, if this process is root and has to become another.
    user: Option<User>,
    /// The groups of this process.
    own: Vec<Gid>,
}

impl Viewer {
    /// The viewer for the server of `conf`: its `cyrus_user`, else the environment's `CYRUS_USER`, else `cyrus`, with
    /// that user's own group, or with `cyrus_group` or `CYRUS_GROUP` (3.0 and later, `lib/util.c:become_cyrus`). A
    /// process that is not root looks as it is.
    pub fn of_server(conf: &Conf, report: &mut Report) -> Result<Viewer, Stop> {
        let user = match rustix::process::geteuid().is_root() {
            true => server_user(conf, report)?,
            false => None,
        };
        let own = match user {
            Some(_) => rustix::process::getgroups().map_err(|e| Stop::io("own groups", &e.into()))?,
            None => Vec::new(),
        };
        Ok(Viewer { user, own })
    }

    /// The user whom this process has to become to look; none if it looks as it is.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Runs `work` as the user. Only this thread changes, and it is root again afterwards.
    pub fn look<T>(&self, work: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
        let Some(user) = &self.user else { return work() };
        become_one(&user.groups, user.gid, user.uid).map_err(not_that_user)?;
        let found = work();
        // A process that cannot be root again must not go on: its new files would be the user's.
        rustix::thread::set_thread_res_uid(None::<Uid>, Uid::ROOT, None::<Uid>)
            .and_then(|()| rustix::thread::set_thread_res_gid(None::<Gid>, Gid::ROOT, None::<Gid>))
            .and_then(|()| rustix::thread::set_thread_groups(&self.own))
            .map_err(|e| Stop::io("cannot be root again", &io::Error::from(e)))?;
        found
    }

    /// Makes this thread, and no other, the user from here on.
    pub fn look_for_good(&self) -> Result<(), Stop> {
        let Some(user) = &self.user else { return Ok(()) };
        become_one(&user.groups, user.gid, user.uid).map_err(not_that_user)
    }
}

/// The groups first: only root may change them.
fn become_one(groups: &[Gid], gid: Gid, uid: Uid) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(None::<Gid>, gid, None::<Gid>)?;
    rustix::thread::set_thread_res_uid(None::<Uid>, uid, None::<Uid>)
}

fn not_that_user(e: Errno) -> Stop {
    Stop::io("cannot look as the Cyrus user", &io::Error::from(e))
}

/// The user as whom the server runs; none if that is root, or is not known.
fn server_user(conf: &Conf, report: &mut Report) -> Result<Option<User>, Stop> {
    // Earlier releases have both compiled in.
    let option = |name: &str| conf.get(name).filter(|_| conf.is_since(v(3, 0, 0)));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let set = option("cyrus_user").map(text);
    let name = set.clone().or_else(|| std::env::var("CYRUS_USER").ok()).unwrap_or_else(|| "cyrus".to_string());
    let trouble = |option: &str, what: &str, name: &str| {
        Stop::Trouble(format!("{}: {option}: no such {what}: {name}{}", conf.path(), known_here()))
    };
    let group = option("cyrus_group").map(text).or_else(|| std::env::var("CYRUS_GROUP").ok());
    let gid = match &group {
        None => None,
        Some(group) => Some(find_group(group)?.ok_or_else(|| trouble("cyrus_group", "group", group))?),
    };
    let account = match (Account::find(&name)?, number(&name), gid) {
        // The groups of a user without a name are not known.
        (None, Some(uid), Some(gid)) => Some(Account { name: name.clone(), uid, gid }),
        (account, ..) => account,
    };
    let Some(account) = account else {
        if set.is_some() {
            return Err(trouble("cyrus_user", "user", &name));
        }
        report.remark(format_args!(
            "there is no user {name}{}: root reads everything, so whether the server can was not asked (CYRUS_USER names \
             another, and a number needs CYRUS_GROUP)",
            known_here()
        ));
        return Ok(None);
    };
    if account.uid == 0 {
        return Ok(None);
    }
    let gid = gid.unwrap_or(account.gid);
    let groups = account.groups(gid)?;
    Ok(Some(User { name: account.name, uid: Uid::from_raw(account.uid), gid: Gid::from_raw(gid), groups }))
}

/// Returns the text of an error about `path`. For "Permission denied" it names the user, the directory that keeps the user
/// out, and the remedy. The calling thread must still be that user.
pub fn denied(error: Errno, path: &Path) -> String {
    let why = reason(&io::Error::from(error));
    if error != Errno::ACCESS {
        return why;
    }
    // The uid of this thread.
    let uid = rustix::process::geteuid().as_raw();
    let mut text = format!("{why} for uid {uid}: the server could not open the mailbox");
    if let Some(barrier) = Barrier::before(path) {
        text.push_str(&format!(": {barrier}"));
    }
    text + " (cyrus_user, or CYRUS_USER, names the user)"
}

/// A directory or file whose owner, group, mode or ACL keeps a user out.
struct Barrier {
    path: PathBuf,
    /// The missing right, as `setfacl` has it.
    right: char,
    uid: Uid,
}

impl Barrier {
    /// The first component of `path` that this thread's user cannot enter; the file at its end, if it cannot be read;
    /// the directory at its end, if it cannot be written to. Symbolic links are followed.
    fn before(path: &Path) -> Option<Barrier> {
        // The system follows forty links (path_resolution(7)).
        const LINKS: usize = 40;
        let uid = rustix::process::geteuid();
        let barrier = |path: PathBuf, right| Some(Barrier { path, right, uid });
        let mut at = PathBuf::from("/");
        let path = std::path::absolute(path).ok()?;
        let mut rest: VecDeque<OsString> = names(&path);
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if may(&at, Access::EXEC_OK) == Err(Errno::ACCESS) {
                return barrier(at, 'x');
            }
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let stat = rustix::fs::statat(CWD, &next, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if links < LINKS => {
                    links += 1;
                    let target = std::fs::read_link(&next).ok()?;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    for name in names(&target).into_iter().rev() {
                        rest.push_front(name);
                    }
                }
                _ => at = next,
            }
        }
        let rights = if at.is_dir() {
            &[('x', Access::EXEC_OK), ('w', Access::WRITE_OK)][..]
        } else {
            &[('r', Access::READ_OK)]
        };
        let missing = rights.iter().find(|(_, access)| may(&at, *access) == Err(Errno::ACCESS));
        barrier(at.clone(), missing?.0)
    }
}

/// The components of a path without the root.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// Asks the system for a right of this thread's user.
fn may(path: &Path, access: Access) -> Result<(), Errno> {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS)
}

impl std::fmt::Display for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, uid) = (Name(self.path.as_os_str().as_bytes()), self.uid.as_raw());
        let verb = match self.right {
            'x' => "enter",
            'w' => "write to",
            _ => "read",
        };
        write!(f, "it cannot {verb} {path}")?;
        if let Ok(stat) = rustix::fs::stat(&self.path) {
            write!(f, " (mode {:04o}, owner {}, group {})", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)?;
        }
        match self.right {
            'x' => write!(f, "; `setfacl -m u:{uid}:x {path}` lets it in, or another owner, group or mode"),
            _ => write!(f, "; `chown {uid} {path}` gives it to that user"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n\nman:x:6:12:man:/:/bin/sh\n12:x:77:78::/:\ncyrus:x:103:8:Cyrus Mailsystem User,,,:/var/spool/cyrus:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\nmail:x:8:\nspool:x:20:man,cyrus\nother:x:21:cyrus2,xcyrus\nlast:x:22:cyrus\nbad:x:y:cyrus\n";

    #[test]
    fn the_files_are_read_as_a_static_binary_must() {
        let by = |at, value| {
            let account = field_of(PASSWD, at, value).and_then(Account::of_line);
            account.map(|account| (account.name, account.uid, account.gid))
        };
        assert_eq!(by(0, "cyrus"), Some(("cyrus".to_string(), 103, 8)));
        assert_eq!(by(2, "6"), Some(("man".to_string(), 6, 12)));
        assert_eq!(by(0, "12"), Some(("12".to_string(), 77, 78)));
        assert_eq!((by(0, "nosuch"), by(0, "broken"), by(0, "")), (None, None, None));
        let raw = |user, own| groups_of(GROUP, user, own).into_iter().map(Gid::as_raw).collect::<Vec<_>>();
        assert_eq!(raw("cyrus", 8), [8, 20, 22]);
        assert_eq!(raw("nosuch", 5), [5]);
    }

    #[test]
    fn the_files_and_the_name_service_agree_on_root() -> Result<(), Stop> {
        let account = Account::numbered(0)?;
        assert_eq!(account.map(|account| (account.name, account.gid)), Some(("root".to_string(), 0)));
        let of_file = field_of(&etc("/etc/passwd")?, 0, "root").and_then(Account::of_line);
        assert_eq!(of_file.map(|account| account.uid), Some(0));
        Ok(())
    }
}
