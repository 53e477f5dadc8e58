//! The evidence: every table, figure and attack that this program can make, and how it is shown.
//!
//! `gelu bench table`, `gelu bench figure`, `gelu attack` and `gelu bench report` all look up an
//! [`Entry`] here and run it; those that need no sockets live in `gelu-bench`, the others below.

use std::time::Instant;

use anyhow::Result;
use gelu_bench::attacks;
use gelu_bench::exhibit::Exhibit;
use gelu_bench::setting::{Progress, Setting};
use serde::Serialize;

mod args;
mod show;

pub(crate) use args::ExhibitArgs;

/// What can be made.
pub(crate) struct Entry {
    /// What commands and files call it: `table-1`, `figure-3`, `attack-packing`.
    pub(crate) id: &'static str,
    /// One line for lists and help.
    pub(crate) about: &'static str,
    /// Makes it.
    pub(crate) make: Make,
}

type Make = fn(&Setting, &dyn Progress) -> Result<Exhibit>;

/// All of them, in the order of the report.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        id: "attack-packing",
        about: "a client packs powers of two and reads a layer from 5 responses; \
                sealing leaves it a slot's bits, the ledger refuses before it has all",
        make: |setting, progress| Ok(attacks::packing::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-randomness",
        about: "a client with a key made for it reads 170 weights from the randomness of one \
                response; fresh noise leaves none",
        make: |setting, progress| Ok(attacks::randomness::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-low-bits",
        about: "a server reads from the low bits of masked gradients which pixels are black; \
                rates 2^-g with spare bits leave none",
        make: |setting, progress| Ok(attacks::low_bits::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-masks",
        about: "a server tells two gradients apart through their masks; masks 40 bits longer than \
                updates leave it to guess",
        make: |setting, progress| Ok(attacks::masks::exhibit(setting, progress)?),
    },
];

/// An exhibit with the circumstances under which it was made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Made {
    #[serde(flatten)]
    pub(crate) exhibit: Exhibit,
    /// Seed of everything random in it.
    pub(crate) seed: u64,
    /// What it took.
    pub(crate) seconds: f64,
    /// How to make it again.
    pub(crate) command: String,
}

impl Entry {
    /// The entry of that name.
    pub(crate) fn find(id: &str) -> Option<&'static Self> {
        ENTRIES.iter().find(|entry| entry.id == id)
    }

    /// Runs it.
    pub(crate) fn make(
        &self,
        setting: &Setting,
        progress: &dyn Progress,
        command: String,
    ) -> Result<Made> {
        let started = Instant::now();
        let exhibit = (self.make)(setting, progress)?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Made { exhibit, seed: setting.seed, seconds, command })
    }
}
