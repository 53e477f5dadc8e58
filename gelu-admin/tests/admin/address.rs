//! What the admin address answers, to whom, and that nobody can exhaust it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gelu_admin::{Admin, Config, Error, Limits, Metrics, Readiness};

use crate::common::{PATIENCE, Site, Told, ask};

/// Every check of the store is a new one.
fn fresh(limits: &mut Limits) {
    limits.store_checked = Duration::ZERO;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_between_its_start_and_its_end() {
    let site = Site::start(fresh);
    site.until("/healthz", 200, "alive").await;
    site.until("/readyz", 503, "starting: the models are not loaded yet").await;
    site.until("/metrics", 200, "\ngelu_ready 0\n").await;
    site.readiness.serve();
    site.until("/readyz", 200, "ready").await;
    site.until("/metrics", 200, "\ngelu_ready 1\n").await;
    *site.told.store.lock().unwrap() = Box::new(|| Err("the disk is full".into()));
    site.until("/readyz", 503, "the store fails: the disk is full").await;
    site.until("/metrics", 200, "\ngelu_ready 0\n").await;
    *site.told.store.lock().unwrap() = Box::new(|| Ok(()));
    site.until("/readyz", 200, "ready").await;
    site.readiness.drain();
    site.until("/readyz", 503, "draining").await;
    site.until("/healthz", 200, "alive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_or_panics_is_not_ready_and_is_asked_by_one_thread() {
    let site = Site::start(|limits| {
        fresh(limits);
        limits.store = Duration::from_millis(50);
    });
    site.readiness.serve();
    let (asked, (go_on, hangs)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    let count = Arc::clone(&asked);
    *site.told.store.lock().unwrap() = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = hangs.recv_timeout(PATIENCE);
        Ok(())
    });
    for _ in 0..3 {
        site.until("/readyz", 503, "the store fails: no answer within 0.05 s").await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    drop(go_on);
    site.until("/readyz", 200, "ready").await;
    *site.told.store.lock().unwrap() = Box::new(|| std::panic::resume_unwind(Box::new("a store")));
    site.until("/readyz", 503, "the store fails: its check broke off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_asked_no_more_often_than_the_limits_say() {
    let site = Site::start(|limits| limits.store_checked = PATIENCE);
    site.readiness.serve();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    *site.told.store.lock().unwrap() = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    for _ in 0..5 {
        assert_eq!(site.get("/readyz").await.0, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// The server's runtime has one thread here, which does something else for a while.
#[test]
fn a_loop_that_stands_still_is_not_alive() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let site = runtime.block_on(async { Site::start(|l| l.pulse = Duration::from_millis(200)) });
    site.readiness.serve();
    let health = || ask(site.address, "GET /healthz HTTP/1.1\r\nHost: gelu\r\n\r\n");
    let until = |status| {
        let begun = Instant::now();
        while health().0 != status {
            assert!(begun.elapsed() < PATIENCE, "{:?}", health());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(503);
    assert!(health().1.contains("the server's loop has stood still for"), "{:?}", health());
    let ready = ask(site.address, "GET /readyz HTTP/1.1\r\nHost: gelu\r\n\r\n");
    assert_eq!(ready.0, 503, "{}", ready.1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(stopped));
        until(200);
        drop(stop);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_where_it_is_and_rests_before_the_next() {
    let site = Site::start(|_| ());
    *site.told.backup.lock().unwrap() = Box::new(|| Err("the disk is full".into()));
    let (status, said) = site.post("/backup").await;
    assert_eq!((status, said.contains(r#"{"error":"the disk is full"}"#)), (500, true), "{said}");
    // One that failed is no reason to wait.
    *site.told.backup.lock().unwrap() = Box::new(|| Ok("/state/copy".into()));
    let (status, said) = site.post("/backup").await;
    assert_eq!((status, said.contains(r#"{"backup":"/state/copy"}"#)), (200, true), "{said}");
    let (status, said) = site.post("/backup").await;
    assert_eq!((status, said.contains("retry-after: 10\r\n")), (429, true), "{said}");
    let (status, said) = site.post("/reload").await;
    assert_eq!((status, said.contains(r#"{"reload":"2 models"}"#)), (200, true), "{said}");
    let text = site.metrics.encode();
    for line in [
        r#"gelu_backups_total{result="ok"} 1"#,
        r#"gelu_backups_total{result="failed"} 1"#,
        r#"gelu_reloads_total{result="ok"} 1"#,
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("gelu_last_backup_time_seconds 0"), "{text}");
}

/// Whoever asked may hang up: the work goes on, and has the place to itself.
#[tokio::test(flavor = "multi_thread")]
async fn one_backup_or_reload_at_a_time_as_long_as_it_takes() {
    let site = Site::start(|limits| {
        (limits.request, limits.answer) = (Duration::from_millis(300), Duration::from_millis(300));
    });
    let (begun, begins) = mpsc::channel::<()>();
    let (end, ends) = mpsc::channel::<()>();
    *site.told.reload.lock().unwrap() = Box::new(move || {
        begun.send(()).unwrap();
        let _ = ends.recv_timeout(PATIENCE);
        Ok("done".into())
    });
    let mut tcp = TcpStream::connect(site.address).unwrap();
    tcp.write_all(b"POST /reload HTTP/1.1\r\nHost: gelu\r\n\r\n").unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    for path in ["/backup", "/reload"] {
        let (status, said) = site.post(path).await;
        assert_eq!((status, said.contains("is under way")), (409, true), "{said}");
    }
    // Longer than an answer may take otherwise.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    end.send(()).unwrap();
    let mut said = String::new();
    tcp.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains(r#"{"reload":"done"}"#), "{said}");

    let mut tcp = TcpStream::connect(site.address).unwrap();
    tcp.write_all(b"POST /reload HTTP/1.1\r\nHost: gelu\r\n\r\n").unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    drop(tcp);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(site.post("/backup").await.0, 409);
    drop(end);
    let begun = Instant::now();
    while site.post("/backup").await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_is_asked_is_refused_with_the_reason() {
    let site = Site::start(|_| ());
    site.readiness.serve();
    let post = |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nHost: gelu\r\n{more}\r\n");
    for (request, status, why) in [
        (
            "GET / HTTP/1.1\r\nHost: gelu\r\n\r\n".to_owned(),
            404,
            "GET /healthz, /readyz and /metrics",
        ),
        ("GET /backup HTTP/1.1\r\nHost: gelu\r\n\r\n".to_owned(), 405, "/backup takes POST"),
        (post("/metrics", ""), 405, "allow: GET, HEAD"),
        (post("/backup", "Origin: http://127.0.0.1:9878\r\n"), 403, "not from a browser"),
        (post("/reload", "Content-Length: 3\r\n"), 413, "send no body"),
        (post("/reload", "Transfer-Encoding: chunked\r\n"), 413, "send no body"),
        (format!("GET /{} HTTP/1.1\r\nHost: gelu\r\n\r\n", "x".repeat(20_000)), 431, ""),
        (format!("GET /healthz HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(20_000)), 431, ""),
        (format!("GET /healthz HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100)), 431, ""),
        ("hello\r\n\r\n".to_owned(), 400, ""),
    ] {
        let (got, said) = site.ask(&request).await;
        assert_eq!((got, said.contains(why)), (status, true), "{request:.60}: {said}");
    }
    let (status, said) = site.ask("HEAD /healthz HTTP/1.1\r\nHost: gelu\r\n\r\n").await;
    assert!(status == 200 && said.ends_with("\r\n\r\n"), "{said}");
    assert!(said.contains("connection: close"), "{said}");
}

/// Those who only hold connections make room for those who ask.
#[tokio::test(flavor = "multi_thread")]
async fn silent_and_slow_connections_keep_nobody_out() {
    let site = Site::start(|limits| limits.request = Duration::from_millis(500));
    let mut silent: Vec<_> = (0..40).map(|_| TcpStream::connect(site.address).unwrap()).collect();
    assert_eq!(site.get("/healthz").await.0, 200);
    // A byte now and then does not lengthen the time of a request.
    let mut slow = TcpStream::connect(site.address).unwrap();
    let begun = Instant::now();
    while slow.write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
        assert!(begun.elapsed() < PATIENCE, "a slow request is never ended");
    }
    silent.push(slow);
    for mut tcp in silent {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = Vec::new();
        let _ = tcp.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{said:?}");
    }
}

#[tokio::test]
async fn other_machines_reach_it_when_the_operator_says_so_alone() {
    let start = |address: &str, beyond| {
        let mut config = Config::new(address.parse().unwrap());
        config.beyond_this_machine = beyond;
        let (metrics, told) = (Arc::new(Metrics::new(false)), Arc::new(Told::default()));
        Admin::start(config, metrics, Readiness::starting(), told)
    };
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let error = start(address, false).unwrap_err();
        assert!(matches!(error, Error::BeyondThisMachine(_)), "{error}");
        assert!(error.to_string().contains("take 127.0.0.1"), "{error}");
    }
    let open = start("0.0.0.0:0", true).unwrap();
    let taken = start(&format!("127.0.0.1:{}", open.address().port()), false).unwrap_err();
    assert!(taken.to_string().contains("cannot listen on the admin address 127.0.0.1"), "{taken}");
    let address = open.address();
    drop(open);
    let begun = Instant::now();
    while start(&address.to_string(), true).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the address is still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
