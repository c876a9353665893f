//! The laws: nothing to do, nothing changed; there and back; nothing is lost.

mod json;
mod list;
mod migration_2006;
mod records;
mod seeds;
mod split;
