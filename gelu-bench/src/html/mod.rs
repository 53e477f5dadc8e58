//! Pages that need nothing else, neither scripts nor a network.
//!
//! [`document`] is the frame with its one style sheet, [`exhibit`] sets an exhibit. Everything that
//! comes from outside (names, paths, command lines, errors) is escaped where it enters a page:
//! [`Escaped`] for what is typed as it stands, [`Prose`] for sentences.

pub mod exhibit;

use std::fmt::{self, Display, Write};

use crate::exhibit::Claim;

/// The look of every page, charts included.
pub const STYLE: &str = include_str!("style.css");

/// A whole file around its body.
pub fn document(title: &str, body: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        Escaped(title)
    );
    body(&mut page).expect("writing to a string succeeds");
    page.push_str("</body>\n</html>\n");
    page
}

/// The top of a page, up to the end of its header's first part: the caller adds to it and closes it.
pub fn header(out: &mut String, title: &str, headline: &str) -> fmt::Result {
    write!(
        out,
        "<header>\n<div class=\"mark\">GELU</div>\n<h1>{}</h1>\n<p class=\"headline\">{}</p>\n",
        Escaped(title),
        Prose(headline),
    )
}

/// Sentences that were checked, each with what came out. `class` is `badges` for a few short ones and
/// `claims` for others.
pub fn claims(out: &mut String, class: &str, claims: &[Claim]) -> fmt::Result {
    if claims.is_empty() {
        return Ok(());
    }
    writeln!(out, "<ul class=\"{class}\">")?;
    for claim in claims {
        let (class, mark) = if claim.holds { ("yes", "✓") } else { ("no", "✗") };
        writeln!(out, "<li class=\"{class}\"><b>{mark}</b> {}</li>", Prose(&claim.text))?;
    }
    out.push_str("</ul>\n");
    Ok(())
}

/// Names and their values.
pub fn facts<'a>(
    out: &mut String,
    title: &str,
    items: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    write!(out, "<div class=\"card\"><h3>{}</h3>\n<dl>\n", Escaped(title))?;
    for (name, value) in items {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", Escaped(name), Escaped(value))?;
    }
    out.push_str("</dl></div>\n");
    Ok(())
}

/// Text from outside, as HTML.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            _ => f.write_char(c),
        })
    }
}

/// Sentences from outside, as HTML: what stands between backticks is code.
#[derive(Debug, Clone, Copy)]
pub struct Prose<'a>(pub &'a str);

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in crate::prose::pieces(self.0) {
            match piece {
                crate::prose::Piece::Words(words) => Escaped(words).fmt(f)?,
                crate::prose::Piece::Code(code) => write!(f, "<code>{}</code>", Escaped(code))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(Escaped("<a href='x'>\"&").to_string(), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
        assert_eq!(Prose("run `a <b>` & go").to_string(), "run <code>a &lt;b&gt;</code> &amp; go");
        assert_eq!(Prose("one ` alone <").to_string(), "one ` alone &lt;");
    }

    #[test]
    fn a_document_stands_alone() {
        let page = document("</title><script>", |out| header(out, "<h>", "`x` <y>"));
        assert!(page.contains("&lt;h&gt;") && page.contains("<code>x</code> &lt;y&gt;"), "{page}");
        for outside in ["<script", "http", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
