//! What an encrypted layer costs: against its width, against the batch, against the key, by both schemes that
//! train.
//!
//! A layer of n inputs and m outputs is computed the way a query computes it, on one core, in the layout that
//! the scheme's own prices choose:
//!
//! ```text
//! client    encrypts n inputs of each sample
//! server    reads them and multiplies: n·m multiply-accumulates a sample
//!           seals what it returns
//! client    decrypts
//! ```
//!
//! Weights are random and of 8 bits with sign, inputs of 9; the server made its weights ready before. Each
//! answer is compared with the same in integers before anything is timed; each time is the median of some runs.

use std::time::Duration;

use gelu_core::Backend;
use gelu_core::backend::Layout;
use gelu_lattice::Lattice;
use gelu_paillier::Paillier;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::layer::Problem;
use crate::Error;
use crate::exhibit::{Axis, Cell, Claim, Column, Exhibit, Lines, Part, Row, Series, Source, Table};
use crate::fit::power_law;
use crate::setting::{Extent, Progress, Setting};
use crate::timing::{Patience, on_one_core};

/// What is measured.
struct Plan {
    /// Widths of square layers for one sample, under the first key.
    widths: Vec<usize>,
    /// Batches for one layer, under the first key, beside one sample and a full batch.
    batches: Vec<usize>,
    /// The layer of batches and keys.
    layer: (usize, usize),
    /// Samples of the layer under every key, beside one.
    full: usize,
    patience: Patience,
}

impl Plan {
    fn of(extent: Extent) -> Self {
        let quick = extent == Extent::Quick;
        Self {
            widths: if quick {
                vec![10, 30, 100, 300]
            } else {
                vec![10, 20, 50, 100, 200, 300, 500, 700, 1000]
            },
            batches: if quick {
                vec![1, 4, 15, 60]
            } else {
                vec![1, 2, 4, 8, 15, 30, 60, 120, 240]
            },
            layer: if quick { (100, 100) } else { (784, 300) },
            full: 60,
            patience: Patience {
                least: if quick { 1 } else { 3 },
                most: if quick { 9 } else { 21 },
                budget: Duration::from_millis(if quick { 50 } else { 2000 }),
            },
        }
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
#[derive(Debug, Clone, Copy)]
struct Point {
    scheme: &'static str,
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

    /// Milliseconds a sample, all parts together.
    fn total(&self) -> f64 {
        self.of_a_sample(self.times.total())
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
            Cell::from(self.scheme),
            Cell::from(format!("{}x{}", self.shape.0, self.shape.1)),
            Cell::from(self.batch),
            Cell::Count(self.key_bits.into()),
            each(encrypt),
            each(product),
            each(seal),
            each(decrypt),
            Cell::Number(self.total()),
            Cell::Number(self.of_a_product()),
        ];
        Row { source: Source::Measured, cells }
    }
}

/// What was measured of one scheme.
struct Measured {
    scheme: &'static str,
    widths: Vec<Point>,
    batches: Vec<Point>,
    /// One sample, and a full batch of them, for each size of keys; of the first key those in `batches`.
    keys: Vec<[Point; 2]>,
}

impl Measured {
    /// Under keys of these sizes, the first of which has all widths and batches.
    fn new<B: Backend>(
        keys: &[u32],
        setting: &Setting,
        plan: &Plan,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let ends = [1, plan.full];
        let mut of_first = plan.batches.clone();
        of_first.extend(ends);
        of_first.sort_unstable();
        of_first.dedup();
        let others = keys.len().saturating_sub(1);
        let steps = plan.widths.len() + of_first.len() + ends.len() * others;
        progress.begin(&format!("layers under {}", B::ID), steps);
        let (mut widths, mut batches, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for (place, &bits) in keys.iter().enumerate() {
            let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed ^ u64::from(bits));
            let secret = B::keygen(bits, rng)?;
            let mut point = |shape, batch| {
                let times = measure::<B>(&secret, shape, batch, plan.patience, rng)?;
                progress.step();
                Ok::<_, Error>(Point { scheme: B::ID, key_bits: bits, shape, batch, times })
            };
            if place == 0 {
                for &width in &plan.widths {
                    widths.push(point((width, width), 1)?);
                }
                for &batch in &of_first {
                    batches.push(point(plan.layer, batch)?);
                }
                let end = |count| batches.iter().find(|point: &&Point| point.batch == count);
                sizes.push(ends.map(|count| *end(count).expect("measured above")));
            } else {
                sizes.push([point(plan.layer, ends[0])?, point(plan.layer, ends[1])?]);
            }
        }
        Ok(Self { scheme: B::ID, widths, batches, keys: sizes })
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.widths.iter().chain(&self.batches).chain(self.keys.iter().skip(1).flatten())
    }

    /// How many times as long a sample alone takes as one of the largest batch.
    fn saved(&self) -> f64 {
        self.batches[0].total() / self.batches[self.batches.len() - 1].total()
    }

    /// The power of the key's bits that the time of a sample grows with: alone, and in a full batch.
    fn growth(&self) -> [f64; 2] {
        [0, 1].map(|which| {
            let point = |key: &[Point; 2]| ([f64::from(key[0].key_bits)], key[which].total());
            let points: Vec<_> = self.keys.iter().map(point).collect();
            power_law(&points).map_or(f64::NAN, |law| law.exponents[0])
        })
    }
}

/// Measures.
///
/// # Errors
/// A wrong answer; a key size that is not offered.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let plan = Plan::of(setting.extent);
    let mut keys = vec![2048, 3072, 4096];
    keys.retain(|&bits| bits != setting.key_bits);
    keys.insert(0, setting.key_bits);
    let measured = on_one_core(|| {
        Ok::<_, Error>([
            Measured::new::<Paillier>(&keys, setting, &plan, progress)?,
            Measured::new::<Lattice>(&[4096, 8192], setting, &plan, progress)?,
        ])
    })?;
    Ok(show(setting, &plan, &measured))
}

/// Seconds of each part, after the answer was checked.
fn measure<B: Backend>(
    secret: &B::SecretKey,
    shape: (usize, usize),
    batch: usize,
    patience: Patience,
    rng: &mut ChaCha20Rng,
) -> Result<Times, Error> {
    let public = B::public_key(secret);
    let problem = Problem::random(shape, batch, rng)?;
    let (map, x) = (&problem.map, &problem.x);
    let task = problem.task();
    let layouts = B::layouts(public, &task).map_err(gelu_core::Error::from)?;
    let prices = B::prices(public);
    let layout = layouts.iter().min_by_key(|layout| B::nanoseconds(layout, &prices));
    let layout = layout.expect("a task has a layout");
    let weights = &layout.prepare(map, &problem.weights, None)?;
    let up = layout.encrypt(secret, map, x, rng)?;
    let product = || Ok(layout.evaluate(public, weights, &layout.read(public, &up)?)?);
    let down = layout.seal(public, product()?, rng);
    if layout.decrypt(secret, &down)? != problem.answer() {
        let what = format!("a layer of {}x{} on {batch} encrypted samples", shape.0, shape.1);
        return Err(Error::WrongAnswer(what));
    }
    Ok(Times {
        encrypt: patience.median(|| Ok(layout.encrypt(secret, map, x, rng)?))?,
        product: patience.median(product)?,
        seal: patience.median_after(product, |answer| Ok(layout.seal(public, answer, rng)))?,
        decrypt: patience.median(|| Ok(layout.decrypt(secret, &down)?))?,
    })
}

fn show(setting: &Setting, plan: &Plan, measured: &[Measured]) -> Exhibit {
    let layer = format!("{}x{}", plan.layer.0, plan.layer.1);
    let finding = measured.iter().map(|scheme| {
        let (narrow, wide) = (&scheme.widths[0], &scheme.widths[scheme.widths.len() - 1]);
        let [alone, full] = scheme.growth();
        format!(
            "{}: a layer of {w}x{w} takes {:.1} ms, {:.3} µs of product a multiply-accumulate ({:.2} µs in one \
             of {n}x{n}); a sample of a batch of {} costs 1/{:.1} of one alone ({layer}); with the bits of the \
             key a layer's time grows as bits^{alone:.1} alone and as bits^{full:.1} a sample of {}.",
            scheme.scheme,
            wide.total(),
            wide.of_a_product(),
            narrow.of_a_product(),
            scheme.batches[scheme.batches.len() - 1].batch,
            scheme.saved(),
            plan.full,
            n = narrow.shape.0,
            w = wide.shape.0,
        )
    });
    let count: usize = measured.iter().map(|scheme| scheme.points().count()).sum();
    let mut claims =
        vec![Claim::new(format!("All {count} layers equal the same in integers."), true)];
    for scheme in measured {
        let (narrow, wide) = (&scheme.widths[0], &scheme.widths[scheme.widths.len() - 1]);
        let name = scheme.scheme;
        claims.push(Claim::new(
            format!(
                "{name}: wide layers are cheaper, {:.3} µs a multiply-accumulate against {:.2} µs.",
                wide.of_a_product(),
                narrow.of_a_product()
            ),
            wide.of_a_product() < narrow.of_a_product(),
        ));
        claims.push(Claim::new(
            format!(
                "{name}: batches are cheaper, a sample costs 1/{:.1} of one alone.",
                scheme.saved()
            ),
            scheme.saved() > 1.0,
        ));
        claims.push(Claim::new(
            format!(
                "{name}: longer keys cost more than their room wins back, a sample of {} grows as bits^{:.1}.",
                plan.full,
                scheme.growth()[1]
            ),
            scheme.growth()[1] > 0.0,
        ));
    }
    let mut notes = vec![
        "On one core; medians; keys, their tables, prepared weights and the network were there before. A \
         query's client and server compute in turn, so a layer's time is the sum of its parts; what the network \
         between them takes is not in it. Times are by the clock, so other work on the machine \
         lengthens them, the long ones most."
            .into(),
        "Weights of 8 bits with sign, inputs of 9; values as wide as their sum can be. Each scheme's own prices \
         choose how samples and outputs sit in its ciphertexts. The bits of a lattice's key are the degree of \
         its ring."
            .into(),
    ];
    if setting.extent == Extent::Quick {
        notes.push(format!(
            "A quick look: fewer sizes and runs, batches and keys on {layer} in place of 784x300."
        ));
    }
    Exhibit {
        id: "figure-cost".into(),
        title: "An encrypted layer against its width, the batch and the key".into(),
        finding: finding.collect::<Vec<_>>().join(" "),
        claims,
        parts: [pictures(&layer, plan, measured), vec![table(measured)]].concat(),
        notes,
    }
}

/// A value of a point, and what it is called.
type Curve = (&'static str, fn(&Point) -> f64);

/// The curves of every scheme over its points.
fn series<'p>(
    measured: &'p [Measured],
    points: impl Fn(&'p Measured) -> Vec<&'p Point>,
    x: fn(&Point) -> f64,
    curves: &[Curve],
) -> Vec<Series> {
    let of = |scheme: &'p Measured| {
        let points = points(scheme);
        curves
            .iter()
            .map(move |(name, y)| {
                let name = format!("{}: {name}", scheme.scheme);
                Series::curve(&name, points.iter().map(|point| (x(point), y(point))))
            })
            .collect::<Vec<_>>()
    };
    measured.iter().flat_map(of).collect()
}

fn pictures(layer: &str, plan: &Plan, measured: &[Measured]) -> Vec<Part> {
    let shares: [Curve; 3] = [
        ("the whole layer", Point::total),
        ("server", |point| point.of_a_sample(point.times.product + point.times.seal)),
        ("client", |point| point.of_a_sample(point.times.encrypt + point.times.decrypt)),
    ];
    let each: [Curve; 2] = [
        ("the whole layer", |point| point.total() * 1e3 / (point.shape.0 * point.shape.1) as f64),
        ("the product alone", Point::of_a_product),
    ];
    let keys: Vec<_> = measured
        .iter()
        .map(|scheme| format!("{} of {} bits", scheme.scheme, scheme.keys[0][0].key_bits))
        .collect();
    let keys = keys.join(", ");
    let width = |point: &Point| point.shape.0 as f64;
    let by_width = Lines {
        caption: format!("A layer of m inputs and m outputs, one sample ({keys})"),
        x: Axis::log("width m"),
        y: Axis::log("time (ms)"),
        series: series(measured, |scheme| scheme.widths.iter().collect(), width, &shares),
    };
    let by_product = Lines {
        caption: format!("The same for each multiply-accumulate ({keys})"),
        x: Axis::log("width m"),
        y: Axis::log("time / m² (µs)"),
        series: series(measured, |scheme| scheme.widths.iter().collect(), width, &each),
    };
    let batch = |point: &Point| point.batch as f64;
    let by_batch = Lines {
        caption: format!("A layer of {layer} against the batch ({keys})"),
        x: Axis::log("samples in a batch"),
        y: Axis::log("time of a sample (ms)"),
        series: series(measured, |scheme| scheme.batches.iter().collect(), batch, &shares),
    };
    let key = |point: &Point| f64::from(point.key_bits);
    let of = |which: usize, name| {
        series(
            measured,
            |scheme| scheme.keys.iter().map(|key| &key[which]).collect(),
            key,
            &[(name, Point::total)],
        )
    };
    let by_key = Lines {
        caption: format!(
            "A layer of {layer} against the key: a sample alone and one of {}",
            plan.full
        ),
        x: Axis::linear("bits of the key"),
        y: Axis::log("time of a sample (ms)"),
        series: [of(0, "alone"), of(1, "of a batch")].concat(),
    };
    [by_width, by_product, by_batch, by_key].map(Part::Lines).into()
}

fn table(measured: &[Measured]) -> Part {
    let columns = vec![
        Column::new("scheme"),
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
    Part::Table(Table {
        caption: "Times of a sample".into(),
        columns,
        rows: measured.iter().flat_map(Measured::points).map(Point::row).collect(),
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
            batches: vec![1, 9, 33],
            layer: (6, 5),
            full: 4,
            patience: ONCE,
        };
        let measured = [
            Measured::new::<InsecurePaillier>(&[512, 1024], &setting, &plan, &Quiet).unwrap(),
            Measured::new::<Lattice>(&[4096, 8192], &setting, &plan, &Quiet).unwrap(),
        ];
        let made = show(&setting, &plan, &measured);
        // Widths, widths, batches with that of a full one, keys; so many curves of so many points.
        let shapes = [(6, 2), (4, 2), (6, 4), (4, 2)];
        for (part, (curves, length)) in made.parts.iter().zip(shapes) {
            let Part::Lines(lines) = part else { panic!("a picture") };
            assert_eq!(lines.series.len(), curves, "{}", lines.caption);
            for series in &lines.series {
                assert_eq!(series.points.len(), length, "{}", lines.caption);
                assert!(series.points.iter().all(|&(x, y)| x > 0.0 && y > 0.0));
                assert!(series.points.is_sorted_by(|a, b| a.0 < b.0), "{}", lines.caption);
            }
        }
        let Part::Table(table) = &made.parts[4] else { panic!("a table") };
        // The first key's two points stand among the batches, and nowhere else.
        assert_eq!(table.rows.len(), 2 * (2 + 4 + 2));
        assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
        assert_eq!(made.claims.len(), 1 + 2 * 3);
        assert!(made.claims[0].holds && made.claims[0].text.contains("All 16 layers"));
    }

    /// A key that the backend does not offer is refused, and not measured at another size.
    #[test]
    fn keys_are_real() {
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 512 };
        assert!(exhibit(&setting, &Quiet).is_err());
    }
}
