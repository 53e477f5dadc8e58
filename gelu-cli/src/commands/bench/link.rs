//! What lies between the two parties of a measurement.

use std::fmt::Display;
use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

/// A link between client and server. `gelu` has the loopback interface alone; the laboratory adds
/// links that are simulated.
///
/// Shown in words in the text of a result, serialised as its field `link`.
pub trait Link: Clone + Display + Serialize {
    /// What must live as long as the link is used.
    type Relay;

    /// The address, HOST:PORT, by which this link leads to `server`; `seed` fixes what is random.
    ///
    /// # Errors
    /// When the link cannot be set up.
    fn to(&self, server: SocketAddr, seed: u64) -> Result<(String, Self::Relay)>;
}

/// Both parties on this machine, and nothing between them.
#[derive(Debug, Clone, Serialize)]
#[serde(into = "Fields")]
pub struct Loopback;

impl Link for Loopback {
    type Relay = ();

    fn to(&self, server: SocketAddr, _: u64) -> Result<(String, ())> {
        Ok((server.to_string(), ()))
    }
}

impl Display for Loopback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("loopback: nothing is simulated")
    }
}

/// A link in a result.
#[derive(Debug, Serialize)]
pub struct Fields {
    /// What it is called.
    pub name: String,
    /// Whether anything is simulated.
    pub simulated: bool,
    /// There and back, in milliseconds.
    pub round_trip_ms: f64,
    /// Bits a second, where there is a bound.
    pub bits_per_second: Option<u64>,
    /// The share of segments that is lost.
    pub loss: f64,
}

impl From<Loopback> for Fields {
    fn from(_: Loopback) -> Self {
        let name = "loopback".into();
        Self { name, simulated: false, round_trip_ms: 0.0, bits_per_second: None, loss: 0.0 }
    }
}
