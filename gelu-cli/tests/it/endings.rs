//! How runs and servers end: with nobody who reads their output, and by a signal.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{ended, with_certificates_and_model};

/// With its temporary files in that folder, too.
fn gelu(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = super::gelu(folder, arguments);
    command.env("TMPDIR", folder);
    command
}

const SERVE: [&str; 9] = [
    "serve",
    "--model",
    "model.safetensors",
    "--listen",
    "127.0.0.1:0",
    "--allow-model-extraction",
    "--json",
    "-vv",
    "--stop-with-stdin",
];

/// Starts a server and waits until it listens; where. Nobody reads its output any more.
fn serve(command: &mut Command) -> (Child, String) {
    let (mut child, address) = super::listening(command);
    drop(child.stdout.take());
    (child, address)
}

fn signal(name: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

/// The signals that end whatever we run, and the exit code of a run.
const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// Those that end a run. A server reads its configuration at a SIGHUP (`service::reload`), and under `nohup` it ends
/// nothing.
fn signals_of_a_run() -> Vec<(&'static str, i32)> {
    let mut signals = SIGNALS.to_vec();
    match gelu_cli::signals::ignores_hangup() {
        true => println!("SIGHUP is skipped: it is ignored here, as under nohup"),
        false => signals.push(("HUP", 129)),
    }
    signals
}

#[test]
fn a_server_outlives_the_readers_of_its_log_and_of_its_output() {
    let folder = with_certificates_and_model();
    // The other ends of both pipes are closed: `serve` drops that of stdout, this that of stderr.
    let (mut child, address) = serve(gelu(folder.path(), &SERVE).stderr(Stdio::piped()));
    drop(child.stderr.take());
    for _ in 0..3 {
        // A stranger is worth several lines of log.
        TcpStream::connect(&address).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    }
    TcpStream::connect(&address).expect("the server still listens");
    drop(child.stdin.take());
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn a_run_that_nobody_watches_writes_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "train",
        "--plaintext",
        "--dataset",
        "iris",
        "--epochs",
        "1",
        "-v",
        "--out",
        "model.safetensors",
    ];
    let mut command = gelu(folder.path(), &arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(ended(&mut child).code(), Some(0));
    assert!(folder.path().join("model.safetensors").exists());
}

#[test]
fn a_server_stops_in_order_at_every_signal() {
    let folder = with_certificates_and_model();
    for (name, _) in SIGNALS {
        let (mut child, _) = serve(gelu(folder.path(), &SERVE).stderr(Stdio::null()));
        // The end of its input would be another sign to stop.
        let _input = child.stdin.take();
        signal(name, &child);
        assert_eq!(ended(&mut child).code(), Some(0), "SIG{name}");
    }
}

#[test]
fn a_run_leaves_nothing_in_the_temporary_folder_at_any_signal() {
    let folder = with_certificates_and_model();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    for (name, code) in signals_of_a_run() {
        let arguments = [
            "train",
            "--dataset",
            "iris",
            "--epochs",
            "2000",
            "--backend",
            "insecure-clear",
            "--allow-input-reconstruction",
            "--report",
            "r.html",
        ];
        let mut command = gelu(folder.path(), &arguments);
        command.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let count = || std::fs::read_dir(&temporary).unwrap().count();
        while count() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before the signal");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        signal(name, &child);
        assert_eq!(ended(&mut child).code(), Some(code), "SIG{name}");
        assert_eq!(count(), 0, "SIG{name}");
    }
}

#[test]
fn one_server_for_a_file_whichever_name_it_has() {
    let folder = with_certificates_and_model();
    std::os::unix::fs::symlink("model.safetensors", folder.path().join("link.safetensors"))
        .unwrap();
    std::fs::hard_link(
        folder.path().join("model.safetensors"),
        folder.path().join("hard.safetensors"),
    )
    .unwrap();
    let (mut child, _) = serve(gelu(folder.path(), &SERVE).stderr(Stdio::null()));
    for name in ["link.safetensors", "hard.safetensors"] {
        let mut arguments = SERVE;
        arguments[2] = name;
        let output = gelu(folder.path(), &arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("in use by another server")
                || said.contains("another process uses this store"),
            "{name}: {said}"
        );
    }
    let rounded = ["round", "model.safetensors", "--out", "link.safetensors", "--force"];
    let said = String::from_utf8(gelu(folder.path(), &rounded).output().unwrap().stderr).unwrap();
    assert!(said.contains("in use by a server"), "{said}");
    drop(child.stdin.take());
    ended(&mut child);
    assert!(folder.path().join("model.safetensors.store").exists());
}
