//! The versions of one model: in the store, in its file, and in the hands of all sessions.
//!
//! The store is the truth. A file with news becomes a version when it is opened; a version that a lease makes, or
//! another server of the same store, replaces what sessions begin with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use gelu_core::Parameters;
use gelu_core::server::ServedModel;
use gelu_nn::Model;
use gelu_store::{Lease, Published, Store, Version};
use rand::Rng;
use sha2::{Digest, Sha256};

use super::observer::guarded;
use crate::error::{Error, FileError, Result};
use crate::files;
use crate::randomness::fresh_rng;

/// See the [module](self).
pub(super) struct Versions {
    place: Place,
    /// The store's secret.
    salt: String,
    current: RwLock<Arc<Current>>,
}

/// Where a model's versions are, and how they are served.
pub(super) struct Place {
    pub(super) store: Store,
    /// Under which the store keeps it.
    pub(super) name: String,
    pub(super) file: PathBuf,
    /// Stages that are frozen, if not as the file says.
    pub(super) freeze: Option<usize>,
}

/// A version, as it is stored and as it is served.
pub(super) struct Current {
    pub(super) model: Model,
    pub(super) served: Arc<ServedModel>,
    pub(super) content: String,
}

impl Versions {
    /// Publishes what the file holds, `model`, if it is news, and begins with the store's last version.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a trained model whose books are missing.
    pub(super) fn open(place: Place, model: Model, new_ledger: bool) -> Result<Self> {
        let Place { store, name, file, .. } = &place;
        let trained = model.version() > 0 && store.current(name)?.is_none();
        if trained && !import(store, name, file)? && !new_ledger {
            let why = format!(
                "{} is version {} of a model that has been served, and the store knows nothing of it: \
                 name the store that it was served with, or, if what accounts have seen of it shall count no \
                 more, say --new-ledger",
                file.display(),
                model.version()
            );
            return Err(Error::configuration("ledger", why));
        }
        let (salt, current) = (store.salt(&fresh_salt()?)?, place.published(model)?);
        Ok(Self { place, salt, current: RwLock::new(Arc::new(current)) })
    }

    /// The last version.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().expect(NO_PANIC))
    }

    /// What clients may know of what a version holds: whether it is the same.
    pub(super) fn id(&self, content: &str) -> String {
        let hash = Sha256::new().chain_update(&self.salt).chain_update(content).finalize();
        base16ct::lower::encode_string(&hash)
    }

    /// Takes over what the file holds now.
    pub(super) fn reopen(&self, model: Model) -> Result<()> {
        self.set(self.place.published(model)?);
        Ok(())
    }

    /// Takes over a version that another server of the same store has made, and returns its number.
    pub(super) fn refresh(&self) -> Result<Option<u64>> {
        let last = self.place.store.current(&self.place.name)?;
        if last.is_none_or(|last| last.version == self.current().model.version()) {
            return Ok(None);
        }
        let (version, bytes) = self.place.last()?;
        let number = version.version;
        self.set(self.place.served(Model::from_bytes(&bytes)?, version.content)?);
        Ok(Some(number))
    }

    /// Ends a lease: `parameters` become the successor of `base`, in the store first, then for everybody, and at last
    /// in the file.
    ///
    /// From here on what the holder has seen of `base` counts on the new version too, also what
    /// its other sessions are still shown of `base`; see [`Account`](gelu_core::ledger::Account).
    ///
    /// # Errors
    /// [`gelu_store::Error::LeaseLost`] when another version came between.
    pub(super) fn commit(
        &self,
        lease: &Lease,
        account: &str,
        base: u64,
        parameters: Parameters,
    ) -> Result<u64> {
        let current = self.current();
        let last = current.model.version();
        if base != last {
            let why = format!("it began from version {base}, and {last} was published since");
            return Err(gelu_store::Error::LeaseLost(why).into());
        }
        let model = current.model.successor(parameters)?;
        let (content, bytes) = (content(&model)?, model.to_bytes()?);
        let version = self.place.store.commit(lease, account, base, &content, &bytes)?;
        let served = Arc::new(ServedModel::from(&model));
        self.set(Current { model, served, content });
        self.place.keep(&bytes);
        Ok(version)
    }

    fn set(&self, current: Current) {
        *self.current.write().expect(NO_PANIC) = Arc::new(current);
    }
}

impl Place {
    /// The store's last version, which is what the file holds if that is news.
    fn published(&self, model: Model) -> Result<Current> {
        match publish(&self.store, &self.name, &model, false)? {
            Published::New(version) | Published::Current(version) => {
                let before = model.version();
                let model = model.with_version(version.version);
                if before != version.version {
                    self.keep(&model.to_bytes()?);
                }
                self.served(model, version.content)
            }
            Published::Known(_) => {
                let (file, file_is) = (self.file.display(), model.version());
                let (version, bytes) = self.last()?;
                let last = version.version;
                guarded(|| {
                    tracing::warn!(%file, file_is, last, "the file holds an older version than the store: the last one is \
                        served; `gelu publish --again` makes the old one current");
                });
                self.keep(&bytes);
                self.served(Model::from_bytes(&bytes)?, version.content)
            }
        }
    }

    fn served(&self, model: Model, content: String) -> Result<Current> {
        let model = match self.freeze {
            Some(stages) => model.freeze(stages)?,
            None => model,
        };
        let served = Arc::new(ServedModel::from(&model));
        Ok(Current { model, served, content })
    }

    fn last(&self) -> Result<(Version, Vec<u8>)> {
        let lost = || Error::Bug(format!("the store has lost {:?}", self.name));
        self.store.weights(&self.name)?.ok_or_else(lost)
    }

    /// Writes a version that is stored already where the operator looks for it; beside a store that servers share, the
    /// file is where the model came from, and stays. The next start repairs what fails here.
    fn keep(&self, bytes: &[u8]) {
        if self.store.is_shared() {
            return;
        }
        if let Err(FileError { path, problem }) = files::replace(&self.file, bytes) {
            let file = path.display();
            guarded(
                || tracing::error!(%file, %problem, "cannot be replaced; the store has the version"),
            );
        }
    }
}

/// Makes a model the current version in the books, if it is news; with `again`, also if an older version held the
/// same.
///
/// # Errors
/// [`Error::Store`]; [`Error::Model`]: none of a model that was loaded.
pub fn publish(store: &Store, name: &str, model: &Model, again: bool) -> Result<Published> {
    let bytes = |version| {
        let numbered = model.clone().with_version(version).to_bytes();
        numbered.map_err(|error| gelu_store::Error::Engine(error.to_string()))
    };
    Ok(store.publish(name, &content(model)?, model.version(), again, &bytes)?)
}

fn fresh_salt() -> Result<String> {
    let mut salt = [0; 32];
    fresh_rng()?.fill_bytes(&mut salt);
    Ok(base16ct::lower::encode_string(&salt))
}

/// Books of before there was a store, beside the model's file: taken over once.
fn import(store: &Store, name: &str, file: &Path) -> Result<bool> {
    let ledger = file.with_added_extension("ledger");
    if !ledger.exists() {
        return Ok(false);
    }
    store.import(name, &ledger)?;
    Ok(true)
}

/// What a model holds, whatever its version: the SHA-256 of its file as version 0.
///
/// # Errors
/// [`Error::Model`]: none of a model that was loaded.
pub fn content(model: &Model) -> Result<String> {
    let bytes = model.clone().with_version(0).to_bytes()?;
    Ok(base16ct::lower::encode_string(&Sha256::digest(bytes)))
}

const NO_PANIC: &str = "nothing panics while it is held";
