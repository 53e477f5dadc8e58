//! Server, store and clients under faults, simulated: the same seed, the same run.
//!
//! ```text
//!  client ── link ── session ─ machine ┐
//!  client ── link ── session ─ machine ┼─ books ── redb ── disk        one server on a disk of its own
//!  liar ──── link ── session ─ machine ┘     └──── shared memory       two servers on shared books
//!             ↑                                ↑            ↑
//!      slow, silent, cut          crash, lost reply,   full, torn, crash
//!      inside of a frame             clock jumps       at any write
//! ```
//!
//! Everything but the boxes' edges is the product's own code (see [`gelu_service::simulation`]): it runs on one thread,
//! on a clock that waits for nobody. A seed decides on the clients and what they do, on every delay, and on the faults:
//! at which write a server dies and what of the unsynced bytes its disk keeps, when writes fail because the disk is
//! full, where the clock jumps, after which byte a link breaks. Clients come back until they have what they came for.
//!
//! # Laws
//! Checked at every crash, on what the disk has kept, and at the end of a run:
//!
//! | law | how it is seen |
//! |---|---|
//! | what was answered was booked | bits of all answers that arrived at an account's clients ≤ bits in its books |
//! | a version is whole or absent | its bytes load, and their hash is what the books say; versions follow each other without a gap |
//! | a lease commits once | every version is the end of one lease of the journal, and of the account that was told so |
//! | a ticket is used once | of every session: answers name tickets that it has made, each once, whatever a liar repeats |
//! | the books agree with themselves | [`Store::verify`](gelu_store::Store::verify) |
//! | faults end | then every client gets its answer, a new server starts and answers as the model in the books does |
//! | nobody is blamed for a fault | no session of an honest client ends as misbehaviour, or as a mistake of the program |
#![forbid(unsafe_code)]

mod books;
mod client;
mod disk;
mod laws;
mod liar;
mod link;
mod search;
mod server;
mod subject;
mod witness;
mod world;

use std::sync::Arc;
use std::time::Duration;

use gelu_service::simulation::Simulation;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use gelu_service::simulation::Plant;
pub use search::{Found, search};
use server::Site;
use world::World;
pub use world::{Broken, Counts};

/// A run in which every law held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The hash of all that crossed links, of every write and of every fault, in order and with its time.
    pub trace: String,
    /// What has happened.
    pub counts: Counts,
}

/// Runs a seed, with a fault `plant`ed into the server or with none.
///
/// # Errors
/// The first law that was broken.
///
/// # Panics
/// Inside of a runtime of tokio.
pub fn run(seed: u64, plant: Option<Plant>) -> Result<Run, Broken> {
    stay_on_this_thread();
    let world = World::new(seed);
    // Before the runtime, so that it ends after it: what the runtime drops may still ask for it.
    let _simulation = Simulation::begin(world.bytes(), plant);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| Broken::Setup(error.to_string()))?;
    let lived = runtime.block_on(async {
        // Timers go by whole milliseconds from the runtime's start, which is a moment before the clock's.
        sleep(Duration::from_millis(1)).await;
        let site = Site::new(&world).map_err(|error| Broken::Setup(error.to_string()))?;
        let lived = timeout(LONGEST, live(&world, &site)).await;
        lived.unwrap_or(Err(Broken::Liveness("somebody waits for ever".into())))?;
        Ok(Run { trace: world.trace(), counts: world.counts() })
    });
    world.broken().map_or(lived, Err)
}

/// Far more than any client needs, by the clock of the simulation.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

async fn live(world: &Arc<World>, site: &Arc<Site>) -> Result<(), Broken> {
    let mut servers = site.power_on();
    let mut clients = JoinSet::new();
    for client in client::drawn(world) {
        clients.spawn(client.live(Arc::clone(world), Arc::clone(site)));
    }
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| Broken::Blame(error.to_string()))??;
    }
    site.quit();
    while let Some(ended) = servers.join_next().await {
        ended.map_err(|error| Broken::Blame(error.to_string()))??;
    }
    world.end_faults();
    site.judge().await
}

/// Parallel loops run on the thread that they begin on, and so in one order.
fn stay_on_this_thread() {
    thread_local! {
        static POOL: Option<ThreadPool> =
            ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok();
    }
    POOL.with(|_| ());
}
