//! Correlated transfers: the evaluator holds a label t of each of its bits c, the garbler q = t ⊕ c·Δ.
//!
//! SoftSpokenOT (Roy, CRYPTO 2022) with k = 4: Δ is 32 groups of four bits α, and for each group there is a
//! [punctured tree](crate::tree) of 16 seeds s_y. With streams of n bits from them, in each group:
//!
//! ```text
//! evaluator   u = Σ_y s_y          v_b = Σ_y y_b·s_y            d = u ⊕ c  →
//! garbler     w_b = Σ_y (y ⊕ α)_b·s_y ⊕ α_b·d                   the term of the seed that it lacks is 0
//!                 = v_b ⊕ α_b·c                                 4 of the 128 bits of q = t ⊕ c·Δ
//! ```
//!
//! so a bit costs 32 bits of d: 4 bytes.
//!
//! # The check
//! An evaluator that uses different c in different groups would learn bits of Δ from whatever the garbler
//! computes with q: each wrong bit has 2^4 possible effects, which it can try (the test
//! `an_unchecked_transfer_gives_delta_away` recovers all of Δ from hashes of 32 labels). So both parties hash all
//! columns by one universal function R, linear over bits, and the garbler checks
//!
//! ```text
//! R(w_b) = R(v_b) ⊕ α_b·R(c)     for all 128 columns,       R(x) = x_last ⊕ Σ_j χ_j·x_j in the field of 2^128
//! ```
//!
//! over blocks x_j of 128 bits. The last block is random and used for nothing else, so R(c) says nothing about c.
//! The challenge χ is a hash of the session and of all d (Fiat-Shamir: no further round). A cheating evaluator
//! passes if it has guessed the bits of Δ that its errors touch, or with odds of 2^−128 for each χ that it tries.

use core::fmt;

use gelu_core::error::{ApiMisuse, PeerMisbehaved, Result};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::base_ot;
use crate::bits::{Bits, Labels, check_length, read_blocks, write_blocks};
use crate::field::{inner_product, transpose};
use crate::kernel::Kernel;
use crate::session::{Delta, Session, block, random_block};
use crate::tree::{self, DEPTH, LEAVES, Seeds};

/// Groups of Δ's bits.
const GROUPS: usize = 128 / DEPTH;

/// Bits of one batch at most.
const MOST: usize = 1 << 26;

/// The garbler before the evaluator's answer. Δ is drawn here.
pub struct Offer {
    session: Session,
    delta: Delta,
    receiver: base_ot::Receiver,
}

impl Offer {
    /// Bytes of an offer.
    pub const BYTES: usize = base_ot::OFFER;

    /// Begins a session: gives the first message.
    pub fn new(session: Session, rng: &mut dyn CryptoRng) -> (Self, Vec<u8>) {
        let delta = Delta::random(rng);
        // Transfer 4·group + level opens the side that the path to α does not take.
        let choices = (0..128).fold(0, |choices, number| {
            let (group, level) = (number / DEPTH, number % DEPTH);
            let taken = delta.value() >> (DEPTH * group + DEPTH - 1 - level) & 1;
            choices | (taken ^ 1) << number
        });
        let (receiver, message) = base_ot::Receiver::new(&session, choices, rng);
        (Self { session, delta, receiver }, message)
    }

    /// Takes the answer.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for an answer that no honest party gives. The session is over, and must not be begun
    /// again with the same peer at will: each attempt may have told it bits of that session's Δ.
    pub fn accept(self, answer: &[u8]) -> Result<CotSender> {
        check_length("the length of a session's answer", CotReceiver::ANSWER_BYTES, answer)?;
        let (points, trees) = answer.split_at(base_ot::ANSWER);
        let keys = Zeroizing::new(self.receiver.keys(&self.session, points)?);
        let groups = keys.as_chunks::<DEPTH>().0.iter().zip(trees.as_chunks().0).enumerate();
        let seeds = groups.map(|(group, (keys, message))| {
            tree::hold(&self.session, group, alpha(&self.delta, group), keys, message)
        });
        let seeds = seeds.collect::<Result<Vec<_>>>()?;
        let streams = Streams::new(self.session, seeds);
        Ok(CotSender { delta: self.delta, streams })
    }
}

/// Four bits of Δ.
fn alpha(delta: &Delta, group: usize) -> u8 {
    (delta.value() >> (DEPTH * group)).to_le_bytes()[0] & 0x0f
}

/// What both parties make of their seeds: a session's streams, and how far they are used.
struct Streams {
    session: Session,
    seeds: Vec<Seeds>,
    batches: u64,
    used: u64,
    kernel: Kernel,
}

impl Streams {
    fn new(session: Session, seeds: Vec<Seeds>) -> Self {
        Self { session, seeds, batches: 0, used: 0, kernel: Kernel::best() }
    }

    /// Σ_y s_y and the four Σ_y y_b·s_y of a group, `blocks` long, from where the streams are.
    fn folded(&self, group: usize, blocks: usize) -> [Vec<u128>; DEPTH + 1] {
        let mut streams = vec![vec![0; blocks]; LEAVES];
        self.kernel.streams(&self.seeds[group][..], self.used, &mut streams);
        // From the highest bit on: the upper half has it, and is then added to the lower one.
        let mut sums = core::array::from_fn(|_| vec![0; blocks]);
        for bit in (0..DEPTH).rev() {
            let (lower, upper) = streams.split_at_mut(1 << bit);
            for (low, high) in lower.iter_mut().zip(upper) {
                add(&mut sums[bit], high);
                add(low, high);
            }
        }
        add(&mut sums[DEPTH], &streams[0]);
        streams.zeroize();
        sums
    }

    /// χ, for a batch of `count` bits in `blocks` blocks with the corrections d.
    fn challenge(&self, count: usize, blocks: usize, corrections: &[u8]) -> Vec<u128> {
        let (batch, count) = (self.batches.to_le_bytes(), (count as u64).to_le_bytes());
        let hash = self.session.hash("transfers: challenge", &[&batch, &count, corrections]);
        let mut chi = [vec![0; blocks - 1]];
        self.kernel.streams(&[block(&hash)], 0, &mut chi);
        let [chi] = chi;
        chi
    }

    /// R(x).
    fn hashed(&self, chi: &[u128], x: &[u128]) -> u128 {
        let (last, x) = x.split_last().expect("a block that hides the others");
        last ^ inner_product(self.kernel, chi, x)
    }

    /// What is used up by a batch.
    fn advance(&mut self, blocks: usize) {
        self.batches += 1;
        self.used += blocks as u64;
    }
}

/// Refuses a batch that is too large.
fn check_batch(count: usize) -> Result<()> {
    match count <= MOST {
        true => Ok(()),
        false => {
            let why = format!("are {count}, must be 2^26 at most: take several batches");
            Err(ApiMisuse::configuration("transfers", why).into())
        }
    }
}

fn add(sum: &mut [u128], x: &[u128]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum ^= x);
}

/// Blocks of a batch: those of the bits, and the one that hides them in the check.
fn blocks(count: usize) -> usize {
    count.div_ceil(128) + 1
}

/// The first `count` columns of 128 rows, as labels.
fn columns(rows: &[Vec<u128>], count: usize) -> Labels {
    let mut labels = Vec::with_capacity(count.next_multiple_of(128));
    (0..count.div_ceil(128)).for_each(|block| {
        let mut square = Zeroizing::new(core::array::from_fn(|row| rows[row][block]));
        transpose(&mut square);
        labels.extend_from_slice(&*square);
    });
    labels[count..].zeroize();
    labels.truncate(count);
    Labels(labels)
}

/// The evaluator's side of a session's transfers.
pub struct CotReceiver {
    streams: Streams,
}

impl CotReceiver {
    /// Bytes of the answer to an [`Offer`].
    pub const ANSWER_BYTES: usize = base_ot::ANSWER + GROUPS * tree::BYTES;

    /// Answers an [`Offer`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for an offer that no honest party makes.
    pub fn answer(
        session: Session,
        offer: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>)> {
        let (pairs, mut answer) = base_ot::send(&session, offer, rng)?;
        let pairs = Zeroizing::new(pairs);
        let mut seeds = Vec::new();
        for (group, keys) in pairs.as_chunks::<DEPTH>().0.iter().enumerate() {
            let (leaves, message) = tree::make(&session, group, keys, rng);
            seeds.push(leaves);
            answer.extend(message);
        }
        Ok((Self { streams: Streams::new(session, seeds) }, answer))
    }

    /// Labels of the bits, and the message for [`CotSender::extend`]: 512 bytes for each 128 bits and 2,576
    /// more.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] for more than 2^26 bits.
    pub fn extend(&mut self, bits: &Bits, rng: &mut dyn CryptoRng) -> Result<(Labels, Vec<u8>)> {
        check_batch(bits.len())?;
        let c = choices(bits, rng);
        Ok(self.extend_with(bits.len(), &c, |_| &c))
    }

    /// With the choices c, and what is sent of them in each group: c for all, in an honest run.
    fn extend_with<'c>(
        &mut self,
        count: usize,
        c: &[u128],
        sent: impl Fn(usize) -> &'c [u128],
    ) -> (Labels, Vec<u8>) {
        let blocks = blocks(count);
        let mut message = Vec::with_capacity(transfer_bytes(count));
        let mut rows = Vec::with_capacity(128);
        for group in 0..GROUPS {
            let mut folded = self.streams.folded(group, blocks);
            let [.., u] = &mut folded;
            add(u, sent(group));
            write_blocks(u, &mut message);
            rows.extend(folded.into_iter().take(DEPTH));
        }
        let chi = self.streams.challenge(count, blocks, &message);
        let hash = |x: &[u128]| self.streams.hashed(&chi, x);
        let hashes: Vec<_> =
            core::iter::once(hash(c)).chain(rows.iter().map(|v| hash(v))).collect();
        write_blocks(&hashes, &mut message);
        let labels = columns(&rows, count);
        rows.zeroize();
        self.streams.advance(blocks);
        (labels, message)
    }
}

/// The bits in blocks, filled up with random ones, and a random block.
fn choices(bits: &Bits, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<u128>> {
    let mut c = Zeroizing::new(Vec::with_capacity(blocks(bits.len())));
    c.extend_from_slice(bits.blocks());
    if let (Some(last), used @ 1..) = (c.last_mut(), bits.len() % 128) {
        *last |= random_block(rng) << used;
    }
    c.push(random_block(rng));
    c
}

/// Bytes of the message of a batch of `count` bits.
pub(crate) fn transfer_bytes(count: usize) -> usize {
    16 * (GROUPS * blocks(count) + 1 + 128)
}

/// The garbler's side of a session's transfers.
pub struct CotSender {
    delta: Delta,
    streams: Streams,
}

impl CotSender {
    /// The session's Δ, for its [`Garbler`](crate::Garbler).
    pub fn delta(&self) -> Delta {
        self.delta.clone()
    }

    /// The labels of 0 for `count` bits of the evaluator's: q = t ⊕ c·Δ. Gives the session back for the next
    /// batch.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for a message that no honest party sends, above all one that fails the check. That is
    /// the end of the session: a cheating evaluator learns from it, at most, that its guess of some bits of
    /// Δ was wrong, and Δ is gone.
    pub fn extend(mut self, count: usize, message: &[u8]) -> Result<(Self, Labels)> {
        check_batch(count)?;
        check_length("the length of a batch of transfers", transfer_bytes(count), message)?;
        let blocks = blocks(count);
        let (corrections, hashes) = message.split_at(16 * GROUPS * blocks);
        let rows = self.rows(blocks, corrections);
        let chi = self.streams.challenge(count, blocks, corrections);
        let hashes = read_blocks(hashes);
        let (of_choices, of_rows) = hashes.split_first().expect("129 blocks");
        let mut wrong = 0;
        for (place, (row, hash)) in rows.iter().zip(of_rows).enumerate() {
            let chosen = 0u128.wrapping_sub(self.delta.value() >> place & 1);
            wrong |= self.streams.hashed(&chi, row) ^ hash ^ (of_choices & chosen);
        }
        if !bool::from(wrong.ct_eq(&0)) {
            return Err(PeerMisbehaved::FailedCheck("a batch of transfers").into());
        }
        let labels = columns(&rows, count);
        self.streams.advance(blocks);
        Ok((self, labels))
    }

    /// w, by the bits of Δ.
    fn rows(&self, blocks: usize, corrections: &[u8]) -> Zeroizing<Vec<Vec<u128>>> {
        let mut rows = Zeroizing::new(Vec::with_capacity(128));
        for (group, d) in corrections.chunks_exact(16 * blocks).enumerate() {
            let d = read_blocks(d);
            // Seeds are numbered by y ⊕ α, so the fold has the factors (y ⊕ α)_b.
            let mut folded = self.streams.folded(group, blocks);
            folded[DEPTH].zeroize();
            for (bit, mut w) in folded.into_iter().take(DEPTH).enumerate() {
                let chosen = 0u128.wrapping_sub(self.delta.value() >> (DEPTH * group + bit) & 1);
                w.iter_mut().zip(&d).for_each(|(w, d)| *w ^= d & chosen);
                rows.push(w);
            }
        }
        rows
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer(..)")
    }
}

impl fmt::Debug for CotReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CotReceiver({} batches)", self.streams.batches)
    }
}

impl fmt::Debug for CotSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CotSender({} batches)", self.streams.batches)
    }
}

#[cfg(any(test, feature = "laboratory"))]
pub mod laboratory;
#[cfg(test)]
mod tests;
