//! Our arithmetic beside other people's, in one process and one run, on one core:
//!
//! ```text
//! cargo bench -p gelu-bench --bench peers                    crypto-bigint, python-paillier
//! cargo bench -p gelu-bench --bench peers --features gmp     GMP as well (needs m4, make and cc)
//! ```
//!
//! python-paillier comes from the package index into a virtual environment in the target folder;
//! `GELU_PHE_PYTHON` names a python that has `phe` and `gmpy2` already. Where there is none, that
//! part says SKIPPED and why. Answers are checked before they are timed.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, ConcatenatingMul, Odd, Resize};
use gelu_core::Cryptosystem;
use gelu_core::linear::{Tap, Taps};
use gelu_core::slots::{AdditiveHE, Matrix, Plaintext, SlotShape};
use gelu_paillier::{Paillier, measure};
use rand::rngs::ChaCha20Rng;
use rand::{Rng, RngExt, SeedableRng};

fn main() {
    // `cargo test` runs benches too, with --test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    for bits in [2048, 3072] {
        products(bits, rng);
    }
    dot_products(rng);
}

/// The median time of `run`, in nanoseconds, sampled for a second.
fn median(mut run: impl FnMut()) -> f64 {
    let mut samples = Vec::new();
    let end = Instant::now() + Duration::from_secs(1);
    while samples.len() < 5 || Instant::now() < end {
        let start = Instant::now();
        run();
        samples.push(start.elapsed().as_secs_f64() * 1e9);
    }
    gelu_core::stats::median(samples).expect("five samples at least")
}

fn random(bits: u32, rng: &mut ChaCha20Rng) -> BoxedUint {
    let mut bytes = vec![0; bits as usize / 8];
    rng.fill_bytes(&mut bytes);
    BoxedUint::from_be_slice(&bytes, bits).expect("as many bytes")
}

/// One product modulo n², by us and by the libraries.
fn products(bits: u32, rng: &mut ChaCha20Rng) {
    println!("\nProduct modulo n², n of {bits} bits, nanoseconds");
    let ours = measure::kernel_times(bits, Duration::from_secs(2), rng).expect("a size of ours");
    let row = |name: &str, ns: f64| {
        println!("  {name:44} {ns:8.0}   {:5.2} × ours", ns / ours.product);
    };
    row(&format!("gelu, {}, in batches", ours.kernel), ours.product);
    row("gelu, portable", ours.portable_product);
    if let (Some(least), Some(part)) = (ours.product_at_issue_rate, ours.utilization()) {
        row(&format!("(issue rate of its multiplications; reached {:.0} %)", 100.0 * part), least);
    }

    let n = random(bits, rng).bitor(&BoxedUint::one_with_precision(bits));
    let n2 = Odd::new(n.concatenating_mul(&n)).expect("the square of an odd number");
    let params = BoxedMontyParams::new_vartime(n2.clone());
    let mut draw = || random(2 * bits, rng).rem_vartime(n2.as_nz_ref()).resize_unchecked(2 * bits);
    let (a, b) = (draw(), draw());
    let (x, y) = (BoxedMontyForm::new(a.clone(), &params), BoxedMontyForm::new(b.clone(), &params));
    let expected = a.concatenating_mul(&b).rem_vartime(&n2.as_nz_ref().clone().resize(4 * bits));
    assert_eq!(x.mul(&y).retrieve(), expected.resize_unchecked(2 * bits), "crypto-bigint");
    let each = median(|| (0..64).for_each(|_| drop(black_box(x.mul(black_box(&y)))))) / 64.0;
    row("crypto-bigint 0.7, Montgomery form", each);
    #[cfg(feature = "gmp")]
    gmp::products(&a, &b, n2.as_ref(), row);
    #[cfg(not(feature = "gmp"))]
    println!("  (GMP through rug: add --features gmp)");
}

#[cfg(feature = "gmp")]
mod gmp {
    use super::*;
    use rug::Integer;
    use rug::integer::Order;

    pub(super) fn products(a: &BoxedUint, b: &BoxedUint, n2: &BoxedUint, row: impl Fn(&str, f64)) {
        let integer = |x: &BoxedUint| Integer::from_digits(&x.to_be_bytes(), Order::Msf);
        let (a, b, n2) = (integer(a), integer(b), integer(n2));
        let mut product = Integer::with_capacity(2 * n2.significant_bits() as usize);
        let mut rest = Integer::with_capacity(n2.significant_bits() as usize);
        use rug::Assign;
        let each = median(|| {
            for _ in 0..64 {
                product.assign(black_box(&a) * black_box(&b));
                rest.assign(&product % &n2);
            }
        }) / 64.0;
        assert_eq!(rest, Integer::from(&a * &b) % &n2);
        row("GMP through rug, multiplication and remainder", each);
        let each = median(|| {
            for _ in 0..64 {
                product.assign(black_box(&a).square_ref());
                rest.assign(&product % &n2);
            }
        }) / 64.0;
        row("GMP through rug, square and remainder", each);
    }
}

/// A dense layer's encrypted dot products, per multiply-accumulate.
fn dot_products(rng: &mut ChaCha20Rng) {
    println!("\nEncrypted dot products over 784 inputs, 8-bit signed weights, 2048 bits, one core");
    let ours = layer(300, rng);
    println!("  gelu, 300 outputs: {ours:36.3} µs a multiply-accumulate");
    println!("  gelu, 1 output: {:39.3} µs", layer(1, rng));
    match python() {
        Ok(theirs) => println!(
            "  python-paillier (phe and gmpy2): {theirs:22.3} µs\n  gelu is {:.0} times as fast",
            theirs / ours
        ),
        Err(why) => println!("  SKIPPED: python-paillier ({why})"),
    }
}

/// Microseconds of one multiply-accumulate of ours.
fn layer(outputs: u32, rng: &mut ChaCha20Rng) -> f64 {
    const INPUTS: u32 = 784;
    let secret = Paillier::keygen(2048, rng).expect("an offered size");
    let public = secret.public_key();
    let shape = SlotShape { bits: 40, count: 1 };
    let x: Vec<i128> = (0..INPUTS).map(|_| rng.random_range(0..256)).collect();
    let weights: Vec<i128> = (0..INPUTS * outputs).map(|_| rng.random_range(-128..128)).collect();
    let rows = x.iter().map(|&v| Plaintext::new(shape.bits, vec![v]).expect("it fits"));
    let inputs = Paillier::encrypt_many(&secret, &rows.collect::<Vec<_>>(), rng).expect("they fit");
    let tap = |o: u32, i: u32| Tap { source: i, weight: o * INPUTS + i };
    let taps = (0..outputs).map(|o| (0..INPUTS).map(|i| tap(o, i)).collect::<Vec<_>>());
    let matrix = Matrix { taps: Taps::from_rows(taps), entries: weights.clone() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| {
        let run = || Paillier::matvec(public, &matrix, &inputs).expect("a layer");
        for (o, sum) in run().iter().enumerate() {
            let row = &weights[o * INPUTS as usize..][..INPUTS as usize];
            let expected: i128 = row.iter().zip(&x).map(|(w, x)| w * x).sum();
            let got = Paillier::decrypt(&secret, sum, shape).expect("a sum");
            assert_eq!(got.values(), [expected], "output {o}");
        }
        median(|| drop(black_box(run()))) / 1e3 / f64::from(INPUTS * outputs)
    })
}

/// What its users write: a sum of EncryptedNumber times int.
const DOT_PRODUCT: &str = r"
import random, time, phe
assert phe.util.HAVE_GMP, 'gmpy2 is missing'
public, private = phe.generate_paillier_keypair(n_length=2048)
x = [random.randrange(256) for _ in range(784)]
w = [random.randrange(-128, 128) for _ in range(784)]
c = [public.encrypt(v) for v in x]
times = []
for _ in range(5):
    start = time.process_time()
    total = c[0] * w[0]
    for a, b in zip(c[1:], w[1:]):
        total = total + a * b
    times.append(time.process_time() - start)
assert private.decrypt(total) == sum(a * b for a, b in zip(x, w))
print(min(times) / 784 * 1e6)
";

/// Microseconds of one multiply-accumulate of python-paillier, the best of five.
fn python() -> Result<f64, String> {
    let run = |command: &mut Command| -> Result<String, String> {
        let out = command.output().map_err(|why| format!("{command:?}: {why}"))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(said.lines().last().unwrap_or("no reason given").to_owned());
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let python = match std::env::var_os("GELU_PHE_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => {
            let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("peers");
            let python = venv.join("bin").join("python");
            if !python.exists() {
                run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            }
            let install = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
            let patience = ["--timeout", "20", "--retries", "1"];
            let packages = ["phe==1.5.0", "gmpy2==2.2.1"];
            run(Command::new(&python).args(install).args(patience).args(packages))?;
            python
        }
    };
    run(Command::new(python).args(["-c", DOT_PRODUCT]))?
        .parse()
        .map_err(|_| "no number came back".into())
}
