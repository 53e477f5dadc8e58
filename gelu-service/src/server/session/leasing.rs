//! A session that trains: its turn, its lease, its commit.

use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gelu_core::error::Refused;
use gelu_core::{Backend, Parameters};
use gelu_store::Error as StoreError;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Over, Session, asked_to_stop, unexpected};
use crate::error::{Error, Goodbye, Result};
use crate::handshake::{Down, Up};
use crate::server::Config;
use crate::server::host::{AccountHost, Hosted};
use crate::server::lease::Lease;
use crate::server::machine::Machine;
use crate::server::observer::ServerEvent as Event;
use crate::server::queue::Ticket;

impl<B: Backend> Session<B> {
    /// Waits for this client's turn, then draws the terms of its lease.
    pub(super) async fn request_lease(
        &mut self,
        batch: usize,
        lengths: RangeInclusive<u32>,
    ) -> Result<(), Over> {
        let lease = match self.await_turn().await {
            Err(Over::Failed(Error::Store(error))) => {
                self.host.emit(Event::StoreFailed { reason: error.to_string() });
                let told = self.compute("LeaseGranted", |machine, _| {
                    let (server, _) = machine.leasing()?;
                    let refused = Refused::StoreFailed;
                    Ok::<_, Error>(server.refuse(refused.kind(), refused.to_string())?)
                });
                return Ok(told.await??);
            }
            lease => lease?,
        };
        let granted =
            self.compute("LeaseGranted", move |machine, host| grant(machine, host, batch, lengths));
        if let Some((base, steps)) = granted.await?? {
            self.lease = Some(lease);
            let (account, model) = self.named();
            self.host.emit(Event::LeaseGranted { account, model, base, steps, batch });
        } else {
            lease.rolled_back("refused");
        }
        Ok(())
    }

    async fn await_turn(&mut self) -> Result<Lease, Over> {
        let ticket = self.host.queue().join(&self.account);
        let (position, since) = (ticket.position(), Instant::now());
        if position > 0 {
            let (account, model) = self.named();
            self.host.emit(Event::Queued { account, model, position });
        }
        let lease = self.await_turn_of(ticket).await;
        if position > 0 {
            let (account, model) = self.named();
            self.host.emit(Event::Waited { account, model, waited: since.elapsed() });
        }
        lease
    }

    async fn await_turn_of(&mut self, ticket: Ticket) -> Result<Lease, Over> {
        let mut notice = interval_at(Instant::now(), self.limits().keep_alive);
        notice.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let place = ticket.place();
        let (host, account) = (Arc::clone(&self.host), self.account.clone());
        let Config { store, replica, limits, .. } = &host.shared.config;
        let elsewhere = AtomicU32::new(0);
        let who = [host.name(), replica, &account];
        let mut taking = pin!(Lease::take(ticket, store, who, &elsewhere, limits.lease));
        loop {
            tokio::select! {
                biased;
                () = asked_to_stop(self.stopping.clone(), false) => {
                    return Err(Goodbye::ShuttingDown.into());
                }
                goodbye = &mut self.end_of_proof => return Err(goodbye.into()),
                lease = &mut taking => return Ok(lease?),
                received = self.line.receiver.receive("a client waited for its turn") => {
                    return Err(match received? {
                        (Up::Bye, _) => Over::Left,
                        (Up::Message(message), _) => {
                            unexpected("nothing", message.name()).into()
                        }
                        (other, _) => unexpected("nothing", other.name()).into(),
                    });
                }
                _ = notice.tick() => {
                    let position = place.position() + elsewhere.load(Ordering::Relaxed);
                    if position > 0 {
                        self.line.send(&Down::Waiting { position }).await?;
                    }
                }
            }
        }
    }

    /// Stores the end of a lease; the next client's turn comes before the answer is written.
    pub(super) async fn commit(&mut self, base: u64, parameters: Parameters) -> Result<(), Over> {
        let lease = self.lease.as_ref().map(Lease::key);
        let lease = lease.ok_or_else(|| Error::Bug("a commit without a lease".into()))?;
        let committed = self.compute("Committed", move |machine, host| {
            let versions = host.host.versions();
            let stored = versions.commit(&lease, &host.account, base, parameters);
            let (server, _) = machine.leasing()?;
            match &stored {
                Ok(version) => server.committed(*version)?,
                Err(error @ Error::Store(StoreError::LeaseLost(_))) => {
                    server.refuse("lease lost", error.to_string())?;
                }
                Err(_) => server.refuse(
                    "store",
                    "the server cannot keep the new version; tell its operator".into(),
                )?,
            }
            Ok::<_, Error>(stored)
        });
        let stored = committed.await??;
        match stored {
            Ok(version) => {
                if let Some(lease) = self.lease.take() {
                    lease.committed();
                }
                let (account, model) = self.named();
                self.host.emit(Event::Committed { account, model, version });
            }
            Err(error) => {
                let reason = error.to_string();
                self.roll_back(&reason);
                if !matches!(error, Error::Store(StoreError::LeaseLost(_))) {
                    self.host.emit(Event::StoreFailed { reason });
                }
            }
        }
        Ok(())
    }

    /// Ends the lease, if there is one that was not committed.
    pub(super) fn roll_back(&mut self, reason: &str) {
        if let Some(lease) = self.lease.take() {
            lease.rolled_back(reason);
            let (account, model) = self.named();
            self.host.emit(Event::RolledBack { account, model, reason: reason.to_owned() });
        }
    }
}

/// Draws the length of a lease and grants it on the last committed version; or refuses.
fn grant<B: Backend>(
    machine: &mut Machine<B>,
    host: &AccountHost<B>,
    batch: usize,
    lengths: RangeInclusive<u32>,
) -> Result<Option<(u64, u32)>> {
    let (server, rng) = machine.leasing()?;
    let drawn = host.host.last().map_err(gelu_core::Error::from).and_then(|model| {
        let exposure = server.exposure(&model)?;
        let steps = host.host.draw(&host.account, model.version, &exposure, batch, lengths)?;
        Ok((model, steps))
    });
    match drawn {
        Ok((model, steps)) => {
            let rate = host.host.offer.rate.clone();
            server.grant(&model, steps, rate, rng)?;
            Ok(Some((model.version, steps)))
        }
        Err(refusal) => {
            server.refuse(refusal.kind(), refusal.reason())?;
            Ok(None)
        }
    }
}
