//! Scales, bounds and masks: what cloud and key holder agree on before a query.

use gelu_core::Result;
use gelu_core::error::{ApiMisuse, RangeError};
use gelu_core::slots::signed_bits;
use rand::RngExt;
use rand_core::CryptoRng;

use crate::decode::{Decoder, MAX_RANGE_BITS};

/// How numbers are encoded and how well they are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Binary places of inputs and activations.
    pub input_fraction: u32,
    /// Binary places of weights.
    pub weight_fraction: u32,
    /// Significant bits of z, z² and z⁴ − 10·z², more or less.
    pub value_bits: u32,
    /// Masked values for two plaintexts are within 2^−`mask_bits` of each other (statistically).
    pub mask_bits: u32,
    /// The widest range that the key holder searches, in bits with sign.
    pub range_bits: u32,
    /// Its table has 2^`table_bits` entries.
    pub table_bits: u32,
}

impl Default for Settings {
    /// Inputs and weights to 1/64, values of 8 bits, masks of 16, a table of 64 MiB.
    fn default() -> Self {
        Self {
            input_fraction: 6,
            weight_fraction: 6,
            value_bits: 8,
            mask_bits: 16,
            range_bits: 44,
            table_bits: 22,
        }
    }
}

impl Settings {
    /// Checks each value against its domain.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the value.
    pub fn validate(&self) -> Result<()> {
        for (what, got, most) in [
            ("input_fraction", self.input_fraction, 12),
            ("weight_fraction", self.weight_fraction, 12),
            ("value_bits", self.value_bits, 16),
            ("mask_bits", self.mask_bits, 40),
            ("range_bits", self.range_bits, MAX_RANGE_BITS),
        ] {
            if got > most {
                return Err(ApiMisuse::configuration(what, format!("{got}, at most {most}")).into());
            }
        }
        Ok(())
    }

    /// The decoder for the widest range; its table is built at the first call.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn decoder(&self) -> Result<Decoder> {
        Decoder::new(self.range_bits, self.table_bits)
    }
}

/// One value's mask r = dither + divisor·high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Uniform below the divisor; it decides which way the quotient is rounded.
    pub dither: i64,
    /// What the cloud takes off again.
    pub high: i64,
}

/// One round: values that are masked, decrypted, divided and encrypted anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For messages: `dense1, square`.
    pub name: String,
    /// The absolute value that v stays within.
    pub bound: i64,
    /// What v is divided by.
    pub divisor: i64,
    /// The mask's high part is in −highs..highs.
    pub highs: i64,
    /// Bits of the range that holds v + r, sign included.
    pub range_bits: u32,
}

impl Step {
    /// # Errors
    /// [`RangeError::Slot`] when v + r needs more bits than can be searched.
    fn new(name: String, bound: i128, divisor: i128, settings: &Settings) -> Result<Self> {
        let highs = ((bound + divisor - 1) / divisor).max(1) << settings.mask_bits;
        let needed = signed_bits(bound + divisor * (highs + 1));
        let available = settings.range_bits;
        if needed > available {
            return Err(RangeError::Slot { layer: name, needed, available }.into());
        }
        let small = |x: i128| i64::try_from(x).expect("less than the range");
        let (bound, divisor, highs) = (small(bound), small(divisor), small(highs));
        Ok(Self { name, bound, divisor, highs, range_bits: needed })
    }

    /// A mask for one value.
    pub fn draw(&self, rng: &mut dyn CryptoRng) -> Mask {
        let dither = rng.random_range(0..self.divisor);
        Mask { dither, high: rng.random_range(-self.highs..self.highs) }
    }

    /// ⌊(v + dither) / divisor⌋, plainly.
    pub fn divide(&self, v: i64, dither: i64) -> i64 {
        (v + dither).div_euclid(self.divisor)
    }

    /// The bound of the quotient.
    fn quotient_bound(&self) -> i128 {
        i128::from(self.bound / self.divisor) + 1
    }
}

/// The four rounds of a hidden layer, with the constants of its polynomial in their scales.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenPlan {
    /// z = W·x + b.
    pub sums: Step,
    /// s = z².
    pub square: Step,
    /// p = s·(s − 10).
    pub quartic: Step,
    /// a = (240 + z·(120 + p)) / 480.
    pub activation: Step,
    /// 10 in the scale of s.
    pub ten: i64,
    /// 120 in the scale of p.
    pub one_hundred_twenty: i64,
    /// 240 in the scale of z·p.
    pub two_hundred_forty: i64,
}

impl HiddenPlan {
    /// The rounds in their order.
    pub fn steps(&self) -> [&Step; 4] {
        [&self.sums, &self.square, &self.quartic, &self.activation]
    }

    /// For sums within `bound`, of `input_fraction` + `weight_fraction` binary places.
    fn new(layer: &str, bound: i128, settings: &Settings) -> Result<Self> {
        let step =
            |name, bound, divisor| Step::new(format!("{layer}, {name}"), bound, divisor, settings);
        let raw = settings.input_fraction + settings.weight_fraction;
        // Binary places that leave `value_bits` significant ones below `bound`·2^−scale.
        let places = |bound: i128, scale: u32, most: u32| {
            let integer = signed_bits(bound).saturating_sub(scale + 1);
            settings.value_bits.saturating_sub(integer).min(most)
        };
        // The last divisor is 480·2^(z + p − a), and 480 = 15·2⁵: an integer if z + p + 5 ≥ a, which
        // z ≥ (a − 5)/5, s ≥ (a − 5 − z)/2 and p ≥ a − 5 − z make sure of.
        let a = settings.input_fraction;
        let spare = a.saturating_sub(5);
        let z = places(bound, raw, raw).max(spare.div_ceil(5));
        let sums = step("sums", bound, 1 << (raw - z))?;

        let z_bound = sums.quotient_bound();
        let missing = spare.saturating_sub(z);
        let s = places(z_bound * z_bound, 2 * z, 2 * z).max(missing.div_ceil(2));
        let square = step("square", z_bound * z_bound, 1 << (2 * z - s))?;

        let (s_bound, ten) = (square.quotient_bound(), 10i128 << s);
        // s·(s − 10) lies between −25 and its value at the bound of s.
        let quartic_bound = (25 << (2 * s)).max(s_bound * (s_bound - ten));
        let p = places(quartic_bound, 2 * s, 2 * s).max(missing);
        let quartic = step("quartic", quartic_bound, 1 << (2 * s - p))?;

        let (p_bound, c120, c240) = (quartic.quotient_bound(), 120i128 << p, 240i128 << (z + p));
        let activation_bound = c240 + z_bound * (c120 + p_bound);
        let activation = step("activation", activation_bound, (480 << (z + p)) >> a)?;
        let small = |x: i128| i64::try_from(x).expect("a constant below a bound");
        let (ten, one_hundred_twenty, two_hundred_forty) = (small(ten), small(c120), small(c240));
        Ok(Self { sums, square, quartic, activation, ten, one_hundred_twenty, two_hundred_forty })
    }
}

/// One layer of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlan {
    /// Its name.
    pub name: String,
    /// Values that go in.
    pub inputs: usize,
    /// Values that come out.
    pub outputs: usize,
    /// The rounds of its activation; none for the last layer, whose sums are the scores.
    pub hidden: Option<HiddenPlan>,
}

/// What cloud and key holder both know: shapes, scales and bounds; see the [module](super).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The settings that it was made with.
    pub settings: Settings,
    /// Encoded inputs are within this.
    pub input_bound: i64,
    /// Bits of the range that holds the scores, sign included.
    pub score_bits: u32,
    /// The layers.
    pub layers: Vec<LayerPlan>,
}

/// What range analysis has to know of a layer.
pub(super) struct Shape<'a> {
    pub(super) name: &'a str,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The largest sum of absolute weights of an output, in the weights' scale.
    pub(super) gain: i128,
    /// The largest absolute bias, in the weights' scale.
    pub(super) bias: i128,
    /// A declared bound of the sums, in their scale.
    pub(super) declared: Option<i128>,
}

impl Plan {
    /// Range analysis, layer by layer.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the first layer and step that do not fit.
    pub(super) fn new(settings: Settings, input_bound: i64, shapes: &[Shape<'_>]) -> Result<Self> {
        settings.validate()?;
        let mut value_bound = i128::from(input_bound);
        let mut layers = Vec::new();
        let mut score_bits = 0;
        for (index, shape) in shapes.iter().enumerate() {
            let proven = shape.gain * value_bound + (shape.bias << settings.input_fraction);
            let bound = shape.declared.map_or(proven, |declared| declared.min(proven)).max(1);
            let hidden = if index + 1 < shapes.len() {
                let hidden = HiddenPlan::new(shape.name, bound, &settings)?;
                value_bound = hidden.activation.quotient_bound();
                Some(hidden)
            } else {
                score_bits = signed_bits(bound);
                if score_bits > settings.range_bits {
                    let (needed, available) = (score_bits, settings.range_bits);
                    let layer = format!("{}, scores", shape.name);
                    return Err(RangeError::Slot { layer, needed, available }.into());
                }
                None
            };
            let (name, inputs, outputs) = (shape.name.to_owned(), shape.inputs, shape.outputs);
            layers.push(LayerPlan { name, inputs, outputs, hidden });
        }
        Ok(Self { settings, input_bound, score_bits, layers })
    }

    /// Values of a query.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Scores of a query.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// 1 in the scale of inputs: what a bias is multiplied with.
    pub fn one(&self) -> i64 {
        1 << self.settings.input_fraction
    }

    /// A number in the scale of inputs.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when it is not within the plan's bound.
    pub fn encode(&self, x: f64) -> Result<i64> {
        round(x, self.settings.input_fraction, self.input_bound.into())
            .ok_or_else(|| ApiMisuse::configuration("an input", format!("{x} is too large")).into())
    }
}

/// x·2^places to the nearest integer, if that is within `bound`.
pub(super) fn round(x: f64, places: u32, bound: i128) -> Option<i64> {
    let scaled = (x * f64::from(1u32 << places)).round();
    #[expect(clippy::cast_possible_truncation, reason = "less than 2^53, and an integer")]
    let integer = (scaled.abs() < 9e15).then_some(scaled as i64)?;
    (i128::from(integer).abs() <= bound).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Error;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha20Rng};

    fn shapes(declared: f64) -> [Shape<'static>; 2] {
        let declared = round(declared, 12, i128::MAX).map(i128::from);
        let hidden = Shape { name: "dense1", inputs: 4, outputs: 5, gain: 400, bias: 64, declared };
        [
            hidden,
            Shape { name: "dense2", inputs: 5, outputs: 3, gain: 500, bias: 64, declared: None },
        ]
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let plan = |settings| Plan::new(settings, 256, &shapes(8.0));
        assert!(plan(Settings::default()).is_ok());
        let narrow = Settings { range_bits: 37, value_bits: 12, ..Settings::default() };
        let Err(Error::Range(RangeError::Slot { layer, needed, available })) = plan(narrow) else {
            panic!("37 bits cannot hold everything");
        };
        assert_eq!((layer.as_str(), available), ("dense1, square", 37));
        assert!(needed > 37);
        let masked = Settings { mask_bits: 40, ..Settings::default() };
        assert!(matches!(plan(masked), Err(Error::Range(_))));
        let proven = Plan::new(Settings::default(), 100_000, &shapes(1e9));
        assert!(matches!(proven, Err(Error::Range(_))), "bounds of the weights alone");
        assert!(plan(Settings { value_bits: 99, ..Settings::default() }).is_err());
        let scores = Plan::new(
            Settings { range_bits: 20, ..Settings::default() },
            1 << 20,
            &shapes(1.0)[1..],
        );
        let Err(Error::Range(RangeError::Slot { layer, .. })) = scores else { panic!() };
        assert_eq!(layer, "dense2, scores");
    }

    #[test]
    fn inputs_are_checked() {
        let plan = Plan::new(Settings::default(), 256, &shapes(8.0)).unwrap();
        assert_eq!(plan.encode(4.0).unwrap(), 256);
        assert_eq!(plan.encode(-0.02).unwrap(), -1);
        for bad in [4.1, -4.1, f64::NAN, f64::INFINITY, 1e300] {
            assert!(plan.encode(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// ⌊(v + r)/d⌋ − high = ⌊(v + dither)/d⌋, and it is v/d up to less than 1.
        #[test]
        fn the_mask_comes_off(v in -100_000i64..100_000, seed in any::<u64>(), power in 0u32..12) {
            let settings = Settings::default();
            let step = Step::new("test".into(), 100_000, 480 << power, &settings).unwrap();
            let mask = step.draw(&mut ChaCha20Rng::seed_from_u64(seed));
            let masked = v + mask.dither + step.divisor * mask.high;
            let quotient = masked.div_euclid(step.divisor) - mask.high;
            prop_assert_eq!(quotient, step.divide(v, mask.dither));
            let error = quotient * step.divisor - v;
            prop_assert!(error.abs() < step.divisor);
            prop_assert!(signed_bits(masked.into()) <= step.range_bits);
            prop_assert!(i128::from(quotient).abs() <= step.quotient_bound());
        }
    }

    proptest! {
        /// The scales of all four rounds fit each other: each divisor is exactly the ratio of the
        /// scale before it and the scale after it.
        #[test]
        fn scales_fit(
            input_fraction in 0u32..=12, weight_fraction in 0u32..=12, value_bits in 0u32..=16,
            bound in 1i128..1 << 24,
        ) {
            let settings = Settings {
                input_fraction, weight_fraction, value_bits, mask_bits: 1, range_bits: 48,
                ..Settings::default()
            };
            let Ok(hidden) = HiddenPlan::new("dense1", bound, &settings) else { return Ok(()) };
            // The scales, from the constants: 10·S, 120·P and 240·Z·P.
            let (s, p) = (hidden.ten / 10, hidden.one_hundred_twenty / 120);
            let z = hidden.two_hundred_forty / 240 / p;
            let (raw, a) = (1i64 << (input_fraction + weight_fraction), 1i64 << input_fraction);
            prop_assert_eq!(raw, z * hidden.sums.divisor);
            prop_assert_eq!(z * z, s * hidden.square.divisor);
            prop_assert_eq!(s * s, p * hidden.quartic.divisor);
            prop_assert_eq!(480 * z * p, a * hidden.activation.divisor);
        }
    }

    /// The mean of the rounded values is the value.
    #[test]
    fn rounding_is_fair() {
        let step = Step::new("test".into(), 1000, 8, &Settings::default()).unwrap();
        for v in -20..20 {
            let sum: i64 = (0..8).map(|dither| step.divide(v, dither)).sum();
            assert_eq!(sum, v, "8 dithers, divided by 8");
        }
    }
}
