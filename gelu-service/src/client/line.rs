//! The client's end of the wire: questions out, answers in, notices passed on.

use std::time::{Duration, Instant};

use gelu_core::error::PeerMisbehaved;
use gelu_core::message::{ClientMessage, ServerMessage};
use tokio::net::ToSocketAddrs;
use tokio::time::timeout;

use super::ClientEvent;
use crate::channel::{OPENING, dial};
use crate::error::{Error, Result};
use crate::frame::{Reader, Receiver, Sender, Writer};
use crate::handshake::{Down, Hello, ModelCard, Up, VERSIONS, Welcome};
use crate::limits::{CARD_BYTES, Limits};
use crate::tls::{ALPN, ClientTls};

pub(super) type Observer = Box<dyn FnMut(&ClientEvent) + Send>;

/// A greeted server.
pub(super) struct Line {
    receiver: Receiver<Reader>,
    sender: Sender<Writer>,
    limits: Limits,
    backend: &'static str,
    pub(super) observer: Observer,
}

/// An answer, its bytes, and the wait for it.
pub(super) struct Answer {
    pub(super) message: ServerMessage,
    pub(super) down: u64,
    pub(super) waited: Duration,
}

impl Line {
    /// Opens the channel and greets.
    pub(super) async fn open(
        address: impl ToSocketAddrs,
        [server_name, model]: [&str; 2],
        tls: &ClientTls,
        limits: Limits,
        backend: &'static str,
        observer: Observer,
    ) -> Result<(Self, ModelCard)> {
        let dialled = async {
            let channel = dial(address, server_name, tls.config().clone(), ALPN).await?;
            let (read, write) = tokio::io::split(channel);
            Ok((Box::new(read) as Reader, Box::new(write) as Writer))
        };
        Self::over(dialled, model, limits, backend, observer).await
    }

    /// Greets on a channel that is secret and authentic.
    pub(super) async fn over(
        dialled: impl Future<Output = Result<(Reader, Writer)>>,
        model: &str,
        limits: Limits,
        backend: &'static str,
        observer: Observer,
    ) -> Result<(Self, ModelCard)> {
        limits.validate()?;
        let limit = limits.handshake;
        let opening = async {
            let (read, write) = dialled.await?;
            let sender = Sender::new(write, limits.frame_bytes);
            let receiver = Receiver::new(read, CARD_BYTES);
            let mut line = Self { receiver, sender, limits, backend, observer };
            let card = line.greet(model).await?;
            line.receiver.set_limit(limits.frame_bytes);
            Ok((line, card))
        };
        let opened = timeout(limit, opening).await;
        opened.unwrap_or(Err(Error::Timeout { waiting_for: "the server's greeting", limit }))
    }

    /// Both frames at once: the answer to the first tells whether the second could be read.
    async fn greet(&mut self, model: &str) -> Result<ModelCard> {
        self.send(&Up::Hello(Hello::ours())).await?;
        self.send(&Up::Choose(model.to_owned())).await?;
        match self.receiver.receive(OPENING).await?.0 {
            Down::Welcome(welcome) => {
                let Welcome { version, card } = *welcome;
                if !(VERSIONS.0..=VERSIONS.1).contains(&version) {
                    let expected = format!("{VERSIONS:?}");
                    return Err(PeerMisbehaved::out_of_bounds("version", version, expected).into());
                }
                Ok(card.printable())
            }
            other => Err(self.halves().1.other(&other, "Welcome")),
        }
    }

    /// The largest frame.
    pub(super) fn frame_bytes(&self) -> usize {
        self.limits.frame_bytes
    }

    /// Both directions, to be used at the same time.
    pub(super) fn halves(&mut self) -> (Asking<'_>, Answers<'_>) {
        let Self { receiver, sender, limits, backend, observer } = self;
        (Asking { sender, limits }, Answers { receiver, limits, backend, observer })
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        self.sender.part(&Up::Bye, self.limits.handshake).await;
    }

    /// Writes a frame.
    async fn send(&mut self, frame: &Up) -> Result<()> {
        match self.halves().0.send(frame).await {
            Err(error) => Err(self.explain(error).await),
            Ok(_) => Ok(()),
        }
    }

    /// If nothing can be written the server has most likely left, and may have said why.
    pub(super) async fn explain(&mut self, error: Error) -> Error {
        if !matches!(error, Error::ConnectionLost { .. }) {
            return error;
        }
        let last_words = timeout(LAST_WORDS, self.halves().1.last_words()).await;
        last_words.unwrap_or(error)
    }
}

/// The way to the server.
pub(super) struct Asking<'l> {
    sender: &'l mut Sender<Writer>,
    limits: &'l Limits,
}

impl Asking<'_> {
    /// Sends a message; gives its bytes.
    pub(super) async fn tell(&mut self, message: ClientMessage) -> Result<u64> {
        self.send(&Up::Message(message)).await
    }

    async fn send(&mut self, frame: &Up) -> Result<u64> {
        let (limit, doing) = (self.limits.send, "writing to the server");
        self.sender.send_within(limit, frame, doing, "the server to read").await
    }
}

/// The way back.
pub(super) struct Answers<'l> {
    receiver: &'l mut Receiver<Reader>,
    limits: &'l Limits,
    backend: &'static str,
    pub(super) observer: &'l mut Observer,
}

impl Answers<'_> {
    /// Waits for the next answer.
    pub(super) async fn next(&mut self) -> Result<Answer> {
        let began = Instant::now();
        loop {
            match self.receive().await? {
                (Down::Message(message), down) => {
                    return Ok(Answer { message, down, waited: began.elapsed() });
                }
                (Down::Waiting { position }, _) => {
                    (self.observer)(&ClientEvent::Waiting { position });
                }
                (Down::Working, _) => {}
                (other, _) => return Err(self.other(&other, "an answer")),
            }
        }
    }

    async fn last_words(&mut self) -> Error {
        loop {
            match self.receiver.receive("writing to the server").await {
                Ok((Down::Waiting { .. } | Down::Working | Down::Message(_), _)) => {}
                Ok((other, _)) => return self.other(&other, "a goodbye"),
                Err(error) => return error,
            }
        }
    }

    /// Reads a frame. A server that writes, however slowly, is not silent.
    async fn receive(&mut self) -> Result<(Down, u64)> {
        let (limit, doing) = (self.limits.silence, "waiting for the server");
        self.receiver.receive_within(limit, doing, "the server's answer").await
    }

    /// What a frame means that is not the expected one.
    fn other(&self, frame: &Down, expected: &'static str) -> Error {
        let got = match frame {
            Down::Goodbye(goodbye) => return (*goodbye).into(),
            Down::Incompatible(incompatible) => {
                return incompatible.clone().heard(self.backend).into();
            }
            Down::Welcome(_) => "Welcome",
            Down::Message(message) => message.name(),
            Down::Waiting { .. } => "Waiting",
            Down::Working => "Working",
        };
        PeerMisbehaved::UnexpectedMessage { expected, got }.into()
    }
}

const LAST_WORDS: Duration = Duration::from_secs(1);
