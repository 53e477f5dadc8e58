//! What each operation of the scheme takes, on one core.
//!
//! `cargo run --release -p gelu-bgn --example measure` prints a table of processor time, which other
//! work on the machine changes little.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use gelu_bgn::{Ciphertext, Decoder, G1, G2, Product, SecretKey};
use rand::{SeedableRng, rngs::ChaCha20Rng};

fn main() -> gelu_core::Result<()> {
    // One core, whatever the machine has.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = SecretKey::generate(rng);
    let public = secret.public_key();
    let start = now();
    let decoder = Decoder::new(20, 20)?;
    println!("{:<44}{:>10.2} s", "decoding table of 2^20 entries", now() - start);

    let (a, b) = (public.encrypt::<G1>(123, rng), public.encrypt::<G2>(-456, rng));
    let product = public.mul(&a, &b);
    assert_eq!(secret.decrypt_product(&product, decoder)?, -123 * 456);

    row("encrypt in G1", || public.encrypt::<G1>(123, rng));
    row("encrypt in G1, by the owner", || secret.encrypt::<G1>(123, rng));
    row("encrypt in G2", || public.encrypt::<G2>(123, rng));
    row("encrypt in G2, by the owner", || secret.encrypt::<G2>(123, rng));
    row("rerandomize in G1", || public.rerandomize(&a, rng));
    row("seal a product", || public.seal(&product, rng));
    row("add in G1", || public.add(&a, &a));
    row("add in G2", || public.add(&b, &b));
    row("add products", || public.add_products(&product, &product));
    row("mul_plain by 8 bits in G1", || public.mul_plain(&a, -115));
    row("mul_plain by 8 bits in G2", || public.mul_plain(&b, -115));
    row("mul_plain by 8 bits, product", || public.mul_product_plain(&product, -115));
    row("multiply (four pairings)", || public.mul(&a, &b));
    let many: Vec<_> = (0..64).map(|_| (&a, &b)).collect();
    row("scalar product of 64 (256 Miller loops)", || public.scalar_product(&many));
    let terms: Vec<_> = (0..64).map(|k| (k * 37 % 256 - 128, &a)).collect();
    row("linear combination of 64, 8 bits, in G1", || public.linear_combination(&terms));
    row("decrypt level 1 in G1, no giant step", || secret.decrypt(&a, decoder));
    row("decrypt level 1 in G2, no giant step", || secret.decrypt(&b, decoder));
    row("decrypt level 2, no giant step", || secret.decrypt_product(&product, decoder));
    for bits in [30, 36] {
        let (decoder, edge) = (decoder.with_range(bits)?, (1 << (bits - 1)) - 1);
        let product = public.trivial_product(edge);
        let name = format!("decrypt level 2, {bits} bits at worst");
        row(&name, || secret.decrypt_product(&product, decoder));
    }

    let mut bytes = Vec::new();
    public.seal(&product, rng).write(&mut bytes);
    row("read a product from bytes", || Product::read_many(&bytes, 1));
    let mut bytes = Vec::new();
    a.write(&mut bytes);
    row("read a ciphertext in G1 from bytes", || Ciphertext::<G1>::read_many(&bytes, 1));
    let mut bytes = Vec::new();
    b.write(&mut bytes);
    row("read a ciphertext in G2 from bytes", || Ciphertext::<G2>::read_many(&bytes, 1));
    Ok(())
}

/// The mean over half a second.
fn row<T>(name: &str, mut call: impl FnMut() -> T) {
    let (start, mut calls, mut took) = (now(), 0u32, 0.0);
    let mut batch = 1;
    while took < 0.5 {
        (0..batch).for_each(|_| drop(std::hint::black_box(call())));
        (calls, took) = (calls + batch, now() - start);
        // Reading the clock takes as long as many additions: fewer readings for short calls.
        if took < 0.05 {
            batch *= 2;
        }
    }
    println!("{name:<44}{:>12.2?}", Duration::from_secs_f64(took / f64::from(calls)));
}

/// Seconds that this process has spent on a processor, by hundredths, where the kernel tells (Linux);
/// otherwise those of the clock.
fn now() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let processor = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        Some((ticks()? + ticks()?) / 100.0)
    };
    processor().unwrap_or_else(|| START.elapsed().as_secs_f64())
}
