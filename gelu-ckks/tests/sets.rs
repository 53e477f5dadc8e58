//! The larger sets: digits of several primes, several special primes, keys far below the top.

use std::collections::BTreeMap;

use gelu_ckks::{Chain, Ciphertext, KeyKind, LinearMap, Parameters, Plaintext, SecretKey, Upload};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// The keys are for levels up to `key_level`, and computing begins at `level`.
fn check(chain: &Chain, key_level: usize, level: usize) {
    let parameters = Parameters::new(chain).unwrap();
    let rng = &mut ChaCha20Rng::seed_from_u64(level as u64);
    let secret = SecretKey::generate(parameters.clone(), rng);
    let n = parameters.slots();
    let values = |seed: usize| -> Vec<f64> {
        (0..n).map(|i| ((i * (seed + 7) * 7919) % 1000) as f64 / 500.0 - 1.0).collect()
    };
    let (x, scale) = (values(1), parameters.scale());
    let plain = Plaintext::encode(&parameters, &x, &scale, level).unwrap();
    let upload = secret.encrypt(&plain, rng).unwrap().to_bytes();
    let a = Upload::from_bytes(&parameters, &upload).unwrap().expand();

    let weights: BTreeMap<_, _> = [0, 1, 2, 3, n - 1].map(|d| (d, values(d % 100))).into();
    let map = LinearMap::encode(&parameters, &weights, level).unwrap();
    let kinds = [KeyKind::Relinearization, KeyKind::Conjugation, KeyKind::Rotation(77)];
    let kinds = map.plan().keys().chain(kinds).map(|kind| (kind, key_level));
    let keys = secret.evaluation_keys(kinds.collect::<Vec<_>>(), rng).unwrap();

    let bound = |times: f64| parameters.slot_bound(times * parameters.switching_noise(), &scale);
    let near = |what: &str, got: &Ciphertext, times: f64, expected: &dyn Fn(usize) -> f64| {
        assert_eq!(got.scale(), &scale, "{what}");
        let got = secret.decrypt(got).unwrap().danger_values();
        let off = got.iter().enumerate().map(|(j, y)| (y - expected(j)).abs()).fold(0.0, f64::max);
        assert!(off < bound(times), "{what}, level {level}: {off:e} {:e}", bound(times));
    };
    near("rotation", &a.rotate(77, &keys).unwrap(), 1.2, &|j| x[(j + 77) % n]);
    near("conjugation", &a.conjugate(&keys).unwrap(), 1.2, &|j| x[j]);
    near("map", &map.apply(&a, &keys).unwrap(), 4.0, &|j| {
        weights.iter().map(|(d, w)| w[j] * x[(j + d) % n]).sum()
    });
    let cubic = [0.5, 0.3, 0.0, -0.02];
    near("cubic", &a.evaluate(&cubic, &keys).unwrap(), 4.0, &|j| {
        0.5 + 0.3 * x[j] - 0.02 * x[j].powi(3)
    });
}

#[test]
fn digits_of_two_primes_compute_at_all_kinds_of_levels() {
    // Whole groups, a group cut in two, one group alone.
    check(&Chain::N14_LEVELS7, 7, 7);
    check(&Chain::N14_LEVELS7, 7, 4);
    check(&Chain::N14_LEVELS8, 4, 2);
}

#[test]
fn a_large_ring_computes_at_a_low_level() {
    check(&Chain::N15_LEVELS13, 5, 3);
}

/// On numbers up to 1, below the top of the chain.
#[test]
fn degree_15_takes_four_levels() {
    let parameters = Parameters::new(&Chain::N14_LEVELS8).unwrap();
    let rng = &mut ChaCha20Rng::seed_from_u64(15);
    let secret = SecretKey::generate(parameters.clone(), rng);
    let keys = secret.evaluation_keys([(KeyKind::Relinearization, 5)], rng).unwrap();
    let x: Vec<f64> = (0..parameters.slots()).map(|i| (i % 201) as f64 / 100.0 - 1.0).collect();
    let plain = Plaintext::encode(&parameters, &x, &parameters.scale(), 5).unwrap();
    let a = secret.encrypt(&plain, rng).unwrap().expand();
    // Odd, as sigmoids are, but for the constant.
    let coefficients: Vec<f64> = (0..16)
        .map(|k| {
            if k == 0 {
                0.5
            } else if k % 2 == 1 {
                1.5 * f64::from(-1 + k % 4) / f64::from(k)
            } else {
                0.0
            }
        })
        .collect();
    let y = a.evaluate(&coefficients, &keys).unwrap();
    assert_eq!((y.level(), y.scale()), (1, &parameters.scale()));
    let y = secret.decrypt(&y).unwrap().danger_values();
    let horner = |x: f64| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let off = x.iter().zip(&*y).map(|(x, y)| (horner(*x) - y).abs()).fold(0.0, f64::max);
    let bound = parameters.slot_bound(30.0 * parameters.switching_noise(), &parameters.scale());
    assert!(off < bound, "{off:e} {bound:e}");
}
