//! An account's count as it is kept: names once, and versions in a row as one entry, so that it stays short after a
//! thousand versions.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use super::Account;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written<'a> {
    /// Layer and direction, of each column.
    layers: Vec<Cow<'a, str>>,
    /// The oldest version of a line, and its bits in each column, where it has some.
    lines: Vec<(u64, Vec<Option<u64>>)>,
    /// The first and the last of versions in a row, and the oldest of their line.
    joined: Vec<(u64, u64, u64)>,
    frozen: Cow<'a, BTreeMap<String, u64>>,
}

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(self).serialize(serializer)
    }
}

impl<'a> From<&'a Account> for Written<'a> {
    fn from(account: &'a Account) -> Self {
        let layers: BTreeSet<_> = account.revealed.values().flat_map(BTreeMap::keys).collect();
        let columns = |bits: &BTreeMap<String, u64>| {
            layers.iter().map(|layer| bits.get(*layer).copied()).collect()
        };
        let lines = account.revealed.iter().map(|(&oldest, bits)| (oldest, columns(bits)));
        let mut joined = Vec::<(u64, u64, u64)>::new();
        for (&version, &oldest) in &account.oldest {
            match joined.last_mut() {
                Some((_, last, of)) if *of == oldest && *last + 1 == version => *last = version,
                _ => joined.push((version, version, oldest)),
            }
        }
        Self {
            lines: lines.collect(),
            layers: layers.into_iter().map(|layer| Cow::Borrowed(layer.as_str())).collect(),
            joined,
            frozen: Cow::Borrowed(&account.frozen),
        }
    }
}

/// Why an account cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("a line has {got} columns, of {expected}")]
    Columns { got: usize, expected: usize },
    #[error("version {0} is in two lines, or in none")]
    Line(u64),
    #[error("{0} versions in a row")]
    TooMany(u64),
}

/// More versions in a row than any account can have made.
const MOST: u64 = 1 << 32;

impl TryFrom<Written<'_>> for Account {
    type Error = Unreadable;

    fn try_from(written: Written<'_>) -> Result<Self, Unreadable> {
        let Written { layers, lines, joined, frozen } = written;
        let mut account = Self { frozen: frozen.into_owned(), ..Self::default() };
        for (line, columns) in lines {
            if columns.len() != layers.len() {
                let (got, expected) = (columns.len(), layers.len());
                return Err(Unreadable::Columns { got, expected });
            }
            let bits =
                layers.iter().zip(columns).filter_map(|(l, bits)| Some((l.to_string(), bits?)));
            if account.revealed.insert(line, bits.collect()).is_some() {
                return Err(Unreadable::Line(line));
            }
        }
        for &(first, last, oldest) in &joined {
            let many = last.saturating_sub(first);
            if many >= MOST {
                return Err(Unreadable::TooMany(many));
            }
            for version in first..=last {
                if account.oldest.insert(version, oldest).is_some() {
                    return Err(Unreadable::Line(version));
                }
            }
            if last < first {
                return Err(Unreadable::Line(first));
            }
        }
        // What names a line is in no other: its bits would not be found.
        let mut named = account.revealed.keys().chain(joined.iter().map(|(.., oldest)| oldest));
        if let Some(&line) = named.find(|line| account.oldest.contains_key(line)) {
            return Err(Unreadable::Line(line));
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_account_is_read_as_it_was_written(
            steps in prop::collection::vec((0..8u64, 0..8u64, "[ab]{0,1}", any::<u64>()), 0..30),
        ) {
            let mut account = Account::default();
            for (from, to, layer, bits) in steps {
                let layers = [(layer, bits)].into();
                match from < to {
                    true => account.carry(from, to),
                    false if from == to => account.book(from, &BTreeMap::new(), &layers),
                    false => account.book(from, &layers, &BTreeMap::new()),
                }
            }
            let bytes = postcard::to_stdvec(&account).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Account>(&bytes).unwrap(), account);
        }
    }

    #[test]
    fn a_thousand_versions_in_a_row_are_one_entry() {
        let mut account = Account::default();
        (0..1000).for_each(|version| account.carry(version, version + 1));
        assert!(postcard::to_stdvec(&account).unwrap().len() < 20);
    }

    #[test]
    fn what_does_not_agree_cannot_be_read() {
        let layers = vec![Cow::Borrowed("a")];
        let read = |lines, joined| {
            let written = Written { layers: layers.clone(), lines, joined, frozen: Cow::default() };
            Account::try_from(written).unwrap_err()
        };
        let line = |version| (version, vec![Some(1)]);
        assert_eq!(read(vec![(0, vec![])], vec![]), Unreadable::Columns { got: 0, expected: 1 });
        assert_eq!(read(vec![line(1), line(1)], vec![]), Unreadable::Line(1));
        assert_eq!(read(vec![line(0)], vec![(1, 3, 0), (3, 4, 0)]), Unreadable::Line(3));
        assert_eq!(read(vec![line(0)], vec![(3, 1, 0)]), Unreadable::Line(3));
        assert_eq!(read(vec![line(0), line(1)], vec![(1, 1, 0)]), Unreadable::Line(1));
        assert_eq!(read(vec![line(0)], vec![(1, 1, 0), (2, 2, 1)]), Unreadable::Line(1));
        assert_eq!(read(vec![line(0)], vec![(0, u64::MAX, 0)]), Unreadable::TooMany(u64::MAX));
    }
}
