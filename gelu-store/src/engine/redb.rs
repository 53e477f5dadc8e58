//! One file, of one process.

use std::fmt::{self, Debug, Display};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ::redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend,
    StorageError, Table, TableDefinition,
};

use super::{Engine, Transaction};
use crate::error::{Error, Result};

/// A file of [redb](::redb). A transaction is on the disk before [`write`](Engine::write) returns; a crash at any
/// moment leaves whole transactions.
///
/// After the disk has failed (it was full, say) the next transaction opens the file anew, so a server goes on as
/// soon as the disk does.
pub struct Redb {
    /// Opens it once more. `None` for a copy that is being made: what fails then has failed.
    again: Option<Box<dyn Fn() -> Result<Database> + Send + Sync>>,
    open: Mutex<Open>,
}

#[derive(Debug)]
enum Open {
    Yes(Arc<Database>),
    /// The disk has failed. Transactions that ran then may still hold it.
    Failed(Weak<Database>),
}

impl Redb {
    /// Opens the file, for this process alone, or makes it: whole or not at all, for its owner alone.
    ///
    /// # Errors
    /// [`Error::InUse`] where another has it open; [`Error::File`] for a file that is none of ours, is damaged, or cannot
    /// be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let path = gelu_files::resolve(path).map_err(Error::file(path))?;
        if !path.exists() {
            match Self::create(&path, |_| Ok(())) {
                // Somebody else was faster: it is theirs that is opened.
                Err(Error::Exists(_)) => {}
                made => made?,
            }
        }
        let open = Mutex::new(Open::Yes(Arc::new(opened(&path)?)));
        Ok(Self { again: Some(Box::new(move || opened(&path))), open })
    }

    /// The same on a disk of the caller's: one that forgets or fails what a test wants it to. `disk` is asked for a
    /// backend at every opening, the one after a failure included.
    ///
    /// # Errors
    /// What the backend says.
    pub fn on<B: StorageBackend>(disk: impl Fn() -> B + Send + Sync + 'static) -> Result<Self> {
        let opened = move || settings().create_with_backend(disk()).map_err(failed);
        let first = Self::new(opened()?)?;
        Ok(Self { again: Some(Box::new(opened)), ..first })
    }

    /// Makes a file that must not exist yet and holds what `fill` puts there: whole or not at all.
    ///
    /// # Errors
    /// [`Error::Exists`]; those of `fill`; what the disk says.
    pub(crate) fn create(path: &Path, fill: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let path = &gelu_files::resolve(path).map_err(Error::file(path))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        // Temporary files are their owner's alone.
        let file = tempfile::Builder::new().prefix(".gelu-").suffix(".new").tempfile_in(folder);
        let file = file.map_err(Error::file(path))?;
        let new = settings().create(file.path()).map_err(unopened(path))?;
        let new = Self::new(new)?;
        fill(&new)?;
        drop(new);
        file.as_file().sync_all().map_err(Error::file(path))?;
        file.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.clone()),
            _ => Error::file(path)(error.error),
        })?;
        // A name is on the disk only when its folder is.
        #[cfg(unix)]
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file(path))?;
        Ok(())
    }

    fn new(database: Database) -> Result<Self> {
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(TABLE).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self { again: None, open: Mutex::new(Open::Yes(Arc::new(database))) })
    }

    /// Runs `work` on the database. Where that fails by the disk, the next one opens it anew.
    fn with(&self, work: impl FnOnce(&Database) -> Result<()>) -> Result<()> {
        let database = self.database()?;
        let done = work(&database);
        if let (Err(Error::Engine(_)), Some(_)) = (&done, &self.again) {
            *self.lock() = Open::Failed(Arc::downgrade(&database));
        }
        done
    }

    fn database(&self) -> Result<Arc<Database>> {
        let mut open = self.lock();
        match (&*open, &self.again) {
            (Open::Yes(database), _) => return Ok(database.clone()),
            (Open::Failed(old), Some(again)) if old.strong_count() == 0 => {
                *open = Open::Yes(Arc::new(again()?));
            }
            _ => return Err(Error::Engine("the disk has failed; ask again".into())),
        }
        drop(open);
        self.database()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Engine for Redb {
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.with(|database| {
            // On the disk when it is committed, unless one says otherwise.
            let transaction = database.begin_write().map_err(failed)?;
            let mut table = transaction.open_table(TABLE).map_err(failed)?;
            work(&mut Writing(&mut table))?;
            drop(table);
            transaction.commit().map_err(failed)
        })
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            let table = transaction.open_table(TABLE).map_err(failed)?;
            work(&mut Reading(&table))
        })
    }
}

struct Writing<'a, 'txn>(&'a mut Table<'txn, Key, Value>);

impl Transaction for Writing<'_, '_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        Reading(self.0).get(key)
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.0.insert(key, value).map(drop).map_err(failed)
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        self.0.remove(key).map(drop).map_err(failed)
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        Reading(self.0).scan(prefix, each)
    }

    fn now(&mut self) -> Result<u64> {
        Ok(crate::clock::system())
    }
}

struct Reading<'a, T>(&'a T);

impl<T: ReadableTable<Key, Value>> Transaction for Reading<'_, T> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        let found = self.0.get(key).map_err(failed)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn put(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Err(super::only_looks())
    }

    fn remove(&mut self, _: &str) -> Result<()> {
        Err(super::only_looks())
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for entry in self.0.range(prefix..).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            each(key.value(), value.value())?;
        }
        Ok(())
    }

    fn now(&mut self) -> Result<u64> {
        Ok(crate::clock::system())
    }
}

fn opened(path: &Path) -> Result<Database> {
    settings().open(path).map_err(unopened(path))
}

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings.set_cache_size(CACHE);
    // What somebody has changed is an error at the start, not a panic in the middle of a session.
    settings.set_check_integrity_on_open(true);
    settings
}

fn unopened(path: &Path) -> impl Fn(DatabaseError) -> Error {
    let file = |why: String| Error::File { path: path.to_owned(), why };
    move |error| match error {
        DatabaseError::DatabaseAlreadyOpen => Error::InUse(path.to_owned()),
        DatabaseError::UpgradeRequired(format) => file(format!(
            "a store of an older program (format {format} of redb); open it with that one"
        )),
        DatabaseError::Storage(StorageError::Corrupted(why)) => {
            file(format!("the store is damaged ({why}); restore it from a backup"))
        }
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            file("this is no store of gelu; is it another file of yours?".into())
        }
        error => file(error.to_string()),
    }
}

fn failed(error: impl Display) -> Error {
    Error::Engine(error.to_string())
}

type Key = &'static str;
type Value = &'static [u8];

const TABLE: TableDefinition<'_, Key, Value> = TableDefinition::new("gelu");

/// Bytes of pages that are kept in memory. A charge touches a few.
const CACHE: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put(engine: &Redb, key: &str, value: &str) {
        engine.write(&mut |tx| tx.put(key, value.as_bytes())).unwrap();
    }

    fn get(engine: &Redb, key: &str) -> Option<Vec<u8>> {
        let mut found = None;
        engine.read(&mut |tx| Ok(found = tx.get(key)?)).unwrap();
        found
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_its_owners_alone_and_one_process_has_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let engine = Redb::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for name in [&path, &link] {
            let error = Redb::open(name).unwrap_err();
            assert!(matches!(&error, Error::InUse(at) if at.ends_with("store")), "{error}");
        }
        drop(engine);
        Redb::open(&link).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing else is left");
    }

    #[test]
    fn what_is_no_store_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        for content in ["{\"format\":2,\"model\":\"iris\"}\n", "x", &"x".repeat(100_000)] {
            fs::write(&path, content).unwrap();
            let error = Redb::open(&path).unwrap_err().to_string();
            assert!(error.contains("store: ") && error.contains("no store of gelu"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let error = Redb::open(&folder.path().join("no/such/folder")).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
    }

    /// Wherever a byte of it is turned: an error, or everything is as it was.
    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let engine = Redb::open(&path).unwrap();
        (0..50).for_each(|n| put(&engine, &format!("key {n}"), &"v".repeat(100)));
        drop(engine);
        let whole = fs::read(&path).unwrap();
        let used: Vec<_> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
        let mut errors = 0;
        for &at in used.iter().step_by(used.len() / 100) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            fs::write(&path, damaged).unwrap();
            match Redb::open(&path) {
                Err(error) => {
                    assert!(matches!(error, Error::File { .. }), "{at}: {error}");
                    errors += 1;
                }
                Ok(engine) => assert_eq!(get(&engine, "key 49"), Some(vec![b'v'; 100]), "{at}"),
            }
        }
        assert!(errors > 10, "{errors}");
    }

    #[test]
    fn a_file_is_made_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let refused = Redb::create(&path, |_| Err(Error::Engine("full".into())));
        assert!(matches!(refused, Err(Error::Engine(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Redb::create(&path, |new| new.write(&mut |tx| tx.put("a", b"1"))).unwrap();
        let again = Redb::create(&path, |_| Ok(()));
        assert!(matches!(again, Err(Error::Exists(_))));
        assert_eq!(get(&Redb::open(&path).unwrap(), "a"), Some(b"1".to_vec()));
    }
}
