//! Sums of products of which one factor is packed.
//!
//! A line of four residues of w ≤ 7 bytes is 4·w bytes: two are among the 16 from where the first begins, the others among
//! those from the third. One shuffle takes to each lane its bytes, and zeros above.

use core::arch::x86_64::{
    __m128i, _mm_loadu_si128, _mm256_set_m128i, _mm256_setr_epi64x, _mm256_shuffle_epi8,
};

use super::sums::{Block, I, LINES, double};
use super::vector::{LANES, V, read};
use super::{BLOCK, Rows};
use crate::kernel::stream::{MAX_WIDTH, PackedBlock, Stream};

/// Blocks of sums in one of the stream.
const PARTS: usize = BLOCK / (LINES * LANES);

/// What unpacks a line.
#[derive(Clone, Copy)]
struct Unpack {
    width: usize,
    /// For each byte of a line, the one of its half that it is; above 127 for a zero.
    bytes: I,
}

impl Unpack {
    #[target_feature(enable = "avx2,fma")]
    fn new(width: usize) -> Self {
        assert!((1..=MAX_WIDTH).contains(&width), "residues of {width} bytes");
        let lane = |first: usize| {
            let byte = |k| if k < width { first + k } else { 0xff };
            i64::from_le_bytes(core::array::from_fn(|k| u8::try_from(byte(k)).expect("a byte")))
        };
        let (even, odd) = (lane(0), lane(width));
        Self { width, bytes: _mm256_setr_epi64x(even, odd, even, odd) }
    }

    /// Line `line` of part `part` of a block.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn line(&self, block: &PackedBlock, part: usize, line: usize) -> V {
        let first = (part % PARTS * LINES + line) * LANES * self.width;
        let half = |at: usize| -> __m128i {
            let bytes: &[u8; 16] = block[at..].first_chunk().expect("bytes after a line");
            // SAFETY: there are 16 bytes, and no alignment is asked for.
            unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
        };
        let both = _mm256_set_m128i(half(first + 2 * self.width), half(first));
        double(_mm256_shuffle_epi8(both, self.bytes))
    }
}

impl Rows {
    /// Σ a\[j\]·s\[2j + k\].
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn sum_pairs(
        &self,
        outs: [&mut [Block]; 2],
        factors: &[&[Block]],
        pairs: Stream<'_>,
    ) {
        assert!(2 * factors.len() <= pairs.rows(), "pairs for {} factors", factors.len());
        let unpack = Unpack::new(pairs.width());
        let blocks = |i: usize, j: usize| {
            let block = |row| pairs.block(i / PARTS, row);
            (&factors[j][i], block(2 * j), block(2 * j + 1), i)
        };
        self.sums::<2, false, _>(outs, factors.len(), blocks, |(a, b, c, i), line| {
            (read(&a[line]), [unpack.line(b, i, line), unpack.line(c, i, line)])
        });
    }

    /// Σ s\[j\]·b\[j\]\[k\].
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn sum_packed(
        &self,
        outs: [&mut [Block]; 2],
        stream: Stream<'_>,
        factors: &[[&[Block]; 2]],
    ) {
        assert!(factors.len() <= stream.rows(), "rows for {} factors", factors.len());
        let unpack = Unpack::new(stream.width());
        let blocks = |i: usize, j: usize| {
            let [b, c]: [&[Block]; 2] = factors[j];
            (stream.block(i / PARTS, j), &b[i], &c[i], i)
        };
        self.sums::<2, false, _>(outs, factors.len(), blocks, |(a, b, c, i), line| {
            (unpack.line(a, i, line), [read(&b[line]), read(&c[line])])
        });
    }
}
