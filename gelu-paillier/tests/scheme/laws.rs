//! The laws of `AdditiveHE`, the plain twins of every overridden method, and liars' bytes.

use gelu_core::backend::NoShares;
use gelu_core::error::{Error, PeerIncompatible, PeerMisbehaved};
use gelu_core::linear::{Tap, Taps};
use gelu_core::slots::{
    AdditiveHE, DigitSlots, Matrix, Packed, Plaintext, ScaleSlots, SlotBackend, SlotShape,
    UpdateLayout, scale_by_packing,
};
use gelu_core::{Cryptosystem, conformance};
use gelu_paillier::{
    Ciphertext, InsecurePaillier, Noise, Paillier, PublicKey, SecretKey, StoredKey,
};
use num_bigint_dig::BigUint;
use rand::{SeedableRng, rngs::ChaCha20Rng};

type P = InsecurePaillier;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn key(bits: u32, seed: u64) -> SecretKey {
    P::keygen(bits, &mut rng(seed)).unwrap()
}

#[test]
fn laws() {
    conformance::check::<P>(&key(512, 1), 40, &mut rng(2));
}

#[test]
fn laws_at_real_sizes() {
    for key_bits in [2048, 3072] {
        let (secret, rng) = (Paillier::keygen(key_bits, &mut rng(3)).unwrap(), &mut rng(4));
        for (bits, bound) in [(16, 127), (127, (1 << 62) - 1)] {
            let (a, b) = ([bound, -bound], [-1, bound]);
            conformance::laws::<Paillier>(&secret, bits, &a, &b, -bound, rng).unwrap();
        }
    }
}

/// The same backend with none of the provided methods overridden.
struct Plain;

impl Cryptosystem for Plain {
    const ID: &'static str = "plain";
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;
    fn keygen(bits: u32, rng: &mut dyn rand::rand_core::CryptoRng) -> gelu_core::Result<SecretKey> {
        P::keygen(bits, rng)
    }
    fn public_key(secret: &SecretKey) -> &PublicKey {
        P::public_key(secret)
    }
    fn key_bits(public: &PublicKey) -> u32 {
        P::key_bits(public)
    }
    fn public_key_to_bytes(secret: &SecretKey) -> Vec<u8> {
        P::public_key_to_bytes(secret)
    }
    fn public_key_from_bytes(bytes: &[u8]) -> gelu_core::Result<PublicKey> {
        P::public_key_from_bytes(bytes)
    }
}

impl AdditiveHE for Plain {
    type Ciphertext = Ciphertext;
    type Prepared = Matrix;
    fn slots(public: &PublicKey, slot_bits: u32) -> usize {
        P::slots(public, slot_bits)
    }
    fn encrypt(
        public: &PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn rand::rand_core::CryptoRng,
    ) -> gelu_core::Result<Ciphertext> {
        Ok(public.encrypt_with(Noise::Uniform, core::slice::from_ref(plaintext), rng)?.remove(0))
    }
    fn decrypt(
        secret: &SecretKey,
        ciphertext: &Ciphertext,
        shape: SlotShape,
    ) -> gelu_core::Result<Plaintext> {
        P::decrypt(secret, ciphertext, shape)
    }
    fn add(public: &PublicKey, a: &Ciphertext, b: &Ciphertext) -> Ciphertext {
        P::add(public, a, b)
    }
    fn add_plain(public: &PublicKey, a: &Ciphertext, b: &Plaintext) -> Ciphertext {
        P::add_plain(public, a, b)
    }
    fn mul_plain(public: &PublicKey, a: &Ciphertext, k: i128) -> Ciphertext {
        P::mul_plain(public, a, k)
    }
    fn rerandomize(
        public: &PublicKey,
        ciphertext: &Ciphertext,
        shape: SlotShape,
        rng: &mut dyn rand::rand_core::CryptoRng,
    ) -> Ciphertext {
        public.rerandomize_with(Noise::Uniform, &[(ciphertext.clone(), shape)], rng).remove(0)
    }
    fn ciphertext_len(public: &PublicKey) -> usize {
        P::ciphertext_len(public)
    }
    fn ciphertext_to_bytes(public: &PublicKey, ciphertext: &Ciphertext, out: &mut Vec<u8>) {
        P::ciphertext_to_bytes(public, ciphertext, out);
    }
    fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> gelu_core::Result<Ciphertext> {
        P::ciphertext_from_bytes(public, bytes)
    }
}

impl DigitSlots for Plain {}

impl ScaleSlots for Plain {
    fn scale_slots(
        public: &PublicKey,
        a: &Ciphertext,
        rows: &[Plaintext],
    ) -> gelu_core::Result<Vec<Ciphertext>> {
        scale_by_packing::<Self>(public, a, rows)
    }
}

impl SlotBackend for Plain {
    type Packing = Packed;
    type Updates = UpdateLayout;
    type Masking = NoShares;
}

#[test]
fn laws_of_the_plain_twin() {
    conformance::check::<Plain>(&key(512, 1), 4, &mut rng(5));
}

fn bytes(public: &PublicKey, c: &Ciphertext) -> Vec<u8> {
    let mut out = Vec::new();
    P::ciphertext_to_bytes(public, c, &mut out);
    out
}

/// No randomness is involved, so fast and plain paths agree in every bit of the ciphertext.
#[test]
fn fast_paths_equal_their_plain_twins_bit_for_bit() {
    let secret = key(512, 6);
    let (public, rng) = (secret.public_key(), &mut rng(7));
    let row = |v: i128| Plaintext::new(20, vec![v, -v, 1]).unwrap();
    let inputs: Vec<_> = (0..5).map(|i| P::encrypt(public, &row(i - 2), rng).unwrap()).collect();
    let weights = [0, 1, -1, 7, -90, 1 << 90, -(1 << 100) + 12345, i128::MIN, i128::MAX];
    let rows: Vec<Vec<Tap>> = (0..9u32)
        .map(|o| (0..5).map(|i| Tap { source: i, weight: (o * o + i) % 9 }).collect())
        .chain([vec![Tap { source: 3, weight: 0 }], vec![Tap { source: 2, weight: 4 }]])
        .collect();
    let matrix = Matrix { taps: Taps::from_rows(&rows), entries: weights.to_vec() };
    let fast = P::matvec(public, &matrix, &inputs).unwrap();
    let plain = Plain::matvec(public, &matrix, &inputs).unwrap();
    assert_eq!(fast.len(), plain.len());
    for (fast, plain) in fast.iter().zip(&plain) {
        assert_eq!(bytes(public, fast), bytes(public, plain));
    }
    let empty = Matrix { taps: Taps::from_rows([Vec::new()]), entries: Vec::new() };
    assert!(P::matvec(public, &empty, &[]).is_err());

    for (by, bits) in [(0, 20), (1, 1), (3, 20), (2, 127)] {
        let (fast, plain) =
            (P::shift(public, &inputs[0], by, bits), Plain::shift(public, &inputs[0], by, bits));
        assert_eq!(bytes(public, &fast), bytes(public, &plain), "shift by {by} slots of {bits}");
    }
    let shape = SlotShape { bits: 20, count: 3 };
    let (fast, plain) = (P::pack(public, &inputs, shape), Plain::pack(public, &inputs, shape));
    assert_eq!(bytes(public, &fast.unwrap()), bytes(public, &plain.unwrap()));
    for input in &inputs {
        assert_eq!(
            bytes(public, &P::neg(public, input)),
            bytes(public, &Plain::neg(public, input))
        );
    }
}

#[test]
fn results_depend_on_the_seed_alone() {
    let rows: Vec<_> = (0..9).map(|i| Plaintext::new(40, vec![i, -i]).unwrap()).collect();
    // The same key without a history: after some seals it has a table for them.
    let run = |threads: usize, seed: u64| {
        let secret = key(512, 8);
        let public = secret.public_key();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rng = &mut rng(seed);
            let encrypted = P::encrypt_many(&secret, &rows, rng).unwrap();
            let shaped: Vec<_> =
                encrypted.into_iter().zip(rows.iter().map(|r| r.shape())).collect();
            let sealed = P::rerandomize_many(public, &shaped, rng);
            assert_eq!(P::decrypt_many(&secret, &shaped).unwrap(), rows);
            sealed.iter().flat_map(|c| bytes(public, c)).collect::<Vec<u8>>()
        })
    };
    assert_eq!(run(1, 1), run(3, 1));
    assert_ne!(run(1, 1), run(1, 2));
}

/// With a stock of noise that is too small, just enough and too large.
#[test]
fn noise_made_before_hides_as_well() {
    let secret = key(512, 8);
    let (public, rng) = (secret.public_key(), &mut rng(31));
    let rows: Vec<_> = (0..11).map(|i| Plaintext::new(40, vec![i, -i]).unwrap()).collect();
    let mut seen = std::collections::HashSet::new();
    for stock in [0, 5, 11, 30] {
        P::precompute_encryptions(&secret, stock, rng);
        P::precompute_seals(public, stock, rng);
        let encrypted = P::encrypt_many(&secret, &rows, rng).unwrap();
        let shaped: Vec<_> = encrypted.into_iter().zip(rows.iter().map(|r| r.shape())).collect();
        let sealed = P::rerandomize_many(public, &shaped, rng);
        assert_eq!(P::decrypt_many(&secret, &shaped).unwrap(), rows);
        let sealed: Vec<_> = sealed.into_iter().zip(rows.iter().map(|r| r.shape())).collect();
        assert_eq!(P::decrypt_many(&secret, &sealed).unwrap(), rows);
        for (c, _) in shaped.iter().chain(&sealed) {
            assert!(seen.insert(bytes(public, c)), "noise was used twice");
        }
    }
}

#[test]
fn full_rows_survive_sealing_at_their_bounds() {
    let secret = key(512, 9);
    let (public, rng) = (secret.public_key(), &mut rng(10));
    for bits in [1, 2, 15, 30, 51, 102, 127] {
        let (bound, count) = ((1i128 << (bits - 1)) - 1, P::slots(public, bits));
        assert_eq!(count, (510 / bits) as usize);
        for value in [bound, -bound] {
            let row = Plaintext::new(bits, vec![value; count]).unwrap();
            let c = P::encrypt_as_owner(&secret, &row, rng).unwrap();
            for _ in 0..4 {
                let sealed = P::rerandomize(public, &c, row.shape(), rng);
                assert_eq!(P::decrypt(&secret, &sealed, row.shape()).unwrap(), row);
            }
        }
        let too_many = Plaintext::new(bits, vec![0; count + 1]).unwrap();
        assert!(matches!(P::encrypt(public, &too_many, rng), Err(Error::ApiMisuse(_))));
        assert!(matches!(P::encrypt_as_owner(&secret, &too_many, rng), Err(Error::ApiMisuse(_))));
    }
}

#[test]
fn key_sizes_are_a_matter_of_policy() {
    let small = key(512, 11);
    let sent = P::public_key_to_bytes(&small);
    assert_eq!(P::public_key_from_bytes(&sent).unwrap(), *small.public_key());
    let refused = Paillier::public_key_from_bytes(&sent).unwrap_err();
    assert!(matches!(refused, Error::PeerIncompatible(PeerIncompatible::KeySize { got: 512, .. })));
    assert!(Paillier::keygen(1024, &mut rng(1)).is_err());
    assert!(P::keygen(768, &mut rng(1)).is_err());
    assert_ne!(P::ID, Paillier::ID);
}

#[test]
fn malformed_keys_are_refused() {
    let secret = key(512, 12);
    let good = P::public_key_to_bytes(&secret);
    let invalid = |bytes: &[u8]| {
        let error = P::public_key_from_bytes(bytes).unwrap_err();
        assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::InvalidKey(_))), "{error}");
    };
    for len in [0, 1, 2, good.len() - 1] {
        invalid(&good[..len]);
    }
    invalid(&[&good[..], &[0]].concat());
    let change = |at: usize, xor: u8| {
        let mut bad = good.clone();
        bad[at] ^= xor;
        invalid(&bad);
    };
    change(0, 1); // version
    change(1, 0x80); // a modulus of 511 bits
    change(64, 1); // even
    change(50, 4); // another modulus, uncertified
    change(65, 1); // a root
    change(good.len() - 1, 1);

    let bare = PublicKey::from_uncertified_modulus(&secret.public_key().modulus()).unwrap();
    assert!(!bare.is_certified() && bare == *secret.public_key());
    invalid(&bare.to_bytes());
    assert!(PublicKey::from_uncertified_modulus(&[]).is_err());
    assert!(PublicKey::from_uncertified_modulus(&[0xff; 63]).is_err());
    assert!(PublicKey::from_uncertified_modulus(&[0xff; 64]).is_err(), "2^512 − 1 = 3·…");
}

#[test]
fn malformed_ciphertexts_are_refused_alone_and_in_blocks() {
    let (secret, foreign) = (key(512, 13), key(512, 14));
    let (public, rng) = (secret.public_key(), &mut rng(15));
    let row = Plaintext::new(30, vec![1, 2, 3]).unwrap();
    let good = bytes(public, &P::encrypt(public, &row, rng).unwrap());
    assert_eq!(good.len(), P::ciphertext_len(public));
    assert!(P::ciphertexts_from_bytes(public, &good.repeat(3), 3).is_ok());
    assert!(P::ciphertexts_from_bytes(public, &[], 0).unwrap().is_empty());

    let n = BigUint::from_bytes_be(&public.modulus());
    let dir = tempfile::tempdir().unwrap();
    let p = factor(&secret, dir.path());
    let q = &n / &p;
    let n2 = &n * &n;
    // The two digits in base n.
    let fixed = |x: &BigUint| {
        let digit = |x: BigUint| {
            let raw = x.to_bytes_be();
            [vec![0; 64 - raw.len()], raw].concat()
        };
        [digit(x / &n), digit(x % &n)].concat()
    };
    // Each digit alone, where what is left is a unit.
    let (one, above) = (fixed(&1u8.into())[64..].to_vec(), (&n + 1u8).to_bytes_be());
    let (high, low) = ([n.to_bytes_be(), one].concat(), [vec![0; 64], above].concat());
    for bad in [[0xff; 128].to_vec(), high, low] {
        let error = P::ciphertext_from_bytes(public, &bad).unwrap_err();
        assert_eq!(error, PeerMisbehaved::InvalidCiphertext.into(), "a digit above its range");
    }
    for bad in
        [&0u8.into(), &n, &p, &q, &(&p * 12345u32), &(&n * 7u8), &(&n2 - &p), &n2, &(&n2 + 1u8)]
    {
        let bad = fixed(bad);
        let error = P::ciphertext_from_bytes(public, &bad).unwrap_err();
        assert_eq!(error, PeerMisbehaved::InvalidCiphertext.into());
        let block = [&good[..], &bad, &good].concat();
        let error = P::ciphertexts_from_bytes(public, &block, 3).unwrap_err();
        assert_eq!(error, PeerMisbehaved::InvalidCiphertext.into());
    }
    for unit in [&BigUint::from(1u8), &(&n2 - 1u8), &(&n + 1u8)] {
        assert!(P::ciphertext_from_bytes(public, &fixed(unit)).is_ok());
    }
    for len in [0, 1, 127, 129] {
        let bytes = vec![1; len];
        let error = P::ciphertext_from_bytes(public, &bytes).unwrap_err();
        assert_eq!(error, PeerMisbehaved::CiphertextLength { expected: 128, got: len }.into());
    }

    let other = P::encrypt(foreign.public_key(), &row, rng).unwrap();
    assert_eq!(P::decrypt(&secret, &other, row.shape()), Err(Error::Decryption));
}

/// p, read from a key file.
fn factor(secret: &SecretKey, dir: &std::path::Path) -> BigUint {
    let path = dir.join("key.json");
    secret.save(&path).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    BigUint::parse_bytes(file["p"].as_str().unwrap().as_bytes(), 16).unwrap()
}

/// Peers of different releases must agree on every byte: the certificate's challenges are hashes
/// in a format of ours, so a change of that format shows here and needs a new version. (The digest
/// was computed a second time by an independent program in Python.)
#[test]
fn public_key_bytes_never_change() {
    let p = "f2bd6e28f34c54399daba99d18db2e677be7522966e39ea551eb335d7ef4217b";
    let q = "f59364652e82b3e631b4692ebc81430cd6b8905cb534fdb9325a969474ffeb63";
    let bytes = |hex: &str| BigUint::parse_bytes(hex.as_bytes(), 16).unwrap().to_bytes_be();
    let secret = SecretKey::from_primes(&bytes(p), &bytes(q)).unwrap();
    let key = P::public_key_to_bytes(&secret);
    let digest = key.iter().fold(0u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
    });
    assert_eq!((key.len(), format!("{digest:016x}").as_str()), (1 + 9 * 64, "8657762b7fc3ae65"));
}
