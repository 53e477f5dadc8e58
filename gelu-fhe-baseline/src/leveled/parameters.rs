//! The numbers of the scheme, and the level of security that they give.
//!
//! | letter | meaning | here |
//! | --- | --- | --- |
//! | N | degree of X^N + 1, and slots of a plaintext | 8192 |
//! | q = q₀·q₁·… | ciphertext modulus, one prime a *limb* | 2 to 4 limbs of about 54 bits |
//! | t₁, t₂, … | plaintext moduli, primes = 1 mod 2N | two, each half as wide as the result |
//! | s | secret, uniform in {−1, 0, 1}^N | |
//! | e | errors, centred binomial of 2·21 coins | σ = √10.5 = 3.24 |
//!
//! The circuit is evaluated once modulo each t; the client puts the residues together by the
//! Chinese remainder theorem, as CryptoNets does. All t share one q, one secret and one key.
//!
//! # Security
//! 128 bits against classical attacks as the Homomorphic Encryption Standard (2018, table 1, ternary
//! secrets) counts them: log₂ q may be at most 218 for N = 8192, and σ at least 3.19. It is checked
//! at construction; every limb that a circuit does not need is left out and adds to the margin.

use std::sync::Arc;

use fhe_math::ntt::NttOperator;
use fhe_math::rns::ScalingFactor;
use fhe_math::rq::scaler::Scaler;
use fhe_math::rq::{Context, Poly, Representation};
use fhe_math::zq::Modulus;
use fhe_math::zq::primes::generate_prime;
use gelu_core::error::{ApiMisuse, Error, RangeError, Result};

use super::layers::Layers;
use super::moduli::{MODULUS_BITS, extension, modulus_bits};
use super::noise::{self, Budget};
use crate::Circuit;

/// (N, the most bits of q) for 128 bits of security with ternary secrets: Homomorphic Encryption
/// Standard, table 1, classical attacks.
pub const SECURITY_128: [(usize, u32); 6] =
    [(1024, 27), (2048, 54), (4096, 109), (8192, 218), (16384, 438), (32768, 881)];

/// Bits of a limb of q: four of them stay below 218 bits.
const LIMB_BITS: u32 = 54;

/// The most limbs, for any degree in [`SECURITY_128`].
const MAX_LIMBS: usize = 16;

/// The parameters of one circuit: see the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

struct Inner {
    degree: usize,
    secure: bool,
    plaintexts: Vec<PlaintextModulus>,
    levels: Vec<Level>,
}

/// A plaintext modulus t, and the transform between slots and polynomials modulo t.
pub(super) struct PlaintextModulus {
    pub(super) modulus: Modulus,
    pub(super) slots: NttOperator,
}

/// What is computed with `limbs` limbs.
pub(super) struct Level {
    pub(super) context: Arc<Context>,
    /// x mod q to x mod the extended basis (q and some more primes), x centred.
    pub(super) extend: Scaler,
    /// For each t: x mod the extended basis to round(t·x/q) mod q.
    pub(super) reduce: Vec<Scaler>,
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
    /// [`RangeError::Slot`] naming the last layer when its values do not fit the moduli (of 60 bits
    /// at most); [`ApiMisuse::Configuration`] naming the layer where the noise would reach the
    /// message although q is as large as security allows, or a `degree` or `count` out of range.
    pub fn for_circuit_with_degree(circuit: &Circuit, count: usize, degree: usize) -> Result<Self> {
        let needs = circuit.requirements();
        let last = needs.last().expect("a circuit has a step");
        // From 2^(log₂ N + 4) on there are primes = 1 mod 2N of every length that is tried here.
        let least = degree.trailing_zeros() + 4;
        let bits = (last.bits + 1).div_ceil(u32::try_from(count.max(1)).unwrap_or(1)).max(least);
        if count == 0 || bits > 60 || bits as usize * count > 126 {
            let available = 60.min(126 / u32::try_from(count.max(1)).unwrap_or(126));
            let available = available * u32::try_from(count).unwrap_or(0) - u32::from(count > 0);
            let (layer, needed) = (last.step.clone(), last.bits);
            return Err(Error::Range(RangeError::Slot { layer, needed, available }));
        }
        let plaintexts = primes(bits, count, degree, &[])?;
        let most = most_bits(degree)?;
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
    /// [`ApiMisuse::Configuration`] when the moduli are not distinct primes = 1 mod 2N of at most 62
    /// bits, or log₂ q is beyond [`SECURITY_128`].
    pub fn new(degree: usize, moduli: &[u64], plaintexts: &[u64]) -> Result<Self> {
        let (bits, most) = (modulus_bits(moduli), most_bits(degree)?);
        if bits > f64::from(most) {
            let why = format!("has {bits:.1} bits; 128-bit security at N = {degree} allows {most}");
            return Err(misfit("q", why));
        }
        Self::build(degree, moduli, plaintexts, true)
    }

    /// Parameters without any security, for tests: `limbs` limbs of 54 bits at any small degree.
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
        let moduli = primes(LIMB_BITS, limbs, degree, &plaintexts)?;
        Self::build(degree, &moduli, &plaintexts, false)
    }

    fn build(degree: usize, moduli: &[u64], plaintexts: &[u64], secure: bool) -> Result<Self> {
        let all: Vec<_> = moduli.iter().chain(plaintexts).collect();
        let distinct = all.iter().enumerate().all(|(i, m)| !all[..i].contains(m));
        let sizes_fit = !moduli.is_empty() && !plaintexts.is_empty() && moduli.len() <= MAX_LIMBS;
        let narrow = all.iter().all(|&&m| m >> MODULUS_BITS == 0);
        let fits = distinct && sizes_fit && narrow && plaintexts.iter().all(|t| *t < moduli[0]);
        let product = plaintexts.iter().map(|&t| (t as f64).log2()).sum::<f64>();
        if !fits || product > 126.0 {
            let why = "must be distinct primes of at most 62 bits, each t below the first limb of \
                       q, the product of all t below 2^126";
            return Err(misfit("moduli", why.into()));
        }
        let plaintext = |&t: &u64| {
            let modulus = Modulus::new(t).ok()?;
            // `None` for what is no prime = 1 mod 2N.
            let slots = NttOperator::new(&modulus, degree)?;
            Some(PlaintextModulus { modulus, slots })
        };
        let Some(plaintext_moduli) = plaintexts.iter().map(plaintext).collect() else {
            return Err(misfit(
                "plaintext modulus",
                format!("must be a prime = 1 mod {}", 2 * degree),
            ));
        };
        let top = Context::new_arc(moduli, degree).map_err(|e| misfit("q", e.to_string()))?;
        // The contexts of one chain, so that polynomials which lost limbs are in one of them.
        let mut chain = vec![Arc::clone(&top)];
        let mut poly = Poly::zero(&top, Representation::PowerBasis);
        while poly.switch_down().is_ok() {
            chain.push(Arc::clone(poly.ctx()));
        }
        chain.reverse();
        let levels =
            chain.into_iter().map(|c| Level::new(c, plaintexts)).collect::<Result<Vec<_>>>()?;
        let inner = Inner { degree, secure, plaintexts: plaintext_moduli, levels };
        Ok(Self(Arc::new(inner)))
    }

    /// N: the slots of a ciphertext, so the samples of a batch.
    pub fn slots(&self) -> usize {
        self.0.degree
    }

    /// The limbs of q.
    pub fn moduli(&self) -> &[u64] {
        self.level(self.limbs()).context.moduli()
    }

    /// The plaintext moduli t₁, t₂, …
    pub fn plaintext_moduli(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.plaintexts.iter().map(|t| *t.modulus)
    }

    /// log₂ q.
    pub fn modulus_bits(&self) -> f64 {
        modulus_bits(self.moduli())
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

    pub(super) fn plaintext(&self, index: usize) -> &PlaintextModulus {
        &self.0.plaintexts[index]
    }

    pub(super) fn budget(&self) -> Budget {
        let bits = self.plaintext_moduli().max().expect("at least one").ilog2() + 1;
        Budget::new(self.0.degree, self.moduli(), bits)
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
    fn new(context: Arc<Context>, plaintexts: &[u64]) -> Result<Self> {
        let bug = |e: fhe_math::Error| misfit("q", e.to_string());
        let moduli = context.moduli();
        let degree = degree_of(&context);
        let (count, _) = extension(degree, moduli);
        let mut extended = moduli.to_vec();
        extended.extend(primes(MODULUS_BITS, count, degree, moduli)?);
        let extended = Context::new_arc(&extended, degree).map_err(bug)?;
        let extend = Scaler::new(&context, &extended, ScalingFactor::one()).map_err(bug)?;
        let reduce = plaintexts
            .iter()
            .map(|&t| {
                Scaler::new(&extended, &context, ScalingFactor::new(&t.into(), context.modulus()))
            })
            .collect::<core::result::Result<_, _>>()
            .map_err(bug)?;
        let delta = plaintexts.iter().map(|&t| {
            let plain = Modulus::new(t).expect("checked");
            let q_mod_t = moduli.iter().fold(1, |q, &limb| plain.mul(q, plain.reduce(limb)));
            let operators = context.moduli_operators().iter();
            let inverse = |q: &Modulus| q.neg(q.inv(q.reduce(t)).expect("q is prime"));
            (q_mod_t, operators.map(inverse).collect())
        });
        let delta = delta.collect();
        Ok(Self { context, extend, reduce, delta })
    }
}

/// N of a context, which does not tell by itself.
fn degree_of(context: &Arc<Context>) -> usize {
    Poly::zero(context, Representation::PowerBasis).coefficients().ncols()
}

pub(super) fn most_bits(degree: usize) -> Result<u32> {
    let found = SECURITY_128.iter().find(|(n, _)| *n == degree);
    let why = || format!("must be one of {:?}", SECURITY_128.map(|(n, _)| n));
    found.map(|&(_, bits)| bits).ok_or_else(|| misfit("N", why()))
}

/// Limbs whose product stays below 2^`most`: the lowest is 11 bits wider than t, because it alone
/// carries the answer, and the others have [`LIMB_BITS`] or what is left.
pub(super) fn limb_primes(
    limbs: usize,
    most: u32,
    degree: usize,
    plaintexts: &[u64],
) -> Option<Vec<u64>> {
    let widest = plaintexts.iter().max()?.ilog2() + 1;
    let lowest = (widest + 11).clamp(LIMB_BITS, MODULUS_BITS);
    let others = u32::try_from(limbs - 1).ok()?;
    let each = most.checked_sub(lowest)?.checked_div(others).unwrap_or(LIMB_BITS).min(LIMB_BITS);
    let mut moduli = primes(lowest, 1, degree, plaintexts).ok()?;
    let taken: Vec<_> = plaintexts.iter().chain(&moduli).copied().collect();
    moduli.extend(primes(each, limbs - 1, degree, &taken).ok()?);
    Some(moduli)
}

/// The largest `count` primes of `bits` bits that are 1 mod 2N and not taken.
pub(super) fn primes(bits: u32, count: usize, degree: usize, taken: &[u64]) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut below = 1u64.checked_shl(bits).unwrap_or(0);
    while found.len() < count {
        let next = generate_prime(bits as usize, 2 * degree as u64, below);
        let why = || format!("there are not {count} primes of {bits} bits = 1 mod {}", 2 * degree);
        below = next.ok_or_else(|| misfit("moduli", why()))?;
        if !taken.contains(&below) {
            found.push(below);
        }
    }
    Ok(found)
}

fn misfit(what: &str, why: String) -> Error {
    ApiMisuse::configuration(what, why).into()
}
