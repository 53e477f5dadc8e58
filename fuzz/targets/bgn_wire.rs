//! Law: a public key or a block of ciphertexts that is accepted is written again as it was read.
#![no_main]
use std::sync::LazyLock;

use gelu_bgn::{Bgn, KEY_BITS, PublicKey, SecretKey};
use gelu_fuzz::{key_of, rereads};

static KEY: LazyLock<SecretKey> = LazyLock::new(|| key_of::<Bgn>(KEY_BITS));

libfuzzer_sys::fuzz_target!(|data: &[u8]| rereads::<Bgn>(&KEY, PublicKey::to_bytes, data));
