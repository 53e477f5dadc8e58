//! Oblivious transfer from nothing but a curve: 128 random pairs of keys, of each of which the receiver learns
//! the one that it chose, and the sender not which.
//!
//! Masny and Rindal, *Endemic oblivious transfer* (CCS 2019), on ristretto255, in two messages. For number i and a
//! choice σ:
//!
//! ```text
//! receiver   b random, r_{1−σ} a random point,   r_σ = b·G − H_σ(r_{1−σ})          r_0, r_1 →
//! sender     a random, A = a·G,                  k_j = KDF(a·(r_j + H_j(r_{1−j})))  ← A
//! receiver                                       k_σ = KDF(b·A)
//! ```
//!
//! Why this one: it is proved secure against malicious parties, with all security against them, in the random oracle
//! model and under Diffie-Hellman assumptions. The two points determine each other through H, so a receiver that
//! knows the logarithm of both sums has broken Diffie-Hellman, and a simulator reads σ off the order of
//! the questions to H. The older protocol of Chou and Orlandi needs patches against reordered points and has no
//! proof of extraction. *Endemic* means that a cheating party may choose its own keys; keys that only mask the
//! sender's strings, as [here](crate::tree), make it a full transfer. Both H and KDF are bound to the session, the
//! number, the side and (KDF) all three points; a is fresh for each number, as in the theorem.

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use gelu_core::error::{PeerMisbehaved, Result};
use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bits::check_length;
use crate::session::{Session, block};

/// Transfers of a session: one for each bit of Δ.
pub(crate) const TRANSFERS: usize = 128;

/// Bytes of a point.
const POINT: usize = 32;

/// Bytes of the receiver's message.
pub(crate) const OFFER: usize = 2 * POINT * TRANSFERS;
/// Bytes of the sender's message.
pub(crate) const ANSWER: usize = POINT * TRANSFERS;

/// What the receiver keeps until the answer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Receiver {
    secrets: Vec<Scalar>,
    choices: u128,
    /// The points, as they were sent.
    #[zeroize(skip)]
    sent: Vec<[[u8; POINT]; 2]>,
}

impl Receiver {
    /// Chooses key σ of number i, where σ is bit i of `choices`. Gives the message to the sender.
    pub(crate) fn new(
        session: &Session,
        choices: u128,
        rng: &mut dyn CryptoRng,
    ) -> (Self, Vec<u8>) {
        let mut receiver = Self { secrets: Vec::new(), choices, sent: Vec::new() };
        for number in 0..TRANSFERS {
            let side = receiver.side(number);
            let secret = Scalar::random(rng);
            let other = RistrettoPoint::random(rng);
            let shift = point(session, number, side.unwrap_u8(), &other.compress().0);
            let own = RistrettoPoint::mul_base(&secret) - shift;
            let pair = [
                RistrettoPoint::conditional_select(&own, &other, side),
                RistrettoPoint::conditional_select(&other, &own, side),
            ];
            receiver.secrets.push(secret);
            receiver.sent.push(pair.map(|point| point.compress().0));
        }
        let message = receiver.sent.as_flattened().as_flattened().to_vec();
        (receiver, message)
    }

    /// The chosen keys.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for what are no points.
    pub(crate) fn keys(&self, session: &Session, answer: &[u8]) -> Result<Vec<u128>> {
        check_length("the length of a transfer's answer", ANSWER, answer)?;
        let answers = answer.as_chunks::<POINT>().0;
        let all = self.secrets.iter().zip(&self.sent).zip(answers).enumerate();
        let keys = all.map(|(number, ((secret, sent), answer))| {
            let shared = decompressed(answer)? * secret;
            Ok(key(session, number, self.side(number).unwrap_u8(), sent, answer, &shared))
        });
        keys.collect()
    }

    fn side(&self, number: usize) -> Choice {
        Choice::from(u8::from(self.choices >> number & 1 == 1))
    }
}

/// The sender's pairs of keys, and its message.
///
/// # Errors
/// [`PeerMisbehaved`] for what are no points.
pub(crate) fn send(
    session: &Session,
    offer: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<(Vec<[u128; 2]>, Vec<u8>)> {
    check_length("the length of a transfer's offer", OFFER, offer)?;
    let (mut pairs, mut answer) = (Vec::new(), Vec::new());
    let offered = offer.as_chunks::<POINT>().0.as_chunks::<2>().0;
    for (number, sent) in offered.iter().enumerate() {
        let mut secret = Scalar::random(rng);
        let own = RistrettoPoint::mul_base(&secret).compress().0;
        let points = [decompressed(&sent[0])?, decompressed(&sent[1])?];
        pairs.push([0, 1].map(|side: u8| {
            let (this, other) = (points[usize::from(side)], &sent[usize::from(1 - side)]);
            let shared = (this + point(session, number, side, other)) * secret;
            key(session, number, side, sent, &own, &shared)
        }));
        answer.extend(own);
        secret.zeroize();
    }
    Ok((pairs, answer))
}

/// H.
fn point(session: &Session, number: usize, side: u8, other: &[u8; POINT]) -> RistrettoPoint {
    let half = |part: u8| {
        let name = [&(number as u64).to_le_bytes()[..], &[side, part]].concat();
        session.hash("base transfer: point", &[&name, other])
    };
    let mut uniform = [0; 64];
    uniform[..32].copy_from_slice(&half(0));
    uniform[32..].copy_from_slice(&half(1));
    RistrettoPoint::from_uniform_bytes(&uniform)
}

/// KDF.
fn key(
    session: &Session,
    number: usize,
    side: u8,
    sent: &[[u8; POINT]; 2],
    answer: &[u8; POINT],
    shared: &RistrettoPoint,
) -> u128 {
    let name = [&(number as u64).to_le_bytes()[..], &[side]].concat();
    let shared = shared.compress().0;
    block(&session.hash("base transfer: key", &[&name, &sent[0], &sent[1], answer, &shared]))
}

fn decompressed(bytes: &[u8; POINT]) -> Result<RistrettoPoint> {
    let why = "a transfer's point";
    CompressedRistretto(*bytes).decompress().ok_or(PeerMisbehaved::FailedCheck(why).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn the_receiver_gets_the_keys_that_it_chose_and_no_other() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let session = Session::new([3; 32]);
        let choices = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        let (receiver, offer) = Receiver::new(&session, choices, rng);
        let (pairs, answer) = send(&session, &offer, rng).unwrap();
        let keys = receiver.keys(&session, &answer).unwrap();
        for (number, (pair, key)) in pairs.iter().zip(&keys).enumerate() {
            let side = (choices >> number & 1) as usize;
            assert_eq!((*key, pair[1 - side] == *key), (pair[side], false), "{number}");
        }
        // Keys are bound to the session.
        let other = receiver.keys(&Session::new([4; 32]), &answer).unwrap();
        assert!(other.iter().zip(&keys).all(|(a, b)| a != b));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        let session = Session::new([3; 32]);
        let (receiver, mut offer) = Receiver::new(&session, 5, rng);
        let (_, mut answer) = send(&session, &offer, rng).unwrap();
        offer[40] ^= 1;
        offer[..32].fill(0xff);
        answer[..32].fill(0xff);
        assert!(send(&session, &offer, rng).is_err());
        assert!(receiver.keys(&session, &answer).is_err());
        assert!(send(&session, &offer[1..], rng).is_err());
        assert!(receiver.keys(&session, &answer[1..]).is_err());
    }
}
