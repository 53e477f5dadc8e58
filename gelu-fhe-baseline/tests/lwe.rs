//! The laws of `AdditiveHE`, and whole sessions of the protocol, over TFHE's ciphertexts.
#![cfg(feature = "tfhe")]

use std::sync::{Arc, LazyLock};

use gelu_core::error::{ApiMisuse, RangeError};
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{
    AdditiveHE, Backend, Clear, Cryptosystem, Error, Plaintext, Precision, SlotShape, conformance,
};
use gelu_fhe_baseline::lwe::{SecretKey, Tfhe};
use gelu_nn::{Activation, LayerSpec, Model, Sequential, Shape, zoo};
use ndarray::Array2;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::ChaCha20Rng};

static KEY: LazyLock<Arc<SecretKey>> = LazyLock::new(|| Arc::new(SecretKey::generate(&mut rng(1))));

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

#[test]
fn conforms() {
    conformance::check::<Tfhe>(&KEY, 20, &mut rng(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn laws(bits in 4u32..=41, a: [i32; 4], b: [i32; 4], k: i32, seed: u64) {
        let half = (1i128 << (bits / 2 - 1)) - 1;
        let cut = |v: i32| i128::from(v).rem_euclid(2 * half + 1) - half;
        let (a, b) = (a.map(cut), b.map(cut));
        conformance::laws::<Tfhe>(&KEY, bits, &a, &b, cut(k), &mut rng(seed)).unwrap();
    }
}

#[test]
fn one_size_of_keys_one_slot_of_41_bits() {
    let refused = Tfhe::keygen(4096, &mut rng(1)).unwrap_err();
    assert!(matches!(refused, Error::ApiMisuse(ApiMisuse::Configuration { .. })));
    let public = KEY.public_key();
    let slots = |bits| Tfhe::slots(public, bits);
    assert_eq!((slots(0), slots(1), slots(41), slots(42), slots(127)), (0, 1, 1, 0, 0));
    for values in [vec![1, 2], vec![1 << 41]] {
        let bits = if values.len() == 1 { 44 } else { 8 };
        let plaintext = Plaintext::new(bits, values).unwrap();
        let rng = &mut rng(1);
        assert!(Tfhe::encrypt(public, &plaintext, rng).is_err());
        assert!(Tfhe::encrypt_as_owner(&KEY, &plaintext, rng).is_err());
    }
}

/// The widest values through everything that keeps them.
#[test]
fn the_widest_values() {
    let (rng, public) = (&mut rng(3), KEY.public_key());
    let shape = SlotShape { bits: 41, count: 1 };
    let half = 1i128 << 40;
    for value in [half - 1, 1 - half, 0] {
        let plaintext = Plaintext::new(41, vec![value]).unwrap();
        for c in [
            Tfhe::encrypt(public, &plaintext, rng).unwrap(),
            Tfhe::encrypt_as_owner(&KEY, &plaintext, rng).unwrap(),
        ] {
            for c in [Tfhe::rerandomize(public, &c, shape, rng), c] {
                assert_eq!(Tfhe::decrypt(&KEY, &c, shape).unwrap(), plaintext);
            }
        }
    }
}

/// What leaves its slot wraps around, sealed or not; only −2^(bits − 1) is refused.
#[test]
fn overflow_wraps_and_its_edge_is_refused() {
    let (rng, public) = (&mut rng(4), KEY.public_key());
    let shape = SlotShape { bits: 8, count: 1 };
    let hundred =
        Tfhe::encrypt_as_owner(&KEY, &Plaintext::new(8, vec![100]).unwrap(), rng).unwrap();
    let doubled = Tfhe::mul_plain(public, &hundred, 2);
    for c in [Tfhe::rerandomize(public, &doubled, shape, rng), doubled] {
        assert_eq!(Tfhe::decrypt(&KEY, &c, shape).unwrap().values(), [200 - 256]);
    }
    let edge = Tfhe::add_plain(public, &hundred, &Plaintext::new(8, vec![28]).unwrap());
    for c in [Tfhe::rerandomize(public, &edge, shape, rng), edge] {
        assert_eq!(Tfhe::decrypt(&KEY, &c, shape).unwrap_err(), Error::Decryption);
    }
}

/// Too much noise is an error where the trait has one, and a decryption that fails where not.
#[test]
fn noise_beyond_the_budget_is_never_a_wrong_number() {
    let (rng, public) = (&mut rng(5), KEY.public_key());
    let shape = SlotShape { bits: 8, count: 1 };
    let zero = Tfhe::encrypt_as_owner(&KEY, &Plaintext::new(8, vec![0]).unwrap(), rng).unwrap();
    let decrypts = |c: &_| Tfhe::decrypt(&KEY, c, shape).map(|p| p.values().to_vec());

    let within = Tfhe::mul_plain(public, &zero, 1 << 42);
    assert_eq!(decrypts(&Tfhe::rerandomize(public, &within, shape, rng)), Ok(vec![0]));
    assert!(Tfhe::linear_combination(public, &[(1 << 42, &zero)]).is_ok());

    let beyond = Tfhe::mul_plain(public, &zero, 1 << 50);
    assert_eq!(decrypts(&beyond), Ok(vec![0]), "not sealed, it is still good");
    assert_eq!(decrypts(&Tfhe::rerandomize(public, &beyond, shape, rng)), Err(Error::Decryption));
    let refused = Tfhe::linear_combination(public, &[(1 << 50, &zero)]).unwrap_err();
    assert!(matches!(refused, Error::ApiMisuse(ApiMisuse::Configuration { .. })));
    assert!(!refused.to_string().contains(char::is_numeric), "the error is silent on weights");

    let hopeless = Tfhe::mul_plain(public, &zero, 1 << 100);
    assert_eq!(decrypts(&hopeless), Err(Error::Decryption));
    assert_eq!(decrypts(&Tfhe::rerandomize(public, &hopeless, shape, rng)), Err(Error::Decryption));

    // A seal fills the cell: nothing may be added to it, or sealed on top.
    let sealed = Tfhe::rerandomize(public, &zero, shape, rng);
    assert_eq!(decrypts(&sealed), Ok(vec![0]));
    assert_eq!(decrypts(&Tfhe::add(public, &sealed, &zero)), Err(Error::Decryption));
    assert_eq!(decrypts(&Tfhe::rerandomize(public, &sealed, shape, rng)), Err(Error::Decryption));
}

#[test]
fn another_keys_ciphertext_does_not_decrypt() {
    let rng = &mut rng(6);
    let other = SecretKey::generate(rng);
    let plaintext = Plaintext::new(8, vec![1]).unwrap();
    let c = Tfhe::encrypt(other.public_key(), &plaintext, rng).unwrap();
    assert_eq!(Tfhe::decrypt(&KEY, &c, plaintext.shape()).unwrap_err(), Error::Decryption);
}

#[test]
fn a_seed_replays_everything() {
    let (public, plaintext) = (KEY.public_key(), Plaintext::new(8, vec![5]).unwrap());
    let run = |seed| {
        let rng = &mut rng(seed);
        let a = Tfhe::encrypt(public, &plaintext, rng).unwrap();
        let all = Tfhe::encrypt_many(&KEY, &vec![plaintext.clone(); 5], rng).unwrap();
        let sealed = Tfhe::rerandomize(public, &all[3], plaintext.shape(), rng);
        let mut bytes = Vec::new();
        Tfhe::ciphertexts_to_bytes(public, &[&[a, sealed], &all[..]].concat(), &mut bytes);
        bytes
    };
    assert_eq!(run(1), run(1));
    let (one, other) = (run(1), run(2));
    assert!(one.chunks(16).zip(other.chunks(16)).all(|(a, b)| a != b), "a word that is not random");
}

// ---- the protocol ---------------------------------------------------------------------------

fn model(architecture: &Sequential) -> Model {
    let start = Model::initialise("test", architecture.clone(), Precision::TRAINING, &mut rng(7));
    start.unwrap().requantised(Precision::INFERENCE).unwrap()
}

fn open<H: Backend>(model: &Model, secret: Arc<H::SecretKey>, rng: &mut ChaCha20Rng) -> Pair<H> {
    let host = PairHost::new(ServedModel::from(model), "test", Policy::AllowModelExtraction);
    Pair::open(Arc::new(host), secret, LearningRate::Public(0.1), rng).unwrap()
}

fn networks() -> Vec<Sequential> {
    let relu = LayerSpec::Activation { function: Activation::Relu };
    let layers = [
        LayerSpec::Conv2d { filters: 2, kernel: 3, stride: 1, padding: 1 },
        LayerSpec::MeanPool2d { window: 2 },
        relu,
        LayerSpec::Dense { outputs: 5 },
        relu,
        LayerSpec::Dense { outputs: 3 },
    ];
    let image = Sequential::new(Shape::image(1, 6, 6), layers.to_vec()).unwrap();
    vec![zoo::iris(), image, Sequential::dense(9, &[8, 6], 4, Activation::Tanh).unwrap()]
}

/// The encrypted answers are those of the plaintext network and of `Clear`, bit for bit.
#[test]
fn inference_equals_the_oracle() {
    for architecture in networks() {
        let model = model(&architecture);
        let rng = &mut rng(8);
        let features = architecture.input().features();
        let inputs = Array2::from_shape_fn((features, 2), |_| rng.random_range(-2.0..2.0));
        let (expected, _) = model.probabilities(&inputs).unwrap();
        let mut tfhe = open::<Tfhe>(&model, Arc::clone(&KEY), rng);
        assert_eq!(tfhe.classify(&inputs, rng).unwrap(), expected, "{}", architecture.to_json());
        let clear = Arc::new(Clear::keygen(2048, rng).unwrap());
        let mut clear = open::<Clear>(&model, clear, rng);
        assert_eq!(clear.classify(&inputs, rng).unwrap(), expected);
    }
}

/// The slots of training are wider than 41 bits, and the refusal says whose and by how much.
#[test]
fn training_is_refused_with_the_layer() {
    let architecture = zoo::iris();
    let start = Model::initialise("test", architecture, Precision::TRAINING, &mut rng(7)).unwrap();
    let rng = &mut rng(9);
    let mut pair = open::<Tfhe>(&start, Arc::clone(&KEY), rng);
    let inputs = Array2::zeros((4, 1));
    let refused = pair.train(&[(inputs, vec![0])], rng).unwrap_err();
    let Error::Range(RangeError::Slot { layer, needed, available: 41 }) = &refused else {
        panic!("{refused}");
    };
    assert!(*needed > 80 && !layer.is_empty(), "{refused}");
}
