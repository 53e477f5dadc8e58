//! Functions that only ever rise, as exact tables of steps: sigmoid and tanh.
//!
//! Rounded to a format, such a function of an integer z takes few values: `least` + the number of thresholds
//! that z reaches. The circuit counts those by a binary search. Level by level it compares z with one threshold,
//! chosen by the bits found so far: their one-hot code costs an AND for each place but one, and the bits of the
//! chosen threshold are XORs of it, which are free.
//!
//! ANDs for T = 2^m − 1 thresholds that span w bits of an l-bit number: about l + w·(m + 1) + 2^(m−1).

use super::builder::{Bit, Builder, ZERO};

/// z ↦ `least` + #{t in thresholds: t ≤ z}.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Steps {
    least: i128,
    /// Ascending; several times the same where the function rises by more than 1.
    thresholds: Vec<i128>,
}

impl Steps {
    /// The steps of f for −bound ≤ z ≤ bound, found by bisection, and checked around each of them.
    ///
    /// # Errors
    /// Why f has no table.
    pub(super) fn of(f: impl Fn(i128) -> i128, bound: i128) -> Result<Self, &'static str> {
        let (least, most) = (f(-bound), f(bound));
        if most < least {
            return Err("falls somewhere, so it has no table of steps");
        }
        if most - least > MOST_STEPS {
            return Err("has more than 4096 steps in this precision: choose fewer fractional bits");
        }
        let mut thresholds = Vec::new();
        let mut from = -bound;
        for value in least + 1..=most {
            // f(low) < value ≤ f(high).
            let (mut low, mut high) = (from - 1, bound);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if f(middle) < value { low = middle } else { high = middle }
            }
            let near = (high - NEAR).max(-bound)..=(high + NEAR).min(bound);
            if !near.into_iter().all(|z| (f(z) >= value) == (z >= high)) {
                return Err("falls somewhere, so it has no table of steps");
            }
            thresholds.push(high);
            from = high;
        }
        Ok(Self { least, thresholds })
    }

    /// What is subtracted from z before [`build`](Self::build): one less than the first threshold.
    pub(super) fn base(&self) -> i128 {
        self.thresholds.first().map_or(0, |t| t - 1)
    }

    /// The table's value for z, given z − base.
    pub(super) fn build(&self, builder: &mut Builder, z: &[Bit]) -> Vec<(Bit, i128)> {
        let mut result = vec![(Bit::Known(true), self.least)];
        let Some(last) = self.thresholds.last() else { return result };
        let thresholds: Vec<_> = self.thresholds.iter().map(|t| t - self.base()).collect();
        let bits = 128 - (last - self.base()).leading_zeros();
        let mut z = builder.clamp(z, bits);
        // A place above the highest bit, for thresholds that nothing reaches.
        z.resize(bits as usize + 1, ZERO);
        let levels = (thresholds.len() + 1).ilog2();
        let full = (1 << levels) - 1;
        let (mut searched, single) = thresholds.split_at(full);
        let mut padded = Vec::new();
        let mut levels = levels;
        if single.len() * bits as usize > full + bits as usize {
            levels += 1;
            padded.extend(thresholds.iter().copied());
            padded.resize((1 << levels) - 1, 1 << bits);
            searched = &padded;
        } else {
            for t in single {
                let chosen = chosen_bits(builder, &[*t], &[Bit::Known(true)], z.len());
                let less = builder.less_unsigned(&z, &chosen);
                result.push((builder.not(less), 1));
            }
        }
        result.extend(search(builder, searched, levels, &z));
        result
    }
}

/// How many of 2^levels − 1 thresholds z reaches.
fn search(builder: &mut Builder, thresholds: &[i128], levels: u32, z: &[Bit]) -> Vec<(Bit, i128)> {
    let mut result = Vec::new();
    let mut hot = vec![Bit::Known(true)];
    for level in (0..levels).rev() {
        // With the higher bits p of the count, the middle of those that are left.
        let middles: Vec<_> =
            (0..hot.len()).map(|p| thresholds[(p << (level + 1)) + (1 << level) - 1]).collect();
        let chosen = chosen_bits(builder, &middles, &hot, z.len());
        let less = builder.less_unsigned(z, &chosen);
        let reached = builder.not(less);
        result.push((reached, 1 << level));
        if level > 0 {
            hot = refined(builder, &hot, reached);
        }
    }
    result
}

/// The bits of the number that the one-hot code chooses.
fn chosen_bits(builder: &mut Builder, numbers: &[i128], hot: &[Bit], bits: usize) -> Vec<Bit> {
    let bit = |place: usize| {
        let set = numbers.iter().zip(hot).filter(|(number, _)| *number >> place & 1 == 1);
        set.fold(ZERO, |sum, (_, hot)| builder.xor(sum, *hot))
    };
    (0..bits).map(bit).collect()
}

/// The one-hot code of a number with one more bit, the lowest: one AND for each place but the last.
fn refined(builder: &mut Builder, hot: &[Bit], bit: Bit) -> Vec<Bit> {
    let mut result = Vec::new();
    // The places with the bit set are its parts: the last one is what is left of it.
    let mut left = bit;
    for (n, place) in hot.iter().enumerate() {
        let set = if n + 1 == hot.len() { left } else { builder.and(*place, bit) };
        left = builder.xor(left, set);
        result.extend([builder.xor(*place, set), set]);
    }
    result
}

/// More would be a circuit of many thousand gates.
const MOST_STEPS: i128 = 4096;
/// How far around a step the function is checked to be on its right side.
const NEAR: i128 = 8;
