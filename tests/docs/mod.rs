//! Pages, README, help, the map of the source, and installation.

mod examples;
mod install;
mod layering;
