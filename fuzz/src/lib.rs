//! What the fuzz targets share: a generator that replays, keys, models, and laws of several targets.

pub mod blind;
pub mod open;
pub mod session;
pub mod transfer;

use std::sync::{Arc, LazyLock};

use gelu_core::clear::ClearKey;
use gelu_core::server::ServedModel;
use gelu_core::{AdditiveHE, Cryptosystem, Precision};
use gelu_nn::layers::Shape;
use gelu_nn::{LayerSpec, Sequential};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// The smallest ring that CKKS has: 47 bits, one level.
pub const CKKS: gelu_ckks::Chain =
    gelu_ckks::Chain { degree: 1 << 11, first: 16, scale: (14, 1), special: (17, 1), digits: 2 };

/// A generator that replays.
pub fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// A key of the mock backend whose ciphertexts are short, so that the fuzzer can write them.
pub fn key() -> Arc<ClearKey> {
    Arc::new(ClearKey::new(256).expect("a size it offers"))
}

/// Two filters over the four corners of a 3x3 image.
fn convolution() -> LayerSpec {
    LayerSpec::Conv2d {
        filters: 2,
        kernel: 2.into(),
        stride: 1.into(),
        padding: 0.into(),
        groups: 1,
    }
}

/// A server's model of these layers, with weights of all sizes.
fn served(input: Shape, layers: Vec<LayerSpec>, precision: Precision) -> ServedModel {
    let network = Arc::new(Sequential::new(input, layers).expect("sizes in order").network());
    let mut next = 0x9e37_79b9_i128;
    let parameters = network.zeros().map(|_| {
        next = (next * 6_364_136_223 + 1) % (1 << 20);
        (next - (1 << 19)) % (precision.weights.max() + 1)
    });
    ServedModel { network, precision, parameters, version: 1 }
}

/// A Paillier key of 512 bits, always the same.
pub fn paillier_key() -> &'static gelu_paillier::SecretKey {
    static KEY: LazyLock<gelu_paillier::SecretKey> = LazyLock::new(|| {
        gelu_paillier::SecretKey::insecure_generate(512, &mut rng()).expect("a size it offers")
    });
    &KEY
}

/// A key pair of a scheme that has keys of one size, always the same.
pub fn key_of<H: Cryptosystem>(bits: u32) -> H::SecretKey {
    H::keygen(bits, &mut rng()).expect("a size it offers")
}

/// Reads `data` as what its first byte says, a public key or ciphertexts under [`key_of`], and what is
/// accepted is written again as it was read. `secret` is made once.
pub fn rereads<H: AdditiveHE>(
    secret: &H::SecretKey,
    write: impl Fn(&H::PublicKey) -> Vec<u8>,
    data: &[u8],
) {
    match data.split_first() {
        Some((0, key)) => {
            if let Ok(public) = H::public_key_from_bytes(key) {
                assert_eq!(write(&public), key);
            }
        }
        Some((_, block)) => {
            let public = H::public_key(secret);
            let count = block.len() / H::ciphertext_len(public);
            if let Ok(ciphertexts) = H::ciphertexts_from_bytes(public, block, count) {
                let mut again = Vec::new();
                H::ciphertexts_to_bytes(public, &ciphertexts, &mut again);
                assert_eq!(again, block);
            }
        }
        None => {}
    }
}

/// Waits for what never has to wait, such as reading from memory.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
