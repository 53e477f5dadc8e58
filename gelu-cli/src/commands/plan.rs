//! `gelu plan MODEL`: how each exchange travels in ciphertexts, what it costs, and under which cryptosystem it
//! costs least.

use anyhow::Result;
use clap::ValueEnum;
use gelu_core::Precision;
use gelu_core::plan::Purpose;
use gelu_nn::Sequential;
use serde::Serialize;

use super::audit::open;
use crate::args::{self, Cryptosystem, FreezeArgs};
use crate::backend::Backend;
use crate::cost::blind::{Blind, Offered};
use crate::cost::{Costs, Count};
use crate::output::{Output, table};
use crate::phases::{bytes, seconds};

/// Show how each layer travels in ciphertexts, and what it costs, before anything is encrypted
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu plan lenet5                             one query, layer by layer
  gelu plan mnist.safetensors --batch 32       32 samples at a time, a model file
  gelu plan lenet5 --train --batch 17          a mini-batch of a training
  gelu plan iris --train --sigma 80 --steps 5  with longer masks, in shorter leases
  gelu plan conv1 --backend lattice --measure  under a lattice, by prices measured here
  gelu plan lenet5 --train --freeze 4          a base that stays, and a head that is trained
  gelu plan conv1 --key-bits 3072 --json       for programs

How to read it: a layout says how values sit in ciphertexts. Of a scheme with slots (paillier), it is
`samples/g` or `positions/g`: a ciphertext holds one feature of all samples, or what one weight of a
convolution's kernel meets, everywhere in the image; on the way down g sums share a ciphertext. Of
a lattice it is `dense`, `image` or `columns/BxKxN`: B samples and K channels in a ciphertext that
goes up, N channels in one that comes down, `packed-` if answers are packed (the book: The lattice
backend).

The expected time is that of one core for both parties, with 1 Gbit/s between them (100 Mbit/s for
trainings under a lattice): of the reference machine, or with --measure of this one, where a backend
can measure its prices. It is what the client minimises, layer by layer; it names its choice to the
server.")]
pub(crate) struct Args {
    /// A model file, or the name of a network
    #[arg(value_name = "MODEL")]
    model: String,
    /// Samples at a time [default: 1, or 10 with --train]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    batch: Option<usize>,
    /// A mini-batch of a training instead of a query
    #[arg(long)]
    train: bool,
    /// Mini-batches of a lease: each one's mask or update makes values wider
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = args::lease_steps(), requires = "train")]
    steps: u32,
    /// Bits by which a mask over the integers is longer than what it hides, 40 to 100 [default: the
    /// model's]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(40..=100), requires = "train")]
    sigma: Option<u32>,
    /// Take half a second to measure this machine
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    freeze: FreezeArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
}

/// How a mini-batch or a query of a model travels, and what it costs.
#[derive(Debug, Serialize)]
pub struct Shown {
    model: String,
    layers: String,
    purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sigma: Option<u32>,
    backend: &'static str,
    key_bits: u32,
    measured: bool,
    costs: Costs,
    /// Sums of all layers that a client reads of one sample of an open query.
    #[serde(skip_serializing_if = "Option::is_none")]
    sums: Option<u64>,
    /// The same query blind.
    #[serde(skip_serializing_if = "Option::is_none")]
    blind: Option<Offered>,
    /// The same under each cryptosystem of this build, with the keys that it has by default.
    backends: Vec<Alternative>,
}

/// The mini-batch under one cryptosystem.
#[derive(Debug, Serialize)]
struct Alternative {
    backend: &'static str,
    key_bits: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    nanoseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Why it cannot carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Prints the plan.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let (architecture, inference, training) = open(&args.model)?;
    let architecture = args.freeze.network(architecture)?;
    let (precision, purpose, batch) = match args.train {
        false => (inference, Purpose::Inference, 1),
        true => {
            let mask_bits = args.sigma.unwrap_or(training.mask_bits);
            let precision = Precision { mask_bits, ..training };
            (precision, Purpose::Training { steps: args.steps }, 10)
        }
    };
    let batch = args.batch.unwrap_or(batch);
    let (network, precision, measured) = (&architecture.network(), &precision, args.measure);
    let count = Count { network, precision, batch, purpose, measured };
    let shown = Shown::counted(&args.model, &architecture, count, args.cryptosystem)?;
    output.show(&shown, shown.text())
}

impl Shown {
    /// Of `batch` samples at a time, at the prices of the reference machine.
    ///
    /// # Errors
    /// When the numbers do not fit the plaintexts: which layer needs how many bits.
    pub fn of(
        model: &str,
        architecture: &Sequential,
        precision: &Precision,
        cryptosystem: Cryptosystem,
        batch: usize,
        purpose: Purpose,
    ) -> Result<Self> {
        let network = &architecture.network();
        let count = Count { network, precision, batch, purpose, measured: false };
        Self::counted(model, architecture, count, cryptosystem)
    }

    fn counted(
        model: &str,
        architecture: &Sequential,
        count: Count<'_>,
        cryptosystem: Cryptosystem,
    ) -> Result<Self> {
        let chosen = cryptosystem.for_purpose(count.purpose);
        let steps = match count.purpose {
            Purpose::Inference => None,
            Purpose::Training { steps } => Some(steps),
        };
        let sums =
            || count.network.stages().iter().map(|stage| stage.linear.outputs() as u64).sum();
        Ok(Self {
            model: model.into(),
            layers: architecture.to_string(),
            purpose: if steps.is_some() { "training" } else { "inference" },
            steps,
            sigma: chosen.backend.sigma(count.precision).filter(|_| steps.is_some()),
            backend: chosen.backend.id(),
            key_bits: chosen.key_bits,
            measured: count.measured,
            costs: count.under(chosen)?,
            sums: steps.is_none().then(sums),
            blind: steps.is_none().then(|| count.blind(chosen)),
            backends: alternatives(count),
        })
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut rows = table(&[
            "layer",
            "direction",
            "layout",
            "#value\nbits",
            "#ciphertexts\nup + down",
            "#operations",
            "#expected\ntime",
            "#sent",
        ]);
        let costs = &self.costs;
        for e in &costs.exchanges {
            rows.add_row([
                e.layer.clone(),
                e.direction.clone(),
                e.layout.clone(),
                e.value_bits.to_string(),
                format!("{} + {}", e.ciphertexts_up, e.ciphertexts_down),
                e.operations.to_string(),
                seconds(e.seconds()),
                bytes(e.bytes),
            ]);
        }
        let what = match (self.steps, self.sigma) {
            (Some(steps), Some(sigma)) => {
                format!("Training: one of {steps} mini-batches of a lease, sigma {sigma}")
            }
            (Some(steps), None) => {
                format!("Training: one of {steps} mini-batches of a lease, masks modulo 2^T")
            }
            (None, _) => "Inference".to_owned(),
        };
        format!(
            "{layers}\n{what}, {batch} at a time, {backend} with keys of {bits} bits\n\n{rows}\n\
             Total: {rounds} rounds, {ciphertexts} ciphertexts, {operations} operations, {time} expected, \
             {sent} sent.\n{hiding}{modes}\n{others}",
            layers = self.layers,
            batch = match costs.batch {
                1 => "one sample".to_owned(),
                n => format!("{n} samples"),
            },
            backend = self.backend,
            bits = self.key_bits,
            rounds = costs.rounds,
            ciphertexts = costs.ciphertexts,
            operations = costs.operations,
            time = seconds(costs.nanoseconds as f64 / 1e9),
            sent = bytes(costs.bytes),
            hiding = hiding(costs),
            modes = modes(self),
            others = comparison(self),
        )
    }
}

fn alternatives(count: Count<'_>) -> Vec<Alternative> {
    let secure = Backend::value_variants().iter().copied().filter(|backend| backend.is_secure());
    let alternative = |backend: Backend| {
        let cryptosystem = Cryptosystem::default_of(backend).for_purpose(count.purpose);
        let costs = count.under(cryptosystem);
        Alternative {
            backend: backend.id(),
            key_bits: cryptosystem.key_bits,
            nanoseconds: costs.as_ref().ok().map(|costs| costs.nanoseconds),
            bytes: costs.as_ref().ok().map(|costs| costs.bytes),
            refused: costs.err().map(|error| error.to_string()),
        }
    };
    secure.map(alternative).collect()
}

/// How well the weights hide in each number of an answer, where that depends on the plan.
fn hiding(costs: &Costs) -> String {
    let least = costs.exchanges.iter().filter_map(|exchange| exchange.hiding_bits).min();
    least.map_or(String::new(), |bits| {
        format!(
            "Weights hide in each number that comes down but for a distance of 2^-{bits}, if the client's key was \
             made as written.\n"
        )
    })
}

/// An open and a blind query side by side.
fn modes(shown: &Shown) -> String {
    let (Some(sums), Some(offered)) = (shown.sums, &shown.blind) else { return String::new() };
    let blind = match offered {
        Offered::Blind(blind) => blind,
        Offered::Refused { refused } => return format!("\nNo blind queries: {refused}.\n"),
    };
    let Blind { tickets, query, .. } = blind;
    let costs = &shown.costs;
    let time = |ns: u64| seconds(ns as f64 / 1e9);
    let mut rows = table(&["--mode", "#open", "#blind,\nbefore", "#blind,\nwith it"]);
    let mut row = |name: &str, cells: [String; 3]| {
        rows.add_row([name.to_owned()].into_iter().chain(cells));
    };
    let times = [costs.nanoseconds, tickets.nanoseconds, query.nanoseconds];
    row("expected time", times.map(time));
    row("sent", [costs.bytes, tickets.bytes, query.bytes].map(bytes));
    let trips = [costs.rounds, tickets.round_trips, query.round_trips];
    row("round trips", trips.map(|trips| trips.to_string()));
    format!(
        "\nThe same query open, and blind (by tickets that are made before it):\n{rows}\n\
         Of each sample the client learns, open: {sums} sums of layers, which are equations about the weights; \
         blind: {}. The server learns nothing in either.\n",
        blind.told()
    )
}

/// All cryptosystems side by side, and which is the fastest and which the smallest.
fn comparison(shown: &Shown) -> String {
    let mut rows = table(&["--backend", "#key\nbits", "#expected\ntime", "#sent", ""]);
    for other in &shown.backends {
        let least = |of: fn(&Alternative) -> Option<u64>| {
            let least = shown.backends.iter().filter_map(of).min();
            least.is_some() && of(other) == least
        };
        let best = [
            (least(|other| other.nanoseconds), "fastest"),
            (least(|other| other.bytes), "smallest"),
        ];
        let best: Vec<_> = best.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        rows.add_row([
            other.backend.to_owned(),
            other.key_bits.to_string(),
            other.nanoseconds.map_or("–".into(), |ns| seconds(ns as f64 / 1e9)),
            other.bytes.map_or("–".into(), bytes),
            other.refused.clone().unwrap_or(best.join(", ")),
        ]);
    }
    let machine = if shown.measured { "this machine" } else { "the reference machine" };
    format!("Under each cryptosystem of this build, on {machine}:\n{rows}")
}
