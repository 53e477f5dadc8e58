//! Σ kᵢ·⟦aᵢ⟧: the server's work.
//!
//! A weight multiplies every word of a ciphertext, 5,121 of 128 bits, and a word takes two
//! multiplications of 64 bits as long as weights are below 2^64. An output is computed in blocks of
//! columns that stay in the first cache, four terms at a time; neighbouring outputs run over the
//! same block before the next one, so that the inputs' words are fetched once for all of them.
//!
//! Terms are sorted by sign, so that words are multiplied by magnitudes. **Time tells which weights
//! are zero and how many there are**, not what they are.

use gelu_core::error::{ApiMisuse, Result};
use rayon::prelude::*;

use super::ciphertext::Ciphertext;
use super::keys::PublicKey;
use super::noise::NoiseBound;
use super::parameters::DIMENSION;

/// Words of a block: 1 KiB.
const BLOCK: usize = 64;
/// Outputs that share the inputs' words.
const TOGETHER: usize = 16;

/// One [`linear_combination`](gelu_core::AdditiveHE::linear_combination) for each row of terms, on
/// all processors; a row without terms is ⟦0⟧.
///
/// # Errors
/// [`ApiMisuse::Configuration`] when the bound on an output's noise is too large to seal it. How
/// large it is would tell about the weights, so the error does not.
pub(crate) fn combine(
    public: &PublicKey,
    rows: &[Vec<(i128, &Ciphertext)>],
) -> Result<Vec<Ciphertext>> {
    let bound = |row: &Vec<(i128, &Ciphertext)>| {
        row.iter().fold(NoiseBound::NONE, |sum, (k, a)| sum.plus(a.noise.times(k.unsigned_abs())))
    };
    let bounds: Vec<_> = rows.iter().map(bound).collect();
    if !bounds.iter().all(|noise| noise.can_be_sealed()) {
        let why = "the weights of an output are too large for the noise that a seal can flood";
        return Err(ApiMisuse::configuration("tfhe ciphertexts", why).into());
    }
    let rows: Vec<_> = rows.iter().map(|row| Terms::new(public, row)).collect();
    let outputs: Vec<_> = rows.par_chunks(TOGETHER).flat_map_iter(words).collect();
    let ciphertext = |(words, noise)| Ciphertext::new(public, words, noise);
    Ok(outputs.into_iter().zip(bounds).map(ciphertext).collect())
}

/// The terms of one output, sorted; zeros are left out.
struct Terms<'a> {
    negative: Vec<(u64, &'a [u128])>,
    positive: Vec<(u64, &'a [u128])>,
    /// Magnitudes of 2^64 and more, modulo 2^128 with their sign.
    wide: Vec<(u128, &'a [u128])>,
}

impl<'a> Terms<'a> {
    fn new(public: &PublicKey, row: &[(i128, &'a Ciphertext)]) -> Self {
        let mut terms = Self { negative: Vec::new(), positive: Vec::new(), wide: Vec::new() };
        for &(k, a) in row {
            let words = a.under(public);
            match u64::try_from(k.unsigned_abs()) {
                Ok(0) => {}
                Ok(magnitude) if k < 0 => terms.negative.push((magnitude, words)),
                Ok(magnitude) => terms.positive.push((magnitude, words)),
                Err(_) => terms.wide.push((k.cast_unsigned(), words)),
            }
        }
        terms
    }

    /// Adds the words from `start` on to `block`, which is zero.
    fn sum(&self, start: usize, block: &mut [u128]) {
        add_products(&self.negative, start, block);
        block.iter_mut().for_each(|word| *word = word.wrapping_neg());
        add_products(&self.positive, start, block);
        for (k, words) in &self.wide {
            for (sum, word) in block.iter_mut().zip(&words[start..]) {
                *sum = sum.wrapping_add(word.wrapping_mul(*k));
            }
        }
    }
}

fn words(rows: &[Terms]) -> Vec<Vec<u128>> {
    let mut outputs = vec![vec![0; DIMENSION + 1]; rows.len()];
    for start in (0..=DIMENSION).step_by(BLOCK) {
        for (row, output) in rows.iter().zip(&mut outputs) {
            let end = (start + BLOCK).min(DIMENSION + 1);
            row.sum(start, &mut output[start..end]);
        }
    }
    outputs
}

fn add_products(terms: &[(u64, &[u128])], start: usize, block: &mut [u128]) {
    let end = start + block.len();
    let (fours, rest) = terms.as_chunks::<4>();
    for &[(k0, x0), (k1, x1), (k2, x2), (k3, x3)] in fours {
        let (x0, x1, x2, x3) = (&x0[start..end], &x1[start..end], &x2[start..end], &x3[start..end]);
        let k = [k0, k1, k2, k3].map(u128::from);
        for ((((sum, x0), x1), x2), x3) in block.iter_mut().zip(x0).zip(x1).zip(x2).zip(x3) {
            let a = x0.wrapping_mul(k[0]).wrapping_add(x1.wrapping_mul(k[1]));
            let b = x2.wrapping_mul(k[2]).wrapping_add(x3.wrapping_mul(k[3]));
            *sum = sum.wrapping_add(a).wrapping_add(b);
        }
    }
    for (k, x) in rest {
        for (sum, x) in block.iter_mut().zip(&x[start..end]) {
            *sum = sum.wrapping_add(x.wrapping_mul(u128::from(*k)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lwe::keys::tests::{KEY, rng};
    use rand::RngExt;

    /// The plain version: [`Ciphertext::times`] and [`Ciphertext::add`], which are tfhe's.
    fn plain(public: &PublicKey, row: &[(i128, &Ciphertext)]) -> Ciphertext {
        let zero = Ciphertext::trivial(public, 0);
        row.iter().fold(zero, |sum, (k, a)| sum.add(public, &(*a).clone().times(public, *k)))
    }

    #[test]
    fn sums_are_those_of_tfhe() {
        let (rng, public) = (&mut rng(4), KEY.public_key());
        let mut random = || {
            let words = (0..=DIMENSION).map(|_| rng.random()).collect();
            // Without noise, so that any weight is allowed.
            Ciphertext::new(public, words, NoiseBound::NONE)
        };
        let inputs: Vec<_> = (0..7).map(|_| random()).collect();
        let edge = 1i128 << 64;
        let weights = [0, 1, -1, 255, -77, edge - 1, 1 - edge, edge, -edge, i128::MAX, i128::MIN];
        let mut rows: Vec<Vec<_>> = vec![vec![]];
        for shift in 0..weights.len() {
            let weights = weights.iter().cycle().skip(shift);
            rows.push(inputs.iter().zip(weights).map(|(a, &k)| (k, a)).collect());
        }
        rows.extend((0..30).map(|_| {
            inputs.iter().map(|a| (i128::from(rng.random::<i64>()) >> 40, a)).collect::<Vec<_>>()
        }));
        let outputs = combine(public, &rows).unwrap();
        assert_eq!(outputs.len(), rows.len());
        for (output, row) in outputs.iter().zip(&rows) {
            assert_eq!(output.lwe, plain(public, row).lwe);
        }
    }

    #[test]
    fn noise_is_added_up_and_bounded() {
        let public = KEY.public_key();
        let noisy =
            |bound| Ciphertext { noise: NoiseBound(bound), ..Ciphertext::trivial(public, 1) };
        let (a, b) = (noisy(5), noisy(7));
        let sum = combine(public, &[vec![(-3, &a), (2, &b), (0, &b)]]).unwrap();
        assert_eq!(sum[0].noise, NoiseBound(3 * 5 + 2 * 7));
        for (k, fits) in [(1 << 44, true), (1 << 45, false), (i128::MIN, false)] {
            assert_eq!(combine(public, &[vec![(1, &b)], vec![(k, &a)]]).is_ok(), fits, "{k}");
        }
    }
}
