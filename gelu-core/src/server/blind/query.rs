//! One query on its way through the server.

use std::vec::IntoIter;

use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::cache::Weights;
use super::ticket::{Half, Ticket};
use crate::blind::{Answer, Circuits, numbers};
use crate::circuit::two_party::{TwoParty, without_rho};
use crate::error::Result;
use crate::message::ServerMessage;

/// A query between two stages; it sees one version of the model to its end.
pub(super) struct Query<P: TwoParty> {
    weights: Weights,
    pub(super) stage: usize,
    samples: Vec<Sample<P>>,
}

struct Sample<P: TwoParty> {
    stages: IntoIter<Half<P>>,
    /// What the client's last numbers are too large by.
    rho: Zeroizing<Vec<u64>>,
}

/// What a stage is answered with, and the query if it goes on.
type Answered<P> = (ServerMessage, Option<Query<P>>);

impl<P: TwoParty> Query<P> {
    /// With a spent ticket for each sample.
    pub(super) fn new(weights: Weights, tickets: Vec<Ticket<P>>) -> Self {
        let sample =
            |ticket: Ticket<P>| Sample { stages: ticket.into_iter(), rho: Zeroizing::default() };
        Self { weights, stage: 0, samples: tickets.into_iter().map(sample).collect() }
    }

    /// Takes ρ off what came out of the stage before, and answers the next one.
    pub(super) fn go_on(self, circuits: &Circuits, hidden: &[u8]) -> Result<Answered<P>> {
        let batch = circuits.stages()[self.stage - 1].batch().expect("only the last has none");
        let (each, samples) = (batch.stage.neurons.len(), self.samples.len());
        let what = "a stage's hidden results";
        let hidden = numbers::read(what, hidden, each * samples, batch.ring_bits)?;
        let inputs = hidden.chunks_exact(each).zip(&self.samples);
        let inputs = inputs.map(|(hidden, sample)| without_rho(&batch, hidden, &sample.rho));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        self.answer(circuits, inputs.iter().map(Vec::as_slice))
    }

    /// Answers one stage of all samples; of each, its hidden inputs x − r.
    pub(super) fn answer<'a>(
        mut self,
        circuits: &Circuits,
        inputs: impl Iterator<Item = &'a [u64]>,
    ) -> Result<Answered<P>> {
        let (number, stage) = (self.stage, &circuits.stages()[self.stage]);
        let is_last = number + 1 == circuits.stages().len();
        let weighted = &self.weights[number];
        let (mut labels, mut numbers) = (Vec::new(), Vec::new());
        for (sample, x) in self.samples.iter_mut().zip(inputs) {
            match (sample.stages.next().expect("a stage of the ticket"), stage.batch()) {
                (Half::Circuit(ticket), Some(batch)) => {
                    let bytes;
                    (bytes, sample.rho) = ticket.answer(&batch, weighted, x)?;
                    labels.push(ByteBuf::from(bytes));
                    if is_last {
                        numbers::write(&sample.rho, batch.ring_bits, &mut numbers);
                    }
                }
                (Half::Scores(mask), _) => {
                    let bits = stage.ring_bits;
                    let share = mask.share((bits, stage.offset), weighted, x)?;
                    numbers::write(&share, bits, &mut numbers);
                }
                (Half::Circuit(_), None) => unreachable!("garbled from a circuit"),
            }
        }
        self.stage += 1;
        Ok(match (is_last, circuits.answer()) {
            (false, _) => {
                let stage = u32::try_from(number).expect("few stages");
                (ServerMessage::ShareLabels { stage, samples: labels }, Some(self))
            }
            (true, Answer::Class) => {
                (ServerMessage::ClassLabels { samples: labels, rho: numbers }, None)
            }
            (true, Answer::Scores) => (ServerMessage::ScoreShares { numbers }, None),
        })
    }
}
