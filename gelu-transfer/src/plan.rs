//! What a training takes, before anything starts: ring, levels, keys, bytes, memory, time.
//!
//! # Levels
//! One iteration, from the weights v (at level l) to the next ones, with a polynomial of degree 3 (δ = 2 levels; 3 for 5 and 7,
//! 4 for 15, and 0 for a line, whose slope is in the weights already):
//!
//! | what | level after it |
//! |---|---|
//! | z = X·v: all products of a giant are added before one relinearisation | l − 1 |
//! | sum over blocks: log₂ c rotations that wrap, so no mask | l − 1 |
//! | the polynomial, and − (y − ½) | l − 1 − δ |
//! | Xᵀ·e | l − 2 − δ |
//! | the first place of each input, and rate/batch: one plaintext product | l − 3 − δ |
//! | sums over places before, copies to all places after it; Nesterov's step from levels that are left over; one rescaling | l − 3 − δ |
//!
//! The owner of the head does the last two rows in the clear at a refresh, so k iterations take k·(3 + δ) − 1 levels: 4 for one
//! cubic iteration, which 2^13 bears, 19 for four (2^15), 44 for nine (2^16).
//!
//! # Scales
//! X is at Δ and v at σ·q_l/Δ, so u comes out at σ exactly: Δ for a polynomial, σₑ for a line. Errors are at σₑ = 2^s, where s
//! leaves room for the gradients at level 0: sums of K terms, each of mean size up to 8 ([`Plan::LARGEST_MEAN`] times an
//! error of 2), and a sign.

use std::collections::BTreeMap;

use gelu_ckks::rotate::inner_sum_steps;
use gelu_ckks::{Chain, KeyKind, Parameters, Scale};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::plain;
use crate::price::Ring;
use crate::sigmoid::Sigmoid;

/// What is to be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Training rows.
    pub rows: usize,
    /// Features of a row, without the constant.
    pub features: usize,
    /// 1 for two classes; for more, one for each against the rest.
    pub heads: usize,
    /// Rows of an iteration: consecutive ones, which wrap.
    pub batch: usize,
    /// In place of the sigmoid.
    pub sigmoid: Sigmoid,
    /// Of learning.
    pub rate: f64,
    /// k: iterations between two refreshes.
    pub unattended: usize,
}

/// How it is trained.
#[derive(Debug, Clone)]
pub struct Plan {
    settings: Settings,
    parameters: Parameters,
    layout: Layout,
}

/// Widths of q₀ and of the other primes that are tried.
const WIDTHS: [(u32, u32); 3] = [(50, 40), (46, 36), (38, 34)];

impl Plan {
    /// The least rows of a batch.
    pub const LEAST_ROWS: usize = 128;
    /// The largest mean size of a feature over the rows that one place sums.
    pub const LARGEST_MEAN: f64 = 4.0;

    /// In the smallest ring that bears it.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::TooFewRows`]; [`Error::TooDeep`]; [`Error::DoesNotFit`] when a batch has more rows than
    /// the ring slots, or a row more inputs.
    pub fn new(settings: Settings) -> Result<Self> {
        let levels = levels(&settings.sigmoid, settings.unattended)?;
        let parameters = (13..=16).find_map(|log| smallest(1 << log, levels));
        Self::with_parameters(settings, parameters.ok_or(Error::TooDeep { levels })?)
    }

    /// In another ring, of as many levels at least.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_parameters(settings: Settings, parameters: Parameters) -> Result<Self> {
        let Settings { rows, features, heads, batch, rate, .. } = settings;
        plain::check(batch, rows, rate)?;
        if batch < Self::LEAST_ROWS {
            return Err(Error::TooFewRows { rows: batch, least: Self::LEAST_ROWS });
        }
        if !(1..=1 << 10).contains(&heads) || features == 0 || u32::try_from(rows).is_err() {
            return Err(Error::Setting(
                "1 to 1024 heads, 1 feature at least, and less than 2^32 rows",
            ));
        }
        let levels = levels(&settings.sigmoid, settings.unattended)?;
        if levels > parameters.top_level() {
            return Err(Error::TooDeep { levels });
        }
        let ring = Ring { parameters: &parameters };
        let errors = error_level(&settings.sigmoid, levels);
        let price = |babies: usize, giants: usize| {
            let babies = babies.saturating_sub(1);
            let giants = giants.saturating_sub(1);
            let baby = ring.hoisted(levels) + ring.relinearized(errors) + ring.extended(errors - 1);
            let giant =
                ring.relinearized(levels) + ring.extended(levels - 1) + ring.hoisted(errors);
            babies * baby + giants * giant
        };
        let layout = Layout::new(parameters.slots(), batch, features + 1, price)?;
        Ok(Self { settings, parameters, layout })
    }

    /// What is to be trained.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where numbers are in slots.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Features, and the constant.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.settings.features + 1
    }

    /// Different batches: later iterations take the same again.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.settings.rows / gcd(self.settings.rows, self.settings.batch)
    }

    /// The level of weights from which so many iterations can follow.
    pub(crate) fn head_level(&self, iterations: usize) -> usize {
        iterations * per_iteration(&self.settings.sigmoid) - 1
    }

    /// The level of errors whose iteration begins at a level.
    pub(crate) fn error_level(&self, level: usize) -> usize {
        error_level(&self.settings.sigmoid, level)
    }

    /// What weights are multiplied by before they are encrypted: u = factor·z.
    pub(crate) fn factor(&self) -> f64 {
        let sigmoid = &self.settings.sigmoid;
        let slope = if sigmoid.degree() == 1 { sigmoid.coefficients()[1] } else { 1.0 };
        slope / sigmoid.range()
    }

    /// The scale of weights at a level.
    pub(crate) fn head_scale(&self, level: usize) -> Scale {
        let scale = self.parameters.scale();
        let u =
            if self.settings.sigmoid.degree() == 1 { self.error_scale() } else { scale.clone() };
        u.times(&self.parameters.prime_scale(level)).over(&scale)
    }

    /// σₑ.
    pub(crate) fn error_scale(&self) -> Scale {
        let first = self.parameters.level_bits(0);
        let room = (self.largest_sum().log2().ceil() + 1.0).min(first - 1.0);
        let bits = (first - room).min(self.parameters.scale().log2());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 50")]
        Scale::power_of_two(bits as u32)
    }

    /// The scale of gradients from weights of a level.
    pub(crate) fn gradient_scale(&self, level: usize) -> Scale {
        let prime = self.parameters.prime_scale(self.error_level(level));
        self.error_scale().times(&self.parameters.scale()).over(&prime)
    }

    /// What no honest part of a gradient reaches.
    pub(crate) fn largest_sum(&self) -> f64 {
        self.layout.shifts() as f64 * Self::LARGEST_MEAN * 2.0
    }

    /// All keys, each with the highest level that it is needed at.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<KeyKind, usize> {
        let layout = &self.layout;
        let top = self.head_level(self.settings.unattended);
        let errors = self.error_level(top);
        let mut keys = BTreeMap::from([(KeyKind::Relinearization, top)]);
        let mut need = |steps: usize, level: usize| {
            if steps != 0 {
                let old = keys.entry(KeyKind::Rotation(steps)).or_insert(level);
                *old = level.max(*old);
            }
        };
        for b in layout.babies() {
            need(layout.steps(-b), top);
            need(layout.steps(b), errors - 1);
        }
        for g in layout.giants() {
            need(layout.steps(-layout.giant(g)), top - 1);
            need(layout.steps(layout.giant(g)), errors);
        }
        let slots = self.parameters.slots();
        let mut sums = |count, stride, level| {
            inner_sum_steps(count, stride, slots).into_iter().for_each(|steps| need(steps, level));
        };
        sums(layout.blocks(), layout.rows(), top - 1);
        if self.settings.unattended > 1 {
            sums(layout.places(), layout.shifts(), errors - 1);
            sums(layout.places(), slots - layout.shifts(), errors - 1);
        }
        keys
    }

    /// Bytes of the keys on the wire: their larger half. A few bytes for each are not counted.
    #[must_use]
    pub fn key_bytes(&self) -> u64 {
        self.keys().values().map(|&level| self.ring().key_bits(level) / 8).sum()
    }

    /// Bytes of the encrypted features and labels, sent once.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let top = self.head_level(self.settings.unattended);
        let features = self.layout.shifts() as u64 * self.ring().row_bits(top);
        let labels = self.settings.heads as u64 * self.ring().row_bits(self.error_level(top));
        self.batches() as u64 * (features + labels) / 8
    }

    /// Bytes up and down at each refresh.
    #[must_use]
    pub fn refresh_bytes(&self) -> (u64, u64) {
        let (heads, ring) = (self.settings.heads as u64, self.ring());
        let top = ring.row_bits(self.head_level(self.settings.unattended)) / 8;
        let low = 2 * ring.row_bits(0) / 8;
        match self.settings.unattended {
            1 => (heads * top, heads * low),
            // Both w and v; and they come back with the gradient, one level above.
            _ => (2 * heads * top, heads * (low + 2 * 2 * ring.row_bits(1) / 8)),
        }
    }

    /// Bytes of memory at the compute party: keys, features and labels, and what one head needs on the way.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let ring = self.ring();
        let top = self.head_level(self.settings.unattended);
        let row = self.parameters.degree() as u64 * 8;
        let keys: u64 = self.keys().values().map(|&l| 2 * ring.key_rows(l) as u64 * row).sum();
        let labels = self.settings.heads * (self.error_level(top) + 1);
        let data = self.batches() * 2 * (self.layout.shifts() * (top + 1) + labels);
        let working = 2 * (self.layout.babies().len() + 8) * (top + 1) * self.settings.heads.min(8);
        keys + (data + working) as u64 * row
    }

    /// Bytes of memory at the data party: its rows, and keys while they are made and written, or a batch.
    #[must_use]
    pub fn memory_of_data(&self) -> u64 {
        let row = self.parameters.degree() as u64 * 8;
        let keys: u64 =
            self.keys().values().map(|&l| 2 * self.ring().key_rows(l) as u64 * row).sum();
        let batch = self.data_bytes() / self.batches() as u64;
        let rows = self.settings.rows * self.inputs() * 8;
        2 * rows as u64 + (keys + self.key_bytes()).max(2 * batch)
    }

    /// What one iteration costs the compute party, all heads together, from weights at a level: in transforms of one row of
    /// N residues. A row that is read from memory and multiplied counts as one.
    #[must_use]
    pub fn transforms(&self, level: usize) -> usize {
        let (layout, ring) = (&self.layout, self.ring());
        let errors = self.error_level(level);
        let (babies, giants) = (layout.babies().len(), layout.giants().len());
        let blocks = layout.blocks().ilog2() as usize;
        // Two rows of a ciphertext, each multiplied twice.
        let products = |level: usize| 2 * layout.shifts() * (level + 1);
        // Of the polynomial; a relinearisation each.
        let multiplications = match self.settings.sigmoid.degree() {
            1 => 0,
            3 => 2,
            5 => 3,
            7 => 4,
            _ => 7,
        };
        let one = products(level)
            + ring.decomposition(level)
            + (babies - 1) * ring.hoisted(level)
            + giants * ring.relinearized(level)
            + (giants - 1) * ring.extended(level - 1)
            + blocks * ring.rotation(level - 1)
            + multiplications * ring.relinearized(level - 1)
            + products(errors)
            + ring.decomposition(errors)
            + (giants - 1) * ring.hoisted(errors)
            + babies * ring.relinearized(errors)
            + (babies - 1) * ring.extended(errors - 1);
        // The step under encryption, which the last iteration leaves to the data party.
        let copies = match level > self.head_level(1) {
            true => inner_sum_steps(layout.places(), layout.shifts(), self.parameters.slots()),
            false => Vec::new(),
        };
        let one = one + 2 * copies.len() * ring.rotation(errors - 1);
        self.settings.heads * one
    }

    /// Seconds that k iterations take the compute party, by the time of a transform of 2^13 residues ([`price`](crate::price))
    /// and so many threads. An estimate: memory and other programs have their say.
    #[must_use]
    pub fn seconds(&self, transform: f64, threads: usize) -> f64 {
        let k = self.settings.unattended;
        let levels = (1..=k).map(|left| self.head_level(left));
        let transforms: usize = levels.map(|level| self.transforms(level)).sum();
        transforms as f64 * self.ring().size() * transform / threads.max(1) as f64
    }

    /// Refuses when the compute party's memory is not there.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check_memory(&self, available: u64) -> Result<()> {
        let needed = self.memory();
        if needed > available {
            return Err(Error::Memory { needed: needed >> 20, available: available >> 20 });
        }
        Ok(())
    }

    fn ring(&self) -> Ring<'_> {
        Ring { parameters: &self.parameters }
    }
}

/// Levels of an iteration, the mask included.
fn per_iteration(sigmoid: &Sigmoid) -> usize {
    3 + depth(sigmoid)
}

/// δ.
fn depth(sigmoid: &Sigmoid) -> usize {
    match sigmoid.degree() {
        1 => 0,
        _ => gelu_ckks::polynomial::depth(sigmoid.coefficients()),
    }
}

fn error_level(sigmoid: &Sigmoid, level: usize) -> usize {
    level - 1 - depth(sigmoid)
}

/// Levels of k iterations.
fn levels(sigmoid: &Sigmoid, unattended: usize) -> Result<usize> {
    if !(1..=32).contains(&unattended) {
        return Err(Error::Setting("1 to 32 iterations between refreshes"));
    }
    Ok(unattended * per_iteration(sigmoid) - 1)
}

/// Parameters of a degree for so many levels, with the fewest digits.
fn smallest(degree: usize, levels: usize) -> Option<Parameters> {
    let most = 6.min(levels + 1);
    let groups = WIDTHS.into_iter().flat_map(|widths| (1..=most).map(move |group| (widths, group)));
    // Special primes as wide as a digit of the others, or a bit wider where those are larger by a hair.
    let chains = groups.flat_map(|((first, scale), group)| {
        let digit = u32::try_from(group - 1).map_or(first, |others| first + others * scale);
        let width = digit.div_ceil(u32::try_from(group).unwrap_or(1)).max(scale);
        let digits = (levels + 1).div_ceil(group);
        [width, width + 1].map(|width| Chain {
            degree,
            first,
            scale: (scale, levels),
            special: (width, group),
            digits,
        })
    });
    let mut chains: Vec<_> = chains.collect();
    chains.sort_by_key(|chain| chain.digits);
    chains.iter().find_map(|chain| Parameters::new(chain).ok())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::TRANSFORM_SECONDS;

    fn settings(degree: usize, unattended: usize) -> Settings {
        let sigmoid = Sigmoid::fit(degree, 16.0).unwrap();
        Settings {
            rows: 2048,
            features: 384,
            heads: 1,
            batch: 1024,
            sigmoid,
            rate: 1.0,
            unattended,
        }
    }

    #[test]
    fn rings_are_the_smallest_that_bear_the_levels() {
        for (degree, unattended, log, levels) in [
            (1, 1, 13, 2),
            (3, 1, 13, 4),
            (7, 1, 14, 5),
            (15, 1, 14, 6),
            (3, 2, 14, 9),
            (3, 4, 15, 19),
        ] {
            let plan = Plan::new(settings(degree, unattended)).unwrap();
            let ring = plan.parameters();
            assert_eq!((ring.degree(), ring.top_level()), (1 << log, levels), "degree {degree}");
            assert_eq!(plan.head_level(unattended), levels);
            // The last errors are at level 1: gradients are at 0.
            assert_eq!(plan.error_level(plan.head_level(1)), 1);
        }
        let refused = Plan::new(settings(15, 32)).unwrap_err();
        assert_eq!(refused, Error::TooDeep { levels: 32 * 7 - 1 });
    }

    #[test]
    fn what_would_not_work_is_refused_before_anything_starts() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = settings(3, 1);
            change(&mut settings);
            Plan::new(settings).unwrap_err()
        };
        let few = refused(|s| s.batch = 64);
        assert_eq!(few, Error::TooFewRows { rows: 64, least: 128 });
        assert!(few.to_string().contains("diverge with few"));
        assert!(matches!(refused(|s| s.batch = 2049), Error::Setting(_)));
        assert!(matches!(refused(|s| s.unattended = 0), Error::Setting(_)));
        assert!(matches!(refused(|s| s.unattended = 33), Error::Setting(_)));
        assert!(matches!(refused(|s| s.heads = 0), Error::Setting(_)));
        assert!(matches!(refused(|s| s.rate = 0.0), Error::Setting(_)));
        let large = refused(|s| s.features = 4096);
        assert_eq!(large, Error::DoesNotFit { rows: 1024, inputs: 4097, slots: 4096 });
    }

    #[test]
    fn memory_that_is_not_there_is_refused_with_both_numbers() {
        let plan = Plan::new(settings(3, 1)).unwrap();
        let needed = plan.memory();
        assert!(plan.check_memory(needed).is_ok());
        let refused = plan.check_memory(needed - 1).unwrap_err();
        assert_eq!(refused, Error::Memory { needed: needed >> 20, available: (needed - 1) >> 20 });
        // Two batches of 103 ciphertexts of 640 KiB, and more keys.
        assert!((132 << 20..400 << 20).contains(&needed), "{needed}");
    }

    #[test]
    fn costs_grow_with_classes_degrees_and_iterations() {
        let plan = |degree, heads, unattended| {
            Plan::new(Settings { heads, ..settings(degree, unattended) }).unwrap()
        };
        let seconds = |plan: Plan| plan.seconds(TRANSFORM_SECONDS, 1);
        let one = seconds(plan(3, 1, 1));
        assert!((seconds(plan(3, 10, 1)) / one - 10.0).abs() < 1e-9);
        assert!(seconds(plan(1, 1, 1)) < one && seconds(plan(3, 1, 2)) > 3.0 * one);
        // A second would be long for one step, and no time is less than that of its products.
        assert!((0.005..0.1).contains(&one), "{one}");
        assert_eq!(plan(3, 1, 1).refresh_bytes().0 * 10, plan(3, 10, 1).refresh_bytes().0);
    }
}
