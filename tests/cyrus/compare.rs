//! `examples/migrate/compare` against the real 3.6.1: what it must find, what it must not, and what it refuses to do.
//!
//! Skipped, loudly, where Cyrus or Python is not installed; a failure under MBX_REQUIRE_CYRUS=1.

use crate::harness::cyrus::{self, ADMIN, Server};
use crate::harness::{Ran, Sandbox, corpus, feed};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

const PYTHON: &str = "/usr/bin/python3";

fn is_here() -> bool {
    cyrus::is_here(&[cyrus::CTL_MBOXLIST, cyrus::MASTER, cyrus::IMAPD, cyrus::SASLPASSWD, PYTHON])
}

/// The site of a real 2.3.16, with mail, carried to 3.6.1 by the six, and the users' files by a copy.
fn migrated() -> Sandbox {
    let sandbox = Sandbox::of("2.3.16", "rich");
    cyrus::move_in(&sandbox);
    let files = corpus().join("2.3.16/rich/conf.tar.gz");
    let unpack = format!("tar --no-same-owner -xzf {} conf/user conf/quota sieve", files.display());
    sandbox.sh(&unpack).expect(0);
    cyrus::hand_over(sandbox.path());
    let load = format!(
        "mbx-parse --from 2.3.16 --to 3.6.1 --seal old.dump | mbx-remap-part nothing=nowhere | mbx-acl-rewrite \
         | mbx-check-paths -C new.conf --fill | mbx-mkmeta -C new.conf --owner cyrus:mail \
         | mbx-count-guard --sealed --expect 61 -- {} -C new.conf -u",
        cyrus::CTL_MBOXLIST
    );
    sandbox.sh(&load).expect(0);
    sandbox
}

/// A second server with the same bytes.
fn twin(of: &Sandbox) -> Sandbox {
    let sandbox = Sandbox::empty();
    let (from, to) = (of.path().to_str().unwrap(), sandbox.path().to_str().unwrap());
    sandbox.sh(&format!("cp -a {from}/. . && sed -i 's,{from},{to},g' new.conf cyrus.conf")).expect(0);
    sandbox
}

/// The tool, with its words separated by blanks.
fn compare(sandbox: &Sandbox, words: &str) -> Ran {
    let mut command = Command::new(PYTHON);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/migrate/compare"));
    command.args(words.split_whitespace()).current_dir(sandbox.path());
    feed(command, b"")
}

fn secret(sandbox: &Sandbox, text: &str) -> &'static str {
    let path = sandbox.write("secret", text);
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    "--password secret"
}

fn at(server: &mut Server) -> String {
    // It answers when the recovery is done.
    server.log_in().ask("NOOP").ok();
    format!("{ADMIN}@127.0.0.1:{}", server.port())
}

/// The rows of the table.
fn rows(ran: &Ran) -> Vec<String> {
    let table = String::from_utf8(ran.out.clone()).unwrap();
    let mut lines = table.lines().map(str::to_string);
    assert_eq!(lines.next().unwrap(), "mailbox,user,what,item,old,new,expected");
    lines.collect()
}

/// The last line adds up.
#[track_caller]
fn account(ran: &Ran) -> Vec<u64> {
    let line = ran.err.lines().last().unwrap().strip_prefix("compare: ").unwrap();
    let numbers: Vec<u64> = line
        .split(", ")
        .map(|part| part.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert_eq!(numbers[0], numbers[1..].iter().sum::<u64>(), "{line}");
    numbers
}

#[test]
fn one_spool_on_two_servers_and_each_change_is_a_line() {
    if !is_here() {
        return;
    }
    let old = migrated();
    let conf = String::from_utf8(old.read("new.conf")).unwrap();
    old.write("new.conf", conf.replace("delete_mode: delayed", "delete_mode: immediate"));
    for user in ["alice", "bob", "carol", "erin"] {
        cyrus::give_password(&old, user);
    }
    cyrus::hand_over(old.path());
    {
        let mut server = Server::start(&old);
        let mut bob = server.log_in_as("bob");
        bob.ask("CREATE \"INBOX.Entw&APw-rfe (a) 's\"").ok();
        bob.ask("SETMETADATA INBOX.Sent (/private/comment {10+}\r\na\"b\\c\r\n) d)").ok();
        let mut admin = server.log_in();
        admin.ask("SETACL user.bob.Sent \"a {1} (b)\" lrs").ok();
        admin.ask("SETACL user.bob.Sent -dave w").ok();
    }
    let new = twin(&old);
    let (mut one, mut other) = (Server::start(&old), Server::start(&new));
    let (one, there) = (at(&mut one), at(&mut other));
    let password = secret(&old, "moving\n");

    let ran = compare(&old, &format!("{password} {one} {there}")).expect(0);
    assert_eq!(rows(&ran), [""; 0], "{}", ran.tell());
    // No user may read one of the two deleted ones.
    assert_eq!(account(&ran), [62, 61, 0, 0, 0, 1], "{}", ran.tell());
    ran.says("10 users, 0 differ; 0 differences");

    // The record is as good as the server, and is for its owner only.
    compare(&old, &format!("{password} --record old.json --others all {one}"))
        .expect(0)
        .says("62 mailboxes and 10 users recorded");
    assert_eq!(std::fs::metadata(old.path().join("old.json")).unwrap().permissions().mode() & 0o777, 0o600);
    compare(&old, &format!("{password} --record old.json.gz {one}")).expect(0);
    compare(&old, &format!("{password} --record old.json {there}")).expect(2).says("old.json is there already");
    compare(&old, &format!("{password} --table no/t.csv {one} {there}")).expect(2).says("no/t.csv cannot be written");
    for record in ["old.json", "old.json.gz"] {
        let ran = compare(&old, &format!("{password} {record} {there}")).expect(0);
        assert_eq!((rows(&ran).len(), account(&ran)[0]), (0, 62), "{}", ran.tell());
    }

    let mut bob = other.log_in_as("bob");
    bob.ask("SELECT INBOX.Drafts").ok();
    bob.ask("STORE 1 +FLAGS (\\Answered)").ok();
    bob.ask("SETMETADATA INBOX.Archive (/private/specialuse \"\\\\Archive\")").ok();
    bob.ask("DELETE \"INBOX.Entw&APw-rfe (a) 's\"").ok();
    let mut alice = other.log_in_as("alice");
    alice.ask("SUBSCRIBE INBOX.Trash").ok();
    let mut carol = other.log_in_as("carol");
    carol.ask("SETMETADATA INBOX.Drafts (/private/comment \"=1+1\")").ok();
    let mut erin = other.log_in_as("erin");
    erin.ask("APPEND INBOX.Drafts (\\Draft) {19+}\r\nSubject: one more\r\n").ok();
    let mut admin = other.log_in();
    admin.ask("SETACL user.carol.Sent dave lrs").ok();
    admin.ask("SETACL user.bob.Sent \"a {1} (b)\" lrsi").ok();
    admin.ask("SETQUOTA user.dave (STORAGE 999)").ok();
    // Of a shared mailbox 3.6.1 dies (mboxlist.c: user_isnamespacelocked).
    admin.ask("SETMETADATA user.grace.Lists (/shared/comment \"a\\\"b\")").ok();
    let expected = [
        "user.grace.Lists,,annotation,/shared/comment,,\"a\"\"b\",",
        "user.bob.Archive,bob,special use,,,\\Archive,",
        "user.bob.Drafts,bob,flags,,\\Answered 0,\\Answered 1,",
        "user.bob.Entw&APw-rfe (a) 's,,mailbox,,present,absent,",
        "user.bob.Sent,,ACL,a {1} (b),lrs,lrsi,",
        "user.carol.Drafts,carol,annotation,/private/comment,,'=1+1,",
        "user.carol.Sent,,ACL,dave,,lrs,",
        "user.alice.Trash,alice,subscription,,,subscribed,",
        "user.dave,,quota,STORAGE,1 of 1024,1 of 999,",
        "user.erin.Drafts,erin,messages,,EXISTS 0; UIDNEXT 1; UNSEEN 0; \\Draft 0,EXISTS 1; UIDNEXT 2; UNSEEN 1; \\Draft 1,",
    ];
    for old_side in [one.as_str(), "old.json", "old.json.gz"] {
        let ran = compare(&old, &format!("{password} {old_side} {there}")).expect(1);
        let (mut found, mut wanted) = (rows(&ran), expected.map(str::to_string).to_vec());
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{}", ran.tell());
        assert_eq!(account(&ran), [62, 51, 9, 1, 0, 1], "{}", ran.tell());
        ran.says("10 users, 4 differ; 10 differences");
    }
    // The other way round; tabs by the name of the file.
    let ran = compare(&old, &format!("{password} --table t.tsv {there} {one}")).expect(1).writes(b"");
    assert_eq!(account(&ran), [62, 51, 9, 0, 1, 1], "{}", ran.tell());
    let table = String::from_utf8(old.read("t.tsv")).unwrap();
    assert!(table.contains("user.carol.Drafts\tcarol\tannotation\t/private/comment\t=1+1\t\t\n"), "{table}");
    // Of a sample the other users' mailboxes are skipped, and said to be.
    let ran = compare(&old, &format!("{password} --sample 1 {one} {there}"));
    assert!(account(&ran)[5] > 40, "{}", ran.tell());
    ran.says("1 user, ").says("skipped: no user who logged in may read");
    // Accounts of a sample, without an administrator.
    let accounts = old.write("accounts", "alice\tmoving\ncarol\tmoving\tmoving\n");
    std::fs::set_permissions(accounts, Permissions::from_mode(0o600)).unwrap();
    let ran = compare(&old, &format!("--login accounts {one} {there}")).expect(1);
    let mut found = rows(&ran);
    found.sort();
    assert_eq!(found, [expected[7], expected[5], expected[6]], "{}", ran.tell());
    // One who is denied is a difference, not the end of it.
    let accounts = old.write("accounts", "alice\tmoving\ncarol\tmoving\tnot this\n");
    std::fs::set_permissions(accounts, Permissions::from_mode(0o600)).unwrap();
    let ran = compare(&old, &format!("--login accounts {one} {there}")).expect(1);
    assert!(rows(&ran).iter().any(|row| row.starts_with(",carol,login,,ok,NO ")), "{}", ran.tell());
}

/// Against what another program saw on the 2.3.16: all is there but what the list and the copied files do not hold.
#[test]
fn a_migrated_site_is_what_was_recorded_of_the_old_one() {
    if !is_here() {
        return;
    }
    let sandbox = migrated();
    let mut server = Server::start(&sandbox);
    let there = at(&mut server);
    let record = corpus().join("2.3.16/rich/imap.json.gz");
    let words = format!("{} --from 2.3.16 {} {there}", secret(&sandbox, "moving"), record.display());
    let ran = compare(&sandbox, &words).expect(1);
    // Annotations were not carried; sharedseen is of minor 10 until reconstruct -V max.
    let others: Vec<_> = rows(&ran)
        .into_iter()
        .filter(|row| !row.contains(",annotation,/") && !row.starts_with("shared.list-dev,"))
        .collect();
    assert_eq!(others, [""; 0], "{}", ran.tell());
    let seen = rows(&ran).iter().filter(|row| row.starts_with("shared.list-dev,") && row.contains(",unseen,")).count();
    assert_eq!(seen, 10, "{}", ran.tell());
    ran.says("annotation condstore, which is gone since 2.4").says("the same rights in other letters");
    // Whether n was granted depends on a release that this record does not say.
    let words = format!("{} {} {there}", secret(&sandbox, "moving"), record.display());
    compare(&sandbox, &words).expect(2).says("--from RELEASE");
    // An ACL that was left as it was, and a right that was lost with it.
    let mut admin = server.log_in();
    admin.ask("SETACL user.bob alice lr").ok();
    let words = format!("{} --from 2.3.16 {} {there}", secret(&sandbox, "moving"), record.display());
    let ran = compare(&sandbox, &words).expect(1);
    assert!(rows(&ran).contains(&"user.bob,,ACL,alice,lrs,lr,".to_string()), "{}", ran.tell());
}

#[test]
fn records_of_another_program_are_read() {
    if !is_here() {
        return;
    }
    let sandbox = Sandbox::empty();
    for (record, mailboxes, users) in [("2.3.16/rich/imap.json.gz", 61, 10), ("2.4.22/rich.imap.json.gz", 93, 12)] {
        let record = corpus().join(record).display().to_string();
        let ran = compare(&sandbox, &format!("{record} {record}")).expect(0);
        let counts = account(&ran);
        assert_eq!((counts[0], counts[0] - counts[5], counts[1]), (mailboxes, counts[1], counts[1]), "{}", ran.tell());
        assert!(counts[1] * 10 > mailboxes * 8, "{}", ran.tell());
        ran.says(&format!("{users} users, 0 differ"));
    }
    sandbox.write("no.json", "{\"record\": \"something else\"}");
    compare(&sandbox, "no.json no.json").expect(2).says("no.json is no record");
    sandbox.write("cut.json", "{\"record\": \"mbxtools");
    compare(&sandbox, "cut.json cut.json").expect(2).says("cut.json is no record");
    compare(&sandbox, "nowhere.json cut.json").expect(2).says("nowhere.json: No such file");
}

#[test]
fn passwords_are_not_for_others_and_trouble_is_status_2() {
    if !is_here() {
        return;
    }
    let sandbox = migrated();
    let mut server = Server::start(&sandbox);
    let there = at(&mut server);
    let words = format!("{} {there} {there}", secret(&sandbox, "moving\n"));
    std::fs::set_permissions(sandbox.path().join("secret"), Permissions::from_mode(0o644)).unwrap();
    let ran = compare(&sandbox, &words).expect(2).writes(b"");
    ran.says("secret has mode 644").says("chmod 600");
    compare(&sandbox, &format!("{there} {there}")).expect(2).says("one of --password FILE");
    compare(&sandbox, &format!("--password nowhere {there} {there}")).expect(2).says("nowhere: No such file");
    // From a descriptor, and the second line is for the second server.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/migrate/compare");
    let script =
        format!("printf 'moving\\nwrong\\n' | {PYTHON} {} --password-fd 0 \"{there}\" \"{there}\"", here.display());
    sandbox.sh(&script).expect(2).says("does not let o'brien in: NO ");
    sandbox.sh(&script.replace("wrong", "moving")).expect(0);
    let password = secret(&sandbox, "wrong\n");
    compare(&sandbox, &format!("{password} {there} {there}")).expect(2).says("does not let o'brien in: NO ");
    let password = secret(&sandbox, "\n");
    compare(&sandbox, &format!("{password} {there} {there}")).expect(2).says("no password in secret");
    // A user who is no administrator may not log in as others.
    cyrus::give_password(&sandbox, "alice");
    cyrus::hand_over(sandbox.path());
    let password = secret(&sandbox, "moving");
    let alice = there.replace(ADMIN, "alice");
    compare(&sandbox, &format!("{password} --record r.json {alice}")).expect(2).says("refuses every login as alice");
    assert!(!sandbox.path().join("r.json").exists());
    // No server is there.
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    compare(&sandbox, &format!("{password} {closed} {there}")).expect(2).says("cannot be reached: ");
    compare(&sandbox, &format!("{password} no.such.host.invalid {there}")).expect(2).says("cannot be reached: ");
    // In clear only if that is said, or to this host.
    compare(&sandbox, &format!("{password} --tls starttls {there} {there}")).expect(2).says("offers no STARTTLS");
    compare(&sandbox, &format!("{password} --tls none {there} {there}")).expect(0);
}

#[test]
fn certificates_are_verified() {
    if !is_here() || !cyrus::is_here(&["/usr/bin/openssl"]) {
        return;
    }
    let sandbox = migrated();
    sandbox
        .sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost")
        .expect(0);
    let conf = String::from_utf8(sandbox.read("new.conf")).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|file| sandbox.file(file));
    // No password before TLS, as many servers have it.
    let tls = format!("tls_server_cert: {cert}\ntls_server_key: {key}\nallowplaintext: no\n");
    sandbox.write("new.conf", conf.replace("allowplaintext: yes\n", "") + &tls);
    cyrus::hand_over(sandbox.path());
    let mut server = Server::start(&sandbox);
    server.greeting();
    let there = format!("{ADMIN}@localhost:{}", server.port());
    let password = secret(&sandbox, "moving");
    compare(&sandbox, &format!("{password} {there} {there}"))
        .expect(2)
        .says("its certificate is not trusted")
        .says("--ca FILE");
    compare(&sandbox, &format!("{password} --ca cert.pem {there} {there}")).expect(0);
    compare(&sandbox, &format!("{password} --insecure {there} {there}"))
        .expect(0)
        .says("warning: certificates are not verified");
    let by_number = there.replace("localhost", "127.0.0.1");
    compare(&sandbox, &format!("{password} --ca cert.pem {by_number} {there}")).expect(2).says("is not trusted");
    compare(&sandbox, &format!("{password} --tls none {there} {there}"))
        .expect(2)
        .says("takes no password on this connection");
}

/// A name that no server of today accepts from CREATE.
const ODD: &[u8] = b"a\"b\\c\xe9";

/// As much of a server of 2.3 as it takes: no LITERAL+, ANNOTATEMORE, 8-bit names in literals. It keeps what was asked.
fn old_server(asked: Arc<Mutex<Vec<Vec<u8>>>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let asked = asked.clone();
            std::thread::spawn(move || old_session(stream.unwrap(), &asked));
        }
    });
    port
}

fn old_session(stream: TcpStream, asked: &Mutex<Vec<Vec<u8>>>) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    to.write_all(b"* OK old Cyrus IMAP4 v2.3.16 server ready\r\n").unwrap();
    let mut inbox: &[u8] = b"user.bob";
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") || line.ends_with(b"}\r\n") {
            if line.ends_with(b"}\r\n") {
                let open = line.iter().rposition(|b| *b == b'{').unwrap();
                let size: usize = std::str::from_utf8(&line[open + 1..line.len() - 3]).unwrap().parse().unwrap();
                line.truncate(open);
                to.write_all(b"+ go ahead\r\n").unwrap();
                let mut literal = vec![0; size];
                from.read_exact(&mut literal).unwrap();
                line.extend(literal);
            }
            if from.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        line.truncate(line.len() - 2);
        let blank = line.iter().position(|b| *b == b' ').unwrap();
        let (tag, command) = (line[..blank].to_vec(), line[blank + 1..].to_vec());
        let odd = [inbox, b".", ODD].concat();
        let literal = [format!("{{{}}}\r\n", odd.len()).as_bytes(), &odd].concat();
        let is_odd = command.windows(ODD.len()).any(|part| part == ODD);
        let name = if is_odd { literal.clone() } else { inbox.to_vec() };
        let word = command.split(|b| *b == b' ').next().unwrap();
        let lines: Vec<Vec<u8>> = match word {
            b"CAPABILITY" => vec![b"CAPABILITY IMAP4 IMAP4rev1 ACL QUOTA NAMESPACE ANNOTATEMORE AUTH=PLAIN".to_vec()],
            b"AUTHENTICATE" => {
                to.write_all(b"+ \r\n").unwrap();
                let mut answer = String::new();
                from.read_line(&mut answer).unwrap();
                // bob\0cyrus\0moving
                if answer.trim_end() == "Ym9iAGN5cnVzAG1vdmluZw==" {
                    inbox = b"INBOX";
                }
                vec![]
            }
            b"NAMESPACE" if inbox == b"INBOX" => {
                vec![br#"NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))"#.to_vec()]
            }
            b"NAMESPACE" => vec![br#"NAMESPACE NIL (("user." ".")) (("" "."))"#.to_vec()],
            b"LIST" => [inbox, &literal].map(|name| [br#"LIST () "." "#, name].concat()).to_vec(),
            b"LSUB" => vec![[b"LSUB () \".\" ", &literal[..]].concat()],
            b"GETACL" => vec![[b"ACL ", &name[..], br#" bob lrswipcda "x \"y\"" {3}"#, b"\r\nlrs"].concat()],
            b"GETQUOTAROOT" => vec![[b"QUOTAROOT ", &name[..], b" user.bob"].concat(), b"QUOTA user.bob ()".to_vec()],
            b"GETANNOTATION" => {
                let value = br#" "/comment" ("value.shared" {7}"#;
                vec![[b"ANNOTATION ", &name[..], value, b"\r\na\"b\r\n\xe9) \"value.priv\" NIL)"].concat()]
            }
            b"MYRIGHTS" => vec![[b"MYRIGHTS ", &name[..], b" lrswipcda"].concat()],
            b"STATUS" => vec![[b"STATUS ", &name[..], b" (UIDNEXT 9 UIDVALIDITY 1165000000 UNSEEN 1)"].concat()],
            b"EXAMINE" => {
                vec![b"FLAGS (\\Seen)".to_vec(), b"2 EXISTS".to_vec(), b"OK [UIDVALIDITY 1165000000]".to_vec()]
            }
            b"UID" => [(1, 7, "\\Seen \\Recent"), (2, 8, "")]
                .map(|(at, uid, flags)| {
                    let date = "INTERNALDATE \" 4-Jun-2006 13:20:48 +0200\"";
                    format!("{at} FETCH (UID {uid} {date} RFC822.SIZE 202 FLAGS ({flags}))").into_bytes()
                })
                .to_vec(),
            _ => vec![],
        };
        asked.lock().unwrap().push(command);
        let mut answer = Vec::new();
        for line in lines {
            answer.extend([b"* ", &line[..], b"\r\n"].concat());
        }
        answer.extend([&tag[..], b" OK Completed\r\n"].concat());
        if to.write_all(&answer).is_err() {
            return;
        }
    }
}

#[test]
fn names_are_bytes_and_an_old_server_is_only_read() {
    if !is_here() {
        return;
    }
    let asked = Arc::new(Mutex::new(Vec::new()));
    let port = old_server(asked.clone());
    let sandbox = Sandbox::empty();
    let password = secret(&sandbox, "moving");
    compare(&sandbox, &format!("{password} --record r.json 127.0.0.1:{port}")).expect(0);
    let record: serde_json::Value = serde_json::from_slice(&sandbox.read("r.json")).unwrap();
    // A byte is a character.
    let odd = "user.bob.a\"b\\c\u{e9}";
    assert_eq!(record["server"]["release"], "2.3.16");
    let about = &record["mailboxes"][odd];
    assert_eq!(about["acl"]["x \"y\""], "lrs", "{record:#}");
    assert_eq!(about["annotations"]["/shared/comment"], "a\"b\r\n\u{e9})");
    assert_eq!(about["quotaroot"][0], "user.bob");
    let view = &record["users"]["bob"]["mailboxes"][odd];
    assert_eq!((&view["exists"], &view["flags"]["\\Seen"]), (&2.into(), &1.into()), "{record:#}");
    assert_eq!(record["users"]["bob"]["subscriptions"][0], odd);
    assert!(record["users"]["bob"]["specialuse"].is_null(), "{record:#}");
    // The bytes came as they are, and nothing was asked that changes anything.
    let asked = asked.lock().unwrap();
    let has = |command: &[u8]| asked.iter().any(|one| one.as_slice() == command);
    assert!(has(&[b"EXAMINE INBOX.", ODD].concat()) && has(&[b"GETACL user.bob.", ODD].concat()));
    let reads = [
        "CAPABILITY",
        "AUTHENTICATE",
        "NAMESPACE",
        "LIST",
        "LSUB",
        "GETACL",
        "GETQUOTAROOT",
        "GETANNOTATION",
        "MYRIGHTS",
        "STATUS",
        "EXAMINE",
        "UID",
        "LOGOUT",
    ];
    for command in asked.iter() {
        let text = String::from_utf8_lossy(command);
        let word = text.split(' ').next().unwrap();
        assert!(reads.contains(&word) && (word != "UID" || text.starts_with("UID FETCH 1:* (UID FLAGS ")), "{text}");
        assert!(!text.contains("BODY") && !text.contains("RFC822 "), "{text}");
    }
    drop(asked);
    // The record against the server that it is of.
    let ran = compare(&sandbox, &format!("{password} r.json 127.0.0.1:{port}")).expect(0);
    assert_eq!(account(&ran), [2, 2, 0, 0, 0, 0], "{}", ran.tell());
    // And the bytes of the name are those of the table.
    let mut gone = record.clone();
    gone["mailboxes"].as_object_mut().unwrap().remove(odd);
    sandbox.write("gone.json", serde_json::to_vec(&gone).unwrap());
    let ran = compare(&sandbox, "r.json gone.json").expect(1);
    let row = [b"\"user.bob.a\"\"b\\c\xe9\",,mailbox,,present,absent,\n"];
    assert!(ran.out.ends_with(row[0]), "{}", ran.tell());
}
