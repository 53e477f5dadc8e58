//! The server's arithmetic: sums with known weights, of ciphertexts or of their squares.
//!
//! ```text
//! Σ w·⟦x⟧ + b                         per residue: multiply by w, add; one reduction at the end
//! ⟦x⟧·⟦y⟧ → c(x)·round(p/q·c(y))      over the integers modulo q·p: three polynomials
//! Σ w·⟦x⟧²  → round(t/p · ·) mod q    one rescaling for a whole sum
//! (d₀, d₁, d₂) → (d₀, d₁) + Σ (d₂ mod qᵢ)·keyᵢ
//! ```
//!
//! The product is t/q·c(x)·c(y). One factor is scaled from q to a p of the same size first, so what is left to do is
//! t/p: to divide by p, exactly and modulo q, by residues modulo q·p alone. The integer itself may be larger than q·p,
//! so sums have no bound. (Kim, Polyakov and Zucca, *Revisiting homomorphic encryption schemes for finite fields*,
//! ASIACRYPT 2021, section 3; with exact conversions.)
//!
//! A known weight is a constant polynomial, so its product with a transformed ciphertext multiplies
//! each residue by one word: no transform, no encoding.
//!
//! Everything here is public to the server but the weights, which are its own; nothing is secret from
//! it, so times may depend on all of it.

use gelu_ring::{Basis, Coefficients, Evaluations, Matrix, Poly, sample};
use rayon::prelude::*;

use super::layers::Layer;
use super::noise::Stage;
use super::parameters::{Level, Parameters};
use super::scheme::{Ciphertext, RelinearisationKey};

/// The three parts of a product, before rescaling: modulo q and modulo p.
struct Tensor {
    q: [Poly<Evaluations>; 3],
    p: [Poly<Evaluations>; 3],
}

impl Tensor {
    /// Of ⟦x⟧·⟦y⟧, where the coefficients of both come as well.
    fn new(level: &Level, x: &Ciphertext, by_coefficients: [&[Poly<Coefficients>; 2]; 2]) -> Self {
        let [x_coefficients, y_coefficients] = by_coefficients;
        let x_p = x_coefficients.each_ref().map(|c| level.extend.exact(c).into_evaluations());
        let y = y_coefficients.each_ref().map(|c| level.extend.switch(c));
        let y_q = y.each_ref().map(|c| level.back.exact(c).into_evaluations());
        let y_p = y.map(Poly::into_evaluations);
        Self { q: products([&x.c0, &x.c1], &y_q), p: products(x_p.each_ref(), &y_p) }
    }

    fn square(level: &Level, x: &Ciphertext) -> Self {
        let coefficients = coefficients(x);
        Self::new(level, x, [&coefficients, &coefficients])
    }
}

/// x₀·y₀, x₀·y₁ + x₁·y₀, x₁·y₁.
fn products(
    [x0, x1]: [&Poly<Evaluations>; 2],
    [y0, y1]: &[Poly<Evaluations>; 2],
) -> [Poly<Evaluations>; 3] {
    let mut middle = Poly::zero(x0.basis());
    middle.multiply_accumulate(&[(x0, y1), (x1, y0)]);
    [x0 * y0, middle, x1 * y1]
}

fn coefficients(x: &Ciphertext) -> [Poly<Coefficients>; 2] {
    [&x.c0, &x.c1].map(|c| c.clone().into_coefficients())
}

/// The relinearisation key at one level, ready to multiply with: all b, and all a.
pub(super) struct LevelKey([Vec<Poly<Evaluations>>; 2]);

impl LevelKey {
    pub(super) fn new(parameters: &Parameters, key: &RelinearisationKey, limbs: usize) -> Self {
        let basis = &parameters.level(limbs).basis;
        let cut = |i: usize| key.parts[i].part(0..limbs);
        let uniform = |i| sample::uniform(basis, &key.seed, i as u64);
        Self([(0..limbs).map(cut).collect(), (0..limbs).map(uniform).collect()])
    }

    /// (d₀, d₁) + Σ (d₂ mod qᵢ)·keyᵢ.
    fn relinearise(&self, [mut d0, mut d1, d2]: [Poly<Evaluations>; 3]) -> Ciphertext {
        let (basis, d2) = (d2.basis().clone(), d2.into_coefficients());
        let digit = |i| Poly::from_unsigned(&basis, d2.residues(i)).into_evaluations();
        let digits: Vec<_> = (0..basis.moduli().len()).map(digit).collect();
        for (d, key) in [&mut d0, &mut d1].into_iter().zip(&self.0) {
            d.multiply_accumulate(&digits.iter().zip(key).collect::<Vec<_>>());
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
        let square = |x: &Ciphertext| Tensor::square(level, x);
        // Squares that only one sum needs are made where it is.
        let shared: Vec<_> = match layer.squares && !layer.is_partition() {
            true => x.par_iter().map(square).collect(),
            false => vec![],
        };
        let group = |outputs: &Vec<usize>| {
            let rows: Vec<_> = outputs.iter().map(|&o| layer.rows[o].as_slice()).collect();
            let inputs = || rows[0].iter().map(|&(i, _)| i);
            let sums = if !layer.squares {
                let weights = matrix(&level.basis, &rows);
                let c0 = weights.product(inputs().map(|i| &x[i].c0));
                let c1 = weights.product(inputs().map(|i| &x[i].c1));
                c0.into_iter().zip(c1).map(|(c0, c1)| Ciphertext { c0, c1 }).collect()
            } else if shared.is_empty() {
                let own: Vec<_> = inputs().map(|i| square(&x[i])).collect();
                self.sums_of_squares(level, &rows, &own.iter().collect::<Vec<_>>())
            } else {
                let squares: Vec<_> = inputs().map(|i| &shared[i]).collect();
                self.sums_of_squares(level, &rows, &squares)
            };
            let finish = |(mut y, &o): (Ciphertext, &usize)| {
                y.add_constant(self.parameters, self.index, layer.biases[o]);
                y.drop_to(stage.limbs);
                (o, y)
            };
            sums.into_iter().zip(outputs).map(finish).collect::<Vec<_>>()
        };
        let mut sums: Vec<_> = layer.groups().par_iter().flat_map_iter(group).collect();
        sums.sort_by_key(|&(o, _)| o);
        sums.into_iter().map(|(_, y)| y).collect()
    }

    /// ⟦Σ w·x²⟧ for each row, from the squares.
    fn sums_of_squares(
        &self,
        level: &Level,
        rows: &[&[(usize, i64)]],
        squares: &[&Tensor],
    ) -> Vec<Ciphertext> {
        let (q, p) = (matrix(&level.basis, rows), matrix(&level.extension, rows));
        let part = |n: usize| {
            let q = q.product(squares.iter().map(|s| &s.q[n]));
            q.into_iter().zip(p.product(squares.iter().map(|s| &s.p[n])))
        };
        let parts = part(0).zip(part(1)).zip(part(2));
        let tensor = |(((q0, p0), (q1, p1)), (q2, p2))| Tensor { q: [q0, q1, q2], p: [p0, p1, p2] };
        parts.map(|parts| self.finish(level, tensor(parts))).collect()
    }

    /// ⟦x·y⟧, both with as many limbs.
    pub(super) fn multiply(&self, x: &Ciphertext, y: &Ciphertext) -> Ciphertext {
        let level = self.parameters.level(x.limbs());
        self.finish(level, Tensor::new(level, x, [&coefficients(x), &coefficients(y)]))
    }

    /// Rescales and relinearises.
    fn finish(&self, level: &Level, Tensor { q, p }: Tensor) -> Ciphertext {
        let t = i128::from(self.parameters.plaintext_modulus(self.index).value());
        let (t_mod_q, t_mod_p) = (level.basis.residues(t), level.extension.residues(t));
        let mut p = p.into_iter();
        let rescaled = q.map(|mut q| {
            let mut p = p.next().expect("three of each").into_coefficients();
            q.scale(&t_mod_q);
            p.scale(&t_mod_p);
            level.back.divide(&p, q)
        });
        let key = self.keys[level.basis.moduli().len() - 1].as_ref().expect("planned");
        key.relinearise(rescaled)
    }
}

/// The weights of rows with the same inputs.
fn matrix(basis: &Basis, rows: &[&[(usize, i64)]]) -> Matrix {
    let (degree, inputs) = (basis.degree(), rows[0].len());
    Matrix::new(basis, degree, rows.len(), inputs, |o, i, weight| weight[0] = rows[o][i].1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::leveled::scheme::SecretKey;
    use rand::rngs::ChaCha20Rng;
    use rand::{RngExt, SeedableRng};

    /// A client and its server.
    pub(in crate::leveled) struct Party {
        pub(in crate::leveled) parameters: Parameters,
        pub(in crate::leveled) secret: SecretKey,
        keys: Vec<Option<LevelKey>>,
        rng: ChaCha20Rng,
    }

    impl Party {
        pub(in crate::leveled) fn new(degree: usize, limbs: usize, bits: u32, seed: u64) -> Self {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let parameters = Parameters::danger_insecure(degree, limbs, bits, 1).unwrap();
            let secret = SecretKey::generate(&parameters, &mut rng);
            let key = RelinearisationKey::generate(&secret, &mut rng);
            let level = |limbs| Some(LevelKey::new(&parameters, &key, limbs));
            let keys = (1..=limbs).map(level).collect();
            Self { parameters, secret, keys, rng }
        }

        pub(in crate::leveled) fn evaluator(&self) -> Evaluator<'_> {
            Evaluator { parameters: &self.parameters, index: 0, keys: &self.keys }
        }

        pub(in crate::leveled) fn values(&mut self) -> Vec<i64> {
            (0..self.parameters.slots()).map(|_| self.rng.random_range(-99..=99)).collect()
        }

        pub(in crate::leveled) fn encrypt(&mut self, values: &[i64]) -> Ciphertext {
            let seed = self.rng.random();
            let c0 = self.secret.encrypt(0, values, (seed, 0), &mut self.rng).unwrap();
            Ciphertext { c0, c1: sample::uniform(&self.parameters.top().basis, &seed, 0) }
        }

        pub(in crate::leveled) fn decrypt(&self, ciphertext: &Ciphertext) -> Vec<i64> {
            let mut ciphertext = ciphertext.clone();
            ciphertext.drop_to(self.parameters.answer_limbs());
            let t = self.parameters.plaintext_moduli().next().unwrap().cast_signed();
            let centred = |&v: &u64| match v.cast_signed() {
                v if v > t / 2 => v - t,
                v => v,
            };
            self.secret.decrypt(0, &ciphertext).iter().map(centred).collect()
        }
    }

    /// Each row of the table of the noise, at the real degree: what is measured stays within the
    /// margin, and the prediction is not far too large either.
    #[test]
    fn noise_stays_below_the_prediction() {
        use crate::leveled::layers::Layers;
        use crate::leveled::noise::{MARGIN_BITS, Stage};
        use crate::{Circuit, Step, circuit::tests::dense};

        let mut party = Party::new(8192, 3, 26, 2);
        let first = dense(vec![7, -7, 7, 5], 2, vec![1, 2]);
        let last = dense(vec![7, -6], 2, vec![0]);
        let steps = vec![first, Step::Square, last, Step::Square];
        let layers = Layers::of(&Circuit::new(99, steps).unwrap()).unwrap();
        let budget = party.parameters.budget();
        let check = |party: &Party, what: &str, x: &[Ciphertext], stage: Stage| {
            let bits = x.iter().map(|c| party.secret.noise_bits_vartime(0, c)).max().unwrap();
            let bits = f64::from(u32::try_from(bits).unwrap());
            println!("{what}: {bits} bits measured, σ = 2^{:.1} predicted", stage.noise);
            assert!(bits <= stage.noise + MARGIN_BITS, "{what}");
            assert!(bits >= stage.noise - 4.0, "{what}");
        };
        let values = [party.values(), party.values()];
        let mut x = values.map(|values| party.encrypt(&values)).to_vec();
        let mut stage = budget.fresh();
        check(&party, "fresh", &x, stage);
        for layer in &layers.0 {
            stage = budget.after(stage, layer);
            x = party.evaluator().layer(layer, &x, &stage);
            check(&party, &layer.name, &x, stage);
        }
        x.iter_mut().for_each(|x| x.drop_to(2));
        stage = budget.dropped(stage, 2);
        check(&party, "dropped", &x, stage);
    }

    #[test]
    fn small_and_large_weights() {
        let mut party = Party::new(2048, 2, 40, 3);
        let values: Vec<_> = (0..3).map(|_| party.values()).collect();
        let x: Vec<_> = values.iter().map(|v| party.encrypt(v)).collect();
        let rows = [
            [(0, 3), (1, -5), (2, 1)],
            [(0, -7), (1, -(1 << 19)), (2, 1 << 20)],
            [(0, -((1 << 31) - 4)), (1, 1), (2, -2)],
        ];
        let weights = matrix(&party.parameters.top().basis, &rows.each_ref().map(|r| r.as_slice()));
        let c0 = weights.product(x.iter().map(|x| &x.c0));
        let c1 = weights.product(x.iter().map(|x| &x.c1));
        for ((row, c0), c1) in rows.iter().zip(c0).zip(c1) {
            let sum = |s: usize| row.iter().map(|&(i, w): &(usize, i64)| w * values[i][s]).sum();
            let expected: Vec<i64> = (0..2048).map(sum).collect();
            assert_eq!(party.decrypt(&Ciphertext { c0, c1 }), expected);
        }
    }

    /// Sums that are larger than q·p.
    #[test]
    fn squares_are_added_with_any_weights() {
        let mut party = Party::new(2048, 3, 17, 4);
        let values = [party.values(), party.values()];
        let x = values.each_ref().map(|values| party.encrypt(values));
        let t = party.parameters.plaintext_moduli().next().unwrap().cast_signed();
        let row = [(0, t << 24), (1, 1 - (t << 25))];
        let squares = x.each_ref().map(|x| Tensor::square(party.parameters.top(), x));
        let sums =
            party.evaluator().sums_of_squares(party.parameters.top(), &[&row], &squares.each_ref());
        let expected: Vec<_> = values[1].iter().map(|v| v * v).collect();
        assert_eq!(party.decrypt(&sums[0]), expected);
    }
}
