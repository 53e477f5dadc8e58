//! How much and how long: the bounds of everything that a peer can make us hold or wait for.

use std::time::Duration;

use crate::error::{Error, Result};
pub use gelu_wire::handshake::{CARD_BYTES, GREETING_BYTES};

/// Bounds of a session. Each side enforces its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, in bytes: room for the ciphertexts of one stage. The first frames of a
    /// session, before the peers know each other, are held to [`GREETING_BYTES`] and [`CARD_BYTES`].
    /// Once read, ciphertexts take as much memory again; parameters, which travel as short
    /// numbers and become 128-bit ones, at the very most 24 times as much.
    pub frame_bytes: usize,
    /// Client: from the first byte of a connection to the end of the greeting. Both sides: the time
    /// for the last words of a session.
    pub handshake: Duration,
    /// Server: from the first byte of a connection to the end of the greeting. Strangers can take
    /// this time and no more, so it is short.
    pub greeting: Duration,
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
    /// Server: the most sessions at a time. A session begins when its client is authenticated and
    /// has greeted; who connects when all are taken is told that the server is busy.
    pub sessions: usize,
    /// Server: the most sessions of one account at a time.
    pub sessions_of_account: usize,
    /// Server: the most connections that have not greeted yet. When there are more, the network
    /// with the most of them loses its oldest one: nobody who is slow or silent keeps others out.
    /// Together with `sessions` it should stay below the file descriptors that the process may
    /// have (`ulimit -n`).
    pub strangers: usize,
    /// Server: the same for each network, an address of IPv4 or 64 bits of IPv6. Honest clients that
    /// connect at the same moment through one address should find room.
    pub strangers_of_network: usize,
    /// Server: the most evaluations at a time; accounts take turns in the others. They share the
    /// threads of rayon's global pool, so more than it has threads would only take memory.
    pub computations: usize,
}

/// More of anything is a mistake.
const MOST: usize = 65_535;

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 20,
            handshake: Duration::from_secs(10),
            greeting: Duration::from_secs(3),
            send: Duration::from_secs(300),
            silence: Duration::from_secs(60),
            keep_alive: Duration::from_secs(5),
            idle: Duration::from_secs(900),
            lease_silence: Duration::from_secs(300),
            lease: Duration::from_secs(3600),
            grace: Duration::from_secs(30),
            sessions: 256,
            sessions_of_account: 16,
            strangers: 512,
            strangers_of_network: 256,
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
        let counts = [
            ("sessions", self.sessions),
            ("sessions of an account", self.sessions_of_account),
            ("strangers", self.strangers),
            ("strangers of a network", self.strangers_of_network),
            ("computations", self.computations),
        ];
        counts.into_iter().try_for_each(|(what, count)| {
            rule((1..=MOST).contains(&count), what, "must be 1 to 65535")
        })?;
        let times = [
            ("handshake", self.handshake),
            ("greeting", self.greeting),
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
        let limits = Limits::default();
        limits.validate().unwrap();
        assert!(limits.greeting <= Duration::from_secs(3), "strangers are given little time");
        assert!(limits.strangers_of_network < limits.strangers, "nobody has the pool for itself");
        let descriptors = limits.sessions + limits.strangers;
        assert!(descriptors < 900, "most systems give a process 1024 file descriptors");
        let check = |what: &str, change: &dyn Fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            let error = limits.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{what}: must be ")), "{what}: {error}");
        };
        for wrong in [CARD_BYTES - 1, (1 << 32), usize::MAX] {
            check("frame bytes", &|l| l.frame_bytes = wrong);
        }
        for wrong in [0, MOST + 1, usize::MAX] {
            check("sessions", &|l| l.sessions = wrong);
            check("sessions of an account", &|l| l.sessions_of_account = wrong);
            check("strangers", &|l| l.strangers = wrong);
            check("strangers of a network", &|l| l.strangers_of_network = wrong);
            check("computations", &|l| l.computations = wrong);
        }
        check("handshake", &|l| l.handshake = Duration::ZERO);
        check("greeting", &|l| l.greeting = Duration::ZERO);
        check("send", &|l| l.send = Duration::ZERO);
        check("silence", &|l| l.silence = Duration::ZERO);
        check("keep alive", &|l| l.keep_alive = Duration::ZERO);
        check("keep alive", &|l| l.keep_alive = l.silence);
        check("idle", &|l| l.idle = Duration::ZERO);
        check("lease silence", &|l| l.lease_silence = Duration::ZERO);
        check("lease", &|l| l.lease = Duration::ZERO);
        let edges = Limits {
            frame_bytes: CARD_BYTES,
            sessions: 1,
            strangers: MOST,
            grace: Duration::ZERO,
            ..Limits::default()
        };
        edges.validate().unwrap();
    }
}
