//! From server to client: an answer, flooded, modulo 2^w, and of its coefficients only those that were asked for.
//!
//! ```text
//! c₁  all N coefficients          c₀  those at the places of outputs
//! ```
//! The other coefficients of c₀ would show other sums of the weights; without them c₁ says nothing.
//!
//! Numbers of w bits are written by [`bits`].

use gelu_core::Result;
use gelu_ring::{Basis, Coefficients, Evaluations, Modulus, Poly};
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::bits;
use crate::keys::{PublicKey, SecretKey};
use crate::packing::Pair;
use crate::parameters::{Budget, bits_of};
use crate::plain::{Fraction, Scale, down};
use crate::upload::Ciphertext;
use crate::zero::Zero;

/// Bytes of an answer with `outputs` outputs.
pub(crate) fn bytes(degree: usize, outputs: usize, budget: &Budget) -> usize {
    ((degree + outputs) * budget.wire_bits as usize).div_ceil(8)
}

/// What sealing needs besides the answer.
pub(crate) struct Sealer {
    flood_bits: u32,
    scale: Scale,
}

impl Sealer {
    pub(crate) fn new(public: &PublicKey, budget: Budget, value_bits: u32) -> Self {
        let scale = Scale::new(public.parameters().basis(), value_bits);
        Self { flood_bits: budget.flood_bits, scale }
    }

    /// [`cover`]s an answer with offsets, one for each output, and the flood.
    pub(crate) fn cover(
        &self,
        answer: Ciphertext,
        zero: Zero,
        places: &[u32],
        offset: impl Fn(usize) -> i64,
        mut rng: ChaCha20Rng,
    ) -> Pair {
        let floods = places.iter().map(|_| flood(self.flood_bits, &mut rng));
        let floods: Zeroizing<Vec<_>> = Zeroizing::new(floods.collect());
        cover(answer, zero, places, |output, i, q| {
            q.add(self.scale.up_one(offset(output), i, q), q.reduce_signed(floods[output]))
        })
    }
}

/// Hides an answer, and adds to the outputs at `places` what `mask` says for each, modulo each prime. All other coefficients
/// of c₀ become 0: nothing after this sees them.
pub(crate) fn cover(
    answer: Ciphertext,
    zero: Zero,
    places: &[u32],
    mask: impl Fn(usize, usize, Modulus) -> u64,
) -> Pair {
    let (bare, c1) = zero.hide(answer);
    let moduli: Vec<_> = c1.basis().moduli().collect();
    let c0 = Poly::from_residues(c1.basis(), |i, row| {
        for (output, &place) in places.iter().enumerate() {
            let (place, q) = (place as usize, moduli[i]);
            row[place] = q.add(bare.residues(i)[place], mask(output, i, q));
        }
    });
    [c0, c1]
}

/// What the client may see of a covered answer: the outputs at `places`.
pub(crate) fn write([c0, c1]: Pair, places: &[u32], wire_bits: u32) -> Vec<u8> {
    let fraction = Fraction::new(c1.basis());
    let mut words = fraction.switch(c1, wire_bits);
    words.extend(places.iter().map(|&place| fraction.switch_at(&c0, place, wire_bits)));
    bits::write(&words, wire_bits)
}

/// Uniform in [−2^bits, 2^bits).
fn flood(bits: u32, rng: &mut dyn CryptoRng) -> i128 {
    let mut bytes = Zeroizing::new([0; 16]);
    rng.fill_bytes(&mut *bytes);
    i128::from_le_bytes(*bytes) >> (127 - bits)
}

/// What decrypting needs besides the answer: s over the first primes, as many as hold c₁·s for c₁ modulo 2^w.
pub(crate) struct Opener {
    basis: Basis,
    secret: Zeroizing<Poly<Evaluations>>,
    budget: Budget,
    value_bits: u32,
}

impl Opener {
    pub(crate) fn new(secret: &SecretKey, budget: Budget, value_bits: u32) -> Self {
        let needed = f64::from(budget.wire_bits + secret.parameters().degree().ilog2() + 1);
        let mut basis = secret.parameters().basis().clone();
        while let Some(lower) = basis.without_last().filter(|lower| bits_of(lower) > needed) {
            basis = lower;
        }
        let shorter = secret.secret().part(0..basis.moduli().len());
        Self { basis, secret: Zeroizing::new(shorter), budget, value_bits }
    }

    /// The outputs at `places`.
    pub(crate) fn open(&self, bytes: &[u8], places: &[u32]) -> Result<Vec<i128>> {
        let Budget { wire_bits, .. } = self.budget;
        let degree = self.basis.degree();
        let words = bits::read(bytes, degree + places.len(), wire_bits)?;
        let (c1, c0) = words.split_at(degree);
        let product = (&self.polynomial(c1).into_evaluations() * &*self.secret).into_coefficients();
        let product = Zeroizing::new(product);
        let integers = Integers::new(&self.basis);
        let mask = (1u128 << wire_bits) - 1;
        Ok(places
            .iter()
            .zip(c0)
            .map(|(&place, &c0)| {
                let product = integers.at(&product, place as usize).cast_unsigned();
                down(c0.wrapping_add(product) & mask, wire_bits, self.value_bits)
            })
            .collect())
    }

    /// Words below 2^w, w ≤ 96, as a polynomial.
    fn polynomial(&self, words: &[u128]) -> Poly<Coefficients> {
        let part = |shift: u32| {
            let words: Vec<u64> = words.iter().map(|&x| low_48(x >> shift)).collect();
            Poly::from_unsigned(&self.basis, &words)
        };
        let mut low = part(0);
        if self.budget.wire_bits > 48 {
            let mut high = part(48);
            high.scale(&self.basis.residues(1 << 48));
            low += &high;
        }
        low
    }
}

fn low_48(x: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    let word = x as u64 & ((1 << 48) - 1);
    word
}

/// Residues to the centred integer, for a product of primes below 2^127: by mixed radix.
struct Integers {
    moduli: Vec<Modulus>,
    /// The product of the primes before each, and its inverse modulo it.
    before: Vec<(u128, u64)>,
    product: u128,
}

impl Integers {
    fn new(basis: &Basis) -> Self {
        let moduli: Vec<_> = basis.moduli().collect();
        let mut product = 1u128;
        let before = moduli.iter().map(|q| {
            let before = product;
            product *= u128::from(q.value());
            (before, q.inverse(q.reduce(before)))
        });
        let before = before.collect();
        Self { moduli, before, product }
    }

    /// In time independent of the residues.
    fn at(&self, x: &Poly<Coefficients>, place: usize) -> i128 {
        let mut value = 0u128;
        for (i, (q, &(before, inverse))) in self.moduli.iter().zip(&self.before).enumerate() {
            let digit = q.mul(q.sub(x.residues(i)[place], q.reduce(value)), inverse);
            value += before * u128::from(digit);
        }
        // All ones where it is above half of the product, and so stands for a negative number.
        let above = (self.product / 2).wrapping_sub(value).cast_signed() >> 127;
        value.cast_signed() - (self.product.cast_signed() & above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Parameters;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_come_back(x in -(1i128 << 68)..1 << 68, degree in prop::sample::select(&[4096u32, 8192][..])) {
            let basis = Parameters::of_degree(degree).unwrap().basis().clone();
            let basis = if degree == 8192 { basis.without_last().unwrap().without_last().unwrap() } else { basis };
            let mut values = vec![0; degree as usize];
            values[3] = x;
            let poly = Poly::from_signed(&basis, &values);
            let integers = Integers::new(&basis);
            prop_assert_eq!((integers.at(&poly, 3), integers.at(&poly, 4)), (x, 0));
        }
    }

    #[test]
    fn flooding_fills_its_range() {
        let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let all: Vec<_> = (0..1000).map(|_| flood(70, rng)).collect();
        assert!(all.iter().all(|x| (-(1i128 << 70)..1 << 70).contains(x)));
        let count = |from: i128| all.iter().filter(|&&x| x >= from).count();
        assert!((400..600).contains(&count(0)) && (180..320).contains(&count(1 << 69)));
    }
}
