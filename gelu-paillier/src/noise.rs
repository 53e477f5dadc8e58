//! Fresh n-th residues: what hides a message, and what hides how a ciphertext was made.
//!
//! Paillier's ciphertext is (1 + n)^m · rⁿ mod n². The factor rⁿ, the *noise*, costs an
//! exponentiation with an exponent as long as n. Tables make it cheaper; how far one may go
//! depends on who must not see through it.
//!
//! | [`Noise`]       | hides from                | rests on                       | products (2048) |
//! |-----------------|---------------------------|--------------------------------|----------------:|
//! | `Uniform`       | everybody, the key's owner too | nothing                   | ≈ 2 500         |
//! | `Statistical`   | everybody, the key's owner too | SHA-256 as a random oracle | 363            |
//! | `HalfExponent`  | everybody *but* the key's owner | short discrete logarithms | 128            |
//! | `FastExponent`  | everybody *but* the key's owner | very short discrete logarithms | 56         |
//!
//! # Encryption
//! hides a message from those who lack the key. [`Noise::HalfExponent`] (Damgård, Jurik and
//! Nielsen, *A generalization of Paillier's public-key system*, Int. J. Inf. Secur. 9, 2010,
//! section 4.2) takes h_s = hⁿ with h = −u² mod n and noise h_s^x for x of half the key's length.
//!
//! The key's owner has a quicker way, [`prime_products`](crate::prime_products).
//!
//! # Sealing
//! hides the server's weights from the client, *who owns the key and may have made it in bad
//! faith*. Knowing p and q, it can choose p − 1 smooth, take discrete logarithms modulo p² and q²
//! and read in the exponent of the noise what the weights did there. A short x covers only the low
//! half of that exponent; and however long x is, powers of *one* h cover only ⟨h⟩, whose index is
//! at least gcd(p − 1, q − 1), which the client can make hundreds of bits long. So
//! one base never seals.
//!
//! [`Noise::Statistical`] multiplies random powers of [`BASES`] bases uᵢⁿ. The uᵢ are hashed from
//! n, so that nobody chooses them. For uniform units uᵢ, exponents uniform in [0, 2^eᵢ) and a
//! character χ of the group of n-th residues G, the mean of χ over the noise is the product over
//! i of the mean of χ(uᵢⁿ)^x. Summed over all χ ≠ 1 (Vazirani's lemma), the distance from uniform
//! in G is on average at most
//!
//! ```text
//! ½·Σ_{χ small} E|mean χ|  +  ½·(|G|·2^(−Σeᵢ))^½   <   2^−62 + 2^−63.
//! ```
//!
//! The first sum is over characters of order below 2^(least eᵢ). One of order 2 survives only if all bases
//! lie in its kernel (probability 2^−BASES) and vanishes otherwise; there are three of them when
//! n = p·q, and higher orders add less. The second uses Σeᵢ ≥ bits + [`SURPLUS_BITS`]. A
//! client who tries T keys gains a factor of T, for a leak of one bit.
//!
//! With more than two prime factors there are more characters: for k factors the first term is at
//! most 2^(k−BASES). A certified modulus has factors above 2^16 only, so k ≤ 128 at 2048 bits,
//! and a client that builds n from more than 60 such factors sees up to k − 60 bits of each
//! response. Who must exclude even that uses [`Noise::Uniform`].

use crypto_bigint::{BoxedUint, RandomMod};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::hash::{Purpose, unit};
use crate::keys::PublicKey;
use crate::power::{Lookup, power};
use crate::power_table::PowerTable;
use crate::ring::{Digits, Elements};

/// How the noise of a ciphertext is made. The source file compares them; the default for
/// encryption is [`HalfExponent`](Self::HalfExponent), for sealing
/// [`Statistical`](Self::Statistical).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// rⁿ for uniform r: slowest, and as good as it gets. Costs nothing to set up.
    Uniform,
    /// Within 2^−61 of uniform, from tables. The first use under a key builds them, for the price
    /// of about 70 uniform ones.
    Statistical,
    /// Powers of one base with exponents of half the key's length. Hides nothing from the owner of
    /// the key. The first use under a key builds a table, for the price of a few uniform ones.
    HalfExponent,
    /// Powers of the same base with exponents of 448 bits (512 from keys of 3072 bits on): twice
    /// as fast, and resting on a bolder assumption. Hides nothing from the owner of the key.
    FastExponent,
}

/// Bases of [`Noise::Statistical`]: the distance from uniform is about 2^−BASES.
pub(crate) const BASES: u32 = 64;

/// Exponent bits beyond the group's size: the distance from uniform is about 2^(−SURPLUS/2).
pub(crate) const SURPLUS_BITS: u32 = 128;

/// Digits of [`Noise::Statistical`]: at 2048 bits the tables take 16 MB.
const STATISTICAL_WINDOW: u32 = 6;

/// Digits of the exponents of one base: at 2048 bits the table takes 21 MB.
const EXPONENT_WINDOW: u32 = 8;

impl PublicKey {
    /// Fresh noise for each generator: n-th residues modulo n².
    pub(crate) fn noise<R: CryptoRng>(&self, noise: Noise, rngs: &mut [R]) -> Elements {
        let (n, ring) = (self.mod_n(), self.ring());
        let single = |bits: u32| {
            let u = unit(n, Purpose::ShortExponent, 0);
            let h = n.power(&u, &BoxedUint::from(2u8)).neg_mod(n.value());
            PowerTable::new(ring, &self.nth_residues(&[h]), bits, EXPONENT_WINDOW)
        };
        let table = match noise {
            Noise::Uniform => {
                let draw = |rng: &mut R| loop {
                    let r = Zeroizing::new(BoxedUint::random_mod_vartime(rng, n.value()));
                    if n.is_unit_vartime(&r) {
                        break BoxedUint::clone(&r);
                    }
                };
                let units: Vec<_> = rngs.iter_mut().map(draw).collect();
                return self.nth_residues(&Zeroizing::new(units));
            }
            Noise::Statistical => self.tables().statistical.get_or_init(|| {
                let units: Vec<_> = (0..BASES).map(|i| unit(n, Purpose::Statistical, i)).collect();
                let bases = self.nth_residues(&units);
                PowerTable::new(ring, &bases, self.bits() + SURPLUS_BITS, STATISTICAL_WINDOW)
            }),
            Noise::HalfExponent => {
                self.tables().half_exponent.get_or_init(|| single(self.bits() / 2))
            }
            Noise::FastExponent => {
                let bits = if self.bits() < 3072 { 448 } else { 512 };
                self.tables().fast_exponent.get_or_init(|| single(bits))
            }
        };
        table.random_products(ring, rngs)
    }

    /// rⁿ mod n² for each r.
    fn nth_residues(&self, r: &[BoxedUint]) -> Elements {
        let ring = self.ring();
        let zero = BoxedUint::zero_with_precision(self.bits());
        let digits: Vec<_> =
            r.iter().map(|r| Digits { low: r.clone(), high: zero.clone() }).collect();
        let bases = ring.import(&digits);
        let n = ring.modulus(0);
        power(ring, &bases.refs(), &[&n], self.bits(), Lookup::Direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, big, rng};
    use num_bigint_dig::BigUint;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;
    use rand_core::Rng;

    #[derive(Clone, Copy, Debug)]
    enum Maker {
        Public(Noise),
        Owner,
    }

    const MAKERS: [Maker; 5] = [
        Maker::Public(Noise::Uniform),
        Maker::Public(Noise::Statistical),
        Maker::Public(Noise::HalfExponent),
        Maker::Public(Noise::FastExponent),
        Maker::Owner,
    ];

    fn values(maker: Maker, count: usize, rng: &mut ChaCha20Rng) -> Vec<BigUint> {
        let public = KEY.public_key();
        let mut rngs: Vec<_> =
            (0..count).map(|_| ChaCha20Rng::seed_from_u64(rng.next_u64())).collect();
        let noise = match maker {
            Maker::Public(noise) => Zeroizing::new(public.noise(noise, &mut rngs)),
            Maker::Owner => KEY.owner().noise(public.ring(), &mut rngs),
        };
        // From the owner the noise is a sum, which must be multiplied once.
        let one = vec![public.ring().one(0); count];
        let noise = public.ring().multiply(&noise.refs(), &one);
        let n = big(public.mod_n().value());
        let value = |d: &Digits| big(&d.low) + big(&d.high) * &n;
        public.ring().export(&noise.refs()).iter().map(value).collect()
    }

    #[test]
    fn all_noise_is_an_nth_residue_and_never_repeats() {
        let (p, q) = KEY.primes();
        let (p, q) = (big(&p), big(&q));
        let order = (&p - 1u8) * (&q - 1u8);
        let n2 = &p * &p * &q * &q;
        let mut rng = rng(5);
        let mut seen = std::collections::HashSet::new();
        for maker in MAKERS {
            for x in values(maker, 20, &mut rng) {
                assert_eq!(x.modpow(&order, &n2), BigUint::from(1u8), "{maker:?}");
                assert!(seen.insert(x), "{maker:?} repeated");
            }
        }
    }

    /// Quadratic characters modulo p and q of statistical noise take all four values equally.
    #[test]
    fn statistical_noise_reaches_every_coset_of_the_squares() {
        let (p, q) = KEY.primes();
        let is_square =
            |x: &BigUint, p: &BigUint| (x % p).modpow(&((p - 1u8) >> 1), p) == BigUint::from(1u8);
        let mut rng = rng(6);
        let mut counts = |maker: Maker| {
            let mut counts = [0u32; 4];
            for x in values(maker, 400, &mut rng) {
                let square = (is_square(&x, &big(&p)), is_square(&x, &big(&q)));
                counts[usize::from(square.0) * 2 + usize::from(square.1)] += 1;
            }
            counts
        };
        let fair = |counts: [u32; 4]| counts.iter().all(|c| (60..=140).contains(c));
        for maker in MAKERS {
            let counts = counts(maker);
            match maker {
                // −u² is a non-square modulo both primes (both are 3 mod 4): two cosets are never
                // reached.
                Maker::Public(Noise::HalfExponent | Noise::FastExponent) => {
                    assert_eq!((counts[1], counts[2]), (0, 0), "why one base must not seal");
                }
                _ => assert!(fair(counts), "{maker:?}: {counts:?}"),
            }
        }
    }
}
