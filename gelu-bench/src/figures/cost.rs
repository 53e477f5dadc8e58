//! What an encrypted layer costs: against its width, against the batch, against the key.
//!
//! A layer of n inputs and m outputs is computed the way a query computes it, on one core:
//!
//! ```text
//! client    encrypts n inputs, the samples of a batch side by side in slots
//! server    W·⟦x⟧: n·m multiply-accumulates a ciphertext's worth of samples, outputs packed
//!           seals what it returns
//! client    decrypts
//! ```
//!
//! Weights are random and of 8 bits with sign, inputs of 9, slots of 34 bits. Each answer is compared
//! with the same in integers before anything is timed; each time is the median of some runs.

use std::time::Duration;

use gelu_core::slots::{DigitSlots, Matrix, SlotShape};
use gelu_paillier::Paillier;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::layer::{Problem, SLOT_BITS, check};
use crate::Error;
use crate::exhibit::{Axis, Cell, Claim, Column, Exhibit, Lines, Part, Row, Series, Source, Table};
use crate::fit::power_law;
use crate::setting::{Extent, Progress, Setting};
use crate::timing::{Patience, on_one_core};

/// What is measured.
struct Plan {
    /// Widths of square layers for one sample, under the setting's key.
    widths: Vec<usize>,
    /// Batches for one layer, under the setting's key.
    batches: Vec<usize>,
    /// The layer of batches and keys.
    layer: (usize, usize),
    /// Bits of keys.
    keys: Vec<u32>,
    patience: Patience,
}

impl Plan {
    fn of(extent: Extent) -> Self {
        let quick = extent == Extent::Quick;
        Self {
            widths: if quick {
                vec![10, 30, 100, 300, 1000]
            } else {
                vec![10, 20, 50, 100, 200, 300, 500, 700, 1000]
            },
            batches: if quick {
                vec![1, 4, 15, 60, 120]
            } else {
                vec![1, 2, 4, 8, 15, 30, 60, 120, 240]
            },
            layer: if quick { (100, 100) } else { (784, 300) },
            keys: vec![2048, 3072, 4096],
            patience: Patience {
                least: if quick { 1 } else { 3 },
                most: if quick { 9 } else { 21 },
                budget: Duration::from_millis(if quick { 50 } else { 2000 }),
            },
        }
    }

    fn steps(&self) -> usize {
        self.widths.len() + self.batches.len() + 3 * self.keys.len()
    }
}

/// Seconds of the parts of a layer, for all of a batch.
#[derive(Debug, Clone, Copy)]
struct Times {
    encrypt: f64,
    product: f64,
    seal: f64,
    decrypt: f64,
}

impl Times {
    fn total(&self) -> f64 {
        self.encrypt + self.product + self.seal + self.decrypt
    }
}

/// One layer that was measured.
struct Point {
    key_bits: u32,
    shape: (usize, usize),
    batch: usize,
    times: Times,
}

impl Point {
    /// Milliseconds a sample.
    fn of_a_sample(&self, seconds: f64) -> f64 {
        seconds * 1e3 / self.batch as f64
    }

    /// Microseconds a multiply-accumulate.
    fn of_a_product(&self) -> f64 {
        let macs = self.shape.0 * self.shape.1 * self.batch;
        self.times.product * 1e6 / macs as f64
    }

    fn row(&self) -> Row {
        let each = |seconds| Cell::Number(self.of_a_sample(seconds));
        let Times { encrypt, product, seal, decrypt } = self.times;
        let cells = vec![
            Cell::from(format!("{}x{}", self.shape.0, self.shape.1)),
            Cell::from(self.batch),
            Cell::Count(self.key_bits.into()),
            each(encrypt),
            each(product),
            each(seal),
            each(decrypt),
            each(self.times.total()),
            Cell::Number(self.of_a_product()),
        ];
        Row { source: Source::Measured, cells }
    }
}

/// Measures.
///
/// # Errors
/// A wrong answer; a key size that is not offered.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    make::<Paillier>(setting, &Plan::of(setting.extent), progress)
}

fn make<H: DigitSlots>(
    setting: &Setting,
    plan: &Plan,
    progress: &dyn Progress,
) -> Result<Exhibit, Error>
where
    H::SecretKey: Sync + Send,
{
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    progress.begin("layers", plan.steps());
    let mut widths = Vec::new();
    let mut batches = Vec::new();
    let mut keys = Vec::new();
    on_one_core(|| -> Result<(), Error> {
        let secret = H::keygen(setting.key_bits, rng)?;
        let mut point = |secret: &H::SecretKey, shape, batch: usize| {
            let times = measure::<H>(secret, shape, batch, plan.patience, rng)?;
            progress.step();
            let key_bits = H::key_bits(H::public_key(secret));
            Ok::<_, Error>(Point { key_bits, shape, batch, times })
        };
        for &width in &plan.widths {
            widths.push(point(&secret, (width, width), 1)?);
        }
        for &batch in &plan.batches {
            batches.push(point(&secret, plan.layer, batch)?);
        }
        for &bits in &plan.keys {
            let mut key_rng = ChaCha20Rng::seed_from_u64(setting.seed ^ u64::from(bits));
            let secret = H::keygen(bits, &mut key_rng)?;
            progress.step();
            let slots = H::slots(H::public_key(&secret), SLOT_BITS);
            keys.push([point(&secret, plan.layer, 1)?, point(&secret, plan.layer, slots)?]);
        }
        Ok(())
    })?;
    Ok(show(setting, plan, &widths, &batches, &keys))
}

/// Seconds of each part, after the answer was checked.
fn measure<H: DigitSlots>(
    secret: &H::SecretKey,
    shape: (usize, usize),
    batch: usize,
    patience: Patience,
    rng: &mut ChaCha20Rng,
) -> Result<Times, Error> {
    let public = H::public_key(secret);
    let problem = Problem::random(shape, batch, rng)?;
    let slots = H::slots(public, SLOT_BITS).min(batch).max(1);
    // One group holds as many outputs as there is room for beside the samples.
    let group = (H::slots(public, SLOT_BITS) / slots).max(1);
    let rows = problem.plaintexts(slots)?;
    let all: Vec<_> = rows.iter().flatten().cloned().collect();
    let encrypted = H::encrypt_many(secret, &all, rng)?;
    let taps = problem.map.forward_taps();
    let matrix = Matrix { taps, entries: problem.weights.clone() }.into();
    let product = || {
        let inputs = encrypted.chunks(problem.map.inputs()).zip(&rows);
        let product = |(inputs, row): (&[H::Ciphertext], &Vec<gelu_core::Plaintext>)| {
            Ok(H::matvec_packed(public, &matrix, inputs, group, row[0].shape())?)
        };
        inputs.map(product).collect::<Result<Vec<_>, Error>>()
    };
    let mut sums = Vec::new();
    let mut expected = Vec::new();
    for (k, outputs) in product()?.into_iter().enumerate() {
        let answer = problem.answer(k, slots, group);
        let shape = |values: &Vec<i128>| SlotShape { bits: SLOT_BITS, count: values.len() };
        sums.extend(outputs.into_iter().zip(answer.iter().map(shape)));
        expected.extend(answer);
    }
    let sealed = H::rerandomize_many(public, &sums, rng);
    let sealed: Vec<_> = sealed.into_iter().zip(sums.iter().map(|(_, shape)| *shape)).collect();
    let what = format!("a layer of {}x{} on {batch} encrypted samples", shape.0, shape.1);
    check(&what, &H::decrypt_many(secret, &sealed)?, &expected)?;
    Ok(Times {
        encrypt: patience.median(|| Ok(H::encrypt_many(secret, &all, rng)?))?,
        product: patience.median(product)?,
        seal: patience.median(|| Ok(H::rerandomize_many(public, &sums, rng)))?,
        decrypt: patience.median(|| Ok(H::decrypt_many(secret, &sealed)?))?,
    })
}

fn show(
    setting: &Setting,
    plan: &Plan,
    widths: &[Point],
    batches: &[Point],
    keys: &[[Point; 2]],
) -> Exhibit {
    let (narrow, wide) = (&widths[0], &widths[widths.len() - 1]);
    let (alone, full) = (&batches[0], &batches[batches.len() - 1]);
    let total = |point: &Point| point.of_a_sample(point.times.total());
    let saved = total(alone) / total(full);
    let growth = |which: usize| {
        let point = |key: &[Point; 2]| ([f64::from(key[0].key_bits)], total(&key[which]));
        power_law(&keys.iter().map(point).collect::<Vec<_>>()).map_or(f64::NAN, |l| l.exponents[0])
    };
    let grown = [growth(0), growth(1)];
    let layer = format!("{}x{}", plan.layer.0, plan.layer.1);
    let finding = format!(
        "A multiply-accumulate takes {:.2} µs in a layer of {n}x{n} and {:.2} µs in one of {w}x{w}; a \
         sample of a batch of {} costs 1/{saved:.1} of one alone ({layer}); with the bits of the key a \
         layer's time grows as bits^{:.1} alone and as bits^{:.1} a sample of full slots.",
        narrow.of_a_product(),
        wide.of_a_product(),
        full.batch,
        grown[0],
        grown[1],
        n = narrow.shape.0,
        w = wide.shape.0,
    );
    let measured = widths.len() + batches.len() + 2 * keys.len();
    let claims = vec![
        Claim::new(format!("All {measured} layers equal the same in integers."), true),
        Claim::new(
            format!(
                "Wide layers are cheaper: {:.2} µs a multiply-accumulate against {:.2} µs.",
                wide.of_a_product(),
                narrow.of_a_product()
            ),
            wide.of_a_product() < narrow.of_a_product(),
        ),
        Claim::new(
            format!("Batches are cheaper: a sample costs 1/{saved:.1} of one alone."),
            saved > 1.0,
        ),
        Claim::new(
            format!(
                "Longer keys cost more than their room wins back: a sample of full slots grows as \
                 bits^{:.1}.",
                grown[1]
            ),
            grown[1] > 0.0,
        ),
    ];
    let mut notes = vec![
        "On one core; medians; keys, their tables and the network were there before. A query's client \
         and server compute in turn, so a layer's time is the sum of its parts; what the network \
         between them takes is not in it. Times are by the clock, so other work on the machine \
         lengthens them, the long ones most."
            .into(),
        format!(
            "Weights of 8 bits with sign, inputs of 9, slots of {SLOT_BITS} bits. A batch sits in the \
             slots of the inputs' ciphertexts; where one sample leaves room, outputs are packed."
        ),
    ];
    if setting.extent == Extent::Quick {
        notes.push(format!(
            "A quick look: fewer sizes and runs, batches and keys on {layer} in place of 784x300."
        ));
    }
    Exhibit {
        id: "figure-cost".into(),
        title: "An encrypted layer against its width, the batch and the key".into(),
        finding,
        claims,
        parts: [
            pictures(setting, &layer, widths, batches, keys),
            vec![table(widths, batches, keys)],
        ]
        .concat(),
        notes,
    }
}

/// Values against something, of several kinds.
type Curve<'a> = (&'a str, &'a dyn Fn(&Point) -> f64);

fn series<'p>(
    points: impl Iterator<Item = &'p Point> + Clone,
    x: impl Fn(&Point) -> f64,
    curves: &[Curve<'_>],
) -> Vec<Series> {
    let of = |(name, y): &Curve<'_>| {
        Series::curve(name, points.clone().map(|point| (x(point), y(point))))
    };
    curves.iter().map(of).collect()
}

fn pictures(
    setting: &Setting,
    layer: &str,
    widths: &[Point],
    batches: &[Point],
    keys: &[[Point; 2]],
) -> Vec<Part> {
    let total = |point: &Point| point.of_a_sample(point.times.total());
    let server = |point: &Point| point.of_a_sample(point.times.product + point.times.seal);
    let client = |point: &Point| point.of_a_sample(point.times.encrypt + point.times.decrypt);
    let shares: [Curve<'_>; 3] = [
        ("the whole layer", &total),
        ("server: product, seals", &server),
        ("client: encryption, decryption", &client),
    ];
    let width = |point: &Point| point.shape.0 as f64;
    let bits = setting.key_bits;
    let by_width = Lines {
        caption: format!("A layer of m inputs and m outputs, one sample, key of {bits} bits"),
        x: Axis::log("width m"),
        y: Axis::log("time (ms)"),
        series: series(widths.iter(), width, &shares),
    };
    let each = |point: &Point| point.of_a_product();
    let whole = |point: &Point| total(point) * 1e3 / (width(point) * width(point));
    let by_product = Lines {
        caption: format!("The same for each multiply-accumulate, key of {bits} bits"),
        x: Axis::log("width m"),
        y: Axis::log("time / m² (µs)"),
        series: series(
            widths.iter(),
            width,
            &[("the whole layer", &whole), ("the product alone", &each)],
        ),
    };
    let by_batch = Lines {
        caption: format!("A layer of {layer} against the batch, key of {bits} bits"),
        x: Axis::log("samples in a batch"),
        y: Axis::log("time of a sample (ms)"),
        series: series(batches.iter(), |point| point.batch as f64, &shares),
    };
    let key = |point: &Point| f64::from(point.key_bits);
    let alone = series(keys.iter().map(|key| &key[0]), key, &[("one sample alone", &total)]);
    let full = series(keys.iter().map(|key| &key[1]), key, &[("a sample of full slots", &total)]);
    let by_key = Lines {
        caption: format!("A layer of {layer} against the key"),
        x: Axis::linear("bits of the key"),
        y: Axis::log("time of a sample (ms)"),
        series: [alone, full].concat(),
    };
    [by_width, by_product, by_batch, by_key].map(Part::Lines).into()
}

fn table(widths: &[Point], batches: &[Point], keys: &[[Point; 2]]) -> Part {
    let columns = vec![
        Column::new("layer"),
        Column::new("batch"),
        Column::with_unit("key", "bits"),
        Column::with_unit("encrypt", "ms"),
        Column::with_unit("product", "ms"),
        Column::with_unit("seal", "ms"),
        Column::with_unit("decrypt", "ms"),
        Column::with_unit("layer, total", "ms"),
        Column::with_unit("product / MAC", "µs"),
    ];
    let points = widths.iter().chain(batches).chain(keys.iter().flatten());
    Part::Table(Table {
        caption: "Times of a sample".into(),
        columns,
        rows: points.map(Point::row).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Quiet;
    use gelu_paillier::InsecurePaillier;

    const ONCE: Patience = Patience { least: 1, most: 1, budget: Duration::ZERO };

    /// Everything but the sizes: each series has a point for each size, all of them positive, and
    /// rows are as wide as their head.
    #[test]
    fn series_are_whole() {
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 512 };
        let plan = Plan {
            widths: vec![3, 20],
            // 14 slots of 34 bits: one ciphertext, and three.
            batches: vec![1, 9, 33],
            layer: (6, 5),
            keys: vec![512, 1024],
            patience: ONCE,
        };
        let made = make::<InsecurePaillier>(&setting, &plan, &Quiet).unwrap();
        let lengths = [2, 2, 3, 2];
        for (part, length) in made.parts.iter().zip(lengths) {
            let Part::Lines(lines) = part else { panic!("a picture") };
            for series in &lines.series {
                assert_eq!(series.points.len(), length, "{}", lines.caption);
                assert!(series.points.iter().all(|&(x, y)| x > 0.0 && y > 0.0));
                assert!(series.points.is_sorted_by(|a, b| a.0 < b.0), "{}", lines.caption);
            }
        }
        let Part::Table(table) = &made.parts[4] else { panic!("a table") };
        assert_eq!(table.rows.len(), 2 + 3 + 2 * 2);
        assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        assert_eq!(made.claims.len(), 4);
        assert!(made.claims[0].holds && made.claims[0].text.contains("All 9 layers"));
    }

    /// A key that the backend does not offer is refused, and not measured at another size.
    #[test]
    fn keys_are_real() {
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 512 };
        assert!(exhibit(&setting, &Quiet).is_err());
    }
}
