//! The work of the six filters.

pub mod compare;
pub mod convert;
pub mod orphans;
pub mod summary;
pub mod table;
pub mod uniqueids;
