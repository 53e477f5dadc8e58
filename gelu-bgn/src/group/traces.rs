//! Traces of elements of GT: what the search for a plaintext steps through in their place, as they cost less.

use blst::blst_fp2;

use super::{Group, Gt};

impl Gt {
    /// A third of the element's trace over 𝔽p⁴.
    fn trace(&self) -> Trace {
        // In the basis 1, w, w² over 𝔽p⁴ = 𝔽p²[w³] the traces of w and w² are 0, that of 1 is 3.
        Trace([self.0.fp6[0].fp2[0], self.0.fp6[1].fp2[1]])
    }
}

/// An element of 𝔽p⁴ = 𝔽p²\[w³\]: a third of the trace of an element of GT, which it almost names.
/// (Its conjugates have the same trace; one more property has to tell them apart.)
#[derive(Clone, Copy)]
pub(crate) struct Trace([blst_fp2; 2]);

impl Trace {
    /// 64 bits, the same for the inverse in GT: it has the conjugate trace, whose first half is equal.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.0[0].fp[0].l[0]
    }
}

/// The traces of h, h + G, h + 2G, … (additively written) each with 4 products in 𝔽p² in place of 18.
///
/// G and its two conjugates over 𝔽p⁴ have the product 1, the sum A and, the sum of their pairwise
/// products, the conjugate Ā. (Lenstra and Verheul, *The XTR public key system*, CRYPTO 2000, over
/// 𝔽q² with q = p².) So traces, like all that is linear over 𝔽p⁴, follow
///
/// ```text
/// c₃ = A·c₂ − Ā·c₁ + c₀ = α·(c₂ − c₁) + β·w³·(c₂ + c₁) + c₀         A = α + β·w³
/// ```
pub(crate) struct Traces {
    alpha: blst_fp2,
    beta: blst_fp2,
    next: [Trace; 3],
}

impl Traces {
    pub(crate) fn new(h: &Gt, g: &Gt) -> Self {
        let second = h.plus(g);
        let next = [h.trace(), second.trace(), second.plus(g).trace()];
        let Trace([alpha, beta]) = g.trace();
        let thrice = |x: blst_fp2| add(&x, &add(&x, &x));
        Self { alpha: thrice(alpha), beta: thrice(beta), next }
    }
}

impl Iterator for Traces {
    type Item = Trace;

    fn next(&mut self) -> Option<Trace> {
        let [c0, c1, c2] = self.next;
        let part = |i: usize, other: &blst_fp2| {
            add(&c0.0[i], &add(&mul(&self.alpha, &sub(&c2.0[i], &c1.0[i])), other))
        };
        let [crossed0, crossed1] = [0, 1].map(|i| mul(&self.beta, &add(&c2.0[i], &c1.0[i])));
        // (w³)² = 1 + u.
        let c3 = Trace([part(0, &times_one_plus_u(&crossed1)), part(1, &crossed0)]);
        self.next = [c1, c2, c3];
        Some(c0)
    }
}

fn add(a: &blst_fp2, b: &blst_fp2) -> blst_fp2 {
    let mut out = blst_fp2::default();
    // SAFETY: pointers to whole field elements.
    unsafe { blst::blst_fp2_add(&mut out, a, b) };
    out
}

fn sub(a: &blst_fp2, b: &blst_fp2) -> blst_fp2 {
    let mut out = blst_fp2::default();
    // SAFETY: pointers to whole field elements.
    unsafe { blst::blst_fp2_sub(&mut out, a, b) };
    out
}

fn mul(a: &blst_fp2, b: &blst_fp2) -> blst_fp2 {
    let mut out = blst_fp2::default();
    // SAFETY: pointers to whole field elements.
    unsafe { blst::blst_fp2_mul(&mut out, a, b) };
    out
}

/// (1 + u)·a, where u² = −1.
fn times_one_plus_u(a: &blst_fp2) -> blst_fp2 {
    let mut out = blst_fp2::default();
    // SAFETY: pointers to whole field elements.
    unsafe {
        blst::blst_fp_sub(&mut out.fp[0], &a.fp[0], &a.fp[1]);
        blst::blst_fp_add(&mut out.fp[1], &a.fp[0], &a.fp[1]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Scalar;
    use rand::{SeedableRng, rngs::ChaCha20Rng};

    /// Against sums in GT, one by one; and a trace and that of the inverse look the same.
    #[test]
    fn traces_have_a_plain_twin() {
        let rng = &mut ChaCha20Rng::seed_from_u64(3);
        let g = Gt::generator();
        let (h, step) = (g.times(&Scalar::random(rng)), g.times(&Scalar::random(rng)));
        for (h, step) in [(h, step), (h, g.minus()), (Gt::identity(), g), (g, Gt::identity())] {
            let mut sum = h;
            for trace in Traces::new(&h, &step).take(40) {
                assert_eq!(trace.0, sum.trace().0);
                assert_eq!(trace.fingerprint(), sum.minus().trace().fingerprint());
                sum = sum.plus(&step);
            }
        }
        assert_ne!(h.trace().fingerprint(), step.trace().fingerprint());
    }
}
