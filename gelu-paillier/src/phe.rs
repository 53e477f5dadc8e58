//! Exchange with [python-paillier](https://github.com/data61/python-paillier) (`phe`).
//!
//! The formats are those of its command line, `pheutil`:
//!
//! ```json
//! { "kty": "DAJ", "alg": "PAI-GN1", "key_ops": ["encrypt"], "n": "<base64url>", "kid": "…" }
//! { "kty": "DAJ", "key_ops": ["decrypt"], "p": "<base64url>", "q": "<base64url>", "pub": {…}, "kid": "…" }
//! { "v": "<decimal ciphertext>", "e": -32 }
//! ```
//!
//! Both sides use g = n + 1, so the ciphertexts are the same. `phe` encrypts one *number*: an
//! integer mantissa modulo n (negative ones are n − |mantissa|, and |mantissa| < n/3) times 16^e,
//! with the exponent e in the open. [`EncryptedNumber`] keeps mantissa and exponent apart. In terms
//! of slots, a mantissa below 2^126 is a row of one slot of 127 bits.
//!
//! A ciphertext of `phe` that was not "obfuscated" has predictable randomness (its library
//! obfuscates whatever it serialises). Its keys are not Blum integers, which matters to nobody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crypto_bigint::{BoxedUint, Resize};
use gelu_core::error::{ApiMisuse, PeerMisbehaved};
use gelu_core::{Error, Result as GeluResult};
use num_bigint_dig::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ciphertext::Ciphertext;
use crate::keys::{InvalidSecretKey, PublicKey, STANDARD_KEY_BITS, SecretKey};
use crate::noise::Noise;
use crate::wire;

/// Why text is not what `pheutil` writes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PheError {
    /// Not the JSON of such an object.
    #[error("not a pheutil {0}")]
    Format(&'static str),
    /// A key that is too short for real use.
    #[error(
        "a key of {0} bits is too short: make one of 2048 bits (pheutil genpkey --keysize 2048)"
    )]
    KeySize(u32),
    /// The public half belongs to another key.
    #[error("the modulus is not the product of p and q: the public half belongs to another key")]
    OtherModulus,
    /// Numbers that are no secret key.
    #[error("not a key: {0}")]
    SecretKey(#[from] InvalidSecretKey),
    /// A modulus or a ciphertext that cannot be one.
    #[error("not a key or ciphertext: {0}")]
    Invalid(#[from] PeerMisbehaved),
}

/// An encrypted mantissa · 16^exponent.
#[derive(Debug, Clone)]
pub struct EncryptedNumber {
    /// The encrypted mantissa.
    pub ciphertext: Ciphertext,
    /// The exponent, in the open.
    pub exponent: i32,
}

/// A decrypted mantissa · 16^exponent. (`pheutil` scales most numbers to the exponent −32, so
/// mantissas are longer than machine words.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// The mantissa.
    pub mantissa: BigInt,
    /// The exponent.
    pub exponent: i32,
}

impl Number {
    /// mantissa · 16^exponent.
    pub fn new(mantissa: impl Into<BigInt>, exponent: i32) -> Self {
        Self { mantissa: mantissa.into(), exponent }
    }

    /// As a floating-point number; infinite or zero beyond its range.
    pub fn to_f64(&self) -> f64 {
        let magnitude = self.mantissa.to_f64().unwrap_or(f64::INFINITY);
        magnitude * 16f64.powi(self.exponent)
    }
}

impl EncryptedNumber {
    /// Encrypts mantissa · 16^exponent.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when the magnitude of the mantissa reaches n/3.
    pub fn encrypt(
        public: &PublicKey,
        number: &Number,
        rng: &mut dyn CryptoRng,
    ) -> GeluResult<Self> {
        let n = big(public.mod_n().value());
        if number.mantissa.abs() > largest(&n) {
            let why = format!("has {} bits, which n/3 exceeds", number.mantissa.bits());
            return Err(ApiMisuse::configuration("the mantissa", why).into());
        }
        let residue = if number.mantissa.is_negative() {
            &number.mantissa + n
        } else {
            number.mantissa.clone()
        };
        let bytes = Zeroizing::new(residue.to_bytes_be().1);
        let m = BoxedUint::from_be_slice(&bytes, public.mod_n().precision()).expect("below n");
        let noise = public.noise(Noise::HalfExponent, 1).make(&mut [rng]);
        let message = public.messages(&[Zeroizing::new(m)]);
        let product = public.ring().multiply(&message.refs(), &noise.refs());
        let ciphertext = Ciphertext::new(public, product.get(0));
        Ok(Self { ciphertext, exponent: number.exponent })
    }

    /// Decrypts. The decryption takes constant time, the conversion of its result does not.
    ///
    /// # Errors
    /// [`Error::Decryption`] under the wrong key or when the mantissa has overflowed n/3.
    pub fn decrypt(&self, secret: &SecretKey) -> GeluResult<Number> {
        let m = big(&secret.decrypt_all(&[&self.ciphertext])?[0]);
        let n = big(secret.public_key().mod_n().value());
        let mantissa = if m > largest(&n) { m - &n } else { m };
        if mantissa < -largest(&n) {
            return Err(Error::Decryption);
        }
        Ok(Number { mantissa, exponent: self.exponent })
    }

    /// Reads a number that `pheutil encrypt` wrote.
    ///
    /// # Errors
    /// [`PheError`] for anything else.
    pub fn from_json(public: &PublicKey, json: &str) -> Result<Self, PheError> {
        let number: NumberJson =
            serde_json::from_str(json).map_err(|_| PheError::Format("encrypted number"))?;
        let precision = 2 * public.bits();
        let value = BoxedUint::from_str_radix_with_precision_vartime(&number.v, 10, precision)
            .map_err(|_| PheError::Format("encrypted number"))?;
        let (high, low) = value.div_rem_vartime(public.mod_n().value());
        let high = high.resize_unchecked(2 * public.bits());
        if high.bits_vartime() > public.bits() {
            return Err(PeerMisbehaved::InvalidCiphertext.into());
        }
        let digits = [high.resize_unchecked(public.bits()), low.resize_unchecked(public.bits())];
        let bytes: Vec<u8> = digits.iter().flat_map(BoxedUint::to_be_bytes).collect();
        let mut ciphertexts = wire::ciphertexts_from_bytes(public, &bytes)?;
        Ok(Self { ciphertext: ciphertexts.remove(0), exponent: number.e })
    }

    /// Writes the number as `pheutil decrypt` reads it.
    ///
    /// # Panics
    /// When it is encrypted under another key.
    pub fn to_json(&self, public: &PublicKey) -> String {
        let digits = public.ring().export(&[self.ciphertext.under(public)]).remove(0);
        let value = big(&digits.low) + big(&digits.high) * big(public.mod_n().value());
        let number = NumberJson { v: value.to_string(), e: self.exponent };
        serde_json::to_string(&number).expect("two plain fields")
    }
}

impl PublicKey {
    /// Reads a key of [standard](STANDARD_KEY_BITS) size that `pheutil extract` wrote: see
    /// [`from_uncertified_modulus`](Self::from_uncertified_modulus).
    ///
    /// # Errors
    /// [`PheError`] for anything else.
    pub fn from_phe_json(json: &str) -> Result<Self, PheError> {
        let key = Self::insecure_from_phe_json(json)?;
        long_enough(key.bits()).map(|()| key)
    }

    /// [`from_phe_json`](Self::from_phe_json) for keys that may be as short as 512 bits: for tests.
    ///
    /// # Errors
    /// [`PheError`] for anything else.
    pub fn insecure_from_phe_json(json: &str) -> Result<Self, PheError> {
        let format = PheError::Format("public key");
        let key: PublicJson = serde_json::from_str(json).map_err(|_| format.clone())?;
        if key.kty != KTY || key.alg != ALG {
            return Err(format);
        }
        let n = from_base64url(&key.n).ok_or(format)?;
        Ok(Self::from_uncertified_modulus(&n)?)
    }

    /// Writes the key as `pheutil encrypt` reads it.
    pub fn to_phe_json(&self) -> String {
        serde_json::to_string(&PublicJson::new(self)).expect("plain fields")
    }
}

impl SecretKey {
    /// Reads a key of [standard](STANDARD_KEY_BITS) size that `pheutil genpkey` wrote.
    ///
    /// # Errors
    /// [`PheError`] for anything else, and for a public half that is not p·q.
    pub fn from_phe_json(json: &str) -> Result<Self, PheError> {
        let key = Self::insecure_from_phe_json(json)?;
        long_enough(key.public_key().bits()).map(|()| key)
    }

    /// [`from_phe_json`](Self::from_phe_json) for keys that may be as short as 512 bits: for tests.
    ///
    /// # Errors
    /// [`PheError`] for anything else, and for a public half that is not p·q.
    pub fn insecure_from_phe_json(json: &str) -> Result<Self, PheError> {
        let format = PheError::Format("private key");
        let key: SecretJson = serde_json::from_str(json).map_err(|_| format.clone())?;
        if key.kty != KTY {
            return Err(format);
        }
        let factor = |text: &str| from_base64url(text).ok_or(format.clone());
        let n = from_base64url(&key.public.n).ok_or(format.clone())?;
        let secret = Self::from_primes(&factor(&key.p)?, &factor(&key.q)?)?;
        let zeros = n.iter().take_while(|&&byte| byte == 0).count();
        if n[zeros..] != *secret.public_key().modulus() {
            return Err(PheError::OtherModulus);
        }
        Ok(secret)
    }

    /// Writes the key as `pheutil decrypt` reads it. The text holds the key in the open.
    pub fn to_phe_json(&self) -> Zeroizing<String> {
        let (p, q) = self.primes();
        // python-paillier wants p and q in either order, and writes the smaller one first.
        let encode = |x: &BoxedUint| to_base64url(&Zeroizing::new(x.to_be_bytes()));
        let (p, q) = if *p < *q { (p, q) } else { (q, p) };
        let key = SecretJson {
            kty: KTY.to_owned(),
            key_ops: vec!["decrypt".to_owned()],
            p: encode(&p),
            q: encode(&q),
            public: PublicJson::new(self.public_key()),
            kid: kid("private", self.public_key()),
        };
        let mut json = Zeroizing::new(Vec::with_capacity(8192));
        serde_json::to_writer(&mut *json, &key).expect("plain fields");
        Zeroizing::new(core::str::from_utf8(&json).expect("JSON is UTF-8").to_owned())
    }
}

fn long_enough(bits: u32) -> Result<(), PheError> {
    if STANDARD_KEY_BITS.contains(&bits) { Ok(()) } else { Err(PheError::KeySize(bits)) }
}

/// The largest mantissa: what lies between it and its negative modulo n reveals an overflow.
fn largest(n: &BigInt) -> BigInt {
    n / 3 - 1
}

fn big(x: &BoxedUint) -> BigInt {
    BigInt::from_bytes_be(Sign::Plus, &Zeroizing::new(x.to_be_bytes()))
}

const KTY: &str = "DAJ";
const ALG: &str = "PAI-GN1";

#[derive(Serialize, Deserialize)]
struct NumberJson {
    v: String,
    e: i32,
}

#[derive(Serialize, Deserialize)]
struct PublicJson {
    kty: String,
    alg: String,
    #[serde(default)]
    key_ops: Vec<String>,
    n: String,
    #[serde(default)]
    kid: String,
}

impl PublicJson {
    fn new(public: &PublicKey) -> Self {
        Self {
            kty: KTY.to_owned(),
            alg: ALG.to_owned(),
            key_ops: vec!["encrypt".to_owned()],
            n: to_base64url(&public.modulus()),
            kid: kid("public", public),
        }
    }
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct SecretJson {
    kty: String,
    #[serde(default)]
    key_ops: Vec<String>,
    p: String,
    q: String,
    #[serde(rename = "pub")]
    #[zeroize(skip)]
    public: PublicJson,
    #[serde(default)]
    kid: String,
}

fn kid(half: &str, public: &PublicKey) -> String {
    let fingerprint = u64::from_be_bytes(public.fingerprint());
    format!("Paillier {half} key {fingerprint:016x} exported by gelu")
}

/// RFC 4648, section 5, without padding and without leading zero bytes, as JSON web keys have it.
fn to_base64url(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    URL_SAFE_NO_PAD.encode(&bytes[zeros..])
}

/// With padding or without.
fn from_base64url(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InsecurePaillier as P;
    use crate::oracle::{KEY, OTHER_KEY, rng};
    use gelu_core::{AdditiveHE, SlotShape};

    #[test]
    fn base64url_by_example() {
        // RFC 4648, section 10, and the two digits that differ from plain base64.
        let vectors: [(&[u8], &str); 7] = [
            (b"", ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff], "-_8"),
            (&[0xff, 0xef, 0xfe], "_-_-"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(to_base64url(bytes), text);
            assert_eq!(**from_base64url(text).unwrap(), *bytes);
        }
        assert_eq!(to_base64url(&[0, 0, b'f']), "Zg");
        assert_eq!(**from_base64url("Zg==").unwrap(), *b"f");
        assert!(from_base64url("Z").is_none() && from_base64url("Zm9+").is_none());
    }

    #[test]
    fn keys_and_numbers_round_trip() {
        let public = KEY.public_key().to_phe_json();
        let public = PublicKey::insecure_from_phe_json(&public).unwrap();
        assert_eq!(&public, KEY.public_key());
        let secret = SecretKey::insecure_from_phe_json(&KEY.to_phe_json()).unwrap();
        assert_eq!(secret.public_key(), &public);

        let n = big(public.mod_n().value());
        let bound = largest(&n);
        for mantissa in [0.into(), 1.into(), BigInt::from(-1), bound.clone(), -&bound] {
            let number = Number::new(mantissa, -7);
            let encrypted = EncryptedNumber::encrypt(&public, &number, &mut rng(1)).unwrap();
            let json = encrypted.to_json(&public);
            let read = EncryptedNumber::from_json(&public, &json).unwrap();
            assert_eq!(read.decrypt(&secret), Ok(number));
            assert_eq!(read.decrypt(&OTHER_KEY), Err(Error::Decryption));
        }
        for too_large in [&bound + 1, -&bound - 1, n.clone(), -n] {
            let number = Number::new(too_large, 0);
            assert!(EncryptedNumber::encrypt(&public, &number, &mut rng(1)).is_err());
        }
        assert_eq!(Number::new(-24, -1).to_f64(), -1.5);
    }

    /// A sum beyond n/3 is an error, not a wrong number; what fits a slot is a slot.
    #[test]
    fn overflow_is_noticed_and_small_mantissas_are_slots() {
        let public = KEY.public_key();
        let encrypt = |mantissa: BigInt| {
            EncryptedNumber::encrypt(public, &Number::new(mantissa, 0), &mut rng(2)).unwrap()
        };
        let mut number = encrypt(largest(&big(public.mod_n().value())));
        number.ciphertext = P::add(public, &number.ciphertext, &encrypt(1.into()).ciphertext);
        assert_eq!(number.decrypt(&KEY), Err(Error::Decryption));

        let slot = SlotShape { bits: 127, count: 1 };
        let bound = (1i128 << 126) - 1;
        for value in [bound, -bound] {
            let ciphertext = encrypt(value.into()).ciphertext;
            assert_eq!(P::decrypt(&KEY, &ciphertext, slot).unwrap().values(), [value]);
        }
    }

    #[test]
    fn other_text_is_refused() {
        let public = KEY.public_key();
        let number = |json: &str| EncryptedNumber::from_json(public, json).map(|_| ());
        for json in
            ["", "{}", r#"{"v": 5, "e": 0}"#, r#"{"v": "x", "e": 0}"#, r#"{"v": "", "e": 0}"#]
        {
            assert_eq!(number(json), Err(PheError::Format("encrypted number")), "{json}");
        }
        let invalid = Err(PheError::Invalid(PeerMisbehaved::InvalidCiphertext));
        assert_eq!(number(r#"{"v": "0", "e": 0}"#), invalid);
        let huge = format!(r#"{{"v": "{}", "e": 0}}"#, "9".repeat(400));
        assert!(number(&huge).is_err());

        let key = public.to_phe_json();
        for (from, to) in [("DAJ", "RSA"), ("PAI-GN1", "none"), ("\"n\"", "\"m\"")] {
            let error = PublicKey::insecure_from_phe_json(&key.replace(from, to)).unwrap_err();
            assert_eq!(error, PheError::Format("public key"), "{from}");
        }
        let key = KEY.to_phe_json();
        let read = |json: &str| SecretKey::insecure_from_phe_json(json).map(|_| ()).unwrap_err();
        let format = PheError::Format("private key");
        assert_eq!(read(&key.replacen("DAJ", "RSA", 1)), format);
        assert_eq!(read(&public.to_phe_json()), format);
        let longer = key.replacen("\"p\":\"", "\"p\":\"A", 1);
        assert_eq!(read(&longer), PheError::SecretKey(InvalidSecretKey::Size));
    }

    /// What is decrypted under p·q must have been encrypted under p·q.
    #[test]
    fn the_public_half_is_that_of_the_private_one() {
        let n = |key: &PublicKey| to_base64url(&key.modulus());
        let (ours, theirs) = (n(KEY.public_key()), n(OTHER_KEY.public_key()));
        let read = |n: &str| {
            SecretKey::insecure_from_phe_json(&KEY.to_phe_json().replacen(&ours, n, 1)).map(|_| ())
        };
        assert_eq!(read(&ours), Ok(()));
        assert_eq!(read(&format!("AAAA{ours}")), Ok(()), "leading zeros do not count");
        for other in [&theirs[..], "", "Zg", &ours[4..], &format!("{ours}AAAA")] {
            assert_eq!(read(other), Err(PheError::OtherModulus), "{other}");
        }
        assert_eq!(read("!"), Err(PheError::Format("private key")));
    }

    #[test]
    fn short_keys_are_refused_by_name() {
        for (bits, seed) in [(512, 1), (1024, 3)] {
            let key = SecretKey::insecure_generate(bits, &mut rng(seed)).unwrap();
            let (secret, public) = (key.to_phe_json(), key.public_key().to_phe_json());
            assert_eq!(SecretKey::from_phe_json(&secret).map(|_| ()), Err(PheError::KeySize(bits)));
            assert_eq!(PublicKey::from_phe_json(&public), Err(PheError::KeySize(bits)));
        }
        assert!(PheError::KeySize(512).to_string().contains("2048 bits"));
        assert!(STANDARD_KEY_BITS.iter().all(|&bits| long_enough(bits) == Ok(())));
    }
}
