//! The machine of one session: that of the mode which its client has chosen.

use std::sync::Arc;

use gelu_core::Backend;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::server::{self, BlindServer, ServerOutput};
use gelu_garble::HalfGates;
use rand::rngs::ChaCha20Rng;

use super::host::{AccountHost, Host};
use crate::error::{Error, Result};

/// The core's machine and its randomness: together they go where the computing is done.
pub(super) struct Machine<B: Backend> {
    answering: Answering<B>,
    rng: ChaCha20Rng,
}

/// That of the mode which the client has chosen by its first message.
enum Answering<B: Backend> {
    Open(Box<server::Server<B>>),
    Blind(Box<BlindServer<B, HalfGates>>),
}

impl<B: Backend> Machine<B> {
    /// Before the first message.
    pub(super) fn new(host: &Host<B>, rng: ChaCha20Rng) -> Self {
        let server = server::Server::sharing(Arc::clone(host.weights()));
        Self { answering: Answering::Open(Box::new(server)), rng }
    }

    /// Hands on a message; gives what the machine asks of its process.
    pub(super) fn take(
        &mut self,
        message: ClientMessage,
        host: &AccountHost<B>,
    ) -> gelu_core::Result<Option<ServerOutput>> {
        if let (Answering::Open(machine), ClientMessage::OpenBlind { .. }) =
            (&self.answering, &message)
            && machine.client_key().is_none()
        {
            let (weights, terms) = (Arc::clone(host.host.weights()), host.host.offer.blind);
            self.answering = Answering::Blind(Box::new(BlindServer::sharing(weights, terms)));
        }
        match &mut self.answering {
            Answering::Open(machine) => {
                machine.handle_message(message, host, &mut self.rng)?;
                Ok(machine.poll_output())
            }
            Answering::Blind(machine) => {
                machine.handle_message(message, host, &mut self.rng)?;
                Ok(None)
            }
        }
    }

    /// The next message for the client, if any.
    pub(super) fn poll_transmit(&mut self) -> Option<ServerMessage> {
        match &mut self.answering {
            Answering::Open(machine) => machine.poll_transmit(),
            Answering::Blind(machine) => machine.poll_transmit(),
        }
    }

    /// The kind of what was refused last.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match &self.answering {
            Answering::Open(machine) => machine.refusal(),
            Answering::Blind(machine) => machine.refusal(),
        }
    }

    /// Uses the time after a query.
    pub(super) fn precompute(&mut self) {
        match &self.answering {
            Answering::Open(machine) => machine.precompute(&mut self.rng),
            Answering::Blind(machine) => machine.precompute(&mut self.rng),
        }
    }

    /// Whether the client holds the lease.
    pub(super) fn holds_lease(&self) -> bool {
        matches!(&self.answering, Answering::Open(machine) if machine.holds_lease())
    }

    /// The machine of the open mode, where leases are, and the randomness.
    pub(super) fn leasing(&mut self) -> Result<(&mut server::Server<B>, &mut ChaCha20Rng)> {
        match &mut self.answering {
            Answering::Open(machine) => Ok((machine, &mut self.rng)),
            Answering::Blind(_) => Err(Error::Bug("a lease in a blind session".into())),
        }
    }
}
