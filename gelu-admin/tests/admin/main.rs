//! The admin address and its metrics from outside: one binary, since each that is linked takes as long as many tests.

mod address;
mod common;
mod dashboard;
mod metrics;
mod privacy;
