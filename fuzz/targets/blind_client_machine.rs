//! Law: whatever a server of blind queries says, the client fails cleanly and stays failed, or goes on; what it
//! says in a query is as long as in an honest one.
#![no_main]
use gelu_fuzz::{blind, session};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, honest, frames)) = session::parse(data) else { return };
    let (client, server) = blind::parties(kind);
    session::survives(client, server, honest, &frames);
});
