//! `Clear`: a mock backend that hides nothing and measures everything.
//!
//! It holds the integers in the open, notes the widest value it has seen, counts homomorphic
//! operations and has slots and ciphertexts as large as a key of so many bits makes them elsewhere: a
//! plaintext has two bits less than the key, a ciphertext twice as many. So plans, byte counts and
//! transcripts made with it are those of a session under a key of the same size. It is the plain twin of every backend. Like every backend it refuses to decrypt what has left its slot;
//! nothing wraps silently.

mod product;

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use product::Rows;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::backend::Cryptosystem;
use crate::error::{ApiMisuse, Error, PeerMisbehaved, Result};
use crate::slots::{
    AdditiveHE, DigitSlots, MaskSlots, Matrix, Packed, Plaintext, Prices, SIGMA, ScaleSlots,
    SlotBackend, SlotShape, SlotShares, UpdateLayout, matvec_by_terms, scale_by_packing,
    signed_bits, too_many_slots,
};

/// The mock backend. **Not encryption**: its identifier says so wherever a user could pick it.
#[derive(Debug, Clone, Copy)]
pub struct Clear;

/// A "key" of [`Clear`]: a size and a meter.
#[derive(Debug, Clone)]
pub struct ClearKey {
    bits: u32,
    meter: Arc<Meter>,
}

/// Keys of the same size read each other's ciphertexts.
impl PartialEq for ClearKey {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl ClearKey {
    /// A key of `bits` bits: plaintexts have two bits less.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] unless 64 ≤ `bits` ≤ 16384.
    pub fn new(bits: u32) -> Result<Self> {
        if !(64..=16384).contains(&bits) {
            return Err(ApiMisuse::configuration("key size", "must be 64 to 16384 bits").into());
        }
        Ok(Self { bits, meter: Arc::default() })
    }

    /// What has been counted with this key and its clones.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

/// Slots in the open. `None` marks a value that has left the range of `i128`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearCiphertext {
    slots: Vec<Option<i128>>,
}

/// Counts of homomorphic operations, and the widest value.
#[derive(Debug, Default)]
pub struct Meter {
    encryptions: AtomicU64,
    decryptions: AtomicU64,
    additions: AtomicU64,
    plain_additions: AtomicU64,
    plain_multiplications: AtomicU64,
    rerandomizations: AtomicU64,
    prepared_encryptions: AtomicU64,
    prepared_seals: AtomicU64,
    widest: AtomicU64,
    /// Prepared and not used yet, which no reading takes.
    stock: Stock,
}

/// How many encryptions and seals are prepared.
#[derive(Debug, Default)]
struct Stock {
    encryptions: AtomicU64,
    seals: AtomicU64,
}

/// A reading of the [`Meter`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Calls of `encrypt`.
    pub encryptions: u64,
    /// Calls of `decrypt`.
    pub decryptions: u64,
    /// Additions of two ciphertexts.
    pub additions: u64,
    /// Additions of a plaintext.
    pub plain_additions: u64,
    /// Multiplications by an integer.
    pub plain_multiplications: u64,
    /// Rerandomisations.
    pub rerandomizations: u64,
    /// Of the encryptions those that were prepared in idle time.
    pub prepared_encryptions: u64,
    /// Of the rerandomisations those that were.
    pub prepared_seals: u64,
    /// Bits of the widest slot value, sign included.
    pub widest_bits: u32,
}

impl Meter {
    /// Reads all counters and starts again from zero.
    pub fn take(&self) -> Reading {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Reading {
            encryptions: take(&self.encryptions),
            decryptions: take(&self.decryptions),
            additions: take(&self.additions),
            plain_additions: take(&self.plain_additions),
            plain_multiplications: take(&self.plain_multiplications),
            rerandomizations: take(&self.rerandomizations),
            prepared_encryptions: take(&self.prepared_encryptions),
            prepared_seals: take(&self.prepared_seals),
            widest_bits: u32::try_from(take(&self.widest)).expect("at most 129 bits"),
        }
    }

    /// Takes one out of a stock, if it holds any, and counts it.
    fn use_prepared(stock: &AtomicU64, counter: &AtomicU64) {
        let less = |left: u64| left.checked_sub(1);
        if stock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count_encryption(&self, result: &ClearCiphertext) {
        self.count(|m| &m.encryptions, result);
        Self::use_prepared(&self.stock.encryptions, &self.prepared_encryptions);
    }

    fn count_seal(&self, result: &ClearCiphertext) {
        self.count(|m| &m.rerandomizations, result);
        Self::use_prepared(&self.stock.seals, &self.prepared_seals);
    }

    fn count(&self, counter: impl Fn(&Self) -> &AtomicU64, result: &ClearCiphertext) {
        counter(self).fetch_add(1, Ordering::Relaxed);
        let bits = result.slots.iter().map(|slot| slot.map_or(129, signed_bits)).max();
        self.widest.fetch_max(u64::from(bits.unwrap_or(0)), Ordering::Relaxed);
    }
}

impl ClearCiphertext {
    fn of(plaintext: &Plaintext) -> Self {
        Self { slots: plaintext.values().iter().map(|&v| Some(v)).collect() }
    }

    /// The slots modulo 2^64.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^64")]
    fn modulo(&self) -> Zeroizing<Vec<u64>> {
        Zeroizing::new(self.slots.iter().map(|slot| slot.unwrap_or(0) as u64).collect())
    }

    /// Slot by slot; the shorter row is filled with zeros.
    fn zip(&self, other: &Self, f: impl Fn(i128, i128) -> Option<i128>) -> Self {
        let slot = |c: &Self, j: usize| c.slots.get(j).copied().unwrap_or(Some(0));
        let count = self.slots.len().max(other.slots.len());
        let combine = |j| f(slot(self, j)?, slot(other, j)?);
        Self { slots: (0..count).map(combine).collect() }
    }
}

impl Cryptosystem for Clear {
    const ID: &'static str = "insecure-clear";
    type PublicKey = ClearKey;
    type SecretKey = ClearKey;

    fn keygen(bits: u32, _: &mut dyn CryptoRng) -> Result<ClearKey> {
        ClearKey::new(bits)
    }

    fn public_key(secret: &ClearKey) -> &ClearKey {
        secret
    }

    fn key_bits(public: &ClearKey) -> u32 {
        public.bits
    }

    fn public_key_to_bytes(secret: &ClearKey) -> Vec<u8> {
        secret.bits.to_be_bytes().to_vec()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<ClearKey> {
        let bytes = bytes.try_into().map_err(|_| PeerMisbehaved::InvalidKey("length"))?;
        let key = ClearKey::new(u32::from_be_bytes(bytes));
        key.map_err(|_| PeerMisbehaved::InvalidKey("size").into())
    }
}

impl AdditiveHE for Clear {
    type Ciphertext = ClearCiphertext;
    type Prepared = Matrix;

    fn slots(public: &ClearKey, slot_bits: u32) -> usize {
        ((public.bits - 2) / slot_bits) as usize
    }

    fn encrypt(
        public: &ClearKey,
        plaintext: &Plaintext,
        _: &mut dyn CryptoRng,
    ) -> Result<ClearCiphertext> {
        let shape = plaintext.shape();
        let available = Self::slots(public, shape.bits);
        if shape.count > available {
            return Err(too_many_slots(shape, public.bits - 2).into());
        }
        let result = ClearCiphertext::of(plaintext);
        public.meter.count_encryption(&result);
        Ok(result)
    }

    fn decrypt(
        secret: &ClearKey,
        ciphertext: &ClearCiphertext,
        shape: SlotShape,
    ) -> Result<Plaintext> {
        secret.meter.count(|m| &m.decryptions, ciphertext);
        let mut slots = ciphertext.slots.clone();
        if slots.len() > shape.count && slots[shape.count..].iter().any(|s| *s != Some(0)) {
            return Err(Error::Decryption);
        }
        slots.resize(shape.count, Some(0));
        let values: Option<Vec<_>> = slots.into_iter().collect();
        Plaintext::new(shape.bits, values.ok_or(Error::Decryption)?).map_err(|_| Error::Decryption)
    }

    fn add(public: &ClearKey, a: &ClearCiphertext, b: &ClearCiphertext) -> ClearCiphertext {
        let result = a.zip(b, i128::checked_add);
        public.meter.count(|m| &m.additions, &result);
        result
    }

    fn add_plain(public: &ClearKey, a: &ClearCiphertext, b: &Plaintext) -> ClearCiphertext {
        let result = a.zip(&ClearCiphertext::of(b), i128::checked_add);
        public.meter.count(|m| &m.plain_additions, &result);
        result
    }

    fn mul_plain(public: &ClearKey, a: &ClearCiphertext, k: i128) -> ClearCiphertext {
        let result = ClearCiphertext {
            slots: a.slots.iter().map(|v| v.and_then(|v| v.checked_mul(k))).collect(),
        };
        public.meter.count(|m| &m.plain_multiplications, &result);
        result
    }

    fn rerandomize(
        public: &ClearKey,
        ciphertext: &ClearCiphertext,
        _: SlotShape,
        _: &mut dyn CryptoRng,
    ) -> ClearCiphertext {
        public.meter.count_seal(ciphertext);
        ciphertext.clone()
    }

    /// There is no noise to make: it is counted what would be there.
    fn precompute_encryptions(secret: &ClearKey, count: usize, _: &mut dyn CryptoRng) {
        secret.meter.stock.encryptions.fetch_max(count as u64, Ordering::Relaxed);
    }

    fn precompute_seals(public: &ClearKey, count: usize, _: &mut dyn CryptoRng) {
        public.meter.stock.seals.fetch_max(count as u64, Ordering::Relaxed);
    }

    /// Counts and notes what the products and sums one after the other would, in a fraction of the time.
    fn matvec(
        public: &ClearKey,
        matrix: &Matrix,
        inputs: &[ClearCiphertext],
    ) -> Result<Vec<ClearCiphertext>> {
        match Rows::new(matrix, inputs) {
            Some(rows) => Ok(rows.product(&public.meter)),
            None => matvec_by_terms::<Self>(public, matrix, inputs),
        }
    }

    /// Twice the key.
    fn ciphertext_len(public: &ClearKey) -> usize {
        2 * public.bits.div_ceil(8) as usize
    }

    /// Slot width (one byte; 0 marks an overflow), slot count (two), then the slots, filled up
    /// with zeros.
    fn ciphertext_to_bytes(public: &ClearKey, ciphertext: &ClearCiphertext, out: &mut Vec<u8>) {
        let end = out.len() + Self::ciphertext_len(public);
        let widths = ciphertext.slots.iter().map(|slot| slot.map(|v| signed_bits(v).div_ceil(8)));
        let width = widths.max_by_key(|w| w.unwrap_or(u32::MAX)).flatten().unwrap_or(0) as usize;
        let count = ciphertext.slots.len();
        let fits = 3 + width * count <= end - out.len() && width <= 16;
        let width = if fits { width } else { 0 };
        out.push(u8::try_from(width).expect("at most 16"));
        out.extend(u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        if width > 0 {
            for value in ciphertext.slots.iter().flatten() {
                out.extend_from_slice(&value.to_be_bytes()[16 - width..]);
            }
        }
        out.resize(end, 0);
    }

    fn ciphertext_from_bytes(public: &ClearKey, bytes: &[u8]) -> Result<ClearCiphertext> {
        let expected = Self::ciphertext_len(public);
        let (Some((header, rest)), true) =
            (bytes.split_first_chunk::<3>(), bytes.len() == expected)
        else {
            return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() }.into());
        };
        let width = header[0] as usize;
        let count = u16::from_be_bytes([header[1], header[2]]) as usize;
        if width == 0 {
            return Ok(ClearCiphertext { slots: vec![None] });
        }
        if width > 16 || width * count > rest.len() {
            return Err(PeerMisbehaved::InvalidCiphertext.into());
        }
        let slots = rest.chunks_exact(width).take(count).map(|chunk| {
            let sign = if chunk[0] & 0x80 == 0 { 0 } else { 0xff };
            let mut value = [sign; 16];
            value[16 - width..].copy_from_slice(chunk);
            Some(i128::from_be_bytes(value))
        });
        Ok(ClearCiphertext { slots: slots.collect() })
    }
}

impl DigitSlots for Clear {
    fn shift(_: &ClearKey, a: &ClearCiphertext, by: usize, _: u32) -> ClearCiphertext {
        let mut slots = vec![Some(0); by];
        slots.extend_from_slice(&a.slots);
        ClearCiphertext { slots }
    }
}

impl ScaleSlots for Clear {
    fn scale_slots(
        public: &ClearKey,
        a: &ClearCiphertext,
        rows: &[Plaintext],
    ) -> Result<Vec<ClearCiphertext>> {
        scale_by_packing::<Self>(public, a, rows)
    }
}

impl MaskSlots for Clear {
    fn mask_many(
        public: &ClearKey,
        ciphertexts: &[(ClearCiphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> (Vec<ClearCiphertext>, Vec<Zeroizing<Vec<u64>>>) {
        let mask = |(a, shape): &(ClearCiphertext, SlotShape)| {
            let mask = ClearCiphertext {
                slots: (0..shape.count).map(|_| Some(mask_of(shape.bits, rng))).collect(),
            };
            let masked = a.zip(&mask, i128::checked_add);
            public.meter.count_seal(&masked);
            (masked, mask.modulo())
        };
        ciphertexts.iter().map(mask).unzip()
    }

    fn digits_many(
        secret: &ClearKey,
        ciphertexts: &[(ClearCiphertext, SlotShape)],
    ) -> Result<Vec<Zeroizing<Vec<u64>>>> {
        let digits = |(a, shape): &(ClearCiphertext, SlotShape)| {
            secret.meter.count(|m| &m.decryptions, a);
            let fits = |slot: &Option<i128>| slot.is_some_and(|v| v >= 0 && v >> shape.bits == 0);
            match a.slots.len() == shape.count && a.slots.iter().all(fits) {
                true => Ok(a.modulo()),
                false => Err(Error::Decryption),
            }
        };
        ciphertexts.iter().map(digits).collect()
    }
}

/// Uniform in [0, 2^bits), but for the numbers that could leave it when a product is added.
fn mask_of(bits: u32, rng: &mut dyn CryptoRng) -> i128 {
    let product = bits - SIGMA;
    loop {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        let t = i128::from_le_bytes(bytes) & (i128::MAX >> (127 - bits));
        if t >> product != (1 << SIGMA) - 1 {
            return t + (1 << product >> 1);
        }
    }
}

impl SlotBackend for Clear {
    type Packing = Packed;
    type Updates = UpdateLayout;
    type Masking = SlotShares;

    /// Those of large ciphertexts. To plan like another backend, [plan](crate::Plan::priced) with its prices.
    fn slot_prices(public: &ClearKey) -> Prices {
        Prices {
            encrypt: 15_000,
            decrypt: 260_000,
            rerandomize: 175_000,
            product: 450,
            shift_bit: 350,
            lanes: 8,
            byte: 8,
            products: |size| (size.taps as u64).saturating_mul(u64::from(size.weight_bits / 6 + 1)),
        }
        .grown_from_2048(public.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn conforms() {
        let key = ClearKey::new(2048).unwrap();
        conformance::check::<Clear>(&key, 50, &mut ChaCha20Rng::seed_from_u64(1));
    }

    proptest! {
        #[test]
        fn laws((bits, a, b, k) in conformance::arguments(), seed: u64) {
            let key = ClearKey::new(1024).unwrap();
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            conformance::laws::<Clear>(&key, bits, &a, &b, k, rng).unwrap();
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let key = ClearKey::new(1024).unwrap();
            if let Ok(c) = Clear::ciphertext_from_bytes(&key, &bytes) {
                let mut again = Vec::new();
                Clear::ciphertext_to_bytes(&key, &c, &mut again);
                prop_assert_eq!(again.len(), bytes.len());
            }
            let _ = Clear::public_key_from_bytes(&bytes);
        }
    }

    #[test]
    fn what_leaves_its_slot_does_not_decrypt() {
        let key = ClearKey::new(256).unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let a = Clear::encrypt(&key, &Plaintext::new(8, vec![100, 1]).unwrap(), rng).unwrap();
        let doubled = Clear::mul_plain(&key, &a, 2);
        let shape = SlotShape { bits: 8, count: 2 };
        assert_eq!(Clear::decrypt(&key, &doubled, shape).unwrap_err(), Error::Decryption);
        assert_eq!(key.meter().take().widest_bits, 9);
    }
}
