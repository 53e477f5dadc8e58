//! Runs that end early, with what was paid for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::Value;

use super::{CLEAR, Served, gelu, json, run, said, table, untrained_model};

/// A way to a server that ends, or only stops, once so many bytes came down.
pub(super) struct Relay {
    pub(super) address: String,
    /// Bytes that came down so far.
    pub(super) down: Arc<AtomicU64>,
    /// Told when it has ended or stopped.
    pub(super) over: mpsc::Receiver<()>,
}

impl Relay {
    pub(super) fn start(server: &str, limit: u64, breaks: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, down) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
        let (tell, over) = mpsc::channel();
        let count = Arc::clone(&down);
        std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let mut buffer = [0; 1 << 10];
            while let Ok(n @ 1..) = (&server).read(&mut buffer) {
                if count.fetch_add(n as u64, Ordering::Relaxed) + n as u64 > limit {
                    break;
                }
                if (&client).write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            let _ = tell.send(());
            if !breaks {
                std::thread::park();
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
        Self { address, down, over }
    }
}

#[cfg(unix)]
pub(super) fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The end of a run that was shown in part.
fn partial(run: &Output) -> Value {
    let said = said(run);
    assert_eq!(run.status.code(), Some(3), "{said}");
    let result: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(result["ended"].is_string(), "{result}");
    assert!(said.contains("ended early"), "{said}");
    result
}

/// A budget that is spent keeps no answer back: neither those before, nor those that a smaller query
/// can still have.
#[test]
fn a_spent_budget_keeps_no_answer_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "wide.csv", 30, 2, 40);
    let train = ["train", "--plaintext", "--csv", "wide.csv", "--epochs", "1"];
    json(path, &[&train[..], &["--out", "model.safetensors"]].concat());
    let served = Served::start(path, &[]);
    let ask = |account: &str, more: &[&str]| {
        let at = ["infer", "--server", &served.address, "--account", account];
        run(path, &[&at[..], &["--csv", "wide.csv"], &CLEAR, more].concat())
    };
    let one_by_one = partial(&ask("alice", &["--json"]));
    let answered = one_by_one["answered"].as_u64().unwrap();
    assert!((1..one_by_one["asked"].as_u64().unwrap()).contains(&answered), "{one_by_one}");
    assert_eq!(one_by_one["predictions"].as_array().unwrap().len() as u64, answered);
    assert_eq!(one_by_one["count"], answered);
    // All in one query, which is more than is left: smaller ones get the same answers.
    let asked_at_once = partial(&ask("bob", &["--batch", "16", "--json"]));
    for same in ["answered", "predictions", "accuracy"] {
        assert_eq!(asked_at_once[same], one_by_one[same], "{same}");
    }
    // Nothing left: no result, an error as any other.
    let nothing = ask("bob", &["--count", "1"]);
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(1), 0), "{}", said(&nothing));
    assert!(said(&nothing).contains("refused"), "{}", said(&nothing));
}

#[test]
fn a_lost_server_keeps_no_answer_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 60);
    untrained_model(path, "t.csv");
    let served = Served::start(path, &["--allow-model-extraction"]);
    let ask = |address: &str| {
        let at = ["infer", "--server", address, "--account", "alice", "--json"];
        run(path, &[&at[..], &["--csv", "t.csv"], &CLEAR].concat())
    };
    let whole = Relay::start(&served.address, u64::MAX, true);
    let all = ask(&whole.address);
    assert!(all.status.success(), "{}", said(&all));
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(
        (&all["ended"], &all["answered"], &all["asked"]),
        (&Value::Null, &24.into(), &24.into())
    );
    let limit = whole.down.load(Ordering::Relaxed) * 3 / 4;
    let some = partial(&ask(&Relay::start(&served.address, limit, true).address));
    let answered = usize::try_from(some["answered"].as_u64().unwrap()).unwrap();
    assert!((1..24).contains(&answered), "{some}");
    let expected = &all["predictions"].as_array().unwrap()[..answered];
    assert_eq!(some["predictions"].as_array().unwrap(), expected);
    assert!(some["accuracy"].is_number() && some["bytes"].as_u64() > Some(0), "{some}");
    // As text, too.
    let at = Relay::start(&served.address, limit, true);
    let at = ["infer", "--server", &at.address, "--account", "alice", "--csv", "t.csv"];
    let text = run(path, &[&at[..], &CLEAR].concat());
    assert_eq!(text.status.code(), Some(3));
    let shown = String::from_utf8(text.stdout).unwrap();
    assert!(shown.contains("of 24 answered") && shown.contains('c'), "{shown}");
}

/// Stopped by a signal in the middle of a query, and in the middle of a lease.
#[cfg(unix)]
#[test]
fn an_interruption_keeps_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 60);
    untrained_model(path, "t.csv");
    let more = ["--allow-model-extraction", "--lease-samples", "64"];
    let served = Served::start(path, &more);
    let alice = ["--account", "alice", "--csv", "t.csv", "--json"];
    let train = ["--allow-input-reconstruction", "--steps", "40", "--report", "r.html"];
    for (command_line, done, asked) in [
        ([&["infer", "--server"][..], &alice, &CLEAR], "answered", "asked"),
        (
            [&["train", "--server"], &[&alice[..], &train].concat(), &CLEAR],
            "steps_done",
            "steps_asked",
        ),
    ] {
        let start = |relay: &Relay| {
            let [what, more, backend] = command_line;
            let words = [what, &[&relay.address], more, backend].concat();
            let mut started = gelu(path, &words);
            started.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            started.spawn().unwrap()
        };
        let whole = Relay::start(&served.address, u64::MAX, true);
        let all = start(&whole).wait_with_output().unwrap();
        assert!(all.status.success(), "{}", said(&all));
        let relay = Relay::start(&served.address, whole.down.load(Ordering::Relaxed) / 2, false);
        let started = start(&relay);
        relay.over.recv().unwrap();
        send("-INT", started.id());
        let some = partial(&started.wait_with_output().unwrap());
        let (done, asked) = (some[done].as_u64().unwrap(), some[asked].as_u64().unwrap());
        assert!((1..asked).contains(&done), "{some}");
        if command_line[0][0] == "train" {
            let page = std::fs::read_to_string(path.join("r.html")).unwrap();
            assert!(page.contains("ended early"), "the report says so");
            assert_eq!(some["losses"].as_array().unwrap().len() as u64, done);
        }
    }
}

/// A run on this machine that is stopped, or whose server dies, compares and writes the leases that
/// were committed.
#[cfg(target_os = "linux")]
#[test]
fn a_run_here_that_ends_early_keeps_its_leases() {
    let child_of = |parent: u32| -> u32 {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|p| p.file_name().to_str()?.parse().ok());
        let is_child = |id: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            status.lines().any(|line| line == format!("PPid:\t{parent}"))
        };
        ids.into_iter().find(is_child).expect("the server")
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 60);
    for (signal, whose) in [("-INT", "ours"), ("-KILL", "the server's")] {
        let train = ["train", "--csv", "t.csv", "--steps", "100000", "--lease-samples", "64"];
        let more = ["--allow-input-reconstruction", "--json", "--report", "r.html"];
        let out = ["--out", "out.safetensors"];
        let _ = std::fs::remove_file(path.join("out.safetensors"));
        let mut started = gelu(path, &[&train[..], &more, &out, &CLEAR].concat());
        started.env("RUST_LOG", "gelu_service=info").stdin(Stdio::null());
        let mut started = started.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(started.stderr.take().unwrap());
        let (mut line, mut committed) = (String::new(), 0);
        // Before a client asks for the second lease, it has heard of the first one's commit.
        while committed < 2 {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "leases are committed");
            committed += usize::from(line.contains("committed"));
        }
        let process = started.id();
        send(signal, if whose == "ours" { process } else { child_of(process) });
        let reading = std::thread::spawn(move || {
            let mut rest = Vec::new();
            log.read_to_end(&mut rest).unwrap();
            rest
        });
        let mut ended = started.wait_with_output().unwrap();
        ended.stderr = reading.join().unwrap();
        let some = partial(&ended);
        let (done, asked) = (&some["steps_done"], &some["steps_asked"]);
        assert!(done.as_u64() > Some(0) && done.as_u64() < asked.as_u64(), "{some}");
        // A commit of which the client has not heard cannot be compared; any other is.
        assert_ne!(some["weights_equal_oracle"], false, "{some}");
        assert!(some["accuracy_plaintext"].is_number() && some["accuracy_encrypted"].is_null());
        assert!(path.join("r.html").is_file() && path.join("out.safetensors").is_file());
    }
}
