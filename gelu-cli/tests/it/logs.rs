//! Logs for programs: every line of stderr is one JSON object, whatever happens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value;

use super::{gelu, listening, said, with_certificates_and_model};

/// The lines of stderr: each has its time, level, target and fields.
fn lines(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().map(|line| {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{stderr}"));
        for part in ["timestamp", "level", "target"] {
            assert!(line[part].is_string(), "{part}: {line}");
        }
        assert!(line["fields"].is_object(), "{line}");
        line
    });
    lines.collect()
}

#[test]
fn a_server_logs_sessions_by_their_fields() {
    let folder = with_certificates_and_model();
    let words = ["serve", "--model", "model.safetensors", "--listen", "127.0.0.1:0", "--json"];
    let more = ["--allow-model-extraction", "--log-format", "json", "-vv", "--stop-with-stdin"];
    let mut command = gelu(folder.path(), &[&words[..], &more].concat());
    let (mut child, address) = listening(command.stderr(Stdio::piped()));
    let mut stranger = TcpStream::connect(&address).unwrap();
    stranger.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    // Until it is sent away.
    let _ = stranger.read_to_end(&mut Vec::new());
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let (stderr, at) = (said(&output), stranger.local_addr().unwrap().to_string());
    let lines = lines(&stderr);
    let away = lines.iter().find(|line| line["fields"]["message"] == "turned away");
    let away = away.unwrap_or_else(|| panic!("{stderr}"));
    assert_eq!((&away["level"], &away["fields"]["peer"]), (&"WARN".into(), &at.into()), "{away}");
    assert_eq!(away["fields"]["kind"], "tls", "{away}");
    assert_eq!(away["target"], "gelu_service::server::observer");
    assert!(lines.iter().any(|line| line["fields"]["message"] == "serving"), "{stderr}");
}

#[test]
fn what_is_said_to_people_and_errors_are_lines_of_the_log_too() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["train", "--plaintext", "--dataset", "iris", "--epochs", "1", "--out"];
    let mut train = gelu(folder.path(), &[&words[..], &["m.safetensors"]].concat());
    let output = train.env("GELU_LOG_FORMAT", "json").env("RUST_LOG", "error").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let told = lines(&said(&output));
    assert!(!told.is_empty() && told.iter().all(|line| line["target"] == "gelu::said"), "{told:?}");

    let output = gelu(folder.path(), &["audit", "nothing", "--log-format", "json"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&said(&output));
    assert!(told.last().unwrap()["fields"]["message"].as_str().unwrap().contains("nothing"));

    let output = gelu(folder.path(), &["models", "--log-format", "xml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}
