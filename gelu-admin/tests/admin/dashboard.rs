//! The dashboard for Grafana asks for nothing that there is not.

use std::collections::BTreeSet;

use gelu_admin::Metrics;
use serde_json::Value;

use crate::common::everything;

const DASHBOARD: &str = include_str!("../../../packaging/grafana/gelu.json");

/// Every metric and every label that a server can have.
fn words() -> BTreeSet<String> {
    let metrics = Metrics::new(true);
    everything(&metrics, "digits");
    let text = metrics.encode();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.flat_map(|sample| identifiers(sample.rsplit_once(' ').unwrap().0)).collect()
}

/// The names in a series or a query, without what is quoted, durations and variables of the dashboard.
fn identifiers(text: &str) -> Vec<String> {
    let unquoted: String = text.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let mut names = Vec::new();
    for rest in unquoted.split('[').enumerate() {
        let rest = match rest {
            (0, text) => text,
            (_, text) => text.split_once(']').expect("a range ends").1,
        };
        let names_of = rest.split(|c: char| !(c.is_ascii_alphanumeric() || "_$".contains(c)));
        names.extend(
            names_of
                .filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
                .map(str::to_owned),
        );
    }
    names
}

/// What PromQL means by a word.
const LANGUAGE: [&str; 10] = [
    "sum",
    "min",
    "max",
    "by",
    "rate",
    "increase",
    "histogram_quantile",
    "time",
    "label_values",
    "clamp_min",
];

/// Names in a query that no server has.
fn unknown(query: &str, words: &BTreeSet<String>) -> Vec<String> {
    let names = identifiers(query).into_iter();
    names.filter(|name| !words.contains(name) && !LANGUAGE.contains(&name.as_str())).collect()
}

/// All strings under the key `expr` or `query`.
fn queries<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| match value {
            Value::String(text) if key == "expr" || key == "query" => found.push(text),
            _ => queries(value, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_uses_metrics_and_labels_that_there_are() {
    let (dashboard, words) = (serde_json::from_str(DASHBOARD).unwrap(), words());
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    let of_metrics = found.iter().filter(|query| query.contains("gelu_")).count();
    assert!(of_metrics > 20, "{of_metrics}");
    for query in found.iter().filter(|query| **query != "prometheus") {
        assert!(unknown(query, &words).is_empty(), "{query}: {:?}", unknown(query, &words));
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has a number of its own");
}

/// The other way round: what is watched for is shown. Accounts are, by their own means, to whoever turned them on.
#[test]
fn every_metric_is_on_the_dashboard_and_on_the_page() {
    let page = include_str!("../../../docs/src/metrics.md");
    let families = words().into_iter().filter_map(|word| {
        let name = word.strip_suffix("_bucket").or(word.strip_suffix("_sum")).unwrap_or(&word);
        let name = name.strip_suffix("_count").unwrap_or(name);
        name.starts_with("gelu_").then(|| name.to_owned())
    });
    for family in families {
        assert!(page.contains(&format!("`{family}`")), "{family} is not on the page");
        let shown = DASHBOARD.contains(&family);
        assert!(shown || family.starts_with("gelu_account"), "{family} is not on the dashboard");
    }
}

#[test]
fn a_wrong_name_is_found() {
    let words = words();
    let query =
        r#"sum by (model) (rate(gelu_sessions_begun_total{model=~"$model"}[$__rate_interval]))"#;
    assert_eq!(unknown(query, &words), Vec::<String>::new());
    for (right, wrong) in [
        ("gelu_sessions_begun_total", "gelu_sessions_total"),
        ("(model)", "(modell)"),
        ("{model", "{name"),
    ] {
        assert_eq!(unknown(&query.replace(right, wrong), &words).len(), 1, "{wrong}");
    }
}
