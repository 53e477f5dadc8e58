//! A link to measure with: a relay between a real client and a real server that holds back their
//! bytes as a network of a given latency, bandwidth and loss would.
//!
//! ```text
//!  client ──TCP──▶ relay ──────── queue up ───────▶ relay ──TCP──▶ server
//!         ◀──TCP── relay ◀─────── queue down ────── relay ◀──TCP──
//! ```
//!
//! # The model
//! Each direction is a queue of its own, with the [`Profile`]'s rate, delay and loss. Bytes are cut into
//! segments of [`SEGMENT`]. A segment that enters at time t
//!
//! ```text
//! leaves   when the line is free, and takes   bytes / rate
//! arrives  one delay later;                   lost: another round trip later, and the line is taken twice
//! is read  when it and all before it have arrived
//! ```
//!
//! The last line is TCP's promise of order: a lost segment holds up what comes after it. Losses are
//! drawn independently, from a seed that is an argument. A connection begins with one round trip
//! before its first byte, TCP's handshake. [`Direction`] is this model without sockets or clock;
//! [`Relay`] gives it both.
//!
//! No queue holds more than [`Profile::room`], which is what the line can hold in a round trip plus a
//! buffer: a sender that is faster than the line is stopped by TCP itself, as on a real one.
//!
//! # What it leaves out
//! - Slow start and congestion control: a connection has the whole rate at once and keeps it after a loss.
//!   On real links of long delay the first large message takes some round trips more.
//! - Headers and acknowledgements take no bandwidth (about 5 % of it on Ethernet).
//! - Delays do not vary, and other people's traffic does not exist.
//! - Loss is found after one round trip, as by duplicate acknowledgements; a loss at the very end of a
//!   message waits longer on a real network.
//!
//! So times over it are what a good network gives, not what a bad day does.
//!
//! # Clocks
//! The relay works with threads that sleep, one to read and one to write for each direction. The
//! timers of tokio tick in milliseconds: five times the round trip of a local network. A thread of
//! Linux wakes within about a tenth of a millisecond, and that is the error of every delivery here.

mod model;
mod profile;
mod relay;
mod route;

pub use model::{Direction, SEGMENT};
pub use profile::{Profile, ProfileError};
pub use relay::{Carried, Relay};
pub use route::Route;
