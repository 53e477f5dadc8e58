//! CryptoNets on MNIST, batched: 8,192 encrypted images through one convolutional network.
//!
//! ```text
//! cargo run --release -p gelu-fhe-baseline --features leveled --example cryptonets_batched -- \
//!     DATA [--moduli 2] [--epochs 15] [--json]
//! ```
//!
//! Trains Conv-1 (5 filters of 5x5 and stride 2, square, 2x2 mean, square, dense to 10) in the clear
//! with square activations, makes it an integer circuit as narrow as the validation set allows,
//! encrypts 8,192 test images and compares every logit and prediction with the circuit's. Progress
//! goes to stderr, the results to stdout.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gelu_core::linear::{LinearMap, Tap};
use gelu_fhe_baseline::leveled::{Client, Parameters, Server};
use gelu_fhe_baseline::{Circuit, Step};
use gelu_nn::recipe::Schedule;
use gelu_nn::{Activation, Dataset, FloatParameters, FloatTrainer, Recipe, Split, zoo};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::{ChaCha20Rng, SysRng};
use rand_core::UnwrapErr;
use rayon::prelude::*;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SEED: u64 = 1;
/// Training images that choose the integers' widths instead.
const VALIDATION: usize = 5_000;
/// Share of validation images that a narrower circuit may lose.
const TOLERANCE: f64 = 0.001;
/// Filters, and side of their output, of Conv-1.
const FILTERS: usize = 5;
const SIDE: usize = 12;

fn main() -> Result<()> {
    let options = Options::parse()?;
    let (split, _) = Split::load("mnist", &options.data, SEED)?;
    let ordinals: Vec<_> = (0..split.train.len()).collect();
    let (fitting, validation) = ordinals.split_at(split.train.len() - VALIDATION);
    let (train, validation) = (split.train.select(fitting), split.train.select(validation));
    let test = split.test;
    drop(split.train);

    let trainer = train_float(&train, options.epochs)?;
    drop(train);
    let in_float = trainer.accuracy(&test)?;
    let (widths, circuit) = narrowest(&trainer.parameters(), &validation)?;
    drop(validation);
    let expected = circuit.evaluate(&pixels(&test, widths.pixels))?;
    let in_integers = accuracy(&expected, test.labels());
    let needs = circuit.requirements();
    eprintln!("test accuracy: {in_float:.4} in floating point, {in_integers:.4} in integers");
    needs.iter().for_each(|r| eprintln!("  {:<8} {:>3} bits, depth {}", r.step, r.bits, r.depth));

    let parameters = Parameters::for_circuit(&circuit, options.moduli)?;
    eprintln!("{parameters:?}");
    let batch = test.head(parameters.slots());
    let run = run(&circuit, &parameters, &pixels(&batch, widths.pixels))?;
    let expected = circuit.evaluate(&pixels(&batch, widths.pixels))?;
    let wrong = run.logits.iter().zip(&expected).filter(|(a, b)| a != b).count();
    let encrypted = accuracy(&run.logits, batch.labels());
    let disagreements = std::iter::zip(predictions(&run.logits), predictions(&expected))
        .filter(|(a, b)| a != b)
        .count();

    let images = batch.len();
    let seconds = |d: Duration| d.as_secs_f64();
    let server: f64 = run.layers.iter().map(|l| seconds(l.1)).sum();
    let cpu: f64 = run.layers.iter().map(|l| l.2).sum();
    let latency = seconds(run.encrypt) + server + seconds(run.decrypt);
    let report = json!({
        "network": "conv1, square activations",
        "images": images,
        "accuracy": { "float_test": in_float, "integer_test": in_integers, "encrypted_batch": encrypted },
        "different_logits": wrong,
        "different_predictions": disagreements,
        "bits": { "pixels": widths.pixels, "kernels": widths.kernels, "dense": widths.dense,
                  "logits": needs.last().map(|r| r.bits) },
        "parameters": { "degree": parameters.slots(), "log2_q": parameters.modulus_bits(),
                        "q": parameters.moduli(), "security_bits": parameters.security_bits(),
                        "plaintext_moduli": parameters.plaintext_moduli().collect::<Vec<_>>() },
        "seconds": { "key": seconds(run.keygen), "encrypt": seconds(run.encrypt), "server": server,
                     "server_one_core": cpu,
                     "layers": run.layers.iter().map(|(l, d, c)| json!([l, seconds(*d), c])).collect::<Vec<_>>(),
                     "decrypt": seconds(run.decrypt), "batch": latency,
                     "amortised_image": latency / images as f64 },
        "bytes": { "up": run.up, "down": run.down, "key": run.key },
        "peak_rss_bytes": run.peak, "threads": rayon::current_num_threads(),
    });
    if options.json {
        println!("{report:#}");
    } else {
        println!("images                    {images}");
        println!("accuracy, float (test)    {in_float:.4}");
        println!("accuracy, integer (test)  {in_integers:.4}");
        println!("accuracy, encrypted       {encrypted:.4}");
        println!("logits that differ        {wrong} of {}", run.logits.len());
        println!("predictions that differ   {disagreements}");
        println!(
            "N, log2 q, security       {}, {:.1}, {} bits",
            parameters.slots(),
            parameters.modulus_bits(),
            parameters.security_bits()
        );
        println!(
            "plaintext moduli          {:?}",
            parameters.plaintext_moduli().collect::<Vec<_>>()
        );
        println!("key generation            {:.2} s, {} bytes", seconds(run.keygen), run.key);
        println!("encrypt                   {:.2} s, {} bytes up", seconds(run.encrypt), run.up);
        for (layer, time, cpu) in &run.layers {
            println!("  {layer:<23} {:.2} s, {cpu:.2} s of a core", seconds(*time));
        }
        println!("server                    {server:.2} s, {cpu:.2} s of a core");
        println!(
            "decrypt                   {:.2} s, {} bytes down",
            seconds(run.decrypt),
            run.down
        );
        println!(
            "a batch, an image         {latency:.2} s, {:.2} ms",
            1e3 * latency / images as f64
        );
        println!("peak memory               {:.0} MiB", run.peak as f64 / 1_048_576.0);
    }
    match wrong {
        0 => Ok(()),
        _ => Err("the encrypted results are not those of the integer circuit".into()),
    }
}

struct Options {
    data: PathBuf,
    moduli: usize,
    epochs: usize,
    json: bool,
}

impl Options {
    fn parse() -> Result<Self> {
        let usage = "usage: cryptonets_batched DATA [--moduli COUNT] [--epochs COUNT] [--json]";
        let mut arguments = std::env::args().skip(1);
        let data = arguments.next().filter(|a| !a.starts_with('-')).ok_or(usage)?.into();
        let mut options = Self { data, moduli: 2, epochs: 15, json: false };
        while let Some(name) = arguments.next() {
            let mut number =
                || Ok::<_, Box<dyn std::error::Error>>(arguments.next().ok_or(usage)?.parse()?);
            match name.as_str() {
                "--moduli" => options.moduli = number()?,
                "--epochs" => options.epochs = number()?,
                "--json" => options.json = true,
                _ => return Err(usage.into()),
            }
        }
        Ok(options)
    }
}

// ---- Training and quantisation, in the clear.

/// The gradient of z⁴ vanishes near 0 and explodes further out: kernels start twice as large as for
/// other activations, and a rate of 0.05 already diverges (the paper's section 5.1 saw the same).
fn train_float(train: &Dataset, epochs: usize) -> Result<FloatTrainer<f32>> {
    let architecture = zoo::conv1().with_activation(Activation::Square);
    let (schedule, momentum, l2, shift) = (Schedule::Cosine, 0.9, 5e-4, 1);
    let recipe = Recipe { epochs, batch: 64, rate: 0.02, schedule, momentum, l2, shift };
    let mut start =
        FloatParameters::initialise(&architecture, &mut ChaCha20Rng::seed_from_u64(SEED));
    start.layers[0].weights.iter_mut().for_each(|w| *w *= 2.0);
    let mut trainer = FloatTrainer::<f32>::starting_from(&architecture, recipe, &start)?;
    trainer.train(train, SEED, |r| {
        eprintln!("epoch {:>2}: loss {:.4}, accuracy {:.4}", r.epoch + 1, r.loss, r.accuracy);
    })?;
    Ok(trainer)
}

/// Bits of the integers: pixels unsigned, weights with their sign.
#[derive(Debug, Clone, Copy)]
struct Widths {
    pixels: u32,
    kernels: u32,
    dense: u32,
}

/// The circuit with the fewest bits at its end whose validation accuracy is within the tolerance of
/// the widest one's.
fn narrowest(float: &FloatParameters, validation: &Dataset) -> Result<(Widths, Circuit)> {
    let measure = |widths: Widths| {
        let circuit = quantise(float, widths).ok()?;
        let logits = circuit.evaluate(&pixels(validation, widths.pixels)).ok()?;
        let bits = circuit.requirements().last()?.bits;
        Some((bits, accuracy(&logits, validation.labels()), widths, circuit))
    };
    let (.., best, _, _) = measure(Widths { pixels: 8, kernels: 8, dense: 9 }).ok_or("too wide")?;
    eprintln!("validation accuracy of the wide circuit: {best:.4}");
    let all = (0..3 * 4 * 4).into_par_iter().map(|n| Widths {
        pixels: 2 + n % 3,
        kernels: 4 + n / 3 % 4,
        dense: 4 + n / 12,
    });
    let mut found: Vec<_> = all.filter_map(measure).collect();
    found.sort_by_key(|f| f.0);
    for (bits, accuracy, widths, _) in &found {
        eprintln!("  {bits} bits: {accuracy:.4}, {widths:?}");
    }
    let narrow = found.into_iter().find(|f| f.1 >= best - TOLERANCE);
    let (.., widths, circuit) = narrow.ok_or("no narrow circuit is accurate enough")?;
    Ok((widths, circuit))
}

/// Pixels of 0..=1 as integers of 0..2^bits.
fn pixels(data: &Dataset, bits: u32) -> Array2<i128> {
    let most = f64::from((1 << bits) - 1);
    let samples: Vec<_> = (0..data.len()).collect();
    data.batch(&samples).0.mapv(|p| nearest(p * most))
}

/// The circuit of a trained Conv-1.
///
/// A filter f times m makes its activations after both squares m⁴ times as large; so each kernel is
/// scaled to the full range by its own m, and the dense weights of its 36 activations by m⁻⁴. With
/// pixels P times, kernels K times and sums for means of 4, those activations are (P·K)⁴·16 times
/// the real ones, which the last biases share.
fn quantise(float: &FloatParameters, widths: Widths) -> Result<Circuit> {
    let network = zoo::conv1().with_activation(Activation::Square);
    let maps: Vec<_> = network.blocks().iter().map(|b| b.affine().linear_map()).collect();
    let [conv, dense] = float.layers.as_slice() else { return Err("not Conv-1".into()) };
    let most = |values: &[f64]| values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let range = |bits: u32| f64::from((1 << (bits - 1)) - 1);
    let pixel = f64::from((1 << widths.pixels) - 1);

    let kernel = conv.weights.len() / FILTERS;
    let scales: Vec<_> =
        conv.weights.chunks(kernel).map(|k| range(widths.kernels) / most(k)).collect();
    let weights = conv.weights.iter().enumerate().map(|(i, w)| nearest(w * scales[i / kernel]));
    let biases = conv.biases.iter().zip(&scales).map(|(b, s)| nearest(b * s * pixel));
    let first = linear("conv", maps[0].clone(), weights.collect(), biases.collect());

    let inputs = dense.weights.len() / dense.biases.len();
    let activation = |i: usize| 16.0 * (pixel * scales[i % inputs / (inputs / FILTERS)]).powi(4);
    let folded: Vec<_> = dense.weights.iter().enumerate().map(|(i, w)| w / activation(i)).collect();
    let scale = range(widths.dense) / most(&folded);
    let weights = folded.iter().map(|w| nearest(w * scale)).collect();
    let biases = dense.biases.iter().map(|b| nearest(b * scale)).collect();
    let last = linear("dense", maps[1].clone(), weights, biases);
    let bound = (1 << widths.pixels) - 1;
    Ok(Circuit::new(bound, vec![first, Step::Square, pool()?, Step::Square, last])?)
}

/// Sums of 2x2 windows of each of the feature maps.
fn pool() -> Result<Step> {
    let source = |f: usize, y: usize, x: usize| u32::try_from((f * SIDE + y) * SIDE + x);
    let mut rows = Vec::new();
    for at in 0..FILTERS * SIDE * SIDE / 4 {
        let (f, y, x) = (at / (SIDE * SIDE / 4), at / (SIDE / 2) % (SIDE / 2), at % (SIDE / 2));
        let corners = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let tap = |(v, u)| Ok(Tap { source: source(f, 2 * y + v, 2 * x + u)?, weight: 0 });
        rows.push(corners.into_iter().map(tap).collect::<Result<Vec<_>>>()?);
    }
    let map = LinearMap::new(FILTERS * SIDE * SIDE, 1, &rows, vec![0; rows.len()])?;
    Ok(linear("pool", map, vec![1], vec![0]))
}

fn linear(name: &str, map: LinearMap, weights: Vec<i128>, biases: Vec<i128>) -> Step {
    Step::Linear { name: name.into(), map: Box::new(map), weights, biases }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
fn nearest(x: f64) -> i128 {
    x.round() as i128
}

fn predictions(logits: &Array2<i128>) -> Vec<usize> {
    let best = |column: ndarray::ArrayView1<'_, i128>| {
        (0..column.len()).rev().max_by_key(|&class| column[class]).unwrap_or(0)
    };
    logits.columns().into_iter().map(best).collect()
}

fn accuracy(logits: &Array2<i128>, labels: &[usize]) -> f64 {
    let right = std::iter::zip(predictions(logits), labels).filter(|(p, l)| p == *l).count();
    right as f64 / labels.len() as f64
}

// ---- Under encryption.

struct Run {
    logits: Array2<i128>,
    keygen: Duration,
    encrypt: Duration,
    layers: Vec<(String, Duration, f64)>,
    decrypt: Duration,
    key: usize,
    up: usize,
    down: usize,
    peak: u64,
}

/// One batch, from pixels to logits; every message crosses as bytes.
fn run(circuit: &Circuit, parameters: &Parameters, inputs: &Array2<i128>) -> Result<Run> {
    forget_peak();
    let mut rng = UnwrapErr(SysRng);
    let start = Instant::now();
    let client = Client::generate(circuit, parameters, &mut rng);
    let key = client.evaluation_key(&mut rng);
    let keygen = start.elapsed();
    let server = Server::new(circuit, parameters, &key)?;
    server.plan().for_each(|(layer, limbs, margin)| {
        eprintln!("  {layer:<13} ends with {limbs} limbs and {margin:.0} bits above the noise");
    });
    let (mut encrypt, mut decrypt) = (Duration::ZERO, Duration::ZERO);
    let (mut up, mut down) = (0, 0);
    let mut layers: Vec<(String, Duration, f64)> = Vec::new();
    let mut residues = Vec::new();
    for (index, t) in parameters.plaintext_moduli().enumerate() {
        let start = Instant::now();
        let query = client.encrypt(index, inputs.view(), &mut rng)?;
        encrypt += start.elapsed();
        up += query.len();
        eprintln!("t = {t}: encrypted in {:.2} s", start.elapsed().as_secs_f64());
        let mut before = processor_seconds();
        let answer = server.answer(index, &query, |l| {
            let cpu = processor_seconds() - before;
            before += cpu;
            eprintln!("  {:<13} {:.2} s, {cpu:.2} s of a core", l.layer, l.time.as_secs_f64());
            match layers.iter_mut().find(|(layer, ..)| *layer == l.layer) {
                Some((_, time, sum)) => (*time, *sum) = (*time + l.time, *sum + cpu),
                None => layers.push((l.layer.clone(), l.time, cpu)),
            }
        })?;
        down += answer.len();
        let start = Instant::now();
        residues.push(client.decrypt(index, &answer)?);
        decrypt += start.elapsed();
    }
    let start = Instant::now();
    let logits = client.combine(&residues, inputs.ncols())?;
    decrypt += start.elapsed();
    Ok(Run { logits, keygen, encrypt, layers, decrypt, key: key.len(), up, down, peak: peak() })
}

/// Starts the count of the peak again, so that it is not the training's (Linux; elsewhere it stays).
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Processor time of this process so far, in hundredths (Linux; elsewhere 0): what a busy machine
/// does not change.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Peak memory in bytes; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
