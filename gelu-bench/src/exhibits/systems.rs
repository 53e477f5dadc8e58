//! Table 4: Conv-1, LeNet-5 and Dense(300) by GELU-Net and by the systems without a client in between, all in the
//! same run on the same machine.

use anyhow::Result;
use gelu_nn::{Dataset, Model, Split};

use super::contenders::{self, Measured, System};
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};
use crate::{Error, networks};

/// The paper's rows: system, network, seconds and accuracy, each with its deviation.
const PAPER: [(&str, &str, [f64; 2], [f64; 2]); 4] = [
    ("GELU-Net", "Conv-1", [67.5, 2.8], [0.936, 0.006]),
    ("CryptoNets", "Conv-1", [1271.8, 1.9], [0.909, 0.002]),
    ("GELU-Net", "LeNet-5", [85.5, 2.1], [0.989, 0.001]),
    ("CryptoNets", "LeNet-5", [3009.6, 1.7], [0.967, 0.003]),
];

/// The paper's accuracy of LeNet-5, which ours must reach.
const LENET5_ACCURACY: f64 = 0.989;
/// Images by themselves: by the split protocol, under CKKS, and under TFHE.
const RUNS: [usize; 3] = [20, 10, 3];
/// Images at once, by the split protocol.
const BATCH: usize = 64;
/// Training images that set TFHE's ranges, and those that choose BFV's integers.
const CALIBRATION: usize = 2_000;
const VALIDATION: usize = 5_000;

/// The paper's table 4.
pub(super) fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    let mut run = Run { setting, progress, measured: Vec::new(), missing: Vec::new() };
    let full = match setting.extent {
        Extent::Quick => {
            run.missing.push(
                "--set quick measures Iris only; Conv-1 and LeNet-5 need --set paper, with --data"
                    .into(),
            );
            false
        }
        Extent::Paper if setting.data.is_none() => {
            run.missing.push(
                "Conv-1 and LeNet-5 need the images of MNIST: name their folder with --data".into(),
            );
            false
        }
        Extent::Paper => true,
    };
    match full {
        true => run.paper()?,
        false => run.iris()?,
    }
    let Run { measured, missing, .. } = run;
    Ok(Exhibit {
        id: "table-4".into(),
        title: "Table 4: two networks by GELU-Net and under fully homomorphic encryption".into(),
        finding: finding(&measured),
        claims: claims(&measured),
        parts: vec![Part::Table(table(&measured)), Part::Table(learning(&measured))],
        notes: notes(&measured, missing),
    })
}

struct Run<'a> {
    setting: &'a Setting,
    progress: &'a dyn Progress,
    measured: Vec<Measured>,
    /// What could not be measured, and what would help.
    missing: Vec<String>,
}

impl Run<'_> {
    fn paper(&mut self) -> Result<()> {
        let data = self.setting.data.as_deref().expect("asked before");
        let test = Dataset::load("mnist-test", data)?;
        let train = Dataset::load("mnist", data)?;
        let last: Vec<_> = (train.len() - VALIDATION..train.len()).collect();
        let (calibration, validation) = (train.head(CALIBRATION), train.select(&last));
        drop(train);
        let (setting, progress) = (self.setting, self.progress);
        for (name, network) in [("Conv-1", "conv1"), ("LeNet-5", "lenet5")] {
            let relu = networks::trained(network, setting, progress)?;
            let square = networks::trained(&format!("{network}-square"), setting, progress)?;
            let squares = format!("{name}, squares");
            let split = [RUNS[0], BATCH];
            self.measured.extend(contenders::split(name, &relu, &test, split, setting, progress)?);
            self.add(contenders::packed(&squares, network, &square, &test, RUNS[1], progress))?;
            self.packed_here([&squares, network], &square, [&calibration, &test])?;
            for (name, model) in [(&squares, &square), (&name.to_owned(), &relu)] {
                self.add(contenders::bootstrapped(
                    name,
                    model,
                    &calibration,
                    &test,
                    RUNS[2],
                    setting,
                    progress,
                ))?;
            }
            match network {
                "conv1" => self.add(contenders::batched(
                    &squares, &square, &validation, &test, setting, progress,
                ))?,
                _ => self.missing.push(format!(
                    "{name} under batched BFV is not measured: the circuit of this baseline is written for \
                     Conv-1 only"
                )),
            }
        }
        // The paper's table does not have it: our systems alone.
        let sigmoid = networks::trained("mnist-dense", setting, progress)?;
        let square = networks::trained("mnist-dense-square", setting, progress)?;
        let (name, split) = ("Dense(300)", [RUNS[0], BATCH]);
        self.measured.extend(contenders::split(name, &sigmoid, &test, split, setting, progress)?);
        let names = ["Dense(300), squares", "mnist-dense"];
        self.packed_here(names, &square, [&calibration, &test])
    }

    /// One image in the slots by this project's packings, as computed and hidden.
    fn packed_here(
        &mut self,
        names: [&str; 2],
        square: &Model,
        [calibration, test]: [&Dataset; 2],
    ) -> Result<()> {
        for system in [System::PackedHere, System::PackedHidden] {
            let (count, progress) = (RUNS[0], self.progress);
            self.add(contenders::packed_here(
                system,
                names,
                square,
                calibration,
                test,
                count,
                progress,
            ))?;
        }
        Ok(())
    }

    /// What needs no folder: the flowers that are part of this program.
    fn iris(&mut self) -> Result<()> {
        let (setting, progress) = (self.setting, self.progress);
        let folder = setting.data.clone().unwrap_or_default();
        let setting = &Setting { data: Some(folder.clone()), ..setting.clone() };
        let model = networks::trained("iris", setting, progress)?;
        let (Split { train, test }, _) = Split::load("iris", &folder, setting.seed)?;
        let name = "Iris, dense 4-5-3";
        self.measured.extend(contenders::split(name, &model, &test, [5, 30], setting, progress)?);
        self.add(contenders::bootstrapped(name, &model, &train, &test, 3, setting, progress))
    }

    /// Keeps what was measured of a baseline; one that is not there, or that refuses this network, is
    /// noted. A wrong answer ends the run.
    fn add(&mut self, measured: Result<Measured>) -> Result<()> {
        match measured {
            Ok(measured) => self.measured.push(measured),
            Err(error) => match error.downcast_ref() {
                Some(Error::Missing { .. } | Error::Program { .. } | Error::Network(_)) => {
                    let left_out = format!("Left out: {error}");
                    if !self.missing.contains(&left_out) {
                        self.missing.push(left_out);
                    }
                }
                _ => return Err(error),
            },
        }
        Ok(())
    }
}

fn table(measured: &[Measured]) -> Table {
    let mut columns = vec![Column::new("system"), Column::new("network")];
    columns.extend(["one image", "amortised"].map(|name| Column::with_unit(name, "s")));
    columns.extend(["batch", "accuracy", "images"].map(Column::new));
    columns.extend(["up", "down"].map(|name| Column::with_unit(name, "kB")));
    columns.push(Column::new("rounds"));
    let spread = |[mean, deviation]: [f64; 2]| Cell::Spread { mean, deviation };
    let paper = PAPER.map(|(system, network, seconds, accuracy)| {
        let mut cells = vec![system.into(), network.into(), spread(seconds), Cell::Empty];
        cells.extend([Cell::Empty, spread(accuracy)]);
        cells.extend([const { Cell::Empty }; 4]);
        Row { source: Source::Paper, cells }
    });
    let row = |m: &Measured| {
        let kilobytes = [m.up, m.down].map(|bytes| Cell::from(bytes as f64 / 1e3));
        let mut cells = vec![m.system.name().into(), m.network.clone().into()];
        cells.extend([Cell::spread(&m.seconds), Cell::from(m.amortised())]);
        cells.extend([Cell::from(m.batch.0), Cell::from(m.accuracy), Cell::from(m.images)]);
        cells.extend(kilobytes);
        cells.push(Cell::from(m.rounds));
        Row { source: Source::Measured, cells }
    };
    Table {
        caption: "One inference, both parties together".into(),
        columns,
        rows: paper.into_iter().chain(measured.iter().map(row)).collect(),
    }
}

/// The price of each system that no clock shows.
fn learning(measured: &[Measured]) -> Table {
    let mut systems: Vec<_> = measured.iter().map(|m| m.system).collect();
    systems.sort_by_key(|system| system.name());
    systems.dedup();
    let row = |system: &System| {
        let cells = [system.name(), system.client_learns(), system.server_learns()];
        Row { source: Source::Counted, cells: cells.map(Cell::from).to_vec() }
    };
    Table {
        caption: "What each party learns beside the answer".into(),
        columns: ["system", "the client", "the server"].map(Column::new).to_vec(),
        rows: systems.iter().map(row).collect(),
    }
}

/// Each system that is not ours beside the split protocol under a cryptosystem on the same network, squares or not, and how
/// many times as long an image by itself takes there.
fn ratios(measured: &[Measured], split: System) -> Vec<(&Measured, &Measured, f64)> {
    let of =
        |other: &Measured| measured.iter().find(|m| m.system == split && m.base() == other.base());
    let baselines = measured.iter().filter(|m| !m.system.is_ours());
    baselines.filter_map(|m| of(m).map(|s| (s, m, m.median() / s.median()))).collect()
}

fn finding(measured: &[Measured]) -> String {
    let ours = measured.iter().filter(|m| m.system == System::Paillier).map(|m| {
        let lattice =
            measured.iter().find(|l| l.system == System::Lattice && l.network == m.network);
        format!(
            "{} takes {} under Paillier{}, and {:.2} % are right",
            m.network,
            time(m.median()),
            lattice.map(|l| format!(" and {} on a lattice", time(l.median()))).unwrap_or_default(),
            100.0 * m.accuracy
        )
    });
    let mut text = format!("By the split protocol {}.", ours.collect::<Vec<_>>().join("; "));
    let others: Vec<_> = ratios(measured, System::Paillier)
        .into_iter()
        .map(|(_, m, ratio)| {
            let name = m.system.name();
            format!("{name} {} ({ratio:.0} times Paillier's)", time(m.median()))
        })
        .collect();
    match others.is_empty() {
        true => text
            .push_str(" No other system was measured in this run, so nothing is said about one."),
        false => text.push_str(&format!(" One image by other systems: {}.", others.join(", "))),
    }
    text.push_str(&fastest(measured));
    let mut throughput = measured.iter().filter(|m| m.system == System::Batched);
    if let Some(batched) = throughput.next() {
        text.push_str(&format!(
            " With many images at once an image takes {} in a batch of {} under BFV",
            time(batched.amortised()),
            batched.batch.0,
        ));
        for system in [System::Paillier, System::Lattice] {
            let same = |(_, m, _): &(&Measured, &Measured, f64)| *m == batched;
            if let Some((split, ..)) = ratios(measured, system).into_iter().find(same) {
                let (each, many) = (time(split.amortised()), split.batch.0);
                text.push_str(&format!(", {each} in one of {many} by {}", system.name()));
            }
        }
        text.push('.');
    }
    text
}

/// Of our own systems, the fastest for one image of each network, where there is more than the split protocol, and the price.
fn fastest(measured: &[Measured]) -> String {
    let of = |m: &Measured| -> Option<String> {
        let ours = measured.iter().filter(|o| o.system.is_ours() && o.base() == m.base());
        let best = ours.min_by(|a, b| a.median().total_cmp(&b.median()))?;
        let (name, network) = (best.system.name(), &best.network);
        Some(format!(
            " Of our own systems {name} is the fastest for one image of {network}, {}: its client learns {} beside the \
             answer.",
            time(best.median()),
            best.system.client_learns()
        ))
    };
    measured.iter().filter(|m| m.system == System::PackedHere).filter_map(of).collect()
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", 1e3 * s),
        s => format!("{s:.1} s"),
    }
}

fn claims(measured: &[Measured]) -> Vec<Claim> {
    let equal = |m: &Measured| {
        let (encrypted, equal) = m.encrypted;
        let exactly = match m.system {
            System::Paillier | System::Lattice | System::Batched => "equal the clear, bit for bit",
            System::Bootstrapped | System::Packed | System::PackedHere | System::PackedHidden => {
                "are those of the clear"
            }
        };
        let name = m.system.name();
        let text =
            format!("{name}, {}: {equal} of {encrypted} encrypted answers {exactly}", m.network);
        Claim::new(text, equal == encrypted)
    };
    let mut claims: Vec<_> = measured.iter().map(equal).collect();
    // Of the paper's networks; Iris is too small to say anything about them.
    let of_the_paper =
        |m: &Measured| m.network.starts_with("Conv-1") || m.network.starts_with("LeNet-5");
    let splits = [System::Paillier, System::Lattice];
    for (split, baseline, ratio) in splits.iter().flat_map(|&split| ratios(measured, split)) {
        if !of_the_paper(split) {
            continue;
        }
        let claimed = baseline.system.claimed();
        let text = format!(
            "{}, {}: one image is {ratio:.1} times as fast as by {} ({}) in the same run; claimed: \
             {claimed:.0} times or more",
            split.system.name(),
            split.network,
            baseline.system.name(),
            baseline.network
        );
        claims.push(Claim::new(text, ratio >= claimed));
    }
    let lenet5 = measured.iter().find(|m| m.system.is_split() && m.network == "LeNet-5");
    if let Some(m) = lenet5 {
        let text = format!(
            "LeNet-5 tells {:.2} % of {} test images right, in the integers of the protocol; claimed: {:.1} % or \
             better",
            100.0 * m.accuracy,
            m.images,
            100.0 * LENET5_ACCURACY
        );
        claims.push(Claim::new(text, m.accuracy >= LENET5_ACCURACY));
    }
    claims
}

fn notes(measured: &[Measured], missing: Vec<String>) -> Vec<String> {
    let mut notes = vec![
        "Times run from pixels in the clear to scores in the clear; keys, their tables and connections are made \
         before. All systems use all processors, one after the other. GELU-Net's two parties are processes \
         over TLS on one machine; the others' messages cross as bytes in one process, and packed CKKS of gelu uses one \
         thread."
            .into(),
        "Accuracy is that of all test images in the integers of each system, in the clear; encrypted answers \
         are compared with it, those of GELU-Net and BFV bit for bit. Baselines without a client need another \
         activation than ReLU, except TFHE, and evaluate networks that were trained with squares."
            .into(),
        "TFHE and CKKS have no batch here: their amortised time is that of images one after the other. A \
         single image under batched BFV takes as long as the batch."
            .into(),
    ];
    notes.extend(measured.iter().filter_map(|m| m.remark.clone()));
    notes.extend(missing);
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(system: System, network: &str, seconds: f64, accuracy: f64) -> Measured {
        Measured {
            system,
            network: network.into(),
            seconds: vec![seconds; 3],
            batch: (10, seconds),
            accuracy,
            images: 10_000,
            encrypted: (3, 3),
            up: 1_000,
            down: 2_000,
            rounds: 2,
            remark: None,
        }
    }

    /// What is ours is no baseline, and the fastest of ours is named with its price.
    #[test]
    fn the_fastest_of_ours_is_named() {
        let mut all = vec![
            measured(System::Paillier, "LeNet-5", 0.1, 0.9935),
            measured(System::Lattice, "LeNet-5", 0.02, 0.9935),
        ];
        assert_eq!(fastest(&all), "");
        all.push(measured(System::PackedHere, "LeNet-5, squares", 0.01, 0.99));
        all.push(measured(System::PackedHidden, "LeNet-5, squares", 0.05, 0.99));
        let text = finding(&all);
        assert!(
            text.contains(
                "packed CKKS (gelu) is the fastest for one image of LeNet-5, squares, 10.0 ms"
            ) && text.contains("learns noise that depends on the weights"),
            "{text}"
        );
        assert!(ratios(&all, System::Paillier).is_empty());
        all[1].seconds = vec![0.001; 3];
        assert!(
            finding(&all)
                .contains("GELU-Net, lattice is the fastest for one image of LeNet-5, 1.0 ms")
        );
    }

    /// Ratios decide on claims: 12 times is enough for CKKS and not for TFHE.
    #[test]
    fn claims_follow_from_the_numbers() {
        let all = [
            measured(System::Paillier, "LeNet-5", 0.1, 0.9935),
            measured(System::Lattice, "LeNet-5", 0.01, 0.9935),
            measured(System::Packed, "LeNet-5, squares", 1.2, 0.99),
            measured(System::Bootstrapped, "LeNet-5", 1.2, 0.99),
        ];
        let holds = |all: &[Measured]| claims(all).iter().map(|c| c.holds).collect::<Vec<_>>();
        // Four times the answers, then Paillier's two ratios, the lattice's two, and the accuracy.
        assert_eq!(holds(&all)[..4], [true; 4]);
        assert_eq!(holds(&all)[4..], [true, false, true, true, true]);
        let mut worse = all.clone();
        worse[0].accuracy = 0.98;
        worse[2].seconds = vec![0.05; 3];
        worse[3].encrypted = (3, 2);
        assert_eq!(holds(&worse)[..4], [true, true, true, false]);
        assert_eq!(holds(&worse)[4..], [false, false, false, true, false]);
        assert!(finding(&all[..2]).contains("nothing is said about one"));
        let text = finding(&all);
        assert!(text.contains("takes 100.0 ms under Paillier and 10.0 ms on a lattice"), "{text}");
        assert!(text.contains("packed CKKS (Orion) 1.2 s (12 times Paillier's)"), "{text}");
        assert_eq!(learning(&all).rows.len(), 4);
        let table = table(&all);
        assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        assert_eq!(table.rows.iter().filter(|row| row.source == Source::Paper).count(), 4);
    }
}
