//! Golden transcripts under Paillier and on a lattice: from two seeds follows every byte of a session, the keys
//! included, on every machine, with any number of threads and either kernel.
//!
//! A changed line in `golden.txt` means changed bytes on the wire. If that was meant, raise
//! [`PROTOCOL_VERSION`](gelu_core::message::PROTOCOL_VERSION) and take the new lines:
//!
//! ```text
//! GELU_GOLDEN=write cargo test -p gelu-nn --test networks golden
//! ```

use crate::common::{batches, client, host, model, rate};
use gelu_core::Backend;
use gelu_core::message::PROTOCOL_VERSION;
use gelu_core::pair::Pair;
use gelu_lattice::Lattice;
use gelu_nn::{Rate, zoo};
use gelu_paillier::InsecurePaillier;
use sha2::{Digest, Sha256};

/// Of Paillier, a size for tests and two for real use.
const SIZES: [u32; 3] = [512, 2048, 3072];

fn session<B: Backend>(bits: u32) -> (Pair<B>, rand::rngs::ChaCha20Rng) {
    let model = model(&zoo::iris());
    client(&host(&model), rate(Rate::Public(0.1), bits), bits, 1)
}

/// Number of frames and the start of the digest of all bytes.
fn summary<B: Backend>(name: &str, bits: u32, pair: &Pair<B>) -> String {
    let mut hash = Sha256::new();
    pair.transcript.iter().for_each(|frame| hash.update(frame.bytes()));
    let digest: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{name}, {} {bits}: {} frames, {digest}\n", B::ID, pair.transcript.len())
}

fn one_inference<B: Backend>(bits: u32) -> String {
    let (mut pair, mut rng) = session::<B>(bits);
    pair.classify(&batches(&zoo::iris(), 2, 1, 3)[0].0, &mut rng).unwrap();
    summary("one inference", bits, &pair)
}

fn one_lease<B: Backend>(bits: u32) -> String {
    let (mut pair, mut rng) = session::<B>(bits);
    pair.train(&batches(&zoo::iris(), 2, 2, 3), &mut rng).unwrap();
    summary("one lease", bits, &pair)
}

#[test]
fn golden() {
    let version = format!("protocol version {PROTOCOL_VERSION}\n");
    type P = InsecurePaillier;
    let paillier = SIZES.map(|bits| [one_inference::<P>(bits), one_lease::<P>(bits)].concat());
    let lattice = [one_inference::<Lattice>(8192), one_lease::<Lattice>(8192)];
    let summaries = version + &paillier.concat() + &lattice.concat();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/golden.txt");
    if std::env::var_os("GELU_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(file, &summaries).unwrap();
    }
    assert_eq!(summaries, std::fs::read_to_string(file).unwrap());
}
