//! The order in which samples are seen.

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand::seq::SliceRandom;

use crate::error::{Error, Result};

/// Mini-batches in an order that a seed fixes.
///
/// The order of epoch e depends on nothing but the seed and e. So the encrypted client and the
/// trainers in the clear see the same batches, and a training that was interrupted can be taken up
/// at any epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    samples: usize,
    batch: usize,
    seed: u64,
}

impl Batches {
    /// Batches of `batch` samples (the last one of an epoch may be smaller).
    ///
    /// # Errors
    /// [`Error::Recipe`] when `batch` is 0.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Result<Self> {
        if batch == 0 {
            let (what, got, expected) = ("batch", "0".to_owned(), "at least 1");
            return Err(Error::Recipe { what, got, expected });
        }
        Ok(Self { samples, batch, seed })
    }

    /// Batches in an epoch.
    pub fn per_epoch(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// The batches of `epoch`, counted from 0, as indices of samples.
    pub fn epoch(&self, epoch: usize) -> impl ExactSizeIterator<Item = Vec<usize>> + use<> {
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        rng.set_stream(epoch as u64);
        let mut order: Vec<_> = (0..self.samples).collect();
        order.shuffle(&mut rng);
        let batch = self.batch;
        (0..self.per_epoch())
            .map(move |i| order[i * batch..order.len().min((i + 1) * batch)].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_every_sample_once_in_an_order_of_its_own() {
        let batches = Batches::new(10, 4, 7).unwrap();
        let epoch = |e| batches.epoch(e).collect::<Vec<_>>();
        assert_eq!(epoch(0).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let mut seen = epoch(0).concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(epoch(0), epoch(0));
        assert_ne!(epoch(0), epoch(1));
        assert_ne!(epoch(0), Batches::new(10, 4, 8).unwrap().epoch(0).collect::<Vec<_>>());
        assert!(Batches::new(10, 0, 7).is_err());
    }

    /// Recorded models and transcripts depend on this order: it must not change.
    #[test]
    fn the_order_is_fixed_for_ever() {
        let order = Batches::new(8, 8, 1).unwrap().epoch(0).next().unwrap();
        assert_eq!(order, [1, 0, 5, 3, 4, 2, 7, 6]);
    }
}
