//! Evaluations to coefficients.
//!
//! # Bounds
//! Values are below 2q between passes. *Lazily*, for 16q < 2^52: sums double their bounds in each of
//! three stages, and are brought below 2q behind the last. *Strictly*: each sum is.

use core::arch::x86_64::{_mm512_add_epi64, _mm512_sub_epi64};

use super::columns::{COLUMNS, Constants, TILES, read, read_tiles, rows, splat_all, write};
use super::factors::{TILE, Tile};
use super::vector::{
    Factor, Factors, Line, V, below, even_and_odd, halves, interleaved_pairs, store,
};

/// One butterfly in each of several columns, y below `$bound`; strictly, sums are brought below 2q.
macro_rules! inverse {
    ($c:ident, $x:ident, $a:literal, $b:literal, $w:expr, $bound:expr) => {{
        let (w, bound) = ($w, if LAZY { $bound } else { $c.modulus.two_q });
        for k in 0..COLUMNS {
            let (sum, product) = $c.inverse($x[$a][k], $x[$b][k], w, bound);
            $x[$a][k] = if LAZY { sum } else { below(sum, $c.modulus.two_q) };
            $x[$b][k] = product;
        }
    }};
}

/// The last butterfly of a pass, whose lazy sums are brought below 2q by the steps given; or, at the very end,
/// scaled, and reduced like the products.
macro_rules! last_inverse {
    ($c:ident, $x:ident, $a:literal, $b:literal, $w:expr, $scale:ident, $bound:expr, $($step:expr),*) => {{
        let (w, bound) = ($w, if LAZY { $bound } else { $c.modulus.two_q });
        for k in 0..COLUMNS {
            let (mut sum, product) = $c.inverse($x[$a][k], $x[$b][k], w, bound);
            if LAST {
                $x[$a][k] = $c.modulus.canonical($c.modulus.times(sum, $scale));
                $x[$b][k] = $c.modulus.canonical(product);
            } else {
                if LAZY {
                    $(sum = below(sum, $step);)*
                } else {
                    sum = below(sum, $c.modulus.two_q);
                }
                $x[$a][k] = sum;
                $x[$b][k] = product;
            }
        }
    }};
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse_by_eight<const LAZY: bool, const LAST: bool>(
    c: &Constants,
    block: &mut [Line],
    down: &[Factor; 7],
    scale: Factor,
) {
    let (w, scale): ([Factors; 7], _) = (splat_all(down), Factors::splat(scale));
    let (two_q, four_q, eight_q) = (c.modulus.two_q, c.four_q, c.eight_q);
    let size = block.len() / 8;
    let mut rows = rows::<8>(block);
    for at in 0..size / COLUMNS {
        let mut x = read(&rows, at);
        inverse!(c, x, 0, 1, w[3], two_q);
        inverse!(c, x, 2, 3, w[4], two_q);
        inverse!(c, x, 4, 5, w[5], two_q);
        inverse!(c, x, 6, 7, w[6], two_q);
        inverse!(c, x, 0, 2, w[1], four_q);
        inverse!(c, x, 1, 3, w[1], two_q);
        inverse!(c, x, 4, 6, w[2], four_q);
        inverse!(c, x, 5, 7, w[2], two_q);
        last_inverse!(c, x, 0, 4, w[0], scale, eight_q, eight_q, four_q, two_q);
        last_inverse!(c, x, 1, 5, w[0], scale, four_q, four_q, two_q);
        last_inverse!(c, x, 2, 6, w[0], scale, two_q, two_q);
        last_inverse!(c, x, 3, 7, w[0], scale, two_q, two_q);
        write(&mut rows, at, &x);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse_by_four<const LAZY: bool, const LAST: bool>(
    c: &Constants,
    block: &mut [Line],
    down: [Factor; 3],
    scale: Factor,
) {
    let (w, scale): ([Factors; 3], _) = (splat_all(&down), Factors::splat(scale));
    let (two_q, four_q) = (c.modulus.two_q, c.four_q);
    let size = block.len() / 4;
    let mut rows = rows::<4>(block);
    for at in 0..size / COLUMNS {
        let mut x = read(&rows, at);
        inverse!(c, x, 0, 1, w[1], two_q);
        inverse!(c, x, 2, 3, w[2], two_q);
        last_inverse!(c, x, 0, 2, w[0], scale, four_q, four_q, two_q);
        last_inverse!(c, x, 1, 3, w[0], scale, two_q, two_q);
        write(&mut rows, at, &x);
    }
}

/// Six stages of 64 residues.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn inverse_tiles<const LAZY: bool>(
    c: &Constants,
    tiles: &mut [[Line; TILE]; TILES],
    tables: &[Tile; TILES],
) {
    let (two_q, four_q, eight_q) = (c.modulus.two_q, c.four_q, c.eight_q);
    let mut x = read_tiles(tiles);
    macro_rules! within {
        ($table:ident, $apart:ident, $bound:expr, $reduced:literal) => {
            for (x, table) in x.iter_mut().zip(tables) {
                for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&table.$table) {
                    let (sum, product) = c.inverse(x[0], x[1], w.load(), $bound);
                    let sum = if $reduced { below(sum, two_q) } else { sum };
                    (x[0], x[1]) = $apart(sum, product);
                }
            }
        };
    }
    macro_rules! down {
        ($a:literal, $b:literal, $w:literal, $bound:expr, $($step:expr),*) => {
            for (x, table) in x.iter_mut().zip(tables) {
                let (w, bound) = (Factors::splat(table.down[$w]), if LAZY { $bound } else { two_q });
                (x[$a], x[$b]) = c.inverse(x[$a], x[$b], w, bound);
                if LAZY {
                    $(x[$a] = below(x[$a], $step);)*
                } else {
                    x[$a] = below(x[$a], two_q);
                }
            }
        };
    }
    // Below q, so the first sums are below 2q.
    within!(by_one, even_and_odd, c.modulus.q, false);
    within!(by_two, interleaved_pairs, two_q, true);
    within!(by_four, halves, two_q, true);
    down!(0, 1, 3, two_q,);
    down!(2, 3, 4, two_q,);
    down!(4, 5, 5, two_q,);
    down!(6, 7, 6, two_q,);
    down!(0, 2, 1, four_q,);
    down!(1, 3, 1, two_q,);
    down!(4, 6, 2, four_q,);
    down!(5, 7, 2, two_q,);
    down!(0, 4, 0, eight_q, eight_q, four_q, two_q);
    down!(1, 5, 0, four_q, four_q, two_q);
    down!(2, 6, 0, two_q, two_q);
    down!(3, 7, 0, two_q, two_q);
    for (line, x) in tiles.as_flattened_mut().iter_mut().zip(x.as_flattened()) {
        store(line, *x);
    }
}

impl Constants {
    /// x + y and (x − y)·w, the latter below 2q, for y below `bound`, a multiple of q.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn inverse(&self, x: V, y: V, w: Factors, bound: V) -> (V, V) {
        let difference = _mm512_sub_epi64(_mm512_add_epi64(x, bound), y);
        (_mm512_add_epi64(x, y), self.modulus.times(difference, w))
    }
}
