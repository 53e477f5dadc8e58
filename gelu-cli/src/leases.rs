//! How long the leases of a training may be, so that it ends and every sum that it reveals is over enough
//! different samples.
//!
//! The server draws the length of each lease; the client says which lengths it can accept. A length g
//! is one when the first g mini-batches of what is left may be revealed as one sum, *and what is left
//! after them can be trained as well*: by one lease more, or by several, each over as many different
//! samples as are enough after any number of sums, or as a first sum needs where they have nothing in
//! common with others. So a remainder too small for a lease of its own joins
//! the lease before it, and what cannot end is refused before it begins.

use anyhow::{Error, Result};
use gelu_core::client::DataPolicy;
use gelu_core::error::Refused;
use gelu_core::ledger::data::least_samples;
use gelu_core::ledger::{DataExposure, DataLedger, Remaining, SampleId};
use gelu_core::plan::MAX_STEPS;
use gelu_core::{Network, mask};

use crate::problem::advised;

/// What bounds the leases of one client.
#[derive(Debug, Clone)]
pub struct Rules {
    policy: DataPolicy,
    data: Vec<DataExposure>,
    batch: usize,
    most_samples: u64,
    values: usize,
    /// Of masks over the integers, which bear so many steps; modular ones bear any number.
    sigma: Option<u32>,
}

impl Rules {
    /// Of a client with mini-batches of `batch` samples, at a server that grants `most_samples` a lease.
    pub fn new(
        network: &Network,
        sigma: Option<u32>,
        batch: usize,
        policy: DataPolicy,
        most_samples: u64,
    ) -> Self {
        let (data, values) = (DataExposure::of(network), network.trained_parameters());
        Self { policy, data, batch, most_samples, values, sigma }
    }

    /// The lengths, in ascending order, that the next lease may have (none, where nothing is left); `rest`
    /// are the mini-batches that are left, `ids` the samples of the data, and `ledger` what was revealed before.
    ///
    /// # Errors
    /// The rule that lets the training not end, with its numbers and the way out.
    pub fn lengths(
        &self,
        ledger: &DataLedger,
        ids: &[SampleId],
        rest: &[Vec<usize>],
    ) -> Result<Vec<u32>> {
        if rest.is_empty() {
            return Ok(Vec::new());
        }
        let steps = self.most_samples / (self.batch as u64).max(1);
        let of_operator = u32::try_from(steps).unwrap_or(MAX_STEPS).min(MAX_STEPS);
        if self.policy == DataPolicy::AllowInputReconstruction {
            let most = of_operator.min(u32::try_from(rest.len()).unwrap_or(u32::MAX));
            let lengths: Vec<u32> = (1..=most).collect();
            return if lengths.is_empty() { Err(self.limit(1, None)) } else { Ok(lengths) };
        }
        let of_masks = self.sigma.map_or(MAX_STEPS, |sigma| mask::most_steps(self.values, sigma));
        let left = Remaining::new(&self.data, ledger, ids, rest);
        let most = of_operator.min(of_masks);
        let lengths = left.lengths(most);
        if !lengths.is_empty() {
            return Ok(lengths);
        }
        let shorter = Some(most).filter(|&steps| left.can_stop_after(steps));
        Err(match left.shortest_maximum() {
            None => self.too_few(&left),
            Some(steps) if steps > of_masks => {
                let (sigma, values) = (self.sigma.unwrap_or_default(), self.values as u64);
                let refused = Refused::ShortMasks { sigma, values, steps, most: of_masks };
                refusal(
                    &refused,
                    "a model with longer masks, more rows, or a larger --batch",
                    shorter,
                )
            }
            Some(steps) => self.limit(steps, shorter),
        })
    }

    /// The operator's maximum is below `steps` mini-batches.
    fn limit(&self, steps: u32, shorter: Option<u32>) -> Error {
        let samples = u64::from(steps) * self.batch as u64;
        let next = format!("--lease-samples {samples} where the server is started");
        let refused = Refused::LeaseLimit { samples, most: self.most_samples };
        match self.policy {
            DataPolicy::Enforce => refusal(&refused, &next, shorter),
            DataPolicy::AllowInputReconstruction => {
                let refused = gelu_service::Error::from(refused);
                advised(refused, format!("{next}, or a smaller --batch"))
            }
        }
    }

    /// Whatever the leases, too few different samples are in them.
    fn too_few(&self, left: &Remaining<'_>) -> Error {
        let (samples, sums) = (left.samples(), 1 + left.sums());
        let least = least_samples(&self.data, sums);
        let next = match (left.rows() >= least, sums) {
            (true, _) => {
                format!("a longer training: more --steps, until {least} different rows are in it")
            }
            (false, 1) => format!("train on {least} different rows or more"),
            (false, _) => {
                format!("train on {least} different rows or more, or on rows not used before")
            }
        };
        refusal(&Refused::ExposesData { samples, least, sums }, &next, None)
    }
}

fn refusal(refused: &Refused, next: &str, shorter: Option<u32>) -> Error {
    let shorter = shorter.map(|steps| format!(", or a shorter training: --steps {steps}"));
    advised(
        gelu_service::Error::from(refused.clone()),
        format!(
            "{next}{}; as a last resort --allow-input-reconstruction gives the protection of the data up",
            shorter.unwrap_or_default()
        ),
    )
}

/// Samples of a lease that let every training of so many different rows end, for the operator of a local
/// server, who knows the data.
///
/// With w mini-batches for enough different rows, an epoch of at least 2w − 1 is cut into leases of w to
/// 2w − 1, and a last epoch that was begun and has fewer than w joins one of them: 3w suffice. With fewer
/// rows than that everything may have to be one lease.
pub(crate) fn enough_samples(network: &Network, rows: usize, batch: usize, steps: usize) -> u64 {
    let (batch, enough) = (batch.max(1) as u64, enough(network));
    let whole = if (rows as u64) < 2 * enough + batch { steps as u64 } else { 0 };
    whole.max(3 * enough.div_ceil(batch)).max(DEFAULT.div_ceil(batch)) * batch
}

/// Different samples that are enough for any number of sums over them.
pub(crate) fn enough(network: &Network) -> u64 {
    least_samples(&DataExposure::of(network), u64::MAX)
}

/// Samples of a lease of a local run, where its data does not need more.
const DEFAULT: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Precision;
    use gelu_nn::zoo;
    use ndarray::Array2;
    use proptest::prelude::*;

    /// 64-32-10: 33 samples for a first sum, 65 for a second over some of them, 66 for all others.
    fn rules(batch: usize, most_samples: u64) -> Rules {
        let (network, enforce) = (zoo::digits().network(), DataPolicy::Enforce);
        let sigma = Some(Precision::TRAINING.mask_bits);
        Rules::new(&network, sigma, batch, enforce, most_samples)
    }

    fn ids(ledger: &DataLedger, rows: usize) -> Vec<SampleId> {
        ledger.ids(&Array2::from_shape_fn((1, rows), |(_, row)| row as f64))
    }

    /// `epochs` times the rows in order, `batch` at a time.
    fn schedule(rows: usize, batch: usize, epochs: usize) -> Vec<Vec<usize>> {
        let order = (0..epochs * (rows / batch)).map(|n| n * batch % (rows / batch * batch));
        order.map(|start| (start..start + batch).collect()).collect()
    }

    fn of(rules: &Rules, rows: usize, schedule: &[Vec<usize>]) -> Result<Vec<u32>> {
        let ledger = DataLedger::new([0; 32]);
        rules.lengths(&ledger, &ids(&ledger, rows), schedule)
    }

    fn said(error: &Error) -> String {
        crate::problem::explain(error)
    }

    /// A whole training with a server that draws so: every lease is one that the ledger books. If it does not end, after
    /// how many leases, and why.
    fn run(
        rules: &Rules,
        network: &Network,
        rows: usize,
        schedule: &[Vec<usize>],
        draws: Vec<u32>,
    ) -> Result<(), (usize, Error)> {
        let mut ledger = DataLedger::new([0; 32]);
        let (ids, data) = (ids(&ledger, rows), DataExposure::of(network));
        let (mut rest, mut draws) = (schedule, draws.into_iter().cycle());
        for leases in 0.. {
            if rest.is_empty() {
                break;
            }
            let allowed = rules.lengths(&ledger, &ids, rest).map_err(|error| (leases, error))?;
            let most = allowed[allowed.len() - 1];
            assert!(u64::from(most) * rules.batch as u64 <= rules.most_samples);
            let granted = allowed[0] + draws.next().unwrap() % (most - allowed[0] + 1);
            let length = *allowed.iter().rev().find(|&&length| length <= granted).unwrap();
            let (done, left) = rest.split_at(length as usize);
            let samples = done.concat().into_iter().map(|row| ids[row]).collect();
            ledger.book(&samples, &data, DataPolicy::Enforce).unwrap();
            rest = left;
        }
        Ok(())
    }

    /// What `gelu train --dataset mnist` does with its leases and rows, without the ciphertexts: 18,750 mini-batches of
    /// 16 of its 60,000 rows.
    #[test]
    fn the_default_training_of_all_of_mnist_ends() {
        let (rows, batch) = (60_000, 16);
        let (network, steps) = (zoo::by_name("mnist-dense").unwrap(), 5 * rows / batch);
        let network = (network.architecture)().network();
        let most = enough_samples(&network, rows, batch, steps);
        // Under masks over the integers, and modular ones. Each takes seconds; ten have been run.
        for seed in 0..2u32 {
            let schedule = crate::client::schedule(rows, batch, steps, seed.into()).unwrap();
            let sigma = (seed % 2 == 0).then_some(Precision::TRAINING.mask_bits);
            let rules = Rules::new(&network, sigma, batch, DataPolicy::Enforce, most);
            let draws = (0..64).map(|n: u32| (n + 64 * seed).wrapping_mul(0x9e37_79b9)).collect();
            let ended = run(&rules, &network, rows, &schedule, draws);
            assert!(ended.is_ok(), "seed {seed}: {ended:?}");
        }
    }

    /// Five mini-batches of 10 over 50 rows: 33 samples are four of them, which would leave one, too
    /// small for a lease of its own. It joins.
    #[test]
    fn a_remainder_too_small_joins_the_lease_before() {
        assert_eq!(of(&rules(10, 512), 50, &schedule(50, 10, 1)).unwrap(), [5]);
        // 4 and 4, or all 8; 4 and 5, 5 and 4, or all 9.
        assert_eq!(of(&rules(10, 512), 80, &schedule(80, 10, 1)).unwrap(), [4, 8]);
        assert_eq!(of(&rules(10, 512), 90, &schedule(90, 10, 1)).unwrap(), [4, 5, 9]);
        // A second lease over the same 60 rows would need 65: both epochs are one lease.
        assert_eq!(of(&rules(10, 512), 60, &schedule(60, 10, 2)).unwrap(), [12]);
        // Over 70 rows they are two, once the second one has all of them.
        assert_eq!(of(&rules(10, 512), 70, &schedule(70, 10, 2)).unwrap(), [4, 5, 6, 7, 14]);
    }

    #[test]
    fn few_rows_shown_often_are_refused_and_epochs_are_no_way_out() {
        for (rows, batch, epochs) in [(1, 1, 33), (4, 4, 9), (8, 8, 5), (32, 16, 40)] {
            let error = of(&rules(batch, 4096), rows, &schedule(rows, batch, epochs)).unwrap_err();
            let said = said(&error);
            assert!(said.contains(&format!("over {rows} different samples")), "{said}");
            assert!(said.contains("33 different rows or more"), "{said}");
            assert!(!said.contains("--epochs") && !said.contains("--steps"), "{said}");
            let flag = said.find("--allow-input-reconstruction").unwrap();
            assert!(flag > said.find("33 different rows").unwrap(), "last of all: {said}");
        }
        // Copies of a row are one row.
        let ledger = DataLedger::new([0; 32]);
        let copies = ledger.ids(&Array2::zeros((1, 40)));
        let error = rules(10, 4096).lengths(&ledger, &copies, &schedule(40, 10, 1)).unwrap_err();
        assert!(said(&error).contains("over 1 different samples"), "{}", said(&error));
        // A schedule that does not come to the rows that there are.
        let error = of(&rules(10, 4096), 60, &schedule(60, 10, 1)[..3]).unwrap_err();
        assert!(said(&error).contains("more --steps, until 33"), "{}", said(&error));
    }

    #[test]
    fn what_was_revealed_before_counts() {
        let mut ledger = DataLedger::new([0; 32]);
        let (ids, schedule) = (ids(&ledger, 80), schedule(60, 10, 1));
        let first = ids[..60].iter().copied().collect();
        let data = DataExposure::of(&zoo::digits().network());
        ledger.book(&first, &data, DataPolicy::Enforce).unwrap();
        let error = rules(10, 4096).lengths(&ledger, &ids[..60], &schedule).unwrap_err();
        let said = said(&error);
        assert!(said.contains("needs 65 or more, after the sum of another lease"), "{said}");
        assert!(said.contains("rows not used before"), "{said}");
        // Others are free: the first 40 rows here are the last of before and twenty new ones.
        let error = rules(10, 4096).lengths(&ledger, &ids[40..], &schedule[..4]).unwrap_err();
        assert!(crate::problem::explain(&error).contains("over 40 different"), "{error}");
        assert!(rules(10, 4096).lengths(&ledger, &ids[..80], &schedule).is_err());
        let all = super::tests::schedule(80, 10, 1);
        assert_eq!(rules(10, 4096).lengths(&ledger, &ids, &all).unwrap(), [8]);
    }

    #[test]
    fn a_maximum_too_small_is_said_before_anything_is_trained() {
        let error = of(&rules(10, 39), 400, &schedule(400, 10, 1)).unwrap_err();
        let said = said(&error);
        assert!(said.contains("grants at most 39 samples a lease (--lease-samples)"), "{said}");
        assert!(said.contains("needs 40") && said.contains("--lease-samples 40"), "{said}");
        assert_eq!(of(&rules(10, 40), 400, &schedule(400, 10, 1)).unwrap(), [4]);
        // 60 rows twice must be one lease of 120; once would do with less.
        let error = of(&rules(10, 100), 60, &schedule(60, 10, 2)).unwrap_err();
        let said = crate::problem::explain(&error);
        assert!(said.contains("needs 120") && said.contains("--steps 10"), "{said}");
        // Not even one mini-batch, whatever the client allows.
        let allow = DataPolicy::AllowInputReconstruction;
        let rules = Rules { policy: allow, ..rules(16, 10) };
        let error = of(&rules, 400, &schedule(400, 16, 1)).unwrap_err();
        let said = crate::problem::explain(&error);
        assert!(said.contains("needs 16") && !said.contains("last resort"), "{said}");
        let rules = Rules { most_samples: 33, ..rules };
        assert_eq!(of(&rules, 400, &schedule(400, 16, 1)).unwrap(), [1, 2]);
    }

    #[test]
    fn masks_bound_the_length_as_well() {
        let short = Rules { sigma: Some(40), ..rules(10, 4096) };
        let error = of(&short, 400, &schedule(400, 10, 1)).unwrap_err();
        assert!(said(&error).contains("sigma = 40 bits hide 2410 updates a step"), "{error}");
        let allow = Rules { policy: DataPolicy::AllowInputReconstruction, ..short };
        assert_eq!(of(&allow, 400, &schedule(400, 10, 1)).unwrap().len(), 40);
        // 2^15 / 2410 = 13.6 steps.
        let lengths = of(&Rules { sigma: Some(54), ..rules(10, 4096) }, 400, &schedule(400, 10, 1));
        assert_eq!(lengths.unwrap().last(), Some(&13));
    }

    proptest! {
        /// However the server draws, the training ends: every lease is one that the ledger books, and the
        /// rest has one again. That holds for the maximum of a local run, whatever the data.
        #[test]
        fn what_begins_ends(
            rows in 1usize..200, batch in 1usize..40, epochs in 1usize..8,
            most in prop::option::of(1u64..300), draws in prop::collection::vec(any::<u32>(), 64),
        ) {
            let batch = batch.min(rows);
            let (network, schedule) = (zoo::digits().network(), schedule(rows, batch, epochs));
            let own = enough_samples(&network, rows, batch, schedule.len());
            let rules = rules(batch, most.unwrap_or(own));
            match run(&rules, &network, rows, &schedule, draws) {
                Ok(()) => {}
                Err((0, error)) => prop_assert!(
                    most.is_some() || rows / batch * batch < 33, "{}", said(&error)
                ),
                Err((leases, error)) => prop_assert!(
                    false, "a training that began must end: {leases} leases, {}", said(&error)
                ),
            }
        }
    }
}
