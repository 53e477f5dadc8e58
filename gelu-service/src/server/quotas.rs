//! What an account may use of a day: sessions, computations, bytes.
//!
//! Counted in memory while an account has sessions, so that a computation waits for no disk, and written through by
//! [`Quotas::write`], which the server calls every second and at its end. A server that is killed forgets a second of
//! use, and servers that share a store see each other's use a second late. While the store cannot be written nothing more
//! is granted.
//!
//! # Law
//! What is granted keeps the sum of the day within the quota. Bytes of answers, which nobody knows before, may
//! exceed it once; then nothing more is granted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gelu_store::{Quota, Spent, Store, Usage};
use tokio::time::Instant;

use crate::error::{Goodbye, in_words};

/// The quotas of a server.
#[derive(Debug)]
pub(super) struct Quotas {
    store: Store,
    every: Quota,
    of: BTreeMap<String, Quota>,
    accounts: Mutex<BTreeMap<String, Account>>,
    /// Held while the store is asked: one at a time.
    asking: Mutex<()>,
}

/// What an account has used today.
#[derive(Debug)]
struct Account {
    quota: Quota,
    /// As far as the store knows.
    stored: Usage,
    /// On its way there.
    writing: Usage,
    /// Not yet on its way.
    unsaved: Usage,
    /// When the day is over.
    renews: Instant,
    /// Sessions that go on.
    sessions: usize,
    /// The store did not take the last count.
    unwritten: bool,
}

/// A session whose use is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    quotas: Arc<Quotas>,
    account: String,
}

/// Why an account gets no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// It has had what it may have.
    #[error("this account has used up its quota of {quota}; a new day begins in {}", in_words(*seconds))]
    Spent {
        /// Which.
        quota: Spent,
        /// Until the next day begins.
        seconds: u32,
    },
    /// It cannot be counted.
    #[error("the server cannot count what this account uses; tell its operator")]
    Uncounted(String),
}

impl Denied {
    /// What a client is told that wanted to begin a session.
    pub(super) fn goodbye(&self) -> Goodbye {
        let Self::Spent { quota, seconds } = *self else { return Goodbye::Ended };
        match quota {
            Spent::Sessions(most) => Goodbye::SessionsSpent { most, seconds },
            Spent::Computations(most) => Goodbye::ComputationsSpent { most, seconds },
            Spent::Bytes(most) => Goodbye::BytesSpent { most, seconds },
        }
    }
}

impl Quotas {
    /// `every` account may use as much, but for those that have a quota of their own.
    pub(super) fn new(store: Store, every: Quota, of: BTreeMap<String, Quota>) -> Arc<Self> {
        let (accounts, asking) = Default::default();
        Arc::new(Self { store, every, of, accounts, asking })
    }

    /// Begins a session. It may ask the store: not for threads that others wait for.
    ///
    /// # Errors
    /// [`Denied`], and nothing is counted then.
    pub(super) fn begin(self: &Arc<Self>, account: &str) -> Result<Counted, Denied> {
        let one = Usage { sessions: 1, ..Usage::default() };
        let _asking = self.asking();
        let is_known = self.accounts().contains_key(account);
        let found = match is_known {
            true => None,
            false => {
                let found = self.store.spend(account, Usage::default());
                Some(found.map_err(|error| Denied::Uncounted(error.to_string()))?)
            }
        };
        let mut accounts = self.accounts();
        if let Some((stored, seconds)) = found {
            let quota = self.of.get(account).copied().unwrap_or(self.every);
            accounts.insert(account.to_owned(), Account::new(quota, stored, seconds));
        }
        let of_account =
            accounts.get_mut(account).expect("only `write` forgets, and that is locked");
        of_account.grant(one)?;
        of_account.sessions += 1;
        Ok(Counted { quotas: Arc::clone(self), account: account.to_owned() })
    }

    /// Writes what was counted and forgets accounts without sessions. It waits for the disk.
    ///
    /// # Errors
    /// What the store says. Nothing is lost: it is written the next time.
    pub(super) fn write(&self) -> Result<(), gelu_store::Error> {
        let _asking = self.asking();
        let unsaved: Vec<(String, Usage)> = {
            let mut accounts = self.accounts();
            accounts
                .retain(|_, account| account.sessions > 0 || account.unsaved != Usage::default());
            let unsaved = accounts.iter_mut().filter(|(_, a)| a.unsaved != Usage::default());
            unsaved.map(|(name, account)| (name.clone(), account.take_unsaved())).collect()
        };
        if unsaved.is_empty() {
            return Ok(());
        }
        let written = self.store.spend_all(&unsaved);
        let mut accounts = self.accounts();
        for (n, (name, _)) in unsaved.iter().enumerate() {
            if let Some(account) = accounts.get_mut(name) {
                account.written(written.as_ref().ok().map(|(totals, left)| (totals[n], *left)));
            }
        }
        written.map(drop)
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asking(&self) -> MutexGuard<'_, ()> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// A message of so many bytes came and shall be computed on: asked before that is done.
    ///
    /// # Errors
    /// [`Denied`], and nothing is counted then.
    pub(super) fn computation(&self, bytes: u64) -> Result<(), Denied> {
        let more = Usage { computations: 1, bytes, ..Usage::default() };
        self.account(|account| account.grant(more))
    }

    /// An answer of so many bytes was sent.
    pub(super) fn answered(&self, bytes: u64) {
        let more = Usage { bytes, ..Usage::default() };
        self.account(|account| account.unsaved = account.unsaved.plus(more));
    }

    fn account<T>(&self, f: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.quotas.accounts();
        f(accounts.get_mut(&self.account).expect("known while it has sessions"))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.account(|account| account.sessions -= 1);
    }
}

impl Account {
    fn new(quota: Quota, stored: Usage, seconds: u64) -> Self {
        let (writing, unsaved) = (Usage::default(), Usage::default());
        let renews = Instant::now() + Duration::from_secs(seconds);
        Self { quota, stored, writing, unsaved, renews, sessions: 0, unwritten: false }
    }

    fn grant(&mut self, more: Usage) -> Result<(), Denied> {
        if self.unwritten {
            return Err(Denied::Uncounted("the last count was not written".into()));
        }
        let now = Instant::now();
        if now >= self.renews {
            // What was not written yet counts on the new day.
            self.stored = Usage::default();
            self.renews = now + DAY;
        }
        let total = self.stored.plus(self.writing).plus(self.unsaved).plus(more);
        if let Some(quota) = self.quota.exceeded(&total) {
            let left = (self.renews - now).as_secs_f64().ceil();
            // A day at most: no truncation.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let seconds = left.min(DAY.as_secs_f64()) as u32;
            return Err(Denied::Spent { quota, seconds });
        }
        self.unsaved = self.unsaved.plus(more);
        Ok(())
    }

    fn take_unsaved(&mut self) -> Usage {
        self.writing = std::mem::take(&mut self.unsaved);
        self.writing
    }

    /// What the store said to what was on its way: the sum of the day, and when it ends.
    fn written(&mut self, said: Option<(Usage, u64)>) {
        let writing = std::mem::take(&mut self.writing);
        self.unwritten = said.is_none();
        match said {
            Some((stored, seconds)) => {
                self.stored = stored;
                self.renews = Instant::now() + Duration::from_secs(seconds);
            }
            None => self.unsaved = self.unsaved.plus(writing),
        }
    }
}

const DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_store::{Engine, Error, Memory, Transaction};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn quota() -> Quota {
        Quota { sessions: Some(3), computations: Some(10), bytes: Some(1_000) }
    }

    fn quotas(store: &Store) -> Arc<Quotas> {
        Quotas::new(store.clone(), quota(), BTreeMap::new())
    }

    fn used(store: &Store, account: &str) -> Usage {
        store.spend(account, Usage::default()).unwrap().0
    }

    #[test]
    fn each_quota_is_refused_by_its_name_and_outlives_the_session_and_the_server() {
        let store = Store::in_memory();
        let first = quotas(&store);
        let session = first.begin("alice").unwrap();
        (0..10).for_each(|_| session.computation(50).unwrap());
        let denied = session.computation(50).unwrap_err().to_string();
        assert!(denied.contains("10 computations a day; a new day begins in "), "{denied}");
        assert_eq!(used(&store, "alice"), Usage::default(), "counted in memory");
        first.write().unwrap();
        let expected = Usage { sessions: 1, computations: 10, bytes: 500 };
        assert_eq!(used(&store, "alice"), expected);
        drop(session);
        first.write().unwrap();
        assert!(first.accounts().is_empty());
        assert_eq!(used(&store, "alice"), expected, "counted once");

        let again = quotas(&store);
        let session = again.begin("alice").unwrap();
        assert!(session.computation(1).is_err());
        let bob = again.begin("bob").unwrap();
        bob.computation(900).unwrap();
        bob.answered(400);
        let denied = bob.computation(0).unwrap_err().to_string();
        assert!(denied.contains("1000 bytes a day"), "{denied}");
        let denied = again.begin("bob").unwrap_err();
        let Goodbye::BytesSpent { most: 1_000, seconds: 1..=86_400 } = denied.goodbye() else {
            panic!("{denied:?}");
        };
        let _third = again.begin("alice").unwrap();
        let denied = again.begin("alice").unwrap_err();
        let Goodbye::SessionsSpent { most: 3, seconds: 1..=86_400 } = denied.goodbye() else {
            panic!("{denied:?}");
        };
        assert_eq!(again.accounts()["alice"].sessions, 2, "who was refused has none");
    }

    #[test]
    fn an_account_can_have_a_quota_of_its_own() {
        let more = Quota { computations: Some(20), ..Quota::default() };
        let own = BTreeMap::from([("alice".to_owned(), more)]);
        let quotas = Quotas::new(Store::in_memory(), quota(), own);
        let granted = |account| {
            let session = quotas.begin(account).unwrap();
            (0..100).filter(|_| session.computation(1).is_ok()).count()
        };
        assert_eq!((granted("alice"), granted("bob")), (20, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_day_begins_for_sessions_that_go_on() {
        let quotas = quotas(&Store::in_memory());
        let session = quotas.begin("alice").unwrap();
        (0..10).for_each(|_| session.computation(1).unwrap());
        quotas.write().unwrap();
        let Err(Denied::Spent { seconds, .. }) = session.computation(1) else { panic!() };
        tokio::time::advance(Duration::from_secs(u64::from(seconds) + 1)).await;
        (0..10).for_each(|_| session.computation(1).unwrap());
        assert!(session.computation(1).is_err());
    }

    /// Servers that share a store.
    #[test]
    fn what_others_have_granted_counts_when_it_was_written() {
        let store = Store::in_memory();
        let (one, other) = (quotas(&store), quotas(&store));
        let (here, there) = (one.begin("alice").unwrap(), other.begin("alice").unwrap());
        for _ in 0..5 {
            here.computation(1).unwrap();
            there.computation(1).unwrap();
            one.write().unwrap();
            other.write().unwrap();
        }
        one.write().unwrap();
        assert!(there.computation(1).is_err());
        // The first one hears of it with its next count.
        here.answered(1);
        one.write().unwrap();
        assert!(here.computation(1).is_err());
        // Both have granted the last one: the sum is beyond the quota.
        other.store.spend("alice", Usage { computations: 1, ..Usage::default() }).unwrap();
        here.answered(1);
        one.write().unwrap();
        let denied = one.begin("alice").unwrap_err();
        let Goodbye::ComputationsSpent { most: 10, .. } = denied.goodbye() else {
            panic!("{denied:?}");
        };
    }

    struct Full(Memory, Arc<AtomicBool>);

    impl Engine for Full {
        fn write(
            &self,
            work: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Error>,
        ) -> Result<(), Error> {
            match self.1.load(Ordering::SeqCst) {
                true => Err(Error::Engine("the disk is full".into())),
                false => self.0.write(work),
            }
        }

        fn read(
            &self,
            work: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Error>,
        ) -> Result<(), Error> {
            self.0.read(work)
        }
    }

    #[test]
    fn while_nothing_can_be_written_nothing_is_granted_and_nothing_is_lost() {
        let full = Arc::new(AtomicBool::new(false));
        let store = Store::on(Full(Memory::default(), Arc::clone(&full)));
        let quotas = quotas(&store);
        let session = quotas.begin("alice").unwrap();
        session.computation(5).unwrap();
        full.store(true, Ordering::SeqCst);
        assert!(quotas.write().unwrap_err().to_string().contains("the disk is full"));
        let denied = session.computation(5).unwrap_err();
        assert!(denied.to_string().contains("tell its operator"), "{denied}");
        let denied = quotas.begin("bob").unwrap_err();
        assert_eq!((&denied, denied.goodbye()), (&denied, Goodbye::Ended));
        full.store(false, Ordering::SeqCst);
        quotas.write().unwrap();
        session.computation(5).unwrap();
        quotas.write().unwrap();
        assert_eq!(used(&store, "alice"), Usage { sessions: 1, computations: 2, bytes: 10 });
    }
}
