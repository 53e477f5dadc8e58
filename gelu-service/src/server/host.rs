//! What all sessions of a server share: the model, the ledger, the line, the accounts of what was
//! done.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use gelu_core::Backend;
use gelu_core::backend::SecretRate;
use gelu_core::error::Refused;
use gelu_core::ledger::{Exposure, LeaseTerms};
use gelu_core::server::{LearningRate, ServedModel, WeightCache};
use gelu_core::{Parameters, server};
use gelu_files::Lock;
use gelu_nn::Model;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use tokio::sync::Semaphore;

use super::Config;
use super::door::{Seats, Strangers};
use super::ledger::{LedgerFile, NotBooked};
use super::observer::{ServerEvent, Summary, guarded};
use super::queue::Queue;
use super::terms::Terms;
use crate::error::{Error, Result};
use crate::files;
use crate::handshake::{CardSchema, ModelCard};
use crate::randomness::fresh_rng;

/// The shared part of a server.
pub(super) struct Host<B: Backend> {
    pub(super) config: Config<B>,
    pub(super) queue: Queue,
    /// One permit for each evaluation at a time.
    pub(super) computing: Arc<Semaphore>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) seats: Arc<Seats>,
    pub(super) weights: Arc<WeightCache<B>>,
    model: RwLock<Arc<Current>>,
    ledger: Mutex<LedgerFile>,
    lease_rng: Mutex<ChaCha20Rng>,
    summary: Mutex<Summary>,
    pub(super) terms: Terms,
    /// Held as long as the server lives.
    _locks: [Lock; 2],
}

/// The current version, as it is stored and as it is served.
struct Current {
    model: Model,
    served: Arc<ServedModel>,
}

impl<B: Backend> Host<B> {
    /// Opens the files and checks that the configuration can work.
    pub(super) fn open(mut config: Config<B>) -> Result<Self> {
        config.limits.validate()?;
        if config.lease_samples == 0 {
            return Err(Error::configuration("lease samples", "must be 1 or more"));
        }
        if config.key_bits.is_empty() {
            return Err(Error::configuration("key bits", "the range is empty"));
        }
        let locks = [files::lock(&config.model)?, files::lock(&config.ledger)?];
        // From here on the files themselves, wherever links will lead to one day.
        [config.model, config.ledger] = locks.each_ref().map(|lock| lock.path().to_owned());
        if let Ok(names @ 2..) = gelu_files::names(&config.model) {
            let model = config.model.display();
            tracing::warn!(%model, names, "the file has other names, which will keep the old version");
        }
        let mut model = Model::load(&config.model)?;
        if let Some(stages) = config.freeze {
            model = model.freeze(stages)?;
        }
        let served = Arc::new(ServedModel::from(&model));
        check_rate(&config.rate, &served)?;
        let terms = Terms::of::<B>(&served, &config)?;
        let lease_rng = match config.danger_lease_seed {
            Some(seed) => ChaCha20Rng::from_seed(seed),
            None => fresh_rng()?,
        };
        // Last: an attempt that fails begins no ledger.
        let ledger_missing = model.version() > 0 && !config.ledger.exists();
        let ledger = LedgerFile::open(&config.ledger, model.name())?;
        let host = Self {
            queue: Queue::default(),
            computing: Arc::new(Semaphore::new(config.limits.computations)),
            strangers: Arc::new(Strangers::new(&config.limits)),
            seats: Arc::new(Seats::new(&config.limits)),
            weights: Arc::default(),
            terms,
            config,
            model: RwLock::new(Arc::new(Current { model, served })),
            ledger: Mutex::new(ledger),
            lease_rng: Mutex::new(lease_rng),
            summary: Mutex::default(),
            _locks: locks,
        };
        let (model, version) = (host.name(), host.served().version);
        if ledger_missing {
            let (model, ledger) = (model.clone(), host.config.ledger.clone());
            host.emit(ServerEvent::LedgerMissing { model, version, ledger });
        }
        host.emit(ServerEvent::Serving { model, version });
        Ok(host)
    }

    /// What a client is told at its greeting.
    pub(super) fn card(&self, account: &str) -> ModelCard {
        let current = self.current();
        let (model, terms) = (&current.model, &self.terms);
        ModelCard {
            name: model.name().into(),
            version: model.version(),
            architecture: model.architecture().to_json(),
            precision: *model.precision(),
            backend: B::ID.into(),
            key_bits: self.config.key_bits.clone().into_inner(),
            policy: self.config.policy,
            account: account.into(),
            modes: terms.modes.clone(),
            scores: self.config.blind.scores,
            tickets: u32::try_from(self.config.blind.tickets).unwrap_or(u32::MAX),
            inference: terms.inference.clone(),
            blind: terms.blind.clone(),
            training: terms.training.clone(),
            lease_samples: self.config.lease_samples,
            schema: model.schema().map(|schema| CardSchema::from(&**schema)),
        }
    }

    /// The model's name.
    pub(super) fn name(&self) -> String {
        self.current().model.name().to_owned()
    }

    /// The last committed version.
    pub(super) fn served(&self) -> Arc<ServedModel> {
        Arc::clone(&self.current().served)
    }

    /// Draws how many mini-batches a client gets.
    pub(super) fn draw(
        &self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        batch: usize,
        lengths: RangeInclusive<u32>,
    ) -> Result<u32, Refused> {
        let policy = self.config.policy;
        let most_samples = self.config.lease_samples;
        let (least, steps) = lengths.into_inner();
        let terms = LeaseTerms { batch: batch as u64, steps, least, most_samples };
        let mut rng = self.lease_rng.lock().expect(NO_PANIC);
        let ledger = self.ledger();
        ledger.ledger().draw_lease(account, version, exposure, terms, policy, &mut *rng)
    }

    /// Makes `parameters` the successor of `base`: on the disk first, then for everybody. Only the
    /// holder of the lease calls this, so nobody else can have made one meanwhile.
    ///
    /// From here on what the holder has seen of `base` counts on the new version too, also what
    /// its other sessions are still shown of `base`; see [`Ledger`](gelu_core::ledger::Ledger).
    pub(super) fn commit(&self, account: &str, base: u64, parameters: Parameters) -> Result<u64> {
        let current = self.current();
        let expected = current.model.version();
        if base != expected {
            return Err(Error::Bug(format!("a lease of version {base} ends at {expected}")));
        }
        let model = current.model.successor(parameters)?;
        let (version, served) = (model.version(), Arc::new(ServedModel::from(&model)));
        // Nobody books while the version changes.
        let mut ledger = self.ledger();
        ledger.carry(account, base, version, || Ok(model.save(&self.config.model)?))?;
        *self.model.write().expect(NO_PANIC) = Arc::new(Current { model, served });
        Ok(version)
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

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.model.read().expect(NO_PANIC))
    }

    fn ledger(&self) -> MutexGuard<'_, LedgerFile> {
        self.ledger.lock().expect(NO_PANIC)
    }
}

const NO_PANIC: &str = "nothing panics while it is held";

/// A flood of strangers must not flood the log: after the first hundred, each hundredth is written.
fn is_logged(event: &ServerEvent, turned_away: u64) -> bool {
    let is_stranger = matches!(event, ServerEvent::TurnedAway { .. });
    !is_stranger || turned_away <= 100 || turned_away.is_multiple_of(100)
}

/// A host, as the machine of one account sees it.
pub(super) struct AccountHost<B: Backend> {
    pub(super) host: Arc<Host<B>>,
    pub(super) account: String,
}

impl<B: Backend> server::Host for AccountHost<B> {
    fn model(&self) -> Arc<ServedModel> {
        self.host.served()
    }

    fn charge(&self, version: u64, exposure: &Exposure, samples: u64) -> Result<(), Refused> {
        let policy = self.host.config.policy;
        let booked = self.host.ledger().charge(&self.account, version, exposure, samples, policy);
        booked.map_err(|not_booked| match not_booked {
            NotBooked::Refused(refused) => refused,
            NotBooked::File(error) => {
                self.host.emit(ServerEvent::StoreFailed { reason: error.to_string() });
                Refused::StoreFailed
            }
        })
    }
}

/// The rules that a lease would otherwise break in the middle.
fn check_rate<B: Backend>(rate: &LearningRate<B>, model: &ServedModel) -> Result<()> {
    match rate {
        LearningRate::Public(eta) if eta.is_finite() && *eta > 0.0 => Ok(()),
        LearningRate::Public(eta) => {
            Err(Error::configuration("learning rate", format!("{eta} is not positive")))
        }
        LearningRate::Secret { key, g, g_max } => {
            let precision = &model.precision;
            let spare = precision.most_g_max();
            if g > g_max || *g_max > spare {
                let why = format!("2^-{g}, at the least 2^-{g_max}, needs g <= g_max <= {spare}");
                return Err(Error::configuration("secret learning rate", why));
            }
            let public = B::public_key(key);
            B::Rate::plan(model.network.trained_parameters(), precision, *g_max, public)
                .map_err(gelu_core::Error::from)?;
            Ok(())
        }
    }
}

/// The paths of a server's files must differ.
pub(super) fn check_paths(model: &Path, ledger: &Path) -> Result<()> {
    match gelu_files::same(model, ledger) {
        true => Err(Error::configuration("ledger", "cannot be the model's file")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use crate::tls::ServerTls;
    use gelu_core::Precision;
    use gelu_core::clear::{Clear, ClearKey};
    use gelu_core::ledger::Policy;
    use gelu_core::plan::{Plan, Purpose};
    use gelu_nn::zoo;

    const ALICE: &str = "alice";

    #[test]
    fn a_flood_of_strangers_does_not_flood_the_log() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let stranger = ServerEvent::TurnedAway { peer, kind: "", reason: String::new() };
        let logged = |most: u64| (1..=most).filter(|&n| is_logged(&stranger, n)).count();
        assert_eq!((logged(100), logged(199), logged(200), logged(10_000)), (100, 100, 101, 199));
        let (account, model) = (ALICE.into(), "iris".into());
        let session = ServerEvent::Left { account, model, ended: None };
        assert!((0..1000).all(|n| is_logged(&session, n)), "all else is logged");
    }

    fn host(folder: &Path) -> Arc<Host<Clear>> {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let model = Model::initialise("iris", zoo::iris(), Precision::TRAINING, rng).unwrap();
        let (path, ledger) = (folder.join("model.safetensors"), folder.join("ledger.json"));
        model.save(&path).unwrap();
        let authority = Authority::create(&folder.join("certs")).unwrap();
        let identity = authority.issue_server(&[]).unwrap();
        let tls = ServerTls::read(&authority.certificate(), &identity).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let rate = LearningRate::Public(0.1);
        let mut config = Config::new(address, tls, path, ledger, rate);
        config.policy = Policy::AllowModelExtraction;
        Arc::new(Host::open(config).unwrap())
    }

    fn exposure(model: &ServedModel) -> Exposure {
        let (key, purpose) = (ClearKey::new(2048).unwrap(), Purpose::Inference);
        let plan = Plan::new::<Clear>(&model.network, &model.precision, 1, purpose, &key).unwrap();
        Exposure::new(&model.network, &model.precision, &plan)
    }

    fn commit(host: &Host<Clear>) -> u64 {
        let model = host.served();
        host.commit(ALICE, model.version, model.parameters.clone()).unwrap()
    }

    /// A session has the model in hand, another one of its account commits, and only then the first
    /// one books: the booking is on the version that it answers from, and counts on the new one.
    #[test]
    fn a_booking_that_comes_after_the_commit_counts_on_the_new_version() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let of = |account: &str| AccountHost { host: Arc::clone(&host), account: account.into() };
        let (alice, bob) = (of(ALICE), of("bob"));
        let old = server::Host::model(&alice);
        let exposure = exposure(&old);
        let layer = &exposure.model[0];
        let revealed = |account, version| {
            host.ledger().ledger().revealed(account, version, layer)
                / layer.revealed_bits_per_sample
        };
        server::Host::charge(&alice, old.version, &exposure, 1).unwrap();
        let new = commit(&host);
        assert_eq!(new, old.version + 1);
        server::Host::charge(&alice, old.version, &exposure, 2).unwrap();
        server::Host::charge(&bob, old.version, &exposure, 1).unwrap();
        let newest = commit(&host);
        server::Host::charge(&alice, old.version, &exposure, 4).unwrap();
        server::Host::charge(&alice, new, &exposure, 8).unwrap();
        for version in [old.version, new, newest] {
            assert_eq!(revealed(ALICE, version), 15, "{version}");
        }
        assert_eq!((revealed("bob", old.version), revealed("bob", new)), (1, 0));
        drop((alice, bob));
        drop(Arc::into_inner(host));
        let file = LedgerFile::open(&folder.path().join("ledger.json"), "iris").unwrap();
        let again = file.ledger().revealed(ALICE, newest, layer);
        assert_eq!(again, 15 * layer.revealed_bits_per_sample);
    }

    /// Four sessions of one account ask, a fifth commits, in whatever order the machine chooses.
    #[test]
    fn no_booking_is_lost_while_versions_change() {
        const QUERIES: u64 = 8;
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let exposure = exposure(&host.served());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (host, exposure) = (Arc::clone(&host), &exposure);
                let session = AccountHost { host, account: ALICE.into() };
                scope.spawn(move || {
                    for _ in 0..QUERIES {
                        let version = server::Host::model(&session).version;
                        std::thread::yield_now();
                        server::Host::charge(&session, version, exposure, 1).unwrap();
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..4 {
                    commit(&host);
                }
            });
        });
        let version = host.served().version;
        assert_eq!(version, 4);
        let layer = &exposure.model[0];
        let revealed = host.ledger().ledger().revealed(ALICE, version, layer);
        assert_eq!(revealed, 4 * QUERIES * layer.revealed_bits_per_sample);
    }

    /// A lease of a version that is no longer the last one cannot end as the next.
    #[test]
    fn a_commit_on_an_old_version_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let parameters = || host.served().parameters.clone();
        for base in [1, 7] {
            let error = host.commit(ALICE, base, parameters()).unwrap_err();
            assert!(matches!(error, Error::Bug(_)), "{error}");
        }
        host.commit(ALICE, 0, parameters()).unwrap();
        assert!(host.commit(ALICE, 0, parameters()).is_err());
        assert_eq!(host.served().version, 1);
    }
}
