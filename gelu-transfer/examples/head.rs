//! The healthcare case: does an abstract speak of cancer? The hospital holds texts (here their embeddings), labels, the head and the
//! keys; the compute party trains the head and sees ciphertexts.
//!
//! ```sh
//! cargo run --release -p gelu-transfer --example head -- FILE.safetensors
//! cargo run --release -p gelu-transfer --example head -- --degree 3 --unattended 4
//! cargo run --release -p gelu-transfer --example head -- --synthetic 1024x768x10 --iterations 4
//! ```
//!
//! `--degree D` (1; 3, 5, 7, 15), `--range R`, `--rate R`, `--batch B` (1024), `--rows N` (all), `--iterations T` (16; 0 shows the plan alone),
//! `--unattended K` (1), `--threads N` (all), `--auc A` (0.92: the run fails with less). Without a file it looks for `abstracts.safetensors` beside the other data sets.
//! After each refresh the weights are compared with those of the same training in the clear.

mod options;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use gelu_ckks::SecretKey;
use gelu_core::pass::argmax;
use gelu_nn::scores::{Scores, best_threshold};
use gelu_transfer::plain::Training;
use gelu_transfer::price::measure_transform;
use gelu_transfer::{
    Activation, ComputeParty, DataParty, Plan, Preparation, Rows, Settings, Sigmoid,
};
use rand_core::Rng;

use options::{Options, available, peak};

type Failure = Box<dyn std::error::Error>;

/// Rows, classes, how many heads.
struct Data {
    x: Rows,
    classes: Vec<usize>,
    heads: usize,
}

fn main() -> Result<(), Failure> {
    let mut options = Options::read()?;
    let degree = options.take("degree")?.unwrap_or(1);
    let (range, rate) = match degree {
        1 => (8.0, 4.0),
        3 => (12.0, 3.0),
        5 => (12.0, 2.0),
        7 => (16.0, 2.0),
        _ => (24.0, 2.0),
    };
    let sigmoid = Sigmoid::fit(degree, options.take("range")?.unwrap_or(range))?;
    let rate = options.take("rate")?.unwrap_or(rate);
    let (batch, rows) =
        (options.take("batch")?.unwrap_or(1024), options.take("rows")?.unwrap_or(usize::MAX));
    let iterations = options.take("iterations")?.unwrap_or(16);
    let unattended = options.take("unattended")?.unwrap_or(1);
    let threads = options.take("threads")?.unwrap_or(0);
    let synthetic: Option<String> = options.take("synthetic")?;
    let auc = options.take("auc")?.unwrap_or(0.92);
    options.end()?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let mut test = None;
    let train = match synthetic {
        Some(shape) => invented(&shape)?,
        None => {
            let folder = || support::folder().map(|folder| folder.join("abstracts.safetensors"));
            let path = options.path.or_else(folder).ok_or("name a file of features")?;
            let (train, other) = support::load(&path);
            test = Some(other);
            Data {
                x: train.x,
                classes: train.y.iter().map(|&y| usize::from(y)).collect(),
                heads: 1,
            }
        }
    };
    let rows = train.x.len().min(rows);
    let x =
        Rows::new((0..rows).flat_map(|i| train.x.row(i).to_vec()).collect(), train.x.columns())?;
    let classes = &train.classes[..rows];
    let (features, heads) = (x.columns() - 1, train.heads);
    let batch = batch.min(rows);
    let settings = Settings { rows, features, heads, batch, sigmoid, rate, unattended };
    run(settings, x, classes, iterations, test.as_ref(), auc)
}

fn run(
    settings: Settings,
    x: Rows,
    classes: &[usize],
    iterations: usize,
    test: Option<&support::Split>,
    least_auc: f64,
) -> Result<(), Failure> {
    let plan = Plan::new(settings.clone())?;
    let mut rng = rand::make_rng::<rand::rngs::ChaCha20Rng>();
    let transform = measure_transform(plan.parameters(), &mut rng)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{:?}, {:?}", plan.parameters(), plan.settings().sigmoid);
    let threads = rayon::current_num_threads();
    let (up, down) = plan.refresh_bytes();
    println!(
        "plan: {} ciphertexts a batch, {} batches, {} transforms an iteration at the top, {} keys of {:.1} MiB, data {:.1} MiB, {:.2} MiB up and {:.2} MiB down at a refresh, {:.0} MiB of memory, {:.4} s a refresh on {threads} threads at {:.1} µs a transform of 2^13",
        plan.layout().shifts(),
        plan.batches(),
        plan.transforms(plan.parameters().top_level()),
        plan.keys().len(),
        mib(plan.key_bytes()),
        mib(plan.data_bytes()),
        mib(up),
        mib(down),
        mib(plan.memory()),
        plan.seconds(transform, threads),
        transform * 1e6,
    );
    plan.check_memory(available())?;
    if iterations == 0 {
        return Ok(());
    }

    let labels = |head: usize| -> Vec<bool> {
        let positive = if settings.heads == 1 { 1 } else { head };
        classes.iter().map(|&class| class == positive).collect()
    };
    let y: Vec<_> = (0..settings.heads).map(labels).collect();
    let activation = Activation::Polynomial(settings.sigmoid.clone());
    let plain = |y| Training::new(&x, y, settings.batch, settings.rate, activation.clone());
    let mut plain = y.iter().map(|y| plain(y)).collect::<Result<Vec<_>, _>>()?;

    let start = Instant::now();
    let secret = SecretKey::generate(plan.parameters().clone(), &mut rng);
    let mut data = DataParty::new(plan.clone(), secret, x.clone(), classes)?;
    let keys = data.evaluation_keys(&mut rng)?;
    println!("keys: {:.1} MiB in {:.2} s", mib(keys.len() as u64), start.elapsed().as_secs_f64());
    let start = Instant::now();
    let mut compute = ComputeParty::new(plan.clone(), &keys)?;
    drop(keys);
    let mut bytes = 0;
    for index in 0..plan.batches() {
        let batch = data.batch(index, &mut rng)?;
        bytes += batch.len() as u64;
        compute.receive_batch(&batch)?;
    }
    println!("data: {:.1} MiB in {:.2} s", mib(bytes), start.elapsed().as_secs_f64());

    println!(
        "iteration | off by | data party s | compute party s | up, MiB | down, MiB | train accuracy | test accuracy, F1, AUC | F1 at the training rows' threshold"
    );
    let (mut worst, mut total): (f64, f64) = (0.0, 0.0);
    let mut auc = 1.0;
    while data.state().iteration() < iterations {
        let count = settings.unattended.min(iterations - data.state().iteration());
        let start = Instant::now();
        let heads = data.heads(count, &mut rng)?;
        let encrypted = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let gradients = compute.train(&heads)?;
        let computed = start.elapsed().as_secs_f64();
        let start = Instant::now();
        data.receive(&gradients)?;
        let owner = encrypted + start.elapsed().as_secs_f64();
        total += owner + computed;
        (0..count).for_each(|_| plain.iter_mut().for_each(Training::step));
        let off = data.state().heads().iter().zip(&plain).map(|(head, plain)| {
            let expected = plain.head().weights();
            let largest = expected.iter().map(|w| w.abs()).fold(0.0, f64::max);
            let off = head.weights().iter().zip(expected).map(|(a, b)| (a - b).abs());
            off.fold(0.0, f64::max) / largest
        });
        let off = off.fold(0.0, f64::max);
        worst = worst.max(off);
        let (train, tested) = score(&data, &x, classes, &y, test);
        if let Some((scores, _)) = tested {
            auc = scores.auc.unwrap_or(0.0);
        }
        let tested = tested.map_or(String::from("none"), |(s, threshold)| {
            let auc = s.auc.unwrap_or(0.0);
            format!("{:.4}, {:.4}, {auc:.4} | {:.4}", s.accuracy, s.f1, threshold.f1)
        });
        println!(
            "{:>9} | {off:.1e} | {owner:.4} | {computed:.4} | {:.3} | {:.3} | {train:.4} | {tested}",
            data.state().iteration(),
            mib(heads.len() as u64),
            mib(gradients.len() as u64),
        );
    }
    let largest = plain.iter().map(Training::largest).fold(0.0, f64::max);
    println!(
        "{iterations} iterations in {total:.2} s; the largest |z| was {largest:.1}; this process took {} MiB at most",
        peak()
    );
    if worst >= 1e-3 {
        return Err(format!(
            "weights are off by {worst:e} of the largest: at most 1e-3 is allowed"
        )
        .into());
    }
    if auc < least_auc {
        return Err(format!("the AUC is {auc}: the head has not learned").into());
    }
    Ok(())
}

/// Accuracy on training rows; of one head, scores on test rows at 0 and at the threshold of the training rows.
fn score(
    data: &DataParty,
    x: &Rows,
    classes: &[usize],
    y: &[Vec<bool>],
    test: Option<&support::Split>,
) -> (f64, Option<(Scores, Scores)>) {
    let heads = data.state().heads();
    let z: Vec<_> = heads.iter().map(|head| x.weighted_sums(head.weights())).collect();
    if let [z] = &z[..] {
        let labels = support::classes(&y[0]);
        let threshold = best_threshold(&labels, z);
        let tested = test.map(|test| {
            let z = test.x.weighted_sums(heads[0].weights());
            [0.0, threshold].map(|t| Scores::of_two(&support::classes(&test.y), &z, t)).into()
        });
        return (Scores::of_two(&labels, z, 0.0).accuracy, tested);
    }
    let best = |i: usize| argmax(z.iter().map(|z| z[i]));
    let right = classes.iter().enumerate().filter(|(i, class)| best(*i) == **class);
    (right.count() as f64 / classes.len() as f64, None)
}

/// ROWSxFEATURESxCLASSES of random rows around a mean for each class.
fn invented(shape: &str) -> Result<Data, Failure> {
    let numbers = shape.split('x').map(str::parse).collect::<Result<Vec<usize>, _>>();
    let [rows, features, heads] = numbers?[..] else {
        return Err("--synthetic takes ROWSxFEATURESxCLASSES".into());
    };
    let mut rng = <rand::rngs::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(1);
    let mut number = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    let means: Vec<f64> = (0..heads * features).map(|_| number() * 0.2).collect();
    let classes: Vec<usize> = (0..rows).map(|i| i * 7 % heads).collect();
    let values = classes.iter().flat_map(|class| &means[class * features..][..features]);
    let raw = Rows::new(values.map(|mean| mean + number()).collect(), features)?;
    let x = Preparation::fit(&raw)?.apply(&raw)?;
    Ok(Data { x, classes, heads: if heads == 2 { 1 } else { heads } })
}
