//! A matrix as the algebra of slots multiplies by it.

use crate::linear::Taps;

/// The matrix whose entry (o, i) is `entries[tap.weight]` for each tap of output o with source i.
#[derive(Clone)]
pub struct Matrix {
    /// Which inputs reach an output, by which entry.
    pub taps: Taps,
    /// The entries.
    pub entries: Vec<i128>,
}

/// Nothing is prepared: the matrix is kept as it is.
impl AsRef<Self> for Matrix {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The entries are the server's secret: only the shape is printed.
impl core::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Matrix({} outputs, {} taps)", self.taps.outputs(), self.taps.len())
    }
}
