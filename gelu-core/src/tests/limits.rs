//! What a plan and a mask may be, at the edge: in integers, where the plan computes with reals.

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::networks;
use super::session::Session;
use crate::clear::{Clear, ClearKey};
use crate::fixed::{Format, Precision};
use crate::linear::{Axis, Window};
use crate::mask::{self, Kind};
use crate::message::ClientMessage;
use crate::network::{Layer, Parameters};
use crate::plan::{Direction, MAX_BATCH, MAX_STEPS, Plan, Purpose};
use crate::server::LearningRate;
use crate::slots::{MAX_SLOT_BITS, SlotLayout, UpdateLayout, signed_bits};
use crate::update::Update;

fn plan(batch: usize, purpose: Purpose) -> crate::Result<Plan<SlotLayout>> {
    let key = ClearKey::new(2048).unwrap();
    Plan::new::<Clear>(&networks::network(), &Precision::TRAINING, batch, purpose, &key)
}

#[test]
fn a_plan_has_one_to_the_most_samples_and_steps() {
    for batch in [1, MAX_BATCH] {
        plan(batch, Purpose::Inference).unwrap();
        for steps in [1, MAX_STEPS] {
            plan(batch, Purpose::Training { steps }).unwrap();
        }
    }
    for batch in [0, MAX_BATCH + 1] {
        let error = plan(batch, Purpose::Inference).unwrap_err().to_string();
        assert!(error.contains("batch: needs 1 to 65536 samples"), "{error}");
    }
    for steps in [0, MAX_STEPS + 1] {
        let error = plan(1, Purpose::Training { steps }).unwrap_err().to_string();
        assert!(error.contains("lease: needs 1 to 2^20 steps"), "{error}");
    }
}

/// The widest value that an honest session can reach, for the test network by hand: the gain of a
/// row is the number of its taps (4 for the fused convolution, whose divisor is 2).
#[test]
fn slots_hold_the_widest_value_and_waste_no_bit() {
    let p = Precision::TRAINING;
    let own = 1i128 << (p.weights.integer + p.weights.fraction);
    let (input, constant) = (1i128 << (3 + 14), 1i128 << 14);
    let error = 1i128 << (1 + 18);
    for steps in [0u32, 1, 3, 1000] {
        let purpose = if steps == 0 { Purpose::Inference } else { Purpose::Training { steps } };
        let weight = own + i128::from(steps) * ((1 << 84) + (1 << 19));
        let plan = plan(1, purpose).unwrap();
        let mut got = Vec::new();
        for (stage, direction, exchange) in plan.exchanges() {
            assert_eq!(plan.exchange(stage, direction), Some(exchange));
            got.push((stage, direction, exchange.layout().slot_bits));
        }
        let forward =
            |taps: i128, divisor: i128| signed_bits((taps * input + divisor * constant) * weight);
        let backward = |taps: i128| signed_bits(taps * error * weight);
        let mut expected = vec![
            (0, Direction::Forward, forward(4, 2)),
            (1, Direction::Forward, forward(4, 1)),
            (2, Direction::Forward, forward(5, 1)),
        ];
        if steps > 0 {
            expected.push((2, Direction::Backward, backward(3)));
            expected.push((1, Direction::Backward, backward(5)));
        }
        assert_eq!(got, expected, "{steps} steps");
        assert_eq!(plan.exchange(3, Direction::Forward), None);
        assert_eq!(plan.exchange(0, Direction::Backward), None);
    }
}

/// The bias of a fused mean counts as often as the mean has terms: 2 inputs and 2 biases are 4, not 3.
#[test]
fn slots_hold_the_bias_of_a_mean() {
    let columns = Axis::new(2, 1, 1, 0).and_then(|axis| axis.pooled(2)).unwrap();
    let mean = Window::new(1, 1, Axis::new(1, 1, 1, 0).unwrap(), columns).unwrap();
    let links = vec![("mean", mean.into(), vec![])];
    let network = networks::chain(2, links, Box::new(networks::Squared));
    let activations = Format { integer: 0, fraction: 14 };
    let precision = Precision { activations, ..Precision::INFERENCE };
    let key = ClearKey::new(2048).unwrap();
    let plan = Plan::new::<Clear>(&network, &precision, 1, Purpose::Inference, &key).unwrap();
    let own = precision.weights.integer + precision.weights.fraction;
    let widest = signed_bits(4 << (14 + own));
    assert_eq!(plan.stages[0].forward.layout().slot_bits, widest);
}

/// The widest slot is used before a plan is refused.
#[test]
fn a_plan_is_refused_beyond_the_widest_slot() {
    let with = |mask_bits| {
        let precision = Precision { mask_bits, ..Precision::TRAINING };
        let key = ClearKey::new(2048).unwrap();
        let purpose = Purpose::Training { steps: 1 };
        Plan::new::<Clear>(&networks::network(), &precision, 1, purpose, &key)
    };
    let widest = |plan: Plan<SlotLayout>| {
        plan.exchanges().map(|(_, _, e)| e.layout().slot_bits).max().unwrap()
    };
    let base = widest(with(64).unwrap());
    let most = 64 + MAX_SLOT_BITS - base;
    assert_eq!(widest(with(most).unwrap()), MAX_SLOT_BITS);
    let error = with(most + 1).unwrap_err().to_string();
    assert!(error.contains("needs 128 bits, the plaintext slot has 127"), "{error}");
}

/// |G + R·2^g| < 2^(l−1+g_max) + 2^(l+sigma+g_max): 20 + 64 + 5 bits, one for the rest and a sign.
#[test]
fn an_update_fills_as_many_ciphertexts_as_it_needs() {
    let key = ClearKey::new(2048).unwrap();
    for (g_max, bits) in [(0, 86), (5, 91), (18, 104)] {
        assert_eq!(bits, signed_bits((1 << (19 + g_max)) + (1 << (84 + g_max))));
        let slots = 2046 / bits as usize;
        for (values, ciphertexts) in [(1, 1), (slots, 1), (slots + 1, 2), (3 * slots, 3)] {
            let layout =
                UpdateLayout::new::<Clear>(values, &Precision::TRAINING, g_max, &key).unwrap();
            assert_eq!((layout.slot_bits, layout.slots), (bits, slots));
            assert_eq!(layout.ciphertexts(), ciphertexts);
            let counts: Vec<_> = (0..ciphertexts).map(|n| layout.shape(n).count).collect();
            assert_eq!(counts.iter().sum::<usize>(), values, "{counts:?}");
            assert!(counts[..ciphertexts - 1].iter().all(|&count| count == slots));
            assert!((0..ciphertexts).all(|n| layout.shape(n).bits == bits));
        }
    }
    let wide = Precision { mask_bits: 100, ..Precision::TRAINING };
    let error = UpdateLayout::new::<Clear>(1, &wide, 18, &key).unwrap_err().to_string();
    assert!(error.contains("masked update needs 140 bits"), "{error}");
}

/// Uniform over 2^bits integers: range, mean 1/2 and variance 1/12 of the range, no value twice.
#[test]
fn masks_are_uniform_over_their_range() {
    const SAMPLES: usize = 20_000;
    let like = Parameters { layers: vec![Layer { weights: vec![9; SAMPLES], biases: vec![9; 3] }] };
    let like = Update::from(like);
    let kinds = |bits| {
        let half = 1i128 << (bits - 1);
        [(Kind::Statistical { bits }, 0..2 * half), (Kind::Modular { bits }, -half..half)]
    };
    for (bits, (kind, values)) in
        [1, 40, 84, 126].into_iter().flat_map(|b| kinds(b).map(|k| (b, k)))
    {
        let rng = &mut ChaCha20Rng::seed_from_u64(4);
        let masks = mask::draw(&like, kind, rng);
        assert_eq!((masks.values().count(), masks.layer(0).biases.len()), (SAMPLES + 3, 3));
        let range = crate::fixed::exp2(bits);
        let reals: Vec<f64> = masks.values().map(|&r| (r - values.start) as f64 / range).collect();
        assert!(masks.values().all(|r| values.contains(r)));
        let n = reals.len() as f64;
        let mean = reals.iter().sum::<f64>() / n;
        let variance = reals.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / n;
        // One bit has the values 0 and 1/2.
        let (expected, spread) = if bits == 1 { (0.25, 1.0 / 16.0) } else { (0.5, 1.0 / 12.0) };
        assert!((mean - expected).abs() < 5.0 * (spread / n).sqrt(), "{kind:?}: mean {mean}");
        assert!((variance - spread).abs() < 0.02 * spread, "{kind:?}: variance {variance}");
        if bits >= 40 {
            let different: std::collections::BTreeSet<_> = masks.values().collect();
            assert_eq!(different.len(), SAMPLES + 3);
            assert!(masks != mask::draw(&like, kind, rng), "the next ones are others");
        }
    }
    for bits in [0, 127] {
        for kind in [Kind::Statistical { bits }, Kind::Modular { bits }] {
            let refused = std::panic::catch_unwind(|| {
                mask::draw(&like, kind, &mut ChaCha20Rng::seed_from_u64(4));
            });
            assert!(refused.is_err(), "{kind:?}");
        }
    }
}

/// What crosses the wire is under masks of l + sigma bits: of the top ones half are set.
#[test]
fn a_masked_update_is_as_long_as_its_mask() {
    let session = Session::until(&LearningRate::Public(0.1), "MaskedUpdate", 1);
    let super::session::Event::Up(ClientMessage::MaskedUpdate(update)) = session.pending else {
        panic!("no masked update")
    };
    let p = Precision::TRAINING;
    let top = p.update_bits + p.mask_bits - 1;
    let set = update.values().filter(|&v| v >> top & 1 == 1).count();
    let all = update.len();
    assert!((all / 5..all - all / 5).contains(&set), "{set} of {all}");
    assert!(update.values().all(|v| v >> (top + 1) == 0));
}
