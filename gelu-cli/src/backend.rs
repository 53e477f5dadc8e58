//! The registry of cryptosystems: which ones this program was built with, by
//! [`Cryptosystem::ID`](gelu_core::Cryptosystem::ID).
//!
//! To add one: a cargo feature, a variant of [`Backend`] with its arm in [`Backend::run`], and an
//! `impl` of [`Scheme`] that says how its keys are kept in files.

use std::path::Path;
use std::sync::Arc;
#[cfg(any(feature = "paillier", feature = "lattice"))]
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gelu_core::blind::{BlindCosts, Circuits};
#[cfg(feature = "paillier")]
use gelu_core::clear::ClearKey;
use gelu_core::plan::Purpose;
use gelu_core::{Clear, Network, Plan, Precision};
use serde::{Serialize, Serializer};

use crate::cost::blind::counted;
use crate::problem::problem;

/// A cryptosystem that can be chosen on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Paillier's cryptosystem
    #[cfg(feature = "paillier")]
    Paillier,
    /// A lattice: values in the coefficients of polynomials; post-quantum
    #[cfg(feature = "lattice")]
    Lattice,
    /// Exponential ElGamal on Ristretto: numbers of 40 bits, for queries
    #[cfg(feature = "elgamal")]
    Elgamal,
    /// BGN on BLS12-381, its first level: numbers of 40 bits, for queries
    #[cfg(feature = "bgn")]
    Bgn,
    /// No encryption at all: numbers in the open, for tests and measurements
    InsecureClear,
}

/// Work that any cryptosystem can be put to.
pub trait Task {
    /// What comes out.
    type Output;

    /// Does it with the cryptosystem `S`.
    fn run<S: Scheme>(self) -> Self::Output;
}

impl Backend {
    /// The one to use unless told otherwise.
    #[cfg(feature = "paillier")]
    pub const DEFAULT: Self = Self::Paillier;
    /// The one to use unless told otherwise.
    #[cfg(not(feature = "paillier"))]
    pub const DEFAULT: Self = Self::InsecureClear;

    /// Runs a task with this cryptosystem.
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(feature = "paillier")]
            Self::Paillier => task.run::<gelu_paillier::Paillier>(),
            #[cfg(feature = "lattice")]
            Self::Lattice => task.run::<gelu_lattice::Lattice>(),
            #[cfg(feature = "elgamal")]
            Self::Elgamal => task.run::<gelu_elgamal::ElGamal>(),
            #[cfg(feature = "bgn")]
            Self::Bgn => task.run::<gelu_bgn::Bgn>(),
            Self::InsecureClear => task.run::<Clear>(),
        }
    }

    fn facts(self) -> Facts {
        struct OfScheme;
        impl Task for OfScheme {
            type Output = Facts;
            fn run<S: Scheme>(self) -> Facts {
                Facts {
                    id: S::ID,
                    key_bits: S::KEY_BITS,
                    new_key_bits: S::NEW_KEY_BITS,
                    training_key_bits: S::TRAINING_KEY_BITS,
                }
            }
        }
        self.run(OfScheme)
    }

    /// [`Cryptosystem::ID`](gelu_core::Cryptosystem::ID).
    pub fn id(self) -> &'static str {
        self.facts().id
    }

    /// [`Scheme::KEY_BITS`].
    pub fn key_bits(self) -> &'static [u32] {
        self.facts().key_bits
    }

    /// [`Scheme::NEW_KEY_BITS`].
    pub fn new_key_bits(self) -> u32 {
        self.facts().new_key_bits
    }

    /// [`Scheme::TRAINING_KEY_BITS`].
    pub fn training_key_bits(self) -> u32 {
        self.facts().training_key_bits
    }

    /// [`Scheme::sigma`].
    pub fn sigma(self, precision: &Precision) -> Option<u32> {
        struct Sigma<'a>(&'a Precision);
        impl Task for Sigma<'_> {
            type Output = Option<u32>;
            fn run<S: Scheme>(self) -> Option<u32> {
                S::sigma(self.0)
            }
        }
        self.run(Sigma(precision))
    }

    /// Whether it offers keys of `bits` bits; if not, which ones it offers.
    pub fn check_key_bits(self, bits: u32) -> Result<(), String> {
        let sizes = self.key_bits();
        if sizes.contains(&bits) {
            return Ok(());
        }
        let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
        Err(format!("the backend {} has keys of {} bits, not {bits}", self.id(), sizes.join(", ")))
    }

    /// Whether it hides anything.
    pub fn is_secure(self) -> bool {
        self != Self::InsecureClear
    }

    /// What must be said above the results of a run that hid nothing.
    pub fn warning(self) -> Option<String> {
        (!self.is_secure()).then(|| {
            "The backend insecure-clear encrypts nothing: whatever the server computed on, it could \
             read. Use it for tests and measurements only."
                .into()
        })
    }
}

/// What a scheme says of itself.
struct Facts {
    id: &'static str,
    key_bits: &'static [u32],
    new_key_bits: u32,
    training_key_bits: u32,
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// What this program needs of a cryptosystem beyond its laws: which keys there are, keys in files.
pub trait Scheme: gelu_core::Backend {
    /// The sizes of keys that it offers, in ascending order; the first is the default of a run.
    const KEY_BITS: &'static [u32];
    /// The default of a run that trains.
    const TRAINING_KEY_BITS: u32 = Self::KEY_BITS[0];
    /// Rows of a query where many are to be classified: they share ciphertexts.
    const QUERY: usize = 16;
    /// The size of a key that is made to be kept.
    const NEW_KEY_BITS: u32 = Self::KEY_BITS[0];

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

    /// Bits by which masks are longer than what they hide; none where they are modular.
    fn sigma(precision: &Precision) -> Option<u32> {
        (!Self::WRAPS).then_some(precision.mask_bits)
    }

    /// Which arithmetic this machine uses for keys of `bits` bits, where there is a choice.
    fn kernel(_bits: u32) -> Option<&'static str> {
        None
    }

    /// What operations cost on the reference machine, or, if they are to be `measured` and can be, on this one.
    ///
    /// # Errors
    /// For a size that the scheme does not offer.
    fn prices_here(bits: u32, measured: bool) -> Result<Self::Prices> {
        let _ = measured;
        let secret = Self::keygen(bits, &mut rand::make_rng::<rand::rngs::ChaCha20Rng>())?;
        Ok(Self::prices(Self::public_key(&secret)))
    }

    /// Plans as a session with a key of `bits` bits would, before there is one.
    ///
    /// # Errors
    /// When the numbers do not fit a plaintext: which layer needs how many bits.
    fn plan(
        network: &Network,
        precision: &Precision,
        batch: usize,
        purpose: Purpose,
        bits: u32,
    ) -> Result<Plan<Self::Layout>> {
        // These keys are made in milliseconds, and this one is forgotten at once.
        let secret = Self::keygen(bits, &mut rand::make_rng::<rand::rngs::ChaCha20Rng>())?;
        Ok(Plan::new::<Self>(network, precision, batch, purpose, Self::public_key(&secret))?)
    }

    /// What making `tickets` tickets for blind queries costs with a key of `bits` bits, and the expected time of their
    /// ciphertexts.
    ///
    /// # Errors
    /// For a scheme without shares, or numbers that do not fit: which layer needs how many bits.
    fn blind_costs(
        network: &Network,
        circuits: &Arc<Circuits>,
        tickets: usize,
        bits: u32,
        prices: &Self::Prices,
    ) -> Result<(BlindCosts, u64)> {
        let secret = Self::keygen(bits, &mut rand::make_rng::<rand::rngs::ChaCha20Rng>())?;
        counted::<Self>(network, circuits, tickets, Self::public_key(&secret), prices)
    }
}

/// How long prices are measured.
#[cfg(any(feature = "paillier", feature = "lattice"))]
const MEASURED_FOR: Duration = Duration::from_millis(200);

/// What to do about key files that cannot be read or written.
#[cfg(any(feature = "paillier", feature = "lattice", feature = "elgamal", feature = "bgn"))]
mod advice {
    use std::path::Path;

    use gelu_core::Cryptosystem;

    use crate::problem::Advise;

    pub(super) fn reading<S: Cryptosystem, E: Into<anyhow::Error>>(
        read: Result<S::SecretKey, E>,
        path: &Path,
    ) -> anyhow::Result<S::SecretKey> {
        read.advise(|| {
            let (id, path) = (S::ID, path.display());
            format!("make a key with `gelu keygen --backend {id} {path}`, or name another file")
        })
    }

    pub(super) fn writing<E: Into<anyhow::Error>>(written: Result<(), E>) -> anyhow::Result<()> {
        let written = written.map_err(Into::into);
        let exists = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
                == Some(std::io::ErrorKind::AlreadyExists)
        };
        match written {
            Err(error) if error.chain().any(exists) => {
                Err(error).advise(|| "choose another path; keys are never overwritten".into())
            }
            written => written,
        }
    }
}

#[cfg(feature = "paillier")]
impl Scheme for gelu_paillier::Paillier {
    const KEY_BITS: &'static [u32] = &[2048, 3072, 4096];
    const NEW_KEY_BITS: u32 = 3072;

    fn read_key(path: &Path) -> Result<Self::SecretKey> {
        advice::reading::<Self, _>(gelu_paillier::StoredKey::load(path), path)
    }

    fn write_key(secret: &Self::SecretKey, path: &Path) -> Result<()> {
        advice::writing(gelu_paillier::StoredKey::save(secret, path))
    }

    fn kernel(bits: u32) -> Option<&'static str> {
        let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let times = gelu_paillier::measure::kernel_times(bits, Duration::ZERO, rng)?;
        Some(times.kernel)
    }

    fn prices_here(bits: u32, measured: bool) -> Result<Self::Prices> {
        let prices = gelu_paillier::prices(bits);
        if !measured {
            return Ok(prices);
        }
        let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let times = gelu_paillier::measure::kernel_times(bits, MEASURED_FOR, rng);
        Ok(times.map_or(prices, |times| prices.with_product(times.product)))
    }

    /// By [`Clear`]'s twin of such a key, since primes take seconds to find.
    fn plan(
        network: &Network,
        precision: &Precision,
        batch: usize,
        purpose: Purpose,
        bits: u32,
    ) -> Result<Plan<Self::Layout>> {
        let (key, prices) = (ClearKey::new(bits)?, gelu_paillier::prices(bits));
        Ok(Plan::priced::<Clear>(network, precision, batch, purpose, &key, &prices)?)
    }

    /// By the twin as well.
    fn blind_costs(
        network: &Network,
        circuits: &Arc<Circuits>,
        tickets: usize,
        bits: u32,
        prices: &Self::Prices,
    ) -> Result<(BlindCosts, u64)> {
        counted::<Clear>(network, circuits, tickets, &ClearKey::new(bits)?, prices)
    }
}

#[cfg(feature = "lattice")]
impl Scheme for gelu_lattice::Lattice {
    /// Degrees of rings.
    const KEY_BITS: &'static [u32] = &gelu_lattice::Parameters::KEY_BITS;
    /// Masked weights are as wide as the plaintexts, and noise grows with them.
    const TRAINING_KEY_BITS: u32 = 8192;
    const QUERY: usize = 1024;
    /// It carries everything that the smaller one does.
    const NEW_KEY_BITS: u32 = 8192;

    fn read_key(path: &Path) -> Result<Self::SecretKey> {
        advice::reading::<Self, _>(gelu_lattice::StoredKey::load(path), path)
    }

    fn write_key(secret: &Self::SecretKey, path: &Path) -> Result<()> {
        advice::writing(gelu_lattice::StoredKey::save(secret, path))
    }

    fn prices_here(bits: u32, measured: bool) -> Result<Self::Prices> {
        use gelu_core::{Backend as _, Cryptosystem as _};
        let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let secret = Self::keygen(bits, rng)?;
        Ok(match measured {
            true => gelu_lattice::Prices::measured(&secret, MEASURED_FOR, rng),
            false => Self::prices(Self::public_key(&secret)),
        })
    }

    fn kernel(bits: u32) -> Option<&'static str> {
        Some(gelu_lattice::Parameters::of_degree(bits)?.basis().kernel_name())
    }
}

#[cfg(feature = "elgamal")]
impl Scheme for gelu_elgamal::ElGamal {
    const KEY_BITS: &'static [u32] = &[gelu_elgamal::KEY_BITS];

    fn read_key(path: &Path) -> Result<Self::SecretKey> {
        advice::reading::<Self, _>(gelu_elgamal::StoredKey::load(path), path)
    }

    fn write_key(secret: &Self::SecretKey, path: &Path) -> Result<()> {
        advice::writing(gelu_elgamal::StoredKey::save(secret, path))
    }
}

#[cfg(feature = "bgn")]
impl Scheme for gelu_bgn::Bgn {
    const KEY_BITS: &'static [u32] = &[gelu_bgn::KEY_BITS];

    fn read_key(path: &Path) -> Result<Self::SecretKey> {
        advice::reading::<Self, _>(gelu_bgn::StoredKey::load(path), path)
    }

    fn write_key(secret: &Self::SecretKey, path: &Path) -> Result<()> {
        advice::writing(gelu_bgn::StoredKey::save(secret, path))
    }
}

impl Scheme for Clear {
    /// Paillier's, whose twin it is.
    const KEY_BITS: &'static [u32] = &[2048, 3072, 4096];

    fn read_key(_: &Path) -> Result<Self::SecretKey> {
        Err(no_key_files())
    }

    fn write_key(_: &Self::SecretKey, _: &Path) -> Result<()> {
        Err(no_key_files())
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
            assert!(backend.key_bits().is_sorted());
            assert!(backend.key_bits().contains(&backend.new_key_bits()));
        }
    }
}
