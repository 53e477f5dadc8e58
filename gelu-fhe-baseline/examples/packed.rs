//! One image through Conv-1, LeNet-5 and Dense(300) with squares under packed CKKS, on one thread.
//!
//! ```sh
//! cargo run --release -p gelu-fhe-baseline --example packed -- MODEL DATA
//! ```
//! MODEL is a trained `conv1-square`, `lenet5-square` or `mnist-dense-square` (`train_mnist` of gelu-nn makes one), DATA the
//! folder of data sets. Without them, random weights and images are taken and no accuracy is printed; with `--json` alone a line of
//! JSON stands for each row (`gelu-bench/peers/ckks`). Scores are compared with those of the
//! clear network before anything is said. Times are medians of 30; beside them, of the server and of all, how long the thread ran, without
//! what other programs on the same processor took (Linux): means, as some systems count that in ticks of 4 ms.

use std::time::Instant;

use gelu_core::pass::argmax;
use gelu_fhe_baseline::packed::{Client, Layer, Network, Privacy, Server};
use gelu_nn::{Dataset, FloatParameters, Model, zoo};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

/// Images that the server calibrates with.
const CALIBRATION: usize = 20;
const RUNS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let json = arguments == ["--json"];
    if !json {
        println!(
            "| network | answer | scores within | estimated deviation | encrypt, ms | server, ms | decrypt, ms | all, ms | server running, ms | all running, ms | keys | keys, MB | up, kB | down, kB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    }
    match arguments.as_slice() {
        _ if json || arguments.is_empty() => {
            let rng = &mut ChaCha20Rng::seed_from_u64(1);
            let pixel = |_| f64::from(rng.random_range(0..=255)) / 255.0;
            let pixels: Vec<f64> = (0..CALIBRATION * Network::PIXELS).map(pixel).collect();
            let images: Vec<_> = pixels.chunks(Network::PIXELS).map(<[f64]>::to_vec).collect();
            for network in [Network::Conv1, Network::LeNet5, Network::Dense300] {
                let architecture = match network {
                    Network::Conv1 => zoo::conv1_square(),
                    Network::LeNet5 => zoo::lenet5_square(),
                    Network::Dense300 => zoo::mnist_dense_square(),
                };
                measure(
                    network,
                    &FloatParameters::initialise(&architecture, rng),
                    &images,
                    &images,
                    json,
                )?;
            }
        }
        [model, data] => {
            let (model, data) = (Model::load(model.as_ref())?, data.as_ref());
            let network = match model.architecture() {
                conv1 if conv1 == &zoo::conv1_square() => Network::Conv1,
                dense if dense == &zoo::mnist_dense_square() => Network::Dense300,
                _ => Network::LeNet5,
            };
            let images = |data: &Dataset| -> Vec<Vec<f64>> {
                data.features().columns().into_iter().map(|column| column.to_vec()).collect()
            };
            let train = images(&Dataset::load("mnist", data)?.head(CALIBRATION));
            let test = Dataset::load("mnist-test", data)?;
            let weights = model.weights();
            measure(network, &weights, &train, &images(&test.head(RUNS)), false)?;
            accuracy(network, &weights, &train, &test)?;
        }
        _ => return Err("usage: packed [--json | MODEL DATA]".into()),
    }
    Ok(())
}

fn layers(weights: &FloatParameters) -> Vec<Layer<'_>> {
    let layers = weights.layers.iter();
    layers.map(|layer| Layer { weights: &layer.weights, biases: &layer.biases }).collect()
}

fn measure(
    network: Network,
    weights: &FloatParameters,
    calibration: &[Vec<f64>],
    images: &[Vec<f64>],
    json: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let layers = layers(weights);
    for privacy in [Privacy::Plain, Privacy::Hidden] {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        let server = Server::new(network, &layers, privacy, calibration.iter().map(Vec::as_slice))?;
        let client = Client::generate(server.exchange(), rng);
        let keys = client.keys(rng)?;
        let read = server.read_keys(&keys)?;
        let (mut times, mut off) = (Vec::new(), 0.0f64);
        let [mut ran, mut all_ran] = [const { Vec::new() }; 2];
        let (mut up, mut down) = (0, 0);
        for image in images.iter().cycle().take(RUNS) {
            let (start, began) = (Instant::now(), running_ms());
            let query = client.encrypt(image, rng)?;
            let (encrypted, asked) = (Instant::now(), running_ms());
            let answer = server.answer(&read, &query, rng)?;
            ran.push(running_ms() - asked);
            let answered = Instant::now();
            let scores = client.decrypt(&answer)?;
            let end = Instant::now();
            all_ran.push(running_ms() - began);
            times.push([encrypted - start, answered - encrypted, end - answered, end - start]);
            (up, down) = (query.len(), answer.len());
            let expected = network.evaluate(&layers, image)?;
            off = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(off, f64::max);
        }
        if off > 8.0 * server.deviation() {
            return Err(format!("scores are off by {off:e}").into());
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            format!("{:.2}", times[RUNS / 2])
        };
        let mean = |times: Vec<f64>| times.iter().sum::<f64>() / RUNS as f64;
        let column = |i: usize| median(times.iter().map(|t| t[i].as_secs_f64() * 1e3).collect());
        if json {
            let row = serde_json::json!({
                "peer": "gelu, packed",
                "network": format!("{network:?}").to_lowercase(),
                "answer": format!("{privacy:?}"),
                "milliseconds": mean(all_ran),
                "off": off,
            });
            println!("{row}");
            continue;
        }
        println!(
            "| {network:?} | {privacy:?} | 2^{:.1} | 2^{:.1} | {} | {:.2} | {:.2} | {} | {:.1} | {:.1} | {:.1} |",
            off.log2(),
            server.deviation().log2(),
            [0, 1, 2, 3].map(column).join(" | "),
            mean(ran),
            mean(all_ran),
            server.exchange().keys().len(),
            keys.bytes() as f64 / 1e6,
            up as f64 / 1e3,
            down as f64 / 1e3,
        );
    }
    Ok(())
}

/// How long this thread has run; not a number where the system does not say.
fn running_ms() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    statistics
        .split(' ')
        .next()
        .and_then(|ns| ns.parse::<f64>().ok())
        .map_or(f64::NAN, |ns| ns / 1e6)
}

/// All test images in the clear, and some of them encrypted.
fn accuracy(
    network: Network,
    weights: &FloatParameters,
    calibration: &[Vec<f64>],
    test: &Dataset,
) -> Result<(), Box<dyn std::error::Error>> {
    const ENCRYPTED: usize = 300;
    let layers = layers(weights);
    let columns: Vec<_> = test.features().columns().into_iter().map(|c| c.to_vec()).collect();
    let clear: Vec<usize> = columns
        .iter()
        .map(|image| network.evaluate(&layers, image).map(|scores| argmax(scores.into_iter())))
        .collect::<Result<_, _>>()?;
    let share = |found: &[usize]| {
        let right = found.iter().zip(test.labels()).filter(|(a, b)| a == b).count();
        100.0 * right as f64 / found.len() as f64
    };
    println!("\nin the clear {:.2} % of {} images are right", share(&clear), clear.len());
    for privacy in [Privacy::Plain, Privacy::Hidden] {
        let rng = &mut ChaCha20Rng::seed_from_u64(3);
        let server = Server::new(network, &layers, privacy, calibration.iter().map(Vec::as_slice))?;
        let client = Client::generate(server.exchange(), rng);
        let keys = server.read_keys(&client.keys(rng)?)?;
        let mut found = Vec::new();
        for image in columns.iter().take(ENCRYPTED) {
            let answer = server.answer(&keys, &client.encrypt(image, rng)?, rng)?;
            found.push(argmax(client.decrypt(&answer)?.into_iter()));
        }
        let equal = found.iter().zip(&clear).filter(|(a, b)| a == b).count();
        println!(
            "{privacy:?}: {:.2} % of {ENCRYPTED} encrypted ones; {equal} have the answer of the clear",
            share(&found)
        );
    }
    Ok(())
}
