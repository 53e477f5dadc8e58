//! x·y + m·n with Montgomery's quotient m, six limbs of y and m at a time (a *block*).
//!
//! ```text
//!   block k:   head                rest             chunk 1        chunk 2 …             flush
//!              columns 0..6        limbs 1..6 of x  limbs 6..12    limbs 12..18 …        columns C..C+6
//!              give m and a carry  columns 6..11
//! ```
//!
//! A block sweeps over the limbs of x and n with six columns of the result in registers, low and
//! high halves apart. A limb completes a column, which leaves, and lets one enter: the window
//! rotates, column c has index c mod 6. The [`head`] of the block after it is a chain of
//! dependencies; its columns are final after chunk 1, so it stands there, and the processor works
//! it off while later chunks run.
//!
//! # Why assembly
//! Twelve sums, two constants, a limb of x and one register for the product at hand are all sixteen
//! registers. Compilers regroup sums of integers, as they may, and then keep them in memory, which
//! made products one and a half times as slow.

use core::arch::asm;
use core::arch::x86_64::{_mm256_add_epi64, _mm256_setzero_si256};

use super::head::{Head, head};
use super::lanes::{D, I};
use super::product::{Constants, product_text};

/// Limbs of y and m that a block takes.
pub(super) const BLOCK: usize = 6;

/// Columns of a sum of products, with room above for those that come in. Each has the offsets of
/// the halves in it.
#[repr(C)]
pub(super) struct Columns<const L: usize> {
    pub(super) body: [I; L],
    /// Zero.
    above: [I; BLOCK],
}

impl<const L: usize> Columns<L> {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn zero() -> Self {
        let zero = _mm256_setzero_si256();
        Self { body: [zero; L], above: [zero; BLOCK] }
    }
}

/// The text of one product of limb `ymm12` and limb `$at` of `$y`, into the columns of `$low` and
/// `$high`.
macro_rules! product {
    ($y:literal $at:literal $low:literal $high:literal) => {
        product_text!(["[{" $y "} + 32 * " $at "]"] $low $high)
    };
}

/// The text of limb `$s` of `$x` times six limbs of `$y`.
macro_rules! sweep {
    ($x:literal $s:literal $y:literal ($l0:literal $h0:literal) ($l1:literal $h1:literal)
        ($l2:literal $h2:literal) ($l3:literal $h3:literal) ($l4:literal $h4:literal)
        ($l5:literal $h5:literal)) => {
        concat!(
            "vmovapd ymm12, [{", $x, "} + 32 * ", $s, "]\n",
            product!($y 0 $l0 $h0),
            product!($y 1 $l1 $h1),
            product!($y 2 $l2 $h2),
            product!($y 3 $l3 $h3),
            product!($y 4 $l4 $h4),
            product!($y 5 $l5 $h5),
        )
    };
}

/// The text of the products of limbs 1..6 of `$x` with limbs of `$y` that fall on columns 6..11.
macro_rules! upper_triangle {
    ($x:literal $y:literal) => {
        concat!(
            "vmovapd ymm12, [{", $x, "} + 32]\n",
            product!($y 5 0 6),
            "vmovapd ymm12, [{", $x, "} + 64]\n",
            product!($y 4 0 6),
            product!($y 5 1 7),
            "vmovapd ymm12, [{", $x, "} + 96]\n",
            product!($y 3 0 6),
            product!($y 4 1 7),
            product!($y 5 2 8),
            "vmovapd ymm12, [{", $x, "} + 128]\n",
            product!($y 2 0 6),
            product!($y 3 1 7),
            product!($y 4 2 8),
            product!($y 5 3 9),
            "vmovapd ymm12, [{", $x, "} + 160]\n",
            product!($y 1 0 6),
            product!($y 2 1 7),
            product!($y 3 2 8),
            product!($y 4 3 9),
            product!($y 5 4 10),
        )
    };
}

/// The text that lets the first column of the window leave, to six places below, and another one
/// enter.
macro_rules! shift {
    (($l0:literal $h0:literal) ($l1:literal $h1:literal) $($rest:tt)*) => {
        concat!(
            "vpaddq ymm",
            $l1,
            ", ymm",
            $l1,
            ", ymm",
            $h0,
            "\n",
            "vmovdqa [{t}], ymm",
            $l0,
            "\n",
            "vmovdqa ymm",
            $l0,
            ", [{t} + 32 * 12]\n",
            "vpxor ymm",
            $h0,
            ", ymm",
            $h0,
            ", ymm",
            $h0,
            "\n",
        )
    };
}

/// t ← (t + Σ_p x_p·y_p + m·n) / 2^(50·L), leaving carries in t; m goes to `quotient`, if there is
/// one.
///
/// The first P (1 or 2) pairs count. Of x and n the first C limbs count, and only these columns of
/// t are left. Limbs of y, n and t are below 2^50, those of x below 2^51.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn phase<const C: usize, const L: usize, const P: usize>(
    x: [&[D; L]; 2],
    y: [&[D; L]; 2],
    n: &[D; L],
    minus_inverse: &[D; BLOCK],
    t: &mut Columns<L>,
    mut quotient: Option<&mut [I; L]>,
) {
    const { assert!(C <= L && L < C + BLOCK && L.is_multiple_of(BLOCK) && C >= 2 * BLOCK) };
    let zero = _mm256_setzero_si256();
    let k = Constants::new();
    let [xa, xb, ya, yb, n] = [x[0], x[1], y[0], y[1], n].map(|limbs| limbs.as_chunks().0);
    // The last chunk of x and n all of whose limbs count.
    let last = C / BLOCK - 1;

    let next_head = |t: &Columns<L>, row: usize| {
        let (x, y) = ([&xa[0], &xb[0]], [&ya[row], &yb[row]]);
        head::<C, L, P>(t, row, x, y, &n[0], minus_inverse, k)
    };
    let mut next = next_head(t, 0);
    for row in 0..L / BLOCK {
        let Head { m, digits, carry } = next;
        if let Some(quotient) = &mut quotient {
            quotient[BLOCK * row..][..BLOCK].copy_from_slice(&digits);
        }
        let mut low: [I; BLOCK] = *t.body[BLOCK..].first_chunk().expect("L >= 2 * BLOCK");
        let mut high = [zero; BLOCK];
        low[0] = _mm256_add_epi64(low[0], carry);

        macro_rules! run {
            ($text:expr, $($operands:tt)*) => {
                // SAFETY: the instructions are there. Reads six limbs of y and m, and limbs of a chunk
                // of x and n: L are whole chunks. Column c is written to the place of c − 6, and
                // column c + 6 is read, for c from 6 to C − 1: `Columns` has L + 6 places.
                unsafe {
                    asm!(
                        $text,
                        $($operands)*
                        y = in(reg) ya[row].as_ptr(),
                        m = in(reg) m.as_ptr(),
                        inout("ymm0") low[0], inout("ymm1") low[1], inout("ymm2") low[2],
                        inout("ymm3") low[3], inout("ymm4") low[4], inout("ymm5") low[5],
                        inout("ymm6") high[0], inout("ymm7") high[1], inout("ymm8") high[2],
                        inout("ymm9") high[3], inout("ymm10") high[4], inout("ymm11") high[5],
                        in("ymm13") k.0, in("ymm14") k.1,
                        out("ymm12") _, out("ymm15") _,
                        options(nostack, preserves_flags),
                    );
                }
            };
        }
        if P == 1 {
            run!(concat!(upper_triangle!("x" "y"), upper_triangle!("n" "m")),
                x = in(reg) xa[0].as_ptr(), n = in(reg) n[0].as_ptr(),);
        } else {
            run!(concat!(upper_triangle!("x" "y"), upper_triangle!("u" "v"), upper_triangle!("n" "m")),
                x = in(reg) xa[0].as_ptr(), u = in(reg) xb[0].as_ptr(), n = in(reg) n[0].as_ptr(),
                v = in(reg) yb[row].as_ptr(),);
        }

        // Limb 6c + s of x and n: column 6c + s is then complete and leaves, column 6c + s + 6
        // enters.
        let columns = core::ptr::from_mut(t).cast::<I>();
        macro_rules! limb {
            ($c:expr, $s:literal $($window:tt)*) => {{
                let leaving = columns.wrapping_add(BLOCK * ($c - 1) + $s);
                if P == 1 {
                    run!(concat!(sweep!("x" $s "y" $($window)*), sweep!("n" $s "m" $($window)*),
                        shift!($($window)*)),
                        x = in(reg) xa[$c].as_ptr(), n = in(reg) n[$c].as_ptr(), t = in(reg) leaving,);
                } else {
                    run!(concat!(sweep!("x" $s "y" $($window)*), sweep!("u" $s "v" $($window)*),
                        sweep!("n" $s "m" $($window)*), shift!($($window)*)),
                        x = in(reg) xa[$c].as_ptr(), u = in(reg) xb[$c].as_ptr(),
                        n = in(reg) n[$c].as_ptr(), v = in(reg) yb[row].as_ptr(), t = in(reg) leaving,);
                }
            }};
        }
        macro_rules! chunk {
            ($c:expr, $limbs:expr) => {{
                limb!($c, 0 (0 6) (1 7) (2 8) (3 9) (4 10) (5 11));
                if $limbs > 1 { limb!($c, 1 (1 7) (2 8) (3 9) (4 10) (5 11) (0 6)); }
                if $limbs > 2 { limb!($c, 2 (2 8) (3 9) (4 10) (5 11) (0 6) (1 7)); }
                if $limbs > 3 { limb!($c, 3 (3 9) (4 10) (5 11) (0 6) (1 7) (2 8)); }
                if $limbs > 4 { limb!($c, 4 (4 10) (5 11) (0 6) (1 7) (2 8) (3 9)); }
                if $limbs > 5 { limb!($c, 5 (5 11) (0 6) (1 7) (2 8) (3 9) (4 10)); }
            }};
        }
        next = Head { m, digits, carry };
        for c in 1..=last {
            chunk!(c, BLOCK);
            if c == 1 && row + 1 < L / BLOCK {
                next = next_head(t, row + 1);
            }
        }
        if !C.is_multiple_of(BLOCK) {
            chunk!(last + 1, C % BLOCK);
        }
        let mut above = zero;
        for i in 0..BLOCK {
            t.body[C - BLOCK + i] = _mm256_add_epi64(low[(C + i) % BLOCK], above);
            above = high[(C + i) % BLOCK];
        }
        t.body[C..].fill(zero);
    }
}
