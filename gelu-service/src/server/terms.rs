//! How a server offers its model to queries, and what the ledger says to that.

use std::ops::RangeInclusive;
use std::sync::Arc;

use gelu_core::Backend;
use gelu_core::blind::{Answer, BlindPlan, Circuits};
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::ledger::{Exposure, Policy};
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::ServedModel;

use super::offer::Offer;
use crate::error::{Error, Result};
use crate::handshake::Mode;
use crate::randomness::fresh_rng;

/// The modes of inference, the preferred one first, and one sentence about each use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How queries can be asked.
    pub modes: Vec<Mode>,
    /// On open queries, or why there can be none.
    pub inference: String,
    /// The same on blind queries.
    pub blind: String,
    /// The same on leases.
    pub training: String,
    /// Whether the ledger lets any query or lease pass.
    pub useful: bool,
}

impl Terms {
    /// What the operator has chosen; or else both modes where the ledger lets an open query pass, and blind queries
    /// alone where it does not.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a mode that this model and backend cannot be served in.
    pub fn of<B: Backend>(model: &ServedModel, offer: &Offer<B>) -> Result<Self> {
        let keys = Keys::<B>::like(&offer.key_bits)?;
        // A precision made for inference has no room for masks, nor has a small plaintext: then there is no training.
        let of = |purpose| match keys.open(model, purpose) {
            Ok(exposure) => {
                let passes = exposure.safe_samples().0 > 0;
                (exposure.verdict(), passes || offer.policy == Policy::AllowModelExtraction)
            }
            Err(error) => (error.why_not(), false),
        };
        let (inference, open) = of(Purpose::Inference);
        let (training, trains) = of(Purpose::Training { steps: 1 });
        let answer = if offer.blind.scores { Answer::Scores } else { Answer::Class };
        let blind = keys.blind(model, answer);
        let modes = match (&offer.modes, &blind) {
            (Some(modes), _) if modes.is_empty() => {
                return Err(Error::configuration("modes", "name at least one: open, blind"));
            }
            (Some(modes), Err(error)) if modes.contains(&Mode::Blind) => {
                let why = format!("this model cannot be served blind: {}", error.why_not());
                return Err(Error::configuration("modes", why));
            }
            (Some(modes), _) => modes.clone(),
            (None, Ok(_)) if open => vec![Mode::Open, Mode::Blind],
            (None, Ok(_)) => vec![Mode::Blind],
            (None, Err(_)) => vec![Mode::Open],
        };
        let answers = |mode| match mode {
            Mode::Open => open,
            Mode::Blind => blind.as_ref().is_ok_and(|exposure| exposure.safe_samples().0 > 0),
        };
        let useful = trains || modes.iter().any(|mode| answers(*mode));
        let blind = match blind {
            Ok(exposure) => exposure.verdict(),
            Err(error) => error.why_not(),
        };
        Ok(Self { modes, inference, blind, training, useful })
    }
}

/// A key by which clients' keys are judged.
///
/// What a plan says depends on the slots of a key. Where keys come in several sizes, one in the clear has
/// the slots of the largest, which would take seconds to make. A scheme with one size has slots of
/// its own kind, and its keys are quickly made: one of them is, and forgotten again.
enum Keys<B: Backend> {
    Own(B::SecretKey),
    Twin(ClearKey),
}

impl<B: Backend> Keys<B> {
    fn like(sizes: &RangeInclusive<u32>) -> Result<Self> {
        let bits = *sizes.end();
        match sizes.start() == sizes.end() {
            true => Ok(Self::Own(B::keygen(bits, &mut fresh_rng()?)?)),
            // A size that not even the mock has is no size of a backend: its own error says so.
            false => Ok(Self::Twin(ClearKey::new(bits)?)),
        }
    }

    /// What open queries, or a lease, give away.
    fn open(&self, model: &ServedModel, purpose: Purpose) -> gelu_core::Result<Exposure> {
        let (network, precision) = (&model.network, &model.precision);
        match self {
            Self::Own(key) => {
                let plan = Plan::new::<B>(network, precision, 1, purpose, B::public_key(key))?;
                Ok(Exposure::new(network, precision, &plan))
            }
            Self::Twin(key) => {
                let plan = Plan::new::<Clear>(network, precision, 1, purpose, key)?;
                Ok(Exposure::new(network, precision, &plan))
            }
        }
    }

    /// What blind queries give away, if there is room for their tickets.
    fn blind(&self, model: &ServedModel, answer: Answer) -> gelu_core::Result<Exposure> {
        let (network, precision) = (&model.network, &model.precision);
        let circuits = Arc::new(Circuits::new(network, precision, answer)?);
        match self {
            Self::Own(key) => {
                let public = B::public_key(key);
                BlindPlan::<B>::priced(network, &circuits, 1, public, &B::prices(public))?;
            }
            Self::Twin(key) => {
                let prices = <Clear as Backend>::prices(key);
                BlindPlan::<Clear>::priced(network, &circuits, 1, key, &prices)?;
            }
        }
        Ok(Exposure::blind(network, precision, &circuits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Precision;
    use gelu_core::server::LearningRate;
    use gelu_nn::{Model, Sequential, zoo};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn terms(
        architecture: Sequential,
        sizes: RangeInclusive<u32>,
        change: impl FnOnce(&mut Offer<Clear>),
    ) -> Result<Terms> {
        let mut offer = Offer::new("", LearningRate::Public(0.1));
        offer.key_bits = sizes;
        change(&mut offer);
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let model = Model::initialise("model", architecture, Precision::INFERENCE, rng).unwrap();
        Terms::of(&ServedModel::from(&model), &offer)
    }

    /// A key of the only size and the twin of the largest one have the same slots; those of a
    /// scheme with one small slot have no room for masks, which is said and is no error.
    #[test]
    fn terms_by_own_keys_and_by_their_twins() {
        let of = |sizes| terms(zoo::iris(), sizes, |_| {}).unwrap();
        assert_eq!(of(2048..=2048), of(1024..=2048));
        let small = of(64..=64);
        assert_eq!(small.inference, of(2048..=2048).inference);
        let training = small.training;
        assert!(
            training.contains("dense1 (forward) needs") && training.contains("62"),
            "{training}"
        );
        assert_eq!(small.modes, [Mode::Open], "{}", small.blind);
        assert!(small.blind.starts_with("the numbers do not fit"), "{}", small.blind);
    }

    #[test]
    fn a_model_that_one_open_query_gives_away_is_served_blind() {
        use Mode::{Blind, Open};
        let of = |architecture: fn() -> Sequential, change: fn(&mut Offer<Clear>)| {
            terms(architecture(), 2048..=2048, change).map(|terms| terms.modes)
        };
        assert_eq!(of(zoo::iris, |_| {}).unwrap(), [Open, Blind]);
        assert_eq!(of(zoo::lenet5, |_| {}).unwrap(), [Blind]);
        let allow = |offer: &mut Offer<Clear>| offer.policy = Policy::AllowModelExtraction;
        assert_eq!(of(zoo::lenet5, allow).unwrap(), [Open, Blind]);
        assert_eq!(of(zoo::iris, |offer| offer.modes = Some(vec![Blind])).unwrap(), [Blind]);
        let error = of(zoo::iris, |offer| offer.modes = Some(vec![])).unwrap_err();
        assert!(error.to_string().contains("name at least one"), "{error}");
        // A shortcut has no circuit.
        assert_eq!(of(zoo::resnet20, allow).unwrap(), [Open]);
        let error = of(zoo::resnet20, |offer| offer.modes = Some(vec![Blind])).unwrap_err();
        assert!(error.to_string().contains("cannot be served blind"), "{error}");
    }
}
