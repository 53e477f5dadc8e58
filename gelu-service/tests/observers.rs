//! Whoever looks on ends nothing: neither an observer that panics, nor a log that nobody reads any more.

mod common;

use std::panic::resume_unwind;
use std::sync::Arc;

use common::{Log, Site, batches};
use gelu_core::message::ClientMessage;
use gelu_service::server::{Observer, ServerEvent};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Panics, without a word on stderr, after it has noted what happened.
struct Panicking(Arc<Log>);

impl Observer for Panicking {
    fn event(&self, event: &ServerEvent) {
        self.0.event(event);
        resume_unwind(Box::new("an observer"));
    }
    fn received(&self, account: &str, message: &ClientMessage) {
        self.0.received(account, message);
        resume_unwind(Box::new("an observer"));
    }
}

/// As one that writes to a closed pipe.
struct ClosedPipe;

impl Subscriber for ClosedPipe {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if event.metadata().target().starts_with("gelu_service::server") {
            resume_unwind(Box::new("a closed pipe"));
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_of_those_who_look_on_end_nothing() {
    tracing::subscriber::set_global_default(ClosedPipe).unwrap();
    let site = Site::new();
    let log = Arc::new(Log::default());
    let running = site.start_with(|c| c.observer = Arc::new(Panicking(Arc::clone(&log)))).await;
    let mut session = site.client(&running, "alice").await;
    session.classify(&batches(9, 1)[0].0).await.unwrap();
    let report = session.train(2, &mut batches(1, 2).into_iter().peekable()).await.unwrap();
    assert_eq!((report.base, report.version), (0, 1));
    assert_eq!(log.commits(), [("alice".to_owned(), 1)]);
    assert_eq!(site.stored().version(), 1);
    session.close().await;
    assert_eq!(log.left("alice").await, None);
    assert!(log.received.lock().unwrap().len() > 3);
    let summary = running.shut_down().await;
    assert_eq!((summary.sessions, summary.committed, summary.failed), (1, 1, 0));
}
