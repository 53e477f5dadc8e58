//! Servers and clients over real sockets: one binary, since each that is linked takes as long as many tests.

mod blind;
mod common;
mod crash;
mod leases;
mod misbehaviour;
mod observers;
mod opening;
mod silence;
mod strangers;
mod training;
mod web;
mod wire;
