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
        let (c0, c1) = extend(level, x);
        let (c00, c01) = (&c0 * &c0, &c0 * &c1);
        Self([c00, c01, &c1 * &c1])
    }
}

/// Both halves in the extended basis.
fn extend(level: &Level, x: &Ciphertext) -> (Poly, Poly) {
    let extend = |c: &Poly| c.scale(&level.extend).expect("the level's context");
    (extend(&x.c0), extend(&x.c1))
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
                let sums = |outputs: &Vec<usize>| {
                    let rows: Vec<_> = outputs.iter().map(|&o| layer.rows[o].as_slice()).collect();
                    let c0 = weighted_sums(&rows, 1, |i| &x[i].c0);
                    let c1 = weighted_sums(&rows, 1, |i| &x[i].c1);
                    let pairs = c0.into_iter().zip(c1);
                    let of =
                        |((c0, c1), &o)| (o, finish((Ciphertext { c0, c1 }, &layer.biases[o])));
                    pairs.zip(outputs).map(of).collect::<Vec<_>>()
                };
                let mut sums: Vec<_> = layer.groups().par_iter().flat_map_iter(sums).collect();
                sums.sort_by_key(|&(o, _)| o);
                sums.into_iter().map(|(_, y)| y).collect()
            }
            true if layer.is_partition() => {
                let sum = |row: &Vec<(usize, i64)>| {
                    let local: Vec<_> =
                        row.iter().map(|&(i, _)| Square::of(level, &x[i])).collect();
                    let renamed: Vec<_> = (0..).zip(row.iter().map(|&(_, w)| w)).collect();
                    self.reduce(level, &renamed, &local)
                };
                rows.map(sum).zip(&layer.biases).map(finish).collect()
            }
            true => {
                let squares: Vec<_> = x.par_iter().map(|x| Square::of(level, x)).collect();
                let sum = |row: &Vec<_>| self.reduce(level, row, &squares);
                rows.map(sum).zip(&layer.biases).map(finish).collect()
            }
        }
    }

    /// ⟦Σ w·x²⟧ from the squares.
    fn reduce(&self, level: &Level, row: &[(usize, i64)], squares: &[Square]) -> Ciphertext {
        let part = |n: usize, times| weighted_sums(&[row], times, |i| &squares[i].0[n]).remove(0);
        // The middle part of a square is 2·c₀·c₁.
        self.finish(level, [part(0, 1), part(1, 2), part(2, 1)])
    }

    /// ⟦x·y⟧, both with as many limbs.
    pub(super) fn multiply(&self, x: &Ciphertext, y: &Ciphertext) -> Ciphertext {
        let level = self.parameters.level(x.limbs());
        let ((x0, x1), (y0, y1)) = (extend(level, x), extend(level, y));
        let mut middle = &x0 * &y1;
        middle += &(&x1 * &y0);
        self.finish(level, [&x0 * &y0, middle, &x1 * &y1])
    }

    /// Rescales and relinearises.
    fn finish(&self, level: &Level, [d0, d1, mut d2]: [Poly; 3]) -> Ciphertext {
        let scaler = &level.reduce[self.index];
        let rescale = |d: Poly| d.scale(scaler).expect("the extended context");
        d2.change_representation(Representation::PowerBasis);
        let limbs = level.context.moduli().len();
        let key = self.keys[limbs - 1].as_ref().expect("planned");
        key.relinearise(level, rescale(d0), rescale(d1), &rescale(d2))
    }
}

/// For each row Σ times·w·x, residue by residue, where times is 1 or 2. The rows have the same inputs,
/// or there is only one.
///
/// A residue is cut into halves of 31 bits, so that a half times |w| is a product of 32-bit words and
/// the sums, below 2·Σ|w| · 2³¹ < 2⁶³, stay in one word. A multiple of the modulus makes the whole
/// positive before its one reduction.
fn weighted_sums<'a>(
    rows: &[&[(usize, i64)]],
    times: u32,
    x: impl Fn(usize) -> &'a Poly,
) -> Vec<Poly> {
    let first = x(rows[0][0].0);
    let (context, degree) = (first.ctx(), first.coefficients().ncols());
    let mut residues = vec![Vec::with_capacity(context.moduli().len() * degree); rows.len()];
    for (limb, q) in context.moduli_operators().iter().enumerate() {
        for start in (0..degree).step_by(BLOCK) {
            let block = start..degree.min(start + BLOCK);
            for (row, residues) in rows.iter().zip(&mut residues) {
                let (mut low, mut high) = ([0u64; BLOCK], [0u64; BLOCK]);
                let mut offset = 0;
                for &(i, w) in *row {
                    let values = x(i).coefficients().index_axis_move(Axis(0), limb);
                    let values = &values.to_slice().expect("standard layout")[block.clone()];
                    let size = u64::from(u32::try_from(w.unsigned_abs()).expect("checked") * times);
                    offset += u128::from(size) * u128::from(**q);
                    let halves = |v: u64| ((v & ((1 << HALF) - 1)) * size, (v >> HALF) * size);
                    let sums = low.iter_mut().zip(&mut high).zip(values);
                    match w < 0 {
                        false => sums.for_each(|((low, high), &v)| {
                            let (l, h) = halves(v);
                            (*low, *high) = (low.wrapping_add(l), high.wrapping_add(h));
                        }),
                        true => sums.for_each(|((low, high), &v)| {
                            let (l, h) = halves(v);
                            (*low, *high) = (low.wrapping_sub(l), high.wrapping_sub(h));
                        }),
                    }
                }
                let whole = |(&l, &h): (&u64, &u64)| {
                    let sum = (i128::from(h.cast_signed()) << HALF) + i128::from(l.cast_signed());
                    q.reduce_u128((sum + offset.cast_signed()).cast_unsigned())
                };
                residues.extend(low.iter().zip(&high).map(whole).take(block.len()));
            }
        }
    }
    residues.into_iter().map(|residues| sampling::public(context, residues)).collect()
}

/// Bits of the lower half of a residue.
const HALF: u32 = 31;

/// Coefficients at a time: their sums stay in the nearest cache.
const BLOCK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveled::scheme::SecretKey;
    use fhe::bfv;
    use fhe_traits::{DeserializeParametrized, FheDecoder, FheDecrypter};
    use rand::rngs::ChaCha20Rng;
    use rand::{RngExt, SeedableRng};

    struct Party {
        parameters: Parameters,
        secret: SecretKey,
        keys: Vec<Option<LevelKey>>,
        rng: ChaCha20Rng,
    }

    impl Party {
        fn new(degree: usize, limbs: usize, bits: u32, seed: u64) -> Self {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let parameters = Parameters::danger_insecure(degree, limbs, bits, 1).unwrap();
            let secret = SecretKey::generate(&parameters, &mut rng);
            let key = RelinearisationKey::generate(&secret, &mut rng);
            let level = |limbs| Some(LevelKey::new(&parameters, &key, limbs));
            let keys = (1..=limbs).map(level).collect();
            Self { parameters, secret, keys, rng }
        }

        fn evaluator(&self) -> Evaluator<'_> {
            Evaluator { parameters: &self.parameters, index: 0, keys: &self.keys }
        }

        fn values(&mut self) -> Vec<i64> {
            (0..self.parameters.slots()).map(|_| self.rng.random_range(-99..=99)).collect()
        }

        fn encrypt(&mut self, values: &[i64]) -> Ciphertext {
            let seed = sampling::seed(&mut self.rng);
            let c0 = self.secret.encrypt(0, values, (seed, 0), &mut self.rng).unwrap();
            let context = &self.parameters.level(self.parameters.limbs()).context;
            Ciphertext { c0, c1: sampling::uniform(context, values.len(), seed, 0) }
        }

        fn decrypt(&self, ciphertext: &Ciphertext) -> Vec<i64> {
            let mut ciphertext = ciphertext.clone();
            ciphertext.drop_to(&self.parameters, 1);
            let t = self.parameters.plaintext_moduli().next().unwrap().cast_signed();
            let centred = |&v: &u64| match v.cast_signed() {
                v if v > t / 2 => v - t,
                v => v,
            };
            self.secret.decrypt(0, &ciphertext).iter().map(centred).collect()
        }
    }

    /// With the crate `fhe` as the other party: its parameters, its secret key with our
    /// coefficients, its multiplication, its decryption.
    #[test]
    fn the_crate_fhe_agrees() {
        let ours = Party::new(64, 3, 20, 1);
        let parameters = bfv::BfvParametersBuilder::new()
            .set_degree(64)
            .set_plaintext_modulus(ours.parameters.plaintext_moduli().next().unwrap())
            .set_moduli(ours.parameters.moduli())
            .build_arc()
            .unwrap();
        // A secret key of that crate is protobuf: field 1, packed, zigzag.
        let zigzag = |&s: &i64| u8::try_from(if s < 0 { 1 } else { 2 * s }).unwrap();
        let mut bytes = vec![0x0a, 64];
        bytes.extend(ours.secret.coefficients().iter().map(zigzag));
        let secret = bfv::SecretKey::from_bytes(&bytes, &parameters).unwrap();
        let theirs = |c: &Ciphertext| {
            let context = parameters.context_at_level(3 - c.limbs()).unwrap();
            let poly = |c: &Poly| {
                use fhe_math::rq::traits::TryConvertFrom;
                Poly::try_convert_from(
                    c.coefficients().to_owned(),
                    context,
                    true,
                    Representation::Ntt,
                )
            };
            let polys = [&c.c0, &c.c1].map(|c| poly(c).unwrap());
            bfv::Ciphertext::new(polys.to_vec(), &parameters).unwrap()
        };
        // Slots of that crate have another order, so polynomials are compared.
        let decrypted = |c: &bfv::Ciphertext| {
            let plaintext = secret.try_decrypt(c).unwrap();
            Vec::<u64>::try_decode(
                &plaintext,
                bfv::Encoding::poly_at_level(3 - c[0].ctx().moduli().len()),
            )
            .unwrap()
        };
        let slots_of = |mut polynomial: Vec<u64>| {
            ours.parameters.plaintext(0).slots.forward(&mut polynomial);
            polynomial
        };
        let mut party = Party::new(64, 3, 20, 1);
        let (x, y) = (party.values(), party.values());
        let (cx, cy) = (party.encrypt(&x), party.encrypt(&y));
        let t = party.parameters.plaintext_moduli().next().unwrap().cast_signed();
        let reduced = |values: Vec<i64>| -> Vec<u64> {
            values.iter().map(|v| v.rem_euclid(t).cast_unsigned()).collect()
        };
        assert_eq!(slots_of(decrypted(&theirs(&cx))), reduced(x.clone()), "our encryption");
        let product: Vec<_> = x.iter().zip(&y).map(|(x, y)| x * y).collect();
        let of_theirs = decrypted(&(&theirs(&cx) * &theirs(&cy)));
        assert_eq!(slots_of(of_theirs), reduced(product.clone()), "their multiplication");
        let mut of_ours = party.evaluator().multiply(&cx, &cy);
        assert_eq!(slots_of(decrypted(&theirs(&of_ours))), reduced(product.clone()));
        assert_eq!(party.decrypt(&of_ours), product);
        of_ours.drop_to(&party.parameters, 2);
        assert_eq!(slots_of(decrypted(&theirs(&of_ours))), reduced(product));
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
        x.iter_mut().for_each(|x| x.drop_to(&party.parameters, 2));
        stage = budget.dropped(stage, 2);
        check(&party, "dropped", &x, stage);
    }

    #[test]
    fn small_and_large_weights() {
        let mut party = Party::new(64, 2, 40, 3);
        let values: Vec<_> = (0..3).map(|_| party.values()).collect();
        let x: Vec<_> = values.iter().map(|v| party.encrypt(v)).collect();
        // The last one fills the word: 2·(2^31 − 1) times halves of 31 bits.
        let rows = [
            [(0, 3), (1, -5), (2, 1)],
            [(0, -7), (1, -(1 << 19)), (2, 1 << 20)],
            [(0, -((1 << 31) - 4)), (1, 1), (2, -2)],
        ];
        for times in [1, 2] {
            let rows = rows.each_ref().map(|row| row.as_slice());
            let c0 = weighted_sums(&rows, times, |i| &x[i].c0);
            let c1 = weighted_sums(&rows, times, |i| &x[i].c1);
            for ((row, c0), c1) in rows.iter().zip(c0).zip(c1) {
                let weighted = |s: usize| row.iter().map(move |&(i, w)| (i, s, w));
                let sum =
                    |s| weighted(s).map(|(i, s, w)| w * i64::from(times) * values[i][s]).sum();
                let expected: Vec<i64> = (0..64).map(sum).collect();
                assert_eq!(party.decrypt(&Ciphertext { c0, c1 }), expected);
            }
        }
    }
}
