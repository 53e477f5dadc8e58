//! One bootstrap of TFHE, for any function: a network of one number and back.

use gelu_core::linear::{Tap, Taps};
use gelu_fhe_baseline::torus::{ClientKey, Function, Layer, Parameters, Plan, Range};
use gelu_nn::Activation;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;

use super::{Amount, Cost};
use crate::Error;
use crate::timing::Patience;

/// Where the function is evaluated.
const AT: f64 = 0.6;
/// What a result may differ: TFHE's numbers have a few bits.
const TOLERANCE: f64 = 0.1;

/// Square, fifth order, and the exact sigmoid.
pub(super) fn costs(patience: Patience, rng: &mut ChaCha20Rng) -> Result<Vec<Cost>, Error> {
    [Activation::Square, Activation::Taylor5, Activation::Sigmoid]
        .into_iter()
        .map(|f| cost(f, patience, rng))
        .collect()
}

fn cost(f: Activation, patience: Patience, rng: &mut ChaCha20Rng) -> Result<Cost, Error> {
    let layer = |name: &str, function| Layer {
        name: name.into(),
        inputs: 1,
        taps: Taps::from_rows([[Tap { source: 0, weight: 0 }]]),
        entries: vec![1.0],
        offsets: vec![0.0],
        function,
    };
    let function = Function::new(move |z| f.value(z));
    let layers = vec![layer("activation", Some(function)), layer("out", None)];
    let samples = Array2::from_shape_fn((1, 101), |(_, i)| i as f64 / 50.0 - 1.0);
    let range = Range::Calibrated { margin: 0.25 };
    let plan = Plan::new(Parameters::fast(), layers, samples.view(), range, 2)?;
    let client = ClientKey::generate(*plan.parameters(), rng);
    let server = client.evaluation_key(rng);
    let inputs = client.encrypt(&plan, &[AT], rng)?;
    let evaluate = || server.evaluate(&plan, inputs.clone(), &|_| ());
    let scores = evaluate()?;
    let error = (client.decrypt(&plan, &scores)[0] - f.value(AT)).abs();
    if error > TOLERANCE {
        return Err(Error::WrongAnswer(format!("{f:?}({AT}) by a bootstrap of TFHE")));
    }
    let activation = patience.median(|| Ok(evaluate()?))?;
    let encrypt = patience.median(|| Ok(client.encrypt(&plan, &[AT], rng)?.to_bytes()))?;
    let decrypt = patience.median(|| Ok(client.decrypt(&plan, &scores)))?;
    let bytes = inputs.to_bytes().len() + scores.to_bytes().len();
    let name = match f {
        Activation::Square => "square".into(),
        Activation::Taylor5 => "5th order".into(),
        other => format!("{other:?}").to_lowercase(),
    };
    Ok(Cost {
        system: format!("TFHE bootstrap, {name}"),
        amount: Amount::Alone,
        communication: 0.0,
        seal: 0.0,
        decrypt,
        encrypt,
        activation,
        bytes: bytes as f64,
        interactive: false,
        remarks: format!(
            "any function by its table; {:.1} bits, off by {error:.3} here",
            plan.stages()[0].precision_bits()
        ),
    })
}
