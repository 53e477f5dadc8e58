//! Half gates as a [`TwoParty`] protocol: a request is a batch of transfers.

use gelu_core::circuit::two_party::{Batch, Sizes, TwoParty};
use gelu_core::error::Result;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::cot::transfer_bytes;
use crate::{
    Bits, CotReceiver, CotSender, Evaluation, Evaluator, Garbler, Garbling, Labels, Offer, Session,
    Task,
};

/// Garbled circuits with half gates over SoftSpoken transfers: see the [module](crate).
#[derive(Debug)]
pub struct HalfGates;

/// The server's session before the client's answer.
#[derive(Debug)]
pub struct SessionOffer {
    session: Session,
    offer: Offer,
}

/// The server's session, after its base transfers.
#[derive(Debug)]
pub struct GarblerSession {
    transfers: CotSender,
    garbler: Garbler,
}

impl GarblerSession {
    /// With the transfers of the session of this name.
    pub fn new(session: &Session, transfers: CotSender) -> Self {
        Self { garbler: Garbler::new(session, transfers.delta()), transfers }
    }
}

/// The client's session, after its base transfers.
#[derive(Debug)]
pub struct EvaluatorSession {
    transfers: CotReceiver,
    evaluator: Evaluator,
}

impl EvaluatorSession {
    /// With the transfers of the session of this name.
    pub fn new(session: &Session, transfers: CotReceiver) -> Self {
        Self { evaluator: Evaluator::new(session), transfers }
    }
}

fn task<'a>(batch: &Batch<'a>) -> Result<Task<'a>> {
    Task::new(&batch.stage.circuit, batch.stage.neurons.len(), batch.ring_bits)
}

impl TwoParty for HalfGates {
    type Offer = SessionOffer;
    type Garbler = GarblerSession;
    type Evaluator = EvaluatorSession;
    type Garbling = Garbling;
    type Request = Labels;
    type Evaluation = Evaluation;

    const SETUP: [usize; 2] = [Offer::BYTES, CotReceiver::ANSWER_BYTES];

    fn sizes(batch: &Batch<'_>) -> Result<Sizes> {
        let task = task(batch)?;
        let (garbled, encoded) = (task.offline_bytes(), task.online_bytes());
        Ok(Sizes { request: transfer_bytes(task.inputs()[1]), garbled, encoded })
    }

    fn offer(session: [u8; 32], rng: &mut dyn CryptoRng) -> (SessionOffer, Vec<u8>) {
        let session = Session::new(session);
        let (offer, message) = Offer::new(session, rng);
        (SessionOffer { session, offer }, message)
    }

    fn answer(
        session: [u8; 32],
        offer: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(EvaluatorSession, Vec<u8>)> {
        let session = Session::new(session);
        let (transfers, answer) = CotReceiver::answer(session, offer, rng)?;
        Ok((EvaluatorSession::new(&session, transfers), answer))
    }

    fn accept(
        SessionOffer { session, offer }: SessionOffer,
        answer: &[u8],
    ) -> Result<GarblerSession> {
        Ok(GarblerSession::new(&session, offer.accept(answer)?))
    }

    fn request(
        evaluator: &mut EvaluatorSession,
        batch: &Batch<'_>,
        shares: &[u64],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Labels, Vec<u8>)> {
        evaluator.transfers.extend(&Bits::of_shares(shares, batch.stage.bits), rng)
    }

    fn garble(
        mut garbler: GarblerSession,
        batch: &Batch<'_>,
        request: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(GarblerSession, Garbling, Vec<u8>)> {
        let task = task(batch)?;
        let zeros;
        (garbler.transfers, zeros) = garbler.transfers.extend(task.inputs()[1], request)?;
        let (garbling, tables) = garbler.garbler.garble(&task, zeros, rng)?;
        Ok((garbler, garbling, tables))
    }

    fn receive(
        evaluator: &mut EvaluatorSession,
        batch: &Batch<'_>,
        request: Labels,
        garbled: Vec<u8>,
    ) -> Result<Evaluation> {
        evaluator.evaluator.receive(&task(batch)?, request, garbled)
    }

    fn encode(
        garbling: Garbling,
        batch: &Batch<'_>,
        shares: &[u64],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)> {
        garbling.encode(&Bits::of_shares(shares, batch.stage.bits))
    }

    fn evaluate(evaluation: Evaluation, batch: &Batch<'_>, encoded: &[u8]) -> Result<Vec<u64>> {
        evaluation.evaluate(&task(batch)?, encoded)
    }
}
