//! The three groups of BLS12-381, and the pairing: everything that is called in `blst`.
//!
//! ```text
//! e : G1 × G2 → GT        e(a·P, b·Q) = a·b · e(P, Q)        all of prime order r, 255 bits
//! ```
//!
//! All three are written additively, GT too, so that one law and one algorithm serves all. This file
//! and its `traces` are the only ones of the crate with `unsafe` code: `blst` is a C library, and its Rust
//! interface has little for GT. Each call gets pointers to initialised values of the sizes that the C functions
//! want; values are read and written whole. (`blst` reduces its numbers completely, so equal field
//! elements have equal limbs; its own comparison rests on that, and so does [`Trace::fingerprint`].)
//!
//! # Timing
//! [`Group::times`] takes a time that does not depend on the scalar, in all three groups. Additions
//! of points take a time that tells whether a point is the identity, nothing more.

#[cfg(test)]
mod tests;
mod traces;

use core::fmt::Debug;

use blst::{BLST_ERROR, blst_fp12, blst_fr, blst_p1, blst_p1_affine, blst_p2};
use blst::{blst_p2_affine, blst_scalar};
use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub(crate) use traces::{Trace, Traces};

/// A group of prime order r, written additively. Sealed: there are [`G1`], [`G2`] and [`Gt`].
pub trait Group: Copy + PartialEq + Debug + Send + Sync + private::Sealed + 'static {
    /// Bytes of an element.
    const LEN: usize;
    /// The neutral element.
    fn identity() -> Self;
    /// The element that everybody counts from; in GT it is e(g₁, g₂).
    fn generator() -> Self;
    /// self + other.
    fn plus(&self, other: &Self) -> Self;
    /// self + self.
    fn double(&self) -> Self;
    /// −self.
    fn minus(&self) -> Self;
    /// scalar · self, in constant time.
    fn times(&self, scalar: &Scalar) -> Self;
    /// Appends [`LEN`](Self::LEN) bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads exactly [`LEN`](Self::LEN) bytes; `None` unless they are the one encoding of an
    /// element of the group of order r.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// One of the two groups that are paired.
pub trait Source: Group {}

mod private {
    pub trait Sealed {}
}

/// A number modulo r, the order of the groups. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Scalar([u8; 32]);

impl Scalar {
    /// Uniform (to within 2^−256).
    pub(crate) fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut wide = Zeroizing::new([0u8; 64]);
        rng.fill_bytes(&mut *wide);
        let mut out = blst_scalar::default();
        // SAFETY: `wide` has the 64 bytes that are announced; the result is a reduced scalar.
        unsafe { blst::blst_scalar_from_be_bytes(&mut out, wide.as_ptr(), wide.len()) };
        Self(out.b)
    }

    /// `value` modulo r, in constant time.
    pub(crate) fn from_i128(value: i128) -> Self {
        let mut magnitude = Self([0; 32]);
        magnitude.0[..16].copy_from_slice(&value.unsigned_abs().to_le_bytes());
        magnitude.negated_if(value < 0)
    }

    /// Little-endian bytes of a number below r.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let scalar = blst_scalar { b: *bytes };
        // SAFETY: a pointer to a whole scalar.
        unsafe { blst::blst_scalar_fr_check(&scalar) }.then_some(Self(*bytes))
    }

    /// 32 bytes, little-endian.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.ct_eq(&[0; 32]).into()
    }

    pub(crate) fn negated(&self) -> Self {
        self.negated_if(true)
    }

    fn negated_if(&self, yes: bool) -> Self {
        self.map(|out, x| {
            // SAFETY: both point to whole residues.
            unsafe { blst::blst_fr_cneg(out, x, yes) }
        })
    }

    pub(crate) fn product(&self, other: &Self) -> Self {
        let mut other = other.residue();
        let product = self.map(|out, x| {
            // SAFETY: all three point to whole residues.
            unsafe { blst::blst_fr_mul(out, x, &other) }
        });
        other.l.zeroize();
        product
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut other = other.residue();
        let sum = self.map(|out, x| {
            // SAFETY: all three point to whole residues.
            unsafe { blst::blst_fr_add(out, x, &other) }
        });
        other.l.zeroize();
        sum
    }

    fn residue(&self) -> blst_fr {
        let mut residue = blst_fr::default();
        let scalar = blst_scalar { b: self.0 };
        // SAFETY: pointers to a whole residue and a whole scalar below r.
        unsafe { blst::blst_fr_from_scalar(&mut residue, &scalar) };
        residue
    }

    fn map(&self, f: impl FnOnce(&mut blst_fr, &blst_fr)) -> Self {
        let (mut x, mut y, mut out) = (self.residue(), blst_fr::default(), blst_scalar::default());
        f(&mut y, &x);
        // SAFETY: pointers to a whole scalar and a whole residue.
        unsafe { blst::blst_scalar_from_fr(&mut out, &y) };
        let scalar = Self(out.b);
        x.l.zeroize();
        y.l.zeroize();
        scalar
    }
}

impl Debug for Scalar {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Scalar(..)")
    }
}

/// A point of the first group, on the curve over 𝔽p: 48 bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct G1(blst_p1);

/// A point of the second group, on the twist over 𝔽p²: 96 bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct G2(blst_p2);

macro_rules! curve {
    ($group:ident, $point:ident, $affine:ident, $len:expr, $generator:ident, $add:ident,
     $double:ident, $negate:ident, $times:ident, $compress:ident, $uncompress:ident,
     $from_affine:ident, $in_group:ident, $to_affine:ident) => {
        impl private::Sealed for $group {}
        impl Source for $group {}

        impl Group for $group {
            const LEN: usize = $len;

            fn identity() -> Self {
                Self($point::default())
            }

            fn generator() -> Self {
                // SAFETY: points to a constant of the library.
                Self(unsafe { *blst::$generator() })
            }

            fn plus(&self, other: &Self) -> Self {
                let mut out = $point::default();
                // SAFETY: pointers to whole points.
                unsafe { blst::$add(&mut out, &self.0, &other.0) };
                Self(out)
            }

            fn double(&self) -> Self {
                let mut out = $point::default();
                // SAFETY: pointers to whole points.
                unsafe { blst::$double(&mut out, &self.0) };
                Self(out)
            }

            fn minus(&self) -> Self {
                let mut out = self.0;
                // SAFETY: a pointer to a whole point.
                unsafe { blst::$negate(&mut out, true) };
                Self(out)
            }

            fn times(&self, scalar: &Scalar) -> Self {
                let mut out = $point::default();
                // SAFETY: pointers to whole points, and to 32 bytes for 255 bits.
                unsafe { blst::$times(&mut out, &self.0, scalar.0.as_ptr(), SCALAR_BITS) };
                Self(out)
            }

            fn write(&self, out: &mut Vec<u8>) {
                let mut bytes = [0u8; $len];
                // SAFETY: `bytes` is as long as a compressed point.
                unsafe { blst::$compress(bytes.as_mut_ptr(), &self.0) };
                out.extend_from_slice(&bytes);
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                let bytes: &[u8; $len] = bytes.try_into().ok()?;
                let (mut affine, mut point) = ($affine::default(), $point::default());
                // SAFETY: `bytes` is as long as a compressed point, the others are whole points.
                let is_point = unsafe {
                    let error = blst::$uncompress(&mut affine, bytes.as_ptr());
                    error == BLST_ERROR::BLST_SUCCESS && blst::$in_group(&affine)
                };
                // SAFETY: pointers to whole points.
                unsafe { blst::$from_affine(&mut point, &affine) };
                is_point.then_some(Self(point))
            }
        }

        impl $group {
            fn to_affine(points: &[Self]) -> Vec<$affine> {
                let mut out = vec![$affine::default(); points.len()];
                if points.is_empty() {
                    return out;
                }
                let bare: Vec<$point> = points.iter().map(|point| point.0).collect();
                let start = [bare.as_ptr(), core::ptr::null()];
                // SAFETY: `bare` and `out` have the length that is announced; a list of pointers
                // that ends in null means points side by side.
                unsafe { blst::$to_affine(out.as_mut_ptr(), start.as_ptr(), points.len()) };
                out
            }
        }
    };
}

curve!(
    G1,
    blst_p1,
    blst_p1_affine,
    48,
    blst_p1_generator,
    blst_p1_add_or_double,
    blst_p1_double,
    blst_p1_cneg,
    blst_p1_mult,
    blst_p1_compress,
    blst_p1_uncompress,
    blst_p1_from_affine,
    blst_p1_affine_in_g1,
    blst_p1s_to_affine
);
curve!(
    G2,
    blst_p2,
    blst_p2_affine,
    96,
    blst_p2_generator,
    blst_p2_add_or_double,
    blst_p2_double,
    blst_p2_cneg,
    blst_p2_mult,
    blst_p2_compress,
    blst_p2_uncompress,
    blst_p2_from_affine,
    blst_p2_affine_in_g2,
    blst_p2s_to_affine
);

/// An element of the target group, in 𝔽p¹²: 576 bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gt(blst_fp12);

impl private::Sealed for Gt {}

impl Group for Gt {
    const LEN: usize = 576;

    fn identity() -> Self {
        Self(blst_fp12::default())
    }

    fn generator() -> Self {
        static GENERATOR: std::sync::OnceLock<Gt> = std::sync::OnceLock::new();
        *GENERATOR.get_or_init(|| pair(&[G1::generator()], &[G2::generator()]))
    }

    fn plus(&self, other: &Self) -> Self {
        Self(self.0 * other.0)
    }

    fn double(&self) -> Self {
        let mut out = blst_fp12::default();
        // SAFETY: pointers to whole elements, of the cyclotomic subgroup like all of GT.
        unsafe { blst::blst_fp12_cyclotomic_sqr(&mut out, &self.0) };
        Self(out)
    }

    /// The conjugate, which inverts in GT.
    fn minus(&self) -> Self {
        let mut out = self.0;
        // SAFETY: a pointer to a whole element.
        unsafe { blst::blst_fp12_conjugate(&mut out) };
        Self(out)
    }

    fn times(&self, scalar: &Scalar) -> Self {
        Self::linear(&[(self, scalar)])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_bendian());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        let mut element = blst_fp12::default();
        // In the order of `to_bendian`: 𝔽p² coefficients of 1, w, v, vw, v², v²w.
        for (i, chunk) in bytes.chunks_exact(48).enumerate() {
            let coefficient = &mut element.fp6[i / 2 % 2].fp2[i / 4].fp[i % 2];
            // SAFETY: `chunk` has the 48 bytes of a number, the other is a whole field element.
            unsafe { blst::blst_fp_from_bendian(coefficient, chunk.as_ptr()) };
        }
        // Numbers of p or more were reduced, and do not come out as they went in.
        (element.to_bendian() == *bytes && element.in_group()).then_some(Self(element))
    }
}

impl Gt {
    /// Σ scalar · element in constant time, with one chain of squarings: windows of 4 bits, and
    /// all 16 entries of a table read for each digit.
    pub(crate) fn linear(terms: &[(&Self, &Scalar)]) -> Self {
        let tables: Vec<Vec<Self>> = terms
            .iter()
            .map(|(base, _)| {
                let powers = core::iter::successors(Some(Self::identity()), |p| Some(p.plus(base)));
                powers.take(16).collect()
            })
            .collect();
        let mut sum = Self::identity();
        for window in (0..64).rev() {
            if window != 63 {
                sum = sum.double().double().double().double();
            }
            for ((_, scalar), table) in terms.iter().zip(&tables) {
                let digit = scalar.0[window / 2] >> (4 * (window % 2)) & 15;
                sum = sum.plus(&Self::lookup(table, digit));
            }
        }
        sum
    }

    fn lookup(table: &[Self], digit: u8) -> Self {
        let mut chosen = Self::identity();
        for (entry, i) in table.iter().zip(0u8..) {
            chosen.assign_if(entry, i.ct_eq(&digit));
        }
        chosen
    }

    fn assign_if(&mut self, other: &Self, choice: Choice) {
        let limbs = |element: &blst_fp12| element.fp6;
        for (mine, theirs) in self.0.fp6.iter_mut().zip(limbs(&other.0)) {
            for (mine, theirs) in mine.fp2.iter_mut().zip(theirs.fp2) {
                for (mine, theirs) in mine.fp.iter_mut().zip(theirs.fp) {
                    for (mine, theirs) in mine.l.iter_mut().zip(theirs.l) {
                        mine.conditional_assign(&theirs, choice);
                    }
                }
            }
        }
    }
}

/// Σ e(pᵢ, qᵢ): one Miller loop for each pair, their squarings shared, and one final
/// exponentiation for all.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn pair(p: &[G1], q: &[G2]) -> Gt {
    Pairs::new(p, q).sum(|i| i, |i| i, p.len())
}

/// Points made ready for pairing: affine, all with one inversion.
pub(crate) struct Pairs {
    p: Vec<blst_p1_affine>,
    q: Vec<blst_p2_affine>,
}

impl Pairs {
    pub(crate) fn new(p: &[G1], q: &[G2]) -> Self {
        Self { p: G1::to_affine(p), q: G2::to_affine(q) }
    }

    /// Σ e(p\[left(i)\], q\[right(i)\]) for i below `count`.
    pub(crate) fn sum(
        &self,
        left: impl Fn(usize) -> usize,
        right: impl Fn(usize) -> usize,
        count: usize,
    ) -> Gt {
        let (mut p, mut q) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for i in 0..count {
            let (a, b) = (&self.p[left(i)], &self.q[right(i)]);
            // SAFETY: pointers to whole points.
            let neutral =
                unsafe { blst::blst_p1_affine_is_inf(a) || blst::blst_p2_affine_is_inf(b) };
            // Pairs with the identity contribute nothing, and `blst` wants them left out.
            if !neutral {
                p.push(core::ptr::from_ref(a));
                q.push(core::ptr::from_ref(b));
            }
        }
        if p.is_empty() {
            return Gt::identity();
        }
        let mut product = blst_fp12::default();
        // SAFETY: both lists hold as many pointers as announced, to points that `self` owns; the
        // library reads as many and no more. (With n = 0 it would read one.)
        unsafe { blst::blst_miller_loop_n(&mut product, q.as_ptr(), p.as_ptr(), p.len()) };
        Gt(product.final_exp())
    }
}

/// Bits of r.
const SCALAR_BITS: usize = 255;
