//! The paper's Table 2: what one training iteration costs, counted as networks grow.
//!
//! | system | what is counted | how |
//! |---|---|---|
//! | GELU-Net | n linear layers of m inputs and outputs, one sample | a real iteration on `Clear` for every size ([`mod@iteration`]) |
//! | ElGamal-Net | two parties (Z = 2), one hidden layer, m everywhere | its crate's formula, checked against a real iteration here |
//! | BGN-Net | training with one hidden layer; queries for all n | its crate's formulas; training is counted from the description and not run, of queries its tests compare counts with runs |
//!
//! Exponents are fitted by least squares to the logarithms of the counts. Where a count is a
//! polynomial, the polynomial is checked at every size and must hold exactly.

use crate::Error;
use crate::exhibit::{Axis, Cell, Claim, Column, Exhibit, Lines, Part, Row, Series, Source, Table};
use crate::fit::{PowerLaw, power_law};
use crate::setting::{Extent, Progress, Setting};

#[cfg(feature = "bgn")]
mod bgn_net;
#[cfg(feature = "elgamal")]
mod elgamal_net;
pub mod iteration;

use iteration::{Rate, iteration};

/// What one iteration costs all parties together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    /// Linear layers: the paper's n.
    layers: usize,
    /// The paper's m.
    width: usize,
    /// Multiplications: of a ciphertext by a number, or of two ciphertexts; none where the system
    /// looks up its products.
    multiplications: Option<u64>,
    /// All operations on ciphertexts: these, additions, encryptions, decryptions, seals.
    operations: u64,
    encryptions: u64,
    decryptions: u64,
    messages: u64,
    ciphertexts: u64,
    bytes: u64,
}

/// A system with its counts.
struct System {
    name: &'static str,
    /// What the paper says of its computation and its communication.
    paper: Option<[&'static str; 2]>,
    counts: Vec<Count>,
    /// What of a count is the paper's computation.
    computation: fn(&Count) -> u64,
}

/// What another system has to show.
struct Rival {
    systems: Vec<System>,
    claims: Vec<Claim>,
    note: String,
}

impl Rival {
    #[cfg(not(all(feature = "elgamal", feature = "bgn")))]
    fn missing(name: &str, feature: &str) -> Self {
        let note = format!(
            "{name} is left out: this build has no feature `{feature}` (cargo build --release \
             --features elgamal,bgn)."
        );
        Self { systems: Vec::new(), claims: Vec::new(), note }
    }
}

/// What is counted.
struct Plan {
    layers: Vec<usize>,
    widths: Vec<usize>,
}

impl Plan {
    fn of(extent: Extent) -> Self {
        match extent {
            Extent::Quick => Self { layers: vec![2, 4, 8], widths: vec![8, 16, 32, 64] },
            Extent::Paper => {
                Self { layers: vec![2, 4, 8, 16, 32], widths: vec![8, 16, 32, 64, 128, 256] }
            }
        }
    }

    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.layers.iter().flat_map(|&n| self.widths.iter().map(move |&m| (n, m)))
    }
}

/// Counts.
///
/// # Errors
/// [`Error::WrongAnswer`] when a formula differs from a run.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    make(setting, &Plan::of(setting.extent), progress)
}

fn make(setting: &Setting, plan: &Plan, progress: &dyn Progress) -> Result<Exhibit, Error> {
    progress.begin("iterations", 2 * plan.sizes().count());
    let mut claims = Vec::new();
    let mut notes = vec![
        "n counts linear layers, m their inputs and outputs; the paper's n counts the layers of \
         neurons, one more. One sample. Messages are what one party says before the other speaks, \
         ciphertexts are the paper's messages."
            .into(),
        "GELU-Net's updates: with a public learning rate they travel masked, but in the clear, so \
         their n·(m² + m) numbers are in the bytes and not among the ciphertexts; with a secret rate \
         (the paper's way) they are encrypted, several to a ciphertext."
            .into(),
    ];
    let mut systems = Vec::new();
    for rate in [Rate::Public, Rate::Secret] {
        systems.push(gelu_net(plan, rate, progress)?);
    }
    claims.push(exact(&systems[0]));
    let rivals: [Rival; 2] = [
        #[cfg(feature = "elgamal")]
        elgamal_net::rival(setting, plan)?,
        #[cfg(not(feature = "elgamal"))]
        Rival::missing("ElGamal-Net", "elgamal"),
        #[cfg(feature = "bgn")]
        bgn_net::rival(plan)?,
        #[cfg(not(feature = "bgn"))]
        Rival::missing("BGN-Net", "bgn"),
    ];
    for rival in rivals {
        systems.extend(rival.systems);
        claims.extend(rival.claims);
        notes.push(rival.note);
    }
    if setting.extent == Extent::Quick {
        notes.push("A quick look: up to 8 layers and 64 neurons.".into());
    }

    let laws: Vec<[Option<PowerLaw>; 2]> = systems.iter().map(System::laws).collect();
    if let [Some(computation), _] = &laws[0] {
        let [n, m] = [computation.exponents[0], computation.exponents[1]];
        claims.push(Claim::new(
            format!("GELU-Net's multiplications grow as n^{n:.2}·m^{m:.2}; the paper says n·m²."),
            (n - 1.0).abs() < 0.2 && (m - 2.0).abs() < 0.05,
        ));
    }
    if let [_, Some(communication)] = &laws[1] {
        let [n, m] = [communication.exponents[0], communication.exponents[1]];
        claims.push(Claim::new(
            format!(
                "Its ciphertexts, with a secret rate, grow as n^{n:.2}·m^{m:.2}, no faster than the \
                 paper's n·m²."
            ),
            n < 1.2 && m < 2.05,
        ));
    }
    let largest = systems[0].counts.last().expect("sizes");
    let finding = format!(
        "An iteration of GELU-Net with {} layers of {} takes exactly (2n − 1)·m² = {} multiplications, \
         {} ciphertexts and {} messages; fitted over all sizes, {}.",
        largest.layers,
        largest.width,
        (systems[0].computation)(largest),
        largest.ciphertexts,
        largest.messages,
        laws[0][0].as_ref().map_or_else(String::new, |law| shown(law, &["n", "m"])),
    );
    Ok(Exhibit {
        id: "table-2".into(),
        title: "Table 2: the complexity of one training iteration, counted".into(),
        finding,
        claims,
        parts: vec![
            growth(&systems, &laws),
            picture(&systems, "Computation", "operations", |system, count| {
                (system.computation)(count)
            }),
            picture(&systems, "Communication", "ciphertexts sent", |_, count| count.ciphertexts),
            counts(&systems),
        ],
        notes,
    })
}

fn gelu_net(plan: &Plan, rate: Rate, progress: &dyn Progress) -> Result<System, Error> {
    let mut counts = Vec::new();
    for (layers, width) in plan.sizes() {
        let counted = iteration(layers, width, rate)?;
        let all = [counted.client, counted.server];
        let sum = |f: fn(&gelu_core::clear::Reading) -> u64| all.iter().map(f).sum::<u64>();
        counts.push(Count {
            layers,
            width,
            multiplications: Some(counted.server.plain_multiplications),
            operations: sum(|r| {
                r.encryptions
                    + r.decryptions
                    + r.additions
                    + r.plain_additions
                    + r.plain_multiplications
                    + r.rerandomizations
            }),
            encryptions: sum(|r| r.encryptions),
            decryptions: sum(|r| r.decryptions) + counted.updates,
            messages: counted.messages as u64,
            ciphertexts: counted.ciphertexts(),
            bytes: counted.bytes as u64,
        });
        progress.step();
    }
    let (name, paper) = match rate {
        Rate::Public => ("GELU-Net, public rate", None),
        Rate::Secret => ("GELU-Net, secret rate", Some(["O(n·m²·p)", "O(n·m²)"])),
    };
    let computation = |count: &Count| count.multiplications.unwrap_or(0);
    Ok(System { name, paper, counts, computation })
}

/// (2n − 1)·m² multiplications, (2n − 1)·m encryptions, 4n messages: at every size.
fn exact(system: &System) -> Claim {
    let holds = |count: &Count| {
        let [n, m] = [count.layers as u64, count.width as u64];
        let exchanges = 2 * n - 1;
        count.multiplications == Some(exchanges * m * m)
            && count.encryptions == exchanges * m
            && count.messages == 4 * n
    };
    Claim::new(
        format!(
            "GELU-Net takes exactly (2n − 1)·m² multiplications, (2n − 1)·m encryptions and 4n messages \
             at all {} sizes.",
            system.counts.len()
        ),
        system.counts.iter().all(holds),
    )
}

impl System {
    /// Whether n was varied.
    fn grows_in_layers(&self) -> bool {
        self.counts.iter().any(|count| count.layers != self.counts[0].layers)
    }

    fn law(&self, value: impl Fn(&Count) -> u64) -> Option<PowerLaw> {
        let value = |count: &Count| value(count) as f64;
        let [n, m] = [|c: &Count| c.layers as f64, |c: &Count| c.width as f64];
        if self.grows_in_layers() {
            let points: Vec<_> = self.counts.iter().map(|c| ([n(c), m(c)], value(c))).collect();
            power_law(&points)
        } else {
            let points: Vec<_> = self.counts.iter().map(|c| ([m(c)], value(c))).collect();
            power_law(&points)
        }
    }

    /// Of computation and communication.
    fn laws(&self) -> [Option<PowerLaw>; 2] {
        [self.law(self.computation), self.law(|count| count.ciphertexts)]
    }

    fn variables(&self) -> &'static [&'static str] {
        if self.grows_in_layers() { &["n", "m"] } else { &["m"] }
    }
}

/// `2.1·n^1.03·m^2.00`
fn shown(law: &PowerLaw, variables: &[&str]) -> String {
    let factor = Cell::Number(law.factor).to_string();
    let powers = variables.iter().zip(&law.exponents).map(|(x, e)| format!("{x}^{e:.2}"));
    std::iter::once(factor).chain(powers).collect::<Vec<_>>().join("·")
}

fn growth(systems: &[System], laws: &[[Option<PowerLaw>; 2]]) -> Part {
    let mut rows = Vec::new();
    for (system, laws) in systems.iter().zip(laws) {
        if let Some([computation, communication]) = system.paper {
            let name = system.name.split(',').next().unwrap_or(system.name);
            let cells = vec![
                Cell::from(name),
                Cell::from(computation),
                Cell::Empty,
                Cell::from(communication),
                Cell::Empty,
            ];
            rows.push(Row { source: Source::Paper, cells });
        }
        let cells = laws.iter().flat_map(|law| match law {
            Some(law) => [Cell::from(shown(law, system.variables())), Cell::from(law.worst)],
            None => [Cell::Empty, Cell::Empty],
        });
        let cells = std::iter::once(Cell::from(system.name)).chain(cells).collect();
        rows.push(Row { source: Source::Counted, cells });
    }
    Part::Table(Table {
        caption: "Growth of an iteration: the paper's bound, and the law fitted to our counts"
            .into(),
        columns: vec![
            Column::new("system"),
            Column::new("computation"),
            Column::new("off by at most (times)"),
            Column::new("communication (ciphertexts)"),
            Column::new("off by at most (times)"),
        ],
        rows,
    })
}

/// Counts against m, for the fewest layers.
fn picture(
    systems: &[System],
    caption: &str,
    label: &str,
    value: impl Fn(&System, &Count) -> u64,
) -> Part {
    let series = |system: &System| {
        let fewest = system.counts.iter().map(|count| count.layers).min();
        let at = |count: &&Count| Some(count.layers) == fewest;
        let point = |count: &Count| (count.width as f64, value(system, count) as f64);
        Series::curve(system.name, system.counts.iter().filter(at).map(point))
    };
    Part::Lines(Lines {
        caption: format!("{caption} of an iteration with two linear layers, against their width"),
        x: Axis::log("width m"),
        y: Axis::log(label),
        series: systems.iter().map(series).collect(),
    })
}

fn counts(systems: &[System]) -> Part {
    let row = |name: &str, count: &Count| Row {
        source: Source::Counted,
        cells: vec![
            Cell::from(name),
            Cell::from(count.layers),
            Cell::from(count.width),
            count.multiplications.map_or(Cell::Empty, Cell::Count),
            Cell::Count(count.operations),
            Cell::Count(count.encryptions),
            Cell::Count(count.decryptions),
            Cell::Count(count.messages),
            Cell::Count(count.ciphertexts),
            Cell::Count(count.bytes),
        ],
    };
    let rows = systems.iter().flat_map(|s| s.counts.iter().map(|count| row(s.name, count)));
    Part::Table(Table {
        caption: "Counts of one iteration, all parties together".into(),
        columns: vec![
            Column::new("system"),
            Column::new("n"),
            Column::new("m"),
            Column::new("multiplications"),
            Column::new("operations"),
            Column::new("encryptions"),
            Column::new("decryptions"),
            Column::new("messages"),
            Column::new("ciphertexts"),
            Column::new("bytes"),
        ],
        rows: rows.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Quiet;

    #[test]
    fn the_table_is_counted_and_holds() {
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 };
        let plan = Plan { layers: vec![2, 4, 8], widths: vec![4, 8, 16] };
        let made = make(&setting, &plan, &Quiet).unwrap();
        assert!(made.claims[0].holds, "{}", made.claims[0].text);
        let Part::Table(growth) = &made.parts[0] else { panic!("a table") };
        let Part::Lines(lines) = &made.parts[1] else { panic!("a picture") };
        let Part::Table(counts) = &made.parts[3] else { panic!("a table") };
        for table in [growth, counts] {
            assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        }
        let papers = growth.rows.iter().filter(|row| row.source == Source::Paper).count();
        let rivals = usize::from(cfg!(feature = "elgamal")) + usize::from(cfg!(feature = "bgn"));
        assert_eq!(papers, 1 + rivals);
        assert!(lines.series.iter().all(|series| series.points.len() == 3));
        // By hand: n = 2, m = 4 is three exchanges.
        assert_eq!(lines.series[0].points[0], (4.0, 48.0));
        let missing = made.notes.iter().filter(|note| note.contains("is left out")).count();
        assert_eq!(missing, 2 - rivals);
    }

    /// A count that is off by one is noticed.
    #[test]
    fn exactness_is_checked() {
        let mut system =
            gelu_net(&Plan { layers: vec![2], widths: vec![3, 4] }, Rate::Public, &Quiet);
        let system = system.as_mut().unwrap();
        assert!(exact(system).holds);
        system.counts[1].encryptions += 1;
        assert!(!exact(system).holds);
    }

    #[test]
    fn laws_read_well() {
        let law = PowerLaw { factor: 2.0, exponents: vec![1.0, 1.987], worst: 1.0 };
        assert_eq!(shown(&law, &["n", "m"]), "2.00·n^1.00·m^1.99");
    }
}
