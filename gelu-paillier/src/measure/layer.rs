//! What an encrypted layer asks of the kernel, counted while it runs.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use gelu_core::Result;
use gelu_core::error::ApiMisuse;
use gelu_core::linear::Taps;

use super::Form;
use crate::kernel::Choice;
use crate::kernel::counting::Counters;
use crate::linear;
use crate::ring::Ring;
use crate::{Ciphertext, PublicKey};

/// The work of one encrypted layer, counted, and its time on one core.
///
/// Inverting (at most once a layer) is not the kernel's, so it is in the time only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerWork {
    /// The kernel's elements.
    pub form: Form,
    /// Products of two elements.
    pub products: u64,
    /// Squares.
    pub squares: u64,
    /// Products and squares that there would have been if all lanes had always been full.
    pub room: u64,
    /// Bytes of operands and results that went in and out of the kernel, whichever cache they were
    /// in; what it keeps between the factors of a product is not among them.
    pub bytes: u64,
    /// Seconds of a run: processor time where the system tells it, or else by the clock. Runs are too
    /// long to fall between the turns of other programs.
    pub seconds: f64,
}

impl LayerWork {
    /// What was multiplied, in products of two 64-bit words.
    pub fn words(&self) -> f64 {
        self.products as f64 * self.form.words_a_product()
            + self.squares as f64 * self.form.words_a_square()
    }
}

/// Σ `weights`·`inputs` for each output of `taps`, as the backend computes it: with the kernel of
/// this machine, or with the portable one. The result is for the caller to decrypt and check.
///
/// # Errors
/// [`ApiMisuse`] without inputs or runs, or when there is no thread to be had.
///
/// # Panics
/// When the inputs are not under this key.
pub fn layer(
    public: &PublicKey,
    portable: bool,
    (taps, weights): (&Taps, &[i128]),
    inputs: &[Ciphertext],
    runs: usize,
) -> Result<(Vec<Ciphertext>, LayerWork)> {
    if inputs.is_empty() || runs == 0 {
        return Err(ApiMisuse::Empty("a matrix product or its runs").into());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|why| ApiMisuse::configuration("a thread", why.to_string()))?;
    let counters = Arc::new(Counters::default());
    let choice = if portable { Choice::Portable } else { Choice::Best };
    let ring = Ring::counted(&public.ring().modulus(0), choice, Arc::clone(&counters));
    let ring = ring.expect("a size for which this key has a ring");

    let units: Vec<_> = inputs.iter().map(|input| input.under(public)).collect();
    let units = ring.import(&public.ring().export(&units));
    let take = || {
        let counters = [&counters.products, &counters.squares, &counters.room, &counters.bytes];
        counters.map(|counter| counter.swap(0, Ordering::Relaxed))
    };
    let run = || linear::matvec(&ring, taps, weights, &units.refs());
    take();
    let sums = pool.install(run);
    let [products, squares, room, bytes] = take();
    let seconds = pool.install(|| time(runs, || drop(black_box(run()))));
    let form = Form::of(&ring);
    let work = LayerWork { form, products, squares, room, bytes, seconds };
    let sums = public.ring().import(&ring.export(&sums.refs()));
    Ok((public.ciphertexts(&sums), work))
}

/// Seconds of one call, on this thread, from `runs` calls or more.
fn time(mut runs: usize, call: impl Fn()) -> f64 {
    let start = Instant::now();
    let now = || processor_time().unwrap_or_else(|| start.elapsed().as_secs_f64());
    loop {
        let before = now();
        (0..runs).for_each(|_| call());
        let seconds = now() - before;
        if seconds >= LEAST {
            return seconds / runs as f64;
        }
        runs *= 2;
    }
}

/// Seconds that this thread has had a processor, where the system tells.
fn processor_time() -> Option<f64> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(statistics.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// Seconds to be measured at least: Linux counts processor time in steps of up to 4 ms.
const LEAST: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InsecurePaillier as P;
    use gelu_core::linear::Tap;
    use gelu_core::{AdditiveHE, Cryptosystem, Plaintext, SlotShape};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// Three inputs, one output, weights 1: two products, however they are computed.
    #[test]
    fn counts_by_hand() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let secret = P::keygen(512, rng).unwrap();
        let public = P::public_key(&secret);
        let plain: Vec<_> = (1..=3).map(|x| Plaintext::new(32, vec![x]).unwrap()).collect();
        let inputs = P::encrypt_many(&secret, &plain, rng).unwrap();
        let taps = Taps::from_rows([[0, 1, 2].map(|source| Tap { source, weight: 0 })]);
        let shape = SlotShape { bits: 32, count: 1 };
        for portable in [false, true] {
            let (sums, work) = layer(public, portable, (&taps, &[1]), &inputs, 1).unwrap();
            let sum = P::decrypt(&secret, &sums[0], shape).unwrap();
            assert_eq!(sum.values(), [6]);
            assert_eq!((work.products, work.squares), (2, 0), "{work:?}");
            assert!(work.room >= work.products && work.room.is_multiple_of(8), "{work:?}");
            // At least each input read and the result written.
            assert!(work.bytes >= 4 * work.form.element_bytes as u64, "{work:?}");
            assert_eq!(work.words(), 2.0 * work.form.words_a_product());
            // Twice the sum is a square more.
            let (sums, twice) = layer(public, portable, (&taps, &[2]), &inputs, 1).unwrap();
            assert_eq!(P::decrypt(&secret, &sums[0], shape).unwrap().values(), [12]);
            assert_eq!(twice.squares, 1, "{twice:?}");
        }
        let kernels = [false, true]
            .map(|portable| layer(public, portable, (&taps, &[1]), &inputs, 1).unwrap().1.form);
        assert_eq!((kernels[1].kernel, kernels[1].limbs, kernels[1].radix), ("portable", 9, 64));
        assert!(layer(public, false, (&taps, &[1]), &[], 1).is_err());
    }
}
