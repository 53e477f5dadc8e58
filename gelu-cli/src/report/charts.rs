//! The charts of a report: curves over the epochs as SVG, bars as a table.

use maud::{Markup, html};

use crate::page;

/// A measure over the epochs 1, 2, …
pub(crate) struct Curves {
    /// What the chart shows.
    pub(crate) caption: String,
    /// What is measured.
    pub(crate) measure: String,
    /// Each curve with its name.
    pub(crate) curves: Vec<(&'static str, Vec<f64>)>,
}

/// The picture's units; the page scales it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 310.0;
/// The axes' ends.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 260.0;
/// Marks along each axis.
const MARKS: usize = 5;

impl Curves {
    /// The chart. Values that are no numbers are left out.
    pub(super) fn draw(&self) -> Markup {
        let values = || self.curves.iter().flat_map(|(_, values)| values).filter(|v| v.is_finite());
        let highest = ceiling(values().fold(0.0, |most: f64, value| most.max(*value)));
        let epochs = self.curves.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let x = |epoch: usize| {
            LEFT + (RIGHT - LEFT) * (epoch as f64 - 1.0) / (epochs as f64 - 1.0).max(1.0)
        };
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / highest;
        let every = epochs.saturating_sub(1).div_ceil(MARKS).max(1);
        let marks = (0..=MARKS).map(|i| highest * i as f64 / MARKS as f64);
        page::chart(
            &self.caption,
            html! {
                svg.curves viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } xmlns="http://www.w3.org/2000/svg" {
                    text x="0" y="16" { (self.measure) }
                    @for mark in marks {
                        line x1=(LEFT) x2=(RIGHT) y1=(y(mark)) y2=(y(mark)) {}
                        text x=(LEFT - 8.0) y=(y(mark) + 5.0) text-anchor="end" { (rounded(mark)) }
                    }
                    @for epoch in (1..=epochs).step_by(every) {
                        text x=(x(epoch)) y=(BOTTOM + 20.0) text-anchor="middle" { (epoch) }
                    }
                    text x=((LEFT + RIGHT) / 2.0) y=(BOTTOM + 42.0) text-anchor="middle" { "epoch" }
                    @for (i, (_, values)) in self.curves.iter().enumerate() {
                        @let seen = (1..).zip(values).filter(|(_, value)| value.is_finite());
                        @let places: Vec<_> = seen.map(|(n, value)| (x(n), y(*value))).collect();
                        @let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                        polyline class={ "curve-" (i) } points=(path.join(" ")) {}
                        @if let [(x, y)] = places[..] {
                            circle class={ "curve-" (i) } cx=(x) cy=(y) r="4" {}
                        }
                    }
                }
                p.legend {
                    @for (i, (name, _)) in self.curves.iter().enumerate() {
                        span class={ "key curve-" (i) } {} (name) " "
                    }
                }
            },
        )
    }
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn ceiling(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= value * 0.999);
    match times {
        Some(times) if power > 0.0 => times * power,
        _ => 1.0,
    }
}

/// Without what rounding has left behind.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Amounts beside one another, each with what it is called and what it reads as.
pub(super) fn bars(caption: &str, amounts: &[(&str, f64, String)]) -> Markup {
    let most = amounts.iter().fold(0.0, |most: f64, (_, amount, _)| most.max(*amount));
    page::chart(
        caption,
        html! {
            table.bars {
                @for (name, amount, label) in amounts {
                    tr {
                        td { (name) }
                        td.bar { div style={ "width: " (format!("{:.1}%", 100.0 * amount / most)) } {} }
                        td.n { (label) }
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_values() {
        assert_eq!([0.97, 1.0, 1.3, 0.031, 7.0].map(ceiling), [1.0, 1.0, 2.0, 0.05, 10.0]);
        assert_eq!([0.0, f64::NAN].map(ceiling), [1.0; 2]);
        assert_eq!(rounded(0.1 + 0.2), 0.3);
    }

    #[test]
    fn one_epoch_no_epoch_and_values_that_cannot_be_shown() {
        for (values, points) in [
            (vec![], "points=\"\""),
            (vec![0.5], "<circle class=\"curve-0\" cx=\"62\""),
            (vec![1.0, f64::NAN, 0.0], "points=\"62.0,36.0 620.0,260.0\""),
        ] {
            let (caption, measure) = ("<Loss>".into(), "loss".into());
            let curves = Curves { caption, measure, curves: vec![("encrypted", values)] };
            let drawn = curves.draw().into_string();
            assert!(drawn.contains(points) && !drawn.contains("NaN"), "{drawn}");
            assert!(drawn.contains("&lt;Loss&gt;") && !drawn.contains("<Loss>"));
        }
    }
}
