//! A complete backend in one page: Regev's encryption from learning with errors, at toy size.
//!
//! `cargo run -p gelu-core --example toy_backend` checks and prints the laws. A slot scheme brings keys, an
//! algebra, and two lines that make a backend of them. **Dimension 16 protects nothing.**
//!
//! A secret s in Z_q^N with q = 2^64; ⟦v⟧ = (a, ⟨a, s⟩ + e + Δ·v) with small noise e, Δ = 2^34.

use gelu_core::backend::{Cryptosystem, NoSecretRate, NoShares};
use gelu_core::error::{ApiMisuse, Error, PeerMisbehaved, Result};
use gelu_core::{conformance, rand_core::CryptoRng, slots::*};
use rand::{SeedableRng, rngs::ChaCha20Rng};

/// Dimension of the lattice.
const N: usize = 16;
/// Encryptions of zero in a public key.
const ROWS: usize = 128;
/// A plaintext has one slot of at most 30 bits: 2^64 / Δ.
const SLOT_BITS: u32 = 30;
const DELTA_BITS: u32 = 64 - SLOT_BITS;
/// (a, b), in arithmetic modulo 2^64.
type Lwe = [u64; N + 1];
struct ToyLwe;

#[derive(Debug)]
struct SecretKey {
    s: [u64; N],
    public: Vec<Lwe>,
}

impl Cryptosystem for ToyLwe {
    const ID: &'static str = "insecure-toy-lwe";
    type PublicKey = Vec<Lwe>;
    type SecretKey = SecretKey;

    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        if bits != 1024 {
            return Err(ApiMisuse::configuration("key size", "this toy has 1024 bits").into());
        }
        let s: [u64; N] = std::array::from_fn(|_| rng.next_u64());
        let mut zero = || {
            let mut row: Lwe = std::array::from_fn(|_| rng.next_u64());
            let noise = u64::from(rng.next_u32() % 5).wrapping_sub(2);
            row[N] = inner(&row[..N], &s).wrapping_add(noise);
            row
        };
        Ok(SecretKey { s, public: (0..ROWS).map(|_| zero()).collect() })
    }

    fn public_key(secret: &SecretKey) -> &Vec<Lwe> {
        &secret.public
    }

    fn key_bits(_: &Vec<Lwe>) -> u32 {
        1024
    }

    fn public_key_to_bytes(secret: &SecretKey) -> Vec<u8> {
        secret.public.iter().flatten().flat_map(|x| x.to_be_bytes()).collect()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<Vec<Lwe>> {
        if bytes.len() != ROWS * 8 * (N + 1) {
            return Err(PeerMisbehaved::InvalidKey("length").into());
        }
        Ok(bytes.chunks_exact(8 * (N + 1)).map(read).collect())
    }
}

impl AdditiveHE for ToyLwe {
    type Ciphertext = Lwe;
    type Prepared = Matrix;

    fn slots(_: &Vec<Lwe>, slot_bits: u32) -> usize {
        usize::from(slot_bits <= SLOT_BITS)
    }

    fn encrypt(key: &Vec<Lwe>, plaintext: &Plaintext, rng: &mut dyn CryptoRng) -> Result<Lwe> {
        let shape = plaintext.shape();
        if shape.count > Self::slots(key, shape.bits) {
            return Err(too_many_slots(shape, SLOT_BITS).into());
        }
        Ok(Self::add_plain(key, &Self::rerandomize(key, &[0; N + 1], shape, rng), plaintext))
    }

    fn decrypt(secret: &SecretKey, c: &Lwe, shape: SlotShape) -> Result<Plaintext> {
        let noisy = c[N].wrapping_sub(inner(&c[..N], &secret.s)).cast_signed();
        let value = i128::from(noisy) + (1 << (DELTA_BITS - 1));
        Plaintext::new(shape.bits, vec![value >> DELTA_BITS]).map_err(|_| Error::Decryption)
    }

    fn add(_: &Vec<Lwe>, a: &Lwe, b: &Lwe) -> Lwe {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    fn add_plain(_: &Vec<Lwe>, a: &Lwe, b: &Plaintext) -> Lwe {
        let mut sum = *a;
        sum[N] = sum[N].wrapping_add(modulo(b.values()[0]) << DELTA_BITS);
        sum
    }

    fn mul_plain(_: &Vec<Lwe>, a: &Lwe, k: i128) -> Lwe {
        a.map(|x| x.wrapping_mul(modulo(k)))
    }

    /// Adds a random subset of the key's encryptions of zero. (A real scheme also floods the noise.)
    fn rerandomize(key: &Vec<Lwe>, c: &Lwe, _: SlotShape, rng: &mut dyn CryptoRng) -> Lwe {
        let chosen = key.iter().filter(|_| rng.next_u32() & 1 == 1);
        chosen.fold(*c, |sum, row| Self::add(key, &sum, row))
    }

    fn ciphertext_len(_: &Vec<Lwe>) -> usize {
        8 * (N + 1)
    }

    fn ciphertext_to_bytes(_: &Vec<Lwe>, c: &Lwe, out: &mut Vec<u8>) {
        out.extend(c.map(u64::to_be_bytes).as_flattened());
    }

    fn ciphertext_from_bytes(key: &Vec<Lwe>, bytes: &[u8]) -> Result<Lwe> {
        check_block_len::<Self>(key, bytes, 1)?;
        Ok(read(bytes))
    }
}

impl SlotBackend for ToyLwe {
    type Packing = Unpacked;
    type Updates = NoSecretRate;
    type Masking = NoShares;
}

fn inner(a: &[u64], b: &[u64]) -> u64 {
    a.iter().zip(b).fold(0, |sum, (x, y)| sum.wrapping_add(x.wrapping_mul(*y)))
}

/// k modulo q = 2^64.
#[expect(clippy::cast_possible_truncation, reason = "that is reduction modulo 2^64")]
fn modulo(k: i128) -> u64 {
    k as u64
}

fn read(bytes: &[u8]) -> Lwe {
    let word = |i| bytes[8 * i..8 * i + 8].try_into().expect("eight bytes");
    std::array::from_fn(|i| u64::from_be_bytes(word(i)))
}

fn main() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = ToyLwe::keygen(1024, rng).expect("the one size that it has");
    println!("{}", conformance::check::<ToyLwe>(&secret, 200, rng));
}
