//! Layouts: how the values of a layer sit in ciphertexts, and which way is the cheapest.
//!
//! | layout | a ciphertext up holds | its slots are | ciphertexts up, for slots enough |
//! | --- | --- | --- | --- |
//! | [`Samples`](Layout::Samples) | one feature | the samples | inputs |
//! | [`Positions`](Layout::Positions) | one tap of a filter | positions × samples | T |
//!
//! The second one exists for forward exchanges of [windows](crate::linear::Window), that is for
//! convolutions. It is the first one applied to gathered columns: T inputs instead of
//! all pixels, F outputs instead of F·positions, and a batch of positions · samples.
//!
//! Both parties choose by the [`Prices`](crate::prices) of the client's key, and so alike.

use ndarray::{Array2, CowArray, Ix2};

use crate::exchange::Exchange;
use crate::he::AdditiveHE;
use crate::linear::{LinearMap, Taps, Window};
use crate::plan::Direction;
use crate::prices::MatrixSize;

/// How the values of a layer sit in ciphertexts: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A ciphertext holds one feature, its slots are the samples.
    Samples,
    /// A ciphertext holds one tap of a filter, its slots are this many positions of each sample.
    Positions(usize),
}

impl Layout {
    /// The layouts that a layer can have.
    fn all(linear: &LinearMap, direction: Direction) -> Vec<Self> {
        match (linear, direction) {
            (LinearMap::Window(window), Direction::Forward) => {
                vec![Self::Samples, Self::Positions(window.positions())]
            }
            _ => vec![Self::Samples],
        }
    }

    /// Columns that one sample takes.
    pub fn positions(self) -> usize {
        match self {
            Self::Samples => 1,
            Self::Positions(count) => count,
        }
    }

    /// The matrix that the server multiplies by, listed; its entries are those of the layer.
    pub fn matrix(self, linear: &LinearMap, direction: Direction) -> Taps {
        match (self, direction) {
            (Self::Samples, Direction::Forward) => linear.forward_taps(),
            (Self::Samples, Direction::Backward) => linear.backward_taps(),
            (Self::Positions(_), _) => LinearMap::from(window(linear).product()).forward_taps(),
        }
    }

    /// The bias index of each output of [`matrix`](Self::matrix), forwards.
    pub fn bias_of(self, linear: &LinearMap) -> impl Iterator<Item = usize> {
        (0..linear.outputs()).step_by(self.positions()).map(|output| linear.bias_of(output))
    }

    /// From `[features, batch]` to the columns that are encrypted.
    pub(crate) fn gather<'a>(
        self,
        linear: &LinearMap,
        values: &'a Array2<i128>,
    ) -> CowArray<'a, i128, Ix2> {
        match self {
            Self::Samples => values.view().into(),
            Self::Positions(_) => window(linear).gather(values.view()).into(),
        }
    }

    /// From decrypted columns to `[features, batch]`: row (f, s·batch + j) is (f·positions + s, j),
    /// so nothing moves.
    pub(crate) fn scatter(self, columns: Array2<i128>) -> Array2<i128> {
        let (outputs, width) = columns.dim();
        let shape = (outputs * self.positions(), width / self.positions());
        columns.into_shape_with_order(shape).expect("as many values as before")
    }
}

impl core::fmt::Display for Layout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Samples => f.write_str("samples"),
            Self::Positions(_) => f.write_str("positions"),
        }
    }
}

fn window(linear: &LinearMap) -> &Window {
    let LinearMap::Window(window) = linear else {
        unreachable!("this layout is planned only for windows")
    };
    window
}

/// What the range analysis says of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Bits of the widest value of the result: of a slot.
    pub slot_bits: u32,
    /// Bits of the widest entry of the matrix.
    pub weight_bits: u32,
}

/// Every exchange that takes `linear` in a direction: each layout with each possible group.
pub fn candidates<H: AdditiveHE>(
    public: &H::PublicKey,
    linear: &LinearMap,
    direction: Direction,
    batch: usize,
    widths: Widths,
) -> impl Iterator<Item = Exchange> {
    let Widths { slot_bits, weight_bits } = widths;
    let slots = H::slots(public, slot_bits);
    Layout::all(linear, direction).into_iter().flat_map(move |layout| {
        let all = usize::try_from(linear.multiply_accumulates()).expect("at most 2^32");
        let (inputs, outputs, taps) = match (layout, direction) {
            (Layout::Samples, Direction::Forward) => (linear.inputs(), linear.outputs(), all),
            (Layout::Samples, Direction::Backward) => (linear.outputs(), linear.inputs(), all),
            (Layout::Positions(_), _) => {
                let (inputs, outputs) = (window(linear).patch(), window(linear).filters());
                (inputs, outputs, inputs * outputs)
            }
        };
        let most = (slots / (layout.positions() * batch)).clamp(1, outputs);
        (1..=most).map(move |group| Exchange {
            layout,
            inputs,
            outputs,
            batch,
            slot_bits,
            weight_bits,
            slots,
            taps,
            group,
        })
    })
}

impl Exchange {
    /// The cheapest of all [`candidates`]; of equals the first.
    pub(crate) fn cheapest<H: AdditiveHE>(
        public: &H::PublicKey,
        linear: &LinearMap,
        direction: Direction,
        batch: usize,
        widths: Widths,
    ) -> Self {
        candidates::<H>(public, linear, direction, batch, widths)
            .min_by_key(|exchange| exchange.nanoseconds::<H>(public))
            .expect("the layout of samples, in groups of one")
    }

    /// What it takes both parties together on the reference machine: the formula of
    /// [`prices`](crate::prices).
    pub fn nanoseconds<H: AdditiveHE>(&self, public: &H::PublicKey) -> u64 {
        let prices = H::prices(public);
        let &Self { inputs, outputs, taps, weight_bits, .. } = self;
        let matvec = H::matvec_price(public, MatrixSize { inputs, outputs, taps, weight_bits });
        let (up, down) = (self.ciphertexts_up() as u128, self.ciphertexts_down() as u128);
        let lanes = u128::from(prices.lanes.max(1));
        let moved_bits = self.slots_moved() as u128 * u128::from(self.slot_bits);
        let answer = u128::from(prices.rerandomize)
            + u128::from(prices.decrypt)
            + u128::from(prices.shift_bit) * moved_bits;
        let bytes = (up + down) * H::ciphertext_len(public) as u128;
        let total = u128::from(prices.encrypt) * up
            + u128::from(matvec) * self.rows() as u128
            + down.div_ceil(lanes) * lanes * answer
            + u128::from(prices.byte) * bytes;
        u64::try_from(total).unwrap_or(u64::MAX)
    }
}
