//! Curves and points over two axes.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::ruler::Ruler;
use super::{Area, Drawn, LEGEND_ROW, Palette, WIDTH, legend, pixels, text, text_width};
use crate::exhibit::{Lines, Mark, Series};

/// The picture as SVG. Points that an axis cannot show are left out.
pub fn lines(lines: &Lines, palette: &Palette) -> String {
    let names = lines.series.iter().map(|series| series.name.as_str());
    let (places, rows) = legend(names, KEY + 8, pixels(WIDTH as usize) - 2 * MARGIN);
    let height = HEIGHT + rows * LEGEND_ROW;
    super::svg(height, palette, |area| draw(area, lines, palette, &places))
}

/// Of the picture above its legend.
const HEIGHT: u32 = 350;
const MARGIN: i32 = 12;
/// Length of the piece of line in the legend.
const KEY: i32 = 38;

fn draw(area: &Area<'_>, lines: &Lines, palette: &Palette, legend: &[(i32, i32)]) -> Drawn {
    let points = || lines.series.iter().flat_map(|series| series.points.iter());
    let x = Ruler::around(lines.x.scale, points().map(|point| point.0));
    let y = Ruler::outside(lines.y.scale, points().map(|point| point.1));
    let widest = y.ticks.iter().map(|tick| text_width(&y.label(*tick))).max().unwrap_or(0);
    let (plot, _) = area.split_vertically(HEIGHT);
    let mut chart = ChartBuilder::on(&plot)
        .margin(MARGIN)
        .margin_right(24)
        .margin_top(40)
        .x_label_area_size(48)
        .y_label_area_size(widest + 14)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(palette.grid)
        .axis_style(palette.ink)
        .label_style(text(palette.ink, HPos::Center))
        .axis_desc_style(text(palette.ink, HPos::Center))
        .x_desc(lines.x.label.as_str())
        .draw()?;
    // What the vertical axis measures stands above it, where it can be read without turning the head.
    let above = (MARGIN, 18);
    area.draw(&Text::new(lines.y.label.as_str(), above, text(palette.ink, HPos::Left)))?;
    for (i, series) in lines.series.iter().enumerate() {
        let seen = series.points.iter();
        let seen = seen.filter_map(|&(a, b)| Some((x.place(a)?, y.place(b)?)));
        let path: Vec<_> = seen.map(|place| chart.backend_coord(&place)).collect();
        let pen = Pen::new(i, palette);
        if series.mark != Mark::Points {
            pen.stroke(area, &path)?;
        }
        for place in marked(series, i, lines.series.len(), &path) {
            pen.mark(area, place)?;
        }
    }
    for (i, (series, (left, row))) in lines.series.iter().zip(legend).enumerate() {
        let pen = Pen::new(i, palette);
        let (left, middle) = (MARGIN + left, pixels(HEIGHT as usize) + 8 + row * LEGEND_ROW as i32);
        if series.mark != Mark::Points {
            pen.stroke(area, &[(left, middle), (left + KEY, middle)])?;
        }
        pen.mark(area, (left + KEY / 2, middle))?;
        let name = (left + KEY + 8, middle);
        area.draw(&Text::new(series.name.as_str(), name, text(palette.ink, HPos::Left)))?;
    }
    Ok(())
}

/// Which points carry a marker: all that are shown as points unless they crowd; of a mere line a few,
/// so that it can be found in the legend without its colour, at other places than its neighbours'.
fn marked(
    series: &Series,
    index: usize,
    of: usize,
    path: &[(i32, i32)],
) -> impl Iterator<Item = (i32, i32)> {
    let few = match series.mark {
        Mark::Points => path.len(),
        Mark::LineAndPoints => 24,
        Mark::Line => 5,
    };
    let every = path.len().div_ceil(few.max(1)).max(1);
    let first = if every > 1 { every * (2 * index + 1) / (2 * of) } else { 0 };
    path.iter().copied().skip(first).step_by(every)
}

/// How one series looks.
struct Pen<'a> {
    index: usize,
    colour: RGBColor,
    palette: &'a Palette,
}

/// Strokes and gaps; `None` is a whole line.
const DASHES: [Option<(i32, i32)>; 5] =
    [None, Some((9, 5)), Some((2, 4)), Some((18, 5)), Some((5, 3))];

impl<'a> Pen<'a> {
    fn new(index: usize, palette: &'a Palette) -> Self {
        Self { index, colour: palette.series[index % palette.series.len()], palette }
    }

    fn stroke(&self, area: &Area<'_>, path: &[(i32, i32)]) -> Drawn {
        let style = self.colour.stroke_width(2);
        match DASHES[self.index % DASHES.len()] {
            None => area.draw(&PathElement::new(path, style)),
            Some((dash, gap)) => {
                let dashes = DashedLineSeries::new(path.iter().copied(), dash, gap, style);
                dashes.into_iter().try_for_each(|dashes| area.draw(&dashes))
            }
        }
    }

    /// Full and hollow in turn, so that the same form comes back only after twelve series.
    fn mark(&self, area: &Area<'_>, (x, y): (i32, i32)) -> Drawn {
        let form: Vec<(i32, i32)> = match self.index % 6 {
            0 => return self.circle(area, (x, y), true),
            1 => vec![(-5, -5), (5, -5), (5, 5), (-5, 5)],
            2 => vec![(0, -6), (6, 5), (-6, 5)],
            3 => return self.circle(area, (x, y), false),
            4 => vec![(0, -7), (6, 0), (0, 7), (-6, 0)],
            _ => vec![(0, 6), (6, -5), (-6, -5)],
        };
        let mut form: Vec<_> = form.into_iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        let full = self.index.is_multiple_of(2);
        let inside = if full { self.colour } else { self.palette.paper };
        area.draw(&Polygon::new(form.clone(), inside))?;
        form.push(form[0]);
        area.draw(&PathElement::new(form, self.colour.stroke_width(2)))
    }

    fn circle(&self, area: &Area<'_>, centre: (i32, i32), full: bool) -> Drawn {
        let inside = if full { self.colour } else { self.palette.paper };
        area.draw(&Circle::new(centre, 5, inside.filled()))?;
        area.draw(&Circle::new(centre, 5, self.colour.stroke_width(2)))
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
            let pen = Pen::new(index, &Palette::ALONE);
            (DASHES[index % DASHES.len()], index % 6, pen.index % 2)
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
        let path: Vec<_> = (0..100).map(|x| (x, 0)).collect();
        let first: Vec<_> = marked(&long, 0, 2, &path).map(|(x, _)| x).collect();
        let second: Vec<_> = marked(&long, 1, 2, &path).map(|(x, _)| x).collect();
        assert_eq!((first, second), (vec![5, 25, 45, 65, 85], vec![15, 35, 55, 75, 95]));
        let points = Series { mark: Mark::Points, ..long };
        assert_eq!(marked(&points, 0, 1, &path).count(), 100);
    }
}
