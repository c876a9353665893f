//! The real server: Debian's Cyrus, by its tools and by login. Skipped loudly where it is not installed; a failure under
//! MBX_REQUIRE_CYRUS=1.

mod compare;
mod kit;
mod kit_copy;
mod kit_failures;
mod living;
mod load;
mod login;
