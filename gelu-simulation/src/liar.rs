//! A client by hand that asks again with tickets that it has spent.

use std::sync::Arc;

use gelu_core::blind::Answer;
use gelu_core::clear::Clear;
use gelu_core::client::BlindClient;
use gelu_core::message::ClientMessage;
use gelu_garble::HalfGates;
use gelu_service::frame::{Receiver, Sender};
use gelu_service::handshake::{Down, Hello, Up};
use gelu_service::{Error, Result};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::server::{Site, limits};
use crate::subject::{self, Subject};
use crate::world::World;

pub(crate) const ACCOUNT: &str = "mallory";

struct Liar {
    sender: Sender<WriteHalf<DuplexStream>>,
    receiver: Receiver<ReadHalf<DuplexStream>>,
    machine: BlindClient<Clear, HalfGates>,
    rng: ChaCha20Rng,
}

/// Asks with a ticket, and with the same one once more: before or after the rest of the query, or in a session that has
/// made none.
pub(crate) async fn repeats(world: &World, site: &Site) -> Result<()> {
    let mut liar = Liar::open(world, site).await?;
    liar.machine.request_tickets(2, &mut liar.rng)?;
    liar.exchange().await?;
    liar.machine.classify(&subject::inputs(world, 1))?;
    let question = liar.machine.poll_transmit().ok_or(Error::SessionOver)?;
    liar.send(&question).await?;
    let answer = liar.answer().await?;
    liar.machine.handle_message(answer, &mut liar.rng)?;
    if world.once_in(2) {
        liar.exchange().await?;
    }
    if world.once_in(2) {
        liar = Liar::open(world, site).await?;
    }
    // Whatever is answered now, the witness sees it.
    liar.send(&question).await?;
    let _ = liar.answer().await;
    Ok(())
}

impl Liar {
    async fn open(world: &World, site: &Site) -> Result<Self> {
        let io = site.dial(ACCOUNT).ok_or(Error::ConnectionLost { doing: "dialling" })?;
        let (read, write) = tokio::io::split(io);
        let bytes = limits().frame_bytes;
        let (mut rng, subject) = (ChaCha20Rng::from_seed(world.bytes()), Subject::get());
        let (network, precision) = (Arc::clone(subject.network()), *subject.precision());
        let key = subject::key();
        let machine = BlindClient::new(network, precision, key, Answer::Class, &mut rng)?;
        let (sender, receiver) = (Sender::new(write, bytes), Receiver::new(read, bytes));
        let mut liar = Self { sender, receiver, machine, rng };
        for frame in [Up::Hello(Hello::ours()), Up::Choose(String::new())] {
            liar.sender.send(&frame, DOING).await?;
        }
        match liar.receive().await? {
            Down::Welcome(_) => {}
            _ => return Err(Error::SessionOver),
        }
        liar.exchange().await?;
        Ok(liar)
    }

    /// Until the machine has nothing more to say.
    async fn exchange(&mut self) -> Result<()> {
        while let Some(message) = self.machine.poll_transmit() {
            self.send(&message).await?;
            if !matches!(message, ClientMessage::TransferAnswer { .. }) {
                let answer = self.answer().await?;
                self.machine.handle_message(answer, &mut self.rng)?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, message: &ClientMessage) -> Result<()> {
        self.sender.send(&Up::Message(message.clone()), DOING).await.map(drop)
    }

    async fn answer(&mut self) -> Result<gelu_core::message::ServerMessage> {
        loop {
            match self.receive().await? {
                Down::Message(message) => return Ok(message),
                Down::Waiting { .. } | Down::Working => {}
                _ => return Err(Error::SessionOver),
            }
        }
    }

    async fn receive(&mut self) -> Result<Down> {
        let limit = limits().silence;
        let received = timeout(limit, self.receiver.receive(DOING)).await;
        received.map_err(|_| Error::Timeout { waiting_for: DOING, limit })?.map(|(frame, _)| frame)
    }
}

const DOING: &str = "lying";
