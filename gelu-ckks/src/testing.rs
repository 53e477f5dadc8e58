//! What tests share.

use std::sync::LazyLock;

use num_complex::Complex64;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;

use crate::ciphertext::Ciphertext;
use crate::keys::SecretKey;
use crate::parameters::{Chain, Parameters};
use crate::plaintext::Plaintext;
use crate::switching::{EvaluationKeys, KeyKind};

/// A ring of degree 2^13 with levels 0 to 4, always the same.
pub(crate) fn shallow() -> Parameters {
    static ALL: LazyLock<Parameters> =
        LazyLock::new(|| Parameters::new(&Chain::N13_LEVELS4).unwrap());
    ALL.clone()
}

/// Its key.
pub(crate) fn secret() -> &'static SecretKey {
    static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_root(shallow(), &[7; 32]));
    &KEY
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Complex numbers in the square from −1 − i to 1 + i, in all slots.
pub(crate) fn random(parameters: &Parameters, seed: u64) -> Vec<Complex64> {
    let mut rng = rng(seed);
    let mut number = || (rng.next_u64() >> 11) as f64 * f64::from(-52).exp2() - 1.0;
    (0..parameters.slots()).map(|_| Complex64::new(number(), number())).collect()
}

/// The largest difference.
pub(crate) fn worst(a: &[Complex64], b: &[Complex64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
}

/// An encryption at a level and the usual scale.
pub(crate) fn encrypted(values: &[Complex64], level: usize) -> Ciphertext {
    let parameters = shallow();
    let plain = Plaintext::encode_complex(&parameters, values, &parameters.scale(), level).unwrap();
    secret().encrypt(&plain, &mut rng(99)).unwrap().expand()
}

/// What it decrypts to.
pub(crate) fn open(ciphertext: &Ciphertext) -> Vec<Complex64> {
    secret().decrypt(ciphertext).unwrap().danger_slots()
}

/// The rotations that [`keys`] has.
pub(crate) const STEPS: [usize; 9] = [1, 2, 3, 4, 6, 16, 64, 1000, 4095];

/// Keys for products, conjugates and some rotations, for all levels.
pub(crate) fn keys() -> &'static EvaluationKeys {
    static KEYS: LazyLock<EvaluationKeys> = LazyLock::new(|| {
        let rotations = STEPS.map(KeyKind::Rotation);
        let kinds = [KeyKind::Relinearization, KeyKind::Conjugation].into_iter().chain(rotations);
        secret().evaluation_keys(kinds.map(|kind| (kind, 4)), &mut rng(11)).unwrap()
    });
    &KEYS
}
