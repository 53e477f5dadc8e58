//! Residues to test with, and the plain product.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_core::Rng;

use crate::modulus::Modulus;

/// Residues that follow from a seed.
pub(crate) fn residues(q: Modulus, count: usize, seed: u64) -> Vec<u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| q.reduce(rng.next_u64().into())).collect()
}

/// a·b mod X^N + 1, each coefficient as it is defined.
pub(crate) fn schoolbook(q: Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let product = |i: usize, j: usize| u128::from(a[i]) * u128::from(b[j]);
    (0..n)
        .map(|k| {
            let plus = q.reduce((0..=k).map(|i| product(i, k - i)).sum());
            let minus = q.reduce((k + 1..n).map(|i| product(i, n + k - i)).sum());
            q.sub(plus, minus)
        })
        .collect()
}
