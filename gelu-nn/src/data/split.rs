//! Training and test parts.

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand::seq::SliceRandom;
use rand_core::CryptoRng;

use super::{Dataset, Standardiser, abstracts, named};
use crate::error::{DataError, Error, Result};
use crate::schema::Schema;

/// A training and a test part.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// To learn from.
    pub train: Dataset,
    /// To be judged by.
    pub test: Dataset,
}

impl Split {
    /// A data set of [`sources`](super::sources), split and scaled as its reference accuracy was
    /// measured: by the standard split where there is one, otherwise 80/20 by `seed`, with the same
    /// share of every class; tables are standardised on the training part.
    ///
    /// The scaling is returned because new samples need it as well.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn load(name: &str, dir: &Path, seed: u64) -> Result<(Self, Standardiser)> {
        let (source, mut split) = (named::find(name)?, Self::unscaled(name, dir, seed)?);
        let scaling = match source.is_table() {
            true => Standardiser::fit(&split.train),
            false => Standardiser::identity(split.train.inputs()),
        };
        scaling.apply(&mut split.train)?;
        scaling.apply(&mut split.test)?;
        Ok((split, scaling))
    }

    /// As [`load`](Self::load), with the features as they are.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn unscaled(name: &str, dir: &Path, seed: u64) -> Result<Self> {
        Ok(Self::unscaled_with_schema(name, dir, seed)?.0)
    }

    /// As [`unscaled`](Self::unscaled), with the schema of [`Dataset::load_with_schema`].
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn unscaled_with_schema(name: &str, dir: &Path, seed: u64) -> Result<(Self, Schema)> {
        let (train, schema) = Dataset::load_with_schema(name, dir)?;
        let split = match named::find(name)?.test() {
            Some(test) => Self { train, test: Dataset::load(test, dir)? },
            None => train.stratified_split(0.2, &mut ChaCha20Rng::seed_from_u64(seed))?,
        };
        Ok((split, schema))
    }

    /// Medical abstracts, about cancer or not, as 384 numbers each, which are part of this program: 2,048 to train
    /// on, 722 to test.
    ///
    /// The texts are those of the Medical Abstracts corpus (Schopf, Braun, Matthes, "Evaluating Unsupervised Text
    /// Classification: Zero-shot and Similarity-based Approaches", NLPIR 2022, doi 10.1145/3582768.3582795; CC BY-SA
    /// 3.0), the embeddings by all-MiniLM-L6-v2, rounded to 8 bits.
    pub fn abstracts() -> Self {
        abstracts::split()
    }
}

impl Dataset {
    /// Puts `fraction` of every class (rounded, but at least one sample and not all) into the test
    /// part; both parts are shuffled.
    ///
    /// # Errors
    /// [`DataError::Split`] when the fraction is not between 0 and 1, or no class has two samples.
    pub fn stratified_split(&self, fraction: f64, rng: &mut dyn CryptoRng) -> Result<Split> {
        let wrong = |why: String| Error::data("split")(DataError::Split(why));
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(wrong(format!("the test part is {fraction}, must be between 0 and 1")));
        }
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for members in self.shuffled_classes(rng) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to len")]
            let share = (members.len() as f64 * fraction).round() as usize;
            let share = share.max(1).min(members.len().saturating_sub(1));
            test.extend_from_slice(&members[..share]);
            train.extend_from_slice(&members[share..]);
        }
        if test.is_empty() {
            return Err(wrong("no class has two samples".into()));
        }
        train.shuffle(&mut *rng);
        test.shuffle(&mut *rng);
        Ok(Split { train: self.select(&train), test: self.select(&test) })
    }

    /// Cuts the data set into `k` parts with equal shares of every class; each is the test part
    /// once.
    ///
    /// # Errors
    /// [`DataError::Split`] when there are fewer than two parts or fewer samples than parts.
    pub fn folds(&self, k: usize, rng: &mut dyn CryptoRng) -> Result<Folds<'_>> {
        if !(2..=self.len()).contains(&k) {
            let why = format!("{k} folds of {} samples", self.len());
            return Err(Error::data("folds")(DataError::Split(why)));
        }
        let mut order: Vec<_> = self.shuffled_classes(rng).into_iter().flatten().collect();
        // Dealt like cards, class after class: every part gets its share of each.
        let mut parts = vec![Vec::new(); k];
        order.drain(..).enumerate().for_each(|(i, sample)| parts[i % k].push(sample));
        Ok(Folds { dataset: self, parts, next: 0 })
    }

    /// The samples of each class, shuffled.
    fn shuffled_classes(&self, rng: &mut dyn CryptoRng) -> Vec<Vec<usize>> {
        let mut classes = vec![Vec::new(); self.classes()];
        self.labels().iter().enumerate().for_each(|(s, &label)| classes[label].push(s));
        classes.iter_mut().for_each(|members| members.shuffle(&mut *rng));
        classes
    }
}

/// The splits of a k-fold cross-validation; made by [`Dataset::folds`].
#[derive(Debug, Clone)]
pub struct Folds<'a> {
    dataset: &'a Dataset,
    parts: Vec<Vec<usize>>,
    next: usize,
}

impl Iterator for Folds<'_> {
    type Item = Split;

    fn next(&mut self) -> Option<Split> {
        let test = self.parts.get(self.next)?;
        let others = self.parts.iter().enumerate().filter(|&(i, _)| i != self.next);
        let train: Vec<_> = others.flat_map(|(_, part)| part).copied().collect();
        self.next += 1;
        Some(Split { train: self.dataset.select(&train), test: self.dataset.select(test) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.parts.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Folds<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    #[test]
    fn splits_keep_the_share_of_every_class() {
        let iris = Dataset::iris();
        let split = iris.stratified_split(0.2, &mut rng(1)).unwrap();
        assert_eq!(split.train.histogram(), [40, 40, 40]);
        assert_eq!(split.test.histogram(), [10, 10, 10]);
        assert_eq!(split, iris.stratified_split(0.2, &mut rng(1)).unwrap());
        assert_ne!(split, iris.stratified_split(0.2, &mut rng(2)).unwrap());
        for fraction in [0.0, 1.0, f64::NAN] {
            assert!(iris.stratified_split(fraction, &mut rng(1)).is_err());
        }
        assert!(iris.head(1).stratified_split(0.5, &mut rng(1)).is_err());
    }

    #[test]
    fn every_sample_is_tested_once() {
        let iris = Dataset::iris();
        let folds = iris.folds(7, &mut rng(3)).unwrap();
        assert_eq!(folds.len(), 7);
        let mut tested = 0;
        for split in folds {
            assert_eq!(split.train.len() + split.test.len(), 150);
            assert!(split.test.histogram().iter().all(|n| (7..=8).contains(n)));
            tested += split.test.len();
        }
        assert_eq!(tested, 150);
        assert!(iris.folds(1, &mut rng(3)).is_err());
        assert!(iris.folds(151, &mut rng(3)).is_err());
    }
}
