//! How a batch sits in slots, so that X·v and Xᵀ·e take few rotations.
//!
//! Slots are c blocks of B: B is the batch, padded to a power of two, and c = slots/B. What belongs to rows (weighted sums,
//! errors, labels) is repeated in each block: slot s holds row s mod B, and rotations keep it so. What belongs to inputs
//! (weights, gradients) has p places for each input, K = ⌈B/p⌉ apart in one block:
//!
//! ```text
//! place(f, i)  =  ⌊f/u⌋·B + (f mod u) + i·K             i < p,   u = B − (p − 1)·K inputs a block
//! ```
//! A batch is K ciphertexts, one for each shift j of an interval: at place(f, i), D_j holds the one number of input f that
//! meets row place + j. For a fixed input the K shifts of its p places meet every row once (the last places have zeros
//! where rows would come twice). Then
//!
//! ```text
//! X·v   =  Σ over blocks of  Σ_j rotate(D_j ⊙ v, −j)           Xᵀ·e  =  Σ over places of  Σ_j D_j ⊙ rotate(e, j)
//! ```
//! With j = b + g (babies b, giants g) and F_j = rotate(D_j, −b), made by the data party, *both* sums are by babies and giants
//! on the same ciphertexts:
//!
//! ```text
//! X·v   =  Σ_g rotate( Σ_b F_(b+g) ⊙ rotate(v, −b), −g)
//! Xᵀ·e  =  Σ_b rotate( Σ_g F_(b+g) ⊙ rotate(e,  g),  b)
//! ```
//! One ciphertext holds all weights, one all gradients; one relinearisation serves a baby or a giant, not a product. For 1,024 rows
//! and 385 inputs in 4,096 slots p = 10 and K = 103, where ⌈385·1,024/4,096⌉ = 97 ciphertexts are the least; a layout
//! with rows × columns in each ciphertext would take 97 ciphertexts for the weights, 97 for the gradient and a
//! rotation for each halving of the rows of each of them: 970.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::plain::Rows;

/// Where rows, inputs and shifts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    slots: usize,
    batch: usize,
    /// B.
    rows: usize,
    inputs: usize,
    /// p.
    places: usize,
    /// K.
    shifts: usize,
    babies: usize,
}

impl Layout {
    /// The layout of fewest ciphertexts; of babies and giants the cheapest numbers by a price.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub fn new(
        slots: usize,
        batch: usize,
        inputs: usize,
        price: impl Fn(usize, usize) -> usize,
    ) -> Result<Self> {
        let refused = Error::DoesNotFit { rows: batch, inputs, slots };
        if batch == 0 || inputs == 0 || batch > slots || inputs > slots {
            return Err(refused);
        }
        let rows = batch.next_power_of_two();
        let fits = |&p: &usize| {
            let shifts = rows.div_ceil(p);
            ((p - 1) * shifts < rows) && slots / rows * (rows - (p - 1) * shifts) >= inputs
        };
        let places = (1..=rows).rev().find(fits).ok_or(refused)?;
        let shifts = rows.div_ceil(places);
        let babies = (1..=shifts).min_by_key(|&n| price(n, shifts.div_ceil(n))).unwrap_or(1);
        Ok(Self { slots, batch, rows, inputs, places, shifts, babies })
    }

    /// B: rows of a batch, padded.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// c: blocks, which all hold the same of what belongs to rows.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.slots / self.rows
    }

    /// p: places of an input.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places
    }

    /// K: ciphertexts of a batch, and how far places of an input are apart.
    #[must_use]
    pub fn shifts(&self) -> usize {
        self.shifts
    }

    /// Babies, around 0.
    #[must_use]
    pub fn babies(&self) -> Range<isize> {
        around_zero(self.babies)
    }

    /// Giants, in units of babies, around 0.
    #[must_use]
    pub fn giants(&self) -> Range<isize> {
        around_zero(self.shifts.div_ceil(self.babies))
    }

    /// How far a giant rotates.
    #[must_use]
    pub fn giant(&self, g: isize) -> isize {
        g * self.babies.cast_signed()
    }

    /// Steps to the left for a rotation by a signed number of slots.
    #[must_use]
    pub fn steps(&self, rotation: isize) -> usize {
        rotation.rem_euclid(self.slots.cast_signed()).cast_unsigned()
    }

    /// Babies and giants of all ciphertexts of a batch, in their order.
    pub fn grid(&self) -> impl Iterator<Item = (isize, isize)> + '_ {
        let all = self.giants().flat_map(|g| self.babies().map(move |b| (b, g)));
        all.take(self.shifts)
    }

    /// Where the ciphertext of a baby and a giant comes in [`grid`](Self::grid), if there is one.
    #[must_use]
    pub fn place_of(&self, b: isize, g: isize) -> Option<usize> {
        let (b, g) = (b - self.babies().start, g - self.giants().start);
        let place = (g * self.babies.cast_signed() + b).cast_unsigned();
        (place < self.shifts).then_some(place)
    }

    /// u: inputs of a block.
    fn inputs_of_block(&self) -> usize {
        self.rows - (self.places - 1) * self.shifts
    }

    /// place(f, 0).
    fn first_place(&self, input: usize) -> usize {
        input / self.inputs_of_block() * self.rows + input % self.inputs_of_block()
    }

    /// place(f, i) for all i.
    pub fn places_of(&self, input: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        let first = self.first_place(input);
        (0..self.places).map(move |i| first + i * self.shifts)
    }

    /// The slots of F_(b+g): X's rows are those of `batch`, in order.
    ///
    /// # Panics
    /// When there are not as many rows or inputs as in the layout.
    #[must_use]
    pub fn features(
        &self,
        x: &Rows,
        batch: impl Iterator<Item = usize>,
        (b, g): (isize, isize),
    ) -> Vec<f64> {
        let batch: Vec<_> = batch.collect();
        assert_eq!((batch.len(), x.columns()), (self.batch, self.inputs), "the layout's batch");
        let mut slots = vec![0.0; self.slots];
        let Some(shift) = self.place_of(b, g) else { return slots };
        let j = b + self.giant(g);
        for input in 0..self.inputs {
            for (i, place) in self.places_of(input).enumerate() {
                // Beyond, the row was met by the first place.
                if i * self.shifts + shift < self.rows {
                    let row = self.steps(place.cast_signed() + j) % self.rows;
                    if let Some(&row) = batch.get(row) {
                        slots[self.steps(place.cast_signed() + b)] = x.row(row)[input];
                    }
                }
            }
        }
        slots
    }

    /// Weights at their places.
    #[must_use]
    pub fn weights(&self, weights: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut slots = vec![0.0; self.slots];
        for (input, weight) in weights.into_iter().enumerate() {
            self.places_of(input).for_each(|place| slots[place] = weight);
        }
        slots
    }

    /// A number in the first place of each input.
    #[must_use]
    pub fn first_places(&self, number: f64) -> Vec<f64> {
        let mut slots = vec![0.0; self.slots];
        (0..self.inputs).for_each(|input| slots[self.first_place(input)] = number);
        slots
    }

    /// The weights in the first place of each input.
    #[must_use]
    pub fn read_weights(&self, slots: &[f64]) -> Vec<f64> {
        (0..self.inputs).map(|input| slots[self.first_place(input)]).collect()
    }

    /// The gradients: sums over the places of each input.
    #[must_use]
    pub fn sum_places(&self, slots: &[f64]) -> Vec<f64> {
        (0..self.inputs).map(|input| self.places_of(input).map(|p| slots[p]).sum()).collect()
    }

    /// What belongs to rows, in all blocks.
    #[must_use]
    pub fn repeated(&self, rows: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut block: Vec<_> = rows.into_iter().collect();
        block.resize(self.rows, 0.0);
        block.repeat(self.blocks())
    }
}

/// As many numbers, 0 in the middle: a rotation by b and one by −b have one key.
fn around_zero(count: usize) -> Range<isize> {
    let (count, start) = (count.cast_signed(), -(count.cast_signed() / 2));
    start..start + count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plain::dot;

    fn rotated(x: &[f64], steps: usize) -> Vec<f64> {
        let mut x = x.to_vec();
        x.rotate_left(steps);
        x
    }

    fn add(sum: &mut [f64], x: &[f64], y: &[f64]) {
        sum.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }

    fn add_all(sum: &mut [f64], x: &[f64]) {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }

    proptest! {
        /// The equations of the module, in the clear.
        #[test]
        fn both_products_are_right_in_every_layout(
            log in 3..8u32, batch in 1..=40usize, inputs in 1..=60usize, babies in 1..=9usize,
        ) {
            let slots = 1usize << log;
            let price = |n: usize, _| n.abs_diff(babies);
            let Ok(layout) = Layout::new(slots, batch, inputs, price) else {
                prop_assert!(batch.next_power_of_two() > slots || inputs > slots);
                return Ok(());
            };
            let all = 3 + batch;
            let x = Rows::new((0..all * inputs).map(|i| (i * i % 101) as f64 - 50.0).collect(), inputs).unwrap();
            let rows = || (0..batch).map(|r| (r + 2) % all);
            let v: Vec<_> = (0..inputs).map(|f| (f * 7 % 11) as f64 - 5.0).collect();
            let e: Vec<_> = (0..batch).map(|r| (r * 5 % 13) as f64 - 6.0).collect();
            let grid: Vec<_> = layout.grid().collect();
            prop_assert_eq!(grid.len(), layout.shifts());
            let ciphertexts: Vec<_> = grid.iter().map(|&at| layout.features(&x, rows(), at)).collect();
            let f = |b, g| layout.place_of(b, g).map(|place| &ciphertexts[place]);

            let mut z = vec![0.0; slots];
            let slots_of_v = layout.weights(v.iter().copied());
            for g in layout.giants() {
                let mut sum = vec![0.0; slots];
                for b in layout.babies() {
                    f(b, g).into_iter().for_each(|f| add(&mut sum, f, &rotated(&slots_of_v, layout.steps(-b))));
                }
                add_all(&mut z, &rotated(&sum, layout.steps(-layout.giant(g))));
            }
            let parts = z.clone();
            for block in 1..layout.blocks() {
                add_all(&mut z, &rotated(&parts, block * layout.rows()));
            }
            let expected = layout.repeated(rows().map(|r| dot(x.row(r), &v)));
            prop_assert_eq!(z, expected);

            let mut out = vec![0.0; slots];
            let slots_of_e = layout.repeated(e.iter().copied());
            for b in layout.babies() {
                let mut sum = vec![0.0; slots];
                for g in layout.giants() {
                    f(b, g).into_iter().for_each(|f| add(&mut sum, f, &rotated(&slots_of_e, layout.steps(layout.giant(g)))));
                }
                add_all(&mut out, &rotated(&sum, layout.steps(b)));
            }
            let mut expected = vec![0.0; inputs];
            for (r, e) in rows().zip(&e) {
                expected.iter_mut().zip(x.row(r)).for_each(|(sum, x)| *sum += e * x);
            }
            prop_assert_eq!(layout.sum_places(&out), expected);
            prop_assert_eq!(layout.read_weights(&slots_of_v), v);
            // Nothing but zeros elsewhere, which the sums over places of unattended training rely on.
            let used: f64 = (0..inputs).flat_map(|f| layout.places_of(f)).map(|p| out[p].abs()).sum();
            prop_assert_eq!(used, out.iter().map(|x| x.abs()).sum::<f64>());
        }
    }

    #[test]
    fn few_ciphertexts_more_than_the_least_are_taken() {
        for (slots, batch, inputs, shifts) in [
            (4096, 1024, 385, 103),
            (4096, 2048, 385, 205),
            (4096, 1024, 769, 205),
            (32768, 1024, 385, 16),
        ] {
            let layout = Layout::new(slots, batch, inputs, |a, b| a + b).unwrap();
            assert_eq!(layout.shifts(), shifts);
        }
        let refused = Layout::new(64, 65, 3, |a, b| a + b);
        assert_eq!(refused, Err(Error::DoesNotFit { rows: 65, inputs: 3, slots: 64 }));
    }
}
