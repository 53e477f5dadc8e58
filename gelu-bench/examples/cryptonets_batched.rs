//! CryptoNets on MNIST, batched: 8,192 encrypted images through one convolutional network.
//!
//! ```text
//! gelu train --plaintext --network conv1-square --data DATA --out conv1-square.safetensors
//! cargo run --release -p gelu-bench --example cryptonets_batched -- \
//!     conv1-square.safetensors DATA [--moduli 2] [--json]
//! ```
//!
//! Makes the trained Conv-1 with squares an integer circuit as narrow as 5,000 training images allow,
//! encrypts 8,192 test images and compares every score with the circuit's. Progress goes to stderr,
//! the results to stdout.

use std::path::PathBuf;
use std::time::Duration;

use gelu_bench::baselines::batched::{Batch, accuracy, narrowest, pixels, predictions};
use gelu_fhe_baseline::leveled::Parameters;
use gelu_nn::{Dataset, Model};
use rand::rngs::ChaCha20Rng;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Training images that choose the integers' widths.
const VALIDATION: usize = 5_000;

fn main() -> Result<()> {
    let options = Options::parse()?;
    let model = Model::load(&options.model)?;
    let train = Dataset::load("mnist", &options.data)?;
    let validation: Vec<_> = (train.len() - VALIDATION..train.len()).collect();
    let (widths, circuit) = narrowest(&model.weights(), &train.select(&validation))?;
    drop(train);
    let test = Dataset::load("mnist-test", &options.data)?;
    let in_fixed_point = model.evaluate(&test)?.accuracy;
    let expected = circuit.evaluate(&pixels(&test, widths.pixels))?;
    let in_integers = accuracy(&expected, test.labels());
    let needs = circuit.requirements();
    eprintln!("test accuracy: {in_fixed_point:.4} in fixed point, {in_integers:.4} in the circuit");
    needs.iter().for_each(|r| eprintln!("  {:<8} {:>3} bits, depth {}", r.step, r.bits, r.depth));

    let parameters = Parameters::for_circuit(&circuit, options.moduli)?;
    eprintln!("{parameters:?}");
    let images = test.head(parameters.slots());
    let inputs = pixels(&images, widths.pixels);
    forget_peak();
    let mut before = processor_seconds();
    let mut layers: Vec<(String, Duration, f64)> = Vec::new();
    let rng = &mut rand::make_rng::<ChaCha20Rng>();
    let batch = Batch::run(&circuit, &parameters, &inputs, rng, |l| {
        let cpu = processor_seconds() - before;
        before += cpu;
        eprintln!("  {:<13} {:.2} s, {cpu:.2} s of a core", l.layer, l.time.as_secs_f64());
        match layers.iter_mut().find(|(layer, ..)| *layer == l.layer) {
            Some((_, time, sum)) => (*time, *sum) = (*time + l.time, *sum + cpu),
            None => layers.push((l.layer.clone(), l.time, cpu)),
        }
    })?;
    let expected = circuit.evaluate(&inputs)?;
    let wrong = batch.scores.iter().zip(&expected).filter(|(a, b)| a != b).count();
    let disagreements = std::iter::zip(predictions(&batch.scores), predictions(&expected))
        .filter(|(a, b)| a != b)
        .count();

    let seconds = |d: Duration| d.as_secs_f64();
    let total = seconds(batch.total());
    let report = json!({
        "network": "conv1, square activations",
        "images": images.len(),
        "accuracy": { "fixed_point_test": in_fixed_point, "integer_test": in_integers,
                      "encrypted_batch": accuracy(&batch.scores, images.labels()) },
        "different_scores": wrong,
        "different_predictions": disagreements,
        "bits": { "pixels": widths.pixels, "kernels": widths.kernels, "dense": widths.dense,
                  "scores": needs.last().map(|r| r.bits) },
        "parameters": { "degree": parameters.slots(), "log2_q": parameters.modulus_bits(),
                        "q": parameters.moduli(), "security_bits": parameters.security_bits(),
                        "plaintext_moduli": parameters.plaintext_moduli().collect::<Vec<_>>() },
        "seconds": { "key": seconds(batch.keygen), "encrypt": seconds(batch.encrypt),
                     "server": seconds(batch.evaluate), "decrypt": seconds(batch.decrypt),
                     "layers": layers.iter().map(|(l, d, c)| json!([l, seconds(*d), c])).collect::<Vec<_>>(),
                     "batch": total, "amortised_image": total / images.len() as f64 },
        "bytes": { "up": batch.up, "down": batch.down, "key": batch.key },
        "peak_rss_bytes": peak(), "threads": rayon::current_num_threads(),
    });
    if options.json {
        println!("{report:#}");
    } else {
        println!("images                    {}", images.len());
        println!("accuracy, fixed (test)    {in_fixed_point:.4}");
        println!("accuracy, circuit (test)  {in_integers:.4}");
        println!("scores that differ        {wrong} of {}", batch.scores.len());
        println!("predictions that differ   {disagreements}");
        println!("N                         {}", parameters.slots());
        println!("key generation            {:.2} s, {} bytes", seconds(batch.keygen), batch.key);
        println!(
            "encrypt                   {:.2} s, {} bytes up",
            seconds(batch.encrypt),
            batch.up
        );
        for (layer, time, cpu) in &layers {
            println!("  {layer:<23} {:.2} s, {cpu:.2} s of a core", seconds(*time));
        }
        println!("server                    {:.2} s", seconds(batch.evaluate));
        println!(
            "decrypt                   {:.2} s, {} bytes down",
            seconds(batch.decrypt),
            batch.down
        );
        println!(
            "a batch, an image         {total:.2} s, {:.2} ms",
            1e3 * total / images.len() as f64
        );
        println!("peak memory               {:.0} MiB", peak() as f64 / 1_048_576.0);
    }
    match wrong {
        0 => Ok(()),
        _ => Err("the encrypted results are not those of the integer circuit".into()),
    }
}

struct Options {
    model: PathBuf,
    data: PathBuf,
    moduli: usize,
    json: bool,
}

impl Options {
    fn parse() -> Result<Self> {
        let usage = "usage: cryptonets_batched MODEL DATA [--moduli COUNT] [--json]";
        let mut arguments = std::env::args().skip(1);
        let mut path = || arguments.next().filter(|a| !a.starts_with('-')).ok_or(usage);
        let (model, data) = (path()?.into(), path()?.into());
        let mut options = Self { model, data, moduli: 2, json: false };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--moduli" => options.moduli = arguments.next().ok_or(usage)?.parse()?,
                "--json" => options.json = true,
                _ => return Err(usage.into()),
            }
        }
        Ok(options)
    }
}

/// Starts the count of the peak again, so that it is not the data's (Linux; elsewhere it stays).
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
