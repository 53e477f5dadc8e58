//! Two exact schemes given the same network and the same inputs return identical integers.
//!
//! Whole queries run over every backend that is compiled in, each with its own keys, slots, layouts
//! and bytes. What the server sent is then decrypted, sum by sum, and must be what plain integers
//! give. That a backend keeps its laws, its own crate tests.
//!
//! Features add backends: `cargo test -p gelu-bench --test exact_schemes --features elgamal,bgn`.

use std::sync::Arc;

use gelu_core::backend::Layout;
use gelu_core::ledger::Policy;
use gelu_core::message::{ServerMessage, Wire};
use gelu_core::network::Stage;
use gelu_core::pair::{Frame, Pair, PairHost};
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{Backend, Clear, Precision};
use gelu_lattice::Lattice;
use gelu_nn::{Activation, LayerSpec, Model, Sequential, Shape};
use gelu_paillier::Paillier;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

const PAILLIER_BITS: u32 = 2048;
/// The smallest plaintexts among the backends have 40 bits.
const MOST_BITS: u32 = 30;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn key<B: Backend>(bits: u32) -> Arc<B::SecretKey> {
    Arc::new(B::keygen(bits, &mut rng(1)).expect("a size that the backend offers"))
}

/// A dense network, and one whose convolution is padded, strided over by a pool, and packed by
/// positions where there are slots for it.
fn models() -> Vec<Model> {
    let convolution = LayerSpec::Conv2d {
        filters: 2,
        kernel: 3.into(),
        stride: 1.into(),
        padding: 1.into(),
        groups: 1,
    };
    let layers = [
        convolution,
        LayerSpec::MeanPool2d { window: 2.into() },
        LayerSpec::Activation { function: Activation::Relu },
        LayerSpec::Dense { outputs: 3 },
    ];
    let image = Sequential::new(Shape::image(1, 6, 6), layers.to_vec()).unwrap();
    let dense = Sequential::dense(7, &[6, 5], 4, Activation::Sigmoid).unwrap();
    let model = |(seed, architecture)| {
        Model::initialise("test", architecture, Precision::INFERENCE, &mut rng(seed)).unwrap()
    };
    [(2, dense), (3, image)].into_iter().map(model).collect()
}

/// `[features, samples]`, beyond the bound of an activation here and there.
fn inputs(model: &Model, samples: usize) -> Array2<f64> {
    let (features, rng) = (model.architecture().input().features(), &mut rng(4));
    Array2::from_shape_fn((features, samples), |_| rng.random_range(-20.0..20.0))
}

/// The sums of every layer, `[outputs, samples]`.
type Sums = Vec<Array2<i128>>;

/// What the client decrypts in a query, layer by layer, and the probabilities it ends with.
fn query<B: Backend>(
    secret: &Arc<B::SecretKey>,
    model: &Model,
    samples: usize,
) -> (Sums, Array2<f64>) {
    let (rng, served) = (&mut rng(5), ServedModel::from(model));
    let host = Arc::new(PairHost::new(served, "test", Policy::AllowModelExtraction));
    let rate = LearningRate::Public(0.1);
    let mut pair = Pair::<B>::open(host, Arc::clone(secret), rate, rng).unwrap();
    let probabilities = pair.classify(&inputs(model, samples), rng).unwrap();

    let public = B::public_key(secret);
    let (network, precision) = (model.network(), model.precision());
    let plan = Plan::new::<B>(network, precision, samples, Purpose::Inference, public).unwrap();
    let decrypt = |frame: &Frame| {
        let Frame::Down(bytes) = frame else { return None };
        match ServerMessage::from_bytes(bytes).unwrap() {
            ServerMessage::WeightedSums { stage, ciphertexts } => {
                let forward = &plan.stages[stage as usize].forward;
                assert!(forward.value_bits() <= MOST_BITS, "{}", plan.stages[stage as usize].name);
                Some(forward.layout().decrypt(secret, &ciphertexts).unwrap())
            }
            _ => None,
        }
    };
    (pair.transcript.iter().filter_map(decrypt).collect(), probabilities)
}

/// The same sums by plain integers, without any protocol.
fn plain(model: &Model, samples: usize) -> Sums {
    use gelu_core::pass::{Pass, bias_constant};
    let (network, precision) = (model.network(), *model.precision());
    let mut pass = Pass::new(Arc::clone(network), precision, &inputs(model, samples)).unwrap();
    let stages = network.stages().iter().zip(&model.parameters().layers).enumerate();
    let sums = stages.map(|(stage, (Stage { linear, .. }, layer))| {
        let one = bias_constant(linear, precision.activations);
        let activations = pass.activations(stage).view();
        let sums = linear.forward(&layer.weights, &layer.biases, activations, one);
        pass.advance(&sums).unwrap();
        sums
    });
    sums.collect()
}

fn identical<B: Backend>(bits: u32) {
    let secret = &key::<B>(bits);
    for model in models() {
        for samples in [1, 3] {
            let (sums, probabilities) = query::<B>(secret, &model, samples);
            assert_eq!(sums, plain(&model, samples), "{}, {samples} samples", B::ID);
            assert!(sums.iter().flatten().any(|&z| z.abs() > 1 << 16), "large ones among them");
            let (expected, _) = model.probabilities(&inputs(&model, samples)).unwrap();
            assert_eq!(probabilities, expected, "{}, {samples} samples", B::ID);
        }
    }
}

#[test]
fn clear() {
    identical::<Clear>(PAILLIER_BITS);
}

#[test]
fn paillier() {
    identical::<Paillier>(PAILLIER_BITS);
}

#[test]
fn lattice() {
    for bits in gelu_lattice::Parameters::KEY_BITS {
        identical::<Lattice>(bits);
    }
}

#[cfg(feature = "elgamal")]
#[test]
fn elgamal() {
    identical::<gelu_elgamal::ElGamal>(gelu_elgamal::KEY_BITS);
}

#[cfg(feature = "bgn")]
#[test]
fn bgn() {
    identical::<gelu_bgn::Bgn>(gelu_bgn::KEY_BITS);
}

/// A scheme that is not exact, or another input, is noticed.
#[test]
fn other_inputs_give_other_integers() {
    for model in models() {
        let (two, three) = (plain(&model, 2), plain(&model, 3));
        assert_ne!(two[0], three[0].slice(ndarray::s![.., 1..]));
    }
}
