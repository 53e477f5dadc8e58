//! Tables that a key keeps once somebody has needed them.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use crate::memory::Reserved;
use crate::power_table::PowerTable;

/// Tables of noise under one key.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) seals: OnceLock<(PowerTable, Reserved)>,
    pub(crate) half_exponent: OnceLock<PowerTable>,
    pub(crate) fast_exponent: OnceLock<PowerTable>,
    /// Elements of [`Statistical`](crate::Noise::Statistical) noise that were made without a table, in full lanes.
    pub(crate) without: AtomicU64,
}

/// What is in the cell, made if need be. Two threads may make it at once, and one of the two is
/// dropped: while others wait for a maker, a pool of threads could deadlock.
pub(crate) fn ready<T>(cell: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    if cell.get().is_none() {
        let made = make();
        let _ = cell.set(made);
    }
    cell.get().expect("it was just set")
}
