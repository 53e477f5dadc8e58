//! LWE ciphertexts as [`AdditiveHE`].

use gelu_core::backend::NoSecretRate;
use gelu_core::error::ApiMisuse;
use gelu_core::slots::{
    AdditiveHE, Matrix, Plaintext, Prices, SlotBackend, SlotShape, Unpacked, check_block_len,
};
use gelu_core::{Cryptosystem, Result};
use rand_core::CryptoRng;
use rayon::prelude::*;

use super::ciphertext::{Ciphertext, fits, value};
use super::encryption::check_shape;
use super::keys::{PublicKey, SecretKey};
use super::linear;
use super::parameters::KEY_BITS;
use super::wire;

/// The backend: TFHE's ciphertexts, one integer of up to 41 bits in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tfhe;

impl Cryptosystem for Tfhe {
    const ID: &'static str = "tfhe";
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;

    /// The one size is [`KEY_BITS`], the dimension.
    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        if bits != KEY_BITS {
            let why = format!("{bits} bits, but this backend offers {KEY_BITS}");
            return Err(ApiMisuse::configuration("tfhe key", why).into());
        }
        Ok(SecretKey::generate(rng))
    }

    fn public_key(secret: &SecretKey) -> &PublicKey {
        secret.public_key()
    }

    fn key_bits(public: &PublicKey) -> u32 {
        public.bits()
    }

    fn public_key_to_bytes(public: &PublicKey) -> Vec<u8> {
        wire::public_key_to_bytes(public)
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        wire::public_key_from_bytes(bytes)
    }
}

impl AdditiveHE for Tfhe {
    type Prepared = Matrix;
    type Ciphertext = Ciphertext;

    /// One, of at most 41 bits.
    fn slots(_: &PublicKey, slot_bits: u32) -> usize {
        usize::from(fits(SlotShape { bits: slot_bits, count: 1 }))
    }

    /// By the public key, with 2^14 times the noise of the owner's encryptions.
    fn encrypt(
        public: &PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        check_shape(plaintext.shape())?;
        Ok(public.encrypt_value(value(plaintext), rng))
    }

    /// A value that left its slot comes back modulo 2^bits: a seal's mask hides what overflowed, so
    /// nobody can tell. −2^(bits − 1) alone is refused, which is how a spoilt ciphertext fails.
    fn decrypt(secret: &SecretKey, ciphertext: &Ciphertext, shape: SlotShape) -> Result<Plaintext> {
        secret.decrypt(ciphertext, shape)
    }

    fn add(public: &PublicKey, a: &Ciphertext, b: &Ciphertext) -> Ciphertext {
        a.clone().add(public, b)
    }

    /// # Panics
    /// When `b` is not one slot of at most 41 bits.
    fn add_plain(public: &PublicKey, a: &Ciphertext, b: &Plaintext) -> Ciphertext {
        assert!(fits(b.shape()), "a plaintext that a ciphertext holds");
        a.clone().add_value(public, value(b))
    }

    /// Multiplies the noise as well: what exceeds the budget (see `parameters`) still decrypts as
    /// long as it can, and is [sealed](Self::rerandomize) as something that does not.
    fn mul_plain(public: &PublicKey, a: &Ciphertext, k: i128) -> Ciphertext {
        a.clone().times(public, k)
    }

    /// Covers mask, noise and what overflowed; the file `seal` says how, and what it rests on. The
    /// result decrypts and is good for nothing else: sealed again, it does not decrypt.
    fn rerandomize(
        public: &PublicKey,
        ciphertext: &Ciphertext,
        shape: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext {
        public.seal_all(&[(ciphertext.clone(), shape)], rng).remove(0)
    }

    fn ciphertext_len(_: &PublicKey) -> usize {
        wire::CIPHERTEXT_LEN
    }

    fn ciphertext_to_bytes(public: &PublicKey, ciphertext: &Ciphertext, out: &mut Vec<u8>) {
        wire::ciphertext_to_bytes(public, ciphertext, out);
    }

    fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> Result<Ciphertext> {
        wire::ciphertext_from_bytes(public, bytes)
    }

    // ---- faster than the provided bodies ----------------------------------------------------

    /// With the secret key: less noise, less work.
    fn encrypt_as_owner(
        secret: &SecretKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        Ok(secret.encrypt_all(core::slice::from_ref(plaintext), rng)?.remove(0))
    }

    fn encrypt_many(
        secret: &SecretKey,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        secret.encrypt_all(plaintexts, rng)
    }

    fn decrypt_many(
        secret: &SecretKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        ciphertexts.par_iter().map(|(c, shape)| secret.decrypt(c, *shape)).collect()
    }

    fn rerandomize_many(
        public: &PublicKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        public.seal_all(ciphertexts, rng)
    }

    /// # Errors
    /// [`ApiMisuse::Configuration`] when the weights are too large for the noise.
    fn linear_combination(public: &PublicKey, terms: &[(i128, &Ciphertext)]) -> Result<Ciphertext> {
        if terms.is_empty() {
            return Err(ApiMisuse::Empty("a linear combination").into());
        }
        Ok(linear::combine(public, &[terms.to_vec()])?.remove(0))
    }

    /// Time tells which weights are zero and how many there are.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when the weights of an output are too large for the noise.
    fn matvec(
        public: &PublicKey,
        matrix: &Matrix,
        inputs: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>> {
        if inputs.is_empty() {
            return Err(ApiMisuse::Empty("a matrix product").into());
        }
        let term = |tap: &gelu_core::linear::Tap| {
            (matrix.entries[tap.weight as usize], &inputs[tap.source as usize])
        };
        let row = |output| matrix.taps.of(output).iter().map(term).collect();
        linear::combine(public, &(0..matrix.taps.outputs()).map(row).collect::<Vec<_>>())
    }

    fn ciphertexts_to_bytes(public: &PublicKey, ciphertexts: &[Ciphertext], out: &mut Vec<u8>) {
        out.reserve(ciphertexts.len() * wire::CIPHERTEXT_LEN);
        ciphertexts.iter().for_each(|c| wire::ciphertext_to_bytes(public, c, out));
    }

    fn ciphertexts_from_bytes(
        public: &PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Ciphertext>> {
        check_block_len::<Self>(public, bytes, count)?;
        let chunks = bytes.par_chunks_exact(wire::CIPHERTEXT_LEN);
        chunks.map(|chunk| wire::ciphertext_from_bytes(public, chunk)).collect()
    }
}

impl SlotBackend for Tfhe {
    type Packing = Unpacked;
    type Updates = NoSecretRate;

    /// On the reference machine. Slots are never shifted: there is one. Weights of any width cost the same.
    fn slot_prices(_: &PublicKey) -> Prices {
        Prices {
            encrypt: 45_000,
            decrypt: 4_000,
            rerandomize: 130_000,
            product: 4_200,
            shift_bit: 0,
            lanes: 1,
            byte: 8,
            products: |size| size.taps as u64,
        }
    }
}
