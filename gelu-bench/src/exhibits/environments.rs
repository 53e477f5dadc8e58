//! Table 5: one query in three environments, by way of simulated links.

use anyhow::Result;

use super::parties::{Asked, Queries, cryptosystems};
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::link::Profile;
use crate::networks;
use crate::setting::{Extent, Progress, Setting};

/// The paper's architectures by its names and by ours, with its seconds and their deviations in the
/// environments below.
const PAPER: [(&str, &str, [[f64; 2]; 3]); 4] = [
    ("Dense(12)", "dense12", [[0.381, 0.002], [0.156, 0.005], [0.281, 0.01]]),
    ("Dense(300)", "mnist-dense", [[147.5, 9.8], [59.7, 1.9], [107.4, 3.5]]),
    ("Conv-1", "conv1", [[91.3, 5.4], [37.5, 1.6], [67.5, 2.8]]),
    ("LeNet-5", "lenet5", [[126.7, 6.3], [47.5, 1.2], [85.5, 2.1]]),
];

/// The paper's environments, the links that stand for them here, and no link at all.
fn environments() -> [(&'static str, Profile); 4] {
    [
        ("Cloud-Local", Profile::wan()),
        ("Cloud-Cloud", Profile::cloud()),
        ("Local-Local", Profile::lan()),
        ("one machine", Profile::loopback()),
    ]
}

/// The paper's table 5.
pub(super) fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    let runs = match setting.extent {
        Extent::Quick => 3,
        Extent::Paper => 20,
    };
    let links = environments().map(|(_, link)| link);
    let cryptosystems = cryptosystems(setting)?;
    let images = match setting.extent {
        Extent::Quick => None,
        Extent::Paper => networks::test_images(setting)?,
    };
    let (mut rows, mut measured, mut untrained) = (Vec::new(), Vec::new(), Vec::new());
    for (name, network, paper) in PAPER {
        let (model, is_trained) = match setting.extent {
            Extent::Quick => {
                let precision = gelu_core::Precision::INFERENCE;
                (networks::drawn(network, precision, setting)?, false)
            }
            Extent::Paper => networks::trained_or_drawn(network, setting, progress)?,
        };
        if !is_trained {
            untrained.push(name);
        }
        let inputs = model.architecture().input().features();
        let queries = networks::queries(images.as_ref(), inputs, [runs + 1, 1], setting.seed);
        rows.push(paper_row(name, paper));
        for cryptosystem in cryptosystems {
            let name = format!("{name}, {}", cryptosystem.backend.id());
            progress.begin(
                &format!("{name} in {} environments", links.len()),
                (runs + 1) * links.len(),
            );
            let queries = Queries {
                cryptosystem,
                model: &model,
                queries: &queries,
                links: &links,
                setting,
                progress,
            };
            let asked = queries.ask()?;
            rows.push(row(&name, &asked));
            measured.push((name, paper, asked));
        }
    }
    Ok(Exhibit {
        id: "table-5".into(),
        title: "Table 5: one query in three environments".into(),
        finding: finding(&measured),
        claims: claims(&measured),
        parts: vec![Part::Table(table(rows))],
        notes: notes(&measured, &untrained, images.is_some(), runs),
    })
}

fn table(rows: Vec<Row>) -> Table {
    let mut columns = vec![Column::new("architecture")];
    columns.extend(environments().map(|(name, _)| Column::with_unit(name, "s")));
    columns.extend(["up", "down"].map(|name| Column::with_unit(name, "kB")));
    columns.push(Column::new("rounds"));
    let caption = "Time of one encrypted inference, mean and standard deviation".into();
    Table { caption, columns, rows }
}

fn paper_row(name: &str, seconds: [[f64; 2]; 3]) -> Row {
    let spread = |[mean, deviation]: [f64; 2]| Cell::Spread { mean, deviation };
    let mut cells = vec![Cell::from(name)];
    cells.extend(seconds.map(spread));
    cells.extend([Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty]);
    Row { source: Source::Paper, cells }
}

fn row(name: &str, asked: &[Asked]) -> Row {
    let mut cells = vec![Cell::from(name)];
    cells.extend(asked.iter().map(|asked| Cell::spread(&asked.seconds)));
    let any = &asked[0];
    cells.extend([any.up, any.down].map(|bytes| Cell::from(bytes as f64 / 1e3)));
    cells.push(Cell::from(any.rounds));
    Row { source: Source::Measured, cells }
}

/// Architecture and scheme, the paper's times, ours.
type Measured = (String, [[f64; 2]; 3], Vec<Asked>);

fn mean(seconds: &[f64]) -> f64 {
    seconds.iter().sum::<f64>() / seconds.len() as f64
}

fn deviation(seconds: &[f64]) -> f64 {
    match Cell::spread(seconds) {
        Cell::Spread { deviation, .. } => deviation,
        _ => 0.0,
    }
}

/// How many times as fast as the paper, environment by environment.
fn ratios((_, paper, asked): &Measured) -> impl Iterator<Item = f64> {
    paper.iter().zip(asked).map(|([paper, _], asked)| paper / mean(&asked.seconds))
}

fn finding(measured: &[Measured]) -> String {
    let all: Vec<f64> = measured.iter().flat_map(ratios).collect();
    let (least, most) = all.iter().fold((f64::MAX, 0.0f64), |(a, b), &r| (a.min(r), b.max(r)));
    let last = measured.iter().skip(measured.len().saturating_sub(2)).map(|(name, _, asked)| {
        format!(
            "{name}, takes {:.0} ms where the parties are in one data centre and {:.0} ms across a wide-area \
             link of {} ms there and back.",
            1e3 * mean(&asked[1].seconds),
            1e3 * mean(&asked[0].seconds),
            1e3 * Profile::wan().round_trip().as_secs_f64(),
        )
    });
    format!(
        "A query takes {} to {} times what it took in the paper, on one machine and over simulated links. {}",
        Cell::from(1.0 / most),
        Cell::from(1.0 / least),
        last.collect::<Vec<_>>().join(" "),
    )
}

fn claims(measured: &[Measured]) -> Vec<Claim> {
    let queries: usize = measured.iter().flat_map(|m| &m.2).map(|a| a.seconds.len() + 1).sum();
    let mut claims = vec![Claim::new(
        format!("All {queries} encrypted answers equal the plaintext model's, bit for bit"),
        true, // A wrong one would have ended the run.
    )];
    for measured in measured {
        let least = ratios(measured).fold(f64::MAX, f64::min);
        let text = format!(
            "{}: at least {least:.1} times as fast as the paper in every environment",
            measured.0
        );
        claims.push(Claim::new(text, least >= 1.0));
    }
    for (name, _, asked) in measured {
        let (wide, here) = (&asked[0], &asked[3]);
        let added = wide.median() - here.median();
        let predicted = added_by(&Profile::wan(), wide);
        let scatter = deviation(&wide.seconds).hypot(deviation(&here.seconds));
        let text = format!(
            "{name}: the wide-area link adds {:.0} ms, its formula says {:.0} ms; runs scatter by {:.0} ms, and \
             processors that slept through a round trip take longer for the {:.0} ms of work",
            1e3 * added,
            1e3 * predicted,
            1e3 * scatter,
            1e3 * here.median()
        );
        let tolerance = 0.2 * predicted + scatter + 0.5 * here.median();
        claims.push(Claim::new(text, (added - predicted).abs() <= tolerance));
    }
    claims
}

/// Every round is a round trip, and the line is taken by all bytes, one way after the other.
fn added_by(link: &Profile, asked: &Asked) -> f64 {
    let line = [asked.up, asked.down].map(|bytes| {
        link.serialisation(usize::try_from(bytes).unwrap_or(usize::MAX)).as_secs_f64()
    });
    asked.rounds as f64 * link.round_trip().as_secs_f64() + line[0] + line[1]
}

fn notes(measured: &[Measured], untrained: &[&str], images: bool, runs: usize) -> Vec<String> {
    let links = environments().map(|(name, link)| format!("{name} is {link}"));
    let mut notes = vec![
        format!(
            "The links are simulated, and their numbers are ours: the paper does not say what its links \
             were like, but for a local network of 1 Gbit/s. {}.",
            links.join("; ")
        ),
        "The paper's environments differ in their machines as well (its cloud is faster than its \
         workstations); here both parties are two processes on one machine, in all of them."
            .into(),
        format!(
            "{runs} queries of one image each, after one that is not timed; bytes are those before TLS."
        ),
    ];
    let lost: u64 = measured.iter().flat_map(|m| &m.2).map(|a| a.lost).sum();
    notes.push(format!("The wide-area link lost {lost} segments in all."));
    if !untrained.is_empty() {
        notes.push(format!("Weights drawn at random: {}.", untrained.join(", ")));
    }
    if !images {
        notes.push(
            "Images are synthetic pixels; with --set paper and --data they are MNIST's.".into(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seconds: f64) -> Asked {
        let seconds = vec![seconds; 3];
        Asked { seconds, predictions: vec![1; 4], up: 125_000, down: 1_250_000, rounds: 2, lost: 0 }
    }

    /// 2 rounds of 30 ms, 1.375 MB at 100 Mbit/s: 60 + 110 ms. So 0.2 s over the link is 0.03 s here
    /// and what the formula says; 0.4 s is more.
    #[test]
    fn claims_are_computed() {
        assert!((added_by(&Profile::wan(), &asked(1.0)) - 0.17).abs() < 1e-6);
        let measured = |over: f64| {
            let times = [over, 0.04, 0.04, 0.03];
            ("Dense(12)".to_owned(), PAPER[0].2, times.map(asked).to_vec())
        };
        let holds =
            |over: f64| claims(&[measured(over)]).into_iter().map(|c| c.holds).collect::<Vec<_>>();
        assert_eq!(holds(0.2), [true, true, true]);
        assert_eq!(holds(0.4), [true, false, false]);
        let both = [vec![1.0, 3.0], vec![2.0]].map(|seconds| deviation(&seconds));
        assert_eq!(both, [2f64.sqrt(), 0.0]);
        assert!(finding(&[measured(0.2)]).contains("Dense(12), takes 40 ms"));
    }
}
