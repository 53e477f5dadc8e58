//! Conv-1, LeNet-5 and Dense(300) with squares, one image in one ciphertext.
//!
//! # The image
//! Two neighbouring columns are one complex number, and copies fill the slots:
//!
//! ```text
//! slot 392·copy + 28·pair + row     =     pixel[row][2·pair] + i·pixel[row][2·pair + 1]
//! ```
//! # Conv-1: convolution 5×5 of stride 2, square, mean of 2×2, square, dense
//! | step | levels | result |
//! |---|---|---|
//! | map, 15 complex diagonals 28v + u; real part; biases | 1 | filter f, position (y, x) in slot 392f + 28x + 2y |
//! | square | 1 | |
//! | fold by 2, 28, 30 (the 1/4 of the mean is in the weights) | 0 | 392f + 56x + 4y |
//! | square | 1 | |
//! | dense | 1 | below |
//!
//! # LeNet-5: convolution 5×5 and mean, square, the same again, square, three dense layers
//! A convolution with the mean after it is one convolution of 6×6 and stride 2; dense layers without an activation in
//! between are multiplied out.
//!
//! | step | levels | result |
//! |---|---|---|
//! | map, 21 complex diagonals 28v + u; real part; biases | 1 | in copy k, channels k mod 6: (y, x) in 392k + 28x + 2y − ρ, once for ρ = 0, once for ρ = 1 |
//! | square | 1 | |
//! | pair with 1176 | 0 | channels k and k + 3 (mod 6) in one complex slot |
//! | map, 49 complex diagonals; fold by 392, 784; real part; biases | 1 | filter (h, ρ, p, q), (y, x) in 1176h − ρ + 28(2x − p) + 2(2y − q) |
//! | square | 1 | |
//! | dense | 1 | below |
//!
//! The second map: an output stands where the slots that stride 2 skips are free, so four filters share a copy's grid, two
//! rows of channels (ρ) and two groups of three copies (h) hold 16 filters, each in three parts that the fold adds up. 55,296
//! products of weights and values would fill 13.5 diagonals of 4,096; 49 complex ones do it with 12 rotations or fewer.
//!
//! # Dense(300): dense, square, dense
//! | step | levels | result |
//! |---|---|---|
//! | map, 58 complex diagonals; folds by 512, …; real part; biases | 1 | neuron r in every slot that is r modulo 512 |
//! | square | 1 | |
//! | dense | 1 | below |
//!
//! A value in slot p may go to slot p − δ, for neuron r where p − δ = r modulo 512: 512 diagonals if there were one copy of the image.
//! The 9 copies that fit begin 4,096/9 slots apart, which is 8 times 512/9 (modulo 512), so one of them has a δ below 512/9
//! for each r (19 copies and 28 diagonals in the ring with twice as many slots).
//!
//! # Dense
//! Class pair o = (2o, 2o + 1) is complex. A value in slot p goes to slot p − δ for δ = (p − o) mod 8: 8 diagonals. Folds by 8, 16, …
//! then add up all slots that are equal modulo 8: *every* slot j ends up with the classes of pair j mod 8. No slot
//! holds a partial sum, which would say more about the weights than the scores do (the hybrid method of Juvekar,
//! Vaikuntanathan and Chandrakasan, *GAZELLE*, USENIX Security 2018, with complex classes).

use gelu_ckks::{Chain, Complex64};

use super::error::{Error, Result};
use super::program::{Diagonals, Program, Step, wrap};

/// Side of an image.
const SIDE: usize = 28;
/// Slots of a copy of the image.
const COPY: isize = 392;
/// Side of what the first convolution makes.
const MAP: isize = 12;
/// Filters of Conv-1.
const CONV1_FILTERS: usize = 5;
/// Copies of which LeNet-5 makes channels.
const COPIES: isize = 9;
const CHANNELS: [usize; 2] = [6, 16];
/// How far the slots of a neuron of Dense(300) are apart.
const NEURON_PERIOD: usize = 512;
/// Slots apart: one score pair each.
pub(super) const PERIOD: usize = 8;
/// Classes.
pub(super) const CLASSES: usize = 10;

/// A layer's weights, row-major as `[filters, channels, kernel, kernel]` or `[outputs, inputs]`, and its biases.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Weights.
    pub weights: &'a [f64],
    /// Biases.
    pub biases: &'a [f64],
}

/// A network with squares that this module has a packing for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// One convolution and one dense layer.
    Conv1,
    /// Two convolutions and three dense layers.
    LeNet5,
    /// Two dense layers, with 300 neurons between them.
    Dense300,
}

impl Network {
    /// Pixels of an image.
    pub const PIXELS: usize = SIDE * SIDE;

    /// Weights and biases of each layer.
    #[must_use]
    pub fn shapes(self) -> &'static [(&'static str, [usize; 2])] {
        match self {
            Self::Conv1 => &[("the convolution", [125, 5]), ("the dense layer", [1800, 10])],
            Self::LeNet5 => &[
                ("the first convolution", [150, 6]),
                ("the second convolution", [2400, 16]),
                ("the first dense layer", [256 * 120, 120]),
                ("the second dense layer", [120 * 84, 84]),
                ("the third dense layer", [84 * 10, 10]),
            ],
            Self::Dense300 => &[
                ("the first dense layer", [784 * 300, 300]),
                ("the second dense layer", [3000, 10]),
            ],
        }
    }

    /// A ring in which answers are as precise as the network needs and no more.
    pub(super) fn chain(self) -> Chain {
        match self {
            Self::Conv1 => Chain::N13_LEVELS4,
            Self::LeNet5 => Chain::N13_LEVELS5,
            Self::Dense300 => {
                Chain { degree: 1 << 13, first: 44, scale: (40, 3), special: (45, 1), digits: 4 }
            }
        }
    }

    /// A ring in which an answer bears 30 bits of noise on top: 50-bit scales, a level kept for room, and special primes so
    /// much larger than a digit that switching keys adds no more than its rounding.
    pub(super) fn hiding_chain(self) -> Chain {
        let (degree, first) = (1 << 14, 50);
        match self {
            Self::Conv1 => Chain { degree, first, scale: (50, 5), special: (50, 2), digits: 6 },
            Self::LeNet5 => Chain { degree, first, scale: (50, 6), special: (40, 2), digits: 7 },
            Self::Dense300 => Chain { degree, first, scale: (50, 4), special: (50, 2), digits: 5 },
        }
    }

    /// The image as slots.
    pub(super) fn pack(self, pixels: &[f64], slots: usize) -> Vec<Complex64> {
        let mut packed = vec![Complex64::ZERO; slots];
        for first in self.copies(slots) {
            for (slot, value) in packed[first..][..COPY.unsigned_abs()].iter_mut().enumerate() {
                let at = slot % SIDE * SIDE + 2 * (slot / SIDE);
                *value = Complex64::new(pixels[at], pixels[at + 1]);
            }
        }
        packed
    }

    /// Where the copies of the image begin.
    fn copies(self, slots: usize) -> Vec<usize> {
        let copy = COPY.unsigned_abs();
        match self {
            Self::Conv1 => (0..CONV1_FILTERS).map(|k| k * copy).collect(),
            Self::LeNet5 => (0..COPIES.unsigned_abs()).map(|k| k * copy).collect(),
            Self::Dense300 => {
                // An odd number of them: see the module.
                let most = slots / copy;
                let count = most - usize::from(most.is_multiple_of(2));
                (0..count).map(|k| k * slots / count).collect()
            }
        }
    }

    /// The program.
    ///
    /// # Errors
    /// [`Error::Shape`] for layers of another network.
    pub fn program(self, layers: &[Layer<'_>], slots: usize) -> Result<Program> {
        self.check(layers)?;
        Ok(match self {
            Self::Conv1 => conv1(layers, slots),
            Self::LeNet5 => lenet5(layers, slots),
            Self::Dense300 => dense300(layers, &self.copies(slots), slots),
        })
    }

    pub(super) fn check(self, layers: &[Layer<'_>]) -> Result<()> {
        let shapes = self.shapes();
        let wrong = |what, expected, got| Err(Error::Shape { what, expected, got });
        if layers.len() != shapes.len() {
            return wrong("the list of layers", shapes.len(), layers.len());
        }
        for (&(what, expected), layer) in shapes.iter().zip(layers) {
            let got = [layer.weights.len(), layer.biases.len()];
            if let Some(i) = (0..2).find(|&i| expected[i] != got[i]) {
                return wrong(what, expected[i], got[i]);
            }
        }
        Ok(())
    }

    pub(super) fn check_image(pixels: &[f64]) -> Result<()> {
        let (expected, got) = (Self::PIXELS, pixels.len());
        match expected == got {
            true => Ok(()),
            false => Err(Error::Shape { what: "an image", expected, got }),
        }
    }
}

fn conv1(layers: &[Layer<'_>], slots: usize) -> Program {
    let (mut conv, mut biases) = (Diagonals::new(slots), Constants::new(slots));
    for f in 0..CONV1_FILTERS {
        // Half of each value, so that four squares add up to their mean.
        let kernel: Vec<f64> = layers[0].weights[25 * f..][..25].iter().map(|w| w / 2.0).collect();
        for (y, x) in square(MAP) {
            let copy = COPY * signed(f);
            let to = copy + 28 * x + 2 * y;
            image_taps(&mut conv, to, copy, [y, x], &kernel, 5);
            biases.set(to, layers[0].biases[f] / 2.0);
        }
    }
    let place = |i: usize| {
        let (f, y, x) = (i / 36, i / 6 % 6, i % 6);
        COPY * signed(f) + 56 * signed(x) + 4 * signed(y)
    };
    let mut steps = vec![Step::Map(conv), Step::Real, biases.step(), Step::Square];
    steps.extend([Step::Fold(vec![2, 28, 30]), Step::Square]);
    steps.extend(dense(layers[1].weights, layers[1].biases, place, slots));
    Program { steps }
}

fn lenet5(layers: &[Layer<'_>], slots: usize) -> Program {
    let (mut first, mut biases) = (Diagonals::new(slots), Constants::new(slots));
    let kernels: Vec<_> = layers[0].weights.chunks(25).map(with_mean).collect();
    for (copy, rho) in (0..COPIES).flat_map(|copy| [(copy, 0), (copy, 1)]) {
        let channel = channel(copy);
        for (y, x) in square(MAP) {
            let to = COPY * copy + 28 * x + 2 * y - rho;
            image_taps(&mut first, to, COPY * copy, [y, x], &kernels[channel], 6);
            biases.set(to, layers[0].biases[channel]);
        }
    }
    let mut steps = vec![Step::Map(first), Step::Real, biases.step(), Step::Square];

    // Channels three copies apart meet.
    steps.push(Step::Pair(3 * COPY.unsigned_abs()));
    let (mut second, mut biases) = (Diagonals::new(slots), Constants::new(slots));
    let kernels: Vec<_> = layers[1].weights.chunks(25).map(with_mean).collect();
    for f in 0..CHANNELS[1] {
        let [h, rho, _, _] = bits(f);
        for (y, x) in square(4) {
            let to = filter_place(f, y, x);
            biases.set(to, layers[1].biases[f]);
            for part in 0..3 {
                let copy = 3 * h + part;
                let [re, im] =
                    [channel(copy), channel(copy + 3)].map(|c| &kernels[CHANNELS[0] * f + c]);
                for (u, v) in square(6) {
                    let from = COPY * copy - rho + 28 * (2 * x + v) + 2 * (2 * y + u);
                    let tap = (6 * u + v).unsigned_abs();
                    // Half: the real part is taken twice.
                    second.add(to + COPY * part, from, Complex64::new(re[tap], -im[tap]) / 2.0);
                }
            }
        }
    }
    steps.extend([
        Step::Map(second),
        Step::Fold([1, 2].map(|part| part * COPY.unsigned_abs()).into()),
    ]);
    steps.extend([Step::Real, biases.step(), Step::Square]);
    let (weights, biases) = multiplied_out(&layers[2..]);
    let place = |i: usize| filter_place(i / 16, signed(i / 4 % 4), signed(i % 4));
    steps.extend(dense(&weights, &biases, place, slots));
    Program { steps }
}

fn dense300(layers: &[Layer<'_>], copies: &[usize], slots: usize) -> Program {
    let (mut first, mut biases) = (Diagonals::new(slots), vec![Complex64::ZERO; slots]);
    for (neuron, row) in layers[0].weights.chunks(Network::PIXELS).enumerate() {
        for slot in 0..COPY.unsigned_abs() {
            let places = copies.iter().map(|copy| signed(copy + slot));
            let near = places.map(|p| (wrap(p - signed(neuron), NEURON_PERIOD), p)).min();
            let (delta, place) = near.expect("a copy at least");
            let at = slot % SIDE * SIDE + 2 * (slot / SIDE);
            // Half: the real part is taken twice.
            let weight = Complex64::new(row[at], -row[at + 1]) / 2.0;
            first.add(place - signed(delta), place, weight);
        }
        for slot in (neuron..slots).step_by(NEURON_PERIOD) {
            biases[slot] = layers[0].biases[neuron].into();
        }
    }
    let mut steps = vec![Step::Map(first)];
    steps.extend(folds(NEURON_PERIOD, slots));
    steps.extend([Step::Real, Step::Add(biases), Step::Square]);
    steps.extend(dense(layers[1].weights, layers[1].biases, signed, slots));
    Program { steps }
}

/// Where LeNet-5's second convolution puts filter f at (y, x).
fn filter_place(f: usize, y: isize, x: isize) -> isize {
    let [h, rho, p, q] = bits(f);
    3 * COPY * h - rho + 28 * (2 * x - p) + 2 * (2 * y - q)
}

fn bits(f: usize) -> [isize; 4] {
    [3, 2, 1, 0].map(|bit| signed(f >> bit & 1))
}

fn channel(copy: isize) -> usize {
    copy.unsigned_abs() % CHANNELS[0]
}

/// The taps of a k×k kernel of stride 2 on the image, two columns at once; half of them, as the real part is taken twice.
fn image_taps(
    map: &mut Diagonals,
    to: isize,
    copy: isize,
    [y, x]: [isize; 2],
    kernel: &[f64],
    k: usize,
) {
    for (u, v) in (0..k).flat_map(|u| (0..k).step_by(2).map(move |v| (u, v))) {
        let (re, im) = (kernel[k * u + v], if v + 1 < k { kernel[k * u + v + 1] } else { 0.0 });
        let from = copy + 28 * (x + signed(v / 2)) + 2 * y + signed(u);
        map.add(to, from, Complex64::new(re, -im) / 2.0);
    }
}

/// A 5×5 kernel and the mean of 2×2 after it, as one kernel of 6×6 and stride 2.
fn with_mean(kernel: &[f64]) -> Vec<f64> {
    let mut wide = vec![0.0; 36];
    for (at, w) in kernel.iter().enumerate() {
        let (u, v) = (at / 5, at % 5);
        for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            wide[6 * (u + a) + v + b] += w / 4.0;
        }
    }
    wide
}

/// Dense layers without an activation in between, as one.
fn multiplied_out(layers: &[Layer<'_>]) -> (Vec<f64>, Vec<f64>) {
    let first = (layers[0].weights.to_vec(), layers[0].biases.to_vec());
    layers[1..].iter().fold(first, |(weights, biases), layer| {
        let (between, inputs) = (biases.len(), weights.len() / biases.len());
        let row = |row: &[f64]| -> Vec<f64> {
            let column =
                |i: usize| row.iter().enumerate().map(|(k, w)| w * weights[k * inputs + i]).sum();
            (0..inputs).map(column).collect()
        };
        let product = layer.weights.chunks(between).flat_map(row).collect();
        let bias =
            |(row, b): (&[f64], &f64)| b + row.iter().zip(&biases).map(|(w, b)| w * b).sum::<f64>();
        (product, layer.weights.chunks(between).zip(layer.biases).map(bias).collect())
    })
}

/// The dense layer of values in some slots to all slots: see the [module](self).
fn dense(
    weights: &[f64],
    biases: &[f64],
    place: impl Fn(usize) -> isize,
    slots: usize,
) -> Vec<Step> {
    let inputs = weights.len() / CLASSES;
    let pair = |values: &[f64], o: usize, stride: usize, i: usize| {
        Complex64::new(values[2 * o * stride + i], values[(2 * o + 1) * stride + i])
    };
    let mut map = Diagonals::new(slots);
    for i in 0..inputs {
        for o in 0..CLASSES / 2 {
            let delta = wrap(place(i) - signed(o), PERIOD);
            map.add(place(i) - signed(delta), place(i), pair(weights, o, inputs, i));
        }
    }
    let mut steps = vec![Step::Map(map)];
    steps.extend(folds(PERIOD, slots));
    let class = |j: usize| match j % PERIOD {
        o if o < CLASSES / 2 => pair(biases, o, 1, 0),
        _ => Complex64::ZERO,
    };
    steps.push(Step::Add((0..slots).map(class).collect()));
    steps
}

/// The sum of all slots that are equal modulo a period, in each of them.
fn folds(period: usize, slots: usize) -> Vec<Step> {
    let (mut steps, mut step) = (Vec::new(), period);
    while step < slots {
        // Four rotations of a ciphertext share a decomposition and a division.
        let most = (slots / step).min(4);
        steps.push(Step::Fold((1..most).map(|k| k * step).collect()));
        step *= most;
    }
    steps
}

/// Makes the scores so many times as large: they are linear in the last map and the last constants.
pub(super) fn scale_scores(program: &mut Program, factor: f64) {
    for step in program.steps.iter_mut().rev() {
        match step {
            Step::Add(c) => c.iter_mut().for_each(|c| *c *= factor),
            Step::Map(map) => return map.scale(factor),
            _ => {}
        }
    }
}

struct Constants(Vec<Complex64>);

impl Constants {
    fn new(slots: usize) -> Self {
        Self(vec![Complex64::ZERO; slots])
    }

    fn set(&mut self, slot: isize, value: f64) {
        let slot = wrap(slot, self.0.len());
        self.0[slot] = value.into();
    }

    fn step(self) -> Step {
        Step::Add(self.0)
    }
}

fn square(side: isize) -> impl Iterator<Item = (isize, isize)> {
    (0..side).flat_map(move |y| (0..side).map(move |x| (y, x)))
}

fn signed(x: usize) -> isize {
    x.try_into().expect("indices of slots are small")
}
