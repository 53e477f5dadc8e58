//! What all models of a server share: the door, the computing, the books, the account of what was done.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::watch;

use super::door::{Seats, Strangers};
use super::host::Hosted;
use super::observer::{ServerEvent, Summary, guarded};
use super::quotas::Quotas;
use super::turns::Turns;
use super::{Config, Stop};
use crate::error::Result;

/// See the [module](self).
pub(super) struct Shared {
    pub(super) config: Config,
    /// One permit for each evaluation at a time, in fair turns of the accounts.
    pub(super) computing: Arc<Turns>,
    pub(super) quotas: Arc<Quotas>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) seats: Arc<Seats>,
    pub(super) stop: watch::Sender<Stop>,
    models: RwLock<Vec<Arc<dyn Hosted>>>,
    summary: Mutex<Summary>,
}

impl Shared {
    pub(super) fn new(config: Config) -> Result<Self> {
        config.limits.validate()?;
        Ok(Self {
            computing: Turns::new(config.limits.computations),
            quotas: Quotas::new(config.store.clone(), config.quota, config.quotas_of.clone()),
            strangers: Arc::new(Strangers::new(&config.limits)),
            seats: Arc::new(Seats::new(&config.limits)),
            stop: watch::Sender::new(None),
            models: RwLock::default(),
            summary: Mutex::default(),
            config,
        })
    }

    /// The models that are served, in the operator's order.
    pub(super) fn models(&self) -> Vec<Arc<dyn Hosted>> {
        self.models.read().expect(NO_PANIC).clone()
    }

    /// Serves these from now on. Sessions that have begun go on as they began.
    pub(super) fn serve(&self, models: Vec<Arc<dyn Hosted>>) {
        let names: BTreeSet<_> = models.iter().map(|model| model.name().to_owned()).collect();
        let before = std::mem::replace(&mut *self.models.write().expect(NO_PANIC), models);
        for gone in before.iter().filter(|model| !names.contains(model.name())) {
            self.emit(ServerEvent::Withdrawn { model: gone.name().to_owned() });
        }
    }

    /// Serves nothing any more: models and this lead to each other.
    pub(super) fn close(&self) {
        self.models.write().expect(NO_PANIC).clear();
    }

    /// The model that a client asks for: by its name, or the only one that it may use. If there is none, the names of
    /// those that it may use.
    pub(super) fn find(&self, account: &str, name: &str) -> Result<Arc<dyn Hosted>, Vec<String>> {
        let mut models = self.models();
        models.retain(|model| model.admits(account));
        let names = models.iter().map(|model| model.name().to_owned()).collect();
        match name {
            "" if models.len() == 1 => models.pop(),
            "" => None,
            name => models.into_iter().find(|model| model.name() == name),
        }
        .ok_or(names)
    }

    /// Counts, logs and passes on.
    pub(super) fn emit(&self, event: ServerEvent) {
        let turned_away = {
            let mut summary = self.summary.lock().expect(NO_PANIC);
            summary.count(&event);
            summary.turned_away
        };
        if is_logged(&event, turned_away) {
            guarded(|| event.log());
        }
        guarded(|| self.config.observer.event(&event));
    }

    /// What was done so far.
    pub(super) fn summary(&self) -> Summary {
        self.summary.lock().expect(NO_PANIC).clone()
    }
}

const NO_PANIC: &str = "nothing panics while it is held";

/// A flood of strangers must not flood the log: after the first hundred, each hundredth is written.
fn is_logged(event: &ServerEvent, turned_away: u64) -> bool {
    let is_stranger = matches!(event, ServerEvent::TurnedAway { .. });
    !is_stranger || turned_away <= 100 || turned_away.is_multiple_of(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_strangers_does_not_flood_the_log() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let stranger = ServerEvent::TurnedAway { peer, kind: "", reason: String::new() };
        let logged = |most: u64| (1..=most).filter(|&n| is_logged(&stranger, n)).count();
        assert_eq!((logged(100), logged(199), logged(200), logged(10_000)), (100, 100, 101, 199));
        let (account, model) = ("alice".into(), "iris".into());
        let session = ServerEvent::Left { account, model, ended: None };
        assert!((0..1000).all(|n| is_logged(&session, n)), "all else is logged");
    }
}
