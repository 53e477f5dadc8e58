//! The data party: it owns rows, labels, the head and the keys.

use gelu_ckks::{Ciphertext, Plaintext, Scale, SecretKey};
use gelu_core::stats::largest;
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};
use crate::message::{Reader, Writer, check, seeded};
use crate::plain::{self, Momentum, Rows, dot};
use crate::plan::Plan;
use crate::state::State;

/// Encrypts features once and heads at each refresh, and takes the last step of each lease in the clear.
///
/// # Security
/// What it sends are fresh encryptions under its own key and nothing else: no decryption, and nothing in the clear but sizes and
/// the settings. So the compute party sees no consequence of a decryption, as [`gelu_ckks::flood`] demands.
pub struct DataParty {
    plan: Plan,
    secret: SecretKey,
    x: Rows,
    /// One list for each head.
    y: Zeroizing<Vec<Vec<bool>>>,
    state: State,
    /// Iterations that the compute party was sent heads for.
    pending: Option<usize>,
}

impl DataParty {
    /// With prepared rows, and a class for each: 0 or 1 for one head, else the number of the head that it belongs to.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Setting`] for data that are not the plan's; [`Error::FeatureTooLarge`];
    /// [`Error::Ckks`] for a key of another ring.
    pub fn new(plan: Plan, secret: SecretKey, x: Rows, classes: &[usize]) -> Result<Self> {
        let settings = plan.settings();
        let shape = |what, got, expected| match got == expected {
            true => Ok(()),
            false => Err(Error::Shape { what, got, expected }),
        };
        shape("rows", x.len(), settings.rows)?;
        shape("features and the constant", x.columns(), plan.inputs())?;
        shape("labels", classes.len(), settings.rows)?;
        if secret.parameters() != plan.parameters() {
            return Err(gelu_ckks::Error::OtherParameters.into());
        }
        if classes.iter().any(|&class| class >= settings.heads.max(2)) {
            return Err(Error::Setting("a label is no class of the plan"));
        }
        let heads = settings.heads;
        let is = |class: usize, head: usize| if heads == 1 { class == 1 } else { class == head };
        let y = (0..heads).map(|head| classes.iter().map(|&class| is(class, head)).collect());
        let (y, state) = (Zeroizing::new(y.collect()), State::new(heads, plan.inputs()));
        let party = Self { plan, secret, x, y, state, pending: None };
        party.check_features()?;
        Ok(party)
    }

    /// Goes on from a saved state of the same data and settings, though the rate, the polynomial or the plan may be others.
    ///
    /// # Errors
    /// [`Error::State`] when it is of other sizes.
    pub fn resume(mut self, state: State) -> Result<Self> {
        state.check(&self.plan)?;
        (self.state, self.pending) = (state, None);
        Ok(self)
    }

    /// What a training goes on from.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// All keys that the compute party needs.
    ///
    /// # Errors
    /// None for a plan's keys; [`Error::Ckks`].
    pub fn evaluation_keys(&self, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        Ok(self.secret.evaluation_keys(self.plan.keys(), rng)?.to_bytes())
    }

    /// The features and labels of a batch.
    ///
    /// # Errors
    /// [`Error::Setting`] when the plan has no such batch; [`Error::Ckks`].
    pub fn batch(&self, index: usize, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let plan = &self.plan;
        if index >= plan.batches() {
            return Err(Error::Setting("the plan has no such batch"));
        }
        let (layout, parameters) = (plan.layout(), plan.parameters());
        let top = plan.head_level(plan.settings().unattended);
        let tasks: Vec<_> = layout.grid().map(|at| (at, seeded(rng))).collect();
        let scale = parameters.scale();
        let features = tasks.into_par_iter().map(|(at, mut rng)| {
            let slots = Zeroizing::new(layout.features(&self.x, self.rows(index), at));
            self.encrypt(&slots, &scale, top, &mut rng)
        });
        let features = features.collect::<Result<Vec<_>>>()?;
        let number = u32::try_from(index).map_err(|_| Error::Setting("2^32 batches"))?;
        let mut writer = Writer::new(&number.to_le_bytes());
        features.iter().for_each(|bytes| writer.part(bytes));
        for y in self.y.iter() {
            let labels = self.rows(index).map(|i| if y[i] { 0.5 } else { -0.5 });
            let slots = Zeroizing::new(layout.repeated(labels));
            let level = plan.error_level(top);
            writer.part(&self.encrypt(&slots, &plan.error_scale(), level, rng)?);
        }
        Ok(writer.finish())
    }

    /// The heads, for so many iterations.
    ///
    /// # Errors
    /// [`Error::LeftRange`] when a weighted sum of the next batches is beyond the polynomial: nothing is lost, and
    /// [`state`](Self::state) is what to resume from. [`Error::Setting`] for more iterations than the plan's, or none.
    pub fn heads(&mut self, iterations: usize, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let plan = &self.plan;
        let several = plan.settings().unattended > 1;
        if iterations == 0 || iterations > plan.settings().unattended {
            return Err(Error::Setting(
                "1 iteration at least, and no more than the plan leaves unattended",
            ));
        }
        self.check_range(iterations)?;
        let level = plan.head_level(iterations);
        let scale = plan.head_scale(level);
        let number =
            u32::try_from(self.state.iteration).map_err(|_| Error::Setting("2^32 iterations"))?;
        let count = u8::try_from(iterations).map_err(|_| Error::Setting("256 iterations"))?;
        let mut writer = Writer::new(&[&number.to_le_bytes()[..], &[count]].concat());
        let mut write = |weights: &[f64], factor: f64, rng: &mut dyn CryptoRng| {
            let slots = plan.layout().weights(weights.iter().map(|x| factor * x));
            writer.part(&self.encrypt(&Zeroizing::new(slots), &scale, level, rng)?);
            Ok::<_, Error>(())
        };
        for head in &self.state.heads {
            write(&head.v, plan.factor(), rng)?;
        }
        if several {
            let before = Momentum::beta_before(self.state.iteration);
            for head in &self.state.heads {
                write(&head.w, plan.factor() * (1.0 + before), rng)?;
            }
        }
        self.pending = Some(iterations);
        Ok(writer.finish())
    }

    /// Takes the last gradients of a lease, and the step along them.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Unreadable`]; [`Error::Lost`] when they are not possible: the state is that of the last refresh.
    pub fn receive(&mut self, message: &[u8]) -> Result<()> {
        let plan = &self.plan;
        let count = self.pending.ok_or(Error::Peer("gradients that nobody asked for"))?;
        let mut reader = Reader::new(message);
        let (iteration, [got]) = (reader.word()?, reader.array()?);
        if (iteration, usize::from(got)) != (self.state.iteration, count) {
            return Err(Error::Peer("gradients of another iteration"));
        }
        let heads = self.state.heads.len();
        let gradients = reader.parts(heads)?;
        let several = plan.settings().unattended > 1;
        let [v, w] = [0; 2].map(|_| reader.parts(if several { heads } else { 0 }));
        let (v, w) = (v?, w?);
        reader.end()?;

        // What the last iteration of every lease begins with.
        let level = plan.head_level(1);
        let (layout, batch) = (plan.layout(), plan.settings().batch as f64);
        let last = iteration + count - 1;
        let mut momentum = self.state.momentum;
        let beta = momentum.nth(count - 1).expect("endless");
        let mut stepped = Vec::with_capacity(heads);
        for head in 0..heads {
            let parts = self.decrypt(gradients[head], 0, &plan.gradient_scale(level))?;
            let largest = largest(parts.iter().map(|x| x.abs()));
            if largest.is_nan() || largest > plan.largest_sum() {
                return Err(Error::Lost {
                    iteration: last,
                    got: largest,
                    most: plan.largest_sum(),
                });
            }
            let mut next = self.state.heads[head].clone();
            if several {
                let read = |bytes: &[u8], factor: f64| {
                    let slots = self.decrypt(bytes, 1, &plan.head_scale(level))?;
                    let mut weights = layout.read_weights(&slots);
                    weights.iter_mut().for_each(|x| *x /= factor);
                    Ok::<_, Error>(weights)
                };
                [&mut next.v, &mut next.w].into_iter().for_each(Zeroize::zeroize);
                next.v = read(v[head], plan.factor())?;
                next.w = read(w[head], plan.factor() * (1.0 + Momentum::beta_before(last)))?;
            }
            let gradient = Zeroizing::new(layout.sum_places(&parts));
            let mean: Zeroizing<Vec<_>> =
                Zeroizing::new(gradient.iter().map(|g| g / batch).collect());
            next.step(&mean, plan.settings().rate, beta);
            stepped.push(next);
        }
        self.state = State { iteration: iteration + count, momentum, heads: stepped };
        self.pending = None;
        Ok(())
    }

    /// The rows of a batch.
    fn rows(&self, index: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        plain::batch(index, self.plan.settings().batch, self.x.len())
    }

    fn encrypt(
        &self,
        slots: &[f64],
        scale: &Scale,
        level: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let plain = Plaintext::encode(self.plan.parameters(), slots, scale, level)?;
        Ok(self.secret.encrypt(&Zeroizing::new(plain), rng)?.to_bytes())
    }

    /// The numbers of a ciphertext, which must be at this level and scale.
    fn decrypt(&self, bytes: &[u8], level: usize, scale: &Scale) -> Result<Zeroizing<Vec<f64>>> {
        let ciphertext = Ciphertext::from_bytes(self.plan.parameters(), bytes)?;
        let ciphertext = check(ciphertext, level, scale)?;
        // They stay here: the heads that follow from them go back as fresh encryptions.
        Ok(self.secret.decrypt(&ciphertext)?.danger_values())
    }

    /// Fails when the sums of one place could leave the room that the plan has for them.
    fn check_features(&self) -> Result<()> {
        let (layout, most) = (self.plan.layout(), Plan::LARGEST_MEAN);
        for batch in 0..self.plan.batches() {
            let rows: Vec<_> = self.rows(batch).collect();
            for feature in 0..self.x.columns() {
                let sizes = rows.iter().map(|&i| self.x.row(i)[feature].abs());
                let sizes = Zeroizing::new(sizes.collect::<Vec<_>>());
                // Any rows that follow on each other, as many as a place sums: more than what is needed.
                let mut sum: f64 = sizes.iter().take(layout.shifts()).sum();
                let mut largest = sum;
                for (new, old) in sizes.iter().skip(layout.shifts()).zip(sizes.iter()) {
                    sum += new - old;
                    largest = largest.max(sum);
                }
                let got = largest / layout.shifts() as f64;
                if got > most {
                    return Err(Error::FeatureTooLarge { feature, got, most });
                }
            }
        }
        Ok(())
    }

    /// Fails when a weighted sum of the next batches is beyond the polynomial.
    fn check_range(&self, iterations: usize) -> Result<()> {
        let (sigmoid, first) = (&self.plan.settings().sigmoid, self.state.iteration);
        for batch in (first..first + iterations).take(self.plan.batches()) {
            for head in &self.state.heads {
                let got = largest(self.rows(batch).map(|i| dot(self.x.row(i), &head.v).abs()));
                if got.is_nan() || got > sigmoid.holds_to() {
                    return Err(Error::LeftRange {
                        iteration: first,
                        got,
                        range: sigmoid.holds_to(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for DataParty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataParty(iteration {}, {:?})", self.state.iteration, self.plan.parameters())
    }
}
