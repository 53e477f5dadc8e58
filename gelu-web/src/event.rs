//! What a session tells its page.

use serde::Serialize;

use gelu_wire::handshake::Mode;

/// What has happened; JSON with the name as `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The server has introduced itself. No key exists yet.
    Welcome(Box<Terms>),
    /// Keys were made, and the server has accepted the public one: ask.
    Opened,
    /// A frame is ready to be sent.
    Sent {
        /// The message.
        name: &'static str,
        /// Its bytes, those of the frame included.
        bytes: u64,
    },
    /// A frame has come.
    Received {
        /// The message.
        name: &'static str,
        /// Its bytes, those of the frame included.
        bytes: u64,
    },
    /// Tickets for blind queries are there.
    Tickets {
        /// How many.
        held: usize,
    },
    /// A query was answered.
    Answer {
        /// The most probable class.
        class: usize,
        /// Of each class, where the server tells scores.
        probabilities: Option<Vec<f64>>,
        /// Values of the session so far that were cut off at the bound of their format.
        cut_off: u64,
    },
    /// The server said no; the session goes on.
    Refused {
        /// Why.
        reason: String,
    },
    /// The session is over.
    Ended {
        /// Why.
        reason: String,
    },
}

/// What a page shows of a server's card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Terms {
    /// The model's name.
    pub model: String,
    /// Its version at the greeting.
    pub version: u64,
    /// On whom queries are booked.
    pub account: String,
    /// How queries will be asked: blind where the server offers it.
    pub mode: Mode,
    /// Whether answers have probabilities.
    pub scores: bool,
    /// The image that the model takes: height and width.
    pub image: [usize; 2],
    /// The word of each class.
    pub classes: Vec<String>,
    /// The ledger's verdict on queries of this mode.
    pub verdict: String,
}
