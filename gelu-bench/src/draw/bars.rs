//! Horizontal bars, divided or not.

use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use plotters::style::text_anchor::HPos;

use super::{
    Area, BELOW_AXIS, Drawn, LEGEND_KEY, Palette, Place, legend, legend_height, mark, number,
    range, shows, text, width,
};
use crate::exhibit::{Bar, Bars, Scale};

/// The picture as SVG.
///
/// On a logarithmic axis only whole bars have a length, so their parts are not shown.
pub fn bars(bars: &Bars, palette: &Palette) -> String {
    let divided = bars.segments.len() > 1 && bars.axis.scale == Scale::Linear;
    let totals = bars.bars.iter().map(total);
    let along = match bars.axis.scale {
        Scale::Linear => 0.0..range(Scale::Linear, totals.chain([0.0])).end,
        // The shortest bar must be seen.
        Scale::Log => {
            let range = range(Scale::Log, totals);
            0.8 * range.start..range.end
        }
    };
    let names = if divided { bars.segments.len() } else { 0 };
    let height = height(bars) + legend_height(names);
    super::svg(height, palette, |area| match bars.axis.scale {
        Scale::Linear => draw(area, along.clone(), &along, bars, divided, palette),
        Scale::Log => draw(area, along.clone().log_scale(), &along, bars, divided, palette),
    })
}

/// Of the bars and their axis.
fn height(bars: &Bars) -> u32 {
    TOP + ROW * u32::try_from(bars.bars.len()).unwrap_or(0) + BELOW_AXIS
}

fn total(bar: &Bar) -> f64 {
    bar.values.iter().sum()
}

/// Above the bars.
const TOP: u32 = 8;
/// Height of a bar with the room around it, and of that room on each side.
const ROW: u32 = 32;
const ROOM: i32 = 6;

fn draw<X>(
    area: &Area<'_>,
    x: X,
    along: &Range<f64>,
    bars: &Bars,
    divided: bool,
    palette: &Palette,
) -> Drawn
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let (plot, below) = area.split_vertically(height(bars));
    let labels: Vec<_> = bars.bars.iter().map(|bar| amount(total(bar))).collect();
    let rows = bars.bars.len().max(1);
    let mut chart = ChartBuilder::on(&plot)
        .margin_left(12)
        .margin_top(TOP)
        .margin_right(20 + width(&labels))
        .x_label_area_size(BELOW_AXIS)
        .y_label_area_size(width(bars.bars.iter().map(|bar| &bar.name)).clamp(60, 330) + 10)
        // A bar's middle is its number; the first one is on top.
        .build_cartesian_2d(x, rows as f64 - 0.5..-0.5)?;
    let name = |row: &f64| {
        let bar = bars.bars.iter().enumerate().find(|(index, _)| (*index as f64 - row).abs() < 0.1);
        bar.map_or(String::new(), |(_, bar)| bar.name.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .max_light_lines(0)
        .bold_line_style(palette.grid)
        .axis_style(palette.ink)
        .x_labels(10)
        .y_labels(rows)
        .x_label_formatter(&mark(bars.axis.scale))
        .y_label_formatter(&name)
        .label_style(text(palette.ink, HPos::Center))
        .axis_desc_style(text(palette.ink, HPos::Center))
        .x_desc(bars.axis.label.as_str())
        .draw()?;
    let parts = if divided { bars.segments.len() } else { 1 };
    for part in 0..parts {
        let mut segments = Vec::new();
        for (row, bar) in bars.bars.iter().enumerate() {
            let until = |part: usize| bar.values.iter().take(part).sum::<f64>();
            let whole = (along.start, total(bar));
            let (from, to) = if divided { (until(part), until(part + 1)) } else { whole };
            if !shows(bars.axis.scale, to) || to <= from {
                continue;
            }
            let (left, top) = chart.backend_coord(&(from, row as f64 - 0.5));
            let (right, bottom) = chart.backend_coord(&(to, row as f64 + 0.5));
            let size = (right - left, bottom - top - 2 * ROOM);
            let (inside, hatching, outline) = Look::new(part, palette).shapes(size, ROOM);
            let place = EmptyElement::at((from, row as f64 - 0.5));
            segments.push(place + inside + hatching + outline);
        }
        chart.draw_series(segments)?;
    }
    let ends = bars.bars.iter().zip(&labels).enumerate().map(|(row, (bar, label))| {
        let end = if shows(bars.axis.scale, total(bar)) { total(bar) } else { along.start };
        let label = Text::new(label.clone(), (8, 0), text(palette.ink, HPos::Left));
        EmptyElement::at((end, row as f64)) + label
    });
    chart.draw_series(ends)?;
    if !divided {
        return Ok(());
    }
    let entries = bars.segments.iter().enumerate().map(|(part, name)| {
        let look = Look::new(part, palette);
        let key = move |place| {
            let (inside, hatching, outline) = look.shapes((LEGEND_KEY, 16), -8);
            EmptyElement::at(place) + inside + hatching + outline
        };
        (name.as_str(), key)
    });
    legend(&below, palette, entries)
}

/// An amount to three digits, in the unit of the axis.
fn amount(amount: f64) -> String {
    number(format!("{amount:.2e}").parse().unwrap_or(amount))
}

/// How one segment looks: lighter or darker than its neighbours, every other one hatched.
#[derive(Clone, Copy)]
struct Look {
    index: usize,
    fill: RGBColor,
    ink: RGBColor,
}

impl Look {
    fn new(index: usize, palette: &Palette) -> Self {
        let fills = palette.segments;
        // The seventh is as light as the fourth, with lines of its own.
        let fill = fills[(index + index / fills.len() * 3) % fills.len()];
        Self { index, fill, ink: palette.ink }
    }

    /// A rectangle in pixels, `down` below a place.
    fn shapes(
        &self,
        (width, height): (i32, i32),
        down: i32,
    ) -> (Rectangle<Place>, PathElement<Place>, Rectangle<Place>) {
        let corners = [(0, down), (width, down + height)];
        let hatching = hatching(self.index, width, height).into_iter();
        let hatching: Vec<_> = hatching.map(|(x, y)| (x, y + down)).collect();
        let outline = Rectangle::new(corners, self.ink.stroke_width(1));
        (Rectangle::new(corners, self.fill.filled()), PathElement::new(hatching, self.ink), outline)
    }
}

/// Lines across a rectangle, as one path that turns at its edges: upright for the second of twelve, level
/// for the fourth, both for the sixth, close together for the seventh.
fn hatching(index: usize, width: i32, height: i32) -> Vec<(i32, i32)> {
    let path = |length: i32, across: i32, gap: i32| {
        let places = (1..).map(move |i| i * gap).take_while(move |place| *place < length);
        let ends = [[0, across], [across, 0]].into_iter().cycle();
        places.zip(ends).flat_map(|(place, [from, to])| [(place, from), (place, to)])
    };
    let upright = |gap| path(width, height, gap);
    let level = |gap| path(height, width, gap).map(|(y, x)| (x, y));
    match index % 12 {
        1 => upright(HATCH).collect(),
        3 => level(HATCH).collect(),
        // Along the edges from the end of one to the start of the other.
        5 => level(HATCH).chain([(0, height), (0, 0)]).chain(upright(HATCH)).collect(),
        6 => upright(HATCH / 2).collect(),
        _ => vec![],
    }
}

/// Between two lines of a hatching.
const HATCH: i32 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::Axis;

    fn drawn(axis: Axis, bars_of: &[(&str, &[f64])]) -> String {
        let bars = bars_of.iter().map(|(n, v)| Bar { name: (*n).into(), values: v.to_vec() });
        let segments = vec!["<client>".into(), "server".into()];
        let picture = Bars { caption: String::new(), axis, segments, bars: bars.collect() };
        super::bars(&picture, &Palette::ALONE)
    }

    #[test]
    fn names_are_escaped_and_odd_values_survived() {
        let svg = drawn(Axis::linear("s"), &[("<b>", &[1.0, 2.0]), ("none", &[0.0, 0.0])]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
        for text in ["&lt;b&gt;", "&lt;client&gt;", "\n3\n", "\n0\n"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("<b>") && !svg.contains("<client>"));
        assert!(drawn(Axis::linear("s"), &[]).ends_with("</svg>\n"));
        let odd = drawn(Axis::log("s"), &[("a", &[0.0]), ("b", &[f64::NAN]), ("c", &[-1.0])]);
        assert!(odd.ends_with("</svg>\n"));
    }

    #[test]
    fn amounts_by_hand() {
        assert_eq!([0.0005, 1.2345, 123456.0, 0.0].map(amount), ["0.0005", "1.23", "123000", "0"]);
    }

    #[test]
    fn a_logarithmic_axis_shows_whole_bars() {
        let svg = drawn(Axis::log("s"), &[("a", &[1.0, 2.0]), ("b", &[100.0, 5.0])]);
        assert!(!svg.contains("&lt;client&gt;"), "no legend of parts");
    }

    #[test]
    fn hatchings_stay_inside() {
        for index in 0..7 {
            let lines = hatching(index, 45, 20);
            assert_eq!(lines.is_empty(), [0, 2, 4].contains(&index));
            for (x, y) in lines {
                assert!((0..=45).contains(&x) && (0..=20).contains(&y), "{x}, {y}");
            }
        }
        assert_eq!(hatching(1, 20, 9), [(7, 0), (7, 9), (14, 9), (14, 0)]);
    }
}
