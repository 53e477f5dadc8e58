//! Bases that stay and heads that are trained: the oracle, and the bytes of the plan on the wire.

use gelu_core::backend::Layout;
use gelu_core::message::{ClientMessage, ServerMessage, Wire};
use gelu_core::pair::Frame;
use gelu_core::plan::{Direction, Plan, Purpose};
use gelu_core::{Backend, Clear, Precision};
use gelu_lattice::Lattice;
use gelu_nn::{
    Activation, Batches, Dataset, FixedTrainer, FloatTrainer, LayerSpec, Model, Rate, Recipe,
    Sequential, Shape, Standardiser, zoo,
};
use gelu_paillier::{InsecurePaillier, Paillier};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::common::{assert_equals_oracle, batches, client, host, model, oracle, rate};

const PUBLIC: Rate = Rate::Public(0.1);
const SECRET: Rate = Rate::Secret { g: 3, g_max: 6 };

/// Two fused convolutions and two dense layers.
fn images() -> Sequential {
    let conv = |filters| LayerSpec::Conv2d {
        filters,
        kernel: 3.into(),
        stride: 1.into(),
        padding: 0.into(),
        groups: 1,
    };
    let (pool, dense) =
        (LayerSpec::MeanPool2d { window: 2.into() }, |outputs| LayerSpec::Dense { outputs });
    let relu = LayerSpec::Activation { function: Activation::Relu };
    let layers = vec![conv(2), pool, relu, conv(3), pool, relu, dense(6), relu, dense(4)];
    Sequential::new(Shape::image(1, 14, 14), layers).unwrap()
}

fn freeze(architecture: &Sequential, stages: usize) -> Sequential {
    architecture.freeze(stages).unwrap()
}

#[test]
fn every_number_of_frozen_stages_equals_the_oracle() {
    for stages in 1..4 {
        let frozen = freeze(&images(), stages);
        for by in [PUBLIC, SECRET] {
            assert_equals_oracle::<Clear>(&frozen, (3, 3), by, 2048);
        }
        assert_equals_oracle::<InsecurePaillier>(&frozen, (3, 2), PUBLIC, 512);
        assert_equals_oracle::<Lattice>(&frozen, (3, 3), PUBLIC, 8192);
    }
    for by in [PUBLIC, SECRET] {
        assert_equals_oracle::<Paillier>(&freeze(&zoo::iris(), 1), (16, 2), by, 2048);
    }
    assert_equals_oracle::<Lattice>(&freeze(&zoo::iris(), 1), (64, 2), PUBLIC, 8192);
}

/// Two clients in turn: each sees the same base, and the second one the head that the first one left.
#[test]
fn leases_in_turn_share_the_base() {
    let architecture = freeze(&images(), 2);
    let mut expected = model(&architecture);
    let host = host(&expected);
    for turn in 0..3 {
        let (mut pair, mut rng) = client::<Clear>(&host, rate(PUBLIC, 2048), 2048, turn);
        let batches = batches(&architecture, 4, 3, 50 + turn);
        pair.train(&batches, &mut rng).unwrap();
        let (weights, _) = oracle(&expected, &batches, PUBLIC);
        assert!(weights.layers[..2] == expected.parameters().layers[..2]);
        expected = expected.successor(weights).unwrap();
        assert!(gelu_core::server::Host::model(&*host).parameters == *expected.parameters());
    }
}

/// A frozen base costs what it costs in a query, and what the plan says crosses the wire.
fn check_bytes<B: Backend>(bits: u32) {
    let (batch, steps) = (5, 2);
    for stages in 0..4 {
        let architecture = freeze(&images(), stages);
        let start = model(&architecture);
        let (mut pair, mut rng) = client::<B>(&host(&start), rate(PUBLIC, bits), bits, 1);
        let (network, precision) = (start.network(), Precision::TRAINING);
        let purpose = Purpose::Training { steps };
        let key = pair.server.client_key().unwrap();
        let plan = Plan::new::<B>(network, &precision, batch, purpose, key).unwrap();
        let mut expected = Vec::new();
        for _ in 0..steps {
            expected.extend(plan.exchanges().map(|(stage, direction, exchange)| {
                (stage, direction, exchange.layout().cost().bytes)
            }));
        }
        assert_eq!(expected.len(), (4 + 3 - stages) * steps as usize);
        pair.train(&batches(&architecture, batch, steps as usize, 3), &mut rng).unwrap();
        let (mut seen, mut up) = (Vec::new(), 0);
        for frame in &pair.transcript {
            match frame {
                Frame::Up(bytes) => match ClientMessage::from_bytes(bytes).unwrap() {
                    ClientMessage::EncryptedActivations { ciphertexts, .. }
                    | ClientMessage::EncryptedErrors { ciphertexts, .. } => up = ciphertexts.len(),
                    _ => {}
                },
                Frame::Down(bytes) => match ServerMessage::from_bytes(bytes).unwrap() {
                    ServerMessage::WeightedSums { stage, ciphertexts } => {
                        seen.push((stage as usize, Direction::Forward, up + ciphertexts.len()));
                    }
                    ServerMessage::PropagatedErrors { stage, ciphertexts } => {
                        seen.push((stage as usize, Direction::Backward, up + ciphertexts.len()));
                    }
                    _ => {}
                },
            }
        }
        assert_eq!(seen, expected, "{} with {stages} frozen", B::ID);
    }
}

#[test]
fn the_plans_bytes_are_the_wires() {
    check_bytes::<Clear>(2048);
    check_bytes::<InsecurePaillier>(512);
    check_bytes::<Lattice>(8192);
}

/// The trainer in floating point leaves the base alone as well, and the one in integers follows it.
#[test]
fn both_trainers_leave_the_base_alone() {
    let mut data = Dataset::iris();
    Standardiser::fit(&data).apply(&mut data).unwrap();
    let start = model(&freeze(&zoo::iris(), 1));
    let recipe = Recipe { batch: 30, rate: 0.2, momentum: 0.9, l2: 0.01, ..Recipe::default() };
    let mut float =
        FloatTrainer::<f64>::starting_from(start.architecture(), recipe, &start.weights()).unwrap();
    float.train(&data, 3, |_| ()).unwrap();
    let after = float.parameters();
    assert_eq!(after.layers[0], start.weights().layers[0]);
    assert_ne!(after.layers[1], start.weights().layers[1]);

    let plain = Recipe { batch: 30, rate: 0.2, ..Recipe::default() };
    let mut float =
        FloatTrainer::<f64>::starting_from(start.architecture(), plain, &start.weights()).unwrap();
    let mut fixed = FixedTrainer::new(&start);
    for epoch in 0..10 {
        for samples in Batches::new(data.len(), 30, 3).unwrap().epoch(epoch) {
            let (inputs, labels) = data.batch(&samples);
            float.step(&inputs, &labels, 0.2).unwrap();
            fixed.step(&inputs, &labels, Rate::Public(0.2)).unwrap();
        }
    }
    assert!(fixed.parameters().layers[0] == start.parameters().layers[0]);
    let fixed = start.successor(fixed.parameters().clone()).unwrap().weights();
    let pairs = fixed.layers[1]
        .weights
        .iter()
        .zip(&float.parameters().layers[1].weights)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(pairs < 0.001, "{pairs}");
}

#[test]
fn a_head_stands_on_the_first_stages_of_a_model() {
    let base = model(&zoo::lenet5_square());
    let head = |stages, hidden: &[usize]| {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        base.with_head(stages, hidden, 5, Precision::TRAINING, rng)
    };
    let logistic = head(2, &[]).unwrap();
    assert_eq!((logistic.architecture().frozen(), logistic.architecture().classes()), (2, 5));
    let sizes = logistic.architecture().blocks().iter().map(|b| b.affine().output().features());
    assert_eq!(sizes.collect::<Vec<_>>(), [864, 256, 5]);
    assert!(
        logistic
            .architecture()
            .to_string()
            .contains("square ▸ dense1 5, the first 2 stages frozen")
    );
    assert!(logistic.parameters().layers[..2] == base.parameters().layers[..2]);
    assert!(logistic.parameters().layers[2].values().all(|&w| w == 0));
    let hidden = head(3, &[7]).unwrap();
    assert_eq!(hidden.architecture().blocks().len(), 5);
    assert!(hidden.parameters().layers[3].weights.iter().any(|&w| w != 0));
    // As a file, and for a client that reads the card.
    let back = Model::from_bytes(&hidden.to_bytes().unwrap()).unwrap();
    assert_eq!((back.architecture().frozen(), back.network().frozen()), (3, 3));
    assert!(head(6, &[]).unwrap_err().to_string().contains("6 stages are asked for, there are 5"));
}

#[test]
fn what_cannot_be_frozen_is_refused_by_name() {
    for (stages, all) in [(2, 2), (3, 2), (99, 2)] {
        let error = zoo::iris().freeze(stages).unwrap_err().to_string();
        assert!(error.contains(&format!("{stages} of {all} stages are to be frozen")), "{error}");
    }
    let frozen = zoo::iris().freeze(1).unwrap();
    let json = frozen.to_json();
    assert!(json.ends_with(r#""frozen":1}"#), "{json}");
    assert_eq!(Sequential::from_json(&json).unwrap(), frozen);
    assert!(Sequential::from_json(&json.replace(r#""frozen":1"#, r#""frozen":2"#)).is_err());
    assert!(!zoo::iris().to_json().contains("frozen"), "files of before stay as they are");
    assert_eq!(frozen.freeze(0).unwrap(), zoo::iris());
}
