//! An axis: from values to places, and the values worth naming.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::exhibit::Scale;

/// A range of an axis. Places are values themselves, or their logarithms.
#[derive(Debug, Clone)]
pub(super) struct Ruler {
    scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Where names stand.
    pub(super) ticks: Vec<f64>,
}

impl Ruler {
    /// The range of the values, and a little more; names at the values themselves where they are few.
    pub(super) fn around(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let mut places: Vec<f64> = values.filter_map(|value| place(scale, value)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let (low, high) = ends(&places);
        let room = (high - low) * 0.03;
        let far = places.windows(2).all(|pair| pair[1] - pair[0] >= 0.08 * (high - low));
        let ticks = match far && (2..=8).contains(&places.len()) {
            true => places,
            false => ticks(scale, low, high),
        };
        match ticks.len() {
            // No round value lies inside.
            0 | 1 => Self::between(scale, low, high),
            _ => Self { scale, low: low - room, high: high + room, ticks },
        }
    }

    /// From one round value to another, the values between them; from 0 where that wastes less than
    /// half.
    pub(super) fn outside(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let mut places: Vec<f64> = values.filter_map(|value| place(scale, value)).collect();
        places.sort_by(f64::total_cmp);
        let (mut low, high) = ends(&places);
        if scale == Scale::Linear && low > 0.0 && low < 0.5 * high {
            low = 0.0;
        }
        Self::between(scale, low, high)
    }

    fn between(scale: Scale, low: f64, high: f64) -> Self {
        let ticks = ticks_outside(scale, low, high);
        Self { scale, low: ticks[0], high: ticks[ticks.len() - 1], ticks }
    }

    /// From nothing to a round value (on a logarithmic axis: from a round value below all).
    pub(super) fn from_zero(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        match scale {
            Scale::Linear => Self::outside(scale, values.chain([0.0])),
            Scale::Log => {
                let mut ruler = Self::outside(scale, values);
                // The shortest bar must be seen.
                ruler.low -= 0.04 * (ruler.high - ruler.low);
                ruler
            }
        }
    }

    /// Where a value goes, if this axis can show it.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        place(self.scale, value)
    }

    /// How far along the axis, from 0 to 1.
    pub(super) fn share(&self, place: f64) -> f64 {
        ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The value at a place, in words.
    pub(super) fn label(&self, place: f64) -> String {
        match self.scale {
            Scale::Linear => number(place, self.high - self.low),
            Scale::Log => number(10f64.powf(place), 0.0),
        }
    }
}

/// As an axis of a chart: its values are places.
impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "between the limits")]
    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        first + (self.share(*place) * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, place: &f64) -> String {
        self.label(*place)
    }
}

fn place(scale: Scale, value: f64) -> Option<f64> {
    let place = match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
    };
    place.is_finite().then_some(place)
}

/// The first and the last of sorted places, apart even if there is one only, or none.
fn ends(places: &[f64]) -> (f64, f64) {
    let (low, high) = match places {
        [] => (0.0, 1.0),
        _ => (places[0], places[places.len() - 1]),
    };
    // So little that rounding makes it up.
    let least = 1e-9 * low.abs().max(high.abs());
    match high - low > least {
        true => (low, high),
        false => {
            let room = if low == 0.0 { 0.5 } else { 0.05 * low.abs() };
            (low - room, high + room)
        }
    }
}

/// Round places between two.
fn ticks(scale: Scale, low: f64, high: f64) -> Vec<f64> {
    let outside = ticks_outside(scale, low, high);
    let room = 1e-9 * (high - low);
    outside.into_iter().filter(|tick| (low - room..=high + room).contains(tick)).collect()
}

/// Round places between two, and one more at each end if that is not round itself; two at least.
fn ticks_outside(scale: Scale, low: f64, high: f64) -> Vec<f64> {
    match scale {
        Scale::Linear => every(step(high - low), low, high),
        Scale::Log if high - low > 1.3 => every(((high - low) / 7.0).ceil(), low, high),
        Scale::Log => within_decades(low, high),
    }
}

/// 1, 2 or 5 times a power of ten, about a sixth of the range.
fn step(range: f64) -> f64 {
    let raw = range / 6.0;
    let power = 10f64.powf(raw.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= raw * 0.999);
    times.unwrap_or(10.0) * power
}

/// Multiples of `step`.
fn every(step: f64, low: f64, high: f64) -> Vec<f64> {
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    let mut ticks = vec![first * step];
    let mut index = first;
    while index < last {
        index += 1.0;
        ticks.push(index * step);
    }
    ticks
}

/// 1, 2 and 5 times powers of ten.
fn within_decades(low: f64, high: f64) -> Vec<f64> {
    let mut all = Vec::new();
    let mut power = low.floor() - 1.0;
    while power <= high + 1.0 {
        all.extend([1.0, 2.0, 5.0].map(|times: f64| power + times.log10()));
        power += 1.0;
    }
    let first = all.iter().rposition(|tick| *tick <= low + 1e-9).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= high - 1e-9).unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1)].to_vec()
}

/// A round value as people write it. What is nothing beside `range` is 0.
pub(super) fn number(value: f64, range: f64) -> String {
    if value == 0.0 || value.abs() < 1e-9 * range {
        return "0".into();
    }
    // Four digits are enough for what is round, and drop what rounding has left behind.
    let value: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    let exponent = value.abs().log10();
    if (-4.0..6.0).contains(&exponent) {
        return value.to_string();
    }
    let written = format!("{value:e}");
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let raised: String = exponent.chars().map(superscript).collect();
    match digits {
        "1" => format!("10{raised}"),
        _ => format!("{digits}·10{raised}"),
    }
}

fn superscript(digit: char) -> char {
    match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        _ => digit.to_digit(10).and_then(|d| char::from_u32(0x2070 + d)).unwrap_or(digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ruler: &Ruler) -> Vec<String> {
        ruler.ticks.iter().map(|tick| ruler.label(*tick)).collect()
    }

    #[test]
    fn round_numbers_by_hand() {
        let shown = [0.0, 0.1 + 0.2, 12000.0, 2e6, 1e6, 1e-5, -0.5].map(|v| number(v, 1.0));
        assert_eq!(shown, ["0", "0.3", "12000", "2·10⁶", "10⁶", "10⁻⁵", "-0.5"]);
        assert_eq!(number(1e-17, 1.0), "0");
    }

    #[test]
    fn axes_end_at_round_values() {
        let losses = Ruler::outside(Scale::Linear, [0.13, 0.97].into_iter());
        assert_eq!(labels(&losses), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        let accuracies = Ruler::outside(Scale::Linear, [0.91, 0.984].into_iter());
        assert_eq!(labels(&accuracies), ["0.9", "0.92", "0.94", "0.96", "0.98", "1"]);
        let times = Ruler::outside(Scale::Log, [0.004, 30.0].into_iter());
        assert_eq!(labels(&times), ["0.001", "0.01", "0.1", "1", "10", "100"]);
        let close = Ruler::outside(Scale::Log, [3.0, 14.0].into_iter());
        assert_eq!(labels(&close), ["2", "5", "10", "20"]);
        let wide = Ruler::outside(Scale::Log, [1e-8, 1e8].into_iter());
        assert_eq!(wide.label(wide.ticks[0]), "10⁻⁹");
        assert!(wide.ticks.len() <= 8, "{wide:?}");
    }

    #[test]
    fn few_values_name_themselves() {
        let keys = Ruler::around(Scale::Linear, [2048.0, 4096.0, 3072.0, 2048.0].into_iter());
        assert_eq!(labels(&keys), ["2048", "3072", "4096"]);
        let epochs = Ruler::around(Scale::Linear, (1..=30).map(f64::from));
        assert_eq!(labels(&epochs), ["5", "10", "15", "20", "25", "30"]);
    }

    #[test]
    fn no_value_one_value_and_values_that_cannot_be_shown() {
        for scale in [Scale::Linear, Scale::Log] {
            for values in [&[][..], &[3.0], &[0.0], &[f64::NAN, -1.0], &[f64::INFINITY]] {
                let values = || values.iter().copied();
                for ruler in [
                    Ruler::around(scale, values()),
                    Ruler::outside(scale, values()),
                    Ruler::from_zero(scale, values()),
                ] {
                    assert!(ruler.low < ruler.high, "{ruler:?}");
                    assert!(ruler.ticks.len() >= 2 && ruler.ticks.len() < 20, "{ruler:?}");
                }
            }
        }
        assert_eq!(Ruler::outside(Scale::Log, [1.0].into_iter()).place(0.0), None);
    }
}
