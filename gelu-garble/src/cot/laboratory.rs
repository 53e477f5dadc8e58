//! What the check of transfers and the types of labels protect, laid open: for a security laboratory, which builds
//! evaluators that cheat and garblers that leave out a step.
//!
//! Behind the feature `laboratory`, which no program of ours has. Nothing here is needed to garble or to evaluate.

use rand_core::CryptoRng;

use super::{CotReceiver, CotSender, DEPTH, GROUPS, Labels, blocks, choices, columns};
use crate::bits::Bits;
use crate::session::Delta;

/// A choice that is another one in one group of the evaluator's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// Which four bits of Δ it touches: 0 to 31.
    pub group: usize,
    /// Whose choice.
    pub bit: usize,
    /// What the cheat takes these four bits for, when it mends its hashes for the check.
    pub guess: u8,
}

/// The evaluator's batch with wrong choices: its labels, and the message for the garbler, whose labels of 0 are off by
/// the touched bits of Δ where a choice was flipped.
///
/// # Panics
/// For a flip of a group or bit that is not there, or more bits than [`CotReceiver::extend`] takes.
pub fn danger_wrong_choices(
    receiver: &mut CotReceiver,
    bits: &Bits,
    flips: &[Flip],
    rng: &mut dyn CryptoRng,
) -> (Labels, Vec<u8>) {
    let count = bits.len();
    let honest = choices(bits, rng);
    let errors: Vec<_> = (0..GROUPS)
        .map(|group| {
            let mut error = vec![0_u128; blocks(count)];
            for flip in flips.iter().filter(|flip| flip.group == group) {
                error[flip.bit / 128] ^= 1 << (flip.bit % 128);
            }
            error
        })
        .collect();
    let wrong = |error: &Vec<u128>| honest.iter().zip(error).map(|(c, e)| c ^ e).collect();
    let sent: Vec<Vec<u128>> = errors.iter().map(wrong).collect();
    let (labels, mut message) = receiver.extend_with(count, &honest, |group| &sent[group]);
    // The challenge of the batch that was just made.
    receiver.streams.batches -= 1;
    let corrections = 16 * GROUPS * blocks(count);
    let chi = receiver.streams.challenge(count, blocks(count), &message[..corrections]);
    receiver.streams.batches += 1;
    for flip in flips {
        let error = receiver.streams.hashed(&chi, &errors[flip.group]);
        for bit in (0..DEPTH).filter(|bit| flip.guess >> bit & 1 == 1) {
            let at = corrections + 16 * (1 + DEPTH * flip.group + bit);
            let bytes = &mut message[at..at + 16];
            bytes.iter_mut().zip(error.to_le_bytes()).for_each(|(byte, error)| *byte ^= error);
        }
    }
    (labels, message)
}

/// The labels of 0 of a garbler that does not check the evaluator's batch.
///
/// # Panics
/// For a message of another length.
pub fn danger_unchecked(sender: &CotSender, count: usize, message: &[u8]) -> Labels {
    let rows = sender.rows(blocks(count), &message[..16 * GROUPS * blocks(count)]);
    columns(&rows, count)
}

/// Δ itself.
pub fn danger_delta(delta: &Delta) -> u128 {
    delta.value()
}

/// Labels as numbers.
pub fn danger_blocks(labels: &Labels) -> Vec<u128> {
    labels.0.clone()
}

/// Numbers as labels: to use them twice, or changed.
pub fn danger_labels(blocks: Vec<u128>) -> Labels {
    Labels(blocks)
}
