//! What stands in the list twice, or below something that is not there.

use crate::mailbox::name::MailboxName;
use crate::mailbox::text::{Brief, Groups};

/// Names in the order of their hierarchy: duplicates, and what lies below something that is not there.
#[derive(Default)]
pub struct Tree {
    last: Vec<u8>,
    /// How much of the last name is the name of a mailbox, itself and those above it.
    there: Vec<usize>,
    /// The INBOX that was missed last.
    missed: Vec<u8>,
    /// The first component of what was deleted.
    deletedprefix: Vec<u8>,
}

impl Tree {
    /// Of a list whose deleted mailboxes are below `deletedprefix`.
    pub fn new(deletedprefix: &[u8]) -> Tree {
        Tree { deletedprefix: deletedprefix.to_vec(), ..Tree::default() }
    }

    /// One name with NUL for each dot, and how often it stands in the list.
    pub fn add(&mut self, name: &[u8], count: u64, oddities: &mut Groups) {
        let shown = |name: &[u8]| {
            let dotted: Vec<u8> = name.iter().map(|b| if *b == 0 { b'.' } else { *b }).collect();
            Brief(&dotted).to_string()
        };
        for _ in 1..count {
            oddities.add("mailbox that stands in the list again", |_| shown(name));
        }
        while self.there.last().is_some_and(|len| name.get(*len) != Some(&0) || name[..*len] != self.last[..*len]) {
            self.there.pop();
        }
        let local = MailboxName::new(name).local();
        let root = name.len() - local.len();
        let top = local.split(|b| *b == 0).next().unwrap_or_default();
        let parent = memchr::memrchr(0, local).map(|at| root + at);
        // Nothing needs to be above the users, and what was deleted went without what is above it.
        let below = parent.filter(|len| name[root..*len] != *b"user" && top != self.deletedprefix.as_slice());
        if let Some(parent) = below
            && self.there.last() != Some(&parent)
        {
            let user = local.splitn(3, |b| *b == 0).nth(1).filter(|_| top == b"user");
            let inbox = user.map(|user| &name[..root + b"user.".len() + user.len()]);
            match inbox {
                Some(inbox) if !self.there.contains(&inbox.len()) => {
                    if self.missed != inbox {
                        self.missed = inbox.to_vec();
                        oddities.add("user with mailboxes and no INBOX", |_| shown(inbox));
                    }
                }
                _ => oddities.add("mailbox below one that is not there", |_| shown(name)),
            }
        }
        self.last.clear();
        self.last.extend_from_slice(name);
        self.there.push(name.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_nothing() {
        let mut groups = Groups::default();
        let mut tree = Tree::new(b"DELETED");
        let mut names = [
            "user.bob",
            "user.bob",
            "user.bob-x.Sent",
            "user.bob-x.Sent.old",
            "user.bob.a.b",
            "user.bob.a.b.c",
            "a!user.bob",
            "a!user.bob.Sent",
            "b!user.bob.Sent",
            "shared",
            "shared.x",
            "news.x",
            "DELETED.user.bob.4F5E6D7C",
        ]
        .map(|name| name.replace('.', "\0"));
        names.sort();
        for name in names.iter().collect::<std::collections::BTreeSet<_>>() {
            tree.add(name.as_bytes(), names.iter().filter(|other| *other == name).count() as u64, &mut groups);
        }
        assert_eq!(
            groups.to_string(),
            "           2  user with mailboxes and no INBOX: b!user.bob, user.bob-x\n\
             \x20          2  mailbox below one that is not there: news.x, user.bob.a.b\n\
             \x20          1  mailbox that stands in the list again: user.bob\n"
        );
    }
}
