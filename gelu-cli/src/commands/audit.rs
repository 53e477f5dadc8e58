//! `gelu audit MODEL`: what each party could learn, layer by layer, before anybody learns it.

use std::path::Path;

use anyhow::Result;
use gelu_core::ledger::{Exposure, LayerExposure};
use gelu_core::plan::Purpose;
use gelu_core::{Network, Precision};
use gelu_nn::{Sequential, zoo};
use serde::Serialize;

use crate::args::{self, Cryptosystem, FreezeArgs};
use crate::backend::{Backend, Scheme, Task};
use crate::cost::blind::{Blind, Offered};
use crate::cost::{Costs, Count};
use crate::model;
use crate::output::{Output, table};
use crate::phases::bytes;
use crate::problem::problem;

/// Show what a model would leak, layer by layer, to whom and after how many samples
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu audit iris                          a network of `gelu models`
  gelu audit lenet5.safetensors            a model file
  gelu audit kr-vs-kp --batch 32 --steps 20
  gelu audit lenet5 --freeze 4             a base that stays, and a head that is trained

How to read it: a client sees linear equations about the weights. Up to the `safe` column's samples
each row (forward) or column (backward) stays undetermined by sums of that direction; the server's
ledger enforces the column for any client, which may pack its ciphertexts as it likes. The data's
column is the other side: the sum of a lease over fewer different samples exposes the inputs to the
server. Frozen layers are asked forward alone and count over all versions of the model together.
A blind query tells no sums: its answer's bits count against all weights together (the book: Blind
inference). What it all costs: `gelu plan`.")]
pub(crate) struct Args {
    /// A model file, or the name of a network
    #[arg(value_name = "MODEL")]
    model: String,
    /// Samples of a mini-batch in training
    #[arg(long, default_value_t = 10, value_parser = args::batch())]
    batch: usize,
    /// Mini-batches of a lease in training
    #[arg(long, default_value_t = 20, value_parser = args::lease_steps())]
    steps: u32,
    #[command(flatten)]
    freeze: FreezeArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
}

/// One use of the model.
#[derive(Debug, Serialize)]
struct Account {
    verdict: String,
    safe_samples: u64,
    narrowest: LayerExposure,
    #[serde(skip_serializing_if = "Option::is_none")]
    least_samples: Option<u64>,
    exposure: Exposure,
    costs: Costs,
}

/// What each party could learn of a model: an account of open queries, one of blind ones, and one of a training.
#[derive(Debug, Serialize)]
pub struct Audit {
    model: String,
    layers: String,
    parameters: usize,
    backend: &'static str,
    key_bits: u32,
    inference: Account,
    blind: Offered,
    training: Account,
    /// Size of the keys of a training.
    #[serde(skip)]
    training_bits: u32,
    /// Mini-batches of a lease, and samples of a mini-batch.
    #[serde(skip)]
    lease: [usize; 2],
}

/// Prints all accounts.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let (architecture, inference, training) = open(&args.model)?;
    let architecture = args.freeze.network(architecture)?;
    let precisions = [&inference, &training];
    let (cryptosystem, batch, steps) = (args.cryptosystem, args.batch, args.steps);
    let audit = Audit::of(&args.model, &architecture, precisions, cryptosystem, batch, steps)?;
    output.show(&audit, audit.text())
}

impl Audit {
    /// Of a network at its precisions for queries, one sample at a time, and for training, in leases of `steps`
    /// mini-batches of `batch` samples.
    ///
    /// # Errors
    /// When the numbers do not fit the plaintexts: which layer needs how many bits.
    pub fn of(
        model: &str,
        architecture: &Sequential,
        [inference, training]: [&Precision; 2],
        cryptosystem: Cryptosystem,
        batch: usize,
        steps: u32,
    ) -> Result<Self> {
        let network = architecture.network();
        let count = |precision, batch, purpose| Count {
            network: &network,
            precision,
            batch,
            purpose,
            measured: false,
        };
        let account = |count, cryptosystem: Cryptosystem| {
            cryptosystem.backend.run(Accounted(count, cryptosystem.key_bits))
        };
        let one_query = count(inference, 1, Purpose::Inference);
        let (queries, mini_batches) = (cryptosystem, cryptosystem.for_training());
        Ok(Self {
            model: model.into(),
            layers: architecture.to_string(),
            parameters: architecture.parameters(),
            backend: queries.backend.id(),
            key_bits: queries.key_bits,
            inference: account(one_query, queries)?,
            blind: one_query.blind(queries),
            training: account(count(training, batch, Purpose::Training { steps }), mini_batches)?,
            training_bits: mini_batches.key_bits,
            lease: [usize::try_from(steps)?, batch],
        })
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let [steps, batch] = self.lease;
        format!(
            "{layers}\n{parameters} parameters, {backend} with keys of {bits} bits\n\n\
             Inference, open, one sample at a time\n{inference}\n\n\
             Inference, blind, one sample at a time\n{blind}\n\n\
             Training, leases of {steps} mini-batches of {batch} samples\n{training}",
            layers = self.layers,
            parameters = self.parameters,
            backend = self.backend,
            bits = match self.training_bits {
                bits if bits == self.key_bits => bits.to_string(),
                bits => format!("{} for queries, {bits}", self.key_bits),
            },
            inference = self.inference.text(),
            blind = blind(&self.blind),
            training = self.training.text(),
        )
    }
}

/// A network by name, or a model file, with its precision for queries and for training.
pub(super) fn open(model: &str) -> Result<(Sequential, Precision, Precision)> {
    if let Some(entry) = zoo::by_name(model) {
        return Ok(((entry.architecture)(), Precision::INFERENCE, Precision::TRAINING));
    }
    if !Path::new(model).exists() {
        let names: Vec<_> = zoo::entries().iter().map(|entry| entry.name).collect();
        return Err(problem(
            format!("{model:?} is neither a file nor a network that gelu knows"),
            format!("name a model file, or one of {}", names.join(", ")),
        ));
    }
    let model = model::load(Path::new(model))?;
    Ok((model.architecture().clone(), *model.precision(), Precision::TRAINING))
}

/// The verdict on queries of a network, one sample at a time, under the default cryptosystem.
pub(super) fn verdict(network: &Network, precision: &Precision) -> Result<String> {
    let Cryptosystem { backend, key_bits, .. } = Cryptosystem::default_of(Backend::DEFAULT);
    let count =
        Count { network, precision, batch: 1, purpose: Purpose::Inference, measured: false };
    Ok(backend.run(Accounted(count, key_bits))?.verdict)
}

/// The account of blind queries.
fn blind(offered: &Offered) -> String {
    let Blind { answers, tickets, query, verdict, .. } = match offered {
        Offered::Blind(blind) => blind,
        Offered::Refused { refused } => return format!("None: {refused}."),
    };
    let mut text = table(&[
        "the client is told",
        "#bits\na sample",
        "#bits of all\nweights",
        "#safe samples,\nany client",
    ]);
    for told in answers {
        text.add_row([
            told.name().to_owned(),
            told.bits.to_string(),
            told.secret_bits.to_string(),
            told.safe_samples.to_string(),
        ]);
    }
    format!(
        "{text}\nVerdict: {verdict}.\nCost: {} in {} round trips before the query, {} in {} with it.",
        bytes(tickets.bytes),
        tickets.round_trips,
        bytes(query.bytes),
        query.round_trips,
    )
}

/// The account of a use with keys of so many bits.
struct Accounted<'a>(Count<'a>, u32);

impl Task for Accounted<'_> {
    type Output = Result<Account>;

    fn run<S: Scheme>(self) -> Result<Account> {
        let Self(Count { network, precision, batch, purpose, measured }, bits) = self;
        let plan = S::plan(network, precision, batch, purpose, bits)?;
        let exposure = Exposure::new(network, precision, &plan);
        let (safe_samples, narrowest) = exposure.safe_samples();
        Ok(Account {
            verdict: exposure.verdict(),
            safe_samples,
            narrowest: narrowest.clone(),
            least_samples: exposure.least_samples().map(|(least, _)| least),
            costs: Costs::of::<S>(&plan, &S::prices_here(bits, measured)?),
            exposure,
        })
    }
}

impl Account {
    fn text(&self) -> String {
        let mut text = table(&[
            "layer",
            "direction",
            "#unknowns",
            "#equations\na sample",
            "#safe samples,\nhonest client",
            "#safe samples,\nany client",
            "#the data needs\nat least",
            "#value bits\n(headroom)",
            "#layout, ciphertexts\nup + down",
        ]);
        for (layer, cost) in self.exposure.model.iter().zip(&self.costs.exchanges) {
            let of_layer = |d: &&gelu_core::ledger::DataExposure| {
                d.layer == layer.layer && cost.direction == "forward"
            };
            let data = self.exposure.data.iter().find(of_layer);
            text.add_row([
                if layer.frozen { format!("{}\nfrozen", layer.layer) } else { layer.layer.clone() },
                cost.direction.clone(),
                layer.unknowns.to_string(),
                layer.equations_per_sample.to_string(),
                layer.safe_samples_honest().to_string(),
                layer.safe_samples().to_string(),
                data.map(|d| d.least_samples().to_string()).unwrap_or_default(),
                format!("{} ({})", cost.value_bits, cost.headroom_bits),
                format!("{}\n{} + {}", cost.layout, cost.ciphertexts_up, cost.ciphertexts_down),
            ]);
        }
        format!(
            "{text}\nVerdict: {}.\nCost: {} rounds and {} ciphertexts {}, {} and {} \
             operations a sample.",
            self.verdict,
            self.costs.rounds,
            self.costs.ciphertexts,
            if self.least_samples.is_some() { "a mini-batch" } else { "a query" },
            bytes(self.costs.bytes_per_sample),
            self.costs.operations_per_sample,
        )
    }
}
