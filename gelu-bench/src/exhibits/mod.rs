//! The evidence: every table, figure and attack that this program can make, and how it is shown.
//!
//! `gelu-bench table`, `figure`, `attack` and `report` all look up an [`Entry`] here and run it. Those that
//! need no sockets live in `tables`, `figures` and `attacks`, the others below.

use std::time::Instant;

use anyhow::Result;

use crate::evidence::Made;
use crate::exhibit::Exhibit;
use crate::setting::{Progress, Setting};
use crate::{attacks, figures, questions, tables};

mod contenders;
mod environments;
mod orion;
mod parties;
mod phases;
mod systems;

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
        id: "table-1",
        about: "One activation in every system",
        make: |setting, progress| Ok(tables::activation::exhibit(setting, progress)?),
    },
    Entry {
        id: "table-2",
        about: "The complexity of one training iteration, counted",
        make: |setting, progress| Ok(tables::complexity::exhibit(setting, progress)?),
    },
    Entry {
        id: "table-3",
        about: "Accuracy of the exact activation and of polynomials on four data sets",
        make: |setting, progress| Ok(tables::accuracy::exhibit(setting, progress)?),
    },
    Entry {
        id: "table-4",
        about: "Conv-1 and LeNet-5: time and accuracy, GELU-Net against fully homomorphic encryption",
        make: systems::exhibit,
    },
    Entry {
        id: "table-5",
        about: "One query in three environments, over simulated links",
        make: environments::exhibit,
    },
    Entry {
        id: "figure-1",
        about: "Training data reconstructed from activations, by the Moore-Penrose inverse",
        make: |setting, progress| Ok(attacks::reconstruction::figure_1(setting, progress)?),
    },
    Entry {
        id: "figure-2",
        about: "Training data reconstructed from updates, with and without gradient protection",
        make: |setting, progress| Ok(attacks::reconstruction::figure_2(setting, progress)?),
    },
    Entry {
        id: "figure-3",
        about: "Training curves of the exact activation and of polynomials",
        make: |setting, progress| Ok(figures::training::exhibit(setting, progress)?),
    },
    Entry {
        id: "figure-cost",
        about: "An encrypted layer against width, batch and key",
        make: |setting, progress| Ok(figures::cost::exhibit(setting, progress)?),
    },
    Entry {
        id: "figure-precision",
        about: "Accuracy against bits of weights and activations, and the slots they need",
        make: |setting, progress| Ok(figures::precision::exhibit(setting, progress)?),
    },
    Entry {
        id: "figure-phases",
        about: "What a query and a training step spend their time on",
        make: phases::exhibit,
    },
    Entry {
        id: "figure-roofline",
        about: "How near the kernels of Paillier and of the lattice come to the processor",
        make: |setting, progress| Ok(figures::roofline::exhibit(setting, progress)?),
    },
    Entry {
        id: "table-limits",
        about: "Question 1: what encryption imposes on models, counted: levels, rings, layers",
        make: questions::limits::exhibit,
    },
    Entry {
        id: "table-training",
        about: "Question 2: what encryption does to accuracy in training, by degree, precision and refresh",
        make: questions::training::exhibit,
    },
    Entry {
        id: "table-inference",
        about: "Question 3: whether private inference reaches the accuracy of the clear",
        make: questions::inference::exhibit,
    },
    Entry {
        id: "table-overheads",
        about: "Question 4: what the overheads are, by rows, features, classes and unattended iterations",
        make: questions::overheads::exhibit,
    },
    Entry {
        id: "table-suitable",
        about: "Question 5: whether homomorphic encryption is suitable: who should take what",
        make: questions::suitable::exhibit,
    },
    Entry {
        id: "attack-reconstruction",
        about: "A server reads training data from updates of one sample; masks stop it",
        make: |setting, progress| Ok(attacks::reconstruction::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-extraction",
        about: "A client solves for all weights after fan-in + 1 queries; the ledger stops it",
        make: |setting, progress| Ok(attacks::extraction::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-last-layer",
        about: "A client solves for the last layer from propagated errors; the ledger stops it",
        make: |setting, progress| Ok(attacks::last_layer::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-packing",
        about: "A client packs powers of two and reads a layer from 4 responses; \
                sealing leaves it a slot's bits, the ledger refuses before it has all",
        make: |setting, progress| Ok(attacks::packing::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-randomness",
        about: "A client with a key made for it reads 254 weights from the randomness of one \
                response; fresh noise leaves none",
        make: |setting, progress| Ok(attacks::randomness::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-lattice",
        about: "A client reads weights from c1, unused coefficients and the noise of lattice \
                ciphertexts; a seal with all its steps leaves none",
        make: |setting, progress| Ok(attacks::lattice::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-approximate",
        about: "A server that is shown one decryption of CKKS divides the secret key out; flooding leaves \
                it nothing",
        make: |setting, progress| Ok(attacks::approximate::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-blind",
        about: "a client or server gets sums, Δ or inputs back from blind queries that leave one thing out; \
                the real ones leave out nothing",
        make: |setting, progress| Ok(attacks::blind::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-permutation",
        about: "A client realigns neurons that are permuted for every query; only counting helps",
        make: |setting, progress| Ok(attacks::permutation::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-factorisation",
        about: "A server unmixes inputs from the sum of a short lease; long ones stop it",
        make: |setting, progress| Ok(attacks::factorisation::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-low-bits",
        about: "A server reads from the low bits of masked gradients which pixels are black; \
                rates 2^-g with spare bits leave none",
        make: |setting, progress| Ok(attacks::low_bits::exhibit(setting, progress)?),
    },
    Entry {
        id: "attack-masks",
        about: "A server tells two gradients apart through their masks; masks 40 bits longer than \
                updates leave it to guess",
        make: |setting, progress| Ok(attacks::masks::exhibit(setting, progress)?),
    },
];

impl Entry {
    /// The entry of that name.
    pub(crate) fn find(id: &str) -> Option<&'static Self> {
        ENTRIES.iter().find(|entry| entry.id == id)
    }

    /// The command that makes it, without options.
    pub(crate) fn command(&self) -> [&'static str; 3] {
        let (kind, name) = self.id.split_once('-').unwrap_or(("report --only", self.id));
        ["gelu-bench", kind, name]
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
