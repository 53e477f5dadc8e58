//! What a server lets into its model: masked updates and sums, each to its last value inside.

use super::session::{Event, PUBLIC, STEPS, Session, out_of_bounds};
use super::{G, G_MAX, model, secret_rate};
use crate::clear::{Clear, ClearKey};
use crate::error::Result;
use crate::mask::Masked;
use crate::message::{ClientMessage, ServerMessage};
use crate::network::Parameters;
use crate::server::{ServedModel, ServerOutput};
use crate::slots::{AdditiveHE, Plaintext, UpdateLayout};

/// |U| < 2^(l−1) and 0 ≤ R < 2^(l+sigma), as [`Precision::TRAINING`] has them.
const UPDATE: i128 = 1 << 19;
const MASK: i128 = 1 << 84;

/// All zero but for one value: in turn the first weight and the last bias.
fn single(value: i128) -> [Parameters; 2] {
    let zeros = model().network.zeros();
    let (mut first, mut last) = (zeros.clone(), zeros);
    *first.values_mut().next().unwrap() = value;
    *last.values_mut().last().unwrap() = value;
    [first, last]
}

#[test]
fn a_masked_update_may_be_a_sum_of_update_and_mask_and_no_more() {
    assert_eq!(UPDATE, 1 << (model().precision.update_bits - 1));
    assert_eq!(MASK, (2 * UPDATE) << model().precision.mask_bits);
    let sent = |update| {
        let mut session = Session::until(&PUBLIC, "MaskedUpdate", 1);
        session.tell(ClientMessage::MaskedUpdate(Masked::decrypted(update)))?;
        assert_eq!(session.next().name(), "UpdateApplied");
        Ok(())
    };
    for value in [0, -UPDATE, MASK + UPDATE - 1] {
        single(value).into_iter().for_each(|update| sent(update).unwrap());
    }
    for value in [-UPDATE - 1, MASK + UPDATE, i128::MIN, i128::MAX] {
        single(value)
            .into_iter()
            .for_each(|update| assert_eq!(out_of_bounds(sent(update)), "a masked update"));
    }
}

/// An update under the server's key, each value as it is.
fn encrypted(update: &Parameters) -> ClientMessage {
    let (model, key) = (model(), ClearKey::new(2048).unwrap());
    let layout = UpdateLayout::new::<Clear>(update.len(), &model.precision, G_MAX, &key).unwrap();
    let values: Vec<i128> = update.values().copied().collect();
    let mut ciphertexts = Vec::new();
    for values in values.chunks(layout.slots) {
        let plain = Plaintext::new(layout.slot_bits, values.to_vec()).unwrap();
        let rng = &mut Session::new(&PUBLIC).rng;
        let ciphertext = Clear::encrypt(&key, &plain, rng).unwrap();
        Clear::ciphertext_to_bytes(&key, &ciphertext, &mut ciphertexts);
    }
    ClientMessage::EncryptedMaskedUpdate { ciphertexts }
}

/// The server divides by 2^g: what is left has the bounds of a masked update, and nothing is lost.
#[test]
fn an_encrypted_update_is_a_multiple_of_the_inverse_rate_within_the_same_bounds() {
    let sent = |update: &Parameters| {
        let mut session = Session::until(&secret_rate(), "EncryptedMaskedUpdate", 1);
        session.tell(encrypted(update))?;
        assert_eq!(session.next().name(), "UpdateApplied");
        Ok(())
    };
    let inverse = 1i128 << G;
    for value in [0, inverse, -inverse, -UPDATE * inverse, (MASK + UPDATE - 1) * inverse] {
        single(value).into_iter().for_each(|update| sent(&update).unwrap());
    }
    for value in [(-UPDATE - 1) * inverse, (MASK + UPDATE) * inverse] {
        single(value)
            .into_iter()
            .for_each(|update| assert_eq!(out_of_bounds(sent(&update)), "a masked update"));
    }
    for value in [1, inverse - 1, inverse / 2, -1, -inverse - 1, 3 * inverse + inverse / 2] {
        single(value)
            .into_iter()
            .for_each(|update| assert_eq!(out_of_bounds(sent(&update)), "a masked update"));
    }
    // It says why: a value that is no multiple is none even inside the bounds.
    let error = sent(&single(1)[0]).unwrap_err().to_string();
    assert!(error.contains("a multiple of 2^3"), "{error}");
}

/// What a lease ends in when its last message is `sum`: the parameters to commit, or a refusal.
fn end(session: Session, sum: Parameters) -> Result<Result<Parameters, String>> {
    end_at(session.play("FinalUpdate", 1), sum)
}

fn end_at(mut session: Session, sum: Parameters) -> Result<Result<Parameters, String>> {
    session.tell(ClientMessage::FinalUpdate(sum.into()))?;
    Ok(match session.next() {
        Event::Asked(ServerOutput::Commit { base: 1, parameters }) => Ok(parameters),
        Event::Down(ServerMessage::Refused { reason }) => {
            assert!(session.server.client_key().is_some(), "the session goes on");
            assert!(!session.server.holds_lease());
            Err(reason)
        }
        other => panic!("{other:?}"),
    })
}

fn minus(parameters: &Parameters, sum: &Parameters) -> Parameters {
    let mut result = parameters.clone();
    result.subtract(sum);
    result
}

#[test]
fn a_final_sum_is_one_of_as_many_updates_as_the_lease_has_steps() {
    let most = i128::from(STEPS) * UPDATE;
    for value in [0, 1, most, -most] {
        for sum in single(value) {
            let after = end(Session::new(&PUBLIC), sum.clone()).unwrap().unwrap();
            assert!(after == minus(&model().parameters, &sum), "{value}");
        }
    }
    for value in [most + 1, -most - 1, i128::MAX, i128::MIN] {
        for sum in single(value) {
            assert_eq!(out_of_bounds(end(Session::new(&PUBLIC), sum)), "final update");
        }
    }
    assert_eq!(out_of_bounds(end(Session::new(&PUBLIC), Parameters::default())), "update");
}

/// A lease that ends before its last step has a sum of the steps that were made.
#[test]
fn a_lease_cut_short_has_a_shorter_bound() {
    // In place of the first masked update, and of the first question of the second step (a query
    // comes before both).
    let stages = model().network.stages().len();
    for (name, nth) in [("MaskedUpdate", 1), ("EncryptedActivations", 2 * stages + 1)] {
        let at = || Session::until(&PUBLIC, name, nth);
        for sum in single(UPDATE) {
            assert!(end_at(at(), sum).unwrap().is_ok(), "{name}");
        }
        for value in [UPDATE + 1, -UPDATE - 1, i128::from(STEPS) * UPDATE] {
            for sum in single(value) {
                assert_eq!(out_of_bounds(end_at(at(), sum)), "final update", "{name}");
            }
        }
    }
}

/// Under a secret rate the sum is one of gradients: multiples of 2^g_max, divided by 2^g.
#[test]
fn a_final_sum_of_gradients_has_no_low_bits() {
    let (spent, inverse) = (1i128 << G_MAX, 1i128 << G);
    let most = i128::from(STEPS) * UPDATE;
    for value in [0, spent, -spent, 7 * spent, most, -most] {
        for sum in single(value) {
            let after = end(Session::new(&secret_rate()), sum.clone()).unwrap().unwrap();
            let expected = minus(&model().parameters, &sum.map(|v| v / inverse));
            assert!(after == expected, "{value}");
        }
    }
    for value in [1, inverse, spent / 2, spent - 1, -1, -spent - inverse] {
        for sum in single(value) {
            assert_eq!(out_of_bounds(end(Session::new(&secret_rate()), sum)), "final", "{value}");
        }
    }
    for value in [most + spent, -most - spent] {
        for sum in single(value) {
            assert_eq!(out_of_bounds(end(Session::new(&secret_rate()), sum)), "final update");
        }
    }
}

/// An honest client cannot know that it has pushed a weight out of its bound: that is no
/// misbehaviour, and the lease leaves no trace. Nor does the reason tell what the weight would have become: whoever
/// chose the sum would learn the weight.
#[test]
fn a_lease_that_leaves_the_format_is_rolled_back() {
    let max = model().precision.weights.max();
    let full = |value| {
        let parameters = model().parameters.map(|_| value);
        Session::of(ServedModel { parameters, ..model() }, &PUBLIC)
    };
    for (weight, step) in [(max, -1), (-max, 1)] {
        for sum in single(step) {
            let reason = end(full(weight), sum).unwrap().unwrap_err();
            assert!(reason.contains("would leave the bound of 1"), "{reason}");
        }
        let reasons =
            |step| single(step).into_iter().map(|s| end(full(weight), s).unwrap().unwrap_err());
        assert!(reasons(step).eq(reasons(5 * step)), "a reason depends on the weight");
        for sum in single(-step) {
            end(full(weight), sum).unwrap().unwrap();
        }
        end(full(weight), model().network.zeros()).unwrap().unwrap();
    }
}
