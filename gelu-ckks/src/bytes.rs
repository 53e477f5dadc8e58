//! Parameters, keys and ciphertexts as bytes, and what is checked when they come back.
//!
//! Numbers are little-endian; polynomials are as in [`gelu_ring::bytes`], evaluations of one prime after the other.
//!
//! | what | bytes |
//! |---|---|
//! | parameters | N (4), digits (1), special primes (1), primes of Q (1), all primes, special ones first (8 each) |
//! | scale | exponent of 2 (8), primes (1), for each its place in Q (1) and its exponent, not 0 (8), in order of the primes' size |
//! | ciphertext | level (1), scale, c₀, c₁ |
//! | upload | level (1), scale, seed (32), c₀ |
//! | public key | seed (32), b |
//! | switching key | kind (1: 0 products, 1 rotation, 2 conjugation), rotation (4), level (1), seed (32), b₀, b₁, … |
//! | evaluation keys | how many (4), the keys, in order of their kinds |
//!
//! Everything is read for parameters that both parties have. Every residue is compared with its prime, every level with
//! the parameters, every scale with the modulus of its level; lengths are exact. What is read is written again as it
//! was. Nothing can be checked of what is encrypted: that is for whoever holds the key.

use gelu_ring::bytes::InvalidBytes;
use gelu_ring::sample::Seed;
use gelu_ring::{Basis, Evaluations, Poly};

use crate::ciphertext::{Ciphertext, check_scale};
use crate::error::Error;
use crate::keys::{PublicKey, Upload};
use crate::parameters::Parameters;
use crate::scale::Scale;
use crate::switching::{EvaluationKeys, KeyKind, SwitchingKey};

/// Why bytes are refused. The sender must act.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// They end early, or go on.
    #[error("{got} bytes where {expected} are left to read")]
    Length {
        /// What should be there.
        expected: usize,
        /// What is.
        got: usize,
    },
    /// A residue is not below its prime.
    #[error(transparent)]
    Residue(#[from] InvalidBytes),
    /// A level that the parameters do not have, or a scale that does not fit it; or parameters that are none.
    #[error(transparent)]
    Value(#[from] Error),
    /// A field that is no number of its table.
    #[error("the field \"{0}\" has no such value")]
    Field(&'static str),
}

/// Shorthand.
type Result<T> = std::result::Result<T, Unreadable>;

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let short = Unreadable::Length { expected: count, got: self.0.len() };
        let (taken, rest) = self.0.split_at_checked(count).ok_or(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const M: usize>(&mut self) -> Result<[u8; M]> {
        let mut array = [0; M];
        array.copy_from_slice(self.take(M)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<usize> {
        Ok(self.array::<1>()?[0].into())
    }

    fn word(&mut self) -> Result<usize> {
        let word = u32::from_le_bytes(self.array()?);
        usize::try_from(word).map_err(|_| Unreadable::Field("number"))
    }

    fn poly(&mut self, basis: &Basis) -> Result<Poly<Evaluations>> {
        let bytes = self.take(Poly::<Evaluations>::bytes_len(basis))?;
        Ok(Poly::from_bytes(basis, bytes)?)
    }

    fn level(&mut self, parameters: &Parameters) -> Result<usize> {
        let level = self.byte()?;
        parameters.check_level(level)?;
        Ok(level)
    }

    fn scale(&mut self, parameters: &Parameters, level: usize) -> Result<Scale> {
        let two = i64::from_le_bytes(self.array()?);
        let count = self.byte()?;
        let mut primes: Vec<(u64, i64)> = Vec::new();
        for _ in 0..count {
            let prime = parameters.primes().nth(self.byte()?);
            let prime = prime.ok_or(Unreadable::Field("prime of a scale"))?;
            let exponent = i64::from_le_bytes(self.array()?);
            // One way to write it.
            if exponent == 0 || primes.last().is_some_and(|(last, _)| *last >= prime) {
                return Err(Unreadable::Field("exponent of a scale"));
            }
            primes.push((prime, exponent));
        }
        let scale = Scale::from_parts(two, primes);
        check_scale(parameters, &scale, level)?;
        Ok(scale)
    }

    fn end(self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            got => Err(Unreadable::Length { expected: 0, got }),
        }
    }
}

/// A number of a few bits: levels, counts of primes.
fn byte(x: usize) -> u8 {
    u8::try_from(x).expect("at most 146 primes")
}

fn word(x: usize) -> [u8; 4] {
    u32::try_from(x).expect("at most 2^16").to_le_bytes()
}

fn write_scale(parameters: &Parameters, scale: &Scale, out: &mut Vec<u8>) {
    let (two, primes) = scale.parts();
    out.extend(two.to_le_bytes());
    out.push(byte(primes.len()));
    for (q, exponent) in primes {
        let place = parameters.primes().position(|p| p == *q).expect("scales are of these primes");
        out.push(byte(place));
        out.extend(exponent.to_le_bytes());
    }
}

impl Parameters {
    /// The parameters as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = word(self.degree()).to_vec();
        let counts = [self.digits(), self.special_primes().len(), self.primes().len()];
        out.extend(counts.map(byte));
        self.special_primes().chain(self.primes()).for_each(|q| out.extend(q.to_le_bytes()));
        out
    }

    /// Reads parameters. Nothing large is computed before they are found secure; then the tables of each prime are, 3.5 MiB
    /// at N = 2^16, 350 MiB in all at worst. Whoever reads parameters of strangers compares the bytes with those of the sets
    /// that it serves instead.
    ///
    /// # Errors
    /// [`Unreadable::Length`]; [`Unreadable::Value`] with the reason of [`Parameters::of_primes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let degree = reader.word()?;
        let [digits, special, primes] = [reader.byte()?, reader.byte()?, reader.byte()?];
        let mut all = Vec::new();
        for _ in 0..special + primes {
            all.push(u64::from_le_bytes(reader.array()?));
        }
        reader.end()?;
        let (special, primes) = all.split_at(special);
        Ok(Self::of_primes(degree, primes, special, digits)?)
    }
}

impl Ciphertext {
    /// The ciphertext as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![byte(self.level)];
        write_scale(&self.parameters, &self.scale, &mut out);
        out.extend(self.c0.to_bytes());
        out.extend(self.c1.to_bytes());
        out
    }

    /// Reads a ciphertext.
    ///
    /// # Errors
    /// [`Unreadable`] says which check failed.
    pub fn from_bytes(parameters: &Parameters, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let level = reader.level(parameters)?;
        let scale = reader.scale(parameters, level)?;
        let basis = &parameters.level(level).basis;
        let (c0, c1) = (reader.poly(basis)?, reader.poly(basis)?);
        reader.end()?;
        Ok(Self { parameters: parameters.clone(), c0, c1, scale, level })
    }
}

impl Upload {
    /// The upload as bytes: half of a ciphertext's.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![byte(self.level)];
        write_scale(&self.parameters, &self.scale, &mut out);
        out.extend(self.seed);
        out.extend(self.c0.to_bytes());
        out
    }

    /// Reads an upload.
    ///
    /// # Errors
    /// [`Unreadable`] says which check failed.
    pub fn from_bytes(parameters: &Parameters, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let level = reader.level(parameters)?;
        let scale = reader.scale(parameters, level)?;
        let seed: Seed = reader.array()?;
        let c0 = reader.poly(&parameters.level(level).basis)?;
        reader.end()?;
        Ok(Self { parameters: parameters.clone(), seed, c0, scale, level })
    }
}

impl PublicKey {
    /// The key as bytes: half of it is a seed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.seed[..], &self.b.to_bytes()].concat()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`Unreadable`] says which check failed.
    pub fn from_bytes(parameters: &Parameters, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let seed = reader.array()?;
        let b = reader.poly(&parameters.level(parameters.top_level()).basis)?;
        reader.end()?;
        Ok(Self::from_parts(parameters.clone(), seed, b))
    }
}

impl SwitchingKey {
    /// The key as bytes: half of it is a seed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, steps) = match self.kind {
            KeyKind::Relinearization => (0, 0),
            KeyKind::Rotation(steps) => (1, steps),
            KeyKind::Conjugation => (2, 0),
        };
        let mut out = vec![kind];
        out.extend(word(steps));
        out.push(byte(self.level));
        out.extend(self.seed);
        let b = (0..self.pairs.len()).step_by(2);
        b.for_each(|j| out.extend(self.pairs.poly(j).to_bytes()));
        out
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`Unreadable`] says which check failed.
    pub fn from_bytes(parameters: &Parameters, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let key = Self::read(parameters, &mut reader)?;
        reader.end()?;
        Ok(key)
    }

    fn read(parameters: &Parameters, reader: &mut Reader<'_>) -> Result<Self> {
        let kind = match (reader.byte()?, reader.word()?) {
            (0, 0) => KeyKind::Relinearization,
            (1, steps) if steps < parameters.slots() => KeyKind::Rotation(steps),
            (2, 0) => KeyKind::Conjugation,
            _ => return Err(Unreadable::Field("kind of a key")),
        };
        let level = reader.level(parameters)?;
        let seed: Seed = reader.array()?;
        let decomposition = &parameters.level(level).decomposition;
        let b = (0..decomposition.len()).map(|_| reader.poly(decomposition.target()));
        let b = b.collect::<Result<Vec<_>>>()?;
        // After the bytes are there: expanding a seed takes longer than reading.
        Ok(Self::new(parameters.clone(), kind, level, seed, b))
    }
}

impl EvaluationKeys {
    /// All keys as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Residues take bits here and whole bytes in memory: no less.
        let bytes: usize = self.iter().map(|key| key.memory() / 2).sum();
        let count = self.iter().count();
        // Gigabytes are not moved to a larger place.
        let mut out = Vec::with_capacity(bytes + 64 * (count + 1));
        out.extend(word(count));
        self.iter().for_each(|key| out.extend(key.to_bytes()));
        out
    }

    /// Reads keys, none twice.
    ///
    /// # Errors
    /// [`Unreadable`] says which check failed.
    pub fn from_bytes(parameters: &Parameters, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let (count, mut keys) = (reader.word()?, Self::new(parameters));
        let mut last = None;
        for _ in 0..count {
            let key = SwitchingKey::read(parameters, &mut reader)?;
            if last.is_some_and(|last| last >= key.kind) {
                return Err(Unreadable::Field("order of keys"));
            }
            last = Some(key.kind);
            keys.insert(key)?;
        }
        reader.end()?;
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encrypted, open, random, rng, secret, shallow, worst};
    use crate::{Chain, Plaintext};

    #[test]
    fn parameters_come_back_and_no_other_bytes_do() {
        for chain in &Chain::ALL[..3] {
            let parameters = Parameters::new(chain).unwrap();
            let bytes = parameters.to_bytes();
            assert_eq!(Parameters::from_bytes(&bytes), Ok(parameters));
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                if let Ok(other) = Parameters::from_bytes(&changed) {
                    // Fewer digits may do, and the order of bytes is all that is free.
                    assert_eq!(other.to_bytes(), changed, "byte {at}");
                }
                assert!(Parameters::from_bytes(&bytes[..at]).is_err());
            }
            // A prime more than is secure.
            let mut more = bytes;
            more[6] += 1;
            more.extend(1_125_899_903_827_969u64.to_le_bytes());
            let refused = Parameters::from_bytes(&more);
            assert!(
                matches!(refused, Err(Unreadable::Value(Error::Insecure { .. }))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn ciphertexts_come_back_and_each_part_is_checked() {
        let parameters = shallow();
        let x = random(&parameters, 1);
        let ciphertext = encrypted(&x, 2).mul(&encrypted(&x, 3), crate::testing::keys()).unwrap();
        let bytes = ciphertext.to_bytes();
        let read = |bytes: &[u8]| Ciphertext::from_bytes(&parameters, bytes);
        let again = read(&bytes).unwrap();
        assert_eq!((again.level(), again.scale()), (1, ciphertext.scale()));
        assert!(worst(&open(&again), &open(&ciphertext)) == 0.0);
        assert_eq!(again.to_bytes(), bytes);

        // Level, exponent of 2, primes, place, exponent.
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            read(&bytes).unwrap_err()
        };
        assert!(matches!(
            changed(0, 5),
            Unreadable::Value(Error::NoSuchLevel { level: 5, most: 4 })
        ));
        assert!(matches!(changed(0, 2), Unreadable::Length { .. }));
        assert!(matches!(changed(1, 255), Unreadable::Value(Error::ScaleOutOfRange { .. })));
        assert!(matches!(changed(8, 255), Unreadable::Value(Error::ScaleOutOfRange { .. })));
        assert_eq!(changed(10, 5), Unreadable::Field("prime of a scale"));
        let mut zero = bytes.clone();
        zero[11..19].fill(0);
        assert_eq!(read(&zero).unwrap_err(), Unreadable::Field("exponent of a scale"));
        let mut large = bytes.clone();
        large[19..24].fill(255);
        assert!(matches!(read(&large), Err(Unreadable::Residue(InvalidBytes::OutOfRange { .. }))));
        for len in [0, 1, 18, bytes.len() - 1] {
            assert!(matches!(read(&bytes[..len]), Err(Unreadable::Length { .. })), "{len}");
        }
        let longer = read(&[&bytes[..], &[0]].concat());
        assert_eq!(longer.unwrap_err(), Unreadable::Length { expected: 0, got: 1 });
    }

    #[test]
    fn uploads_and_public_keys_are_halves() {
        let (parameters, rng) = (shallow(), &mut rng(1));
        let plain = Plaintext::encode(&parameters, &[0.5], &parameters.scale(), 3).unwrap();
        let upload = secret().encrypt(&plain, rng).unwrap();
        let bytes = upload.to_bytes();
        let again = Upload::from_bytes(&parameters, &bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        let whole = upload.expand();
        assert!(bytes.len() < whole.to_bytes().len() / 2 + 100);
        assert_eq!(again.expand().to_bytes(), whole.to_bytes());

        let public = secret().public_key(rng);
        let again = PublicKey::from_bytes(&parameters, &public.to_bytes()).unwrap();
        let ciphertext = again.encrypt(&plain, rng).unwrap();
        assert!((open(&ciphertext)[0].re - 0.5).abs() < 1e-4);
        assert!(PublicKey::from_bytes(&parameters, &public.to_bytes()[1..]).is_err());
    }

    #[test]
    fn keys_come_back_for_their_kind_and_level() {
        let (parameters, rng) = (shallow(), &mut rng(1));
        let kinds = [
            (KeyKind::Conjugation, 1),
            (KeyKind::Rotation(3), 2),
            (KeyKind::Relinearization, 1),
            (KeyKind::Rotation(4096 + 1), 1),
        ];
        let keys = secret().evaluation_keys(kinds, rng).unwrap();
        let bytes = keys.to_bytes();
        let again = EvaluationKeys::from_bytes(&parameters, &bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        let x = random(&parameters, 5);
        let a = encrypted(&x, 2);
        let rotated = |keys| a.rotate(3, keys).unwrap().to_bytes();
        assert_eq!(rotated(&keys), rotated(&again));
        let listed: Vec<_> = again.iter().map(|key| (key.kind(), key.level())).collect();
        let expected = [kinds[2], (KeyKind::Rotation(1), 1), kinds[1], kinds[0]];
        assert_eq!(listed, expected);

        let read = |bytes: &[u8]| EvaluationKeys::from_bytes(&parameters, bytes).unwrap_err();
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            read(&bytes)
        };
        assert_eq!(changed(4, 3), Unreadable::Field("kind of a key"));
        assert_eq!(changed(5, 1), Unreadable::Field("kind of a key"));
        assert!(matches!(changed(9, 5), Unreadable::Value(Error::NoSuchLevel { .. })));
        assert!(matches!(changed(0, 3), Unreadable::Length { expected: 0, .. }));
        // A key twice.
        let one = secret().switching_key(KeyKind::Conjugation, 0, rng).unwrap().to_bytes();
        assert!(SwitchingKey::from_bytes(&parameters, &one).is_ok());
        let twice = [&[2, 0, 0, 0], &one[..], &one].concat();
        assert_eq!(read(&twice), Unreadable::Field("order of keys"));
    }
}
