//! Blind queries of the zoo: the clear network's answers bit for bit, and the plan's bytes.

use std::sync::Arc;

use gelu_core::blind::{Answer, BlindCosts, BlindPlan, Circuits};
use gelu_core::circuit::two_party::{InsecureOpen, TwoParty};
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::client::ClientOutput;
use gelu_core::ledger::Exposure;
use gelu_core::pair::BlindPair;
use gelu_core::pass::argmax;
use gelu_core::{Backend, Precision};
use gelu_garble::HalfGates;
use gelu_lattice::Lattice;
use gelu_nn::{Model, Sequential, zoo};
use gelu_paillier::InsecurePaillier;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use crate::common::host;

/// Samples of a query: as many tickets are made.
const SAMPLES: usize = 3;

/// A model with random weights, and inputs from small ones to some that are cut off.
fn model_and_inputs(architecture: &Sequential) -> (Model, Array2<f64>) {
    let rng = &mut ChaCha20Rng::seed_from_u64(41);
    let precision = Precision::INFERENCE;
    let model = Model::initialise("test", architecture.clone(), precision, rng).unwrap();
    let shape = (architecture.input().features(), SAMPLES);
    let inputs = Array2::from_shape_fn(shape, |(_, n)| {
        rng.random_range(-1.0..1.0) * [1.0, 4.0, 30.0][n % 3]
    });
    (model, inputs)
}

/// One session: tickets, a query, and its bytes.
fn check<B: Backend, P: TwoParty>(architecture: &Sequential, answer: Answer, key_bits: u32) {
    let what = format!("{} {answer:?} {}", architecture.to_json(), B::ID);
    let (model, inputs) = model_and_inputs(architecture);
    let mut rng = ChaCha20Rng::seed_from_u64(42);
    let key = Arc::new(B::keygen(key_bits, &mut rng).unwrap());
    let mut pair = BlindPair::<B, P>::open(host(&model), key, answer, &mut rng).unwrap();
    let costs = pair.client.plan(SAMPLES).unwrap().costs::<P>(model.network()).unwrap();
    pair.make_tickets(SAMPLES, &mut rng).unwrap();
    let clear = model.probabilities(&inputs).unwrap().0;
    let classes = clear.columns().into_iter().map(|scores| argmax(scores.iter().copied()));
    let expected = match answer {
        Answer::Class => ClientOutput::Classes(classes.collect()),
        Answer::Scores => ClientOutput::Probabilities(clear),
    };
    assert_eq!(pair.ask(&inputs, &mut rng).unwrap(), expected, "{what}");
    let (transfers, ands, kept) = (0, 0, 0);
    let planned = BlindCosts { transfers, ands, kept, ..costs.of_session(SAMPLES) };
    assert_eq!(pair.counted(), planned, "{what}");
}

/// All networks that have circuits: `conv1-square` has a second square of 52 bits, `resnet20` shortcuts.
fn with_circuits() -> impl Iterator<Item = Sequential> {
    let without = ["conv1-square", "resnet20"];
    let all = zoo::entries().iter().filter(move |entry| !without.contains(&entry.name));
    all.map(|entry| (entry.architecture)())
}

#[test]
fn blind_answers_of_the_zoo_are_exact_in_the_open() {
    for architecture in with_circuits() {
        check::<Clear, InsecureOpen>(&architecture, Answer::Class, 2048);
        check::<Clear, InsecureOpen>(&architecture, Answer::Scores, 2048);
    }
}

#[test]
fn blind_answers_of_the_zoo_are_exact_by_half_gates() {
    for architecture in with_circuits() {
        check::<Clear, HalfGates>(&architecture, Answer::Class, 2048);
    }
    check::<Clear, HalfGates>(&zoo::digits(), Answer::Scores, 2048);
    check::<Clear, HalfGates>(&zoo::lenet5(), Answer::Scores, 2048);
}

#[test]
fn lenet_5_tells_four_bits_or_270() {
    let (network, precision) = (zoo::lenet5().network(), Precision::INFERENCE);
    let key = ClearKey::new(2048).unwrap();
    for (answer, bits, safe) in [(Answer::Class, 4, 25_648), (Answer::Scores, 270, 379)] {
        let circuits = Arc::new(Circuits::new(&network, &precision, answer).unwrap());
        let exposure = Exposure::blind(&network, &precision, &circuits);
        let [whole] = &exposure.model[..] else { panic!("one line") };
        assert_eq!((whole.revealed_bits_per_sample, whole.unknowns), (bits, 44_426));
        assert_eq!(exposure.safe_samples().0, safe, "{}", exposure.verdict());
        // Rings of 27, 30, 29, 27 and 27 bits; four bytes a number, sixteen a label.
        let prices = Clear::prices(&key);
        let plan = BlindPlan::<Clear>::priced(&network, &circuits, 1, &key, &prices).unwrap();
        let costs = plan.costs::<HalfGates>(&network).unwrap();
        let hidden = 864 * 27 + 256 * 30 + 120 * 29 + 84 * 27;
        let (transfers, down) = match answer {
            Answer::Class => (hidden + 10 * 27, 16 * (hidden + 10 * 27) + 1),
            Answer::Scores => (hidden, 16 * hidden + 10 * 4),
        };
        assert_eq!((costs.transfers, costs.query_down), (transfers, down));
        assert_eq!(costs.query_up, 4 * (784 + 864 + 256 + 120 + 84));
    }
}

/// Under real encryption, which neither rounds nor wraps where it should not.
#[test]
fn blind_answers_are_exact_under_paillier_and_the_lattice() {
    for answer in [Answer::Class, Answer::Scores] {
        check::<InsecurePaillier, HalfGates>(&zoo::iris(), answer, 512);
        check::<Lattice, HalfGates>(&zoo::digits(), answer, 8192);
    }
    check::<InsecurePaillier, HalfGates>(&zoo::digits(), Answer::Class, 1024);
    check::<Lattice, HalfGates>(&zoo::lenet5(), Answer::Class, 8192);
}
