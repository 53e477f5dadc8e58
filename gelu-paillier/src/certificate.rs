//! What a public modulus can be made to prove.
//!
//! The server computes on ciphertexts under the *client's* key and must not leak its weights even
//! to a client that made that key in bad faith. What hides the weights is that the multiplicative
//! group modulo n² splits into messages and noise,
//!
//! ```text
//! (ℤ/n²)*  =  ⟨1 + n⟩ × { rⁿ },
//! ```
//!
//! so that fresh noise covers the old noise completely and only the message is left to decrypt.
//! This holds if and only if **gcd(n, φ(n)) = 1** (Paillier 1999, section 3). With n = p²q, say, it
//! fails: the group has elements outside the product, a client can send them as ciphertexts, and
//! no noise covers what the weights do to them. Nobody can see φ(n); but a key's owner can prove
//! the property.
//!
//! # The proof
//! Goldberg, Reyzin, Sagga and Baldimtsi, *Efficient noninteractive certification of RSA moduli
//! and beyond* (ASIACRYPT 2019), section 3: for challenges ρᵢ hashed from n the owner shows n-th
//! roots,
//!
//! ```text
//! σᵢⁿ = ρᵢ  (mod n),     i = 1 … 8.
//! ```
//!
//! If n has no prime factor below α and gcd(n, φ(n)) ≠ 1, the map x ↦ xⁿ reaches at most one
//! element in α, so a forgery needs α^8 attempts: 2^128, as every prime below α = 2^16 is tried as
//! a divisor first. In particular a certified n is square-free.
//!
//! # What stays unproven
//! That n has two prime factors only, that they are large, and that p − 1 has no small factors.
//! None of it hurts the server: its noise ([`Noise::Statistical`](crate::Noise::Statistical)) covers
//! every modulus that passes, with up to bits/16 factors of whatever form. What it does lean on is
//! that no factor is below 2^16, which bounds their number; a client with a weak key hurts only itself.

use std::sync::LazyLock;

use crypto_bigint::{BoxedUint, Limb, NonZero, Odd, Resize};
use gelu_core::error::PeerMisbehaved;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::arithmetic::Modulus;
use crate::hash::{Purpose, unit};

/// Number of n-th roots: 2^−16 each.
pub(crate) const ROOTS: u32 = 8;

/// The n-th roots of the challenges, in [0, n).
#[derive(Clone, Debug)]
pub(crate) struct Certificate(Vec<BoxedUint>);

impl Certificate {
    /// Proves gcd(n, φ(n)) = 1 with an oracle for n-th roots modulo n.
    ///
    /// `None` if it errs once. No wrong root is ever shown: the owner computes modulo p and q apart,
    /// and if a fault of the machine makes one half wrong, gcd(σⁿ − ρ, n) is the other factor (Boneh,
    /// DeMillo and Lipton, EUROCRYPT '97).
    pub(crate) fn prove(
        n: &Modulus,
        nth_root: impl Fn(&BoxedUint) -> Option<BoxedUint> + Sync,
    ) -> Option<Self> {
        let root = |i| {
            let challenge = unit(n, Purpose::Certificate, i);
            let root = Zeroizing::new(nth_root(&challenge)?);
            (n.power(&root, n.value()) == challenge).then(|| BoxedUint::clone(&root))
        };
        (0..ROOTS).into_par_iter().map(root).collect::<Option<_>>().map(Self)
    }

    /// Reads and verifies a proof about a modulus that passed [`check_modulus`].
    pub(crate) fn verify(n: &Modulus, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        let wrong = PeerMisbehaved::InvalidKey("the modulus is not certified");
        let width = n.precision() as usize / 8;
        if bytes.len() != width * ROOTS as usize {
            return Err(wrong);
        }
        let roots: Vec<_> = bytes
            .chunks_exact(width)
            .map(|chunk| BoxedUint::from_be_slice(chunk, n.precision()).expect("exact width"))
            .collect();
        let proven = (0..ROOTS).into_par_iter().zip(&roots).all(|(i, root)| {
            root < n.value().as_ref()
                && n.power(root, n.value()) == unit(n, Purpose::Certificate, i)
        });
        if proven { Ok(Self(roots)) } else { Err(wrong) }
    }

    pub(crate) fn to_bytes(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|root| out.extend_from_slice(&root.to_be_bytes()));
    }
}

/// Checks what anybody can see of a modulus of `bits` bits: its size, that it is odd, not a
/// square, and without prime factors below 2^16.
///
/// This keeps out accidents and the crudest lies. It cannot see larger factors; see the
/// [module](self) for what else is proven.
pub(crate) fn check_modulus(n: &BoxedUint, bits: u32) -> Result<Odd<BoxedUint>, PeerMisbehaved> {
    let wrong = |why| Err(PeerMisbehaved::InvalidKey(why));
    if n.bits_vartime() != bits {
        return wrong("the modulus has another size than announced");
    }
    let Some(odd) = n.to_odd().into_option() else { return wrong("the modulus is even") };
    let has_small_factor = SMALL_PRIMES.iter().any(|(product, primes)| {
        let rest = n.rem_limb(NonZero::new(Limb::from(*product)).expect("a product of primes"));
        let rest = u64::from(rest);
        primes.iter().any(|prime| rest.is_multiple_of(*prime))
    });
    if has_small_factor {
        return wrong("the modulus has a prime factor below 2^16");
    }
    let root = n.floor_sqrt_vartime().resize_unchecked(2 * n.bits_precision());
    if root.wrapping_square() == *n {
        return wrong("the modulus is a square");
    }
    Ok(odd)
}

/// The odd primes below 2^16 in groups whose product fits one word.
static SMALL_PRIMES: LazyLock<Vec<(u64, Vec<u64>)>> = LazyLock::new(|| {
    let mut composite = vec![false; 1 << 16];
    let mut primes = Vec::new();
    for candidate in (3..1usize << 16).step_by(2) {
        if !composite[candidate] {
            primes.push(candidate as u64);
            (candidate * candidate..1 << 16).step_by(candidate).for_each(|c| composite[c] = true);
        }
    }
    primes.chunks(4).map(|group| (group.iter().product(), group.to_vec())).collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, big, boxed};
    use num_bigint_dig::BigUint;

    fn verdict(n: &BigUint, bits: u32) -> Result<(), PeerMisbehaved> {
        check_modulus(&boxed(n, 1024), bits).map(|_| ())
    }

    #[test]
    fn the_small_primes_are_all_there() {
        let primes: Vec<u64> = SMALL_PRIMES.iter().flat_map(|(_, p)| p.clone()).collect();
        // π(2^16) = 6542, of which 2 is even.
        assert_eq!((primes.len(), primes[0], primes[6540]), (6541, 3, 65521));
        assert!(SMALL_PRIMES.iter().all(|(product, p)| *product == p.iter().product::<u64>()));
    }

    #[test]
    fn visible_faults_of_a_modulus() {
        let n = big(KEY.public_key().mod_n().value());
        let (p, _) = KEY.primes();
        let p = big(&p);
        assert_eq!(verdict(&n, 512), Ok(()));
        let why = |n: &BigUint, bits| verdict(n, bits).unwrap_err().to_string();
        assert!(why(&n, 511).contains("size"));
        assert!(why(&(&n + 1u8), 512).contains("even"));
        assert!(why(&(&p * &p), 512).contains("square"));
        for small in [3u32, 5, 65521] {
            let n = &n * small;
            assert!(why(&n, u32::try_from(n.bits()).unwrap()).contains("factor"));
        }
        let unseen = &n * 65537u32;
        let bits = u32::try_from(unseen.bits()).unwrap();
        assert_eq!(verdict(&unseen, bits), Ok(()), "what these checks cannot see");
    }

    #[test]
    fn only_good_moduli_are_certified() {
        let public = KEY.public_key();
        let n = public.mod_n();
        let mut good = Vec::new();
        let roots = Certificate::prove(n, |x| KEY.owner().nth_root(x)).unwrap();
        roots.to_bytes(&mut good);
        assert_eq!(good.len(), 64 * ROOTS as usize);
        assert!(Certificate::verify(n, &good).is_ok());
        for wrong in [&good[1..], &good[..7 * 64], &[&good[..], &good[..64]].concat(), &[]] {
            assert!(Certificate::verify(n, wrong).is_err(), "{} bytes", wrong.len());
        }
        for i in 0..ROOTS as usize {
            let mut bad = good.clone();
            bad[64 * i + 63] ^= 1;
            assert!(Certificate::verify(n, &bad).is_err(), "root {i} changed");
        }
        let mut tried = 0;
        for (root, at) in roots.0.iter().zip((0..).step_by(64)) {
            let above = boxed(&(big(root) + big(n.value())), 576).to_be_bytes();
            if above[..8] == [0; 8] {
                let mut unreduced = good.clone();
                unreduced[at..at + 64].copy_from_slice(&above[8..]);
                assert!(Certificate::verify(n, &unreduced).is_err(), "a root above n");
                tried += 1;
            }
        }
        assert!(tried > 0, "some root is small enough");
    }

    /// A fault in one half of one root: shown, it would factor n.
    #[test]
    fn no_wrong_root_is_shown() {
        let n = KEY.public_key().mod_n();
        let (p, q) = KEY.primes();
        let modulus = big(n.value());
        for (right, wrong) in [(&p, &q), (&q, &p)] {
            for faulty in [0, 3, ROOTS - 1] {
                let challenge = unit(n, Purpose::Certificate, faulty);
                let oracle = |x: &BoxedUint| {
                    let root = KEY.owner().nth_root(x)?;
                    let fault = (big(&root) + big(right)) % &modulus;
                    Some(if *x == challenge { boxed(&fault, 512) } else { root })
                };
                let shown = big(&oracle(&challenge).unwrap()).modpow(&modulus, &modulus);
                let difference = (shown + &modulus - big(&challenge)) % &modulus;
                assert_eq!(num_integer::Integer::gcd(&difference, &modulus), big(right));
                assert!(&difference % big(wrong) != BigUint::from(0u8));
                assert!(Certificate::prove(n, oracle).is_none(), "root {faulty}");
            }
        }
        assert!(Certificate::prove(n, |_| None).is_none());
    }

    /// n = p²·q passes every visible check; no choice of roots certifies it.
    #[test]
    fn a_square_factor_has_no_certificate() {
        let (p, q) = KEY.primes();
        let n = big(&p) * big(&p) * big(&q);
        let bits = u32::try_from(n.bits()).unwrap();
        let odd = check_modulus(&boxed(&n, bits), bits).unwrap();
        let modulus = Modulus::new_vartime(odd);
        // x has an n-th root modulo p²·q only if it is a p-th power modulo p².
        let p2 = big(&p) * big(&p);
        let is_power = |x: &BigUint| x.modpow(&(big(&p) - 1u8), &p2) == BigUint::from(1u8);
        let roots = (0..ROOTS)
            .filter(|&i| is_power(&(big(&unit(&modulus, Purpose::Certificate, i)) % &p2)));
        assert_eq!(roots.count(), 0);
    }
}
