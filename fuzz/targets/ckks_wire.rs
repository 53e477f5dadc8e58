//! Law: parameters, ciphertexts, uploads and keys that are read are written again as they were, and computing with
//! ciphertexts gives a result or an error, never a panic.
#![no_main]
use std::sync::LazyLock;

use gelu_ckks::{Ciphertext, EvaluationKeys, KeyKind, Parameters, PublicKey, SecretKey, Upload};
use gelu_fuzz::{CKKS, rng};

static KEY: LazyLock<(SecretKey, EvaluationKeys)> = LazyLock::new(|| {
    let parameters = Parameters::new(&CKKS).expect("a small ring");
    let secret = SecretKey::from_root(parameters, &[1; 32]);
    let kinds = [KeyKind::Relinearization, KeyKind::Rotation(1)].map(|kind| (kind, 1));
    let keys = secret.evaluation_keys(kinds, &mut rng()).expect("a level");
    (secret, keys)
});

fn compute(ciphertext: &Ciphertext) {
    let (secret, keys) = &*KEY;
    let opened = secret.decrypt(ciphertext).expect("the same ring").danger_values();
    assert_eq!(opened.len(), secret.parameters().slots());
    drop(ciphertext.square(keys));
    drop(ciphertext.evaluate(&[0.5, 0.25], keys));
    ciphertext.rotate(1, keys).expect("a key for both levels");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let parameters = KEY.0.parameters();
    match kind % 5 {
        0 => {
            // A larger ring is read as well, but takes seconds to fuzz.
            if data.first_chunk().is_some_and(|n| u32::from_le_bytes(*n) <= 1 << 12)
                && let Ok(parameters) = Parameters::from_bytes(data)
            {
                assert_eq!(parameters.to_bytes(), data);
            }
        }
        1 => {
            if let Ok(ciphertext) = Ciphertext::from_bytes(parameters, data) {
                assert_eq!(ciphertext.to_bytes(), data);
                compute(&ciphertext);
            }
        }
        2 => {
            if let Ok(upload) = Upload::from_bytes(parameters, data) {
                assert_eq!(upload.to_bytes(), data);
                compute(&upload.expand());
            }
        }
        3 => {
            if let Ok(key) = PublicKey::from_bytes(parameters, data) {
                assert_eq!(key.to_bytes(), data);
            }
        }
        _ => {
            if let Ok(keys) = EvaluationKeys::from_bytes(parameters, data) {
                assert_eq!(keys.to_bytes(), data);
            }
        }
    }
});
