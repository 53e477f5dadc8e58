//! The security laboratory: attacks on this system, undefended and defended.
//!
//! Each attack is a module: what the attacker does with what it sees, as plain functions; a run
//! against a system without the defence, one against the real system, and an exhibit of both.
//!
//! | module | the attacker | reads |
//! |---|---|---|
//! | [`reconstruction`] | a server | training data, from activations and updates |
//! | [`extraction`] | a client | all weights, from fan-in + 1 answers |
//! | [`last_layer`] | a client | the last layer, from propagated errors |
//! | [`packing`] | a client | weights, from plaintexts out of range |
//! | [`randomness`] | a client | weights, from the randomness of a response |
//! | [`lattice`] | a client | weights, from ciphertexts of a lattice scheme |
//! | [`approximate`] | a server | a secret key, from one decryption of CKKS that it is shown |
//! | [`blind`] | a client, a server | Δ, sums, inputs, from blind queries that leave something out |
//! | [`permutation`] | a client | weights, although the neurons are permuted for each query |
//! | [`factorisation`], by [`unmixing`] | a server | inputs, from the sum of a short lease |
//! | [`low_bits`] | a server | which inputs are zero, from the low bits of masked gradients |
//! | [`masks`] | a server | anything at all, from masked updates |
//!
//! [`view`] reads what a party has really seen out of a transcript, [`gelu_algebra`] solves, [`scene`] has
//! data, models and sessions; [`digits`], [`target`] and [`smooth`] are the tools of the others.

pub mod approximate;
pub mod blind;
pub mod digits;
pub mod extraction;
pub mod factorisation;
pub mod last_layer;
pub mod lattice;
pub mod low_bits;
pub mod masks;
pub mod packing;
pub mod permutation;
pub mod randomness;
pub mod reconstruction;
pub mod repetition;
pub mod scene;
pub mod smooth;
pub mod target;
pub mod unmixing;
pub mod view;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::exhibit::Exhibit;
    use crate::setting::{Extent, Progress, Quiet, Setting};

    /// With a short key, and without any folder, every sentence that an exhibit claims holds.
    #[test]
    fn the_exhibits_hold_what_they_claim() {
        let (extent, key_bits, seed) = (Extent::Quick, 512, 1);
        let setting = Setting { extent, data: None, models: None, seed, key_bits };
        type Make = fn(&Setting, &dyn Progress) -> Result<Exhibit, Error>;
        let all: [Make; 7] = [
            packing::exhibit,
            randomness::exhibit,
            lattice::exhibit,
            approximate::exhibit,
            blind::exhibit,
            low_bits::exhibit,
            masks::exhibit,
        ];
        for make in all {
            let exhibit = make(&setting, &Quiet).unwrap();
            for claim in &exhibit.claims {
                assert!(claim.holds, "{}: {}", exhibit.id, claim.text);
            }
        }
    }
}
