//! Rotations and conjugation, one by one, hoisted, and summed before the division.
//!
//! ```text
//! rotate(x, r)[j]  =  x[j + r mod N/2]            conjugate(x)[j]  =  conj(x[j])
//! ```
//! Slots move by the maps X → X^(5^r) and X → X^-1, and the secret with them; [`switching`](crate::switching) brings it back.
//!
//! # Cost
//! At level l with k special primes and β digits, in transforms of one row:
//!
//! | | decompose c₁ | divide by P | N13_LEVELS4, top |
//! |---|---|---|---|
//! | [`rotate`](Ciphertext::rotate) | β(l + 1 + k) | 2(k + l + 1) | 30 + 12 = 42 |
//! | [`hoist`](Ciphertext::hoist), once | β(l + 1 + k) | | 30 |
//! | [`Hoisted::rotate`] | | 2(k + l + 1) | 12 |
//! | [`Hoisted::rotate_extended`] | | later, once for a sum | 0 |
//!
//! An [`Extended`] ciphertext is modulo P·Q_l and holds P·Δ·x: sums of products of such with plaintexts are divided by P once,
//! together with the prime of the rescaling: *double hoisting* (Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux, *Efficient
//! bootstrapping for approximate homomorphic encryption with non-sparse keys*, EUROCRYPT 2021, §4).
//!
//! # Precision
//! A rotation adds [`switching_noise`](crate::Parameters::switching_noise); an extended one only what comes before its division,
//! and the sum one division's rounding in all.

use std::fmt;
use std::sync::OnceLock;

use gelu_ring::{Digits, Evaluations, Packed, Poly};
use num_complex::Complex64;

use crate::ciphertext::{Ciphertext, check_scale, check_scales};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::plaintext::coefficients;
use crate::scale::Scale;
use crate::switching::{EvaluationKeys, KeyKind, SwitchingKey};

impl Ciphertext {
    /// Rotates to the left by `steps` slots, modulo N/2.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::KeyLevel`], [`Error::OtherParameters`].
    pub fn rotate(&self, steps: usize, keys: &EvaluationKeys) -> Result<Self> {
        match steps % self.parameters.slots() {
            0 => Ok(self.clone()),
            steps => self.map(KeyKind::Rotation(steps), keys),
        }
    }

    /// The complex conjugates.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub fn conjugate(&self, keys: &EvaluationKeys) -> Result<Self> {
        self.map(KeyKind::Conjugation, keys)
    }

    /// The real parts. The sum with the conjugates is twice that, so the scale is twice as large and nothing is divided.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); [`Error::ScaleOutOfRange`].
    pub fn real_part(&self, keys: &EvaluationKeys) -> Result<Self> {
        let scale = self.scale.times(&Scale::power_of_two(1));
        check_scale(&self.parameters, &scale, self.level)?;
        let sum = self.add(&self.conjugate(keys)?)?;
        Ok(Self { scale, ..sum })
    }

    fn map(&self, kind: KeyKind, keys: &EvaluationKeys) -> Result<Self> {
        let key = keys.get(kind, &self.parameters, self.level)?;
        let level = self.parameters.level(self.level);
        let [k0, k1] = level.decomposition.inner_products(&self.c1, &key.pairs);
        Ok(self.mapped(kind, k0, k1))
    }

    /// φ(c₀ + round(k₀/P)), φ(round(k₁/P)).
    fn mapped(&self, kind: KeyKind, k0: Poly<Evaluations>, k1: Poly<Evaluations>) -> Self {
        let division = &self.parameters.level(self.level).by_special;
        let map = self.parameters.automorphism(power(kind, &self.parameters));
        let [c0, c1] = division.quotients([(k0, Some(&self.c0)), (k1, None)]);
        self.with(map.apply_to(c0), map.apply_to(c1), self.scale.clone(), self.level)
    }

    /// Σ rotate(x, i·stride) for i < count: in log₂ count rotations for a power of two, and as many more as the number has
    /// ones below its highest.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate), for the keys of [`inner_sum_steps`]; [`Error::Empty`] for a count of 0.
    pub fn inner_sum(&self, count: usize, stride: usize, keys: &EvaluationKeys) -> Result<Self> {
        let slots = self.parameters.slots();
        // `sum` adds up the first `done` rotations; `power` the first 2^i.
        let (mut power, mut width) = (self.clone(), 1);
        let (mut sum, mut done): (Option<Self>, usize) = (None, 0);
        loop {
            if count & width != 0 {
                let next = power.rotate(done * (stride % slots), keys)?;
                sum = Some(match sum {
                    Some(sum) => sum.add(&next)?,
                    None => next,
                });
                done += width;
            }
            if done == count {
                return sum.ok_or(Error::Empty("a sum of no slots"));
            }
            power = power.add(&power.rotate(width * (stride % slots), keys)?)?;
            width *= 2;
        }
    }

    /// Decomposes c₁ once, for many rotations.
    #[must_use]
    pub fn hoist(&self) -> Hoisted<'_> {
        let digits = self.parameters.level(self.level).decomposition.digits(&self.c1);
        Hoisted { ciphertext: self, digits, raised: OnceLock::new() }
    }

    /// P·x, over the special primes too.
    #[must_use]
    pub fn extend(&self) -> Extended {
        let (c0, c1) = (self.raised(&self.c0), self.raised(&self.c1));
        let (parameters, scale) = (self.parameters.clone(), self.scale.clone());
        Extended { parameters, c0, c1, scale, level: self.level }
    }

    /// P·c.
    fn raised(&self, c: &Poly<Evaluations>) -> Poly<Evaluations> {
        let basis = &self.parameters.level(self.level).extended;
        let special = self.parameters.special();
        let mut raised = Poly::from_residues(basis, |i, row| {
            if let Some(i) = i.checked_sub(special) {
                row.copy_from_slice(c.residues(i));
            }
        });
        // P modulo each prime.
        let factors = basis.moduli().map(|q| q.product(basis.moduli().take(special)));
        raised.scale(&factors.collect::<Vec<_>>());
        raised
    }
}

/// The rotations that [`Ciphertext::inner_sum`] of so many slots takes.
#[must_use]
pub fn inner_sum_steps(count: usize, stride: usize, slots: usize) -> Vec<usize> {
    let (mut width, mut done, mut steps) = (1, 0, Vec::new());
    while done < count {
        if count & width != 0 {
            steps.push(done);
            done += width;
        }
        if done < count {
            steps.push(width);
        }
        width *= 2;
    }
    let mut steps: Vec<_> =
        steps.into_iter().map(|step| step * (stride % slots) % slots).filter(|&s| s != 0).collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// The power of X of a rotation or conjugation.
fn power(kind: KeyKind, parameters: &Parameters) -> usize {
    kind.power(parameters.degree()).expect("no relinearisation is asked for")
}

/// A ciphertext whose c₁ is decomposed.
pub struct Hoisted<'a> {
    ciphertext: &'a Ciphertext,
    digits: Digits,
    /// P·c₀.
    raised: OnceLock<Poly<Evaluations>>,
}

impl Hoisted<'_> {
    /// As [`Ciphertext::rotate`].
    ///
    /// # Errors
    /// The same.
    pub fn rotate(&self, steps: usize, keys: &EvaluationKeys) -> Result<Ciphertext> {
        let steps = steps % self.ciphertext.parameters.slots();
        if steps == 0 {
            return Ok(self.ciphertext.clone());
        }
        let key = self.key(steps, keys)?;
        let [k0, k1] = self.digits.inner_products(&key.pairs);
        Ok(self.ciphertext.mapped(key.kind(), k0, k1))
    }

    /// P times the rotation, over the special primes too: no division.
    ///
    /// # Errors
    /// As [`Ciphertext::rotate`].
    pub fn rotate_extended(&self, steps: usize, keys: &EvaluationKeys) -> Result<Extended> {
        let Ciphertext { parameters, scale, level, .. } = self.ciphertext;
        let steps = steps % parameters.slots();
        if steps == 0 {
            return Ok(self.ciphertext.extend());
        }
        let key = self.key(steps, keys)?;
        let [mut c0, c1] = self.digits.inner_products(&key.pairs);
        c0 += self.raised.get_or_init(|| self.ciphertext.raised(&self.ciphertext.c0));
        let map = parameters.automorphism(power(key.kind(), parameters));
        let (c0, c1) = (map.apply_to(c0), map.apply_to(c1));
        Ok(Extended { parameters: parameters.clone(), c0, c1, scale: scale.clone(), level: *level })
    }

    fn key<'k>(&self, steps: usize, keys: &'k EvaluationKeys) -> Result<&'k SwitchingKey> {
        keys.get(KeyKind::Rotation(steps), &self.ciphertext.parameters, self.ciphertext.level)
    }
}

/// P times numbers at a scale, modulo P·Q_l.
#[derive(Clone)]
pub struct Extended {
    parameters: Parameters,
    c0: Poly<Evaluations>,
    c1: Poly<Evaluations>,
    scale: Scale,
    level: usize,
}

/// Numbers at a scale, modulo P·Q_l, several times: factors for as many [`Extended`] ciphertexts.
///
/// # Security
/// It may hold a server's weights: it is never printed.
#[derive(Clone)]
pub struct ExtendedPlaintexts {
    parameters: Parameters,
    polys: Packed,
    scale: Scale,
    level: usize,
}

impl ExtendedPlaintexts {
    /// Of each list the real or complex numbers in the first slots, 0 in the others.
    ///
    /// # Errors
    /// As [`Plaintext::encode`](crate::Plaintext::encode).
    pub fn encode<T: Copy + Into<Complex64>>(
        parameters: &Parameters,
        lists: &[impl AsRef<[T]>],
        scale: &Scale,
        level: usize,
    ) -> Result<Self> {
        parameters.check_level(level)?;
        let rounded =
            lists.iter().map(|list| coefficients(parameters, list.as_ref(), scale, level));
        let rounded = rounded.collect::<Result<Vec<_>>>()?;
        let basis = &parameters.level(level).extended;
        let polys =
            Packed::new(basis, rounded.len(), |i| rounded[i].over(basis).into_evaluations());
        Ok(Self { parameters: parameters.clone(), polys, scale: scale.clone(), level })
    }
}

impl Extended {
    /// For each list, Σ x·p over all its x and as many p. What several lists share is read from memory once.
    ///
    /// # Errors
    /// [`Error::Empty`] when a list is, or has more or fewer x than p; [`Error::ScalesDiffer`], [`Error::OtherParameters`],
    /// [`Error::NoSuchLevel`] when not all are alike, [`Error::ScaleOutOfRange`] when the product does not fit.
    pub fn sums_of_products(lists: &[(Vec<&Self>, &ExtendedPlaintexts)]) -> Result<Vec<Self>> {
        let empty = || Error::Empty("a sum of no products, or of factors without partners");
        let (first, plain) = lists.first().ok_or_else(empty)?;
        let first = *first.first().ok_or_else(empty)?;
        for (list, p) in lists {
            if list.is_empty() || list.len() != p.polys.len() {
                return Err(empty());
            }
            first.parameters.check_same(&p.parameters)?;
            check_scales(&plain.scale, &p.scale)?;
            for x in list {
                first.parameters.check_same(&x.parameters)?;
                check_scales(&first.scale, &x.scale)?;
            }
            let mut levels = list.iter().map(|x| x.level).chain([p.level]);
            if let Some(level) = levels.find(|&level| level != first.level) {
                return Err(Error::NoSuchLevel { level, most: first.level });
            }
        }
        let scale = first.scale.times(&plain.scale);
        check_scale(&first.parameters, &scale, first.level)?;
        let lists = lists
            .iter()
            .map(|(list, p)| (&p.polys, list.iter().map(|x| [&x.c0, &x.c1]).collect::<Vec<_>>()));
        let lists: Vec<_> = lists.collect();
        let sums = Packed::sums_of_products(first.c0.basis(), &lists).into_iter();
        let (parameters, level) = (&first.parameters, first.level);
        Ok(sums
            .map(|[c0, c1]| {
                let (parameters, scale) = (parameters.clone(), scale.clone());
                Self { parameters, c0, c1, scale, level }
            })
            .collect())
    }

    /// x + y.
    ///
    /// # Errors
    /// [`Error::ScalesDiffer`], [`Error::OtherParameters`], [`Error::NoSuchLevel`] for another level.
    pub fn plus(mut self, other: &Self) -> Result<Self> {
        self.parameters.check_same(&other.parameters)?;
        check_scales(&self.scale, &other.scale)?;
        if self.level != other.level {
            return Err(Error::NoSuchLevel { level: other.level, most: self.level });
        }
        self.c0 += &other.c0;
        self.c1 += &other.c1;
        Ok(self)
    }

    /// Rotates, still extended: c₁ alone is divided by P, decomposed and switched.
    ///
    /// # Errors
    /// As [`Ciphertext::rotate`].
    pub fn rotate(self, steps: usize, keys: &EvaluationKeys) -> Result<Self> {
        let kind = match steps % self.parameters.slots() {
            0 => return Ok(self),
            steps => KeyKind::Rotation(steps),
        };
        let key = keys.get(kind, &self.parameters, self.level)?;
        let level = self.parameters.level(self.level);
        let c1 = level.by_special.divide(self.c1);
        let [mut k0, k1] = level.decomposition.inner_products(&c1, &key.pairs);
        k0 += &self.c0;
        let map = self.parameters.automorphism(power(kind, &self.parameters));
        Ok(Self { c0: map.apply_to(k0), c1: map.apply_to(k1), ..self })
    }

    /// The ciphertext one level below: divided by P·q_l at once.
    ///
    /// # Errors
    /// [`Error::NoLevelLeft`].
    pub fn rescale(self) -> Result<Ciphertext> {
        let level = self.parameters.level(self.level);
        let division = level.by_special_and_last.as_ref().ok_or(Error::NoLevelLeft)?;
        let [c0, c1] = division.quotients([(self.c0, None), (self.c1, None)]);
        let scale = self.scale.over(&self.parameters.prime_scale(self.level));
        Ok(Ciphertext { parameters: self.parameters.clone(), c0, c1, scale, level: self.level - 1 })
    }

    /// The ciphertext of the same level: divided by P.
    #[must_use]
    pub fn reduce(self) -> Ciphertext {
        let division = &self.parameters.level(self.level).by_special;
        let [c0, c1] = division.quotients([(self.c0, None), (self.c1, None)]);
        let Self { parameters, scale, level, .. } = self;
        Ciphertext { parameters, c0, c1, scale, level }
    }
}

impl fmt::Debug for Hoisted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hoisted({:?})", self.ciphertext)
    }
}

impl fmt::Debug for Extended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extended(level {}, scale {:?})", self.level, self.scale)
    }
}

impl fmt::Debug for ExtendedPlaintexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtendedPlaintexts(level {}, scale {:?})", self.level, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{STEPS, encrypted, keys, open, random, shallow, worst};

    fn rotated(x: &[Complex64], steps: usize) -> Vec<Complex64> {
        let mut x = x.to_vec();
        x.rotate_left(steps);
        x
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn rotations_rotate_in_all_three_ways(
            level in 1..=4usize, steps in proptest::sample::select(&STEPS[..]), seed: u64,
        ) {
            let parameters = shallow();
            let x = random(&parameters, seed);
            let a = encrypted(&x, level);
            let expected = rotated(&x, steps);
            let noise = parameters.fresh_noise() + parameters.switching_noise();
            let bound = parameters.slot_bound(noise, &parameters.scale());
            let plain = a.rotate(steps, keys()).unwrap();
            let off = worst(&open(&plain), &expected);
            prop_assert!(off < bound && off > bound / 20.0, "{off:e} {bound:e}");
            prop_assert_eq!((plain.level(), plain.scale()), (level, a.scale()));
            let hoisted = a.hoist();
            // The same numbers: only memory is used otherwise.
            let same = hoisted.rotate(steps, keys()).unwrap();
            prop_assert!(same.c0 == plain.c0 && same.c1 == plain.c1);
            let extended = hoisted.rotate_extended(steps, keys()).unwrap().reduce();
            prop_assert!(extended.c0 == plain.c0 && extended.c1 == plain.c1);
        }

        #[test]
        fn conjugates_are_conjugates(level in 1..=4usize, seed: u64) {
            let parameters = shallow();
            let x = random(&parameters, seed);
            let conjugated: Vec<_> = x.iter().map(Complex64::conj).collect();
            let noise = parameters.fresh_noise() + parameters.switching_noise();
            let bound = parameters.slot_bound(noise, &parameters.scale());
            let a = encrypted(&x, level);
            prop_assert!(worst(&open(&a.conjugate(keys()).unwrap()), &conjugated) < bound);
            let real: Vec<_> = x.iter().map(|x| Complex64::from(x.re)).collect();
            let part = a.real_part(keys()).unwrap();
            prop_assert_eq!(part.scale().log2(), a.scale().log2() + 1.0);
            prop_assert!(worst(&open(&part), &real) < bound);
        }
    }

    #[test]
    fn rotations_by_nothing_need_no_key() {
        let parameters = shallow();
        let (x, none) = (random(&parameters, 1), EvaluationKeys::new(&parameters));
        let a = encrypted(&x, 2);
        for steps in [0, parameters.slots()] {
            assert!(a.rotate(steps, &none).unwrap().c1 == a.c1);
            assert!(a.hoist().rotate(steps, &none).unwrap().c1 == a.c1);
            assert!(a.hoist().rotate_extended(steps, &none).unwrap().reduce().c1 == a.c1);
        }
        let kind = KeyKind::Rotation(3);
        assert_eq!(a.rotate(3, &none).unwrap_err(), Error::MissingKey { kind, level: 2 });
    }

    /// Σ rotate(x, r)·p_r, divided once, and a second rotation of the sum.
    #[test]
    fn sums_of_rotated_products_are_divided_once() {
        let parameters = shallow();
        let (x, level) = (random(&parameters, 1), 3);
        let a = encrypted(&x, level);
        let hoisted = a.hoist();
        let rotated_x: Vec<_> =
            [0, 1, 2].map(|r| hoisted.rotate_extended(r, keys()).unwrap()).into();
        let weights: Vec<Vec<f64>> =
            (0..3).map(|i| random(&parameters, 7 + i).iter().map(|x| x.re).collect()).collect();
        let scale = parameters.prime_scale(level);
        let plains = ExtendedPlaintexts::encode(&parameters, &weights, &scale, level).unwrap();
        let list = (rotated_x.iter().collect(), &plains);
        let sum = Extended::sums_of_products(&[list]).unwrap().remove(0);
        for list in [vec![], vec![&rotated_x[0]]] {
            let sums = Extended::sums_of_products(&[(list, &plains)]);
            assert!(matches!(sums, Err(Error::Empty(_))));
        }
        let mut expected = vec![Complex64::ZERO; parameters.slots()];
        for (steps, w) in weights.iter().enumerate() {
            let products = rotated(&x, steps).into_iter().zip(w).map(|(x, w)| x * w);
            expected.iter_mut().zip(products).for_each(|(sum, x)| *sum += x);
        }
        let noise = 3.0 * (parameters.fresh_noise() + 1.0) + parameters.switching_noise();
        let bound = parameters.slot_bound(noise, &parameters.scale());
        let rescaled = sum.clone().rescale().unwrap();
        assert_eq!((rescaled.level(), rescaled.scale()), (level - 1, &parameters.scale()));
        let off = worst(&open(&rescaled), &expected);
        assert!(off < bound, "{off:e} {bound:e}");
        let doubled = sum.clone().rotate(4, keys()).unwrap().plus(&sum).unwrap().rescale().unwrap();
        let expected: Vec<_> =
            rotated(&expected, 4).iter().zip(&expected).map(|(a, b)| a + b).collect();
        let off = worst(&open(&doubled), &expected);
        assert!(off < 3.0 * bound, "{off:e} {bound:e}");
    }

    #[test]
    fn inner_sums_add_up_neighbours() {
        let parameters = shallow();
        let x = random(&parameters, 4);
        for (count, stride) in [(1, 1), (2, 1), (8, 1), (3, 1), (7, 1), (4, 2)] {
            let steps = inner_sum_steps(count, stride, parameters.slots());
            assert!(steps.iter().all(|s| STEPS.contains(s)), "{steps:?}");
            let sum = encrypted(&x, 2).inner_sum(count, stride, keys()).unwrap();
            let expected = (0..x.len())
                .map(|j| (0..count).map(|i| x[(j + i * stride) % x.len()]).sum::<Complex64>());
            let bound = parameters
                .slot_bound(2.0 * count as f64 * parameters.switching_noise(), &parameters.scale());
            assert!(worst(&open(&sum), &expected.collect::<Vec<_>>()) < bound, "{count}, {stride}");
        }
        assert!(encrypted(&x, 1).inner_sum(0, 1, keys()).is_err());
    }
}
