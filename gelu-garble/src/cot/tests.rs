//! The law of the transfers, what the check catches, and what it is there for.

use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

use super::laboratory::{Flip, danger_unchecked, danger_wrong_choices};
use super::*;

/// A session, after its base transfers.
fn session(seed: u64) -> (CotSender, CotReceiver, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let session = Session::new([9; 32]);
    let (offer, first) = Offer::new(session, &mut rng);
    let (receiver, answer) = CotReceiver::answer(session, &first, &mut rng).unwrap();
    (offer.accept(&answer).unwrap(), receiver, rng)
}

fn bits(count: usize, rng: &mut ChaCha20Rng) -> Bits {
    let shares: Vec<_> = (0..count).map(|_| rng.next_u64()).collect();
    Bits::of_shares(&shares, 1)
}

#[test]
fn labels_differ_by_delta_where_the_bit_is_set() {
    let (mut sender, mut receiver, mut rng) = session(1);
    let delta = sender.delta().value();
    assert_eq!(delta & 1, 1);
    for count in [0, 1, 127, 128, 129, 1000] {
        let bits = bits(count, &mut rng);
        let (own, message) = receiver.extend(&bits, &mut rng).unwrap();
        assert_eq!(message.len(), 512 * count.div_ceil(128) + 2576);
        let zeros;
        (sender, zeros) = sender.extend(count, &message).unwrap();
        assert_eq!((own.len(), zeros.len()), (count, count));
        for (n, (own, zero)) in own.0.iter().zip(&zeros.0).enumerate() {
            assert_eq!(own ^ zero, delta & bits.mask(n), "bit {n} of {count}");
        }
    }
}

#[test]
fn changed_lost_and_repeated_messages_are_refused() {
    for seed in 0..4 {
        let (sender, mut receiver, mut rng) = session(seed);
        let bits = bits(200, &mut rng);
        let (_, mut message) = receiver.extend(&bits, &mut rng).unwrap();
        assert!(sender.delta().value() & 0xf != 0, "the lowest bit is set");
        match seed {
            // A correction in the first group, whose α is not 0.
            0 => message[3] ^= 4,
            // The hash of the choices, that of a column, and a bit more.
            1 => message[16 * GROUPS * blocks(200)] ^= 1,
            2 => *message.last_mut().unwrap() ^= 1,
            _ => message.push(0),
        }
        assert!(sender.extend(200, &message).is_err(), "{seed}");
    }
    let (sender, mut receiver, mut rng) = session(5);
    let bits = bits(200, &mut rng);
    let (_, message) = receiver.extend(&bits, &mut rng).unwrap();
    let (sender, _) = sender.extend(200, &message).unwrap();
    let error = sender.extend(200, &message).unwrap_err().to_string();
    assert_eq!(error, "the peer misbehaved: a batch of transfers fails its check");
}

/// 128 choices of 0, of which one is flipped in a group.
fn cheat(receiver: &mut CotReceiver, flips: &[Flip], rng: &mut ChaCha20Rng) -> (Labels, Vec<u8>) {
    danger_wrong_choices(receiver, &Bits::of_shares(&[0, 0], 64), flips, rng)
}

#[test]
fn different_choices_in_different_groups_are_caught() {
    let mut caught = 0;
    for group in [0, 1, 7, 30, 31] {
        let (sender, mut receiver, mut rng) = session(10 + group as u64);
        let known = alpha(&sender.delta(), group);
        let (_, message) = cheat(&mut receiver, &[Flip { group, bit: 5, guess: 0 }], &mut rng);
        // Where Δ has no bit in the group, nothing was wrong.
        assert_eq!(sender.extend(128, &message).is_err(), known != 0, "{group}");
        caught += usize::from(known != 0);
    }
    assert!(caught > 2);
}

/// What the check leaves: to stake the session on a guess of four bits.
#[test]
fn a_cheat_passes_only_with_the_right_guess_of_the_bits_it_touches() {
    for guess in 0..16u8 {
        let (sender, mut receiver, mut rng) = session(77);
        let flip = Flip { group: 3, bit: 9, guess };
        let (_, message) = cheat(&mut receiver, &[flip], &mut rng);
        let right = guess == alpha(&sender.delta(), flip.group);
        assert_eq!(sender.extend(128, &message).is_ok(), right, "{guess}");
    }
}

/// Without the check: one wrong choice for each group, and a hash of the garbler's label, as any gate would
/// give it, tell all of Δ.
#[test]
fn an_unchecked_transfer_gives_delta_away() {
    let (sender, mut receiver, mut rng) = session(4);
    let flips: Vec<_> = (0..GROUPS).map(|group| Flip { group, bit: group, guess: 0 }).collect();
    let (own, message) = cheat(&mut receiver, &flips, &mut rng);
    let zeros = danger_unchecked(&sender, 128, &message);
    let gate = |label: u128| Session::new([0; 32]).hash("a gate", &[&label.to_le_bytes()]);
    let found = (0..GROUPS).map(|group| {
        let seen = gate(zeros.0[group]);
        let at = |alpha: &u128| gate(own.0[group] ^ alpha << (DEPTH * group)) == seen;
        (0..16).find(at).expect("one of sixteen") << (DEPTH * group)
    });
    assert_eq!(found.sum::<u128>(), sender.delta().value());
}
