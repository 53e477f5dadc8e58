//! Whole evaluations against the plan in the clear, and measured noise against the formulas.

use std::sync::LazyLock;

use gelu_core::linear::{Tap, Taps};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::*;

static KEYS: LazyLock<(ClientKey, EvaluationKey)> = LazyLock::new(|| keys(Parameters::fast(), 1));
const QUARTER_MORE: Range = Range::Calibrated { margin: 0.25 };

fn keys(parameters: Parameters, seed: u64) -> (ClientKey, EvaluationKey) {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let client = ClientKey::generate(parameters, rng);
    let server = client.evaluation_key(rng);
    (client, server)
}

/// A dense layer, its matrix row by row.
fn dense(
    name: &str,
    inputs: u32,
    entries: &[f64],
    offsets: &[f64],
    function: Option<fn(f64) -> f64>,
) -> Layer {
    let row = |o: usize| -> Vec<Tap> {
        let weight = |i| u32::try_from(o).unwrap() * inputs + i;
        (0..inputs).map(|i| Tap { source: i, weight: weight(i) }).collect()
    };
    Layer {
        name: name.into(),
        inputs: inputs as usize,
        taps: Taps::from_rows((0..offsets.len()).map(row)),
        entries: entries.to_vec(),
        offsets: offsets.to_vec(),
        function: function.map(Function::new),
    }
}

/// x ↦ f(x) ↦ x, for the noise alone.
fn through(f: fn(f64) -> f64) -> Vec<Layer> {
    vec![dense("first", 1, &[1.0], &[0.0], Some(f)), dense("last", 1, &[1.0], &[0.0], None)]
}

fn run(
    (client, server): &(ClientKey, EvaluationKey),
    plan: &Plan,
    x: &[f64],
    seed: u64,
) -> Vec<f64> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let inputs = client.encrypt(plan, x, rng).unwrap();
    let inputs = EncryptedInputs::from_bytes(&inputs.to_bytes(), plan.inputs()).unwrap();
    let scores = server.evaluate(plan, inputs, &|_| ()).unwrap();
    let scores =
        EncryptedScores::from_bytes(plan.parameters(), &scores.to_bytes(), plan.outputs()).unwrap();
    client.decrypt(plan, &scores)
}

fn samples(rows: usize, count: usize, seed: u64) -> Array2<f64> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, count), || rng.random_range(-1.0..1.0))
}

fn root_mean_square(errors: &[f64]) -> f64 {
    (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt()
}

/// Key switch and modulus switch move the entry that a table is read at; a bootstrap adds its own.
/// The root mean square of 60 measurements is within 40 % of the true deviation but once in ten
/// thousand; the prediction itself is a heuristic.
#[test]
fn noise_is_as_predicted() {
    let measure = |keys: &(ClientKey, EvaluationKey), f: fn(f64) -> f64, reach: f64| {
        let calibration = samples(1, 50, 2);
        let parameters = *keys.0.parameters();
        let plan = Plan::new(parameters, through(f), calibration.view(), QUARTER_MORE, 2).unwrap();
        let errors: Vec<_> = (0..60)
            .map(|i| {
                let x = reach * (f64::from(i) / 30.0 - 1.0);
                run(keys, &plan, &[x], u64::from(i as u32))[0] - plan.evaluate(&[x])[0]
            })
            .collect();
        (root_mean_square(&errors), plan)
    };
    let near = |measured: f64, predicted: f64| {
        assert!((0.6..1.6).contains(&(measured / predicted)), "{measured} {predicted}");
    };
    // A straight table shows the position's noise; the bootstrap's is far below.
    let (measured, plan) = measure(&KEYS, |z| z, 0.9);
    near(measured, plan.stages()[0].noise());
    // A constant table shows the bootstrap's noise alone.
    let (measured, plan) = measure(&KEYS, |_| 0.3, 0.9);
    near(measured, plan.stages()[1].noise());
    let precise = keys(Parameters::precise(), 2);
    let (_, finer) = measure(&precise, |z| z, 0.9);
    assert!(finer.stages()[1].noise() < plan.stages()[1].noise());
    let (measured, plan) = measure(&precise, |_| 0.3, 0.9);
    near(measured, plan.stages()[1].noise());
}

/// Any function of one number, at one price: the encrypted scores are those of the plan in the
/// clear up to the noise that it predicts.
#[test]
fn encrypted_scores_are_the_plain_ones_up_to_noise() {
    let functions: [fn(f64) -> f64; 4] = [
        |z| z * z,
        |z| z.max(0.0),
        libm::tanh,
        |z| 0.5 + z / 4.0 - z.powi(3) / 48.0 + z.powi(5) / 480.0,
    ];
    for f in functions {
        let first = samples(6, 4, 3).into_raw_vec_and_offset().0;
        let last = samples(6, 2, 4).into_raw_vec_and_offset().0;
        let layers = vec![
            dense("hidden", 4, &first, &[0.1, -0.2, 0.0, 0.3, 0.0, 0.0], Some(f)),
            dense("scores", 6, &last, &[0.05, -0.05], None),
        ];
        let x = samples(4, 40, 5);
        let plan = Plan::new(Parameters::fast(), layers, x.view(), QUARTER_MORE, 2).unwrap();
        // |f'| ≤ 2·bound for the square, less for the others; rows of six weights within ±1.
        let steepest = 2.0 * plan.stages()[0].bound().max(1.0);
        let deviation =
            plan.stages()[1].noise() + 6f64.sqrt() * steepest * plan.stages()[0].noise();
        for column in [0, 1, 2] {
            let x = x.column(column).to_vec();
            plan.check(&x).unwrap();
            for (got, expected) in run(&KEYS, &plan, &x, 9).iter().zip(plan.evaluate(&x)) {
                assert!((got - expected).abs() < 6.0 * deviation, "{got} {expected} {deviation}");
            }
        }
    }
}

/// What leaves the range is read from the other half of the circle, where the table is negated.
#[test]
fn an_overflow_flips_the_sign() {
    let x = samples(1, 30, 6);
    let square = |z: f64| z * z;
    let plan = Plan::new(Parameters::fast(), through(square), x.view(), QUARTER_MORE, 2).unwrap();
    let bound = plan.stages()[0].bound();
    assert_eq!(
        plan.check(&[1.6 * bound]).unwrap_err().to_string(),
        format!(
            "misuse of the interface: first: a sum of {:.3} leaves the range of ±{bound:.3}",
            1.6 * bound
        )
    );
    // 1.6·bound is 0.4 of the way round and reads the entry of −0.4·bound.
    let wrapped = -square(0.4 * bound);
    for score in [plan.evaluate(&[1.6 * bound])[0], run(&KEYS, &plan, &[1.6 * bound], 7)[0]] {
        assert!((score - wrapped).abs() < 0.05 * bound * bound, "{score} {wrapped}");
    }
}

#[test]
fn a_range_that_is_too_wide_is_refused_by_name() {
    let x = samples(400, 20, 8);
    let weights = samples(400, 1, 9).into_raw_vec_and_offset().0;
    let layers = |f: fn(f64) -> f64| {
        vec![dense("wide", 400, &weights, &[0.0], Some(f)), dense("last", 1, &[1.0], &[0.0], None)]
    };
    let new = |layers, range, bits| Plan::new(Parameters::fast(), layers, x.view(), range, bits);
    new(layers(libm::tanh), QUARTER_MORE, 4).unwrap();
    let refused = new(layers(libm::tanh), Range::Proven, 5).unwrap_err().to_string();
    assert!(refused.contains("wide needs") && refused.contains("bits"), "{refused}");
    assert!(new(layers(|z| 1.0 / z.min(0.0)), Range::Proven, 2).is_err(), "an infinite table");
}

#[test]
fn malformed_input_is_refused() {
    let x = samples(1, 5, 10);
    let plan =
        |parameters| Plan::new(parameters, through(|z| z), x.view(), QUARTER_MORE, 2).unwrap();
    let plans = [plan(Parameters::fast()), plan(Parameters::precise())];
    let (client, server) = &*KEYS;
    let rng = &mut ChaCha20Rng::seed_from_u64(11);
    assert!(client.encrypt(&plans[0], &[0.1, 0.2], rng).is_err());
    let inputs = client.encrypt(&plans[0], &[0.1], rng).unwrap();
    let bytes = inputs.to_bytes();
    assert!(EncryptedInputs::from_bytes(&bytes[1..], 1).is_err());
    assert!(EncryptedInputs::from_bytes(&bytes, 2).is_err());
    assert!(EncryptedScores::from_bytes(plans[0].parameters(), &bytes, 1).is_err());
    assert!(server.evaluate(&plans[1], inputs, &|_| ()).is_err(), "other parameters");
    let two = EncryptedInputs::from_bytes(&[0; 32], 2).unwrap();
    assert!(server.evaluate(&plans[0], two, &|_| ()).is_err());
    let unfit = vec![dense("a", 2, &[1.0, 1.0], &[0.0], None)];
    assert!(Plan::new(Parameters::fast(), unfit, x.view(), QUARTER_MORE, 2).is_err());
    let unfinished = vec![through(|z| z).remove(0)];
    assert!(Plan::new(Parameters::fast(), unfinished, x.view(), QUARTER_MORE, 2).is_err());
    assert!(!format!("{client:?}").contains("small"), "{client:?}");
}
