//! What every event does to the metrics.

use std::collections::BTreeSet;

use gelu_admin::Metrics;
use gelu_service::server::{Observer, ServerEvent};

use crate::common::everything;

fn after_everything(accounts: bool) -> String {
    let metrics = Metrics::new(accounts);
    everything(&metrics, "digits");
    metrics.encode()
}

#[test]
fn events_are_counted() {
    let text = after_everything(true);
    let of = r#"model="digits""#;
    for (series, value) in [
        (format!(r#"gelu_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION")), "1"),
        ("gelu_connections_total".into(), "1"),
        (r#"gelu_turned_away_total{reason="made room"}"#.into(), "1"),
        (format!("gelu_sessions{{{of}}}"), "1"),
        (format!("gelu_sessions_begun_total{{{of}}}"), "2"),
        (format!(r#"gelu_sessions_failed_total{{{of},reason="timeout"}}"#), "1"),
        (format!("gelu_training_queue{{{of}}}"), "1"),
        (format!("gelu_training_wait_seconds_count{{{of}}}"), "1"),
        (format!("gelu_leases{{{of}}}"), "1"),
        (format!("gelu_leases_granted_total{{{of}}}"), "3"),
        (format!("gelu_leases_committed_total{{{of}}}"), "1"),
        (format!("gelu_leases_rolled_back_total{{{of}}}"), "1"),
        (format!(r#"gelu_refusals_total{{{of},reason="budget"}}"#), "1"),
        (format!(r#"gelu_messages_total{{{of},direction="up",message="Open"}}"#), "1"),
        (format!(r#"gelu_message_bytes_total{{{of},direction="up",message="Open"}}"#), "100"),
        (format!(r#"gelu_compute_seconds_sum{{{of},phase="Open"}}"#), "0.25"),
        (format!(r#"gelu_compute_seconds_bucket{{le="0.2",{of},phase="Open"}}"#), "0"),
        (format!(r#"gelu_compute_seconds_bucket{{le="0.5",{of},phase="Open"}}"#), "1"),
        (format!(r#"gelu_compute_seconds_count{{{of},phase="Precompute"}}"#), "1"),
        (format!("gelu_compute_wait_seconds_count{{{of}}}"), "2"),
        (format!("gelu_tickets_made_total{{{of}}}"), "5"),
        (format!("gelu_tickets_spent_total{{{of}}}"), "2"),
        (format!("gelu_model_version{{{of}}}"), "4"),
        ("gelu_store_failures_total".into(), "1"),
        (format!(r#"gelu_account_bytes_total{{account="alice",{of}}}"#), "107"),
        (format!(r#"gelu_account_compute_seconds_total{{account="alice",{of}}}"#), "1.25"),
        (format!(r#"gelu_account_refusals_total{{account="alice",{of}}}"#), "1"),
    ] {
        let sample = labels_in_any_order(&series);
        let found = text.lines().filter_map(|line| line.rsplit_once(' '));
        let found = found.filter(|(series, _)| labels_in_any_order(series) == sample);
        let found: Vec<_> = found.map(|(_, value)| value.trim_end_matches(".0")).collect();
        assert_eq!(found, [value], "{series}\n{text}");
    }
}

fn labels_in_any_order(series: &str) -> (&str, BTreeSet<&str>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    (name, labels.trim_end_matches('}').split(',').collect())
}

/// Names of accounts can be many, and are nobody's business unless the operator says so; sentences are never labels.
#[test]
fn accounts_are_named_where_that_is_asked_for_alone() {
    assert!(after_everything(true).contains("alice"));
    let text = after_everything(false);
    assert!(!text.contains("alice") && !text.contains("gelu_account"), "{text}");
    assert!(!text.contains("a sentence"), "{text}");
}

#[test]
fn a_model_that_is_withdrawn_has_no_version() {
    let metrics = Metrics::new(false);
    for model in ["digits", "iris"] {
        metrics.event(&ServerEvent::Serving { model: model.into(), version: 1 });
    }
    metrics.event(&ServerEvent::Withdrawn { model: "digits".into() });
    let text = metrics.encode();
    assert!(text.contains(r#"gelu_model_version{model="iris"} 1"#), "{text}");
    assert!(!text.contains(r#"gelu_model_version{model="digits"}"#), "{text}");
    // What it has done before stays.
    assert!(text.contains(r#"gelu_sessions_begun_total{model="digits"} 0"#), "{text}");
}

/// A model may be called anything: its name cannot write lines of its own.
#[test]
fn names_of_models_are_quoted() {
    let metrics = Metrics::new(false);
    let model = "a\"} 1\ngelu_ready 7\\".to_owned();
    metrics.event(&ServerEvent::Serving { model, version: 1 });
    let text = metrics.encode();
    assert!(text.contains(r#"gelu_model_version{model="a\"} 1\ngelu_ready 7\\"} 1"#), "{text}");
    assert!(!text.contains("\ngelu_ready 7"), "{text}");
}
