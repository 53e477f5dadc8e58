//! A blind query gives what the clear network in fixed point gives, bit for bit.

use super::*;

#[test]
fn blind_answers_are_those_of_the_clear_network() {
    for answer in [Answer::Scores, Answer::Class] {
        for (name, network) in networks() {
            let model = model(network);
            let (mut pair, _, mut rng) = pair(model.clone(), answer).unwrap();
            // One ticket alone, and several at once; one sample alone, and several.
            for tickets in [1, 13] {
                pair.make_tickets(tickets, &mut rng).unwrap();
            }
            for samples in [1, 9, 4] {
                let inputs = inputs(&model, samples);
                let got = pair.ask(&inputs, &mut rng).unwrap();
                assert_eq!(got, expected(&model, &inputs, answer), "{name}, {samples} samples");
            }
            assert_eq!((pair.client.tickets(), pair.server.tickets()), (0, 0));
            assert!(pair.client.saturations()[0] > 0, "some inputs are cut off");
        }
    }
}

/// Every hidden layer at its bound: weights and inputs as large as they get.
#[test]
fn blind_answers_are_exact_at_saturation() {
    for (name, network) in networks() {
        let drawn = model(network);
        let max = drawn.precision.weights.max();
        for sign in [1, -1] {
            let weight = |w: i128| if w < -max / 2 { -max } else { sign * max };
            let model = ServedModel { parameters: drawn.parameters.map(weight), ..drawn.clone() };
            let inputs = Array2::from_elem((9, 2), sign as f64 * 1e9);
            let (mut pair, _, mut rng) = pair(model.clone(), Answer::Scores).unwrap();
            pair.make_tickets(2, &mut rng).unwrap();
            let got = pair.ask(&inputs, &mut rng).unwrap();
            assert_eq!(got, expected(&model, &inputs, Answer::Scores), "{name}");
        }
    }
}
