//! Ciphertexts, and the arithmetic on two of them.

use core::fmt;

use gelu_core::{Plaintext, SlotShape};
use tfhe::core_crypto::prelude::{
    CiphertextModulus, Cleartext, LweCiphertextOwned, Plaintext as Encoded,
    lwe_ciphertext_add_assign, lwe_ciphertext_cleartext_mul_assign,
    lwe_ciphertext_plaintext_add_assign,
};

use super::keys::PublicKey;
use super::noise::NoiseBound;
use super::parameters::{DELTA_BITS, PLAINTEXT_BITS, lwe_dimension};

/// (a, ⟨a, s⟩ + noise + v·2^87): one encrypted integer v, an `LweCiphertext` of tfhe.
///
/// It remembers the [fingerprint](PublicKey::fingerprint) of its key: operations on ciphertexts of
/// another key panic, decryption fails. And it remembers a bound on its noise, which never leaves
/// the party that computed it.
#[derive(Clone)]
pub struct Ciphertext {
    pub(crate) lwe: LweCiphertextOwned<u128>,
    pub(crate) noise: NoiseBound,
    pub(crate) key: [u8; 8],
}

impl Ciphertext {
    /// From the mask's n words and the body.
    pub(crate) fn new(public: &PublicKey, words: Vec<u128>, noise: NoiseBound) -> Self {
        let lwe = LweCiphertextOwned::from_container(words, modulus());
        assert_eq!(lwe.lwe_size(), lwe_dimension().to_lwe_size());
        Self { lwe, noise, key: public.fingerprint() }
    }

    /// The ciphertext of a value that everybody knows: no mask, no noise.
    pub(crate) fn trivial(public: &PublicKey, value: i128) -> Self {
        let mut words = vec![0; lwe_dimension().to_lwe_size().0];
        *words.last_mut().expect("a body") = encode(value);
        Self::new(public, words, NoiseBound::NONE)
    }

    /// Mask and body, given the right key.
    ///
    /// # Panics
    /// When the ciphertext belongs to another key. Ciphertexts from a peer are read under the
    /// session's key, so this is a mistake of our own.
    pub(crate) fn under(&self, public: &PublicKey) -> &[u128] {
        assert_eq!(self.key, public.fingerprint(), "a ciphertext under another key");
        self.lwe.as_ref()
    }

    pub(crate) fn add(mut self, public: &PublicKey, other: &Self) -> Self {
        let _ = (self.under(public), other.under(public));
        lwe_ciphertext_add_assign(&mut self.lwe, &other.lwe);
        Self { noise: self.noise.plus(other.noise), ..self }
    }

    pub(crate) fn add_value(mut self, public: &PublicKey, value: i128) -> Self {
        let _ = self.under(public);
        lwe_ciphertext_plaintext_add_assign(&mut self.lwe, Encoded(encode(value)));
        self
    }

    pub(crate) fn times(mut self, public: &PublicKey, k: i128) -> Self {
        let _ = self.under(public);
        lwe_ciphertext_cleartext_mul_assign(&mut self.lwe, Cleartext(k.cast_unsigned()));
        Self { noise: self.noise.times(k.unsigned_abs()), ..self }
    }
}

/// Where it is from, not what it holds.
impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = format_args!("{:016x}", u64::from_be_bytes(self.key)).to_string();
        f.debug_struct("Ciphertext").field("key", &key).finish_non_exhaustive()
    }
}

/// v·2^87 modulo 2^128.
pub(crate) fn encode(value: i128) -> u128 {
    value.cast_unsigned() << DELTA_BITS
}

/// The value nearest to a phase, modulo 2^`bits`: −2^(bits−1) ≤ v < 2^(bits−1).
///
/// What is above is a seal's mask, or an overflow that nobody can tell from one.
pub(crate) fn decode(phase: u128, bits: u32) -> i128 {
    let rounded = phase.wrapping_add(1 << (DELTA_BITS - 1)) >> DELTA_BITS;
    (rounded << (128 - bits)).cast_signed() >> (128 - bits)
}

/// The only slot of a plaintext whose shape [`fits`].
pub(crate) fn value(plaintext: &Plaintext) -> i128 {
    plaintext.values()[0]
}

/// Whether a ciphertext holds slots of this shape: one, of at most 41 bits.
pub(crate) fn fits(shape: SlotShape) -> bool {
    shape.count == 1 && (1..=PLAINTEXT_BITS).contains(&shape.bits)
}

/// 2^128.
pub(crate) fn modulus() -> CiphertextModulus<u128> {
    CiphertextModulus::new_native()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lwe::keys::tests::{KEY, OTHER_KEY};
    use crate::lwe::parameters::HALF_CELL;

    #[test]
    fn values_survive_all_noise_of_a_cell_and_any_mask() {
        for bits in [1, 2, 8, 40, 41] {
            let half = 1i128 << (bits - 1);
            for value in [0, 1 - half, half - 1, -half] {
                for noise in [0, 1, HALF_CELL - 1, HALF_CELL.wrapping_neg(), u128::MAX] {
                    for mask in [0, 1u128, 77, u128::MAX] {
                        let mask = mask.checked_shl(DELTA_BITS + bits).unwrap_or(0);
                        let phase = encode(value).wrapping_add(noise).wrapping_add(mask);
                        assert_eq!(decode(phase, bits), value, "{bits} {noise} {mask}");
                    }
                }
            }
        }
        assert_eq!(decode(encode(5).wrapping_add(HALF_CELL), 41), 6, "one more is too much");
    }

    #[test]
    fn one_slot_of_up_to_41_bits() {
        let shape = |bits, count| SlotShape { bits, count };
        assert!(fits(shape(1, 1)) && fits(shape(41, 1)));
        assert!(!fits(shape(0, 1)) && !fits(shape(42, 1)) && !fits(shape(8, 2)));
    }

    #[test]
    #[should_panic(expected = "under another key")]
    fn keys_are_not_mixed() {
        let (one, other) = (KEY.public_key(), OTHER_KEY.public_key());
        let _ = Ciphertext::trivial(one, 1).add(one, &Ciphertext::trivial(other, 1));
    }

    #[test]
    fn nothing_is_printed_but_the_key() {
        let shown = format!("{:?}", Ciphertext::trivial(KEY.public_key(), 12345));
        assert!(shown.starts_with("Ciphertext { key: \"") && shown.len() < 50, "{shown}");
    }
}
