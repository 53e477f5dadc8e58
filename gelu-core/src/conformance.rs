//! The laws of backends, checked against plain integers.
//!
//! The whole law test of a slot scheme is one line:
//!
//! ```
//! # use gelu_core::{clear::{Clear, ClearKey}, conformance};
//! # use rand::{SeedableRng, rngs::ChaCha20Rng};
//! # let (secret, rng) = (ClearKey::new(1024).unwrap(), &mut ChaCha20Rng::seed_from_u64(7));
//! println!("{}", conformance::check::<Clear>(&secret, 20, rng));
//! ```
//!
//! [`check`] goes through both levels, the algebra of slots and the layouts, and gives a [`Report`] of what
//! held. A backend with layouts of its own calls [`check_layouts`]. [`laws`] checks the algebra for given
//! values, so that a property test can choose and shrink them.

use core::fmt;

use rand_core::CryptoRng;

pub use crate::backend::laws::Broken;
use crate::backend::{Backend, laws as layouts, share_laws};
use crate::error::Result;
pub use crate::slots::laws::Rows;
use crate::slots::{Packing, SlotBackend, laws as slots};

/// The laws that held, to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    id: &'static str,
    slots: Vec<String>,
    layouts: Vec<String>,
    shares: Vec<String>,
    secret_rate: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} keeps these laws.", self.id)?;
        if !self.slots.is_empty() {
            writeln!(f, "\nThe algebra of slots: a call decrypts to")?;
            self.slots.iter().try_for_each(|law| writeln!(f, "  {law}"))?;
        }
        writeln!(f, "\nLayouts: {}", layouts::LAYOUT)?;
        self.layouts.iter().try_for_each(|task| writeln!(f, "  {task}"))?;
        match self.shares.is_empty() {
            true => writeln!(f, "\nThere are no shares.")?,
            false => writeln!(f, "\nShares: {}", share_laws::SHARES)?,
        }
        self.shares.iter().try_for_each(|task| writeln!(f, "  {task}"))?;
        match self.secret_rate {
            true => writeln!(f, "\nA secret rate: {}", layouts::RATE),
            false => writeln!(f, "\nThere is no secret rate."),
        }
    }
}

/// Checks every law of slots for the edges (0, ±1, ±bound), then for `rounds` random choices; then
/// [`check_layouts`].
///
/// # Panics
/// With the broken law and its values.
pub fn check<H: SlotBackend>(
    secret: &H::SecretKey,
    rounds: u32,
    rng: &mut dyn CryptoRng,
) -> Report {
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
    let laws = slots::ADDITIVE.iter().chain(H::Packing::LAWS);
    let slots = laws.map(|(call, result)| format!("{call:<30} {result}")).collect();
    Report { slots, ..check_layouts::<H>(secret, rng) }
}

/// Checks the law of every layout for dense and windowed maps, forward and backward, in several batches,
/// those of shares and of the secret rate, if there are any. Where values [wrap](Backend::WRAPS) the law is checked once
/// more for weights as long as modular masks.
///
/// # Panics
/// With the broken law and its values.
pub fn check_layouts<B: Backend>(secret: &B::SecretKey, rng: &mut dyn CryptoRng) -> Report {
    let layouts = layouts::layouts::<B>(secret, rng).expect("a layout");
    let shares = share_laws::shares::<B>(secret, rng).expect("shares");
    let secret_rate = layouts::rate::<B>(secret, rng).expect("a secret rate");
    Report { id: B::ID, slots: Vec::new(), layouts, shares, secret_rate }
}

/// Checks every law of slots for two rows of values and a factor.
///
/// All magnitudes must be below 2^(bits/2 − 1), so that every result fits a slot of `bits` bits;
/// rows are cut to what one ciphertext holds.
///
/// # Errors
/// The first [`Broken`] law.
pub fn laws<H: SlotBackend>(
    secret: &H::SecretKey,
    bits: u32,
    a: &[i128],
    b: &[i128],
    k: i128,
    rng: &mut dyn CryptoRng,
) -> Result<(), Broken> {
    let count = a.len().min(b.len()).min(H::slots(H::public_key(secret), bits));
    let rows = Rows { bits, a: &a[..count], b: &b[..count], k };
    slots::additive::<H>(secret, &rows, rng)?;
    H::Packing::laws(secret, &rows, rng)
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
