//! Backends: what the protocol asks of a cryptosystem.
//!
//! A [`Cryptosystem`] has a name and keys. A [`Backend`] carries linear maps over encrypted arrays: for
//! a [`Task`] it says in which [`Layout`]s it can do that, and a layout does it. How values sit in
//! ciphertexts is the layout's knowledge alone; the protocol sees integers, bytes and costs.
//!
//! ```text
//! client   X ─ encrypt ─▶ bytes ─────────────────▶ read ─▶ Inputs
//! server   W, b ─ prepare ─▶ Weights (once)                  └─ evaluate ─▶ Answer ─ seal ─▶ Sealed
//! client   W·X + b ◀─ decrypt ◀──────────────────────────────────────────────────────────── bytes
//! ```
//!
//! Answers that the client must not read either are handed out as [`Shares`].
//!
//! Schemes whose plaintexts are rows of slots need not write layouts: see [`slots`](crate::slots).

pub(crate) mod laws;
mod rate;
mod seal;
pub(crate) mod share_laws;
mod shares;
mod task;

use core::fmt::{Debug, Display};

use ndarray::Array2;
use rand_core::CryptoRng;

use crate::error::{RangeError, Result};
use crate::linear::LinearMap;
pub use rate::{NoSecretRate, SecretRate};
pub use seal::Sealed;
pub use shares::{NoShares, Share, Shares};
pub use task::{Direction, MAX_WRAPPING_BITS, Task};

/// A public-key cryptosystem: its name and its keys.
pub trait Cryptosystem: Sized + Send + Sync + 'static {
    /// The name under which a registry, a `--backend` and the handshake know this scheme.
    const ID: &'static str;

    /// What everybody may know.
    type PublicKey: Clone + PartialEq + Debug + Send + Sync + 'static;
    /// What only the client may know: wiped on drop, redacted in `Debug`, no `Clone`.
    type SecretKey: Debug + Send + Sync + 'static;

    /// A fresh key of `bits` bits.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`](crate::error::ApiMisuse::Configuration) for a size that the scheme
    /// does not offer.
    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<Self::SecretKey>;

    /// The public half of a key.
    fn public_key(secret: &Self::SecretKey) -> &Self::PublicKey;

    /// The size of the key, as in [`keygen`](Self::keygen).
    fn key_bits(public: &Self::PublicKey) -> u32;

    /// The public half of a key as bytes, with what proves to a peer that it was made as it should be.
    fn public_key_to_bytes(secret: &Self::SecretKey) -> Vec<u8>;

    /// A peer's public key, checked as far as a public key can be checked.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidKey`](crate::error::PeerMisbehaved::InvalidKey),
    /// [`PeerIncompatible::KeySize`](crate::error::PeerIncompatible::KeySize).
    fn public_key_from_bytes(bytes: &[u8]) -> Result<Self::PublicKey>;
}

/// A cryptosystem that carries linear maps over encrypted arrays: see the [module](self).
///
/// Decrypted integers are exact, or decryption fails: a scheme that rounds is no backend.
pub trait Backend: Cryptosystem {
    /// Whether values wrap: modulo a power of two, and at no cost.
    ///
    /// The law of its layouts is then, for all weights of `weight_bits` bits and the offsets that follow
    /// from them, even where W·X + b is wider than `value_bits`:
    ///
    /// ```text
    /// decrypt(…) ≡ W·X + b   (mod 2^value_bits),   in [−2^(value_bits−1), 2^(value_bits−1))
    /// ```
    ///
    /// Masks are [modular](crate::mask::Kind::Modular) then and take no room, so the plan asks for the bits
    /// of true values, and for no more than [`MAX_WRAPPING_BITS`]. There is
    /// no secret learning rate, which rests on statistical masks: `Rate` is [`NoSecretRate`]. A backend that
    /// wraps another one hands this constant on.
    const WRAPS: bool = false;

    /// How a linear map is carried.
    type Layout: Layout<Self>;
    /// How masked updates travel at a secret learning rate; [`NoSecretRate`] where they cannot.
    type Rate: SecretRate<Self>;
    /// How answers are handed out as shares; [`NoShares`] where they cannot.
    type Shares: Shares<Self>;
    /// What operations cost: what the client chooses a layout by.
    type Prices: Clone + Debug + Send + Sync + 'static;

    /// Every layout that carries `task` exactly, at least one, in an order of the scheme's own.
    ///
    /// A pure function of its arguments: the client names the one that it chose, and the server must
    /// find it here.
    ///
    /// # Errors
    /// [`RangeError::Slot`] with the bits that the task needs and those that there are.
    fn layouts(public: &Self::PublicKey, task: &Task<'_>) -> Result<Vec<Self::Layout>, RangeError>;

    /// What operations under this key cost on a reference machine. Advice for the client, who may
    /// have measured better ones: wrong prices make a session slower, not wrong.
    fn prices(public: &Self::PublicKey) -> Self::Prices;

    /// What an exchange in this layout takes both parties and the wire together.
    fn nanoseconds(layout: &Self::Layout, prices: &Self::Prices) -> u64;

    /// Makes in idle time what the next encryptions in these layouts by the key's owner need: less is
    /// made where some is left. A scheme that has nothing to prepare does nothing.
    ///
    /// What was prepared took its randomness from `rng` here, so a session with and one without
    /// differ in their bytes, though not in what they say.
    fn prepare_encryptions(
        secret: &Self::SecretKey,
        layouts: &[&Self::Layout],
        rng: &mut dyn CryptoRng,
    ) {
        let _ = (secret, layouts, rng);
    }

    /// Makes in idle time what the next answers in these layouts need to be sealed, like
    /// [`prepare_encryptions`](Self::prepare_encryptions).
    fn prepare_seals(public: &Self::PublicKey, layouts: &[&Self::Layout], rng: &mut dyn CryptoRng) {
        let _ = (public, layouts, rng);
    }
}

/// One way to carry a linear map under the cryptosystem `C`.
///
/// # Law
/// For every array X, entries W and offsets b within the bounds of its [`Task`]:
///
/// ```text
/// decrypt(seal(evaluate(prepare(W, b), read(encrypt(X))))) = W·X + b
/// ```
///
/// and the same modulo 2^`value_bits` where values [wrap](Backend::WRAPS).
/// [`conformance`](crate::conformance) checks it against plain integers.
///
/// # Name
/// Its `Display` is its name on the wire: short, without spaces, and different from that of every other
/// layout of the same task.
///
/// # Security
/// IND-CPA only: ciphertexts are malleable by design, so a peer never learns why decryption failed.
/// Steps that touch the secret key run in constant time, or their documentation says what an observer
/// of their timing learns. The weights are the server's secret: implementations of `evaluate` state
/// what their timing tells.
pub trait Layout<C: Cryptosystem>: Clone + Eq + Debug + Display + Send + Sync + 'static {
    /// Weights made ready once a model version. They belong to no client's key: all sessions of a
    /// version share them ([`WeightCache`](crate::server::WeightCache)).
    type Weights: Send + Sync + 'static;
    /// Validated ciphertexts of a client.
    type Inputs;
    /// A result that is not sealed: it cannot be sent.
    type Answer;

    /// Bytes, operations, headroom, and what an answer reveals at most.
    fn cost(&self) -> Cost;

    /// Client: encrypts `values`, the `[features, batch]` that go into `linear` (or, backwards, come
    /// out of it).
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`](crate::error::ApiMisuse::SlotOverflow), which the range analysis
    /// rules out for encoded values.
    fn encrypt(
        &self,
        secret: &C::SecretKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>>;

    /// Server: makes the weights of `linear` ready. `offsets`, if given, holds what is added to each
    /// output (the bias in the output's scale): a weight times a constant, so longer than `value_bits` under
    /// modular masks, and below 2^122. Where values [wrap](Backend::WRAPS) weights and offsets may be
    /// reduced modulo 2^`value_bits` here.
    ///
    /// # Errors
    /// [`ApiMisuse`](crate::error::ApiMisuse) when the numbers exceed the task's bounds.
    fn prepare(
        &self,
        linear: &LinearMap,
        weights: &[i128],
        offsets: Option<&[i128]>,
    ) -> Result<Self::Weights>;

    /// Server: reads and validates what a client sent.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for a block of the wrong length or an invalid
    /// ciphertext.
    fn read(&self, public: &C::PublicKey, bytes: &[u8]) -> Result<Self::Inputs>;

    /// Server: W·⟦X⟧ + b.
    ///
    /// # Errors
    /// [`ApiMisuse`](crate::error::ApiMisuse) for weights of another layout.
    fn evaluate(
        &self,
        public: &C::PublicKey,
        weights: &Self::Weights,
        inputs: &Self::Inputs,
    ) -> Result<Self::Answer>;

    /// Server: an answer as bytes that hide how it was made, for the eyes of the key's owner.
    ///
    /// Only [`Sealed::seal`] calls this: write it as if the key were made in bad faith. The randomness
    /// of a result is a function of the inputs' randomness and the weights, and what overflowed is a
    /// function of the weights; both must be covered completely (`docs/src/security.md`).
    fn seal(&self, public: &C::PublicKey, answer: Self::Answer, rng: &mut dyn CryptoRng)
    -> Vec<u8>;

    /// Client: decrypts a sealed answer to `[features, batch]`.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) as in [`read`](Self::read);
    /// [`Error::Decryption`](crate::Error::Decryption), without detail.
    fn decrypt(&self, secret: &C::SecretKey, bytes: &[u8]) -> Result<Array2<i128>>;
}

/// What an exchange costs, whatever its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Ciphertexts from client to server.
    pub ciphertexts_up: usize,
    /// Ciphertexts from server to client.
    pub ciphertexts_down: usize,
    /// Bytes of ciphertexts, both ways.
    pub bytes: usize,
    /// Homomorphic multiply-accumulates.
    pub multiply_accumulates: usize,
    /// Bits by which a value could still grow.
    pub headroom_bits: u32,
    /// Bits of plaintext that one output of one sample reveals at most: all that come down with it,
    /// because a client may send values that do not belong there (`docs/src/security.md`).
    pub revealed_bits: u64,
    /// Where what hides the weights is statistical and depends on the layout: a coefficient of an answer differs from
    /// one that hides everything by 2^−this at most. None where it does not.
    pub hiding_bits: Option<u32>,
}
