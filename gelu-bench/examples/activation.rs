//! What one activation costs in every system: the paper's table 1, measured here.
//!
//! ```text
//! cargo run --release -p gelu-bench --features tfhe,leveled --example activation
//! ```
//!
//! One thread computes. "One" is a value by itself, "of many" a value of a batch: 720 activations of
//! Conv-1's first layer for the split protocol, the slots for BFV; TFHE has no batches. Results are
//! checked before they are timed. Communication is a TCP connection on this machine with the bytes
//! that the protocol sends; other networks add their round trip.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gelu_bench::on_one_thread;
use gelu_core::linear::{Tap, Taps};
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_fhe_baseline::leveled::{Polynomial, measure_activation};
use gelu_fhe_baseline::torus::{ClientKey, Function, Layer, Parameters, Plan, Range};
use gelu_nn::Activation;
use gelu_paillier::Paillier;
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RUNS: usize = 21;
/// Slots of Conv-1's first layer in an inference.
const SLOT_BITS: u32 = 30;
/// Its activations.
const LAYER: usize = 720;

fn main() -> Result<()> {
    on_one_thread();
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let mut rows = vec![paper("Square", 90.6), paper("5-th order", 1619.6)];
    rows.push(json!({
        "scheme": "paper: GELU-Net", "communication_ms": 5.0, "crypto_ms": 3.7,
        "activation_ms": 0.2, "total_ms": 8.9,
    }));
    rows.push(split("split protocol, Paillier 2048, one", 1, rng)?);
    rows.push(split("split protocol, Paillier 2048, of many", LAYER, rng)?);
    for f in [Activation::Square, Activation::Taylor5, Activation::Sigmoid] {
        rows.push(bootstrap(f, rng)?);
    }
    for polynomial in [Polynomial::Square, Polynomial::Taylor5] {
        rows.extend(leveled(polynomial, rng)?);
    }
    println!("{:#}", Value::from(rows));
    Ok(())
}

fn paper(scheme: &str, milliseconds: f64) -> Value {
    row(&format!("paper: {scheme}"), 0.0, 0.0, milliseconds / 1e3, None)
}

fn row(
    scheme: &str,
    communication: f64,
    crypto: f64,
    activation: f64,
    note: Option<Value>,
) -> Value {
    json!({
        "scheme": scheme,
        "communication_ms": communication * 1e3,
        "crypto_ms": crypto * 1e3,
        "activation_ms": activation * 1e3,
        "total_ms": (communication + crypto + activation) * 1e3,
        "more": note,
    })
}

/// The median time of `f`.
fn median<T>(runs: usize, mut f: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        std::hint::black_box(f()?);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[runs / 2])
}

/// A round of the split protocol: the server seals weighted sums; the client decrypts them, applies
/// the exact sigmoid, encrypts.
fn split(scheme: &str, count: usize, rng: &mut ChaCha20Rng) -> Result<Value> {
    let secret = Paillier::keygen(2048, rng)?;
    let public = Paillier::public_key(&secret);
    let slots = Paillier::slots(public, SLOT_BITS).min(count);
    let sums: Vec<i128> = (0..count as i128).map(|i| (i * 7919) % (1 << 20) - (1 << 19)).collect();
    let plaintexts = sums
        .chunks(slots)
        .map(|row| Plaintext::new(SLOT_BITS, row.to_vec()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let shapes = plaintexts.iter().map(Plaintext::shape);
    let ciphertexts = Paillier::encrypt_many(&secret, &plaintexts, rng)?;
    let shaped: Vec<(_, SlotShape)> = ciphertexts.into_iter().zip(shapes).collect();
    let sealed = Paillier::rerandomize_many(public, &shaped, rng);
    let received: Vec<_> = sealed.into_iter().zip(shaped.iter().map(|(_, s)| *s)).collect();
    let opened = Paillier::decrypt_many(&secret, &received)?;
    if opened != plaintexts {
        return Err("the round does not return what went in".into());
    }
    let seal = median(RUNS, || Ok(Paillier::rerandomize_many(public, &shaped, rng)))?;
    let decrypt = median(RUNS, || Ok(Paillier::decrypt_many(&secret, &received)?))?;
    let encrypt = median(RUNS, || Ok(Paillier::encrypt_many(&secret, &plaintexts, rng)?))?;
    let activation = median(RUNS, || {
        let scale = f64::from(1 << 16);
        Ok(sums.iter().map(|&s| Activation::Sigmoid.value(s as f64 / scale)).collect::<Vec<_>>())
    })?;
    let bytes = received.len() * Paillier::ciphertext_len(public);
    let communication = round_trip(bytes)?;
    let each = |seconds: f64| seconds / count as f64;
    Ok(row(
        scheme,
        each(communication),
        each(seal + decrypt + encrypt),
        each(activation),
        Some(json!({
            "values": count, "ciphertexts_each_way": received.len(), "bytes_each_way": bytes,
            "seal_ms": each(seal) * 1e3, "decrypt_ms": each(decrypt) * 1e3,
            "encrypt_ms": each(encrypt) * 1e3, "exact": "any function",
        })),
    ))
}

/// So many bytes there and back again, over TCP on this machine.
fn round_trip(bytes: usize) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; bytes];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = vec![7; bytes];
    let time = median(RUNS, || {
        stream.write_all(&buffer)?;
        Ok(stream.read_exact(&mut buffer)?)
    })?;
    drop(stream);
    echo.join().expect("the echo does not panic")?;
    Ok(time)
}

/// One bootstrap of TFHE, for any function: a network of one number and back.
fn bootstrap(f: Activation, rng: &mut ChaCha20Rng) -> Result<Value> {
    let layer = |name: &str, function| Layer {
        name: name.into(),
        inputs: 1,
        taps: Taps::from_rows([[Tap { source: 0, weight: 0 }]]),
        entries: vec![1.0],
        offsets: vec![0.0],
        function,
    };
    let function = Function::new(move |z| f.value(z));
    let layers = vec![layer("activation", Some(function)), layer("out", None)];
    let samples = Array2::from_shape_fn((1, 101), |(_, i)| i as f64 / 50.0 - 1.0);
    let range = Range::Calibrated { margin: 0.25 };
    let plan = Plan::new(Parameters::fast(), layers, samples.view(), range, 2)?;
    let client = ClientKey::generate(*plan.parameters(), rng);
    let server = client.evaluation_key(rng);
    let inputs = client.encrypt(&plan, &[0.6], rng)?;
    let score = client.decrypt(&plan, &server.evaluate(&plan, inputs.clone(), &|_| ())?)[0];
    let error = (score - f.value(0.6)).abs();
    if error > 0.1 {
        return Err(format!("{f:?}(0.6) came out as {score}").into());
    }
    let activation = median(RUNS, || Ok(server.evaluate(&plan, inputs.clone(), &|_| ())?))?;
    let crypto = median(RUNS, || {
        let inputs = client.encrypt(&plan, &[0.6], rng)?;
        std::hint::black_box(inputs.to_bytes());
        Ok(())
    })?;
    let name = format!("TFHE, one bootstrap: {f:?}");
    let more = json!({
        "precision_bits": plan.stages()[0].precision_bits(), "error_here": error,
        "encrypt_ms": crypto * 1e3,
    });
    Ok(row(&name, 0.0, 0.0, activation, Some(more)))
}

/// BFV: all slots at once, and a slot's share.
fn leveled(polynomial: Polynomial, rng: &mut ChaCha20Rng) -> Result<[Value; 2]> {
    let mut costs = (0..5)
        .map(|_| measure_activation(polynomial, 8192, rng))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    costs.sort_by_key(|cost| cost.evaluate);
    let cost = &costs[2];
    let of = |share: f64, name: &str| {
        let more = json!({
            "slots": cost.slots, "modulus_bits": cost.modulus_bits,
            "plaintext_bits": cost.plaintext_bits,
            "encrypt_ms": cost.encrypt.as_secs_f64() * share * 1e3,
            "decrypt_ms": cost.decrypt.as_secs_f64() * share * 1e3,
            "bytes_up": cost.bytes_up, "bytes_down": cost.bytes_down, "key_bytes": cost.key_bytes,
        });
        let seconds = cost.evaluate.as_secs_f64() * share;
        row(&format!("BFV, {name}: {polynomial:?}"), 0.0, 0.0, seconds, Some(more))
    };
    Ok([of(1.0, "one"), of(1.0 / cost.slots as f64, "of many")])
}
