//! What a server looks at before it listens.

use std::sync::Arc;

use crate::common::{Setup, Site, doubled, exposure, model};
use gelu_core::clear::ClearKey;
use gelu_core::server::LearningRate;
use gelu_nn::Model;
use gelu_service::Error;
use gelu_store::{Redb, Store};

async fn refusal(site: &Site, change: impl FnOnce(&mut Setup)) -> String {
    let mut config = site.config();
    change(&mut config);
    config.bind().await.err().expect("refused").to_string()
}

async fn begins(site: &Site, change: impl FnOnce(&mut Setup)) -> u64 {
    let mut config = site.config();
    change(&mut config);
    config.bind().await.unwrap().handle().cards()[0].version
}

fn trained() -> Model {
    let model = model();
    model.successor(model.parameters().clone()).unwrap()
}

/// Without its books a trained model would give every account its budget back: that takes a word.
#[tokio::test]
async fn a_trained_model_without_its_books_is_refused() {
    assert_eq!(begins(&Site::new(), |_| {}).await, 0, "nothing was shown before");
    let site = Site::with(&trained());
    let error = refusal(&site, |_| {}).await;
    assert!(
        error.contains("model.safetensors is version 1") && error.contains("--new-ledger"),
        "{error}"
    );
    assert_eq!(begins(&site, |c| c.offer.new_ledger = true).await, 1);
    assert_eq!(begins(&site, |_| {}).await, 1, "now it has them");
}

/// Books of before there was a store are taken over, once.
#[tokio::test]
async fn an_old_ledger_is_taken_over() {
    let site = Site::with(&trained());
    let old = site.folder.path().join("model.safetensors.ledger");
    let booked = r#"{"booked":{"account":"alice","version":1,"bits":{"dense1 forward":66}}}"#;
    let journal = format!("{{\"format\":2,\"model\":\"small\"}}\n{booked}\n");
    std::fs::write(&old, journal.replace("small", "large")).unwrap();
    let error = refusal(&site, |_| {}).await;
    assert!(error.contains("it belongs to \"large\", not to \"small\""), "{error}");
    std::fs::write(&old, journal).unwrap();
    assert_eq!(begins(&site, |_| {}).await, 1);
    assert!(!old.exists(), "it has another name now");
    let layer = exposure(&site.stored()).model.remove(0);
    assert_eq!(site.store().account("small", "alice").unwrap().revealed(1, &layer), 66);
}

/// A file with news is a new version; one that an older version held is none.
#[tokio::test]
async fn what_a_file_holds_decides_whether_it_is_news() {
    let site = Site::new();
    let at = || site.stored().version();
    assert_eq!(begins(&site, |_| {}).await, 0);
    let first = site.stored();
    let mut other = model();
    other = other.successor(doubled(other.parameters())).unwrap().with_version(0);
    other.save(&site.model_path()).unwrap();
    assert_eq!((begins(&site, |_| {}).await, at()), (1, 1), "the file is told its number");
    first.save(&site.model_path()).unwrap();
    assert_eq!((begins(&site, |_| {}).await, at()), (1, 1), "an old backup is no news");
    assert_eq!(site.stored().parameters(), other.parameters());
}

#[tokio::test]
async fn files_that_another_server_uses() {
    let site = Site::new();
    let running = site.config().bind().await.unwrap();
    let (mut config, store) =
        (site.config_on(Store::in_memory()), site.folder.path().join("store"));
    let error = config.bind().await.err().expect("refused").to_string();
    assert!(error.contains("model.safetensors: in use by another server"), "{error}");
    assert!(matches!(Redb::open(&store), Err(gelu_store::Error::InUse(_))));
    config = site.config_on(Store::in_memory());
    config.offer.model = site.folder.path().join("copy.safetensors");
    std::fs::copy(site.model_path(), &config.offer.model).unwrap();
    drop(config.bind().await.unwrap());
    drop(running);
    drop(site.config().bind().await.unwrap());
    let missing = site.folder.path().join("nothing.safetensors");
    assert!(refusal(&site, |c| c.offer.model = missing).await.contains("nothing.safetensors"));
}

#[tokio::test]
async fn settings_that_cannot_work() {
    let site = Site::new();
    let error = refusal(&site, |c| c.offer.lease_samples = 0).await;
    assert_eq!(error, "lease samples: must be 1 or more");
    #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    let error = refusal(&site, |c| c.offer.key_bits = 4096..=2048).await;
    assert_eq!(error, "key bits: the range is empty");
    assert!(refusal(&site, |c| c.server.limits.sessions = 0).await.starts_with("sessions: "));
    for eta in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = refusal(&site, |c| c.offer.rate = LearningRate::Public(eta)).await;
        assert!(error.starts_with("learning rate: "), "{error}");
    }
    let most = model().precision().most_g_max();
    for (g, g_max) in [(3, 2), (0, most + 1)] {
        let key = Arc::new(ClearKey::new(2048).unwrap());
        let error = refusal(&site, |c| c.offer.rate = LearningRate::Secret { key, g, g_max }).await;
        assert!(error.contains("g <= g_max"), "{error}");
    }
    // Nothing was begun by those.
    assert_eq!(site.store().models().unwrap(), [""; 0]);
    // The last that works: every spare bit is spent, none is left over for a smaller rate.
    let mut edge = site.config();
    let key = Arc::new(ClearKey::new(2048).unwrap());
    edge.offer.rate = LearningRate::Secret { key, g: most, g_max: most };
    drop(edge.bind().await.unwrap());

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = site.config();
    config.server.address = taken.local_addr().unwrap();
    let error = config.bind().await.err().expect("taken");
    assert!(matches!(error, Error::Network { .. }), "{error}");
}
