//! A backend that tells what the parties spend their time on.
//!
//! The protocol's machines have no clock, and need none to be measured: everything dear that they do is
//! a step of a layout. [`Timed`] is any backend with a stopwatch around those steps. It has the other's
//! name, keys, ciphertexts and layouts, so the peer does not notice. It trains at public rates only.
//!
//! Both parties in one process share the one stopwatch; since they compute in turns, each step belongs to
//! one of them: clients encrypt and decrypt, servers read, multiply and seal.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gelu_core::backend::{Cost, Layout, NoSecretRate, NoShares, Task};
use gelu_core::error::RangeError;
use gelu_core::{Backend, Cryptosystem, LinearMap, Result};
use ndarray::Array2;
use rand::CryptoRng;

/// The backend `B` with a stopwatch: see the [module](self).
pub struct Timed<B>(PhantomData<fn() -> B>);

/// A layout of a [`Timed`] backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedLayout<L>(L);

/// What the steps of [`Timed`] backends have taken in this process, from call to return.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Client: encryptions.
    pub encrypt: Duration,
    /// Client: reading ciphertexts and decrypting them.
    pub decrypt: Duration,
    /// Server: reading ciphertexts and validating them.
    pub validate: Duration,
    /// Server: weights made ready, and matrix products, packing included.
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
        Self { encrypt, decrypt, validate, linear, seal }
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.encrypt + self.decrypt + self.validate + self.linear + self.seal
    }
}

static STOPWATCHES: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

const ENCRYPT: usize = 0;
const DECRYPT: usize = 1;
const VALIDATE: usize = 2;
const LINEAR: usize = 3;
const SEAL: usize = 4;

fn timed<T>(watch: usize, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    STOPWATCHES[watch].fetch_add(nanoseconds, Ordering::SeqCst);
    result
}

impl<B: Backend> Cryptosystem for Timed<B> {
    const ID: &'static str = B::ID;
    type PublicKey = B::PublicKey;
    type SecretKey = B::SecretKey;

    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<B::SecretKey> {
        B::keygen(bits, rng)
    }

    fn public_key(secret: &B::SecretKey) -> &B::PublicKey {
        B::public_key(secret)
    }

    fn key_bits(public: &B::PublicKey) -> u32 {
        B::key_bits(public)
    }

    fn public_key_to_bytes(secret: &B::SecretKey) -> Vec<u8> {
        B::public_key_to_bytes(secret)
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<B::PublicKey> {
        B::public_key_from_bytes(bytes)
    }
}

impl<B: Backend> Backend for Timed<B> {
    const WRAPS: bool = B::WRAPS;
    type Layout = TimedLayout<B::Layout>;
    type Rate = NoSecretRate;
    type Shares = NoShares;
    type Prices = B::Prices;

    fn layouts(public: &B::PublicKey, task: &Task<'_>) -> Result<Vec<Self::Layout>, RangeError> {
        Ok(B::layouts(public, task)?.into_iter().map(TimedLayout).collect())
    }

    fn prices(public: &B::PublicKey) -> B::Prices {
        B::prices(public)
    }

    fn nanoseconds(layout: &Self::Layout, prices: &B::Prices) -> u64 {
        B::nanoseconds(&layout.0, prices)
    }

    fn prepare_encryptions(
        secret: &B::SecretKey,
        layouts: &[&Self::Layout],
        rng: &mut dyn CryptoRng,
    ) {
        B::prepare_encryptions(secret, &inner(layouts), rng);
    }

    fn prepare_seals(public: &B::PublicKey, layouts: &[&Self::Layout], rng: &mut dyn CryptoRng) {
        B::prepare_seals(public, &inner(layouts), rng);
    }
}

fn inner<'a, L>(layouts: &[&'a TimedLayout<L>]) -> Vec<&'a L> {
    layouts.iter().map(|layout| &layout.0).collect()
}

/// The other's name: to a peer they are the same layout.
impl<L: fmt::Display> fmt::Display for TimedLayout<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<B: Backend, L: Layout<B>> Layout<Timed<B>> for TimedLayout<L> {
    type Weights = L::Weights;
    type Inputs = L::Inputs;
    type Answer = L::Answer;

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn encrypt(
        &self,
        secret: &B::SecretKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        timed(ENCRYPT, || self.0.encrypt(secret, linear, values, rng))
    }

    fn prepare(
        &self,
        linear: &LinearMap,
        weights: &[i128],
        offsets: Option<&[i128]>,
    ) -> Result<L::Weights> {
        timed(LINEAR, || self.0.prepare(linear, weights, offsets))
    }

    fn read(&self, public: &B::PublicKey, bytes: &[u8]) -> Result<L::Inputs> {
        timed(VALIDATE, || self.0.read(public, bytes))
    }

    fn evaluate(
        &self,
        public: &B::PublicKey,
        weights: &L::Weights,
        inputs: &L::Inputs,
    ) -> Result<L::Answer> {
        timed(LINEAR, || self.0.evaluate(public, weights, inputs))
    }

    fn seal(&self, public: &B::PublicKey, answer: L::Answer, rng: &mut dyn CryptoRng) -> Vec<u8> {
        timed(SEAL, || self.0.seal(public, answer, rng))
    }

    fn decrypt(&self, secret: &B::SecretKey, bytes: &[u8]) -> Result<Array2<i128>> {
        timed(DECRYPT, || self.0.decrypt(secret, bytes))
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
        conformance::check_layouts::<Timed<Clear>>(&ClearKey::new(2048).unwrap(), rng);
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
