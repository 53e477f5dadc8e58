//! The clients of an experiment: each with a key, a certificate and rows of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::future::{join_all, try_join_all};
use gelu_core::fixed::add_by_layer;
use gelu_nn::Dataset;
use gelu_service::Session;
use gelu_service::client::{ClientEvent, Statistics};
use rayon::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::Experiment;
use crate::backend::Scheme;
use crate::client::{self, Lease};
use crate::local::Deployment;
use crate::phases::{Phases, Screen, bytes};

/// All clients, each with an open session.
pub(super) struct Clients<S: Scheme> {
    members: Vec<Member<S>>,
    key_bits: u32,
    screen: Screen,
    runtime: Runtime,
}

struct Member<S: Scheme> {
    session: Session<S>,
    /// Told when this client is in line for the lease: the next one may join behind it, so that
    /// the order of turns, and with it the whole run, can be repeated.
    in_line: Arc<Notify>,
}

impl<S: Scheme> Clients<S> {
    /// Makes the keys and opens the sessions.
    pub(super) fn open(
        experiment: &Experiment,
        deployment: &Deployment,
        address: SocketAddr,
        phases: &mut Phases,
    ) -> Result<Self> {
        let bits = experiment.terms.cryptosystem.key_bits;
        let running = phases.begin("making keys", experiment.clients as u64);
        let make = |_| client::fresh_key::<S>(bits).inspect(|_| running.step());
        let keys = (0..experiment.clients).into_par_iter().map(make).collect::<Result<Vec<_>>>()?;
        let said = match keys.len() {
            1 => format!("a client made a fresh key of {bits} bits"),
            n => format!("{n} clients made a fresh key of {bits} bits each"),
        };
        phases.end(running, "keys", &said);

        let runtime = Runtime::new().context("cannot start the runtime")?;
        let screen = Screen::default();
        let open = |(client, key)| {
            let account = format!("client-{}", client + 1);
            let tls = deployment.admit(&account)?;
            let in_line = Arc::new(Notify::new());
            let observer = observer(account, screen.clone(), Arc::clone(&in_line));
            let (address, policy) = (address.to_string(), experiment.data_policy);
            let session = client::open::<S>(&address, &tls, Arc::new(key), policy, observer);
            Ok(Member { session: client::wait(&runtime, session)?, in_line })
        };
        let members = keys.into_iter().enumerate().map(open).collect::<Result<_>>()?;
        Ok(Self { members, key_bits: bits, screen, runtime })
    }

    /// Everybody trains in turn on its own rows; the leases come in the order of their versions. With
    /// an error if there are fewer than there should be.
    pub(super) fn train(
        &mut self,
        shares: &[Arc<Dataset>],
        schedules: &[Vec<Vec<usize>>],
        phases: &mut Phases,
    ) -> (Vec<Lease>, Result<()>) {
        let steps: usize = schedules.iter().map(Vec::len).sum();
        let running = phases.begin("training under encryption", steps as u64);
        self.screen.show(&running);
        let before: Vec<_> = self.members.iter().map(|m| Arc::clone(&m.in_line)).collect();
        let mut done: Vec<_> = self.members.iter().map(|_| Vec::new()).collect();
        let members = self.members.iter_mut().zip(shares.iter().zip(schedules)).zip(&mut done);
        let runs = members.enumerate().map(|(client, ((member, (share, schedule)), leases))| {
            let before = client.checked_sub(1).and_then(|client| before.get(client).cloned());
            async move {
                if let Some(before) = before {
                    before.notified().await;
                }
                let trained =
                    client::train(&mut member.session, client, share, schedule, leases).await;
                // Who had nothing to train was never in line.
                member.in_line.notify_one();
                trained
            }
        });
        let trained = client::wait(&self.runtime, try_join_all(runs)).map(|_| ());
        let mut leases = done.concat();
        leases.sort_by_key(|lease| lease.version);
        let steps: usize = leases.iter().map(|lease| lease.steps.len()).sum();
        let said = format!(
            "trained on {steps} encrypted mini-batches in {} leases, {}",
            leases.len(),
            bytes(self.traffic())
        );
        phases.end(running, "training", &said);
        (leases, trained)
    }

    /// Everybody classifies its share of `samples` new rows, all at the same time. With an error if
    /// some rows have no answer.
    pub(super) fn classify(
        &mut self,
        shares: &[Arc<Dataset>],
        samples: usize,
        phases: &mut Phases,
    ) -> (Vec<Option<usize>>, Result<()>) {
        let (running, before) = (phases.begin("classifying", samples as u64), self.traffic());
        self.screen.show(&running);
        let mut answers: Vec<_> = shares.iter().map(|_| Vec::new()).collect();
        let rows = self.members.first().map_or(1, |member| {
            let (network, precision) = (member.session.network(), member.session.card().precision);
            client::rows_of_query::<S>(network, &precision, self.key_bits)
        });
        let members = self.members.iter_mut().zip(shares).zip(&mut answers);
        let runs = members.map(|((member, share), answers)| {
            let answered = |answer: &[usize]| {
                running.steps(answer.len());
                answers.extend_from_slice(answer);
            };
            client::classify(&mut member.session, share, rows, answered)
        });
        let classified = client::wait(&self.runtime, try_join_all(runs)).map(|_| ());
        // Row r went to client r mod clients.
        let clients = answers.len().max(1);
        let of_row = |row: usize| answers.get(row % clients)?.get(row / clients).copied();
        let predictions: Vec<_> = (0..samples).map(of_row).collect();
        let answered = predictions.iter().flatten().count();
        let traffic = bytes(self.traffic() - before);
        let said = format!("classified {answered} new rows under encryption, {traffic}");
        phases.end(running, "inference", &said);
        (predictions, classified)
    }

    /// Values of all queries so far that were cut off, by layer.
    pub(super) fn saturations(&self) -> Vec<u64> {
        let mut sum = Vec::new();
        for member in &self.members {
            add_by_layer(&mut sum, member.session.saturations());
        }
        sum
    }

    /// Everybody says goodbye; what it has cost them all.
    pub(super) fn close(self) -> Statistics {
        let closing = join_all(self.members.into_iter().map(|member| member.session.close()));
        let mut sum = Statistics::default();
        client::complete(&self.runtime, closing).iter().for_each(|each| sum.absorb(each));
        sum
    }

    fn traffic(&self) -> u64 {
        let totals = self.members.iter().map(|member| member.session.statistics().total());
        totals.map(|total| total.up + total.down).sum()
    }
}

fn observer(
    account: String,
    screen: Screen,
    in_line: Arc<Notify>,
) -> impl FnMut(&ClientEvent) + Send {
    move |event| match event {
        ClientEvent::Waiting { .. } => in_line.notify_one(),
        ClientEvent::LeaseGranted { steps, .. } => {
            in_line.notify_one();
            screen.note(|| format!("{account} trains, {steps} mini-batches"));
        }
        ClientEvent::StepDone(report) => {
            screen.step();
            screen.note(|| format!("{account}, loss {:.3}", report.loss));
        }
        _ => {}
    }
}
