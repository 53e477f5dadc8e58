//! Numbers that nobody chose: hashes of the modulus.

use crypto_bigint::BoxedUint;
use sha2::{Digest, Sha256};

use crate::arithmetic::Modulus;

/// What a hashed unit is for. Uses never share values.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Challenges of the [`certificate`](crate::certificate).
    Certificate,
    /// The base of [`Noise::ShortExponent`](crate::Noise::ShortExponent).
    ShortExponent,
    /// The bases of [`Noise::Statistical`](crate::Noise::Statistical).
    Statistical,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Certificate => b"certificate",
            Self::ShortExponent => b"short exponent",
            Self::Statistical => b"statistical",
        }
    }
}

/// Unit number `index` for a purpose: SHA-256 in counter mode over n, reduced modulo n.
///
/// 128 surplus bits make the reduction uniform up to 2^−128. A value that shares a factor with n
/// (which an honest modulus shows to nobody) is passed over.
pub(crate) fn unit(n: &Modulus, purpose: Purpose, index: u32) -> BoxedUint {
    let precision = n.precision() + 128;
    let blocks = precision.div_ceil(256);
    let seed = Sha256::new()
        .chain_update(b"gelu-paillier v1 ")
        .chain_update(purpose.label())
        .chain_update(index.to_be_bytes())
        .chain_update(n.value().to_be_bytes())
        .finalize();
    (0u32..)
        .map(|attempt| {
            let mut bytes: Vec<u8> = (0..blocks)
                .flat_map(|block| {
                    let block = (attempt, block);
                    let hash = Sha256::new().chain_update(seed).chain_update(block.0.to_be_bytes());
                    hash.chain_update(block.1.to_be_bytes()).finalize()
                })
                .collect();
            bytes.truncate(precision as usize / 8);
            let wide = BoxedUint::from_be_slice(&bytes, precision).expect("as many bytes");
            n.reduce_vartime(&wide)
        })
        .find(|candidate| n.is_unit_vartime(candidate))
        .expect("almost every integer is a unit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, OTHER_KEY};

    #[test]
    fn every_key_purpose_and_index_has_its_own_unit() {
        let mut seen = std::collections::HashSet::new();
        for key in [&KEY, &OTHER_KEY] {
            let n = key.public_key().mod_n();
            let all = [Purpose::Certificate, Purpose::ShortExponent, Purpose::Statistical];
            for purpose in all {
                for index in 0..3 {
                    let u = unit(n, purpose, index);
                    assert!(u < *n.value().as_ref() && n.is_unit_vartime(&u));
                    assert_eq!(u, unit(n, purpose, index), "a function of its arguments");
                    assert!(seen.insert(u.to_be_bytes()));
                }
            }
        }
    }
}
