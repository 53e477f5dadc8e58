//! Evaluations to coefficients.
//!
//! # Bounds
//! *Lazily*, values are below 4q between passes: products are below 2q, and sums double their bounds, to 32q in three
//! stages down columns and to 64q in the six of a tile, which starts with residues. Those that may be 4q or
//! more are then brought below 2q. *Strictly*, all are below 2q after each stage.

use core::arch::x86_64::{_mm512_add_epi64, _mm512_setzero_si512, _mm512_sub_epi64};

use super::columns::{Constants, Parts, TILES, read_tiles, splat_all};
use super::factors::{TILE, Tile};
use super::vector::{
    Factor, Factors, Line, V, below, even_and_odd, even_and_odd_pairs, halves, store,
};

/// One butterfly, y lazily below `$bound`.
macro_rules! inverse {
    ($c:ident, $x:ident, $a:literal, $b:literal, $w:expr, $bound:expr) => {
        ($x[$a], $x[$b]) = $c.inverse::<LAZY>($x[$a], $x[$b], $w, $bound)
    };
}

/// The last butterfly of a pass. Large lazy sums are brought below 2q; at the very end, sums are scaled and all is
/// reduced.
macro_rules! last_inverse {
    ($c:ident, $x:ident, $a:literal, $b:literal, $w:expr, $scale:ident, $bound:expr, $large:literal) => {{
        let (sum, product) = $c.inverse::<LAZY>($x[$a], $x[$b], $w, $bound);
        ($x[$a], $x[$b]) = if LAST {
            let sum = $c.times::<LAZY>(sum, $scale);
            ($c.canonical::<LAZY>(sum), $c.canonical::<LAZY>(product))
        } else if LAZY && $large {
            ($c.below_two_q(sum), product)
        } else {
            (sum, product)
        };
    }};
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse_by_eight<const LAZY: bool, const LAST: bool>(
    c: &Constants,
    block: &mut [Line],
    down: &[Factor; 7],
    scale: Factor,
) {
    let mut parts = Parts::<8>::of(block);
    let (w, scale): ([Factors; 7], _) = (splat_all(down), Factors::splat(scale));
    let (two_q, four_q) = (c.modulus.two_q, c.four_q);
    for at in 0..parts.size {
        let mut x = parts.read(at);
        inverse!(c, x, 0, 1, w[3], four_q);
        inverse!(c, x, 2, 3, w[4], four_q);
        inverse!(c, x, 4, 5, w[5], four_q);
        inverse!(c, x, 6, 7, w[6], four_q);
        inverse!(c, x, 0, 2, w[1], c.eight_q);
        inverse!(c, x, 1, 3, w[1], two_q);
        inverse!(c, x, 4, 6, w[2], c.eight_q);
        inverse!(c, x, 5, 7, w[2], two_q);
        last_inverse!(c, x, 0, 4, w[0], scale, c.sixteen_q, true);
        last_inverse!(c, x, 1, 5, w[0], scale, four_q, true);
        last_inverse!(c, x, 2, 6, w[0], scale, two_q, false);
        last_inverse!(c, x, 3, 7, w[0], scale, two_q, false);
        parts.write(at, &x);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse_by_four<const LAZY: bool, const LAST: bool>(
    c: &Constants,
    block: &mut [Line],
    down: [Factor; 3],
    scale: Factor,
) {
    let mut parts = Parts::<4>::of(block);
    let (w, scale): ([Factors; 3], _) = (splat_all(&down), Factors::splat(scale));
    let (two_q, four_q) = (c.modulus.two_q, c.four_q);
    for at in 0..parts.size {
        let mut x = parts.read(at);
        inverse!(c, x, 0, 1, w[1], four_q);
        inverse!(c, x, 2, 3, w[2], four_q);
        last_inverse!(c, x, 0, 2, w[0], scale, c.eight_q, true);
        last_inverse!(c, x, 1, 3, w[0], scale, two_q, false);
        parts.write(at, &x);
    }
}

/// Six stages of 64 residues.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn inverse_tiles<const LAZY: bool>(
    c: &Constants,
    tiles: [&mut [Line; TILE]; TILES],
    tables: [&Tile; TILES],
) {
    let mut x = read_tiles(&tiles);
    macro_rules! within {
        ($table:ident, $apart:ident, $bound:expr) => {
            for (x, table) in x.iter_mut().zip(tables) {
                for (k, x) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let (sum, product) = c.inverse::<LAZY>(x[0], x[1], table.$table(k), $bound);
                    (x[0], x[1]) = $apart(sum, product);
                }
            }
        };
    }
    macro_rules! down {
        ($a:literal, $b:literal, $w:literal, $bound:expr) => {
            for (x, table) in x.iter_mut().zip(tables) {
                let w = Factors::splat(table.down[$w]);
                (x[$a], x[$b]) = c.inverse::<LAZY>(x[$a], x[$b], w, $bound);
            }
        };
    }
    let (two_q, four_q, eight_q) = (c.modulus.two_q, c.four_q, c.eight_q);
    within!(by_one, even_and_odd, c.modulus.q);
    within!(by_two, halves, two_q);
    within!(by_four_back, even_and_odd_pairs, four_q);
    down!(0, 1, 3, eight_q);
    down!(2, 3, 4, eight_q);
    down!(4, 5, 5, eight_q);
    down!(6, 7, 6, eight_q);
    down!(0, 2, 1, c.sixteen_q);
    down!(1, 3, 1, two_q);
    down!(4, 6, 2, c.sixteen_q);
    down!(5, 7, 2, two_q);
    down!(0, 4, 0, c.thirty_two_q);
    down!(1, 5, 0, four_q);
    down!(2, 6, 0, two_q);
    down!(3, 7, 0, two_q);
    if LAZY {
        for x in &mut x {
            (x[0], x[1]) = (c.below_two_q(x[0]), c.below_two_q(x[1]));
        }
    }
    for (tile, x) in tiles.into_iter().zip(&x) {
        tile.iter_mut().zip(x).for_each(|(line, x)| store(line, *x));
    }
}

impl Constants {
    /// x + y and (x − y)·w, the latter below 2q. Lazily, for y below `bound`, a multiple of q; strictly, for
    /// both below 2q, and so is the sum.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn inverse<const LAZY: bool>(&self, x: V, y: V, w: Factors, bound: V) -> (V, V) {
        let raised = _mm512_add_epi64(x, if LAZY { bound } else { self.modulus.two_q });
        let sum = _mm512_add_epi64(x, y);
        let product = self.times::<LAZY>(_mm512_sub_epi64(raised, y), w);
        (if LAZY { sum } else { below(sum, self.modulus.two_q) }, product)
    }

    /// y·w below 2q.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn times<const LAZY: bool>(&self, y: V, w: Factors) -> V {
        if LAZY { self.add_product(_mm512_setzero_si512(), y, w) } else { self.modulus.times(y, w) }
    }

    /// x modulo q for x below 2q.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn canonical<const LAZY: bool>(&self, x: V) -> V {
        self.modulus.canonical(if LAZY { self.low_bits(x) } else { x })
    }
}
