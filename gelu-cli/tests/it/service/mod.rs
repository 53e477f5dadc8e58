//! `gelu serve --config server.toml` as operators run it: a process, its files, its clients over TLS.

mod books;
mod certificates;
mod killed;
mod models;
mod reload;
#[cfg(feature = "postgres")]
mod replicas;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::iter::Peekable;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gelu_core::Precision;
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::client::DataPolicy;
use gelu_nn::{Model, Sequential};
use gelu_service::certs::Identity;
use gelu_service::{ClientTls, Connection, Error, Limits, Session};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{ended, gelu, said};

/// Far beyond what anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(100);
/// What a busy machine may add to a promise of seconds.
const SLACK: Duration = Duration::from_secs(4);
const BATCH: usize = 6;

type Batch = (Array2<f64>, Vec<usize>);

/// A folder with an authority, models and `server.toml`.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(accounts: &[&str]) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        site.runs(&["certs", "init"]);
        accounts.iter().for_each(|account| drop(site.runs(&["certs", "add", account])));
        site
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program succeeds; what it prints.
    fn runs(&self, arguments: &[&str]) -> String {
        let run = gelu(self.path(), arguments).output().unwrap();
        assert!(run.status.success(), "{arguments:?}: {}", said(&run));
        String::from_utf8(run.stdout).unwrap()
    }

    /// The program refuses; what it says.
    fn refuses(&self, arguments: &[&str]) -> String {
        let run = gelu(self.path(), arguments).output().unwrap();
        assert_eq!(run.status.code(), Some(1), "{arguments:?}: {}", said(&run));
        said(&run)
    }

    /// Weights drawn from a seed, in `NAME.safetensors`, whole at every moment.
    fn model(&self, name: &str, architecture: Sequential, seed: u64) -> Model {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        let model = Model::initialise(name, architecture, Precision::TRAINING, rng).unwrap();
        model.save(&self.path().join(name).with_extension("safetensors")).unwrap();
        model
    }

    /// Writes `server.toml`: books, models by name with what more is said of each, and other tables.
    fn configure(&self, store: &str, models: &[(&str, &str)], tables: &str) {
        let mut text = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n".to_owned();
        writeln!(text, "store = \"{store}\"\n{tables}").unwrap();
        for (name, more) in models {
            writeln!(text, "[[model]]\nfile = \"{name}.safetensors\"\n{CLEAR}{more}").unwrap();
        }
        std::fs::write(self.path().join("server.toml"), text).unwrap();
    }

    fn start(&self) -> Server {
        Server::start(self.path())
    }

    fn tls(&self, account: &str) -> ClientTls {
        let certs = self.path().join("certs");
        let identity = Identity::at(&certs.join("clients").join(account));
        ClientTls::read(&certs.join("ca.pem"), &identity).unwrap()
    }

    async fn connect(
        &self,
        server: &Server,
        account: &str,
        model: &str,
    ) -> gelu_service::Result<Connection<Clear>> {
        let tls = self.tls(account);
        let limits = Limits { handshake: PATIENCE, ..Limits::default() };
        let (address, name) = (server.address, "localhost");
        let connecting = Connection::connect(address, name, model, &tls, limits, |_| {});
        timeout(PATIENCE, connecting).await.expect("connects in time")
    }

    /// A session, also where a busy machine makes our greeting late.
    async fn client(&self, server: &Server, account: &str, model: &str) -> Session<Clear> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.connect(server, account, model).await {
                Ok(connection) => return opened(connection).await,
                Err(Error::ConnectionLost { .. } | Error::Ended(_))
                    if Instant::now() < deadline => {}
                Err(error) => panic!("{account} at {model}: {error}"),
            }
        }
    }
}

async fn opened(connection: Connection<Clear>) -> Session<Clear> {
    let key = Arc::new(ClearKey::new(2048).unwrap());
    connection.open(key, DataPolicy::AllowInputReconstruction).await.unwrap()
}

/// The program serving `server.toml`; killed when this is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    ready: Value,
    log: std::path::PathBuf,
}

impl Server {
    /// Waits until it listens. Its log stands in a file of its own.
    fn start(folder: &Path) -> Self {
        let log = tempfile::Builder::new().prefix("log").tempfile_in(folder).unwrap();
        let log = log.into_temp_path().keep().unwrap();
        let mut serve = gelu(folder, &["serve", "--json", "-v", "--config", "server.toml"]);
        serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.as_mut().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            ended(&mut child);
            panic!("it does not start: {}", std::fs::read_to_string(&log).unwrap());
        };
        let at = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Self { address: at("address"), admin: at("admin"), child, ready, log }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and an end in order.
    fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(ended(&mut self.child).code(), Some(0), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The status and the body that its admin address answers with.
    fn http(&self, request: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(self.admin).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.admin);
        tcp.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// A number among its metrics; none where nothing of the kind has happened yet.
    fn metric(&self, name: &str) -> Option<f64> {
        let (status, metrics) = self.http("GET /metrics");
        assert_eq!(status, 200);
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|number| number.parse().unwrap())
    }

    /// Waits until a number among its metrics is that; how long it took.
    async fn reaches(&self, name: &str, wanted: f64) -> Duration {
        let began = Instant::now();
        while self.metric(name) != Some(wanted) {
            let now = self.metric(name);
            assert!(began.elapsed() < PATIENCE, "{name} is {now:?}, not {wanted}: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
        began.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One column of inputs.
fn input(features: usize) -> Array2<f64> {
    Array2::from_shape_fn((features, 1), |(row, _)| (row % 7) as f64 / 7.0 - 0.4)
}

fn batches(features: usize, seed: u64, steps: usize) -> Vec<Batch> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
    let mut batch = || {
        let inputs = Array2::from_shape_fn((features, BATCH), |_| uniform());
        (inputs, (0..BATCH).map(|_| usize::from(uniform() > 0.0)).collect())
    };
    (0..steps).map(|_| batch()).collect()
}

/// Data of a lease that is held until [`Halt::end`] is called: it comes to a halt after its batches.
fn halting(batches: Vec<Batch>) -> (Peekable<impl Iterator<Item = Batch> + Send>, Halt) {
    let (end, ended) = mpsc::channel();
    let halt = std::iter::from_fn(move || {
        let _ = tokio::task::block_in_place(|| ended.recv_timeout(PATIENCE));
        None
    });
    (batches.into_iter().chain(halt).peekable(), Halt(end))
}

struct Halt(mpsc::Sender<()>);

impl Halt {
    fn end(self) {
        let _ = self.0.send(());
    }
}

const CLEAR: &str = "backend = \"insecure-clear\"\n";
/// Of a model that is trained, or asked more often than is safe.
const OPEN: &str = "allow-model-extraction = true\n";
