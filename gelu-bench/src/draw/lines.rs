//! Curves and points over two axes.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use plotters::style::text_anchor::HPos;

use super::{
    Area, BELOW_AXIS, Drawn, LEGEND_KEY, Palette, Place, legend, legend_height, mark, range, shows,
    text, width,
};
use crate::exhibit::{Lines, Mark, Scale, Series};

/// The picture as SVG. Points that an axis cannot show are left out.
pub fn lines(lines: &Lines, palette: &Palette) -> String {
    let points = || lines.series.iter().flat_map(|series| series.points.iter());
    let x = range(lines.x.scale, points().map(|point| point.0));
    let y = range(lines.y.scale, points().map(|point| point.1));
    super::svg(HEIGHT + legend_height(lines.series.len()), palette, |area| {
        match (lines.x.scale, lines.y.scale) {
            (Scale::Linear, Scale::Linear) => draw(area, x, y, lines, palette),
            (Scale::Linear, Scale::Log) => draw(area, x, y.log_scale(), lines, palette),
            (Scale::Log, Scale::Linear) => draw(area, x.log_scale(), y, lines, palette),
            (Scale::Log, Scale::Log) => draw(area, x.log_scale(), y.log_scale(), lines, palette),
        }
    })
}

/// Of the picture above its legend.
const HEIGHT: u32 = 350;

fn draw<X, Y>(area: &Area<'_>, x: X, y: Y, lines: &Lines, palette: &Palette) -> Drawn
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let (plot, below) = area.split_vertically(HEIGHT);
    let mut chart = ChartBuilder::on(&plot)
        .margin(12)
        .margin_right(24)
        .margin_top(40)
        .x_label_area_size(BELOW_AXIS)
        .y_label_area_size(width(["0.00001"]) + 10)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(palette.grid)
        .axis_style(palette.ink)
        .x_labels(10)
        .y_labels(10)
        .x_label_formatter(&mark(lines.x.scale))
        .y_label_formatter(&mark(lines.y.scale))
        .label_style(text(palette.ink, HPos::Center))
        .axis_desc_style(text(palette.ink, HPos::Center))
        .x_desc(lines.x.label.as_str())
        .draw()?;
    // What the vertical axis measures stands above it, where it can be read without turning the head.
    area.draw(&Text::new(lines.y.label.as_str(), (12, 18), text(palette.ink, HPos::Left)))?;
    for (index, series) in lines.series.iter().enumerate() {
        let look = Look::new(index, palette);
        let seen = |&&(x, y): &&(f64, f64)| shows(lines.x.scale, x) && shows(lines.y.scale, y);
        let points: Vec<_> = series.points.iter().filter(seen).copied().collect();
        let marked: Vec<_> = marked(series, index, lines.series.len(), &points).collect();
        if series.mark != Mark::Points {
            let stroke = look.colour.stroke_width(2);
            match look.dashes {
                None => chart.draw_series(LineSeries::new(points, stroke))?,
                Some((dash, gap)) => {
                    chart.draw_series(DashedLineSeries::new(points, dash, gap, stroke))?
                }
            };
        }
        let markers = marked.into_iter().map(|place| {
            let (inside, outline) = look.marker(0);
            EmptyElement::at(place) + inside + outline
        });
        chart.draw_series(markers)?;
    }
    let entries = lines.series.iter().enumerate().map(|(index, series)| {
        let (look, line) = (Look::new(index, palette), series.mark != Mark::Points);
        let key = move |place| {
            let (dash, gap) = look.dashes.unwrap_or((2 * LEGEND_KEY, 1));
            let path = vec![(0, 0), (if line { LEGEND_KEY } else { 0 }, 0)];
            let line = DashedPathElement::new(path, dash, gap, look.colour.stroke_width(2));
            let (inside, outline) = look.marker(LEGEND_KEY / 2);
            EmptyElement::at(place) + line + inside + outline
        };
        (series.name.as_str(), key)
    });
    legend(&below, palette, entries)
}

/// Which points carry a marker: all that are shown as points unless they crowd; of a mere line a few,
/// so that it can be found in the legend without its colour, at other places than its neighbours'.
fn marked<P: Copy>(
    series: &Series,
    index: usize,
    of: usize,
    points: &[P],
) -> impl Iterator<Item = P> {
    let few = match series.mark {
        Mark::Points => points.len(),
        Mark::LineAndPoints => 24,
        Mark::Line => 5,
    };
    let every = points.len().div_ceil(few.max(1)).max(1);
    let first = if every > 1 { every * (2 * index + 1) / (2 * of) } else { 0 };
    points.iter().copied().skip(first).step_by(every)
}

/// How one series looks.
#[derive(Clone, Copy)]
struct Look {
    index: usize,
    colour: RGBColor,
    paper: RGBColor,
    /// Strokes and gaps; `None` is a whole line.
    dashes: Option<(i32, i32)>,
}

/// Strokes and gaps of one series after the other.
const DASHES: [Option<(i32, i32)>; 5] =
    [None, Some((9, 5)), Some((2, 4)), Some((18, 5)), Some((5, 3))];
/// Corners of markers: nearly a circle, a square, a triangle, a diamond.
const FORMS: [&[(i32, i32)]; 4] = [
    &[(-2, -5), (2, -5), (5, -2), (5, 2), (2, 5), (-2, 5), (-5, 2), (-5, -2)],
    &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
    &[(0, -6), (6, 5), (-6, 5)],
    &[(0, -7), (6, 0), (0, 7), (-6, 0)],
];

impl Look {
    fn new(index: usize, palette: &Palette) -> Self {
        let colour = palette.series[index % palette.series.len()];
        Self { index, colour, paper: palette.paper, dashes: DASHES[index % DASHES.len()] }
    }

    /// The corners of its marker, and whether it is full; both are those of the next but 19.
    fn form(&self) -> (&'static [(i32, i32)], bool) {
        (FORMS[self.index % FORMS.len()], (self.index / FORMS.len()).is_multiple_of(2))
    }

    /// Its marker in pixels, `right` of a place: the inside and the outline.
    fn marker(&self, right: i32) -> (Polygon<Place>, PathElement<Place>) {
        let (form, full) = self.form();
        let mut corners: Vec<_> = form.iter().map(|(x, y)| (x + right, *y)).collect();
        let inside = if full { self.colour } else { self.paper };
        let polygon = Polygon::new(corners.clone(), inside);
        corners.push(corners[0]);
        (polygon, PathElement::new(corners, self.colour.stroke_width(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::Axis;

    fn drawn(series: Vec<Series>) -> String {
        let picture =
            Lines { caption: String::new(), x: Axis::log("<x>"), y: Axis::linear("y & z"), series };
        lines(&picture, &Palette::ALONE)
    }

    fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), points, mark: Mark::LineAndPoints }
    }

    #[test]
    fn names_are_escaped_and_odd_values_survived() {
        let odd = vec![(1.0, f64::NAN), (0.0, 1.0), (f64::INFINITY, 2.0), (10.0, 3.0)];
        let svg = drawn(vec![series("<b>&", odd), series("other", vec![])]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(!svg.contains("<b>") && svg.contains("&lt;b&gt;&amp;"), "{svg}");
        assert!(svg.contains("&lt;x&gt;") && svg.contains("y &amp; z"), "{svg}");
        assert!(drawn(vec![]).ends_with("</svg>\n"));
    }

    /// Without colours: dashes or markers differ for any two of twelve.
    #[test]
    fn series_differ_without_colour() {
        let look = |index: usize| {
            let look = Look::new(index, &Palette::ALONE);
            (look.dashes, look.form())
        };
        for a in 0..12 {
            for b in 0..a {
                assert_ne!(look(a), look(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_few_points_of_a_long_line_are_marked() {
        let long = Series { mark: Mark::Line, ..series("", vec![]) };
        let points: Vec<_> = (0..100).collect();
        let first: Vec<i32> = marked(&long, 0, 2, &points).collect();
        let second: Vec<i32> = marked(&long, 1, 2, &points).collect();
        assert_eq!((first, second), (vec![5, 25, 45, 65, 85], vec![15, 35, 55, 75, 95]));
        let points_only = Series { mark: Mark::Points, ..long };
        assert_eq!(marked(&points_only, 0, 1, &points).count(), 100);
    }
}
