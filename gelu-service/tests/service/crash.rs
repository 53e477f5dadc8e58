//! A server in a process of its own, killed at any moment: what is on the disk is whole.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Site, batches, connect, key, replay};
use gelu_core::client::DataPolicy;
use gelu_nn::Model;
use gelu_service::certs::Identity;
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
        let mut child = Command::new(std::env::current_exe().unwrap())
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
        assert!((last.version.saturating_sub(1)..=last.version).contains(&site.stored().version()));
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
