//! What a server looks at before it listens.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::{Log, Site, model};
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::server::LearningRate;
use gelu_nn::Model;
use gelu_service::server::{Server, ServerEvent};
use gelu_service::{Config, Error};

async fn refusal(site: &Site, change: impl FnOnce(&mut Config<Clear>)) -> String {
    let mut config = site.config();
    change(&mut config);
    Server::bind(config).await.err().expect("refused").to_string()
}

async fn begun(site: &Site, ledger: Option<PathBuf>) -> Option<(u64, PathBuf)> {
    let (log, mut config) = (Arc::new(Log::default()), site.config());
    config.observer = log.clone();
    config.ledger = ledger.unwrap_or(config.ledger);
    drop(Server::bind(config).await.unwrap());
    log.find(|event| match event {
        ServerEvent::LedgerMissing { version, ledger, .. } => Some((*version, ledger.clone())),
        _ => None,
    })
}

fn trained() -> Model {
    let model = model();
    model.successor(model.parameters().clone()).unwrap()
}

/// Without its ledger a trained model gives every account its budget back: the operator is told.
#[tokio::test]
async fn a_trained_model_without_a_ledger_is_worth_a_warning() {
    let untrained = Site::new();
    assert_eq!(begun(&untrained, None).await, None, "nothing was shown before");
    let site = Site::with(&trained());
    assert_eq!(begun(&site, None).await, Some((1, site.ledger_path())));
    assert_eq!(begun(&site, None).await, None, "now it has one");
    let elsewhere = site.folder.path().join("elsewhere.json");
    assert_eq!(begun(&site, Some(elsewhere.clone())).await, Some((1, elsewhere)));
}

#[tokio::test]
async fn files_that_do_not_belong_together() {
    let site = Site::new();
    drop(Server::bind(site.config()).await.unwrap());
    let error = refusal(&site, |c| c.ledger = c.model.clone()).await;
    assert!(error.contains("cannot be the model's file"), "{error}");

    let whole = std::fs::read_to_string(site.ledger_path()).unwrap();
    let other = whole.replace("\"small\"", "\"large\"");
    assert_ne!(other, whole);
    for (content, why) in [
        (&*other, "it belongs to \"large\", not to \"small\""),
        ("", "restore it from a backup"),
        (&whole[..whole.len() / 2], "restore it from a backup"),
        (&format!("{whole}nonsense\n"), "line 2"),
    ] {
        std::fs::write(site.ledger_path(), content).unwrap();
        let error = refusal(&site, |_| {}).await;
        assert!(error.contains("ledger.json") && error.contains(why), "{why}: {error}");
        assert_eq!(std::fs::read_to_string(site.ledger_path()).unwrap(), content, "left alone");
    }
    std::fs::remove_file(site.ledger_path()).unwrap();
    std::fs::create_dir(site.ledger_path()).unwrap();
    assert!(refusal(&site, |_| {}).await.contains("ledger.json"));
    let missing = site.folder.path().join("nothing.safetensors");
    assert!(refusal(&site, |c| c.model = missing).await.contains("nothing.safetensors"));
}

/// Each file is one server's own, whatever its other file is.
#[tokio::test]
async fn files_that_another_server_uses() {
    let site = Site::new();
    let running = Server::bind(site.config()).await.unwrap();
    let folder = site.folder.path();
    let model = folder.join("copy.safetensors");
    std::fs::copy(site.model_path(), &model).unwrap();
    let (copy, ledger) = (model.clone(), folder.join("other.json"));
    let error = refusal(&site, |c| c.ledger = ledger.clone()).await;
    assert!(error.contains("model.safetensors: in use by another server"), "{error}");
    let error = refusal(&site, |c| c.model = copy).await;
    assert!(error.contains("ledger.json: in use by another server"), "{error}");
    let mut apart = site.config();
    (apart.model, apart.ledger) = (model, ledger);
    drop(Server::bind(apart).await.unwrap());
    drop(running);
    drop(Server::bind(site.config()).await.unwrap());
}

#[tokio::test]
async fn settings_that_cannot_work() {
    let site = Site::new();
    let error = refusal(&site, |c| c.lease_samples = 0).await;
    assert_eq!(error, "lease samples: must be 1 or more");
    #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    let error = refusal(&site, |c| c.key_bits = 4096..=2048).await;
    assert_eq!(error, "key bits: the range is empty");
    assert!(refusal(&site, |c| c.limits.sessions = 0).await.starts_with("sessions: "));
    for eta in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = refusal(&site, |c| c.rate = LearningRate::Public(eta)).await;
        assert!(error.starts_with("learning rate: "), "{error}");
    }
    let most = model().precision().most_g_max();
    for (g, g_max) in [(3, 2), (0, most + 1)] {
        let key = Arc::new(ClearKey::new(2048).unwrap());
        let error = refusal(&site, |c| c.rate = LearningRate::Secret { key, g, g_max }).await;
        assert!(error.contains("g <= g_max"), "{error}");
    }
    // Nothing was begun by those.
    assert!(!site.ledger_path().exists());
    // The last that works: every spare bit is spent, none is left over for a smaller rate.
    let mut edge = site.config();
    let key = Arc::new(ClearKey::new(2048).unwrap());
    edge.rate = LearningRate::Secret { key, g: most, g_max: most };
    drop(Server::bind(edge).await.unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = site.config();
    config.address = taken.local_addr().unwrap();
    let error = Server::bind(config).await.err().expect("taken");
    assert!(matches!(error, Error::Network { .. }), "{error}");
}
