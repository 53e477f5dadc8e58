//! Paillier's cryptosystem as [`AdditiveHE`].

use core::marker::PhantomData;

use crypto_bigint::BoxedUint;
use gelu_core::error::{ApiMisuse, PeerIncompatible};
use gelu_core::slots::{
    AdditiveHE, DigitSlots, MaskSlots, Matrix, Packed, Plaintext, Prices, ScaleSlots, SlotBackend,
    SlotShape, SlotShares, UpdateLayout, check_block_len,
};
use gelu_core::{Cryptosystem, Result};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::batches::chunk_size;
use crate::ciphertext::Ciphertext;
use crate::digits::{self, capacity};
use crate::kernel::LANES;
use crate::keys::{PublicKey, STANDARD_KEY_BITS, SecretKey};
use crate::linear::{self, prices};
use crate::noise::Noise;
use crate::power_table::PowerTable;
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

impl<P: KeyPolicy> Cryptosystem for Scheme<P> {
    const ID: &'static str = P::ID;
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;

    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        let key = P::accepts(bits).then(|| SecretKey::generate_any_size(bits, rng)).flatten();
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

    fn public_key_to_bytes(secret: &SecretKey) -> Vec<u8> {
        secret.public_key().to_bytes()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        let got = wire::announced_key_bits(bytes)?;
        if !P::accepts(got) {
            let accepted = P::ACCEPTED.to_owned();
            return Err(PeerIncompatible::KeySize { got, accepted }.into());
        }
        Ok(wire::public_key_from_bytes(bytes)?)
    }
}

impl<P: KeyPolicy> AdditiveHE for Scheme<P> {
    type Prepared = Matrix;
    type Ciphertext = Ciphertext;

    fn slots(public: &PublicKey, slot_bits: u32) -> usize {
        capacity(public.bits()).checked_div(slot_bits).unwrap_or(0) as usize
    }

    /// With [`Noise::HalfExponent`].
    fn encrypt(
        public: &PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        let plaintexts = core::slice::from_ref(plaintext);
        Ok(public.encrypt_with(Noise::HalfExponent, plaintexts, rng)?.remove(0))
    }

    /// In constant time: the file `owner` says how and what else.
    fn decrypt(secret: &SecretKey, ciphertext: &Ciphertext, shape: SlotShape) -> Result<Plaintext> {
        let pair = (ciphertext.clone(), shape);
        Ok(Self::decrypt_many(secret, &[pair])?.remove(0))
    }

    fn add(public: &PublicKey, a: &Ciphertext, b: &Ciphertext) -> Ciphertext {
        let sum = public.ring().multiply(&[a.under(public)], &[b.under(public)]);
        Ciphertext::new(public, sum.get(0))
    }

    /// # Panics
    /// When the slots of `b` exceed the key.
    fn add_plain(public: &PublicKey, a: &Ciphertext, b: &Plaintext) -> Ciphertext {
        public.check_shape(b.shape()).expect("a plaintext that the key can hold");
        let b = public.messages(&[digits::encode(b, public.mod_n().value())]);
        let sum = public.ring().multiply(&[a.under(public)], &[b.get(0)]);
        Ciphertext::new(public, sum.get(0))
    }

    /// In time that tells the length and the sign of `k`.
    fn mul_plain(public: &PublicKey, a: &Ciphertext, k: i128) -> Ciphertext {
        let power = linear::power(public.ring(), a.under(public), k);
        Ciphertext::new(public, power.get(0))
    }

    /// With [`Noise::Statistical`], which hides the weights even from an owner who made the key
    /// in bad faith.
    fn rerandomize(
        public: &PublicKey,
        ciphertext: &Ciphertext,
        shape: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext {
        let pair = (ciphertext.clone(), shape);
        public.rerandomize_with(Noise::Statistical, &[pair], rng).remove(0)
    }

    fn ciphertext_len(public: &PublicKey) -> usize {
        wire::ciphertext_len(public)
    }

    fn ciphertext_to_bytes(public: &PublicKey, ciphertext: &Ciphertext, out: &mut Vec<u8>) {
        wire::ciphertexts_to_bytes(public, core::slice::from_ref(ciphertext), out);
    }

    fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> Result<Ciphertext> {
        Ok(Self::ciphertexts_from_bytes(public, bytes, 1)?.remove(0))
    }

    fn ciphertexts_to_bytes(public: &PublicKey, ciphertexts: &[Ciphertext], out: &mut Vec<u8>) {
        wire::ciphertexts_to_bytes(public, ciphertexts, out);
    }

    /// With one gcd for the whole block.
    fn ciphertexts_from_bytes(
        public: &PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Ciphertext>> {
        check_block_len::<Self>(public, bytes, count)?;
        Ok(wire::ciphertexts_from_bytes(public, bytes)?)
    }

    // ---- faster than the provided bodies ----------------------------------------------------

    /// From tables modulo p² and q²; the noise is uniform (statistically).
    fn encrypt_as_owner(
        secret: &SecretKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        Ok(Self::encrypt_many(secret, core::slice::from_ref(plaintext), rng)?.remove(0))
    }

    fn encrypt_many(
        secret: &SecretKey,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        secret.encrypt_many(plaintexts, rng)
    }

    fn decrypt_many(
        secret: &SecretKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        secret.decrypt_many(ciphertexts)
    }

    fn rerandomize_many(
        public: &PublicKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        public.rerandomize_with(Noise::Statistical, ciphertexts, rng)
    }

    fn precompute_encryptions(secret: &SecretKey, count: usize, rng: &mut dyn CryptoRng) {
        secret.precompute_encryptions(count, rng);
    }

    fn precompute_seals(public: &PublicKey, count: usize, rng: &mut dyn CryptoRng) {
        public.precompute_seals(count, rng);
    }

    fn neg(public: &PublicKey, a: &Ciphertext) -> Ciphertext {
        Ciphertext::new(public, linear::invert(public.ring(), &[a.under(public)]).get(0))
    }

    fn linear_combination(public: &PublicKey, terms: &[(i128, &Ciphertext)]) -> Result<Ciphertext> {
        if terms.is_empty() {
            return Err(ApiMisuse::Empty("a linear combination").into());
        }
        let terms: Vec<_> = terms.iter().map(|(k, a)| (*k, a.under(public))).collect();
        let product = linear::linear_combination(public.ring(), &terms);
        Ok(Ciphertext::new(public, product.get(0)))
    }

    /// With the algorithm that needs the fewest products; the module `linear` has the formula.
    /// Time depends on the weights.
    fn matvec(
        public: &PublicKey,
        matrix: &Matrix,
        inputs: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>> {
        if inputs.is_empty() {
            return Err(ApiMisuse::Empty("a matrix product").into());
        }
        let inputs: Vec<_> = inputs.iter().map(|input| input.under(public)).collect();
        Ok(public.ciphertexts(&linear::matvec(
            public.ring(),
            &matrix.taps,
            &matrix.entries,
            &inputs,
        )))
    }
}

impl<P: KeyPolicy> DigitSlots for Scheme<P> {
    /// Both chains of squarings, that of the weights' bits and that of the slots, are one.
    fn matvec_packed(
        public: &PublicKey,
        matrix: &Matrix,
        inputs: &[Ciphertext],
        group: usize,
        each: SlotShape,
    ) -> Result<Vec<Ciphertext>> {
        if inputs.is_empty() || group == 0 {
            return Err(ApiMisuse::Empty("a matrix product or a group").into());
        }
        let inputs: Vec<_> = inputs.iter().map(|input| input.under(public)).collect();
        let (ring, bits) = (public.ring(), each.total_bits());
        let (taps, entries) = (&matrix.taps, &matrix.entries);
        let packed = linear::matvec_packed(ring, taps, entries, &inputs, group, bits);
        Ok(public.ciphertexts(&packed))
    }

    fn pack(public: &PublicKey, ciphertexts: &[Ciphertext], each: SlotShape) -> Result<Ciphertext> {
        if ciphertexts.is_empty() {
            return Err(ApiMisuse::Empty("packing").into());
        }
        let elements: Vec<_> = ciphertexts.iter().map(|c| c.under(public)).collect();
        let packed = linear::pack(public.ring(), &elements, elements.len(), each.total_bits());
        Ok(Ciphertext::new(public, packed.get(0)))
    }

    /// `by · slot_bits` squarings.
    fn shift(public: &PublicKey, a: &Ciphertext, by: usize, slot_bits: u32) -> Ciphertext {
        let shifted = public.ring().square(&[a.under(public)], by * slot_bits as usize);
        Ciphertext::new(public, shifted.get(0))
    }
}

impl<P: KeyPolicy> ScaleSlots for Scheme<P> {
    /// A row is one exponent, and all rows share a table of powers of `a`. Which entries are read
    /// follows the rows.
    fn scale_slots(
        public: &PublicKey,
        a: &Ciphertext,
        rows: &[Plaintext],
    ) -> Result<Vec<Ciphertext>> {
        rows.iter().try_for_each(|row| public.check_shape(row.shape()))?;
        let (ring, bits) = (public.ring(), public.bits());
        let mut base = ring.empty();
        base.push(a.under(public));
        let products = |w: &u32| u64::from(bits.div_ceil(*w)) * (rows.len() as u64 + (1 << w));
        let window = (1..=8).min_by_key(products).expect("there are windows");
        let table = PowerTable::new(ring, &base, bits, window);
        let scale = |rows: &[Plaintext]| {
            let exponents: Zeroizing<Vec<_>> = Zeroizing::new(
                rows.iter()
                    .map(|row| BoxedUint::clone(&digits::encode(row, public.mod_n().value())))
                    .collect(),
            );
            public.ciphertexts(&table.powers(ring, &exponents))
        };
        Ok(rows.par_chunks(chunk_size(rows.len(), LANES)).flat_map_iter(scale).collect())
    }
}

impl<P: KeyPolicy> MaskSlots for Scheme<P> {
    /// With [`Noise::Statistical`]. Every mask is within (slots + 1)·2^−[`SIGMA`](gelu_core::slots::SIGMA) of
    /// uniform modulo n.
    fn mask_many(
        public: &PublicKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> (Vec<Ciphertext>, Vec<Zeroizing<Vec<u64>>>) {
        public.mask_many(ciphertexts, rng)
    }

    fn digits_many(
        secret: &SecretKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Zeroizing<Vec<u64>>>> {
        secret.digits_many(ciphertexts)
    }
}

impl<P: KeyPolicy> SlotBackend for Scheme<P> {
    type Packing = Packed;
    type Updates = UpdateLayout;
    type Masking = SlotShares;

    fn slot_prices(public: &PublicKey) -> Prices {
        prices(public.bits())
    }
}
