//! Weights cut into digits, each algorithm in its own way.

/// The widest window of [`Wnaf`].
pub(super) const WIDEST: usize = 11;

/// The most numbers that [`planes`] reads across.
pub(super) const MOST: usize = 16;

/// Bits of k in two's complement, the sign included: 1 for 0 and −1, 2 for 1 and −2.
pub(super) fn signed_length(k: i128) -> usize {
    (i128::BITS + 1 - (k ^ (k >> 127)).leading_zeros()) as usize
}

/// Bits of |k|.
pub(super) fn length(k: i128) -> usize {
    (u128::BITS - k.unsigned_abs().leading_zeros()) as usize
}

/// Reads up to [`MOST`] numbers across: bit i of `out[p]` is bit p of number i in two's complement.
pub(super) fn planes(numbers: &[i128], out: &mut [u16]) {
    debug_assert!(numbers.len() <= MOST);
    let mut bytes = [[0; 16]; MOST];
    for (bytes, number) in bytes.iter_mut().zip(numbers) {
        *bytes = number.to_le_bytes();
    }
    let halves = numbers.len().div_ceil(8);
    for (k, out) in out.chunks_mut(8).enumerate() {
        out.fill(0);
        for half in 0..halves {
            let column = core::array::from_fn(|i| bytes[8 * half + i][k]);
            let across = transpose(u64::from_le_bytes(column)).to_le_bytes();
            for (out, byte) in out.iter_mut().zip(across) {
                *out |= u16::from(byte) << (8 * half);
            }
        }
    }
}

/// Transposes a square of 8 × 8 bits, row i being byte i (Warren, *Hacker's Delight*, section 7-3).
fn transpose(mut x: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let t = (x ^ (x >> shift)) & mask;
        x ^= t ^ (t << shift);
    }
    x
}

/// A row of bits, made of numbers behind each other and cut elsewhere.
#[derive(Default)]
pub(super) struct BitString {
    words: Vec<u64>,
    len: usize,
}

impl BitString {
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.len = 0;
    }

    /// Appends the low `count` bits of `number`.
    pub(super) fn push(&mut self, number: i128, count: usize) {
        let number = number.cast_unsigned();
        for at in (0..count).step_by(32) {
            let here = (count - at).min(32);
            let bits = (number >> at) & ((1 << here) - 1);
            let bits = u64::try_from(bits).expect("at most 32 bits");
            let (word, shift) = (self.len / 64, self.len % 64);
            self.words.resize((self.len + here).div_ceil(64), 0);
            self.words[word] |= bits << shift;
            if shift + here > 64 {
                self.words[word + 1] |= bits >> (64 - shift);
            }
            self.len += here;
        }
    }

    /// `count` ≤ 16 bits from number `start` on.
    pub(super) fn cut(&self, start: usize, count: usize) -> u16 {
        let word = |i: usize| u128::from(self.words.get(i).copied().unwrap_or(0));
        let wide = word(start / 64) | word(start / 64 + 1) << 64;
        let bits = (wide >> (start % 64)) & ((1 << count) - 1);
        u16::try_from(bits).expect("at most 16 bits")
    }
}

/// The digits ≠ 0 of a number in width-w non-adjacent form, as (bit position, odd digit).
///
/// k = Σ digit·2^position with |digit| < 2^(w−1), and any w positions in a row have one digit.
pub(super) struct Wnaf {
    rest: u128,
    position: usize,
    width: usize,
}

impl Wnaf {
    /// For `k` ≤ 2^127 and 2 ≤ `width` ≤ [`WIDEST`].
    pub(super) fn new(k: u128, width: usize) -> Self {
        Self { rest: k, position: 0, width }
    }
}

impl Iterator for Wnaf {
    type Item = (usize, i16);

    fn next(&mut self) -> Option<(usize, i16)> {
        if self.rest == 0 {
            return None;
        }
        let zeros = self.rest.trailing_zeros();
        self.rest >>= zeros;
        self.position += zeros as usize;
        // The low `width` bits as a number in (−2^(width−1), 2^(width−1)). It is odd.
        let modulus = 1i16 << self.width;
        let low = i16::try_from(self.rest & (modulus.unsigned_abs() - 1) as u128);
        let low = low.expect("at most 11 bits");
        let digit = if low >= modulus / 2 { low - modulus } else { low };
        // No overflow: rest ≤ 2^127 and |digit| < 2^10.
        self.rest = self.rest.wrapping_sub(i128::from(digit).cast_unsigned());
        Some((self.position, digit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint_dig::BigInt;
    use proptest::prelude::*;

    fn weight() -> impl Strategy<Value = i128> {
        let edges = vec![0, 1, -1, 2, -2, 127, -128, i128::MAX, i128::MIN, i128::MIN + 1];
        prop_oneof![prop::sample::select(edges), -2048i128..2048, any::<i128>()]
    }

    proptest! {
        #[test]
        fn digits_are_odd_apart_and_sum_to_the_number(k in weight(), width in 2usize..=WIDEST) {
            let digits: Vec<_> = Wnaf::new(k.unsigned_abs(), width).collect();
            let sum: BigInt = digits.iter().map(|&(pos, d)| BigInt::from(d) << pos).sum();
            prop_assert_eq!(sum, BigInt::from(k.unsigned_abs()));
            for &(position, d) in &digits {
                prop_assert!(d % 2 != 0 && d.unsigned_abs() < 1 << (width - 1));
                prop_assert!(position <= length(k));
            }
            for pair in digits.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= width);
            }
        }

        #[test]
        fn planes_are_bits(
            numbers in prop::collection::vec(weight(), 1..=MOST),
            count in 1usize..=128,
        ) {
            let mut got = vec![0xffff; count];
            planes(&numbers, &mut got);
            for (p, got) in got.into_iter().enumerate() {
                let bits = numbers.iter().enumerate().map(|(i, k)| (k >> p & 1) << i);
                prop_assert_eq!(i128::from(got), bits.sum::<i128>());
            }
        }

        #[test]
        fn bit_strings_are_cut_where_one_likes(
            numbers in prop::collection::vec(weight(), 1..20),
            count in 1usize..=128,
            width in 1usize..=13,
        ) {
            let mut string = BitString::default();
            numbers.iter().for_each(|&k| string.push(k, count));
            for start in (0..numbers.len() * count).step_by(width) {
                let bit = |i: usize| {
                    numbers.get(i / count).map_or(0, |k| (k >> (i % count) & 1) as usize)
                };
                let expected: usize = (0..width).map(|i| bit(start + i) << i).sum();
                prop_assert_eq!(usize::from(string.cut(start, width)), expected);
            }
        }

        #[test]
        fn lengths(k in weight()) {
            let bits = signed_length(k);
            let fits = |k: i128, bits: usize| bits >= 128 || k >> (bits - 1) == k >> 127;
            prop_assert!(fits(k, bits));
            prop_assert!(bits == 1 || !fits(k, bits - 1));
            prop_assert!(length(k) == 128 || k.unsigned_abs() >> length(k) == 0);
        }
    }
}
