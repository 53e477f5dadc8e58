//! How large a product of moduli is, and how far products are extended.

/// The widest modulus that `fhe-math` computes with; products are extended by primes of this size.
pub(super) const MODULUS_BITS: u32 = 62;

/// Bits of room in the extended basis above q² · N, at least: Σ|w| of a sum of squares may fill it.
const EXTENSION_ROOM: f64 = 10.0;

/// By how many primes products are extended, and log₂ of the largest Σ|w| that they leave room for.
///
/// |Σ w·(tensor)| ≤ Σ|w| · 2N·(q/2)², and it must stay below half of the extended basis q·P; so
/// log₂ Σ|w| ≤ log₂ P − log₂ q − log₂ N.
pub(super) fn extension(degree: usize, moduli: &[u64]) -> (usize, f64) {
    // The largest primes of 62 bits lie within 2^40 of 2^62.
    let each = f64::from(MODULUS_BITS) - 1e-3;
    let needed = modulus_bits(moduli) + f64::from(degree.ilog2());
    let mut count = 1;
    while each * count as f64 - needed < EXTENSION_ROOM {
        count += 1;
    }
    (count, each * count as f64 - needed)
}

/// log₂ of the product.
pub(super) fn modulus_bits(moduli: &[u64]) -> f64 {
    moduli.iter().map(|&q| (q as f64).log2()).sum()
}
