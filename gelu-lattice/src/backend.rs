//! The lattice backend of gelu-core.

use gelu_core::backend::{Backend, NoSecretRate, Task};
use gelu_core::error::{ApiMisuse, RangeError};
use gelu_core::{Cryptosystem, Result};
use rand_core::CryptoRng;

use crate::keys::{PublicKey, SecretKey};
use crate::layout::{TileLayout, TileShares};
use crate::parameters::Parameters;
use crate::prices::Prices;
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

    fn public_key_to_bytes(secret: &SecretKey) -> Vec<u8> {
        secret.public_key_to_bytes()
    }

    fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        Ok(PublicKey::from_bytes(bytes)?)
    }
}

impl Backend for Lattice {
    /// Modulo t.
    const WRAPS: bool = true;
    type Layout = TileLayout;
    type Rate = NoSecretRate;
    type Shares = TileShares;
    type Prices = Prices;

    fn layouts(public: &PublicKey, task: &Task<'_>) -> Result<Vec<TileLayout>, RangeError> {
        TileLayout::all(public.parameters(), task)
    }

    fn prices(public: &PublicKey) -> Prices {
        Prices::reference(public.parameters())
    }

    fn nanoseconds(layout: &TileLayout, prices: &Prices) -> u64 {
        prices.of(layout)
    }

    fn prepare_encryptions(secret: &SecretKey, layouts: &[&TileLayout], rng: &mut dyn CryptoRng) {
        let wanted = layouts.iter().map(|layout| layout.ciphertexts_up()).sum();
        let missing = secret.pads().missing(wanted);
        secret.pads().put(upload::pads(secret, missing, rng));
    }

    fn prepare_seals(public: &PublicKey, layouts: &[&TileLayout], rng: &mut dyn CryptoRng) {
        let wanted = layouts.iter().map(|layout| layout.seals()).sum();
        let missing = public.zeros().missing(wanted);
        public.zeros().put(zero::zeros(public, missing, rng));
    }
}
