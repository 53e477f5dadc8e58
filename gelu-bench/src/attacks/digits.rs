//! Many small numbers in one large one: Σ dᵢ·2^(w·i), and back.

use num_bigint_dig::{BigInt, BigUint};

/// Reads `count` signed digits of `width` bits, the lowest first.
///
/// Digits d with |d| < 2^(width−1) come back as they went in, also from a number that something was
/// added to above their 2^(width·count).
///
/// # Panics
/// When `width` is 0 or above 64.
pub fn read(number: &BigInt, width: usize, count: usize) -> Vec<i128> {
    assert!((1..=64).contains(&width), "digits of 1 to 64 bits");
    // With half a digit added to each, all digits are non-negative and no borrow crosses them.
    let half = 1_i128 << (width - 1);
    let bias = (0..count).map(|i| BigInt::from(half) << (width * i)).sum::<BigInt>();
    let modulus = BigInt::from(1) << (width * count);
    let biased = ((number + bias) % &modulus + &modulus) % &modulus;
    let bytes = biased.to_bytes_le().1;
    let bit = |at: usize| i128::from(bytes.get(at / 8).is_some_and(|b| b >> (at % 8) & 1 == 1));
    let digit = |i: usize| (0..width).map(|k| bit(width * i + k) << k).sum::<i128>();
    (0..count).map(|i| digit(i) - half).collect()
}

/// As [`read`], where only the lowest `bits` bits of the number mean something; a topmost digit that
/// is cut takes its sign from the bits that it has.
pub fn read_short(number: &BigInt, width: usize, bits: usize) -> Vec<i128> {
    let (half, modulus) = (BigInt::from(1) << (bits - 1), BigInt::from(1) << bits);
    let low = ((number + &half) % &modulus + &modulus) % &modulus - half;
    read(&low, width, bits.div_ceil(width))
}

/// 2^(w·i): what the number in place `i` is multiplied by.
pub fn place(width: usize, i: usize) -> BigUint {
    BigUint::from(1u8) << (width * i)
}

/// How many numbers were read as they are.
pub fn right(read: &[i128], truth: &[i128]) -> usize {
    read.iter().zip(truth).filter(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_whatever_is_above_them() {
        let digits: Vec<i128> = vec![-2047, 0, 2047, -1, 1, 5];
        let sum: BigInt = digits
            .iter()
            .enumerate()
            .map(|(i, &d)| BigInt::from(d) * BigInt::from(place(12, i)))
            .sum();
        assert_eq!(read(&sum, 12, 6), digits);
        assert_eq!(read(&(&sum + (BigInt::from(77) << 72)), 12, 6), digits);
        assert_eq!(read(&(&sum - (BigInt::from(77) << 72)), 12, 6), digits);
        assert_eq!(right(&read(&sum, 12, 6), &digits), 6);
        assert_eq!(read_short(&sum, 12, 46), [-2047, 0, 2047, -1], "the fourth has ten bits");
        assert!(right(&read(&sum, 11, 6), &digits) < 3, "the wrong width reads something else");
    }
}
