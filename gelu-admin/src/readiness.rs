//! Whether clients may be sent here, and whether the server's loop still turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How far a server is in its life. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Stage>>);

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    #[default]
    Starting,
    Serving,
    Draining,
}

impl Readiness {
    /// A server that has not begun to listen.
    pub fn starting() -> Self {
        Self::default()
    }

    /// Models are loaded, and clients are listened to.
    pub fn serve(&self) {
        self.set(Stage::Serving);
    }

    /// Nobody is let in any more; who is inside may finish.
    pub fn drain(&self) {
        self.set(Stage::Draining);
    }

    /// Why clients should not be sent here, as far as this stage goes.
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Starting => Err("starting: the models are not loaded yet".into()),
            Stage::Serving => Ok(()),
            Stage::Draining => {
                Err("draining: the server is asked to stop and lets nobody in".into())
            }
        }
    }

    fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// Beats on the server's runtime as long as that runs tasks. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Pulse {
    seen: Arc<Seen>,
    beating: JoinHandle<()>,
}

/// When it last beat, in milliseconds from `origin`.
#[derive(Debug)]
pub(crate) struct Seen {
    origin: Instant,
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn of(server: &Handle, every: Duration) -> Self {
        let seen = Arc::new(Seen { origin: Instant::now(), last: AtomicU64::new(0) });
        let beats = Arc::clone(&seen);
        let beating = server.spawn(async move {
            loop {
                beats.last.store(beats.now(), Ordering::Relaxed);
                tokio::time::sleep(every).await;
            }
        });
        Self { seen, beating }
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl Seen {
    /// How long ago it last beat.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
