//! The plan's bytes are those that cross.

use super::*;
use crate::blind::BlindCosts;
use crate::pair::Frame;

#[test]
fn planned_bytes_are_those_on_the_wire() {
    for answer in [Answer::Scores, Answer::Class] {
        for (name, network) in networks() {
            let model = model(network);
            for tickets in [1, 5] {
                let (mut pair, _, mut rng) = pair(model.clone(), answer).unwrap();
                let plan = pair.client.plan(tickets).unwrap();
                let costs = plan.costs::<InsecureOpen>(&model.network).unwrap();
                pair.make_tickets(tickets, &mut rng).unwrap();
                pair.ask(&inputs(&model, tickets), &mut rng).unwrap();
                let counted = pair.counted();
                let (transfers, ands, kept) = (0, 0, 0);
                let planned = costs.of_session(tickets);
                assert_eq!(counted, BlindCosts { transfers, ands, kept, ..planned }, "{name}");
                assert!(counted.ciphertexts > 0 && counted.query_up > 0 && counted.query_down > 0);
                framing_is_little(&pair.transcript, &counted);
            }
        }
    }
}

/// Names, numbers and lengths: a few bytes for each message, and for each block in it.
fn framing_is_little(transcript: &[Frame], counted: &BlindCosts) {
    let all: usize = transcript.iter().map(|frame| frame.bytes().len()).sum();
    let BlindCosts { setup, ciphertexts, requests, garbled, query_up, query_down, .. } = *counted;
    let contents = setup + ciphertexts + requests + garbled + query_up + query_down;
    assert!((contents..contents + 60 * transcript.len()).contains(&all), "{all}, {contents}");
}

/// Transfers and gates of a ticket by hand: 9 inputs, a convolution of 4 outputs, 5 and 3 neurons.
#[test]
fn a_plan_counts_what_its_circuits_have() {
    let model = model(network());
    let (pair, ..) = pair(model.clone(), Answer::Class).unwrap();
    let plan = pair.client.plan(1).unwrap();
    let costs = plan.costs::<InsecureOpen>(&model.network).unwrap();
    let [first, second, third] = plan.circuits.stages() else { panic!("three stages") };
    let bits = [first, second, third].map(|stage| stage.ring_bits as usize);
    assert_eq!(costs.transfers, 4 * bits[0] + 5 * bits[1] + 3 * bits[2]);
    let ands =
        |stage: &crate::blind::BlindStage| stage.circuit.as_ref().unwrap().circuit.and_count();
    assert_eq!(costs.ands, 4 * ands(first) + 5 * ands(second) + ands(third));
    let bytes = bits.map(|bits| bits.div_ceil(8));
    let (s, rho) = (4 * bytes[0] + 5 * bytes[1] + 3 * bytes[2], 4 * bytes[1] + 5 * bytes[2] + 1);
    assert_eq!(costs.kept, s + rho);
    assert_eq!((costs.round_trips, plan.circuits.answer_bits(&model.network)), (3, 2));
}
