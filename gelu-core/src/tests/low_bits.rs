//! The low-bit trap of the secret learning rate (`docs/src/protocol.md`).
//!
//! The server decrypts D = G + R·2^g and knows g, so it reads G mod 2^g through any mask. The fix
//! is to let G be a multiple of 2^g_max; these tests look at what the server really receives, and
//! fail when the fix is taken out.

use std::collections::BTreeSet;

use super::{G, G_MAX, batches, model, pair, secret_rate};
use crate::clear::{Clear, ClearKey};
use crate::fixed::Saturations;
use crate::ledger::Policy;
use crate::message::{ClientMessage, Wire};
use crate::network::{Layer, Parameters};
use crate::pair::Frame;
use crate::pass::{Rounding, update};
use crate::slots::{AdditiveHE, UpdateLayout};
use crate::update::Update;

/// The masked gradients of a lease, as the server decrypts them.
fn what_the_server_decrypts() -> Vec<i128> {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, secret_rate());
    let model = model();
    pair.train(&batches(&model.network, 5, 12), &mut rng).unwrap();
    let key = ClearKey::new(2048).unwrap();
    let (values, precision) = (model.parameters.len(), &model.precision);
    let layout = UpdateLayout::new::<Clear>(values, precision, G_MAX, &key).unwrap();
    let blocks = pair.transcript.iter().filter_map(|frame| match frame {
        Frame::Up(bytes) => match ClientMessage::from_bytes(bytes).unwrap() {
            ClientMessage::EncryptedMaskedUpdate { ciphertexts } => Some(ciphertexts),
            _ => None,
        },
        Frame::Down(_) => None,
    });
    let decrypt = |block: Vec<u8>| {
        let read = Clear::ciphertexts_from_bytes(&key, &block, layout.ciphertexts()).unwrap();
        let plain = |(n, c)| Clear::decrypt(&key, c, layout.shape(n)).unwrap().values().to_vec();
        read.iter().enumerate().flat_map(plain).collect::<Vec<_>>()
    };
    blocks.flat_map(decrypt).collect()
}

#[test]
fn the_server_sees_no_low_bit_of_a_gradient() {
    let seen = what_the_server_decrypts();
    assert_eq!(seen.len(), 11 * model().parameters.len());
    assert!(seen.iter().all(|d| d & ((1 << G) - 1) == 0), "G mod 2^g shows");
}

/// What it sees above those bits is uniform: each bit of (G + R·2^g) / 2^g is 1 half of the time,
/// within five standard deviations.
#[test]
fn the_server_sees_uniform_bits_above() {
    let seen = what_the_server_decrypts();
    let precision = model().precision;
    for bit in 0..precision.update_bits + precision.mask_bits {
        let ones = seen.iter().filter(|&d| d >> (bit + G) & 1 == 1).count() as f64;
        let deviation = (ones - seen.len() as f64 / 2.0).abs();
        assert!(deviation < 5.0 * (seen.len() as f64 / 4.0).sqrt(), "bit {bit}: {ones} ones");
    }
}

/// Without the fix there would be something to see: gradients rounded at full resolution have
/// every residue modulo 2^g.
#[test]
fn the_trap_is_real() {
    let precision = model().precision;
    let gradients = Update::from(Parameters {
        layers: vec![Layer { weights: (0..64).map(|i| 12_345_678 * i).collect(), biases: vec![] }],
    });
    let rounded = |rounding| update(&gradients, 5, rounding, &precision, &Saturations::default());
    let residues = |u: &Update| u.values().map(|v| v & ((1 << G) - 1)).collect::<BTreeSet<_>>();
    assert_eq!(residues(&rounded(Rounding::Rate(1.0))).len(), 1 << G);
    assert_eq!(residues(&rounded(Rounding::PowerOfTwo { g_max: G_MAX })).len(), 1);
}
