//! What cannot be computed blindly is refused by the layer's name, before a key is used.

use super::*;
use crate::backend::Cryptosystem;
use crate::blind::{BlindPlan, Circuits};
use crate::fixed::Format;
use crate::linear::{Axis, LinearMap, Window};
use crate::tests::networks::residual;
use crate::tests::wrapping::Wrapping;

fn refused(network: &Network, precision: &Precision, answer: Answer) -> String {
    Circuits::new(network, precision, answer).unwrap_err().to_string()
}

fn of(linear: LinearMap, local: Box<dyn LocalFunction>) -> Network {
    let last = dense(u32::try_from(linear.outputs()).unwrap(), 3);
    let inputs = linear.inputs();
    let links = vec![("hidden", linear, vec![local]), ("scores", last, vec![])];
    chain(inputs, links, Box::new(Squared))
}

#[test]
fn networks_that_cannot_be_blind_are_refused_by_the_layers_name() {
    let precision = Precision::INFERENCE;
    let relu = || Box::new(Function("relu", Some(Local::Relu))) as Box<dyn LocalFunction>;
    let columns = Axis::new(10, 2, 1, 0).and_then(|axis| axis.pooled(3)).unwrap();
    let thirds = Window::new(1, 1, Axis::new(1, 1, 1, 0).unwrap(), columns).unwrap();
    let wide =
        Precision { activations: Format::new(20, 14), weights: Format::new(4, 20), ..precision };
    for answer in [Answer::Class, Answer::Scores] {
        let said = refused(&of(thirds.into(), relu()), &precision, answer);
        assert!(said.contains("hidden: divides by 3"), "{said}");
        let said =
            refused(&of(dense(4, 4), Box::new(Function("taylor", None))), &precision, answer);
        assert!(said.contains("taylor after hidden: has no circuit"), "{said}");
        let said = refused(&residual(Box::new(Squared)), &precision, answer);
        assert!(said.contains("first: goes into a shortcut"), "{said}");
        let said = refused(&of(dense(4, 4), relu()), &wide, answer);
        assert!(said.contains("hidden: has sums of more than 53 bits"), "{said}");
    }
    let after = || chain(4, vec![("only", dense(4, 3), vec![relu()])], Box::new(Squared));
    let said = refused(&after(), &precision, Answer::Class);
    assert!(said.contains("relu after only") && said.contains("ask for scores"), "{said}");
    // The client takes it from the scores.
    let model = model(after());
    let (mut pair, _, mut rng) = pair(model.clone(), Answer::Scores).unwrap();
    pair.make_tickets(3, &mut rng).unwrap();
    let inputs = inputs(&model, 3);
    assert_eq!(pair.ask(&inputs, &mut rng).unwrap(), expected(&model, &inputs, Answer::Scores));
}

#[test]
fn plans_without_room_or_shares_are_refused() {
    let (network, precision) = (network(), Precision::INFERENCE);
    let circuits = Arc::new(Circuits::new(&network, &precision, Answer::Class).unwrap());
    let planned = |bits: u32, tickets: usize| {
        let key = ClearKey::new(bits).unwrap();
        let prices = <Clear as crate::Backend>::prices(&key);
        BlindPlan::<Clear>::priced(&network, &circuits, tickets, &key, &prices).map(|_| ())
    };
    let said = planned(64, 1).unwrap_err().to_string();
    assert!(said.contains("first (forward) needs") && said.contains("slot has 62"), "{said}");
    for tickets in [0, 65537] {
        let said = planned(2048, tickets).unwrap_err().to_string();
        assert!(said.contains("tickets: need to be 1 to 65536"), "{said}");
    }
    planned(2048, 65536).unwrap();
    let key = Wrapping::keygen(2048, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    let public = Wrapping::public_key(&key);
    let prices = <Wrapping as crate::Backend>::prices(public);
    let plan = BlindPlan::<Wrapping>::priced(&network, &circuits, 1, public, &prices);
    let said = plan.unwrap_err().to_string();
    assert!(said.contains("first: blind inference needs shares modulo 2^23"), "{said}");
}

/// Class by class, and with both counts.
#[test]
fn blind_queries_are_charged_by_the_bits_of_their_answers() {
    use crate::ledger::Exposure;
    let model = model(network());
    let of = |network: &Network, answer| {
        let circuits = Circuits::new(network, &model.precision, answer).unwrap();
        Exposure::blind(network, &model.precision, &circuits)
    };
    let [class, scores] = [Answer::Class, Answer::Scores].map(|a| of(&model.network, a));
    let [class, scores] = [&class.model[..], &scores.model[..]];
    let ([class], [scores]) = (class, scores) else { panic!("one line each") };
    assert_eq!((class.revealed_bits_per_sample, class.equations_per_sample), (2, 1));
    // Three scores of 23 bits: (5 * 2^12 + 2^8) * 2^7 < 2^22.
    assert_eq!((scores.revealed_bits_per_sample, scores.equations_per_sample), (69, 3));
    assert_eq!(class.unknowns, model.network.parameters() as u64);
    // Two weights and a bias, four and one, five and one: 6, 5 and 5 bits each.
    assert_eq!(class.secret_bits, (2 + 1) * 6 + (20 + 5) * 5 + (15 + 3) * 5);
    let exposure = of(&model.network, Answer::Class);
    let verdict = exposure.verdict();
    assert!(verdict.contains("2 bits about the 233 of all weights together"), "{verdict}");
    assert_eq!(exposure.safe_samples().0, 116);
    // Frozen stages are counted over all versions.
    let frozen = of(&network().freeze(1).unwrap(), Answer::Class);
    assert_eq!(frozen.model.len(), 2);
    assert_eq!((frozen.model[1].secret_bits, frozen.model[1].frozen), (18, true));
}
