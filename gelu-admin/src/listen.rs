//! The address: a listener and a thread of its own, and bounds on what anybody can make them hold.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::metrics::Metrics;
use crate::readiness::{Pulse, Readiness};
use crate::routes::{Process, Routes};

/// Where to be asked, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The address; port 0 takes any free one.
    pub address: SocketAddr,
    /// Whether it may be one that other machines reach.
    pub beyond_this_machine: bool,
    /// Time and room.
    pub limits: Limits,
}

impl Config {
    /// An address of this machine alone.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, beyond_this_machine: false, limits: Limits::default() }
    }
}

/// Bounds of the admin address.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. When there is one more, the oldest makes room.
    pub connections: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// From the first byte of a connection to the end of its request.
    pub request: Duration,
    /// From then to the last byte of the answer, without what a backup or a reload takes.
    pub answer: Duration,
    /// How long the store may take to answer.
    pub store: Duration,
    /// Readiness that was found this long ago is told again.
    pub store_checked: Duration,
    /// How long the server's loop may stand still.
    pub pulse: Duration,
    /// The shortest time between two backups: each takes room on the disk.
    pub between_backups: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            request_bytes: 8 << 10,
            request: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            store: Duration::from_secs(2),
            store_checked: Duration::from_secs(1),
            pulse: Duration::from_secs(10),
            between_backups: Duration::from_secs(10),
        }
    }
}

/// Why there is no admin address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that other machines reach, without the operator's word.
    #[error(
        "the admin address {0} can be reached from other machines: take 127.0.0.1, or allow it in so many words"
    )]
    BeyondThisMachine(SocketAddr),
    /// The address is taken, or none of ours.
    #[error("cannot listen on the admin address {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// An admin address that is served, until this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
    _pulse: Pulse,
}

impl Admin {
    /// Listens. Must be called on the server's runtime, whose health is told.
    ///
    /// # Errors
    /// [`Error`]: what the operator must change.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(
        config: Config,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        process: Arc<dyn Process>,
    ) -> Result<Self, Error> {
        let Config { address, beyond_this_machine, limits } = config;
        if !address.ip().to_canonical().is_loopback() && !beyond_this_machine {
            return Err(Error::BeyondThisMachine(address));
        }
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let pulse = Pulse::of(&Handle::current(), limits.pulse / 10);
        let routes = Routes::new(limits, metrics, readiness, process, pulse.seen());
        // Few threads for what may block: a store that hangs takes one, a backup or a reload the other.
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
        let runtime = runtime.map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, Arc::new(routes), limits) => {}
                    _ = stopped => {}
                }
            });
            // A store that hangs is no reason to wait.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("gelu-admin".into()).spawn(serve).map_err(failed)?;
        Ok(Self { address, _stop: stop, _pulse: pulse })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, routes: Arc<Routes>, limits: Limits) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
    let mut connections = VecDeque::<AbortHandle>::new();
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                connections.retain(|connection| !connection.is_finished());
                while connections.len() >= limits.connections.max(1) {
                    if let Some(oldest) = connections.pop_front() {
                        oldest.abort();
                    }
                }
                let answering = answer(tcp, peer, Arc::clone(&routes), limits);
                connections.push_back(tokio::spawn(answering).abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "the admin address cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, one request.
async fn answer(tcp: TcpStream, peer: SocketAddr, routes: Arc<Routes>, limits: Limits) {
    let acting = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (routes, acting) = (Arc::clone(&routes), Arc::clone(&acting));
        async move { routes.answer(peer, request, &acting).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.request)
        .max_buf_size(limits.request_bytes.max(SMALLEST_BUFFER))
        .max_headers(64)
        .keep_alive(false);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(tcp), service));
    let whole = limits.request + limits.answer;
    loop {
        match tokio::time::timeout(whole, &mut connection).await {
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a request failed"),
            Ok(Ok(())) => return,
            // A backup has as long as it takes; its answer then has the same time again.
            Err(_) if acting.load(Ordering::Relaxed) => {}
            Err(_) => return tracing::debug!(%peer, "a request took too long"),
        }
    }
}

/// What hyper asks for.
const SMALLEST_BUFFER: usize = 8192;
