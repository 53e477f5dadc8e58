//! Law: what is read is written again; twice written is the same (a rate may be NaN).
#![no_main]
use gelu_core::message::{ServerMessage, Wire};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(message) = ServerMessage::from_bytes(data) {
        let bytes = message.to_bytes();
        assert_eq!(ServerMessage::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }
});
