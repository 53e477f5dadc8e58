//! One session: a greeting, then messages between a socket and a machine, until somebody leaves.
//!
//! The rule of the core's machines is *drain, then one mutation*: each turn of the loop takes one
//! message, serves what the machine asks of its host, and sends what it has to say.

use std::future::pending;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use gelu_core::error::{PeerIncompatible, PeerMisbehaved};
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::server::ServerOutput;
use gelu_core::{Backend, Parameters};
use rand::rngs::ChaCha20Rng;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};

use super::Stop;
use super::door::{Place, Seat};
use super::greeting::{Greeted, Line};
use super::host::{AccountHost, Host};
use super::machine::Machine;
use super::observer::{ServerEvent as Event, Way, guarded};
use super::queue::Ticket;
use crate::compute::on_pool;
use crate::error::{Error, Goodbye, Result};
use crate::handshake::{Down, Mode, Up};
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
pub(super) async fn run<B: Backend>(
    host: &Arc<Host<B>>,
    greeting: impl Future<Output = Result<Greeted>>,
    peer: SocketAddr,
    mut place: Place,
    stopping: watch::Receiver<Stop>,
) {
    let limit = host.config.limits.greeting;
    let greeting = async {
        let greeting = timeout(limit, greeting).await;
        let waiting_for = "the greeting of a client";
        let greeted = greeting.unwrap_or(Err(Error::Timeout { waiting_for, limit }))?;
        Ok::<_, Error>((greeted, fresh_rng()?))
    };
    let greeting = tokio::select! {
        biased;
        greeting = greeting => greeting.map_err(|error| error.to_string()),
        () = place.sent_away() => Err(MADE_ROOM.to_owned()),
        () = asked_to_stop(stopping.clone(), false) => Err(Goodbye::ShuttingDown.to_string()),
    };
    drop(place);
    match greeting {
        Err(reason) => host.emit(Event::TurnedAway { peer, reason }),
        Ok((greeted, rng)) => {
            let account = greeted.account.clone();
            host.emit(Event::Accepted { account: account.clone(), peer });
            let mut session = Session::new(Arc::clone(host), greeted, rng, stopping);
            let error = match AssertUnwindSafe(session.serve()).catch_unwind().await {
                Ok(Over::Left) => None,
                Ok(Over::Failed(error)) => Some(error),
                Err(_) => Some(Error::Bug("a session panicked".into())),
            };
            let reason = error.as_ref().map(Error::to_string);
            session.roll_back(reason.as_deref().unwrap_or("the client left"));
            if let Some(error) = &error {
                session.part(error).await;
            }
            drop(session); // and its seat, before anybody hears of it
            host.emit(Event::Left { account, error: reason });
        }
    }
}

const MADE_ROOM: &str = "it had not greeted yet and made room for a newer connection";

/// A lease in progress.
struct Lease {
    /// Its place at the head of the line, given up when this is dropped.
    _ticket: Ticket,
    /// When it must be over.
    until: Instant,
}

struct Session<B: Backend> {
    host: Arc<Host<B>>,
    account: String,
    line: Line,
    /// `None` while it computes, and for good if that panics.
    machine: Option<Machine<B>>,
    lease: Option<Lease>,
    stopping: watch::Receiver<Stop>,
    _seat: Seat,
}

impl<B: Backend> Session<B> {
    fn new(
        host: Arc<Host<B>>,
        greeted: Greeted,
        rng: ChaCha20Rng,
        stopping: watch::Receiver<Stop>,
    ) -> Self {
        let Greeted { account, line, seat } = greeted;
        let machine = Some(Machine::new(&host, rng));
        Self { host, account, line, machine, lease: None, stopping, _seat: seat }
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
        let message = self.next_message().await?;
        if let Some(reason) = self.not_offered(&message)? {
            return self.send(ServerMessage::Refused { reason }).await;
        }
        let handled = self.compute(move |machine, host| {
            check_key_size::<B>(&message, &host.host)?;
            guarded(|| host.host.config.observer.received(&host.account, &message));
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
        self.flush().await?;
        if self.host.config.precompute {
            self.compute(|machine, _| machine.precompute()).await?;
        }
        Ok(())
    }

    async fn next_message(&mut self) -> Result<ClientMessage, Over> {
        let limits = &self.host.config.limits;
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
            received = timeout_at(deadline, self.line.receiver.receive(WAITING)) => received,
        };
        match received.map_err(|_| Error::Timeout { waiting_for, limit })?? {
            (Up::Bye, _) => Err(Over::Left),
            (Up::Hello(_), _) => Err(unexpected("Message", "Hello").into()),
            (Up::Message(message), bytes) => {
                self.count(Way::Up, message.name(), bytes);
                Ok(message)
            }
        }
    }

    /// Waits for this client's turn, then draws the terms of its lease.
    async fn request_lease(
        &mut self,
        batch: usize,
        lengths: RangeInclusive<u32>,
    ) -> Result<(), Over> {
        let ticket = self.await_turn().await?;
        let until = Instant::now() + self.host.config.limits.lease;
        let granted = self.compute(move |machine, host| grant(machine, host, batch, lengths));
        if let Some((base, steps)) = granted.await?? {
            self.lease = Some(Lease { _ticket: ticket, until });
            let account = self.account.clone();
            self.host.emit(Event::LeaseGranted { account, base, steps, batch });
        }
        Ok(())
    }

    async fn await_turn(&mut self) -> Result<Ticket, Over> {
        let ticket = self.host.queue.join();
        if ticket.position() > 0 {
            let (account, position) = (self.account.clone(), ticket.position());
            self.host.emit(Event::Queued { account, position });
        }
        let mut notice = interval_at(Instant::now(), self.host.config.limits.keep_alive);
        notice.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = asked_to_stop(self.stopping.clone(), false) => {
                    return Err(Goodbye::ShuttingDown.into());
                }
                () = ticket.turn() => return Ok(ticket),
                received = self.line.receiver.receive("a client waited for its turn") => {
                    return Err(match received? {
                        (Up::Bye, _) => Over::Left,
                        (Up::Hello(_), _) => unexpected("nothing", "Hello").into(),
                        (Up::Message(message), _) => {
                            unexpected("nothing", message.name()).into()
                        }
                    });
                }
                _ = notice.tick() => {
                    self.line.send(&Down::Waiting { position: ticket.position() }).await?;
                }
            }
        }
    }

    /// Stores the end of a lease; the next client's turn comes before the answer is written.
    async fn commit(&mut self, base: u64, parameters: Parameters) -> Result<(), Over> {
        let committed = self.compute(move |machine, host| {
            let stored = host.host.commit(&host.account, base, parameters);
            let (server, _) = machine.leasing()?;
            match &stored {
                Ok(version) => server.committed(*version)?,
                Err(_) => server
                    .refuse("the server cannot keep the new version; tell its operator".into())?,
            }
            Ok::<_, Error>(stored)
        });
        let stored = committed.await??;
        let account = self.account.clone();
        match stored {
            Ok(version) => {
                self.lease = None;
                self.host.emit(Event::Committed { account, version });
            }
            Err(error) => {
                let reason = error.to_string();
                self.roll_back(&reason);
                self.host.emit(Event::StoreFailed { reason });
            }
        }
        Ok(())
    }

    /// Sends what the machine has to say.
    async fn flush(&mut self) -> Result<(), Over> {
        while let Some(message) = self.machine()?.poll_transmit() {
            match &message {
                ServerMessage::Refused { reason } => {
                    if !self.machine()?.holds_lease() {
                        self.roll_back(reason);
                    }
                    let (account, reason) = (self.account.clone(), reason.clone());
                    self.host.emit(Event::Refused { account, reason });
                }
                ServerMessage::LeaseReturned => self.roll_back("the client gave the lease back"),
                _ => {}
            }
            self.send(message).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: ServerMessage) -> Result<(), Over> {
        let name = message.name();
        let bytes = self.line.send(&Down::Message(message)).await?;
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

    /// Ends the lease, if there is one that was not committed.
    fn roll_back(&mut self, reason: &str) {
        if self.lease.take().is_some() {
            let (account, reason) = (self.account.clone(), reason.to_owned());
            self.host.emit(Event::RolledBack { account, reason });
        }
    }

    async fn part(&mut self, error: &Error) {
        if !matches!(error, Error::ConnectionLost { .. }) {
            self.line.part(error, B::ID).await;
        }
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
        job: impl FnOnce(&mut Machine<B>, &AccountHost<B>) -> T + Send + 'static,
    ) -> Result<T> {
        let mut machine = self.machine.take().ok_or(Error::SessionOver)?;
        let host = AccountHost { host: Arc::clone(&self.host), account: self.account.clone() };
        let computing = Arc::clone(&self.host.computing);
        let mut work = std::pin::pin!(async move {
            let permit = computing.acquire_owned().await.expect("never closed");
            // The job keeps its permit and its host, even if this session is dropped meanwhile.
            on_pool(move || {
                let _permit = permit;
                let result = job(&mut machine, &host);
                (machine, result)
            })
            .await
        });
        let keep_alive = self.host.config.limits.keep_alive;
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
        let account = self.account.clone();
        self.host.emit(Event::Message { account, way, name, bytes });
    }
}

const WAITING: &str = "waiting for the client's next message";

/// Draws the length of a lease and grants it on the last committed version; or refuses.
fn grant<B: Backend>(
    machine: &mut Machine<B>,
    host: &AccountHost<B>,
    batch: usize,
    lengths: RangeInclusive<u32>,
) -> Result<Option<(u64, u32)>> {
    let model = host.host.served();
    let (server, rng) = machine.leasing()?;
    let drawn = server.exposure(&model).and_then(|exposure| {
        Ok(host.host.draw(&host.account, model.version, &exposure, batch, lengths)?)
    });
    match drawn {
        Ok(steps) => {
            let rate = host.host.config.rate.clone();
            server.grant(&model, steps, rate, rng)?;
            Ok(Some((model.version, steps)))
        }
        Err(refusal) => {
            server.refuse(refusal.reason())?;
            Ok(None)
        }
    }
}

/// The core's machine accepts every size that its scheme knows; the operator may be stricter.
fn check_key_size<B: Backend>(message: &ClientMessage, host: &Host<B>) -> Result<()> {
    let (ClientMessage::Open { backend, public_key }
    | ClientMessage::OpenBlind { backend, public_key, .. }) = message
    else {
        return Ok(());
    };
    if backend != B::ID {
        return Ok(()); // The machine says so.
    }
    let got = B::key_bits(&B::public_key_from_bytes(public_key)?);
    let accepted = &host.config.key_bits;
    if !accepted.contains(&got) {
        let accepted = format!("{} to {} bits", accepted.start(), accepted.end());
        return Err(PeerIncompatible::KeySize { got, accepted }.into());
    }
    Ok(())
}

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
