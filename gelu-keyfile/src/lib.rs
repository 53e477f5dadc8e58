//! Secret keys on disk, whatever the cryptosystem.
//!
//! A key file is a small JSON object. It is created for its owner's eyes only (mode 0600), and one
//! that others may read is not loaded: by then the key may be known, and somebody should hear of it.
//!
//! A cryptosystem says what stands in the object, and checks it when it comes back:
//!
//! ```
//! use std::path::Path;
//! use gelu_keyfile::{Header, from_hex, to_hex};
//! use serde::{Deserialize, Serialize};
//! use zeroize::{Zeroize, ZeroizeOnDrop};
//!
//! const HEADER: Header = Header { format: "example-secret-key", version: 1 };
//!
//! /// Why a key file was not written or read; here no text of digits is a bad key.
//! type KeyFileError = gelu_keyfile::Error<std::convert::Infallible>;
//!
//! #[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
//! struct KeyFile { format: String, version: u32, x: String }
//!
//! fn save(x: &[u8], path: &Path) -> Result<(), KeyFileError> {
//!     let (format, version) = (HEADER.format.into(), HEADER.version);
//!     gelu_keyfile::create(path, &KeyFile { format, version, x: to_hex(x) })
//! }
//!
//! fn load(path: &Path) -> Result<Vec<u8>, KeyFileError> {
//!     let file: KeyFile = gelu_keyfile::read(path)?;
//!     HEADER.check(path, &file.format, file.version)?;
//!     let x = from_hex(&file.x).ok_or_else(|| KeyFileError::Format(path.into()))?;
//!     Ok(x.to_vec())
//! }
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("key.json");
//! save(&[7; 32], &path).unwrap();
//! assert_eq!(load(&path).unwrap(), [7; 32]);
//! assert!(matches!(save(&[8; 32], &path), Err(KeyFileError::Exists(_))));
//! ```
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gelu_files::Access;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// No key file is longer; bounds what is read from a wrong path.
pub const LONGEST: u64 = 64 * 1024;

/// Why a key file was not written or read; `E` is why a well-formed one holds no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// There is a file already, and overwriting a key destroys it.
    #[error("{0} exists already; choose another name, or replace it knowingly")]
    Exists(PathBuf),
    /// Other users may read the file.
    #[error(
        "{path} can be read by others (mode {mode:o}); if the key is still good: chmod 600 {path}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another format, or a version of it that is not known.
    #[error("{0} is not a key file that this version understands")]
    Format(PathBuf),
    /// Well-formed, but not a key.
    #[error("{0}: {1}")]
    Key(PathBuf, E),
    /// The file system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// What a key file says of itself in its fields `format` and `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose keys: `gelu-paillier-secret-key`.
    pub format: &'static str,
    /// The version of the format.
    pub version: u32,
}

impl Header {
    /// Checks what a file says of itself.
    ///
    /// # Errors
    /// [`Error::Format`] for anything else.
    pub fn check<E>(&self, path: &Path, format: &str, version: u32) -> Result<(), Error<E>> {
        match (format, version) == (self.format, self.version) {
            true => Ok(()),
            false => Err(Error::Format(path.to_owned())),
        }
    }
}

/// Writes a key to a new file that only its owner may read: whole, or not at all.
///
/// # Errors
/// [`Error::Exists`] rather than overwrite anything.
pub fn create<E>(path: &Path, key: &(impl Serialize + ZeroizeOnDrop)) -> Result<(), Error<E>> {
    let json = json(key).map_err(|error| Error::Io(path.to_owned(), error))?;
    gelu_files::create(path, &json, Access::Secret).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
        _ => Error::Io(path.to_owned(), error),
    })
}

/// Writes a key in place of whatever is at `path`, all or nothing.
///
/// # Errors
/// [`Error::Io`], and then the old file is still there.
pub fn replace<E>(path: &Path, key: &(impl Serialize + ZeroizeOnDrop)) -> Result<(), Error<E>> {
    json(key)
        .and_then(|json| gelu_files::replace(path, &json, Access::Secret))
        .map_err(|error| Error::Io(path.to_owned(), error))
}

/// Reads what [`create`] or [`replace`] wrote. The caller checks the header and the key.
///
/// # Errors
/// [`Error::Exposed`] when others may read the file, [`Error::Format`] when it holds anything else
/// than an `F` in at most [`LONGEST`] bytes.
pub fn read<E, F: DeserializeOwned + ZeroizeOnDrop>(path: &Path) -> Result<F, Error<E>> {
    let failed = |error| Error::Io(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    refuse_exposed(path, &file)?;
    let mut json = room();
    file.take(LONGEST).read_to_end(&mut json).map_err(failed)?;
    serde_json::from_slice(&json).map_err(|_| Error::Format(path.to_owned()))
}

/// Secret bytes as hexadecimal digits, in constant time. The caller wipes the text.
pub fn to_hex(secret: &[u8]) -> String {
    base16ct::lower::encode_string(secret)
}

/// The bytes, in constant time; `None` unless the text is an even number of hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    base16ct::mixed::decode_vec(text).ok().map(Zeroizing::new)
}

fn json(key: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut json = room();
    serde_json::to_writer_pretty(&mut *json, key)?;
    json.push(b'\n');
    Ok(json)
}

/// Large enough not to be moved while it grows, which would leave copies behind.
fn room() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(8192))
}

#[cfg(unix)]
fn refuse_exposed<E>(path: &Path, file: &File) -> Result<(), Error<E>> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|error| Error::Io(path.to_owned(), error))?;
    match metadata.permissions().mode() & 0o777 {
        mode if mode & 0o077 != 0 => Err(Error::Exposed { path: path.to_owned(), mode }),
        _ => Ok(()),
    }
}

/// Other systems keep permissions elsewhere; there the directory must protect the file.
#[cfg(not(unix))]
fn refuse_exposed<E>(_: &Path, _: &File) -> Result<(), Error<E>> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::fs;
    use zeroize::Zeroize;

    #[derive(Debug, PartialEq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
    struct Key {
        x: String,
    }

    type Failure = Error<std::convert::Infallible>;

    fn key(byte: u8) -> Key {
        Key { x: to_hex(&[byte; 32]) }
    }

    fn load(path: &Path) -> Result<Key, Failure> {
        read(path)
    }

    #[test]
    fn nothing_is_overwritten_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        create::<()>(&path, &key(1)).unwrap();
        assert!(matches!(create::<()>(&path, &key(2)), Err(Error::Exists(_))));
        assert_eq!(load(&path).unwrap(), key(1));
        replace::<()>(&path, &key(2)).unwrap();
        assert_eq!(load(&path).unwrap(), key(2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing left lying about");
        assert!(replace::<()>(&dir.path().join("no/such/dir"), &key(1)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_or_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        create::<()>(&path, &key(1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load(&path).is_ok());
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        create::<()>(&path, &key(1)).unwrap();
        let long = format!("{{\"x\": \"{}\"}}", "0".repeat(70_000));
        for text in ["", "{}", "{\"x\": 7}", "[]", &long] {
            fs::write(&path, text).unwrap();
            assert!(matches!(load(&path), Err(Error::Format(_))), "{text:.20}");
        }
        assert!(matches!(load(&dir.path().join("none")), Err(Error::Io(..))));
    }

    #[test]
    fn digits_by_hand() {
        assert_eq!(to_hex(&[0, 10, 255]), "000aff");
        assert_eq!(from_hex("000aFF").unwrap()[..], [0, 10, 255]);
        assert!(from_hex("").unwrap().is_empty());
        for bad in ["0", "xy", "é0", "+1"] {
            assert!(from_hex(bad).is_none(), "{bad}");
        }
    }
}
