//! The data party's end of the wire.

use std::time::Duration;

use anyhow::Result;
use gelu_core::error::PeerMisbehaved;
use gelu_service::channel::{self, ClientChannel};
use gelu_service::error::Goodbye;
use gelu_service::{ClientTls, Error};

use super::wire::{ALPN, Assembly, Card, Down, Refusal, Terms, Up, limits, parts};
use crate::client;
use crate::problem::{advised, problem};

/// A compute party that has accepted our settings.
pub(super) struct Link {
    channel: ClientChannel,
    /// Bytes on the wire so far.
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Link {
    /// Asks `address` (HOST:PORT) for a computation.
    pub(super) async fn open(address: &str, tls: &ClientTls, terms: &Terms) -> Result<Self> {
        let mut link = Self::connect(address, tls).await?;
        link.send(&Up::Open(*terms)).await?;
        match link.receive().await? {
            Down::Accepted => Ok(link),
            Down::Refused(refusal) => Err(refused(refusal)),
            other => Err(unexpected(&other, "Accepted")),
        }
    }

    /// Asks for the base that is there.
    pub(super) async fn look(address: &str, tls: &ClientTls) -> Result<Card> {
        let mut link = Self::connect(address, tls).await?;
        link.send(&Up::Look).await?;
        let card = match link.receive().await? {
            Down::Base(card) => card,
            other => return Err(unexpected(&other, "Base")),
        };
        link.close().await;
        card.ok_or_else(|| {
            problem(
                "the compute party has no base",
                "its operator names one: `gelu transfer compute --base MODEL --freeze STAGES`",
            )
        })
    }

    async fn connect(address: &str, tls: &ClientTls) -> Result<Self> {
        let host = client::host_of(address)?;
        let channel = channel::connect(address, host, tls, ALPN, &limits()).await;
        let channel = channel.map_err(|error| match error {
            Error::Network { .. } | Error::Timeout { .. } => {
                advised(error, "start `gelu transfer compute` there, or check the address")
            }
            other => other.into(),
        })?;
        Ok(Self { channel, up: 0, down: 0 })
    }

    /// Sends keys or a batch.
    pub(super) async fn deliver(&mut self, message: &[u8]) -> Result<()> {
        self.send_message(message).await?;
        match self.receive().await? {
            Down::Received => Ok(()),
            other => Err(unexpected(&other, "Received")),
        }
    }

    /// Sends heads, and waits for gradients of up to `most` bytes.
    pub(super) async fn ask(&mut self, message: &[u8], most: usize) -> Result<Vec<u8>> {
        self.send_message(message).await?;
        let mut answer = Assembly::new(most);
        loop {
            match self.receive().await? {
                Down::Part(part) => {
                    if let Some(whole) = answer.take(part).map_err(Error::from)? {
                        return Ok(whole);
                    }
                }
                other => return Err(unexpected(&other, "gradients")),
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        self.channel.close(&Up::Bye).await;
    }

    async fn send_message(&mut self, message: &[u8]) -> Result<()> {
        for part in parts(message) {
            self.send(&Up::Part(part)).await?;
        }
        Ok(())
    }

    /// If writing fails the peer has most likely left, and may have said why.
    async fn send(&mut self, frame: &Up) -> Result<()> {
        match self.channel.send(frame).await {
            Ok(bytes) => self.up += bytes,
            Err(lost @ Error::ConnectionLost { .. }) => {
                let words = self.channel.receive::<Down>(LAST_WORDS).await;
                return Err(match words {
                    Ok((Down::Goodbye(goodbye), _)) => ended(goodbye),
                    _ => lost.into(),
                });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Down> {
        loop {
            let (frame, bytes) = self.channel.receive(limits().silence).await?;
            self.down += bytes;
            if !matches!(frame, Down::Working) {
                return Ok(frame);
            }
        }
    }
}

fn ended(goodbye: Goodbye) -> anyhow::Error {
    Error::from(goodbye).into()
}

fn unexpected(frame: &Down, expected: &'static str) -> anyhow::Error {
    let got = match frame {
        Down::Goodbye(goodbye) => return ended(*goodbye),
        Down::Base(_) => "Base",
        Down::Accepted => "Accepted",
        Down::Refused(_) => "Refused",
        Down::Received => "Received",
        Down::Working => "Working",
        Down::Part(_) => "Part",
    };
    Error::from(PeerMisbehaved::UnexpectedMessage { expected, got }).into()
}

fn refused(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Busy => problem(
            "the compute party is busy with another computation",
            "run the command again later; it computes one at a time",
        ),
        Refusal::Settings(why) => problem(
            format!("the compute party refuses these settings: {why}"),
            "choose other settings; `gelu transfer plan --engine ckks` shows what they take",
        ),
        Refusal::Memory(needed) => problem(
            format!(
                "the compute party needs {needed} MiB of memory for this, which it does not have"
            ),
            "take a smaller --unattended, --degree or --batch; or start it on a larger machine, or with more --memory",
        ),
    }
}

const LAST_WORDS: Duration = Duration::from_secs(1);
