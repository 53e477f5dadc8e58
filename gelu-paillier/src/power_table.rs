//! Random elements of a group at a fraction of an exponentiation: products from tables.
//!
//! For bases g₁ … g_B the table has rows; row r belongs to base b = r mod B and is the base's
//! ⌊r/B⌋-th, and it holds g_b^(d·2^(w·⌊r/B⌋)) for all digits d < 2^w. A product of one random entry
//! from each of the R rows is
//!
//! ```text
//! Π_b g_b^(x_b),   x_b uniform in [0, 2^e_b),   Σ_b e_b = w·R,
//! ```
//!
//! for R multiplications and no squaring (Brickell, Gordon, McCurley and Wilson, EUROCRYPT '92).
//!
//! # Which entries are read
//! shows in the cache to an observer who shares the processor. The digits are not a key: they are
//! used for one ciphertext and forgotten. But who sees all of them knows the noise, and so what it
//! hides.

use crypto_bigint::BoxedUint;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::power::digit;
use crate::ring::Ring;

/// Powers of several bases in a ring of one modulus: see the [module](self).
pub(crate) struct PowerTable {
    window: u32,
    /// All rows of 2^`window` entries, one after the other.
    entries: Elements,
}

impl PowerTable {
    /// Tables for exponents with at least `exponent_bits` bits in all.
    pub(crate) fn new(ring: &Ring, bases: &Elements, exponent_bits: u32, window: u32) -> Self {
        debug_assert_eq!(ring.moduli(), 1);
        let count = bases.len();
        let rows = exponent_bits.div_ceil(window) as usize;
        let mut entries = ring.zeros(rows << window);
        for start in (0..count).step_by(LANES) {
            let lanes = start..count.min(start + LANES);
            let mut base = Zeroizing::new(ring.empty());
            lanes.clone().for_each(|b| base.push(bases.get(b)));
            // Entry d of the current row of each base, for d = 0, 1, 2, …
            let mut row = start;
            while row < rows {
                let mut entry = Zeroizing::new(ring.empty());
                lanes.clone().for_each(|_| entry.push(ring.one(0)));
                for d in 0..1 << window {
                    for (row, entry) in (row..rows).zip(entry.iter()) {
                        entries.get_mut((row << window) + d).copy_from_slice(entry);
                    }
                    entry = Zeroizing::new(ring.multiply(&entry.refs(), &base.refs()));
                }
                base = entry; // base^(2^window)
                row += count;
            }
        }
        Self { window, entries }
    }

    /// Bytes of a table.
    pub(crate) fn bytes(ring: &Ring, exponent_bits: u32, window: u32) -> usize {
        let entries = (exponent_bits.div_ceil(window) as usize) << window;
        entries * ring.stride() * size_of::<Line>()
    }

    fn rows(&self) -> usize {
        self.entries.len() >> self.window
    }

    /// Random products, one for each generator.
    ///
    /// What a generator yields decides its product alone, whatever the others are.
    pub(crate) fn random_products<R: CryptoRng>(&self, ring: &Ring, rngs: &mut [R]) -> Elements {
        let mask = u8::MAX >> (u8::BITS - self.window);
        let mut products = ring.empty();
        products.reserve(rngs.len());
        for rngs in rngs.chunks_mut(LANES) {
            let mut digits = Zeroizing::new(vec![0u8; rngs.len() * self.rows()]);
            for (rng, digits) in rngs.iter_mut().zip(digits.chunks_mut(self.rows())) {
                rng.fill_bytes(digits);
            }
            digits.iter_mut().for_each(|digit| *digit &= mask);
            products.append(&Zeroizing::new(self.products(ring, &digits)));
        }
        products
    }

    /// base^exponent for each exponent, from a table of one base.
    ///
    /// Exponents have at most the bits that the table was made for.
    pub(crate) fn powers(&self, ring: &Ring, exponents: &[BoxedUint]) -> Elements {
        let mut powers = ring.empty();
        powers.reserve(exponents.len());
        for exponents in exponents.chunks(LANES) {
            let rows = u32::try_from(self.rows()).expect("few rows");
            let digits = |e| (0..rows).map(move |row| digit(e, row * self.window, self.window));
            let digits: Zeroizing<Vec<u8>> =
                Zeroizing::new(exponents.iter().flat_map(digits).collect());
            powers.append(&Zeroizing::new(self.products(ring, &digits)));
        }
        powers
    }

    /// At most [`LANES`] products of the entries at `digits`, one row of digits each.
    ///
    /// When there are fewer, each is split into as many partial products as fill the lanes: lane
    /// part·count + k takes the rows part, part + parts, … of product k.
    fn products(&self, ring: &Ring, digits: &[u8]) -> Elements {
        let rows = self.rows();
        let count = digits.len() / rows;
        let parts = LANES / count;
        let places =
            (0..rows.next_multiple_of(parts)).flat_map(|row| (0..count).map(move |k| (row, k)));
        let entry = |(row, k): (usize, usize)| match row < rows {
            true => {
                let digit = digits[k * rows + row];
                self.entries.get((row << self.window) + usize::from(digit))
            }
            false => ring.one(0),
        };
        let factors: Vec<&[Line]> = places.map(entry).collect();
        let partial = Zeroizing::new(ring.product(&factors, parts * count));
        let partial: Vec<_> = partial.iter().collect();
        ring.product(&partial, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Choice;
    use crate::oracle::{big, boxed, rng};
    use crate::ring::Digits;
    use num_bigint_dig::BigUint;

    fn modulus(seed: u64) -> BigUint {
        let mut bytes = [0; 32];
        rand_core::Rng::fill_bytes(&mut rng(seed), &mut bytes);
        (bytes[0], bytes[31]) = (bytes[0] | 0x80, bytes[31] | 1);
        BigUint::from_bytes_be(&bytes)
    }

    /// A generator whose bytes count up.
    struct Counter(u8);
    impl rand_core::TryRng for Counter {
        type Error = core::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("only bytes are drawn")
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("only bytes are drawn")
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(37);
            }
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Counter {}

    fn counter(i: usize) -> Counter {
        Counter(u8::try_from(31 * i % 256).unwrap())
    }

    /// Π g_b^(x_b) with the exponents that the digits spell, for few and many products.
    #[test]
    fn products_are_those_of_the_digits() {
        let n = modulus(1);
        let n2 = &n * &n;
        for choice in Choice::all() {
            let ring = Ring::new(&[&boxed(&n, 256)], choice).unwrap();
            let bases = [1000u32, 1007, 1014];
            let digits =
                |x: u32| Digits { low: boxed(&x.into(), 256), high: boxed(&0u8.into(), 256) };
            let (window, rows) = (5, 8);
            let table = PowerTable::new(&ring, &ring.import(&bases.map(digits)), 40, window);
            assert_eq!(table.rows(), rows);
            for count in [1, 2, 3, 11] {
                let mut rngs: Vec<_> = (0..count).map(counter).collect();
                let products = table.random_products(&ring, &mut rngs);
                let products = ring.export(&products.refs());
                assert_eq!(products.len(), count);
                for (i, product) in products.iter().enumerate() {
                    let mut bytes = vec![0; rows];
                    rand_core::Rng::fill_bytes(&mut counter(i), &mut bytes);
                    let expected = (0..rows).fold(BigUint::from(1u8), |product, row| {
                        let exponent = BigUint::from(bytes[row] & 31) << (5 * (row / 3));
                        product * BigUint::from(bases[row % 3]).modpow(&exponent, &n2) % &n2
                    });
                    assert_eq!(big(&product.low) + big(&product.high) * &n, expected, "{count}");
                }
            }
        }
    }
}
