//! Sums in the field of 2^128 elements, and a bit matrix on its other side.

use zeroize::Zeroizing;

use crate::garble::low;
use crate::kernel::Kernel;

/// Σ a\[i\]·b\[i\] modulo X^128 + X^7 + X^2 + X + 1. Bit i is the coefficient of X^i.
pub(crate) fn inner_product(kernel: Kernel, a: &[u128], b: &[u128]) -> u128 {
    let [low, middle, high] = kernel.carryless_sum(a, b);
    let (low, high) = (low ^ (middle << 64), high ^ (middle >> 64));
    // X^128 = X^7 + X^2 + X + 1; what that carries over X^127 is folded once more.
    let over = (high >> 127) ^ (high >> 126) ^ (high >> 121);
    let high = high ^ over;
    low ^ high ^ (high << 1) ^ (high << 2) ^ (high << 7)
}

/// Turns 128 rows of 128 bits over: bit i of row k becomes bit k of row i. (Eklundh's: blocks of 64 change
/// sides, then blocks of 32 inside them, and so on.)
pub(crate) fn transpose(rows: &mut [u128; 128]) {
    let (upper, lower) = rows.split_at_mut(64);
    for (a, b) in upper.iter_mut().zip(lower) {
        let half = u128::from(u64::MAX);
        (*a, *b) = ((*a & half) | (*b << 64), (*a >> 64) | (*b & !half));
    }
    // From here on nothing crosses a half, and halves are what vectors are made of.
    let mut halves = Zeroizing::new(rows.map(|row| [low(row), low(row >> 64)]));
    let (mut side, mut mask) = (32, u64::MAX >> 32);
    while side > 0 {
        for block in halves.chunks_exact_mut(2 * side) {
            let (upper, lower) = block.split_at_mut(side);
            for (a, b) in upper.as_flattened_mut().iter_mut().zip(lower.as_flattened_mut()) {
                let differ = ((*a >> side) ^ *b) & mask;
                *a ^= differ << side;
                *b ^= differ;
            }
        }
        side /= 2;
        mask ^= mask << side;
    }
    for (row, [low, high]) in rows.iter_mut().zip(halves.iter()) {
        *row = u128::from(*low) | u128::from(*high) << 64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit: Horner with a shift and a reduction.
    fn product(a: u128, b: u128) -> u128 {
        (0..128).rev().fold(0u128, |sum, place| {
            let reduced = if sum >> 127 == 1 { sum << 1 ^ 0x87 } else { sum << 1 };
            if b >> place & 1 == 1 { reduced ^ a } else { reduced }
        })
    }

    proptest! {
        #[test]
        fn sums_of_products_are_those_of_the_field(
            a in prop::collection::vec(any::<u128>(), 0..5),
            b in prop::collection::vec(any::<u128>(), 5),
        ) {
            let b = &b[..a.len()];
            let expected = a.iter().zip(b).fold(0, |sum, (a, b)| sum ^ product(*a, *b));
            for kernel in Kernel::all() {
                prop_assert_eq!(inner_product(kernel, &a, b), expected, "{}", kernel.name());
            }
        }

        #[test]
        fn a_matrix_is_turned_over(rows in prop::collection::vec(any::<u128>(), 128)) {
            let mut turned: [u128; 128] = rows.clone().try_into().unwrap();
            transpose(&mut turned);
            for (k, row) in rows.iter().enumerate() {
                for (i, column) in turned.iter().enumerate() {
                    prop_assert_eq!(row >> i & 1, column >> k & 1);
                }
            }
        }
    }

    #[test]
    fn the_field_by_hand() {
        assert_eq!(inner_product(Kernel::Portable, &[1 << 127], &[2]), 0x87, "X^128");
    }
}
