//! Memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Engine, Transaction};
use crate::error::Result;

type Values = BTreeMap<String, Vec<u8>>;

/// Memory, for tests and for servers that live no longer than their model: it keeps the law but for crashes. Clones
/// share it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Whoever reads keeps what it found; whoever writes copies it only then.
    values: Arc<Mutex<Arc<Values>>>,
}

impl Engine for Memory {
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writing =
            Writing { values: Arc::make_mut(&mut values), before: BTreeMap::new(), kept: false };
        work(&mut writing)?;
        writing.kept = true;
        Ok(())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        work(&mut Reading(&values))
    }
}

struct Reading<'a>(&'a Values);

impl Transaction for Reading<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).cloned())
    }

    fn put(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Err(super::only_looks())
    }

    fn remove(&mut self, _: &str) -> Result<()> {
        Err(super::only_looks())
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let from = self.0.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).try_for_each(|(k, v)| each(k, v))
    }

    fn now(&mut self) -> Result<u64> {
        Ok(crate::clock::system())
    }
}

/// Takes back what it has changed, unless that is kept.
struct Writing<'a> {
    values: &'a mut Values,
    before: BTreeMap<String, Option<Vec<u8>>>,
    kept: bool,
}

impl Writing<'_> {
    fn changed(&mut self, key: &str, old: Option<Vec<u8>>) {
        self.before.entry(key.to_owned()).or_insert(old);
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for (key, old) in std::mem::take(&mut self.before) {
            match old {
                Some(old) => self.values.insert(key, old),
                None => self.values.remove(&key),
            };
        }
    }
}

impl Transaction for Writing<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        Reading(self.values).get(key)
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let old = self.values.insert(key.to_owned(), value.to_owned());
        self.changed(key, old);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        let old = self.values.remove(key);
        self.changed(key, old);
        Ok(())
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        Reading(self.values).scan(prefix, each)
    }

    fn now(&mut self) -> Result<u64> {
        Reading(self.values).now()
    }
}
