//! CryptoNets on TFHE: encrypted images of MNIST through a whole network, one at a time.
//!
//! ```text
//! gelu train --plaintext --network conv1-square --data DATA --out conv1-square.safetensors
//! cargo run --release -p gelu-bench --features tfhe --example cryptonets_tfhe -- \
//!     conv1-square.safetensors DATA [--images 20] [--parameters fast]
//! ```
//!
//! The network has the activations that it was trained with. Scales are calibrated on training images,
//! with a quarter more than they reach. The same network in the same integers, in the clear and
//! without noise, is what encrypted predictions are compared with. Progress goes to stderr.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gelu_bench::baselines::bootstrapped::{self, Query, sample};
use gelu_fhe_baseline::torus::{ClientKey, Parameters, precision};
use gelu_nn::{Dataset, Model};
use rand::rngs::ChaCha20Rng;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let options = Options::parse()?;
    let model = Model::load(&options.model)?;
    let (train, test) =
        (Dataset::load("mnist", &options.data)?, Dataset::load("mnist-test", &options.data)?);
    let plan = bootstrapped::plan(&model, &train, options.parameters)?;
    drop(train);
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
    let (in_integers, outside) = bootstrapped::in_the_clear(&plan, &test);
    let labels = test.labels();
    let in_fixed_point = model.evaluate(&test)?.accuracy;
    let quantised = share(&in_integers, labels);
    eprintln!("{in_fixed_point:.4} in fixed point, {quantised:.4} in torus integers without noise");
    eprintln!("{outside} of {} images leave a range", labels.len());

    let rng = &mut rand::make_rng::<ChaCha20Rng>();
    let start = Instant::now();
    let client = ClientKey::generate(options.parameters, rng);
    let server = client.evaluation_key(rng);
    let keygen = start.elapsed();
    eprintln!("keys: {:.1} s", keygen.as_secs_f64());
    let precisions = precision(&client, &server, &plan, &sample(&test, 0), rng)?;

    let runs = (0..options.images)
        .map(|i| {
            let run = Query::run(&client, &server, &plan, &sample(&test, i), rng)?;
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
    let median = |of: &dyn Fn(&Query) -> Duration| {
        gelu_core::stats::median(runs.iter().map(|run| of(run).as_secs_f64()))
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
        "median_s": median(&Query::total),
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
