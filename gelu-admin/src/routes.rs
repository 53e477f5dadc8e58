//! What can be asked, and who may.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER,
};
use hyper::{Request, Response, StatusCode};
use prometheus_client::encoding::prometheus_text;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::listen::Limits;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, Seen};

/// The server behind the address. Called on a thread that may block, at most one `backup` or `reload` at a time.
pub trait Process: Send + Sync + 'static {
    /// Whether the store answers.
    ///
    /// # Errors
    /// One sentence: why not.
    fn check_store(&self) -> Result<(), String>;

    /// Writes a copy of the store beside it, and returns where it is.
    ///
    /// # Errors
    /// One sentence. Nothing is left behind then.
    fn backup(&self) -> Result<PathBuf, String>;

    /// Reads again what SIGHUP makes it read, and returns what is in force now, in one sentence.
    ///
    /// # Errors
    /// One sentence. What was in force before still is.
    fn reload(&self) -> Result<String, String>;
}

pub(crate) struct Routes {
    limits: Limits,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    process: Arc<dyn Process>,
    pulse: Arc<Seen>,
    store: Mutex<Store>,
    last_backup: Arc<Mutex<Option<Instant>>>,
}

/// What is known of the store.
#[derive(Default)]
struct Store {
    /// What it last said, and when.
    known: Option<(Instant, Result<(), String>)>,
    /// A question that it has not answered. There is never a second one.
    asked: Option<JoinHandle<Result<(), String>>>,
}

type Answer = Response<Full<Bytes>>;

impl Routes {
    pub(crate) fn new(
        limits: Limits,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        process: Arc<dyn Process>,
        pulse: Arc<Seen>,
    ) -> Self {
        let (store, last_backup) = (Mutex::default(), Arc::default());
        Self { limits, metrics, readiness, process, pulse, store, last_backup }
    }

    /// Sets `acting` while a backup or a reload is under way.
    pub(crate) async fn answer(
        &self,
        peer: SocketAddr,
        request: Request<impl Body>,
        acting: &AtomicBool,
    ) -> Result<Answer, Infallible> {
        let (method, path) = (request.method(), request.uri().path());
        let acts = match path {
            "/healthz" | "/readyz" | "/metrics" => false,
            "/backup" | "/reload" => true,
            _ => return Ok(text(StatusCode::NOT_FOUND, PATHS)),
        };
        let allowed = if acts { "POST" } else { "GET, HEAD" };
        if !allowed.split(", ").any(|allowed| method.as_str() == allowed) {
            let why = format!("{path} takes {allowed}");
            return Ok(with(text(StatusCode::METHOD_NOT_ALLOWED, &why), ALLOW, allowed));
        }
        if !request.body().is_end_stream() {
            return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "send no body"));
        }
        if acts && !peer.ip().to_canonical().is_loopback() {
            let why = "backups and reloads can be asked for on the server's own machine alone";
            return Ok(text(StatusCode::FORBIDDEN, why));
        }
        // Every browser sends it with a POST: no page may act on whatever listens on its reader's machine.
        if acts && request.headers().contains_key(ORIGIN) {
            return Ok(text(StatusCode::FORBIDDEN, "not from a browser"));
        }
        acting.store(acts, Ordering::Relaxed);
        let answer = match path {
            "/healthz" => told(self.health(), "alive"),
            "/readyz" => told(self.ready().await, "ready"),
            "/metrics" => self.metrics().await,
            "/backup" => self.backup().await,
            _ => self.reload().await,
        };
        acting.store(false, Ordering::Relaxed);
        Ok(answer)
    }

    fn health(&self) -> Result<(), String> {
        let silence = self.pulse.silence();
        match silence <= self.limits.pulse {
            true => Ok(()),
            false => Err(format!("the server's loop has stood still for {} s", silence.as_secs())),
        }
    }

    async fn ready(&self) -> Result<(), String> {
        self.health()?;
        self.readiness.check()?;
        self.store().await.map_err(|why| format!("the store fails: {why}"))
    }

    /// Whether the store answers, asked for at most as often as the limits say, and by one thread.
    async fn store(&self) -> Result<(), String> {
        let Limits { store: limit, store_checked, .. } = self.limits;
        let mut store = self.store.lock().await;
        if let Some((when, known)) = &store.known
            && when.elapsed() < store_checked
        {
            return known.clone();
        }
        let process = Arc::clone(&self.process);
        let asked =
            store.asked.get_or_insert_with(|| spawn_blocking(move || process.check_store()));
        let known = match timeout(limit, asked).await {
            Ok(answered) => {
                store.asked = None;
                answered.unwrap_or_else(|_| Err("its check broke off; see the log".into()))
            }
            Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
        };
        store.known = Some((Instant::now(), known.clone()));
        known
    }

    async fn metrics(&self) -> Answer {
        self.metrics.set_ready(self.ready().await.is_ok());
        let answer = text(StatusCode::OK, &self.metrics.encode());
        with(answer, CONTENT_TYPE, prometheus_text::CONTENT_TYPE)
    }

    async fn backup(&self) -> Answer {
        let Some(mut last) = self.turn() else { return busy() };
        let since = last.map(|last| last.elapsed());
        if let Some(rest) = since.and_then(|since| self.limits.between_backups.checked_sub(since)) {
            let seconds = rest.as_secs() + 1;
            let why = format!("the last backup is too fresh: ask again in {seconds} s");
            let answer = json_answer(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": why }));
            return with(answer, RETRY_AFTER, &seconds.to_string());
        }
        let (process, metrics) = (Arc::clone(&self.process), Arc::clone(&self.metrics));
        let written = self.act("backup", move || {
            let written = process.backup();
            metrics.backed_up(written.is_ok());
            if written.is_ok() {
                *last = Some(Instant::now());
            }
            written.map(|path| path.display().to_string())
        });
        written.await
    }

    async fn reload(&self) -> Answer {
        let Some(turn) = self.turn() else { return busy() };
        let (process, metrics) = (Arc::clone(&self.process), Arc::clone(&self.metrics));
        let reloaded = self.act("reload", move || {
            let _turn = turn;
            let reloaded = process.reload();
            metrics.reloaded(reloaded.is_ok());
            reloaded
        });
        reloaded.await
    }

    /// Unless somebody else has it.
    fn turn(&self) -> Option<OwnedMutexGuard<Option<Instant>>> {
        Arc::clone(&self.last_backup).try_lock_owned().ok()
    }

    /// Works to its end, and keeps its turn till then, even if whoever asked has hung up.
    async fn act(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<String, String> + Send + 'static,
    ) -> Answer {
        let done = spawn_blocking(move || {
            let done = work();
            match &done {
                Ok(done) => tracing::info!(done, "{what} asked for at the admin address"),
                Err(error) => tracing::error!(error, "{what} asked for at the admin address"),
            }
            done
        });
        match done.await {
            Ok(Ok(done)) => json_answer(StatusCode::OK, &json!({ what: done })),
            Ok(Err(error)) => {
                json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error }))
            }
            Err(_) => {
                let error = format!("the {what} broke off; see the log");
                json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error }))
            }
        }
    }
}

const PATHS: &str = "there are GET /healthz, /readyz and /metrics, POST /backup and /reload";

fn told(state: Result<(), String>, well: &str) -> Answer {
    match state {
        Ok(()) => text(StatusCode::OK, well),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn busy() -> Answer {
    let why = "a backup or a reload is under way: ask again when it is done";
    json_answer(StatusCode::CONFLICT, &json!({ "error": why }))
}

fn text(status: StatusCode, text: &str) -> Answer {
    let line = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    answer(status, "text/plain; charset=utf-8", line)
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value}\n"))
}

fn answer(status: StatusCode, content: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    with(with(answer, CONTENT_TYPE, content), CACHE_CONTROL, "no-store")
}

fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    let value = HeaderValue::from_str(value).expect("words and numbers of ours");
    answer.headers_mut().insert(name, value);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Pulse;
    use http_body_util::Empty;
    use std::time::Duration;
    use tokio::runtime::Handle;

    struct Still;

    impl Process for Still {
        fn check_store(&self) -> Result<(), String> {
            Ok(())
        }
        fn backup(&self) -> Result<PathBuf, String> {
            Ok("copy".into())
        }
        fn reload(&self) -> Result<String, String> {
            Ok("done".into())
        }
    }

    #[tokio::test]
    async fn whoever_acts_is_on_this_machine() {
        let pulse = Pulse::of(&Handle::current(), Duration::from_secs(1));
        let (metrics, readiness) = (Arc::new(Metrics::new(false)), Readiness::starting());
        let routes =
            Routes::new(Limits::default(), metrics, readiness, Arc::new(Still), pulse.seen());
        for (peer, status) in [
            ("127.0.0.1:1", 200),
            ("[::1]:1", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("192.0.2.1:1", 403),
            ("[2001:db8::1]:1", 403),
        ] {
            let peer = peer.parse().unwrap();
            let ask = async |method: &str, path: &str| {
                let request = Request::builder().method(method).uri(path);
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                let answer = routes.answer(peer, request, &AtomicBool::new(false)).await.unwrap();
                answer.status().as_u16()
            };
            assert_eq!(ask("POST", "/reload").await, status, "{peer}");
            assert_eq!(ask("GET", "/healthz").await, 200, "{peer}");
        }
    }
}
