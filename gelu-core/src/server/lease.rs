//! A lease, seen by the server: weights under masks that move without being known.

use std::sync::Arc;

use rand_core::CryptoRng;

use super::layer::{evaluate, prepare};
use super::{Host, LearningRate, Planned, ServedModel, WeightCache};
use crate::backend::{Backend, Sealed, SecretRate};
use crate::error::{ApiMisuse, Error, PeerMisbehaved, RangeError, Result};
use crate::mask::{Kind, Masked};
use crate::message::{self, ClientMessage, LeaseRate, ServerMessage};
use crate::network::Parameters;
use crate::plan::{Direction, Plan, Purpose};
use crate::update::Revealed;

/// What a lease waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Exchange(usize, Direction),
    Update,
}

/// What a message did to a lease.
pub(super) enum LeaseStep {
    Reply(ServerMessage),
    Ended(Ended),
}

/// How a lease ends.
pub(super) enum Ended {
    Commit { base: u64, parameters: Parameters },
    RolledBack(Error),
    Returned,
}

/// A lease in progress. `masked` is W~ = W − ΣR, as `masks` are held: all that the server knows until the
/// end. Of frozen stages it is W.
pub(super) struct Lease<B: Backend> {
    initial: Arc<ServedModel>,
    /// Those of frozen stages, which queries share.
    frozen: Arc<WeightCache<B>>,
    masked: Parameters,
    masks: Kind,
    planned: Arc<Planned<B::Layout>>,
    rate: LearningRate<B>,
    updates: Option<B::Rate>,
    steps: u32,
    steps_done: u32,
    phase: Phase,
}

impl<B: Backend> Lease<B> {
    /// Starts on `model`; also returns the terms for the client.
    pub(super) fn new(
        model: &Arc<ServedModel>,
        frozen: Arc<WeightCache<B>>,
        planned: Arc<Planned<B::Layout>>,
        rate: LearningRate<B>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, message::Lease)> {
        let Plan { purpose: Purpose::Training { steps }, masks: Some(masks), .. } = planned.plan
        else {
            return Err(ApiMisuse::State { asked: "grant", state: "planned an inference" }.into());
        };
        let (terms_rate, updates) = match &rate {
            LearningRate::Public(eta) => (LeaseRate::Public(*eta), None),
            LearningRate::Secret { .. } if B::WRAPS => {
                return Err(RangeError::NoSecretRate { backend: B::ID }.into());
            }
            LearningRate::Secret { key, g, g_max } => {
                let spare = model.precision.most_g_max();
                if g > g_max || *g_max > spare {
                    let why = format!("needs g <= g_max <= {spare}");
                    return Err(ApiMisuse::configuration("secret learning rate", why).into());
                }
                let public = B::public_key(key);
                let values = model.network.trained_parameters();
                let updates = B::Rate::plan(values, &model.precision, *g_max, public)?;
                let inverse_rate = updates.encrypt_rate(key, *g, rng)?;
                let public_key = B::public_key_to_bytes(key);
                (LeaseRate::Secret { public_key, inverse_rate, g_max: *g_max }, Some(updates))
            }
        };
        let batch = u32::try_from(planned.plan.batch).expect("a planned batch is below 2^16");
        let terms = message::Lease { version: model.version, steps, batch, rate: terms_rate };
        let lease = Self {
            initial: Arc::clone(model),
            frozen,
            masked: model.parameters.clone(),
            masks,
            planned,
            rate,
            updates,
            steps,
            steps_done: 0,
            phase: Phase::Exchange(0, Direction::Forward),
        };
        Ok((lease, terms))
    }

    pub(super) fn expected(&self) -> &'static str {
        match (self.phase, &self.rate) {
            (Phase::Exchange(_, Direction::Forward), _) => "EncryptedActivations",
            (Phase::Exchange(_, Direction::Backward), _) => "EncryptedErrors",
            (Phase::Update, _) if self.last_step() => "FinalUpdate",
            (Phase::Update, LearningRate::Public(_)) => "MaskedUpdate",
            (Phase::Update, LearningRate::Secret { .. }) => "EncryptedMaskedUpdate",
        }
    }

    fn last_step(&self) -> bool {
        self.steps_done + 1 == self.steps
    }

    pub(super) fn handle(
        &mut self,
        public: &B::PublicKey,
        message: ClientMessage,
        host: &dyn Host,
        rng: &mut dyn CryptoRng,
    ) -> Result<LeaseStep> {
        let between_steps = self.phase == Phase::Exchange(0, Direction::Forward);
        match (self.phase, message) {
            (
                Phase::Exchange(expected, Direction::Forward),
                ClientMessage::EncryptedActivations { stage, batch, ciphertexts, layout },
            ) => {
                PeerMisbehaved::check_equal("batch", batch as usize, self.planned.plan.batch)?;
                PeerMisbehaved::check_equal("stage", stage as usize, expected)?;
                if between_steps {
                    let (version, exposure) = (self.initial.version, &self.planned.exposure);
                    if let Err(refused) = host.charge(version, exposure, u64::from(batch)) {
                        return Ok(LeaseStep::Ended(Ended::RolledBack(refused.into())));
                    }
                }
                let ciphertexts = self.evaluate(public, &layout, &ciphertexts, rng)?.into_bytes();
                Ok(LeaseStep::Reply(ServerMessage::WeightedSums { stage, ciphertexts }))
            }
            (
                Phase::Exchange(expected, Direction::Backward),
                ClientMessage::EncryptedErrors { stage, ciphertexts, layout },
            ) => {
                PeerMisbehaved::check_equal("stage", stage as usize, expected)?;
                let ciphertexts = self.evaluate(public, &layout, &ciphertexts, rng)?.into_bytes();
                Ok(LeaseStep::Reply(ServerMessage::PropagatedErrors { stage, ciphertexts }))
            }
            (Phase::Update, ClientMessage::MaskedUpdate(update)) if !self.last_step() => {
                self.apply_open(&update)?;
                Ok(LeaseStep::Reply(ServerMessage::UpdateApplied))
            }
            (Phase::Update, ClientMessage::EncryptedMaskedUpdate { ciphertexts })
                if !self.last_step() =>
            {
                self.apply_encrypted(&ciphertexts)?;
                Ok(LeaseStep::Reply(ServerMessage::UpdateApplied))
            }
            (Phase::Update, ClientMessage::FinalUpdate(sum)) => {
                Ok(LeaseStep::Ended(self.end(sum, self.steps_done + 1)?))
            }
            (_, ClientMessage::FinalUpdate(sum)) if between_steps && self.steps_done > 0 => {
                Ok(LeaseStep::Ended(self.end(sum, self.steps_done)?))
            }
            (_, ClientMessage::ReturnLease) if between_steps => {
                Ok(LeaseStep::Ended(Ended::Returned))
            }
            (_, message) => Err(PeerMisbehaved::UnexpectedMessage {
                expected: self.expected(),
                got: message.name(),
            }
            .into()),
        }
    }

    /// The current exchange in a layout that the client names, with the masked weights; moves to the
    /// next one.
    fn evaluate(
        &mut self,
        public: &B::PublicKey,
        layout: &str,
        ciphertexts: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Sealed> {
        let Phase::Exchange(stage, direction) = self.phase else {
            unreachable!("called only in an exchange")
        };
        let exchange = self.planned.plan.exchange(stage, direction).expect("planned");
        let (layout, layer) = (exchange.named(layout)?, &self.masked.layers[stage]);
        let forward = direction == Direction::Forward;
        // Each trained layer meets each version of the masked weights once.
        let network = &self.initial.network;
        let weights = match network.trains(stage) {
            true => Arc::new(prepare::<B>(layout, &self.initial, stage, layer, forward)?),
            false => self.frozen.get(&self.initial, stage, layout, forward)?,
        };
        let result = evaluate::<B>(layout, public, &weights, ciphertexts, rng)?;
        let all = network.stages().len();
        let backward = |below: usize| {
            let next = (0..below).rev().find(|&stage| network.propagates(stage));
            next.map_or(Phase::Update, |stage| Phase::Exchange(stage, Direction::Backward))
        };
        self.phase = match direction {
            Direction::Forward if stage + 1 < all => Phase::Exchange(stage + 1, Direction::Forward),
            Direction::Forward => backward(all),
            Direction::Backward => backward(stage),
        };
        Ok(result)
    }

    /// W~ ← W~ − (U + R).
    fn apply_open(&mut self, update: &Masked) -> Result<()> {
        if !matches!(self.rate, LearningRate::Public(_)) {
            let (expected, got) = ("EncryptedMaskedUpdate", "MaskedUpdate");
            return Err(PeerMisbehaved::UnexpectedMessage { expected, got }.into());
        }
        self.check_shapes(update)?;
        self.apply(update)
    }

    /// W~ ← W~ − (G + R·2^g) / 2^g, exactly: G is a multiple of 2^g_max, so no bit of it is left
    /// below 2^g for the server to see (the low-bit trap: `docs/src/protocol.md`).
    fn apply_encrypted(&mut self, ciphertexts: &[u8]) -> Result<()> {
        let (LearningRate::Secret { key, g, .. }, Some(updates)) = (&self.rate, &self.updates)
        else {
            let (expected, got) = ("MaskedUpdate", "EncryptedMaskedUpdate");
            return Err(PeerMisbehaved::UnexpectedMessage { expected, got }.into());
        };
        let values = updates.decrypt(key, ciphertexts)?;
        if values.iter().any(|v| v & ((1 << g) - 1) != 0) {
            let expected = format!("a multiple of 2^{g}");
            return Err(
                PeerMisbehaved::out_of_bounds("a masked update", "a value", expected).into()
            );
        }
        let mut values = values.iter();
        let shape = self.initial.network.no_update();
        let update = shape.map(|_| values.next().expect("one for each parameter") >> g);
        self.apply(&Masked::decrypted(update))
    }

    /// Moves the masked weights by what can be U + R: exchanges were planned for no more.
    fn apply(&mut self, update: &Masked) -> Result<()> {
        let masked = self.masks.range(self.initial.precision.update_bits);
        if let Some(v) = update.values().find(|v| !masked.contains(v)) {
            let expected = format!("in {masked:?}");
            return Err(PeerMisbehaved::out_of_bounds("a masked update", v, expected).into());
        }
        self.masked.subtract(update);
        self.masks.reduce(&mut self.masked);
        self.steps_done += 1;
        self.phase = Phase::Exchange(0, Direction::Forward);
        Ok(())
    }

    /// Algorithm 5: W_F = W_I − ΣU of so many steps, if it is a model within the bounds.
    fn end(&self, sum: Revealed, steps: u32) -> Result<Ended> {
        self.check_shapes(&sum)?;
        let most = i128::from(steps) << (self.initial.precision.update_bits - 1);
        if let Some(v) = sum.values().find(|v| v.unsigned_abs() > most.unsigned_abs()) {
            let expected = format!("within {most} of 0 after {steps} steps");
            return Err(PeerMisbehaved::out_of_bounds("final update", v, expected).into());
        }
        let updates = match self.rate {
            LearningRate::Public(_) => sum,
            LearningRate::Secret { g, g_max, .. } => {
                if sum.values().any(|v| v & ((1 << g_max) - 1) != 0) {
                    let expected = format!("a multiple of 2^{g_max}");
                    return Err(PeerMisbehaved::out_of_bounds("final", "a sum", expected).into());
                }
                sum.map(|v| v >> g).into()
            }
        };
        let mut parameters = self.initial.parameters.clone();
        parameters.subtract(&updates);
        let checked = self.initial.network.check(&parameters, self.initial.precision.weights);
        Ok(match checked {
            Ok(()) => Ended::Commit { base: self.initial.version, parameters },
            Err(error) => Ended::RolledBack(error),
        })
    }

    fn check_shapes(&self, parameters: &Parameters) -> Result<()> {
        self.initial.network.check_update_shapes(parameters).map_err(|_| {
            PeerMisbehaved::out_of_bounds("update", parameters, "of the network's shapes").into()
        })
    }
}
