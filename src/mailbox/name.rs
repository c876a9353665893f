//! Mailbox names: their parts, and what a server makes of them.

use crate::mailbox::rejection::Refusal;

/// Whether a uniqueid can name a directory and nothing else: Cyrus copies it into paths as it stands.
pub fn can_be_uniqueid(id: &[u8]) -> bool {
    id.len() >= 2 && id.iter().all(|b| b.is_ascii_graphic() && *b != b'/') && id[0] != b'.' && id[1] != b'.'
}

/// The default domain of 3.0 and later where none is set (`lib/imapoptions`).
pub const INTERNAL: &[u8] = b"internal";

/// What 3.0 and later make of a name when they look for its directory, if that is another name: the default domain and
/// empty components vanish (`facts/layout.md` 1b).
pub fn folded(mailbox: &[u8], defaultdomain: &[u8]) -> Option<Vec<u8>> {
    let local = local_part(mailbox);
    let domain = &mailbox[..mailbox.len() - local.len()];
    let kept = if domain.strip_suffix(b"!") == Some(defaultdomain) { &b""[..] } else { domain };
    if kept.len() == domain.len() && !has_empty_component(local) {
        return None;
    }
    let parts: Vec<&[u8]> = local.split(|b| *b == b'.').filter(|part| !part.is_empty()).collect();
    Some([kept, &parts.join(&b'.')].concat()).filter(|folded| folded != mailbox)
}

/// Whether nothing stands before, between or behind two dots of a name without its domain.
pub fn has_empty_component(local: &[u8]) -> bool {
    // To the end, whatever is found: so it is many bytes at a time.
    let between = local.windows(2).fold(false, |found, two| found | ((two[0] == b'.') & (two[1] == b'.')));
    between || matches!((local.first(), local.last()), (None | Some(b'.'), _) | (_, Some(b'.')))
}

/// Whether the path of a name is below its root, and its own as far as the name alone can tell. Dots become slashes in
/// every release, so a name cannot climb; its domain is copied as it stands (`..!user.x`, `../../etc!user.x`), and
/// nothing in Cyrus stops it.
pub fn stays_inside(mailbox: &[u8]) -> Result<(), Refusal> {
    let local = local_part(mailbox);
    if mailbox.iter().fold(false, |found, b| found | matches!(b, b'/' | 0)) {
        let what = "no server makes one: its directory is another mailbox's, or outside the partition";
        return Err(Refusal::with("name with a slash", what));
    }
    if local.len() < mailbox.len() && matches!(&mailbox[..mailbox.len() - local.len() - 1], b"" | b"." | b"..") {
        return Err(Refusal::with("domain that is no directory", "it would lead out of the partition"));
    }
    if has_empty_component(local) {
        return Err(Refusal::with("name with an empty component", "its directory is another mailbox's"));
    }
    Ok(())
}

/// An internal name without its domain: what stands behind the first `!`.
pub fn local_part(mailbox: &[u8]) -> &[u8] {
    match memchr::memchr(b'!', mailbox) {
        Some(at) => &mailbox[at + 1..],
        None => mailbox,
    }
}
