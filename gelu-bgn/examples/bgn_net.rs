//! BGN-Net on the data sets of the GELU-Net paper: accuracy, time, bytes, rounds, operations.
//!
//! ```text
//! cargo run --release -p gelu-bgn --example bgn_net -- iris
//! cargo run --release -p gelu-bgn --example bgn_net -- all DATA 2
//! ```
//!
//! The arguments: a data set (`iris`, `diabetes`, `kr-vs-kp`, `mnist8x8` or `all`), the folder with
//! the data (Iris needs none), the number of test rows to evaluate encrypted (2), masking bits (16), significant
//! bits of intermediate values (8).
//! `mnist8x8` are the digits of MNIST in 8x8 pixels, each the mean of 4x4 pixels of the 32x32 image,
//! classified by 64-16-10 neurons. Networks are trained in the clear with the Taylor polynomial as
//! activation. Inputs are cut off at 4 standard deviations, because z⁵ does not forgive outliers.
//!
//! Everything runs on one core; processor time is what the kernel counts, where it does (Linux), and
//! does not grow with what else the machine does as the clock's time does. `clear, fixed` is the oracle's integer arithmetic on the whole test
//! part; each encrypted row is compared with it, bit for bit.

use std::path::Path;
use std::time::{Duration, Instant};

use gelu_bgn::SecretKey;
use gelu_bgn::net::{
    Cloud, Costs, EncryptedInputs, KeyHolder, Model, RealLayer, Settings, Turn, inference, oracle,
    training_iteration,
};
use gelu_nn::{Activation, Dataset, FloatTrainer, Recipe, Schedule, Sequential, Split, zoo};
use ndarray::Array2;
use rand::{SeedableRng, rngs::ChaCha20Rng};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).map(String::as_str);
    let which = argument(0).unwrap_or("iris");
    let data = Path::new(argument(1).unwrap_or("."));
    let rows = argument(2).unwrap_or("2").parse()?;
    let mask_bits = argument(3).unwrap_or("16").parse()?;
    let value_bits = argument(4).unwrap_or("8").parse()?;
    let known = ["iris", "diabetes", "kr-vs-kp", "mnist8x8"];
    let chosen: Vec<_> = known.into_iter().filter(|name| [name, "all"].contains(&which)).collect();
    if chosen.is_empty() {
        return Err(format!("{which}? There are {} and all", known.join(", ")).into());
    }
    for name in chosen {
        run(name, data, rows, Settings { mask_bits, value_bits, ..Settings::default() })?;
    }
    Ok(())
}

fn run(name: &str, data: &Path, rows: usize, settings: Settings) -> Result<(), Error> {
    let (split, architecture, recipe) = task(name, data)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut trainer = FloatTrainer::<f64>::new(&architecture, recipe, &mut rng)?;
    trainer.train(&split.train, 1, |_| ())?;
    println!("\n{name}: {architecture}");
    line("clear, float", format!("{:.4}", trainer.accuracy(&split.test)?));

    let model = quantise(&architecture, &trainer, &split.train, settings)?;
    let plan = model.plan();
    for layer in &plan.layers {
        for step in layer.hidden.iter().flat_map(|hidden| hidden.steps()) {
            line(&format!("bits, {}", step.name), step.range_bits);
        }
    }

    let (mut right, mut beyond) = (0, 0);
    for sample in 0..split.test.len() {
        let query = query(&split.test, sample);
        let masks = &mut oracle::Masks::new(&mut mask_seed(sample));
        let (scores, bounded) = oracle::evaluate(&model, &query, masks)?;
        right += usize::from(oracle::class(&scores) == split.test.labels()[sample]);
        beyond += usize::from(!bounded);
    }
    let samples = split.test.len();
    line("clear, fixed", format!("{:.4} of {samples}", right as f64 / samples as f64));
    line("test rows beyond a declared bound", beyond);

    let start = Instant::now();
    let secret = SecretKey::generate(&mut rng);
    let public = secret.public_key().clone();
    let encrypted = model.encrypt(&public, &mut rng);
    let setup = start.elapsed();
    let cloud = Cloud::new(&public, plan, &encrypted)?;
    let start = Instant::now();
    let holder = KeyHolder::new(secret, plan)?;
    line("decoding table, once", format!("{:.2?}", start.elapsed()));
    line("weights encrypted, once", format!("{setup:.2?}, {} bytes", encrypted.as_bytes().len()));

    let rows = rows.min(samples);
    let (mut right, mut times) = (0, Vec::new());
    let processor = processor_time();
    let expected_costs = inference(plan);
    for sample in 0..rows {
        let query = query(&split.test, sample);
        let (scores, costs, time) = encrypted_query(&holder, &cloud, &model, &query, sample)?;
        let masks = &mut oracle::Masks::new(&mut mask_seed(sample));
        assert_eq!(scores, oracle::evaluate(&model, &query, masks)?.0, "bit for bit");
        assert_eq!(costs, expected_costs, "the formula counts what runs");
        right += usize::from(oracle::class(&scores) == split.test.labels()[sample]);
        times.push(time);
    }
    let processor = processor_time().zip(processor).map(|(now, then)| now - then);
    line("encrypted", format!("{right} of {rows} rows right, all as in the clear"));
    let mean = |part: fn(&Times) -> Duration| {
        times.iter().map(part).sum::<Duration>() / u32::try_from(rows.max(1)).unwrap_or(1)
    };
    if let Some(processor) = processor.filter(|_| rows > 0) {
        line("processor time per inference", format!("{:.2} s", processor / rows as f64));
    }
    line("time per inference", format!("{:.2?}", mean(|t| t.parties + t.cloud + t.holder)));
    line("  parties", format!("{:.2?}", mean(|t| t.parties)));
    line("  cloud", format!("{:.2?}", mean(|t| t.cloud)));
    line("  key holder", format!("{:.2?}", mean(|t| t.holder)));
    print_costs("per inference", &expected_costs);
    let (n, m, k) = (plan.inputs(), plan.layers[0].outputs, plan.outputs());
    print_costs("per sample of training, counted, not run", &training_iteration(n, m, k));
    Ok(())
}

/// Data, network and how to train it.
fn task(name: &str, data: &Path) -> Result<(Split, Sequential, Recipe), Error> {
    if name == "mnist8x8" {
        let (split, _) = Split::load("mnist", data, 1)?;
        let split = Split { train: pooled(&split.train)?, test: pooled(&split.test)? };
        let architecture = Sequential::dense(64, &[16], 10, Activation::Taylor5)?;
        let recipe = Recipe {
            epochs: 20,
            batch: 64,
            rate: 0.3,
            momentum: 0.9,
            schedule: Schedule::Cosine,
            l2: 3e-4,
            ..Recipe::default()
        };
        return Ok((split, architecture, recipe));
    }
    let entry = zoo::by_name(name).ok_or("a name of the zoo")?;
    let (split, _) = Split::load(name, data, 1)?;
    let split = Split { train: clipped(&split.train)?, test: clipped(&split.test)? };
    let architecture = (entry.architecture)().with_activation(Activation::Taylor5);
    // The sigmoid's recipe, and a pull towards small sums, where the polynomial still is a sigmoid.
    let recipe = Recipe { l2: 2e-3, ..entry.recipe };
    Ok((split, architecture, recipe))
}

fn clipped(data: &Dataset) -> Result<Dataset, Error> {
    rebuilt(data, data.features().mapv(|x| x.clamp(-CLIP, CLIP)), data.feature_names().to_vec())
}

/// 8x8 means of 4x4 pixels, after 2 pixels of margin all around the 28x28.
fn pooled(data: &Dataset) -> Result<Dataset, Error> {
    let mut means = Array2::zeros((64, data.len()));
    for (place, image) in data.features().outer_iter().enumerate() {
        let (row, column) = ((place / 28 + 2) / 4, (place % 28 + 2) / 4);
        let mut sum = means.row_mut(8 * row + column);
        sum.scaled_add(1.0 / 16.0, &image);
    }
    rebuilt(data, means, (0..64).map(|place| format!("mean {place}")).collect())
}

fn rebuilt(data: &Dataset, features: Array2<f64>, names: Vec<String>) -> Result<Dataset, Error> {
    Ok(Dataset::new(features, data.labels().to_vec(), names, data.class_names().to_vec())?)
}

/// In integers, with the largest sums on the training data, and a quarter, as declared bounds.
fn quantise(
    architecture: &Sequential,
    trainer: &FloatTrainer<f64>,
    train: &Dataset,
    settings: Settings,
) -> Result<Model, Error> {
    let parameters = trainer.parameters();
    let mut layers = Vec::new();
    let mut values = train.features().clone();
    for (block, layer) in architecture.blocks().iter().zip(&parameters.layers) {
        let (inputs, outputs) = (values.nrows(), layer.biases.len());
        let weights = Array2::from_shape_vec((outputs, inputs), layer.weights.clone())?;
        let mut sums = weights.dot(&values);
        for (mut row, bias) in sums.outer_iter_mut().zip(&layer.biases) {
            row += *bias;
        }
        let largest = sums.iter().fold(0f64, |most, z| most.max(z.abs()));
        line(&format!("largest sum, {}", block.name()), format!("{largest:.2}"));
        layers.push(RealLayer {
            name: block.name().to_owned(),
            weights: layer.weights.clone(),
            biases: layer.biases.clone(),
            sum_bound: Some(1.25 * largest),
        });
        values = sums.mapv(|z| Activation::Taylor5.value(z));
    }
    // The scores' range follows from the weights: it costs nothing, and no row can leave it.
    layers.last_mut().ok_or("no layers")?.sum_bound = None;
    Ok(Model::new(&layers, CLIP, settings)?)
}

struct Times {
    parties: Duration,
    cloud: Duration,
    holder: Duration,
}

/// One query from two parties, who have half of the features each.
fn encrypted_query(
    holder: &KeyHolder,
    cloud: &Cloud,
    model: &Model,
    query: &[f64],
    sample: usize,
) -> Result<(Vec<i64>, Costs, Times), Error> {
    let (public, plan) = (holder.secret_key().public_key(), model.plan());
    let rng = &mut ChaCha20Rng::seed_from_u64(77);
    let mut times =
        Times { parties: Duration::ZERO, cloud: Duration::ZERO, holder: Duration::ZERO };

    let start = Instant::now();
    let (first, second) = query.split_at(query.len() / 2);
    let first = EncryptedInputs::encrypt(public, plan, first, rng)?;
    let second = EncryptedInputs::encrypt(public, plan, second, rng)?;
    let inputs = EncryptedInputs::join(&[first, second])?;
    times.parties += start.elapsed();

    let mut session = holder.session();
    let start = Instant::now();
    let mut turn = cloud.evaluate(&inputs, &mut mask_seed(sample))?;
    times.cloud += start.elapsed();
    loop {
        match turn {
            Turn::Ask(evaluation, masked) => {
                let start = Instant::now();
                let answer = session.refresh(&masked, rng)?;
                times.holder += start.elapsed();
                let start = Instant::now();
                turn = evaluation.receive(&answer, rng)?;
                times.cloud += start.elapsed();
            }
            Turn::Done(scores, costs) => {
                let start = Instant::now();
                let (scores, more) = session.finish(&scores)?;
                times.holder += start.elapsed();
                let parties = Costs {
                    encryptions_g1: query.len(),
                    bytes_to_cloud: inputs.as_bytes().len(),
                    ..Costs::default()
                };
                return Ok((scores, costs + more + parties, times));
            }
        }
    }
}

/// The generator that the cloud takes a query's masks from.
fn mask_seed(sample: usize) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1_000_000 + sample as u64)
}

/// Seconds of this process on a processor so far: fields 14 and 15, in hundredths.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

fn query(data: &Dataset, sample: usize) -> Vec<f64> {
    data.features().column(sample).to_vec()
}

fn print_costs(what: &str, costs: &Costs) {
    println!("  {what}");
    line(
        "  multiplications (pairings)",
        format!("{} ({})", costs.multiplications, costs.pairings()),
    );
    line("  final exponentiations", costs.final_exponentiations);
    line("  multiplications by scalars", Costs::SCALAR_MULTIPLICATIONS);
    line(
        "  additions, level 1 and 2",
        format!("{}, {}", costs.additions, costs.additions_of_products),
    );
    line(
        "  encryptions in G1 and G2",
        format!("{}, {}", costs.encryptions_g1, costs.encryptions_g2),
    );
    line("  decryptions", costs.decryptions);
    line("  seals", costs.seals);
    line("  bytes to the cloud", costs.bytes_to_cloud);
    line("  bytes to the key holder", costs.bytes_to_key_holder);
    line("  rounds", costs.rounds);
}

fn line(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<36}{value}");
}

/// Standardised features beyond this are cut off.
const CLIP: f64 = 4.0;
