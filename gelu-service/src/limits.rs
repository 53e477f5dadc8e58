//! How much and how long: the bounds of everything that a peer can make us hold or wait for.

use std::time::Duration;

use crate::error::{Error, Result};

/// Bounds of a session. Each side enforces its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, in bytes: room for the ciphertexts of one stage. The first frames of a
    /// session, before the peers know each other, are held to [`GREETING_BYTES`] and [`CARD_BYTES`].
    /// Once read, ciphertexts take as much memory again; parameters, which travel as short
    /// numbers and become 128-bit ones, at the very most 24 times as much.
    pub frame_bytes: usize,
    /// From the first byte of a connection to the end of the greeting.
    pub handshake: Duration,
    /// Writing one frame: the peer must read.
    pub send: Duration,
    /// Client: the longest silence of the server while it owes an answer. It speaks every
    /// [`keep_alive`](Self::keep_alive), even if only to say that it still computes.
    pub silence: Duration,
    /// Server: how often a client that waits is told so.
    pub keep_alive: Duration,
    /// Server: the longest silence of a client without a lease.
    pub idle: Duration,
    /// Server: the longest silence of the client that holds the lease, while others wait for it.
    pub lease_silence: Duration,
    /// Server: the longest lease.
    pub lease: Duration,
    /// Server: what a lease in progress is given when the server shuts down.
    pub grace: Duration,
    /// Server: the most sessions at a time.
    pub sessions: usize,
    /// Server: the most evaluations at a time; others wait their turn, in order. They share the
    /// threads of rayon's global pool, so more than it has threads would only take memory.
    pub computations: usize,
}

/// The largest frame before the greeting is over, from a client.
pub const GREETING_BYTES: usize = 1 << 10;
/// The largest model card (the architecture as text is most of it).
pub const CARD_BYTES: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 20,
            handshake: Duration::from_secs(10),
            send: Duration::from_secs(300),
            silence: Duration::from_secs(60),
            keep_alive: Duration::from_secs(5),
            idle: Duration::from_secs(900),
            lease_silence: Duration::from_secs(300),
            lease: Duration::from_secs(3600),
            grace: Duration::from_secs(30),
            sessions: 256,
            computations: rayon::current_num_threads(),
        }
    }
}

impl Limits {
    /// Checks that the limits leave room to work.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming the limit.
    pub fn validate(&self) -> Result<()> {
        let rule = |holds: bool, what, why: &str| match holds {
            true => Ok(()),
            false => Err(Error::configuration(what, why)),
        };
        let frames = CARD_BYTES..=u32::MAX as usize;
        rule(frames.contains(&self.frame_bytes), "frame bytes", "must be 1 MiB to 4 GiB")?;
        rule(self.sessions > 0, "sessions", "must be 1 or more")?;
        rule(self.computations > 0, "computations", "must be 1 or more")?;
        let times = [
            ("handshake", self.handshake),
            ("send", self.send),
            ("silence", self.silence),
            ("keep alive", self.keep_alive),
            ("idle", self.idle),
            ("lease silence", self.lease_silence),
            ("lease", self.lease),
        ];
        times.into_iter().try_for_each(|(what, time)| {
            rule(!time.is_zero(), what, "must be longer than nothing")
        })?;
        rule(self.keep_alive < self.silence, "keep alive", "must be shorter than the silence")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_nonsense_is_not() {
        Limits::default().validate().unwrap();
        let refused = [
            Limits { frame_bytes: 10, ..Limits::default() },
            Limits { sessions: 0, ..Limits::default() },
            Limits { lease: Duration::ZERO, ..Limits::default() },
            Limits { keep_alive: Duration::from_secs(61), ..Limits::default() },
        ];
        assert!(refused.iter().all(|limits| limits.validate().is_err()));
    }
}
