//! Masks: what lets a server apply an update that it cannot read.
//!
//! The client sends U + R, keeps the sum of its masks and knows that the server holds W~ = W − ΣR. To
//! whatever the server multiplies with W~ it adds ΣR times the same input:
//!
//! ```text
//! W~·X + ΣR·X = W·X
//! ```
//!
//! What R is drawn from depends on what the backend computes with; the [plan](crate::plan::Plan::masks) says
//! it to both parties.
//!
//! # Over the integers: statistical masks
//! For an update |U| < 2^(l−1), R is uniform in [0, 2^(l+sigma)). The distribution of U + R differs
//! from that of R by at most 2^(−sigma−1) in statistical distance, whatever U is, and the equation above
//! holds as it stands. The price: W~·X is sigma bits longer than W·X, and distances add up over a lease
//! ([`most_steps`]).
//!
//! The paper draws masks uniformly from Z_N (Algorithm 3); that hides no better in practice, makes
//! every weight a 2048-bit exponent and rounds under fixed point.
//!
//! # Where values wrap: modular masks
//! A backend whose values [wrap](crate::Backend::WRAPS) gives W~·X modulo 2^v, v of that exchange. R is
//! uniform modulo 2^T, T the largest v of the plan, so 2^v divides 2^T and
//!
//! ```text
//! (W − ΣR mod 2^T)·X + (ΣR mod 2^T)·X ≡ W·X   (mod 2^v)
//! ```
//!
//! W·X itself is the residue in [−2^(v−1), 2^(v−1)) as long as the *true* value fits v bits: no bit is
//! spent on masks. For each U there is exactly one R that gives a sum modulo 2^T, so U + R is uniform and
//! independent of U (a one-time pad): the distance is 0, in leases of any length. It stays uniform modulo
//! each smaller 2^v.

use core::ops::{Deref, Range};

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::fixed::centred;
use crate::network::{Layer, Network, Parameters};
use crate::update::Update;

/// What masks are drawn from: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Uniform in [0, 2^bits), and added as integers: U + R is close to uniform.
    Statistical {
        /// l + sigma.
        bits: u32,
    },
    /// Uniform modulo 2^bits, and held as integers in [−2^(bits−1), 2^(bits−1)): U + R is uniform.
    Modular {
        /// T: those of the widest value of the plan.
        bits: u32,
    },
}

impl Kind {
    /// What U + R can be, for |U| < 2^(l−1).
    pub(crate) fn range(self, update_bits: u32) -> Range<i128> {
        match self {
            Self::Statistical { bits } => {
                let half = 1 << (update_bits - 1);
                -half..(1 << bits) + half
            }
            Self::Modular { bits } => -(1 << (bits - 1))..1 << (bits - 1),
        }
    }

    /// Brings values back to how they are held after an addition: integers stay, residues are centred.
    pub(crate) fn reduce(self, values: &mut Parameters) {
        if let Self::Modular { bits } = self {
            values.values_mut().for_each(|value| *value = centred(*value, bits));
        }
    }
}

/// U + R under a fresh R; and R.
///
/// # Panics
/// When masks have no bits or more than 126.
pub fn mask(update: &Update, kind: Kind, rng: &mut dyn CryptoRng) -> (Masked, Masks) {
    let masks = draw(update, kind, rng);
    let mut masked = masks.values.clone();
    masked.add(update.secret());
    kind.reduce(&mut masked);
    (Masked(masked), masks)
}

/// R alone, in the shape of `like`: to be scaled under encryption before it joins an update.
///
/// # Panics
/// When masks have no bits or more than 126.
pub fn draw(like: &Update, kind: Kind, rng: &mut dyn CryptoRng) -> Masks {
    let (Kind::Statistical { bits } | Kind::Modular { bits }) = kind;
    assert!((1..=126).contains(&bits), "masks are 1 to 126 bits long");
    let mut values = like.secret().map(|_| {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        i128::from_le_bytes(bytes) & ((1 << bits) - 1)
    });
    kind.reduce(&mut values);
    Masks { values, kind }
}

/// U + R: what a server may see. Made by [`mask()`], or read from a peer's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masked(Parameters);

impl Masked {
    /// What a peer has masked under encryption.
    pub(crate) fn decrypted(values: Parameters) -> Self {
        Self(values)
    }
}

impl Deref for Masked {
    type Target = Parameters;

    fn deref(&self) -> &Parameters {
        &self.0
    }
}

/// R, or ΣR: secret of the client, wiped on drop. Whoever knows it reads the updates under it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Masks {
    values: Parameters,
    #[zeroize(skip)]
    kind: Kind,
}

/// Only how many values there are is printed.
impl core::fmt::Debug for Masks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Masks({} values)", self.values.len())
    }
}

impl Masks {
    /// Those of a lease before its first step.
    pub(crate) fn none(network: &Network, kind: Kind) -> Self {
        Self { values: network.no_update(), kind }
    }

    /// What they are drawn from.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// All values, in the order of [`Parameters::values`].
    pub fn values(&self) -> impl Iterator<Item = &i128> {
        self.values.values()
    }

    pub(crate) fn layer(&self, stage: usize) -> &Layer {
        &self.values.layers[stage]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.values.add(&other.values);
        self.kind.reduce(&mut self.values);
    }
}

/// Mini-batches of a lease under statistical masks, so that the distances of all its masked values add up
/// to at most 2^−40. Modular masks bear any number.
///
/// ```text
/// values · steps · 2^(−sigma−1)  ≤  2^(−TOTAL)
/// ```
pub fn most_steps(values: usize, sigma: u32) -> u32 {
    let all = 1u128 << (sigma + 1).saturating_sub(TOTAL).min(127);
    u32::try_from(all / (values as u128).max(1)).unwrap_or(u32::MAX)
}

/// The statistical distance of a whole lease is at most 2^−TOTAL.
const TOTAL: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// By type, since nobody can look at memory that is gone.
    #[test]
    fn what_only_the_client_may_see_is_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Update>();
        wiped::<Masks>();
    }

    /// LeNet-5 has 431,080 parameters: 2^25 / 431,080 = 77.8 steps at sigma = 64, none at 40.
    #[test]
    fn the_distance_of_a_lease_is_bounded_as_a_whole() {
        for (values, sigma, steps) in [
            (431_080, 64, 77),
            (431_080, 65, 155),
            (44_000, 40, 0),
            (1, 40, 2),
            (2, 40, 1),
            (3, 40, 0),
            (1, 64, 1 << 25),
            (1, 100, u32::MAX),
            (0, 40, 2),
        ] {
            assert_eq!(most_steps(values, sigma), steps, "{values} values, sigma {sigma}");
        }
    }

    /// As many values as samples are wanted.
    fn updates(value: i128, count: usize) -> Update {
        Parameters { layers: vec![Layer { weights: vec![value; count], biases: vec![] }] }.into()
    }

    /// Each bit is 1 half of the time, within five standard deviations.
    fn check_bits(values: &[i128], bits: u32, what: &str) {
        for bit in 0..bits {
            let ones = values.iter().filter(|&v| v >> bit & 1 == 1).count();
            let deviation = (ones as f64 - values.len() as f64 / 2.0).abs();
            let bound = 5.0 * (values.len() as f64 / 4.0).sqrt();
            assert!(deviation < bound, "{what}, bit {bit}: {ones} ones");
        }
    }

    /// Even when the update is always the same, and nearly as long as the mask.
    #[test]
    fn the_bits_of_masked_updates_are_uniform() {
        let modular = [53, 20].map(|bits| Kind::Modular { bits });
        for kind in [Kind::Statistical { bits: 84 }].into_iter().chain(modular) {
            let (Kind::Statistical { bits } | Kind::Modular { bits }) = kind;
            let rng = &mut ChaCha20Rng::seed_from_u64(3);
            let (masked, masks) = mask(&updates(0x7_a5a5, 20_000), kind, rng);
            let range = kind.range(20);
            assert!(masked.values().all(|v| range.contains(v)));
            let seen: Vec<_> = masked.values().copied().collect();
            check_bits(&seen, bits, &format!("{kind:?}"));
            let mut removed = masked.0.clone();
            removed.subtract(&masks.values);
            kind.reduce(&mut removed);
            assert!(removed.values().all(|&v| v == 0x7_a5a5));
        }
    }

    /// The server may reduce W~ = W − R modulo 2^v, v < T: each residue stays as likely, in all its bits at
    /// once.
    #[test]
    fn weights_under_modular_masks_are_uniform_modulo_each_smaller_power() {
        const T: u32 = 53;
        let kind = Kind::Modular { bits: T };
        let (weights, count) = (updates(-(0xab_cdef), 20_000), 20_000.0);
        let masks = draw(&weights, kind, &mut ChaCha20Rng::seed_from_u64(5));
        let mut masked = weights.secret().clone();
        masked.subtract(&masks.values);
        kind.reduce(&mut masked);
        for v in [1, 4, 20, 46, T] {
            let seen: Vec<_> = masked.values().map(|&w| centred(w, v)).collect();
            check_bits(&seen, v, &format!("modulo 2^{v}"));
            let top = v.min(4);
            let mut cells = vec![0u32; 1 << top];
            for value in seen {
                cells[usize::try_from(value >> (v - top) & ((1 << top) - 1)).unwrap()] += 1;
            }
            // Chi-square, at most 15 degrees of freedom: above 50 once in 10^5.
            let expected = count / f64::from(1 << top);
            let square = |&n: &u32| (f64::from(n) - expected).powi(2) / expected;
            assert!(cells.iter().map(square).sum::<f64>() < 50.0, "modulo 2^{v}: {cells:?}");
        }
    }

    /// The law itself, for all residues modulo 2^6: whatever U, each sum has one R; whatever W, each
    /// residue of W~ modulo 2^v has 2^(6−v).
    #[test]
    fn modular_masks_hide_perfectly() {
        const T: u32 = 6;
        let kind = Kind::Modular { bits: T };
        let all = || Parameters {
            layers: vec![Layer { weights: kind.range(4).collect(), biases: vec![] }],
        };
        for secret in kind.range(4) {
            let mut sums = all().map(|r| secret + r);
            kind.reduce(&mut sums);
            let mut sums: Vec<_> = sums.values().copied().collect();
            sums.sort_unstable();
            assert!(sums.iter().eq(all().values()), "U = {secret}");
            for v in 1..=T {
                let residues: Vec<_> = all().values().map(|r| centred(secret - r, v)).collect();
                let half = 1 << (v - 1);
                let times = |x| residues.iter().filter(|&&r| r == x).count();
                assert!((-half..half).all(|x| times(x) == 1 << (T - v)), "W = {secret}, v = {v}");
            }
        }
    }

    #[test]
    fn sums_of_modular_masks_stay_centred() {
        let kind = Kind::Modular { bits: 53 };
        let (like, rng) = (updates(0, 100), &mut ChaCha20Rng::seed_from_u64(6));
        let first = draw(&like, kind, rng);
        let mut sum = first.clone();
        for _ in 0..1000 {
            sum.add(&first);
        }
        for (sum, &r) in sum.values().zip(first.values()) {
            assert_eq!(*sum, centred(1001 * r, 53));
        }
    }
}
