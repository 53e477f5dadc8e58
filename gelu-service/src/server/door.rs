//! Who is let in: strangers until they have greeted us, then sessions, so many for each account.
//!
//! Anybody can open a connection, and many. A stranger costs a socket and a task, is given a short
//! time, and holds no seat. When there are too many, from one network or in all, the one that came
//! first makes room for the newcomer: an honest client has greeted us within a few round trips, so
//! who fills the pool throws out nobody but itself.
//!
//! Who finds no seat is told when to come back: when as many seats will have become free as others were sent away before.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Goodbye;
use crate::limits::Limits;

/// Connections that are not yet authenticated.
#[derive(Debug)]
pub(super) struct Strangers {
    most: usize,
    most_of_network: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came.
    strangers: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    by_network: BTreeMap<IpAddr, usize>,
}

/// A place among the strangers, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<Strangers>,
    number: u64,
    sent_away: oneshot::Receiver<()>,
}

impl Strangers {
    pub(super) fn new(limits: &Limits) -> Self {
        let (most, most_of_network) = (limits.strangers, limits.strangers_of_network);
        Self { most, most_of_network, waiting: Mutex::default() }
    }

    /// Takes in a connection from `address`, in the place of an older one if need be.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Place {
        let network = network(address);
        let mut waiting = self.waiting();
        if waiting.by_network.get(&network).is_some_and(|&n| n >= self.most_of_network) {
            waiting.send_oldest_away(network);
        }
        if waiting.strangers.len() >= self.most {
            waiting.make_room();
        }
        let (leave, sent_away) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.strangers.insert(number, (network, leave));
        *waiting.by_network.entry(network).or_default() += 1;
        Place { pool: Arc::clone(self), number, sent_away }
    }

    /// Sends one away, for what it holds.
    pub(super) fn make_room(&self) {
        self.waiting().make_room();
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The network with the most strangers loses its oldest.
    fn make_room(&mut self) {
        let greediest = self.by_network.iter().max_by_key(|(_, strangers)| **strangers);
        if let Some((&network, _)) = greediest {
            self.send_oldest_away(network);
        }
    }

    fn send_oldest_away(&mut self, network: IpAddr) {
        let oldest = self.strangers.iter().find(|(_, (of, _))| *of == network);
        if let Some((&number, _)) = oldest {
            self.remove(number);
        }
    }

    /// Its task hears of it, because the sender is dropped.
    fn remove(&mut self, number: u64) {
        let Some((network, _)) = self.strangers.remove(&number) else { return };
        let left = self.by_network.get_mut(&network).map(|n| {
            *n -= 1;
            *n
        });
        if left == Some(0) {
            self.by_network.remove(&network);
        }
    }
}

impl Place {
    /// Is ready when a newcomer needs the place. Cancelling this loses nothing.
    pub(super) async fn sent_away(&mut self) {
        let _ = (&mut self.sent_away).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.waiting().remove(self.number);
    }
}

/// Who gets one address of IPv6 gets 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// The sessions that a server has room for.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    most_of_account: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// When each session began.
    began: BTreeMap<u64, Instant>,
    by_account: BTreeMap<String, usize>,
    /// How long the last sessions took.
    lengths: VecDeque<Duration>,
    /// Clients that were sent away and have not been made up for by a seat that became free.
    sent_away: u32,
}

/// A session's seat, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    account: String,
    number: u64,
}

impl Seats {
    pub(super) fn new(limits: &Limits) -> Self {
        let (most, most_of_account) = (limits.sessions, limits.sessions_of_account);
        Self { most, most_of_account, taken: Mutex::default() }
    }

    /// A seat for `account`.
    ///
    /// # Errors
    /// What the client is told: [`Goodbye::TooManySessions`] or [`Goodbye::Busy`].
    pub(super) fn take(self: &Arc<Self>, account: &str) -> Result<Seat, Goodbye> {
        let mut taken = self.taken();
        let of_account = taken.by_account.get(account).copied().unwrap_or(0);
        if of_account >= self.most_of_account {
            return Err(Goodbye::TooManySessions);
        }
        if taken.began.len() >= self.most {
            taken.sent_away = taken.sent_away.saturating_add(1);
            return Err(Goodbye::Busy { seconds: taken.come_back_in() });
        }
        let number = taken.next;
        taken.next += 1;
        taken.began.insert(number, Instant::now());
        taken.by_account.insert(account.to_owned(), of_account + 1);
        Ok(Seat { seats: Arc::clone(self), account: account.to_owned(), number })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// With n seats and sessions of m seconds, m / n seconds go by from one free seat to the next. As m serves the median
    /// of the last sessions; where none has ended yet, that of the time for which they have gone on.
    fn come_back_in(&self) -> u16 {
        let now = Instant::now();
        let mut lengths: Vec<Duration> = match self.lengths.is_empty() {
            false => self.lengths.iter().copied().collect(),
            true => self.began.values().map(|&began| now - began).collect(),
        };
        lengths.sort_unstable();
        let median = lengths.get(lengths.len() / 2).map_or(0.0, Duration::as_secs_f64);
        let seconds = median * f64::from(self.sent_away) / self.began.len().max(1) as f64;
        // Within 1 to 300: no truncation.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let seconds = seconds.ceil().clamp(1.0, f64::from(LONGEST_WAIT)) as u16;
        seconds
    }

    fn give_up(&mut self, account: &str, number: u64) {
        if let Some(began) = self.began.remove(&number) {
            self.lengths.push_back(began.elapsed());
            if self.lengths.len() > LENGTHS {
                self.lengths.pop_front();
            }
        }
        self.sent_away = self.sent_away.saturating_sub(1);
        match self.by_account.get_mut(account) {
            Some(sessions @ 2..) => *sessions -= 1,
            _ => drop(self.by_account.remove(account)),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().give_up(&self.account, self.number);
    }
}

/// The longest time in seconds after which a client is told to come back: things change.
const LONGEST_WAIT: u16 = 300;
/// So many sessions are remembered.
const LENGTHS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::error::TryRecvError;

    fn pool(strangers: usize, strangers_of_network: usize) -> Arc<Strangers> {
        let limits = Limits { strangers, strangers_of_network, ..Limits::default() };
        Arc::new(Strangers::new(&limits))
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn gone(places: &mut [Place]) -> Vec<bool> {
        places.iter_mut().map(|p| p.sent_away.try_recv() == Err(TryRecvError::Closed)).collect()
    }

    #[test]
    fn the_oldest_of_a_full_network_makes_room() {
        let pool = pool(100, 3);
        let mut places: Vec<_> = (0..3).map(|_| pool.admit(address(1))).collect();
        places.insert(0, pool.admit(address(2)));
        assert_eq!(gone(&mut places), [false; 4]);
        places.push(pool.admit(address(1)));
        assert_eq!(gone(&mut places), [false, true, false, false, false]);
        // Who has left by itself has made room: nobody is sent away for the next one.
        places.pop();
        places.push(pool.admit(address(1)));
        assert_eq!(gone(&mut places), [false, true, false, false, false]);
        drop(places);
        assert!(pool.waiting().strangers.is_empty() && pool.waiting().by_network.is_empty());
    }

    #[test]
    fn the_greediest_network_makes_room_in_a_full_pool() {
        let pool = pool(4, 3);
        let mut places: Vec<_> =
            [2, 1, 1, 1].into_iter().map(|last| pool.admit(address(last))).collect();
        places.push(pool.admit(address(3)));
        assert_eq!(gone(&mut places), [false, true, false, false, false]);
        pool.make_room();
        assert_eq!(gone(&mut places), [false, true, true, false, false]);
        assert_eq!(pool.waiting().strangers.len(), 3);
    }

    #[test]
    fn a_network_is_one_address_of_ipv4_and_64_bits_of_ipv6() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::2"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!same("::ffff:10.0.0.1", "::ffff:10.0.0.2"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }

    fn seats(sessions: usize, sessions_of_account: usize) -> Arc<Seats> {
        let limits = Limits { sessions, sessions_of_account, ..Limits::default() };
        Arc::new(Seats::new(&limits))
    }

    #[test]
    fn seats_are_counted_in_all_and_by_account() {
        let seats = seats(3, 2);
        let take = |account| seats.take(account);
        let is_busy = |account| matches!(take(account), Err(Goodbye::Busy { .. }));
        let alice = [take("alice").unwrap(), take("alice").unwrap()];
        assert_eq!(take("alice").unwrap_err(), Goodbye::TooManySessions);
        let bob = take("bob").unwrap();
        assert!(is_busy("bob") && is_busy("carol"));
        drop(alice);
        let bob = [bob, take("bob").unwrap()];
        assert_eq!(take("bob").unwrap_err(), Goodbye::TooManySessions);
        take("alice").unwrap();
        drop(bob);
        let taken = seats.taken();
        assert!(taken.began.is_empty() && taken.by_account.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_seat_is_told_when_one_will_be_free() {
        let seats = seats(4, 4);
        let wait = |account| match seats.take(account) {
            Err(Goodbye::Busy { seconds }) => seconds,
            other => panic!("{other:?}"),
        };
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let taken: Vec<_> = (0..4).map(|_| seats.take("alice").unwrap()).collect();
        assert_eq!(wait("bob"), 1, "nobody knows yet how long sessions take");
        pass(40).await;
        assert_eq!(
            wait("bob"),
            20,
            "the second one that was sent away; a seat every 10 s, it seems"
        );
        pass(40).await;
        drop(taken);
        // Four have ended after 80 s each: a seat every 20 s. All that were sent away have been made up for.
        let _taken: Vec<_> = (0..4).map(|_| seats.take("alice").unwrap()).collect();
        assert_eq!([wait("bob"), wait("bob"), wait("carol")], [20, 40, 60]);
        (0..100).for_each(|_| assert!(wait("bob") > 60));
        assert_eq!(wait("bob"), LONGEST_WAIT);
    }
}
