//! Messages as files in a folder that anybody may carry.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use gelu_files::Access;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::phases::say;
use crate::problem::problem;

/// The folder of one sum.
pub(super) struct Exchange<'a> {
    folder: &'a Path,
    me: &'a str,
    owners: &'a [String],
}

/// The longest message in bytes: some 80,000 features.
const MOST_BYTES: u64 = 1 << 24;

/// How long until the folder is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

impl<'a> Exchange<'a> {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// What the system says; a folder in which this owner began a sum before.
    pub(super) fn open(folder: &'a Path, me: &'a str, owners: &'a [String]) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| {
            problem(
                format!("{}: {error}", folder.display()),
                "choose another --folder, which every owner's files go into",
            )
        })?;
        let exchange = Self { folder, me, owners };
        let before = [exchange.path(me, "keys"), exchange.path(me, "sums"), exchange.result()];
        match before.iter().find(|path| path.exists()) {
            None => Ok(exchange),
            Some(path) => Err(problem(
                format!("{} is there already: a sum was begun in this folder", path.display()),
                "keys end with the process, so all owners begin anew, with an empty folder",
            )),
        }
    }

    fn path(&self, owner: &str, what: &str) -> PathBuf {
        self.folder.join(format!("{owner}.{what}.json"))
    }

    fn result(&self) -> PathBuf {
        self.folder.join("schema.json")
    }

    /// Writes the result. Where all owners have one folder they write the same.
    pub(super) fn finish(&self, text: &str) -> Result<PathBuf> {
        let path = self.result();
        gelu_files::replace(&path, text.as_bytes(), Access::Shared)
            .map_err(|error| problem(format!("{}: {error}", path.display()), NO_WRITE))?;
        Ok(path)
    }

    /// Writes this owner's message, and waits for those of the others; all of them. A file that ends too early is
    /// being copied, and is waited for.
    ///
    /// This owner's is the one that was given, whatever the folder says of it.
    pub(super) fn swap<M: Serialize + DeserializeOwned>(
        &self,
        what: &str,
        ours: M,
    ) -> Result<BTreeMap<String, M>> {
        let (path, text) = (self.path(self.me, what), serde_json::to_string(&ours)?);
        gelu_files::create(&path, text.as_bytes(), Access::Shared)
            .map_err(|error| problem(format!("{}: {error}", path.display()), NO_WRITE))?;
        let mut messages = BTreeMap::from([(self.me.to_owned(), ours)]);
        let mut told = false;
        loop {
            for owner in self.owners {
                if !messages.contains_key(owner)
                    && let Some(message) = read(&self.path(owner, what))?
                {
                    messages.insert(owner.clone(), message);
                }
            }
            let missing = self.owners.iter().filter(|owner| !messages.contains_key(*owner));
            let missing: Vec<_> =
                missing.map(|o| self.path(o, what).display().to_string()).collect();
            if missing.is_empty() {
                return Ok(messages);
            }
            if !told {
                say(&format!("waiting for {}", missing.join(", ")));
                told = true;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn read<M: DeserializeOwned>(path: &Path) -> Result<Option<M>> {
    let why = |error: &dyn std::fmt::Display| {
        problem(
            format!("{}: {error}", path.display()),
            "ask that owner, and begin anew with an empty folder",
        )
    };
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text)) {
        Ok(_) if text.len() as u64 > MOST_BYTES => return Err(why(&"longer than any message")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(why(&error)),
    }
    match serde_json::from_str(&text) {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.is_eof() => Ok(None),
        Err(error) => Err(why(&error)),
    }
}

const NO_WRITE: &str = "choose another --folder, which you may write to";
