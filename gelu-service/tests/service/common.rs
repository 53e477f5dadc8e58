//! A server in a folder of its own, real sockets, real TLS, and clients of any name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gelu_core::clear::{Clear, ClearKey};
use gelu_core::client::DataPolicy;
use gelu_core::ledger::{Account, Exposure, Policy};
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::pair::{Pair, PairHost};
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::{Host, LearningRate, ServedModel};
use gelu_core::{Cryptosystem, Parameters, Precision};
use gelu_nn::{Activation, Model, Sequential};
use gelu_service::certs::{Authority, Identity};
use gelu_service::client::ClientEvent;
use gelu_service::frame::Receiver;
use gelu_service::handshake::{Down, Hello, Up};
use gelu_service::server::{Handle, Observer, Offer, ServerEvent, Summary};
use gelu_service::{ClientTls, Config, Connection, Limits, Result, Server, ServerTls, Session};
use gelu_store::{Engine, Memory, Redb, Store, Transaction};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const ETA: f64 = 0.25;
pub(crate) const BATCH: usize = 6;
/// Far beyond what anything here takes, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

pub(crate) type Batch = (Array2<f64>, Vec<usize>);

/// A folder with an authority, a model and a ledger.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) authority: Authority,
    server: Identity,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(&model())
    }

    pub(crate) fn with(model: &Model) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("certs")).unwrap();
        let server = authority.issue_server(&[]).unwrap();
        model.save(&folder.path().join("model.safetensors")).unwrap();
        Self { folder, authority, server }
    }

    pub(crate) fn model_path(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    /// The books of a server that does not run.
    pub(crate) fn store(&self) -> Store {
        Store::on(Redb::open(&self.folder.path().join("store")).unwrap())
    }

    /// The model on the disk.
    pub(crate) fn stored(&self) -> Model {
        Model::load(&self.model_path()).unwrap()
    }

    pub(crate) fn config(&self) -> Setup {
        self.config_on(self.store())
    }

    pub(crate) fn config_on(&self, store: Store) -> Setup {
        config_in(self.folder.path(), self.server_tls(), store)
    }

    pub(crate) fn server_tls(&self) -> ServerTls {
        ServerTls::read(&self.authority.certificate(), &self.server).unwrap()
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(|_| {}).await
    }

    pub(crate) async fn start_with(&self, change: impl Fn(&mut Setup)) -> Running {
        let store = loop {
            match Redb::open(&self.folder.path().join("store")) {
                Ok(store) => break Store::on(store),
                // A server that was killed before lets go of its files when its last thread ends.
                Err(gelu_store::Error::InUse(_)) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(e) => panic!("{e}"),
            }
        };
        self.start_on(store, change).await
    }

    pub(crate) async fn start_on(&self, store: Store, change: impl Fn(&mut Setup)) -> Running {
        let log = Arc::new(Log::default());
        let mut config = self.config_on(store);
        config.server.observer = Arc::clone(&log) as Arc<dyn Observer>;
        change(&mut config);
        let server = config.bind().await.unwrap();
        let (address, handle) = (server.local_addr().unwrap(), server.handle());
        let web = server.web_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Running { address, web, log, stop: Some(stop), task, handle }
    }

    pub(crate) fn identity(&self, account: &str) -> Identity {
        let stem = self.folder.path().join("certs/clients").join(account);
        let (certificate, key) =
            (stem.with_added_extension("pem"), stem.with_added_extension("key"));
        match certificate.exists() {
            true => Identity { certificate, key },
            false => self.authority.issue_client(account).unwrap(),
        }
    }

    pub(crate) fn tls(&self, account: &str) -> ClientTls {
        ClientTls::read(&self.authority.certificate(), &self.identity(account)).unwrap()
    }

    pub(crate) async fn client(&self, running: &Running, account: &str) -> Session<Clear> {
        let connection = connect(running.address, &self.tls(account)).await.unwrap();
        connection.open(key(), DataPolicy::AllowInputReconstruction).await.unwrap()
    }
}

/// Books that can fail.
#[derive(Clone, Default)]
pub(crate) struct Frail {
    books: Arc<Memory>,
    fails: Arc<AtomicBool>,
}

impl Frail {
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }
}

type Work<'w> = &'w mut dyn FnMut(&mut dyn Transaction) -> gelu_store::Result<()>;

impl Engine for Frail {
    fn write(&self, work: Work<'_>) -> gelu_store::Result<()> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(gelu_store::Error::Engine("no space left".into())),
            false => self.books.write(work),
        }
    }

    fn read(&self, work: Work<'_>) -> gelu_store::Result<()> {
        self.books.read(work)
    }
}

/// A server of one model.
pub(crate) struct Setup {
    pub(crate) server: Config,
    pub(crate) offer: Offer<Clear>,
}

impl Setup {
    pub(crate) async fn bind(self) -> Result<Server> {
        Server::bind(self.server, vec![self.offer.into()]).await
    }
}

/// A server of the model in `folder`.
pub(crate) fn config_in(folder: &Path, tls: ServerTls, store: Store) -> Setup {
    let mut server = Config::new("127.0.0.1:0".parse().unwrap(), tls, store);
    // No test depends on how loaded a machine is, unless it says so.
    server.limits.greeting = PATIENCE;
    let mut offer = Offer::new(folder.join("model.safetensors"), LearningRate::Public(ETA));
    offer.policy = Policy::AllowModelExtraction;
    offer.danger_lease_seed = Some([7; 32]);
    Setup { server, offer }
}

pub(crate) fn key() -> Arc<ClearKey> {
    Arc::new(ClearKey::new(2048).unwrap())
}

pub(crate) async fn connect(address: SocketAddr, tls: &ClientTls) -> Result<Connection<Clear>> {
    connect_with(address, tls, Limits::default(), |_| {}).await
}

pub(crate) async fn connect_with(
    address: SocketAddr,
    tls: &ClientTls,
    limits: Limits,
    observer: impl FnMut(&ClientEvent) + Send + 'static,
) -> Result<Connection<Clear>> {
    let connecting = Connection::connect(address, "localhost", "", tls, limits, observer);
    timeout(PATIENCE, connecting).await.expect("connects in time")
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) web: Option<SocketAddr>,
    pub(crate) log: Arc<Log>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<Summary>>,
    pub(crate) handle: Handle,
}

impl Running {
    /// What an account has seen of the model.
    pub(crate) fn seen(&self, account: &str) -> Account {
        let name = self.handle.cards().remove(0).name;
        self.handle.store().account(&name, account).unwrap()
    }

    pub(crate) async fn shut_down(mut self) -> Summary {
        drop((self.stop.take(), self.handle));
        timeout(PATIENCE, self.task).await.expect("ends in time").unwrap().unwrap()
    }

    /// As `kill -9` would, as far as one process can do that to itself.
    pub(crate) async fn kill(self) {
        drop(self.handle);
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Everything that a server has said, and all that its machine has received.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) events: Mutex<Vec<ServerEvent>>,
    pub(crate) received: Mutex<Vec<(String, ClientMessage)>>,
    changed: Notify,
}

impl Observer for Log {
    fn event(&self, event: &ServerEvent) {
        self.events.lock().unwrap().push(event.clone());
        self.changed.notify_waiters();
    }

    fn received(&self, account: &str, message: &ClientMessage) {
        self.received.lock().unwrap().push((account.into(), message.clone()));
    }
}

impl Log {
    pub(crate) fn find<T>(&self, found: impl Fn(&ServerEvent) -> Option<T>) -> Option<T> {
        self.events.lock().unwrap().iter().find_map(found)
    }

    /// Waits until an event has happened.
    pub(crate) async fn wait<T>(&self, found: impl Fn(&ServerEvent) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = self.find(&found) {
                    return found;
                }
                changed.await;
            }
        };
        let patience = timeout(PATIENCE, waiting).await;
        patience.unwrap_or_else(|_| panic!("never happened: {:#?}", self.events.lock().unwrap()))
    }

    pub(crate) async fn turned_away(&self) -> String {
        self.wait(|event| match event {
            ServerEvent::TurnedAway { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// How the session of `account` ended.
    pub(crate) async fn left(&self, who: &str) -> Option<String> {
        self.wait(|event| match event {
            ServerEvent::Left { account, ended, .. } if account == who => {
                Some(ended.as_ref().map(|ended| ended.reason.clone()))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn rolled_back(&self, who: &str) -> String {
        self.wait(|event| match event {
            ServerEvent::RolledBack { account, reason, .. } if account == who => {
                Some(reason.clone())
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn queued(&self, who: &str) -> u32 {
        self.wait(|event| match event {
            ServerEvent::Queued { account, position, .. } if account == who => Some(*position),
            _ => None,
        })
        .await
    }

    /// Until it is the turn of `who`.
    pub(crate) async fn granted(&self, who: &str) {
        self.wait(|event| match event {
            ServerEvent::LeaseGranted { account, .. } if account == who => Some(()),
            _ => None,
        })
        .await;
    }

    /// The versions that were committed, in order, and by whom.
    pub(crate) fn commits(&self) -> Vec<(String, u64)> {
        let commit = |event: &ServerEvent| match event {
            ServerEvent::Committed { account, version, .. } => Some((account.clone(), *version)),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(commit).collect()
    }
}

pub(crate) fn architecture() -> Sequential {
    Sequential::dense(4, &[5], 3, Activation::Tanh).unwrap()
}

pub(crate) fn model() -> Model {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    Model::initialise("small", architecture(), Precision::TRAINING, rng).unwrap()
}

/// Other weights of the same shapes.
pub(crate) fn doubled(parameters: &Parameters) -> Parameters {
    let mut parameters = parameters.clone();
    parameters.layers.iter_mut().for_each(|layer| layer.weights.iter_mut().for_each(|w| *w *= 2));
    parameters
}

/// What one sample of a query gives away.
pub(crate) fn exposure(model: &Model) -> Exposure {
    let (served, purpose) = (ServedModel::from(model), Purpose::Inference);
    let (network, precision) = (&served.network, &served.precision);
    let plan = Plan::new::<Clear>(network, precision, 1, purpose, &*key()).unwrap();
    Exposure::new(network, precision, &plan)
}

/// Wide enough that the ledger allows a few queries and then no more.
pub(crate) fn wide_model() -> Model {
    let architecture = Sequential::dense(64, &[], 3, Activation::Tanh).unwrap();
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    Model::initialise("wide", architecture, Precision::TRAINING, rng).unwrap()
}

pub(crate) fn batches(seed: u64, steps: usize) -> Vec<Batch> {
    batches_for(4, seed, steps)
}

pub(crate) fn batches_for(features: usize, seed: u64, steps: usize) -> Vec<Batch> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
    (0..steps)
        .map(|_| {
            let inputs = Array2::from_shape_fn((features, BATCH), |_| uniform());
            let labels = (0..BATCH).map(|_| usize::from(uniform() > 0.0) + 1).collect();
            (inputs, labels)
        })
        .collect()
}

/// The parameters after the same lease in one process, without sockets.
pub(crate) fn replay(model: &Model, batches: &[Batch]) -> Parameters {
    let rng = &mut ChaCha20Rng::seed_from_u64(99);
    let served = ServedModel::from(model);
    let host = Arc::new(PairHost::new(served, "replay", Policy::AllowModelExtraction));
    let rate = LearningRate::Public(ETA);
    let mut pair = Pair::<Clear>::open(Arc::clone(&host), key(), rate, rng).unwrap();
    pair.train(batches, rng).unwrap();
    host.model().parameters.clone()
}

/// Endless data: a lease on it lasts until something ends it.
pub(crate) fn endless() -> std::iter::Peekable<std::iter::Cycle<std::vec::IntoIter<Batch>>> {
    batches(1, 5).into_iter().cycle().peekable()
}

/// Data that comes to a halt after its batches, and to an end when [`Halt::end`] is called.
pub(crate) fn halting(batches: Vec<Batch>) -> (impl Iterator<Item = Batch> + Send, Halt) {
    let (end, ended) = std::sync::mpsc::channel();
    let halt = std::iter::from_fn(move || {
        let _ = tokio::task::block_in_place(|| ended.recv_timeout(PATIENCE));
        None
    });
    (batches.into_iter().chain(halt), Halt(end))
}

pub(crate) struct Halt(std::sync::mpsc::Sender<()>);

impl Halt {
    pub(crate) fn end(self) {
        let _ = self.0.send(());
    }
}

/// Leases long enough that no test sees their end.
pub(crate) fn long_leases(config: &mut Setup) {
    config.offer.lease_samples = 10_000 * BATCH as u64;
}

/// A client who writes what it likes.
pub(crate) struct Raw {
    pub(crate) write: WriteHalf<TlsStream<TcpStream>>,
    pub(crate) receiver: Receiver<ReadHalf<TlsStream<TcpStream>>>,
}

pub(crate) fn frame(sequence: u64, body: &Up) -> Vec<u8> {
    let body = postcard::to_stdvec(&(sequence, body)).unwrap();
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], &body].concat()
}

impl Raw {
    pub(crate) async fn open(address: SocketAddr, tls: &ClientTls) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(tls.config().clone());
        let (read, write) = tokio::io::split(connector.connect(name, tcp).await.unwrap());
        Self { write, receiver: Receiver::new(read, 64 << 20) }
    }

    /// Past the greeting: the next frame has number 2.
    pub(crate) async fn greeted(address: SocketAddr, tls: &ClientTls) -> Self {
        let mut raw = Self::open(address, tls).await;
        raw.write(&frame(0, &Up::Hello(Hello::ours()))).await;
        raw.write(&frame(1, &Up::Choose(String::new()))).await;
        assert!(matches!(raw.read().await.unwrap(), Down::Welcome(_)));
        raw
    }

    /// Past the key: the next frame has number 3.
    pub(crate) async fn opened(address: SocketAddr, tls: &ClientTls) -> Self {
        let mut raw = Self::greeted(address, tls).await;
        raw.write(&frame(2, &Up::Message(open_message(2048)))).await;
        assert_eq!(raw.answer().await.unwrap(), Down::Message(ServerMessage::Opened));
        raw
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
        self.write.flush().await.unwrap();
    }

    pub(crate) async fn read(&mut self) -> Result<Down> {
        let reading = self.receiver.receive("test");
        timeout(PATIENCE, reading).await.expect("answered in time").map(|(frame, _)| frame)
    }

    /// The next frame that is no notice.
    pub(crate) async fn answer(&mut self) -> Result<Down> {
        loop {
            match self.read().await? {
                Down::Waiting { .. } | Down::Working => {}
                other => return Ok(other),
            }
        }
    }
}

pub(crate) fn open_message(bits: u32) -> ClientMessage {
    let public_key = bits.to_be_bytes().to_vec();
    ClientMessage::Open { backend: Clear::ID.into(), public_key }
}
