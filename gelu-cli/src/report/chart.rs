//! Charts as inline SVG.
//!
//! Colours are placeholders: the page's style sheet replaces each by the colour of the same role
//! (`style.css`, "charts"), so that a chart follows light, dark and print.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Bar, Curves};

const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
/// By position of the series; the first is drawn last and thin, over the wide ones.
const SERIES: [RGBColor; 2] = [RGBColor(3, 3, 3), RGBColor(4, 4, 4)];
const FILL: RGBColor = RGBColor(5, 5, 5);

const WIDTH: u32 = 560;
const CURVES_HEIGHT: u32 = 300;
const BAR_HEIGHT: u32 = 34;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Lines over epochs 1, 2, … with a legend below.
pub(super) fn lines(curves: &Curves) -> String {
    draw(CURVES_HEIGHT, |area| draw_lines(area, curves))
}

/// Horizontal bars with their names and values.
pub(super) fn bars(items: &[Bar]) -> String {
    let rows = u32::try_from(items.len()).unwrap_or(1).max(1);
    draw(rows * BAR_HEIGHT, |area| draw_bars(area, items))
}

/// A drawing in a string cannot fail; if it does all the same, the page shows no chart.
fn draw(height: u32, content: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    let drawn = content(&area).and_then(|()| area.present());
    drop(area);
    drawn.map(|()| svg).unwrap_or_default()
}

fn draw_lines(area: &Area<'_>, curves: &Curves) -> Drawn {
    let values = || curves.series.iter().flat_map(|s| s.values.iter().copied());
    let (low, high) = values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return Ok(());
    }
    // Losses start at 0; accuracies are close to 1 and would be flat if they did.
    let margin = ((high - low) * 0.08).max(1e-3);
    let bottom = if low < 0.5 * high { 0.0 } else { low - margin };
    let top = if high <= 1.0 && bottom > 0.0 { (high + margin).min(1.005) } else { high + margin };
    let epochs = curves.series.iter().map(|s| s.values.len()).max().unwrap_or(1).max(2) as f64;

    let (plot, legend) = area.split_vertically(CURVES_HEIGHT - 28);
    let mut chart = ChartBuilder::on(&plot)
        .margin(8)
        .margin_right(16)
        .x_label_area_size(38)
        .y_label_area_size(48)
        .build_cartesian_2d(1.0..epochs, bottom..top)?;
    let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(text(14))
        .axis_desc_style(text(14))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .x_desc("epoch")
        .draw()?;
    for (i, series) in curves.series.iter().enumerate().rev() {
        let points = (1u32..).map(f64::from).zip(series.values.iter().copied());
        chart.draw_series(LineSeries::new(points, stroke(i)))?;
    }
    let mut left = 50;
    for (i, series) in curves.series.iter().enumerate() {
        legend.draw(&PathElement::new([(left, 12), (left + 28, 12)], stroke(i)))?;
        let style = text(15).pos(Pos::new(HPos::Left, VPos::Center));
        legend.draw(&Text::new(series.name.as_str(), (left + 36, 12), style))?;
        left += 64 + 9 * i32::try_from(series.name.chars().count()).unwrap_or(0);
    }
    Ok(())
}

fn stroke(series: usize) -> ShapeStyle {
    let (colour, width) = (SERIES[series.min(1)], if series == 0 { 2 } else { 7 });
    ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: width }
}

fn draw_bars(area: &Area<'_>, items: &[Bar]) -> Drawn {
    let widest = items.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let text =
        |size: u32, h| ("sans-serif", size).into_font().color(&INK).pos(Pos::new(h, VPos::Center));
    // Names end and bars start at LEFT; the longest bar leaves room for its value.
    const LEFT: i32 = 215;
    const ROOM: f64 = 250.0;
    for (row, Bar { name, value, label }) in (0i32..).zip(items) {
        let top = row * BAR_HEIGHT as i32;
        let middle = top + BAR_HEIGHT as i32 / 2;
        let share = if widest > 0.0 { value / widest } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "0 to ROOM")]
        let length = (share * ROOM).round().max(1.0) as i32;
        area.draw(&Text::new(name.as_str(), (LEFT - 10, middle), text(15, HPos::Right)))?;
        area.draw(&Rectangle::new(
            [(LEFT, top + 7), (LEFT + length, top + BAR_HEIGHT as i32 - 7)],
            FILL.filled(),
        ))?;
        let end = (LEFT + length + 8, middle);
        area.draw(&Text::new(label.as_str(), end, text(15, HPos::Left)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Series;
    use super::*;

    #[test]
    fn charts_escape_names_and_survive_odd_values() {
        let series = |name: &str, values: Vec<f64>| Series { name: name.into(), values };
        let curves = Curves {
            title: String::new(),
            series: vec![series("<b>&", vec![0.9]), series("other", vec![])],
        };
        let svg = lines(&curves);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(!svg.contains("<b>") && svg.contains("&lt;b&gt;&amp;"), "{svg}");
        let none = Curves { title: String::new(), series: vec![series("x", vec![])] };
        assert!(lines(&none).contains("</svg>"));
        let bar = Bar { name: "a".into(), value: 0.0, label: "0 s".into() };
        assert!(bars(&[bar]).contains("0 s"));
        assert!(bars(&[]).contains("</svg>"));
    }
}
