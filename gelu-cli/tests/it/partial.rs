//! How runs end: refused before they begin, or early with what was paid for; and what numbers mean.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::Value;

use super::{CLEAR, gelu, json, listening};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    gelu(folder, arguments).output().unwrap()
}

fn said(run: &Output) -> String {
    String::from_utf8(run.stderr.clone()).unwrap()
}

/// Fails with this code, in words and not in a panic; what it said.
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    let run = run(folder, arguments);
    let said = said(&run);
    assert_eq!(run.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    said
}

/// A table of `inputs` columns and `classes` classes, `rows` rows of each.
fn table(folder: &Path, name: &str, inputs: usize, classes: usize, rows: usize) {
    let header = (0..inputs).map(|i| format!("x{i},")).collect::<String>() + "class\n";
    let row = |i: usize| {
        let class = i % classes;
        let value = |j: usize| format!("{},", (i * (j + 3) + j * j) % 17 + 4 * class);
        (0..inputs).map(value).collect::<String>() + &format!("c{class}\n")
    };
    let rows = (0..rows * classes).map(row).collect::<String>();
    std::fs::write(folder.join(name), header + &rows).unwrap();
}

/// A server of `model.safetensors`, with certificates for alice and bob.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(folder: &Path, more: &[&str]) -> Self {
        if !folder.join("certs").exists() {
            for arguments in
                [&["certs", "init"][..], &["certs", "add", "alice"], &["certs", "add", "bob"]]
            {
                assert!(run(folder, arguments).status.success());
            }
        }
        let serve = ["serve", "--json", "--model", "model.safetensors", "--listen", "127.0.0.1:0"];
        let mut serve = gelu(folder, &[&serve[..], &CLEAR, &["--stop-with-stdin"], more].concat());
        let (child, address) = listening(serve.stderr(Stdio::null()));
        Self { child, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A way to a server that ends, or only stops, once so many bytes came down.
struct Relay {
    address: String,
    /// Bytes that came down so far.
    down: Arc<AtomicU64>,
    /// Told when it has ended or stopped.
    over: mpsc::Receiver<()>,
}

impl Relay {
    fn start(server: &str, limit: u64, breaks: bool) -> Self {
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
fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

fn untrained_model(folder: &Path, csv: &str) {
    let train = ["train", "--plaintext", "--csv", csv, "--epochs", "0", "--precision", "training"];
    json(folder, &[&train[..], &["--out", "model.safetensors"]].concat());
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
        let mut line = String::new();
        while !line.contains("committed") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "a lease is committed");
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

/// What can be refused is refused before a key is made or a server is asked.
#[test]
fn what_can_be_refused_is_refused_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    table(path, "wide.csv", 5, 2, 20);
    table(path, "classes.csv", 4, 3, 20);
    std::fs::create_dir(path.join("folder")).unwrap();
    untrained_model(path, "t.csv");
    let train = ["train", "--csv", "t.csv"];
    let infer = ["infer", "--model", "model.safetensors", "--csv"];
    let at = ["--server", "localhost:1", "--csv", "t.csv"];
    let refused: [(&[&str], &[&str], &str); 11] = [
        (&train, &["--out", "nodir/m.safetensors"], "nodir"),
        (&train, &["--out", "folder"], "folder"),
        (&train, &["--report", "nodir/r.html"], "nodir"),
        (&train, &["--report", "folder"], "folder"),
        (&train, &["--plaintext", "--out", "nodir/m.safetensors"], "nodir"),
        (&train, &["--key", "k.key"], "--key"),
        (&["demo"], &["--report", "nodir/r.html"], "nodir"),
        (&["train"], &[&at[..], &["--report", "nodir/r.html"]].concat(), "nodir"),
        (&["infer"], &at, "certs"),
        (&infer, &["wide.csv"], "takes 4 inputs, but the data has 5"),
        (&infer, &["classes.csv"], "tells 2 classes apart, but the data has 3"),
    ];
    for (what, more, expected) in refused {
        let words = [what, more, &CLEAR].concat();
        let said = fails(path, &words, 1);
        assert!(said.contains(expected), "{words:?}: {said}");
        for begun in ["the key is ready", "fresh key of", "listens on", "trained for"] {
            assert!(!said.contains(begun), "{words:?}: {said}");
        }
    }
    let served = Served::start(path, &["--allow-model-extraction"]);
    for (what, csv) in [
        ("infer", "wide.csv"),
        ("infer", "classes.csv"),
        ("train", "wide.csv"),
        ("train", "classes.csv"),
    ] {
        let words = [what, "--server", &served.address, "--account", "alice", "--csv", csv];
        let said = fails(path, &[&words[..], &CLEAR].concat(), 1);
        assert!(said.contains("but the data has"), "{words:?}: {said}");
        assert!(!said.contains("the key is ready"), "{words:?}: {said}");
    }
}

/// The report that nobody asked for is no reason to stop.
#[test]
fn a_report_by_default_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    for (report, words) in [
        ("gelu-train-report.html", &["train", "--csv", "t.csv", "--steps", "2"][..]),
        ("gelu-demo-report.html", &["demo", "--epochs", "1"]),
    ] {
        // In its place stands a folder.
        std::fs::create_dir(path.join(report)).unwrap();
        let words = [words, &CLEAR].concat();
        let words = match words[0] {
            "train" => [&words[..], &["--allow-input-reconstruction"]].concat(),
            _ => words,
        };
        let run = run(path, &words);
        assert!(run.status.success(), "{}", said(&run));
        assert!(said(&run).contains("no report") && said(&run).contains(report), "{}", said(&run));
        assert!(!String::from_utf8(run.stdout).unwrap().contains("Report:"));
        assert_eq!(json(path, &words)["report"], Value::Null);
    }
}

/// Every number that can be given, at 0 and beyond all bounds: it means what it says, or is refused in
/// words before memory is asked for.
#[test]
fn numbers_mean_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    untrained_model(path, "t.csv");
    let train: &[&str] = &["train", "--csv", "t.csv"];
    let in_clear: &[&str] = &["train", "--plaintext", "--csv", "t.csv"];
    let infer: &[&str] = &["infer", "--model", "model.safetensors", "--csv", "t.csv"];
    let latency: &[&str] = &["bench", "latency", "--network", "lenet5"];
    let step: &[&str] = &["bench", "train-step", "--network", "lenet5"];
    const MOST: &str = "18446744073709551615";
    const U32: &str = "4294967295";
    let refused: &[(&[&str], &str, &[&str], i32)] = &[
        (train, "--rows", &["0"], 2),
        (train, "--held-out", &["0"], 2),
        (train, "--batch", &["0", "65537", MOST], 2),
        (train, "--batch", &["65536"], 1),
        (train, "--clients", &["0", "65", MOST], 2),
        (train, "--epochs", &["100000000", MOST], 1),
        (train, "--steps", &["1048577", MOST], 1),
        (train, "--steps", &["-1", "1e3", "99999999999999999999"], 2),
        (train, "--threads", &["0", "1025"], 2),
        (train, "--key-bits", &["0", "1000", U32], 2),
        (train, "--rate", &["0", "-1", "inf", "NaN"], 2),
        (train, "--secret-rate", &["17", MOST], 2),
        (in_clear, "--batch", &["0", MOST], 2),
        (infer, "--count", &["0"], 2),
        (infer, "--batch", &["0", "65537", MOST], 2),
        (infer, "--key-bits", &["1"], 2),
        (latency, "--runs", &["0", U32], 2),
        (latency, "--runs", &["1000000"], 1),
        (latency, "--batch", &["0", "65536"], 2),
        (step, "--batch", &["0"], 2),
        (step, "--runs", &["0", "1001"], 2),
        (step, "--steps", &["2"], 2),
        (&["demo"], "--epochs", &["0", "1001"], 2),
        (&["plan", "iris"], "--batch", &["0", MOST], 2),
        (&["plan", "iris", "--train"], "--steps", &["0", U32], 2),
        (&["plan", "iris", "--train"], "--sigma", &["0", U32], 2),
        (&["audit", "iris"], "--batch", &["0", MOST], 2),
        (&["audit", "iris"], "--steps", &["0", U32], 2),
        (&["keygen", "k.key"], "--bits", &["0", U32], 2),
        (&["bench", "kernels"], "--budget", &["0", MOST], 2),
    ];
    for (what, option, values, code) in refused {
        for value in *values {
            let said = fails(path, &[*what, &[option, value]].concat(), *code);
            assert!(!said.contains("misuse of the interface"), "{option} {value}: {said}");
        }
    }
    // What is beyond what is there is all that is there.
    let asked = json(path, &[infer, &["--count", MOST], &CLEAR].concat());
    assert_eq!((&asked["answered"], &asked["asked"]), (&8.into(), &8.into()));
    // Nothing is trained, for any number of clients, and the weights are judged as they are.
    for zero in [
        &["--epochs", "0"][..],
        &["--steps", "0"],
        &["--steps", "0", "--batch", "8", "--clients", "3"],
    ] {
        let none = json(path, &[train, zero, &CLEAR].concat());
        assert_eq!((&none["steps_done"], &none["steps_asked"]), (&0.into(), &0.into()));
        assert_eq!(none["leases"], serde_json::json!([]));
        assert_eq!((&none["weights_equal_oracle"], &none["answered"]), (&true.into(), &8.into()));
        assert_eq!(none["ended"], Value::Null);
    }
    // The largest seed is a seed.
    let seed = ["--seed", MOST, "--clients", "2", "--steps", "1", "--allow-input-reconstruction"];
    assert_eq!(json(path, &[train, &seed, &CLEAR].concat())["weights_equal_oracle"], true);
}

/// Values that were cut off are counted, with their layer: here, with a server, in the clear, as text.
#[test]
fn what_is_cut_off_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 60);
    // One value far beyond the others: more than the activations hold, once it is scaled.
    let rows = std::fs::read_to_string(path.join("t.csv")).unwrap();
    std::fs::write(path.join("far.csv"), rows + "9000,1,1,1,c0\n").unwrap();
    let check = |result: &Value| {
        let total = result["saturations"].as_u64().unwrap();
        let layers = result["saturations_by_layer"].as_object().unwrap();
        assert!(total > 0 && layers.keys().all(|layer| layer.starts_with("dense")), "{result}");
        assert_eq!(layers.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), total);
    };
    let steep = ["train", "--csv", "t.csv", "--rate", "100", "--allow-input-reconstruction"];
    let here = [&steep[..], &CLEAR, &["--report", "r.html"]].concat();
    check(&json(path, &here));
    let text = String::from_utf8(run(path, &here).stdout).unwrap();
    assert!(text.contains(" values cut off (dense1: "), "{text}");
    let page = std::fs::read_to_string(path.join("r.html")).unwrap();
    assert!(page.contains(" values cut off (dense1: "), "in the report");

    untrained_model(path, "t.csv");
    let served = Served::start(path, &["--allow-model-extraction", "--rate", "100"]);
    let at = ["--server", &served.address, "--account", "alice"];
    let train = ["train", "--csv", "t.csv", "--steps", "20", "--allow-input-reconstruction"];
    check(&json(path, &[&train[..], &at, &CLEAR].concat()));
    let infer = ["infer", "--csv", "far.csv", "--seed"];
    let seed = (1..20).map(|seed: u32| seed.to_string()).find(|seed| {
        // The far row must be among those that are held out.
        let asked = json(path, &[&infer[..], &[seed], &at, &CLEAR].concat());
        asked["saturations"].as_u64() > Some(0)
    });
    let seed = seed.expect("one of twenty");
    check(&json(path, &[&infer[..], &[&seed], &["--model", "model.safetensors"], &CLEAR].concat()));
}

/// New data need not show every class; a class that the model does not know is refused.
#[test]
fn new_data_may_lack_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, classes) in [("three.csv", 3), ("two.csv", 2), ("one.csv", 1)] {
        table(path, name, 4, classes, 20);
    }
    untrained_model(path, "three.csv");
    for (csv, asked, known) in
        [("three.csv", 12, true), ("two.csv", 8, false), ("one.csv", 4, false)]
    {
        let infer = ["infer", "--model", "model.safetensors", "--csv", csv];
        let result = json(path, &[&infer[..], &CLEAR].concat());
        assert_eq!(
            (&result["answered"], result["predictions"].as_array().unwrap().len()),
            (&asked.into(), asked)
        );
        assert_eq!(result["predictions_equal_plaintext"], true);
        assert_eq!(result["accuracy"].is_number(), known, "{result}");
        let text = String::from_utf8(run(path, &[&infer[..], &CLEAR].concat()).stdout).unwrap();
        assert_eq!(text.contains("of the model's 3 classes"), !known, "{text}");
    }
}

/// The size of a key is that of the key in use.
#[cfg(feature = "paillier")]
#[test]
fn key_bits_are_those_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    untrained_model(path, "t.csv");
    json(path, &["keygen", "k.key"]);
    let infer = ["infer", "--model", "model.safetensors", "--csv", "t.csv", "--count", "1"];
    let asked = json(path, &[&infer[..], &["--key", "k.key"]].concat());
    assert_eq!(asked["key_bits"], 3072);
    let said = fails(path, &[&infer[..], &["--key", "k.key", "--key-bits", "4096"]].concat(), 1);
    assert!(said.contains("k.key has 3072 bits, not 4096"), "{said}");
    std::fs::write(path.join("broken.key"), "no key").unwrap();
    let said = fails(path, &[&infer[..], &["--key", "broken.key"]].concat(), 1);
    assert!(said.contains("broken.key") && !said.contains("the key is ready"), "{said}");
}
