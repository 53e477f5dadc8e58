//! Pictures: charts as SVG, grey images as PNG.
//!
//! | module | draws |
//! |---|---|
//! | [`lines`] | curves and points over two axes |
//! | [`bars`] | horizontal bars, divided or not |
//! | [`images`] | grey images, one by one or as a sheet |
//! | [`palette`] | nothing, but says in which colours |
//!
//! Nothing is told apart by colour alone: series differ in their dashes and markers as well, segments
//! in lightness and hatching, so that a chart survives a black-and-white printer and eyes that see
//! fewer colours.

pub mod bars;
pub mod images;
pub mod lines;
pub mod palette;
mod ruler;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::TextStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use palette::Palette;

/// Of every chart, in its own units; a page scales it.
const WIDTH: u32 = 640;
/// Of letters; SVG makes it a fifth less.
const TEXT: u32 = 18;
/// Width of a letter, on average, for room that has to be left before a font is known.
const LETTER: i32 = 8;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
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

/// About as wide as the text will be.
fn text_width(text: &str) -> i32 {
    LETTER * pixels(text.chars().count())
}

/// No picture has more than [`i32::MAX`] of anything.
fn pixels(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX / 64)
}

/// Where the entries of a legend go: left ends and rows, from (0, 0), `key` wide before each name;
/// and how many rows there are.
fn legend<'a>(
    names: impl Iterator<Item = &'a str>,
    key: i32,
    width: i32,
) -> (Vec<(i32, i32)>, u32) {
    let (mut left, mut row, mut places) = (0, 0, Vec::new());
    for name in names {
        let needs = key + text_width(name) + 24;
        if left > 0 && left + needs > width {
            (left, row) = (0, row + 1);
        }
        places.push((left, row));
        left += needs;
    }
    (places, u32::try_from(row).unwrap_or(0) + 1)
}

/// Height of a row of a legend.
const LEGEND_ROW: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legends_wrap() {
        let names = ["a", "b", "a name so long that it stands alone", "c"];
        let (places, rows) = legend(names.into_iter(), 30, 150);
        assert_eq!(places[0], (0, 0));
        assert_eq!(places[1], (30 + LETTER + 24, 0));
        assert_eq!((places[2], places[3], rows), ((0, 1), (0, 2), 3));
        assert_eq!(legend([].into_iter(), 30, 150), (vec![], 1));
    }
}
