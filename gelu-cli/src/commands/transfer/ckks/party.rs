//! The compute party's side of the exchange, without I/O: bytes in, bytes out.

use gelu_transfer::{Base, BaseOwner, BasePlan, ComputeParty, Error, Plan};
use rand::CryptoRng;

use super::wire::{Refusal, Terms, most_bytes};

/// A computation that was accepted. A message that fails uses it up.
#[derive(Debug)]
pub(super) struct Party {
    plan: Plan,
    stage: Stage,
}

/// What it waits for.
#[derive(Debug)]
enum Stage {
    /// Of the base.
    BaseKeys(BasePlan, Box<Base>),
    /// What the base takes.
    Rows(BasePlan, Box<BaseOwner>),
    Keys,
    /// So many batches more.
    Batches(ComputeParty, usize),
    Heads(ComputeParty),
}

impl Party {
    /// Accepts settings that a plan of at most `memory` bytes can be made of; `base` is the one that is here.
    ///
    /// # Errors
    /// The reason for the data party.
    pub(super) fn open(terms: &Terms, base: Option<&Base>, memory: u64) -> Result<Self, Refusal> {
        let refuse = |error: Error| Refusal::Settings(error.to_string());
        // Before a plan multiplies them with each other.
        if terms.rows > MOST_ROWS || terms.heads > MOST_HEADS || terms.unattended > MOST_UNATTENDED
        {
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
        let stage = match terms.base_settings() {
            None => Stage::Keys,
            Some(settings) => {
                let base = base.ok_or_else(|| Refusal::Settings(NO_BASE.into()))?;
                let plan = BasePlan::new(settings).map_err(refuse)?;
                BaseOwner::check(&plan, base).map_err(|error| match error {
                    // How much noise it takes depends on the weights.
                    Error::Hidden { .. } => Refusal::Settings(NOT_HIDDEN.into()),
                    other => refuse(other),
                })?;
                Stage::BaseKeys(plan, Box::new(base.clone()))
            }
        };
        let of_base = match &stage {
            Stage::BaseKeys(plan, base) => memory_of_base(plan, base),
            _ => 0,
        };
        // One after the other.
        let needed = memory_of(&plan).max(of_base);
        if needed > memory {
            tracing::warn!(needed, memory, "not enough memory for a plan");
            return Err(Refusal::Memory(needed >> 20));
        }
        Ok(Self { plan, stage })
    }

    /// How many bytes the next message may have.
    pub(super) fn most_bytes(&self) -> usize {
        most_bytes(match &self.stage {
            Stage::BaseKeys(plan, _) => plan.key_bytes(),
            Stage::Rows(plan, _) => plan.message_bytes(),
            Stage::Keys => self.plan.key_bytes(),
            Stage::Batches(..) => batch_bytes(&self.plan),
            Stage::Heads(_) => self.plan.refresh_bytes().0,
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
        let Self { plan, stage } = self;
        let (stage, answer) = match stage {
            Stage::BaseKeys(of_base, base) => {
                let owner = BaseOwner::new(of_base.clone(), *base, message)?;
                (Stage::Rows(of_base, Box::new(owner)), None)
            }
            Stage::Rows(of_base, mut owner) => {
                let features = owner.receive(message, rng)?;
                match owner.is_done() {
                    true => (Stage::Keys, features),
                    false => (Stage::Rows(of_base, owner), features),
                }
            }
            Stage::Keys => {
                let party = ComputeParty::new(plan.clone(), message)?;
                (Stage::Batches(party, plan.batches()), None)
            }
            Stage::Batches(mut party, left) => {
                party.receive_batch(message)?;
                match left {
                    1 => (Stage::Heads(party), None),
                    left => (Stage::Batches(party, left - 1), None),
                }
            }
            Stage::Heads(party) => {
                let gradients = party.train(message)?;
                (Stage::Heads(party), Some(gradients))
            }
        };
        Ok((Self { plan, stage }, answer))
    }

    /// For the log.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
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

    const TERMS: Terms = Terms {
        rows: 128,
        features: 3,
        heads: 1,
        batch: 128,
        degree: 1,
        range: 8.0,
        rate: 1.0,
        unattended: 1,
        base: None,
    };

    fn refusal(terms: Terms, memory: u64) -> Refusal {
        Party::open(&terms, None, memory).unwrap_err()
    }

    #[test]
    fn what_is_too_large_or_no_plan_is_refused() {
        assert!(matches!(refusal(TERMS, 1 << 20), Refusal::Memory(needed) if needed > 1));
        for (terms, why) in [
            (Terms { rows: u32::MAX, ..TERMS }, "rows"),
            (Terms { heads: u32::MAX, ..TERMS }, "heads"),
            (Terms { unattended: u8::MAX, ..TERMS }, "unattended"),
            (Terms { rows: (1 << 24) - 1, ..TERMS }, "different batches"),
            (Terms { batch: 64, ..TERMS }, "64 rows in a batch"),
            (Terms { degree: 2, ..TERMS }, "degree 2"),
            (Terms { range: f64::NAN, ..TERMS }, "range"),
            (Terms { rate: f64::NAN, ..TERMS }, "rate"),
            (Terms { features: u32::MAX, ..TERMS }, "fit"),
            (Terms { degree: 15, unattended: 16, ..TERMS }, "ring"),
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
        let open = || Party::open(&TERMS, None, u64::MAX).unwrap();
        let plan = open().plan().clone();
        let raw = Rows::new((0..384).map(|i| f64::from(i * i % 37)).collect(), 3).unwrap();
        let x = Preparation::fit(&raw).unwrap().apply(&raw).unwrap();
        let classes: Vec<_> = (0..128).map(|i| i % 2).collect();
        let secret = SecretKey::generate(plan.parameters().clone(), rng);
        let mut data = DataParty::new(plan, secret, x, &classes).unwrap();
        let keys = data.evaluation_keys(rng).unwrap();
        let (batch, heads) = (data.batch(0, rng).unwrap(), data.heads(1, rng).unwrap());
        assert!(open().handle(&batch, rng).is_err(), "keys come first");
        let mut party = open();
        for (message, answers) in [(&keys, false), (&batch, false), (&heads, true)] {
            assert!(message.len() <= party.most_bytes());
            let (next, answer) = party.handle(message, rng).unwrap();
            assert_eq!(answer.is_some(), answers);
            if let Some(gradients) = answer {
                assert!(gradients.len() <= most_bytes(next.plan().refresh_bytes().1));
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
        let of_base = BaseTerms { rows: 130, inputs: 2, squares: 1, least: 0.0, most: 1.0 };
        let terms = Terms { base: Some(of_base), ..TERMS };
        let refused =
            |terms: Terms, base: Option<&Base>, memory| match Party::open(&terms, base, memory) {
                Err(Refusal::Settings(said)) => said,
                Err(Refusal::Memory(_)) => "memory".into(),
                other => panic!("{other:?}"),
            };
        assert!(refused(terms, None, u64::MAX).contains("no base here"));
        let other = Terms { base: Some(BaseTerms { inputs: 3, ..of_base }), ..TERMS };
        assert!(refused(other, Some(&base), u64::MAX).contains("other inputs"));
        let many = Terms { base: Some(BaseTerms { rows: u32::MAX, ..of_base }), ..TERMS };
        assert!(refused(many, Some(&base), u64::MAX).contains("rows"));
        assert_eq!(refused(terms, Some(&base), 8 << 20), "memory");

        let plan = BasePlan::new(terms.base_settings().unwrap()).unwrap();
        let owner = gelu_transfer::RowOwner::generate(plan, rng);
        let x = Rows::new((0..260).map(|i| f64::from(i % 7) / 7.0).collect(), 2).unwrap();
        let mut party = Party::open(&terms, Some(&base), u64::MAX).unwrap();
        let messages = [owner.keys(rng).unwrap(), owner.inputs(&x, 0, 0, rng).unwrap()];
        let mut features = None;
        for message in &messages {
            assert!(message.len() <= party.most_bytes());
            (party, features) = party.handle(message, rng).unwrap();
        }
        let features = owner.receive(0, &features.unwrap()).unwrap();
        assert_eq!((features.len(), features.columns()), (130, 3));
        assert!(matches!(party.stage, Stage::Keys));
    }
}
