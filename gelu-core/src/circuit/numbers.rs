//! Arithmetic on numbers of a circuit, and how they are rounded and cut off.
//!
//! A number is a list of bits in two's complement, the least significant first, the sign last. Costs are in
//! ANDs, for n bits.

use super::builder::{Bit, Builder, ZERO};

/// A signed number of at least one bit.
pub(super) type Number = Vec<Bit>;

impl Builder {
    /// a + b mod 2^n, for shares of n bits: n − 1 ANDs.
    pub(super) fn add_shares(&mut self, a: &[Bit], b: &[Bit]) -> Number {
        let mut carry = ZERO;
        a.iter().zip(b).map(|(a, b)| self.full_adder(*a, *b, &mut carry)).collect()
    }

    /// a + b exactly: one bit more than the longer one.
    pub(super) fn add(&mut self, a: &[Bit], b: &[Bit]) -> Number {
        let bits = a.len().max(b.len()) + 1;
        self.add_shares(&extended(a, bits), &extended(b, bits))
    }

    /// The sum's bit; the carry is max(a + b + carry − 1, 0) of them.
    fn full_adder(&mut self, a: Bit, b: Bit, carry: &mut Bit) -> Bit {
        let (ac, bc) = (self.xor(a, *carry), self.xor(b, *carry));
        let both = self.and(ac, bc);
        *carry = self.xor(*carry, both);
        self.xor(ac, b)
    }

    /// a < b for unsigned numbers of one length: n ANDs.
    pub(super) fn less_unsigned(&mut self, a: &[Bit], b: &[Bit]) -> Bit {
        a.iter().zip(b).fold(ZERO, |less, (a, b)| {
            // Where the bits differ, b's decides; else what the lower bits say.
            let differ = self.xor(*a, *b);
            self.select(differ, *b, less)
        })
    }

    /// a < b for signed numbers of one length: n ANDs.
    pub(super) fn less(&mut self, a: &[Bit], b: &[Bit]) -> Bit {
        let flipped = |builder: &mut Self, x: &[Bit]| {
            let mut x = x.to_vec();
            let sign = x.pop().expect("a sign");
            x.push(builder.not(sign));
            x
        };
        let (a, b) = (flipped(self, a), flipped(self, b));
        self.less_unsigned(&a, &b)
    }

    /// `yes` if c, else `no`, bit by bit: n ANDs.
    pub(super) fn select_all(&mut self, c: Bit, yes: &[Bit], no: &[Bit]) -> Vec<Bit> {
        yes.iter().zip(no).map(|(yes, no)| self.select(c, *yes, *no)).collect()
    }

    /// The largest of signed numbers of one length: 2n ANDs for each but the first.
    pub(super) fn max(&mut self, numbers: &[Number]) -> Number {
        let (first, rest) = numbers.split_first().expect("a window has an element");
        rest.iter().fold(first.clone(), |best, next| {
            let less = self.less(&best, next);
            self.select_all(less, next, &best)
        })
    }

    /// max(x, 0): n − 1 ANDs.
    pub(super) fn relu(&mut self, x: &[Bit]) -> Number {
        let (sign, bits) = x.split_last().expect("a sign");
        let keep = self.not(*sign);
        let mut result: Number = bits.iter().map(|bit| self.and(*bit, keep)).collect();
        result.push(ZERO);
        result
    }

    /// max(x, 0) cut off at 2^`bits` − 1, unsigned.
    ///
    /// With x = z + 2^(shift−1) without its lowest `shift` bits that is z's ReLU, rounded: a negative z gives
    /// 0 even where x is none, because then x has no bit left. ANDs: one for each bit that is kept, and one
    /// for each that is not.
    pub(super) fn clamp(&mut self, x: &[Bit], bits: u32) -> Vec<Bit> {
        let (sign, value) = x.split_last().expect("a sign");
        let positive = self.not(*sign);
        let (low, high) = value.split_at(value.len().min(bits as usize));
        let fits = high.iter().fold(positive, |fits, bit| {
            let clear = self.not(*bit);
            self.and(fits, clear)
        });
        if high.is_empty() {
            return low.iter().map(|bit| self.and(positive, *bit)).collect();
        }
        low.iter().map(|bit| self.select(fits, *bit, positive)).collect()
    }

    /// |x| of n bits, unsigned: n − 1 ANDs.
    pub(super) fn magnitude(&mut self, x: &[Bit]) -> Vec<Bit> {
        self.rounded_magnitude(x, 0)
    }

    /// ⌊(|x| + 2^(shift−1)) / 2^shift⌋, unsigned, and ⌊|x|⌋ for no shift: |x / 2^shift| rounded half up.
    /// About n ANDs.
    pub(super) fn rounded_magnitude(&mut self, x: &[Bit], shift: u32) -> Vec<Bit> {
        let shift = shift as usize;
        let sign = *x.last().expect("a sign");
        let x = extended(x, x.len().max(shift + 1));
        // |x| = (x ⊕ sign) + sign; the carry of that `+ sign` reaches the bit that decides the rounding.
        let mut carry = sign;
        let mut result = Vec::new();
        for (place, bit) in x.iter().enumerate() {
            let bit = self.xor(*bit, sign);
            let both = self.and(bit, carry);
            if place + 1 == shift {
                // bit + 1 + carry is 2 or more.
                carry = self.or(bit, carry);
                continue;
            }
            if place >= shift {
                result.push(self.xor(bit, carry));
            }
            carry = both;
        }
        // Only the place above the highest one can still get a carry, and it is none: |x| < 2^n.
        result
    }

    /// An unsigned number cut off at 2^`bits` − 1; all bits are set where `over` is.
    pub(super) fn saturate(&mut self, x: &[Bit], bits: u32, over: Bit) -> Vec<Bit> {
        let (low, high) = x.split_at(x.len().min(bits as usize));
        let over = high.iter().fold(over, |over, bit| self.or(over, *bit));
        let missing = (bits as usize).saturating_sub(low.len());
        let low = low.iter().copied().chain(core::iter::repeat_n(ZERO, missing));
        low.map(|bit| self.or(bit, over)).collect()
    }

    /// x² of an unsigned x, unsigned.
    pub(super) fn square(&mut self, x: &[Bit]) -> Vec<Bit> {
        let bits = 2 * x.len();
        let mut sum = vec![ZERO; bits];
        for i in 0..x.len() {
            // x_i·2^2i and its products with all higher bits, each of which counts twice.
            let mut row = vec![ZERO; bits];
            row[2 * i] = x[i];
            for j in i + 1..x.len() {
                row[i + j + 1] = self.and(x[i], x[j]);
            }
            sum = self.add_shares(&sum, &row);
        }
        sum
    }
}

/// The same number with `bits` bits.
pub(super) fn extended(x: &[Bit], bits: usize) -> Number {
    let sign = *x.last().expect("a sign");
    x.iter().copied().chain(core::iter::repeat(sign)).take(bits).collect()
}

/// The weights of a signed result by its sign and magnitude m, of k bits: −m = Σ 2^j·(m_j ⊕ 1) + 1 − 2^k,
/// so no AND is needed to negate.
pub(super) fn with_sign(builder: &mut Builder, sign: Bit, m: &[Bit]) -> Vec<(Bit, i128)> {
    let mut terms = unsigned(&m.iter().map(|bit| builder.xor(*bit, sign)).collect::<Vec<_>>());
    terms.push((sign, 1 - (1 << m.len())));
    terms
}

/// The weights of an unsigned number.
pub(super) fn unsigned(bits: &[Bit]) -> Vec<(Bit, i128)> {
    bits.iter().enumerate().map(|(place, bit)| (*bit, 1 << place)).collect()
}
