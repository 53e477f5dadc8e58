//! The transforms, three or two stages at a time.

use super::stages::{back, forth};
use super::vector::{Field, LANES, Line, V, even_and_odd, factor, halves, load, load_factors, read, splat, store};
use crate::modulus::Modulus;
use crate::ntt::roots;

/// Lines of a tile.
const TILE: usize = 4;

/// The roots of unity for one q and N.
pub(super) struct Transform {
    q: Modulus,
    lazy: bool,
    /// Number groups + i is for group i of the stage with that many groups.
    forward: Vec<f64>,
    inverse: Vec<f64>,
    /// 1/N.
    scale: f64,
}

impl Transform {
    /// For rows of `degree` ≥ 2^11 residues.
    pub(super) fn new(q: Modulus, degree: usize) -> Self {
        let (forward, mut inverse) = roots(q, degree);
        let scale = q.inverse(degree as u64);
        // The last stage back scales its products.
        inverse[1] = q.mul(inverse[1], scale);
        let factors = |roots: Vec<u64>| roots.into_iter().map(|root| factor(q, root)).collect();
        Self {
            q,
            lazy: q.bits() <= 47,
            forward: factors(forward),
            inverse: factors(inverse),
            scale: factor(q, scale),
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn forward(&self, row: &mut [Line]) {
        let field = Field::new(self.q);
        match self.lazy {
            true => self.forward_block::<true, true>(&field, row, 1, 0),
            false => self.forward_block::<false, true>(&field, row, 1, 0),
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn inverse(&self, row: &mut [Line]) {
        let field = Field::new(self.q);
        match self.lazy {
            true => self.inverse_block::<true, true>(&field, row, 1, 0),
            false => self.inverse_block::<false, true>(&field, row, 1, 0),
        }
    }

    /// All stages of block `i` of `blocks`; `WHOLE` for the only one, which is residues.
    #[target_feature(enable = "avx2,fma")]
    fn forward_block<const LAZY: bool, const WHOLE: bool>(
        &self,
        field: &Field,
        block: &mut [Line],
        blocks: usize,
        i: usize,
    ) {
        let (lines, parts) = (block.len(), parts(block.len()));
        match parts {
            8 => forward_columns::<8, LAZY, WHOLE>(field, block, &down(&self.forward, blocks, i)),
            _ => forward_columns::<4, LAZY, WHOLE>(field, block, &down(&self.forward, blocks, i)),
        }
        let (blocks, i) = (parts * blocks, parts * i);
        if lines == parts * TILE {
            let tiles = block.as_chunks_mut::<TILE>().0;
            for (tile, factors) in tiles.iter_mut().zip(Factors::of(&self.forward, blocks, i)) {
                forward_tile::<LAZY>(field, tile, factors);
            }
        } else {
            for (k, part) in block.chunks_exact_mut(lines / parts).enumerate() {
                self.forward_block::<LAZY, false>(field, part, blocks, i + k);
            }
        }
    }

    /// All stages of block `i` of `blocks`; `WHOLE` for the only one, which becomes residues, scaled by 1/N.
    #[target_feature(enable = "avx2,fma")]
    fn inverse_block<const LAZY: bool, const WHOLE: bool>(
        &self,
        field: &Field,
        block: &mut [Line],
        blocks: usize,
        i: usize,
    ) {
        let (lines, parts) = (block.len(), parts(block.len()));
        if lines == parts * TILE {
            let tiles = block.as_chunks_mut::<TILE>().0;
            let factors = Factors::of(&self.inverse, parts * blocks, parts * i);
            for (tile, factors) in tiles.iter_mut().zip(factors) {
                inverse_tile::<LAZY>(field, tile, factors);
            }
        } else {
            for (k, part) in block.chunks_exact_mut(lines / parts).enumerate() {
                self.inverse_block::<LAZY, false>(field, part, parts * blocks, parts * i + k);
            }
        }
        let scale = splat(self.scale);
        match parts {
            8 => inverse_columns::<8, LAZY, WHOLE>(field, block, &down(&self.inverse, blocks, i), scale),
            _ => inverse_columns::<4, LAZY, WHOLE>(field, block, &down(&self.inverse, blocks, i), scale),
        }
    }
}

/// In how many parts a pass takes a block of so many lines: four until the stages that are left above the
/// tiles are a multiple of three.
fn parts(lines: usize) -> usize {
    if (lines / TILE).ilog2().is_multiple_of(3) { 8 } else { 4 }
}

/// The factors of the stages that cut block `i` of `blocks` in M parts: number groups + k for group k; there is no 0.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn down<const M: usize>(factors: &[f64], blocks: usize, i: usize) -> [V; M] {
    let mut all = [splat(0.0); M];
    let mut groups = 1;
    while groups < M {
        let stage = &factors[groups * (blocks + i)..][..groups];
        for (all, &factor) in all[groups..].iter_mut().zip(stage) {
            *all = splat(factor);
        }
        groups *= 2;
    }
    all
}

/// A block's parts, which stand below each other.
#[inline(always)]
fn rows<const M: usize>(block: &mut [Line]) -> [&mut [Line]; M] {
    let size = block.len() / M;
    let mut rest = block;
    core::array::from_fn(|_| {
        let (row, after) = core::mem::take(&mut rest).split_at_mut(size);
        rest = after;
        row
    })
}

#[target_feature(enable = "avx2,fma")]
fn forward_columns<const M: usize, const LAZY: bool, const WHOLE: bool>(
    field: &Field,
    block: &mut [Line],
    factors: &[V; M],
) {
    let size = block.len() / M;
    let mut rows = rows::<M>(block);
    for at in 0..size {
        let mut x = [splat(0.0); M];
        for (x, row) in x.iter_mut().zip(&rows) {
            *x = if WHOLE { read(&row[at]) } else { load(&row[at]) };
        }
        if !LAZY && !WHOLE {
            for x in &mut x[..M / 2] {
                *x = field.centred(*x);
            }
        }
        forth(field, &mut x, factors);
        for (x, row) in x.iter().zip(&mut rows) {
            store(&mut row[at], *x);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_columns<const M: usize, const LAZY: bool, const WHOLE: bool>(
    field: &Field,
    block: &mut [Line],
    factors: &[V; M],
    scale: V,
) {
    let size = block.len() / M;
    let mut rows = rows::<M>(block);
    for at in 0..size {
        let mut x = [splat(0.0); M];
        for (x, row) in x.iter_mut().zip(&rows) {
            *x = load(&row[at]);
        }
        back::<M, LAZY>(field, &mut x, factors);
        if WHOLE {
            for x in &mut x[..M / 2] {
                *x = field.times(*x, scale);
            }
        } else {
            let sums = if LAZY { 1 } else { M / 2 };
            for x in &mut x[..sums] {
                *x = field.centred(*x);
            }
        }
        for (x, row) in x.iter().zip(&mut rows) {
            if WHOLE {
                field.write(&mut row[at], *x);
            } else {
                store(&mut row[at], *x);
            }
        }
    }
}

/// The factors of a tile.
#[derive(Clone, Copy)]
struct Factors<'a> {
    one: f64,
    two: &'a [f64; 2],
    four: &'a [f64; 4],
    eight: &'a [[f64; LANES]; 2],
}

impl<'a> Factors<'a> {
    /// Of the tiles from number `i` of so many.
    #[inline(always)]
    fn of(factors: &'a [f64], tiles: usize, i: usize) -> impl Iterator<Item = Self> {
        let at = tiles + i;
        let one = factors[at..2 * tiles].iter();
        let two = factors[2 * at..4 * tiles].as_chunks().0;
        let four = factors[4 * at..8 * tiles].as_chunks().0;
        let eight = factors[8 * at..16 * tiles].as_chunks().0.as_chunks().0;
        one.zip(two).zip(four.iter().zip(eight)).map(|((&one, two), (four, eight))| Self {
            one,
            two,
            four,
            eight,
        })
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn down(self) -> [V; TILE] {
        [splat(0.0), splat(self.one), splat(self.two[0]), splat(self.two[1])]
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn by_two(self) -> (V, V) {
        let four = load_factors(self.four);
        even_and_odd(four, four)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn by_one(self) -> (V, V) {
        halves(load_factors(&self.eight[0]), load_factors(&self.eight[1]))
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn forward_tile<const LAZY: bool>(field: &Field, tile: &mut [Line; TILE], factors: Factors<'_>) {
    let mut x = [splat(0.0); TILE];
    for (x, line) in x.iter_mut().zip(&*tile) {
        *x = load(line);
    }
    if !LAZY {
        (x[0], x[1]) = (field.centred(x[0]), field.centred(x[1]));
    }
    forth(field, &mut x, &factors.down());
    let (first, second) = factors.by_two();
    let [a, b, c, d] = x;
    let (a, c) = halves(a, c);
    let (b, d) = halves(b, d);
    let (a, c) = field.forth(a, c, first);
    let (b, d) = field.forth(b, d, second);
    let (first, second) = factors.by_one();
    let (a, c) = even_and_odd(a, c);
    let (b, d) = even_and_odd(b, d);
    let (a, c) = field.forth(a, c, first);
    let (b, d) = field.forth(b, d, second);
    for (line, x) in tile.iter_mut().zip([a, b, c, d]) {
        field.write(line, field.centred(x));
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn inverse_tile<const LAZY: bool>(field: &Field, tile: &mut [Line; TILE], factors: Factors<'_>) {
    let [a, b, c, d] = &*tile;
    let (a, b, c, d) = (read(a), read(b), read(c), read(d));
    let (first, second) = factors.by_one();
    let (a, c) = field.back(a, c, first);
    let (b, d) = field.back(b, d, second);
    let (a, c) = even_and_odd(a, c);
    let (b, d) = even_and_odd(b, d);
    let (first, second) = factors.by_two();
    let (mut a, c) = field.back(a, c, first);
    let (mut b, d) = field.back(b, d, second);
    if !LAZY {
        (a, b) = (field.centred(a), field.centred(b));
    }
    let (a, c) = halves(a, c);
    let (b, d) = halves(b, d);
    let mut x = [a, b, c, d];
    back::<TILE, LAZY>(field, &mut x, &factors.down());
    x[0] = field.centred(x[0]);
    if !LAZY {
        x[1] = field.centred(x[1]);
    }
    for (line, x) in tile.iter_mut().zip(x) {
        store(line, x);
    }
}
