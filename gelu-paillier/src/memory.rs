//! A budget of memory for tables, shared by all keys of the process.
//!
//! A server has a key for each of its sessions, and a table for seals takes 16 MB under a key of 2048
//! bits. Each table holds a [`Reserved`] part of the budget and gives it back on drop; where nothing
//! is left, noise is made without a table, more slowly.

use std::sync::atomic::{AtomicUsize, Ordering};

/// For the tables of all keys: 17 of them at 2048 bits.
pub(crate) static TABLES: Budget = Budget::new(256 << 20);

/// Bytes that are not reserved.
pub(crate) struct Budget(AtomicUsize);

/// A part of a budget, given back on drop.
pub(crate) struct Reserved {
    budget: &'static Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// `None` when less than `bytes` are left.
    pub(crate) fn reserve(&'static self, bytes: usize) -> Option<Reserved> {
        let less = |free: usize| free.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Reserved { budget: self, bytes })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_given_back_once() {
        static BUDGET: Budget = Budget::new(10);
        let (a, b) = (BUDGET.reserve(6).unwrap(), BUDGET.reserve(4).unwrap());
        assert!(BUDGET.reserve(1).is_none(), "all is taken");
        drop(b);
        assert!(BUDGET.reserve(5).is_none(), "four are left");
        assert!(BUDGET.reserve(4).is_some());
        drop(a);
        assert!(BUDGET.reserve(11).is_none() && BUDGET.reserve(10).is_some());
    }
}
