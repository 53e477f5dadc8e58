//! The line of those who want to train: one lease at a time, and accounts take turns.
//!
//! An account with several sessions waits in one place: when its turn comes, the session of it that has waited longest
//! gets the lease, and the account goes to the end. While an account holds the lease, its other sessions have no place
//! yet, so that whoever comes meanwhile goes before them.
//!
//! # Law
//! While the first session of an account waits, every other account begins at most one lease.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

/// A line of tickets. One of them holds the lease.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: watch::Sender<Line>,
}

/// A place in the line, given up when it is dropped: however a session ends, the next one follows.
#[derive(Debug)]
pub(super) struct Ticket {
    line: watch::Sender<Line>,
    account: Arc<str>,
    number: u64,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    holder: Option<(Arc<str>, u64)>,
    /// Accounts that wait and do not hold the lease, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    /// Tickets of every account that waits, in the order in which they came.
    waiting: BTreeMap<Arc<str>, VecDeque<u64>>,
}

impl Queue {
    /// Takes a place in the line of its account.
    pub(super) fn join(&self, account: &str) -> Ticket {
        let account: Arc<str> = account.into();
        let mut number = 0;
        self.line.send_modify(|line| number = line.join(&account));
        Ticket { line: self.line.clone(), account, number }
    }
}

/// Where a ticket stands, for who has handed it on.
#[derive(Debug)]
pub(super) struct Place {
    line: watch::Receiver<Line>,
    account: Arc<str>,
    number: u64,
}

impl Place {
    /// How many leases are before it, if nobody else comes; 0 once it holds the lease or has left.
    pub(super) fn position(&self) -> u32 {
        let position = self.line.borrow().position(&self.account, self.number);
        u32::try_from(position).unwrap_or(u32::MAX)
    }
}

impl Ticket {
    /// Where it stands, wherever it goes.
    pub(super) fn place(&self) -> Place {
        Place {
            line: self.line.subscribe(),
            account: Arc::clone(&self.account),
            number: self.number,
        }
    }

    /// How many leases are before this one, if nobody else comes; 0 holds the lease.
    pub(super) fn position(&self) -> u32 {
        self.place().position()
    }

    /// Waits for the lease. Cancelling this loses nothing.
    pub(super) async fn turn(&self) {
        let mut changes = self.line.subscribe();
        let held = changes.wait_for(|line| line.is_held_by(self.number)).await;
        held.expect("the ticket keeps its line");
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.line.send_modify(|line| line.leave(&self.account, self.number));
    }
}

impl Line {
    fn join(&mut self, account: &Arc<str>) -> u64 {
        let number = self.next;
        self.next += 1;
        let tickets = self.waiting.entry(Arc::clone(account)).or_default();
        tickets.push_back(number);
        let holds = self.holder.as_ref().is_some_and(|(holder, _)| holder == account);
        if tickets.len() == 1 && !holds {
            self.turns.push_back(Arc::clone(account));
        }
        self.advance();
        number
    }

    fn leave(&mut self, account: &Arc<str>, number: u64) {
        if self.is_held_by(number) {
            self.holder = None;
            if self.waiting.contains_key(account) {
                self.turns.push_back(Arc::clone(account));
            }
            self.advance();
        } else if let Some(tickets) = self.waiting.get_mut(account) {
            tickets.retain(|&ticket| ticket != number);
            if tickets.is_empty() {
                self.waiting.remove(account);
                self.turns.retain(|turn| turn != account);
            }
        }
    }

    /// Gives the lease to the next account, if nobody has it.
    fn advance(&mut self) {
        if self.holder.is_some() {
            return;
        }
        let Some(account) = self.turns.pop_front() else { return };
        let tickets = self.waiting.get_mut(&account).expect("an account in the line waits");
        let number = tickets.pop_front().expect("with a ticket");
        if tickets.is_empty() {
            self.waiting.remove(&account);
        }
        self.holder = Some((account, number));
    }

    fn is_held_by(&self, number: u64) -> bool {
        self.holder.as_ref().is_some_and(|&(_, holder)| holder == number)
    }

    /// Leases before a ticket's own: the one that is held; of each account whose turn is before its account's as many
    /// as of its own account, its own included; of each other account one less.
    fn position(&self, account: &Arc<str>, number: u64) -> usize {
        if self.is_held_by(number) {
            return 0;
        }
        let own = self.waiting.get(account).into_iter().flatten();
        let before_own = own.take_while(|&&ticket| ticket != number).count();
        // The account that holds the lease comes last, when it has given it back.
        let holder = self.holder.as_ref().map(|(holder, _)| holder);
        let order = self.turns.iter().chain(holder.filter(|h| self.waiting.contains_key(*h)));
        let mut rounds = before_own + 1;
        let mut leases = usize::from(holder.is_some()) + before_own;
        for other in order {
            if other == account {
                rounds = before_own;
            } else {
                leases += self.waiting[other].len().min(rounds);
            }
        }
        leases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    #[tokio::test]
    async fn turns_come_in_order_and_gaps_close() {
        let queue = Queue::default();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|account| queue.join(account));
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

    #[test]
    fn an_account_with_many_sessions_waits_in_one_place() {
        let queue = Queue::default();
        let mut many: Vec<_> = (0..100).map(|_| queue.join("many")).collect();
        let one = queue.join("one");
        assert_eq!((many[0].position(), one.position()), (0, 1));
        assert_eq!((many[1].position(), many[99].position()), (2, 100));
        drop(many.remove(0));
        assert_eq!((one.position(), many[0].position()), (0, 1));
        // While one trains, two others come; the first of each goes before the second of any.
        let (two, again) = (queue.join("two"), queue.join("one"));
        let places = [&many[0], &two, &again, &many[1]].map(Ticket::position);
        assert_eq!(places, [1, 2, 3, 4]);
    }

    /// What happens to a line: an account joins; the lease ends; somebody who waits leaves.
    #[derive(Debug, Clone)]
    enum Step {
        Join(usize),
        End,
        Leave(prop::sample::Index),
    }

    const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..ACCOUNTS.len()).prop_map(Step::Join),
            2 => Just(Step::End),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 1..60)
    }

    fn holder(tickets: &[Ticket]) -> Option<usize> {
        let all = 0..tickets.len();
        let holding: Vec<usize> = all.filter(|&i| tickets[i].position() == 0).collect();
        assert_eq!(holding.len(), usize::from(!tickets.is_empty()), "one holds the lease");
        holding.first().copied()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// The law, and the truth of positions: they are the numbers 0, 1, … of the leases to come.
        #[test]
        fn while_an_account_waits_every_other_one_begins_at_most_one_lease(steps in steps()) {
            let queue = Queue::default();
            let mut tickets: Vec<Ticket> = Vec::new();
            // Of each account that waits: leases that each other one has begun meanwhile.
            let mut begun: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
            let mut held = None;
            for step in steps {
                match step {
                    Step::Join(account) => tickets.push(queue.join(ACCOUNTS[account])),
                    Step::End => {
                        holder(&tickets).map(|i| tickets.remove(i));
                    }
                    Step::Leave(index) if !tickets.is_empty() => {
                        tickets.remove(index.index(tickets.len()));
                    }
                    Step::Leave(_) => {}
                }
                let now = holder(&tickets).map(|i| (tickets[i].account.to_string(), tickets[i].number));
                for account in ACCOUNTS {
                    let waits = tickets.iter().any(|t| &*t.account == account && t.position() > 0);
                    let got = now.as_ref().is_some_and(|(holder, _)| holder == account);
                    if !waits || got {
                        begun.remove(account);
                        continue;
                    }
                    let seen = begun.entry(account).or_default();
                    if let (true, Some((other, _))) = (now != held, &now) {
                        *seen.entry(other.clone()).or_default() += 1;
                    }
                    prop_assert!(seen.values().all(|&leases| leases <= 1), "{account}: {seen:?}");
                }
                held = now;
                let mut positions: Vec<_> = tickets.iter().map(Ticket::position).collect();
                positions.sort_unstable();
                prop_assert!(positions.into_iter().eq(0..u32::try_from(tickets.len()).unwrap()));
            }
            // Nobody comes any more: each waits for exactly as many leases as it was told.
            let mut told: Vec<_> = tickets.iter().map(|t| (t.position(), t.number)).collect();
            told.sort_unstable();
            for (_, number) in told {
                let first = holder(&tickets).unwrap();
                prop_assert_eq!(tickets.remove(first).number, number);
            }
        }
    }
}
