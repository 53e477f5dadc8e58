//! Where books are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::{Redb, Store, keys};

/// Where books are: a path, or `postgres://USER:PASSWORD@HOST/DATABASE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, of one server.
    File(PathBuf),
    /// A database, which any number of servers share.
    Postgres(Url),
}

/// The address of a database. It may have a password, which neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// All of it.
    pub fn with_password(&self) -> &str {
        &self.0
    }
}

/// Without what stands between `//` and `@`, and after `?`. An `@` after a `?` may end a password with a `?` in it: where
/// that begins cannot be told.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let (base, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        match parameters.contains('@') {
            true => write!(f, "{scheme}://…"),
            false => write!(f, "{scheme}://{}", base.rsplit('@').next().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => write!(f, "{url}"),
        }
    }
}

/// Why a text is no [`Location`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoLocation(String);

impl FromStr for Location {
    type Err = NoLocation;

    fn from_str(text: &str) -> Result<Self, NoLocation> {
        let Some((scheme, _)) = text.split_once("://") else {
            return match text.is_empty() {
                true => Err(NoLocation("a store has a path or an address".into())),
                false => Ok(Self::File(text.into())),
            };
        };
        let letters = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        match scheme {
            "postgres" | "postgresql" => {
                let url = Url(text.to_owned());
                check(&url)?;
                Ok(Self::Postgres(url))
            }
            _ if letters => Err(NoLocation(format!(
                "a store is a path, or postgres://USER:PASSWORD@HOST/DATABASE; {scheme}:// is neither"
            ))),
            _ => Ok(Self::File(text.into())),
        }
    }
}

#[cfg(feature = "postgres")]
fn check(url: &Url) -> Result<(), NoLocation> {
    crate::engine::postgres::Address::parse(url).map(drop).map_err(NoLocation)
}

#[cfg(not(feature = "postgres"))]
fn check(_: &Url) -> Result<(), NoLocation> {
    Err(NoLocation(
        "this program was built without PostgreSQL; build it with the feature `postgres`".into(),
    ))
}

impl Location {
    /// Whether other servers may have it open, too.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

impl Store {
    /// Opens the books at a place, or begins them there.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::File`], [`Error::Engine`]: it cannot be opened; [`Error::Damaged`] for books that a newer
    /// program has written.
    pub fn open(location: &Location) -> Result<Self> {
        let store = match location {
            Location::File(path) => Self::on(Redb::open(path)?),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => Self::on(crate::Postgres::open(url)?),
            #[cfg(not(feature = "postgres"))]
            Location::Postgres(url) => return Err(without_postgres(url)),
        };
        mark_format(&store)?;
        Ok(store)
    }

    /// Opens the books at a place, and begins none.
    ///
    /// # Errors
    /// [`Error::NoStore`], and those of [`open`](Self::open).
    pub fn open_existing(location: &Location) -> Result<Self> {
        match location {
            Location::File(path) if path.exists() => {}
            #[cfg(feature = "postgres")]
            Location::Postgres(url) if crate::Postgres::is_at(url)? => {}
            #[cfg(not(feature = "postgres"))]
            Location::Postgres(url) => return Err(without_postgres(url)),
            _ => return Err(Error::NoStore(location.to_string())),
        }
        Self::open(location)
    }
}

#[cfg(not(feature = "postgres"))]
fn without_postgres(url: &Url) -> Error {
    Error::Engine(check(url).expect_err("this build has none").to_string())
}

/// Says in the books how they are written, where they do not.
pub(crate) fn mark_format(store: &Store) -> Result<()> {
    match store.read(|tx| tx.get(keys::FORMAT))? {
        Some(text) => check_format(&text),
        None => store.write(|tx| match tx.get(keys::FORMAT)? {
            Some(text) => check_format(&text),
            None => tx.put(keys::FORMAT, FORMAT),
        }),
    }
}

/// Books of another format are not touched.
pub(crate) fn check_format(text: &[u8]) -> Result<()> {
    if text == FORMAT {
        return Ok(());
    }
    let [found, known] = [text, FORMAT].map(String::from_utf8_lossy);
    let why = format!("it is {found}, this program writes and reads {known}; use a newer program");
    Err(Error::Damaged { key: keys::FORMAT.into(), why })
}

const FORMAT: &[u8] = b"1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Memory};

    #[test]
    fn places_are_paths_unless_they_say_otherwise() {
        for path in ["store", "/var/lib/gelu/store", "./a:b", "C:\\store", "a b://c"] {
            assert_eq!(path.parse(), Ok(Location::File(path.into())));
        }
        for wrong in ["", "mysql://host/gelu", "https://host"] {
            let error = wrong.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains("path"), "{error}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn nobody_is_shown_a_password() {
        let text = "postgres://gelu:secret@localhost:5433/books?password=secret&sslmode=disable";
        let location: Location = text.parse().unwrap();
        assert_eq!(location.to_string(), "postgres://localhost:5433/books");
        assert!(location.is_shared() && !format!("{location:?}").contains("secret"));
        let error = "postgres://gelu:secret@host/books?sslmode=what".parse::<Location>();
        assert!(!error.unwrap_err().to_string().contains("secret"));
        for password in ["zqz?zqz", "zqz@?zqz", "zqz@zqz?zqz@zqz"] {
            let url = format!("postgres://gelu:{password}@host/books");
            let error = url.parse::<Location>().unwrap_err().to_string();
            assert!(error.starts_with("postgres://…") && !error.contains("zqz"), "{error}");
        }
    }

    #[cfg(not(feature = "postgres"))]
    #[test]
    fn without_postgres_its_addresses_are_refused() {
        let error = "postgres://localhost/books".parse::<Location>().unwrap_err().to_string();
        assert!(error.contains("feature `postgres`"), "{error}");
    }

    #[test]
    fn looking_for_books_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::File(folder.path().join("store"));
        assert!(matches!(Store::open_existing(&location), Err(Error::NoStore(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(Store::open(&location).unwrap());
        Store::open_existing(&location).unwrap();
    }

    #[test]
    fn books_of_a_newer_program_are_not_touched() {
        let memory = Memory::default();
        memory.write(&mut |tx| tx.put(keys::FORMAT, b"2")).unwrap();
        let error = mark_format(&Store::on(memory)).unwrap_err().to_string();
        assert!(error.contains("it is 2") && error.contains("newer program"), "{error}");
        let store = Store::in_memory();
        (0..2).for_each(|_| mark_format(&store).unwrap());
    }
}
