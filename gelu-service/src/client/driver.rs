//! Carries the questions of a machine to the server and brings it the answers.
//!
//! The rule of the core's machines is *drain, then one mutation*; both kinds of session keep it here.

use std::collections::VecDeque;
use std::time::Instant;

use gelu_core::Backend;
use gelu_core::circuit::two_party::TwoParty;
use gelu_core::client::{BlindClient, Client, ClientOutput};
use gelu_core::message::{ClientMessage, ServerMessage};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use tokio::sync::mpsc;

use super::ClientEvent;
use super::line::{Answer, Line, Observer};
use super::statistics::{Cost, Phase, Statistics};
use crate::compute::on_pool;
use crate::error::{Error, Result};
use crate::randomness::fresh_rng;
use crate::server::Way;

/// A machine of the core, as far as a wire is concerned.
pub(super) trait Machine: Send + 'static {
    /// The next message for the server, if any.
    fn poll_transmit(&mut self) -> Option<ClientMessage>;
    /// The next event for this side, if any.
    fn poll_output(&mut self) -> Option<ClientOutput>;
    /// Takes a message from the server.
    fn handle_message(
        &mut self,
        message: ServerMessage,
        rng: &mut dyn CryptoRng,
    ) -> gelu_core::Result<()>;
}

/// The same methods, by their own names.
macro_rules! machine {
    (<$($parameter:ident: $bound:ident),*> $machine:ty) => {
        impl<$($parameter: $bound),*> Machine for $machine {
            fn poll_transmit(&mut self) -> Option<ClientMessage> {
                self.poll_transmit()
            }

            fn poll_output(&mut self) -> Option<ClientOutput> {
                self.poll_output()
            }

            fn handle_message(
                &mut self,
                message: ServerMessage,
                rng: &mut dyn CryptoRng,
            ) -> gelu_core::Result<()> {
                self.handle_message(message, rng)
            }
        }
    };
}

machine!(<B: Backend> Client<B>);
machine!(<B: Backend, P: TwoParty> BlindClient<B, P>);

/// A machine and its randomness: together they go where the computing is done.
pub(super) struct Running<M> {
    pub(super) machine: M,
    pub(super) rng: ChaCha20Rng,
}

/// Work for the machine, of any type: see [`on_pool`].
type Job<M> = Box<dyn FnOnce(&mut Running<M>) -> gelu_core::Result<()> + Send>;

/// An open line with a machine behind it.
pub(super) struct Driver<M> {
    line: Line,
    /// `None` once the session is over.
    running: Option<Running<M>>,
    /// Stages of the network, for events.
    stages: usize,
    /// What forward exchanges are for: [`Phase::Inference`] or [`Phase::Forward`].
    pub(super) forward: Phase,
    pub(super) statistics: Statistics,
}

impl<M: Machine> Driver<M> {
    /// Sends the key, which the machine has ready.
    pub(super) async fn begin(
        line: Line,
        stages: usize,
        make: impl FnOnce(&mut ChaCha20Rng) -> gelu_core::Result<M>,
    ) -> Result<Self> {
        let mut driver = Self {
            line,
            running: None,
            stages,
            forward: Phase::Inference,
            statistics: Statistics::default(),
        };
        let mut rng = fresh_rng()?;
        match make(&mut rng) {
            Ok(machine) => driver.running = Some(Running { machine, rng }),
            Err(error) => {
                driver.line.close().await;
                return Err(error.into());
            }
        }
        match driver.rounds().await?.pop() {
            Some(ClientOutput::Opened) => Ok(driver),
            other => Err(no_such(other)),
        }
    }

    /// The machine, while the session lives.
    pub(super) fn machine(&self) -> Result<&M> {
        Ok(&self.running.as_ref().ok_or(Error::SessionOver)?.machine)
    }

    /// Takes randomness from `seed` from here on.
    pub(super) fn seed(&mut self, seed: [u8; 32]) {
        if let Some(running) = &mut self.running {
            running.rng = ChaCha20Rng::from_seed(seed);
        }
    }

    /// Whom to tell of what happens.
    pub(super) fn observer(&mut self) -> &mut Observer {
        &mut self.line.observer
    }

    /// Carries questions and answers until the machine waits for a request of ours.
    pub(super) async fn rounds(&mut self) -> Result<Vec<ClientOutput>> {
        let mut outputs = Vec::new();
        loop {
            let machine = &mut self.running.as_mut().ok_or(Error::SessionOver)?.machine;
            outputs.extend(core::iter::from_fn(|| machine.poll_output()));
            let questions: Vec<_> = core::iter::from_fn(|| machine.poll_transmit()).collect();
            if questions.is_empty() {
                return Ok(outputs);
            }
            if let Err(error) = self.exchange(questions).await {
                self.abandon().await;
                return Err(error);
            }
        }
    }

    /// Questions and their answers, in order; the end of the base transfers has none. All questions are on their way
    /// before the first answer is there, and answers are read while questions are written: so a slow link is
    /// waited for once, and neither side waits for the other to read.
    async fn exchange(&mut self, questions: Vec<ClientMessage>) -> Result<()> {
        let of = |question: &ClientMessage| {
            (self.phase_of(question), stage_of(question), question.name(), is_answered(question))
        };
        let mut asked: VecDeque<_> = questions.iter().map(of).collect();
        let Self { line, running, stages, statistics, .. } = self;
        let stages = *stages;
        let (mut asking, mut answers) = line.halves();
        let (sent, mut sizes) = mpsc::unbounded_channel();
        let ask = async move {
            for question in questions {
                match asking.tell(question).await {
                    Ok(up) => _ = sent.send(up),
                    Err(error) => return Ok(Some(error)),
                }
            }
            Ok::<_, Error>(None)
        };
        let take = async {
            while let Some(up) = sizes.recv().await {
                let (phase, stage, name, is_answered) = asked.pop_front().expect("as many as sent");
                statistics.count(Way::Up, name, up);
                statistics.of(phase).up += up;
                if !is_answered {
                    continue;
                }
                let Answer { message, down, waited } = answers.next().await?;
                statistics.count(Way::Down, message.name(), down);
                let cost = statistics.of(phase);
                cost.rounds += 1;
                cost.down += down;
                cost.server += waited;
                (answers.observer)(&ClientEvent::Round { phase, stage, stages, up, down, waited });
                let handle = |m: &mut Running<M>| m.machine.handle_message(message, &mut m.rng);
                work(running, cost, Box::new(handle)).await?;
            }
            Ok::<_, Error>(())
        };
        match tokio::try_join!(ask, take)? {
            (None, ()) => Ok(()),
            (Some(error), ()) => Err(self.line.explain(error).await),
        }
    }

    /// What a question is for. Forward exchanges look alike in training and in inference.
    fn phase_of(&self, question: &ClientMessage) -> Phase {
        match question {
            ClientMessage::Open { .. }
            | ClientMessage::OpenBlind { .. }
            | ClientMessage::TransferAnswer { .. } => Phase::Opening,
            ClientMessage::EncryptedMasks { .. } | ClientMessage::TransferRequest { .. } => {
                Phase::Tickets
            }
            ClientMessage::HiddenInputs { .. } | ClientMessage::HiddenActivations { .. } => {
                Phase::Inference
            }
            ClientMessage::EncryptedActivations { .. } => self.forward,
            ClientMessage::EncryptedErrors { .. } => Phase::Backward,
            ClientMessage::MaskedUpdate(_) | ClientMessage::EncryptedMaskedUpdate { .. } => {
                Phase::Update
            }
            ClientMessage::FinalUpdate(_) => Phase::Commit,
            ClientMessage::RequestLease { .. } | ClientMessage::ReturnLease => Phase::Queue,
        }
    }

    /// Lets the machine work, on the pool. An error of a request is the caller's own, and nothing has happened.
    pub(super) fn ask(
        &mut self,
        phase: Phase,
        request: impl FnOnce(&mut Running<M>) -> gelu_core::Result<()> + Send + 'static,
    ) -> impl Future<Output = Result<()>> {
        work(&mut self.running, self.statistics.of(phase), Box::new(request))
    }

    /// Leaves in the middle: the server rolls back what was not committed.
    pub(super) async fn abandon(&mut self) {
        if self.running.take().is_some() {
            self.line.close().await;
        }
    }

    /// Says goodbye; returns what the session has cost.
    pub(super) async fn close(mut self) -> Statistics {
        self.line.close().await;
        self.statistics
    }
}

async fn work<M: Machine>(
    place: &mut Option<Running<M>>,
    cost: &mut Cost,
    request: Job<M>,
) -> Result<()> {
    let mut running = place.take().ok_or(Error::SessionOver)?;
    let began = Instant::now();
    let work = on_pool(move || {
        let result = request(&mut running);
        (running, result)
    });
    let (running, result) = work.await?;
    *place = Some(running);
    cost.client += began.elapsed();
    Ok(result?)
}

/// Whether the server says something to it.
fn is_answered(question: &ClientMessage) -> bool {
    !matches!(question, ClientMessage::TransferAnswer { .. })
}

fn stage_of(question: &ClientMessage) -> Option<usize> {
    match question {
        ClientMessage::EncryptedActivations { stage, .. }
        | ClientMessage::EncryptedErrors { stage, .. }
        | ClientMessage::HiddenActivations { stage, .. } => Some(*stage as usize),
        ClientMessage::HiddenInputs { .. } => Some(0),
        _ => None,
    }
}

/// What a machine says instead of what was asked for.
pub(super) fn no_such(output: Option<ClientOutput>) -> Error {
    match output {
        Some(ClientOutput::Refused(refused)) => refused.into(),
        other => Error::Bug(format!("the client machine says {other:?}")),
    }
}
