//! Encrypted matrix products: Σᵢ kᵢ·aᵢ on plaintexts is Πᵢ cᵢ^kᵢ on ciphertexts.
//!
//! # Method
//! Each weight is written in width-w non-adjacent form (wNAF): k = Σ d·2^pos with odd digits
//! |d| < 2^(w−1), of which on average b/(w+1) are needed for b bits. For each *input* a table of
//! its odd powers c, c³, …, c^(2^(w−1)−1) is built once and shared by all outputs. Each *output*
//! walks down the bit positions of all its weights together (Straus's method), so that a layer's
//! row shares one chain of b squarings:
//!
//! ```text
//! P ← P²·Π_{d>0 at pos} c^d,     N ← N²·Π_{d<0 at pos} c^|d|,     output = P·N⁻¹
//! ```
//!
//! Negative digits and negative weights collect in N; all N of a layer are inverted together.
//!
//! # Cost
//! An input with u uses and weights of b bits costs, in multiplications,
//!
//! ```text
//! u·(b + 1)/(w + 1)  +  [w > 2]·2^(w−2)
//! ```
//!
//! [`window`] takes the w with the least. Each output adds 2b squarings, and 4 for the inversion.
//! A 784×30 layer with 10-bit weights comes to 2 products a weight; with 90-bit weights, 12.
//!
//! # Timing
//! Which tables are read and how many products are taken follows the weights. They are the
//! server's secret: an observer of its caches, or of its response times over many queries with
//! chosen weights, learns the digits' number and places. Over the network the client sees one time
//! for a whole layer, which tells about the sum of the weights' densities.

use gelu_core::linear::Taps;
use rayon::prelude::*;

use crate::arithmetic::{Modulus, Residue};

/// The widest window, which bounds a table to 64 powers (32 KB at 2048 bits) an input.
const WIDEST: u32 = 8;

/// One product for each output of `taps`: Πᵢ `inputs[source]`^`weights[weight]`.
///
/// Inputs must be units. Time depends on the weights.
pub(crate) fn matvec_vartime(
    modulus: &Modulus,
    taps: &Taps,
    weights: &[i128],
    inputs: &[&Residue],
) -> Vec<Residue> {
    let tables = OddPowers::of_layer(taps, weights, inputs);
    let fractions: Vec<Fraction> = (0..taps.outputs())
        .into_par_iter()
        .map(|output| {
            let terms = taps
                .of(output)
                .iter()
                .map(|tap| (weights[tap.weight as usize], &tables[tap.source as usize]));
            Fraction::of_product(modulus, terms)
        })
        .collect();
    Fraction::values_vartime(modulus, fractions)
}

/// Π base^exponent for few terms, as [`matvec_vartime`] with one output.
pub(crate) fn product_of_powers_vartime(modulus: &Modulus, terms: &[(i128, &Residue)]) -> Residue {
    let width = window(1, terms.iter().map(|(k, _)| bits(*k)).max().unwrap_or(0));
    let tables: Vec<_> = terms.par_iter().map(|(_, base)| OddPowers::new(base, width)).collect();
    let terms = terms.iter().zip(&tables).map(|((k, _), table)| (*k, table));
    let fraction = Fraction::of_product(modulus, terms);
    Fraction::values_vartime(modulus, vec![fraction]).remove(0)
}

/// base^exponent.
pub(crate) fn power_vartime(modulus: &Modulus, base: &Residue, exponent: i128) -> Residue {
    let power = base.pow_u128_vartime(exponent.unsigned_abs());
    if exponent < 0 { invert_vartime(modulus, &power) } else { power }
}

/// The inverse of a ciphertext.
pub(crate) fn invert_vartime(modulus: &Modulus, unit: &Residue) -> Residue {
    modulus.invert_vartime(unit).expect(UNITS)
}

const UNITS: &str = "ciphertexts are units: made from units or validated";

/// c, c³, c⁵, …: the odd powers below 2^(width−1).
struct OddPowers {
    width: u32,
    powers: Vec<Residue>,
}

impl OddPowers {
    fn new(base: &Residue, width: u32) -> Self {
        let mut powers = vec![base.clone()];
        if width > 2 {
            let square = base.square();
            for i in 1..1usize << (width - 2) {
                powers.push(&powers[i - 1] * &square);
            }
        }
        Self { width, powers }
    }

    /// The table of each input, as wide as its uses make worthwhile.
    fn of_layer(taps: &Taps, weights: &[i128], inputs: &[&Residue]) -> Vec<Self> {
        let mut uses = vec![(0usize, 0u32); inputs.len()];
        for output in 0..taps.outputs() {
            for tap in taps.of(output) {
                let weight = weights[tap.weight as usize];
                if weight != 0 {
                    let (count, longest) = &mut uses[tap.source as usize];
                    *count += 1;
                    *longest = bits(weight).max(*longest);
                }
            }
        }
        inputs
            .par_iter()
            .zip(uses)
            .map(|(input, (count, longest))| Self::new(input, window(count, longest)))
            .collect()
    }

    /// c^digit for an odd digit > 0.
    fn power(&self, digit: usize) -> &Residue {
        &self.powers[digit / 2]
    }
}

/// The width that costs least for an input with `uses` weights of up to `bits` bits.
fn window(uses: usize, bits: u32) -> u32 {
    let cost = |width: u32| {
        let table = if width > 2 { 1u64 << (width - 2) } else { 0 };
        // Times 2520, which all width + 1 divide, to stay in integers.
        let digits = 2520 / u64::from(width + 1) * u64::from(bits + 1);
        (uses as u64).saturating_mul(digits).saturating_add(2520 * table)
    };
    (2..=WIDEST).min_by_key(|&width| cost(width)).expect("there are widths")
}

/// Bits of |k|.
fn bits(k: i128) -> u32 {
    u128::BITS - k.unsigned_abs().leading_zeros()
}

/// A quotient of two products, either of them possibly empty.
struct Fraction {
    numerator: Option<Residue>,
    denominator: Option<Residue>,
}

impl Fraction {
    fn of_product<'a>(
        modulus: &Modulus,
        terms: impl Iterator<Item = (i128, &'a OddPowers)>,
    ) -> Self {
        // The factors of numerator and denominator at each bit position.
        let mut levels: Vec<[Vec<&Residue>; 2]> = Vec::new();
        for (k, table) in terms {
            for (position, digit) in Wnaf::new(k.unsigned_abs(), table.width) {
                let below = usize::from((digit < 0) != (k < 0));
                if levels.len() <= position {
                    levels.resize_with(position + 1, Default::default);
                }
                levels[position][below].push(table.power(digit.unsigned_abs() as usize));
            }
        }
        let [numerator, denominator] = [0, 1].map(|side| {
            let mut product = modulus.accumulator();
            for level in levels.iter().rev() {
                product.square();
                level[side].iter().for_each(|factor| product.mul(factor));
            }
            product.finish()
        });
        Self { numerator, denominator }
    }

    /// All quotients, with one inversion.
    fn values_vartime(modulus: &Modulus, fractions: Vec<Self>) -> Vec<Residue> {
        let denominators: Vec<_> = fractions.iter().filter_map(|f| f.denominator.clone()).collect();
        let inverses = match denominators.is_empty() {
            true => Vec::new(),
            false => modulus.invert_all_vartime(&denominators).expect(UNITS),
        };
        let mut inverses = inverses.into_iter();
        let quotient = |fraction: Self| {
            let inverse = fraction.denominator.and_then(|_| inverses.next());
            match (fraction.numerator, inverse) {
                (Some(n), Some(d)) => &n * &d,
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => modulus.one(),
            }
        };
        fractions.into_iter().map(quotient).collect()
    }
}

/// The digits ≠ 0 of a number in width-w non-adjacent form, as (bit position, odd digit).
struct Wnaf {
    rest: u128,
    position: usize,
    width: u32,
}

impl Wnaf {
    /// For `k` ≤ 2^127 and 2 ≤ `width` ≤ [`WIDEST`].
    fn new(k: u128, width: u32) -> Self {
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
        let low = low.expect("at most 8 bits");
        let digit = if low >= modulus / 2 { low - modulus } else { low };
        // No overflow: rest ≤ 2^127 and |digit| < 2^7.
        self.rest = self.rest.wrapping_sub(i128::from(digit).cast_unsigned());
        Some((self.position, digit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, big, boxed};
    use gelu_core::linear::Tap;
    use num_bigint_dig::{BigInt, BigUint, ModInverse};
    use proptest::prelude::*;

    fn weight() -> impl Strategy<Value = i128> {
        let edges = vec![0, 1, -1, 2, -2, 127, -128, i128::MAX, i128::MIN, i128::MIN + 1];
        prop_oneof![prop::sample::select(edges), -2048i128..2048, any::<i128>()]
    }

    proptest! {
        #[test]
        fn digits_are_odd_apart_and_sum_to_the_number(k in weight(), width in 2u32..=WIDEST) {
            let digits: Vec<_> = Wnaf::new(k.unsigned_abs(), width).collect();
            let sum: BigInt = digits.iter().map(|&(pos, d)| BigInt::from(d) << pos).sum();
            prop_assert_eq!(sum, BigInt::from(k.unsigned_abs()));
            for &(_, d) in &digits {
                prop_assert!(d % 2 != 0 && d.unsigned_abs() < 1 << (width - 1));
            }
            for pair in digits.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= width as usize);
            }
        }

        #[test]
        fn products_agree_with_the_oracle(
            rows in prop::collection::vec(prop::collection::vec((0u32..4, 0u32..6), 1..6), 1..5),
            weights in prop::collection::vec(weight(), 6),
            seeds in prop::array::uniform4(2u64..),
        ) {
            let modulus = KEY.public_key().mod_n2();
            let n2 = big(modulus.value());
            let bases = seeds.map(|seed| BigUint::from(seed).modpow(&BigUint::from(99u8), &n2));
            let residues = bases.each_ref().map(|b| modulus.residue(&boxed(b, 1024)));
            let inputs: Vec<&Residue> = residues.iter().collect();
            let power = |base: &BigUint, k: i128| {
                let power = base.modpow(&k.unsigned_abs().into(), &n2);
                if k < 0 { power.mod_inverse(&n2).unwrap().to_biguint().unwrap() } else { power }
            };

            let rows: Vec<Vec<Tap>> = rows
                .iter()
                .map(|row| row.iter().map(|&(source, weight)| Tap { source, weight }).collect())
                .collect();
            let outputs = matvec_vartime(modulus, &Taps::from_rows(&rows), &weights, &inputs);
            prop_assert_eq!(outputs.len(), rows.len());
            for (row, output) in rows.iter().zip(&outputs) {
                let term = |t: &Tap| (weights[t.weight as usize], t.source as usize);
                let expected = row.iter().map(term).fold(BigUint::from(1u8), |product, (k, i)| {
                    product * power(&bases[i], k) % &n2
                });
                prop_assert_eq!(big(&output.value()), expected.clone());
                let terms: Vec<_> = row.iter().map(term).map(|(k, i)| (k, inputs[i])).collect();
                let product = product_of_powers_vartime(modulus, &terms);
                prop_assert_eq!(big(&product.value()), expected);
            }
            for k in weights {
                let got = power_vartime(modulus, inputs[0], k);
                prop_assert_eq!(big(&got.value()), power(&bases[0], k));
            }
        }
    }

    #[test]
    fn windows_grow_with_uses_and_length() {
        assert_eq!(window(0, 0), 2, "an unused input has no table");
        assert_eq!(window(1, 1), 2);
        assert_eq!(window(1, 90), 4);
        assert_eq!(window(30, 10), 5);
        assert_eq!(window(100, 8), 7);
        assert_eq!(window(300, 90), WIDEST);
    }
}
