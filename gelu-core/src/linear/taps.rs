//! A sparse matrix whose entries are shared weights.

/// One entry of the matrix: `weights[weight]` times `inputs[source]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    /// Index of the input.
    pub source: u32,
    /// Index of the weight.
    pub weight: u32,
}

/// A sparse matrix in row form: for each output its taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taps {
    starts: Vec<u32>,
    taps: Vec<Tap>,
}

impl Taps {
    /// Collects the rows.
    pub fn from_rows<R: AsRef<[Tap]>>(rows: impl IntoIterator<Item = R>) -> Self {
        let mut starts = vec![0];
        let mut taps = Vec::new();
        for row in rows {
            taps.extend_from_slice(row.as_ref());
            starts.push(index(taps.len()));
        }
        Self { starts, taps }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of taps of all outputs: the multiply-accumulates of one evaluation.
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Whether there is no tap at all.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// The taps of one output.
    pub fn of(&self, output: usize) -> &[Tap] {
        &self.taps[self.starts[output] as usize..self.starts[output + 1] as usize]
    }

    /// The largest number of taps of an output.
    pub fn widest(&self) -> usize {
        (0..self.outputs()).map(|o| self.of(o).len()).max().unwrap_or(0)
    }

    /// The same matrix read by columns: for each of `inputs` inputs its (output, weight) pairs,
    /// none for an input that a stride steps over.
    pub(super) fn transposed(&self, inputs: usize) -> Self {
        let mut columns = vec![Vec::new(); inputs];
        for output in 0..self.outputs() {
            for tap in self.of(output) {
                columns[tap.source as usize]
                    .push(Tap { source: index(output), weight: tap.weight });
            }
        }
        Self::from_rows(columns)
    }
}

/// An index that a constructor has bounded by `u32::MAX`.
pub(super) fn index(n: usize) -> u32 {
    u32::try_from(n).expect("at most 2^32 taps, checked at construction")
}
