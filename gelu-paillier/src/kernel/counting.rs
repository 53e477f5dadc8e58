//! A kernel that counts what another one is asked to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Issue, Kernel, LANES, Line};

/// What was asked, so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Products of two elements.
    pub(crate) products: AtomicU64,
    /// Squares.
    pub(crate) squares: AtomicU64,
    /// Products and squares that full lanes would have made in the same number of batches.
    pub(crate) room: AtomicU64,
    /// Bytes of the operands and results that were handed over.
    pub(crate) bytes: AtomicU64,
}

/// Another kernel, with [`Counters`].
pub(crate) struct Counting {
    inner: Box<dyn Kernel>,
    counters: Arc<Counters>,
}

impl Counting {
    pub(crate) fn new(inner: Box<dyn Kernel>, counters: Arc<Counters>) -> Self {
        Self { inner, counters }
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, by: usize) {
        counter(&self.counters).fetch_add(by as u64, Ordering::Relaxed);
    }

    fn bytes(&self, elements: &[&[Line]]) -> usize {
        elements.iter().map(|element| size_of_val(*element)).sum()
    }
}

impl Kernel for Counting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn radix(&self) -> u32 {
        self.inner.radix()
    }

    fn limbs(&self) -> usize {
        self.inner.limbs()
    }

    fn run(&self, a: &[&[Line]], squarings: usize, b: Option<&[&[Line]]>, out: &mut [Line]) {
        let products = usize::from(b.is_some());
        self.count(|c| &c.products, products * a.len());
        self.count(|c| &c.squares, squarings * a.len());
        self.count(|c| &c.room, (products + squarings) * LANES);
        let read = self.bytes(a) + b.map_or(0, |b| self.bytes(b));
        self.count(|c| &c.bytes, read + size_of_val(out));
        self.inner.run(a, squarings, b, out);
    }

    fn product(&self, factors: &[&[Line]], lanes: usize, out: &mut [Line]) {
        self.count(|c| &c.products, factors.len() - lanes);
        self.count(|c| &c.room, (factors.len() / lanes - 1) * LANES);
        self.count(|c| &c.bytes, self.bytes(factors) + size_of_val(out));
        self.inner.product(factors, lanes, out);
    }

    fn select(&self, table: &[&[Line]], digit: u8, out: &mut [Line]) {
        self.count(|c| &c.bytes, self.bytes(table) + size_of_val(out));
        self.inner.select(table, digit, out);
    }

    fn powers_of_primes(&self, primes: &[u32], exponents: &[[u8; LANES]], out: &mut [Line]) {
        self.count(|c| &c.bytes, size_of_val(out));
        self.inner.powers_of_primes(primes, exponents, out);
    }

    fn combine(&self, terms: [&[Line]; 2], factors: &[[u8; LANES]]) -> [Line; LANES] {
        self.count(|c| &c.bytes, size_of_val(terms[0]) + size_of_val(terms[1]));
        self.inner.combine(terms, factors)
    }

    fn prefetch(&self, element: &[Line]) {
        self.inner.prefetch(element);
    }

    fn issue(&self) -> Option<Issue> {
        self.inner.issue()
    }
}
