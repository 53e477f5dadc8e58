//! One process at a time.
//!
//! A lock is two: one of a file beside the target (`NAME.lock`), which outlives every exchange of
//! the target by another file, and one of the target itself, which is the same by all its names;
//! [`replace`](crate::replace) gives the second one to the new file before that has the name.
//! Both end with the process, however it ends. Systems other than Unix keep readers out of a locked
//! file; there the first has to do.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::resolve;

/// A file that only this process writes, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    target: PathBuf,
    /// The lock beside the file, and the file as it was found.
    _beside: File,
    _found: Option<File>,
}

/// The files that this process has locked, each as it was written last.
static HELD: Mutex<BTreeMap<PathBuf, Option<File>>> = Mutex::new(BTreeMap::new());

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    InUse,
    /// The system says no.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TryLockError> for LockError {
    fn from(error: TryLockError) -> Self {
        match error {
            TryLockError::WouldBlock => Self::InUse,
            TryLockError::Error(error) => Self::Io(error),
        }
    }
}

impl Lock {
    /// Takes the file behind `path` for this process alone; it need not exist yet.
    ///
    /// # Errors
    /// [`LockError::InUse`] if another process has it, by whichever name.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let target = resolve(path)?;
        let mut options = File::options();
        let beside = options.create(true).truncate(false).write(true).open(beside_of(&target))?;
        beside.try_lock()?;
        let found = itself(&target)?;
        if let Some(file) = &found {
            file.try_lock()?;
        }
        held(|held| held.insert(target.clone(), None));
        Ok(Self { target, _beside: beside, _found: found })
    }

    /// The file itself, behind all links.
    pub fn path(&self) -> &Path {
        &self.target
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        held(|held| held.remove(&self.target));
    }
}

/// Locks `new`, which is about to replace `target`, if this process has locked that.
pub(crate) fn go_over(target: &Path, new: &File) -> io::Result<()> {
    held(|held| match held.get_mut(target) {
        Some(written) if cfg!(unix) => {
            // Another handle of the same open file: the lock lives as long as either.
            let handle = new.try_clone()?;
            handle.lock()?;
            *written = Some(handle);
            Ok(())
        }
        _ => Ok(()),
    })
}

fn held<T>(f: impl FnOnce(&mut BTreeMap<PathBuf, Option<File>>) -> T) -> T {
    f(&mut HELD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether a process holds a [`Lock`] of the file behind `path`.
///
/// # Errors
/// What the system says; a file that is not there is not locked.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let target = resolve(path)?;
    let beside = match File::open(beside_of(&target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        beside => Some(beside?),
    };
    for file in [beside, itself(&target)?].into_iter().flatten() {
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

fn beside_of(target: &Path) -> PathBuf {
    target.with_added_extension("lock")
}

/// The file, to be locked; `None` if it is not there, or where a lock would keep readers out.
fn itself(target: &Path) -> io::Result<Option<File>> {
    match fs::metadata(target) {
        Ok(found) if cfg!(unix) && found.is_file() => File::open(target).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use(path: &Path) -> bool {
        matches!(Lock::take(path), Err(LockError::InUse))
    }

    #[test]
    fn a_file_that_is_not_there_yet_can_be_locked_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let lock = Lock::take(&path).unwrap();
        assert!(in_use(&path) && is_locked(&path).unwrap());
        assert!(!path.exists());
        drop(lock);
        assert!(!is_locked(&path).unwrap());
        Lock::take(&path).unwrap();
    }

    #[test]
    fn nothing_is_made_by_asking() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_locked(&folder.path().join("m")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn every_name_of_a_file_is_locked_before_and_after_it_is_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("store")).unwrap();
        fs::write(at("store/m"), "1").unwrap();
        fs::hard_link(at("store/m"), at("hard")).unwrap();
        symlink("store/m", at("link")).unwrap();
        symlink(at("link"), at("link to a link")).unwrap();
        symlink("store", at("folder")).unwrap();
        let names = ["store/m", "hard", "link", "link to a link", "folder/m", "store/../store/m"];
        for mine in names {
            let lock = Lock::take(&at(mine)).unwrap();
            for other in names {
                assert!(in_use(&at(other)), "{mine} is locked, {other} is not");
                assert!(is_locked(&at(other)).unwrap(), "{mine}, {other}");
            }
            crate::replace(&at(mine), b"2", crate::Access::Private).unwrap();
            // A name that is given to the new file later is one of its names, too.
            let later = at("later");
            fs::hard_link(lock.path(), &later).unwrap();
            for other in names.iter().map(|name| at(name)).chain([later.clone()]) {
                assert!(in_use(&other), "{mine} was replaced, {other:?} is free");
            }
            drop(lock);
            fs::remove_file(later).unwrap();
            fs::remove_file(at("hard")).unwrap();
            fs::hard_link(at("store/m"), at("hard")).unwrap();
        }
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    }
}
