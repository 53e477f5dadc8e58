//! The server: models, many clients, one lease of each model at a time.
//!
//! ```text
//!           ┌ session ─ machine ┐          ┌ store     charges, versions, leases: durable before an answer leaves
//!  TLS ─────┼ session ─ machine ┼─ model ──┼ versions  the last one, in the hands of all sessions and in its file
//!           └ session ─ machine ┘          └ queue     one lease at a time
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
mod lease;
mod machine;
mod observer;
mod offer;
mod proof;
mod queue;
mod quotas;
mod session;
mod shared;
#[cfg(feature = "simulation")]
pub(crate) mod simulated;
mod terms;
mod turns;
mod versions;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join3;
use gelu_store::{Quota, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::compute::beside;
use crate::error::{Error, Result};
use crate::handshake::ModelCard;
use crate::limits::Limits;
use crate::tls::ServerTls;
use greeting::greet;
use observer::guarded;
pub use observer::{Ended, MADE_ROOM, Observer, PRECOMPUTE, ServerEvent, Summary, Traffic, Way};
use offer::Ready;
pub use offer::{AnyOffer, Offer};
use shared::Shared;
pub use terms::Terms;
pub use versions::{content, publish};
use web::Pages;
pub use web::{HEADERS, Web};

/// Everything that a server needs to know, but for its [models](Offer).
#[non_exhaustive]
pub struct Config {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Certificates and key.
    pub tls: ServerTls,
    /// The books of all models.
    pub store: Store,
    /// What this server is called among those that share the store: never two of them the same.
    pub replica: String,
    /// Time and room.
    pub limits: Limits,
    /// What an account may use of a day.
    pub quota: Quota,
    /// The same of accounts that have one of their own.
    pub quotas_of: BTreeMap<String, Quota>,
    /// A page for browsers, at an address of its own.
    pub web: Option<Web>,
    /// Who looks on.
    pub observer: Arc<dyn Observer>,
}

impl Config {
    /// A server that is alone with its store; every other setting has a default and is a field.
    pub fn new(address: SocketAddr, tls: ServerTls, store: Store) -> Self {
        let (limits, quota, quotas_of) = Default::default();
        let (replica, web, observer) = ("server".into(), None, Arc::new(()));
        Self { address, tls, store, replica, limits, quota, quotas_of, web, observer }
    }
}

/// A server that listens: see the [module](self).
pub struct Server {
    listener: TcpListener,
    pages: Option<Arc<Pages>>,
    open: Open,
}

/// A server's models and what they share, which lead to each other. Closed when this is dropped, however a server ends.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The way to a server that runs. Clones lead to the same one.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// When to stop: nothing yet, or the moment at which the last lease must be over.
type Stop = Option<Instant>;

impl Server {
    /// Opens the models, checks the configuration, and listens. Clients wait until [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Configuration`], [`Error::File`], [`Error::Model`], [`Error::Store`]: what the operator must change;
    /// [`Error::Network`] when the address is taken.
    pub async fn bind(config: Config, models: Vec<AnyOffer>) -> Result<Self> {
        let address = config.address;
        let pages = match &config.web {
            Some(web) => Some(Arc::new(Pages::bind(web).await?)),
            None => None,
        };
        let open = Open(Arc::new(Shared::new(config)?));
        Handle(Arc::clone(&open.0)).serve(models).await?;
        let listening = TcpListener::bind(address).await;
        let listener = listening.map_err(Error::network(format!("listening on {address}")))?;
        Ok(Self { listener, pages, open })
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

    /// The way to it while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.open.0))
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
        let Self { listener, pages, open } = self;
        let shared = &open.0;
        let mut sessions = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut others = pin!(join3(follow(shared), count_use(shared), renew_tls(shared)));
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = &mut others => {}
                Some(ended) = sessions.join_next() => report(ended),
                accepted = listener.accept() => match accepted {
                    Ok((tcp, peer)) => admit(shared, &mut sessions, tcp, peer),
                    Err(error) => cannot_accept(shared, &error).await,
                },
                accepted = web::accept(pages.as_ref()) => match accepted {
                    Ok((pages, tcp, peer)) => {
                        let place = shared.strangers.admit(peer.ip());
                        sessions.spawn(web::run(pages, Arc::clone(shared), tcp, peer, place));
                    }
                    Err(error) => cannot_accept(shared, &error).await,
                },
            }
        }
        drop((listener, pages));
        let (now, limits) = (Instant::now(), &shared.config.limits);
        shared.stop.send_replace(Some(now + limits.grace));
        let farewells = async {
            while let Some(ended) = sessions.join_next().await {
                report(ended);
            }
        };
        if timeout_at(now + limits.grace + limits.handshake, farewells).await.is_err() {
            sessions.shutdown().await;
        }
        // Evaluations cannot be broken off: wait until each has given its permit back.
        shared.computing.idle().await;
        write_use(shared).await;
        Ok(shared.summary())
    }
}

impl Handle {
    /// Serves these models from now on. One that is served already goes on with its versions and its line, on the new
    /// terms; what its file holds is published, if it is news. Sessions that have begun keep the terms of their
    /// greeting. All models are checked before the first is changed; where one fails then, its books do.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub async fn serve(&self, models: Vec<AnyOffer>) -> Result<()> {
        let shared = Arc::clone(&self.0);
        let opened = beside(move || {
            let checked: Result<Vec<_>> = models.into_iter().map(AnyOffer::check).collect();
            let mut checked = checked?;
            // Before each is compared with the one that is served under its name.
            check_names(&checked)?;
            let before = shared.models();
            checked.iter_mut().try_for_each(|ready| ready.succeed(&before))?;
            let opened: Result<_> = checked.into_iter().map(|ready| ready.open(&shared)).collect();
            shared.serve(opened?);
            Ok(())
        });
        opened.await?
    }

    /// What every client is told of each model; the account is left empty.
    pub fn cards(&self) -> Vec<ModelCard> {
        self.0.models().iter().map(|model| model.card("")).collect()
    }

    /// The books.
    pub fn store(&self) -> &Store {
        &self.0.config.store
    }
}

/// Each model by a name of its own, and at least one.
fn check_names(models: &[Box<dyn Ready>]) -> Result<()> {
    let mut names = BTreeSet::new();
    match models.iter().find(|model| !names.insert(model.name())) {
        Some(model) => {
            let why = format!("two are called {:?}; give one of them another name", model.name());
            Err(Error::configuration("models", why))
        }
        None if models.is_empty() => Err(Error::configuration("models", "there is none to serve")),
        None => Ok(()),
    }
}

/// Takes over, again and again, what other servers of the store have made of the models.
async fn follow(shared: &Arc<Shared>) -> Infallible {
    if !shared.config.store.is_shared() {
        return pending().await;
    }
    loop {
        sleep(Duration::from_secs(1)).await;
        for model in shared.models() {
            let refreshed = beside(move || model.refresh()).await;
            if let Ok(Err(error)) = refreshed {
                shared.emit(ServerEvent::StoreFailed { reason: error.to_string() });
            }
        }
    }
}

/// Writes what accounts use, every second.
async fn count_use(shared: &Arc<Shared>) -> Infallible {
    loop {
        sleep(Duration::from_secs(1)).await;
        write_use(shared).await;
    }
}

async fn write_use(shared: &Arc<Shared>) {
    let quotas = Arc::clone(&shared.quotas);
    if let Ok(Err(error)) = beside(move || quotas.write()).await {
        shared.emit(ServerEvent::StoreFailed { reason: error.to_string() });
    }
}

/// Reads certificates and revocations again whenever their files change.
async fn renew_tls(shared: &Arc<Shared>) {
    let report = |result: Result<()>| match result {
        Ok(()) => guarded(|| tracing::info!("certificates and revocations were read again")),
        Err(error) => guarded(|| {
            tracing::error!(%error, "certificates or revocations cannot be read; the old ones stay in force");
        }),
    };
    shared.config.tls.follow(report).await;
}

/// Lets somebody in who is not yet known.
fn admit(shared: &Arc<Shared>, sessions: &mut JoinSet<()>, tcp: TcpStream, peer: SocketAddr) {
    let place = shared.strangers.admit(peer.ip());
    shared.emit(ServerEvent::Connected { peer });
    let shared = Arc::clone(shared);
    sessions.spawn(async move {
        session::run(&shared, greet(&shared, tcp, peer), peer, place).await;
    });
}

/// Out of file descriptors, most likely: strangers have to give theirs back.
async fn cannot_accept(shared: &Shared, error: &std::io::Error) {
    guarded(|| tracing::warn!(%error, "cannot accept"));
    shared.strangers.make_room();
    sleep(Duration::from_millis(100)).await;
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        guarded(|| tracing::error!(%error, "a session broke off"));
    }
}
