//! Who the users are, and which identifiers are nobody's.

use super::FEW;
use crate::list::counter::Top;

/// The userid stands in an ACL. These are read first.
pub const IN_ACL: u8 = b'i';

/// The userid has an INBOX.
pub const INBOX: u8 = b'm';

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
