//! Setup 1, the image case: the compute party has a LeNet with squares that knows the digits 0 to 4; a head on it learns 5 to 9 from
//! images that it never sees.
//!
//! ```sh
//! cargo run --release -p gelu-transfer --example image
//! cargo run --release -p gelu-transfer --example image -- --rows 2048 --test 2000 --iterations 48 --degree 3
//! ```
//!
//! `--rows N` (1024), `--test N` (2000), `--iterations T` (24), `--degree D` (1), `--range R` (8; 12), `--rate R` (4; 3). The data are MNIST and
//! the base's weights, in the folder that GELU_DATA names. Both parties run here, by their messages.

mod options;
#[expect(dead_code, reason = "the healthcare case")]
#[path = "../tests/support/mod.rs"]
mod support;

use gelu_ckks::SecretKey;
use gelu_core::pass::argmax;
use gelu_nn::{Dataset, FloatLayer, FloatParameters, Split, zoo};
use gelu_transfer::base::Layer;
use gelu_transfer::plain::Training;
use gelu_transfer::price::TRANSFORM_SECONDS;
use gelu_transfer::{
    Activation, Base, BaseOwner, BasePlan, BaseSettings, ComputeParty, DataParty, Plan,
    Preparation, RowOwner, Rows, Settings, Sigmoid,
};
use safetensors::SafeTensors;

use options::{Options, available, peak};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut options = Options::read()?;
    let count = options.take("rows")?.unwrap_or(1024);
    let tested = options.take("test")?.unwrap_or(2000);
    let iterations = options.take("iterations")?.unwrap_or(24);
    let degree = options.take("degree")?.unwrap_or(1);
    let (range, rate) = if degree == 1 { (8.0, 4.0) } else { (12.0, 3.0) };
    let sigmoid = Sigmoid::fit(degree, options.take("range")?.unwrap_or(range))?;
    let rate = options.take("rate")?.unwrap_or(rate);
    options.end()?;
    let Some(folder) = support::folder() else { return Ok(()) };
    let base = lenet(&folder)?;
    let (all, _) = Split::load("mnist", folder.parent().ok_or("a folder of data sets")?, 1)?;
    let new: Vec<_> = (5..10).map(|digit| digit.to_string()).collect();
    let (train, test) = (all.train.only(&new)?.head(count), all.test.only(&new)?.head(tested));
    let (count, tested) = (train.len(), test.len());
    let x = Rows::new([pixels(&train), pixels(&test)].concat(), 784)?;

    // The base, on all rows.
    let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
    let settings = BaseSettings {
        rows: x.len(),
        inputs: base.inputs(),
        features: base.features(),
        squares: base.squares(),
        least: 0.0,
        most: 1.0,
    };
    let plan = BasePlan::new(settings)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "base: {:?}, {} transforms, {:.0} MiB of memory, features off by {:.1e}",
        plan.parameters(),
        base.transforms(&plan),
        mib(base.memory(&plan)),
        base.deviation(&plan),
    );
    if base.memory(&plan) > available() {
        return Err("there is not as much memory".into());
    }
    let owner = RowOwner::generate(plan.clone(), rng);
    let keys = owner.keys(rng)?;
    let mut host = BaseOwner::new(plan.clone(), base.clone(), &keys)?;
    let (mut sent, mut received) = (keys.len() as u64, 0);
    let (mut encrypting, mut computing, mut features) = (0.0, 0.0, Vec::new());
    for group in 0..plan.groups() {
        for message in 0..plan.messages() {
            let start = cpu_seconds();
            let inputs = owner.inputs(&x, group, message, rng)?;
            encrypting += cpu_seconds() - start;
            sent += inputs.len() as u64;
            let start = cpu_seconds();
            let answer = host.receive(&inputs, rng)?;
            computing += cpu_seconds() - start;
            if let Some(answer) = answer {
                received += answer.len() as u64;
                let rows = owner.receive(group, &answer)?;
                (0..rows.len()).for_each(|row| features.extend(rows.row(row)));
            }
        }
    }
    let features = Rows::new(features, base.features())?;
    println!(
        "{} rows: {encrypting:.1} s of processor time to encrypt, {computing:.1} s to compute, {:.1} s by the plan; {:.0} MiB up, {:.0} MiB down; this process took {} MiB at most",
        x.len(),
        plan.seconds(&base, TRANSFORM_SECONDS, 1),
        mib(sent),
        mib(received),
        peak(),
    );
    let clear = (0..x.len()).map(|row| base.apply(x.row(row))).collect::<Result<Vec<_>, _>>()?;
    let clear = Rows::new(clear.concat(), base.features())?;
    let off = (0..x.len()).flat_map(|row| clear.row(row).iter().zip(features.row(row)));
    let off = off.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let largest = (0..x.len()).flat_map(|row| clear.row(row)).fold(0.0f64, |a, &b| a.max(b));
    println!("features: up to {largest:.2}, off by {off:.1e} at most");

    // The head, on encrypted features and in the clear.
    let settings = Settings {
        rows: count,
        features: base.features(),
        heads: 5,
        batch: count.min(1024),
        sigmoid: sigmoid.clone(),
        rate,
        unattended: 1,
    };
    let prepared = |rows: &Rows| {
        let part = |range: std::ops::Range<usize>| {
            Rows::new(range.flat_map(|row| rows.row(row).to_vec()).collect(), base.features())
        };
        let train = part(0..count)?;
        let preparation = Preparation::fit(&train)?;
        Ok::<_, Failure>((
            preparation.apply(&train)?,
            preparation.apply(&part(count..count + tested)?)?,
        ))
    };
    let (train_x, test_x) = prepared(&features)?;
    let (clear_x, clear_test) = prepared(&clear)?;
    let head = Plan::new(settings.clone())?;
    let start = cpu_seconds();
    let secret = SecretKey::generate(head.parameters().clone(), rng);
    let mut data = DataParty::new(head.clone(), secret, train_x, train.labels())?;
    let mut compute = ComputeParty::new(head.clone(), &data.evaluation_keys(rng)?)?;
    for index in 0..head.batches() {
        compute.receive_batch(&data.batch(index, rng)?)?;
    }
    for _ in 0..iterations {
        let gradients = compute.train(&data.heads(1, rng)?)?;
        data.receive(&gradients)?;
    }
    let (up, down) = head.refresh_bytes();
    println!(
        "head: {:?}, {iterations} iterations, {:.1} s of processor time in all; keys {:.1} MiB, features {:.1} MiB, {:.2} MiB up and {:.2} MiB down at a refresh",
        head.parameters(),
        cpu_seconds() - start,
        mib(head.key_bytes()),
        mib(head.data_bytes()),
        mib(up),
        mib(down),
    );
    let encrypted = data.state().heads().iter().map(|head| head.weights().to_vec());
    let encrypted = accuracy(&encrypted.collect::<Vec<_>>(), &test_x, test.labels());
    let clear = |activation: Activation| -> Result<f64, Failure> {
        let weights = (0..5).map(|class| {
            let y: Vec<_> = train.labels().iter().map(|&label| label == class).collect();
            let mut training =
                Training::new(&clear_x, &y, settings.batch, rate, activation.clone())?;
            (0..iterations).for_each(|_| training.step());
            Ok(training.head().weights().to_vec())
        });
        Ok(accuracy(&weights.collect::<Result<Vec<_>, Failure>>()?, &clear_test, test.labels()))
    };
    let (same, exact) = (clear(Activation::Polynomial(sigmoid))?, clear(Activation::Exact)?);
    println!(
        "accuracy on {tested} test rows: {encrypted:.4} encrypted; {same:.4} by the same steps in the clear, {exact:.4} with the exact sigmoid"
    );
    if (encrypted - same).abs() > 0.005 {
        return Err("the accuracy is not that of the clear pipeline within 0.5 points".into());
    }
    Ok(())
}

/// Row by row.
fn pixels(images: &Dataset) -> Vec<f64> {
    images.features().t().iter().copied().collect()
}

/// The base's file, in PyTorch's names, as the first two stages of our LeNet-5 with squares.
fn lenet(folder: &std::path::Path) -> Result<Base, Failure> {
    let bytes = std::fs::read(folder.join("base_lenet_square_0to4_cut256.safetensors"))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let numbers = |name: &str| -> Result<Vec<f64>, Failure> {
        let data = file.tensor(name)?;
        Ok(data.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect())
    };
    let conv = |name: &str| -> Result<FloatLayer, Failure> {
        let (weights, biases) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(FloatLayer { weights: numbers(&weights)?, biases: numbers(&biases)? })
    };
    let architecture = zoo::lenet5_square().with_head(2, &[], 5)?;
    let head = FloatLayer { weights: vec![0.0; 5 * 256], biases: vec![0.0; 5] };
    let parameters = FloatParameters { layers: vec![conv("conv1")?, conv("conv2")?, head] };
    let chain = architecture.chain(&parameters)?;
    let layers = chain[..2].iter().map(|link| Layer {
        rows: (0..link.taps.outputs())
            .map(|output| {
                let taps = link.taps.of(output).iter();
                taps.map(|tap| (tap.source as usize, link.entries[tap.weight as usize])).collect()
            })
            .collect(),
        offsets: link.offsets.clone(),
    });
    Ok(Base::new(784, layers.collect())?)
}

/// Of the class whose head says most.
fn accuracy(heads: &[Vec<f64>], x: &Rows, labels: &[usize]) -> f64 {
    let z: Vec<_> = heads.iter().map(|head| x.weighted_sums(head)).collect();
    let right = (0..x.len()).filter(|&row| argmax(z.iter().map(|z| z[row])) == labels[row]);
    right.count() as f64 / x.len() as f64
}

/// Seconds that this process ran on all processors together, of 10 ms each: Linux, 0 elsewhere.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Its name may have spaces, and ends with the last parenthesis; the 12th and 13th number behind it are the times.
    let numbers = text.rsplit(')').next().unwrap_or_default().split(' ');
    numbers.skip(12).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
