//! Residues of several rows, packed, in the order in which a sum of products reads them.
//!
//! Each takes as many whole bytes as its prime has, the lowest first. Blocks of [`BLOCK`] residues stand one after the other,
//! first those of all rows at the first place: so there is one stream of memory for all rows, which processors see coming.

use super::BLOCK;
use crate::bytes::word;
use crate::modulus::Modulus;

/// Bytes of a residue at most, as primes have at most 50 bits.
pub(super) const MAX_WIDTH: usize = 7;

/// Bytes that may be read from where a block begins, whatever is in those after it: its last line and as many as a vector has.
pub(super) type PackedBlock = [u8; (BLOCK - 8) * MAX_WIDTH + 64];

/// Residues modulo one q.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    /// And some after the last block, so that there is a [`PackedBlock`] from its beginning.
    bytes: &'a [u8],
    rows: usize,
    width: usize,
}

impl<'a> Stream<'a> {
    /// All residues modulo q of so many rows, as [`pack`] left them.
    pub(crate) fn new(bytes: &'a [u8], q: Modulus, rows: usize) -> Self {
        Self { bytes, rows, width: width(q) }
    }

    /// Without the first columns, a multiple of [`BLOCK`].
    pub(crate) fn at_column(self, first: usize) -> Self {
        Self { bytes: &self.bytes[self.place(first / BLOCK, 0)..], ..self }
    }

    /// Rows.
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// Bytes of a residue.
    pub(super) fn width(self) -> usize {
        self.width
    }

    /// A block of a row, and what comes after it.
    #[inline(always)]
    pub(super) fn block(self, i: usize, row: usize) -> &'a PackedBlock {
        self.bytes[self.place(i, row)..].first_chunk().expect("bytes after the last block")
    }

    #[inline(always)]
    fn place(self, i: usize, row: usize) -> usize {
        (i * self.rows + row) * BLOCK * self.width
    }

    /// The first residues of a row, one by one.
    pub(crate) fn unpack(self, row: usize, out: &mut [u64]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        for (i, out) in out.chunks_mut(BLOCK).enumerate() {
            let block = self.block(i, row);
            for (out, at) in out.iter_mut().zip((0..).step_by(self.width)) {
                *out = word(&block[at..]) & ((1 << (8 * self.width)) - 1);
            }
        }
    }
}

/// Bytes of `count` residues of each of so many rows.
pub(crate) fn packed_len(q: Modulus, rows: usize, count: usize) -> usize {
    rows * count * width(q) + size_of::<PackedBlock>()
}

/// Writes residues modulo q, a multiple of [`BLOCK`], as one of so many rows.
pub(crate) fn pack(q: Modulus, residues: &[u64], row: usize, rows: usize, bytes: &mut [u8]) {
    let width = width(q);
    // What follows the last block is left alone: there are no more residues.
    let places = bytes.chunks_exact_mut(BLOCK * width).skip(row).step_by(rows);
    for (place, block) in places.zip(residues.chunks_exact(BLOCK)) {
        for (bytes, residue) in place.chunks_exact_mut(width).zip(block) {
            bytes.copy_from_slice(&residue.to_le_bytes()[..width]);
        }
    }
}

/// Bytes of a residue.
fn width(q: Modulus) -> usize {
    (q.bits() as usize).div_ceil(8)
}
