//! The client's side of a run: how to reach a server, and how to train and classify there.

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use clap::{ArgGroup, Args};
use gelu_core::backend::Layout;
use gelu_core::client::{DataPolicy, StepReport};
use gelu_core::error::PeerIncompatible;
use gelu_core::plan::Purpose;
use gelu_core::{Backend, Network, Precision};
use gelu_nn::{Batches, Dataset};
use gelu_service::certs::Identity;
use gelu_service::client::{Answers, ClientEvent};
use gelu_service::error::{Error, Goodbye};
use gelu_service::{ClientTls, Connection, Limits, ModelCard, Session};
use ndarray::{Array2, ArrayView2, Axis};
use tokio::runtime::Runtime;

use crate::args::Cryptosystem;
use crate::backend::Scheme;
use crate::leases::Rules;
use crate::phases::{Phases, say};
use crate::problem::{Advise, advised, problem};
use crate::signals;

/// Which server, and who we are there.
#[derive(Debug, Clone, Args)]
#[command(
    next_help_heading = "Server and identity",
    // What only a server elsewhere needs; what only a run here takes contradicts all of it. (`requires`
    // alone is silent beside an option that contradicts the one that is required.)
    group(ArgGroup::new("elsewhere").multiple(true))
)]
pub(crate) struct ServerArgs {
    /// A server elsewhere, HOST:PORT, or HOST:PORT/MODEL if it has several; without it, one is started here for this run
    #[arg(long, value_name = "ADDRESS", group = "elsewhere")]
    pub(crate) server: Option<String>,
    /// Folder with ca.pem and clients/ACCOUNT.pem and .key
    #[arg(
        long,
        value_name = "DIR",
        default_value = "certs",
        requires = "server",
        group = "elsewhere"
    )]
    certs: PathBuf,
    /// The account of our certificate
    #[arg(
        long,
        value_name = "NAME",
        default_value = "client",
        requires = "server",
        group = "elsewhere"
    )]
    account: String,
    /// Our key pair, made by `gelu keygen` [default: a fresh one, forgotten afterwards]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

impl ServerArgs {
    /// Our certificate for the server that was named.
    pub(crate) fn tls(&self) -> Result<ClientTls> {
        let identity = Identity::at(&self.certs.join("clients").join(&self.account));
        ClientTls::read(&self.certs.join("ca.pem"), &identity).advise(|| {
            format!(
                "put ca.pem, clients/{name}.pem and clients/{name}.key into {}, or name them with \
                 --certs and --account; `gelu certs add {name}` makes them",
                self.certs.display(),
                name = self.account,
            )
        })
    }

    /// Where the sums are counted that our account has revealed: beside its certificate, for all servers
    /// of that authority together.
    pub(crate) fn sums(&self) -> PathBuf {
        self.certs.join("clients").join(&self.account).with_added_extension("sums")
    }

    /// The key that was named, if one was; `cryptosystem` must not contradict it. Making one is for
    /// later, when nothing can be refused any more.
    pub(crate) fn named_key<S: Scheme>(
        &self,
        cryptosystem: Cryptosystem,
    ) -> Result<Option<S::SecretKey>> {
        let Some(path) = &self.key else { return Ok(None) };
        let secret = S::read_key(path)?;
        let (bits, asked) = (key_bits::<S>(&secret), cryptosystem.key_bits);
        if cryptosystem.key_bits_given && bits != asked {
            return Err(problem(
                format!("the key in {} has {bits} bits, not {asked}", path.display()),
                "leave out --key-bits, or name another --key",
            ));
        }
        Ok(Some(secret))
    }
}

/// Waits for `work`, unless we are asked to end first: then everything is cleaned up on the way out,
/// as after any other error.
pub fn wait<T>(runtime: &Runtime, work: impl Future<Output = Result<T>>) -> Result<T> {
    let next = "an unfinished lease was rolled back; run the command again to start over";
    wait_or(runtime, work, next)
}

/// The same, with what to do `next` when we were asked to end.
pub(crate) fn wait_or<T>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T>>,
    next: &str,
) -> Result<T> {
    let mut done = None;
    until_stopped(runtime, pin!(async { done = Some(work.await) }));
    done.unwrap_or_else(|| Err(problem("interrupted", next)))
}

/// Waits for `work` to its end.
pub fn complete<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    let mut done = None;
    block_on(runtime, pin!(async { done = Some(work.await) }));
    done.expect("the work has ended")
}

/// Any future: what runs one, thousands of lines of tokio, is compiled once, and not for each of seventy futures
/// under all backends.
type Work<'a> = Pin<&'a mut dyn Future<Output = ()>>;

fn block_on(runtime: &Runtime, work: Work<'_>) {
    runtime.block_on(work);
}

/// Until `work` has ended, or we are asked to end.
fn until_stopped(runtime: &Runtime, work: Work<'_>) {
    runtime.block_on(async {
        tokio::select! {
            () = work => (),
            () = signals::asked_to_stop() => signals::end_within(ENDING),
        }
    });
}

/// An evaluation in work cannot be broken off, and what was done is still compared and written; so
/// ending in order may take long. A second signal ends at once.
const ENDING: Duration = Duration::from_secs(60);

/// A key that nobody has had before.
pub fn fresh_key<S: Scheme>(bits: u32) -> Result<S::SecretKey> {
    let mut rng = rand::make_rng::<rand::rngs::ChaCha20Rng>();
    Ok(S::keygen(bits, &mut rng)?)
}

/// The key that was named, or a fresh one of `bits` bits, as a phase of its own.
pub(crate) fn prepared_key<S: Scheme>(
    named: Option<S::SecretKey>,
    bits: u32,
    phases: &mut Phases,
) -> Result<Arc<S::SecretKey>> {
    let running = phases.begin("preparing the key", 0);
    let secret = named.map_or_else(|| fresh_key::<S>(bits), Ok)?;
    phases.end(running, "keys", "the key is ready");
    Ok(Arc::new(secret))
}

/// Bits of a key.
pub fn key_bits<S: Backend>(secret: &S::SecretKey) -> u32 {
    S::key_bits(S::public_key(secret))
}

/// Refuses a key that the server of this card would refuse, before it is made.
pub fn check_key_bits(card: &ModelCard, got: u32) -> Result<()> {
    let (least, most) = card.key_bits;
    match (least..=most).contains(&got) {
        true => Ok(()),
        false => {
            let accepted = format!("{least} to {most} bits");
            Err(gelu_service::Error::from(PeerIncompatible::KeySize { got, accepted }).into())
        }
    }
}

/// Connects to `address` (HOST:PORT or HOST:PORT/MODEL) and opens a session with `secret`.
pub async fn open<S: Backend>(
    address: &str,
    tls: &ClientTls,
    secret: Arc<S::SecretKey>,
    policy: DataPolicy,
    observer: impl FnMut(&ClientEvent) + Send + 'static,
) -> Result<Session<S>> {
    Ok(connect::<S>(address, tls, observer).await?.open(secret, policy).await?)
}

/// Connects to `address` (HOST:PORT or HOST:PORT/MODEL) and reads what is served there; no key of ours is used yet.
///
/// A server that is busy says when to come back: we do, for ten minutes in all.
pub async fn connect<S: Backend>(
    address: &str,
    tls: &ClientTls,
    observer: impl FnMut(&ClientEvent) + Send + 'static,
) -> Result<Connection<S>> {
    let (address, model) = address.split_once('/').unwrap_or((address, ""));
    let (name, limits) = (host_of(address)?, Limits::default());
    let observer = Arc::new(Mutex::new(observer));
    let mut patience = PATIENCE;
    loop {
        let observer = Arc::clone(&observer);
        let observer = move |event: &ClientEvent| {
            (observer.lock().unwrap_or_else(PoisonError::into_inner))(event);
        };
        let connected = Connection::connect(address, name, model, tls, limits, observer).await;
        match connected {
            Ok(connection) => return Ok(connection),
            Err(Error::Ended(Goodbye::Busy { seconds })) if !patience.is_zero() => {
                let pause = pause(seconds, patience);
                patience -= pause;
                say(&format!("{address} is busy; coming back in {} s", pause.as_secs()));
                tokio::time::sleep(pause).await;
            }
            Err(error @ Error::Ended(Goodbye::Busy { .. })) => {
                return Err(advised(error, "run the command again later"));
            }
            Err(error @ Error::Timeout { .. }) => {
                let next = "check the address and the network; the server may be overloaded, too";
                return Err(advised(error, next));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How long we come back to a server that is busy.
const PATIENCE: Duration = Duration::from_mins(10);

/// The time that the server asks for, but no less than a second, and no more than we are ready to wait.
fn pause(seconds: u16, patience: Duration) -> Duration {
    Duration::from_secs(seconds.into()).max(Duration::from_secs(1)).min(patience)
}

/// The host of HOST:PORT, which the server's certificate must name.
pub(crate) fn host_of(address: &str) -> Result<&str> {
    let (host, _) = address.rsplit_once(':').ok_or_else(|| {
        problem(format!("{address:?} has no port"), "write HOST:PORT, such as localhost:7878")
    })?;
    Ok(host.trim_start_matches('[').trim_end_matches(']'))
}

/// The mini-batches of a client, in order: `steps` of them, all of the same size. What is left
/// of an epoch when no full mini-batch remains is shuffled anew with the next one.
pub fn schedule(samples: usize, batch: usize, steps: usize, seed: u64) -> Result<Vec<Vec<usize>>> {
    if samples < batch || batch == 0 {
        return Err(problem(
            format!("a mini-batch of {batch} samples cannot be made of {samples}"),
            "choose another --batch, or fewer --clients",
        ));
    }
    let batches = Batches::new(samples, batch, seed)?;
    let full = (0..).flat_map(|epoch| batches.epoch(epoch).filter(|b| b.len() == batch));
    Ok(full.take(steps).collect())
}

/// A lease that was committed, and what went into it.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Which client held it.
    pub client: usize,
    /// The version that it has become.
    pub version: u64,
    /// Its mini-batches.
    pub batches: Vec<Vec<usize>>,
    /// What each looked like.
    pub steps: Vec<StepReport>,
}

/// Trains on every mini-batch of `schedule`, by as many leases as the server makes of them, each of a
/// length that keeps the data safe and lets the rest be trained. Those that were committed stand in
/// `leases`, however it ends.
pub async fn train<S: Scheme>(
    session: &mut Session<S>,
    client: usize,
    data: &Dataset,
    schedule: &[Vec<usize>],
    leases: &mut Vec<Lease>,
) -> Result<()> {
    let (sums, policy) = (Arc::clone(session.sums()), session.policy());
    let ids = sums.ledger()?.ids(data.features());
    let batch = schedule.first().map_or(0, Vec::len);
    let card = session.card();
    let rules =
        Rules::new(session.network(), S::sigma(&card.precision), batch, policy, card.lease_samples);
    let mut rest = schedule;
    while !rest.is_empty() {
        let lengths = rules.lengths(&sums.ledger()?, &ids, rest)?;
        let mut batches = rest.iter().map(|samples| data.batch(samples)).peekable();
        let report = session.train_to(&lengths, &mut batches).await?;
        let (done, left) = rest.split_at(report.steps.len());
        let (version, steps) = (report.version, report.steps);
        leases.push(Lease { client, version, batches: done.to_vec(), steps });
        rest = left;
    }
    Ok(())
}

/// Rows of a query where many are to be classified: what the scheme is fastest at, or fewer, so that no message
/// outgrows a frame.
pub fn rows_of_query<S: Scheme>(network: &Network, precision: &Precision, key_bits: u32) -> usize {
    let limit = Limits::default().frame_bytes;
    let too_large = |rows: usize| {
        let plan = S::plan(network, precision, rows, Purpose::Inference, key_bits);
        // Both ways together: one way is less.
        plan.is_ok_and(|plan| plan.exchanges().any(|(.., e)| e.layout().cost().bytes > limit))
    };
    let mut rows = S::QUERY;
    while rows > 1 && too_large(rows) {
        rows /= 2;
    }
    rows
}

/// Whoever answers queries, open or blind.
pub trait Answering: Send {
    /// Answers `inputs`, `[features, samples]`.
    fn answer(
        &mut self,
        inputs: &Array2<f64>,
    ) -> impl Future<Output = gelu_service::Result<Answers>> + Send;
}

impl<S: Scheme> Answering for Session<S> {
    async fn answer(&mut self, inputs: &Array2<f64>) -> gelu_service::Result<Answers> {
        Ok(Answers::Probabilities(self.classify(inputs).await?))
    }
}

/// The most probable class of every sample of `data`, `batch` samples a query; `answered` gets them
/// as they come, so that they are there however it ends.
pub(crate) async fn classify(
    session: &mut impl Answering,
    data: &Dataset,
    mut batch: usize,
    mut answered: impl FnMut(&[usize]) + Send,
) -> Result<()> {
    let classes = |answers: Answers| {
        answered(&answers.classes());
        Ok(())
    };
    answers(session, data.features().view(), &mut batch, classes).await
}

/// Answers of `inputs`, `[features, samples]`, in order: `answered` gets those of each query as they come.
///
/// A server refuses a query as a whole: it is asked again for half as many, so that an account can
/// use all that is left of its budget; `batch` says how many samples a query had at last.
///
/// # Errors
/// What the server says about a single sample, what breaks the session, and what `answered` gives: it has had all
/// answers before that.
pub async fn answers(
    session: &mut impl Answering,
    inputs: ArrayView2<'_, f64>,
    batch: &mut usize,
    mut answered: impl FnMut(Answers) -> Result<()>,
) -> Result<()> {
    *batch = (*batch).max(1);
    let mut next = 0;
    while next < inputs.ncols() {
        let query = next..inputs.ncols().min(next + *batch);
        match session.answer(&inputs.slice_axis(Axis(1), query.clone().into()).to_owned()).await {
            Ok(answers) => {
                answered(answers)?;
                next = query.end;
            }
            Err(gelu_service::Error::Refused(_)) if query.len() > 1 => *batch = query.len() / 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The share of `predictions` that are right, of the first samples; unknown where there are none.
pub(crate) fn accuracy(predictions: &[usize], labels: &[usize]) -> Option<f64> {
    let right = predictions.iter().zip(labels).filter(|(a, b)| a == b).count();
    (!predictions.is_empty()).then(|| right as f64 / predictions.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Clear;
    use gelu_service::ServerTls;
    use gelu_service::certs::Authority;
    use gelu_service::channel;
    use gelu_service::handshake::{Down, Up};
    use gelu_service::tls::ALPN;
    use std::time::Instant;
    use tokio::net::TcpListener;

    #[test]
    fn accuracy_is_that_of_what_was_answered() {
        assert_eq!(accuracy(&[0, 1, 1], &[0, 1, 2, 0, 0]), Some(2.0 / 3.0));
        assert_eq!(accuracy(&[], &[0]), None);
    }

    #[test]
    fn a_busy_server_is_waited_for_as_long_as_it_says_and_no_longer_than_we_like() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(7, PATIENCE), seconds(7));
        assert_eq!(pause(0, PATIENCE), seconds(1));
        assert_eq!(pause(u16::MAX, PATIENCE), PATIENCE);
        assert_eq!(pause(300, seconds(20)), seconds(20));
    }

    /// A server that is busy at first, and shutting down when its client comes back.
    #[test]
    fn who_is_sent_away_comes_back_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, server) = Authority::init(folder.path(), &[], None).unwrap();
        let ours = authority.issue_client("alice").unwrap();
        let serving = ServerTls::read(&authority.certificate(), &server).unwrap();
        let tls = ClientTls::read(&authority.certificate(), &ours).unwrap();
        Runtime::new().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let answering = async {
                for words in [Goodbye::Busy { seconds: 1 }, Goodbye::ShuttingDown] {
                    let (tcp, _) = listener.accept().await.unwrap();
                    let accepted = channel::accept(tcp, &serving, ALPN, &Limits::default()).await;
                    let (_, mut channel) = accepted.unwrap();
                    channel.receive::<Up>(Duration::from_secs(5)).await.unwrap();
                    channel.close(&Down::Goodbye(words)).await;
                }
            };
            let began = Instant::now();
            let ((), connected) = tokio::join!(answering, connect::<Clear>(&address, &tls, |_| ()));
            let error = connected.err().expect("nobody serves").to_string();
            assert!(error.contains("shutting down"), "{error}");
            assert!(began.elapsed() >= Duration::from_secs(1), "it was told to wait");
        });
    }

    #[test]
    fn schedules_hold_full_batches_and_see_every_sample() {
        let schedule = schedule(10, 4, 5, 1).unwrap();
        assert_eq!(schedule.iter().map(Vec::len).collect::<Vec<_>>(), [4; 5]);
        assert!(schedule[..2].concat().iter().all(|&s| s < 10));
        assert!(super::schedule(3, 4, 1, 1).is_err());
        assert!(super::schedule(3, 0, 1, 1).is_err());
        assert_eq!(super::schedule(60, 60, 2, 1).unwrap().len(), 2);
    }
}
