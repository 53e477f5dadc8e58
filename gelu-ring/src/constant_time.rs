//! Does time tell secrets? A statistical test of the claims, run by hand:
//!
//! ```text
//! cargo test --release -p gelu-ring constant_time -- --ignored --nocapture
//! ```
//!
//! Reparaz, Balasch and Verbauwhede, *Dude, is my code constant time?* (DATE 2017): an operation is timed on
//! two classes of inputs, one special and one random, in random order; Welch's t between the classes, after
//! cutting off the slowest half of all samples, grows without bound with their number if the means differ.
//! |t| > 10 is a leak; below 4.5 is no evidence of one. A control that must leak shows that the test can see:
//! other work on the machine hits both classes alike, and blinds the test.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_core::{Rng, TryCryptoRng, TryRng};

use crate::basis::Basis;
use crate::digits::Decomposition;
use crate::kernel::Choice;
use crate::matrix::Matrix;
use crate::modulus::Modulus;
use crate::packed::Packed;
use crate::poly::{Evaluations, Poly};
use crate::primes::descending;
use crate::quotient::Division;
use crate::sample::Small;

const N: usize = 1 << 11;

/// |t| above which an operation leaks.
const LEAK: f64 = 10.0;

#[test]
#[ignore = "takes a minute and an idle machine; run by hand"]
fn claims_hold() {
    let mut trials = Trials { rng: ChaCha8Rng::seed_from_u64(1), found: Vec::new() };

    // Where numbers are drawn again is the same in both classes: those of the special one are −1 elsewhere.
    let bytes = |special: bool, rng: &mut ChaCha8Rng| {
        let mut bytes = vec![0; 2 * N];
        rng.fill_bytes(&mut bytes);
        if special {
            // The pairs that are 3 stay, all others become 0.
            bytes.iter_mut().for_each(|byte| *byte = (*byte & *byte >> 1 & 0x55) * 3);
        }
        bytes
    };
    trials.claim("ternary secrets, all -1 or random", 20_000, bytes, |bytes| {
        black_box(Small::ternary(N, &mut Replay(bytes)));
    });
    let bytes = |special: bool, rng: &mut ChaCha8Rng| {
        let mut bytes = vec![0; 8 * N];
        rng.fill_bytes(&mut bytes);
        if special {
            // Written, so that they are not all the system's one page of zeros.
            bytes.fill(0);
        }
        bytes
    };
    trials.claim("errors, zeros or random", 20_000, bytes, |bytes| {
        black_box(Small::error(N, &mut Replay(bytes)));
    });

    for choice in Choice::ALL {
        let primes: Vec<_> = [36, 50]
            .map(|bits| descending(bits, N).next().map(Modulus::value).expect("a prime"))
            .into();
        let basis = Basis::with(N, &primes, choice).expect("a basis");
        let name = |what: &str| format!("{what} ({})", basis.kernel_name());
        let words = |special: bool, rng: &mut ChaCha8Rng| -> Vec<u64> {
            (0..N).map(|_| if special { 0 } else { rng.next_u64() }).collect()
        };
        let polynomial = |special: bool, rng: &mut ChaCha8Rng| {
            Poly::from_unsigned(&basis, &words(special, rng)).into_evaluations()
        };

        trials.claim(&name("reduction, zeros or random"), 20_000, words, |words| {
            black_box(Poly::from_unsigned(&basis, words));
        });
        let signed = |special: bool, rng: &mut ChaCha8Rng| -> Vec<i64> {
            let word = |word: u64| (word >> 1).cast_signed();
            words(false, rng)
                .into_iter()
                .map(|w| if special { -word(w) } else { word(w) })
                .collect()
        };
        trials.claim(&name("signed reduction, all negative or positive"), 10_000, signed, |c| {
            black_box(Poly::from_signed(&basis, c));
        });
        trials.claim(&name("transforms, zeros or random"), 10_000, polynomial, |a| {
            black_box(a.clone().into_coefficients().into_evaluations());
        });
        let factor = polynomial(false, &mut trials.rng);
        trials.claim(&name("products, zeros or random"), 20_000, polynomial, |a| {
            black_box(a * &factor);
        });
        trials.claim(&name("division, zeros or random"), 10_000, polynomial, |a| {
            black_box(a.divide_by_last());
        });
        let by_first = Division::new(&basis, 1..2);
        trials.claim(&name("division by the first, zeros or random"), 10_000, polynomial, |a| {
            black_box(by_first.divide(a.clone()));
        });
        let decomposition = Decomposition::new(&basis, 1, 1);
        let keys = Packed::new(&basis, 2, |_| factor.clone());
        trials.claim(
            &name("digits and their products, zeros or random"),
            10_000,
            polynomial,
            |a| {
                black_box(decomposition.inner_products(&a.part(1..2), &keys));
            },
        );
        let matrix = |special: bool, rng: &mut ChaCha8Rng| -> (Vec<i64>, Poly<Evaluations>) {
            let weights = words(special, rng).into_iter().map(|w| (w >> 14).cast_signed());
            (weights.collect(), factor.clone())
        };
        trials.claim(&name("matrices, zeros or random"), 4_000, matrix, |(weights, a)| {
            let matrix = Matrix::new(&basis, 64, 6, 1, |o, _, out| {
                out.copy_from_slice(&weights[32 * o..][..32]);
            });
            black_box(matrix.product(std::slice::from_ref(a)));
        });

        let control = |special: bool, _: &mut ChaCha8Rng| if special { 10 } else { 11 };
        let leaks = trials.leaks(
            &name("control: 10 or 11 scalings, must leak"),
            10_000,
            control,
            |times| {
                let mut a = factor.clone();
                (0..*times).for_each(|_| a.scale(&[3, 5]));
                black_box(a);
            },
        );
        assert!(leaks, "the test is blind");
    }
    assert!(trials.found.is_empty(), "leaks: {:?}", trials.found);
}

/// Bytes that were made before, for a sampler to draw.
struct Replay<'a>(&'a [u8]);

impl TryRng for Replay<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("samplers draw bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("samplers draw bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let (next, rest) = self.0.split_at(out.len());
        out.copy_from_slice(next);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Replay<'_> {}

struct Trials {
    rng: ChaCha8Rng,
    found: Vec<String>,
}

impl Trials {
    /// That the time of `run` is the same for the special (`true`) and the random class.
    fn claim<T: Clone>(
        &mut self,
        name: &str,
        count: usize,
        prepare: impl FnMut(bool, &mut ChaCha8Rng) -> T,
        run: impl FnMut(&T),
    ) {
        if self.leaks(name, count, prepare, run) {
            self.found.push(name.to_owned());
        }
    }

    /// Whether the times of the classes differ. These operations take microseconds, so where an input lies is seen
    /// in the caches: inputs of both classes are made before, side by side, each is copied to the same
    /// place, and the operation done once before it is timed.
    fn leaks<T: Clone>(
        &mut self,
        name: &str,
        count: usize,
        mut prepare: impl FnMut(bool, &mut ChaCha8Rng) -> T,
        mut run: impl FnMut(&T),
    ) -> bool {
        let pairs: Vec<[T; 2]> =
            (0..64).map(|_| [false, true].map(|special| prepare(special, &mut self.rng))).collect();
        let mut samples = Vec::with_capacity(count);
        for i in 0..count + count / 10 {
            let special = self.rng.next_u32() & 1 == 1;
            let input = black_box(pairs[i % 64][usize::from(special)].clone());
            run(&input);
            let start = Instant::now();
            run(&input);
            let time = start.elapsed().as_secs_f64();
            if i >= count / 10 {
                samples.push((special, 1e9 * time));
            }
        }
        let (t, difference) = welch(&samples);
        println!("{name:58} t = {t:8.2}, {difference:8.3} ns  ({count} samples)");
        t.abs() > LEAK
    }
}

/// Welch's t between two classes of times, the slowest half of all cut off, and the difference of the means.
fn welch(samples: &[(bool, f64)]) -> (f64, f64) {
    let mut all: Vec<f64> = samples.iter().map(|(_, time)| *time).collect();
    all.sort_by(f64::total_cmp);
    let most = all[all.len() / 2];
    let statistics = |class: bool| {
        let times: Vec<f64> =
            samples.iter().filter(|(c, t)| *c == class && *t <= most).map(|(_, t)| *t).collect();
        let n = times.len() as f64;
        let mean = times.iter().sum::<f64>() / n;
        let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    };
    let ((a, va), (b, vb)) = (statistics(true), statistics(false));
    ((a - b) / (va + vb).sqrt(), a - b)
}
