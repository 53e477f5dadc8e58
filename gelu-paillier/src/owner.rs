//! The key owner's arithmetic: modulo p² and q², in constant time, wiped on drop.
//!
//! Who knows the factors works modulo p² and q² (half the length, so a quarter of the work each)
//! and puts the halves together by the Chinese remainder theorem (Paillier 1999, section 7).
//!
//! ```text
//! decrypt   m_p = L_p(c^(p−1) mod p²) · h_p mod p,   L_p(u) = (u − 1)/p,   h_p = (−q)⁻¹ mod p
//! noise     rⁿ mod p², uniform, from the table of bases uᵖ mod p²
//! recombine x = x_q + q·((x_p − x_q)·q⁻¹ mod p)
//! ```
//!
//! h_p is L_p((1 + n)^(p−1) mod p²)⁻¹, since (1 + n)^(p−1) = 1 + (p−1)·n modulo p² and
//! (p−1)·q = −q modulo p.
//!
//! # Constant time
//! Exponentiations with secret exponents and products use `crypto-bigint`'s constant-time
//! routines; the division by p in L_p is a multiplication by p⁻¹ modulo a power of two; tables are
//! read in full for every digit. Decryption and encryption take the same sequence of operations for
//! all keys and values of one size. Not constant in time: key generation and the check of a loaded
//! key (primality tests, which tell how many candidates failed), and rejection sampling, whose
//! rejected values are unrelated to the accepted one.
//!
//! # Wiping
//! The factors, everything derived from them and the tables are overwritten on drop, integers on
//! the heap that pass through here likewise. Out of reach: copies that the compiler leaves in
//! registers and on the stack, and those of the prime search inside `crypto-primes`.

use std::sync::OnceLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{
    BitOps, BoxedUint, ConcatenatingSquare, CtAssign, CtEq, Limb, NonZero, Odd, Resize, Uint,
};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::noise::{BASES, SURPLUS_BITS};
use crate::power_table::{Group, PowerTable, spread};

/// Everything the owner of n = p·q knows.
pub(crate) struct Owner {
    p: Factor,
    q: Factor,
    /// q⁻¹ mod p.
    q_inverse: Zeroizing<BoxedUint>,
    /// q⁻² mod p².
    q_square_inverse: Zeroizing<BoxedUint>,
}

/// One prime factor and what decryption modulo its square needs.
struct Factor {
    prime: Zeroizing<NonZero<BoxedUint>>,
    square: Zeroizing<NonZero<BoxedUint>>,
    /// p − 1.
    order: Zeroizing<BoxedUint>,
    /// p⁻¹ mod 2^bits(p).
    inverse: Zeroizing<BoxedUint>,
    /// h_p.
    h: Zeroizing<BoxedUint>,
    /// n⁻¹ mod p − 1.
    root_exponent: Zeroizing<BoxedUint>,
    field: Box<dyn Field>,
}

impl Owner {
    /// For distinct odd primes of the same length, which makes gcd(n, φ(n)) = 1: a prime cannot
    /// divide a number of the same length minus one unless they are equal.
    ///
    /// `None` for a length that this crate was not built for.
    pub(crate) fn new(p: &BoxedUint, q: &BoxedUint) -> Option<Self> {
        let (p, q) = (Factor::new(p, q)?, Factor::new(q, p)?);
        let q_inverse = p.invert(&q.prime);
        let square =
            Zeroizing::new(q_inverse.concatenating_square().resize_unchecked(2 * p.bits()));
        // From q⁻¹ mod p to q⁻¹ mod p² (Newton): x(2 − qx); then squared.
        let wide = |x: &BoxedUint| Zeroizing::new(x.resize_unchecked(2 * p.bits()));
        let modulus = &p.square;
        let qx2 = Zeroizing::new(wide(&q.prime).mul_mod(&square.rem(modulus), modulus));
        let two_x = Zeroizing::new(wide(&q_inverse).double_mod(modulus));
        let lifted = Zeroizing::new(two_x.sub_mod(&qx2, modulus));
        let q_square_inverse = Zeroizing::new(lifted.square_mod(modulus));
        Some(Self { q_inverse, q_square_inverse, p, q })
    }

    pub(crate) fn primes(&self) -> (Zeroizing<BoxedUint>, Zeroizing<BoxedUint>) {
        let copy = |factor: &Factor| Zeroizing::new(BoxedUint::clone(factor.prime.as_ref()));
        (copy(&self.p), copy(&self.q))
    }

    /// The message of a unit modulo n², in [0, n).
    pub(crate) fn decrypt(&self, ciphertext: &BoxedUint) -> Zeroizing<BoxedUint> {
        let (p, q) = rayon::join(|| self.p.message(ciphertext), || self.q.message(ciphertext));
        recombine(&p, &q, &self.p.prime, &self.q.prime, &self.q_inverse)
    }

    /// A uniform n-th residue modulo n².
    ///
    /// `unit(i)` gives public units modulo n that nobody chose, for i below 2·[`BASES`].
    pub(crate) fn noise(
        &self,
        unit: impl Fn(u32) -> BoxedUint + Sync,
        rng: &mut dyn CryptoRng,
    ) -> Zeroizing<BoxedUint> {
        let p = self.p.noise(&|i| unit(i), rng);
        let q = self.q.noise(&|i| unit(BASES + i), rng);
        recombine(&p, &q, &self.p.square, &self.q.square, &self.q_square_inverse)
    }

    /// The n-th root of `x` modulo n, unique as gcd(n, φ(n)) = 1.
    pub(crate) fn nth_root(&self, x: &BoxedUint) -> BoxedUint {
        let (p, q) = (self.p.nth_root(x), self.q.nth_root(x));
        recombine(&p, &q, &self.p.prime, &self.q.prime, &self.q_inverse).to_owned_value()
    }
}

/// The x in [0, a·b) with x = `mod_a` modulo a and x = `mod_b` modulo b; `b_inverse` = b⁻¹ mod a.
fn recombine(
    mod_a: &BoxedUint,
    mod_b: &BoxedUint,
    a: &NonZero<BoxedUint>,
    b: &NonZero<BoxedUint>,
    b_inverse: &BoxedUint,
) -> Zeroizing<BoxedUint> {
    let mod_b_mod_a = Zeroizing::new(mod_b.rem(a));
    let difference = Zeroizing::new(mod_a.sub_mod(&mod_b_mod_a, a));
    let quotient = Zeroizing::new(difference.mul_mod(b_inverse, a));
    let mut x = Zeroizing::new((&*quotient).resize_unchecked(2 * a.bits_precision()));
    *x = x.wrapping_mul(b.as_ref());
    let low = Zeroizing::new(mod_b.resize_unchecked(x.bits_precision()));
    *x = x.wrapping_add(&*low);
    x
}

/// Hands a value that is no longer secret out of its wiping cover.
trait ToOwnedValue {
    fn to_owned_value(&self) -> BoxedUint;
}

impl ToOwnedValue for Zeroizing<BoxedUint> {
    fn to_owned_value(&self) -> BoxedUint {
        BoxedUint::clone(self)
    }
}

impl Factor {
    fn new(p: &BoxedUint, q: &BoxedUint) -> Option<Self> {
        let bits = p.bits_precision();
        let nonzero = |x: BoxedUint| Zeroizing::new(NonZero::new(x).expect("primes are not zero"));
        let prime = nonzero(p.clone());
        let square = p.resize_unchecked(2 * bits).wrapping_square();
        let field = field(&square)?;
        let order = Zeroizing::new(p.wrapping_sub(Limb::ONE));
        let q_mod_p = Zeroizing::new(q.rem(&prime));
        let minus_q = Zeroizing::new(q_mod_p.neg_mod(&prime));
        // n = pq = q modulo p − 1.
        let nonzero_order = nonzero(BoxedUint::clone(&order));
        let n_mod_order = Zeroizing::new(q.rem(&nonzero_order));
        let root_exponent = n_mod_order.invert_mod(&nonzero_order).into_option()?;
        Some(Self {
            inverse: Zeroizing::new(p.invert_mod2k(bits).0),
            root_exponent: Zeroizing::new(root_exponent),
            h: Zeroizing::new(minus_q.invert_odd_mod(&odd(&prime)).into_option()?),
            square: nonzero(square),
            order,
            prime,
            field,
        })
    }

    fn bits(&self) -> u32 {
        self.prime.bits_precision()
    }

    /// x⁻¹ mod p for a unit x.
    fn invert(&self, x: &BoxedUint) -> Zeroizing<BoxedUint> {
        let x = Zeroizing::new(x.rem(&self.prime));
        let inverse = x.invert_odd_mod(&odd(&self.prime)).into_option();
        Zeroizing::new(inverse.expect("distinct primes are units modulo each other"))
    }

    fn message(&self, ciphertext: &BoxedUint) -> Zeroizing<BoxedUint> {
        let base = Zeroizing::new(ciphertext.rem(&self.square));
        let u = self.field.pow(&base, &self.order, self.bits());
        let u_minus_one = Zeroizing::new(u.wrapping_sub(Limb::ONE));
        // u − 1 is a multiple of p below p², so its low half determines the quotient.
        let low = Zeroizing::new((&*u_minus_one).resize_unchecked(self.bits()));
        let quotient = Zeroizing::new(low.wrapping_mul(&*self.inverse));
        Zeroizing::new(quotient.mul_mod(&self.h, &self.prime))
    }

    fn noise(
        &self,
        unit: &(dyn Fn(u32) -> BoxedUint + Sync),
        rng: &mut dyn CryptoRng,
    ) -> Zeroizing<BoxedUint> {
        let base = |i: u32| {
            let unit = Zeroizing::new(unit(i).rem(&self.square));
            self.field.pow(&unit, self.prime.as_ref(), self.bits())
        };
        let exponent_bits = (self.bits() + SURPLUS_BITS).div_ceil(BASES);
        self.field.random_product(&base, exponent_bits, rng)
    }

    fn nth_root(&self, x: &BoxedUint) -> Zeroizing<BoxedUint> {
        let base = Zeroizing::new(x.rem(&self.square));
        let root = self.field.pow(&base, &self.root_exponent, self.bits());
        Zeroizing::new(root.rem(&self.prime))
    }
}

fn odd(prime: &NonZero<BoxedUint>) -> Zeroizing<Odd<BoxedUint>> {
    Zeroizing::new(Odd::new(prime.as_ref().clone()).expect("odd primes"))
}

/// Secret residues modulo p², behind one object for all sizes.
trait Field: Send + Sync {
    /// base^exponent for the low `bits` bits of the exponent; the time tells `bits` only.
    fn pow(&self, base: &BoxedUint, exponent: &BoxedUint, bits: u32) -> Zeroizing<BoxedUint>;

    /// A random product of powers of [`BASES`] bases, which must be the same at every call.
    fn random_product(
        &self,
        base: &(dyn Fn(u32) -> Zeroizing<BoxedUint> + Sync),
        exponent_bits: u32,
        rng: &mut dyn CryptoRng,
    ) -> Zeroizing<BoxedUint>;
}

fn field(square: &BoxedUint) -> Option<Box<dyn Field>> {
    const WORD: u32 = crypto_bigint::Word::BITS;
    Some(match square.bits_precision() {
        512 => Box::new(FixedField::<{ (512 / WORD) as usize }>::new(square)),
        1024 => Box::new(FixedField::<{ (1024 / WORD) as usize }>::new(square)),
        2048 => Box::new(FixedField::<{ (2048 / WORD) as usize }>::new(square)),
        3072 => Box::new(FixedField::<{ (3072 / WORD) as usize }>::new(square)),
        4096 => Box::new(FixedField::<{ (4096 / WORD) as usize }>::new(square)),
        _ => return None,
    })
}

/// The lengths of n for which [`Owner::new`] was built.
pub(crate) const KEY_BITS: [u32; 5] = [512, 1024, 2048, 3072, 4096];

/// Integers of a fixed length, because `crypto-bigint` can wipe their Montgomery parameters
/// (those of its heap-allocated integers are shared and cannot be reached).
struct FixedField<const LIMBS: usize> {
    params: FixedMontyParams<LIMBS>,
    table: OnceLock<PowerTable<Uint<LIMBS>>>,
}

impl<const LIMBS: usize> FixedField<LIMBS> {
    /// Digits of 5 bits: a row is read in full, which balances reading against multiplying.
    const WINDOW: u32 = 5;

    fn new(modulus: &BoxedUint) -> Self {
        let modulus = Zeroizing::new(Self::fixed(modulus));
        let odd = modulus.to_odd().expect("the square of an odd prime");
        Self { params: FixedMontyParams::new(odd), table: OnceLock::new() }
    }

    fn fixed(x: &BoxedUint) -> Uint<LIMBS> {
        Uint::from_le_slice(&Zeroizing::new(x.to_le_bytes()))
    }

    fn form(&self, x: &BoxedUint) -> FixedMontyForm<LIMBS> {
        FixedMontyForm::new(&Self::fixed(x), &self.params)
    }

    fn boxed(&self, montgomery: Uint<LIMBS>) -> Zeroizing<BoxedUint> {
        let value = FixedMontyForm::from_montgomery(montgomery, &self.params).retrieve();
        Zeroizing::new(BoxedUint::from(value))
    }
}

impl<const LIMBS: usize> Field for FixedField<LIMBS> {
    fn pow(&self, base: &BoxedUint, exponent: &BoxedUint, bits: u32) -> Zeroizing<BoxedUint> {
        let wide = Zeroizing::new(
            exponent.resize_unchecked(self.params.modulus().as_ref().bits_precision()),
        );
        let exponent = Zeroizing::new(Self::fixed(&wide));
        let power = self.form(base).pow_bounded_exp(&*exponent, bits);
        self.boxed(power.to_montgomery())
    }

    fn random_product(
        &self,
        base: &(dyn Fn(u32) -> Zeroizing<BoxedUint> + Sync),
        exponent_bits: u32,
        rng: &mut dyn CryptoRng,
    ) -> Zeroizing<BoxedUint> {
        let table = self.table.get_or_init(|| {
            let bases = (0..BASES).collect();
            let bases = spread(bases, |i| self.form(&base(i)).to_montgomery());
            PowerTable::new(self, bases, exponent_bits, Self::WINDOW)
        });
        self.boxed(table.random_product(self, rng))
    }
}

impl<const LIMBS: usize> Group for FixedField<LIMBS> {
    /// In Montgomery form.
    type Element = Uint<LIMBS>;

    fn one(&self) -> Uint<LIMBS> {
        *self.params.one()
    }

    fn mul(&self, a: &Uint<LIMBS>, b: &Uint<LIMBS>) -> Uint<LIMBS> {
        let form = |x: &Uint<LIMBS>| FixedMontyForm::from_montgomery(*x, &self.params);
        form(a).mul(&form(b)).to_montgomery()
    }

    /// Reads the whole row, whatever the digit.
    fn look_up(&self, row: &[Uint<LIMBS>], digit: u8) -> Uint<LIMBS> {
        let mut found = Uint::ZERO;
        for (i, entry) in (0u8..).zip(row) {
            found.ct_assign(entry, i.ct_eq(&digit));
        }
        found
    }
}

impl<const LIMBS: usize> Drop for FixedField<LIMBS> {
    fn drop(&mut self) {
        self.params.zeroize();
        if let Some(table) = self.table.get_mut() {
            table.zeroize();
        }
    }
}

impl<const LIMBS: usize> ZeroizeOnDrop for FixedField<LIMBS> {}
