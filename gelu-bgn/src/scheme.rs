//! The cryptosystem: two levels, and the one multiplication between them.
//!
//! # Laws
//! For integers a, b and k whose results stay within the decoder's range, with ⟦a⟧ any encryption of
//! a, on level 1 in G1 or in G2 and on level 2 in GT alike unless the table says otherwise:
//!
//! | call                        | decrypts to                                        |
//! |-----------------------------|----------------------------------------------------|
//! | `encrypt(a)`, by anybody or by the owner | a                                                  |
//! | `trivial(a)`                | a, without hiding it                               |
//! | `add(⟦a⟧, ⟦b⟧)`             | a + b                                              |
//! | `add_plain(⟦a⟧, b)`         | a + b                                              |
//! | `mul_plain(⟦a⟧, k)`         | k · a                                              |
//! | `linear_combination(kᵢ, ⟦aᵢ⟧)` | Σ kᵢ · aᵢ                                       |
//! | `mul(⟦a⟧ in G1, ⟦b⟧ in G2)` | a · b, on level 2                                  |
//! | `scalar_product(⟦aᵢ⟧, ⟦bᵢ⟧)` | Σ aᵢ · bᵢ, on level 2                             |
//! | `rerandomize(⟦a⟧)`          | a, distributed like a fresh encryption of a        |
//! | `seal(⟦a⟧)`                 | level 2: the same, as the only thing with bytes    |
//!
//! Out of range there is no answer: [`Error::Decryption`], never a wrong number. All this is
//! arithmetic modulo the 255-bit order r, so a sum leaves the decoder's range long before it wraps.
//!
//! # Security
//! IND-CPA if decisional Diffie–Hellman is hard in G1 and in G2 (SXDH). `rerandomize` adds a uniform
//! encryption of zero: its result depends on the plaintext alone, whatever the key's owner knows and
//! however the key was made, because every key that is read is a pair of group elements other than
//! the identity.

use gelu_core::error::ApiMisuse;
use gelu_core::{Error, Result};
use rand_core::CryptoRng;
use rayon::prelude::*;

use crate::decode::Decoder;
use crate::group::{G1, G2, Group, Gt, Pairs, Scalar, Source, pair};
use crate::keys::{PublicKey, SecretKey};
use crate::sums::{added, sum};

/// (m·g + ρ·y, ρ·g): an integer on level 1, encrypted by lifted ElGamal in `G`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ciphertext<G: Source>(pub(crate) [G; 2]);

/// An integer on level 2: four elements of GT, made by a multiplication, or added up from such.
///
/// The randomness in it is the randomness of the factors, which others may know. So it has no bytes:
/// [`PublicKey::seal`] first.
#[derive(Clone, Debug, PartialEq)]
pub struct Product(pub(crate) [Gt; 4]);

/// A [`Product`] that may leave the server: rerandomised. There is no other way to make one, and
/// nothing else on level 2 can be written into a message.
#[derive(Clone, Debug)]
pub struct SealedProduct(Product);

impl SealedProduct {
    pub(crate) fn inner(&self) -> &Product {
        &self.0
    }
}

/// The source groups as the scheme sees them.
pub trait Half: Source {
    /// This half of a key.
    #[doc(hidden)]
    fn key(public: &PublicKey) -> &Self;
    /// This half of a secret.
    #[doc(hidden)]
    fn secret(secret: &SecretKey) -> &Scalar;
    /// m·e(g₁, g₂), where `parts` encrypt m.
    #[doc(hidden)]
    fn open(secret: &SecretKey, parts: &[Self; 2]) -> Gt;
}

impl Half for G1 {
    fn key(public: &PublicKey) -> &Self {
        public.y1()
    }

    fn secret(secret: &SecretKey) -> &Scalar {
        secret.secrets().0
    }

    fn open(secret: &SecretKey, [masked, hint]: &[Self; 2]) -> Gt {
        pair(&[masked.plus(&hint.times(&secret.weights()[0]))], &[G2::generator()])
    }
}

impl Half for G2 {
    fn key(public: &PublicKey) -> &Self {
        public.y2()
    }

    fn secret(secret: &SecretKey) -> &Scalar {
        secret.secrets().1
    }

    fn open(secret: &SecretKey, [masked, hint]: &[Self; 2]) -> Gt {
        pair(&[G1::generator()], &[masked.plus(&hint.times(&secret.weights()[1]))])
    }
}

impl PublicKey {
    /// Encrypts on level 1, in G1 or in G2.
    pub fn encrypt<G: Half>(&self, m: i64, rng: &mut dyn CryptoRng) -> Ciphertext<G> {
        self.rerandomize(&self.trivial(m), rng)
    }

    /// ⟦m⟧ that hides nothing: a constant to compute with.
    pub fn trivial<G: Half>(&self, m: i64) -> Ciphertext<G> {
        Ciphertext([G::generator().times(&Scalar::from_i128(m.into())), G::identity()])
    }

    /// ⟦a + b⟧ on level 1.
    pub fn add<G: Half>(&self, a: &Ciphertext<G>, b: &Ciphertext<G>) -> Ciphertext<G> {
        Ciphertext(added(&a.0, &b.0))
    }

    /// ⟦a + b⟧ on level 1, in constant time.
    pub fn add_plain<G: Half>(&self, a: &Ciphertext<G>, b: i64) -> Ciphertext<G> {
        self.add(a, &self.trivial(b))
    }

    /// ⟦k · a⟧ on level 1, in time that tells the length of k.
    pub fn mul_plain<G: Half>(&self, a: &Ciphertext<G>, k: i128) -> Ciphertext<G> {
        Ciphertext(sum(&[(k, &a.0)]))
    }

    /// ⟦Σ kᵢ · aᵢ⟧ on level 1, in time that tells the kᵢ.
    ///
    /// # Errors
    /// [`ApiMisuse::Empty`] without terms.
    pub fn linear_combination<G: Half>(
        &self,
        terms: &[(i128, &Ciphertext<G>)],
    ) -> Result<Ciphertext<G>> {
        if terms.is_empty() {
            return Err(ApiMisuse::Empty("a linear combination").into());
        }
        let terms: Vec<_> = terms.iter().map(|(k, a)| (*k, &a.0)).collect();
        Ok(Ciphertext(sum(&terms)))
    }

    /// A fresh-looking ciphertext of the same integer.
    pub fn rerandomize<G: Half>(
        &self,
        a: &Ciphertext<G>,
        rng: &mut dyn CryptoRng,
    ) -> Ciphertext<G> {
        let noise = Scalar::random(rng);
        let zero = [G::key(self).times(&noise), G::generator().times(&noise)];
        Ciphertext(added(&a.0, &zero))
    }

    /// ⟦a · b⟧: four pairings. Time depends on nothing but whether a part is the identity.
    pub fn mul(&self, a: &Ciphertext<G1>, b: &Ciphertext<G2>) -> Product {
        self.scalar_product(&[(a, b)])
    }

    /// ⟦Σ aᵢ · bᵢ⟧: four Miller loops for each term, four final exponentiations in all.
    pub fn scalar_product(&self, terms: &[(&Ciphertext<G1>, &Ciphertext<G2>)]) -> Product {
        let (left, right): (Vec<_>, Vec<_>) = terms.iter().copied().unzip();
        let row: Vec<_> = (0..terms.len()).map(|i| (i, i)).collect();
        Factors::new(&left, &right).product(&row)
    }

    /// ⟦Σ aᵢ · bᵢ⟧ for each row of pairs (i, j), which stand for `left[i]` · `right[j]`: a matrix
    /// product whose factors are made ready once.
    ///
    /// # Panics
    /// When an index is out of range.
    pub fn scalar_products(
        &self,
        left: &[&Ciphertext<G1>],
        right: &[&Ciphertext<G2>],
        rows: &[Vec<(usize, usize)>],
    ) -> Vec<Product> {
        let factors = Factors::new(left, right);
        rows.par_iter().map(|row| factors.product(row)).collect()
    }

    /// ⟦m⟧ on level 2 that hides nothing.
    pub fn trivial_product(&self, m: i64) -> Product {
        let zero = Gt::identity();
        Product([Gt::generator().times(&Scalar::from_i128(m.into())), zero, zero, zero])
    }

    /// A fresh encryption on level 2.
    pub fn encrypt_product(&self, m: i64, rng: &mut dyn CryptoRng) -> Product {
        self.seal(&self.trivial_product(m), rng).0
    }

    /// ⟦a + b⟧ on level 2.
    pub fn add_products(&self, a: &Product, b: &Product) -> Product {
        Product(added(&a.0, &b.0))
    }

    /// ⟦a + b⟧ on level 2, in constant time.
    pub fn add_plain_to_product(&self, a: &Product, b: i64) -> Product {
        self.add_products(a, &self.trivial_product(b))
    }

    /// ⟦k · a⟧ on level 2, in time that tells the length of k.
    pub fn mul_product_plain(&self, a: &Product, k: i128) -> Product {
        Product(sum(&[(k, &a.0)]))
    }

    /// Rerandomises, so that the product may be sent.
    ///
    /// An encryption of zero is (s₂·a + s₁·b − s₁·s₂·c, a, b, c)·e with e = e(g₁, g₂), and here a, b
    /// and c are uniform: there is no other kind, so the sum is uniform among the encryptions of its
    /// plaintext.
    pub fn seal(&self, a: &Product, rng: &mut dyn CryptoRng) -> SealedProduct {
        let noise: [Scalar; 3] = core::array::from_fn(|_| Scalar::random(rng));
        let minus = noise[2].negated();
        let [s1, s2, s1_s2] = self.lifted();
        let first = Gt::linear(&[(s2, &noise[0]), (s1, &noise[1]), (s1_s2, &minus)]);
        let [b, c, d] = noise.map(|noise| Gt::generator().times(&noise));
        SealedProduct(Product(added(&a.0, &[first, b, c, d])))
    }
}

/// Ciphertexts made ready for multiplications.
struct Factors(Pairs);

impl Factors {
    fn new(left: &[&Ciphertext<G1>], right: &[&Ciphertext<G2>]) -> Self {
        let left: Vec<_> = left.iter().flat_map(|c| c.0).collect();
        let right: Vec<_> = right.iter().flat_map(|c| c.0).collect();
        Self(Pairs::new(&left, &right))
    }

    /// (s, t)·(s', t') = (e(s, s'), e(s, t'), e(t, s'), e(t, t')).
    fn product(&self, row: &[(usize, usize)]) -> Product {
        let part = |left: usize, right: usize| {
            self.0.sum(|i| 2 * row[i].0 + left, |i| 2 * row[i].1 + right, row.len())
        };
        Product([part(0, 0), part(0, 1), part(1, 0), part(1, 1)])
    }
}

impl SecretKey {
    /// [`PublicKey::encrypt`] by the key's owner, who saves a multiplication: ((m + ρ·s)·g, ρ·g).
    pub fn encrypt<G: Half>(&self, m: i64, rng: &mut dyn CryptoRng) -> Ciphertext<G> {
        let noise = Scalar::random(rng);
        let masked = Scalar::from_i128(m.into()).plus(&noise.product(G::secret(self)));
        Ciphertext([G::generator().times(&masked), G::generator().times(&noise)])
    }

    /// Decrypts level 1: one multiplication of a point and one pairing, both in constant time, then
    /// the [`Decoder`]'s search.
    ///
    /// # Errors
    /// [`Error::Decryption`] when the integer is out of range, or the key is another.
    pub fn decrypt<G: Half>(&self, c: &Ciphertext<G>, decoder: Decoder) -> Result<i64> {
        decoder.decode(&G::open(self, &c.0)).ok_or(Error::Decryption)
    }

    /// Decrypts level 2: c₀ − s₂·c₁ − s₁·c₂ + s₁·s₂·c₃ in constant time, then the search.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub fn decrypt_product(&self, c: &Product, decoder: Decoder) -> Result<i64> {
        let [minus_s1, minus_s2, s1_s2] = self.weights();
        let [c0, c1, c2, c3] = &c.0;
        let rest = Gt::linear(&[(c1, minus_s2), (c2, minus_s1), (c3, s1_s2)]);
        decoder.decode(&c0.plus(&rest)).ok_or(Error::Decryption)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha20Rng};
    use std::sync::LazyLock;

    static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::generate(&mut rng(1)));

    fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    fn decoder() -> Decoder {
        Decoder::new(33, 14).unwrap()
    }

    /// Every row of the table, for level 1 in one group.
    fn level1<G: Half>(a: i64, b: i64, k: i64, rng: &mut dyn CryptoRng) {
        let key = KEY.public_key();
        let expect = |law: &str, expected: i64, c: &Ciphertext<G>| {
            assert_eq!(KEY.decrypt(c, decoder()), Ok(expected), "{law}: {a} {b} {k}");
        };
        let (ca, cb) = (key.encrypt::<G>(a, rng), key.encrypt::<G>(b, rng));
        expect("encrypt", a, &ca);
        expect("encrypt by the owner", a, &KEY.encrypt(a, rng));
        expect("trivial", a, &key.trivial(a));
        expect("add", a + b, &key.add(&ca, &cb));
        expect("add_plain", a + b, &key.add_plain(&ca, b));
        expect("mul_plain", k * a, &key.mul_plain(&ca, k.into()));
        let terms = [(k.into(), &ca), (-1, &cb), (2, &ca)];
        expect("linear_combination", (k + 2) * a - b, &key.linear_combination(&terms).unwrap());
        let again = key.rerandomize(&ca, rng);
        expect("rerandomize", a, &again);
        assert!(again.0[0] != ca.0[0] && again.0[1] != ca.0[1]);
    }

    /// Every row of the table, for level 2.
    fn level2(a: i64, b: i64, k: i64, rng: &mut dyn CryptoRng) {
        let key = KEY.public_key();
        let expect = |law: &str, expected: i64, c: &Product| {
            assert_eq!(KEY.decrypt_product(c, decoder()), Ok(expected), "{law}: {a} {b} {k}");
        };
        let (left, right) = (key.encrypt::<G1>(a, rng), key.encrypt::<G2>(b, rng));
        let ab = key.mul(&left, &right);
        expect("mul", a * b, &ab);
        expect("mul by a constant", a * k, &key.mul(&left, &key.trivial(k)));
        let ck = key.encrypt_product(k, rng);
        expect("encrypt", k, &ck);
        expect("trivial", k, &key.trivial_product(k));
        expect("add", a * b + k, &key.add_products(&ab, &ck));
        expect("add_plain", a * b + k, &key.add_plain_to_product(&ab, k));
        expect("mul_plain", a * k, &key.mul_product_plain(&key.encrypt_product(a, rng), k.into()));
        let more = (key.encrypt::<G1>(k, rng), key.encrypt::<G2>(-1, rng));
        let terms = [(&left, &right), (&more.0, &more.1), (&left, &more.1)];
        expect("scalar_product", a * b - k - a, &key.scalar_product(&terms));
        let rows = [vec![(0, 0), (1, 1), (0, 1)], vec![(1, 0)], vec![]];
        let all = key.scalar_products(&[&left, &more.0], &[&right, &more.1], &rows);
        expect("scalar_products", a * b - k - a, &all[0]);
        expect("scalar_products", k * b, &all[1]);
        expect("scalar_products", 0, &all[2]);
        let sealed = key.seal(&ab, rng);
        expect("seal", a * b, sealed.inner());
        assert!((0..4).all(|i| sealed.inner().0[i] != ab.0[i]));
    }

    #[test]
    fn laws_at_the_edges() {
        let rng = &mut rng(2);
        for (a, b, k) in [(0, 0, 0), (1, -1, 1), (-1, -1, -1), (40_000, -40_000, 40_000)] {
            level1::<G1>(a, b, k, rng);
            level1::<G2>(a, b, k, rng);
            level2(a, b, k, rng);
        }
        let none: [(i128, &Ciphertext<G1>); 0] = [];
        assert!(KEY.public_key().linear_combination(&none).is_err());
    }

    /// 2^31 is out of a range of 32 bits, and the sum of two integers in range may be out of it.
    #[test]
    fn overflow_has_no_answer() {
        let (key, rng, decoder) = (KEY.public_key(), &mut rng(3), Decoder::new(16, 8).unwrap());
        let most = (1 << 15) - 1;
        let c = key.encrypt::<G1>(most, rng);
        assert_eq!(KEY.decrypt(&c, decoder), Ok(most));
        assert_eq!(KEY.decrypt(&key.add_plain(&c, 1), decoder), Err(Error::Decryption));
        assert_eq!(KEY.decrypt(&key.mul_plain(&c, 1 << 100), decoder), Err(Error::Decryption));
        let square = key.mul(&c, &key.encrypt(2, rng));
        assert_eq!(KEY.decrypt_product(&square, decoder), Err(Error::Decryption));
        let other = SecretKey::generate(rng);
        assert_eq!(other.decrypt(&c, decoder), Err(Error::Decryption));
        assert_eq!(other.decrypt_product(&square, decoder), Err(Error::Decryption));
    }

    /// The order in which a sum of products is computed does not show, once it is sealed.
    #[test]
    fn sealing_starts_afresh() {
        let (key, zero) = (KEY.public_key(), Product([Gt::identity(); 4]));
        let product = key.mul(&key.encrypt(3, &mut rng(4)), &key.encrypt(5, &mut rng(5)));
        let sealed = |p: &Product, seed| key.seal(p, &mut rng(seed)).0;
        let difference =
            |a: &Product, b: &Product| core::array::from_fn(|i| a.0[i].plus(&b.0[i].minus()));
        let noise: [Gt; 4] = difference(&sealed(&product, 6), &product);
        assert_eq!(noise, sealed(&zero, 6).0, "noise that does not depend on what it hides");
        assert_ne!(noise, sealed(&zero, 7).0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn laws_at_random(
            a in -40_000i64..40_000, b in -40_000i64..40_000, k in -40_000i64..40_000,
            seed in any::<u64>(),
        ) {
            let rng = &mut rng(seed);
            level1::<G1>(a, b, k, rng);
            level1::<G2>(a, b, k, rng);
            level2(a, b, k, rng);
        }
    }
}
