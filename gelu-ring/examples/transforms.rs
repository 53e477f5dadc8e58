//! How long transforms take: ours by the fastest kernel and the portable one, and those of `tfhe-ntt`, side by side.
//!
//! ```sh
//! cargo run --release -p gelu-ring --features tfhe-ntt --example transforms
//! ```
//!
//! One thread. Every contender multiplies two polynomials first, and all products must be equal. Then forward
//! and inverse transforms alternate, one contender after the other, and the shortest of many times
//! counts: on a shared machine only that is a property of the code. `tfhe-ntt` leaves the factor N in
//! its inverse; ours has taken it out.

use std::time::Instant;

use gelu_ring::{Basis, Coefficients, Poly, primes, sample};
use tfhe_ntt::prime64::Plan;

const ROUNDS: usize = 400;

/// Transforms of one contender in a round.
const BURST: usize = 8;

fn main() {
    let q = primes::descending(36, 2048).next().expect("a prime").value();
    let ours = Basis::new(2048, &[q]).expect("a basis").kernel_name();
    println!("forward/inverse in microseconds; how many times as long as ours, {ours}\n");
    println!(
        "|     N | bits |        ours |    portable |       times |    tfhe-ntt |       times |"
    );
    println!(
        "| ----- | ---- | ----------- | ----------- | ----------- | ----------- | ----------- |"
    );
    for degree in (11..=16).map(|log| 1 << log) {
        for bits in [36, 46, 50] {
            row(degree, bits);
        }
    }
}

fn row(degree: usize, bits: u32) {
    let q = primes::descending(bits, degree).next().expect("a prime").value();
    let basis = Basis::new(degree, &[q]).expect("a basis");
    let twin = Basis::portable(degree, &[q]).expect("a basis");
    let plan = Plan::try_new(degree, q).expect("a plan");

    let (a, b) = (random(&basis, 0), random(&basis, 1));
    let product = &a.clone().into_evaluations() * &b.clone().into_evaluations();
    let product = product.into_coefficients();
    let plain = &over(&twin, &a).into_evaluations() * &over(&twin, &b).into_evaluations();
    assert_eq!(plain.into_coefficients(), product, "the portable kernel's product");
    let [mut theirs, mut other] = [&a, &b].map(|poly| aligned(poly.residues(0)));
    let offset = theirs.1;
    let theirs = &mut theirs.0[offset..][..degree];
    let offset = other.1;
    let other = &mut other.0[offset..][..degree];
    plan.fwd(theirs);
    plan.fwd(other);
    plan.mul_assign_normalize(theirs, other);
    plan.inv(theirs);
    assert_eq!(theirs, product.residues(0), "the product of tfhe-ntt");

    let mut times = [[f64::INFINITY; 2]; 3];
    let mut polys = [Some(a.clone()), Some(over(&twin, &a))];
    for _ in 0..ROUNDS {
        for (poly, times) in polys.iter_mut().zip(&mut times) {
            for _ in 0..BURST {
                let coefficients = poly.take().expect("put back");
                let evaluations = timed(&mut times[0], || coefficients.into_evaluations());
                *poly = Some(timed(&mut times[1], || evaluations.into_coefficients()));
            }
        }
        for _ in 0..BURST {
            timed(&mut times[2][0], || plan.fwd(theirs));
            timed(&mut times[2][1], || plan.inv(theirs));
        }
    }
    let [ours, portable, peer] = times;
    let pair = |t: [f64; 2]| format!("{:5.2}/{:5.2}", t[0], t[1]);
    let ratio = |t: [f64; 2]| pair([t[0] / ours[0], t[1] / ours[1]]);
    println!(
        "| {degree:5} | {bits:4} | {} | {} | {} | {} | {} |",
        pair(ours),
        pair(portable),
        ratio(portable),
        pair(peer),
        ratio(peer)
    );
}

/// Lowers `shortest`, in microseconds, to the time that `f` takes.
fn timed<T>(shortest: &mut f64, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = f();
    *shortest = shortest.min(start.elapsed().as_secs_f64() * 1e6);
    value
}

fn random(basis: &Basis, index: u64) -> Poly<Coefficients> {
    sample::uniform(basis, &[1; 32], index).into_coefficients()
}

/// The same polynomial over another basis of the same primes.
fn over(basis: &Basis, poly: &Poly<Coefficients>) -> Poly<Coefficients> {
    Poly::from_bytes(basis, &poly.to_bytes()).expect("the same primes")
}

/// A copy on the boundary of a cache line, and where it begins.
fn aligned(row: &[u64]) -> (Vec<u64>, usize) {
    let mut words = vec![0; row.len() + 8];
    let offset = words.as_ptr().align_offset(64).min(8);
    words[offset..][..row.len()].copy_from_slice(row);
    (words, offset)
}
