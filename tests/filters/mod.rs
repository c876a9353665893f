//! Each filter, and what it says.

mod acl_rewrite;
mod check_paths;
mod count_guard;
mod messages;
mod mkmeta;
mod orphans;
mod parse_and_remap;
mod remedies;
mod summary_and_tables;
