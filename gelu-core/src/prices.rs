//! Prices: what operations cost, so that both parties choose the same layouts.
//!
//! A plan is a pure function of what client and server both know, so a price is a constant: whole
//! nanoseconds of one core of a reference machine (two cores of a Xeon with AVX-512 IFMA),
//! never a measurement of the machine at hand. Wrong prices make a session slower, not wrong.
//!
//! ```text
//! exchange = encrypt·up + matvec·rows
//!          + ⌈down/lanes⌉·lanes · (rerandomize + decrypt + shift_bit·slot_bits·slots moved)
//!          + byte·bytes
//! ```
//!
//! *Lanes* are the chains of operations that a machine carries on side by side: up to that many
//! answers take as long as one. So it is better to pack a few outputs into each of many ciphertexts
//! than many into one, whose long chain of squarings keeps one lane busy and the others idle.

/// What operations cost, in nanoseconds: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// A ciphertext encrypted by the key's owner.
    pub encrypt: u32,
    /// A ciphertext decrypted.
    pub decrypt: u32,
    /// A ciphertext sealed.
    pub rerandomize: u32,
    /// A product of two ciphertexts: an addition of what they hold.
    pub product: u32,
    /// The slots of a ciphertext moved up by one bit.
    pub shift_bit: u32,
    /// Independent chains of such operations at the price of one.
    pub lanes: u32,
    /// A byte on the wire; 8 is 1 Gbit/s.
    pub byte: u32,
}

impl Prices {
    /// Those of Paillier's cryptosystem with keys of `key_bits` bits: products grow with the square
    /// of the key, powers with the cube. [`Clear`](crate::Clear) has the same, so that it plans
    /// alike, and so does every scheme that does not bring its own.
    pub fn paillier(key_bits: u32) -> Self {
        let grown = |at_2048: u64, power: u32| {
            let scaled = at_2048 * u64::from(key_bits).pow(power) / 2048u64.pow(power);
            u32::try_from(scaled.max(1)).unwrap_or(u32::MAX)
        };
        Self {
            encrypt: grown(15_000, 3),
            decrypt: grown(260_000, 3),
            rerandomize: grown(175_000, 3),
            product: grown(450, 2),
            shift_bit: grown(350, 2),
            lanes: 8,
            byte: 8,
        }
    }

    /// The matrix product of a scheme whose ciphertexts are powers of one another (four Russians):
    /// the inputs in groups of g, for each group a table of the products of its subsets, and for
    /// each output, group and bit of weight one product from the table.
    ///
    /// ```text
    /// taps · (weight_bits/g + 2^g/(g·outputs)) products, for the best g of 1 to 12
    /// ```
    pub fn subset_tables(&self, size: MatrixSize) -> u64 {
        let MatrixSize { outputs, taps, weight_bits, .. } = size;
        let (outputs, taps) = (outputs.max(1) as u128, taps as u128);
        let products = |g: u32| {
            let each = u128::from(weight_bits) * outputs + (1 << g);
            (taps * each).div_ceil(u128::from(g) * outputs)
        };
        let best = (1..=12).map(products).min().unwrap_or(0);
        u64::try_from(best * u128::from(self.product)).unwrap_or(u64::MAX)
    }
}

/// How large a matrix product on ciphertexts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixSize {
    /// Ciphertexts that go in.
    pub inputs: usize,
    /// Ciphertexts that come out, before packing.
    pub outputs: usize,
    /// Entries of the matrix that are not zero: multiply-accumulates.
    pub taps: usize,
    /// Bits of the widest entry, sign included.
    pub weight_bits: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_grow_with_the_key() {
        let (small, large) = (Prices::paillier(2048), Prices::paillier(4096));
        assert_eq!((small.product, small.decrypt), (450, 260_000));
        assert_eq!((large.product, large.decrypt), (4 * 450, 8 * 260_000));
        assert_eq!(Prices::paillier(64).encrypt, 1);
    }

    /// A row of 12 taps alone is best taken by g = 3: 12·(8/3 + 8/3) = 64 products; between 1000
    /// rows a table of 2^8 products costs next to nothing.
    #[test]
    fn tables_pay_when_they_are_shared() {
        let size = |outputs| MatrixSize { inputs: 12, outputs, taps: 12 * outputs, weight_bits: 8 };
        let prices = Prices { product: 1, ..Prices::paillier(2048) };
        assert_eq!(prices.subset_tables(size(1)), 64);
        let shared = prices.subset_tables(size(1000));
        assert!(shared < 12_000 * 8 / 5, "{shared}");
        let huge = MatrixSize { inputs: 1, outputs: 1, taps: usize::MAX, weight_bits: 127 };
        assert_eq!(Prices::paillier(2048).subset_tables(huge), u64::MAX);
    }
}
