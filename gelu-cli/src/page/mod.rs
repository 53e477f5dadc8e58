//! Pages that need nothing else, neither scripts nor a network.
//!
//! [`document`] is the frame with its style sheet. Everything that comes from outside (names, paths,
//! command lines, errors) is escaped where it enters a page, by maud: as it stands, or by [`prose`]
//! for sentences.

mod prose;

use std::fmt::Display;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use prose::{Piece, pieces};

use crate::claim::Claim;

/// The look of every page.
pub const STYLE: &str = include_str!("style.css");

/// A whole file around its body; `style` is added to [`STYLE`].
pub fn document(title: &str, style: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(style)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// How every [`document`] begins.
pub const BEGINNING: &str = "<!DOCTYPE html><html lang=\"en\">";

/// The top of a page.
pub fn header(title: &str, headline: &str, claims: &[Claim], warning: Option<&str>) -> Markup {
    html! {
        header {
            div.mark { "GELU" }
            h1 { (title) }
            p.headline { (prose(headline)) }
            (self::claims("badges", claims))
            @if let Some(warning) = warning {
                p.warning { (prose(warning)) }
            }
        }
    }
}

/// Sentences that were checked, each with what came out. `class` is `badges` for a few short ones and
/// `claims` for others.
pub fn claims(class: &str, claims: &[Claim]) -> Markup {
    html! {
        @if !claims.is_empty() {
            ul class=(class) {
                @for Claim { text, holds } in claims {
                    li class=(if *holds { "yes" } else { "no" }) {
                        b { (if *holds { "✓" } else { "✗" }) } " " (prose(text))
                    }
                }
            }
        }
    }
}

/// Names and their values.
pub fn facts(title: &str, items: &[(impl Display, impl Display)]) -> Markup {
    html! {
        div.card {
            h3 { (title) }
            dl {
                @for (name, value) in items {
                    dt { (name) }
                    dd { (value) }
                }
            }
        }
    }
}

/// A chart with its caption, which also tells those who cannot see it what it shows.
pub fn chart(caption: &str, picture: Markup) -> Markup {
    html! {
        figure.card.chart {
            figcaption { (prose(caption)) }
            div role="img" aria-label=(caption) { (picture) }
        }
    }
}

/// Sentences from outside: what stands between backticks is code.
pub fn prose(text: &str) -> Markup {
    html! {
        @for piece in pieces(text) {
            @match piece {
                Piece::Words(words) => (words),
                Piece::Code(code) => code { (code) },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let shown = prose("run `a <b>` & go").into_string();
        assert_eq!(shown, "run <code>a &lt;b&gt;</code> &amp; go");
        assert_eq!(prose("one ` alone <").into_string(), "one ` alone &lt;");
        let chart = chart("\"><script>", html! {}).into_string();
        assert!(chart.contains("aria-label=\"&quot;&gt;&lt;script&gt;\""), "{chart}");
    }

    #[test]
    fn a_document_stands_alone() {
        let header = header("<h>", "`x` <y>", &[Claim::new("<z>", true)], Some("<w>"));
        let page = document("</title><script>", "", header);
        assert!(page.starts_with(BEGINNING));
        for shown in ["&lt;h&gt;", "<code>x</code> &lt;y&gt;", "&lt;z&gt;", "&lt;w&gt;"] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        for outside in ["<script", "http", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
