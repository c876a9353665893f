//! A Cyrus, Debian 12's 3.6.1 unless said otherwise, as the server that a list is carried to, and an IMAP session on it.
//!
//! It lives for one test, below that test's directory, as the Cyrus user, on a free port of loopback. Nothing of the
//! system's own Cyrus is read or touched, and nothing is stopped but what was started here.

use super::Sandbox;
use super::servers::{Cyrus, Syslog};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const CTL_MBOXLIST: &str = "/usr/lib/cyrus/bin/ctl_mboxlist";
pub const MBPATH: &str = "/usr/lib/cyrus/bin/mbpath";
pub const MASTER: &str = "/usr/lib/cyrus/bin/master";
pub const IMAPD: &str = "/usr/lib/cyrus/bin/imapd";
pub const SASLPASSWD: &str = "/usr/sbin/saslpasswd2";

/// Who logs in. Not `cyrus`, who has mailboxes of his own in the lists: IMAP calls one's own INBOX, not by its name.
/// It is one who may read `shared.acl.a10` of 2.2 and 2.3, because nobody can give himself a right there: a SETACL with
/// an identifier of `"`, `\`, `%` or 8 bits in the ACL makes 3.6.1 write a `cyrus.header` that it cannot read.
pub const ADMIN: &str = "o'brien";
const PASSWORD: &str = "moving";

/// How long a server may take to answer, or to stop; it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether these programs of Cyrus can be run here. If not the test is skipped, loudly; a failure under
/// MBX_REQUIRE_CYRUS=1.
pub fn is_here(programs: &[&str]) -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let why = match programs.iter().find(|program| !Path::new(program).exists()) {
        Some(program) => format!("{program} is not installed"),
        None if !root => "only root can become the Cyrus user".to_string(),
        None if !Cyrus::may_mount() => "unshare --mount is not allowed here".to_string(),
        None => return true,
    };
    crate::harness::skip(&format!("tests with the real Cyrus: {why}"), "MBX_REQUIRE_CYRUS");
    false
}

/// Makes a directory, with all in it, one that Cyrus may work in.
pub fn hand_over(dir: &Path) {
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("chown").args(["-R", "cyrus:mail"]).arg(dir).status().unwrap().success());
}

/// Furnishes a sandbox for this host's Cyrus as the new server.
pub fn move_in(sandbox: &Sandbox) {
    move_in_of(&Cyrus::host(), sandbox);
}

/// Furnishes a sandbox for the new server: `new.conf` has the names, layout and partitions of the old one's
/// `imapd.conf`, but its own databases and administrator.
pub fn move_in_of(cyrus: &Cyrus, sandbox: &Sandbox) {
    let old = String::from_utf8(sandbox.read("old.conf")).unwrap();
    let kept = old.lines().filter(|line| !line.starts_with("admins:") && !line.contains("_db:"));
    let mut new: String = kept.flat_map(|line| [line, "\n"]).collect();
    new += &format!("admins: {ADMIN}\nsasl_sasldb_path: {}\n", sandbox.file("sasldb2"));
    // Only who logs in as `user+dav` may open a calendar over IMAP.
    new += "imapmagicplus: yes\n";
    sandbox.write("new.conf", &new);
    for dir in ["conf", "conf/db", "conf/socket"] {
        std::fs::create_dir_all(sandbox.path().join(dir)).unwrap();
    }
    cyrus.furnish(sandbox);
    cyrus.hand_over(sandbox.path());
    give_password(sandbox, ADMIN);
}

/// Lets a user log in.
pub fn give_password(sandbox: &Sandbox, user: &str) {
    let conf = String::from_utf8(sandbox.read("new.conf")).unwrap();
    give_password_of(sandbox, conf.lines().find_map(|line| line.strip_prefix("servername: ")).unwrap(), user);
}

/// Lets a user of a domain log in.
pub fn give_password_of(sandbox: &Sandbox, realm: &str, user: &str) {
    let sasldb = sandbox.file("sasldb2");
    sandbox.sh(&format!("echo {PASSWORD} | ./inside {SASLPASSWD} -p -c -f {sasldb} -u {realm} \"{user}\"")).expect(0);
}

/// A running master with one service, imap.
pub struct Server {
    master: Child,
    port: u16,
    log: String,
    syslog: Syslog,
}

impl Server {
    /// Starts on what [`move_in`] furnished. As every real start it begins with a recovery of the databases.
    pub fn start(sandbox: &Sandbox) -> Server {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        let (conf, log) = (sandbox.file("new.conf"), sandbox.file("master.log"));
        let services = format!(
            "START {{\n  recover cmd=\"ctl_cyrusdb -C {conf} -r\"\n}}\n\
             SERVICES {{\n  imap cmd=\"imapd -C {conf}\" listen=\"127.0.0.1:{port}\" prefork=1\n}}\n"
        );
        let services = sandbox.write("cyrus.conf", services);
        let syslog = Syslog::listen(sandbox);
        drop(free);
        let master = Command::new(sandbox.file("inside"))
            .args([MASTER, "-D", "-C", &conf, "-M", &services, "-p", &sandbox.file("master.pid")])
            // When it is told to end it signals its whole group, which must not be that of the tests.
            .process_group(0)
            .current_dir(sandbox.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Server { master, port, log, syslog }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it greets.
    pub fn greeting(&mut self) {
        let mut stream = BufReader::new(self.connect());
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("* OK "), "{line}");
    }

    /// Logs the administrator in.
    pub fn log_in(&mut self) -> Session {
        self.log_in_as(&format!("{ADMIN}+dav"))
    }

    /// Logs somebody in who has a password.
    pub fn log_in_as(&mut self, user: &str) -> Session {
        let stream = self.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Session { stream: BufReader::new(stream), commands: 0 };
        let greeting = session.line();
        assert_eq!(greeting[1].text(), "OK", "{greeting:?}");
        session.ask(&format!("LOGIN {user} {PASSWORD}")).ok();
        session
    }

    /// It listens when the recovery is done.
    fn connect(&mut self) -> TcpStream {
        let patient_until = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                // A port that nobody listens on yet can be given to the caller, who then reaches himself.
                Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {}
                Ok(stream) => return stream,
                Err(refused) => {
                    let ended = self.master.try_wait().unwrap();
                    let log = || std::fs::read_to_string(&self.log).unwrap();
                    assert!(ended.is_none(), "master ended: {ended:?}\n{}", log());
                    assert!(Instant::now() < patient_until, "{refused}\n{}", log());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Server {
    /// Stops it, and returns what it said to syslog.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        self.syslog.lines()
    }

    /// Goes on when all of it has gone.
    fn end(&mut self) {
        let group = Pid::from_child(&self.master);
        let patient_until = Instant::now() + PATIENCE;
        if let Ok(None) = self.master.try_wait() {
            // At SIGQUIT it waits for its children; at SIGTERM it leaves them behind.
            let _ = kill_process(group, Signal::QUIT);
        }
        while matches!(self.master.try_wait(), Ok(None)) && Instant::now() < patient_until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !matches!(self.master.try_wait(), Ok(Some(status)) if status.success()) {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.master.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a mailbox holds: UIDVALIDITY, and the flags of each UID. Not \Recent, which is the session's, nor \Seen: what
/// the administrator has seen is nobody's, and what the users have seen is in files of their own up to 2.3.
#[derive(Debug, PartialEq)]
pub struct Content {
    pub uidvalidity: u32,
    pub flags: BTreeMap<u32, BTreeSet<String>>,
}

/// Opens a mailbox without changing it. Where the administrator may not, he gives himself the right.
pub fn open(session: &mut Session, mailbox: &str) -> Result<Content, Reply> {
    let mut opened = session.ask(&format!("EXAMINE {mailbox}"));
    if opened.status == "NO Permission denied" {
        session.ask(&format!("DELETEACL {mailbox} -anyone")).ok();
        session.ask(&format!("SETACL {mailbox} {} lrs", ADMIN)).ok();
        opened = session.ask(&format!("EXAMINE {mailbox}"));
    }
    if !opened.is_ok() {
        return Err(opened);
    }
    let uidvalidity = opened.after("OK").find_map(|of| of[0].text().strip_prefix("[UIDVALIDITY ")).unwrap();
    let uidvalidity = uidvalidity.split_once(']').unwrap().0.parse().unwrap();
    let (exists, _) = opened.numbered("EXISTS").next().unwrap();
    let mut flags = BTreeMap::new();
    if exists > 0 {
        for (_, message) in session.ask("FETCH 1:* (UID FLAGS)").ok().numbered("FETCH") {
            let items: BTreeMap<_, _> = message[0].list().chunks(2).map(|item| (item[0].text(), &item[1])).collect();
            let set = items["FLAGS"].list().iter().map(Value::text).filter(|f| !["\\Recent", "\\Seen"].contains(f));
            flags.insert(items["UID"].text().parse().unwrap(), set.map(str::to_string).collect());
        }
    }
    assert_eq!(exists, flags.len(), "{mailbox}");
    Ok(Content { uidvalidity, flags })
}

/// One thing in an answer of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    List(Vec<Value>),
}

impl Value {
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Value::Text(of) if of == text)
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            Value::List(_) => panic!("a list: {self:?}"),
        }
    }

    #[track_caller]
    pub fn list(&self) -> &[Value] {
        match self {
            Value::List(values) => values,
            Value::Text(_) => panic!("not a list: {self:?}"),
        }
    }
}

/// What the server answered to one command: the untagged lines without their `*`, and the status.
#[derive(Debug)]
pub struct Reply {
    pub lines: Vec<Vec<Value>>,
    pub status: String,
}

impl Reply {
    pub fn is_ok(&self) -> bool {
        self.status.starts_with("OK")
    }

    #[track_caller]
    pub fn ok(self) -> Reply {
        assert!(self.is_ok(), "{self:?}");
        self
    }

    /// The values that follow a keyword such as ACL.
    pub fn after<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a [Value]> {
        self.lines.iter().filter(move |line| line[0].is(keyword)).map(|line| &line[1..])
    }

    /// The number before a keyword such as FETCH, and the values that follow.
    pub fn numbered<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = (usize, &'a [Value])> {
        let lines = self.lines.iter().filter(move |line| line.get(1).is_some_and(|value| value.is(keyword)));
        lines.map(|line| (line[0].text().parse().unwrap(), &line[2..]))
    }
}

/// The status of a command at which the server ended the session.
pub const HUNG_UP: &str = "BYE the server hung up";

const STATUS: [&str; 4] = ["OK", "NO", "BAD", "BYE"];

/// Just as much IMAP (RFC 9051) as it takes to look at mailboxes.
pub struct Session {
    stream: BufReader<TcpStream>,
    commands: u32,
}

impl Session {
    pub fn ask(&mut self, command: &str) -> Reply {
        self.commands += 1;
        let tag = format!("a{}", self.commands);
        self.stream.get_mut().write_all(format!("{tag} {command}\r\n").as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            if self.stream.fill_buf().unwrap().is_empty() {
                return Reply { lines, status: HUNG_UP.to_string() };
            }
            let mut line = self.line();
            let first = line.remove(0);
            if first.text() == tag {
                let status: Vec<_> = line.iter().map(Value::text).collect();
                return Reply { lines, status: status.join(" ") };
            }
            assert_eq!(first.text(), "*", "{command}: {line:?}");
            lines.push(line);
        }
    }

    /// One line of an answer, with the literals that it goes on behind. The text of a status is one value.
    fn line(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        loop {
            match self.peek() {
                b'\r' => {
                    self.bytes_until(b'\n');
                    return values;
                }
                b' ' => self.skip(),
                _ if values.get(1).is_some_and(|value: &Value| STATUS.iter().any(|status| value.is(status))) => {
                    values.push(Value::Text(text(self.bytes_until(b'\r'))));
                }
                _ => values.push(self.value()),
            }
        }
    }

    fn value(&mut self) -> Value {
        match self.peek() {
            b'(' => Value::List(self.list()),
            b'"' => Value::Text(self.quoted()),
            b'{' => Value::Text(self.literal()),
            _ => Value::Text(self.atom()),
        }
    }

    fn list(&mut self) -> Vec<Value> {
        self.skip();
        let mut values = Vec::new();
        loop {
            match self.peek() {
                b')' => {
                    self.skip();
                    return values;
                }
                b' ' => self.skip(),
                _ => values.push(self.value()),
            }
        }
    }

    fn quoted(&mut self) -> String {
        self.skip();
        let mut bytes = Vec::new();
        loop {
            match self.byte() {
                b'"' => return text(bytes),
                b'\\' => bytes.push(self.byte()),
                byte => bytes.push(byte),
            }
        }
    }

    fn literal(&mut self) -> String {
        let head = text(self.bytes_until(b'\n'));
        let length = head.trim_start_matches('{').trim_end_matches("}\r").parse().unwrap();
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        text(bytes)
    }

    fn atom(&mut self) -> String {
        let mut bytes = Vec::new();
        while !b" ()\r".contains(&self.peek()) {
            bytes.push(self.byte());
        }
        text(bytes)
    }

    /// What stands before a delimiter; LF is taken, CR is left to end the line.
    fn bytes_until(&mut self, end: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.peek() != end {
            bytes.push(self.byte());
        }
        if end == b'\n' {
            self.skip();
        }
        bytes
    }

    fn peek(&mut self) -> u8 {
        *self.stream.fill_buf().unwrap().first().expect("the server hung up")
    }

    fn skip(&mut self) {
        self.byte();
    }

    fn byte(&mut self) -> u8 {
        let byte = self.peek();
        self.stream.consume(1);
        byte
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A mailbox or an identifier as an argument of a command.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
