//! Golden transcripts: every byte of a session follows from its seeds.
//!
//! A changed line in `golden.txt` means a changed wire form, plan or arithmetic. If that was meant,
//! raise [`PROTOCOL_VERSION`](crate::message::PROTOCOL_VERSION) and take the new lines:
//!
//! ```text
//! GELU_GOLDEN=write cargo test -p gelu-core golden
//! ```

use sha2::{Digest, Sha256};

use super::{batches, blind, model, networks, pair, secret_rate};
use crate::blind::Answer;
use crate::clear::Clear;
use crate::ledger::Policy;
use crate::message::PROTOCOL_VERSION;
use crate::pair::Frame;
use crate::server::LearningRate;

/// Frames, bytes and the first bytes of the digest.
fn summary(name: &str, transcript: &[Frame]) -> String {
    let mut hash = Sha256::new();
    for frame in transcript {
        hash.update([u8::from(matches!(frame, Frame::Up(_)))]);
        hash.update(u64::try_from(frame.bytes().len()).unwrap().to_be_bytes());
        hash.update(frame.bytes());
    }
    let digest: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    let bytes: usize = transcript.iter().map(|f| f.bytes().len()).sum();
    format!("{name}: {} frames, {bytes} bytes, {digest}\n", transcript.len())
}

fn one_inference() -> String {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    pair.classify(&batches(&model().network, 3, 1)[0].0, &mut rng).unwrap();
    summary("one inference", &pair.transcript)
}

fn one_lease(name: &str, rate: LearningRate<Clear>) -> String {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, rate);
    pair.train(&batches(&model().network, 3, 2), &mut rng).unwrap();
    summary(name, &pair.transcript)
}

/// Three tickets, and queries of two samples and of one.
fn blind_queries(name: &str, answer: Answer) -> String {
    let model = blind::model(networks::network());
    let (mut pair, _, mut rng) = blind::pair(model.clone(), answer).unwrap();
    pair.make_tickets(3, &mut rng).unwrap();
    for samples in [2, 1] {
        pair.ask(&blind::inputs(&model, samples), &mut rng).unwrap();
    }
    summary(name, &pair.transcript)
}

#[test]
fn golden() {
    let summaries = [
        format!("protocol version {PROTOCOL_VERSION}\n"),
        one_inference(),
        one_lease("one lease", LearningRate::Public(0.1)),
        one_lease("one lease with a secret rate", secret_rate()),
        blind_queries("blind queries for classes", Answer::Class),
        blind_queries("blind queries for scores", Answer::Scores),
    ]
    .concat();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/golden.txt");
    if std::env::var_os("GELU_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(file, &summaries).unwrap();
    }
    assert_eq!(summaries, std::fs::read_to_string(file).unwrap());
}
