//! Law: python-paillier's JSON is read, or refused.
#![no_main]
use gelu_fuzz::paillier_key;
use gelu_paillier::phe::EncryptedNumber;
use gelu_paillier::{PublicKey, SecretKey};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(key) = PublicKey::insecure_from_phe_json(text) {
        assert_eq!(PublicKey::insecure_from_phe_json(&key.to_phe_json()).unwrap(), key);
    }
    let _ = SecretKey::insecure_from_phe_json(text);
    let secret = paillier_key();
    if let Ok(number) = EncryptedNumber::from_json(secret.public_key(), text) {
        if let Ok(number) = number.decrypt(secret) {
            let _ = number.to_f64();
        }
        let again =
            EncryptedNumber::from_json(secret.public_key(), &number.to_json(secret.public_key()));
        assert_eq!(again.unwrap().exponent, number.exponent);
    }
});
