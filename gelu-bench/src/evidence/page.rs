//! The report as one HTML file that needs nothing else.

use gelu_cli::amounts;
use gelu_cli::page::{self, prose};
use maud::{Markup, html};

use super::compare::{Change, Comparison};
use super::{Evidence, Failed, Made, Outcome};
use crate::exhibit::Cell;
use crate::html;

/// The whole file.
pub fn report(evidence: &Evidence, comparison: &Comparison) -> String {
    let here = &evidence.circumstances;
    let warning = here.warning();
    let body = html! {
        (page::header("The evidence", &evidence.headline(), &evidence.claims(), warning.as_deref()))
        (contents(evidence, comparison))
        (page::facts("This run", &here.facts()))
        @for outcome in &evidence.outcomes {
            @match outcome {
                Outcome::Made(made) => (section(made)),
                Outcome::Failed(failed) => (failure(failed)),
            }
        }
        (changes(comparison))
        footer { "Written by gelu " (env!("CARGO_PKG_VERSION")) ". After GELU-Net (IJCAI 2018)." }
    };
    html::document("gelu: the evidence", body)
}

fn contents(evidence: &Evidence, comparison: &Comparison) -> Markup {
    html! {
        div.card {
            table.contents {
                tr { th { "exhibit" } th { "what came out" } th.n { "claims" } th.n { "time" } }
                @for outcome in &evidence.outcomes {
                    tr {
                        td { a href={ "#" (outcome.id()) } { (outcome.id()) } }
                        @match outcome {
                            Outcome::Made(made) => (made_line(made)),
                            Outcome::Failed(failed) => {
                                td { b { (prose(&failed.about)) } br; (prose(&failed.reason)) }
                                td.n { span.no { "✗" } }
                                td {}
                            }
                        }
                    }
                }
                @if let Some(summary) = comparison.summary() {
                    tr {
                        td { a href="#changes" { "changes" } } td { (prose(&summary)) } td {} td {}
                    }
                }
            }
        }
    }
}

fn made_line(made: &Made) -> Markup {
    let claims = &made.exhibit.claims;
    let hold = claims.iter().filter(|claim| claim.holds).count();
    let class = if hold == claims.len() { "yes" } else { "no" };
    html! {
        td { b { (prose(&made.exhibit.title)) } br; (prose(&made.exhibit.finding)) }
        td.n { span class=(class) { (hold) " of " (claims.len()) } }
        td.n { (amounts::seconds(made.seconds)) }
    }
}

fn section(made: &Made) -> Markup {
    html! {
        section id=(made.exhibit.id) {
            h2 { (prose(&made.exhibit.title)) }
            (html::exhibit(&made.exhibit))
            p.made {
                "Made in " (amounts::seconds(made.seconds)) ", seed " (made.seed) ", by "
                code { (made.command) }
            }
        }
    }
}

fn failure(failed: &Failed) -> Markup {
    html! {
        section id=(failed.id) {
            h2 { (prose(&failed.about)) }
            p.warning { "It could not be made: " (prose(&failed.reason)) }
            p.made { "Try again with " code { (failed.command) } }
        }
    }
}

fn changes(comparison: &Comparison) -> Markup {
    let Some(summary) = comparison.summary() else { return Markup::default() };
    let Comparison { counted, measured, .. } = comparison;
    html! {
        section id="changes" {
            h2 { "What has changed" }
            p.headline { (prose(&summary)) }
            @if !counted.is_empty() {
                (change_table("Counted figures that are not what they were", counted))
            }
            @if !measured.is_empty() {
                details {
                    summary { "All measured figures, then and now" }
                    (change_table("Measured figures", measured))
                }
            }
        }
    }
}

fn change_table(title: &str, changes: &[Change]) -> Markup {
    html! {
        div.card {
            h3 { (title) }
            table {
                tr {
                    th { "exhibit" } th { "row" } th { "column" } th { "since" }
                    th.n { "before" } th.n { "now" } th.n { "ratio" }
                }
                @for change in changes {
                    @let Change { exhibit, row, column, since, before, now } = change;
                    tr {
                        @for words in [exhibit, row, column, since] { td { (prose(words)) } }
                        @for figure in [*before, *now, change.ratio()] {
                            td.n { (Cell::from(figure)) }
                        }
                    }
                }
            }
        }
    }
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
        assert!(!page.contains("<script") && !page.contains("&lt;script&gt;'\""), "{page}");
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
