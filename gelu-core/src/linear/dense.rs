//! A dense matrix.

use super::run::Run;
use super::size::{SizeError, check_multiply_accumulates, check_parameters, check_size, product};

/// Every output from every input: entry o·inputs + i stands at (o, i), each output has a bias of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Dense {
    /// A matrix of `outputs` rows and `inputs` columns.
    ///
    /// # Errors
    /// [`SizeError`] for a size of zero or one beyond the limits.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, SizeError> {
        check_size("the number of features", inputs)?;
        check_size("the number of outputs", outputs)?;
        let entries = product([inputs, outputs]);
        check_multiply_accumulates(entries)?;
        check_parameters(entries + outputs as u64)?;
        Ok(Self { inputs, outputs })
    }

    /// Columns.
    pub fn inputs(self) -> usize {
        self.inputs
    }

    /// Rows.
    pub fn outputs(self) -> usize {
        self.outputs
    }

    pub(super) fn each_run(self, mut visit: impl FnMut(Run)) {
        for output in 0..self.outputs {
            for source in 0..self.inputs {
                visit(Run { output, source, entry: output * self.inputs + source, len: 1 });
            }
        }
    }
}
