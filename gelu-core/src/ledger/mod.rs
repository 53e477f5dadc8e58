//! The leakage ledger: how much of the model each account has been told.
//!
//! [`Exposure`] says what a plan gives away, from architecture and formats alone; the [`Ledger`] counts
//! what accounts were given, and refuses before a bound is crossed. Revealed bits are counted by
//! account and model version; an account is a person or an organisation, not a key, so the count
//! survives new keys, and it is plain data, so that the host can keep it across restarts.
//!
//! Its mirror at the client is the [`DataLedger`]: which samples are in which revealed sums.

pub mod data;
mod exposure;

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::error::{Refused, Result};

pub use data::{DataLedger, SampleId, SumLedger};
pub use exposure::{DataExposure, Exposure, LayerExposure};

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
pub struct LeaseWish {
    /// Samples of a mini-batch.
    pub batch: u64,
    /// Mini-batches that the client would like.
    pub steps: u32,
    /// Mini-batches below which its data does not let it go: 1 to `steps`.
    pub least: u32,
    /// Samples that the operator grants at most.
    pub most_samples: u64,
}

/// Bits revealed so far: account → model version → layer and direction → bits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    accounts: BTreeMap<String, BTreeMap<u64, BTreeMap<String, u64>>>,
}

impl Ledger {
    /// Samples that `account` may still see of `version`, whatever the policy.
    pub fn remaining(&self, account: &str, version: u64, exposure: &Exposure) -> u64 {
        let left = |layer: &LayerExposure| {
            let revealed = self.revealed(account, version, layer);
            (layer.secret_bits - 1).saturating_sub(revealed) / layer.revealed_bits_per_sample
        };
        exposure.model.iter().map(left).min().unwrap_or(0)
    }

    /// Bits of a layer that `account` has seen.
    pub fn revealed(&self, account: &str, version: u64, layer: &LayerExposure) -> u64 {
        let versions = self.accounts.get(account);
        let layers = versions.and_then(|v| v.get(&version));
        layers.and_then(|l| l.get(&key(layer))).copied().unwrap_or(0)
    }

    /// Books `samples` samples before they are answered.
    ///
    /// # Errors
    /// [`Refused::Budget`] under [`Policy::Enforce`] when a bound would be crossed; nothing is
    /// booked then.
    pub fn charge(
        &mut self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        samples: u64,
        policy: Policy,
    ) -> Result<(), Refused> {
        let after = |layer: &LayerExposure| {
            let new = samples.saturating_mul(layer.revealed_bits_per_sample);
            self.revealed(account, version, layer).saturating_add(new)
        };
        let totals: Vec<_> = exposure.model.iter().map(after).collect();
        if policy == Policy::Enforce {
            let crossed = exposure.model.iter().zip(&totals).find(|(l, t)| **t >= l.secret_bits);
            if let Some((layer, &revealed)) = crossed {
                let bound = layer.secret_bits;
                return Err(Refused::Budget { layer: layer.layer.clone(), revealed, bound });
            }
        }
        let versions = self.accounts.entry(account.to_owned()).or_default();
        let layers = versions.entry(version).or_default();
        layers.extend(exposure.model.iter().map(key).zip(totals));
        Ok(())
    }

    /// Carries what `account` has seen of version `from` over to `to`, which its own lease made: it
    /// knows the difference, so equations about one are equations about the other.
    ///
    /// Versions that others made begin at zero for it: their updates are unknowns to it.
    pub fn carry(&mut self, account: &str, from: u64, to: u64) {
        let Some(versions) = self.accounts.get_mut(account) else { return };
        let Some(seen) = versions.get(&from).cloned() else { return };
        let carried = versions.entry(to).or_default();
        for (layer, bits) in seen {
            let total = carried.entry(layer).or_default();
            *total = bits.max(*total);
        }
    }

    /// Draws the length of a lease, in mini-batches: `d_max` is uniform between the client's least and
    /// as many as the account may still see and the operator grants (the latter alone, where extraction
    /// is allowed); no more than the wish are granted (paper, section 4.1).
    ///
    /// # Errors
    /// [`Refused::LeaseLimit`] when the operator grants less than the client's least;
    /// [`Refused::TooNarrow`] when the account may see less.
    pub fn draw_lease(
        &self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        wish: LeaseWish,
        policy: Policy,
        rng: &mut dyn CryptoRng,
    ) -> Result<u32, Refused> {
        let LeaseWish { batch, steps, least, most_samples } = wish;
        let samples = batch.saturating_mul(u64::from(least));
        if samples > most_samples {
            return Err(Refused::LeaseLimit { samples, most: most_samples });
        }
        let safe = match policy {
            Policy::Enforce => self.remaining(account, version, exposure).min(most_samples),
            Policy::AllowModelExtraction => most_samples,
        };
        if samples > safe {
            let layer = exposure.safe_samples().1.layer.clone();
            return Err(Refused::TooNarrow { layer, samples, safe });
        }
        let least = u64::from(least);
        let d_max = least + uniform_below(safe / batch - least + 1, rng);
        Ok(steps.min(u32::try_from(d_max).unwrap_or(u32::MAX)))
    }
}

fn key(layer: &LayerExposure) -> String {
    format!("{} {}", layer.layer, layer.direction)
}

/// A uniform number below `n` > 0, by rejection.
fn uniform_below(n: u64, rng: &mut dyn CryptoRng) -> u64 {
    let zone = u64::MAX - u64::MAX % n;
    loop {
        let draw = rng.next_u64();
        if draw < zone {
            return draw % n;
        }
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
        let exposure =
            Exposure { model: exposure(Purpose::Inference).model.split_off(1), data: Vec::new() };
        let safe = exposure.safe_samples().0;
        let mut ledger = Ledger::default();
        assert_eq!(ledger.remaining("alice", 1, &exposure), safe);
        for _ in 0..safe {
            ledger.charge("alice", 1, &exposure, 1, Policy::Enforce).unwrap();
            let bytes = postcard::to_stdvec(&ledger).unwrap();
            ledger = postcard::from_bytes(&bytes).unwrap();
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

    #[test]
    fn versions_of_ones_own_making_share_one_budget() {
        let exposure =
            Exposure { model: exposure(Purpose::Inference).model.split_off(1), data: Vec::new() };
        let safe = exposure.safe_samples().0;
        let mut ledger = Ledger::default();
        ledger.charge("alice", 1, &exposure, safe, Policy::Enforce).unwrap();
        ledger.charge("bob", 1, &exposure, 1, Policy::Enforce).unwrap();
        for _ in 0..2 {
            ledger.carry("alice", 1, 2);
        }
        assert_eq!(ledger.remaining("alice", 2, &exposure), 0);
        assert_eq!(ledger.remaining("bob", 2, &exposure), safe);
        ledger.carry("bob", 2, 3);
        assert_eq!(ledger.remaining("alice", 3, &exposure), safe);
    }

    /// Neither below what the client can accept nor above what the operator grants, whatever the policy.
    #[test]
    fn leases_lie_between_the_clients_least_and_the_operators_most() {
        let exposure = exposure(Purpose::Training { steps: 1 });
        let (ledger, rng) = (Ledger::default(), &mut ChaCha20Rng::seed_from_u64(5));
        let mut draw = |least, steps, most_samples, policy| {
            let wish = LeaseWish { batch: 10, steps, least, most_samples };
            ledger.draw_lease("a", 1, &exposure, wish, policy, rng)
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
            let wish = LeaseWish { batch: 1, steps: 99, least, most_samples: 1000 };
            ledger.draw_lease("a", 1, &exposure, wish, Policy::Enforce, rng)
        };
        let drawn: BTreeSet<_> = (0..300).map(|_| draw(1).unwrap()).collect();
        assert_eq!(drawn, (1..=left).collect());
        assert_eq!(draw(left).unwrap(), left);
        let refused = draw(left + 1).unwrap_err();
        let (samples, safe) = (safe, safe - 1);
        assert_eq!(refused, Refused::TooNarrow { layer: "second".into(), samples, safe });
    }
}
