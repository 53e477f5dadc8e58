//! An exhibit on the terminal.

use std::fmt::{self, Write};

use gelu_cli::output;
use gelu_cli::phases;

use crate::evidence::Made;
use crate::exhibit::{Bars, Cell, Images, Lines, Part, Table};

/// For people at a terminal: tables whole, curves as tables of some of their points, bars as bars,
/// images as far as letters can show them.
pub(super) fn text(made: &Made) -> String {
    let mut text = String::new();
    write(&mut text, made).expect("writing to a string succeeds");
    text
}

fn write(out: &mut String, made: &Made) -> fmt::Result {
    let exhibit = &made.exhibit;
    write!(out, "{}\n\n{}\n", exhibit.title, exhibit.finding)?;
    for part in &exhibit.parts {
        match part {
            Part::Table(table) => write!(out, "\n{}\n{}\n", table.caption, rows(table))?,
            Part::Lines(lines) => curves(out, lines)?,
            Part::Bars(bars) => self::bars(out, bars)?,
            Part::Images(images) => self::images(out, images)?,
        }
    }
    out.push('\n');
    for claim in &exhibit.claims {
        let mark = if claim.holds { '✓' } else { '✗' };
        writeln!(out, "{mark} {}", claim.text)?;
    }
    for note in &exhibit.notes {
        writeln!(out, "  {note}")?;
    }
    write!(out, "\n{}, seed {}: {}", phases::seconds(made.seconds), made.seed, made.command)
}

fn rows(table: &Table) -> comfy_table::Table {
    let head = |(column, numeric): (&crate::exhibit::Column, bool)| {
        let unit = column.unit.as_ref().map_or(String::new(), |unit| format!(", {unit}"));
        format!("{}{}{unit}", if numeric { "#" } else { "" }, column.name)
    };
    let heads: Vec<String> = table.columns.iter().zip(table.numeric()).map(head).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).chain(["from"]).collect();
    let mut drawn = output::table(&heads);
    for row in &table.rows {
        drawn.add_row(row.cells.iter().map(ToString::to_string).chain([row.source.to_string()]));
    }
    drawn
}

/// A row for each place along the axis, or for some of them.
fn curves(out: &mut String, lines: &Lines) -> fmt::Result {
    let mut places: Vec<f64> =
        lines.series.iter().flat_map(|series| &series.points).map(|point| point.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    writeln!(out, "\n{}\n{} over {}", lines.caption, lines.y.label, lines.x.label)?;
    let every = places.len().div_ceil(MOST_ROWS).max(1);
    if every > 1 {
        writeln!(out, "(one in {every} of {} places, and the last)", places.len())?;
    }
    let names = lines.series.iter().map(|series| format!("#{}", series.name));
    let heads: Vec<String> = [format!("#{}", lines.x.label)].into_iter().chain(names).collect();
    let mut drawn = output::table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for (i, &place) in places.iter().enumerate() {
        if i % every != 0 && i + 1 != places.len() {
            continue;
        }
        let at = |points: &[(f64, f64)]| {
            let found = points.iter().find(|point| point.0 == place);
            found.map_or(String::new(), |point| Cell::from(point.1).to_string())
        };
        let values = lines.series.iter().map(|series| at(&series.points));
        drawn.add_row([place.to_string()].into_iter().chain(values));
    }
    writeln!(out, "{drawn}")
}

const MOST_ROWS: usize = 16;

fn bars(out: &mut String, bars: &Bars) -> fmt::Result {
    writeln!(out, "\n{}\n{}", bars.caption, bars.axis.label)?;
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let longest = bars.bars.iter().map(|bar| sum(&bar.values)).fold(0.0, f64::max);
    let widest = bars.bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0);
    for bar in &bars.bars {
        write!(out, "  {:widest$}  ", bar.name)?;
        let (mut total, mut drawn) = (0.0, 0);
        for (shade, value) in SHADES.iter().cycle().zip(&bar.values) {
            total += value;
            // As many letters as bring the whole bar to its length: rounding does not add up.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 50")]
            let end = (total / longest * 50.0).round().clamp(0.0, 50.0) as usize;
            (drawn..end).try_for_each(|_| out.write_char(*shade))?;
            drawn = end.max(drawn);
        }
        writeln!(out, " {}", Cell::from(total))?;
    }
    if bars.segments.len() > 1 {
        for (shade, segment) in SHADES.iter().cycle().zip(&bars.segments) {
            write!(out, "  {shade} {segment}")?;
        }
        out.push('\n');
    }
    Ok(())
}

const SHADES: [char; 4] = ['█', '░', '▓', '▒'];

/// Each letter is a pixel wide and two high.
fn images(out: &mut String, images: &Images) -> fmt::Result {
    writeln!(out, "\n{}", images.caption)?;
    for row in &images.rows {
        let mut left = SCREEN;
        let fit = row.images.iter().take_while(|image| {
            let needs = image.width as usize + 2;
            let fits = needs <= left;
            left = left.saturating_sub(needs);
            fits
        });
        let shown: Vec<_> = fit.collect();
        let more = row.images.len() - shown.len();
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        writeln!(out, "\n  {}{more}", row.name)?;
        let height =
            |image: &crate::exhibit::Image| image.pixels.len() / (image.width as usize).max(1);
        let lines = shown.iter().map(|image| height(image).div_ceil(2)).max().unwrap_or(0);
        for line in 0..lines {
            let mut letters = String::new();
            for image in &shown {
                letters.push_str("  ");
                let width = image.width as usize;
                for x in 0..width {
                    let ink =
                        |y: usize| image.pixels.get(y * width + x).map_or(0, |i| u32::from(*i));
                    let both = ink(2 * line) + ink(2 * line + 1);
                    letters.push([' ', '░', '▒', '▓', '█'][both.div_ceil(128) as usize]);
                }
            }
            writeln!(out, "{}", letters.trim_end())?;
        }
        let labels: Vec<_> = shown.iter().map(|image| image.label.as_str()).collect();
        if labels.iter().any(|label| !label.is_empty()) {
            writeln!(out, "  {}", labels.join(" · "))?;
        }
    }
    Ok(())
}

/// Letters across.
const SCREEN: usize = 118;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::{Axis, Bar, Image, ImageRow, Mark, Series};

    #[test]
    fn curves_become_tables_of_points() {
        let series = |name: &str, points| Series { name: name.into(), points, mark: Mark::Line };
        let long = (0..=100).map(f64::from).map(|x| (x, 2.0 * x)).collect();
        let lines = Lines {
            caption: "curves".into(),
            x: Axis::linear("epoch"),
            y: Axis::linear("loss"),
            series: vec![series("long", long), series("short", vec![(7.0, 0.5)])],
        };
        let mut text = String::new();
        curves(&mut text, &lines).unwrap();
        let row = |wanted: &str| {
            let found = text.lines().find(|line| line.split_whitespace().next() == Some(wanted));
            found.map(|line| line.split_whitespace().collect::<Vec<_>>())
        };
        assert_eq!(row("7").unwrap(), ["7", "14.0", "0.500"], "{text}");
        assert_eq!(row("100").unwrap(), ["100", "200"]);
        assert_eq!(row("8"), None);
        assert!(text.lines().count() < 30, "{text}");
    }

    #[test]
    fn bars_by_hand() {
        let bar = |name: &str, values: &[f64]| Bar { name: name.into(), values: values.to_vec() };
        let shares = Bars {
            caption: "shares".into(),
            axis: Axis::linear("time (s)"),
            segments: vec!["client".into(), "server".into()],
            bars: vec![bar("all", &[1.0, 4.0]), bar("part", &[0.5, 0.0])],
        };
        let mut text = String::new();
        bars(&mut text, &shares).unwrap();
        let expected = format!(
            "\nshares\ntime (s)\n  all   {}{} 5.00\n  part  █████ 0.500\n  █ client  ░ server\n",
            "█".repeat(10),
            "░".repeat(40)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn images_by_hand() {
        let image = Image {
            width: 3,
            pixels: vec![0, 255, 128, 0, 255, 0, 255, 0, 0],
            label: "one".into(),
        };
        let row = |count| ImageRow { name: "row".into(), images: vec![image.clone(); count] };
        let draw = |count| {
            let mut text = String::new();
            images(&mut text, &Images { caption: "c".into(), rows: vec![row(count)] }).unwrap();
            text
        };
        assert_eq!(draw(1), "\nc\n\n  row\n   █░\n  ▒\n  one\n");
        assert!(draw(30).contains("row (and 7 more)"), "{}", draw(30));
    }
}
