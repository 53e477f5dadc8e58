//! How long operations take, and as how many transforms.
//!
//! ```sh
//! cargo run --release -p gelu-ckks --example operations
//! ```
//!
//! `--json` prints a line for each set that other libraries are compared at (`gelu-bench/peers/ckks`).
//!
//! One thread, at the top level of each set. Every answer is decrypted and checked before anything is timed. The shortest of
//! many times counts; beside it stands how many times as long that is as the transforms it consists of would take alone, by
//! the shortest time of a transform in the same process: what is left is products, conversions and memory.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use gelu_ckks::{
    Chain, Ciphertext, Complex64, EvaluationKeys, KeyKind, LinearMap, Parameters, Plaintext,
    SecretKey,
};
use gelu_ring::{Basis, sample};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

const DIAGONALS: usize = 64;

/// 46 + 3·40 + 48 bits: wider and fewer primes than the named sets of this degree, as many programs choose them.
const N13_LEVELS3: Chain =
    Chain { degree: 1 << 13, first: 46, scale: (40, 3), special: (48, 1), digits: 4 };

fn main() {
    if std::env::args().any(|argument| argument == "--json") {
        for chain in [N13_LEVELS3, Chain::N13_LEVELS4, Chain::N14_LEVELS7] {
            let [rotate, .., multiply, _, diagonals] = measure(&chain).milliseconds;
            println!(
                "{{\"peer\": \"gelu-ckks\", \"set\": \"2^{}, {} levels\", \"rotate\": {rotate}, \"multiply\": {multiply}, \"diagonals\": {diagonals}}}",
                chain.degree.ilog2(),
                chain.scale.1,
            );
        }
        return;
    }
    println!(
        "| set | transform, µs | rotate | hoisted | left in PQ | mul, relin, rescale | plain product | {DIAGONALS} diagonals | a key, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for chain in [Chain::N13_LEVELS4, Chain::N13_LEVELS5, Chain::N14_LEVELS7, Chain::N14_LEVELS8] {
        row(&chain);
    }
}

/// What one set takes.
struct Measured {
    /// Of one row of N residues, in microseconds.
    transform: f64,
    /// Rotation, hoisted rotation, left modulo P·Q, product, plain product, diagonals.
    milliseconds: [f64; 6],
    /// Of each as many transforms as it consists of, where that is one number.
    transforms: [usize; 6],
    /// Of a key.
    bytes: usize,
}

fn row(chain: &Chain) {
    let Measured { transform, milliseconds, transforms, bytes } = measure(chain);
    let cell = |(time, count): (f64, usize)| match count {
        0 => format!("{time:.3} ms"),
        _ => format!("{time:.3} ms ({:.2}× {count})", 1e3 * time / (count as f64 * transform)),
    };
    let cells: Vec<_> = milliseconds.into_iter().zip(transforms).map(cell).collect();
    println!(
        "| 2^{}, {} + {}·{} + {}·{} | {transform:.2} | {} | {:.1} |",
        chain.degree.ilog2(),
        chain.first,
        chain.scale.1,
        chain.scale.0,
        chain.special.1,
        chain.special.0,
        cells.join(" | "),
        bytes as f64 / f64::from(1 << 20)
    );
}

fn measure(chain: &Chain) -> Measured {
    let parameters = Parameters::new(chain).expect("a named set");
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = SecretKey::generate(parameters.clone(), rng);
    let level = parameters.top_level();
    let (slots, scale) = (parameters.slots(), parameters.scale());
    let values = |seed: usize| -> Vec<f64> {
        (0..slots).map(|i| ((i * (seed + 7) * 7919) % 1000) as f64 / 500.0 - 1.0).collect()
    };
    let x = values(0);
    let plain = Plaintext::encode(&parameters, &x, &scale, level).expect("small values");
    let a = secret.encrypt(&plain, rng).expect("the same ring").expand();
    let weights: BTreeMap<_, _> = (0..DIAGONALS).map(|d| (d, values(d))).collect();
    let map = LinearMap::encode(&parameters, &weights, level).expect("small values");
    let kinds = map.plan().keys().chain([KeyKind::Relinearization, KeyKind::Rotation(5)]);
    let kinds: Vec<_> = kinds.map(|kind| (kind, level)).collect();
    let keys = secret.evaluation_keys(kinds, rng).expect("a level");
    check(&secret, &a, &x, &plain, &weights, &map, &keys);

    let transform = transform(&parameters);
    let (k, rows) = (chain.special.1, level + 1 + chain.special.1);
    let digits = chain.digits;
    let hoisted = a.hoist();
    let milliseconds = [
        shortest(200, &mut || drop(black_box(a.rotate(5, &keys)))),
        shortest(200, &mut || drop(black_box(hoisted.rotate(5, &keys)))),
        shortest(200, &mut || drop(black_box(hoisted.rotate_extended(5, &keys)))),
        shortest(200, &mut || drop(black_box(a.mul(&a, &keys)))),
        shortest(200, &mut || drop(black_box(a.mul_plain(&plain)))),
        shortest(100, &mut || drop(black_box(map.apply(&a, &keys)))),
    ];
    let products = digits * rows + 2 * (k + 1) + 2 * level;
    let transforms =
        [digits * rows + 2 * rows, 2 * rows, 0, products, 0, map.plan().cost.transforms];
    let bytes = keys.iter().next().map_or(0, gelu_ckks::SwitchingKey::memory);
    Measured { transform, milliseconds, transforms, bytes }
}

/// Decrypts what is about to be timed.
fn check(
    secret: &SecretKey,
    a: &Ciphertext,
    x: &[f64],
    plain: &Plaintext,
    weights: &BTreeMap<usize, Vec<f64>>,
    map: &LinearMap,
    keys: &EvaluationKeys,
) {
    let parameters = a.parameters();
    let n = x.len();
    let equal = |what: &str, got: &Ciphertext, expected: &dyn Fn(usize) -> f64| {
        let got: Vec<Complex64> = secret.decrypt(got).expect("the same ring").danger_slots();
        let off = got.iter().enumerate().map(|(j, y)| (y - expected(j)).norm()).fold(0.0, f64::max);
        let bound = parameters.slot_bound(20.0 * parameters.switching_noise(), &parameters.scale());
        assert!(off < bound, "{what} is off by {off:e}");
    };
    let rotated = |j: usize| x[(j + 5) % n];
    equal("a rotation", &a.rotate(5, keys).expect("a key"), &rotated);
    let hoisted = a.hoist();
    equal("a hoisted rotation", &hoisted.rotate(5, keys).expect("a key"), &rotated);
    let extended = hoisted.rotate_extended(5, keys).expect("a key").reduce();
    equal("an extended rotation", &extended, &rotated);
    equal("a square", &a.mul(a, keys).expect("a key"), &|j| x[j] * x[j]);
    let product = a.mul_plain(plain).expect("the same ring").rescale().expect("a level");
    equal("a plain product", &product, &|j| x[j] * x[j]);
    equal("a map", &map.apply(a, keys).expect("keys"), &|j| {
        weights.iter().map(|(d, w)| w[j] * x[(j + d) % n]).sum()
    });
}

/// The shortest time of a transform, the mean of both directions and all primes, in microseconds.
fn transform(parameters: &Parameters) -> f64 {
    let primes: Vec<_> = parameters.special_primes().chain(parameters.primes()).collect();
    let basis = Basis::new(parameters.degree(), &primes).expect("primes of a set");
    let mut poly = Some(sample::uniform(&basis, &[1; 32], 0));
    let mut shortest = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        let coefficients = poly.take().expect("put back").into_coefficients();
        poly = Some(coefficients.into_evaluations());
        shortest = shortest.min(start.elapsed().as_secs_f64() * 1e6);
    }
    shortest / (2 * primes.len()) as f64
}

/// The shortest of many times, in milliseconds: on a shared machine only that is a property of the code. What takes so long that other
/// programs come between is as long as this thread has run on the mean (Linux).
fn shortest(repeats: usize, f: &mut dyn FnMut()) -> f64 {
    let (began, mut least) = (running(), f64::INFINITY);
    for _ in 0..repeats {
        let start = Instant::now();
        f();
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
    }
    let mean = began.zip(running()).map(|(then, now)| (now - then) / repeats as f64);
    mean.map_or(least, |mean| least.min(mean))
}

/// How many milliseconds this thread has run, where the system says.
fn running() -> Option<f64> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(statistics.split(' ').next()?.parse::<f64>().ok()? / 1e6)
}
