//! Points of the Paillier kernel: products, squares and whole layers modulo n².

use gelu_core::Cryptosystem;
use gelu_paillier::measure::{self, KernelTimes, LayerWork};
use gelu_paillier::{Paillier, SecretKey};
use rand::rngs::ChaCha20Rng;

use super::super::layer::Problem;
use super::{Plan, Point};
use crate::Error;

/// Squares in the chains of [`KernelTimes`], of the fast kernel and of the portable one.
const CHAINS: [f64; 2] = [64.0, 8.0];

/// Whether there is another kernel beside the portable one.
pub(super) fn has_two(kernels: &[KernelTimes]) -> bool {
    kernels.iter().any(|times| times.kernel != times.portable_form.kernel)
}

/// Streams and chains of a size, by both kernels where there are two.
pub(super) fn products(times: &KernelTimes) -> Vec<Point> {
    let one = |form: &measure::Form, product: f64, square: f64, chain: f64| {
        let point = |what: &str, nanoseconds, words: f64, bytes: f64| Point {
            what: what.into(),
            size: times.bits as usize,
            kernel: form.kernel,
            nanoseconds,
            rate: words / nanoseconds,
            intensity: words / bytes,
            filled: 1.0,
        };
        let element = form.element_bytes as f64;
        let (words, squared) = (form.words_a_product(), form.words_a_square());
        [
            point("product, a stream", product, words, 3.0 * element),
            point("square, a chain", square, squared, 2.0 * element / chain),
        ]
    };
    let best = one(&times.form, times.product, times.square, CHAINS[0]);
    let portable =
        one(&times.portable_form, times.portable_product, times.portable_square, CHAINS[1]);
    // Without a faster kernel the first one is the portable one, too.
    if times.kernel == times.portable_form.kernel {
        return best.into();
    }
    best.into_iter().chain(portable).collect()
}

/// Layers under one key.
pub(super) fn layers(
    secret: &SecretKey,
    Plan { layers, runs, .. }: &Plan,
    two_kernels: bool,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Point>, Error> {
    let public = Paillier::public_key(secret);
    let mut points = Vec::new();
    for &shape in layers {
        let problem = Problem::random(shape, 1, rng)?;
        let inputs = problem.encrypt_one::<Paillier>(secret, rng)?;
        for portable in [false, true] {
            if portable && !two_kernels {
                continue;
            }
            let layer = (&problem.map.forward_taps(), &*problem.weights);
            let (sums, work) = measure::layer(public, portable, layer, &inputs, *runs)?;
            let what = format!("layer {}x{}", shape.0, shape.1);
            problem.check_one::<Paillier>(&what, secret, sums)?;
            points.push(of_layer(what, public.bits(), &work));
        }
    }
    Ok(points)
}

fn of_layer(what: String, key_bits: u32, work: &LayerWork) -> Point {
    Point {
        what,
        size: key_bits as usize,
        kernel: work.form.kernel,
        nanoseconds: work.seconds * 1e9,
        rate: work.words() / work.seconds / 1e9,
        intensity: work.words() / work.bytes as f64,
        filled: (work.products + work.squares) as f64 / work.room as f64,
    }
}
