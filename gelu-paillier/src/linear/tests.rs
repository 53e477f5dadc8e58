use std::sync::Arc;
use std::sync::atomic::Ordering;

use gelu_core::linear::{Tap, Taps};
use num_bigint_dig::{BigUint, ModInverse};
use proptest::prelude::*;

use super::cost::{Algorithm, Workload};
use super::digits::MOST;
use super::layer::Layer;
use super::offsets::Fit;
use crate::elements::Elements;
use crate::kernel::counting::Counters;
use crate::kernel::{Choice, Line};
use crate::oracle::{big, boxed, rng};
use crate::ring::{Digits, Ring};
use rand_core::Rng;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Subsets, Algorithm::Powers, Algorithm::Buckets];

/// A ring modulo n² beside plain integers.
pub(super) struct Pair {
    pub(super) ring: Ring,
    n: BigUint,
    n2: BigUint,
}

impl Pair {
    /// For a random odd n of `bits` bits.
    pub(super) fn new(bits: u32, choice: Choice) -> Self {
        let mut bytes = vec![0; bits as usize / 8];
        rng(u64::from(bits)).fill_bytes(&mut bytes);
        bytes[0] |= 0x80;
        *bytes.last_mut().unwrap() |= 1;
        let n = BigUint::from_bytes_be(&bytes);
        let ring = Ring::new(&[&boxed(&n, bits)], choice).unwrap();
        Self { ring, n2: &n * &n, n }
    }

    /// Random units.
    pub(super) fn units(&self, count: usize, seed: u64) -> Vec<BigUint> {
        let mut rng = rng(seed);
        let unit = |_| loop {
            let mut bytes = vec![0; self.n2.bits() / 8];
            rng.fill_bytes(&mut bytes);
            let x = BigUint::from_bytes_be(&bytes) % &self.n2;
            if num_integer::Integer::gcd(&x, &self.n) == BigUint::from(1u8) {
                return x;
            }
        };
        (0..count).map(unit).collect()
    }

    pub(super) fn import(&self, values: &[BigUint]) -> Elements {
        let bits = u32::try_from(self.n.bits()).unwrap();
        let digits = |x: &BigUint| Digits {
            low: boxed(&(x % &self.n), bits),
            high: boxed(&(x / &self.n), bits),
        };
        self.ring.import(&values.iter().map(digits).collect::<Vec<_>>())
    }

    pub(super) fn export(&self, elements: &Elements) -> Vec<BigUint> {
        let digits = self.ring.export(&elements.refs());
        digits.iter().map(|d| big(&d.low) + big(&d.high) * &self.n).collect()
    }

    pub(super) fn power(&self, base: &BigUint, k: i128) -> BigUint {
        let power = base.modpow(&k.unsigned_abs().into(), &self.n2);
        if k < 0 { power.mod_inverse(&self.n2).unwrap().to_biguint().unwrap() } else { power }
    }

    /// Every output, from the definition.
    pub(super) fn matvec(&self, taps: &Taps, weights: &[i128], x: &[BigUint]) -> Vec<BigUint> {
        let term = |tap: &Tap| self.power(&x[tap.source as usize], weights[tap.weight as usize]);
        let output =
            |o| taps.of(o).iter().map(term).fold(BigUint::from(1u8), |p, t| p * t % &self.n2);
        (0..taps.outputs()).map(output).collect()
    }

    fn pack(&self, outputs: &[BigUint], group: usize, slot_bits: usize) -> Vec<BigUint> {
        let shift = BigUint::from(1u8) << slot_bits;
        let pack = |group: &[BigUint]| {
            group.iter().rev().fold(BigUint::from(1u8), |acc, output| {
                acc.modpow(&shift, &self.n2) * output % &self.n2
            })
        };
        outputs.chunks(group).map(pack).collect()
    }

    /// All algorithms against the definition.
    fn check(&self, taps: &Taps, weights: &[i128], x: &[BigUint], group: usize, slot_bits: usize) {
        let inputs = self.import(x);
        let inputs = inputs.refs();
        let expected = self.matvec(taps, weights, x);
        let packed = self.pack(&expected, group, slot_bits);
        let layer = Layer::new(taps, weights, &inputs);
        let load = Workload::new(&self.ring, &layer);
        // All tables at once, and in many passes; the offsets that were chosen, and others.
        let cramped = Workload { room: 20, ..load.clone() };
        let [finest, middle, top] = [0, layer.planes / 2, layer.planes.saturating_sub(1)]
            .map(|grain| with_grain(&load, grain));
        for algorithm in ALGORITHMS {
            let others = [&finest, &middle, &top];
            let others = others.into_iter().filter(|_| algorithm == Algorithm::Subsets);
            for load in [&load, &cramped].into_iter().chain(others) {
                let got = super::evaluate(&self.ring, &layer, load, algorithm, 1, 0);
                assert_eq!(self.export(&got), expected, "{algorithm:?}");
                let got = super::evaluate(&self.ring, &layer, load, algorithm, group, slot_bits);
                assert_eq!(self.export(&got), packed, "{algorithm:?}, packed");
            }
        }
        let got = super::matvec(&self.ring, taps, weights, &inputs);
        assert_eq!(self.export(&got), expected);
        let got = super::matvec_packed(&self.ring, taps, weights, &inputs, group, slot_bits);
        assert_eq!(self.export(&got), packed, "packed");
        let outputs = self.import(&expected);
        let got = super::pack(&self.ring, &outputs.refs(), group, slot_bits);
        assert_eq!(self.export(&got), packed, "packed alone");
    }
}

/// With other offsets; those of the top plane are two's complement for all weights alike.
fn with_grain(load: &Workload, grain: usize) -> Workload {
    Workload { fit: Fit { grain, ..load.fit.clone() }, ..load.clone() }
}

/// Weights as training leaves them: Laplace distributed about 0 with mean |w| about 8, and a few
/// far away.
fn trained(count: usize, seed: u64) -> Vec<i128> {
    let mut rng = rng(seed);
    let mut weight = |i: usize| {
        // An exponential magnitude from a uniform fraction.
        let fraction = f64::from(rng.next_u32()).mul_add(f64::from(2).powi(-32), 1e-10);
        let magnitude = (-8.0 * fraction.ln()).round();
        #[expect(clippy::cast_possible_truncation, reason = "at most 8·24")]
        let magnitude = magnitude as i128;
        match i % 997 {
            0 => 1000 - magnitude,
            500 => magnitude - 1900,
            _ if rng.next_u32() & 1 == 0 => magnitude,
            _ => -magnitude,
        }
    };
    (0..count).map(&mut weight).collect()
}

#[test]
fn trained_layers_cost_less() {
    for choice in Choice::all() {
        let pair = Pair::new(512, choice);
        let counters = Arc::new(Counters::default());
        let n = boxed(&pair.n, 512);
        let ring = Ring::counted(&n, choice, Arc::clone(&counters)).unwrap();
        // Products where two's complement of the longest weight takes 100: 12 planes of 8 or 9.
        for (taps, most) in [(dense(60, 128), 70), (convolution(8, 4, 5, 1, 8), 85)] {
            let weights = (0..taps.outputs()).flat_map(|o| taps.of(o)).map(|t| t.weight).max();
            let weights = trained(weights.unwrap() as usize + 1, 3);
            let x = pair.units(256, 3);
            let inputs = pair.import(&x);
            let inputs = inputs.refs();
            let expected = pair.matvec(&taps, &weights, &x);
            let layer = Layer::new(&taps, &weights, &inputs);
            let load = Workload::new(&ring, &layer);
            assert!(load.fit.grain < layer.planes - 1, "{:?}", load.fit);
            let products = |load: &Workload| {
                let take = || {
                    let counters = [&counters.products, &counters.squares];
                    counters.map(|counter| counter.swap(0, Ordering::Relaxed)).iter().sum::<u64>()
                };
                take();
                let sums = super::evaluate(&ring, &layer, load, Algorithm::Subsets, 1, 0);
                let products = take();
                assert_eq!(pair.export(&sums), expected);
                products
            };
            // As wide as if all planes were used.
            let planes = [layer.planes as f64; MOST + 1];
            let before = Fit { grain: layer.planes - 1, planes };
            let before = products(&Workload { fit: before, ..load.clone() });
            let now = products(&load);
            assert!(now * 100 < before * most, "{now} of {before}: {:?}", load.fit);
        }
    }
}

/// A ring of each kernel.
fn all() -> impl Iterator<Item = Pair> {
    Choice::all().into_iter().map(|choice| Pair::new(512, choice))
}

pub(super) fn dense(outputs: u32, inputs: u32) -> Taps {
    let row = |o| (0..inputs).map(move |i| Tap { source: i, weight: o * inputs + i }).collect();
    Taps::from_rows((0..outputs).map(row).collect::<Vec<Vec<_>>>())
}

/// A convolution without padding: outputs are (row, column, filter), inputs (row, column, channel).
pub(super) fn convolution(
    size: u32,
    channels: u32,
    kernel: u32,
    stride: u32,
    filters: u32,
) -> Taps {
    let positions = (0..=size - kernel).step_by(stride as usize);
    let row = |y: u32, x: u32, f: u32| {
        let tap = |dy: u32, dx: u32, c: u32| Tap {
            source: ((y + dy) * size + x + dx) * channels + c,
            weight: ((f * kernel + dy) * kernel + dx) * channels + c,
        };
        let place = (0..kernel).flat_map(|dy| (0..kernel).map(move |dx| (dy, dx)));
        let all = place.flat_map(|(dy, dx)| (0..channels).map(move |c| (dy, dx, c)));
        all.map(|(dy, dx, c)| tap(dy, dx, c)).collect::<Vec<_>>()
    };
    let places = positions.clone().flat_map(|y| positions.clone().map(move |x| (y, x)));
    let all = places.flat_map(|(y, x)| (0..filters).map(move |f| (y, x, f)));
    Taps::from_rows(all.map(|(y, x, f)| row(y, x, f)).collect::<Vec<_>>())
}

fn weight() -> impl Strategy<Value = i128> {
    let edges = vec![0, 0, 1, -1, 2, -2, 127, -128, i128::MAX, i128::MIN, i128::MIN + 1];
    let wide = any::<i128>().prop_map(|k| k >> 2);
    prop_oneof![prop::sample::select(edges), -2048i128..2048, -8i128..8, wide]
}

/// Weights of one kind, so that short ones are not always beside long ones.
fn weights(count: usize) -> impl Strategy<Value = Vec<i128>> {
    prop_oneof![
        prop::collection::vec(weight(), count),
        prop::collection::vec(-128i128..128, count),
        prop::collection::vec(0i128..4, count),
        prop::collection::vec(-9i128..0, count),
        any::<u64>().prop_map(move |seed| trained(count, seed)),
        prop::collection::vec(-1i128..1, count),
        prop::collection::vec(Just(0), count),
    ]
}

#[test]
fn any_number_of_cores() {
    let layers = [(dense(60, 70), 60 * 70), (convolution(9, 3, 3, 2, 5), 27 * 5)];
    for pair in all() {
        for (taps, count) in &layers {
            let mut rng = rng(9);
            let weights: Vec<_> =
                (0..*count).map(|_| i128::from(rng.next_u32().cast_signed() >> 24)).collect();
            let x = pair.units(243, 9);
            let expected = pair.matvec(taps, &weights, &x);
            let packed = pair.pack(&expected, 7, 30);
            let inputs = pair.import(&x);
            let inputs = inputs.refs();
            let layer = Layer::new(taps, &weights, &inputs);
            let load = Workload::new(&pair.ring, &layer);
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                for algorithm in ALGORITHMS {
                    let run = |group, bits| {
                        super::evaluate(&pair.ring, &layer, &load, algorithm, group, bits)
                    };
                    let [plain, joined] = pool.install(|| [run(1, 0), run(7, 30)]);
                    assert_eq!(pair.export(&plain), expected, "{algorithm:?}, {threads} threads");
                    assert_eq!(pair.export(&joined), packed, "{algorithm:?}, {threads} threads");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn sparse_layers(
        rows in prop::collection::vec(prop::collection::vec((0u32..7, 0u32..9), 0..9), 1..12),
        weights in weights(9),
        group in 1usize..6,
        slot_bits in 0usize..40,
        seed: u64,
    ) {
        let rows: Vec<Vec<Tap>> = rows
            .iter()
            .map(|row| row.iter().map(|&(source, weight)| Tap { source, weight }).collect())
            .collect();
        for pair in all() {
            let x = pair.units(7, seed);
            pair.check(&Taps::from_rows(&rows), &weights, &x, group, slot_bits);
        }
    }

    #[test]
    fn dense_layers(
        (outputs, inputs, weights) in (1u32..12, 1u32..20)
            .prop_flat_map(|(o, i)| (Just(o), Just(i), weights((o * i) as usize))),
        group in 1usize..6,
        slot_bits in 0usize..40,
        seed: u64,
    ) {
        for pair in all() {
            let x = pair.units(inputs as usize, seed);
            pair.check(&dense(outputs, inputs), &weights, &x, group, slot_bits);
        }
    }

    #[test]
    fn powers_and_combinations(ks in prop::collection::vec(weight(), 1..9), seed: u64) {
        for pair in all() {
            let x = pair.units(ks.len(), seed);
            let inputs = pair.import(&x);
            let terms: Vec<(i128, &[Line])> = ks.iter().copied().zip(inputs.iter()).collect();
            let sum = super::linear_combination(&pair.ring, &terms);
            let expected = pair.matvec(&dense(1, u32::try_from(ks.len()).unwrap()), &ks, &x);
            prop_assert_eq!(pair.export(&sum), expected);
            for (&k, x) in ks.iter().zip(&x) {
                let base = pair.import(std::slice::from_ref(x));
                let got = super::power(&pair.ring, base.get(0), k);
                prop_assert_eq!(pair.export(&got), [pair.power(x, k)]);
            }
        }
    }

    #[test]
    fn inverses(count in 0usize..40, seed: u64) {
        for pair in all() {
            let x = pair.units(count, seed);
            let got = super::invert(&pair.ring, &pair.import(&x).refs());
            let expected: Vec<_> = x.iter().map(|x| pair.power(x, -1)).collect();
            prop_assert_eq!(pair.export(&got), expected);
        }
    }
}
