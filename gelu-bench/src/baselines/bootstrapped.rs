//! CryptoNets on TFHE: a network with the activations that it was trained with, a bootstrap for each.
//!
//! Ranges are calibrated on training samples, with a quarter more than they reach; the same network in
//! the same integers, in the clear and without noise, is what encrypted predictions are compared with.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gelu_core::pass::argmax;
use gelu_fhe_baseline::torus::{
    ClientKey, EncryptedInputs, EncryptedScores, EvaluationKey, Function, Layer, Parameters, Plan,
    Progress, Range,
};
use gelu_nn::{Dataset, Link, Model};
use rand::CryptoRng;
use rayon::prelude::*;

use crate::Error;

/// Training samples that set the ranges.
const CALIBRATION: usize = 2_000;
/// What a range has more than they reach.
const MARGIN: f64 = 0.25;
/// The root mean square of a layer's sums must be so many bits above its noise.
const SIGNAL_BITS: u32 = 2;

/// The plan of a model, its ranges calibrated on the first of the `training` samples.
///
/// # Errors
/// When a layer's range leaves too little precision, by its name.
pub fn plan(model: &Model, training: &Dataset, parameters: Parameters) -> Result<Plan, Error> {
    let layers = model.architecture().chain(&model.weights())?.into_iter().map(layer).collect();
    let samples: Vec<_> = (0..training.len().min(CALIBRATION)).collect();
    let calibration = training.batch(&samples).0;
    let range = Range::Calibrated { margin: MARGIN };
    Ok(Plan::new(parameters, layers, calibration.view(), range, SIGNAL_BITS)?)
}

fn layer(link: Link) -> Layer {
    let Link { name, inputs, taps, entries, offsets, activation } = link;
    let function = activation.map(|f| Function::new(move |z| f.value(z)));
    Layer { name, inputs, taps, entries, offsets, function }
}

/// What the plan's integers say of each sample, in the clear and without noise; and how many of the
/// samples leave a range.
pub fn in_the_clear(plan: &Plan, samples: &Dataset) -> (Vec<usize>, usize) {
    let columns: Vec<Vec<f64>> = (0..samples.len()).map(|i| sample(samples, i)).collect();
    let predictions = columns.par_iter().map(|x| argmax(plan.evaluate(x).into_iter())).collect();
    (predictions, columns.par_iter().filter(|x| plan.check(x).is_err()).count())
}

/// The features of one sample.
pub fn sample(samples: &Dataset, index: usize) -> Vec<f64> {
    samples.batch(&[index]).0.column(0).to_vec()
}

/// One sample, encrypted, evaluated, decrypted.
#[derive(Debug, Clone)]
pub struct Query {
    /// Client, before.
    pub encrypt: Duration,
    /// Server, layer by layer.
    pub layers: Vec<Duration>,
    /// Client, after.
    pub decrypt: Duration,
    /// Bytes to the server.
    pub up: usize,
    /// Bytes to the client.
    pub down: usize,
    /// The class with the largest score.
    pub prediction: usize,
}

impl Query {
    /// Runs it.
    ///
    /// # Errors
    /// When the sample does not fit the plan.
    pub fn run(
        client: &ClientKey,
        server: &EvaluationKey,
        plan: &Plan,
        sample: &[f64],
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let up = client.encrypt(plan, sample, rng)?.to_bytes();
        let encrypt = start.elapsed();

        let start = Instant::now();
        // The end of each layer with a table; the last layer ends with the evaluation.
        let ends = Mutex::new(Vec::new());
        let progress = |p: Progress<'_>| {
            if p.done == p.of {
                ends.lock().expect("no panic").push(start.elapsed());
            }
        };
        let inputs = EncryptedInputs::from_bytes(&up, plan.inputs())?;
        let scores = server.evaluate(plan, inputs, &progress)?;
        let down = scores.to_bytes();
        let mut ends = ends.into_inner().expect("no panic");
        ends.push(start.elapsed());
        let starts = [Duration::ZERO].into_iter().chain(ends.iter().copied());
        let layers = ends.iter().zip(starts).map(|(end, start)| *end - start).collect();

        let start = Instant::now();
        let scores = EncryptedScores::from_bytes(plan.parameters(), &down, plan.outputs())?;
        let prediction = argmax(client.decrypt(plan, &scores).into_iter());
        let decrypt = start.elapsed();
        Ok(Self { encrypt, layers, decrypt, up: up.len(), down: down.len(), prediction })
    }

    /// From the sample in the clear to its scores in the clear.
    pub fn total(&self) -> Duration {
        self.encrypt + self.layers.iter().sum::<Duration>() + self.decrypt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Precision;
    use gelu_nn::{Activation, Model, Sequential};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// The integers say nearly what the model says; under encryption it is what the integers say.
    #[test]
    fn a_model_becomes_a_plan() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let iris = Dataset::iris();
        let architecture = Sequential::dense(4, &[3], 3, Activation::Tanh).unwrap();
        let model = Model::initialise("small", architecture, Precision::INFERENCE, rng).unwrap();
        let plan = plan(&model, &iris, Parameters::fast()).unwrap();
        assert_eq!(plan.bootstraps(), 3);
        let (predictions, outside) = in_the_clear(&plan, &iris);
        let fixed = model.evaluate(&iris).unwrap().predictions;
        let equal = predictions.iter().zip(&fixed).filter(|(a, b)| a == b).count();
        assert!(equal >= 140 && outside == 0, "{equal} of 150 equal, {outside} outside");
        let client = ClientKey::generate(*plan.parameters(), rng);
        let server = client.evaluation_key(rng);
        let query = Query::run(&client, &server, &plan, &sample(&iris, 0), rng).unwrap();
        assert_eq!(query.prediction, predictions[0]);
        assert_eq!(query.layers.len(), 2);
    }
}
