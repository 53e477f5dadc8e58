//! Independent products, one at a time: collected until the lanes of the kernel are full.

use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

impl Ring {
    /// acc\[k\] ← acc\[k\]^(2^squarings) · factor, for the pairs (k, factor) of `jobs`.
    ///
    /// Jobs for one k are done in their order. With two moduli, job j must concern modulus j mod 2.
    pub(crate) fn update<'f>(
        &self,
        acc: &mut Elements,
        squarings: usize,
        jobs: impl IntoIterator<Item = (usize, &'f [Line])>,
    ) {
        let mut batch = Batch::new(self, acc, squarings);
        for (k, factor) in jobs {
            batch.push(k, factor);
        }
        batch.finish();
    }
}

/// Collects independent products until the lanes are full.
///
/// Operands are announced to the processor when they come and used a full batch later, which hides
/// that big tables lie in slow memory.
struct Batch<'r, 'f> {
    ring: &'r Ring,
    acc: &'r mut Elements,
    squarings: usize,
    waiting: Vec<(usize, &'f [Line])>,
    results: Vec<Line>,
}

impl<'r, 'f> Batch<'r, 'f> {
    /// For products acc\[k\]^(2^squarings) · factor.
    fn new(ring: &'r Ring, acc: &'r mut Elements, squarings: usize) -> Self {
        let results = vec![Line::default(); LANES * ring.stride()];
        Self { ring, acc, squarings, waiting: Vec::with_capacity(2 * LANES), results }
    }

    /// Multiplies `factor` into number `k`, now or later.
    fn push(&mut self, k: usize, factor: &'f [Line]) {
        self.ring.kernel().prefetch(factor);
        self.ring.kernel().prefetch(self.acc.get(k));
        self.waiting.push((k, factor));
        if self.waiting.len() == 2 * LANES {
            self.run();
        }
    }

    /// Does all that waits.
    fn finish(mut self) {
        while !self.waiting.is_empty() {
            self.run();
        }
    }

    /// Does the first eight, or fewer when one of them needs another's result.
    fn run(&mut self) {
        let seen = |j: usize| self.waiting[..j].iter().any(|(k, _)| *k == self.waiting[j].0);
        let most = self.waiting.len().min(LANES);
        let count = (1..most).find(|&j| seen(j)).unwrap_or(most);
        let mut a = [&[][..]; LANES];
        let mut b = [&[][..]; LANES];
        for (j, &(k, factor)) in self.waiting[..count].iter().enumerate() {
            (a[j], b[j]) = (self.acc.get(k), factor);
        }
        let stride = self.ring.stride();
        let out = &mut self.results[..count * stride];
        self.ring.kernel().run(&a[..count], self.squarings, Some(&b[..count]), out);
        for ((k, _), result) in self.waiting[..count].iter().zip(out.chunks_exact(stride)) {
            self.acc.get_mut(*k).copy_from_slice(result);
        }
        self.waiting.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Choice;
    use crate::oracle::boxed;
    use crate::ring::tests::{digits, modulus, residue, value};

    #[test]
    fn one_number_may_be_multiplied_many_times() {
        let n = modulus(512, 9, 1);
        for choice in Choice::all() {
            let ring = Ring::new(&[&boxed(&n, 512)], choice).unwrap();
            let x = residue(&n, 9, 5);
            let factors = ring.import(&[digits(&x, &n)]);
            let mut acc = ring.empty();
            acc.push(ring.one(0));
            acc.push(ring.one(0));
            let order = [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            ring.update(&mut acc, 0, order.map(|k| (k, factors.get(0))));
            let got = ring.export(&acc.refs());
            let n2 = &n * &n;
            assert_eq!(value(&got[0], &n), x.modpow(&16u8.into(), &n2));
            assert_eq!(value(&got[1], &n), x.modpow(&3u8.into(), &n2));
        }
    }
}
