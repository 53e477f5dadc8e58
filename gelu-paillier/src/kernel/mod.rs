//! Products modulo n², eight at a time, without ever multiplying modulo n².
//!
//! # Split pairs
//! A residue x modulo n² is held as two numbers of half the length,
//!
//! ```text
//! x = low − high·n   mod n²,
//! ```
//!
//! in Montgomery form for R = 2^(radix·limbs) > n. With m and m' the Montgomery quotients,
//!
//! ```text
//! low'  = (low_x·low_y + m·n) / R
//! high' = (low_x·high_y + high_x·low_y + m + m'·n) / R
//! ```
//!
//! is *exactly* the product divided by R modulo n²: from low_x·low_y = R·low' − m·n, the quotient
//! m itself is what the first division by R leaves behind in units of n. That costs 5·k² products
//! of limbs for k limbs of n, where multiplying modulo n² directly costs 8·k² (known; that the
//! quotient comes for free is what makes it simple). Keeping high *negated* makes every term
//! positive, so nothing is ever subtracted.
//!
//! # Bounds
//! R ≥ 2^8·n. If low_x, high_x < 8n + 8 and low_y, high_y < 2n + 2, then
//! low' ≤ (20·n² + R·n)/R + 1 < 2n and high' ≤ (40·n² + R + R·n)/R + 1 < 2n + 2: results can be
//! multiplied again, and sums of up to four of them once. Of x, any numbers below R will do: then
//! low' < 3n + 2 and high' < 5n + 5, which can be the x of another product.
//!
//! # Kernels
//! `ifma` does eight at a time with AVX-512 IFMA, where the processor has it; `avx2` four, with AVX2
//! and FMA; `portable` one at a time, everywhere. All compute the same residues (not the same
//! representatives: their R differ). The environment variable `GELU_FORCE_PORTABLE=1` forces the
//! portable one.
//!
//! All take the same time for all values.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions; the files say why each use is sound")]
mod avx2;
pub(crate) mod counting;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions; the files say why each use is sound")]
mod ifma;
mod portable;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a hint to the processor; the file says why it is sound")]
mod vectors;

use std::sync::OnceLock;

use zeroize::{Zeroize, Zeroizing};

/// Computations that a kernel does at the price of one, at most.
pub(crate) const LANES: usize = 8;

/// A cache line of limbs; an element is `2·⌈limbs / 8⌉` of them, first low, then high.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u64; LANES]);

impl Zeroize for Line {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// Products of split pairs: see the [module](self).
pub(crate) trait Kernel: Send + Sync {
    /// For people.
    fn name(&self) -> &'static str;

    /// Bits of a limb.
    fn radix(&self) -> u32;

    /// Limbs of half a pair.
    fn limbs(&self) -> usize;

    /// out\[i\] ← a\[i\]^(2^squarings) · b\[i\] for one to eight elements, number i modulo the
    /// kernel's modulus number i mod (number of moduli).
    ///
    /// # Panics
    /// When lengths differ.
    fn run(&self, a: &[&[Line]], squarings: usize, b: Option<&[&[Line]]>, out: &mut [Line]);

    /// out\[i\] ← factors\[i\]·factors\[i + lanes\]·factors\[i + 2·lanes\]·…: one to eight
    /// products of as many factors each, all lanes of the first factor first.
    ///
    /// The products stay in the kernel's own form from the first factor to the last.
    ///
    /// # Panics
    /// When `factors` is empty or not a multiple of `lanes`.
    fn product(&self, factors: &[&[Line]], lanes: usize, out: &mut [Line]) {
        assert!(!factors.is_empty() && factors.len().is_multiple_of(lanes));
        self.run(&factors[..lanes], 0, None, out);
        for factors in factors[lanes..].chunks_exact(lanes) {
            let acc = Zeroizing::new(out.to_vec());
            let stride = acc.len() / lanes;
            let acc: Vec<_> = acc.chunks_exact(stride).collect();
            self.run(&acc, 0, Some(factors), out);
        }
    }

    /// out ← `table[digit]`, having read all of the table.
    fn select(&self, table: &[&[Line]], digit: u8, out: &mut [Line]) {
        select(table, 0, digit, out);
    }

    /// The integers Π_i primes\[i\]^exponents\[i\]\[k\] for lanes k, as the low halves of elements
    /// whose high halves are 0, by the same operations for all exponents, which are below 4.
    ///
    /// Cubes of the primes are below 2^52, their product is below R.
    fn powers_of_primes(&self, primes: &[u32], exponents: &[[u8; LANES]], out: &mut [Line]) {
        let words = (self.radix() as usize * self.limbs()).div_ceil(64);
        let (mut product, mut bit) = (Zeroizing::new(vec![0; words]), [0, 0]);
        for (lane, out) in out.chunks_exact_mut(2 * self.limbs().div_ceil(LANES)).enumerate() {
            product.fill(0);
            product[0] = 1;
            for (&prime, exponents) in primes.iter().zip(exponents) {
                for (i, bit) in (0..).zip(&mut bit) {
                    // The compiler must not see that these are bits: it would branch.
                    *bit = core::hint::black_box(u64::from(exponents[lane] >> i & 1));
                }
                let prime = u64::from(prime);
                let power = (1 + (prime - 1) * bit[0]) * (1 + (prime * prime - 1) * bit[1]);
                let mut carry = 0;
                for word in product.iter_mut() {
                    let sum = u128::from(*word) * u128::from(power) + carry;
                    #[expect(clippy::cast_possible_truncation, reason = "the low word")]
                    let low = sum as u64;
                    (*word, carry) = (low, sum >> 64);
                }
            }
            out.fill(Line::default());
            to_limbs(&product, self.radix(), self.limbs(), out);
        }
    }

    /// The sums Σ_i terms\[k mod 2\]\[i\]·factors\[i\]\[k\] for lanes k, limb by limb and without
    /// carries, for products of a limb and a factor below 2^52 and sums below 2^64.
    fn combine(&self, terms: [&[Line]; 2], factors: &[[u8; LANES]]) -> [Line; LANES] {
        core::array::from_fn(|k| {
            let mut sum = Line::default();
            for (term, factors) in terms[k % 2].iter().zip(factors) {
                for (sum, limb) in sum.0.iter_mut().zip(term.0) {
                    *sum += limb * u64::from(factors[k]);
                }
            }
            sum
        })
    }

    /// Says that an element will soon be used.
    fn prefetch(&self, _element: &[Line]) {}

    /// How fast products could be, if the processor has instructions of which this kernel is made.
    fn issue(&self) -> Option<Issue> {
        None
    }
}

/// What a kernel's products take at least: the time of its multiplications when nothing stands in their way.
pub(crate) struct Issue {
    /// Runs so many rounds of them.
    pub(crate) run: fn(u32),
    /// Multiplications in a round.
    pub(crate) a_round: usize,
    /// Multiplications in products of eight elements.
    pub(crate) a_product: usize,
}

/// The same for all digits, on whatever vectors the caller was compiled for.
#[inline(always)]
fn select(table: &[&[Line]], start: u64, digit: u8, out: &mut [Line]) {
    out.fill(Line::default());
    for (i, entry) in (start..).zip(table) {
        let mask = mask(i, digit);
        for (out, line) in out.iter_mut().zip(*entry) {
            for (out, limb) in out.0.iter_mut().zip(line.0) {
                *out |= limb & mask;
            }
        }
    }
}

/// All ones if i is the digit, else 0.
///
/// The compiler must not see that it is all or nothing: it would branch on it (it did).
#[inline(always)]
fn mask(i: u64, digit: u8) -> u64 {
    // Only for 0 does the subtraction borrow.
    let different = i ^ u64::from(digit);
    core::hint::black_box(0u64.wrapping_sub(different.wrapping_sub(1) >> 63))
}

/// An odd modulus of a whole number of 64-bit words, the way kernels want it.
pub(crate) struct Modulus(Zeroizing<Vec<u64>>);

impl Modulus {
    /// From its words, least first; the last one has its top bit set.
    pub(crate) fn new(words: &[u64]) -> Self {
        debug_assert!(words[0] & 1 == 1 && words.last().is_some_and(|top| top >> 63 == 1));
        Self(Zeroizing::new(words.to_vec()))
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn bits(&self) -> u32 {
        u32::try_from(64 * self.0.len()).expect("a few thousand bits")
    }

    /// −n⁻¹ mod 2^64, by Newton's iteration: each step doubles the bits that are right.
    pub(crate) fn minus_inverse(&self) -> u64 {
        let n = self.0[0];
        let inverse = (0..5).fold(n, |x, _| x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x))));
        inverse.wrapping_neg()
    }

    /// The modulus as `count` limbs.
    fn limbs(&self, radix: u32, count: usize) -> Zeroizing<Vec<Line>> {
        let mut lines = Zeroizing::new(vec![Line::default(); count.div_ceil(LANES)]);
        to_limbs(&self.0, radix, count, &mut lines);
        lines
    }
}

/// Cuts 64-bit words into `count` limbs of `radix` bits.
pub(crate) fn to_limbs(words: &[u64], radix: u32, count: usize, lines: &mut [Line]) {
    let word = |i: usize| u128::from(words.get(i).copied().unwrap_or(0));
    let mask = u128::from(u64::MAX >> (u64::BITS - radix));
    for i in 0..count {
        let at = i * radix as usize;
        let wide = word(at / 64) | word(at / 64 + 1) << 64;
        #[expect(clippy::cast_possible_truncation, reason = "masked to a limb")]
        let limb = ((wide >> (at % 64)) & mask) as u64;
        lines[i / LANES].0[i % LANES] = limb;
    }
}

/// Joins `count` limbs of `radix` bits to 64-bit words; bits beyond `words` are dropped.
pub(crate) fn from_limbs(lines: &[Line], radix: u32, count: usize, words: &mut [u64]) {
    words.fill(0);
    for i in 0..count {
        let at = i * radix as usize;
        let wide = u128::from(lines[i / LANES].0[i % LANES]) << (at % 64);
        #[expect(clippy::cast_possible_truncation, reason = "cut into two words")]
        let parts = [wide as u64, (wide >> 64) as u64];
        for (word, part) in words.iter_mut().skip(at / 64).zip(parts) {
            *word |= part;
        }
    }
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
    /// One for each kernel that this machine has: all are twins.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Best, Self::Avx2, Self::Portable];
        let modulus = [Modulus::new(&[7, 0, 0, 1 << 63])];
        all.dedup_by_key(|choice| kernel(&modulus, *choice).expect("256 bits").name());
        all
    }
}

/// A kernel for one modulus, or for several of the same length.
///
/// `None` for lengths that this crate was not built for.
pub(crate) fn kernel(moduli: &[Modulus], choice: Choice) -> Option<Box<dyn Kernel>> {
    debug_assert!(moduli.iter().all(|n| n.bits() == moduli[0].bits()));
    #[cfg(target_arch = "x86_64")]
    if choice != Choice::Portable && !portable_is_forced() {
        if choice == Choice::Best
            && let Some(kernel) = ifma::kernel(moduli)
        {
            return Some(kernel);
        }
        if let Some(kernel) = avx2::kernel(moduli) {
            return Some(kernel);
        }
    }
    let _ = choice;
    portable::kernel(moduli)
}

/// Whether `GELU_FORCE_PORTABLE` is set to anything but 0.
fn portable_is_forced() -> bool {
    static FORCED: OnceLock<bool> = OnceLock::new();
    *FORCED.get_or_init(|| {
        std::env::var_os("GELU_FORCE_PORTABLE").is_some_and(|v| !v.is_empty() && v != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint_dig::BigUint;

    fn integer(lines: &[Line], radix: u32, count: usize) -> BigUint {
        let limb = |i: usize| BigUint::from(lines[i / LANES].0[i % LANES]) << (i * radix as usize);
        (0..count).map(limb).sum()
    }

    /// At all sizes, for as many primes as there is room, and for one.
    #[test]
    fn powers_of_primes_are_their_products() {
        let odd: Vec<u32> = (2..2000).filter(|&l| (2..l).all(|d| l % d > 0)).collect();
        for bits in [256usize, 512, 1024, 1536, 2048, 3072, 4096] {
            let mut words = vec![0; bits / 64];
            (words[0], words[bits / 64 - 1]) = (7, 1 << 63);
            for choice in Choice::all() {
                let kernel = kernel(&[Modulus::new(&words)], choice).unwrap();
                for start in [0, 60] {
                    let mut size = 1;
                    let fits = |l: &&u32| {
                        size += 64 - u64::from(**l).pow(3).leading_zeros() as usize;
                        size < bits
                    };
                    let primes: Vec<u32> = odd[start..].iter().take_while(fits).copied().collect();
                    let exponent = |s: usize, lane: usize| match lane {
                        0 => 0,
                        1 => 3,
                        _ => u8::try_from((s * (lane + 1) + s / 3) % 4).unwrap(),
                    };
                    let exponents: Vec<[u8; LANES]> = (0..primes.len())
                        .map(|s| core::array::from_fn(|lane| exponent(s, lane)))
                        .collect();
                    let half = kernel.limbs().div_ceil(LANES);
                    for lanes in [2, 5, 8] {
                        let mut out = vec![Line([u64::MAX; LANES]); lanes * 2 * half];
                        kernel.powers_of_primes(&primes, &exponents, &mut out);
                        for (lane, out) in out.chunks(2 * half).enumerate() {
                            let product = primes.iter().zip(&exponents).fold(
                                BigUint::from(1u8),
                                |product, (&l, e)| {
                                    product * BigUint::from(u64::from(l).pow(e[lane].into()))
                                },
                            );
                            let (low, high) = out.split_at(half);
                            let what = format!("{} {bits} {start} {lane}", kernel.name());
                            assert_eq!(
                                integer(low, kernel.radix(), kernel.limbs()),
                                product,
                                "{what}"
                            );
                            assert!(high.iter().all(|line| line.0 == [0; LANES]), "{what}");
                        }
                    }
                }
            }
        }
    }

    /// By the definition, with the largest limbs and factors that may be.
    #[test]
    fn sums_of_multiples() {
        let limb = |i: usize, j: usize| match i % 3 {
            0 => (1 << 50) - 1,
            _ => (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 + j as u64) >> 14,
        };
        let lines = |salt: usize| {
            (0..40usize).map(|i| Line(core::array::from_fn(|j| limb(i + salt, j)))).collect()
        };
        let terms: [Vec<Line>; 2] = [lines(0), lines(1)];
        let factors: Vec<[u8; LANES]> = (0..40)
            .map(|i| core::array::from_fn(|k| u8::try_from((i * k + k) % 4).unwrap()))
            .collect();
        for choice in Choice::all() {
            let kernel = kernel(&[Modulus::new(&[7, 0, 0, 1 << 63])], choice).unwrap();
            let sums = kernel.combine([&terms[0], &terms[1]], &factors);
            for (k, sum) in sums.iter().enumerate() {
                for j in 0..LANES {
                    let terms = terms[k % 2].iter().zip(&factors);
                    let expected: u64 = terms.map(|(line, f)| line.0[j] * u64::from(f[k])).sum();
                    assert_eq!(sum.0[j], expected, "{}", kernel.name());
                }
            }
        }
    }
}
