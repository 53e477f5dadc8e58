//! The leakage ledger: how much of the model each account has been told.
//!
//! [`Exposure`] says what a plan gives away, from architecture and formats alone; the [`Ledger`] counts
//! what accounts were given, and refuses before a bound is crossed. Revealed bits are counted by
//! account and model version; an account is a person or an organisation, not a key, so the count
//! survives new keys, and it is a sum of [entries](Entry), so that the host can keep it across restarts.
//!
//! A version that the account's own lease has made shares one count with the version it was made of.
//! Versions that others made begin at zero for it: their updates are unknowns to it. Layers that are
//! [frozen](LayerExposure::frozen) have no updates: one count for all versions.
//!
//! Its mirror at the client is the [`DataLedger`]: which samples are in which revealed sums.

mod blind;
pub mod data;
mod exposure;
mod remaining;

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::error::{Refused, Result};

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

/// One line of the books. A ledger is what its entries, in their order, add up to; so a host can
/// keep it by writing down each one, whatever the ledger has grown to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// An account is about to see samples.
    Booked {
        /// The account.
        account: String,
        /// The version of the model.
        version: u64,
        /// Layer and direction → bits revealed on top of those before.
        bits: BTreeMap<String, u64>,
        /// The same of layers that all versions have in common.
        #[serde(default)]
        frozen: BTreeMap<String, u64>,
    },
    /// A lease of the account's own has made a version of another.
    Carried {
        /// The account.
        account: String,
        /// The version on which its lease started.
        from: u64,
        /// The version that it made.
        to: u64,
    },
}

/// Bits revealed so far, by account, model version, layer and direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    accounts: BTreeMap<String, Account>,
}

/// What one account has seen. Versions that its own leases made of each other are one line, and a
/// line has one count: the account knows the differences, so an equation about one version is an
/// equation about all of them, whenever it comes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Account {
    /// The oldest version of a line → layer and direction → bits.
    revealed: BTreeMap<u64, BTreeMap<String, u64>>,
    /// Every other version of a line → its oldest.
    oldest: BTreeMap<u64, u64>,
    /// Layer and direction → bits, of layers that were frozen when they were asked.
    frozen: BTreeMap<String, u64>,
}

impl Account {
    fn oldest(&self, version: u64) -> u64 {
        self.oldest.get(&version).copied().unwrap_or(version)
    }

    fn book(&mut self, version: u64, bits: &BTreeMap<String, u64>, frozen: &BTreeMap<String, u64>) {
        add(self.revealed.entry(self.oldest(version)).or_default(), bits);
        add(&mut self.frozen, frozen);
    }

    /// What it knows of `version`; of a layer that is frozen, what it knows of any version. What was booked
    /// while a layer was frozen counts after it is trained again.
    fn revealed(&self, version: u64, layer: &LayerExposure) -> u64 {
        let key = key(layer);
        let of = |bits: &BTreeMap<String, u64>| bits.get(&key).copied().unwrap_or(0);
        let trained = match layer.frozen {
            true => self.revealed.values().map(of).fold(0, u64::saturating_add),
            false => self.revealed.get(&self.oldest(version)).map_or(0, of),
        };
        trained.saturating_add(of(&self.frozen))
    }

    /// Joins the line of `to` to that of `from`.
    fn carry(&mut self, from: u64, to: u64) {
        let (line, joined) = (self.oldest(from), self.oldest(to));
        if line == joined {
            return;
        }
        let seen = self.revealed.remove(&joined).unwrap_or_default();
        let revealed = self.revealed.entry(line).or_default();
        for (layer, bits) in seen {
            let total = revealed.entry(layer).or_default();
            *total = bits.max(*total);
        }
        self.oldest.values_mut().filter(|oldest| **oldest == joined).for_each(|o| *o = line);
        self.oldest.insert(joined, line);
    }
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

    /// Bits of a layer that `account` has seen of `version` and of its line; of a frozen one, of any version.
    pub fn revealed(&self, account: &str, version: u64, layer: &LayerExposure) -> u64 {
        self.accounts.get(account).map_or(0, |account| account.revealed(version, layer))
    }

    /// What booking `samples` samples would add. Nothing is booked before it is
    /// [applied](Self::apply): a host writes it down first.
    ///
    /// # Errors
    /// [`Refused::Budget`] under [`Policy::Enforce`] when a bound would be crossed.
    pub fn weigh(
        &self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        samples: u64,
        policy: Policy,
    ) -> Result<Entry, Refused> {
        let (mut bits, mut frozen) = (BTreeMap::new(), BTreeMap::new());
        for layer in &exposure.model {
            let new = samples.saturating_mul(layer.revealed_bits_per_sample);
            let revealed = self.revealed(account, version, layer).saturating_add(new);
            let bound = layer.secret_bits;
            if policy == Policy::Enforce && revealed >= bound {
                return Err(Refused::Budget { layer: layer.layer.clone(), revealed, bound });
            }
            if layer.frozen { &mut frozen } else { &mut bits }.insert(key(layer), new);
        }
        Ok(Entry::Booked { account: account.to_owned(), version, bits, frozen })
    }

    /// Adds an entry.
    pub fn apply(&mut self, entry: &Entry) {
        let (Entry::Booked { account, .. } | Entry::Carried { account, .. }) = entry;
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.clone(), Account::default());
        }
        let account = self.accounts.get_mut(account).expect("it is there now");
        match entry {
            Entry::Booked { version, bits, frozen, .. } => account.book(*version, bits, frozen),
            Entry::Carried { from, to, .. } => account.carry(*from, *to),
        }
    }

    /// The fewest entries that add up to this ledger.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.accounts.iter().flat_map(|(name, account)| {
            let mut frozen = account.frozen.clone();
            let booked = account.revealed.iter().map(move |(&version, bits)| Entry::Booked {
                account: name.clone(),
                version,
                bits: bits.clone(),
                // With the first of them.
                frozen: std::mem::take(&mut frozen),
            });
            let carried = account.oldest.iter().map(|(&to, &from)| Entry::Carried {
                account: name.clone(),
                from,
                to,
            });
            booked.chain(carried)
        })
    }

    /// Books `samples` samples before they are answered: [weighs](Self::weigh), then
    /// [applies](Self::apply).
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
        let entry = self.weigh(account, version, exposure, samples, policy)?;
        self.apply(&entry);
        Ok(())
    }

    /// Draws the length of a lease, in mini-batches: `d_max` is uniform between the client's least and
    /// as many as the account may still see and the operator grants (the latter alone, where extraction
    /// is allowed); no more than were asked for are granted (paper, section 4.1).
    ///
    /// # Errors
    /// [`Refused::LeaseLimit`] when the operator grants less than the client's least;
    /// [`Refused::TooNarrow`] when the account may see less.
    pub fn draw_lease(
        &self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        terms: LeaseTerms,
        policy: Policy,
        rng: &mut dyn CryptoRng,
    ) -> Result<u32, Refused> {
        let LeaseTerms { batch, steps, least, most_samples } = terms;
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

/// total += bits, layer by layer.
fn add(total: &mut BTreeMap<String, u64>, bits: &BTreeMap<String, u64>) {
    for (layer, bits) in bits {
        let total = total.entry(layer.clone()).or_default();
        *total = total.saturating_add(*bits);
    }
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

    /// As a host keeps it: entries are written, read, and added up.
    fn restarted(ledger: &Ledger) -> Ledger {
        let mut again = Ledger::default();
        for entry in ledger.entries() {
            let bytes = postcard::to_stdvec(&entry).unwrap();
            again.apply(&postcard::from_bytes(&bytes).unwrap());
        }
        again
    }

    fn carried(account: &str, from: u64, to: u64) -> Entry {
        Entry::Carried { account: account.into(), from, to }
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
            ledger.apply(&carried("alice", 1, 2));
        }
        assert_eq!(ledger.remaining("alice", 2, &exposure), 0);
        assert_eq!(ledger.remaining("bob", 2, &exposure), safe);
        ledger.apply(&carried("bob", 2, 3));
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
            ledger.apply(&carried("alice", 4, 5));
            ledger.apply(&carried("alice", 5, 7));
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
            ledger.apply(&carried("alice", 2, 3));
            ledger.apply(&carried("alice", 1, 2));
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
