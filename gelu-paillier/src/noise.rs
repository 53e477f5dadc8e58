//! Fresh n-th residues: what hides a message, and what hides how a ciphertext was made.
//!
//! Paillier's ciphertext is (1 + n)^m · rⁿ mod n². The factor rⁿ, the *noise*, costs an
//! exponentiation with an exponent as long as n. Tables make it cheaper; how far one may go
//! depends on who must not see through it.
//!
//! | [`Noise`]       | hides from                | rests on                       | products (2048) |
//! |-----------------|---------------------------|--------------------------------|----------------:|
//! | `Uniform`       | everybody, the key's owner too | nothing                   | ≈ 2 500         |
//! | `Statistical`   | everybody, the key's owner too | SHA-256 as a random oracle | 384            |
//! | `ShortExponent` | everybody *but* the key's owner | short discrete logarithms | 171            |
//!
//! # Encryption
//! hides a message from those who lack the key. [`Noise::ShortExponent`] (Damgård, Jurik and
//! Nielsen, *A generalization of Paillier's public-key system*, Int. J. Inf. Secur. 9, 2010,
//! section 4.2) takes h_s = hⁿ with h = −u² mod n and noise h_s^x for x of half the key's length.
//!
//! # Sealing
//! hides the server's weights from the client, *who owns the key and may have made it in bad
//! faith*. Knowing p and q, it can choose p − 1 smooth, take discrete logarithms modulo p² and q²
//! and read in the exponent of the noise what the weights did there. A short x covers only the low
//! half of that exponent; and however long x is, powers of *one* h cover only ⟨h⟩, whose index is
//! at least gcd(p − 1, q − 1), which the client can make hundreds of bits long. So
//! `ShortExponent` never seals.
//!
//! [`Noise::Statistical`] multiplies random powers of [`BASES`] bases uᵢⁿ. The uᵢ are hashed from
//! n, so that nobody chooses them. For uniform units uᵢ, exponents uniform in [0, 2^e) and a
//! character χ of the group of n-th residues G, the mean of χ over the noise is the product over
//! i of the mean of χ(uᵢⁿ)^x. Summed over all χ ≠ 1 (Vazirani's lemma), the distance from uniform
//! in G is on average at most
//!
//! ```text
//! ½·Σ_{χ small} E|mean χ|  +  ½·(|G|·2^(−BASES·e))^½   <   2^−62 + 2^−63.
//! ```
//!
//! The first sum is over characters of order below 2^e. One of order 2 survives only if all bases
//! lie in its kernel (probability 2^−BASES) and vanishes otherwise; there are three of them when
//! n = p·q, and higher orders add less. The second uses BASES·e ≥ bits + [`SURPLUS_BITS`]. A
//! client who tries T keys gains a factor of T, for a leak of one bit.
//!
//! With more than two prime factors there are more characters: for k factors the first term is at
//! most 2^(k−BASES). A certified modulus has factors above 2^16 only, so k ≤ 128 at 2048 bits,
//! and a client that builds n from more than 60 such factors sees up to k − 60 bits of each
//! response. Who must exclude even that uses [`Noise::Uniform`].

use crypto_bigint::{BoxedUint, RandomMod};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::arithmetic::Residue;
use crate::hash::{Purpose, unit};
use crate::keys::PublicKey;
use crate::power_table::{PowerTable, spread};

/// How the noise of a ciphertext is made. The source file compares them; the default for
/// encryption is [`ShortExponent`](Self::ShortExponent), for sealing
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
    ShortExponent,
}

/// Bases of [`Noise::Statistical`]: the distance from uniform is about 2^−BASES.
pub(crate) const BASES: u32 = 64;

/// Exponent bits beyond the group's size: the distance from uniform is about 2^(−SURPLUS/2).
pub(crate) const SURPLUS_BITS: u32 = 128;

/// Table digits of 6 bits: 64 entries a row. At 2048 bits the tables take 13 and 6 MB.
const WINDOW: u32 = 6;

impl PublicKey {
    /// Fresh noise: an n-th residue modulo n².
    pub(crate) fn noise(&self, noise: Noise, rng: &mut dyn CryptoRng) -> Residue {
        let (n, modulus) = (self.mod_n(), self.mod_n2());
        match noise {
            Noise::Uniform => {
                let r = loop {
                    let r = Zeroizing::new(BoxedUint::random_mod_vartime(rng, n.value()));
                    if n.is_unit_vartime(&r) {
                        break r;
                    }
                };
                self.nth_residue(&r)
            }
            Noise::Statistical => {
                let table = self.tables().statistical.get_or_init(|| {
                    let base = |i| self.nth_residue(&unit(n, Purpose::Statistical, i));
                    let bases = spread((0..BASES).collect(), base);
                    let exponent_bits = (self.bits() + SURPLUS_BITS).div_ceil(BASES);
                    PowerTable::new(modulus, bases, exponent_bits, WINDOW)
                });
                table.random_product(modulus, rng)
            }
            Noise::ShortExponent => {
                let table = self.tables().short_exponent.get_or_init(|| {
                    let u = n.residue(&unit(n, Purpose::ShortExponent, 0));
                    let h = u.square().value().neg_mod(n.value());
                    PowerTable::new(modulus, vec![self.nth_residue(&h)], self.bits() / 2, WINDOW)
                });
                table.random_product(modulus, rng)
            }
        }
    }

    /// rⁿ mod n².
    fn nth_residue(&self, r: &BoxedUint) -> Residue {
        self.mod_n2().residue(r).pow(self.mod_n().value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, big, rng};
    use num_bigint_dig::BigUint;

    #[test]
    fn all_noise_is_an_nth_residue_and_never_repeats() {
        let public = KEY.public_key();
        let (p, q) = KEY.primes();
        let (p, q) = (big(&p), big(&q));
        let order = (&p - 1u8) * (&q - 1u8);
        let n2 = &p * &p * &q * &q;
        let mut rng = rng(5);
        let mut seen = std::collections::HashSet::new();
        for noise in [Noise::Uniform, Noise::Statistical, Noise::ShortExponent] {
            for _ in 0..20 {
                let x = big(&public.noise(noise, &mut rng).value());
                assert_eq!(x.modpow(&order, &n2), BigUint::from(1u8), "{noise:?}");
                assert!(seen.insert(x), "{noise:?} repeated");
            }
        }
        let owner = |i| unit(public.mod_n(), Purpose::Owner, i);
        for _ in 0..20 {
            let x = big(&KEY.owner().noise(owner, &mut rng));
            assert_eq!(x.modpow(&order, &n2), BigUint::from(1u8), "owner");
            assert!(seen.insert(x), "owner repeated");
        }
    }

    /// Quadratic characters modulo p and q of statistical noise take all four values equally.
    #[test]
    fn statistical_noise_reaches_every_coset_of_the_squares() {
        let public = KEY.public_key();
        let (p, q) = KEY.primes();
        let is_square =
            |x: &BigUint, p: &BigUint| (x % p).modpow(&((p - 1u8) >> 1), p) == BigUint::from(1u8);
        let counts = |sample: &mut dyn FnMut() -> BigUint| {
            let mut counts = [0u32; 4];
            for _ in 0..400 {
                let x = sample();
                let square = (is_square(&x, &big(&p)), is_square(&x, &big(&q)));
                counts[usize::from(square.0) * 2 + usize::from(square.1)] += 1;
            }
            counts
        };
        let mut rng = rng(6);
        let fair = |counts: [u32; 4]| counts.iter().all(|c| (60..=140).contains(c));
        for noise in [Noise::Uniform, Noise::Statistical] {
            let counts = counts(&mut || big(&public.noise(noise, &mut rng).value()));
            assert!(fair(counts), "{noise:?}: {counts:?}");
        }
        let owner = |i| unit(public.mod_n(), Purpose::Owner, i);
        let owners = counts(&mut || big(&KEY.owner().noise(owner, &mut rng)));
        assert!(fair(owners), "owner: {owners:?}");
        // −u² is a non-square modulo both primes (both are 3 mod 4): two cosets are never reached.
        let short = counts(&mut || big(&public.noise(Noise::ShortExponent, &mut rng).value()));
        assert_eq!((short[1], short[2]), (0, 0), "why ShortExponent must not seal");
    }
}
