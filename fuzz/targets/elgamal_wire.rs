//! Law: a public key or a block of ciphertexts that is accepted is written again as it was read.
#![no_main]
use std::sync::LazyLock;

use gelu_elgamal::{ElGamal, KEY_BITS, SecretKey};
use gelu_fuzz::{key_of, rereads};

static KEY: LazyLock<SecretKey> = LazyLock::new(|| key_of::<ElGamal>(KEY_BITS));

libfuzzer_sys::fuzz_target!(|data: &[u8]| rereads::<ElGamal>(
    &KEY,
    |key| key.to_bytes().to_vec(),
    data
));
