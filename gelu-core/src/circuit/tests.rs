//! Circuits against what the clear network encodes, for all values where there are few.

use ndarray::Array2;
use proptest::prelude::*;

use super::*;
use crate::fixed::{Format, Saturations, exp2};
use crate::network::LocalFunction;
use crate::pass;
use crate::tests::networks::{Function, sigmoid};

/// A chain of local functions by name, on windows of `window` values.
fn chain(names: &[&'static str], window: usize) -> Vec<Box<dyn LocalFunction>> {
    let windows = || Windows(vec![(0..window).collect()]);
    let function = |name: &&'static str| {
        let local = match *name {
            "relu" => Some(Local::Relu),
            "square" => Some(Local::Square),
            "sigmoid" => Some(Local::Steps(sigmoid)),
            "tanh" => Some(Local::Steps(libm::tanh)),
            "falling" => Some(Local::Steps(|z| -z)),
            "max" => Some(Local::Max(windows())),
            "mean" => Some(Local::Mean(windows())),
            _ => None,
        };
        Box::new(Function(name, local)) as Box<dyn LocalFunction>
    };
    names.iter().map(function).collect()
}

fn borrowed(locals: &[Box<dyn LocalFunction>]) -> Vec<&dyn LocalFunction> {
    locals.iter().map(AsRef::as_ref).collect()
}

/// What the clear network makes of one window.
fn clear(locals: &[Box<dyn LocalFunction>], z: &[i128], numbers: &Numbers) -> i128 {
    let real = |z: i128| z as f64 / exp2(numbers.fraction);
    let start = Array2::from_shape_fn((z.len(), 1), |(i, _)| real(z[i]));
    let a = locals.iter().fold(start, |z, local| local.forward(&z));
    numbers.activations.encode(a[[0, 0]], &Saturations::default())
}

/// 64 samples of numbers, `values` each, as words of a circuit's inputs: shares by the masks.
fn shared(z: &[Vec<i128>], masks: &[i128], bits: u32, offset: i128) -> Vec<u64> {
    let values = z[0].len();
    let mut words = vec![0; 2 * values * bits as usize];
    for (lane, z) in z.iter().enumerate() {
        for (n, z) in z.iter().enumerate() {
            let mask = masks[(lane * values + n) % masks.len()];
            for (party, share) in [z + offset - mask, mask].into_iter().enumerate() {
                for place in 0..bits {
                    let at = (party * values + n) * bits as usize + place as usize;
                    words[at] |= ((share >> place & 1) as u64) << lane;
                }
            }
        }
    }
    words
}

/// The circuit of `names` equals the clear network on all of `z`.
fn equal(names: &[&'static str], numbers: &Numbers, z: &[Vec<i128>], masks: &[i128]) {
    let window = z[0].len();
    let locals = chain(names, window);
    let built = stage(&borrowed(&locals), window, numbers).unwrap();
    for z in z.chunks(64) {
        let got = built.circuit.evaluate_64(&shared(z, masks, built.bits, built.offset));
        for (lane, z) in z.iter().enumerate() {
            assert_eq!(got[0][lane], clear(&locals, z, numbers), "{names:?} of {z:?}, {numbers:?}");
        }
    }
}

/// All values within the bound, each alone or beside others of a window.
fn all(bound: i128, window: usize) -> Vec<Vec<i128>> {
    let other = |z: i128, n: usize| (z * (7 * n as i128 + 1) + 11 * n as i128) % (bound + 1);
    (-bound..=bound).map(|z| (0..window).map(|n| other(z, n)).collect()).collect()
}

const CHAINS: [(&[&str], usize); 13] = [
    (&["relu"], 1),
    (&[], 1),
    (&["square"], 1),
    (&["sigmoid"], 1),
    (&["tanh"], 1),
    (&["relu", "max"], 4),
    (&["max", "relu"], 3),
    (&["max"], 2),
    (&["mean"], 4),
    (&["relu", "mean"], 4),
    (&["mean", "relu"], 2),
    (&["square", "mean"], 4),
    (&["tanh", "max"], 2),
];

/// Every chain in every small shape, for every value.
#[test]
fn circuits_equal_the_clear_network_for_all_values_of_small_shapes() {
    let masks = [0, 1, -1, 0x5555_5555, 0x1234_5678, -77];
    for bound in [1, 100, 127, 500] {
        for (fraction, format) in [
            (1, Format::new(0, 1)),
            (5, Format::new(1, 2)),
            (8, Format::new(2, 2)),
            (4, Format::new(4, 4)),
            (12, Format::new(1, 1)),
        ] {
            let numbers = Numbers { bound, fraction, activations: format };
            for (names, window) in CHAINS {
                equal(names, &numbers, &all(bound, window), &masks);
            }
        }
    }
}

/// The numbers of inference: 14 fractional bits in, 8 out of 12.
fn inference(bound: i128) -> Numbers {
    Numbers { bound, fraction: 14, activations: Format::new(4, 8) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn circuits_equal_the_clear_network_at_real_shapes(
        z in prop::collection::vec(-(1i128 << 23)..(1 << 23), 64),
        small in prop::collection::vec(-(1i128 << 17)..(1 << 17), 64),
        masks in prop::collection::vec(any::<i64>().prop_map(i128::from), 7),
        chain in 0..CHAINS.len(),
    ) {
        let (names, window) = CHAINS[chain];
        let numbers = inference(1 << 23);
        for z in [z, small] {
            let z: Vec<_> = z.chunks_exact(window).map(<[_]>::to_vec).collect();
            equal(names, &numbers, &z, &masks);
        }
    }

    #[test]
    fn the_index_of_the_largest_is_that_of_the_clear_network(
        values in prop::collection::vec(prop::collection::vec(-3..4i128, 10), 20),
        wide in prop::collection::vec(prop::collection::vec(-(1i128 << 26)..(1 << 26), 10), 20),
        masks in prop::collection::vec(any::<i64>().prop_map(i128::from), 7),
    ) {
        for values in [values, wide] {
            let circuit = argmax(10, 28).unwrap();
            let got = circuit.evaluate_64(&shared(&values, &masks, 28, 0));
            for (lane, values) in values.iter().enumerate() {
                let expected = pass::argmax(values.iter().map(|z| *z as f64));
                prop_assert_eq!(got[0][lane], expected as i128, "{:?}", values);
            }
        }
    }
}

/// Around every step of the tables at the precision of inference.
#[test]
fn tables_of_steps_are_exact_at_every_step() {
    for name in ["sigmoid", "tanh"] {
        let numbers = inference(1 << 28);
        // All z of the rising part in strides, and both ends.
        let near = (-110_000..110_000).step_by(7).chain([-(1 << 28), 1 << 28]);
        equal(&[name], &numbers, &near.map(|z| vec![z]).collect::<Vec<_>>(), &[0, 0x1357_9bdf]);
    }
}

/// ANDs: the price of each circuit, in the shapes of the benchmark networks.
#[test]
fn circuits_cost_what_is_written() {
    let ands = |names: &[&'static str], window, numbers: &Numbers| {
        let built = stage(&borrowed(&chain(names, window)), window, numbers).unwrap();
        (built.bits, built.circuit.and_count(), built.circuit.decoded_bits())
    };
    let of = |bits: u32, fraction: u32, activations: Format| {
        let half = 1 << (fraction - activations.fraction) >> 1;
        Numbers { bound: (1 << (bits - 1)) - 1 - half, fraction, activations }
    };
    assert_eq!(ands(&["relu"], 1, &of(32, 16, Format::new(4, 8))), (32, 54, 12));
    assert_eq!(ands(&["relu"], 1, &of(41, 34, Format::new(3, 14))), (41, 60, 17));
    assert_eq!(ands(&["relu", "max"], 4, &of(30, 14, Format::new(4, 8))), (30, 280, 12));
    assert_eq!(ands(&["sigmoid"], 1, &inference(1 << 28)), (30, 337, 9));
    assert_eq!(ands(&["tanh"], 1, &inference(1 << 28)), (30, 472, 10));
    assert_eq!(argmax(10, 27).unwrap().and_count(), 740);
}

#[test]
fn what_is_not_exact_is_refused_by_name() {
    let refused = |names: &[&'static str], window, numbers: &Numbers| {
        stage(&borrowed(&chain(names, window)), window, numbers).unwrap_err().to_string()
    };
    let numbers = inference(1 << 28);
    let wide = Numbers { bound: 1 << 53, ..numbers };
    let fine = Numbers { fraction: 80, ..numbers };
    for (names, window, numbers, expected) in [
        (&["spline"][..], 1, &numbers, "spline: has no circuit"),
        (&["falling"], 1, &numbers, "falling: falls"),
        (&["sigmoid", "mean"], 4, &numbers, "mean: cannot be joined"),
        (&["mean"], 3, &numbers, "mean: divides by a number that is no power of two"),
        (&["max", "mean"], 4, &numbers, "mean: is a second pooling"),
        (&["square", "mean"], 4, &numbers, "square: squares numbers of more than 26 bits"),
        (&["relu"], 1, &wide, "weighted sums: are wider than the 53 bits"),
        (
            &["relu"],
            1,
            &fine,
            "weighted sums: with half a unit of the activations need more than 64",
        ),
    ] {
        let error = refused(names, window, numbers);
        assert!(error.contains(expected), "{error}");
    }
    assert!(argmax(0, 8).is_err() && argmax(10, 65).is_err());
}

#[test]
fn gates_that_nothing_needs_are_left_out() {
    let mut b = Builder::new([2, 0]);
    let [x, y] = b.first()[..] else { unreachable!() };
    let both = b.and(x, y);
    let not = b.not(both);
    assert_eq!(b.not(not), both, "two negations are none");
    assert_eq!(b.and(y, x), both, "one gate for equal gates");
    let unused = b.xor(x, y);
    assert_eq!(b.and(unused, Bit::Known(false)), Bit::Known(false));
    let circuit = b.finish([vec![(both, 3), (Bit::Known(true), 4)]]);
    assert_eq!(circuit.gates(), [Gate::And(0, 1)]);
    assert_eq!(circuit.evaluate(&[true, true]), [7]);
}

/// The whole ticket of one stage with the mock: W·x + b under masks, the circuit on shares, the next stage's share.
#[test]
fn a_ticket_gives_the_inputs_of_the_next_stage() {
    use super::two_party::{Batch, InsecureOpen, Weighted, run};
    use crate::fixed::Precision;
    use crate::linear::{Dense, LinearMap};
    use rand::{Rng, SeedableRng};

    let rng = &mut rand::rngs::ChaCha20Rng::seed_from_u64(8);
    let linear = LinearMap::from(Dense::new(6, 8).unwrap());
    let precision = Precision::INFERENCE;
    let signed = |rng: &mut rand::rngs::ChaCha20Rng, bits: u32| {
        i128::from(rng.next_u64() >> (64 - bits)) - (1 << (bits - 1))
    };
    let bound = 7 * (1 << 12) * (1 << 8);
    let numbers = Numbers::of("dense", &linear, &precision, bound).unwrap();
    for (names, window) in [(&["relu"][..], 1), (&["tanh"], 1), (&["relu", "mean"], 4)] {
        let windows = match window {
            1 => (0..8).map(|i| vec![i]).collect(),
            // Values that are far from each other: a stage gathers them.
            _ => vec![vec![0, 2, 4, 6], vec![1, 3, 5, 7]],
        };
        let locals: Vec<Box<dyn LocalFunction>> = names
            .iter()
            .map(|name| {
                let local = match *name {
                    "mean" => Local::Mean(Windows(windows.clone())),
                    other => chain(&[other], 1)[0].circuit().unwrap(),
                };
                Box::new(Function("function", Some(local))) as Box<dyn LocalFunction>
            })
            .collect();
        let stage = stage(&borrowed(&locals), 8, &numbers).unwrap();
        let batch = Batch { stage: &stage, ring_bits: 27 };
        for _ in 0..20 {
            let x: Vec<_> = (0..6).map(|_| signed(rng, 13)).collect();
            let weights: Vec<_> = (0..48).map(|_| signed(rng, 8)).collect();
            let offsets: Vec<_> = (0..8).map(|_| signed(rng, 16)).collect();
            let inputs = Array2::from_shape_vec((6, 1), x.clone()).unwrap();
            let sums = linear.forward(&weights, &[0; 8], inputs.view(), 0);
            let z: Vec<_> = sums.iter().zip(&offsets).map(|(sum, offset)| sum + offset).collect();
            let expected = |window: &Vec<usize>| {
                let z =
                    Array2::from_shape_fn((8, 1), |(i, _)| z[i] as f64 / exp2(numbers.fraction));
                let a = locals.iter().fold(z, |z, local| local.forward(&z));
                let n = stage.neurons.iter().position(|other| other == window).unwrap();
                numbers.activations.encode(a[[n, 0]], &Saturations::default())
            };
            let map = Weighted::new(&linear, &weights, &offsets).unwrap();
            let ((), got) = run::<InsecureOpen>(((), &mut ()), &batch, &map, &x, rng).unwrap();
            assert_eq!(got, stage.neurons.iter().map(expected).collect::<Vec<_>>(), "{names:?}");
        }
    }
}

#[test]
fn what_does_not_belong_to_a_ticket_is_refused() {
    use super::two_party::{
        Batch, ClientTicket, InsecureOpen, ServerMask, ServerTicket, Weighted, without_rho,
    };
    use crate::error::{ApiMisuse, Error};
    use crate::linear::{Dense, LinearMap};
    use rand::SeedableRng;

    let rng = &mut rand::rngs::ChaCha20Rng::seed_from_u64(9);
    let linear = LinearMap::from(Dense::new(2, 2).unwrap());
    let stage = stage(&borrowed(&chain(&["relu"], 1)), 2, &inference(1 << 20)).unwrap();
    let batch = Batch { stage: &stage, ring_bits: 24 };
    let mut server = |s: Vec<u64>, request: &[u8]| {
        let made = ServerTicket::<InsecureOpen>::new(
            (),
            &batch,
            ServerMask::new(&s, stage.bits),
            request,
            rng,
        );
        made.map(|(_, ticket, _)| ticket)
    };
    let weights = [1, 2, 3, 4];
    let map = Weighted::new(&linear, &weights, &[0, 0]).unwrap();
    let ok = |s: Vec<u64>| s.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(format!("{map:?}"), "Weighted(4 entries, 2 offsets)");
    let request = ok(vec![1, 2]);
    let mut ticket = || server(vec![5, 6], &request).unwrap();
    assert!(ticket().answer(&batch, &map, &[1, 2]).is_ok());
    for query in [&[1][..], &[1, 2, 3], &[1, 1 << stage.bits]] {
        let error = ticket().answer(&batch, &map, query).unwrap_err();
        assert!(matches!(error, Error::PeerMisbehaved(_)), "{error}");
    }
    for (weights, offsets) in [(&weights[..3], &[0, 0][..]), (&weights[..], &[0][..])] {
        let error = Weighted::new(&linear, weights, offsets).unwrap_err();
        assert!(matches!(error, Error::ApiMisuse(ApiMisuse::Shape { .. })), "{error}");
    }
    let error = server(vec![5, 6, 7], &request).unwrap().answer(&batch, &map, &[1, 2]).unwrap_err();
    assert!(matches!(error, Error::ApiMisuse(ApiMisuse::Shape { .. })), "{error}");
    assert!(server(vec![5], &request).is_err(), "a mask is missing");
    assert!(server(vec![5, 6], &request[1..]).is_err(), "half a share");
    assert!(ClientTicket::<InsecureOpen>::request(&mut (), &batch, &[1], rng).is_err());
    assert!(without_rho(&batch, &[1], &[1, 2]).is_err());
}
