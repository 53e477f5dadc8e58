//! The circuits of real layers equal what a pass through the clear network encodes.

use gelu_core::circuit::{Numbers, StageCircuit, locals, stage};
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::fixed::{Saturations, exp2};
use gelu_core::plan::Purpose;
use gelu_core::{LocalFunction, Network, Plan, Precision};
use gelu_nn::layers::{Activation, MaxPool2d, MeanPool2d, Shape};
use gelu_nn::zoo;
use ndarray::Array2;

/// Sums within 2^24, of 14 fractional bits.
fn numbers() -> Numbers {
    let Precision { activations, weights, .. } = Precision::INFERENCE;
    Numbers { bound: 1 << 24, fraction: activations.fraction + weights.fraction, activations }
}

/// What the circuits make of one sample, with share c for the second party.
fn by_circuits(stage: &StageCircuit, z: &[i128], share: i128) -> Vec<i128> {
    let bits = |values: Vec<i128>| -> Vec<bool> {
        let places = |value: i128| (0..stage.bits).map(move |place| value >> place & 1 == 1);
        values.into_iter().flat_map(places).collect()
    };
    let neuron = |window: &Vec<usize>| {
        let first = window.iter().map(|i| z[*i] + stage.offset - share).collect();
        let inputs = [bits(first), bits(vec![share; window.len()])].concat();
        stage.circuit.evaluate(&inputs)[0]
    };
    stage.neurons.iter().map(neuron).collect()
}

/// Sums from tiny to the bound, of both signs.
fn sums(count: usize, seed: u64, bound: i128) -> Vec<i128> {
    let value = |n: usize| {
        let mixed = (seed + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let magnitude = i128::from(mixed >> 32) % (bound >> (mixed % 22)).max(1);
        if mixed & 1 << 20 == 0 { magnitude } else { -magnitude }
    };
    (0..count).map(value).collect()
}

/// The circuits after a linear map with `inputs` outputs equal what a pass encodes, in `rounds` samples.
fn equal(locals: &[&dyn LocalFunction], inputs: usize, numbers: &Numbers, rounds: u64) {
    let stage = stage(locals, inputs, numbers).unwrap();
    for seed in 0..rounds {
        let z = sums(inputs, seed * 1000, numbers.bound);
        let real = |z: &i128| *z as f64 / exp2(numbers.fraction);
        let start = Array2::from_shape_vec((inputs, 1), z.iter().map(real).collect()).unwrap();
        let a = locals.iter().fold(start, |z, local| local.forward(&z));
        let expected = numbers.activations.encode_all(&a, &Saturations::default());
        let got = by_circuits(&stage, &z, i128::from(seed) * 0x1357_9bdf);
        assert_eq!(got, expected.into_raw_vec_and_offset().0, "{locals:?}");
    }
}

#[test]
fn activations_and_poolings_equal_their_circuits() {
    for a in [Activation::Relu, Activation::Square, Activation::Sigmoid, Activation::Tanh] {
        equal(&[&a], 16, &numbers(), 40);
    }
    let image = Shape::image(2, 4, 4);
    let mean = MeanPool2d::new(image, 2.into()).unwrap();
    let largest = MaxPool2d::new(image, 2.into(), 2.into(), 0.into()).unwrap();
    let overlapping = MaxPool2d::new(image, 3.into(), 1.into(), 0.into()).unwrap();
    for pool in [&mean as &dyn LocalFunction, &largest, &overlapping] {
        equal(&[pool], 32, &numbers(), 40);
        equal(&[&Activation::Relu, pool], 32, &numbers(), 40);
    }
}

/// Every stage of a network but the last, and its numbers by the plan of a query.
fn stages_of(network: &Network) -> Vec<(usize, Numbers)> {
    let (precision, key) = (Precision::INFERENCE, ClearKey::new(2048).unwrap());
    let plan = Plan::new::<Clear>(network, &precision, 1, Purpose::Inference, &key).unwrap();
    let inner = network.stages().iter().zip(&plan.stages).take(network.stages().len() - 1);
    let numbers = inner.enumerate().map(|(number, (stage, plan))| {
        let bound = (1 << (plan.forward.value_bits() - 1)) - 1;
        (number, Numbers::of(&stage.name, &stage.linear, &precision, bound).unwrap())
    });
    numbers.collect()
}

#[test]
fn all_stages_of_the_zoo_equal_their_circuits_but_two_squares_in_a_row() {
    for entry in zoo::entries() {
        let network = (entry.architecture)().network();
        for (number, numbers) in stages_of(&network) {
            let outputs = network.stages()[number].linear.outputs();
            let locals = match locals(&network, number) {
                Ok(locals) => locals,
                Err(error) => {
                    assert_eq!(entry.name, "resnet20");
                    assert!(error.to_string().contains("goes into a shortcut"), "{error}");
                    continue;
                }
            };
            if entry.name == "conv1-square" {
                // The second square is of 52 bits: rounded in the clear, so not exact.
                let error = stage(&locals, outputs, &numbers).unwrap_err().to_string();
                assert!(error.contains("square: squares numbers of more than 26 bits"), "{error}");
            } else {
                equal(&locals, outputs, &numbers, 1);
            }
        }
    }
}

/// What `gelu-garble/examples/garble.rs` measures.
#[test]
fn circuits_of_lenet_5_have_the_sizes_of_the_example() {
    let network = zoo::lenet5().network();
    let sizes = stages_of(&network).into_iter().map(|(number, numbers)| {
        let linear = &network.stages()[number].linear;
        let locals = locals(&network, number).unwrap();
        let stage = stage(&locals, linear.outputs(), &numbers).unwrap();
        (stage.neurons.len(), stage.bits, linear.divisor().ilog2(), stage.circuit.and_count())
    });
    let expected = [(864, 28, 2, 46), (256, 31, 2, 52), (120, 30, 0, 52), (84, 28, 0, 48)];
    assert_eq!(sizes.collect::<Vec<_>>(), expected);
}

#[test]
fn activations_without_a_circuit_are_refused_by_name() {
    let error = stage(&[&Activation::Taylor3], 4, &numbers()).unwrap_err().to_string();
    assert!(error.contains("taylor3: has no circuit"), "{error}");
}
