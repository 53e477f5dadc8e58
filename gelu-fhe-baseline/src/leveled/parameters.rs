//! The numbers of the scheme, and the level of security that they give.
//!
//! | letter | meaning | here |
//! | --- | --- | --- |
//! | N | degree of X^N + 1, and slots of a plaintext | 8192 |
//! | q = q₀·q₁·… | ciphertext modulus, one prime a *limb* | 2 to 4 limbs of 50 bits |
//! | p = p₀·p₁·… | what products are extended by: as many primes as q, of 50 bits | |
//! | t₁, t₂, … | plaintext moduli, primes = 1 mod 2N | two, each half as wide as the result |
//! | s | secret, uniform in {−1, 0, 1}^N | |
//! | e | errors, centred binomial of 2·21 coins | σ = √10.5 = 3.24 |
//!
//! The circuit is evaluated once modulo each t; the client puts the residues together by the
//! Chinese remainder theorem, as CryptoNets does. All t share one q, one secret and one key.
//!
//! # Security
//! 128 bits against classical attacks as the *Security guidelines for implementing homomorphic encryption*
//! (Bossuat et al., IACR ePrint 2024/463, ternary secrets) count them: log₂ q may be at most 214 for N = 8192, and σ at
//! least 3.19. (The standard of 2018 allowed 218.) It is checked at construction; every limb that a circuit does not
//! need is left out and adds to the margin. p is never the modulus of a ciphertext, so it does not count.

use std::sync::Arc;

use gelu_core::error::{ApiMisuse, Error, RangeError, Result};
use gelu_ring::basis::DEGREES;
use gelu_ring::limits::{self, SECURITY_128};
use gelu_ring::modulus::MAX_BITS;
use gelu_ring::{Basis, Conversion, Modulus};

use super::layers::Layers;
use super::noise::{self, Budget, modulus_bits};
use crate::Circuit;

/// The most limbs, for any degree in [`SECURITY_128`].
const MAX_LIMBS: usize = 16;

/// The parameters of one circuit: see the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

struct Inner {
    degree: usize,
    secure: bool,
    /// ℤ_t\[X\], for each t: between slots and polynomials.
    plaintexts: Vec<Basis>,
    /// All t together: what residues are put together by.
    product: Basis,
    levels: Vec<Level>,
}

/// What is computed with `limbs` limbs.
pub(super) struct Level {
    /// q.
    pub(super) basis: Basis,
    /// p, by which products are extended.
    pub(super) extension: Basis,
    /// From q to p.
    pub(super) extend: Conversion,
    /// From p to q.
    pub(super) back: Conversion,
    /// For each t: q mod t, and −1/t modulo each limb.
    pub(super) delta: Vec<(u64, Vec<u64>)>,
}

impl Parameters {
    /// The least parameters for which `circuit` is exact with `count` plaintext moduli, N = 8192.
    ///
    /// # Errors
    /// As [`for_circuit_with_degree`](Self::for_circuit_with_degree).
    pub fn for_circuit(circuit: &Circuit, count: usize) -> Result<Self> {
        Self::for_circuit_with_degree(circuit, count, 8192)
    }

    /// The least parameters for which `circuit` is exact, with `count` plaintext moduli.
    ///
    /// Only the last layer's width counts: before it, values may wrap around modulo t₁·t₂·…,
    /// because rings do not mind.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the last layer when its values do not fit the moduli (of 50 bits
    /// at most); [`ApiMisuse::Configuration`] naming the layer where the noise would reach the
    /// message although q is as large as security allows, or a `degree` or `count` out of range.
    pub fn for_circuit_with_degree(circuit: &Circuit, count: usize, degree: usize) -> Result<Self> {
        let most = most_bits(degree)?;
        let needs = circuit.requirements();
        let last = needs.last().expect("a circuit has a step");
        // From 2^(log₂ N + 4) on there are primes = 1 mod 2N of every length that is tried here.
        let least = degree.trailing_zeros() + 4;
        let bits = (last.bits + 1).div_ceil(u32::try_from(count.max(1)).unwrap_or(1)).max(least);
        if count == 0 || bits > MAX_BITS || bits as usize * count > 126 {
            let available = MAX_BITS.min(126 / u32::try_from(count.max(1)).unwrap_or(126));
            let available = available * u32::try_from(count).unwrap_or(0) - u32::from(count > 0);
            let (layer, needed) = (last.step.clone(), last.bits);
            return Err(Error::Range(RangeError::Slot { layer, needed, available }));
        }
        let plaintexts = primes(bits, count, degree, &[])?;
        let layers = Layers::of(circuit)?;
        let mut refusal = None;
        for limbs in 1..=MAX_LIMBS {
            let Some(moduli) = limb_primes(limbs, most, degree, &plaintexts) else { break };
            let budget = Budget::new(degree, &moduli, bits);
            match noise::plan(&layers, &budget) {
                Ok(_) => return Self::new(degree, &moduli, &plaintexts),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| misfit("N", "is too small for a limb".into())))
    }

    /// Parameters of one's own choice.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when the moduli are not distinct primes = 1 mod 2N of at most 50
    /// bits, or log₂ q is beyond [`SECURITY_128`].
    pub fn new(degree: usize, moduli: &[u64], plaintexts: &[u64]) -> Result<Self> {
        let (bits, most) = (modulus_bits(moduli), most_bits(degree)?);
        if bits > f64::from(most) {
            let why = format!("has {bits:.1} bits; 128-bit security at N = {degree} allows {most}");
            return Err(misfit("q", why));
        }
        Self::build(degree, moduli, plaintexts, true)
    }

    /// Parameters without any security, for tests: `limbs` limbs of 50 bits at any degree of
    /// `gelu-ring`.
    ///
    /// # Errors
    /// As [`new`](Self::new), security aside.
    pub fn danger_insecure(
        degree: usize,
        limbs: usize,
        plaintext_bits: u32,
        count: usize,
    ) -> Result<Self> {
        let plaintexts = primes(plaintext_bits, count, degree, &[])?;
        let moduli = primes(MAX_BITS, limbs, degree, &plaintexts)?;
        Self::build(degree, &moduli, &plaintexts, false)
    }

    fn build(degree: usize, moduli: &[u64], plaintexts: &[u64], secure: bool) -> Result<Self> {
        let count = moduli.len();
        let fits = (1..=MAX_LIMBS).contains(&count) && !plaintexts.is_empty();
        if !fits
            || modulus_bits(plaintexts) >= 126.0
            || plaintexts.iter().any(|t| moduli.contains(t))
        {
            let why = format!(
                "must be 1 to {MAX_LIMBS} limbs of q, and at least one t, none of them a limb and their product below \
                 2^126"
            );
            return Err(misfit("moduli", why));
        }
        let basis = |what: &str, primes: &[u64]| {
            Basis::new(degree, primes).map_err(|e| misfit(what, e.to_string()))
        };
        let product = basis("plaintext moduli", plaintexts)?;
        let plain = plaintexts.iter().map(|&t| basis("plaintext modulus", &[t]));
        let plain: Vec<_> = plain.collect::<Result<_>>()?;
        let extension = primes(MAX_BITS, count, degree, moduli)?;
        let (mut q, mut p) = (basis("q", moduli)?, basis("p", &extension)?);
        let mut levels = vec![Level::new(q.clone(), p.clone(), &plain)];
        while let Some((lower_q, lower_p)) = q.without_last().zip(p.without_last()) {
            (q, p) = (lower_q, lower_p);
            levels.push(Level::new(q.clone(), p.clone(), &plain));
        }
        levels.reverse();
        Ok(Self(Arc::new(Inner { degree, secure, plaintexts: plain, product, levels })))
    }

    /// N: the slots of a ciphertext, so the samples of a batch.
    pub fn slots(&self) -> usize {
        self.0.degree
    }

    /// The limbs of q.
    pub fn moduli(&self) -> Vec<u64> {
        self.top().basis.moduli().map(Modulus::value).collect()
    }

    /// The plaintext moduli t₁, t₂, …
    pub fn plaintext_moduli(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.plaintexts.iter().map(|t| modulus_of(t).value())
    }

    /// log₂ q.
    pub fn modulus_bits(&self) -> f64 {
        modulus_bits(&self.moduli())
    }

    /// Bits of security, classical: 128, or 0 for [insecure](Self::danger_insecure) parameters.
    pub fn security_bits(&self) -> u32 {
        if self.0.secure { 128 } else { 0 }
    }

    pub(super) fn limbs(&self) -> usize {
        self.0.levels.len()
    }

    /// The level with that many limbs, from 1.
    pub(super) fn level(&self, limbs: usize) -> &Level {
        &self.0.levels[limbs - 1]
    }

    /// The level of fresh ciphertexts.
    pub(super) fn top(&self) -> &Level {
        self.level(self.limbs())
    }

    /// ℤ_t\[X\] for t number `index`.
    pub(super) fn plaintext(&self, index: usize) -> &Basis {
        &self.0.plaintexts[index]
    }

    /// All t together.
    pub(super) fn plaintext_product(&self) -> &Basis {
        &self.0.product
    }

    /// t number `index`.
    pub(super) fn plaintext_modulus(&self, index: usize) -> Modulus {
        modulus_of(&self.0.plaintexts[index])
    }

    /// The limbs of answers: as few as the noise of dropping the others allows.
    pub(super) fn answer_limbs(&self) -> usize {
        self.budget().answer_limbs()
    }

    pub(super) fn budget(&self) -> Budget {
        let bits = self.plaintext_moduli().max().expect("at least one").ilog2() + 1;
        Budget::new(self.0.degree, &self.moduli(), bits)
    }
}

impl core::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Parameters")
            .field("degree", &self.0.degree)
            .field("moduli", &self.moduli())
            .field("plaintext_moduli", &self.plaintext_moduli().collect::<Vec<_>>())
            .field("security_bits", &self.security_bits())
            .finish()
    }
}

impl Level {
    fn new(basis: Basis, extension: Basis, plaintexts: &[Basis]) -> Self {
        let (extend, back) =
            (Conversion::new(&basis, &extension), Conversion::new(&extension, &basis));
        let delta = plaintexts.iter().map(|plaintext| {
            let t = modulus_of(plaintext);
            let q_mod_t = t.product(basis.moduli());
            let inverse = |q: Modulus| q.neg(q.inverse(q.reduce(t.value().into())));
            (q_mod_t, basis.moduli().map(inverse).collect())
        });
        let delta = delta.collect();
        Self { basis, extension, extend, back, delta }
    }
}

/// t of ℤ_t\[X\].
fn modulus_of(plaintext: &Basis) -> Modulus {
    plaintext.moduli().next().expect("a basis has a prime")
}

pub(super) fn most_bits(degree: usize) -> Result<u32> {
    let why = || format!("must be one of {:?}", SECURITY_128.map(|(n, _)| n));
    limits::most_bits(degree).ok_or_else(|| misfit("N", why()))
}

/// Limbs of at most 50 bits whose product stays below 2^`most`.
pub(super) fn limb_primes(
    limbs: usize,
    most: u32,
    degree: usize,
    plaintexts: &[u64],
) -> Option<Vec<u64>> {
    let bits = (most / u32::try_from(limbs).ok()?).min(MAX_BITS);
    primes(bits, limbs, degree, plaintexts).ok()
}

/// The largest `count` primes of `bits` bits that are 1 mod 2N and not taken.
pub(super) fn primes(bits: u32, count: usize, degree: usize, taken: &[u64]) -> Result<Vec<u64>> {
    if !degree.is_power_of_two() || !DEGREES.contains(&degree) || bits > MAX_BITS {
        let why = format!(
            "of {bits} bits at degree {degree}: take at most {MAX_BITS} bits, at 2^11 to 2^16"
        );
        return Err(misfit("moduli", why));
    }
    let found = gelu_ring::primes::descending(bits, degree)
        .take_while(|q| q.bits() == bits)
        .map(Modulus::value)
        .filter(|q| !taken.contains(q));
    let found: Vec<_> = found.take(count).collect();
    if found.len() < count {
        let why = format!("there are not {count} primes of {bits} bits = 1 mod {}", 2 * degree);
        return Err(misfit("moduli", why));
    }
    Ok(found)
}

fn misfit(what: &str, why: String) -> Error {
    ApiMisuse::configuration(what, why).into()
}
