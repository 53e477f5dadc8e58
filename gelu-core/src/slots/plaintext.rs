//! Plaintexts: small signed integers side by side in the slots of one ciphertext.

use crate::error::{ApiMisuse, Result};

/// The widest slot: values are held as `i128`, sign included, with one bit to spare.
pub const MAX_SLOT_BITS: u32 = 127;

/// How the slots of one plaintext are cut: `count` slots of `bits` bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotShape {
    /// Bits of a slot, sign included. A slot holds v with |v| < 2^(bits-1).
    pub bits: u32,
    /// Number of slots in use.
    pub count: usize,
}

impl SlotShape {
    /// All bits in use: `bits * count`. What lies above is free for a mask.
    pub fn total_bits(self) -> usize {
        self.bits as usize * self.count
    }
}

/// Bits of the narrowest slot that holds `value`: the least b with |value| < 2^(b-1).
pub fn signed_bits(value: i128) -> u32 {
    129 - value.unsigned_abs().leading_zeros()
}

/// Signed integers, each proven to fit its slot.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext {
    bits: u32,
    values: Vec<i128>,
}

impl Plaintext {
    /// Puts `values` into slots of `bits` bits.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] when a value does not fit or `bits` exceeds [`MAX_SLOT_BITS`];
    /// [`ApiMisuse::Empty`] without values.
    pub fn new(bits: u32, values: Vec<i128>) -> Result<Self> {
        if values.is_empty() {
            return Err(ApiMisuse::Empty("a plaintext").into());
        }
        let needed = values.iter().map(|&v| signed_bits(v)).max().unwrap_or(0);
        if needed > bits || bits > MAX_SLOT_BITS {
            let available = bits.min(MAX_SLOT_BITS);
            return Err(ApiMisuse::SlotOverflow { needed: needed.max(bits), available }.into());
        }
        Ok(Self { bits, values })
    }

    /// The values, lowest slot first.
    pub fn values(&self) -> &[i128] {
        &self.values
    }

    /// The shape of the slots.
    pub fn shape(&self) -> SlotShape {
        SlotShape { bits: self.bits, count: self.values.len() }
    }
}

/// Plaintexts may be a client's data: only the shape is printed.
impl core::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Plaintext").field("shape", &self.shape()).finish_non_exhaustive()
    }
}

/// The error of a plaintext with more slots than a ciphertext of `bits` bits holds.
pub fn too_many_slots(shape: SlotShape, bits: u32) -> ApiMisuse {
    let needed = u32::try_from(shape.total_bits()).unwrap_or(u32::MAX);
    debug_assert!(shape.bits <= MAX_SLOT_BITS);
    ApiMisuse::SlotOverflow { needed, available: bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_edges() {
        for (value, bits) in [(0, 1), (1, 2), (-1, 2), (127, 8), (-127, 8), (128, 9), (-128, 9)] {
            assert_eq!(signed_bits(value), bits, "{value}");
        }
    }

    #[test]
    fn a_plaintext_is_proof_that_its_values_fit() {
        assert!(Plaintext::new(8, vec![127, -127]).is_ok());
        assert_eq!(
            Plaintext::new(8, vec![0, 128]).unwrap_err(),
            ApiMisuse::SlotOverflow { needed: 9, available: 8 }.into()
        );
        assert!(Plaintext::new(128, vec![0]).is_err());
        assert!(Plaintext::new(8, vec![]).is_err());
    }
}
