//! Whether the books agree with themselves, and a copy of them.

use std::collections::BTreeMap;
use std::path::Path;

use gelu_core::ledger::Account;
use serde::Serialize;

use crate::engine::{Engine, Redb};
use crate::error::{Error, Result};
use crate::import::Origin;
use crate::keys::{self, Key};
use crate::lease::{Ended, LeaseRecord, Line};
use crate::{Store, Usage, Version, location, parse};

/// What [`Store::verify`] has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// So many values were read.
    pub values: u64,
    /// What is wrong, by key.
    pub damages: Vec<Damage>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where.
    pub key: String,
    /// What.
    pub why: String,
}

impl Checked {
    fn unless(&mut self, holds: bool, key: String, why: impl FnOnce() -> String) {
        if !holds {
            self.damages.push(Damage { key, why: why() });
        }
    }
}

pub(crate) const UNKNOWN: &str = "this program knows no such key";

/// What is compared with each other, of one model.
#[derive(Default)]
struct Found {
    current: Option<Version>,
    has_weights: bool,
    /// Hash → version.
    contents: BTreeMap<String, u64>,
    line: Option<Line>,
    leases: BTreeMap<u64, LeaseRecord>,
}

#[derive(Default)]
struct Models(BTreeMap<String, Found>);

impl Models {
    fn of(&mut self, name: String) -> &mut Found {
        self.0.entry(name).or_default()
    }
}

impl Store {
    /// Reads everything at one moment, and lists what cannot be read and what does not agree.
    ///
    /// # Errors
    /// What the engine says. Damages are none.
    pub fn verify(&self) -> Result<Checked> {
        self.read(|tx| {
            let (mut checked, mut models) = (Checked::default(), Models::default());
            tx.scan("", &mut |key, value| {
                checked.values += 1;
                let read = match Key::parse(key) {
                    Some(known) => gather(&mut models, known, key, value),
                    None => Err(Error::Damaged { key: key.into(), why: UNKNOWN.into() }),
                };
                if let Err(Error::Damaged { key, why }) = read {
                    checked.damages.push(Damage { key, why });
                }
                Ok(())
            })?;
            models.0.iter().for_each(|(name, found)| compare(name, found, &mut checked));
            Ok(checked)
        })
    }

    /// Copies everything, as it is at one moment, into a new file of its owner alone, while others go on. A file like
    /// that is a store: whoever opens it has the books of that moment.
    ///
    /// # Errors
    /// [`Error::Exists`]: nothing is overwritten; what the engine and the disk say. There is no
    /// file then.
    pub fn backup(&self, path: &Path) -> Result<()> {
        Redb::create(path, |copy| {
            self.engine.read(&mut |tx| {
                copy.write(&mut |new| {
                    // Of a first try that came to nothing.
                    let mut old = Vec::new();
                    new.scan("", &mut |key, _| {
                        old.push(key.to_owned());
                        Ok(())
                    })?;
                    old.iter().try_for_each(|key| new.remove(key))?;
                    tx.scan("", &mut |key, value| new.put(key, value))
                })
            })
        })
    }
}

/// Reads a value into what is compared.
fn gather(models: &mut Models, known: Key, key: &str, value: &[u8]) -> Result<()> {
    match known {
        Key::Format => return location::check_format(value),
        Key::Salt => drop(parse::<String>(key, value)?),
        Key::Usage(..) => drop(parse::<Usage>(key, value)?),
        Key::Import(_) => drop(parse::<Origin>(key, value)?),
        Key::Account(..) => drop(parse::<Account>(key, value)?),
        Key::Model(name) => models.of(name).current = Some(parse(key, value)?),
        Key::Weights(name) => models.of(name).has_weights = true,
        Key::Content(name, hash) => drop(models.of(name).contents.insert(hash, parse(key, value)?)),
        Key::Turn(name) => models.of(name).line = Some(parse(key, value)?),
        Key::Lease(name, number) => drop(models.of(name).leases.insert(number, parse(key, value)?)),
    }
    Ok(())
}

/// What one transaction has written agrees with what another has.
fn compare(name: &str, found: &Found, checked: &mut Checked) {
    let last = found.current.as_ref().map(|current| current.version);
    let exists = |version: u64| last.is_some_and(|last| version <= last);
    if let Some(Version { version, content }) = &found.current {
        let known = found.contents.get(content);
        checked.unless(known == Some(version), keys::content(name, content), || {
            format!("version {version} holds this, and here stands {known:?}")
        });
    }
    checked.unless(
        found.current.is_some() == found.has_weights,
        keys::weights(name),
        || match found.has_weights {
            true => "there are weights of no version".into(),
            false => "the weights of the current version are not there".into(),
        },
    );
    for (hash, version) in &found.contents {
        checked.unless(exists(*version), keys::content(name, hash), || {
            format!("version {version} is not there yet")
        });
    }
    for (number, record) in &found.leases {
        if let Some(Ended::Committed(version)) = record.ended {
            checked.unless(exists(version), keys::lease(name, *number), || {
                format!("it made version {version}, which is not there")
            });
        }
    }
    compare_leases(name, found, checked);
}

/// The line's number is that of the last lease, which has ended unless somebody holds it; all before have ended.
fn compare_leases(name: &str, found: &Found, checked: &mut Checked) {
    let (number, holder) = match &found.line {
        Some(line) => (line.number, line.holder.as_ref().map(|holder| &holder.replica)),
        None => (0, None),
    };
    let last = found.leases.last_key_value().map_or(0, |(&number, _)| number);
    checked.unless(number == last, keys::turn(name), || {
        format!("it says that lease {number} was the last, and the journal ends with {last}")
    });
    checked.unless(found.leases.len() as u64 == last, keys::leases(name), || {
        format!("of {last} leases there are {}", found.leases.len())
    });
    for (&of, record) in &found.leases {
        let held = (of == number).then_some(holder).flatten();
        let agrees = match &record.ended {
            None => held == Some(&record.replica),
            Some(_) => held.is_none(),
        };
        checked.unless(agrees, keys::lease(name, of), || match held {
            Some(replica) => format!("{replica:?} holds it, and it says otherwise"),
            None => "it has not ended, and nobody holds it".into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Memory;
    use crate::{Published, Turn};

    /// A model that was served, trained, is being trained, and has been used.
    fn books() -> Memory {
        let memory = Memory::default();
        let store = Store::on(memory.clone());
        location::mark_format(&store).unwrap();
        let bytes = |number: u64| Ok(number.to_string().into_bytes());
        let published = store.publish("iris", "aa", 3, false, &bytes).unwrap();
        assert!(matches!(published, Published::New(_)));
        let lease = |replica| match store.ask_turn("iris", replica, "alice").unwrap() {
            Turn::Granted(lease) => lease,
            waits => panic!("{waits:?}"),
        };
        store.commit(&lease("one"), "alice", 3, "bb", b"4").unwrap();
        store.end_lease(&lease("one"), "the client left").unwrap();
        lease("two");
        let used = Usage { sessions: 1, ..Usage::default() };
        store.spend("alice", used).unwrap();
        memory
    }

    #[test]
    fn books_that_agree_have_no_damages() {
        let checked = Store::on(books()).verify().unwrap();
        assert_eq!(checked.damages, []);
        assert!(checked.values >= 10, "{}", checked.values);
    }

    /// Whatever is changed behind the store's back, and whatever is lost.
    #[test]
    fn every_damage_is_listed_with_its_key() {
        let put = |key: &str, value: &str| (key.to_owned(), Some(value.as_bytes().to_vec()));
        let lost = |key: &str| (key.to_owned(), None);
        let open = r#"{"replica":"one","account":"alice","since":1,"ended":null}"#;
        let future = r#"{"replica":"one","account":"alice","since":1,"ended":{"committed":9}}"#;
        let cases = [
            (put("format", "2"), "format", "newer program"),
            (put("stranger", ""), "stranger", "knows no such key"),
            (put("account/iris/alice", "{"), "account/iris/alice", "EOF"),
            (put("usage/0000000001/alice", "1"), "usage/0000000001/alice", "invalid type"),
            (put("model/iris", "{}"), "model/iris", "missing field"),
            (put("content/iris/bb", "3"), "content/iris/bb", "version 4 holds this"),
            (put("content/iris/cc", "5"), "content/iris/cc", "version 5 is not there yet"),
            (lost("weights/iris"), "weights/iris", "are not there"),
            (put("weights/mnist", "x"), "weights/mnist", "of no version"),
            (put(&keys::lease("iris", 1), future), &keys::lease("iris", 1), "version 9"),
            (put(&keys::lease("iris", 2), open), &keys::lease("iris", 2), "nobody holds it"),
            (lost(&keys::lease("iris", 2)), "lease/iris/", "of 3 leases there are 2"),
            (lost(&keys::lease("iris", 3)), "turn/iris", "lease 3 was the last"),
            (put(&keys::lease("iris", 3), open), &keys::lease("iris", 3), "\"two\" holds it"),
            (lost("turn/iris"), "turn/iris", "the journal ends with 3"),
        ];
        for ((at, value), key, why) in cases {
            let memory = books();
            memory
                .write(&mut |tx| match &value {
                    Some(value) => tx.put(&at, value),
                    None => tx.remove(&at),
                })
                .unwrap();
            let damages = Store::on(memory).verify().unwrap().damages;
            let named = |damage: &Damage| damage.key == key && damage.why.contains(why);
            assert!(damages.iter().any(named), "{at}, {why}: {damages:?}");
        }
    }

    #[test]
    fn a_copy_is_a_store_with_the_books_of_its_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let store = Store::on(books());
        store.backup(&path).unwrap();
        assert!(matches!(store.backup(&path), Err(Error::Exists(_))));
        let before = store.overview().unwrap();
        store.spend("bob", Usage { bytes: 1, ..Usage::default() }).unwrap();
        let copy = Store::open(&crate::Location::File(path)).unwrap();
        assert_eq!(copy.overview().unwrap(), before);
        assert_ne!(store.overview().unwrap(), before);
        assert_eq!(copy.verify().unwrap().damages, []);
    }
}
