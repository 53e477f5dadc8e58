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
//!
//! # Packed
//! In the larger ring, `packed-dense/…` and `packed-columns/…` come down full: there, n is that of an answer into which others are
//! packed (`packing`), B·n ≤ N. Before, each holds n' channels, B·S·n' = N, in a raster of S ≥ k coefficients:
//!
//! ```text
//! input (j, c) at S·n'·j + c        weight (o, c) at S·o − c, where X^−c is −X^(N−c)        output (j, o) at S·(n'·j + o)
//! ```
//! as S·o + c − c' is a multiple of S for c = c' alone. So more channels up are more answers to be packed, but no more that come
//! down. Packing takes time for bytes: a product of whole polynomials for each answer, and a change of keys.

mod exchange;
mod geometry;
mod rows;
pub(crate) mod shares;

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use gelu_core::backend::Task;
use gelu_core::error::RangeError;
use gelu_core::linear::{LinearMap, MAX_PARAMETERS};
use gelu_core::plan::Direction;

use crate::parameters::{Budget, Parameters};
#[cfg(feature = "laboratory")]
pub(crate) use exchange::Sums;
pub use exchange::{TileAnswer, TileWeights};
use geometry::Geometry;
pub use shares::TileShares;

/// What a channel is: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dense,
    Image,
    /// This many positions.
    Columns(usize),
}

/// How answers are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    /// S.
    raster: usize,
    /// n': channels of an answer before it is packed.
    channels: usize,
    /// 2^this answers become one.
    levels: u32,
}

/// How one linear map is carried: see the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct TileLayout {
    kind: Kind,
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
    packed: Option<Packed>,
    /// Bits of a value of the result: it is known modulo 2^this.
    value_bits: u32,
    budget: Budget,
}

/// Equal budgets are those of equal sizes: none is NaN.
impl Eq for TileLayout {}

impl fmt::Display for TileLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Dense => "dense",
            Kind::Image => "image",
            Kind::Columns(_) => "columns",
        };
        let packed = if self.packed.is_some() { "packed-" } else { "" };
        write!(f, "{packed}{kind}/{}x{}x{}", self.step, self.inputs, self.outputs)
    }
}

impl TileLayout {
    /// Every layout of `task` under keys of a ring.
    pub(crate) fn all(parameters: &Parameters, task: &Task<'_>) -> Result<Vec<Self>, RangeError> {
        let &Task { linear, direction, batch, weight_bits, .. } = task;
        let mut kinds = Vec::new();
        let dense = |inputs, outputs| {
            Arc::new(match direction {
                Direction::Forward => Geometry::dense(inputs, outputs, false),
                Direction::Backward => Geometry::dense(outputs, inputs, true),
            })
        };
        let places = linear.inputs() as u64 * linear.outputs() as u64;
        match linear {
            LinearMap::Window(window) => {
                let geometry = Arc::new(Geometry::window(window, direction));
                kinds.push((Kind::Image, geometry, batch));
                if direction == Direction::Forward {
                    let kind = Kind::Columns(window.positions());
                    let samples = window.positions() * batch;
                    kinds.push((kind, dense(window.patch(), window.filters()), samples));
                }
            }
            // Listed taps are laid out as a matrix, which must not become larger than one may be.
            LinearMap::Taps(_) if places > MAX_PARAMETERS => {}
            LinearMap::Dense(_) | LinearMap::Taps(_) => {
                kinds.push((Kind::Dense, dense(linear.inputs(), linear.outputs()), batch));
            }
        }
        let all = |value_bits| -> Vec<Self> {
            let layouts = kinds.iter().flat_map(|&(kind, ref geometry, samples)| {
                let family =
                    Family { parameters, kind, geometry, samples, weight_bits, value_bits };
                [family.tiles(), family.packed()].concat()
            });
            layouts.collect()
        };
        let layouts = all(task.value_bits);
        if layouts.is_empty() {
            let widest = (1..task.value_bits).rev().find(|&bits| !all(bits).is_empty());
            return Err(task.too_wide(widest.unwrap_or(0)));
        }
        Ok(layouts)
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

    /// Answers that are sealed: more than come down, if they are packed.
    pub(crate) fn seals(&self) -> usize {
        match self.packed {
            Some(packed) => self.geometry.outputs.div_ceil(packed.channels),
            None => self.ciphertexts_down(),
        }
    }

    /// Products of polynomials.
    fn products(&self) -> usize {
        self.seals() * self.tiles_of().1
    }

    /// Products of residues, for both polynomials of a ciphertext; and where answers are packed, what takes as long: log₂ N for
    /// each residue of a transform, of the weights of each product and of four polynomials for each answer.
    pub(crate) fn residue_products(&self) -> u64 {
        let degree = self.parameters.degree();
        let transforms = match self.packed {
            Some(_) => self.products() + 4 * self.seals(),
            None => 0,
        };
        let rows = 2 * self.products() + transforms * degree.ilog2() as usize;
        (rows * degree * self.parameters.basis().moduli().len()) as u64
    }

    /// The coefficient of a sample's place.
    fn at(&self, place: usize, sample: usize) -> usize {
        match self.packed {
            Some(_) => self.parameters.degree() / self.step * sample + place,
            None => sample + self.step * place,
        }
    }

    /// The range of number `tile` of `all` things in tiles of `size`.
    fn range(tile: usize, size: usize, all: usize) -> Range<usize> {
        tile * size..all.min((tile + 1) * size)
    }

    /// The outputs of answer (`samples`, `channels`) in its own order: channel, pixel, sample.
    fn outputs_in(&self, samples: usize, channels: usize) -> (Range<usize>, Range<usize>) {
        (
            Self::range(samples, self.step, self.samples),
            Self::range(channels, self.outputs, self.geometry.outputs),
        )
    }

    /// The coefficients of these outputs.
    fn places(&self, samples: usize, channels: usize) -> Vec<u32> {
        let (samples, channels) = self.outputs_in(samples, channels);
        let geometry = &self.geometry;
        let channel = |o: usize| match self.packed {
            Some(Packed { raster, channels, levels }) => {
                raster * (o % channels) + (raster >> levels) * (o / channels)
            }
            None => ((o + 1) * self.inputs - 1) * geometry.area,
        };
        let place = |o: usize, pixel: u32, sample: usize| {
            u32::try_from(self.at(channel(o) + pixel as usize, sample)).expect("below N")
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
}

/// What the layouts of one kind have in common.
struct Family<'a> {
    parameters: &'a Parameters,
    kind: Kind,
    geometry: &'a Arc<Geometry>,
    samples: usize,
    weight_bits: u32,
    value_bits: u32,
}

impl Family<'_> {
    /// Each k that makes for another number of ciphertexts, with the largest n.
    fn tiles(&self) -> Vec<TileLayout> {
        let Geometry { inputs: channels, outputs: all, area, .. } = **self.geometry;
        let places = self.parameters.degree() / area;
        let Some(most) = places.checked_ilog2() else { return Vec::new() };
        let step = self.samples.next_power_of_two().min(1 << most);
        let room = places / step;
        let mut inputs: Vec<_> = (1..=channels).map(|tiles| channels.div_ceil(tiles)).collect();
        inputs.dedup();
        let layout = |inputs: usize| {
            let outputs = even(all, room / inputs);
            let entries = outputs * channels * self.geometry.kernel_places.len();
            self.layout(step, inputs, outputs, entries, None)
        };
        inputs.into_iter().filter(|&inputs| inputs <= room).filter_map(layout).collect()
    }

    /// The packed ones, where channels are features: for each S that makes for another number of ciphertexts.
    fn packed(&self) -> Vec<TileLayout> {
        let Geometry { inputs, outputs: all, area, .. } = **self.geometry;
        // All samples side by side.
        let step = self.samples.next_power_of_two();
        let room = self.parameters.degree() / step;
        if area > 1 {
            return Vec::new();
        }
        let layout = |raster: usize| {
            let channels = room / raster;
            let answers = even(all.div_ceil(channels), raster);
            let levels = answers.next_power_of_two().ilog2();
            let outputs = (channels * answers).min(all);
            let entries = channels.min(all) * inputs;
            let packed = Packed { raster, channels, levels };
            self.layout(step, even(inputs, raster), outputs, entries, Some(packed))
        };
        // A raster that is half empty would be no better than one of half the size; one answer needs no packing.
        (1..=self.parameters.packing_levels())
            .map(|log| 1 << log)
            .filter(|&raster| raster <= room && raster < 2 * inputs && room / raster < all)
            .filter_map(layout)
            .collect()
    }

    /// If its answers, each of so many entries, hide enough.
    fn layout(
        &self,
        step: usize,
        inputs: usize,
        outputs: usize,
        entries: usize,
        packed: Option<Packed>,
    ) -> Option<TileLayout> {
        let levels = packed.map_or(0, |packed| packed.levels);
        // The largest entry, modulo 2^v.
        let entry = f64::from(self.weight_bits.min(self.value_bits) - 1).exp2();
        let budget = self.parameters.budget(self.value_bits, entries as f64 * entry, levels)?;
        Some(TileLayout {
            kind: self.kind,
            parameters: self.parameters.clone(),
            geometry: Arc::clone(self.geometry),
            samples: self.samples,
            step,
            inputs,
            outputs,
            packed,
            value_bits: self.value_bits,
            budget,
        })
    }
}

/// The size of the fewest tiles for `all` things, almost equal, none larger than `most`.
fn even(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most))
}
