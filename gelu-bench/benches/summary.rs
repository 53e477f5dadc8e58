//! What the criterion benches have measured, as one table.
//!
//! Runs last, as `cargo bench` takes benches in the order of their names; alone it shows again what
//! is there: `cargo bench -p gelu-bench --bench summary`. Every row says how old it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

fn main() {
    // `cargo test` and `cargo bench -- --test` only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Some(folder) = folder() else {
        println!("No folder of results: set CRITERION_HOME to the one that criterion writes to.");
        return;
    };
    let mut rows = Vec::new();
    collect(&folder, &mut rows);
    rows.sort_by(|a, b| a.order().cmp(&b.order()));
    if rows.is_empty() {
        println!("Nothing was measured yet: cargo bench -p gelu-bench");
        return;
    }
    println!("\nMedians, from {}", folder.display());
    println!(
        "{:44} {:>12} {:>14} {:>14} {:>8}",
        "benchmark", "median", "an item", "a second", "age"
    );
    let mut group = "";
    for row in &rows {
        if row.group != group {
            group = &row.group;
            println!("{group}");
        }
        println!("{}", row.text());
    }
    for family in ["he", "layer", "protocol"] {
        side_by_side(family, &rows);
    }
    println!(
        "Items are those of a batch, or multiply-accumulates of a layer. he, layer: one thread; \
         protocol: both\nparties in one process, on all threads."
    );
}

/// One benchmark.
struct Row {
    group: String,
    name: String,
    /// Nanoseconds.
    median: f64,
    items: Option<f64>,
    age: Option<u64>,
}

impl Row {
    /// From the folder `new` of a benchmark.
    fn read(folder: &Path) -> Option<Self> {
        let json = |name: &str| -> Option<Value> {
            serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok()
        };
        let (benchmark, estimates) = (json("benchmark.json")?, json("estimates.json")?);
        let written = fs::metadata(folder.join("estimates.json")).ok()?.modified().ok()?;
        let age = SystemTime::now().duration_since(written).ok();
        Some(Self {
            group: benchmark["group_id"].as_str()?.to_owned(),
            name: benchmark["function_id"].as_str()?.to_owned(),
            median: estimates["median"]["point_estimate"].as_f64()?,
            items: benchmark["throughput"]["Elements"].as_f64(),
            age: age.map(|age| age.as_secs()),
        })
    }

    /// Numbers in names count as numbers: 38x15 before 256x120.
    fn order(&self) -> (&str, Vec<(u64, &str)>) {
        let parts = self.name.split_inclusive(|c: char| !c.is_ascii_digit());
        let part = |part: &str| part.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
        (&self.group, parts.map(|text| (part(text).unwrap_or(0), text)).collect())
    }

    /// What it measures, and what it measures it of: for `he` the size of the key belongs to the
    /// scheme, because schemes have keys of different sizes.
    fn cell(&self) -> Option<(&str, String)> {
        let (family, scheme) = self.group.split_once('/')?;
        match (family, self.name.rsplit_once('/')) {
            ("he", Some((operation, bits))) => Some((operation, format!("{scheme} {bits}"))),
            ("he", None) => None,
            _ => Some((&self.name, scheme.to_owned())),
        }
    }

    fn text(&self) -> String {
        let (mut each, mut rate) = (String::new(), 1e9 / self.median);
        if let Some(items) = self.items {
            each = time(self.median / items);
            rate *= items;
        }
        let rate = if rate < 100.0 { format!("{rate:.2}") } else { format!("{rate:.0}") };
        let age = match self.age {
            None => "unknown".to_owned(),
            Some(s @ 0..60) => format!("{s} s"),
            Some(s @ 60..3600) => format!("{} min", s / 60),
            Some(s @ 3600..86_400) => format!("{} h", s / 3600),
            Some(s) => format!("{} days", s / 86_400),
        };
        let (name, median) = (&self.name, time(self.median));
        format!("  {name:42} {median:>12} {each:>14} {rate:>14} {age:>8}")
    }
}

/// Medians of the same thing under several schemes, one scheme a column.
fn side_by_side(family: &str, rows: &[Row]) {
    let of_family = |row: &&Row| row.group.split('/').next() == Some(family);
    let mut table: Vec<(&str, Vec<(String, f64)>)> = Vec::new();
    let mut schemes = Vec::new();
    for row in rows.iter().filter(of_family) {
        let Some((what, scheme)) = row.cell() else { continue };
        if !schemes.contains(&scheme) {
            schemes.push(scheme.clone());
        }
        match table.iter_mut().find(|(known, _)| *known == what) {
            Some((_, cells)) => cells.push((scheme, row.median)),
            None => table.push((what, vec![(scheme, row.median)])),
        }
    }
    if schemes.len() < 2 {
        return;
    }
    schemes.sort();
    println!("\n{family}, medians side by side");
    println!("{:24}{}", "", schemes.iter().map(|s| format!("{s:>16}")).collect::<String>());
    for (what, cells) in table {
        let cell = |scheme: &String| {
            let median = cells.iter().find(|(known, _)| known == scheme).map(|(_, median)| *median);
            format!("{:>16}", median.map_or_else(|| "-".to_owned(), time))
        };
        println!("{what:24}{}", schemes.iter().map(cell).collect::<String>());
    }
}

/// All benchmarks below `folder`.
fn collect(folder: &Path, rows: &mut Vec<Row>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "new") {
            rows.extend(Row::read(&path));
        } else if path.is_dir() {
            collect(&path, rows);
        }
    }
}

/// Where criterion writes: beside the folder of the profile, in which this program lies.
fn folder() -> Option<PathBuf> {
    if let Some(home) = std::env::var_os("CRITERION_HOME") {
        return Some(home.into());
    }
    let program = std::env::current_exe().ok()?;
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(target.join("criterion"))
}

/// Nanoseconds for people.
fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}
