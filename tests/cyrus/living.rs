//! Every list of the corpora on every living Cyrus: by the six filters, loaded, started, and looked at over IMAP. Each
//! mailbox is as it was on the old server, and what its users do in the weeks after works.
//!
//! The law, both ways: what the filters let through lives there; what they refuse could not. The exceptions are counted
//! by reason, and each must be one: a mailbox that lives all the same is a failure.
//!
//! `make check` tries a draw of the pairs (MBX_SEED draws others, MBX_PAIR='2.3.7 flat -> 3.10' chooses), `make living`
//! all. Servers that are not there are skipped, loudly; `make servers` makes them.

use crate::harness::cyrus::{self, ADMIN, Content, HUNG_UP, Reply, Server, Session, Value, open, quote};
use crate::harness::old::{self, Held, INTERMEDIATE, Mailbox, REMOTE, TOMBSTONE};
use crate::harness::servers::Cyrus;
use crate::harness::{Sandbox, Walk, corpus, lines, told_to_move};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A list with its spool: release and variant.
type Source = (String, String);

/// The sources with a spool. Those of `inject` are odd on purpose, and loaded by hand.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for release in std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(variants) = std::fs::read_dir(&release) else { continue };
        for variant in variants.map(|entry| entry.unwrap().path()).filter(|path| path.join("spool.tar.gz").exists()) {
            let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_string();
            if name(&variant) != "inject" {
                sources.push((name(&release), name(&variant)));
            }
        }
    }
    sources.sort();
    sources
}

/// What became of the mailboxes of one list on one server.
#[derive(Default)]
struct Outcome {
    tried: usize,
    opened: usize,
    refused: usize,
    /// On other servers, deleted, or without a directory.
    left: usize,
    /// Let through by the filters, though the server cannot serve them, by reason.
    unserved: BTreeMap<&'static str, usize>,
    messages: usize,
    different: Vec<String>,
}

impl Outcome {
    fn add(&mut self, other: &Outcome) {
        self.tried += other.tried;
        self.opened += other.opened;
        self.refused += other.refused;
        self.left += other.left;
        for (reason, count) in &other.unserved {
            *self.unserved.entry(reason).or_default() += count;
        }
        self.messages += other.messages;
        self.different.extend(other.different.iter().cloned());
    }

    fn numbers(&self) -> String {
        let unserved: String =
            self.unserved.iter().map(|(reason, n)| format!("{n} let through ({reason}), ")).collect();
        format!(
            "{} tried, {} opened with {} messages, {} refused, {} without a directory, {unserved}{} different",
            self.tried,
            self.opened,
            self.messages,
            self.refused,
            self.left,
            self.different.len()
        )
    }
}

/// How many pairs `make check` draws for each server.
const DRAWN: usize = 4;

/// How many mailboxes open at least on each server, of all lists, by the beginning of its release.
const OPENED: [(&str, usize); 4] = [("3.2.", 3231), ("3.6.", 5300), ("3.10.", 5339), ("3.", 5339)];

#[test]
fn every_list_lives_on_every_server() {
    let servers = Cyrus::all();
    if servers.is_empty() || !cyrus::is_here(&["/usr/bin/unshare", "/usr/sbin/chroot"]) {
        return;
    }
    let sources = sources();
    assert!(sources.len() >= 50, "{}", sources.len());
    let all = std::env::var_os("MBX_LIVING").is_some_and(|value| value == "all");
    let only = std::env::var("MBX_PAIR").unwrap_or_default();
    let mut walk = Walk(std::env::var("MBX_SEED").map_or(7, |seed| seed.parse().unwrap()) ^ 0x9e37_79b9_7f4a_7c15);
    let mut pairs: Vec<(&Source, &Cyrus)> = Vec::new();
    for cyrus in &servers {
        let mut left: Vec<_> = sources.iter().collect();
        while !left.is_empty() && (all || left.len() > sources.len() - DRAWN) {
            pairs.push((left.swap_remove(walk.below(left.len() as u64) as usize), cyrus));
        }
    }
    if !only.is_empty() {
        pairs = servers.iter().flat_map(|cyrus| sources.iter().map(move |source| (source, cyrus))).collect();
        pairs.retain(|((release, variant), cyrus)| format!("{release} {variant} {}", cyrus.release).contains(&only));
    }
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                while let Some((source, cyrus)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = std::time::Instant::now();
                    let outcome = carry(source, cyrus);
                    let pair = format!("{} {} -> {}", source.0, source.1, cyrus.release);
                    println!("{pair}: {} ({:.1} s)", outcome.numbers(), begun.elapsed().as_secs_f32());
                    for what in &outcome.different {
                        println!("  {what}");
                    }
                    outcomes.lock().unwrap().push((pair, cyrus.release.clone(), outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let mut wrong = Vec::new();
    for cyrus in &servers {
        let mut sum = Outcome::default();
        let here = outcomes.iter().filter(|(_, release, _)| *release == cyrus.release);
        let mut tried = 0;
        for (pair, _, outcome) in here {
            wrong.extend(outcome.different.iter().map(|what| format!("{pair}: {what}")));
            sum.add(outcome);
            tried += 1;
        }
        println!("on {}: {tried} of {} lists: {}", cyrus.release, sources.len(), sum.numbers());
        let least = OPENED.iter().find(|(release, _)| cyrus.release.starts_with(release));
        let least = if tried == sources.len() { least.map_or(0, |(_, least)| *least) } else { 0 };
        assert!(tried == 0 || sum.opened >= least.max(1), "on {}: at least {least} opened before", cyrus.release);
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// One list on one server.
fn carry(source: &Source, cyrus: &Cyrus) -> Outcome {
    let (release, variant) = source;
    let sandbox = Sandbox::in_memory().with(release, variant);
    let slashes = sandbox.read("old.conf").windows(21).any(|option| option == b"unixhierarchysep: yes");
    let alternative = sandbox.read("old.conf").windows(17).any(|option| option == b"altnamespace: yes");
    let list = old::old_list(&sandbox.read("old.dump"), release);
    let held = old::old_contents(&sandbox, release, variant);
    cyrus::move_in_of(cyrus, &sandbox);
    let mut outcome = Outcome { tried: list.len(), ..Outcome::default() };
    let refused = match night(&sandbox, release, cyrus) {
        Ok(refused) => refused,
        // No mailbox of a partition, or few, can be opened: the list is aborted, and that must be so for each.
        Err(why) if why.contains(&format!("of a partition cannot be opened by {}", cyrus.release)) => {
            for (name, mailbox) in &list {
                match held.get(name) {
                    Some(held) if cannot_serve(cyrus, name, mailbox, held).is_some() => outcome.refused += 1,
                    Some(_) => outcome.different.push(format!("{name}: aborted, though it can be opened")),
                    None => outcome.left += 1,
                }
            }
            return outcome;
        }
        Err(why) => {
            outcome.different.push(why);
            return outcome;
        }
    };
    let different = &mut outcome.different;
    let mut arrived = BTreeMap::new();
    for (name, mailbox) in &list {
        if mailbox.mbtype & (TOMBSTONE | REMOTE | INTERMEDIATE) != 0 || !held.contains_key(name) {
            outcome.left += 1;
        } else if refused.contains(name) {
            outcome.refused += 1;
            if cannot_serve(cyrus, name, mailbox, &held[name]).is_none() && !is_refused_all_the_same(cyrus, mailbox) {
                different.push(format!("{name}: refused, though {} can serve it", cyrus.release));
            }
        } else {
            arrived.insert(name, mailbox);
        }
    }
    let subscribed = subscribe(&sandbox, release, variant, &arrived);
    cyrus.hand_over(sandbox.path());

    let mut server = Server::start(&sandbox);
    let mut session = server.log_in();
    let listed = session.ask("LIST \"\" \"*\"").ok();
    let exists = |of: &&[Value]| !of[0].list().iter().any(|is| is.is("\\NonExistent") || is.is("\\Noselect"));
    let listed: BTreeSet<_> = listed.after("LIST").filter(exists).map(|of| of[2].text().to_string()).collect();
    let shown = |name: &str| old::external(name, slashes);
    let expected: BTreeSet<_> = arrived.keys().map(|name| shown(name)).collect();
    different.extend(listed.difference(&expected).map(|name| format!("{name}: listed, from nowhere")));
    different.extend(expected.difference(&listed).map(|name| format!("{name}: not listed")));
    let mut opened = Vec::new();
    let mut unserved = Vec::new();
    for (&name, mailbox) in &arrived {
        let held = &held[name];
        let mut found = look(&mut session, &quote(&shown(name)), mailbox, held);
        // Calendars and such take no mail.
        if found.is_empty() && mailbox.mbtype == 0 && !name.contains(".#") {
            let lived = live(&mut session, cyrus, name, &|name| quote(&shown(name)), held);
            found.extend(lived.err());
        }
        if found.iter().any(|what| what.ends_with(HUNG_UP)) {
            session = server.log_in();
        }
        match cannot_serve(cyrus, name, mailbox, held) {
            Some(reason) if found.is_empty() => different.push(format!("{name}: it lives, though {reason}")),
            Some(reason) => {
                *outcome.unserved.entry(reason).or_default() += 1;
                unserved.push(name);
            }
            None if found.is_empty() => {
                opened.push(name);
                outcome.messages += held.messages.len();
            }
            None => different.extend(found.iter().map(|what| format!("{name}: {what}"))),
        }
    }
    outcome.opened = opened.len();
    if let Some((user, subscribed)) = subscribed {
        let listed = server.log_in_as(&user).ask("LSUB \"\" \"*\"").ok();
        let listed: BTreeSet<_> = listed.after("LSUB").map(|of| of[2].text().to_string()).collect();
        let prefix = shown(&format!("user.{user}"));
        let expected = subscribed.iter().map(|name| match shown(name).strip_prefix(&prefix) {
            Some("") => "INBOX".to_string(),
            // Folders are beside the INBOX.
            Some(below) if alternative => below[1..].to_string(),
            below => format!("INBOX{}", below.unwrap()),
        });
        if listed != expected.collect() {
            different.push(format!("LSUB of {user}: {listed:?}, was {subscribed:?}"));
        }
    }
    drop(session);
    let mut log = server.stop();

    // It starts again, and everything is as it was left.
    let mut server = Server::start(&sandbox);
    let mut session = server.log_in();
    for name in opened {
        match open(&mut session, &quote(&shown(name))) {
            Ok(content) if content == held[name].content => {}
            other => different.push(format!("{name}: after the restart {other:?}")),
        }
    }
    drop(session);
    log.extend(server.stop());
    let failed = |line: &&String| line.contains("IOERROR") && !unserved.iter().any(|name| line.contains(name.as_str()));
    different.extend(log.iter().filter(failed).map(|line| format!("syslog: {line}")));
    different.extend(again(&sandbox, cyrus));
    outcome
}

/// The reason why a server cannot open a mailbox of old, or cannot serve it for long.
fn cannot_serve(cyrus: &Cyrus, name: &str, mailbox: &Mailbox, held: &Held) -> Option<&'static str> {
    let (newest, limit) = match cyrus.release.as_str() {
        release if release.starts_with("3.2.") => (16, 491),
        release if release.starts_with("3.6.") => (17, 490),
        _ => (19, 510),
    };
    let reads_dlists = newest > 16;
    let breaks = |id: &String| id.bytes().any(|byte| b"\"\\%".contains(&byte) || !byte.is_ascii());
    if held.minor > newest {
        Some("its cyrus.index is too new")
    } else if held.is_dlist && !reads_dlists {
        Some("its cyrus.header is too new")
    } else if !old::is_held(name, limit, mailbox.by_name) {
        Some("its name is none there")
    } else if reads_dlists && mailbox.acl.keys().any(breaks) {
        Some("an identifier in its ACL closes it")
    } else {
        None
    }
}

/// mbx-parse refuses identifiers of 8 bits and such for releases of before 3.4 (2.5 and 3.0 cannot read their list
/// back), though 3.2.6 serves them.
fn is_refused_all_the_same(cyrus: &Cyrus, mailbox: &Mailbox) -> bool {
    let breaks = |id: &String| id.bytes().any(|byte| b"\"\\%".contains(&byte) || !byte.is_ascii());
    cyrus.release.starts_with("3.2.") && mailbox.acl.keys().any(breaks)
}

/// Subscribes a user to all his mailboxes in the file of the old server. None where the servers of old had another file,
/// or the directories of users another name.
fn subscribe(
    sandbox: &Sandbox,
    release: &str,
    variant: &str,
    arrived: &BTreeMap<&String, &Mailbox>,
) -> Option<(String, Vec<String>)> {
    if release.starts_with("3.6") || release.starts_with("3.13") || ["virt", "fullhash"].contains(&variant) {
        return None;
    }
    let user = "bob";
    let own = arrived.keys().filter(|name| name.starts_with(&format!("user.{user}")));
    let own: Vec<_> = own.map(|name| name.to_string()).collect();
    let dir = sandbox.path().join("conf/user/b");
    std::fs::create_dir_all(&dir).unwrap();
    let lines: String = own.iter().map(|name| format!("{name}\t\n")).collect();
    std::fs::write(dir.join(format!("{user}.sub")), lines).unwrap();
    cyrus::give_password(sandbox, user);
    Some((user.to_string(), own))
}

/// By the six, loaded into a database of its own, and switched to. Returns the names that were refused.
fn night(sandbox: &Sandbox, from: &str, cyrus: &Cyrus) -> Result<BTreeSet<String>, String> {
    let (to, owner) = (&cyrus.release, &cyrus.owner);
    let fill = if to.starts_with("3.2.") { "" } else { "--fill" };
    let make = format!(
        "export CYRUS_USER=root\n\
         mbx-parse --from {from} --to {to} --drop remote --seal --reject rejects old.dump \
         | mbx-acl-rewrite | mbx-check-paths -C new.conf {fill} --missing missing.dump --reject unreadable \
         | mbx-mkmeta -C new.conf --owner {owner} | mbx-count-guard --sealed >new.list"
    );
    let ran = sandbox.sh(&make);
    if ran.status != 0 {
        return Err(format!("the six: {}", ran.tell()));
    }
    let conf = String::from_utf8(sandbox.read("new.conf")).unwrap();
    for [mailbox, partition, here, there] in told_to_move(&ran.err, to) {
        let root = conf.lines().find_map(|line| line.strip_prefix(&format!("partition-{partition}: "))).unwrap();
        let (here, there) = (Path::new(root).join(here), Path::new(root).join(there));
        // Those below another that was told have gone with it.
        if here.exists() {
            std::fs::create_dir_all(there.parent().unwrap()).unwrap();
            std::fs::rename(&here, &there).unwrap();
        }
        assert!(there.exists(), "{mailbox}");
    }
    let ctl_mboxlist = format!("{} {} -C {}", sandbox.file("inside"), cyrus::CTL_MBOXLIST, sandbox.file("new.conf"));
    let db = sandbox.file("conf/new.db");
    cyrus.hand_over(sandbox.path());
    let load = format!(
        "mbx-count-guard --to {to} --verify '{ctl_mboxlist} -d -f {db}' <new.list -- {ctl_mboxlist} -u -f {db} \
         && mv {db} conf/mailboxes.db"
    );
    let ran = sandbox.sh(&load);
    if ran.status != 0 {
        return Err(format!("the loader: {}", ran.tell()));
    }
    let mut refused = BTreeSet::new();
    for file in ["rejects", "unreadable", "missing.dump"] {
        refused.extend(names(&sandbox.read(file)));
    }
    Ok(refused)
}

/// The mailboxes of a list, or of entries of one, as the filters write them for refused ones.
fn names(list: &[u8]) -> Vec<String> {
    let first = list.iter().position(|byte| !b" \n{,".contains(byte));
    if list.is_empty() || first.is_none() {
        return Vec::new();
    }
    if list.starts_with(b"{") || list.starts_with(b"\"") {
        let text = std::str::from_utf8(list).unwrap();
        let whole = if text.starts_with('{') { text.to_string() } else { format!("{{{text}}}") };
        let list: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&whole).unwrap_or_else(|e| panic!("{e}: {text}"));
        return list.keys().cloned().collect();
    }
    let name = |line: &Vec<u8>| String::from_utf8(line.split(|b| *b == b'\t').next().unwrap().to_vec()).unwrap();
    lines(list).iter().filter(|line| line.contains(&b'\t')).map(name).collect()
}

/// Holds a mailbox against what the old server had, and returns the differences.
fn look(session: &mut Session, shown: &str, mailbox: &Mailbox, held: &Held) -> Vec<String> {
    let mut found = Vec::new();
    let mut different = |what: String| found.push(what);
    match old::rights(session, shown) {
        Ok(acl) if acl == mailbox.acl => {}
        Ok(acl) => different(format!("rights\n  were {:?}\n  are  {acl:?}", mailbox.acl)),
        Err(answer) => different(format!("GETACL: {answer:?}")),
    }
    match status(session, shown) {
        Ok(status) => {
            let count = held.messages.len() as u64;
            let expected = [
                ("MESSAGES", count),
                ("UIDNEXT", u64::from(held.last_uid) + 1),
                ("UIDVALIDITY", u64::from(held.content.uidvalidity)),
                // The administrator has seen none.
                ("UNSEEN", count),
                // The formats without any begin with 1.
                ("HIGHESTMODSEQ", held.highestmodseq.unwrap_or(0).max(1)),
            ];
            for (item, value) in expected {
                if status.get(item) != Some(&value) {
                    different(format!("STATUS {item}: {:?}, was {value} (index {})", status.get(item), held.minor));
                }
            }
        }
        // The administrator may not read it, yet.
        Err(answer) if answer.status == "NO Permission denied" => {}
        Err(answer) => different(format!("STATUS: {}", answer.status)),
    }
    match open(session, shown) {
        Ok(content) if content == held.content => {}
        Ok(content) => different(format!("it\n  held  {:?}\n  holds {content:?}", held.content)),
        Err(answer) => {
            different(format!("EXAMINE (index {}): {}", held.minor, answer.status));
            return found;
        }
    }
    for (uid, message) in &held.messages {
        let fetched = session.ask(&format!("UID FETCH {uid} (BODY.PEEK[])"));
        let body = fetched.numbered("FETCH").next().map(|(_, of)| of[0].list().to_vec());
        let body = body.and_then(|items| items.iter().skip_while(|item| !item.is("BODY[]")).nth(1).cloned());
        if body.as_ref().map(|body| body.text().as_bytes()) != Some(message.as_slice()) {
            different(format!("message {uid} is another: {body:?}"));
        }
    }
    found
}

fn status(session: &mut Session, shown: &str) -> Result<BTreeMap<String, u64>, Reply> {
    let reply = session.ask(&format!("STATUS {shown} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"));
    if !reply.is_ok() {
        return Err(reply);
    }
    let items = reply.after("STATUS").next().unwrap()[1].list().chunks(2);
    Ok(items.map(|item| (item[0].text().to_string(), item[1].text().parse().unwrap())).collect())
}

/// What users do with a mailbox in the weeks after; it ends as it began, but for a right and a keyword. The first
/// command that fails is the error.
fn live(
    session: &mut Session,
    cyrus: &Cyrus,
    name: &str,
    shown: &dyn Fn(&str) -> String,
    held: &Held,
) -> Result<(), String> {
    let (below, moved) = (shown(&format!("{name}.weeks")), shown(&format!("{name}.Weeks after")));
    let (is_users, shown) = (name.contains("user."), shown(name));
    let mut ask = |command: String| {
        let reply = session.ask(&command);
        match reply.is_ok() {
            true => Ok(reply),
            false => Err(format!("{}: {}", command.split("\r\n").next().unwrap(), reply.status)),
        }
    };
    let mut expected = identifiers(&ask(format!("GETACL {shown}"))?);
    ask(format!("SETACL {shown} {ADMIN} lrswipkxteacd"))?;
    expected.insert(ADMIN.to_string());
    let granted = identifiers(&ask(format!("GETACL {shown}"))?);
    if granted != expected {
        return Err(format!("after SETACL the identifiers are {granted:?}, not {expected:?}"));
    }
    let message = "From: weeks@example.com\r\nSubject: after\r\n\r\nlater\r\n";
    ask(format!("APPEND {shown} (\\Flagged) {{{}+}}\r\n{message}", message.len()))?;
    ask(format!("SELECT {shown}"))?;
    let uid = held.last_uid + 1;
    let stored = ask(format!("UID STORE {uid} +FLAGS (Weeks$After)"))?;
    if !format!("{stored:?}").contains("Weeks$After") {
        return Err(format!("STORE of a new keyword: {stored:?}"));
    }
    // Nothing fits below the longest names; the least limit is 489 bytes, for what is deleted, too.
    if name.len() + "DELETED..Weeks after.12345678".len() < 489 && !name.contains("DELETED.") {
        ask(format!("CREATE {below}"))?;
        ask(format!("SETACL {below} {ADMIN} lrswipkxteacd"))?;
        ask(format!("UID COPY {uid} {below}"))?;
        ask(format!("UID MOVE {uid} {below}"))?;
        ask(format!("SELECT {below}"))?;
        ask("STORE 1 +FLAGS (\\Deleted)".to_string())?;
        ask("EXPUNGE".to_string())?;
        ask("UNSELECT".to_string())?;
        ask(format!("RENAME {below} {moved}"))?;
        // 3.6.1 ends the session at it, if the mailbox is nobody's.
        if cyrus.release != "3.6.1" || is_users {
            ask(format!("SETMETADATA {moved} (/shared/comment \"weeks\")"))?;
            let comment = ask(format!("GETMETADATA {moved} /shared/comment"))?;
            if !format!("{comment:?}").contains("weeks") {
                return Err(format!("GETMETADATA: {comment:?}"));
            }
        }
        ask(format!("DELETE {moved}"))?;
    } else {
        ask(format!("UID STORE {uid} +FLAGS (\\Deleted)"))?;
        ask("EXPUNGE".to_string())?;
    }
    let Content { uidvalidity, flags } =
        open(session, &shown).map_err(|answer| format!("then EXAMINE: {}", answer.status))?;
    match uidvalidity == held.content.uidvalidity && flags == held.content.flags {
        true => Ok(()),
        false => Err(format!("then it held {:?}, holds {flags:?}", held.content.flags)),
    }
}

fn identifiers(acl: &Reply) -> BTreeSet<String> {
    acl.after("ACL").next().unwrap()[1..].chunks(2).map(|pair| pair[0].text().to_string()).collect()
}

/// What is wrong with the list of after the weeks: the six take it as it is.
fn again(sandbox: &Sandbox, cyrus: &Cyrus) -> Option<String> {
    let release = &cyrus.release;
    let script = format!(
        "export CYRUS_USER=root\n\
         ./inside {} -C {} -d >after.dump || exit\n\
         mbx-parse --from {release} --to {release} --seal after.dump | mbx-acl-rewrite | mbx-check-paths -C new.conf \
         | mbx-mkmeta -C new.conf --owner {} | mbx-count-guard --sealed >after.list",
        cyrus::CTL_MBOXLIST,
        sandbox.file("new.conf"),
        cyrus.owner
    );
    let ran = sandbox.sh(&script);
    let missing = ran.err.lines().any(|line| line.starts_with("mbx-check-paths: ") && line.contains(" missing"));
    (ran.status != 0 || missing).then(|| format!("the six again: {}", ran.tell()))
}
