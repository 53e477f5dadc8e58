//! How long products of matrices and vectors take, against what the processor can issue.
//!
//! ```sh
//! cargo run --release -p gelu-ring --example matrices
//! ```
//!
//! One thread. Each product is first compared with sums of products of whole polynomials. The shortest of several
//! times counts. The limit is that of the multiplications alone: two vector instructions for eight products of
//! residues, or one where weights are constants of few bits.

use std::hint::black_box;
use std::time::Instant;

use gelu_ring::{Basis, Evaluations, Matrix, Poly, primes, sample};

/// Which polynomials, and how many.
struct Case {
    degree: usize,
    /// Primes, and bits of each.
    primes: (usize, u32),
    step: usize,
    outputs: usize,
    inputs: usize,
    /// Bits of a weight, its sign among them.
    bits: u32,
}

const CASES: [Case; 9] = [
    case(4096, (3, 36), 4096, 300, 784, 12),
    case(4096, (3, 36), 4096, 300, 784, 52),
    case(4096, (3, 36), 64, 75, 49, 12),
    case(8192, (4, 46), 1024, 300, 98, 52),
    case(8192, (4, 46), 64, 75, 49, 52),
    case(4096, (3, 50), 64, 75, 49, 52),
    case(4096, (3, 36), 16, 75, 49, 12),
    case(4096, (3, 36), 1, 15, 4, 12),
    case(4096, (3, 36), 1, 1, 2, 12),
];

const fn case(
    degree: usize,
    primes: (usize, u32),
    step: usize,
    outputs: usize,
    inputs: usize,
    bits: u32,
) -> Case {
    Case { degree, primes, step, outputs, inputs, bits }
}

fn main() {
    let limit = limit();
    println!("one instruction of eight products: {:.3} ns\n", 8.0 * limit);
    println!(
        "|     N |  primes | step |  weights | bits |  new, ms | product, ms | ns a product of residues | times the limit |"
    );
    println!(
        "| ----- | ------- | ---- | -------- | ---- | -------- | ----------- | ------------------------ | --------------- |"
    );
    CASES.iter().for_each(|case| row(case, limit));
}

fn row(case: &Case, limit: f64) {
    let Case { degree, primes: (count, width), step, outputs, inputs, bits } = *case;
    let primes: Vec<_> = primes::descending(width, degree).take(count).map(|q| q.value()).collect();
    let basis = Basis::new(degree, &primes).expect("a basis");
    let vector: Vec<_> = (0..inputs as u64).map(|i| sample::uniform(&basis, &[1; 32], i)).collect();
    let fill = |o: usize, i: usize, out: &mut [i64]| weights(bits, o * inputs + i, out);
    let rounds = (8_000_000_000 / (outputs * inputs * degree * count)).clamp(6, 400);
    let mut matrix = None;
    let new = shortest(rounds.min(5), || {
        matrix = Some(Matrix::new(&basis, step, outputs, inputs, fill));
    });
    let matrix = matrix.expect("made");

    let product = matrix.product(&vector);
    for o in [0, outputs / 2, outputs - 1] {
        assert_eq!(product[o], plain(&basis, step, o, &vector, fill), "output {o}");
    }

    let seconds = shortest(rounds, || drop(black_box(matrix.product(&vector))));
    let each = seconds * 1e9 / (outputs * inputs * degree * count) as f64;
    let instructions = if step == degree && bits + width <= 52 { 1.0 } else { 2.0 };
    println!(
        "| {degree:5} | {count} x {width:3} | {step:4} | {:>8} | {bits:4} | {:8.3} | {:11.3} | {each:24.4} | {:15.2} |",
        format!("{outputs}x{inputs}"),
        1e3 * new,
        1e3 * seconds,
        each / (instructions * limit)
    );
}

/// One output, by whole polynomials.
fn plain(
    basis: &Basis,
    step: usize,
    o: usize,
    inputs: &[Poly<Evaluations>],
    fill: impl Fn(usize, usize, &mut [i64]),
) -> Poly<Evaluations> {
    let entry = |i| {
        let (mut coefficients, mut spread) =
            (vec![0; basis.degree() / step], vec![0; basis.degree()]);
        fill(o, i, &mut coefficients);
        spread.iter_mut().step_by(step).zip(coefficients).for_each(|(place, c)| *place = c);
        Poly::from_signed(basis, &spread).into_evaluations()
    };
    let entries: Vec<_> = (0..inputs.len()).map(entry).collect();
    let mut sum = Poly::zero(basis);
    sum.multiply_accumulate(&entries.iter().zip(inputs).collect::<Vec<_>>());
    sum
}

/// Weights of so many bits that follow from their place.
fn weights(bits: u32, place: usize, out: &mut [i64]) {
    let mut word = place as u64 + 1;
    for c in out {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ 0x5555;
        *c = word.cast_signed() >> (64 - bits);
    }
}

/// The least seconds of many.
fn shortest(rounds: usize, mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(time).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds for one of the eight products of a `vpmadd52luq`, with nothing else to do; NaN without AVX-512 IFMA.
fn limit() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma") {
        const TIMES: usize = 10_000;
        // SAFETY: the instructions were just detected.
        let seconds = shortest(2_000, || unsafe { multiplications(TIMES) });
        return seconds * 1e9 / (TIMES * CHAINS * 8) as f64;
    }
    f64::NAN
}

/// Sums in registers, enough to hide the latency.
#[cfg(target_arch = "x86_64")]
const CHAINS: usize = 24;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiplications(times: usize) {
    use core::arch::x86_64::{_mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_set1_epi64};
    let (a, b) = (black_box(_mm512_set1_epi64(3)), black_box(_mm512_set1_epi64(5)));
    let mut sums = [a; CHAINS];
    for _ in 0..times {
        for pair in sums.as_chunks_mut::<2>().0 {
            pair[0] = _mm512_madd52lo_epu64(pair[0], a, b);
            pair[1] = _mm512_madd52hi_epu64(pair[1], a, b);
        }
    }
    black_box(sums);
}
