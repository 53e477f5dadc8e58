//! Prices: what operations cost, and so which layout is the cheapest.
//!
//! A price is a count of nanoseconds of one core of a reference machine (two cores of a Xeon with AVX-512
//! IFMA), or of the machine at hand if somebody has measured it. The client chooses by prices and names
//! its choice; wrong prices make a session slower, not wrong. Each backend keeps its own beside its cost
//! formulas.
//!
//! ```text
//! exchange = encrypt·up + product·products(matrix)·rows
//!          + ⌈down/lanes⌉·lanes · (rerandomize + decrypt + shift_bit·slot_bits·slots moved)
//!          + byte·bytes
//! ```
//!
//! *Lanes* are the chains of operations that a machine carries on side by side: up to that many
//! answers take as long as one. So it is better to pack a few outputs into each of many ciphertexts
//! than many into one, whose long chain of squarings keeps one lane busy and the others idle.

use super::layout::SlotLayout;

/// What operations cost, in nanoseconds: see the [module](self).
#[derive(Debug, Clone, Copy)]
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
    /// How many products a matrix takes: the formula of the backend's algorithm.
    pub products: fn(MatrixSize) -> u64,
}

impl Prices {
    /// Those of a scheme of which nobody has measured anything: few ciphertexts are better than many.
    pub const UNMEASURED: Self = Self {
        encrypt: 100_000,
        decrypt: 100_000,
        rerandomize: 100_000,
        product: 1_000,
        shift_bit: 1_000,
        lanes: 1,
        byte: 8,
        products: |size| size.taps as u64,
    };

    /// Those of a machine on which a product takes so many nanoseconds, and everything else as much longer or shorter.
    #[must_use]
    pub fn with_product(self, nanoseconds: f64) -> Self {
        let scale = nanoseconds / f64::from(self.product.max(1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let scaled = |price: u32| (f64::from(price) * scale).round().max(1.0) as u32;
        Self {
            encrypt: scaled(self.encrypt),
            decrypt: scaled(self.decrypt),
            rerandomize: scaled(self.rerandomize),
            product: scaled(self.product),
            shift_bit: scaled(self.shift_bit),
            ..self
        }
    }

    /// Those of keys of `key_bits` bits, from those of 2048: products grow with the square of the key,
    /// powers with the cube.
    #[must_use]
    pub fn grown_from_2048(self, key_bits: u32) -> Self {
        let grown = |at_2048: u32, power: u32| {
            let scaled = u64::from(at_2048) * u64::from(key_bits).pow(power) / 2048u64.pow(power);
            u32::try_from(scaled.max(1)).unwrap_or(u32::MAX)
        };
        Self {
            encrypt: grown(self.encrypt, 3),
            decrypt: grown(self.decrypt, 3),
            rerandomize: grown(self.rerandomize, 3),
            product: grown(self.product, 2),
            shift_bit: grown(self.shift_bit, 2),
            ..self
        }
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

impl SlotLayout {
    /// What it takes both parties together: the formula of the [module](self).
    pub fn nanoseconds(&self, prices: &Prices) -> u64 {
        let &Self { inputs, outputs, taps, weight_bits, .. } = self;
        let products = (prices.products)(MatrixSize { inputs, outputs, taps, weight_bits });
        let matvec = products.saturating_mul(prices.product.into());
        let (up, down) = (self.ciphertexts_up() as u128, self.ciphertexts_down() as u128);
        let lanes = u128::from(prices.lanes.max(1));
        let moved_bits = self.slots_moved() as u128 * u128::from(self.slot_bits);
        let answer = u128::from(prices.rerandomize)
            + u128::from(prices.decrypt)
            + u128::from(prices.shift_bit) * moved_bits;
        let total = u128::from(prices.encrypt) * up
            + u128::from(matvec) * self.rows() as u128
            + down.div_ceil(lanes) * lanes * answer
            + u128::from(prices.byte) * self.bytes() as u128;
        u64::try_from(total).unwrap_or(u64::MAX)
    }
}
