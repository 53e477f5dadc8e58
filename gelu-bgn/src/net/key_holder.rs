//! The key holder: it decrypts what is masked, and the scores.

use gelu_core::error::ApiMisuse;
use gelu_core::{Error, Result};
use rand_core::CryptoRng;
use rayon::prelude::*;

use super::costs::Costs;
use super::messages::{EncryptedScores, MaskedValues, RefreshedValues};
use super::plan::{LayerPlan, Plan, Step};
use crate::backend::with_generators;
use crate::decode::Decoder;
use crate::group::{G1, G2};
use crate::keys::SecretKey;
use crate::scheme::{Ciphertext, Product};

/// Who can decrypt: all parties together in the original, here one who stands for them.
#[derive(Debug)]
pub struct KeyHolder {
    secret: SecretKey,
    plan: Plan,
    decoder: Decoder,
}

impl KeyHolder {
    /// With the plan's decoder; its table is built if nobody has used it yet.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn new(secret: SecretKey, plan: &Plan) -> Result<Self> {
        let decoder = plan.settings.decoder()?;
        Ok(Self { secret, plan: plan.clone(), decoder })
    }

    /// The key whose secret this is.
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret
    }

    /// Begins a query.
    pub fn session(&self) -> Session<'_> {
        Session { holder: self, round: 0, costs: Costs::default() }
    }

    fn decrypt(&self, values: &[Product], range_bits: u32) -> Result<Vec<i64>> {
        let decoder = self.decoder.with_range(range_bits)?;
        values.par_iter().map(|value| self.secret.decrypt_product(value, decoder)).collect()
    }
}

/// The key holder's side of one query: it knows from the plan what comes next.
#[derive(Debug)]
pub struct Session<'a> {
    holder: &'a KeyHolder,
    round: usize,
    costs: Costs,
}

impl Session<'_> {
    /// Decrypts, divides and encrypts anew: ⟦v + r⟧ becomes ⟦⌊(v + r)/d⌋⟧, in the groups that the
    /// step needs.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no values;
    /// [`Error::Decryption`] for a value out of its range; [`ApiMisuse::State`] when all rounds are
    /// over.
    pub fn refresh(
        &mut self,
        masked: &MaskedValues,
        rng: &mut dyn CryptoRng,
    ) -> Result<RefreshedValues> {
        let over = ApiMisuse::State { asked: "refresh values", state: "waits for scores" };
        let (layer, step, halves) = self.step().ok_or(over)?;
        let values = masked.read(layer.outputs)?;
        let (secret, divisor) = (&self.holder.secret, step.divisor);
        let values = self.holder.decrypt(&values, step.range_bits)?;
        let quotients: Vec<i64> = values.iter().map(|v| v.div_euclid(divisor)).collect();
        let (g1, g2) = halves;
        let none: &[i64] = &[];
        let g1: Vec<Ciphertext<G1>> =
            with_generators(if g1 { &quotients } else { none }, rng, |&m, rng| {
                secret.encrypt(m, rng)
            });
        let g2: Vec<Ciphertext<G2>> =
            with_generators(if g2 { &quotients } else { none }, rng, |&m, rng| {
                secret.encrypt(m, rng)
            });
        self.costs += Costs::refreshed(values.len(), halves);
        self.round += 1;
        Ok(RefreshedValues::new(&g1, &g2))
    }

    /// The scores, in integers of the last layer's scale.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh); [`ApiMisuse::State`] when rounds are missing.
    pub fn finish(mut self, scores: &EncryptedScores) -> Result<(Vec<i64>, Costs)> {
        if self.step().is_some() {
            let state = "still expects masked values";
            return Err(Error::from(ApiMisuse::State { asked: "read scores", state }));
        }
        let plan = &self.holder.plan;
        let values = scores.read(plan.outputs())?;
        let scores = self.holder.decrypt(&values, plan.score_bits)?;
        self.costs.decryptions += scores.len();
        Ok((scores, self.costs))
    }

    /// The layer and the step of this round, and whether values go back in G1 and in G2.
    fn step(&self) -> Option<(&LayerPlan, &Step, (bool, bool))> {
        let layer = self.holder.plan.layers.get(self.round / 4)?;
        let step = layer.hidden.as_ref()?.steps()[self.round % 4];
        let halves = [(true, true), (true, true), (false, true), (true, false)][self.round % 4];
        Some((layer, step, halves))
    }
}
