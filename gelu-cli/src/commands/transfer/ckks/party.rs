//! The compute party's side of the exchange, without I/O: bytes in, bytes out.

use gelu_transfer::{Base, BaseOwner, BasePlan, ComputeParty, Error, Plan};
use rand::CryptoRng;

use super::wire::{Refusal, Terms, TrainingTerms, most_bytes};

/// A computation that was accepted. A message that fails uses it up.
#[derive(Debug)]
pub(super) struct Party {
    stage: Stage,
    /// The training, where one is asked for.
    training: Option<Plan>,
}

/// What it waits for.
#[derive(Debug)]
enum Stage {
    /// Of the base.
    BaseKeys(BasePlan, Box<Base>),
    /// What the base takes.
    Rows(BasePlan, Box<BaseOwner>),
    Keys(Plan),
    /// So many batches more.
    Batches(Plan, ComputeParty, usize),
    Heads(Plan, ComputeParty),
    /// Nothing: all features have been sent, and no training is asked for.
    Done,
}

impl Party {
    /// Accepts settings that a plan of at most `memory` bytes can be made of; `base` is the one that is here.
    ///
    /// # Errors
    /// The reason for the data party.
    pub(super) fn open(terms: &Terms, base: Option<&Base>, memory: u64) -> Result<Self, Refusal> {
        let training = terms.training.as_ref().map(plan).transpose()?;
        let base = match &terms.base {
            None => None,
            Some(terms) => {
                let base = base.ok_or_else(|| Refusal::Settings(NO_BASE.into()))?;
                let plan = BasePlan::new(terms.settings()).map_err(refuse)?;
                BaseOwner::check(&plan, base).map_err(|error| match error {
                    // How much noise it takes depends on the weights.
                    Error::Hidden { .. } => Refusal::Settings(NOT_HIDDEN.into()),
                    other => refuse(other),
                })?;
                Some((plan, base))
            }
        };
        let of_base = base.as_ref().map_or(0, |(plan, base)| memory_of_base(plan, base));
        // One after the other.
        let needed = training.as_ref().map_or(0, memory_of).max(of_base);
        if needed > memory {
            tracing::warn!(needed, memory, "not enough memory for a plan");
            return Err(Refusal::Memory(needed >> 20));
        }
        let stage = match (base, &training) {
            (Some((plan, base)), _) => Stage::BaseKeys(plan, Box::new(base.clone())),
            (None, Some(plan)) => Stage::Keys(plan.clone()),
            (None, None) => return Err(Refusal::Settings(NOTHING.into())),
        };
        Ok(Self { stage, training })
    }

    /// How many bytes the next message may have.
    pub(super) fn most_bytes(&self) -> usize {
        most_bytes(match &self.stage {
            Stage::BaseKeys(plan, _) => plan.key_bytes(),
            Stage::Rows(plan, _) => plan.message_bytes(),
            Stage::Keys(plan) => plan.key_bytes(),
            Stage::Batches(plan, ..) => batch_bytes(plan),
            Stage::Heads(plan, _) => plan.refresh_bytes().0,
            Stage::Done => 0,
        })
    }

    /// Takes the next message; answers heads with gradients, and the last rows of a group with features.
    ///
    /// # Errors
    /// For what no honest data party sends.
    pub(super) fn handle(
        self,
        message: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> gelu_transfer::Result<(Self, Option<Vec<u8>>)> {
        let Self { stage, training } = self;
        let (stage, answer) = match stage {
            Stage::BaseKeys(plan, base) => {
                let owner = BaseOwner::new(plan.clone(), *base, message)?;
                (Stage::Rows(plan, Box::new(owner)), None)
            }
            Stage::Rows(plan, mut owner) => {
                let features = owner.receive(message, rng)?;
                let next = match (owner.is_done(), &training) {
                    (false, _) => Stage::Rows(plan, owner),
                    (true, Some(training)) => Stage::Keys(training.clone()),
                    (true, None) => Stage::Done,
                };
                (next, features)
            }
            Stage::Keys(plan) => {
                let party = ComputeParty::new(plan.clone(), message)?;
                let batches = plan.batches();
                (Stage::Batches(plan, party, batches), None)
            }
            Stage::Batches(plan, mut party, left) => {
                party.receive_batch(message)?;
                match left {
                    1 => (Stage::Heads(plan, party), None),
                    left => (Stage::Batches(plan, party, left - 1), None),
                }
            }
            Stage::Heads(plan, party) => {
                let gradients = party.train(message)?;
                (Stage::Heads(plan, party), Some(gradients))
            }
            Stage::Done => return Err(Error::Peer("a message after all features")),
        };
        Ok((Self { stage, training }, answer))
    }
}

/// The plan of a training, within what is computed here.
fn plan(terms: &TrainingTerms) -> Result<Plan, Refusal> {
    // Before a plan multiplies them with each other.
    if terms.rows > MOST_ROWS || terms.heads > MOST_HEADS || terms.unattended > MOST_UNATTENDED {
        return Err(Refusal::Settings(format!(
            "at most {MOST_ROWS} rows, {MOST_HEADS} heads and {MOST_UNATTENDED} unattended iterations are computed here"
        )));
    }
    let plan = Plan::new(terms.settings().map_err(refuse)?).map_err(refuse)?;
    if plan.batches() > MOST_BATCHES {
        return Err(Refusal::Settings(format!(
            "{} different batches, and at most {MOST_BATCHES} are kept here: take a batch size that divides the rows",
            plan.batches()
        )));
    }
    Ok(plan)
}

fn refuse(error: Error) -> Refusal {
    Refusal::Settings(error.to_string())
}

/// What the plan needs, and the longest message beside it.
pub(super) fn memory_of(plan: &Plan) -> u64 {
    plan.memory() + plan.key_bytes().max(batch_bytes(plan))
}

/// What a base needs, and the longest message beside it.
pub(super) fn memory_of_base(plan: &BasePlan, base: &Base) -> u64 {
    base.memory(plan) + plan.message_bytes()
}

fn batch_bytes(plan: &Plan) -> u64 {
    plan.data_bytes() / plan.batches() as u64
}

const NOT_HIDDEN: &str = "the base here cannot be hidden from rows within these bounds: scale them down, as the base's own were";
const NO_BASE: &str =
    "there is no base here: `gelu transfer compute --base MODEL --freeze STAGES` has one";
const NOTHING: &str = "neither features nor a training are asked for";
const MOST_ROWS: u32 = 1 << 24;
const MOST_HEADS: u32 = 64;
const MOST_UNATTENDED: u8 = 16;
const MOST_BATCHES: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use super::super::wire::BaseTerms;
    use super::*;
    use gelu_ckks::SecretKey;
    use gelu_transfer::{DataParty, Preparation, Rows};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    const TERMS: TrainingTerms = TrainingTerms {
        rows: 128,
        features: 3,
        heads: 1,
        batch: 128,
        degree: 1,
        range: 8.0,
        rate: 1.0,
        unattended: 1,
    };

    fn training(terms: TrainingTerms) -> Terms {
        Terms { base: None, training: Some(terms) }
    }

    fn refusal(terms: TrainingTerms, memory: u64) -> Refusal {
        Party::open(&training(terms), None, memory).unwrap_err()
    }

    #[test]
    fn what_is_too_large_or_no_plan_is_refused() {
        assert!(matches!(refusal(TERMS, 1 << 20), Refusal::Memory(needed) if needed > 1));
        for (terms, why) in [
            (TrainingTerms { rows: u32::MAX, ..TERMS }, "rows"),
            (TrainingTerms { heads: u32::MAX, ..TERMS }, "heads"),
            (TrainingTerms { unattended: u8::MAX, ..TERMS }, "unattended"),
            (TrainingTerms { rows: (1 << 24) - 1, ..TERMS }, "different batches"),
            (TrainingTerms { batch: 64, ..TERMS }, "64 rows in a batch"),
            (TrainingTerms { degree: 2, ..TERMS }, "degree 2"),
            (TrainingTerms { range: f64::NAN, ..TERMS }, "range"),
            (TrainingTerms { rate: f64::NAN, ..TERMS }, "rate"),
            (TrainingTerms { features: u32::MAX, ..TERMS }, "fit"),
            (TrainingTerms { degree: 15, unattended: 16, ..TERMS }, "ring"),
        ] {
            match refusal(terms, u64::MAX) {
                Refusal::Settings(said) => assert!(said.contains(why), "{terms:?}: {said}"),
                other => panic!("{terms:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_messages_of_a_data_party_fit_and_in_this_order_only() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let open = || Party::open(&training(TERMS), None, u64::MAX).unwrap();
        let plan = plan(&TERMS).unwrap();
        let raw = Rows::new((0..384).map(|i| f64::from(i * i % 37)).collect(), 3).unwrap();
        let x = Preparation::fit(&raw).unwrap().apply(&raw).unwrap();
        let classes: Vec<_> = (0..128).map(|i| i % 2).collect();
        let secret = SecretKey::generate(plan.parameters().clone(), rng);
        let mut data = DataParty::new(plan.clone(), secret, x, &classes).unwrap();
        let keys = data.evaluation_keys(rng).unwrap();
        let (batch, heads) = (data.batch(0, rng).unwrap(), data.heads(1, rng).unwrap());
        assert!(open().handle(&batch, rng).is_err(), "keys come first");
        let mut party = open();
        for (message, answers) in [(&keys, false), (&batch, false), (&heads, true)] {
            assert!(message.len() <= party.most_bytes());
            let (next, answer) = party.handle(message, rng).unwrap();
            assert_eq!(answer.is_some(), answers);
            if let Some(gradients) = answer {
                assert!(gradients.len() <= most_bytes(plan.refresh_bytes().1));
                data.receive(&gradients).unwrap();
            }
            party = next;
        }
        assert!(party.handle(&batch, rng).is_err(), "batches are over");
    }

    #[test]
    fn a_base_is_asked_first_and_only_where_there_is_one() {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        let layer = gelu_transfer::base::Layer {
            rows: (0..3).map(|i| vec![(0, 0.5), (1, f64::from(i) / 4.0)]).collect(),
            offsets: vec![0.0; 3],
        };
        let base = Base::new(2, vec![layer]).unwrap();
        let of_base =
            BaseTerms { rows: 130, inputs: 2, features: 3, squares: 1, least: 0.0, most: 1.0 };
        let terms = Terms { base: Some(of_base), training: Some(TERMS) };
        let refused =
            |terms: Terms, base: Option<&Base>, memory| match Party::open(&terms, base, memory) {
                Err(Refusal::Settings(said)) => said,
                Err(Refusal::Memory(_)) => "memory".into(),
                other => panic!("{other:?}"),
            };
        assert!(refused(terms, None, u64::MAX).contains("no base here"));
        let other = Terms { base: Some(BaseTerms { inputs: 3, ..of_base }), ..terms };
        assert!(refused(other, Some(&base), u64::MAX).contains("other inputs"));
        let many = Terms { base: Some(BaseTerms { rows: u32::MAX, ..of_base }), ..terms };
        assert!(refused(many, Some(&base), u64::MAX).contains("rows"));
        assert_eq!(refused(terms, Some(&base), 8 << 20), "memory");

        let plan = BasePlan::new(of_base.settings()).unwrap();
        let owner = gelu_transfer::RowOwner::generate(plan, rng);
        let x = Rows::new((0..260).map(|i| f64::from(i % 7) / 7.0).collect(), 2).unwrap();
        let messages = [owner.keys(rng).unwrap(), owner.inputs(&x, 0, 0, rng).unwrap()];
        let mut after = |terms: Terms| {
            let mut party = Party::open(&terms, Some(&base), u64::MAX).unwrap();
            let mut features = None;
            for message in &messages {
                assert!(message.len() <= party.most_bytes());
                (party, features) = party.handle(message, rng).unwrap();
            }
            let features = owner.receive(0, &features.unwrap()).unwrap();
            assert_eq!((features.len(), features.columns()), (130, 3));
            party
        };
        assert!(matches!(after(terms).stage, Stage::Keys(_)));
        let alone = after(Terms { training: None, ..terms });
        assert!(matches!(alone.stage, Stage::Done) && alone.handle(&messages[0], rng).is_err());
        let nothing = Terms { base: None, training: None };
        assert!(refused(nothing, Some(&base), u64::MAX).contains("neither"));
    }
}
