//! CryptoNets on TFHE: encrypted images of MNIST through a whole network, one at a time.
//!
//! ```text
//! gelu train --plaintext --network conv1-square --data DATA --out conv1-square.safetensors
//! cargo run --release -p gelu-fhe-baseline --features tfhe --example cryptonets_tfhe -- \
//!     conv1-square.safetensors DATA [--images 20] [--parameters fast]
//! ```
//!
//! The network has the activations that it was trained with. Scales are calibrated on training images,
//! with a quarter more than they reach. The same network in the same integers, in the clear and
//! without noise, is what encrypted predictions are compared with. Progress goes to stderr.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gelu_core::pass::argmax;
use gelu_fhe_baseline::torus::{
    ClientKey, EncryptedInputs, EncryptedScores, EvaluationKey, Function, Layer, Parameters, Plan,
    Progress, Range, precision,
};
use gelu_nn::{Dataset, Link, Model, Split};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::{ChaCha20Rng, SysRng};
use rand_core::UnwrapErr;
use rayon::prelude::*;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SEED: u64 = 1;
/// Training images that set the ranges.
const CALIBRATION: usize = 2_000;
/// What a range has more than they reach.
const MARGIN: f64 = 0.25;
/// The root mean square of a layer's sums must be so many bits above its noise.
const SIGNAL_BITS: u32 = 2;

fn main() -> Result<()> {
    let options = Options::parse()?;
    let model = Model::load(&options.model)?;
    let (split, _) = Split::load("mnist", &options.data, SEED)?;
    let chain = model.architecture().chain(&model.weights())?;
    let calibration = pixels(&split.train, 0..CALIBRATION);
    let range = Range::Calibrated { margin: MARGIN };
    let layers = chain.into_iter().map(layer).collect();
    let plan = Plan::new(options.parameters, layers, calibration.view(), range, SIGNAL_BITS)?;
    for stage in plan.stages() {
        eprintln!(
            "  {:<12} {:>4} sums within ±{:<8.2} weights of {:>2} bits, {:.1} bits of precision",
            stage.name(),
            stage.outputs(),
            stage.bound(),
            stage.weight_bits(),
            stage.precision_bits()
        );
    }

    // The same integers in the clear, on all test images.
    let all = pixels(&split.test, 0..split.test.len());
    let columns: Vec<Vec<f64>> = all.columns().into_iter().map(|c| c.to_vec()).collect();
    let in_integers: Vec<usize> =
        columns.par_iter().map(|x| argmax(plan.evaluate(x).into_iter())).collect();
    let outside = columns.par_iter().filter(|x| plan.check(x).is_err()).count();
    let labels = split.test.labels();
    let in_fixed_point = model.evaluate(&split.test)?.accuracy;
    let quantised = share(&in_integers, labels);
    eprintln!("{in_fixed_point:.4} in fixed point, {quantised:.4} in torus integers without noise");
    eprintln!("{outside} of {} images leave a range", labels.len());

    let rng = &mut ChaCha20Rng::try_from_rng(&mut UnwrapErr(SysRng))?;
    let start = Instant::now();
    let client = ClientKey::generate(options.parameters, rng);
    let server = client.evaluation_key(rng);
    let keygen = start.elapsed();
    eprintln!("keys: {:.1} s", keygen.as_secs_f64());
    let precisions = precision(&client, &server, &plan, &columns[0], rng)?;

    let runs = (0..options.images)
        .map(|i| {
            let run = Run::of(&client, &server, &plan, &columns[i], rng)?;
            eprintln!(
                "  image {i}: {} (a {}) in {:.2} s",
                run.prediction,
                labels[i],
                run.total().as_secs_f64()
            );
            Ok(run)
        })
        .collect::<Result<Vec<_>>>()?;
    let predictions: Vec<_> = runs.iter().map(|run| run.prediction).collect();
    let equal = predictions.iter().zip(&in_integers).filter(|(a, b)| a == b).count();
    let median = |of: &dyn Fn(&Run) -> Duration| {
        let mut seconds: Vec<_> = runs.iter().map(|run| of(run).as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    let layers: Vec<_> = plan
        .stages()
        .iter()
        .zip(&precisions)
        .enumerate()
        .map(|(i, (stage, found))| {
            json!({
                "name": stage.name(),
                "operations": stage.operations(),
                "bootstraps": if stage.has_table() { stage.outputs() } else { 0 },
                "bound": stage.bound(),
                "weight_bits": stage.weight_bits(),
                "predicted_bits_of_this_layer": stage.precision_bits(),
                "measured_bits_all_layers_so_far": found.measured_bits,
                "seconds": median(&|run| run.layers[i]),
            })
        })
        .collect();
    let parameters = &options.parameters;
    let report = json!({
        "system": "CryptoNets on TFHE (tfhe 1.8: linear layers on LWE ciphertexts, one bootstrap an activation)",
        "network": model.architecture().to_string(),
        "parameters": parameters.name(),
        "security_bits": Parameters::SECURITY_BITS,
        "images": options.images,
        "accuracy_encrypted": share(&predictions, labels),
        "accuracy_same_images_quantised": share(&in_integers[..options.images], labels),
        "predictions_equal_quantised": equal,
        "accuracy_quantised_all": quantised,
        "accuracy_fixed_point_all": in_fixed_point,
        "images_outside_a_range_all": outside,
        "median_s": median(&Run::total),
        "median_encrypt_s": median(&|run| run.encrypt),
        "median_decrypt_s": median(&|run| run.decrypt),
        "keygen_s": keygen.as_secs_f64(),
        "bootstraps": plan.bootstraps(),
        "layers": layers,
        "bytes_up": runs[0].up,
        "bytes_down": runs[0].down,
        "client_key_bytes": parameters.client_key_bytes(),
        "evaluation_key_bytes": parameters.evaluation_key_bytes(),
        "expanded_key_bytes": parameters.expanded_key_bytes(),
        "ciphertext_bytes": parameters.ciphertext_bytes(),
        "peak_memory_kib": peak_memory(),
        "threads": rayon::current_num_threads(),
        "load": std::fs::read_to_string("/proc/loadavg").ok(),
    });
    println!("{report:#}");
    Ok(())
}

/// One image, encrypted, evaluated, decrypted.
struct Run {
    encrypt: Duration,
    layers: Vec<Duration>,
    decrypt: Duration,
    up: usize,
    down: usize,
    prediction: usize,
}

impl Run {
    fn of(
        client: &ClientKey,
        server: &EvaluationKey,
        plan: &Plan,
        image: &[f64],
        rng: &mut ChaCha20Rng,
    ) -> Result<Self> {
        let start = Instant::now();
        let up = client.encrypt(plan, image, rng)?.to_bytes();
        let encrypt = start.elapsed();

        let start = Instant::now();
        // The end of each layer with a table; the last layer ends with the evaluation.
        let ends = Mutex::new(Vec::new());
        let progress = |p: Progress<'_>| {
            if p.done == p.of {
                ends.lock().expect("no panic").push(start.elapsed());
            }
        };
        let inputs = EncryptedInputs::from_bytes(&up, plan.inputs())?;
        let scores = server.evaluate(plan, inputs, &progress)?;
        let down = scores.to_bytes();
        let mut ends = ends.into_inner()?;
        ends.push(start.elapsed());
        let starts = [Duration::ZERO].into_iter().chain(ends.iter().copied());
        let layers = ends.iter().zip(starts).map(|(end, start)| *end - start).collect();

        let start = Instant::now();
        let scores = EncryptedScores::from_bytes(plan.parameters(), &down, plan.outputs())?;
        let prediction = argmax(client.decrypt(plan, &scores).into_iter());
        let decrypt = start.elapsed();
        Ok(Self { encrypt, layers, decrypt, up: up.len(), down: down.len(), prediction })
    }

    fn total(&self) -> Duration {
        self.encrypt + self.layers.iter().sum::<Duration>() + self.decrypt
    }
}

fn layer(link: Link) -> Layer {
    let Link { name, inputs, taps, entries, offsets, activation } = link;
    let function = activation.map(|f| Function::new(move |z| f.value(z)));
    Layer { name, inputs, taps, entries, offsets, function }
}

fn pixels(data: &Dataset, samples: std::ops::Range<usize>) -> Array2<f64> {
    data.batch(&samples.collect::<Vec<_>>()).0
}

fn share(predictions: &[usize], labels: &[usize]) -> f64 {
    let right = predictions.iter().zip(labels).filter(|(p, l)| p == l).count();
    right as f64 / predictions.len() as f64
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

struct Options {
    model: PathBuf,
    data: PathBuf,
    images: usize,
    parameters: Parameters,
}

impl Options {
    fn parse() -> Result<Self> {
        let usage = "usage: cryptonets_tfhe MODEL DATA [--images N] [--parameters fast|precise]";
        let mut arguments = std::env::args().skip(1);
        let mut path = || arguments.next().map(PathBuf::from).ok_or(usage);
        let (model, data) = (path()?, path()?);
        let (mut images, mut parameters) = (20, Parameters::fast());
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or(usage)?;
            match (argument.as_str(), value.as_str()) {
                ("--images", count) => images = count.parse::<usize>()?.max(1),
                ("--parameters", "fast") => parameters = Parameters::fast(),
                ("--parameters", "precise") => parameters = Parameters::precise(),
                _ => return Err(usage.into()),
            }
        }
        Ok(Self { model, data, images, parameters })
    }
}
