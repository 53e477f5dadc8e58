//! Answers as shares.
//!
//! Each output of an answer gets a mask u, uniform modulo q: it hides the value and the noise at once, so nothing is
//! flooded. With the phase φ = Δ·m + e of an output, for plaintexts modulo t = 2^v:
//!
//! ```text
//! client   round((φ + u)·t/q)  =  m + round(u·t/q)     unless u·t/q is so close to a half that e carries it over
//! server   s = −round(u·t/q)                           so both add up to m, modulo t
//! ```
//! The server draws again when an output is that close: with all noise below 2^−r of Δ
//! (`Sharing::reach_bits`), that is one draw in 2^(r−1).
//!
//! # Noise
//! No weight needs hiding behind the noise of a switched modulus here, but that noise may carry, too. So answers cross the wire by
//! their residues, modulo the first primes of q, as many as keep
//!
//! ```text
//! r  =  ⌊−log₂(t·(work/q + 0.52·(N + 2)/q′ + 2^−123))⌋  >  40        q′ what is kept; the second term if a prime is dropped
//! ```
//! (`work` is that of [`parameters`](crate::parameters); the last term is for the fractions that both parties round.) Weights
//! count modulo t, so the bound does not ask how often W·R wraps.
//!
//! # Security
//! c₀ + u is within 2^(1−r) of uniform in each output, and the other coefficients are not sent. This asks nothing of what
//! was encrypted, of its errors, or of the key, whereas flooding hides a malformed upload up to some bits. c₁ is hidden by
//! twice an encryption of 0 (`zero`), that is by ring-LWE, as in other answers. The client's R is hidden from the server by ring-LWE, and
//! s is within 2^(1−r) of uniform.

use gelu_core::backend::{Backend, Share, Shares, Task};
use gelu_core::error::{ApiMisuse, PeerMisbehaved, RangeError};
use gelu_core::{Error, Result};
use gelu_ring::sample::{self, Seed};
use gelu_ring::{Basis, Coefficients, Evaluations, Modulus, Poly};
use rand::rngs::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::TileLayout;
use super::exchange::{Sums, TileAnswer};
use crate::answer::cover;
use crate::backend::Lattice;
use crate::keys::{PublicKey, SecretKey};
use crate::packing::Pair;
use crate::parameters::{MOST_VALUE_BITS, Sharing};
use crate::plain::Fraction;
use crate::upload::{self, streams};
use crate::{bits, zero};

/// Shares modulo t.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileShares {
    ring_bits: u32,
}

impl Shares<Lattice> for TileShares {
    /// Values wrap, so products may be as long as they like.
    fn plan(ring_bits: u32, _: u32) -> Option<Self> {
        (1..=MOST_VALUE_BITS).contains(&ring_bits).then_some(Self { ring_bits })
    }

    fn value_bits(&self) -> u32 {
        self.ring_bits
    }

    fn layouts(&self, public: &PublicKey, task: &Task<'_>) -> Result<Vec<TileLayout>, RangeError> {
        let of = |value_bits| -> Result<Vec<TileLayout>, RangeError> {
            let mut all = Lattice::layouts(public, &Task { value_bits, ..*task })?;
            all.retain(|layout| layout.budget.sharing.is_some());
            Ok(all)
        };
        let all = of(self.ring_bits)?;
        if all.is_empty() {
            let fits = |bits: &u32| of(*bits).is_ok_and(|all| !all.is_empty());
            let widest = (1..self.ring_bits).rev().find(fits).unwrap_or(0);
            return Err(Task { value_bits: self.ring_bits, ..*task }.too_wide(widest));
        }
        Ok(all)
    }

    fn bytes(&self, layout: &TileLayout) -> usize {
        let up = layout.ciphertexts_up() * upload::bytes(layout.parameters.basis());
        let Some(sharing) = layout.budget.sharing else { return up };
        let wire = layout.parameters.basis().part(0..sharing.primes);
        let outputs = |(s, c)| layout.places(s, c).len();
        up + layout.answers().into_iter().map(|at| bytes(&wire, outputs(at))).sum::<usize>()
    }

    fn seal(
        &self,
        layout: &TileLayout,
        public: &PublicKey,
        answer: TileAnswer,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, Share)> {
        let sharing = self.sharing(layout)?;
        let TileAnswer { sums: Sums::Made(sums), offsets: None } = answer else {
            let why = "shares are of W·R without offsets: add these to the server's share";
            return Err(ApiMisuse::configuration("the answer", why).into());
        };
        let (zeros, streams) = (zero::take(public, sums.len(), rng), streams(sums.len(), rng));
        let fraction = Fraction::new(layout.parameters.basis());
        let parts: Vec<_> =
            sums.into_iter().zip(zeros).zip(streams).zip(layout.answers()).collect();
        let seal = |(((sum, zero), rng), (samples, channels)): (((_, zero::Source), _), _)| {
            let places = layout.places(samples, channels);
            let drawer = Drawer { fraction: &fraction, sharing, value_bits: self.ring_bits };
            let (u, s) = drawer.mask(layout.parameters.basis(), &places, rng);
            let mask = |output: usize, i: usize, _| u.residues(i)[places[output] as usize];
            let covered = cover(sum, zero.make(public), &places, mask);
            (write(covered, &places, sharing.primes), s)
        };
        let (sealed, s): (Vec<_>, Vec<_>) = parts.into_par_iter().map(seal).unzip();
        let s = layout.outputs_from(&s);
        Ok((sealed.concat(), Share::new(s, layout.batch(), self.ring_bits)))
    }

    fn decrypt(&self, layout: &TileLayout, secret: &SecretKey, bytes: &[u8]) -> Result<Share> {
        let primes = self.sharing(layout)?.primes;
        let s = Zeroizing::new(secret.secret().part(0..primes));
        let fraction = Fraction::new(s.basis());
        let open = |(places, block): (Vec<u32>, &[u8])| -> Result<Zeroizing<Vec<u64>>> {
            let phase = phase(&s, read(s.basis(), &places, block)?);
            let value = |&place| low(fraction.switch_at(&phase, place, self.ring_bits));
            Ok(Zeroizing::new(places.iter().map(value).collect()))
        };
        let blocks = layout.blocks(bytes, |outputs| self::bytes(s.basis(), outputs))?;
        let opened: Vec<_> = blocks.into_par_iter().map(open).collect::<Result<_>>()?;
        Ok(Share::new(layout.outputs_from(&opened), layout.batch(), self.ring_bits))
    }
}

impl TileShares {
    fn sharing(&self, layout: &TileLayout) -> Result<Sharing> {
        let sharing = layout.budget.sharing.filter(|_| layout.value_bits == self.ring_bits);
        sharing.ok_or_else(|| self.unshared(layout))
    }

    fn unshared(&self, layout: &TileLayout) -> Error {
        let why = format!("{layout} does not share values modulo 2^{}", self.ring_bits);
        ApiMisuse::configuration("the layout", why).into()
    }
}

/// What masks are drawn by.
struct Drawer<'a> {
    fraction: &'a Fraction,
    sharing: Sharing,
    value_bits: u32,
}

impl Drawer<'_> {
    /// Uniform modulo q, but with no place where noise could carry; and −round(u·t/q) of the places. Its time tells how
    /// many draws were refused, and nothing of the one that was not.
    fn mask(
        &self,
        basis: &Basis,
        places: &[u32],
        mut rng: ChaCha20Rng,
    ) -> (Zeroizing<Poly<Coefficients>>, Zeroizing<Vec<u64>>) {
        loop {
            let mut seed = Zeroizing::new(Seed::default());
            rng.fill_bytes(&mut *seed);
            let u = Zeroizing::new(sample::uniform(basis, &seed, 0).into_coefficients());
            if places.iter().all(|&place| !self.carries(self.fraction.at(&u, place))) {
                let round = |&place| low(self.fraction.switch_at(&u, place, self.value_bits));
                let s = places.iter().map(|place| round(place).wrapping_neg()).collect();
                let s = Zeroizing::new(s);
                return (u, s);
            }
        }
    }

    /// Whether x, in units of 2^−128, is so close to an odd multiple of 1/(2·t) that noise could carry it over.
    fn carries(&self, x: u128) -> bool {
        let reach = 1 << (128 - self.sharing.reach_bits);
        (x << self.value_bits).wrapping_sub(1 << 127).wrapping_add(reach) <= 2 * reach
    }
}

/// Bytes of an answer with `outputs` outputs, modulo the primes of `wire`.
fn bytes(wire: &Basis, outputs: usize) -> usize {
    let bits = wire.moduli().map(|q| outputs * width(q) as usize);
    Poly::<Coefficients>::bytes_len(wire) + bits.map(|bits| bits.div_ceil(8)).sum::<usize>()
}

/// c₁, and the outputs' residues of c₀, modulo the first primes: rounded.
fn write(covered: Pair, places: &[u32], primes: usize) -> Vec<u8> {
    let [c0, c1] = covered.map(|mut x| {
        while x.basis().moduli().len() > primes {
            x = x.divide_by_last().expect("another prime");
        }
        x
    });
    let mut out = c1.to_bytes();
    for (i, q) in c0.basis().moduli().enumerate() {
        let residue = |&place: &u32| u128::from(c0.residues(i)[place as usize]);
        let residues: Vec<_> = places.iter().map(residue).collect();
        out.extend(bits::write(&residues, width(q)));
    }
    out
}

/// The opposite of [`write`], with 0 for all other coefficients of c₀.
fn read(wire: &Basis, places: &[u32], block: &[u8]) -> Result<Pair> {
    let invalid = PeerMisbehaved::InvalidCiphertext;
    let (c1, mut rest) = block.split_at(Poly::<Coefficients>::bytes_len(wire));
    let c1 = Poly::from_bytes(wire, c1).map_err(|_| invalid.clone())?;
    let mut rows = Vec::new();
    for q in wire.moduli() {
        let width = width(q);
        let (row, after) = rest.split_at((places.len() * width as usize).div_ceil(8));
        rest = after;
        let row = bits::read(row, places.len(), width)?;
        if row.iter().any(|&x| x >= u128::from(q.value())) {
            return Err(invalid.into());
        }
        rows.push(row);
    }
    let c0 = Poly::from_residues(wire, |i, residues| {
        places.iter().zip(&rows[i]).for_each(|(&place, &x)| residues[place as usize] = low(x));
    });
    Ok([c0, c1])
}

/// c₀ + c₁·s.
fn phase(s: &Poly<Evaluations>, [c0, c1]: Pair) -> Zeroizing<Poly<Coefficients>> {
    let mut phase = Zeroizing::new((&c1.into_evaluations() * s).into_coefficients());
    *phase += &c0;
    phase
}

/// Bits of a residue.
fn width(q: Modulus) -> u32 {
    q.value().ilog2() + 1
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is what is asked for")]
fn low(x: u128) -> u64 {
    x as u64
}

#[cfg(test)]
mod tests {
    use gelu_core::backend::{Direction, Layout};
    use gelu_core::linear::{Dense, LinearMap};
    use ndarray::Array2;
    use rand::SeedableRng;

    use super::*;
    use crate::answer::{self, Opener};
    use crate::keys::tests::key;
    use crate::parameters::Parameters;

    const N: usize = 4096;
    const V: u32 = 30;

    #[test]
    fn budgets_by_hand() {
        let sharing = |degree, bits, levels| {
            let budget = Parameters::of_degree(degree).unwrap().budget(bits, 784.0 * 64.0, levels);
            budget.unwrap().sharing
        };
        // work = 2^20.5, as in the budget of flooding: 105 − 30 − 20.5.
        assert_eq!(sharing(4096, V, 0), Some(Sharing { primes: 3, reach_bits: 54 }));
        // Two of four primes: of rounding, 92 − 30 − 12.1; three, where that is not enough: of fractions, 123 − 41.
        assert_eq!(sharing(8192, V, 0), Some(Sharing { primes: 2, reach_bits: 49 }));
        assert_eq!(sharing(8192, 41, 0), Some(Sharing { primes: 3, reach_bits: 81 }));
        assert_eq!(sharing(8192, V, 1), None, "packed answers");
    }

    #[test]
    fn only_masks_that_could_carry_are_refused() {
        let (secret, _) = key(4096, 8);
        let fraction = Fraction::new(secret.parameters().basis());
        let sharing = Sharing { primes: 3, reach_bits: 54 };
        let drawer = Drawer { fraction: &fraction, sharing, value_bits: V };
        let (half, reach) = (1u128 << (127 - V), 1u128 << (128 - 54 - V));
        for boundary in [half, 3 * half, 0u128.wrapping_sub(half)] {
            for by in [0, reach, 0u128.wrapping_sub(reach)] {
                assert!(drawer.carries(boundary.wrapping_add(by)));
            }
            for by in [reach + 1, 0u128.wrapping_sub(reach + 1), half] {
                assert!(!drawer.carries(boundary.wrapping_add(by)));
            }
        }
    }

    /// An upload between two plaintexts, at Δ/4, shows w modulo 4 in the two bits below the values, if answers are
    /// flooded; a mask modulo t would not cover those. Masks modulo q do.
    #[test]
    fn malformed_uploads_find_noise_in_shares() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let (secret, _) = key(4096, 8);
        let (public, basis) = (secret.public_key(), secret.parameters().basis());
        let linear = LinearMap::from(Dense::new(1, 4).unwrap());
        let (layer, direction, batch) = ("attacked", Direction::Forward, N);
        let (linear, value_bits, weight_bits) = (&linear, V, 3);
        let task = Task { layer, linear, direction, batch, value_bits, weight_bits };
        let plan = TileShares { ring_bits: V };
        let all = plan.layouts(public, &task).unwrap();
        let layout = all.iter().find(|layout| layout.to_string() == "dense/4096x1x1").unwrap();

        let up = layout.encrypt(&secret, linear, &Array2::zeros((1, N)), rng).unwrap();
        let (seed, c0) = up.split_at(32);
        let q: i128 = basis.moduli().map(|q| i128::from(q.value())).product();
        let quarter = basis.residues(q >> (V + 2));
        let mut c0 = Poly::<Coefficients>::from_bytes(basis, c0).unwrap();
        c0 += &Poly::from_residues(basis, |i, row| row.fill(quarter[i]));
        let inputs = layout.read(public, &[seed, &c0.to_bytes()].concat()).unwrap();
        let weights = layout.prepare(linear, &[0, 1, 2, 3], None).unwrap();
        let answer = || layout.evaluate(public, &weights, &inputs).unwrap();

        let flooded = layout.seal(public, answer(), rng);
        let opener = Opener::new(&secret, layout.budget, V + 2);
        let blocks = layout.blocks(&flooded, |outputs| answer::bytes(N, outputs, &layout.budget));
        for (w, (places, block)) in blocks.unwrap().into_iter().enumerate() {
            let values = opener.open(block, &places).unwrap();
            let read = values.iter().filter(|&value| value.rem_euclid(4) == w as i128).count();
            assert!(read > N * 9 / 10, "{read} of {N} show {w}");
        }

        let (masked, _) = plan.seal(layout, public, answer(), rng).unwrap();
        let mut wrong = masked.clone();
        wrong[masked.len() - 8..].fill(0xff);
        let refused = plan.decrypt(layout, &secret, &wrong).unwrap_err();
        assert_eq!(refused, PeerMisbehaved::InvalidCiphertext.into(), "residues above their prime");
        let fraction = Fraction::new(basis);
        for (places, block) in layout.blocks(&masked, |outputs| bytes(basis, outputs)).unwrap() {
            let phase = phase(secret.secret(), read(basis, &places, block).unwrap());
            let mut quarters = [0; 4];
            for place in places {
                quarters[usize::try_from(fraction.switch_at(&phase, place, V + 2) % 4).unwrap()] +=
                    1;
            }
            // 1024 each, within five standard deviations.
            assert!(quarters.iter().all(|count| (885..=1163).contains(count)), "{quarters:?}");
        }
    }
}
