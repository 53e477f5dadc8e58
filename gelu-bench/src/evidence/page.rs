//! The report as one HTML file that needs nothing else.

use std::fmt::{self, Write};

use super::compare::{Change, Comparison};
use super::{Evidence, Failed, Made, Outcome};
use crate::amounts;
use crate::exhibit::Cell;
use crate::html::{self, Escaped, Prose};

/// The whole file.
pub fn report(evidence: &Evidence, comparison: &Comparison) -> String {
    html::document("gelu: the evidence", |out| write(out, evidence, comparison))
}

fn write(out: &mut String, evidence: &Evidence, comparison: &Comparison) -> fmt::Result {
    let here = &evidence.circumstances;
    html::header(out, "The evidence", &evidence.headline())?;
    html::claims(out, "badges", &evidence.claims())?;
    if let Some(warning) = here.warning() {
        writeln!(out, "<p class=\"warning\">{}</p>", Prose(&warning))?;
    }
    out.push_str("</header>\n");
    contents(out, evidence, comparison)?;
    let facts = here.facts();
    html::facts(out, "This run", facts.iter().map(|(name, value)| (*name, value.as_str())))?;
    for outcome in &evidence.outcomes {
        match outcome {
            Outcome::Made(made) => section(out, made)?,
            Outcome::Failed(failed) => failure(out, failed)?,
        }
    }
    changes(out, comparison)?;
    writeln!(
        out,
        "<footer>Written by gelu {}. After GELU-Net (IJCAI 2018).</footer>",
        env!("CARGO_PKG_VERSION")
    )
}

fn contents(out: &mut String, evidence: &Evidence, comparison: &Comparison) -> fmt::Result {
    out.push_str(
        "<div class=\"card\"><table class=\"contents\">\n<tr><th>exhibit</th><th>what came out</th>\
         <th class=\"n\">claims</th><th class=\"n\">time</th></tr>\n",
    );
    for outcome in &evidence.outcomes {
        let id = outcome.id();
        write!(out, "<tr><td><a href=\"#{0}\">{0}</a></td>", Escaped(id))?;
        match outcome {
            Outcome::Made(made) => {
                let claims = &made.exhibit.claims;
                let hold = claims.iter().filter(|claim| claim.holds).count();
                let class = if hold == claims.len() { "yes" } else { "no" };
                writeln!(
                    out,
                    "<td><b>{}</b><br>{}</td><td class=\"n\"><span class=\"{class}\">{hold} of {}\
                     </span></td><td class=\"n\">{}</td></tr>",
                    Prose(&made.exhibit.title),
                    Prose(&made.exhibit.finding),
                    claims.len(),
                    amounts::seconds(made.seconds)
                )?;
            }
            Outcome::Failed(failed) => writeln!(
                out,
                "<td><b>{}</b><br>{}</td><td class=\"n\"><span class=\"no\">✗</span></td><td></td>\
                 </tr>",
                Prose(&failed.about),
                Prose(&failed.reason)
            )?,
        }
    }
    if let Some(summary) = comparison.summary() {
        let summary = Prose(&summary);
        writeln!(
            out,
            "<tr><td><a href=\"#changes\">changes</a></td><td>{summary}</td><td></td><td></td></tr>"
        )?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn section(out: &mut String, made: &Made) -> fmt::Result {
    let exhibit = &made.exhibit;
    let (id, title) = (Escaped(&exhibit.id), Prose(&exhibit.title));
    write!(out, "<section id=\"{id}\">\n<h2>{title}</h2>\n")?;
    html::exhibit::body(out, exhibit)?;
    writeln!(
        out,
        "<p class=\"made\">Made in {}, seed {}, by <code>{}</code></p>\n</section>",
        amounts::seconds(made.seconds),
        made.seed,
        Escaped(&made.command)
    )
}

fn failure(out: &mut String, failed: &Failed) -> fmt::Result {
    writeln!(
        out,
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"warning\">It could not be made: {}</p>\n\
         <p class=\"made\">Try again with <code>{}</code></p>\n</section>",
        Escaped(&failed.id),
        Prose(&failed.about),
        Prose(&failed.reason),
        Escaped(&failed.command)
    )
}

fn changes(out: &mut String, comparison: &Comparison) -> fmt::Result {
    let Some(summary) = comparison.summary() else { return Ok(()) };
    write!(
        out,
        "<section id=\"changes\">\n<h2>What has changed</h2>\n<p class=\"headline\">{}</p>\n",
        Prose(&summary)
    )?;
    if !comparison.counted.is_empty() {
        change_table(out, "Counted figures that are not what they were", &comparison.counted)?;
    }
    if !comparison.measured.is_empty() {
        out.push_str("<details>\n<summary>All measured figures, then and now</summary>\n");
        change_table(out, "Measured figures", &comparison.measured)?;
        out.push_str("</details>\n");
    }
    out.push_str("</section>\n");
    Ok(())
}

fn change_table(out: &mut String, title: &str, changes: &[Change]) -> fmt::Result {
    write!(
        out,
        "<div class=\"card\"><h3>{title}</h3>\n<table>\n<tr><th>exhibit</th><th>row</th>\
         <th>column</th><th>since</th><th class=\"n\">before</th><th class=\"n\">now</th>\
         <th class=\"n\">ratio</th></tr>\n"
    )?;
    for change in changes {
        let Change { exhibit, row, column, since, before, now } = change;
        out.push_str("<tr>");
        for words in [exhibit, row, column, since] {
            write!(out, "<td>{}</td>", Prose(words))?;
        }
        for figure in [*before, *now, change.ratio()] {
            write!(out, "<td class=\"n\">{}</td>", Cell::from(figure))?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_page_stands_alone_and_escapes_what_it_is_given() {
        let mut then = example("<script>'\"");
        then.circumstances.date = "2025".into();
        let now = example("<script>'\"");
        let page = report(&now, &super::super::compare::compare(&now, &[then]));
        assert!(!page.contains("<script") && !page.contains("&lt;script&gt;'"), "{page}");
        for part in [
            "href=\"#figure-example\"",
            "id=\"figure-example\"",
            "href=\"#table-9\"",
            "id=\"table-9\"",
            "no data &lt;script&gt;",
            "id=\"changes\"",
            "Load in the minute before",
            "1 of 2 exhibits were made",
            "gelu-bench figure example",
            "2048 bits",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        // The name space of SVG is an address that no browser fetches; images are inside.
        let page = page.replace("http://www.w3.org/2000/svg", "").replace("src=\"data:image", "");
        for outside in ["http", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
