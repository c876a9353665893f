//! Who the users are, and which identifiers are nobody's.

use super::FEW;
use crate::list::counter::Top;
use crate::mailbox::name::local_part;

/// The userid stands in an ACL. These are read first.
pub const IN_ACL: u8 = b'i';

/// The userid has an INBOX.
pub const INBOX: u8 = b'm';

/// Who a mailbox belongs to.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    user: &'a [u8],
    domain: &'a [u8],
}

/// The user to whom a mailbox belongs.
pub fn owner(mailbox: &[u8]) -> Option<Owner<'_>> {
    let local = local_part(mailbox);
    let user = local.strip_prefix(b"user.")?.split(|b| *b == b'.').next()?;
    Some(Owner { user, domain: &mailbox[..(mailbox.len() - local.len()).saturating_sub(1)] })
}

impl Owner<'_> {
    /// Whether this is the owner's identifier: of the default domain, users have none.
    pub fn is(self, identifier: &[u8]) -> bool {
        let same = |one: &[u8], other: &[u8]| {
            let plain = |b: u8| if b == b'^' { b'.' } else { b };
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| plain(*a) == plain(*b))
        };
        same(identifier, self.user)
            || match memchr::memchr(b'@', identifier) {
                Some(at) => {
                    same(&identifier[..at], self.user)
                        && (self.domain.is_empty() || identifier[at + 1..] == *self.domain)
                }
                None => false,
            }
    }
}

/// Identifiers that no user has.
pub fn is_everybody(identifier: &[u8]) -> bool {
    let local = identifier.split(|b| *b == b'@').next().unwrap_or_default();
    matches!(local, b"anyone" | b"anonymous") || identifier.starts_with(b"group:")
}

/// Userids in order: those of ACLs that have no INBOX.
#[derive(Default)]
pub struct People {
    local: Vec<u8>,
    /// Whether the userid has an INBOX without a domain: one with a domain may be the same user, in the default domain.
    bare: bool,
    /// The domain of the identifier that was met last, and how often that was met; 0 once it has an INBOX.
    domain: Vec<u8>,
    count: u64,
    /// Those who have none, the most frequent.
    pub strangers: Top,
}

impl People {
    /// One userid with its domain, and where it was met: in ACLs, which sort first, or as an INBOX.
    pub fn add(&mut self, userid: &[u8], count: u64) {
        let Some((place, userid)) = userid.split_last() else { return };
        let mut parts = userid.split(|b| *b == 0);
        let (local, domain) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let same = self.local == local;
        if *place == INBOX && same && self.domain == domain {
            self.count = 0;
        }
        self.settle();
        if !same {
            self.bare = false;
            self.local.clear();
            self.local.extend_from_slice(local);
        }
        match *place {
            INBOX => self.bare |= domain.is_empty(),
            _ if !self.bare => {
                self.count = count;
                self.domain.clear();
                self.domain.extend_from_slice(domain);
            }
            _ => {}
        }
    }

    /// Nothing more comes of the identifier that was met last.
    pub fn settle(&mut self) {
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            let at = if self.domain.is_empty() { &b""[..] } else { b"@" };
            self.strangers.add(&[&self.local, at, &self.domain].concat(), count, FEW);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        for (mailbox, identifier, is) in [
            ("user.bob", "bob", true),
            ("user.bob.Sent", "bob", true),
            ("user.bob", "bobb", false),
            ("user.j^d", "j.d", true),
            ("x!user.bob", "bob@x", true),
            ("x!user.bob", "bob@y", false),
            ("user.bob", "bob@x", true),
        ] {
            let owner = owner(mailbox.as_bytes()).unwrap();
            assert_eq!(owner.is(identifier.as_bytes()), is, "{mailbox} {identifier}");
        }
        assert!(owner(b"shared.bob").is_none());
    }
}
