//! A server that runs: what is read again, copied and told while it does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use gelu_admin::{Admin, Metrics, Process, Readiness};
use gelu_service::ServerTls;
use gelu_service::server::Handle;
use gelu_store::{Location, Store};
use tokio::sync::Mutex;

use super::Args;
use super::file::{Fixed, Settings};
use crate::phases::say;
use crate::problem::explain;
use crate::{service_manager, signals};

/// See the [module](self).
pub(super) struct Running {
    args: Args,
    fixed: Fixed,
    location: Location,
    store: Store,
    tls: ServerTls,
    server: Handle,
    runtime: tokio::runtime::Handle,
    metrics: Arc<Metrics>,
    /// One reload at a time.
    reloading: Mutex<()>,
}

impl Running {
    pub(super) fn new(
        args: &Args,
        settings: &Settings,
        tls: ServerTls,
        server: Handle,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            args: args.clone(),
            fixed: settings.fixed.clone(),
            location: settings.location(),
            store: server.store().clone(),
            tls,
            server,
            runtime: tokio::runtime::Handle::current(),
            metrics,
            reloading: Mutex::default(),
        })
    }

    /// Answers at the admin address, if there is one.
    pub(super) fn admin(self: &Arc<Self>, readiness: &Readiness) -> Result<Option<Admin>> {
        let Some(address) = self.fixed.place.admin else { return Ok(None) };
        let mut config = gelu_admin::Config::new(address);
        if !address.ip().is_loopback() {
            config.beyond_this_machine = true;
            say(&format!("{address} answers whoever reaches it: keep strangers away from it"));
        }
        let (metrics, process) = (Arc::clone(&self.metrics), Arc::clone(self) as Arc<dyn Process>);
        let admin = Admin::start(config, metrics, readiness.clone(), process)?;
        Ok(Some(admin))
    }

    /// Reads the settings again whenever a SIGHUP comes, for as long as it is polled.
    pub(super) async fn reload_at_hangups(&self) {
        let mut hangups = signals::hangups();
        loop {
            hangups.next().await;
            match self.reload_now().await {
                Ok(now) => tracing::info!("read again: {now}"),
                Err(error) => tracing::error!("all stays as it was: {}", explain(&error)),
            }
        }
    }

    /// Certificates, which are followed in any case, then the models and their terms, as the files say it now: all of
    /// them, or none.
    async fn reload_now(&self) -> Result<String> {
        let _one = self.reloading.lock().await;
        let reloaded = service_manager::reloading(self.reload_all()).await;
        self.metrics.reloaded(reloaded.is_ok());
        reloaded
    }

    async fn reload_all(&self) -> Result<String> {
        let args = self.args.clone();
        let (settings, offers) = tokio::task::spawn_blocking(move || {
            let settings = args.settings()?;
            let offers = settings.offers()?;
            Ok::<_, anyhow::Error>((settings, offers))
        })
        .await??;
        if settings.fixed != self.fixed {
            tracing::warn!("what was changed outside of [[model]] takes effect at the next start");
        }
        self.tls.reload()?;
        self.server.serve(offers).await?;
        let cards = self.server.cards();
        let models = cards.iter().map(|card| format!("{} version {}", card.name, card.version));
        Ok(models.collect::<Vec<_>>().join(", "))
    }
}

impl Process for Running {
    fn check_store(&self) -> Result<(), String> {
        self.store.models().map(drop).map_err(|error| error.to_string())
    }

    fn backup(&self) -> Result<PathBuf, String> {
        let Location::File(path) = &self.location else {
            return Err("the store is a database: copy it with pg_dump".into());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let copy = path.with_added_extension(format!("backup-{}", now.as_secs()));
        self.store.backup(&copy).map_err(|error| error.to_string())?;
        Ok(copy)
    }

    fn reload(&self) -> Result<String, String> {
        self.runtime.block_on(self.reload_now()).map_err(|error| explain(&error))
    }
}

/// Where an admin address is, if it is only asked for.
pub(super) const ADMIN: &str = "127.0.0.1:9878";
