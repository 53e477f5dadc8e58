//! An admin address, and somebody who asks there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gelu_admin::{Admin, Config, Limits, Metrics, Process, Readiness};
use gelu_service::server::{Ended, MADE_ROOM, Observer, PRECOMPUTE, ServerEvent, Way};

/// Far beyond what anything here takes, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

type Job<T> = Box<dyn FnMut() -> Result<T, String> + Send>;

/// A server that does what a test says.
pub(crate) struct Told {
    pub(crate) store: Mutex<Job<()>>,
    pub(crate) backup: Mutex<Job<PathBuf>>,
    pub(crate) reload: Mutex<Job<String>>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            store: Mutex::new(Box::new(|| Ok(()))),
            backup: Mutex::new(Box::new(|| Ok("/state/store.backup".into()))),
            reload: Mutex::new(Box::new(|| Ok("2 models".into()))),
        }
    }
}

impl Process for Told {
    fn check_store(&self) -> Result<(), String> {
        self.store.lock().unwrap()()
    }
    fn backup(&self) -> Result<PathBuf, String> {
        self.backup.lock().unwrap()()
    }
    fn reload(&self) -> Result<String, String> {
        self.reload.lock().unwrap()()
    }
}

/// An admin address that is served.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) told: Arc<Told>,
    _admin: Admin,
}

impl Site {
    pub(crate) fn start(change: impl FnOnce(&mut Limits)) -> Self {
        let (metrics, readiness) = (Arc::new(Metrics::new(true)), Readiness::starting());
        let told = Arc::new(Told::default());
        let mut config = Config::new("127.0.0.1:0".parse().unwrap());
        change(&mut config.limits);
        let process = Arc::clone(&told) as Arc<dyn Process>;
        let admin = Admin::start(config, Arc::clone(&metrics), readiness.clone(), process).unwrap();
        Self { address: admin.address(), metrics, readiness, told, _admin: admin }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: gelu\r\n\r\n")).await
    }

    pub(crate) async fn post(&self, path: &str) -> (u16, String) {
        self.ask(&format!("POST {path} HTTP/1.1\r\nHost: gelu\r\n\r\n")).await
    }

    /// The status and all that comes after it.
    pub(crate) async fn ask(&self, request: &str) -> (u16, String) {
        let (address, request) = (self.address, request.to_owned());
        tokio::task::spawn_blocking(move || ask(address, &request)).await.unwrap()
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(&self, path: &str, status: u16, text: &str) {
        let begun = Instant::now();
        loop {
            let (got, said) = self.get(path).await;
            if got == status && said.contains(text) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {got} {said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that closes early may reset what it has not read; what it said first is there.
    let _ = tcp.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

/// Every event that there is, about a model of that name.
pub(crate) fn everything(metrics: &Metrics, model: &str) {
    let (account, model) = (|| "alice".to_owned(), || model.to_owned());
    let (peer, second) = ("127.0.0.1:7".parse().unwrap(), Duration::from_secs(1));
    let reason = || "a sentence".to_owned();
    let ended = Some(Ended { kind: "timeout", reason: reason() });
    for event in [
        ServerEvent::Serving { model: model(), version: 3 },
        ServerEvent::Connected { peer },
        ServerEvent::TurnedAway { peer, kind: MADE_ROOM, reason: reason() },
        ServerEvent::Accepted { account: account(), model: model(), peer },
        ServerEvent::Accepted { account: account(), model: model(), peer },
        ServerEvent::Queued { account: account(), model: model(), position: 1 },
        ServerEvent::Queued { account: account(), model: model(), position: 2 },
        ServerEvent::Waited { account: account(), model: model(), waited: second },
        ServerEvent::LeaseGranted {
            account: account(),
            model: model(),
            base: 3,
            steps: 1,
            batch: 1,
        },
        ServerEvent::LeaseGranted {
            account: account(),
            model: model(),
            base: 3,
            steps: 1,
            batch: 1,
        },
        ServerEvent::LeaseGranted {
            account: account(),
            model: model(),
            base: 4,
            steps: 1,
            batch: 1,
        },
        ServerEvent::Committed { account: account(), model: model(), version: 4 },
        ServerEvent::RolledBack { account: account(), model: model(), reason: reason() },
        ServerEvent::Refused {
            account: account(),
            model: model(),
            kind: "budget",
            reason: reason(),
        },
        ServerEvent::Message {
            account: account(),
            model: model(),
            way: Way::Up,
            name: "Open",
            bytes: 100,
        },
        ServerEvent::Message {
            account: account(),
            model: model(),
            way: Way::Down,
            name: "Opened",
            bytes: 7,
        },
        ServerEvent::Computed {
            account: account(),
            model: model(),
            phase: "Open",
            waited: second,
            took: second / 4,
        },
        ServerEvent::Computed {
            account: account(),
            model: model(),
            phase: PRECOMPUTE,
            waited: second,
            took: second,
        },
        ServerEvent::TicketsMade { account: account(), model: model(), tickets: 5 },
        ServerEvent::TicketsSpent { account: account(), model: model(), tickets: 2 },
        ServerEvent::StoreFailed { reason: reason() },
        ServerEvent::Left { account: account(), model: model(), ended },
    ] {
        metrics.event(&event);
    }
}
