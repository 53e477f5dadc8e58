//! The server's arithmetic: sums with known weights, of ciphertexts or of their squares.
//!
//! ```text
//! Σ w·⟦x⟧ + b                         per residue: multiply by w, add; one reduction at the end
//! ⟦x⟧² = (c₀², 2·c₀·c₁, c₁²)          over the integers, in the extended basis
//! Σ w·⟦x⟧²  → round(t/q · ·) mod q    one rescaling for a whole sum
//! (d₀, d₁, d₂) → (d₀, d₁) + Σ (d₂ mod qᵢ)·keyᵢ
//! ```
//!
//! A known weight is a constant polynomial, so its product with a transformed ciphertext multiplies
//! each residue by one word: no transform, no encoding.
//!
//! Everything here is public to the server but the weights, which are its own; nothing is secret from
//! it, so times may depend on all of it.

use fhe_math::rq::{Poly, Representation};
use ndarray::Axis;
use rayon::prelude::*;

use super::layers::Layer;
use super::noise::Stage;
use super::parameters::{Level, Parameters};
use super::sampling;
use super::scheme::{Ciphertext, RelinearisationKey};

/// The parts of one square in the extended basis: c₀², c₀·c₁, c₁².
struct Square([Poly; 3]);

impl Square {
    fn of(level: &Level, x: &Ciphertext) -> Self {
        let extend = |c: &Poly| c.scale(&level.extend).expect("the level's context");
        let (c0, c1) = (extend(&x.c0), extend(&x.c1));
        let c01 = &c0 * &c1;
        let square = |mut c: Poly| {
            let same = c.clone();
            c *= &same;
            c
        };
        Self([square(c0), c01, square(c1)])
    }
}

/// The relinearisation key at one level, ready to multiply with.
pub(super) struct LevelKey(Vec<(Poly, Poly)>);

impl LevelKey {
    pub(super) fn new(parameters: &Parameters, key: &RelinearisationKey, limbs: usize) -> Self {
        let (top, level) = (parameters.level(parameters.limbs()), parameters.level(limbs));
        let cut = |poly: &Poly| {
            let rows = poly.coefficients();
            let residues = rows.outer_iter().take(limbs).flatten().copied().collect();
            let mut poly = sampling::public(&level.context, residues);
            poly.change_representation(Representation::NttShoup);
            poly
        };
        let part = |i: usize| {
            let a = sampling::uniform(&top.context, parameters.slots(), key.seed, i as u64);
            (cut(&key.parts[i]), cut(&a))
        };
        Self((0..limbs).map(part).collect())
    }

    /// (d₀, d₁) + Σ (d₂ mod qᵢ)·keyᵢ; `d2` comes as coefficients.
    fn relinearise(&self, level: &Level, mut d0: Poly, mut d1: Poly, d2: &Poly) -> Ciphertext {
        use fhe_math::rq::traits::TryConvertFrom;
        for (digits, (b, a)) in d2.coefficients().outer_iter().zip(&self.0) {
            let digits = digits.to_slice().expect("standard layout");
            let basis = Representation::PowerBasis;
            // With one limb, "all residues" and "coefficients to reduce" are the same.
            let mut u = Poly::try_convert_from(digits, &level.context, true, basis).expect("fits");
            u.change_representation(Representation::Ntt);
            d0 += &(&u * b);
            u *= a;
            d1 += &u;
        }
        Ciphertext { c0: d0, c1: d1 }
    }
}

/// What the server evaluates with: one plaintext modulus, one key.
pub(super) struct Evaluator<'a> {
    pub(super) parameters: &'a Parameters,
    /// Which of the plaintext moduli.
    pub(super) index: usize,
    /// For each number of limbs, from 1; `None` where no square needs it.
    pub(super) keys: &'a [Option<LevelKey>],
}

impl Evaluator<'_> {
    /// One layer, in parallel over its outputs.
    pub(super) fn layer(&self, layer: &Layer, x: &[Ciphertext], stage: &Stage) -> Vec<Ciphertext> {
        let level = self.parameters.level(x[0].limbs());
        let finish = |(mut y, &bias): (Ciphertext, &i128)| {
            y.add_constant(self.parameters, self.index, bias);
            y.drop_to(self.parameters, stage.limbs);
            y
        };
        let rows = layer.rows.par_iter();
        match layer.squares {
            false => {
                let sum = |row: &Vec<_>| {
                    let of = |part: fn(&Ciphertext) -> &Poly| weighted_sum(row, 1, |i| part(&x[i]));
                    Ciphertext { c0: of(|x| &x.c0), c1: of(|x| &x.c1) }
                };
                rows.map(sum).zip(&layer.biases).map(finish).collect()
            }
            true if layer.is_partition() => {
                let sum = |row: &Vec<(usize, i64)>| {
                    let local: Vec<_> = row.iter().map(|&(i, _)| Square::of(level, &x[i])).collect();
                    let renamed = row.iter().enumerate().map(|(at, &(_, w))| (at, w)).collect();
                    self.reduce(level, &renamed, &local)
                };
                rows.map(sum).zip(&layer.biases).map(finish).collect()
            }
            true => {
                let squares: Vec<_> = x.par_iter().map(|x| Square::of(level, x)).collect();
                let sum = |row| self.reduce(level, row, &squares);
                rows.map(sum).zip(&layer.biases).map(finish).collect()
            }
        }
    }

    /// ⟦Σ w·x²⟧ from the squares.
    fn reduce(&self, level: &Level, row: &Vec<(usize, i64)>, squares: &[Square]) -> Ciphertext {
        let scaler = &level.reduce[self.index];
        let part = |n: usize, times| weighted_sum(row, times, |i| &squares[i].0[n]);
        let rescale = |d: Poly| d.scale(scaler).expect("the extended context");
        // The middle part of a square is 2·c₀·c₁.
        let (d0, d1, mut d2) = (rescale(part(0, 1)), rescale(part(1, 2)), part(2, 1));
        d2.change_representation(Representation::PowerBasis);
        let limbs = level.context.moduli().len();
        let key = self.keys[limbs - 1].as_ref().expect("planned");
        key.relinearise(level, d0, d1, &rescale(d2))
    }
}

/// Σ times·w·x, residue by residue.
///
/// Residues are below 2⁶² and Σ|w| below 2³² · 2³¹, so the sums fit 127 bits; a multiple of the
/// modulus makes them positive before the one reduction.
fn weighted_sum<'a>(row: &[(usize, i64)], times: i64, x: impl Fn(usize) -> &'a Poly) -> Poly {
    let context = x(row[0].0).ctx().clone();
    let total: u128 = row.iter().map(|&(_, w)| u128::from((times * w).unsigned_abs())).sum();
    let degree = x(row[0].0).coefficients().ncols();
    let mut residues = Vec::with_capacity(context.moduli().len() * degree);
    let mut wide = Vec::new();
    for (limb, q) in context.moduli_operators().iter().enumerate() {
        let terms = row.iter().map(|&(i, w)| {
            let row = x(i).coefficients().index_axis_move(Axis(0), limb);
            (row.to_slice().expect("standard layout"), times * w)
        });
        let offset = total * u128::from(**q);
        match i64::try_from(offset * 2) {
            // All partial sums are below Σ|w|·q < 2⁶²: one word is enough, and vectorises.
            Ok(twice) => {
                let start = residues.len();
                residues.resize(start + degree, u64::try_from(twice / 2).expect("positive"));
                let sums = &mut residues[start..];
                for (values, w) in terms {
                    let w = w.cast_unsigned();
                    for (sum, &v) in sums.iter_mut().zip(values) {
                        *sum = sum.wrapping_add(v.wrapping_mul(w));
                    }
                }
                q.reduce_vec(sums);
            }
            Err(_) => {
                wide.clear();
                wide.resize(degree, offset.cast_signed());
                for (values, w) in terms {
                    for (sum, &v) in wide.iter_mut().zip(values) {
                        *sum += i128::from(v) * i128::from(w);
                    }
                }
                residues.extend(wide.iter().map(|sum| q.reduce_u128(sum.cast_unsigned())));
            }
        }
    }
    sampling::public(&context, residues)
}
