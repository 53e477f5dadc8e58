//! Law: a ciphertext that is accepted is written again as it was read; decrypting it gives slots
//! or one error without detail.
#![no_main]
use gelu_core::{AdditiveHE, Cryptosystem, Error, SlotShape};
use gelu_fuzz::paillier_key;
use gelu_paillier::InsecurePaillier as P;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let secret = paillier_key();
    let public = P::public_key(secret);
    let count = data.len() / P::ciphertext_len(public);
    if let Ok(ciphertexts) = P::ciphertexts_from_bytes(public, data, count) {
        let mut again = Vec::new();
        for ciphertext in &ciphertexts {
            P::ciphertext_to_bytes(public, ciphertext, &mut again);
            let shape = SlotShape { bits: 100, count: 5 };
            assert!(matches!(
                P::decrypt(secret, ciphertext, shape),
                Ok(_) | Err(Error::Decryption)
            ));
        }
        assert_eq!(again, data);
    }
});
