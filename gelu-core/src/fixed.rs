//! Fixed point: real numbers as integers with a known scale.
//!
//! Activations carry `f_a` fractional bits, weights `f_w`, errors `f_d`; a product carries the sum.
//! Nothing is rescaled under encryption: every layer ends at the client, which decodes and
//! re-encodes (`docs/src/numbers.md`).

use core::cell::{Cell, RefCell};

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::{ApiMisuse, Result};

/// A fixed-point format: x is held as round(x · 2^fraction), with |x| < 2^integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Fractional bits.
    pub fraction: u32,
    /// Integer bits, sign not counted.
    pub integer: u32,
}

impl Format {
    /// A format with `integer` bits before and `fraction` bits after the point.
    pub const fn new(integer: u32, fraction: u32) -> Self {
        Self { fraction, integer }
    }

    /// The largest magnitude: 2^(integer + fraction) − 1.
    pub fn max(self) -> i128 {
        (1 << (self.integer + self.fraction)) - 1
    }

    /// 2^fraction, the integer that stands for 1.
    pub fn one(self) -> i128 {
        1 << self.fraction
    }

    /// round(x · 2^fraction), half away from zero, saturated at ±[`max`](Self::max).
    ///
    /// Saturation is the only way in which a value can differ from the real number by more than
    /// half a unit; it is counted. A NaN becomes 0 and counts as saturated.
    pub fn encode(self, x: f64, saturations: &Saturations) -> i128 {
        let scaled = (x * exp2(self.fraction)).round();
        let max = self.max() as f64;
        if scaled.abs() <= max {
            #[expect(clippy::cast_possible_truncation, reason = "|scaled| <= max < 2^127")]
            return scaled as i128;
        }
        saturations.count();
        match scaled.partial_cmp(&0.0) {
            Some(core::cmp::Ordering::Greater) => self.max(),
            Some(core::cmp::Ordering::Less) => -self.max(),
            _ => 0,
        }
    }

    /// [`encode`](Self::encode), element by element.
    pub fn encode_all(self, x: &Array2<f64>, saturations: &Saturations) -> Array2<i128> {
        x.mapv(|x| self.encode(x, saturations))
    }

    /// The real number that `value` stands for.
    pub fn decode(self, value: i128) -> f64 {
        value as f64 / exp2(self.fraction)
    }
}

/// 2^n as a real number.
pub fn exp2(n: u32) -> f64 {
    libm::ldexp(1.0, n as i32)
}

/// The least b with `bound` < 2^(b−1), a hair above for the rounding of `bound` itself.
pub fn signed_bits_for(bound: f64) -> u32 {
    let (_, exponent) = libm::frexp(bound * (1.0 + 1e-9));
    u32::try_from(exponent + 1).unwrap_or(1)
}

/// The representative of `value` modulo 2^bits in [−2^(bits−1), 2^(bits−1)), for 1 to 128 bits.
///
/// # Security
/// Two shifts: constant time.
pub const fn centred(value: i128, bits: u32) -> i128 {
    value << (128 - bits) >> (128 - bits)
}

/// How many values were cut off at the bound of their format, by the layer that they belong to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Saturations {
    /// Whose values are encoded now.
    layer: Cell<usize>,
    /// By layer, as far as the last one with any.
    counts: RefCell<Vec<u64>>,
}

impl Saturations {
    /// What is encoded from here on belongs to layer number `layer`, from 0.
    pub fn of_layer(&self, layer: usize) -> &Self {
        self.layer.set(layer);
        self
    }

    fn count(&self) {
        let (layer, mut counts) = (self.layer.get(), self.counts.borrow_mut());
        if counts.len() <= layer {
            counts.resize(layer + 1, 0);
        }
        counts[layer] += 1;
    }

    /// The number of values cut off so far.
    pub fn total(&self) -> u64 {
        self.counts.borrow().iter().sum()
    }

    /// The same by layer; layers after the last one with any are left out.
    pub fn by_layer(&self) -> Vec<u64> {
        self.counts.borrow().clone()
    }
}

/// Adds counts by layer to others, of which there may be fewer.
pub fn add_by_layer(sum: &mut Vec<u64>, counts: &[u64]) {
    sum.resize(sum.len().max(counts.len()), 0);
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

/// The scales and bounds of one model: everything that turns it into integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precision {
    /// Activations and inputs (`f_a`).
    pub activations: Format,
    /// Weights and biases (`f_w`). Both parties rely on the bound.
    pub weights: Format,
    /// Backpropagated errors (`f_d`).
    pub errors: Format,
    /// `l`: an update of one step is below 2^(l−1) weight units; larger ones are cut off.
    pub update_bits: u32,
    /// `sigma`: the masks are this many bits longer than what they hide.
    pub mask_bits: u32,
}

impl Precision {
    /// For training: 20 fractional bits of weight, 14 of activation, 18 of error, sigma = 64.
    pub const TRAINING: Self = Self {
        activations: Format::new(3, 14),
        weights: Format::new(4, 20),
        errors: Format::new(1, 18),
        update_bits: 20,
        mask_bits: 64,
    };

    /// For inference with a trained model: 6 fractional bits of weight, 8 of activation.
    ///
    /// One integer bit does for weights as drawn and for a trained LeNet-5; it is for planning where
    /// the weights are not known. A trained model gets as many as it needs ([`fitted`](Self::fitted)).
    pub const INFERENCE: Self = Self {
        activations: Format::new(4, 8),
        weights: Format::new(1, 6),
        errors: Format::new(1, 8),
        update_bits: 8,
        mask_bits: 64,
    };

    /// The same with the fewest integer bits of weight that hold ±`largest`, rounded: what a finished
    /// model needs and no more, as each bit widens every slot. The widest format, if none holds it.
    ///
    /// Not for training, whose updates need the room.
    #[must_use]
    pub fn fitted(self, largest: f64) -> Self {
        let format = |integer| Format::new(integer, self.weights.fraction);
        let holds = |format: &Format| {
            let saturations = Saturations::default();
            format.encode(largest, &saturations);
            saturations.total() == 0
        };
        let weights = (0..MOST_BITS).map(format).find(holds).unwrap_or(format(MOST_BITS));
        Self { weights, ..self }
    }

    /// The largest `g_max` of a secret learning rate: that many fractional bits of the weights can
    /// be spent on it, and at least one bit of an update must be left.
    pub fn most_g_max(&self) -> u32 {
        self.weights.fraction.min(self.update_bits.saturating_sub(2))
    }

    /// Bits of a masked update, sign included: |G + R·2^g| < 2^(l−1+g_max) + 2^(l+sigma+g_max).
    pub fn masked_update_bits(&self, g_max: u32) -> u32 {
        let update = exp2(self.update_bits - 1 + g_max);
        signed_bits_for(update + exp2(self.update_bits + self.mask_bits + g_max))
    }

    /// Checks the domain of every field.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the field and the rule.
    pub fn validate(&self) -> Result<()> {
        let rule = |ok: bool, what: &str, why: &str| match ok {
            true => Ok(()),
            false => Err(ApiMisuse::configuration(what, why)),
        };
        let fits = |f: Format| f.integer <= MOST_BITS && (1..=MOST_BITS).contains(&f.fraction);
        let why = "needs 1 to 40 fractional and at most 40 integer bits";
        rule(fits(self.activations), "precision of activations", why)?;
        rule(fits(self.weights), "precision of weights", why)?;
        rule(fits(self.errors), "precision of errors", why)?;
        rule((2..=60).contains(&self.update_bits), "update bits", "need 2 to 60")?;
        rule((40..=100).contains(&self.mask_bits), "mask bits (sigma)", "need 40 to 100")?;
        Ok(())
    }
}

/// Integer bits at most, and fractional bits at most.
const MOST_BITS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_for_bounds() {
        for (bound, bits) in [(0.5, 1), (1.0, 2), (127.0, 8), (128.0, 9), (1e30, 101)] {
            assert_eq!(signed_bits_for(bound), bits, "{bound}");
        }
    }

    #[test]
    fn centred_residues() {
        for (value, bits, expected) in [
            (7, 4, 7),
            (8, 4, -8),
            (-8, 4, -8),
            (-9, 4, 7),
            (160, 4, 0),
            (1, 1, -1),
            (i128::MIN, 127, 0),
            (i128::MIN, 128, i128::MIN),
        ] {
            assert_eq!(centred(value, bits), expected, "{value} modulo 2^{bits}");
        }
    }

    #[test]
    fn encoding_rounds_half_away_from_zero_and_saturates() {
        let f = Format::new(2, 2);
        let s = Saturations::default();
        for (x, v) in [(0.0, 0), (0.124, 0), (0.125, 1), (-0.125, -1), (3.75, 15)] {
            assert_eq!(f.encode(x, &s), v, "{x}");
        }
        assert_eq!(s.total(), 0);
        assert_eq!(f.encode(4.0, &s), 15);
        assert_eq!(f.encode(f64::NEG_INFINITY, &s), -15);
        assert_eq!(f.encode(f64::NAN, &s), 0);
        assert_eq!(s.total(), 3);
    }

    #[test]
    fn what_is_cut_off_is_counted_by_layer() {
        let (f, s) = (Format::new(2, 2), Saturations::default());
        assert_eq!(s.by_layer(), [0u64; 0]);
        f.encode(9.0, s.of_layer(2));
        f.encode(1.0, s.of_layer(3));
        f.encode(9.0, s.of_layer(0));
        f.encode(-9.0, &s);
        assert_eq!((s.by_layer(), s.total()), (vec![2, 0, 1], 3));
    }

    proptest! {
        #[test]
        fn fitted_formats_hold_the_largest_and_no_fewer_bits_do(
            mantissa in -1.0..1.0f64, exponent in 0..40u32, fraction in 1..=40u32,
        ) {
            let largest = mantissa * exp2(exponent);
            let usual = Precision { weights: Format::new(7, fraction), ..Precision::INFERENCE };
            let fitted = usual.fitted(largest);
            let format = fitted.weights;
            let cut_off = |format: Format| {
                let s = Saturations::default();
                format.encode(largest, &s);
                s.total() > 0
            };
            prop_assert!(!cut_off(format) && format.fraction == fraction);
            prop_assert!(
                format.integer == 0 || cut_off(Format::new(format.integer - 1, fraction))
            );
            let rounded = format.decode(format.encode(largest, &Saturations::default()));
            prop_assert_eq!(fitted.fitted(rounded), fitted, "rounded already");
            prop_assert!(fitted.validate().is_ok());
        }
    }

    #[test]
    fn fitted_by_hand() {
        let bits = |largest| Precision::INFERENCE.fitted(largest).weights.integer;
        // 63.4 and 63.6 units of 1/64: the second is rounded to 1.
        for (largest, expected) in [
            (0.0, 0),
            (63.4 / 64.0, 0),
            (63.6 / 64.0, 1),
            (-1.5, 1),
            (2.0, 2),
            (1e30, MOST_BITS),
            (f64::NAN, MOST_BITS),
        ] {
            assert_eq!(bits(largest), expected, "{largest}");
        }
    }

    #[test]
    fn presets_are_valid() {
        Precision::TRAINING.validate().unwrap();
        Precision::INFERENCE.validate().unwrap();
        let short_mask = Precision { mask_bits: 39, ..Precision::TRAINING };
        assert!(short_mask.validate().is_err());
    }
}
