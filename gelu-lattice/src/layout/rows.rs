//! The weights of answers that are packed: see the [module](super).
//!
//! They have no step in common, so as polynomials they would take gigabytes. They are kept as numbers, and the sums of
//! products are made one by one: each is hidden and packed before the next.

use core::ops::Range;

use gelu_ring::{Coefficients, Evaluations, Poly};

use super::Packed;
use crate::parameters::Parameters;
use crate::upload::{Ciphertext, Uploads};

/// Polynomials of weights that wait for their products: with more, they would not stay in the cache.
const TOGETHER: usize = 4;

/// Weights, a row for each output.
pub(crate) struct Rows {
    pub(super) packed: Packed,
    /// From one sample to the next.
    pub(super) stride: usize,
    /// Entries of a row.
    pub(super) inputs: usize,
    /// Those of an upload.
    pub(super) tile: usize,
    pub(super) entries: Vec<i64>,
}

impl Rows {
    /// The sums that hold these outputs.
    pub(super) fn sums(&self, outputs: Range<usize>) -> Range<usize> {
        outputs.start / self.packed.channels..outputs.end.div_ceil(self.packed.channels)
    }

    /// The first output of a sum, and the places of all, output by output.
    pub(super) fn outputs(&self, sum: usize, samples: usize) -> (usize, Vec<u32>) {
        let place = |(channel, sample)| {
            u32::try_from(self.packed.raster * channel + self.stride * sample).expect("below N")
        };
        let channels = 0..self.channels(sum).len();
        let places = channels.flat_map(|channel| (0..samples).map(move |sample| (channel, sample)));
        (sum * self.packed.channels, places.map(place).collect())
    }

    fn channels(&self, sum: usize) -> core::slice::Chunks<'_, i64> {
        let rows = self.packed.channels * self.inputs;
        let entries = self.entries.chunks(rows).nth(sum).expect("a sum of the layer");
        entries.chunks(self.inputs)
    }

    /// Sum number `sum`.
    pub(super) fn sum(&self, sum: usize, parameters: &Parameters, inputs: &Uploads) -> Ciphertext {
        let zero = || Poly::zero(parameters.basis());
        let (mut c0, mut c1) = (zero(), zero());
        let tiles: Vec<_> = (0..).zip(inputs.c0.iter().zip(&inputs.c1)).collect();
        for tiles in tiles.chunks(TOGETHER) {
            let weights: Vec<_> =
                tiles.iter().map(|(tile, _)| self.polynomial(sum, *tile, parameters)).collect();
            let terms = || weights.iter().zip(tiles);
            c0.multiply_accumulate(&terms().map(|(w, (_, (c0, _)))| (w, *c0)).collect::<Vec<_>>());
            c1.multiply_accumulate(&terms().map(|(w, (_, (_, c1)))| (w, *c1)).collect::<Vec<_>>());
        }
        Ciphertext { c0, c1 }
    }

    /// What upload number `tile` is multiplied by.
    fn polynomial(&self, sum: usize, tile: usize, parameters: &Parameters) -> Poly<Evaluations> {
        let (basis, degree) = (parameters.basis(), parameters.degree());
        let moduli: Vec<_> = basis.moduli().collect();
        let fill = |prime: usize, residues: &mut [u64]| {
            for (channel, row) in self.channels(sum).enumerate() {
                let weights = row.chunks(self.tile).nth(tile).expect("an upload of the layer");
                let place = self.packed.raster * channel;
                for (c, &weight) in weights.iter().enumerate() {
                    let (place, weight) = match place.checked_sub(c) {
                        Some(place) => (place, i128::from(weight)),
                        None => (degree + place - c, -i128::from(weight)),
                    };
                    residues[place] = moduli[prime].reduce_signed(weight);
                }
            }
        };
        Poly::<Coefficients>::from_residues(basis, fill).into_evaluations()
    }
}
