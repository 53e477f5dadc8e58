//! Exponential ElGamal as [`AdditiveHE`].

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use gelu_core::backend::{NoSecretRate, NoShares};
use gelu_core::error::{ApiMisuse, PeerMisbehaved};
use gelu_core::slots::{
    AdditiveHE, Matrix, MatrixSize, Plaintext, Prices, SlotBackend, SlotShape, Unpacked,
    check_block_len, too_many_slots,
};
use gelu_core::{Cryptosystem, Error, Result};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::baby_steps::{Decoder, RANGE_BITS, Search, scalar};
use crate::ciphertext::Ciphertext;
use crate::keys::{KEY_BITS, PublicKey, SecretKey, identity};
use crate::multiscalar::{Pair, add, additions, sum_vartime};
use crate::wire;

/// Exponential ElGamal on Ristretto: one slot of up to [`RANGE_BITS`] bits a ciphertext.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ElGamal;

/// Uniform scalars, one for each ciphertext to come.
fn nonces(count: usize, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<Scalar>> {
    Zeroizing::new((0..count).map(|_| Scalar::random(rng)).collect())
}

/// Σ kᵢ·⟦aᵢ⟧, with the neutral element for an empty or trivial sum.
fn combine_vartime(public: &PublicKey, terms: &[(i128, &Pair)]) -> Ciphertext {
    Ciphertext::new(public, sum_vartime(terms).unwrap_or((identity(), identity())))
}

fn check_shape(shape: SlotShape) -> Result<()> {
    if shape.count != 1 || shape.bits > RANGE_BITS {
        return Err(too_many_slots(shape, RANGE_BITS).into());
    }
    Ok(())
}

impl Cryptosystem for ElGamal {
    const ID: &'static str = "elgamal";
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;

    /// Keys have [`KEY_BITS`] bits, for about 126 bits of security.
    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        if bits != KEY_BITS {
            let why = format!("{bits} bits, but this backend offers {KEY_BITS} (Ristretto)");
            return Err(ApiMisuse::configuration("ElGamal key", why).into());
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
        secret.public_key().to_bytes().to_vec()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        Ok(PublicKey::from_bytes(bytes)?)
    }
}

impl AdditiveHE for ElGamal {
    type Prepared = Matrix;
    type Ciphertext = Ciphertext;

    fn slots(_: &PublicKey, slot_bits: u32) -> usize {
        usize::from((1..=RANGE_BITS).contains(&slot_bits))
    }

    fn encrypt(
        public: &PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        check_shape(plaintext.shape())?;
        Ok(public.encrypt_integer(plaintext.values()[0], &nonces(1, rng)[0]))
    }

    /// The exponent in constant time; the time of the search follows the value's magnitude
    /// ([`Search::FromZero`]).
    fn decrypt(secret: &SecretKey, ciphertext: &Ciphertext, shape: SlotShape) -> Result<Plaintext> {
        check_shape(shape)?;
        let value = secret.decrypt_with(&Decoder::shared(), Search::FromZero, ciphertext)?;
        Plaintext::new(shape.bits, vec![value.into()]).map_err(|_| Error::Decryption)
    }

    fn add(public: &PublicKey, a: &Ciphertext, b: &Ciphertext) -> Ciphertext {
        Ciphertext::new(public, add(a.under(public), b.under(public)))
    }

    /// # Panics
    /// When `b` is not one slot of at most [`RANGE_BITS`] bits.
    fn add_plain(public: &PublicKey, a: &Ciphertext, b: &Plaintext) -> Ciphertext {
        check_shape(b.shape()).expect("a plaintext that a ciphertext can hold");
        let (c1, c2) = a.under(public);
        let message = RISTRETTO_BASEPOINT_TABLE * &*Zeroizing::new(scalar(b.values()[0]));
        Ciphertext::new(public, (*c1, c2 + message))
    }

    /// In time that tells the length and the bits of `k`.
    fn mul_plain(public: &PublicKey, a: &Ciphertext, k: i128) -> Ciphertext {
        combine_vartime(public, &[(k, a.under(public))])
    }

    /// Adds (r·G, r·h) for a uniform r, in constant time. The group has prime order and h generates
    /// it, so the result is a uniform encryption of the same integer, whatever key and ciphertexts
    /// the owner has made up: no assumption is needed to hide the weights in its randomness.
    ///
    /// There is no room above the slot: a mask there would put the value out of the decoder's
    /// reach. A client whose own numbers overflow gets the whole sum in the exponent, 252 bits of
    /// it, and can check guesses about the weights against it: the ledger's count holds for honest
    /// ranges, and the decoder of an honest client refuses the rest.
    fn rerandomize(
        public: &PublicKey,
        ciphertext: &Ciphertext,
        _: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext {
        let zero = public.zero(&nonces(1, rng)[0]);
        Ciphertext::new(public, add(ciphertext.under(public), &zero))
    }

    fn ciphertext_len(_: &PublicKey) -> usize {
        wire::CIPHERTEXT_BYTES
    }

    fn ciphertext_to_bytes(public: &PublicKey, ciphertext: &Ciphertext, out: &mut Vec<u8>) {
        out.extend_from_slice(&wire::to_bytes(ciphertext.under(public)));
    }

    fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> Result<Ciphertext> {
        check_block_len::<Self>(public, bytes, 1)?;
        let points = wire::from_bytes(bytes).ok_or(PeerMisbehaved::InvalidCiphertext)?;
        Ok(Ciphertext::new(public, points))
    }

    // ---- faster than the provided bodies ----------------------------------------------------

    /// (r·G, (m + r·x)·G): the owner needs no table of h.
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
        plaintexts.iter().try_for_each(|plaintext| check_shape(plaintext.shape()))?;
        let nonces = nonces(plaintexts.len(), rng);
        let encrypt = |(plaintext, r): (&Plaintext, &Scalar)| {
            let mask: &Scalar = &secret.exponent(r);
            let masked = Zeroizing::new(scalar(plaintext.values()[0]) + mask);
            let points = (RISTRETTO_BASEPOINT_TABLE * r, RISTRETTO_BASEPOINT_TABLE * &*masked);
            Ciphertext::new(secret.public_key(), points)
        };
        Ok(plaintexts.par_iter().zip(nonces.par_iter()).map(encrypt).collect())
    }

    /// On all processors.
    fn decrypt_many(
        secret: &SecretKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        ciphertexts.par_iter().map(|(c, shape)| Self::decrypt(secret, c, *shape)).collect()
    }

    /// On all processors; the same bytes as one after the other.
    fn rerandomize_many(
        public: &PublicKey,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        let nonces = nonces(ciphertexts.len(), rng);
        let seal = |((c, _), r): (&(Ciphertext, SlotShape), &Scalar)| {
            Ciphertext::new(public, add(c.under(public), &public.zero(r)))
        };
        ciphertexts.par_iter().zip(nonces.par_iter()).map(seal).collect()
    }

    /// Builds the [table](Decoder::shared) that decryption needs; encryptions are left as they are,
    /// being cheap. A process does this once, here or at its first decryption.
    fn precompute_encryptions(_: &SecretKey, _: usize, _: &mut dyn CryptoRng) {
        let _ = Decoder::shared();
    }

    fn neg(public: &PublicKey, a: &Ciphertext) -> Ciphertext {
        let (c1, c2) = a.under(public);
        Ciphertext::new(public, (-c1, -c2))
    }

    /// By buckets (Pippenger); time depends on the weights.
    fn linear_combination(public: &PublicKey, terms: &[(i128, &Ciphertext)]) -> Result<Ciphertext> {
        if terms.is_empty() {
            return Err(ApiMisuse::Empty("a linear combination").into());
        }
        let terms: Vec<_> = terms.iter().map(|(k, a)| (*k, a.under(public))).collect();
        Ok(combine_vartime(public, &terms))
    }

    /// Output by output by buckets, on all processors; time depends on the weights.
    fn matvec(
        public: &PublicKey,
        matrix: &Matrix,
        inputs: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>> {
        if inputs.is_empty() {
            return Err(ApiMisuse::Empty("a matrix product").into());
        }
        let inputs: Vec<_> = inputs.iter().map(|input| input.under(public)).collect();
        let output = |output: usize| {
            let tap = |tap: &gelu_core::linear::Tap| {
                (matrix.entries[tap.weight as usize], inputs[tap.source as usize])
            };
            let terms: Vec<_> = matrix.taps.of(output).iter().map(tap).collect();
            combine_vartime(public, &terms)
        };
        Ok((0..matrix.taps.outputs()).into_par_iter().map(output).collect())
    }

    fn ciphertexts_to_bytes(public: &PublicKey, ciphertexts: &[Ciphertext], out: &mut Vec<u8>) {
        let bytes: Vec<_> =
            ciphertexts.par_iter().map(|c| wire::to_bytes(c.under(public))).collect();
        out.extend_from_slice(bytes.as_flattened());
    }

    fn ciphertexts_from_bytes(
        public: &PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<Ciphertext>> {
        check_block_len::<Self>(public, bytes, count)?;
        bytes
            .par_chunks_exact(wire::CIPHERTEXT_BYTES)
            .map(|bytes| {
                let points = wire::from_bytes(bytes).ok_or(PeerMisbehaved::InvalidCiphertext)?;
                Ok(Ciphertext::new(public, points))
            })
            .collect()
    }
}

impl SlotBackend for ElGamal {
    type Packing = Unpacked;
    type Updates = NoSecretRate;
    /// Decryption finds discrete logarithms of short numbers; a mask is as long as the group's order.
    type Masking = NoShares;

    /// Measured once on one core of the reference machine, decryption of values of 30 bits;
    /// `examples/elgamal_speed.rs` does it again.
    fn slot_prices(_: &PublicKey) -> Prices {
        Prices {
            encrypt: 18_000,
            decrypt: 200_000,
            rerandomize: 18_000,
            product: 260,
            shift_bit: 260,
            lanes: 1,
            byte: 8,
            products,
        }
    }
}

/// The additions of a matrix, output by output.
fn products(size: MatrixSize) -> u64 {
    let outputs = size.outputs.max(1);
    let each = additions(size.taps.div_ceil(outputs), size.weight_bits.saturating_sub(1));
    u64::try_from(each as u128 * outputs as u128).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, MULTIPLES, OTHER_KEY, hex, rng};
    use gelu_core::conformance;
    use gelu_core::linear::{Tap, Taps};
    use proptest::prelude::*;
    use rand::Rng;

    fn plain(value: i128) -> Plaintext {
        Plaintext::new(RANGE_BITS, vec![value]).unwrap()
    }

    const SHAPE: SlotShape = SlotShape { bits: RANGE_BITS, count: 1 };

    #[test]
    fn conforms() {
        conformance::check::<ElGamal>(&KEY, 20, &mut rng(7));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))] // most are too wide
        #[test]
        fn laws((bits, a, b, k) in conformance::arguments(), seed: u64) {
            if ElGamal::slots(KEY.public_key(), bits) > 0 {
                let broken = conformance::laws::<ElGamal>(&KEY, bits, &a, &b, k, &mut rng(seed));
                prop_assert_eq!(broken, Ok(()));
            }
        }
    }

    /// With x = 2 and r = 1, Enc(3) = (G, 3·G + 2·G): multiples that RFC 9496 publishes.
    #[test]
    fn known_answers() {
        let mut x = [0; 32];
        x[0] = 2;
        let key = SecretKey::from_bytes(&x).unwrap();
        for (m, r, c1, c2) in
            [(3, 1, 1, 5), (1, 2, 2, 5), (0, 2, 2, 4), (-1, 2, 2, 3), (-2, 1, 1, 0)]
        {
            let c = key.public_key().encrypt_integer(m, &Scalar::from(r as u64));
            let mut bytes = Vec::new();
            ElGamal::ciphertext_to_bytes(key.public_key(), &c, &mut bytes);
            assert_eq!(hex(&bytes), [MULTIPLES[c1], MULTIPLES[c2]].concat());
            let read = ElGamal::ciphertext_from_bytes(key.public_key(), &bytes).unwrap();
            assert_eq!(ElGamal::decrypt(&key, &read, SHAPE).unwrap().values(), [m]);
        }
    }

    #[test]
    fn the_seed_determines_every_byte_and_parallel_is_serial() {
        let values: Vec<_> = (-3..4).map(plain).collect();
        let public = KEY.public_key();
        let bytes = |ciphertexts: &[Ciphertext]| {
            let mut out = Vec::new();
            ElGamal::ciphertexts_to_bytes(public, ciphertexts, &mut out);
            out
        };
        let many = ElGamal::encrypt_many(&KEY, &values, &mut rng(4)).unwrap();
        let one = &mut rng(4);
        let singly: Vec<_> =
            values.iter().map(|p| ElGamal::encrypt(public, p, one).unwrap()).collect();
        assert_eq!(bytes(&many), bytes(&singly), "the owner's way and everybody's");

        let jobs: Vec<_> = many.iter().map(|c| (c.clone(), SHAPE)).collect();
        let sealed = ElGamal::rerandomize_many(public, &jobs, &mut rng(5));
        let one = &mut rng(5);
        let singly: Vec<_> =
            many.iter().map(|c| ElGamal::rerandomize(public, c, SHAPE, one)).collect();
        assert_eq!(bytes(&sealed), bytes(&singly));
        assert_ne!(bytes(&sealed), bytes(&many));
        let jobs: Vec<_> = sealed.into_iter().map(|c| (c, SHAPE)).collect();
        assert_eq!(ElGamal::decrypt_many(&KEY, &jobs).unwrap(), values);
    }

    /// A value beyond the range, or beyond its slot, is the opaque error and nothing else.
    #[test]
    fn overflow_is_refused() {
        let public = KEY.public_key();
        let edge = (1i128 << (RANGE_BITS - 1)) - 1;
        let c = ElGamal::encrypt(public, &plain(edge), &mut rng(6)).unwrap();
        assert_eq!(ElGamal::decrypt(&KEY, &c, SHAPE).unwrap().values(), [edge]);
        let over = ElGamal::add_plain(public, &c, &plain(1));
        assert_eq!(ElGamal::decrypt(&KEY, &over, SHAPE).unwrap_err(), Error::Decryption);
        let far = ElGamal::mul_plain(public, &c, 1 << 80);
        assert_eq!(ElGamal::decrypt(&KEY, &far, SHAPE).unwrap_err(), Error::Decryption);
        let narrow = SlotShape { bits: 8, count: 1 };
        let c = ElGamal::encrypt(public, &plain(128), &mut rng(6)).unwrap();
        assert_eq!(ElGamal::decrypt(&KEY, &c, narrow).unwrap_err(), Error::Decryption);
    }

    #[test]
    fn foreign_keys_and_wrong_shapes_are_refused() {
        let public = KEY.public_key();
        let rng = &mut rng(8);
        let foreign = ElGamal::encrypt(OTHER_KEY.public_key(), &plain(1), rng).unwrap();
        assert_eq!(ElGamal::decrypt(&KEY, &foreign, SHAPE).unwrap_err(), Error::Decryption);
        let two = Plaintext::new(8, vec![1, 2]).unwrap();
        assert!(ElGamal::encrypt(public, &two, rng).is_err());
        assert!(ElGamal::encrypt_many(&KEY, &[two], rng).is_err());
        let wide = Plaintext::new(RANGE_BITS + 1, vec![1]).unwrap();
        assert!(ElGamal::encrypt(public, &wide, rng).is_err());
        assert!(ElGamal::keygen(255, rng).is_err() && ElGamal::keygen(2048, rng).is_err());
        assert_eq!(ElGamal::slots(public, RANGE_BITS), 1);
        assert_eq!((ElGamal::slots(public, RANGE_BITS + 1), ElGamal::slots(public, 0)), (0, 0));
        assert!(ElGamal::linear_combination(public, &[]).is_err());
        let empty = Matrix { taps: Taps::from_rows([vec![]]), entries: vec![] };
        assert!(ElGamal::matvec(public, &empty, &[]).is_err());
    }

    #[test]
    #[should_panic(expected = "another key")]
    fn mixing_keys_is_a_mistake() {
        let (a, b) = (KEY.public_key(), OTHER_KEY.public_key());
        let c = ElGamal::encrypt(b, &plain(1), &mut rng(8)).unwrap();
        let _ = ElGamal::neg(a, &c);
    }

    /// The fast matrix product against `mul_plain` and `add`, one after the other.
    #[test]
    fn matvec_is_its_plain_twin() {
        let (public, rng) = (KEY.public_key(), &mut rng(9));
        let inputs: Vec<_> =
            (0..30).map(|v| ElGamal::encrypt(public, &plain(v), rng).unwrap()).collect();
        let weights: Vec<_> = (0..60).map(|_| i128::from(rng.next_u32() % 256) - 128).collect();
        let tap = |source, weight| Tap { source, weight };
        let row = |skip: usize| (0..30).step_by(skip).map(|i| tap(i, 2 * i + 1)).collect();
        let taps = Taps::from_rows([row(1), row(3), row(29), vec![], vec![tap(4, 0)]]);
        let matrix = Matrix { taps, entries: weights };
        let fast = ElGamal::matvec(public, &matrix, &inputs).unwrap();
        for (output, fast) in fast.iter().enumerate() {
            let zero = ElGamal::mul_plain(public, &inputs[0], 0);
            let plain = matrix.taps.of(output).iter().fold(zero, |sum, tap| {
                let (k, c) = (matrix.entries[tap.weight as usize], &inputs[tap.source as usize]);
                let product = ElGamal::mul_plain(public, c, k);
                ElGamal::add(public, &sum, &product)
            });
            assert_eq!(fast.under(public), plain.under(public), "output {output}");
        }
    }

    #[test]
    fn prices_follow_the_additions() {
        let size = |outputs, weight_bits| MatrixSize {
            inputs: 784,
            outputs,
            taps: 784 * outputs,
            weight_bits,
        };
        let price = |outputs, bits| products(size(outputs, bits));
        assert_eq!(price(300, 8), 300 * price(1, 8));
        assert!(price(300, 16) > price(300, 8));
        let huge = MatrixSize { inputs: 1, outputs: 1, taps: usize::MAX >> 12, weight_bits: 127 };
        assert!(products(huge) > 1 << 52);
    }
}
