//! Shares: answers that neither party can read alone.
//!
//! An answer W·X + b is the client's to read, and is an equation about W. Where that is too much, the server
//! seals under a mask: the client's values R are random then, and the two parties end with two matrices that
//! add up to W·R, modulo 2^l.
//!
//! ```text
//! client   R uniform mod 2^l ─ encrypt ─▶ bytes ──▶ read, evaluate (without offsets) ─▶ Answer
//! server                                                                                └─ share ─▶ Sealed, s
//! client   c = W·R − s mod 2^l   ◀─ decrypt ◀────────────────────────────────────────────────────── bytes
//! ```

use core::fmt::{self, Debug};

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Backend, Layout, Task};
use crate::error::{RangeError, Result};

/// How a backend hands out additive shares of W·R, for R uniform modulo 2^l.
///
/// # Law
/// For every matrix R of integers in [−2^(l−1), 2^(l−1)) and weights W with |W·R| < 2^(`product_bits`−1), in
/// each of the [`layouts`](Self::layouts):
///
/// ```text
/// decrypt(bytes) + s  ≡  W·R   (mod 2^l),        (bytes, s) = seal(evaluate(prepare(W, no offsets), read(encrypt(R))))
/// ```
///
/// [`conformance`](crate::conformance) checks it.
///
/// # Security
/// What the client decrypts is as good as uniform and independent of W, *whatever it has encrypted*; so is s for
/// the server. Implementations say by which distance.
pub trait Shares<B: Backend>: Sized + Debug + Send + Sync + 'static {
    /// Plans shares modulo 2^`ring_bits`, 1 to 64, of products with |W·R| < 2^(`product_bits`−1).
    ///
    /// None: this backend has none of this kind. A plan may still find that no slot is as wide as
    /// [`value_bits`](Self::value_bits).
    fn plan(ring_bits: u32, product_bits: u32) -> Option<Self>;

    /// `value_bits` of the [`Task`] whose layouts carry R: with room for the mask.
    fn value_bits(&self) -> u32;

    /// Every layout that carries `task` so that its answers can be shared; its `value_bits` are set here.
    ///
    /// # Errors
    /// As [`Backend::layouts`].
    fn layouts(
        &self,
        public: &B::PublicKey,
        task: &Task<'_>,
    ) -> Result<Vec<B::Layout>, RangeError> {
        B::layouts(public, &Task { value_bits: self.value_bits(), ..*task })
    }

    /// Bytes of ciphertexts of an exchange, both ways.
    fn bytes(&self, layout: &B::Layout) -> usize {
        layout.cost().bytes
    }

    /// Server: an answer under a fresh mask, as bytes that hide how it was made, for the eyes of the key's owner;
    /// and the server's share.
    ///
    /// Only [`Sealed::share`](super::Sealed::share) calls this: write it as [`Layout::seal`].
    ///
    /// # Errors
    /// [`ApiMisuse`](crate::error::ApiMisuse) for a layout that is none of [`layouts`](Self::layouts).
    fn seal(
        &self,
        layout: &B::Layout,
        public: &B::PublicKey,
        answer: <B::Layout as Layout<B>>::Answer,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, Share)>;

    /// Client: its share.
    ///
    /// # Errors
    /// As [`Layout::decrypt`]; [`ApiMisuse`](crate::error::ApiMisuse) as in [`seal`](Self::seal).
    fn decrypt(&self, layout: &B::Layout, secret: &B::SecretKey, bytes: &[u8]) -> Result<Share>;
}

/// One party's share of `[features, batch]` numbers modulo 2^l, as integers in [0, 2^l). Wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Share {
    /// Row by row.
    values: Vec<u64>,
    batch: usize,
}

/// Only the shape is printed.
impl Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (features, batch) = self.dim();
        write!(f, "Share({features} x {batch})")
    }
}

impl Share {
    /// The numbers in `values`, those of all samples for each feature, modulo 2^`ring_bits`, for 1 to 64 bits.
    pub fn new(mut values: Vec<u64>, batch: usize, ring_bits: u32) -> Self {
        let most = u64::MAX >> (u64::BITS - ring_bits);
        values.iter_mut().for_each(|value| *value &= most);
        Self { values, batch }
    }

    /// Features and samples.
    pub fn dim(&self) -> (usize, usize) {
        (self.values.len().checked_div(self.batch).unwrap_or(0), self.batch)
    }

    /// The share of one sample: one number for each feature.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn sample(&self, n: usize) -> Zeroizing<Vec<u64>> {
        assert!(n < self.batch, "sample {n} of {}", self.batch);
        Zeroizing::new(self.values.iter().skip(n).step_by(self.batch).copied().collect())
    }

    /// All numbers, feature by feature.
    pub fn values(&self) -> &[u64] {
        &self.values
    }
}

/// There are no shares: of a cryptosystem whose plaintexts have no room for masks. No value of this type exists,
/// so nothing is ever asked of it but to [`plan`](Shares::plan).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoShares {}

impl<B: Backend> Shares<B> for NoShares {
    fn plan(_: u32, _: u32) -> Option<Self> {
        None
    }

    fn value_bits(&self) -> u32 {
        match *self {}
    }

    fn seal(
        &self,
        _: &B::Layout,
        _: &B::PublicKey,
        _: <B::Layout as Layout<B>>::Answer,
        _: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, Share)> {
        match *self {}
    }

    fn decrypt(&self, _: &B::Layout, _: &B::SecretKey, _: &[u8]) -> Result<Share> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two features of three samples, modulo 2^4.
    #[test]
    fn a_sample_is_a_column() {
        let share = Share::new(vec![1, 2, 3, 20, 5, u64::MAX], 3, 4);
        assert_eq!((share.dim(), share.values()), ((2, 3), &[1, 2, 3, 4, 5, 15][..]));
        assert_eq!([0, 1, 2].map(|n| share.sample(n).to_vec()), [[1, 4], [2, 5], [3, 15]]);
        assert_eq!(format!("{share:?}"), "Share(2 x 3)");
        assert_eq!(Share::new(vec![u64::MAX], 1, 64).values(), [u64::MAX]);
    }
}
