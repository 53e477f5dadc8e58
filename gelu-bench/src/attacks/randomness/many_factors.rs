//! A key of many factors: what noise from too few bases lets through.
//!
//! Let n = p₁ ⋯ p_k with every pᵢ = 1 modulo 2310. For each d of 2, 3, 5, 7 and 11 a number has a
//! logarithm modulo pᵢ that is known modulo d by trying, so it is k digits modulo d. A *character* of
//! order d adds these digits up with coefficients, modulo d. It vanishes on noise from B bases if it
//! vanishes on the bases: B linear equations in k coefficients, of which k − B independent solutions are
//! left at least. Through them the client sees the randomness of the response itself,
//!
//! ```text
//! χ(c)  =  χ(Π rᵢ^(n·wᵢ))  =  Σ wᵢ·χ(rᵢ)  mod d         (n = 1 modulo d)
//! ```
//!
//! and with χⱼ(rᵢ) = 1 for i = j and 0 otherwise it reads wⱼ modulo d; modulo all five, wⱼ modulo 2310.
//! The key passes every check: its factors are above 2^16, and gcd(n, φ(n)) = 1.

use gelu_core::{AdditiveHE, Cryptosystem, SlotShape};
use gelu_paillier::{Ciphertext, PublicKey};
use num_bigint_dig::{BigInt, BigUint, ModInverse};
use num_traits::{One, ToPrimitive, Zero};

use super::{P, ciphertext, hashed_unit, low_digit};

/// Orders of the characters.
const ORDERS: [u64; 5] = [2, 3, 5, 7, 11];

/// Their product, which divides every pᵢ − 1.
const PERIOD: u64 = 2310;

/// n-th roots in a certificate.
const ROOTS: u32 = 8;

/// Digits of one number modulo the [`ORDERS`], for each factor of n.
type Digits = Vec<[u64; ORDERS.len()]>;

/// The factors of such a modulus, and an element for each whose digits are all 1.
pub struct Factors {
    n: BigUint,
    primes: Vec<u64>,
    generators: Vec<u64>,
}

impl Factors {
    /// As many as a modulus of `bits` bits has room for.
    ///
    /// # Panics
    /// Below 64 and above 4096 bits.
    pub fn of_bits(bits: usize) -> Self {
        let candidates: Vec<u64> =
            (29..2000).map(|m| m * PERIOD + 1).filter(|&p| is_prime(p)).collect();
        let product = |primes: &[u64]| primes.iter().fold(BigUint::one(), |x, &p| x * p);
        let count = (1..candidates.len()).find(|&k| product(&candidates[..=k]).bits() > bits);
        let count = count.expect("at most 4096 bits");
        let window = |start: usize| {
            let (primes, larger) = candidates[start..].split_at(count - 1);
            let product = product(primes);
            let last = larger.iter().find(|&&p| (&product * p).bits() == bits)?;
            Some((product * *last, [primes, &[*last]].concat()))
        };
        let (n, primes) = (0..).find_map(window).expect("windows grow bit by bit");
        let full = |p: u64| {
            let moves = |g: u64| ORDERS.iter().all(|d| power(g, (p - 1) / d, p) != 1);
            (2..p).find(|&g| moves(g)).expect("the group is cyclic")
        };
        let generators = primes.iter().map(|&p| full(p)).collect();
        Self { n, primes, generators }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.primes.len()
    }

    fn digits(&self, x: &BigUint) -> Digits {
        let digits = |(&p, &g): (&u64, &u64)| {
            let x = (x % p).to_u64().expect("below p");
            ORDERS.map(|d| {
                let (zeta, y) = (power(g, (p - 1) / d, p), power(x, (p - 1) / d, p));
                (0..d).find(|&e| power(zeta, e, p) == y).expect("a root of unity")
            })
        };
        self.primes.iter().zip(&self.generators).map(digits).collect()
    }

    /// The characters that vanish on the first `bases` bases of `Noise::Statistical`.
    pub fn characters(&self, bases: u32) -> Characters {
        let bases: Vec<_> =
            (0..bases).map(|i| self.digits(&hashed_unit(&self.n, "statistical", i))).collect();
        Characters(core::array::from_fn(|order| {
            let equations = bases.iter().map(|base| base.iter().map(|d| d[order]).collect());
            kernel(equations.collect(), self.count(), ORDERS[order])
        }))
    }
}

/// Independent characters for each order, their coefficients by factor of n. Number j has 1 at a place
/// where the others have 0.
pub struct Characters([Vec<Character>; ORDERS.len()]);

struct Character {
    place: usize,
    coefficients: Vec<u64>,
}

impl Characters {
    /// Bits of a response's randomness that they see.
    pub fn bits(&self) -> f64 {
        let bits = |(all, d): (&Vec<Character>, u64)| all.len() as f64 * libm::log2(d as f64);
        self.0.iter().zip(ORDERS).map(bits).sum()
    }

    /// Weights that they read from one response.
    pub fn places(&self) -> usize {
        self.0.iter().map(Vec::len).min().unwrap_or(0)
    }
}

/// A basis of the vectors of `count` coefficients with v·row = 0 modulo d for all rows.
fn kernel(mut rows: Vec<Vec<u64>>, count: usize, d: u64) -> Vec<Character> {
    let mut pivots = Vec::new();
    for column in 0..count {
        let done = pivots.len();
        let Some(found) = (done..rows.len()).find(|&r| rows[r][column] != 0) else { continue };
        rows.swap(done, found);
        let inverse = power(rows[done][column], d - 2, d);
        rows[done].iter_mut().for_each(|x| *x = *x * inverse % d);
        let pivot = rows[done].clone();
        for (r, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if r != done && factor != 0 {
                row.iter_mut().zip(&pivot).for_each(|(x, y)| *x = (*x + (d - factor) * y) % d);
            }
        }
        pivots.push(column);
    }
    let free = (0..count).filter(|column| !pivots.contains(column));
    free.map(|place| {
        let mut coefficients = vec![0; count];
        coefficients[place] = 1;
        for (row, &pivot) in rows.iter().zip(&pivots) {
            coefficients[pivot] = (d - row[place]) % d;
        }
        Character { place, coefficients }
    })
    .collect()
}

/// A key pair of many factors. The server sees a certified public key.
pub struct ManyFactors {
    factors: Factors,
    n2: BigUint,
    /// 1 modulo one pᵢ², 0 modulo the others.
    idempotents: Vec<BigUint>,
    public: PublicKey,
}

impl ManyFactors {
    /// A key of `bits` bits, for which there is one.
    ///
    /// # Errors
    /// What a server says to it.
    pub fn make(bits: usize) -> gelu_core::Result<Self> {
        let factors = Factors::of_bits(bits);
        let n2 = &factors.n * &factors.n;
        let idempotent = |&p: &u64| {
            let square = BigUint::from(p * p);
            let others = &n2 / &square;
            let inverse = (&others % &square).mod_inverse(&square).and_then(|i| i.to_biguint());
            others * inverse.expect("distinct primes")
        };
        let idempotents: Vec<_> = factors.primes.iter().map(idempotent).collect();
        // The root of the challenge modulo p is its power to 1/n modulo p − 1.
        let root = |i: u32| {
            let challenge = hashed_unit(&factors.n, "certificate", i);
            let root = |&p: &u64| {
                let order = BigUint::from(p - 1);
                let exponent = (&factors.n % &order).mod_inverse(&order);
                let exponent = exponent.and_then(|e| e.to_u64()).expect("gcd(n, φ(n)) = 1");
                power((&challenge % p).to_u64().expect("below p"), exponent, p)
            };
            let sum = factors.primes.iter().map(root).zip(&idempotents).map(|(r, e)| e * r);
            sum.sum::<BigUint>() % &factors.n
        };
        let mut bytes = vec![1];
        for number in [factors.n.clone()].into_iter().chain((0..ROOTS).map(root)) {
            let number = number.to_bytes_be();
            bytes.extend(vec![0; bits / 8 - number.len()]);
            bytes.extend(number);
        }
        let public = P::public_key_from_bytes(&bytes)?;
        Ok(Self { factors, n2, idempotents, public })
    }

    /// The public half, as the server accepted it.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The factors of n.
    pub fn factors(&self) -> &Factors {
        &self.factors
    }

    /// Honest messages, the first of them with prepared randomness: number j has 1 in the characters
    /// number j and 0 in the others.
    pub fn encrypt_prepared(&self, messages: &[u32], characters: &Characters) -> Vec<Ciphertext> {
        let one = |(j, &m): (usize, &u32)| {
            let noise = if j < characters.places() {
                let sum = (0..self.factors.count())
                    .zip(&self.idempotents)
                    .map(|(i, idempotent)| idempotent * self.residue(i, j, characters));
                sum.sum::<BigUint>() % &self.n2
            } else {
                BigUint::one()
            };
            ciphertext(&self.public, &((&self.factors.n * m + 1u8) * noise % &self.n2))
        };
        messages.iter().enumerate().map(one).collect()
    }

    /// rⁿ modulo pᵢ², for the randomness of number j.
    fn residue(&self, i: usize, j: usize, characters: &Characters) -> u64 {
        let p = self.factors.primes[i];
        let digits = characters.0.each_ref().map(|all| u64::from(all[j].place == i));
        let r = power(self.factors.generators[i], join(digits), p);
        let n = (&self.factors.n % (p * (p - 1))).to_u64().expect("below p²");
        power(r, n, p * p)
    }

    /// The attack: what a response says of the weights, modulo 2310.
    pub fn read(&self, response: &Ciphertext, characters: &Characters) -> Vec<i128> {
        let digits = self.factors.digits(&low_digit(&self.public, response));
        let weight = |j: usize| {
            let values = core::array::from_fn(|order| {
                let terms = characters.0[order][j].coefficients.iter().zip(&digits);
                terms.map(|(v, digits)| v * digits[order]).sum::<u64>() % ORDERS[order]
            });
            let weight = i128::from(join(values));
            let period = i128::from(PERIOD);
            if weight > period / 2 { weight - period } else { weight }
        };
        (0..characters.places()).map(weight).collect()
    }

    /// What everybody decrypts: the slot of a response, from its messages modulo each factor.
    pub fn decrypt(&self, response: &Ciphertext, slot: SlotShape) -> BigInt {
        let n = &self.factors.n;
        let mut bytes = Vec::new();
        P::ciphertext_to_bytes(&self.public, response, &mut bytes);
        let (high, low) = bytes.split_at(bytes.len() / 2);
        let c = BigUint::from_bytes_be(high) * n + BigUint::from_bytes_be(low);
        let message = |&p: &u64| {
            // c^(p−1) = 1 + m·n·(p − 1) modulo p².
            let c = (&c % (p * p)).to_u64().expect("below p²");
            let k = (power(c, p - 1, p * p) - 1) / p;
            let cofactor = (n / p % p).to_u64().expect("below p") * (p - 1) % p;
            u64::try_from(u128::from(k) * u128::from(power(cofactor, p - 2, p)) % u128::from(p))
                .expect("below p")
        };
        let terms = self.factors.primes.iter().map(message).zip(&self.idempotents);
        let m = terms.map(|(m, e)| e * m).sum::<BigUint>() % n;
        let half = BigUint::one() << (slot.bits as usize - 1);
        let low = (m + &half) % n % (&half << 1);
        BigInt::from(low) - BigInt::from(half)
    }
}

/// The number below 2310 with these digits modulo the [`ORDERS`].
fn join(digits: [u64; ORDERS.len()]) -> u64 {
    let fits = |x: &u64| ORDERS.iter().zip(digits).all(|(d, digit)| x % d == digit);
    (0..PERIOD).find(fits).expect("the orders are coprime")
}

fn is_prime(n: u64) -> bool {
    (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

/// base^exponent modulo m, for m below 2^64.
fn power(base: u64, mut exponent: u64, m: u64) -> u64 {
    let m = u128::from(m);
    let (mut square, mut power) = (u128::from(base) % m, 1 % m);
    while !exponent.is_zero() {
        if exponent & 1 == 1 {
            power = power * square % m;
        }
        square = square * square % m;
        exponent >>= 1;
    }
    u64::try_from(power).expect("below m")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::digits;
    use crate::attacks::randomness::{Finish, finish};
    use crate::attacks::target::Target;
    use gelu_core::Precision;
    use gelu_nn::{Activation, Model, Sequential};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;
    use rand_core::Rng;

    /// The counts of characters are those of the dimension; the seal has a base for each digit of six
    /// bits, and leaves none.
    #[test]
    fn bits_that_are_left_by_key_and_bases() {
        for (bits, count, seal) in [(2048, 111, 363), (4096, 213, 704)] {
            let factors = Factors::of_bits(bits);
            assert_eq!((factors.n.bits(), factors.count()), (bits, count));
            assert!(factors.primes.iter().all(|p| *p > 1 << 16 && p % PERIOD == 1));
            let (few, all) = (factors.characters(64), factors.characters(seal));
            let expected = (count - 64) as f64 * libm::log2(2310.0);
            assert!(few.places() >= count - 64 && few.bits() >= expected - 1e-6);
            assert!(few.bits() < expected + 12.0, "chance adds a character now and then");
            assert_eq!((all.places(), all.bits()), (0, 0.0), "{bits} bits");
            let bound = u32::try_from(bits).unwrap() / 16 + 64;
            assert!(bound <= seal && factors.characters(bound).bits() == 0.0);
        }
    }

    #[test]
    fn noise_of_64_bases_gives_47_weights_of_each_response_away() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let architecture = Sequential::dense(50, &[3], 2, Activation::Sigmoid).unwrap();
        let mut parameters = architecture.network().zeros();
        let mut draw = || i128::from(rng.next_u32() % 255) - 127;
        parameters.values_mut().for_each(|w| *w = draw());
        let model = Model::new("test", architecture, Precision::INFERENCE, parameters);
        let key = ManyFactors::make(2048).unwrap();
        assert!(key.public().is_certified());
        let target = Target::first_layer::<P>(&model.unwrap(), key.public()).unwrap();
        let characters = key.factors().characters(64);
        assert_eq!((characters.places(), characters.bits().round()), (47, 525.0));

        let inputs = key.encrypt_prepared(&[7; 50], &characters);
        let bare = target.answer_bare::<P>(key.public(), &inputs).unwrap();
        for how in [Finish::Bare, Finish::Bases(64)] {
            let sent = finish(key.public(), &bare, &target, how, &mut rng).unwrap();
            for ((response, row), offset) in sent.iter().zip(target.rows()).zip(target.offsets()) {
                let sum = row.iter().sum::<i128>() * 7 + offset;
                assert_eq!(key.decrypt(response, target.slot), sum.into(), "an honest answer");
                assert_eq!(key.read(response, &characters), row[..47], "{how:?}");
            }
        }
        // The first seals are uniform.
        let sent = finish(key.public(), &bare, &target, Finish::Sealed, &mut rng).unwrap();
        let read = sent.iter().map(|response| key.read(response, &characters));
        let right: usize = read.zip(target.rows()).map(|(a, b)| digits::right(&a, &b)).sum();
        assert!(right <= 2, "{right} of 141; chance makes 0.06");
    }

    #[test]
    fn kernels_by_hand() {
        // x + 2y + 3z = 0 modulo 7.
        let basis = kernel(vec![vec![1, 2, 3], vec![2, 4, 6]], 3, 7);
        let basis: Vec<_> = basis.iter().map(|c| (c.place, c.coefficients.clone())).collect();
        assert_eq!(basis, [(1, vec![5, 1, 0]), (2, vec![4, 0, 1])]);
        assert!(kernel(vec![vec![1, 1], vec![1, 2]], 2, 3).is_empty());
        assert_eq!(kernel(Vec::new(), 4, 2).len(), 4);
    }
}
