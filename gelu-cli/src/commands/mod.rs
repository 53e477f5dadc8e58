//! One file for each command: its arguments, its examples, what it does.

pub mod audit;
pub(crate) mod backends;
pub mod bench;
pub(crate) mod certs;
pub(crate) mod completions;
pub(crate) mod datasets;
pub(crate) mod demo;
pub(crate) mod import;
pub(crate) mod infer;
pub(crate) mod keygen;
pub(crate) mod ledger;
pub(crate) mod man;
pub(crate) mod models;
pub mod plan;
pub(crate) mod predict;
pub(crate) mod publish;
pub(crate) mod round;
pub(crate) mod schema;
pub mod serve;
pub(crate) mod token;
pub(crate) mod train;
pub(crate) mod transfer;
