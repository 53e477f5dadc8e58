//! One model as it is served: its terms, its versions, the line for its lease.

use std::any::Any;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gelu_core::backend::SecretRate;
use gelu_core::error::{PeerIncompatible, Refused};
use gelu_core::ledger::{Exposure, LeaseTerms};
use gelu_core::server::{LearningRate, ServedModel, WeightCache};
use gelu_core::{Backend, server};
use gelu_files::Lock;
use gelu_nn::Model;
use gelu_store::Charge;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::greeting::Greeted;
use super::observer::ServerEvent;
use super::offer::{Offer, Ready};
use super::queue::Queue;
use super::session;
use super::shared::Shared;
use super::terms::Terms;
use super::versions::{self, Place, Versions};
use crate::error::{Error, Result};
use crate::files;
use crate::handshake::{CardSchema, ModelCard};
use crate::randomness::fresh_rng;

/// A model under any backend.
pub(super) trait Hosted: Send + Sync + 'static {
    /// The name that clients ask for.
    fn name(&self) -> &str;

    /// Whether an account may use it.
    fn admits(&self, account: &str) -> bool;

    /// What a client is told at its greeting.
    fn card(&self, account: &str) -> ModelCard;

    /// Takes over what other servers of the store have made of it.
    fn refresh(&self) -> Result<()>;

    /// Serves a client that has been greeted, until somebody leaves.
    fn attend(self: Arc<Self>, client: Greeted, rng: ChaCha20Rng) -> BoxFuture<'static, ()>;

    /// Itself, for who knows its backend.
    fn as_any(&self) -> &(dyn Any + Send + Sync);
}

/// A model of one backend, on the terms of one offer.
pub(super) struct Host<B: Backend> {
    pub(super) shared: Arc<Shared>,
    pub(super) offer: Offer<B>,
    pub(super) terms: Terms,
    name: String,
    lasting: Arc<Lasting<B>>,
}

/// What outlives a change of the terms.
struct Lasting<B: Backend> {
    queue: Queue,
    weights: Arc<WeightCache<B>>,
    versions: Versions,
    lease_rng: Mutex<ChaCha20Rng>,
    /// Held as long as the model is served, unless the store is the servers' common truth.
    _lock: Option<Lock>,
}

/// An offer that was looked at: its file is read and can be served on its terms, and nothing is changed yet.
pub(super) struct Checked<B: Backend> {
    offer: Offer<B>,
    name: String,
    file: Model,
    content: String,
    terms: Terms,
    /// Of the model that is served under this name already.
    lasting: Option<Arc<Lasting<B>>>,
}

impl<B: Backend> Checked<B> {
    pub(super) fn new(mut offer: Offer<B>) -> Result<Self> {
        if offer.lease_samples == 0 {
            return Err(Error::configuration("lease samples", "must be 1 or more"));
        }
        if offer.key_bits.is_empty() {
            return Err(Error::configuration("key bits", "the range is empty"));
        }
        // From here on the file itself, wherever links will lead to one day.
        offer.model = gelu_files::resolve(&offer.model).unwrap_or(offer.model);
        let file = Model::load(&offer.model)?;
        let name = offer.name.clone().unwrap_or_else(|| file.name().to_owned());
        let (content, terms) = (versions::content(&file)?, terms(&offer, &file)?);
        Ok(Self { offer, name, file, content, terms, lasting: None })
    }
}

impl<B: Backend> Ready for Checked<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn succeed(&mut self, before: &[Arc<dyn Hosted>]) -> Result<()> {
        let before = before.iter().find(|model| model.name() == self.name);
        self.lasting = before.map(|model| lasting_of(&**model, &self.offer)).transpose()?;
        Ok(())
    }

    fn open(self: Box<Self>, shared: &Arc<Shared>) -> Result<Arc<dyn Hosted>> {
        let Self { offer, name, file, content, terms: of_file, lasting } = *self;
        let lasting = match lasting {
            None => Arc::new(Lasting::open(&offer, &name, file, shared)?),
            Some(lasting) => {
                lasting.versions.reopen(file)?;
                lasting
            }
        };
        let current = lasting.versions.current();
        let terms = match current.content == content {
            true => of_file,
            false => terms(&offer, &current.model)?,
        };
        shared.emit(ServerEvent::Serving { model: name.clone(), version: current.model.version() });
        Ok(Arc::new(Host { shared: Arc::clone(shared), offer, terms, name, lasting }))
    }
}

/// What goes on of a served model when it gets other terms.
fn lasting_of<B: Backend>(model: &dyn Hosted, offer: &Offer<B>) -> Result<Arc<Lasting<B>>> {
    let name = model.name();
    let Some(host) = model.as_any().downcast_ref::<Host<B>>() else {
        let why = format!("that of {name:?} cannot change while it is served; start anew");
        return Err(Error::configuration("backend", why));
    };
    if (&host.offer.model, host.offer.freeze) != (&offer.model, offer.freeze) {
        let why = format!(
            "the file of {name:?} and its frozen stages cannot change while it is served; replace what is in the \
             file, or start anew"
        );
        return Err(Error::configuration("model", why));
    }
    Ok(Arc::clone(&host.lasting))
}

impl<B: Backend> Host<B> {
    /// The last version.
    pub(super) fn served(&self) -> Arc<ServedModel> {
        Arc::clone(&self.lasting.versions.current().served)
    }

    /// The line of those who want to train.
    pub(super) fn queue(&self) -> &Queue {
        &self.lasting.queue
    }

    /// Weights as they are prepared for keys' layouts.
    pub(super) fn weights(&self) -> &Arc<WeightCache<B>> {
        &self.lasting.weights
    }

    /// The last version of all servers of the store: what a lease begins from.
    pub(super) fn last(&self) -> Result<Arc<ServedModel>, Refused> {
        match Hosted::refresh(self) {
            Ok(()) => Ok(self.served()),
            Err(Error::Store(error)) => Err(self.refusal(error)),
            Err(error) => {
                self.emit(ServerEvent::StoreFailed { reason: error.to_string() });
                Err(Refused::StoreFailed)
            }
        }
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
        let (least, steps) = lengths.into_inner();
        let most_samples = self.offer.lease_samples;
        let terms = LeaseTerms { batch: batch as u64, steps, least, most_samples };
        let seen = self.shared.config.store.account(&self.name, account);
        let seen = seen.map_err(|error| self.refusal(error))?;
        let mut rng = self.lasting.lease_rng.lock().expect("nothing panics while it is held");
        seen.draw_lease(version, exposure, terms, self.offer.policy, &mut *rng)
    }

    /// What a client is told when the store says no.
    fn refusal(&self, error: gelu_store::Error) -> Refused {
        match error {
            gelu_store::Error::Refused(refused) => refused,
            error => {
                self.emit(ServerEvent::StoreFailed { reason: error.to_string() });
                Refused::StoreFailed
            }
        }
    }

    /// Its versions.
    pub(super) fn versions(&self) -> &Versions {
        &self.lasting.versions
    }

    pub(super) fn emit(&self, event: ServerEvent) {
        self.shared.emit(event);
    }
}

impl<B: Backend> Hosted for Host<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn admits(&self, account: &str) -> bool {
        self.offer.accounts.as_ref().is_none_or(|accounts| accounts.contains(account))
    }

    fn card(&self, account: &str) -> ModelCard {
        let current = self.lasting.versions.current();
        let (model, terms, offer) = (&current.model, &self.terms, &self.offer);
        ModelCard {
            name: self.name.clone(),
            version: model.version(),
            id: self.lasting.versions.id(&current.content),
            architecture: model.architecture().to_json(),
            precision: *model.precision(),
            backend: B::ID.into(),
            key_bits: offer.key_bits.clone().into_inner(),
            policy: offer.policy,
            account: account.into(),
            modes: terms.modes.clone(),
            scores: offer.blind.scores,
            tickets: u32::try_from(offer.blind.tickets).unwrap_or(u32::MAX),
            inference: terms.inference.clone(),
            blind: terms.blind.clone(),
            training: terms.training.clone(),
            lease_samples: offer.lease_samples,
            schema: model.schema().map(|schema| CardSchema::from(&**schema)),
        }
    }

    fn refresh(&self) -> Result<()> {
        if let Some(version) = self.lasting.versions.refresh()? {
            self.emit(ServerEvent::Serving { model: self.name.clone(), version });
        }
        Ok(())
    }

    fn attend(self: Arc<Self>, client: Greeted, rng: ChaCha20Rng) -> BoxFuture<'static, ()> {
        session::attend(self, client, rng).boxed()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl<B: Backend> Lasting<B> {
    fn open(offer: &Offer<B>, name: &str, file: Model, shared: &Shared) -> Result<Self> {
        let store = shared.config.store.clone();
        let lock = if store.is_shared() { None } else { Some(files::lock(&offer.model)?) };
        if let (Ok(names @ 2..), Some(_)) = (gelu_files::names(&offer.model), &lock) {
            let model = offer.model.display();
            tracing::warn!(%model, names, "the file has other names, which will keep the old version");
        }
        let (name, path) = (name.to_owned(), offer.model.clone());
        let place = Place { store, name, file: path, freeze: offer.freeze };
        Ok(Self {
            queue: Queue::default(),
            weights: Arc::default(),
            versions: Versions::open(place, file, offer.new_ledger)?,
            lease_rng: Mutex::new(match offer.danger_lease_seed {
                Some(seed) => ChaCha20Rng::from_seed(seed),
                None => fresh_rng()?,
            }),
            _lock: lock,
        })
    }
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
        #[cfg(feature = "simulation")]
        if crate::simulation::charges_late() {
            let late = Self { host: Arc::clone(&self.host), account: self.account.clone() };
            let exposure = exposure.clone();
            crate::simulation::put_off(move || drop(late.book(version, &exposure, samples)));
            return Ok(());
        }
        self.book(version, exposure, samples)
    }

    /// The operator may be stricter than the cryptosystem.
    fn check_key(&self, got: u32) -> Result<(), PeerIncompatible> {
        let accepted = &self.host.offer.key_bits;
        if accepted.contains(&got) {
            return Ok(());
        }
        let accepted = format!("{} to {} bits", accepted.start(), accepted.end());
        Err(PeerIncompatible::KeySize { got, accepted })
    }
}

impl<B: Backend> AccountHost<B> {
    fn book(&self, version: u64, exposure: &Exposure, samples: u64) -> Result<(), Refused> {
        let (model, account, policy) = (&*self.host.name, &*self.account, self.host.offer.policy);
        let charge = Charge { model, version, account, exposure, samples, policy };
        let booked = self.host.shared.config.store.charge(&charge);
        booked.map_err(|error| self.host.refusal(error))
    }
}

/// The terms of a model, where the offer can be kept.
fn terms<B: Backend>(offer: &Offer<B>, model: &Model) -> Result<Terms> {
    let served = match offer.freeze {
        Some(stages) => ServedModel::from(&model.clone().freeze(stages)?),
        None => ServedModel::from(model),
    };
    check_rate(&offer.rate, &served)?;
    Terms::of::<B>(&served, offer)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::certs::Authority;
    use crate::server::Config;
    use crate::tls::ServerTls;
    use gelu_core::Precision;
    use gelu_core::clear::{Clear, ClearKey};
    use gelu_core::ledger::{LayerExposure, Policy};
    use gelu_core::plan::{Plan, Purpose};
    use gelu_nn::zoo;
    use gelu_store::{Lease, Store, Turn};

    const ALICE: &str = "alice";

    fn host(folder: &Path) -> Arc<Host<Clear>> {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let model = Model::initialise("iris", zoo::iris(), Precision::TRAINING, rng).unwrap();
        let path = folder.join("model.safetensors");
        model.save(&path).unwrap();
        let authority = Authority::create(&folder.join("certs")).unwrap();
        let identity = authority.issue_server(&[]).unwrap();
        let tls = ServerTls::read(&authority.certificate(), &identity).unwrap();
        let config = Config::new("127.0.0.1:0".parse().unwrap(), tls, Store::in_memory());
        let mut offer = Offer::new(path, LearningRate::Public(0.1));
        offer.policy = Policy::AllowModelExtraction;
        let shared = Arc::new(Shared::new(config).unwrap());
        let ready = Box::new(Checked::new(offer).unwrap());
        let (lasting, name) =
            (Lasting::open(&ready.offer, &ready.name, ready.file, &shared).unwrap(), ready.name);
        Arc::new(Host {
            shared,
            offer: ready.offer,
            terms: ready.terms,
            name,
            lasting: Arc::new(lasting),
        })
    }

    fn exposure(model: &ServedModel) -> Exposure {
        let (key, purpose) = (ClearKey::new(2048).unwrap(), Purpose::Inference);
        let plan = Plan::new::<Clear>(&model.network, &model.precision, 1, purpose, &key).unwrap();
        Exposure::new(&model.network, &model.precision, &plan)
    }

    fn lease(host: &Host<Clear>) -> Lease {
        match host.shared.config.store.ask_turn(&host.name, "server", ALICE).unwrap() {
            Turn::Granted(lease) => lease,
            waits => panic!("{waits:?}"),
        }
    }

    fn commit(host: &Host<Clear>) -> u64 {
        let model = host.served();
        host.versions()
            .commit(&lease(host), ALICE, model.version, model.parameters.clone())
            .unwrap()
    }

    fn revealed(host: &Host<Clear>, account: &str, version: u64, layer: &LayerExposure) -> u64 {
        let seen = host.shared.config.store.account(&host.name, account).unwrap();
        seen.revealed(version, layer) / layer.revealed_bits_per_sample
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
        let revealed = |account, version| revealed(&host, account, version, layer);
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
        assert_eq!(revealed(&host, ALICE, version, &exposure.model[0]), 4 * QUERIES);
    }

    /// A lease of a version that is no longer the last one cannot end as the next; nor can one that has ended.
    #[test]
    fn a_lease_commits_once_and_on_the_last_version() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let parameters = || host.served().parameters.clone();
        let held = lease(&host);
        for base in [1, 7] {
            let error = host.versions().commit(&held, ALICE, base, parameters()).unwrap_err();
            assert!(matches!(error, Error::Store(gelu_store::Error::LeaseLost(_))), "{error}");
        }
        host.versions().commit(&held, ALICE, 0, parameters()).unwrap();
        assert!(host.versions().commit(&held, ALICE, 0, parameters()).is_err());
        assert!(host.versions().commit(&held, ALICE, 1, parameters()).is_err());
        assert_eq!(host.served().version, 1);
        assert_eq!(Model::load(&host.offer.model).unwrap().version(), 1);
    }
}
