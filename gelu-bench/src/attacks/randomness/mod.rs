//! Weights from the randomness of a response.
//!
//! A Paillier ciphertext is (1 + n)^m · rⁿ mod n². What the server computes, Π cᵢ^wᵢ, has the message
//! Σ wᵢ·mᵢ, which the client is to learn, and the randomness Π rᵢ^wᵢ, which nobody looks at. But a
//! client that owns the key can: modulo n the message vanishes, as (1 + n)^m = 1, and
//!
//! ```text
//! c mod p  =  (Π rᵢ^wᵢ)ⁿ mod p         with  rᵢ = g^(2^(8·i)):       log c  =  Σ wᵢ·2^(8·i)  mod p − 1
//! ```
//!
//! to the base gⁿ. A logarithm modulo a prime of 1024 bits is hard, unless the client *made* the
//! prime so that p − 1 has small factors only. Then one response gives 127 weights modulo p
//! and 127 more modulo q. The plaintexts may be an honest image all the while.
//!
//! What stops it: a fresh n-th residue on every response, uniform over all of them. The paper does
//! not ask for it. Noise that is good enough for encryption, random powers h^x of *one* residue, is
//! not: the client takes both logarithms, finds x in the one that it left empty, and subtracts
//! ([`MaliciousKey::read_through_one_base`]). Noise from several bases is not good enough either while
//! a key may have more factors than that: [`many_factors`].

mod exhibit;
pub mod many_factors;

use gelu_core::{AdditiveHE, Cryptosystem};
use gelu_paillier::{Ciphertext, InsecurePaillier, Noise, PublicKey, SecretKey};
use num_bigint_dig::{BigInt, BigUint, ModInverse};
use num_integer::Integer;
use num_traits::{One, Zero};
use rand_core::{CryptoRng, Rng};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use exhibit::exhibit;

use super::digits;
use super::smooth::SmoothPrime;
use super::target::{self, Target};

/// Paillier in every key size, those of tests included.
type P = InsecurePaillier;

/// A key pair whose owner can take logarithms. The library accepts it: it is a sound Paillier key.
pub struct MaliciousKey {
    /// For decryption, as for everybody.
    pub secret: SecretKey,
    n: BigUint,
    primes: [SmoothPrime; 2],
}

impl MaliciousKey {
    /// A key of `bits` bits.
    pub fn make(bits: u32, rng: &mut dyn Rng) -> Self {
        let half = bits as usize / 2;
        loop {
            let p = SmoothPrime::find(half, &[], rng);
            let q = SmoothPrime::find(half, p.factors(), rng);
            let bytes = [&p, &q].map(|x| x.prime().to_bytes_be());
            // Fermat's test is passed by a few composite numbers, which are refused here.
            if let Ok(secret) = SecretKey::from_primes(&bytes[0], &bytes[1]) {
                return Self { secret, n: p.prime() * q.prime(), primes: [p, q] };
            }
        }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        self.secret.public_key()
    }

    /// Weights of `width` bits that fit the exponent modulo one prime: |Σ| < 2^(width·count − 1) must
    /// stay below (p − 1)/2.
    pub fn places(&self, width: usize) -> usize {
        (self.primes[0].prime().bits() - 1) / width
    }

    /// (1 + n)^m · rⁿ mod n², the textbook.
    fn encrypt(&self, m: &BigUint, r: &BigUint) -> Ciphertext {
        let n2 = &self.n * &self.n;
        let noise = if r.is_one() { BigUint::one() } else { r.modpow(&self.n, &n2) };
        ciphertext(self.public(), &((&self.n * m + 1u8) * noise % &n2))
    }

    /// Encrypts honest messages with prepared randomness: rᵢ = g^(2^(w·i)) modulo p and 1 modulo q
    /// for as many as `places` says first, the other way around for the next, 1 for what is left.
    pub fn encrypt_prepared(
        &self,
        messages: &[u32],
        width: usize,
        places: [usize; 2],
    ) -> Vec<Ciphertext> {
        let [p, q] = &self.primes;
        let randomness = |i: usize| {
            let (prime, other, place) = match i {
                i if i < places[0] => (p, q, i),
                i if i < places[0] + places[1] => (q, p, i - places[0]),
                _ => return BigUint::one(),
            };
            let (x, m) = (prime.prime(), other.prime());
            let power = prime.generator().modpow(&digits::place(width, place), x);
            // 1 modulo the other prime, the power modulo this one: 1 + m·((power − 1)/m mod x).
            let inverse = m.mod_inverse(x).and_then(|i| i.to_biguint()).expect("two primes");
            (power + x - 1u8) * inverse % x * m + 1u8
        };
        let one = |(i, &m): (usize, &u32)| self.encrypt(&BigUint::from(m), &randomness(i));
        messages.par_iter().enumerate().map(one).collect()
    }

    /// The attack: what the randomness of a response says of the weights, `places` as in
    /// [`encrypt_prepared`](Self::encrypt_prepared).
    pub fn read(&self, response: &Ciphertext, width: usize, places: [usize; 2]) -> Vec<i128> {
        let logs = self.logarithms(response);
        let mut weights = Vec::new();
        for ((prime, log), places) in self.primes.iter().zip(&logs).zip(places) {
            weights.extend(digits::read(&centred(log, prime), width, places));
        }
        weights
    }

    /// The same through noise h^x of one base h, x below 2^(half of the key's bits). All `count`
    /// weights were placed modulo p, so the logarithm modulo q tells x, up to the few candidates that
    /// leave what is left modulo p as short as weights are. `None` if there is none.
    pub fn read_through_one_base(
        &self,
        response: &Ciphertext,
        width: usize,
        count: usize,
    ) -> Option<Vec<i128>> {
        let [p, q] = &self.primes;
        let [log_p, log_q] = self.logarithms(response);
        let base = self.one_base();
        let [a_p, a_q] = [p, q].map(|prime| prime.logarithm(prime.generator(), &base));
        let (a_p, a_q) = (a_p?, a_q?);
        // a_q·x = log_q modulo q − 1.
        let order = q.prime() - 1u8;
        let d = a_q.gcd(&order);
        if !(&log_q % &d).is_zero() {
            return None;
        }
        let step = &order / &d;
        let inverse = (&a_q / &d).mod_inverse(&step)?.to_biguint()?;
        let first = &log_q / &d * inverse % &step;
        let bound = BigUint::one() << p.prime().bits();
        let short = BigInt::one() << (width * count);
        let candidates = std::iter::successors(Some(first), |x| Some(x + &step));
        let order = p.prime() - 1u8;
        let mut rests = candidates.take_while(|x| *x < bound).map(|x| {
            let noise = x * &a_p % &order;
            centred(&((&log_p + &order - noise) % &order), p)
        });
        let rest = rests.find(|rest| *rest < short && *rest > -short.clone())?;
        Some(digits::read(&rest, width, count))
    }

    /// The logarithms of a response modulo p and q, to the bases gⁿ.
    fn logarithms(&self, response: &Ciphertext) -> [BigUint; 2] {
        let low = low_digit(self.public(), response);
        self.primes.each_ref().map(|prime| {
            let base = prime.generator().modpow(&self.n, prime.prime());
            prime.logarithm(&base, &low).expect("the base generates the group")
        })
    }

    /// The h of `Noise::HalfExponent`: −u² for a u that the library hashes from n, as anybody can.
    fn one_base(&self) -> BigUint {
        let u = hashed_unit(&self.n, "short exponent", 0);
        &self.n - &u * &u % &self.n
    }
}

/// The unit that the library hashes from n for a purpose, as anybody can.
fn hashed_unit(n: &BigUint, purpose: &str, index: u32) -> BigUint {
    let bytes = n.to_bytes_be();
    let seed = Sha256::new()
        .chain_update(b"gelu-paillier v1 ")
        .chain_update(purpose)
        .chain_update(index.to_be_bytes())
        .chain_update(&bytes)
        .finalize();
    let candidate = |attempt: u32| {
        let block = |block: u32| {
            let hash = Sha256::new().chain_update(seed).chain_update(attempt.to_be_bytes());
            hash.chain_update(block.to_be_bytes()).finalize()
        };
        let bytes: Vec<u8> = (0_u32..).flat_map(block).take(bytes.len() + 16).collect();
        BigUint::from_bytes_be(&bytes) % n
    };
    (0..).map(candidate).find(|u| u.gcd(n).is_one()).expect("almost all are units")
}

/// The ciphertext of a unit below n².
fn ciphertext(public: &PublicKey, c: &BigUint) -> Ciphertext {
    let n = BigUint::from_bytes_be(&public.modulus());
    let width = P::ciphertext_len(public) / 2;
    let digits = [c / &n, c % &n].map(|digit| {
        let bytes = digit.to_bytes_be();
        [vec![0; width - bytes.len()], bytes].concat()
    });
    P::ciphertext_from_bytes(public, &digits.concat()).expect("a unit below n²")
}

/// A ciphertext modulo n, where its message vanishes: c = high·n + low.
fn low_digit(public: &PublicKey, c: &Ciphertext) -> BigUint {
    let mut bytes = Vec::new();
    P::ciphertext_to_bytes(public, c, &mut bytes);
    BigUint::from_bytes_be(&bytes[bytes.len() / 2..])
}

/// The representative of a logarithm between −(p − 1)/2 and (p − 1)/2.
fn centred(log: &BigUint, prime: &SmoothPrime) -> BigInt {
    let order = prime.prime() - 1u8;
    match *log > (&order >> 1) {
        true => BigInt::from(log.clone()) - BigInt::from(order),
        false => BigInt::from(log.clone()),
    }
}

/// How a server finishes a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Not at all, as in the paper.
    Bare,
    /// As the real server does: sealed.
    Sealed,
    /// With another kind of noise that the library has.
    With(Noise),
    /// As sealing once did it: with noise from a number of bases.
    Bases(u32),
}

/// What the client receives.
///
/// # Errors
/// Never for ciphertexts of this key.
pub fn finish(
    public: &PublicKey,
    responses: &[Ciphertext],
    target: &Target,
    finish: Finish,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Vec<Ciphertext>> {
    let shaped = || -> Vec<_> { responses.iter().map(|c| (c.clone(), target.slot)).collect() };
    match finish {
        Finish::Bare => Ok(responses.to_vec()),
        Finish::Sealed => target::sealed::<P>(public, responses, target.slot, rng),
        Finish::With(noise) => Ok(public.rerandomize_with(noise, &shaped(), rng)),
        Finish::Bases(bases) => Ok(public.danger_rerandomize_with_bases(bases, &shaped(), rng)),
    }
}

/// A key that a client might offer, and what a server says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What is wrong with it.
    pub what: &'static str,
    /// `None` if it is accepted, otherwise why not.
    pub refused: Option<String>,
}

/// Offers bad keys of `bits` bits to the checks that every server makes.
pub fn offers(key: &MaliciousKey, rng: &mut dyn Rng) -> Vec<Offer> {
    let bytes = key.public().to_bytes();
    let width = key.n.bits() / 8;
    let check = |what, bytes: &[u8]| {
        let refused = P::public_key_from_bytes(bytes).err().map(|error| error.to_string());
        Offer { what, refused }
    };
    // The proof of the good key goes with all: what is checked before the proof speaks first.
    let with_modulus = |n: &BigUint| {
        let mut offer = bytes.clone();
        let n = n.to_bytes_be();
        offer[1..=width].fill(0);
        offer[1 + width - n.len()..=width].copy_from_slice(&n);
        offer
    };
    let [p, q] = [0, 1].map(|i| key.primes[i].prime());
    // p²·q: the group has places that no noise reaches. As long as n, with primes of its own.
    let third = key.n.bits() / 3;
    let square_factor = loop {
        let small = SmoothPrime::find(third, &[], rng);
        let rest = SmoothPrime::find(key.n.bits() - 2 * third, &[], rng);
        let n = small.prime() * small.prime() * rest.prime();
        if n.bits() == key.n.bits() {
            break n;
        }
    };
    let small_factor = ((&key.n / 65_521u32) | BigUint::one()) * 65_521u32;
    let mut unproven = bytes.clone();
    *unproven.last_mut().expect("not empty") ^= 1;
    vec![
        check("p − 1 and q − 1 smooth, as in this attack", &bytes),
        check("n even", &with_modulus(&(&key.n - 1u8))),
        check("n = p²", &with_modulus(&(p.max(q) * p.max(q)))),
        check("n with a small factor", &with_modulus(&small_factor)),
        check("n = p²·q, with the proof of another key", &with_modulus(&square_factor)),
        check("one bit of the proof changed", &unproven),
    ]
}

/// Whether every response decrypts to the honest sum.
fn answers_are_honest(
    key: &MaliciousKey,
    responses: &[Ciphertext],
    target: &Target,
    rows: &[Vec<i128>],
    pixels: &[u32],
) -> gelu_core::Result<bool> {
    for ((response, row), offset) in responses.iter().zip(rows).zip(target.offsets()) {
        let sum: i128 = row.iter().zip(pixels).map(|(w, &x)| w * i128::from(x)).sum();
        let got = P::decrypt(&key.secret, response, target.slot)?;
        if got.values() != [sum + offset] {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::{Format, Precision};
    use gelu_nn::{Activation, Model, Sequential};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// 50 inputs, 3 outputs, weights of 12 bits; keys of 512 bits, so 21 weights modulo each prime.
    fn scene() -> (MaliciousKey, Target, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let architecture = Sequential::dense(50, &[3], 2, Activation::Sigmoid).unwrap();
        let mut parameters = architecture.network().zeros();
        let mut draw = || i128::from(rng.next_u32() % 4095) - 2047;
        parameters.values_mut().for_each(|w| *w = draw());
        let precision = Precision { weights: Format::new(3, 8), ..Precision::INFERENCE };
        let model = Model::new("test", architecture, precision, parameters).unwrap();
        let key = MaliciousKey::make(512, &mut rng);
        let target = Target::first_layer::<P>(&model, key.public()).unwrap();
        (key, target, rng)
    }

    const PIXELS: [u32; 50] = [7; 50];

    #[test]
    fn a_bare_response_gives_every_weight_asked_for() {
        let (key, target, mut rng) = scene();
        let places = [key.places(12); 2];
        assert_eq!(places, [21, 21]);
        let inputs = key.encrypt_prepared(&PIXELS, 12, places);
        let bare = target.answer_bare::<P>(key.public(), &inputs).unwrap();
        let rows = target.rows();
        for (response, row) in bare.iter().zip(&rows) {
            assert_eq!(key.read(response, 12, places), row[..42]);
        }
        for how in [Finish::Sealed, Finish::With(Noise::Uniform), Finish::Bases(107)] {
            let sent = finish(key.public(), &bare, &target, how, &mut rng).unwrap();
            assert!(answers_are_honest(&key, &sent, &target, &rows, &PIXELS).unwrap());
            let read = sent.iter().map(|response| key.read(response, 12, places));
            let right: usize = read.zip(&rows).map(|(a, b)| digits::right(&a, b)).sum();
            assert!(right <= 2, "{how:?}: {right} of 126; chance makes 0.03");
        }
    }

    #[test]
    fn noise_with_one_base_does_not_hide_from_the_owner() {
        let (key, target, mut rng) = scene();
        let count = key.places(12) - 3;
        let inputs = key.encrypt_prepared(&PIXELS, 12, [count, 0]);
        let bare = target.answer_bare::<P>(key.public(), &inputs).unwrap();
        let rows = target.rows();
        let mut read = |how| {
            let sent = finish(key.public(), &bare, &target, how, &mut rng).unwrap();
            let read = sent.iter().map(|c| key.read_through_one_base(c, 12, count));
            read.collect::<Vec<_>>()
        };
        for (weights, row) in read(Finish::With(Noise::HalfExponent)).iter().zip(&rows) {
            assert_eq!(weights.as_deref(), Some(&row[..count]));
        }
        assert_eq!(read(Finish::Sealed), [None, None, None], "the seal leaves nothing to find");
    }

    #[test]
    fn the_key_checks_see_what_can_be_seen() {
        let (key, _, mut rng) = scene();
        let offers = offers(&key, &mut rng);
        assert_eq!(offers[0].refused, None, "smoothness cannot be seen");
        let reasons = ["even", "square", "factor", "certified", "certified"];
        for (offer, reason) in offers[1..].iter().zip(reasons) {
            let refused = offer.refused.as_ref().expect(offer.what);
            assert!(refused.contains(reason), "{}: {refused}", offer.what);
        }
    }
}
