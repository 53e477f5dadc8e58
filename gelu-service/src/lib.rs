//! Server and client of the gelu protocol over TLS 1.3.
//!
//! The protocol itself is two machines without I/O in `gelu-core`. This crate carries their messages:
//! it opens the secure channel ([`certs`], [`tls`]), cuts it into frames ([`frame`]), greets
//! ([`handshake`]), and then drives a machine on either side ([`server`], [`client`]), with a bound
//! on everything that a peer can make the other hold or wait for ([`limits`]).
//!
//! It knows no layer: the architecture crosses as text, and `gelu-nn` reads it.
//!
//! ```text
//!  gelu-core        Client ⇄ messages ⇄ Server                 what is said
//!  gelu-wire        Up / Down: Hello, Message, Waiting, …      who speaks, and when it ends
//!                   length, number, postcard                   whole, in order, bounded
//!  gelu-service     TLS 1.3, certificates on both sides        secret, authentic
//!  gelu-store       charges, versions, leases                  durable before an answer leaves
//! ```
//!
//! # Security
//! Both sides authenticate by certificates of one authority; strangers are turned away before a
//! machine is made for them. What the protocol itself protects, and from whom, `gelu-core` says. Not
//! protected here: the lengths and times of frames, which tell an observer of the network about
//! the architecture, the batches and who trains when; and the server's time, of which every known
//! account can take its fair share, and what [`Limits`] and quotas allow.
#![forbid(unsafe_code)]

mod account;
pub mod certs;
pub mod channel;
pub mod client;
mod compute;
pub mod error;
mod files;
pub mod frame;
pub mod limits;
mod randomness;
mod revocation;
pub mod server;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod tls;
pub mod token;
mod trust;

pub use gelu_wire::handshake;

pub use client::{Connection, Session};
pub use compute::on_pool;
pub use error::{Error, Result};
pub use handshake::ModelCard;
pub use limits::Limits;
pub use server::{Config, Offer, Server};
pub use tls::{ClientTls, ServerTls};
pub use token::Token;
