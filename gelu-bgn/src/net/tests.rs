//! Whole queries between cloud and key holder, against the oracle.

use gelu_core::Error;
use gelu_core::error::ApiMisuse;
use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::*;
use crate::keys::SecretKey;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Small masks and a small table, to be quick.
fn settings() -> Settings {
    Settings { value_bits: 7, mask_bits: 4, range_bits: 30, table_bits: 12, ..Settings::default() }
}

fn layer(name: &str, inputs: usize, outputs: usize, sum_bound: Option<f64>) -> RealLayer {
    let number = |i: usize| (i * 7919 % 101) as f64 / 101.0 - 0.5;
    let weights = (0..inputs * outputs).map(number).collect();
    let biases = (0..outputs).map(|o| number(o + 17)).collect();
    RealLayer { name: name.into(), weights, biases, sum_bound }
}

/// Two hidden layers.
fn model() -> Model {
    let layers = [
        layer("dense1", 3, 2, None),
        layer("dense2", 2, 2, Some(2.0)),
        layer("dense3", 2, 3, None),
    ];
    Model::new(&layers, 2.0, settings()).unwrap()
}

/// A query as the parties see it: the first brings two features, the second the rest.
fn run(
    model: &Model,
    holder: &KeyHolder,
    cloud: &Cloud,
    query: &[f64],
    seed: u64,
) -> gelu_core::Result<(Vec<i64>, Costs)> {
    let (plan, public, rng) = (model.plan(), holder.secret_key().public_key(), &mut rng(seed));
    let (first, second) = query.split_at(2);
    let encrypt = |x, rng: &mut ChaCha20Rng| EncryptedInputs::encrypt(public, plan, x, rng);
    let parts = [encrypt(first, &mut *rng)?, encrypt(second, &mut *rng)?];
    let inputs = EncryptedInputs::join(&parts)?;
    let mut session = holder.session();
    let mut turn = cloud.evaluate(&inputs, &mut self::rng(seed + 1000))?;
    loop {
        match turn {
            Turn::Ask(evaluation, masked) => {
                let masked = MaskedValues::from_bytes(masked.as_bytes().to_vec());
                let answer = session.refresh(&masked, rng)?;
                turn = evaluation.receive(&answer, rng)?;
            }
            Turn::Done(scores, costs) => {
                let (scores, more) = session.finish(&scores)?;
                let encryptions = Costs {
                    encryptions_g1: query.len(),
                    bytes_to_cloud: inputs.as_bytes().len(),
                    ..Costs::default()
                };
                return Ok((scores, costs + more + encryptions));
            }
        }
    }
}

fn parties(model: &Model) -> (KeyHolder, Cloud) {
    let rng = &mut rng(1);
    let holder = KeyHolder::new(SecretKey::generate(rng), model.plan()).unwrap();
    let public = holder.secret_key().public_key();
    let cloud = Cloud::new(public, model.plan(), &model.encrypt(public, rng)).unwrap();
    (holder, cloud)
}

#[test]
fn encrypted_scores_are_those_of_the_oracle() {
    let model = model();
    let (holder, cloud) = parties(&model);
    for (seed, query) in [[1.5, -2.0, 0.3], [0.0; 3], [2.0; 3], [-2.0; 3]].iter().enumerate() {
        let seed = seed as u64;
        let (scores, costs) = run(&model, &holder, &cloud, query, seed).unwrap();
        let masks = &mut oracle::Masks::new(&mut rng(seed + 1000));
        let (expected, bounded) = oracle::evaluate(&model, query, masks).unwrap();
        assert_eq!(scores, expected);
        assert!(bounded);
        assert_eq!(costs, inference(model.plan()), "the formula counts what runs");
    }
}

/// Dithers decide roundings, so another seed gives other scores, sooner or later, and close ones.
#[test]
fn masks_matter_a_little() {
    let model = model();
    let scores = |seed| {
        let masks = &mut oracle::Masks::new(&mut rng(seed));
        oracle::evaluate(&model, &[1.5, -2.0, 0.3], masks).unwrap().0
    };
    let first = scores(0);
    let others: Vec<_> = (1..20).map(scores).collect();
    assert!(others.iter().any(|other| *other != first));
    let close = |other: &Vec<i64>| first.iter().zip(other).all(|(a, b)| (a - b).abs() < 400);
    assert!(others.iter().all(close), "{first:?} {others:?}");
}

/// A sum far beyond its declared bound is an error, never a wrong score.
#[test]
fn overflow_ends_the_query_without_detail() {
    let mut layers = [layer("dense1", 3, 2, Some(0.25)), layer("dense2", 2, 3, None)];
    layers[0].weights.fill(8.0);
    let model = Model::new(&layers, 64.0, settings()).unwrap();
    let (holder, cloud) = parties(&model);
    assert!(run(&model, &holder, &cloud, &[0.0, 0.01, 0.0], 1).is_ok());
    let overflow = run(&model, &holder, &cloud, &[64.0; 3], 1);
    assert_eq!(overflow.unwrap_err(), Error::Decryption);
}

#[test]
fn messages_out_of_turn_or_shape_are_refused() {
    let model = model();
    let (holder, cloud) = parties(&model);
    let (public, rng) = (holder.secret_key().public_key(), &mut rng(2));
    let inputs = EncryptedInputs::encrypt(public, model.plan(), &[0.0; 3], rng).unwrap();
    let Turn::Ask(evaluation, masked) = cloud.evaluate(&inputs, rng).unwrap() else { panic!() };

    let mut session = holder.session();
    let short = MaskedValues::from_bytes(masked.as_bytes()[1..].to_vec());
    assert!(matches!(session.refresh(&short, rng), Err(Error::PeerMisbehaved(_))));
    let garbage = MaskedValues::from_bytes(vec![7; masked.as_bytes().len()]);
    assert!(matches!(session.refresh(&garbage, rng), Err(Error::PeerMisbehaved(_))));
    let early = EncryptedScores::from_bytes(masked.as_bytes().to_vec());
    let misuse = holder.session().finish(&early).unwrap_err();
    assert!(matches!(misuse, Error::ApiMisuse(ApiMisuse::State { .. })));

    let answer = session.refresh(&masked, rng).unwrap();
    let cut = answer.as_bytes().len() - 1;
    let short = RefreshedValues::from_bytes(answer.as_bytes()[..cut].to_vec());
    assert!(matches!(evaluation.receive(&short, rng), Err(Error::PeerMisbehaved(_))));
    for wrong in [vec![], vec![0; 95], inputs.as_bytes()[96..].to_vec()] {
        assert!(cloud.evaluate(&EncryptedInputs::from_bytes(wrong), rng).is_err());
    }
    let no_model = EncryptedModel::from_bytes(vec![0; 192]);
    assert!(Cloud::new(public, model.plan(), &no_model).is_err());
    assert!(EncryptedInputs::join(&[]).is_err());
}

/// No message shows the same bytes twice, though the plaintexts are the same.
#[test]
fn equal_queries_look_different() {
    let model = model();
    let (holder, cloud) = parties(&model);
    let (public, rng) = (holder.secret_key().public_key(), &mut rng(3));
    let mut encrypt = || EncryptedInputs::encrypt(public, model.plan(), &[1.0; 3], rng).unwrap();
    let (a, b) = (encrypt(), encrypt());
    assert_ne!(a, b);
    assert_ne!(a.as_bytes()[..96], a.as_bytes()[96..192]);
    let ask = |seed| match cloud.evaluate(&a, &mut self::rng(seed)).unwrap() {
        Turn::Ask(_, masked) => masked,
        Turn::Done(..) => panic!("there are hidden layers"),
    };
    assert_ne!(ask(1), ask(2));
    assert_eq!(ask(1), ask(1), "the seed determines every byte");
}
