//! What each party receives is uniform noise, for one and the same input, with values that are cut off.
//!
//! The mock shows what real protocols hide: c under encryption, and the server's shares behind labels.

use super::*;
use crate::backend::Shares;
use crate::blind::numbers;
use crate::message::{ClientMessage, ServerMessage, Wire};
use crate::pair::Frame;

/// Tickets, and samples of the one query.
const COUNT: usize = 250;

/// Numbers of one ring, with what they are.
struct Seen {
    what: String,
    bits: u32,
    numbers: Vec<u64>,
}

impl Seen {
    fn new(what: impl Into<String>, bits: u32) -> Self {
        Self { what: what.into(), bits, numbers: Vec::new() }
    }

    /// The first bit that is not 1 half of the time, within five standard deviations.
    fn biased_bit(&self) -> Option<u32> {
        let count = self.numbers.len() as f64;
        assert!(count >= COUNT as f64, "{} {}", count, self.what);
        (0..self.bits).find(|bit| {
            let ones = self.numbers.iter().filter(|x| *x >> bit & 1 == 1).count() as f64;
            (ones - count / 2.0).abs() > 5.0 * (count / 4.0).sqrt()
        })
    }
}

/// All numbers that cross in a session about `COUNT` times the same sample.
fn seen(model: &ServedModel, answer: Answer, input: f64) -> Vec<Seen> {
    let (mut pair, _, mut rng) = pair(model.clone(), answer).unwrap();
    pair.make_tickets(COUNT, &mut rng).unwrap();
    pair.ask(&Array2::from_elem((9, COUNT), input), &mut rng).unwrap();
    let plan = pair.client.plan(COUNT).unwrap();
    let (key, stages) = (ClearKey::new(2048).unwrap(), plan.circuits.stages());
    let mut seen = Vec::new();
    let read = |what: String, bytes: &[u8], bits: u32| {
        let count = bytes.len() / numbers::width(bits);
        let numbers = numbers::read("a test's numbers", bytes, count, bits).unwrap().to_vec();
        Seen { what, bits, numbers }
    };
    // The mock's labels are the shares themselves.
    let labels = |what: &str, stage: usize, samples: &[serde_bytes::ByteBuf]| {
        let mut seen = Seen::new(format!("{what} {stage}"), stages[stage].ring_bits);
        let words = samples.iter().flat_map(|labels| labels.as_chunks().0);
        seen.numbers.extend(words.map(|word| u64::from_le_bytes(*word)));
        seen
    };
    for frame in &pair.transcript {
        match frame {
            Frame::Up(bytes) => match ClientMessage::from_bytes(bytes).unwrap() {
                ClientMessage::HiddenInputs { numbers, .. } => {
                    seen.push(read("x - r".into(), &numbers, stages[0].ring_bits));
                }
                ClientMessage::HiddenActivations { stage, numbers } => {
                    let bits = stages[stage as usize].ring_bits;
                    seen.push(read(format!("(A + rho) - r {stage}"), &numbers, bits));
                }
                _ => {}
            },
            Frame::Down(bytes) => match ServerMessage::from_bytes(bytes).unwrap() {
                ServerMessage::EncryptedShares { stages: blocks, .. } => {
                    for (n, (exchange, block)) in plan.exchanges.iter().zip(&blocks).enumerate() {
                        let layout = exchange.exchange.layout();
                        let c = Shares::<Clear>::decrypt(&exchange.shares, layout, &key, block)
                            .unwrap();
                        let mut c_seen = Seen::new(format!("c {n}"), stages[n].ring_bits);
                        c_seen.numbers.extend(c.values());
                        seen.push(c_seen);
                    }
                }
                ServerMessage::ShareLabels { stage, samples } => {
                    seen.push(labels("z_s", stage as usize, &samples));
                }
                ServerMessage::ScoreShares { numbers } => {
                    let bits = stages.last().unwrap().ring_bits;
                    seen.push(read("share of scores".into(), &numbers, bits));
                }
                ServerMessage::ClassLabels { samples, rho } => {
                    seen.push(labels("z_s of the class", stages.len() - 1, &samples));
                    let batch = stages.last().unwrap().batch().unwrap();
                    seen.push(read("rho of the class".into(), &rho, batch.ring_bits));
                }
                _ => {}
            },
        }
    }
    seen
}

#[test]
fn both_parties_receive_uniform_numbers() {
    for answer in [Answer::Scores, Answer::Class] {
        for (name, network) in networks() {
            let model = model(network);
            for input in [0.0, 0.3, -1e9, 1e9] {
                let seen = seen(&model, answer, input);
                // x - r, c of every stage; a label and a result of every stage but the last, which has its own.
                let stages = model.network.stages().len();
                let last = if answer == Answer::Class { 2 } else { 1 };
                assert_eq!(seen.len(), 1 + stages + 2 * (stages - 1) + last);
                for seen in seen {
                    assert_eq!(seen.biased_bit(), None, "{name}, {input}: {}", seen.what);
                }
            }
        }
    }
}

/// The measure sees what is not hidden: the inputs themselves.
#[test]
fn numbers_without_masks_are_biased() {
    let precision = Precision::INFERENCE;
    for input in [0.0, 0.3, -1e9, 1e9] {
        let x = precision.activations.encode(input, &crate::fixed::Saturations::default());
        let x = crate::circuit::two_party::ring(x);
        let numbers = vec![crate::circuit::two_party::reduced(x, 24); 9 * COUNT];
        assert!(Seen { what: "x".into(), bits: 24, numbers }.biased_bit().is_some());
    }
}

/// A ticket is made anew each time: masks of no two are alike.
#[test]
fn no_two_tickets_have_a_mask_in_common() {
    let model = model(network());
    let seen = seen(&model, Answer::Class, 0.3);
    let hidden = &seen.iter().find(|seen| seen.what == "x - r").unwrap().numbers;
    let mut samples: Vec<_> = hidden.chunks_exact(9).collect();
    samples.sort_unstable();
    samples.dedup();
    assert_eq!(samples.len(), COUNT, "one x, so as many masks");
}
