//! The model between two sockets.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

use super::{Direction, Profile, SEGMENT};

/// A port of this machine behind which a server is as far away as a [`Profile`] says: see the
/// [module](super). It closes, with all its connections, when it is dropped.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// What has gone through one direction of a relay, all connections together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes, those of TLS included.
    pub bytes: u64,
    /// Segments that were lost and came a round trip later.
    pub lost: u64,
    /// The most bytes that were on their way at a time.
    pub most_held: usize,
}

struct Shared {
    target: SocketAddr,
    link: Profile,
    began: Instant,
    stopping: AtomicBool,
    open: Mutex<Open>,
}

/// The connections, and where the seeds of the next one come from.
struct Open {
    seeds: ChaCha20Rng,
    connections: Vec<Connection>,
    closed: [Carried; 2],
}

struct Connection {
    sockets: [TcpStream; 2],
    queues: [Arc<Queue>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Listens on a free port of the loopback interface and carries every connection to `target`;
    /// `seed` decides on the losses.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(target: SocketAddr, link: &Profile, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let open = Open {
            seeds: ChaCha20Rng::seed_from_u64(seed),
            connections: Vec::new(),
            closed: [Carried::default(); 2],
        };
        let shared = Arc::new(Shared {
            target,
            link: link.clone(),
            began: Instant::now(),
            stopping: AtomicBool::new(false),
            open: Mutex::new(open),
        });
        let accepts = Arc::clone(&shared);
        let accepting = thread("accept", move || {
            for near in listener.incoming() {
                if accepts.stopping.load(Ordering::SeqCst) {
                    break;
                }
                // Whoever cannot be carried is hung up on, as by a server that is not there.
                let carried = near.and_then(|near| accepts.carry(near));
                if let Err(error) = carried {
                    tracing::warn!(%error, "the relay cannot carry a connection");
                }
            }
        })?;
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where clients connect instead of to the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has gone up to the server, and down to the clients, since the start.
    pub fn carried(&self) -> [Carried; 2] {
        let open = self.shared.open();
        open.connections.iter().fold(open.closed, |sum, connection| {
            let [up, down] = connection.queues.each_ref().map(|queue| queue.state().carried);
            [sum[0].plus(up), sum[1].plus(down)]
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The thread that accepts looks up when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let connections = core::mem::take(&mut self.shared.open().connections);
        connections.into_iter().for_each(Connection::end);
    }
}

impl core::fmt::Debug for Relay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Carried {
    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            lost: self.lost + other.lost,
            most_held: self.most_held.max(other.most_held),
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect(NO_PANIC)
    }

    fn carry(&self, near: TcpStream) -> io::Result<()> {
        let far = TcpStream::connect(self.target)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let mut open = self.open();
        // TCP's handshake: a round trip before the first byte.
        let opened = self.began.elapsed() + self.link.round_trip();
        let room = self.link.room();
        let queues = [0; 2].map(|_| Arc::new(Queue::new(room)));
        let mut threads = Vec::new();
        for (queue, [from, to]) in queues.iter().zip([[&near, &far], [&far, &near]]) {
            let line = Direction::new(&self.link, opened, open.seeds.next_u64());
            let (began, reads, writes) = (self.began, Arc::clone(queue), Arc::clone(queue));
            let (from, to, source) = (from.try_clone()?, to.try_clone()?, from.try_clone()?);
            threads.push(thread("read", move || reads.read(from, line, began))?);
            threads.push(thread("write", move || writes.write(to, &source, began))?);
        }
        let connection = Connection { sockets: [near, far], queues, threads };
        let done = |c: &Connection| c.threads.iter().all(JoinHandle::is_finished);
        let (over, mut going): (Vec<_>, Vec<_>) = open.connections.drain(..).partition(done);
        for connection in over {
            for (sum, queue) in open.closed.iter_mut().zip(&connection.queues) {
                *sum = sum.plus(queue.state().carried);
            }
        }
        going.push(connection);
        open.connections = going;
        Ok(())
    }
}

impl Connection {
    /// Breaks off, whatever is on its way.
    fn end(self) {
        self.queues.iter().for_each(|queue| queue.break_off());
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// What is on its way in one direction.
struct Queue {
    state: Mutex<State>,
    /// Something was put in, or it broke.
    filled: Condvar,
    /// Something was taken out, or it broke.
    emptied: Condvar,
    /// It broke.
    broken: Condvar,
    room: usize,
}

#[derive(Default)]
struct State {
    /// With the times at which they can be read, in order.
    chunks: VecDeque<(Duration, Vec<u8>)>,
    held: usize,
    /// When the end can be read, after all chunks.
    end: Option<Duration>,
    broken: bool,
    carried: Carried,
}

impl Queue {
    fn new(room: usize) -> Self {
        let [filled, emptied, broken] = [0; 3].map(|_| Condvar::new());
        Self { state: Mutex::default(), filled, emptied, broken, room }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }

    fn break_off(&self) {
        self.state().broken = true;
        [&self.filled, &self.emptied, &self.broken].into_iter().for_each(Condvar::notify_all);
    }

    /// Takes what the sender writes, as long as there is room.
    fn read(&self, mut from: TcpStream, mut line: Direction, began: Instant) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let full = |state: &mut State| !state.broken && state.held + CHUNK > self.room;
            let state = self.emptied.wait_while(self.state(), full).expect(NO_PANIC);
            if state.broken {
                return;
            }
            drop(state);
            // A connection that broke ends here for its receiver as one that was closed.
            let bytes = from.read(&mut buffer).unwrap_or(0);
            let (now, mut state) = (began.elapsed(), self.state());
            match bytes {
                0 => state.end = Some(line.close(now)),
                bytes => {
                    let due = line.send(now, bytes);
                    state.chunks.push_back((due, buffer[..bytes].to_vec()));
                    state.held += bytes;
                    let carried = &mut state.carried;
                    carried.bytes += bytes as u64;
                    carried.lost = line.lost();
                    state.carried.most_held = state.carried.most_held.max(state.held);
                }
            }
            self.filled.notify_all();
            if bytes == 0 {
                return;
            }
        }
    }

    /// Hands over what has arrived, and the end after it.
    fn write(&self, mut to: TcpStream, source: &TcpStream, began: Instant) {
        while let Some(due) = self.next_due() {
            let wait = due.saturating_sub(began.elapsed());
            let state = self.broken.wait_timeout_while(self.state(), wait, |s| !s.broken);
            let (mut state, _) = state.expect(NO_PANIC);
            if state.broken {
                return;
            }
            let now = began.elapsed();
            let mut arrived = Vec::new();
            while state.chunks.front().is_some_and(|(due, _)| *due <= now) {
                arrived.extend(state.chunks.pop_front().map_or(Vec::new(), |(_, chunk)| chunk));
            }
            drop(state);
            if to.write_all(&arrived).is_err() {
                // The receiver has gone: the sender learns it when it writes on.
                self.break_off();
                let _ = source.shutdown(Shutdown::Both);
                return;
            }
            let mut state = self.state();
            state.held -= arrived.len();
            let at_end = state.chunks.is_empty() && state.end.is_some_and(|end| end <= now);
            drop(state);
            self.emptied.notify_all();
            if at_end {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// When there is something to hand over next, the end included; `None` once it broke.
    fn next_due(&self) -> Option<Duration> {
        let next = |state: &State| state.chunks.front().map(|(due, _)| *due).or(state.end);
        let nothing = |state: &mut State| !state.broken && next(state).is_none();
        let state = self.filled.wait_while(self.state(), nothing).expect(NO_PANIC);
        next(&state).filter(|_| !state.broken)
    }
}

/// What is read, and later written, at a time: whole segments.
const CHUNK: usize = 11 * SEGMENT;
const NO_PANIC: &str = "nothing panics while it is held";

fn thread(what: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("gelu-link-{what}")).spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every connection by `serve`, behind a relay.
    fn behind(
        link: &str,
        seed: u64,
        serve: impl Fn(TcpStream) + Send + 'static,
    ) -> (Relay, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        thread("test", move || serve(listener.accept().unwrap().0)).unwrap();
        let relay = Relay::start(target, &link.parse().unwrap(), seed).unwrap();
        let client = TcpStream::connect(relay.address()).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (relay, client)
    }

    /// Reads everything, then answers with it.
    fn echo(mut server: TcpStream) {
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        server.write_all(&all).unwrap();
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        ChaCha20Rng::seed_from_u64(5).fill_bytes(&mut noise);
        noise
    }

    fn there_and_back(client: &mut TcpStream, message: &[u8]) -> Vec<u8> {
        client.write_all(message).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer
    }

    /// Up and down, each rate and delay, and the round trip of the connection before. Never faster
    /// than the formula; how much slower is the machine's business, so the bound is wide.
    #[test]
    fn a_transfer_takes_what_the_formula_says() {
        for words in ["delay=10ms", "delay=10ms,rate=16mbit", "delay=1ms,rate=80mbit"] {
            let link: Profile = words.parse().unwrap();
            let message = noise(200_000);
            let before = Instant::now();
            let (relay, mut client) = behind(words, 1, echo);
            let answer = there_and_back(&mut client, &message);
            let took = before.elapsed();
            assert!(answer == message);
            let expected = link.round_trip() + 2 * link.transfer(message.len());
            assert!(took >= expected, "{words}: {took:?}, not {expected:?}");
            assert!(
                took < expected + Duration::from_millis(150),
                "{words}: {took:?}, {expected:?}"
            );
            let carried = relay.carried();
            assert_eq!(carried.map(|c| (c.bytes, c.lost)), [(200_000, 0); 2]);
        }
    }

    /// A question and its answer over an idle connection: one round trip each.
    #[test]
    fn small_messages_take_a_round_trip() {
        let (_relay, mut client) = behind("delay=4ms", 1, |mut server| {
            let mut byte = [0];
            while server.read_exact(&mut byte).is_ok() {
                server.write_all(&byte).unwrap();
            }
        });
        let mut times = Vec::new();
        for n in 0..20 {
            let (start, mut answer) = (Instant::now(), [0]);
            client.write_all(&[n]).unwrap();
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [n]);
            times.push(start.elapsed());
        }
        assert!(times.iter().all(|time| *time >= Duration::from_millis(8)));
        times.sort();
        assert!(times[10] < Duration::from_millis(14), "{times:?}");
    }

    #[test]
    fn bytes_arrive_unchanged_and_in_order_whatever_is_lost() {
        let message = noise(300_000);
        let run = |seed| {
            let (relay, mut client) = behind("delay=2ms,rate=100mbit,loss=10%", seed, echo);
            let answer = there_and_back(&mut client, &message);
            assert!(answer == message);
            relay.carried().map(|c| c.lost)
        };
        let lost = run(1);
        assert!(lost.iter().all(|&lost| lost > 5), "{lost:?}");
    }

    /// A receiver that does not read stops the sender, and little is held meanwhile.
    #[test]
    fn a_fast_sender_is_held_back() {
        let words = "delay=5ms,rate=100mbit";
        let (relay, mut client) = behind(words, 1, |mut server| {
            std::thread::sleep(Duration::from_millis(300));
            echo(server.try_clone().unwrap());
            let _ = server.flush();
        });
        let message = noise(12 << 20);
        let mut writes = client.try_clone().unwrap();
        let sent = message.clone();
        let sender = thread("test", move || {
            writes.write_all(&sent).unwrap();
            writes.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        sender.unwrap().join().unwrap();
        assert!(answer == message);
        let room = words.parse::<Profile>().unwrap().room();
        for carried in relay.carried() {
            assert_eq!(carried.bytes, 12 << 20);
            assert!((room / 2..=room).contains(&carried.most_held), "{carried:?}");
        }
    }

    #[test]
    fn whoever_leaves_is_seen_to_leave() {
        // The server closes at once: the client reads the end.
        let (_relay, mut client) = behind("delay=1ms", 1, drop);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        // The relay goes: so do its connections.
        let (relay, mut client) = behind("delay=1s", 1, echo);
        client.write_all(b"on its way").unwrap();
        let start = Instant::now();
        drop(relay);
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
        assert!(start.elapsed() < Duration::from_millis(900), "did not wait for the delay");
        // Nobody listens: the client is hung up on.
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let relay = Relay::start(nobody, &Profile::lan(), 1).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
}
