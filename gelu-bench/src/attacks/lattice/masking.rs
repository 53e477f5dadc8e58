//! Weights from c₁ = Σ wᵢ·aᵢ.
//!
//! Modulo q one division gives them, by evaluations, where a has none that is 0:
//!
//! ```text
//! w = c₁ / a
//! ```
//!
//! What crosses the wire is round(2^w·c₁/q). That is a lattice problem with as many unknowns as an answer has weights:
//! each coefficient is one equation with a small error. With few weights its solution is found at once
//! ([`Wire::read`]). With thousands it is as large as the problems of ring-LWE, and not tried here; but weights are no
//! uniform secrets, and the client may name the layout with the fewest in an answer.
//!
//! An encryption of 0 makes c₁ uniform. Under two answers it does so once: their difference is Σ wᵢ·(aᵢ − aᵢ′).

use gelu_algebra::reduction::reduce;
use gelu_core::Result;
use gelu_lattice::laboratory;
use gelu_ring::{Coefficients, Evaluations, Poly};
use rand::CryptoRng;

use super::{Place, Scene};

/// c₁/a: the weights of one upload, if c₁ is what it was without an encryption of 0.
pub fn divide(c1: &Poly<Evaluations>, a: &Poly<Evaluations>) -> Vec<i128> {
    let basis = c1.basis();
    let quotient = Poly::<Evaluations>::from_residues(basis, |i, row| {
        let q = basis.moduli().nth(i).expect("a row for each prime");
        for (x, (&c, &a)) in row.iter_mut().zip(c1.residues(i).iter().zip(a.residues(i))) {
            *x = q.mul(c, q.inverse(a));
        }
    });
    quotient.into_coefficients().integers().expect("q has 105 bits")
}

/// c₁ as it crossed the wire, and the uploads that it was made of.
pub struct Wire<'a> {
    /// Modulo 2^`width`.
    pub words: &'a [u128],
    /// w.
    pub width: u32,
    /// All aᵢ.
    pub uploads: &'a [Poly<Evaluations>],
}

/// Bits of each word that are used: enough, and products of them suit floating point.
const BITS: u32 = 32;

/// Equations that are used, besides one for every two weights.
const EQUATIONS: usize = 8;

/// About the size of a weight, and of the error of an equation: what is found is of this size in each coordinate.
const SIZE: i64 = 1 << 6;

impl Wire<'_> {
    /// The weights at these places as the shortest solution that lattice reduction finds, right or not; nothing if it
    /// finds none.
    ///
    /// The lattice has the rows, of which the last one asks:
    ///
    /// ```text
    /// 2^32·(unit vectors)        0                  0
    /// aᵢ of the places           unit vectors       0
    /// −c₁                        0                  64
    /// ```
    ///
    /// Σ wᵢ·aᵢ − c₁ is small modulo 2^32, so (that, w, 64) is a short vector of it.
    pub fn read(&self, places: &[Place]) -> Vec<i128> {
        let equations = EQUATIONS + places.len() / 2;
        let degree = self.words.len();
        let at = |i: usize| i * (degree / equations);
        let short = |words: &[u128], width: u32| -> Vec<i64> {
            words
                .iter()
                .map(|word| i64::try_from(word >> (width - BITS)).expect("32 bits"))
                .collect()
        };
        let uploads: Vec<_> = self
            .uploads
            .iter()
            .map(|a| short(&laboratory::switch(a.clone().into_coefficients(), BITS), BITS))
            .collect();
        let answer = short(self.words, self.width);
        let columns = equations + places.len() + 1;
        let row = |fill: &dyn Fn(usize) -> i64, unit: usize, size: i64| {
            let mut row: Vec<i64> =
                (0..equations).map(fill).chain(vec![0; columns - equations]).collect();
            row[unit] = size;
            row
        };
        let moduli = (0..equations).map(|i| row(&|_| 0, i, 1 << BITS));
        let weights = places.iter().enumerate().map(|(t, place)| {
            // Of X^p·a, modulo X^N + 1.
            let shifted = |i: usize| match at(i).checked_sub(place.coefficient) {
                Some(from) => uploads[place.upload][from],
                None => -uploads[place.upload][at(i) + degree - place.coefficient],
            };
            row(&shifted, equations + t, 1)
        });
        let question = row(&|i| -answer[at(i)], columns - 1, SIZE);
        let mut basis: Vec<_> = moduli.chain(weights).chain([question]).collect();
        reduce(&mut basis);
        let Some(found) = basis.iter().find(|row| row[columns - 1].abs() == SIZE) else {
            return Vec::new();
        };
        let sign = found[columns - 1].signum();
        found[equations..columns - 1].iter().map(|&weight| (weight * sign).into()).collect()
    }
}

/// Which c₁ the client receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Without an encryption of 0.
    Bare,
    /// The difference of two answers under the same encryption of 0.
    ZeroTwice,
    /// The difference of two answers of the real server.
    Difference,
    /// The real one.
    Real,
}

/// The c₁ of every answer as they cross the wire, and what they are made of.
pub struct Received {
    words: Vec<Vec<u128>>,
    width: u32,
    uploads: Vec<Poly<Evaluations>>,
}

impl Received {
    /// What this server sends to one honest question, or the difference of what it sends to two.
    ///
    /// # Errors
    /// Never for a layer of this scene.
    pub fn from(server: Server, scene: &Scene, rng: &mut dyn CryptoRng) -> Result<Self> {
        let width = scene.layout.budget().wire_bits;
        let values = vec![7; scene.linear.inputs()];
        // To one question: sealed, or bare but for these encryptions of 0, one for each answer or none at all.
        let one = |zeros: Option<&[Poly<Coefficients>]>, rng: &mut dyn CryptoRng| {
            let question = scene.ask(&values, rng)?;
            let uploads = scene.uploads(&question);
            let sums = scene.evaluate(&question)?;
            let words = match zeros {
                None => scene.seal(sums, rng),
                Some(zeros) => {
                    let bare = laboratory::danger_bare(&sums).into_iter().enumerate();
                    let hidden = bare.map(|(i, [_, c1])| {
                        let mut c1 = c1.into_coefficients();
                        zeros.get(i).into_iter().for_each(|zero| c1 += zero);
                        laboratory::switch(c1, width)
                    });
                    hidden.collect()
                }
            };
            let words = words.into_iter().map(|answer| answer[..scene.degree()].to_vec());
            Result::Ok(Self { words: words.collect(), width, uploads })
        };
        match server {
            Server::Bare => one(Some(&[]), rng),
            Server::Real => one(None, rng),
            Server::Difference => Ok(one(None, rng)?.minus(&one(None, rng)?)),
            Server::ZeroTwice => {
                let zero = |_| laboratory::danger_zero(scene.public(), rng);
                let zeros: Vec<_> = (0..scene.answers()).map(zero).map(|[_, c1]| c1).collect();
                Ok(one(Some(&zeros), rng)?.minus(&one(Some(&zeros), rng)?))
            }
        }
    }

    fn minus(mut self, other: &Self) -> Self {
        for (a, b) in self.words.iter_mut().flatten().zip(other.words.iter().flatten()) {
            *a = a.wrapping_sub(*b) & ((1 << self.width) - 1);
        }
        self.uploads.iter_mut().zip(&other.uploads).for_each(|(a, b)| *a -= b);
        self
    }

    /// One of them.
    pub fn answer(&self, i: usize) -> Wire<'_> {
        Wire { words: &self.words[i], width: self.width, uploads: &self.uploads }
    }
}

/// What is left of c₁ on the wire when Σ wᵢ·aᵢ with the true weights is taken away: the mean size, as a share of the
/// modulus. Nothing if c₁ is bare, 1/4 if it is uniform, whatever way of reading weights there may be.
pub fn rest(scene: &Scene, wire: &Wire<'_>, places: &[Place]) -> f64 {
    let mut sum = Poly::<Evaluations>::zero(scene.basis());
    for (i, a) in wire.uploads.iter().enumerate() {
        let mut weights = vec![0; scene.degree()];
        for place in places.iter().filter(|place| place.upload == i) {
            weights[place.coefficient] = scene.weights[place.weight];
        }
        let weights: Poly<Coefficients> = Poly::from_signed(scene.basis(), &weights);
        sum += &(&weights.into_evaluations() * a);
    }
    let sum = laboratory::switch(sum.into_coefficients(), wire.width);
    distance(&sum, wire.words, wire.width)
}

/// The mean distance of words, as a share of the modulus 2^`width`.
pub fn distance(a: &[u128], b: &[u128], width: u32) -> f64 {
    let modulus = 1u128 << width;
    let one = |(a, b): (&u128, &u128)| {
        let difference = a.wrapping_sub(*b) % modulus;
        difference.min(modulus - difference) as f64 / modulus as f64
    };
    a.iter().zip(b).map(one).sum::<f64>() / a.len() as f64
}

/// Whether a mean distance of `count` words is that of uniform ones, within five standard deviations: they are 1/4
/// apart, with a deviation of 1/√48 each.
pub fn uniform(distance: f64, count: usize) -> bool {
    (distance - 0.25).abs() < 5.0 / (48.0 * count as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::laboratory::{danger_bare, danger_zero};
    use super::*;
    use crate::attacks::digits;
    use gelu_core::Backend;
    use gelu_lattice::Lattice;
    use gelu_nn::zoo;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn c1_gives_all_weights_of_a_tile_unless_an_encryption_of_0_is_added() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        for (network, layout, count) in
            [(zoo::digits(), "dense/1x64x32", 2048), (zoo::conv1(), "image/1x1x5", 125)]
        {
            let scene = Scene::new(network, layout, rng).unwrap();
            let places = scene.places(0);
            assert_eq!(places.len(), count);
            let question = scene.ask(&vec![7; scene.linear.inputs()], rng).unwrap();
            let [_, mut c1] = danger_bare(&scene.evaluate(&question).unwrap()).swap_remove(0);
            let a = scene.uploads(&question).swap_remove(0);
            let read = |c1: &Poly<_>| -> Vec<_> {
                let all = divide(c1, &a);
                places.iter().map(|place| all[place.coefficient]).collect()
            };
            assert_eq!(read(&c1), scene.truth(&places));
            let [_, zero] = danger_zero(scene.public(), rng);
            c1 += &zero.into_evaluations();
            assert!(read(&c1).iter().all(|w| w.abs() > 1 << 60), "of 105 bits");
        }
    }

    /// Of iris 20 weights; of a convolution five filters of 25, in an answer each, from two uploads.
    #[test]
    fn reduction_reads_c1_on_the_wire_unless_each_has_its_own_encryption_of_0() {
        let rng = &mut ChaCha20Rng::seed_from_u64(3);
        for (network, layout) in [(zoo::iris(), "dense/1x4x5"), (zoo::conv1(), "columns/256x13x1")]
        {
            let scene = Scene::new(network, layout, rng).unwrap();
            let answer = scene.answers() - 1;
            let places = scene.places(answer);
            let truth = scene.truth(&places);
            for server in [Server::Bare, Server::ZeroTwice, Server::Difference, Server::Real] {
                let received = Received::from(server, &scene, rng).unwrap();
                let wire = received.answer(answer);
                let right = digits::right(&wire.read(&places), &truth);
                let rest = rest(&scene, &wire, &places);
                if matches!(server, Server::Bare | Server::ZeroTwice) {
                    assert!(right == truth.len() && rest < 1e-9, "{layout}, {server:?}: {right}");
                } else {
                    assert!(right <= 1 && uniform(rest, 4096), "{layout}, {server:?}: {right}");
                }
            }
        }
    }

    #[test]
    fn answers_to_one_question_share_nothing_also_when_seals_were_prepared() {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        let scene = Scene::new(zoo::iris(), "dense/1x4x5", rng).unwrap();
        let question = scene.ask(&[1, 2, 3, 4], rng).unwrap();
        Lattice::prepare_seals(scene.public(), &[&scene.layout; 2], rng);
        // Two from the stock, one made on the spot.
        let answers: Vec<_> = (0..3)
            .map(|_| scene.seal(scene.evaluate(&question).unwrap(), rng).swap_remove(0))
            .map(|words| words[..4096].to_vec())
            .collect();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let apart = distance(&answers[a], &answers[b], scene.layout.budget().wire_bits);
            assert!(uniform(apart, 4096), "answers {a} and {b}: {apart}");
        }
    }
}
