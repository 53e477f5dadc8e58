//! Rows to train a head on, and the model that its training begins with.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gelu_core::fixed::exp2;
use gelu_core::{Format, Precision};
use gelu_nn::data::tensors::Part;
use gelu_nn::{
    Activation, Dataset, FloatParameters, Model, Preparation, Schema, Sequential, Split,
};
#[cfg(feature = "lattice")]
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::args;
use crate::data::{DataArgs, Meaning, stem};
use crate::experiment::training_precision;
use crate::model;
use crate::problem::{Advise, problem};

/// Where rows come from, and what they are trained into.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Head")]
pub(super) struct SourceArgs {
    /// Features and labels in a safetensors file: train.x, train.y, test.x, test.y [default: --dataset abstracts]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "dataset", "base"])]
    pub(super) features: Option<PathBuf>,
    /// Widths of hidden layers of the head, such as 32 or 64,16 [default: none, a logistic head]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = args::count(1..=65_536))]
    head: Vec<usize>,
    /// Project the features on so many principal components of the training rows before they are encrypted
    #[arg(long, value_name = "K", value_parser = args::count(1..), conflicts_with = "base")]
    components: Option<usize>,
    /// A model whose first layers stay as they are, with a new head on them: setup 1
    #[arg(long, value_name = "MODEL", requires = "freeze")]
    pub(super) base: Option<PathBuf>,
    /// How many layers of --base, from the first on; the head stands on what they give
    #[arg(long, value_name = "STAGES", requires = "base", value_parser = args::count(1..))]
    freeze: Option<usize>,
    /// Train on the first N rows only
    #[arg(long, value_name = "N", value_parser = args::count(1..))]
    rows: Option<usize>,
    /// Be judged by the first N held-out rows only
    #[arg(long, value_name = "N", value_parser = args::count(1..))]
    held_out: Option<usize>,
    #[command(flatten)]
    pub(super) data: DataArgs,
}

/// Rows ready to be encrypted, and the model to begin with.
pub(super) struct Source {
    /// The data's name.
    pub(super) name: String,
    /// The rows, prepared.
    pub(super) split: Split,
    /// What they are, for the model that takes them as they are, or as its base does.
    schema: Schema,
    /// Version 0: a base and a head, or a head.
    pub(super) start: Model,
    /// What was done to features: in setup 2, and in setup 1 where they are known.
    prepared: Option<Prepared>,
}

struct Prepared {
    preparation: Preparation,
    /// The largest magnitude of a raw training feature.
    largest: f64,
}

impl SourceArgs {
    /// Reads the rows and prepares them.
    ///
    /// # Errors
    /// What does not fit, and what to do next.
    pub(super) fn load(&self) -> Result<Source> {
        match (&self.base, self.freeze) {
            (Some(base), Some(stages)) => self.on_base(base, stages),
            _ => self.on_features(),
        }
    }

    /// Refuses layers of which engine ckks has none: hidden ones of the head.
    ///
    /// # Errors
    /// Names the option.
    #[cfg(feature = "lattice")]
    pub(super) fn refuse_layers(&self) -> Result<()> {
        super::ckks::options::refuse("ckks", "exact", &[("--head", !self.head.is_empty())])
    }

    /// The files that this run reads.
    pub(super) fn inputs(&self) -> Vec<&Path> {
        let files = [&self.features, &self.data.csv, &self.base];
        files.into_iter().filter_map(Option::as_deref).collect()
    }

    fn on_features(&self) -> Result<Source> {
        let (name, split, schema, is_table) = match &self.features {
            Some(path) => {
                let split = self.read(path)?;
                let (names, classes) = (split.train.feature_names(), split.train.class_names());
                let schema = Schema::of_numbers(names, None)?.with_classes(classes)?;
                (stem(path), split, schema, false)
            }
            None => {
                let (samples, is_table) = self.data.load_unscaled(DEFAULT)?;
                (samples.name, samples.split, samples.schema, is_table)
            }
        };
        let mut split = self.head_of(split);
        let (train, rng) = (&split.train, &mut ChaCha20Rng::seed_from_u64(self.data.seed));
        let mut preparation = match is_table {
            true => Preparation::of_table(train),
            false => Preparation::of_embedding(train),
        };
        if let Some(count) = self.components {
            let found = preparation.onto_components(train, count, rng);
            preparation = found.advise(|| "choose another number of --components".into())?;
        }
        let prepared = Prepared::by(preparation, &mut split)?;
        let (inputs, classes) = (split.train.inputs(), split.train.classes());
        let architecture = Sequential::dense(inputs, &self.head, classes, Activation::Sigmoid)?;
        let named = format!("{name}-head");
        let start = match self.head.is_empty() {
            true => {
                let zeros = architecture.network().zeros();
                Model::new(named, architecture, Precision::TRAINING, zeros)?
            }
            false => Model::initialise(named, architecture, Precision::TRAINING, rng)?,
        };
        Ok(Source { name, split, schema, start, prepared: Some(prepared) })
    }

    fn on_base(&self, path: &Path, stages: usize) -> Result<Source> {
        let base = model::load(path)?;
        let meaning = Meaning::Base(base.schema().map(AsRef::as_ref));
        let samples = self.data.load(Some(base.name()), meaning)?;
        let split = self.head_of(samples.split);
        check_inputs(base.architecture().input().features(), &split.train)?;
        let rng = &mut ChaCha20Rng::seed_from_u64(self.data.seed);
        let (classes, all) = (split.train.classes(), base.architecture().blocks().len());
        let start = base
            .with_head(stages, &self.head, classes, training_precision(&base), rng)
            .advise(|| format!("choose a --freeze of 1 to {all}, the linear layers of the base"))?;
        let schema = samples.schema;
        Ok(Source { name: samples.name, split, schema, start, prepared: None })
    }

    fn read(&self, path: &Path) -> Result<Split> {
        let split = Split::from_safetensors(path).advise(|| {
            "the file needs train.x, train.y, test.x and test.y; `gelu transfer help fit` says of which types".into()
        })?;
        self.data.of_classes(split)
    }

    fn head_of(&self, split: Split) -> Split {
        let head = |part: &Dataset, rows: Option<usize>| part.head(rows.unwrap_or(usize::MAX));
        Split { train: head(&split.train, self.rows), test: head(&split.test, self.held_out) }
    }
}

impl Source {
    /// The trained model as it is used: it takes raw features, and of two classes it answers the second where its
    /// log-odds are above `threshold`.
    pub(super) fn export(&self, trained: &Model, threshold: Option<f64>) -> Result<Model> {
        self.export_weights(trained.weights(), threshold)
    }

    /// The same of weights for [`start`](Self::start)'s network.
    pub(super) fn export_weights(
        &self,
        mut weights: FloatParameters,
        threshold: Option<f64>,
    ) -> Result<Model> {
        if let (Some(threshold), Some(last)) = (threshold, weights.layers.last_mut()) {
            last.biases[0] += threshold;
        }
        let (name, architecture) = (self.start.name(), self.start.architecture());
        let model = match &self.prepared {
            None => {
                Model::from_float(name, architecture.clone(), *self.start.precision(), &weights)?
            }
            #[cfg(feature = "lattice")]
            Some(prepared) if architecture.frozen() > 0 => {
                prepared.fold_onto(&self.start, &self.head()?, &weights)?
            }
            Some(prepared) => prepared.fold(name, architecture, &weights)?,
        };
        Ok(model.with_metadata("dataset", &self.name).with_schema(self.schema.clone())?)
    }
}

/// Setup 1 under ckks, where the data party knows features.
#[cfg(feature = "lattice")]
impl Source {
    /// The same rows as features, prepared: what the base makes of those to train on, and of the others.
    ///
    /// # Errors
    /// When all rows have the same features, or others are as many as the rows.
    pub(super) fn on_features(&self, (train, test): (Array2<f64>, Array2<f64>)) -> Result<Self> {
        let Split { train: rows, test: others } = &self.split;
        let mut split =
            Split { train: with_features(train, rows)?, test: with_features(test, others)? };
        let prepared = Prepared::by(Preparation::of_embedding(&split.train), &mut split)?;
        let (name, schema) = (self.name.clone(), self.schema.clone());
        Ok(Self { name, split, schema, start: self.start.clone(), prepared: Some(prepared) })
    }

    /// The head alone.
    ///
    /// # Errors
    /// None for a source that was loaded.
    pub(super) fn head(&self) -> Result<Sequential> {
        let (inputs, classes) = (self.split.train.inputs(), self.split.train.classes());
        Ok(Sequential::dense(inputs, &[], classes, Activation::Sigmoid)?)
    }
}

impl Prepared {
    /// Prepares rows.
    fn by(preparation: Preparation, split: &mut Split) -> Result<Self> {
        let largest = split.train.features().fold(0.0f64, |most, x| most.max(x.abs()));
        preparation.apply(&mut split.train)?;
        preparation.apply(&mut split.test)?;
        Ok(Self { preparation, largest })
    }

    /// The base of `start` with a head that takes what it makes.
    #[cfg(feature = "lattice")]
    fn fold_onto(
        &self,
        start: &Model,
        head: &Sequential,
        weights: &FloatParameters,
    ) -> Result<Model> {
        let (_, folded) = self.preparation.fold(head, weights)?;
        let mut all = start.weights();
        all.layers.truncate(start.architecture().frozen());
        all.layers.extend(folded.layers);
        let Format { integer, fraction } = start.precision().weights;
        let needed = format(all.largest(), WEIGHT_BITS).integer;
        let weights = Format::new(integer.max(needed), fraction);
        let precision = Precision { weights, ..*start.precision() };
        Ok(Model::from_float(start.name(), start.architecture().clone(), precision, &all)?)
    }

    fn fold(&self, name: &str, head: &Sequential, weights: &FloatParameters) -> Result<Model> {
        let (architecture, weights) = self.preparation.fold(head, weights)?;
        // New features may be larger than those that were seen.
        let precision = Precision {
            activations: format(2.0 * self.largest, ACTIVATION_BITS),
            weights: format(weights.largest(), WEIGHT_BITS),
            ..Precision::INFERENCE
        };
        Ok(Model::from_float(name, architecture, precision, &weights)?)
    }
}

/// Bits of a raw feature, for the largest; of features of different units the smaller ones have fewer.
const ACTIVATION_BITS: u32 = 16;
/// Bits of a weight of a head, for the largest.
const WEIGHT_BITS: u32 = 14;

/// A format of about `bits` bits that holds ±`largest`, and ±1.
fn format(largest: f64, bits: u32) -> Format {
    let integer = (1..40).find(|&integer| exp2(integer) > largest + 1.0).unwrap_or(40);
    Format::new(integer, bits.saturating_sub(integer).max(1))
}

/// Refuses rows that are not what a base takes.
///
/// # Errors
/// Names both numbers.
pub(super) fn check_inputs(takes: usize, rows: &Dataset) -> Result<()> {
    match rows.inputs() {
        got if got == takes => Ok(()),
        got => Err(problem(
            format!("the base takes {takes} inputs, but the data has {got}"),
            "choose data of the kind that the base was trained on",
        )),
    }
}

/// The same rows, by other features.
///
/// # Errors
/// When there are not as many, or not all are numbers.
#[cfg(feature = "lattice")]
pub(super) fn with_features(features: Array2<f64>, rows: &Dataset) -> Result<Dataset> {
    let names = (1..=features.nrows()).map(|n| format!("feature {n}")).collect();
    let (labels, classes) = (rows.labels().to_vec(), rows.class_names().to_vec());
    Ok(Dataset::new(features, labels, names, classes)?)
}

/// The names of the classes that a head of ours tells apart.
pub(super) fn class_names(model: &Model) -> Vec<String> {
    match model.schema().map(|schema| schema.classes()) {
        Some(classes) if !classes.is_empty() => classes.to_vec(),
        _ => (0..model.architecture().classes()).map(|class| class.to_string()).collect(),
    }
}

/// New rows in a file of features, without labels.
pub(super) fn unlabelled(path: &Path, classes: usize) -> Result<Dataset> {
    let rows = Dataset::unlabelled_from_safetensors(path, Part::Test, classes);
    rows.advise(|| "the file needs a tensor test.x of [rows, features]".into())
}

/// The healthcare case.
pub(super) const DEFAULT: &str = "abstracts";
