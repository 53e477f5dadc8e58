//! Law: a public key that is accepted is written again as it was read.
#![no_main]
use gelu_core::Cryptosystem;
use gelu_paillier::InsecurePaillier as P;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(key) = P::public_key_from_bytes(data) {
        assert_eq!(key.to_bytes(), data);
    }
});
