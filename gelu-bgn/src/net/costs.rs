//! Operations, bytes and rounds: counted while the protocol runs, and by formula.

use core::ops::{Add, AddAssign};

use super::plan::Plan;
use crate::group::{G1, G2};
use crate::scheme::{Ciphertext, SealedProduct};

/// What a query, or a step of training, costs. Both sides of a conversation add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs {
    /// Encryptions in G1.
    pub encryptions_g1: usize,
    /// Encryptions in G2.
    pub encryptions_g2: usize,
    /// Additions on level 1, constants included.
    pub additions: usize,
    /// Additions on level 2, constants and those within scalar products included.
    pub additions_of_products: usize,
    /// Multiplications of ciphertexts: four Miller loops each.
    pub multiplications: usize,
    /// Final exponentiations: four for each scalar product.
    pub final_exponentiations: usize,
    /// Products rerandomised, to be sent.
    pub seals: usize,
    /// Decryptions, all of level 2.
    pub decryptions: usize,
    /// Bytes to the cloud.
    pub bytes_to_cloud: usize,
    /// Bytes to the key holder.
    pub bytes_to_key_holder: usize,
    /// Messages from the cloud that wait for an answer.
    pub rounds: usize,
}

impl Costs {
    /// Multiplications by integers that are not encrypted: none, for all weights are encrypted, and
    /// the polynomial's coefficients are in the order of its evaluation.
    pub const SCALAR_MULTIPLICATIONS: usize = 0;

    /// Pairings: what [`multiplications`](Self::multiplications) come to.
    pub fn pairings(&self) -> usize {
        4 * self.multiplications
    }

    /// `outputs` scalar products of `terms` each.
    pub(super) fn scalar_products(outputs: usize, terms: usize) -> Self {
        Self {
            multiplications: outputs * terms,
            final_exponentiations: 4 * outputs,
            additions_of_products: outputs * terms.saturating_sub(1),
            ..Self::default()
        }
    }

    /// The cloud masks and seals `values`, and takes off the masks from what comes back on `halves`.
    pub(super) fn masked(values: usize, halves: usize) -> Self {
        Self {
            additions_of_products: values,
            seals: values,
            additions: values * halves,
            bytes_to_key_holder: values * SealedProduct::LEN,
            rounds: 1,
            ..Self::default()
        }
    }

    /// The key holder decrypts `values` and returns them in G1, in G2 or in both.
    pub(super) fn refreshed(values: usize, (g1, g2): (bool, bool)) -> Self {
        let (g1, g2) = (values * usize::from(g1), values * usize::from(g2));
        Self {
            decryptions: values,
            encryptions_g1: g1,
            encryptions_g2: g2,
            bytes_to_cloud: g1 * Ciphertext::<G1>::LEN + g2 * Ciphertext::<G2>::LEN,
            ..Self::default()
        }
    }

    /// A whole round.
    fn round(values: usize, (g1, g2): (bool, bool)) -> Self {
        let halves = usize::from(g1) + usize::from(g2);
        Self::masked(values, halves) + Self::refreshed(values, (g1, g2))
    }

    /// The activation of a layer of `width`: the four rounds of the [module](super).
    fn activation(width: usize, last: (bool, bool)) -> Self {
        let constants =
            Self { additions: 2 * width, additions_of_products: width, ..Self::default() };
        Self::round(width, BOTH)
            + Self::scalar_products(width, 1)
            + Self::round(width, BOTH)
            + Self::scalar_products(width, 1)
            + Self::round(width, (false, true))
            + Self::scalar_products(width, 1)
            + Self::round(width, last)
            + constants
    }
}

const BOTH: (bool, bool) = (true, true);

impl Add for Costs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            encryptions_g1: self.encryptions_g1 + other.encryptions_g1,
            encryptions_g2: self.encryptions_g2 + other.encryptions_g2,
            additions: self.additions + other.additions,
            additions_of_products: self.additions_of_products + other.additions_of_products,
            multiplications: self.multiplications + other.multiplications,
            final_exponentiations: self.final_exponentiations + other.final_exponentiations,
            seals: self.seals + other.seals,
            decryptions: self.decryptions + other.decryptions,
            bytes_to_cloud: self.bytes_to_cloud + other.bytes_to_cloud,
            bytes_to_key_holder: self.bytes_to_key_holder + other.bytes_to_key_holder,
            rounds: self.rounds + other.rounds,
        }
    }
}

impl AddAssign for Costs {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What one query costs all parties together, from its plan: a hidden layer from n to m takes
///
/// ```text
/// m·(n + 1) + 3·m    multiplications      4·m    decryptions      3·m in G1, 3·m in G2 encryptions
/// 4·m·2304 + m·(3·96 + 3·192) bytes       4      rounds
/// ```
///
/// and the scores from m to k take k·(m + 1) multiplications and k decryptions. A protocol that runs
/// counts the same ([`Evaluation`](super::Evaluation), [`Session`](super::Session)).
pub fn inference(plan: &Plan) -> Costs {
    let inputs = plan.inputs();
    let mut costs = Costs {
        encryptions_g1: inputs,
        bytes_to_cloud: inputs * Ciphertext::<G1>::LEN,
        ..Costs::default()
    };
    for layer in &plan.layers {
        costs += Costs::scalar_products(layer.outputs, layer.inputs + 1);
        costs += match layer.hidden {
            Some(_) => Costs::activation(layer.outputs, (true, false)),
            None => Costs {
                seals: layer.outputs,
                decryptions: layer.outputs,
                bytes_to_key_holder: layer.outputs * SealedProduct::LEN,
                ..Costs::default()
            },
        };
    }
    costs
}

/// What one step of training on one sample costs, for n inputs, m hidden neurons and k classes.
///
/// Counted from the description of back-propagation with a squared error and the sigmoid on both
/// layers, which is Yuan and Yu's network, in the way inference runs here; it is not run. The data
/// are in the cloud already, in G1 and as x for the gradient; weights stay encrypted.
///
/// ```text
/// forward    both layers with their activations, o and h coming back in both groups    8 rounds
/// errors     o·(1 − o), h·(1 − h)                            k + m products            1 round
///            δₖ = (o − t)·o·(1 − o)                          k products                1 round
///            εⱼ = Σₖ wⱼₖ·δₖ                                  m·k products              1 round
///            δⱼ = εⱼ·h·(1 − h)                               m products                1 round
/// update     δₖ·hⱼ and δⱼ·xᵢ, biases with a constant         k·(m + 1) + m·(n + 1)     1 round
///            rescaled by the rate and returned in G2, added to the weights
/// ```
///
/// Products and bytes grow as n·m + m·k: with m neurons in each layer, as the O(m²) of communication
/// that the GELU-Net paper's Table 2 gives for a layer of BGN-Net. Its O(C·m) computations leave the
/// scalar products out; in those terms C is what [`Costs`] has for a neuron's activation.
pub fn training_iteration(n: usize, m: usize, k: usize) -> Costs {
    let weights = m * (n + 1) + k * (m + 1);
    let forward = Costs::scalar_products(m, n + 1)
        + Costs::activation(m, BOTH)
        + Costs::scalar_products(k, m + 1)
        + Costs::activation(k, BOTH);
    // 1 − o, 1 − h and o − t are additions on level 1.
    let derivatives = Costs::scalar_products(k + m, 1)
        + Costs { additions: k + m, ..Costs::default() }
        + Costs::round(k + m, (false, true));
    let output_errors = Costs::scalar_products(k, 1)
        + Costs { additions: k, ..Costs::default() }
        + Costs::round(k, BOTH);
    let sums = Costs::scalar_products(m, k) + Costs::round(m, (true, false));
    let hidden_errors = Costs::scalar_products(m, 1) + Costs::round(m, (false, true));
    let update = Costs::scalar_products(weights, 1)
        + Costs::round(weights, (false, true))
        + Costs { additions: weights, ..Costs::default() };
    forward + derivatives + output_errors + sums + hidden_errors + update
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_counted_by_hand() {
        let costs = training_iteration(4, 5, 3);
        let weights = 5 * 5 + 3 * 6;
        assert_eq!(costs.rounds, 13);
        assert_eq!(costs.multiplications, weights + 3 * 8 + 8 + 3 + 15 + 5 + weights);
        assert_eq!(costs.decryptions, 4 * 8 + 8 + 3 + 5 + 5 + weights);
        assert_eq!(costs.pairings(), 4 * costs.multiplications);
    }

    /// Twice as wide, four times the work, in the end.
    #[test]
    fn training_grows_with_the_square_of_the_width() {
        let at = |m| training_iteration(m, m, m);
        let (one, two) = (at(2000), at(4000));
        let ratio = |f: fn(&Costs) -> usize| f(&two) as f64 / f(&one) as f64;
        assert!((ratio(|c| c.multiplications) - 4.0).abs() < 0.05);
        assert!((ratio(|c| c.bytes_to_key_holder) - 4.0).abs() < 0.05);
    }
}
