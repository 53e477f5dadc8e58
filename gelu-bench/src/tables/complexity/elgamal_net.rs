//! What an iteration of ElGamal-Net costs: two parties, one hidden layer, m features, hidden nodes and
//! outputs, one sample.
//!
//! The formula is that of its crate, compared with real iterations there and with one here.

use gelu_elgamal::net::{Config, Sample, Shape, Tally, Trainer, Weights, formula};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{Count, Plan, Rival, System};
use crate::Error;
use crate::exhibit::Claim;
use crate::setting::{Extent, Setting};

/// What there is to show of it.
pub(super) fn rival(setting: &Setting, plan: &Plan) -> Result<Rival, Error> {
    let m = if setting.extent == Extent::Quick { 2 } else { 4 };
    if run(m, setting.seed)? != count(m) {
        return Err(Error::WrongAnswer(format!("the count of ElGamal-Net at m = {m}")));
    }
    let system = System {
        name: "ElGamal-Net, Z = 2, n = 2",
        paper: Some(["O(Z²·m³·n·e)", "O(Z²·m²·n)"]),
        counts: plan.widths.iter().map(|&m| count(m)).collect(),
        computation: |count| count.operations,
    };
    let claim =
        format!("A real iteration of ElGamal-Net (Z = 2, m = {m}) costs what its formula says.");
    let note = "ElGamal-Net is built for two parties, so Z = 2 throughout and the paper's Z² is not \
                tested; it has one hidden layer, so n is not varied either. Its operations are \
                encryptions, rerandomisations and partial decryptions. It sums errors before it \
                multiplies them, which saves the paper's third power of m.";
    Ok(Rival { systems: vec![system], claims: vec![Claim::new(claim, true)], note: note.into() })
}

fn shape(m: usize) -> Shape {
    Shape { features: [m / 2, m - m / 2], hidden: m, outputs: m }
}

fn count(m: usize) -> Count {
    of(m, formula(shape(m), 1))
}

fn of(m: usize, tally: Tally) -> Count {
    Count {
        layers: 2,
        width: m,
        multiplications: None,
        operations: tally.encryptions + tally.rerandomisations + tally.partial_decryptions,
        encryptions: tally.encryptions,
        decryptions: tally.decodings,
        messages: tally.messages,
        // Two group elements are as much as a ciphertext.
        ciphertexts: tally.elements / 2,
        bytes: tally.bytes,
    }
}

/// One real iteration of both parties.
fn run(m: usize, seed: u64) -> Result<Count, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let shape = shape(m);
    let weights = Weights::random(shape, rng);
    let mut trainer = Trainer::new(Config::new(shape, 1, 1)?, weights, rng)?;
    let [a, b] = shape.features.map(|features| vec![0.5; features]);
    trainer.step(&[Sample::new(&a, &b, 0)])?;
    let [a, b] = trainer.tallies();
    Ok(of(m, a + b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_the_count() {
        assert_eq!(run(2, 1).unwrap(), count(2));
    }
}
