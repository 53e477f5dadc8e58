//! What a key costs: to make with its proof, to read and check, and to send.
//!
//! ```sh
//! cargo run --release -p gelu-lattice --example keys
//! ```

use std::time::{Duration, Instant};

use gelu_lattice::{Parameters, PublicKey, SecretKey};

fn main() {
    println!("| N | bytes | made, median | made, longest of 40 | read, median |");
    println!("|---|---|---|---|---|");
    for degree in Parameters::KEY_BITS {
        let parameters = Parameters::of_degree(degree).expect("a ring");
        let make = |root| SecretKey::from_root(parameters.clone(), &[root; 32]);
        let bytes = make(0).public_key().to_bytes();
        let made = times(|root| drop(make(root)));
        let read = times(|_| drop(PublicKey::from_bytes(&bytes).expect("an honest key")));
        let median = |times: &[Duration]| times[times.len() / 2];
        let (longest, median_read) = (made[made.len() - 1], median(&read));
        println!(
            "| {degree} | {} | {:.1?} | {longest:.1?} | {median_read:.1?} |",
            bytes.len(),
            median(&made)
        );
    }
}

/// The sorted times of 40 runs.
fn times(mut run: impl FnMut(u8)) -> Vec<Duration> {
    let time = |root| {
        let start = Instant::now();
        run(root);
        start.elapsed()
    };
    let mut times: Vec<_> = (0..40).map(time).collect();
    times.sort_unstable();
    times
}
