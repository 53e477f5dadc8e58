//! Horizontal bars, divided or not.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::ruler::{Ruler, number};
use super::{Area, Drawn, LEGEND_ROW, Palette, WIDTH, legend, pixels, text, text_width};
use crate::exhibit::{Bars, Scale};

/// The picture as SVG; `label` says what a whole bar amounts to.
///
/// On a logarithmic axis only whole bars have a length, so their parts are not shown.
pub fn bars(bars: &Bars, palette: &Palette, label: impl Fn(f64) -> String) -> String {
    let divided = bars.segments.len() > 1 && bars.axis.scale == Scale::Linear;
    let names = bars.segments.iter().filter(|_| divided).map(String::as_str);
    let (places, rows) = legend(names, KEY + 8, pixels(WIDTH as usize) - 2 * MARGIN);
    let picture = Picture {
        bars,
        palette,
        labels: totals(bars).map(label).collect(),
        divided,
        legend: places,
        bottom: TOP + BAR * pixels(bars.bars.len()),
    };
    let below = if divided { rows * LEGEND_ROW + 10 } else { 0 };
    let height = u32::try_from(picture.bottom + AXIS).unwrap_or(0) + below;
    super::svg(height, palette, |area| picture.draw(area))
}

/// An amount to three digits, in the unit of the axis.
pub fn plain(amount: f64) -> String {
    number(format!("{amount:.2e}").parse().unwrap_or(amount), 0.0)
}

fn totals(bars: &Bars) -> impl Iterator<Item = f64> {
    bars.bars.iter().map(|bar| bar.values.iter().sum())
}

const MARGIN: i32 = 12;
const TOP: i32 = 8;
/// Height of a bar with the room around it.
const BAR: i32 = 32;
/// Height of the axis' numbers and name.
const AXIS: i32 = 52;
/// Length of the piece of bar in the legend.
const KEY: i32 = 30;

struct Picture<'a> {
    bars: &'a Bars,
    palette: &'a Palette,
    labels: Vec<String>,
    divided: bool,
    legend: Vec<(i32, i32)>,
    bottom: i32,
}

impl Picture<'_> {
    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (bars, ink) = (self.bars, self.palette.ink);
        let widest =
            |texts: &mut dyn Iterator<Item = &str>| texts.map(text_width).max().unwrap_or(0);
        let left = widest(&mut bars.bars.iter().map(|bar| bar.name.as_str())).clamp(60, 330);
        let left = MARGIN + left + 10;
        let room = widest(&mut self.labels.iter().map(String::as_str)) + 8;
        let right = (pixels(WIDTH as usize) - MARGIN - room.max(24)).max(left + 60);
        let ruler = Ruler::from_zero(bars.axis.scale, totals(bars));
        #[expect(clippy::cast_possible_truncation, reason = "from left to right")]
        let along =
            |place: f64| left + (ruler.share(place) * f64::from(right - left)).round() as i32;
        for &tick in &ruler.ticks {
            let x = along(tick);
            area.draw(&PathElement::new([(x, TOP), (x, self.bottom)], self.palette.grid))?;
            let below = (x, self.bottom + 14);
            area.draw(&Text::new(ruler.label(tick), below, text(ink, HPos::Center)))?;
        }
        let below = ((left + right) / 2, self.bottom + 36);
        area.draw(&Text::new(bars.axis.label.as_str(), below, text(ink, HPos::Center)))?;
        for (row, (bar, label)) in (0i32..).zip(bars.bars.iter().zip(&self.labels)) {
            let top = TOP + row * BAR;
            let middle = top + BAR / 2;
            area.draw(&Text::new(bar.name.as_str(), (left - 10, middle), text(ink, HPos::Right)))?;
            let whole = [bar.values.iter().sum()];
            let parts = if self.divided { &bar.values[..] } else { &whole };
            let (mut sum, mut end) = (0.0, left);
            for (i, part) in parts.iter().enumerate() {
                sum += part;
                let next = ruler.place(sum).map_or(end, along);
                self.segment(area, i, (end, top + 6), (next, top + BAR - 6))?;
                end = next;
            }
            area.draw(&Text::new(label.as_str(), (end + 8, middle), text(ink, HPos::Left)))?;
        }
        area.draw(&PathElement::new([(left, TOP), (left, self.bottom)], ink))?;
        for (i, (name, (x, row))) in bars.segments.iter().zip(&self.legend).enumerate() {
            let x = MARGIN + x;
            let middle = self.bottom + AXIS + 10 + row * LEGEND_ROW as i32;
            self.segment(area, i, (x, middle - 8), (x + KEY, middle + 8))?;
            area.draw(&Text::new(name.as_str(), (x + KEY + 8, middle), text(ink, HPos::Left)))?;
        }
        Ok(())
    }

    /// A rectangle, as light or dark and hatched as its index says.
    fn segment(
        &self,
        area: &Area<'_>,
        index: usize,
        (left, top): (i32, i32),
        (right, bottom): (i32, i32),
    ) -> Drawn {
        if left >= right {
            return Ok(());
        }
        let (ink, fills) = (self.palette.ink, self.palette.segments);
        let corners = [(left, top), (right, bottom)];
        // The seventh is as light as the fourth, with lines of its own.
        let fill = (index + index / fills.len() * 3) % fills.len();
        area.draw(&Rectangle::new(corners, fills[fill].filled()))?;
        for [from, to] in hatching(index, corners) {
            area.draw(&PathElement::new([from, to], ink))?;
        }
        area.draw(&Rectangle::new(corners, ink.stroke_width(1)))
    }
}

/// Parallel lines across a rectangle: rising, falling, upright for every other part, level for the seventh.
fn hatching(index: usize, [(left, top), (right, bottom)]: [(i32, i32); 2]) -> Vec<[(i32, i32); 2]> {
    let (width, height) = (right - left, bottom - top);
    let rising = (1..).map(|i| i * HATCH).take_while(|d| *d < width + height).map(|d| {
        // The line x + y = d, cut off at the rectangle.
        let start = (d.min(width), d - d.min(width));
        let end = (d - d.min(height), d.min(height));
        [start, end]
    });
    let mirror = |(x, y): (i32, i32)| (width - x, y);
    let upright =
        (1..).map(|i| i * HATCH).take_while(|x| *x < width).map(|x| [(x, 0), (x, height)]);
    let level =
        (1..).map(|i| i * HATCH / 2).take_while(|y| *y < height).map(|y| [(0, y), (width, y)]);
    let lines: Vec<_> = match index % 12 {
        1 => rising.collect(),
        3 => rising.map(|line| line.map(mirror)).collect(),
        5 => upright.collect(),
        6 => level.collect(),
        _ => vec![],
    };
    lines.into_iter().map(|line| line.map(|(x, y)| (left + x, top + y))).collect()
}

/// Between two lines of a hatching.
const HATCH: i32 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::{Axis, Bar};

    fn drawn(axis: Axis, bars_of: &[(&str, &[f64])]) -> String {
        let bars = bars_of.iter().map(|(n, v)| Bar { name: (*n).into(), values: v.to_vec() });
        let segments = vec!["<client>".into(), "server".into()];
        let picture = Bars { caption: String::new(), axis, segments, bars: bars.collect() };
        super::bars(&picture, &Palette::ALONE, |total| format!("{total} & more"))
    }

    #[test]
    fn names_are_escaped_and_odd_values_survived() {
        let svg = drawn(Axis::linear("s"), &[("<b>", &[1.0, 2.0]), ("none", &[0.0, 0.0])]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
        for text in ["&lt;b&gt;", "&lt;client&gt;", "3 &amp; more", "0 &amp; more"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("<b>") && !svg.contains("<client>"));
        assert!(drawn(Axis::linear("s"), &[]).ends_with("</svg>\n"));
        let odd = drawn(Axis::log("s"), &[("a", &[0.0]), ("b", &[f64::NAN]), ("c", &[-1.0])]);
        assert!(odd.ends_with("</svg>\n"));
    }

    #[test]
    fn amounts_by_hand() {
        assert_eq!([0.0005, 1.2345, 123456.0, 0.0].map(plain), ["0.0005", "1.23", "123000", "0"]);
    }

    #[test]
    fn a_logarithmic_axis_shows_whole_bars() {
        let svg = drawn(Axis::log("s"), &[("a", &[1.0, 2.0]), ("b", &[100.0, 5.0])]);
        assert!(!svg.contains("&lt;client&gt;"), "no legend of parts");
    }

    #[test]
    fn hatchings_stay_inside() {
        let corners = [(10, 20), (55, 40)];
        for index in 0..7 {
            let lines = hatching(index, corners);
            assert_eq!(lines.is_empty(), [0, 2, 4].contains(&index));
            for (x, y) in lines.into_iter().flatten() {
                assert!((10..=55).contains(&x) && (20..=40).contains(&y), "{x}, {y}");
            }
        }
        assert_eq!(hatching(1, [(0, 0), (7, 7)]), [[(7, 0), (0, 7)]]);
    }
}
