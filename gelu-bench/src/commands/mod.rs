//! One file for each command: its arguments, its examples, what it does.

mod args;
pub(crate) mod attack;
pub(crate) mod load;
pub(crate) mod measure;
pub(crate) mod paper;
pub(crate) mod report;
mod show;
pub(crate) mod simulate;
