//! Whoever looks on ends nothing: neither an observer that panics, nor a log that nobody reads any more.

use std::panic::resume_unwind;
use std::process::Command;
use std::sync::Arc;

use crate::common::{Log, Site, batches};
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

/// In a process of its own: there is one log for all that a process does.
#[test]
fn panics_of_those_who_look_on_end_nothing() {
    if std::env::var_os("GELU_CLOSED_PIPE").is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = "observers::panics_of_those_who_look_on_end_nothing";
        let output = child.args(["--exact", name]).env("GELU_CLOSED_PIPE", "").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    tracing::subscriber::set_global_default(ClosedPipe).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(under_panicking_observers());
}

async fn under_panicking_observers() {
    let site = Site::new();
    let log = Arc::new(Log::default());
    let running =
        site.start_with(|c| c.server.observer = Arc::new(Panicking(Arc::clone(&log)))).await;
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
