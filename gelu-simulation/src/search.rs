//! Many seeds on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use gelu_service::simulation::Plant;

use crate::world::{Broken, Counts};

/// The first seed that breaks a law.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {broken}")]
pub struct Found {
    /// The seed: [`run`](crate::run) it once more.
    pub seed: u64,
    /// The law.
    #[source]
    pub broken: Broken,
}

/// Runs `seeds`, as many at a time as there are cores, and tells `done` of each that is over. What has happened in all
/// of them.
///
/// # Errors
/// The first seed that breaks a law; those after it are not all run.
pub fn search(
    seeds: Range<u64>,
    plant: Option<Plant>,
    done: &(dyn Fn() + Sync),
) -> Result<Counts, Found> {
    let next = AtomicU64::new(seeds.start);
    let result: Mutex<Result<_, Found>> = Mutex::new(Ok(Counts::default()));
    let lock = || result.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            // In order: whoever has a seed before the one that was found still runs it to its end.
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end || lock().is_err() {
                return;
            }
            let ran = crate::run(seed, plant);
            let mut result = lock();
            match (ran, &mut *result) {
                (Ok(run), Ok(counts)) => *counts = counts.plus(run.counts),
                (Err(broken), before) => {
                    if before.as_ref().err().is_none_or(|found| seed < found.seed) {
                        *before = Err(Found { seed, broken });
                    }
                }
                (Ok(_), Err(_)) => {}
            }
            drop(result);
            done();
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    result.into_inner().unwrap_or_else(PoisonError::into_inner)
}
