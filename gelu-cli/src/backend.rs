//! The registry of cryptosystems: which ones this program was built with, by
//! [`AdditiveHE::ID`].
//!
//! To add one: a cargo feature, a variant of [`Backend`] with its arm in [`Backend::run`], and an
//! `impl` of [`Scheme`] that says how its keys are kept in files.

use std::path::Path;
#[cfg(feature = "paillier")]
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gelu_core::{AdditiveHE, Clear};
use serde::{Serialize, Serializer};

#[cfg(feature = "paillier")]
use crate::problem::Advise;
use crate::problem::problem;

/// A cryptosystem that can be chosen on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// Paillier's cryptosystem
    #[cfg(feature = "paillier")]
    Paillier,
    /// No encryption at all: numbers in the open, for tests and measurements
    InsecureClear,
}

/// Work that any cryptosystem can be put to.
pub(crate) trait Task {
    /// What comes out.
    type Output;

    /// Does it with the cryptosystem `S`.
    fn run<S: Scheme>(self) -> Self::Output;
}

impl Backend {
    /// The one to use unless told otherwise.
    #[cfg(feature = "paillier")]
    pub(crate) const DEFAULT: Self = Self::Paillier;
    /// The one to use unless told otherwise.
    #[cfg(not(feature = "paillier"))]
    pub(crate) const DEFAULT: Self = Self::InsecureClear;

    /// Runs a task with this cryptosystem.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(feature = "paillier")]
            Self::Paillier => task.run::<gelu_paillier::Paillier>(),
            Self::InsecureClear => task.run::<Clear>(),
        }
    }

    /// [`AdditiveHE::ID`].
    pub(crate) fn id(self) -> &'static str {
        struct Id;
        impl Task for Id {
            type Output = &'static str;
            fn run<S: Scheme>(self) -> &'static str {
                S::ID
            }
        }
        self.run(Id)
    }

    /// Whether it hides anything.
    pub(crate) fn is_secure(self) -> bool {
        self != Self::InsecureClear
    }

    /// What must be said above the results of a run that hid nothing.
    pub(crate) fn warning(self) -> Option<String> {
        (!self.is_secure()).then(|| {
            "The backend insecure-clear encrypts nothing: whatever the server computed on, it could \
             read. Use it for tests and measurements only."
                .into()
        })
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// What this program needs of a cryptosystem beyond its laws: keys in files.
pub(crate) trait Scheme: AdditiveHE {
    /// Reads a key pair.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    fn read_key(path: &Path) -> Result<Self::SecretKey>;

    /// Writes a key pair that only its owner may read.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    fn write_key(secret: &Self::SecretKey, path: &Path) -> Result<()>;

    /// Which arithmetic this machine uses for keys of `bits` bits, where there is a choice.
    fn kernel(bits: u32) -> Option<&'static str>;
}

#[cfg(feature = "paillier")]
impl Scheme for gelu_paillier::Paillier {
    fn read_key(path: &Path) -> Result<Self::SecretKey> {
        gelu_paillier::SecretKey::load(path).advise(|| {
            format!("make a key with `gelu keygen {}`, or name another file", path.display())
        })
    }

    fn write_key(secret: &Self::SecretKey, path: &Path) -> Result<()> {
        secret.save(path).advise(|| "choose another path; keys are never overwritten".into())
    }

    fn kernel(bits: u32) -> Option<&'static str> {
        let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let times = gelu_paillier::measure::kernel_times(bits, Duration::ZERO, rng)?;
        Some(times.kernel)
    }
}

impl Scheme for Clear {
    fn read_key(_: &Path) -> Result<Self::SecretKey> {
        Err(no_key_files())
    }

    fn write_key(_: &Self::SecretKey, _: &Path) -> Result<()> {
        Err(no_key_files())
    }

    fn kernel(_: u32) -> Option<&'static str> {
        None
    }
}

fn no_key_files() -> anyhow::Error {
    problem(
        "insecure-clear encrypts nothing and keeps no keys",
        "leave out --key, or use --backend paillier",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_are_the_identifiers_of_the_protocol() {
        for backend in Backend::value_variants() {
            let name = backend.to_possible_value().unwrap();
            assert_eq!(name.get_name(), backend.id());
            assert_eq!(backend.is_secure(), !backend.id().contains("insecure"));
        }
    }
}
