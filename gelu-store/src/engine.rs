//! What keeps the bytes: text keys, values, transactions. Everything that means something stands above it, once.

mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod redb;

use std::sync::Arc;

use crate::error::{Error, Result};

pub use memory::Memory;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use redb::Redb;

/// A place for values under text keys.
///
/// # Law
/// Transactions have an order, and each sees exactly what those before it have left. When [`write`](Self::write)
/// returns `Ok`, all of its changes outlive a crash; when it returns `Err`, it has changed nothing. One exception: where
/// the disk or the connection fails while changes are being committed, all of them may have been made. Who asks again
/// sees which.
pub trait Engine: Send + Sync + 'static {
    /// Runs `work` as one transaction. It may be run more than once, and only the last run counts.
    ///
    /// # Errors
    /// Those of `work`, and what the engine itself says.
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()>;

    /// The same of work that only looks.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()>;

    /// Whether servers on several machines can share it.
    fn is_shared(&self) -> bool {
        false
    }
}

impl<E: Engine + ?Sized> Engine for Arc<E> {
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        (**self).write(work)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        (**self).read(work)
    }

    fn is_shared(&self) -> bool {
        (**self).is_shared()
    }
}

/// Inside of a transaction.
pub trait Transaction {
    /// The value of a key.
    ///
    /// # Errors
    /// What the engine says.
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Sets the value of a key.
    ///
    /// # Errors
    /// What the engine says.
    fn put(&mut self, key: &str, value: &[u8]) -> Result<()>;

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// What the engine says.
    fn remove(&mut self, key: &str) -> Result<()>;

    /// Keys that begin with `prefix`, and their values, in order.
    ///
    /// # Errors
    /// Those of `each`, which ends it, and what the engine says.
    fn scan(&mut self, prefix: &str, each: &mut dyn FnMut(&str, &[u8]) -> Result<()>)
    -> Result<()>;

    /// The time that all who share this engine go by, in milliseconds since 1970.
    ///
    /// # Errors
    /// What the engine says.
    fn now(&mut self) -> Result<u64>;
}

/// What a transaction says that was to look only, and is told to write.
fn only_looks() -> Error {
    Error::Engine("a transaction that only looks was told to write".into())
}
