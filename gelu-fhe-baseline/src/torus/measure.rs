//! How precise an encrypted evaluation is, layer by layer: for experiments, by whoever has the key.

use gelu_core::error::Result;
use rand_core::CryptoRng;

use super::plan::from_torus;
use super::{ClientKey, EvaluationKey, Plan};

/// The precision of one layer's sums.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerPrecision {
    /// The layer.
    pub layer: String,
    /// The root mean square error of β·z, as a share of the layer's whole range, in bits: errors of
    /// all layers before included.
    pub measured_bits: f64,
    /// The worst error, likewise.
    pub worst_bits: f64,
}

/// Evaluates one sample and compares every sum with the noiseless one.
///
/// # Errors
/// As [`ClientKey::encrypt`] and [`EvaluationKey::evaluate`].
pub fn precision(
    client: &ClientKey,
    server: &EvaluationKey,
    plan: &Plan,
    sample: &[f64],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<LayerPrecision>> {
    let exact = plan.sums(sample);
    let mut ciphertexts = server.accept(plan, client.encrypt(plan, sample, rng)?)?;
    let mut found = Vec::new();
    for (stage, exact) in plan.stages().iter().zip(&exact) {
        let sums = server.sums(stage, &ciphertexts);
        let error = |(c, exact): (_, &u64)| {
            // The difference is small, whichever way round the circle its parts are.
            let difference = client.phase(c) - from_torus(*exact);
            difference - libm::round(difference)
        };
        let errors: Vec<f64> = sums.iter().zip(exact).map(error).collect();
        let mean = errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
        let worst = errors.iter().fold(0.0, |worst: f64, e| worst.max(e.abs()));
        let range = 2.0 * stage.bound() * stage.scale();
        found.push(LayerPrecision {
            layer: stage.name().into(),
            measured_bits: libm::log2(range / mean.sqrt()),
            worst_bits: libm::log2(range / worst),
        });
        ciphertexts = server.look_up(stage, sums, &|_| ());
    }
    Ok(found)
}
