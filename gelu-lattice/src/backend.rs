//! The lattice backend of gelu-core.

use gelu_core::backend::{Backend, NoSecretRate, Task};
use gelu_core::error::{ApiMisuse, RangeError};
use gelu_core::{Cryptosystem, Result};
use rand_core::CryptoRng;

use crate::keys::{PublicKey, SecretKey};
use crate::layout::TileLayout;
use crate::parameters::Parameters;
use crate::{upload, zero};

/// Additive encryption on a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice;

impl Cryptosystem for Lattice {
    const ID: &'static str = "lattice";
    type PublicKey = PublicKey;
    type SecretKey = SecretKey;

    fn keygen(bits: u32, rng: &mut dyn CryptoRng) -> Result<SecretKey> {
        let parameters = Parameters::of_degree(bits).ok_or_else(|| {
            let why = format!("size {bits}, but this backend offers rings of degree 4096 and 8192");
            ApiMisuse::configuration("lattice key", why)
        })?;
        Ok(SecretKey::generate(parameters, rng))
    }

    fn public_key(secret: &SecretKey) -> &PublicKey {
        secret.public_key()
    }

    /// The degree of the ring.
    fn key_bits(public: &PublicKey) -> u32 {
        u32::try_from(public.parameters().degree()).expect("at most 2^16")
    }

    fn public_key_to_bytes(public: &PublicKey) -> Vec<u8> {
        public.to_bytes()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        Ok(PublicKey::from_bytes(bytes)?)
    }
}

/// What operations cost, in nanoseconds of one core of a reference machine (an EPYC with AVX-512 IFMA).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// An upload made and read.
    pub up: u64,
    /// An answer sealed and opened.
    pub down: u64,
    /// 1024 products of residues.
    pub products: u64,
    /// A byte on the wire; 8 is 1 Gbit/s.
    pub byte: u64,
}

impl Backend for Lattice {
    /// Modulo t.
    const WRAPS: bool = true;
    type Layout = TileLayout;
    type Rate = NoSecretRate;
    type Prices = Prices;

    fn layouts(public: &PublicKey, task: &Task<'_>) -> Result<Vec<TileLayout>, RangeError> {
        TileLayout::all(public.parameters(), task)
    }

    fn prices(public: &PublicKey) -> Prices {
        // Of N = 4096 with three primes; all grow with the residues.
        let grown = |price: u64| {
            let residues =
                public.parameters().degree() * public.parameters().basis().moduli().len();
            price * residues as u64 / (3 * 4096)
        };
        Prices { up: grown(120_000), down: grown(240_000), products: 500, byte: 8 }
    }

    fn nanoseconds(layout: &TileLayout, prices: &Prices) -> u64 {
        prices.up * layout.ciphertexts_up() as u64
            + prices.down * layout.ciphertexts_down() as u64
            + prices.products * layout.residue_products() / 1024
            + prices.byte * gelu_core::backend::Layout::cost(layout).bytes as u64
    }

    fn prepare_encryptions(secret: &SecretKey, layouts: &[&TileLayout], rng: &mut dyn CryptoRng) {
        let wanted = layouts.iter().map(|layout| layout.ciphertexts_up()).sum();
        let missing = secret.pads().missing(wanted);
        secret.pads().put(upload::pads(secret, missing, rng));
    }

    fn prepare_seals(public: &PublicKey, layouts: &[&TileLayout], rng: &mut dyn CryptoRng) {
        let wanted = layouts.iter().map(|layout| layout.ciphertexts_down()).sum();
        let missing = public.zeros().missing(wanted);
        public.zeros().put(zero::zeros(public, missing, rng));
    }
}
