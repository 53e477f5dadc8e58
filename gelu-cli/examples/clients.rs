//! Many clients at once: how much memory their server takes, and whether each is answered.
//!
//! ```sh
//! cargo run --release -p gelu-cli --example clients -- --json
//! ```
//!
//! The server is a process of its own; every client has an account and a key of its own, and asks
//! the digits network over TLS on loopback. Keys and certificates are made before anybody connects, and
//! all clients then begin at the same moment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Policy;
use gelu_core::server::LearningRate;
use gelu_core::{Cryptosystem, Precision};
use gelu_nn::{Model, data::Dataset, zoo};
use gelu_paillier::Paillier;
use gelu_service::certs::{Authority, Identity};
use gelu_service::{ClientTls, Config, Connection, Limits, Offer, Server, ServerTls};
use gelu_store::Store;
use ndarray::{Array2, s};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rayon::prelude::*;
use tokio::sync::Barrier;

/// Many clients at once
#[derive(Parser)]
struct Args {
    /// How many
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// What each asks
    #[arg(long, default_value_t = 5)]
    queries: usize,
    /// Bits of each key
    #[arg(long, default_value_t = 2048)]
    key_bits: u32,
    /// One object on stdout
    #[arg(long)]
    json: bool,
}

type Key = <Paillier as Cryptosystem>::SecretKey;

/// In the environment of the server's process: its folder.
const FOLDER: &str = "GELU_EXAMPLE_SERVER_FOLDER";

fn main() -> Result<()> {
    if let Ok(folder) = std::env::var(FOLDER) {
        return serve(Path::new(&folder));
    }
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let authority = Authority::create(&folder.path().join("certs"))?;
    authority.issue_server(&[])?;
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let model = Model::initialise("digits", zoo::digits(), Precision::INFERENCE, rng)?;
    model.save(&folder.path().join("model.safetensors"))?;
    eprintln!("makes {} keys of {} bits", args.clients, args.key_bits);
    let client = |n: usize| -> Result<(ClientTls, Arc<Key>)> {
        let identity = authority.issue_client(&format!("client{n}"))?;
        let tls = ClientTls::read(&authority.certificate(), &identity)?;
        // Keys of a measurement, from seeds: they protect nothing.
        let key = Paillier::keygen(args.key_bits, &mut ChaCha20Rng::seed_from_u64(n as u64))?;
        Ok((tls, Arc::new(key)))
    };
    let clients = (0..args.clients).into_par_iter().map(client).collect::<Result<Vec<_>>>()?;

    let mut server = Command::new(std::env::current_exe()?)
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(server.stdout.take().context("piped")?).read_line(&mut address)?;
    let asked =
        tokio::runtime::Runtime::new()?.block_on(ask(address.trim(), clients, args.queries));
    let peak = peak_memory(&server);
    server.kill()?;
    server.wait()?;
    let Asked { errors, seconds } = asked;
    let result = serde_json::json!({
        "clients": args.clients,
        "queries_each": args.queries,
        "key_bits": args.key_bits,
        "errors": errors,
        "seconds": seconds,
        "server_peak_megabytes": peak.map(|bytes| bytes as f64 / 1e6),
    });
    match args.json {
        true => println!("{result}"),
        false => println!("{result:#}"),
    }
    ensure!(errors.is_empty(), "{} clients were not answered", errors.len());
    Ok(())
}

struct Asked {
    errors: Vec<String>,
    seconds: f64,
}

async fn ask(address: &str, clients: Vec<(ClientTls, Arc<Key>)>, queries: usize) -> Asked {
    let input = Dataset::digits().features().slice(s![.., ..1]).to_owned();
    let together = Arc::new(Barrier::new(clients.len()));
    let began = Instant::now();
    let asking = clients.into_iter().map(|(tls, key)| {
        let (together, address, input) = (together.clone(), address.to_owned(), input.clone());
        tokio::spawn(async move {
            together.wait().await;
            one(&address, &tls, key, &input, queries).await
        })
    });
    let mut errors = Vec::new();
    for client in asking.collect::<Vec<_>>() {
        match client.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => errors.push(error.to_string()),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Asked { errors, seconds: began.elapsed().as_secs_f64() }
}

async fn one(
    address: &str,
    tls: &ClientTls,
    key: Arc<Key>,
    input: &Array2<f64>,
    queries: usize,
) -> gelu_service::Result<()> {
    // A client must wait for all the others: more patience than one that is alone.
    let patience = std::time::Duration::from_secs(600);
    let limits = Limits { handshake: patience, silence: patience, ..Limits::default() };
    let connection =
        Connection::<Paillier>::connect(address, "localhost", "", tls, limits, |_| {}).await?;
    let mut session = connection.open(key, DataPolicy::Enforce).await?;
    for _ in 0..queries {
        session.classify(input).await?;
    }
    session.close().await;
    Ok(())
}

/// The body of the server's process.
fn serve(folder: &Path) -> Result<()> {
    let certs = folder.join("certs");
    let (certificate, key) = (certs.join("server.pem"), certs.join("server.key"));
    let tls = ServerTls::read(&certs.join("ca.pem"), &Identity { certificate, key })?;
    let config = Config::new("127.0.0.1:0".parse()?, tls, Store::in_memory());
    let rate = LearningRate::<Paillier>::Public(0.1);
    let mut offer = Offer::new(folder.join("model.safetensors"), rate);
    offer.policy = Policy::AllowModelExtraction;
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = Server::bind(config, vec![offer.into()]).await?;
        println!("{}", server.local_addr()?);
        server.run(std::future::pending()).await?;
        Ok(())
    })
}

/// The most bytes that the process has held, where the system tells.
fn peak_memory(process: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
