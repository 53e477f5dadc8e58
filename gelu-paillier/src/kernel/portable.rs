//! One number at a time, in safe Rust with 64-bit limbs.
//!
//! The plain twin of the vector kernels: the same formulas on the same bounds, so that all give the
//! same residues. A modulus of 64·(K − 1) bits has K limbs, the top one for headroom.
//!
//! No branch and no index depends on a limb's value.

use zeroize::Zeroize;

use super::{Kernel, LANES, Line, Modulus};

/// Bits of a limb.
pub(super) const RADIX: u32 = 64;

/// Limbs that hold a modulus of `bits` bits with the headroom that [`Kernel`] asks for.
pub(super) const fn limbs(bits: u32) -> usize {
    (bits / RADIX + 1) as usize
}

/// The kernel for the size of `moduli`, element i of a batch working modulo number
/// i mod `moduli.len()`; `None` for sizes that this crate was not built for.
pub(super) fn kernel(moduli: &[Modulus]) -> Option<Box<dyn Kernel>> {
    Some(match limbs(moduli[0].bits()) {
        5 => Box::new(Portable::<5>::new(moduli)),
        9 => Box::new(Portable::<9>::new(moduli)),
        17 => Box::new(Portable::<17>::new(moduli)),
        25 => Box::new(Portable::<25>::new(moduli)),
        33 => Box::new(Portable::<33>::new(moduli)),
        49 => Box::new(Portable::<49>::new(moduli)),
        65 => Box::new(Portable::<65>::new(moduli)),
        _ => return None,
    })
}

struct Portable<const K: usize> {
    moduli: Vec<Field<K>>,
}

struct Field<const K: usize> {
    n: [u64; K],
    /// −n⁻¹ mod 2^64.
    minus_inverse: u64,
}

/// low − high·n.
struct Pair<const K: usize> {
    low: [u64; K],
    high: [u64; K],
}

impl<const K: usize> Portable<K> {
    fn new(moduli: &[Modulus]) -> Self {
        let field =
            |n: &Modulus| Field { n: read(&n.limbs(RADIX, K)), minus_inverse: n.minus_inverse() };
        Self { moduli: moduli.iter().map(field).collect() }
    }
}

/// The moduli may be secret.
impl<const K: usize> Drop for Field<K> {
    fn drop(&mut self) {
        self.n.zeroize();
        self.minus_inverse.zeroize();
    }
}

impl<const K: usize> Kernel for Portable<K> {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn radix(&self) -> u32 {
        RADIX
    }

    fn limbs(&self) -> usize {
        K
    }

    fn run(&self, a: &[&[Line]], squarings: usize, b: Option<&[&[Line]]>, out: &mut [Line]) {
        let half = K.div_ceil(LANES);
        assert_eq!(out.len(), a.len() * 2 * half);
        for (i, out) in out.chunks_exact_mut(2 * half).enumerate() {
            let field = &self.moduli[i % self.moduli.len()];
            let pair = |lines: &[Line]| Pair { low: read(lines), high: read(&lines[half..]) };
            let mut x = pair(a[i]);
            for _ in 0..squarings {
                x = field.square(&x);
            }
            if let Some(b) = b {
                x = field.multiply(&x, &pair(b[i]));
            }
            write(&x.low, &mut out[..half]);
            write(&x.high, &mut out[half..]);
        }
    }
}

impl<const K: usize> Field<K> {
    fn multiply(&self, x: &Pair<K>, y: &Pair<K>) -> Pair<K> {
        let mut quotient = [0; K];
        let low = self.reduce([0; K], [(&x.low, &y.low)], &mut quotient);
        let mixed = [(&x.low, &y.high), (&x.high, &y.low)];
        Pair { low, high: self.reduce(quotient, mixed, &mut [0; K]) }
    }

    fn square(&self, x: &Pair<K>) -> Pair<K> {
        let mut quotient = [0; K];
        let low = self.reduce([0; K], [(&x.low, &x.low)], &mut quotient);
        let mut twice = x.high;
        let mut below = 0;
        for limb in &mut twice {
            (*limb, below) = (*limb << 1 | below, *limb >> 63);
        }
        Pair { low, high: self.reduce(quotient, [(&x.low, &twice)], &mut [0; K]) }
    }

    /// (t + Σ x·y + m·n) / 2^(64·K); m goes to `quotient`.
    #[inline]
    fn reduce<const P: usize>(
        &self,
        mut t: [u64; K],
        products: [(&[u64; K], &[u64; K]); P],
        quotient: &mut [u64; K],
    ) -> [u64; K] {
        let mut top = 0;
        for i in 0..K {
            let mut carries = [0; P];
            let mut low = t[0];
            for (carry, (x, y)) in carries.iter_mut().zip(products) {
                (low, *carry) = multiply_add(x[0], y[i], low, 0);
            }
            let m = low.wrapping_mul(self.minus_inverse);
            quotient[i] = m;
            let (_, mut reduction) = multiply_add(self.n[0], m, low, 0);
            for j in 1..K {
                let mut limb = t[j];
                for (carry, (x, y)) in carries.iter_mut().zip(products) {
                    (limb, *carry) = multiply_add(x[j], y[i], limb, *carry);
                }
                (t[j - 1], reduction) = multiply_add(self.n[j], m, limb, reduction);
            }
            let over: u128 = carries.into_iter().map(u128::from).sum();
            (t[K - 1], top) = halves(u128::from(top) + u128::from(reduction) + over);
        }
        t
    }
}

/// a·b + c + d, which fits two words: low, high.
#[inline(always)]
fn multiply_add(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    halves(u128::from(a) * u128::from(b) + u128::from(c) + u128::from(d))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn halves(x: u128) -> (u64, u64) {
    (x as u64, (x >> 64) as u64)
}

fn read<const K: usize>(lines: &[Line]) -> [u64; K] {
    let mut limbs = [0; K];
    for (limbs, line) in limbs.chunks_mut(LANES).zip(lines) {
        limbs.copy_from_slice(&line.0[..limbs.len()]);
    }
    limbs
}

fn write(limbs: &[u64], lines: &mut [Line]) {
    for (line, limbs) in lines.iter_mut().zip(limbs.chunks(LANES)) {
        *line = Line::default();
        line.0[..limbs.len()].copy_from_slice(limbs);
    }
}
