//! The key owner's arithmetic: modulo p² and q², in constant time, wiped on drop.
//!
//! Who knows the factors works modulo p² and q² (half the length, so a quarter of the work each)
//! and puts the halves together by the Chinese remainder theorem (Paillier 1999, section 7). Both
//! halves run side by side in the lanes of one [`Ring`] with two moduli.
//!
//! ```text
//! decrypt   c^(p−1) = 1 + k·p  mod p²,   m_p = k·h_p  mod p,   h_p = (−q)⁻¹ mod p
//! noise     rⁿ mod p², from the lifts ℓᵖ mod p² of small primes, or rᵖ mod p² for a uniform r
//! ```
//!
//! h_p is L_p((1 + n)^(p−1) mod p²)⁻¹, since (1 + n)^(p−1) = 1 + (p−1)·n modulo p² and
//! (p−1)·q = −q modulo p. Split pairs hold k as their second digit: no division by p. To leave
//! Montgomery form one multiplies by a constant; that constant is h_p·q⁻¹ instead of 1, so that
//!
//! ```text
//! (1 + k·p)·h = h + (k·h mod p)·p mod p²,      m = (k_p·h_p·q⁻¹ mod p)·q + (k_q·h_q·p⁻¹ mod q)·p
//! ```
//!
//! modulo n, and the recombination needs no division either.
//!
//! # From n² to p² and back
//! A pair modulo n² consists of two numbers below 2n, which are cut into pieces of half the length
//! (there) or come as pieces (back); each piece is multiplied by a constant of the other ring, and
//! four products are added. [`Pieces`] has both ways.
//!
//! # Constant time
//! All products take the same time for all values; the exponents p − 1 and q − 1 are used in fixed
//! windows, whose tables are read in full ([`Lookup::Scan`]); noise looks nothing up.
//! Not constant in time: key generation and the check of a loaded key (primality tests, which tell
//! how many candidates failed).
//!
//! # Wiping
//! The factors, everything derived from them and the tables are overwritten on drop, and so is every
//! integer on the heap that passes through here; blocks that grow wipe what they leave
//! ([`Elements`]). Out of reach: copies that the compiler leaves in registers and on the stack, and
//! what `crypto-bigint` (divisions, inverses) and `crypto-primes` (the search for primes) allocate
//! inside.

use std::sync::OnceLock;

use crypto_bigint::{BoxedUint, ConcatenatingMul, Limb, NonZero, Odd, RandomMod, Resize};
use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::power::{Lookup, power};
use crate::prime_products::PrimeProducts;
use crate::ring::{Digits, Ring};
use crate::tables::ready;

/// The lengths of n that this crate was built for.
pub(crate) const KEY_BITS: [u32; 5] = [512, 1024, 2048, 3072, 4096];

/// How the owner of a key makes the noise of its encryptions. All kinds take the same time for all
/// messages and all noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OwnerNoise {
    /// Random products of small primes: within 2^−128 of uniform for each ciphertext, if the first
    /// primes behave modulo a random p like random units. The distances of several ciphertexts add up.
    #[default]
    SmallPrimes,
    /// rⁿ for uniform r, modulo p² and q²: exactly uniform, and resting on nothing. An encryption
    /// then takes as long as a decryption.
    Uniform,
}

/// Everything the owner of n = p·q knows.
pub(crate) struct Owner {
    factors: [Zeroizing<BoxedUint>; 2],
    n: NonZero<BoxedUint>,
    /// p − 1 and q − 1.
    orders: [Zeroizing<BoxedUint>; 2],
    /// Modulo p² and q², side by side.
    ring: Ring,
    pieces: Pieces,
    /// h_p·q⁻¹ and h_q·p⁻¹, as pairs that are not in Montgomery form.
    leave: Zeroizing<Elements>,
    noise: OnceLock<Zeroizing<PrimeProducts>>,
}

/// Every field does, and the tests name each.
impl ZeroizeOnDrop for Owner {}

impl Owner {
    /// For distinct odd primes of the same length, which makes gcd(n, φ(n)) = 1: a prime cannot
    /// divide a number of the same length minus one unless they are equal.
    ///
    /// `outside` is the ring modulo n². `None` for a length that this crate was not built for.
    pub(crate) fn new(p: &BoxedUint, q: &BoxedUint, outside: &Ring) -> Option<Self> {
        let ring = Ring::new(&[p, q], outside.choice())?;
        let pieces = Pieces::new(&ring, outside, [p, q])?;
        let order = |x: &BoxedUint| Zeroizing::new(x.wrapping_sub(Limb::ONE));
        let mut leave = Zeroizing::new(ring.empty());
        leave.reserve(2);
        for (i, [a, b]) in [[p, q], [q, p]].into_iter().enumerate() {
            let modulus = nonzero(a);
            let b = Zeroizing::new(b.rem(&modulus));
            let inverse = Zeroizing::new(b.invert_odd_mod(&*odd(a)?).into_option()?);
            // (−b)⁻¹·b⁻¹
            let square = Zeroizing::new(inverse.square_mod(&modulus));
            let constant = Zeroizing::new(square.neg_mod(&modulus));
            leave.append(&Zeroizing::new(ring.raw(i, &ring.residue(i, &constant))));
        }
        let factors = [p, q].map(|x| Zeroizing::new(x.clone()));
        let orders = [p, q].map(order);
        let n = NonZero::clone(&nonzero(&outside.modulus(0)));
        Some(Self { factors, n, orders, ring, pieces, leave, noise: OnceLock::new() })
    }

    /// p and q.
    pub(crate) fn primes(&self) -> (Zeroizing<BoxedUint>, Zeroizing<BoxedUint>) {
        let [p, q] = &self.factors;
        (p.clone(), q.clone())
    }

    fn half_bits(&self) -> u32 {
        self.factors[0].bits_precision()
    }

    /// The messages of units modulo n², in [0, n).
    pub(crate) fn decrypt(&self, ciphertexts: &[&[Line]]) -> Vec<Zeroizing<BoxedUint>> {
        let inside = self.pieces.inward(&self.ring, ciphertexts);
        let [p, q] = &self.orders;
        let powers = power(&self.ring, &inside.refs(), &[p, q], self.half_bits(), Lookup::Scan);
        let powers = Zeroizing::new(powers);
        let leave: Vec<_> = (0..powers.len()).map(|k| self.leave.get(k % 2)).collect();
        let halves = self.ring.export_times(&powers.refs(), &leave);
        halves
            .chunks_exact(2)
            .map(|halves| self.recombine(&halves[0].high, &halves[1].high))
            .collect()
    }

    /// a·q + b·p modulo n, for a < p and b < q.
    fn recombine(&self, a: &BoxedUint, b: &BoxedUint) -> Zeroizing<BoxedUint> {
        let [p, q] = &self.factors;
        let a = Zeroizing::new(a.concatenating_mul(&**q));
        let b = Zeroizing::new(b.concatenating_mul(&**p));
        Zeroizing::new(a.add_mod(&b, &self.n))
    }

    /// Noise for each generator: an n-th residue modulo n².
    pub(crate) fn noise<R: CryptoRng>(
        &self,
        kind: OwnerNoise,
        outside: &Ring,
        rngs: &mut [R],
    ) -> Zeroizing<Elements> {
        let noise = match kind {
            OwnerNoise::SmallPrimes => self.small_primes().random(&self.ring, rngs),
            OwnerNoise::Uniform => self.lifts(&self.draw(rngs)),
        };
        self.pieces.outward(outside, &Zeroizing::new(noise))
    }

    /// Makes what a kind of noise needs. The first call for [small primes](PrimeProducts) lifts
    /// them, for the price of about as many decryptions.
    pub(crate) fn prepare_noise(&self, kind: OwnerNoise) {
        if kind == OwnerNoise::SmallPrimes {
            self.small_primes();
        }
    }

    fn small_primes(&self) -> &Zeroizing<PrimeProducts> {
        let [p, q] = &self.orders;
        ready(&self.noise, || Zeroizing::new(PrimeProducts::new(&self.ring, [p, q])))
    }

    /// A uniform unit modulo p and one modulo q for each generator.
    pub(crate) fn draw<R: CryptoRng>(&self, rngs: &mut [R]) -> Vec<Digits> {
        let mut units = Vec::with_capacity(2 * rngs.len());
        for rng in rngs {
            for (factor, order) in self.factors.iter().zip(&self.orders) {
                // 1 … p − 1
                let below = Zeroizing::new(BoxedUint::random_mod_vartime(rng, &nonzero(order)));
                let low = below.wrapping_add(Limb::ONE);
                let high = BoxedUint::zero_with_precision(factor.bits_precision());
                units.push(Digits { low, high });
            }
        }
        units
    }

    /// The n-th residues of the classes of units modulo p and q, in turns: rᵖ mod p².
    pub(crate) fn lifts(&self, units: &[Digits]) -> Elements {
        let [p, q] = &self.factors;
        let bases = Zeroizing::new(self.ring.import(units));
        power(&self.ring, &bases.refs(), &[p, q], self.half_bits(), Lookup::Scan)
    }

    /// The n-th root of `x` modulo n, unique as gcd(n, φ(n)) = 1. **To be checked before it is
    /// shown**: if a fault made one half wrong, it tells a factor of n.
    pub(crate) fn nth_root(&self, x: &BoxedUint) -> Option<BoxedUint> {
        let mut exponents = Vec::new();
        let mut halves = Vec::new();
        for i in 0..2 {
            // n = q modulo p − 1.
            let order = nonzero(&self.orders[i]);
            let n = Zeroizing::new(self.factors[1 - i].rem(&order));
            exponents.push(Zeroizing::new(n.invert_mod(&order).into_option()?));
            halves.push(self.ring.residue(i, x));
        }
        let bases = Zeroizing::new(self.ring.import(&halves));
        let exponents = [&*exponents[0], &*exponents[1]];
        let bits = self.half_bits();
        let roots = power(&self.ring, &bases.refs(), &exponents, bits, Lookup::Scan);
        let roots = Zeroizing::new(roots);
        let roots = self.ring.export(&roots.refs());
        let [p, q] = &self.factors;
        // a = r_p·q⁻¹ modulo p, and the like.
        let scaled = |root: &BoxedUint, a: &BoxedUint, b: &BoxedUint| {
            let modulus = nonzero(a);
            let b = Zeroizing::new(b.rem(&modulus));
            let inverse = Zeroizing::new(b.invert_odd_mod(&*odd(a)?).into_option()?);
            Some(Zeroizing::new(root.mul_mod(&inverse, &modulus)))
        };
        let (a, b) = (scaled(&roots[0].low, p, q)?, scaled(&roots[1].low, q, p)?);
        Some(BoxedUint::clone(&self.recombine(&a, &b)))
    }
}

fn nonzero(x: &BoxedUint) -> Zeroizing<NonZero<BoxedUint>> {
    Zeroizing::new(NonZero::new(x.clone()).expect("primes and their orders are not zero"))
}

fn odd(x: &BoxedUint) -> Option<Zeroizing<Odd<BoxedUint>>> {
    Odd::new(x.clone()).into_option().map(Zeroizing::new)
}

/// x modulo `modulus`, as long as `bits`.
fn remainder(x: &BoxedUint, modulus: &NonZero<BoxedUint>, bits: u32) -> Zeroizing<BoxedUint> {
    let rest = Zeroizing::new(x.rem(modulus));
    Zeroizing::new((&*rest).resize_unchecked(bits))
}

/// The linear maps between the ring modulo n² and the rings modulo p² and q².
///
/// With R and r the Montgomery factors outside and inside, a pair (low, high) outside stands for
/// (low − high·n)·R⁻¹, and cutting low = a₀ + a₁·r, high = b₀ + b₁·r gives, modulo p²,
///
/// ```text
/// value·r  =  r⁻¹·(a₀·C₁ + a₁·C₂ + b₀·C₃ + b₁·C₄),    C₁ = R⁻¹·r², C₂ = r·C₁, C₃ = −n·C₁, C₄ = −n·C₂
/// ```
///
/// where r⁻¹ is what the Montgomery product of a raw piece and a raw constant brings with it. On
/// the way back, with the idempotent e_p that is 1 modulo p² and 0 modulo q²,
///
/// ```text
/// value·R  =  R⁻¹·Σ_p (low·D₁ + high·D₂),    D₁ = e_p·r⁻¹·R², D₂ = −p·D₁.
/// ```
struct Pieces {
    /// C₁ to C₄, each modulo p² and q².
    inward: [Zeroizing<Elements>; 4],
    /// D₁ and D₂ for p, then for q.
    outward: Zeroizing<Elements>,
    limbs: usize,
}

impl Pieces {
    fn new(inside: &Ring, outside: &Ring, [p, q]: [&BoxedUint; 2]) -> Option<Self> {
        debug_assert_eq!(inside.kernel().radix(), outside.kernel().radix());
        let bits = 4 * p.bits_precision();
        let wide = |x: &BoxedUint| Zeroizing::new(x.resize_unchecked(bits));
        let square = |x: &BoxedUint| Zeroizing::new(wide(x).wrapping_square());
        let squares = [p, q].map(|x| nonzero(&square(x)));
        let n = Zeroizing::new(wide(p).wrapping_mul(&*wide(q)));
        let n2 = nonzero(&n.wrapping_square());
        let power_of_two = |exponent: u32, modulus: &NonZero<BoxedUint>| {
            let one = BoxedUint::one_with_precision((exponent + 64).next_multiple_of(64).max(bits));
            remainder(&one.shl(exponent), modulus, bits)
        };
        let (big_r, small_r) = (outside.r_bits(), inside.r_bits());
        let inverse = |x: &BoxedUint, modulus: &NonZero<BoxedUint>| {
            let inverse = x.invert_odd_mod(&*odd(modulus.as_ref())?).into_option()?;
            Some(Zeroizing::new(inverse))
        };
        let mut inward = core::array::from_fn(|_| Zeroizing::new(inside.empty()));
        for (i, square) in squares.iter().enumerate() {
            let r_inverse = inverse(&power_of_two(big_r, square), square)?;
            let c1 = Zeroizing::new(r_inverse.mul_mod(&power_of_two(2 * small_r, square), square));
            let c2 = Zeroizing::new(c1.mul_mod(&power_of_two(small_r, square), square));
            let minus_n = Zeroizing::new(remainder(&n, square, bits).neg_mod(square));
            let c3 = Zeroizing::new(c1.mul_mod(&minus_n, square));
            let c4 = Zeroizing::new(c2.mul_mod(&minus_n, square));
            for (all, c) in inward.iter_mut().zip([c1, c2, c3, c4]) {
                all.append(&Zeroizing::new(inside.raw(i, &inside.residue(i, &c))));
            }
        }
        let mut outward = Zeroizing::new(outside.empty());
        let r_inverse = inverse(&power_of_two(small_r, &n2), &n2)?;
        let enter = Zeroizing::new(r_inverse.mul_mod(&power_of_two(2 * big_r, &n2), &n2));
        for (i, x) in [p, q].into_iter().enumerate() {
            let (this, other): (&NonZero<BoxedUint>, &BoxedUint) = (&squares[i], &squares[1 - i]);
            let rest = remainder(other, this, bits);
            let idempotent = Zeroizing::new(inverse(&rest, this)?.wrapping_mul(other));
            let d1 = Zeroizing::new(enter.mul_mod(&idempotent, &n2));
            let minus_p = Zeroizing::new(wide(x).neg_mod(&n2));
            let d2 = Zeroizing::new(d1.mul_mod(&minus_p, &n2));
            for d in [d1, d2] {
                outward.append(&Zeroizing::new(outside.raw(0, &outside.residue(0, &d))));
            }
        }
        Some(Self { inward, outward, limbs: inside.kernel().limbs() })
    }

    /// Residues modulo n² to residues modulo p² and q², two for each.
    fn inward(&self, inside: &Ring, elements: &[&[Line]]) -> Zeroizing<Elements> {
        let mut sum = Zeroizing::new(inside.zeros(2 * elements.len()));
        for (c, constants) in self.inward.iter().enumerate() {
            let (half, start) = (c / 2, c % 2 * self.limbs);
            let mut pieces = Zeroizing::new(inside.zeros(2 * elements.len()));
            for (k, element) in elements.iter().enumerate() {
                let source = &element[half * element.len() / 2..][..element.len() / 2];
                for i in 0..2 {
                    copy_limbs(source, start, self.limbs, pieces.get_mut(2 * k + i));
                }
            }
            let constants: Vec<_> = (0..2 * elements.len()).map(|k| constants.get(k % 2)).collect();
            let products = Zeroizing::new(inside.multiply(&pieces.refs(), &constants));
            for (k, product) in products.iter().enumerate() {
                inside.add_assign(sum.get_mut(k), product);
            }
        }
        sum
    }

    /// Residues modulo p² and q², two for each result, to residues modulo n².
    fn outward(&self, outside: &Ring, elements: &Elements) -> Zeroizing<Elements> {
        let count = elements.len() / 2;
        let mut sum = Zeroizing::new(outside.zeros(count));
        for (d, constant) in self.outward.iter().enumerate() {
            let (i, half) = (d / 2, d % 2);
            let mut pieces = Zeroizing::new(outside.zeros(count));
            for k in 0..count {
                let element = elements.get(2 * k + i);
                let source = &element[half * element.len() / 2..][..element.len() / 2];
                copy_limbs(source, 0, self.limbs, pieces.get_mut(k));
            }
            let products = Zeroizing::new(outside.multiply(&pieces.refs(), &vec![constant; count]));
            for (k, product) in products.iter().enumerate() {
                outside.add_assign(sum.get_mut(k), product);
            }
        }
        sum
    }
}

/// Copies `count` limbs from number `start` on; those that the source lacks are 0.
fn copy_limbs(source: &[Line], start: usize, count: usize, target: &mut [Line]) {
    for i in 0..count {
        let from = start + i;
        let limb = source.get(from / LANES).map_or(0, |line| line.0[from % LANES]);
        target[i / LANES].0[i % LANES] = limb;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, big, rng};
    use num_bigint_dig::BigUint;

    /// The types are the proof, and the patterns name every field.
    #[test]
    fn every_secret_field_wipes_itself() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        let Owner { factors, n: _, orders, ring, pieces, leave, noise } = KEY.owner();
        factors.iter().chain(orders).for_each(wiped);
        wiped(ring);
        wiped(leave);
        noise.get().into_iter().for_each(wiped);
        let Pieces { inward, outward, limbs: _ } = pieces;
        inward.iter().for_each(wiped);
        wiped(outward);
        KEY.owner().draw(&mut [rng(1)]).iter().for_each(wiped);
    }

    /// rᵖ mod p² and rᵠ mod q², by the definition, for units at the edges and random ones.
    #[test]
    fn uniform_noise_is_the_lift_of_a_uniform_class() {
        let owner = KEY.owner();
        let (p, q) = KEY.primes();
        let mut units = owner.draw(&mut [rng(1), rng(2), rng(3)]);
        for (k, unit) in units.iter().enumerate() {
            let low = big(&unit.low);
            assert!(low >= 1u8.into() && low < big([&p, &q][k % 2]), "a unit");
        }
        for (edge, order) in [(0, &owner.orders[0]), (1, &owner.orders[1])] {
            let mut largest = units[edge].clone();
            largest.low = BoxedUint::clone(order);
            units[2 + edge] = largest;
            units[edge].low = BoxedUint::one_with_precision(256);
        }
        let lifts = Zeroizing::new(owner.lifts(&units));
        for (k, (lift, unit)) in owner.ring.export(&lifts.refs()).iter().zip(&units).enumerate() {
            let p = big([&p, &q][k % 2]);
            let expected = big(&unit.low).modpow(&p, &(&p * &p));
            assert_eq!(big(&lift.low) + big(&lift.high) * &p, expected);
        }
        assert_ne!(units[4], units[2]);
        let one = |k: usize| owner.ring.export(&[lifts.get(k), lifts.get(k + 1)])[0].low.clone();
        assert_eq!(big(&one(0)), BigUint::from(1u8));
    }
}
