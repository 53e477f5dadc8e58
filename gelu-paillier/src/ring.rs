//! Residues modulo n² (or modulo p² and q² side by side), and the ways in and out.
//!
//! A [`Ring`] owns its moduli and a [`kernel`](crate::kernel). Everything that can be done to several residues at once is, so that the lanes
//! of the kernel are full.
//!
//! Outside, a residue is known by its two digits in base n, `low + high·n` with both below n, which
//! is also how ciphertexts travel: no division is needed to get in or out.
//!
//! A ring with two moduli deals them out alternately: element i lives modulo number i mod 2.
//!
//! Products take the same time for all values. Which elements are multiplied is up to the caller.

use std::sync::Arc;

use crypto_bigint::{BoxedUint, NonZero, Resize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::elements::Elements;
use crate::kernel::counting::{Counters, Counting};
use crate::kernel::{Choice, Kernel, LANES, Line, Modulus, from_limbs, kernel, to_limbs};

/// Arithmetic modulo the squares of one or two moduli.
pub(crate) struct Ring {
    choice: Choice,
    kernel: Box<dyn Kernel>,
    moduli: Vec<Modulus>,
    /// R² modulo each square: multiplying by it enters Montgomery form.
    enter: Elements,
    /// 1, not in Montgomery form: multiplying by it leaves.
    leave: Elements,
    /// 1 in Montgomery form.
    one: Elements,
}

/// A residue as digits in base n: `low + high·n`. Wiped on drop.
#[derive(Debug, Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Digits {
    pub(crate) low: BoxedUint,
    pub(crate) high: BoxedUint,
}

impl Ring {
    /// The ring modulo n² for each n of `moduli`, which are odd and of one length.
    ///
    /// `None` for lengths that this crate was not built for. Constant-time in the moduli.
    pub(crate) fn new(moduli: &[&BoxedUint], choice: Choice) -> Option<Self> {
        let moduli: Vec<Modulus> = moduli.iter().map(|n| Modulus::new(n.as_words())).collect();
        let kernel = kernel(&moduli, choice)?;
        Some(Self::with(kernel, moduli, choice))
    }

    /// [`new`](Self::new), with counters of all that its kernel is asked to do, [`Self::new`]'s own
    /// work included.
    pub(crate) fn counted(n: &BoxedUint, choice: Choice, counters: Arc<Counters>) -> Option<Self> {
        let moduli = vec![Modulus::new(n.as_words())];
        let kernel = Counting::new(kernel(&moduli, choice)?, counters);
        Some(Self::with(Box::new(kernel), moduli, choice))
    }

    fn with(kernel: Box<dyn Kernel>, moduli: Vec<Modulus>, choice: Choice) -> Self {
        let empty = Elements::new(2 * kernel.limbs().div_ceil(LANES));
        let (enter, leave, one) = (empty.clone(), empty.clone(), empty);
        let mut ring = Self { choice, kernel, moduli, enter, leave, one };
        for i in 0..ring.moduli.len() {
            let r2 = Zeroizing::new(ring.raw(i, &ring.power_of_two(i, 2 * ring.r_bits())));
            ring.enter.append(&r2);
            let one = ring.raw(i, &ring.small(i, 1));
            ring.leave.append(&one);
        }
        ring.one = ring.multiply(&ring.leave.refs(), &ring.enter.refs());
        ring
    }

    /// The choice that led to its kernel.
    pub(crate) fn choice(&self) -> Choice {
        self.choice
    }

    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// Number i of the moduli, as an integer.
    pub(crate) fn modulus(&self, i: usize) -> Zeroizing<BoxedUint> {
        let words = self.moduli[i].words();
        Zeroizing::new(BoxedUint::from_words(words.iter().copied()))
    }

    /// log₂ R.
    pub(crate) fn r_bits(&self) -> u32 {
        self.kernel.radix() * u32::try_from(self.kernel.limbs()).expect("few limbs")
    }

    pub(crate) fn stride(&self) -> usize {
        2 * self.kernel.limbs().div_ceil(LANES)
    }

    pub(crate) fn empty(&self) -> Elements {
        Elements::new(self.stride())
    }

    /// How many moduli there are.
    pub(crate) fn moduli(&self) -> usize {
        self.moduli.len()
    }

    /// Room for `count` elements.
    pub(crate) fn zeros(&self, count: usize) -> Elements {
        Elements::zeros(count, self.stride())
    }

    /// 1 modulo number `i` of the moduli.
    pub(crate) fn one(&self, i: usize) -> &[Line] {
        self.one.get(i)
    }

    /// 2^exponent modulo the square of number `i`.
    pub(crate) fn power_of_two(&self, i: usize, exponent: u32) -> Digits {
        let one = BoxedUint::one_with_precision((exponent + 1).next_multiple_of(64));
        self.residue(i, &Zeroizing::new(one.shl(exponent)))
    }

    /// The residue of any integer modulo the square of number `i`, in constant time.
    pub(crate) fn residue(&self, i: usize, x: &BoxedUint) -> Digits {
        let n = Zeroizing::new(NonZero::new(BoxedUint::clone(&self.modulus(i))).expect("not zero"));
        let bits = n.bits_precision();
        let wide = Zeroizing::new(x.resize_unchecked(x.bits_precision().max(2 * bits)));
        let (quotient, low) = wide.div_rem(&n);
        let (quotient, low) = (Zeroizing::new(quotient), Zeroizing::new(low));
        let high = Zeroizing::new(quotient.rem(&n));
        let digit = |x: &BoxedUint| x.resize_unchecked(bits);
        Digits { low: digit(&low), high: digit(&high) }
    }

    fn small(&self, i: usize, x: u64) -> Digits {
        let bits = self.moduli[i].bits();
        let low = BoxedUint::from(x).resize_unchecked(bits);
        Digits { low, high: BoxedUint::zero_with_precision(bits) }
    }

    /// A split pair from its digits, which is not in Montgomery form.
    pub(crate) fn raw(&self, i: usize, digits: &Digits) -> Elements {
        let mut element = self.zeros(1);
        self.write_raw(i, digits, element.get_mut(0));
        element
    }

    fn write_raw(&self, i: usize, digits: &Digits, element: &mut [Line]) {
        let negated = Zeroizing::new(self.modulus(i).wrapping_sub(&digits.high));
        let (low, high) = element.split_at_mut(self.stride() / 2);
        let (radix, limbs) = (self.kernel.radix(), self.kernel.limbs());
        to_limbs(digits.low.as_words(), radix, limbs, low);
        to_limbs(negated.as_words(), radix, limbs, high);
    }

    /// Residues from their digits; number k belongs to modulus k mod (number of moduli).
    pub(crate) fn import(&self, digits: &[Digits]) -> Elements {
        let mut raw = Zeroizing::new(self.zeros(digits.len()));
        for (k, digits) in digits.iter().enumerate() {
            self.write_raw(k % self.moduli.len(), digits, raw.get_mut(k));
        }
        let enter: Vec<_> =
            (0..digits.len()).map(|k| self.enter.get(k % self.moduli.len())).collect();
        self.multiply(&raw.refs(), &enter)
    }

    /// The digits of residues; number k belongs to modulus k mod (number of moduli).
    pub(crate) fn export(&self, elements: &[&[Line]]) -> Vec<Digits> {
        let leave: Vec<_> =
            (0..elements.len()).map(|k| self.leave.get(k % self.moduli.len())).collect();
        self.export_times(elements, &leave)
    }

    /// The digits of element·constant, for constants that are not in Montgomery form.
    pub(crate) fn export_times(&self, elements: &[&[Line]], constants: &[&[Line]]) -> Vec<Digits> {
        let plain = Zeroizing::new(self.multiply(elements, constants));
        plain
            .iter()
            .enumerate()
            .map(|(k, pair)| self.canonical(&self.moduli[k % self.moduli.len()], pair))
            .collect()
    }

    /// The digits of a pair with low < 2n and high ≤ 2n + 1, which is not in Montgomery form.
    fn canonical(&self, n: &Modulus, pair: &[Line]) -> Digits {
        let (radix, limbs) = (self.kernel.radix(), self.kernel.limbs());
        let words = n.words().len() + 1;
        let (low_lines, high_lines) = pair.split_at(self.stride() / 2);
        let mut low = Zeroizing::new(vec![0; words]);
        let mut high = Zeroizing::new(vec![0; words]);
        from_limbs(low_lines, radix, limbs, &mut low);
        from_limbs(high_lines, radix, limbs, &mut high);
        // low − high·n = (low − n) + (1 − high)·n, and the high digit is that negated.
        let reduced = subtract_if_not_below(&mut low, n.words());
        let mut negated = Zeroizing::new(vec![0; words]);
        let mut carry = u128::from(reduced);
        for (i, limb) in negated.iter_mut().enumerate() {
            // 3n + reduced − high
            let n = u128::from(n.words().get(i).copied().unwrap_or(0));
            let sum = 3 * n + carry + u128::from(!high[i]) + u128::from(i == 0);
            #[expect(clippy::cast_possible_truncation, reason = "the low word")]
            let word = sum as u64;
            (*limb, carry) = (word, sum >> 64);
        }
        for _ in 0..3 {
            subtract_if_not_below(&mut negated, n.words());
        }
        let digit = |words: &[u64]| BoxedUint::from_words(words[..n.words().len()].iter().copied());
        Digits { low: digit(&low), high: digit(&negated) }
    }

    /// a\[i\]·b\[i\].
    pub(crate) fn multiply(&self, a: &[&[Line]], b: &[&[Line]]) -> Elements {
        debug_assert_eq!(a.len(), b.len());
        let mut products = self.zeros(a.len());
        let chunks = a.chunks(LANES).zip(b.chunks(LANES));
        for ((a, b), out) in chunks.zip(products.lines_mut().chunks_mut(LANES * self.stride())) {
            self.kernel.run(a, 0, Some(b), out);
        }
        products
    }

    /// Π_j factors\[i + j·lanes\] for each lane i below `lanes`, of which there are at most
    /// [`LANES`].
    pub(crate) fn product(&self, factors: &[&[Line]], lanes: usize) -> Elements {
        let mut products = self.zeros(lanes);
        self.kernel.product(factors, lanes, products.lines_mut());
        products
    }

    /// a\[i\]^(2^times).
    pub(crate) fn square(&self, a: &[&[Line]], times: usize) -> Elements {
        let mut squares = self.zeros(a.len());
        let chunks = squares.lines_mut().chunks_mut(LANES * self.stride());
        for (a, out) in a.chunks(LANES).zip(chunks) {
            self.kernel.run(a, times, None, out);
        }
        squares
    }

    /// acc\[k\] ← acc\[k\]^(2^squarings) · factors\[k\], for at most [`LANES`] elements; `scratch` is
    /// as long as they are.
    pub(crate) fn step(
        &self,
        acc: &mut Elements,
        squarings: usize,
        factors: &Elements,
        scratch: &mut Elements,
    ) {
        let (mut a, mut b) = ([&[][..]; LANES], [&[][..]; LANES]);
        a.iter_mut().zip(acc.iter()).for_each(|(a, element)| *a = element);
        b.iter_mut().zip(factors.iter()).for_each(|(b, element)| *b = element);
        let count = acc.len();
        self.kernel.run(&a[..count], squarings, Some(&b[..count]), scratch.lines_mut());
        core::mem::swap(acc, scratch);
    }

    /// a + b, to be multiplied before it is added to again (at most four terms in all).
    pub(crate) fn add_assign(&self, a: &mut [Line], b: &[Line]) {
        let (radix, limbs) = (self.kernel.radix(), self.kernel.limbs());
        let mask = u64::MAX >> (u64::BITS - radix);
        let half = self.stride() / 2;
        for (a, b) in a.chunks_mut(half).zip(b.chunks(half)) {
            let mut carry = 0u64;
            for i in 0..limbs {
                let (line, at) = (i / LANES, i % LANES);
                let sum = u128::from(a[line].0[at]) + u128::from(b[line].0[at]) + u128::from(carry);
                #[expect(clippy::cast_possible_truncation, reason = "cut into limb and carry")]
                {
                    a[line].0[at] = sum as u64 & mask;
                    carry = (sum >> radix) as u64;
                }
            }
        }
    }
}

/// A ring's moduli may be secret: they and its constants are wiped, and kernels wipe themselves.
impl ZeroizeOnDrop for Ring {}

impl Drop for Ring {
    fn drop(&mut self) {
        for constants in [&mut self.enter, &mut self.leave, &mut self.one] {
            constants.zeroize();
        }
    }
}

/// x ← x − n if x ≥ n; tells whether. In constant time.
fn subtract_if_not_below(x: &mut [u64], n: &[u64]) -> bool {
    let mut difference = Zeroizing::new(vec![0; x.len()]);
    let mut borrow = false;
    for (i, (d, &x)) in difference.iter_mut().zip(x.iter()).enumerate() {
        let (a, first) = x.overflowing_sub(n.get(i).copied().unwrap_or(0));
        let (b, second) = a.overflowing_sub(u64::from(borrow));
        (*d, borrow) = (b, first | second);
    }
    let keep = 0u64.wrapping_sub(u64::from(core::hint::black_box(borrow)));
    for (x, d) in x.iter_mut().zip(difference.iter()) {
        *x = (*x & keep) | (d & !keep);
    }
    !borrow
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::oracle::{big, boxed, rng};
    use num_bigint_dig::BigUint;
    use proptest::prelude::*;
    use rand_core::Rng;

    const SIZES: [u32; 7] = [256, 512, 1024, 1536, 2048, 3072, 4096];

    /// An odd modulus with its top bit set: random, or one of the edges.
    pub(crate) fn modulus(bits: u32, kind: u8, seed: u64) -> BigUint {
        let top = BigUint::from(1u8) << (bits as usize - 1);
        match kind {
            0 => (&top << 1) - 1u8,
            1 => top + 1u8,
            _ => {
                let mut bytes = vec![0; bits as usize / 8];
                rng(seed).fill_bytes(&mut bytes);
                bytes[0] |= 0x80;
                *bytes.last_mut().unwrap() |= 1;
                BigUint::from_bytes_be(&bytes)
            }
        }
    }

    /// A residue modulo n²: random, or an edge of n, of n², or of the limbs.
    pub(crate) fn residue(n: &BigUint, kind: u8, seed: u64) -> BigUint {
        let n2 = n * n;
        match kind {
            0 => BigUint::from(0u8),
            1 => BigUint::from(1u8),
            2 => n - 1u8,
            3 => n.clone(),
            4 => n2 - 1u8,
            5 => n2 - n,
            6 => ((BigUint::from(1u8) << (2 * n.bits() - 1)) - 1u8) % n2,
            _ => modulus(u32::try_from(2 * n.bits()).unwrap(), 9, seed) % n2,
        }
    }

    pub(crate) fn digits(x: &BigUint, n: &BigUint) -> Digits {
        let bits = u32::try_from(n.bits()).unwrap();
        Digits { low: boxed(&(x % n), bits), high: boxed(&(x / n), bits) }
    }

    pub(crate) fn value(digits: &Digits, n: &BigUint) -> BigUint {
        assert!(big(&digits.low) < *n && big(&digits.high) < *n);
        big(&digits.low) + big(&digits.high) * n
    }

    fn check(bits: u32, choice: Choice, moduli: &[BigUint], kinds: [u8; 2], seed: u64) {
        let boxed: Vec<_> = moduli.iter().map(|n| boxed(n, bits)).collect();
        let ring = Ring::new(&boxed.iter().collect::<Vec<_>>(), choice).unwrap();
        let of = |k: usize| &moduli[k % moduli.len()];
        let count = 11 * moduli.len();
        let draw = |kind: u8, salt: u64| -> Vec<BigUint> {
            let kind = |k: usize| if k < 2 { kind } else { (kind + u8::try_from(k).unwrap()) % 9 };
            (0..count).map(|k| residue(of(k), kind(k), seed ^ salt ^ (k as u64) << 8)).collect()
        };
        let (x, y) = (draw(kinds[0], 1), draw(kinds[1], 2));
        let import = |x: &[BigUint]| {
            ring.import(&x.iter().enumerate().map(|(k, x)| digits(x, of(k))).collect::<Vec<_>>())
        };
        let export = |e: &Elements| -> Vec<BigUint> {
            ring.export(&e.refs()).iter().enumerate().map(|(k, d)| value(d, of(k))).collect()
        };
        let square = |k: usize| of(k) * of(k);
        let (a, b) = (import(&x), import(&y));
        assert_eq!(export(&a), x, "in and out");
        let expected = |f: &dyn Fn(usize) -> BigUint| -> Vec<BigUint> {
            (0..count).map(|k| f(k) % square(k)).collect()
        };
        let product = ring.multiply(&a.refs(), &b.refs());
        assert_eq!(export(&product), expected(&|k| &x[k] * &y[k]), "products");
        let again = ring.multiply(&product.refs(), &product.refs());
        assert_eq!(
            export(&again),
            expected(&|k| (&x[k] * &y[k]).modpow(&2u8.into(), &square(k))),
            "products of products"
        );
        let squares = ring.square(&product.refs(), 3);
        let eighth = expected(&|k| (&x[k] * &y[k]).modpow(&8u8.into(), &square(k)));
        assert_eq!(export(&squares), eighth, "squares");

        let mut sum = a.clone();
        for k in 0..count {
            for _ in 0..3 {
                ring.add_assign(sum.get_mut(k), b.get(k));
            }
        }
        let sum = ring.multiply(&sum.refs(), &b.refs());
        assert_eq!(export(&sum), expected(&|k| (&x[k] + &y[k] * 3u8) * &y[k]), "sums");

        let mut acc = a.clone();
        ring.update(&mut acc, 2, (0..count).map(|k| (k, b.get(k))));
        let expected = expected(&|k| x[k].modpow(&4u8.into(), &square(k)) * &y[k]);
        assert_eq!(export(&acc), expected, "updates");
        let ones: Vec<_> = (0..moduli.len()).map(|i| ring.one(i)).collect();
        for one in ring.export(&ones) {
            assert_eq!(big(&one.low), BigUint::from(1u8));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn all_kernels_agree_with_the_oracle(
            size in 0..SIZES.len(),
            kinds in prop::array::uniform2(0u8..9),
            n_kinds in prop::array::uniform2(0u8..4),
            seed: u64,
        ) {
            for choice in Choice::all() {
                let bits = SIZES[size];
                let n = n_kinds.map(|kind| modulus(bits, kind, seed ^ u64::from(kind)));
                check(bits, choice, &n[..1], kinds, seed);
                check(bits, choice, &n, kinds, seed);
            }
        }
    }

    /// All edges against each other, at the sizes of real keys and their factors.
    #[test]
    fn edges() {
        for bits in [1024, 2048, 3072] {
            for choice in Choice::all() {
                for n_kind in 0..3 {
                    let n = modulus(bits, n_kind, 7);
                    for kind in 0..9 {
                        check(bits, choice, core::slice::from_ref(&n), [kind, 8 - kind], 3);
                    }
                }
            }
        }
    }

    /// The first factor of a product may be any below R, as the pieces are that owners cut: its bits all
    /// set, or some.
    #[test]
    fn first_factors_go_up_to_r() {
        for bits in SIZES {
            let n = modulus(bits, 9, 4);
            let n2 = &n * &n;
            for choice in Choice::all() {
                let ring = Ring::new(&[&boxed(&n, bits)], choice).unwrap();
                let (radix, limbs) = (ring.kernel().radix(), ring.kernel().limbs());
                let mut rng = rng(5);
                let mut raw = ring.zeros(9);
                for k in 0..raw.len() {
                    for half in raw.get_mut(k).chunks_mut(ring.stride() / 2) {
                        for i in 0..limbs {
                            let limb = if k == 0 { u64::MAX } else { rng.next_u64() };
                            half[i / LANES].0[i % LANES] = limb >> (64 - radix);
                        }
                    }
                }
                let number = |lines: &[Line]| {
                    let shift = |i: usize| i * radix as usize;
                    let limb = |i: usize| BigUint::from(lines[i / LANES].0[i % LANES]) << shift(i);
                    (0..limbs).map(limb).sum::<BigUint>()
                };
                let y: Vec<_> = (0..raw.len()).map(|k| residue(&n, 9, k as u64)).collect();
                let factors = ring.import(&y.iter().map(|y| digits(y, &n)).collect::<Vec<_>>());
                let products = ring.export(&ring.multiply(&raw.refs(), &factors.refs()).refs());
                for ((raw, y), product) in raw.iter().zip(y).zip(products) {
                    let (low, high) = raw.split_at(ring.stride() / 2);
                    let x = number(low) + (&n2 - number(high) * &n % &n2);
                    let r = BigUint::from(1u8) << ring.r_bits() as usize;
                    assert_eq!(value(&product, &n) * r % &n2, x * y % &n2, "{bits} {choice:?}");
                }
            }
        }
    }

    #[test]
    fn selection_reads_the_right_entry() {
        let n = boxed(&modulus(256, 9, 1), 256);
        for choice in Choice::all() {
            let ring = Ring::new(&[&n], choice).unwrap();
            let table = ring.import(&(0..32).map(|x| ring.small(0, x)).collect::<Vec<_>>());
            let mut out = vec![Line::default(); ring.stride()];
            for digit in 0..32 {
                ring.kernel().select(&table.refs(), digit, &mut out);
                assert_eq!(out, table.get(usize::from(digit)));
            }
        }
    }
}
