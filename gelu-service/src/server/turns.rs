//! Whose computation is next: accounts share the machine's time, however many sessions each of them has.
//!
//! Every account has a clock, which its computations move on by the seconds that they take. When a permit is free it
//! goes to the waiting account whose clock is behind all others; among equals to the one that asked first. Nobody knows
//! how long a computation will take, so its account's clock is set forward by the longest one that was ever seen, and put
//! right at its end: an account takes one permit too many at most. An account that was away starts where the others
//! are: time that it did not ask for is not saved up.
//! (Goyal, Vin and Cheng, *Start-time fair queueing*, SIGCOMM 1996, with lengths that are only known afterwards.)
//!
//! # Law
//! Let the longest computation take L seconds, and let A accounts ask, on N permits. In a fair round every account
//! computes for L seconds. A session that asks for its account's next computation waits no longer than two rounds of
//! the A − 1 others: 2 · L · (A − 1) / N, and L more for the permits that are taken when it comes. How many
//! sessions the others have does not matter.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// So many computations at a time, in fair turns.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    idle: Notify,
}

/// The right to compute, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    account: Arc<str>,
    began: Instant,
    /// Seconds by which the clock was set forward.
    expected: f64,
}

#[derive(Debug)]
struct State {
    free: usize,
    permits: usize,
    /// Counts those who ask.
    next: u64,
    /// The clock of the computation that began last: where an account starts that was away.
    now: f64,
    /// How long the longest computation took so far.
    longest: f64,
    /// All that wait or compute, and those whose clocks are ahead.
    accounts: BTreeMap<Arc<str>, Account>,
}

/// Times are in seconds of computing.
#[derive(Debug, Default)]
struct Account {
    clock: f64,
    running: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    granted: oneshot::Sender<Turn>,
}

impl Turns {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        let (next, now, longest, accounts) = (0, 0.0, 0.0, BTreeMap::new());
        let state = State { free: permits, permits, next, now, longest, accounts };
        Arc::new(Self { state: Mutex::new(state), idle: Notify::new() })
    }

    /// Waits for a turn of this account. Cancelling this gives the turn to the next one.
    pub(super) async fn turn(self: &Arc<Self>, account: &str) -> Turn {
        let (granted, turn) = oneshot::channel();
        self.state().ask(account, granted);
        self.grant();
        turn.await.expect("who waits is granted a turn")
    }

    /// Waits until nothing is computed.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            let mut idle = std::pin::pin!(idle);
            idle.as_mut().enable();
            {
                let state = self.state();
                if state.free == state.permits {
                    return;
                }
            }
            idle.await;
        }
    }

    /// Gives away all that is free.
    fn grant(self: &Arc<Self>) {
        loop {
            let Some((account, expected, granted)) = self.state().take() else { return };
            let began = Instant::now();
            let turn = Turn { turns: Arc::clone(self), account, began, expected };
            // Who has stopped waiting in this moment gives the turn back: it is dropped here, and granted again.
            drop(granted.send(turn));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = self.began.elapsed().as_secs_f64();
        self.turns.state().give_back(&self.account, self.expected, took);
        self.turns.idle.notify_waiters();
        self.turns.grant();
    }
}

impl State {
    fn ask(&mut self, account: &str, granted: oneshot::Sender<Turn>) {
        let number = self.next;
        self.next += 1;
        let now = self.now;
        let account = self.accounts.entry(account.into()).or_default();
        if account.is_away() {
            account.clock = account.clock.max(now);
        }
        account.waiting.push_back(Waiting { number, granted });
    }

    /// The next turn, if one is free and somebody waits.
    fn take(&mut self) -> Option<(Arc<str>, f64, oneshot::Sender<Turn>)> {
        if self.free == 0 {
            return None;
        }
        let now = self.now;
        self.accounts.retain(|_, account| {
            account.waiting.retain(|waiting| !waiting.granted.is_closed());
            // Away, and with nothing to catch up: it would start here in any case.
            !account.is_away() || account.clock > now
        });
        let first = |account: &Account| account.waiting.front().map(|waiting| waiting.number);
        let waiting = self.accounts.iter_mut().filter(|(_, account)| !account.waiting.is_empty());
        let next = waiting
            .min_by(|(_, a), (_, b)| a.clock.total_cmp(&b.clock).then(first(a).cmp(&first(b))));
        let (name, account) = next?;
        let waiting = account.waiting.pop_front()?;
        self.now = now.max(account.clock);
        let expected = self.longest.max(LEAST);
        account.clock += expected;
        account.running += 1;
        self.free -= 1;
        Some((Arc::clone(name), expected, waiting.granted))
    }

    fn give_back(&mut self, account: &str, expected: f64, took: f64) {
        self.free += 1;
        self.longest = self.longest.max(took);
        if let Some(account) = self.accounts.get_mut(account) {
            account.running -= 1;
            account.clock += took - expected;
        }
    }
}

impl Account {
    fn is_away(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

/// A second's millionth: computations of no time take turns as well.
const LEAST: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::time::Duration;
    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    /// Seconds waited and computed, by account.
    type Seen = Arc<Mutex<Vec<(usize, f64, f64)>>>;

    /// A session: it comes, computes this often for so long, and thinks between.
    #[derive(Debug, Clone)]
    struct Script {
        account: usize,
        comes: u64,
        jobs: Vec<u64>,
        thinks: u64,
    }

    async fn play(turns: Arc<Turns>, script: Script, seen: Seen) {
        sleep(Duration::from_millis(script.comes)).await;
        for job in script.jobs {
            let asked = Instant::now();
            let turn = turns.turn(&script.account.to_string()).await;
            let waited = asked.elapsed().as_secs_f64();
            sleep(Duration::from_millis(job)).await;
            drop(turn);
            seen.lock().unwrap().push((script.account, waited, job as f64 / 1e3));
            sleep(Duration::from_millis(script.thinks)).await;
        }
    }

    fn run(permits: usize, scripts: Vec<Script>) -> Vec<(usize, f64, f64)> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let seen = Seen::default();
        runtime.unwrap().block_on(async {
            let turns = Turns::new(permits);
            let mut sessions = JoinSet::new();
            for script in scripts {
                sessions.spawn(play(Arc::clone(&turns), script, Arc::clone(&seen)));
            }
            while sessions.join_next().await.is_some() {}
            turns.idle().await;
            let state = turns.state();
            assert_eq!(state.free, permits, "every turn comes back");
        });
        Arc::into_inner(seen).unwrap().into_inner().unwrap()
    }

    fn script(account: usize, sessions: usize) -> impl Strategy<Value = Vec<Script>> {
        let one = (0..2_000u64, prop::collection::vec(1..=1_000u64, 1..6), 0..300u64);
        let one =
            one.prop_map(move |(comes, jobs, thinks)| Script { account, comes, jobs, thinks });
        prop::collection::vec(one, 1..=sessions)
    }

    /// Account 0 has one session, the others up to eight.
    fn scripts() -> impl Strategy<Value = (usize, Vec<Script>)> {
        (1..=3usize, 2..=5usize).prop_flat_map(|(permits, accounts)| {
            let others: Vec<_> = (1..accounts).map(|account| script(account, 8)).collect();
            (Just(permits), script(0, 1), others)
                .prop_map(|(permits, one, others)| (permits, [one, others.concat()].concat()))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_account_waits_more_than_twice_its_fair_share((permits, scripts) in scripts()) {
            let accounts = scripts.iter().map(|s| s.account).max().unwrap() + 1;
            let longest = scripts.iter().flat_map(|s| &s.jobs).max().copied().unwrap() as f64 / 1e3;
            let round = longest * (accounts - 1) as f64 / permits as f64;
            let law = 2.0 * round + longest;
            for (account, waited, _) in run(permits, scripts) {
                prop_assert!(account != 0 || waited <= law + 0.01, "{waited} s, not {law}");
            }
        }
    }

    fn busy(account: usize, sessions: usize, job: u64) -> Vec<Script> {
        let script = Script { account, comes: 0, jobs: vec![job; 2_000 / sessions], thinks: 0 };
        vec![script; sessions]
    }

    #[test]
    fn a_hundred_sessions_of_one_account_do_not_starve_one_of_another() {
        for permits in [1, 2, 4] {
            let one = vec![Script { account: 1, comes: 500, jobs: vec![100; 50], thinks: 0 }];
            let seen = run(permits, [busy(0, 100, 100), one].concat());
            let waits = seen.iter().filter(|(account, ..)| *account == 1).map(|(_, w, _)| *w);
            let (most, sum) = waits.fold((0.0_f64, 0.0), |(most, sum), w| (most.max(w), sum + w));
            // Alone with as many sessions, the other one would make it wait for one computation.
            assert!(most <= 0.101, "{permits} permits: waited {most} s");
            assert!(sum <= 50.0 * 0.101, "{permits} permits: {sum} s in all");
        }
    }

    #[test]
    fn heavy_computations_get_no_more_time_than_light_ones() {
        let light = Script { account: 1, comes: 0, jobs: vec![10; 400], thinks: 0 };
        let scripts = [busy(0, 20, 1_000), vec![light; 20]].concat();
        let seen = run(2, scripts);
        // They computed side by side until the light account had all of its 80 s.
        let last_light = seen.iter().rposition(|(account, ..)| *account == 1).unwrap();
        let heavy: f64 = seen[..last_light].iter().filter(|s| s.0 == 0).map(|s| s.2).sum();
        assert!((78.0..=82.0).contains(&heavy), "{heavy} s beside 80");
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_takes_nothing_along() {
        let turns = Turns::new(1);
        let held = turns.turn("a").await;
        let second = Duration::from_secs(1);
        assert!(timeout(second, turns.turn("b")).await.is_err());
        let mut waiting = Box::pin(turns.turn("c"));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        // Granted, and dropped before it was looked at: the next one gets it.
        drop(waiting);
        let next = timeout(second, turns.turn("d")).await.unwrap();
        assert!(timeout(second, turns.idle()).await.is_err());
        drop(next);
        timeout(second, turns.idle()).await.unwrap();
        drop(turns.turn("e").await);
        assert!(turns.state().accounts.len() <= 2, "who is away is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_cannot_save_up_time_nor_shed_its_debt_by_a_pause() {
        let turns = Turns::new(1);
        for _ in 0..100 {
            let turn = turns.turn("busy").await;
            sleep(Duration::from_secs(1)).await;
            drop(turn);
        }
        // It comes for the first time and would be owed 100 s.
        let held = turns.turn("new").await;
        let clocks = |turns: &Turns| {
            turns.state().accounts.values().map(|account| account.clock).collect::<Vec<_>>()
        };
        let apart = clocks(&turns)
            .into_iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), clock| (least.min(clock), most.max(clock)));
        assert!(apart.1 - apart.0 <= 1.001, "{apart:?}");
        sleep(Duration::from_secs(10)).await;
        drop(held);
        // It has computed for 10 s and left; when both come back, the other one is first.
        let held = turns.turn("third").await;
        let (mut new, mut busy) = (Box::pin(turns.turn("new")), Box::pin(turns.turn("busy")));
        assert!((&mut new).now_or_never().is_none());
        assert!((&mut busy).now_or_never().is_none());
        drop(held);
        assert!((&mut new).now_or_never().is_none());
        assert!((&mut busy).now_or_never().is_some());
    }
}
