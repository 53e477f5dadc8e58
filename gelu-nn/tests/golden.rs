//! Golden transcripts under Paillier: from two seeds follows every byte of a session, the keys
//! included, on every machine and with any number of threads.
//!
//! A changed digest means changed bytes on the wire. If that was meant, raise
//! [`PROTOCOL_VERSION`](gelu_core::message::PROTOCOL_VERSION) and take the new digest.

mod common;

use common::{batches, client, host, model, rate};
use gelu_core::pair::Pair;
use gelu_nn::{Rate, zoo};
use gelu_paillier::InsecurePaillier;
use sha2::{Digest, Sha256};

fn session() -> (Pair<InsecurePaillier>, rand::rngs::ChaCha20Rng) {
    let model = model(&zoo::iris());
    client(&host(&model), rate(Rate::Public(0.1), 512), 512, 1)
}

/// Number of frames and the start of the digest of all bytes.
fn summary(pair: &Pair<InsecurePaillier>) -> (usize, String) {
    let mut hash = Sha256::new();
    pair.transcript.iter().for_each(|frame| hash.update(frame.bytes()));
    let digest = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    (pair.transcript.len(), digest)
}

#[test]
fn one_inference() {
    let (mut pair, mut rng) = session();
    pair.classify(&batches(&zoo::iris(), 2, 1, 3)[0].0, &mut rng).unwrap();
    assert_eq!(summary(&pair), (6, "6225802c3386d2f8".into()));
}

#[test]
fn one_lease() {
    let (mut pair, mut rng) = session();
    pair.train(&batches(&zoo::iris(), 2, 2, 3), &mut rng).unwrap();
    assert_eq!(summary(&pair), (20, "426b669556313bb1".into()));
}
