//! Law: whatever one party of a garbled session sends, the other one refuses it as misbehaviour, or goes on with as
//! many numbers as it waits for.
//!
//! Byte 0 is the message that is not honest. The next two say where the rest is XORed into it; from byte 0 = 5 on the
//! rest is the whole message.
#![no_main]
use gelu_core::circuit::{Circuit, argmax};
use gelu_core::{Error, Result};
use gelu_fuzz::rng;
use gelu_garble::{Bits, CotReceiver, Evaluator, Garbler, Offer, Session, Task};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [kind, a, b, rest @ ..] = data else { return };
    let at = usize::from(u16::from_le_bytes([*a, *b]));
    let change = |number: u8, mut message: Vec<u8>| {
        match kind.checked_sub(5) {
            _ if kind % 5 != number => {}
            Some(_) => message = rest.to_vec(),
            None => {
                message.iter_mut().skip(at).zip(rest).for_each(|(byte, change)| *byte ^= change)
            }
        }
        message
    };
    match session(&argmax(2, 4).expect("a circuit"), change) {
        Ok(outputs) => assert_eq!(outputs.len(), 3),
        Err(error) => assert!(matches!(error, Error::PeerMisbehaved(_)), "{error}"),
    }
});

/// Three circuits, with each message through `change`.
fn session(circuit: &Circuit, change: impl Fn(u8, Vec<u8>) -> Vec<u8>) -> Result<Vec<u64>> {
    let (rng, session) = (&mut rng(), Session::new([1; 32]));
    let task = Task::new(circuit, 3, 20)?;
    let (offer, message) = Offer::new(session, rng);
    let (mut receiver, answer) = CotReceiver::answer(session, &change(0, message), rng)?;
    let sender = offer.accept(&change(1, answer))?;
    let mut garbler = Garbler::new(&session, sender.delta());
    let bits = Bits::of_shares(&[5; 6], 4);
    let (own, message) = receiver.extend(&bits, rng)?;
    let (_, zeros) = sender.extend(bits.len(), &change(2, message))?;
    let (garbling, tables) = garbler.garble(&task, zeros, rng)?;
    let evaluation = Evaluator::new(&session).receive(&task, own, change(3, tables))?;
    let (labels, _) = garbling.encode(&bits)?;
    evaluation.evaluate(&task, &change(4, labels))
}
