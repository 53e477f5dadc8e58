//! Words of others, made fit to be shown.
//!
//! A name, a reason or a verdict may come from the other party or from a file of anybody's. Shown as
//! it is, it could move a terminal's cursor, begin a line of its own in a log, turn the direction
//! of writing round, or fill the screen. Such text goes through [`printable`] where it enters an
//! error, a log or a page.

/// The most characters of others that are shown.
pub const MOST_SHOWN: usize = 400;

/// `text` on one line: characters that are not seen as themselves (controls, line ends, marks of
/// direction, spaces without width) are written as `\u{…}`, and at most [`MOST_SHOWN`] are left.
///
/// ```
/// # use gelu_core::text::printable;
/// assert_eq!(printable("heart disease, Übung 3"), "heart disease, Übung 3");
/// assert_eq!(printable("\u{1b}[31mred\nerror: lost"), "\\u{1b}[31mred\\nerror: lost");
/// ```
pub fn printable(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown = escaped(characters.by_ref().take(MOST_SHOWN));
    match characters.count() {
        0 => {}
        more => shown.push_str(&format!("… ({more} more characters)")),
    }
    shown
}

/// As [`printable`] for text of our own that quotes others: keeps line ends and tabs, and any length.
pub fn printable_lines(text: &str) -> String {
    let keep = |c: char| matches!(c, '\n' | '\t');
    let pieces = text.split_inclusive(keep).map(|piece| match piece.strip_suffix(keep) {
        Some(line) => escaped(line.chars()) + &piece[line.len()..],
        None => escaped(piece.chars()),
    });
    pieces.collect()
}

/// By the tables of the standard library, whose `escape_debug` knows what is printable. Quotes and
/// backslashes are, and an accent is when it follows something.
fn escaped(text: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    for character in text {
        match character {
            ' '..='~' => shown.push(character),
            _ => shown.extend(format!("a{character}").escape_debug().skip(1)),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_as_itself_is_escaped() {
        for (raw, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("good\rbad", "good\\rbad"),
            ("one\ntwo\u{85}three\u{2028}four", "one\\ntwo\\u{85}three\\u{2028}four"),
            ("\u{202e}txt.exe\u{2066}", "\\u{202e}txt.exe\\u{2066}"),
            ("a\u{200b}b\u{feff}c\u{ad}d", "a\\u{200b}b\\u{feff}c\\u{ad}d"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\0"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(printable(raw), shown);
            assert_eq!(printable(shown), shown, "what is printable stays as it is");
        }
    }

    #[test]
    fn words_of_any_language_stay_as_they_are() {
        for text in ["", "it's \"C:\\x\"", "Übung", "e\u{301}", "नमस्ते", "心臓病", "▸ ✓ 3 · 4 ≤ 5"]
        {
            assert_eq!(printable(text), text);
            assert_eq!(printable_lines(text), text);
        }
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let long = "é".repeat(MOST_SHOWN + 7);
        let shown = printable(&long);
        assert_eq!(shown, "é".repeat(MOST_SHOWN) + "… (7 more characters)");
        assert_eq!(printable(&long[..2 * MOST_SHOWN]), long[..2 * MOST_SHOWN]);
        assert!(printable(&"\u{1b}".repeat(1 << 20)).len() < 10 * MOST_SHOWN);
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_passes() {
        assert_eq!(printable_lines("a\n\tb\r\n\u{1b}[0mc"), "a\n\tb\\r\n\\u{1b}[0mc");
        let long = "x".repeat(MOST_SHOWN + 1);
        assert_eq!(printable_lines(&long), long);
    }
}
