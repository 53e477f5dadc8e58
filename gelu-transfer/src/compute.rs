//! The compute party: it holds ciphertexts and evaluation keys, and learns sizes.

use gelu_ckks::{Ciphertext, EvaluationKeys, Extended, Plaintext, Product, Upload};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::message::{Reader, Writer, check};
use crate::plain::{L2, MOST_ITERATIONS, Momentum};
use crate::plan::Plan;

/// Runs iterations on what it cannot read.
pub struct ComputeParty {
    plan: Plan,
    keys: EvaluationKeys,
    batches: Vec<Option<Batch>>,
}

/// Encrypted rows and their labels.
struct Batch {
    /// F of each place of the grid.
    features: Vec<Ciphertext>,
    /// y − ½ for each head.
    labels: Vec<Ciphertext>,
}

/// A head under encryption: v, and (1 + β)·w for the β of the iteration before, both times the plan's factor.
struct EncryptedHead {
    v: Ciphertext,
    w: Ciphertext,
}

impl ComputeParty {
    /// With the data party's keys.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for keys of another ring; [`Error::Peer`] when one is missing or for a lower level.
    pub fn new(plan: Plan, keys: &[u8]) -> Result<Self> {
        let keys = EvaluationKeys::from_bytes(plan.parameters(), keys)?;
        for (kind, level) in plan.keys() {
            if !keys.iter().any(|key| key.kind() == kind && key.level() >= level) {
                return Err(Error::Peer("a key is missing, or is for a lower level"));
            }
        }
        let batches = (0..plan.batches()).map(|_| None).collect();
        Ok(Self { plan, keys, batches })
    }

    /// Takes the features and labels of one batch.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Peer`].
    pub fn receive_batch(&mut self, message: &[u8]) -> Result<()> {
        let (plan, parameters) = (&self.plan, self.plan.parameters());
        let mut reader = Reader::new(message);
        let index = reader.word()?;
        let features = reader.parts(plan.layout().shifts())?;
        let labels = reader.parts(plan.settings().heads)?;
        reader.end()?;
        let place = self.batches.get_mut(index).ok_or(Error::Peer("there is no such batch"))?;
        let top = plan.head_level(plan.settings().unattended);
        let read = |level, scale| {
            move |bytes: &&[u8]| {
                check(Upload::from_bytes(parameters, bytes)?.expand(), level, &scale)
            }
        };
        let features =
            features.par_iter().map(read(top, parameters.scale())).collect::<Result<_>>()?;
        let labels = labels.par_iter().map(read(plan.error_level(top), plan.error_scale()));
        *place = Some(Batch { features, labels: labels.collect::<Result<_>>()? });
        Ok(())
    }

    /// Runs the iterations that the heads come for, and answers with the last gradients.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Peer`]; [`Error::Setting`] before all batches have come.
    pub fn train(&self, message: &[u8]) -> Result<Vec<u8>> {
        let (plan, parameters) = (&self.plan, self.plan.parameters());
        let mut reader = Reader::new(message);
        let (iteration, [count]) = (reader.word()?, reader.array()?);
        let unattended = plan.settings().unattended;
        if count == 0 || usize::from(count) > unattended {
            return Err(Error::Peer("more iterations than levels bear, or none"));
        }
        if iteration > MOST_ITERATIONS {
            return Err(Error::Peer("more than 2^20 iterations"));
        }
        let heads = plan.settings().heads;
        let v = reader.parts(heads)?;
        let w = reader.parts(if unattended > 1 { heads } else { 0 })?;
        reader.end()?;
        let level = plan.head_level(count.into());
        let scale = plan.head_scale(level);
        let read =
            |bytes: &[u8]| check(Upload::from_bytes(parameters, bytes)?.expand(), level, &scale);
        let answers = (0..heads).into_par_iter().map(|head| {
            let v = read(v[head])?;
            let w = w.get(head).map_or(Ok(v.clone()), |bytes| read(bytes))?;
            self.iterations(head, EncryptedHead { v, w }, iteration, count.into())
        });
        let answers = answers.collect::<Result<Vec<_>>>()?;
        let number = u32::try_from(iteration).map_err(|_| Error::Peer("a number is too large"))?;
        let mut writer = Writer::new(&[&number.to_le_bytes()[..], &[count]].concat());
        answers.iter().for_each(|(gradient, _)| writer.part(&gradient.to_bytes()));
        if unattended > 1 {
            answers.iter().for_each(|(_, head)| writer.part(&head.v.to_bytes()));
            answers.iter().for_each(|(_, head)| writer.part(&head.w.to_bytes()));
        }
        Ok(writer.finish())
    }

    /// All iterations of one head, but for the last step. The head is brought to level 1 for its way back.
    fn iterations(
        &self,
        head: usize,
        mut state: EncryptedHead,
        first: usize,
        count: usize,
    ) -> Result<(Ciphertext, EncryptedHead)> {
        let mut left = count;
        loop {
            let iteration = first + count - left;
            let batch = self.batches[iteration % self.batches.len()].as_ref();
            let batch = batch.ok_or(Error::Setting("all batches must come before training"))?;
            let errors = self.errors(batch, head, &state.v)?;
            let gradient = self.gradient(batch, &errors)?;
            left -= 1;
            if left == 0 {
                let EncryptedHead { v, w } = state;
                return Ok((gradient, EncryptedHead { v: v.at_level(1)?, w: w.at_level(1)? }));
            }
            state = self.step(&state, &gradient, iteration)?;
        }
    }

    /// p(X·v) − y, one level and those of the polynomial below.
    fn errors(&self, batch: &Batch, head: usize, v: &Ciphertext) -> Result<Ciphertext> {
        let (layout, keys, sigmoid) =
            (self.plan.layout(), &self.keys, &self.plan.settings().sigmoid);
        let hoisted = v.hoist();
        let babies: Vec<_> = layout.babies().collect();
        let rotated = babies.par_iter().map(|&b| Ok((b, hoisted.rotate(layout.steps(-b), keys)?)));
        let rotated = rotated.collect::<Result<Vec<_>>>()?;
        let giants: Vec<_> = layout.giants().collect();
        let parts = giants.par_iter().map(|&g| {
            let pairs = rotated.iter().filter_map(|(b, v)| {
                layout.place_of(*b, g).map(|place| (&batch.features[place], v))
            });
            let sum = Product::sum(&pairs.collect::<Vec<_>>())?.relinearize_and_rescale(keys)?;
            Ok(sum.hoist().rotate_extended(layout.steps(-layout.giant(g)), keys)?)
        });
        let sum = sum(parts.collect::<Result<Vec<_>>>()?)?;
        let u = sum.inner_sum(layout.blocks(), layout.rows(), keys)?;
        let p = match sigmoid.degree() {
            1 => u,
            _ => u.evaluate_at(sigmoid.coefficients(), &self.plan.error_scale(), keys)?,
        };
        Ok(p.sub(&batch.labels[head])?)
    }

    /// Parts of Xᵀ·e, one level below: the gradient of an input is their sum over its places.
    fn gradient(&self, batch: &Batch, errors: &Ciphertext) -> Result<Ciphertext> {
        let (layout, keys) = (self.plan.layout(), &self.keys);
        let hoisted = errors.hoist();
        let giants: Vec<_> = layout.giants().collect();
        let rotated = giants
            .par_iter()
            .map(|&g| Ok((g, hoisted.rotate(layout.steps(layout.giant(g)), keys)?)));
        let rotated = rotated.collect::<Result<Vec<_>>>()?;
        let babies: Vec<_> = layout.babies().collect();
        let parts = babies.par_iter().map(|&b| {
            let pairs = rotated.iter().filter_map(|(g, e)| {
                layout.place_of(b, *g).map(|place| (&batch.features[place], e))
            });
            let sum = Product::sum(&pairs.collect::<Vec<_>>())?.relinearize_and_rescale(keys)?;
            Ok(sum.hoist().rotate_extended(layout.steps(b), keys)?)
        });
        sum(parts.collect::<Result<Vec<_>>>()?)
    }

    /// Nesterov's step under encryption. With a = 1 + β and â = 1 + the β before:
    ///
    /// ```text
    /// a·w′  =  a·(1 − rate·λ)·v − a·rate·g          in all places of an input
    ///   v′  =  a·w′ − β/â·(â·w)
    /// ```
    fn step(
        &self,
        head: &EncryptedHead,
        gradient: &Ciphertext,
        iteration: usize,
    ) -> Result<EncryptedHead> {
        let (plan, layout, keys) = (&self.plan, self.plan.layout(), &self.keys);
        let (parameters, settings) = (plan.parameters(), plan.settings());
        let (beta, before) = (Momentum::beta(iteration), Momentum::beta_before(iteration));
        let level = gradient.level();
        let product = plan.head_scale(level - 1).times(&parameters.prime_scale(level));
        // At the scale that a rescaling takes to that of a head. Copies are made before it: its rounding would add up in them.
        let multiply = |x: &Ciphertext, slots: &[f64]| {
            let factor = Plaintext::encode(parameters, slots, &product.over(x.scale()), level)?;
            x.at_level(level)?.mul_plain(&factor)
        };
        let inputs = plan.inputs();
        let along = -(1.0 + beta) * settings.rate * plan.factor() / settings.batch as f64;
        let summed = gradient.inner_sum(layout.places(), layout.shifts(), keys)?;
        let first = multiply(&summed, &layout.first_places(along))?;
        let back = parameters.slots() - layout.shifts();
        let gradient = first.inner_sum(layout.places(), back, keys)?;
        let decay = |input| if input + 1 == inputs { 1.0 } else { 1.0 - settings.rate * L2 };
        let kept = layout.weights((0..inputs).map(|input| (1.0 + beta) * decay(input)));
        let w = multiply(&head.v, &kept)?.add(&gradient)?;
        let old = layout.weights((0..inputs).map(|_| beta / (1.0 + before)));
        let v = w.sub(&multiply(&head.w, &old)?)?;
        let (v, w) = (v.rescale()?, w.rescale()?);
        Ok(EncryptedHead { v, w })
    }
}

/// Σ of one at least, divided by P once.
fn sum(parts: Vec<Extended>) -> Result<Ciphertext> {
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or(Error::Setting("a sum of nothing"))?;
    Ok(parts.try_fold(first, |sum, part| sum.plus(&part))?.reduce())
}

impl std::fmt::Debug for ComputeParty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let here = self.batches.iter().flatten().count();
        write!(
            f,
            "ComputeParty({here} of {} batches, {:?})",
            self.batches.len(),
            self.plan.parameters()
        )
    }
}
