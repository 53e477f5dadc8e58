//! x·y + m·n with Montgomery's quotient m, five limbs of y and m at a time (a *block*).
//!
//! # How the multipliers are kept busy
//! Two multiply-adds start every cycle and each takes four, so eight must always be under
//! way. A block sweeps over the limbs of x and n with five columns of the result in
//! registers, the low and the high halves apart: ten independent sums.
//!
//! ```text
//!   block k:   head          rest             chunk 1        chunk 2 …             flush
//!              columns 0..5  limbs 0..5 of x  limbs 5..10    limbs 10..15 …        columns L..L+5
//!              gives m       columns 5..10
//! ```
//!
//! The head is one long dependency chain: each limb of m needs the column that the limb before it
//! completes. Its columns are final as soon as chunk 1 of the block before is done, so it stands
//! there in the program, and the processor works it off while the chunks behind it run.
//!
//! The quotient digit is chosen such that column r becomes a multiple of 2^52 when the low half of
//! m_r·n₀ is added; that product is never computed: the carry is ⌈column / 2^52⌉.
//!
//! # Pitfalls
//! Loops that shift the window would keep it in memory, so the window rotates: column c is index
//! c mod 5, and macros spell the five rotations out.

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_srli_epi64,
};

use super::lanes::V;
use super::{BLOCK, RADIX};

/// Low half of the products added: `acc + (a·b mod 2^52)`.
macro_rules! lo {
    ($acc:expr, $a:expr, $b:expr) => {
        $acc = _mm512_madd52lo_epu64($acc, $a, $b)
    };
}

/// High half of the products added: `acc + ⌊a·b / 2^52⌋`.
macro_rules! hi {
    ($acc:expr, $a:expr, $b:expr) => {
        $acc = _mm512_madd52hi_epu64($acc, $a, $b)
    };
}

/// One limb x of the multiplicand times five limbs y: columns `$c0`, `$c1`, … of both windows.
macro_rules! sweep {
    ($lo:ident, $hi:ident, $x:expr, $y:expr, $c0:tt $c1:tt $c2:tt $c3:tt $c4:tt) => {{
        let (x, y): (V, &[V; BLOCK]) = ($x, $y);
        lo!($lo[$c0], x, y[0]);
        hi!($hi[$c1], x, y[0]);
        lo!($lo[$c1], x, y[1]);
        hi!($hi[$c2], x, y[1]);
        lo!($lo[$c2], x, y[2]);
        hi!($hi[$c3], x, y[2]);
        lo!($lo[$c3], x, y[3]);
        hi!($hi[$c4], x, y[3]);
        lo!($lo[$c4], x, y[4]);
        hi!($hi[$c0], x, y[4]);
    }};
}

/// The products of limbs 0..5 of x with five limbs y that fall on columns 0..5.
macro_rules! lower_triangle {
    ($c:ident, $d:ident, $x:expr, $y:expr) => {{
        let (x, y): (&[V; BLOCK], &[V; BLOCK]) = ($x, $y);
        lo!($c[0], x[0], y[0]);
        lo!($c[1], x[0], y[1]);
        lo!($c[2], x[0], y[2]);
        lo!($c[3], x[0], y[3]);
        lo!($c[4], x[0], y[4]);
        hi!($d[1], x[0], y[0]);
        hi!($d[2], x[0], y[1]);
        hi!($d[3], x[0], y[2]);
        hi!($d[4], x[0], y[3]);
        lo!($c[1], x[1], y[0]);
        lo!($c[2], x[1], y[1]);
        lo!($c[3], x[1], y[2]);
        lo!($c[4], x[1], y[3]);
        hi!($d[2], x[1], y[0]);
        hi!($d[3], x[1], y[1]);
        hi!($d[4], x[1], y[2]);
        lo!($c[2], x[2], y[0]);
        lo!($c[3], x[2], y[1]);
        lo!($c[4], x[2], y[2]);
        hi!($d[3], x[2], y[0]);
        hi!($d[4], x[2], y[1]);
        lo!($c[3], x[3], y[0]);
        lo!($c[4], x[3], y[1]);
        hi!($d[4], x[3], y[0]);
        lo!($c[4], x[4], y[0]);
    }};
}

/// The products of limbs 0..5 of x with five limbs y that fall on columns 5..10.
macro_rules! upper_triangle {
    ($lo:ident, $hi:ident, $x:expr, $y:expr) => {{
        let (x, y): (&[V; BLOCK], &[V; BLOCK]) = ($x, $y);
        hi!($hi[0], x[0], y[4]);
        hi!($hi[0], x[1], y[3]);
        hi!($hi[1], x[1], y[4]);
        lo!($lo[0], x[1], y[4]);
        hi!($hi[0], x[2], y[2]);
        hi!($hi[1], x[2], y[3]);
        hi!($hi[2], x[2], y[4]);
        lo!($lo[0], x[2], y[3]);
        lo!($lo[1], x[2], y[4]);
        hi!($hi[0], x[3], y[1]);
        hi!($hi[1], x[3], y[2]);
        hi!($hi[2], x[3], y[3]);
        hi!($hi[3], x[3], y[4]);
        lo!($lo[0], x[3], y[2]);
        lo!($lo[1], x[3], y[3]);
        lo!($lo[2], x[3], y[4]);
        hi!($hi[0], x[4], y[0]);
        hi!($hi[1], x[4], y[1]);
        hi!($hi[2], x[4], y[2]);
        hi!($hi[3], x[4], y[3]);
        hi!($hi[4], x[4], y[4]);
        lo!($lo[0], x[4], y[1]);
        lo!($lo[1], x[4], y[2]);
        lo!($lo[2], x[4], y[3]);
        lo!($lo[3], x[4], y[4]);
    }};
}

/// All limbs, as L is a multiple of the block's length.
fn blocks<const L: usize>(limbs: &[V; L]) -> &[[V; BLOCK]] {
    limbs.as_chunks().0
}

/// t ← (t + Σ_p x_p·y_p + m·n) / 2^(52·L), leaving carries in t; m goes to `quotient`, if there is
/// one.
///
/// The first P (1 or 2) pairs count. Limbs of x, y and n are below 2^52, those of t below 2^53.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn phase<const L: usize, const P: usize>(
    x: [&[V; L]; 2],
    y: [&[V; L]; 2],
    n: &[V; L],
    minus_inverse: V,
    t: &mut [V; L],
    mut quotient: Option<&mut [V; L]>,
) {
    let zero = _mm512_setzero_si512();
    let mask = _mm512_set1_epi64((1 << RADIX) - 1);
    let (xa, xb, ya, yb, n) = (blocks(x[0]), blocks(x[1]), blocks(y[0]), blocks(y[1]), blocks(n));

    // Five quotient limbs from columns 0..5, and the carry into column 5.
    macro_rules! head {
        ($k:expr) => {{
            let mut c: [V; BLOCK] = *t.first_chunk().expect("L >= BLOCK");
            let mut d = [zero; BLOCK];
            lower_triangle!(c, d, &xa[0], &ya[$k]);
            if P > 1 {
                lower_triangle!(c, d, &xb[0], &yb[$k]);
            }
            let n = &n[0];
            macro_rules! digit {
                ($r:tt) => {{
                    c[$r] = _mm512_add_epi64(c[$r], d[$r]);
                    _mm512_madd52lo_epu64(zero, c[$r], minus_inverse)
                }};
            }
            macro_rules! carry {
                ($r:tt) => {
                    _mm512_srli_epi64::<RADIX>(_mm512_add_epi64(c[$r], mask))
                };
            }
            let m0 = digit!(0);
            c[1] = _mm512_add_epi64(c[1], carry!(0));
            hi!(d[1], m0, n[0]);
            lo!(c[1], m0, n[1]);
            hi!(d[2], m0, n[1]);
            lo!(c[2], m0, n[2]);
            hi!(d[3], m0, n[2]);
            lo!(c[3], m0, n[3]);
            hi!(d[4], m0, n[3]);
            lo!(c[4], m0, n[4]);
            let m1 = digit!(1);
            c[2] = _mm512_add_epi64(c[2], carry!(1));
            hi!(d[2], m1, n[0]);
            lo!(c[2], m1, n[1]);
            hi!(d[3], m1, n[1]);
            lo!(c[3], m1, n[2]);
            hi!(d[4], m1, n[2]);
            lo!(c[4], m1, n[3]);
            let m2 = digit!(2);
            c[3] = _mm512_add_epi64(c[3], carry!(2));
            hi!(d[3], m2, n[0]);
            lo!(c[3], m2, n[1]);
            hi!(d[4], m2, n[1]);
            lo!(c[4], m2, n[2]);
            let m3 = digit!(3);
            c[4] = _mm512_add_epi64(c[4], carry!(3));
            hi!(d[4], m3, n[0]);
            lo!(c[4], m3, n[1]);
            let m4 = digit!(4);
            ([m0, m1, m2, m3, m4], carry!(4))
        }};
    }

    let (mut m, mut carry) = head!(0);
    for k in 0..L / BLOCK {
        if let Some(quotient) = &mut quotient {
            quotient[BLOCK * k..][..BLOCK].copy_from_slice(&m);
        }
        let (u, v, w) = (&ya[k], &yb[k], m);
        let mut lo: [V; BLOCK] = *t[BLOCK..].first_chunk().expect("L >= 2 * BLOCK");
        let mut hi = [zero; BLOCK];
        lo[0] = _mm512_add_epi64(lo[0], carry);
        upper_triangle!(lo, hi, &xa[0], u);
        if P > 1 {
            upper_triangle!(lo, hi, &xb[0], v);
        }
        upper_triangle!(lo, hi, &n[0], &w);

        // Limbs 5c + s of x and n: column 5c + s is then complete and leaves, column 5c + s + 5
        // enters.
        macro_rules! limb {
            ($c:expr, $next:expr, $s:tt, $i:tt $($rest:tt)*) => {{
                let complete = hi[$i];
                hi[$i] = zero;
                sweep!(lo, hi, xa[$c][$s], u, $i $($rest)*);
                if P > 1 {
                    sweep!(lo, hi, xb[$c][$s], v, $i $($rest)*);
                }
                sweep!(lo, hi, n[$c][$s], &w, $i $($rest)*);
                t[BLOCK * ($c - 1) + $s] = _mm512_add_epi64(lo[$i], complete);
                lo[$i] = $next[$s];
            }};
        }
        macro_rules! chunk {
            ($c:expr, $next:expr) => {{
                let next: [V; BLOCK] = $next;
                limb!($c, next, 0, 0 1 2 3 4);
                limb!($c, next, 1, 1 2 3 4 0);
                limb!($c, next, 2, 2 3 4 0 1);
                limb!($c, next, 3, 3 4 0 1 2);
                limb!($c, next, 4, 4 0 1 2 3);
            }};
        }
        let entering = |t: &[V; L], c: usize| -> [V; BLOCK] {
            t[BLOCK * (c + 1)..].first_chunk().copied().unwrap_or([zero; BLOCK])
        };
        let last = L / BLOCK - 1;
        if last == 1 {
            chunk!(1, [zero; BLOCK]);
        } else {
            chunk!(1, entering(t, 1));
        }
        if k < last {
            (m, carry) = head!(k + 1);
        }
        for c in 2..last {
            chunk!(c, entering(t, c));
        }
        if last > 1 {
            chunk!(last, [zero; BLOCK]);
        }
        for i in 0..BLOCK {
            t[L - BLOCK + i] = _mm512_add_epi64(lo[i], hi[i]);
        }
    }
}
