//! The way from a client to a server: straight, or by a relay that simulates a link.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use gelu_cli::commands::bench::Link;

use super::{Carried, Profile, Relay};

/// The way to a server.
pub struct Route {
    /// Where to connect, HOST:PORT.
    pub address: String,
    relay: Option<Relay>,
}

impl Route {
    /// A way to `server` that is like `link`; `seed` decides on its losses.
    ///
    /// # Errors
    /// When the relay cannot be started.
    pub fn new(server: SocketAddr, link: &Profile, seed: u64) -> Result<Self> {
        if link.is_transparent() {
            return Ok(Self { address: server.to_string(), relay: None });
        }
        let relay = Relay::start(server, link, seed).context("cannot start the relay")?;
        Ok(Self { address: relay.address().to_string(), relay: Some(relay) })
    }

    /// What went up and down, if a link was simulated.
    pub fn carried(&self) -> Option<[Carried; 2]> {
        self.relay.as_ref().map(Relay::carried)
    }
}

impl Link for Profile {
    type Relay = Route;

    fn to(&self, server: SocketAddr, seed: u64) -> Result<(String, Route)> {
        let route = Route::new(server, self, seed)?;
        Ok((route.address.clone(), route))
    }
}
