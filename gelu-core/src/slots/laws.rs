//! The laws of slots as code, checked against plain integers.

use rand_core::CryptoRng;

use super::additive::{AdditiveHE, check_block_len, seal};
use super::digits::DigitSlots;
use super::matrix::Matrix;
use super::plaintext::{Plaintext, SlotShape};
use crate::backend::laws::Broken;
use crate::error::Result;
use crate::linear::{Tap, Taps};

/// The laws of [`AdditiveHE`], as they are printed: a call, and what it decrypts to.
pub(crate) const ADDITIVE: &[(&str, &str)] = &[
    ("encrypt(a)", "a"),
    ("encrypt_as_owner(a)", "a"),
    ("add(⟦a⟧, ⟦b⟧)", "a + b"),
    ("sub(⟦a⟧, ⟦b⟧)", "a − b"),
    ("neg(⟦a⟧)", "−a"),
    ("add_plain(⟦a⟧, b)", "a + b"),
    ("mul_plain(⟦a⟧, k)", "k · a"),
    ("linear_combination(kᵢ, ⟦aᵢ⟧)", "Σ kᵢ · aᵢ"),
    ("matvec(W, ⟦a⟧)", "(Σ W[o,i] · aᵢ)ₒ"),
    ("rerandomize(⟦a⟧)", "a"),
    ("from_bytes(to_bytes(⟦a⟧))", "a"),
];

/// The laws of [`DigitSlots`], as they are printed.
pub(crate) const DIGITS: &[(&str, &str)] = &[
    ("shift(⟦a⟧, n)", "n zeros, a"),
    ("pack(⟦a⟧, ⟦b⟧, …)", "a, b, …"),
    ("matvec_packed(W, ⟦a⟧, n)", "pack of every n outputs"),
];

/// Two rows of as many values, and a factor.
///
/// All magnitudes are below 2^(bits/2 − 1), so that every result of a law fits a slot of `bits` bits.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Bits of a slot.
    pub bits: u32,
    /// The first row.
    pub a: &'a [i128],
    /// The second row.
    pub b: &'a [i128],
    /// The factor.
    pub k: i128,
}

impl Rows<'_> {
    fn shape(&self) -> SlotShape {
        SlotShape { bits: self.bits, count: self.a.len() }
    }

    fn plain(&self, values: &[i128]) -> Plaintext {
        Plaintext::new(self.bits, values.to_vec()).expect("small enough values")
    }

    fn zip(&self, f: impl Fn(i128, i128) -> i128) -> Vec<i128> {
        self.a.iter().zip(self.b).map(|(&a, &b)| f(a, b)).collect()
    }

    /// Three products of half-width factors need two bits more than the slot: one factor is halved.
    fn third(&self) -> i128 {
        self.k / 4
    }

    /// A matrix of four outputs and two inputs, with entries `third`, −`third` and 0.
    fn matrix(&self) -> Matrix {
        let tap = |source, weight| Tap { source, weight };
        let rows = [vec![tap(0, 0), tap(1, 1)], vec![tap(1, 0)], vec![tap(0, 2)], vec![]];
        Matrix { taps: Taps::from_rows(rows), entries: vec![self.third(), -self.third(), 0] }
    }

    /// What [`matrix`](Self::matrix) makes of the two rows.
    fn products(&self) -> [(&'static str, Vec<i128>); 4] {
        let third = self.third();
        [
            ("matvec, two taps", self.zip(|a, b| third * a - third * b)),
            ("matvec, one tap", self.zip(|_, b| third * b)),
            ("matvec, weight 0", self.zip(|_, _| 0)),
            ("matvec, no tap", self.zip(|_, _| 0)),
        ]
    }

    fn expect<H: AdditiveHE>(
        &self,
        secret: &H::SecretKey,
        law: &str,
        expected: Vec<i128>,
        c: &H::Ciphertext,
    ) -> Result<(), Broken> {
        let shape = SlotShape { bits: self.bits, count: expected.len() };
        let got = H::decrypt(secret, c, shape).map(|plain| plain.values().to_vec());
        Broken::unless(law, expected, got)
    }
}

/// The laws of [`AdditiveHE`].
pub(crate) fn additive<H: AdditiveHE>(
    secret: &H::SecretKey,
    rows: &Rows<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<(), Broken> {
    let public = H::public_key(secret);
    let &Rows { a, b, k, .. } = rows;
    let (shape, third) = (rows.shape(), rows.third());
    let expect = |law, expected, c: &_| rows.expect::<H>(secret, law, expected, c);
    let ca = H::encrypt(public, &rows.plain(a), rng).expect("encryption of values that fit");
    let cb = H::encrypt_as_owner(secret, &rows.plain(b), rng).expect("values that fit");
    expect("encrypt", a.to_vec(), &ca)?;
    expect("encrypt_as_owner", b.to_vec(), &cb)?;
    expect("add", rows.zip(|a, b| a + b), &H::add(public, &ca, &cb))?;
    expect("sub", rows.zip(|a, b| a - b), &H::sub(public, &ca, &cb))?;
    expect("neg", rows.zip(|a, _| -a), &H::neg(public, &ca))?;
    expect("add_plain", rows.zip(|a, b| a + b), &H::add_plain(public, &ca, &rows.plain(b)))?;
    expect("mul_plain", rows.zip(|a, _| k * a), &H::mul_plain(public, &ca, k))?;

    let combined = H::linear_combination(public, &[(third, &ca), (-1, &cb), (third, &ca)]);
    let combined = combined.expect("three terms");
    expect("linear_combination", rows.zip(|a, b| 2 * third * a - b), &combined)?;

    let inputs = [ca.clone(), cb];
    let outputs = H::matvec(public, &rows.matrix().into(), &inputs).expect("two inputs");
    for ((law, expected), output) in rows.products().into_iter().zip(&outputs) {
        expect(law, expected, output)?;
    }

    // What went over the wire is what was sealed, and sealing twice never looks the same.
    let bytes = seal::<H>(public, &[(ca, shape), (outputs[0].clone(), shape)], rng);
    check_block_len::<H>(public, &bytes, 2).expect("fixed-width ciphertexts");
    let read = H::ciphertexts_from_bytes(public, &bytes, 2).expect("what was written");
    expect("rerandomize", a.to_vec(), &read[0])?;
    expect("from_bytes(to_bytes)", rows.products()[0].1.clone(), &read[1])?;

    let key = H::public_key_from_bytes(&H::public_key_to_bytes(secret)).expect("our own key");
    assert_eq!((&key, H::key_bits(&key)), (public, H::key_bits(public)), "key bytes round trip");
    let again =
        H::encrypt(&key, &rows.plain(a), rng).expect("encryption under a key that was read");
    expect("encrypt under a key that was read", a.to_vec(), &again)
}

/// The laws of [`DigitSlots`].
pub(crate) fn digits<H: DigitSlots>(
    secret: &H::SecretKey,
    rows: &Rows<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<(), Broken> {
    let public = H::public_key(secret);
    let (&Rows { bits, a, b, .. }, shape) = (rows, rows.shape());
    let (count, capacity) = (shape.count, H::slots(public, bits));
    let expect = |law, expected, c: &_| rows.expect::<H>(secret, law, expected, c);
    let encrypt = |values| H::encrypt_as_owner(secret, &rows.plain(values), rng);
    let inputs: Vec<_> = [a, b].map(encrypt).into_iter().collect::<Result<_>>().expect("they fit");
    let products = rows.products();

    if 3 * count <= capacity {
        let first = H::linear_combination(
            public,
            &[(rows.third(), &inputs[0]), (-rows.third(), &inputs[1])],
        );
        let all = [inputs[0].clone(), inputs[1].clone(), first.expect("two terms")];
        let packed = H::pack(public, &all, shape).expect("three ciphertexts");
        let expected = [a.to_vec(), b.to_vec(), products[0].1.clone()].concat();
        expect("pack", expected.clone(), &packed)?;
        let whole = SlotShape { bits, count: 3 * count };
        expect("rerandomize (packed)", expected, &H::rerandomize(public, &packed, whole, rng))?;
    }
    if 2 * count <= capacity {
        let expected = [vec![0; count], a.to_vec()].concat();
        expect("shift", expected, &H::shift(public, &inputs[0], count, bits))?;
    }

    let matrix = rows.matrix().into();
    for group in 1..=(capacity / count).min(5) {
        let packed = H::matvec_packed(public, &matrix, &inputs, group, shape);
        let packed = packed.expect("two inputs, groups that fit");
        assert_eq!(packed.len(), 4usize.div_ceil(group), "matvec_packed: number of groups");
        for (packed, outputs) in packed.iter().zip(products.chunks(group)) {
            let expected = outputs.iter().flat_map(|(_, row)| row).copied().collect();
            expect("matvec_packed", expected, packed)?;
        }
    }
    let none = H::matvec_packed(public, &matrix, &inputs, 0, shape);
    assert!(none.is_err(), "matvec_packed in groups of 0");
    Ok(())
}
