//! What keeps the bytes: text keys, values, transactions. Everything that means something stands above it, once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::error::Result;

/// A place for values under text keys.
///
/// # Law
/// Transactions have an order, and each sees exactly what those before it have left. When [`write`](Self::write)
/// returns `Ok`, all of its changes outlive a crash; when it returns `Err`, it has changed nothing.
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

/// Memory, for tests and for servers that live no longer than their model: it keeps the law but for crashes.
#[derive(Debug, Default)]
pub struct Memory {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Engine for Memory {
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        let mut values = self.values.lock().expect("nothing panics while it is held");
        let mut changed = values.clone();
        work(&mut changed)?;
        *values = changed;
        Ok(())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        let mut values = self.values.lock().expect("nothing panics while it is held").clone();
        work(&mut values)
    }
}

impl Transaction for BTreeMap<String, Vec<u8>> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        BTreeMap::remove(self, key);
        Ok(())
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let from = self.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).try_for_each(|(k, v)| each(k, v))
    }

    fn now(&mut self) -> Result<u64> {
        Ok(crate::clock::system())
    }
}
