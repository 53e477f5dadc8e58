//! A server that answers queries: one elsewhere, or one that is started here for this run.
//!
//! [`Queries::reach`] refuses whatever can be refused before a key is used; [`Reached::open`] uses one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ArgGroup;
use gelu_core::Network;
use gelu_core::blind::Circuits;
use gelu_core::plan::Purpose;
use gelu_nn::{Model, Schema};
use gelu_service::client::{ClientEvent, Statistics};
use gelu_service::{Connection, ModelCard};
use tokio::runtime::Runtime;

use crate::args::{Cryptosystem, Threads};
use crate::backend::Scheme;
use crate::client::{self, ServerArgs};
use crate::cut_off::CutOff;
use crate::local::{Deployment, LocalServer, Terms};
use crate::machine;
use crate::mode::{Agreed, Asking, BLIND_QUERY, ModeArgs};
use crate::model;
use crate::phases::{Phases, Screen, bytes};
use crate::problem::{self, problem};
use crate::rate::RateArgs;

/// A model that is served here for this run, or a server elsewhere, by the command line.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Queries",
    group(ArgGroup::new("who").args(["model", "server"]).required(true))
)]
pub(crate) struct QueryArgs {
    /// The model to ask here: a server process is started for this run
    #[arg(long, value_name = "FILE", conflicts_with = "elsewhere")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mode: ModeArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) cryptosystem: Cryptosystem,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

impl QueryArgs {
    /// Reads the model that was named, if one was.
    ///
    /// # Errors
    /// As [`model::load`].
    pub(crate) fn model(&self) -> Result<Option<Model>> {
        self.model.as_deref().map(model::load).transpose()
    }

    /// Of that model, or of the server that was named.
    pub(crate) fn queries<'a>(&'a self, model: Option<&'a Model>) -> Queries<'a> {
        let &Self { ref server, mode, cryptosystem, threads, .. } = self;
        Queries { server: Some(server), model, mode, cryptosystem, threads }
    }
}

/// Who answers, and under which cryptosystem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queries<'a> {
    pub(crate) server: Option<&'a ServerArgs>,
    /// Is served here, where there is one.
    pub(crate) model: Option<&'a Model>,
    pub(crate) mode: ModeArgs,
    pub(crate) cryptosystem: Cryptosystem,
    pub(crate) threads: Threads,
}

/// A server that has introduced itself. No key of ours was used.
pub(crate) struct Reached<S: Scheme> {
    runtime: Arc<Runtime>,
    connection: Connection<S>,
    named: Option<S::SecretKey>,
    /// Of the key that will be used.
    pub(crate) key_bits: u32,
    /// How it will be asked.
    pub(crate) agreed: Agreed,
    /// Tickets to make first.
    tickets: usize,
    /// Samples of one query.
    pub(crate) batch: usize,
    /// What is shown while it works.
    pub(crate) screen: Screen,
    here: Option<Here>,
}

/// The server of this run; its folder lives as long as it does.
struct Here {
    server: LocalServer,
    _deployment: Deployment,
}

/// An open session with its server.
pub(crate) struct Open<S: Scheme> {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) session: Asking<S>,
    here: Option<Here>,
}

/// What the answers have cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent {
    pub(crate) cut_off: CutOff,
    pub(crate) statistics: Statistics,
    /// Bytes that our process and the server's have held at most, where it runs here.
    pub(crate) peak_memory: Option<[u64; 2]>,
}

impl Queries<'_> {
    /// Starts a server or finds the one that was named, and checks that queries of `batch` samples, or of as many as the
    /// scheme is fastest at, are possible there.
    ///
    /// # Errors
    /// What does not fit: the key, its size, the precision, the certificates; what the server says.
    pub(crate) fn reach<S: Scheme>(&self, batch: Option<usize>) -> Result<Reached<S>> {
        let named =
            self.server.map_or(Ok(None), |server| server.named_key::<S>(self.cryptosystem))?;
        let key_bits = match &named {
            Some(key) => client::key_bits::<S>(key),
            None => self.cryptosystem.key_bits,
        };
        let planned = |network: &Network, precision| {
            let batch =
                batch.unwrap_or_else(|| client::rows_of_query::<S>(network, precision, key_bits));
            S::plan(network, precision, batch, Purpose::Inference, key_bits).map(|_| batch)
        };
        let here = self.model.map(|model| {
            if self.mode.may_be_open() {
                planned(model.network(), model.precision())?;
            }
            let deployment = Deployment::create()?;
            let server = deployment.serve(model, &self.terms(key_bits))?;
            anyhow::Ok((deployment.admit("client")?, Here { server, _deployment: deployment }))
        });
        let here = here.transpose()?;
        let elsewhere = self.server.and_then(|args| Some((args, args.server.as_ref()?)));
        let (tls, address) = match (&here, elsewhere) {
            (Some((tls, here)), _) => (tls.clone(), here.server.address.to_string()),
            (None, Some((args, address))) => (args.tls()?, address.clone()),
            (None, None) => {
                return Err(problem("neither --model nor --server", "give one of them"));
            }
        };
        let runtime = Arc::new(Runtime::new().context("cannot start the runtime")?);
        let screen = Screen::default();
        let connecting = client::connect::<S>(&address, &tls, observer(&screen));
        let connection = client::wait(&runtime, connecting)?;
        client::check_key_bits(connection.card(), key_bits)?;
        let agreed = self.mode.agree(connection.card())?;
        let batch = match agreed {
            Agreed::Open => planned(connection.network(), &connection.card().precision)?,
            Agreed::Blind(answer) => {
                let (network, precision) = (connection.network(), &connection.card().precision);
                Circuits::new(network, precision, answer)?;
                batch.unwrap_or(BLIND_QUERY)
            }
        };
        let here = here.map(|(_, here)| here);
        let tickets = self.mode.tickets.unwrap_or(0);
        Ok(Reached { runtime, connection, named, key_bits, agreed, tickets, batch, screen, here })
    }

    /// The version that a server elsewhere serves now; unknown where it does not say.
    pub(crate) fn version_now<S: Scheme>(&self, runtime: &Runtime) -> Option<u64> {
        let server = self.server?;
        let (address, tls) = (server.server.as_ref()?, server.tls().ok()?);
        let connection =
            client::complete(runtime, client::connect::<S>(address, &tls, |_| ())).ok()?;
        let version = connection.card().version;
        client::complete(runtime, connection.close());
        Some(version)
    }

    fn terms(&self, key_bits: u32) -> Terms {
        Terms {
            cryptosystem: Cryptosystem { key_bits, ..self.cryptosystem },
            threads: self.threads,
            rate: RateArgs::public(0.1),
            lease_samples: 1,
            lease_seed: 0,
            precompute: false,
        }
    }
}

impl<S: Scheme> Reached<S> {
    /// What the server says about its model.
    pub(crate) fn card(&self) -> &ModelCard {
        self.connection.card()
    }

    /// What its inputs and classes mean, if the server knows.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.connection.schema()
    }

    /// The network as the protocol runs it.
    pub(crate) fn network(&self) -> &Arc<Network> {
        self.connection.network()
    }

    /// Opens a session with the key that was named or with a fresh one.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) fn open(self, phases: &mut Phases) -> Result<Open<S>> {
        let Self { runtime, connection, named, key_bits, agreed, tickets, screen, here, .. } = self;
        let secret = client::prepared_key::<S>(named, key_bits, phases)?;
        let mut session = client::wait(&runtime, agreed.open(connection, secret))?;
        if let Asking::Blind(session) = &mut session
            && tickets > 0
        {
            let running = phases.begin("making tickets", tickets as u64);
            screen.show(&running);
            let making = async { Ok(session.prepare_tickets(tickets).await?) };
            client::wait(&runtime, making)?;
            phases.end(running, "tickets", &format!("{tickets} tickets are ready"));
        }
        Ok(Open { runtime, session, here })
    }
}

impl<S: Scheme> Open<S> {
    /// Says goodbye, and stops the server if it is ours.
    pub(crate) fn close(self) -> Spent {
        let Self { runtime, session, here } = self;
        let cut_off = CutOff::new(session.network(), session.saturations());
        let statistics = client::complete(&runtime, session.close());
        let mut peak_memory = None;
        if let Some(Here { server, _deployment }) = here {
            peak_memory = machine::peak_memory("self").zip(server.peak_memory()).map(Into::into);
            // All answers are here: how the server ends changes none of them.
            if let Err(error) = server.stop() {
                tracing::warn!("{}", problem::sentence(&error));
            }
        }
        Spent { cut_off, statistics, peak_memory }
    }
}

fn observer(screen: &Screen) -> impl FnMut(&ClientEvent) + Send + 'static {
    let (screen, mut sum) = (screen.clone(), 0);
    move |event| {
        if let ClientEvent::Round { stage: Some(stage), stages, up, down, .. } = event {
            sum += up + down;
            screen.note(|| format!("layer {} of {stages}, {}", stage + 1, bytes(sum)));
        }
        if let ClientEvent::TicketsMade { tickets, wanted } = event {
            screen.note(|| format!("{tickets} of {wanted} tickets"));
        }
    }
}
