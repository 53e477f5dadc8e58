//! The laws of layouts, against plain integers.

use gelu_core::{Cryptosystem, conformance};
use gelu_lattice::{Lattice, Parameters};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

#[test]
fn all_layouts_keep_the_law_in_both_rings() {
    for bits in Parameters::KEY_BITS {
        let rng = &mut ChaCha20Rng::seed_from_u64(bits.into());
        let secret = Lattice::keygen(bits, rng).unwrap();
        println!("{}", conformance::check_layouts::<Lattice>(&secret, rng));
    }
}
