//! What real loaders did with odd input, and models of them.

mod differential;
mod json_probes;
mod probes;
