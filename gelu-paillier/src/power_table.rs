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
//! shows in the cache to an observer who shares the processor. [`Lookup::Scan`] reads all of a row
//! instead. The digits are not a key: they are used for one ciphertext and forgotten. But who sees
//! all of them knows the noise, and so the message.

use crypto_bigint::BoxedUint;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::kernel::{LANES, Line};
use crate::power::digit;
use crate::ring::{Elements, Ring};

/// How a row is read at a secret digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// At the entry: which one it was shows in the cache.
    Direct,
    /// In full: the time and the cache are the same for all digits.
    Scan,
}

/// Powers of several bases in a ring, for each of its moduli: see the [module](self).
pub(crate) struct PowerTable {
    window: u32,
    /// For each modulus all rows of 2^`window` entries, one after the other.
    entries: Vec<Elements>,
}

impl PowerTable {
    /// Tables for exponents with at least `exponent_bits` bits in all.
    ///
    /// Element k of `bases` is modulo number k mod (number of moduli); each modulus has the same
    /// number of bases.
    pub(crate) fn new(ring: &Ring, bases: &Elements, exponent_bits: u32, window: u32) -> Self {
        let moduli = ring.moduli();
        let count = bases.len() / moduli;
        let rows = exponent_bits.div_ceil(window) as usize;
        let depth = rows.div_ceil(count);
        // All bases at once: entry d of the current row of each, for d = 0, 1, 2, …
        let one: Vec<_> = (0..bases.len()).map(|k| ring.one(k % moduli)).collect();
        let mut layers = Zeroizing::new(Vec::with_capacity(depth));
        let mut base = Zeroizing::new(bases.clone());
        for _ in 0..depth {
            let mut entries = Vec::with_capacity(1 << window);
            let mut entry = ring.empty();
            one.iter().for_each(|one| entry.push(one));
            for _ in 0..1 << window {
                let next = ring.multiply(&entry.refs(), &base.refs());
                entries.push(core::mem::replace(&mut entry, next));
            }
            base = Zeroizing::new(entry); // base^(2^window)
            layers.push(entries);
        }
        let rows_of = |modulus: usize| {
            let mut all = ring.empty();
            all.reserve(rows << window);
            for row in 0..rows {
                let (depth, base) = (row / count, row % count);
                for entry in &layers[depth] {
                    all.push(entry.get(base * moduli + modulus));
                }
            }
            all
        };
        Self { window, entries: (0..moduli).map(rows_of).collect() }
    }

    fn rows(&self) -> usize {
        self.entries[0].len() >> self.window
    }

    fn row(&self, modulus: usize, row: usize) -> impl Iterator<Item = &[Line]> {
        let start = row << self.window;
        (start..start + (1 << self.window)).map(move |i| self.entries[modulus].get(i))
    }

    /// Random products: for each generator one modulo each modulus, one after the other.
    ///
    /// What a generator yields decides its products alone, whatever the others are.
    pub(crate) fn random_products<R: CryptoRng>(
        &self,
        ring: &Ring,
        rngs: &mut [R],
        lookup: Lookup,
    ) -> Elements {
        let moduli = ring.moduli();
        let mask = u8::MAX >> (u8::BITS - self.window);
        let mut products = ring.empty();
        for rngs in rngs.chunks_mut(LANES / moduli) {
            let mut digits = Zeroizing::new(vec![0u8; rngs.len() * moduli * self.rows()]);
            for (rng, digits) in rngs.iter_mut().zip(digits.chunks_mut(moduli * self.rows())) {
                rng.fill_bytes(digits);
            }
            digits.iter_mut().for_each(|digit| *digit &= mask);
            products.append(self.products(ring, &digits, lookup));
        }
        products
    }

    /// base^exponent for each exponent, from a table of one base modulo one modulus.
    ///
    /// Exponents have at most the bits that the table was made for.
    pub(crate) fn powers(&self, ring: &Ring, exponents: &[BoxedUint], lookup: Lookup) -> Elements {
        debug_assert_eq!(ring.moduli(), 1);
        let mut powers = ring.empty();
        for exponents in exponents.chunks(LANES) {
            let rows = u32::try_from(self.rows()).expect("few rows");
            let digits = |e| (0..rows).map(move |row| digit(e, row * self.window, self.window));
            let digits: Zeroizing<Vec<u8>> =
                Zeroizing::new(exponents.iter().flat_map(digits).collect());
            powers.append(self.products(ring, &digits, lookup));
        }
        powers
    }

    /// At most [`LANES`] products of the entries at `digits`, one row of digits each.
    ///
    /// When there are fewer, each is split into as many partial products as fill the lanes: lane
    /// part·count + k takes the rows part, part + parts, … of product k.
    fn products(&self, ring: &Ring, digits: &[u8], lookup: Lookup) -> Elements {
        let (moduli, rows) = (ring.moduli(), self.rows());
        let count = digits.len() / rows;
        let parts = LANES / count;
        let places =
            (0..rows.next_multiple_of(parts)).flat_map(|row| (0..count).map(move |k| (row, k)));
        let index =
            |row: usize, k: usize| (row < rows).then(|| (k % moduli, row, digits[k * rows + row]));
        let mut scanned = Zeroizing::new(ring.empty());
        if lookup == Lookup::Scan {
            for (modulus, row, digit) in places.clone().filter_map(|(row, k)| index(row, k)) {
                let table: Vec<_> = self.row(modulus, row).collect();
                let mut entry = Zeroizing::new(ring.zeros(1));
                ring.kernel().select(&table, digit, entry.get_mut(0));
                scanned.push(entry.get(0));
            }
        }
        let mut scanned = scanned.iter();
        let factors: Vec<&[Line]> = places
            .map(|(row, k)| match (index(row, k), lookup) {
                (None, _) => ring.one(k % moduli),
                (Some(_), Lookup::Scan) => scanned.next().expect("one for each place"),
                (Some((modulus, row, digit)), Lookup::Direct) => {
                    self.entries[modulus].get((row << self.window) + usize::from(digit))
                }
            })
            .collect();
        let partial = Zeroizing::new(ring.product(&factors, parts * count));
        let partial: Vec<_> = partial.iter().collect();
        ring.product(&partial, count)
    }
}

impl Zeroize for PowerTable {
    fn zeroize(&mut self) {
        self.entries.zeroize();
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

    /// Π g_b^(x_b) with the exponents that the digits spell, for one and two moduli, few and many
    /// products, and both ways of reading.
    #[test]
    fn products_are_those_of_the_digits() {
        let n = [modulus(1), modulus(2)];
        for choice in [Choice::Best, Choice::Portable] {
            for moduli in [1, 2] {
                let n = &n[..moduli];
                let boxed_n: Vec<_> = n.iter().map(|n| boxed(n, 256)).collect();
                let ring = Ring::new(&boxed_n.iter().collect::<Vec<_>>(), choice).unwrap();
                let bases: Vec<u32> = (1000u32..).step_by(7).take(3 * moduli).collect();
                let digits =
                    |x: u32| Digits { low: boxed(&x.into(), 256), high: boxed(&0u8.into(), 256) };
                let imported = ring.import(&bases.iter().map(|&x| digits(x)).collect::<Vec<_>>());
                let (window, rows) = (5, 8);
                let table = PowerTable::new(&ring, &imported, 40, window);
                assert_eq!(table.rows(), rows);
                for count in [1, 2, 3, 11] {
                    for lookup in [Lookup::Direct, Lookup::Scan] {
                        let mut rngs: Vec<_> = (0..count).map(counter).collect();
                        let products = table.random_products(&ring, &mut rngs, lookup);
                        let products = ring.export(&products.refs());
                        assert_eq!(products.len(), count * moduli);
                        for (j, product) in products.iter().enumerate() {
                            let (i, m) = (j / moduli, j % moduli);
                            let mut bytes = vec![0; moduli * rows];
                            rand_core::Rng::fill_bytes(&mut counter(i), &mut bytes);
                            let n2 = &n[m] * &n[m];
                            let expected = (0..rows).fold(BigUint::from(1u8), |product, row| {
                                let base = BigUint::from(bases[row % 3 * moduli + m]);
                                let digit = BigUint::from(bytes[m * rows + row] & 31);
                                let exponent = digit << (5 * (row / 3));
                                product * base.modpow(&exponent, &n2) % &n2
                            });
                            let value = big(&product.low) + big(&product.high) * &n[m];
                            assert_eq!(value, expected, "{moduli} {count} {lookup:?}");
                        }
                    }
                }
            }
        }
    }
}
