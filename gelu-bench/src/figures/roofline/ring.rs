//! Points of the lattice's kernel: transforms of polynomials.

use std::time::{Duration, Instant};

use gelu_core::stats::median;
use gelu_ring::{Basis, primes, sample};

use super::Point;
use crate::Error;

/// Degrees of the rings, and bits of a prime in them: those of the lattice's keys.
const RINGS: [(usize, u32); 2] = [(4096, 35), (8192, 46)];

/// What a multiplication modulo q is worth in products of words, by a kernel: its instructions in those of Paillier's
/// kernel of the same name, which is the roof.
///
/// | kernel | instructions | a product of limbs there |
/// |---|---|---|
/// | `avx512ifma` | 3 | 2, of 52 bits |
/// | `avx2` | 6 | 5, of 50 bits |
/// | `portable` | 3 products of words | |
fn words(kernel: &str) -> f64 {
    let limb = |bits: f64| (bits / 64.0) * (bits / 64.0);
    match kernel {
        "avx512ifma" => 3.0 / 2.0 * limb(52.0),
        "avx2" => 6.0 / 5.0 * limb(50.0),
        _ => 3.0,
    }
}

/// Transforms there and back, by the best kernel and by the portable one.
///
/// One of N residues has N/2·log₂ N butterflies, each with a multiplication modulo q. It reads and writes N words.
///
/// # Errors
/// [`Error::WrongAnswer`].
pub(super) fn transforms(budget: Duration) -> Result<Vec<Point>, Error> {
    let mut points = Vec::new();
    for (degree, bits) in RINGS {
        let q = primes::descending(bits, degree).next().expect("a prime").value();
        let [best, twin] =
            [Basis::new, Basis::portable].map(|make| make(degree, &[q]).expect("such a ring"));
        let expected = square(&twin);
        let two = best.kernel_name() != twin.kernel_name();
        for basis in [best].into_iter().filter(|_| two).chain([twin]) {
            if square(&basis) != expected {
                return Err(Error::WrongAnswer(format!("a square by {}", basis.kernel_name())));
            }
            let [there, back] = times(&basis, budget);
            let butterflies = (degree / 2 * degree.ilog2() as usize) as f64;
            let words = butterflies * words(basis.kernel_name());
            for (what, nanoseconds) in [("transform", there), ("inverse transform", back)] {
                points.push(Point {
                    what: what.into(),
                    size: degree,
                    kernel: basis.kernel_name(),
                    nanoseconds,
                    rate: words / nanoseconds,
                    intensity: words / (2 * 8 * degree) as f64,
                    filled: 1.0,
                });
            }
        }
    }
    Ok(points)
}

/// The bytes of a random element's square.
fn square(basis: &Basis) -> Vec<u8> {
    let a = sample::uniform(basis, &[1; 32], 0);
    (&a * &a).into_coefficients().to_bytes()
}

/// Median nanoseconds of a transform and of its inverse.
fn times(basis: &Basis, budget: Duration) -> [f64; 2] {
    let begin = Instant::now();
    let mut samples = [Vec::new(), Vec::new()];
    let mut evaluations = Some(sample::uniform(basis, &[1; 32], 0));
    while samples[0].len() < 9 || begin.elapsed() < budget {
        let start = Instant::now();
        let coefficients = evaluations.take().expect("put back").into_coefficients();
        let middle = Instant::now();
        evaluations = Some(coefficients.into_evaluations());
        let spans = [middle.elapsed(), middle - start];
        for (samples, span) in samples.iter_mut().zip(spans) {
            samples.push(span.as_secs_f64() * 1e9);
        }
    }
    samples.map(|samples| median(samples).expect("nine at least"))
}
