//! A network as blind inference computes it: for each stage its ring, and the circuit that follows its sums.

use serde::{Deserialize, Serialize};

use crate::circuit::two_party::Batch;
use crate::circuit::{self, Numbers, StageCircuit};
use crate::error::{ApiMisuse, Error, Result};
use crate::fixed::{Precision, exp2, signed_bits_for};
use crate::network::Network;
use crate::plan::{Direction, Purpose, weight_bound, widest_value};

/// What the client gets to know of a blind query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Answer {
    /// The index of the largest score: the bits of a class.
    #[default]
    Class,
    /// All scores, and with them the probabilities: the bits of every score.
    Scores,
}

/// One stage: see [`Circuits`].
#[derive(Debug)]
pub struct BlindStage {
    /// The stage's name.
    pub name: String,
    /// l: inputs and sums are shared modulo 2^l.
    pub ring_bits: u32,
    /// What the server adds to every sum: half a unit for rounding, or where a table begins.
    pub offset: i128,
    /// |W·r| < 2^(`product_bits` − 1), for masks r within ±2^(l−1).
    pub product_bits: u32,
    /// Bits of the widest entry of W, sign included.
    pub weight_bits: u32,
    /// What both parties compute on shares of the sums; none where the client puts the scores together.
    pub circuit: Option<StageCircuit>,
    /// m: what comes out is shared modulo 2^m.
    output_bits: u32,
}

impl BlindStage {
    /// Its circuits, if it has any.
    pub fn batch(&self) -> Option<Batch<'_>> {
        let stage = self.circuit.as_ref()?;
        Some(Batch { stage, ring_bits: self.output_bits })
    }
}

/// Rings and circuits of all stages, from the network and its formats alone: both parties derive the same.
///
/// l covers the sums' bound of the [range analysis](crate::plan) and the offset; the circuit's outputs are numbers
/// in the next stage's ring.
#[derive(Debug)]
pub struct Circuits {
    answer: Answer,
    stages: Vec<BlindStage>,
}

impl Circuits {
    /// Builds them.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the layer that cannot be computed blindly: its divisor is no power of two, a
    /// local function after it has no circuit, it is part of a shortcut, or its numbers leave 53 bits. For
    /// [`Answer::Class`], too, a local function after the last linear layer.
    pub fn new(network: &Network, precision: &Precision, answer: Answer) -> Result<Self> {
        precision.validate()?;
        let last = network.stages().len() - 1;
        let mut stages = (0..=last)
            .map(|stage| {
                BlindStage::new(network, precision, stage, (stage == last).then_some(answer))
            })
            .collect::<Result<Vec<_>>>()?;
        for stage in 0..last {
            stages[stage].output_bits = stages[stage + 1].ring_bits;
        }
        Ok(Self { answer, stages })
    }

    /// What the client gets to know.
    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// One for each stage of the network, at least one.
    pub fn stages(&self) -> &[BlindStage] {
        &self.stages
    }

    /// How many stages are garbled: all, or all but the last one.
    pub(crate) fn garbled_stages(&self) -> usize {
        self.stages.iter().filter(|stage| stage.circuit.is_some()).count()
    }

    /// Bits that the client is told about one sample: of the class, or of all scores.
    pub fn answer_bits(&self, network: &Network) -> u64 {
        let last = self.stages.last().expect("a network has a stage");
        match self.answer {
            Answer::Class => u64::from(last.output_bits),
            Answer::Scores => u64::from(last.ring_bits) * network.classes() as u64,
        }
    }
}

impl BlindStage {
    /// Without its output ring, which is that of the next stage; the last one has an `answer`.
    fn new(
        network: &Network,
        precision: &Precision,
        number: usize,
        answer: Option<Answer>,
    ) -> Result<Self> {
        let stage = &network.stages()[number];
        let (name, linear) = (&stage.name, &stage.linear);
        let weight = weight_bound(precision, Purpose::Inference, false);
        let widest = widest_value(linear, precision, Direction::Forward, weight);
        let locals = circuit::locals(network, number)?;
        let outputs = linear.outputs();
        let circuit = match answer {
            Some(Answer::Scores) => None,
            Some(Answer::Class) => {
                if let Some(local) = locals.first() {
                    let what = format!("{} after {name}", local.name());
                    let why = "follows the last linear layer, and a class is that of its largest \
                               sum: ask for scores";
                    return Err(ApiMisuse::configuration(what, why).into());
                }
                Some(class_circuit(outputs, exact(name, widest)?)?)
            }
            None => {
                let numbers = Numbers::of(name, linear, precision, exact(name, widest)?)?;
                let made = circuit::stage(&locals, outputs, &numbers);
                Some(made.map_err(|error| behind(name, error))?)
            }
        };
        let (ring_bits, offset) = match &circuit {
            Some(circuit) => (circuit.bits, circuit.offset),
            None => (signed_bits_for(widest), 0),
        };
        if ring_bits > u64::BITS {
            let why = format!("needs {ring_bits} bits for its sums, and shares have at most 64");
            return Err(ApiMisuse::configuration(name, why).into());
        }
        let product = linear.forward_gain() as f64 * weight * exp2(ring_bits - 1);
        Ok(Self {
            name: name.clone(),
            ring_bits,
            offset,
            product_bits: signed_bits_for(product),
            weight_bits: signed_bits_for(weight * linear.entry_gain() as f64),
            circuit,
            output_bits: class_bits(outputs),
        })
    }
}

/// The bound of sums as an integer, if it is one in 64-bit floating point.
fn exact(name: &str, widest: f64) -> Result<i128> {
    if widest >= exp2(f64::MANTISSA_DIGITS) {
        let why = format!(
            "has sums of more than {} bits, which the clear network rounds: take narrower formats",
            f64::MANTISSA_DIGITS
        );
        return Err(ApiMisuse::configuration(name, why).into());
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
    Ok(widest as i128)
}

/// The largest of `classes` sums within ±`bound`, by its index.
fn class_circuit(classes: usize, bound: i128) -> Result<StageCircuit> {
    let bits = signed_bits_for(bound as f64).max(2);
    let circuit = circuit::argmax(classes, bits)?;
    Ok(StageCircuit { circuit, bits, offset: 0, neurons: vec![(0..classes).collect()] })
}

/// Bits of a class, at least one.
fn class_bits(classes: usize) -> u32 {
    classes.next_power_of_two().ilog2().max(1)
}

/// An error about a local function, with the layer that it follows.
fn behind(layer: &str, error: Error) -> Error {
    match error {
        Error::ApiMisuse(ApiMisuse::Configuration { what, why }) => {
            ApiMisuse::configuration(format!("{what} after {layer}"), why).into()
        }
        other => other,
    }
}
