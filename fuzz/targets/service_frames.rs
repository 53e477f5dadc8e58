//! Law: whatever comes out of the wire, frames are read in order, or the channel ends.
#![no_main]
use gelu_fuzz::block_on;
use gelu_service::frame::Receiver;
use gelu_service::handshake::{Down, Up};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut up = Receiver::new(data, 4096);
    while let Ok((frame, bytes)) = block_on(up.receive::<Up>("fuzzing")) {
        assert!(bytes <= data.len() as u64);
        if let Up::Hello(hello) = frame {
            let _ = hello.agree();
        }
    }
    let mut down = Receiver::new(data, 4096);
    while block_on(down.receive::<Down>("fuzzing")).is_ok() {}
});
