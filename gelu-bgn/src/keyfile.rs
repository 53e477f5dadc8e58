//! Secret keys on disk.
//!
//! ```json
//! { "format": "gelu-bgn-secret-key", "version": 1, "bits": 381, "s1": "0c3…", "s2": "4e9…" }
//! ```
//!
//! s₁ and s₂ are hexadecimal, big-endian, 64 digits each. The file is created for its owner's eyes only (mode 0600), and one that
//! others may read is not loaded: by then the key may be known, and somebody should hear of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::group::Scalar;
use crate::keys::{InvalidSecretKey, KEY_BITS, SecretKey};

const FORMAT: &str = "gelu-bgn-secret-key";
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
    s1: String,
    s2: String,
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
        let (s1, s2) = self.secrets();
        let file = KeyFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            bits: KEY_BITS,
            s1: to_hex(s1),
            s2: to_hex(s2),
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
        if file.format != FORMAT || file.version != VERSION || file.bits != KEY_BITS {
            return Err(unknown());
        }
        let invalid = |why| KeyFileError::Key(path.to_owned(), why);
        let secret = |text: &str| {
            let bytes = from_hex(text).ok_or_else(unknown)?;
            Scalar::from_bytes(&bytes).ok_or_else(|| invalid(InvalidSecretKey::Range))
        };
        Self::new(secret(&file.s1)?, secret(&file.s2)?).map_err(invalid)
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

fn to_hex(secret: &Scalar) -> String {
    let mut text = String::with_capacity(64);
    for byte in secret.to_bytes().iter().rev() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).expect("a hexadecimal digit"));
        }
    }
    text
}

/// Exactly 64 digits, the highest first; bytes come out lowest first.
fn from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().rev().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::ChaCha20Rng};
    use std::sync::LazyLock;

    static KEY: LazyLock<SecretKey> = LazyLock::new(|| key(1));
    static OTHER_KEY: LazyLock<SecretKey> = LazyLock::new(|| key(2));

    fn key(seed: u64) -> SecretKey {
        SecretKey::generate(&mut ChaCha20Rng::seed_from_u64(seed))
    }

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
        let bytes = |key: &SecretKey| (*key.secrets().0.to_bytes(), *key.secrets().1.to_bytes());
        assert_eq!(bytes(&loaded), bytes(&KEY));
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
        let s1 = good["s1"].as_str().unwrap();
        assert!(load("bits", 381.into()).is_ok());
        for (name, value) in [
            ("format", "else".into()),
            ("version", 2.into()),
            ("bits", 255.into()),
            ("s1", "xyz".into()),
            ("s1", format!("é{}", &s1[2..]).into()),
            ("s1", format!("+{}", &s1[1..]).into()),
            ("s1", 7.into()),
            ("s2", s1[1..].into()),
        ] {
            assert!(matches!(load(name, value), Err(KeyFileError::Format(_))), "{name}");
        }
        let why = |text: &str| match load("s2", text.into()) {
            Err(KeyFileError::Key(_, why)) => Some(why),
            _ => None,
        };
        assert_eq!(why(&"0".repeat(64)), Some(InvalidSecretKey::Zero));
        assert_eq!(why(&"f".repeat(64)), Some(InvalidSecretKey::Range));
        assert_eq!(why(s1), None, "any two secrets are a key");
        fs::write(&path, "").unwrap();
        assert!(matches!(SecretKey::load(&path), Err(KeyFileError::Format(_))));
        assert!(matches!(SecretKey::load(dir.path().join("none")), Err(KeyFileError::Io(..))));
    }
}
