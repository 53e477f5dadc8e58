//! Sums of products of which one factor is packed.
//!
//! A line of eight residues of w ≤ 7 bytes is 8·w bytes. From the 64 that begin there, one instruction takes to each lane
//! those of its residue, and zeros above.

use core::arch::x86_64::{
    _mm512_loadu_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_maskz_permutexvar_epi8, _mm512_setzero_si512,
};
use core::ops::Range;

use super::vector::{LANES, V, load, store};
use super::{BLOCK, Block, Rows, max_terms};
use crate::kernel::stream::{MAX_WIDTH, PackedBlock, Stream};

/// What unpacks a line.
#[derive(Clone, Copy)]
struct Unpack {
    width: usize,
    /// For each byte of a line, the packed one that it is.
    bytes: V,
    /// The bytes that are not zeros.
    some: u64,
}

impl Unpack {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(width: usize) -> Self {
        assert!(width <= MAX_WIDTH, "residues of {width} bytes");
        let mut bytes = [0; LANES];
        for (first, bytes) in (0u64..).step_by(width).zip(&mut bytes) {
            *bytes = first * 0x0101_0101_0101_0101 + 0x0706_0504_0302_0100;
        }
        let lane = (1 << width) - 1;
        Self { width, bytes: load(&bytes), some: lane * 0x0101_0101_0101_0101 }
    }

    /// Line 0, 1, 2 or 3 of a block.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi")]
    #[inline]
    fn line(&self, block: &PackedBlock, line: usize) -> V {
        assert!(line < BLOCK / LANES);
        let at = line * LANES * self.width;
        // SAFETY: `at` is at most 3·8·7, as `new` checked the width and this the line, and 64 bytes from there are those
        // of a block. No alignment is asked for.
        let packed = unsafe { _mm512_loadu_si512(block.as_ptr().add(at).cast()) };
        _mm512_maskz_permutexvar_epi8(self.some, self.bytes, packed)
    }
}

impl Rows {
    /// Σ a\[j\]·s\[2j + k\].
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi")]
    pub(super) fn sum_pairs(
        &self,
        outs: [&mut [Block]; 2],
        factors: &[&[Block]],
        pairs: Stream<'_>,
    ) {
        assert!(2 * factors.len() <= pairs.rows(), "pairs for {} factors", factors.len());
        let unpack = Unpack::new(pairs.width());
        let blocks =
            |i: usize, j: usize| (&factors[j][i], pairs.block(i, 2 * j), pairs.block(i, 2 * j + 1));
        self.sums(outs, factors.len(), blocks, |(a, b, c), line| {
            (load(&a[line]), [unpack.line(b, line), unpack.line(c, line)])
        });
    }

    /// Σ s\[j\]·b\[j\]\[k\].
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi")]
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
            (stream.block(i, j), &b[i], &c[i])
        };
        self.sums(outs, factors.len(), blocks, |(a, b, c), line| {
            (unpack.line(a, line), [load(&b[line]), load(&c[line])])
        });
    }

    /// Σ a·b\[k\] over all j, of `term`(`blocks`(i, j), line): a and b of a line in block i.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi")]
    #[inline]
    fn sums<T: Copy>(
        &self,
        [first, second]: [&mut [Block]; 2],
        count: usize,
        blocks: impl Fn(usize, usize) -> T,
        term: impl Fn(T, usize) -> (V, [V; 2]),
    ) {
        let most = max_terms(2 * self.q.bits());
        self.add_sums::<false, T>([&mut *first, &mut *second], 0..count.min(most), &blocks, &term);
        for from in (most..count).step_by(most) {
            let range = from..count.min(from + most);
            self.add_sums::<true, T>([&mut *first, &mut *second], range, &blocks, &term);
        }
    }

    /// Some of the terms, added to what there is where `ADD`.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi")]
    #[inline]
    fn add_sums<const ADD: bool, T: Copy>(
        &self,
        [first, second]: [&mut [Block]; 2],
        terms: Range<usize>,
        blocks: &impl Fn(usize, usize) -> T,
        term: &impl Fn(T, usize) -> (V, [V; 2]),
    ) {
        let (field, zero) = (self.field(), _mm512_setzero_si512());
        for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let mut sums = [[[zero; 2]; 2]; BLOCK / LANES];
            if ADD {
                for (line, sums) in sums.iter_mut().enumerate() {
                    (sums[0][0], sums[1][0]) = (load(&first[line]), load(&second[line]));
                }
            }
            // Written out, so that all sums are in registers.
            macro_rules! add {
                ($blocks:ident, $($line:literal)*) => {
                    $(
                        let (a, [b, c]) = term($blocks, $line);
                        for ([low, high], b) in sums[$line].iter_mut().zip([b, c]) {
                            *low = _mm512_madd52lo_epu64(*low, a, b);
                            *high = _mm512_madd52hi_epu64(*high, a, b);
                        }
                    )*
                };
            }
            for j in terms.clone() {
                let blocks = blocks(i, j);
                add!(blocks, 0 1 2 3);
            }
            for (line, [b, c]) in sums.into_iter().enumerate() {
                store(&mut first[line], field.reduce(b[0], b[1]));
                store(&mut second[line], field.reduce(c[0], c[1]));
            }
        }
    }
}
