//! Fresh n-th residues: what hides a message, and what hides how a ciphertext was made.
//!
//! Paillier's ciphertext is (1 + n)^m · rⁿ mod n². The factor rⁿ, the *noise*, costs an
//! exponentiation with an exponent as long as n. Tables make it cheaper; how far one may go
//! depends on who must not see through it.
//!
//! | [`Noise`]       | hides from                | rests on                       | products (2048) |
//! |-----------------|---------------------------|--------------------------------|----------------:|
//! | `Uniform`       | everybody, the key's owner too | nothing                   | ≈ 2 500         |
//! | `Statistical`   | everybody, the key's owner too | SHA-256 as a random oracle | 362            |
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
//! [`Noise::Statistical`] multiplies random powers of B bases uᵢⁿ, one for each digit of 6 bits of an
//! exponent that is [`SURPLUS_BITS`] longer than n: B = ⌈(bits + 128)/6⌉, which is 363 for 2048 bits and
//! 704 for 4096. The uᵢ are hashed from n, so that nobody chooses them.
//!
//! Let n have k prime factors pᵢ. By its [certificate](crate::certificate) they are distinct and above
//! 2^16, so k < bits/16, and the n-th residues G are a group of order Π (pᵢ − 1) < 2^bits, a product of
//! k cyclic ones. The noise is π = Π uᵢ^(n·xᵢ) with xᵢ uniform in [0, 64). By Vazirani's lemma its
//! distance from uniform in G is at most ½·(Σ_{χ ≠ 1} |mean χ(π)|²)^½, over the characters of G. For a
//! uniform unit uᵢ and a χ of order d, χ(uᵢⁿ) is a uniform d-th root of unity, so that the average over
//! uᵢ of |mean χ(uᵢⁿ)^x|² is the probability that two values x agree modulo d:
//!
//! ```text
//! d ≥ 64:    2^−6                                 of all these χ together:  2^bits·2^(−6·B)  ≤  2^−128
//! d < 64:    (1 + s·(d − s)/64²)/d,  s = 64 mod d
//!            at most d^k such characters, so:     d^(k − B)·(1 + s·(d − s)/64²)^B
//! ```
//!
//! (d = 2: a character survives if all bases lie in its kernel, which has probability 2^−B, and there
//! are fewer than 2^k.) For every number k ≤ bits/16 of factors and every key of 2048 bits or more, the
//! sum of the second line over d = 2 … 63 is below 2^−234, and the distance, on average over the hash,
//! below
//!
//! ```text
//! ½·(2^−128 + 2^−234)^½   <   2^−64.
//! ```
//!
//! A client who tries T keys gains a factor of T. *As many bases as k and 64 more are needed*: with
//! 64 bases, as this crate once had them, k − 64 independent characters of every order that divides all
//! pᵢ − 1 see through the noise. From a key of 111 primes that are 1 modulo 2310 each response then
//! tells 525 bits (`docs/src/attacks/randomness.md`).
//!
//! # When a table pays
//! A table of 2048 bits takes as long to make as 373 uniform elements and 16 MB, and a server has a
//! client's key for a few queries only. So [`NoiseMaker`] makes the first seals under a key
//! with uniform noise, an eighth of as many as would have paid for the table ([`break_even`]: 436, where
//! a batch counts as if it filled the kernel's lanes, since it takes as long): who asks a few times
//! mostly asks on, and waits seven times as long until then. All tables of a process share a
//! [budget](crate::memory::TABLES); where it is spent, noise stays uniform.

use std::sync::atomic::Ordering;

use crypto_bigint::{BoxedUint, RandomMod};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::arithmetic::Modulus;
use crate::elements::Elements;
use crate::hash::{Purpose, unit};
use crate::kernel::LANES;
use crate::keys::PublicKey;
use crate::memory::{Budget, TABLES};
use crate::power::{Lookup, power};
use crate::power_table::PowerTable;
use crate::ring::{Digits, Ring};
use crate::tables::ready;

/// How the noise of a ciphertext is made. The source file compares them; the default for
/// encryption is [`HalfExponent`](Self::HalfExponent), for sealing
/// [`Statistical`](Self::Statistical).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// rⁿ for uniform r: slowest, and as good as it gets. Costs nothing to set up.
    Uniform,
    /// Within 2^−64 of uniform, from a table that is built after the first few, for the price of about 373
    /// uniform elements; uniform until then, and where the process has no memory left for tables.
    Statistical,
    /// Powers of one base with exponents of half the key's length. Hides nothing from the owner of
    /// the key. The first use under a key builds a table, for the price of a few uniform ones.
    HalfExponent,
    /// Powers of the same base with exponents of 448 bits (512 from keys of 3072 bits on): twice
    /// as fast, and resting on a bolder assumption. Hides nothing from the owner of the key.
    FastExponent,
}

/// Exponent bits beyond the group's size: the distance from uniform is below 2^(−SURPLUS/2).
pub(crate) const SURPLUS_BITS: u32 = 128;

/// Digits of [`Noise::Statistical`]: at 2048 bits the table takes 16 MB.
const STATISTICAL_WINDOW: u32 = 6;

/// Digits of the exponents of one base: at 2048 bits the table takes 21 MB.
const EXPONENT_WINDOW: u32 = 8;

/// How the noise of one batch is made.
#[derive(Clone, Copy)]
pub(crate) struct NoiseMaker<'k> {
    public: &'k PublicKey,
    /// `None` for uniform noise.
    table: Option<&'k PowerTable>,
}

impl PublicKey {
    /// Decides how the next `count` elements are made, and builds the table that they need.
    ///
    /// To be asked once a batch, before its work is divided: the batches before and the process's
    /// memory decide, never the order in which threads come along.
    pub(crate) fn noise(&self, noise: Noise, count: usize) -> NoiseMaker<'_> {
        let tables = self.tables();
        let table = match noise {
            Noise::Uniform => None,
            Noise::Statistical => self.seal_table(count as u64, &TABLES),
            Noise::HalfExponent => {
                Some(ready(&tables.half_exponent, || self.single_base(self.bits() / 2)))
            }
            Noise::FastExponent => {
                let bits = if self.bits() < 3072 { 448 } else { 512 };
                Some(ready(&tables.fast_exponent, || self.single_base(bits)))
            }
        };
        NoiseMaker { public: self, table }
    }

    /// The table of [`Noise::Statistical`], if it pays for `count` more elements and there is room.
    fn seal_table(&self, count: u64, memory: &'static Budget) -> Option<&PowerTable> {
        let tables = self.tables();
        if tables.seals.get().is_none() {
            let count = count.next_multiple_of(LANES as u64);
            let before = tables.without.fetch_add(count, Ordering::Relaxed);
            let pays = before.saturating_add(count) >= break_even(self.bits()) / PATIENCE;
            let bytes =
                PowerTable::bytes(self.ring(), exponent_bits(self.bits()), STATISTICAL_WINDOW);
            if pays && let Some(room) = memory.reserve(bytes) {
                ready(&tables.seals, || (self.table_of_bases(bases(self.bits())), room));
            }
        }
        tables.seals.get().map(|(table, _)| table)
    }

    /// Builds the table of [`Noise::Statistical`] now, if there is room: for measurements.
    pub(crate) fn prepare_seals(&self) {
        self.seal_table(break_even(self.bits()), &TABLES);
    }

    /// The table of [`Noise::Statistical`], or one like it with too few bases.
    fn table_of_bases(&self, bases: u32) -> PowerTable {
        statistical(self.mod_n(), self.ring(), bases)
    }

    /// Noise as [`Noise::Statistical`] makes it, but from a number of bases that may be too small to
    /// hide anything.
    pub(crate) fn noise_of_bases<R: CryptoRng>(
        &self,
        bases: u32,
        rngs: &mut [R],
    ) -> Zeroizing<Elements> {
        Zeroizing::new(self.table_of_bases(bases).random_products(self.ring(), rngs))
    }

    /// The powers of h = −u² to exponents of `bits` bits.
    fn single_base(&self, bits: u32) -> PowerTable {
        let n = self.mod_n();
        let u = unit(n, Purpose::ShortExponent, 0);
        let h = n.power(&u, &BoxedUint::from(2u8)).neg_mod(n.value());
        PowerTable::new(self.ring(), &nth_residues(self.ring(), &[h]), bits, EXPONENT_WINDOW)
    }
}

impl NoiseMaker<'_> {
    /// Fresh noise for each generator: n-th residues modulo n².
    ///
    /// What a generator yields decides its noise alone.
    pub(crate) fn make<R: CryptoRng>(&self, rngs: &mut [R]) -> Zeroizing<Elements> {
        let (n, ring) = (self.public.mod_n(), self.public.ring());
        if let Some(table) = self.table {
            return Zeroizing::new(table.random_products(ring, rngs));
        }
        let draw = |rng: &mut R| loop {
            let r = Zeroizing::new(BoxedUint::random_mod_vartime(rng, n.value()));
            if n.is_unit_vartime(&r) {
                break BoxedUint::clone(&r);
            }
        };
        let units = Zeroizing::new(rngs.iter_mut().map(draw).collect::<Vec<_>>());
        Zeroizing::new(nth_residues(ring, &units))
    }
}

/// The part of [`break_even`] after which a table is built: one in so many.
const PATIENCE: u64 = 8;

/// Bits of all exponents of [`Noise::Statistical`] together.
fn exponent_bits(bits: u32) -> u32 {
    bits + SURPLUS_BITS
}

/// Bases of [`Noise::Statistical`] under a key of `bits` bits: one for each digit.
const fn bases(bits: u32) -> u32 {
    (bits + SURPLUS_BITS).div_ceil(STATISTICAL_WINDOW)
}

/// How many elements pay for a table: its products, divided by those that it saves each time. One
/// [`PATIENCE`]th of them is made before it is built.
///
/// ```text
/// uniform       6·⌈bits/5⌉ + 32       powers in windows of 5 bits, 31 first powers, one to enter
/// table         B·(uniform + 64)
/// from a table  B − 1
/// ```
pub(crate) const fn break_even(bits: u32) -> u64 {
    let (uniform, bases) = (uniform_products(bits), bases(bits) as u64);
    (bases * (uniform + (1 << STATISTICAL_WINDOW))).div_ceil(uniform - (bases - 1))
}

/// Products and squares of one uniform element.
const fn uniform_products(bits: u32) -> u64 {
    6 * bits.div_ceil(5) as u64 + 32
}

/// The table of [`Noise::Statistical`], with a number of bases.
fn statistical(n: &Modulus, ring: &Ring, bases: u32) -> PowerTable {
    let units: Vec<_> = (0..bases).map(|i| unit(n, Purpose::Statistical, i)).collect();
    let bits = exponent_bits(n.precision());
    PowerTable::new(ring, &nth_residues(ring, &units), bits, STATISTICAL_WINDOW)
}

/// rⁿ mod n² for each r.
fn nth_residues(ring: &Ring, r: &[BoxedUint]) -> Elements {
    let n = ring.modulus(0);
    let bits = n.bits_precision();
    let residues = |r: &[BoxedUint]| {
        let zero = BoxedUint::zero_with_precision(bits);
        let digits: Vec<_> =
            r.iter().map(|r| Digits { low: r.clone(), high: zero.clone() }).collect();
        let bases = Zeroizing::new(ring.import(&digits));
        Zeroizing::new(power(ring, &bases.refs(), &[&n], bits, Lookup::Direct))
    };
    let parts: Vec<_> = r.par_chunks(LANES).map(residues).collect();
    let mut all = ring.empty();
    all.reserve(r.len());
    parts.iter().for_each(|part| all.append(part));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Choice;
    use crate::kernel::counting::Counters;
    use crate::oracle::{KEY, big, rng};
    use crate::{Ciphertext, OwnerNoise, SecretKey};
    use crypto_bigint::Resize;
    use gelu_core::SlotShape;
    use num_bigint_dig::BigUint;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;
    use rand_core::Rng;
    use std::sync::Arc;

    #[derive(Clone, Copy, Debug)]
    enum Maker {
        Public(Noise),
        Owner(OwnerNoise),
    }

    const MAKERS: [Maker; 6] = [
        Maker::Public(Noise::Uniform),
        Maker::Public(Noise::Statistical),
        Maker::Public(Noise::HalfExponent),
        Maker::Public(Noise::FastExponent),
        Maker::Owner(OwnerNoise::SmallPrimes),
        Maker::Owner(OwnerNoise::Uniform),
    ];

    fn values(maker: Maker, count: usize, rng: &mut ChaCha20Rng) -> Vec<BigUint> {
        let public = KEY.public_key();
        let mut rngs: Vec<_> =
            (0..count).map(|_| ChaCha20Rng::seed_from_u64(rng.next_u64())).collect();
        let noise = match maker {
            Maker::Public(noise) => {
                public.prepare_seals();
                public.noise(noise, count).make(&mut rngs)
            }
            Maker::Owner(noise) => KEY.owner().noise(noise, public.ring(), &mut rngs),
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

    /// 2048 and 4096 bits by name: with fewer bases, keys of many factors see through the noise.
    #[test]
    fn there_is_a_base_for_every_digit() {
        assert_eq!([512, 1024, 2048, 3072, 4096].map(bases), [107, 192, 363, 534, 704]);
        for bits in [2048, 3072, 4096] {
            let (b, k) = (f64::from(bases(bits)), f64::from(bits / 16));
            let order = |d: u32| {
                let rest = f64::from((64 % d) * (d - 64 % d)) / 4096.0;
                (k - b) * f64::from(d).log2() + b * (1.0 + rest).log2()
            };
            let sum: f64 = (2..64).map(|d| order(d).exp2()).sum();
            assert!(sum < (-234f64).exp2(), "{bits}: {}", sum.log2());
            assert!(6 * bases(bits) >= bits + SURPLUS_BITS);
        }
    }

    /// What [`break_even`] says of products is what the kernel is asked for; more bases cost no seal
    /// anything.
    #[test]
    fn products_are_counted_and_do_not_depend_on_the_bases() {
        let n = KEY.public_key().mod_n();
        let counters = Arc::new(Counters::default());
        let ring = Ring::counted(n.value(), Choice::Best, Arc::clone(&counters)).unwrap();
        let take = || {
            counters.products.swap(0, Ordering::Relaxed)
                + counters.squares.swap(0, Ordering::Relaxed)
        };
        take();
        let uniform = uniform_products(512);
        let three = BoxedUint::from(3u8).resize_unchecked(512);
        nth_residues(&ring, &[(); 8].map(|()| three.clone()));
        assert_eq!(take(), 8 * uniform);
        for bases in [64, bases(512)] {
            let table = statistical(n, &ring, bases);
            if bases == super::bases(512) {
                assert_eq!(take(), u64::from(bases) * (uniform + 64), "set-up");
            }
            take();
            let mut rngs: Vec<_> = (0..8).map(rng).collect();
            table.random_products(&ring, &mut rngs);
            assert_eq!(take(), 8 * (u64::from(super::bases(512)) - 1), "eight seals");
        }
        assert_eq!([512, 2048, 4096].map(break_even), [141, 436, 832]);
    }

    /// Made and asked for, in idle time too.
    #[test]
    fn a_table_is_built_when_it_pays() {
        let key = SecretKey::insecure_generate(512, &mut rng(31)).unwrap();
        let public = key.public_key();
        let seal = |count: usize| {
            let pairs = vec![(one(public), SLOT); count];
            public.rerandomize_with(Noise::Statistical, &pairs, &mut rng(1));
            public.tables().seals.get().is_some()
        };
        assert!(!seal(0) && !seal(9));
        public.precompute_seals(0, &mut rng(2));
        assert!(public.tables().seals.get().is_none(), "16 of 141 / 8: in full lanes");
        public.precompute_seals(1, &mut rng(2));
        assert!(public.tables().seals.get().is_some(), "idle time counts");
    }

    /// Room for one table: the second key waits until the first is gone.
    #[test]
    fn tables_share_a_budget() {
        let keys = [41, 42].map(|seed| SecretKey::insecure_generate(512, &mut rng(seed)).unwrap());
        let [first, second] = keys.each_ref().map(|key| key.public_key().clone());
        drop(keys);
        let bytes = PowerTable::bytes(first.ring(), 640, STATISTICAL_WINDOW);
        let budget: &'static Budget = Box::leak(Box::new(Budget::new(2 * bytes - 1)));
        let table = |key: &PublicKey| key.seal_table(141, budget).is_some();
        assert!(table(&first) && table(&first), "built once");
        assert!(!table(&second), "no room");
        drop(first);
        assert!(table(&second), "given back");
    }

    const SLOT: SlotShape = SlotShape { bits: 32, count: 1 };

    fn one(public: &PublicKey) -> Ciphertext {
        Ciphertext::new(public, public.ring().one(0))
    }
}
