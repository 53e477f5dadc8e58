//! Why the TFHE baseline does not compute on radix integers: what one activation costs on them.
//!
//! ```text
//! cargo run --release -p gelu-fhe-baseline --features integer --example radix_integers
//! ```
//!
//! tfhe's `FheInt8` and `FheInt16` are exact integers in digits of two bits, each digit a ciphertext.
//! Measured: a square, and the sigmoid's Taylor polynomial of fifth order in integers,
//! (240 + 120·z − 10·z³ + z⁵)/480 without its division, modulo the integer's width. Estimated, and
//! labelled so: a whole Conv-1, from one multiply-accumulate, one square and the network's counts.

use std::hint::black_box;
use std::time::Instant;

use gelu_core::stats::median;
use gelu_nn::zoo;
use serde_json::{Value, json};
use tfhe::prelude::*;
use tfhe::{ClientKey, ConfigBuilder, FheInt8, FheInt16, generate_keys, set_server_key};

/// Repetitions; medians are reported.
const RUNS: usize = 5;

fn main() {
    let (client, server) = generate_keys(ConfigBuilder::default().build());
    rayon::broadcast(|_| set_server_key(server.clone()));
    set_server_key(server);
    let narrow = narrow(&client);
    let wide = wide(&client);
    let chain = zoo::conv1().network();
    let operations: u64 = chain.stages().iter().map(|s| s.linear.multiply_accumulates()).sum();
    // Conv-1: 720 sums are squared, pooled by three additions each, and 180 are squared.
    let (squares, pooled) = (720 + 180, 540);
    let of = |unit: &Value, name: &str| unit[name].as_f64().expect("a measured time");
    let seconds = operations as f64 * (of(&wide, "scalar_product_s") + of(&wide, "addition_s"))
        + f64::from(pooled) * of(&wide, "addition_s")
        + f64::from(squares) * of(&wide, "square_s");
    let report = json!({
        "system": "tfhe 1.8 radix integers, default parameters (p_fail 2^-128)",
        "threads": rayon::current_num_threads(),
        "fheint8": narrow,
        "fheint16": wide,
        "estimated_conv1_square_s": seconds,
        "estimate": format!(
            "{operations} scalar products and additions, {pooled} additions, {squares} squares of \
             FheInt16, from the times above; not run"
        ),
        "load": std::fs::read_to_string("/proc/loadavg").ok(),
    });
    println!("{report:#}");
}

/// The median time of `f`, and its result.
fn timed<T>(f: impl Fn() -> T) -> (f64, T) {
    let mut times = Vec::new();
    let mut result = f();
    for _ in 0..RUNS {
        let start = Instant::now();
        result = black_box(f());
        times.push(start.elapsed().as_secs_f64());
    }
    (median(times).expect("some runs"), result)
}

macro_rules! measure {
    ($name:ident, $fhe:ty, $int:ty, $z:expr) => {
        fn $name(client: &ClientKey) -> Value {
            let z: $int = $z;
            let c = <$fhe>::encrypt(z, client);
            let (square, squared) = timed(|| &c * &c);
            let decrypted: $int = squared.decrypt(client);
            assert_eq!(decrypted, z.wrapping_mul(z));
            let (fifth, evaluated) = timed(|| {
                let square = &c * &c;
                let cube = &square * &c;
                let fifth = &cube * &square;
                fifth - cube * 10 as $int + &c * 120 as $int + 240u8 as $int
            });
            let decrypted: $int = evaluated.decrypt(client);
            let (z2, ten, most) = (z.wrapping_mul(z), 10 as $int, 120 as $int);
            let z3 = z2.wrapping_mul(z);
            let expected = z3
                .wrapping_mul(z2)
                .wrapping_sub(z3.wrapping_mul(ten))
                .wrapping_add(z.wrapping_mul(most))
                .wrapping_add(240u8 as $int);
            assert_eq!(decrypted, expected);
            let (scalar, product) = timed(|| &c * -77 as $int);
            let decrypted: $int = product.decrypt(client);
            assert_eq!(decrypted, z.wrapping_mul(-77));
            let (addition, sum) = timed(|| &c + &squared);
            let decrypted: $int = sum.decrypt(client);
            assert_eq!(decrypted, z.wrapping_add(z2));
            json!({
                "square_s": square,
                "fifth_order_s": fifth,
                "scalar_product_s": scalar,
                "addition_s": addition,
            })
        }
    };
}

measure!(narrow, FheInt8, i8, -3);
measure!(wide, FheInt16, i16, -7);
