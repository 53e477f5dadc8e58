//! Keys: a small secret polynomial, and an encryption of 0 under it.
//!
//! ```text
//! secret  s   ternary
//! public  a = uniform(seed), b = −a·s + e
//! ```
//! a follows from a seed by a hash, so no owner can choose one of which it knows a trapdoor.

use std::fmt;

use gelu_core::error::PeerMisbehaved;
use gelu_ring::sample::{self, Seed, Small};
use gelu_ring::{Evaluations, Poly};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::parameters::Parameters;
use crate::stock::Stock;
use crate::upload::Pad;
use crate::zero::Zero;

/// The polynomial of a seed that a public key is made of; uploads take others.
const KEY_INDEX: u64 = u64::MAX;

/// What everybody may know. Clones share what was made in advance.
#[derive(Clone)]
pub struct PublicKey {
    parameters: Parameters,
    seed: Seed,
    a: Poly<Evaluations>,
    b: Poly<Evaluations>,
    zeros: Stock<Zero>,
}

/// The same key.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.seed == other.seed && self.b == other.b
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey(degree {})", self.parameters.degree())
    }
}

impl PublicKey {
    fn new(parameters: Parameters, seed: Seed, b: Poly<Evaluations>) -> Self {
        let a = sample::uniform(parameters.basis(), &seed, KEY_INDEX);
        Self { parameters, seed, a, b, zeros: Stock::default() }
    }

    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// a.
    pub(crate) fn a(&self) -> &Poly<Evaluations> {
        &self.a
    }

    /// b.
    pub(crate) fn b(&self) -> &Poly<Evaluations> {
        &self.b
    }

    /// Encryptions of 0 made in idle time.
    pub(crate) fn zeros(&self) -> &Stock<Zero> {
        &self.zeros
    }

    /// The degree in four bytes, the seed, b.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let degree = u32::try_from(self.parameters.degree()).expect("at most 2^16");
        [&degree.to_le_bytes()[..], &self.seed, &self.b.to_bytes()].concat()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidKey`] with the part that is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        let invalid = PeerMisbehaved::InvalidKey;
        let (degree, rest) = bytes.split_first_chunk().ok_or(invalid("its length"))?;
        let (seed, b) = rest.split_first_chunk().ok_or(invalid("its length"))?;
        let parameters = Parameters::of_degree(u32::from_le_bytes(*degree));
        let parameters = parameters.ok_or(invalid("its degree"))?;
        let b = Poly::from_bytes(parameters.basis(), b).map_err(|_| invalid("its polynomial"))?;
        Ok(Self::new(parameters, *seed, b))
    }
}

/// What only the client may know. Wiped on drop.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    /// All else follows from it.
    root: Seed,
    secret: Zeroizing<Poly<Evaluations>>,
    #[zeroize(skip)]
    public: PublicKey,
    /// Wiped with its last clone.
    #[zeroize(skip)]
    pads: Stock<Pad>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(degree {})", self.public.parameters.degree())
    }
}

impl SecretKey {
    /// A fresh key over a ring.
    pub fn generate(parameters: Parameters, rng: &mut dyn CryptoRng) -> Self {
        let mut root = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *root);
        Self::from_root(parameters, &root)
    }

    /// The key that follows from 32 secret bytes.
    #[must_use]
    pub fn from_root(parameters: Parameters, root: &Seed) -> Self {
        let mut rng = ChaCha20Rng::from_seed(*root);
        let (basis, degree) = (parameters.basis(), parameters.degree());
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let secret = Small::ternary(degree, &mut rng).evaluations(basis);
        let mut b = -(&sample::uniform(basis, &seed, KEY_INDEX) * &*secret);
        b += &Small::error(degree, &mut rng).evaluations(basis);
        let public = PublicKey::new(parameters, seed, b);
        let root = *root;
        Self { root, secret, public, pads: Stock::default() }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.public.parameters
    }

    /// What the key follows from.
    pub(crate) fn root(&self) -> &Seed {
        &self.root
    }

    /// s, over all primes.
    pub(crate) fn secret(&self) -> &Poly<Evaluations> {
        &self.secret
    }

    /// Encryptions made in idle time.
    pub(crate) fn pads(&self) -> &Stock<Pad> {
        &self.pads
    }
}
