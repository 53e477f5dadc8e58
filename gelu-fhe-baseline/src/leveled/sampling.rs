//! Random polynomials: uniform ones from a seed, errors and secrets.
//!
//! The uniform half of a fresh ciphertext, and of each part of a key, follows from 32 bytes, so that
//! only the other half travels: polynomial number n of a seed is the stream n of ChaCha20, one limb
//! after another, each coefficient the first word (cut to the limb's bits) that is below the limb.

use std::sync::Arc;

use fhe_math::rq::traits::TryConvertFrom;
use fhe_math::rq::{Context, Poly, Representation};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use zeroize::Zeroizing;

/// What a uniform polynomial follows from; public.
pub(super) type Seed = [u8; 32];

/// 32 fresh bytes.
pub(super) fn seed(rng: &mut dyn CryptoRng) -> Seed {
    let mut seed = Seed::default();
    rng.fill_bytes(&mut seed);
    seed
}

/// A uniform polynomial, transformed.
pub(super) fn uniform(context: &Arc<Context>, degree: usize, seed: Seed, number: u64) -> Poly {
    let mut rng = ChaCha20Rng::from_seed(seed);
    rng.set_stream(number);
    let moduli = context.moduli();
    let mut residues = Vec::with_capacity(moduli.len() * degree);
    for &q in moduli {
        let spare = (q - 1).leading_zeros();
        let mut below = || {
            loop {
                let word = rng.next_u64() >> spare;
                if word < q {
                    return word;
                }
            }
        };
        residues.extend((0..degree).map(|_| below()));
    }
    public(context, residues)
}

/// A polynomial that everyone may know, from its transformed residues, limb by limb.
pub(super) fn public(context: &Arc<Context>, residues: Vec<u64>) -> Poly {
    Poly::try_convert_from(residues, context, true, Representation::Ntt).expect("all residues")
}

/// A secret polynomial from small signed coefficients, transformed, in constant time.
pub(super) fn secret(context: &Arc<Context>, coefficients: &[i64]) -> Zeroizing<Poly> {
    let convert = Poly::try_convert_from(coefficients, context, false, Representation::PowerBasis);
    let mut poly = Zeroizing::new(convert.expect("as many coefficients as the degree"));
    poly.change_representation(Representation::Ntt);
    poly
}

/// Coefficients uniform in {−1, 0, 1}.
pub(super) fn ternary(degree: usize, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<i64>> {
    let mut coefficients = Zeroizing::new(Vec::with_capacity(degree));
    while coefficients.len() < degree {
        let mut word = rng.next_u64();
        // Two bits each; 3 is drawn again, which tells nothing about the others.
        for _ in 0..32 {
            let pair = i64::from(word & 3 == 1) - i64::from(word & 3 == 2);
            if word & 3 != 3 && coefficients.len() < degree {
                coefficients.push(pair);
            }
            word >>= 2;
        }
    }
    coefficients
}

/// Errors: 21 coins minus 21 coins, of variance 10.5.
pub(super) fn errors(degree: usize, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<i64>> {
    const COINS: u64 = (1 << 21) - 1;
    let error = |_| {
        let word = rng.next_u64();
        i64::from((word & COINS).count_ones()) - i64::from((word >> 21 & COINS).count_ones())
    };
    Zeroizing::new((0..degree).map(error).collect())
}

/// The residues of a polynomial, one row a limb.
pub(super) fn rows(poly: &Poly) -> Array2<u64> {
    poly.coefficients().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    #[test]
    fn distributions() {
        let n = 1 << 16;
        let mean = |values: &[i64], f: fn(i64) -> i64| {
            values.iter().map(|&v| f(v) as f64).sum::<f64>() / values.len() as f64
        };
        let secret = ternary(n, &mut rng());
        assert!(secret.iter().all(|s| s.abs() <= 1));
        assert!(
            mean(&secret, |v| v).abs() < 0.02
                && (mean(&secret, |v| v * v) - 2.0 / 3.0).abs() < 0.01
        );
        let errors = errors(n, &mut rng());
        assert!(errors.iter().all(|e| e.abs() <= 21));
        assert!(mean(&errors, |v| v).abs() < 0.1 && (mean(&errors, |v| v * v) - 10.5).abs() < 0.3);
    }

    #[test]
    fn uniform_polynomials_follow_from_seed_and_number() {
        let context = Context::new_arc(&[1_032_193, 786_433], 64).unwrap();
        let poly = |seed, number| uniform(&context, 64, [seed; 32], number);
        assert_eq!(poly(1, 0), poly(1, 0));
        assert_ne!(poly(1, 0), poly(1, 1));
        assert_ne!(poly(1, 0), poly(2, 0));
        let below = |q: u64, row: usize| rows(&poly(3, 3)).row(row).iter().all(|&v| v < q);
        assert!(below(1_032_193, 0) && below(786_433, 1));
    }
}
