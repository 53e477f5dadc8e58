//! A cryptosystem that tells what the parties spend their time on.
//!
//! The protocol's machines have no clock, and need none to be measured: everything dear that they do is
//! a call of the cryptosystem. [`Timed`] is any backend with a stopwatch around those calls. It has the
//! other's name, keys and ciphertexts, so the peer does not notice.
//!
//! Both parties in one process share the one stopwatch; since they compute in turns, each call belongs to
//! one of them, which is told by what is called: clients encrypt and decrypt, servers multiply and seal.
//! Reading ciphertexts belongs to what comes next.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gelu_core::linear::Taps;
use gelu_core::prices::{MatrixSize, Prices};
use gelu_core::{AdditiveHE, Plaintext, Result, SlotShape};
use rand::CryptoRng;

/// The cryptosystem `H` with a stopwatch: see the [module](self).
pub struct Timed<H>(PhantomData<fn() -> H>);

/// What the calls of [`Timed`] cryptosystems have taken in this process, from call to return.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Client: encryptions.
    pub encrypt: Duration,
    /// Client: reading ciphertexts and decrypting them.
    pub decrypt: Duration,
    /// Server: reading ciphertexts and validating them.
    pub validate: Duration,
    /// Server: matrix products, packing included.
    pub linear: Duration,
    /// Server: fresh randomness for what leaves.
    pub seal: Duration,
}

impl Times {
    /// What has been counted since this was called last.
    pub fn take() -> Self {
        let [encrypt, decrypt, validate, linear, seal] = STOPWATCHES
            .each_ref()
            .map(|watch| Duration::from_nanos(watch.swap(0, Ordering::SeqCst)));
        READING.store(0, Ordering::SeqCst);
        Self { encrypt, decrypt, validate, linear, seal }
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.encrypt + self.decrypt + self.validate + self.linear + self.seal
    }
}

static STOPWATCHES: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
/// Reading that nobody has claimed yet.
static READING: AtomicU64 = AtomicU64::new(0);

const ENCRYPT: usize = 0;
const DECRYPT: usize = 1;
const VALIDATE: usize = 2;
const LINEAR: usize = 3;
const SEAL: usize = 4;

fn timed<T>(watch: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    watch.fetch_add(nanoseconds, Ordering::SeqCst);
    result
}

/// What was read before belongs to this.
fn claim_reading(watch: usize) {
    let read = READING.swap(0, Ordering::SeqCst);
    STOPWATCHES[watch].fetch_add(read, Ordering::SeqCst);
}

impl<H: AdditiveHE> AdditiveHE for Timed<H> {
    const ID: &'static str = H::ID;

    type PublicKey = H::PublicKey;
    type SecretKey = H::SecretKey;
    type Ciphertext = H::Ciphertext;

    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<H::SecretKey> {
        H::keygen(bits, rng)
    }

    fn public_key(secret: &H::SecretKey) -> &H::PublicKey {
        H::public_key(secret)
    }

    fn key_bits(public: &H::PublicKey) -> u32 {
        H::key_bits(public)
    }

    fn slots(public: &H::PublicKey, slot_bits: u32) -> usize {
        H::slots(public, slot_bits)
    }

    fn encrypt(
        public: &H::PublicKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<H::Ciphertext> {
        timed(&STOPWATCHES[ENCRYPT], || H::encrypt(public, plaintext, rng))
    }

    fn decrypt(
        secret: &H::SecretKey,
        ciphertext: &H::Ciphertext,
        shape: SlotShape,
    ) -> Result<Plaintext> {
        claim_reading(DECRYPT);
        timed(&STOPWATCHES[DECRYPT], || H::decrypt(secret, ciphertext, shape))
    }

    fn add(public: &H::PublicKey, a: &H::Ciphertext, b: &H::Ciphertext) -> H::Ciphertext {
        timed(&STOPWATCHES[LINEAR], || H::add(public, a, b))
    }

    fn add_plain(public: &H::PublicKey, a: &H::Ciphertext, b: &Plaintext) -> H::Ciphertext {
        timed(&STOPWATCHES[LINEAR], || H::add_plain(public, a, b))
    }

    fn mul_plain(public: &H::PublicKey, a: &H::Ciphertext, k: i128) -> H::Ciphertext {
        timed(&STOPWATCHES[LINEAR], || H::mul_plain(public, a, k))
    }

    fn rerandomize(
        public: &H::PublicKey,
        ciphertext: &H::Ciphertext,
        shape: SlotShape,
        rng: &mut dyn CryptoRng,
    ) -> H::Ciphertext {
        timed(&STOPWATCHES[SEAL], || H::rerandomize(public, ciphertext, shape, rng))
    }

    fn public_key_to_bytes(public: &H::PublicKey) -> Vec<u8> {
        H::public_key_to_bytes(public)
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<H::PublicKey> {
        H::public_key_from_bytes(bytes)
    }

    fn ciphertext_len(public: &H::PublicKey) -> usize {
        H::ciphertext_len(public)
    }

    fn ciphertext_to_bytes(public: &H::PublicKey, ciphertext: &H::Ciphertext, out: &mut Vec<u8>) {
        H::ciphertext_to_bytes(public, ciphertext, out);
    }

    fn ciphertext_from_bytes(public: &H::PublicKey, bytes: &[u8]) -> Result<H::Ciphertext> {
        timed(&READING, || H::ciphertext_from_bytes(public, bytes))
    }

    fn encrypt_as_owner(
        secret: &H::SecretKey,
        plaintext: &Plaintext,
        rng: &mut dyn CryptoRng,
    ) -> Result<H::Ciphertext> {
        timed(&STOPWATCHES[ENCRYPT], || H::encrypt_as_owner(secret, plaintext, rng))
    }

    fn encrypt_many(
        secret: &H::SecretKey,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<H::Ciphertext>> {
        timed(&STOPWATCHES[ENCRYPT], || H::encrypt_many(secret, plaintexts, rng))
    }

    fn decrypt_many(
        secret: &H::SecretKey,
        ciphertexts: &[(H::Ciphertext, SlotShape)],
    ) -> Result<Vec<Plaintext>> {
        claim_reading(DECRYPT);
        timed(&STOPWATCHES[DECRYPT], || H::decrypt_many(secret, ciphertexts))
    }

    fn rerandomize_many(
        public: &H::PublicKey,
        ciphertexts: &[(H::Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<H::Ciphertext> {
        timed(&STOPWATCHES[SEAL], || H::rerandomize_many(public, ciphertexts, rng))
    }

    fn precompute_encryptions(secret: &H::SecretKey, count: usize, rng: &mut dyn CryptoRng) {
        H::precompute_encryptions(secret, count, rng);
    }

    fn precompute_seals(public: &H::PublicKey, count: usize, rng: &mut dyn CryptoRng) {
        H::precompute_seals(public, count, rng);
    }

    fn neg(public: &H::PublicKey, a: &H::Ciphertext) -> H::Ciphertext {
        timed(&STOPWATCHES[LINEAR], || H::neg(public, a))
    }

    fn sub(public: &H::PublicKey, a: &H::Ciphertext, b: &H::Ciphertext) -> H::Ciphertext {
        timed(&STOPWATCHES[LINEAR], || H::sub(public, a, b))
    }

    fn linear_combination(
        public: &H::PublicKey,
        terms: &[(i128, &H::Ciphertext)],
    ) -> Result<H::Ciphertext> {
        claim_reading(VALIDATE);
        timed(&STOPWATCHES[LINEAR], || H::linear_combination(public, terms))
    }

    fn matvec(
        public: &H::PublicKey,
        taps: &Taps,
        weights: &[i128],
        inputs: &[H::Ciphertext],
    ) -> Result<Vec<H::Ciphertext>> {
        claim_reading(VALIDATE);
        timed(&STOPWATCHES[LINEAR], || H::matvec(public, taps, weights, inputs))
    }

    fn shift(public: &H::PublicKey, a: &H::Ciphertext, by: usize, slot_bits: u32) -> H::Ciphertext {
        timed(&STOPWATCHES[LINEAR], || H::shift(public, a, by, slot_bits))
    }

    fn pack(
        public: &H::PublicKey,
        ciphertexts: &[H::Ciphertext],
        each: SlotShape,
    ) -> Result<H::Ciphertext> {
        timed(&STOPWATCHES[LINEAR], || H::pack(public, ciphertexts, each))
    }

    fn matvec_packed(
        public: &H::PublicKey,
        taps: &Taps,
        weights: &[i128],
        inputs: &[H::Ciphertext],
        group: usize,
        each: SlotShape,
    ) -> Result<Vec<H::Ciphertext>> {
        claim_reading(VALIDATE);
        let product = || H::matvec_packed(public, taps, weights, inputs, group, each);
        timed(&STOPWATCHES[LINEAR], product)
    }

    fn scale_slots(
        public: &H::PublicKey,
        a: &H::Ciphertext,
        rows: &[Plaintext],
    ) -> Result<Vec<H::Ciphertext>> {
        H::scale_slots(public, a, rows)
    }

    fn prices(public: &H::PublicKey) -> Prices {
        H::prices(public)
    }

    fn matvec_price(public: &H::PublicKey, size: MatrixSize) -> u64 {
        H::matvec_price(public, size)
    }

    fn ciphertexts_to_bytes(
        public: &H::PublicKey,
        ciphertexts: &[H::Ciphertext],
        out: &mut Vec<u8>,
    ) {
        H::ciphertexts_to_bytes(public, ciphertexts, out);
    }

    fn ciphertexts_from_bytes(
        public: &H::PublicKey,
        bytes: &[u8],
        count: usize,
    ) -> Result<Vec<H::Ciphertext>> {
        timed(&READING, || H::ciphertexts_from_bytes(public, bytes, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use gelu_core::clear::{Clear, ClearKey};
    use gelu_core::ledger::Policy;
    use gelu_core::pair::{Pair, PairHost};
    use gelu_core::server::{LearningRate, ServedModel};
    use gelu_core::{Precision, conformance};
    use gelu_nn::{Activation, Model, Sequential};
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// The laws hold, so nothing is delegated to the wrong place; and a session says the same.
    #[test]
    fn a_stopwatch_changes_nothing() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        conformance::check::<Timed<Clear>>(&ClearKey::new(2048).unwrap(), 20, rng);
        let architecture = Sequential::dense(4, &[5], 3, Activation::Tanh).unwrap();
        let model = Model::initialise("small", architecture, Precision::TRAINING, rng).unwrap();
        let host = PairHost::new(ServedModel::from(&model), "test", Policy::AllowModelExtraction);
        let (host, key) = (Arc::new(host), Arc::new(ClearKey::new(2048).unwrap()));
        let rate = LearningRate::Public(0.1);
        let mut pair = Pair::<Timed<Clear>>::open(host, key, rate, rng).unwrap();
        let inputs = Array2::from_elem((4, 2), 0.5);
        Times::take();
        pair.client.classify(&inputs, rng).unwrap();
        pair.run(rng).unwrap();
        let times = Times::take();
        for part in [times.encrypt, times.decrypt, times.validate, times.linear, times.seal] {
            assert!(!part.is_zero(), "{times:?}");
        }
    }
}
