//! Law: whatever a client says, the server fails cleanly and stays failed, or goes on; what it
//! commits is a model within its bounds.
#![no_main]
use gelu_core::message::{ClientMessage, Wire};
use gelu_fuzz::{Answering, Asking, must_not_blame_us, parse};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((script, honest, frames)) = parse(data) else { return };
    let (mut client, mut server) = (Asking::new(script), Answering::new(script));
    let mut seen = 0;
    'honest: loop {
        let mut idle = true;
        while let Some(message) = client.client.poll_transmit() {
            if seen == honest {
                break 'honest;
            }
            (seen, idle) = (seen + 1, false);
            server.receive(message).expect("both are honest");
        }
        while let Some(message) = server.server.poll_transmit() {
            client.receive(message).expect("both are honest");
        }
        if idle {
            break;
        }
    }
    for frame in frames {
        let Ok(message) = ClientMessage::from_bytes(frame) else { return };
        if let Err(error) = server.receive(message) {
            must_not_blame_us(&error);
            let again = ClientMessage::RequestLease { batch: 1, steps: 1, least: 1 };
            assert!(server.receive(again).is_err(), "failed machines stay failed");
            return;
        }
        while server.server.poll_transmit().is_some() {}
    }
});
