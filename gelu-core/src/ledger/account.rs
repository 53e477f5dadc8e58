//! One account's count.

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use serde::Deserialize;

use super::written::Written;
use super::{Exposure, LayerExposure, LeaseTerms, Policy};
use crate::error::{Refused, Result};

/// What one account has seen of one model. Versions that its own leases made of each other are one line, and
/// a line has one count: the account knows the differences, so an equation about one version is an
/// equation about all of them, whenever it comes.
///
/// A host keeps it where a crash cannot reach, and answers only what has been [charged](Self::charge) there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written<'_>")]
pub struct Account {
    /// The oldest version of a line → layer and direction → bits.
    pub(super) revealed: BTreeMap<u64, BTreeMap<String, u64>>,
    /// Every other version of a line → its oldest.
    pub(super) oldest: BTreeMap<u64, u64>,
    /// Layer and direction → bits, of layers that were frozen when they were asked.
    pub(super) frozen: BTreeMap<String, u64>,
}

impl Account {
    /// Samples that it may still see of `version`, whatever the policy.
    pub fn remaining(&self, version: u64, exposure: &Exposure) -> u64 {
        let left = |layer: &LayerExposure| {
            let revealed = self.revealed(version, layer);
            (layer.secret_bits - 1).saturating_sub(revealed) / layer.revealed_bits_per_sample
        };
        exposure.model.iter().map(left).min().unwrap_or(0)
    }

    /// Bits of a layer that it has seen of `version` and of its line; of a layer that is frozen, of any version. What
    /// was booked while a layer was frozen counts after it is trained again.
    pub fn revealed(&self, version: u64, layer: &LayerExposure) -> u64 {
        let key = key(layer);
        let of = |bits: &BTreeMap<String, u64>| bits.get(&key).copied().unwrap_or(0);
        let trained = match layer.frozen {
            true => self.revealed.values().map(of).fold(0, u64::saturating_add),
            false => self.revealed.get(&self.oldest(version)).map_or(0, of),
        };
        trained.saturating_add(of(&self.frozen))
    }

    /// Bits by layer and direction, of each line, named by its oldest version.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &BTreeMap<String, u64>)> {
        self.revealed.iter().map(|(&oldest, bits)| (oldest, bits))
    }

    /// Bits by layer and direction that all versions have in common: of layers that were frozen.
    pub fn frozen(&self) -> &BTreeMap<String, u64> {
        &self.frozen
    }

    /// The oldest version of the line that `version` is in: itself, where no lease of the account made it.
    pub fn oldest(&self, version: u64) -> u64 {
        self.oldest.get(&version).copied().unwrap_or(version)
    }

    /// Books samples before they are answered.
    ///
    /// # Errors
    /// [`Refused::Budget`] under [`Policy::Enforce`] when a bound would be crossed; nothing is
    /// booked then.
    pub fn charge(
        &mut self,
        version: u64,
        exposure: &Exposure,
        samples: u64,
        policy: Policy,
    ) -> Result<(), Refused> {
        let (mut bits, mut frozen) = (BTreeMap::new(), BTreeMap::new());
        for layer in &exposure.model {
            let new = samples.saturating_mul(layer.revealed_bits_per_sample);
            let revealed = self.revealed(version, layer).saturating_add(new);
            let bound = layer.secret_bits;
            if policy == Policy::Enforce && revealed >= bound {
                return Err(Refused::Budget { layer: layer.layer.clone(), revealed, bound });
            }
            if layer.frozen { &mut frozen } else { &mut bits }.insert(key(layer), new);
        }
        self.book(version, &bits, &frozen);
        Ok(())
    }

    /// Adds bits that were booked elsewhere: layer and direction → bits, and the same of layers that all versions
    /// have in common.
    pub fn book(
        &mut self,
        version: u64,
        bits: &BTreeMap<String, u64>,
        frozen: &BTreeMap<String, u64>,
    ) {
        add(self.revealed.entry(self.oldest(version)).or_default(), bits);
        add(&mut self.frozen, frozen);
    }

    /// A lease of its own has made version `to` of `from`: joins the line of `to` to that of `from`.
    pub fn carry(&mut self, from: u64, to: u64) {
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

    /// Draws the length of a lease, in mini-batches: `d_max` is uniform between the client's least and
    /// as many as the account may still see and the operator grants (the latter alone, where extraction
    /// is allowed); no more than were asked for are granted (paper, section 4.1).
    ///
    /// # Errors
    /// [`Refused::LeaseLimit`] when the operator grants less than the client's least;
    /// [`Refused::TooNarrow`] when the account may see less.
    pub fn draw_lease(
        &self,
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
            Policy::Enforce => self.remaining(version, exposure).min(most_samples),
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
