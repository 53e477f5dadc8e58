//! Law: what is read is written again, and read as the same.
#![no_main]
use gelu_core::message::{ClientMessage, Wire};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(message) = ClientMessage::from_bytes(data) {
        assert_eq!(ClientMessage::from_bytes(&message.to_bytes()).unwrap(), message);
    }
});
