//! An exhibit as HTML: what [`gelu_cli::page`] has for every page, and tables and pictures.

use gelu_cli::page::{self, chart, prose};
use maud::{Markup, PreEscaped, html};

use crate::draw::{self, Palette};
use crate::exhibit::{Exhibit, Images, Part, Row, Source, Table};

/// What exhibits and charts look like, on top of the page's own style.
pub const STYLE: &str = include_str!("html.css");

/// A whole file around its body.
pub fn document(title: &str, body: Markup) -> String {
    page::document(title, STYLE, body)
}

/// Everything below the heading: what came out, what was checked, tables and pictures, notes.
pub fn exhibit(exhibit: &Exhibit) -> Markup {
    // Charts that follow one another stand side by side.
    let is_chart = |part: &Part| matches!(part, Part::Lines(_) | Part::Bars(_));
    html! {
        p.headline { (prose(&exhibit.finding)) }
        (page::claims("claims", &exhibit.claims))
        @for parts in exhibit.parts.chunk_by(|a, b| is_chart(a) && is_chart(b)) {
            div.pair[parts.len() > 1] { @for part in parts { (self::part(part)) } }
        }
        @if !exhibit.notes.is_empty() {
            ul.notes { @for note in &exhibit.notes { li { (prose(note)) } } }
        }
    }
}

fn part(part: &Part) -> Markup {
    match part {
        Part::Table(table) => self::table(table),
        Part::Lines(lines) => {
            chart(&lines.caption, PreEscaped(draw::lines::lines(lines, &Palette::STYLED)))
        }
        Part::Bars(bars) => {
            chart(&bars.caption, PreEscaped(draw::bars::bars(bars, &Palette::STYLED)))
        }
        Part::Images(images) => self::images(images),
    }
}

fn table(table: &Table) -> Markup {
    let numeric = table.numeric();
    html! {
        div.card {
            h3 { (prose(&table.caption)) }
            table.rows {
                tr {
                    @for (column, numeric) in table.columns.iter().zip(&numeric) {
                        th.n[*numeric] {
                            (prose(&column.name))
                            @if let Some(unit) = &column.unit { " " small { (unit) } }
                        }
                    }
                    th.from { "from" }
                }
                @for Row { source, cells } in &table.rows {
                    tr class=(whose(*source)) {
                        @for (cell, numeric) in cells.iter().zip(&numeric) {
                            td.n[*numeric] { (prose(&cell.to_string())) }
                        }
                        td.from { (source) }
                    }
                }
            }
        }
    }
}

fn whose(source: Source) -> &'static str {
    match source {
        Source::Paper | Source::Published => "paper",
        Source::Estimated => "estimated",
        Source::Measured | Source::Counted => "ours",
    }
}

fn images(images: &Images) -> Markup {
    // As large as fits a label, in whole steps, so that all pixels have the same size.
    let width = |width: u32| width * (96 / width.max(1)).clamp(1, 12);
    html! {
        figure.card {
            figcaption { (prose(&images.caption)) }
            @for row in &images.rows {
                h4 { (prose(&row.name)) }
                div.images {
                    @for image in &row.images {
                        figure {
                            img width=(width(image.width)) alt={ (row.name) " " (image.label) }
                                src=(draw::images::data_uri(image));
                            figcaption { (prose(&image.label)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::example;

    #[test]
    fn everything_is_shown_and_escaped() {
        let page = exhibit(&example("<script>")).into_string();
        assert!(!page.contains("<script") && !page.contains("=\"<"), "{page}");
        let shown = [
            "✓",
            "✗",
            "<tr class=\"paper\">",
            "the paper",
            "this run",
            "1.50 ± 0.25",
            "<small>ms</small>",
            "<svg",
            "data:image/png;base64,",
            "class=\"notes\"",
        ];
        for shown in shown {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        // Captions, names, labels, claims, notes, heads, cells: all of them carry the word.
        assert!(page.matches("&lt;script&gt;").count() >= 14, "{page}");
    }
}
