//! Frames over sockets: see [`gelu_wire::frame`] for their form.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_util::codec::length_delimited::LengthDelimitedCodecError;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use gelu_wire::frame::{LENGTH_BYTES, decode, encode};

use crate::error::{Error, FrameError, Result};
use crate::trust;

/// The way in of any channel.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The way out.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The sending half of a channel.
pub struct Sender<W> {
    frames: FramedWrite<W, LengthDelimitedCodec>,
    sequence: u64,
}

/// The receiving half of a channel.
pub struct Receiver<R> {
    frames: FramedRead<R, LengthDelimitedCodec>,
    sequence: u64,
}

fn codec(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(limit).new_codec()
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// A channel's writing end, for frames of up to `limit` bytes.
    pub fn new(io: W, limit: usize) -> Self {
        Self { frames: FramedWrite::new(io, codec(limit)), sequence: 0 }
    }

    /// Writes one frame; returns its bytes on the wire.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a frame beyond the limit, before anything is written;
    /// [`Error::ConnectionLost`] with `doing`.
    pub async fn send(&mut self, body: &impl Serialize, doing: &'static str) -> Result<u64> {
        let bytes = Bytes::from(encode(self.sequence, body));
        let (length, limit) = (bytes.len(), self.frames.encoder().max_frame_length());
        if length > limit {
            let why = format!(
                "a message has {length}, the limit is {limit}; take smaller batches, or raise it \
                 on both sides"
            );
            return Err(Error::configuration("bytes of a frame", why));
        }
        self.sequence += 1;
        self.frames.send(bytes).await.map_err(|error| broken(error, limit, doing))?;
        Ok((LENGTH_BYTES + length) as u64)
    }

    /// The same within `limit`, which a peer that does not read exceeds.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::Timeout`] with `waiting_for`.
    pub(crate) async fn send_within(
        &mut self,
        limit: Duration,
        body: &impl Serialize,
        doing: &'static str,
        waiting_for: &'static str,
    ) -> Result<u64> {
        let sent = timeout(limit, self.send(body, doing)).await;
        sent.unwrap_or(Err(Error::Timeout { waiting_for, limit }))
    }

    /// Says `last` and that nothing follows, for as long as `limit`. Either may fail: the peer may have left first.
    pub(crate) async fn part(&mut self, last: &impl Serialize, limit: Duration) {
        let leaving = async {
            let _ = self.send(last, "saying goodbye").await;
            self.close().await;
        };
        let _ = timeout(limit, leaving).await;
    }

    /// Says that nothing follows. It may fail: the peer may have left first.
    pub async fn close(&mut self) {
        let _ = SinkExt::<Bytes>::close(&mut self.frames).await;
    }
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    /// A channel's reading end, for frames of up to `limit` bytes.
    pub fn new(io: R, limit: usize) -> Self {
        Self { frames: FramedRead::new(io, codec(limit)), sequence: 0 }
    }

    /// Allows frames of another size from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.frames.decoder_mut().set_max_frame_length(limit);
    }

    /// Reads one frame and its bytes on the wire. Cancelling this loses nothing.
    ///
    /// # Errors
    /// [`Error::Frame`] and [`Error::PeerMisbehaved`] for what is no frame, or not the next one;
    /// [`Error::ConnectionLost`] with `doing`.
    pub async fn receive<B: DeserializeOwned>(&mut self, doing: &'static str) -> Result<(B, u64)> {
        let limit = self.frames.decoder().max_frame_length();
        let frame = self.frames.next().await.ok_or(Error::ConnectionLost { doing })?;
        let frame = frame.map_err(|error| broken(error, limit, doing))?;
        let length = (LENGTH_BYTES + frame.len()) as u64;
        let body = decode(self.sequence, &frame)?;
        self.sequence += 1;
        Ok((body, length))
    }

    /// The same, unless the peer is silent for `limit`. A peer that writes, however slowly, is not silent.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); [`Error::Timeout`] with `waiting_for`.
    pub(crate) async fn receive_within<B: DeserializeOwned>(
        &mut self,
        limit: Duration,
        doing: &'static str,
        waiting_for: &'static str,
    ) -> Result<(B, u64)> {
        loop {
            let before = self.buffered();
            match timeout(limit, self.receive(doing)).await {
                Ok(received) => return received,
                Err(_) if self.buffered() > before => {}
                Err(_) => return Err(Error::Timeout { waiting_for, limit }),
            }
        }
    }

    /// Bytes of the next frame that have come so far.
    pub fn buffered(&self) -> usize {
        self.frames.read_buffer().len()
    }

    /// Reads on without looking, so that the peer's last words do not hinder ours on their way.
    pub async fn drain(&mut self) {
        drain(self.frames.get_mut()).await;
    }
}

/// Closing a socket with bytes unread makes the operating system throw away what we just wrote:
/// reads to the end, for a moment and up to a bound.
pub(crate) async fn drain(io: &mut (impl AsyncRead + Unpin)) {
    let mut rest = io.take(DRAIN_BYTES);
    let _ = timeout(DRAIN_TIME, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

const DRAIN_BYTES: u64 = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What an error of the transport means to us.
pub(crate) fn broken(error: io::Error, limit: usize, doing: &'static str) -> Error {
    let inner = error.get_ref();
    if inner.is_some_and(|e| e.is::<LengthDelimitedCodecError>()) {
        return FrameError::TooLarge { limit }.into();
    }
    match inner.and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(error) => Error::Tls(trust::explain(error)),
        None => Error::ConnectionLost { doing },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent() {
        let (near, far) = tokio::io::duplex(100);
        let (mut sender, mut receiver) = (Sender::new(near, 1 << 20), Receiver::new(far, 1 << 20));
        let sent = vec![vec![], vec![7u8; 5], vec![9; 1000]];
        let writer = async {
            for body in &sent {
                sender.send(body, "test").await.unwrap();
            }
            sender.close().await;
        };
        let reader = async {
            for body in &sent {
                let (got, bytes) = receiver.receive::<Vec<u8>>("test").await.unwrap();
                assert_eq!(&got, body);
                assert!(bytes > body.len() as u64);
            }
            let end = receiver.receive::<Vec<u8>>("test").await.unwrap_err();
            assert!(matches!(end, Error::ConnectionLost { .. }), "{end}");
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test]
    async fn an_oversized_frame_is_refused_by_its_length_alone() {
        let mut header: &[u8] = &u32::MAX.to_be_bytes();
        let error = Receiver::new(&mut header, 10).receive::<Vec<u8>>("test").await.unwrap_err();
        assert!(matches!(error, Error::Frame(FrameError::TooLarge { limit: 10 })), "{error}");
    }
}
