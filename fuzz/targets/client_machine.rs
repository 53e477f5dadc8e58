//! Law: whatever a server says, the client fails cleanly and stays failed, or goes on.
#![no_main]
use gelu_core::message::{ServerMessage, Wire};
use gelu_fuzz::{Answering, Asking, must_not_blame_us, parse};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((script, honest, frames)) = parse(data) else { return };
    let (mut client, mut server) = (Asking::new(script), Answering::new(script));
    let mut seen = 0;
    'honest: loop {
        while let Some(message) = client.client.poll_transmit() {
            server.receive(message).expect("both are honest");
        }
        let mut idle = true;
        while let Some(message) = server.server.poll_transmit() {
            if seen == honest {
                break 'honest;
            }
            (seen, idle) = (seen + 1, false);
            client.receive(message).expect("both are honest");
        }
        if idle {
            break;
        }
    }
    for frame in frames {
        let Ok(message) = ServerMessage::from_bytes(frame) else { return };
        if let Err(error) = client.receive(message) {
            must_not_blame_us(&error);
            assert!(client.receive(ServerMessage::Opened).is_err(), "failed machines stay failed");
            return;
        }
        while client.client.poll_transmit().is_some() {}
    }
});
