//! A stage of a network by two parties on shares: what blind inference asks of garbling, and its order.
//!
//! For one stage with the linear map W, masks r and r' of its and of the next stage's inputs, and a mask s of its
//! outputs, everything modulo the rings of the stage and (from A on) of the next one:
//!
//! ```text
//! ticket   client  c = W·r − s               got under encryption; its bits are asked for      request →
//!          server                            garbles                                         ← garbled
//! query    client                                                                        x − r →
//!          server  z_s = W·(x − r) + s + b + offset                                  labels of z_s ←
//!          client  circuit(z_s + c) = A, hidden: A + ρ                             (A + ρ) − r' →
//!          server                            subtracts ρ: A − r', the next stage's x − r
//! ```
//!
//! z_s + c = W·x + b + offset: so A is what the clear network encodes, and neither party sees z or A.
//!
//! # Security
//! A ticket is used once: [`ServerTicket::answer`] and [`ClientTicket::finish`] consume theirs. Whoever
//! stores tickets must book one as spent before the bytes of `answer` leave, and never send them again: two sets of
//! labels for one circuit open it, and two queries under one r give the difference of their inputs.

use core::fmt::{self, Debug};
use core::num::Wrapping;

use ndarray::{ArrayView2, Axis};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::StageCircuit;
use crate::error::{ApiMisuse, PeerMisbehaved, Result};
use crate::linear::LinearMap;

/// One circuit for every output of a stage, and the ring of what comes out.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The stage's circuit: one number comes out of it.
    pub stage: &'a StageCircuit,
    /// Outputs are numbers modulo 2^this: the ring of the next stage; 1 to 64.
    pub ring_bits: u32,
}

impl Batch<'_> {
    /// Values that go in, over all neurons: each is a share modulo 2^`stage.bits`.
    pub fn shares(&self) -> usize {
        self.stage.neurons.iter().map(Vec::len).sum()
    }

    /// Shares of a linear map's outputs, in the order in which circuits take them.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] when a neuron asks for an output that is not there.
    fn gathered(&self, outputs: &[u64]) -> Result<Zeroizing<Vec<u64>>> {
        let mut shares = Zeroizing::new(Vec::with_capacity(self.shares()));
        for i in self.stage.neurons.iter().flatten() {
            shares.push(*outputs.get(*i).ok_or_else(|| wrong_count(i + 1, outputs.len()))?);
        }
        Ok(shares)
    }

    /// x mod 2^l.
    fn share(&self, x: u64) -> u64 {
        reduced(x, self.stage.bits)
    }

    /// x mod 2^m.
    fn output(&self, x: u64) -> u64 {
        reduced(x, self.ring_bits)
    }
}

/// x modulo 2^bits, for 1 to 64 bits.
fn reduced(x: u64, bits: u32) -> u64 {
    x & (u64::MAX >> (64 - bits))
}

/// A way to compute circuits on shares.
///
/// # Law
/// With the same batches in the same order at both sides, for shares z_s of the server and c of the client:
///
/// ```text
/// evaluate(receive(request(c), garble(request)), encode(z_s)) − ρ = circuit(z_s ‖ c)    mod 2^ring_bits
/// ```
///
/// and ρ, as `encode` gives it, is uniform for the client. [`run`] holds a protocol to it.
///
/// # Security
/// `request` tells the server nothing of c, the other messages tell the client nothing of z_s.
/// [`InsecureOpen`] shows the order without that.
pub trait TwoParty {
    /// The server's session.
    type Garbler: Debug;
    /// The client's session.
    type Evaluator: Debug;
    /// What the server keeps of a batch until the query.
    type Garbling: Debug;
    /// What the client keeps of a batch until it is garbled.
    type Request: Debug;
    /// What the client keeps of a batch until the query.
    type Evaluation: Debug;

    /// Client: asks for a batch, with its shares.
    ///
    /// # Errors
    /// [`ApiMisuse`] for a wrong number of shares.
    fn request(
        evaluator: &mut Self::Evaluator,
        batch: &Batch<'_>,
        shares: &[u64],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self::Request, Vec<u8>)>;

    /// Server: garbles a batch that was asked for. A request that fails ends the session.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for a request that no honest client sends.
    fn garble(
        garbler: Self::Garbler,
        batch: &Batch<'_>,
        request: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self::Garbler, Self::Garbling, Vec<u8>)>;

    /// Client: takes the garbled batch.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for bytes of another length.
    fn receive(
        evaluator: &mut Self::Evaluator,
        batch: &Batch<'_>,
        request: Self::Request,
        garbled: Vec<u8>,
    ) -> Result<Self::Evaluation>;

    /// Server: its shares for the client, and ρ of each output.
    ///
    /// # Errors
    /// [`ApiMisuse`] for a wrong number of shares.
    fn encode(
        garbling: Self::Garbling,
        batch: &Batch<'_>,
        shares: &[u64],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)>;

    /// Client: the outputs + ρ.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for bytes of another length.
    fn evaluate(
        evaluation: Self::Evaluation,
        batch: &Batch<'_>,
        encoded: &[u8],
    ) -> Result<Vec<u64>>;
}

/// The server's half of one stage's ticket, until its query.
pub struct ServerTicket<P: TwoParty> {
    garbling: P::Garbling,
    s: Zeroizing<Vec<u64>>,
}

impl<P: TwoParty> ServerTicket<P> {
    /// Garbles the stage for a client that has asked. `s` is the mask of the map's outputs that the client's
    /// c = W·r − s was made with. Gives the bytes for the client.
    ///
    /// # Errors
    /// As [`TwoParty::garble`].
    pub fn new(
        garbler: P::Garbler,
        batch: &Batch<'_>,
        s: Vec<u64>,
        request: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(P::Garbler, Self, Vec<u8>)> {
        batch.gathered(&s)?;
        let (garbler, garbling, bytes) = P::garble(garbler, batch, request, rng)?;
        Ok((garbler, Self { garbling, s: Zeroizing::new(s) }, bytes))
    }

    /// Answers the query x − r, with the map's weights and the offsets that are added to its outputs (the bias in
    /// the sums' scale). Gives the bytes for the client, and ρ: what the client's next number is too large by.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for a query of another length, or with numbers outside the ring; [`ApiMisuse::Shape`] for
    /// weights, offsets or masks of another map.
    pub fn answer(
        self,
        batch: &Batch<'_>,
        (linear, weights, offsets): (&LinearMap, &[i128], &[i128]),
        query: &[u64],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)> {
        if query.len() != linear.inputs() {
            let what = "the length of a query";
            return Err(PeerMisbehaved::out_of_bounds(what, query.len(), linear.inputs()).into());
        }
        if let Some(x) = query.iter().find(|x| **x != batch.share(**x)) {
            let below = format!("below 2^{}", batch.stage.bits);
            return Err(PeerMisbehaved::out_of_bounds("a number of a query", x, below).into());
        }
        let expected = [linear.weights(), linear.outputs(), linear.outputs()];
        let got = [weights.len(), offsets.len(), self.s.len()];
        if expected != got {
            let (expected, got) = (expected.to_vec(), got.to_vec());
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        let mut shares = Zeroizing::new(product(batch, linear, weights, query));
        for ((share, s), offset) in shares.iter_mut().zip(self.s.iter()).zip(offsets) {
            let offset = ring(offset + batch.stage.offset);
            *share = batch.share(share.wrapping_add(*s).wrapping_add(offset));
        }
        P::encode(self.garbling, batch, &batch.gathered(&shares)?)
    }
}

/// Without the mask.
impl<P: TwoParty> Debug for ServerTicket<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTicket").field("garbling", &self.garbling).finish_non_exhaustive()
    }
}

/// The client's half of one stage's ticket, until its query.
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

/// W·x mod 2^l, for x modulo 2^l.
fn product(batch: &Batch<'_>, linear: &LinearMap, weights: &[i128], x: &[u64]) -> Vec<u64> {
    let x: Vec<_> = x.iter().copied().map(Wrapping).collect();
    let x = ArrayView2::from_shape((x.len(), 1), &x).expect("as many values as places");
    let weights: Vec<_> = weights.iter().map(|weight| Wrapping(ring(*weight))).collect();
    let biases = vec![Wrapping(0); linear.biases()];
    let sums = linear.forward(&weights, &biases, x, Wrapping(0));
    sums.index_axis(Axis(1), 0).iter().map(|sum| batch.share(sum.0)).collect()
}

/// A number of either sign modulo 2^64.
#[expect(clippy::cast_possible_truncation, reason = "numbers are taken modulo 2^64")]
fn ring(x: i128) -> u64 {
    x as u64
}

fn wrong_count(expected: usize, got: usize) -> crate::Error {
    ApiMisuse::Shape { expected: vec![expected], got: vec![got] }.into()
}

/// The mock: both parties' shares travel in the open. **It hides nothing**; it is the plain twin of every
/// protocol, as [`Clear`](crate::Clear) is of every cryptosystem.
#[derive(Debug)]
pub struct InsecureOpen;

/// The client's shares.
#[derive(Debug)]
pub struct OpenShares(Vec<u64>);

impl TwoParty for InsecureOpen {
    type Garbler = ();
    type Evaluator = ();
    type Garbling = OpenShares;
    type Request = OpenShares;
    type Evaluation = OpenShares;

    fn request(
        (): &mut (),
        batch: &Batch<'_>,
        shares: &[u64],
        _: &mut dyn CryptoRng,
    ) -> Result<(OpenShares, Vec<u8>)> {
        check_shares(batch, shares.len())?;
        Ok((OpenShares(shares.to_vec()), to_bytes(shares)))
    }

    fn garble(
        (): (),
        batch: &Batch<'_>,
        request: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<((), OpenShares, Vec<u8>)> {
        from_bytes(request, batch.shares())?;
        let rho = batch.stage.neurons.iter().map(|_| batch.output(rng.next_u64()));
        let rho: Vec<_> = rho.collect();
        let bytes = to_bytes(&rho);
        Ok(((), OpenShares(rho), bytes))
    }

    /// The client sees ρ here, and keeps it behind its shares.
    fn receive(
        (): &mut (),
        batch: &Batch<'_>,
        OpenShares(mut shares): OpenShares,
        garbled: Vec<u8>,
    ) -> Result<OpenShares> {
        shares.extend(from_bytes(&garbled, batch.stage.neurons.len())?);
        Ok(OpenShares(shares))
    }

    fn encode(
        OpenShares(rho): OpenShares,
        batch: &Batch<'_>,
        shares: &[u64],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)> {
        check_shares(batch, shares.len())?;
        Ok((to_bytes(shares), Zeroizing::new(rho)))
    }

    fn evaluate(
        OpenShares(shares): OpenShares,
        batch: &Batch<'_>,
        encoded: &[u8],
    ) -> Result<Vec<u64>> {
        let theirs = from_bytes(encoded, batch.shares())?;
        let (own, rho) = shares.split_at(batch.shares());
        let mut first = 0;
        let outputs = batch.stage.neurons.iter().zip(rho).map(|(window, rho)| {
            let range = first..first + window.len();
            first = range.end;
            let bits = [&theirs[range.clone()], &own[range]].concat();
            let bits =
                bits.iter().flat_map(|x| (0..batch.stage.bits).map(move |p| x >> p & 1 == 1));
            let output = batch.stage.circuit.evaluate(&bits.collect::<Vec<_>>())[0];
            batch.output(ring(output).wrapping_add(*rho))
        });
        Ok(outputs.collect())
    }
}

fn check_shares(batch: &Batch<'_>, got: usize) -> Result<()> {
    if got == batch.shares() { Ok(()) } else { Err(wrong_count(batch.shares(), got)) }
}

fn to_bytes(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8], count: usize) -> Result<Vec<u64>> {
    if bytes.len() != 8 * count {
        let what = "the length of shares";
        return Err(PeerMisbehaved::out_of_bounds(what, bytes.len(), 8 * count).into());
    }
    Ok(bytes.as_chunks().0.iter().map(|x| u64::from_le_bytes(*x)).collect())
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
    (linear, weights, offsets): (&LinearMap, &[i128], &[i128]),
    x: &[i128],
    rng: &mut dyn CryptoRng,
) -> Result<(P::Garbler, Vec<i128>)> {
    let mut masks = |count: usize, bits: u32| -> Vec<u64> {
        (0..count).map(|_| reduced(rng.next_u64(), bits)).collect()
    };
    let r = masks(linear.inputs(), batch.stage.bits);
    let s = masks(linear.outputs(), batch.stage.bits);
    let next = masks(batch.stage.neurons.len(), batch.ring_bits);
    // The ticket. What encryption will do is done in the open here: c = W·r − s.
    let c = product(batch, linear, weights, &r);
    let c: Vec<_> = c.iter().zip(&s).map(|(c, s)| batch.share(c.wrapping_sub(*s))).collect();
    let (request, bytes) = ClientTicket::<P>::request(evaluator, batch, &c, rng)?;
    let (garbler, server, bytes) = ServerTicket::<P>::new(garbler, batch, s, &bytes, rng)?;
    let client = ClientTicket::<P>::receive(evaluator, batch, request, bytes)?;
    // The query.
    let query: Vec<_> =
        x.iter().zip(&r).map(|(x, r)| batch.share(ring(*x).wrapping_sub(*r))).collect();
    let (bytes, rho) = server.answer(batch, (linear, weights, offsets), &query)?;
    let hidden = client.finish(batch, &bytes, &next)?;
    let shares = without_rho(batch, &hidden, &rho)?;
    let sums = shares.iter().zip(&next).map(|(a, r)| {
        let a = i128::from(batch.output(a.wrapping_add(*r)));
        crate::fixed::centred(a, batch.ring_bits)
    });
    Ok((garbler, sums.collect()))
}
