//! Four numbers in a register, and what is done to them modulo q.

use core::arch::x86_64::{
    __m256d, _mm256_add_epi64, _mm256_add_pd, _mm256_and_si256, _mm256_castpd_si256,
    _mm256_castsi256_pd, _mm256_cmpgt_epi64, _mm256_fmadd_pd, _mm256_fmsub_pd, _mm256_fnmadd_pd,
    _mm256_loadu_pd, _mm256_mul_pd, _mm256_or_pd, _mm256_permute2f128_pd, _mm256_set1_pd,
    _mm256_setzero_si256, _mm256_storeu_pd, _mm256_sub_epi64, _mm256_sub_pd, _mm256_unpackhi_pd,
    _mm256_unpacklo_pd,
};

use crate::modulus::Modulus;

/// Numbers of a vector.
pub(super) const LANES: usize = 4;

/// Four residues, or the bits of four doubles, in memory.
pub(super) type Line = [u64; LANES];

/// Four doubles in a register; all are integers.
pub(super) type V = __m256d;

/// 2^52: a double from here to 2^53 has the bits of this one and its low 52 bits as an integer.
pub(super) const WORD: f64 = (1u64 << 52) as f64;

/// 3·2^51: added to a double below 2^51 in absolute value, it leaves the nearest integer.
pub(super) const ROUND: f64 = 1.5 * WORD;

/// A number to multiply by, as its representative w below q/2 in absolute value; or four of them.
#[derive(Clone, Copy)]
pub(super) struct Factor<T> {
    pub(super) value: T,
    /// w/q, rounded.
    pub(super) quotient: T,
}

impl Factor<f64> {
    pub(super) fn new(q: Modulus, residue: u64) -> Self {
        // Below 2^49: a double has 53 bits.
        let value = q.centre(residue) as f64;
        Self { value, quotient: value / q.value() as f64 }
    }
}

impl Factor<V> {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn splat(factor: Factor<f64>) -> Self {
        Self { value: splat(factor.value), quotient: splat(factor.quotient) }
    }
}

/// q in registers, and what products need.
#[derive(Clone, Copy)]
pub(super) struct Field {
    q: V,
    /// 1/q, rounded.
    inverse: V,
    round: V,
}

impl Field {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn new(q: Modulus) -> Self {
        let q = q.value() as f64;
        Self { q: splat(q), inverse: splat(1.0 / q), round: splat(ROUND) }
    }

    /// y·w modulo q: see [`avx2`](super).
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn times(&self, y: V, w: Factor<V>) -> V {
        let high = _mm256_mul_pd(y, w.value);
        let low = _mm256_fmsub_pd(y, w.value, high);
        let quotient = _mm256_sub_pd(_mm256_fmadd_pd(y, w.quotient, self.round), self.round);
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.q, high), low)
    }

    /// x − c·q for the integer c next to x/q.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn centred(&self, x: V) -> V {
        let quotient = _mm256_sub_pd(_mm256_fmadd_pd(x, self.inverse, self.round), self.round);
        _mm256_fnmadd_pd(quotient, self.q, x)
    }

    /// Writes the residue of x for −q < x < q.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn write(&self, line: &mut Line, x: V) {
        let zero = _mm256_setzero_si256();
        let bits = _mm256_castpd_si256(_mm256_add_pd(x, self.round));
        let x = _mm256_sub_epi64(bits, _mm256_castpd_si256(self.round));
        let q = _mm256_sub_epi64(
            _mm256_castpd_si256(_mm256_add_pd(self.q, self.round)),
            _mm256_castpd_si256(self.round),
        );
        let raised = _mm256_and_si256(_mm256_cmpgt_epi64(zero, x), q);
        store(line, _mm256_castsi256_pd(_mm256_add_epi64(x, raised)));
    }
}

/// Words below 2^52 as doubles.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn read(line: &Line) -> V {
    let word = splat(WORD);
    _mm256_sub_pd(_mm256_or_pd(load(line), word), word)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn splat(x: f64) -> V {
    _mm256_set1_pd(x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn load(line: &Line) -> V {
    // SAFETY: a line has 32 bytes, no alignment is asked for, and all bits are doubles.
    unsafe { _mm256_loadu_pd(core::ptr::from_ref(line).cast()) }
}

/// Four in a row.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn load_factors(factors: &[f64], first: usize) -> V {
    let four: &[f64; LANES] = factors[first..].first_chunk().expect("four factors");
    // SAFETY: four doubles have 32 bytes, and no alignment is asked for.
    unsafe { _mm256_loadu_pd(four.as_ptr()) }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn store(line: &mut Line, v: V) {
    // SAFETY: a line has 32 bytes, no alignment is asked for, and all bits are words.
    unsafe { _mm256_storeu_pd(core::ptr::from_mut(line).cast(), v) }
}

/// a₀a₁b₀b₁ and a₂a₃b₂b₃; its own inverse.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn halves<const W: usize>(mut a: [V; W], mut b: [V; W]) -> ([V; W], [V; W]) {
    for (a, b) in a.iter_mut().zip(&mut b) {
        (*a, *b) = (_mm256_permute2f128_pd::<0x20>(*a, *b), _mm256_permute2f128_pd::<0x31>(*a, *b));
    }
    (a, b)
}

/// a₀b₀a₂b₂ and a₁b₁a₃b₃; its own inverse.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn even_and_odd<const W: usize>(mut a: [V; W], mut b: [V; W]) -> ([V; W], [V; W]) {
    for (a, b) in a.iter_mut().zip(&mut b) {
        (*a, *b) = (_mm256_unpacklo_pd(*a, *b), _mm256_unpackhi_pd(*a, *b));
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::avx2::Avx2;
    use crate::primes::descending;
    use crate::testing::residues;

    /// The residues that are written, and the numbers themselves, of a product and of what is centred.
    #[target_feature(enable = "avx2,fma")]
    fn results(q: Modulus, y: f64, w: u64) -> [(u64, f64); 2] {
        let field = Field::new(q);
        let product = field.times(splat(y), Factor::splat(Factor::new(q, w)));
        [product, field.centred(splat(y))].map(|x| {
            let (mut residue, mut bits) = ([0; LANES], [0; LANES]);
            field.write(&mut residue, x);
            store(&mut bits, x);
            assert!(residue == [residue[0]; LANES] && bits == [bits[0]; LANES]);
            (residue[0], f64::from_bits(bits[0]))
        })
    }

    #[test]
    fn products_at_the_edges_are_exact_and_as_small_as_it_says() {
        if Avx2::detect().is_none() {
            return;
        }
        for bits in [13, 36, 46, 47, 48, 50] {
            let modulus = descending(bits, 1).next().expect("a prime");
            let q = modulus.value().cast_signed();
            let most = (1 << 52) - 1;
            let edges = [0, 1, q / 2, q / 2 + 1, q - 1, q, q + 1, 2 * q, 4 * q - 1, most - 1, most];
            let some = residues(modulus, 40, 1).into_iter().map(u64::cast_signed);
            let factors = [0, 1, 2, q / 2 - 1, q / 2, q / 2 + 1, q - 2, q - 1];
            for y in edges.into_iter().chain(some).flat_map(|y| [y, -y, most - y, y - most]) {
                for w in factors.into_iter().chain([q / 3, q / 5]) {
                    // SAFETY: the instructions are available.
                    let [(product, number), (residue, centred)] =
                        unsafe { results(modulus, y as f64, w.cast_unsigned()) };
                    let exact = (i128::from(y) * i128::from(w)).rem_euclid(q.into());
                    assert_eq!(i128::from(product), exact, "{y}·{w} modulo {q}");
                    let bound = q as f64 * (0.5 + y.abs() as f64 / (1u64 << 54) as f64);
                    assert!(number.abs() <= bound + 1.0, "{y}·{w} modulo {q} is {number}");
                    assert!(2.0 * centred.abs() <= q as f64 + 4.0, "{y} modulo {q} is {centred}");
                    assert_eq!(residue.cast_signed(), y.rem_euclid(q), "{y} modulo {q}");
                }
            }
        }
    }
}
