//! The colours of charts.

use plotters::style::RGBColor;

/// A colour for each role.
#[derive(Debug, Clone)]
pub struct Palette {
    /// Behind everything; nothing where the page shows through.
    pub(super) background: Option<RGBColor>,
    /// Text, axes, outlines.
    pub(super) ink: RGBColor,
    /// Lines to read values by.
    pub(super) grid: RGBColor,
    /// What the chart lies on, inside hollow markers.
    pub(super) paper: RGBColor,
    /// Curves.
    pub(super) series: [RGBColor; 6],
    /// Parts of bars; the odd ones are hatched.
    pub(super) segments: [RGBColor; 6],
}

impl Palette {
    /// For charts inside a page: placeholders, each of which the page's style sheet (`style.css`,
    /// "charts") replaces by the colour of the same role, so that a chart follows light, dark and
    /// print.
    pub const STYLED: Self = Self {
        background: None,
        ink: grey(0x01),
        grid: grey(0x02),
        paper: grey(0x03),
        series: [grey(0x10), grey(0x11), grey(0x12), grey(0x13), grey(0x14), grey(0x15)],
        segments: [grey(0x20), grey(0x21), grey(0x22), grey(0x23), grey(0x24), grey(0x25)],
    };

    /// For files that stand alone: the light colours of the style sheet, on white.
    pub const ALONE: Self = Self {
        background: Some(RGBColor(0xff, 0xff, 0xff)),
        ink: RGBColor(0x1d, 0x24, 0x30),
        grid: RGBColor(0xe2, 0xe5, 0xea),
        paper: RGBColor(0xff, 0xff, 0xff),
        series: [
            RGBColor(0x14, 0x57, 0xc8),
            RGBColor(0xc9, 0x5a, 0x00),
            RGBColor(0x0b, 0x7d, 0x5a),
            RGBColor(0x9a, 0x3d, 0x96),
            RGBColor(0x1d, 0x24, 0x30),
            RGBColor(0x8a, 0x6d, 0x00),
        ],
        segments: [
            RGBColor(0x14, 0x57, 0xc8),
            RGBColor(0xe4, 0xec, 0xf8),
            RGBColor(0xf0, 0xa6, 0x3a),
            RGBColor(0xff, 0xff, 0xff),
            RGBColor(0x0b, 0x0f, 0x16),
            RGBColor(0xd5, 0xf0, 0xe2),
        ],
    };
}

const fn grey(level: u8) -> RGBColor {
    RGBColor(level, level, level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html;
    use gelu_cli::page;

    /// Every placeholder has its rule, and the colours of files are those of the light page.
    #[test]
    fn the_style_sheet_knows_every_role() {
        let style = [page::STYLE, html::STYLE].concat();
        let (page, file) = (Palette::STYLED, Palette::ALONE);
        let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02x}{g:02x}{b:02x}");
        let mut roles = vec![("ink", page.ink, file.ink), ("paper", page.paper, file.paper)];
        roles.push(("grid", page.grid, file.grid));
        let series = page.series.into_iter().zip(file.series);
        let segments = page.segments.into_iter().zip(file.segments);
        let named = |kind| move |(i, (a, b))| (["series", "segment"][kind], i, a, b);
        for (name, i, placeholder, colour) in
            series.enumerate().map(named(0)).chain(segments.enumerate().map(named(1)))
        {
            let variable = format!("--{name}-{i}: {};", hex(colour));
            assert!(style.contains(&variable), "{variable}");
            assert!(style.contains(&format!("[fill=\"{}\"]", hex(placeholder))), "{name} {i}");
        }
        for (name, placeholder, _) in &roles {
            assert!(style.contains(&format!("[fill=\"{}\"]", hex(*placeholder))), "{name}");
        }
        for (i, colour) in page.series.into_iter().enumerate() {
            assert!(style.contains(&format!("[stroke=\"{}\"]", hex(colour))), "series {i}");
        }
    }

    /// Without colours, whole segments differ by their lightness; the others are hatched.
    #[test]
    fn segments_differ_in_grey() {
        let light = |RGBColor(r, g, b): RGBColor| {
            (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) / 1000
        };
        let [a, _, b, _, c, _] = Palette::ALONE.segments.map(light);
        for (one, other) in [(a, b), (b, c), (a, c)] {
            assert!(one.abs_diff(other) > 60, "{one} and {other} of 255");
        }
    }
}
