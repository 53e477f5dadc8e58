//! The line of those who want to train: one at a time, first come, first served.
//!
//! After its lease a session joins at the end. Places belong to sessions, not to accounts: an
//! account with several sessions can wait in several places.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A line of tickets. The first one holds the lease.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: watch::Sender<VecDeque<u64>>,
    next: AtomicU64,
}

/// A place in the line, given up when it is dropped: however a session ends, the next one follows.
#[derive(Debug)]
pub(super) struct Ticket {
    line: watch::Sender<VecDeque<u64>>,
    number: u64,
}

impl Queue {
    /// Takes the last place.
    pub(super) fn join(&self) -> Ticket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.line.send_modify(|line| line.push_back(number));
        Ticket { line: self.line.clone(), number }
    }
}

/// Where a ticket stands, for who has handed it on.
#[derive(Debug)]
pub(super) struct Place {
    line: watch::Receiver<VecDeque<u64>>,
    number: u64,
}

impl Place {
    /// How many are before it; 0 once it holds the lease or has left.
    pub(super) fn position(&self) -> u32 {
        let line = self.line.borrow();
        let place = line.iter().position(|&number| number == self.number).unwrap_or(0);
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

impl Ticket {
    /// How many are before this one; 0 holds the lease.
    pub(super) fn position(&self) -> u32 {
        self.place().position()
    }

    /// Where it stands, wherever it goes.
    pub(super) fn place(&self) -> Place {
        Place { line: self.line.subscribe(), number: self.number }
    }

    /// Waits for the first place. Cancelling this loses nothing.
    pub(super) async fn turn(&self) {
        let mut changes = self.line.subscribe();
        let first = changes.wait_for(|line| line.front() == Some(&self.number)).await;
        first.expect("the ticket keeps its line");
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.line.send_modify(|line| line.retain(|&number| number != self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn turns_come_in_order_and_gaps_close() {
        let queue = Queue::default();
        let (a, b, c, d) = (queue.join(), queue.join(), queue.join(), queue.join());
        a.turn().await;
        assert!(b.turn().now_or_never().is_none());
        assert_eq!([&a, &b, &c, &d].map(Ticket::position), [0, 1, 2, 3]);
        drop(b);
        assert_eq!([&a, &c, &d].map(Ticket::position), [0, 1, 2]);
        let waiting = tokio::spawn(async move {
            c.turn().await;
            c
        });
        tokio::task::yield_now().await;
        drop(a);
        let c = waiting.await.unwrap();
        assert!(d.turn().now_or_never().is_none());
        drop(c);
        d.turn().await;
    }
}
