//! One file, of one process.

use std::fmt;
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
    /// Opens it once more.
    again: Box<dyn Fn() -> Result<Database> + Send + Sync>,
    open: Mutex<Open>,
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redb")
    }
}

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
        Self::opened_by(move || settings().open(&path).map_err(unopened(&path)))
    }

    /// The same on a disk of the caller's: one that forgets or fails what a test wants it to. `disk` is asked for a
    /// backend at every opening, the one after a failure included.
    ///
    /// # Errors
    /// What the backend says.
    pub fn on<B: StorageBackend>(disk: impl Fn() -> B + Send + Sync + 'static) -> Result<Self> {
        Self::opened_by(move || settings().create_with_backend(disk()).map_err(failed))
    }

    fn opened_by(again: impl Fn() -> Result<Database> + Send + Sync + 'static) -> Result<Self> {
        let database = again()?;
        if database.begin_read().map_err(failed)?.open_table(TABLE).is_err() {
            let transaction = database.begin_write().map_err(failed)?;
            transaction.open_table(TABLE).map_err(failed)?;
            transaction.commit().map_err(failed)?;
        }
        let open = Mutex::new(Open::Yes(Arc::new(database)));
        Ok(Self { again: Box::new(again), open })
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
        let (beside, named) = (file.path().to_owned(), path.to_owned());
        let new = Self::opened_by(move || settings().create(&beside).map_err(unopened(&named)))?;
        fill(&new)?;
        drop(new);
        file.as_file().sync_all().map_err(Error::file(path))?;
        file.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.clone()),
            _ => Error::file(path)(error.error),
        })?;
        gelu_files::sync_folder(path).map_err(Error::file(path))
    }

    /// Runs `work` on the database. Where that fails by the disk, the next one opens it anew.
    fn with(&self, work: impl FnOnce(&Database) -> Result<()>) -> Result<()> {
        let database = self.database()?;
        let done = work(&database);
        if let Err(Error::Engine(_)) = &done {
            *self.lock() = Open::Failed(Arc::downgrade(&database));
        }
        done
    }

    fn database(&self) -> Result<Arc<Database>> {
        let mut open = self.lock();
        match &*open {
            Open::Yes(database) => Ok(database.clone()),
            Open::Failed(old) if old.strong_count() > 0 => {
                Err(failed("the disk has failed, and a transaction still runs; ask again"))
            }
            Open::Failed(_) => {
                let database = Arc::new((self.again)()?);
                *open = Open::Yes(database.clone());
                Ok(database)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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

fn failed(error: impl fmt::Display) -> Error {
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    fn put(engine: &Redb, key: &str, value: &str) {
        engine.write(&mut |tx| tx.put(key, value.as_bytes())).unwrap();
    }

    fn get(engine: &Redb, key: &str) -> Option<Vec<u8>> {
        let mut found = None;
        let look = &mut |tx: &mut dyn Transaction| {
            found = tx.get(key)?;
            Ok(())
        };
        engine.read(look).unwrap();
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

    /// Bytes that outlive whoever has them open, on a disk that may be full.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        is_full: Arc<AtomicBool>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.bytes.lock().unwrap()[at..at + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let at = usize::try_from(offset).unwrap();
            self.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    #[test]
    fn after_the_disk_has_failed_it_goes_on_when_the_disk_does() {
        let disk = Disk::default();
        let there = disk.clone();
        let engine = Redb::on(move || there.clone()).unwrap();
        put(&engine, "a", "1");
        disk.is_full.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let refused = engine.write(&mut |tx| tx.put("a", b"2"));
            assert!(matches!(refused, Err(Error::Engine(_))), "{refused:?}");
        }
        disk.is_full.store(false, Ordering::Relaxed);
        assert_eq!(get(&engine, "a"), Some(b"1".to_vec()));
        put(&engine, "b", "2");
        assert_eq!(get(&engine, "b"), Some(b"2".to_vec()));
    }

    #[test]
    fn a_backend_of_the_callers_is_asked_for_again_after_a_failure() {
        let (disk, asked) = (Disk::default(), Arc::new(AtomicUsize::new(0)));
        let (given, counted) = (disk.clone(), asked.clone());
        let engine = Redb::on(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            given.clone()
        });
        let engine = engine.unwrap();
        put(&engine, "a", "1");
        disk.is_full.store(true, Ordering::Relaxed);
        engine.write(&mut |tx| tx.put("a", b"2")).unwrap_err();
        disk.is_full.store(false, Ordering::Relaxed);
        assert_eq!(get(&engine, "a"), Some(b"1".to_vec()));
        put(&engine, "a", "3");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "at the start, and after the failure");
        // What it holds can be opened by another one, as after a crash.
        drop(engine);
        assert_eq!(get(&Redb::on(move || disk.clone()).unwrap(), "a"), Some(b"3".to_vec()));
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
