//! What the server machine receives in a whole training lease under Paillier: no activation, label
//! or gradient in the clear.

use crate::common::{Batches, batches, client, host, model, rate};
use gelu_core::fixed::Saturations;
use gelu_core::message::{ClientMessage, Wire};
use gelu_core::pair::Frame;
use gelu_core::{AdditiveHE, Cryptosystem, Parameters, Pass, Precision, Update};
use gelu_nn::{Model, Rate, zoo};
use gelu_paillier::InsecurePaillier;
use num_bigint_dig::BigUint;
use num_traits::One;

const STEPS: usize = 12;
const BITS: u32 = 512;

/// The messages of a lease of [`STEPS`] steps, and the data behind them.
fn received() -> (Vec<ClientMessage>, Model, Batches) {
    let architecture = zoo::iris();
    let start = model(&architecture);
    let batches = batches(&architecture, 3, STEPS, 5);
    let (mut pair, mut rng) =
        client::<InsecurePaillier>(&host(&start), rate(Rate::Public(0.1), BITS), BITS, 1);
    pair.train(&batches, &mut rng).unwrap();
    let up = |frame: &Frame| match frame {
        Frame::Up(bytes) => Some(ClientMessage::from_bytes(bytes).unwrap()),
        Frame::Down(_) => None,
    };
    (pair.transcript.iter().filter_map(up).collect(), start, batches)
}

/// Everything private of the first step: encoded inputs, activations, errors, gradients.
fn secrets(model: &Model, batches: &Batches) -> Vec<Vec<i128>> {
    let (inputs, labels) = &batches[0];
    let mut pass = Pass::new(model.network().clone(), *model.precision(), inputs).unwrap();
    let stages = model.network().stages().iter().zip(&model.parameters().layers);
    for (stage, layer) in stages {
        let x = pass.activations(pass.stage().unwrap()).view();
        let constant = gelu_core::pass::bias_constant(&stage.linear, model.precision().activations);
        let z = stage.linear.forward(&layer.weights, &layer.biases, x, constant);
        pass.advance(&z).unwrap();
    }
    pass.compare(labels).unwrap();
    while let Some(i) = pass.backward_stage() {
        let linear = &model.network().stages()[i].linear;
        let q = linear.backward(&model.parameters().layers[i].weights, pass.errors(i).view());
        pass.retreat(&q).unwrap();
    }
    let gradient = pass.gradient().unwrap();
    let precision = model.precision();
    let rounding = gelu_core::pass::Rounding::Rate(0.1);
    let cut = Saturations::default();
    let update = gelu_core::pass::update(&gradient, labels.len(), rounding, precision, &cut);
    let rows = |a: &ndarray::Array2<i128>| a.iter().copied().collect::<Vec<_>>();
    let all = |u: &Update| u.values().copied().collect::<Vec<_>>();
    let mut secrets = vec![all(&gradient), all(&update)];
    for stage in 0..model.network().stages().len() {
        secrets.push(rows(pass.activations(stage)));
        secrets.push(rows(pass.errors(stage)));
    }
    secrets
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn no_secret_appears_in_any_encoding() {
    let (messages, model, batches) = received();
    let last = messages.len() - 1;
    let log: Vec<u8> = messages[..last].iter().flat_map(Wire::to_bytes).collect();
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for values in secrets(&model, &batches) {
        // Two neighbours at a time: single small numbers occur anywhere by chance.
        for pair in values.windows(2).filter(|p| p.iter().all(|v| v.unsigned_abs() > 1 << 10)) {
            needles.push(pair.iter().flat_map(|v| v.to_le_bytes()).collect());
            needles.push(pair.iter().flat_map(|v| v.to_be_bytes()).collect());
            let layer = gelu_core::network::Layer { weights: pair.to_vec(), biases: vec![] };
            let varints = Parameters { layers: vec![layer] };
            let bytes = ClientMessage::FinalUpdate(varints.into()).to_bytes();
            needles.push(bytes[3..bytes.len() - 1].to_vec());
        }
    }
    for (inputs, labels) in &batches {
        needles.extend(inputs.iter().map(|x| x.to_le_bytes().to_vec()));
        let labels: Vec<u8> = labels.iter().flat_map(|&l| (l as u64).to_le_bytes()).collect();
        needles.push(labels);
    }
    assert!(needles.len() > 200, "{}", needles.len());
    assert!(needles.iter().all(|needle| !contains(&log, needle)));
    // The search finds what is there: the final sum, which is revealed by design.
    let ClientMessage::FinalUpdate(sum) = &messages[last] else { panic!("the lease's end") };
    let known = ClientMessage::FinalUpdate(sum.clone()).to_bytes();
    assert!(contains(&messages[last].to_bytes(), &known[3..12]));
}

/// No ciphertext is a trivial one, (1 + n)^m: those show their plaintext to everybody.
#[test]
fn every_ciphertext_is_randomised() {
    let (messages, ..) = received();
    let ClientMessage::Open { public_key, .. } = &messages[0] else { panic!("first of all") };
    let key = InsecurePaillier::public_key_from_bytes(public_key).unwrap();
    let n = BigUint::from_bytes_be(&key.modulus());
    let length = InsecurePaillier::ciphertext_len(&key);
    let mut seen = 0;
    for message in &messages {
        let (ClientMessage::EncryptedActivations { ciphertexts, .. }
        | ClientMessage::EncryptedErrors { ciphertexts, .. }) = message
        else {
            continue;
        };
        for block in ciphertexts.chunks(length) {
            let c = BigUint::from_bytes_be(block);
            assert_ne!((c - BigUint::one()) % &n, BigUint::default());
            seen += 1;
        }
    }
    assert_eq!(seen, STEPS * (4 + 5 + 3));
}

/// The masked updates: each of their l + sigma bits is 1 half of the time, within five standard
/// deviations, and the updates themselves leave no trace in the mean.
#[test]
fn masked_updates_are_uniform() {
    let (messages, ..) = received();
    let Precision { update_bits, mask_bits, .. } = Precision::TRAINING;
    let updates = messages.iter().filter_map(|message| match message {
        ClientMessage::MaskedUpdate(update) => Some(update),
        _ => None,
    });
    let values: Vec<i128> = updates.flat_map(|u| u.values().copied()).collect();
    assert_eq!(values.len(), (STEPS - 1) * zoo::iris().parameters());
    let half = values.len() as f64 / 2.0;
    for bit in 0..update_bits + mask_bits {
        let ones = values.iter().filter(|&v| v >> bit & 1 == 1).count() as f64;
        assert!((ones - half).abs() < 5.0 * (half / 2.0).sqrt(), "bit {bit}: {ones} ones");
    }
}
