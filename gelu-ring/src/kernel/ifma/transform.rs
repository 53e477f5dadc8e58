//! The transforms, three or two stages at a time.
//!
//! A block of 64·2^k residues is taken by columns, its eighths or quarters standing below each other: three or
//! two stages in registers, one load and store a residue. Then its parts follow, one after the other, so
//! that what fits the first cache stays there. A tile of 64 residues takes six stages: three down its eight
//! lines, and three within pairs of lines, which shuffles bring together:
//!
//! ```text
//! two lines            a₀ … a₇                   b₀ … b₇
//! partners 4 apart     a₀a₁a₂a₃b₀b₁b₂b₃          a₄a₅a₆a₇b₄b₅b₆b₇
//! partners 2 apart     a₀a₁b₀b₁a₄a₅b₄b₅          a₂a₃b₂b₃a₆a₇b₆b₇
//! partners 1 apart     a₀a₂b₀b₂a₄a₆b₄b₆          a₁a₃b₁b₃a₅a₇b₅b₇       stays like that
//! ```
//!
//! These shuffles are the cheap ones: others would put equal factors where a load can repeat them, and took 9 %
//! longer. So factors are held eight by eight, 3.5 words a residue in each direction.
//!
//! # Bounds
//! All numbers stay below 2^52, as multiplication demands.
//!
//! *Forward, lazily*, for (2·log₂ N + 1)·q < 2^52: a product is between −q and q, so three stages that begin
//! with x + 3q and y stay above 0, and each adds 2q to the bound of all. Nothing is reduced until
//! the end. *Forward, strictly*: x is brought below 2q in each stage, x + t and x + 2q − t for 0 < t < 2q are
//! below 4q.
//!
//! *Back*, values are below 2q between passes. *Lazily*, for 16q < 2^52: sums double their bounds in each of
//! three stages, and are brought below 2q behind the last. *Strictly*: each sum is.

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_permutex2var_epi64,
    _mm512_set_epi64, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_sub_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use super::{Factor, Factors, LANES, Line, RADIX, V, Vectors, below, load, splat, store};
use crate::modulus::Modulus;
use crate::ntt::roots;

/// Lines of a tile.
const TILE: usize = 8;

/// Columns that are worked on together, to hide the latency of products.
const COLUMNS: usize = 2;

/// The roots of unity for one q and N, and how lazy it lets us be.
pub(super) struct Transform {
    q: Modulus,
    lazy_forward: bool,
    lazy_inverse: bool,
    forward: Table,
    inverse: Table,
    /// 1/N.
    scale: Factor,
}

/// The factors of one direction.
struct Table {
    /// Number groups + i is for group i of the stage with that many groups.
    blocks: Vec<Factor>,
    tiles: Vec<Tile>,
}

/// The factors of a tile.
#[repr(C, align(64))]
struct Tile {
    /// For each pair of lines, of the stage with partners 4 apart.
    by_four: [Lines; 4],
    /// The same for partners 2 apart.
    by_two: [Lines; 4],
    /// The same for partners 1 apart.
    by_one: [Lines; 4],
    /// Of the three stages down the lines: one, two, four.
    down: [Factor; 7],
}

/// Eight factors.
#[repr(C)]
struct Lines {
    value: Line,
    quotient: Line,
}

impl Lines {
    /// Of pair `pair` of all pairs of lines, for the stage with `count` groups in each: lane i belongs to group
    /// `groups[i]`.
    fn new(factors: &[Factor], pair: usize, count: usize, groups: [usize; LANES]) -> Self {
        let pairs = factors.len() / (2 * LANES);
        let lanes = groups.map(|group| factors[count * (pairs + pair) + group]);
        Self { value: lanes.map(|f| f.value), quotient: lanes.map(|f| f.quotient) }
    }
}

impl Table {
    fn new(q: Modulus, roots: &[u64]) -> Self {
        let factors: Vec<_> = roots.iter().map(|&root| Factor::new(root, q)).collect();
        let tiles = roots.len() / (TILE * LANES);
        let pairs = |i: usize, count, groups| {
            core::array::from_fn(|pair| Lines::new(&factors, 4 * i + pair, count, groups))
        };
        let tile = |i: usize| Tile {
            by_four: pairs(i, 2, [0, 0, 0, 0, 1, 1, 1, 1]),
            by_two: pairs(i, 4, [0, 0, 2, 2, 1, 1, 3, 3]),
            by_one: pairs(i, 8, [0, 1, 4, 5, 2, 3, 6, 7]),
            down: down(&factors, tiles, i),
        };
        Self { blocks: factors[..tiles].to_vec(), tiles: (0..tiles).map(tile).collect() }
    }
}

/// The factors of three stages that begin with block `i` of `blocks`: one, two, four.
fn down(factors: &[Factor], blocks: usize, i: usize) -> [Factor; 7] {
    let mut down = [Factor::default(); 7];
    down[0] = factors[blocks + i];
    down[1..3].copy_from_slice(&factors[2 * (blocks + i)..][..2]);
    down[3..].copy_from_slice(&factors[4 * (blocks + i)..][..4]);
    down
}

impl Transform {
    /// For rows of `degree` ≥ 2^11 residues.
    pub(super) fn new(q: Modulus, degree: usize) -> Self {
        let (forward, mut inverse) = roots(q, degree);
        let scale = q.inverse(degree as u64);
        // The last stage back scales its products.
        inverse[1] = q.mul(inverse[1], scale);
        let largest = (1 << RADIX) / q.value();
        Self {
            q,
            lazy_forward: u64::from(2 * degree.ilog2() + 1) <= largest,
            lazy_inverse: 16 <= largest,
            forward: Table::new(q, &forward),
            inverse: Table::new(q, &inverse),
            scale: Factor::new(scale, q),
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn forward(&self, row: &mut [Line]) {
        let c = Constants::new(self.q);
        match self.lazy_forward {
            true => self.forward_block::<true>(&c, row, 1, 0),
            false => self.forward_block::<false>(&c, row, 1, 0),
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse(&self, row: &mut [Line]) {
        let c = Constants::new(self.q);
        match self.lazy_inverse {
            true => self.inverse_block::<true>(&c, row, 1, 0),
            false => self.inverse_block::<false>(&c, row, 1, 0),
        }
    }

    /// All stages of block `i` of `blocks`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_block<const LAZY: bool>(
        &self,
        c: &Constants,
        block: &mut [Line],
        blocks: usize,
        i: usize,
    ) {
        let parts = parts(block.len());
        if parts == 8 {
            forward_by_eight::<LAZY>(c, block, &down(&self.forward.blocks, blocks, i));
        } else {
            let factors = &self.forward.blocks;
            let (one, two) = (blocks + i, 2 * (blocks + i));
            let down = [factors[one], factors[two], factors[two + 1]];
            forward_by_four::<LAZY>(c, block, down);
        }
        let size = block.len() / parts;
        if size == TILE {
            let tiles = block.as_chunks_mut().0.as_chunks_mut().0;
            let tables = self.forward.tiles[parts * i..].as_chunks().0;
            for (tiles, tables) in tiles.iter_mut().zip(tables) {
                forward_tiles::<LAZY>(c, tiles, tables);
            }
        } else {
            for (k, part) in block.chunks_exact_mut(size).enumerate() {
                self.forward_block::<LAZY>(c, part, parts * blocks, parts * i + k);
            }
        }
    }

    /// All stages of block `i` of `blocks`; the block that is all there is scaled by 1/N.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_block<const LAZY: bool>(
        &self,
        c: &Constants,
        block: &mut [Line],
        blocks: usize,
        i: usize,
    ) {
        let parts = parts(block.len());
        let size = block.len() / parts;
        if size == TILE {
            let tiles = block.as_chunks_mut().0.as_chunks_mut().0;
            let tables = self.inverse.tiles[parts * i..].as_chunks().0;
            for (tiles, tables) in tiles.iter_mut().zip(tables) {
                inverse_tiles::<LAZY>(c, tiles, tables);
            }
        } else {
            for (k, part) in block.chunks_exact_mut(size).enumerate() {
                self.inverse_block::<LAZY>(c, part, parts * blocks, parts * i + k);
            }
        }
        let factors = &self.inverse.blocks;
        if parts == 8 {
            let down = down(factors, blocks, i);
            match blocks == 1 {
                true => inverse_by_eight::<LAZY, true>(c, block, &down, self.scale),
                false => inverse_by_eight::<LAZY, false>(c, block, &down, self.scale),
            }
        } else {
            let (one, two) = (blocks + i, 2 * (blocks + i));
            let down = [factors[one], factors[two], factors[two + 1]];
            match blocks == 1 {
                true => inverse_by_four::<LAZY, true>(c, block, down, self.scale),
                false => inverse_by_four::<LAZY, false>(c, block, down, self.scale),
            }
        }
    }
}

/// In how many parts a pass takes a block of so many lines: four until the stages that are left above the
/// tiles are a multiple of three.
fn parts(lines: usize) -> usize {
    if (lines / TILE).ilog2().is_multiple_of(3) { 8 } else { 4 }
}

/// Multiples of q in registers.
struct Constants {
    modulus: Vectors,
    three_q: V,
    four_q: V,
    eight_q: V,
    /// ⌊2^52 / q⌋.
    ratio: V,
}

impl Constants {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(q: Modulus) -> Self {
        let modulus = Vectors::new(q);
        let [three_q, four_q, eight_q] = [3, 4, 8].map(|k| k * q.value());
        let ratio = splat((1 << RADIX) / q.value());
        Self {
            modulus,
            three_q: splat(three_q),
            four_q: splat(four_q),
            eight_q: splat(eight_q),
            ratio,
        }
    }

    /// x + w·y and x − w·y.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn forward<const LAZY: bool>(&self, x: V, y: V, w: Factors) -> (V, V) {
        if LAZY {
            let t = self.modulus.times_signed(y, w);
            (_mm512_add_epi64(x, t), _mm512_sub_epi64(x, t))
        } else {
            let (x, t) = (below(x, self.modulus.two_q), self.modulus.times(y, w));
            let raised = _mm512_add_epi64(x, self.modulus.two_q);
            (_mm512_add_epi64(x, t), _mm512_sub_epi64(raised, t))
        }
    }

    /// x + y and (x − y)·w, the latter below 2q, for y below `bound`, a multiple of q.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn inverse(&self, x: V, y: V, w: Factors, bound: V) -> (V, V) {
        let difference = _mm512_sub_epi64(_mm512_add_epi64(x, bound), y);
        (_mm512_add_epi64(x, y), self.modulus.times(difference, w))
    }

    /// x modulo q for x < 2^52: the quotient is estimated to less than 2 below.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn reduce(&self, x: V) -> V {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, x, self.ratio);
        let rest = _mm512_sub_epi64(x, _mm512_madd52lo_epu64(zero, quotient, self.modulus.q));
        self.modulus.canonical(rest)
    }
}

/// One butterfly in each of several columns.
macro_rules! forward {
    ($c:ident, $x:ident, $a:literal, $b:literal, $w:expr) => {{
        let w = $w;
        for k in 0..COLUMNS {
            ($x[$a][k], $x[$b][k]) = $c.forward::<LAZY>($x[$a][k], $x[$b][k], w);
        }
    }};
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_by_eight<const LAZY: bool>(c: &Constants, block: &mut [Line], down: &[Factor; 7]) {
    let w: [Factors; 7] = splat_all(down);
    let size = block.len() / 8;
    let mut rows = rows::<8>(block);
    for at in 0..size / COLUMNS {
        let mut x = read(&rows, at);
        if LAZY {
            for x in x[..4].as_flattened_mut() {
                *x = _mm512_add_epi64(*x, c.three_q);
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
        write(&mut rows, at, &x);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_by_four<const LAZY: bool>(c: &Constants, block: &mut [Line], down: [Factor; 3]) {
    let w: [Factors; 3] = splat_all(&down);
    let size = block.len() / 4;
    let mut rows = rows::<4>(block);
    for at in 0..size / COLUMNS {
        let mut x = read(&rows, at);
        if LAZY {
            for x in x[..2].as_flattened_mut() {
                *x = _mm512_add_epi64(*x, c.modulus.two_q);
            }
        }
        forward!(c, x, 0, 2, w[0]);
        forward!(c, x, 1, 3, w[0]);
        forward!(c, x, 0, 1, w[1]);
        forward!(c, x, 2, 3, w[2]);
        write(&mut rows, at, &x);
    }
}

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
fn inverse_by_eight<const LAZY: bool, const LAST: bool>(
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
fn inverse_by_four<const LAZY: bool, const LAST: bool>(
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

/// Tiles that are worked on together, to hide the latency of products.
const TILES: usize = 2;

/// Six stages of 64 residues, and the end of the reduction.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn forward_tiles<const LAZY: bool>(
    c: &Constants,
    tiles: &mut [[Line; TILE]; TILES],
    tables: &[Tile; TILES],
) {
    let mut x = read_tiles(tiles);
    macro_rules! down {
        ($a:literal, $b:literal, $w:literal) => {
            for (x, table) in x.iter_mut().zip(tables) {
                let w = Factors::splat(table.down[$w]);
                (x[$a], x[$b]) = c.forward::<LAZY>(x[$a], x[$b], w);
            }
        };
    }
    macro_rules! within {
        ($table:ident, $together:ident, $raised:literal) => {
            for (x, table) in x.iter_mut().zip(tables) {
                for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&table.$table) {
                    let (a, b) = $together(x[0], x[1]);
                    let a = if LAZY && $raised { _mm512_add_epi64(a, c.three_q) } else { a };
                    (x[0], x[1]) = c.forward::<LAZY>(a, b, w.load());
                }
            }
        };
    }
    if LAZY {
        for x in &mut x {
            for x in &mut x[..4] {
                *x = _mm512_add_epi64(*x, c.three_q);
            }
        }
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
    within!(by_four, halves, true);
    within!(by_two, even_and_odd_pairs, false);
    within!(by_one, even_and_odd, false);
    for (line, x) in tiles.as_flattened_mut().iter_mut().zip(x.as_flattened()) {
        let reduced =
            if LAZY { c.reduce(*x) } else { c.modulus.canonical(below(*x, c.modulus.two_q)) };
        store(line, reduced);
    }
}

/// Six stages of 64 residues.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn inverse_tiles<const LAZY: bool>(
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

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn read_tiles(tiles: &[[Line; TILE]; TILES]) -> [[V; TILE]; TILES] {
    let mut x = [[_mm512_setzero_si512(); TILE]; TILES];
    for (x, line) in x.as_flattened_mut().iter_mut().zip(tiles.as_flattened()) {
        *x = load(line);
    }
    x
}

/// a₀a₁a₂a₃b₀b₁b₂b₃ and a₄a₅a₆a₇b₄b₅b₆b₇; its own inverse.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn halves(a: V, b: V) -> (V, V) {
    (_mm512_shuffle_i64x2::<0b01_00_01_00>(a, b), _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b))
}

/// a₀a₁a₄a₅b₀b₁b₄b₅ and a₂a₃a₆a₇b₂b₃b₆b₇.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn even_and_odd_pairs(a: V, b: V) -> (V, V) {
    (_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
}

/// The inverse of [`even_and_odd_pairs`].
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn interleaved_pairs(a: V, b: V) -> (V, V) {
    let low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    let high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    (_mm512_permutex2var_epi64(a, low, b), _mm512_permutex2var_epi64(a, high, b))
}

/// a₀b₀a₂b₂a₄b₄a₆b₆ and a₁b₁a₃b₃a₅b₅a₇b₇; its own inverse.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn even_and_odd(a: V, b: V) -> (V, V) {
    (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}

impl Lines {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn load(&self) -> Factors {
        Factors { value: load(&self.value), quotient: load(&self.quotient) }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn splat_all<const M: usize>(factors: &[Factor; M]) -> [Factors; M] {
    let zero = _mm512_setzero_si512();
    let mut all = [Factors { value: zero, quotient: zero }; M];
    for (vector, &factor) in all.iter_mut().zip(factors) {
        *vector = Factors::splat(factor);
    }
    all
}

/// Neighbouring lines of a row.
type Neighbours = [Line; COLUMNS];

/// A block's parts, which stand below each other.
#[inline(always)]
fn rows<const M: usize>(block: &mut [Line]) -> [&mut [Neighbours]; M] {
    let size = block.len() / M / COLUMNS;
    let mut rest = block.as_chunks_mut().0;
    core::array::from_fn(|_| {
        let (row, after) = core::mem::take(&mut rest).split_at_mut(size);
        rest = after;
        row
    })
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn read<const M: usize>(rows: &[&mut [Neighbours]; M], at: usize) -> [[V; COLUMNS]; M] {
    let mut x = [[_mm512_setzero_si512(); COLUMNS]; M];
    for (x, row) in x.iter_mut().zip(rows) {
        for (x, line) in x.iter_mut().zip(&row[at]) {
            *x = load(line);
        }
    }
    x
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn write<const M: usize>(rows: &mut [&mut [Neighbours]; M], at: usize, x: &[[V; COLUMNS]; M]) {
    for (x, row) in x.iter().zip(rows) {
        for (x, line) in x.iter().zip(&mut row[at]) {
            store(line, *x);
        }
    }
}
