//! Keys made in bad faith: primes p for which discrete logarithms modulo p are easy.
//!
//! If p − 1 is a product of small primes, log y to base g modulo p is found prime by prime (Pohlig
//! and Hellman 1978): in the subgroup of ℓ elements by Shanks' baby and giant steps, √ℓ of each, and
//! the remainders are put together by the Chinese remainder theorem.

use std::collections::HashMap;

use num_bigint_dig::{BigUint, ModInverse};
use num_traits::{One, Zero};
use rand_core::Rng;

/// Prime factors of p − 1 are below this: logarithms in their subgroups take 64 steps.
const SMOOTH: u32 = 4096;

/// A prime p with p − 1 a product of distinct small primes.
#[derive(Debug, Clone)]
pub struct SmoothPrime {
    p: BigUint,
    /// Of p − 1.
    factors: Vec<u32>,
    generator: BigUint,
}

impl SmoothPrime {
    /// A prime of `bits` bits, the two top ones set, p − 1 without the factors in `avoid` (but 2).
    pub fn find(bits: usize, avoid: &[u32], rng: &mut dyn Rng) -> Self {
        let primes: Vec<u32> = small_primes().filter(|l| !avoid.contains(l)).collect();
        loop {
            let (mut product, mut factors) = (BigUint::from(2u8), vec![2]);
            while product.bits() + 11 < bits {
                let prime = primes[rng.next_u32() as usize % primes.len()];
                if !factors.contains(&prime) {
                    product *= prime;
                    factors.push(prime);
                }
            }
            let top = BigUint::from(3u8) << (bits - 2);
            let fits = |p: &BigUint| p.bits() == bits && *p >= top && is_prime(p);
            let last = primes.iter().filter(|last| !factors.contains(last));
            let found = last.map(|&last| (&product * last + 1u8, last)).find(|(p, _)| fits(p));
            if let Some((p, last)) = found {
                factors.push(last);
                let order = &p - 1u8;
                let generates =
                    |g: &BigUint| factors.iter().all(|&l| !g.modpow(&(&order / l), &p).is_one());
                let generator = (2u32..).map(BigUint::from).find(generates);
                let generator = generator.expect("the group is cyclic");
                return Self { p, factors, generator };
            }
        }
    }

    /// The prime.
    pub fn prime(&self) -> &BigUint {
        &self.p
    }

    /// The factors of p − 1.
    pub fn factors(&self) -> &[u32] {
        &self.factors
    }

    /// An element of order p − 1.
    pub fn generator(&self) -> &BigUint {
        &self.generator
    }

    /// The x below p − 1 with base^x = y modulo p; `None` if there is none. `base` must have order
    /// p − 1.
    pub fn logarithm(&self, base: &BigUint, y: &BigUint) -> Option<BigUint> {
        let mut bases = Vec::new();
        let mut values = Vec::new();
        self.project(&(base % &self.p), &self.factors, &mut bases);
        self.project(&(y % &self.p), &self.factors, &mut values);
        let (mut log, mut modulus) = (BigUint::zero(), BigUint::one());
        for ((&l, base), y) in self.factors.iter().zip(&bases).zip(&values) {
            let rest = self.small_logarithm(base, y, l)?;
            // The next number that is `log` modulo what we have and `rest` modulo l.
            let have = &log % l;
            let inverse = (&modulus % l).mod_inverse(BigUint::from(l))?.to_biguint()?;
            log += &modulus * ((BigUint::from(rest) + l - have) * inverse % l);
            modulus *= l;
        }
        Some(log)
    }

    /// x^((p−1)/l) for each factor l, where x has an order that divides the product of `factors`:
    /// halves of the factors are taken out together, which takes log₂ instead of all powers.
    fn project(&self, x: &BigUint, factors: &[u32], out: &mut Vec<BigUint>) {
        if let [_] = factors {
            out.push(x.clone());
            return;
        }
        let (left, right) = factors.split_at(factors.len() / 2);
        let without = |other: &[u32]| {
            let cofactor = other.iter().fold(BigUint::one(), |product, &l| product * l);
            x.modpow(&cofactor, &self.p)
        };
        self.project(&without(right), left, out);
        self.project(&without(left), right, out);
    }

    /// Shanks: y·base^j for the small steps, base^(k·steps) for the large ones.
    fn small_logarithm(&self, base: &BigUint, y: &BigUint, order: u32) -> Option<u32> {
        let steps = (1..).find(|s| s * s >= order).expect("a square is large enough");
        let mut baby = HashMap::new();
        let mut power = y.clone();
        for j in 0..steps {
            baby.insert(power.clone(), j);
            power = power * base % &self.p;
        }
        let stride = base.modpow(&BigUint::from(steps), &self.p);
        let mut giant = BigUint::one();
        for k in 1..=steps {
            giant = giant * &stride % &self.p;
            if let Some(j) = baby.get(&giant) {
                return Some((k * steps - j) % order);
            }
        }
        None
    }
}

/// The odd primes below [`SMOOTH`].
fn small_primes() -> impl Iterator<Item = u32> {
    let is_prime = |n: &u32| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (3..SMOOTH).filter(is_prime)
}

/// Fermat's test to a few bases; the library that imports the key tests again.
fn is_prime(p: &BigUint) -> bool {
    [2u8, 3, 5].iter().all(|&a| BigUint::from(a).modpow(&(p - 1u8), p).is_one())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn logarithms_are_found() {
        let rng = &mut ChaCha20Rng::seed_from_u64(4);
        let first = SmoothPrime::find(256, &[], rng);
        let second = SmoothPrime::find(256, first.factors(), rng);
        for prime in [&first, &second] {
            let (p, g) = (prime.prime(), prime.generator());
            assert_eq!(p.bits(), 256);
            let product = prime.factors().iter().fold(BigUint::one(), |x, &l| x * l);
            assert_eq!(product + 1u8, *p, "p − 1 is what it should be");
            for x in [BigUint::zero(), BigUint::one(), p - 2u8, p / 3u8] {
                assert_eq!(prime.logarithm(g, &g.modpow(&x, p)), Some(x));
            }
            assert_eq!(prime.logarithm(g, &BigUint::zero()), None);
        }
        let shared = first.factors().iter().filter(|l| second.factors().contains(l));
        assert_eq!(shared.collect::<Vec<_>>(), [&2]);
    }
}
