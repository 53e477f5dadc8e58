//! The client for a page: the machines of `gelu-core`, compiled to WebAssembly, under the lattice backend.
//!
//! ```text
//!  page.js          draws, shows                               sees pixels and answers
//!  worker.js        WebSocket, clock, randomness               sees bytes
//!  exports          one text in, one text out                  the boundary
//!  Session          greeting, key, machine                     bytes in, bytes out
//! ```
//!
//! A [`Session`] does no I/O and asks nobody for the time or for randomness: the worker hands it a seed once, and then
//! what comes over the WebSocket. So it is the same on a page and in a test beside a server.
//!
//! # Security
//! The secret key and what depends on it live in the worker's memory and die with it; nothing is stored. The page that
//! the server sends is trusted, like every page: a server that sends another one can read what is drawn. Who does not
//! trust it with that uses the program.
#![deny(unsafe_code)]

pub mod event;
#[allow(unsafe_code, reason = "names that JavaScript calls; nothing here touches memory by hand")]
pub mod exports;
pub mod session;

pub use event::Event;
pub use session::{Error, Session};
