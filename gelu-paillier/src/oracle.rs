//! Test support: conversions to the independent integers that judge ours, and shared keys.

use std::sync::LazyLock;

use crypto_bigint::BoxedUint;
use num_bigint_dig::BigUint;
use rand::{SeedableRng, rngs::ChaCha20Rng};

use crate::SecretKey;

pub(crate) fn big(x: &BoxedUint) -> BigUint {
    BigUint::from_bytes_be(&x.to_be_bytes())
}

pub(crate) fn boxed(x: &BigUint, bits: u32) -> BoxedUint {
    BoxedUint::from_be_slice(&x.to_bytes_be(), bits).expect("a value within the precision")
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// One key for all unit tests, and another for tests of foreign keys.
pub(crate) static KEY: LazyLock<SecretKey> =
    LazyLock::new(|| SecretKey::insecure_generate(512, &mut rng(1)).unwrap());
pub(crate) static OTHER_KEY: LazyLock<SecretKey> =
    LazyLock::new(|| SecretKey::insecure_generate(512, &mut rng(2)).unwrap());
