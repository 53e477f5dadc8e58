//! Positions: where a convolution applies the same weights again.
//!
//! With the inputs gathered into columns (im2col) a layer of this structure is one dense product of a
//! small matrix, filters × T, by T × positions. The client, who has the inputs in the clear, gathers
//! for nothing, and the server multiplies all positions in the slots of one ciphertext at once. A
//! dense layer is the case of one position, T = inputs.

use ndarray::{Array2, ArrayView2, Axis, Slice};

use super::taps::index;
use super::{Scalar, Tap, Taps};
use crate::error::{ApiMisuse, Result};

/// Proof that a linear map applies the same filters at many positions.
///
/// Output o = f·positions + s is filter f at position s, with the bias of f; matrix entry
/// e = f·T + t is tap t of filter f.
///
/// ```text
/// Z[f, s] = Σₜ E[f, t] · C[t, s]       C[t, s] = X[source(t, s)], 0 where t meets the padding
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// For each position its (source, t).
    sources: Taps,
    /// The matrix E[f, t], dense.
    product: Taps,
}

impl Positions {
    /// Finds `count` positions in the taps of a layer of `entries` matrix entries.
    pub(super) fn new(
        forward: &Taps,
        entries: usize,
        bias_of: &[u32],
        count: usize,
    ) -> Result<Self> {
        let wrong = |why: &str| Err(ApiMisuse::configuration("positions", why).into());
        if count == 0 || !forward.outputs().is_multiple_of(count) {
            return wrong("do not divide the outputs");
        }
        let filters = forward.outputs() / count;
        if !entries.is_multiple_of(filters) {
            return wrong("need equally many matrix entries for each filter");
        }
        let taps = entries / filters;
        // The taps of one output as (source, t), in the order of t; none for another filter's entry.
        let sorted = |filter: usize, position: usize| -> Option<Vec<Tap>> {
            let of_filter = |tap: &Tap| {
                let t = (tap.weight as usize).checked_sub(filter * taps).filter(|&t| t < taps)?;
                Some(Tap { source: tap.source, weight: index(t) })
            };
            let output = forward.of(filter * count + position);
            let mut row = output.iter().map(of_filter).collect::<Option<Vec<_>>>()?;
            row.sort_unstable_by_key(|tap| tap.weight);
            row.windows(2).all(|two| two[0].weight < two[1].weight).then_some(row)
        };
        let mut sources = Vec::with_capacity(count);
        for position in 0..count {
            let Some(first) = sorted(0, position) else {
                return wrong("need taps that are entries of their own filter, each at most once");
            };
            if (1..filters).any(|f| sorted(f, position).as_ref() != Some(&first)) {
                return wrong("need the same taps of every filter");
            }
            sources.push(first);
        }
        if bias_of.chunks(count).any(|filter| filter.iter().any(|b| *b != filter[0])) {
            return wrong("need one bias for each filter");
        }
        let row = |f: usize| -> Vec<Tap> {
            (0..taps).map(|t| Tap { source: index(t), weight: index(f * taps + t) }).collect()
        };
        let product = Taps::from_rows((0..filters).map(row));
        Ok(Self { sources: Taps::from_rows(sources), product })
    }

    /// Number of positions.
    pub fn count(&self) -> usize {
        self.sources.outputs()
    }

    /// T: rows of the gathered columns.
    pub fn taps(&self) -> usize {
        self.product.widest()
    }

    /// The matrix E of filters × T; entry e stands at (e / T, e mod T).
    pub fn product(&self) -> &Taps {
        &self.product
    }

    /// im2col: from X of shape `[inputs, batch]` to C of shape `[T, positions · batch]`, column
    /// s·batch + j for position s and sample j.
    ///
    /// # Panics
    /// When `x` has fewer rows than this layer has inputs.
    pub fn gather<T: Scalar>(&self, x: ArrayView2<'_, T>) -> Array2<T> {
        let batch = x.ncols();
        let mut columns = Array2::zeros((self.taps(), self.count() * batch));
        for position in 0..self.count() {
            for tap in self.sources.of(position) {
                let samples = Slice::from(position * batch..(position + 1) * batch);
                let mut row = columns.row_mut(tap.weight as usize);
                row.slice_axis_mut(Axis(0), samples).assign(&x.row(tap.source as usize));
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use crate::linear::{LinearMap, Tap};
    use ndarray::array;

    fn tap(source: u32, weight: u32) -> Tap {
        Tap { source, weight }
    }

    /// Two filters of two taps over three inputs, padded in front: positions −1, 0 and 1.
    fn convolution(bias_of: Vec<u32>) -> Vec<Vec<Tap>> {
        let filters = bias_of.chunks(3).enumerate();
        filters
            .flat_map(|(f, _)| {
                let w = 2 * u32::try_from(f).unwrap();
                [
                    vec![tap(0, w + 1)],
                    vec![tap(1, w + 1), tap(0, w)],
                    vec![tap(1, w), tap(2, w + 1)],
                ]
            })
            .collect()
    }

    fn map(rows: &[Vec<Tap>], bias_of: Vec<u32>) -> LinearMap {
        LinearMap::new(3, 4, rows, bias_of).unwrap()
    }

    #[test]
    fn columns_by_hand() {
        let bias_of = vec![0, 0, 0, 1, 1, 1];
        let layer = map(&convolution(bias_of.clone()), bias_of).with_positions(3).unwrap();
        let positions = layer.positions().unwrap();
        assert_eq!((positions.count(), positions.taps(), positions.product().len()), (3, 2, 4));
        let x = array![[1, 2], [10, 20], [100, 200]];
        let columns = array![[0, 0, 1, 2, 10, 20], [1, 2, 10, 20, 100, 200]];
        assert_eq!(positions.gather(x.view()), columns);
    }

    #[test]
    fn other_structures_are_refused() {
        let bias_of = vec![0, 0, 0, 1, 1, 1];
        let rows = convolution(bias_of.clone());
        let good = map(&rows, bias_of.clone());
        for count in [0, 2, 4, 6, 7] {
            assert!(good.clone().with_positions(count).is_err(), "{count} positions");
        }
        let biases_by_position = map(&rows, vec![0, 1, 2, 0, 1, 2]);
        assert!(biases_by_position.with_positions(3).is_err());
        let broken = |output: usize, taps: Vec<Tap>| {
            let mut rows = rows.clone();
            rows[output] = taps;
            map(&rows, bias_of.clone()).with_positions(3).unwrap_err()
        };
        broken(5, vec![tap(0, 2), tap(2, 3)]);
        broken(5, vec![tap(1, 2)]);
        broken(4, vec![tap(1, 3), tap(1, 3)]);
        broken(0, vec![tap(0, 1), tap(1, 1)]);
        broken(0, vec![tap(0, 3)]);
    }
}
