//! How a session begins and ends: the secure channel, the greeting, the last words.

use std::sync::Arc;
use std::time::Duration;

use gelu_core::Backend;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::door::Seat;
use super::host::Host;
use super::observer::guarded;
use crate::account;
use crate::channel::{PARTING_TIME, admit};
use crate::error::{Error, FrameError, Goodbye, Result};
use crate::frame::{Receiver, Sender};
use crate::handshake::{Down, Incompatible, Up, Welcome};
use crate::limits::GREETING_BYTES;
use crate::tls::ALPN;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A client that is known and has been greeted.
pub(super) struct Greeted {
    pub(super) account: String,
    pub(super) line: Line,
    pub(super) seat: Seat,
}

/// Opens the channel, learns who is there, agrees on a version, hands out the card.
pub(super) async fn greet<B: Backend>(host: &Host<B>, tcp: TcpStream) -> Result<Greeted> {
    let channel = admit(tcp, Arc::clone(host.config.tls.config())).await?;
    let (_, state) = channel.get_ref();
    let account = account::of_certificate(state.peer_certificates());
    let speaks_gelu = state.alpn_protocol() == Some(ALPN);
    let (read, write) = tokio::io::split(channel);
    welcome(host, Box::new(read), Box::new(write), speaks_gelu.then_some(account)).await
}

/// The greeting on a channel that is secret and authentic: of an account, or of somebody who has come for another
/// exchange.
pub(super) async fn welcome<B: Backend>(
    host: &Host<B>,
    read: Reader,
    write: Writer,
    account: Option<Result<String, String>>,
) -> Result<Greeted> {
    let limits = host.config.limits;
    let mut line = Line {
        receiver: Receiver::new(read, GREETING_BYTES),
        sender: Sender::new(write, limits.frame_bytes),
        send_limit: limits.send,
    };
    match greeted(host, &mut line, account).await {
        Ok((account, seat)) => {
            line.receiver.set_limit(limits.frame_bytes);
            Ok(Greeted { account, line, seat })
        }
        Err(error) => {
            line.part(&error, B::ID).await;
            Err(error)
        }
    }
}

async fn greeted<B: Backend>(
    host: &Host<B>,
    line: &mut Line,
    account: Option<Result<String, String>>,
) -> Result<(String, Seat)> {
    let account = account.ok_or(FrameError::NoGreeting)?;
    let (hello, _) = match line.receiver.receive("reading a greeting").await {
        Ok((Up::Hello(hello), bytes)) => (hello, bytes),
        Ok(_) | Err(Error::PeerMisbehaved(_)) => return Err(FrameError::NoGreeting.into()),
        Err(error) => return Err(error),
    };
    let version = hello.agree()?;
    let account = account.map_err(|why| {
        guarded(|| tracing::warn!(why, "no account"));
        Goodbye::NoAccount
    })?;
    let seat = host.seats.take(&account)?;
    let card = host.card(&account);
    line.send(&Down::Welcome(Box::new(Welcome { version, card }))).await?;
    Ok((account, seat))
}

/// The frames of a session.
pub(super) struct Line {
    pub(super) receiver: Receiver<Reader>,
    sender: Sender<Writer>,
    send_limit: Duration,
}

impl Line {
    pub(super) async fn send(&mut self, frame: &Down) -> Result<u64> {
        let (limit, doing) = (self.send_limit, "writing to the client");
        self.sender.send_within(limit, frame, doing, "the client to read").await
    }

    /// The last words to a client: the kind of the error where it helps an honest one, and for
    /// all misbehaviour the same.
    pub(super) async fn part(&mut self, error: &Error, backend: &str) {
        let words = match error {
            Error::PeerIncompatible(e) => Down::Incompatible(Incompatible::tell(e, backend)),
            Error::Ended(goodbye) => Down::Goodbye(*goodbye),
            Error::Timeout { .. } => Down::Goodbye(Goodbye::TimeLimit),
            _ => Down::Goodbye(Goodbye::Ended),
        };
        self.sender.part(&words, PARTING_TIME).await;
        self.receiver.drain().await;
    }
}
