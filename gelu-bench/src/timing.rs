//! Medians of repeated runs, on one core; and what one thread has run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gelu_core::stats::median;

use crate::Error;

/// How often something is run before its median is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// At least.
    pub least: usize,
    /// At most.
    pub most: usize,
    /// No further run begins after this, once there are enough.
    pub budget: Duration,
}

impl Patience {
    /// The median time of `run` in seconds.
    ///
    /// # Errors
    /// What `run` says.
    pub fn median<T>(&self, mut run: impl FnMut() -> Result<T, Error>) -> Result<f64, Error> {
        self.median_after(|| Ok(()), |()| run())
    }

    /// The median time of `run` in seconds, each with what `prepare` gave it, which is not timed.
    ///
    /// # Errors
    /// What `prepare` or `run` says.
    pub fn median_after<P, T>(
        &self,
        mut prepare: impl FnMut() -> Result<P, Error>,
        mut run: impl FnMut(P) -> Result<T, Error>,
    ) -> Result<f64, Error> {
        let times = self.runs(|| {
            let prepared = prepare()?;
            let start = Instant::now();
            black_box(run(prepared)?);
            Ok(start.elapsed().as_secs_f64())
        });
        Ok(median(times?).expect("one run at least"))
    }

    /// What each `run` gave: of one at least.
    ///
    /// # Errors
    /// What `run` says.
    pub fn runs<T>(&self, mut run: impl FnMut() -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let (begin, least, mut all) = (Instant::now(), self.least.max(1), Vec::new());
        while all.len() < least || (all.len() < self.most && begin.elapsed() < self.budget) {
            all.push(run()?);
        }
        Ok(all)
    }
}

/// How long one thread takes for something, as far as can be told without what other programs took of its processor.
///
/// Linux counts what a thread has run in ticks of some milliseconds. So what is long is taken from there, and what is short by the
/// clock, of which the least of several runs is near the truth.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    clock: Instant,
    running: Option<Duration>,
}

impl Stopwatch {
    /// From now on, in this thread.
    pub fn start() -> Self {
        Self { running: running(), clock: Instant::now() }
    }

    /// Since the start. Work of other threads is in it only by the clock: see [`on_one_core`].
    pub fn elapsed(&self) -> Duration {
        let clock = self.clock.elapsed();
        let ran = running().zip(self.running).and_then(|(now, then)| now.checked_sub(then));
        match ran {
            Some(ran) if ran > Self::LONG => clock.min(ran),
            _ => clock,
        }
    }

    /// Some ticks.
    const LONG: Duration = Duration::from_millis(10);
}

/// How long this thread has run, where the system says.
fn running() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    statistics.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Runs `work` on one thread, so that its figures are those of a core, whatever else this process
/// does with all of them.
///
/// # Panics
/// When the system has no thread left.
pub fn on_one_core<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread").install(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_as_often_as_told() {
        let count = |patience: Patience| {
            let mut runs = 0;
            let median = patience.median(|| {
                runs += 1;
                Ok(())
            });
            assert!(median.unwrap() >= 0.0);
            runs
        };
        let patience = Patience { least: 3, most: 9, budget: Duration::ZERO };
        assert_eq!(count(patience), 3);
        assert_eq!(count(Patience { budget: Duration::from_secs(60), ..patience }), 9);
        assert_eq!(count(Patience { least: 0, most: 0, ..patience }), 1);
    }

    #[test]
    fn a_stopwatch_is_never_ahead_of_the_clock_and_does_not_stand_still() {
        let (watch, start) = (Stopwatch::start(), Instant::now());
        let mut sum = 0u64;
        while start.elapsed() < Duration::from_millis(60) {
            sum = black_box(sum.wrapping_mul(3) + 1);
        }
        let took = watch.elapsed();
        assert!(took > Duration::ZERO && took <= start.elapsed() + Duration::from_millis(1));
    }

    #[test]
    fn one_core_has_one_thread() {
        assert_eq!(on_one_core(rayon::current_num_threads), 1);
    }
}
