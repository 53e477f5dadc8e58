//! The law of packed layouts. The layers of the conformance suite are too small for them: one answer holds all outputs.

use gelu_core::Cryptosystem;
use gelu_core::backend::{Backend, Direction, Layout, Sealed, Task};
use gelu_core::fixed::centred;
use gelu_core::linear::{Axis, Dense, LinearMap, Window};
use gelu_lattice::Lattice;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

const VALUE_BITS: u32 = 53;
/// What a bias is multiplied by.
const CONSTANT: i128 = 1 << 14;

#[test]
fn packed_layouts_keep_the_law_and_send_what_they_cost() {
    let rng = &mut ChaCha20Rng::seed_from_u64(9);
    let secret = Lattice::keygen(8192, rng).unwrap();
    let public = secret.public_key();
    let dense = LinearMap::from(Dense::new(70, 45).unwrap());
    // Five filters of three taps at four positions.
    let (rows, columns) = (Axis::new(1, 1, 1, 0).unwrap(), Axis::new(9, 3, 2, 0).unwrap());
    let window = LinearMap::from(Window::new(1, 5, rows, columns).unwrap());
    let numbers = |count: usize, bits: u32, rng: &mut ChaCha20Rng| -> Vec<i128> {
        (0..count).map(|_| i128::from(rng.next_u64().cast_signed() >> (64 - bits))).collect()
    };
    for (linear, direction, batch, rasters) in [
        (&dense, Direction::Forward, 40, 6),
        (&dense, Direction::Backward, 40, 6),
        (&dense, Direction::Forward, 300, 4),
        (&window, Direction::Forward, 512, 2),
    ] {
        let (value_bits, weight_bits) = (VALUE_BITS, VALUE_BITS);
        let task = Task { layer: "packed", linear, direction, batch, value_bits, weight_bits };
        let layouts = Lattice::layouts(public, &task).unwrap();
        let packed = layouts.iter().filter(|layout| layout.to_string().starts_with("packed-"));
        let packed: Vec<_> = packed.collect();
        assert_eq!(packed.len(), rasters, "{direction}, {batch} samples: {packed:?}");
        let weights = numbers(linear.weights(), VALUE_BITS, rng);
        let biases = numbers(linear.biases(), VALUE_BITS, rng);
        let features = match direction {
            Direction::Forward => linear.inputs(),
            Direction::Backward => linear.outputs(),
        };
        let x = numbers(features * batch, 18, rng);
        let x = Array2::from_shape_vec((features, batch), x).unwrap();
        let (expected, offsets): (_, Option<Vec<_>>) = match direction {
            Direction::Forward => (
                linear.forward(&weights, &biases, x.view(), CONSTANT),
                Some((0..linear.outputs()).map(|o| CONSTANT * biases[linear.bias_of(o)]).collect()),
            ),
            Direction::Backward => (linear.backward(&weights, x.view()), None),
        };
        let expected = expected.mapv(|value| centred(value, VALUE_BITS));
        for layout in packed {
            let up = layout.encrypt(&secret, linear, &x, rng).unwrap();
            let prepared = layout.prepare(linear, &weights, offsets.as_deref()).unwrap();
            let inputs = layout.read(public, &up).unwrap();
            let answer = layout.evaluate(public, &prepared, &inputs).unwrap();
            let down = Sealed::seal::<Lattice, _>(layout, public, answer, rng).into_bytes();
            assert_eq!(layout.cost().bytes, up.len() + down.len(), "{layout}");
            assert!(layout.decrypt(&secret, &down).unwrap() == expected, "{layout}");
            assert!(layout.decrypt(&secret, &down[1..]).is_err(), "{layout}");
        }
    }
}
