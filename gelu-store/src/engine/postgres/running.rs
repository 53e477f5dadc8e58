//! A transaction of PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::pool::Connection;
use super::{Failure, failure, is_unknown};
use crate::engine::{Transaction, only_looks};
use crate::error::{Error, Result};

/// A transaction that runs.
pub(super) struct Running<'a> {
    connection: &'a Connection<'a>,
    writes: bool,
    begun: bool,
    /// The database's number of it.
    pub(super) number: Option<String>,
    /// What is to be written, or removed.
    pending: BTreeMap<String, Option<Vec<u8>>>,
    pending_bytes: usize,
    pub(super) failure: Option<Failure>,
    /// Whether the connection was lost while this was being committed.
    pub(super) unknown: bool,
}

/// So many bytes are sent before the commit.
const PENDING: usize = 16 << 20;
/// So many keys are asked for at a time.
const PAGE: u32 = 1000;

impl<'a> Running<'a> {
    pub(super) fn new(connection: &'a Connection<'a>, writes: bool) -> Self {
        let (begun, number, pending, pending_bytes) = (false, None, BTreeMap::new(), 0);
        let (failure, unknown) = (None, false);
        Self { connection, writes, begun, number, pending, pending_bytes, failure, unknown }
    }

    /// Sends the beginning, where it was not sent yet, and what is asked, at once.
    fn ask<T, F>(&mut self, question: impl FnOnce(Arc<Client>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        if let Some(failure) = &self.failure {
            return Err(Error::Engine(failure.to_string()));
        }
        let client = self.connection.client();
        let (begins, writes) = (!self.begun, self.writes);
        self.begun = true;
        let question = question(client.clone());
        let answer = self.connection.pool.wait(async move {
            let (number, answer) = join(begin(&client, begins, writes), question).await;
            Ok((number?, answer?))
        });
        match answer {
            Ok((number, answer)) => {
                self.number = number.or(self.number.take());
                Ok(answer)
            }
            Err(error) => {
                self.unknown = is_unknown(&error);
                let failure = self.failure.insert(failure(&error));
                Err(Error::Engine(failure.to_string()))
            }
        }
    }

    fn set(&mut self, key: &str, value: Option<Vec<u8>>) -> Result<()> {
        if !self.writes {
            return Err(only_looks());
        }
        if key.contains('\0') {
            return Err(Error::Engine("PostgreSQL keeps no name with a zero byte in it".into()));
        }
        self.pending_bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.pending.insert(key.to_owned(), value);
        match self.pending_bytes < PENDING {
            true => Ok(()),
            false => self.flush(false),
        }
    }

    /// Sends what is to be written, and the commit with the last of it.
    fn flush(&mut self, commits: bool) -> Result<()> {
        self.pending_bytes = 0;
        let (mut keys, mut values, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in std::mem::take(&mut self.pending) {
            match value {
                Some(value) => {
                    keys.push(key);
                    values.push(value);
                }
                None => removed.push(key),
            }
        }
        self.ask(move |client| async move {
            let put = async {
                let texts = (&keys as _, Type::TEXT_ARRAY);
                match keys.is_empty() {
                    true => Ok(0),
                    false => {
                        client.execute_typed(PUT, &[texts, (&values, Type::BYTEA_ARRAY)]).await
                    }
                }
            };
            let remove = async {
                match removed.is_empty() {
                    true => Ok(0),
                    false => client.execute_typed(REMOVE, &[(&removed, Type::TEXT_ARRAY)]).await,
                }
            };
            let commit = async {
                match commits {
                    true => client.batch_execute("COMMIT").await,
                    false => Ok(()),
                }
            };
            // Sent in this order, and answered in this order: after an error the others fail as well.
            let (put, (remove, commit)) = join(put, join(remove, commit)).await;
            put.and(remove).and(commit)
        })
    }

    /// What it says is in `failure`.
    pub(super) fn commit(&mut self) {
        if !self.begun && self.pending.is_empty() {
            return;
        }
        // Its number is known before it can be lost.
        if !self.begun && self.ask(|_| async { Ok(()) }).is_err() {
            self.unknown = false;
            return;
        }
        let _ = self.flush(true);
    }

    pub(super) fn roll_back(&mut self) {
        if self.begun && self.failure.is_none() {
            let _ = self.ask(|client| async move { client.batch_execute("ROLLBACK").await });
        }
        self.unknown = false;
    }
}

impl Transaction for Running<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        if let Some(value) = self.pending.get(key) {
            return Ok(value.clone());
        }
        if key.contains('\0') {
            return Ok(None);
        }
        let key = key.to_owned();
        self.ask(|client| async move {
            let row = client.query_typed_opt(GET, &[(&key, Type::TEXT)]).await?;
            Ok(row.map(|row| row.get(0)))
        })
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.set(key, Some(value.to_owned()))
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        self.set(key, None)
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if !self.pending.is_empty() {
            self.flush(false)?;
        }
        let end = after(prefix);
        let mut from = (prefix.to_owned(), true);
        loop {
            let (start, end) = (from.clone(), end.clone());
            let rows: Vec<Row> = self.ask(|client| async move {
                let sql = if start.1 { FIRST_PAGE } else { NEXT_PAGE };
                let end = (&end as _, Type::TEXT);
                client
                    .query_typed(
                        sql,
                        &[(&start.0, Type::TEXT), end, (&i64::from(PAGE), Type::INT8)],
                    )
                    .await
            })?;
            for row in &rows {
                each(row.get(0), row.get(1))?;
            }
            match rows.last() {
                Some(last) if rows.len() as u64 == u64::from(PAGE) => from = (last.get(0), false),
                _ => return Ok(()),
            }
        }
    }

    fn now(&mut self) -> Result<u64> {
        let milliseconds: i64 = self.ask(|client| async move {
            client.query_typed_one(NOW, &[]).await.map(|row| row.get(0))
        })?;
        Ok(milliseconds.unsigned_abs())
    }
}

/// Begins a transaction, if that `begins`, and asks for its number, if it writes.
async fn begin(
    client: &Client,
    begins: bool,
    writes: bool,
) -> Result<Option<String>, tokio_postgres::Error> {
    match (begins, writes) {
        (false, _) => Ok(None),
        (true, false) => client.batch_execute(BEGIN_READ).await.map(|()| None),
        (true, true) => {
            let number = client.query_typed_one(NUMBER, &[]);
            let (begun, number) = join(client.batch_execute(BEGIN_WRITE), number).await;
            begun?;
            Ok(number?.get(0))
        }
    }
}

/// The first text after all that begin with `prefix`, in the order of their bytes; `None` if there is none.
fn after(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// Settings of the transaction, not of the connection: poolers may stand between. Without indexes two charges of
/// a small table would be in each other's way; a server that hangs must not keep what others wait for.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL synchronous_commit = on; \
     SET LOCAL enable_seqscan = off; SET LOCAL lock_timeout = '5s'; \
     SET LOCAL idle_in_transaction_session_timeout = '30s'; SET LOCAL statement_timeout = '60s'";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SET LOCAL enable_seqscan = off; \
     SET LOCAL statement_timeout = '60s'";
const NUMBER: &str = "SELECT pg_current_xact_id()::text";
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const GET: &str = "SELECT value FROM gelu WHERE key = $1";
const PUT: &str = "INSERT INTO gelu (key, value) SELECT * FROM unnest($1::text[], $2::bytea[]) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const REMOVE: &str = "DELETE FROM gelu WHERE key = ANY($1)";
const FIRST_PAGE: &str = "SELECT key, value FROM gelu WHERE key >= $1 AND ($2::text IS NULL OR key < $2) \
     ORDER BY key LIMIT $3";
const NEXT_PAGE: &str = "SELECT key, value FROM gelu WHERE key > $1 AND ($2::text IS NULL OR key < $2) \
     ORDER BY key LIMIT $3";

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn what_comes_after_a_prefix_is_after_all_that_begin_with_it() {
        for (prefix, expected) in [
            ("a/", Some("a0")),
            ("", None),
            ("\u{10FFFF}", None),
            ("a\u{10FFFF}\u{10FFFF}", Some("b")),
            ("\u{D7FF}", Some("\u{E000}")),
        ] {
            assert_eq!(after(prefix).as_deref(), expected);
        }
    }
}
