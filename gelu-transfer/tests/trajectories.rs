//! The training in the clear against weights that another program (numpy) computed, where they are on this machine.

mod support;

use gelu_nn::scores::Scores;
use gelu_transfer::plain::Training;
use gelu_transfer::{Activation, Sigmoid};

/// The numbers of a .npy file of f64.
fn npy(path: &std::path::Path) -> Vec<f64> {
    let bytes = std::fs::read(path).expect("a trajectory");
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..header]);
    assert!(text.contains("'<f8'") && text.contains("'fortran_order': False"), "{text}");
    bytes[header..].as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

#[test]
fn the_weights_after_each_iteration_are_those_of_the_reference() {
    let Some(folder) = support::folder() else { return };
    let (train, test) = support::load(&folder.join("abstracts.safetensors"));
    for (name, degree, range, rate) in [
        ("exact", 0, 0.0, 2.0),
        ("deg1-8", 1, 8.0, 4.0),
        ("deg3-8", 3, 8.0, 2.0),
        ("deg3-12", 3, 12.0, 3.0),
        ("deg3-16", 3, 16.0, 4.0),
        ("deg5-12", 5, 12.0, 2.0),
        ("deg7-16", 7, 16.0, 2.0),
    ] {
        let expected = npy(&folder.join(format!("trajectories/abstracts-b1024-{name}.npy")));
        assert_eq!(expected.len(), 24 * 385);
        let activation = match degree {
            0 => Activation::Exact,
            _ => Activation::Polynomial(Sigmoid::fit(degree, range).unwrap()),
        };
        let mut training = Training::new(&train.x, &train.y, 1024, rate, activation).unwrap();
        let mut worst: f64 = 0.0;
        for weights in expected.chunks_exact(385) {
            training.step();
            let off = training.head().weights().iter().zip(weights).map(|(a, b)| (a - b).abs());
            worst = off.fold(worst, f64::max);
        }
        assert!(worst < 1e-9, "{name}: {worst:e}");
        let z = test.x.weighted_sums(training.head().weights());
        let scores = Scores::of_two(&support::classes(&test.y), &z, 0.0);
        assert!(scores.auc > Some(0.92) && scores.accuracy > 0.87, "{name}: {scores:?}");
        println!("{name}: {worst:.1e} off, largest |z| {:.1}, {scores:?}", training.largest());
    }
}
