//! The mini-batches that are left of a training, counted so that every cut into leases can be judged at once.

use std::collections::HashMap;

use super::data::{DataLedger, SampleId, least_samples};
use super::exposure::DataExposure;

/// What is counted at a boundary between two mini-batches.
#[derive(Debug, Clone, Copy, Default)]
struct Boundary {
    /// In the mini-batches before it.
    seen: u64,
    /// In those after it.
    ahead: u64,
}

/// The mini-batches that are left, counted at each boundary between two of them.
pub struct Remaining<'a> {
    data: &'a [DataExposure],
    steps: usize,
    /// Different samples that there are.
    rows: u64,
    /// Different samples.
    samples: Vec<Boundary>,
    /// Earlier sums that are linked with them.
    linked: Vec<Boundary>,
    /// For each boundary the first later one with enough samples in between for any number of sums.
    enough: Vec<usize>,
    /// The same for a sum that is linked with no other.
    first: Vec<usize>,
    /// For each boundary the last later one without an earlier sum in between.
    unlinked: Vec<usize>,
}

impl<'a> Remaining<'a> {
    /// `rest` are the mini-batches, by the rows of `ids` that are in them; `ledger` knows the sums before them.
    ///
    /// # Panics
    /// When a mini-batch has a row that is not in `ids`.
    pub fn new(
        data: &'a [DataExposure],
        ledger: &DataLedger,
        ids: &[SampleId],
        rest: &[Vec<usize>],
    ) -> Self {
        let mut numbers = HashMap::new();
        let number = |id: &SampleId| {
            let next = numbers.len();
            *numbers.entry(*id).or_insert(next)
        };
        let of_row: Vec<usize> = ids.iter().map(number).collect();
        let rest: Vec<Vec<usize>> =
            rest.iter().map(|rows| rows.iter().map(|&row| of_row[row]).collect()).collect();
        let mut groups = vec![None; numbers.len()];
        for (n, group) in ledger.groups().iter().enumerate() {
            let known = group.samples.iter().filter_map(|id| numbers.get(id));
            known.for_each(|&sample| groups[sample] = Some(n));
        }
        let ones = vec![1; numbers.len()];
        let sums: Vec<u64> = ledger.groups().iter().map(|group| group.sums).collect();
        let in_groups: Vec<Vec<usize>> =
            rest.iter().map(|step| step.iter().filter_map(|&s| groups[s]).collect()).collect();
        let window = |sums| {
            let least = usize::try_from(least_samples(data, sums)).unwrap_or(usize::MAX);
            windows(&rest, numbers.len(), least)
        };
        let mut unlinked = vec![rest.len(); rest.len() + 1];
        for at in (0..rest.len()).rev() {
            unlinked[at] = if in_groups[at].is_empty() { unlinked[at + 1] } else { at };
        }
        Self {
            data,
            steps: rest.len(),
            rows: numbers.len() as u64,
            samples: boundaries(&rest, &ones),
            linked: boundaries(&in_groups, &sums),
            enough: window(u64::MAX),
            first: window(1),
            unlinked,
        }
    }

    /// Different samples that there are, those of no mini-batch included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Different samples in what is left.
    pub fn samples(&self) -> u64 {
        self.samples[self.steps].seen
    }

    /// Earlier sums that are linked with any of it.
    pub fn sums(&self) -> u64 {
        self.linked[self.steps].seen
    }

    fn holds(&self, samples: u64, sums: u64) -> bool {
        samples >= least_samples(self.data, sums)
    }

    /// Whether the first `steps` mini-batches may be revealed as one sum.
    pub fn can_stop_after(&self, steps: u32) -> bool {
        let at = (steps as usize).min(self.steps);
        at > 0 && self.holds(self.samples[at].seen, 1 + self.linked[at].seen)
    }

    /// Whether no sample is on both sides of a boundary.
    fn parts(&self, at: usize) -> bool {
        let Boundary { seen, ahead } = self.samples[at];
        seen + ahead == self.samples[self.steps].seen
    }

    /// Whether what is ahead of a boundary may be one sum, after one over what was before it.
    fn can_end_after(&self, at: usize) -> bool {
        let Boundary { seen, ahead } = self.linked[at];
        let sums = match self.parts(at) && seen + ahead == self.sums() {
            true => 1 + ahead,
            false => 2 + self.sums(),
        };
        self.holds(self.samples[at].ahead, sums)
    }

    /// Every length of a next lease, of at most `most`, after which the rest can be trained as well.
    pub fn lengths(&self, most: u32) -> Vec<u32> {
        let most = most as usize;
        // From which boundaries on leases with enough samples each reach the end; and how many of them
        // there are from a boundary on, of all and of those that part the samples.
        let mut reaches = vec![false; self.steps + 1];
        let (mut all, mut parting) = (vec![0usize; self.steps + 2], vec![0usize; self.steps + 2]);
        let any = |counts: &[usize], from, to| from <= to && counts[from] > counts[to + 1];
        for at in (0..=self.steps).rev() {
            let to = self.steps.min(at.saturating_add(most));
            reaches[at] = at == self.steps
                || any(&all, self.enough[at], to)
                || (self.parts(at) && any(&parting, self.first[at], to.min(self.unlinked[at])));
            all[at] = all[at + 1] + usize::from(reaches[at]);
            parting[at] = parting[at + 1] + usize::from(reaches[at] && self.parts(at));
        }
        let ends = |&at: &usize| {
            let rest = self.steps - at;
            u32::try_from(at).is_ok_and(|at| self.can_stop_after(at))
                && (reaches[at] || (rest <= most && self.can_end_after(at)))
        };
        let lengths = (1..=self.steps.min(most)).filter(ends);
        lengths.map(|at| u32::try_from(at).expect("checked")).collect()
    }

    /// The smallest maximum of a lease with which all of it can be trained, if there is one.
    pub fn shortest_maximum(&self) -> Option<u32> {
        let (mut low, mut high) = (0, u32::try_from(self.steps).ok()?);
        if self.lengths(high).is_empty() {
            return None;
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            match self.lengths(middle).is_empty() {
                true => low = middle,
                false => high = middle,
            }
        }
        Some(high)
    }
}

/// At each boundary, the weight of the different items before it and after it.
fn boundaries(steps: &[Vec<usize>], weights: &[u64]) -> Vec<Boundary> {
    let count = |order: &mut dyn Iterator<Item = &Vec<usize>>| {
        let (mut seen, mut sum, mut sums) = (vec![false; weights.len()], 0, vec![0]);
        for step in order {
            for &item in step {
                sum += if std::mem::replace(&mut seen[item], true) { 0 } else { weights[item] };
            }
            sums.push(sum);
        }
        sums
    };
    let (seen, ahead) = (count(&mut steps.iter()), count(&mut steps.iter().rev()));
    let pairs = seen.into_iter().zip(ahead.into_iter().rev());
    pairs.map(|(seen, ahead)| Boundary { seen, ahead }).collect()
}

/// For each boundary the first later one with `enough` different samples in between; one beyond the last
/// where there is none.
fn windows(steps: &[Vec<usize>], samples: usize, enough: usize) -> Vec<usize> {
    let (mut shown, mut different, mut end) = (vec![0u32; samples], 0, 0);
    let mut ends = Vec::with_capacity(steps.len() + 1);
    for start in 0..=steps.len() {
        while different < enough && end < steps.len() {
            for &sample in &steps[end] {
                different += usize::from(shown[sample] == 0);
                shown[sample] += 1;
            }
            end += 1;
        }
        ends.push(if different < enough { steps.len() + 1 } else { end });
        for &sample in steps.get(start).into_iter().flatten().filter(|_| start < end) {
            shown[sample] -= 1;
            different -= usize::from(shown[sample] == 0);
        }
    }
    ends
}
