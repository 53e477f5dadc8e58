//! Files by what they are, not by what they are called.
//!
//! | question | answer |
//! |---|---|
//! | which file is meant? | the one that a path leads to through all its links: [`resolve`] |
//! | what does a crash leave? | the old bytes or the new ones: [`replace`], [`create`] |
//! | who else writes it? | nobody while a [`Lock`] is held |
//! | could it be written? | [`check_writable`] tries, before hours of work |
//!
//! A link stays a link: what is replaced is the file behind it. A file with several names (hard
//! links) is one file to a lock; replacing it gives the new bytes to the name that was used, since no
//! system can exchange the content of all names at once.
#![forbid(unsafe_code)]

mod lock;

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

pub use lock::{Lock, LockError, is_locked};

/// Who may read a file that we write. Only a file of [`Secret`](Self::Secret)s takes no notice of
/// the permissions that it has; any other one keeps them when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner, always: mode 0600.
    Secret,
    /// Its owner, unless the file that it replaces says otherwise.
    Private,
    /// Whom the process's umask lets, unless the file that it replaces says otherwise.
    Shared,
}

/// The file that `path` leads to through all its links; it need not exist yet.
///
/// # Errors
/// What the system says of the folders on the way, or of links in a circle; `InvalidInput` for a
/// path that names no file, such as `..`.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let Ok(target) = fs::read_link(&path) else {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            return Ok(fs::canonicalize(folder_of(&path))?.join(name));
        };
        // A link to a file that is not there yet. `join` takes an absolute target as it is.
        path = folder_of(&path).join(target);
    }
    Err(io::Error::other("too many links"))
}

/// Whether two paths lead to one file, be it through links or by two of its names.
pub fn same(a: &Path, b: &Path) -> bool {
    if let (Ok(a), Ok(b)) = (resolve(a), resolve(b))
        && a == b
    {
        return true;
    }
    matches!((fs::metadata(a), fs::metadata(b)), (Ok(a), Ok(b)) if same_inode(&a, &b))
}

/// How many names the file has that `path` leads to; 1 where the system does not tell.
pub fn names(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    return Ok(std::os::unix::fs::MetadataExt::nlink(&metadata));
    #[cfg(not(unix))]
    return Ok(u64::from(metadata.is_file()));
}

/// Puts `bytes` in the place of the file behind `path`, or makes it: after a crash at any moment
/// it holds the old bytes or the new ones, and when this returns the new ones are on the disk.
///
/// What is no file of a disk (a pipe, a terminal, `/dev/null`) is written to.
///
/// # Errors
/// What the system says; the old file is then still there, and nothing else.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    if let Ok(device) = fs::metadata(path)
        && !device.is_file()
        && !device.is_dir()
    {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    let target = resolve(path)?;
    let file = written(&target, bytes, access)?;
    lock::go_over(&target, file.as_file())?;
    file.persist(&target).map_err(|e| e.error)?;
    sync_folder(&target)
}

/// Writes a file that must not exist yet: whole, or not at all.
///
/// # Errors
/// `AlreadyExists` rather than overwrite anything, and what else the system says.
pub fn create(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let target = resolve(path)?;
    if target.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let file = written(&target, bytes, access)?;
    file.persist_noclobber(&target).map_err(|e| e.error)?;
    sync_folder(&target)
}

/// Finds out whether the file behind `path` could be replaced, by making and removing another one
/// beside it.
///
/// # Errors
/// What the system says: there is no such folder, it may not be written to, `path` is a folder.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => return File::options().write(true).open(path).map(drop),
        _ => {}
    }
    let target = resolve(path)?;
    beside(&target, None)?.close()
}

/// A new file beside `target` that holds `bytes`, on the disk. It is gone again when dropped.
fn written(target: &Path, bytes: &[u8], access: Access) -> io::Result<NamedTempFile> {
    let old = match fs::metadata(target) {
        Ok(old) if old.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(old) => Some(old),
        Err(_) => None,
    };
    let mut file = beside(target, private_or_shared(access))?;
    file.write_all(bytes)?;
    if let (Some(old), false) = (&old, access == Access::Secret) {
        keep_owner(&file, old);
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

fn beside(target: &Path, permissions: Option<Permissions>) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".gelu-").suffix(".new");
    if let Some(permissions) = permissions {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder_of(target))
}

/// `None` for the owner alone, which is what temporary files are.
fn private_or_shared(access: Access) -> Option<Permissions> {
    match access {
        #[cfg(unix)]
        Access::Shared => Some(std::os::unix::fs::PermissionsExt::from_mode(0o666)),
        _ => None,
    }
}

/// Only an administrator may give files away; others own what they write.
fn keep_owner(file: &NamedTempFile, old: &Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        if file
            .as_file()
            .metadata()
            .is_ok_and(|new| (new.uid(), new.gid()) != (old.uid(), old.gid()))
        {
            let _ = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
        }
    }
    #[cfg(not(unix))]
    let _ = (file, old);
}

/// Puts the name of a file on the disk: it is there only when its folder is.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return File::open(folder_of(path))?.sync_all();
    #[cfg(not(unix))]
    return Ok(());
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn same_inode(a: &Metadata, b: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (a, b);
        false
    }
}

/// As many as Linux follows.
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_created_is_whole_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        create(&path, b"one", Access::Shared).unwrap();
        let error = create(&path, b"two", Access::Shared).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three", Access::Shared).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        for wrong in ["no/such/folder", "f/below", ".."] {
            assert!(create(&folder.path().join(wrong), b"", Access::Shared).is_err(), "{wrong}");
            assert!(replace(&folder.path().join(wrong), b"", Access::Shared).is_err(), "{wrong}");
            assert!(check_writable(&folder.path().join(wrong)).is_err(), "{wrong}");
        }
        assert!(check_writable(folder.path()).is_err(), "a folder is no file");
        check_writable(&path).unwrap();
        assert_eq!(entries(folder.path()), ["f"], "nothing is left");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_their_files_change() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("store")).unwrap();
        fs::write(at("store/a"), "old").unwrap();
        symlink("store/a", at("near")).unwrap();
        symlink(at("near"), at("far")).unwrap();
        symlink("store/b", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for (link, file) in [("near", "store/a"), ("far", "store/a"), ("dangling", "store/b")] {
            assert_eq!(
                resolve(&at(link)).unwrap(),
                fs::canonicalize(at("store")).unwrap().join(&file[6..])
            );
            replace(&at(link), link.as_bytes(), Access::Private).unwrap();
            assert_eq!(fs::read(at(file)).unwrap(), link.as_bytes());
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
            assert!(same(&at(link), &at(file)));
        }
        assert!(replace(&at("circle"), b"", Access::Private).is_err());
        assert!(!same(&at("near"), &at("dangling")));
        assert_eq!(entries(&at("store")), ["a", "b"]);
    }

    #[cfg(unix)]
    #[test]
    fn names_of_one_file_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "").unwrap();
        fs::hard_link(&a, &b).unwrap();
        assert!(same(&a, &b));
        assert_eq!(names(&a).unwrap(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay_but_those_of_secrets_do_not() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        for (access, new, kept) in [
            (Access::Secret, 0o600, 0o600),
            (Access::Private, 0o600, 0o640),
            (Access::Shared, 0o644, 0o640),
        ] {
            create(&path, b"1", access).unwrap();
            // A umask may take away, never add.
            assert_eq!(mode() & !new, 0, "{access:?}");
            fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
            replace(&path, b"2", access).unwrap();
            assert_eq!(mode(), kept, "{access:?}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_keeps_nothing_is_written_to_and_stays() {
        use std::os::unix::fs::FileTypeExt;
        check_writable(Path::new("/dev/null")).unwrap();
        replace(Path::new("/dev/null"), b"gone", Access::Shared).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
