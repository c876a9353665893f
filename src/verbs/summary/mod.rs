//! What a list holds, for people to read at a glance.

mod people;
mod tree;

use people::{IN_ACL, INBOX, People, is_everybody};
use tree::Tree;

use crate::list::counter::{Tally, Top};
use crate::list::error::Stop;
use crate::list::stream::cannot_write;
use crate::mailbox::acl;
use crate::mailbox::entry::is_by_name;
use crate::mailbox::entry::{Entry, Kind, Member};
use crate::mailbox::mbtype::Mbtype;
use crate::mailbox::name::Namespaces;
use crate::mailbox::text::{Brief, Count, Groups, Name};
use crate::release::{Dialect, Release};
use crate::run::totals::Account;
use std::io::{self, Write};

/// The most that are shown of a kind from which maps are made.
const MANY: usize = 25;

/// The most that are shown of any other.
const FEW: usize = 10;

/// A partition with fewer than one in so many mailboxes stands out.
const SMALL: u64 = 1000;

/// What is counted, each under a first byte of its own, in the order in which it is shown; and whether its values are
/// words of ours.
const COUNTED: [(u8, &str, usize, bool); 9] = [
    (b'a', "Partitions", MANY, false),
    (b'b', "Types", MANY, true),
    (b'c', "Directories", MANY, true),
    (b'd', "Other servers", MANY, false),
    (b'e', "Domains", FEW, false),
    (b'f', "Hierarchies", FEW, false),
    (b'g', "Users with the most mailboxes", FEW, false),
    (b'h', "Rights", MANY, false),
    (b'i', "Identifiers in the most ACLs", FEW, false),
];
const PARTITION: u8 = b'a';
const TYPE: u8 = b'b';
const DIRECTORY: u8 = b'c';
const SERVER: u8 = b'd';
const DOMAIN: u8 = b'e';
const HIERARCHY: u8 = b'f';
const USER: u8 = b'g';
const RIGHTS: u8 = b'h';
const IDENTIFIER: u8 = b'i';

/// Every name, with NUL for each dot, so that a mailbox is followed by what lies below it.
const NAME: u8 = b'n';

/// Every userid as `local NUL domain NUL` and where it was met.
const USERID: u8 = b'u';

/// What one needs to choose maps and thresholds, and to see what would go wrong.
#[derive(Default)]
pub struct Summary {
    /// The release that the list is for, if that was told.
    pub to: Option<Release>,
    /// What that release cannot read of the spool, as far as the releases tell it.
    pub of_the_spool: Vec<String>,
    /// What the two servers read in names.
    pub names: Namespaces,
    /// How many mailboxes have the uniqueid of another.
    pub shared: u64,
    /// What imapd.conf decides about names of the list, and was not given.
    pub remarks: Vec<String>,
    entries: u64,
    dialect: Option<Dialect>,
    bytes: u64,
    users: u64,
    deleted: u64,
    pairs: u64,
    negative: u64,
    /// Mailboxes whose uniqueid the target wants and the list does not hold.
    unfilled: u64,
    longest_name: (usize, Vec<u8>),
    longest_line: (usize, Vec<u8>),
    last_type: (Mbtype, String),
    counts: Tally,
    key: Vec<u8>,
    oddities: Groups,
}

impl Summary {
    /// Counts one entry; `goes` tells whether the target would take it.
    pub fn add(&mut self, entry: &Entry<'_>, goes: bool) -> Result<(), Stop> {
        self.dialect = Some(entry.dialect);
        self.entries += 1;
        self.bytes += entry.bytes.len() as u64 + 1;
        self.deleted += u64::from(self.names.source.is_deleted(entry.name()));
        let mailbox = entry.mailbox();
        for (len, longest) in [(mailbox.len(), &mut self.longest_name), (entry.bytes.len() + 1, &mut self.longest_line)]
        {
            if len > longest.0 {
                *longest = (len, mailbox.to_vec());
            }
        }
        self.add_name(entry)?;
        self.add_type(entry)?;
        match (entry.kind(), entry.server()) {
            (Kind::Remote, server) => self.count(SERVER, server.unwrap_or(entry.partition()))?,
            (Kind::Mailbox, _) => self.count(PARTITION, entry.partition())?,
            _ => {}
        }
        self.add_place(entry, goes)?;
        self.add_acl(entry)
    }

    fn count(&mut self, of: u8, value: &[u8]) -> Result<(), Stop> {
        self.key.clear();
        self.key.push(of);
        self.key.extend_from_slice(value);
        self.counts.add(&self.key)
    }

    fn add_name(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        let (mailbox, name) = (entry.mailbox(), entry.name());
        self.count(HIERARCHY, name.components().next().unwrap_or_default())?;
        if let Some(domain) = name.domain() {
            self.count(DOMAIN, domain)?;
        }
        let tombstone = entry.kind() == Kind::Tombstone;
        if let (Some(owner), Some(inbox), false) = (name.owner(), name.inbox(), tombstone) {
            self.count(USER, inbox)?;
            if inbox == mailbox {
                self.users += 1;
                self.meet(owner.user, owner.domain.unwrap_or_default(), INBOX)?;
                if owner.user.iter().any(u8::is_ascii_uppercase) && !self.keeps_case() {
                    self.odd(
                        "INBOX of a userid with upper-case letters, which no login reaches under username_tolower",
                        entry,
                    );
                }
            }
        }
        if !tombstone {
            self.key.clear();
            self.key.push(NAME);
            self.key.extend(mailbox.iter().map(|b| if *b == b'.' { 0 } else { *b }));
            self.counts.add_rare(&self.key)?;
        }
        if name.has_empty_component() {
            self.odd("name with an empty component", entry);
        }
        if mailbox.iter().any(|b| !(b' '..=b'~').contains(b)) {
            self.odd("name with bytes that are not ASCII", entry);
        }
        Ok(())
    }

    /// Whether userids with upper-case letters log in where the list goes.
    fn keeps_case(&self) -> bool {
        self.names.target.as_ref().unwrap_or(&self.names.source).keeps_case()
    }

    /// A userid was met. It may have its domain behind an `@`, and `^` for each dot, as in names of mailboxes.
    fn meet(&mut self, userid: &[u8], domain: &[u8], place: u8) -> Result<(), Stop> {
        let (local, own) = match memchr::memchr(b'@', userid) {
            Some(at) if domain.is_empty() => (&userid[..at], &userid[at + 1..]),
            _ => (userid, domain),
        };
        self.key.clear();
        self.key.push(USERID);
        self.key.extend(local.iter().map(|b| if *b == b'^' { b'.' } else { *b }));
        self.key.push(0);
        self.key.extend_from_slice(own);
        self.key.extend_from_slice(&[0, place]);
        self.counts.add(&self.key)
    }

    fn add_type(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        let Some(mbtype) = entry.mbtype() else {
            return match entry.kind() {
                Kind::Remote => self.count(TYPE, b"remote or moving (the list has no types)"),
                _ => self.count(TYPE, b"not told (the list has no types)"),
            };
        };
        if self.last_type.1.is_empty() || self.last_type.0 != mbtype {
            self.last_type = (mbtype, mbtype.names());
        }
        let names = std::mem::take(&mut self.last_type.1);
        let counted = self.count(TYPE, names.as_bytes());
        self.last_type.1 = names;
        if mbtype.has(Mbtype::RESERVE) {
            self.odd("reserved mailbox: a server deletes it with its mail at its next start", entry);
        }
        if mbtype.has(Mbtype::MOVING) {
            self.odd("mailbox on its way to another server", entry);
        }
        counted
    }

    fn add_place(&mut self, entry: &Entry<'_>, goes: bool) -> Result<(), Stop> {
        let kind = entry.kind();
        if kind == Kind::Remote && entry.server().is_none() {
            self.odd("remote mailbox without server!partition", entry);
        }
        let fields = &entry.fields;
        let start = fields.server.unwrap_or(fields.partition).start();
        if entry.dialect == Dialect::Bare
            && (fields.place.start() < start || fields.partition.end() < fields.place.end())
        {
            self.odd("blanks around a partition: mbx-parse --to takes them off", entry);
        }
        let has_id = entry.member(Member::Uniqueid).is_some_and(|id| !id.is_empty());
        if goes
            && kind == Kind::Mailbox
            && is_by_name(entry)
            && !has_id
            && self.to.as_ref().is_some_and(|to| to.dialect().has_uniqueids())
        {
            self.unfilled += 1;
        }
        if entry.dialect.tells_directory() && kind == Kind::Mailbox {
            let by_name = is_by_name(entry);
            if !has_id {
                let what = match by_name {
                    true => "mailbox without a uniqueid: the loader skips it; mbx-check-paths --fill adds it",
                    false => "mailbox without a uniqueid, which alone tells its directory: the loader skips it",
                };
                self.odd(what, entry);
            }
            self.count(DIRECTORY, if by_name { b"by name (l in the mbtype)" } else { b"by uniqueid" })?;
        }
        Ok(())
    }

    fn add_acl(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        let acl = entry.acl();
        let (owner, keeps_case) = (entry.name().owner(), self.keeps_case());
        let (mut owned, mut upper, mut breaks, mut nameless) = (false, false, false, false);
        for pair in acl::pairs(acl) {
            self.pairs += 1;
            let negative = pair.identifier.first() == Some(&b'-');
            self.negative += u64::from(negative);
            let identifier = if negative { &pair.identifier[1..] } else { pair.identifier };
            owned |= !negative && !pair.rights.is_empty() && owner.is_some_and(|owner| owner.is(identifier));
            self.count(RIGHTS, pair.rights)?;
            self.count(IDENTIFIER, identifier)?;
            nameless |= identifier.is_empty();
            if !identifier.is_empty() && !is_everybody(identifier) {
                self.meet(identifier, b"", IN_ACL)?;
            }
            upper |= !keeps_case && identifier.iter().any(u8::is_ascii_uppercase) && !identifier.starts_with(b"group:");
            breaks |= identifier.iter().any(|b| matches!(b, b'"' | b'%' | b'\\' | 0x80..));
        }
        for (found, what) in [
            (nameless, "identifier without a name"),
            (upper, "identifier with upper-case letters, which matches nobody under username_tolower"),
            (breaks, "identifier that makes a list of 2.5 to 3.3 unreadable"),
            (acl::twice(acl).is_some(), "identifier twice in one ACL"),
        ] {
            if found {
                self.odd(what, entry);
            }
        }
        if entry.kind() != Kind::Mailbox {
            return Ok(());
        }
        if !acl::is_closed(acl) {
            self.odd("ACL not closed by a TAB", entry);
        } else if acl.is_empty() {
            self.odd("empty ACL", entry);
        } else if owner.is_some() && !owned {
            self.odd("mailbox of a user whose ACL gives that user no right", entry);
        }
        Ok(())
    }

    fn odd(&mut self, what: &'static str, entry: &Entry<'_>) {
        self.oddities.add(what, |_| Brief(entry.mailbox()).to_string());
    }

    /// Writes it for a person to read at a glance, with what was `refused` and `noticed` by kinds, and what the
    /// `account` says was dropped.
    pub fn show(
        mut self,
        refused: &Groups,
        noticed: &Groups,
        account: &Account,
        out: &mut dyn Write,
    ) -> Result<(), Stop> {
        let mut text = Vec::new();
        let mut tops = COUNTED.map(|_| Top::default());
        let (mut tree, mut people) = (Tree::new(self.names.source.deletedprefix()), People::default());
        let oddities = &mut self.oddities;
        std::mem::take(&mut self.counts).read(|key, count| match key.split_first() {
            Some((&NAME, name)) => tree.add(name, count, oddities),
            Some((&USERID, userid)) => people.add(userid, count),
            Some((of, value)) => {
                if let Some(i) = COUNTED.iter().position(|(known, ..)| known == of) {
                    tops[i].add(value, count, COUNTED[i].2);
                }
            }
            None => {}
        })?;
        self.write(tops, people, refused, noticed, account, &mut text)
            .and_then(|()| out.write_all(&text))
            .map_err(|e| cannot_write("stdout", &e))
    }

    fn write(
        &mut self,
        tops: [Top; COUNTED.len()],
        mut people: People,
        refused: &Groups,
        noticed: &Groups,
        account: &Account,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let row = |out: &mut dyn Write, n: u64, what: &str| writeln!(out, "{:>12}  {what}", Count(n).to_string());
        if account.ending.is_some() {
            if self.entries == 0 {
                return Ok(());
            }
            writeln!(out, "NOT THE WHOLE LIST, but what came before the error that mbx-parse tells on stderr.\n")?;
        }
        if let Some(dialect) = self.dialect {
            writeln!(out, "A list in {dialect}.\n")?;
        }
        row(out, self.entries, "entries")?;
        row(out, self.users, "users with an INBOX")?;
        row(out, self.deleted, &format!("below {} (deletedprefix)", Name(self.names.source.deletedprefix())))?;
        row(out, self.pairs, "identifiers in ACLs")?;
        row(out, self.negative, "of them negative")?;
        row(out, self.bytes, "bytes")?;
        for (what, (len, mailbox)) in [("name", &self.longest_name), ("line", &self.longest_line)] {
            if *len > 0 {
                row(out, *len as u64, &format!("bytes in the longest {what}, of {}", Brief(mailbox)))?;
            }
        }
        for (top, (of, title, _, ours)) in tops.into_iter().zip(COUNTED) {
            let sum = top.sum;
            let shown = show(top, title, ours, out)?;
            if of == PARTITION {
                self.judge_partitions(&shown, sum);
            }
        }
        people.settle();
        show(people.strangers, "Identifiers without an INBOX: administrators, or users who left?", false, out)?;
        write_groups("Worth a look", &self.oddities, out)?;
        if let Some(to) = self.to.take() {
            self.write_verdict(&to, refused, noticed, account, out)?;
        } else {
            write_groups("Refused", refused, out)?;
            write_groups("To know", noticed, out)?;
        }
        if !self.remarks.is_empty() {
            writeln!(out, "\nWhat imapd.conf decides")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(out, "              {remark}"))
    }

    /// Partitions that stand out are often errors of typing.
    fn judge_partitions(&mut self, shown: &[(u64, Vec<u8>)], sum: u64) {
        for (i, (count, partition)) in shown.iter().enumerate() {
            if *count < sum / SMALL {
                self.oddities.add("partition of very few mailboxes", |_| Brief(partition).to_string());
            }
            if shown[..i].iter().any(|(_, other)| other.eq_ignore_ascii_case(partition)) {
                self.oddities.add("partition that differs from another in case only", |_| Brief(partition).to_string());
            }
        }
    }

    /// What would go wrong.
    fn write_verdict(
        &self,
        to: &Release,
        refused: &Groups,
        noticed: &Groups,
        account: &Account,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        write_groups(&format!("To know before {to}"), noticed, out)?;
        if !account.dropped.is_empty() {
            writeln!(out, "\nLeft out of a list for {to}")?;
            for (why, count) in &account.dropped {
                writeln!(out, "{:>12}  {why}", Count(*count).to_string())?;
            }
        }
        write_groups(&format!("Refused for {to}"), refused, out)?;
        for text in &self.of_the_spool {
            writeln!(out, "\nNot in the list, but on the disk: {text}.")?;
        }
        if account.refused == 0 {
            if account.ending.is_none() && self.shared == 0 {
                writeln!(out, "\nNothing would be refused for {to}.")?;
            }
        } else {
            writeln!(
                out,
                "\n{} of {} entries would be refused for {to}: mend them on the old server, or set them apart with \
                 --reject FILE.\nmbx-parse -n --to {to} names them with their lines.",
                Count(account.refused),
                Count(account.read)
            )?;
        }
        if self.shared > 0 {
            writeln!(
                out,
                "\n{} mailboxes have the uniqueid of another: mbx-count-guard would hold the whole list back. The messages \
                 of mbx-parse name them, and say what to do.",
                Count(self.shared)
            )?;
        }
        if self.unfilled > 0 {
            writeln!(
                out,
                "{} mailboxes have no uniqueid yet, which {to} wants: mbx-check-paths --fill adds it on the new host, \
                 before the load, and names those that have the uniqueid of another.",
                Count(self.unfilled)
            )?;
        }
        Ok(())
    }
}

/// Shows the most frequent; values that are words of ours as they are, all others as [`Name`]s.
fn show(top: Top, title: &str, ours: bool, out: &mut dyn Write) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let (values, sum) = (top.values, top.sum);
    let shown = top.in_order();
    if shown.is_empty() {
        return Ok(shown);
    }
    writeln!(out, "\n{title}")?;
    for (count, value) in &shown {
        let value = if ours { String::from_utf8_lossy(value).into_owned() } else { Name(value).to_string() };
        writeln!(out, "{:>12}  {value}", Count(*count).to_string())?;
    }
    let rest = sum - shown.iter().map(|(count, _)| count).sum::<u64>();
    if rest > 0 {
        let others = Count(values - shown.len() as u64);
        writeln!(out, "{:>12}  in {others} others", Count(rest).to_string())?;
    }
    Ok(shown)
}

fn write_groups(title: &str, groups: &Groups, out: &mut dyn Write) -> io::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    write!(out, "\n{title}\n{groups}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_that_no_user_has() -> Result<(), Stop> {
        let mut summary = Summary::default();
        for (userid, domain, place) in [
            ("bob", "", IN_ACL),
            ("bob", "", INBOX),
            // May be of the default domain.
            ("bob@example.com", "", IN_ACL),
            ("ann@example.com", "", IN_ACL),
            ("ann", "example.com", INBOX),
            ("ann@example.org", "", IN_ACL),
            ("ann", "", IN_ACL),
            ("john.doe", "", IN_ACL),
            ("john^doe", "", INBOX),
            ("cyrus", "", IN_ACL),
            ("cyrus", "", IN_ACL),
            ("bobb", "", IN_ACL),
        ] {
            summary.meet(userid.as_bytes(), domain.as_bytes(), place)?;
        }
        let mut people = People::default();
        summary.counts.read(|key, count| people.add(&key[1..], count))?;
        people.settle();
        let strangers: Vec<_> = people
            .strangers
            .in_order()
            .into_iter()
            .map(|(n, id)| (n, String::from_utf8_lossy(&id).into_owned()))
            .collect();
        let wanted = [(2, "cyrus"), (1, "ann"), (1, "ann@example.org"), (1, "bobb")];
        assert_eq!(strangers, wanted.map(|(n, id)| (n, id.to_string())));
        Ok(())
    }
}
