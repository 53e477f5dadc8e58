//! The keys of the store: made here, and read here.

pub(crate) const FORMAT: &str = "format";

pub(crate) fn model(model: &str) -> String {
    format!("model/{}", segment(model))
}

pub(crate) fn weights(model: &str) -> String {
    format!("weights/{}", segment(model))
}

pub(crate) fn content(model: &str, hash: &str) -> String {
    format!("content/{}/{hash}", segment(model))
}

/// With an empty name: what the keys of all accounts of the model begin with.
pub(crate) fn account(model: &str, account: &str) -> String {
    format!("account/{}/{account}", segment(model))
}

pub(crate) fn turn(model: &str) -> String {
    format!("turn/{}", segment(model))
}

pub(crate) fn lease(model: &str, number: u64) -> String {
    format!("{}{number:020}", leases(model))
}

/// What the keys of all leases of the model begin with.
pub(crate) fn leases(model: &str) -> String {
    format!("lease/{}/", segment(model))
}

/// `day`: since 1970.
pub(crate) fn usage(day: u64, account: &str) -> String {
    format!("usage/{day:010}/{account}")
}

pub(crate) fn import(model: &str) -> String {
    format!("import/{}", segment(model))
}

/// A name as a part of a key: models may be called anything.
fn segment(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn name(segment: &str) -> String {
    segment.replace("%2F", "/").replace("%25", "%")
}

/// What stands under a key: of which model, and of which account, hash, number or day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Format,
    Model(String),
    Weights(String),
    Content(String, String),
    Account(String, String),
    Turn(String),
    Lease(String, u64),
    Usage(u64, String),
    Import(String),
}

impl Key {
    /// `None` for a text that this program does not write.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let (first, second) = rest.split_once('/').unwrap_or((rest, ""));
        let (first_name, rest_name) = (|| name(first), || name(rest));
        let (key, written) = match kind {
            "format" => (Self::Format, FORMAT.to_owned()),
            "model" => (Self::Model(rest_name()), model(&rest_name())),
            "weights" => (Self::Weights(rest_name()), weights(&rest_name())),
            "content" => {
                (Self::Content(first_name(), second.into()), content(&first_name(), second))
            }
            "account" => {
                (Self::Account(first_name(), second.into()), account(&first_name(), second))
            }
            "turn" => (Self::Turn(rest_name()), turn(&rest_name())),
            "lease" => {
                let number = second.parse().ok()?;
                (Self::Lease(first_name(), number), lease(&first_name(), number))
            }
            "usage" => {
                let day = first.parse().ok()?;
                (Self::Usage(day, second.into()), usage(day, second))
            }
            "import" => (Self::Import(rest_name()), import(&rest_name())),
            _ => return None,
        };
        // What is written in another way would never be found.
        (written == text).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever models and accounts are called, their keys tell them apart, and can be read.
        #[test]
        fn every_key_is_read_as_it_was_written(
            (a, b) in ("[a/%25Fé \u{10FFFF}]{0,6}", "[a/%25Fé \u{10FFFF}]{0,6}"),
            n in any::<u64>(),
        ) {
            let (x, y) = (|| a.clone(), || b.clone());
            for (text, key) in [
                (model(&a), Key::Model(x())),
                (weights(&a), Key::Weights(x())),
                (content(&a, &b), Key::Content(x(), y())),
                (account(&a, &b), Key::Account(x(), y())),
                (turn(&a), Key::Turn(x())),
                (lease(&a, n), Key::Lease(x(), n)),
                (usage(n, &b), Key::Usage(n, y())),
                (import(&a), Key::Import(x())),
            ] {
                prop_assert_eq!(Key::parse(&text), Some(key));
            }
            let of = account(&a, "");
            prop_assert_eq!(account(&b, "x").starts_with(&of), a == b);
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        assert_eq!(Key::parse("format"), Some(Key::Format));
        for text in
            ["", "x", "format/", "account/iris", "account/a%2fb/c", "lease/iris/1", "usage/1/a"]
        {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
