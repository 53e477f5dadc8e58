//! The cloud: it computes on everything and can read nothing.

use gelu_core::Result;
use rand_core::CryptoRng;

use super::costs::Costs;
use super::messages::{
    EncryptedInputs, EncryptedModel, EncryptedScores, MaskedValues, Refreshed, RefreshedValues,
};
use super::oracle::Masks;
use super::plan::{HiddenPlan, Mask, Plan, Step};
use crate::backend::with_generators;
use crate::group::{G1, G2};
use crate::keys::PublicKey;
use crate::scheme::{Ciphertext, Product, SealedProduct};

/// The cloud with an encrypted network.
#[derive(Debug)]
pub struct Cloud {
    public: PublicKey,
    plan: Plan,
    /// For each layer its weights and biases, row by row.
    weights: Vec<Vec<Ciphertext<G2>>>,
}

impl Cloud {
    /// Reads a network of the plan's shapes.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no such network.
    pub fn new(public: &PublicKey, plan: &Plan, model: &EncryptedModel) -> Result<Self> {
        let sizes = plan.layers.iter().map(|layer| layer.outputs * (layer.inputs + 1));
        let mut all = model.read(sizes.clone().sum())?;
        let mut weights: Vec<_> = Vec::new();
        for size in sizes {
            let rest = all.split_off(size);
            weights.push(core::mem::replace(&mut all, rest));
        }
        Ok(Self { public: public.clone(), plan: plan.clone(), weights })
    }

    /// Begins a query: the first layer's sums, masked, or the scores of a network without hidden
    /// layer.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no query.
    pub fn evaluate(&self, inputs: &EncryptedInputs, rng: &mut dyn CryptoRng) -> Result<Turn<'_>> {
        let masks = Masks::new(rng);
        let values = inputs.read(self.plan.inputs())?;
        Ok(self.layer(0, values, masks, Costs::default(), rng))
    }

    /// W·x + b of a layer, on its way to the key holder.
    fn layer(
        &self,
        layer: usize,
        mut values: Vec<Ciphertext<G1>>,
        masks: Masks,
        costs: Costs,
        rng: &mut dyn CryptoRng,
    ) -> Turn<'_> {
        values.push(self.public.trivial(self.plan.one()));
        let shape = &self.plan.layers[layer];
        let width = values.len();
        let row = |output| (0..width).map(|i| (i, output * width + i)).collect();
        let rows: Vec<Vec<_>> = (0..shape.outputs).map(row).collect();
        let left: Vec<_> = values.iter().collect();
        let right: Vec<_> = self.weights[layer].iter().collect();
        let sums = self.public.scalar_products(&left, &right, &rows);
        let costs = costs + Costs::scalar_products(shape.outputs, width);
        match &shape.hidden {
            Some(hidden) => {
                let evaluation = Evaluation {
                    cloud: self,
                    hidden,
                    layer,
                    masks,
                    costs,
                    state: State::Sums,
                    high: vec![],
                };
                evaluation.ask(&hidden.sums, &sums, 0, rng)
            }
            None => {
                let sealed = self.seal(&sums, rng);
                let scores = EncryptedScores::new(&sealed);
                let more = Costs {
                    seals: sealed.len(),
                    bytes_to_key_holder: scores.as_bytes().len(),
                    ..Costs::default()
                };
                Turn::Done(scores, costs + more)
            }
        }
    }

    fn seal(&self, values: &[Product], rng: &mut dyn CryptoRng) -> Vec<SealedProduct> {
        with_generators(values, rng, |value, rng| self.public.seal(value, rng))
    }
}

/// What the cloud has to say.
#[derive(Debug)]
pub enum Turn<'a> {
    /// Values for the key holder to divide and encrypt anew.
    Ask(Box<Evaluation<'a>>, MaskedValues),
    /// The scores, and what the cloud's part of the query came to.
    Done(EncryptedScores, Costs),
}

/// A query that waits for the key holder. Made only by [`Cloud`], used up by
/// [`receive`](Self::receive).
#[derive(Debug)]
pub struct Evaluation<'a> {
    cloud: &'a Cloud,
    hidden: &'a HiddenPlan,
    layer: usize,
    masks: Masks,
    costs: Costs,
    state: State,
    /// The parts of the masks that come off.
    high: Vec<i64>,
}

/// Which values are with the key holder, and what the cloud keeps meanwhile.
#[derive(Debug)]
enum State {
    Sums,
    Square { z: Vec<Ciphertext<G1>> },
    Quartic { z: Vec<Ciphertext<G1>> },
    Activation,
}

impl<'a> Evaluation<'a> {
    /// Takes the masks off and goes on to the next multiplication.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no answer.
    pub fn receive(
        mut self,
        answer: &RefreshedValues,
        rng: &mut dyn CryptoRng,
    ) -> Result<Turn<'a>> {
        let (count, public, hidden) = (self.high.len(), &self.cloud.public, self.hidden);
        let counts = match self.state {
            State::Sums | State::Square { .. } => (count, count),
            State::Quartic { .. } => (0, count),
            State::Activation => (count, 0),
        };
        let Refreshed { g1, g2 } = answer.read(counts)?;
        let g1: Vec<Ciphertext<G1>> =
            self.high.iter().zip(g1).map(|(high, c)| public.add_plain(&c, -high)).collect();
        let g2: Vec<Ciphertext<G2>> =
            self.high.iter().zip(g2).map(|(high, c)| public.add_plain(&c, -high)).collect();
        let products = |left: &[Ciphertext<G1>], right: &[Ciphertext<G2>]| {
            let (left, right): (Vec<_>, Vec<_>) = (left.iter().collect(), right.iter().collect());
            let rows: Vec<_> = (0..count).map(|i| vec![(i, i)]).collect();
            public.scalar_products(&left, &right, &rows)
        };
        let plus = |values: &[Ciphertext<G2>], constant| -> Vec<_> {
            values.iter().map(|c| public.add_plain(c, constant)).collect()
        };
        let constants = Costs { additions: count, ..Costs::default() };
        match core::mem::replace(&mut self.state, State::Activation) {
            State::Sums => {
                let square = products(&g1, &g2);
                self.costs += Costs::scalar_products(count, 1);
                self.state = State::Square { z: g1 };
                Ok(self.ask(&hidden.square, &square, 0, rng))
            }
            State::Square { z } => {
                let quartic = products(&g1, &plus(&g2, -hidden.ten));
                self.costs += Costs::scalar_products(count, 1) + constants;
                self.state = State::Quartic { z };
                Ok(self.ask(&hidden.quartic, &quartic, 0, rng))
            }
            State::Quartic { z } => {
                let activation = products(&z, &plus(&g2, hidden.one_hundred_twenty));
                let two_hundred_forty = Costs { additions_of_products: count, ..constants };
                self.costs += Costs::scalar_products(count, 1) + two_hundred_forty;
                Ok(self.ask(&hidden.activation, &activation, hidden.two_hundred_forty, rng))
            }
            State::Activation => {
                Ok(self.cloud.layer(self.layer + 1, g1, self.masks, self.costs, rng))
            }
        }
    }

    /// Adds a constant and masks, seals, and waits.
    fn ask(
        mut self,
        step: &Step,
        values: &[Product],
        constant: i64,
        rng: &mut dyn CryptoRng,
    ) -> Turn<'a> {
        let masks: Vec<Mask> = values.iter().map(|_| self.masks.draw(step)).collect();
        let public = &self.cloud.public;
        let masked: Vec<_> = values.iter().zip(&masks).collect();
        let sealed = with_generators(&masked, rng, |(value, mask), rng| {
            let r = constant + mask.dither + step.divisor * mask.high;
            public.seal(&public.add_plain_to_product(value, r), rng)
        });
        let halves = match self.state {
            State::Sums | State::Square { .. } => 2,
            State::Quartic { .. } | State::Activation => 1,
        };
        self.costs += Costs::masked(values.len(), halves);
        self.high = masks.iter().map(|mask| mask.high).collect();
        Turn::Ask(Box::new(self), MaskedValues::new(&sealed))
    }
}
