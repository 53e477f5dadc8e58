//! `gelu import FILE`: a model that was trained elsewhere, as one of ours.

mod sample;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gelu_core::Precision;
use gelu_import::{Calibrated, Error as ImportError, Imported, MAX_FILE_BYTES, Report, calibrate};
use gelu_nn::schema::{Description, Image, Label, Scale, VERSION};
use gelu_nn::{Calibration, Model, Provenance, Schema, Sequential, Shape};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::sample::{Sample, of_columns};
use super::audit;
use crate::cut_off::CutOff;
use crate::data::stem;
use crate::destination::{Destination, Kind};
use crate::output::{Output, table};
use crate::problem::problem;

/// Make a model of an ONNX file or of PyTorch weights
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu import net.onnx --calibrate sample.npy
  gelu import pipeline.onnx --calibrate sample.csv --label outcome --out imported.safetensors
  gelu import state.safetensors --architecture net.json --out imported.safetensors
  gelu import net.onnx --pixels 0.1307,0.3081 --calibrate sample.npy --out imported.safetensors

ONNX: of PyTorch, Keras and scikit-learn (skl2onnx), in one file. All nodes that cannot be run exactly are listed
at once. PyTorch weights: `safetensors.torch.save_file(model.state_dict(), FILE)`; how the layers are
connected stands in the file for --architecture, and without one gelu prints one to start from.

The sample is what the original model takes, before any scaling that is part of the file: rows of a table, or an
array whose first axis counts samples. A few hundred rows do; they decide how many bits the integers get, and nothing
of them but ranges and shares is kept. More accuracy lost than --tolerance allows ends with 1, and writes nothing.")]
pub(crate) struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    source: PathBuf,
    /// How the layers of PyTorch weights are connected: JSON, as `gelu train --network` takes it
    #[arg(long, value_name = "FILE")]
    architecture: Option<PathBuf>,
    /// Samples to measure ranges with: .csv, or .npy of the shape that the model takes
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Column of the class in a .csv sample [default: the last one, where there is one more than features]
    #[arg(long, value_name = "COLUMN", requires = "calibrate", conflicts_with = "labels")]
    label: Option<String>,
    /// Classes of a .npy sample, by number from 0: one .npy of integers
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    labels: Option<PathBuf>,
    /// The share of samples that fixed point may lose: of those that are right, or of equal classes without labels
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    tolerance: f64,
    /// Words for the classes, in the order of the outputs [default: those of the file, or numbers from 0]
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    classes: Vec<String>,
    /// Pixels p from 0 to 1 become (p − MEAN)/DEVIATION before the network, as by torchvision's Normalize; one pair, or
    /// one for each channel [default: as they are, 0,1; for a network that takes bytes 0,0.00392156862745]
    #[arg(
        long,
        value_name = "MEAN,DEVIATION,…",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pixels: Vec<f64>,
    /// Name of the model [default: that of the file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write the model to this file [default: the name of FILE with .gelu for its ending, beside it]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite what stands there, be it of another kind
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Shown {
    source: String,
    layers: String,
    parameters: usize,
    notes: Vec<String>,
    precision: Precision,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Measured>,
    verdict: String,
    model: String,
}

/// What a calibration found.
#[derive(Serialize)]
struct Measured {
    rows: usize,
    accuracy_float: Option<f64>,
    accuracy_fixed: Option<f64>,
    agreement: f64,
    largest_difference: f64,
    cut_off: serde_json::Value,
    stages: Vec<Stage>,
}

#[derive(Serialize)]
struct Stage {
    name: String,
    range: f64,
    exponent: i32,
}

impl Args {
    /// Where the model goes. A file that nobody named is not replaced by the way.
    fn destination(&self) -> Result<PathBuf> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let path = self.source.with_extension("gelu");
        match path.exists() && !self.force {
            false => Ok(path),
            true => Err(problem(
                format!("{} is there already", path.display()),
                "name another file with --out, or add --force to overwrite it",
            )),
        }
    }
}

/// Reads, checks, calibrates, and saves.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let inputs: Vec<&Path> = [
        Some(&args.source),
        args.architecture.as_ref(),
        args.calibrate.as_ref(),
        args.labels.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(PathBuf::as_path)
    .collect();
    let path = args.destination()?;
    let out = Destination::check(&path, Kind::Model, &inputs, args.force)?;
    let bytes = read(&args.source)?;
    let imported = import(args, &bytes)?;
    let sample =
        args.calibrate.as_deref().map(|path| Sample::read(path, args, &imported)).transpose()?;
    let schema = schema(args, &imported, sample.as_ref())?;
    let name = args.name.clone().unwrap_or_else(|| stem(&args.source));
    let (model, report) = match &sample {
        None => (gelu_import::uncalibrated(&imported, &name)?, None),
        Some(sample) => {
            let Calibrated { model, report } =
                calibrate(&imported, &name, &sample.samples, args.tolerance)?;
            check_loss(&report, args.tolerance)?;
            (model, Some(report))
        }
    };
    let provenance = Provenance {
        source: args.source.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        opset: imported.opset,
    };
    let mut model = model.with_schema(schema)?.with_provenance(provenance)?;
    if let Some(report) = &report {
        model = model.with_calibration(Calibration {
            rows: report.rows as u64,
            accuracy_float: report.accuracy_float,
            accuracy_fixed: report.accuracy_fixed,
            saturated: report.cut_off.iter().sum(),
        })?;
    }
    let verdict = audit::verdict(model.network(), model.precision())?;
    out.write(&model.to_bytes()?)?;
    if report.is_none() {
        tracing::warn!(
            "not calibrated: values beyond {} are cut off, and nobody has looked whether there are any; give \
             --calibrate a few hundred samples",
            1u64 << model.precision().activations.integer
        );
    }
    let shown = Shown {
        source: imported.source.clone(),
        layers: imported.architecture.to_string(),
        parameters: imported.architecture.parameters(),
        notes: imported.notes.clone(),
        precision: *model.precision(),
        calibration: report.as_ref().map(|report| Measured::new(report, &model)),
        verdict,
        model: path.display().to_string(),
    };
    output.show(&shown, shown.text(report.as_ref(), &model))
}

/// Whole numbers or fractions from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

/// A file, up to what an import may be large.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| path.display().to_string())?;
    Ok(bytes)
}

fn import(args: &Args, bytes: &[u8]) -> Result<Imported> {
    let name = args.source.display();
    let is_onnx =
        args.source.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    let imported = match is_onnx && !gelu_import::is_safetensors(bytes) {
        true if args.architecture.is_some() => {
            return Err(problem(
                format!("{name} is an ONNX file, which says itself how its layers are connected"),
                "leave out --architecture",
            ));
        }
        true => gelu_import::onnx(bytes),
        false => {
            let json = args.architecture.as_deref().map(std::fs::read_to_string).transpose();
            let json = json.context("cannot read the architecture")?;
            let architecture = json.as_deref().map(Sequential::from_json).transpose()?;
            gelu_import::state_dict(bytes, architecture.as_ref())
        }
    };
    imported.map_err(|error| {
        let next = match &error {
            ImportError::Unsupported(_) => {
                "change these parts of the network, or train it without them; the rest of the file is supported"
            }
            ImportError::Architecture(_) => "write --architecture FILE to fit the tensors, and run the command again",
            ImportError::NotA { .. } => "name an .onnx file, or a .safetensors file of a PyTorch state dict",
            _ => "choose a smaller network",
        };
        problem(format!("{name}: {error}"), next)
    })
}

fn check_loss(report: &Report, tolerance: f64) -> Result<()> {
    match report.loss() <= tolerance {
        true => Ok(()),
        false => Err(problem(
            format!(
                "fixed point loses {} of {} rows, the tolerance is {}",
                percent(report.loss()),
                report.rows,
                percent(tolerance)
            ),
            "check that the sample is scaled as in training and is large enough; then allow more with --tolerance",
        )),
    }
}

/// The words of the classes.
fn classes(args: &Args, imported: &Imported) -> Result<Vec<String>> {
    let count = imported.architecture.classes();
    match (&args.classes[..], &imported.classes) {
        ([], Some(classes)) => Ok(classes.clone()),
        ([], None) => Ok((0..count).map(|class| class.to_string()).collect()),
        (words, _) if words.len() == count => Ok(words.to_vec()),
        (words, _) => Err(problem(
            format!("--classes names {} classes, the model has {count}", words.len()),
            "name all of them, in the order of the outputs",
        )),
    }
}

/// What inputs and classes mean, with the scaling of the file.
fn schema(args: &Args, imported: &Imported, sample: Option<&Sample>) -> Result<Schema> {
    let name = sample.and_then(|sample| sample.label.clone()).unwrap_or_else(|| "class".into());
    let label = Some(Label { name, classes: classes(args, imported)? });
    let Shape::Image { channels, height, width } = imported.architecture.input() else {
        if !args.pixels.is_empty() {
            return Err(problem(
                "--pixels is for images, but the model takes a list of numbers",
                "leave it out",
            ));
        }
        let numbered = || {
            let width: usize = imported.sample.shape().iter().product();
            (1..=width).map(|i| format!("x{i}")).collect()
        };
        let names =
            match (sample.and_then(|sample| sample.columns.clone()), imported.sample.table()) {
                (Some(names), _) => names,
                (None, Some(table)) if table.is_named => Vec::new(),
                (None, _) => numbered(),
            };
        return match imported.sample.table() {
            Some(table) => of_columns(table, &names, label),
            None => Ok(Schema::of_numbers(&names, label)?),
        };
    };
    let scaling = imported.sample.array().and_then(|array| array.scaling.as_ref());
    // Of the network on pixels from 0 to 1: --pixels first, then what the file does.
    let given: Vec<_> = args.pixels.chunks(2).map(|pair| pair.to_vec()).collect();
    if !([0, 1, channels].contains(&given.len())
        && given.iter().all(|pair| pair.len() == 2 && pair[1] > 0.0))
    {
        return Err(problem(
            format!("--pixels has {} numbers", args.pixels.len()),
            format!("give a mean and a deviation above 0, or {channels} such pairs"),
        ));
    }
    let of_channel = |channel: usize| {
        let pair = given.get(channel).or(given.first());
        let first =
            pair.map_or(Scale::IDENTITY, |pair| Scale { mean: pair[0], deviation: pair[1] });
        let Some(second) = scaling.map(|s| s.of_feature(channel * height * width)) else {
            return first;
        };
        let mean = first.mean + first.deviation * second.mean;
        Scale { mean, deviation: first.deviation * second.deviation }
    };
    let is_plain = given.is_empty() && scaling.is_none();
    let scale = if is_plain { Vec::new() } else { (0..channels).map(of_channel).collect() };
    let image = Image { shape: [channels, height, width], max: 255, scale };
    Ok(Schema::new(Description {
        version: VERSION,
        image: Some(image),
        label,
        ..Description::default()
    })?)
}

impl Measured {
    fn new(report: &Report, model: &Model) -> Self {
        let stage = |stage: &gelu_import::StageRange| Stage {
            name: stage.name.clone(),
            range: stage.range,
            exponent: stage.exponent,
        };
        Self {
            rows: report.rows,
            accuracy_float: report.accuracy_float,
            accuracy_fixed: report.accuracy_fixed,
            agreement: report.agreement,
            largest_difference: report.largest_difference,
            cut_off: CutOff::new(model.network(), &report.cut_off).by_layer(),
            stages: report.stages.iter().map(stage).collect(),
        }
    }
}

impl Shown {
    fn text(&self, report: Option<&Report>, model: &Model) -> String {
        let mut text =
            format!("{}\n{}\n{} parameters\n", self.source, self.layers, self.parameters);
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        let Precision { activations, weights, .. } = self.precision;
        if let Some(report) = report {
            let mut stages = table(&["stage", "#inputs up to", "#times"]);
            for stage in &report.stages {
                stages.add_row([
                    stage.name.clone(),
                    format!("{:.3}", stage.range),
                    format!("2^{}", stage.exponent),
                ]);
            }
            let accuracy = match (report.accuracy_float, report.accuracy_fixed) {
                (Some(float), Some(fixed)) => {
                    format!(
                        "accuracy {} in floating point, {} in fixed point; ",
                        percent(float),
                        percent(fixed)
                    )
                }
                _ => String::new(),
            };
            text += &format!(
                "{stages}\n{} rows: {accuracy}the same class for {}; probabilities differ by {:.4} at most; {}\n",
                report.rows,
                percent(report.agreement),
                report.largest_difference,
                CutOff::new(model.network(), &report.cut_off),
            );
        }
        text + &format!(
            "integers of {} + {} bits for activations, {} + {} for weights\nVerdict: {}.\nmodel: {}",
            activations.integer,
            activations.fraction,
            weights.integer,
            weights.fraction,
            self.verdict,
            self.model
        )
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
