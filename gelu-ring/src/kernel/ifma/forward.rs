//! Coefficients to evaluations.
//!
//! # Bounds
//! *Lazily*, the first stage begins with x + 25q, and each takes x to x + t and x − t for
//! 0 ≤ t < q + y·q/2^52 ≤ q + y/64: in 16 stages from residues all t together are below 25q, so values stay above
//! 0 and below 51q. Nothing is reduced until the end.
//! *Strictly*, x is brought below 2q in each stage, and x + t and x + 2q − t for 0 < t < 2q are below 4q.

use core::arch::x86_64::{_mm512_add_epi64, _mm512_sub_epi64};

use super::columns::{Constants, Parts, TILES, read_tiles, splat_all};
use super::factors::{TILE, Tile};
use super::vector::{
    Factor, Factors, Line, V, below, even_and_odd, even_and_odd_pairs, halves, load, store,
};

/// One butterfly.
macro_rules! forward {
    ($c:ident, $x:ident, $a:literal, $b:literal, $w:expr) => {
        ($x[$a], $x[$b]) = $c.forward::<LAZY>($x[$a], $x[$b], $w)
    };
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward_by_eight<const LAZY: bool, const FIRST: bool>(
    c: &Constants,
    block: &mut [Line],
    down: &[Factor; 7],
) {
    let mut parts = Parts::<8>::of(block);
    let w: [Factors; 7] = splat_all(down);
    for at in 0..parts.size {
        let mut x = parts.read(at);
        if LAZY && FIRST {
            for x in &mut x[..4] {
                *x = _mm512_add_epi64(*x, c.twenty_five_q);
            }
        }
        forward!(c, x, 0, 4, w[0]);
        forward!(c, x, 1, 5, w[0]);
        forward!(c, x, 2, 6, w[0]);
        forward!(c, x, 3, 7, w[0]);
        forward!(c, x, 0, 2, w[1]);
        forward!(c, x, 1, 3, w[1]);
        forward!(c, x, 4, 6, w[2]);
        forward!(c, x, 5, 7, w[2]);
        forward!(c, x, 0, 1, w[3]);
        forward!(c, x, 2, 3, w[4]);
        forward!(c, x, 4, 5, w[5]);
        forward!(c, x, 6, 7, w[6]);
        parts.write(at, &x);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward_by_four<const LAZY: bool, const FIRST: bool>(
    c: &Constants,
    block: &mut [Line],
    down: [Factor; 3],
) {
    let mut parts = Parts::<4>::of(block);
    let w: [Factors; 3] = splat_all(&down);
    for at in 0..parts.size {
        let mut x = parts.read(at);
        if LAZY && FIRST {
            for x in &mut x[..2] {
                *x = _mm512_add_epi64(*x, c.twenty_five_q);
            }
        }
        forward!(c, x, 0, 2, w[0]);
        forward!(c, x, 1, 3, w[0]);
        forward!(c, x, 0, 1, w[1]);
        forward!(c, x, 2, 3, w[2]);
        parts.write(at, &x);
    }
}

/// All stages of a transform of as many values as there are lines, in each of their columns; residues again.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward_lines<const LAZY: bool>(
    c: &Constants,
    lines: &mut [Line],
    factors: &[Factor],
) {
    let mut half = lines.len() / 2;
    while half > 0 {
        let groups = lines.len() / (2 * half);
        for (group, &w) in lines.chunks_exact_mut(2 * half).zip(&factors[groups..]) {
            let (left, right) = group.split_at_mut(half);
            let w = Factors::splat(w);
            for (x, y) in left.iter_mut().zip(right) {
                let mut a = load(x);
                if LAZY && groups == 1 {
                    a = _mm512_add_epi64(a, c.twenty_five_q);
                }
                let (sum, difference) = c.forward::<LAZY>(a, load(y), w);
                store(x, sum);
                store(y, difference);
            }
        }
        half /= 2;
    }
    for line in lines {
        store(line, c.residue::<LAZY>(load(line)));
    }
}

/// Six stages of 64 residues, and the end of the reduction.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn forward_tiles<const LAZY: bool>(
    c: &Constants,
    tiles: [&mut [Line; TILE]; TILES],
    tables: [&Tile; TILES],
) {
    let mut x = read_tiles(&tiles);
    macro_rules! down {
        ($a:literal, $b:literal, $w:literal) => {
            for (x, table) in x.iter_mut().zip(tables) {
                let w = Factors::splat(table.down[$w]);
                (x[$a], x[$b]) = c.forward::<LAZY>(x[$a], x[$b], w);
            }
        };
    }
    macro_rules! within {
        ($table:ident, $together:ident) => {
            for (x, table) in x.iter_mut().zip(tables) {
                for (k, x) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let (a, b) = $together(x[0], x[1]);
                    (x[0], x[1]) = c.forward::<LAZY>(a, b, table.$table(k));
                }
            }
        };
    }
    down!(0, 4, 0);
    down!(1, 5, 0);
    down!(2, 6, 0);
    down!(3, 7, 0);
    down!(0, 2, 1);
    down!(1, 3, 1);
    down!(4, 6, 2);
    down!(5, 7, 2);
    down!(0, 1, 3);
    down!(2, 3, 4);
    down!(4, 5, 5);
    down!(6, 7, 6);
    within!(by_four, halves);
    within!(by_two, even_and_odd_pairs);
    within!(by_one, even_and_odd);
    for (tile, x) in tiles.into_iter().zip(&x) {
        for (line, x) in tile.iter_mut().zip(x) {
            store(line, c.residue::<LAZY>(*x));
        }
    }
}

impl Constants {
    /// x + w·y and x − w·y.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn forward<const LAZY: bool>(&self, x: V, y: V, w: Factors) -> (V, V) {
        if LAZY {
            let sum = self.add_product(x, y, w);
            (sum, _mm512_sub_epi64(_mm512_add_epi64(x, x), sum))
        } else {
            let (x, t) = (below(x, self.modulus.two_q), self.modulus.times(y, w));
            let raised = _mm512_add_epi64(x, self.modulus.two_q);
            (_mm512_add_epi64(x, t), _mm512_sub_epi64(raised, t))
        }
    }

    /// x modulo q at the end.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn residue<const LAZY: bool>(&self, x: V) -> V {
        let below_two_q = if LAZY { self.below_two_q(x) } else { below(x, self.modulus.two_q) };
        self.modulus.canonical(below_two_q)
    }
}
