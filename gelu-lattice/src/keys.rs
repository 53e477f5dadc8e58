//! Keys: a small secret polynomial, and an encryption of 0 under it.
//!
//! ```text
//! secret  s   ternary
//! public  a = uniform(seed), b = −a·s + e, and a proof that s and e are small
//!         in the larger ring, the keys of packing
//! ```
//! a follows from a seed by a hash, so no owner can choose one of which it knows a trapdoor. By the
//! [proof](crate::proof), answers hide weights from the owner of a key also when it was made in bad faith.

use std::fmt;
use std::sync::Arc;

use gelu_core::error::PeerMisbehaved;
use gelu_ring::sample::{self, Seed, Small};
use gelu_ring::{Basis, Evaluations, Packed, Poly};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::packing::Packing;
use crate::parameters::Parameters;
use crate::proof::Statement;
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
    /// a and b. A server keeps them for each of its sessions: in as many bytes as the primes have.
    pair: Arc<Packed>,
    packing: Arc<Packing>,
    zeros: Stock<Zero>,
}

/// The same key, whatever was made in advance.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.seed == other.seed
            && self.b() == other.b()
            && self.packing.parts().eq(other.packing.parts())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey(degree {})", self.parameters.degree())
    }
}

impl PublicKey {
    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// a.
    pub(crate) fn a(&self) -> Poly<Evaluations> {
        self.pair.poly(0)
    }

    /// b.
    pub(crate) fn b(&self) -> Poly<Evaluations> {
        self.pair.poly(1)
    }

    /// The keys of packing.
    pub(crate) fn packing(&self) -> &Packing {
        &self.packing
    }

    /// What the proof is of.
    #[cfg(test)]
    pub(crate) fn statement(&self) -> Statement {
        Statement::new(self.seed, self.a(), self.b())
    }

    /// Encryptions of 0 made in idle time.
    pub(crate) fn zeros(&self) -> &Stock<Zero> {
        &self.zeros
    }

    /// The degree in four bytes, the seed, b, the keys of packing. The proof comes after them, which is for its reader to
    /// check and for nobody but its owner to keep.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let degree = u32::try_from(self.parameters.degree()).expect("at most 2^16");
        let packing: Vec<_> = self.packing.parts().flat_map(Poly::to_bytes).collect();
        [&degree.to_le_bytes()[..], &self.seed, &self.b().to_bytes(), &packing].concat()
    }

    /// Reads a key and checks its proof.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidKey`] with the part that is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        let invalid = PeerMisbehaved::InvalidKey;
        let (degree, rest) = bytes.split_first_chunk().ok_or(invalid("its length"))?;
        let (seed, rest) = rest.split_first_chunk().ok_or(invalid("its length"))?;
        let parameters = Parameters::of_degree(u32::from_le_bytes(*degree));
        let parameters = parameters.ok_or(invalid("its degree"))?;
        let basis = parameters.basis();
        let polynomial = Poly::<Evaluations>::bytes_len(basis);
        let (b, rest) = rest.split_at_checked(polynomial).ok_or(invalid("its length"))?;
        let packing = polynomial * parameters.packing_levels() as usize;
        let (packing, proof) = rest.split_at_checked(packing).ok_or(invalid("its length"))?;
        let b = Poly::from_bytes(basis, b).map_err(|_| invalid("its polynomial"))?;
        let a = sample::uniform(basis, seed, KEY_INDEX);
        let packing = Arc::new(Packing::read(&parameters, seed, packing)?);
        let pair = pair(basis, [&a, &b]);
        if !Statement::new(*seed, a, b).verify(proof) {
            return Err(invalid("its proof"));
        }
        Ok(Self { parameters, seed: *seed, pair, packing, zeros: Stock::default() })
    }

    /// The key of the same a that says another b, of which nothing may be proven.
    #[cfg(test)]
    pub(crate) fn unproven(&self, b: &Poly<Evaluations>) -> Self {
        let pair = pair(b.basis(), [&self.a(), b]);
        Self { pair, zeros: Stock::default(), ..self.clone() }
    }
}

fn pair(basis: &Basis, of: [&Poly<Evaluations>; 2]) -> Arc<Packed> {
    Arc::new(Packed::new(basis, of.len(), |n| of[n].clone()))
}

/// What only the client may know. Wiped on drop.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    /// All else follows from it.
    root: Seed,
    secret: Zeroizing<Poly<Evaluations>>,
    #[zeroize(skip)]
    public: PublicKey,
    /// Of the public half.
    #[zeroize(skip)]
    proof: Vec<u8>,
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
        let small = Small::ternary(degree, &mut rng);
        let secret = small.evaluations(basis);
        let a = sample::uniform(basis, &seed, KEY_INDEX);
        let mut b = -(&a * &*secret);
        b += &Small::error(degree, &mut rng).evaluations(basis);
        let packing = Arc::new(Packing::generate(&parameters, &seed, &secret, &mut rng));
        let pair = pair(basis, [&a, &b]);
        let proof = Statement::new(seed, a, b).prove(&small, &mut rng);
        let public = PublicKey { parameters, seed, pair, packing, zeros: Stock::default() };
        Self { root: *root, secret, public, proof, pads: Stock::default() }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The public half, for [`PublicKey::from_bytes`].
    #[must_use]
    pub fn public_key_to_bytes(&self) -> Vec<u8> {
        [self.public.to_bytes(), self.proof.clone()].concat()
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The key of a root, and its s.
    pub(crate) fn key(degree: u32, root: u8) -> (SecretKey, Small) {
        let parameters = Parameters::of_degree(degree).unwrap();
        let key = SecretKey::from_root(parameters.clone(), &[root; 32]);
        let mut rng = ChaCha20Rng::from_seed([root; 32]);
        rng.fill_bytes(&mut [0; 32]);
        let s = Small::ternary(parameters.degree(), &mut rng);
        assert!(*s.evaluations(parameters.basis()) == *key.secret());
        (key, s)
    }

    #[test]
    fn a_key_comes_back_and_a_root_gives_the_same_bytes_for_ever() {
        for (degree, start) in
            Parameters::KEY_BITS.into_iter().zip([[8, 201, 42, 200], [170, 128, 158, 221]])
        {
            let (key, _) = key(degree, 1);
            let bytes = key.public_key_to_bytes();
            let read = PublicKey::from_bytes(&bytes).unwrap();
            assert_eq!(read, *key.public_key());
            assert_eq!([&read.to_bytes(), &key.proof[..]].concat(), bytes);
            assert_eq!(Sha256::digest(&bytes)[..4], start);
        }
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let (key, _) = key(4096, 2);
        let bytes = key.public_key_to_bytes();
        let proof = bytes.len() - key.proof.len();
        let read = |bytes: &[u8]| PublicKey::from_bytes(bytes).unwrap_err();
        // The degree, the seed, the first residues of b modulo each prime, the proof.
        let row = 4096 * 35 / 8;
        for (at, why) in [
            (0, "its degree"),
            (4, "its proof"),
            (35, "its proof"),
            (36, "its proof"),
            (36 + row, "its proof"),
            (36 + 2 * row, "its proof"),
            (proof, "its proof"),
            (bytes.len() - 1, "its proof"),
        ] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(read(&flipped), PeerMisbehaved::InvalidKey(why), "byte {at}");
        }
        for (len, why) in
            [(3, "its length"), (35, "its length"), (proof - 1, "its length"), (proof, "its proof")]
        {
            assert_eq!(read(&bytes[..len]), PeerMisbehaved::InvalidKey(why), "{len} bytes");
        }
    }
}
