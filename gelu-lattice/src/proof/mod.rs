//! A proof that a public key was made of small polynomials: without it, a key could be made to read weights.
//!
//! # What a key made in bad faith would do
//! What hides an answer ([`zero`](crate::zero)) puts e·u + e₁·s, twice, into the phase that the owner of the key
//! decrypts. Flooding hides this as long as it is small. With b = −a·s + Δ·M instead of −a·s + e, the phase says M·u,
//! and whoever knows u reads Σ wᵢ·c₁ᵢ; a large s shows e₁ in the same way. (`attack`, among the tests, does it.) So a
//! public key comes with a proof that s and e are small.
//!
//! # The protocol
//! It is that of Benhamouda, Camenisch, Krenn, Lyubashevsky and Neven (*Better zero-knowledge proofs for lattice
//! encryption and their application to group signatures*, ASIACRYPT 2014), without interaction by Fiat and Shamir's
//! hash. Commitments are rounded, so nothing is sent for e (Bai and Galbraith, *An improved compression technique for
//! signatures based on learning with errors*, CT-RSA 2014): ⌊x⌋ is x without its rest modulo D, coefficient
//! by coefficient ([`cells`]). With B = 16·N and D = 512·N, r = 10 times side by side:
//!
//! ```text
//! owner   y uniform in [−B, B)    w = ⌊a·y⌋    i ← SHA-256(ring, seed, b, all w)    0 ≤ i < 2N
//!         z = y − Xⁱ·s            all is drawn again unless, for all coefficients of all z and all a·z − Xⁱ·b,
//!                                 −B < z < B − 1      21 ≤ rest < D − 21
//! server  ⌊a·z − Xⁱ·b⌋ = w        for the i that follow from the hash, and −B < z < B − 1
//! ```
//! a·z − Xⁱ·b = a·y − Xⁱ·e, and no coefficient of e is above 21 in size: so where the left side keeps away from the
//! ends of a cell, a·y is in the same one. An attempt succeeds with probability
//! (1 − 1/B)^(rN)·(1 − 42/D)^(rN) = 0.24. The proof is the hash and all z: 32 + r·N·log₂(2B)/8 bytes.
//!
//! # What it proves
//! Say that the same w can be answered under two challenges, by z under Xⁱ and by z′ under Xʲ. Then
//! a·(z − z′) − (Xⁱ − Xʲ)·b = d, all coefficients of d below D in size. There is a g of coefficients −1, 0 and 1
//! with g·(Xⁱ − Xʲ) = 2 (lemma 3.1 of the first paper). Times g:
//!
//! ```text
//! 2·b = −a·s′ + e′      s′ = −g·(z − z′)   ‖s′‖∞ ≤ N·(2B − 3)
//!                       e′ = −g·d          ‖e′‖∞ ≤ N·(D − 1)
//! ```
//! For a key without such s′ and e′, at most one tuple of challenges can be answered for each tuple of w, so a hash
//! succeeds with probability (2N)^−r: 2^−130, or 2^−140 in the larger ring. That holds for the a of any seed.
//!
//! The factor 2 stays: s′ and e′ need not be even, and there are keys with a proof for which they are not
//! (`a_key_of_halves_has_a_proof`). So the server hides answers with *twice* an encryption of 0. As q is odd, that
//! hides as well, and what the phase gets is e′·u + s′·e₁, which is small: see [`zero`](crate::zero) for the
//! equation and [`parameters`](crate::parameters) for how well it is flooded.
//!
//! # What it tells
//! No more than that. For each i and s, each z within the bounds comes from exactly one y, so whether z is within them
//! is independent of s, and so is the z that is. What decides after that is a function of z, i and b. So a proof could
//! be drawn without s: i and z at random, kept by the same rule, w computed from them, and the hash said to give i.
//! For the same reason the number of attempts, and where they failed, are independent of s. All that was drawn is
//! wiped; of w, only hashes are kept; and steps on y and s take the same time for all of their values.

mod cells;

use gelu_ring::sample::{ERROR_BOUND, Seed, Small};
use gelu_ring::{Coefficients, Evaluations, Poly};
use rand::rngs::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::bits;
use crate::upload::streams;
use cells::Cells;

/// r.
const REPETITIONS: usize = 10;

/// B, from N.
const fn mask_bound(degree: usize) -> i32 {
    1 << (degree.ilog2() + 4)
}

/// log₂ D, from N.
const fn cell_bits(degree: usize) -> u32 {
    degree.ilog2() + 9
}

/// Bits of a coefficient of z.
const fn width(degree: usize) -> u32 {
    mask_bound(degree).ilog2() + 1
}

/// The bounds of s′ and e′: see the [module](self).
pub(crate) fn bounds(degree: usize) -> (f64, f64) {
    let n = degree as f64;
    let (mask, cell) = (f64::from(mask_bound(degree)), f64::from(cell_bits(degree)).exp2());
    (n * (2.0 * mask - 3.0), n * (cell - 1.0))
}

type Hash = [u8; 32];

/// That b = −a·s + e for small s and e, where a is the polynomial of a seed.
pub(crate) struct Statement {
    seed: Seed,
    a: Poly<Evaluations>,
    b: Poly<Coefficients>,
    cells: Cells,
}

impl Statement {
    pub(crate) fn new(seed: Seed, a: Poly<Evaluations>, b: Poly<Evaluations>) -> Self {
        let cells = Cells::new(a.basis(), cell_bits(a.basis().degree()));
        Self { seed, a, b: b.into_coefficients(), cells }
    }

    /// A proof, for a ternary s and an e of coefficients of at most [`ERROR_BOUND`]. It takes about four attempts.
    ///
    /// For another e, what is made does not [verify](Self::verify); for another s, it may take for ever.
    pub(crate) fn prove(&self, secret: &Small, rng: &mut dyn CryptoRng) -> Vec<u8> {
        loop {
            let streams = streams(REPETITIONS, rng).into_par_iter();
            let masks: Vec<_> = streams.map(|rng| mask(self.degree(), rng)).collect();
            let commitments = masks.par_iter().map(|y| self.commitment(&self.times_a(y)));
            let hash = self.hash(&commitments.collect::<Vec<_>>());
            let repetitions = masks.par_iter().zip(self.challenges(&hash));
            let answers = repetitions.map(|(y, i)| {
                let z = answer(y, secret, i);
                self.keeps_away(&z, i).then_some(z)
            });
            if let Some(answers) = answers.collect::<Option<Vec<_>>>() {
                return write(&hash, &answers);
            }
        }
    }

    /// Whether a proof holds.
    #[must_use]
    pub(crate) fn verify(&self, proof: &[u8]) -> bool {
        let Some((hash, answers)) = read(self.degree(), proof) else { return false };
        let repetitions = answers.par_chunks(self.degree()).zip(self.challenges(&hash));
        let commitments = repetitions.map(|(z, i)| self.commitment(&self.answered(z, i)));
        self.hash(&commitments.collect::<Vec<_>>()) == hash
    }

    fn degree(&self) -> usize {
        self.a.basis().degree()
    }

    /// a·y.
    fn times_a(&self, y: &[i32]) -> Zeroizing<Poly<Coefficients>> {
        let y = Zeroizing::new(Poly::from_signed(self.a.basis(), y).into_evaluations());
        Zeroizing::new((&self.a * &*y).into_coefficients())
    }

    /// a·z − Xⁱ·b.
    fn answered(&self, z: &[i32], i: usize) -> Zeroizing<Poly<Coefficients>> {
        let moduli: Vec<_> = self.b.basis().moduli().collect();
        let mut x = self.times_a(z);
        *x -= &Poly::from_residues(self.b.basis(), |prime, row| {
            let moved = times_monomial(self.b.residues(prime), i, |x| moduli[prime].neg(x));
            row.iter_mut().zip(moved).for_each(|(out, x)| *out = x);
        });
        x
    }

    /// Whether an answer may be shown.
    fn keeps_away(&self, z: &[i32], i: usize) -> bool {
        let (error, cell) = (u64::from(ERROR_BOUND), 1 << cell_bits(self.degree()));
        let within = |rest: u64| (error..cell - error).contains(&rest);
        z.iter().all(|&z| in_box(z, self.degree()))
            && self.cells.rests(&self.answered(z, i)).iter().all(|&rest| within(rest))
    }

    /// The hash of ⌊x⌋.
    fn commitment(&self, x: &Poly<Coefficients>) -> Hash {
        let mut rounded = Zeroizing::new(x.clone());
        let rests = self.cells.rests(x);
        *rounded -= &*Zeroizing::new(Poly::from_unsigned(x.basis(), &rests));
        let bytes = Zeroizing::new(rounded.to_bytes());
        let hash = Sha256::new().chain_update(b"gelu-lattice v1 key commitment");
        hash.chain_update(&*bytes).finalize().into()
    }

    /// Of all that challenges depend on: the ring, the key, the hashes of all w.
    fn hash(&self, commitments: &[Hash]) -> Hash {
        let mut hash = Sha256::new().chain_update(b"gelu-lattice v1 key proof");
        hash.update((self.degree() as u64).to_le_bytes());
        self.b.basis().moduli().for_each(|q| hash.update(q.value().to_le_bytes()));
        hash.update(self.seed);
        hash.update(self.b.to_bytes());
        hash.update(commitments.as_flattened());
        hash.finalize().into()
    }

    /// i of each repetition: 16 bits of the hash, of which the lowest log₂ 2N ≤ 16 count.
    fn challenges(&self, hash: &Hash) -> [usize; REPETITIONS] {
        let words = hash.as_chunks().0;
        core::array::from_fn(|n| usize::from(u16::from_le_bytes(words[n])) % (2 * self.degree()))
    }
}

/// y: as many values as there are words of its width.
fn mask(degree: usize, mut rng: ChaCha20Rng) -> Zeroizing<Vec<i32>> {
    let bound = mask_bound(degree);
    let mut bytes = Zeroizing::new(vec![0; 4 * degree]);
    rng.fill_bytes(&mut bytes);
    let words = bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word));
    Zeroizing::new(words.map(|word| (word & (2 * bound - 1)) - bound).collect())
}

/// z = y − Xⁱ·s.
fn answer(y: &[i32], secret: &Small, i: usize) -> Zeroizing<Vec<i32>> {
    let moved = times_monomial(secret.values(), i, |s| -s);
    Zeroizing::new(y.iter().zip(moved).map(|(y, s)| y - i32::from(s)).collect())
}

/// What y − s reaches for every ternary s: −B < z < B − 1.
fn in_box(z: i32, degree: usize) -> bool {
    let bound = mask_bound(degree);
    -bound < z && z < bound - 1
}

/// The coefficients of Xⁱ·p for 0 ≤ i < 2N, as X^N = −1. The time depends on i alone.
fn times_monomial<T: Copy>(p: &[T], i: usize, neg: impl Fn(T) -> T) -> impl Iterator<Item = T> {
    let n = p.len();
    let (moved, wrapped) = p.split_at(n - i % n);
    let wrapped = wrapped.iter().map(move |&x| (x, i < n));
    let moved = moved.iter().map(move |&x| (x, i >= n));
    wrapped.chain(moved).map(move |(x, negative)| if negative { neg(x) } else { x })
}

/// The hash, and z + B of all answers.
fn write(hash: &Hash, answers: &[Zeroizing<Vec<i32>>]) -> Vec<u8> {
    let degree = answers[0].len();
    let words = answers.iter().flat_map(|z| z.iter());
    let words = words.map(|z| u128::from((z + mask_bound(degree)).cast_unsigned()));
    [&hash[..], &bits::write(&words.collect::<Vec<_>>(), width(degree))].concat()
}

/// `None` when the length is wrong, or an answer is out of its box.
fn read(degree: usize, bytes: &[u8]) -> Option<(Hash, Vec<i32>)> {
    let (hash, words) = bytes.split_first_chunk()?;
    let words = bits::read(words, REPETITIONS * degree, width(degree)).ok()?;
    let z = |word: u128| {
        let z = i32::try_from(word).expect("few bits") - mask_bound(degree);
        in_box(z, degree).then_some(z)
    };
    Some((*hash, words.into_iter().map(z).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::key;
    use crate::parameters::Parameters;
    use rand::SeedableRng;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(7)
    }

    #[test]
    fn a_proof_holds_for_its_key_alone() {
        for degree in Parameters::KEY_BITS {
            let keys = [1, 2].map(|root| key(degree, root));
            let [one, other] = [0, 1].map(|n| keys[n].0.public_key().statement());
            let [of_one, of_other] =
                [(&one, 0), (&other, 1)].map(|(key, n)| key.prove(&keys[n].1, &mut rng()));
            assert!(one.verify(&of_one) && other.verify(&of_other));
            assert!(!one.verify(&of_other) && !other.verify(&of_one));
            // The same polynomials, said to be of another seed; and the same modulo fewer primes.
            assert!(!Statement::new(other.seed, one.a.clone(), b(&one)).verify(&of_one));
            let a = one.a.clone().forget_last().unwrap();
            let fewer = Statement::new(one.seed, a, b(&one).forget_last().unwrap());
            assert!(!fewer.verify(&of_one) && fewer.verify(&fewer.prove(&keys[0].1, &mut rng())));
        }
    }

    fn b(statement: &Statement) -> Poly<Evaluations> {
        statement.b.clone().into_evaluations()
    }

    impl Statement {
        /// What needs no secret: answers drawn first, challenges guessed, the hash that follows from both. Each
        /// repetition convinces with probability 1/2N.
        pub(crate) fn forge(&self, rng: &mut dyn CryptoRng) -> Vec<u8> {
            let answer = |rng| {
                let y = mask(self.degree(), rng);
                Zeroizing::new(y.iter().map(|y| y / 2).collect::<Vec<_>>())
            };
            let answers: Vec<_> = streams(REPETITIONS, rng).into_iter().map(answer).collect();
            let guessed = answers.iter().map(|z| self.commitment(&self.answered(z, 0)));
            write(&self.hash(&guessed.collect::<Vec<_>>()), &answers)
        }
    }

    #[test]
    fn every_part_of_a_proof_counts() {
        for degree in Parameters::KEY_BITS {
            let (key, s) = key(degree, 3);
            let statement = key.public_key().statement();
            let proof = statement.prove(&s, &mut rng());
            let degree = statement.degree();
            let answers = (0..REPETITIONS).map(|n| 32 + n * degree * width(degree) as usize / 8);
            let last = proof.len() - 1;
            for at in (0..32).step_by(5).chain(answers).chain([last]) {
                let mut flipped = proof.clone();
                flipped[at] ^= 1;
                assert!(!statement.verify(&flipped), "byte {at}");
            }
            assert!(!statement.verify(&[]) && !statement.verify(&proof[..last]));
            assert!(!statement.verify(&[&proof[..], &[0]].concat()));
            // z = −B and z = B − 1.
            assert!(read(degree, &proof).is_some());
            for byte in [0, 0xff] {
                let mut wide = proof.clone();
                wide[32..35].fill(byte);
                assert!(read(degree, &wide).is_none());
            }
        }
    }

    /// s = (1 + X + … + X^(N−1))/2 modulo q, e = 0: as (Xⁱ − Xʲ)·s is small for all i and j, all challenges can be
    /// answered, by y of halves. This is why answers are hidden with *twice* an encryption of 0.
    #[test]
    fn a_key_of_halves_has_a_proof() {
        let (key, _) = key(4096, 8);
        let (a, basis) = (key.public_key().a(), key.parameters().basis());
        let half: Vec<_> = basis.moduli().map(|q| q.inverse(2)).collect();
        let twice_s = [1i32; 4096];
        let mut b = -(&a * &Poly::from_signed(basis, &twice_s).into_evaluations());
        b.scale(&half);
        let statement = Statement::new([0; 32], a, b);

        let odd = |rng| mask(4096, rng).iter().map(|y| y | 1).collect();
        let twice_y: Vec<Vec<i32>> =
            streams(REPETITIONS, &mut rng()).into_iter().map(odd).collect();
        let commitments = twice_y.iter().map(|y| {
            let mut x = statement.times_a(y);
            x.scale(&half);
            statement.commitment(&x)
        });
        let hash = statement.hash(&commitments.collect::<Vec<_>>());
        let answers = twice_y.iter().zip(statement.challenges(&hash)).map(|(y, i)| {
            let moved = times_monomial(&twice_s, i, |s| -s);
            Zeroizing::new(y.iter().zip(moved).map(|(y, s)| (y - s) / 2).collect())
        });
        assert!(statement.verify(&write(&hash, &answers.collect::<Vec<_>>())));
    }

    /// g·(1 − Xᵏ) = 2 for the sum g of the powers of Xᵏ below the (N/2^j)-th, where 2^j is the even part of k.
    #[test]
    fn twice_the_inverse_of_a_difference_of_challenges_is_small() {
        let n = 64;
        for k in 1..2 * n {
            let mut g = vec![0i32; n];
            for power in 0..n >> k.trailing_zeros() {
                let at = power * k % (2 * n);
                g[at % n] += if at < n { 1 } else { -1 };
            }
            assert!(g.iter().all(|x| x.abs() <= 1), "{k}");
            let moved = times_monomial(&g, k, |x| -x);
            let product: Vec<_> = g.iter().zip(moved).map(|(g, moved)| g - moved).collect();
            assert_eq!((product[0], product.iter().filter(|&&x| x != 0).count()), (2, 1), "{k}");
        }
    }

    #[test]
    fn monomials_wrap_with_a_sign() {
        let times = |i| times_monomial(&[1, 2, 3, 4], i, |x: i32| -x).collect::<Vec<_>>();
        assert_eq!([0, 1, 3].map(times), [[1, 2, 3, 4], [-4, 1, 2, 3], [-2, -3, -4, 1]]);
        assert_eq!([4, 5, 7].map(times), [[-1, -2, -3, -4], [4, -1, -2, -3], [2, 3, 4, -1]]);
    }

    /// By exhaustion: for each coefficient of Xⁱ·s, each z of the box comes of one y, and so do all that are out of it.
    #[test]
    fn a_coefficient_that_is_shown_is_uniform_whatever_the_secret() {
        let degree = 4096;
        let bound = mask_bound(degree);
        for s in [-1, 0, 1] {
            let shown = (-bound..bound).map(|y| y - s).filter(|&z| in_box(z, degree));
            let mut shown: Vec<_> = shown.collect();
            shown.sort_unstable();
            assert!(shown.into_iter().eq(1 - bound..bound - 1));
        }
    }

    /// The same of whole proofs, within six standard deviations; 123,000 numbers a class.
    #[test]
    fn answers_have_the_same_mean_and_variance_for_each_coefficient_of_the_secret() {
        let ((key, secret), rng) = (key(4096, 4), &mut rng());
        let statement = key.public_key().statement();
        let mut classes = [(); 3].map(|()| Vec::new());
        for _ in 0..9 {
            let proof = statement.prove(&secret, rng);
            let (hash, answers) = read(4096, &proof).unwrap();
            for (z, i) in answers.chunks(4096).zip(statement.challenges(&hash)) {
                for (&z, s) in z.iter().zip(times_monomial(secret.values(), i, |s| -s)) {
                    // As a fraction of B, moved to mean 0.
                    let z = (f64::from(z) + 0.5) / f64::from(mask_bound(4096));
                    classes[usize::try_from(s + 1).unwrap()].push(z);
                }
            }
        }
        for z in classes {
            let n = z.len() as f64;
            let moment = |power| z.iter().map(|z| z.powi(power)).sum::<f64>() / n;
            assert!(n > 100_000.0);
            assert!(moment(1).abs() < 6.0 * (1.0 / 3.0 / n).sqrt(), "{}", moment(1));
            assert!((moment(2) - 1.0 / 3.0).abs() < 6.0 * (4.0 / 45.0 / n).sqrt(), "{}", moment(2));
        }
    }
}
