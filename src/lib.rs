//! Six small Unix filters between `ctl_mboxlist -d` on an old Cyrus IMAP server and `ctl_mboxlist -u` on a new one. They
//! carry the mailbox list safely across.
//!
//! The folders are the floors. A folder uses only those above it in this table; inside a folder no two files use each
//! other. `tests/docs/layering.rs` checks both.
//!
//! | folder | contents |
//! |---|---|
//! | [`release`] | what each Cyrus release writes, reads and allows |
//! | [`mailbox`] | the nouns of one entry, in bytes: name, ACL, mbtype, partition, entry |
//! | [`list`] | a list as bytes: dialects, reader, writer, seal, edits, sorting, and what a release's loader accepts |
//! | [`run`] | the life of a filter: options, the loop over the list, messages, totals, status |
//! | [`spool`] | the disk: imapd.conf, partitions, directories, headers, indexes, and the work on them |
//! | [`verbs`] | the work of the six filters: convert, compare, summary, table, orphans |
//! | `src/bin/` | mbx-parse, mbx-remap-part, mbx-acl-rewrite, mbx-check-paths, mbx-mkmeta, mbx-count-guard |
//!
//! Follow one entry: [`list::stream`] reads it, [`list::detect`] finds its dialect, [`list::text`] or [`list::json`] parses
//! it, [`run::engine`] passes it to one filter, and it is written out.

pub mod list;
pub mod mailbox;
pub mod release;
pub mod run;
pub mod spool;
pub mod verbs;
