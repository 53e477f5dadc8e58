//! The algebra of encrypted slots.

use core::fmt::Debug;

use rand_core::CryptoRng;

use super::matrix::Matrix;
use super::plaintext::{Plaintext, SlotShape};
use crate::backend::Cryptosystem;
use crate::error::{ApiMisuse, PeerMisbehaved, Result};

/// A cryptosystem whose ciphertexts can be added.
///
/// Plaintexts are rows of signed integers in *slots* ([`Plaintext`]); every operation acts on all
/// slots alike. [`SlotBackend`](super::SlotBackend) makes a [`Backend`](crate::Backend) of it.
///
/// # Laws
/// For all slot rows a, b and integers k whose results stay within the slot's bound, with ⟦a⟧ any
/// encryption of a:
///
/// | call                          | decrypts to                                              |
/// |-------------------------------|----------------------------------------------------------|
/// | `encrypt(a)`                  | a                                                        |
/// | `encrypt_as_owner(a)`         | a, distributed like `encrypt(a)`                         |
/// | `add(⟦a⟧, ⟦b⟧)`               | a + b                                                    |
/// | `sub(⟦a⟧, ⟦b⟧)`               | a − b                                                    |
/// | `neg(⟦a⟧)`                    | −a                                                       |
/// | `add_plain(⟦a⟧, b)`           | a + b                                                    |
/// | `mul_plain(⟦a⟧, k)`           | k · a                                                    |
/// | `rerandomize(⟦a⟧)`            | a, and hides how ⟦a⟧ was made                            |
/// | `linear_combination(kᵢ, ⟦aᵢ⟧)`| Σ kᵢ · aᵢ                                                |
/// | `matvec(W, ⟦a⟧)`              | (Σ W\[o,i\] · aᵢ)ₒ                                       |
/// | `from_bytes(to_bytes(⟦a⟧))`   | a                                                        |
///
/// [`conformance`](crate::conformance) checks every row against plain integers; a backend calls it
/// in one line.
///
/// # Security
/// IND-CPA only: ciphertexts are malleable by design, so a peer never learns why decryption
/// failed. Operations that touch the secret key run in constant time, or their documentation says
/// what an observer of their timing learns. On the server the scalars of `mul_plain` and its
/// relatives are the model's weights; implementations state what their timing tells.
pub trait AdditiveHE: Cryptosystem {
    /// An encrypted row of slots.
    type Ciphertext: Clone + Debug + Send + Sync + 'static;
    /// What [`matvec`](Self::matvec) keeps of a matrix from one product to the next, whatever the key:
    /// [`Matrix`] where there is nothing to prepare.
    type Prepared: From<Matrix> + AsRef<Matrix> + Send + Sync + 'static;

    // ---- required -------------------------------------------------------------------------

    /// How many slots of `slot_bits` bits one ciphertext holds (0: not even one).
    fn slots(public: &Self::PublicKey, slot_bits: u32) -> usize;

    /// Encrypts with randomness from `rng`.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] when the slots exceed [`slots`](Self::slots).
    fn encrypt(
        public: &Self::PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::Ciphertext>;

    /// Decrypts slots of the given shape.
    ///
    /// # Errors
    /// [`Error::Decryption`](crate::Error::Decryption), without detail.
    fn decrypt(
        secret: &Self::SecretKey,
        ciphertext: &Self::Ciphertext,
        shape: SlotShape,
    ) -> Result<Plaintext>;

    /// ⟦a + b⟧ from ⟦a⟧ and ⟦b⟧.
    fn add(
        public: &Self::PublicKey,
        a: &Self::Ciphertext,
        b: &Self::Ciphertext,
    ) -> Self::Ciphertext;

    /// ⟦a + b⟧ from ⟦a⟧ and b.
    fn add_plain(public: &Self::PublicKey, a: &Self::Ciphertext, b: &Plaintext)
    -> Self::Ciphertext;

    /// ⟦k · a⟧ from ⟦a⟧ and k.
    fn mul_plain(public: &Self::PublicKey, a: &Self::Ciphertext, k: i128) -> Self::Ciphertext;

    /// A fresh-looking ciphertext of the same slots, for the eyes of the key's owner.
    ///
    /// Multiplies in an encryption of zero and adds a random multiple of 2^`shape.total_bits()`
    /// above the top slot where the plaintext has room, so that the owner learns neither how the
    /// ciphertext was made nor, if it sent out-of-range plaintexts, what overflowed
    /// (`docs/src/security.md`). Only [`seal`] calls this.
    fn rerandomize(
        public: &Self::PublicKey,
        ciphertext: &Self::Ciphertext,
        shape: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Self::Ciphertext;

    /// Bytes of one ciphertext under this key: always the same number.
    fn ciphertext_len(public: &Self::PublicKey) -> usize;

    /// Appends exactly [`ciphertext_len`](Self::ciphertext_len) bytes to `out`.
    fn ciphertext_to_bytes(
        public: &Self::PublicKey,
        ciphertext: &Self::Ciphertext,
        out: &mut Vec<u8>,
    );

    /// Reads one ciphertext and validates it.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidCiphertext`] or [`PeerMisbehaved::CiphertextLength`].
    fn ciphertext_from_bytes(public: &Self::PublicKey, bytes: &[u8]) -> Result<Self::Ciphertext>;

    // ---- provided: plain bodies that a backend may outrun -----------------------------------

    /// Like [`encrypt`](Self::encrypt), by the key's owner, who may know a faster way.
    fn encrypt_as_owner(
        secret: &Self::SecretKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::Ciphertext> {
        Self::encrypt(Self::public_key(secret), plaintext, rng)
    }

    /// [`encrypt_as_owner`](Self::encrypt_as_owner) for each plaintext.
    fn encrypt_many(
        secret: &Self::SecretKey,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Self::Ciphertext>> {
        plaintexts.iter().map(|p| Self::encrypt_as_owner(secret, p, rng)).collect()
    }

    /// [`decrypt`](Self::decrypt) for each ciphertext, with its own shape.
    fn decrypt_many(
        secret: &Self::SecretKey,
        ciphertexts: &[(Self::Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        ciphertexts.iter().map(|(c, shape)| Self::decrypt(secret, c, *shape)).collect()
    }

    /// [`rerandomize`](Self::rerandomize) for each ciphertext, with its own shape.
    fn rerandomize_many(
        public: &Self::PublicKey,
        ciphertexts: &[(Self::Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Self::Ciphertext> {
        ciphertexts.iter().map(|(c, shape)| Self::rerandomize(public, c, *shape, rng)).collect()
    }

    /// Makes in idle time what the next `count` encryptions by the owner need: fewer are made where
    /// some are left. A scheme that has nothing to prepare does nothing.
    ///
    /// What was prepared took its randomness from `rng` here, so a session with and one without
    /// differ in their bytes, though not in what they say.
    fn precompute_encryptions(secret: &Self::SecretKey, count: usize, rng: &mut dyn CryptoRng) {
        let _ = (secret, count, rng);
    }

    /// Makes in idle time what the next `count` calls of [`rerandomize`](Self::rerandomize) under
    /// this key need, like [`precompute_encryptions`](Self::precompute_encryptions).
    fn precompute_seals(public: &Self::PublicKey, count: usize, rng: &mut dyn CryptoRng) {
        let _ = (public, count, rng);
    }

    /// ⟦−a⟧.
    fn neg(public: &Self::PublicKey, a: &Self::Ciphertext) -> Self::Ciphertext {
        Self::mul_plain(public, a, -1)
    }

    /// ⟦a − b⟧.
    fn sub(
        public: &Self::PublicKey,
        a: &Self::Ciphertext,
        b: &Self::Ciphertext,
    ) -> Self::Ciphertext {
        Self::add(public, a, &Self::neg(public, b))
    }

    /// ⟦Σ kᵢ · aᵢ⟧.
    ///
    /// # Errors
    /// [`ApiMisuse::Empty`] without terms.
    fn linear_combination(
        public: &Self::PublicKey,
        terms: &[(i128, &Self::Ciphertext)],
    ) -> Result<Self::Ciphertext> {
        let mut terms = terms.iter().map(|(k, a)| Self::mul_plain(public, a, *k));
        let first = terms.next().ok_or(ApiMisuse::Empty("a linear combination"))?;
        Ok(terms.fold(first, |sum, term| Self::add(public, &sum, &term)))
    }

    /// One [`linear_combination`](Self::linear_combination) for each output of a matrix: a product, or
    /// a convolution.
    ///
    /// The whole layer comes at once so that a backend can share work between outputs. An output
    /// without taps (an input that a stride steps over, on the way back) is ⟦0⟧.
    ///
    /// # Errors
    /// [`ApiMisuse::Empty`] without inputs.
    fn matvec(
        public: &Self::PublicKey,
        matrix: &Self::Prepared,
        inputs: &[Self::Ciphertext],
    ) -> Result<Vec<Self::Ciphertext>> {
        matvec_by_terms::<Self>(public, matrix.as_ref(), inputs)
    }

    /// Appends the bytes of each ciphertext to `out`, in order.
    fn ciphertexts_to_bytes(
        public: &Self::PublicKey,
        ciphertexts: &[Self::Ciphertext],
        out: &mut Vec<u8>,
    ) {
        ciphertexts.iter().for_each(|c| Self::ciphertext_to_bytes(public, c, out));
    }

    /// Reads `count` ciphertexts; a backend may validate them together.
    ///
    /// # Errors
    /// As [`ciphertext_from_bytes`](Self::ciphertext_from_bytes).
    fn ciphertexts_from_bytes(
        public: &Self::PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Self::Ciphertext>> {
        check_block_len::<Self>(public, bytes, count)?;
        bytes
            .chunks_exact(Self::ciphertext_len(public))
            .map(|chunk| Self::ciphertext_from_bytes(public, chunk))
            .collect()
    }
}

/// [`matvec`](AdditiveHE::matvec), one [`linear_combination`](AdditiveHE::linear_combination) after the other.
pub(crate) fn matvec_by_terms<H: AdditiveHE>(
    public: &H::PublicKey,
    Matrix { taps, entries }: &Matrix,
    inputs: &[H::Ciphertext],
) -> Result<Vec<H::Ciphertext>> {
    let any = inputs.first().ok_or(ApiMisuse::Empty("a matrix product"))?;
    (0..taps.outputs())
        .map(|output| {
            if taps.of(output).is_empty() {
                return Ok(H::mul_plain(public, any, 0));
            }
            let terms: Vec<_> = taps
                .of(output)
                .iter()
                .map(|tap| (entries[tap.weight as usize], &inputs[tap.source as usize]))
                .collect();
            H::linear_combination(public, &terms)
        })
        .collect()
}

/// Checks that a block holds exactly `count` ciphertexts under `public`.
///
/// # Errors
/// [`PeerMisbehaved::CiphertextLength`] with both lengths.
pub fn check_block_len<H: AdditiveHE>(
    public: &H::PublicKey,
    bytes: &[u8],
    count: usize,
) -> Result<()> {
    let expected = count.saturating_mul(H::ciphertext_len(public));
    if bytes.len() != expected {
        return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() }.into());
    }
    Ok(())
}

/// Rerandomises each ciphertext, whose slots have the shape beside it, and writes the results: what
/// [`Layout::seal`](crate::backend::Layout::seal) is for slots.
pub fn seal<H: AdditiveHE>(
    public: &H::PublicKey,
    ciphertexts: &[(H::Ciphertext, SlotShape)],
    rng: &mut dyn CryptoRng,
) -> Vec<u8> {
    let sealed = H::rerandomize_many(public, ciphertexts, rng);
    let mut bytes = Vec::with_capacity(sealed.len() * H::ciphertext_len(public));
    H::ciphertexts_to_bytes(public, &sealed, &mut bytes);
    bytes
}
