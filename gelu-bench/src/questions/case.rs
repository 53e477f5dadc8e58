//! The healthcare case, and a head on it by either engine.
//!
//! 2,048 abstracts to train on and 722 to test, 384 numbers each, prepared as `gelu transfer fit`
//! prepares them. A head is trained in the clear ([`plain`](gelu_transfer::plain)), under CKKS, or by
//! the exact protocol, each time by both parties in this process, with all messages as bytes.

use std::sync::Arc;

use anyhow::Result;
use gelu_ckks::SecretKey;
use gelu_core::Precision;
use gelu_core::backend::Cryptosystem;
use gelu_core::ledger::Policy;
use gelu_core::pair::{Frame, Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::stats::largest;
use gelu_lattice::Lattice;
use gelu_nn::data::preparation::Preparation;
use gelu_nn::scores::{Scores, log_odds};
use gelu_nn::{Activation as Function, Dataset, FixedTrainer, Model, Sequential, Split};
use gelu_transfer::plain::Training;
use gelu_transfer::{Activation, ComputeParty, DataParty, Plan, Rows, Settings};
use rand_core::CryptoRng;

use crate::Error;
use crate::timing::Stopwatch;

/// Rows of the healthcare case, prepared.
pub struct Case {
    /// To learn from.
    pub train: Dataset,
    /// To be judged by.
    pub test: Dataset,
    x: Rows,
    test_x: Rows,
}

/// A head trained under CKKS, and what it took.
pub struct Encrypted {
    /// Weights of each head, that of the constant last.
    pub weights: Vec<Vec<f64>>,
    /// How far weights were off the same training in the clear after any refresh, of the largest.
    pub off: f64,
    /// Bytes of the keys, of the features and labels, and of all heads and gradients.
    pub bytes: [u64; 4],
    /// Seconds of keys and encrypted features, once; all times are of this thread.
    pub once: f64,
    /// Seconds of an iteration, the least of all leases: the compute party, the data party, the same in
    /// the clear.
    pub each: [f64; 3],
}

/// A head trained by the exact protocol under the lattice backend.
pub struct Exact {
    /// The model that the server ends with; equal to the oracle's.
    pub model: Model,
    /// Bytes up and down.
    pub bytes: [u64; 2],
    /// Seconds of a step, both parties.
    pub each: f64,
}

impl Case {
    /// The abstracts, all 384 numbers of a row.
    ///
    /// # Errors
    /// None while the data set is part of the program.
    pub fn abstracts() -> Result<Self> {
        let split = Split::abstracts();
        let preparation = Preparation::of_embedding(&split.train);
        Self::prepared(split, &preparation)
    }

    /// Their principal components.
    ///
    /// # Errors
    /// For more components than features.
    pub fn components(count: usize, rng: &mut dyn CryptoRng) -> Result<Self> {
        let split = Split::abstracts();
        let whole = Preparation::of_embedding(&split.train);
        let preparation = whole.onto_components(&split.train, count, rng)?;
        Self::prepared(split, &preparation)
    }

    fn prepared(split: Split, preparation: &Preparation) -> Result<Self> {
        let Split { mut train, mut test } = split;
        preparation.apply(&mut train)?;
        preparation.apply(&mut test)?;
        let (x, test_x) = (rows(&train)?, rows(&test)?);
        Ok(Self { train, test, x, test_x })
    }

    /// The first training rows, features rounded to so many bits with sign, of the largest, if asked
    /// to.
    ///
    /// # Errors
    /// For no rows.
    pub fn head(&self, count: usize, bits: Option<u32>) -> Result<Self> {
        let (train, test) = (self.train.head(count), self.test.clone());
        let most = largest(train.features().iter().map(|x| x.abs()));
        let step = bits.map(|bits| most / f64::from((1u32 << (bits - 1)) - 1).max(1.0));
        let round = |set: Dataset| -> Result<Dataset> {
            let Some(step) = step else { return Ok(set) };
            let rounded = set.features().mapv(|x| (x / step).round() * step);
            let (names, classes) = (set.feature_names().to_vec(), set.class_names().to_vec());
            Dataset::new(rounded, set.labels().to_vec(), names, classes)
                .map_err(|why| anyhow::anyhow!("{why}"))
        };
        let (train, test) = (round(train)?, round(test)?);
        let (x, test_x) = (rows(&train)?, rows(&test)?);
        Ok(Self { train, test, x, test_x })
    }

    /// Training rows.
    pub fn rows(&self) -> usize {
        self.x.len()
    }

    /// Numbers of a row, without the constant.
    pub fn features(&self) -> usize {
        self.x.columns() - 1
    }

    /// A training in the clear, from zero; `labels` says which rows are of the head's class.
    ///
    /// # Errors
    /// For a batch of more rows than there are.
    pub fn training<'a>(
        &'a self,
        labels: &'a [bool],
        batch: usize,
        rate: f64,
        activation: Activation,
    ) -> Result<Training<'a>> {
        Ok(Training::new(&self.x, labels, batch, rate, activation)?)
    }

    /// Which training rows are about cancer.
    pub fn labels(&self) -> Vec<bool> {
        self.train.labels().iter().map(|&class| class == 1).collect()
    }

    /// Weighted sums of all test rows.
    pub fn sums(&self, weights: &[f64]) -> Vec<f64> {
        self.test_x.weighted_sums(weights)
    }

    /// Scores of a head on the test rows.
    pub fn judged(&self, weights: &[f64]) -> Scores {
        Scores::of_two(self.test.labels(), &self.sums(weights), 0.0)
    }

    /// Scores of a model of two classes on the test rows.
    ///
    /// # Errors
    /// For a model of other inputs.
    pub fn judged_model(&self, model: &Model) -> Result<Scores> {
        let (probabilities, _) = model.probabilities(self.test.features())?;
        Ok(Scores::of_two(self.test.labels(), &log_odds(&probabilities), 0.0))
    }

    /// Trains under CKKS, all parties in this process, beside the same in the clear.
    ///
    /// # Errors
    /// What the parties refuse; [`Error::WrongAnswer`] when weights are off by more than a hundredth of
    /// the largest.
    pub fn encrypted(
        &self,
        settings: Settings,
        classes: &[usize],
        iterations: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Encrypted> {
        let plan = Plan::new(settings.clone())?;
        let watch = Stopwatch::start();
        let secret = SecretKey::generate(plan.parameters().clone(), rng);
        let mut data = DataParty::new(plan.clone(), secret, self.x.clone(), classes)?;
        let keys = data.evaluation_keys(rng)?;
        let mut compute = ComputeParty::new(plan.clone(), &keys)?;
        let mut bytes = [keys.len() as u64, 0, 0, 0];
        drop(keys);
        for index in 0..plan.batches() {
            let batch = data.batch(index, rng)?;
            bytes[1] += batch.len() as u64;
            compute.receive_batch(&batch)?;
        }
        let once = watch.elapsed().as_secs_f64();

        let of = |head| -> Vec<bool> {
            let wanted = if settings.heads == 1 { 1 } else { head };
            classes.iter().map(|&class| class == wanted).collect()
        };
        let labels: Vec<_> = (0..settings.heads).map(of).collect();
        let activation = Activation::Polynomial(settings.sigmoid.clone());
        let clear = |y| self.training(y, settings.batch, settings.rate, activation.clone());
        let mut clear = labels.iter().map(|y| clear(y)).collect::<Result<Vec<_>>>()?;
        let (mut least, mut off) = ([f64::INFINITY; 3], 0.0f64);
        while data.state().iteration() < iterations {
            let count = settings.unattended.min(iterations - data.state().iteration());
            let watch = Stopwatch::start();
            let heads = data.heads(count, rng)?;
            let asked = watch.elapsed();
            let watch = Stopwatch::start();
            let gradients = compute.train(&heads)?;
            let computed = watch.elapsed();
            let watch = Stopwatch::start();
            data.receive(&gradients)?;
            let received = watch.elapsed();
            let watch = Stopwatch::start();
            (0..count).for_each(|_| clear.iter_mut().for_each(Training::step));
            let all = [computed, asked + received, watch.elapsed()];
            for (least, took) in least.iter_mut().zip(all) {
                *least = least.min(took.as_secs_f64() / count as f64);
            }
            bytes[2] += heads.len() as u64;
            bytes[3] += gradients.len() as u64;
            for (head, clear) in data.state().heads().iter().zip(&clear) {
                off = largest([off, difference(head.weights(), clear.head().weights())]);
            }
        }
        if off.is_nan() || off > 1e-2 {
            return Err(
                Error::WrongAnswer(format!("a head whose weights are off by {off:e}")).into()
            );
        }
        let weights = data.state().heads().iter().map(|head| head.weights().to_vec()).collect();
        Ok(Encrypted { weights, off, bytes, once, each: least })
    }

    /// Trains a head of two outputs with softmax, which is a sigmoid of their difference, by the exact
    /// protocol under the lattice: one lease of these batches of consecutive rows.
    ///
    /// # Errors
    /// What the parties refuse; [`Error::WrongAnswer`] unless the weights are the oracle's, bit for
    /// bit.
    pub fn exact(
        &self,
        batch: usize,
        steps: usize,
        rate: f64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Exact> {
        let architecture = Sequential::dense(self.features(), &[], 2, Function::Sigmoid)?;
        let zeros = architecture.network().zeros();
        let model = Model::new("head", architecture, Precision::TRAINING, zeros)?;
        let of = |step: usize| -> Vec<usize> {
            gelu_transfer::plain::batch(step, batch, self.train.len()).collect()
        };
        let batches: Vec<_> = (0..steps).map(|step| self.train.batch(&of(step))).collect();
        let mut oracle = FixedTrainer::new(&model);
        for (inputs, labels) in &batches {
            oracle.step(inputs, labels, gelu_nn::Rate::Public(rate))?;
        }
        let host = PairHost::new(ServedModel::from(&model), "owner", Policy::AllowModelExtraction);
        let (host, key) = (Arc::new(host), Arc::new(Lattice::keygen(TRAINING_DEGREE, rng)?));
        let rate = LearningRate::Public(rate);
        let mut pair = Pair::<Lattice>::open(Arc::clone(&host), key, rate, rng)?;
        let watch = Stopwatch::start();
        pair.train(&batches, rng)?;
        let seconds = watch.elapsed().as_secs_f64();
        let trained = gelu_core::server::Host::model(&*host);
        if trained.parameters != *oracle.parameters() {
            return Err(Error::WrongAnswer("a head trained by the exact protocol".into()).into());
        }
        let sum = |up: bool| -> u64 {
            let frames = pair.transcript.iter();
            let mine = frames.filter(|frame| matches!(frame, Frame::Up(_)) == up);
            mine.map(|frame| frame.bytes().len() as u64).sum()
        };
        Ok(Exact {
            model: model.successor(oracle.parameters().clone())?,
            bytes: [sum(true), sum(false)],
            each: seconds / steps as f64,
        })
    }
}

/// Of the lattice backend's ring for training.
const TRAINING_DEGREE: u32 = 8192;

/// The largest difference, of the largest weight of the second; not a number if one is none.
pub fn difference(a: &[f64], b: &[f64]) -> f64 {
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    largest(off) / largest(b.iter().map(|x| x.abs()))
}

/// Rows with a constant 1 at their end.
fn rows(set: &Dataset) -> Result<Rows> {
    let columns = set.features().columns();
    let values = columns.into_iter().flat_map(|row| row.to_vec().into_iter().chain([1.0]));
    Ok(Rows::new(values.collect(), set.inputs() + 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_transfer::Sigmoid;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// Few rows under both engines; each run compares its weights with the clear's before it returns.
    #[test]
    fn both_engines_train_what_the_clear_trains() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let case = Case::abstracts().unwrap().head(128, None).unwrap();
        assert_eq!((case.rows(), case.features(), case.test.len()), (128, 384, 722));
        let settings = Settings {
            rows: 128,
            features: 384,
            heads: 1,
            batch: 128,
            sigmoid: Sigmoid::fit(1, 8.0).unwrap(),
            rate: 2.0,
            unattended: 1,
        };
        let done = case.encrypted(settings, case.train.labels(), 2, rng).unwrap();
        assert!(done.off > 0.0 && done.off < 1e-3, "{}", done.off);
        assert!(case.judged(&done.weights[0]).auc > Some(0.8));
        assert!(done.bytes.iter().all(|&bytes| bytes > 10_000) && done.each[0] > 0.0);
        let exact = case.exact(64, 2, 1.0, rng).unwrap();
        assert!(case.judged_model(&exact.model).unwrap().auc > Some(0.8));
        assert!(exact.bytes[0] > exact.bytes[1]);
    }

    #[test]
    fn features_of_two_bits_have_three_values() {
        let case = Case::abstracts().unwrap().head(16, Some(2)).unwrap();
        let mut values: Vec<_> = case.train.features().iter().map(|x| (x * 1e6).round()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup_by(|a, b| a == b);
        assert_eq!(values.len(), 3, "{values:?}");
        assert_eq!(difference(&[1.0, 2.5], &[1.0, 2.0]), 0.25);
        assert!(difference(&[f64::NAN, 2.0], &[1.0, 2.0]).is_nan());
    }
}
