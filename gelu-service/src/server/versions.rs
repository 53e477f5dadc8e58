//! The versions of one model: in the store, in its file, and in the hands of all sessions.
//!
//! The store is the truth. A file with news becomes a version when it is opened; a version that a lease makes, or
//! another server of the same store, replaces what sessions begin with.

use std::path::Path;
use std::sync::{Arc, RwLock};

use gelu_core::Parameters;
use gelu_core::server::ServedModel;
use gelu_nn::Model;
use gelu_store::{Lease, Published, Store, Version};
use sha2::{Digest, Sha256};

use super::observer::guarded;
use crate::error::{Error, FileError, Result};
use crate::files;

/// See the [module](self).
pub(super) struct Versions {
    store: Store,
    /// Under which the store keeps it.
    name: String,
    freeze: Option<usize>,
    current: RwLock<Arc<Current>>,
}

/// A version, as it is stored and as it is served.
pub(super) struct Current {
    pub(super) model: Model,
    pub(super) served: Arc<ServedModel>,
    pub(super) content: String,
}

impl Versions {
    /// Publishes the file if it holds news, and begins with the store's last version.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a trained model whose books are missing.
    pub(super) fn open(
        store: &Store,
        name: &str,
        file: &Path,
        model: Model,
        freeze: Option<usize>,
        new_ledger: bool,
    ) -> Result<Self> {
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
        let current = Current::published(store, name, file, model, freeze)?;
        Ok(Self {
            store: store.clone(),
            name: name.to_owned(),
            freeze,
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// The last version.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().expect(NO_PANIC))
    }

    /// Takes over what a file holds.
    pub(super) fn reopen(&self, file: &Path, model: Model) -> Result<()> {
        let current = Current::published(&self.store, &self.name, file, model, self.freeze)?;
        self.set(current);
        Ok(())
    }

    /// Takes over a version that another server of the same store has made, and returns its number.
    pub(super) fn refresh(&self) -> Result<Option<u64>> {
        let (now, last) = (self.current(), self.store.current(&self.name)?);
        if last.is_none_or(|last| last.version == now.model.version()) {
            return Ok(None);
        }
        let (version, bytes) = stored(&self.store, &self.name)?;
        let number = version.version;
        self.set(Current::new(Model::from_bytes(&bytes)?, self.freeze, version.content)?);
        Ok(Some(number))
    }

    /// Ends a lease: `parameters` become the successor of `base`, in the store first, then for everybody, and at last
    /// in the file.
    pub(super) fn commit(
        &self,
        lease: &Lease,
        account: &str,
        base: u64,
        parameters: Parameters,
        file: &Path,
    ) -> Result<u64> {
        let current = self.current();
        if base != current.model.version() {
            let last = current.model.version();
            let why = format!("it began from version {base}, and {last} was published since");
            return Err(gelu_store::Error::LeaseLost(why).into());
        }
        let model = current.model.successor(parameters)?;
        let (content, bytes) = (content(&model)?, model.to_bytes()?);
        let version = self.store.commit(lease, account, base, &content, &bytes)?;
        let served = Arc::new(ServedModel::from(&model));
        self.set(Current { model, served, content });
        if !self.store.is_shared() {
            keep(file, &bytes);
        }
        Ok(version)
    }

    fn set(&self, current: Current) {
        *self.current.write().expect(NO_PANIC) = Arc::new(current);
    }
}

impl Current {
    fn published(
        store: &Store,
        name: &str,
        file: &Path,
        model: Model,
        freeze: Option<usize>,
    ) -> Result<Self> {
        let content = content(&model)?;
        let bytes = |version| {
            let numbered = model.clone().with_version(version).to_bytes();
            let unwritable = |e: gelu_nn::Error| gelu_store::Error::Engine(e.to_string());
            numbered.map_err(unwritable)
        };
        match store.publish(name, &content, model.version(), false, &bytes)? {
            Published::New(version) | Published::Current(version) => {
                let before = model.version();
                let model = model.with_version(version.version);
                if before != version.version && !store.is_shared() {
                    keep(file, &model.to_bytes()?);
                }
                Self::new(model, freeze, version.content)
            }
            Published::Known(last) => {
                let (file_is, path) = (model.version(), file);
                let file = file.display();
                let last = last.version;
                guarded(|| {
                    tracing::warn!(%file, file_is, last, "the file holds an older version than the store: the last one is \
                        served; `gelu publish --again` makes the old one current");
                });
                Self::kept(store, name, path, freeze)
            }
        }
    }

    /// The store's last version, which becomes what the file holds unless that is nobody's business but its owner's.
    fn kept(store: &Store, name: &str, file: &Path, freeze: Option<usize>) -> Result<Self> {
        let (version, bytes) = stored(store, name)?;
        if !store.is_shared() {
            keep(file, &bytes);
        }
        Self::new(Model::from_bytes(&bytes)?, freeze, version.content)
    }

    fn new(model: Model, freeze: Option<usize>, content: String) -> Result<Self> {
        let model = match freeze {
            Some(stages) => model.freeze(stages)?,
            None => model,
        };
        let served = Arc::new(ServedModel::from(&model));
        Ok(Self { model, served, content })
    }
}

fn stored(store: &Store, name: &str) -> Result<(Version, Vec<u8>)> {
    store.weights(name)?.ok_or_else(|| Error::Bug(format!("the store has lost {name:?}")))
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

/// Writes a version that is stored already where the operator looks for it. The next start repairs what fails here.
fn keep(file: &Path, bytes: &[u8]) {
    if let Err(FileError { path, problem }) = files::replace(file, bytes) {
        let file = path.display();
        guarded(
            || tracing::error!(%file, %problem, "cannot be replaced; the store has the version"),
        );
    }
}

const NO_PANIC: &str = "nothing panics while it is held";
