//! How the values of a layer sit in coefficients.
//!
//! | name | a channel | samples side by side |
//! |---|---|---|
//! | `dense/…` | a feature | those of the batch |
//! | `image/…` | an image, padded | those of the batch |
//! | `columns/…` | a tap of the filter, at all positions | the positions of those of the batch |
//!
//! `…` is B×k×n: B samples, k channels in a ciphertext that goes up, n in one that comes down, with
//! B·k·n·area ≤ N. Sample j stands at coefficient j + B·place, where places are those of `geometry`; so the
//! polynomials of the weights are in X^B. More channels up are fewer down: which is best, prices say.

mod geometry;

use core::fmt;
use std::sync::Arc;

use gelu_core::backend::{Cost, Layout, Task};
use gelu_core::error::RangeError;
use gelu_core::linear::{LinearMap, MAX_PARAMETERS};
use gelu_core::plan::Direction;
use gelu_core::{Error, Result};
use gelu_ring::matrix::Matrix;
use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::answer::{self, Opener, Sealer};
use crate::backend::Lattice;
use crate::keys::{PublicKey, SecretKey};
use crate::parameters::{Budget, Parameters};
use crate::plain::{Scale, centre};
use crate::upload::{self, Ciphertext, Uploads, streams};
use crate::zero;
use geometry::Geometry;

/// What a channel is: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dense,
    Image,
    /// This many positions.
    Columns(usize),
}

/// How one linear map is carried: see the [module](self).
#[derive(Debug, Clone)]
pub struct TileLayout {
    kind: Kind,
    direction: Direction,
    parameters: Parameters,
    geometry: Arc<Geometry>,
    /// Samples of the batch, times positions.
    samples: usize,
    /// B: samples in a ciphertext.
    step: usize,
    /// k: channels in a ciphertext that goes up.
    inputs: usize,
    /// n: channels in one that comes down.
    outputs: usize,
    /// Bits of a value of the result: it is known modulo 2^this.
    value_bits: u32,
    budget: Budget,
}

impl PartialEq for TileLayout {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.direction == other.direction
            && self.parameters == other.parameters
            && self.geometry == other.geometry
            && (self.samples, self.step) == (other.samples, other.step)
            && (self.inputs, self.outputs) == (other.inputs, other.outputs)
            && self.value_bits == other.value_bits
            && self.budget == other.budget
    }
}

impl Eq for TileLayout {}

impl fmt::Display for TileLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Dense => "dense",
            Kind::Image => "image",
            Kind::Columns(_) => "columns",
        };
        write!(f, "{kind}/{}x{}x{}", self.step, self.inputs, self.outputs)
    }
}

impl TileLayout {
    /// Every layout of `task` under keys of a ring.
    pub(crate) fn all(parameters: &Parameters, task: &Task<'_>) -> Result<Vec<Self>, RangeError> {
        let &Task { linear, direction, batch, .. } = task;
        let mut kinds = Vec::new();
        let dense = |inputs, outputs| match direction {
            Direction::Forward => Geometry::dense(inputs, outputs, false),
            Direction::Backward => Geometry::dense(outputs, inputs, true),
        };
        let places = linear.inputs() as u64 * linear.outputs() as u64;
        match linear {
            LinearMap::Window(window) => {
                kinds.push((Kind::Image, Geometry::window(window, direction), batch));
                if direction == Direction::Forward {
                    let kind = Kind::Columns(window.positions());
                    let samples = window.positions() * batch;
                    kinds.push((kind, dense(window.patch(), window.filters()), samples));
                }
            }
            LinearMap::Dense(_) => {
                kinds.push((Kind::Dense, dense(linear.inputs(), linear.outputs()), batch));
            }
            LinearMap::Taps(_) if places <= MAX_PARAMETERS => {
                kinds.push((Kind::Dense, dense(linear.inputs(), linear.outputs()), batch));
            }
            LinearMap::Taps(_) => {}
        }
        let all = |value_bits| -> Vec<Self> {
            let tiles = kinds.iter().flat_map(|(kind, geometry, samples)| {
                Self::tiles(parameters, task, *kind, geometry, *samples, value_bits)
            });
            tiles.collect()
        };
        let layouts = all(task.value_bits);
        if layouts.is_empty() {
            let widest = (1..task.value_bits).rev().find(|&bits| !all(bits).is_empty());
            return Err(task.too_wide(widest.unwrap_or(0)));
        }
        Ok(layouts)
    }

    /// Each k that makes for another number of ciphertexts, with the largest n.
    fn tiles(
        parameters: &Parameters,
        task: &Task<'_>,
        kind: Kind,
        geometry: &Geometry,
        samples: usize,
        value_bits: u32,
    ) -> Vec<Self> {
        let geometry = Arc::new(geometry.clone());
        let places = parameters.degree() / geometry.area;
        let Some(most) = places.checked_ilog2() else { return Vec::new() };
        let step = samples.next_power_of_two().min(1 << most);
        let room = places / step;
        let channels = geometry.inputs;
        let mut inputs: Vec<_> = (1..=channels).map(|tiles| channels.div_ceil(tiles)).collect();
        inputs.dedup();
        let entry = f64::from(task.weight_bits.min(value_bits) - 1).exp2();
        let layout = |inputs: usize| {
            let most = (room / inputs).min(geometry.outputs);
            let outputs = geometry.outputs.div_ceil(geometry.outputs.div_ceil(most));
            let entries = outputs * channels * geometry.kernel_places.len();
            let budget = parameters.budget(value_bits, entries as f64 * entry)?;
            Some(Self {
                kind,
                direction: task.direction,
                parameters: parameters.clone(),
                geometry: Arc::clone(&geometry),
                samples,
                step,
                inputs,
                outputs,
                value_bits,
                budget,
            })
        };
        inputs.into_iter().filter(|&inputs| inputs <= room).filter_map(layout).collect()
    }

    /// The noise of its answers.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Groups of samples, of channels that go in, of channels that come out.
    fn tiles_of(&self) -> (usize, usize, usize) {
        let Geometry { inputs, outputs, .. } = *self.geometry;
        let samples = self.samples.div_ceil(self.step);
        (samples, inputs.div_ceil(self.inputs), outputs.div_ceil(self.outputs))
    }

    pub(crate) fn ciphertexts_up(&self) -> usize {
        let (samples, inputs, _) = self.tiles_of();
        samples * inputs
    }

    pub(crate) fn ciphertexts_down(&self) -> usize {
        let (samples, _, outputs) = self.tiles_of();
        samples * outputs
    }

    /// Products of residues, for both polynomials of a ciphertext.
    pub(crate) fn residue_products(&self) -> u64 {
        let (samples, inputs, outputs) = self.tiles_of();
        let size = 2 * self.parameters.degree() * self.parameters.basis().moduli().len();
        (samples * inputs * outputs) as u64 * size as u64
    }

    /// The range of number `tile` of `all` things in tiles of `size`.
    fn range(tile: usize, size: usize, all: usize) -> core::ops::Range<usize> {
        tile * size..all.min((tile + 1) * size)
    }

    /// The outputs of answer (`samples`, `channels`) in its own order: channel, pixel, sample.
    fn outputs_in(
        &self,
        samples: usize,
        channels: usize,
    ) -> (core::ops::Range<usize>, core::ops::Range<usize>) {
        (
            Self::range(samples, self.step, self.samples),
            Self::range(channels, self.outputs, self.geometry.outputs),
        )
    }

    /// The coefficients of these outputs.
    fn places(&self, samples: usize, channels: usize) -> Vec<u32> {
        let (samples, channels) = self.outputs_in(samples, channels);
        let geometry = &self.geometry;
        let channel = |o: usize| ((o + 1) * self.inputs - 1) * geometry.area;
        let place = |o: usize, pixel: u32, sample: usize| {
            let place = sample + self.step * (channel(o) + pixel as usize);
            u32::try_from(place).expect("below N")
        };
        (0..channels.len())
            .flat_map(|o| geometry.output_places.iter().map(move |&pixel| (o, pixel)))
            .flat_map(|(o, pixel)| (0..samples.len()).map(move |sample| (o, pixel, sample)))
            .map(|(o, pixel, sample)| place(o, pixel, sample))
            .collect()
    }

    /// The answers, in the order in which they are sent.
    fn answers(&self) -> Vec<(usize, usize)> {
        let (samples, _, outputs) = self.tiles_of();
        (0..samples).flat_map(|s| (0..outputs).map(move |o| (s, o))).collect()
    }

    fn gather<'a>(&self, linear: &LinearMap, values: &'a Array2<i128>) -> CowArray<'a, i128, Ix2> {
        match (self.kind, linear) {
            (Kind::Columns(_), LinearMap::Window(window)) => window.gather(values.view()).into(),
            _ => values.view().into(),
        }
    }

    /// The coefficients of upload (`samples`, `channels`).
    fn coefficients(
        &self,
        values: &ArrayView2<'_, i128>,
        samples: usize,
        channels: usize,
    ) -> Zeroizing<Vec<i64>> {
        let geometry = &self.geometry;
        let mut coefficients = Zeroizing::new(vec![0; self.parameters.degree()]);
        let samples = Self::range(samples, self.step, self.samples);
        let pixels = geometry.input_places.len();
        let channels = Self::range(channels, self.inputs, geometry.inputs);
        for (c, channel) in channels.enumerate() {
            for (pixel, &place) in geometry.input_places.iter().enumerate() {
                let row = values.row(channel * pixels + pixel);
                let start = self.step * (c * geometry.area + place as usize);
                for (place, sample) in samples.clone().enumerate() {
                    coefficients[start + place] = modulo(row[sample], self.value_bits);
                }
            }
        }
        coefficients
    }
}

/// The centred representative modulo 2^bits.
fn modulo(x: i128, bits: u32) -> i64 {
    i64::try_from(centre(x, bits)).expect("at most 62 bits")
}

/// Weights as polynomials, by their evaluations.
pub struct TileWeights {
    matrix: Matrix,
    /// One for each pixel of each output channel, modulo 2^v.
    offsets: Option<Vec<i64>>,
}

/// Weights are the server's secret: nothing is printed.
impl fmt::Debug for TileWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TileWeights").finish_non_exhaustive()
    }
}

/// Results with the offsets that belong to them, not sealed.
pub struct TileAnswer {
    pub(crate) ciphertexts: Vec<Ciphertext>,
    offsets: Option<Vec<i64>>,
}

impl Layout<Lattice> for TileLayout {
    type Weights = TileWeights;
    type Inputs = Uploads;
    type Answer = TileAnswer;

    fn cost(&self) -> Cost {
        let degree = self.parameters.degree();
        let (up, answers) = (self.ciphertexts_up(), self.answers());
        let down = answers.iter().map(|&(samples, channels)| {
            let (samples, channels) = self.outputs_in(samples, channels);
            let pixels = self.geometry.output_places.len();
            answer::bytes(degree, samples.len() * channels.len() * pixels, &self.budget)
        });
        let headroom = (1..).find(|more| {
            let weights = self.budget.hiding_bits - crate::parameters::LEAST_HIDING_BITS;
            f64::from(*more) > weights
        });
        let (samples, inputs, outputs) = self.tiles_of();
        let revealed = self.parameters.modulus_bits() - f64::from(self.budget.flood_bits);
        Cost {
            ciphertexts_up: up,
            ciphertexts_down: answers.len(),
            bytes: up * upload::bytes(self.parameters.basis()) + down.sum::<usize>(),
            multiply_accumulates: samples * inputs * outputs,
            headroom_bits: headroom.map_or(0, |more: u32| more - 1),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "few bits"
            )]
            revealed_bits: (revealed.ceil() as u64).min(u64::from(self.budget.wire_bits)),
        }
    }

    fn encrypt(
        &self,
        secret: &SecretKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let columns = self.gather(linear, values);
        let basis = self.parameters.basis();
        let scale = Scale::new(basis, self.value_bits);
        let (_, inputs, _) = self.tiles_of();
        let message = |n: usize| {
            let coefficients = self.coefficients(&columns.view(), n / inputs, n % inputs);
            Zeroizing::new(scale.up(basis, &coefficients))
        };
        Ok(upload::encrypt(secret, self.ciphertexts_up(), message, rng))
    }

    /// Numbers are taken modulo 2^v.
    fn prepare(
        &self,
        linear: &LinearMap,
        weights: &[i128],
        offsets: Option<&[i128]>,
    ) -> Result<TileWeights> {
        let geometry = &self.geometry;
        let entries = match linear {
            LinearMap::Taps(_) => geometry::matrix(linear, &linear.entries(weights)),
            LinearMap::Dense(_) | LinearMap::Window(_) => linear.entries(weights),
        };
        let (_, inputs, outputs) = self.tiles_of();
        let fill = |output: usize, input: usize, coefficients: &mut [i64]| {
            let outputs = Self::range(output, self.outputs, geometry.outputs);
            for (o, output) in outputs.enumerate() {
                let inputs = Self::range(input, self.inputs, geometry.inputs);
                for (c, input) in inputs.enumerate() {
                    let start = (o * self.inputs + self.inputs - 1 - c) * geometry.area;
                    let entries = &entries[geometry.entries(output, input)];
                    for (&place, &entry) in geometry.kernel_places.iter().zip(entries) {
                        coefficients[start + place as usize] = modulo(entry, self.value_bits);
                    }
                }
            }
        };
        let matrix = Matrix::new(self.parameters.basis(), self.step, outputs, inputs, fill);
        let positions = match self.kind {
            Kind::Columns(positions) => positions,
            Kind::Dense | Kind::Image => 1,
        };
        let offsets = offsets.map(|offsets| {
            let offsets = offsets.iter().step_by(positions);
            offsets.map(|&offset| modulo(offset, self.value_bits)).collect()
        });
        Ok(TileWeights { matrix, offsets })
    }

    fn read(&self, public: &PublicKey, bytes: &[u8]) -> Result<Uploads> {
        Ok(upload::read(public.parameters().basis(), self.ciphertexts_up(), bytes)?)
    }

    /// In time independent of the weights.
    fn evaluate(
        &self,
        _: &PublicKey,
        weights: &TileWeights,
        inputs: &Uploads,
    ) -> Result<TileAnswer> {
        let (_, columns, _) = self.tiles_of();
        let product = |(c0, c1): (&[_], &[_])| {
            let (c0, c1) =
                rayon::join(|| weights.matrix.product(c0), || weights.matrix.product(c1));
            c0.into_iter().zip(c1).map(|(c0, c1)| Ciphertext { c0, c1 }).collect::<Vec<_>>()
        };
        let groups = inputs.c0.par_chunks(columns).zip(inputs.c1.par_chunks(columns));
        let ciphertexts: Vec<_> = groups.map(product).collect();
        let ciphertexts = ciphertexts.into_iter().flatten().collect();
        Ok(TileAnswer { ciphertexts, offsets: weights.offsets.clone() })
    }

    fn seal(&self, public: &PublicKey, answer: TileAnswer, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let count = answer.ciphertexts.len();
        let zeros = zero::take(public, count, rng);
        let sealer = Sealer::new(public, self.budget, self.value_bits);
        let pixels = self.geometry.output_places.len();
        let parts = answer.ciphertexts.into_par_iter().zip(zeros);
        let parts = parts.zip(streams(count, rng)).zip(self.answers());
        let seal = |(((ciphertext, zero), rng), (samples, channels))| {
            let places = self.places(samples, channels);
            let (samples, channels) = self.outputs_in(samples, channels);
            let offset = |output: usize| match &answer.offsets {
                Some(offsets) => offsets[channels.start * pixels + output / samples.len()],
                None => 0,
            };
            sealer.seal(ciphertext, zero, &places, offset, rng)
        };
        parts.map(seal).collect::<Vec<_>>().concat()
    }

    fn decrypt(&self, secret: &SecretKey, bytes: &[u8]) -> Result<Array2<i128>> {
        let opener = Opener::new(secret, self.budget, self.value_bits);
        let degree = self.parameters.degree();
        let mut rest = bytes;
        let mut blocks = Vec::new();
        for (samples, channels) in self.answers() {
            let places = self.places(samples, channels);
            let len = answer::bytes(degree, places.len(), &self.budget);
            let (block, after) = rest.split_at_checked(len).ok_or_else(|| self.length(bytes))?;
            rest = after;
            blocks.push((samples, channels, places, block));
        }
        if !rest.is_empty() {
            return Err(self.length(bytes));
        }
        let open = |(samples, channels, places, block): (usize, usize, Vec<u32>, &[u8])| {
            Ok((samples, channels, opener.open(block, &places)?))
        };
        let opened: Vec<_> = blocks.into_par_iter().map(open).collect::<Result<_>>()?;
        let pixels = self.geometry.output_places.len();
        let mut values = Array2::zeros((self.geometry.outputs * pixels, self.samples));
        for (samples, channels, outputs) in opened {
            let (samples, channels) = self.outputs_in(samples, channels);
            let rows = channels.start * pixels..channels.end * pixels;
            for (row, outputs) in rows.zip(outputs.chunks(samples.len())) {
                for (sample, &value) in samples.clone().zip(outputs) {
                    values[[row, sample]] = value;
                }
            }
        }
        Ok(match self.kind {
            // Row f, column s·batch + j is row f·positions + s, column j: nothing moves.
            Kind::Columns(positions) => {
                let shape = (self.geometry.outputs * positions, self.samples / positions);
                values.into_shape_with_order(shape).expect("as many values as before")
            }
            Kind::Dense | Kind::Image => values,
        })
    }
}

impl TileLayout {
    fn length(&self, got: &[u8]) -> Error {
        let up = self.ciphertexts_up() * upload::bytes(self.parameters.basis());
        let expected = Layout::<Lattice>::cost(self).bytes - up;
        gelu_core::error::PeerMisbehaved::CiphertextLength { expected, got: got.len() }.into()
    }
}
