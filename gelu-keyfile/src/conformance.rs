//! What every kind of key file keeps, for the tests of the crate that has the key.

use std::fmt::Debug;
use std::fs;

use serde_json::Value;

use crate::{Error, StoredKey, Unread};

/// Checks that a key comes back from its file, and that its file with one field changed is refused for the reason that
/// is told: with another format, another version, and each of `wrong`, which are fields, values and reasons.
///
/// `same` says whether two keys hold the same secret.
///
/// # Panics
/// When it is not so; when a field of `wrong` is not in the file, or has that value there.
pub fn check<K: StoredKey<Invalid: Debug + PartialEq>>(
    key: &K,
    same: impl Fn(&K, &K) -> bool,
    wrong: &[(&str, Value, Unread<K::Invalid>)],
) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("key.json");
    let load = || match K::load(&path) {
        Ok(key) => Ok(key),
        Err(Error::Format(_)) => Err(Unread::Format),
        Err(Error::Key(_, why)) => Err(Unread::Key(why)),
        Err(_) => panic!("the file of a key cannot be read"),
    };
    assert!(key.save(&path).is_ok(), "a key can be written");
    assert!(load().is_ok_and(|loaded| same(&loaded, key)), "a key comes back");

    let good: Value =
        serde_json::from_slice(&fs::read(&path).expect("it was written")).expect("JSON");
    let header = [("format", "else".into()), ("version", (K::VERSION + 1).into())];
    let header = header.map(|(field, value)| (field, value, Unread::Format));
    for (field, value, why) in header.iter().chain(wrong) {
        assert!(good.get(field).is_some_and(|right| right != value), "no change: {field}: {value}");
        let mut file = good.clone();
        file[*field] = value.clone();
        fs::write(&path, file.to_string()).expect("a file of ours");
        assert_eq!(load().err().as_ref(), Some(why), "{field}: {value}");
    }
}
