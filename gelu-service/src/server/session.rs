//! One session: a greeting, then messages between a socket and a machine, until somebody leaves.
//!
//! The rule of the core's machines is *drain, then one mutation*: each turn of the loop takes one
//! message, serves what the machine asks of its host, and sends what it has to say.

mod leasing;

use std::future::pending;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use gelu_core::Backend;
use gelu_core::error::{PeerMisbehaved, Refused};
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::server::ServerOutput;
use rand::rngs::ChaCha20Rng;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};

use super::Stop;
use super::door::{Place, Seat};
use super::greeting::{Greeted, Line};
use super::host::{AccountHost, Host, Hosted};
use super::lease::Lease;
use super::machine::Machine;
use super::observer::{Ended, MADE_ROOM, PRECOMPUTE, ServerEvent as Event, Way, guarded};
use super::proof;
use super::quotas::{Counted, Denied};
use super::shared::Shared;
use crate::compute::on_pool;
use crate::error::{Error, Goodbye, Result};
use crate::handshake::{Down, Mode, Up};
use crate::limits::Limits;
use crate::randomness::fresh_rng;

/// Why a session stops.
enum Over {
    /// The client said goodbye.
    Left,
    /// Anything else.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Over {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Serves one connection from its greeting to its last byte.
pub(super) async fn run(
    shared: &Shared,
    greeting: impl Future<Output = Result<(Arc<dyn Hosted>, Greeted)>>,
    peer: SocketAddr,
    mut place: Place,
) {
    let limit = shared.config.limits.greeting;
    let stopping = shared.stop.subscribe();
    let greeting = async {
        let greeting = timeout(limit, greeting).await;
        let waiting_for = "the greeting of a client";
        let greeted = greeting.unwrap_or(Err(Error::Timeout { waiting_for, limit }))?;
        Ok::<_, Error>((greeted, fresh_rng()?))
    };
    let greeting = tokio::select! {
        biased;
        greeting = greeting => greeting.map_err(|error| (error.kind(), error.to_string())),
        () = place.sent_away() => Err((MADE_ROOM, NEEDED_PLACE.to_owned())),
        () = asked_to_stop(stopping, false) => {
            Err((Goodbye::ShuttingDown.kind(), Goodbye::ShuttingDown.to_string()))
        }
    };
    drop(place);
    match greeting {
        Err((kind, reason)) => shared.emit(Event::TurnedAway { peer, kind, reason }),
        Ok(((model, client), rng)) => model.attend(client, rng).await,
    }
}

/// Serves a client from its greeting to its last word.
pub(super) async fn attend<B: Backend>(host: Arc<Host<B>>, client: Greeted, rng: ChaCha20Rng) {
    let (account, peer) = (client.account.clone(), client.peer);
    let model = host.name().to_owned();
    host.emit(Event::Accepted { account: account.clone(), model: model.clone(), peer });
    let mut session = Session::new(Arc::clone(&host), client, rng);
    let error = match AssertUnwindSafe(session.serve()).catch_unwind().await {
        Ok(Over::Left) => None,
        Ok(Over::Failed(error)) => Some(error),
        Err(_) => Some(Error::Bug("a session panicked".into())),
    };
    let ended = error.as_ref().map(|e| Ended { kind: e.kind(), reason: e.to_string() });
    session.roll_back(ended.as_ref().map_or("the client left", |ended| &ended.reason));
    if let Some(error) = &error {
        session.part(error).await;
    }
    drop(session); // and its seat, before anybody hears of it
    host.emit(Event::Left { account, model, ended });
}

const NEEDED_PLACE: &str = "it had not greeted yet and made room for a newer connection";

struct Session<B: Backend> {
    host: Arc<Host<B>>,
    account: String,
    line: Line,
    /// `None` while it computes, and for good if that panics.
    machine: Option<Machine<B>>,
    lease: Option<Lease>,
    stopping: watch::Receiver<Stop>,
    counted: Counted,
    /// Of what proves the account.
    end_of_proof: proof::End,
    _seat: Seat,
}

impl<B: Backend> Session<B> {
    fn new(host: Arc<Host<B>>, client: Greeted, rng: ChaCha20Rng) -> Self {
        let Greeted { account, line, seat, counted, proof, .. } = client;
        let machine = Some(Machine::new(&host, rng));
        let stopping = host.shared.stop.subscribe();
        let end_of_proof = proof.end(host.shared.config.tls.clone());
        let lease = None;
        Self { host, account, line, machine, lease, stopping, counted, end_of_proof, _seat: seat }
    }

    async fn serve(&mut self) -> Over {
        loop {
            if let Err(over) = self.turn().await {
                return over;
            }
        }
    }

    /// One message: taken, worked on, answered.
    async fn turn(&mut self) -> Result<(), Over> {
        let (message, bytes) = self.next_message().await?;
        if let Err(denied) = self.counted.computation(bytes) {
            return self.deny(&message, &denied).await;
        }
        if let Some(reason) = self.not_offered(&message)? {
            self.refused("mode", &reason);
            return self.send(ServerMessage::Refused { reason }).await;
        }
        let spends = match &message {
            ClientMessage::HiddenInputs { tickets, .. } => tickets.len(),
            _ => 0,
        };
        let handled = self.compute(message.name(), move |machine, host| {
            guarded(|| host.host.shared.config.observer.received(&host.account, &message));
            Ok::<_, Error>(machine.take(message, host)?)
        });
        match handled.await?? {
            Some(ServerOutput::LeaseRequested { batch, steps, least }) => {
                self.request_lease(batch, least..=steps).await?;
            }
            Some(ServerOutput::Commit { base, parameters }) => {
                self.commit(base, parameters).await?;
            }
            Some(_) | None => {}
        }
        if spends > 0 {
            let (account, model) = self.named();
            self.host.emit(Event::TicketsSpent { account, model, tickets: spends });
        }
        self.flush().await?;
        if self.host.offer.precompute {
            self.compute(PRECOMPUTE, |machine, _| machine.precompute()).await?;
        }
        Ok(())
    }

    /// Refuses what goes beyond a quota. In the middle of an exchange that ends the session: the rest of it would have
    /// been in vain.
    async fn deny(&mut self, message: &ClientMessage, denied: &Denied) -> Result<(), Over> {
        let reason = denied.to_string();
        self.refused("quota", &reason);
        self.send(ServerMessage::Refused { reason: reason.clone() }).await?;
        match message {
            ClientMessage::RequestLease { .. } => Ok(()),
            ClientMessage::EncryptedActivations { stage: 0, .. } if self.lease.is_none() => Ok(()),
            _ => Err(Error::from(Refused::ByPeer(reason)).into()),
        }
    }

    /// The next message and its bytes.
    async fn next_message(&mut self) -> Result<(ClientMessage, u64), Over> {
        let limits = self.limits();
        let silence = |limit, waiting_for| (Instant::now() + limit, waiting_for, limit);
        let (deadline, waiting_for, limit) = match &self.lease {
            None => silence(limits.idle, "the client's next message"),
            Some(lease) => {
                let silent = silence(limits.lease_silence, "the next message of the lease");
                if silent.0 < lease.until {
                    silent
                } else {
                    (lease.until, "the lease", limits.lease)
                }
            }
        };
        let received = tokio::select! {
            biased;
            () = asked_to_stop(self.stopping.clone(), self.lease.is_some()) => {
                return Err(Goodbye::ShuttingDown.into());
            }
            goodbye = &mut self.end_of_proof => return Err(goodbye.into()),
            received = timeout_at(deadline, self.line.receiver.receive(WAITING)) => received,
        };
        match received.map_err(|_| Error::Timeout { waiting_for, limit })?? {
            (Up::Bye, _) => Err(Over::Left),
            (Up::Message(message), bytes) => {
                self.count(Way::Up, message.name(), bytes);
                Ok((message, bytes))
            }
            (other, _) => Err(unexpected("Message", other.name()).into()),
        }
    }

    /// Sends what the machine has to say.
    async fn flush(&mut self) -> Result<(), Over> {
        while let Some(message) = self.machine()?.poll_transmit() {
            match &message {
                ServerMessage::Refused { reason } => {
                    if !self.machine()?.holds_lease() {
                        self.roll_back(reason);
                    }
                    let kind = self.machine()?.refusal().unwrap_or("other");
                    self.refused(kind, reason);
                }
                ServerMessage::GarbledTicket { .. } => {
                    let (account, model) = self.named();
                    self.host.emit(Event::TicketsMade { account, model, tickets: 1 });
                }
                ServerMessage::LeaseReturned => self.roll_back("the client gave the lease back"),
                _ => {}
            }
            self.send(message).await?;
        }
        #[cfg(feature = "simulation")]
        crate::simulation::charge_late().await?;
        Ok(())
    }

    async fn send(&mut self, message: ServerMessage) -> Result<(), Over> {
        let name = message.name();
        let bytes = self.line.send(&Down::Message(message)).await?;
        self.counted.answered(bytes);
        self.count(Way::Down, name, bytes);
        Ok(())
    }

    /// Why a query is refused: it is of a mode that this server does not offer.
    fn not_offered(&mut self, message: &ClientMessage) -> Result<Option<String>> {
        let mode = match message {
            ClientMessage::OpenBlind { .. } => Mode::Blind,
            ClientMessage::EncryptedActivations { .. } if !self.machine()?.holds_lease() => {
                Mode::Open
            }
            _ => return Ok(None),
        };
        let terms = &self.host.terms;
        Ok((!terms.modes.contains(&mode)).then(|| match mode {
            Mode::Open => format!("this server answers blind queries alone: {}", terms.inference),
            Mode::Blind => format!("this server answers open queries alone: {}", terms.blind),
        }))
    }

    fn refused(&self, kind: &'static str, reason: &str) {
        let (account, model) = self.named();
        self.host.emit(Event::Refused { account, model, kind, reason: reason.to_owned() });
    }

    /// Whose session it is, and about what.
    fn named(&self) -> (String, String) {
        (self.account.clone(), self.host.name().to_owned())
    }

    async fn part(&mut self, error: &Error) {
        if !matches!(error, Error::ConnectionLost { .. }) {
            self.line.part(error, B::ID).await;
        }
    }

    fn limits(&self) -> &Limits {
        &self.host.shared.config.limits
    }

    fn machine(&mut self) -> Result<&mut Machine<B>> {
        self.machine.as_mut().ok_or(Error::SessionOver)
    }

    /// Works on the pool, in turn with other sessions; meanwhile the client is told that its server
    /// lives.
    ///
    /// A client that no longer listens is no reason to stop: the work may be a commit, and this
    /// session must not give up its lease while that is under way. It ends with the next frame.
    async fn compute<T: Send + 'static>(
        &mut self,
        phase: &'static str,
        job: impl FnOnce(&mut Machine<B>, &AccountHost<B>) -> T + Send + 'static,
    ) -> Result<T> {
        let mut machine = self.machine.take().ok_or(Error::SessionOver)?;
        let host = AccountHost { host: Arc::clone(&self.host), account: self.account.clone() };
        let computing = Arc::clone(&self.host.shared.computing);
        let (account, model) = self.named();
        let mut work = pin!(async move {
            let asked = Instant::now();
            let permit = computing.turn(&account).await;
            // The job keeps its permit and its host, even if this session is dropped meanwhile.
            on_pool(move || {
                let _permit = permit;
                let (waited, begun) = (asked.elapsed(), Instant::now());
                let result = job(&mut machine, &host);
                let took = begun.elapsed();
                host.host.emit(Event::Computed { account, model, phase, waited, took });
                (machine, result)
            })
            .await
        });
        let keep_alive = self.limits().keep_alive;
        let mut notice = interval_at(Instant::now() + keep_alive, keep_alive);
        notice.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = true;
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    let (machine, result) = done?;
                    self.machine = Some(machine);
                    return Ok(result);
                }
                _ = notice.tick(), if heard => {
                    heard = self.line.send(&Down::Working).await.is_ok();
                }
            }
        }
    }

    fn count(&self, way: Way, name: &'static str, bytes: u64) {
        let (account, model) = self.named();
        self.host.emit(Event::Message { account, model, way, name, bytes });
    }
}

const WAITING: &str = "waiting for the client's next message";

/// Is ready when a session must stop: at once, or at the end of the grace if it holds the lease.
pub(super) async fn asked_to_stop(mut stopping: watch::Receiver<Stop>, holds_lease: bool) {
    let Ok(deadline) = stopping.wait_for(Stop::is_some).await.map(|stop| *stop) else {
        // The server's future was dropped, and this session is about to be.
        return pending().await;
    };
    if let (Some(deadline), true) = (deadline, holds_lease) {
        sleep_until(deadline).await;
    }
}

fn unexpected(expected: &'static str, got: &'static str) -> PeerMisbehaved {
    PeerMisbehaved::UnexpectedMessage { expected, got }
}
