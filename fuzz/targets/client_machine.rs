//! Law: whatever a server says, the client fails cleanly and stays failed, or goes on.
#![no_main]
use gelu_fuzz::{open, session};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, honest, frames)) = session::parse(data) else { return };
    let (client, server) = open::parties(kind);
    session::survives(client, server, honest, &frames);
});
