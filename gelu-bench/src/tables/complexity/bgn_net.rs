//! What BGN-Net costs: m inputs, m neurons in every layer, one key holder in the parties' place.
//!
//! The formulas are those of its crate. Of queries, its tests compare the formula with runs; a step of
//! training is counted from the description of back-propagation and is not run there.

use gelu_bgn::net::{Costs, Model, RealLayer, Settings, inference, training_iteration};

use super::{Count, Plan, Rival, System};
use crate::Error;
use crate::exhibit::Claim;

/// What there is to show of it.
pub(super) fn rival(plan: &Plan) -> Result<Rival, Error> {
    let training = System {
        name: "BGN-Net, training, n = 2",
        paper: Some(["O(C·n·m·b)", "O(n·m²)"]),
        counts: plan.widths.iter().map(|&m| training(m)).collect(),
        computation: |count| count.operations,
    };
    let queries = System {
        name: "BGN-Net, queries only",
        paper: None,
        counts: plan.sizes().map(|(n, m)| query(n, m)).collect::<Result<_, _>>()?,
        computation: |count| count.operations,
    };
    let c = activation(16)?;
    let claim = Claim::new(
        format!("BGN-Net's activation takes C = {c} operations a neuron; the paper says C > 30."),
        c > 30,
    );
    let note = "BGN-Net's training is counted from the description of its algorithm and is not run; of \
                its queries, the crate's tests compare the count with a run. The paper's O(C·n·m) leaves \
                out the m² products of the scalar products, which are pairings here and the larger \
                part; with more than one key holder, decryptions and their messages multiply.";
    Ok(Rival { systems: vec![training, queries], claims: vec![claim], note: note.into() })
}

/// A step of training with one hidden layer: from the description of back-propagation, as the
/// crate says; it is not run there.
fn training(m: usize) -> Count {
    of(2, m, training_iteration(m, m, m))
}

/// A query to `layers` linear layers: the crate's tests compare these counts with runs.
fn query(layers: usize, m: usize) -> Result<Count, Error> {
    // Costs depend on shapes alone, so the weights may be 0.
    let layer = |i| RealLayer {
        name: format!("dense{i}"),
        weights: vec![0.0; m * m],
        biases: vec![0.0; m],
        sum_bound: None,
    };
    let network: Vec<_> = (1..=layers).map(layer).collect();
    let model = Model::new(&network, 1.0, Settings::default())?;
    Ok(of(layers, m, inference(model.plan())))
}

fn of(layers: usize, width: usize, costs: Costs) -> Count {
    let encryptions = costs.encryptions_g1 + costs.encryptions_g2;
    let operations = costs.multiplications
        + costs.additions
        + costs.additions_of_products
        + costs.seals
        + costs.decryptions
        + encryptions;
    Count {
        layers,
        width,
        multiplications: Some(costs.multiplications as u64),
        operations: operations as u64,
        encryptions: encryptions as u64,
        decryptions: costs.decryptions as u64,
        messages: 2 * costs.rounds as u64,
        ciphertexts: (encryptions + costs.seals) as u64,
        bytes: (costs.bytes_to_cloud + costs.bytes_to_key_holder) as u64,
    }
}

/// The paper's C: homomorphic operations for the activation of one neuron.
///
/// A further hidden layer of m neurons costs m·(m + 1) multiplications and m² additions in its
/// scalar products, and C·m for all else.
fn activation(m: usize) -> Result<u64, Error> {
    let more = query(3, m)?.operations - query(2, m)?.operations;
    let m = m as u64;
    Ok((more - m * (m + 1) - m * m) / m)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each neuron's activation costs the same in layers of any width; and a query's products are
    /// the formula in the crate's documentation.
    #[test]
    fn counts_by_hand() {
        let c = activation(2).unwrap();
        assert_eq!([5, 16].map(|m| activation(m).unwrap()), [c, c]);
        assert!(c > 3 + 4 + 6, "products, decryptions and encryptions alone: {c}");
        let counted = query(3, 5).unwrap();
        assert_eq!(counted.multiplications, Some(2 * (5 * 6 + 3 * 5) + 5 * 6));
        assert_eq!(counted.messages, 2 * 2 * 4);
    }
}
