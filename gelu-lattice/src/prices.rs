//! Prices: what operations cost, and so which layout is the cheapest.
//!
//! ```text
//! exchange = up·ciphertexts up + down·answers sealed + products·residue products/1024 + byte·bytes
//! ```

use std::time::{Duration, Instant};

use gelu_core::backend::{Backend, Direction, Layout, Sealed, Task};
use gelu_core::linear::{Dense, LinearMap};
use ndarray::Array2;
use rand_core::CryptoRng;

use crate::backend::Lattice;
use crate::keys::SecretKey;
use crate::layout::TileLayout;
use crate::parameters::Parameters;

/// What operations cost, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// An upload made and read.
    pub up: u64,
    /// An answer sealed, and opened if it comes down as it is.
    pub down: u64,
    /// 1024 products of residues.
    pub products: u64,
    /// A byte on the wire.
    pub byte: u64,
}

/// What a byte costs: 8 ns, which is 1 Gbit/s, in the smaller ring, as queries are to be answered soon; 80 ns, or 100 Mbit/s, in the
/// larger one, as trainings move gigabytes.
fn byte(parameters: &Parameters) -> u64 {
    if parameters.packing_levels() > 0 { 80 } else { 8 }
}

impl Prices {
    /// Those of one core of the reference machine (an EPYC with AVX-512 IFMA): of degree 4096 and three primes,
    /// measured, and growing with the residues.
    pub(crate) fn reference(parameters: &Parameters) -> Self {
        let residues = parameters.degree() * parameters.basis().moduli().len();
        let grown = |price: u64| price * residues as u64 / (3 * 4096);
        Self { up: grown(200_000), down: grown(300_000), products: 200, byte: byte(parameters) }
    }

    /// Those of this machine and all of its cores, in about `time`.
    ///
    /// # Panics
    /// When the key does not carry a small layer, which every key does.
    pub fn measured(secret: &SecretKey, time: Duration, rng: &mut dyn CryptoRng) -> Self {
        let linear = LinearMap::from(Dense::new(16, 16).expect("a small layer"));
        let (direction, batch) = (Direction::Forward, secret.parameters().degree());
        let (value_bits, weight_bits) = (30, 8);
        let task =
            Task { layer: "test", linear: &linear, direction, batch, value_bits, weight_bits };
        let layouts = Lattice::layouts(secret.public_key(), &task).expect("a small layer");
        // As many samples as coefficients: a ciphertext for each input and for each output.
        let layout = &layouts[0];
        let values = Array2::from_elem((16, batch), 7);
        let weights = layout.prepare(&linear, &[3; 256], None).expect("small weights");
        let public = secret.public_key();
        let mut best = [Duration::MAX; 3];
        let mut keep =
            |which: usize, start: Instant| best[which] = best[which].min(start.elapsed());
        let begin = Instant::now();
        while begin.elapsed() < time {
            let start = Instant::now();
            let up = layout.encrypt(secret, &linear, &values, rng).expect("small values");
            let inputs = layout.read(public, &up).expect("what was written");
            keep(0, start);
            let start = Instant::now();
            let answer = layout.evaluate(public, &weights, &inputs).expect("its own weights");
            keep(1, start);
            let start = Instant::now();
            let down = Sealed::seal::<Lattice, _>(layout, public, answer, rng).into_bytes();
            layout.decrypt(secret, &down).expect("what was written");
            keep(2, start);
        }
        let each = |time: Duration, count: u64| {
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / count.max(1)
        };
        Self {
            up: each(best[0], layout.ciphertexts_up() as u64),
            down: each(best[2], layout.ciphertexts_down() as u64),
            products: each(best[1], layout.residue_products() / 1024).max(1),
            byte: byte(secret.parameters()),
        }
    }

    /// What an exchange takes both parties and the wire together.
    pub(crate) fn of(&self, layout: &TileLayout) -> u64 {
        self.up * layout.ciphertexts_up() as u64
            + self.down * layout.seals() as u64
            + self.products * layout.residue_products() / 1024
            + self.byte * Layout::<Lattice>::cost(layout).bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Cryptosystem;

    #[test]
    fn prices_are_measured_in_the_time_that_was_given() {
        let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let secret = Lattice::keygen(4096, rng).unwrap();
        let prices = Prices::measured(&secret, Duration::from_millis(1), rng);
        assert!(prices.up > 1_000 && prices.down > 1_000, "{prices:?}");
    }
}
