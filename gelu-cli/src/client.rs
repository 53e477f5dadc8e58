//! The client's side of a run: how to reach a server, and how to train and classify there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gelu_core::AdditiveHE;
use gelu_core::client::{DataPolicy, StepReport};
use gelu_nn::{Batches, Dataset};
use gelu_service::certs::Identity;
use gelu_service::client::ClientEvent;
use gelu_service::{ClientTls, Connection, Limits, Session};
use tokio::runtime::Runtime;

use crate::backend::Scheme;
use crate::problem::{Advise, problem};
use crate::signals;

/// Which server, and who we are there.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server and identity")]
pub(crate) struct ServerArgs {
    /// A server elsewhere, HOST:PORT; without it, one is started here for this run
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
    /// Folder with ca.pem and clients/ACCOUNT.pem and .key
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// The account of our certificate
    #[arg(long, value_name = "NAME", default_value = "client")]
    account: String,
    /// Our key pair, made by `gelu keygen` [default: a fresh one, forgotten afterwards]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

impl ServerArgs {
    /// Our certificate for the server that was named.
    pub(crate) fn tls(&self) -> Result<ClientTls> {
        let of_account = |extension: &str| {
            self.certs.join("clients").join(&self.account).with_added_extension(extension)
        };
        let identity = Identity { certificate: of_account("pem"), key: of_account("key") };
        ClientTls::read(&self.certs.join("ca.pem"), &identity).advise(|| {
            format!(
                "put ca.pem, clients/{name}.pem and clients/{name}.key into {}, or name them with \
                 --certs and --account; `gelu certs add {name}` makes them",
                self.certs.display(),
                name = self.account,
            )
        })
    }

    /// The key that was named, or a fresh one.
    pub(crate) fn secret<S: Scheme>(&self, bits: u32) -> Result<Arc<S::SecretKey>> {
        Ok(Arc::new(match &self.key {
            Some(path) => S::read_key(path)?,
            None => fresh_key::<S>(bits)?,
        }))
    }
}

/// Waits for `work`, unless we are asked to end first: then everything is cleaned up on the way out,
/// as after any other error.
pub(crate) fn wait<T>(runtime: &Runtime, work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = signals::asked_to_stop() => {
                signals::end_within(ENDING);
                Err(problem(
                    "interrupted",
                    "an unfinished lease was rolled back; run the command again to start over",
                ))
            }
        }
    })
}

/// An evaluation in work cannot be broken off, so ending in order may take long.
const ENDING: Duration = Duration::from_secs(10);

/// A key that nobody has had before.
pub(crate) fn fresh_key<S: Scheme>(bits: u32) -> Result<S::SecretKey> {
    let mut rng = rand::make_rng::<rand::rngs::ChaCha20Rng>();
    Ok(S::keygen(bits, &mut rng)?)
}

/// Connects to `address` (HOST:PORT) and opens a session with `secret`.
pub(crate) async fn open<S: AdditiveHE>(
    address: &str,
    tls: &ClientTls,
    secret: Arc<S::SecretKey>,
    policy: DataPolicy,
    observer: impl FnMut(&ClientEvent) + Send + 'static,
) -> Result<Session<S>> {
    let (host, _) = address.rsplit_once(':').ok_or_else(|| {
        problem(format!("{address:?} has no port"), "write HOST:PORT, such as localhost:7878")
    })?;
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let connection =
        Connection::<S>::connect(address, name, tls, Limits::default(), observer).await?;
    Ok(connection.open(secret, policy).await?)
}

/// The mini-batches of a client, in order: `steps` of them, all of the same size. What is left
/// of an epoch when no full mini-batch remains is shuffled anew with the next one.
pub(crate) fn schedule(
    samples: usize,
    batch: usize,
    steps: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
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
pub(crate) struct Lease {
    /// Which client held it.
    pub(crate) client: usize,
    /// The version that it has become.
    pub(crate) version: u64,
    /// Its mini-batches.
    pub(crate) batches: Vec<Vec<usize>>,
    /// What each looked like.
    pub(crate) steps: Vec<StepReport>,
}

/// Trains on every mini-batch of `schedule`, by as many leases as the server makes of them.
pub(crate) async fn train<S: Scheme>(
    session: &mut Session<S>,
    client: usize,
    data: &Dataset,
    schedule: &[Vec<usize>],
) -> Result<Vec<Lease>> {
    let (mut leases, mut rest) = (Vec::new(), schedule);
    while !rest.is_empty() {
        let wanted = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let mut batches = rest.iter().map(|samples| data.batch(samples)).peekable();
        let report = session.train(wanted, &mut batches).await?;
        let (done, left) = rest.split_at(report.steps.len());
        let (version, steps) = (report.version, report.steps);
        leases.push(Lease { client, version, batches: done.to_vec(), steps });
        rest = left;
    }
    Ok(leases)
}

/// The most probable class of every sample of `data`, `batch` samples a query.
pub(crate) async fn classify<S: Scheme>(
    session: &mut Session<S>,
    data: &Dataset,
    batch: usize,
    mut answered: impl FnMut(&[usize]) + Send,
) -> Result<Vec<usize>> {
    let samples: Vec<_> = (0..data.len()).collect();
    let mut predictions = Vec::with_capacity(samples.len());
    for query in samples.chunks(batch.max(1)) {
        let probabilities = session.classify(&data.batch(query).0).await?;
        let classes = probabilities.columns().into_iter();
        let answer: Vec<_> = classes.map(|p| gelu_core::pass::argmax(p.iter().copied())).collect();
        answered(&answer);
        predictions.extend(answer);
    }
    Ok(predictions)
}

/// The share of `predictions` that are right.
pub(crate) fn accuracy(predictions: &[usize], labels: &[usize]) -> f64 {
    let right = predictions.iter().zip(labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

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
