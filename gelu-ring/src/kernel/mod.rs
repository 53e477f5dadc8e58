//! Rows of residues modulo one prime: transforms, products, sums.
//!
//! Three kernels do the same. `portable` is the plain twin, in safe Rust; `ifma` takes eight residues at a time, where
//! the processor has AVX-512 IFMA; `avx2` takes four, where it has AVX2 and FMA and not that. Rows hold residues below q
//! before and after every call, so all kernels give the same words; what is below which multiple of q in between is
//! each one's own affair. The environment variable `GELU_FORCE_PORTABLE=1` forces the portable one.
//!
//! The time of all functions is independent of the residues.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions; the files say why each use is sound")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions; the files say why each use is sound")]
mod ifma;
mod portable;
pub(crate) mod stream;
pub(crate) mod weights;

use std::sync::OnceLock;

use crate::automorphism::Permutation;
use crate::modulus::{Modulus, below};
use crate::ntt::SPAN;
use stream::Stream;
use weights::{Shape, Weights};

/// At most this many products are added before a kernel reduces: sums of two words of 52 bits fit 64.
const MAX_TERMS: usize = 1 << 11;

/// Residues that sums of products come in.
pub(crate) const BLOCK: usize = 32;

/// A factor, and two that it is multiplied by.
pub(crate) type Pair<'a> = (&'a [u64], [&'a [u64]; 2]);

/// Panics unless all slices have one length, a multiple of [`BLOCK`].
fn check_pairs(outs: &[&mut [u64]; 2], terms: &[Pair<'_>]) {
    check_parts(outs, terms.iter().flat_map(|&(a, [b, c])| [a, b, c]));
}

fn check_parts<'a>(outs: &[&mut [u64]; 2], mut parts: impl Iterator<Item = &'a [u64]>) {
    let len = outs[0].len();
    let blocks = len.is_multiple_of(BLOCK) && outs[1].len() == len;
    assert!(blocks && parts.all(|part| part.len() == len), "lengths of parts of rows");
}

/// Arithmetic on rows of N residues modulo one q ≡ 1 mod 2N; see the [module](self).
///
/// Lengths are checked: all functions panic when a row has another than N.
pub(crate) trait Kernel: Send + Sync {
    /// For people.
    fn name(&self) -> &'static str;

    /// Coefficients to evaluations, in the order of [`ntt::exponent`](crate::ntt::exponent), of each row. Several at once take
    /// less time than one by one.
    fn forward(&self, rows: &mut [&mut [u64]]);

    /// Evaluations to coefficients, of each row.
    fn inverse(&self, rows: &mut [&mut [u64]]);

    /// out\[i\] ← out\[i\] + Σ a\[i\]·b\[i\] over all pairs (a, b) of `terms`.
    ///
    /// With n pairs that is one reduction, not n.
    fn multiply_accumulate(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]);

    /// outs\[k\]\[i\] ← Σ a\[i\]·b\[k\]\[i\] over all (a, b) of `terms`, for slices of equal length, a multiple of
    /// [`BLOCK`]: parts of rows. Each a is read once for both sums.
    fn sums_of_products(&self, outs: [&mut [u64]; 2], terms: &[Pair<'_>]);

    /// outs\[k\]\[i\] ← Σⱼ a\[j\]\[i\]·s\[2j + k\]\[i\] for the residues s of a stream: as
    /// [`sums_of_products`](Self::sums_of_products), where b is packed.
    fn sums_with_pairs(&self, outs: [&mut [u64]; 2], factors: &[&[u64]], pairs: Stream<'_>);

    /// outs\[k\]\[i\] ← Σⱼ s\[j\]\[i\]·b\[j\]\[k\]\[i\]: the same, where a is packed.
    fn sums_of_packed(&self, outs: [&mut [u64]; 2], stream: Stream<'_>, factors: &[[&[u64]; 2]]);

    /// row\[i\] ← row\[i\]·factor.
    fn scale(&self, row: &mut [u64], factor: u64);

    /// out\[i\] ← constant + Σ a\[i\]·factor over all pairs (a, factor) of `terms`, for residues
    /// `constant` and `factor`, and any words a\[i\] below 2^50: residues modulo other primes, too.
    fn combine(&self, out: &mut [u64], constant: u64, terms: &[(&[u64], u64)]);

    /// row\[i\] ← row\[i\]·factor + constant + Σ a\[i\]·w over all pairs (a, w) of `terms`: [`combine`](Self::combine) in place.
    fn update(&self, row: &mut [u64], factor: u64, constant: u64, terms: &[(&[u64], u64)]);

    /// The scalars of a matrix: the evaluations of polynomials in X^step, for step = N/`blocks` ≥ 16, by their
    /// [coefficients](Shape::coefficients).
    fn weights(&self, shape: Shape, coefficients: &[i64]) -> Weights;

    /// out\[o\]\[j\] ← Σ_i w\[o\]\[i\]·inputs\[i\]\[j\], where each block of N/`blocks` columns j has its own w.
    fn product(&self, outs: &mut [&mut [u64]], weights: &Weights, inputs: &[&[u64]]);

    /// Each span of `out` ← the one of `row` that the permutation says, in the order that it says.
    fn permute(&self, out: &mut [u64], row: &[u64], permutation: &Permutation);

    /// row\[i\] ← row\[i\] modulo q, for any words.
    fn reduce(&self, row: &mut [u64]);

    /// row\[i\] ← row\[i\] + constant.
    fn shift(&self, row: &mut [u64], constant: u64);

    /// out\[i\] ← row\[i\] − constant, where row\[i\] − constant is above −q and below q: a centred number
    /// modulo another prime, as a residue.
    fn lift(&self, out: &mut [u64], row: &[u64], constant: u64);

    /// out\[i\] ← out\[i\] + b\[i\].
    fn add(&self, out: &mut [u64], b: &[u64]);

    /// out\[i\] ← out\[i\] − b\[i\].
    fn sub(&self, out: &mut [u64], b: &[u64]);

    /// out\[i\] ← −out\[i\].
    fn neg(&self, out: &mut [u64]);
}

/// Which kernel to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The fastest that the processor offers, unless `GELU_FORCE_PORTABLE` is set.
    Best,
    /// The one for AVX2 where the processor has it, also beside a faster one.
    #[cfg(test)]
    Avx2,
    /// The portable one: for tests and comparisons.
    Portable,
}

#[cfg(test)]
impl Choice {
    /// Each is a twin of the others. Two may be the same.
    pub(crate) const ALL: [Self; 3] = [Self::Best, Self::Avx2, Self::Portable];

    pub(crate) fn any() -> impl proptest::strategy::Strategy<Value = Self> {
        proptest::sample::select(&Self::ALL[..])
    }
}

/// The kernel for rows of `degree` residues modulo q, for a power of two ≥ 64 with
/// q ≡ 1 mod 2·`degree`.
pub(crate) fn kernel(q: Modulus, degree: usize, choice: Choice) -> Box<dyn Kernel> {
    #[cfg(target_arch = "x86_64")]
    if choice != Choice::Portable && !portable_is_forced() {
        if choice == Choice::Best
            && let Some(token) = ifma::Ifma::detect()
        {
            return Box::new(ifma::Rows::new(token, q, degree));
        }
        if let Some(token) = avx2::Avx2::detect() {
            return Box::new(avx2::Rows::new(token, q, degree));
        }
    }
    let _ = choice;
    Box::new(portable::Rows::new(q, degree))
}

/// Whether `GELU_FORCE_PORTABLE` is set to anything but 0.
fn portable_is_forced() -> bool {
    static FORCED: OnceLock<bool> = OnceLock::new();
    *FORCED.get_or_init(|| {
        std::env::var_os("GELU_FORCE_PORTABLE").is_some_and(|v| !v.is_empty() && v != "0")
    })
}

/// [`Kernel::permute`], by whole spans.
fn permute(out: &mut [u64], row: &[u64], permutation: &Permutation) {
    let spans = row.as_chunks::<SPAN>().0;
    let outs = out.as_chunks_mut().0.iter_mut();
    let place = |place| usize::try_from(place).expect("a place of a span");
    for (out, &(source, order)) in outs.zip(&permutation.sources) {
        *out = permutation.orders[order].map(|taken| spans[source][place(taken)]);
    }
}

/// [`Kernel::add`], on whatever vectors the caller was compiled for; so are the others.
#[inline(always)]
fn add(q: u64, out: &mut [u64], b: &[u64]) {
    assert_eq!(out.len(), b.len());
    for (out, b) in out.iter_mut().zip(b) {
        *out = below(*out + b, q);
    }
}

#[inline(always)]
fn shift(q: u64, row: &mut [u64], constant: u64) {
    for x in row {
        *x = below(*x + constant, q);
    }
}

#[inline(always)]
fn lift(q: u64, out: &mut [u64], row: &[u64], constant: u64) {
    assert_eq!(out.len(), row.len());
    for (out, x) in out.iter_mut().zip(row) {
        let difference = x.wrapping_sub(constant);
        *out = difference.min(difference.wrapping_add(q));
    }
}

#[inline(always)]
fn sub(q: u64, out: &mut [u64], b: &[u64]) {
    assert_eq!(out.len(), b.len());
    for (out, b) in out.iter_mut().zip(b) {
        let difference = out.wrapping_sub(*b);
        *out = difference.min(difference.wrapping_add(q));
    }
}

#[inline(always)]
fn neg(q: u64, out: &mut [u64]) {
    for out in out {
        *out = (q - *out).min(0u64.wrapping_sub(*out));
    }
}
