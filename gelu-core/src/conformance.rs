//! The laws of [`AdditiveHE`], checked against plain integers.
//!
//! A backend's whole law test is one line:
//!
//! ```
//! # use gelu_core::{clear::{Clear, ClearKey}, conformance};
//! # use rand::{SeedableRng, rngs::ChaCha20Rng};
//! # let (secret, rng) = (ClearKey::new(1024).unwrap(), &mut ChaCha20Rng::seed_from_u64(7));
//! conformance::check::<Clear>(&secret, 20, rng);
//! ```
//!
//! [`laws`] checks all laws for given values, so that a property test can choose and shrink them.

use rand_core::CryptoRng;

use crate::error::Result;
use crate::he::{AdditiveHE, Sealed, check_block_len};
use crate::linear::{Tap, Taps};
use crate::slots::{Plaintext, SlotShape};

/// A law that does not hold, with the values that show it.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("law of `{law}` broken: expected {expected:?}, decrypted {got:?}")]
pub struct Broken {
    /// The call whose law is broken.
    pub law: &'static str,
    /// What plain integers give.
    pub expected: Vec<i128>,
    /// What the backend gives: the slots, or its error as text.
    pub got: Result<Vec<i128>, String>,
}

/// Checks every law for the edges (0, ±1, ±bound), then for `rounds` random choices.
///
/// # Panics
/// With the broken law and its values.
pub fn check<H: AdditiveHE>(secret: &H::SecretKey, rounds: u32, rng: &mut dyn CryptoRng) {
    let widths: Vec<u32> = [4, 30, 64, 127]
        .into_iter()
        .filter(|&bits| H::slots(H::public_key(secret), bits) > 0)
        .collect();
    assert!(!widths.is_empty(), "not even a slot of 4 bits");
    for &bits in &widths {
        let half = (1i128 << (bits / 2 - 1)) - 1;
        for value in [0, 1, -1, half, -half] {
            for k in [0, 1, -1, half, -half] {
                let (a, b) = ([value, -value], [half - value.abs(), value]);
                laws::<H>(secret, bits, &a, &b, k, rng).expect("a law at its edges");
            }
        }
    }
    for round in 0..rounds {
        let bits = widths[round as usize % widths.len()];
        let half = (1i128 << (bits / 2 - 1)) - 1;
        let mut draw = || {
            let high = i128::from(rng.next_u64()) << 64;
            (high | i128::from(rng.next_u64())).rem_euclid(2 * half + 1) - half
        };
        let (a, b, k) = ([draw(), draw(), draw()], [draw(), draw(), draw()], draw());
        laws::<H>(secret, bits, &a, &b, k, rng).expect("a law at random values");
    }
}

/// Checks every law for two rows of values and a factor.
///
/// All magnitudes must be below 2^(bits/2 − 1), so that every result fits a slot of `bits` bits;
/// rows are cut to what one ciphertext holds.
///
/// # Errors
/// The first [`Broken`] law.
pub fn laws<H: AdditiveHE>(
    secret: &H::SecretKey,
    bits: u32,
    a: &[i128],
    b: &[i128],
    k: i128,
    rng: &mut dyn CryptoRng,
) -> Result<(), Broken> {
    let public = H::public_key(secret);
    let capacity = H::slots(public, bits);
    let count = a.len().min(b.len()).min(capacity);
    let (a, b) = (&a[..count], &b[..count]);
    let shape = SlotShape { bits, count };
    let plain = |v: &[i128]| Plaintext::new(bits, v.to_vec()).expect("small enough values");
    let zip = |f: &dyn Fn(i128, i128) -> i128| -> Vec<i128> {
        a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
    };
    let expect = |law, expected: Vec<i128>, c: &H::Ciphertext| {
        let shape = SlotShape { bits, count: expected.len() };
        match H::decrypt(secret, c, shape) {
            Ok(got) if got.values() == expected => Ok(()),
            got => {
                let got = got.map(|p| p.values().to_vec()).map_err(|e| e.to_string());
                Err(Broken { law, expected, got })
            }
        }
    };

    let ca = H::encrypt(public, &plain(a), rng).expect("encryption of values that fit");
    let cb = H::encrypt_as_owner(secret, &plain(b), rng).expect("encryption of values that fit");
    expect("encrypt", a.to_vec(), &ca)?;
    expect("encrypt_as_owner", b.to_vec(), &cb)?;
    expect("add", zip(&|a, b| a + b), &H::add(public, &ca, &cb))?;
    expect("sub", zip(&|a, b| a - b), &H::sub(public, &ca, &cb))?;
    expect("neg", zip(&|a, _| -a), &H::neg(public, &ca))?;
    expect("add_plain", zip(&|a, b| a + b), &H::add_plain(public, &ca, &plain(b)))?;
    expect("mul_plain", zip(&|a, _| k * a), &H::mul_plain(public, &ca, k))?;

    // Three products of half-width factors need two bits more than the slot: halve one factor.
    let third = k / 4;
    let combined = H::linear_combination(public, &[(third, &ca), (-1, &cb), (third, &ca)]);
    let combined = combined.expect("three terms");
    expect("linear_combination", zip(&|a, b| 2 * third * a - b), &combined)?;

    let tap = |source, weight| Tap { source, weight };
    let rows = [vec![tap(0, 0), tap(1, 1)], vec![tap(1, 0)], vec![tap(0, 2)], vec![]];
    let taps = Taps::from_rows(rows);
    let weights = [third, -third, 0];
    let inputs = [ca.clone(), cb.clone()];
    let outputs = H::matvec(public, &taps, &weights, &inputs).expect("two inputs");
    expect("matvec, two taps", zip(&|a, b| third * a - third * b), &outputs[0])?;
    expect("matvec, one tap", zip(&|_, b| third * b), &outputs[1])?;
    expect("matvec, weight 0", zip(&|_, _| 0), &outputs[2])?;
    expect("matvec, no tap", zip(&|_, _| 0), &outputs[3])?;

    if 3 * count <= capacity {
        let all = [ca.clone(), cb.clone(), outputs[0].clone()];
        let packed = H::pack(public, &all, shape).expect("three ciphertexts");
        let expected = [a.to_vec(), b.to_vec(), zip(&|a, b| third * a - third * b)].concat();
        expect("pack", expected.clone(), &packed)?;
        let whole = SlotShape { bits, count: 3 * count };
        expect("rerandomize (packed)", expected, &H::rerandomize(public, &packed, whole, rng))?;
    }

    for group in 1..=(capacity / count).min(5) {
        let packed = H::matvec_packed(public, &taps, &weights, &inputs, group, shape);
        let packed = packed.expect("two inputs, groups that fit");
        assert_eq!(packed.len(), 4usize.div_ceil(group), "matvec_packed: number of groups");
        let expected = [
            zip(&|a, b| third * a - third * b),
            zip(&|_, b| third * b),
            zip(&|_, _| 0),
            zip(&|_, _| 0),
        ];
        for (packed, outputs) in packed.iter().zip(expected.chunks(group)) {
            expect("matvec_packed", outputs.concat(), packed)?;
        }
    }
    let none = H::matvec_packed(public, &taps, &weights, &inputs, 0, shape);
    assert!(none.is_err(), "matvec_packed in groups of 0");

    let one = H::encrypt(public, &plain(&[k]), rng).expect("encryption of a value that fits");
    let rows = [plain(a), plain(&a[..1]), plain(b)];
    let scaled = H::scale_slots(public, &one, &rows).expect("rows that fit");
    assert_eq!(scaled.len(), rows.len(), "scale_slots: number of rows");
    for (scaled, row) in scaled.iter().zip(&rows) {
        let expected = row.values().iter().map(|r| k * r).collect();
        expect("scale_slots", expected, scaled)?;
    }

    // What went over the wire is what was sealed, and sealing twice never looks the same.
    let sealed = || (ca.clone(), shape);
    let sealed = Sealed::<H>::seal(public, &[sealed(), (outputs[0].clone(), shape)], rng);
    let bytes = Sealed::to_bytes(public, &sealed);
    check_block_len::<H>(public, &bytes, 2).expect("fixed-width ciphertexts");
    let read = H::ciphertexts_from_bytes(public, &bytes, 2).expect("what was written");
    expect("rerandomize", a.to_vec(), &read[0])?;
    expect("from_bytes(to_bytes)", zip(&|a, b| third * a - third * b), &read[1])?;

    let key = H::public_key_from_bytes(&H::public_key_to_bytes(public)).expect("our own key");
    assert_eq!((&key, H::key_bits(&key)), (public, H::key_bits(public)), "key bytes round trip");
    let again = H::encrypt(&key, &plain(a), rng).expect("encryption under the key that was read");
    expect("encrypt under a key that was read", a.to_vec(), &again)
}

/// Arguments of [`laws`] for a property test: slot width, two rows and a factor, edges included.
#[cfg(any(test, feature = "proptest"))]
pub fn arguments() -> impl proptest::strategy::Strategy<Value = (u32, Vec<i128>, Vec<i128>, i128)> {
    use proptest::prelude::*;
    (4u32..=127).prop_flat_map(|bits| {
        let half = (1i128 << (bits / 2 - 1)) - 1;
        let value = prop_oneof![Just(0), Just(1.min(half)), Just(half), Just(-half), -half..=half];
        let row = || prop::collection::vec(value.clone(), 4);
        (Just(bits), row(), row(), value.clone())
    })
}
