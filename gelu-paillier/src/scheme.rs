//! Paillier's cryptosystem as [`AdditiveHE`].

use core::marker::PhantomData;

use crypto_bigint::{BoxedUint, ConcatenatingMul, Limb};
use gelu_core::error::{ApiMisuse, PeerIncompatible};
use gelu_core::linear::Taps;
use gelu_core::slots::MAX_SLOT_BITS;
use gelu_core::{AdditiveHE, Error, Plaintext, Result, SlotShape, he};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::arithmetic::Residue;
use crate::digits::{self, capacity};
use crate::hash::{Purpose, unit};
use crate::keys::{PublicKey, STANDARD_KEY_BITS, SecretKey};
use crate::linear;
use crate::noise::Noise;
use crate::wire;

/// The Paillier backend with keys of 2048, 3072 or 4096 bits.
pub type Paillier = Scheme<StandardKeys>;

/// The Paillier backend with keys from 512 bits, under a name that no honest peer agrees to.
///
/// For tests of whole sessions, which would take minutes with real keys. Keys and ciphertexts are
/// those of [`Paillier`].
pub type InsecurePaillier = Scheme<InsecureKeys>;

/// Paillier's cryptosystem; the policy says which key sizes it deals in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheme<P>(PhantomData<P>);

/// Which keys a [`Scheme`] makes and accepts, and under which name.
pub trait KeyPolicy: core::fmt::Debug + Clone + Send + Sync + 'static {
    /// The name of the backend.
    const ID: &'static str;
    /// The sizes, in words.
    const ACCEPTED: &'static str;
    /// Whether keys of `bits` bits are made and accepted.
    fn accepts(bits: u32) -> bool;
}

/// Keys for real use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StandardKeys;

impl KeyPolicy for StandardKeys {
    const ID: &'static str = "paillier";
    const ACCEPTED: &'static str = "2048, 3072 or 4096 bits";
    fn accepts(bits: u32) -> bool {
        STANDARD_KEY_BITS.contains(&bits)
    }
}

/// Keys for tests: breakable ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsecureKeys;

impl KeyPolicy for InsecureKeys {
    const ID: &'static str = "insecure-paillier-test-keys";
    const ACCEPTED: &'static str = "512, 1024, 2048, 3072 or 4096 bits";
    fn accepts(bits: u32) -> bool {
        bits == 512 || bits == 1024 || StandardKeys::accepts(bits)
    }
}

/// (1 + n)^m · rⁿ mod n²: an encrypted row of slots.
///
/// Always a unit modulo n². It remembers the [fingerprint](PublicKey::fingerprint) of its key:
/// operations on ciphertexts of another key panic, decryption fails.
#[derive(Clone)]
pub struct Ciphertext {
    residue: Residue,
    key: [u8; 8],
}

impl Ciphertext {
    /// From a unit modulo n².
    pub(crate) fn new(public: &PublicKey, residue: Residue) -> Self {
        Self { residue, key: public.fingerprint() }
    }

    /// The residue, given the right key.
    ///
    /// # Panics
    /// When the ciphertext belongs to another key. Ciphertexts from a peer are read under the
    /// session's key, so this is a mistake of our own.
    pub(crate) fn under(&self, public: &PublicKey) -> &Residue {
        assert_eq!(self.key, public.fingerprint(), "a ciphertext under another key");
        &self.residue
    }
}

impl core::fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let key = format_args!("{:016x}", u64::from_be_bytes(self.key)).to_string();
        f.debug_struct("Ciphertext").field("key", &key).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Encrypts with a chosen kind of [`Noise`].
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] when the slots need more than `bits() − 2` bits.
    pub fn encrypt_with(
        &self,
        noise: Noise,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        self.check_shape(plaintext.shape())?;
        let message = self.one_plus(&digits::encode(plaintext, self.mod_n().value()));
        Ok(Ciphertext::new(self, &message * &self.noise(noise, rng)))
    }

    /// [`AdditiveHE::rerandomize`] with a chosen kind of [`Noise`].
    ///
    /// [`Noise::ShortExponent`] hides from outsiders only, which is of no use towards the key's
    /// owner.
    ///
    /// # Panics
    /// When `shape` exceeds the key, or the ciphertext belongs to another.
    pub fn rerandomize_with(
        &self,
        noise: Noise,
        ciphertext: &Ciphertext,
        shape: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext {
        self.check_shape(shape).expect("a shape that the key can hold");
        let mask = self.one_plus(&digits::mask(shape, self.mod_n().value(), rng));
        let fresh = &mask * &self.noise(noise, rng);
        Ciphertext::new(self, ciphertext.under(self) * &fresh)
    }

    /// (1 + n)^m = 1 + m·n mod n², for m < n.
    pub(crate) fn one_plus(&self, m: &BoxedUint) -> Residue {
        let product = Zeroizing::new(m.concatenating_mul(self.mod_n().value().as_ref()));
        self.mod_n2().residue(&Zeroizing::new(product.wrapping_add(Limb::ONE)))
    }

    pub(crate) fn check_shape(&self, shape: SlotShape) -> Result<()> {
        let available = capacity(self.bits());
        let needed = u32::try_from(shape.total_bits()).unwrap_or(u32::MAX);
        if needed > available || shape.bits > MAX_SLOT_BITS || needed == 0 {
            return Err(ApiMisuse::SlotOverflow { needed, available }.into());
        }
        Ok(())
    }
}

impl SecretKey {
    /// The message of a ciphertext, in [0, n).
    pub(crate) fn decrypt_residue(&self, ciphertext: &Ciphertext) -> Result<Zeroizing<BoxedUint>> {
        if ciphertext.key != self.public_key().fingerprint() {
            return Err(Error::Decryption);
        }
        Ok(self.owner().decrypt(&ciphertext.residue.value()))
    }
}

/// A generator for each of `count` items, so that results do not depend on who works on which.
fn generators(count: usize, rng: &mut dyn CryptoRng) -> Vec<ChaCha20Rng> {
    let seed = |_| {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        ChaCha20Rng::from_seed(*seed)
    };
    (0..count).map(seed).collect()
}

impl<P: KeyPolicy> AdditiveHE for Scheme<P> {
    const ID: &'static str = P::ID;
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;
    type Ciphertext = Ciphertext;

    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        let key = P::accepts(bits).then(|| SecretKey::insecure_generate(bits, rng)).flatten();
        key.ok_or_else(|| {
            let why = format!("{bits} bits, but this backend offers {}", P::ACCEPTED);
            ApiMisuse::configuration("Paillier key", why).into()
        })
    }

    fn public_key(secret: &SecretKey) -> &PublicKey {
        secret.public_key()
    }

    fn key_bits(public: &PublicKey) -> u32 {
        public.bits()
    }

    fn slots(public: &PublicKey, slot_bits: u32) -> usize {
        capacity(public.bits()).checked_div(slot_bits).unwrap_or(0) as usize
    }

    /// With [`Noise::ShortExponent`].
    fn encrypt(
        public: &PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        public.encrypt_with(Noise::ShortExponent, plaintext, rng)
    }

    /// In constant time: the file `owner` says how and what else.
    fn decrypt(secret: &SecretKey, ciphertext: &Ciphertext, shape: SlotShape) -> Result<Plaintext> {
        let public = secret.public_key();
        public.check_shape(shape)?;
        let m = secret.decrypt_residue(ciphertext)?;
        let values = digits::decode(&m, shape, public.mod_n().value());
        Plaintext::new(shape.bits, values).map_err(|_| Error::Decryption)
    }

    fn add(public: &PublicKey, a: &Ciphertext, b: &Ciphertext) -> Ciphertext {
        Ciphertext::new(public, a.under(public) * b.under(public))
    }

    /// # Panics
    /// When the slots of `b` exceed the key.
    fn add_plain(public: &PublicKey, a: &Ciphertext, b: &Plaintext) -> Ciphertext {
        public.check_shape(b.shape()).expect("a plaintext that the key can hold");
        let b = public.one_plus(&digits::encode(b, public.mod_n().value()));
        Ciphertext::new(public, a.under(public) * &b)
    }

    /// In time that tells the length and the sign of `k`.
    fn mul_plain(public: &PublicKey, a: &Ciphertext, k: i128) -> Ciphertext {
        let power = linear::power_vartime(public.mod_n2(), a.under(public), k);
        Ciphertext::new(public, power)
    }

    /// With [`Noise::Statistical`], which hides the weights even from an owner who made the key
    /// in bad faith.
    fn rerandomize(
        public: &PublicKey,
        ciphertext: &Ciphertext,
        shape: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext {
        public.rerandomize_with(Noise::Statistical, ciphertext, shape, rng)
    }

    fn public_key_to_bytes(public: &PublicKey) -> Vec<u8> {
        wire::public_key_to_bytes(public)
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        let got = wire::announced_key_bits(bytes)?;
        if !P::accepts(got) {
            let accepted = P::ACCEPTED.to_owned();
            return Err(PeerIncompatible::KeySize { got, accepted }.into());
        }
        Ok(wire::public_key_from_bytes(bytes)?)
    }

    fn ciphertext_len(public: &PublicKey) -> usize {
        wire::ciphertext_len(public)
    }

    fn ciphertext_to_bytes(public: &PublicKey, ciphertext: &Ciphertext, out: &mut Vec<u8>) {
        out.extend_from_slice(&ciphertext.under(public).value().to_be_bytes());
    }

    fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> Result<Ciphertext> {
        Ok(Self::ciphertexts_from_bytes(public, bytes, 1)?.remove(0))
    }

    /// With one gcd for the whole block.
    fn ciphertexts_from_bytes(
        public: &PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Ciphertext>> {
        he::check_block_len::<Self>(public, bytes, count)?;
        Ok(wire::ciphertexts_from_bytes(public, bytes)?)
    }

    // ---- faster than the provided bodies ----------------------------------------------------

    /// From tables modulo p² and q², in constant time; the noise is uniform (statistically).
    fn encrypt_as_owner(
        secret: &SecretKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        let public = secret.public_key();
        public.check_shape(plaintext.shape())?;
        let message = public.one_plus(&digits::encode(plaintext, public.mod_n().value()));
        let noise = secret.owner().noise(|i| unit(public.mod_n(), Purpose::Owner, i), rng);
        Ok(Ciphertext::new(public, &message * &public.mod_n2().residue(&noise)))
    }

    fn encrypt_many(
        secret: &SecretKey,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        plaintexts
            .par_iter()
            .zip(generators(plaintexts.len(), rng))
            .map(|(plaintext, mut rng)| Self::encrypt_as_owner(secret, plaintext, &mut rng))
            .collect()
    }

    fn decrypt_many(
        secret: &SecretKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        ciphertexts.par_iter().map(|(c, shape)| Self::decrypt(secret, c, *shape)).collect()
    }

    fn rerandomize_many(
        public: &PublicKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        ciphertexts
            .par_iter()
            .zip(generators(ciphertexts.len(), rng))
            .map(|((c, shape), mut rng)| Self::rerandomize(public, c, *shape, &mut rng))
            .collect()
    }

    fn neg(public: &PublicKey, a: &Ciphertext) -> Ciphertext {
        Ciphertext::new(public, linear::invert_vartime(public.mod_n2(), a.under(public)))
    }

    fn linear_combination(public: &PublicKey, terms: &[(i128, &Ciphertext)]) -> Result<Ciphertext> {
        if terms.is_empty() {
            return Err(ApiMisuse::Empty("a linear combination").into());
        }
        let terms: Vec<_> = terms.iter().map(|(k, a)| (*k, a.under(public))).collect();
        let product = linear::product_of_powers_vartime(public.mod_n2(), &terms);
        Ok(Ciphertext::new(public, product))
    }

    /// By shared tables and interleaved windows; the file `linear` has the cost formula. Time depends on
    /// the weights.
    fn matvec(
        public: &PublicKey,
        taps: &Taps,
        weights: &[i128],
        inputs: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>> {
        if inputs.is_empty() {
            return Err(ApiMisuse::Empty("a matrix product").into());
        }
        let inputs: Vec<_> = inputs.iter().map(|input| input.under(public)).collect();
        let outputs = linear::matvec_vartime(public.mod_n2(), taps, weights, &inputs);
        Ok(outputs.into_iter().map(|residue| Ciphertext::new(public, residue)).collect())
    }

    /// `by · slot_bits` squarings.
    fn shift(public: &PublicKey, a: &Ciphertext, by: usize, slot_bits: u32) -> Ciphertext {
        let shifted = a.under(public).square_repeatedly(by * slot_bits as usize);
        Ciphertext::new(public, shifted)
    }
}
