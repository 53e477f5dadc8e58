//! What client and server say to each other, as bytes, without I/O.
//!
//! ```text
//!  gelu-core        Client ⇄ messages ⇄ Server                 what is said
//!  gelu-wire        Up / Down: Hello, Message, Waiting, …      who speaks, and when it ends
//!                   length, number, postcard                   whole, in order, bounded
//!  gelu-service     TLS 1.3 over TCP, or over a WebSocket      secret, authentic
//! ```
//!
//! The program and the page in a browser both speak by this crate; each brings its own transport.
#![forbid(unsafe_code)]

pub mod error;
pub mod frame;
pub mod handshake;

pub use error::{Error, FrameError, Goodbye, Result};
pub use handshake::ModelCard;
