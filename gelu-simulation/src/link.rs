//! A link between a client and a server: slow, silent for a while, or cut inside of a frame.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::disk::Power;
use crate::witness::Seen;
use crate::world::World;

struct Link {
    world: Arc<World>,
    /// Of the server's machine.
    power: Arc<Power>,
    seen: Mutex<Seen>,
    broken: watch::Sender<bool>,
    /// Bytes that cross at once.
    chunk: usize,
    /// The longest delay of a chunk.
    delay: Duration,
    /// Whether nobody hears of it when the server's machine dies.
    is_silent: bool,
    faults: Mutex<Faults>,
}

/// Bytes, of both directions, until something happens.
struct Faults {
    cut: Option<u64>,
    silence: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// The client's end and the server's end of a new link.
pub(crate) fn laid(
    world: &Arc<World>,
    power: &Arc<Power>,
    account: &str,
) -> (DuplexStream, DuplexStream) {
    let fault = |n| world.fault(n).then(|| world.draw_log(MOST_BYTES));
    let faults = Faults { cut: fault(4), silence: fault(8) };
    // One in four links is slow, and bytes go in small pieces on some.
    let delay = Duration::from_millis(if world.once_in(4) { 200 } else { 3 });
    let link = Arc::new(Link {
        world: Arc::clone(world),
        power: Arc::clone(power),
        seen: Mutex::new(Seen::new(account)),
        broken: watch::Sender::new(false),
        chunk: 1 << world.draw(9..17),
        delay,
        is_silent: world.once_in(2),
        faults: Mutex::new(faults),
    });
    let ((client, near), (far, server)) = (duplex(BUFFER), duplex(BUFFER));
    let ((from_client, to_client), (from_server, to_server)) = (split(near), split(far));
    tokio::spawn(carry(Arc::clone(&link), Way::Up, from_client, to_server));
    tokio::spawn(carry(link, Way::Down, from_server, to_client));
    (client, server)
}

/// Bytes of a whole session, or so.
const MOST_BYTES: u64 = 1 << 18;
const BUFFER: usize = 1 << 16;
const SILENCE: Duration = Duration::from_secs(40);

async fn carry(
    link: Arc<Link>,
    way: Way,
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
) {
    let mut broken = link.broken.subscribe();
    let carried = async {
        let mut bytes = vec![0; link.chunk];
        // An end that is gone breaks the link for the other end, which may still have something to say.
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            if link.chunk(way, &bytes[..read], &mut to).await.is_none() {
                return;
            }
        }
        if way == Way::Down && !link.power.is_on() && link.is_silent {
            sleep(SILENCE).await;
        }
        let _ = to.shutdown().await;
    };
    tokio::select! {
        biased;
        () = carried => {}
        _ = broken.wait_for(|broken| *broken) => {}
    }
}

impl Link {
    /// Takes some bytes over. `None`: the link is cut.
    async fn chunk(&self, way: Way, bytes: &[u8], to: &mut WriteHalf<DuplexStream>) -> Option<()> {
        // What a machine seems to say after its end was never said.
        if way == Way::Down && !self.power.is_on() {
            return Some(());
        }
        if way == Way::Up {
            self.seen().sent(bytes);
        }
        sleep(self.world.time(self.delay)).await;
        let crosses = self.fault(bytes.len() as u64).await;
        let bytes = &bytes[..usize::try_from(crosses).map_or(bytes.len(), |n| n.min(bytes.len()))];
        self.world.note(if way == Way::Up { "up" } else { "down" }, bytes);
        let arrived = to.write_all(bytes).await.is_ok();
        if way == Way::Down && arrived {
            self.arrived(bytes);
        }
        if crosses < u64::MAX {
            self.broken.send_replace(true);
            return None;
        }
        arrived.then_some(())
    }

    /// How many of so many bytes cross before the link is cut; all of them, unless it is.
    async fn fault(&self, bytes: u64) -> u64 {
        let passes = |left: &mut Option<u64>| match left {
            Some(before) if *before < bytes => left.take(),
            Some(before) => {
                *before -= bytes;
                None
            }
            None => None,
        };
        let (cut, silence) = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            (passes(&mut faults.cut), passes(&mut faults.silence))
        };
        if silence.is_some() {
            self.world.count(|counts| counts.silences += 1);
            sleep(self.world.time(SILENCE)).await;
        }
        if cut.is_some() {
            self.world.count(|counts| counts.cuts += 1);
        }
        cut.unwrap_or(u64::MAX)
    }

    fn arrived(&self, bytes: &[u8]) {
        let mut counts = self.world.counts();
        let seen = self.seen().arrived(bytes, &mut self.world.witness(), &mut counts);
        self.world.count(|all| *all = counts);
        if let Err(broken) = seen {
            self.world.breaks(broken);
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
