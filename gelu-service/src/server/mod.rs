//! The server: one model, many clients, one lease at a time.
//!
//! ```text
//!           ┌ session ─ machine ┐      ┌ model    version n, on the disk before anybody hears of it
//!  TLS ─────┼ session ─ machine ┼─ host┼ ledger   on the disk before an answer leaves
//!           └ session ─ machine ┘      └ queue    one lease at a time, first come, first served
//! ```
//!
//! Every session drives a machine of [`gelu_core::server`] on its own; evaluation runs beside the
//! sockets' threads, so many answers are computed while others are awaited, and all sessions share
//! one pool of threads (rayon's global one): a second session makes both slower, not the machine
//! overloaded. A lease is a transaction: it ends as a new version or, however its session ends,
//! without a trace.
//!
//! # Security
//! Whom the authority has signed gets in; the Common Name of the certificate is the account on
//! which the ledger books. A client that breaks a rule learns only that its session has ended.
//! See [`gelu_core::server`] for what response times tell.

mod door;
mod greeting;
mod host;
mod ledger;
mod machine;
mod observer;
mod queue;
mod session;
mod terms;
mod web;

use std::future::pending;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gelu_core::Backend;
use gelu_core::ledger::Policy;
use gelu_core::server::{BlindTerms, LearningRate};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Error, Result};
use crate::handshake::{Mode, ModelCard};
use crate::limits::Limits;
use crate::tls::ServerTls;
use greeting::greet;
use host::{Host, check_paths};
use observer::guarded;
pub use observer::{Observer, ServerEvent, Summary, Traffic, Way};
pub use terms::Terms;
use web::Pages;
pub use web::{HEADERS, Tokens, Web};

/// Everything that a server needs to know.
#[non_exhaustive]
pub struct Config<B: Backend> {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Certificates and key.
    pub tls: ServerTls,
    /// The model's file. It is served, and replaced by each committed version.
    pub model: PathBuf,
    /// How many of the model's first stages are frozen, if not as its file says. The file of every committed version
    /// says it then.
    pub freeze: Option<usize>,
    /// The ledger's file; begun if it is not there.
    pub ledger: PathBuf,
    /// The learning rate of every lease.
    pub rate: LearningRate<B>,
    /// What happens at the ledger's bound.
    pub policy: Policy,
    /// How queries may be asked, the preferred mode first. `None`: open and blind where the ledger lets an open query
    /// pass, blind alone where it does not, as far as the model can be computed blindly.
    pub modes: Option<Vec<Mode>>,
    /// What sessions of blind queries may have.
    pub blind: BlindTerms,
    /// The most samples of a lease. Under [`Policy::Enforce`] the ledger's bound may be lower.
    pub lease_samples: u64,
    /// The key sizes that clients may use.
    pub key_bits: RangeInclusive<u32>,
    /// Time and room.
    pub limits: Limits,
    /// Whether sessions use the time after a query to prepare the next one: answers come sooner,
    /// and clients that never ask again have cost more.
    pub precompute: bool,
    /// A page for browsers, at an address of its own.
    pub web: Option<Web>,
    /// Who looks on.
    pub observer: Arc<dyn Observer>,
    /// Draws the lengths of leases from this seed, so that a demonstration can be repeated. A client
    /// that knows it knows `d_max`; ciphertexts take their randomness from the operating system
    /// in any case.
    pub danger_lease_seed: Option<[u8; 32]>,
}

impl<B: Backend> Config<B> {
    /// A server that enforces its ledger; every other setting has a default and is a field.
    pub fn new(
        address: SocketAddr,
        tls: ServerTls,
        model: impl Into<PathBuf>,
        ledger: impl Into<PathBuf>,
        rate: LearningRate<B>,
    ) -> Self {
        Self {
            address,
            tls,
            model: model.into(),
            freeze: None,
            ledger: ledger.into(),
            rate,
            policy: Policy::Enforce,
            modes: None,
            blind: BlindTerms::default(),
            lease_samples: 4096,
            key_bits: 2048..=8192,
            limits: Limits::default(),
            precompute: false,
            web: None,
            observer: Arc::new(()),
            danger_lease_seed: None,
        }
    }
}

/// A server that listens: see the [module](self).
pub struct Server<B: Backend> {
    listener: TcpListener,
    pages: Option<Arc<Pages>>,
    host: Arc<Host<B>>,
}

/// When to stop: nothing yet, or the moment at which the last lease must be over.
type Stop = Option<Instant>;

impl<B: Backend> Server<B> {
    /// Opens the files, checks the configuration, and listens. Clients wait until [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Configuration`], [`Error::File`], [`Error::Model`]: what the operator must change;
    /// [`Error::Network`] when the address is taken.
    pub async fn bind(config: Config<B>) -> Result<Self> {
        check_paths(&config.model, &config.ledger)?;
        let address = config.address;
        let pages = match &config.web {
            Some(web) => Some(Arc::new(Pages::bind(web).await?)),
            None => None,
        };
        let opened = tokio::task::spawn_blocking(move || Host::open(config)).await;
        let host = opened.map_err(|e| Error::Bug(e.to_string()))??;
        let listening = TcpListener::bind(address).await;
        let listener = listening.map_err(Error::network(format!("listening on {address}")))?;
        Ok(Self { listener, pages, host: Arc::new(host) })
    }

    /// Where the server listens.
    ///
    /// # Errors
    /// [`Error::Network`], when the operating system cannot say.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(Error::network("asking for the own address"))
    }

    /// Where the page is, if there is one.
    ///
    /// # Errors
    /// [`Error::Network`], when the operating system cannot say.
    pub fn web_addr(&self) -> Result<Option<SocketAddr>> {
        let asked = self.pages.as_ref().map(|pages| pages.local_addr()).transpose();
        asked.map_err(Error::network("asking for the own address"))
    }

    /// What every client is told; the account is left empty.
    pub fn card(&self) -> ModelCard {
        self.host.card("")
    }

    /// Serves until `shutdown` is ready. Then nobody is let in any more, whoever waits is told so,
    /// messages in work are answered, and a lease in progress has [`Limits::grace`] to end; it is
    /// rolled back otherwise. Nothing runs any more when this returns.
    ///
    /// Dropping the future instead is safe as well, and harsh: sessions break off without a word.
    ///
    /// # Errors
    /// None at present: what goes wrong in a session is an [event](ServerEvent).
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary> {
        let Self { listener, pages, host } = self;
        let (stop, stopping) = watch::channel(Stop::None);
        let mut sessions = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = sessions.join_next() => report(ended),
                accepted = listener.accept() => match accepted {
                    Ok((tcp, peer)) => admit(&host, &mut sessions, tcp, peer, &stopping),
                    Err(error) => cannot_accept(&host, &error).await,
                },
                accepted = accept(pages.as_deref()) => match (accepted, &pages) {
                    (Ok((tcp, peer)), Some(pages)) => {
                        let place = host.strangers.admit(peer.ip());
                        let (pages, host) = (Arc::clone(pages), Arc::clone(&host));
                        sessions.spawn(web::run(pages, host, tcp, peer, place, stopping.clone()));
                    }
                    (Err(error), _) => cannot_accept(&host, &error).await,
                    (Ok(_), None) => {}
                },
            }
        }
        drop((listener, pages));
        let (now, limits) = (Instant::now(), &host.config.limits);
        stop.send_replace(Some(now + limits.grace));
        let farewells = async {
            while let Some(ended) = sessions.join_next().await {
                report(ended);
            }
        };
        if timeout_at(now + limits.grace + limits.handshake, farewells).await.is_err() {
            sessions.shutdown().await;
        }
        // Evaluations cannot be broken off: wait until each has given its permit back.
        let all = u32::try_from(limits.computations).unwrap_or(u32::MAX);
        drop(host.computing.acquire_many(all).await);
        Ok(host.summary())
    }
}

/// Lets somebody in who is not yet known.
fn admit<B: Backend>(
    host: &Arc<Host<B>>,
    sessions: &mut JoinSet<()>,
    tcp: TcpStream,
    peer: SocketAddr,
    stopping: &watch::Receiver<Stop>,
) {
    let place = host.strangers.admit(peer.ip());
    host.emit(ServerEvent::Connected { peer });
    let (host, stopping) = (Arc::clone(host), stopping.clone());
    sessions.spawn(async move {
        session::run(&host, greet(&host, tcp), peer, place, stopping).await;
    });
}

/// The next browser; never, where there is no page.
async fn accept(pages: Option<&Pages>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match pages {
        Some(pages) => pages.accept().await,
        None => pending().await,
    }
}

/// Out of file descriptors, most likely: strangers have to give theirs back.
async fn cannot_accept<B: Backend>(host: &Host<B>, error: &std::io::Error) {
    guarded(|| tracing::warn!(%error, "cannot accept"));
    host.strangers.make_room();
    sleep(Duration::from_millis(100)).await;
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        guarded(|| tracing::error!(%error, "a session broke off"));
    }
}
