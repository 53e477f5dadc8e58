//! Secret keys on disk, whatever the cryptosystem.
//!
//! A key file is a small JSON object. It is created for its owner's eyes only (mode 0600), and one
//! that others may read is not loaded: by then the key may be known, and somebody should hear of it.
//!
//! A cryptosystem says what stands in the object, and checks it when it comes back:
//!
//! ```
//! use std::convert::Infallible;
//! use gelu_keyfile::{Error, StoredKey, Unread, from_hex, to_hex};
//! use serde::{Deserialize, Serialize};
//! use zeroize::{Zeroize, ZeroizeOnDrop};
//!
//! #[derive(ZeroizeOnDrop)]
//! struct SecretKey { x: Vec<u8> }
//!
//! #[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
//! struct Fields { x: String }
//!
//! impl StoredKey for SecretKey {
//!     const FORMAT: &'static str = "example-secret-key";
//!     const VERSION: u32 = 1;
//!     type Fields = Fields;
//!     /// Here no text of digits is a bad key.
//!     type Invalid = Infallible;
//!
//!     fn fields(&self) -> Fields {
//!         Fields { x: to_hex(&self.x) }
//!     }
//!     fn parse(fields: &Fields) -> Result<Self, Unread<Infallible>> {
//!         let x = from_hex(&fields.x).ok_or(Unread::Format)?;
//!         Ok(Self { x: x.to_vec() })
//!     }
//! }
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("key.json");
//! let key = SecretKey { x: vec![7; 32] };
//! key.save(&path).unwrap();
//! assert_eq!(SecretKey::load(&path).unwrap().x, [7; 32]);
//! assert!(matches!(key.save(&path), Err(Error::Exists(_))));
//! ```
//!
//! [`conformance::check`] tests that in a line.
#![forbid(unsafe_code)]

pub mod conformance;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gelu_files::Access;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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

/// A secret key that is kept in a file, and wiped from memory: what stands in the file beside its format
/// and version, and how a key is made of it.
pub trait StoredKey: ZeroizeOnDrop + Sized {
    /// Whose keys: `gelu-paillier-secret-key`.
    const FORMAT: &'static str;
    /// The version of the format.
    const VERSION: u32;
    /// The other fields of the object.
    type Fields: Serialize + DeserializeOwned + ZeroizeOnDrop;
    /// Why well-formed fields hold no key.
    type Invalid;

    /// What is written.
    fn fields(&self) -> Self::Fields;

    /// The key that was written, checked again.
    ///
    /// # Errors
    /// [`Unread`].
    fn parse(fields: &Self::Fields) -> Result<Self, Unread<Self::Invalid>>;

    /// Writes the key to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`Error::Exists`] rather than overwrite anything.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), Error<Self::Invalid>> {
        let path = path.as_ref();
        let json = json(self).map_err(|error| Error::Io(path.to_owned(), error))?;
        gelu_files::create(path, &json, Access::Secret).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => Error::Io(path.to_owned(), error),
        })
    }

    /// Writes the key in place of whatever is at `path`, all or nothing.
    ///
    /// # Errors
    /// [`Error::Io`], and then the old file is still there.
    fn save_replacing(&self, path: impl AsRef<Path>) -> Result<(), Error<Self::Invalid>> {
        let path = path.as_ref();
        json(self)
            .and_then(|json| gelu_files::replace(path, &json, Access::Secret))
            .map_err(|error| Error::Io(path.to_owned(), error))
    }

    /// Reads a key that [`save`](Self::save) wrote, and checks it again.
    ///
    /// # Errors
    /// [`Error::Exposed`] when others may read the file.
    fn load(path: impl AsRef<Path>) -> Result<Self, Error<Self::Invalid>> {
        let path = path.as_ref();
        let json = read_json(path)?;
        let unknown = || Error::Format(path.to_owned());
        // Header and fields one after the other: serde would flatten them through a buffer of its own,
        // which nobody wipes.
        let header: Header = serde_json::from_slice(&json).map_err(|_| unknown())?;
        if (&*header.format, header.version) != (Self::FORMAT, Self::VERSION) {
            return Err(unknown());
        }
        let fields = serde_json::from_slice(&json).map_err(|_| unknown())?;
        Self::parse(&fields).map_err(|why| match why {
            Unread::Format => unknown(),
            Unread::Key(why) => Error::Key(path.to_owned(), why),
        })
    }
}

/// Why fields are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread<E> {
    /// They are not those of this format.
    Format,
    /// They are, but hold no key.
    Key(E),
}

impl<E> From<E> for Unread<E> {
    fn from(why: E) -> Self {
        Self::Key(why)
    }
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// What is written.
#[derive(Serialize)]
struct Contents<F> {
    format: &'static str,
    version: u32,
    #[serde(flatten)]
    fields: F,
}

fn read_json<E>(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error<E>> {
    let failed = |error| Error::Io(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    refuse_exposed(path, &file)?;
    let mut json = room();
    file.take(LONGEST).read_to_end(&mut json).map_err(failed)?;
    Ok(json)
}

/// Secret bytes as hexadecimal digits, in constant time. The caller wipes the text.
pub fn to_hex(secret: &[u8]) -> String {
    base16ct::lower::encode_string(secret)
}

/// The bytes, in constant time; `None` unless the text is an even number of hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    base16ct::mixed::decode_vec(text).ok().map(Zeroizing::new)
}

fn json<K: StoredKey>(key: &K) -> io::Result<Zeroizing<Vec<u8>>> {
    let contents = Contents { format: K::FORMAT, version: K::VERSION, fields: key.fields() };
    let mut json = room();
    serde_json::to_writer_pretty(&mut *json, &contents)?;
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
    use std::fs;
    use zeroize::Zeroize;

    #[derive(Debug, PartialEq, ZeroizeOnDrop)]
    struct Key([u8; 32]);

    #[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
    struct Fields {
        x: String,
    }

    impl StoredKey for Key {
        const FORMAT: &'static str = "test-secret-key";
        const VERSION: u32 = 1;
        type Fields = Fields;
        type Invalid = &'static str;

        fn fields(&self) -> Fields {
            Fields { x: to_hex(&self.0) }
        }

        fn parse(fields: &Fields) -> Result<Self, Unread<&'static str>> {
            let x = from_hex(&fields.x).ok_or(Unread::Format)?;
            Ok(Self(x[..].try_into().map_err(|_| Unread::Key("not 32 bytes"))?))
        }
    }

    fn key(byte: u8) -> Key {
        Key([byte; 32])
    }

    fn load(path: &Path) -> Result<Key, Error<&'static str>> {
        Key::load(path)
    }

    #[test]
    fn nothing_is_overwritten_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        key(1).save(&path).unwrap();
        assert!(matches!(key(2).save(&path), Err(Error::Exists(_))));
        assert_eq!(load(&path).unwrap(), key(1));
        key(2).save_replacing(&path).unwrap();
        assert_eq!(load(&path).unwrap(), key(2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing left lying about");
        assert!(key(1).save_replacing(dir.path().join("no/such/dir")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_or_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        key(1).save(&path).unwrap();
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
        key(1).save(&path).unwrap();
        let with = |format: &str, version: u32, x: &str| {
            format!("{{\"format\": \"{format}\", \"version\": {version}, \"x\": {x}}}")
        };
        let digits = |count| format!("\"{}\"", "0".repeat(count));
        let good = with(Key::FORMAT, 1, &digits(64));
        fs::write(&path, &good).unwrap();
        assert_eq!(load(&path).unwrap(), key(0));
        for text in [
            "",
            "{}",
            "[]",
            &with("another-secret-key", 1, &digits(64)),
            &with(Key::FORMAT, 2, &digits(64)),
            &with(Key::FORMAT, 1, "7"),
            &with(Key::FORMAT, 1, &digits(63)),
            &with(Key::FORMAT, 1, &digits(70_000)),
        ] {
            fs::write(&path, text).unwrap();
            assert!(matches!(load(&path), Err(Error::Format(_))), "{text:.60}");
        }
        fs::write(&path, with(Key::FORMAT, 1, &digits(62))).unwrap();
        assert!(matches!(load(&path), Err(Error::Key(_, "not 32 bytes"))));
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
