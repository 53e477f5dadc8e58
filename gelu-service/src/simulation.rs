//! What makes a run of server and clients repeatable, and its faults possible: for tests, behind a feature that no product
//! has.
//!
//! | in a product | in a [`Simulation`] |
//! |---|---|
//! | computing and disks have threads of their own | everything runs on this thread, after a delay and with one behind it |
//! | time | the paused clock of tokio: nobody waits, and it goes as the longest sleep says |
//! | randomness of the operating system | of the seed |
//! | sockets, TLS | [any streams](Server::attend), with an account |
//!
//! All else is the product's own code: greeting, sessions, machines, queue, leases, quotas, versions, books.
//!
//! # Security
//! Whoever knows the seed can decrypt.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::Duration;

use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::compute::beside;
use crate::error::Result;
pub use crate::server::simulated::Server;

/// A fault that is put into the server on purpose, to see whether a simulation finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Answers are booked when they have been sent, and not before.
    ChargeAfterAnswer,
}

/// Makes this thread's servers and clients a simulation for as long as it lives.
#[derive(Debug)]
pub struct Simulation(PhantomData<*const ()>);

struct World {
    rng: ChaCha20Rng,
    plant: Option<Plant>,
    late: Vec<Booking>,
}

type Booking = Box<dyn FnOnce() + Send>;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

impl Simulation {
    /// Begins one. Its runtime must be tokio's of the current thread, with the clock paused.
    ///
    /// # Panics
    /// When this thread has one already.
    pub fn begin(seed: [u8; 32], plant: Option<Plant>) -> Self {
        let rng = ChaCha20Rng::from_seed(seed);
        let world = World { rng, plant, late: Vec::new() };
        let before = WORLD.replace(Some(world));
        assert!(before.is_none(), "one simulation at a time on a thread");
        Self(PhantomData)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // What was not booked holds a server, whose end may come back here: only after the cell is free.
        drop(WORLD.take());
    }
}

fn world<T>(f: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(f))
}

/// How long work waits before it is done, and its result after it; `None` outside of a simulation.
pub(crate) fn delays() -> Option<[Duration; 2]> {
    world(|world| [(); 2].map(|()| Duration::from_micros(world.rng.next_u64() % LONGEST_MICROS)))
}

const LONGEST_MICROS: u64 = 8_000;

/// Does work on this thread, as another one would: whether or not anybody still waits for it.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    [before, after]: [Duration; 2],
) -> JoinHandle<T> {
    tokio::spawn(async move {
        sleep(before).await;
        let done = work();
        sleep(after).await;
        done
    })
}

/// Randomness of the seed; `None` outside of a simulation.
pub(crate) fn seeded() -> Option<ChaCha20Rng> {
    world(|world| {
        let mut seed = [0; 32];
        world.rng.fill_bytes(&mut seed);
        ChaCha20Rng::from_seed(seed)
    })
}

/// Whether [`Plant::ChargeAfterAnswer`] is there.
pub(crate) fn charges_late() -> bool {
    world(|world| world.plant == Some(Plant::ChargeAfterAnswer)).unwrap_or(false)
}

/// Puts a booking off until an answer was sent.
pub(crate) fn put_off(booking: impl FnOnce() + Send + 'static) {
    world(|world| world.late.push(Box::new(booking)));
}

/// Makes the bookings that were put off.
pub(crate) async fn charge_late() -> Result<()> {
    let late = world(|world| std::mem::take(&mut world.late)).unwrap_or_default();
    for booking in late {
        beside(booking).await?;
    }
    Ok(())
}
