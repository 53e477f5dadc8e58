//! The attacks on the server's weights, played by a client that owns the key, and their end.
//!
//! Two of them read weights wholesale from one response that is not sealed (`docs/src/security.md`):
//! from the integer, where plaintexts out of range make room for many weights; and from the noise,
//! with a key whose p − 1 is smooth. Neither needs more than an honest-looking handshake.

use gelu_core::Cryptosystem;
use gelu_core::linear::{Tap, Taps};
use gelu_core::slots::{AdditiveHE, MaskSlots, Matrix, Plaintext, SlotShape};
use gelu_paillier::{Ciphertext, InsecurePaillier as P, Noise, PublicKey, SecretKey, StoredKey};
use num_bigint_dig::{BigInt, BigUint, ModInverse};
use num_traits::One;
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

/// Weights have 12 bits, sign included.
const WEIGHT_BITS: usize = 12;

/// What the server believes a response to hold: one sum in 32 bits.
const BELIEVED: SlotShape = SlotShape { bits: 32, count: 1 };

fn random_weights(count: usize, rng: &mut ChaCha20Rng) -> Vec<i128> {
    (0..count).map(|_| i128::from(rng.next_u32() % 4095) - 2047).collect()
}

/// The server: one output over all inputs.
fn respond(public: &PublicKey, weights: &[i128], inputs: &[Ciphertext]) -> Ciphertext {
    let row: Vec<_> = (0..).take(weights.len()).map(|i| Tap { source: i, weight: i }).collect();
    let matrix = Matrix { taps: Taps::from_rows([row]), entries: weights.to_vec() };
    P::matvec(public, &matrix, inputs).unwrap().remove(0)
}

/// The client reads the digits of Σ wᵢ·2^(12·i).
fn digits(sum: BigInt, count: usize) -> Vec<i128> {
    let bias: BigInt = (0..count).map(|i| BigInt::from(2048) << (WEIGHT_BITS * i)).sum();
    let biased = (sum + bias).to_biguint().unwrap_or_default();
    let digit = |i: usize| (&biased >> (WEIGHT_BITS * i)) % 4096u32;
    let word = |x: BigUint| x.to_bytes_be().iter().fold(0, |w, &b| w << 8 | i128::from(b));
    (0..count).map(|i| word(digit(i)) - 2048).collect()
}

fn matches(a: &[i128], b: &[i128]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

/// The textbook, in variable time: the client's own tools.
struct Textbook {
    n: BigUint,
    p: BigUint,
    q: BigUint,
}

impl Textbook {
    fn new(secret: &SecretKey) -> Self {
        let n = BigUint::from_bytes_be(&secret.public_key().modulus());
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("key.json");
        secret.save(&path).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let p = BigUint::parse_bytes(json["p"].as_str().unwrap().as_bytes(), 16).unwrap();
        Self { q: &n / &p, n, p }
    }

    fn value(&self, public: &PublicKey, c: &Ciphertext) -> BigUint {
        let mut bytes = Vec::new();
        P::ciphertext_to_bytes(public, c, &mut bytes);
        let (high, low) = bytes.split_at(bytes.len() / 2);
        BigUint::from_bytes_be(high) * &self.n + BigUint::from_bytes_be(low)
    }

    /// (1 + n)^m · rⁿ.
    fn encrypt(&self, public: &PublicKey, m: &BigUint, r: &BigUint) -> Ciphertext {
        let n2 = &self.n * &self.n;
        let c = (&self.n * m + 1u8) * r.modpow(&self.n, &n2) % &n2;
        let digits = [&c / &self.n, &c % &self.n].map(|digit| {
            let raw = digit.to_bytes_be();
            [vec![0; P::ciphertext_len(public) / 2 - raw.len()], raw].concat()
        });
        let bytes = digits.concat();
        P::ciphertext_from_bytes(public, &bytes).unwrap()
    }

    /// L(c^λ)·λ⁻¹ mod n with λ = (p − 1)(q − 1).
    fn decrypt(&self, c: &BigUint) -> BigUint {
        let lambda = (&self.p - 1u8) * (&self.q - 1u8);
        let u = c.modpow(&lambda, &(&self.n * &self.n));
        let inverse = lambda.mod_inverse(&self.n).unwrap().to_biguint().unwrap();
        (u - 1u8) / &self.n * inverse % &self.n
    }
}

/// 42 encrypted xᵢ = 2^(12·i), which turn one sum into a row of weights: so many fit 512 bits.
fn overflowing(public: &PublicKey, rng: &mut ChaCha20Rng) -> Vec<Ciphertext> {
    let one = |i: usize| {
        let mut slots = vec![0; 42];
        slots[i] = 1;
        P::encrypt(public, &Plaintext::new(12, slots).unwrap(), rng).unwrap()
    };
    (0..42).map(one).collect()
}

#[test]
fn overflowing_plaintexts_read_weights_only_from_unsealed_responses() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = P::keygen(512, rng).unwrap();
    let (public, client) = (secret.public_key(), Textbook::new(&secret));
    let (count, row) = (42, SlotShape { bits: 12, count: 42 });
    let weights = random_weights(count, rng);
    let response = respond(public, &weights, &overflowing(public, rng));
    assert_eq!(P::decrypt(&secret, &response, row).unwrap().values(), weights, "all 42 at once");

    // Sealed, the low 32 bits are left, of Σ or of Σ − n (which of the two is one bit more).
    let sealed = P::rerandomize(public, &response, BELIEVED, rng);
    let m = client.decrypt(&client.value(public, &sealed));
    let readings = [BigInt::from(m.clone()), BigInt::from(m) - BigInt::from(client.n.clone())];
    let readings = readings.map(|m| {
        let two_to_510 = BigInt::one() << 510;
        digits(((m % &two_to_510) + &two_to_510) % &two_to_510, count)
    });
    let low: Vec<_> =
        readings.iter().map(|reading| matches(&reading[..2], &weights[..2])).collect();
    assert!(low.contains(&2), "the two weights within the 32 bits");
    for reading in &readings {
        assert!(matches(&reading[3..], &weights[3..]) <= 1, "nothing above the mask");
    }
}

/// A share of them is uniform modulo n, in all bits; without the mask its low bits never change.
#[test]
fn overflowing_plaintexts_find_noise_in_shares() {
    let rng = &mut ChaCha20Rng::seed_from_u64(3);
    let secret = P::keygen(512, rng).unwrap();
    let (public, client) = (secret.public_key(), Textbook::new(&secret));
    let response = respond(public, &[2047; 42], &overflowing(public, rng));
    let answers = vec![(response, SlotShape { bits: 76, count: 1 }); 240];
    let read = |sealed: Vec<Ciphertext>| -> Vec<BigUint> {
        sealed.iter().map(|c| client.decrypt(&client.value(public, c))).collect()
    };
    let shares = read(P::mask_many(public, &answers, rng).0);
    let unmasked = read(P::rerandomize_many(public, &answers, rng));
    // Of 240, within 5.5 standard deviations; n has 512 bits, so the top ones are not like the others.
    let even = |seen: &[BigUint], bit: usize| {
        let ones = seen.iter().filter(|m| (*m >> bit) & BigUint::one() == BigUint::one()).count();
        (77..=163).contains(&ones)
    };
    assert!((0..500).all(|bit| even(&shares, bit)));
    assert!((0..76).all(|bit| !even(&unmasked, bit)), "the mask is not what makes it so");
    for quarter in 0..4u8 {
        let inside = |m: &&BigUint| *m * 4u8 / &client.n == quarter.into();
        let count = shares.iter().filter(inside).count();
        assert!((30..=90).contains(&count), "{count} in quarter {quarter}");
    }
}

/// A key with p − 1 a product of primes below 2000, where discrete logarithms are easy.
fn smooth_key(rng: &mut ChaCha20Rng) -> (SecretKey, Vec<u32>) {
    let primes: Vec<u32> = (3..2000)
        .filter(|n: &u32| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d)))
        .collect();
    let (p, factors) = loop {
        let (mut product, mut factors) = (BigUint::from(2u8), vec![2]);
        while product.bits() < 250 {
            let prime = primes[rng.next_u32() as usize % primes.len()];
            if !factors.contains(&prime) {
                product *= prime;
                factors.push(prime);
            }
        }
        let last = primes.iter().find(|&&prime| {
            let p = &product * prime + 1u8;
            p.bits() == 256 && p.bit_len_is_high() && !factors.contains(&prime) && fermat(&p)
        });
        if let Some(&last) = last {
            factors.push(last);
            break (product * last + 1u8, factors);
        }
    };
    let honest = Textbook::new(&P::keygen(512, rng).unwrap());
    (SecretKey::from_primes(&p.to_bytes_be(), &honest.p.to_bytes_be()).unwrap(), factors)
}

trait TopBits {
    fn bit_len_is_high(&self) -> bool;
}

impl TopBits for BigUint {
    /// Whether the two top bits of 256 are set.
    fn bit_len_is_high(&self) -> bool {
        self >> 254 == 3u8.into()
    }
}

fn fermat(p: &BigUint) -> bool {
    [2u8, 3, 5].iter().all(|&a| BigUint::from(a).modpow(&(p - 1u8), p).is_one())
}

/// log of `y` to base `g` modulo p, for a square-free p − 1 with small prime factors
/// (Pohlig and Hellman 1978).
fn logarithm(y: &BigUint, g: &BigUint, p: &BigUint, factors: &[u32]) -> BigUint {
    let order = p - 1u8;
    let mut log = BigUint::default();
    let mut modulus = BigUint::one();
    for &factor in factors {
        let cofactor = &order / factor;
        let (g, y) = (g.modpow(&cofactor, p), y.modpow(&cofactor, p));
        let mut power = BigUint::one();
        let digit = (0..factor).find(|_| {
            let found = power == y;
            power = &power * &g % p;
            found
        });
        let digit = digit.expect("in the subgroup");
        while &log % factor != digit.into() {
            log += &modulus;
        }
        modulus *= factor;
    }
    log
}

/// Randomness rᵢ = g^(2^(12·i)) turns the noise of the response into g^Σwᵢ·2^(12·i).
#[test]
fn noise_reads_weights_only_from_unsealed_responses() {
    let rng = &mut ChaCha20Rng::seed_from_u64(2);
    let (secret, factors) = smooth_key(rng);
    let (public, client) = (secret.public_key(), Textbook::new(&secret));
    let p = [&client.p, &client.q]
        .into_iter()
        .find(|p| factors.iter().fold(BigUint::one(), |product, f| product * f) + 1u8 == **p)
        .unwrap();
    let order = p - 1u8;
    let generates = |g: &BigUint| factors.iter().all(|&f| !g.modpow(&(&order / f), p).is_one());
    let g = (2u32..).map(BigUint::from).find(generates).unwrap();

    let count = 20;
    let weights = random_weights(count, rng);
    let inputs: Vec<_> = (0..count)
        .map(|i| {
            let r = g.modpow(&(BigUint::one() << (WEIGHT_BITS * i)), &client.n);
            client.encrypt(public, &BigUint::from(5u8), &r)
        })
        .collect();
    let read = |c: &Ciphertext| {
        let base = g.modpow(&client.n, p);
        let log = logarithm(&(client.value(public, c) % p), &base, p, &factors);
        let half = &order >> 1;
        let signed =
            if log > half { BigInt::from(log) - BigInt::from(order.clone()) } else { log.into() };
        digits(signed, count)
    };
    let response = respond(public, &weights, &inputs);
    assert_eq!(read(&response), weights, "all 20 from one response");

    for noise in [Noise::Statistical, Noise::Uniform] {
        let sealed = public.rerandomize_with(noise, &[(response.clone(), BELIEVED)], rng);
        assert!(matches(&read(&sealed[0]), &weights) <= 1, "{noise:?}");
    }
    let default = P::rerandomize(public, &response, BELIEVED, rng);
    assert!(matches(&read(&default), &weights) <= 1);
    let sum = weights.iter().sum::<i128>() * 5;
    assert_eq!(P::decrypt(&secret, &default, BELIEVED).unwrap().values(), [sum]);
}
