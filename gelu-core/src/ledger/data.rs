//! The client's own ledger: which samples are in which of the sums that it has revealed.
//!
//! The mirror of the [ledger](super::Ledger) of the model. At the end of a lease the server sees the
//! sum of the true updates. What protects the data is that *different* samples are in it: inputs of
//! the first layer are the same in every epoch and in every lease, so a sum over four rows is one over
//! four rows however often it saw them, and two sums over the same rows are two sets of equations about
//! the same unknowns.
//!
//! # Law
//! Sums are *linked* when they share a sample, directly or over other sums. Let a set of t linked sums
//! be over k different samples in all, n_i of them in the i-th; and let E, I, O, rows, width and terms
//! be those of a layer's [`DataExposure`]. For every linked set of booked sums and every layer:
//!
//! ```text
//! not determined:   t·E  <  k·I + O·Σ n_i                an input is unknown once, an error once a sum
//! not spanned:      k·terms  >  min(t·rows, max(rows, width))
//! ```
//!
//! It is enough to look at the last sum of each set, which the ledger does when it books it: when that
//! sum was revealed all others of the set were in the groups that it touched, so it has at least
//! [`least_samples_linked`](DataExposure::least_samples_linked)(t) different samples, and every other has
//! at least `least_samples()`. The first line follows from both (there the proof stands), the second
//! from k ≥ n_last.
//!
//! # Security
//! The law counts unknowns, equations and ranks; it is not a proof that inputs are hidden. Sums over
//! ever the same data in very large number may be taken apart by statistics (blind source separation)
//! where linear algebra gives out. A sample is known again by its numbers: the same row scaled in
//! another way counts as another sample. Sums that were booked under
//! [`AllowInputReconstruction`](DataPolicy::AllowInputReconstruction) need not obey the law.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;

use ndarray::Array2;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::DataExposure;
use crate::error::Refused;

/// What a client lets happen to its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataPolicy {
    /// Reveal no sum of too few different samples, and none of a lease so long that its masks wear
    /// thin (`docs/src/security.md`).
    #[default]
    Enforce,
    /// Reveal them all the same, and count: the owner accepts that inputs can be reconstructed.
    AllowInputReconstruction,
}

/// A sample, known again without being kept: the first 128 bits of SHA-256 over the ledger's key and the
/// inputs, as they are before any encoding, whose format the server chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleId(u128);

/// Sums that are linked, and every sample in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// How many sums.
    pub sums: u64,
    /// The samples in them.
    pub samples: BTreeSet<SampleId>,
}

/// All sums that a client has revealed: see the [module](self).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLedger {
    key: [u8; 32],
    /// Without a sample in common.
    groups: Vec<Group>,
}

impl DataLedger {
    /// An empty ledger, which knows samples by their hash under `key`: random, where others may read
    /// what is written of it, so that no table made beforehand tells them which samples there are.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, groups: Vec::new() }
    }

    /// The samples of `inputs`, `[features, batch]`.
    pub fn ids(&self, inputs: &Array2<f64>) -> Vec<SampleId> {
        let id = |column: ndarray::ArrayView1<'_, f64>| {
            let mut hash = Sha256::new_with_prefix(self.key);
            // + 0 makes -0 and 0 the same.
            column.iter().for_each(|x| hash.update((x + 0.0).to_bits().to_be_bytes()));
            let digest = hash.finalize();
            SampleId(u128::from_be_bytes(digest[..16].try_into().expect("half of 32 bytes")))
        };
        inputs.columns().into_iter().map(id).collect()
    }

    /// The linked sums so far.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether a sum over `samples` may be revealed next.
    ///
    /// # Errors
    /// [`Refused::ExposesData`] under [`DataPolicy::Enforce`], when it has too few samples for the sums
    /// that it would be linked with.
    pub fn check(
        &self,
        samples: &BTreeSet<SampleId>,
        data: &[DataExposure],
        policy: DataPolicy,
    ) -> Result<(), Refused> {
        let touched = self.groups.iter().filter(|group| !group.samples.is_disjoint(samples));
        let sums = touched.fold(1, |sum: u64, group| sum.saturating_add(group.sums));
        let (least, samples) = (least_samples(data, sums), samples.len() as u64);
        if policy == DataPolicy::Enforce && samples < least {
            return Err(Refused::ExposesData { samples, least, sums });
        }
        Ok(())
    }

    /// Books a sum over `samples`, before it is revealed: all that it touches is one group from then on.
    ///
    /// # Errors
    /// As [`check`](Self::check); nothing is booked then.
    pub fn book(
        &mut self,
        samples: &BTreeSet<SampleId>,
        data: &[DataExposure],
        policy: DataPolicy,
    ) -> Result<(), Refused> {
        self.check(samples, data, policy)?;
        let mut merged = Group { sums: 1, samples: samples.clone() };
        for group in self.groups.extract_if(.., |group| !group.samples.is_disjoint(samples)) {
            merged.sums = merged.sums.saturating_add(group.sums);
            merged.samples.extend(group.samples);
        }
        self.groups.push(merged);
        Ok(())
    }
}

/// The fewest different samples of a sum that is linked with so many, itself included, for the
/// neediest layer; 0 where there is no layer.
pub fn least_samples(data: &[DataExposure], sums: u64) -> u64 {
    data.iter().map(|layer| layer.least_samples_linked(sums)).max().unwrap_or(0)
}

/// Where a client keeps its [`DataLedger`].
pub trait SumLedger: Send + Sync {
    /// What has been booked so far.
    ///
    /// # Errors
    /// [`Refused::Unbooked`] when it cannot be read.
    fn ledger(&self) -> Result<DataLedger, Refused>;

    /// [`DataLedger::book`], durably: when this returns, no crash makes it forget.
    ///
    /// # Errors
    /// [`Refused::ExposesData`]; [`Refused::Unbooked`] when it cannot be kept. Nothing may be
    /// revealed then.
    fn book(
        &self,
        samples: &BTreeSet<SampleId>,
        data: &[DataExposure],
        policy: DataPolicy,
    ) -> Result<(), Refused>;
}

/// In memory: counts as long as it lives, and no longer.
impl SumLedger for Mutex<DataLedger> {
    fn ledger(&self) -> Result<DataLedger, Refused> {
        Ok(self.lock().expect("no panic while held").clone())
    }

    fn book(
        &self,
        samples: &BTreeSet<SampleId>,
        data: &[DataExposure],
        policy: DataPolicy,
    ) -> Result<(), Refused> {
        self.lock().expect("no panic while held").book(samples, data, policy)
    }
}

/// The key tells who has it which samples there are: only counts are printed.
impl fmt::Debug for DataLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups.iter().map(|group| (group.sums, group.samples.len()));
        f.debug_list().entries(groups).finish()
    }
}

impl Serialize for SampleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for SampleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = Some(text.as_str()).filter(|t| t.len() == 32 && !t.starts_with('+'));
        let id = id.and_then(|text| u128::from_str_radix(text, 16).ok());
        id.map(Self).ok_or_else(|| serde::de::Error::custom("a sample is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::networks;
    use ndarray::array;
    use proptest::prelude::*;

    fn dense(inputs: u64, outputs: u64) -> DataExposure {
        DataExposure {
            layer: "dense".into(),
            equations: (inputs + 1) * outputs,
            unknowns_per_sample: inputs + outputs,
            outputs,
            rows: outputs,
            width: inputs + 1,
            terms_per_sample: 1,
        }
    }

    /// The network of the 8x8 digits: 64-32-10.
    fn digits() -> [DataExposure; 2] {
        [dense(64, 32), dense(32, 10)]
    }

    fn samples(of: impl IntoIterator<Item = u128>) -> BTreeSet<SampleId> {
        of.into_iter().map(SampleId).collect()
    }

    fn book(ledger: &mut DataLedger, of: impl IntoIterator<Item = u128>) -> Result<(), Refused> {
        ledger.book(&samples(of), &digits(), DataPolicy::Enforce)
    }

    /// Each of these revealed inputs while presentations were counted.
    #[test]
    fn samples_count_once_however_often_a_lease_shows_them() {
        for rows in [1, 4, 8, 32] {
            let shown = (0..40).map(|n| n % rows);
            let refused = book(&mut DataLedger::new([0; 32]), shown).unwrap_err();
            let samples = u64::try_from(rows).unwrap();
            assert_eq!(refused, Refused::ExposesData { samples, least: 33, sums: 1 });
        }
        book(&mut DataLedger::new([0; 32]), 0..33).unwrap();
    }

    #[test]
    fn sums_over_the_same_samples_need_more_of_them_each_time() {
        let mut ledger = DataLedger::new([0; 32]);
        book(&mut ledger, 0..60).unwrap();
        let before = ledger.clone();
        let refused = book(&mut ledger, 0..60).unwrap_err();
        assert_eq!(refused, Refused::ExposesData { samples: 60, least: 65, sums: 2 });
        // One common sample links as well as all of them.
        let refused = book(&mut ledger, 59..59 + 64).unwrap_err();
        assert_eq!(refused, Refused::ExposesData { samples: 64, least: 65, sums: 2 });
        assert_eq!(ledger, before, "a refusal books nothing");
        book(&mut ledger, 60..93).unwrap();
        assert_eq!(ledger.groups().len(), 2, "nothing in common");
        let refused = book(&mut ledger, 50..65).unwrap_err();
        assert_eq!(refused, Refused::ExposesData { samples: 15, least: 66, sums: 3 });
        book(&mut ledger, 27..93).unwrap();
        assert_eq!(ledger.groups(), [Group { sums: 3, samples: samples(0..93) }]);
        // More samples than the layer has inputs: from here on they may be shown for ever.
        (0..9).for_each(|_| book(&mut ledger, 0..66).unwrap());
    }

    #[test]
    fn whoever_allows_reconstruction_is_counted_all_the_same() {
        let mut ledger = DataLedger::new([0; 32]);
        let allow = DataPolicy::AllowInputReconstruction;
        ledger.book(&samples(0..2), &digits(), allow).unwrap();
        ledger.book(&samples(1..3), &digits(), allow).unwrap();
        assert_eq!(ledger.groups(), [Group { sums: 2, samples: samples(0..3) }]);
        let refused = book(&mut ledger, 2..67).unwrap_err();
        assert_eq!(refused, Refused::ExposesData { samples: 65, least: 66, sums: 3 });
    }

    #[test]
    fn a_sample_is_its_numbers_under_the_key() {
        let ledger = DataLedger::new([1; 32]);
        let ids = ledger.ids(&array![[1.0, 1.0, 0.0, -0.0], [2.0, 2.5, 3.0, 3.0]]);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(ids[2], ids[3], "-0 is 0");
        let again = ledger.ids(&array![[0.0, 1.0], [3.0, 2.0]]);
        assert_eq!(again, [ids[2], ids[0]], "wherever it stands");
        assert_ne!(DataLedger::new([2; 32]).ids(&array![[1.0], [2.0]])[0], ids[0]);
    }

    #[test]
    fn ledgers_survive_a_restart_and_print_no_key() {
        let mut ledger = DataLedger::new([77; 32]);
        book(&mut ledger, 0..40).unwrap();
        let bytes = postcard::to_stdvec(&ledger).unwrap();
        assert_eq!(postcard::from_bytes::<DataLedger>(&bytes).unwrap(), ledger);
        assert_eq!(format!("{ledger:?}"), "[(1, 40)]");
        let read = |text: &str| {
            let bytes = postcard::to_stdvec(text).unwrap();
            postcard::from_bytes::<SampleId>(&bytes)
        };
        assert_eq!(read("000000000000000000000000000000ff").unwrap(), SampleId(255));
        for damaged in
            ["", "ff", "+00000000000000000000000000000ff", "x00000000000000000000000000000ff"]
        {
            assert!(read(damaged).is_err(), "{damaged}");
        }
    }

    /// Whether the sums `of` hang together, each over samples in common.
    fn linked(sums: &[BTreeSet<SampleId>], of: &[usize]) -> bool {
        let (mut reached, mut left) = (sums[of[0]].clone(), of[1..].to_vec());
        while let Some(next) = left.iter().position(|&i| !sums[i].is_disjoint(&reached)) {
            reached.extend(&sums[left.swap_remove(next)]);
        }
        left.is_empty()
    }

    proptest! {
        /// The law of the module, for every linked set of whatever sums were let through.
        #[test]
        fn every_linked_set_of_sums_holds_the_law(
            shape in 0usize..6,
            wanted in prop::collection::vec((0u128..40, 1u128..30), 1..9),
        ) {
            let data = match shape {
                0 => vec![dense(6, 3)],
                1 => vec![dense(3, 8)],
                2 => vec![dense(20, 2), dense(2, 5)],
                3 => vec![dense(9, 9)],
                // As wide convolutions have it: equations decide, not the span.
                4 => vec![DataExposure { terms_per_sample: 1000, ..dense(6, 4) }],
                _ => DataExposure::of(&networks::network()),
            };
            let (mut ledger, mut revealed) = (DataLedger::new([0; 32]), Vec::new());
            for (start, length) in wanted {
                let sum = samples((start..start + length).map(|n| n % 41));
                if ledger.book(&sum, &data, DataPolicy::Enforce).is_ok() {
                    revealed.push(sum);
                }
            }
            let booked: u64 = ledger.groups().iter().map(|group| group.sums).sum();
            prop_assert_eq!(booked, revealed.len() as u64);
            for chosen in 1u32..1 << revealed.len() {
                let set: Vec<usize> = (0..revealed.len()).filter(|i| chosen >> i & 1 == 1).collect();
                if !linked(&revealed, &set) {
                    continue;
                }
                let union: BTreeSet<_> = set.iter().flat_map(|&i| &revealed[i]).collect();
                let (t, k) = (set.len() as u64, union.len() as u64);
                let shown: u64 = set.iter().map(|&i| revealed[i].len() as u64).sum();
                for layer in &data {
                    let inputs = layer.unknowns_per_sample - layer.outputs;
                    prop_assert!(t * layer.equations < k * inputs + shown * layer.outputs);
                    let span = (t * layer.rows).min(layer.rows.max(layer.width));
                    prop_assert!(k * layer.terms_per_sample > span, "{t} sums, {k} samples");
                    prop_assert!(k >= layer.least_samples_linked(t));
                }
            }
        }
    }
}
