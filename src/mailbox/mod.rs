//! The nouns of one entry, in bytes.

pub mod acl;
pub mod entry;
pub mod jmap_id;
pub mod mbtype;
pub mod name;
pub mod partition;
pub mod rejection;
pub mod text;
