//! An exhibit as HTML.

use std::fmt::{self, Write};

use super::{Escaped, Prose, claims};
use crate::draw::{self, Palette};
use crate::exhibit::{Exhibit, Images, Part, Row, Source, Table};

/// Everything below the heading: what came out, what was checked, tables and pictures, notes.
pub fn body(out: &mut String, exhibit: &Exhibit) -> fmt::Result {
    writeln!(out, "<p class=\"headline\">{}</p>", Prose(&exhibit.finding))?;
    claims(out, "claims", &exhibit.claims)?;
    // Charts that follow one another stand side by side.
    let is_chart = |part: &Part| matches!(part, Part::Lines(_) | Part::Bars(_));
    for parts in exhibit.parts.chunk_by(|a, b| is_chart(a) && is_chart(b)) {
        let pair = parts.len() > 1;
        if pair {
            out.push_str("<div class=\"pair\">\n");
        }
        parts.iter().try_for_each(|part| self::part(out, part))?;
        if pair {
            out.push_str("</div>\n");
        }
    }
    if !exhibit.notes.is_empty() {
        out.push_str("<ul class=\"notes\">\n");
        for note in &exhibit.notes {
            writeln!(out, "<li>{}</li>", Prose(note))?;
        }
        out.push_str("</ul>\n");
    }
    Ok(())
}

fn part(out: &mut String, part: &Part) -> fmt::Result {
    match part {
        Part::Table(table) => self::table(out, table),
        Part::Lines(lines) => {
            chart(out, &lines.caption, &draw::lines::lines(lines, &Palette::STYLED))
        }
        Part::Bars(bars) => {
            let svg = draw::bars::bars(bars, &Palette::STYLED, draw::bars::plain);
            chart(out, &bars.caption, &svg)
        }
        Part::Images(images) => self::images(out, images),
    }
}

/// A chart with its caption, which also tells those who cannot see it what it shows.
pub fn chart(out: &mut String, caption: &str, svg: &str) -> fmt::Result {
    writeln!(
        out,
        "<figure class=\"card chart\"><figcaption>{}</figcaption>\n\
         <div role=\"img\" aria-label=\"{}\">\n{svg}</div></figure>",
        Prose(caption),
        Escaped(caption)
    )
}

fn table(out: &mut String, table: &Table) -> fmt::Result {
    write!(
        out,
        "<div class=\"card\"><h3>{}</h3>\n<table class=\"rows\">\n<tr>",
        Prose(&table.caption)
    )?;
    let numeric = table.numeric();
    for (column, numeric) in table.columns.iter().zip(&numeric) {
        write!(out, "<th{}>{}", class(*numeric), Prose(&column.name))?;
        if let Some(unit) = &column.unit {
            write!(out, " <small>{}</small>", Escaped(unit))?;
        }
        out.push_str("</th>");
    }
    out.push_str("<th class=\"from\">from</th></tr>\n");
    for row in &table.rows {
        self::row(out, row, &numeric)?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn row(out: &mut String, row: &Row, numeric: &[bool]) -> fmt::Result {
    let whose = match row.source {
        Source::Paper => "paper",
        Source::Estimated => "estimated",
        Source::Measured | Source::Counted => "ours",
    };
    write!(out, "<tr class=\"{whose}\">")?;
    for (cell, numeric) in row.cells.iter().zip(numeric) {
        write!(out, "<td{}>{}</td>", class(*numeric), Prose(&cell.to_string()))?;
    }
    writeln!(out, "<td class=\"from\">{}</td></tr>", row.source)
}

fn class(numeric: bool) -> &'static str {
    if numeric { " class=\"n\"" } else { "" }
}

fn images(out: &mut String, images: &Images) -> fmt::Result {
    let caption = Prose(&images.caption);
    writeln!(out, "<figure class=\"card\"><figcaption>{caption}</figcaption>")?;
    for row in &images.rows {
        write!(out, "<h4>{}</h4>\n<div class=\"images\">\n", Prose(&row.name))?;
        for image in &row.images {
            // As large as fits a label, in whole steps, so that all pixels have the same size.
            let width = image.width * (96 / image.width.max(1)).clamp(1, 12);
            writeln!(
                out,
                "<figure><img width=\"{width}\" alt=\"{}\" src=\"{}\"><figcaption>{}</figcaption>\
                 </figure>",
                Escaped(&format!("{} {}", row.name, image.label)),
                draw::images::data_uri(image),
                Prose(&image.label)
            )?;
        }
        out.push_str("</div>\n");
    }
    out.push_str("</figure>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::example;

    #[test]
    fn everything_is_shown_and_escaped() {
        let mut page = String::new();
        body(&mut page, &example("<script>'")).unwrap();
        assert!(!page.contains("<script") && !page.contains("='<"), "{page}");
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
