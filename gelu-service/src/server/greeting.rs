//! How a session begins and ends: the secure channel, the greeting, the last words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gelu_core::error::{PeerIncompatible, PeerMisbehaved};
use tokio::net::TcpStream;

use super::door::Seat;
use super::host::Hosted;
use super::observer::guarded;
use super::proof::Proof;
use super::quotas::Counted;
use super::shared::Shared;
use crate::account;
use crate::channel::{PARTING_TIME, admit};
use crate::compute::beside;
use crate::error::{Error, FrameError, Goodbye, Result};
use crate::frame::{Reader, Receiver, Sender, Writer};
use crate::handshake::{Down, Incompatible, Up, Welcome};
use crate::limits::GREETING_BYTES;
use crate::tls::ALPN;

/// A client that is known and has been greeted.
pub(super) struct Greeted {
    pub(super) account: String,
    pub(super) peer: SocketAddr,
    pub(super) line: Line,
    pub(super) seat: Seat,
    pub(super) counted: Counted,
    /// What proves its account.
    pub(super) proof: Proof,
}

/// Opens the channel, learns who is there, agrees on a version, finds the model, hands out its card.
pub(super) async fn greet(
    shared: &Shared,
    tcp: TcpStream,
    peer: SocketAddr,
) -> Result<(Arc<dyn Hosted>, Greeted)> {
    let channel = admit(tcp, shared.config.tls.config()).await?;
    let (_, state) = channel.get_ref();
    let account = account::of_certificate(state.peer_certificates());
    let speaks_gelu = state.alpn_protocol() == Some(ALPN);
    let certificate = state.peer_certificates().and_then(<[_]>::first).cloned();
    let proof = certificate.map_or(Proof::None, |own| Proof::Certificate(own.into_owned()));
    let (read, write) = tokio::io::split(channel);
    let account = speaks_gelu.then_some(account);
    welcome(shared, Box::new(read), Box::new(write), account, proof, peer).await
}

/// The greeting on a channel that is secret and authentic: of an account, or of somebody who has come for another
/// exchange.
pub(super) async fn welcome(
    shared: &Shared,
    read: Reader,
    write: Writer,
    account: Option<Result<String, String>>,
    proof: Proof,
    peer: SocketAddr,
) -> Result<(Arc<dyn Hosted>, Greeted)> {
    let limits = shared.config.limits;
    let mut line = Line {
        receiver: Receiver::new(read, GREETING_BYTES),
        sender: Sender::new(write, limits.frame_bytes),
        send_limit: limits.send,
    };
    match greeted(shared, &mut line, account).await {
        Ok((model, account, seat, counted)) => {
            line.receiver.set_limit(limits.frame_bytes);
            Ok((model, Greeted { account, peer, line, seat, counted, proof }))
        }
        Err(error) => {
            line.part(&error, "").await;
            Err(error)
        }
    }
}

async fn greeted(
    shared: &Shared,
    line: &mut Line,
    account: Option<Result<String, String>>,
) -> Result<(Arc<dyn Hosted>, String, Seat, Counted)> {
    let account = account.ok_or(FrameError::NoGreeting)?;
    let hello = match line.receiver.receive(READING).await {
        Ok((Up::Hello(hello), _)) => hello,
        Ok(_) | Err(Error::PeerMisbehaved(_)) => return Err(FrameError::NoGreeting.into()),
        Err(error) => return Err(error),
    };
    let version = hello.agree()?;
    let account = account.map_err(|why| {
        guarded(|| tracing::warn!(why, "no account"));
        Goodbye::NoAccount
    })?;
    let wanted = match line.receiver.receive(READING).await?.0 {
        Up::Choose(name) => name,
        other => {
            return Err(PeerMisbehaved::UnexpectedMessage {
                expected: "Choose",
                got: other.name(),
            }
            .into());
        }
    };
    let model = shared
        .find(&account, &wanted)
        .map_err(|served| PeerIncompatible::Model { wanted, served: served.join(", ") })?;
    let seat = shared.seats.take(&account)?;
    let (quotas, name) = (Arc::clone(&shared.quotas), account.clone());
    let counted = beside(move || quotas.begin(&name)).await?;
    let counted = counted.map_err(|denied| {
        guarded(|| tracing::info!(account, %denied, "no session"));
        denied.goodbye()
    })?;
    let card = model.card(&account);
    line.send(&Down::Welcome(Box::new(Welcome { version, card }))).await?;
    Ok((model, account, seat, counted))
}

const READING: &str = "reading a greeting";

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
