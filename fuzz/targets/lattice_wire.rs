//! Law: a public key that is accepted is written again as it was read, but for its proof; a block of uploads or answers is read or
//! refused, and decrypting never panics.
#![no_main]
use std::sync::LazyLock;

use gelu_core::backend::{Backend, Direction, Layout, Task};
use gelu_core::linear::{Dense, LinearMap};
use gelu_core::{Cryptosystem, Error};
use gelu_fuzz::key_of;
use gelu_lattice::{Lattice, SecretKey, TileLayout};

static KEY: LazyLock<SecretKey> = LazyLock::new(|| key_of::<Lattice>(4096));

/// Two inputs, three outputs, one ciphertext each way.
static LAYOUT: LazyLock<TileLayout> = LazyLock::new(|| {
    let linear = LinearMap::from(Dense::new(2, 3).expect("a small layer"));
    let (layer, direction, batch) = ("dense", Direction::Forward, 1);
    let (value_bits, weight_bits) = (20, 5);
    let task = Task { layer, linear: &linear, direction, batch, value_bits, weight_bits };
    Lattice::layouts(KEY.public_key(), &task).expect("a small layer").remove(0)
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            if let Ok(key) = Lattice::public_key_from_bytes(data) {
                assert!(data.starts_with(&key.to_bytes()));
            }
        }
        1 => drop(LAYOUT.read(KEY.public_key(), data)),
        _ => match LAYOUT.decrypt(&KEY, data) {
            Ok(values) => assert_eq!(values.dim(), (3, 1)),
            Err(error) => assert!(matches!(error, Error::PeerMisbehaved(_))),
        },
    }
});
