//! The disk: imapd.conf, partitions, directories, headers and indexes.

pub mod aliases;
pub mod conf;
pub mod fill;
pub mod header;
pub mod heads;
pub mod layout;
pub mod missing;
pub mod mkdir;
pub mod options;
pub mod partitions;
pub mod probe;
pub mod readable;
pub mod transfer;
pub mod user;
