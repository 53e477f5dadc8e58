//! The laws of garbling, on any circuit and at any size.

use gelu_core::circuit::{Bit, Builder, Circuit};
use proptest::prelude::*;
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

use crate::garble::low;
use crate::kernel::Kernel;
use crate::session::random_block;
use crate::*;

/// A circuit from anything: gates by number, three outputs with weights of both signs.
fn circuit(inputs: [usize; 2], choices: &[(u8, u16, u16)]) -> Circuit {
    let mut builder = Builder::new(inputs);
    let mut bits: Vec<Bit> = [builder.first(), builder.second()].concat();
    for (kind, a, b) in choices {
        let [a, b] = [a, b].map(|n| bits[usize::from(*n) % bits.len()]);
        bits.push(match kind % 3 {
            0 => builder.xor(a, b),
            1 => builder.and(a, b),
            _ => builder.not(a),
        });
    }
    let weighted = |from: usize| {
        let last = bits.iter().rev().skip(from).take(4).enumerate();
        last.map(|(n, bit)| (*bit, [1, -2, 77, -(1 << 40)][n])).collect::<Vec<_>>()
    };
    builder.finish([weighted(0), weighted(3), vec![(Bit::Known(true), -5)]])
}

/// Bits at random, as values of one bit.
fn random_bits(count: usize, rng: &mut ChaCha20Rng) -> (Vec<bool>, Bits) {
    let values: Vec<_> = (0..count).map(|_| rng.next_u64() & 1).collect();
    (values.iter().map(|bit| *bit == 1).collect(), Bits::of_shares(&values, 1))
}

/// Labels as a transfer gives them: of the evaluator's bits, and of 0.
fn transferred(bits: &Bits, delta: &Delta, rng: &mut ChaCha20Rng) -> (Labels, Labels) {
    let zeros: Vec<_> = (0..bits.len()).map(|_| random_block(rng)).collect();
    let own = zeros.iter().enumerate().map(|(n, zero)| zero ^ (delta.value() & bits.mask(n)));
    (Labels(own.collect()), Labels(zeros))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The law, for two batches of one session, and by every engine with the same bytes.
    #[test]
    fn a_garbled_circuit_evaluates_to_the_plain_one(
        inputs in (0..6usize, 1..6usize),
        choices in prop::collection::vec(any::<(u8, u16, u16)>(), 0..80),
        neurons in 1..20usize,
        ring_bits in 1..=64u32,
        seed in any::<u64>(),
    ) {
        let circuit = circuit([inputs.0, inputs.1], &choices);
        let task = Task::new(&circuit, neurons, ring_bits).unwrap();
        let session = Session::new([5; 32]);
        let mut transcripts = Vec::new();
        for kernel in Kernel::all() {
            let mut transcript = Vec::new();
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            let delta = Delta::random(rng);
            let mut garbler = Garbler::new(&session, delta.clone());
            let mut evaluator = Evaluator::new(&session);
            (garbler.kernel, evaluator.kernel) = (kernel, kernel);
            for _ in 0..2 {
                let (first, first_bits) = random_bits(task.inputs()[0], rng);
                let (second, second_bits) = random_bits(task.inputs()[1], rng);
                let (own, zeros) = transferred(&second_bits, &delta, rng);
                let (garbling, tables) = garbler.garble(&task, zeros, rng).unwrap();
                let evaluation = evaluator.receive(&task, own, tables.clone()).unwrap();
                let (labels, rho) = garbling.encode(&first_bits).unwrap();
                prop_assert_eq!(labels.len(), task.online_bytes());
                let got = evaluation.evaluate(&task, &labels).unwrap();
                for neuron in 0..neurons {
                    let of = |bits: &[bool], each: usize| bits[neuron * each..][..each].to_vec();
                    let plain = circuit.evaluate(&[of(&first, inputs.0), of(&second, inputs.1)].concat());
                    for (n, plain) in plain.iter().enumerate() {
                        let at = 3 * neuron + n;
                        let sum = task.reduced(got[at].wrapping_sub(rho[at]));
                        prop_assert_eq!(sum, task.reduced(low(*plain as u128)), "{}", kernel.name());
                    }
                }
                transcript.push((tables, labels, rho.to_vec()));
            }
            transcripts.push(transcript);
        }
        prop_assert!(transcripts.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

/// ReLU on shares, through base transfers, transfers and garbling.
#[test]
fn a_session_from_the_first_message_to_the_last() {
    let rng = &mut ChaCha20Rng::seed_from_u64(11);
    let session = Session::new([6; 32]);
    let (offer, message) = Offer::new(session, rng);
    let (mut receiver, answer) = CotReceiver::answer(session, &message, rng).unwrap();
    let mut sender = offer.accept(&answer).unwrap();
    let mut garbler = Garbler::new(&session, sender.delta());
    let mut evaluator = Evaluator::new(&session);
    let circuit = gelu_core::circuit::argmax(3, 8).unwrap();
    let task = Task::new(&circuit, 10, 27).unwrap();
    for _ in 0..2 {
        let shares: Vec<[u64; 2]> = (0..30).map(|_| [rng.next_u64(), rng.next_u64()]).collect();
        let bits = |party: usize| {
            Bits::of_shares(&shares.iter().map(|share| share[party]).collect::<Vec<_>>(), 8)
        };
        let (own, message) = receiver.extend(&bits(1), rng).unwrap();
        let zeros;
        (sender, zeros) = sender.extend(own.len(), &message).unwrap();
        let (garbling, tables) = garbler.garble(&task, zeros, rng).unwrap();
        let evaluation = evaluator.receive(&task, own, tables).unwrap();
        let (labels, rho) = garbling.encode(&bits(0)).unwrap();
        let got = evaluation.evaluate(&task, &labels).unwrap();
        for (neuron, shares) in shares.chunks_exact(3).enumerate() {
            let z = shares
                .iter()
                .map(|[a, b]| f64::from(a.wrapping_add(*b).to_le_bytes()[0].cast_signed()));
            let expected = gelu_core::pass::argmax(z) as u64;
            assert_eq!(task.reduced(got[neuron].wrapping_sub(rho[neuron])), expected);
        }
    }
}

/// The ticket of a ReLU layer, by half gates and by the mock: W·x + b under masks, and shares of what comes next.
#[test]
fn a_ticket_by_half_gates_equals_the_open_one() {
    use gelu_core::LinearMap;
    use gelu_core::circuit::two_party::{Batch, InsecureOpen, TwoParty, Weighted, run};
    use gelu_core::circuit::{Local, Numbers, StageCircuit};
    use gelu_core::fixed::Precision;
    use gelu_core::linear::Dense;

    let rng = &mut ChaCha20Rng::seed_from_u64(15);
    let (offer, message) = HalfGates::offer([6; 32], rng);
    let (mut evaluator, answer) = HalfGates::answer([6; 32], &message, rng).unwrap();
    assert_eq!([message.len(), answer.len()], HalfGates::SETUP);
    let mut garbler = HalfGates::accept(offer, &answer).unwrap();
    let linear = LinearMap::from(Dense::new(12, 21).unwrap());
    let numbers = Numbers::of("dense", &linear, &Precision::INFERENCE, 1 << 24).unwrap();
    let stage = StageCircuit::new(&[("relu", Local::Relu)], 21, &numbers).unwrap();
    for ring_bits in [27, 40] {
        let batch = Batch { stage: &stage, ring_bits };
        let mut signed = |count: usize, bits: u32| -> Vec<i128> {
            let value = |_| i128::from(rng.next_u64() >> (64 - bits)) - (1 << (bits - 1));
            (0..count).map(value).collect()
        };
        let (x, weights, offsets) = (signed(12, 13), signed(12 * 21, 8), signed(21, 16));
        let map = Weighted::new(&linear, &weights, &offsets).unwrap();
        let ((), open) = run::<InsecureOpen>(((), &mut ()), &batch, &map, &x, rng).unwrap();
        let blind;
        let parties = (garbler, &mut evaluator);
        (garbler, blind) = run::<HalfGates>(parties, &batch, &map, &x, rng).unwrap();
        assert_eq!(blind, open);
        assert!(open.iter().any(|a| *a > 0) && open.contains(&0), "both sides of the ReLU");
    }
}

/// One input always, and yet the hidden outputs are spread evenly: 4,000 draws over 8 values, 6 sigma.
#[test]
fn hidden_outputs_are_uniform() {
    let rng = &mut ChaCha20Rng::seed_from_u64(12);
    let circuit = gelu_core::circuit::argmax(2, 4).unwrap();
    let task = Task::new(&circuit, 4000, 3).unwrap();
    let session = Session::new([6; 32]);
    let delta = Delta::random(rng);
    let bits = Bits::of_shares(&[0b0111; 8000], 4);
    let (own, zeros) = transferred(&bits, &delta, rng);
    let (garbling, tables) = Garbler::new(&session, delta).garble(&task, zeros, rng).unwrap();
    let evaluation = Evaluator::new(&session).receive(&task, own, tables).unwrap();
    let (labels, rho) = garbling.encode(&bits).unwrap();
    let got = evaluation.evaluate(&task, &labels).unwrap();
    for numbers in [&got, &*rho] {
        for value in 0..8 {
            let count = numbers.iter().filter(|x| **x == value).count();
            assert!(count.abs_diff(500) < 126, "{value}: {count} of 4000");
        }
    }
}

#[test]
fn wrong_counts_and_lengths_are_refused() {
    let rng = &mut ChaCha20Rng::seed_from_u64(13);
    let session = Session::new([6; 32]);
    let circuit = gelu_core::circuit::argmax(2, 4).unwrap();
    assert!(Task::new(&circuit, 0, 8).is_err() && Task::new(&circuit, 1, 65).is_err());
    let task = Task::new(&circuit, 3, 8).unwrap();
    let delta = Delta::random(rng);
    let mut garbler = Garbler::new(&session, delta.clone());
    let mut evaluator = Evaluator::new(&session);
    let bits = Bits::of_shares(&[1; 6], 4);
    let labels = |rng: &mut ChaCha20Rng| transferred(&bits, &delta, rng);
    let (mut own, mut zeros) = labels(rng);
    assert!(garbler.garble(&task, zeros.split_off_first(23).unwrap(), rng).is_err());
    assert!(evaluator.receive(&task, own.split_off_first(23).unwrap(), vec![]).is_err());
    let (own, zeros) = labels(rng);
    let (garbling, mut tables) = garbler.garble(&task, zeros, rng).unwrap();
    assert_eq!(tables.len(), task.offline_bytes());
    tables.pop();
    let error = evaluator.receive(&task, own, tables).unwrap_err();
    assert!(matches!(error, gelu_core::Error::PeerMisbehaved(_)), "{error}");
    assert!(garbling.encode(&Bits::of_shares(&[1; 5], 4)).is_err());
    let (own, zeros) = labels(rng);
    let (garbling, tables) = garbler.garble(&task, zeros, rng).unwrap();
    let evaluation = evaluator.receive(&task, own, tables).unwrap();
    let (query, _) = garbling.encode(&bits).unwrap();
    assert!(evaluation.evaluate(&task, &query[1..]).is_err());
}

#[test]
fn secrets_are_not_printed() {
    let rng = &mut ChaCha20Rng::seed_from_u64(14);
    let delta = Delta::random(rng);
    assert_eq!(format!("{delta:?}"), "Delta(..)");
    assert_eq!(format!("{:?}", Labels(vec![1, 2])), "Labels(2)");
}
