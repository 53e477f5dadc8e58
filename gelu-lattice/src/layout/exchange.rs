//! The steps of an exchange.

use core::fmt;
use std::sync::Arc;

use gelu_core::Result;
use gelu_core::backend::{Cost, Layout};
use gelu_core::error::PeerMisbehaved;
use gelu_core::fixed::centred;
use gelu_core::linear::LinearMap;
use gelu_ring::matrix::Matrix;
use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::geometry::{self, Geometry};
use super::rows::Rows;
use super::{Kind, Packed, TileLayout};
use crate::answer::{self, Opener, Sealer};
use crate::backend::Lattice;
use crate::keys::{PublicKey, SecretKey};
use crate::parameters::LEAST_HIDING_BITS;
use crate::plain::Scale;
use crate::upload::{self, Ciphertext, Uploads, streams};
use crate::zero;

/// Weights made ready.
pub struct TileWeights {
    entries: Entries,
    /// One for each pixel of each output channel, modulo 2^v.
    offsets: Option<Vec<i64>>,
}

enum Entries {
    /// As polynomials, by their evaluations.
    Tiles(Matrix),
    Rows(Arc<Rows>),
}

/// Weights are the server's secret: nothing is printed.
impl fmt::Debug for TileWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TileWeights").finish_non_exhaustive()
    }
}

/// Results with the offsets that belong to them, not sealed.
pub struct TileAnswer {
    pub(crate) sums: Sums,
    pub(super) offsets: Option<Vec<i64>>,
}

/// Sums of products, not sealed.
pub(crate) enum Sums {
    Made(Vec<Ciphertext>),
    /// To be made one by one.
    Rows(Arc<Rows>, Arc<Uploads>),
}

impl Layout<Lattice> for TileLayout {
    type Weights = TileWeights;
    type Inputs = Arc<Uploads>;
    type Answer = TileAnswer;

    fn cost(&self) -> Cost {
        let degree = self.parameters.degree();
        let (up, answers) = (self.ciphertexts_up(), self.answers());
        let down = answers.iter().map(|&(samples, channels)| {
            let (samples, channels) = self.outputs_in(samples, channels);
            let pixels = self.geometry.output_places.len();
            answer::bytes(degree, samples.len() * channels.len() * pixels, &self.budget)
        });
        let revealed = self.parameters.modulus_bits() - f64::from(self.budget.flood_bits);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few bits")]
        let (hiding, headroom, revealed) = (
            self.budget.hiding_bits as u32,
            (self.budget.hiding_bits - LEAST_HIDING_BITS) as u32,
            (revealed.ceil() as u64).min(self.budget.wire_bits.into()),
        );
        Cost {
            ciphertexts_up: up,
            ciphertexts_down: answers.len(),
            bytes: up * upload::bytes(self.parameters.basis()) + down.sum::<usize>(),
            multiply_accumulates: self.products(),
            headroom_bits: headroom,
            revealed_bits: revealed,
            hiding_bits: Some(hiding),
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
        let entries = match self.packed {
            Some(packed) => Entries::Rows(Arc::new(self.rows(packed, &entries))),
            None => Entries::Tiles(Matrix::new(
                self.parameters.basis(),
                self.step,
                outputs,
                inputs,
                fill,
            )),
        };
        let positions = match self.kind {
            Kind::Columns(positions) => positions,
            Kind::Dense | Kind::Image => 1,
        };
        let offsets = offsets.map(|offsets| {
            let offsets = offsets.iter().step_by(positions);
            offsets.map(|&offset| modulo(offset, self.value_bits)).collect()
        });
        Ok(TileWeights { entries, offsets })
    }

    fn read(&self, public: &PublicKey, bytes: &[u8]) -> Result<Arc<Uploads>> {
        let uploads = upload::read(public.parameters().basis(), self.ciphertexts_up(), bytes)?;
        Ok(Arc::new(uploads))
    }

    /// In time that tells whether all weights are short, and no more of them.
    fn evaluate(
        &self,
        _: &PublicKey,
        weights: &TileWeights,
        inputs: &Arc<Uploads>,
    ) -> Result<TileAnswer> {
        let sums = match &weights.entries {
            Entries::Tiles(matrix) => Sums::Made(self.sums(matrix, inputs)),
            Entries::Rows(rows) => Sums::Rows(Arc::clone(rows), Arc::clone(inputs)),
        };
        Ok(TileAnswer { sums, offsets: weights.offsets.clone() })
    }

    fn seal(&self, public: &PublicKey, answer: TileAnswer, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let count = self.seals();
        let (zeros, streams) = (zero::take(public, count, rng), streams(count, rng));
        let sealer = Sealer::new(public, self.budget, self.value_bits);
        let pixels = self.geometry.output_places.len();
        let TileAnswer { sums, offsets } = answer;
        // Outputs in the order of their places, from that of channel `first` on.
        let cover = |sum, (zero, rng): (zero::Source, _), places: &[u32], first, samples| {
            let offset = |output: usize| match &offsets {
                Some(offsets) => offsets[first * pixels + output / samples],
                None => 0,
            };
            sealer.cover(sum, zero.make(public), places, offset, rng)
        };
        let (wire_bits, answers) = (self.budget.wire_bits, self.answers());
        let mut randomness = zeros.into_iter().zip(streams);
        let sealed: Vec<_> = match sums {
            Sums::Made(sums) => {
                let parts: Vec<_> = sums.into_iter().zip(randomness).zip(answers).collect();
                let seal = |((sum, randomness), (samples, channels))| {
                    let places = self.places(samples, channels);
                    let (samples, channels) = self.outputs_in(samples, channels);
                    let covered = cover(sum, randomness, &places, channels.start, samples.len());
                    answer::write(covered, &places, wire_bits)
                };
                parts.into_par_iter().map(seal).collect()
            }
            Sums::Rows(rows, inputs) => {
                let parts = answers.into_iter().map(|(samples, channels)| {
                    let places = self.places(samples, channels);
                    let sums = rows.sums(self.outputs_in(samples, channels).1);
                    let parts: Vec<_> = sums.zip(randomness.by_ref()).collect();
                    (parts, places)
                });
                let seal = |(parts, places): (Vec<_>, Vec<_>)| {
                    let covered = |(sum, randomness)| {
                        let (first, places) = rows.outputs(sum, self.samples);
                        let sum = rows.sum(sum, &self.parameters, &inputs);
                        cover(sum, randomness, &places, first, self.samples)
                    };
                    let Packed { raster, levels, .. } = rows.packed;
                    let packed = public.packing().pack(parts, raster, levels, covered);
                    answer::write(packed, &places, wire_bits)
                };
                parts.collect::<Vec<_>>().into_par_iter().map(seal).collect()
            }
        };
        sealed.concat()
    }

    fn decrypt(&self, secret: &SecretKey, bytes: &[u8]) -> Result<Array2<i128>> {
        let opener = Opener::new(secret, self.budget, self.value_bits);
        let degree = self.parameters.degree();
        let blocks = self.blocks(bytes, |outputs| answer::bytes(degree, outputs, &self.budget));
        let open = |(places, block): (Vec<u32>, &[u8])| opener.open(block, &places);
        let opened: Vec<_> = blocks?.into_par_iter().map(open).collect::<Result<_>>()?;
        let values = self.outputs_from(&opened);
        let shape = (values.len() / self.batch(), self.batch());
        Ok(Array2::from_shape_vec(shape, values).expect("as many values as places"))
    }
}

impl TileLayout {
    /// The answers in `bytes`, with the places of their outputs; `len` gives the bytes of an answer with so many outputs.
    pub(super) fn blocks<'b>(
        &self,
        bytes: &'b [u8],
        len: impl Fn(usize) -> usize,
    ) -> Result<Vec<(Vec<u32>, &'b [u8])>> {
        let places: Vec<_> = self.answers().into_iter().map(|(s, c)| self.places(s, c)).collect();
        let expected = places.iter().map(|places| len(places.len())).sum();
        if bytes.len() != expected {
            return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() }.into());
        }
        let mut rest = bytes;
        let block = |places: Vec<u32>| {
            let (block, after) = rest.split_at(len(places.len()));
            rest = after;
            (places, block)
        };
        Ok(places.into_iter().map(block).collect())
    }

    /// `[features, batch]` values, row by row, from the outputs of all answers.
    ///
    /// Output f of position s and sample j is output f of column s·batch + j, and feature f·positions + s: so the
    /// outputs of all columns are in that order already.
    pub(super) fn outputs_from<T: Copy + Default>(&self, answers: &[impl AsRef<[T]>]) -> Vec<T> {
        let pixels = self.geometry.output_places.len();
        let mut values = vec![T::default(); self.geometry.outputs * pixels * self.samples];
        for (outputs, (samples, channels)) in answers.iter().zip(self.answers()) {
            let (samples, channels) = self.outputs_in(samples, channels);
            let rows = channels.start * pixels..channels.end * pixels;
            for (row, outputs) in rows.zip(outputs.as_ref().chunks(samples.len())) {
                values[row * self.samples..][samples.clone()].copy_from_slice(outputs);
            }
        }
        values
    }

    /// Samples of the batch.
    pub(super) fn batch(&self) -> usize {
        match self.kind {
            Kind::Columns(positions) => self.samples / positions,
            Kind::Dense | Kind::Image => self.samples,
        }
    }

    fn sums(&self, matrix: &Matrix, inputs: &Uploads) -> Vec<Ciphertext> {
        let (_, columns, _) = self.tiles_of();
        let product = |(c0, c1): (&[_], &[_])| {
            let (c0, c1) = rayon::join(|| matrix.product(c0), || matrix.product(c1));
            c0.into_iter().zip(c1).map(|(c0, c1)| Ciphertext { c0, c1 }).collect::<Vec<_>>()
        };
        let groups = inputs.c0.par_chunks(columns).zip(inputs.c1.par_chunks(columns));
        let ciphertexts: Vec<_> = groups.map(product).collect();
        ciphertexts.into_iter().flatten().collect()
    }

    /// The entries modulo 2^v.
    fn rows(&self, packed: Packed, entries: &[i128]) -> Rows {
        let Geometry { inputs, outputs, .. } = *self.geometry;
        let places = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i)));
        let entry = |(o, i)| entries[self.geometry.entries(o, i).start];
        let entries = places.map(|place| modulo(entry(place), self.value_bits)).collect();
        Rows {
            packed,
            stride: self.parameters.degree() / self.step,
            inputs,
            tile: self.inputs,
            entries,
        }
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
                let place = c * geometry.area + place as usize;
                for (n, sample) in samples.clone().enumerate() {
                    coefficients[self.at(place, n)] = modulo(row[sample], self.value_bits);
                }
            }
        }
        coefficients
    }
}

/// The centred representative modulo 2^bits.
fn modulo(x: i128, bits: u32) -> i64 {
    i64::try_from(centred(x, bits)).expect("at most 62 bits")
}
