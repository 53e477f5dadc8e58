//! The leakage ledger: how much of the model each account has been told.
//!
//! [`Exposure`] says what a plan gives away, from architecture and formats alone; the [`Ledger`] counts
//! what accounts were given, and refuses before a bound is crossed. Revealed bits are counted by
//! account and model version; an account is a person or an organisation, not a key, so the count
//! survives new keys; a host keeps one [`Account`] for each, across restarts.
//!
//! A version that the account's own lease has made shares one count with the version it was made of.
//! Versions that others made begin at zero for it: their updates are unknowns to it. Layers that are
//! [frozen](LayerExposure::frozen) have no updates: one count for all versions.
//!
//! Its mirror at the client is the [`DataLedger`]: which samples are in which revealed sums.

mod account;
mod blind;
pub mod data;
mod exposure;
mod remaining;
mod written;

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::error::{Refused, Result};

pub use account::Account;
pub use data::{DataLedger, DataPolicy, SampleId, SumLedger};
pub use exposure::{DataExposure, Exposure, LayerExposure};
pub use remaining::Remaining;

/// What the operator lets happen at the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Policy {
    /// Refuse what would let an account determine weights.
    #[default]
    Enforce,
    /// Count, but answer: the operator accepts that clients can extract the model.
    AllowModelExtraction,
}

/// The lease that a client asks for, and the operator's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Samples of a mini-batch.
    pub batch: u64,
    /// Mini-batches that the client would like.
    pub steps: u32,
    /// Mini-batches below which its data does not let it go: 1 to `steps`.
    pub least: u32,
    /// Samples that the operator grants at most.
    pub most_samples: u64,
}

/// The counts of all accounts of one model, in memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    accounts: BTreeMap<String, Account>,
}

impl Ledger {
    /// The count of an account, which begins at nothing.
    pub fn account(&mut self, name: &str) -> &mut Account {
        self.accounts.entry(name.to_owned()).or_default()
    }

    /// As [`Account::remaining`].
    pub fn remaining(&self, account: &str, version: u64, exposure: &Exposure) -> u64 {
        self.of(account).remaining(version, exposure)
    }

    /// As [`Account::revealed`].
    pub fn revealed(&self, account: &str, version: u64, layer: &LayerExposure) -> u64 {
        self.accounts.get(account).map_or(0, |account| account.revealed(version, layer))
    }

    /// As [`Account::charge`].
    ///
    /// # Errors
    /// [`Refused::Budget`]: nothing is booked then.
    pub fn charge(
        &mut self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        samples: u64,
        policy: Policy,
    ) -> Result<(), Refused> {
        let mut charged = self.of(account);
        charged.charge(version, exposure, samples, policy)?;
        *self.account(account) = charged;
        Ok(())
    }

    /// As [`Account::draw_lease`].
    ///
    /// # Errors
    /// [`Refused::LeaseLimit`], [`Refused::TooNarrow`].
    pub fn draw_lease(
        &self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        terms: LeaseTerms,
        policy: Policy,
        rng: &mut dyn CryptoRng,
    ) -> Result<u32, Refused> {
        self.of(account).draw_lease(version, exposure, terms, policy, rng)
    }

    fn of(&self, account: &str) -> Account {
        self.accounts.get(account).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::exposure::tests::exposure;
    use super::*;
    use crate::plan::Purpose;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;
    use std::collections::BTreeSet;

    #[test]
    fn the_bound_is_never_crossed_and_survives_a_restart() {
        let exposure = without_narrowest();
        let safe = exposure.safe_samples().0;
        let mut ledger = Ledger::default();
        assert_eq!(ledger.remaining("alice", 1, &exposure), safe);
        for _ in 0..safe {
            ledger.charge("alice", 1, &exposure, 1, Policy::Enforce).unwrap();
            ledger = restarted(&ledger);
        }
        assert_eq!(ledger.remaining("alice", 1, &exposure), 0);
        let before = ledger.clone();
        let refused = ledger.charge("alice", 1, &exposure, 1, Policy::Enforce).unwrap_err();
        assert!(matches!(refused, Refused::Budget { .. }));
        assert_eq!(ledger, before, "a refusal books nothing");
        ledger.charge("alice", 2, &exposure, 1, Policy::Enforce).unwrap();
        ledger.charge("bob", 1, &exposure, safe, Policy::Enforce).unwrap();
        ledger.charge("alice", 1, &exposure, 1, Policy::AllowModelExtraction).unwrap();
    }

    /// As a host keeps it: written and read.
    fn restarted(ledger: &Ledger) -> Ledger {
        postcard::from_bytes(&postcard::to_stdvec(ledger).unwrap()).unwrap()
    }

    fn without_narrowest() -> Exposure {
        Exposure { model: exposure(Purpose::Inference).model.split_off(1), data: Vec::new() }
    }

    /// With room for many samples.
    fn roomy() -> Exposure {
        let mut exposure = without_narrowest();
        exposure.model.iter_mut().for_each(|layer| layer.secret_bits *= 10);
        exposure
    }

    #[test]
    fn versions_of_ones_own_making_share_one_budget() {
        let exposure = without_narrowest();
        let safe = exposure.safe_samples().0;
        let mut ledger = Ledger::default();
        ledger.charge("alice", 1, &exposure, safe, Policy::Enforce).unwrap();
        ledger.charge("bob", 1, &exposure, 1, Policy::Enforce).unwrap();
        for _ in 0..2 {
            ledger.account("alice").carry(1, 2);
        }
        assert_eq!(ledger.remaining("alice", 2, &exposure), 0);
        assert_eq!(ledger.remaining("bob", 2, &exposure), safe);
        ledger.account("bob").carry(2, 3);
        assert_eq!(ledger.remaining("alice", 3, &exposure), safe);
        assert_eq!(restarted(&ledger), ledger);
    }

    /// A session that still answers from an older version of the line spends the budget of the
    /// newest, and the other way round, in every order of bookings and leases.
    #[test]
    fn a_late_booking_counts_on_every_version_of_its_line() {
        let exposure = roomy();
        let safe = exposure.safe_samples().0;
        assert!(safe > 3, "{safe}");
        for late in [4, 5, 7] {
            let mut ledger = Ledger::default();
            ledger.charge("alice", 4, &exposure, 1, Policy::Enforce).unwrap();
            ledger.account("alice").carry(4, 5);
            ledger.account("alice").carry(5, 7);
            ledger.charge("alice", late, &exposure, 1, Policy::Enforce).unwrap();
            for version in [4, 5, 7] {
                assert_eq!(ledger.remaining("alice", version, &exposure), safe - 2, "{version}");
            }
            assert_eq!(ledger.remaining("alice", 6, &exposure), safe, "made by somebody else");
            assert_eq!(restarted(&ledger), ledger);
        }
    }

    /// Two lines that were counted apart keep the larger count of each layer when a lease joins them.
    #[test]
    fn joined_lines_keep_the_larger_count() {
        let exposure = roomy();
        let safe = exposure.safe_samples().0;
        for (before, after) in [(1, 2), (2, 1)] {
            let mut ledger = Ledger::default();
            ledger.charge("alice", 1, &exposure, before, Policy::Enforce).unwrap();
            ledger.charge("alice", 2, &exposure, after, Policy::Enforce).unwrap();
            ledger.account("alice").carry(2, 3);
            ledger.account("alice").carry(1, 2);
            for version in [1, 2, 3] {
                assert_eq!(ledger.remaining("alice", version, &exposure), safe - 2, "{version}");
            }
            assert_eq!(restarted(&ledger), ledger);
        }
    }

    /// Neither below what the client can accept nor above what the operator grants, whatever the policy.
    #[test]
    fn leases_lie_between_the_clients_least_and_the_operators_most() {
        let exposure = exposure(Purpose::Training { steps: 1 });
        let (ledger, rng) = (Ledger::default(), &mut ChaCha20Rng::seed_from_u64(5));
        let mut draw = |least, steps, most_samples, policy| {
            let terms = LeaseTerms { batch: 10, steps, least, most_samples };
            ledger.draw_lease("a", 1, &exposure, terms, policy, rng)
        };
        let allow = Policy::AllowModelExtraction;
        for (least, steps, most, expected) in [
            (1, 50, 200, 1..=20),
            (7, 50, 200, 7..=20),
            (7, 12, 209, 7..=12),
            (20, 50, 200, 20..=20),
        ] {
            let drawn: BTreeSet<_> =
                (0..300).map(|_| draw(least, steps, most, allow).unwrap()).collect();
            assert_eq!(drawn, expected.collect(), "{least} to {steps}, {most} samples");
        }
        for policy in [allow, Policy::Enforce] {
            let refused = draw(21, 50, 200, policy).unwrap_err();
            assert_eq!(refused, Refused::LeaseLimit { samples: 210, most: 200 });
            // A single mini-batch above the maximum is above it, too.
            let refused = draw(1, 1, 9, policy).unwrap_err();
            assert_eq!(refused, Refused::LeaseLimit { samples: 10, most: 9 });
        }
        let refused = draw(2, 50, 200, Policy::Enforce).unwrap_err();
        let safe = exposure.safe_samples().0;
        assert_eq!(refused, Refused::TooNarrow { layer: "first".into(), samples: 20, safe });
    }

    /// The account's own remainder bounds the draw where the ledger is enforced.
    #[test]
    fn leases_end_below_the_bound() {
        let exposure =
            Exposure { model: exposure(Purpose::Inference).model.split_off(1), data: Vec::new() };
        let (mut ledger, rng) = (Ledger::default(), &mut ChaCha20Rng::seed_from_u64(5));
        let safe = exposure.safe_samples().0;
        ledger.charge("a", 1, &exposure, 1, Policy::Enforce).unwrap();
        let left = u32::try_from(safe - 1).unwrap();
        let mut draw = |least| {
            let terms = LeaseTerms { batch: 1, steps: 99, least, most_samples: 1000 };
            ledger.draw_lease("a", 1, &exposure, terms, Policy::Enforce, rng)
        };
        let drawn: BTreeSet<_> = (0..300).map(|_| draw(1).unwrap()).collect();
        assert_eq!(drawn, (1..=left).collect());
        assert_eq!(draw(left).unwrap(), left);
        let refused = draw(left + 1).unwrap_err();
        let (samples, safe) = (safe, safe - 1);
        assert_eq!(refused, Refused::TooNarrow { layer: "second".into(), samples, safe });
    }
}
