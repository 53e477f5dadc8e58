//! The laws of the store, of every engine: one body of tests. Those of PostgreSQL run where `GELU_TEST_POSTGRES` has
//! the address of a database that tests may write to; each makes a schema of its own.
// `Ok(found = …)` says in one line what a transaction is for.
#![allow(clippy::unit_arg)]

mod books;
#[cfg(feature = "postgres")]
mod connections;
mod cost;
mod crash;
mod engine;
mod places;
mod training;

/// Every test of a module, on every engine.
macro_rules! on_every_engine {
    ($($law:ident),* $(,)?) => {
        mod on_memory {
            $(#[test] fn $law() { super::$law(&crate::places::Place::memory()); })*
        }
        mod on_redb {
            $(#[test] fn $law() { super::$law(&crate::places::Place::redb()); })*
        }
        mod on_postgres {
            $(#[test] fn $law() { crate::places::Place::postgres().iter().for_each(super::$law); })*
        }
    };
}
pub(crate) use on_every_engine;
