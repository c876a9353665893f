//! Six small Unix filters that stand between `ctl_mboxlist -d` on an old Cyrus IMAP server and `ctl_mboxlist -u` on a
//! new one, and carry the mailbox list safely across.
//!
//! Walk the house as one entry: it comes in through [`stream`], is told and taken apart by [`dialect`], is an
//! [`entry::Entry`] in the loop of [`filter`], meets one verb (a binary in `src/bin/`), and leaves the way it came.
//! A file uses only files on lower floors, or further left on its own:
//!
//! | floor | |
//! |---|---|
//! | 5 | `src/bin/`: mbx-parse, mbx-remap-part, mbx-acl-rewrite, mbx-check-paths, mbx-mkmeta, mbx-count-guard |
//! | 4 | [`loader`] what the loader and the server of one release take; [`convert`] an entry of one release as an entry of another, or why not; [`filter`] the loop of all six, [`command`] their main; [`compare`] two lists side by side |
//! | 3 | [`dialect`] bytes to entry; [`options`] that the six share; [`fill`] what an entry lacks, from the mailbox's own files; [`metadata`] the directories of metapartitions, [`moving`] the files that belong there; [`look`] is each mailbox where it should be, [`missing`] what was looked for in vain, [`orphans`] what no entry names; [`summary`] what a list holds, [`table`] its entries as rows |
//! | 2 | [`entry`] slices of bytes; [`changes`] what becomes of them; [`spool`] mailbox to directory, [`roots`] partition to roots; [`hold`] whole-list questions by external sort, [`tally`] counts of any number of values |
//! | 1 | [`outcome`], [`version`], [`mbtype`], [`partition`], [`acl`], [`seal`], [`imapd_conf`], [`json`] spans of JSON text, [`jmap_id`], [`header`] what cyrus.header and cyrus.index tell, [`stream`] |

pub mod acl;
pub mod changes;
pub mod command;
pub mod compare;
pub mod convert;
pub mod dialect;
pub mod entry;
pub mod fill;
pub mod filter;
pub mod header;
pub mod hold;
pub mod imapd_conf;
pub mod jmap_id;
pub mod json;
pub mod loader;
pub mod look;
pub mod mbtype;
pub mod metadata;
pub mod missing;
pub mod moving;
pub mod options;
pub mod orphans;
pub mod outcome;
pub mod partition;
pub mod roots;
pub mod seal;
pub mod spool;
pub mod stream;
pub mod summary;
pub mod table;
pub mod tally;
pub mod version;
