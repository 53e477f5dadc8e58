//! `gelu transfer compute`: trains heads on ciphertexts for who asks, one computation at a time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gelu_core::error::PeerMisbehaved;
use gelu_service::channel::{self, ServerChannel};
use gelu_service::error::Goodbye;
use gelu_service::{Error, Limits, ServerTls, on_pool};
use gelu_transfer::Base;
use rand::rngs::ChaCha20Rng;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::base;
use super::party::Party;
use super::wire::{ALPN, Assembly, Card, Down, Refusal, Up, limits, parts};
use crate::args::{self, Threads};
use crate::commands::serve::{server_tls, stop_signal};
use crate::machine;
use crate::model;
use crate::output::Output;
use crate::phases::say;
use crate::problem::problem;

/// Compute for data parties: train their heads on ciphertexts, with keys that cannot decrypt
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Computing",
    after_help = "\
Examples:
  gelu transfer compute --listen 127.0.0.1:0      on a free port of this machine
  gelu transfer compute --memory 4                no plan that takes more than 4 GB
  gelu transfer compute --base base.safetensors --freeze 1 --allow-model-extraction     setup 1

Data parties ask with `gelu transfer fit --engine ckks --server`. They bring settings, keys for
computing on ciphertexts, encrypted rows or features and encrypted heads; this process learns sizes and
settings. It computes for one at a time and tells others that it is busy. Accounts and certificates
are those of `gelu serve`. With --base, a data party gets the features of its rows, and so equations about the base:
what that says, --allow-model-extraction accepts. Ctrl-C stops it at once: data parties go on from their last refresh,
with --state."
)]
pub(in super::super) struct Args {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7879")]
    listen: SocketAddr,
    /// Folder that `gelu certs init` has made
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// The most memory that a computation may take, in GB [default: what is available when it begins]
    #[arg(long, value_name = "GB", value_parser = gigabytes)]
    memory: Option<f64>,
    /// A model whose first layers compute features of encrypted rows, for who asks for that: setup 1
    #[arg(long, value_name = "MODEL")]
    base: Option<PathBuf>,
    /// How many layers of --base, from the first on [default: those that its file says are frozen]
    #[arg(long, value_name = "STAGES", requires = "base", value_parser = args::count(1..))]
    freeze: Option<usize>,
    /// Give features of --base to whoever asks, though a dozen rows can say all about its layers
    #[arg(long, requires = "base")]
    allow_model_extraction: bool,
    /// Stop when the standard input ends: for programs that start a server of their own
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
    #[command(flatten)]
    threads: Threads,
}

/// What all sessions share.
struct Host {
    tls: ServerTls,
    limits: Limits,
    /// In bytes, where the operator has said how much.
    memory: Option<u64>,
    base: Option<Offer>,
    /// Held by connections until they compute or leave.
    places: Arc<Semaphore>,
    /// Held by the one that computes, until its last job has ended.
    seat: Arc<Semaphore>,
}

/// A base of ours, and what others may know of it.
struct Offer {
    base: Arc<Base>,
    card: Card,
}

/// The line for programs: where we listen.
#[derive(Serialize)]
struct Ready {
    address: SocketAddr,
    engine: &'static str,
}

/// Computes until told to stop.
pub(in super::super) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    let host = Arc::new(Host {
        tls: server_tls(&args.certs)?,
        limits: limits(),
        memory: args.memory.map(bytes_of),
        base: args.load_base()?,
        places: Arc::new(Semaphore::new(PLACES)),
        seat: Arc::new(Semaphore::new(1)),
    });
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let served = runtime.block_on(serve(args, &host, output));
    // A job cannot be broken off, and nobody waits for it any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

impl Args {
    fn load_base(&self) -> Result<Option<Offer>> {
        let Some(path) = &self.base else { return Ok(None) };
        let model = model::load(path)?;
        let stages = self.freeze.unwrap_or(model.architecture().frozen());
        let base = base::cut(&model, stages)?;
        if !self.allow_model_extraction {
            let layers = &model.weights().layers[..stages];
            let numbers: usize =
                layers.iter().map(|layer| layer.weights.len() + layer.biases.len()).sum();
            let features = base.features();
            return Err(problem(
                format!(
                    "each row shows a data party {features} features, equations about the base: {} rows give as many as it has numbers, and heads are trained on more",
                    numbers.div_ceil(features)
                ),
                "add --allow-model-extraction if whoever has an account may know the base; --engine exact counts what clients learn",
            ));
        }
        let card = Card {
            name: model.name().into(),
            inputs: base.inputs().try_into()?,
            features: base.features().try_into()?,
            squares: base.squares().try_into()?,
            schema: model.schema().map(|schema| schema.to_json()),
        };
        Ok(Some(Offer { base: Arc::new(base), card }))
    }
}

async fn serve(args: &Args, host: &Arc<Host>, output: Output) -> Result<()> {
    let bound = async {
        let listener = TcpListener::bind(args.listen).await?;
        let address = listener.local_addr()?;
        std::io::Result::Ok((listener, address))
    };
    let (listener, address) = bound.await.map_err(|error| {
        problem(
            format!("cannot listen on {}: {error}", args.listen),
            "choose another --listen; port 0 takes a free one",
        )
    })?;
    let stop = stop_signal(args.stop_with_stdin);
    tokio::pin!(stop);
    match output.json {
        true => output.line(&Ready { address, engine: "ckks" })?,
        false => say(&format!("computing under CKKS on {address}\nCtrl-C stops it.")),
    }
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => match Arc::clone(&host.places).try_acquire_owned() {
                    Ok(place) => drop(sessions.spawn(session(Arc::clone(host), tcp, peer, place))),
                    Err(_) => tracing::warn!(%peer, "turned away: too many connections"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = sessions.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a session failed; please report it");
            },
        }
    }
    sessions.shutdown().await;
    Ok(())
}

/// One connection from its first byte to its last.
async fn session(host: Arc<Host>, tcp: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
    let opened = channel::accept(tcp, &host.tls, ALPN, &host.limits).await;
    let (account, mut channel) = match opened {
        Ok(opened) => opened,
        Err(error) => return tracing::info!(%peer, %error, "turned away"),
    };
    tracing::info!(account, %peer, "connected");
    let ended = compute(&host, &mut channel, &account, place).await;
    match &ended {
        Ok(()) => tracing::info!(account, "left"),
        Err(error) => tracing::warn!(account, %error, "a session ended"),
    }
    // For all misbehaviour the same: an attacker learns nothing from it.
    let words = match ended.as_ref().map_err(|error| error.downcast_ref()) {
        Err(Some(Error::Timeout { .. })) => Goodbye::TimeLimit,
        _ => Goodbye::Ended,
    };
    channel.close(&Down::Goodbye(words)).await;
}

async fn compute(
    host: &Host,
    channel: &mut ServerChannel,
    account: &str,
    place: OwnedSemaphorePermit,
) -> Result<()> {
    let terms = match channel.receive(host.limits.greeting).await?.0 {
        Up::Open(terms) => terms,
        Up::Look => {
            let card = host.base.as_ref().map(|offer| offer.card.clone());
            channel.send(&Down::Base(card)).await?;
            return Ok(());
        }
        Up::Bye => return Ok(()),
        Up::Part(_) => return Err(unexpected("Open", "Part").into()),
    };
    let refuse = |refusal| {
        tracing::info!(account, ?terms, ?refusal, "refused");
        Down::Refused(refusal)
    };
    let Ok(mut seat) = Arc::clone(&host.seat).try_acquire_owned() else {
        channel.send(&refuse(Refusal::Busy)).await?;
        return Ok(());
    };
    drop(place);
    let available = machine::available_memory().unwrap_or(u64::MAX);
    let memory = host.memory.map_or(available, |memory| memory.min(available));
    let base = host.base.as_ref().map(|offer| Arc::clone(&offer.base));
    let opened = on_pool(move || Party::open(&terms, base.as_deref(), memory)).await?;
    let mut party = match opened {
        Ok(party) => party,
        Err(refusal) => {
            channel.send(&refuse(refusal)).await?;
            return Ok(());
        }
    };
    tracing::info!(account, ?terms, "accepted");
    channel.send(&Down::Accepted).await?;
    while let Some(message) = receive(channel, party.most_bytes(), host.limits.idle).await? {
        let began = Instant::now();
        let job = on_pool(move || {
            let handled = party.handle(&message, &mut rand::make_rng::<ChaCha20Rng>());
            // Memory is freed before another computation may take it.
            drop(message);
            (handled, seat)
        });
        let (handled, kept) = alive(channel, job, host.limits.keep_alive).await?;
        let (next, answer) = handled?;
        (party, seat) = (next, kept);
        tracing::info!(account, seconds = began.elapsed().as_secs_f64(), "computed");
        match answer {
            None => drop(channel.send(&Down::Received).await?),
            Some(answer) => {
                for part in parts(&answer) {
                    channel.send(&Down::Part(part)).await?;
                }
            }
        }
    }
    Ok(())
}

/// The next message; nothing when the data party leaves.
async fn receive(
    channel: &mut ServerChannel,
    most: usize,
    idle: Duration,
) -> Result<Option<Vec<u8>>> {
    let mut message = Assembly::new(most);
    loop {
        match channel.receive(idle).await?.0 {
            Up::Part(part) => {
                if let Some(whole) = message.take(part).map_err(Error::from)? {
                    return Ok(Some(whole));
                }
            }
            Up::Bye => return Ok(None),
            Up::Open(_) => return Err(unexpected("a message", "Open").into()),
            Up::Look => return Err(unexpected("a message", "Look").into()),
        }
    }
}

/// Waits for a job, and tells the data party that we do.
async fn alive<T>(
    channel: &mut ServerChannel,
    job: impl Future<Output = Result<T, Error>>,
    every: Duration,
) -> Result<T, Error> {
    tokio::pin!(job);
    loop {
        match timeout(every, &mut job).await {
            Ok(done) => return done,
            Err(_) => drop(channel.send(&Down::Working).await?),
        }
    }
}

fn unexpected(expected: &'static str, got: &'static str) -> Error {
    PeerMisbehaved::UnexpectedMessage { expected, got }.into()
}

fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (0.001..=1e6).contains(&x) => Ok(x),
        _ => Err("must be a number of GB from 0.001 to 1000000".into()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 10^15")]
fn bytes_of(gigabytes: f64) -> u64 {
    (gigabytes * 1e9) as u64
}

/// Connections that may wait to be known, or to be told that we are busy.
const PLACES: usize = 64;
/// After an error of the system, which is out of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);
