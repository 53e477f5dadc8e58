//! Law: what the mock backend reads, it writes, decrypts or refuses.
#![no_main]
use gelu_core::{AdditiveHE, Clear, Cryptosystem, SlotShape};
use gelu_fuzz::key;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Clear::public_key_from_bytes(data);
    let key = key();
    if let Ok(ciphertext) = Clear::ciphertext_from_bytes(&key, data) {
        let mut again = Vec::new();
        Clear::ciphertext_to_bytes(&key, &ciphertext, &mut again);
        assert_eq!(again.len(), data.len());
        let _ = Clear::decrypt(&key, &ciphertext, SlotShape { bits: 100, count: 2 });
    }
});
