//! Law: whatever a client of blind queries says, the server fails cleanly and stays failed, or goes on; it
//! answers no more samples than it has made tickets for.
#![no_main]
use gelu_fuzz::{blind, session};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, honest, frames)) = session::parse(data) else { return };
    let (client, server) = blind::parties(kind);
    session::survives(server, client, honest, &frames);
});
