//! Which rings there are, and how much noise their ciphertexts bear.
//!
//! | key | N | q | bits of q | meant for |
//! |---|---|---|---|---|
//! | 4096 | 2^12 | 3 primes of 35 bits | 105 | queries |
//! | 8192 | 2^13 | 4 primes of 46 bits | 184 | training, wide layers |
//!
//! Both are below the [limits](gelu_ring::limits) for 128 bits, which are lower than those of the homomorphic encryption
//! standard (2018: 109 and 218 bits).
//!
//! # Noise
//! Plaintexts are integers modulo t = 2^v, held as Δ·m for Δ = q/t. What comes down has noise of four kinds:
//!
//! ```text
//! work   ‖W‖₁·(E + 1) + 4·N·E      of the client's errors, weighed; of twice an encryption of 0      E = 21
//! flood  uniform in [−2^f, 2^f)    which hides the first
//! pack   see packing               of switched keys, where answers are packed; a function of what was flooded, so not hidden
//! switch (N + 2)/2                 of the modulus 2^w, the last of all
//!
//! (work + 2^f + pack)·2^w/q + switch  <  2^(w−v−1)        so decryption is exact, always
//! ```
//!
//! # What flooding hides
//! f is the largest that fits. Noise x moves the flood by x: in statistical distance, that is at most the mean of
//! |x| / 2^(f+1) for a coefficient. There are two figures, each minus the logarithm of such a distance:
//!
//! | figure | for | x |
//! |---|---|---|
//! | [`Budget::hiding_bits`] | a key made as written | at most `work` |
//! | [`Budget::hiding_bits_from_any_key`] | any key that is accepted | ‖W‖₁·(E + 1) + e′·u + s′·e₁ |
//!
//! A key is accepted with a proof (`proof`) that 2·b = −a·s′ + e′, where s′ and e′ are small, though larger than those
//! of an honest key. u and e₁ are the server's, with independent coefficients of mean 0 and variances 2/3 and E/2, so
//!
//! ```text
//! mean |e′·u + s′·e₁|  ≤  √(N·(2/3·‖e′‖∞² + E/2·‖s′‖∞²))
//! ```
//! Both figures take the errors of uploads to be at most E, which is so for an honest client alone. What another one
//! puts there is seen weighed by the same weights, as values are: no more of an output than
//! [`Cost::revealed_bits`](gelu_core::backend::Cost::revealed_bits).

use std::sync::LazyLock;

use gelu_ring::sample::ERROR_BOUND;
use gelu_ring::{Basis, primes};

use crate::plain::FRACTION_ERROR;
use crate::{packing, proof};

/// A ring, by its degree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    basis: Basis,
}

/// Degree, bits of a prime, primes.
const SETS: [(usize, u32, usize); 2] = [(1 << 12, 35, 3), (1 << 13, 46, 4)];

/// Levels of [`packing`], and so switching keys, in the larger ring: 128 answers become one. The smaller ring has no primes
/// left for it.
const PACKING_LEVELS: u32 = 7;

/// The widest value that is carried, sign included: it must fit a word with room.
pub(crate) const MOST_VALUE_BITS: u32 = 62;

/// No more flooding is drawn, even where there is room.
const MOST_FLOOD_BITS: f64 = 126.0;

/// Bits by which flooding must hide a coefficient at least, from the owner of an honest key. From that of any key, it
/// then hides 20 at least, or 40 in the larger ring, whose values leave it more room.
pub const LEAST_HIDING_BITS: f64 = 40.0;

impl Parameters {
    /// The sizes of keys: the degrees of the rings.
    pub const KEY_BITS: [u32; 2] = [1 << 12, 1 << 13];

    /// The ring of degree `degree`, if there is one.
    #[must_use]
    pub fn of_degree(degree: u32) -> Option<Self> {
        static BASES: LazyLock<[Basis; 2]> = LazyLock::new(|| {
            SETS.map(|(degree, bits, count)| {
                let primes: Vec<_> =
                    primes::descending(bits, degree).take(count).map(|q| q.value()).collect();
                Basis::new(degree, &primes).expect("primes of this degree")
            })
        });
        let basis = BASES.iter().find(|basis| basis.degree() == degree as usize)?;
        Some(Self { basis: basis.clone() })
    }

    /// N and the primes of q.
    #[must_use]
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// N.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.basis.degree()
    }

    /// log₂ q.
    #[must_use]
    pub fn modulus_bits(&self) -> f64 {
        bits_of(&self.basis)
    }

    /// How many levels of [`packing`] there are keys for.
    pub(crate) fn packing_levels(&self) -> u32 {
        if self.degree() == SETS[1].0 { PACKING_LEVELS } else { 0 }
    }

    /// The budget of answers of values of `value_bits` bits, each a sum of weights whose sizes add up to `weights`
    /// at most, packed in so many levels; `None` when it does not hide enough.
    pub(crate) fn budget(&self, value_bits: u32, weights: f64, levels: u32) -> Option<Budget> {
        if value_bits > MOST_VALUE_BITS {
            return None;
        }
        let (n, error) = (self.degree() as f64, f64::from(ERROR_BOUND));
        let wire_bits = value_bits + self.degree().ilog2() + 1;
        let uploads = weights * (error + 1.0);
        let work = uploads + 4.0 * n * error;
        let switch = 0.51 * (n + 2.0);
        let left = f64::from(wire_bits - value_bits - 1).exp2() - switch;
        let packing = packing::noise(&self.basis, levels);
        let room = left * (self.modulus_bits() - f64::from(wire_bits)).exp2() - work - packing;
        let flood_bits = room.max(1.0).log2().floor().min(MOST_FLOOD_BITS);
        let hiding = |work: f64| flood_bits + 1.0 - work.log2();
        let hiding_bits = hiding(work);
        let hiding_bits_from_any_key = hiding(uploads + zero_of_any_key(self.degree()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 200")]
        let flood_bits = flood_bits as u32;
        let sharing = self.sharing(value_bits, work, levels);
        let budget =
            Budget { wire_bits, flood_bits, hiding_bits, hiding_bits_from_any_key, sharing };
        (hiding_bits >= LEAST_HIDING_BITS).then_some(budget)
    }

    /// How answers with noise of size `work` are shared: modulo the fewest primes that hide enough. None where all of them do
    /// not, and for packed answers, whose noise is too large for that.
    fn sharing(&self, value_bits: u32, work: f64, levels: u32) -> Option<Sharing> {
        let reach = |primes: usize| {
            let kept = bits_of(&self.basis.part(0..primes));
            let rounding = match primes == self.basis.moduli().len() {
                true => 0.0,
                false => 0.52 * (self.degree() as f64 + 2.0) * (-kept).exp2(),
            };
            let fractions = 2.0 * FRACTION_ERROR;
            let all = work * (-self.modulus_bits()).exp2() + rounding + fractions;
            -(all.log2() + f64::from(value_bits))
        };
        let sharing = |primes: usize| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 184")]
            let reach_bits = reach(primes).max(0.0) as u32;
            (f64::from(reach_bits) > LEAST_HIDING_BITS).then_some(Sharing { primes, reach_bits })
        };
        (levels == 0).then(|| (1..=self.basis.moduli().len()).find_map(sharing)).flatten()
    }
}

/// The mean size of e′·u + s′·e₁: see the [module](self).
fn zero_of_any_key(degree: usize) -> f64 {
    let (secret, error) = proof::bounds(degree);
    let squares = 2.0 / 3.0 * error.powi(2) + f64::from(ERROR_BOUND) / 2.0 * secret.powi(2);
    (degree as f64 * squares).sqrt()
}

/// log₂ of the product of primes.
pub(crate) fn bits_of(basis: &Basis) -> f64 {
    basis.moduli().map(|q| (q.value() as f64).log2()).sum()
}

/// The noise of an answer: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// w: answers cross the wire modulo 2^w.
    pub wire_bits: u32,
    /// f: flooding is uniform in \[−2^f, 2^f).
    pub flood_bits: u32,
    /// A coefficient differs from one that hides everything by 2^−this at most, in statistical distance, when the
    /// key is an honest one.
    pub hiding_bits: f64,
    /// The same for every key that is accepted.
    pub hiding_bits_from_any_key: f64,
    /// How answers are handed out as shares, where they can.
    pub(crate) sharing: Option<Sharing>,
}

/// Answers under a mask: see [`shares`](crate::layout::shares).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sharing {
    /// Primes of the modulus that answers cross the wire by.
    pub(crate) primes: usize,
    /// All noise is below 2^−this of the distance Δ of two plaintexts.
    pub(crate) reach_bits: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rings_stay_below_the_limits_for_128_bits() {
        for bits in Parameters::KEY_BITS {
            let parameters = Parameters::of_degree(bits).unwrap();
            let most = gelu_ring::limits::most_bits(parameters.degree()).unwrap();
            assert!(parameters.modulus_bits() < f64::from(most));
        }
        assert_eq!(Parameters::of_degree(2048), None);
    }

    /// 784 weights of 7 bits, values of 30 bits: q/2^(v+1) = 2^74, of which switching takes a half.
    #[test]
    fn a_budget_by_hand() {
        let budget = Parameters::of_degree(4096).unwrap().budget(30, 784.0 * 64.0, 0).unwrap();
        assert_eq!((budget.wire_bits, budget.flood_bits), (43, 72));
        // 50,176 · 22 + 4 · 4096 · 21 = 2^20.5.
        assert!((52.5..52.6).contains(&budget.hiding_bits), "{budget:?}");
        // ‖e′‖ = 2^12 · 2^21 counts most: 2^33 · √(2^12 · 2/3) = 2^38.7.
        assert!((34.2..34.3).contains(&budget.hiding_bits_from_any_key), "{budget:?}");
    }

    /// `--nocapture` shows the figures.
    #[test]
    fn fewer_bits_are_hidden_from_the_owner_of_any_key() {
        for (degree, value_bits, weights) in
            [(4096, 30, 784.0 * 10.0 * 64.0), (8192, 52, 4.0 * 784.0 * f64::from(51).exp2())]
        {
            let parameters = Parameters::of_degree(degree).unwrap();
            let budget = parameters.budget(value_bits, weights, 0).unwrap();
            println!("N = {degree}, v = {value_bits}, ‖W‖₁ = 2^{:.1}: {budget:?}", weights.log2());
            assert!(budget.hiding_bits_from_any_key <= budget.hiding_bits);
            assert!(budget.hiding_bits_from_any_key > 30.0);
        }
    }

    #[test]
    fn at_least_20_bits_are_hidden_from_the_owner_of_any_key_and_40_in_the_larger_ring() {
        for (degree, expected) in [(4096, 20.0), (8192, 40.0)] {
            let parameters = Parameters::of_degree(degree).unwrap();
            let budgets = (1..=MOST_VALUE_BITS).flat_map(|bits| {
                let weights = (0..80).map(|log| f64::from(log).exp2());
                weights
                    .filter_map(|weights| parameters.budget(bits, weights, 0))
                    .collect::<Vec<_>>()
            });
            let any_key = budgets.map(|budget| budget.hiding_bits_from_any_key);
            let least = any_key.reduce(f64::min).unwrap();
            assert!((expected..expected + 1.0).contains(&least), "{degree}: {least}");
        }
    }

    #[test]
    fn what_does_not_hide_is_refused() {
        let small = Parameters::of_degree(4096).unwrap();
        assert!(small.budget(42, 784.0 * 64.0, 0).is_some());
        assert!(small.budget(44, 784.0 * 64.0, 0).is_none());
        let large = Parameters::of_degree(8192).unwrap();
        // Full-width weights modulo 2^52, 784 inputs and 4 outputs a ciphertext.
        let training = large.budget(52, 4.0 * 784.0 * f64::from(51).exp2(), 0).unwrap();
        assert!(training.hiding_bits > 50.0, "{training:?}");
        assert!(large.budget(63, 1.0, 0).is_none());
    }
}
