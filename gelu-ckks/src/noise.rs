//! How much noise there is, as numbers.
//!
//! All figures are standard deviations of a coefficient of the phase c₀ + c₁·s, for random coefficients modulo Q, ternary
//! secrets (of variance 2/3) and errors of variance σ² = 10.5. A slot of a polynomial with independent coefficients of
//! deviation d is a complex number of deviation d·√N, and is off by that over Δ. Tests hold all operations to six deviations.
//!
//! | what | variance of a coefficient | deviation in a slot, N = 2^13, Δ = 2^34 |
//! |---|---|---|
//! | encryption under the secret key | σ² | 2^-25.8 |
//! | encryption under the public key | σ²·(4/3·N + 1) | 2^-19.1 |
//! | rescaling, or division by P | (1 + 2/3·N)/12 | 2^-23.1 |
//! | switching keys | β·N·σ²·(D/P)²·k/12 + (1 + 2/3·N)/12 | 2^-22.6 |
//!
//! where β digits of k primes each are below D·√(k/12) in deviation. A product of x ± d and y ± e is off by d·|y| + e·|x|.

use crate::parameters::{Parameters, log2};

/// σ².
const ERROR: f64 = 10.5;

impl Parameters {
    /// Deviation of a coefficient's noise in a fresh encryption under the secret key.
    #[must_use]
    pub fn fresh_noise(&self) -> f64 {
        ERROR.sqrt()
    }

    /// The same under the public key.
    #[must_use]
    pub fn public_noise(&self) -> f64 {
        (ERROR * (4.0 / 3.0 * self.degree() as f64 + 1.0)).sqrt()
    }

    /// What a rescaling adds.
    #[must_use]
    pub fn rounding_noise(&self) -> f64 {
        ((1.0 + 2.0 / 3.0 * self.degree() as f64) / 12.0).sqrt()
    }

    /// What a rotation or a relinearisation adds, the division by P included.
    #[must_use]
    pub fn switching_noise(&self) -> f64 {
        let special: Vec<_> = self.special_primes().collect();
        let primes: Vec<_> = self.primes().collect();
        // D²/P² of each group: the first one is the widest.
        let groups = primes.chunks(self.group()).map(|group| {
            let ratio = (log2(group) - log2(&special)).exp2();
            ratio * ratio * group.len() as f64 / 12.0
        });
        let variance = self.degree() as f64 * ERROR * groups.sum::<f64>();
        (variance + self.rounding_noise().powi(2)).sqrt()
    }

    /// How far slots are off, six deviations, by noise of this deviation in each coefficient at a scale.
    #[must_use]
    pub fn slot_bound(&self, deviation: f64, scale: &crate::Scale) -> f64 {
        6.0 * deviation * (self.degree() as f64).sqrt() / scale.to_f64()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::shallow;

    #[test]
    fn the_table_has_the_figures() {
        let parameters = shallow();
        let bits = |deviation| (parameters.slot_bound(deviation, &parameters.scale()) / 6.0).log2();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 0.06, "{a} {b}");
        close(bits(parameters.fresh_noise()), -25.8);
        close(bits(parameters.public_noise()), -19.1);
        close(bits(parameters.rounding_noise()), -23.1);
        close(bits(parameters.switching_noise()), -22.6);
    }
}
