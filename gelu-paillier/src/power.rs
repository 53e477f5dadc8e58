//! Powers with long exponents, eight at a time: fixed windows.
//!
//! The exponent is cut into digits of w bits; each step squares w times and multiplies by one of
//! the 2^w first powers of the base. The sequence of operations depends on the exponent's length
//! only, and with [`Lookup::Scan`] so does everything that a cache could tell.
//!
//! Scanning costs about an eighth of a decryption (measured with the example `timings`), and it
//! makes shorter windows best: 4 bits instead of 5.

use crypto_bigint::BoxedUint;
use zeroize::Zeroizing;

use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// How a table is read at a secret digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// At the entry: which one it was shows in the cache.
    Direct,
    /// In full: the time and the cache are the same for all digits.
    Scan,
}

/// base^exponent for the low `bits` bits of the exponents, of which each modulus has its own: base
/// k and its power live modulo number k mod (number of moduli).
pub(crate) fn power(
    ring: &Ring,
    bases: &[&[Line]],
    exponents: &[&BoxedUint],
    bits: u32,
    lookup: Lookup,
) -> Elements {
    debug_assert_eq!(exponents.len(), ring.moduli());
    let window = match lookup {
        Lookup::Direct => 5,
        Lookup::Scan => 4,
    };
    let mut powers = ring.empty();
    powers.reserve(bases.len());
    for bases in bases.chunks(LANES) {
        let table = first_powers(ring, bases, 1 << window);
        let mut acc = Zeroizing::new(table[0].clone());
        let mut factors = Zeroizing::new(ring.zeros(bases.len()));
        let mut scratch = Zeroizing::new(ring.zeros(bases.len()));
        for position in (0..bits.div_ceil(window)).rev() {
            for k in 0..bases.len() {
                let at = position * window;
                let digit = digit(exponents[k % ring.moduli()], at, window.min(bits - at));
                let entries = core::array::from_fn::<_, 32, _>(|i| {
                    table.get(i).map_or(&[][..], |entries| entries.get(k))
                });
                let factor = factors.get_mut(k);
                match lookup {
                    Lookup::Direct => factor.copy_from_slice(entries[usize::from(digit)]),
                    Lookup::Scan => ring.kernel().select(&entries[..table.len()], digit, factor),
                }
            }
            ring.step(&mut acc, window as usize, &factors, &mut scratch);
        }
        acc.iter().for_each(|power| powers.push(power));
    }
    powers
}

/// base⁰, base¹, …, base^(count − 1), each for all bases.
fn first_powers(ring: &Ring, bases: &[&[Line]], count: usize) -> Zeroizing<Vec<Elements>> {
    let mut one = ring.empty();
    (0..bases.len()).for_each(|k| one.push(ring.one(k % ring.moduli())));
    let mut table = Zeroizing::new(Vec::with_capacity(count));
    table.push(one);
    for i in 1..count {
        let next = ring.multiply(&table[i - 1].refs(), bases);
        table.push(next);
    }
    table
}

/// `width` bits of `x`, from bit `at` on; bits beyond its precision are 0.
pub(crate) fn digit(x: &BoxedUint, at: u32, width: u32) -> u8 {
    let words = x.as_words();
    let word = |i: usize| u128::from(words.get(i).copied().unwrap_or(0));
    let i = at as usize / 64;
    let wide = (word(i) | word(i + 1) << 64) >> (at % 64);
    u8::try_from(wide & ((1 << width) - 1)).expect("at most 8 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Choice;
    use crate::oracle::{big, boxed};
    use crate::ring::Digits;
    use num_bigint_dig::BigUint;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn powers_agree_with_the_oracle(
            mut n in prop::array::uniform2(prop::array::uniform8(any::<u32>())),
            exponents in prop::array::uniform2(prop::array::uniform8(any::<u32>())),
            bits in 1u32..=256,
            bases in prop::collection::vec(any::<u64>(), 1..6),
        ) {
            for n in &mut n {
                n[0] |= 1;
                n[7] |= 1 << 31;
            }
            let n = n.map(|n| BigUint::from_slice(&n));
            let exponents = exponents.map(|e| BigUint::from_slice(&e));
            let [p, q] = [0, 1].map(|i| boxed(&n[i], 256));
            let boxed_exponents = [0, 1].map(|i| boxed(&exponents[i], 256));
            for choice in Choice::all() {
                let ring = Ring::new(&[&p, &q], choice).unwrap();
                let digits: Vec<_> = bases.iter().flat_map(|&x| [x, x ^ 1]).map(|x| Digits {
                    low: boxed(&x.into(), 256),
                    high: boxed(&BigUint::from(x >> 1), 256),
                }).collect();
                let imported = ring.import(&digits);
                for lookup in [Lookup::Direct, Lookup::Scan] {
                    let [a, b] = &boxed_exponents;
                    let powers = power(&ring, &imported.refs(), &[a, b], bits, lookup);
                    for (k, got) in ring.export(&powers.refs()).iter().enumerate() {
                        let n = &n[k % 2];
                        let base = big(&digits[k].low) + big(&digits[k].high) * n;
                        let exponent = &exponents[k % 2] % (BigUint::from(1u8) << bits as usize);
                        let expected = base.modpow(&exponent, &(n * n));
                        prop_assert_eq!(big(&got.low) + big(&got.high) * n, expected);
                    }
                }
            }
        }
    }
}
