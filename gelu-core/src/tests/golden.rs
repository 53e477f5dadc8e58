//! Golden transcripts: every byte of a session follows from its seeds.
//!
//! A changed digest means a changed wire form, plan or arithmetic. If that was meant, raise
//! [`PROTOCOL_VERSION`](crate::message::PROTOCOL_VERSION) and take the new digest.

use sha2::{Digest, Sha256};

use super::{batches, model, pair, secret_rate};
use crate::clear::Clear;
use crate::ledger::Policy;
use crate::pair::{Frame, Pair};
use crate::server::LearningRate;

/// Frames, bytes and the first bytes of the digest.
fn summary(pair: &Pair<Clear>) -> (usize, usize, String) {
    let mut hash = Sha256::new();
    for frame in &pair.transcript {
        hash.update([u8::from(matches!(frame, Frame::Up(_)))]);
        hash.update(u64::try_from(frame.bytes().len()).unwrap().to_be_bytes());
        hash.update(frame.bytes());
    }
    let digest = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    (pair.transcript.len(), pair.transcript.iter().map(|f| f.bytes().len()).sum(), digest)
}

#[test]
fn one_inference() {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    pair.classify(&batches(&model().network, 3, 1)[0].0, &mut rng).unwrap();
    assert_eq!(summary(&pair), (8, 10801, "57d6bbdae4fefd56".into()));
}

#[test]
fn one_lease() {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    pair.train(&batches(&model().network, 3, 2), &mut rng).unwrap();
    assert_eq!(summary(&pair), (28, 32576, "3db9d73374825b82".into()));
}

#[test]
fn one_lease_with_a_secret_rate() {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, secret_rate());
    pair.train(&batches(&model().network, 3, 2), &mut rng).unwrap();
    assert_eq!(summary(&pair), (28, 34065, "03cba11476c2e811".into()));
}
