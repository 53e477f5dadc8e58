//! `gelu transfer features`: what the compute party's base makes of rows that it never sees.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gelu_core::error::PeerMisbehaved;
use gelu_nn::{Dataset, Schema, Split};
use gelu_service::Error;
use gelu_transfer::{BasePlan, Rows};
use rand::rngs::ChaCha20Rng;
use serde_json::{Value, json};

use super::super::source::{check_inputs, with_features};
use super::base;
use super::fit::check_memory;
use super::link::Link;
use super::outcome::BaseBytes;
use super::wire::{BaseTerms, Card, Terms};
use crate::args::Threads;
use crate::client::{ServerArgs, wait_or};
use crate::data::{DataArgs, Meaning};
use crate::destination::{Destination, Kind};
use crate::output::Output;
use crate::phases::{Phases, bytes, say, seconds};
use crate::problem::Advise;

/// Have another party's base turn rows into features, without seeing them: setup 1 without its file
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Features",
    mut_arg("server", |arg| arg.required(true).help("The compute party, HOST:PORT: `gelu transfer compute --base` there")),
    mut_arg("key", |arg| arg.hide(true)),
    after_help = "\
Examples:
  gelu transfer features --server gelu.example.org:7879 --account alice --dataset digits

The rows go to the compute party encrypted and come back as what its base makes of them, under a key that is made for
this run. What columns mean and how numbers are scaled is the base's own, and comes from it. The file is one of
features: `gelu transfer fit --features` trains a head on them, by either engine, and `gelu transfer predict --features`
answers with it. For new rows there is --new.

The compute party learns sizes, and between which powers of two all inputs are. The data party learns the features of
its rows: equations about the base, as many as there are features. They are as private as the rows."
)]
pub(in super::super) struct Args {
    /// Where to write them: train.x, train.y, test.x and test.y, or test.x alone
    #[arg(
        long,
        value_name = "FILE",
        default_value = "features.safetensors",
        help_heading = "Output"
    )]
    out: PathBuf,
    /// Overwrite what stands at --out
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// The rows of --csv have no labels and are to be answered: all of them become test.x
    #[arg(long, requires = "csv", conflicts_with = "label")]
    new: bool,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    threads: Threads,
}

/// Rows of the data party, or what became of them.
enum Given {
    /// To train and to judge a head.
    Labelled(Split),
    /// To be answered.
    New(Dataset),
}

/// Asks, and writes what came back.
pub(in super::super) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    let inputs: Vec<&Path> = args.data.csv.as_deref().into_iter().collect();
    let out = Destination::check(&args.out, Kind::Features, &inputs, args.force)?;
    let (address, tls) = (args.server.server.as_deref().unwrap_or_default(), args.server.tls()?);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let next = "run the command again";

    let card = wait_or(&runtime, Link::look(address, &tls), next)?;
    let given = args.given(&card)?;
    let parts = given.parts();
    let plan = base::plan(&parts, &card)?;
    check_memory(plan.memory_of_rows())?;
    say(&format!(
        "{} rows of {} inputs, to be {} features by the base {}\nring of degree {}, {} levels",
        plan.settings().rows,
        card.inputs,
        card.features,
        card.name.escape_debug(),
        plan.parameters().degree(),
        plan.parameters().top_level(),
    ));
    let terms = Terms { base: Some(BaseTerms::of(plan.settings())?), training: None };
    let mut phases = Phases::start();
    let rng = &mut rand::make_rng::<ChaCha20Rng>();
    let asked = async {
        let mut link = Link::open(address, &tls, &terms).await?;
        let features = base::features(&mut link, &plan, &parts, &mut phases, rng).await?;
        link.close().await;
        Ok(features)
    };
    let (features, sent) = wait_or(&runtime, asked, next)?;
    let made = given.as_features(&features)?;
    out.write(&made.to_tensors()?)?;
    let done = Done { args, card: &card, plan: &plan, made: &made, sent, phases };
    output.show(&done.json(), done.text(address))
}

impl Args {
    /// The rows, as the base takes them.
    fn given(&self, card: &Card) -> Result<Given> {
        let schema = card.schema.as_deref().map(Schema::from_json).transpose();
        let schema =
            schema.map_err(|_| Error::from(PeerMisbehaved::FailedCheck("the schema of a base")))?;
        let meaning = Meaning::Base(schema.as_ref());
        let given = match &self.data.csv {
            Some(path) if self.new => Given::New(self.data.new_rows(path, meaning)?),
            _ => Given::Labelled(self.data.load(Some(&card.name), meaning)?.split),
        };
        given.parts().iter().try_for_each(|part| check_inputs(card.inputs as usize, part))?;
        Ok(given)
    }
}

impl Given {
    fn parts(&self) -> Vec<&Dataset> {
        match self {
            Self::Labelled(split) => base::parts(split).to_vec(),
            Self::New(rows) => vec![rows],
        }
    }

    /// The same rows, by what the base made of them.
    fn as_features(&self, features: &Rows) -> Result<Self> {
        Ok(match self {
            Self::Labelled(split) => {
                let (train, test) = base::columns(features, split.train.len());
                Self::Labelled(Split {
                    train: with_features(train, &split.train)?,
                    test: with_features(test, &split.test)?,
                })
            }
            Self::New(rows) => {
                let (_, all) = base::columns(features, 0);
                Self::New(with_features(all, rows)?)
            }
        })
    }

    fn to_tensors(&self) -> Result<Vec<u8>> {
        let written = match self {
            Self::Labelled(split) => split.to_tensors(),
            Self::New(rows) => rows.to_unlabelled_tensors(),
        };
        written.advise(|| "give fewer rows".into())
    }
}

/// What came of it.
struct Done<'a> {
    args: &'a Args,
    card: &'a Card,
    plan: &'a BasePlan,
    made: &'a Given,
    sent: BaseBytes,
    phases: Phases,
}

impl Done<'_> {
    fn json(&self) -> Value {
        let Card { name, inputs, features, squares, .. } = self.card;
        let rows: Vec<_> = self.made.parts().iter().map(|part| part.len()).collect();
        let parameters = self.plan.parameters();
        json!({
            "base": { "name": name, "inputs": inputs, "features": features, "squares": squares },
            "rows": rows,
            "ring": { "degree": parameters.degree(), "levels": parameters.top_level() },
            "bytes": self.sent,
            "phases": self.phases.done(),
            "seconds": self.phases.elapsed().as_secs_f64(),
            "features": self.args.out.display().to_string(),
        })
    }

    fn text(&self, address: &str) -> String {
        let BaseBytes { keys, up, down } = self.sent;
        let file = self.args.out.display();
        let next = match self.made {
            Given::New(_) => format!("gelu transfer predict --model HEAD --features {file}"),
            Given::Labelled(_) => format!(
                "gelu transfer fit --features {file} --engine ckks --server {address} --out head.safetensors"
            ),
        };
        format!(
            "features: {file}\n  cost      {}; keys {}, {} up, {} down\n  next      {next}",
            seconds(self.phases.elapsed().as_secs_f64()),
            bytes(keys),
            bytes(up),
            bytes(down),
        )
    }
}
