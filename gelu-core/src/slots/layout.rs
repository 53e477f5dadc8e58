//! Layouts: how the values of a layer sit in slots.
//!
//! | arrangement | a ciphertext up holds | its slots are | ciphertexts up, for slots enough |
//! | --- | --- | --- | --- |
//! | [`Samples`](Arrangement::Samples) | one feature | the samples | inputs |
//! | [`Positions`](Arrangement::Positions) | one tap of a filter | positions × samples | T |
//!
//! The second one exists for forward exchanges of [windows](crate::linear::Window), that is for
//! convolutions. It is the first one applied to gathered columns: T inputs instead of
//! all pixels, F outputs instead of F·positions, and a batch of positions · samples.
//!
//! Whatever the arrangement, the server multiplies a matrix of `outputs` × `inputs` by *columns*: the
//! samples of the batch, or the positions of all samples. Ciphertexts go up row by row: all inputs of the
//! first columns, as many as there are slots, then of the next. They come down sealed and, where all
//! columns fit into the slots several times, that many outputs in one ciphertext (a *group*).

use ndarray::{Array2, CowArray, Ix2};

use super::plaintext::{MAX_SLOT_BITS, SlotShape};
use crate::backend::{Cost, Direction, Task};
use crate::linear::{LinearMap, Taps, Window};

/// What the slots of a ciphertext are: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrangement {
    /// A ciphertext holds one feature, its slots are the samples.
    Samples,
    /// A ciphertext holds one tap of a filter, its slots are this many positions of each sample.
    Positions(usize),
}

impl core::fmt::Display for Arrangement {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Samples => f.write_str("samples"),
            Self::Positions(_) => f.write_str("positions"),
        }
    }
}

/// One encrypted linear map: how many values go each way, and how they sit in ciphertexts.
///
/// Its name is `samples/1` or `positions/15`: the arrangement and the outputs in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotLayout {
    /// What the slots of a ciphertext are.
    pub arrangement: Arrangement,
    /// Which way through the linear map.
    pub direction: Direction,
    /// Values of a column that go up.
    pub inputs: usize,
    /// Values of a column that come down.
    pub outputs: usize,
    /// Samples.
    pub batch: usize,
    /// Bits of a slot, sign included: what the widest value needs.
    pub slot_bits: u32,
    /// Bits of the widest entry of the matrix, sign included.
    pub weight_bits: u32,
    /// Slots of one ciphertext.
    pub slots: usize,
    /// Multiply-accumulates of the linear map on ciphertexts, per row.
    pub taps: usize,
    /// Outputs in one ciphertext on the way down.
    pub group: usize,
    /// Bytes of a ciphertext.
    pub ciphertext_len: usize,
}

impl core::fmt::Display for SlotLayout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.arrangement, self.group)
    }
}

impl SlotLayout {
    /// Every layout of `task` with ciphertexts of `slots` slots: each arrangement with each group up to
    /// the most outputs in a ciphertext, by the columns of one.
    pub(super) fn all(
        task: &Task<'_>,
        slots: usize,
        most: impl Fn(usize) -> usize,
        ciphertext_len: usize,
    ) -> Vec<Self> {
        let &Task { linear, direction, batch, value_bits: slot_bits, weight_bits, .. } = task;
        let (inputs, outputs) = match direction {
            Direction::Forward => (linear.inputs(), linear.outputs()),
            Direction::Backward => (linear.outputs(), linear.inputs()),
        };
        let samples = Self {
            arrangement: Arrangement::Samples,
            direction,
            inputs,
            outputs,
            batch,
            slot_bits,
            weight_bits,
            slots,
            taps: usize::try_from(linear.multiply_accumulates()).expect("at most 2^32"),
            group: 1,
            ciphertext_len,
        };
        let gathered = match (linear, direction) {
            (LinearMap::Window(window), Direction::Forward) => Some(Self {
                arrangement: Arrangement::Positions(window.positions()),
                inputs: window.patch(),
                outputs: window.filters(),
                taps: window.patch() * window.filters(),
                ..samples.clone()
            }),
            _ => None,
        };
        let grouped = |layout: Self| {
            let most = most(layout.columns()).clamp(1, layout.outputs);
            (1..=most).map(move |group| Self { group, ..layout.clone() })
        };
        [Some(samples), gathered].into_iter().flatten().flat_map(grouped).collect()
    }

    /// Columns that the matrix is multiplied by.
    pub fn columns(&self) -> usize {
        self.arrangement.positions() * self.batch
    }

    /// Ciphertexts of one input.
    pub fn rows(&self) -> usize {
        self.columns().div_ceil(self.slots)
    }

    /// Columns in the slots of row `row`.
    pub fn columns_in(&self, row: usize) -> core::ops::Range<usize> {
        let start = row * self.slots;
        start..self.columns().min(start + self.slots)
    }

    /// The shape of a ciphertext that holds `features` inputs or outputs of row `row`.
    pub fn shape(&self, row: usize, features: usize) -> SlotShape {
        SlotShape { bits: self.slot_bits, count: self.columns_in(row).len() * features }
    }

    /// Ciphertexts on the way up.
    pub fn ciphertexts_up(&self) -> usize {
        self.inputs * self.rows()
    }

    /// Ciphertexts on the way down.
    pub fn ciphertexts_down(&self) -> usize {
        self.groups() * self.rows()
    }

    /// Groups of outputs.
    pub fn groups(&self) -> usize {
        self.outputs.div_ceil(self.group)
    }

    /// Outputs in group `g`.
    pub fn outputs_in(&self, g: usize) -> core::ops::Range<usize> {
        let start = g * self.group;
        start..self.outputs.min(start + self.group)
    }

    /// Slots by which the outputs of a group are moved, one after the other, to be packed.
    pub fn slots_moved(&self) -> usize {
        (self.group - 1) * self.columns_in(0).len()
    }

    /// Bytes of ciphertexts, both ways.
    pub fn bytes(&self) -> usize {
        (self.ciphertexts_up() + self.ciphertexts_down()) * self.ciphertext_len
    }

    /// Ciphertexts, bytes and operations. An answer reveals its slots in full.
    pub fn cost(&self) -> Cost {
        Cost {
            ciphertexts_up: self.ciphertexts_up(),
            ciphertexts_down: self.ciphertexts_down(),
            bytes: self.bytes(),
            multiply_accumulates: self.taps * self.rows(),
            headroom_bits: MAX_SLOT_BITS - self.slot_bits,
            revealed_bits: u64::from(self.slot_bits),
            hiding_bits: None,
        }
    }
}

impl Arrangement {
    /// Columns that one sample takes.
    pub fn positions(self) -> usize {
        match self {
            Self::Samples => 1,
            Self::Positions(count) => count,
        }
    }

    /// The matrix that the server multiplies by, listed; its entries are those of the layer.
    pub(super) fn matrix(self, linear: &LinearMap, direction: Direction) -> Taps {
        match (self, direction) {
            (Self::Samples, Direction::Forward) => linear.forward_taps(),
            (Self::Samples, Direction::Backward) => linear.backward_taps(),
            (Self::Positions(_), _) => LinearMap::from(window(linear).product()).forward_taps(),
        }
    }

    /// From `[features, batch]` to the columns that are encrypted.
    pub(super) fn gather<'a>(
        self,
        linear: &LinearMap,
        values: &'a Array2<i128>,
    ) -> CowArray<'a, i128, Ix2> {
        match self {
            Self::Samples => values.view().into(),
            Self::Positions(_) => window(linear).gather(values.view()).into(),
        }
    }
}

fn window(linear: &LinearMap) -> &Window {
    let LinearMap::Window(window) = linear else {
        unreachable!("this layout is planned only for windows")
    };
    window
}
