//! What blind queries give away: the bits of their answers, about all weights together.
//!
//! The sums of single layers stay hidden, so there is no equation about one row. An answer is a function of all
//! weights, and tells no more about them than it has bits. The count is a bound on information, as that of open queries is; which
//! weights the bits are about, the asker's choice of inputs decides.
//!
//! Open and blind queries of one account are two counts, and are not added up.

use super::exposure::{Exposure, LayerExposure, weight_bits};
use crate::blind::{Answer, Circuits};
use crate::fixed::Precision;
use crate::network::{Network, Stage};
use crate::plan::Direction;

/// The name under which blind queries are counted.
pub(super) const WHOLE_MODEL: &str = "the whole model";
/// The same for stages that all versions have in common.
pub(super) const FROZEN_STAGES: &str = "all frozen stages";

impl Exposure {
    /// What one sample of a blind query tells: the bits of a class or of all scores, against those of all weights.
    ///
    /// For a network with [frozen](Network::freeze) stages the bits are counted against these, too, over all
    /// versions of the model.
    pub fn blind(network: &Network, precision: &Precision, circuits: &Circuits) -> Self {
        let equations_per_sample = match circuits.answer() {
            Answer::Class => 1,
            Answer::Scores => network.classes() as u64,
        };
        let of = |layer: &str, stages: &[Stage], frozen| {
            let unknowns = |stage: &Stage| (stage.linear.weights() + stage.linear.biases()) as u64;
            let bits = |stage: &Stage| {
                let rows = stage.linear.output_components();
                let widest = rows.iter().map(|row| row.unknowns).max().expect("a component");
                unknowns(stage) * weight_bits(precision.weights, widest)
            };
            LayerExposure {
                layer: layer.into(),
                direction: Direction::Forward,
                unknowns: stages.iter().map(unknowns).sum(),
                equations_per_sample,
                secret_bits: stages.iter().map(bits).sum(),
                revealed_bits_per_sample: circuits.answer_bits(network),
                frozen,
            }
        };
        let mut model = vec![of(WHOLE_MODEL, network.stages(), false)];
        if network.frozen() > 0 {
            model.push(of(FROZEN_STAGES, &network.stages()[..network.frozen()], true));
        }
        Self { model, data: Vec::new() }
    }

    /// One sentence about blind queries, if this counts them.
    pub(super) fn blind_verdict(&self) -> Option<String> {
        let whole = self.model.iter().find(|layer| layer.layer == WHOLE_MODEL)?;
        let (bits, secret) = (whole.revealed_bits_per_sample, whole.secret_bits);
        let (safe, layer) = self.safe_samples();
        Some(format!(
            "a blind query tells {bits} bits about the {secret} of all weights together, and nothing about the \
             sums of a layer: after {safe} queries per client and model version, {} is still not determined",
            layer.layer
        ))
    }
}
