//! One query of one stage: what each party keeps of it until then, and the order of the messages.

use core::fmt::{self, Debug};
use core::num::Wrapping;

use ndarray::ArrayView2;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Batch, Packed, TwoParty, reduced, ring, wrong_count};
use crate::error::{ApiMisuse, PeerMisbehaved, Result};
use crate::linear::LinearMap;

/// A linear map with its weights and offsets, modulo 2^64: made once for a version of a model.
pub struct Weighted {
    linear: LinearMap,
    entries: Vec<Wrapping<u64>>,
    offsets: Vec<u64>,
}

impl Weighted {
    /// `offsets` are what is added to each output: the bias in the sums' scale.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] for weights or offsets of another map.
    pub fn new(linear: &LinearMap, weights: &[i128], offsets: &[i128]) -> Result<Self> {
        let expected = [linear.weights(), linear.outputs()];
        let got = [weights.len(), offsets.len()];
        if expected != got {
            let (expected, got) = (expected.to_vec(), got.to_vec());
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        let weights: Vec<_> = weights.iter().map(|weight| Wrapping(ring(*weight))).collect();
        let (entries, linear) = (linear.entries(&weights), linear.clone());
        Ok(Self { linear, entries, offsets: offsets.iter().map(|b| ring(*b)).collect() })
    }

    /// W·x mod 2^`ring_bits`, for as many x as the map has inputs.
    fn product(&self, ring_bits: u32, x: &[u64]) -> Vec<u64> {
        let x: Vec<_> = x.iter().copied().map(Wrapping).collect();
        let x = ArrayView2::from_shape((x.len(), 1), &x).expect("as many values as places");
        let sums = self.linear.apply(&self.entries, x);
        sums.iter().map(|sum| reduced(sum.0, ring_bits)).collect()
    }
}

/// Without the weights.
impl Debug for Weighted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weighted({} entries, {} offsets)", self.entries.len(), self.offsets.len())
    }
}

/// s, with which the client's c = W·r − s was made: the server's half of one query of one linear map.
#[derive(Debug)]
pub struct ServerMask(Packed);

impl ServerMask {
    /// One number modulo 2^`ring_bits` for each output of the map.
    pub fn new(s: &[u64], ring_bits: u32) -> Self {
        Self(Packed::new(s, ring_bits))
    }

    /// Its share of the sums by the query x − r: W·(x − r) + s + b + `offset` mod 2^`ring_bits`.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for a query of another length, or with numbers outside the ring; [`ApiMisuse::Shape`] for
    /// the mask of another map.
    pub fn share(
        self,
        (ring_bits, offset): (u32, i128),
        weighted: &Weighted,
        query: &[u64],
    ) -> Result<Zeroizing<Vec<u64>>> {
        let Weighted { linear, offsets, .. } = weighted;
        PeerMisbehaved::check_equal("the length of a query", query.len(), linear.inputs())?;
        if let Some(x) = query.iter().find(|x| **x != reduced(**x, ring_bits)) {
            let below = format!("below 2^{ring_bits}");
            return Err(PeerMisbehaved::out_of_bounds("a number of a query", x, below).into());
        }
        let masks = self.0.unpack();
        if masks.len() != offsets.len() {
            return Err(wrong_count(offsets.len(), masks.len()));
        }
        let offset = ring(offset);
        let mut shares = Zeroizing::new(weighted.product(ring_bits, query));
        for ((share, s), b) in shares.iter_mut().zip(masks.iter()).zip(offsets) {
            let sum = share.wrapping_add(*s).wrapping_add(*b).wrapping_add(offset);
            *share = reduced(sum, ring_bits);
        }
        Ok(shares)
    }
}

/// The server's half of one stage's ticket, until its query: two answers would open the circuit, so the first takes
/// the ticket.
///
/// ```compile_fail,E0382
/// use gelu_core::circuit::two_party::{Batch, ServerTicket, TwoParty, Weighted};
/// fn twice<P: TwoParty>(ticket: ServerTicket<P>, batch: &Batch<'_>, w: &Weighted, query: &[u64]) {
///     let first = ticket.answer(batch, w, query);
///     let second = ticket.answer(batch, w, query);
/// }
/// ```
/// ```compile_fail,E0599
/// use gelu_core::circuit::two_party::{ServerTicket, TwoParty};
/// fn copy<P: TwoParty>(ticket: &ServerTicket<P>) -> ServerTicket<P> {
///     ticket.clone()
/// }
/// ```
/// Once compiles:
/// ```
/// use gelu_core::circuit::two_party::{Batch, ServerTicket, TwoParty, Weighted};
/// fn once<P: TwoParty>(ticket: ServerTicket<P>, batch: &Batch<'_>, w: &Weighted, query: &[u64]) {
///     let first = ticket.answer(batch, w, query);
/// }
/// ```
pub struct ServerTicket<P: TwoParty> {
    garbling: P::Garbling,
    mask: ServerMask,
}

impl<P: TwoParty> ServerTicket<P> {
    /// Garbles the stage for a client that has asked. `mask` is that of the map's outputs. Gives the bytes for the
    /// client.
    ///
    /// # Errors
    /// As [`TwoParty::garble`]; [`ApiMisuse::Shape`] for the mask of another map.
    pub fn new(
        garbler: P::Garbler,
        batch: &Batch<'_>,
        mask: ServerMask,
        request: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(P::Garbler, Self, Vec<u8>)> {
        batch.gathered(&mask.0.unpack())?;
        let (garbler, garbling, bytes) = P::garble(garbler, batch, request, rng)?;
        Ok((garbler, Self { garbling, mask }, bytes))
    }

    /// Answers the query x − r. Gives the bytes for the client, and ρ: what the client's next number is too large
    /// by.
    ///
    /// # Errors
    /// As [`ServerMask::share`].
    pub fn answer(
        self,
        batch: &Batch<'_>,
        weighted: &Weighted,
        query: &[u64],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)> {
        let ring = (batch.stage.bits, batch.stage.offset);
        let shares = self.mask.share(ring, weighted, query)?;
        P::encode(self.garbling, batch, &batch.gathered(&shares)?)
    }
}

/// Without the mask.
impl<P: TwoParty> Debug for ServerTicket<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTicket").field("garbling", &self.garbling).finish_non_exhaustive()
    }
}

/// The client's half of one stage's ticket, until its query: two queries under one r give the difference of their
/// inputs, so the first takes the ticket.
///
/// ```compile_fail,E0382
/// use gelu_core::circuit::two_party::{Batch, ClientTicket, TwoParty};
/// fn twice<P: TwoParty>(ticket: ClientTicket<P>, batch: &Batch<'_>, answer: &[u8], next: &[u64]) {
///     let first = ticket.finish(batch, answer, next);
///     let second = ticket.finish(batch, answer, next);
/// }
/// ```
/// Once compiles:
/// ```
/// use gelu_core::circuit::two_party::{Batch, ClientTicket, TwoParty};
/// fn once<P: TwoParty>(ticket: ClientTicket<P>, batch: &Batch<'_>, answer: &[u8], next: &[u64]) {
///     let first = ticket.finish(batch, answer, next);
/// }
/// ```
#[derive(Debug)]
pub struct ClientTicket<P: TwoParty> {
    evaluation: P::Evaluation,
}

impl<P: TwoParty> ClientTicket<P> {
    /// Asks for the stage's ticket with c = W·r − s mod 2^l, one for each output of the map.
    ///
    /// # Errors
    /// As [`TwoParty::request`].
    pub fn request(
        evaluator: &mut P::Evaluator,
        batch: &Batch<'_>,
        c: &[u64],
        rng: &mut dyn CryptoRng,
    ) -> Result<(P::Request, Vec<u8>)> {
        P::request(evaluator, batch, &batch.gathered(c)?, rng)
    }

    /// Takes the garbled stage.
    ///
    /// # Errors
    /// As [`TwoParty::receive`].
    pub fn receive(
        evaluator: &mut P::Evaluator,
        batch: &Batch<'_>,
        request: P::Request,
        garbled: Vec<u8>,
    ) -> Result<Self> {
        Ok(Self { evaluation: P::receive(evaluator, batch, request, garbled)? })
    }

    /// Takes the answer to its query, and hides the result by the next stage's masks r': (A + ρ) − r', for the
    /// server.
    ///
    /// # Errors
    /// As [`TwoParty::evaluate`]; [`ApiMisuse::Shape`] unless there is a mask for each output.
    pub fn finish(self, batch: &Batch<'_>, answer: &[u8], next: &[u64]) -> Result<Vec<u64>> {
        let hidden = P::evaluate(self.evaluation, batch, answer)?;
        if hidden.len() != next.len() {
            return Err(wrong_count(hidden.len(), next.len()));
        }
        Ok(hidden.iter().zip(next).map(|(a, r)| batch.output(a.wrapping_sub(*r))).collect())
    }
}

/// What the server makes of the client's (A + ρ) − r': the next stage's x − r, which is its query.
///
/// # Errors
/// [`PeerMisbehaved`] for another length.
pub fn without_rho(batch: &Batch<'_>, hidden: &[u64], rho: &[u64]) -> Result<Vec<u64>> {
    if hidden.len() != rho.len() {
        let what = "the length of a stage's result";
        return Err(PeerMisbehaved::out_of_bounds(what, hidden.len(), rho.len()).into());
    }
    Ok(hidden.iter().zip(rho).map(|(a, rho)| batch.output(a.wrapping_sub(*rho))).collect())
}

/// Holds a protocol to its law: runs the stage for the inputs x (as encoded), with fresh masks, and gives the
/// next stage's inputs, put together from both parties' shares. Every backend of blind inference compares
/// them with the clear network's.
///
/// # Errors
/// Those of the protocol: none, if it keeps its law.
pub fn run<P: TwoParty>(
    (garbler, evaluator): (P::Garbler, &mut P::Evaluator),
    batch: &Batch<'_>,
    weighted: &Weighted,
    x: &[i128],
    rng: &mut dyn CryptoRng,
) -> Result<(P::Garbler, Vec<i128>)> {
    let mut masks = |count: usize, bits: u32| -> Vec<u64> {
        (0..count).map(|_| reduced(rng.next_u64(), bits)).collect()
    };
    let r = masks(weighted.linear.inputs(), batch.stage.bits);
    let s = masks(weighted.linear.outputs(), batch.stage.bits);
    let next = masks(batch.stage.neurons.len(), batch.ring_bits);
    // The ticket. What encryption will do is done in the open here: c = W·r − s.
    let c = weighted.product(batch.stage.bits, &r);
    let c: Vec<_> = c.iter().zip(&s).map(|(c, s)| batch.share(c.wrapping_sub(*s))).collect();
    let (request, bytes) = ClientTicket::<P>::request(evaluator, batch, &c, rng)?;
    let (garbler, server, bytes) =
        ServerTicket::<P>::new(garbler, batch, ServerMask::new(&s, batch.stage.bits), &bytes, rng)?;
    let client = ClientTicket::<P>::receive(evaluator, batch, request, bytes)?;
    // The query.
    let query: Vec<_> =
        x.iter().zip(&r).map(|(x, r)| batch.share(ring(*x).wrapping_sub(*r))).collect();
    let (bytes, rho) = server.answer(batch, weighted, &query)?;
    let hidden = client.finish(batch, &bytes, &next)?;
    let shares = without_rho(batch, &hidden, &rho)?;
    let sums = shares.iter().zip(&next).map(|(a, r)| {
        let a = i128::from(batch.output(a.wrapping_add(*r)));
        crate::fixed::centred(a, batch.ring_bits)
    });
    Ok((garbler, sums.collect()))
}
