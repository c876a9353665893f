//! Streams that are cut off, full, closed or gone, and processes that are killed.

mod kills;
mod matrix;
mod streams;
