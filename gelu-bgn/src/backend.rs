//! The half in G1 as an [`AdditiveHE`] backend: lifted ElGamal on BLS12-381.
//!
//! A plaintext is one slot of at most [`SLOT_BITS`] bits, because decryption has to search for it.
//! What this half is good for is the comparison: the split protocol runs over it like over any other
//! additive scheme.
//!
//! # Security
//! Rerandomised results are uniform among the encryptions of their plaintext, for any key that is
//! accepted. But there is no room above the slot for a mask: m + 2^bits·ρ could not be decoded. A
//! client in bad faith that encrypts numbers of 255 bits gets the *group element* of a combination
//! Σ kᵢ·xᵢ of its choice. It can test guesses of all kᵢ at once, and solve for as many bits as it can
//! take discrete logarithms of (60 to 80 with effort) instead of the slot's. The ledger's count of
//! bits does not hold against it; the decryption that refuses is the client's own.

use gelu_core::backend::{NoSecretRate, NoShares};
use gelu_core::error::ApiMisuse;
use gelu_core::slots::{
    AdditiveHE, Matrix, MatrixSize, Plaintext, Prices, SlotBackend, SlotShape, Unpacked,
    check_block_len, too_many_slots,
};
use gelu_core::{Cryptosystem, Error, Result};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::decode::Decoder;
use crate::group::G1;
use crate::keys::{KEY_BITS, PublicKey, SecretKey};
use crate::scheme::Ciphertext;
use crate::sums::sum;

/// The widest slot, sign included: enough for the paper's networks at inference, not for training.
///
/// A search of all of it takes a third of a second; values below 2^22 are found at once.
pub const SLOT_BITS: u32 = 40;

/// Entries of the decoding table, as a logarithm: 16 MiB, built in a second at the first decryption.
pub const TABLE_BITS: u32 = 20;

/// Lifted ElGamal in G1, level 1 of the [two-level scheme](crate).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bgn;

impl Cryptosystem for Bgn {
    const ID: &'static str = "bgn";
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;

    /// Keys have [`KEY_BITS`] bits and no other size.
    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        if bits != KEY_BITS {
            let why = format!("{bits} bits, but the curve has {KEY_BITS}");
            return Err(ApiMisuse::configuration("BGN key", why).into());
        }
        Ok(SecretKey::generate(rng))
    }

    fn public_key(secret: &SecretKey) -> &PublicKey {
        secret.public_key()
    }

    fn key_bits(_: &PublicKey) -> u32 {
        KEY_BITS
    }

    fn public_key_to_bytes(secret: &SecretKey) -> Vec<u8> {
        secret.public_key().to_bytes()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        Ok(PublicKey::from_bytes(bytes)?)
    }
}

impl AdditiveHE for Bgn {
    type Prepared = Matrix;
    type Ciphertext = Ciphertext<G1>;

    fn slots(_: &PublicKey, slot_bits: u32) -> usize {
        usize::from((1..=SLOT_BITS).contains(&slot_bits))
    }

    fn encrypt(
        public: &PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext<G1>> {
        Ok(public.encrypt(value(plaintext)?, rng))
    }

    /// Constant in time but for the search, whose time tells the size of the plaintext.
    fn decrypt(secret: &SecretKey, c: &Ciphertext<G1>, shape: SlotShape) -> Result<Plaintext> {
        check_shape(shape)?;
        let value = secret.decrypt(c, Decoder::new(shape.bits, TABLE_BITS)?)?;
        Plaintext::new(shape.bits, vec![value.into()]).map_err(|_| Error::Decryption)
    }

    fn add(public: &PublicKey, a: &Ciphertext<G1>, b: &Ciphertext<G1>) -> Ciphertext<G1> {
        public.add(a, b)
    }

    /// # Panics
    /// When `b` has more than one slot, or one of more than [`SLOT_BITS`] bits.
    fn add_plain(public: &PublicKey, a: &Ciphertext<G1>, b: &Plaintext) -> Ciphertext<G1> {
        public.add_plain(a, value(b).expect("a plaintext that the key can hold"))
    }

    /// In time that tells the length of `k`.
    fn mul_plain(public: &PublicKey, a: &Ciphertext<G1>, k: i128) -> Ciphertext<G1> {
        public.mul_plain(a, k)
    }

    /// Without a mask above the slot, for which there is no room: the module says what that means.
    fn rerandomize(
        public: &PublicKey,
        c: &Ciphertext<G1>,
        _: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext<G1> {
        public.rerandomize(c, rng)
    }

    fn ciphertext_len(_: &PublicKey) -> usize {
        Ciphertext::<G1>::LEN
    }

    fn ciphertext_to_bytes(_: &PublicKey, c: &Ciphertext<G1>, out: &mut Vec<u8>) {
        c.write(out);
    }

    fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> Result<Ciphertext<G1>> {
        Ok(Self::ciphertexts_from_bytes(public, bytes, 1)?.remove(0))
    }

    // ---- faster than the provided bodies ----------------------------------------------------

    fn encrypt_as_owner(
        secret: &SecretKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext<G1>> {
        Ok(secret.encrypt(value(plaintext)?, rng))
    }

    fn encrypt_many(
        secret: &SecretKey,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext<G1>>> {
        let values: Vec<i64> = plaintexts.iter().map(value).collect::<Result<_>>()?;
        Ok(with_generators(&values, rng, |value, rng| secret.encrypt(*value, rng)))
    }

    fn decrypt_many(
        secret: &SecretKey,
        ciphertexts: &[(Ciphertext<G1>, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        ciphertexts.par_iter().map(|(c, shape)| Self::decrypt(secret, c, *shape)).collect()
    }

    fn rerandomize_many(
        public: &PublicKey,
        ciphertexts: &[(Ciphertext<G1>, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext<G1>> {
        with_generators(ciphertexts, rng, |(c, _), rng| public.rerandomize(c, rng))
    }

    /// By buckets: see the module `sums`. Time depends on the weights.
    fn linear_combination(
        public: &PublicKey,
        terms: &[(i128, &Ciphertext<G1>)],
    ) -> Result<Ciphertext<G1>> {
        public.linear_combination(terms)
    }

    fn matvec(
        _: &PublicKey,
        matrix: &Matrix,
        inputs: &[Ciphertext<G1>],
    ) -> Result<Vec<Ciphertext<G1>>> {
        if inputs.is_empty() {
            return Err(ApiMisuse::Empty("a matrix product").into());
        }
        let row = |output| {
            let taps = matrix.taps.of(output).iter();
            let terms: Vec<_> = taps
                .map(|tap| (matrix.entries[tap.weight as usize], &inputs[tap.source as usize].0))
                .collect();
            Ciphertext(sum(&terms))
        };
        Ok((0..matrix.taps.outputs()).into_par_iter().map(row).collect())
    }

    fn ciphertexts_from_bytes(
        public: &PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Ciphertext<G1>>> {
        check_block_len::<Self>(public, bytes, count)?;
        Ok(Ciphertext::read_many(bytes, count)?)
    }
}

impl SlotBackend for Bgn {
    type Packing = Unpacked;
    type Updates = NoSecretRate;
    /// Decryption finds discrete logarithms of short numbers; a mask is as long as the group's order.
    type Masking = NoShares;

    /// Of `examples/measure.rs` on the reference machine; a decryption without giant steps.
    fn slot_prices(_: &PublicKey) -> Prices {
        Prices {
            encrypt: 140_000,
            decrypt: 900_000,
            rerandomize: 140_000,
            product: 1_200,
            shift_bit: 1_200,
            lanes: 1,
            byte: 8,
            products,
        }
    }
}

/// The additions of `sums`, for 16 buckets: digits of 5 bits.
fn products(size: MatrixSize) -> u64 {
    let (digits, outputs) = (u64::from(size.weight_bits / 5 + 1), size.outputs as u64);
    let additions = (size.taps as u64).saturating_add(outputs.saturating_mul(37));
    additions.saturating_mul(digits)
}

/// One slot of at most [`SLOT_BITS`] bits.
fn check_shape(shape: SlotShape) -> Result<()> {
    if shape.count != 1 || !(1..=SLOT_BITS).contains(&shape.bits) {
        return Err(too_many_slots(shape, SLOT_BITS).into());
    }
    Ok(())
}

fn value(plaintext: &Plaintext) -> Result<i64> {
    check_shape(plaintext.shape())?;
    Ok(i64::try_from(plaintext.values()[0]).expect("a slot of 40 bits"))
}

/// Each item in parallel, with a generator of its own, so that results do not depend on who works on
/// which.
pub(crate) fn with_generators<T: Sync, U: Send>(
    items: &[T],
    rng: &mut dyn CryptoRng,
    f: impl Fn(&T, &mut ChaCha20Rng) -> U + Sync,
) -> Vec<U> {
    let mut seeds = Zeroizing::new(vec![[0u8; 32]; items.len()]);
    seeds.iter_mut().for_each(|seed| rng.fill_bytes(seed));
    let pairs = items.par_iter().zip(seeds.par_iter());
    pairs.map(|(item, seed)| f(item, &mut ChaCha20Rng::from_seed(*seed))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::conformance;
    use gelu_core::linear::{Tap, Taps};
    use proptest::prelude::*;

    fn key() -> SecretKey {
        Bgn::keygen(KEY_BITS, &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn conforms() {
        conformance::check::<Bgn>(&key(), 12, &mut ChaCha20Rng::seed_from_u64(2));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (key, rng) = (key(), &mut ChaCha20Rng::seed_from_u64(3));
        assert!(Bgn::keygen(255, rng).is_err());
        let public = key.public_key();
        assert_eq!([0, 1, 40, 41].map(|bits| Bgn::slots(public, bits)), [0, 1, 1, 0]);
        let wide = Plaintext::new(41, vec![1]).unwrap();
        assert!(Bgn::encrypt(public, &wide, rng).is_err());
        assert!(Bgn::encrypt_many(&key, &[wide], rng).is_err());
        let two = Plaintext::new(8, vec![1, 2]).unwrap();
        assert!(Bgn::encrypt(public, &two, rng).is_err());
        let c = Bgn::encrypt(public, &Plaintext::new(9, vec![128]).unwrap(), rng).unwrap();
        let decrypt = |bits| Bgn::decrypt(&key, &c, SlotShape { bits, count: 1 });
        assert_eq!(decrypt(9).unwrap().values(), [128]);
        assert_eq!(decrypt(8).unwrap_err(), Error::Decryption);
        assert!(matches!(decrypt(41).unwrap_err(), Error::ApiMisuse(_)));
    }

    #[test]
    fn the_widest_slot_is_searched_to_its_ends() {
        let (key, rng) = (key(), &mut ChaCha20Rng::seed_from_u64(6));
        let most = (1i128 << (SLOT_BITS - 1)) - 1;
        let shape = SlotShape { bits: SLOT_BITS, count: 1 };
        for value in [most, -most] {
            let plaintext = Plaintext::new(SLOT_BITS, vec![value]).unwrap();
            let c = Bgn::encrypt_as_owner(&key, &plaintext, rng).unwrap();
            assert_eq!(Bgn::decrypt(&key, &c, shape).unwrap(), plaintext);
            let beyond = key.public_key().add_plain(&c, value.signum().try_into().unwrap());
            assert_eq!(Bgn::decrypt(&key, &beyond, shape).unwrap_err(), Error::Decryption);
        }
    }

    /// Against the provided body, which multiplies one by one.
    #[test]
    fn matrix_products_have_a_plain_twin() {
        let (key, rng) = (key(), &mut ChaCha20Rng::seed_from_u64(4));
        let public = key.public_key();
        let inputs: Vec<_> = (-20..20).map(|m| public.encrypt(m, rng)).collect();
        let weights = (0..40).map(|k| (k * 37 % 256) - 128).collect();
        let row = |step: u32| (0..40).map(|i| Tap { source: i, weight: i * step % 40 }).collect();
        let taps = Taps::from_rows([row(1), row(3), vec![], row(7)]);
        let matrix = Matrix { taps, entries: weights };
        let fast = Bgn::matvec(public, &matrix, &inputs).unwrap();
        for (output, fast) in fast.iter().enumerate() {
            let plain = matrix.taps.of(output).iter().fold(public.trivial(0), |sum, tap| {
                let (k, c) = (matrix.entries[tap.weight as usize], &inputs[tap.source as usize]);
                public.add(&sum, &public.mul_plain(c, k))
            });
            assert_eq!(fast, &plain);
        }
        assert!(Bgn::matvec(public, &matrix, &[]).is_err());
    }

    #[test]
    fn the_seed_determines_every_byte() {
        let key = key();
        let run = || {
            let rng = &mut ChaCha20Rng::seed_from_u64(5);
            let plaintexts = [3, -4].map(|m| Plaintext::new(16, vec![m]).unwrap());
            let encrypted = Bgn::encrypt_many(&key, &plaintexts, rng).unwrap();
            let pairs: Vec<_> =
                encrypted.into_iter().map(|c| (c, SlotShape { bits: 16, count: 1 })).collect();
            Bgn::rerandomize_many(key.public_key(), &pairs, rng)
        };
        assert_eq!(run(), run());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn laws((bits, a, b, k) in conformance::arguments(), seed in any::<u64>()) {
            // Widths above the widest slot are drawn too: folded into what there is.
            let bits = 4 + bits % (SLOT_BITS - 3);
            let half = (1i128 << (bits / 2 - 1)) - 1;
            let fold = |x: &i128| x.signum() * (x.abs() % (half + 1));
            let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(fold).collect(), b.iter().map(fold).collect());
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            conformance::laws::<Bgn>(&key(), bits, &a, &b, fold(&k), rng).unwrap();
        }
    }
}
