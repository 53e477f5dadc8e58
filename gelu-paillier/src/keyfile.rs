//! Secret keys on disk.
//!
//! ```json
//! { "format": "gelu-paillier-secret-key", "version": 1, "bits": 2048, "p": "c3…", "q": "e9…" }
//! ```
//!
//! p and q are hexadecimal. The file is created for its owner's eyes only (mode 0600), and one that
//! others may read is not loaded: by then the key may be known, and somebody should hear of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::{InvalidSecretKey, SecretKey};

const FORMAT: &str = "gelu-paillier-secret-key";
const VERSION: u32 = 1;

/// No key file is longer; bounds what is read from a wrong path.
const LONGEST: u64 = 64 * 1024;

/// Why a key file was not written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
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
    /// Not our format, or not its version 1.
    #[error("{0} is not a key file that this version understands")]
    Format(PathBuf),
    /// Well-formed, but not a key.
    #[error("{0}: {1}")]
    Key(PathBuf, InvalidSecretKey),
    /// The file system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct KeyFile {
    format: String,
    version: u32,
    bits: u32,
    p: String,
    q: String,
}

impl SecretKey {
    /// Writes the key to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] rather than overwrite anything.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        self.write(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
            _ => KeyFileError::Io(path.to_owned(), error),
        })
    }

    /// Writes the key in place of whatever is at `path`, all or nothing.
    ///
    /// # Errors
    /// [`KeyFileError::Io`], and then the old file is still there.
    pub fn save_replacing(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = path.with_file_name(name);
        let written = self.write(&new).and_then(|()| fs::rename(&new, path));
        written.map_err(|error| {
            // What was half written is of no use; an error here would hide the first one.
            let _ = fs::remove_file(&new);
            KeyFileError::Io(path.to_owned(), error)
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let (p, q) = self.primes();
        let hex = |x: &crypto_bigint::BoxedUint| format!("{x:x}");
        let file = KeyFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            bits: self.public_key().bits(),
            p: hex(&p),
            q: hex(&q),
        };
        // Large enough not to be moved while it grows, which would leave copies behind.
        let mut json = Zeroizing::new(Vec::with_capacity(8192));
        serde_json::to_writer_pretty(&mut *json, &file)?;
        json.push(b'\n');
        let mut file = create_private(path)?;
        file.write_all(&json)?;
        file.sync_all()
    }

    /// Reads a key that [`save`](Self::save) wrote, and checks it again.
    ///
    /// # Errors
    /// [`KeyFileError::Exposed`] when others may read the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let failed = |error| KeyFileError::Io(path.to_owned(), error);
        let file = File::open(path).map_err(failed)?;
        refuse_exposed(path, &file)?;
        let mut json = Zeroizing::new(Vec::with_capacity(8192));
        file.take(LONGEST).read_to_end(&mut json).map_err(failed)?;
        let unknown = || KeyFileError::Format(path.to_owned());
        let file: KeyFile = serde_json::from_slice(&json).map_err(|_| unknown())?;
        if file.format != FORMAT || file.version != VERSION {
            return Err(unknown());
        }
        let p = from_hex(&file.p).ok_or_else(unknown)?;
        let q = from_hex(&file.q).ok_or_else(unknown)?;
        let invalid = |why| KeyFileError::Key(path.to_owned(), why);
        let key = Self::from_primes(&p, &q).map_err(invalid)?;
        if key.public_key().bits() != file.bits {
            return Err(invalid(InvalidSecretKey::Size));
        }
        Ok(key)
    }
}

/// Creates a file that only its owner may read; fails if there is one.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, file: &File) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|error| KeyFileError::Io(path.to_owned(), error))?;
    match metadata.permissions().mode() & 0o777 {
        mode if mode & 0o077 != 0 => Err(KeyFileError::Exposed { path: path.to_owned(), mode }),
        _ => Ok(()),
    }
}

/// Other systems keep permissions elsewhere; there the directory must protect the file.
#[cfg(not(unix))]
fn refuse_exposed(_: &Path, _: &File) -> Result<(), KeyFileError> {
    Ok(())
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, OTHER_KEY};

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = dir();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        let loaded = SecretKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), KEY.public_key());
        assert_eq!(*loaded.primes().0, *KEY.primes().0);
    }

    #[test]
    fn nothing_is_overwritten_unless_asked() {
        let dir = dir();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        assert!(matches!(OTHER_KEY.save(&path), Err(KeyFileError::Exists(_))));
        assert_eq!(SecretKey::load(&path).unwrap().public_key(), KEY.public_key());
        OTHER_KEY.save_replacing(&path).unwrap();
        assert_eq!(SecretKey::load(&path).unwrap().public_key(), OTHER_KEY.public_key());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing left lying about");
        assert!(KEY.save_replacing(dir.path().join("no/such/dir")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_or_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = dir();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = SecretKey::load(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(SecretKey::load(&path).is_ok());
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = dir();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        let good: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let load = |name: &str, value: serde_json::Value| {
            let mut file = good.clone();
            file[name] = value;
            fs::write(&path, file.to_string()).unwrap();
            SecretKey::load(&path).map(|_| ())
        };
        let p = good["p"].as_str().unwrap();
        assert!(load("bits", 512.into()).is_ok());
        assert!(matches!(load("format", "else".into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("version", 2.into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("p", "xyz".into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("p", format!("é{p}").into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("p", 7.into()), Err(KeyFileError::Format(_))));
        for (name, value) in [
            ("bits", 1024.into()),
            ("p", good["q"].clone()),
            ("p", format!("{}1", &p[..p.len() - 1]).into()),
            ("q", p[..p.len() - 2].into()),
        ] {
            let unchanged = good[name] == value;
            assert!(unchanged || matches!(load(name, value), Err(KeyFileError::Key(..))), "{name}");
        }
        fs::write(&path, "").unwrap();
        assert!(matches!(SecretKey::load(&path), Err(KeyFileError::Format(_))));
        assert!(matches!(SecretKey::load(dir.path().join("none")), Err(KeyFileError::Io(..))));
    }
}
