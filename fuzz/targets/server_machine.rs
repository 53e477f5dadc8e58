//! Law: whatever a client says, the server fails cleanly and stays failed, or goes on; what it
//! commits is a model within its bounds.
#![no_main]
use gelu_fuzz::{open, session};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, honest, frames)) = session::parse(data) else { return };
    let (client, server) = open::parties(kind);
    session::survives(server, client, honest, &frames);
});
