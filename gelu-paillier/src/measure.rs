//! How fast the arithmetic is on this machine, beside what it could be.
//!
//! All rates of a size are sampled in turn, in short runs, so that they see the same machine; each
//! is the median of its samples. Every product is checked between the kernels before it is timed.
//! [`layer()`] counts what a whole layer asks of the kernel.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crypto_bigint::BoxedUint;
use gelu_core::error::ApiMisuse;
use gelu_core::stats::median;
use gelu_core::{AdditiveHE, Plaintext, Result, SlotShape};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;

use crate::kernel::{Choice, Issue, LANES, Line};
use crate::ring::{Digits, Ring};
use crate::{Ciphertext, Noise, Paillier, SecretKey};

mod layer;

pub use layer::{LayerWork, layer};

/// How a kernel holds a residue modulo n², and what a product costs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The kernel.
    pub kernel: &'static str,
    /// Bits of a limb.
    pub radix: u32,
    /// Limbs of half an element, headroom included.
    pub limbs: usize,
    /// Bytes of an element in memory.
    pub element_bytes: usize,
}

impl Form {
    fn of(ring: &Ring) -> Self {
        Self {
            kernel: ring.kernel().name(),
            radix: ring.kernel().radix(),
            limbs: ring.kernel().limbs(),
            element_bytes: size_of::<Line>() * ring.stride(),
        }
    }

    /// What a product of two elements multiplies, in products of two 64-bit words:
    /// 5·limbs² products of limbs, each worth (radix / 64)² of them.
    pub fn words_a_product(&self) -> f64 {
        5.0 * self.words_a_sweep()
    }

    /// The same for a square: 4·limbs² products of limbs.
    pub fn words_a_square(&self) -> f64 {
        4.0 * self.words_a_sweep()
    }

    fn words_a_sweep(&self) -> f64 {
        let words = self.limbs as f64 * f64::from(self.radix) / 64.0;
        words * words
    }
}

/// Times of one product modulo n², on one core.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTimes {
    /// Bits of n.
    pub bits: u32,
    /// The kernel that is used on this machine.
    pub kernel: &'static str,
    /// Its elements.
    pub form: Form,
    /// Those of the portable kernel.
    pub portable_form: Form,
    /// Nanoseconds of a product in a full batch: operands in memory, result in memory.
    pub product: f64,
    /// Nanoseconds of a square in a long chain of squares, full batch.
    pub square: f64,
    /// Nanoseconds of a product of the portable kernel.
    pub portable_product: f64,
    /// Nanoseconds of a square of the portable kernel.
    pub portable_square: f64,
    /// What the kernel's multiplications take at least, at the rate at which this machine issues
    /// their instructions when nothing stands in the way; `None` for the portable kernel.
    pub product_at_issue_rate: Option<f64>,
    /// What the portable kernel's multiplications of words take at least, at the rate at which
    /// compiled Rust does them on this machine in eight independent chains.
    pub portable_product_at_issue_rate: f64,
}

impl KernelTimes {
    /// How many times as fast as the portable kernel.
    pub fn speedup(&self) -> f64 {
        self.portable_product / self.product
    }

    /// Part of the issue rate that is reached.
    pub fn utilization(&self) -> Option<f64> {
        self.product_at_issue_rate.map(|least| least / self.product)
    }
}

/// Measures products modulo the square of a random n of `bits` bits for about `budget`.
///
/// `None` for a size that this crate was not built for.
///
/// # Panics
/// When the kernels disagree.
pub fn kernel_times(bits: u32, budget: Duration, rng: &mut dyn CryptoRng) -> Option<KernelTimes> {
    let mut words = vec![0u64; bits as usize / 64];
    words.iter_mut().for_each(|word| *word = rng.next_u64());
    *words.first_mut()? |= 1;
    *words.last_mut()? |= 1 << 63;
    let n = BoxedUint::from_words(words);
    let best = Ring::new(&[&n], Choice::Best)?;
    let plain = Ring::new(&[&n], Choice::Portable)?;
    let mut draw = || {
        let mut digit = || {
            let bytes: Vec<u8> = (0..bits / 8).map(|_| rng.next_u32().to_le_bytes()[0]).collect();
            BoxedUint::from_le_slice(&bytes, bits)
                .expect("as many bytes")
                .rem_vartime(&n.to_nz().expect("odd"))
        };
        Digits { low: digit(), high: digit() }
    };
    let (a, b): (Vec<_>, Vec<_>) = (0..64).map(|_| (draw(), draw())).unzip();
    let operands = |ring: &Ring| (ring.import(&a), ring.import(&b));
    let (best_a, best_b) = operands(&best);
    let (plain_a, plain_b) = operands(&plain);
    let product = best.export(&best.multiply(&best_a.refs(), &best_b.refs()).refs());
    let expected = plain.export(&plain.multiply(&plain_a.refs(), &plain_b.refs()).refs());
    assert_eq!(product, expected, "the kernels disagree");

    let mut samples = [const { Vec::new() }; 6];
    let end = Instant::now() + budget;
    while samples[0].len() < 5 || Instant::now() < end {
        let run = |ring: &Ring, a: &[&[Line]], squarings, b: Option<&[&[Line]]>, times: u32| {
            let mut out = vec![Line::default(); LANES * ring.stride()];
            let start = Instant::now();
            for i in 0..times as usize {
                let at = LANES * (i % 8);
                let b = b.map(|b| &b[at..at + LANES]);
                ring.kernel().run(&a[at..at + LANES], squarings, b, &mut out);
                black_box(&mut out);
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(times) / LANES as f64
        };
        let (xa, xb) = (best_a.refs(), best_b.refs());
        let (ya, yb) = (plain_a.refs(), plain_b.refs());
        samples[0].push(run(&best, &xa, 0, Some(&xb), 64));
        samples[1].push(run(&best, &xa, 64, None, 1) / 64.0);
        samples[2].push(run(&plain, &ya, 0, Some(&yb), 8));
        samples[3].push(run(&plain, &ya, 8, None, 1) / 8.0);
        samples[4].extend(best.kernel().issue().map(|issue| product_at_issue_rate(&issue)));
        samples[5].push(multiplier_time() * Form::of(&plain).words_a_product());
    }
    let [product, square, portable_product, portable_square, issue, multiplier] =
        samples.map(median);
    Some(KernelTimes {
        bits,
        kernel: best.kernel().name(),
        form: Form::of(&best),
        portable_form: Form::of(&plain),
        product: product?,
        square: square?,
        portable_product: portable_product?,
        portable_square: portable_square?,
        product_at_issue_rate: issue,
        portable_product_at_issue_rate: multiplier?,
    })
}

/// Microseconds of an operation of the scheme on a batch, for each item of it, on one core.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationTime {
    /// What is done.
    pub name: &'static str,
    /// Microseconds of one.
    pub microseconds: f64,
}

impl OperationTime {
    /// How many a second.
    pub fn rate(&self) -> f64 {
        1e6 / self.microseconds
    }
}

/// Times encryption, decryption and sealing under `secret` in batches of `batch`, each for about
/// `budget`, with tables built before. Every ciphertext is decrypted and checked first.
///
/// # Errors
/// What the scheme says of a batch of nothing, or not at all.
///
/// # Panics
/// When a decryption is wrong.
pub fn operation_times(
    secret: &SecretKey,
    batch: usize,
    budget: Duration,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<OperationTime>> {
    let public = secret.public_key();
    let shape = SlotShape { bits: 32, count: 4 };
    let row = |i: usize| Plaintext::new(32, vec![i128::try_from(i).unwrap_or(0), -1, 0, 1]);
    let rows: Vec<_> = (0..batch).map(row).collect::<Result<_>>()?;
    let shaped = |ciphertexts: Vec<Ciphertext>| -> Vec<(Ciphertext, SlotShape)> {
        ciphertexts.into_iter().map(|c| (c, shape)).collect()
    };
    let encrypted = shaped(secret.encrypt_many(&rows, rng)?);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|why| ApiMisuse::configuration("a thread", why.to_string()))?;

    type Maker<'a> = &'a (dyn Fn(&mut ChaCha20Rng) -> Result<Vec<Ciphertext>> + Sync);
    let owner = |rng: &mut ChaCha20Rng| secret.encrypt_many(&rows, rng);
    let other = |noise| {
        let rows = &rows;
        move |rng: &mut ChaCha20Rng| public.encrypt_with(noise, rows, rng)
    };
    let seal =
        |rng: &mut ChaCha20Rng| Ok(public.rerandomize_with(Noise::Statistical, &encrypted, rng));
    let (half, fast) = (other(Noise::HalfExponent), other(Noise::FastExponent));
    let uniform = other(Noise::Uniform);
    let makers: [(&'static str, Maker<'_>); 5] = [
        ("encrypt as owner", &owner),
        ("encrypt, half-width exponents", &half),
        ("encrypt, fast exponents", &fast),
        ("encrypt, uniform noise", &uniform),
        ("seal", &seal),
    ];
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    pool.install(|| {
        let rng = &mut ChaCha20Rng::from_seed(seed);
        public.prepare_seals();
        let mut times = Vec::new();
        for (name, make) in makers {
            let made = shaped(make(rng)?);
            let back: Vec<_> = Paillier::decrypt_many(secret, &made)?;
            assert_eq!(back, rows, "{name}");
            times.push(time(name, batch, budget, || make(rng).map(drop))?);
        }
        let decrypt = || Paillier::decrypt_many(secret, &encrypted).map(drop);
        times.push(time("decrypt", batch, budget, decrypt)?);
        Ok(times)
    })
}

fn time(
    name: &'static str,
    batch: usize,
    budget: Duration,
    mut run: impl FnMut() -> Result<()>,
) -> Result<OperationTime> {
    let mut samples = Vec::new();
    let end = Instant::now() + budget;
    while samples.len() < 3 || Instant::now() < end {
        let start = Instant::now();
        run()?;
        samples.push(start.elapsed().as_secs_f64() * 1e6 / batch as f64);
    }
    Ok(OperationTime { name, microseconds: median(samples).expect("three samples") })
}

/// Nanoseconds of the multiplications of one product when nothing stands in their way.
fn product_at_issue_rate(issue: &Issue) -> f64 {
    const ROUNDS: u32 = 10_000;
    let start = Instant::now();
    (issue.run)(ROUNDS);
    let one = start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS) / issue.a_round as f64;
    one * issue.a_product as f64 / LANES as f64
}

/// Nanoseconds of one product of two 64-bit words when only the multiplier is in its way.
fn multiplier_time() -> f64 {
    const ROUNDS: u32 = 5_000;
    let mut chains: [u64; 8] = black_box([3, 5, 7, 11, 13, 17, 19, 23]);
    let factor: u64 = black_box(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            let wide = u128::from(*chain) * u128::from(factor);
            #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
            {
                *chain = (wide as u64) ^ ((wide >> 64) as u64);
            }
        }
    }
    black_box(chains);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(8 * ROUNDS)
}
