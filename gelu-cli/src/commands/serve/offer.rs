//! One model of a server: how it is named on the command line, and what the server is offered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use gelu_core::ledger::Policy;
use gelu_core::server::{BlindTerms, LearningRate, ServedModel};
use gelu_nn::{Model, Rate};
use gelu_service::Offer;
use gelu_service::server::{AnyOffer, Terms};

use crate::args::{self, Cryptosystem, FreezeArgs};
use crate::backend::{Scheme, Task};
use crate::leases;
use crate::mode::{self, Answer};
use crate::model;
use crate::problem::problem;
use crate::rate::RateArgs;

/// A model and the terms on which it is served.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    /// The model file: served, and replaced by every committed version
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pub(super) model: Option<PathBuf>,
    /// What clients call it: HOST:PORT/NAME [default: its own name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The accounts that may use it [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    accounts: Option<Vec<String>>,
    /// Begin empty books for a trained model whose ledger is gone: what accounts have seen counts no more
    #[arg(long)]
    new_ledger: bool,
    /// The server's own key for --secret-rate [default: a fresh one]
    #[arg(long, value_name = "FILE", requires = "secret_rate")]
    key: Option<PathBuf>,
    /// The most samples of a lease [default: 4096, or as many as clients of this model may need]
    #[arg(long, value_name = "N")]
    lease_samples: Option<u64>,
    /// Answer beyond the ledger's bound: clients can then solve for this model's weights
    #[arg(long)]
    pub(super) allow_model_extraction: bool,
    /// How queries may be asked, the preferred mode first [default: open,blind; blind alone where the first open query
    /// could give weights away]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODES")]
    pub(super) modes: Option<Vec<mode::Mode>>,
    /// What a blind query may be told
    #[arg(long, value_enum, default_value_t = Answer::Class)]
    answer: Answer,
    /// Tickets for blind queries that one session may hold
    #[arg(long, value_name = "N", default_value_t = BlindTerms::default().tickets, value_parser = args::count(1..))]
    most_tickets: usize,
    /// Use the time after a query to prepare the next one, which is then answered sooner
    #[arg(long)]
    precompute: bool,
    #[command(flatten)]
    freeze: FreezeArgs,
    /// Draw the lengths of leases from this seed, to repeat a run; clients can then predict them
    #[arg(long, value_name = "N")]
    danger_lease_seed: Option<u64>,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
}

impl ModelArgs {
    /// Where the model's file is.
    pub(super) fn file(&self) -> &Path {
        self.model.as_deref().unwrap_or(Path::new(""))
    }

    /// What the server is offered; refuses what nobody could use.
    pub(super) fn offer(&self) -> Result<AnyOffer> {
        let model = self.freeze.model(model::load(self.file())?)?;
        self.cryptosystem.backend.run(Offering { args: self, model: &model })
    }
}

struct Offering<'a> {
    args: &'a ModelArgs,
    model: &'a Model,
}

impl Task for Offering<'_> {
    type Output = Result<AnyOffer>;

    fn run<S: Scheme>(self) -> Result<AnyOffer> {
        let Self { args, model } = self;
        let mut offer = Offer::new(args.file(), learning_rate::<S>(args)?);
        offer.name.clone_from(&args.name);
        offer.new_ledger = args.new_ledger;
        offer.accounts = args.accounts.as_ref().map(|names| BTreeSet::from_iter(names.clone()));
        offer.key_bits = S::KEY_BITS[0]..=S::KEY_BITS[S::KEY_BITS.len() - 1];
        // Twice as many different samples as are enough, and room for a remainder.
        let needed = 4 * leases::enough(model.network());
        offer.lease_samples = args.lease_samples.unwrap_or(offer.lease_samples.max(needed));
        offer.precompute = args.precompute;
        offer.freeze = args.freeze.stages();
        offer.modes = args.modes.as_ref().map(|modes| modes.iter().map(|m| (*m).into()).collect());
        offer.blind =
            BlindTerms { tickets: args.most_tickets, scores: args.answer == Answer::Scores };
        offer.danger_lease_seed = args.danger_lease_seed.map(seed);
        if args.allow_model_extraction {
            offer.policy = Policy::AllowModelExtraction;
        }
        check_useful(&Terms::of(&ServedModel::from(model), &offer)?, args.file())?;
        Ok(offer.into())
    }
}

fn learning_rate<S: Scheme>(args: &ModelArgs) -> Result<LearningRate<S>> {
    Ok(match args.rate.rate() {
        Rate::Public(eta) => LearningRate::Public(eta),
        Rate::Secret { g, g_max } => {
            let mut rng = rand::make_rng::<rand::rngs::ChaCha20Rng>();
            let key = match &args.key {
                Some(path) => S::read_key(path)?,
                None => S::keygen(args.cryptosystem.for_training().key_bits, &mut rng)?,
            };
            LearningRate::Secret { key: Arc::new(key), g, g_max }
        }
    })
}

fn seed(n: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    seed
}

/// Refuses to serve what nobody could use.
fn check_useful(terms: &Terms, file: &Path) -> Result<()> {
    if terms.useful {
        return Ok(());
    }
    Err(problem(
        format!("the ledger would refuse every request: {}", terms.inference),
        format!(
            "`gelu audit {}` shows the table; --modes blind tells the answers of queries and no sums, where \
             the network has circuits; --allow-model-extraction serves it all the same, if whoever may query \
             may also have the model",
            file.display()
        ),
    ))
}
