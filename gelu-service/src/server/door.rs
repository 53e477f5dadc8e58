//! Who is let in: strangers until they have greeted us, then sessions, so many for each account.
//!
//! Anybody can open a connection, and many. A stranger costs a socket and a task, is given a short
//! time, and holds no seat. When there are too many, from one network or in all, the one that came
//! first makes room for the newcomer: an honest client has greeted us within a few round trips, so
//! who fills the pool throws out nobody but itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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
    free: Arc<Semaphore>,
    most_of_account: usize,
    taken: Mutex<BTreeMap<String, usize>>,
}

/// A session's seat, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    account: String,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(limits: &Limits) -> Self {
        let free = Arc::new(Semaphore::new(limits.sessions));
        Self { free, most_of_account: limits.sessions_of_account, taken: Mutex::default() }
    }

    /// A seat for `account`.
    ///
    /// # Errors
    /// What the client is told: [`Goodbye::TooManySessions`] or [`Goodbye::Busy`].
    pub(super) fn take(self: &Arc<Self>, account: &str) -> Result<Seat, Goodbye> {
        let mut taken = self.taken();
        let of_account = taken.get(account).copied().unwrap_or(0);
        if of_account >= self.most_of_account {
            return Err(Goodbye::TooManySessions);
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| Goodbye::Busy)?;
        taken.insert(account.to_owned(), of_account + 1);
        Ok(Seat { seats: Arc::clone(self), account: account.to_owned(), _permit: permit })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        let left = taken.get(&self.account).map_or(0, |n| n - 1);
        match left {
            0 => taken.remove(&self.account),
            left => taken.insert(std::mem::take(&mut self.account), left),
        };
    }
}

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

    #[test]
    fn seats_are_counted_in_all_and_by_account() {
        let limits = Limits { sessions: 3, sessions_of_account: 2, ..Limits::default() };
        let seats = Arc::new(Seats::new(&limits));
        let take = |account| seats.take(account);
        let alice = [take("alice").unwrap(), take("alice").unwrap()];
        assert_eq!(take("alice").unwrap_err(), Goodbye::TooManySessions);
        let bob = take("bob").unwrap();
        assert_eq!(take("bob").unwrap_err(), Goodbye::Busy);
        assert_eq!(take("carol").unwrap_err(), Goodbye::Busy);
        drop(alice);
        let bob = [bob, take("bob").unwrap()];
        assert_eq!(take("bob").unwrap_err(), Goodbye::TooManySessions);
        take("alice").unwrap();
        drop(bob);
        assert!(seats.taken().is_empty());
    }
}
