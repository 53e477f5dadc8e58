//! Random polynomials: uniform ones from a seed, and small secret ones.
//!
//! # The generator of uniform polynomials
//! What a seed stands for is public: its polynomials need to look random, and nothing more. So they
//! are the output of ChaCha8, the fastest generator in the tree: expanding is half of the price of an encryption,
//! and no attack on more than seven rounds is known (Aumasson, *Too much crypto*, 2019). Its key is
//!
//! ```text
//! SHA-256("gelu-ring v1 uniform" ‖ seed ‖ index ‖ q)     numbers as 8 bytes, little-endian
//! ```
//!
//! so other uses of a seed share nothing with it, and the row of a prime does not depend on the other
//! primes: over fewer of them, a seed gives the same polynomial. Residues are little-endian
//! numbers of ⌈b/8⌉ bytes, cut to the b bits of q, those not below q passed over.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_core::{CryptoRng, Rng};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::basis::Basis;
use crate::modulus::Modulus;
use crate::poly::{Coefficients, Evaluations, Poly};

/// What uniform polynomials follow from.
pub type Seed = [u8; 32];

/// Polynomial number `index` of a seed, uniform modulo each prime: see the [module](self).
#[must_use]
pub fn uniform(basis: &Basis, seed: &Seed, index: u64) -> Poly<Evaluations> {
    let rows = basis.moduli().map(|q| {
        let mut row = basis.pool().row();
        uniform_row(q, seed, index, &mut row);
        row
    });
    Poly::of(basis, rows.collect())
}

fn uniform_row(q: Modulus, seed: &Seed, index: u64, row: &mut [u64]) {
    let key = Sha256::new()
        .chain_update(b"gelu-ring v1 uniform")
        .chain_update(seed)
        .chain_update(index.to_le_bytes())
        .chain_update(q.value().to_le_bytes())
        .finalize();
    let mut rng = ChaCha8Rng::from_seed(key.into());
    let width = q.bits().div_ceil(8) as usize;
    let mask = (1 << q.bits()) - 1;
    let mut block = [0; BLOCK + 32];
    let mut done = 0;
    while done < row.len() {
        // A multiple of four: the generator makes words of four bytes, and drops what is left of one.
        let count = (row.len() - done).min(BLOCK / width).next_multiple_of(4);
        rng.fill_bytes(&mut block[..count * width]);
        for at in (0..count * width).step_by(width) {
            // Eight bytes, of which the mask keeps those of this number: copying fewer takes ten times as long.
            let word = block[at..].first_chunk().expect("eight bytes more than are used");
            let number = u64::from_le_bytes(*word) & mask;
            // Kept unless the next one takes its place. Which are kept is public.
            if let Some(place) = row.get_mut(done) {
                *place = number;
                done += usize::from(number < q.value());
            }
        }
    }
}

/// Bytes that a generator makes at once, without room for three more numbers and a word.
const BLOCK: usize = 4096;

/// A polynomial with small secret coefficients: a secret key, or an error. Wiped on drop, never printed.
///
/// # Security
/// Coefficients are drawn and lifted by the same steps for all values. Buffers on the way are wiped; the
/// generator is the caller's.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Small(Vec<i8>);

/// Bits of each of the two sums of [`Small::error`], and so the largest error.
pub const ERROR_BOUND: u32 = 21;

impl Small {
    /// `degree` coefficients −1, 0 and 1, uniform and independent.
    ///
    /// Two random bits each, 3 drawn again. That happens independently of what is kept, so the time tells
    /// nothing about it.
    #[must_use]
    pub fn ternary(degree: usize, rng: &mut dyn CryptoRng) -> Self {
        let mut coefficients = Zeroizing::new(vec![0; degree + 1]);
        let mut bytes = Zeroizing::new([0; 64]);
        let mut done = 0;
        while done < degree {
            rng.fill_bytes(&mut *bytes);
            for pair in bytes.iter().flat_map(|byte| [0, 2, 4, 6].map(|shift| byte >> shift & 3)) {
                // Stored before it is judged, at a place that counts the judgements alone.
                coefficients[done.min(degree)] = pair.cast_signed() - 1;
                done += usize::from(pair != 3);
            }
        }
        Self(coefficients[..degree].to_vec())
    }

    /// `degree` errors: each the difference of two sums of [`ERROR_BOUND`] random bits (a centred binomial),
    /// of standard deviation √10.5 ≈ 3.24 and never above 21 in size.
    ///
    /// The estimates of the homomorphic encryption standard are for 3.19.
    #[must_use]
    pub fn error(degree: usize, rng: &mut dyn CryptoRng) -> Self {
        const MASK: u64 = (1 << ERROR_BOUND) - 1;
        let mut coefficients = Vec::with_capacity(degree);
        let mut bytes = Zeroizing::new([0; 512]);
        while coefficients.len() < degree {
            let count = (degree - coefficients.len()).min(bytes.len() / 8);
            rng.fill_bytes(&mut bytes[..8 * count]);
            coefficients.extend(bytes[..8 * count].as_chunks().0.iter().map(|word| {
                let bits = u64::from_le_bytes(*word);
                ones(bits & MASK) - ones(bits >> ERROR_BOUND & MASK)
            }));
        }
        Self(coefficients)
    }

    /// The number of coefficients.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.0.len()
    }

    /// The coefficients themselves.
    #[must_use]
    pub fn values(&self) -> &[i8] {
        &self.0
    }

    /// The same polynomial modulo each prime of a basis.
    ///
    /// # Panics
    /// When the degrees differ.
    #[must_use]
    pub fn coefficients(&self, basis: &Basis) -> Zeroizing<Poly<Coefficients>> {
        Zeroizing::new(self.over(basis))
    }

    /// The same polynomial modulo each prime, by its evaluations.
    ///
    /// # Panics
    /// When the degrees differ.
    #[must_use]
    pub fn evaluations(&self, basis: &Basis) -> Zeroizing<Poly<Evaluations>> {
        Zeroizing::new(self.over(basis).into_evaluations())
    }

    fn over(&self, basis: &Basis) -> Poly<Coefficients> {
        assert_eq!(self.0.len(), basis.degree(), "the degree of a small polynomial");
        let rows = basis.moduli().map(|q| {
            let mut row = basis.pool().row();
            for (out, &c) in row.iter_mut().zip(&self.0) {
                // Added where the sign is set.
                let lift = q.value() & i64::from(c >> 7).cast_unsigned();
                *out = i64::from(c).cast_unsigned().wrapping_add(lift);
            }
            row
        });
        Poly::of(basis, rows.collect())
    }
}

/// Bits that are set among the lowest 32: sums of 2, 4, 8, … bits side by side, with no table.
fn ones(x: u64) -> i8 {
    let x = x - (x >> 1 & 0x5555_5555);
    let x = (x & 0x3333_3333) + (x >> 2 & 0x3333_3333);
    let x = (x + (x >> 4)) & 0x0f0f_0f0f;
    (x.wrapping_mul(0x0101_0101) >> 24).to_le_bytes()[0].cast_signed()
}

impl std::fmt::Debug for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Small(degree {})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::descending;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(12)
    }

    fn basis(widths: &[u32], degree: usize) -> Basis {
        let primes: Vec<_> =
            widths.iter().map(|&bits| descending(bits, degree).next().unwrap().value()).collect();
        Basis::new(degree, &primes).unwrap()
    }

    /// Computed in Python from the description above alone, ChaCha included.
    #[test]
    fn a_seed_stands_for_the_same_polynomial_for_ever() {
        let basis = basis(&[36, 50], 4096);
        let poly = uniform(&basis, &[7; 32], 3);
        assert_eq!(poly.residues(0)[..3], [8_774_552_634, 22_940_154_948, 28_790_854_518]);
        assert_eq!(
            poly.residues(1)[..3],
            [991_753_001_598_046, 555_273_197_343_150, 573_211_719_373_823]
        );
        let hash = Sha256::digest(poly.to_bytes());
        assert_eq!(hash[..8], [0xc, 0xed, 0x1b, 0x2a, 0x45, 0x45, 0x8c, 0xda]);
    }

    #[test]
    fn a_row_follows_from_its_prime_alone() {
        let (long, short) = (basis(&[50, 36, 40], 2048), basis(&[36], 2048));
        let (long, short) = (uniform(&long, &[1; 32], 5), uniform(&short, &[1; 32], 5));
        assert_eq!(long.residues(1), short.residues(0));
    }

    #[test]
    fn seeds_and_numbers_give_other_polynomials() {
        let basis = basis(&[36], 2048);
        let all = [([0; 32], 0), ([0; 32], 1), ([1; 32], 0)];
        let all = all.map(|(seed, index)| uniform(&basis, &seed, index));
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
    }

    /// A prime just above a power of two, where half of the numbers are passed over.
    #[test]
    fn residues_are_below_their_prime_and_fill_its_range() {
        let q = (1u64 << 35..).step_by(4096).map(|x| x + 1).find_map(|x| Modulus::new(x).ok());
        let q = q.unwrap();
        let basis = Basis::new(2048, &[q.value()]).unwrap();
        let poly = uniform(&basis, &[9; 32], 0);
        assert!(poly.residues(0).iter().all(|&x| x < q.value()));
        let mut quarters = [0; 4];
        for x in poly.residues(0) {
            quarters[usize::try_from(4 * x / q.value()).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|&count| (412..612).contains(&count)), "{quarters:?}");
    }

    #[test]
    fn ternary_coefficients_are_spread_evenly() {
        let secret = Small::ternary(1 << 14, &mut rng());
        let count = |c| secret.values().iter().filter(|&&x| x == c).count();
        let counts = [count(-1), count(0), count(1)];
        assert_eq!(counts.iter().sum::<usize>(), 1 << 14);
        // Six standard deviations of 60.
        assert!(counts.iter().all(|count| count.abs_diff((1 << 14) / 3) < 360), "{counts:?}");
    }

    #[test]
    fn errors_have_their_bound_mean_and_variance() {
        let error = Small::error(1 << 16, &mut rng());
        let n = f64::from(1 << 16);
        let mean = error.values().iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let square = error.values().iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        assert!(error.values().iter().all(|x| u32::from(x.unsigned_abs()) <= ERROR_BOUND));
        assert!(mean.abs() < 0.08 && (square - 10.5).abs() < 0.4, "{mean} {square}");
    }

    #[test]
    fn ones_are_counted() {
        for x in [0, 1, 2, 0x1f_ffff, 0x15_5555, 0x0a_aaaa, 0xffff_ffff] {
            assert_eq!(u32::from(ones(x).unsigned_abs()), x.count_ones());
        }
    }

    #[test]
    fn small_polynomials_are_the_same_modulo_each_prime() {
        let basis = basis(&[36, 50], 2048);
        let small = Small::error(2048, &mut rng());
        assert_eq!(small.over(&basis), Poly::from_signed(&basis, small.values()));
    }

    #[test]
    fn secrets_are_wiped_and_never_printed() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        let small = Small::ternary(2048, &mut rng());
        wiped(&small);
        wiped(&small.coefficients(&basis(&[36], 2048)));
        wiped(&small.evaluations(&basis(&[36], 2048)));
        assert_eq!(format!("{small:?}"), "Small(degree 2048)");
    }
}
