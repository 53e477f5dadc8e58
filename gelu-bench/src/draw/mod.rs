//! Pictures: charts as SVG, grey images as PNG.
//!
//! | module | draws |
//! |---|---|
//! | [`lines`] | curves and points over two axes |
//! | [`bars`] | horizontal bars, divided or not |
//! | [`images`] | grey images, one by one or as a sheet |
//! | [`palette`] | nothing, but says in which colours |
//!
//! Axes, meshes and legends are those of plotters. Nothing is told apart by colour alone: series differ
//! in their dashes and markers as well, segments in lightness and hatching, so that a chart survives a
//! black-and-white printer and eyes that see fewer colours.

pub mod bars;
pub mod images;
pub mod lines;
pub mod palette;

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::TextStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use palette::Palette;

use crate::exhibit::Scale;

/// Of every chart, in its own units; a page scales it.
const WIDTH: u32 = 640;
/// Of letters; SVG makes it a fifth less.
const TEXT: u32 = 18;
/// Width of a letter, on average, for room that has to be left before a font is known.
const LETTER: usize = 8;
/// Height of a line of a legend, and width of what stands before its name.
const LEGEND_LINE: u32 = 24;
const LEGEND_KEY: i32 = 40;
/// Height of a horizontal axis' numbers and name.
const BELOW_AXIS: u32 = 52;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Place = (i32, i32);
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// An SVG of that height. A drawing in a string cannot fail; if it does all the same, there is none.
fn svg(height: u32, palette: &Palette, content: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    let background = palette.background.map_or(Ok(()), |colour| area.fill(&colour));
    let drawn = background.and_then(|()| content(&area)).and_then(|()| area.present());
    drop(area);
    drawn.map(|()| svg).unwrap_or_default()
}

/// Text that is placed by its left, middle or right, at half its height.
fn text(colour: RGBColor, across: HPos) -> TextStyle<'static> {
    ("sans-serif", TEXT).into_font().color(&colour).pos(Pos::new(across, VPos::Center))
}

/// About as wide as the widest of the texts will be.
fn width<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> u32 {
    let letters = texts.into_iter().map(|text| text.as_ref().chars().count()).max().unwrap_or(0);
    u32::try_from(LETTER * letters).unwrap_or(WIDTH).min(WIDTH)
}

/// A legend in an area of its own, where it covers nothing: a line for each name, behind what its key
/// draws.
fn legend<'n, 'b, 'a: 'b, K, E>(
    area: &Area<'a>,
    palette: &Palette,
    entries: impl IntoIterator<Item = (&'n str, K)>,
) -> Drawn
where
    K: Fn((i32, i32)) -> E + 'b,
    E: IntoDynElement<'b, SVGBackend<'a>, (i32, i32)>,
{
    let mut chart = ChartBuilder::on(area).margin_left(12).build_cartesian_2d(0..1, 0..1)?;
    for (name, key) in entries {
        let nothing = std::iter::empty::<Pixel<(i32, i32)>>();
        chart.draw_series(nothing)?.label(name).legend(key);
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).legend_area_size(LEGEND_KEY + 8).margin(0);
    labels.label_font(("sans-serif", TEXT).into_font().color(&palette.ink)).draw()
}

/// Height of a legend of so many names.
fn legend_height(names: usize) -> u32 {
    u32::try_from(names).unwrap_or(0) * LEGEND_LINE
}

/// How an axis names a value: on a logarithmic one 1, 2 and 5 times a power of ten alone.
fn mark(scale: Scale) -> impl Fn(&f64) -> String {
    move |value| match scale {
        Scale::Log if !format!("{value:.0e}").starts_with(['1', '2', '5']) => String::new(),
        _ => number(*value),
    }
}

/// What an axis shows of `values`: all that it can, and a little more. A linear one begins at 0 where
/// that wastes less than half of it, a logarithmic one at a power of ten.
fn range(scale: Scale, values: impl Iterator<Item = f64>) -> Range<f64> {
    let seen = values.filter(|&value| shows(scale, value));
    let (low, high) = seen.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)));
    match scale {
        _ if low > high => 0.1..1.0,
        Scale::Log => 10f64.powf(low.log10().floor())..(1.1 * high).max(1.2 * low),
        Scale::Linear if low > 0.0 && low < 0.5 * high => 0.0..1.04 * high,
        // So little that rounding makes it up.
        Scale::Linear if high - low <= 1e-9 * high.abs() => {
            let room = if low == 0.0 { 0.5 } else { 0.05 * low.abs() };
            low - room..high + room
        }
        Scale::Linear => {
            let room = 0.04 * (high - low);
            let first = if low == 0.0 { 0.0 } else { low - room };
            first..high + room
        }
    }
}

/// Whether an axis has a place for the value.
fn shows(scale: Scale, value: f64) -> bool {
    value.is_finite() && (scale == Scale::Linear || value > 0.0)
}

/// A number as people write it, to four digits.
fn number(value: f64) -> String {
    // Drops what rounding has left behind.
    let value: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if value.abs() < 1e-12 {
        return "0".into();
    }
    if (-4.0..6.0).contains(&value.abs().log10()) {
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

    #[test]
    fn numbers_by_hand() {
        let shown = [0.0, 0.1 + 0.2, 12000.0, 2e6, 1e6, 1e-5, -0.5, 1e-17].map(number);
        assert_eq!(shown, ["0", "0.3", "12000", "2·10⁶", "10⁶", "10⁻⁵", "-0.5", "0"]);
    }

    #[test]
    fn axes_hold_what_they_show() {
        assert_eq!(range(Scale::Linear, [0.13, 1.0].into_iter()), 0.0..1.04);
        assert!(range(Scale::Linear, [0.91, 0.984].into_iter()).start > 0.9);
        assert_eq!(range(Scale::Log, [0.004, 30.0].into_iter()), 0.001..33.0);
        for scale in [Scale::Linear, Scale::Log] {
            for values in [&[][..], &[3.0], &[0.0], &[f64::NAN, -1.0], &[f64::INFINITY]] {
                let range = range(scale, values.iter().copied());
                assert!(range.start < range.end && range.end.is_finite(), "{range:?}");
            }
        }
    }
}
