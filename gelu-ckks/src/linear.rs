//! Sparse linear maps given by their diagonals.
//!
//! ```text
//! y[j]  =  Σ_d diagonal_d[j]·x[j + d]                            indices modulo N/2
//!       =  Σ_g rotate(Σ_b shifted_(g+b)·rotate(x, b), g)         d = g + b, shifted_d[j] = diagonal_d[j − g]
//! ```
//! Rotations by b ("babies") share one decomposition; of each rotation by g ("giants") a decomposition is needed
//! (Halevi and Shoup, CRYPTO 2018). Everything stays modulo P·Q until one division by P·q_l at the end
//! ([`rotate`](crate::rotate): double hoisting).
//!
//! # Cost
//! At level l, with k special primes, β digits, n_b babies and n_g giants other than 0, D diagonals:
//!
//! | | transforms of a row | rows of keys and diagonals |
//! |---|---|---|
//! | decomposition, once if n_b > 0 | β(l + 1 + k) | |
//! | a baby | 0 | 2β(l + 1 + k) |
//! | a diagonal | 0 | l + 1 + k |
//! | a giant | β(l + 1 + k) + l + 1 + k | 2β(l + 1 + k) |
//! | division | 2(k + 1) + 2l | |
//!
//! Keys and diagonals are too large for caches, and each of their rows is read and multiplied once: memory is the limit, and a
//! row counts as much as a transform. A [`Plan`] counts this for every split d = g + b by b = d mod n₁, and takes the cheapest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use num_complex::Complex64;

use crate::ciphertext::Ciphertext;
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::rotate::{Extended, ExtendedPlaintexts};
use crate::scale::Scale;
use crate::switching::{EvaluationKeys, KeyKind};

/// How a map is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// n₁: babies are below it.
    pub step: usize,
    /// Rotations of the input, in order.
    pub babies: Vec<usize>,
    /// Rotations of sums, in order.
    pub giants: Vec<usize>,
    /// What it costs.
    pub cost: Cost,
}

/// What a computation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Transforms of one row of N residues.
    pub transforms: usize,
    /// Rows of keys and diagonals that are read, and multiplied.
    pub rows: usize,
}

/// The largest n₁, in units of the greatest common divisor of the diagonals: beyond it, powers of two alone are tried.
const MOST_STEPS: usize = 256;

impl Cost {
    /// In transforms: a row takes about as long.
    #[must_use]
    pub fn in_transforms(&self) -> usize {
        self.transforms + self.rows
    }
}

impl Plan {
    /// The cheapest plan for these diagonals, modulo N/2, at a level.
    ///
    /// # Errors
    /// [`Error::Empty`] without diagonals, [`Error::NoSuchLevel`], [`Error::NoLevelLeft`] at level 0.
    pub fn new(
        parameters: &Parameters,
        level: usize,
        diagonals: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        parameters.check_level(level)?;
        if level == 0 {
            return Err(Error::NoLevelLeft);
        }
        let slots = parameters.slots();
        let diagonals: BTreeSet<usize> = diagonals.into_iter().map(|d| d % slots).collect();
        let unit = diagonals.iter().fold(slots, |a, &b| gcd(a, b));
        if diagonals.is_empty() {
            return Err(Error::Empty("a map without diagonals"));
        }
        let few = 1..=MOST_STEPS.min(slots / unit);
        let doubled = std::iter::successors(Some(MOST_STEPS), |n| Some(2 * n));
        let steps = few.chain(doubled.take_while(|n| n * unit <= slots));
        let plans = steps.map(|n| Self::of_step(parameters, level, &diagonals, n * unit));
        Ok(plans.min_by_key(|plan| plan.cost.in_transforms()).expect("a step of 1 at least"))
    }

    fn of_step(
        parameters: &Parameters,
        level: usize,
        diagonals: &BTreeSet<usize>,
        step: usize,
    ) -> Self {
        let split = |&d: &usize| split(d, step, parameters.slots());
        let (giants, babies): (BTreeSet<_>, BTreeSet<_>) = diagonals.iter().map(split).unzip();
        let rows = level + 1 + parameters.special();
        let digits = level / parameters.group() + 1;
        let moved = |steps: &BTreeSet<usize>| steps.iter().filter(|&&s| s != 0).count();
        let (moved_babies, moved_giants) = (moved(&babies), moved(&giants));
        let cost = Cost {
            transforms: digits * rows * (usize::from(moved_babies > 0) + moved_giants)
                + rows * moved_giants
                + 2 * (parameters.special() + 1)
                + 2 * level,
            rows: rows * (2 * digits * (moved_babies + moved_giants) + diagonals.len()),
        };
        let (babies, giants) = (babies.into_iter().collect(), giants.into_iter().collect());
        Self { step, babies, giants, cost }
    }

    /// The keys that it needs, for ciphertexts of the level it was made for.
    pub fn keys(&self) -> impl Iterator<Item = KeyKind> + '_ {
        let rotations: BTreeSet<_> = self.babies.iter().chain(&self.giants).copied().collect();
        rotations.into_iter().filter(|&steps| steps != 0).map(KeyKind::Rotation)
    }
}

/// g and b with d = g + b modulo `slots` and 0 ≤ b < step, where d counts as negative above half of the slots, so that
/// a band around the main diagonal stays together.
fn split(d: usize, step: usize, slots: usize) -> (usize, usize) {
    let raised = if d > slots / 2 { d + step * slots - slots } else { d + step * slots };
    let baby = raised % step;
    ((raised - baby) % slots, baby % slots)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A linear map, encoded for a level: ready to be applied.
///
/// # Security
/// It holds the weights of a model: `Debug` shows the plan alone. That a diagonal is there is public.
pub struct LinearMap {
    plan: Plan,
    level: usize,
    parameters: Parameters,
    /// For each giant, the babies by their place, and their factors.
    sums: Vec<(Vec<usize>, ExtendedPlaintexts)>,
}

impl LinearMap {
    /// Encodes diagonals, real or complex, at the scale of the level's prime, so that the scale of a ciphertext returns.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`Error::TooManyValues`], [`Error::ValueTooLarge`].
    pub fn encode<T: Copy + Into<Complex64>>(
        parameters: &Parameters,
        diagonals: &BTreeMap<usize, Vec<T>>,
        level: usize,
    ) -> Result<Self> {
        parameters.check_level(level)?;
        let scale = parameters.prime_scale(level);
        Self::encode_at(parameters, diagonals, level, &scale)
    }

    /// The same at another scale.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_at<T: Copy + Into<Complex64>>(
        parameters: &Parameters,
        diagonals: &BTreeMap<usize, Vec<T>>,
        level: usize,
        scale: &Scale,
    ) -> Result<Self> {
        let plan = Plan::new(parameters, level, diagonals.keys().copied())?;
        let slots = parameters.slots();
        let mut lists: Vec<_> = plan.giants.iter().map(|_| (Vec::new(), Vec::new())).collect();
        for (&d, diagonal) in diagonals {
            if diagonal.len() > slots {
                return Err(Error::TooManyValues { values: diagonal.len(), slots });
            }
            let (giant, baby) = split(d % slots, plan.step, slots);
            let place = |all: &[usize], steps| all.binary_search(&steps).expect("in the plan");
            let (babies, factors) = &mut lists[place(&plan.giants, giant)];
            babies.push(place(&plan.babies, baby));
            factors.push(diagonal);
        }
        let encode = |(&giant, (babies, factors)): (_, (_, Vec<&Vec<T>>))| {
            let shifted = factors.into_iter().map(|diagonal| {
                let mut shifted = vec![Complex64::ZERO; slots];
                shifted.iter_mut().zip(diagonal).for_each(|(to, &w)| *to = w.into());
                shifted.rotate_right(giant);
                shifted
            });
            let shifted: Vec<_> = shifted.collect();
            Ok((babies, ExtendedPlaintexts::encode(parameters, &shifted, scale, level)?))
        };
        let sums = plan.giants.iter().zip(lists).map(encode).collect::<Result<_>>()?;
        Ok(Self { plan, level, parameters: parameters.clone(), sums })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The level of ciphertexts that it is applied to.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// y, one level below. The noise of x is multiplied by the map, and so is
    /// [`switching_noise`](crate::Parameters::switching_noise) without its rounding, once for each rotation.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`] when x is at a lower level than the map; [`Error::MissingKey`], [`Error::KeyLevel`],
    /// [`Error::OtherParameters`], [`Error::ScaleOutOfRange`].
    pub fn apply(&self, x: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext> {
        self.parameters.check_same(x.parameters())?;
        let x = x.at_level(self.level)?;
        let babies: Vec<Extended> = if self.plan.babies == [0] {
            vec![x.extend()]
        } else {
            let hoisted = x.hoist();
            let rotated = self.plan.babies.iter().map(|&b| hoisted.rotate_extended(b, keys));
            rotated.collect::<Result<_>>()?
        };
        let lists = self.sums.iter().map(|(places, plains)| {
            (places.iter().map(|&baby| &babies[baby]).collect::<Vec<_>>(), plains)
        });
        let sums = Extended::sums_of_products(&lists.collect::<Vec<_>>())?;
        let mut total: Option<Extended> = None;
        for (&giant, sum) in self.plan.giants.iter().zip(sums) {
            let sum = sum.rotate(giant, keys)?;
            total = Some(match total {
                Some(total) => total.plus(&sum)?,
                None => sum,
            });
        }
        total.ok_or(Error::Empty("a map without diagonals"))?.rescale()
    }
}

impl fmt::Debug for LinearMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearMap").field("plan", &self.plan).field("level", &self.level).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encrypted, open, random, rng, secret, shallow, worst};

    fn check(diagonals: &[usize], level: usize) -> Plan {
        let parameters = shallow();
        let x = random(&parameters, 1);
        let weights: BTreeMap<_, _> =
            diagonals.iter().map(|&d| (d, random(&parameters, d as u64))).collect();
        let map = LinearMap::encode(&parameters, &weights, level).unwrap();
        let kinds = map.plan().keys().map(|kind| (kind, level));
        let keys = secret().evaluation_keys(kinds, &mut rng(3)).unwrap();
        let a = encrypted(&x, 4);
        let y = map.apply(&a, &keys).unwrap();
        assert_eq!((y.level(), y.scale()), (level - 1, a.scale()));
        let n = x.len();
        let expected: Vec<_> = (0..n)
            .map(|j| weights.iter().map(|(&d, w)| x[(j + d) % n] * w[j]).sum::<Complex64>())
            .collect();
        // Each term is off by what its rotation and the rounding of its weight add.
        let count = diagonals.len() as f64;
        let noise = count.sqrt() * (parameters.fresh_noise() + 2.0 * parameters.switching_noise());
        let bound = parameters.slot_bound(noise, a.scale());
        let off = worst(&open(&y), &expected);
        assert!(off < bound && off > bound / 100.0, "{diagonals:?}: {off:e} {bound:e}");
        map.plan().clone()
    }

    #[test]
    fn maps_are_their_diagonals() {
        check(&[0], 2);
        check(&[5], 1);
        check(&[0, 1, 4095], 4);
        check(&[3, 700, 701, 2100], 3);
        let plan = check(&(0..16).collect::<Vec<_>>(), 2);
        assert!(plan.babies.len() * plan.giants.len() == 16 && plan.giants.len() > 1, "{plan:?}");
        // Multiples of 64: babies are, too.
        let plan = check(&(0..16).map(|d| 64 * d).collect::<Vec<_>>(), 2);
        assert!(plan.babies.iter().all(|b| b % 64 == 0) && plan.babies.len() > 1, "{plan:?}");
    }

    /// By trying all: no other step is cheaper, and every diagonal is the sum of a giant and a baby.
    #[test]
    fn plans_are_the_cheapest_by_their_own_count() {
        let parameters = shallow();
        let slots = parameters.slots();
        for diagonals in [
            (0..64).collect::<BTreeSet<usize>>(),
            (0..25).map(|i| 28 * (i / 5) + i % 5).collect(),
            (0..32).map(|i| (slots + i - 16) % slots).collect(),
            (0..40).map(|i| i * i * 37 % slots).collect(),
        ] {
            let plan = Plan::new(&parameters, 3, diagonals.iter().copied()).unwrap();
            for step in 1..=256 {
                let other = Plan::of_step(&parameters, 3, &diagonals, step);
                assert!(plan.cost.in_transforms() <= other.cost.in_transforms(), "{plan:?} {step}");
            }
            for &d in &diagonals {
                let (giant, baby) = split(d, plan.step, slots);
                assert_eq!((giant + baby) % slots, d);
                assert!(plan.giants.contains(&giant) && plan.babies.contains(&baby));
            }
        }
        let plan = Plan::new(&parameters, 4, 0..64).unwrap();
        assert!((4..=32).contains(&plan.babies.len()), "{plan:?}");
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let parameters = shallow();
        assert!(matches!(Plan::new(&parameters, 2, []), Err(Error::Empty(_))));
        assert_eq!(Plan::new(&parameters, 0, [1]).unwrap_err(), Error::NoLevelLeft);
        assert!(matches!(Plan::new(&parameters, 5, [1]), Err(Error::NoSuchLevel { .. })));
        let long = BTreeMap::from([(0, vec![0.0; parameters.slots() + 1])]);
        assert!(matches!(
            LinearMap::encode(&parameters, &long, 2),
            Err(Error::TooManyValues { .. })
        ));
        let map = LinearMap::encode(&parameters, &BTreeMap::from([(1, vec![1.0])]), 3).unwrap();
        let low = encrypted(&[Complex64::ONE], 2);
        let none = EvaluationKeys::new(&parameters);
        assert!(matches!(map.apply(&low, &none), Err(Error::NoSuchLevel { .. })));
        let missing = map.apply(&encrypted(&[Complex64::ONE], 4), &none).unwrap_err();
        assert!(matches!(missing, Error::MissingKey { level: 3, .. }));
    }
}
