//! Where the computing is done: on the threads of one pool, however many sessions ask.
//!
//! ```text
//!  sockets   tokio's threads: read, write, encrypt for TLS
//!  jobs      rayon's global pool: every message is worked on here, from its first byte to the last
//! ```
//!
//! A job runs *inside* the pool, not beside it: what of it is serial takes a thread of the pool, and
//! what is parallel spreads over the others. So a process computes on as many threads as the pool
//! has, and no session can add one. A thread that waits for the rest of its own job may take up the
//! job of another session meanwhile; hence a job must not hold a lock while it goes parallel.
//!
//! What waits for a disk or a database computes nothing and runs [`beside`] both.

use std::any::Any;

use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Runs a job on the pool. The thread that waits for it sleeps.
///
/// If the caller stops waiting, the job runs to its end all the same.
///
/// # Errors
/// [`Error::Bug`] when the job panics.
pub async fn on_pool<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = start(Box::new(move || Box::new(job()))).await;
    let result = done.map_err(|e| Error::Bug(e.to_string()))?.downcast();
    Ok(*result.map_err(|_| Error::Bug("a job returned another type than its own".into()))?)
}

/// A job of any type: what carries it from thread to thread, hundreds of functions of tokio and rayon, is compiled
/// once, and not for each of sixty jobs under all backends.
type Job = Box<dyn FnOnce() -> Done + Send>;
type Done = Box<dyn Any + Send>;

fn start(job: Job) -> JoinHandle<Done> {
    spawn_blocking(move || rayon::scope(move |_| job()))
}

/// Runs what waits for a disk or a database, on a thread that may wait.
///
/// If the caller stops waiting, it runs to its end all the same.
///
/// # Errors
/// [`Error::Bug`] when it panics.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.map_err(|e| Error::Bug(e.to_string()))
}

/// Begins it at once, on a thread of tokio's; in a simulation, on this one.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(feature = "simulation")]
    if let Some(delays) = crate::simulation::delays() {
        return crate::simulation::spawn(work, delays);
    }
    tokio::task::spawn_blocking(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn many_sessions_compute_on_no_more_threads_than_the_pool_has() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..4 * rayon::current_num_threads()).map(|number| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(on_pool(move || {
                assert!(rayon::current_thread_index().is_some(), "on a thread of the pool");
                most.fetch_max(1 + running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
                number
            }))
        });
        for (number, job) in jobs.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(job.await.unwrap().unwrap(), number);
        }
        assert!((1..=rayon::current_num_threads()).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn a_panic_is_the_job_s_own() {
        let failed = on_pool(|| panic!("as a test")).await;
        assert!(matches!(failed, Err::<(), _>(Error::Bug(_))));
        assert_eq!(on_pool(|| 1 + 1).await.unwrap(), 2);
    }
}
