//! One query on its way through the server: hidden numbers up, labels down.

use std::vec::IntoIter;

use ndarray::Array2;
use serde_bytes::ByteBuf;

use super::ticket::{Half, StageTicket, Ticket};
use crate::blind::{Circuits, numbers};
use crate::circuit::locals;
use crate::circuit::two_party::{ClientTicket, TwoParty, reduced, ring};
use crate::error::{PeerMisbehaved, Result};
use crate::fixed::{Precision, centred};
use crate::message::ClientMessage;
use crate::network::Network;
use crate::pass::scale;

/// A query between two stages.
pub(super) struct Query<P: TwoParty> {
    pub(super) stage: usize,
    samples: Vec<Sample<P>>,
}

/// The current stage of one sample, and those that follow.
type Sample<P> = (Half<ClientTicket<P>>, IntoIter<StageTicket<ClientTicket<P>>>);

impl<P: TwoParty> Query<P> {
    /// x − r for the encoded `inputs`, `[features, samples]`, each with a ticket.
    pub(super) fn ask(
        tickets: impl Iterator<Item = Ticket<P>>,
        inputs: &Array2<i128>,
        ring_bits: u32,
    ) -> (Self, ClientMessage) {
        let (mut numbers, mut spent, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for (ticket, x) in tickets.zip(inputs.columns()) {
            spent.push(ticket.number);
            let mut stages = ticket.spend();
            let StageTicket { r, half } = stages.next().expect("a network has a stage");
            let hidden = |(x, r): (&i128, &u64)| reduced(ring(*x).wrapping_sub(*r), ring_bits);
            let hidden: Vec<_> = x.iter().zip(r.iter()).map(hidden).collect();
            numbers::write(&hidden, ring_bits, &mut numbers);
            samples.push((half, stages));
        }
        let message = ClientMessage::HiddenInputs { tickets: spent, numbers };
        (Self { stage: 0, samples }, message)
    }

    /// Evaluates the circuits of a stage, and hides what comes out for the server: (A + ρ) − r of the next one.
    pub(super) fn advance(
        self,
        circuits: &Circuits,
        stage: u32,
        labels: &[ByteBuf],
    ) -> Result<(Self, ClientMessage)> {
        PeerMisbehaved::check_equal("stage", stage as usize, self.stage)?;
        self.check_samples(labels)?;
        let batch = circuits.stages()[self.stage].batch().expect("only the last one has none");
        let (mut numbers, mut samples) = (Vec::new(), Vec::new());
        for ((half, mut rest), labels) in self.samples.into_iter().zip(labels) {
            let StageTicket { r, half: next } = rest.next().expect("not the last stage");
            let Half::Circuit(ticket) = half else { unreachable!("not the last stage") };
            numbers::write(&ticket.finish(&batch, labels, &r)?, batch.ring_bits, &mut numbers);
            samples.push((next, rest));
        }
        let message = ClientMessage::HiddenActivations { stage: stage + 1, numbers };
        Ok((Self { stage: self.stage + 1, samples }, message))
    }

    /// Puts the scores together, and makes probabilities of them as a [`Pass`](crate::Pass) does.
    pub(super) fn probabilities(
        self,
        circuits: &Circuits,
        (network, precision): (&Network, &Precision),
        shares: &[u8],
    ) -> Result<Array2<f64>> {
        let (linear, bits) =
            (&network.stages()[self.stage].linear, circuits.stages()[self.stage].ring_bits);
        let (outputs, samples) = (linear.outputs(), self.samples.len());
        let shares = numbers::read("a share of scores", shares, outputs * samples, bits)?;
        let mut sums = Array2::zeros((outputs, samples));
        for ((half, _), (mut column, shares)) in self
            .samples
            .iter()
            .zip(sums.columns_mut().into_iter().zip(shares.chunks_exact(outputs)))
        {
            let Half::Scores(c) = half else { unreachable!("the last stage of scores") };
            for ((sum, own), share) in column.iter_mut().zip(c.iter()).zip(shares) {
                *sum = centred(reduced(own.wrapping_add(*share), bits).into(), bits);
            }
        }
        let scores = sums.mapv(|z| z as f64 / scale(linear, precision));
        let locals = locals(network, self.stage)?;
        let scores = locals.iter().fold(scores, |z, local| local.forward(&z));
        Ok(network.loss().probabilities(&scores))
    }

    /// Evaluates the last circuits. An index that is no class, which no honest server sends, counts as the last class:
    /// to report it would tell the server something of the sums.
    pub(super) fn classes(
        self,
        circuits: &Circuits,
        classes: usize,
        labels: &[ByteBuf],
        rho: &[u8],
    ) -> Result<Vec<usize>> {
        self.check_samples(labels)?;
        let batch = circuits.stages()[self.stage].batch().expect("a circuit of the class");
        let rho = numbers::read("what hides classes", rho, labels.len(), batch.ring_bits)?;
        let samples = self.samples.into_iter().zip(labels).zip(rho.iter());
        let class = |(((half, _), labels), rho): ((Sample<P>, &ByteBuf), &u64)| {
            let Half::Circuit(ticket) = half else { unreachable!("the last stage of classes") };
            let class = ticket.finish(&batch, labels, &[*rho])?[0];
            Ok(usize::try_from(class).unwrap_or(usize::MAX).min(classes - 1))
        };
        samples.map(class).collect()
    }

    fn check_samples(&self, labels: &[ByteBuf]) -> Result<(), PeerMisbehaved> {
        PeerMisbehaved::check_equal("samples of labels", labels.len(), self.samples.len())
    }
}
