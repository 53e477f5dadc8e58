//! The one mark-up that texts of exhibits have: what stands between backticks is code.

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// To be read.
    Words(&'a str),
    /// To be typed.
    Code(&'a str),
}

/// The pieces in order. A backtick without a partner is a backtick.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let paired = text.matches('`').count().is_multiple_of(2);
    let whole = (!paired).then_some(Piece::Words(text));
    let parts = text.split('`').enumerate().filter(move |_| paired);
    let parts =
        parts.map(|(i, part)| if i % 2 == 1 { Piece::Code(part) } else { Piece::Words(part) });
    whole.into_iter().chain(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_come_in_pairs() {
        use Piece::{Code, Words};
        let of = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(of("a `b` c"), [Words("a "), Code("b"), Words(" c")]);
        assert_eq!(of("plain"), [Words("plain")]);
        assert_eq!(of("a ` b"), [Words("a ` b")]);
    }
}
