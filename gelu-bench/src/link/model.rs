//! One direction of a link, without sockets and without a clock.

use std::time::Duration;

use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::Profile;

/// Bytes that are lost, or not, together: what TCP puts into a packet of Ethernet.
pub const SEGMENT: usize = 1460;

/// A line that is taken until some time, and a receiver that reads in order: see the
/// [module](super) for the model. Times count from any beginning.
#[derive(Debug)]
pub struct Direction {
    link: Profile,
    /// When the line is free.
    free: Duration,
    /// When all that was sent so far has arrived.
    read: Duration,
    losses: ChaCha20Rng,
    lost: u64,
}

impl Direction {
    /// An idle line that may be used from `open` on.
    pub fn new(link: &Profile, open: Duration, seed: u64) -> Self {
        let losses = ChaCha20Rng::seed_from_u64(seed);
        Self { link: link.clone(), free: open, read: open, losses, lost: 0 }
    }

    /// Sends `bytes` at the time `now`; returns when the last of them can be read.
    pub fn send(&mut self, now: Duration, bytes: usize) -> Duration {
        let mut rest = bytes;
        while rest > 0 {
            let segment = rest.min(SEGMENT);
            rest -= segment;
            self.free = self.free.max(now) + self.link.serialisation(segment);
            let mut arrives = self.free + self.link.delay();
            while self.link.loss() > 0.0 && self.losses.random_bool(self.link.loss()) {
                self.lost += 1;
                self.free += self.link.serialisation(segment);
                arrives += self.link.round_trip();
            }
            self.read = self.read.max(arrives);
        }
        self.read
    }

    /// Closes the line at the time `now`; returns when that is read: after everything else.
    pub fn close(&mut self, now: Duration) -> Duration {
        self.read = self.read.max(self.free.max(now) + self.link.delay());
        self.read
    }

    /// Segments that were lost so far, each time counted.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(words: &str) -> Profile {
        words.parse().unwrap()
    }

    /// 1 byte a millisecond and 5 ms on the way: what is sent while the line is taken waits.
    #[test]
    fn by_hand() {
        let mut line = Direction::new(&link("delay=5ms,rate=8kbit"), Duration::ZERO, 1);
        assert_eq!(line.send(Duration::ZERO, 10), 15 * MS);
        assert_eq!(line.send(2 * MS, 10), 25 * MS, "behind the first ten");
        assert_eq!(line.send(100 * MS, 10), 115 * MS, "the line was idle");
        assert_eq!(line.close(100 * MS), 115 * MS, "not before the last byte");
        assert_eq!(line.close(200 * MS), 205 * MS);
        let mut opened_late = Direction::new(&link("delay=5ms"), 10 * MS, 1);
        assert_eq!(opened_late.send(Duration::ZERO, 1), 15 * MS);
    }

    /// However a message is cut, it arrives as the formula says.
    #[test]
    fn the_time_of_a_message_does_not_depend_on_how_it_is_written() {
        let wan = Profile::new(15 * MS, Some(100_000_000), 0.0).unwrap();
        for parts in [1, 7, 100] {
            let mut line = Direction::new(&wan, Duration::ZERO, 1);
            let last =
                (0..parts).map(|_| line.send(Duration::ZERO, 700_000 / parts)).last().unwrap();
            let expected = wan.transfer(700_000);
            let rounding = Duration::from_micros(2);
            assert!(last.abs_diff(expected) < rounding, "{last:?}, {expected:?}");
        }
    }

    /// A lost segment comes a round trip late, and everything behind it waits.
    #[test]
    fn losses_hold_up_what_follows() {
        let lossy = link("delay=10ms,loss=20%");
        let mut line = Direction::new(&lossy, Duration::ZERO, 3);
        let mut times = Vec::new();
        for n in 0..10_000 {
            times.push(line.send(n * MS, SEGMENT) - n * MS);
        }
        // Without a loss before: 10 ms. A loss adds 20 ms, and those behind wait for it.
        assert!(times.iter().all(|time| *time >= 10 * MS));
        assert!(times.windows(2).all(|t| t[1] + MS >= t[0]), "in order");
        let mean_losses = line.lost() as f64 / 10_000.0;
        // Each transmission is lost with 0.2: 0.25 losses a segment.
        assert!((mean_losses - 0.25).abs() < 0.02, "{mean_losses}");
        let mut again = Direction::new(&lossy, Duration::ZERO, 3);
        assert!(
            times.iter().zip(0..).all(|(time, n)| again.send(n * MS, SEGMENT) - n * MS == *time)
        );
        let mut other = Direction::new(&lossy, Duration::ZERO, 4);
        assert!(
            times.iter().zip(0..).any(|(time, n)| other.send(n * MS, SEGMENT) - n * MS != *time)
        );
    }
}
