//! A server in a process of its own, killed at any moment: what is on the disk is whole.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Raw, Site, batches, connect, exposure, frame, key, replay};
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Account;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::{AdditiveHE, Clear};
use gelu_nn::Model;
use gelu_service::certs::Identity;
use gelu_service::handshake::{Down, Up};
use gelu_service::{Error, ServerTls};
use gelu_store::{Ended, Redb, Store};

const FOLDER: &str = "GELU_TEST_SERVER_FOLDER";

/// No test: the body of the process that is killed.
#[test]
fn server_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let certs = folder.join("certs");
    let identity =
        Identity { certificate: certs.join("server.pem"), key: certs.join("server.key") };
    let tls = ServerTls::read(&certs.join("ca.pem"), &identity).unwrap();
    let store = Store::on(Redb::open(&folder.join("store")).unwrap());
    let config = crate::common::config_in(folder, tls, store);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let server = config.bind().await.unwrap();
        println!("\nlistening on {}", server.local_addr().unwrap());
        server.run(std::future::pending()).await.unwrap();
    });
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(site: &Site) -> Self {
        Self::run(site, Command::new(std::env::current_exe().unwrap()))
    }

    /// A server whose disk is full when a file has a few thousand bytes.
    #[cfg(unix)]
    fn start_on_a_full_disk(site: &Site) -> Self {
        let mut shell = Command::new("sh");
        let script = r#"trap "" XFSZ; ulimit -f 4; exec "$0" "$@""#;
        shell.args(["-c", script]).arg(std::env::current_exe().unwrap());
        Self::run(site, shell)
    }

    fn run(site: &Site, mut command: Command) -> Self {
        let mut child = command
            .args(["crash::server_process", "--exact", "--nocapture"])
            .env(FOLDER, site.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        Self { address: address.expect("it listens").parse().unwrap(), child }
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Nothing is answered that is not in the ledger; queries and leases are refused, by the reason that
/// the operator needs; what was booked stays readable, and with room the server answers again.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_the_operator_s_to_clear() {
    const REASON: &str = "the server cannot keep its ledger; tell its operator";
    let site = Site::new();
    let process = Process::start_on_a_full_disk(&site);
    let tls = site.tls("alice");
    let connection = connect(process.address, &tls).await.unwrap();
    let mut session = connection.open(key(), DataPolicy::AllowInputReconstruction).await.unwrap();
    let query = batches(1, 1).remove(0).0;
    let mut answered = 0u64;
    let refused = |error: &Error| {
        matches!(error, Error::Refused(_)) && error.to_string() == format!("refused: {REASON}")
    };
    let error = loop {
        match session.classify(&query).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
        assert!(answered < 1000, "the disk is never full");
    };
    assert!(refused(&error), "{error}");
    assert!(answered > 0, "there was room at first");
    let error = session.classify(&query).await.unwrap_err();
    assert!(refused(&error), "{error}");

    // A lease ends at its first mini-batch; the next one begins as if there had been none.
    let mut raw = Raw::opened(process.address, &site.tls("bob")).await;
    let request = || Up::Message(ClientMessage::RequestLease { batch: 1, steps: 3, least: 1 });
    let ciphertexts = vec![0; 4 * Clear::ciphertext_len(&key())];
    let first = ClientMessage::EncryptedActivations {
        stage: 0,
        batch: 1,
        ciphertexts,
        layout: "samples/1".into(),
    };
    for n in [3, 5] {
        raw.write(&frame(n, &request())).await;
        let granted = raw.answer().await.unwrap();
        assert!(matches!(granted, Down::Message(ServerMessage::LeaseGranted(_))), "{granted:?}");
        raw.write(&frame(n + 1, &Up::Message(first.clone()))).await;
        let reason = REASON.to_owned();
        assert_eq!(raw.answer().await.unwrap(), Down::Message(ServerMessage::Refused { reason }));
    }
    process.kill();
    let store = site.store();
    let seen = store.account("small", "alice").unwrap();
    let layer = &exposure(&site.stored()).model[0];
    let per_query = layer.revealed_bits_per_sample * query.ncols() as u64;
    assert_eq!(seen.revealed(0, layer), answered * per_query, "as many as were answered");
    assert_eq!(store.account("small", "bob").unwrap(), Account::default());
    drop(store);

    let process = Process::start(&site);
    let connection = connect(process.address, &tls).await.unwrap();
    let mut session = connection.open(key(), DataPolicy::AllowInputReconstruction).await.unwrap();
    session.classify(&query).await.unwrap();
    session.close().await;
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_is_half() {
    let site = Site::new();
    let tls = site.tls("alice");
    let mut expected = site.stored();
    for round in 0..5u64 {
        let process = Process::start(&site);
        let address = process.address;
        let connection = connect(address, &tls).await.unwrap();
        // A restarted server continues where the disk says.
        assert_eq!(connection.card().version, expected.version());
        let mut session =
            connection.open(key(), DataPolicy::AllowInputReconstruction).await.unwrap();
        // Leases of one step, as fast as they go; after some of them comes the kill, from a thread
        // of its own and so before, in or after the next commit.
        let mut confirmed = expected.clone();
        let (mut process, mut killing) = (Some(process), None);
        let error = loop {
            if confirmed.version() == expected.version() + round
                && let Some(process) = process.take()
            {
                killing = Some(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(3 * round));
                    process.kill();
                }));
            }
            let data = batches(round, 1);
            match session.train(1, &mut data.clone().into_iter().peekable()).await {
                Ok(report) => {
                    let next = replay(&confirmed, &data);
                    confirmed = confirmed.successor(next).unwrap();
                    assert_eq!(report.version, confirmed.version());
                }
                Err(error) => break error,
            }
        };
        killing.expect("an error only after the kill").join().unwrap();
        let lost = matches!(error, Error::ConnectionLost { .. } | Error::Tls(_));
        assert!(lost, "{error}");

        // What was confirmed is stored. One version more may be: stored, but not confirmed in time. The file is the
        // store's last version or the one before, until the next start.
        let (last, bytes) = site.store().weights("small").unwrap().expect("it was served");
        let stored = Model::from_bytes(&bytes).unwrap();
        assert_eq!(stored.version(), last.version);
        assert!((last.version - 1..=last.version).contains(&site.stored().version()));
        assert!(stored.version() >= confirmed.version(), "a confirmed version is lost");
        if stored.version() > confirmed.version() {
            let next = replay(&confirmed, &batches(round, 1));
            confirmed = confirmed.successor(next).unwrap();
        }
        assert_eq!(stored.version(), confirmed.version());
        assert_eq!(stored.parameters(), confirmed.parameters());
        let mut committed = Vec::new();
        let leases = site.store().leases("small", |_, lease| {
            if let Some(Ended::Committed(version)) = lease.ended {
                committed.push(version);
            }
            Ok(())
        });
        leases.unwrap();
        let all: Vec<_> = (1..=confirmed.version()).collect();
        assert_eq!(committed, all, "each version is the end of one lease");
        expected = confirmed;
    }
    assert!(expected.version() >= 1 + 2 + 3 + 4);
}
