//! A lease, seen by the client that holds it: true updates, masks, and the final sum.

use core::ops::RangeInclusive;
use std::collections::BTreeSet;
use std::sync::Arc;

use ndarray::Array2;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::round::Round;
use super::{Context, StepReport};
use crate::backend::{Backend, SecretRate};
use crate::error::{ApiMisuse, Error, PeerMisbehaved, RangeError, Result};
use crate::ledger::{DataExposure, DataLedger, SampleId};
use crate::mask::{self, Masks};
use crate::message::{ClientMessage, Lease, LeaseRate};
use crate::pass::{Rounding, argmax, update};
use crate::plan::{Plan, Purpose};
use crate::update::Update;

/// How updates travel.
enum Mode<B: Backend> {
    /// In the open under a mask.
    Public,
    /// Under the server's key, scaled by its secret rate.
    Secret { public: B::PublicKey, updates: B::Rate, rate: <B::Rate as SecretRate<B>>::Rate },
}

/// A lease between two steps.
pub(super) struct Training<B: Backend> {
    plan: Arc<Plan<B::Layout>>,
    steps: u32,
    steps_done: u32,
    rounding: Rounding,
    mode: Mode<B>,
    /// ΣR: the server holds W − ΣR.
    masks: Arc<Masks>,
    /// ΣU (or ΣG): what the client will reveal at the end.
    sum: Update,
    /// U (or G) of the last step.
    last_update: Update,
    last_report: Option<StepReport>,
    /// The different samples in the sum.
    samples: BTreeSet<SampleId>,
    data: Vec<DataExposure>,
    /// As it was when the lease began.
    ledger: DataLedger,
}

impl<B: Backend> Training<B> {
    /// Checks the terms of a lease against what was asked for.
    pub(super) fn new(
        context: &Context<B>,
        lease: &Lease,
        batch: usize,
        lengths: RangeInclusive<u32>,
    ) -> Result<Self> {
        if !lengths.contains(&lease.steps) {
            let expected = format!("{} to {}", lengths.start(), lengths.end());
            return Err(PeerMisbehaved::out_of_bounds("steps", lease.steps, expected).into());
        }
        if lease.batch as usize != batch {
            return Err(PeerMisbehaved::out_of_bounds("batch", lease.batch, batch).into());
        }
        let plan = Arc::new(context.plan(batch, Purpose::Training { steps: lease.steps })?);
        let masks = plan.masks.expect("a training has masks");
        let (mode, rounding) = match &lease.rate {
            LeaseRate::Public(eta) if eta.is_finite() && *eta > 0.0 => {
                (Mode::Public, Rounding::Rate(*eta))
            }
            LeaseRate::Public(eta) => {
                return Err(PeerMisbehaved::out_of_bounds("rate", eta, "positive").into());
            }
            LeaseRate::Secret { .. } if B::WRAPS => {
                return Err(RangeError::NoSecretRate { backend: B::ID }.into());
            }
            LeaseRate::Secret { public_key, inverse_rate, g_max } => {
                check_g_max(*g_max, context)?;
                let public = B::public_key_from_bytes(public_key)?;
                let values = context.network.trained_parameters();
                let updates = B::Rate::plan(values, &context.precision, *g_max, &public)?;
                let rate = updates.read_rate(&public, inverse_rate)?;
                (Mode::Secret { public, updates, rate }, Rounding::PowerOfTwo { g_max: *g_max })
            }
        };
        Ok(Self {
            samples: BTreeSet::new(),
            data: DataExposure::of(&context.network),
            ledger: context.sums.ledger()?,
            plan,
            steps: lease.steps,
            steps_done: 0,
            rounding,
            mode,
            masks: Arc::new(Masks::none(&context.network, masks)),
            sum: Update::zeros(&context.network),
            last_update: Update::zeros(&context.network),
            last_report: None,
        })
    }

    pub(super) fn steps_done(&self) -> u32 {
        self.steps_done
    }

    pub(super) fn is_over(&self) -> bool {
        self.steps_done == self.steps
    }

    pub(super) fn report(&self) -> StepReport {
        self.last_report.clone().expect("asked only after a step")
    }

    /// Algorithm 3: the update of the last step under a fresh mask, which joins ΣR.
    pub(super) fn masked_update(&mut self, rng: &mut dyn CryptoRng) -> Result<ClientMessage> {
        let kind = self.masks.kind();
        let (message, masks) = match &self.mode {
            Mode::Public => {
                let (masked, masks) = mask::mask(&self.last_update, kind, rng);
                (ClientMessage::MaskedUpdate(masked), masks)
            }
            Mode::Secret { public, updates, rate } => {
                let masks = mask::draw(&self.last_update, kind, rng);
                let gradients =
                    Zeroizing::new(self.last_update.values().copied().collect::<Vec<_>>());
                let values = Zeroizing::new(masks.values().copied().collect::<Vec<_>>());
                let ciphertexts = updates.mask(public, rate, &gradients, &values, rng)?;
                (ClientMessage::EncryptedMaskedUpdate { ciphertexts }, masks)
            }
        };
        Arc::make_mut(&mut self.masks).add(&masks);
        Ok(message)
    }

    /// Algorithm 5: the sum of the true updates, once it is booked.
    pub(super) fn final_update(&self, context: &Context<B>) -> Result<ClientMessage> {
        context.sums.book(&self.samples, &self.data, context.policy)?;
        Ok(ClientMessage::FinalUpdate(self.sum.reveal()))
    }
}

fn check_g_max<B: Backend>(g_max: u32, context: &Context<B>) -> Result<()> {
    let most = context.precision.most_g_max();
    if g_max > most {
        let expected = format!("at most {most}");
        return Err(PeerMisbehaved::out_of_bounds("g_max", g_max, expected).into());
    }
    Ok(())
}

/// One step of a lease.
pub(super) struct TrainingRound<B: Backend> {
    training: Training<B>,
    pub(super) round: Round<B>,
    labels: Vec<usize>,
    compared: Option<(f64, usize)>,
}

impl<B: Backend> TrainingRound<B> {
    /// Gives the lease back with the error if the mini-batch does not fit it.
    #[expect(clippy::result_large_err, reason = "the lease itself is handed back")]
    pub(super) fn new(
        context: &Context<B>,
        mut training: Training<B>,
        inputs: &Array2<f64>,
        labels: &[usize],
    ) -> Result<Self, (Training<B>, Error)> {
        let batch = training.plan.batch;
        let classes = context.network.classes();
        if inputs.ncols() != batch || labels.len() != batch {
            let (expected, got) = (vec![batch, batch], vec![inputs.ncols(), labels.len()]);
            return Err((training, ApiMisuse::Shape { expected, got }.into()));
        }
        if labels.iter().any(|&label| label >= classes) {
            let error = ApiMisuse::configuration("labels", format!("must be below {classes}"));
            return Err((training, error.into()));
        }
        let (plan, masks) = (Arc::clone(&training.plan), Arc::clone(&training.masks));
        let round = match Round::new(context, plan, inputs, Some(masks)) {
            Ok(round) => round,
            Err(error) => return Err((training, error)),
        };
        let ids = training.ledger.ids(inputs);
        // After the last step there is no way back: its sum follows at once.
        if training.steps_done + 1 == training.steps {
            let all = training.samples.iter().chain(&ids).copied().collect();
            if let Err(refused) = training.ledger.check(&all, &training.data, context.policy) {
                return Err((training, refused.into()));
            }
        }
        training.samples.extend(ids);
        Ok(Self { training, round, labels: labels.to_vec(), compared: None })
    }

    /// Turns from the forward to the backward pass, once.
    pub(super) fn compare_when_forward_is_over(&mut self) -> Result<()> {
        if self.round.pass.stage().is_none() && self.compared.is_none() {
            let probabilities = self.round.pass.probabilities()?;
            let columns = probabilities.columns().into_iter().zip(&self.labels);
            let correct = columns.filter(|(p, label)| argmax(p.iter().copied()) == **label).count();
            self.compared = Some((self.round.pass.compare(&self.labels)?, correct));
        }
        Ok(())
    }

    /// The true update joins the sum; the lease goes on.
    pub(super) fn finish(self, context: &Context<B>) -> Result<Training<B>> {
        let Self { mut training, round, labels, compared } = self;
        let pass = round.pass;
        let update = update(
            &pass.gradient()?,
            labels.len(),
            training.rounding,
            &context.precision,
            pass.saturations(),
        );
        training.sum.add(&update);
        training.last_update = update;
        training.steps_done += 1;
        let (loss, correct) = compared.expect("the backward pass follows the comparison");
        training.last_report = Some(StepReport {
            loss,
            correct,
            samples: labels.len(),
            saturations: pass.saturations().by_layer(),
            last: training.is_over(),
        });
        Ok(training)
    }
}
