//! Layouts between two parties: the client names one, the server prepares weights for it once.

use std::cell::Cell;
use std::sync::Arc;

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;

use super::session::{Event, Session};
use super::{batches, model};
use crate::backend::{Backend, Cost, Cryptosystem, Layout, NoSecretRate, NoShares, Task};
use crate::clear::{Clear, ClearKey};
use crate::client::{Client, DataPolicy};
use crate::error::{PeerMisbehaved, RangeError, Result};
use crate::ledger::Policy;
use crate::linear::LinearMap;
use crate::message::{ClientMessage, ServerMessage, Wire};
use crate::pair::{Frame, Pair, PairHost};
use crate::server::{LearningRate, Server, WeightCache};
use crate::slots::{Prices, SlotLayout};

/// A peer's name for a layout is one of this exchange, in every exchange, or the session ends.
#[test]
fn a_layout_is_one_of_its_exchange() {
    for (name, last) in [("EncryptedActivations", 8), ("EncryptedErrors", 2)] {
        for nth in 1..=last {
            for alien in ["", "samples", "samples/0", "samples/1 ", "positions/9999", "tiles/1"] {
                let mut session = Session::until(&LearningRate::Public(0.1), name, nth);
                let mut message = match core::mem::replace(&mut session.pending, Event::End) {
                    Event::Up(message) => message,
                    other => panic!("{other:?}"),
                };
                let (ClientMessage::EncryptedActivations { layout, .. }
                | ClientMessage::EncryptedErrors { layout, .. }) = &mut message
                else {
                    panic!("{name}")
                };
                assert!(layout.starts_with("samples/") || layout.starts_with("positions/"));
                *layout = alien.into();
                let error = session.tell(message).unwrap_err();
                let expected = PeerMisbehaved::UnknownLayout { name: alien.into() };
                assert_eq!(error, expected.into(), "{name} {nth}");
            }
        }
    }
}

thread_local! {
    /// How often weights were made ready on this thread.
    static PREPARED: Cell<usize> = const { Cell::new(0) };
}

/// [`Clear`] with layouts of its own, which count how often weights are made ready.
struct Counted;

#[derive(Debug, Clone, PartialEq, Eq)]
struct CountedLayout(SlotLayout);

impl Cryptosystem for Counted {
    const ID: &'static str = Clear::ID;
    type PublicKey = ClearKey;
    type SecretKey = ClearKey;
    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<ClearKey> {
        Clear::keygen(bits, rng)
    }
    fn public_key(secret: &ClearKey) -> &ClearKey {
        secret
    }
    fn key_bits(public: &ClearKey) -> u32 {
        Clear::key_bits(public)
    }
    fn public_key_to_bytes(secret: &ClearKey) -> Vec<u8> {
        Clear::public_key_to_bytes(secret)
    }
    fn public_key_from_bytes(bytes: &[u8]) -> Result<ClearKey> {
        Clear::public_key_from_bytes(bytes)
    }
}

impl Backend for Counted {
    type Layout = CountedLayout;
    type Rate = NoSecretRate;
    type Shares = NoShares;
    type Prices = Prices;
    fn layouts(public: &ClearKey, task: &Task<'_>) -> Result<Vec<CountedLayout>, RangeError> {
        Ok(Clear::layouts(public, task)?.into_iter().map(CountedLayout).collect())
    }
    fn prices(public: &ClearKey) -> Prices {
        Clear::prices(public)
    }
    fn nanoseconds(layout: &CountedLayout, prices: &Prices) -> u64 {
        layout.0.nanoseconds(prices)
    }
}

impl core::fmt::Display for CountedLayout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl Layout<Counted> for CountedLayout {
    type Weights = <SlotLayout as Layout<Clear>>::Weights;
    type Inputs = <SlotLayout as Layout<Clear>>::Inputs;
    type Answer = <SlotLayout as Layout<Clear>>::Answer;
    fn cost(&self) -> Cost {
        self.0.cost()
    }
    fn encrypt(
        &self,
        secret: &ClearKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        Layout::<Clear>::encrypt(&self.0, secret, linear, values, rng)
    }
    fn prepare(
        &self,
        linear: &LinearMap,
        weights: &[i128],
        offsets: Option<&[i128]>,
    ) -> Result<Self::Weights> {
        PREPARED.set(PREPARED.get() + 1);
        Layout::<Clear>::prepare(&self.0, linear, weights, offsets)
    }
    fn read(&self, public: &ClearKey, bytes: &[u8]) -> Result<Self::Inputs> {
        Layout::<Clear>::read(&self.0, public, bytes)
    }
    fn evaluate(
        &self,
        public: &ClearKey,
        weights: &Self::Weights,
        inputs: &Self::Inputs,
    ) -> Result<Self::Answer> {
        self.0.evaluate(public, weights, inputs)
    }
    fn seal(&self, public: &ClearKey, answer: Self::Answer, rng: &mut dyn CryptoRng) -> Vec<u8> {
        Layout::<Clear>::seal(&self.0, public, answer, rng)
    }
    fn decrypt(&self, secret: &ClearKey, bytes: &[u8]) -> Result<Array2<i128>> {
        Layout::<Clear>::decrypt(&self.0, secret, bytes)
    }
}

/// A session of [`model`] under a key of 2048 bits.
fn pair<B: Backend<SecretKey = ClearKey>>(rng: &mut ChaCha20Rng) -> Pair<B> {
    let host = Arc::new(PairHost::new(model(), "test", Policy::AllowModelExtraction));
    let key = Arc::new(ClearKey::new(2048).unwrap());
    Pair::open(host, key, LearningRate::Public(0.1), rng).unwrap()
}

/// Three stages: three preparations for all queries of a version in a layout; in a lease, the five
/// exchanges of a step meet masked weights that no other step meets.
#[test]
fn weights_are_made_ready_once_a_version_and_layout() {
    let rng = &mut ChaCha20Rng::seed_from_u64(13);
    let mut pair = pair::<Counted>(rng);
    let network = model().network;
    let mut prepared = |pair: &mut Pair<Counted>, samples: usize| {
        PREPARED.set(0);
        pair.classify(&batches(&network, samples, 1)[0].0, rng).unwrap();
        PREPARED.get()
    };
    assert_eq!([3; 4].map(|samples| prepared(&mut pair, samples)), [3, 0, 0, 0]);
    assert_eq!([2, 2, 3].map(|samples| prepared(&mut pair, samples)), [3, 0, 0], "other layouts");
    let rng = &mut ChaCha20Rng::seed_from_u64(14);
    PREPARED.set(0);
    pair.train(&batches(&model().network, 3, 4), rng).unwrap();
    assert_eq!(PREPARED.get(), 4 * 5, "once a masked version");
    PREPARED.set(0);
    for _ in 0..2 {
        pair.classify(&batches(&model().network, 3, 1)[0].0, rng).unwrap();
    }
    assert_eq!(PREPARED.get(), 3, "the new version");
}

/// The same messages to two sessions that share their weights, and to one that does not.
#[test]
fn sessions_of_a_server_share_their_weights() {
    let rng = &mut ChaCha20Rng::seed_from_u64(13);
    let mut pair = pair::<Counted>(rng);
    pair.classify(&batches(&model().network, 3, 1)[0].0, rng).unwrap();
    let host = PairHost::new(model(), "test", Policy::AllowModelExtraction);
    let mut replay = |weights: &Arc<WeightCache<Counted>>| {
        PREPARED.set(0);
        let mut server = Server::sharing(Arc::clone(weights));
        for frame in pair.transcript.iter().filter(|frame| matches!(frame, Frame::Up(_))) {
            let message = ClientMessage::from_bytes(frame.bytes()).unwrap();
            server.handle_message(message, &host, rng).unwrap();
        }
        PREPARED.get()
    };
    let shared = Arc::default();
    assert_eq!([&shared, &shared, &Arc::default()].map(&mut replay), [3, 0, 3]);
}

/// The server answers in whichever layout the client names: prices are the client's own affair.
#[test]
fn a_client_may_choose_by_prices_of_its_own() {
    let ask = |prices: Option<Prices>| {
        let rng = &mut ChaCha20Rng::seed_from_u64(13);
        let (mut pair, model) = (pair::<Clear>(rng), model());
        if let Some(prices) = prices {
            let (network, key) = (Arc::clone(&model.network), ClearKey::new(2048).unwrap());
            let policy = DataPolicy::AllowInputReconstruction;
            let client = Client::new(network, model.precision, Arc::new(key), policy);
            pair.client = client.with_prices(prices);
            pair.client.poll_transmit();
            pair.client.handle_message(ServerMessage::Opened, rng).unwrap();
        }
        let answer = pair.classify(&batches(&model.network, 3, 1)[0].0, rng).unwrap();
        let name = |frame: &Frame| match ClientMessage::from_bytes(frame.bytes()) {
            Ok(ClientMessage::EncryptedActivations { layout, .. }) => Some(layout),
            _ => None,
        };
        let up = pair.transcript.iter().filter(|frame| matches!(frame, Frame::Up(_)));
        (up.filter_map(name).collect::<Vec<_>>(), answer)
    };
    let (usual, answer) = ask(None);
    // Slots move for nothing: outputs share ciphertexts.
    let packing = Prices { shift_bit: 0, ..Prices::UNMEASURED };
    let (packed, same) = ask(Some(packing));
    assert_eq!(answer, same);
    assert!(usual.iter().all(|name| name.ends_with("/1")), "{usual:?}");
    assert_eq!(packed, ["positions/1", "samples/5", "samples/3"], "there is one filter");
}
