//! Does time tell secrets? A statistical test of the claims, run by hand:
//!
//! ```text
//! cargo test --release -p gelu-paillier constant_time -- --ignored --nocapture
//! ```
//!
//! Reparaz, Balasch and Verbauwhede, *Dude, is my code constant time?* (DATE 2017): an operation is
//! timed on two classes of inputs, one special and one random, in random order; Welch's t between
//! the classes, after cutting off the slowest part of all samples, grows without bound with their
//! number if the means differ. |t| > 10 is a leak; below 4.5 is no evidence of one. A control that
//! must leak shows that the test can see.
//!
//! What this cannot see: differences far below a nanosecond, other processors, caches shared with
//! an attacker. That tables are read in full is a fact of the code, not of this test.

use std::hint::black_box;
use std::time::Instant;

use crypto_bigint::BoxedUint;
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;

use crate::kernel::{Choice, LANES};
use crate::oracle::{boxed, rng};
use crate::power::{Lookup, power};
use crate::prime_products::PrimeProducts;
use crate::ring::{Digits, Ring};
use crate::{InsecurePaillier, SecretKey};

/// |t| above which an operation leaks.
const LEAK: f64 = 10.0;

/// Welch's t between two classes of times, the slowest tenth of all cut off.
fn welch(samples: &[(bool, f64)]) -> f64 {
    let mut all: Vec<f64> = samples.iter().map(|(_, time)| *time).collect();
    all.sort_by(f64::total_cmp);
    let most = all[all.len() * 9 / 10];
    let statistics = |class: bool| {
        let times: Vec<f64> =
            samples.iter().filter(|(c, t)| *c == class && *t <= most).map(|(_, t)| *t).collect();
        let n = times.len() as f64;
        let mean = times.iter().sum::<f64>() / n;
        let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    };
    let ((a, va), (b, vb)) = (statistics(true), statistics(false));
    (a - b) / (va + vb).sqrt()
}

/// Times `run` on the special (`true`) and the random class. Inputs are made before, and each is
/// copied to the same place before it is timed, so that both classes find the same machine.
fn test<T: Clone>(
    name: &str,
    count: usize,
    rng: &mut ChaCha20Rng,
    mut prepare: impl FnMut(bool, &mut ChaCha20Rng) -> T,
    mut run: impl FnMut(&T),
) -> f64 {
    let pools = [false, true].map(|special| (0..64).map(|_| prepare(special, rng)).collect());
    let pools: [Vec<T>; 2] = pools;
    let mut samples = Vec::with_capacity(count);
    for i in 0..count + count / 10 {
        let special = rng.next_u32() & 1 == 1;
        let input = black_box(pools[usize::from(special)][i % 64].clone());
        let start = Instant::now();
        run(&input);
        let time = start.elapsed().as_secs_f64();
        if i >= count / 10 {
            samples.push((special, time));
        }
    }
    let t = welch(&samples);
    println!("{name:58} t = {t:8.2}  ({count} samples)");
    t
}

fn random(bits: u32, rng: &mut ChaCha20Rng) -> BoxedUint {
    let mut bytes = vec![0; bits as usize / 8];
    rng.fill_bytes(&mut bytes);
    BoxedUint::from_be_slice(&bytes, bits).expect("as many bytes")
}

#[test]
#[ignore = "takes a minute and an idle machine; run by hand"]
fn claims_hold() {
    let rng = &mut rng(1);
    let bits = 1024;
    let secret = SecretKey::insecure_generate(bits, rng).unwrap();
    let public = secret.public_key();
    let n = public.mod_n().value().clone();
    let mut leaks = Vec::new();
    let mut claim = |t: f64, name: &str| {
        if t.abs() > LEAK {
            leaks.push(format!("{name}: {t}"));
        }
    };

    for choice in Choice::all() {
        let ring = Ring::new(&[&n], choice).unwrap();
        let zero = BoxedUint::zero_with_precision(bits);
        let prepare = |special: bool, rng: &mut ChaCha20Rng| {
            let digit = |rng: &mut ChaCha20Rng| match special {
                true => zero.clone(),
                false => random(bits, rng).rem_vartime(&n),
            };
            let digits: Vec<_> =
                (0..8).map(|_| Digits { low: digit(rng), high: digit(rng) }).collect();
            ring.import(&digits)
        };
        let name = format!("product, zeros or random ({})", ring.kernel().name());
        let t = test(&name, 50_000, rng, prepare, |x| {
            black_box(ring.multiply(&x.refs(), &x.refs()));
        });
        claim(t, &name);

        let base = ring.import(&[Digits { low: random(bits - 1, rng), high: zero.clone() }]);
        for (lookup, claimed) in [(Lookup::Scan, true), (Lookup::Direct, false)] {
            let prepare = |special: bool, rng: &mut ChaCha20Rng| match special {
                true => BoxedUint::one_with_precision(bits),
                false => random(bits, rng),
            };
            let name =
                format!("power, exponent 1 or random ({}, {lookup:?})", ring.kernel().name());
            let t = test(&name, 2_000, rng, prepare, |e| {
                black_box(power(&ring, &base.refs(), &[e], bits, lookup));
            });
            if claimed {
                claim(t, &name);
            }
        }
    }

    let (p, q) = secret.primes();
    let orders = [&p, &q].map(|x| x.wrapping_sub(BoxedUint::one()));
    for choice in Choice::all() {
        let ring = Ring::new(&[&p, &q], choice).unwrap();
        let noise = PrimeProducts::new(&ring, orders.each_ref());
        let prepare = |special: bool, rng: &mut ChaCha20Rng| {
            let mut exponents = noise.draw(&mut [&mut *rng]);
            if special {
                exponents.fill([0; LANES]);
            }
            exponents
        };
        let name = format!("noise, exponents 0 or random ({})", ring.kernel().name());
        let t = test(&name, 4_000, rng, prepare, |exponents| {
            black_box(noise.lifts(&ring, exponents, 2));
        });
        claim(t, &name);
    }

    let shape = SlotShape { bits: 60, count: 2 };
    let plaintext = |special: bool, rng: &mut ChaCha20Rng| {
        let value = |rng: &mut ChaCha20Rng| i128::from(rng.next_u32());
        let values = if special { vec![0, 0] } else { vec![value(rng), -value(rng)] };
        Plaintext::new(shape.bits, values).unwrap()
    };
    let encrypt = |special: bool, rng: &mut ChaCha20Rng| {
        let plaintext = plaintext(special, rng);
        (InsecurePaillier::encrypt(public, &plaintext, rng).unwrap(), shape)
    };
    let name = "decryption, of zeros or random";
    let t = test(name, 4_000, rng, encrypt, |pair| {
        black_box(secret.decrypt_all(&[&pair.0]).unwrap());
    });
    claim(t, name);
    let one = public.messages(&[boxed(&0u8.into(), bits).into()]);
    let one = (crate::Ciphertext::new(public, one.get(0)), shape);
    let prepare = |special: bool, rng: &mut ChaCha20Rng| match special {
        true => one.clone(),
        false => encrypt(false, rng),
    };
    let name = "decryption, of the ciphertext 1 or random";
    let t = test(name, 4_000, rng, prepare, |pair| {
        black_box(secret.decrypt_all(&[&pair.0]).unwrap());
    });
    claim(t, name);
    let name = "encryption as owner, zeros or random";
    let mut noise = crate::oracle::rng(9);
    let t = test(name, 4_000, rng, plaintext, |plaintext| {
        let plaintexts = core::slice::from_ref(plaintext);
        black_box(secret.encrypt_many(plaintexts, &mut noise).unwrap());
    });
    claim(t, name);

    let control = |special: bool, _: &mut ChaCha20Rng| if special { 100 } else { 101 };
    let t = test("control: 100 or 101 squares, which must leak", 10_000, rng, control, |times| {
        black_box(public.ring().square(&[one.0.under(public)], *times));
    });
    assert!(t.abs() > LEAK, "the test is blind");
    assert!(leaks.is_empty(), "{leaks:?}");
}
