//! Packing: many answers with few outputs each become one answer with many.
//!
//! An answer costs a whole c₁, however few of its coefficients are outputs. Where the outputs of two answers A and B are the
//! coefficients of multiples of X^(2h), one answer can carry both:
//!
//! ```text
//! merge(A, B) = A + X^h·B + σ(A − X^h·B)        σ: X → X^(1 + N/h), so X^(2h) → X^(2h) and X^h → −X^h
//!
//! coefficient of      2·h·j         2·h·j + h        others
//! is that of          2·A at 2·h·j  2·B at 2·h·j     unused
//! ```
//! (Chen, Dai, Kim and Song, *Efficient homomorphic conversion between (ring) LWE ciphertexts*, ACNS 2021, algorithm 2.) L
//! levels of it, for h = M/2, M/4, …, M/2^L, put answer number i of 2^L at i·M/2^L, times 2^L: so all are multiplied by
//! 2^−L modulo the modulus before, and no bit of a plaintext is lost.
//!
//! # Switching keys
//! σ(A) is a ciphertext under σ(s). Two of the primes of q are used for what is packed, Q = q₀·q₁, and the other two, P, for
//! the change back to s. With k₁ = uniform(seed), the client makes one key for each h, once:
//!
//! ```text
//! k₀ = −k₁·s + e + P·σ(s)   modulo P·Q          (c₀, c₁) under σ(s)  →  (c₀, 0) + (c₁·k₀, c₁·k₁)/P under s
//! ```
//! for the centred c₁. That adds noise (c₁·e)/P and that of rounding, [`noise`] at most for all levels together.
//!
//! # Security
//! *The client's values.* k₀ says something about s under s itself: beside ring-LWE, this takes the assumption that such an
//! encryption is as good as any other (circular security), as all schemes with rotations do.
//!
//! *The server's weights.* Answers are packed after they were hidden and flooded, and with all coefficients of c₀ that are no
//! outputs set to 0. So what is sent follows from what could be sent unpacked, and from the client's keys: a client could have
//! packed by itself. That holds for keys of any kind, so nothing has to be proven of these. (A bad k₀ reads c₁ of an answer, which
//! says nothing: `attack` tries it.)

use gelu_core::error::PeerMisbehaved;
use gelu_ring::sample::{self, ERROR_BOUND, Seed, Small};
use gelu_ring::{
    Automorphism, Basis, Coefficients, Conversion, Division, Evaluations, Modulus, Poly,
};
use rand_core::CryptoRng;

use crate::parameters::{Parameters, bits_of};

/// c₀ and c₁ of an answer.
pub(crate) type Pair = [Poly<Coefficients>; 2];

/// The same modulo Q.
type Switched = [Poly<Evaluations>; 2];

/// What is packed is modulo this many primes fewer.
const SPECIAL: usize = 2;

/// The switching keys of a client.
pub(crate) struct Packing {
    /// Q.
    lower: Basis,
    /// From Q to P.
    up: Conversion,
    /// By P.
    division: Division,
    /// Those for h = 1, 2, 4, ….
    keys: Vec<Key>,
}

/// What one h needs.
struct Key {
    sigma: Automorphism,
    /// X^h, modulo Q.
    shift: Poly<Evaluations>,
    k0: Poly<Evaluations>,
    k1: Poly<Evaluations>,
}

/// For the part k₁ of key number `level` of a seed.
fn index(level: u32) -> u64 {
    // Just below that of a public key; uploads take the lowest one.
    u64::MAX - 1 - u64::from(level)
}

/// How many primes Q has: they come first, those of P after them.
fn kept(basis: &Basis) -> usize {
    basis.moduli().len() - SPECIAL
}

/// Noise of `levels` levels in units of P·Q, rounding to Q included: at most.
///
/// ```text
/// (2^L − 1)·P·(N·E/2·Q/P + 0.51·(N + 1)) + P·0.51·(N + 1)
/// ```
pub(crate) fn noise(basis: &Basis, levels: u32) -> f64 {
    if levels == 0 {
        return 0.0;
    }
    let (all, lower) = (bits_of(basis), bits_of(&basis.part(0..kept(basis))));
    let (n, special) = (basis.degree() as f64, (all - lower).exp2());
    let rounding = 0.51 * (n + 1.0);
    let switch = n * f64::from(ERROR_BOUND) / 2.0 * (2.0 * lower - all).exp2() + rounding;
    special * ((f64::from(levels).exp2() - 1.0) * switch + rounding)
}

impl Packing {
    /// Fresh keys for a secret.
    pub(crate) fn generate(
        parameters: &Parameters,
        seed: &Seed,
        secret: &Poly<Evaluations>,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let basis = parameters.basis();
        let primes = basis.moduli().skip(kept(basis)).map(|q| i128::from(q.value()));
        // Two primes below 2^50.
        let special = basis.residues(primes.product());
        Self::of(parameters, seed, |sigma, k1| {
            let mut k0 = sigma.apply(secret);
            k0.scale(&special);
            k0 -= &(k1 * secret);
            k0 += &Small::error(basis.degree(), rng).evaluations(basis);
            Ok(k0)
        })
        .expect("no key is refused")
    }

    /// Those whose k₀ a peer has sent, one after the other.
    pub(crate) fn read(
        parameters: &Parameters,
        seed: &Seed,
        bytes: &[u8],
    ) -> Result<Self, PeerMisbehaved> {
        let (basis, invalid) = (parameters.basis(), PeerMisbehaved::InvalidKey("its packing keys"));
        let mut parts = bytes.chunks(Poly::<Evaluations>::bytes_len(basis));
        Self::of(parameters, seed, |_, _| {
            let bytes = parts.next().ok_or(invalid.clone())?;
            Poly::from_bytes(basis, bytes).map_err(|_| invalid.clone())
        })
    }

    /// Those with the k₀ that `make` gives.
    fn of(
        parameters: &Parameters,
        seed: &Seed,
        mut make: impl FnMut(
            &Automorphism,
            &Poly<Evaluations>,
        ) -> Result<Poly<Evaluations>, PeerMisbehaved>,
    ) -> Result<Self, PeerMisbehaved> {
        let (basis, degree) = (parameters.basis(), parameters.degree());
        let (kept, all) = (kept(basis), basis.moduli().len());
        let lower = basis.part(0..kept);
        let key = |level| {
            let sigma = Automorphism::new(degree, 1 + (degree >> level));
            let k1 = sample::uniform(basis, seed, index(level));
            let shift = Poly::<Coefficients>::from_residues(&lower, |_, row| row[1 << level] = 1);
            Ok(Key { k0: make(&sigma, &k1)?, sigma, shift: shift.into_evaluations(), k1 })
        };
        let keys = (0..parameters.packing_levels()).map(key).collect::<Result<_, _>>()?;
        let up = Conversion::new(&lower, &basis.part(kept..all));
        Ok(Self { up, division: Division::new(basis, 0..kept), lower, keys })
    }

    /// All k₀.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Poly<Evaluations>> {
        self.keys.iter().map(|key| &key.k0)
    }

    /// Adds to one k₀: no honest owner does.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, level: usize, by: &Poly<Evaluations>) {
        self.keys[level].k0 += by;
    }

    /// Up to 2^`levels` answers modulo P·Q as one modulo Q. In the answers, outputs are at the multiples of `stride`; those of
    /// number i come to the same places and i·`stride`/2^`levels`. Each answer is made from its part when it is needed.
    ///
    /// # Panics
    /// When there are no answers or too many, or there is no key for a level.
    pub(crate) fn pack<T: Send>(
        &self,
        parts: Vec<T>,
        stride: usize,
        levels: u32,
        answer: impl Fn(T) -> Pair + Sync,
    ) -> Pair {
        assert!((1..=1 << levels).contains(&parts.len()), "{} answers to pack", parts.len());
        let inverse = |q: Modulus| q.inverse(q.reduce(1 << levels));
        let scale: Vec<_> = self.lower.moduli().map(inverse).collect();
        let leaf = |part| {
            answer(part).map(|x| {
                let divided = |x: Poly<Coefficients>, _| x.divide_by_last().expect("another prime");
                let mut rounded = (0..SPECIAL).fold(x, divided);
                rounded.scale(&scale);
                rounded.into_evaluations()
            })
        };
        self.merged(parts, stride >> levels, levels, &leaf).map(Poly::into_coefficients)
    }

    /// Even ones and odd ones, each packed by one level less, and then merged for h.
    fn merged<T: Send>(
        &self,
        mut parts: Vec<T>,
        h: usize,
        levels: u32,
        leaf: &(impl Fn(T) -> Switched + Sync),
    ) -> Switched {
        if levels == 0 {
            return leaf(parts.pop().expect("one for each leaf"));
        }
        let (mut even, mut odd) = (Vec::new(), Vec::new());
        for (i, part) in parts.into_iter().enumerate() {
            if i % 2 == 0 { &mut even } else { &mut odd }.push(part);
        }
        let half = |parts: Vec<T>| self.merged(parts, 2 * h, levels - 1, leaf);
        let (a, b) = rayon::join(|| half(even), || (!odd.is_empty()).then(|| half(odd)));
        self.merge(a, b, &self.keys[h.ilog2() as usize])
    }

    /// A + X^h·B + σ(A − X^h·B); without a B, for B = 0.
    fn merge(&self, mut a: Switched, b: Option<Switched>, key: &Key) -> Switched {
        let mut mapped = a.clone();
        if let Some(b) = b {
            for ((a, mapped), b) in a.iter_mut().zip(&mut mapped).zip(&b) {
                let shifted = b * &key.shift;
                *a += &shifted;
                *mapped -= &shifted;
            }
        }
        let [c0, c1] = mapped.map(|part| key.sigma.apply_to(part));
        let lifted = self.lifted(&c1);
        let [d0, d1] = self.division.quotients([&key.k0, &key.k1].map(|k| (&lifted * k, None)));
        a[0] += &c0;
        a[0] += &d0;
        a[1] += &d1;
        a
    }

    /// The centred x modulo Q, modulo P·Q.
    fn lifted(&self, x: &Poly<Evaluations>) -> Poly<Evaluations> {
        let special = self.up.exact(&x.clone().into_coefficients()).into_evaluations();
        let lower = self.lower.moduli().len();
        Poly::from_residues(self.keys[0].k0.basis(), |i, row| {
            row.copy_from_slice(match i.checked_sub(lower) {
                Some(i) => special.residues(i),
                None => x.residues(i),
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::key;
    use proptest::prelude::*;

    /// An answer of which the centred numbers modulo Q, times P, are the outputs at multiples of a stride; and garbage elsewhere.
    fn answer(secret: &Poly<Evaluations>, number: u64, outputs: &[(usize, i128)]) -> Pair {
        let basis = secret.basis();
        let c1 = sample::uniform(basis, &[9; 32], number);
        let masked = (&c1 * secret).into_coefficients();
        let moduli: Vec<_> = basis.moduli().collect();
        let special = moduli[2].value() as u128 * moduli[3].value() as u128;
        let c0 = Poly::from_residues(basis, |i, row| {
            for &(place, output) in outputs {
                let q = moduli[i];
                let output = q.mul(q.reduce_signed(output), q.reduce(special));
                row[place] = q.sub(output, masked.residues(i)[place]);
            }
        });
        [c0, c1.into_coefficients()]
    }

    /// c₀ + c₁·s modulo Q.
    fn phase(secret: &Poly<Evaluations>, [c0, c1]: Pair) -> Poly<Coefficients> {
        let secret = secret.part(0..kept(secret.basis()));
        let mut phase = (&c1.into_evaluations() * &secret).into_coefficients();
        phase += &c0;
        phase
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn packed_answers_have_all_outputs(
            level in 1u32..=7, spare in 0u32..3, missing in 0usize..64, seed: u64,
        ) {
            let (secret, _) = key(8192, 4);
            let (stride, levels) = (1usize << level, level.saturating_sub(spare).max(1));
            let count = (1usize << levels).saturating_sub(missing).max(1);
            let output = |i: usize, place: usize| {
                let word = (seed ^ (i << 20 | place) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                i128::from(word.cast_signed()) << 20
            };
            let answers = (0..count).map(|i| {
                let places = (0..8192).step_by(stride);
                let outputs: Vec<_> = places.map(|place| (place, output(i, place))).collect();
                answer(secret.secret(), seed ^ i as u64, &outputs)
            });
            let basis = secret.parameters().basis();
            let packing = secret.public_key().packing();
            let packed = packing.pack(answers.collect(), stride, levels, |answer| answer);
            let packed = phase(secret.secret(), packed);
            let integers = packed.integers().expect("Q has 92 bits");
            let bound = noise(basis, levels) / (bits_of(basis) - bits_of(packed.basis())).exp2();
            let mut largest = 0.0f64;
            for i in 0..count {
                for place in (0..8192).step_by(stride) {
                    let got = integers[place + i * (stride >> levels)];
                    largest = largest.max((got - output(i, place)).unsigned_abs() as f64);
                }
            }
            prop_assert!(largest <= bound, "noise {largest}, at most {bound}");
            // The bound is that of the worst case; without any noise, the test would not have looked at keys.
            prop_assert!(largest > bound / 1000.0, "noise {largest}, at most {bound}");
        }
    }

    #[test]
    fn keys_of_packing_are_there_for_the_larger_ring_and_checked() {
        assert_eq!(key(4096, 4).0.public_key().packing().parts().count(), 0);
        let (secret, _) = key(8192, 4);
        let (parameters, public) = (secret.parameters(), secret.public_key());
        let bytes: Vec<_> = public.packing().parts().flat_map(Poly::to_bytes).collect();
        let read = |bytes: &[u8]| Packing::read(parameters, &[0; 32], bytes);
        assert!(read(&bytes).unwrap().parts().eq(public.packing().parts()));
        let refused = |bytes: &[u8]| read(bytes).err().unwrap();
        let error = PeerMisbehaved::InvalidKey("its packing keys");
        assert_eq!(refused(&bytes[1..]), error);
        // 46 bits that are all 1 are above any prime.
        let one = bytes.len() / 7;
        for at in [0, one, bytes.len() - 6] {
            let mut wrong = bytes.clone();
            wrong[at..at + 6].fill(0xff);
            assert_eq!(refused(&wrong), error, "byte {at}");
        }
    }
}
