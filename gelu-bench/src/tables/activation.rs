//! The paper's Table 1: what one activation costs in every system.
//!
//! | system | what happens | feature |
//! |---|---|---|
//! | split protocol | the server seals ⟦z⟧ and sends it; the client decrypts, applies the exact sigmoid, encrypts and sends it back | Paillier always; `elgamal`, `bgn` |
//! | TFHE | the server bootstraps ⟦z⟧ through a table of the function | `tfhe` |
//! | BFV | the server multiplies: z², or the Taylor polynomial of fifth order | always |
//!
//! As in the paper, a split activation's *crypto* is all that both parties compute on ciphertexts, its
//! *communication* both messages, and systems that stay at the server have neither. *Alone* is a value
//! by itself, the latency; *of many* is a value's share of a batch, the throughput: packed in the slots
//! where a scheme has slots. TFHE has no batches. One core computes; results are checked before they
//! are timed, and each time is the median of some runs.
//!
//! Communication is measured: the protocol's bytes there and back over TCP on this machine's loopback
//! interface. Another network adds its round trip; what the bytes alone take at 1 Gbit/s, the paper's
//! network, is computed and said to be.

use std::time::Duration;

use gelu_paillier::Paillier;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::Error;
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};
use crate::timing::{Patience, on_one_core};

mod batched;
#[cfg(feature = "tfhe")]
mod bootstrap;
mod split;

/// The paper's: "1 Gbps LAN".
const BITS_A_SECOND: f64 = 1e9;
/// Milliseconds of the paper's Table 1: communication, crypto, activation; the total is printed, too.
const PAPER: [(&str, [f64; 4]); 3] = [
    ("square", [0.0, 0.0, 90.6, 90.6]),
    ("5th order", [0.0, 0.0, 1619.6, 1619.6]),
    ("GELU-Net", [5.0, 3.7, 0.2, 8.9]),
];

/// How a value is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// By itself: latency.
    Alone,
    /// As one of so many: throughput.
    Of(usize),
}

/// What one activation costs, in seconds and bytes of one value.
#[derive(Debug, Clone)]
struct Cost {
    system: String,
    amount: Amount,
    communication: f64,
    seal: f64,
    decrypt: f64,
    encrypt: f64,
    activation: f64,
    /// Both ways.
    bytes: f64,
    /// Whether sealing, decryption and encryption belong to each activation, or to a whole network.
    interactive: bool,
    /// What else there is to know.
    remarks: String,
}

impl Cost {
    fn crypto(&self) -> f64 {
        if self.interactive { self.seal + self.decrypt + self.encrypt } else { 0.0 }
    }

    fn total(&self) -> f64 {
        self.communication + self.crypto() + self.activation
    }
}

/// What is measured.
struct Plan {
    /// Values of a batch: 720 are the activations of Conv-1's first layer.
    many: usize,
    patience: Patience,
}

impl Plan {
    fn of(extent: Extent) -> Self {
        match extent {
            Extent::Quick => Self {
                many: 136,
                patience: Patience { least: 3, most: 7, budget: Duration::from_millis(150) },
            },
            Extent::Paper => Self {
                many: 720,
                patience: Patience { least: 3, most: 21, budget: Duration::from_secs(5) },
            },
        }
    }
}

/// Measures.
///
/// # Errors
/// A wrong answer; a key size that is not offered; a loopback interface that is not there.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    make(setting, &Plan::of(setting.extent), progress)
}

fn make(setting: &Setting, plan: &Plan, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let systems = [cfg!(feature = "elgamal"), cfg!(feature = "bgn")].map(usize::from);
    let fhe = usize::from(cfg!(feature = "tfhe"));
    progress.begin("systems", 2 + systems[0] + systems[1] + 2 * fhe);
    let costs = on_one_core(|| {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        measure(setting.key_bits, plan, rng, progress)
    })?;
    Ok(show(setting, &costs))
}

fn measure(
    key_bits: u32,
    plan: &Plan,
    rng: &mut ChaCha20Rng,
    progress: &dyn Progress,
) -> Result<Vec<Cost>, Error> {
    let mut costs = Vec::new();
    costs.extend(split::costs::<Paillier>(&format!("Paillier {key_bits}"), key_bits, plan, rng)?);
    progress.step();
    #[cfg(feature = "elgamal")]
    {
        use gelu_elgamal::{ElGamal, KEY_BITS};
        costs.extend(split::costs::<ElGamal>("ElGamal", KEY_BITS, plan, rng)?);
        progress.step();
    }
    #[cfg(feature = "bgn")]
    {
        use gelu_bgn::{Bgn, KEY_BITS};
        costs.extend(split::costs::<Bgn>("BGN", KEY_BITS, plan, rng)?);
        progress.step();
    }
    #[cfg(feature = "tfhe")]
    {
        costs.extend(bootstrap::costs(plan.patience, rng)?);
        progress.step();
    }
    costs.extend(batched::costs(plan.patience, rng)?);
    progress.step();
    Ok(costs)
}

fn show(setting: &Setting, costs: &[Cost]) -> Exhibit {
    let [one, many] = [&costs[0], &costs[1]];
    let ms = |cost: &Cost| cost.total() * 1e3;
    let count = |cost: &Cost| match cost.amount {
        Amount::Alone => 1,
        Amount::Of(count) => count,
    };
    let paper = PAPER[2].1[3];
    let mut finding = format!(
        "An exact activation by the split protocol under Paillier takes {:.2} ms alone and {:.3} ms as one \
         of {}; the paper measured {paper} ms.",
        ms(one),
        ms(many),
        count(many)
    );
    let mut claims = vec![
        Claim::new(format!("All {} results equal what was to come out.", costs.len()), true),
        Claim::new(
            format!(
                "Alone it takes {:.2} ms, less than the paper's {paper} ms on its machine.",
                ms(one)
            ),
            ms(one) < paper,
        ),
        Claim::new(
            format!(
                "Packing helps: {:.3} ms a value of {} against {:.2} ms alone.",
                ms(many),
                count(many),
                ms(one)
            ),
            ms(many) < ms(one),
        ),
    ];
    for cost in costs.iter().filter(|cost| !cost.interactive) {
        let (ours, kind) = match cost.amount {
            Amount::Alone => (one, "alone"),
            Amount::Of(_) => (many, "of many"),
        };
        let times = ms(cost) / ms(ours);
        claims.push(Claim::new(
            format!(
                "{}, {kind}: {} ms, {} times the {} ms of the split protocol under Paillier.",
                cost.system,
                Cell::Number(ms(cost)),
                Cell::Number(times),
                Cell::Number(ms(ours))
            ),
            times > 1.0,
        ));
    }
    if costs.iter().any(|cost| !cost.interactive) {
        finding.push_str(" What stays at the server takes, alone and amortised:");
        let shown = costs.iter().filter(|cost| !cost.interactive).map(|cost| {
            let amount = if cost.amount == Amount::Alone { "alone" } else { "of many" };
            format!(" {} {} ms {amount}", cost.system, Cell::Number(ms(cost)))
        });
        finding.push_str(&shown.collect::<Vec<_>>().join(","));
        finding.push('.');
    }
    Exhibit {
        id: "table-1".into(),
        title: "Table 1: one activation in every system".into(),
        finding,
        claims,
        parts: vec![table(costs), details(costs)],
        notes: notes(setting),
    }
}

fn notes(setting: &Setting) -> Vec<String> {
    let mut notes = vec![
        "The paper's figures are from its machine (2.8 GHz Core i7, 1 Gbit/s, python-paillier, SEAL): \
         compare the rows of this run with each other. Its rows for square and 5th order are one value \
         under SEAL, unbatched."
            .into(),
        "Communication: measured over TCP on the loopback interface, both messages, one connection. A \
         real network adds its round trip, once for all values that travel together; `at 1 Gbit/s` is \
         computed from the bytes, without a round trip or headers."
            .into(),
        "Times are by the clock: other work on the machine lengthens them, long batches most.".into(),
        "What stays at the server needs no message for an activation; its encryption, decryption and \
         bytes (second table) come once a network. BFV computes all slots at once, so `alone` is a whole \
         batch for the sake of one value. The split protocol tells the client the sums, and the others do \
         not: it buys its speed with that."
            .into(),
        "Radix integers of tfhe: cargo run --release -p gelu-fhe-baseline --features integer --example \
         radix_integers."
            .into(),
    ];
    for (compiled_in, feature, what) in [
        (cfg!(feature = "elgamal"), "elgamal", "the split protocol under ElGamal"),
        (cfg!(feature = "bgn"), "bgn", "the split protocol under BGN"),
        (cfg!(feature = "tfhe"), "tfhe", "TFHE, with bootstraps"),
    ] {
        if !compiled_in {
            notes.push(format!("Left out, as this build has no feature `{feature}`: {what}."));
        }
    }
    if setting.extent == Extent::Quick {
        notes.push("A quick look: batches of 136 in place of 720 values, at most 7 runs.".into());
    }
    notes
}

fn amount(cost: &Cost) -> Cell {
    match cost.amount {
        Amount::Alone => "alone".into(),
        Amount::Of(count) => format!("of {count}").into(),
    }
}

fn table(costs: &[Cost]) -> Part {
    let ms = |seconds: f64| Cell::Number(seconds * 1e3);
    let mut rows: Vec<Row> = PAPER
        .iter()
        .map(|(name, figures)| {
            let mut cells = vec![Cell::from(*name), Cell::from("alone")];
            cells.extend(figures.map(Cell::Number));
            cells.extend([Cell::Empty, Cell::Empty]);
            Row { source: Source::Paper, cells }
        })
        .collect();
    rows.extend(costs.iter().map(|cost| {
        let bytes = if cost.interactive { cost.bytes } else { 0.0 };
        let cells = vec![
            Cell::from(&*cost.system),
            amount(cost),
            ms(cost.communication),
            ms(cost.crypto()),
            ms(cost.activation),
            ms(cost.total()),
            Cell::Number(bytes / 1e3),
            ms(8.0 * bytes / BITS_A_SECOND),
        ];
        Row { source: Source::Measured, cells }
    }));
    Part::Table(Table {
        caption: "One activation".into(),
        columns: vec![
            Column::new("system"),
            Column::new("value"),
            Column::with_unit("communication", "ms"),
            Column::with_unit("crypto", "ms"),
            Column::with_unit("activation", "ms"),
            Column::with_unit("total", "ms"),
            Column::with_unit("sent", "kB"),
            Column::with_unit("sent at 1 Gbit/s, estimated", "ms"),
        ],
        rows,
    })
}

fn details(costs: &[Cost]) -> Part {
    let us = |seconds: f64| Cell::Number(seconds * 1e6);
    let row = |cost: &Cost| Row {
        source: Source::Measured,
        cells: vec![
            Cell::from(&*cost.system),
            amount(cost),
            if cost.interactive { us(cost.seal) } else { Cell::Empty },
            us(cost.decrypt),
            us(cost.encrypt),
            us(cost.activation),
            Cell::Number(cost.bytes),
            Cell::from(&*cost.remarks),
        ],
    };
    Part::Table(Table {
        caption: "Where the time goes, a value".into(),
        columns: vec![
            Column::new("system"),
            Column::new("value"),
            Column::with_unit("seal", "µs"),
            Column::with_unit("decrypt", "µs"),
            Column::with_unit("encrypt", "µs"),
            Column::with_unit("activation", "µs"),
            Column::with_unit("both ways", "bytes"),
            Column::new("remarks"),
        ],
        rows: costs.iter().map(row).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_paillier::InsecurePaillier;

    const ONCE: Patience = Patience { least: 1, most: 1, budget: Duration::ZERO };

    fn setting() -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 }
    }

    /// 512 bits have 17 slots of 30 bits at most, so 40 values take 3 ciphertexts, one value 1.
    pub(super) fn costs() -> [Cost; 2] {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let plan = Plan { many: 40, patience: ONCE };
        split::costs::<InsecurePaillier>("Paillier 512", 512, &plan, rng).unwrap()
    }

    /// The paper's rows add up and are marked as the paper's; ours are marked as measured; what this
    /// build lacks is said.
    #[test]
    fn rows_and_notes() {
        let made = show(&setting(), &costs());
        let Part::Table(table) = &made.parts[0] else { panic!("a table") };
        let papers = table.rows.iter().take_while(|row| row.source == Source::Paper);
        assert_eq!(papers.count(), 3);
        assert!(table.rows[3..].iter().all(|row| row.source == Source::Measured));
        for (_, [communication, crypto, activation, total]) in PAPER {
            assert!((communication + crypto + activation - total).abs() < 1e-9);
        }
        for part in &made.parts {
            let Part::Table(table) = part else { panic!("a table") };
            assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        }
        let missing = made.notes.iter().filter(|note| note.starts_with("Left out")).count();
        let features = [cfg!(feature = "elgamal"), cfg!(feature = "bgn"), cfg!(feature = "tfhe")];
        assert_eq!(missing, features.iter().filter(|&&there| !there).count());
    }

    /// What stays at the server has no crypto for an activation, whatever a whole network pays.
    #[test]
    fn costs_of_a_network_are_not_those_of_an_activation() {
        let [one, _] = costs();
        let server = Cost { interactive: false, communication: 0.0, ..one.clone() };
        assert_eq!(server.crypto(), 0.0);
        assert_eq!(server.total(), one.activation);
        let made = show(&setting(), &[one.clone(), one, server]);
        assert_eq!(made.claims.len(), 4);
    }
}
