//! The owner's noise: random products of small primes, lifted.
//!
//! Modulo p² the n-th residues are the group of the p − 1 elements ω with ω^(p−1) = 1, one in each
//! class modulo p (Teichmüller's representatives). That of a small prime ℓ is
//!
//! ```text
//! ω(ℓ) = ℓ^p = ℓ·(1 + k_ℓ·p)  mod p²,      k_ℓ = (ℓ^(p−1) − 1)/p  mod p     (Fermat's quotient)
//! ```
//!
//! and as ω multiplies while the factors 1 + k·p only add up, that of a product is
//!
//! ```text
//! ω(Π ℓ^e) = Π ℓ^e · (1 + p·Σ e·k_ℓ)  mod p².
//! ```
//!
//! So noise takes an integer product, gathered into *chunks* as long as p, a sum, and one product
//! modulo p² for each of them: 22 at 2048 bits, where tables of powers take 144. The exponents
//! e are uniform in 0 … 3, drawn anew for each ciphertext and for each of p² and q², for the first
//! (bits of p + [`SURPLUS_BITS`])/2 primes.
//!
//! # Why that is as good as uniform
//! There are 2^[`SURPLUS_BITS`] times as many exponents as residues. If the first primes behave
//! modulo a random p like random units, which is what is *assumed* here, the leftover hash lemma
//! puts the product within 2^(−SURPLUS_BITS/2) = 2^−128 of uniform on average. That is for one
//! ciphertext: the distances of N of them add up to N·2^−128.
//!
//! What is proven is less. Different exponents give different integers, which meet modulo p only if
//! p divides their difference. No difference has more than 20 prime factors as long as p (from keys of
//! 2048 bits on; 26 in the keys of tests), and the
//! owner draws p from more than 2^(bits − 14) primes, while the small primes are always the same.
//! So two draws collide with a probability below 2^−(bits − 19): the collision entropy of the noise
//! is within 19 bits of the most that there is. Who wants uniform noise proven takes
//! [`OwnerNoise::Uniform`](crate::OwnerNoise::Uniform).
//!
//! This is about a p that was drawn at random, as who makes his own key can know. It says nothing
//! to a server about its clients' keys: seals are made otherwise.
//!
//! # Constant time
//! Exponents decide about no branch and no address: powers are chosen by arithmetic, sums run over
//! all primes.

use core::ops::Range;

use crypto_bigint::{BoxedUint, Resize};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::elements::Elements;
use crate::kernel::{LANES, Line, Modulus, from_limbs, to_limbs};
use crate::power::{Lookup, power};
use crate::ring::{Digits, Ring};

/// Bits of exponents beyond the group's size.
const SURPLUS_BITS: u32 = 256;

/// Bits of a limb of k: three times a limb is below 2^52, which is what a kernel can sum up.
const RADIX: u32 = 50;

/// Bits by which Σ e·k may exceed k.
const GROWTH: u32 = 12;

/// Noise from small primes, modulo p² and q²: see the [module](self).
pub(crate) struct PrimeProducts {
    primes: Vec<u32>,
    /// Primes whose cubes have a product below p and q.
    chunks: Vec<Range<usize>>,
    moduli: [Modulus; 2],
    /// −k·2^64 modulo p and q; limb 8·i + j of prime number s is word j of line i·primes + s.
    quotients: [Zeroizing<Vec<Line>>; 2],
    /// R^(chunks + 2) modulo p² and q², for the R that each product loses.
    start: Zeroizing<Elements>,
}

impl PrimeProducts {
    /// For the primes p and q of `ring`, whose orders p − 1 and q − 1 are `orders`.
    pub(crate) fn new(ring: &Ring, orders: [&BoxedUint; 2]) -> Self {
        let bits = orders[0].bits_precision();
        let primes = first_primes((bits + SURPLUS_BITS).div_ceil(2) as usize);
        let chunks = chunks(&primes, bits);
        let negated = negated_quotients(ring, orders, &primes);
        let quotients = [0, 1].map(|i| {
            let lines = ((bits + GROWTH).div_ceil(RADIX) as usize).div_ceil(LANES);
            let mut all = Zeroizing::new(vec![Line::default(); lines * primes.len()]);
            for (s, k) in negated.iter().skip(i).step_by(2).enumerate() {
                let mut limbs = Zeroizing::new(vec![Line::default(); lines]);
                to_limbs(k.as_words(), RADIX, lines * LANES, &mut limbs);
                for (i, line) in limbs.iter().enumerate() {
                    all[i * primes.len() + s] = *line;
                }
            }
            all
        });
        let lost = u32::try_from(chunks.len()).expect("a few") + 2;
        let mut start = Zeroizing::new(ring.empty());
        for i in 0..2 {
            let power = ring.power_of_two(i, lost * ring.r_bits());
            start.append(&Zeroizing::new(ring.raw(i, &power)));
        }
        let moduli = [0, 1].map(|i| Modulus::new(ring.modulus(i).as_words()));
        Self { primes, chunks, moduli, quotients, start }
    }

    /// Noise for each generator: an element modulo p² and one modulo q².
    ///
    /// What a generator yields decides its noise alone.
    pub(crate) fn random<R: CryptoRng>(&self, ring: &Ring, rngs: &mut [R]) -> Elements {
        let mut all = ring.empty();
        all.reserve(2 * rngs.len());
        for rngs in rngs.chunks_mut(LANES / 2) {
            let exponents = self.draw(rngs);
            all.append(&Zeroizing::new(self.lifts(ring, &exponents, 2 * rngs.len())));
        }
        all
    }

    /// Uniform in 0 … 3 each: for every prime the exponents of the lanes.
    pub(crate) fn draw<R: CryptoRng>(&self, rngs: &mut [R]) -> Zeroizing<Vec<[u8; LANES]>> {
        let mut exponents = Zeroizing::new(vec![[0; LANES]; self.primes.len()]);
        let mut bytes = Zeroizing::new(vec![0u8; self.primes.len().div_ceil(2)]);
        for (k, rng) in rngs.iter_mut().enumerate() {
            rng.fill_bytes(&mut bytes);
            for (pair, byte) in exponents.chunks_mut(2).zip(bytes.iter()) {
                for (i, lanes) in pair.iter_mut().enumerate() {
                    lanes[2 * k] = byte >> (4 * i) & 3;
                    lanes[2 * k + 1] = byte >> (4 * i + 2) & 3;
                }
            }
        }
        exponents
    }

    /// ω(Π ℓ^e) for each of the first `lanes` lanes.
    pub(crate) fn lifts(&self, ring: &Ring, exponents: &[[u8; LANES]], lanes: usize) -> Elements {
        let half = ring.stride() / 2;
        let mut operands = Zeroizing::new(ring.zeros((self.chunks.len() + 1) * lanes));
        let (products, sums) =
            operands.lines_mut().split_at_mut(self.chunks.len() * lanes * ring.stride());
        for (chunk, out) in self.chunks.iter().zip(products.chunks_mut(lanes * ring.stride())) {
            let primes = &self.primes[chunk.clone()];
            ring.kernel().powers_of_primes(primes, &exponents[chunk.clone()], out);
        }
        for (lane, (sum, element)) in
            self.sums(ring, exponents).iter().zip(sums.chunks_mut(ring.stride())).enumerate()
        {
            // 1 − high·p
            element[0].0[0] = 1;
            let high = self.reduce(lane % 2, sum);
            to_limbs(&high, ring.kernel().radix(), ring.kernel().limbs(), &mut element[half..]);
        }
        let start = (0..lanes).map(|lane| self.start.get(lane % 2));
        let factors: Vec<_> = start.chain(operands.iter()).collect();
        ring.product(&factors, lanes)
    }

    /// Σ e·quotient for each lane, in limbs that carry.
    fn sums(&self, ring: &Ring, exponents: &[[u8; LANES]]) -> Vec<Zeroizing<Vec<Line>>> {
        let count = self.primes.len();
        let columns =
            self.quotients[0].chunks_exact(count).zip(self.quotients[1].chunks_exact(count));
        let mut sums = vec![Zeroizing::new(Vec::with_capacity(columns.len())); LANES];
        for (p, q) in columns {
            let lines = Zeroizing::new(ring.kernel().combine([p, q], exponents));
            sums.iter_mut().zip(lines.iter()).for_each(|(sum, line)| sum.push(*line));
        }
        sums
    }

    /// x / 2^64 modulo number `i`, below twice that, for limbs below 2^63 that carry.
    fn reduce(&self, i: usize, limbs: &[Line]) -> Zeroizing<Vec<u64>> {
        let modulus = &self.moduli[i];
        let mut limbs = Zeroizing::new(limbs.to_vec());
        let mut carry = 0;
        for limb in limbs.iter_mut().flat_map(|line| &mut line.0) {
            let sum = *limb + carry;
            *limb = sum & ((1 << RADIX) - 1);
            carry = sum >> RADIX;
        }
        debug_assert_eq!(carry, 0);
        let count = modulus.words().len() + 1;
        let mut words = Zeroizing::new(vec![0; count]);
        from_limbs(&limbs, RADIX, limbs.len() * LANES, &mut words);
        let m = words[0].wrapping_mul(modulus.minus_inverse());
        let mut reduced = Zeroizing::new(vec![0; count]);
        let mut carry = 0u128;
        for j in 0..count {
            let n = modulus.words().get(j).copied().unwrap_or(0);
            let sum = u128::from(words[j]) + u128::from(n) * u128::from(m) + carry;
            #[expect(clippy::cast_possible_truncation, reason = "the low word")]
            let low = sum as u64;
            if j > 0 {
                reduced[j - 1] = low;
            }
            carry = sum >> 64;
        }
        reduced[count - 1] = u64::try_from(carry).expect("below twice the modulus");
        reduced
    }
}

impl Zeroize for PrimeProducts {
    fn zeroize(&mut self) {
        self.quotients.iter_mut().for_each(|k| k.zeroize());
        self.start.zeroize();
    }
}

/// The first `count` primes.
fn first_primes(count: usize) -> Vec<u32> {
    let mut primes: Vec<u32> = Vec::with_capacity(count);
    let mut candidates = 2u32..;
    while primes.len() < count {
        let candidate = candidates.next().expect("there are infinitely many primes");
        let divisors = primes.iter().take_while(|&&l| l * l <= candidate);
        if divisors.clone().all(|l| !candidate.is_multiple_of(*l)) {
            primes.push(candidate);
        }
    }
    primes
}

/// Cuts primes into runs whose cubes have a product of less than `bits` bits.
fn chunks(primes: &[u32], bits: u32) -> Vec<Range<usize>> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let mut free = 0;
    for (i, &prime) in primes.iter().enumerate() {
        let length = u64::BITS - u64::from(prime).pow(3).leading_zeros();
        match chunks.last_mut() {
            Some(chunk) if length <= free => chunk.end += 1,
            _ => {
                chunks.push(i..i + 1);
                free = bits - 1;
            }
        }
        free -= length;
    }
    chunks
}

/// −k·2^64 modulo p and modulo q, for the Fermat quotients k of each prime, in turns.
fn negated_quotients(
    ring: &Ring,
    orders: [&BoxedUint; 2],
    primes: &[u32],
) -> Vec<Zeroizing<BoxedUint>> {
    let bits = orders[0].bits_precision();
    let moduli = [0, 1].map(|i| ring.modulus(i));
    let quotients = |primes: &[u32]| -> Vec<Zeroizing<BoxedUint>> {
        let low = |&l: &u32| BoxedUint::from(l).resize_unchecked(bits);
        let digits = |l| Digits { low: low(l), high: BoxedUint::zero_with_precision(bits) };
        let digits: Vec<_> = primes.iter().flat_map(|l| [digits(l), digits(l)]).collect();
        let bases = Zeroizing::new(ring.import(&digits));
        let powers = Zeroizing::new(power(ring, &bases.refs(), &orders, bits, Lookup::Scan));
        let powers = ring.export(&powers.refs());
        let negated = |(j, power): (usize, &Digits)| {
            debug_assert_eq!(power.low, BoxedUint::one(), "Fermat");
            let wide = Zeroizing::new((&power.high).resize_unchecked(bits + 64));
            let k = ring.residue(j % 2, &Zeroizing::new(wide.shl(64)));
            Zeroizing::new(moduli[j % 2].wrapping_sub(&k.low))
        };
        powers.iter().enumerate().map(negated).collect()
    };
    primes.par_chunks(LANES / 2).flat_map_iter(quotients).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Choice;
    use crate::oracle::{KEY, big, rng};
    use num_bigint_dig::BigUint;

    /// The lift of Π ℓ^e, by the definition.
    fn lifted(primes: &[u32], exponents: &[u8], p: &BigUint) -> BigUint {
        let product = primes.iter().zip(exponents).fold(BigUint::from(1u8), |product, (&l, &e)| {
            product * BigUint::from(l).modpow(&e.into(), p) % p
        });
        product.modpow(p, &(p * p))
    }

    #[test]
    fn noise_is_the_lift_of_the_product() {
        let (p, q) = KEY.primes();
        let orders = [&p, &q].map(|x| x.wrapping_sub(BoxedUint::one()));
        let value = |digits: &Digits, p| big(&digits.low) + big(&digits.high) * big(p);
        for choice in Choice::all() {
            let ring = Ring::new(&[&p, &q], choice).unwrap();
            let noise = PrimeProducts::new(&ring, orders.each_ref());
            let check = |exponents: &[[u8; LANES]], lanes: usize, made: &[&[Line]]| {
                for (lane, made) in ring.export(made).iter().enumerate() {
                    let exponents: Vec<u8> = exponents.iter().map(|e| e[lane]).collect();
                    let p = [&p, &q][lane % 2];
                    assert_eq!(value(made, p), lifted(&noise.primes, &exponents, &big(p)));
                }
                assert_eq!(made.len(), lanes);
            };
            for count in [1usize, 3, 9] {
                let rngs = || (0..count as u64).map(rng).collect::<Vec<_>>();
                let made = noise.random(&ring, &mut rngs());
                for (made, rngs) in made.refs().chunks(LANES).zip(rngs().chunks_mut(LANES / 2)) {
                    check(&noise.draw(rngs), 2 * rngs.len(), made);
                }
            }
            // The largest and the smallest products, in lanes side by side.
            let extremes = vec![[0, 0, 1, 1, 2, 2, 3, 3]; noise.primes.len()];
            check(&extremes, LANES, &noise.lifts(&ring, &extremes, LANES).refs());
        }
    }

    #[test]
    fn exponents_are_uniform() {
        let (p, q) = KEY.primes();
        let orders = [&p, &q].map(|x| x.wrapping_sub(BoxedUint::one()));
        let ring = Ring::new(&[&p, &q], Choice::Best).unwrap();
        let noise = PrimeProducts::new(&ring, orders.each_ref());
        let mut counts = [[0u32; 4]; LANES];
        for seed in 0..10 {
            let mut rngs: Vec<_> = (4 * seed..4 * seed + 4).map(rng).collect();
            for lanes in noise.draw(&mut rngs).iter() {
                (counts.iter_mut().zip(lanes)).for_each(|(c, &e)| c[usize::from(e)] += 1);
            }
        }
        // Six standard deviations.
        let mean = 10 * u32::try_from(noise.primes.len()).unwrap() / 4;
        let deviation = 6 * (mean * 3 / 4).isqrt();
        assert!(counts.iter().flatten().all(|c| c.abs_diff(mean) < deviation), "{counts:?}");
    }

    #[test]
    fn chunks_are_shorter_than_the_prime() {
        for bits in [256, 512, 1024, 1536, 2048] {
            let primes = first_primes((bits + SURPLUS_BITS) as usize / 2);
            let mut length = 0;
            let mut end = 0;
            for chunk in chunks(&primes, bits) {
                assert_eq!(chunk.start, end);
                end = chunk.end;
                let cubes = primes[chunk].iter().map(|&l| BigUint::from(u64::from(l).pow(3)));
                let largest = cubes.fold(BigUint::from(1u8), |product, cube| product * cube);
                assert!(largest.bits() < bits as usize);
                length += largest.bits();
            }
            assert_eq!(end, primes.len());
            assert!(3 * primes.len() < 1 << GROWTH);
            let largest = u64::from(primes[primes.len() - 1]);
            assert!(largest.pow(3) < 1 << 52, "a cube is a factor of the kernel");
            assert!((3 * (primes.len() as u128)) << RADIX < 1 << 63, "limbs that carry");
            let factors = length / bits as usize;
            assert!(
                factors <= if bits < 1024 { 26 } else { 20 },
                "{factors} factors of a difference"
            );
        }
        let primes = first_primes((1024 + SURPLUS_BITS as usize) / 2);
        assert_eq!((primes.len(), chunks(&primes, 1024).len()), (640, 21));
        assert_eq!(first_primes(6), [2, 3, 5, 7, 11, 13]);
        assert_eq!(first_primes(1000).last(), Some(&7919));
    }
}
