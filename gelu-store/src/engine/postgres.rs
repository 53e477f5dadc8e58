//! A database that any number of servers share.
//!
//! A transaction is serializable, so it is as if all servers took turns; where two are in each other's way the
//! database ends one of them, which then runs again. What is to be written is sent with the commit: a charge is two
//! round trips and one write to the disk.
//!
//! A connection that is lost takes its transaction with it, which runs again on another one. Lost during a commit, the
//! database is asked what became of it, by the transaction's number.

pub(crate) mod address;
mod pool;
mod running;

use std::error::Error as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{Engine, Transaction};
use crate::error::{Error, Result};
use crate::location::Url;
pub(crate) use address::Address;
use pool::Pool;
use running::Running;

/// Tables of PostgreSQL 13 or newer.
pub struct Postgres {
    pool: Pool,
}

/// Why a transaction has come to nothing.
enum Failure {
    /// For a reason that may be gone by now.
    Again(String),
    /// For good.
    Final(Error),
}

/// So long a transaction is tried again, before the store says that it fails.
const PATIENCE: Duration = Duration::from_secs(10);

impl Postgres {
    /// Connects, and makes the table `gelu` where there is none.
    ///
    /// # Errors
    /// [`Error::File`] for certificates that cannot be read; [`Error::Engine`] where there is no connection, or the
    /// database could forget what it has committed.
    pub fn open(url: &Url) -> Result<Self> {
        Self::connect(url, true).map(|(new, _)| new)
    }

    /// Whether the table is there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn is_at(url: &Url) -> Result<bool> {
        Self::connect(url, false).map(|(_, is_there)| is_there)
    }

    fn connect(url: &Url, makes: bool) -> Result<(Self, bool)> {
        let address = Address::parse(url).map_err(Error::Engine)?;
        let new = Self { pool: Pool::start(address)? };
        match new.prepare(makes) {
            Ok(is_there) => Ok((new, is_there)),
            Err(Failure::Again(why)) => Err(Error::Engine(format!("{url}: {why}"))),
            Err(Failure::Final(error)) => Err(error),
        }
    }

    /// Looks whether the database will do, and `makes` the table; says whether it is there.
    fn prepare(&self, makes: bool) -> Result<bool, Failure> {
        let connection = self.pool.take(Instant::now())?;
        let client = connection.client();
        let prepared = self.pool.wait(async move {
            let row = client.query_typed_one(ABOUT, &[]).await?;
            let unfit = match (row.get::<_, i32>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)) {
                (version, ..) if version < 130_000 => Some("PostgreSQL 13 or newer is needed"),
                (_, "off", _) => Some(
                    "the database runs with fsync = off and may forget what it has committed; set fsync = on",
                ),
                (.., encoding) if encoding != "UTF8" => {
                    Some("the database is not in UTF8; create another one with ENCODING 'UTF8'")
                }
                _ => None,
            };
            if let Some(unfit) = unfit {
                return Ok(Err(unfit));
            }
            if !makes || row.get(3) {
                return Ok(Ok(row.get(3)));
            }
            match client.batch_execute(TABLE).await {
                // Another server was faster.
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(Ok(true)),
                made => made.map(|()| Ok(true)),
            }
        });
        let unfit = |why: &str| Failure::Final(Error::Engine(why.into()));
        let is_there = prepared.map_err(|error| failure(&error))?.map_err(unfit)?;
        connection.give_back();
        Ok(is_there)
    }

    fn run(
        &self,
        writes: bool,
        work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.attempt(writes, work, deadline) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(why)) if Instant::now() >= deadline => {
                    return Err(Error::Engine(why));
                }
                Err(Failure::Again(_)) => {}
            }
            thread::sleep(jittered(pause));
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn attempt(
        &self,
        writes: bool,
        work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let connection = self.pool.take(deadline)?;
        let mut running = Running::new(&connection, writes);
        let done = work(&mut running);
        // What the database has said comes first, whatever the work has made of it.
        if running.failure.is_none() && done.is_ok() {
            running.commit();
        } else {
            running.roll_back();
        }
        let Running { failure, number, unknown, .. } = running;
        match (failure, done) {
            (None, done) => {
                connection.give_back();
                done.map_err(Failure::Final)
            }
            (Some(Failure::Again(why)), _) if unknown && writes => {
                drop(connection);
                match self.was_committed(number, deadline)? {
                    true => Ok(()),
                    false => Err(Failure::Again(why)),
                }
            }
            // The connection is closed: what state it is in, nobody knows.
            (Some(failure), _) => Err(failure),
        }
    }

    /// What has become of a transaction whose connection was lost.
    fn was_committed(&self, number: Option<String>, deadline: Instant) -> Result<bool, Failure> {
        let unknown =
            |why: &str| Failure::Final(Error::Engine(format!("lost during a commit, and {why}")));
        let Some(number) = number else { return Ok(false) };
        loop {
            let number = number.clone();
            let status = self.pool.take(deadline).and_then(|connection| {
                let client = connection.client();
                let status = self.pool.wait(async move {
                    let row = client.query_typed_one(STATUS, &[(&number, Type::TEXT)]).await?;
                    Ok(row.get::<_, Option<String>>(0))
                });
                let status = status.map_err(|error: tokio_postgres::Error| failure(&error))?;
                connection.give_back();
                Ok(status)
            });
            let why = match status {
                Ok(Some(status)) if status == "committed" => return Ok(true),
                Ok(Some(status)) if status == "aborted" => return Ok(false),
                Ok(Some(_)) => "it still runs".into(),
                Ok(None) => return Err(unknown("the database does not know it any more")),
                Err(Failure::Again(why)) => why,
                Err(failure) => return Err(failure),
            };
            if Instant::now() >= deadline {
                return Err(unknown(&why));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Engine for Postgres {
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.run(true, work)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.run(false, work)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Somewhere between a half and all of it, so that those who were in each other's way are so no longer.
fn jittered(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    pause / 2 + (pause / 2) * (now.subsec_nanos() % 1000) / 1000
}

fn failure(error: &tokio_postgres::Error) -> Failure {
    let why = explain(error);
    match may_pass(error) {
        true => Failure::Again(why),
        false => Failure::Final(Error::Engine(why)),
    }
}

fn may_pass(error: &tokio_postgres::Error) -> bool {
    let passing = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    is_unknown(error) || error.code().is_some_and(|code| passing.contains(code))
}

/// Whether it leaves open what became of the last statement: the connection is gone, or about to go.
fn is_unknown(error: &tokio_postgres::Error) -> bool {
    let going = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    let io = || error.source().is_some_and(|source| source.is::<std::io::Error>());
    match error.code() {
        Some(code) => going.contains(code),
        None => error.is_closed() || io(),
    }
}

/// All that it says, in one line.
fn explain(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(error), _) => format!("PostgreSQL: {} ({})", error.message(), error.code().code()),
        (None, Some(source)) => format!("PostgreSQL: {error}: {source}"),
        (None, None) => format!("PostgreSQL: {error}"),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Again(why) => f.write_str(why),
            Self::Final(error) => write!(f, "{error}"),
        }
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

/// Keys are in the order of their bytes. There is room in a page for the next value of a row, which then needs no
/// new entry in the index.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS gelu (key text COLLATE \"C\" PRIMARY KEY, value bytea NOT NULL) \
     WITH (fillfactor = 70)";
const ABOUT: &str = "SELECT current_setting('server_version_num')::int, current_setting('fsync'), \
     current_setting('server_encoding'), to_regclass('gelu') IS NOT NULL";
const STATUS: &str = "SELECT pg_xact_status($1::xid8)";
