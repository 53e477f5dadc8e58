//! One activation on a whole batch of slots: the unit by which the paper's table 1 compares.
//!
//! | polynomial | as integers, Z = 16·z | products | on top of each other |
//! | --- | --- | --- | --- |
//! | z² | Z² | 1 | 1 |
//! | 1/2 + z/4 − z³/48 + z⁵/480 | Z·(Y·(Y − 10·16²) + 120·16⁴) + 240·16⁵, Y = Z² | 3 | 3 |
//!
//! The second is the sigmoid's Taylor polynomial of fifth order, 480·16⁵ times as large. Inputs are
//! |z| ≤ 4 with 4 bits of fraction: beyond that the polynomial is nowhere near the sigmoid.

use std::time::{Duration, Instant};

use gelu_core::error::{ApiMisuse, Error, Result};
use gelu_ring::sample::Seed;
use rand::RngExt;
use rand_core::CryptoRng;

use super::evaluate::{Evaluator, LevelKey};
use super::noise::{Budget, MARGIN_BITS, Stage};
use super::parameters::{Parameters, limb_primes, most_bits, primes};
use super::scheme::{RelinearisationKey, SecretKey};
use super::wire;

/// 2⁴: the scale of the inputs.
const SCALE: i64 = 16;
/// Inputs are in ±64, so ±4.
const BOUND: i64 = 4 * SCALE;

/// An activation that a leveled scheme can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polynomial {
    /// z², the activation of CryptoNets.
    Square,
    /// 1/2 + z/4 − z³/48 + z⁵/480, the sigmoid's Taylor polynomial of fifth order.
    Taylor5,
}

/// What one activation costs, for all slots together.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationCost {
    /// N: the values that were computed at once.
    pub slots: usize,
    /// log₂ q.
    pub modulus_bits: f64,
    /// Bits of the one plaintext modulus.
    pub plaintext_bits: u32,
    /// The client's encryption, into bytes.
    pub encrypt: Duration,
    /// The server's evaluation, from bytes to bytes, on one core.
    pub evaluate: Duration,
    /// The client's decryption, from bytes.
    pub decrypt: Duration,
    /// Bytes from client to server.
    pub bytes_up: usize,
    /// Bytes from server to client.
    pub bytes_down: usize,
    /// Bytes of the key, once.
    pub key_bytes: usize,
}

/// Encrypts random values in all slots, evaluates the polynomial and compares every slot with the
/// exact integer.
///
/// # Errors
/// [`ApiMisuse::Configuration`] when the polynomial is too deep for 128 bits of security at `degree`
/// (8192 serves both); [`Error::Decryption`] if any slot were wrong.
pub fn measure_activation(
    polynomial: Polynomial,
    degree: usize,
    rng: &mut dyn CryptoRng,
) -> Result<ActivationCost> {
    let parameters = polynomial.parameters(degree)?;
    let secret = SecretKey::generate(&parameters, rng);
    let key = RelinearisationKey::generate(&secret, rng);
    let key_bytes = wire::key_to_bytes(&parameters, &key).len();
    let limbs = parameters.limbs();
    let keys: Vec<_> =
        (1..=limbs).map(|l| (l == limbs).then(|| LevelKey::new(&parameters, &key, l))).collect();
    let evaluator = Evaluator { parameters: &parameters, index: 0, keys: &keys };
    let values: Vec<_> = (0..degree).map(|_| rng.random_range(-BOUND..=BOUND)).collect();

    let seeds: [Seed; 2] = rng.random();
    let start = Instant::now();
    let query = wire::query_to_bytes(&parameters, 0, seeds[0], 1, |_| {
        use rand::SeedableRng;
        let mut rng = rand::rngs::ChaCha20Rng::from_seed(seeds[1]);
        secret.encrypt(0, &values, (seeds[0], 0), &mut rng)
    })?;
    let encrypt = start.elapsed();

    let start = Instant::now();
    let z = wire::query_from_bytes(&parameters, 0, 1, &query)?.remove(0);
    let mut result = match polynomial {
        Polynomial::Square => evaluator.multiply(&z, &z),
        Polynomial::Taylor5 => {
            let y = evaluator.multiply(&z, &z);
            let mut shifted = y.clone();
            shifted.add_constant(&parameters, 0, i128::from(-10 * SCALE.pow(2)));
            let mut inner = evaluator.multiply(&y, &shifted);
            inner.add_constant(&parameters, 0, i128::from(120 * SCALE.pow(4)));
            let mut result = evaluator.multiply(&z, &inner);
            result.add_constant(&parameters, 0, i128::from(240 * SCALE.pow(5)));
            result
        }
    };
    result.drop_to(parameters.answer_limbs());
    let answer = wire::answer_to_bytes(&parameters, 0, &[result]);
    let evaluate = start.elapsed();

    let start = Instant::now();
    let result = wire::answer_from_bytes(&parameters, 0, 1, &answer)?.remove(0);
    let slots = secret.decrypt(0, &result);
    let decrypt = start.elapsed();

    let t = parameters.plaintext_moduli().next().expect("one");
    let exact = |z: &i64| u64::try_from(polynomial.value(*z).rem_euclid(t.cast_signed()));
    if values.iter().map(exact).ne(slots.iter().map(|&s| Ok(s))) {
        return Err(Error::Decryption);
    }
    Ok(ActivationCost {
        slots: degree,
        modulus_bits: parameters.modulus_bits(),
        plaintext_bits: t.ilog2() + 1,
        encrypt,
        evaluate,
        decrypt,
        bytes_up: query.len(),
        bytes_down: answer.len(),
        key_bytes,
    })
}

impl Polynomial {
    /// The polynomial in its integers.
    fn value(self, z: i64) -> i64 {
        let y = z * z;
        match self {
            Self::Square => y,
            Self::Taylor5 => {
                let inner = y * (y - 10 * SCALE.pow(2)) + 120 * SCALE.pow(4);
                z * inner + 240 * SCALE.pow(5)
            }
        }
    }

    /// The fewest limbs for which the noise leaves the margin.
    fn parameters(self, degree: usize) -> Result<Parameters> {
        let most = (-BOUND..=BOUND).map(|z| self.value(z).abs()).max().expect("not empty");
        // Sign, and a prime that may be as small as half of its power of two.
        let bits = (most.ilog2() + 3).max(degree.max(1).ilog2() + 4);
        let plaintexts = primes(bits, 1, degree, &[])?;
        let secure = most_bits(degree)?;
        let fits = |moduli: &Vec<u64>| {
            let budget = Budget::new(degree, moduli, bits);
            let end = budget.dropped(self.noise(&budget), budget.answer_limbs());
            self.noise(&budget).margin >= MARGIN_BITS && end.margin >= MARGIN_BITS
        };
        let candidates =
            (1..=16).map_while(|limbs| limb_primes(limbs, secure, degree, &plaintexts));
        match candidates.into_iter().find(fits) {
            Some(moduli) => Parameters::new(degree, &moduli, &plaintexts),
            None => {
                let why = format!("{self:?} is too deep for {secure} bits of q");
                Err(ApiMisuse::configuration("N", why).into())
            }
        }
    }

    fn noise(self, budget: &Budget) -> Stage {
        let z = budget.fresh();
        let y = budget.product(z, z);
        match self {
            Self::Square => y,
            Self::Taylor5 => budget.product(z, budget.product(y, y)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn the_integers_are_the_polynomial() {
        for i in -BOUND..=BOUND {
            let z = i as f64 / SCALE as f64;
            let real = 0.5 + z / 4.0 - z.powi(3) / 48.0 + z.powi(5) / 480.0;
            let scaled = Polynomial::Taylor5.value(i) as f64 / (480.0 * 16f64.powi(5));
            assert!((real - scaled).abs() < 1e-12);
        }
    }

    #[test]
    fn both_are_exact_in_every_slot() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for polynomial in [Polynomial::Square, Polynomial::Taylor5] {
            let cost = measure_activation(polynomial, 8192, &mut rng).unwrap();
            assert!(cost.modulus_bits <= 214.0);
            println!("{polynomial:?}: {cost:?}");
        }
        assert!(measure_activation(Polynomial::Taylor5, 4096, &mut rng).is_err(), "106 bits of q");
    }
}
