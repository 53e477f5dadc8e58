//! What is computed and sent, by formula.

use super::lookup::limbs;
use super::product::{DIGITS, FEATURE_DIGITS};
use super::shares::RING_BITS;
use super::tally::Tally;
use super::{SUM_BOUND, Shape, product};

/// What one iteration of `samples` samples costs both parties together, by formula.
///
/// With m hidden nodes, k outputs, d features (d_A + d_B), sigmoid tables of 2n + 1 entries, and
/// two-digit products of D digits:
///
/// ```text
/// sigmoids      m
/// products      2·m·k  +  m  +  2·m  +  m·d_A           of two shares: D = 22 digits
///               m·d_B                                   of a share and a feature: D = 4 digits
/// encryptions   2·(2n+1) a sigmoid;  4 · limbs a digit
/// messages      3 rounds of three and one of three (sigmoid, h·e, δ·g, ·x), two to open: 14
/// ```
pub fn formula(shape: Shape, samples: u64) -> Tally {
    let Shape { features, hidden, outputs } = shape;
    let [m, k, a, b] = [hidden, outputs, features[0], features[1]].map(|x| x as u64);
    let sigmoid = lookup(2 * SUM_BOUND.unsigned_abs() + 1, limbs(RING_BITS));
    let product = |digits| {
        let limbs = (0..digits).map(|digit| limbs(product::width(digit))).sum();
        lookup(product::ENTRIES, limbs)
    };
    let per_sample = times(sigmoid, m)
        + times(product(DIGITS), 2 * m * k + m + 2 * m + m * a)
        + times(product(FEATURE_DIGITS), m * b);
    let parameters = m * (a + b + 1) + k * (m + 1);
    let opened = Tally { messages: 2, bytes: 2 * 8 * parameters, ..Tally::default() };
    times(per_sample + Tally { messages: 12, ..Tally::default() }, samples) + opened
}

/// The growth that GELU-Net's Table 2 states for ElGamal-Net, for Z parties, m nodes a layer and n
/// layers: (Z²·m³·n operations, Z²·m²·n messages), without constants.
///
/// Its unit is a ciphertext's operation and a ciphertext sent. Our [`formula`] grows with m² in
/// both, by summing errors before they are multiplied; its constants are the tables: 34
/// encryptions and 87 group elements for each of Z²m²n on Iris.
pub fn table_2(parties: u64, nodes: u64, layers: u64) -> (u64, u64) {
    let messages = parties.pow(2) * nodes.pow(2) * layers;
    (messages * nodes, messages)
}

/// One look-up: the table, the choice, two partial decryptions.
fn lookup(entries: u64, limbs: u64) -> Tally {
    Tally {
        encryptions: entries * limbs,
        rerandomisations: limbs,
        partial_decryptions: 2 * limbs,
        decodings: limbs,
        messages: 0,
        elements: limbs * (2 * entries + 2 + 1),
        bytes: limbs * 32 * (2 * entries + 2 + 1),
    }
}

fn times(tally: Tally, n: u64) -> Tally {
    Tally {
        encryptions: tally.encryptions * n,
        rerandomisations: tally.rerandomisations * n,
        partial_decryptions: tally.partial_decryptions * n,
        decodings: tally.decodings * n,
        messages: tally.messages * n,
        elements: tally.elements * n,
        bytes: tally.bytes * n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice the nodes in every layer: four times Table 2's messages, and ours tend to that; eight
    /// times its operations, where ours are four times as many.
    #[test]
    fn growth_beside_table_2() {
        let square = |m| formula(Shape { features: [m / 2, m / 2], hidden: m, outputs: m }, 1);
        let (one, two) = (square(512), square(1024));
        let ratio = |a: u64, b: u64| b as f64 / a as f64;
        assert!((3.9..4.0).contains(&ratio(one.elements, two.elements)));
        assert!((3.9..4.0).contains(&ratio(one.encryptions, two.encryptions)));
        let (one, two) = (table_2(2, 512, 3), table_2(2, 1024, 3));
        assert_eq!((two.0 / one.0, two.1 / one.1), (8, 4));
        assert_eq!(table_2(2, 5, 3), (1500, 300));
    }

    #[test]
    fn batches_share_the_opening() {
        let shape = Shape { features: [2, 2], hidden: 5, outputs: 3 };
        let (one, four) = (formula(shape, 1), formula(shape, 4));
        assert_eq!(four.encryptions, 4 * one.encryptions);
        assert_eq!((one.messages, four.messages), (14, 4 * 12 + 2));
        assert_eq!(4 * one.bytes - four.bytes, 3 * 2 * 8 * 43);
    }
}
