//! A ticket that is used twice.
//!
//! ```text
//! (x − r) − (x' − r)  =  x − x'        what a server sees of two queries under one r
//! ```

use std::sync::Arc;

use gelu_core::blind::{Answer, Circuits};
use gelu_core::circuit::two_party::InsecureOpen;
use gelu_core::clear::ClearKey;
use gelu_core::error::PeerMisbehaved;
use gelu_core::fixed::{Saturations, centred};
use gelu_core::ledger::Policy;
use gelu_core::message::{ClientMessage, Wire};
use gelu_core::pair::{BlindPair, Frame, PairHost};
use gelu_core::server::ServedModel;
use gelu_core::{Clear, Error};
use gelu_garble::HalfGates;
use gelu_nn::Model;
use ndarray::{Array2, Axis};
use rand_core::CryptoRng;

/// What the server computes of two images that it does not see.
pub(super) struct Differences {
    /// x − x'.
    pub(super) truth: Vec<i128>,
    /// From two queries under one r.
    pub(super) reused: Vec<i128>,
    /// From two queries of a real session.
    pub(super) fresh: Vec<i128>,
}

/// Both images under one r, and the same by the real client.
///
/// # Errors
/// What the machines say.
pub(super) fn differences(
    model: &Model,
    images: &Array2<f64>,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Differences> {
    let circuits = Circuits::new(model.network(), model.precision(), Answer::Class)?;
    let bits = circuits.stages()[0].ring_bits;
    let encoded = model.precision().activations.encode_all(images, &Saturations::default());
    let column = |n: usize| encoded.index_axis(Axis(1), n).to_vec();
    let minus = |a: &[i128], b: &[i128]| -> Vec<i128> {
        a.iter().zip(b).map(|(a, b)| centred(a - b, bits)).collect()
    };
    let (x, other) = (column(0), column(1));
    let r: Vec<_> = x.iter().map(|_| i128::from(rng.next_u64())).collect();
    let reused = minus(&minus(&x, &r), &minus(&other, &r));

    let host = Arc::new(PairHost::new(ServedModel::from(model), "client", Policy::Enforce));
    let key = Arc::new(ClearKey::new(2048)?);
    let mut pair = BlindPair::<Clear, InsecureOpen>::open(host, key, Answer::Class, rng)?;
    pair.make_tickets(2, rng)?;
    pair.ask(images, rng)?;
    let (_, numbers) = query(&pair.transcript)?;
    let width = bits.div_ceil(8) as usize;
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | i128::from(*byte));
    let numbers: Vec<_> = numbers.chunks_exact(width).map(number).collect();
    let (first, second) = numbers.split_at(x.len());
    Ok(Differences { truth: minus(&x, &other), reused, fresh: minus(first, second) })
}

/// Whether the real server refuses a query for a ticket that is spent, by ending the session.
///
/// # Errors
/// What the machines say before.
pub(super) fn replayed(model: &Model, rng: &mut dyn CryptoRng) -> gelu_core::Result<bool> {
    let host = Arc::new(PairHost::new(ServedModel::from(model), "attacker", Policy::Enforce));
    let key = Arc::new(ClearKey::new(2048)?);
    let mut pair = BlindPair::<Clear, HalfGates>::open(Arc::clone(&host), key, Answer::Class, rng)?;
    pair.make_tickets(2, rng)?;
    pair.ask(&Array2::zeros((model.network().inputs(), 1)), rng)?;
    let (again, _) = query(&pair.transcript)?;
    let refused = pair.server.handle_message(again, &*host, rng);
    let spent = Err(Error::from(PeerMisbehaved::NoTicket { ticket: 0 }));
    Ok(refused == spent && pair.server.poll_transmit().is_none() && pair.server.tickets() == 0)
}

/// The last query of a session, and its numbers.
fn query(transcript: &[Frame]) -> gelu_core::Result<(ClientMessage, Vec<u8>)> {
    for frame in transcript.iter().rev() {
        let Frame::Up(bytes) = frame else { continue };
        let message = ClientMessage::from_bytes(bytes)?;
        if let ClientMessage::HiddenInputs { numbers, .. } = &message {
            let numbers = numbers.clone();
            return Ok((message, numbers));
        }
    }
    Err(PeerMisbehaved::UnexpectedMessage { expected: "HiddenInputs", got: "nothing" }.into())
}
