//! Frames: a length, a number, a body.
//!
//! ```text
//! frame  =  length: u32 big endian  |  postcard (sequence: u64, body)
//! ```
//!
//! Every direction counts its frames from 0. TLS already keeps frames in order; the number makes
//! that a property of this layer as well, so that a frame that is dropped, repeated or moved (by a
//! faulty proxy inside the channel, by somebody who drives the codec by hand) ends the session
//! before a machine sees it. A frame whose length exceeds the limit is refused before a byte of it
//! is stored, and the limit is small until the peers have greeted each other.
//!
//! [`Outgoing`] and [`Incoming`] are the two directions over bytes in memory, for who has no sockets. Over sockets
//! `gelu-service` does the same with buffers of its own.

use gelu_core::error::PeerMisbehaved;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{FrameError, Result};

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// What stands behind a frame's length: the number `sequence`, then `body`.
pub fn encode(sequence: u64, body: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(&(sequence, body)).expect("plain data always serialises")
}

/// The body of the frame that must have the number `expected`. The number is judged before the body is looked at.
///
/// # Errors
/// [`FrameError::OutOfOrder`]; [`PeerMisbehaved::Undecodable`] for what is no such frame, or more than one.
pub fn decode<B: DeserializeOwned>(expected: u64, frame: &[u8]) -> Result<B> {
    let undecodable = |_| PeerMisbehaved::Undecodable;
    let (got, body) = postcard::take_from_bytes::<u64>(frame).map_err(undecodable)?;
    if got != expected {
        return Err(FrameError::OutOfOrder { expected, got }.into());
    }
    match postcard::take_from_bytes(body).map_err(undecodable)? {
        (body, []) => Ok(body),
        _ => Err(PeerMisbehaved::Undecodable.into()),
    }
}

/// The sending direction.
#[derive(Debug)]
pub struct Outgoing {
    sequence: u64,
    limit: usize,
}

impl Outgoing {
    /// For frames of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { sequence: 0, limit }
    }

    /// The bytes of the next frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] for a body beyond the limit, which is not counted then.
    pub fn frame(&mut self, body: &impl Serialize) -> Result<Vec<u8>> {
        let frame = encode(self.sequence, body);
        let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= self.limit);
        let length = length.ok_or(FrameError::TooLarge { limit: self.limit })?;
        self.sequence += 1;
        Ok([&length.to_be_bytes()[..], &frame].concat())
    }
}

/// The receiving direction: bytes as they come, frames as they are complete.
#[derive(Debug)]
pub struct Incoming {
    sequence: u64,
    limit: usize,
    bytes: Vec<u8>,
    /// Bytes that were read as frames.
    read: usize,
}

impl Incoming {
    /// For frames of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { sequence: 0, limit, bytes: Vec::new(), read: 0 }
    }

    /// Allows frames of another size from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes, in the order in which they were sent.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.read));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, if all of it has come, and its bytes on the wire.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] by its length alone; as [`decode`].
    pub fn poll<B: DeserializeOwned>(&mut self) -> Result<Option<(B, u64)>> {
        let Some((length, rest)) = self.bytes[self.read..].split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit }.into());
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let body = decode(self.sequence, frame)?;
        self.sequence += 1;
        let whole = LENGTH_BYTES + length;
        self.read += whole;
        Ok(Some((body, whole as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_frame_has_one_number_and_nothing_after_its_body() {
        let frame = encode(3, &7u32);
        assert_eq!(decode::<u32>(3, &frame).unwrap(), 7);
        for expected in [2, 4] {
            let error = decode::<u32>(expected, &frame).unwrap_err();
            let out_of_order = FrameError::OutOfOrder { expected, got: 3 };
            assert!(matches!(error, Error::Frame(e) if e == out_of_order));
        }
        assert!(decode::<u32>(3, &frame[..frame.len() - 1]).is_err());
        assert!(decode::<u32>(3, &[&frame[..], &[0]].concat()).is_err());
        assert!(decode::<u32>(0, &[]).is_err());
    }

    #[test]
    fn frames_arrive_whole_however_their_bytes_are_cut() {
        let bodies = [vec![], vec![7u8; 5], vec![9; 1000]];
        let mut outgoing = Outgoing::new(1 << 20);
        let sent: Vec<_> = bodies.iter().map(|body| outgoing.frame(body).unwrap()).collect();
        for piece in [1, 3, 1 << 20] {
            let (mut incoming, mut got) = (Incoming::new(1 << 20), Vec::new());
            for bytes in sent.concat().chunks(piece) {
                incoming.push(bytes);
                while let Some((body, bytes)) = incoming.poll::<Vec<u8>>().unwrap() {
                    assert_eq!(bytes, sent[got.len()].len() as u64);
                    got.push(body);
                }
            }
            assert_eq!(got, bodies);
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_length_alone() {
        let mut incoming = Incoming::new(10);
        incoming.push(&11u32.to_be_bytes());
        let too_large = |error| matches!(error, Error::Frame(FrameError::TooLarge { limit: 10 }));
        assert!(too_large(incoming.poll::<u32>().unwrap_err()));
        assert!(too_large(Outgoing::new(10).frame(&[0u8; 11]).unwrap_err()));
    }
}
