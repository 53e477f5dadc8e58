//! The plain twin of every protocol.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Batch, Sizes, TwoParty, ring, wrong_count};
use crate::error::{PeerMisbehaved, Result};

/// The mock: both parties' shares travel in the open. **It hides nothing**; it is the plain twin of every
/// protocol, as [`Clear`](crate::Clear) is of every cryptosystem.
#[derive(Debug)]
pub struct InsecureOpen;

/// The client's shares.
#[derive(Debug)]
pub struct OpenShares(Vec<u64>);

impl TwoParty for InsecureOpen {
    type Offer = ();
    type Garbler = ();
    type Evaluator = ();
    type Garbling = OpenShares;
    type Request = OpenShares;
    type Evaluation = OpenShares;

    const SETUP: [usize; 2] = [0, 0];

    fn sizes(batch: &Batch<'_>) -> Result<Sizes> {
        let (shares, outputs) = (8 * batch.shares(), 8 * batch.stage.neurons.len());
        Ok(Sizes { request: shares, garbled: outputs, encoded: shares })
    }

    fn offer(_: [u8; 32], _: &mut dyn CryptoRng) -> ((), Vec<u8>) {
        ((), Vec::new())
    }

    fn answer(_: [u8; 32], offer: &[u8], _: &mut dyn CryptoRng) -> Result<((), Vec<u8>)> {
        from_bytes(offer, 0)?;
        Ok(((), Vec::new()))
    }

    fn accept((): (), answer: &[u8]) -> Result<()> {
        from_bytes(answer, 0)?;
        Ok(())
    }

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
