//! What the best known attacks on keys cost: an estimate, not an attack.
//!
//! Whoever finds s in b = a·s + e modulo q has the key. Over m of the N equations, (s·σₑ/σₛ, e, σₑ) is an unusually
//! short vector of a lattice of dimension d = N + m + 1 (Bai and Galbraith, ACISP 2014). Lattice reduction with blocks
//! of β finds it when
//!
//! ```text
//! σₑ·√β  ≤  δ^(2β−d−1) · (q^m · (σₑ/σₛ)^N)^(1/d)         δ = ((πβ)^(1/β)·β/(2πe))^(1/(2β−2))
//! ```
//!
//! (Alkim, Ducas, Pöppelmann and Schwabe, *Post-quantum key exchange*, USENIX Security 2016.) The price of a β has two
//! models:
//!
//! | model | log₂ of operations | |
//! |---|---|---|
//! | of the homomorphic encryption standard (2018) | 0.292·β + 16.4 + log₂ 8d | by it, limits of log₂ q are 128 bits |
//! | core-SVP | 0.292·β | one call of the best sieve, whose other costs and memory count nothing |
//!
//! This is the attack with one target, s as wide as it is; what the ring's structure could help is not known. Better
//! models differ by some bits: limits are taken from published tables, and this is to see that the tables were read
//! right.

use std::f64::consts::{E, PI};

/// A ring-LWE problem with one sample of N equations.
#[derive(Debug, Clone, Copy)]
pub struct Problem {
    /// N.
    pub degree: usize,
    /// log₂ q.
    pub modulus_bits: f64,
    /// σₛ.
    pub secret_deviation: f64,
    /// σₑ.
    pub error_deviation: f64,
}

/// What an attack takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// β.
    pub block: usize,
    /// log₂ of operations, by the model of the standard.
    pub bits: f64,
    /// log₂ of operations, by core-SVP.
    pub core_svp_bits: f64,
}

impl Problem {
    /// With the secrets and errors of `gelu-ring`: uniform in {−1, 0, 1}, and 21 coins against 21.
    #[must_use]
    pub fn ternary(degree: usize, modulus_bits: f64) -> Self {
        let error_deviation = (f64::from(gelu_ring::sample::ERROR_BOUND) / 2.0).sqrt();
        Self { degree, modulus_bits, secret_deviation: (2f64 / 3.0).sqrt(), error_deviation }
    }

    /// The least block with which the attack succeeds, and what that costs.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        // Larger blocks reduce better, so the first that does is found by halving.
        let blocks: Vec<usize> = (50..self.degree.max(100)).collect();
        let block = 50 + blocks.partition_point(|&block| !self.falls_to(block));
        let core_svp_bits = 0.292 * block as f64;
        let bits = core_svp_bits + 16.4 + (8.0 * self.dimension(block)).log2();
        Estimate { block, bits, core_svp_bits }
    }

    fn falls_to(&self, block: usize) -> bool {
        let (b, d, n) = (block as f64, self.dimension(block), self.degree as f64);
        let volume = (d - n - 1.0) * self.modulus_bits + n * self.scale();
        self.error_deviation.log2() + b.log2() / 2.0
            <= (2.0 * b - d - 1.0) * root_hermite(b) + volume / d
    }

    /// d for which the right side is largest, with no more equations than there are.
    fn dimension(&self, block: usize) -> f64 {
        let n = self.degree as f64;
        let best =
            (n * (self.modulus_bits - self.scale()) / root_hermite(block as f64)).sqrt().round();
        best.clamp(n + 2.0, 2.0 * n + 1.0)
    }

    /// log₂ of σₑ/σₛ.
    fn scale(&self) -> f64 {
        (self.error_deviation / self.secret_deviation).log2()
    }
}

/// log₂ δ.
fn root_hermite(block: f64) -> f64 {
    ((PI * block).log2() / block + (block / (2.0 * PI * E)).log2()) / (2.0 * block - 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_lattice::Parameters;
    use gelu_ring::limits::SECURITY_128;

    /// Core-SVP of the primal attack as the designers of Kyber give it, classical (round 3, table 4: 118, 182, 256).
    #[test]
    fn kyber_is_as_secure_as_published() {
        for (degree, deviation, published) in
            [(512, 1.5f64.sqrt(), 118.0), (768, 1.0, 182.0), (1024, 1.0, 256.0)]
        {
            let (secret_deviation, error_deviation) = (deviation, deviation);
            let modulus_bits = 3329f64.log2();
            let problem = Problem { degree, modulus_bits, secret_deviation, error_deviation };
            let bits = problem.estimate().core_svp_bits;
            assert!((bits - published).abs() < 1.5, "{bits} where {published} are published");
        }
    }

    #[test]
    fn the_table_of_limits_is_of_128_bits_and_not_of_many_more() {
        for (degree, most) in SECURITY_128 {
            let bits = Problem::ternary(degree, most.into()).estimate().bits;
            assert!((128.0..134.0).contains(&bits), "{degree}: {bits}");
        }
        // The standard's own limits of 2018 were 109 and 218.
        for (degree, most) in [(4096, 112.0), (8192, 224.0)] {
            assert!(Problem::ternary(degree, most).estimate().bits < 128.0);
        }
    }

    #[test]
    fn keys_of_both_rings_have_128_bits() {
        for (degree, bits, core) in [(4096, 133.4, 101.0), (8192, 154.6, 121.2)] {
            let parameters = Parameters::of_degree(degree).unwrap();
            let problem = Problem::ternary(parameters.degree(), parameters.modulus_bits());
            let estimate = problem.estimate();
            assert!(estimate.bits >= 128.0);
            assert!((estimate.bits - bits).abs() < 0.5, "{estimate:?}");
            assert!((estimate.core_svp_bits - core).abs() < 0.5, "{estimate:?}");
        }
    }
}
