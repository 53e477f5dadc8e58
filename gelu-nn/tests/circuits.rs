//! The circuits of real layers equal what a pass through the clear network encodes.

use gelu_core::circuit::{Numbers, StageCircuit, stage};
use gelu_core::fixed::{Format, Saturations, exp2};
use gelu_core::{LocalFunction, Precision};
use gelu_nn::layers::{Activation, MeanPool2d, Shape};
use ndarray::Array2;

/// Sums within this bound, of 14 fractional bits.
const BOUND: i128 = 1 << 24;

fn numbers() -> Numbers {
    let Precision { activations, weights, .. } = Precision::INFERENCE;
    Numbers { bound: BOUND, fraction: activations.fraction + weights.fraction, activations }
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
fn sums(count: usize, seed: u64) -> Vec<i128> {
    let value = |n: usize| {
        let mixed = (seed + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let magnitude = i128::from(mixed >> 32) % (BOUND >> (mixed % 22));
        if mixed & 1 << 20 == 0 { magnitude } else { -magnitude }
    };
    (0..count).map(value).collect()
}

fn equal(locals: &[Box<dyn LocalFunction>], inputs: usize) {
    let numbers = numbers();
    let Format { fraction, .. } = numbers.activations;
    let stage = stage(locals, inputs, &numbers).unwrap();
    for seed in 0..40 {
        let z = sums(inputs, seed * 1000);
        let real = |z: &i128| *z as f64 / exp2(numbers.fraction);
        let start = Array2::from_shape_vec((inputs, 1), z.iter().map(real).collect()).unwrap();
        let a = locals.iter().fold(start, |z, local| local.forward(&z));
        let expected = numbers.activations.encode_all(&a, &Saturations::default());
        let got = by_circuits(&stage, &z, i128::from(seed) * 0x1357_9bdf);
        assert_eq!(got, expected.into_raw_vec_and_offset().0, "{locals:?}, {fraction} bits");
    }
}

#[test]
fn activations_and_poolings_equal_their_circuits() {
    let boxed = |a: Activation| Box::new(a) as Box<dyn LocalFunction>;
    for a in [Activation::Relu, Activation::Square, Activation::Sigmoid, Activation::Tanh] {
        equal(&[boxed(a)], 16);
    }
    let pool = || Box::new(MeanPool2d::new(Shape::image(2, 4, 4), 2).unwrap());
    equal(&[pool()], 32);
    equal(&[boxed(Activation::Relu), pool()], 32);
}

#[test]
fn activations_without_a_circuit_are_refused_by_name() {
    let taylor: Vec<Box<dyn LocalFunction>> = vec![Box::new(Activation::Taylor3)];
    let error = stage(&taylor, 4, &numbers()).unwrap_err().to_string();
    assert!(error.contains("taylor3: has no circuit"), "{error}");
}
