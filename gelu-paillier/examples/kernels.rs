//! Times of one product modulo n² on this machine.
use std::time::Duration;

fn main() {
    let rng = &mut <rand::rngs::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(1);
    for bits in [1024, 1536, 2048, 3072, 4096] {
        let t = gelu_paillier::measure::kernel_times(bits, Duration::from_secs(1), rng).unwrap();
        println!("{t:?} speedup {:.2} utilization {:.3?} sqr/mul {:.2}", t.speedup(), t.utilization(), t.square/t.product);
    }
}
