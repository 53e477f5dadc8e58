//! Connections, and the thread that carries their bytes.
//!
//! Whoever has a transaction waits on its own thread; the waiting never runs inside a runtime, so a transaction may
//! begin on any thread that may be blocked.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_postgres::{Client, NoTls};

use super::address::{Address, Tls};
use super::{Failure, failure};
use crate::error::{Error, Result};

pub(super) struct Pool {
    address: Address,
    tls: Option<Tls>,
    runtime: Handle,
    /// Ends the runtime with the pool.
    _end: oneshot::Sender<()>,
    connections: Mutex<Connections>,
    free: Condvar,
}

#[derive(Default)]
struct Connections {
    idle: Vec<Arc<Client>>,
    /// With those that are in use.
    open: usize,
}

/// So many at most: a transaction is a few round trips.
const MOST: usize = 8;

impl Pool {
    pub(super) fn start(address: Address) -> Result<Self> {
        let failed = |error: std::io::Error| Error::Engine(error.to_string());
        let tls = address.tls()?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (end, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name("postgres".into())
            .spawn(move || runtime.block_on(ended))
            .map_err(failed)?;
        let (connections, free) = (Mutex::default(), Condvar::new());
        Ok(Self { address, tls, runtime: handle, _end: end, connections, free })
    }

    /// Runs `future` on the pool's thread, and blocks this one until it is done.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            let _ = done.send(future.await);
        });
        result.recv().expect("the thread lives as long as the pool")
    }

    /// A connection, at the latest then.
    pub(super) fn take(&self, deadline: Instant) -> Result<Connection<'_>, Failure> {
        let mut connections = self.lock();
        loop {
            if let Some(client) = connections.idle.pop() {
                if client.is_closed() {
                    connections.open -= 1;
                    continue;
                }
                return Ok(Connection { pool: self, client: Some(client) });
            }
            if connections.open < MOST {
                connections.open += 1;
                drop(connections);
                // From here on it is counted, and what fails gives the count back.
                let mut connection = Connection { pool: self, client: None };
                connection.client = Some(Arc::new(self.connect()?));
                return Ok(connection);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Again("all connections are in use".into()));
            }
            let waited = self.free.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn connect(&self) -> Result<Client, Failure> {
        let (config, tls) = (self.address.config.clone(), self.tls.clone());
        let connected = self.wait(async move {
            match tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    tokio::spawn(connection);
                    Ok(client)
                }
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    tokio::spawn(connection);
                    Ok(client)
                }
            }
        });
        connected.map_err(|error: tokio_postgres::Error| failure(&error))
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropped, it is closed, and the server takes back what was not committed.
pub(super) struct Connection<'a> {
    pub(super) pool: &'a Pool,
    client: Option<Arc<Client>>,
}

impl Connection<'_> {
    pub(super) fn client(&self) -> Arc<Client> {
        self.client.clone().expect("it is there until the connection is given back")
    }

    /// For the next transaction. To be called outside of one.
    pub(super) fn give_back(mut self) {
        let mut connections = self.pool.lock();
        connections.idle.extend(self.client.take());
        drop(connections);
        self.pool.free.notify_one();
        mem::forget(self);
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.pool.lock().open -= 1;
        self.pool.free.notify_one();
    }
}
