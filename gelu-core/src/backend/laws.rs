//! The laws of layouts and of secret rates as code, checked against plain integers.

use core::ops::RangeInclusive;

use ndarray::Array2;
use rand_core::CryptoRng;

use super::{Backend, Direction, Layout, MAX_WRAPPING_BITS, Sealed, SecretRate, Task};
use crate::error::Result;
use crate::fixed::{Precision, centred};
use crate::linear::{Axis, Dense, LinearMap, Window};

/// A law that does not hold, with the values that show it.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("law of `{law}` broken: expected {expected:?}, decrypted {got:?}")]
pub struct Broken {
    /// The call whose law is broken.
    pub law: String,
    /// What plain integers give.
    pub expected: Vec<i128>,
    /// What the backend gives: the values, or its error as text.
    pub got: Result<Vec<i128>, String>,
}

impl Broken {
    /// Compares what plain integers give with what was decrypted.
    pub(crate) fn unless(
        law: &str,
        expected: Vec<i128>,
        got: Result<Vec<i128>>,
    ) -> Result<(), Self> {
        match got {
            Ok(got) if got == expected => Ok(()),
            got => {
                Err(Self { law: law.into(), expected, got: got.map_err(|error| error.to_string()) })
            }
        }
    }
}

/// The law of a layout, as it is printed.
pub(crate) const LAYOUT: &str =
    "decrypt(seal(evaluate(prepare(W, b), read(encrypt(X))))) = W·X + b";
/// The law of a secret rate, as it is printed.
pub(crate) const RATE: &str = "decrypt(mask(read_rate(encrypt_rate(g)), G, R)) = G + R·2^g";

/// Of entries and offsets within ±7.
pub(super) const WEIGHT_BITS: u32 = 4;
/// Where values wrap, weights are also as long as modular masks: so many bits longer than values.
const LONGER: u32 = 7;
/// What biases of that length are multiplied by.
const CONSTANT: i128 = 1 << 14;
/// Samples: one, two, and more than the slots of most keys.
pub(super) const BATCHES: [usize; 3] = [1, 2, 40];

/// Every layout of dense and windowed maps, both ways, in several batches; gives a line about each task.
pub(crate) fn layouts<B: Backend>(
    secret: &B::SecretKey,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<String>, Broken> {
    let mut lines = Vec::new();
    for (layer, linear) in [("dense", &dense()), ("window", &window())] {
        for direction in [Direction::Forward, Direction::Backward] {
            for batch in BATCHES {
                for &weights in Weights::of::<B>() {
                    let task = |value_bits| {
                        let weight_bits = weights.bits(value_bits);
                        Task { layer, linear, direction, batch, value_bits, weight_bits }
                    };
                    let (bits, names) = task_of::<B>(secret, task, weights, rng)?;
                    let (names, note) = (names.join(", "), weights.note());
                    lines.push(format!(
                        "{layer} {direction}, {batch} samples, {bits} bits{note}: {names}"
                    ));
                }
            }
        }
    }
    Ok(lines)
}

/// Every layout of a task with as many bits as the backend carries; gives those and the layouts' names.
fn task_of<'a, B: Backend>(
    secret: &B::SecretKey,
    task: impl Fn(u32) -> Task<'a>,
    weights: Weights,
    rng: &mut dyn CryptoRng,
) -> Result<(u32, Vec<String>), Broken> {
    let widest = if B::WRAPS { MAX_WRAPPING_BITS - LONGER } else { 64 };
    let all = [widest, 30, 16, 12]
        .into_iter()
        .find_map(|bits| Some((bits, B::layouts(B::public_key(secret), &task(bits)).ok()?)));
    let (bits, all) = all.expect("not even values of 12 bits");
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    for (n, name) in names.iter().enumerate() {
        assert!(!names[..n].contains(name), "two layouts are called {name}");
    }
    for layout in &all {
        for values in [Values::Zeros, Values::Edges, Values::Random] {
            one::<B>(secret, layout, &task(bits), (weights, values), rng)?;
        }
    }
    Ok((bits, names))
}

/// Which weights a layout is tried with.
#[derive(Clone, Copy)]
enum Weights {
    /// Of 4 bits: no sum is wider than its value may be.
    Short,
    /// As long as weights under modular masks: every sum wraps.
    Masked,
}

impl Weights {
    /// Those that a backend must bear.
    fn of<B: Backend>() -> &'static [Self] {
        if B::WRAPS { &[Self::Short, Self::Masked] } else { &[Self::Short] }
    }

    /// Their bits, sign included, beside values of `value_bits` bits.
    fn bits(self, value_bits: u32) -> u32 {
        match self {
            Self::Short => WEIGHT_BITS,
            Self::Masked => value_bits + LONGER,
        }
    }

    fn range(self, value_bits: u32) -> RangeInclusive<i128> {
        let half = 1 << (self.bits(value_bits) - 1);
        match self {
            Self::Short => 1 - half..=half - 1,
            Self::Masked => -half..=half - 1,
        }
    }

    /// What a bias is multiplied by in an offset.
    fn constant(self) -> i128 {
        match self {
            Self::Short => 1,
            Self::Masked => CONSTANT,
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Short => "",
            Self::Masked => ", weights that wrap",
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Values {
    Zeros,
    Edges,
    Random,
}

impl Values {
    pub(super) fn draw(
        self,
        count: usize,
        range: RangeInclusive<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Vec<i128> {
        let (least, most) = range.into_inner();
        let value = |n: usize| match self {
            Self::Zeros => 0,
            Self::Edges if n.is_multiple_of(3) => least,
            Self::Edges => most,
            Self::Random => i128::from(rng.next_u64()).rem_euclid(most - least + 1) + least,
        };
        (0..count).map(value).collect()
    }
}

/// One layout for one choice of values.
fn one<B: Backend>(
    secret: &B::SecretKey,
    layout: &B::Layout,
    task: &Task<'_>,
    (kind, values): (Weights, Values),
    rng: &mut dyn CryptoRng,
) -> Result<(), Broken> {
    let &Task { layer, linear, direction, batch, value_bits, .. } = task;
    // At most 9 terms of 7 · bound and an offset: less than 64 · (bound + 1).
    let bound = ((1i128 << (value_bits - 1)) - 1) / 64 - 1;
    let weights = values.draw(linear.weights(), kind.range(value_bits), rng);
    let biases = values.draw(linear.biases(), kind.range(value_bits), rng);
    let features = match direction {
        Direction::Forward => linear.inputs(),
        Direction::Backward => linear.outputs(),
    };
    let x = values.draw(features * batch, -bound..=bound, rng);
    let x = Array2::from_shape_vec((features, batch), x).expect("as many values as places");
    let (mut expected, offsets) = match direction {
        Direction::Forward => {
            let constant = kind.constant();
            let offset = |output| constant * biases[linear.bias_of(output)];
            let offsets = Some((0..linear.outputs()).map(offset).collect::<Vec<_>>());
            (linear.forward(&weights, &biases, x.view(), constant), offsets)
        }
        Direction::Backward => (linear.backward(&weights, x.view()), None),
    };
    if B::WRAPS {
        expected.mapv_inplace(|value| centred(value, value_bits));
    }
    let got = run::<B>(secret, layout, (linear, &weights, offsets.as_deref()), &x, rng);
    let law = format!("layout {layout} ({layer} {direction}, {batch} samples{})", kind.note());
    let (expected, shape) = (expected.iter().copied().collect(), expected.dim());
    let got = got.map(|got| {
        assert_eq!(got.dim(), shape, "{law}: shape");
        got.iter().copied().collect()
    });
    Broken::unless(&law, expected, got)
}

/// The steps of an exchange, one after the other.
pub(crate) fn run<B: Backend>(
    secret: &B::SecretKey,
    layout: &B::Layout,
    (linear, weights, offsets): (&LinearMap, &[i128], Option<&[i128]>),
    x: &Array2<i128>,
    rng: &mut dyn CryptoRng,
) -> Result<Array2<i128>> {
    let public = B::public_key(secret);
    let up = layout.encrypt(secret, linear, x, rng)?;
    assert!(layout.read(public, &up[1..]).is_err(), "a block that is too short is read");
    let weights = layout.prepare(linear, weights, offsets)?;
    let answer = layout.evaluate(public, &weights, &layout.read(public, &up)?)?;
    let down = Sealed::seal::<B, _>(layout, public, answer, rng).into_bytes();
    assert_eq!(up.len() + down.len(), layout.cost().bytes, "{layout}: bytes");
    layout.decrypt(secret, &down)
}

/// The law of a secret rate, if there is one for the precision of training.
pub(crate) fn rate<B: Backend>(
    secret: &B::SecretKey,
    rng: &mut dyn CryptoRng,
) -> Result<bool, Broken> {
    let (public, precision, g_max, count) = (B::public_key(secret), Precision::TRAINING, 5, 70);
    let Ok(rate) = B::Rate::plan(count, &precision, g_max, public) else { return Ok(false) };
    assert!(!B::WRAPS, "a secret rate rests on masks over the integers");
    let g = 3;
    let update = (1i128 << (precision.update_bits - 1)) - 1;
    let mask = (1i128 << (precision.update_bits + precision.mask_bits)) - 1;
    let offer = rate.encrypt_rate(secret, g, rng).expect("a rate within the bounds");
    let offered = rate.read_rate(public, &offer).expect("what was written");
    for values in [Values::Zeros, Values::Edges, Values::Random] {
        let updates = values.draw(count, -update..=update, rng).into_iter().map(|g| g << g_max);
        let updates: Vec<_> = updates.collect();
        let masks: Vec<_> =
            values.draw(count, -mask..=mask, rng).into_iter().map(i128::abs).collect();
        let expected = updates.iter().zip(&masks).map(|(u, r)| u + (r << g)).collect();
        let bytes = rate.mask(public, &offered, &updates, &masks, rng);
        let got = bytes.and_then(|bytes| rate.decrypt(secret, &bytes));
        Broken::unless(RATE, expected, got)?;
    }
    Ok(true)
}

/// Three inputs, five outputs.
pub(super) fn dense() -> LinearMap {
    Dense::new(3, 5).expect("a dense layer").into()
}

/// Two filters of three taps at four positions of nine inputs.
pub(super) fn window() -> LinearMap {
    let axes = Axis::new(1, 1, 1, 0).and_then(|rows| Ok((rows, Axis::new(9, 3, 2, 0)?)));
    let window = axes.and_then(|(rows, columns)| Window::new(1, 2, rows, columns));
    window.expect("a convolution").into()
}
